"""Trade-offs between task performance and trust over lambda, and the frontiers of fairness.

A point is a model: its signed parity gap d and its accuracy. Two models used at random, one with
probability t, the other with 1 - t, have the mixture of their gaps and of their accuracies, so what
a role can reach is the upper hull of its points, and "accuracy at a gap of at most g" is the hull's
largest value on [-g, g]. n seeds, L levels.
"""

import numpy as np

from w2s import rows, statistics
from w2s.report.results import ROLES

LEVELS = np.arange(0, 41) / 200  # largest |DPD| that is allowed: 0 to .2
SHOWN = (0.02, 0.05, 0.1, 0.15)  # of them, in the table
CHANCE = "chance"  # in predictions of the miniature: P(label 1), as the law of the town has it


def tradeoffs(study):
    """{role: [(lambda, run)]} of the roles with at least two lambdas."""
    found = {role: study.role(role) for role in ROLES}
    return {role: pairs for role, pairs in found.items() if len(pairs) > 1}


def hull(points):
    """The upper hull of points [(d, accuracy)] as arrays (d, accuracy), d rising."""
    found = []
    for x, y in sorted(set(map(tuple, points))):
        if found and found[-1][0] == x:  # sorted: the later one is higher
            found.pop()
        while len(found) > 1 and _below(found[-2], found[-1], (x, y)):
            found.pop()
        found.append((x, y))
    return tuple(np.array(found).T)


def _below(a, b, c):
    """Whether b lies on or below the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def reached(points, levels=LEVELS):
    """(L,) the largest accuracy at |d| <= level, nan where no mixture comes so close to parity."""
    d, accuracy = hull(points)
    result = []
    for level in levels:
        low, high = max(-level, d[0]), min(level, d[-1])
        inside = accuracy[(d >= low) & (d <= high)]
        result.append(np.nan if low > high else max(
            [*np.interp([low, high], d, accuracy), *inside]))
    return np.array(result)


def frontiers(study):
    """{role: (mean (L,), low, high)} of `reached`, over the seeds that have all runs of the role;
    low and high its t interval, None for one seed. For a task with parity gaps."""
    found = {}
    for role, pairs in tradeoffs(study).items():
        runs = [study.of("none", name) for _, name in pairs]
        seeds = sorted(set.intersection(*map(set, runs)))
        if len(seeds):
            each = np.array([reached([(run[seed].values["dpd"], run[seed].values["acc"])
                                      for run in runs]) for seed in seeds])
            found[role] = banded(each)
    law = [reached(bayes(study.at(pairs[0][1], seed) / "predictions" / "test.jsonl"))
           for pairs in list(tradeoffs(study).values())[:1] for seed in study.seeds
           if has_law(study.at(pairs[0][1], seed) / "predictions" / "test.jsonl")]
    return found | ({"Bayes": banded(np.array(law))} if law else {})


def banded(each):
    """(mean, low, high) over seeds of (n, L); a level that a seed does not reach is nan."""
    n, mean = len(each), each.mean(0)
    if n < 2:
        return mean, None, None
    draws = each.T @ statistics.t_weights(n, 4000, np.random.default_rng(n)).T  # (L, draws)
    low, high = np.quantile(draws, (.025, .975), axis=1)
    return mean, low, high


def has_law(path):
    """Whether predictions say how probable each label was."""
    return path.exists() and CHANCE in next(iter(rows.read(path)), {})


def bayes(path, steps=400):
    """[(d, accuracy)] of the best decisions that the town's law allows on these rows: yes where
    P(label 1) > 1/2 + m / (share of a = 1) or, for a = 0, > 1/2 - m / (share of a = 0), over a grid
    of m: the Lagrangian of "most accurate at this gap". The accuracy is the expected one."""
    found = rows.read(path, {CHANCE: rows.NUMBER, "a": (0, 1)})
    p, a = np.array([row[CHANCE] for row in found]), np.array([row["a"] for row in found])
    side = np.where(a == 1, 1 / a.mean(), -1 / (1 - a.mean()))
    points = []
    for m in np.linspace(-.25, .25, steps + 1):
        yes = p > .5 + m * side
        points.append((yes[a == 1].mean() - yes[a == 0].mean(), np.where(yes, p, 1 - p).mean()))
    return points
