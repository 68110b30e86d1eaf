"""What training a published model takes of each GPU's memory: computed, not measured.

    python -m tests.bench.plan                       # bfloat16 autocast, 8 rows of 512 tokens
    python -m tests.bench.plan --rows 32 --tokens 128 --dtype float32 --shape pythia-410m
    python -m tests.bench.plan --rows 32 --tokens 256 --shape OLMo-2-0425-1B Qwen3-0.6B-Base

Pythia's shapes are all shown, others where they are named. What is counted, and how, stands in
w2s/memory.py; blocks of the others are counted exactly, in tests/bench/decoders.py. `fits` asks for
10 % less than the GPU has.
"""

import argparse

from tests.bench import decoders
from w2s import memory
from w2s.memory import SPARE, WIDTH, logits
from w2s.model import configuration

SHAPES = configuration.SHAPES | decoders.SHAPES
CARDS = {80: 83.7, 141: 149.2}      # GPUs as they are sold, and their 78 and 139 GiB in GB
GPUS, HEADS = (1, 2, 4, 8), ("class", "lm")


def parameters(c):
    """{part: parameters} of a configuration: one block, and what is no block under each head."""
    return (memory if c["model_type"] == "gpt_neox" else decoders).parameters(c)


def activations(c, head, tokens, dtype="bfloat16", recompute=False):
    """Bytes that autograd keeps of `tokens` tokens, without the logits of a language model."""
    block = decoders.kept(c, WIDTH[dtype]) if c["model_type"] != "gpt_neox" else None
    return memory.activations(c, head, tokens, dtype, recompute, block)


def states(c, head, gpus, dtype, sharded):
    """Bytes of parameters, gradients and moments on one GPU, and of what is gathered or cast."""
    return memory.states(parameters(c), c["num_hidden_layers"], head, gpus, dtype, sharded)


def plan(shape, head, gpus, rows, tokens, dtype):
    """One row of the table: GB on each GPU."""
    c, n = SHAPES[shape], -(-rows // gpus) * tokens
    count, found = parameters(c), {"shape": shape, "head": head, "GPUs": gpus}
    found["parameters"] = c["num_hidden_layers"] * count["block"] + count[head]
    found |= {"kept": activations(c, head, n, dtype) / 1e9,
              "recomputed": activations(c, head, n, dtype, True) / 1e9}
    for how in ("replicated", "FSDP2")[:gpus]:            # one GPU shares with nobody
        state = states(c, head, gpus, dtype, how == "FSDP2")
        found[how] = state / 1e9
        for what in ("kept", "recomputed"):
            found[f"{how}, {what}"] = (state + logits(c, head, n, dtype)) / 1e9 + found[what]
    return found


def fits(gb):
    """The smallest of the CARDS that has room for so many GB; None."""
    return next((card for card, size in CARDS.items() if gb <= SPARE * size), None)


def run(args):
    """The rows of the table, a list of dict."""
    return [plan(shape, head, gpus, args.rows, args.tokens, args.dtype)
            for shape in args.shape for head in HEADS for gpus in GPUS]


def show(found, args):
    """The table in markdown."""
    sums = [f"{how}, {what}" for how in ("replicated", "FSDP2") for what in ("kept", "recomputed")]
    columns = ["shape", "head", "GPUs", "parameters", "replicated", "FSDP2", "kept", "recomputed",
               *sums]
    print(f"Computed, not measured: GB on each GPU, {args.rows} rows of {args.tokens} tokens over "
          f"all GPUs, {args.dtype}.\nreplicated, FSDP2: parameters, gradients, moments, and what is"
          " cast or gathered; kept, recomputed: activations.\nThe sums (with logits) fit 80 GB "
          "with 10 % to spare; *: only 141 GB; !: neither.\n")
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in found:
        cells = [f"{row[c] / 1e6:.0f}M" if c == "parameters" else str(row[c]) for c in columns[:4]]
        cells += [f"{row[c]:.2f}" if c in row else "-" for c in columns[4:8]]
        cells += [f"{row[c]:.1f}{ {80: '', 141: '*', None: '!'}[fits(row[c])]}" if c in row
                  else "-" for c in sums]
        print("| " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plan", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", choices=list(SHAPES),
                        default=list(configuration.SHAPES))
    parser.add_argument("--rows", type=int, default=8, help="of a batch, over all GPUs")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--dtype", choices=list(WIDTH), default="bfloat16")
    args = parser.parse_args()
    show(run(args), args)


if __name__ == "__main__":
    main()
