"""What is varied: the figures of section 4.2 and Appendices A and B, their axes, their values.
"""

import math
from typing import NamedTuple

from w2s import rows
from w2s.recipes import HOME
from w2s.report.paper import AUX, BOTH, NAIVE, NONE, WEAK

STRATEGIES = (NONE, WEAK, BOTH)
ORDER = ("fairness", "ood", "adversarial", "privacy")  # of Table 1


class Figure(NamedTuple):
    """A figure of the paper. kind: how it is drawn, "curves", "tradeoffs", "bars" or "usage"."""
    kind: str
    title: str
    axes: tuple                   # of AXES; (): the models as they are, in the three strategies
    properties: tuple = ORDER     # which the paper shows
    strategies: tuple = STRATEGIES


class Axis(NamedTuple):
    """An argument of the training scripts that is varied."""
    symbol: str
    low: float
    high: float
    flag: str


AXES = {"lam": Axis("λ", 0, 1e6, "--lam"), "alpha": Axis("α max", 0, 1, "--alpha"),
        "warmup": Axis("warm-up", 0, 1, "--warmup"),
        "epochs": Axis("epochs", 0, 1e6, "--epochs"), "size": Axis("size", 0, 0, "--model")}
CLASSES = ORDER[:3]  # the properties with a confidence loss (reading P5)
# the panels of Fig. A1: axis, what it is varied of
PANELS = {"a": ("lam", "weak"), "b": ("lam", "ceiling"), "c": ("lam", NAIVE), "d": ("alpha", AUX),
          "e": ("warmup", AUX), "f": ("epochs", AUX)}
FIGURES = {
    "3": Figure("curves", "Varying λ, Weak+WTS TFT", ("lam",), strategies=(BOTH,)),
    "A1": Figure("tradeoffs", "Trade-off between task performance and trustworthiness",
                 ("lam", "alpha", "warmup", "epochs"), ("adversarial",), (BOTH,)),
    "A2": Figure("curves", "Varying λ, Weak TFT", ("lam",), strategies=(WEAK,)),
    "A3": Figure("bars", "Varying model size: fairness", ("size",), ("fairness",)),
    "A4": Figure("bars", "Varying model size: adversarial robustness", ("size",),
                 ("adversarial",)),
    "A5": Figure("bars", "Varying model size: OOD robustness", ("size",), ("ood",)),
    "A6": Figure("bars", "Varying model size: privacy", ("size",), ("privacy",)),
    "A7": Figure("curves", "Varying α max, Weak TFT", ("alpha",), CLASSES, (WEAK,)),
    "A8": Figure("curves", "Varying α max, Weak+WTS TFT", ("alpha",), CLASSES, (BOTH,)),
    "A9": Figure("bars", "A much larger strong model", ("size",),
                 ("fairness", "adversarial", "ood")),
    "A10": Figure("bars", "Two metrics of fairness", (), ("fairness",)),
    "A11": Figure("bars", "Two metrics of privacy", (), ("privacy",)),
    "A12": Figure("usage", "Which data trains, and which measures", ())}


def chosen(text):
    """[name, ...] of --figure: names with commas between, or all."""
    names = list(FIGURES) if text == "all" else list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in FIGURES:
            raise ValueError(f"--figure {text}: no figure {name}; choose from "
                             f"{', '.join(FIGURES)} or all")
    return names


def custom(axis):
    """{name: Figure} of --axis: its curves in both strategies with TFT, or bars of sizes."""
    if axis == "size":
        return {"size": Figure("bars", "Varying model size", ("size",))}
    shown = CLASSES if axis in ("alpha", "warmup") else ORDER
    return {f"{axis}-{key}": Figure("curves", f"Varying {AXES[axis].symbol}, {name}", (axis,),
                                    shown, (key,))
            for key, name in ((WEAK, "Weak TFT"), (BOTH, "Weak+WTS TFT"))}


def require(task, axis):
    """ValueError where a property has no such axis."""
    if axis in ("alpha", "warmup") and task not in CLASSES:
        raise ValueError(f"--axis {axis}: {task} has no confidence loss, so nothing of it changes "
                         f"with it; choose --tasks from {', '.join(CLASSES)}")


def values(preset, task, axis, text=None):
    """[float, ...] of an axis, from the weakest to the strongest: of --values, else those of
    recipes/sweep.values. Raises ValueError where there are none."""
    points = numbers(axis, text) if text else usual(preset, task, axis)
    # epsilon: 0 is no guarantee, and then the smaller the stricter
    strictest = (lambda v: -v if v else -math.inf) if (task, axis) == ("privacy", "lam") else None
    return sorted(set(points), key=strictest)


def numbers(axis, text):
    """[float, ...] of --values: numbers with commas between."""
    low, high = AXES[axis][1:3]
    try:
        points = [float(word) for word in text.split(",")]
    except ValueError:
        points = [math.nan]
    if not all(low <= point <= high for point in points):
        top = f" to {high:g}" if high <= 1 else ""
        raise ValueError(f"--values {text}: expected numbers from {low:g}{top} with commas "
                         f"between, as in {low:g},0.5")
    return points


def usual(preset, task, axis):
    """[float, ...] of the line of recipes/sweep.values. Raises ValueError without one."""
    path = HOME / "sweep.values"
    for text in rows.lines(path):
        words = text.split("#")[0].split()
        if words and words[0] == preset and words[1] in (task, "*") and words[2] == axis:
            return [float(word) for word in words[3:]]
    raise ValueError(f"--axis {axis}: no values of {task} in {path}; give --values")
