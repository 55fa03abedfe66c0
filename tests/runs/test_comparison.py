"""Comparisons of evaluations and runs, with figures derived by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparring.common.errors import ConfigError
from sparring.runs.comparison import compare
from tests.cli.program import refused, sparring_


def evaluation(folder: Path, right: str, seed: int = 0, kind: str = "solo", first: int = 0, **more) -> Path:
    """Write an evaluation whose problems are right where `right` has a 1; `-` leaves the measure out."""
    folder.mkdir(parents=True)
    results = {
        "evaluation": {"seed": seed},
        "protocol": {"kind": kind, **more},
        "primary": "accuracy",
        "learner": [{}, {}],
    }
    (folder / "results.json").write_text(json.dumps(results))
    rows = [
        {"problem": f"p{n}", "measures": {"length": n, **({} if mark == "-" else {"accuracy": mark == "1"})}}
        for n, mark in enumerate(right, start=first)
    ]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(folder: Path, best: str, final: str, seed: int = 0) -> Path:
    """Write the test results of a training run."""
    folder.mkdir(parents=True)

    def figures(right: str) -> dict:
        rows = [{"problem": f"p{n}", "measures": {"accuracy": mark == "1"}} for n, mark in enumerate(right)]
        return {"primary": "accuracy", "outcomes": rows}

    (folder / "evaluation.json").write_text(json.dumps({**figures(best), "final": figures(final)}))
    (folder / "recipe.toml").write_text(f"[run]\nseed = {seed}\n")
    return folder


def test_one_seed_by_hand(tmp_path):
    one, two = evaluation(tmp_path / "a", "1111111000"), evaluation(tmp_path / "b", "0000001000")
    [comparison] = compare([str(one), str(two)])
    assert (comparison.mean, comparison.other_mean) == (0.7, 0.1)
    assert comparison.difference == pytest.approx(0.6)
    assert (comparison.better, comparison.worse, comparison.problems) == (6, 0, 10)
    assert (comparison.sign_test, comparison.holm, comparison.mcnemar[0]) == pytest.approx((2 / 2**6,) * 3)
    assert 0.2 < comparison.low < 0.6 < comparison.high < 1
    assert comparison.verdict().startswith(f"{one} has a higher accuracy than {two}: +60.0% [+")
    shown = comparison._repr_html_()  # in a notebook
    assert all(f">{cell}</td>" in shown for cell in (str(one), "70.0%", "10.0%", "+60.0%", "6 / 0", "0.031"))


def test_the_measure_decides_whether_a_difference_is_a_percentage(tmp_path):
    """The means of both measures are 1 and 0, or 0 and 0."""
    one, two = evaluation(tmp_path / "a", "1"), evaluation(tmp_path / "b", "0")
    [right], [length] = compare([str(one), str(two)]), compare([str(one), str(two)], "length")
    assert (right.shown(right.mean), right.shown(right.difference, sign=True)) == ("100.0%", "+100.0%")
    assert (length.shown(length.mean), length.shown(length.difference, sign=True)) == ("0", "+0")


def test_seeds_are_paired_by_their_number_whatever_the_folders_order(tmp_path):
    for seed, ours, theirs in ((7, "1100", "1000"), (3, "0110", "0100")):
        evaluation(tmp_path / f"ours-{9 - seed}", ours, seed)
        evaluation(tmp_path / f"theirs-{seed}", theirs, seed)
    [comparison] = compare([str(tmp_path / "ours-*"), str(tmp_path / "theirs-*")])
    assert comparison.paired_by_seed
    assert comparison.seeds == comparison.other_seeds == (3, 7)
    assert comparison.mcnemar == {3: 1.0, 7: 1.0}
    # means over the two seeds: ours 0.5 1 0.5 0, theirs 0.5 0.5 0 0
    assert (comparison.better, comparison.worse) == (2, 0)
    assert comparison.difference == 0.25


def test_other_seeds_are_compared_unpaired(tmp_path):
    for seed in (0, 1):
        evaluation(tmp_path / f"ours-{seed}", "1100", seed)
    evaluation(tmp_path / "theirs", "1000", 5)
    [comparison] = compare([str(tmp_path / "ours-*"), str(tmp_path / "theirs")])
    assert (comparison.paired_by_seed, comparison.mcnemar) == (False, {})
    assert comparison.difference == 0.25


def test_several_comparisons_are_adjusted_together(tmp_path):
    arms = [
        evaluation(tmp_path / "a", "1" * 10),
        evaluation(tmp_path / "b", "0" * 10),
        evaluation(tmp_path / "c", "0011111111"),
    ]
    against_b, against_c = compare([str(arm) for arm in arms])
    assert against_b.holm == 2 * against_b.sign_test == 2 * 2 / 2**10
    assert against_c.holm == against_c.sign_test == 0.5


def test_runs_are_compared_by_their_best_or_final_learners(tmp_path):
    one, two = run(tmp_path / "a", "1111", "1000"), run(tmp_path / "b", "1100", "1100")
    assert compare([str(one), str(two)])[0].difference == 0.5
    assert compare([str(one), str(two)], final=True)[0].difference == -0.25


def test_a_measure_that_does_not_apply_everywhere_is_compared_where_all_have_it(tmp_path):
    one, two = evaluation(tmp_path / "a", "1-10"), evaluation(tmp_path / "b", "-100")
    [comparison] = compare([str(one), str(two)])
    assert (comparison.problems, comparison.difference) == (2, 0.5)
    [lengths] = compare([str(one), str(two)], "length")
    assert (lengths.problems, lengths.difference, lengths.mcnemar) == (4, 0, {})


def test_the_command_prints_a_table_and_writes_json(tmp_path):
    one, two = evaluation(tmp_path / "a", "1111111000"), evaluation(tmp_path / "b", "0000001000")
    said = sparring_("compare", one, two, "--output", tmp_path / "c.json")
    assert said.code == 0, said
    for words in ("70.0%", "10.0%", "+60.0%", "6 / 0", "0.031", "one seed"):
        assert words in said.out
    [figures] = json.loads((tmp_path / "c.json").read_text())
    assert (figures["difference"], figures["problems"]) == (pytest.approx(0.6), 10)


def test_means_over_seeds_that_differ_by_rounding_are_equal(tmp_path):
    for seed, ours, theirs in ((0, 0.1, 0.3), (1, 0.2, 0.0)):
        for name, share in (("ours", ours), ("theirs", theirs)):
            folder = evaluation(tmp_path / f"{name}-{seed}", "1" * 10, seed)
            rows = [{"problem": f"p{n}", "measures": {"accuracy": share}} for n in range(10)]
            (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    [comparison] = compare([str(tmp_path / "ours-*"), str(tmp_path / "theirs-*")])
    assert (comparison.better, comparison.worse, comparison.sign_test) == (0, 0, 1.0)


def test_figures_of_another_judge_baseline_or_objective_are_not_compared(tmp_path):
    one = evaluation(tmp_path / "a", "11", kind="judge_score", judge={"by": "endpoint", "model": "m"}, samples=1)
    two = evaluation(tmp_path / "b", "10", kind="judge_score", judge={"by": "endpoint", "model": "n"})
    refused("compare", one, two, says=("measured by different judge;",))
    same = evaluation(tmp_path / "c", "10", kind="judge_score", judge={"by": "endpoint", "model": "m"}, samples=4)
    assert compare([str(one), str(same)])
    refused("compare", one, same, "--final", says=("has no final learner; leave out --final",))
    for name, objective in (("sft", {"kind": "Likelihood"}), ("dpo", {"kind": "DPO", "beta": 0.1})):
        folder = run(tmp_path / name, "11", "10")
        figures = json.loads((folder / "evaluation.json").read_text())
        figures["protocol"] = {"kind": "held_out_loss", "objective": objective}
        (folder / "evaluation.json").write_text(json.dumps(figures))
    refused("compare", tmp_path / "sft", tmp_path / "dpo", says=("measured by different objective;",))


def test_what_cannot_be_compared_is_refused_in_one_line(tmp_path):
    one, two = evaluation(tmp_path / "a", "1111"), evaluation(tmp_path / "b", "1100", first=1)
    refused("compare", one, two, says=("not measured on the same problems", "4 and 4, 3 of them the same"))
    other = evaluation(tmp_path / "c", "1111", kind="discussion")
    refused("compare", one, other, says=("different protocols (solo and discussion)",))
    refused("compare", one, says=("at least two arms",))
    refused("compare", one, one, says=("named twice",))
    refused("compare", one, tmp_path / "nothing-*", says=("no folder matches",))
    refused("compare", one, tmp_path, says=("no results.json or evaluation.json",))
    same = evaluation(tmp_path / "d", "1100")
    refused("compare", one, same, "--measure", "accurracy", says=("'accurracy'", "did you mean 'accuracy'"))
    refused("compare", tmp_path / "[ad]", same, says=("the same seed (0)",))
    (same / "results.json").write_text("{}")
    with pytest.raises(ConfigError, match="damaged"):
        compare([str(one), str(same)])
