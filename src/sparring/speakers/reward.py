"""A scalar reward model in this process, as a speaker whose reply is a number.

Not here: computing the number (`scorer`), judging by a prompt, and what the number is used for. Those are partners'.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Gt

from sparring.common.errors import ConfigError, Unavailable
from sparring.core.attempts import as_messages
from sparring.core.chat import LEARNER, Chat
from sparring.core.speaker import PARTNER, Reply, Sampling, text_reply
from sparring.models.source import ModelSource, Precision

if TYPE_CHECKING:
    from sparring.inference.reward_model import Scorer

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Reward:
    """A scalar reward model by folder or hub id: the judge's reply is the score of a response, as a number.

    `revision` is a branch, a tag or a commit of a hub id. `trust_remote_code` runs code that comes with the model, and
    takes a commit: what was read is what runs. `batch_tokens` padded tokens are scored at once.
    """

    name: ClassVar[str] = "reward"
    admits: ClassVar[bool] = True  # nothing leaves this process

    model: str
    revision: str | None = None
    trust_remote_code: bool = False
    dtype: Precision = "auto"
    device: str = "auto"
    batch_tokens: Annotated[int, Gt(0)] = 16_384

    def __post_init__(self) -> None:
        ModelSource(self.model, device=self.device)  # says what is wrong with the device
        folder = os.path.exists(self.model)
        if folder and self.trust_remote_code:
            raise ConfigError(
                f"trust_remote_code = true with model = {self.model!r}: code in a folder may change at any time; "
                "give a hub id, and its commit as revision"
            )
        if folder and self.revision is not None:
            raise ConfigError(f"revision = {self.revision!r}: the folder {self.model!r} has none; leave it out")
        if self.trust_remote_code and not _COMMIT.fullmatch(self.revision or ""):
            raise ConfigError(
                f"trust_remote_code = true with revision = {self.revision!r}: code may only be run from one commit; "
                "give its 40 hexadecimal digits as revision"
            )

    def ready(self) -> None:
        """ConfigError where the model is none that scores, as far as can be told without its weights. A replay needs
        none."""
        from sparring.inference.reward_model import tokenizer_of  # noqa: PLC0415 - slow to start, and a recipe is read without it

        tokenizer_of(self.model, self._how())

    def _how(self) -> dict[str, Any]:
        """How the parts of the model are loaded, in the words of the library."""
        how: dict[str, Any] = {"trust_remote_code": self.trust_remote_code}
        if self.revision is not None:
            how |= {"revision": self.revision, "code_revision": self.revision}  # code of another repository included
        return how

    @cached_property
    def _scorer(self) -> Scorer:
        from sparring.inference.reward_model import load_reward_model  # noqa: PLC0415 - slow to start, and a recipe is read without it

        name = repr(self)
        if name not in _LOADED:
            source = ModelSource(self.model, dtype=self.dtype, device=self.device)
            _LOADED[name] = load_reward_model(source, self.batch_tokens, self._how())
        return _LOADED[name]

    def request(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Mapping[str, Any]:
        """All that decides a score (see `attempts.Recordable`); nothing is drawn."""
        how = {"revision": self.revision, "dtype": self.dtype}
        return {"model": self.model, **how, "messages": as_messages(chat, LEARNER)}

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """The score of the last message, which is the learner's.

        Raises TooLong for a chat that is longer than the model, Unavailable where the score is no number, and
        ConfigError for a chat that ends in a question.
        """
        if not chat.messages or chat.last.author != LEARNER:
            raise ConfigError(
                'by = "reward": a reward model scores responses and cannot reply to a prompt; it can only be a judge, '
                'as in [phase.judge] with by = "reward"'
            )
        ids = self._scorer.ids(chat)
        score = await self._scorer.score(ids)
        if not math.isfinite(score):
            raise Unavailable(f"{self.model}: the score is {score}")
        return replace(text_reply(repr(score), PARTNER), prompt_tokens=len(ids))


_LOADED: dict[str, Scorer] = {}  # judges with the same settings share it
