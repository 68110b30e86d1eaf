"""The report of finished runs: reads them, puts its blocks in order, writes its files.
"""

import itertools
import os
import sys
from pathlib import Path

from w2s import rows
from w2s.report import (render, trust_claims, trust_glance, trust_pictures, trust_results,
                        trust_tables)
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
    properties = [Study.read(folder / task, config.select, config.draws, config.seed)
                  for task in tasks_in(folder)]
    trusted = [trust_results.Trusted.read(folder / task, config.draws, config.seed, config.margin)
               for task in tasks_in(folder, trust=False)]
    crossings = [trust_results.Crossing.read(study) for study in properties if study.crossed]
    studies = [*properties, *trusted]
    if not any(study.runs for study in studies):
        raise ValueError(f"{folder}: no finished run in <task>/seed<k>/<run>/")
    steps = inequalities(properties)  # of all properties at once: Holm's correction needs them all
    pictures, files, excuse = draw(
        drawings(properties) | trust_pictures.drawings(trusted, crossings),
        config.figures == "yes")
    title = f"Weak-to-strong trustworthiness: {folder.resolve().name}"
    verdicts = verdicts_of(properties, trusted, crossings)
    gaps = warnings(studies)
    short = [*([glance(properties), legend(properties)] if properties else []),
             *trust_glance.glance(trusted), tally(verdicts, studies)]
    # from what a reader must know first to what only a doubtful one looks up
    blocks = [Heading(title, 1), *opening(config, studies), *premise(properties),
              *trust_tables.premise(trusted), *gaps, *short, *figure(pictures, "overview"),
              *(trends(properties) if properties else []), *scorecard(studies, verdicts), *excuse,
              *(trust_tables.overview(trusted) if trusted else []),
              *itertools.chain(*(chapter(study, steps, pictures) for study in properties)),
              *itertools.chain(*(trust_tables.chapter(study, pictures) for study in trusted)),
              *trust_tables.crossing_table(crossings), *figure(pictures, "crossing"),
              *method(config, studies, steps)]
    texts = {"report.html": render.html(title, blocks), "report.md": render.markdown(blocks),
             "results.csv": csv_text([*studies, *crossings])}
    files = {name: text.encode() for name, text in texts.items()} | files
    # all or none: an interrupted report does not leave new tables beside old figures
    rows.write_together({folder / name: content for name, content in files.items()})
    show([*short, *(gap for gap in gaps if isinstance(gap, Text)), Text("Report: " + "\n        "
          .join(str(folder / name) for name in texts))])


def verdicts_of(properties, trusted, crossings):
    """{task: [Claim]} of the tasks with a finished run."""
    verdicts = {study.task: claims(study) for study in properties if study.runs}
    verdicts |= {study.task: trust_claims.claims(study) for study in trusted if study.runs}
    for crossing in crossings:
        verdicts[crossing.study.task] += crossing.claims()
    return verdicts


def figure(pictures, name):
    """[Picture], or [] where it was not drawn."""
    return [pictures[name]] if name in pictures else []


def show(blocks):
    """Print the short form; in colour on a terminal, unless the environment says otherwise."""
    colour = sys.stdout.isatty() or bool(os.environ.get("CLICOLOR_FORCE"))
    print("\n" + render.terminal(blocks, colour and not os.environ.get("NO_COLOR")), end="")
