"""A scalar reward model in this process: loading it, and its queue of chats.

It is a sequence-classification model with one output, shown a question with a response in the words of its tokenizer's
chat template. A score is what its own forward pass gives them: for a causal model the output at the last token. What
is asked for in the same passes of the event loop is scored together, padded on the right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from sparring.common.errors import ConfigError, TooLong
from sparring.core.attempts import as_messages
from sparring.core.chat import LEARNER, SYSTEM, USER, Chat
from sparring.inference.model import device_of, dtype_of
from sparring.models import hub
from sparring.models.source import ModelSource


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
        except Exception as error:  # a template is a program, and raises what it likes
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


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _loading(model: str) -> Iterator[None]:
    """What is said against a part of `model` becomes a ConfigError of one line."""
    try:
        yield
    except Exception as error:  # the library raises whatever stands in a folder's files brings about
        reason = hub.load_error(error)
        remedy = _PINNED if reason == hub.CODE else _WANTED
        raise ConfigError(f"model = {model!r} cannot be loaded: {reason}; {remedy}") from error


def tokenizer_of(model: str, how: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer of `model`, which has one output and shows a chat in words; ConfigError for others. `how`: see
    `load`."""
    with _loading(model):
        hub.check_reachable(model, how.get("revision"))
        how = {**hub.how(model, how.get("revision")), **how}
        labels = AutoConfig.from_pretrained(model, **how).num_labels
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model, **how)
    if labels != 1:
        raise ConfigError(f"model = {model!r} has {labels} outputs, and a score is one; {_WANTED}")
    if not tokenizer.chat_template:
        raise ConfigError(f"model = {model!r} has no chat template, so nothing says how it is shown a chat; {_WANTED}")
    return tokenizer


def load_reward_model(source: ModelSource, batch_tokens: int, how: Mapping[str, Any]) -> Scorer:
    """The model that `source` names; ConfigError if it is no reward model. `how`: its revision, and whether code that
    comes with it may run, in the words of the library."""
    model, tokenizer = source.model, tokenizer_of(source.model, how)
    with _loading(model):
        network, loading = AutoModelForSequenceClassification.from_pretrained(
            model, dtype=dtype_of(source), output_loading_info=True, **{**hub.how(model, how.get("revision")), **how}
        )
    if loading["missing_keys"]:
        lacking = ", ".join(sorted(loading["missing_keys"])[:3])
        raise ConfigError(f"model = {model!r} lacks the weights {lacking}, so its scores would be noise; {_WANTED}")
    network.config.use_cache = False
    return Scorer(network.to(device_of(source)).eval().requires_grad_(False), tokenizer, batch_tokens)


_WANTED = "give a folder or hub id of a sequence-classification model with one output and a chat template"
_PINNED = "if you have read that code, give trust_remote_code = true and its commit as revision"
