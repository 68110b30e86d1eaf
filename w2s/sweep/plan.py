"""The plan of a sweep: which runs its figures need, and which of them are made already.

A run is known by its content: script, arguments, code, and the contents of its inputs, so by its
teacher's too. One that the experiment of the same preset has (w2s.phases) stands in its folder
there; any other in OUT/sweep/<task>/seed<k>/<name>-<digest of the content>.
"""

import ast
import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from w2s import code, config, launch, recipes, rows, runs
from w2s.commands import model
from w2s.phases import Experiment
from w2s.sweep import axes
from w2s.sweep.axes import AUX, BOTH, NAIVE, NONE, WEAK

# (weak models, strong models, the much larger one of Fig. A9), each list from small to large; the
# usual weak model is that of w2s.phases
SUITES = {"miniature": (["w2s/models/mini-weak-small", "w2s/models/mini-weak"],
                        ["w2s/models/mini-strong", "w2s/models/mini-strong-large"],
                        "w2s/models/mini-strong-large"),
          "real": (["small/real-2x32", "weak/real-2x64"],
                   ["strong/real-4x192", "large/real-6x256"], "large/real-6x256"),
          "paper": (["EleutherAI/pythia-14m", "EleutherAI/pythia-70m"],
                    ["EleutherAI/pythia-410m", "EleutherAI/pythia-1b"],
                    "EleutherAI/pythia-6.9b")}
SMALLER = 1  # privacy: strong models of Fig. A6, which leaves out the larger for want of memory


class Model(NamedTuple):
    """A model to train, of every seed. None: as the recipe has it."""
    name: str                 # of the run whose lines in a recipe count for it
    base: str
    teacher: "Model | None" = None
    lam: float | None = None
    alpha: float | None = None
    warmup: float | None = None
    epochs: float | None = None


class Point(NamedTuple):
    """A place in a figure: a value in a strategy, and the models to be seen there."""
    panel: str                # of a figure with several: "a" to "f" in Fig. A1; else ""
    value: str
    strategy: str
    models: dict              # {"weak" | "student-naive" | ... : [Model]}; several: the rule of A.2


class Sweep(Experiment):
    """The steps that the figures need; `figures`: {(name, task): [Point]}, `folders`: {(Model,
    task, seed): run folder}."""

    def __init__(self, options, wanted, command=""):
        self.wanted = wanted  # {(name, task): (axes.Figure, --values or None)}
        self.asked = options
        tasks = sorted({task for _, task in wanted}, key=axes.ORDER.index)
        # the usual weak model is the first one; all of them are the sizes
        super().__init__(dataclasses.replace(
            options, tasks=",".join(tasks), weak=options.weak and options.weak.split(",")[0]),
            options.preset, command)

    def _models(self):
        """One weak and one strong model of the experiment, and the sizes."""
        super()._models()
        weak, strong = self.asked.weak, self.asked.strong
        if self.preset == "smoke":
            self.weaks = [self.weak, self.made / "tiny-2x48"]
            self.largest = self.made / "tiny-4x64"
            self.strong = [*self.strong, self.largest]
            return
        weaks, strongs, largest = SUITES[self.preset]
        self.weaks = self._named(weak and weak.split(","), weaks)
        self.strong = self._named(strong and strong.split(","), strongs)
        self.largest = self.strong[-1] if strong else self._named(None, [largest])[0]

    def bases(self):
        """The base models that the figures need."""
        models = [item for points in self.figures.values() for point in points
                  for items in point.models.values() for item in items]
        return list(dict.fromkeys(base for item in models for base in (
            *([item.teacher.base] if item.teacher else []), item.base)))

    def _usual(self):
        """The experiment of the same models, properties and settings, whose runs are used too."""
        models = {} if self.preset == "smoke" else {"weak": self.weak, "strong": self.strong[0]}
        return Experiment(dataclasses.replace(self.options, **models), self.preset)

    # ---- what the figures need -------------------------------------------------------------------

    def _plan(self, command):
        self.figures = {(name, task): self._points(name, task, *asked)
                        for (name, task), asked in self.wanted.items()}
        made = Made(self._usual())
        self._data()
        if "adversarial" in self.tasks:
            self._data_perturbed()

        self.folders, self.planned, models = {}, set(), self._models_by_stage()
        self.phase = "weak models and strong ceilings on ground truth"
        for cell in self.each():
            self._train_all(cell, models[cell.task][0], made)
        self.phase = "weak labels for the students"
        for cell in self.each():
            self._label_all(cell, models[cell.task][1])
        self.phase = "students on weak labels"
        for cell in self.each():
            self._train_all(cell, models[cell.task][1], made)
        self.phase = "every model measured on test rows"
        for cell in self.each():
            self._measure_all(cell)
        self._figures(command)

    def _points(self, name, task, figure, text):
        if figure.kind == "tradeoffs":
            return [point for panel, (axis, what) in axes.PANELS.items()
                    if task in axes.CLASSES or what != AUX
                    for point in self._tradeoff(panel, axis, what, task)]
        if figure.kind == "curves":
            [axis] = figure.axes
            return [self._curve(axis, value, key, task) for key in figure.strategies
                    for value in axes.values(self.preset, task, axis, text)]
        pairs = self._pairs(name, task, text) if figure.axes else [(self.weak, self.strong[0])]
        return [Point("", f"{Path(weak).name} / {Path(strong).name}", key,
                      self._three(task, key, weak, strong))
                for weak, strong in pairs for key in figure.strategies]

    def _pairs(self, name, task, text):
        """[(weak model, strong model)] of a figure of sizes. Raises ValueError where the suite
        lacks one."""
        if text:
            return [(model(weak) or self.weak, model(strong)) for weak, _, strong in (
                word.rpartition(":") for word in text.split(","))]
        if name == "A9":
            return [(self.weak, self.largest)]
        if len(self.weaks) < 2 or len(self.strong) < 2:
            raise ValueError(f"--figure {name}: needs two weak and two strong models, each larger "
                             "than the one before: --weak M,M2 --strong M,M2")
        strongs = self.strong[:SMALLER] if task == "privacy" else self.strong[:2]
        return [(weak, strong) for strong in strongs for weak in self.weaks[:2]]

    def _three(self, task, key, weak, strong, lam=None, **student):
        """{model of a strategy: [Model]}. lam: of weak model, student and ceiling alike; student:
        the arguments of student-aux."""
        none = key == NONE or lam == 0
        f_w = Model("weak-none", weak, lam=0.) if none else Model("weak-tft", weak, lam=lam)
        regularised = {"lam": lam} if key == BOTH and not none else {"lam": 0.}
        end = NONE if none else key
        models = {"weak": [f_w], NAIVE: [
            Model(f"{NAIVE}-{end}", strong, f_w, **regularised, alpha=0.)]}
        if task in axes.CLASSES:
            models[AUX] = [Model(f"{AUX}-{end}", strong, f_w, **regularised, **student)]
        if student.get("alpha") == 0:  # Eq. (1) without its second term
            models[AUX] = models[NAIVE]
        return models | {"ceiling": self._ceiling(task, none, strong, lam)}

    def _ceiling(self, task, none, strong, lam=None):
        """[Model]: with the lambda, else those among which the rule of A.2 chooses; of another size
        than the usual one without a regulariser and with the recipe's."""
        unregularised = Model("ceiling-none", strong, lam=0.)
        if none:
            return [unregularised]
        if lam is not None:
            return [Model("ceiling-tft", strong, lam=lam)]
        grid = recipes.grid(self.lines, task, "ceiling-tft") if strong == self.strong[0] else ()
        return [unregularised, *dict.fromkeys([Model("ceiling-tft", strong), *(
            Model("ceiling-tft", strong, lam=value) for value in grid)])]

    def _curve(self, axis, value, key, task):
        weak, strong = self.weak, self.strong[0]
        models = self._three(task, key, weak, strong, **(
            {"lam": value} if axis == "lam" else {} if axis == "epochs" else {axis: value}))
        if axis == "epochs":  # of the students
            models |= {name: [student._replace(epochs=value) for student in models[name]]
                       for name in (NAIVE, AUX) if name in models}
        return Point("", f"{value:g}", key, models)

    def _tradeoff(self, panel, axis, what, task):
        """Points of a panel of Fig. A1: one model, all else as the recipe has it."""
        strong = self.strong[0]
        for value in axes.values(self.preset, task, axis):
            models = self._three(task, BOTH, self.weak, strong, **(
                {axis: value} if axis in ("alpha", "warmup") else {}))
            if what == AUX:
                [picture] = models[AUX]
                chosen = picture._replace(epochs=value) if axis == "epochs" else picture
            elif what == NAIVE:  # the teacher keeps its lambda
                end = BOTH if value else WEAK
                chosen = models[NAIVE][0]._replace(name=f"{NAIVE}-{end}", lam=value)
            else:
                chosen = self._three(task, BOTH, self.weak, strong, lam=value)[what][0]
            yield Point(panel, f"{value:g}", BOTH, {what: [chosen]})

    # ---- the steps -------------------------------------------------------------------------------

    def _models_by_stage(self):
        """{task: ([Model] on ground truth, [student])}, each once, teachers included."""
        stages = {}
        for (_, task), points in self.figures.items():
            first, students = stages.setdefault(task, ({}, {}))
            for item in (item for point in points for items in point.models.values()
                         for item in items):
                first |= {item.teacher or item: None}
                students |= {item: None} if item.teacher else {}
        return {task: tuple(map(list, stage)) for task, stage in stages.items()}

    def _train_all(self, cell, models, made):
        for item in models:
            self._train_one(cell, item, made)

    def _train_one(self, cell, item, made):
        """Plan the run of a Model, in the folder that its content has."""
        varied = {f"--{name}": getattr(item, name) for name in ("lam", "alpha", "warmup", "epochs")
                  if getattr(item, name) is not None}
        teacher = self.folders[item.teacher, *cell[:2]] if item.teacher else None
        source = {"--labels": teacher / "labels" / "wts.jsonl"} if teacher else {
            "--data": cell.D / f"{self._rows_of(item)}.jsonl"}
        script = "train_student.py" if teacher else "train_weak.py"
        words = {"--task": cell.task, "--seed": cell.seed, "--out": cell.R, "--model": item.base,
                 **source, **varied}
        title = " ".join([self._name(cell), item.name, *(f"{flag[2:]} {value:g}"
                                                         for flag, value in varied.items())])
        self._add(script, title, cell.task, item.name, words, trained=True)
        step = self.steps.pop()
        out = made.folder(step, self.line(step), self.out / "sweep")
        self.folders[item, *cell[:2]] = out
        if out not in self.planned:  # two Models may be one run: lambda given, or the recipe's
            self.planned.add(out)
            # as the experiment calls it: a default that is given is another argument to the script
            run, fixed = made.calls.get(out, (step.run, {**words, "--out": out}))
            self.steps.append(step._replace(run=run, fixed=fixed))

    def _rows_of(self, item):
        """The ceiling may have the rows of D_WTS instead (--ceiling-data)."""
        return self.options.ceiling_data if item.name.startswith("ceiling") else "weak"

    def _label_all(self, cell, students):
        teachers = dict.fromkeys(self.folders[item.teacher, *cell[:2]] for item in students)
        if teachers:
            self._labels(cell, teachers, ["wts"])

    def _measure_all(self, cell):
        """Attacks where trust is measured by them, and all runs on test rows; those among which the
        rule of A.2 chooses on validation rows too."""
        measured, judged, members = {}, {}, {}
        shown = [(name, items) for (name, task), points in self.figures.items()
                 if task == cell.task for point in points for items in point.models.values()]
        for name, items in shown:
            folders = dict.fromkeys(self.folders[item, *cell[:2]] for item in items)
            measured |= folders
            judged |= folders if len(folders) > 1 or name == "A1" else {}
            members |= folders if name in ("A11", "A12") else {}
        attacks = {"extraction": measured, "membership": members} if cell.task == "privacy" else {}
        for kind, attacked in attacks.items():
            if attacked:
                self._attack_mails(cell, "runs", kind, attacked)
        if not self.has_validation(cell):
            judged = {}
        self._evaluate(cell, "chosen among", judged, ["test", "val"])
        self._evaluate(cell, "models", [run for run in measured if run not in judged], ["test"])

    def _figures(self, command):
        """The last step: this plan again, and what its runs say."""
        self.phase = "figures"
        words = {"--runs": self.out, "--command": command}  # it waits for all that is made there
        for field in dataclasses.fields(self.asked):
            value = getattr(self.asked, field.name)
            if field.name in launch.Options.__dataclass_fields__ or value in (field.default, []):
                continue
            words[config.flag_of(field.name)] = [] if value is True else value
        self._add("w2s.sweep report", "figures", "", "report", words)


class Made:
    """Folders of the runs that an experiment has, or would have, by their content."""

    def __init__(self, experiment):
        self.keys, self.usual = {}, {}  # {folder: key}, {key: folder}
        self.calls = {}  # {folder of the experiment: (run, its arguments)}
        for step in experiment.steps:
            labels = step.fixed.get("--labels")
            # students on chosen labels are no part of a sweep
            if step.trained and (labels is None or labels.parent.parent in self.keys):
                key = self._key(step, experiment.line(step))
                self.keys[step.fixed["--out"]] = key
                self.usual.setdefault(key, step.fixed["--out"])
                self.calls[step.fixed["--out"]] = step.run, step.fixed

    def folder(self, step, line, sweep):
        """Where the run of a step stands: in the folder that the experiment gives it, unless that
        holds another run or its teacher stands elsewhere; else below `sweep`."""
        key = self._key(step, line)
        usual, labels = self.usual.get(key), step.fixed.get("--labels")
        beside = labels is None or labels.parent.parent in self.usual.values()
        if usual and beside and fits(usual, *content(step, line)):
            return usual
        out = sweep / step.task / f"seed{step.fixed['--seed']}" / f"{step.run}-{key[:10]}"
        self.keys[out] = key
        return out

    def _key(self, step, line):
        """Digest of what a run is made of; of its labels, how their teacher was made."""
        script, args, source, what = content(step, line)
        if "--labels" in step.fixed:
            source = [self.keys[source.parent.parent], source.name]
        text = json.dumps([script, args, str(source), str(step.fixed["--model"]), what],
                          sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def content(step, line):
    """(script, {argument: value} that changes the result, file that is trained on, digest of the
    code) of a training step."""
    settings = config.parse(recipes.configuration(step.script), "", line[1:])
    # inputs: their contents count
    free = runs.free_arguments(settings) | {"model", "data", "labels"}
    source = step.fixed.get("--labels") or step.fixed["--data"]
    kept = {name: value for name, value in dataclasses.asdict(settings).items()
            if name not in free}
    return step.script, filled(kept, step.task), source, code.digest(step.script, step.task)


def filled(args, task):
    """The arguments with the task's defaults in the place of None: given or not is the same run."""
    return args | {name: value for name, (value, _) in defaults(task).items()
                   if name in args and args[name] is None}


@functools.cache
def defaults(task):
    """DEFAULTS of a task's file, read without importing it: tasks need torch, which a plan that is
    printed must not."""
    tree = ast.parse((code.HOME / "w2s" / "tasks" / f"{task}.py").read_text(encoding="utf-8"))
    return next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)
                and getattr(node.targets[0], "id", "") == "DEFAULTS")


def fits(folder, script, args, source, what):
    """Whether a folder is free, or holds the run of this content, finished or not."""
    if not (folder / "config.json").exists():
        return not folder.exists() or not any(folder.iterdir())
    try:
        facts = runs.read_config(folder)
    except (OSError, ValueError):  # another's file, or a damaged one
        return False
    before = {name: facts["args"].get(name) for name in args}
    return (facts.get("script") == script and facts.get("code") == what
            and runs.same_settings(filled(before, args["task"]), args)
            and (not Path(source).exists() or digest(source) in facts["inputs"].values()))


digest = functools.cache(rows.sha256)
