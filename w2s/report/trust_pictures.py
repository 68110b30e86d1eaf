"""The figures on trust functions: what purity, chain and crossing show.
"""

import itertools

import numpy as np

from w2s import metrics
from w2s.report import figures
from w2s.report.render import seed_count
from w2s.report.results import STRATEGIES
from w2s.report.trust_tables import acc, scored

GRID = np.arange(2, 101) / 100  # shares of a pool; of fewer labels purity is noise


def drawings(studies, crossings):
    """{name of the figure: (caption, function of w2s.report.figures, its arguments)}."""
    planned = {}
    for study in studies:
        title, seeds = study.module.TITLE, seed_count(len(study.seeds))
        if curves := purity_curves(study):
            planned[f"{study.task}-purity"] = (
                f"{title}: share of right labels among the most trusted", figures.lines, (
                    f"{title}: purity", "share of right labels among the most trusted ones; mean "
                    f"of {seeds}, band: ± 1 sd over seeds",
                    ["random: drawn at random. best possible: right labels first. The more a "
                     "line bends from random to best possible, the better its score."],
                    "share of the pool that is chosen", "purity   (↑ higher is better)", curves))
        if len(study.chain) > 1:
            planned[f"{study.task}-chain"] = (
                f"{title}: accuracy from generation to generation", figures.lines,
                chain_picture(study))
    if any(crossing.steps(key, crossing.study.module.TASK) for crossing in crossings
           for key in STRATEGIES):
        planned["crossing"] = ("What trusted labels change in a student, under each strategy",
                               figures.changes, crossing_picture(crossings))
    return planned


def purity_curves(study):
    """The curves of figures.lines: purity by the share chosen, mean and sd over seeds; then what no
    score can exceed, and what a random choice is expected to have."""
    curves, pools = [], {}
    for name in scored(study, ""):
        if name == "random":  # its expectation is drawn instead, without the noise of the draw
            continue
        runs = study.of("none", f"trust-{name}")
        curves.append(banded(name, [curve_of(run.score, run.right) for run in runs.values()]))
        pools |= runs  # all scores of a seed are of one pool
    if not curves:
        return []
    best = [curve_of(run.right, run.right) for run in pools.values()]
    random = [np.full(len(GRID), run.right.mean()) for run in pools.values()]
    return [*curves, banded("best possible", best, False), banded("random", random, False)]


def curve_of(score, right):
    """(len(GRID),) purity at the shares of GRID, of score (N,) and right (N,)."""
    n = np.maximum(1, np.round(GRID * len(right)).astype(int))
    return metrics.purity_curve(score, right)[n - 1]


def banded(name, rows, spreads=True):
    """A curve of figures.lines: the mean of rows (n, len(GRID)) over n seeds, with one standard
    deviation around it; without a band for one seed, which has none, or where spreads is False."""
    middle, several = np.mean(rows, 0), spreads and len(rows) > 1
    sd = np.std(rows, 0, ddof=1) if several else 0
    return {"name": name, "x": GRID, "mean": middle, "band": True,
            "low": middle - sd if several else None,
            # purity is a share
            "high": np.minimum(1, middle + sd) if several else None}


def chain_picture(study):
    """The arguments of figures.lines: accuracy of each generation, and of its labels."""
    models = ["weak-none", *(f"student-{way}" for way in study.chain)]
    curves = []
    for name, runs, metric in (
            ("accuracy on\ntest rows", models, study.module.TASK),
            ("its labels:\nright", [f"trust-{way}" for way in study.chain], "purity_random"),
            ("its trusted labels:\nright", [f"trust-{way}" for way in study.chain], "purity")):
        # a generation's labels stand at its teacher, which is one place before its student
        summaries = {x: summary for x, run in enumerate(runs)
                     if (summary := study.summary("none", run, metric))}
        if summaries:
            low, high = zip(*(summary["interval"] for summary in summaries.values()))
            curves.append({"name": name, "x": list(summaries), "band": False, "low": low,
                           "high": high,
                           "mean": [summary["mean"] for summary in summaries.values()]})
    across = [(summary["mean"], name) for name, run in (
        ("untuned student", "base-strong"), ("student on true labels", "student-truth"))
        if (summary := acc(study, run))]
    ticks = ["teacher", *(f"generation {k}" for k in range(1, len(study.chain) + 1))]
    return (f"{study.module.TITLE}: the chain", f"each generation labels for the next; mean of "
            f"{seed_count(len(study.seeds))}, lines at the points are 95 % intervals",
            ["Its labels: those that the model of this place gave to the pool; the trusted ones "
             "train the next generation."],
            dict(enumerate(ticks)), "share that is right   (↑ higher is better)", curves, across)


def crossing_picture(crossings):
    """The arguments of figures.changes: task performance beside the property."""
    pairs = list(itertools.product(crossings, STRATEGIES))
    names = [f"{crossing.study.task}, {STRATEGIES[key]}" for crossing, key in pairs]
    panels = []
    for name, field in (("task performance", "TASK"), ("the property", "TRUST")):
        values = {}
        for line, (crossing, key) in enumerate(pairs):
            # Study.steps turns the sign of a gap, so to the right is better in both panels
            if steps := crossing.steps(key, getattr(crossing.study.module, field)):
                values[line] = steps[0]["difference"], *steps[0]["interval"]
        panels.append({"name": f"{name}   (→ right of 0: better)", "values": values})
    metric = "; ".join(f"{c.study.task} {c.study.module.TASK}, {c.study.module.TRUST}"
                       for c in crossings)
    return ("Trusted labels and the properties", "student-naive on the weak labels that the trust "
            "function trusts most, minus student-naive on all; 95 % intervals",
            [f"Metrics: {metric}. Blue: better, orange: worse, grey: the interval includes 0."],
            names, panels)
