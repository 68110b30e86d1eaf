"""Trade-offs between task performance and trust over lambda, and the frontiers of fairness.

A point is a model: its signed parity gap d and its accuracy. Answering by one model with
probability t and by another with 1 - t mixes their gaps and accuracies in these shares. So what a
role can reach is the upper hull of its points, and the accuracy at a gap of at most g is the hull's
largest value on [-g, g]. n seeds, L levels.
"""

import numpy as np

from w2s import rows, statistics
from w2s.report.ceiling import ROLES

LEVELS = np.arange(0, 41) / 200  # largest |DPD| that is allowed: 0 to .2
SHOWN = (0.02, 0.05, 0.1, 0.15)  # those of LEVELS in the table
CHANCE = "chance"  # P(label 1) by the law that the miniature's rows were drawn from, in predictions


def tradeoffs(study):
    """{role: [(lambda, run)]} of the roles with at least two lambdas."""
    return {role: pairs for role in ROLES if len(pairs := study.role(role)) > 1}


def hull(points):
    """The upper hull of points [(d, accuracy)] as arrays (d, accuracy) with d rising."""
    corners = []
    for x, y in sorted(set(map(tuple, points))):
        if corners and corners[-1][0] == x:  # sorted: the later one is higher
            corners.pop()
        while len(corners) > 1 and _below(corners[-2], corners[-1], (x, y)):
            corners.pop()
        corners.append((x, y))
    return tuple(np.array(corners).T)


def _below(a, b, c):
    """Whether b lies on or below the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def reached(points, levels=LEVELS):
    """(L,) the largest accuracy at |d| <= level; nan where no mixture comes so close to parity."""
    d, accuracy = hull(points)
    # concave and linear between corners: the largest value is at an end of the range or a corner
    result = []
    for level in levels:
        low, high = max(-level, d[0]), min(level, d[-1])
        inside = accuracy[(d >= low) & (d <= high)]
        result.append(np.nan if low > high else max(
            [*np.interp([low, high], d, accuracy), *inside]))
    return np.array(result)


def frontiers(study):
    """{role: (mean (L,), low, high)} of `reached`, over the seeds that have all runs of the role;
    low and high its t interval, None for one seed. "Bayes" beside the roles, where predictions
    carry CHANCE: the best that any decisions reach. For a task with parity gaps."""
    result, roles = {}, tradeoffs(study)
    for role, pairs in roles.items():
        runs = [study.of("none", name) for _, name in pairs]
        seeds = sorted(set.intersection(*map(set, runs)))
        if len(seeds):
            each = np.array([reached([(run[seed].values["dpd"], run[seed].values["acc"])
                                      for run in runs]) for seed in seeds])
            result[role] = banded(each)
    # CHANCE is a property of the rows, so one run of a seed stands for all of them
    paths = [study.at(pairs[0][1], seed) / "predictions" / "test.jsonl"
             for pairs in list(roles.values())[:1] for seed in study.seeds]
    law = [reached(bayes(path)) for path in paths
           if path.exists() and CHANCE in next(iter(rows.read(path)), {})]
    return result | ({"Bayes": banded(np.array(law))} if law else {})


def banded(each):
    """(mean (L,), low, high) over seeds of (n, L); nan at a level that a seed does not reach."""
    n, mean = len(each), each.mean(0)
    if n < 2:
        return mean, None, None
    # seeded by n, so a report made twice is the same
    draws = each.T @ statistics.t_weights(n, 4000, np.random.default_rng(n)).T  # (L, draws)
    low, high = np.quantile(draws, (.025, .975), axis=1)
    return mean, low, high


def bayes(path, steps=400):
    """[(d, expected accuracy)] of the best decisions on these rows, for who knows P(label 1):
    yes where it is above 1/2 + m / P(a = 1), for a = 0 above 1/2 - m / P(a = 0). m, over a grid of
    `steps` intervals, is the Lagrange multiplier of "most accurate at this gap"."""
    people = rows.read(path, {CHANCE: rows.NUMBER, "a": (0, 1)})
    p, a = np.array([row[CHANCE] for row in people]), np.array([row["a"] for row in people])
    side = np.where(a == 1, 1 / a.mean(), -1 / (1 - a.mean()))
    points = []
    for m in np.linspace(-.25, .25, steps + 1):
        yes = p > .5 + m * side
        points.append((yes[a == 1].mean() - yes[a == 0].mean(), np.where(yes, p, 1 - p).mean()))
    return points
