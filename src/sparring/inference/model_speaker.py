"""A language model as a Speaker: chats in, replies out, its thoughts told from its words."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from sparring.common.errors import TooLong
from sparring.common.seeds import Name, digest, stream
from sparring.core.chat import Chat, Part
from sparring.core.speaker import Reply, Sampling
from sparring.inference.journal import Journal, key
from sparring.inference.model import LanguageModel
from sparring.inference.sequence import Request, Sampled

_OPEN, _CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class ModelSpeaker:
    """A language model as a Speaker: as whom it speaks, what its random streams are named by, and what it remembers.

    `weights` names the weights it speaks with, for the journal. With `logprobs` its words carry the log-probabilities
    that they were sampled with.
    """

    model: LanguageModel
    author: str
    scope: tuple[Name, ...]
    weights: str = ""
    journal: Journal | None = None
    logprobs: bool = False

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """The `sample`-th reply to `chat`, from the journal if it is there; TooLong where there is no room for one."""
        ids = self.model.dialect.prompt(chat, self.author)
        room = self.model.max_length - len(ids)
        if room < 1:
            raise TooLong(f"a chat of {len(ids)} tokens leaves no room in a model of {self.model.max_length}")
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        request = Request(ids, sampling, stream(*self.scope, sample, digest(ids)))
        sampled = await self._remembered(request)
        stopped = sampled.ids and sampled.ids[-1] in self.model.dialect.stop_ids
        said = sampled.ids[:-1] if stopped and sampled.finish == "stop" else sampled.ids
        parts = self._parts(ids, said, going_on=chat.messages[-1].author == self.author)
        return Reply(
            self._carrying(parts, sampled) if self.logprobs else parts,
            sampled.finish,
            tuple(p if math.isfinite(p) else -math.inf for p in sampled.logprobs),
            prompt_tokens=len(ids),
            completion_tokens=len(sampled.ids),
        )

    async def _remembered(self, request: Request) -> Sampled:
        if self.journal is None:
            return await self.model.sample(request)
        name = key(self.weights, request)
        if (known := self.journal.get(name)) is not None:
            return known
        sampled = await self.model.sample(request)
        self.journal.put(name, sampled)
        return sampled

    def _parts(self, prompt: tuple[int, ...], said: tuple[int, ...], going_on: bool) -> tuple[Part, ...]:
        """The sampled ids as parts, the thought of a model that thinks by itself apart from its words.

        Where the template ends the prompt in an opening marker the reply's text begins with it all the same, in a part
        without ids: what was thought is told from what was said in one way only.
        """
        decode = self.model.dialect.decode
        text = decode(said)
        begun: tuple[Part, ...] = ()
        if not going_on and decode(prompt[-8:]).rstrip().endswith(_OPEN):
            begun = (Part(_OPEN, "template", ids=(), thought=self.model.source.thinking != "off"),)
        if self.model.source.thinking == "off" or (not begun and not text.lstrip().startswith(_OPEN)):
            return (*begun, Part(text, self.author, said))
        cut = _end_of_thought(said, decode)
        thought = Part(decode(said[:cut]), self.author, said[:cut], thought=True)
        return (*begun, thought, Part(decode(said[cut:]), self.author, said[cut:]))

    def _carrying(self, parts: tuple[Part, ...], sampled: Sampled) -> tuple[Part, ...]:
        """`parts`, each with its tokens' log-probabilities, the last with the stop token's too if it is the one that a
        row of training ends in. A millionth of a nat is kept."""
        found, rest = [], [round(logprob, 6) for logprob in sampled.logprobs]
        if len(rest) > sum(len(part.ids or ()) for part in parts) and sampled.ids[-1] != self.model.dialect.stop_id:
            rest.pop()
        for part in parts:
            count = len(rest) if part is parts[-1] else len(part.ids or ())
            found.append(replace(part, logprobs=tuple(rest[:count])))
            del rest[:count]
        return tuple(found)


def _end_of_thought(said: tuple[int, ...], decode: Any) -> int:
    """How many of the tokens belong to the thought: all of them while it has no end."""
    low, high = 0, len(said)
    if _CLOSE not in decode(said):
        return high
    while low < high:  # the shortest beginning that holds the closing marker
        middle = (low + high) // 2
        low, high = (low, middle) if _CLOSE in decode(said[:middle]) else (middle + 1, high)
    return low
