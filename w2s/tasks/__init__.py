"""The contract of a task, in one place. Every module of this folder is a task: a fifth property is
one new file.

`load` checks the parts of a module and fills in the defaults below. What the paper says of a
property stands in report/paper.py.

B rows of a batch, K classes, N rows of a file, m sums of a row.
"""

import dataclasses
import importlib
import traceback
import typing
from collections.abc import Callable
from pathlib import Path

# From the files' names: to know which tasks exist, none is imported (they import torch).
NAMES = tuple(sorted(p.stem for p in Path(__file__).parent.glob("[a-z]*.py")))


def empty():
    """The default of a table: a new dict, as dataclasses refuse a shared one."""
    return dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """All that scripts, attacks and report ask of a task. docs/add-a-property.md has an example."""

    name: str
    KIND: str                       # "class": a class head; "letters", "text": a language model
    CLASSES: int | None             # of the class head
    CLASS_NAMES: tuple = ()         # what each is called in the saved model
    DEFAULTS: dict                  # {"lam", "alpha", "epochs": (value, its place in the paper)}
    LAM_MOST: tuple = (float("inf"), "")  # the largest lambda of the equation, and why
    # Flags that mean something to this task; any other is refused, not ignored.
    OPTIONS: tuple = ()             # of forward and loss
    ENCODE: tuple = ()              # of encode
    LABEL: tuple = ()               # of label.py

    # ---- rows ----
    FIELDS: dict                    # {key: type, or its values}: what a row has to have
    read: Callable                  # (path, weak=False) -> [row], checked
    NEEDS: tuple = ()               # of raw_folder.Need: files without which there are no rows
    prepare: Callable               # (raw, seed, split, ...) -> {split: [row]} of raw files
    encode: Callable                # (rows, tokenizer, max_length, target) -> {name: column}
    ALIGNED: bool = False           # rows of a group are versions of one: a limit keeps all or none
    SHARED: tuple = ()              # splits that have rows in common

    # ---- training ----
    # With KIND "class" the equation is in two halves, objective = loss of forward: Eq. (1) hardens
    # the logits of the first half before it takes the second.
    objective: Callable             # (f, batch, ell, lam) -> (B,): the numbered equation
    forward: Callable | None = None  # (f, batch, lam) -> {"x": logits (B, K), ...}
    loss: Callable | None = None    # (logits, batch, ell, lam) -> (B,)
    batches: Callable               # (columns, steps, batch_size, seed, ...) -> (k, batch)
    make_step: Callable             # (model, optimizer, objective, ell, lam, steps, ...) -> step
    plan: Callable | None = None    # (cfg, epsilon, rows, epochs) -> dp.Plan; None: no privacy
    MIXES: str = ""                 # why a private task has no confidence loss
    exact: Callable | None = None   # (row, text) -> reward of GRPO
    NEW: int = 0                    # tokens of a written answer
    tokens: Callable | None = None  # (row) -> the same of a row, where rows differ

    # ---- labels and measurements ----
    # The metrics are headline(sums(...).sum(0)). The sums of resampled rows give the metrics of
    # that resample, so a bootstrap of rows needs nothing else of a task.
    label: Callable                 # (model, tokenizer, rows, columns, cfg) -> rows, states, line
    right: Callable | None = None   # (row) -> whether its weak label is the true one
    weak_class: Callable | None = None  # (row) -> the class or answer that its weak label names
    prompt: Callable | None = None  # (row) -> what a language model reads before the answer
    options: Callable | None = None  # (row) -> the answers that there are
    truth: Callable | None = None   # (row) -> the true answer behind the prompt
    predictions: Callable           # (model, columns, dtype, title) -> N dicts
    sums: Callable                  # (predictions) -> (N, m): what a row adds to the totals
    headline: Callable              # (totals (..., m)) -> {metric: (...,)}
    evaluate: Callable              # (predictions) -> [{slice, metric, value}]

    # ---- attacks with perturbed texts ----
    LABELS: dict = empty()          # {source: how many classes it has}
    to_attack: Callable = list      # (rows) -> those that an attack may take
    sentences: Callable = lambda row: {"text": row["text"]}
    compose: Callable = lambda source, sentences: "".join(sentences)  # the other way round

    # ---- the report ----
    TITLE: str
    ROW: int = 99                   # its place in the tables
    NOTE: str = ""                  # what a reader must know
    METRICS: dict                   # {metric: what it measures}
    TASK: str                       # metric of task performance
    TRUST: str = ""                 # metric of trustworthiness; "": a task of trust functions
    SIGN: int = 1                   # SIGN * TRUST: larger is more trustworthy
    ALSO: tuple = ()                # headline metrics beside TASK and TRUST
    LESS: tuple = ()                # metrics beside TRUST of which less is better
    PRICE: str = ""                 # what trust costs, where it is not TASK
    DRAWN: dict = empty()           # {metric: (rows, score)}: areas, which are no sums
    BESIDE: dict = empty()          # {column of the table: (slice, metric)}
    PANELS: dict = empty()          # {metric of the figure: (a line in it, its name)}
    STUDENTS: tuple = ("student-naive", "student-aux")
    CONTROLS: tuple = ()            # runs of untuned models
    ATTACKED: tuple = ()            # files of a run with further rows for sums


KINDS = ("class", "letters", "text")


def check(name):
    """Raises ValueError, naming the tasks that exist, when `name` is none of them."""
    if name not in NAMES:
        raise ValueError(f"--task {name}: unknown task, choose from {', '.join(NAMES)}")


def load(name):
    """The Task called `name`. Raises ValueError for a file that Python cannot run, and for a part
    that is missing or of another type."""
    check(name)
    try:
        module = importlib.import_module(f"w2s.tasks.{name}")
    except Exception as error:
        path = str(Path(__file__).with_name(f"{name}.py"))
        line = error.lineno if getattr(error, "filename", None) == path else raised_in(path, error)
        if line is None:  # no fault of the file: torch cannot be loaded, memory is too little
            raise
        raise ValueError(f"{path}:{line}: {type(error).__name__}: {error}") from error
    return record(name, module)


def raised_in(path, error):
    """The line of a file in which an exception was raised, or an import failed; None elsewhere."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if not frame.filename.startswith("<frozen importlib")]
    return frames[-1].lineno if frames and frames[-1].filename == path else None


def record(name, module):
    """The Task that a module describes. Raises the ValueErrors of `load`."""
    parts, contract = {"name": name}, "the contract of a task stands in w2s/tasks/__init__.py"
    hints = typing.get_type_hints(Task)
    for field in dataclasses.fields(Task)[1:]:
        if hasattr(module, field.name):
            parts[field.name] = value = getattr(module, field.name)
            if not isinstance(value, hints[field.name]):
                expected = getattr(hints[field.name], "__name__", "another")
                raise ValueError(f"{module.__file__}: {field.name} is {type(value).__name__}, "
                                 f"expected {expected}; {contract}")
        elif (field.default, field.default_factory) == (dataclasses.MISSING,) * 2:
            raise ValueError(f"{module.__file__}: no {field.name}; {contract}")
    if parts["KIND"] not in KINDS:
        raise ValueError(f"{module.__file__}: KIND is '{parts['KIND']}', expected one of "
                         f"{', '.join(KINDS)}; {contract}")
    for key in ("TASK", "TRUST"):
        if parts.get(key) and parts[key] not in parts["METRICS"]:
            raise ValueError(f"{module.__file__}: {key} is '{parts[key]}', which METRICS does not "
                             f"name; {contract}")
    return Task(**parts)
