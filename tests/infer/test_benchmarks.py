"""Accuracy over benchmarks: by hand, for one source and several, and where a draw lacks one."""

import math

import numpy as np
import pytest

from w2s import tasks
from w2s.infer import benchmarks

ROWS = [{"source": source} for source in "aaab"]


def test_a_small_benchmark_weighs_as_much_as_a_large_one():
    S = benchmarks.sums(ROWS, [1, 1, 0, 0])
    assert S.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert benchmarks.headline(S.sum(0))["acc"] == pytest.approx((2 / 3 + 0) / 2)


def test_a_draw_without_a_source_is_the_mean_of_the_others_and_an_empty_one_is_nan():
    S = benchmarks.sums(ROWS, [1, 1, 0, 0])
    weights = np.array([[1, 0, 1, 0], [0, 0, 0, 2], [0, 0, 0, 0]], float)  # rows drawn how often
    both = benchmarks.headline(weights @ S)["acc"]
    assert both[:2].tolist() == [.5, 0] and math.isnan(both[2])


def test_each_is_shown_and_all_is_their_mean():
    found = {(m["slice"], m["metric"]): m["value"] for m in benchmarks.evaluate(
        ROWS, {"acc": [1, 1, 0, 1], "answered": [True, True, True, False]})}
    assert found == {
        ("all", "acc"): pytest.approx(5 / 6), ("a", "acc"): pytest.approx(2 / 3), ("b", "acc"): 1,
        ("all", "answered"): .5, ("a", "answered"): 1, ("b", "answered"): 0}


def test_questions_of_several_benchmarks_are_averaged_by_benchmark():
    mcqa = tasks.load("mcqa")
    rows = [{"p": [.9, .1], "label": label, "source": source, "by_token": 0, "by_sum": 1}
            for label, source in ((0, "arc"), (0, "arc"), (0, "arc"), (1, "mmlu"))]
    value = {(m["slice"], m["metric"]): m["value"] for m in mcqa.evaluate(rows)}
    assert value["all", "acc"] == .5 == mcqa.headline(mcqa.sums(rows).sum(0))["acc"]
    assert value["arc", "acc"] == 1 and value["mmlu", "acc"] == 0
    assert value["all", "acc_sum"] == .5 and value["mmlu", "acc_sum"] == 1
    assert value["all", "acc_token"] == .5


def test_one_source_has_no_line_of_its_own():
    assert [m["slice"] for m in benchmarks.evaluate(ROWS[:3], {"acc": [1, 1, 0]})] == ["all"]
    unnamed = [m["slice"] for m in benchmarks.evaluate([{}, *ROWS], {"acc": [1, 1, 0, 0, 1]})]
    assert unnamed == ["all", "a", "b"]
