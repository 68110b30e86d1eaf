"""How cost grows: seconds and megabytes against rows, length, model size, seeds; the exponents.

    python -m tests.bench.growth               # small sizes, some minutes
    python -m tests.bench.growth --only label,memory
    python -m tests.bench.growth --large       # also labels 1,000,000 rows, in a fresh process

    label     labels of a file, from reading it to writing them; of random tokens, by their length
              and by the model's weights that compute (no embedding)
    train     an epoch of training steps, in the same way
    memory    peak of label.py, train_weak.py, evaluate.py, each in a fresh process, above its peak
              on 30,000 rows: what further rows take
    seeds     evaluate.py on the runs of so many seeds; w2s.report on three properties
    maths     what is computed of N scores; 10 bootstrap draws of N values

An exponent is the slope of the least-squares line through log(size), log(cost). A time is processor
time, the least of some rounds, in each of which every size is measured once. One thread, random or
tiny models. Expected is 1 and some room: attention is quadratic in the tokens of a row, sorting is
n log n, and large arrays leave the processor's cache.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from tests.bench import machine
from w2s import config, metrics, rows, statistics, tasks
from w2s.infer import classify
from w2s.model import checkpoint, gpt_neox, configuration
from w2s.train import step
from w2s.trust import score_metrics

MINI = machine.ROOT / "w2s" / "models" / "mini-weak"
TOKENIZER = MINI / "tokenizer.json"
WORDS = "warm bright clever lively rich dull stale noisy grim harbour lantern market ferry".split()
LINEAR, ATTENTION, SORTED = 1.15, 1.3, 1.35  # exponents up to here are as expected
PEAK = ("import resource, subprocess, sys\n"
        "code = subprocess.run(sys.argv[1:], stdout=-3).returncode\n"
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)")
FEW = 500               # rows that make a finished run
BASE = 30_000           # rows whose memory is subtracted: with fewer, imports make the peak


def say(text):
    print(text, file=sys.stderr, flush=True)


def exponent(sizes, costs):
    """Slope of log(cost) by log(size)."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def line(what, by, sizes, costs, unit="s", expected=LINEAR):
    """A row of the table."""
    say(f" {what} by {by}")
    slope = exponent(sizes, costs)
    return {"what": what, "by": by, "sizes": list(sizes), "unit": unit, "costs": list(costs),
            "exponent": slope, "expected": expected, "good": slope <= expected}


def timed(what, by, runs, rounds=2, expected=LINEAR):
    """The row of {size: function}: each is called once beforehand, then once a round."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(1 + rounds):
        for size, run in runs.items():
            start = time.process_time()
            run()
            best[size] = min(best[size], time.process_time() - start)
    return line(what, by, list(best), list(best.values()), expected=expected)


# ---- what is measured on -------------------------------------------------------------------------

def sentences(path, n):
    """Write n short invented rows."""
    draw = np.random.default_rng(0)
    names = draw.integers(len(WORDS), size=(n, 4))
    rows.write(path, ({"id": f"r/{i}", "text": f"the {WORDS[a]} {WORDS[b]} in part {i % 97} is a "
                       f"{WORDS[c]} {WORDS[d]}", "label": i % 2, "source": "id", "group": f"g{i}",
                       "a": i // 2 % 2} for i, (a, b, c, d) in enumerate(names.tolist())))
    return path


def tokens(n, length):
    """n rows of random tokens."""
    draw = np.random.default_rng(1)
    return {"ids": list(draw.integers(1, 50000, (n, length)).astype(np.int32)),
            "target": np.eye(2, dtype=np.float32)[draw.integers(2, size=n)]}


def classifier(shape):
    """(untrained model of a shape with a class head, its weights that compute)."""
    base = checkpoint.untrained(shape, 0)
    weights = base.state_dict()
    del weights["embed_out.weight"]
    weights["score.weight"] = torch.zeros(2, shape["hidden_size"])
    with torch.device("meta"):
        model = gpt_neox.GPTNeoX(shape, "class")
    model.load_state_dict(weights, assign=True)
    return model.to("cpu"), sum(p.numel() for p in model.gpt_neox.layers.parameters())


def shape_of(width):
    return {**configuration.SHAPES["pythia-14m"], "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_attention_heads": width // 32}


def tiny(folder):
    """A folder of an untrained model so small that the rows cost more than it does."""
    shape = {**shape_of(32), "num_hidden_layers": 1, "vocab_size": 4096}
    checkpoint.save(checkpoint.untrained(shape, 0), folder, TOKENIZER)
    return folder


def script(name, *words):
    return [sys.executable, str(machine.ROOT / name), *map(str, words), "--device", "cpu"]


def peak(command):
    """(bytes of the largest resident size, seconds) of a command in a fresh process."""
    start = time.perf_counter()
    found = subprocess.run([sys.executable, "-c", PEAK, *command], text=True, cwd=machine.ROOT,
                           stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})
    code, size = found.stdout.split()
    if code != "0":
        raise RuntimeError(f"{' '.join(command)}: exit code {code}")
    return int(size), time.perf_counter() - start


# ---- sections ------------------------------------------------------------------------------------

def label(folder):
    """Labelling by rows, length and model size."""
    import label as program
    task, model = tasks.load("ood"), checkpoint.load(MINI, "class", 2)
    cfg, run = program.Config(task="ood", run=[], data=[]), trained(folder)

    def of(n):
        path = sentences(folder / f"{n}.jsonl", n)
        return lambda: program.write(run / "labels" / "wts.jsonl", task, model, MINI,
                                     task.read(path), {"max_length": 128}, cfg)
    yield timed("label", "rows", {n: of(n) for n in (1000, 3000, 9000)})
    model, _ = classifier(shape_of(128))

    def read(model, n, length):
        columns = tokens(n, length)
        return lambda: classify.probabilities(model, columns, title="")
    yield timed("label", "tokens of a row",
                {T: read(model, 64, T) for T in (32, 64, 128, 256)}, expected=ATTENTION)
    found = [classifier(shape_of(width)) for width in (128, 256, 512)]
    yield timed("label", "weights", {n: read(model, 32, 64) for model, n in found})


def train(folder):
    """An epoch by rows, length and model size."""
    def of(model, n, length):
        columns, task = tokens(n, length), tasks.load("fairness")
        columns |= {"a": np.zeros(n, np.float32), "a_bar": np.zeros(n, np.float32)}
        steps = step.count_steps(n, 1, 16)
        go = step.make_step(model, step.adamw(model, 1e-5), task.objective, step.ground_truth, 0.0,
                            steps)

        def run():
            for k, batch in step.batches(columns, steps, 16, seed=0):
                go(k, batch)
        return run
    model, _ = classifier({**shape_of(128), "vocab_size": 50304})
    yield timed("train, an epoch", "rows", {n: of(model, n, 32) for n in (64, 128, 256)})
    yield timed("train, an epoch", "tokens of a row",
                {T: of(model, 32, T) for T in (32, 64, 128, 256)}, expected=ATTENTION)
    found = [classifier({**shape_of(width), "vocab_size": 50304}) for width in (128, 256, 512)]
    yield timed("train, an epoch", "weights", {n: of(model, 32, 64) for model, n in found})


def trained(folder):
    """A finished run of a tiny model, one step long."""
    data = sentences(folder / "few.jsonl", FEW)
    command = script("train_weak.py", "--task", "ood", "--model", tiny(folder / "tiny"), "--data",
                     data, "--out", folder / "run", "--epochs", .01, "--lam", 0)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=machine.ROOT)
    return folder / "run"


def memory(folder):
    """Peak memory of the scripts by rows."""
    run, sizes = trained(folder), (10_000, 20_000, 40_000)
    commands = {
        "label.py": lambda n, path: script("label.py", "--task", "ood", "--run", run, "--data",
                                           path),
        "train_weak.py": lambda n, path: script(
            "train_weak.py", "--task", "ood", "--model", folder / "tiny", "--data", path, "--out",
            folder / f"run-{n}", "--epochs", 32 / n, "--lam", 0),
        "evaluate.py": lambda n, path: script("evaluate.py", "--task", "ood", "--run", run,
                                              "--data", path)}
    for name, command in commands.items():
        used = [peak(command(n, sentences(folder / f"m{n}.jsonl", n)))[0]
                for n in (BASE, *(BASE + more for more in sizes))]
        above = [(more - used[0]) / 1e6 for more in used[1:]]
        yield line(f"{name}, {1e6 * above[-1] / sizes[-1]:.0f} bytes a row", f"rows beyond {BASE}",
                   sizes, above, "MB")


def seeds(folder):
    """evaluate.py and w2s.report by seeds."""
    import evaluate
    from tests.report.test_report import FAIR, LADDER, plant
    from w2s.report import __main__ as report
    run, data = trained(folder), sentences(folder / "test.jsonl", 2000)

    def measure(k):
        runs = []
        for seed in range(k):
            runs.append(str(folder / f"evaluate-{k}" / f"seed{seed}"))
            shutil.copytree(run, runs[-1])

        def go():
            for each in runs:
                Path(each, "eval.json").unlink(missing_ok=True)
            evaluate.main(evaluate.Config(task="ood", run=runs, data=[str(data)], device="cpu"))
        return go

    def tell(k):
        out = folder / f"report-{k}"
        for task, quality in (("fairness", FAIR), ("ood", LADDER), ("adversarial", LADDER)):
            plant(out, task, quality, range(k), 120)
        words = ["--runs", str(out), "--draws", "2000", "--figures", "no"]
        return lambda: report.main(config.parse(report.Config, "", words))
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        yield timed("evaluate.py", "seeds", {k: measure(k) for k in (2, 4, 8)}, 1)
        yield timed("w2s.report", "seeds", {k: tell(k) for k in (2, 4, 8)}, 1)


def maths(folder):
    """Metrics and the bootstrap by rows."""
    draw, sizes = np.random.default_rng(2), (10_000, 100_000, 1_000_000)
    score = draw.random(max(sizes))
    right, groups = (draw.random(max(sizes)) < score).astype(float), np.arange(max(sizes)) // 3
    for name, f in {"auc": metrics.auc, "purity curve": metrics.purity_curve, "ECE": metrics.ece,
                    "entropy": lambda s, y: metrics.entropy(np.stack([s, 1 - s], 1)),
                    "bootstrap of a mean": lambda s, y: statistics.bootstrap_interval(
                        s, groups[:len(s)], draws=10),
                    "bootstrap of a trust score": lambda s, y: score_metrics.measure(
                        s, y, groups[:len(s)], draws=10)}.items():
        runs = {n: (lambda f=f, n=n: f(score[:n], right[:n])) for n in sizes}
        yield timed(name, "rows", runs, 1, SORTED)


def large(folder):
    """A million rows, the shipped small model, with states: wall time and peak."""
    data = sentences(folder / "few.jsonl", FEW)
    subprocess.run(script("train_weak.py", "--task", "ood", "--model", MINI, "--data", data,
                          "--out", folder / "mini", "--epochs", .01, "--lam", 0), check=True,
                   stdout=subprocess.DEVNULL, cwd=machine.ROOT)
    sizes, found = (10_000, 100_000, 1_000_000), []
    for n in sizes:
        found.append(peak(script("label.py", "--task", "ood", "--run", folder / "mini", "--hidden",
                                 "--data", sentences(folder / f"l{n}.jsonl", n))))
        say(f"  {n} rows: {found[-1][1]:.0f} s, {found[-1][0] / 1e6:.0f} MB")
    yield line("label.py --hidden, the whole command", "rows", sizes, [t for _, t in found])
    yield line("label.py --hidden, whole peak", "rows", sizes, [m / 1e6 for m, _ in found], "MB")


SECTIONS = {"label": label, "train": train, "memory": memory, "seeds": seeds, "maths": maths}


def run(args):
    """The rows of the table, a list of dict: what, by, sizes, unit, costs, exponent, expected and
    good, whether the exponent is no larger than expected."""
    torch.set_num_threads(1)
    wanted, found = {name: SECTIONS[name] for name in getattr(args, "only", None) or SECTIONS}, []
    for name, section in (wanted | ({"large": large} if args.large else {})).items():
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="growth-") as folder:
            found += section(Path(folder))
        say(f"{name}: {time.perf_counter() - start:.0f} s")
    return found


def show(found):
    """The table in markdown."""
    print("| what | by | sizes | cost | exponent | expected |\n|---|---|---|---|---:|---:|")
    for row in found:
        sizes, costs = (", ".join(f"{x:.3g}" if isinstance(x, float) else f"{x:,}".replace(",", " ")
                                  for x in row[key]) for key in ("sizes", "costs"))
        print(f"| {row['what']} | {row['by']} | {sizes} | {costs} {row['unit']} | "
              f"{row['exponent']:.2f} | <= {row['expected']:g}{' !' * (not row['good'])} |")


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda words: words.split(","),
                        help=f"sections, with commas: {','.join(SECTIONS)}")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--json", help="file for the rows")
    args = parser.parse_args()
    if set(args.only or ()) - set(SECTIONS):
        parser.error(f"--only: choose from {','.join(SECTIONS)}")
    found = run(args)
    show(found)
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
