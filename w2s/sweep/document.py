"""The report of a sweep: its figures, what the paper says of each, every number in sweep.csv."""

import csv
import io
from pathlib import Path

from w2s import rows
from w2s.phases import NOTES
from w2s.report import page, render
from w2s.report.document import show
from w2s.report.measurements import harmless
from w2s.report.pictures import draw
from w2s.report.render import Heading, Table, Text
from w2s.report.verdicts import claim_row, tally
from w2s.sweep import pictures, statements
from w2s.sweep.study import Varied

COLUMNS = "task strategy model selection seed slice metric value figure axis axis_value".split()
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
    said = {task: statements.claims(study, {
        name: points for (name, of), points in sweep.figures.items() if of == task})
        for task, study in studies.items()}
    title = "Sensitivity of weak-to-strong trustworthiness"
    note = [Text(NOTES[sweep.preset])] if sweep.preset in NOTES else []
    gaps = missing(sweep, studies)
    chapters = [block for name, figure in pictures.figures(sweep)
                for block in chapter(sweep, studies, name, figure, drawn, said)]
    blocks = [Heading(title, 1), *note, *gaps, tally(flat(said), [*studies.values()]), *excuse,
              *chapters, *reading(options)]
    folder = Path(options.runs) / "sweep"
    texts = {"sweep.csv": csv_text(sweep, studies), "report.md": render.markdown(blocks),
             "report.html": page.html(title, blocks)}
    files = {name: text.encode() for name, text in texts.items()} | files
    rows.write_together({folder / name: content for name, content in files.items()})
    show([*note, *short(sweep, said), *gaps, Text("Report: " + "\n        ".join(
        str(folder / name) for name in texts))])


def flat(said):
    """{task: [Claim]} of all figures."""
    return {task: sum(claims.values(), []) for task, claims in said.items()}


def chapter(sweep, studies, name, figure, drawn, said):
    """A figure, what the paper says of it, and what is seen."""
    tasks = [task for task in studies if (name, task) in sweep.figures]
    blocks = [Heading(f"{pictures.title_of(name)}: {figure.title}")]
    blocks += [picture for key, picture in drawn.items()
               if key == f"sweep-{name}" or key in {f"sweep-{name}-{task}" for task in tasks}]
    body = [claim_row(claim) for task in tasks for claim in said[task].get(name, ())]
    if body:
        blocks.append(Table("What the paper says of it", HEAD, body))
    for task in tasks if name == "A1" else ():
        blocks.append(Table(f"{studies[task].module.TITLE}: values picked by the rule of A.2",
                            ["panel", "varied", "the paper", "here"],
                            [list(row) for row in pictures.picks(studies[task],
                                                                 sweep.figures[name, task])]))
    return blocks


def short(sweep, said):
    """What the terminal shows: each claim behind its verdict."""
    lines = [f"{claim.verdict}: {name}, {task}: {claim.text}" for task, claims in said.items()
             for name, some in claims.items() for claim in some]
    return [Text("What the paper says of its figures, and whether it is seen here"),
            Text("\n".join(lines))] if lines else []


def missing(sweep, studies):
    """A line that says which figures lack runs."""
    parts = sorted({f"{name} ({task})" for (name, task), points in sweep.figures.items()
                    for point in points if not studies[task].complete(point)})
    return [Text(f"Not complete, since runs are missing: {', '.join(parts)}.")] if parts else []


def csv_text(sweep, studies):
    """The text of sweep.csv, sorted: the lines of results.csv, and on each the figure, axis and
    value."""
    lines = [line for (name, task), points in sweep.figures.items() for point in points
             for line in studies[task].lines(name, axis_of(sweep, name, task, point), point)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in sorted(lines, key=lambda line: [str(cell) for cell in line]):
        writer.writerow([*map(harmless, line[:7]), line[7], *map(harmless, line[8:])])
    return file.getvalue()


def axis_of(sweep, name, task, point):
    """The axis of a point, "size" for the models as they are."""
    from w2s.sweep.axes import PANELS
    figure, _ = sweep.wanted[name, task]
    return PANELS[point.panel][0] if point.panel else (*figure.axes, "size")[0]


def reading(options):
    """How the verdicts are to be read."""
    return [Heading("How to read it"), Text(
        "**seen**: as claimed, and the 95 % interval of the difference excludes 0. **not clear**: "
        "as claimed, but the interval includes 0. **not seen**: not as claimed, and the interval "
        "includes 0. **reversed**: the opposite, and the interval excludes 0. A claim about every "
        "value is judged by the weakest of its differences, which stands in the table. Neither "
        "intervals nor p are corrected for the number of claims. place: of Sun et al. (arXiv "
        f"2501.00418). {'' if not options.command else f'Command: `{options.command}`'}")]
