"""A table of awkward replies: thoughts left in, other notations and languages, corrections, refusals.

Each row is a reply and what a sensible reader takes from it; None where a reader could not be certain.
"""

from __future__ import annotations

from fractions import Fraction

import pytest

from sparring.parsing import answers

OPTIONS = ("bank", "library", "department store", "mall", "new york")

NUMBERS = [
    ("Die Antwort ist 1.234,5 Euro.", Fraction("2469/2")),
    ("Antwort: 1\u202f234,50 €", Fraction("2469/2")),
    ("Antwort: 1 234,5", Fraction("2469/2")),
    ("答案是１２３", 123),
    ("答案：42。", 42),
    ("La réponse est 3,5.", Fraction("7/2")),
    ("答えは 1,234 円です。", 1234),
    ("答えは1,234円です。", 1234),
    ("الجواب هو ٤٢", 42),
    ("The answer is 1.234.567,89", Fraction("123456789/100")),
    ("The answer is 1.234", Fraction("617/500")),
    ("The answer is 3,5", Fraction("7/2")),
    ("The answer is 0,125", Fraction("1/8")),
    ("It is 1,2,3", 3),
    ("The points are (3,5)", 5),
    ("The answer is ½ cup", Fraction("1/2")),
    ("The answer is 2½", Fraction("5/2")),
    ("The answer is CHF 1'234.50", Fraction("2469/2")),
    ("<think>The answer is 5.</think>\n7", 7),
    ("<think>5 or 6? The answer is 5", None),
    ("<think>maybe 3</think>The answer is 7. ", 7),
    ("</think>\n#### 8", 8),
    ("The answer is 5. No wait, it is 6.", 6),
    ("The answer is 5. Wait, that is the number of pears.", 5),
    ("The answer is 18, not 20.", 18),
    ("She has 7 (not 8).", 7),
    ("She has 7 rather than 8 pens.", 7),
    ("12/05/2021", None),
    ("The answer is 2021-05-12", None),
    ("The answer is minus 5", -5),
    ("The answer is negative 5 degrees", -5),
    ("5 minus 3 is 2", 2),
    ("The answer is 1.5 × 10^3", 1500),
    ("The answer is $1.5 \\times 10^{3}$ m", 1500),
    ("\\boxed{x = 5}", 5),
    ("\\boxed{12\\text{ cm}}", 12),
    ("**Answer: 5**", 5),
    ("Answer = 5", 5),
    ("The answer is:\n\n$$\n18\n$$", 18),
    ("I'm sorry, but I can't help with question 5.", None),
    ("As an AI model, I cannot answer question 5.", None),
    ("The answer is 1,23,456 rupees", 123456),
    ("La respuesta es 1.000.000", 1000000),
    ("Ответ: 3,14", Fraction("157/50")),
    ("उत्तर: ४५", 45),
    ("정답은 42입니다.", 42),
    ("La réponse finale est : 12 %", 12),
    ("The answer should be 12.", 12),
    ("#### 72\n\nLet me know if you have 2 more questions!", 72),
    ("so $18$", 18),
    ("A: 18", 18),
    ("The total cost is $1,234.", 1234),
    ("−7", -7),
    ("Resposta: R$ 1.234,00", 1234),
    ("The answer is 50 percent", 50),
    ("The answer is 3 out of 4", 3),
    ("The answer is approximately 3.14", Fraction("157/50")),
    ("Thus the answer is 10 200-page books", 10),
    ("5 + 7 = 12 (because 12 - 7 = 5)", 5),
]
LETTERS = [
    ("The answer is (B).", "B"),
    ("(B) because not (C)", "B"),
    ("I think (B) because not (C)", "B"),
    ("Therefore, option B is correct.", "B"),
    ("(B) library is the correct answer", "B"),
    ("So the right answer is B.", "B"),
    ("Die Antwort ist B.", "B"),
    ("Die richtige Antwort lautet (B), weil A falsch ist.", "B"),
    ("Antwort: B", "B"),
    ("La bonne réponse est B.", "B"),
    ("La respuesta correcta es la B.", "B"),
    ("答案是C", "C"),
    ("答案：C。", "C"),
    ("所以正确答案为（C）。", "C"),
    ("故选 C", "C"),
    ("答えはBです。", "B"),
    ("正解：B", "B"),
    ("الإجابة الصحيحة هي B", "B"),
    ("الجواب: (B)", "B"),
    ("Ответ: B", "B"),
    ("정답은 B입니다.", "B"),
    ("Ｂ", "B"),
    ("（Ｂ）", "B"),
    ("<think>The answer is A.</think>B", "B"),
    ("<think>It may be (A)", None),
    ("<think>The answer is A.</think>\n\nThe answer is (C).", "C"),
    ("The answer is B. No wait, it is C.", "C"),
    ("The answer is B. Actually, it should be (C).", "C"),
    ("Answer: B\nWait, let me check. A bank has doors.", "B"),
    ("Option B", "B"),
    ("option (b)", "B"),
    ("Choice B: library", "B"),
    ("B - library", "B"),
    ("B) library", "B"),
    ("[B]", "B"),
    ("\\boxed{B}", "B"),
    ("$\\boxed{\\textbf{(B)}}$", "B"),
    ("The answer is **(B) library**.", "B"),
    ("**Answer:** B", "B"),
    ("Ans: B", "B"),
    ("The answer is clearly B.", "B"),
    ("The answer must be B", "B"),
    ("I would choose B.", "B"),
    ("I'd go with (B).", "B"),
    ("My answer is B", "B"),
    ("None of the above", None),
    ("The answer is none of the above", None),
    ("I cannot choose between (A) and (B).", None),
    ("Both A and B", None),
    ("I don't know.", None),
    ("It depends.", None),
    ("The answer is neither (A) nor (B)", None),
    ("The answer is B or possibly C", None),
    ("", None),
    ("Option A is wrong.", None),
    ("Option A is correct, but so is option B is correct", None),
    ("A is not correct. B is correct.", "B"),
    ("The best choice is department store", "C"),
    ("The department store.", "C"),
    ("It would be at the mall.", None),
    ("Answer: E. new york", "E"),
    ("Answer: B. mall", None),
    ("The answer is B (library), not A (bank).", "B"),
    ("B\n\nExplanation: A bank is not right.", "B"),
    ("A level of detail", None),
    ("A. bank\nB. library\nC. department store\nD. mall", None),
    ("A. bank\nD. mall", None),
    ("A. bank\nB. library\nC. department store\n\n(B)", "B"),
    ("B\n\nA. bank\nB. library", "B"),
    ("The correct answer is option D: mall", "D"),
    ("Final answer: `D`", "D"),
    ("答案是 mall", "D"),
    ("Réponse : D", "D"),
    ("A resposta correta é D.", "D"),
    ("Het juiste antwoord is D.", "D"),
    ("La risposta è D", "D"),
]
WORDS = [
    ("Die Antwort ist Berlin.", "Berlin"),
    ("答案是北京。", "北京"),
    ("<think>Paris?</think>\nBerlin", "Berlin"),
    ("The answer is 12 May 2021.", "12 May 2021"),
    ("La réponse est « Paris ».", "Paris"),
    ("\\boxed{\\mathrm{Paris}}", "Paris"),
    ("The answer is Paris. No wait, it is Berlin.", "Berlin"),
]


def test_the_table_has_many_rows():
    assert len(NUMBERS) + len(LETTERS) + len(WORDS) >= 130


@pytest.mark.parametrize(("reply", "value"), NUMBERS)
def test_the_number_of_an_awkward_reply(reply, value):
    assert answers.stated_number(reply) == value


@pytest.mark.parametrize(("reply", "letter"), LETTERS)
def test_the_choice_of_an_awkward_reply(reply, letter):
    assert answers.chosen(reply, OPTIONS) == letter


@pytest.mark.parametrize(("reply", "gold"), WORDS)
def test_the_words_of_an_awkward_reply(reply, gold):
    assert answers.exact(gold, reply)
    assert not answers.exact(gold[:-1], reply)


# What no reader of the text alone can decide. The readings are stated here, so that a change of them is seen.
@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("Die Antwort ist 1.234", Fraction("1.234")),  # or 1234
        ("The answer is 2 million", 2),  # in millions, perhaps
        ("The answer is eighteen", None),
        ("It took place on 12 May 2021", 2021),
        ("The answer is 3 or 4", 3),
    ],
)
def test_an_undecidable_number_is_read_as_in_english(reply, value):
    assert answers.stated_number(reply) == value


@pytest.mark.parametrize(
    "reply",
    [
        "It is between B and C, but I lean towards B",
        "The answer is not (A) but (B)",
        "答えはBではない",
        "Das sollte wohl die zweite sein.",
        "Б",  # a Cyrillic letter
    ],
)
def test_an_undecidable_choice_is_none(reply):
    assert answers.chosen(reply, OPTIONS) is None


@pytest.mark.parametrize(
    ("reply", "number", "letter"),
    [
        ("Here is my thought process: the answer is 5, (A). Here is my response: 7, or B", 7, None),
        ("Here is my thought process: the answer is 5", None, None),
        ("The answer is 5, (A).<R>\nThe answer is (B), 8", 8, "B"),
        ("<think>The answer is 5, (A).</think>\n<think>It is (C), 6</think>(B)\n9", 9, "B"),
    ],
)
def test_a_thought_is_never_read(reply, number, letter):
    assert answers.stated_number(reply) == number
    assert answers.chosen(reply, OPTIONS) == letter
