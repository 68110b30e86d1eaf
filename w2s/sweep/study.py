"""The runs of a sweep read into numbers: those of a property together, so that differences between
values are paired row by row as those between models are.

A part, the unit of w2s.report.results, is here (Point, model).
"""

from dataclasses import dataclass, field

import numpy as np

from w2s import tasks
from w2s.report.ceiling import ranked
from w2s.report.measurements import resample, written
from w2s.report.results import Study


@dataclass
class Varied(Study):
    """A Study whose runs stand in any folders: folders {(name, seed): Path}, a name being that of
    `name_of` a plan.Model; select: rows on which the rule of A.2 decides."""

    folders: dict = field(default_factory=dict)
    select: str = "val"

    @classmethod
    def of_plan(cls, sweep, task, select, draws):
        """The Varied of a task of a plan.Sweep."""
        folders = {(name_of(item), seed): path for (item, name, seed), path
                   in sweep.folders.items() if name == task}
        seeds = sorted({seed for _, seed in folders})
        study = cls(sweep.out, tasks.load(task), seeds, folders=folders, select=select)
        for name, seed in folders:
            study._add(name, seed)
        resample(study, draws, np.random.default_rng([0, *task.encode()]))
        return study

    @property
    def task(self):
        return self.module.name

    def at(self, name, seed):
        """The folder of a run; one that no plan has where the name is not of this seed."""
        return self.folders.get((name, seed), self.folder / "sweep" / "none")

    def name(self, strategy, model):
        """The run that stands for a model at a Point: the only one, or the one that the rule of A.2
        picks, or the recipe's where the rule cannot decide."""
        names = [name_of(item) for item in strategy.models.get(model, ())]
        if len(names) < 2:
            return "".join(names)
        key = tuple(names)
        if key not in self.choices:
            self.choices[key] = ranked(self, names, self.select)
        return self.choices[key].run if self.choices[key] else names[1]

    def complete(self, point):
        """Whether all models of a Point are measured, for at least one seed."""
        runs = [self.of(point, model) for model in point.models]
        return bool(set.intersection(*map(set, runs))) if runs else False

    def picked(self, points, model):
        """Index of the point that the rule of A.2 picks for a model; None where it cannot."""
        names = [self.name(point, model) for point in points]
        choice = ranked(self, list(dict.fromkeys(names)), self.select)
        return names.index(choice.run) if choice else None

    def lines(self, figure, axis, point):
        """Yield the lines of sweep.csv of a Point: those of results.csv, then figure, axis, value
        on it."""
        for model in point.models:
            for seed, run in self.of(point, model).items():
                values = run.metrics | {("all", name): value for name, value in run.values.items()
                                        if name in self.module.METRICS}
                for line in written((self.task, point.strategy, model, "all", seed), values):
                    yield *line, figure + point.panel, axis, point.value


def name_of(item):
    """The name of a plan.Model among those of its task: all that tells it from the others."""
    return repr(item)
