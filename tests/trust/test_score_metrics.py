"""What its intervals and curves mean. pytest tests/trust/test_score_metrics.py"""

import json

import numpy as np
import pytest
import torch

from w2s import metrics
from w2s.trust import score_metrics

SCALES = ("purity", "purity_random", "aurc", "auc", "ece", "brier", "nll")


def draw(seed, n=300, digits=2):
    """Probabilities (n,) with ties, right (n,) of these probabilities and groups (n,)."""
    rng = np.random.default_rng(seed)
    p = rng.random(n).round(digits)
    return p, (rng.random(n) < p).astype(int), rng.integers(0, n // 3, n)


def measured(*args, **kwargs):
    found = score_metrics.measure(*args, **kwargs)
    assert {line["slice"] for line in found} == {"all"}
    assert len({line["metric"] for line in found}) == len(found)
    return {line["metric"]: line["value"] for line in found}


def test_the_values_are_those_of_metrics():
    p, right, _ = draw(0)
    found = measured(p, right, draws=20, n=100)
    assert found["n"] == 300 and found["purity_n"] == 100
    expected = [metrics.purity(p, right, 100), right.mean(), metrics.aurc(p, right),
                metrics.auc(p, right), metrics.ece(p, right), metrics.brier(p, right),
                metrics.nll(p, right)]
    assert [found[name] for name in SCALES] == pytest.approx(expected, rel=1e-11)
    assert measured(p, right, draws=1)["purity_n"] == 150
    assert measured([.5], [1], draws=1)["purity_n"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_weighted_row_is_as_good_as_repeated_rows(seed):
    p, right, _ = draw(seed, n=120, digits=1)
    right = (right + (np.arange(120) % 3 == 0)) % 2  # of the highest, which tie, some are wrong
    order = np.argsort(-p, kind="stable")
    p, right = p[order], right[order].astype(float)
    weight = np.random.default_rng(seed).integers(0, 4, (5, 120))
    weight[0] = 1
    names = score_metrics.observed(p, right, 60)
    found = score_metrics.weighted(p, right, weight, .5, names)
    assert found.keys() == names.keys() and set(SCALES) == set(names)
    for i in range(5):
        q, y = np.repeat(p, weight[i]), np.repeat(right, weight[i])
        for name in set(SCALES) - {"purity"}:
            expected = score_metrics.observed(q, y, 1)[name]
            assert found[name][i] == pytest.approx(expected, abs=1e-9), name
        half = len(y) / 2  # of an odd number of rows, half of the one in the middle counts
        top = y[:int(half)].sum() + (half % 1) * y[int(half)]
        assert found["purity"][i] == pytest.approx(top / half, abs=1e-12)


def test_groups_are_drawn_whole_and_each_as_often():
    groups = np.array([0, 0, 1, 2, 2, 2])
    weight = np.concatenate(list(score_metrics.resampled(groups, 4000, np.random.default_rng(0))))
    assert weight.shape == (4000, 6)
    assert (weight[:, 0] == weight[:, 1]).all() and (weight[:, 3:] == weight[:, 3:4]).all()
    first = weight[:, [0, 2, 3]]
    assert (first.sum(1) == 3).all() and np.abs(first.mean(0) - 1).max() < .06
    assert len(np.unique(first, axis=0)) == 10  # all ways to draw 3 of 3


def test_draws_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch):
    p, right, groups = draw(0)
    whole = score_metrics.measure(p, right, groups, draws=50)
    monkeypatch.setattr(score_metrics, "AT_ONCE", 7 * 300)
    assert score_metrics.measure(p, right, groups, draws=50) == whole


def test_the_same_seed_gives_the_same_and_another_one_does_not():
    p, right, groups = draw(0)
    assert score_metrics.measure(p, right, groups) == score_metrics.measure(p, right, groups)
    assert score_metrics.measure(p, right, groups) != score_metrics.measure(p, right, groups,
                                                                            seed=1)
    names = [f"person {g}" for g in groups]
    assert measured(p, right, names)["auc"] == measured(p, right)["auc"]


def test_intervals_hold_the_value_and_widen_with_groups():
    p, right, _ = draw(1, n=400, digits=6)
    found = measured(p, right)
    for name in SCALES:
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
    twice = measured(np.tile(p, 4), np.tile(right, 4), np.tile(np.arange(400), 4), n=800)
    apart = measured(np.tile(p, 4), np.tile(right, 4), n=800)
    for name in ("auc", "brier", "purity_random", "aurc"):
        width = [x[f"{name}_high"] - x[f"{name}_low"] for x in (found, twice, apart)]
        assert width[0] == pytest.approx(width[1], rel=.12)       # copies add nothing
        assert width[0] == pytest.approx(2 * width[2], rel=.12)   # unless one forgets the groups


def test_intervals_are_as_wide_as_theory_says():
    _, right, _ = draw(2, n=900)
    found = measured(np.zeros(900), right, draws=4000)
    width = found["purity_random_high"] - found["purity_random_low"]
    share = right.mean()
    assert width == pytest.approx(2 * 1.96 * (share * (1 - share) / 900) ** .5, rel=.08)


def test_the_interval_of_purity_is_that_of_as_many_rows_as_are_kept():
    """The 60 most trusted of 600 are right and no other: in a sample there are 60 of them on
    average, with variance 60 * .9, and the share right of its first 60 rows is at most 1."""
    right = np.arange(600) < 60
    found = measured(np.arange(600, 0, -1) / 600, right.astype(int), n=60, draws=2000)
    assert found["purity"] == found["purity_high"] == 1
    assert found["purity_low"] == pytest.approx(1 - 1.96 * (.9 / 60) ** .5, abs=.04)


def test_the_interval_of_ece_comes_near_0_for_calibrated_scores_and_not_for_others():
    low = []
    for seed in range(12):
        p, right, _ = draw(seed, n=1000, digits=6)
        low.append(measured(p, right, draws=200)["ece_low"])
    assert max(low) < .03 and np.median(low) < .01  # plain percentiles: .032 to .047
    assert measured(p ** 3, right, draws=200)["ece_low"] > .1


def test_scores_outside_0_and_1_have_no_calibration():
    p, right, _ = draw(0)
    plain, scores = measured(p, right, draws=20), measured(3 * p - 5, right, draws=20)
    gone = {f"{name}{end}" for name in ("ece", "brier", "nll") for end in ("", "_low", "_high")}
    assert plain.keys() - scores.keys() == gone
    assert all(scores[name] == pytest.approx(plain[name]) for name in scores)  # ranks decide


def test_one_class_has_no_auc_but_the_rest():
    found = measured([.2, .9, .4], [1, 1, 1], draws=20)
    assert found["auc"] is found["auc_low"] is found["auc_high"] is None
    assert found["purity"] == 1 and found["aurc"] == 0 and found["brier_high"] > 0
    assert json.loads(json.dumps(score_metrics.measure([.2, .9], [0, 1], draws=5), allow_nan=False))


def test_lists_tensors_and_truth_values_give_the_same():
    p, right, groups = draw(0)
    expected = measured(p, right, groups, draws=20)
    assert measured(p.tolist(), (right > 0).tolist(), groups.tolist(), draws=20) == expected
    assert measured(torch.tensor(p, requires_grad=True), torch.tensor(right), draws=20).keys() == (
        expected.keys())


@pytest.mark.parametrize("call, words", [
    (lambda: score_metrics.measure([], []), "at least one row"),
    (lambda: score_metrics.measure([.1, float("nan")], [0, 1]), r"score\[1\] is nan"),
    (lambda: score_metrics.measure([.1, .2], [0, 2]), r"correct\[1\] is 2"),
    (lambda: score_metrics.measure([.1, .2], [0]), "correct has 1 rows, score has 2"),
    (lambda: score_metrics.measure([.1, .2], [0, 1], [1]), "groups has 1 rows, right has 2"),
    (lambda: score_metrics.measure([.1, .2], [0, 1], n=3), "n: .* got 3")])
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
