"""A phase played dry: nothing is sent, and what would have been is noted.

In every role that is not a program's a stand-in replies, in the form that the role wants, what leads to the most
further calls: a fault, an update that is not right yet, a verdict. The learner speaks as it stands, but what it says
counts as read to its end, and never as right. So a dry episode has at least as many calls as a real one, unless a reply
cannot be read or a try fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

from sparring.core import attempts
from sparring.config.factory import ROLES, role_fields
from sparring.core.attempts import Recordable, Serving
from sparring.core.chat import LEARNER, USER, Chat
from sparring.common.errors import Unreadable
from sparring.core.episode import Episode
from sparring.training.learner import Learner
from sparring.core.method import Method
from sparring.core.partner import RETRY_PROMPT, CRITIC, DISCUSSANT, EDITOR
from sparring.core.rollout import play
from sparring.runs.recording import spoken
from sparring.common.seeds import digest
from sparring.core.speaker import PARTNER, Reply, Sampling, Speaker, text_reply
from sparring.parsing.steps import Fault, StepFormat
from sparring.core.task import Problem, Task
from sparring.parsing.thought import ThoughtFormat

_STEP = re.compile(r"^\((\d+(?:\.\d+)*|Final response)\)(.*)$", re.MULTILINE)  # as critics are shown an attempt
_FAULTY = re.compile(r"step \(([^()]+)\)")  # as editors are told of a fault


class Asked(NamedTuple):
    """One call that a stand-in took. `again`: the reply before it could not be read."""

    role: str
    model: str
    problem: str
    prompt_tokens: int
    max_tokens: int
    again: bool


class Dry(NamedTuple):
    """Episodes that were played dry, and the calls that were noted."""

    episodes: list[Episode]
    asked: list[Asked]


async def dry(method: Method, task: Task, problems: list[Problem], learner: Learner) -> Dry:
    """What `method` would ask on each of `problems`."""
    asked: list[Asked] = []
    kinds, form = role_fields(type(method)), getattr(method, "form", None)
    dumb: Any = {
        name: replace(p, speaker=StandIn(p.speaker, p, ROLES[kinds[name]], task.layout, _tokens(learner), asked))
        for name, p in spoken(method).items()
    }
    episodes = await play(
        replace(method, **dumb),  # type: ignore[type-var]  # every method is a dataclass
        cast(Task, _NeverRight(task)),
        problems,
        lambda problem: _Pupil(learner.voice("dry", problem.id), task.layout, form),
        ("dry",),
        at_once=len(problems),
        serving=Serving(),
    )
    return Dry(episodes, asked)


def _tokens(learner: Learner) -> Callable[[str], int]:
    """Counts as the learner's tokenizer does."""
    return lambda text: len(learner.model.dialect.tokenizer.encode(text, add_special_tokens=False))


@dataclass(frozen=True)
class StandIn:
    """Takes the place of the speaker of a `partner` in `role`: notes each call in `asked` and sends nothing."""

    speaker: Recordable
    partner: Any
    role: str
    layout: StepFormat
    count: Callable[[str], int]
    asked: list[Asked] = field(default_factory=list)

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """What leads to the most further calls."""
        model = str(self.speaker.request(chat, sampling, sample)["model"])
        words = [message["content"] for message in attempts.as_messages(chat, PARTNER)]
        counted = hasattr(self.speaker, "model")  # programs and people have no tokens
        again = chat.text.startswith(RETRY_PROMPT.partition("{")[0])
        size = (sum(map(self.count, words)), sampling.max_tokens) if counted else (0, 0)
        self.asked.append(Asked(self.role, model, attempts.serving.get().problem, *size, again))
        return text_reply(self._words(next(said.text for said in chat.messages if said.author == USER)), PARTNER)

    def _words(self, prompt: str) -> str:
        if self.role == DISCUSSANT:
            return "Please look at your answer once more, step by step: is every one of them right?"
        if self.role == CRITIC:
            label, text = (_STEP.findall(prompt) or [("1", "")])[-1]
            return f'In step ({label}) the part "{text.strip()}" is incorrect. This is because it does not follow.'
        if self.role == EDITOR:
            label = found[1] if (found := _FAULTY.search(prompt)) else "1"
            return _step(self.layout, label, prompt)
        verdicts = {"pairwise": "[[A]]", "pointwise": f"Score: {getattr(self.partner, 'lowest', 1):g}"}
        return verdicts.get(getattr(self.partner, "mode", ""), "1")


def _step(layout: StepFormat, label: str, replaced: str) -> str:
    """A step that is not the one in `replaced`."""
    return (f"({label}) " if layout.numbered else "") + f"This is update {digest(replaced)[:6]}."


@dataclass(frozen=True)
class _Pupil:
    """The learner as it stands: what it says is read to its end, in the form that its method asks for, and no two
    samples are the same. Its own feedback is what the stand-in for a critic says, and its own updates mend nothing."""

    voice: Speaker
    layout: StepFormat
    form: ThoughtFormat | None

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        if chat.last.open and chat.last.parts[-1].text in (self.layout.feedback, self.layout.update):
            return text_reply(self._own([part.text for part in chat.last.parts]), LEARNER)
        text = (await self.voice.reply(chat, sampling, sample)).text
        text = (text if text.strip() else "1") + (f" [{sample}]" if sample else "")
        return text_reply(text if self.form is None else _in(self.form, text), LEARNER)

    def _own(self, parts: list[str]) -> str:
        attempt = "".join(parts[: parts.index(self.layout.feedback)])
        last = self.layout.split(attempt)[-1]
        if parts[-1] == self.layout.feedback:
            return self.layout.word(attempt, Fault(last.label, last.text.partition("\n")[0]))
        return self.layout.before(attempt, last.label) + _step(self.layout, last.label, attempt)


def _in(form: ThoughtFormat, text: str) -> str:
    try:
        form.split(text)
    except Unreadable:
        for marker in (form.opening, form.marker):
            text = text.replace(marker, " ") if marker else text
        return form.join("\n", text)
    return text


class _NeverRight:
    """A task to which no attempt is right, so that a conversation goes on for as long as it may."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def is_right(self, problem: Problem, response: str) -> bool:
        return False
