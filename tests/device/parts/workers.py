"""Training scripts as the scheduler runs them: one command at a time, two at a time on one card;
and one that is killed and goes on."""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

from tests.bench import growth, machine
from tests.device import measure
from w2s import cards, runs

LOSSES = .01               # relative: sums of several processes on a card may differ in their order
MEMORY = 2.1               # times that of one command
GOES_ON = re.compile(r"goes on at step (\d+)")


def run(rec):
    device, of = measure.card(rec)
    with tempfile.TemporaryDirectory(prefix="workers-") as name:
        folder = Path(name)
        measure.saved(of("14m", "tiny"), folder / "model")
        growth.sentences(folder / "rows.jsonl", of(5120, 96))
        with rec.piece("one and two at a time"):
            side_by_side(rec, folder, device, of(8, 2))
        with rec.piece("killed"):
            killed(rec, folder, device)


def words(folder, out, device, seed, *more):
    """A training command, without the interpreter."""
    return ["train_weak.py", "--task", "ood", "--model", str(folder / "model"), "--data",
            str(folder / "rows.jsonl"), "--out", str(folder / out), "--seed", str(seed), "--lam",
            "0", "--epochs", "2", "--batch-size", "32", "--compile", "off", "--device",
            device.type, "--dtype", "bfloat16" if device.type == "cuda" else "float32", *more]


def side_by_side(rec, folder, device, count):
    """The same commands by one worker and by two."""
    spent, held, losses = {}, {}, {}
    for jobs in (1, 2):
        lines = "".join(f"python {' '.join(words(folder, f'{jobs}/{k}', device, k))}\n"
                        for k in range(count))
        gpus = ["--gpus", "1"] if device.type == "cuda" and cards.visible() else []
        began = time.monotonic()
        with used(device) as most:
            done = subprocess.run([sys.executable, "-m", "w2s.scheduler", "--jobs", str(jobs),
                                   *gpus], input=lines, text=True, cwd=machine.ROOT)
        spent[jobs], held[jobs] = time.monotonic() - began, max(most)
        rec.check(f"{count} commands, {jobs} at a time, exit status", done.returncode, low=0,
                  high=0, hard=True)
        losses[jobs] = [last_loss(folder / str(jobs) / str(k)) for k in range(count)]
        rec.row(shape="14m", head="class", dtype="bfloat16", mode=f"{jobs} at a time",
                ms=1e3 * spent[jobs], gb=held[jobs] / 1e9)
    rec.check("losses, two at a time", apart(losses[2], losses[1]), high=LOSSES, hard=True)
    rec.check("memory of two", held[2] / held[1] if held[1] else None, "of one", high=MEMORY,
              hard=True, hardware=True)
    rec.check("two at a time", spent[1] / spent[2], "times as fast", low=1.5, hardware=True)


def killed(rec, folder, device):
    """A command that is killed behind its first checkpoint, and repeated."""
    command = [sys.executable, *words(folder, "killed", device, 0, "--save-every", ".2")]
    saved = folder / "killed" / runs.CHECKPOINT
    with subprocess.Popen(command, cwd=machine.ROOT) as process:
        while process.poll() is None and not saved.exists():
            time.sleep(.005)
        process.kill()
    done = subprocess.run(command, cwd=machine.ROOT, text=True, stdout=subprocess.PIPE)
    print(done.stdout)
    place = GOES_ON.search(done.stdout)
    rec.check("killed, then again: exit status", done.returncode, low=0, high=0, hard=True)
    rec.check("killed, went on at step", int(place[1]) if place else "0: no checkpoint was seen")
    rec.check("killed, loss", apart([last_loss(folder / "killed")], [last_loss(
        folder / "1" / "0")]), high=LOSSES, hard=True)


def last_loss(run):
    return json.loads((run / "log.jsonl").read_text().splitlines()[-1])["loss"]


def apart(found, expected):
    """The largest relative difference."""
    return max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))


@contextlib.contextmanager
def used(device):
    """A list of the bytes that are taken of the card, beyond those taken at the beginning; [0]
    without a card."""
    found, end = [0], threading.Event()
    if device.type != "cuda":
        yield found
        return
    before = torch.cuda.mem_get_info()[0]

    def look():
        while not end.wait(.05):
            found.append(before - torch.cuda.mem_get_info()[0])
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        end.set()
        thread.join()
