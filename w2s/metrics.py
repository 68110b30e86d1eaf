"""Every number a table shows, from predictions that are already decided.

Arguments are lists, numpy arrays or tensors of N rows (N data set, T tokens). Rates are fractions,
not per cent. Raises ValueError, naming the argument, for an empty or NaN input, for lengths that
differ and for labels outside their range.
"""

import numpy as np

from w2s.config import number


def demographic_parity(predicted, a):
    """Eq. (2): P(yhat = 1 | a = 1) - P(yhat = 1 | a = 0), signed.

    predicted (N,) decisions in {0, 1}; a (N,) in {0, 1}. A fraction in [-1, 1]; the paper's DPD is
    its absolute value (readings, row F5). Raises ValueError when a group has no row.
    """
    predicted, a = _columns(predicted=(predicted, BINARY), a=(a, BINARY))
    return _gap(predicted, a)


def equalized_odds(predicted, label, a):
    """Equalised odds (Hardt et al. 2016): the gap a = 1 minus a = 0 in each error rate.

    predicted, label, a (N,) in {0, 1}. Returns {"tpr_gap", "fpr_gap": signed fractions; "worst",
    "mean": the larger and the mean of their absolute values}. |tpr_gap| is the equal-opportunity
    difference. A gap is nan when a group has no row of that label.
    """
    predicted, label, a = _columns(predicted=(predicted, BINARY), label=(label, BINARY),
                                   a=(a, BINARY))
    _gap(predicted, a)  # refuses an absent group
    gaps = []
    for y in (1, 0):
        rows = label == y
        both = len(np.unique(a[rows])) == 2
        gaps.append(_gap(predicted[rows], a[rows]) if both else float("nan"))
    sizes = np.abs(gaps)
    return {"tpr_gap": gaps[0], "fpr_gap": gaps[1],
            "worst": float(sizes.max()), "mean": float(sizes.mean())}


def accuracy(predicted, label):
    """Fraction of rows with predicted == label; both (N,) class numbers 0, 1, 2, ..."""
    predicted, label = _columns(predicted=(predicted, CLASS), label=(label, CLASS))
    return float(np.mean(predicted == label))


def robust_accuracy(predicted_adv, label):
    """RA: fraction right on perturbed text; predicted_adv (N,) classes of x', label (N,) of x."""
    predicted_adv, label = _columns(predicted_adv=(predicted_adv, CLASS), label=(label, CLASS))
    return float(np.mean(predicted_adv == label))


def extraction(true, generated):
    """Extraction rate (Biderman et al. 2023, Eq. 1): matching positions under greedy decoding.

    true, generated: N rows of token ids, (N, T) or ragged. A generated row may be shorter (an early
    end of text): what is missing counts as wrong, so stopping never shortens the denominator.
    Returns {"extraction": mean over rows of the token fraction, "extraction_exact": fraction of
    rows that match whole, "fraction": [N], "prefix": [N] tokens before the first mismatch}.
    """
    if len(true) != len(generated) or len(true) == 0:
        raise ValueError(f"true has {len(true)} rows and generated {len(generated)}: expected as "
                         "many of both, and at least one")
    fraction, prefix = [], []  # of each row: they may differ in length
    for i, (x, y) in enumerate(zip(true, generated)):
        match = _matches(x, y, i)
        fraction.append(float(match.mean()))
        prefix.append(int(np.cumprod(match).sum()))
    return {"extraction": float(np.mean(fraction)),
            "extraction_exact": float(np.mean(np.equal(fraction, 1))),
            "fraction": fraction, "prefix": prefix}


def exposure(true, others):
    """Exposure of a secret in bits (Carlini et al. 2019, Eq. 2, estimated by sampling): log2 |R| -
    log2 rank among R, the secret and the random candidates of its form.

    true: the secret's log-probability; others (C,): the candidates'. From 0 (no more likely than
    any of them) to log2(1 + C) (the most likely one); a tie counts one half.
    """
    others = _columns(others=([true, *others], REAL))[0]  # one check for all of them
    true, others = others[0], others[1:]
    rank = 1 + (others > true).sum() + (others == true).sum() / 2
    return float(np.log2(1 + len(others)) - np.log2(rank))


def auc(score, label):
    """Area under the ROC curve: P(score of a 1 > score of a 0), ties counting one half.

    score (N,) real, larger means 1; label (N,) in {0, 1}. Raises ValueError when a class is absent.
    """
    score, label = _columns(score=(score, REAL), label=(label, BINARY))
    positives = label.sum()
    negatives = len(label) - positives
    if not positives or not negatives:
        raise ValueError("label has one class only: the area under the ROC curve is undefined")
    # Mann and Whitney: the area is the rank sum of the positives, shifted and scaled
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]  # the mean rank of a tie
    return float((rank @ label - positives * (positives + 1) / 2) / (positives * negatives))


def roc(score, label, weight=None):
    """The ROC curve: (fpr, tpr), each (..., U + 1), at the thresholds that differ, from "nothing is
    1" to "everything is"; rows of one score are accepted together.

    score (N,) real, larger means 1; label (N,) in {0, 1}; weight (..., N), how often each row
    counts (a bootstrap's draws), default once. Raises ValueError when a class is absent.
    """
    score, label = _columns(score=(score, REAL), label=(label, BINARY))
    if len(np.unique(label)) < 2:
        raise ValueError("label has one class only: there is no ROC curve")
    order = np.argsort(-score, kind="stable")
    ordered = score[order]  # compared, not subtracted: inf - inf is not 0
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # of each threshold
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, dtype=np.float64)
    rates = []
    for y in (0, 1):
        total = np.cumsum((weight * (label == y))[..., order], -1)
        rate = np.zeros((*total.shape[:-1], len(last) + 1))
        with np.errstate(invalid="ignore"):  # a draw without rows of a class: nan
            rate[..., 1:] = total[..., last] / total[..., -1:]
        rates.append(rate)
    return tuple(rates)


def reliability(p, label, bins=15):
    """The bins under ECE. p (N,) probabilities of label 1; label (N,) in {0, 1}.

    `bins` bins of equal width (lo, hi], the first one closed, so that p = 0 and p = 1 both fall
    inside. Returns (rows, mean p, mean label) of the bins that are not empty, each (at most bins,).
    """
    p, label = _columns(p=(p, PROBABILITY), label=(label, BINARY))
    if bins != int(bins) or bins < 1:
        raise ValueError(f"bins: expected a whole number of at least 1, got {bins}")
    bins = int(bins)
    place = bin_of(p, bins)
    rows = np.bincount(place, minlength=bins)
    full = rows > 0
    means = [np.bincount(place, values, minlength=bins)[full] / rows[full] for values in (p, label)]
    return rows[full], *means


def bin_of(p, bins=15):
    """(N,) the number of each p's bin of equal width: 0 for [0, 1 / bins], then (lo, hi]."""
    # edges k / bins, and not a running sum: 0.1 + 0.2 > 0.3 would move a p that lies on an edge
    return np.maximum(np.searchsorted(np.arange(bins + 1) / bins, p, side="left") - 1, 0)


def ece(p, label, bins=15):
    """Expected calibration error: the bins' |mean p - mean label|, averaged over rows.

    p (N,) probabilities of label 1, label (N,) in {0, 1}. The edges (lo, hi] of the bins are those
    of Guo et al. 2017. In [0, 1].
    """
    rows, mean_p, mean_label = reliability(p, label, bins)
    return float(rows @ np.abs(mean_p - mean_label) / rows.sum())


def brier(p, label):
    """Brier score, mean (p - label)^2; p (N,) probabilities of label 1, label (N,) in {0, 1}."""
    p, label = _columns(p=(p, PROBABILITY), label=(label, BINARY))
    return float(np.mean((p - label) ** 2))


def nll(p, label):
    """Mean negative log-likelihood in nats, p kept within [1e-7, 1 - 1e-7]: one row that is surely
    wrong costs 16.1, not infinity. p (N,) probabilities of label 1, label (N,) in {0, 1}."""
    p, label = _columns(p=(p, PROBABILITY), label=(label, BINARY))
    p = p.clip(1e-7, 1 - 1e-7)  # float32's softmax reaches exactly 0 and 1
    return float(-np.mean(np.where(label == 1, np.log(p), np.log1p(-p))))


def purity(score, correct, n):
    """TF's purity (reading T7): fraction correct among the n rows with the highest score.

    score (N,) real; correct (N,) in {0, 1}; n in 1..N. Of tied scores the earlier row goes first.
    """
    score, correct = _columns(score=(score, REAL), correct=(correct, BINARY))
    if n != int(n) or not 1 <= n <= len(score):
        raise ValueError(f"n: expected a whole number in 1..{len(score)}, got {n}")
    return float(correct[np.argsort(-score, kind="stable")[:int(n)]].mean())


def purity_curve(score, correct):
    """(N,) purity at n = 1..N: `purity` for every n at once."""
    score, correct = _columns(score=(score, REAL), correct=(correct, BINARY))
    ordered = correct[np.argsort(-score, kind="stable")]
    return np.cumsum(ordered) / np.arange(1, len(ordered) + 1)


def aurc(score, correct):
    """Area under the risk-coverage curve (El-Yaniv, Wiener 2010; Geifman et al. 2019): the mean
    over n = 1..N of the fraction wrong among the n rows of the highest score. In [0, 1], lower is
    better; a score without information has the error rate of all rows."""
    return float(np.mean(1 - purity_curve(score, correct)))


def entropy(p):
    """(N,) entropies in nats, lower is more confident. p: N rows of class probabilities, (N, K) or
    of different K."""
    p = _distributions(p)
    return -(p * np.log(np.where(p > 0, p, 1))).sum(1)  # 0 log 0 = 0


def margin(p):
    """(N,) the largest probability minus the second largest; p as for `entropy`. For K = 1: 1."""
    ordered = np.sort(_distributions(p), 1)
    return ordered[:, -1] - ordered[:, -2]


def max_probability(p):
    """(N,) the largest probability of each row; p as for `entropy`."""
    return _distributions(p).max(1)


def recovery(method, base, truth):
    """TF's Recovery (method - base) / (truth - base); base is the *untuned student* (reading T4).

    Three finite scores on one scale -> a fraction (TF prints per cent). Below 0 and above 1 are
    legal; nan when truth == base.
    """
    return _share(method=method, base=base, truth=truth)


def pgr(weak, student, ceiling):
    """Performance gap recovered (Burns et al. 2023): (student - weak) / (ceiling - weak).

    Three finite scores on one scale -> a fraction. It may be below 0 or above 1; nan when
    ceiling == weak.
    """
    return _share(student=student, weak=weak, ceiling=ceiling)


BINARY, CLASS, PROBABILITY, REAL = "0 or 1", "a class 0, 1, 2, ...", "in [0, 1]", "a number"
RULE = {BINARY: lambda x: (x == 0) | (x == 1), CLASS: lambda x: (x >= 0) & (x == np.floor(x)),
        PROBABILITY: lambda x: (x >= 0) & (x <= 1), REAL: lambda x: ~np.isnan(x)}


def _columns(**named):
    """{name: (values, rule)} -> float64 arrays (N,), all of one length."""
    columns = [_array(values, name, rule) for name, (values, rule) in named.items()]
    for name, column in zip(named, columns):
        if len(column) != len(columns[0]):
            first = next(iter(named))
            raise ValueError(f"{name} has {len(column)} rows, {first} has {len(columns[0])}")
    return columns


def _array(values, name, rule):
    """List, array or tensor (any device, any dtype) -> float64 (N,), N >= 1, within the rule."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a list of numbers") from None
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name}: expected one number a row and at least one row, "
                         f"got shape {array.shape}")
    bad = np.flatnonzero(~RULE[rule](array))
    if len(bad):
        raise ValueError(f"{name}[{bad[0]}] is {number(float(array[bad[0]]))}, expected {rule}")
    return array


def _distributions(p):
    """N rows of class probabilities, of any lengths -> float64 (N, K), at least 2 wide, filled up
    with zeros."""
    if hasattr(p, "detach"):
        p = p.detach().cpu().double().numpy()
    rows = [_array(row, f"p row {i}", PROBABILITY) for i, row in enumerate(p)]
    if not rows:
        raise ValueError("p: expected at least one row")
    filled = np.zeros((len(rows), max(2, *map(len, rows))))
    for row, values in zip(filled, rows):
        row[:len(values)] = values
    bad = np.flatnonzero(np.abs(filled.sum(1) - 1) > 1e-3)
    if len(bad):
        total = number(float(filled[bad[0]].sum()))
        raise ValueError(f"p row {bad[0]} sums to {total}, expected 1")
    return filled


def _gap(predicted, a):
    """Mean of predicted where a = 1, minus that where a = 0."""
    for group in (0, 1):
        if not (a == group).any():
            raise ValueError(f"a: no row has a = {group}, so there is no gap between the groups")
    return float(predicted[a == 1].mean() - predicted[a == 0].mean())


def _matches(true, generated, row):
    """(T,) bool: the positions of true that generated repeats."""
    true = _array(true, f"true row {row}", REAL)
    generated = _array(generated, f"generated row {row}", REAL) if len(generated) else np.empty(0)
    if len(generated) > len(true):
        raise ValueError(f"generated row {row} has {len(generated)} tokens, true only {len(true)}")
    match = np.zeros(len(true), bool)
    match[:len(generated)] = true[:len(generated)] == generated
    return match


def _share(**scores):
    """(first - low) / (high - low) of three named scores, first, low, high in that order."""
    for name, value in scores.items():
        if not np.isfinite(value):
            raise ValueError(f"{name} is {value}, expected a finite number")
    value, low, high = map(float, scores.values())
    return (value - low) / (high - low) if high != low else float("nan")
