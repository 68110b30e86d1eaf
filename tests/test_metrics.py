"""w2s.metrics against fairlearn, scikit-learn, published numbers: pytest tests/test_metrics.py"""

import numpy as np
import pytest
import torch

from w2s import metrics

# the fixture of shared numbers computed with fairlearn 0.15.0
Y, P = [1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1], [1, 0, 0, 1, 1, 0, 1, 0, 1, 1, 0, 0]
A = [0] * 5 + [1] * 7
# calibration: scikit-learn 1.9.1, bins counted by hand
SCORE = [.02, .10, .15, .22, .35, .41, .48, .50, .55, .61,
         .66, .70, .75, .82, .88, .90, .93, .97, .99, 1.]
LABEL = [0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0]


def close(value, expected, tolerance=1e-7):
    assert value == pytest.approx(expected, abs=tolerance)


def draw(seed, n=200):
    """Labels, decisions, group (n,) in {0, 1} and probabilities (n,) of two digits."""
    rng = np.random.default_rng(seed)
    return *rng.integers(0, 2, (3, n)), rng.random(n).round(2)


def test_fairness_of_the_fixture():
    close(metrics.demographic_parity(P, A), -.17142857)
    odds = metrics.equalized_odds(P, Y, A)
    close([odds[k] for k in ("tpr_gap", "fpr_gap", "worst", "mean")], [0, -.25, .25, .125])


@pytest.mark.parametrize("seed", range(5))
def test_fairness_agrees_with_fairlearn(seed):
    fairlearn = pytest.importorskip("fairlearn.metrics")
    y, p, a, _ = draw(seed)
    odds = metrics.equalized_odds(p, y, a)

    def theirs(name, **options):
        return getattr(fairlearn, name)(y, p, sensitive_features=a, **options)

    close(abs(metrics.demographic_parity(p, a)), theirs("demographic_parity_difference"), 1e-12)
    close(odds["worst"], theirs("equalized_odds_difference"), 1e-12)
    close(odds["mean"], theirs("equalized_odds_difference", agg="mean"), 1e-12)
    close(abs(odds["tpr_gap"]), theirs("equal_opportunity_difference"), 1e-12)


def test_parity_is_positive_when_group_one_is_favoured():
    assert metrics.demographic_parity([1, 1, 0, 0], [1, 1, 0, 0]) == 1
    assert metrics.demographic_parity([0, 0, 1, 1], [1, 1, 0, 0]) == -1


def test_a_group_without_positive_labels_has_no_true_positive_rate():
    odds = metrics.equalized_odds([1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0])
    assert np.isnan(odds["tpr_gap"]) and odds["fpr_gap"] == -.5 and np.isnan(odds["worst"])


def test_accuracy_takes_any_number_of_classes():
    assert metrics.accuracy([0, 1, 2, 2], [0, 1, 1, 2]) == .75
    assert metrics.robust_accuracy(torch.tensor([0, 1, 2, 2]), [0, 0, 0, 2]) == .5


def test_extraction_of_the_fixture():
    true = [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [9] * 5, [7, 8, 7, 8, 7]]
    found = metrics.extraction(true, [[1, 2, 3, 4, 5], [1, 2, 9, 4, 5], [1] * 5, [7, 8, 8, 7, 7]])
    close(found["fraction"], [1, .8, 0, .6])
    close([found["extraction"], found["extraction_exact"]], [.6, .25])
    assert found["prefix"] == [5, 2, 0, 2]


@pytest.mark.parametrize("match, rate", [("0110111101", .7), ("0000000000", 0), ("1110000000", .3),
                                         ("1111111111", 1)])
def test_extraction_of_biderman_table_1(match, rate):
    close(metrics.extraction([[1] * 10], [[int(c) for c in match]])["extraction"], rate)


def test_an_early_end_of_text_does_not_shorten_the_denominator():
    assert metrics.extraction([[1, 2, 3, 4]], [[1, 2]])["fraction"] == [.5]
    assert metrics.extraction([[1, 2, 3, 4]], [[]])["fraction"] == [0]
    found = metrics.extraction(torch.ones(2, 3, dtype=torch.int64), np.ones((2, 3)))
    assert found["extraction_exact"] == 1


def test_calibration_of_the_fixture():
    close([metrics.ece(SCORE, LABEL, bins) for bins in (5, 10, 15)], [.0985, .2155, .2515])
    close(metrics.ece(SCORE, LABEL), .2515)
    close(metrics.brier(SCORE, LABEL), .192885)
    close(metrics.auc(SCORE, LABEL), .76767677)
    close(metrics.auc([.9, .9, .5, .5, .5, .1], [1, 0, 1, 0, 1, 0]), .61111111)


def test_certain_predictions_fall_into_the_outer_bins():
    assert metrics.ece([0., 1.], [0, 1]) == 0
    assert metrics.ece([0., 1.], [1, 0]) == 1
    assert [list(part) for part in metrics.reliability([0., .1, 1.], [0, 0, 1], 10)] == [
        [2, 1], [.05, 1], [0, 1]]


def test_a_probability_on_an_edge_belongs_to_the_bin_below():
    for bins in (5, 10, 15, 20):
        edges = np.arange(1, bins + 1) / bins
        rows, mean, _ = metrics.reliability(edges, np.ones(bins), bins)
        assert list(rows) == [1] * bins and list(mean) == list(edges)


@pytest.mark.parametrize("seed", range(5))
def test_auc_and_brier_agree_with_scikit_learn(seed):
    sklearn = pytest.importorskip("sklearn.metrics")
    y, _, _, p = draw(seed)  # two digits: many ties
    close(metrics.auc(p, y), sklearn.roc_auc_score(y, p), 1e-12)
    close(metrics.brier(p, y), sklearn.brier_score_loss(y, p), 1e-12)
    close(metrics.auc(-p, y), 1 - metrics.auc(p, y), 1e-12)


def tpr_at_fpr(score, label, bound):
    """The largest true positive rate at a false positive rate of at most `bound`."""
    fpr, tpr = metrics.roc(score, label)
    return tpr[fpr <= bound + 1e-12].max()


def test_true_positives_at_a_bound_of_the_fixture():
    found = [tpr_at_fpr(SCORE, LABEL, bound) for bound in (0, .1, .2, .3, 1)]
    close(found, [0, 0, .545455, .727273, 1], 1e-6)
    score, label = [.9, .8, .7, .6, .5], [1, 0, 1, 1, 0]
    close([tpr_at_fpr(score, label, b) for b in (.49, .5, 1)], [1 / 3, 1, 1])
    assert tpr_at_fpr([.5] * 4, [1, 1, 0, 0], .49) == 0  # ties are accepted together
    n = 1000  # one wrong of 1000 is exactly .1 %
    assert tpr_at_fpr([n, *range(n, 0, -1)], [1, *[0] * n], .001) == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_roc_curve_agrees_with_scikit_learn_and_with_repeated_rows(seed):
    y, _, _, p = draw(seed)
    fpr, tpr = metrics.roc(p, y)
    close(np.trapezoid(tpr, fpr), metrics.auc(p, y), 1e-12)
    times = np.random.default_rng(seed).integers(0, 3, (2, len(y)))
    many = metrics.roc(p, y, times)
    for n in range(2):
        area = np.trapezoid(many[1][n], many[0][n])
        close(area, metrics.auc(np.repeat(p, times[n]), np.repeat(y, times[n])), 1e-12)
    sklearn = pytest.importorskip("sklearn.metrics")
    theirs = sklearn.roc_curve(y, p, drop_intermediate=False)
    close(fpr, theirs[0], 1e-12)
    close(tpr, theirs[1], 1e-12)


def test_exposure_is_the_rank_in_bits():
    assert metrics.exposure(-1, [-2, -3, -4]) == 2 and metrics.exposure(-9, [-2, -3, -4]) == 0
    assert metrics.exposure(-2.5, [-2, -3, -4]) == 1 and metrics.exposure(0, []) == 0
    close(metrics.exposure(-2, [-2, -2, -4]), 1)  # rank 1, 2 or 3: 2


def test_calibration_does_not_depend_on_the_order_of_rows():
    y, _, _, p = draw(0)
    order = np.random.default_rng(1).permutation(len(y))
    close(metrics.ece(p[order], y[order]), metrics.ece(p, y), 1e-12)


def test_purity_of_the_fixture():
    found = [metrics.purity(SCORE, LABEL, n) for n in (1, 2, 3, 5, 10, 15)]
    close(found, [0, .5, .666667, .8, .8, .666667], 1e-6)
    close(metrics.purity(SCORE, LABEL, 20), np.mean(LABEL))


def test_purity_takes_the_earlier_of_tied_rows():
    assert metrics.purity([.5, .5, .9], [1, 0, 0], 2) == .5
    assert metrics.purity([.5, .5, .9], [0, 1, 0], 2) == 0


def test_the_purity_curve_is_purity_at_every_n():
    for score, correct in ((SCORE, LABEL), ([.5, .5, .9, .5], [1, 0, 0, 0])):
        N = len(score)
        found = metrics.purity_curve(score, correct)
        close(found, [metrics.purity(score, correct, n) for n in range(1, N + 1)], 1e-12)
        close(metrics.aurc(score, correct), np.mean(1 - found), 1e-12)


def test_the_area_under_the_risk_coverage_curve_is_that_of_its_definition():
    close(metrics.aurc([3, 2, 1], [1, 0, 1]), (0 + 1 / 2 + 1 / 3) / 3, 1e-12)
    assert metrics.aurc([3, 2, 1], [1, 1, 1]) == 0 and metrics.aurc([3, 2, 1], [0, 0, 0]) == 1
    best, worst = metrics.aurc(LABEL, LABEL), metrics.aurc([-y for y in LABEL], LABEL)
    assert best < metrics.aurc(SCORE, LABEL) < worst


def test_confidence_of_the_fixture():
    p = [[.7, .2, .1], [.4, .35, .25]]
    close(metrics.entropy(p), [.80181855, 1.08052754])
    close(metrics.margin(p), [.5, .05])
    close(metrics.max_probability(p), [.7, .4])
    close(metrics.entropy(np.array(p)), [.80181855, 1.08052754])
    close(metrics.entropy(torch.tensor(p, requires_grad=True)), [.80181855, 1.08052754], 1e-6)


def test_confidence_takes_rows_of_different_lengths():
    p = [[.7, .2, .1], [.5, .5], [1.], [0, 1], [.25] * 4]
    close(metrics.entropy(p), [.80181855, np.log(2), 0, 0, np.log(4)])
    close(metrics.margin(p), [.5, 0, 1, 1, 0])
    close(metrics.max_probability(p), [.7, .5, 1, 1, .25])


def test_negative_log_likelihood_of_the_fixture():
    close(metrics.nll(SCORE, LABEL), 1.22742464)
    close(metrics.nll([0., 1.], [0, 1]), 1e-7, 1e-12)
    sklearn = pytest.importorskip("sklearn.metrics")
    y, _, _, p = draw(0)
    p = p.clip(.01, .99)
    close(metrics.nll(p, y), sklearn.log_loss(y, p), 1e-12)


# main table of Uzunoglu et al.: untuned student (reproduces all 20 percentages), ground truth;
# accuracy and Recovery of naive, I-confidence, ICl+I-conf, reward model, NTF
MAIN_TABLE = [
    (65.1, 73.8, "69.3 (48.3) 69.2 (47.1) 72.0 (79.3) 68.8 (42.5) 73.7 (98.9)"),
    (73.8, 81.2, "74.7 (12.2) 75.1 (17.6) 77.9 (55.4) 78.4 (62.2) 80.9 (95.9)"),
    (69.1, 74.8, "74.0 (86.0) 74.3 (91.2) 74.4 (93.0) 71.7 (45.6) 75.0 (103.5)"),
    (79.4, 87.0, "86.0 (86.8) 85.7 (82.9) 86.5 (93.4) 86.1 (88.2) 87.1 (101.3)")]


@pytest.mark.parametrize("base, truth, cells", MAIN_TABLE)
def test_recovery_gives_the_percentages_of_the_papers_table(base, truth, cells):
    words = cells.split()
    for method, printed in zip(words[::2], words[1::2], strict=True):
        found = metrics.recovery(float(method), base, truth)
        assert f"({100 * found:.1f})" == printed
    assert metrics.recovery(1, 2, 3) == -1 and np.isnan(metrics.recovery(1, 2, 2))


def test_pgr_may_leave_the_unit_interval_and_is_nan_without_a_gap():
    close(metrics.pgr(.6, .72, .75), .8)
    close(metrics.pgr(.5, .9, .7), 2)
    close(metrics.pgr(.5, .4, .6), -1)
    assert np.isnan(metrics.pgr(.6, .7, .6))


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor,
                                  lambda x: torch.tensor(x, requires_grad=False).to(torch.bfloat16),
                                  lambda x: torch.tensor(x).bool()])
def test_lists_arrays_and_tensors_give_the_same(kind):
    close(metrics.demographic_parity(kind(P), kind(A)), -.17142857)


def test_a_score_that_still_has_a_gradient_is_accepted():
    score = torch.tensor(SCORE, dtype=torch.float64, requires_grad=True)
    close(metrics.auc(score, LABEL), .76767677)


@pytest.mark.parametrize("call, words", [
    (lambda: metrics.demographic_parity([], []), "predicted: .* at least one row"),
    (lambda: metrics.demographic_parity([1, 0], [1]), "a has 1 rows, predicted has 2"),
    (lambda: metrics.demographic_parity([1, .7], [1, 0]), r"predicted\[1\] is 0.7, expected 0 or"),
    (lambda: metrics.demographic_parity([1, float("nan")], [1, 0]), r"predicted\[1\] is nan"),
    (lambda: metrics.demographic_parity([1, 0], [1, 1]), "no row has a = 0"),
    (lambda: metrics.equalized_odds([1, 0], [1, 2], [1, 0]), r"label\[1\] is 2"),
    (lambda: metrics.equalized_odds([1, 0], [1, 0], [0, 0]), "no row has a = 1"),
    (lambda: metrics.accuracy([1, -1], [1, 1]), r"predicted\[1\] is -1"),
    (lambda: metrics.robust_accuracy([[1], [1]], [1, 1]), "predicted_adv: .* shape"),
    (lambda: metrics.accuracy(["a"], [1]), "predicted: expected a list of numbers"),
    (lambda: metrics.accuracy(3, [1]), "predicted: .* shape"),
    (lambda: metrics.extraction([], []), "at least one"),
    (lambda: metrics.extraction([[1]], [[1], [2]]), "true has 1 rows and generated 2"),
    (lambda: metrics.extraction([[1]], [[1, 2]]), "2 tokens, true only 1"),
    (lambda: metrics.auc([.1, .2], [1, 1]), "one class only: the area under the ROC curve is"),
    (lambda: metrics.roc([.1, .2], [1, 1]), "label has one class only: there is no ROC curve"),
    (lambda: metrics.auc([.1, float("nan")], [1, 0]), r"score\[1\] is nan"),
    (lambda: metrics.ece([.1, 1.2], [1, 0]), r"p\[1\] is 1.2, expected in \[0, 1\]"),
    (lambda: metrics.ece([.1], [1], bins=0), "bins: "),
    (lambda: metrics.brier([.1], [2]), r"label\[0\] is 2"),
    (lambda: metrics.nll([1.1], [1]), r"p\[0\] is 1.1"),
    (lambda: metrics.purity_curve([.1], [2]), r"correct\[0\] is 2"),
    (lambda: metrics.aurc([.1, .2], [1]), "correct has 1 rows, score has 2"),
    (lambda: metrics.entropy([]), "p: expected at least one row"),
    (lambda: metrics.entropy([.5, .5]), "p row 0: .* shape"),
    (lambda: metrics.margin([[.5, .5], [.5, .6]]), "p row 1 sums to 1.1, expected 1"),
    (lambda: metrics.max_probability([[.5, .5], [1.5, -.5]]), r"p row 1\[0\] is 1.5"),
    (lambda: metrics.purity([.1], [1], 2), "n: .* 1..1, got 2"),
    (lambda: metrics.purity([.1], [1], 0), "n: "),
    (lambda: metrics.pgr(.1, float("nan"), .3), "student is nan"),
    (lambda: metrics.recovery(.1, .2, float("inf")), "truth is inf")])
def test_bad_input_is_refused_with_the_arguments_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("score, label, at_zero", [
    ([np.inf, np.inf, 1, 0], [1, 0, 1, 0], 0), ([-np.inf] * 3, [1, 0, 1], 0),
    ([np.inf, 2, -np.inf, -np.inf], [1, 1, 0, 1], 2 / 3)])
def test_rows_of_an_infinite_score_are_accepted_together(score, label, at_zero):
    assert tpr_at_fpr(score, label, 0) == at_zero
    assert len(metrics.roc(score, label)[0]) == 1 + len(set(score))


@pytest.mark.parametrize("value", [np.float32(1.0000001), -1e-9, 1 + 1e-12])
def test_a_number_that_is_refused_is_shown_with_all_its_digits(value):
    with pytest.raises(ValueError) as error:
        metrics.brier([.5, value], [0, 1])
    assert float(str(error.value).split(" is ")[1].split(",")[0]) == float(value)
