"""How long labels, answers and a trust function take, beside transformers on the same weights.

    python -m tests.bench_labels                          # 14m, float32, everything
    python -m tests.bench_labels --shape 70m --dtype bfloat16 --sections generate

    label      class logits and last states of sentences of 47 tokens on average: w2s.predict, and
               transformers' forward with output_hidden_states in batches of 32
    generate   50 tokens behind 50, greedily, 32 rows side by side
    trust      ntf.fit on the states of 10,000 rows, beside the time to label so many

One process; every round calls each variant once, beginning with another one each time, after two
calls of warm-up; random weights. x: the variant's time over that of the first one, the median over
the rounds of a round's own ratio, and its quartiles. ms is what this machine did just now. Peers
run with PyTorch's settings for float32 products and sdpa attention; "-equal" with ours (on a CPU
oneDNN, and attention written out). The allocator keeps its memory for everybody.
"""

import argparse
import re
import statistics
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

from tests.bench_dp import (machine, model_with, seconds, settings, show, transformer,
                            with_settings)
from w2s import answers, lm, ntf, predict, pythia
from w2s import device as devices

SECTIONS = ("label", "generate", "trust")
BATCH, ROWS, PROMPT, NEW = 32, 512, 50, 50
POOL = 10_000                                             # rows of a pool


def lengths(n, seed=0):
    """(n,) tokens of short sentences: lognormal of mean 47, its logarithm's deviation .55."""
    drawn = np.random.default_rng(seed).lognormal(np.log(47) - .55 ** 2 / 2, .55, n)
    return drawn.round().clip(4, 256).astype(int)


def model_of(shape, head, device):
    base = pythia.untrained(pythia.SHAPES[f"pythia-{shape}"], 0)
    weights = base.state_dict()
    if head == "class":
        del weights["embed_out.weight"]
        draw = torch.Generator().manual_seed(0)
        weights["score.weight"] = .1 * torch.randn(2, base.config["hidden_size"], generator=draw)
    return model_with(base.config, head, weights, device)


def sentences(n=ROWS):
    draw = np.random.default_rng(1)
    return [draw.integers(1, 50000, k).astype(np.int32) for k in lengths(n)]


# ---- labelling -----------------------------------------------------------------------------------

def ours(m, ids, dtype, hidden=True):
    return lambda: predict.read_all(m, {"ids": ids}, dtype, "", hidden)["p"]


def forward(theirs, ids, dtype, device, in_order):
    """Logits and last states of transformers' model, rows padded in batches of 32."""
    order = np.arange(len(ids)) if in_order else np.argsort([len(row) for row in ids],
                                                            kind="stable")

    @torch.inference_mode()
    def run():
        found = None
        for pick in np.split(order, range(BATCH, len(ids), BATCH)):
            size = torch.tensor([len(ids[i]) for i in pick])
            batch = torch.full((len(pick), int(size.max())), theirs.config.pad_token_id)
            for row, i in zip(batch, pick):
                row[:len(ids[i])] = torch.from_numpy(ids[i])
            mask = torch.arange(batch.shape[1]) < size[:, None]
            with devices.autocast(device, dtype):
                out = theirs(input_ids=batch.to(device), attention_mask=mask.long().to(device),
                             output_hidden_states=True, use_cache=False)
            at = torch.arange(len(pick), device=device), size.to(device) - 1
            parts = [x.float().cpu().numpy() for x in (out.logits, out.hidden_states[-1][at])]
            found = found or [np.empty((len(ids), x.shape[1]), np.float32) for x in parts]
            for array, part in zip(found, parts):
                array[pick] = part
        return found
    return run


def label(args, device, shipped):
    m, ids = model_of(args.shape, "class", device), sentences()
    variants = {"w2s": ours(m, ids, args.dtype),
                "w2s without states": ours(m, ids, args.dtype, hidden=False)}
    for name, equal in (("", False), ("-equal", True)):
        theirs = transformer(m, equal and device.type == "cpu", device).eval()
        for kind in ("sorted", "in file order"):
            run = forward(theirs, ids, args.dtype, device, kind != "sorted")
            variants[f"transformers{name}, {kind}"] = run if equal else with_settings(
                run, device, shipped)
    expected = ours(m, ids, "float32")()

    def off(found):
        return "largest difference from float32: " + ", ".join(
            f"{name} {np.abs(a - b).max():.0e}" for name, a, b in zip(
                ("logits", "states"), found, expected) if a is not None)
    mean = sum(map(len, ids)) / len(ids)
    print(f"\nlabelling: pythia-{args.shape}, {len(ids)} rows of {mean:.0f} tokens, {args.dtype}")
    show(measure(variants, args.rounds, device, off))


# ---- generation ----------------------------------------------------------------------------------

def generate(args, device, shipped):
    m, draw = model_of(args.shape, "lm", device), torch.Generator().manual_seed(2)
    ids = torch.randint(1, 50000, (BATCH, PROMPT), generator=draw)
    on, size = ids.to(device), torch.full((BATCH,), PROMPT, device=device)

    def own():
        with devices.autocast(device, args.dtype):
            return pythia.generate(m, on, size, NEW)

    def peer(theirs):
        def run():
            with torch.inference_mode(), devices.autocast(device, args.dtype):
                return theirs.generate(on, attention_mask=torch.ones_like(on), do_sample=False,
                                       max_new_tokens=NEW, min_new_tokens=NEW, eos_token_id=None,
                                       pad_token_id=1)[:, PROMPT:]
        return run
    variants = {"w2s": own, "w2s, with certainty and states": lambda: answers.written(
        m, list(ids.numpy()), NEW, dtype=args.dtype, title="")}
    shared = transformer(m, False, device).eval()
    variants["transformers"] = with_settings(peer(shared), device, shipped)
    variants["transformers-equal"] = peer(transformer(m, device.type == "cpu", device).eval())
    expected = own()

    def off(found):
        if not torch.is_tensor(found):
            ends = [lm.until_end(row) for row in expected.cpu().numpy()]
            same = [a.tolist() == b.tolist() for a, b in zip(found[0], ends)]
            return f"{np.mean(same):.1%} of the rows equal"
        return f"{float((found == expected).float().mean()):.1%} of the tokens equal"
    print(f"\ngeneration: pythia-{args.shape}, {BATCH} rows, {NEW} tokens behind {PROMPT}, "
          f"{args.dtype}")
    show(measure(variants, args.rounds, device, off))


# ---- the trust function --------------------------------------------------------------------------

def trust(args, device, shipped):
    m, ids = model_of(args.shape, "class", device), sentences()
    D, draw = m.config["hidden_size"], torch.Generator().manual_seed(3)
    states = torch.randn(POOL, D, generator=draw)
    odds = states[:, :8].sum(1) / 2 + .5
    right = (torch.rand(POOL, generator=draw) < odds.sigmoid()).float()
    # a part of what labels 10,000 rows, timed beside the whole of what trains on them
    variants = {f"label {len(ids)} rows": ours(m, ids, args.dtype),
                f"ntf.fit on {POOL} states": lambda: ntf.fit(states, right)[1]}

    def off(found):
        return f"{found['epochs']} epochs, the best {found['best_epoch']}" if isinstance(
            found, dict) else f"counted for {POOL} rows: {POOL / len(ids):.1f} times"
    print(f"\ntrust function: {POOL} states of {D} (pythia-{args.shape}), labels in {args.dtype}; "
          f"x: of the time that labelling {POOL} rows takes")
    show(measure(variants, args.rounds, device, off, scale=POOL / len(ids)))


# ---- time ----------------------------------------------------------------------------------------

def measure(variants, rounds, device, off, scale=1.0):
    """The table of some variants, the first one being what the others are compared with; it counts
    `scale` times. off(result): what stands in the last column."""
    table, times = {}, {name: [] for name in variants}
    for name, run in variants.items():
        table[name] = {"variant": name, "error": off(run())}
        run()
        print(f"{name}: warm", file=sys.stderr, flush=True)
    names = list(variants)
    for k in range(rounds):
        for name in names[k % len(names):] + names[:k % len(names)]:
            spent = seconds(variants[name], device)
            times[name].append(spent * scale if name == names[0] else spent)
    for name, spent in times.items():
        ratios = [a / b for a, b in zip(spent, times[names[0]])]
        low, middle, high = statistics.quantiles(ratios * 2, n=4, method="inclusive")
        table[name] |= {"x": f"{middle:.2f}", "quartiles": f"{low:.2f} to {high:.2f}",
                        "ms": f"{1e3 * statistics.median(spent):.4g}"}
    return list(table.values())


def has_bfloat16(device):
    """Whether the machine multiplies in bfloat16, and does not only imitate it."""
    info = Path("/proc/cpuinfo")
    return device.type == "cuda" or info.exists() and bool(
        re.search("bf16", info.read_text()))


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench_labels")
    parser.add_argument("--shape", default="14m", help="14m, 70m, ...")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"),
                        help="default: float32, and for labels bfloat16 too where there is one")
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    if set(args.sections.split(",")) - set(SECTIONS):
        parser.error(f"--sections: choose from {','.join(SECTIONS)}")
    warnings.simplefilter("ignore")
    shipped = settings(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    device, asked = devices.setup(args.device), args.dtype
    for section in args.sections.split(","):
        more = section == "label" and has_bfloat16(device)
        for args.dtype in [asked] if asked else ["float32", *["bfloat16"] * more]:
            {"label": label, "generate": generate, "trust": trust}[section](args, device, shipped)
    print(machine(device))


if __name__ == "__main__":
    main()
