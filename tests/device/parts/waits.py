"""How often a step makes the CPU wait for the card: training scripts as they are, and generation.

On a card torch counts (set_sync_debug_mode). A pretended one is asked where its tensors are: what
C++ does by itself is not seen. `after`, which logs and saves, does not count.
"""

import contextlib
import json
import random
import statistics
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode

from tests import several
from tests.bench import growth, models
from tests.device import measure
from w2s import device as devices
from w2s import memory, training
from w2s.model import checkpoint, decoding

WORDS = "harbour lantern orchard market kettle violin ferry garden bridge parade".split()
KINDS = {  # {kind of step: (script, its arguments, how often it may wait)}
    "class": ("train_weak", "--task ood --lam 0", 0),
    "class, noise": ("train_weak", "--task ood --lam .002", 0),
    "class, confidence loss": ("train_student", "--task ood --lam 0 --alpha .25 --warmup 0", 0),
    "class, pairs and confidence": (
        "train_student", "--task adversarial --lam .3 --alpha .1 --warmup 0", 0),
    "lm": ("train_weak", "--task privacy --lam 0", 0),
    "lm, private": ("train_weak", "--task privacy --lam 8", 1)}  # is a row's gradient finite?
VALUES = ("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "nonzero", "argwhere",
          "unique", "masked_select", "equal", "allclose", "numpy", "__array__")
MOVES = ("to", "cpu", "cuda", "copy_", "tensor")


def run(rec):
    device, of = measure.card(rec)
    counter = Counting(rec)
    with tempfile.TemporaryDirectory(prefix="waits-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        base = models.drawn(models.config_of(of("14m", "tiny")), "lm", torch.device("cpu"))
        checkpoint.save(base, folder / "model", growth.TOKENIZER)
        write_rows(folder, of(320, 40))
        if rec.pretended:  # so that few logits take the way of many
            stack.enter_context(mock.patch.dict(memory.LOGITS_AT_ONCE, {False: 2 ** 13}))
            stack.enter_context(mock.patch.dict(memory.LOGITS_HELD, {False: 2 ** 15}))
        for kind, (script, flags, most) in KINDS.items():
            with rec.piece(kind):
                tell(rec, kind, trained(counter, folder, kind, script, flags.split()), most,
                     counter)
        model, new = base.to(device), of(32, 8)
        for kind, end, most in (("greedy, a token", None, 0), ("greedy with end, a token", 7, 0)):
            with rec.piece(kind):
                tell(rec, kind, [generated(counter, model, device, new, end) / new], most, counter)


def tell(rec, kind, counts, most, counter):
    rec.check(kind, statistics.median(counts), "waits", high=most)
    places = ", ".join(f"{place} {n}" for place, n in counter.places.most_common(8))
    rec.check(f"{kind}, where", places or "nowhere")


def write_rows(folder, count):
    """Rows that serve every task, half of them twice as long as the others."""
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=24 + 24 * (i % 2))) for i in range(2 * count)]
    shares = [[p, 1 - p, 0.0] for p in (draw.random() for _ in range(2 * count))]
    made = [{"id": f"r{i}", "text": texts[i], "text_adv": texts[-1 - i], "label": i % 2,
             "source": ("sst2", "qqp")[i % 2]} for i in range(count)]
    for task, wide in (("ood", 2), ("adversarial", 3), ("privacy", 2)):
        with open(folder / f"{task}.jsonl", "w") as file:
            for i, row in enumerate(made):
                row = row | {"weak": shares[i][:wide], "weak_adv": shares[-1 - i][:wide]}
                file.write(json.dumps(row | ({"source": "id"} if wide == 2 else {})) + "\n")


def trained(counter, folder, kind, script, flags):
    """Waits of each step of a training script, the first three left out."""
    marks, after = [], training.TrainingRun.after

    def noted(fit, *args, **named):
        marks.append(counter.found)
        with counter.off():
            after(fit, *args, **named)
    rows = folder / f"{flags[flags.index('--task') + 1]}.jsonl"
    words = [*flags, "--model", folder / "model", "--out", folder / kind, "--device", "cuda",
             "--labels" if script == "train_student" else "--data", rows, "--epochs", 1,
             "--batch-size", 5 if counter.pretended else 32, "--dtype",
             "bfloat16", "--compile", "off", "--save-every", 1]
    with mock.patch.object(training.TrainingRun, "after", noted), counter:
        code, said = several.script(script, [str(word) for word in words])
    if code:
        raise RuntimeError(f"{script}: exit status {code}: {said}")
    return [b - a for a, b in zip(marks[2:], marks[3:])]


def generated(counter, model, device, new, end):
    """Waits of a generation, the second one."""
    ids = torch.randint(1, 100, (8, 8), generator=torch.Generator().manual_seed(0)).to(device)
    lengths = torch.full((8,), 8).to(device)
    for _ in "12":
        with counter, devices.autocast(device, "bfloat16"):
            decoding.generate(model, ids, lengths, new, end=end)
    return counter.found


class Counting:
    """A context in which waits are counted, from 0: `found`, and `places` {file:line: how often}."""

    def __init__(self, rec):
        self.pretended, self.card = rec.pretended, getattr(rec, "card", None)
        self.found, self.places, self.counts = 0, Counter(), True

    @contextlib.contextmanager
    def off(self):
        self.counts = False
        try:
            yield
        finally:
            self.counts = True

    def note(self, place):
        if self.counts:
            self.found += 1
            self.places[place] += 1

    def warned(self, message, category, filename, lineno, *_):
        if "synchronizing CUDA operation" in str(message):
            self.note(f"{Path(filename).name}:{lineno}")

    def __enter__(self):
        self.found, self.places, self.stack = 0, Counter(), contextlib.ExitStack()
        if self.pretended:
            self.stack.enter_context(Asked(self))
            return self
        self.stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always")
        warnings.showwarning = self.warned
        torch.cuda.set_sync_debug_mode("warn")
        self.stack.callback(torch.cuda.set_sync_debug_mode, "default")
        return self

    def __exit__(self, *error):
        self.stack.close()


class Asked(TorchFunctionMode):
    """Counts what makes the CPU wait for a pretended card: numbers that are read from it, and
    copies to and from memory that is not pinned."""

    def __init__(self, counter):
        super().__init__()
        self.counter = counter

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, kwargs = getattr(function, "__name__", ""), kwargs or {}
        x = args[0] if args and isinstance(args[0], torch.Tensor) else None
        before = self.place(x)
        out = function(*args, **kwargs)
        asks = name in VALUES or name == "__getitem__" and any(
            isinstance(each, torch.Tensor) and each.dtype == torch.bool
            for each in (args[1] if isinstance(args[1], tuple) else args[1:]))
        moves = name in MOVES and isinstance(out, torch.Tensor) and self.place(out) != (
            self.place(args[1]) if name == "copy_" else before)
        if moves and not (kwargs.get("non_blocking") or name == "to" and True in args) or (
                asks and before != "cpu"):
            self.counter.note(caller())
        return out

    def place(self, x):
        """"cpu", "cuda", or what is not known, which autograd made, "cuda" too."""
        if x is None:
            return "cpu"
        found = self.counter.card.place(x)
        return "cuda" if found is None else found.type


def caller():
    """The line of ours that is being run."""
    ours = [frame for frame in traceback.extract_stack() if "/w2s/" in frame.filename]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "elsewhere"
