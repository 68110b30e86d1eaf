"""What training a published model takes of each GPU's memory: computed, not measured.

    python -m tests.bench.plan                       # bfloat16 autocast, 8 rows of 512 tokens
    python -m tests.bench.plan --rows 32 --tokens 128 --dtype float32 --shape pythia-410m
    python -m tests.bench.plan --rows 32 --tokens 256 --shape OLMo-2-0425-1B Qwen3-0.6B-Base

Pythia's shapes are all shown, others where they are named; their blocks are counted in
tests/bench/decoders.py. D hidden, I = 4D, L layers, V vocabulary, W GPUs, n = ceil(rows / W) *
tokens on each GPU. Bytes:

    parameters   block 4 D^2 + 2 D I + 9 D + I; all L blocks, embedding V D, final LayerNorm 2 D,
                 head V D (language model) or 2 D (classes); 4 bytes each, the float32 master
    gradients    4 a parameter              moments   8 a parameter, AdamW's two
    replicated   all of it on each GPU; and under bfloat16 autocast 2 for each weight of the blocks,
                 whose casts are kept until backward
    FSDP2        1/W of it; and, gathered, embedding, head and norms (8 each: weight and gradient,
                 float32) and of the blocks the one at work and the next (weights), with the
                 gradient of one (4); in bfloat16 the gathered weights take 2, else 4
    activations  a token of a block: its input D in float32 (both LayerNorms read it), and in the
                 dtype of autocast the inputs of QKV and of the MLP 2 D, QKV 3 D, rotated Q and K
                 2 D, attended D, MLP before and after GELU 2 I. Of a classifier's last block, which
                 computes one token, the input, that of QKV, K, V, rotated K and two copies, 7 D.
                 Attention is fused: no T x T matrix
    recomputed   the inputs of all blocks, and the activations of one block, at work
    logits       language model: at most 2^28 at a time, which become their gradient in place, in
                 the dtype of autocast; of 2^26 of them, at work, float32 copy, log-softmax and what
                 it is scaled from, 12; the head's gradient before it is scaled, 4 V D

The sum is an upper bound of these (gradients and activations are never all there at once) and has
nothing for the allocator's fragments, cuBLAS, NCCL and the CUDA context: so `fits` asks for 10 %
less than the GPU has.
"""

import argparse

from tests.bench import decoders
from w2s.model import configuration, network

SHAPES = configuration.SHAPES | decoders.SHAPES
CARDS = {80: 83.7, 141: 149.2}      # GPUs as they are sold, and their 78 and 139 GiB in GB
SPARE = .9                          # share of it that the sum may take
GPUS, HEADS = (1, 2, 4, 8), ("class", "lm")
WIDTH = {"bfloat16": 2, "float32": 4}


def parameters(c):
    """{part: parameters} of a configuration: one block, and what is no block under each head."""
    if c["model_type"] != "gpt_neox":
        return decoders.parameters(c)
    D, width, V = (c[key] for key in ("hidden_size", "intermediate_size", "vocab_size"))
    outside = V * D + 2 * D
    return {"block": 4 * D * D + 2 * D * width + 9 * D + width,
            "class": outside + 2 * D, "lm": outside + V * D}


def activations(c, head, tokens, dtype="bfloat16", recompute=False):
    """Bytes that autograd keeps of `tokens` tokens, without the logits of a language model."""
    D, L, width = (c[key] for key in ("hidden_size", "num_hidden_layers", "intermediate_size"))
    if c["model_type"] != "gpt_neox":
        block = decoders.kept(c, WIDTH[dtype])
        return tokens * (L * 4 * D + block if recompute else L * block)
    block = 4 * D + WIDTH[dtype] * (8 * D + 2 * width)
    last = 4 * D + WIDTH[dtype] * 6 * D if head == "class" else block + 12 * D
    if recompute:
        return tokens * (L * 4 * D + max(block, last))
    return tokens * ((L - 1) * block + last)


def logits(c, head, tokens, dtype):
    """Bytes at work when a language model's loss is computed."""
    if head == "class":
        return 0
    V, D = c["vocab_size"], c["hidden_size"]
    held, at_work = (min(tokens * V, limit[False])
                     for limit in (network.LOGITS_HELD, network.LOGITS_AT_ONCE))
    return WIDTH[dtype] * held + 12 * at_work + 4 * V * D


def states(c, head, gpus, dtype, sharded):
    """Bytes of parameters, gradients and moments on one GPU, and of what is gathered or cast."""
    found = parameters(c)
    blocks = c["num_hidden_layers"] * found["block"]
    total = 16 * (blocks + found[head])
    if sharded:
        gathered = 8 * found[head] + (2 * WIDTH[dtype] + 4) * found["block"]
        return total / gpus + gathered
    return total + 2 * blocks * (dtype == "bfloat16")


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
    return next((card for card, memory in CARDS.items() if gb <= SPARE * memory), None)


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
