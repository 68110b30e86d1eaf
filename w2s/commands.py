"""What the commands of an experiment are made of: their words, and the runs and rows they name."""

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from w2s import cards, config, recipes

HERE = Path(__file__).parent.parent
# names of steps that train no model of a run, but run one: they too take a --device
ON_DEVICE = ("pretrain", "labels", "evaluate", "attack-text", "attack-extraction",
             "attack-membership", "attack-surrogate", "trust-icl-confidence", "trust-reward",
             "trust-consistency")


class Step(NamedTuple):
    """A command: its script and arguments, and the phase to which it belongs."""
    phase: str
    title: str
    script: str  # "train_weak.py", "w2s.prepare data"
    task: str
    run: str  # its name in recipes
    trained: bool  # whether it trains a model
    fixed: dict  # {flag: value or [value, ...]}: what the run is, which no recipe changes
    usual: dict  # {flag: value} where no recipe says otherwise


class Cell(NamedTuple):
    """A task and a seed: the folder of its rows D, and that of its runs R."""
    task: str
    seed: int
    D: Path
    R: Path


class Commands:
    """The half of an experiment (w2s.phases) that adds commands to its steps and spells them out.
    It reads options, preset, tasks, rows, out, lines and split_seed of the other half."""

    def _train(self, cell, run, base, rows, **flags):
        flags = {f"--{name}": value for name, value in flags.items()}
        self._add("train_weak.py", f"{self._name(cell)} {run}", cell.task, run, {
            "--task": cell.task, "--seed": cell.seed, "--out": cell.R / run, "--model": base,
            "--data": rows, **flags}, trained=True)

    def _student(self, cell, run, teacher, base=None, file="wts", **flags):
        flags = {f"--{name}": value for name, value in flags.items()}
        self._add("train_student.py", f"{self._name(cell)} {run}", cell.task, run, {
            "--task": cell.task, "--seed": cell.seed, "--out": cell.R / run,
            "--model": base or self.strong[0],
            "--labels": cell.R / teacher / "labels" / f"{file}.jsonl", **flags}, trained=True)

    def _labels(self, cell, runs, parts, hidden=False):
        self._add("label.py", f"{self._name(cell)} labels", cell.task, "labels", {
            "--task": cell.task, "--run": [at(cell, run) for run in runs],
            "--data": [cell.D / f"{part}.jsonl" for part in parts],
            **({"--hidden": []} if hidden else {})})

    def _attack_mails(self, cell, title, kind, runs):
        """Extraction or membership, which need the rows that runs were trained on, and others."""
        self._add(f"attacks.py {kind}", f"{self._name(cell)} {title} {kind}", cell.task,
                  f"attack-{kind}", {
                      "--task": cell.task,
                      "--data": [cell.D / f"{part}.jsonl" for part in ("weak", "wts", "test")],
                      "--run": [at(cell, run) for run in runs], **self._attack_limit()})

    def _attack_limit(self):
        return {"--limit": self.options.attack_limit} if self.options.attack_limit else {}

    def _choose(self, cell, run, teacher, by, learned="trust", pool="wts", **flags):
        labels = cell.R / teacher / "labels"
        self._add("train_ntf.py", f"{self._name(cell)} {run}", cell.task, run, {
            "--teacher": cell.R / teacher, "--labelled": labels / f"{learned}.jsonl",
            "--pool": labels / f"{pool}.jsonl", "--out": cell.R / run, "--seed": cell.seed,
            "--select": by, **flags})

    def _evaluate(self, cell, title, runs, parts):
        if runs:
            self._add("evaluate.py", f"{self._name(cell)} {title}", cell.task, "evaluate", {
                "--task": cell.task, "--data": [cell.D / f"{part}.jsonl" for part in parts],
                "--run": [at(cell, run) for run in runs]})

    def _add(self, script, title, task, run, fixed, usual=None, trained=False):
        """A Step of the phase that is being planned."""
        self.steps.append(Step(self.phase, title, script, task, run, trained, fixed, usual or {}))

    def each(self, which=lambda task: True):
        """The Cells of the tasks for which which(task) is true, of every seed."""
        seeds = self.options.seeds or (1 if single(self.preset, self.options) else 3)
        return [self._cell(task, seed) for task in self.tasks if which(task)
                for seed in range(seeds)]

    def _cell(self, task, seed):
        # rows of one's own may be the same for all seeds: DIR/<task> without folders of seeds
        D = self.rows / task
        if self.split_seed is None and (not self.options.data or (D / f"seed{seed}").is_dir()):
            D = D / f"seed{seed}"
        return Cell(task, seed, D, self.out / task / f"seed{seed}")

    def _over(self, cells, *parts):
        """Each part of all cells, then the next part: commands that may run side by side."""
        for part in parts:
            for cell in cells:
                part(cell)

    def _name(self, cell):
        return f"{cell.task} seed{cell.seed}"

    def _of_seed(self, cell):
        return f" seed{cell.seed}" if self.split_seed is None else ""

    def _runs(self, cell, pattern, trained=True):
        """Names of the models of a cell so far; trained=False: of its choices of labels."""
        return [step.run for step in self.steps if step.trained == trained
                and fnmatchcase(step.run, pattern) and step.fixed["--out"].parent == cell.R]

    def _grid(self, cell, run):
        """The lambdas of a run's grid, but the one that the run itself has."""
        if self.everything:  # the plan that knows every name has a run of a grid too
            return [1.0]
        step = Step("", "", "train_weak.py", cell.task, run, True, {}, {})
        words = recipes.settings([line for line in self.lines if line.flag == "--lam"], step)
        return [lam for lam in recipes.grid(self.lines, cell.task, run)
                if not words or float(words[1]) != lam]

    def has_validation(self, cell):
        """Whether the task has validation rows."""
        if self.options.data:
            return (cell.D / "val.jsonl").exists()
        step = next((step for step in self.steps if (step.task, step.run) == (cell.task, "data")))
        words = self.line(step)
        return "--val" not in words or float(words[words.index("--val") + 1]) > 0

    # ---- words -----------------------------------------------------------------------------------

    def line(self, step):
        """The words of a command behind `python`."""
        script, *command = step.script.split()
        words = [*(["-m", script] if not script.endswith(".py") else [script]), *command]
        for flag, value in step.fixed.items():
            words += [flag, *(map(shown, value) if isinstance(value, list) else [shown(value)])]
        if step.run in ("world", "perturbed") or self.everything:  # no recipe speaks of these
            return words
        more = recipes.settings(self.lines, step)
        for flag, value in step.usual.items():
            more += [flag, shown(value)] if flag not in more else []
        return words + more


# ---- words ---------------------------------------------------------------------------------------

def single(preset, options):
    """Whether one seed is enough where --seeds does not say."""
    return preset == "smoke" or options.quick


def at(cell, run):
    """The folder of a run of a cell, or one that stands elsewhere."""
    return run if isinstance(run, Path) else cell.R / run


def placed(path):
    """A path as the user meant it: relative to where run_all.sh was called."""
    home = os.environ.get("W2S_FROM", "")
    return path if os.path.isabs(path) or home in ("", str(HERE)) else os.path.join(home, path)


def model(name):
    """A folder, or a name of the hub."""
    return placed(name) if os.path.exists(placed(name)) else name


def before(generation, end=""):
    """The run whose labels a generation of the chain chooses from; end: of a chain's names."""
    return "student-ntf" if generation == 2 else f"student-gen{generation - 1}{end}"


def shown(value):
    """A value as a word of a command; a float exactly, since the script reads it again."""
    return config.number(value) if isinstance(value, float) else str(value)


def has_mmlu(raw):
    """Whether the folder of raw files holds MMLU, without which nothing is chosen zero-shot."""
    return bool(raw) and any(Path(raw).rglob("*[mM][mM][lL][uU]*"))


def fast_bfloat16():
    """Whether training in bfloat16 pays here: a card that nvidia-smi finds (the program may be
    where there is none), or a CPU with instructions for it (1.7 times as fast). Asked without
    torch: a dry run must not wait for its import."""
    try:
        about = Path("/proc/cpuinfo").read_text()
    except OSError:
        about = ""
    card = cards.asked("-L") and cards.visible()
    return bool(card) or "avx512_bf16" in about or "amx_bf16" in about
