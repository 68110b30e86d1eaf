"""How good a trust score is: does it rank right labels above wrong ones, and is it a probability?

    auc        P(score of a right label > score of a wrong one)
    purity     fraction right among the purity_n rows of the highest score; purity_random: of all
    aurc       mean fraction wrong among the n highest, n = 1..N; lower is better
    ece, brier, nll    of the score as a probability; left out when it leaves [0, 1]

Each with a 95 % bootstrap interval, <name>_low and <name>_high, for which groups of rows are drawn
with replacement. N rows, G groups, D draws.
"""

import numpy as np

from w2s import metrics, statistics

AT_ONCE = 200_000  # rows of bootstrap samples held at a time: 1.6 MB an array
BINS = 15            # of the ECE


def measure(trust, right, groups=None, seed=0, draws=1000, n=None):
    """[{"slice": "all", "metric": name, "value": number or None}] of a trust score.

    trust (N,) real, larger means right; right (N,) in {0, 1}; groups (N,): rows that are drawn
    together, default each alone; n: rows that purity selects, default half of them. The AUC of one
    class only is None. 1000 draws of 10,000 rows: 1.0-1.5 s on one core.
    """
    trust, right = column(trust), column(right)
    n = max(1, len(right) // 2) if n is None else n
    point = observed(trust, right, n)
    code = np.arange(len(right)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if len(code) != len(right):
        raise ValueError(f"groups has {len(code)} rows, right has {len(right)}")
    order = np.argsort(-trust, kind="stable")  # once, and not for each draw
    trust, right, code = trust[order], right[order].astype(np.float64), code[order]
    rng, drawn = np.random.default_rng(seed), {name: [] for name in point}
    for weight in resampled(code, draws, rng):
        for name, values in weighted(trust, right, weight, n / len(right), point).items():
            drawn[name].append(values)
    result = {"n": len(right), "purity_n": int(n)}
    for name, value in point.items():
        low, high = statistics.interval(np.concatenate(drawn[name])) if draws else (np.nan, np.nan)
        if name == "ece":
            # a sample's ECE exceeds the data's as the data's exceeds the truth, since noise adds to
            # |gap|: so the interval is reflected (Davison, Hinkley 1997, the basic bootstrap)
            low, high = max(0., min(value, 2 * value - high)), max(value, 2 * value - low)
        result |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return [{"slice": "all", "metric": name, "value": finite(value)}
            for name, value in result.items()]


def column(values):
    """List, array or tensor (N,) -> array. w2s.metrics refuses what is not one number a row."""
    return np.asarray(values.tolist() if hasattr(values, "tolist") else values)


def finite(value):
    """nan -> None, as JSON has it; others to 12 digits."""
    return value if isinstance(value, int) else None if np.isnan(value) else float(f"{value:.12g}")


def observed(trust, right, n):
    """{metric: float} of the rows as they are."""
    values = {"purity": metrics.purity(trust, right, n), "purity_random": float(np.mean(right)),
              "aurc": metrics.aurc(trust, right),
              "auc": metrics.auc(trust, right) if 0 < np.mean(right) < 1 else float("nan")}
    # calibration is asked of probabilities only
    if trust.min() >= 0 and trust.max() <= 1:
        values |= {"ece": metrics.ece(trust, right, BINS), "brier": metrics.brier(trust, right),
                   "nll": metrics.nll(trust, right)}
    return values


def resampled(code, draws, rng):
    """Yield (D, N): how often a row counts in a sample of G groups drawn with replacement; code
    (N,) the number of a row's group."""
    G = int(code.max()) + 1
    step = max(1, AT_ONCE // len(code))
    for first in range(0, draws, step):
        D = min(step, draws - first)
        # sample d counts in [d G, (d + 1) G): one bincount serves all of them
        drawn = rng.integers(G, size=(D, G)) + G * np.arange(D)[:, None]
        yield np.bincount(drawn.ravel(), minlength=D * G).reshape(D, G)[:, code]


def weighted(trust, right, weight, share, names):
    """{metric: (D,)} of samples: what the metric of the repeated rows would be. The AURC and the
    calibration, which cost most, are left out where they are not in `names`.

    trust, right (N,), highest trust first; weight (D, N): how often a row counts; share: of a
    sample's rows that purity selects.
    """
    weight = weight.astype(np.float64)
    hit = weight * right
    to, hits = weight.cumsum(1), hit.cumsum(1)                                     # (D, N)
    total = to[:, -1]
    values = {"purity": purity(right, weight, to, share), "purity_random": hits[:, -1] / total}
    if "purity_half" in names:
        values["purity_half"] = purity(right, weight, to, .5)
    last = np.flatnonzero(np.append(np.diff(trust) != 0, True))  # of each threshold: ties together
    tp = hits[:, last] if len(last) < len(trust) else hits
    fp = (to[:, last] if len(last) < len(trust) else to) - tp
    area = np.einsum("dn,dn->d", np.diff(fp), tp[:, 1:] + tp[:, :-1]) + fp[:, 0] * tp[:, 0]
    with np.errstate(invalid="ignore"):  # a sample of one class: nan
        values["auc"] = area / 2 / (tp[:, -1] * fp[:, -1])
    if "aurc" in names:
        values["aurc"] = sum_of_risks(right, weight - hit, to - hits, to) / total
    if "ece" in names:
        bins = np.eye(BINS)[metrics.bin_of(trust, BINS)]                           # (N, BINS)
        gaps = weight @ (bins * (trust - right)[:, None])
        p = np.where(right == 1, trust, 1 - trust).clip(1e-7, 1 - 1e-7)
        values |= {"ece": np.abs(gaps).sum(1) / total, "nll": weight @ -np.log(p) / total,
                   "brier": weight @ (trust - right) ** 2 / total}
    return values


def purity(right, weight, to, share):
    """(D,) fraction right in the first `share` of samples; right (N,), highest trust first; weight
    (D, N), how often a row counts, and to, how many rows there are up to it."""
    taken = np.clip(share * to[:, -1:] - (to - weight), 0, weight)
    return taken @ right / taken.sum(1)


def sum_of_risks(right, miss, misses, to):
    """(D,) sum over a sample's rows of the fraction wrong down to that row; right (N,); miss (D, N)
    how many wrong rows there are, misses and to how many wrong and how many rows up to there.

    The w copies of a row follow e wrong ones among c: sum_j (e + j wrong) / (c + j), j = 1..w, is
    w wrong + (e - c wrong) (H(c + w) - H(c)), H being the harmonic numbers.
    """
    harmonic = np.append(0, np.cumsum(1 / np.arange(1, to[:, -1].max() + 1)))
    steps = np.diff(harmonic[to.astype(int)], axis=1, prepend=0)
    # where wrong, e - c = (e + w) - (c + w): of both, what stands up to the row's own copies
    return (miss + (misses - to * (1 - right)) * steps).sum(1)
