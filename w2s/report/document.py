"""The report of finished runs: which blocks it has, in which order.
"""

import itertools
import os
import sys
from pathlib import Path

from w2s import rows
from w2s.report import render, trust_claims, trust_pictures, trust_results, trust_tables
from w2s.report.claims import claims, inequalities
from w2s.report.measurements import csv_text, tasks_in
from w2s.report.opening import method, opening, premise, warnings
from w2s.report.pictures import draw, drawings
from w2s.report.render import Heading, Text
from w2s.report.results import Study
from w2s.report.tables import chapter
from w2s.report.verdicts import glance, legend, scorecard, tally, trends


def write(config):
    """Write results.csv, report.md, report.html and figures/ into config.runs (a Config of
    __main__), and print the short form. Raises ValueError without a finished run."""
    folder = Path(config.runs)
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder of runs (--runs)", str(folder))
    studies = [Study.read(folder / task, config.select, config.draws, config.seed)
               for task in tasks_in(folder)]
    chosen = [trust_results.Trusted.read(folder / task, config.draws, config.seed)
              for task in tasks_in(folder, trust=False)]
    crossings = [trust_results.Crossing.read(study) for study in studies if study.crossed]
    every = [*studies, *chosen]
    if not any(study.runs for study in every):
        raise ValueError(f"{folder}: no finished run in <task>/seed<k>/<run>/")
    steps = inequalities(studies)
    pictures, files, excuse = draw(drawings(studies) | trust_pictures.drawings(chosen, crossings),
                                   config.figures == "yes")
    verdicts = {study.task: claims(study) for study in studies if study.runs}
    verdicts |= {study.task: trust_claims.claims(study) for study in chosen if study.runs}
    for crossing in crossings:
        verdicts[crossing.study.task] += crossing.claims()
    title = f"Weak-to-strong trustworthiness: {folder.resolve().name}"
    short = [*([glance(studies), legend(studies)] if studies else []),
             *trust_tables.glance(chosen), tally(verdicts, every)]
    gaps = warnings(every)
    chapters = [chapter(study, steps, pictures) for study in studies]
    blocks = [Heading(title, 1), *opening(config, every), *premise(studies),
              *trust_tables.premise(chosen), *gaps, *short,
              *([pictures["overview"]] if "overview" in pictures else []),
              *(trends(studies) if studies else []), *scorecard(every, verdicts), *excuse,
              *(trust_tables.overview(chosen) if chosen else []),
              *itertools.chain(*chapters),
              *itertools.chain(*(trust_tables.chapter(study, pictures) for study in chosen)),
              *trust_tables.crossing_table(crossings), *([pictures["crossing"]] if "crossing"
                                                           in pictures else []),
              *method(config, every, steps)]
    texts = {"report.html": render.html(title, blocks), "report.md": render.markdown(blocks),
             "results.csv": csv_text([*every, *crossings])}
    files = {name: text.encode() for name, text in texts.items()} | files
    rows.write_together({folder / name: content for name, content in files.items()})
    shown = [*short, *(gap for gap in gaps if isinstance(gap, Text)), Text("Report: " + "\n        "
             .join(str(folder / file) for file in texts))]
    colour = sys.stdout.isatty() or bool(os.environ.get("CLICOLOR_FORCE"))
    print("\n" + render.terminal(shown, colour and not os.environ.get("NO_COLOR")), end="")
