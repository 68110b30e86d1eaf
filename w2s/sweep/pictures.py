"""The figures of a sweep: what each of them shows, as arguments of w2s.sweep.draw."""

import math
from pathlib import Path

from w2s.report.pictures import better
from w2s.report.render import seed_count
from w2s.report.results import STRATEGIES
from w2s.report.words import named
from w2s.sweep import axes, draw, usage
from w2s.sweep.statements import PICKS

SHOWN = {"A10": ("dpd_abs", "tpr_gap_abs"), "A11": ("extraction", "mia_auc")}


def drawings(sweep, studies):
    """{name of a picture: (caption, function, its arguments)}. studies: {task: Varied}."""
    planned = {}
    for name, figure in figures(sweep):
        tasks = [task for task in studies if (name, task) in sweep.figures]
        title = f"{title_of(name)}: {figure.title}"
        subtitle = about(sweep, [studies[task] for task in tasks])
        if figure.kind == "curves":
            columns = [column(studies[task], figure.axes[0], sweep.figures[name, task])
                       for task in tasks]
            planned[f"sweep-{name}"] = title, draw.curves, (title, subtitle, NOTES, columns)
        elif figure.kind == "usage":
            flows = [(studies[task].module.TITLE, usage.flows(used(sweep, task)))
                     for task in tasks]
            planned[f"sweep-{name}"] = title, usage.diagram, (title, subtitle, [], flows)
        for task in tasks if figure.kind in ("tradeoffs", "bars") else ():
            study, points = studies[task], sweep.figures[name, task]
            head = f"{title}: {study.module.TITLE}" if len(tasks) > 1 else title
            planned[f"sweep-{name}-{task}"] = (head, draw.tradeoffs, (
                head, subtitle, NOTES, panels(study, points))) if figure.kind == "tradeoffs" else (
                head, draw.bars, (head, subtitle, NOTES, blocks(study, name, points),
                                  [STRATEGIES[key] for key in figure.strategies],
                                  models_of(study, points)))
    return planned


NOTES = ["Means over seeds; lines are 95 % intervals (t over seeds, bootstrap of rows they share). "
         "An interval that meets the edge of its panel goes on beyond it; sweep.csv has each seed."]


def figures(sweep):
    """[(name, Figure)] of a plan, each once."""
    return list({name: figure for (name, _), (figure, _) in sweep.wanted.items()}.items())


def title_of(name):
    """"Figure A2", or the name of an axis of one's own."""
    return f"Figure {name}" if name in axes.FIGURES else "Sweep"


def about(sweep, studies):
    """The models and seeds of a figure, in a line."""
    seeds = max((len(study.seeds) for study in studies), default=0)
    return (f"{Path(sweep.weak).name} (weak) and {Path(sweep.strong[0]).name} (strong), where no "
            f"other is named; mean of {seed_count(seeds)}")


def place(study, point, model, metric):
    """(mean, low, high) of a model at a point; None where it was not measured."""
    summary = study.summary(point, model, metric)
    if summary is None or math.isnan(summary["mean"]):
        return None
    low, high = summary["interval"]
    return (summary["mean"], *((summary["mean"],) * 2 if math.isnan(low) else (low, high)))


def models_of(study, points):
    """The models of the points, in the order of the tables."""
    return [model for model in study.models if any(model in point.models for point in points)]


def column(study, axis, points):
    """A column of draw.curves: a property."""
    names = models_of(study, points)
    values = [point.value for point in points]
    # lambda of privacy is epsilon (reading P4), and 0 of it is no guarantee
    private = (study.task, axis) == ("privacy", "lam")
    return {"name": study.module.TITLE, "picked": None,
            "x": "ε of DP (none: not private)" if private else axes.AXES[axis].symbol,
            "ticks": ["none" if private and value == "0" else value for value in values],
            "panels": [
                {"name": named(metric), "better": better(study, metric), "curves": {
                    model: [place(study, point, model, metric) for point in points]
                    for model in names}} for metric in (study.module.TRUST, study.module.TASK)]}


def shown(points):
    """Yield (panel, what is varied, its model, its points) of the panels of Fig. A1."""
    for panel, (axis, model) in axes.PANELS.items():
        if some := [point for point in points if point.panel == panel]:
            yield (f"({panel})", f"{axes.AXES[axis].symbol}, {model.replace('-', ' ')}", model,
                   some)


def panels(study, points):
    """The panels of draw.tradeoffs: those of Fig. A1."""
    result = []
    for panel, varied, model, some in shown(points):
        picked = study.picked(some, model)
        cells = [(place(study, point, model, study.module.TASK),
                  place(study, point, model, study.module.TRUST)) for point in some]
        result.append({
            "name": f"{panel} {varied}",
            "x": named(study.module.TASK), "y": named(study.module.TRUST),
            "better": (better(study, study.module.TASK), better(study, study.module.TRUST)),
            "points": [{"label": point.value, "x": x, "y": y, "picked": k == picked}
                       for k, (point, (x, y)) in enumerate(zip(some, cells)) if x and y]})
    return result


def picks(study, points):
    """[(panel, what is varied, the paper's value, ours)] of Fig. A1, ours by the rule of A.2."""
    result = []
    for panel, varied, model, some in shown(points):
        picked = study.picked(some, model)
        result.append((panel, varied, PICKS.get(study.task, {}).get(panel.strip("()"), ""),
                       "" if picked is None else some[picked].value))
    return result


def blocks(study, name, points):
    """The blocks of draw.bars: configurations of sizes, or two metrics of the usual one."""
    names, values = models_of(study, points), list(dict.fromkeys(p.value for p in points))
    groups = {value: [point for point in points if point.value == value] for value in values}
    if name in SHOWN:
        [some] = groups.values()
        return [block(study, named(metric), some, names, [metric, study.module.TASK])
                for metric in SHOWN[name]]
    metrics = [study.module.TRUST, study.module.TASK]
    return [block(study, f"({letter}) {value}" if len(values) > 1 else value, some, names, metrics)
            for letter, (value, some) in zip("abcdefghijklmnopqrstuvwxyz", groups.items())]


def block(study, name, points, names, metrics):
    """One block: the strategies of a configuration, by metrics; its trends by the first."""
    return {"name": name, "trends": [study.weakest_trend(point, metrics[0]) for point in points],
            "panels": [{"name": named(metric), "better": better(study, metric), "values": {
                (g, k): cell for g, point in enumerate(points) for k, model in enumerate(names)
                if (cell := place(study, point, model, metric))}} for metric in metrics]}


def used(sweep, task):
    """The finished run folders behind Fig. A12 of a task."""
    items = {item for point in sweep.figures["A12", task]
             for several in point.models.values() for item in several}
    return [folder for (item, name, _), folder in sweep.folders.items()
            if name == task and item in items and (folder / "DONE").exists()]
