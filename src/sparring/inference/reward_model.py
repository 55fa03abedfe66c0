"""A scalar reward model in this process: loading it, and its queue of chats.

It is a sequence-classification model with one output. It reads a question and a response as its tokenizer's chat
template writes them. The score is the output of its own forward pass: for a causal model, the output at the last token.
Chats that arrive in the same passes of the event loop are scored together, padded on the right.
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
    """A chat to be scored, and the future that receives its score."""

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
        """Tokenise `chat` as the template writes it; TooLong if it exceeds the model's positions."""
        ids: list[int] = self._tokenizer(self._render(chat), add_special_tokens=False)["input_ids"]
        longest = getattr(self._config, "max_position_embeddings", None)
        if longest and len(ids) > longest:
            raise TooLong(f"question and response have {len(ids)} tokens; the reward model takes {longest}")
        return ids

    def _render(self, chat: Chat) -> str:
        try:
            return str(self._tokenizer.apply_chat_template(as_messages(chat, LEARNER), tokenize=False))
        except Exception as error:  # a template is a program and can raise anything
            if not any(message.author == SYSTEM for message in chat.messages):
                raise ConfigError(f"the reward model's chat template refuses a chat: {error}") from error
        # For a template that takes no system message: send it as a part of the question.
        without_system = (replace(m, author=USER) if m.author == SYSTEM else m for m in chat.messages)
        return self._render(Chat(tuple(without_system)))

    @property
    def _config(self) -> Any:
        return self.network.config.get_text_config()

    async def score(self, ids: Sequence[int]) -> float:
        """Return the score of `ids`, computed together with other waiting chats."""
        row = _Row(ids)
        self._waiting.append(row)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await row.score

    async def _work(self) -> None:
        """Score the waiting chats, rows of similar length together."""
        while self._waiting:
            await self._collect_requests()
            if batch := self._take_batch():
                self._score_batch(batch)

    def _score_batch(self, batch: Sequence[_Row]) -> None:
        try:
            scores = self.scores([row.ids for row in batch])
        except Exception as error:  # whatever it was, every waiting task receives it
            for row in batch:
                row.score.set_exception(error)
            return
        for row, score in zip(batch, scores, strict=True):
            row.score.set_result(score)

    async def _collect_requests(self) -> None:
        """Let other tasks run until four passes of the event loop bring no new request."""
        quiet = 0
        while quiet < 4:
            before = len(self._waiting)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._waiting) == before else 0

    def _take_batch(self) -> list[_Row]:
        """Take the shortest waiting rows, as many as `batch_tokens` allows but at least one; drop cancelled ones."""
        waiting = sorted((row for row in self._waiting if not row.score.done()), key=lambda row: len(row.ids))
        # Padded to row n, the shortest n rows take n × its length, which only grows with n.
        n_fitting = sum(len(row.ids) * n <= self._batch_tokens for n, row in enumerate(waiting, start=1))
        count = max(1, n_fitting)
        self._waiting = waiting[count:]
        return waiting[:count]

    def scores(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """Return a score for each of `rows` of token ids, [B]."""
        original_pad, width = self._config.pad_token_id, max(map(len, rows))
        # The model finds a row's last token as the last one that is not padding. Without a padding token it would take
        # the last column, so it gets an id that occurs in no row.
        pad = original_pad if original_pad is not None and original_pad >= 0 else _unused_id(rows)
        device = next(self.network.parameters()).device
        ids_BT = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=device)
        mask_BT = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        self._config.pad_token_id = pad
        try:
            with torch.inference_mode():
                logits_BL = self.network(input_ids=ids_BT, attention_mask=mask_BT).logits  # L is 1, or there is no L
        finally:
            self._config.pad_token_id = original_pad
        scores: list[float] = logits_BL.reshape(len(rows)).float().tolist()
        return scores


def _unused_id(rows: Sequence[Sequence[int]]) -> int:
    used = {token for row in rows for token in row}
    return next(token for token in range(len(used) + 1) if token not in used)


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _loading(model: str) -> Iterator[None]:
    """Turn whatever goes wrong while `model` is loaded into a ConfigError of one line."""
    try:
        yield
    except Exception as error:  # a broken file can make the library raise anything
        reason = hub.load_error(error)
        remedy = _PINNED if reason == hub.CODE else _WANTED
        raise ConfigError(f"model = {model!r} cannot be loaded: {reason}; {remedy}") from error


def tokenizer_of(model: str, how: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """Load the tokenizer of `model`; ConfigError unless the model has one output and a chat template.

    `how`: see `load_reward_model`.
    """
    with _loading(model):
        hub.check_reachable(model, how.get("revision"))
        how = {**hub.how(model, how.get("revision")), **how}
        labels = AutoConfig.from_pretrained(model, **how).num_labels
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model, **how)
    if labels != 1:
        raise ConfigError(f"model = {model!r} has {labels} outputs; a reward model must have 1; {_WANTED}")
    if not tokenizer.chat_template:
        raise ConfigError(f"model = {model!r} has no chat template, so chats cannot be rendered for it; {_WANTED}")
    return tokenizer


def load_reward_model(source: ModelSource, batch_tokens: int, how: Mapping[str, Any]) -> Scorer:
    """Load the reward model that `source` names; ConfigError if it is none.

    `how`: arguments of `from_pretrained`: the revision, and whether code that comes with the model may run.
    """
    model, tokenizer = source.model, tokenizer_of(source.model, how)
    with _loading(model):
        network, report = AutoModelForSequenceClassification.from_pretrained(
            model, dtype=dtype_of(source), output_loading_info=True, **{**hub.how(model, how.get("revision")), **how}
        )
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise ConfigError(f"model = {model!r} lacks the weights {missing}, so its scores would be noise; {_WANTED}")
    network.config.use_cache = False
    return Scorer(network.to(device_of(source)).eval().requires_grad_(False), tokenizer, batch_tokens)


_WANTED = "give a folder or hub id of a sequence-classification model with one output and a chat template"
_PINNED = "if you have read that code, give trust_remote_code = true and its commit as revision"
