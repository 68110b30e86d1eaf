"""w2s.statistics against scipy and published numbers. Seconds: pytest tests/test_statistics.py"""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from w2s import statistics

X, Z = [.712, .705, .731, .698, .720], [.741, .738, .729, .752, .747]


def test_mean_and_sd_of_the_fixture():  # scipy 1.17.1
    assert statistics.mean_sd(X) == pytest.approx((.7132, .01287245), abs=1e-8)
    assert statistics.mean_sd(Z) == pytest.approx((.7414, .00879204), abs=1e-8)
    mean, sd = statistics.mean_sd([3.])
    assert mean == 3 and np.isnan(sd)


def test_sign_flip_p_of_the_fixture():
    assert statistics.sign_flip_p(np.subtract(Z, X)) == .125
    assert statistics.sign_flip_p([0., 0.]) == 1


@pytest.mark.parametrize("n", range(1, 9))
def test_sign_flip_p_counts_every_pattern(n):
    rng = np.random.default_rng(n)
    for d in (rng.normal(size=n), rng.normal(.5, size=n), rng.integers(-2, 3, n) / 10):
        sums = [abs(np.dot(signs, d)) for signs in itertools.product((1, -1), repeat=n)]
        assert statistics.sign_flip_p(d) == np.mean(np.array(sums) >= abs(d.sum()) - 1e-9)


def test_sign_flip_p_agrees_with_scipy():
    scipy = pytest.importorskip("scipy.stats")
    d = np.random.default_rng(0).normal(.3, size=11)
    found = scipy.permutation_test((d,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert statistics.sign_flip_p(d) == pytest.approx(found.pvalue, abs=1e-12)


def test_twenty_pairs_are_still_exact():
    assert statistics.sign_flip_p(np.arange(1, 21)) == 2 / 2 ** 20


def test_smallest_p_is_what_equal_signs_reach():
    found = [statistics.smallest_p(n) for n in range(3, 9)]
    assert found == [.25, .125, .0625, .03125, .015625, .0078125]
    assert found == [statistics.sign_flip_p([1.] * n) for n in range(3, 9)]


def test_holm_of_the_fixture():
    assert statistics.holm([.01, .04, .03, .005]) == pytest.approx([.03, .06, .06, .02])
    assert statistics.holm([.6, .7]) == [1, 1] and statistics.holm([.2]) == [.2]


def test_bootstrap_interval_agrees_with_scipy():
    scipy = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).exponential(size=80)
    found = scipy.bootstrap((values,), np.mean, method="percentile", n_resamples=20000, rng=1)
    expected = found.confidence_interval
    # 20,000 draws place an end of the interval to about 1 % of its width
    assert statistics.bootstrap_interval(values, draws=20000) == pytest.approx(
        tuple(expected), abs=.02 * (expected.high - expected.low))


def test_bootstrap_interval_covers_the_mean_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(300):
        low, high = statistics.bootstrap_interval(rng.normal(size=40), draws=400)
        hits += low <= 0 <= high
    assert .90 <= hits / 300 <= .98  # the percentile bootstrap is a little short: .94 at n = 40


def test_hierarchical_bootstrap_sees_the_spread_between_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    values = rng.normal(size=20)[groups] + .1 * rng.normal(size=200)
    flat, nested = (np.diff(statistics.bootstrap_interval(values, g, draws=2000))
                    for g in (None, groups))
    expected = 2 * 1.96 * values.reshape(20, 10).mean(1).std() / 20 ** .5
    assert nested == pytest.approx(expected, rel=.1) and flat < .4 * nested


def test_hierarchical_bootstrap_takes_names_in_any_order_and_unequal_sizes():
    values, groups = [1., 1., 5., 1., 5.], ["b", "b", "a", "b", "a"]
    low, high = statistics.bootstrap_interval(values, groups, draws=2000)
    assert (low, high) == (1, 5)  # two constant groups: both a, both b, or one of each
    assert statistics.bootstrap_interval([2., 2., 2.]) == (2, 2)
    assert statistics.bootstrap_interval(torch.tensor([2.]), torch.tensor([7])) == (2, 2)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).normal(size=50)
    first = statistics.bootstrap_interval(values, draws=500)
    assert first == statistics.bootstrap_interval(values, draws=500)
    assert first != statistics.bootstrap_interval(values, draws=500, seed=1)


def test_resampled_totals_have_the_moments_of_drawing_groups_one_by_one():
    rng = np.random.default_rng(0)
    S, groups = rng.integers(0, 3, (60, 2)).astype(float), rng.integers(0, 15, 60)
    names = np.unique(groups)
    sums = np.array([S[groups == g].sum(0) for g in names])
    totals = statistics.resample_totals(S, [f"g{g}" for g in groups], 20000, rng)
    drawn = sums[rng.integers(len(names), size=(20000, len(names)))].sum(1)
    assert totals.shape == (20000, 2)
    assert totals.mean(0) == pytest.approx(len(names) * sums.mean(0), rel=.01)
    assert np.cov(totals.T) == pytest.approx(np.cov(drawn.T), rel=.05)


def test_rows_without_groups_stand_alone_and_counts_stay_whole():
    S = np.stack([np.ones(40), np.arange(40) % 2], -1)
    totals = statistics.resample_totals(S, None, 500, np.random.default_rng(0))
    assert (totals[:, 0] == 40).all() and totals[:, 1].std() == pytest.approx(10 ** .5, rel=.15)


def test_one_group_leaves_nothing_to_draw():
    S = np.arange(12.).reshape(6, 2)
    totals = statistics.resample_totals(S, ["x"] * 6, 10, np.random.default_rng(0))
    assert (totals == S.sum(0)).all()


def test_models_resampled_together_keep_their_pairing():
    correct = np.random.default_rng(0).random(300)
    S = np.stack([correct < .6, correct < .7], -1).astype(float)  # right wherever the other is
    totals = statistics.resample_totals(S, None, 2000, np.random.default_rng(1)) / 300
    assert (totals[:, 0] <= totals[:, 1]).all()


def test_the_three_states_of_a_trend():
    noise = np.random.default_rng(0).normal(size=(3, 4000))

    def state(means, sd):
        return statistics.trend(*(m + sd * n for m, n in zip(means, noise)), means=means)

    assert state((.1, .2, .3), .01) == "yes"
    assert state((.1, .2, .3), .1) == "ordered"
    assert state((.1, .2, .21), .01) == "ordered"
    assert state((.2, .1, .3), .01) == "no" and state((.1, .3, .2), .01) == "no"
    assert state((.1, .1, .3), 0) == "no"


def test_a_trend_needs_the_joint_draws_and_not_separate_intervals():
    shared = np.random.default_rng(0).normal(size=4000)
    assert statistics.trend(shared, shared + .1, shared + .2) == "yes"


def test_interval_leaves_undefined_draws_out():
    assert statistics.interval([float("nan"), 1, 1]) == (1, 1)
    assert np.isnan(statistics.interval([float("nan")])).all()


@pytest.mark.parametrize("call", [
    lambda: statistics.bootstrap_interval([]),
    lambda: statistics.bootstrap_interval([1, float("nan")]),
    lambda: statistics.bootstrap_interval([1, 2], [1]),
    lambda: statistics.bootstrap_interval([1, 2], level=95),
    lambda: statistics.sign_flip_p([]), lambda: statistics.sign_flip_p(range(25)),
    lambda: statistics.smallest_p(0), lambda: statistics.holm([.1, 1.2]),
    lambda: statistics.holm([]), lambda: statistics.mean_sd([]),
    lambda: statistics.resample_totals(np.ones(3), None, 5, np.random.default_rng(0)),
    lambda: statistics.resample_totals(np.ones((3, 1)), [1], 5, np.random.default_rng(0))])
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError):
        call()


# ---- seeds and rows ------------------------------------------------------------------------------

@pytest.mark.parametrize("n", (2, 3, 5))
def test_weights_of_seeds_give_the_t_interval(n):
    """scipy's t interval of a mean, from draws that are linear in the seeds' values."""
    values = np.random.default_rng(n).normal(size=n)
    weights = statistics.t_weights(n, 200_000, np.random.default_rng(0))
    np.testing.assert_allclose(weights.sum(1), 1)
    low, high = scipy_stats.t.interval(.95, n - 1, values.mean(),
                                       values.std(ddof=1) / np.sqrt(n))
    assert statistics.interval(weights @ values) == pytest.approx((low, high), rel=.03)
    assert (statistics.t_weights(1, 5, np.random.default_rng(0)) == 1).all()


def test_rows_that_seeds_share_add_what_the_spread_over_seeds_cannot_show():
    same, apart, half = [list("abcd")] * 3, [["a"], ["b"], ["c"]], [list("abcd"), list("cdef")]
    assert statistics.common_rows(same) == 1 == statistics.common_rows([["a"]])
    assert statistics.common_rows(apart) == 0
    assert statistics.common_rows(half) == pytest.approx((2 * .5) ** .5)
    # 1, 1 and 0 of 4: two seeds have a sixth in common, which is r = 1/6 of a row's variance; drawn
    # apart, the mean of three has a third of it, so its deviations are multiplied by (r / (1/3))^.5
    chain = [list("abcd"), list("defg"), list("ghij")]
    assert statistics.common_rows(chain) == pytest.approx(.5 ** .5)
    unequal = [list("abcd"), list("d"), list("efgh")]  # 1 / (4 * 1)^.5 of the first two
    assert statistics.common_rows(unequal) == pytest.approx((3 * .5 / 3) ** .5)


@pytest.mark.parametrize("seeds, share", [(3, .9), (5, .5)])
def test_intervals_cover_the_truth_where_seeds_share_more_rows_than_they_are_many(seeds, share):
    """95 % intervals of models that are right with probability .7 on 100 test rows, of which the
    share is the same for all seeds. Multiplied by at most 1 they would cover it in .82 and .86."""
    rng, hits, N, D = np.random.default_rng(seeds), 0, 100, 400
    common = round(share * N)
    groups = [[*range(common), *((s, k) for k in range(N - common))] for s in range(seeds)]
    for _ in range(250):
        shared = rng.random(common) < .7
        right = np.array([[*shared, *(rng.random(N - common) < .7)] for _ in range(seeds)])
        draws = np.stack([row[rng.integers(N, size=(D, N))].mean(1) for row in right])
        drawn = statistics.mean_draws(right.mean(1)[None], draws[None],
                                      statistics.t_weights(seeds, D, rng), groups)
        low, high = statistics.interval(drawn[0])
        hits += low <= .7 <= high
    assert .92 <= hits / 250 <= .99


def test_a_mean_over_seeds_has_their_mean_deviation():
    """Two models, two seeds with the same rows, three draws: the seeds' weights times their values,
    plus the mean of their deviations in that draw."""
    values = np.array([[.5, .7], [.6, .9]])
    draws = np.array([[[.6, .5, .4], [.7, .9, .7]], [[.6, .6, .5], [1., .9, .9]]])
    weights = np.array([[.5, .5], [1, 0], [.25, .75]])
    found = statistics.mean_draws(values, draws, weights, [["a", "b"]] * 2)
    assert found == pytest.approx(np.array([
        [.6 + (.1 + 0) / 2, .5 + (0 + .2) / 2, .65 + (-.1 + 0) / 2],
        [.75 + (0 + .1) / 2, .6 + (0 + 0) / 2, .825 + (-.1 + 0) / 2]]))
    apart = statistics.mean_draws(values, draws, weights, [["a", "b"], ["c", "d"]])
    assert apart == pytest.approx(np.array([[.6, .5, .65], [.75, .6, .825]]))  # seeds alone


def planted(gains, seeds, order, rng, N=700, share=False):
    """"yes" | "ordered" | "no" of one simulated study: weak, student and ceiling with accuracies
    .70 plus gains. order: sd of what head and order of the data do to a model; every seed has N
    test rows of its own, share: all have the same. A row is hard or easy for all models alike."""
    rows = rng.random((1 if share else seeds, N))
    values = np.empty((3, seeds))
    correct = np.empty((3, seeds, N))
    for m, gain in enumerate((0, *np.cumsum(gains))):
        for s in range(seeds):
            accuracy = .70 + gain + order * rng.normal()
            luck = .7 * rows[0 if share else s] + .3 * rng.random(N)
            cut = np.quantile(.7 * rng.random(20_000) + .3 * rng.random(20_000), accuracy)
            correct[m, s] = luck < cut
            values[m, s] = correct[m, s].mean()
    D = 400
    if share:
        at = rng.integers(N, size=(D, N))
        draws = np.stack([[correct[m, s][at].mean(1) for s in range(seeds)] for m in range(3)])
        groups = [range(N)] * seeds
    else:  # rows of its own: the bootstrap does not count
        draws, groups = np.repeat(values[..., None], D, -1), [[s] for s in range(seeds)]
    weights = statistics.t_weights(seeds, D, rng)
    drawn = statistics.mean_draws(values, draws, weights, groups)
    return statistics.trend(*drawn, means=values.mean(1))


@pytest.mark.parametrize("gains, seeds, share", [
    ((0, 0), 3, False), ((0, 0), 5, False), ((.08, 0), 3, False), ((.08, 0), 5, False),
    ((0, .08), 5, False), ((.08, 0), 3, True), ((.08, 0), 5, True)])
def test_a_trend_that_is_not_there_is_found_in_at_most_5_per_cent(gains, seeds, share):
    """Also where one of the two steps is there: with a bootstrap of few seeds that is a fifth."""
    rng = np.random.default_rng([seeds, share, *(int(100 * gain) for gain in gains)])
    found = [planted(gains, seeds, .012, rng, share=share) for _ in range(240)]
    assert found.count("yes") <= .05 * len(found)


def test_five_points_and_five_more_are_found_by_five_seeds():
    rng = np.random.default_rng(0)
    found = [planted((.05, .05), 5, .012, rng) for _ in range(200)]
    assert found.count("yes") >= .8 * len(found)
