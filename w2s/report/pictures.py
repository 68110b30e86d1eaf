"""The figures on properties: which there are, what each shows; and the files of all figures.
"""

import io
import re

from w2s.report import figures, frontier, paper
from w2s.report.opening import models as names_of
from w2s.report.render import Picture, Text, seed_count
from w2s.report.results import STRATEGIES, STUDENTS
from w2s.report.tables import has_gaps
from w2s.report.verdicts import TREND
from w2s.report.words import measure


def drawings(studies):
    """{name of the figure: (caption, function of w2s.report.figures, its arguments)}."""
    planned = {study.task: (f"{study.module.TITLE}: {measure(study.module.TRUST)} and task "
                            "performance of weak model, students and ceiling under the three "
                            "strategies", figures.draw, picture(study)) for study in studies}
    if studies and (arguments := overview(studies))[-1]:  # some property has a value
        planned = {"overview": ("Trustworthiness of weak model, students and ceiling under the "
                                "three strategies", figures.overview, arguments)} | planned
    for study in filter(has_gaps, studies):
        if curves := frontier.frontiers(study):
            planned[f"{study.task}-frontier"] = (
                f"{study.module.TITLE}: accuracy at matched parity gaps", figures.lines,
                frontier_picture(study, curves))
    return planned


def bars_of(study, models, metric):
    """{(group, bar): (mean, low, high)} of a metric, for figures.draw and figures.overview: a group
    a strategy, a bar a model. What was not run is not in it."""
    return {(g, b): (summary["mean"], *summary["interval"])
            for g, strategy in enumerate(STRATEGIES) for b, model in enumerate(models)
            if (summary := study.summary(strategy, model, metric))}


def better(study, metric):
    """Which way a metric is better, as figures.draw has it."""
    return "higher" if study.sign(metric) > 0 else "lower"


def overview(studies):
    """The arguments of figures.overview: the trust metric of each property. All panels have the
    same places, so a property with one student leaves that of the other empty."""
    models = ("weak", *STUDENTS, "ceiling")
    panels = [{"name": f"{study.module.TITLE}: {measure(study.module.TRUST)}", "values": values,
               "better": better(study, study.module.TRUST)} for study in studies
              if (values := bars_of(study, models, study.module.TRUST))]
    studies = [study for study in studies if study.runs] or studies
    counts = sorted({len(study.seeds) for study in studies})
    seeds = " and ".join(map(str, counts)) + " seed" + "s" * (counts[-1] > 1)
    return ("Does trustworthiness go from weak to strong?", f"{names_of(studies[0])}; means of "
            f"{seeds}, lines are 95 % intervals", [*STRATEGIES.values()],
            [model.replace("-", " ") for model in models], panels)


def frontier_picture(study, frontiers):
    """The arguments of figures.lines: accuracy by the largest |DPD| that is allowed."""
    curves = [{"name": role, "x": frontier.LEVELS, "mean": middle, "low": low, "high": high,
               "band": True} for role, (middle, low, high) in frontiers.items()]
    return (f"{study.module.TITLE}: accuracy at matched DPD", "models of all lambdas and "
            f"mixtures of two; mean of {seed_count(len(study.seeds))}, band: 95 % t interval", [
                "student: naive, on the labels of the regularised weak model. "
                + "Bayes: the best decisions if the income law of the town were known."
                * ("Bayes" in frontiers)],
            "largest parity gap (DPD) that is allowed", "accuracy   (↑ higher is better)", curves)


def draw(drawings, wanted=True):
    """({name: Picture}, {path: content} of figures/<name>.png and .svg, blocks that say why there
    is none) of {name: (caption, function, its arguments)}."""
    if not wanted:
        return {}, {}, [Text("Figures were not drawn: `--figures no`.")]
    pictures, files = {}, {}
    for name, (caption, function, arguments) in drawings.items():
        path = f"figures/{name}"
        try:
            figure = function(*arguments)
        except ImportError:  # the tables do not need matplotlib
            names = ", ".join(f"figures/{name}.png" for name in drawings)
            return {}, {}, [Text(f"Missing, because matplotlib is not installed: {names}. This "
                                 "installs it: `pip install -r requirements-figures.txt`")]
        for kind in ("png", "svg"):
            content = io.BytesIO()
            figures.save(figure, content, kind)
            files[f"{path}.{kind}"] = content.getvalue()
        # Markdown shows the PNG, the page the SVG inside itself: it is one file without links
        pictures[name] = Picture(caption, f"{path}.png", figures.inline(
            files[f"{path}.svg"].decode(), name), tuple(alone(name, function, arguments)))
    return pictures, files, []


def alone(name, function, arguments):
    """Yield (name, svg) of each panel of a figure of small ones: on a phone they stand one below
    the other."""
    if function not in (figures.overview, figures.losses):
        return
    *_, panels = arguments
    for k, panel in enumerate(panels):
        content = io.BytesIO()
        figures.save(function("", "", *arguments[2:-1], [panel]), content, "svg")
        yield panel["name"], figures.inline(content.getvalue().decode(), f"{name}-{k}")


def picture(study):
    """The arguments of figures.draw for a property: trust above, task performance below, then the
    task's PANELS."""
    module, seeds = study.module, seed_count(len(study.seeds))
    groups = []
    for (key, name), published in zip(STRATEGIES.items(), paper.table_1(study.task)):
        trends = ", ".join(f"{student.removeprefix('student-')} "
                           f"{study.trend(key, student) or 'not run'}"
                           for student in study.students)
        groups.append((name, f"trend: {trends} (paper: {published})"))
    panels = [{"name": f"{meaning(module, metric)} ({metric})",
               "values": bars_of(study, study.models, metric), "better": better(study, metric),
               "lines": across(study, metric)}
              for metric in (module.TRUST, module.TASK, *module.PANELS)]
    subtitle = (f"{names_of(study)}; mean of {seeds}, lines are 95 % "
                "intervals (t over seeds, bootstrap of rows they share)")
    notes = [f"trend: {TREND}",
             "The models share their test rows, so a difference can be clear where two lines "
             "overlap: its own interval is in report.md. "
             f"Ceiling of the two TFT strategies: {study.choice.run}."]
    if study.controls:
        notes.append("Dashed: untuned models, in trust on the rows of weak and ceiling; on the "
                     "student's rows, and others, in report.md.")
    bars = [model.replace("student-", "student\n") for model in study.models]
    return study.module.TITLE, subtitle, notes, groups, bars, panels


def meaning(module, metric):
    """What a metric is, or its first part where the whole does not fit in one line of a figure."""
    text = module.METRICS.get(metric, metric)
    return text if len(text) < 90 else re.split(r";| \(", text)[0]


def across(study, metric):
    """[(value, name)] of the lines across a panel: the constant of a task's PANELS, or the untuned
    models, and for task performance the majority class."""
    if metric in study.module.PANELS:
        levels = [study.module.PANELS[metric]]
    else:
        levels = [(summary["mean"], model) for model in study.controls
                  if (summary := study.summary("none", model, metric))]
    if metric == study.module.TASK and metric in study.majority:
        levels.append((study.majority[metric], "majority\nclass"))
    return levels
