"""What trust functions add to an experiment (w2s.phases): choices of labels, their students, the
chain. Uzunoglu et al., arXiv 2606.01000.
"""

from w2s.commands import Commands, before, has_mmlu

# by which score a student's labels are chosen: the columns of the paper's main table, and controls
SCORES = ("confidence", "icl-confidence", "reward", "random", "ntf", "truth-n", "truth")
JUDGED = ("margin", "entropy")  # rank labels nearly as confidence does: no student
# other training than the recipe's, for one seed: the paper's LoRA of questions, GRPO of solutions
GRPO = ("grpo", {"objective": "grpo", "lr": 1e-3, "epochs": 2})
OTHERWISE = {"mcqa": ("lora", {"lora-rank": 8, "lr": 1e-2}), "arithmetic": GRPO, "game": GRPO}
MOST = 8  # generations of the chain
SECOND_SEED = 2000  # added to the seed of a second teacher: no seed of the experiment


def budgets(text):
    """[number of labelled rows, ...] of --budgets."""
    words = text.split(",") if text else []
    for word in words:
        if not word.isdecimal() or not int(word):
            raise ValueError(f"--budgets {text}: expected numbers of rows, as in 100,300")
    return sorted({int(word) for word in words})


class TrustPhases(Commands):
    """The phases of a task of trust functions, and of a property whose students get trusted labels.
    It reads preset, every, weak, strong, raw, generations and budgets of the Experiment."""

    def _teacher(self, cell):
        """The teacher, and the untuned students, the base of Recovery; a second teacher, where the
        agreement of both is a score."""
        self._train(cell, "weak-none", self.weak, cell.D / "weak.jsonl")
        if self.every:
            self._train(cell, "weak-second", self.weak, cell.D / "weak.jsonl",
                        seed=cell.seed + SECOND_SEED)
        for end, base in self._sizes():
            self._train(cell, f"base-strong{end}", base, cell.D / "weak.jsonl", epochs=0)

    def _sizes(self):
        """(end of a name, model) of the student, and of each larger one in the chain."""
        larger = [g for g in self.generations if self._size(g) != self._size(g - 1)]
        return [("", self.strong[0]), *((f"-gen{g}", self._size(g)) for g in larger)]

    def _size(self, generation):
        """Of --strong M,M2,... each generation's student is the next, then the last stays."""
        return self.strong[min(generation - 1, len(self.strong) - 1)]

    def _choices(self, cell):
        """A choice of labels by each score, and by what was learned from other questions."""
        for by in (*SCORES, *JUDGED):
            self._choose(cell, f"trust-{by}", "weak-none", by)
        if self.every:
            self._choose(cell, "trust-consistency", "weak-none", "consistency")
            self._choose(cell, "trust-agreement", "weak-none", "agreement", **{
                "--second": cell.R / "weak-second" / "labels" / "wts.jsonl"})
        self._choose(cell, "trust-ntf-both", "weak-none", "ntf", **{"--features": "both"})
        zero = {"miniature": "people", "paper": "mmlu"}.get(self.preset)
        if cell.task == "mcqa" and zero and (self.preset != "paper" or has_mmlu(self.raw)):
            self._choose(cell, "trust-ntf-zero-shot", "weak-none", "ntf",
                         **{"--sources": zero, "--unseen": []})
            self._choose(cell, "trust-labelled-zero-shot", "weak-none", "labelled",
                         **{"--sources": zero})
        if cell.task == "arithmetic" and self.every and "mcqa" in self.tasks:
            self._choose(cell, "trust-ntf-other-task", "weak-none", "ntf", learned="mcqa-trust")
        for end, budget in self._budgets():
            self._choose(cell, f"trust-labelled{end}", "weak-none", "labelled", **budget)
            self._choose(cell, f"trust-labelled-ntf{end}", "weak-none", "ntf",
                         **{"--add-labelled": []}, **budget)
            if budget:
                self._choose(cell, f"trust-ntf{end}", "weak-none", "ntf", **budget)

    def _budgets(self):
        """(end of a name, flags) of all labelled rows, and of each smaller budget of them."""
        return [("", {}), *((f"-n{n}", {"--budget": n}) for n in self.budgets)]

    def _trusted_students(self, cell):
        """A student of each choice of labels, of all of them, and of the labelled rows themselves;
        students on all true labels, one for each way of training: Recovery is measured by it."""
        self._student(cell, "student-all", "weak-none")
        for by in (*SCORES, *(("consistency", "agreement") if self.every else ())):
            self._student(cell, f"student-{by}", f"trust-{by}")
        for end, base in self._sizes()[1:]:
            self._student(cell, f"student-truth{end}", "trust-truth", base)
        if self._runs(cell, "trust-ntf-zero-shot", trained=False):
            for by in ("ntf", "labelled"):
                self._student(cell, f"student-{by}-zero-shot", f"trust-{by}-zero-shot")
        for end, budget in self._budgets():
            for by in ("labelled", "labelled-ntf", *(("ntf",) if budget else ())):
                self._student(cell, f"student-{by}{end}", f"trust-{by}{end}")
        # in paper all students are trained so, in real none
        if self.preset not in ("paper", "real") and not cell.seed:
            way, how = OTHERWISE[cell.task]
            for by in ("ntf", "truth"):
                self._student(cell, f"student-{by}-{way}", f"trust-{by}", **how)
        if self.every and cell.task == "mcqa":  # docs/mechanisms.md
            self._student(cell, "student-ntf-easy", "trust-ntf", order="easy")

    def _relabel(self, cell, generation):
        """The student of the generation before labels the same rows, as the teacher of this one."""
        for end in self._taus(generation):
            student = before(generation, end)
            if not end or generation > 2:  # both chains begin with the same student
                self._labels(cell, [student], ["wts", "trust"][:2 - bool(end)], hidden=not end)
            if end:  # the first teacher reads them: its trust function knows no other states
                self._add("label.py", f"{self._name(cell)} labels read", cell.task, "labels", {
                    "--task": cell.task, "--run": cell.R / "weak-none", "--given": [],
                    "--data": cell.R / student / "labels" / "wts.jsonl", "--hidden": []})

    def _taus(self, generation):
        """Ends of names: the trust function anew, and where it is asked for the old one."""
        return ("", "-same-tau") if generation == 2 or self.every else ("",)

    def _rechoose(self, cell, generation):
        self._choose(cell, f"trust-gen{generation}", before(generation), "ntf")
        for end in self._taus(generation)[1:]:
            student = before(generation, end)
            self._choose(cell, f"trust-gen{generation}{end}", "weak-none", "ntf",
                         pool=f"{student}-wts", **{"--ntf": cell.R / "trust-ntf"})

    def _restudy(self, cell, generation):
        for end in self._taus(generation):
            student = before(generation, end)
            self._student(cell, f"student-gen{generation}{end}", f"trust-gen{generation}{end}",
                          self._size(generation), file=f"{student}-wts" if end else "wts")

    def _crossed_choices(self, cell):
        for teacher in ("none", "tft"):
            self._choose(cell, f"trust-ntf-{teacher}", f"weak-{teacher}", "ntf")

    def _crossed_students(self, cell):
        """The naive students of the three strategies, on trusted labels."""
        self._student(cell, "student-naive-none-ntf", "trust-ntf-none", lam=0, alpha=0)
        self._student(cell, "student-naive-weak-ntf", "trust-ntf-tft", lam=0, alpha=0)
        self._student(cell, "student-naive-both-ntf", "trust-ntf-tft", alpha=0)
