"""What is run, in its order: the commands of an experiment, and the settings of each.

A command's own words say what the run is; recipes (w2s.recipes) add what it trains with.
"""

from pathlib import Path

from w2s import cards, config, recipes
from w2s.commands import HERE, ON_DEVICE, fast_bfloat16, model, placed, shown
from w2s.trust_phases import MOST, TrustPhases, budgets

TASKS = sorted(path.stem for path in (HERE / "w2s" / "tasks").glob("[a-z]*.py"))
TRUST = ("mcqa", "arithmetic", "game")  # tasks of trust functions; the others are properties
USUAL = "fairness,ood,adversarial,privacy,mcqa"
SURROGATE_SEED = 1000  # of the models that texts are perturbed against: no seed of the experiment
PASSED_ON = ("epochs", "batch_size", "lr", "max_length", "device", "dtype", "compile")
# the strong model, and a larger one for later generations of the chain; of real, what is pretrained
MODELS = {"miniature": ("w2s/models/mini-weak",
                        "w2s/models/mini-strong,w2s/models/mini-strong-large"),
          "real": ("weak/real-2x64", "strong/real-4x192,large/real-6x256"),
          "paper": ("EleutherAI/pythia-14m", "EleutherAI/pythia-410m,EleutherAI/pythia-1b")}
CHOOSING = "which labels to trust: trust function, and what it is compared with"
MEASURING = "every model measured on test rows, and attacked itself"
NOTES = {
    "miniature": "MINIATURE: made-up data and small models; these numbers show the method, not "
                 "those of the paper.",
    "real": "REAL: public data, but small models that were pretrained here on little text (Base "
            "models, below): none of these numbers is of a Pythia.",
    "smoke": "SMOKE: invented rows and untrained models; these numbers say nothing about the "
             "paper."}


def chosen(text):
    """([task, ...], whether everything is asked for) of --tasks; "all": the usual ones first."""
    if text == "all":
        order = (*USUAL.split(","), "arithmetic", "game")
        return [*order, *(task for task in TASKS if task not in order)], True
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in TASKS:
            raise ValueError(f"--tasks {text}: unknown task {name}; choose from {', '.join(TASKS)}")
    return names, False


def texts(options):
    """Paths of the text that base models are pretrained on: the user's, else that in RAW/corpus."""
    if options.text or not options.raw:
        return [placed(path) for path in options.text]
    return sorted(str(path) for path in Path(placed(options.raw), "corpus").glob("*")
                  if path.is_file() and path.name[0] != "."
                  and path.name.removesuffix(".gz").endswith((".jsonl", ".txt")))


class Experiment(TrustPhases):
    """The plan: its commands as `steps`, in their order: task by task, with a report after each. It
    is the order of the list: a command starts as soon as those are done that write what it reads
    (w2s.scheduler).

    everything: the plan only names all runs that there can be, for the check of recipes; without:
    tasks to leave out."""

    def __init__(self, options, preset, command="", everything=False, without=()):
        self.options, self.preset, self.everything = options, preset, everything
        tasks, self.every = chosen(options.tasks)
        self.tasks = [task for task in tasks if task not in without]
        # properties whose students get trusted labels too: an addition, which no paper prints
        self.crossed = [task for task in self.tasks if task not in (*TRUST, "privacy")
                        and (task == "ood" or self.every) and options.protocol == "ours"]
        name = f"{preset}-quick" if options.quick else preset  # other rows and models
        self.out = Path(placed(options.out) if options.out else f"runs/{name}")
        self.rows = (Path(placed(options.data)) if options.data else
                     self.out / "data" if options.out else Path(f"data/{name}"))
        self.made = self.rows if not options.data else self.out / "data"  # the town, smoke's models
        self.lines = [] if everything else self._lines()
        self.text, self.pretrained = texts(options), set()  # names of models that real makes
        self._models()
        self.raw = placed(options.raw) if options.raw else self.made / "raw" \
            if preset != "paper" else None
        split = options.split_seed if options.split_seed is not None else (
            0 if preset == "smoke" and not options.resplit else None)
        self.split_seed = split  # None: every seed its own
        self.generations = range(2, 1 + (MOST if everything else options.generations))
        self.budgets = [300] if everything else budgets(
            options.budgets or ("300" if preset == "miniature" else ""))
        self.steps, self.phase = [], ""
        self._plan(command)

    def _lines(self):
        """The recipe lines, those that count before others first."""
        options, lines = self.options, []
        for name in PASSED_ON:
            value = getattr(options, name)
            if value is not None:
                flag, words = config.flag_of(name), (shown(value),)
                lines += [recipes.Line(flag, "*", run, flag, words) for run in (
                    "*", *(ON_DEVICE if name == "device" else
                           ("pretrain",) if name == "dtype" else ()))]
        if options.recipe:
            if not Path(placed(options.recipe)).is_file():
                raise ValueError(f"{options.recipe}: no such file (--recipe)")
            lines += recipes.read(placed(options.recipe))
        if options.quick and self.preset == "real":
            lines += recipes.read(recipes.HOME / "real-quick.txt")
        if options.protocol == "printed":
            lines += recipes.read(recipes.HOME / "printed.txt")
        lines += recipes.read(recipes.HOME / f"{self.preset}.txt")
        cluster = options.format == "slurm" and options.device != "cpu"  # has cards
        if cards.apple() and self.preset != "paper":  # a launch costs more than such models compute
            lines += [recipes.Line("machine", "*", run, "--device", ("cpu",))
                      for run in ("*", *ON_DEVICE)]
        if cluster or fast_bfloat16():  # of training; labels and measurements stay float32
            lines += [recipes.Line("machine", "*", run, "--dtype", ("bfloat16",))
                      for run in ("*", "pretrain")]
        return lines

    def _models(self):
        """The models of the weak and the strong role, and the surrogate."""
        options, preset = self.options, self.preset
        if preset == "smoke":
            self.weak, self.strong = self.made / "tiny-2x32", [self.made / "tiny-3x64"]
            return
        weak, strong = MODELS[preset]
        self.weak, = self._named(options.weak and [options.weak], [weak])
        usual = strong.split(",")[:1 if options.quick else None]  # a larger one takes longest
        self.strong = self._named(options.strong and options.strong.split(","), usual)
        self.surrogate = model(options.surrogate or "w2s/models/mini-surrogate")

    def _named(self, given, usual):
        """[model, ...] by the user's names, else by the preset's: real makes those itself."""
        if not given and self.preset == "real":
            paths = [str(self.made / "models" / name) for name in usual]
            self.pretrained |= {*paths}
            return paths
        return [model(name) for name in given or usual]

    def given(self):
        """The models that must be there already."""
        return [base for base in (self.weak, *self.strong)
                if self.preset != "smoke" and not self.makes(base)]

    def makes(self, base):
        """Whether real makes a base model itself."""
        return self.everything or base in self.pretrained

    def bases(self):
        """The base models that runs are made of."""
        larger = self.strong[1:] if any(task in TRUST for task in self.tasks) else []  # the chain's
        return list(dict.fromkeys((self.weak, self.strong[0], *larger)))

    # ---- the plan --------------------------------------------------------------------------------

    def _plan(self, command):
        self._data()
        parts = self._parts()
        for title, cells in parts:
            if cells[0].task == "adversarial" and not cells[0].seed:
                self._data_perturbed()
            self._runs_of(cells, title)
            if cells is parts[-1][1]:
                self._report(command, "report")
            elif self.preset != "smoke":  # of which nobody waits for a result
                self._report(command, f"report of {title}")

    def _parts(self):
        """[(title, cells of a task)] in their order. A report follows each: the first one is of a
        single seed, so that it stands early."""
        first, *others = self.each()
        rest = [(task, [cell for cell in others if cell.task == task]) for task in self.tasks]
        return [(self._name(first), [first]), *((title, cells) for title, cells in rest if cells)]

    def _data(self):
        """Raw files, and the rows of every task but those that are perturbed first: a file that
        cannot be read must not show after hours."""
        if self.preset == "miniature":
            self.phase = "the town: raw files"
            self._add("w2s.miniature world", "raw files", "", "world", {
                "--out": self.made, "--seed": self.options.town or 0})
        if self.preset == "smoke":
            self.phase = "invented rows and untrained models"
            self._add("tests.smoke_data", "raw files and models", "", "world", {"--out": self.made})
        self.phase = "rows: weak, wts, val, trust and test of every task"
        self._over(self.each(lambda task: task != "adversarial" or not self._perturbs()),
                   self._prepare)
        self.phase = "base models, pretrained on real text"
        for base in map(Path, filter(self.makes, self.bases())):
            self._add("w2s.miniature pretrain", f"{base.parent.name} model pretrained", "",
                      "pretrain", {"--shape": base.name, "--text": self.text, "--out": base.parent,
                                   "--runs": self.made / "pretrain"})

    def _data_perturbed(self):
        """The rows of adversarial robustness in the miniature, whose texts are attacked first."""
        if self._perturbs():
            self.phase = "texts perturbed against three models that are never evaluated"
            self._perturb()
            self.phase = "rows: clean and perturbed texts"
            self._over(self.each(lambda task: task == "adversarial"), self._prepare)

    def _perturbs(self):
        """Whether the experiment makes its perturbed texts itself."""
        return self.preset == "miniature" and not self.options.data

    def _runs_of(self, cells, title):
        """Everything about some cells of a task, phase by phase."""
        phases = self._trust_phases if cells[0].task in TRUST else self._property_phases
        phases(cells, f"{title}: {{}}".format)

    def _property_phases(self, cells, at):
        """Section 3.2; at(words): the name of a phase."""
        crossed = cells if cells[0].task in self.crossed else []
        self.phase = at("strong ceilings and weak models on ground truth, without and with TFT")
        self._over(cells, self._ceilings, self._weak)
        self.phase = at("weak labels for the students")
        self._over(cells, self._label)
        if crossed:
            self.phase = at(CHOOSING)
            self._over(crossed, self._crossed_choices)
        self.phase = at("students on weak labels")
        self._over(cells, self._students)
        self._over(crossed, self._crossed_students)
        self.phase = at(MEASURING)
        self._over(cells, self._attack, self._measure)
        self._over(crossed, self._measure_crossed)

    def _trust_phases(self, cells, at):
        """Uzunoglu et al.: one teacher, choices of its labels, a student of each, the chain."""
        self.phase = at("the teacher on ground truth")
        self._over(cells, self._teacher)
        self.phase = at("weak labels for the students")
        self._over(cells, self._label)
        self.phase = at(CHOOSING)
        self._over(cells, self._choices)
        self.phase = at("students on weak labels")
        self._over(cells, self._trusted_students)
        for generation in self.generations:
            self.phase = at(f"the chain: the student on trusted labels is the teacher of "
                            f"generation {generation}, labels anew, is chosen from, has a student")
            for part in (self._relabel, self._rechoose, self._restudy):
                self._over(cells, lambda cell, part=part: part(cell, generation))
        self.phase = at(MEASURING)
        self._over(cells, self._measure_trusted)

    def _report(self, command, title):
        """A report of what is finished; of a part of the experiment with fewer draws."""
        self.phase = title
        # of real only where no model is the user's
        small = self.preset != "real" or all(map(self.makes, self.bases()))
        note = NOTES.get(self.preset) if small else None
        self._add("w2s.report", title, "", "report", {
            "--runs": self.out, "--data": self.rows, "--command": command,
            **({"--draws": 2000} if title != "report" else {}),
            **({"--select": self.options.select} if self.options.select else {}),
            **({"--note": note} if note else {})})

    def _prepare(self, cell):
        """The splits of a task: of a seed, or of all seeds together."""
        if cell.seed and self.split_seed is not None:
            return
        if self.options.data:
            self._add("w2s.prepare check", f"{cell.task} rows", cell.task, "data", {
                "--task": cell.task, "--data": cell.D})
            return
        seed = cell.seed if self.split_seed is None else self.split_seed
        limit = self.options.limit or (240 if self.preset == "smoke" else None)
        self._add("w2s.prepare data", f"{cell.task} rows{self._of_seed(cell)}", cell.task, "data", {
            "--task": cell.task, "--out": cell.D, "--seed": seed,
            **({"--raw": self.raw} if self.raw else {}), **({"--limit": limit} if limit else {})},
            {"--trust": 0.1} if cell.task in self.crossed else {})

    def _weak(self, cell):
        """Section 3.2: f_w of No TFT, and of Weak TFT and Weak+WTS TFT, on the labels of D_W."""
        rows = cell.D / "weak.jsonl"
        self._train(cell, "weak-none", self.weak, rows, lam=0)
        self._train(cell, "weak-tft", self.weak, rows)
        for lam in self._grid(cell, "weak-tft"):
            self._train(cell, f"weak-lam-{lam:g}", self.weak, rows, lam=lam)
        if cell.task == "privacy":  # much of a mail can be guessed: controls of the attacks
            self._train(cell, "base-weak", self.weak, rows, lam=0, epochs=0)

    def _ceilings(self, cell):
        """Section 4, baselines: the strong model on ground truth, with varying lambda."""
        rows, strong = cell.D / f"{self.options.ceiling_data}.jsonl", self.strong[0]
        self._train(cell, "ceiling-none", strong, rows, lam=0)
        self._train(cell, "ceiling-tft", strong, rows)
        for lam in self._grid(cell, "ceiling-tft"):
            self._train(cell, f"ceiling-lam-{lam:g}", strong, rows, lam=lam)
        if cell.task == "privacy":
            self._train(cell, "base-strong", strong, rows, lam=0, epochs=0)

    def _students(self, cell):
        """Section 3.2: the strong model on weak labels, naive (alpha 0) and with Eq. (1)."""
        kinds = {"naive": {"alpha": 0}, "aux": {}}
        if cell.task == "privacy":  # text has no confidence loss (reading P5)
            del kinds["aux"]
        for kind, alpha in kinds.items():
            self._student(cell, f"student-{kind}-none", "weak-none", lam=0, **alpha)   # No TFT
            self._student(cell, f"student-{kind}-weak", "weak-tft", lam=0, **alpha)    # Weak TFT
            self._student(cell, f"student-{kind}-both", "weak-tft", **alpha)       # Weak+WTS TFT
        for lam in self._grid(cell, "student-naive-both"):
            self._student(cell, f"student-naive-lam-{lam:g}", "weak-tft", lam=lam, alpha=0)

    def _label(self, cell):
        """f_w on D_WTS; where a trust function chooses, on its rows too, with hidden states."""
        if cell.task in TRUST:
            self._labels(cell, ["weak-none"], ["wts", "trust"], hidden=True)
            if self.every:
                self._labels(cell, ["weak-second"], ["wts"])
            if self.every and cell.task == "arithmetic" and "mcqa" in self.tasks:
                # to learn from another task's answers what to trust
                questions = self._cell("mcqa", cell.seed)
                self._add("label.py", f"{self._name(cell)} mcqa labels", "arithmetic", "labels", {
                    "--task": "mcqa", "--run": cell.R / "weak-none",
                    "--data": questions.D / "trust.jsonl", "--hidden": []})
        elif cell.task in self.crossed:
            self._labels(cell, ["weak-none", "weak-tft"], ["wts", "trust"], hidden=True)
        else:
            self._labels(cell, ["weak-none", "weak-tft"], ["wts"])

    # ---- measurements ----------------------------------------------------------------------------

    def _attack(self, cell):
        """The property's attacks on each model itself, in groups: each is a command of its own."""
        groups = [("students", [f"student-{kind}-{key}" for kind in ("naive", "aux")
                                for key in ("none", "weak", "both")]),
                  ("ceilings", ["ceiling-none", "ceiling-tft"]),
                  ("weak", ["weak-none", "weak-tft"])]
        if cell.task == "adversarial":
            synonyms = self._synonyms()
            for name, runs in groups:
                self._add("attacks.py text", f"{self._name(cell)} {name} attacked", cell.task,
                          "attack-text", {"--task": cell.task, "--data": cell.D / "test.jsonl",
                                          "--run": [cell.R / run for run in runs],
                                          **self._attack_limit()}, synonyms)
        if cell.task == "privacy":
            groups = [("students", [run for run in groups[0][1] if "naive" in run]),
                      ("ceilings", [*groups[1][1], *self._runs(cell, "ceiling-lam-*"),
                                    "base-strong"]), ("weak", [*groups[2][1], "base-weak"])]
            for kind in ("extraction", "membership"):
                for name, runs in groups:
                    self._attack_mails(cell, name, kind, runs)

    def _measure(self, cell):
        """All runs on test rows; those among which lambda is chosen on validation rows too."""
        controls = self._runs(cell, "base-*")
        students = [run for run in self._runs(cell, "student-*") if "-lam-" not in run
                    and not run.endswith("-ntf")]
        grids = {run: self._runs(cell, f"{run}-lam-*")
                 for run in ("weak", "student-naive", "ceiling")}
        main = [*self._runs(cell, "weak-none"), *self._runs(cell, "weak-tft"), *students, *controls]
        ceilings = [run for run in self._runs(cell, "ceiling-*") if "-lam-" not in run]
        chosen_among = [*ceilings, *grids["ceiling"]]
        if grids["weak"]:
            chosen_among += ["weak-none", "weak-tft", *grids["weak"]]
        if grids["student-naive"]:
            chosen_among += ["student-naive-weak", "student-naive-both", *grids["student-naive"]]
        self._evaluate(cell, "models", [run for run in main if run not in chosen_among], ["test"])
        self._evaluate(cell, "lambdas", chosen_among,
                       ["test", "val"] if self.has_validation(cell) else ["test"])

    def _measure_trusted(self, cell):
        runs = [*self._runs(cell, "base-strong*"), *self._runs(cell, "student-*")]
        self._evaluate(cell, "models", ["weak-none", *runs], ["test"])

    def _measure_crossed(self, cell):
        self._evaluate(cell, "on trusted labels", [
            f"student-naive-{key}-ntf" for key in ("none", "weak", "both")], ["test"])

    # ---- the town's perturbed texts --------------------------------------------------------------

    def _perturb(self):
        """Each of three models is fine-tuned on clean texts and attacked: one that no run is made
        of, whose rows are the headline, and the two base models of the experiment."""
        world, synonyms = self.made / "world", self._synonyms()
        bases = {"independent": self.surrogate, "weak": self.weak, "strong": self.strong[0]}
        for name, base in bases.items():
            run = self.out / "surrogates" / name
            self._add("train_weak.py", f"surrogate {name}", "adversarial", f"surrogate-{name}", {
                "--task": "adversarial", "--seed": SURROGATE_SEED, "--out": run, "--model": base,
                "--data": world / "clean.jsonl", "--lam": 0}, trained=True)
        for name in bases:
            for part, victims, methods in (("words", "victims", ["typos", "synonyms"]),
                                           ("remarks", "remarked", ["distraction"])):
                self._add("attacks.py text", f"{part} against {name}", "adversarial",
                          "attack-surrogate", {
                              "--task": "adversarial", "--run": self.out / "surrogates" / name,
                              "--data": world / f"{victims}.jsonl", "--methods": methods,
                              "--out": world / "attacked" / name / f"{part}.jsonl",
                              **(synonyms if part == "words" else {})})
        self._add("w2s.miniature perturbed", "perturbed texts", "adversarial", "perturbed",
                  {"--out": self.made})

    def _synonyms(self):
        """--synonyms of a text attack: the user's, the town's in the miniature, else none."""
        if self.options.synonyms:
            return {"--synonyms": placed(self.options.synonyms)}
        return {"--synonyms": self.made / "world" / "synonyms.json"} \
            if self.preset == "miniature" else {}
