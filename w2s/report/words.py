"""What a reader calls the measures and models whose codes stand in results.csv.
"""

import math
from typing import NamedTuple

from w2s.report.render import GONE

MEASURES = {"acc": "accuracy", "ra": "robust accuracy", "dpd_abs": "parity gap",
            "extraction": "extracted text", "mia_auc": "membership AUC",
            "tpr_gap_abs": "gap of true positive rates"}
MODELS = {"weak": "weak model", "student-naive": "student", "student-aux": "student with "
          "confidence loss", "ceiling": "ceiling"}
SHARES = (*MEASURES,)  # shown in per cent


class Compared(NamedTuple):
    """How one model is called beside another, by its trust."""
    more: str
    less: str
    equal: str


COMPARED = {"fairness": Compared("fairer", "less fair", "as fair"),
            "ood": Compared("more robust", "less robust", "as robust"),
            "adversarial": Compared("more robust", "less robust", "as robust"),
            "privacy": Compared("more private", "less private", "as private")}
USUAL = Compared("better", "worse", "as good")  # of a property of a user's own


def named(metric):
    """"parity gap (dpd_abs)"; a metric without words is its code."""
    return f"{MEASURES[metric]} ({metric})" if metric in MEASURES else metric


def measure(metric):
    """"parity gap"."""
    return MEASURES.get(metric, metric)


def unit(metric):
    """"%" of a share, else ""."""
    return "%" if metric in SHARES else ""


def number(metric, value):
    """"72.9" of a share, in per cent; "0.123" of another measure."""
    if math.isnan(value):
        return GONE
    return f"{100 * value:.1f}" if metric in SHARES else f"{value:.3f}"


def chain(metric, means, steps):
    """"72.9 ⇒ 80.0 → 83.9": a model's mean to the next; ⇒ where the 95 % interval of the step
    excludes 0. steps: of Study.steps, one fewer than means."""
    words = number(metric, means[0])
    for mean, step in zip(means[1:], steps):
        words += f" {'⇒' if clear(step) else '→'} {number(metric, mean)}"
    return words


def clear(step):
    """Whether the 95 % interval of a step excludes 0."""
    low, high = step["interval"]
    return low > 0 or high < 0


def joined(names):
    """"a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
