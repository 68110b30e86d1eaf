"""Intervals, exact tests and the three-state trend (readings, "Statistics"), in numpy.

N rows, G groups, m statistics of a row, n seeds. Every random draw comes from a seed or a generator
that the caller gives, so a table made twice is the same table.
"""

import numpy as np

CHUNK = 4_000_000  # random numbers held at a time: 32 MB


def mean_sd(values):
    """(mean, standard deviation with ddof = 1) of (n,) values; the latter is nan for n = 1."""
    values = _values(values, "values")
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def bootstrap_interval(values, groups=None, level=.95, draws=10000, seed=0):
    """Percentile bootstrap interval (low, high) of the mean of values (N,).

    groups (N,): hierarchical bootstrap. As many groups as there are are drawn with replacement,
    then within each as many values as it has; the statistic is the mean of all drawn values.
    Raises ValueError for empty, NaN or wrongly sized input and for level outside (0, 1).
    """
    values = _values(values, "values")
    code = np.zeros(len(values), int) if groups is None else _codes(groups, len(values))
    values, size = values[np.argsort(code, kind="stable")], np.bincount(code)
    rng, means = np.random.default_rng(seed), []
    for n in _chunks(draws, len(size) * int(size.max())):
        means.append(_nested_means(values, size, n, rng))
    return interval(np.concatenate(means), level)


def _nested_means(values, size, draws, rng):
    """(draws,) means of hierarchical samples; values sorted by group, size (G,) of each group."""
    start = np.cumsum(size) - size
    # flat arrays, not a loop over draws; each draw has its own number of values
    drawn = rng.integers(len(size), size=(draws, len(size)))  # groups in G places
    sizes, per_draw = size[drawn].ravel(), size[drawn].sum(1)
    within = rng.random(sizes.sum()) * np.repeat(sizes, sizes)
    picked = values[np.repeat(start[drawn].ravel(), sizes) + within.astype(int)]
    return np.add.reduceat(picked, np.cumsum(per_draw) - per_draw) / per_draw


def interval(draws, level=.95):
    """The middle `level` of bootstrap draws (draws,) as (low, high).

    nan draws (samples in which the statistic is undefined) are left out; (nan, nan) when all are.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level}")
    draws = np.asarray(draws, dtype=np.float64)
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resample_totals(S, groups, draws, rng):
    """Totals (draws, m) of bootstrap samples of groups; S (N, m) sums of a row, groups (N,).

    A sample draws G groups with replacement and adds up all their rows; None: each row is a group.
    Groups with equal sums are interchangeable, so the distinct sums ("cells") get multinomial
    counts: exact, and cheap for 0/1 statistics (10,000 draws of 10,000 rows of 180 columns on two
    cores: 0.4 s with 10 cells, 5 s with 10,000).
    """
    S = np.asarray(S, dtype=np.float64)
    if S.ndim != 2 or not len(S) or np.isnan(S).any():
        raise ValueError(f"S: expected (N, m) without NaN and N >= 1, got shape {S.shape}")
    if groups is not None:
        code = _codes(groups, len(S))
        order = np.argsort(code, kind="stable")
        S = np.add.reduceat(S[order], np.flatnonzero(np.diff(code[order], prepend=-1)))
    cells, count = np.unique(S, axis=0, return_counts=True)
    return np.concatenate([rng.multinomial(len(S), count / len(S), size=n) @ cells
                           for n in _chunks(draws, len(cells))])


def t_weights(n, draws, rng):
    """(draws, n) weights of n seeds, each line summing to 1: a weighted mean of n values has the
    distribution mean + (sd / sqrt(n)) t, Student's with n - 1 degrees of freedom, so its middle
    95 % is the t interval. A bootstrap of few seeds is too narrow: by a factor of .37 with three.
    One seed has the weight 1: nothing is known of the spread over seeds."""
    if n == 1:
        return np.ones((draws, 1))
    normal = rng.normal(size=(draws, n))
    # centred, so that each line of weights sums to 1
    normal -= normal.mean(1, keepdims=True)
    scale = np.sqrt((n - 1) / rng.chisquare(n - 1, draws) / (n * (n - 1)))
    return 1 / n + normal * scale[:, None]


def common_rows(groups):
    """The factor of the bootstrap's deviations, averaged over n seeds; groups: of each seed the
    groups of its test rows. 1 when all seeds have the same rows, whose noise the spread over seeds
    cannot show; 0 when they share none, for then the spread shows all of it. Between these it grows
    with r, the share of rows that two seeds have in common, whose noise has r of the variance."""
    n = len(groups)
    sets = [set(each) for each in groups]
    if n == 1 or all(each == sets[0] for each in sets):
        return 1.0
    pairs = [len(a & b) / (len(a) * len(b)) ** .5
             for k, a in enumerate(sets) for b in sets[:k]]
    return (n * sum(pairs) / len(pairs)) ** .5  # drawn apart, their mean has 1 / n and not r


def mean_draws(values, draws, weights, groups):
    """(k, D) joint draws of the means over n seeds of k models: values (k, n), their bootstrap
    draws (k, n, D), weights (D, n) of `t_weights`, groups of each seed's test rows. The weights add
    the spread over seeds, the bootstrap that of the rows that the seeds share."""
    rows = (np.asarray(draws) - np.asarray(values)[..., None]).mean(1)
    return values @ weights.T + common_rows(groups) * rows


def trend(weak, student, ceiling, means=None, level=.95):
    """Three states of "trust goes from weak to strong" (readings, "Statistics").

    weak, student, ceiling (draws,): joint bootstrap draws of tr, larger is more trustworthy. means:
    the three observed values; default the draws' means. Returns
    "yes": weak < student < ceiling, and the intervals of both adjacent differences exclude 0;
    "ordered": in that order, but an interval includes 0;   "no": not in that order.
    """
    weak, student, ceiling = (np.asarray(x, dtype=np.float64) for x in (weak, student, ceiling))
    low, middle, high = (weak.mean(), student.mean(), ceiling.mean()) if means is None else means
    if not low < middle < high:
        return "no"
    clear = all(interval(step, level)[0] > 0 for step in (student - weak, ceiling - student))
    return "yes" if clear else "ordered"


def sign_flip_p(differences):
    """Exact two-sided p of the paired sign-flip test; differences (n,), n <= 24.

    The share of the 2^n sign patterns whose |sum| is at least the observed one.
    """
    d = _values(differences, "differences")
    if len(d) > 24:
        raise ValueError(f"differences: exact for up to 24 pairs, got {len(d)}")
    sums = np.array([d[0]])  # the first sign stays: the other half is its mirror image
    for value in d[1:]:
        sums = np.concatenate([sums + value, sums - value])
    # the tolerance: equal sums differ in the last digits, depending on the order of addition
    return float(np.mean(np.abs(sums) >= abs(d.sum()) - 1e-12 * np.abs(d).sum()))


def smallest_p(n):
    """The smallest two-sided p that n pairs can reach in `sign_flip_p`: 2^(1 - n)."""
    if n != int(n) or n < 1:
        raise ValueError(f"n: expected a whole number of at least 1, got {n}")
    return 2.0 ** (1 - int(n))


def holm(p_values):
    """Holm's step-down adjustment; p_values (k,) in [0, 1] -> k adjusted values, same order."""
    p = _values(p_values, "p_values")
    if ((p < 0) | (p > 1)).any():
        raise ValueError("p_values: expected values in [0, 1]")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted.tolist()


def _values(values, name):
    """List, array or tensor -> float64 (n,), n >= 1, finite."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"{name}: expected at least one number, all of them finite")
    return array


def _codes(groups, n):
    """Group names (n,) -> numbers 0..G-1 (n,), in sorted order of the names."""
    if hasattr(groups, "detach"):
        groups = groups.detach().cpu().numpy()
    code = np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
    if len(code) != n:
        raise ValueError(f"groups has {len(code)} rows, expected {n}")
    return code


def _chunks(draws, width):
    """Sizes that add up to draws, with size * width <= CHUNK random numbers held at a time."""
    step = max(1, CHUNK // width)
    return [min(step, draws - first) for first in range(0, draws, step)]
