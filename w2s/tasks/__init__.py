"""One file per (data set, property). The folder is the list: a fifth property is one new file.

For the report a module has TITLE; ROW, its place in the tables; and NOTE, what a reader must know;
a task with classes CLASS_NAMES, what each is called in the saved model.
What the paper says of it: report/paper.py. A task with attacks may have ATTACKED, files of a run
that hold further rows; CONTROLS, untuned runs; ALSO, headline measures beside TASK and TRUST; LESS,
measures of which less is better; PRICE, what trust costs; DRAWN, measures that are areas and no
sums; BESIDE and PANELS, further columns and parts of the figure; LAM_MOST, the largest lambda of
its equation. A task with `plan` (w2s.dp.sgd) trains privately when lam > 0.
"""

import importlib
from pathlib import Path

NAMES = tuple(sorted(p.stem for p in Path(__file__).parent.glob("[a-z]*.py")))


def check(name):
    """ValueError naming the tasks that exist, when `name` is none of them."""
    if name not in NAMES:
        raise ValueError(f"--task {name}: unknown task, choose from {', '.join(NAMES)}")


def load(name):
    """The task module called `name`."""
    check(name)
    return importlib.import_module(f"w2s.tasks.{name}")
