"""How often a step makes the CPU wait for the card: training scripts as they are, and generation.

On a card torch notes it (set_sync_debug_mode), with the line of ours; a pretended one notes what it
is asked for (tests/pretend.py). Between steps, where a run logs and saves, nothing counts.
"""

import contextlib
import json
import random
import statistics
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from unittest import mock

import torch

from tests import several
from tests.device import measure
from w2s import device as devices
from w2s import memory, training
from w2s.model import decoding

WORDS = "harbour lantern orchard market kettle violin ferry garden bridge parade".split()
KINDS = {  # {kind of step: (script, its arguments, how often it may wait)}
    "class": ("train_weak", "--task ood --lam 0", 0),
    "class, noise": ("train_weak", "--task ood --lam .002", 0),
    "class, confidence loss": ("train_student", "--task ood --lam 0 --alpha .25 --warmup 0", 0),
    "class, pairs and confidence": (
        "train_student", "--task adversarial --lam .3 --alpha .1 --warmup 0", 0),
    "lm": ("train_weak", "--task privacy --lam 0", 0),
    "lm, private": ("train_weak", "--task privacy --lam 8", 1)}  # is a row's gradient finite?
SPOKEN = "synchronizing CUDA operation"


def run(rec):
    device, of = measure.card(rec)
    with tempfile.TemporaryDirectory(prefix="waits-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        base = measure.saved("tiny", folder / "model")
        write_rows(folder, of(320, 30))
        # so that the logits of a tiny model take the way of many
        stack.enter_context(mock.patch.dict(memory.LOGITS_AT_ONCE, {False: 2 ** 13}))
        stack.enter_context(mock.patch.dict(memory.LOGITS_HELD, {False: 2 ** 15}))
        noted = stack.enter_context(waits(rec))
        for kind, (script, flags, most) in KINDS.items():
            with rec.piece(kind):
                steps = trained(noted, folder, kind, script, flags.split(), of(32, 5))
                rec.check(kind, statistics.median(map(len, steps)), "waits", high=most)
                where(rec, kind, sum(steps, []))
        model, new = base.to(device), of(64, 32)
        for kind, end, most in (("greedy, a token", None, 0), ("greedy with end, a token", 7, .1)):
            with rec.piece(kind):
                half, whole = (generated(noted, model, device, n, end) for n in (new // 2, new))
                rec.check(kind, (len(whole) - len(half)) / (new - new // 2), "waits", high=most)
                where(rec, kind, whole)


@contextlib.contextmanager
def waits(rec):
    """A list to which each wait is added while the context lasts: of a card the line of ours that
    waited, of a pretended one what it was asked for."""
    if rec.pretended:
        yield rec.card.waits
        return
    found = []

    def warned(message, category, filename, lineno, *_):
        if SPOKEN in str(message):
            found.append(f"{Path(filename).name}:{lineno}")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = warned
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")


def where(rec, kind, places):
    found = ", ".join(f"{place} {n}" for place, n in Counter(places).most_common(8))
    rec.check(f"{kind}, where", found or "nowhere")


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


def trained(noted, folder, kind, script, flags, rows):
    """The waits of each step of a training script, the first three left out."""
    steps, after, begin = [], training.TrainingRun.after, [0]

    def next_step(fit, *args, **named):
        steps.append(noted[begin[0]:])
        after(fit, *args, **named)
        begin[0] = len(noted)
    data = folder / f"{flags[flags.index('--task') + 1]}.jsonl"
    words = [*flags, "--model", folder / "model", "--out", folder / kind, "--device", "cuda",
             "--labels" if script == "train_student" else "--data", data, "--epochs", 1,
             "--batch-size", rows, "--dtype", "bfloat16", "--compile", "off", "--save-every", 1]
    with mock.patch.object(training.TrainingRun, "after", next_step):
        code, said = several.script(script, [str(word) for word in words])
    if code:
        raise RuntimeError(f"{script}: exit status {code}: {said}")
    return steps[3:]


def generated(noted, model, device, new, end):
    """The waits of a generation, the second one."""
    ids = torch.randint(1, 100, (8, 8), generator=torch.Generator().manual_seed(0)).to(device)
    lengths = torch.full((8,), 8).to(device)
    for _ in "12":
        begin = len(noted)
        with devices.autocast(device, "bfloat16"):
            decoding.generate(model, ids, lengths, new, end=end)
    return noted[begin:]
