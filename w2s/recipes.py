"""Recipes: what an experiment trains with, where the default of a task or of a script does not fit.

A recipe is a text file of four columns, one setting a line, `#` begins a remark:

    task         run            flag      value
    adversarial  *              --lam     0.3       # A.2, Figures A1a to A1c
    fairness     ceiling        grid      0.5 1 2   # ceilings with these lambdas too

task   a file of w2s/tasks, or *.
run    a run's name (weak-tft, student-aux-both, base-strong), a pattern of names (*-tft), weak (all
       weak models), strong (ceilings and students), ceiling, student, or * (everything trained).
       Steps that train no model have names of their own, which * does not mean: data, labels,
       evaluate, attack-text, attack-extraction, attack-membership, trust-ntf, ..., report.
flag   a flag of the script that makes the run. `grid` is a list of lambdas: a run for each beside
       the one that the experiment needs.
value  its value, or several; yes for a flag that takes none.

The first line that fits a run counts: an option of run_all.sh goes before every line, the file of
--recipe before the protocol's, the protocol's before the preset's. What a run is (its model, rows,
seed, the 0 of --lam in weak-none) no recipe changes.
"""

import dataclasses
import functools
import importlib
import math
import shlex
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from w2s import config, rows
from w2s.attacks import flags

HOME = Path(__file__).parent.parent / "recipes"
ROLES = {"weak": ("weak", "weak-*"), "strong": ("ceiling-*", "student-*", "base-strong"),
         "ceiling": ("ceiling-*",), "student": ("student-*",)}
GRID = "grid"


class Line(NamedTuple):
    """A setting, and where it stands."""
    where: str
    task: str
    run: str
    flag: str
    values: tuple

    def fits(self, task, run, trained):
        """Whether the line speaks of a run of a task; trained: the step trains a model."""
        if self.task not in ("*", task) or (self.run == "*" and not trained):
            return False
        names = ROLES.get(self.run, (self.run,)) if trained else (self.run,)
        return any(fnmatchcase(run, name) for name in names)


def read(path):
    """The Lines of a recipe. Raises ValueError `FILE:LINE: what is wrong` for a line without four
    columns and for a grid that is no list of numbers."""
    lines = []
    for n, text in enumerate(rows.lines(path), 1):
        where, text = f"{path}:{n}", text.split(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            task, run, flag, *values = shlex.split(text)
        except ValueError:
            values = []
        if not values:
            raise ValueError(f"{where}: expected four columns: task, run, flag, value")
        if flag != GRID and not flag.startswith("--"):
            raise ValueError(f"{where}: flag '{flag}': expected --something, or {GRID}")
        if flag == GRID:
            numbers(where, values)  # refuses a bad list here, where its line is known
        lines.append(Line(where, task, run, flag, tuple(values)))
    return lines


def numbers(where, values):
    """The lambdas of a grid, floats above 0; 0 is the run without a regulariser."""
    try:
        lambdas = [float(value) for value in values]
    except ValueError:
        lambdas = [-1]  # refused with the others
    if not all(0 < lam < math.inf for lam in lambdas):
        raise ValueError(f"{where}: {GRID} {' '.join(values)}: expected numbers above 0")
    return lambdas


def check(lines, steps, tasks):
    """ValueError, with the place, for the first Line that names a task, run or flag that does not
    exist, a value that the flag does not take, or a flag that says what a run is.

    steps: [Step] of all that an experiment can hold (w2s.experiment); tasks: their names."""
    for line in lines:
        if line.task not in ("*", *tasks):
            raise ValueError(f"{line.where}: unknown task '{line.task}', choose from "
                             f"{', '.join(tasks)} or *")
        fitting = [step for step in steps if line.fits(step.task, step.run, step.trained)]
        if not fitting:
            known = sorted({step.run for step in steps if line.task in ("*", step.task)})
            raise ValueError(f"{line.where}: unknown run '{line.run}' of task {line.task}; there "
                             f"are {', '.join((*ROLES, *known))} and patterns of them")
        if line.flag == GRID:
            # the runs beside which the plan (w2s.phases) puts those of a grid
            if not any(step.run.startswith(("weak-tft", "ceiling-tft", "student-naive-both"))
                       for step in fitting):
                raise ValueError(f"{line.where}: a {GRID} is for weak, ceiling or student of a "
                                 "task with a regulariser")
            continue
        _check_flag(line, fitting)


def _check_flag(line, steps):
    """ValueError when no step takes the flag, or one does not take its value."""
    name = argument(line.flag)
    taking = [step for step in steps if name in fields(step.script)]
    if not taking:
        scripts = sorted({step.script for step in steps})
        raise ValueError(f"{line.where}: {line.flag} is no flag of {' or '.join(scripts)}")
    free = [step for step in taking if line.flag not in step.fixed]
    if not free or name in ("out", "seed", "task"):
        step = taking[0]
        raise ValueError(f"{line.where}: {line.flag} of {step.run} is set by the experiment: it is "
                         "what the run is")
    if name == "dtype" and line.values not in (("float32",), ("bfloat16",)):
        raise ValueError(f"{line.where}: --dtype {' '.join(line.values)}: choose float32 or "
                         "bfloat16 (float16 overflows in pythia-14m)")
    for script in {step.script for step in free}:
        try:
            config.check_value(configuration(script), name, line.values)
        except ValueError as error:
            raise ValueError(f"{line.where}: {error}") from None


def settings(lines, step):
    """[flag, value, ...] that recipe lines add to a step: of each flag the first line that fits,
    none that the step has already."""
    words, known, taken = [], {*step.fixed} | {GRID}, fields(step.script)
    for line in lines:
        name = argument(line.flag)
        if line.flag in known or name not in taken or not line.fits(
                step.task, step.run, step.trained):
            continue
        known.add(line.flag)
        if taken[name].type not in (bool, "bool"):
            words += [line.flag, *line.values]
        elif line.values != ("no",):
            words.append(line.flag)
    return words


def grid(lines, task, run):
    """The lambdas of the grid of a run, [] without one."""
    for line in lines:
        if line.flag == GRID and line.fits(task, run, True):
            return numbers(line.where, line.values)
    return []


# ---- the scripts' own words ----------------------------------------------------------------------

@functools.cache
def configuration(script):
    """The Config of a script ("train_weak.py", "attacks.py text", "w2s.prepare data")."""
    name, *command = script.split()
    if name == "attacks.py":  # whose modules take long to import
        return getattr(flags, command[0].capitalize())
    module = importlib.import_module(name.removesuffix(".py"))
    return module.COMMANDS[command[0]][1] if command else module.Config


def argument(flag):
    """The argument's name of a flag: "--max-length" is max_length."""
    return flag[2:].replace("-", "_")


def fields(script):
    """{argument: field} of a script's Config."""
    return {field.name: field for field in dataclasses.fields(configuration(script))}
