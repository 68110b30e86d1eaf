"""Section evaluate: evaluate.py over many finished runs, in one process and in one each.

The runs are copies of one mini-weak of fairness as it is (no training). `exponent` says how the
time grows with the number of runs, start-up taken off: 1 is in proportion.
"""

import json
import math
import random
import shutil
import tempfile
from pathlib import Path

from tests.bench import harness, processes
from tests.bench.harness import Table

RUNS = (4, 16, 64)
WORDS = "harbour lantern orchard market kettle violin ferry garden bridge parade".split()


def rows_of(split, n):
    """Fairness rows of invented text."""
    draw = random.Random(split)
    return [{"id": f"{split}{i}", "group": f"{split}{i}", "split": split, "a": i % 2,
             "label": draw.randint(0, 1), "text": " ".join(draw.choices(WORDS, k=30))}
            for i in range(n)]


def made(folder, runs, n=200):
    """(run folders, test rows): one run by the script, copied."""
    for split in ("weak", "test"):
        lines = [json.dumps(row) + "\n" for row in rows_of(split, n)]
        (folder / f"{split}.jsonl").write_text("".join(lines))
    processes.timed(processes.python(
        "train_weak.py", "--task", "fairness", "--model", "w2s/models/mini-weak", "--lam", "0",
        "--epochs", "0", "--data", folder / "weak.jsonl", "--out", folder / "run0"))
    found = [folder / f"run{i}" for i in range(runs)]
    for other in found[1:]:
        shutil.copytree(found[0], other)
    return found, folder / "test.jsonl"


def evaluated(runs, data, together):
    """Seconds to evaluate runs that have not been."""
    for run in runs:
        (run / "eval.json").unlink(missing_ok=True)
        shutil.rmtree(run / "predictions", ignore_errors=True)
    groups = [runs] if together else [[run] for run in runs]
    return sum(processes.timed(processes.python(
        "evaluate.py", "--task", "fairness", "--data", data, "--run", *group))[0]
        for group in groups)


def exponent(counts, times):
    """c of t = a + b n^c, with a as if the first two were in proportion. counts: three of them."""
    (n0, n1, n2), (t0, t1, t2) = counts, times
    start = t0 - (t1 - t0) / (n1 - n0) * n0
    return math.log((t2 - start) / (t1 - start)) / math.log(n2 / n1)


def tables(setting, args):
    counts = (1, 2, 4) if setting.shape == "tiny" else RUNS
    with tempfile.TemporaryDirectory() as name:
        runs, data = made(Path(name), counts[-1])
        variants = {f"{n} together": (n, True) for n in counts}
        variants |= {f"{n} apart": (n, False) for n in counts[:1]}
        evaluated(runs[:1], data, True)
        times = harness.alternate(variants, min(2, args.rounds), lambda variant: evaluated(
            runs[:variant[0]], data, variant[1]))
    medians = {title: harness.quartiles(spent)[1] for title, spent in times.items()}
    rows = [{"variant": title, "s": medians[title], "s a run": medians[title] / n,
             "times": times[title]} for title, (n, _) in variants.items()]
    base = f"{counts[0]} together"
    for row in rows:
        if row["variant"] == f"{counts[0]} apart":
            row[f"x {base}"] = harness.ratio(row["times"], times[base])
    rows[len(counts) - 1]["exponent"] = exponent(counts, [row["s"] for row in rows[:len(counts)]])
    title = "evaluate.py over runs of mini-weak, 200 test rows each"
    return [Table("evaluate", title, ["variant", "s", "s a run", f"x {base}", "exponent"], rows)]
