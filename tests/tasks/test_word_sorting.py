import json
import random
import re
import time
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.common.errors import ConfigError
from sparring.core.task import Checks, Claims, Endless, Solves, Task, offers
from sparring.parsing.steps import Fault
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


# ── problems ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", [PAPER, EASY, WordSorting(range="paper", seed=7, train=50, development=50, test=50)])
def test_splits_are_disjoint_and_every_gold_and_rationale_is_right(task):
    seen = []
    for split in ("train", "development", "test"):
        assert len(task.problems(split)) == getattr(task, split)
        assert task.problems(split) is task.problems(split)
        for problem in task.problems(split):
            seen.append(problem.chat.text)
            assert task.is_right(problem, problem.gold)
            assert task.is_right(problem, problem.rationale)
            assert not task.is_right(problem, "")
            assert task.first_error(problem, problem.rationale) is None
            words = problem.data["words"]
            assert problem.gold.split() == sorted(words)
            assert len(set(words)) == len(words)
    assert len(set(seen)) == len(seen)
    assert len({p.id for split in ("train", "development", "test") for p in task.problems(split)}) == len(seen)


def test_training_problems_go_on_without_end_and_stay_clear_of_the_held_out_ones():
    found = list(islice(EASY.endless(), 400))
    held_out = {p.id for split in ("development", "test") for p in EASY.problems(split)}
    assert found[:60] == list(EASY.problems("train"))
    assert len({p.id for p in found}) == 400
    assert not held_out & {p.id for p in found}


def test_the_same_settings_give_the_same_problems_and_another_seed_gives_others():
    assert WordSorting(train=9).problems("train") == WordSorting(train=9).problems("train")
    assert WordSorting(train=9, seed=1).problems("train") != WordSorting(train=9).problems("train")


def test_training_draws_seen_bins_only_and_the_held_out_splits_draw_both():
    assert {p.bin for p in PAPER.problems("train")} == {"seen, 2-7 words"}
    for split in ("development", "test"):
        assert {p.bin for p in PAPER.problems(split)} == {"seen, 2-7 words", "unseen, 8-20 words"}
    assert all(("unseen" in p.bin) == (len(p.data["words"]) > 7) for p in PAPER.problems("test"))
    assert {p.bin for p in EASY.problems("test")} == {"3 words", "4 words", "5 words"}


def test_easy_words_are_short_and_paper_lists_reach_twenty_with_deep_ties():
    assert all(2 <= len(w) <= 4 for p in EASY.problems("train") for w in p.data["words"])
    many = WordSorting(range="paper", train=0, development=0, test=200).problems("test")
    assert max(len(p.data["words"]) for p in many) == 20
    for place in ("second", "third", "fourth"):
        assert any(f"their {place} letters" in p.rationale for p in many)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"range": "papre"}, "did you mean 'paper'"),
        ({"range": "hard"}, "choose from easy, paper"),
        ({"train": -1}, "train = -1; give 0 or more"),
        ({"test": -5}, "test = -5"),
    ],
)
def test_a_bad_setting_is_named_with_what_is_allowed(settings, named):
    with pytest.raises(ConfigError, match=re.escape(named)):
        WordSorting(**settings)


def test_it_offers_all_that_a_task_can():
    assert all(isinstance(EASY, ability) for ability in (Task, Endless, Checks, Solves, Claims))
    assert offers(EASY) == {"gold", "rationale", "first_error", "solution", "claims"}


def test_the_paper_range_asks_and_works_out_as_published():
    assert PLAIN.chat.text == "Sort the following words alphabetically: List: sing song apple sink bee bat"
    assert PLAIN.rationale == WORKED


def test_the_easy_range_picks_one_word_after_another():
    problem = EASY.ask(["dog", "ant", "cat", "bee"])
    assert problem.chat.text == "sort: dog ant cat bee"
    assert problem.rationale == "ant\nbee\ncat\nant bee cat dog"


# ── right or wrong ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "response",
    [
        "ant bee cat",
        "So the answer is: ant bee cat.",
        "The answer is ant, bee, cat",
        'I have now sorted all the words. The answer is "ant", "bee" and "cat".',
        "The answer is 'ant bee cat'!",
        "**Answer**: ant, bee, and cat.\n\nI hope that helps.",
        "The sorted list is:\n- ant\n- bee\n- cat",
        "Sorted alphabetically:\n1. Ant\n2. Bee\n3. Cat\n",
        "The words in alphabetical order are: ant bee cat (all three).",
        "The answer is: ant < bee < cat",
        "cat comes last.\nant bee cat",
        "The answer is: cat ant bee.\nNo, the answer is: ant bee cat.",
        "#### ant bee cat",
    ],
)
def test_a_right_list_is_right_in_any_ordinary_wording(response):
    assert EASY.is_right(EASY.ask(["cat", "ant", "bee"]), response)


@pytest.mark.parametrize(
    "response",
    [
        "",
        " \n",
        "The answer is:",
        "ant bee",
        "ant bee bee cat",
        "ant bee cat dog",
        "antbeecat",
        "ant cat bee",
        "The answer is: ant bee.\nThere is a cat too.",
        "The answer is: ant bee cat.\nNo, the answer is: cat bee ant.",
        "- ant\n- bee\n- cow\n- cat",
        'Hence, we have "ant" < "bee" < "cat".',
    ],
)
def test_a_wrong_a_missing_and_an_unstated_list_are_wrong(response):
    assert not EASY.is_right(EASY.ask(["cat", "ant", "bee"]), response)


def test_words_that_sentences_are_made_of_are_words_of_a_list_too():
    problem = PAPER.ask(["we", "have", "the", "first", "letter", "and", "order"])
    assert PAPER.is_right(problem, problem.gold)
    assert PAPER.is_right(problem, f"So the answer is: {problem.gold}.")
    assert PAPER.first_error(problem, problem.rationale) is None
    assert PAPER.first_error(problem, problem.rationale.replace('"', "")) is None


def test_the_order_is_that_of_big_bench(data):
    rows = json.loads((data / "bbh" / "word_sorting.json").read_text())["examples"]
    assert len(rows) == 250
    for row in rows:
        problem = PAPER.ask(row["input"].partition("List: ")[2].split())
        assert problem.chat.text == row["input"]
        assert problem.gold == row["target"]
        assert PAPER.is_right(problem, row["target"])
        assert PAPER.is_right(problem, problem.rationale)
        assert PAPER.first_error(problem, problem.rationale) is None


# ── first errors: what is right ───────────────────────────────────────────────────────────────────────────────


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


@settings(max_examples=300)
@given(problem=paper_problems, wording=st.sampled_from(sorted(REWORDINGS)))
def test_a_right_answer_is_right_however_it_is_worded(problem, wording):
    answer = REWORDINGS[wording](problem.rationale)
    assert PAPER.first_error(problem, answer) is None
    assert PAPER.is_right(problem, answer)


def test_orders_may_be_written_from_the_end_and_reasons_given_once_more():
    problem = PAPER.ask(["dog", "ant", "dab"])
    assert PAPER.first_error(problem, "The answer is: ant dab dog") is None
    answer = """The first letter: dog = d (4), ant = a (1), dab = d (4).
We now have ["dog" ? "dab"] > "ant", since dog = d (4) and ant = a (1).
The first letters of ["dog" ? "dab"] are the same, so look at their second letters: "dog": "o". "dab": "a".
So (1) "dab" < (15) "dog" for the subpart. Hence, we have "ant" < "dab" < "dog".
The answer is ant dab dog"""
    assert PAPER.first_error(problem, answer) is None


# ── first errors: what is wrong ───────────────────────────────────────────────────────────────────────────────


def fault_at(answer, label, task=PAPER, problem=PLAIN):
    fault = task.first_error(problem, answer)
    assert fault is not None
    assert fault.part in answer
    assert fault.reason
    assert fault.step == label, fault
    return fault


@pytest.mark.parametrize(
    ("label", "before", "after", "part"),
    [
        ("1", '"sink"="s" (19)', '"sink"="i" (19)', '"sink"="i" (19)'),
        ("1", '"sink"="s" (19)', '"sink"="s" (20)', '"sink"="s" (20)'),
        ("1", '"sink"="s" (19)', '"stink"="s" (19)', '"stink"'),
        ("1", '"sink"="s" (19)', '"sing"="s" (19)', '"sing"'),
        ("1", ', "sink"="s" (19)', "", '"sing"="s" (19), "song"'),
        ("1", "first letter", "second letter", "second letter"),
        ("2", '(2) ["bee" ? "bat"]', '(3) ["bee" ? "bat"]', '(3) ["bee" ? "bat"]'),
        ("2", '(2) ["bee" ? "bat"]', '(2) "bee"', '(1) "apple" < '),
        ("2", '(2) ["bee" ? "bat"]', '(2) "bat" < (2) "bee"', '(2) "bat" < (2) "bee"'),
        ("2", '(1) "apple" < (2) ["bee" ?', '(1) ["apple" ? "bee"] < (2) [', '(1) ["apple" ? "bee"]'),
        ("3", '["bee" ? "bat"]', '["bee" ? "bat" ? "song"]', '["bee" ? "bat" ? "song"]'),
        ("3", "second", "third", "third letters"),
        ("3.1", '(1) "bat" < (5) "bee"', '(5) "bee" < (1) "bat"', '(5) "bee" < (1) "bat"'),
        ("4.1", '["sing" ? "sink"]', '"sing" < "sink"', '"sing" < "sink"'),
        ("4.2.1", '(14) ["sing" ? "sink"]', '(14) "sink" < (14) "sing"', '(14) "sink" < (14) "sing"'),
        ("4.3", ' < "song"', "", '"sing" < "sink"'),
        ("5", '"bat" < "bee"', '["bat" ? "bee"]', '["bat" ? "bee"]'),
        ("5", '"bat" < "bee"', '"bee" < "bat"', '"bee" < "bat"'),
        ("5", '"bat" < "bee"', '"bat" > "bee"', '"bat" > "bee"'),
        ("Final response", "bat bee", "bee bat", "bee bat"),
        ("Final response", "bat bee", "bat bat bee", "bat"),
        ("Final response", "bat bee", "bat", "apple bat sing"),
    ],
)
def test_the_first_wrong_part_is_quoted(label, before, after, part):
    lines = WORKED.split("\n")
    number = next(n for n, line in enumerate(lines) if line.startswith(f"({label}) "))
    assert before in lines[number]
    lines[number] = lines[number].replace(before, after)
    assert part in fault_at("\n".join(lines), label).part


def test_a_subpart_that_was_begun_is_sorted_to_its_end_before_another():
    answer = """(1) We now have: (1) ["ant" ? "and"] < (2) ["bee" ? "bat"].
(2) Now sort this subpart ["ant" ? "and"] by looking at their second letters: "ant"="n" (14), "and"="n" (14).
(3) We now have: (14) ["ant" ? "and"] for the subpart. Hence, we have ["ant" ? "and"] < ["bee" ? "bat"].
(4) Now sort this subpart ["bee" ? "bat"] by looking at their second letters: "bee"="e" (5), "bat"="a" (1)."""
    fault_at(answer, "4", problem=PAPER.ask(["ant", "bee", "and", "bat"]))


def test_a_right_list_is_a_leap_where_a_subpart_that_was_begun_is_left_tied():
    answer = """(1) We now have: (1) ["ant" ? "and"] < (2) "bee".
(2) Now sort this subpart ["ant" ? "and"] by looking at their second letters: "ant"="n" (14), "and"="n" (14).
(3) We now have: (14) ["ant" ? "and"].
(Final response) So the answer is: and ant bee."""
    fault_at(answer, "Final response", problem=PAPER.ask(["ant", "bee", "and"]))


def test_an_order_that_says_more_than_was_compared_is_a_leap_even_where_it_is_true():
    answer = '(1) We now have: (1) "ant" < (2) ["bee" ? "bat"].\n(2) Hence, we have "ant" < "bat" < "bee".\n'
    fault_at(f"{answer}(Final response) So the answer is: ant bat bee.", "2", problem=PAPER.ask(["bee", "ant", "bat"]))


@settings(max_examples=60)
@given(problem=paper_problems, rng=draws)
def test_an_answer_that_stops_short_is_wrong_where_it_stops(problem, rng):
    lines = problem.rationale.split("\n")
    kept = lines[: rng.randrange(1, len(lines))]
    fault = PAPER.first_error(problem, "\n".join(kept))
    assert fault is not None
    assert kept[-1].startswith(f"({fault.step})")
    assert PAPER.first_error(problem, "") == Fault("1", "", "there is no answer")


def swap(line, rng, problem):
    """Two words that the line tells apart change places."""
    blocks = (
        re.findall(r"\[[^]]*\]|\"[^\"]*\"", line)
        if "<" in line
        else line.rstrip(".").split()[-len(problem.data["words"]) :]
    )
    if "=" in line or len(blocks) < 2 or not ("<" in line or "answer" in line):
        return None
    one, other = (re.search(r"[\w'&.]+", block)[0] for block in rng.sample(blocks, 2))
    exchanged = {one: other, other: one}
    head, cut, tail = line.partition("have" if "<" in line else "is:")
    return head + cut + re.sub(r"[\w'&.]*\w", lambda m: exchanged.get(m[0], m[0]), tail)


def words_at(line):
    """Where the words of the list stand in a line, with their quotes."""
    start = line.index("is:") + 3 if "answer is:" in line else 0
    pattern = r"\w+" if start else r'"\w\w+"'
    return [(m.start(), m.end()) for m in re.compile(pattern).finditer(line, start)]


def drop(line, rng, problem):
    if "=" in line:
        pieces = re.findall(r', "\w+"="\w" \(\d+\)|"\w+" \? ', line)
        return line.replace(rng.choice(pieces), "") if pieces else None
    if "<" in line:
        pieces = re.findall(r' < (?:\(\d+\) )?"\w+"|"\w+" \? ', line)
        return line.replace(rng.choice(pieces), "") if pieces else None
    return re.sub(rf" {rng.choice(problem.data['words'])}\b", "", line) if "answer" in line else None


def put(line, rng, text):
    start, end = rng.choice(words_at(line))
    quote = '"' if line[start] == '"' else ""
    return line[:start] + quote + text + quote + line[end:]


def double(line, rng, problem):
    named = {line[start:end].strip('"') for start, end in words_at(line)}
    if len(named) < 2:
        return None
    start, end = rng.choice(words_at(line))
    other = rng.choice(sorted(named - {line[start:end].strip('"')}))
    return line[:start] + line[start:end].replace(line[start:end].strip('"'), other) + line[end:]


def foreign(line, rng, problem):
    return put(line, rng, rng.choice(["zyzzyva", "colour", "aaa"]))


def wrong_letter(line, rng, problem):
    marks = list(re.finditer(r'(?<==")\w', line))
    if not marks:
        return None
    mark = rng.choice(marks)
    return line[: mark.start()] + rng.choice(sorted(set("abcxyz") - {mark[0]})) + line[mark.end() :]


def wrong_number(line, rng, problem):
    marks = list(re.finditer(r"(?<=[^^]\()\d+(?=\))", line))
    if not marks:
        return None
    mark = rng.choice(marks)
    return line[: mark.start()] + str(int(mark[0]) % 26 + 1) + line[mark.end() :]


CORRUPTIONS = (swap, drop, double, foreign, wrong_letter, wrong_number)


@settings(max_examples=400)
@given(problem=paper_problems, corrupt=st.sampled_from(CORRUPTIONS), rng=draws)
def test_a_corrupted_step_is_found_at_that_step(problem, corrupt, rng):
    lines = problem.rationale.split("\n")
    number = rng.randrange(len(lines))
    label = re.match(r"\(([^)]*)\)", lines[number])[1]
    worse = corrupt(lines[number], rng, problem)
    if worse is None:
        return
    assert worse != lines[number]
    answer = "\n".join([*lines[:number], worse, *lines[number + 1 :]])
    fault_at(answer, label, problem=problem)
    bare = PAPER.first_error(problem, unnumbered(answer))
    assert bare is not None
    assert bare.step == str(number + 1)


# ── the easy range ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("ant\ncat\nant cat dog", None),
        ("  ant \n\n cat\n ant  cat   dog ", None),
        ("ant,\ncat,\nant, cat, dog.", None),
        ("1. 'ant'\n2. 'cat'\n3. 'ant' 'cat' 'dog'", None),
        ("ant\ncat\ndog\nThe answer is: ant cat dog", None),
        ("ant cat dog", None),
        ("- ant\n- cat\n- dog", None),
        ("cat ant dog", ("1", "cat ant")),
        ("cat\nant\nant cat dog", ("1", "cat")),
        ("ant\nant\nant cat dog", ("2", "ant")),
        ("ant\ncow\nant cat dog", ("2", "cow")),
        ("ant\ndog\nant cat dog", ("2", "dog")),
        ("ant\ncat\nant dog cat", ("3", "dog cat")),
        ("ant\ncat\nant cat", ("3", "ant cat")),
        ("ant\ncat\nant cat cat dog", ("3", "cat")),
        ("ant\ncat\nant cow dog", ("3", "cow")),
        ("ant\ncat", ("2", "cat")),
        ("ant\n?", ("2", "?")),
        ("ant cat dog\ndog", ("2", "dog")),
    ],
)
def test_the_first_wrong_line_of_a_compact_answer_is_found(answer, fault):
    found = EASY.first_error(EASY.ask(["dog", "ant", "cat"]), answer)
    assert (found and (found.step, found.part)) == fault


@settings(max_examples=200)
@given(problem=easy_problems, rng=draws)
def test_a_corrupted_line_is_found_at_that_line(problem, rng):
    lines = problem.rationale.split("\n")
    number = rng.randrange(len(lines))
    words = lines[number].split()
    place = rng.randrange(len(words))
    others = [word for word in problem.data["words"] if word != words[place]]
    worse = [[*words[:place], other, *words[place + 1 :]] for other in (*others, "zzz")]  # other, doubled, foreign
    if len(words) > 1:
        worse += [words[:place] + words[place + 1 :], [*words[:place], words[place], *words[place:]], words[::-1]]
    worse = rng.choice(worse)
    answer = "\n".join([*lines[:number], " ".join(worse), *lines[number + 1 :]])
    fault = fault_at(answer, str(number + 1), EASY, problem)
    assert EASY.layout.read_feedback(EASY.layout.write_feedback(answer, fault)) == Fault(fault.step, fault.part)


# ── solutions ─────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=200)
@given(problem=paper_problems, wording=st.sampled_from(sorted(REWORDINGS)), rng=draws)
def test_a_right_answer_cut_before_any_step_is_finished_rightly(problem, wording, rng):
    answer = REWORDINGS[wording](problem.rationale)
    step = rng.choice(PAPER.layout.split(answer))
    kept = answer[: step.start]
    for given_up in (kept, kept.rstrip("\n")):
        solved = PAPER.solve(problem, given_up)
        assert solved.startswith(given_up)
        assert PAPER.is_right(problem, solved)
        assert PAPER.first_error(problem, solved) is None
        labels = [s.label for s in PAPER.layout.split(solved)]
        assert len(set(labels)) == len(labels)
    assert PAPER.solve(problem, answer) == answer


@given(problem=paper_problems, rng=draws)
def test_our_own_answers_are_finished_as_they_were_begun(problem, rng):
    step = rng.choice(PAPER.layout.split(problem.rationale))
    assert PAPER.solve(problem, problem.rationale[: step.start]) == problem.rationale


@given(problem=easy_problems, rng=draws)
def test_a_compact_answer_is_finished_rightly(problem, rng):
    step = rng.choice(EASY.layout.split(problem.rationale))
    kept = problem.rationale[: step.start]
    assert EASY.solve(problem, kept) == problem.rationale
    loose = kept.replace(" ", ",  ").strip()
    solved = EASY.solve(problem, loose)
    assert solved.startswith(loose)
    assert EASY.first_error(problem, solved) is None
    assert EASY.is_right(problem, solved)


@given(problem=paper_problems, rng=draws)
def test_a_wrong_answer_is_mended_from_the_steps_before_its_first_fault(problem, rng):
    lines = problem.rationale.split("\n")
    number = rng.randrange(len(lines))
    lines[number] = foreign(lines[number], rng, problem)
    answer = "\n".join(lines)
    fault = PAPER.first_error(problem, answer)
    mended = PAPER.solve(problem, PAPER.layout.before(answer, fault.step))
    assert PAPER.layout.refusal(answer, fault, mended) is None
    assert PAPER.layout.read_feedback(PAPER.layout.write_feedback(answer, fault)).agrees_with(fault)


# ── remarks ───────────────────────────────────────────────────────────────────────────────────────────────────


def is_true(remark, words):
    """Whether an easy remark, or a remark on the letters of two words, is true."""
    easy = re.fullmatch(r"check: (\w+)<(\w+)", remark)
    if easy:
        assert {easy[1], easy[2]} <= set(words)
        return easy[1] < easy[2]
    place = re.search(r"(\w+) letter", remark)[1]
    depth = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"].index(place)
    told = re.findall(r'"(\w+)"="(\w?)" \((\d+)\)', remark)
    assert told
    return all(
        word in words and word[depth:][:1] == its and int(number) == (ord(its) - 96 if its else 0)
        for word, its, number in told
    )


def an_answer(task, problem, rng):
    lines = problem.rationale.split("\n")
    if rng.random() < 0.3:
        return problem.rationale
    if rng.random() < 0.2:
        return "\n".join(lines[: rng.randrange(len(lines))])
    number = rng.randrange(len(lines))
    words = problem.data["words"]
    one, other = rng.sample(words, 2)
    exchanged = {one: other, other: one}
    lines[number] = re.sub(r"[\w']+", lambda m: exchanged.get(m[0], m[0]), lines[number])
    return "\n".join(lines)


@settings(max_examples=200)
@given(problem=easy_problems, rng=draws)
def test_easy_remarks_look_alike_and_only_hints_are_true(problem, rng):
    answer = an_answer(EASY, problem, rng)
    hint, claim = EASY.hint(problem, answer, rng), EASY.false_claim(problem, answer, rng)
    assert is_true(hint, problem.data["words"])
    assert not is_true(claim, problem.data["words"])
    assert problem.gold not in hint


@settings(max_examples=200)
@given(problem=paper_problems, rng=draws)
def test_claims_on_letters_are_false_and_hints_are_true(problem, rng):
    answer = an_answer(PAPER, problem, rng)
    labels = [s.label for s in PAPER.layout.split(answer)] or ["1"]
    claim = PAPER.false_claim(problem, answer, rng)
    assert not is_true(claim, problem.data["words"])
    hint = PAPER.hint(problem, answer, rng)
    fault = PAPER.first_error(problem, answer)
    assert problem.gold not in hint
    if fault:
        assert hint.startswith(f"Check step ({fault.step}): ")
    if fault is None:
        assert is_true(hint, problem.data["words"])
    assert all(re.match(r"Check step \(([^)]*)\): ", remark)[1] in labels for remark in (hint, claim))


def test_a_hint_is_about_the_first_fault():
    rng = random.Random(0)
    problem = EASY.ask(["dog", "ant", "cat", "bee"])
    assert EASY.hint(problem, "ant\ncat\ndog\nant bee cat dog", rng) == "check: bee<cat"
    assert EASY.hint(problem, "ant\nbee\ncat\nant bee dog cat", rng) == "check: cat<dog"
    assert "cat" in EASY.hint(problem, "ant\nbee\ncat\nant bee dog", rng)
    assert PAPER.hint(PAPER.ask(["dog", "ant"]), '(1) The first letter: "dog"="d" (4), "ant"="n" (14).', rng) == (
        'Check step (1): the first letter is "ant"="a" (1).'
    )


def test_remarks_are_drawn_from_the_stream_that_is_given():
    problem = EASY.problems("train")[0]
    for remark in (EASY.hint, EASY.false_claim):
        first = [remark(problem, problem.rationale, random.Random(5)) for _ in range(2)]
        assert first[0] == first[1]
        assert len({remark(problem, problem.rationale, random.Random(n)) for n in range(40)}) > 1


# ── hostile words ─────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=300)
@given(text=st.text(max_size=300) | st.text(alphabet="\"'()[]<>?=:,.- \n19 antdog", max_size=300), rng=draws)
def test_any_text_is_read_without_a_crash_and_faults_quote_it(text, rng):
    for task in (EASY, PAPER):
        problem = task.ask(["dog", "ant", "antd"])
        fault = task.first_error(problem, text)
        assert fault is None or fault.part in text
        assert (fault is None) <= task.is_right(problem, text)
        assert task.solve(problem, text).startswith(text)
        assert task.hint(problem, text, rng)
        assert not is_true(task.false_claim(problem, text, rng), ["dog", "ant", "antd"])


@pytest.mark.parametrize(
    "unit",
    [
        "(",
        "[ant ? ",
        '"',
        "'",
        "ant<",
        "ant ? ",
        "(9",
        "(9) ",
        "a'",
        "answer is ",
        "ant: ",
        " x",
        "(1) ant\n",
        "ant=a (1) ",
    ],
)
def test_long_hostile_answers_take_no_long_time(unit):
    start = time.process_time()
    for task in (EASY, PAPER):
        problem = task.ask(["dog", "ant", "cat"])
        task.first_error(problem, unit * 5_000)
        task.is_right(problem, unit * 5_000)
    assert time.process_time() - start < 2


def test_numbers_too_long_for_python_and_code_are_mere_words():
    problem = PAPER.ask(["dog", "ant"])
    digits = "9" * 5_000
    fault_at(f'(1) The first letter: "dog"="d" ({digits}), "ant"="a" (1).', "1", problem=problem)
    fault_at(f'(1) We now have: ({digits}) "ant" < (4) "dog".', "1", problem=problem)
    assert PAPER.solve(problem, f"({digits}) So.\n").startswith(f"({digits}) So.\n")
    assert not PAPER.is_right(problem, "The answer is: ' '.join(sorted(['dog', 'ant']))")


def test_an_answer_that_goes_on_after_its_final_response_is_mended():
    kept = "(Final response):\n"
    solved = PAPER.solve(PLAIN, kept)
    assert solved.startswith(kept)
    assert PAPER.first_error(PLAIN, solved) is None
    assert PAPER.is_right(PLAIN, solved)
