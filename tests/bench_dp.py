"""How long a clipped sum of per-sample gradients takes beside the gradient without privacy.

    python -m tests.bench_dp --shape 14m --head class          # on CUDA: --shape 14m,70m,410m,1b
    python -m tests.bench_dp --head lm --dtype bfloat16 --peers both
    python -m tests.bench_dp --private-step                    # one whole private step of 1b

One process, one call of each variant a round, after warm-up; figures are medians over rounds, and a
ratio is the median of the rounds' ratios. Forward, backward and clip only; `noise` and `adamw` (of
our model) are rows of their own. error: relative L2 distance from dp.func_sum in float32, the clip
being the median norm. Peers are Opacus over transformers' GPT-NeoX with our weights: "shipped" with
PyTorch's settings, "equal" with ours (on a CPU oneDNN and attention written out). The allocator
keeps its memory for everybody. MB: the peak of one call beyond what was there before it; on a CPU
each variant in a process of its own that gives freed blocks back at once.
"""

import argparse
import contextlib
import ctypes
import gc
import importlib.metadata
import importlib.util
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from w2s import device as devices
from w2s import dp, pythia, step

OURS = ("plain", "plain-compiled", "fast", "fast-compiled", "func")
PEERS = ("hf", "hooks", "ghost")
APART = ("noise", "adamw")
NAMES = (*OURS, *PEERS, *(f"{name}-equal" for name in PEERS), *APART)
BASES = OURS[:4]                                          # what the ratios are to
SIZE = {"class": (32, 64), "lm": (16, 128)}
PAD = 50303                                               # an id that is not drawn


def of_class(f, b):
    return F.cross_entropy(f(b["ids"], b["len"]), b["y"], reduction="none")


def of_lm(f, b):
    return f.nll(b["ids"], b["len"], b["mask"]) / (b["len"] - 1)


# ---- the variants --------------------------------------------------------------------------------

class Bench:
    """One model and batch; build(name) -> a function without arguments that computes one gradient,
    {name: tensor}."""

    def __init__(self, shape, head, dtype, device, shipped):
        lm = pythia.untrained(pythia.SHAPES[f"pythia-{shape}"], 0)
        weights, draw = lm.state_dict(), torch.Generator().manual_seed(0)
        if head == "class":
            del weights["embed_out.weight"]
            weights["score.weight"] = .1 * torch.randn(2, lm.config["hidden_size"], generator=draw)
        self.model = model_with(lm.config, head, weights, device)
        B, T = SIZE[head]
        batch = {"ids": torch.randint(0, 50000, (B, T), generator=draw), "mask": torch.ones(B, T),
                 "len": torch.full((B,), T), "y": torch.randint(0, 2, (B,), generator=draw)}
        self.batch = {key: value.to(device) for key, value in batch.items()}
        self.objective, self.clip = {"class": of_class, "lm": of_lm}[head], 1.0
        self.dtype, self.device, self.shipped = dtype, device, shipped

    def twin(self):
        """The model again, sharing its weights: hooks and compiled code of the variants apart."""
        return model_with(self.model.config, self.model.kind, self.model.state_dict(), self.device)

    def reference(self):
        """The clipped sum by func, in float32; sets the clip to the median norm."""
        m, of = self.model, self.objective
        norms = [dp.func_sum(m, of, part, 1)[1]
                 for part in dp.micro_batches(m, self.batch, dp.func_sum)]
        self.clip = float(torch.cat(norms).quantile(.5))
        return dp.private_gradient(m, of, self.batch, self.clip, 0, 1, None, "func")

    def build(self, name):
        kind, _, how = name.partition("-")
        if kind in PEERS:
            run = self.peer(kind, how == "equal")
            return run if how == "equal" else with_settings(run, self.device, self.shipped)
        return getattr(self, kind)(self.twin(), *[True] * (how == "compiled"))

    def plain(self, m, compiled=False):
        def losses_of(batch):
            return self.objective(m, batch)

        if compiled:
            losses_of = torch.compile(losses_of, dynamic=self.device.type == "cpu")

        def run():
            with devices.autocast(self.device, self.dtype):
                loss = losses_of(self.batch).mean()
            loss.backward()
            return taken(m)
        return run

    def fast(self, m, compiled=False, method="fast"):
        def run():
            with devices.autocast(self.device, self.dtype):
                return dp.private_gradient(m, self.objective, self.batch, self.clip, 0, 1, None,
                                           method, compile=compiled)
        return run

    def func(self, m):
        return self.fast(m, method="func")

    def noise(self, m):
        values, draw = [dp.zeros(p) for p in m.parameters()], torch.Generator(self.device)
        return lambda: dp.add_noise(values, 1e-3, draw)

    def adamw(self, m):
        for p in m.parameters():
            p.grad = torch.full_like(p, 1e-3)
        return step.adamw(m, 0.0).step

    def peer(self, kind, equal):
        """transformers' model: its gradient ("hf"), or Opacus' sum by hooks or by ghost norms."""
        eager = equal and self.device.type == "cpu"
        m, criterion, optimizer = transformer(self.model, eager, self.device), None, None
        f, criterion, more = m, nn.CrossEntropyLoss(), {}
        if kind != "hf":
            f, optimizer, criterion = opacus_of(kind, m, criterion, self.clip, len(self.batch["y"]))
        ids, target = self.batch["ids"], self.batch["y"]
        if self.model.kind == "lm":
            target = ids[:, 1:].flatten()
            more = {"shape": (len(ids), ids.shape[1] - 1)} if kind == "ghost" else {}

        def run():
            with devices.autocast(self.device, self.dtype):
                logits = f(input_ids=ids, use_cache=False).logits
                if self.model.kind == "lm":
                    logits = logits[:, :-1].flatten(0, 1)
                loss = criterion(logits, target, **more)
            loss.backward()
            if kind == "hooks":
                optimizer.clip_and_accumulate()
            found = taken(m, "summed_grad" if kind == "hooks" else "grad")
            if optimizer:
                optimizer.zero_grad(set_to_none=True)
            return found
        return run

    def lacks(self, name):
        """Why a variant is not run here, or None."""
        kind = name.partition("-")[0]
        missing = [package for package, users in (("transformers", PEERS), ("opacus", PEERS[1:]))
                   if kind in users and not importlib.util.find_spec(package)]
        if missing:
            return f"no {missing[0]} here"
        sizes = [p.numel() for p in self.model.parameters()]
        need = 4 * len(self.batch["y"]) * (sum(sizes) + max(sizes)) if kind == "hooks" else 0
        if need > free(self.device):
            return f"its per-sample gradients need {need / 1e9:.0f} GB"
        return None


def model_with(config, head, weights, device):
    with torch.device("meta"):
        m = pythia.GPTNeoX(config, head, 2)
    m.load_state_dict(weights, assign=True)
    return m.to(device)


def transformer(model, eager, device):
    """transformers' model with the weights of ours."""
    import transformers
    config = transformers.GPTNeoXConfig(**pythia.saved_config(model, PAD))
    m = getattr(transformers, pythia.CLASS_NAME[model.kind])._from_config(
        config, attn_implementation="eager" if eager else "sdpa").to(device).train()
    back = {ours: theirs for theirs, ours in pythia.RENAMED.items()}
    m.load_state_dict({back.get(name, name): value for name, value in model.state_dict().items()},
                      assign=True)
    return m


def opacus_of(kind, m, criterion, clip, rows):
    """(model, optimizer, loss) as PrivacyEngine makes them for grad_sample_mode hooks or ghost."""
    from opacus import grad_sample, optimizers
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
    ghost = kind == "ghost"
    f = (grad_sample.GradSampleModuleFastGradientClipping(m, max_grad_norm=clip) if ghost
         else grad_sample.GradSampleModule(m))
    optimizer = (optimizers.DPOptimizerFastGradientClipping if ghost else optimizers.DPOptimizer)(
        torch.optim.SGD(m.parameters(), 0.0), noise_multiplier=0.0, max_grad_norm=clip,
        expected_batch_size=rows)
    return f, optimizer, DPLossFastGradientClipping(f, optimizer, criterion) if ghost else criterion


def taken(m, attribute="grad"):
    """{our name: gradient}, no longer the parameters'."""
    found = {pythia.RENAMED.get(name, name): getattr(p, attribute)
             for name, p in m.named_parameters()}
    for p in m.parameters():
        p.grad = None
    return found


# ---- settings, time, memory ----------------------------------------------------------------------

def settings(device, value=None):
    """How float32 products run: the setting of PyTorch, after setting it if a value is given."""
    where, key = ((torch.backends.cuda.matmul, "allow_tf32") if device.type == "cuda" else
                  (torch.backends.mkldnn.matmul, "fp32_precision"))
    if value is not None:
        setattr(where, key, value)
    return getattr(where, key)


def with_settings(run, device, value):
    def changed():
        before = settings(device)
        try:
            settings(device, value)
            return run()
        finally:
            settings(device, before)
    return changed


def seconds(run, device):
    """How long one call takes, freeing its result included."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def free(device):
    """Bytes of memory to be had."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return proc("/proc/meminfo", "MemAvailable") if Path("/proc/meminfo").exists() else math.inf


def proc(path, key):
    return 1024 * int(re.search(rf"^{key}:\s*(\d+)", Path(path).read_text(), re.M)[1])


def peak(run, device):
    """Bytes that a call takes beyond what was there before it, for its result and on the way."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")         # VmHWM := VmRSS
    before = proc("/proc/self/status", "VmRSS")
    run()
    return proc("/proc/self/status", "VmHWM") - before


def peak_apart(name, shape, args):
    """The same in a fresh process, on a CPU; None if it fails."""
    command = [sys.executable, "-m", "tests.bench_dp", "--memory", name, "--shape", shape,
               "--head", args.head, "--dtype", args.dtype, "--device", "cpu"]
    thresholds = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    found = subprocess.run(command, env=os.environ | thresholds, text=True, stdout=subprocess.PIPE)
    return int(found.stdout) if found.returncode == 0 else None


def distance(found, expected):
    """Relative L2 distance over all parameters."""
    parts = [((found[name].float() - value).norm() ** 2, value.norm() ** 2)
             for name, value in expected.items()]
    return math.sqrt(sum(float(a) for a, _ in parts) / sum(float(b) for _, b in parts))


# ---- the table -----------------------------------------------------------------------------------

def measure(shape, args, device, shipped):
    """The table of one shape: [{column: value}]."""
    bench = Bench(shape, args.head, args.dtype, device, shipped)
    reference = bench.reference()
    runs, rows, times = {}, {}, {}
    for name in args.only:
        why = bench.lacks(name)
        if why is None:
            try:
                run, start = bench.build(name), time.perf_counter()
                found = run()
                row = {"variant": name, "first s": f"{time.perf_counter() - start:.1f}"}
                if name.split("-")[0] not in ("plain", "hf", *APART):
                    row["error"] = f"{distance(found, reference):.1e}"
                del found
                run()
                print(f"{shape} {name}: warm", file=sys.stderr, flush=True)
                runs[name], rows[name], times[name] = run, row, []
            except torch.OutOfMemoryError:
                why = "out of memory"
        if why:
            rows[name] = {"variant": name, "error": why}
    del reference
    for _ in range(args.rounds):
        for name, run in runs.items():
            times[name].append(seconds(run, device))
    for name, spent in times.items():
        middle = statistics.median(spent)
        quarters = statistics.quantiles(spent * 2, n=4, method="inclusive")  # * 2: 1 will do
        rows[name] |= {"ms": f"{1e3 * middle:.4g}",
                       "IQR": f"{(quarters[2] - quarters[0]) / middle:.0%}"}
        for base in BASES:
            if base in times:
                ratio = statistics.median(a / b for a, b in zip(spent, times[base]))
                rows[name][f"/{base}"] = f"{ratio:.2f}"
    if not args.no_memory:
        note_memory(rows, runs, shape, args, device)
    return list(rows.values())


def note_memory(rows, runs, shape, args, device):
    runs = {name: run for name, run in runs.items() if name not in APART}
    found = {name: peak(run, device) if device.type == "cuda" else peak_apart(name, shape, args)
             for name, run in runs.items()}
    for name in runs:
        if found[name]:
            rows[name]["MB"] = f"{found[name] / 1e6:.0f}"
            for base in BASES[:2]:
                if found.get(base):
                    rows[name][f"MB/{base}"] = f"{found[name] / found[base]:.2f}"


def show(rows):
    """Print an aligned table; the errors, or why there is none, come last."""
    keys = dict.fromkeys(key for row in rows for key in row if key != "error")
    lines = [[*keys, "error"]] + [[row.get(key, "-") for key in (*keys, "error")] for row in rows]
    widths = [max(map(len, column)) for column in zip(*(line[:-1] for line in lines))]
    for first, *cells, last in lines:
        print(first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells, widths[1:])), last,
              sep="  ")


def private_step(shape, args, device):
    """Two private LM steps by book-keeping, with noise and AdamW: time and peak of the second."""
    bench = Bench(shape, "lm", args.dtype, device, None)
    rows = len(bench.batch["y"])
    plan = dp.Plan(rows=100 * rows, expected_batch=rows, steps=100, clip=1.0, sigma=1.0, delta=1e-5,
                   epsilon=math.inf, accountant="rdp", sampling="poisson", method="fast",
                   noise_seed="run")
    go = dp.make_step(bench.model, step.adamw(bench.model, 1e-5), lambda f, b, *_: of_lm(f, b),
                      None, None, 100, private=plan, dtype=args.dtype)
    own = sum(p.nbytes for p in bench.model.parameters())
    first = seconds(lambda: go(0, bench.batch), device)
    second = seconds(lambda: go(1, bench.batch), device)
    more = peak(lambda: go(2, bench.batch), device)
    print(f"private step, pythia-{shape}, LM {rows} x {SIZE['lm'][1]}, {args.dtype}: "
          f"{1e3 * first:.0f} ms the first, {1e3 * second:.0f} ms the second; weights and AdamW's "
          f"moments {3 * own / 1e9:.2f} GB, and at the peak {more / 1e9:.2f} GB more")


def machine(device):
    """The machine, threads and versions, in a line."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, TypeError):
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in
                ("torch", "transformers", "opacus") if importlib.util.find_spec(name)]
    gpu = f"{torch.cuda.get_device_name(device)}, " if device.type == "cuda" else ""
    return f"{gpu}{cpu}, {torch.get_num_threads()} threads, {', '.join(versions)}"


def arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.bench_dp")
    parser.add_argument("--shape", help="14m, 70m, 160m, 410m, 1b; several with commas")
    parser.add_argument("--head", choices=("class", "lm"), default="class")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", help=f"some of {','.join(NAMES)}")
    parser.add_argument("--peers", choices=("shipped", "equal", "both"), default="shipped")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--private-step", action="store_true", help="one LM step of --shape 1b")
    parser.add_argument("--memory", choices=NAMES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    ends = {"shipped": ("",), "equal": ("-equal",), "both": ("", "-equal")}[args.peers]
    default = [*OURS, *(peer + end for end in ends for peer in PEERS), *APART]
    args.only = args.only.split(",") if args.only else default
    if set(args.only) - set(NAMES):
        parser.error(f"--only: choose from {','.join(NAMES)}")
    args.dtype = args.dtype or ("bfloat16" if args.private_step else "float32")
    return args


def main():
    args = arguments()
    warnings.simplefilter("ignore")
    device = torch.device("cuda" if args.device == "auto" and torch.cuda.is_available() else
                          "cpu" if args.device == "auto" else args.device)
    shipped = settings(device)
    if device.type == "cpu" and (args.memory or args.private_step):
        devices.fast_float32()                            # all of device.setup but keep_memory
    else:
        device = devices.setup(args.device)
    if args.memory:
        run = Bench(args.shape, args.head, args.dtype, device, shipped).build(args.memory)
        run(), run()
        print(peak(run, device))
        return
    shapes = args.shape or ("1b" if args.private_step else
                            "14m,70m,410m,1b" if device.type == "cuda" else "14m")
    for shape in shapes.split(","):
        if args.private_step:
            private_step(shape, args, device)
        else:
            print(f"pythia-{shape}, {args.head} {' x '.join(map(str, SIZE[args.head]))}, "
                  f"{args.dtype}, {args.rounds} rounds")
            show(measure(shape, args, device, shipped))
        torch._dynamo.reset()
    print(machine(device))


if __name__ == "__main__":
    main()
