"""Date understanding, from BIG-bench: a story tells which day is today, and the question asks for a date near it.

The *paper* range has questions in the words of BIG-bench. One or two moves through the calendar are seen, as in TriPosT
(arXiv 2310.13522), three or four are unseen. The stories with several events and the worked answers are ours: one move
a step. The *easy* range is ours, for character-level learners: a date and one or two moves by days to years.

    03/28/2004 +5d -1m? (A) 03/02/2004 (B) 05/02/2004 (C) 04/02/2003      03/28/2004+5d=04/02/2004
                                                                          04/02/2004-1m=03/02/2004
                                                                          (A)

A statement is true if its dates are equal and the question gives the dates that it starts from. The order of the moves
and the wording are free. `sparring.parsing.dates` reads the statements.
"""

from __future__ import annotations

import random
import re
from calendar import monthrange
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import combinations
from typing import ClassVar

from sparring.common.seeds import digest
from sparring.core.big_bench import SEEN, UNSEEN, BigBenchChoice, Mistake, with_options
from sparring.core.chat import question
from sparring.core.task import Problem, Split
from sparring.parsing import answers
from sparring.parsing.dates.calendar import Shift, amount, dates, month_number, moved, read_date, written
from sparring.parsing.dates.statements import TODAY, DateExpression, DateReader, MonthLength, SameDate
from sparring.parsing.dates.stories import ASKED, DateMove, Story, asked_move, read_story
from sparring.parsing.steps import Step
from sparring.parsing.untrue import Untrue

SEEN_MOVES, MOST_MOVES = 2, 4  # TriPosT: up to two steps are seen
YEARS = (1900, 2060)
OPTIONS, EASY_OPTIONS = 6, 3
UNIT_LIMITS = {"day": 40, "week": 6, "month": 10, "year": 12}  # of a story's moves
EASY_LIMITS = {"d": 9, "w": 2, "m": 3, "y": 9}
EVENTS = ("flight", "concert", "meeting", "wedding", "exam", "party", "interview", "picnic", "parade", "race")
_OPENINGS = (
    "Today is {}.",
    "It is {} today.",
    "The current local time is 3:02 pm of {}.",
    "Today, {}, is a sunny day.",
)


@dataclass(frozen=True)
class DateUnderstanding(BigBenchChoice):
    """The date a few moves away from today (BIG-bench), or an easy range of it for tiny learners.

    `range` is `easy` (a date and one or two moves) or `paper` (one or two moves for training; development and test
    problems have up to four). `file` is a file of BIG-bench or BIG-bench-hard, or several. Its rows make all splits;
    those that the program does not understand are never training problems. `None` stands for 1500, 200 and 1000
    generated problems, or for a tenth of a file each and its other rows.
    """

    name: ClassVar[str] = "date_understanding"

    def choice(self, problem: Problem, response: str) -> str | None:
        """Return the letter of the option that `response` chooses, by letter or date in any notation; None if it
        chooses none or several, or its letter and its date differ."""
        options, final = _option_dates(problem), answers.final(response)
        letter = answers.chosen(response, () if dates(final) else problem.data["options"])
        stated = [] if final.startswith("not ") else [day for day, _ in dates(final)]
        if letter is not None:
            return letter if not stated or options.get(letter) in (*stated, None) else None
        # `The answer is 05/02/2004, the day after 05/01/2004`, but `The day after 05/01/2004 is 05/02/2004`.
        chosen = stated[:1] if answers.states(response) and " or " not in final else stated[-1:]
        return next((option for option, day in options.items() if day is not None and [day] == chosen), None)

    def hint(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """Return the true move of the first mistake, or of any step; for the last one, a part of its date only."""
        if problem.rationale is None:
            return self._remark("the calendar has leap years")
        trail = _Trail(problem)
        mistake = self._first_mistake(problem, answer)
        last = len(trail.days) - 1
        if mistake is None:
            return self._remark(self._truth(trail, rng.randrange(trail.start, last + 1), rng))
        trail.follow(self.layout.split(answer))
        return self._remark(self._truth(trail, min(trail.reached + 1, last), rng), mistake.step.label)

    def false_claim(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """Return a wrong date for one step, or a wrong part of the last date, worded like a hint."""
        steps = self.layout.split(answer)
        label = rng.choice(steps).label if steps else ""
        if problem.rationale is None:
            return self._remark("no calendar has leap years", label)
        trail = _Trail(problem)
        index = rng.randrange(trail.start, len(trail.days))
        day = trail.days[index]
        false = rng.choice([other for other in _near(day) if other not in trail.days])
        if index == len(trail.days) - 1:
            return self._remark(
                rng.choice([part for part in self._parts(false) if part not in self._parts(day)]), label
            )
        return self._remark(self._equation(trail, index, false), label)

    def is_true(self, problem: Problem, answer: str, remark: str) -> bool | None:
        """Check the dates that `remark` equates, and the month, day or year that it gives for the date in question."""
        if problem.rationale is None:
            return None
        trail = _Trail(problem)
        asked = trail.days[-1]
        verdicts = [int(part["value"]) == getattr(asked, part["name"].lower()) for part in _PART.finditer(remark)]
        for statement in _reader().statements(remark):
            try:
                verdicts += [True] * trail.take(statement)
            except Untrue:
                return False
        return all(verdicts) if verdicts else None

    def _truth(self, trail: _Trail, index: int, rng: random.Random) -> str:
        """State the date with this index; only a part of the one in question."""
        if index < len(trail.days) - 1:
            return self._equation(trail, index, trail.days[index])
        return rng.choice(self._parts(trail.days[index]))

    def _equation(self, trail: _Trail, index: int, day: date) -> str:
        if index == 0:
            return f"{trail.story.name or 'the date given'} is {written(day)}"
        before, words = written(trail.days[index - 1]), trail.story.moves[index - 1].words
        return f"{before}{words}={written(day)}" if self.range == "easy" else f"{words} {before} is {written(day)}"

    def _parts(self, day: date) -> list[str]:
        parts = {"month": f"{day.month:02}", "day": f"{day.day:02}", "year": f"{day.year:04}"}
        if self.range == "easy":
            return [f"{name}={part}" for name, part in parts.items()]
        return [f"the {name} is {part}" for name, part in parts.items()]

    def _false_step(self, problem: Problem, steps: Sequence[Step]) -> Mistake | None:
        return _Trail(problem).follow(steps)

    def _missing_steps(self, problem: Problem, steps: Sequence[Step]) -> Iterator[str]:
        trail = _Trail(problem)
        trail.follow(steps)
        for index in range(trail.reached + 1, len(trail.days)):
            day = written(trail.days[index])
            if self.range == "easy":
                yield self._equation(trail, index, trail.days[index])
            elif index == 0:
                name = trail.story.name
                yield f"{_capitalised(name or 'the date given')} is {'on ' if name in trail.events else ''}{day}."
            else:
                move = trail.story.moves[index - 1]
                yield f"{_capitalised(move.name)} is {move.words} {written(trail.days[index - 1])}, which is {day}."

    # ---- problems

    def _draw(self, rng: random.Random, split: Split) -> Problem:
        while True:
            story, text = _easy_story(rng) if self.range == "easy" else _paper_story(rng, split == "train")
            days = story.days
            if days is not None and len(set(days)) == len(days):
                break
        others = [day for day in [*_near(days[-1]), *days[:-1]] if day != days[-1]]
        size = EASY_OPTIONS if self.range == "easy" else OPTIONS
        chosen = [days[-1], *rng.sample(list(dict.fromkeys(others)), size - 1)]
        return self._problem(story, text, [written(day) for day in rng.sample(chosen, size)])

    def _understood(self, asked: str, options: Sequence[str]) -> Problem | None:
        story = read_story(asked)
        if story is None or story.days is None or written(story.days[-1]) not in options:
            return None
        return self._problem(story, asked, options)

    def _problem(self, story: Story, asked: str, options: Sequence[str]) -> Problem:
        days = story.days or ()
        gold = answers.LETTERS[options.index(written(days[-1]))]
        listed = " ".join(f"({letter}) {text}" for letter, text in zip(answers.LETTERS, options, strict=False))
        count = len(story.moves)
        text = f"{asked} {listed}" if self.range == "easy" else with_options(asked, options)
        novelty = "" if self.range == "easy" else SEEN if count <= SEEN_MOVES else UNSEEN
        data = {
            "options": list(options),
            "story": [story.name, written(story.base)],
            "moves": [[move.name, *move.shift, move.words] for move in story.moves],
        }
        size = f"{novelty}{count} move{'' if count == 1 else 's'}"
        return self._solved(Problem(digest(asked)[:16], question(text), gold, bin=size, data=data))


def _option_dates(problem: Problem) -> Mapping[str, date | None]:
    found = {letter: dates(text) for letter, text in zip(answers.LETTERS, problem.data["options"], strict=False)}
    return {letter: day[0][0] if day else None for letter, day in found.items()}


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


_PART = re.compile(
    r"\b(?P<name>month|day|year)(?:=|\s+is\s+)(?P<value>\d{1,4})\b(?![/-]|\s+(?:day|week|month|year))", re.I
)
_MONTHS_AND_DAYS = ((0, -1), (0, 1), (0, -7), (0, 7), (1, 0), (-1, 0), (12, 0), (-12, 0), (0, 10))
_SLIPS = [Shift(*slip) for slip in _MONTHS_AND_DAYS]


def _near(day: date) -> list[date]:
    """Return dates with which `day` may be confused."""
    near = [moved(day, slip) for slip in _SLIPS]
    if day.day <= 12 and day.day != day.month:
        near.append(date(day.year, day.day, day.month))
    return [other for other in near if other is not None]


# ---- generated stories


def _day(rng: random.Random) -> date:
    year, month = rng.randint(*YEARS), rng.randint(1, 12)
    return date(year, month, rng.randint(1, monthrange(year, month)[1]))


def _easy_story(rng: random.Random) -> tuple[Story, str]:
    moves = []
    for _ in range(rng.randint(1, 2)):
        unit = rng.choice("dwmy")
        number, sign = rng.randint(1, EASY_LIMITS[unit]), rng.choice("+-")
        distance = amount(number, unit) or Shift()
        moves.append(DateMove("", distance if sign == "+" else distance.reverse, f"{sign}{number}{unit}"))
    story = Story("", _day(rng), tuple(moves))
    return story, f"{written(story.base)} {' '.join(move.words for move in moves)}?"


def _paper_story(rng: random.Random, is_seen: bool) -> tuple[Story, str]:
    count = rng.randint(1, SEEN_MOVES if is_seen else MOST_MOVES)
    asked = rng.choice([asked for asked in ASKED if count < MOST_MOVES or asked != "today"])
    last = asked_move(asked) or ()
    before = count - len(last)
    base, shown = _day(rng), _shown
    if before == 0:
        story, text = Story("today", base, ()), rng.choice(_OPENINGS).format(shown(base, rng))
    elif before == 1 and rng.random() < 0.5:
        name, sentence, forwards = rng.choice(
            [("tomorrow", "Tomorrow is {}.", False), ("yesterday", "Yesterday was {}.", True)]
        )
        move = DateMove.of("today", 1, "day", forwards=forwards)
        story, text = Story(name, base, (move,)), sentence.format(shown(base, rng))
    else:
        story, text = _events(rng, base, before)
    return story._replace(moves=story.moves + last), f"{text} What is the date {asked} in MM/DD/YYYY?"


def _events(rng: random.Random, base: date, count: int) -> tuple[Story, str]:
    """Draw a story of `count` events, each some time after or before the last one; today is the end."""
    names = [f"the {event}" for event in rng.sample(EVENTS, count)]
    moves, sentences = [], [f"{_capitalised(names[0])} was on {_shown(base, rng)}."]
    for before, name in zip(names, [*names[1:], "today"], strict=True):
        unit = rng.choice(list(UNIT_LIMITS))
        move = DateMove.of(
            name, rng.randint(1, UNIT_LIMITS[unit]), unit, forwards=name == "today" or rng.random() < 0.5
        )
        moves.append(move)
        sentences.append(f"{_capitalised(name)} {'is' if name == 'today' else 'was'} {move.words} {before}.")
    return Story(names[0], base, tuple(moves)), " ".join(sentences)


def _shown(day: date, rng: random.Random) -> str:
    """Write a date in one of BIG-bench's notations."""
    month = day.strftime("%B")
    notations = (
        written(day),
        f"{day.month}/{day.day}/{day.year}",
        f"{month[:3]} {day.day}, {day.year}",
        f"{month} {day.day}, {day.year}",
    )
    return rng.choice(notations)


# ---- following an answer


class _Trail:
    """The dates from the one that a story gives to the one in question, and how far an answer has followed them."""

    def __init__(self, problem: Problem) -> None:
        data = problem.data
        name, base = data["story"]
        moves = tuple(DateMove(move[0], Shift(move[1], move[2]), move[3]) for move in data["moves"])
        self.story = Story(name, read_date(base), moves)
        self.days = self.story.days or ()
        names = [name, *(move.name for move in moves)]
        named = dict(zip(names, self.days, strict=True))
        self.events = {name: day for name, day in named.items() if name.startswith("the ") and name not in TODAY}
        self.today = named.get("today", self.days[0])
        self.mentioned = {day for day, _ in dates(problem.chat.text.partition("Options:")[0])} | {*self.days}
        self.known = list(self.days)  # dates that a move may start from, the newest last
        self.start = 0 if name or not moves or moves[0].name else 1  # the first of `days` that is a step
        self.reached = self.start - 1  # the last of `days` that the answer states

    def follow(self, steps: Sequence[Step]) -> Mistake | None:
        """Take `steps` up to the first false statement; return it, if any."""
        for step in steps:
            for statement in _reader().statements(step.text):
                try:
                    self.take(statement)
                except Untrue as untrue:
                    return Mistake(step, untrue)
        return None

    def take(self, statement: SameDate | MonthLength) -> bool:
        """Accept a statement, or raise Untrue; return False for one that leaves several dates open, so states none."""
        if isinstance(statement, MonthLength):
            self.check_length(statement)
            return True
        possible: set[date] | None = None
        for side in statement.sides:
            values = self.values(side)
            both = values if possible is None else possible & values
            if not both:
                span = statement.span[0], side.span[1]
                raise Untrue(span, " and ".join(self.truth(other) for other in statement.sides if self.truth(other)))
            possible = both
        if possible is None or len(possible) > 1:
            return False
        result = possible.pop()
        if statement.weekday is not None and result.weekday() != statement.weekday:
            raise Untrue(statement.span, f"{written(result)} is a {result:%A}")
        self.check_start(statement, result)
        self.known.append(result)
        if result in self.days:
            self.reached = max(self.reached, self.days.index(result))
        return True

    def values(self, side: DateExpression) -> set[date]:
        """Return the dates that an expression may mean; Untrue if it starts from nowhere."""
        if side.is_impossible:
            raise Untrue(side.span, "there is no such date")
        bases = {self.today, self.known[-1], *self.days} if side.base is None else {self.base(side)}
        if side.is_moved and isinstance(side.base, date) and side.base not in self.known:
            raise Untrue(side.span, f"nothing gives the date {written(side.base)}")
        return {day for base in bases if (day := moved(base, side.shift)) is not None}

    def base(self, side: DateExpression) -> date:
        if isinstance(side.base, date):
            return side.base
        name = str(side.base)
        if name not in self.events and name not in TODAY:
            raise Untrue(side.span, f"the question does not mention {name}")
        return self.events[name] if name in self.events else moved(self.today, Shift(days=TODAY[name])) or self.today

    def truth(self, side: DateExpression) -> str:
        """State the date that an expression means; "" for a date itself."""
        if side.base is None or (isinstance(side.base, date) and not side.is_moved):
            return ""
        day = moved(self.base(side), side.shift)
        if not side.is_moved:
            return f"{side.base} is {written(self.base(side))}"
        distance = f"{abs(side.shift.months)} months" if side.shift.months else f"{abs(side.shift.days)} days"
        way = "after" if side.shift > Shift() else "before"
        return f"{distance} {way} {written(self.base(side))} is {written(day) if day else 'no date'}"

    def check_start(self, statement: SameDate, result: date) -> None:
        """Raise Untrue if the question does not lead to the date of a statement."""
        moves = [side for side in statement.sides if side.is_moved]
        is_named = any(isinstance(side.base, str) for side in statement.sides)
        if not moves and not is_named:
            if result not in self.mentioned and result not in self.known:
                raise Untrue(statement.span, f"nothing gives the date {written(result)}")
            return
        reachable = _reachable(self.story)
        if is_named or result in reachable:
            return
        asked = {move.shift for move in self.story.moves}
        if any(side.shift.reverse in asked and side.shift not in asked for side in moves):
            raise Untrue(statement.span, "the question asks for the other direction")
        if not min(reachable) <= result <= max(reachable):
            raise Untrue(statement.span, f"the question does not lead to {written(result)}")

    def check_length(self, length: MonthLength) -> None:
        month = month_number(length.month)
        years = [length.year] if length.year else [2000, 2001]
        lengths = [monthrange(year, month)[1] for year in years]
        if length.days not in lengths:
            raise Untrue(length.span, f"it has {lengths[-1]} days")


def _reachable(story: Story) -> set[date]:
    """Return the dates that some of the moves lead to, in any selection."""
    found = {story.base}
    for size in range(1, len(story.moves) + 1):
        for chosen in combinations(story.moves, size):
            day = Story("", story.base, chosen).days
            found |= set(day or ())
    return found


@cache
def _reader() -> DateReader:
    return DateReader(f"the {event}" for event in EVENTS)
