"""A language model as a Speaker: it renders a chat, samples a reply and separates its thought from its words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sparring.common.errors import TooLong
from sparring.common.seeds import Name, digest, stream
from sparring.core.chat import Chat, Part
from sparring.core.speaker import Reply, Sampling
from sparring.inference.journal import Journal, key
from sparring.inference.model import LanguageModel
from sparring.inference.sequence import Completion, Request
from sparring.inference.stop_strings import without_begun_stop

Watch = Callable[[Chat, Reply], None]  # receives a chat and the reply so far, after each token

_OPEN, _CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class ModelSpeaker:
    """A language model as a Speaker.

    `author`: whose turns it writes. `scope`: names its random streams. `weights`: names the model's weights in the keys
    of the `journal`, which returns replies sampled before. `logprobs`: the parts of a reply carry the log-probabilities
    they were sampled with. `watch` sees a reply grow, without the beginning of a stop string at its end.
    """

    model: LanguageModel
    author: str
    scope: tuple[Name, ...]
    weights: str = ""
    journal: Journal | None = None
    logprobs: bool = False
    watch: Watch | None = None

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """Return the `sample`-th reply to `chat`, from the journal if it has it. TooLong if the model has no room."""
        prompt = self.model.renderer.prompt(chat, self.author)
        room = self.model.max_length - len(prompt)
        if room < 1:
            limit = self.model.max_length
            raise TooLong(
                f"a chat of {len(prompt)} tokens leaves no room for a reply in a model of {limit}; shorten it"
            )
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        is_continued = chat.messages[-1].author == self.author

        def watch(ids: Sequence[int]) -> None:
            assert self.watch is not None
            *before, last = self._parts(prompt, tuple(ids), is_continued)
            last = replace(last, text=without_begun_stop(last.text, sampling.stop))
            self.watch(chat, Reply((*before, last), completion_tokens=len(ids)))

        request = Request(
            prompt, sampling, stream(*self.scope, sample, digest(prompt)), watch if self.watch is not None else None
        )
        completion = await self._complete(request)
        has_stop_token = completion.ids and completion.ids[-1] in self.model.renderer.stop_ids
        ids = completion.ids[:-1] if has_stop_token and completion.finish == "stop" else completion.ids
        parts = self._parts(prompt, ids, is_continued)
        return Reply(
            self._with_logprobs(parts, completion) if self.logprobs else parts,
            completion.finish,
            tuple(p if math.isfinite(p) else -math.inf for p in completion.logprobs),
            prompt_tokens=len(prompt),
            completion_tokens=len(completion.ids),
        )

    async def _complete(self, request: Request) -> Completion:
        """Look `request` up in the journal; otherwise sample its completion and record it."""
        if self.journal is None:
            return await self.model.sample(request)
        name = key(self.weights, request)
        if (recorded := self.journal.get(name)) is not None:
            return recorded
        completion = await self.model.sample(request)
        self.journal.put(name, completion)
        return completion

    def _parts(self, prompt: tuple[int, ...], ids: tuple[int, ...], is_continued: bool) -> tuple[Part, ...]:
        """Divide the sampled `ids` into parts, with the thought of a reasoning model in a part of its own.

        If the template ends the prompt with an opening marker, the reply's text begins with that marker all the same,
        in a part without ids: thoughts are then recognised in one way only.
        """
        decode = self.model.renderer.decode
        text = decode(ids)
        opening: tuple[Part, ...] = ()
        if not is_continued and decode(prompt[-8:]).rstrip().endswith(_OPEN):
            opening = (Part(_OPEN, "template", ids=(), thought=self.model.source.thinking != "off"),)
        if self.model.source.thinking == "off" or (not opening and not text.lstrip().startswith(_OPEN)):
            return (*opening, Part(text, self.author, ids))
        end = _end_of_thought(ids, decode)
        thought = Part(decode(ids[:end]), self.author, ids[:end], thought=True)
        return (*opening, thought, Part(decode(ids[end:]), self.author, ids[end:]))

    def _with_logprobs(self, parts: tuple[Part, ...], completion: Completion) -> tuple[Part, ...]:
        """Add to each part the log-probabilities of its tokens, rounded to 1e-6 nats.

        The last part also gets that of the stop token, if it is the token that ends a training row.
        """
        logprobs = [round(logprob, 6) for logprob in completion.logprobs]
        has_stop_token = len(logprobs) > sum(len(part.ids or ()) for part in parts)
        if has_stop_token and completion.ids[-1] != self.model.renderer.stop_id:
            logprobs.pop()
        result = []
        for part in parts:
            count = len(logprobs) if part is parts[-1] else len(part.ids or ())
            result.append(replace(part, logprobs=tuple(logprobs[:count])))
            del logprobs[:count]
        return tuple(result)


def _end_of_thought(ids: tuple[int, ...], decode: Any) -> int:
    """Count the tokens of the thought, its closing marker included; all of them if there is no marker."""
    low, high = 0, len(ids)
    if _CLOSE not in decode(ids):
        return high
    while low < high:  # bisect for the shortest prefix that contains the marker
        middle = (low + high) // 2
        low, high = (low, middle) if _CLOSE in decode(ids[:middle]) else (middle + 1, high)
    return low
