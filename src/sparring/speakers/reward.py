"""A scalar reward model in this process as a speaker whose reply is a score.

The score is computed by `inference/reward_model` and used by `partners/reward_judge`.
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

    `revision` is a branch, tag or commit of a hub id. `trust_remote_code` runs code from the model's repository and
    requires a commit, so that only reviewed code runs. `batch_tokens`: padded tokens in one batch.
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
        ModelSource(self.model, device=self.device)  # validates the device
        is_folder = os.path.exists(self.model)
        if is_folder and self.trust_remote_code:
            raise ConfigError(
                f"trust_remote_code = true with the folder {self.model!r}: code in a folder may change at any time; "
                "give a hub id, and its commit as revision"
            )
        if is_folder and self.revision is not None:
            raise ConfigError(f"a folder has no revision (got {self.revision!r} for {self.model!r}); remove it")
        if self.trust_remote_code and not _COMMIT.fullmatch(self.revision or ""):
            raise ConfigError(
                f"trust_remote_code = true needs a commit as revision (got {self.revision!r}); "
                "give its 40 hexadecimal digits"
            )

    def ready(self) -> None:
        """Raise ConfigError if the model cannot score, as far as its files show without loading the weights.

        A replay skips this check.
        """
        from sparring.inference.reward_model import tokenizer_of  # noqa: PLC0415 - slow to start, and a recipe is read without it

        tokenizer_of(self.model, self._load_kwargs())

    def _load_kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments of `from_pretrained`."""
        kwargs: dict[str, Any] = {"trust_remote_code": self.trust_remote_code}
        if self.revision is not None:
            # code_revision pins the code even if it lies in another repository
            kwargs |= {"revision": self.revision, "code_revision": self.revision}
        return kwargs

    @cached_property
    def scorer(self) -> Scorer:
        """The loaded model and its queue; equal settings share it."""
        from sparring.inference.reward_model import load_reward_model  # noqa: PLC0415 - slow to start, and a recipe is read without it

        name = repr(self)
        if name not in _LOADED:
            source = ModelSource(self.model, dtype=self.dtype, device=self.device)
            _LOADED[name] = load_reward_model(source, self.batch_tokens, self._load_kwargs())
        return _LOADED[name]

    def request(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Mapping[str, Any]:
        """Return everything that determines a score (see `attempts.Recordable`); sampling does not."""
        settings = {"revision": self.revision, "dtype": self.dtype}
        return {"model": self.model, **settings, "messages": as_messages(chat, LEARNER)}

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """Return the score of the chat's last message, the learner's, as a decimal number.

        Raises TooLong if the chat exceeds the model's length and Unavailable if the score is NaN or infinite.
        ConfigError if the last message is not the learner's.
        """
        if not chat.messages or chat.last.author != LEARNER:
            raise ConfigError(
                'by = "reward": a reward model scores responses and cannot reply to a prompt; it can only be a judge; '
                'use it as [phase.judge] with by = "reward"'
            )
        ids = self.scorer.ids(chat)
        score = await self.scorer.score(ids)
        if not math.isfinite(score):
            raise Unavailable(f"{self.model}: the score is {score}")
        return replace(text_reply(repr(score), PARTNER), prompt_tokens=len(ids))


_LOADED: dict[str, Scorer] = {}  # by settings: equal judges share a model
