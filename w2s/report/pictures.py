"""The figures of a report: which there are, and how each is drawn.
"""

import io
import re

from w2s.report import figures, frontier, paper, trust_tables
from w2s.report.opening import models
from w2s.report.render import Picture, Text
from w2s.report.results import STRATEGIES, STUDENTS
from w2s.report.tables import has_gaps
from w2s.report.verdicts import TREND


def drawings(studies):
    """{name of the figure: (caption, function of w2s.report.figures, its arguments)}."""
    found = {study.task: (f"{study.module.TITLE}: {study.module.TRUST} and {study.module.TASK} of "
                          "weak model, students and ceiling under the three strategies",
                          figures.draw, picture(study)) for study in studies}
    if len(studies) > 1:
        found = {"overview": ("Trustworthiness of weak model, students and ceiling under the three "
                              "strategies", figures.overview, overview(studies))} | found
    for study in filter(has_gaps, studies):
        if curves := frontier.frontiers(study):
            found[f"{study.task}-frontier"] = (
                f"{study.module.TITLE}: accuracy at matched parity gaps", figures.lines,
                frontier_picture(study, curves))
    return found


def overview(studies):
    """The arguments of figures.overview: the trust metric of each property."""
    panels, roles = [], ("weak", *STUDENTS, "ceiling")
    for study in studies:
        values = {(g, b): (found["mean"], *found["interval"])
                  for g, strategy in enumerate(STRATEGIES) for b, model in enumerate(roles)
                  if (found := study.summary(strategy, model, study.module.TRUST))}
        panels.append({"name": f"{study.module.TITLE}: {study.module.TRUST}", "values": values,
                       "better": "higher" if study.sign(study.module.TRUST) > 0 else "lower"})
    counts = sorted({len(study.seeds) for study in studies})
    seeds = " and ".join(map(str, counts)) + " seed" + "s" * (counts[-1] > 1)
    return ("Does trustworthiness go from weak to strong?", f"{models(studies[0])}; means of "
            f"{seeds}, lines are 95 % intervals", [*STRATEGIES.values()],
            [model.replace("-", " ") for model in roles], panels)


def frontier_picture(study, found):
    """The arguments of figures.lines: accuracy by the largest |DPD| that is allowed."""
    curves = [{"name": role, "x": frontier.LEVELS, "mean": middle, "low": low, "high": high,
               "band": True} for role, (middle, low, high) in found.items()]
    return (f"{study.module.TITLE}: accuracy at matched DPD", "models of all lambdas and "
            f"mixtures of two; mean of {trust_tables.seeds(study)}, band: 95 % t interval", [
                "student: naive, on the labels of the regularised weak model. "
                + "Bayes: the best decisions if the income law of the town were known."
                * ("Bayes" in found)],
            "largest parity gap (DPD) that is allowed", "accuracy   (↑ higher is better)", curves)


def draw(drawings, wanted=True):
    """({name: Picture}, {path: content} of figures/<name>.png and .svg, blocks that say why there
    is none) of {name: (caption, function, its arguments)}."""
    if not wanted:
        return {}, {}, [Text("Figures were not drawn: `--figures no`.")]
    found, files = {}, {}
    for name, (caption, function, arguments) in drawings.items():
        path = f"figures/{name}"
        try:
            figure = function(*arguments)
        except ImportError:
            names = ", ".join(f"figures/{name}.png" for name in drawings)
            return {}, {}, [Text(f"Missing, because matplotlib is not installed: {names}. This "
                                 "installs it: `pip install -r requirements-figures.txt`")]
        for kind in ("png", "svg"):
            drawn = io.BytesIO()
            figures.save(figure, drawn, kind)
            files[f"{path}.{kind}"] = drawn.getvalue()
        svg = figures.inline(drawn.getvalue().decode(), name)
        found[name] = Picture(caption, f"{path}.png", svg)
    return found, files, []


def picture(study):
    """The arguments of figures.draw for a property: trust above, task performance below."""
    module, seeds = study.module, len(study.seeds)
    groups, panels = [], []
    for (key, name), said in zip(STRATEGIES.items(), paper.table_1(study.task)):
        found = ", ".join(f"{student.removeprefix('student-')} "
                          f"{study.trend(key, student) or 'not run'}" for student in study.students)
        groups.append((name, f"trend: {found} (paper: {said})"))
    more = module.PANELS
    for metric in (module.TRUST, module.TASK, *more):
        values = {(g, b): (found["mean"], *found["interval"])
                  for g, strategy in enumerate(STRATEGIES) for b, model in enumerate(study.models)
                  if (found := study.summary(strategy, model, metric))}
        across = [more[metric]] if metric in more else [
            (found["mean"], model) for model in study.controls
            if (found := study.summary("none", model, metric))]
        if metric == module.TASK and metric in study.majority:
            across.append((study.majority[metric], "majority\nclass"))
        what = module.METRICS.get(metric, metric)
        what = what if len(what) < 90 else re.split(r";| \(", what)[0]  # one line of the figure
        panels.append({"name": f"{metric}: {what}", "values": values,
                       "better": "higher" if study.sign(metric) > 0 else "lower",
                       "lines": across})
    subtitle = (f"{models(study)}; mean of {seeds} seed{'s' * (seeds > 1)}, lines are 95 % "
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
