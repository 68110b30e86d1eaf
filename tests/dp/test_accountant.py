"""dp.accountant by closed forms, Opacus and dp-accounting. pytest tests/dp/test_accountant.py"""

import math
import time

import numpy as np
import pytest

from w2s.dp.accountant import ORDERS, _losses, composed, epsilon, noise_multiplier, rdp

RUNS = {"B64 E3": (.0064, 469), "B64 E5": (.0064, 782), "B64 E10": (.0064, 1563),
        "B256 E3": (.0256, 118), "B256 E10": (.0256, 391)}
SPENT = {  # sigma: RDP (Opacus 1.6.0) and PLD (dp-accounting 0.6.0) for each of RUNS, delta 1e-5
    .5: ((9.0147, 7.4405), (10.3844, 8.7065), (12.9686, 11.1508), (14.2004, 12.0238),
         (22.0007, 19.3258)),
    .6: ((5.1289, 4.1307), (5.7915, 4.7655), (7.0896, 6.0098), (8.6914, 7.3167),
         (13.1878, 11.5112)),
    .8: ((2.1827, 1.5626), (2.4239, 1.8496), (2.9301, 2.4180), (4.0831, 3.3824), (6.1377, 5.3600)),
    1.: ((1.2022, .8023), (1.3390, 1.0062), (1.6497, 1.3994), (2.3411, 1.9298), (3.6379, 3.2159)),
    1.5: ((.4908, .3817), (.5803, .4960), (.7857, .7117), (1.0023, .8769), (1.7505, 1.5831)),
    2.: ((.2958, .2568), (.3728, .3358), (.5347, .4845), (.6430, .5750), (1.1697, 1.0610))}
NOISE = {  # epsilon: sigma by RDP and by PLD, the latter solved on a grid of 1e-3
    1: ((1.0795, .9205), (1.1338, 1.0031), (1.2868, 1.2022), (1.5023, 1.3856), (2.2586, 2.0940)),
    2: ((.8253, .7447), (.8568, .7808), (.9228, .8574), (1.0693, .9850), (1.3773, 1.2924)),
    8: ((.5195, .4889), (.5420, .5129), (.5782, .5511), (.6190, .5806), (.7215, .6853)),
    16: ((.4154, .3934), (.4374, .4159), (.4698, .4502), (.4782, .4502), (.5599, .5340))}
MIXED = [(1.0, .0064, 469), (.7, .0256, 118)]
HARD = [  # sigma, q, steps, delta: rare large losses, a million steps, tiny delta, one step
    (.4, 1e-5, 1000, 1e-5), (.5, 1e-5, 10 ** 6, 1e-5), (.7, 1e-5, 10 ** 6, 1e-12),
    (1.012, .000958, 1, 4.2e-10), (.1, 1e-5, 10 ** 4, 1e-3), (100, .9, 10 ** 6, 1e-5),
    (10, .5, 1, 1e-5), (2000, .5, 10 ** 6, 1e-12), (.3, .01, 50, 1e-8), (20, .05, 3000, 1e-2)]


def one_step(sigma, q, delta):
    """Epsilon of a single step, from the two normal distributions themselves."""
    def tail(x):
        return math.erfc(x / math.sqrt(2)) / 2

    def excess(eps):  # the mixture is e^eps times as likely as N(0, sigma^2) at x, and more beyond
        x = sigma ** 2 * math.log1p(math.expm1(eps) / q) + .5
        return (q * tail((x - 1) / sigma) - (q + math.expm1(eps)) * tail(x / sigma)) - delta
    low, high = 0, 100 if excess(0) > 0 else 0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high


# Renyi divergence


def test_rdp_in_closed_form():
    assert rdp(2, 1, 8) == 1
    assert rdp(1, .01, 2) == pytest.approx(math.log1p(1e-4 * math.expm1(1)), rel=1e-10)
    assert rdp(1, .01, 2) == pytest.approx(1.7181342e-4, rel=1e-7)
    assert rdp(1, .01, 3) == pytest.approx(2.6463757e-4, rel=1e-7)
    assert rdp(1, .01, 2.5) == pytest.approx(2.1758e-4, rel=1e-4)  # Opacus
    assert rdp(1, 0, 2) == 0 and rdp(0, .1, 2) == math.inf


@pytest.mark.parametrize("sigma", [.2, .6, 1, 4, 50])
@pytest.mark.parametrize("q", [1e-5, .003, .2, .99])
@pytest.mark.parametrize("alpha", [2, 3, 7, 40])
def test_rdp_of_whole_orders_is_the_binomial_sum(sigma, q, alpha):  # Mironov et al. 2019, 3.3
    terms = [math.log(math.comb(alpha, k)) + k * math.log(q) + (alpha - k) * math.log1p(-q)
             + (k * k - k) / (2 * sigma ** 2) for k in range(alpha + 1)]
    top = max(terms)
    want = top + math.log(math.fsum(math.exp(t - top) for t in terms))
    assert rdp(sigma, q, alpha) * (alpha - 1) == pytest.approx(want, rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("sigma", [.3, .7, 1.5, 6])
@pytest.mark.parametrize("q", [1e-4, .01, .4])
def test_rdp_agrees_with_opacus(sigma, q):
    analysis = pytest.importorskip("opacus.accountants.analysis.rdp")
    for alpha in (1.1, 1.5, 2.7, 6.3, 10.9, 33., 63.):
        with np.errstate(all="ignore"):
            want = analysis.compute_rdp(q=q, noise_multiplier=sigma, steps=1, orders=alpha)
        assert rdp(sigma, q, alpha) == pytest.approx(want, rel=1e-5, abs=1e-12)


def test_rdp_does_not_vanish_near_order_one():  # tf-privacy issue 166
    for alpha in (1 + 1e-3, 1 + 1e-6, 1 + 1e-9):
        # (alpha / 2) chi^2, to first order in q
        assert rdp(5, 1e-4, alpha) == pytest.approx(.5e-8 * math.expm1(.04), rel=2e-3)
    grid = [rdp(.8, .01, a) for a in ORDERS[:120]]
    assert (np.diff(grid) > 0).all()
    assert rdp(.0199, 1e-3, 2) == pytest.approx(rdp(.0201, 1e-3, 2), rel=.03)  # two formulas


# Epsilon


@pytest.mark.parametrize("sigma", SPENT)
def test_epsilon_of_the_table(sigma):
    for (q, steps), (by_rdp, by_pld) in zip(RUNS.values(), SPENT[sigma]):
        assert epsilon(sigma, q, steps, 1e-5, "rdp") == pytest.approx(
            by_rdp, rel=1e-4, abs=6e-5)  # printed to four places
        assert epsilon(sigma, q, steps, 1e-5) == pytest.approx(by_pld, rel=3e-4, abs=1e-4)


@pytest.mark.parametrize("target", NOISE)
def test_noise_multiplier_of_the_table(target):
    for (q, steps), (by_rdp, by_pld) in zip(RUNS.values(), NOISE[target]):
        sigma = noise_multiplier(target, q, steps, 1e-5, "rdp")
        assert sigma == pytest.approx(by_rdp, rel=1e-4)
        assert target * (1 - 1.5e-4) <= epsilon(sigma, q, steps, 1e-5, "rdp") <= target
        sigma = noise_multiplier(target, q, steps, 1e-5)
        assert sigma == pytest.approx(by_pld, rel=2e-3)
        assert target * (1 - 1.5e-4) <= epsilon(sigma, q, steps, 1e-5) <= target


def test_published_numbers():
    # Opacus' own tests; PRV is an upper bound to within .01
    assert epsilon(1.5, .04, 2250, 1e-5, "rdp") == pytest.approx(7.32911117143, rel=1e-6)
    assert 6.777395712150674 - .01 < epsilon(1.5, .04, 2250, 1e-5) < 6.777395712150674
    assert noise_multiplier(8, .04, 2250, 1e-5, "rdp") == pytest.approx(1.416, abs=3e-3)
    # Opacus, q = 1 / ceil(N / B)
    assert epsilon(1, 1 / 157, 471, 1e-5, "rdp") == pytest.approx(1.200025, rel=1e-5)
    assert epsilon(1, 1 / 40, 400, 1e-5, "rdp") == pytest.approx(3.585883, rel=1e-5)
    # Abadi et al. 2016: 1.26 and 2.55, by an older conversion
    for steps, by_rdp, prv in ((10000, 1.03549, .94687), (40000, 2.20974, 2.03307)):
        assert epsilon(4, .01, steps, 1e-5, "rdp") == pytest.approx(by_rdp, rel=1e-5)
        assert epsilon(4, .01, steps, 1e-5) == pytest.approx(prv, rel=1e-3)


def test_gaussian_mechanism():  # closed form of Balle and Wang 2018
    assert epsilon(4, 1, 1, 2.9242721e-6) == pytest.approx(1, rel=1e-6)
    assert epsilon(1, 1, 1, 1e-5) == pytest.approx(4.3771781, rel=1e-8)
    assert epsilon(1000, 1, 10 ** 6, 1e-5) == pytest.approx(4.3771781, rel=1e-8)
    assert epsilon(1, 1 - 1e-9, 1, 1e-5) == pytest.approx(4.3771781, rel=1e-4)  # not a special case
    assert composed([(2, 1, 2), (4, 1, 8)], 1e-5) == pytest.approx(4.3771781, rel=1e-8)


@pytest.mark.parametrize("sigma", [.5, 1, 3, 30])
@pytest.mark.parametrize("q", [1e-4, .01, .3])
@pytest.mark.parametrize("delta", [1e-10, 1e-6, 1e-3])
def test_one_step_is_exact_from_above(sigma, q, delta):
    truth, found = one_step(sigma, q, delta), epsilon(sigma, q, 1, delta)
    assert truth * (1 - 1e-9) <= found <= truth * (1 + 5e-4) + 2e-6


@pytest.mark.parametrize("run", [(.8, .01, 300, 1e-6), (.9, .1, 20, 1e-8)])
def test_between_the_bounds_of_dp_accounting(run):
    pld = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution")
    sigma, q, steps, delta = run
    low, high = (pld.from_gaussian_mechanism(
        sigma, sampling_prob=q, value_discretization_interval=3e-4, pessimistic_estimate=above,
        use_connect_dots=above).self_compose(steps).get_epsilon_for_delta(delta)
        for above in (False, True))
    assert low < epsilon(*run) < high * (1 + 1e-4)
    assert epsilon(*run) == pytest.approx(high, rel=1e-4)  # connecting the dots is tight


@pytest.mark.parametrize("add", (False, True))
def test_losses_are_logarithms_of_the_two_densities_ratio(add):
    """p sums to 1, and so does p e^-L, the probability of the other: L = ln(p / other)."""
    for sigma, q in ((.7, .1), (2, .01), (1, .6)):
        loss, p = _losses(sigma, q, .01, 9, add)
        assert p.sum() == pytest.approx(1, abs=1e-9)
        assert (p * np.exp(-loss)).sum() == pytest.approx(1, abs=1e-9)
        assert (p * loss).sum() > 0


def test_histories_compose():
    assert composed(MIXED, 1e-5, "rdp") == pytest.approx(5.832764, rel=1e-6)  # Opacus
    assert 4.889760 - .011 < composed(MIXED, 1e-5) < 4.889760  # Opacus' PRV: above, within .01
    assert composed(MIXED[::-1], 1e-5) == pytest.approx(composed(MIXED, 1e-5), rel=1e-9)
    split = composed([(1, .01, 100), (1, .01, 0), (1, .01, 200), (5, 0, 9)], 1e-6)
    assert split == pytest.approx(epsilon(1, .01, 300, 1e-6), rel=1e-8)
    parts = [(1, .01, 100), (.9, .02, 50), (3, 1, 2)]
    assert composed(parts, 1e-6) > max(composed(parts[:k] + parts[k + 1:], 1e-6) for k in range(3))


def test_a_mixed_history_agrees_with_dp_accounting():
    pld = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution")
    first, second = (pld.from_gaussian_mechanism(
        sigma, sampling_prob=q, value_discretization_interval=3e-4).self_compose(steps)
        for sigma, q, steps in MIXED)
    want = first.compose(second).get_epsilon_for_delta(1e-5)
    assert composed(MIXED, 1e-5) == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("run", HARD)
def test_hard_runs(run):
    sigma, q, steps, delta = run
    started = time.process_time()
    found = epsilon(*run)
    assert time.process_time() - started < 1
    assert 0 < found <= epsilon(*run, "rdp")
    assert epsilon(sigma * 1.001, q, steps, delta) < found < epsilon(sigma, q, steps + 1, delta)
    assert epsilon(sigma, q, steps, delta * 1.001) < found < epsilon(sigma, q * 1.001, steps, delta)


@pytest.mark.parametrize("run", HARD[:4])
def test_converged(run, monkeypatch):  # a finer grid and less smoothing change little
    found = epsilon(*run)
    monkeypatch.setattr("w2s.dp.accountant.WAVES", 2 ** 19)
    monkeypatch.setattr("w2s.dp.accountant.NODES", 2 ** 16)
    from w2s.dp.accountant import _epsilon_pld
    fine = _epsilon_pld([run[:3]], run[3], 1e-6)
    assert found == pytest.approx(fine, rel=1e-3 if run[3] < 1e-11 else 2e-4)


def test_a_known_hard_value():
    # rare losses over a steep bulk: lam, period and smoothing varied, all within 5e-5 of .44398
    assert epsilon(.7145, 1e-5, 10 ** 6, 1e-12) == pytest.approx(.44398, rel=5e-4)


@pytest.mark.parametrize("method", ["rdp", "pld"])
def test_monotone(method):
    for values in ([epsilon(s, .01, 500, 1e-5, method) for s in np.geomspace(.4, 5, 8)],
                   [epsilon(1, .01, 500, d, method) for d in np.geomspace(1e-12, 1e-2, 6)]):
        assert (np.diff(values) < 0).all()
    for values in ([epsilon(1, q, 500, 1e-5, method) for q in np.geomspace(1e-3, 1, 6)],
                   [epsilon(1, .01, n, 1e-5, method) for n in (1, 2, 3, 99, 100, 10 ** 5)]):
        assert (np.diff(values) > 0).all()


# Noise


@pytest.mark.parametrize("run", [(.05, .01, 10, 1e-12), (8, 1e-5, 10 ** 6, 1e-5), (1, 1, 1, 1e-5),
                                 (100, .5, 10, 1e-5), (.01, .3, 10 ** 6, 1e-9), (3, .1, 1, 1e-2)])
def test_noise_multiplier_never_overshoots(run):
    target, q, steps, delta = run
    for method in ("rdp", "pld"):
        started = time.process_time()
        sigma = noise_multiplier(target, q, steps, delta, method)
        assert time.process_time() - started < 2
        assert target * (1 - 1.5e-4) <= epsilon(sigma, q, steps, delta, method) <= target


def test_noise_where_any_or_none_will_do():
    assert noise_multiplier(1, 0, 10, 1e-5) == noise_multiplier(1, .1, 0, 1e-5, "rdp") == 0
    sigma = noise_multiplier(5, 1e-5, 10, 1e-2)  # an example is hardly ever drawn
    assert sigma == pytest.approx(.05) and epsilon(sigma, 1e-5, 10, 1e-2) == 0
    with pytest.raises(ValueError, match="epsilon: no noise brings it down to 1e-06"):
        noise_multiplier(1e-6, .1, 10, 1e-12, "rdp")


# Edges and bad input


@pytest.mark.parametrize("method", ["rdp", "pld"])
def test_edges(method):
    assert epsilon(1, 0, 10, 1e-5, method) == epsilon(1, .1, 0, 1e-5, method) == 0
    assert epsilon(0, 0, 10, 1e-5, method) == composed([], 1e-5, method) == 0
    assert epsilon(0, .1, 10, 1e-5, method) == math.inf
    assert epsilon(math.inf, .1, 10, 1e-5, method) == 0
    assert 0 <= epsilon(1e6, .1, 10, 1e-5, method) < .01
    for sigma in (1e-3, .01, .05):  # far beyond any use: a bound, and no warning
        assert epsilon(sigma, .5, 10 ** 6, 1e-5, method) > 1e5
    assert epsilon(1, .1, 1e3, 1e-5, method) == epsilon(1, .1, 1000, 1e-5, method)


def test_epsilon_is_zero_only_when_delta_covers_everything():
    total_variation = .1 * math.erf(.5 / 4 / math.sqrt(2))  # of one step
    assert epsilon(4, .1, 1, total_variation * 1.001) == 0
    assert 0 < epsilon(4, .1, 1, total_variation * .99) < .01


@pytest.mark.parametrize("name, value", [
    ("sigma", -1), ("sigma", math.nan), ("sigma", "1"), ("sigma", None), ("q", -.1), ("q", 1.1),
    ("q", math.nan), ("steps", -1), ("steps", 1.5), ("steps", math.inf), ("steps", math.nan),
    ("delta", 0), ("delta", 1), ("delta", math.nan), ("method", "clt")])
def test_bad_input(name, value):
    good = {"sigma": 1, "q": .1, "steps": 10, "delta": 1e-5, "method": "pld"}
    with pytest.raises(ValueError, match=f"^{name}: expected .* got"):
        epsilon(**good | {name: value})
    if name != "sigma":
        with pytest.raises(ValueError, match=f"^{name}: expected .* got"):
            noise_multiplier(1, **{k: v for k, v in (good | {name: value}).items() if k != "sigma"})


@pytest.mark.parametrize("target", [0, -1, math.nan, math.inf, "8 or so"])
def test_bad_target(target):
    with pytest.raises(ValueError, match="^epsilon: expected"):
        noise_multiplier(target, .1, 10, 1e-5)


def test_a_target_next_to_zero_is_met_or_refused():
    for target in (1e-9, 1e-12):
        assert epsilon(noise_multiplier(target, .2, 13, 1e-5), .2, 13, 1e-5) <= target


# ---- extremes ------------------------------------------------------------------------------------

SIGMAS = (5e-324, 1e-300, 1e-150, 1e-30, .04, .05, 1, 1e4, 1e8, 1e30, 1e150, 1e300, 1.7e308)
RATES = (5e-324, 1e-300, 1e-30, 1e-9, .5, 1 - 1e-16, 1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", ("rdp", "pld"))
@pytest.mark.parametrize("delta", (5e-324, 1e-300, 1e-99, .999))
def test_extremes_are_numbers_and_more_noise_never_costs_more(method, delta):
    for q in RATES:
        for steps in (1, 10 ** 9, 10 ** 12):
            found = [epsilon(sigma, q, steps, delta, method) for sigma in SIGMAS]
            assert all(value >= 0 for value in found), (q, steps, found)  # and no nan
            for a, b in zip(found, found[1:]):
                assert b <= a * (1 + 1e-3) or a == math.inf, (q, steps, found)


def test_extremes_of_the_plain_gaussian_are_above_the_truth():
    """delta(epsilon) of N(0, 1) against N(mu, 1), mu^2 = steps / sigma^2 (Balle and Wang 2018)."""
    def log_tail(x):
        return (math.log(math.erfc(x / math.sqrt(2)) / 2) if x < 25 else
                -x * x / 2 - math.log(x * math.sqrt(2 * math.pi)) - 1 / x ** 2)

    for sigma, steps in ((1e4, 10 ** 9), (1e7, 1), (1e9, 1), (1e9, 10 ** 9), (.5, 1), (1e-3, 1),
                         (1, 10 ** 5)):
        mu = math.sqrt(steps) / sigma
        for delta in (1e-300, 1e-120, 1e-20, 1e-5, .3):
            for method in ("rdp", "pld"):
                value = epsilon(sigma, 1, steps, delta, method)
                first = log_tail(value / mu - mu / 2)
                rest = value + log_tail(value / mu + mu / 2) - first
                log_delta = first + math.log(-math.expm1(min(rest, -1e-300)))
                assert log_delta <= math.log(delta) + 1e-4, (sigma, steps, delta, method, value)


@pytest.mark.parametrize("method", ("rdp", "pld"))
def test_extreme_targets_are_kept_or_refused(method):
    kept = 0
    for target in (5e-324, 1e-300, 1e-3, 1e10, 1e300, 1.7e308):
        for q, steps, delta in ((1, 1, 1e-300), (1, 10 ** 12, .999), (1e-300, 10 ** 9, 1e-5),
                                (.5, 10 ** 9, 5e-324), (.5, 1, .999)):
            try:
                sigma = noise_multiplier(target, q, steps, delta, method)
            except ValueError as error:
                assert "no noise brings it down" in str(error)
                continue
            kept += 1
            assert epsilon(sigma, q, steps, delta, method) <= target
    assert kept >= 8


def test_numbers_that_no_float_holds_are_refused_by_name():
    for name, values in (("sigma", (10 ** 400, .1, 5, 1e-5)), ("steps", (1, .1, 10 ** 400, 1e-5)),
                         ("steps", (1, .1, 10 ** 13, 1e-5))):
        with pytest.raises(ValueError, match=name):
            epsilon(*values)
