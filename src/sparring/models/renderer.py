"""A chat as token ids, with the weight of every token.

What the learner said goes in as the tokens it was sampled as; everything else is what the tokenizer's chat template
writes around it, tokenised stretch by stretch, at training and at use alike. So a weight sits on exact token
boundaries, the prompt's ids are a prefix of the row's, and what was sampled is what is trained. To that end the
template is rendered with placeholders for the reader's own turns, which also keeps it from rewriting them.

Not here: padding and batches (`batch`), and what is done with the ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from sparring.common.errors import ConfigError
from sparring.core.chat import SYSTEM, Chat, Part, Turn

REMEMBERED = 4096  # texts whose ids, and chats whose renderings, need not be made again
_OWN_TEMPLATE = 'give one with chat_template = "path/to/template.jinja" under [learner]'
_PLACEHOLDER = re.compile(r"\u2402(\d+)\u2403")  # the pictures of STX and ETX: in no template, and never stripped


@dataclass(frozen=True)
class TrainingRow:
    """One sequence to train on: `ids`, and for each the weight with which it is to be predicted (0: context).

    `sampled` is the weighted sum of the log-probabilities with which its trained tokens were sampled; None where one of
    them was not, or nobody kept that.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    sampled: float | None = None


class Renderer:
    """How one model wants chats written: its tokenizer, its template and the template's settings.

    `keeps_thoughts`: thoughts of the reader's earlier turns stay in its view.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template_kwargs: Mapping[str, Any] | None = None,
        keeps_thoughts: bool = False,
    ) -> None:
        if not tokenizer.chat_template:
            raise ConfigError(f"the tokenizer of {tokenizer.name_or_path!r} has no chat template; {_OWN_TEMPLATE}")
        self.tokenizer = tokenizer
        self.template_kwargs = dict(template_kwargs or {})
        self.keeps_thoughts = keeps_thoughts
        self._encode = lru_cache(maxsize=REMEMBERED)(self._encoded)
        self._rendered = lru_cache(maxsize=REMEMBERED)(self._render)
        self._check_template()
        self._takes_system = self._accepts([{"role": SYSTEM, "content": "s"}, {"role": "user", "content": "u"}])
        self.stop_id = self._end_of_turn()
        self.stop_ids = frozenset({self.stop_id, *self._ends_of_text()})

    # ── chats ───────────────────────────────────────────────────────────────────────────────────────────────

    def prompt(self, chat: Chat, reader: str) -> tuple[int, ...]:
        """The ids after which `reader` is to speak, or to go on with its open turn."""
        turns = chat.seen_by(reader, self.keeps_thoughts)
        begun: tuple[int, ...] = ()
        if turns and turns[-1].role == "assistant":
            *turns, last = turns
            begun = self._own(last)
        return self._before_reply(turns) + begun

    def rows(self, chat: Chat, reader: str) -> list[TrainingRow]:
        """The rows that train `reader`'s weighted parts: one row for the whole chat, or one for each trained turn
        where the template shows earlier turns otherwise once there are later ones."""
        turns = chat.seen_by(reader, self.keeps_thoughts)
        rows: list[TrainingRow] = []
        for place, turn in enumerate(turns):
            if turn.role != "assistant" or not any(part.weight for part in turn.parts):
                continue
            prompt = self._before_reply(turns[:place])
            said, weights = self._weighted(turn)
            sampled = _sampled(turn)
            if rows and prompt[: len(rows[-1].ids)] == rows[-1].ids:
                context = rows[-1].weights + (0.0,) * (len(prompt) - len(rows[-1].ids))
                before = rows[-1].sampled
                both = None if before is None or sampled is None else before + sampled
                rows[-1] = TrainingRow(prompt + said, context + weights, both)
            else:
                rows.append(TrainingRow(prompt + said, (0.0,) * len(prompt) + weights, sampled))
        return rows

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens and spacing as they are."""
        text = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text if isinstance(text, str) else "".join(text)

    # ── turns ───────────────────────────────────────────────────────────────────────────────────────────────

    def ids(self, part: Part) -> tuple[int, ...]:
        """A part's ids: as it was sampled, otherwise as its text is tokenised by itself."""
        return part.ids if part.ids is not None else self._encode(part.text)

    def _own(self, turn: Turn) -> tuple[int, ...]:
        return tuple(token for part in turn.parts for token in self.ids(part))

    def _weighted(self, turn: Turn) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """A turn's ids and weights. The stop token is trained like the part it ends; a turn that is open, since its
        reply was cut, has none."""
        ids: list[int] = []
        weights: list[float] = []
        for part in turn.parts:
            found = self.ids(part)
            ids += found
            weights += [part.weight] * len(found)
        if turn.open:
            return tuple(ids), tuple(weights)
        return (*ids, self.stop_id), (*weights, turn.parts[-1].weight)

    def _before_reply(self, turns: Sequence[Turn]) -> tuple[int, ...]:
        """The ids before a reply that follows `turns`."""
        messages = tuple(
            (turn.role, f"\u2402{place}\u2403" if turn.role == "assistant" else turn.text)
            for place, turn in enumerate(turns)
        )
        pieces = _PLACEHOLDER.split(self._rendered(messages))
        ids: list[int] = []
        for place, piece in enumerate(pieces):
            ids += self._own(turns[int(piece)]) if place % 2 else self._encode(piece)
        return self._one_bos(ids)

    # ── the template ────────────────────────────────────────────────────────────────────────────────────────

    def _render(self, messages: tuple[tuple[str, str], ...]) -> str:
        said = [{"role": role, "content": text} for role, text in messages]
        if said and said[0]["role"] == SYSTEM and not self._takes_system:
            said = _with_system_merged(said)
        return str(self._apply(said))

    def _apply(self, messages: list[dict[str, str]]) -> Any:
        return self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **self.template_kwargs
        )

    def _check_template(self) -> None:
        """ConfigError where the template cannot write a question, or leaves its words out."""
        where, probe = f"the chat template of {self.tokenizer.name_or_path!r}", "question"
        try:
            written = str(self._apply([{"role": "user", "content": probe}]))
        except Exception as error:  # a template is a program, and raises what it likes
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError(f"{where} cannot write a question: {reason}; {_OWN_TEMPLATE}") from error
        if probe not in written:
            raise ConfigError(f"{where} leaves out the words of a question; {_OWN_TEMPLATE}")

    def _accepts(self, messages: list[dict[str, str]]) -> bool:
        try:
            self._apply(messages)
        except TemplateError:
            return False
        return True

    def _encoded(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False)) if text else ()

    def _one_bos(self, ids: list[int]) -> tuple[int, ...]:
        """Exactly one BOS where the tokenizer puts one before plain text, whatever the template does."""
        bos = self.tokenizer.bos_token_id
        if bos is None:
            return tuple(ids)
        start = 0
        while start < len(ids) and ids[start] == bos:
            start += 1
        wanted = start > 0 or self.tokenizer("x")["input_ids"][0] == bos
        return ((bos,) if wanted else ()) + tuple(ids[start:])

    def _end_of_turn(self) -> int:
        """The token that the template writes after an assistant's words, otherwise the end-of-sequence token."""
        said = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "\u24020\u2403"}]
        after = self._apply([*said, {"role": "user", "content": "u"}]).split("\u24020\u2403")[-1]
        first = self._encoded(after.lstrip())[:1]
        if first and first[0] in self.tokenizer.all_special_ids:
            return first[0]
        if self.tokenizer.eos_token_id is None:
            raise ConfigError(
                f"the tokenizer of {self.tokenizer.name_or_path!r} has no end-of-sequence token; give it one"
            )
        return int(self.tokenizer.eos_token_id)

    def _ends_of_text(self) -> set[int]:
        eos = self.tokenizer.eos_token_id
        return set() if eos is None else {int(eos)}


def _sampled(turn: Turn) -> float | None:
    """The weighted sum of a turn's own log-probabilities, its stop token's among them unless the turn is open."""
    last, total = turn.parts[-1], 0.0
    for part in turn.parts:
        if not part.weight:
            continue
        wanted = len(part.ids or ()) + (part is last and not turn.open)
        if part.ids is None or part.logprobs is None or len(part.logprobs) != wanted:
            return None
        total += part.weight * sum(part.logprobs)
    return total


def _with_system_merged(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """For templates that refuse a system message: its words before those of the first user message."""
    system, *rest = messages
    if rest and rest[0]["role"] == "user":
        merged = {"role": "user", "content": f"{system['content']}\n\n{rest[0]['content']}"}
        return [merged, *rest[1:]]
    return [{"role": "user", "content": system["content"]}, *rest]
