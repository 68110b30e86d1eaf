"""The figures on trust functions: purity, the chain, the crossing.
"""

import itertools

import numpy as np

from w2s import metrics
from w2s.report import figures
from w2s.report.results import STRATEGIES
from w2s.report.trust_results import CHAIN
from w2s.report.trust_tables import GRID, acc, scored, seeds


def drawings(studies, crossings):
    """{name of the figure: (caption, function of w2s.report.figures, its arguments)}."""
    found = {}
    for study in studies:
        title = study.module.TITLE
        if curves := purity_curves(study):
            found[f"{study.task}-purity"] = (
                f"{title}: share of right labels among the most trusted", figures.lines, (
                    f"{title}: purity", "share of right labels among the most trusted ones; mean "
                    f"of {seeds(study)}, band: ± 1 sd over seeds",
                    ["random: every choice by lot. best possible: right labels first. The more a "
                     "line bends from random to best possible, the better its score."],
                    "share of the pool that is chosen", "purity   (↑ higher is better)", curves))
        if len([way for way in CHAIN if study.of("none", f"student-{way}")]) > 1:
            found[f"{study.task}-chain"] = (
                f"{title}: accuracy from generation to generation", figures.lines,
                chain_picture(study))
    if any(crossing.steps(key, crossing.study.module.TASK) for crossing in crossings
           for key in STRATEGIES):
        found["crossing"] = ("What trusted labels change in a student, under each strategy",
                             figures.changes, crossing_picture(crossings))
    return found


def purity_curves(study):
    """The curves of figures.lines: purity by the share chosen, mean and sd over seeds."""
    curves, pools = [], {}
    for name in scored(study, ""):
        if name == "random":
            continue
        runs = study.of("none", f"trust-{name}")
        curves.append(banded(name, [curve_of(run.score, run.right) for run in runs.values()]))
        pools |= {seed: run for seed, run in runs.items()}
    if not curves:
        return []
    best = [curve_of(run.right, run.right) for run in pools.values()]
    lot = [np.full(len(GRID), run.right.mean()) for run in pools.values()]
    return [*curves, banded("best possible", best, False), banded("random", lot, False)]


def curve_of(score, right):
    """Purity at the shares of GRID."""
    n = np.maximum(1, np.round(GRID * len(right)).astype(int))
    return metrics.purity_curve(score, right)[n - 1]


def banded(name, rows, spreads=True):
    middle, several = np.mean(rows, 0), spreads and len(rows) > 1
    sd = np.std(rows, 0, ddof=1) if several else 0
    return {"name": name, "x": GRID, "mean": middle, "band": True,
            "low": middle - sd if several else None,
            "high": np.minimum(1, middle + sd) if several else None}


def chain_picture(study):
    """The arguments of figures.lines: accuracy of each generation, and of its labels."""
    models = ["weak-none", *(f"student-{way}" for way in CHAIN)]
    curves = []
    for name, runs, metric in (
            ("accuracy on\ntest rows", models, study.module.TASK),
            ("its labels:\nright", [f"trust-{way}" for way in CHAIN], "purity_random"),
            ("its trusted labels:\nright", [f"trust-{way}" for way in CHAIN], "purity")):
        found = {x: f for x, run in enumerate(runs) if (f := study.summary("none", run, metric))}
        if found:
            low, high = zip(*(f["interval"] for f in found.values()))
            curves.append({"name": name, "x": list(found), "band": False, "low": low, "high": high,
                           "mean": [f["mean"] for f in found.values()]})
    across = [(found["mean"], name) for name, run in (
        ("untuned student", "base-strong"), ("student on true labels", "student-truth"))
        if (found := acc(study, run))]
    ticks = ["teacher", *(f"generation {k}" for k in range(1, len(CHAIN) + 1))]
    return (f"{study.module.TITLE}: the chain", f"each generation labels for the next; mean of "
            f"{seeds(study)}, lines at the points are 95 % intervals",
            ["Its labels: those that the model of this place gave to the pool; the trusted ones "
             "train the next generation."],
            dict(enumerate(ticks)), "share that is right   (↑ higher is better)", curves, across)


def crossing_picture(crossings):
    """The arguments of figures.changes: task performance beside the property."""
    places = list(itertools.product(crossings, STRATEGIES))
    names = [f"{crossing.study.task}, {STRATEGIES[key]}" for crossing, key in places]
    panels = []
    for name, which in (("task performance", "TASK"), ("the property", "TRUST")):
        values = {}
        for line, (crossing, key) in enumerate(places):
            if steps := crossing.steps(key, getattr(crossing.study.module, which)):
                values[line] = steps[0]["difference"], *steps[0]["interval"]
        panels.append({"name": f"{name}   (→ right of 0: better)", "values": values})
    metric = "; ".join(f"{c.study.task} {c.study.module.TASK}, {c.study.module.TRUST}"
                       for c in crossings)
    return ("Trusted labels and the properties", "student-naive on the weak labels that the trust "
            "function trusts most, minus student-naive on all; 95 % intervals",
            [f"Metrics: {metric}. Blue: better, orange: worse, grey: the interval includes 0."],
            names, panels)
