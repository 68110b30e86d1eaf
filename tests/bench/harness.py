"""Variants of one piece of work, called in turn in one process, and the table that results.

Every round calls each variant once, beginning with another one each time, after two calls of
warm-up; the first of these, which may compile, is timed apart. A ratio is the median of the
rounds' own ratios, and its quartiles; a time is what the machine did just now.
"""

import gc
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Callable, NamedTuple

import torch

from tests.bench import machine


@dataclass
class Setting:
    """What a section is measured with. shipped: how PyTorch multiplies in float32 unless told."""

    shape: str = "14m"
    dtype: str = "float32"
    device: torch.device = torch.device("cpu")
    shipped: object = None
    rounds: int = 7
    compile: bool = False
    memory: bool = True
    only: list = field(default_factory=list)


class Variant(NamedTuple):
    """build() -> run; run() -> what the case's `error` looks at."""

    build: Callable
    how: str = ""                # dtype, attention, route of products
    lacks: str | None = None     # why it is not run here
    scale: float = 1.0           # times that a call counts


@dataclass
class Case:
    """One table. bases: the variants, ours, whose speed the others are measured by. error(first
    result, second result) -> how far they are off. flops: of one call."""

    section: str
    title: str
    variants: dict
    bases: tuple
    error: Callable = lambda first, second: None
    flops: float | None = None
    memory: tuple | None = None  # names; None: all of them
    note: str = ""


@dataclass
class Table:
    """columns: what the markdown shows; rows: {column: value}, more in the json."""

    section: str
    title: str
    columns: list
    rows: list
    note: str = ""
    dtype: str = "float32"
    seconds: float = 0.0


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- arithmetic ----------------------------------------------------------------------------------

def quartiles(values):
    """(first quartile, median, third quartile); of a single value, too."""
    return tuple(statistics.quantiles(list(values) * 2, n=4, method="inclusive"))


def ratio(spent, base):
    """Quartiles of what a variant takes in times of what `base` takes, round by round: above 1 the
    base is faster."""
    return quartiles(a / b for a, b in zip(spent, base, strict=True))


def alternate(runs, rounds, timer):
    """{name: [timer(run) of every round]}, each round beginning with the next one."""
    times, names = {name: [] for name in runs}, list(runs)
    for k in range(rounds):
        at = k % max(1, len(names))
        for name in names[at:] + names[:at]:
            times[name].append(timer(runs[name]))
    return times


# ---- a table -------------------------------------------------------------------------------------

def measure(case, setting):
    """The Table of a case."""
    began, device = time.monotonic(), setting.device
    say(f" {case.title}")
    wanted = {name: v for name, v in case.variants.items()
              if not setting.only or name in setting.only}
    rows, runs = {}, {}
    for name, variant in wanted.items():
        rows[name] = {"variant": name, "how": variant.how}
        try:
            if variant.lacks:
                raise ModuleNotFoundError(variant.lacks)
            runs[name] = warm(variant, rows[name], case.error, device)
        except (torch.OutOfMemoryError, ModuleNotFoundError) as error:
            rows[name]["error"] = variant.lacks or str(error)[:40]
        say(f"  {name}: {rows[name].get('first s', 0):.1f} s")
    gc.collect()
    times = alternate(runs, setting.rounds, lambda run: machine.seconds(run, device))
    for name, variant in wanted.items():
        if name in times:
            times[name] = [variant.scale * spent for spent in times[name]]
    for name, spent in times.items():
        rows[name] |= summary(spent, times, case)
    if setting.memory:
        note_memory(rows, runs, case, setting)
    columns = ["variant", "how", "ms", "IQR", *(f"x {b}" for b in case.bases if b in times)]
    columns += ["first s"]
    columns += ["GF/s", "of ceiling"] if case.flops else []
    columns += ["MB", *(f"MB x {b}" for b in case.bases if b in times)] if setting.memory else []
    return Table(case.section, case.title, [*columns, "error"], list(rows.values()),
                 case.note, setting.dtype, time.monotonic() - began)


def warm(variant, row, error, device):
    """Call a variant twice, and note how long the first call took and how far it was off."""
    run = variant.build()
    start = time.perf_counter()
    first = run()
    machine.wait(device)
    row["first s"] = time.perf_counter() - start
    row["error"] = error(first, run())
    return run


def summary(spent, times, case):
    """The numbers of one row."""
    low, middle, high = quartiles(spent)
    found = {"ms": 1e3 * middle, "IQR": (high - low) / middle, "times": spent}
    found |= {f"x {base}": ratio(spent, times[base]) for base in case.bases if base in times}
    if case.flops:
        found["GF/s"] = case.flops / middle / 1e9         # the session adds the share
    return found


def note_memory(rows, runs, case, setting):
    """Add to the rows what a call takes beyond what was there before it, on a CPU in a fresh
    process each."""
    on_cuda = setting.device.type == "cuda"
    names = [name for name in runs if (case.memory is None or name in case.memory)
             and not (on_cuda and "compiled" in name)]  # what a graph takes is in its pool already
    for name in names:
        found = (machine.peak(runs[name], setting.device) if on_cuda else
                 peak_apart(name, case, setting))
        if found:
            rows[name]["MB"] = found / 1e6
    for name in names:
        for base in case.bases:
            if "MB" in rows[name] and "MB" in rows.get(base, ()):
                rows[name][f"MB x {base}"] = rows[name]["MB"] / rows[base]["MB"]


def peak_apart(name, case, setting):
    """The peak of a call in a fresh process that gives freed blocks back at once; None if it
    fails."""
    command = [sys.executable, "-m", "tests.bench", "--sections", case.section, "--shape",
               setting.shape, "--dtype", setting.dtype, "--device", "cpu", "--memory",
               case.title, name, "--compile", "on" if setting.compile else "off"]
    thresholds = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    found = subprocess.run(command, env=os.environ | thresholds, text=True, cwd=machine.ROOT,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return int(found.stdout.split()[-1]) if found.returncode == 0 else None


def peak_of(cases, title, name, device):
    """The same in this process, which was started for it."""
    [case] = [case for case in cases if case.title == title]
    run = case.variants[name].build()
    run(), run()
    return machine.peak(run, device)
