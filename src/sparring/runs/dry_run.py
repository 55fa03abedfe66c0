"""Simulates episodes of a phase without sending anything, and records the calls that it would make.

A stand-in takes the place of each speaker. It gives the reply that leads to the most further calls: a fault, an update
that is still wrong, a verdict. The learner replies as it is, but each of its replies counts as complete and none as
right. An attempt without the step labels of its layout gets them: the learner will have learnt them in later rounds,
and without them an update is refused and the episode ends early. So a simulated episode has at least as many calls as a
real one, apart from retries after a failed call or an unreadable reply.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

from sparring.common.errors import Unreadable
from sparring.common.seeds import digest
from sparring.config.factory import ROLES, role_fields
from sparring.core import attempts
from sparring.core.attempts import Recordable, Serving
from sparring.core.chat import LEARNER, USER, Chat
from sparring.core.episode import Episode
from sparring.core.function_partner import FunctionPartner
from sparring.core.method import Method
from sparring.core.partner import Scores, Stance
from sparring.core.rollout import play
from sparring.core.speaker import PARTNER, Reply, Sampling, Speaker, text_reply
from sparring.core.task import Problem, Task
from sparring.parsing.steps import Fault, StepFormat
from sparring.parsing.thought import Answer, ThoughtFormat
from sparring.runs.recording import recordable_partners
from sparring.training.learner import Learner


class Call(NamedTuple):
    """One call to a stand-in. `retry`: the reply before it was unreadable."""

    role: str
    model: str
    problem: str
    prompt_tokens: int
    max_tokens: int
    retry: bool


class DryRun(NamedTuple):
    """Simulated episodes, and the calls that they would have made."""

    episodes: list[Episode]
    calls: list[Call]


async def dry_run(method: Method, task: Task, problems: list[Problem], learner: Learner) -> DryRun:
    """Simulate an episode of `method` on each of `problems`."""
    calls: list[Call] = []
    kinds, form = role_fields(type(method)), getattr(method, "form", None)
    partners: Any = {
        name: DryPartner(partner, ROLES[kinds[name]], task.layout, _token_counter(learner), calls)
        for name, partner in recordable_partners(method).items()
    }
    functions = {name: DryFunction(task.layout) for name in kinds if isinstance(getattr(method, name), FunctionPartner)}
    episodes = await play(
        replace(method, **partners, **functions),  # type: ignore[type-var]  # every method is a dataclass
        cast(Task, _NeverRight(task)),
        problems,
        lambda name: _DryLearner(learner.speaker(*name), task.layout, form),
        ("dry",),
        at_once=len(problems),
        serving=Serving(),
    )
    return DryRun(episodes, calls)


def _token_counter(learner: Learner) -> Callable[[str], int]:
    """Return a function that counts the tokens of a text by the learner's tokenizer."""
    return lambda text: len(learner.model.renderer.tokenizer.encode(text, add_special_tokens=False))


@dataclass(frozen=True)
class DryPartner:
    """Fills a role with `partner`, whose speaker is replaced by a stand-in in each call. Calls go to `calls`."""

    partner: Any
    role: str
    layout: StepFormat
    count_tokens: Callable[[str], int]
    calls: list[Call] = field(default_factory=list)

    async def remark(self, problem: Problem, chat: Chat, stance: Stance, rng: random.Random) -> str:
        """Return a remark that the learner has to answer."""
        return str(await self._replying(lambda _: REMARK).remark(problem, chat, stance, rng))

    async def feedback(self, problem: Problem, attempt: str, rng: random.Random) -> Fault | None:
        """Return a fault in the last step of `attempt`."""
        last = _last_fault(self.layout, attempt)
        reply = f'In step ({last.step}) the part "{last.part}" is incorrect. This is because it does not follow.'
        fault: Fault | None = await self._replying(lambda _: reply).feedback(problem, attempt, rng)
        return fault

    async def improve(self, problem: Problem, attempt: str, fault: Fault, rng: random.Random) -> str:
        """Return an update of `attempt` that is still wrong."""
        # Not by the prompt: with a program as the critic it may be the same for two attempts, and so would the update.
        editor = self._replying(lambda _: _wrong_step(self.layout, fault.step, f"editor {attempt}"))
        return str(await editor.improve(problem, attempt, fault, rng))

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        """Return scores from verdicts that are all the same."""
        verdicts = {"pairwise": "[[A]]", "pointwise": f"Score: {getattr(self.partner, 'lowest', 1):g}"}
        verdict = verdicts.get(getattr(self.partner, "mode", ""), "1")
        scores: Scores = await self._replying(lambda _: verdict).score(problem, answers, rng)
        return scores

    async def attempt(self, problem: Problem, rng: random.Random) -> str:
        """Return an attempt in two steps."""
        text = _dry_attempt(self.layout, problem)
        return str(await self._replying(lambda _: text).attempt(problem, rng))

    def _replying(self, words: Callable[[str], str]) -> Any:
        """Return the partner with a stand-in that replies `words(prompt)`."""
        stand_in = StandIn(self.partner.speaker, self.role, words, self.count_tokens, self.calls)
        return replace(self.partner, speaker=stand_in)


@dataclass(frozen=True)
class DryFunction:
    """Takes the place of a partner that is a user's function, which may be slow or paid; it is not called."""

    layout: StepFormat

    async def remark(self, problem: Problem, chat: Chat, stance: Stance, rng: random.Random) -> str:
        """Return a remark."""
        return REMARK

    async def feedback(self, problem: Problem, attempt: str, rng: random.Random) -> Fault | None:
        """Return a fault in the last step of `attempt`."""
        return _last_fault(self.layout, attempt)

    async def improve(self, problem: Problem, attempt: str, fault: Fault, rng: random.Random) -> str:
        """Return an update of `attempt` that is still wrong."""
        return self.layout.before(attempt, fault.step) + _wrong_step(self.layout, fault.step, attempt)

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        """Return scores that are all the same."""
        return Scores((0.0,) * len(answers))

    async def attempt(self, problem: Problem, rng: random.Random) -> str:
        """Return an attempt in two steps."""
        return _dry_attempt(self.layout, problem)


@dataclass(frozen=True)
class StandIn:
    """Takes the place of `speaker`: records each call in `calls`, sends nothing, and replies `words(prompt)`."""

    speaker: Recordable
    role: str
    words: Callable[[str], str]
    count_tokens: Callable[[str], int]
    calls: list[Call] = field(default_factory=list)

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """Record the call and reply to the chat's first prompt."""
        model = str(self.speaker.request(chat, sampling, sample)["model"])
        texts = [message["content"] for message in attempts.as_messages(chat, PARTNER)]
        has_tokens = hasattr(self.speaker, "model")  # programs and people have none
        size = (sum(map(self.count_tokens, texts)), sampling.max_tokens) if has_tokens else (0, 0)
        is_retry = len(chat.messages) > 1 and chat.messages[-2].author == PARTNER  # a reply of its own came before
        self.calls.append(Call(self.role, model, attempts.serving.get().problem, *size, is_retry))
        prompt = next(message.text for message in chat.messages if message.author == USER)
        return text_reply(self.words(prompt), PARTNER)


REMARK = "Please look at your answer once more, step by step: is every one of them right?"


def _last_fault(layout: StepFormat, attempt: str) -> Fault:
    """Return a fault that is the first line of the last step of `attempt`."""
    steps = layout.split(attempt)
    return Fault(steps[-1].label, steps[-1].text.partition("\n")[0].strip()) if steps else Fault("1", "")


def _dry_attempt(layout: StepFormat, problem: Problem) -> str:
    return layout.write(("This is an attempt.", f"So the answer is {digest(problem.id)[:6]}."))


def _wrong_step(layout: StepFormat, label: str, seed: str) -> str:
    """Return step `label` with meaningless words that differ for each `seed`."""
    return (f"({label}) " if layout.numbered else "") + f"This is update {digest(seed)[:6]}."


@dataclass(frozen=True)
class _DryLearner:
    """The learner as it is, with replies changed so that the episode goes on for as long as possible.

    Each reply counts as complete, follows the thought format of the method, and differs from the other samples. The
    learner's own feedback names its last step, and its own updates are wrong.
    """

    speaker: Speaker
    layout: StepFormat
    form: ThoughtFormat | None

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        if chat.last.open and chat.last.parts[-1].text in (self.layout.feedback, self.layout.update):
            return text_reply(self._continuation([part.text for part in chat.last.parts]), LEARNER)
        text = (await self.speaker.reply(chat, sampling, sample)).text
        text = (text if text.strip() else "1") + (f" [{sample}]" if sample else "")
        if self.layout.numbered and self.layout.feedback in sampling.stop:  # feedback on its steps will follow
            text = self.layout.write(step.text for step in self.layout.split(text))
        return text_reply(text if self.form is None else _formatted(self.form, text), LEARNER)

    def _continuation(self, parts: list[str]) -> str:
        """Return feedback on the attempt in `parts`, or a wrong update of it, whichever comes next."""
        attempt = "".join(parts[: parts.index(self.layout.feedback)])
        last = self.layout.split(attempt)[-1]
        if parts[-1] == self.layout.feedback:
            return self.layout.write_feedback(attempt, Fault(last.label, last.text.partition("\n")[0]))
        return self.layout.before(attempt, last.label) + _wrong_step(self.layout, last.label, attempt)


def _formatted(form: ThoughtFormat, text: str) -> str:
    """Return `text`, or if `form` cannot split it, a reply with an empty thought and `text` as the response."""
    try:
        form.split(text)
    except Unreadable:
        for marker in (form.opening, form.marker):
            text = text.replace(marker, " ") if marker else text
        return form.join("\n", text)
    return text


class _NeverRight:
    """A task whose answers are never right, so that each conversation runs to its maximal length."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def is_right(self, problem: Problem, response: str) -> bool:
        return False
