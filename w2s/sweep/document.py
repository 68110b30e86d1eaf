"""The report of a sweep: its figures, what the paper says of each, every number in sweep.csv."""

from pathlib import Path

from w2s import rows
from w2s.phases import NOTES
from w2s.report import page, render
from w2s.report.document import show
from w2s.report.measurements import csv_text
from w2s.report.pictures import draw
from w2s.report.render import Heading, Table, Text
from w2s.report.verdicts import claim_row, tally, words
from w2s.sweep import axes, pictures, statements
from w2s.sweep.study import Varied

HEAD = ["claim", "verdict", "place", "number", "here", "difference", "95 % interval", "p"]


def write(sweep, options):
    """Write sweep.csv, report.md, report.html and figures/ into OUT/sweep, and print the short
    form. Raises ValueError without a finished run."""
    select = options.select or ("val" if all(
        sweep.has_validation(cell) for cell in sweep.each()) else "test")
    studies = {task: Varied.of_plan(sweep, task, select, options.draws) for task in sweep.tasks}
    if not any(study.runs for study in studies.values()):
        raise ValueError(f"{sweep.out}: no finished run of these figures; run the whole command")
    drawn, files, excuse = draw(pictures.drawings(sweep, studies))
    verdicts = {task: statements.claims(study, {
        name: points for (name, of), points in sweep.figures.items() if of == task})
        for task, study in studies.items()}
    title = "Sensitivity of weak-to-strong trustworthiness"
    note = [Text(NOTES[sweep.preset])] if sweep.preset in NOTES else []
    gaps = missing(sweep, studies)
    chapters = [block for name, figure in pictures.figures(sweep)
                for block in chapter(sweep, studies, name, figure, drawn, verdicts)]
    blocks = [Heading(title, 1), *note, *gaps, tally(flat(verdicts), [*studies.values()]), *excuse,
              *chapters, *reading(options)]
    folder = Path(options.runs) / "sweep"
    texts = {"sweep.csv": csv_text(lines(sweep, studies), ("figure", "axis", "axis_value")),
             "report.md": render.markdown(blocks), "report.html": page.html(title, blocks)}
    files = {name: text.encode() for name, text in texts.items()} | files
    rows.write_together({folder / name: content for name, content in files.items()})
    show([*note, *short(sweep, verdicts), *gaps, Text("Report: " + "\n        ".join(
        str(folder / name) for name in texts))])


def flat(verdicts):
    """{task: [Claim]} of all figures."""
    return {task: sum(claims.values(), []) for task, claims in verdicts.items()}


def chapter(sweep, studies, name, figure, drawn, verdicts):
    """A figure, what the paper says of it, and what is seen."""
    tasks = [task for task in studies if (name, task) in sweep.figures]
    blocks = [Heading(f"{pictures.title_of(name)}: {figure.title}")]
    blocks += [picture for key, picture in drawn.items()
               if key == f"sweep-{name}" or key in {f"sweep-{name}-{task}" for task in tasks}]
    body = [claim_row(claim) for task in tasks for claim in verdicts[task].get(name, ())]
    if body:
        blocks.append(Table("What the paper says of it", HEAD, body))
    for task in tasks if name == "A1" else ():
        blocks.append(Table(f"{studies[task].module.TITLE}: values picked by the rule of A.2",
                            ["panel", "varied", "the paper", "here"],
                            [list(row) for row in pictures.picks(studies[task],
                                                                 sweep.figures[name, task])]))
    return blocks


def short(sweep, verdicts):
    """What the terminal shows: each claim behind its verdict."""
    told = [f"{claim.verdict}: {name}, {task}: {claim.text}" for task, claims in verdicts.items()
            for name, some in claims.items() for claim in some]
    return [Text("What the paper says of its figures, and whether it is seen here"),
            Text("\n".join(told))] if told else []


def missing(sweep, studies):
    """A line that says which figures lack runs."""
    parts = sorted({f"{name} ({task})" for (name, task), points in sweep.figures.items()
                    for point in points if not studies[task].complete(point)})
    return [Text(f"Not complete, since runs are missing: {', '.join(parts)}.")] if parts else []


def lines(sweep, studies):
    """Yield the lines of sweep.csv: those of results.csv, then figure, axis, value on it."""
    for (name, task), points in sweep.figures.items():
        figure, _ = sweep.wanted[name, task]
        for point in points:
            # the models as they are differ from other figures' in their sizes
            axis = axes.PANELS[point.panel][0] if point.panel else (*figure.axes, "size")[0]
            yield from studies[task].lines(name, axis, point)


def reading(options):
    """How the verdicts are to be read."""
    command = f" Command: `{options.command}`" if options.command else ""
    return [Heading("How to read it"), words(), Text(
        "A claim about every value is judged by the weakest of its differences, which stands in "
        "the table. Neither intervals nor p are corrected for the number of claims. place: of Sun "
        f"et al. (arXiv 2501.00418).{command}")]
