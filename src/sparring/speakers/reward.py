"""A scalar reward model in this process, as a speaker whose reply is a number.

It is a sequence-classification model with one output, shown a question with a response in the words of its tokenizer's
chat template. Its reply is the score that its own forward pass gives them: for a causal model the output at the last
token. What is asked for in the same passes of the event loop is scored together, padded on the right.

Not here: judging by a prompt, and what the number is used for. Those are partners'.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt
from jinja2.exceptions import TemplateError
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from sparring.attempts import as_messages
from sparring.chat import LEARNER, SYSTEM, USER, Chat
from sparring.errors import ConfigError, TooLong, Unavailable
from sparring.model import ModelSource
from sparring.speaker import PARTNER, Reply, Sampling, said

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
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    batch_tokens: Annotated[int, Gt(0)] = 16_384

    def __post_init__(self) -> None:
        folder = Path(self.model).exists()
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
        _tokenizer(self)

    @cached_property
    def _scorer(self) -> Scorer:
        name = repr(self)
        if name not in _LOADED:
            _LOADED[name] = _load(self)
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
        return replace(said(repr(score), PARTNER), prompt_tokens=len(ids))


@dataclass(frozen=True)
class _Row:
    """A chat to be scored, and who waits for it."""

    ids: Sequence[int]
    score: asyncio.Future[float] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Scorer:
    """A reward model, its tokenizer and its queue."""

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_tokens: int) -> None:
        self.network = network
        self._tokenizer = tokenizer
        self._batch_tokens = batch_tokens
        self._waiting: list[_Row] = []
        self._working: asyncio.Task[None] | None = None

    def ids(self, chat: Chat) -> list[int]:
        """`chat` in tokens, as the template writes it; raises TooLong."""
        ids: list[int] = self._tokenizer(self._written(chat), add_special_tokens=False)["input_ids"]
        longest = getattr(self._config, "max_position_embeddings", None)
        if longest and len(ids) > longest:
            raise TooLong(f"question and response have {len(ids)} tokens, and the reward model takes {longest}")
        return ids

    def _written(self, chat: Chat) -> str:
        try:
            return str(self._tokenizer.apply_chat_template(as_messages(chat, LEARNER), tokenize=False))
        except TemplateError as error:
            if not any(message.author == SYSTEM for message in chat.messages):
                raise ConfigError(f"the reward model's chat template refuses a chat: {error}") from error
        # for one that takes no system message: its words go to the question
        return self._written(Chat(tuple(replace(m, author=USER) if m.author == SYSTEM else m for m in chat.messages)))

    @property
    def _config(self) -> Any:
        return self.network.config.get_text_config()

    async def score(self, ids: Sequence[int]) -> float:
        """The score of `ids`, computed together with whatever else is waiting."""
        row = _Row(ids)
        self._waiting.append(row)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await row.score

    async def _work(self) -> None:
        """Scores what is waiting, rows of like length together."""
        while self._waiting:
            await self._settled()
            if batch := self._batch():
                self._answer(batch)

    def _answer(self, batch: Sequence[_Row]) -> None:
        try:
            scores = self.scores([row.ids for row in batch])
        except Exception as error:  # whoever waits is told, whatever it was
            for row in batch:
                row.score.set_exception(error)
            return
        for row, score in zip(batch, scores, strict=True):
            row.score.set_result(score)

    async def _settled(self) -> None:
        """Lets others run until none has asked anything new for a few passes of the event loop."""
        quiet = 0
        while quiet < 4:
            before = len(self._waiting)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._waiting) == before else 0

    def _batch(self) -> list[_Row]:
        """Takes the shortest rows that are waiting, as many as may be scored at once; nobody waits for a cancelled."""
        waiting = sorted((row for row in self._waiting if not row.score.done()), key=lambda row: len(row.ids))
        fit = sum(len(row.ids) * count <= self._batch_tokens for count, row in enumerate(waiting, start=1))
        self._waiting = waiting[max(1, fit) :]
        return waiting[: max(1, fit)]

    def scores(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """A score for each of `rows` of token ids."""
        known, width = self._config.pad_token_id, max(map(len, rows))
        # A model that has no padding token takes the last token of all of a single row; with an id for padding that
        # stands in no row it finds the same token in many.
        pad = known if known is not None and known >= 0 else _in_none(rows)
        device = next(self.network.parameters()).device
        ids_BT = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=device)
        mask_BT = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        self._config.pad_token_id = pad
        try:
            with torch.inference_mode():
                logits_B1 = self.network(input_ids=ids_BT, attention_mask=mask_BT).logits
        finally:
            self._config.pad_token_id = known
        found: list[float] = logits_B1[:, 0].float().tolist()
        return found


def _in_none(rows: Sequence[Sequence[int]]) -> int:
    taken = {token for row in rows for token in row}
    return next(token for token in range(len(taken) + 1) if token not in taken)


_LOADED: dict[str, Scorer] = {}  # judges with the same settings share it


@contextmanager
def _loading(reward: Reward) -> Iterator[dict[str, Any]]:
    """How the parts of a model are loaded; what the library says against it becomes ConfigError."""
    how: dict[str, Any] = {"trust_remote_code": reward.trust_remote_code}
    if reward.revision is not None:
        how |= {"revision": reward.revision, "code_revision": reward.revision}  # code of another repository included
    try:
        yield how
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(". ")
        remedy = _PINNED if "custom code" in reason else _WANTED
        raise ConfigError(f"model = {reward.model!r} cannot be loaded: {reason}; {remedy}") from error


def _tokenizer(reward: Reward) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that has one output and shows a chat in words; ConfigError for others."""
    where = f"model = {reward.model!r}"
    with _loading(reward) as how:
        labels = AutoConfig.from_pretrained(reward.model, **how).num_labels
        if labels != 1:
            raise ConfigError(f"{where} has {labels} outputs, and a score is one; {_WANTED}")
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(reward.model, **how)
    if not tokenizer.chat_template:
        raise ConfigError(f"{where} has no chat template, so nothing says how it is shown a chat; {_WANTED}")
    return tokenizer


def _load(reward: Reward) -> Scorer:
    """The model that `reward` names; ConfigError if it is no reward model."""
    source = ModelSource(reward.model, dtype=reward.dtype, device=reward.device)
    tokenizer = _tokenizer(reward)
    with _loading(reward) as how:
        network, loading = AutoModelForSequenceClassification.from_pretrained(
            reward.model, dtype=source.torch_dtype(), output_loading_info=True, **how
        )
    if loading["missing_keys"]:
        lacking = ", ".join(sorted(loading["missing_keys"])[:3])
        raise ConfigError(
            f"model = {reward.model!r} lacks the weights {lacking}, so its scores would be noise; {_WANTED}"
        )
    network.config.use_cache = False
    return Scorer(network.to(source.torch_device()).eval().requires_grad_(False), tokenizer, reward.batch_tokens)


_WANTED = "give a folder or hub id of a sequence-classification model with one output and a chat template"
_PINNED = "if you have read that code, give trust_remote_code = true and its commit as revision"
