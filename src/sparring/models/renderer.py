"""Renders a chat as token ids with a weight for every token.

The learner's turns keep the ids they were sampled as. Everything else is what the tokenizer's chat template writes
around them, tokenised piece by piece, in the same way for training and for sampling. To separate the two, the template
is rendered with placeholders for the reader's own turns, which also keeps it from rewriting them:

    template:      <user>2+2=<end><assistant>␂1␃<end><user>Sure?<end><assistant>
    pieces:        └── tokenised ───────────┘ │ └── tokenised ─────────────────┘
                                              └ sampled ids of turn 1

So weights lie on exact token boundaries, the prompt's ids are a prefix of the training row's, and the tokens that were
sampled are the tokens that are trained.

For an encoder–decoder, the pieces before the turn to be written are what the encoder reads. They end with an
end-of-sequence token and START; the turn itself follows, for the decoder (`encoder_decoder`).

A reply that no model sampled begins as a sampled one would: with the space that the template writes before a reply but
not at the end of a prompt (`_space`), and without a `<think>` that the prompt ends with (`_prefilled`). A thought that
no model sampled stands between the marks that the template puts around one (`_thought_marks`). Tools are shown by the
template if it can (`tool_turns`). Plain text has no template: its special tokens are parsed, and an end-of-sequence
token follows, as in TRL.

Not here: padding and batches (`training.collate`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from sparring.common.errors import ConfigError
from sparring.core.chat import GOLD, PLAIN, SYSTEM, Chat, Part, Turn
from sparring.models.tool_turns import as_text, for_template, merged

START = -1  # no token has this id; it stands for the token that a decoder beside an encoder begins with
CACHED_TEXTS = 4096  # texts whose ids, and chats whose renderings, are cached
_OWN_TEMPLATE = 'give one with chat_template = "path/to/template.jinja" under [learner]'
# A placeholder is a number between the pictures of STX and ETX, control characters: no template holds or strips these.
_OPEN, _CLOSE = "\u2402", "\u2403"
_FIRST, _SECOND = f"{_OPEN}0{_CLOSE}", f"{_OPEN}1{_CLOSE}"
_OPENINGS = re.compile(f"{_OPEN}+")
_THINK = "<think>"


@dataclass(frozen=True)
class TrainingRow:
    """One sequence to train on: `ids`, and the training weight of each (0: context).

    `sampled` is the weighted sum of the log-probabilities that the trained tokens were sampled with; None if one of
    them is unknown.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    sampled: float | None = None


class Renderer:
    """Writes chats as one model expects them: with its tokenizer, its chat template and the template's settings.

    `keeps_thoughts`: the reader sees the thoughts of its own earlier turns. `encoded`: an encoder reads the context.
    `longest`: the most tokens of a row of plain text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template_kwargs: Mapping[str, Any] | None = None,
        keeps_thoughts: bool = False,
        encoded: bool = False,
        longest: int = 2**31,
    ) -> None:
        if not tokenizer.chat_template:
            raise ConfigError(f"the tokenizer of {tokenizer.name_or_path!r} has no chat template; {_OWN_TEMPLATE}")
        self.tokenizer = tokenizer
        self.template_kwargs = dict(template_kwargs or {})
        self.keeps_thoughts = keeps_thoughts
        self.longest = longest
        self._tokenise = lru_cache(maxsize=CACHED_TEXTS)(self._tokenise_uncached)
        self._render = lru_cache(maxsize=CACHED_TEXTS)(self._render_uncached)
        self._check_template()
        self._accepts_system = self._accepts([{"role": SYSTEM, "content": "s"}, {"role": "user", "content": "u"}])
        self.stop_id = self._find_stop_id()
        self.stop_ids = frozenset({self.stop_id, *self._eos_ids()})
        end = self.stop_id if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)
        self._after_context = (end, START) if encoded else ()

    # ── chats ───────────────────────────────────────────────────────────────────────────────────────────────

    def prompt(self, chat: Chat, reader: str) -> tuple[int, ...]:
        """Return the ids after which `reader` replies, or continues its open turn."""
        turns = chat.seen_by(reader, self.keeps_thoughts)
        open_turn: tuple[int, ...] = ()
        if turns and turns[-1].role == "assistant":
            *turns, last = turns
            open_turn = tuple(chain(*self._turn_ids(last, after_prompt=True)))
        return self._context(turns) + open_turn

    def rows(self, chat: Chat, reader: str) -> list[TrainingRow]:
        """Return the rows that train `reader`'s weighted parts.

        One row holds the whole chat, unless an earlier turn looks different when later ones follow, because the
        template changes it or its thought is hidden: then each trained turn needs a row.
        """
        if chat.messages and chat.messages[0].author == PLAIN:
            return self._plain_rows(chat)
        rows: list[TrainingRow] = []
        for count, message in enumerate(chat.messages, start=1):
            following = chat.messages[count].author if count < len(chat.messages) else None
            if message.author != reader or following == reader:
                continue
            *before, turn = Chat(chat.messages[:count]).seen_by(reader, self.keeps_thoughts)
            if not any(part.weight for part in turn.parts):
                continue
            context = self._context(before)
            row = self._row(context, turn)
            continues_last = rows and context[: len(rows[-1].ids)] == rows[-1].ids
            if continues_last:
                rows[-1] = _merge(rows[-1], row)
            else:
                rows.append(row)
        return rows

    def _plain_rows(self, chat: Chat) -> list[TrainingRow]:
        """Return the rows of a plain text: pieces of `longest` tokens, each after the last token of the one before."""
        eos = self.tokenizer.eos_token_id
        ids = list(
            self._with_one_bos([token for said in chat.messages for part in said.parts for token in self.ids(part)])
        )
        if eos is not None and ids[-1:] != [eos]:
            ids.append(int(eos))
        weight, step = chat.messages[0].parts[0].weight, max(1, self.longest - 1)
        pieces = [ids[start : start + self.longest] for start in range(0, max(1, len(ids) - 1), step)]
        return [TrainingRow(tuple(piece), (0.0, *[weight] * (len(piece) - 1))) for piece in pieces]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, with special tokens and spacing unchanged."""
        tokens = [token for token in ids if token != START]
        text = self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text if isinstance(text, str) else "".join(text)

    # ── turns ───────────────────────────────────────────────────────────────────────────────────────────────

    def ids(self, part: Part) -> tuple[int, ...]:
        """Return the ids a part was sampled as; otherwise its text, tokenised on its own."""
        if part.ids is not None:
            return part.ids
        if part.thought and part.writer == GOLD:
            opening, closing = self._thought_marks or ("", "")
            return self._tokenise(f"{opening}{part.text}{closing}") if self._thought_marks else ()
        return self._tokenise(part.text)

    def _turn_ids(self, turn: Turn, *, after_prompt: bool) -> list[tuple[int, ...]]:
        """Return the ids of each part of a turn of the reader's own, which follows a prompt or stands in a history."""
        return [self._first_ids(turn.parts[0], after_prompt), *map(self.ids, turn.parts[1:])] if turn.parts else []

    def _first_ids(self, part: Part, after_prompt: bool) -> tuple[int, ...]:
        """Return the ids of a turn's first part; if none were sampled, of the text as the template would begin it."""
        text = part.text
        if part.ids is not None or not text or (part.thought and part.writer == GOLD):
            return self.ids(part)
        if after_prompt and self._prefilled and text.startswith(_THINK):
            return self._tokenise(text.removeprefix(self._prefilled).removeprefix(_THINK))
        return self._tokenise(text if text[0].isspace() or self._implies_space else self._space + text)

    def _row(self, context: tuple[int, ...], turn: Turn) -> TrainingRow:
        """The row that trains `turn` after `context`.

        The stop token has the weight of the last part. An open turn (its reply was truncated) has no stop token.
        """
        ids, weights = list(context), [0.0] * len(context)
        for part, part_ids in zip(turn.parts, self._turn_ids(turn, after_prompt=True), strict=True):
            ids += part_ids
            weights += [part.weight] * len(part_ids)
        if not turn.open:
            ids.append(self.stop_id)
            weights.append(turn.parts[-1].weight)
        return TrainingRow(tuple(ids), tuple(weights), _sampled_logprob(turn))

    def _context(self, turns: Sequence[Turn]) -> tuple[int, ...]:
        """The ids before a reply that follows `turns`: the template's text around the ids of the assistant's turns."""
        is_own = [turn.role == "assistant" and bool(turn.parts) for turn in turns]
        runs = (run for turn in turns for text in (turn.text, turn.tools) for run in _OPENINGS.findall(text))
        mark = _OPEN * (1 + max(map(len, runs), default=0))  # so many as no text holds
        messages = tuple(
            (turn.role, f"{mark}{index}{_CLOSE}" if own else turn.text, turn.tools)
            for index, (turn, own) in enumerate(zip(turns, is_own, strict=True))
        )
        try:
            rendered = self._render(messages)
        except ConfigError as error:
            begin = next((turn.text for turn in turns if turn.role != SYSTEM), "")
            raise ConfigError(f"{error} (the conversation begins {begin[:60]!r})") from error
        # `split` alternates between text and the turn number in a placeholder.
        text, *rest = re.split(rf"{mark}(\d+){_CLOSE}", rendered)
        ids: list[int] = []
        for number, following in zip(rest[::2], rest[1::2], strict=True):
            ids += self._tokenise(text.removesuffix(self._space))
            ids += chain(*self._turn_ids(turns[int(number)], after_prompt=False))
            text = following
        ids += self._tokenise(text)
        return self._with_one_bos(ids) + self._after_context

    # ── the template ────────────────────────────────────────────────────────────────────────────────────────

    def _render_uncached(self, messages: tuple[tuple[str, str, str], ...]) -> str:
        if any(tools for _, _, tools in messages):
            return self._render_with_tools(messages)
        dicts = [{"role": role, "content": text} for role, text, _ in messages]
        starts_with_system = bool(dicts) and dicts[0]["role"] == SYSTEM
        if starts_with_system and not self._accepts_system:
            dicts = _with_system_merged(dicts)
        has_late_system = any(turn["role"] == SYSTEM for turn in dicts[1:])
        if has_late_system and not self._accepts_late_system:
            first, *rest = dicts
            dicts = merged([first, *({**turn, "role": turn["role"].replace(SYSTEM, "user")} for turn in rest)])
        try:
            return str(self._apply(dicts))
        except TemplateError as error:
            roles = ", ".join(turn["role"] for turn in dicts)
            raise ConfigError(
                f"the chat template of {self.tokenizer.name_or_path!r} rejects a chat ({error}; its roles: "
                f"{roles[:80]}); change the data, or {_OWN_TEMPLATE}"
            ) from error

    def _render_with_tools(self, messages: tuple[tuple[str, str, str], ...]) -> str:
        """Return what the template makes of calls and results, or of their text if it leaves out any of them."""
        dicts, definitions, names = for_template(messages)
        try:
            text = str(self._apply(dicts, tools=definitions or None))
        except Exception:  # a template is a program and can raise anything
            text = ""
        if all(name in text or json.dumps(name)[1:-1] in text for name in names):
            return text
        return self._render_uncached(tuple((role, words, "") for role, words in as_text(messages)))

    def _apply(self, messages: list[dict[str, Any]], **more: Any) -> Any:
        return self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **self.template_kwargs, **more
        )

    @cached_property
    def _accepts_late_system(self) -> bool:
        """Whether the template shows a system message after the first turn."""
        late = {"role": SYSTEM, "content": "late"}
        turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}, late]
        try:
            return "late" in str(self._apply([*turns, {"role": "user", "content": "u"}]))
        except Exception:  # a template is a program and can raise anything
            return False

    @cached_property
    def _thought_marks(self) -> tuple[str, str] | None:
        """What the template writes before and after the thought of a reply; None if its prompt rules out a thought.

        Found by a reply with a thought, under the names that templates know. A template that shows none, such as
        those that remove thoughts from a history, gets `<think>`, unless its prompt ends with that tag.
        """
        user = {"role": "user", "content": "u"}
        prompt = str(self._apply([user]))
        if prompt.rstrip().endswith("</think>"):
            return None
        for key in ("reasoning_content", "thinking", "reasoning"):
            reply = {"role": "assistant", "content": _FIRST, key: _SECOND}
            text = str(self._apply([user, reply]))
            opening, has_thought, rest = text.removeprefix(prompt).partition(_SECOND)
            closing, has_reply, _ = rest.partition(_FIRST)
            if text.startswith(prompt) and has_thought and has_reply:
                return opening, closing
        return "" if self._prefilled else f"{_THINK}\n", "\n</think>\n\n"

    @cached_property
    def _prefilled(self) -> str:
        """The `<think>` that the template's prompt ends with, and the white space after it; "" if it has none."""
        _, tag, after = str(self._apply([{"role": "user", "content": "u"}])).rpartition(_THINK)
        return "" if after.strip() else tag + after

    @cached_property
    def _space(self) -> str:
        """The white space that the template writes before a reply in a history, but not at the end of a prompt."""
        user = {"role": "user", "content": "u"}
        prompt = str(self._apply([user]))
        before_reply, _, _ = str(self._apply([user, {"role": "assistant", "content": _FIRST}, user])).partition(_FIRST)
        space = before_reply.removeprefix(prompt)
        return space if before_reply.startswith(prompt) and not space.strip() else ""

    @cached_property
    def _implies_space(self) -> bool:
        """Whether the tokenizer itself puts the template's space before a reply's first word (SentencePiece does)."""
        prompt, word = str(self._apply([{"role": "user", "content": "u"}])), "word"
        tokenise = self._tokenise_uncached
        return tokenise(prompt + self._space + word) == tokenise(prompt) + tokenise(word)

    def _check_template(self) -> None:
        """Raise ConfigError if the template cannot render a question, or leaves out its text."""
        where, probe = f"the chat template of {self.tokenizer.name_or_path!r}", "question"
        try:
            text = str(self._apply([{"role": "user", "content": probe}]))
        except Exception as error:  # a template is a program and can raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError(f"{where} cannot render a question: {reason}; {_OWN_TEMPLATE}") from error
        if probe not in text:
            raise ConfigError(f"{where} leaves out the text of a question; {_OWN_TEMPLATE}")

    def _accepts(self, messages: list[dict[str, str]]) -> bool:
        try:
            self._apply(messages)
        except TemplateError:
            return False
        return True

    def _tokenise_uncached(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False)) if text else ()

    def _with_one_bos(self, ids: list[int]) -> tuple[int, ...]:
        """Ensure exactly one BOS token if the template writes one or the tokenizer adds one to plain text."""
        bos = self.tokenizer.bos_token_id
        if bos is None:
            return tuple(ids)
        n_bos = 0
        while n_bos < len(ids) and ids[n_bos] == bos:
            n_bos += 1
        needs_bos = n_bos > 0 or self.tokenizer("x")["input_ids"][0] == bos  # asked only if the template writes none
        return ((bos,) if needs_bos else ()) + tuple(ids[n_bos:])

    def _find_stop_id(self) -> int:
        """The token that the template writes after an assistant's turn; otherwise the end-of-sequence token."""
        user, assistant = {"role": "user", "content": "u"}, {"role": "assistant", "content": _FIRST}
        after_turn = self._apply([user, assistant, user]).split(_FIRST)[-1]
        first = self._tokenise_uncached(after_turn.lstrip())[:1]  # some templates put a space before it
        if first and first[0] in self.tokenizer.all_special_ids:
            return first[0]
        if self.tokenizer.eos_token_id is None:
            raise ConfigError(
                f"the tokenizer of {self.tokenizer.name_or_path!r} has no end-of-sequence token; give it one"
            )
        return int(self.tokenizer.eos_token_id)

    def _eos_ids(self) -> set[int]:
        eos = self.tokenizer.eos_token_id
        return set() if eos is None else {int(eos)}


def _merge(row: TrainingRow, longer: TrainingRow) -> TrainingRow:
    """Add the trained tokens of `row` to the row that `longer` makes of the same chat one turn later."""
    weights = row.weights + longer.weights[len(row.ids) :]
    sampled = None if row.sampled is None or longer.sampled is None else row.sampled + longer.sampled
    return TrainingRow(longer.ids, weights, sampled)


def _sampled_logprob(turn: Turn) -> float | None:
    """The weighted sum of a turn's log-probabilities, including a stop token's; None if one is unknown."""
    total = 0.0
    for part in turn.parts:
        if not part.weight:
            continue
        has_stop_token = part is turn.parts[-1] and not turn.open  # which `part.ids` leaves out
        n_tokens = len(part.ids or ()) + has_stop_token
        if part.ids is None or part.logprobs is None or len(part.logprobs) != n_tokens:
            return None
        total += part.weight * sum(part.logprobs)
    return total


def _with_system_merged(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Put the system message before the first user message, for templates that accept no system message."""
    system, *rest = messages
    if rest and rest[0]["role"] == "user":
        merged = {"role": "user", "content": f"{system['content']}\n\n{rest[0]['content']}"}
        return [merged, *rest[1:]]
    return [{"role": "user", "content": system["content"]}, *rest]
