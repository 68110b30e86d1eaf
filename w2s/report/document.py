"""The report of finished runs: reads them, puts its blocks in order, writes its files.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from w2s import rows
from w2s.report import (bases, curves, page, render, trust_claims, trust_glance, trust_pictures,
                        trust_results, trust_tables)
from w2s.report.claims import claims, inequalities
from w2s.report.measurements import csv_text, tasks_in
from w2s.report.opening import behind, facts, heads, method, premise, warnings
from w2s.report.pictures import draw, drawings
from w2s.report.provenance import provenance
from w2s.report.render import Details, Heading, Matrix, Text
from w2s.report.results import Study
from w2s.report.screen import screen
from w2s.report.tables import chapter
from w2s.report.trust_screen import trust_screen
from w2s.report.verdicts import counts, glance, legend, scorecard, trends, words


class Tree(NamedTuple):
    """What was found in a folder of runs."""
    properties: list  # of Study
    trusted: list  # of Trusted
    crossings: list  # of Crossing

    @property
    def studies(self):
        return [*self.properties, *self.trusted]


def write(config):
    """Write results.csv, report.md, report.html and figures/ into config.runs (a Config of
    __main__), and print the short form. Raises ValueError without a finished run."""
    folder = Path(config.runs)
    tree = read(config, folder)
    warned = warnings(tree.studies)
    known = bases.records(tree.studies)
    pictures, files, excuse = draw(
        drawings(tree.properties) | bases.drawings(known) | curves.drawings(tree.studies)
        | trust_pictures.drawings(tree.trusted, tree.crossings), config.figures == "yes")
    title = f"Weak-to-strong trustworthiness: {folder.resolve().name}"
    cautions = [Text(text) for text in (config.note, *(head for head, _ in warned)) if text]
    answer, *answers = [*screen(tree.properties), *trust_screen(tree.trusted)]
    # from what a reader must know first to what only a doubtful one looks up
    blocks = [Heading(title, 1), answer, *cautions, *answers, *premise(tree.properties),
              *trust_tables.premise(tree.trusted), *heads(tree.studies),
              *figures(pictures, excuse), *judged(tree), *everything(config, tree, pictures),
              *bases.bases(known, pictures), *behind(warned),
              *method(config, tree.studies, inequalities(tree.properties)),
              *provenance(config, tree.properties, tree.trusted), *facts(config, tree.studies)]
    texts = {"report.html": page.html(title, blocks), "report.md": render.markdown(blocks),
             "results.csv": csv_text(
                 line for part in (*tree.studies, *tree.crossings) for line in part.cells())}
    files = {name: text.encode() for name, text in texts.items()} | files
    # all or none: an interrupted report does not leave new tables beside old figures
    rows.write_together({folder / name: content for name, content in files.items()})
    arrows = "⇒: the 95 % interval of the step excludes 0; →: it does not.\n"
    show([answer, *(block for block in answers if isinstance(block, Matrix)), *cautions,
          Text(arrows * bool(tree.properties)
               + "Runs, files and command behind each number: report.html, a click on the number.\n"
               "Report: " + "\n        ".join(str(folder / name) for name in texts))])


def read(config, folder):
    """The Tree of a folder of runs. Raises ValueError without a finished run."""
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder of runs (--runs)", str(folder))
    properties = [Study.read(folder / task, config.select, config.draws, config.seed)
                  for task in tasks_in(folder)]
    trusted = [trust_results.Trusted.read(folder / task, config.draws, config.seed, config.margin)
               for task in tasks_in(folder, trust=False)]
    crossings = [trust_results.Crossing.read(study) for study in properties if study.crossed]
    tree = Tree(properties, trusted, crossings)
    if not any(study.runs for study in tree.studies):
        raise ValueError(f"{folder}: no finished run in <task>/seed<k>/<run>/")
    return tree


def figures(pictures, excuse):
    """The figures that everyone sees, or why there are none."""
    shown = [pictures[name] for name in ("overview", "losses") if name in pictures]
    return [Heading("Figures"), *shown, *excuse] if shown or excuse else []


def judged(tree):
    """How many claims of the papers are seen here; each stands among the Details."""
    verdicts = {study.task: claims(study) for study in tree.properties if study.runs}
    verdicts |= {study.task: trust_claims.claims(study) for study in tree.trusted if study.runs}
    for crossing in tree.crossings:
        verdicts[crossing.study.task] += crossing.claims()
    return [Heading("Claims"), *counts(tree.studies, verdicts), words(),
            Heading("Everything else"), *scorecard(tree.studies, verdicts)]


def everything(config, tree, pictures):
    """[Details] with all tables, property by property and task by task."""
    steps = inequalities(tree.properties)  # of all at once: Holm's correction needs them all
    blocks = [chapter(study, steps, pictures) for study in tree.properties]
    if tree.properties:
        blocks = [Details("Means of every measure", [glance(tree.properties),
                                                     legend(tree.properties)]),
                  *trends(tree.properties), *blocks]
    if tree.trusted:
        blocks += [Details("Which labels to trust", [*trust_tables.overview(tree.trusted),
                                                     *trust_glance.glance(tree.trusted)])]
    blocks += [trust_tables.chapter(study, pictures) for study in tree.trusted]
    crossing = [*trust_tables.crossing_table(tree.crossings),
                *(pictures[name] for name in ("crossing",) if name in pictures)]
    return [*blocks, *([Details("Trusted labels and the properties", crossing)]
                       if crossing else [])]


def show(blocks):
    """Print the short form, as wide as the terminal or 80 columns; in colour on a terminal, unless
    the environment says otherwise."""
    terminal = sys.stdout.isatty()
    colour = (terminal and os.environ.get("TERM") != "dumb"
              or bool(os.environ.get("CLICOLOR_FORCE")))
    known = terminal or os.environ.get("COLUMNS")  # of the terminal that shows what we print
    width = max(30, min(100, shutil.get_terminal_size().columns)) if known else 80
    text = "\n" + render.terminal(blocks, colour and not os.environ.get("NO_COLOR"), width)
    encoding = sys.stdout.encoding or "utf-8"
    if not encoding.lower().startswith("utf"):  # a screen without arrows
        text = text.translate({ord("⇒"): "=>", ord("→"): "->"})
    print(text.encode(encoding, "replace").decode(encoding), end="")
