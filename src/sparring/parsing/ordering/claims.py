"""Read statements about the order of a few objects, and decide what follows from them.

`Reader` finds in a text who comes before whom (`quail < falcon`, `The quail is to the left of the falcon`), who has
which place (`quail = 1`, `The quail is the leftmost`, `The third-newest is the bus`) and complete orders
(`The order is: owl, quail, raven`). Places are counted from the left, the oldest, the cheapest, the first. Suppositions
and text that it does not recognise are skipped. Reading takes time linear in the length of the text.

A statement is the set of arrangements in which it is true: one bit of an integer for each permutation of the objects.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache, reduce
from itertools import pairwise, permutations
from typing import NamedTuple

RANKS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")
MOST_OBJECTS = len(RANKS)


def _spaced(alternatives: str) -> str:
    return alternatives.replace("\\ ", " ").replace(" ", r"\s+")


_RANK = rf"(?:{'|'.join(RANKS)}|[1-7](?:st|nd|rd|th))"
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven")
_LOW, _HIGH = "left|oldest|cheapest|least expensive|first|top", "right|newest|most expensive|last|bottom"
_PATTERN = r"""
      (?P<skip>\b(?:if|suppose|supposing|assum\w+|would|could|might|may|either|or|whether|neither|nor|unless|false|wrong
        |incorrect|contradict\w*|impossible|except|option|between|next|adjacent|immediately|directly)\b)
    | (?P<margin>\(\s*(?:above|below|LOW|HIGH)(?:most)?\s*\))
    | (?P<ends>\bfrom\s+(?:the\s+)?(?P<start>LOW|HIGH)(?:most)?\s+to\s+(?:the\s+)?(?P<stop>LOW|HIGH)(?:most)?\b)
    | (?P<range>\bpositions\s+(?:are|run\s+from)\s+(?P<from>\d{1,3})\s+to\s+(?P<to>\d{1,3})\b)
    | (?P<cited>\b(?:[a-z]+\s+)?(?:clues?|statements?)\s+\d{1,2}(?:(?:,\s*and|\s+and|,|\s*&)\s+\d{1,2}\b)*)
    | (?P<counted>\b(?:RANK|last|next)\s+(?:clue|statement|sentence|step|fact|condition|option|paragraph|thing)s?\b)
    | (?P<before><|\b(?:left\s+of|above|ahead\s+of|less\s+expensive\s+than|cheaper\s+than|older\s+than|before
        |earlier\s+than)\b)
    | (?P<after>>|\b(?:right\s+of|below|behind|more\s+expensive\s+than|newer\s+than|after|later\s+than)\b)
    | (?P<low>\b(?:(?P<low_rank>RANK)[\s-]+(?:from\s+(?:the\s+)?left|oldest|cheapest|least[\s-]expensive)
        |leftmost|oldest|cheapest|least\s+expensive)\b)
    | (?P<high>\b(?:(?P<high_rank>RANK)[\s-]+(?:from\s+(?:the\s+)?right|newest|most[\s-]expensive|to[\s-]last)
        |rightmost|newest|most\s+expensive|(?:finish\w*|came|comes|is|are|was|in|be)\s+(?:the\s+)?last(?:\s+place)?)\b)
    | (?P<finish>\b(?:finish\w*|came|comes|is|are|was|in|be|the)\s+(?:the\s+)?(?P<rank>RANK)(?![\s-]+(?:FOLLOWERS)\b)\b)
    | (?P<place>\b(?:position|place|spot|slot)\s+(?:number\s+)?(?P<number>\d{1,3}|one|two|three|four|five|six|seven)\b)
    | (?P<unequal>≠|!=|\b(?:not|cannot|never)\b|n't\b) | (?P<equal>=)
    | (?P<cue>\b(?:order|ordering|arrangement|sequence|ranking|line-?up)\b) | (?P<comma>,|\band\b)
    | (?P<digit>(?<![\w.(])\d{1,3}(?![\w)])) | (?P<break>[;:(]|\b(?:so|since|because|while|but|which|then)\b)
    | (?P<tie>\?)
"""
_FOLLOWERS = "to|from|newest|oldest|cheapest|most|least|clue|statement|sentence|step|fact|condition|option|paragraph"
_WORDS = {"LOW": _spaced(_LOW), "HIGH": _spaced(_HIGH), "RANK": _RANK, "FOLLOWERS": _FOLLOWERS}
_TOKEN = re.compile(re.sub("LOW|HIGH|RANK|FOLLOWERS", lambda m: _WORDS[m[0]], _PATTERN), re.VERBOSE | re.IGNORECASE)
_SENTENCE = re.compile(r"[^.;!\n]*(?:\.(?=\w)[^.;!\n]*)*")

_Span = tuple[int, int]


class Arrangements(NamedTuple):
    """All permutations of so many objects. A mask has bit i set if a statement is true in permutation i."""

    every: int
    before: Mapping[tuple[int, int], int]  # object, object -> mask
    at: Mapping[tuple[int, int], int]  # object, place from 1 -> mask

    def follows(self, mask: int, known: int) -> bool:
        """Return whether the statement `mask` is true wherever `known` is."""
        return known & ~mask == 0


@cache
def arrangements(count: int) -> Arrangements:
    """Return the permutations of `count` objects, at most seven."""
    before = {(a, b): 0 for a in range(count) for b in range(count) if a != b}
    at = {(a, place): 0 for a in range(count) for place in range(1, count + 1)}
    orders = list(permutations(range(count)))
    for index, order in enumerate(orders):
        for place, a in enumerate(order, start=1):
            at[a, place] |= 1 << index
            for b in order[place:]:
                before[a, b] |= 1 << index
    return Arrangements((1 << len(orders)) - 1, before, at)


class Claim(NamedTuple):
    """A statement on the order.

    `mask` holds the arrangements in which it is true; `about` are its objects, `places` the places that it gives them,
    if it does. `cited` are the clues that it is said to follow from; `is_copy`: it is said to be that clue.
    """

    mask: int
    span: _Span
    written: str
    about: tuple[int, ...]
    places: Mapping[int, int]
    cited: tuple[int, ...] = ()
    is_copy: bool = False


class Unfounded(NamedTuple):
    """A statement that cannot be true, whatever the order: it names no object, no clue or no place of the question."""

    span: _Span
    reason: str


class _Token(NamedTuple):
    kind: str
    value: int  # an object, a place, 1 or 0
    span: _Span
    text: str


class Reader:
    """Reads the claims about objects with these `names`."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.world = arrangements(len(names))
        self.index = {form.lower(): a for a, name in enumerate(names) for form in _forms(name, names)}
        forms = "|".join(re.escape(form) for form in sorted(self.index, key=len, reverse=True))
        self._mention = re.compile(rf"\b(?:{_spaced(forms)})\b", re.IGNORECASE)

    def named(self, text: str) -> int | None:
        """Return the object whose name `text` is, with or without an article."""
        return self.index.get(re.sub(r"^(?:the|an?)\s+", "", " ".join(text.lower().split())))

    def claims(self, text: str) -> list[Claim | Unfounded]:
        """Return the claims in `text`, in order."""
        found: list[Claim | Unfounded] = []
        for sentence in _SENTENCE.finditer(text):
            if sentence[0].strip():
                found += _Sentence(self, list(self._tokens(text, sentence.start(), sentence.end()))).claims()
        return found

    def _tokens(self, text: str, start: int, end: int) -> Iterator[_Token]:
        """Yield objects and other tokens in order; where they overlap, the object counts."""
        objects = deque(self._mention.finditer(text, start, end))
        for match in _TOKEN.finditer(text, start, end):
            while objects and objects[0].end() <= match.start():
                yield self._object(objects.popleft())
            if objects and objects[0].start() < match.end():
                continue
            kind = next(name for name in _KINDS if match[name] is not None)
            yield _Token(*self._value(kind, match), match.span(), match[0])
        yield from map(self._object, objects)

    def _object(self, match: re.Match[str]) -> _Token:
        return _Token("object", self.index[" ".join(match[0].lower().split())], match.span(), match[0])

    def _value(self, kind: str, match: re.Match[str]) -> tuple[str, int]:
        """Return kind and value of a token; all ways to give a place have the kind `place`."""
        last = len(self.names)
        places = {
            "low": lambda: _rank(match["low_rank"]),
            "high": lambda: last + 1 - _rank(match["high_rank"]),
            "finish": lambda: _rank(match["rank"]),
            "place": lambda: _number(match["number"]),
        }
        if kind in places:
            return "place", places[kind]()
        if kind == "range":
            return kind, int((int(match["from"]), int(match["to"])) == (1, last))
        if kind == "ends":
            low = [re.fullmatch(_LOW, " ".join(match[end].lower().split())) is not None for end in ("start", "stop")]
            return kind, int(low[0] and not low[1])
        return kind, int(match[0]) if kind == "digit" else 0


_KINDS = (
    *(
        "skip",
        "margin",
        "ends",
        "range",
        "cited",
        "counted",
        "before",
        "after",
        "low",
        "high",
        "finish",
        "place",
        "unequal",
    ),
    *("equal", "cue", "comma", "digit", "break", "tie"),
)


def _rank(text: str | None) -> int:
    """Return the number that an ordinal stands for, 1 if there is none."""
    if not text:
        return 1
    return int(text[0]) if text[0].isdigit() else RANKS.index(text.lower()) + 1


def _number(text: str) -> int:
    return int(text) if text.isdigit() else _NUMBERS.index(text.lower()) + 1


def _forms(name: str, names: Sequence[str]) -> list[str]:
    """Return `name` and its short form: `red` for `red book` if every name ends in `book`."""
    first, _, noun = name.rpartition(" ")
    is_shared = bool(first) and len(names) > 1 and all(other.endswith(f" {noun}") for other in names)
    return [name, first] if is_shared else [name]


@lru_cache(maxsize=4096)
def reader_of(names: tuple[str, ...]) -> Reader:
    """Return the reader for objects with these names."""
    return Reader(names)


class _Sentence:
    """The claims of one sentence. A method with an index `at` returns the claim that begins there, and the index after
    it, or None."""

    def __init__(self, reader: Reader, tokens: Sequence[_Token]) -> None:
        self.names, self.world = reader.names, reader.world
        self.tokens = [token for token in tokens if token.kind not in ("counted", "margin")]
        numbers = [int(n) for token in tokens if token.kind == "cited" for n in re.findall(r"\d+", token.text)]
        self.cited = tuple(number - 1 for number in numbers)
        self.has_cue = any(token.kind in ("cue", "ends") for token in tokens)
        self.is_reversed = any(token.kind == "ends" and not token.value for token in tokens)

    def kind(self, at: int) -> str:
        return self.tokens[at].kind if 0 <= at < len(self.tokens) else ""

    def claims(self) -> Iterator[Claim | Unfounded]:
        if any(token.kind == "skip" for token in self.tokens):
            return
        # `Clue 1: …` copies a clue; `By clue 1: …` follows from it.
        first = self.tokens[0] if self.tokens else None
        is_copy = (
            first is not None
            and first.kind == "cited"
            and len(self.cited) == 1
            and first.text.lower().startswith(("clue", "statement"))
        )
        is_copy = is_copy and self.kind(1) == "break"
        at = 0
        while at < len(self.tokens):
            token = self.tokens[at]
            if token.kind == "range" and not token.value:
                yield Unfounded(token.span, f"there are {len(self.names)} positions")
            found = self.order(at) or self.chain(at) or self.placed(at) or self.unknown(at)
            if found is None:
                at += 1
                continue
            claim, at = found
            yield claim._replace(cited=self.cited, is_copy=is_copy) if isinstance(claim, Claim) else claim

    def span(self, at: int, end: int) -> _Span:
        return self.tokens[at].span[0], self.tokens[end - 1].span[1]

    def order(self, at: int) -> tuple[Claim, int] | None:
        """Read a list of all objects."""
        end = at
        listed = []
        while self.kind(end) == "object":
            listed.append(self.tokens[end].value)
            end += 1
            while self.kind(end) == "comma" and self.kind(end + 1) in ("comma", "object"):
                end += 1
        if not self.has_cue or len(listed) < 2 or self.kind(end) in ("before", "after", "place", "equal"):
            return None
        span = self.span(at, end)
        listed = listed[::-1] if self.is_reversed else listed
        written = ", ".join(self.names[a] for a in listed)
        if sorted(listed) != list(range(len(self.names))):
            return Claim(0, span, written, tuple(dict.fromkeys(listed)), {}), end
        places = {a: place for place, a in enumerate(listed, start=1)}
        mask = reduce(int.__and__, (self.world.at[pair] for pair in places.items()))
        return Claim(mask, span, written, tuple(listed), places), end

    def chain(self, at: int) -> tuple[Claim, int] | None:
        """Read `a < b < c`, in signs or words."""
        end, links = at + 1, []
        while self.kind(at) == "object" and self.is_link(end) and self.kind(end + 1 + self.is_denied(end)) == "object":
            a, denied = self.tokens[end - 1].value, self.is_denied(end)
            sign, b = self.tokens[end + denied], self.tokens[end + denied + 1].value
            links.append((a, b) if (sign.kind != "after") != denied else (b, a))
            end += 2 + denied
        if not links:
            return None
        mask = reduce(int.__and__, (self.world.before.get(link, 0) for link in links))
        written = " and ".join(f"{self.names[a]} < {self.names[b]}" for a, b in links)
        if all(one[1] == other[0] for one, other in pairwise(links)):
            written = " < ".join(self.names[a] for a in (links[0][0], *(b for _, b in links)))
        return Claim(mask, self.span(at, end), written, tuple({a for link in links for a in link}), {}), end

    def is_link(self, at: int) -> bool:
        return self.kind(at + self.is_denied(at)) in ("before", "after", "tie")

    def is_denied(self, at: int) -> bool:
        return self.kind(at) == "unequal"

    def placed(self, at: int) -> tuple[Claim, int] | None:
        """Read `a = 1`, `1 = a` or the same in words."""
        kinds = [self.kind(at + ahead) for ahead in range(3)]
        is_signed = kinds[1] in ("equal", "unequal")
        one, other = kinds[0], kinds[2] if is_signed else kinds[1]
        places = ("place", "digit") if is_signed else ("place",)
        end = at + 2 + is_signed
        if not ((one == "object" and other in places) or (one in places and other == "object")):
            return None
        is_object_first = one == "object"
        a, place = (
            self.tokens[at if is_object_first else end - 1].value,
            self.tokens[end - 1 if is_object_first else at].value,
        )
        mask, denied = self.world.at.get((a, place), 0), kinds[1] == "unequal"
        sign = "≠" if denied else "="
        written = f"{self.names[a]} {sign} {place}"
        mask = self.world.every & ~mask if denied else mask
        return Claim(mask, self.span(at, end), written, (a,), {} if denied else {a: place}), end

    def unknown(self, at: int) -> tuple[Unfounded, int] | None:
        """Read a sign with something on one side that is not an object of the question."""
        token = self.tokens[at]
        if token.text not in ("<", ">", "="):
            return None
        sides = self.kind(at - 1), self.kind(at + 1)
        return Unfounded(token.span, "one side is no object of the question"), at + 1 + (sides[1] == "object")
