"""Right answers of the multiple-choice tasks in other words."""

import random
import re

from sparring.core.task import Problem
from sparring.parsing.dates.calendar import read_date

PLACES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")


def deduction_reworded(problem: Problem, rng: random.Random) -> str:
    """Signs as words or turned round, clues in another order, no labels, the last step in other words."""
    lines = [re.sub(r"^\([^)]*\) ", "", line) for line in problem.rationale.split("\n")]
    if rng.random() < 0.5:  # clues in another order
        clues = [index for index, line in enumerate(lines) if line.startswith("Clue ")]
        moved = dict(zip(clues, rng.sample(clues, len(clues)), strict=True))
        lines = [lines[moved.get(index, index)] for index in range(len(lines))]
    if rng.random() < 0.3:  # the answer argues without numbers of clues
        lines = [re.sub(r"^(?:Clue|By clues?) [\d, and]+: ", "We know that ", line) for line in lines]
    lines = [reworded_claim(line, rng) for line in lines]
    end = rng.choice([f"The answer is ({problem.gold}).", f"**Answer: {problem.gold}**", f"({problem.gold})"])
    return "\n".join([*lines[:-1], end])


def reworded_claim(line: str, rng: random.Random) -> str:
    """`a < b` and `a = 2` in words, or turned round."""
    less = re.search(r"([\w ]+) < ([\w ]+)\.$", line)
    head = line.rpartition(": ")[0]
    head = f"{head}: " if head else ""
    if less and line.startswith(("Clue", "We know")):
        one, other = less[1].strip().removeprefix("We know that "), less[2]
        return head + rng.choice(
            [
                f"{other} > {one}.",
                f"the {one} is to the left of the {other}.",
                f"{other} finished below {one}.",
                f"the {one} is not more expensive than the {other}.",
            ]
        )
    equal = re.search(r"([\w ]+) = (\d)\.$", line)
    if equal:
        name, place = equal[1].strip().removeprefix("So ").removeprefix("We know that "), int(equal[2])
        rank = PLACES[place - 1]
        return head + rng.choice(
            [f"{place} = {name}.", f"the {name} is in position {place}.", f"the {rank} is the {name}."]
        )
    return line


def dates_reworded(problem: Problem, rng: random.Random) -> str:
    """Dates in other notations, moves the other way round, no labels, a fact about the calendar before."""
    lines = problem.rationale.split("\n")
    if rng.random() < 0.5:
        lines = [re.sub(r"^\([^)]*\) ", "", line) for line in lines]
    forms = (
        lambda day: f"{day:%B} {day.day}, {day.year}",
        lambda day: f"{day.day} {day:%b} {day.year}",
        lambda day: day.isoformat(),
        lambda day: f"{day.month}/{day.day}/{day.year}",
    )
    form = rng.choice(forms)
    lines = [re.sub(r"\d+/\d+/\d+", lambda m: form(read_date(m[0])), line) for line in lines]
    if rng.random() < 0.5:
        lines = [re.sub(r"is (\d+ \w+ (?:after|before) .*?), which is", r"is found: \1 is", line) for line in lines]
    if rng.random() < 0.3 and not lines[0].startswith("("):
        lines.insert(0, "February 2004 has 29 days, and 02/29/2004 is not asked for.")
    return "\n".join(lines)
