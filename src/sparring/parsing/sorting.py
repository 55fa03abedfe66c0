"""Read the statements of a worked sorting, however they are worded.

`read_sorting` finds the checkable parts of a step: letters (`"ant"="a" (1)`), orders
(`(1) "ant" < (3) ["cat" ? "cot"]`), the current subpart, the compared letters, the final list. Quotes, brackets and
surrounding words may vary; unrecognised text is skipped. Reading takes time linear in the length of the text.

The task checks which step follows from which.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, takewhile
from typing import NamedTuple

from sparring.parsing.letters import ORDINALS, difference, letter, position, reminder

Span = tuple[int, int]
Vocabulary = Mapping[str, str]  # a word in lower case -> as the question spells it


class Mention(NamedTuple):
    """A word in a text and its span; a word of the question has the question's spelling."""

    word: str
    span: Span


class Block(NamedTuple):
    """Words in undecided order, `["cat" ? "cot"]`, or one word; outside an order it is the current subpart.

    `number` is the letter number as written, "" if there is none.
    """

    number: str
    mentions: tuple[Mention, ...]
    span: Span

    @property
    def words(self) -> frozenset[str]:
        """Its words."""
        return frozenset(mention.word for mention in self.mentions)


class Spelling(NamedTuple):
    """`"ant"="a" (1)`; letter or number is None if it is not given."""

    mention: Mention
    letter: str | None
    number: str | None
    span: Span

    def fits(self, depth: int) -> bool:
        """Return whether the given letter and number are those of the word at `depth`."""
        true_letter = letter(self.mention.word, depth)
        is_letter = self.letter is None or self.letter.lower() == true_letter.lower()
        return is_letter and (self.number is None or self.number.lstrip("0") == str(position(true_letter)).lstrip("0"))


class StatedOrder(NamedTuple):
    """`(1) "ant" < (3) ["cat" ? "cot"]`: blocks and the signs between them; an order written with `>` is reversed."""

    blocks: tuple[Block, ...]
    signs: tuple[str, ...]
    span: Span


class Place(NamedTuple):
    """The compared letters, counted from 0: `their second letters`."""

    depths: frozenset[int]
    span: Span


class Listing(NamedTuple):
    """A list of words; without words its span is the whole searched text."""

    mentions: tuple[Mention, ...]
    span: Span

    @property
    def words(self) -> list[str]:
        """Its words."""
        return [mention.word for mention in self.mentions]


SortingStatement = Spelling | StatedOrder | Block | Place | Listing


class Wrong(Exception):
    """`span` of a step is wrong, with the reason; `about`: the word concerned, or two words in their right order."""

    def __init__(self, span: Span, reason: str, about: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.span, self.about = span, about


_TOKEN = re.compile(
    r"""
      "(?P<quoted>[^"\n]*)" | (?<!\w)'(?P<single>[^'\n]*)'(?!\w)
    | [(\[]\s*(?P<number>[0-9]+)\s*[)\]]
    | (?P<sign>[<>]) | (?P<tie>\?) | (?P<open>[\[({]) | (?P<close>[\])}]) | (?P<link>->|[:=→-])
    | (?P<bare>[^\W\d_](?:[\w'&.]*\w)?) | (?P<digits>[0-9]+) | (?P<other>\S)
    """,
    re.VERBOSE,
)
_PLAIN = str.maketrans({"“": '"', "”": '"', "`": '"', "‘": "'", "’": "'", "*": " ", "–": "-", "—": "-"})
_ANSWER = re.compile(r"\banswer(?:[ \t]+is\b)?[ \t]*:|\banswer[ \t]+is\b|####", re.IGNORECASE)
_LEAD = re.compile(r":|\b(?:is|are|be|have)\b", re.IGNORECASE)  # the end of the words before a list
_UNQUOTED = re.compile(r"[^\s,<]+")
_LINE = re.compile(r"[^\n]+")
_WIDEST, _DEEPEST = 200, 4  # tokens of one block, and nested brackets: a block has no more
_END = ("end", "", 0, 0)


def vocabulary(words: Iterable[str]) -> Vocabulary:
    """Return the lookup table for the words of a question."""
    return {word.lower(): word for word in words}


def read_sorting(text: str, known: Vocabulary, final: bool = False) -> list[SortingStatement]:
    """Return the statements of `text`, one step, in order; `final`: it is the final response even without a cue."""
    plain = text.translate(_PLAIN)
    *_, cue = (None, *_ANSWER.finditer(plain))  # the last match, or None
    # Statements stand before the cue and the list after it. Without a cue, the final response is all list.
    without_cue = 0 if final else len(plain)
    statements_end, list_start = (cue.start(), cue.end()) if cue else (without_cue, without_cue)
    statements = list(_Reader(plain[:statements_end], known).statements())
    listing = list_in(plain, known, list_start)
    return [*statements, listing] if listing.mentions else statements


def stated(response: str, known: Vocabulary) -> Listing:
    """Return the list at the end of `response`: after its last "answer is", or its last line or run of bullets.
    The list is empty if that line is an order."""
    plain = response.translate(_PLAIN)
    *_, cue = (None, *_ANSWER.finditer(plain))
    if cue:
        return list_in(plain, known, cue.end())
    lines = [line for line in _LINE.finditer(plain) if line[0].strip()]
    bullets = list(takewhile(lambda line: len(list(_mentions(line[0], known, 0))) == 1, reversed(lines)))
    if len(bullets) > 1:
        return list_in(plain, known, bullets[-1].start())
    last = lines[-1].start() if lines else 0
    leads = [lead.end() for lead in _LEAD.finditer(plain, last) if lead[0].lower() not in known]
    if re.search("[<?]", plain[last:]):  # an order, not a list
        return list_in(plain, known, len(plain))
    return list_in(plain, known, leads[-1] if leads else last)


def list_in(text: str, known: Vocabulary, start: int = 0) -> Listing:
    """Return the words that `text` lists from `start` on, over the lines that continue the list."""
    listed: list[Mention] = []
    for line in _LINE.finditer(text.translate(_PLAIN), start):
        more = list(_mentions(line[0], known, line.start()))
        has_other_words = any(mention.word.lower() not in known for mention in more)
        if listed and len(more) > 1 and has_other_words:  # prose after the list
            break
        listed += more
    return Listing(tuple(listed), (listed[0].span[0], listed[-1].span[1]) if listed else (0, len(text)))


def named(text: str, words: Sequence[str]) -> list[str]:
    """Return those of `words` that `text` names, in alphabetical order."""
    values = {value.lower() for _, value, _, _ in _tokens(text.translate(_PLAIN))}
    return sorted(word for word in words if word.lower() in values)


def neighbours(ordered: Sequence[str], rng: random.Random, about: Sequence[str] = ()) -> tuple[str, str]:
    """Draw two neighbours in `ordered`: the two words of `about`, or a pair with its one word."""
    if len(about) == 2:
        return about[0], about[1]
    return rng.choice([pair for pair in pairwise(ordered) if not about or about[0] in pair])


def check_list(listing: Listing, words: Sequence[str]) -> None:
    """Raise Wrong at the first fault of `listing` as the sorted list of `words`."""
    check_words(listing.mentions, words, listing.span)
    for one, other in pairwise(listing.mentions):
        if one.word > other.word:
            span = one.span[0], other.span[1]
            raise Wrong(span, difference(other.word, one.word), (other.word, one.word))


def check_words(mentions: Sequence[Mention], words: Sequence[str], span: Span | None = None) -> None:
    """Raise Wrong if `mentions` contain another word than `words`, or a word twice; with `span`, also if one is
    missing."""
    seen: set[str] = set()
    for mention in mentions:
        if mention.word not in words:
            raise Wrong(mention.span, f'"{mention.word}" does not belong here')
        if mention.word in seen:
            raise Wrong(mention.span, f'"{mention.word}" stands there twice', (mention.word,))
        seen.add(mention.word)
    missing = [word for word in words if word not in seen]
    if span and missing:
        raise Wrong(span, f'"{missing[0]}" is missing', (missing[0],))


def check_numbers(order: StatedOrder, depth: int) -> None:
    """Raise Wrong if a letter number in `order` is not that of the letters at `depth`."""
    for block in order.blocks:
        for mention in block.mentions:
            if block.number and not Spelling(mention, None, block.number, mention.span).fits(depth):
                raise Wrong(block.span, reminder(mention.word, depth))


def check_order(order: StatedOrder, expected: Sequence[frozenset[str]]) -> None:
    """Raise Wrong unless `order` is `expected`: a pair is false, undecided though known, or decided too early."""
    rank = {word: number for number, words in enumerate(expected) for word in words}  # equal: undecided
    for (block, after), sign in zip(pairwise(order.blocks), order.signs, strict=True):
        span = min(block.span[0], after.span[0]), max(block.span[1], after.span[1])
        last, first = max(block.words), min(after.words)  # if these two are in order, all pairs of the blocks are
        if last > first or sign == ">":
            raise Wrong(span, difference(first, last))
        if rank[last] == rank[first]:
            raise Wrong(span, f'nothing yet tells "{last}" and "{first}" apart')
    for block in order.blocks:
        first, last = min(block.words), max(block.words)
        if rank[first] != rank[last]:
            raise Wrong(block.span, difference(first, last))


def _mentions(line: str, known: Vocabulary, offset: int) -> Iterator[Mention]:
    """Yield the words of one line of a list, up to the end of its sentence or a bracketed remark."""
    before, listing = "", False
    for kind, value, start, end in _tokens(line):
        if kind == "quoted":
            inside = offset + start + 1  # after the quote
            yield from (_mention(w[0], inside + w.start(), inside + w.end(), known) for w in _UNQUOTED.finditer(value))
        elif kind == "bare" and (value.lower() not in ("and", "then") or value.lower() in known):
            yield _mention(value, offset + start, offset + end, known)
        elif listing and (value == "(" or (value in (".", "!", ";") and before != "digits")):  # `1.` is a bullet
            return
        listing = listing or kind in ("quoted", "bare")
        before = kind


def _mention(text: str, start: int, end: int, known: Vocabulary) -> Mention:
    return Mention(known.get(text.lower(), text), (start, end))


def _tokens(text: str) -> Iterator[tuple[str, str, int, int]]:
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        yield "quoted" if kind == "single" else kind, match[kind], match.start(), match.end()


class _Reader:
    """Reads the statements of one text. A method with a token index `at` returns a statement and the index after it."""

    def __init__(self, text: str, known: Vocabulary) -> None:
        self.known = known
        self.tokens = [*_tokens(text)]
        self.length = len(self.tokens)
        self.tokens += [_END] * 4  # so that looking ahead needs no bounds

    def statements(self) -> Iterator[SortingStatement]:
        held: Place | None = None  # adjacent ones are merged; yielded after a subpart that follows
        at = 0
        while at < self.length:
            statement, at = self.spelling(at) or self.order(at) or self.place(at) or (None, at + 1)
            if isinstance(statement, Place):
                held = Place(held.depths | statement.depths, (held.span[0], statement.span[1])) if held else statement
            elif statement is not None:
                if held and not isinstance(statement, Block):
                    yield held
                    held = None
                yield statement
        if held:
            yield held

    def is_word(self, at: int) -> bool:
        return self.tokens[at][0] in ("quoted", "bare")

    def mention(self, at: int) -> Mention:
        _, value, start, end = self.tokens[at]
        return _mention(value, start, end, self.known)

    def spelling(self, at: int) -> tuple[Spelling, int] | None:
        if not self.is_word(at) or self.tokens[at + 1][0] != "link":
            return None
        (quoted, _, start, _), (kind, value, _, end) = self.tokens[at], self.tokens[at + 2]
        mention = self.mention(at)
        if kind == "number" and quoted == "quoted":
            return Spelling(mention, None, value, (start, end)), at + 3
        if kind not in ("quoted", "bare") or len(value) > 1:
            return None
        if self.tokens[at + 3][0] == "number":
            _, number, _, end = self.tokens[at + 3]
            return Spelling(mention, value, number, (start, end)), at + 4
        if quoted == "quoted" or mention.word.lower() in self.known:
            return Spelling(mention, value, None, (start, end)), at + 3
        return None

    def place(self, at: int) -> tuple[Place, int] | None:
        (kind, name, start, _), (_, noun, _, end) = self.tokens[at : at + 2]
        if kind == "bare" and name.lower() in ORDINALS and noun.lower().startswith(("letter", "character")):
            return Place(frozenset({ORDINALS.index(name.lower())}), (start, end)), at + 2
        return None

    def order(self, at: int) -> tuple[StatedOrder | Block | None, int] | None:
        kind = self.tokens[at][0]
        bracketed = self.tokens[at + (kind == "number")][1] == "["
        alone = self.alone(at) or (kind == "number" and bracketed)
        before_sign = self.is_word(at) and self.tokens[at + 1][0] in ("sign", "tie", "number")
        first = self.block(at) if alone or before_sign or kind in ("number", "open") else None
        if first is None:
            return None
        blocks, signs, at = [first[0]], [], first[1]
        while self.tokens[at][0] == "sign":
            following = self.block(at + 1)
            if following is None:
                at += 1
                if self.tokens[at][0] == "sign":  # a word is missing between two signs
                    continue
                after, more = (self.tokens[at + n + (self.tokens[at][0] == "number")][1] for n in (0, 1))
                alone = alone or (after in (".", "") and more != ".")  # `...` is an omission
                break
            signs.append(self.tokens[at][1])
            blocks.append(following[0])
            at = following[1]
        if not any(word.lower() in self.known for block in blocks for word in block.words):
            return None, at  # no word of the question: prose
        if set(signs) == {">"}:
            blocks, signs = blocks[::-1], ["<"] * len(signs)
        if signs or alone or (blocks[0].number and len(blocks[0].mentions) > 1):
            return StatedOrder(tuple(blocks), tuple(signs), (first[0].span[0], self.tokens[at - 1][3])), at
        return blocks[0] if bracketed or len(blocks[0].mentions) > 1 else None, at

    def alone(self, at: int) -> bool:
        """Return whether an order consists of one word, `(1) "ant".` or `we have < "ant".`: the others are missing."""
        word = at + (self.tokens[at][0] == "number")
        before = self.tokens[at - 1 - (self.tokens[at - 1][0] == "sign")][1]
        is_start = word > at or (self.tokens[at][0] == "quoted" and before in ("have", ":"))
        return is_start and self.is_word(word) and self.tokens[word + 1][1] in (".", "")

    def block(self, at: int) -> tuple[Block, int] | None:
        start, number = self.tokens[at][2], ""
        if self.tokens[at][0] == "number":
            number, at = self.tokens[at][1], at + 1
        first, depth, ties = at, 0, 0
        mentions: list[Mention] = []
        while at < first + _WIDEST:
            kind, value, _, end = self.tokens[at]
            joined = not mentions or depth > 0 or self.tokens[at - 1][0] == "tie"
            if kind == "open" and joined and depth < _DEEPEST:
                depth += 1
            elif kind == "close" and mentions and (depth or ties):  # also a stray one after a `?`
                depth = max(depth - 1, 0)
            elif self.is_word(at) and joined:
                mentions.append(self.mention(at))
            elif kind == "tie" and (mentions or depth):
                ties += 1
            elif not (depth and mentions and value in (",", "/", "=")):
                break
            at += 1
        if not mentions:
            return None
        if self.tokens[first][0] == "open" and not ties and any(m.word.lower() not in self.known for m in mentions):
            return None  # a bracketed remark
        end = self.tokens[at - 1][3]
        if not number and self.tokens[at][0] == "number":
            (_, number, _, end), at = self.tokens[at], at + 1
        return Block(number, tuple(mentions), (start, end)), at
