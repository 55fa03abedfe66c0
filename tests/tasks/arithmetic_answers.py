"""Answers to arithmetic problems for the tests: right ones in other words, and ways to make them wrong."""

import random
import re

from hypothesis import strategies as st

from sparring.core.chat import question
from sparring.core.task import Problem
from sparring.parsing.arithmetic.expressions import parse, value_of
from sparring.parsing.steps import COMPACT, NUMBERED
from sparring.tasks.multistep_arithmetic import MultistepArithmetic

EASY = MultistepArithmetic(train=400, development=50, test=100)
PAPER = MultistepArithmetic("paper", train=120, development=24, test=60)
TASKS = {"easy": EASY, "paper": PAPER}

easy_problems = st.sampled_from([*EASY.problems("train"), *EASY.problems("test")])
paper_problems = st.sampled_from([*PAPER.problems("train"), *PAPER.problems("test")])
seeds = st.integers(0, 2**32)


def asked(text: str, answer: str | None = None) -> Problem:
    return Problem(text, question(text), str(value_of(parse(text.rstrip(" =")))), answer)


def wrong_step(task: MultistepArithmetic, problem: Problem, answer: str) -> str | None:
    fault = task.first_error(problem, answer)
    if fault is not None:
        assert fault.part in answer
        assert task.layout.before(answer, fault.step) is not None
        assert fault.reason
    return fault.step if fault else None


CLEAR = asked("((5 + 2 * -3 - 6) - (7 - -1 + 4 * 2)) =")
SAID = [
    "To solve this, first compute each bracket:\n1. 5 + 2 * -3 - 6: 2 * -3 = -6, so 5 + (-6) - 6 = -7.\n"
    "2. 7 - -1 + 4 * 2: 4 * 2 = 8, so 7 + 1 + 8 = 16.\nNow subtract: -7 - 16 = -23.\n\n**Final answer: -23**",
    "**Step 1: Left bracket**\n\\[ 5 + 2 \\times (-3) - 6 = 5 - 6 - 6 = -7 \\]\n**Step 2: Right bracket**\n"
    "\\[ 7 - (-1) + 4 \\times 2 = 7 + 1 + 8 = 16 \\]\n**Step 3: Subtract**\n\\[ -7 - 16 = -23 \\]\n"
    "The answer is $\\boxed{-23}$.",
    "We need (5 + 2 * -3 - 6) - (7 - -1 + 4 * 2).\nMultiplication first: 2 * -3 = -6 and 4 * 2 = 8.\n"
    "So we have (5 - 6 - 6) - (7 + 1 + 8) = -7 - 16 = -23.\n#### -23",
    '(1) This equation can be written as "(A - B)", where A = (5 + 2 * -3 - 6) and B = (7 - -1 + 4 * 2).\n'
    "(2) Let's calculate A = (5 + 2 * -3 - 6) = (5 + (2 * -3) - 6) = (5 + (-6) - 6) = (-1 - 6) = -7.\n"
    "(3) Let's calculate B = (7 - -1 + 4 * 2) = (7 + 1 + 8) = (16).\n"
    "(4) Then, the final equation is A - B = -7 - 16 = -23. So the answer is -23",
    "Thought 1: Let x = (5 + 2 * -3 - 6), and y = (7 - -1 + 4 * 2).\n"
    "Thought 2: x=5+2*-3-6=5-6-6=-7\nThought 3: y = 7 + 1 + 8 = 16.\n"
    "Thought 4: x - y = -7 - 16 = -23.\nThe answer is -23.",
    "5 + 2 * -3 - 6 = 5 - 6 - 6 = -7\n7 - -1 + 4 * 2 = 8 + 8 = 16\n-7 - 16 = -23\nAnswer: **-23**",
    "2 * -3 = -6\n5 + -6 = -1\n-1 - 6 = -7\n4 * 2 = 8\n7 - -1 = 8\n8 + 8 = 16\n-7 - 16 = -23\n-23",
    "((5 + 2 * -3 - 6) - (7 - -1 + 4 * 2)) = ((5 - 6 - 6) - (7 - -1 + 8)) = (-7 - 16) = -23",
    "((5 + 2 * -3 - 6) - (7 - -1 + 4 * 2)) =\n= (5 - 6 - 6) - (7 + 1 + 8)\n= -7 - 16\n= -23",
    "5 + 2 \\times -3 - 6 - (7 - -1) - 4 × 2 = 5 - 6 - 6 - 8 - 8 = -23\nThe answer is $-23$.",
    "First, 2 * -3 is -6, so A: (5 + -6 - 6) = -7. Next, 16 = (7 - -1) + 4 * 2, call it B.\n-7 - 16 = -23. "
    "The answer is -23.",
    "Let (5 + 2 * -3 - 6) be P. P equals -7. Q = 7 - -1 + 4(2) = 16. P - Q = -23, the answer.\n-23",
    "A = (5 + 2 * -3 - 6) = 5 - (2 * 3 + 6) = 5 - (6 + 6) = 5 - 12 = -7\nB = (7 - -1 + 4 * 2) = 4 * 2 + (7 + 1) = 16\n"
    "A - B = -7 - 16 = -(7 + 16) = -23\n-23",
    "The brackets are X1 = (5 + 2 * -3 - 6) = -7.0 and X2 = ((7 - -1 + 4 * 2) = 16, and X1 - X2 = -(7 + 16) = -23.",
    "-23",
]


EASY_SAID = [
    ("(4-(7*3))=", "7 * 3 = 21\n4 - 21 = -17\n= -17"),
    ("(4-(7*3))=", "(4-(7*3))=\n7*3=21\n4-21=-17\n-17"),
    ("(4-(7*3))=", "3*7=21\n4-21=-17\n-17\n"),
    ("(4-(7*3))=", "4-7*3=4-21=-17\n-17"),
    ("(4+(7+3))=", "4+7=11\n11+3=14\n14"),
    ("(4-(7+3))=", "4-7=-3\n-3-3=-6\n-6"),
    ("(4-(7-3))=", "7-3=4\n4-4=0\n0"),
    ("(4-(3-9))=", "3-9=-6\n4+6=10\n10"),
    ("((2*3)*4)=", "3*4=12\n2*12=24\n24"),
    ("(8*(2-2))=", "2-2=0\n8*0=0\n0"),
    ("(0-(7*1))=", "7*1=7\n0-7=-7\n-7"),
]


NAMED = '(1) This equation can be written as "A - B", where A = (5 + 2 * -3 - 6) and B = (7 - -1 + 4 * 2).\n'


def reworded(answer: str, rng: random.Random) -> str:
    """The same right answer, otherwise: spacing, brackets, signs, fewer links, other names, other labels."""
    lines = [line.partition(") ")[2] for line in answer.split("\n")]
    for place, line in enumerate(lines[1:-1], start=1):
        head, *links, last = line.removesuffix(".").split(" = ")
        kept = [link for link in links[1:] if rng.random() < 0.6]
        if links and ("A" not in links[0] or rng.random() < 0.5):
            kept = links[:1] + kept
        lines[place] = " = ".join([head, *kept, last]) + "."
    text = "\n".join(lines)
    if rng.random() < 0.5:
        text = re.sub(r"- -(\d+)", r"+ \1", text)
    if rng.random() < 0.5:
        text = re.sub(r"(?<=[=(+*] )-(\d+)(?= [-+])", r"(-\1)", text)
    if rng.random() < 0.5:
        text = re.sub(
            r"= \(([^=]*)\)(?= =|\.)", lambda found: f"= {found[1]}" if balanced(found[1]) else found[0], text
        )
    if rng.random() < 0.5:
        text = re.sub(r"\b([A-H])\b", lambda found: "PQRSTUVW"["ABCDEFGH".index(found[1])], text)
    if rng.random() < 0.3:
        text = re.sub(r" ([-+*]) ", r"\1", text)
    label = rng.choice(["", "Thought {}: ", "({}) "])
    return "\n".join(label.format(number) + line for number, line in enumerate(text.split("\n"), start=1))


def balanced(text: str) -> bool:
    depths = [text[: place + 1].count("(") - text[: place + 1].count(")") for place in range(len(text))]
    return min(depths) == 0 == depths[-1]


def sides(answer: str) -> list[tuple[int, int, str]]:
    """The numeric sides of the equations in `answer`, with their spans."""
    pattern = r"(?<== )[-+*()\d ]+?(?= =|[.,]| and)|^[-+*\d]+?(?==)|(?<=\d=)-?\d+|^-?\d+$"
    return [(found.start(), found.end(), found[0]) for found in re.finditer(pattern, answer, re.MULTILINE)]


def corrupted(answer: str, rng: random.Random) -> tuple[str, str] | None:
    """`answer` with one side of an equation changed in value: an operand, an operator, a sign, or an operand dropped;
    and the label of the step."""
    start, end, text = rng.choice(sides(answer))
    way = rng.choice(["operand", "operator", "sign", "dropped"])
    changed = text
    if way == "operand":
        found = rng.choice(list(re.finditer(r"\d+", text)))
        changed = text[: found.start()] + str(int(found[0]) + rng.choice([1, 2, 10])) + text[found.end() :]
    elif way == "operator":
        found = rng.choice([*re.finditer(r"(?<=[\d)] )[-+*]|(?<=\d)[-+*]", text)] or [None])
        changed = text[: found.start()] + rng.choice("+-*") + text[found.end() :] if found else text
    elif way == "sign":
        found = rng.choice([*re.finditer(r"(?<![\d)] )(?<!\d)-(?=\d)", text)] or [None])
        changed = text[: found.start()] + text[found.end() :] if found else text
    else:
        changed = re.sub(r" [-+*] -?\d+(?=\)$)", "", text)
    if changed == text or value_of(parse(changed)) == value_of(parse(text)):
        return None
    layout = NUMBERED if answer.startswith("(") else COMPACT
    label = next(step.label for step in layout.split(answer) if step.start <= start < step.end)
    return answer[:start] + changed + answer[end:], label
