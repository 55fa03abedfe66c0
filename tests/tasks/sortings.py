"""Shared by the tests of word sorting: problems, a worked answer, other wordings of it, and faults."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from sparring.tasks.word_sorting import WordSorting

PAPER = WordSorting(range="paper", train=60, development=40, test=60)
EASY = WordSorting(train=60, development=40, test=60)
WORKED = """\
(1) The first letter: "sing"="s" (19), "song"="s" (19), "apple"="a" (1), "sink"="s" (19), "bee"="b" (2), "bat"="b" (2).
(2) We now have: (1) "apple" < (2) ["bee" ? "bat"] < (19) ["sing" ? "song" ? "sink"].
(3) Now sort this subpart ["bee" ? "bat"] by looking at their second letters: "bee"="e" (5), "bat"="a" (1).
(3.1) We now have: (1) "bat" < (5) "bee".
(3.2) Hence, we have "bat" < "bee".
(4) Now sort this subpart ["sing" ? "song" ? "sink"] by looking at their second letters: "sing"="i" (9), "song"="o" (15), "sink"="i" (9).
(4.1) We now have: (9) ["sing" ? "sink"] < (15) "song".
(4.2) Now sort this subpart ["sing" ? "sink"] by looking at their third letters: "sing"="n" (14), "sink"="n" (14).
(4.2.1) We now have: (14) ["sing" ? "sink"].
(4.2.2) Now sort this subpart ["sing" ? "sink"] by looking at their fourth letters: "sing"="g" (7), "sink"="k" (11).
(4.2.3) We now have: (7) "sing" < (11) "sink".
(4.2.4) Hence, we have "sing" < "sink".
(4.3) Hence, we have "sing" < "sink" < "song".
(5) Hence, we have "apple" < "bat" < "bee" < "sing" < "sink" < "song".
(Final response) So the answer is: apple bat bee sing sink song."""  # noqa: E501 the layout's lines are that long
PLAIN = PAPER.ask(["sing", "song", "apple", "sink", "bee", "bat"])
paper_problems = st.sampled_from([*PAPER.problems("train"), *PAPER.problems("test")])
easy_problems = st.sampled_from([*EASY.problems("train"), *EASY.problems("test")])
draws = st.randoms(use_true_random=False)


def unnumbered(text):
    return re.sub(r"^\([^)]*\) ", "", text, flags=re.MULTILINE)


REWORDINGS = {
    "unnumbered": unnumbered,
    "thoughts": lambda text: "\n".join(f"Thought {n}: {s}" for n, s in enumerate(unnumbered(text).split("\n"), 1)),
    "numbered through": lambda text: "\n".join(f"({n}) {s}" for n, s in enumerate(unnumbered(text).split("\n"), 1)),
    "unquoted": lambda text: text.replace('"', ""),
    "single quotes": lambda text: text.replace('"', "'"),
    "typographic quotes": lambda text: re.sub('"([^"]*)"', "“\\1”", text),
    "wide": lambda text: re.sub(r"([<?=,])", r" \1  ", text),
    "narrow": lambda text: re.sub(r' *([<?]) *(?=["(\[])', r"\1", text),
    "colons": lambda text: re.sub(r'="(.)" (\(\d+\)),?', r': "\1" \2.', text),
    "dashes": lambda text: re.sub(r'"(\w+)"="(.)" \((\d+)\)', r"\1 – \2 [\3]", text).replace(",", ";"),
    "capitals": lambda text: re.sub(r'"(\w)', lambda m: m[0].upper(), text),
    "letters unnumbered": lambda text: re.sub(r'(="."|:|<) \(\d+\)', r"\1", text),
    "commas in brackets": lambda text: text.replace(" ? ", ", "),
    "braces": lambda text: text.replace("[", "{").replace("]", "}"),
    "other words": lambda text: (
        text.replace("Now sort this subpart", "Next let us put")
        .replace("by looking at their", "into order, which takes the")
        .replace("We now have:", "This gives us")
        .replace("Hence, we have", "Therefore:")
        .replace("So the answer is:", "I have now sorted all the words. The answer is")
    ),
    "letters line by line": lambda text: re.sub(r'", "|(?<=letter:) (?=")|(?<=\)), ', "\n", unnumbered(text)),
}


def fault_at(answer, label, task=PAPER, problem=PLAIN):
    fault = task.first_error(problem, answer)
    assert fault is not None
    assert fault.part in answer
    assert fault.reason
    assert fault.step == label, fault
    return fault


def words_at(line):
    """Where the words of the list stand in a line, with their quotes."""
    start = line.index("is:") + 3 if "answer is:" in line else 0
    pattern = r"\w+" if start else r'"\w\w+"'
    return [(m.start(), m.end()) for m in re.compile(pattern).finditer(line, start)]


def put(line, rng, text):
    start, end = rng.choice(words_at(line))
    quote = '"' if line[start] == '"' else ""
    return line[:start] + quote + text + quote + line[end:]


def foreign(line, rng, problem):
    return put(line, rng, rng.choice(["zyzzyva", "colour", "aaa"]))
