"""The loss curves of all runs: a small panel a task, from log.jsonl.
"""

import numpy as np

from w2s import rows
from w2s.report import figures
from w2s.report.words import joined

MODELS = ("weak model", "student", "confidence loss", "ceiling")
KINDS = ("weak-", "student-", "student-aux-", "ceiling-")  # how names of runs begin, as in MODELS
TRUTH = "student-truth"  # the ceiling of trust functions
POINTS = 40  # of a curve at most: means of neighbouring steps


def drawings(studies):
    """{name of the figure: (caption, function of w2s.report.figures, its arguments)}."""
    panels, silent = [], []
    for study in studies:
        curves, without = curves_of(study)
        silent += [f"{study.module.TITLE} {without}"] if without else []
        panels += [{"name": f"{study.module.TITLE}: training loss", "curves": curves}] \
            if curves else []
    left_out = " Left out, since private runs with a secret noise seed log no loss: " \
        f"{joined(silent)}." if silent else ""
    return {"losses": (
        "Training loss of every run, means of neighbouring steps. Runs of different equations do "
        f"not compare.{left_out}", figures.losses,
        ("Training loss", "a line a run, from its log.jsonl", MODELS, panels))} if panels else {}


def curves_of(study):
    """([(index into MODELS, x (n,) in [0, 1], loss (n,))] of the runs that log a loss, how many log
    steps without one)."""
    curves, without = [], 0
    for name, seed in study.runs:
        path = study.at(name, seed) / "log.jsonl"
        log = rows.read(path, {"seconds": rows.NUMBER}, False) if path.exists() and \
            path.stat().st_size else []
        loss = [row["loss"] for row in log if isinstance(row.get("loss"), (int, float))]
        without += bool(log) and not loss
        if loss:
            # a curve is read by its course: the steps of a group are one point, their mean
            groups = np.array_split(np.arange(len(loss)), min(POINTS, len(loss)))
            x = np.array([(group.mean() + .5) / len(loss) for group in groups])
            curves.append((kind(name), x, np.array([np.array(loss)[group].mean()
                                                    for group in groups])))
    return sorted(curves, key=lambda curve: curve[0]), without


def kind(name):
    """Index into MODELS of a run by its name."""
    if name.startswith(TRUTH):
        return len(MODELS) - 1
    return max((k for k, start in enumerate(KINDS) if name.startswith(start)), default=0)
