"""How long commands take that nobody has timed: floating-point operations, counted. No torch here.

A forward pass of one token through L blocks of B weights and D numbers, among T tokens, with a head
of H weights (classes: none; a language model: vocabulary times D):

    2 (L B + H) + 4 L T D        products with weights; scores and sums of attention

    training                     three passes over every row in each epoch, privately four; with a
                                 perturbed text beside each row twice; GRPO: of each prompt --group
                                 answers are written and learned from
    labels, measures             a pass over each row; of answers that are written one more a token
    attacks, trust               as many passes over a row as stand in PASSES

A row has a token for four characters of its text, at most --max-length. Rows are those of the files
once these are prepared; before that, those of the public sets in full (ROWS) or of the miniature,
times what the files that are there have in their place. A Machine says how long that takes: its
sustained rate, and what every step costs however small it is. The numbers of a Machine are assumed,
not measured: of CPUs half, of GPUs a third of what products of large matrices reach on common ones,
so that large models may be faster and small ones slower. That of CORE16 is what an experiment had:
120e9 operations a second on a core (OOD of preset real).
"""

import functools
import math
import os
import re
from pathlib import Path
from typing import NamedTuple

from w2s.durations import script, value, values
from w2s.memory import parameters
from w2s.model.configuration import published

# Rows of the public sets as they are prepared: weak model, student, test; tokens of a row
ROWS = {"fairness": (18560, 18560, 9280, 85), "ood": (28600, 28600, 11200, 20),
        "adversarial": (15000, 15000, 7500, 60), "privacy": (10000, 10000, 5000, 128),
        "mcqa": (5200, 9100, 5200, 105), "arithmetic": (1900, 3300, 1900, 160),
        "game": (1900, 3300, 1900, 100)}
USUAL = ROWS["fairness"]  # of a property of one's own
TOWN = {"fairness": (3040, 3040, 1520, 45), "ood": (1950, 1950, 1500, 45),  # the miniature's
        "adversarial": (860, 860, 430, 45), "privacy": (190, 190, 95, 128),
        "mcqa": (1180, 2070, 1180, 45), "arithmetic": (800, 1400, 800, 45),
        "game": (800, 1400, 800, 45)}
SPLITS = {"weak": 0, "wts": 1, "test": 2, "trust": 2, "val": 2}  # whose rows count: of val too many
# Passes over a row: guesses of a text attack; windows and --candidates; the reference model too
PASSES = {"text": 60, "extraction": 20, "membership": 2, "icl-confidence": 5, "reward": 9,
          "consistency": 8}
# in a task's file
EPOCHS, KIND = re.compile(r'"epochs": \(([\d.]+)'), re.compile(r'^KIND\b.* = "(\w+)"', re.MULTILINE)
MADE = re.compile(r"-(\d+)x(\d+)$")  # a model of layers x width that is still to be made
TASKS = Path(__file__).parent / "tasks"


class Machine(NamedTuple):
    """What one command has: operations a second, seconds of a block in a step however few these
    are, seconds to start."""
    rate: float
    launch: float
    start: float


CORE = Machine(40e9, 3e-4, 1)   # a core of a CPU, float32: products of large matrices reach 80e9
CORE16 = CORE._replace(rate=120e9)  # a core with instructions for bfloat16
CARD = Machine(100e12, 5e-4, 5)  # a GPU, bfloat16: an A100's tensor cores are sold as 312e12


class Work(NamedTuple):
    """Operations, and steps times blocks."""
    flops: float
    launches: float


class Costs:
    """The cost of each command of a plan. shape(name, revision): config.json of a model or None;
    machine: what one of the commands has."""

    def __init__(self, commands, shape, machine=CORE):
        self.machine, self.shape_now, self.folders, self.models = machine, shape, {}, {}
        self.usual, self.limits = ROWS, {}
        self.known, self.counted = {}, {}  # seconds of commands; (rows, tokens) of prepared files
        for words in (command.words for command in commands):
            if "w2s.prepare" in words[:2] and value(words, "--task"):
                place = value(words, "--out") or value(words, "--data")
                self.folders.setdefault(value(words, "--task"), []).append(Path(place))
                self.limits[value(words, "--task")] = float(value(words, "--limit") or math.inf)
            elif words[:3] == ["-m", "w2s.miniature", "world"]:
                self.usual = TOWN
            elif value(words, "--model") and value(words, "--out"):
                self.models[value(words, "--out")] = value(words, "--model")
        self.renew()

    def renew(self):
        """Look anew which rows are prepared and which models are made."""
        self.known.clear()
        self.shape = functools.cache(self.shape_now)
        for task, folders in self.folders.items():
            for split in SPLITS:
                file = next((place for folder in folders
                             if (place := folder / f"{split}.jsonl").is_file()), None)
                if file and (task, split) not in self.counted:
                    count = max(1, file.read_bytes().count(b"\n"))
                    # the keys of a row take about 90 characters beside its text
                    tokens = max(4, (file.stat().st_size / count - 90) / 4)
                    self.counted[task, split] = count, tokens

    def seconds(self, command):
        """Those of a command on the machine."""
        if command.number not in self.known:
            work = self.work(command.words)
            self.known[command.number] = (
                self.machine.start + work.flops / self.machine.rate
                + work.launches * self.machine.launch)
        return self.known[command.number]

    def work(self, words):
        """The Work of a command; none of one that runs no model."""
        name, task = script(words), value(words, "--task")
        if name in ("train_weak.py", "train_student.py"):
            return self.training(words, task)
        if name in ("label.py", "evaluate.py"):
            return self.runs(words, task, 1)
        if name == "attacks.py":
            return self.runs(words, task, PASSES.get(words[1], 1), value(words, "--limit"))
        if name == "train_ntf.py" and value(words, "--select") in PASSES:
            model = self.models.get(value(words, "--teacher"))
            task = Path(value(words, "--teacher")).parts[-3:][0]
            count, tokens = self.rows(task, value(words, "--pool"))
            return self.forward(model, task, PASSES[value(words, "--select")] * count, tokens)
        if "pretrain" in words[:3]:
            return self.pretraining(words)
        return Work(0, 0)

    def training(self, words, task):
        """Three passes in each epoch, or more."""
        path = value(words, "--data") or value(words, "--labels")
        count, tokens = self.rows(task, path, value(words, "--max-length"))
        lam, private = value(words, "--lam"), task == "privacy"
        regularised = lam is None or float(lam) > 0
        passes = 3 + (private and regularised)
        passes *= 2 if task == "adversarial" and regularised else 1
        if value(words, "--objective") == "grpo":
            passes *= 2 * int(value(words, "--group") or 8)
        if "/trust-" in path:  # a choice of labels: half of them, usually
            count /= 2
        epochs = float(value(words, "--epochs") or stated(task, EPOCHS, 3))
        batch = int(value(words, "--batch-size") or 32)
        return self.forward(value(words, "--model"), task, count * epochs, tokens, passes, batch,
                            value(words, "--revision"))

    def runs(self, words, task, passes, limit=None):
        """Passes of every run over every file."""
        total = Work(0, 0)
        for path in values(words, "--data"):
            count, tokens = self.rows(task, path)
            count = min(count, float(limit or count))
            for run in values(words, "--run"):
                more = self.forward(self.models.get(run), task, passes * count, tokens)
                total = Work(*map(sum, zip(total, more)))
        return total

    def pretraining(self, words):
        """Three passes over a text, in windows of 128 tokens."""
        size = sum(os.path.getsize(path) * (3 if path.endswith(".gz") else 1)
                   for path in values(words, "--text") if os.path.exists(path))
        windows = float(value(words, "--passes") or 1) * size / 4 / 128
        return self.forward(f"-{value(words, '--shape')}", "", windows, 128, 3, 16)

    def forward(self, model, task, count, tokens, passes=1, batch=32, revision=None):
        """The Work of passes over `count` rows."""
        c = self.config(model, revision)
        if not c:
            return Work(0, 0)
        count_of, L, T = parameters(c), c["num_hidden_layers"], tokens
        head = 0 if stated(task, KIND, "text") == "class" else c["hidden_size"] * c["vocab_size"]
        each = 2 * (L * count_of["block"] + head) + 4 * L * T * c["hidden_size"]
        return Work(passes * count * T * each, passes * L * count / batch)

    def config(self, model, revision):
        """config.json of a model, also of one that is still to be made; None if it is unknown."""
        made = MADE.search(str(model))
        return model and (self.shape(model, revision) or
                          made and published(int(made[1]), int(made[2]), 1, 4096))

    def rows(self, task, path, most=None):
        """(rows of a file, tokens of one). Labels have the rows that were labelled."""
        split = Path(str(path)).name.split(".")[0]
        split = split if split in SPLITS else "wts"
        full = self.full(task, split)
        count, tokens = self.counted.get((task, split)) or (full[0] * self.share(), full[1])
        return count, min(tokens, int(most or 128))

    def full(self, task, split):
        """The same of the public sets in full, or of the town's."""
        usual = self.usual.get(task, USUAL)
        return min(usual[SPLITS[split]], self.limits.get(task, math.inf)), usual[3]

    def share(self):
        """How many rows the prepared files have for one of the public sets in full."""
        found = [(count, self.full(task, split)[0])
                 for (task, split), (count, _) in self.counted.items() if split in ("weak", "test")]
        return sum(count for count, _ in found) / sum(full for _, full in found) if found else 1


@functools.cache
def stated(task, pattern, otherwise):
    """What the file of a task says, read as text: importing it would import torch."""
    path = TASKS / f"{task}.py"
    found = path.is_file() and pattern.search(path.read_text(encoding="utf-8"))
    return type(otherwise)(found[1]) if found else otherwise

