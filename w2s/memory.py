"""What training a model takes of each GPU's memory: computed, not measured. No torch here.

D hidden, I intermediate, L layers, V vocabulary, Q = H d queries, K = J d keys, W GPUs, n =
ceil(rows / W) * tokens on each. Bytes:

    parameters   block 4 D^2 + 2 D I + 9 D + I; all L blocks, embedding V D, final LayerNorm 2 D,
                 head V D (language model) or 2 D (classes); 4 bytes each, the float32 master.
                 Decoders (Llama, Qwen, OLMo2, Gemma): 2 D (Q + K) + 3 D I a block, norms and biases
                 left out
    gradients    4 a parameter              moments   8 a parameter, AdamW's two
    replicated   all of it on each GPU; and under bfloat16 autocast 2 for each weight of the blocks,
                 whose casts are kept until backward
    FSDP2        1/W of it; and, gathered, embedding, head and norms (8 each: weight and gradient,
                 float32) and of the blocks the one at work and the next (weights), with the
                 gradient of one (4); in bfloat16 the gathered weights take 2, else 4
    activations  a token of a block: its input D in float32 (both LayerNorms read it), and in the
                 dtype of autocast the inputs of QKV and of the MLP 2 D, QKV 3 D, rotated Q and K
                 2 D, attended D, twice where heads are copied into rows, MLP before and after GELU
                 2 I; float32 statistics of two norms and of H heads. Of a classifier's last block,
                 which computes one token, the input, that of QKV, K, V, rotated K and two copies,
                 7 D. Attention is fused: no T x T matrix. Of a decoder's block as if all of its
                 kinds of norms were there
    recomputed   the inputs of all blocks, and the activations of one block, at work
    logits       language model: at most 2^28 at a time, which become their gradient in place, in
                 the dtype of autocast; of 2^26 of them, at work, float32 copy, log-softmax and what
                 it is scaled from, 12; the head's gradient before it is scaled, 4 V D

The sum is an upper bound of these (gradients and activations are never all there at once) and has
nothing for the allocator's fragments, cuBLAS, NCCL and the CUDA context.
"""

STATE = 16                 # bytes of a trained parameter in float32: it, its gradient, two moments
ROOM = .8                  # share of a device's memory that these may take
SPARE = .9                 # share of it that the sum of everything may take
LOGITS_HELD = {True: 2 ** 25, False: 2 ** 28}     # at a time, by whether on CPU: 134 MB, else 1 GB
LOGITS_AT_ONCE = {True: 2 ** 22, False: 2 ** 26}  # worked on at a time: 17 MB, 268 MB
WIDTH = {"bfloat16": 2, "float32": 4}


def parameters(c):
    """{part: parameters} of a configuration: one block, and what is no block under each head."""
    D, width, V = (c[key] for key in ("hidden_size", "intermediate_size", "vocab_size"))
    if c["model_type"] == "gpt_neox":
        block, outside = 4 * D * D + 2 * D * width + 9 * D + width, V * D + 2 * D
    else:
        block, outside = 2 * D * sum(heads(c)) + 3 * D * width, V * D
    tied = c.get("tie_word_embeddings", False)
    return {"block": block, "class": outside + 2 * D, "lm": outside + (0 if tied else V * D)}


def shown(count):
    """"14.1M" parameters; below a million all digits."""
    return f"{count / 1e6:.3g}M" if count >= 1e6 else f"{count:,}"


def heads(c):
    """(Q, K): widths of all queries and of all keys of a decoder's configuration."""
    H = c["num_attention_heads"]
    d = c.get("head_dim") or c["hidden_size"] // H
    return H * d, (c.get("num_key_value_heads") or H) * d


def kept(c, w):
    """Bytes that autograd keeps of a token of a block, w of them a number of the autocast dtype."""
    D, width = c["hidden_size"], c["intermediate_size"]
    if c["model_type"] == "gpt_neox":
        return 4 * D + w * (9 * D + 2 * width) + 16 + 4 * c["num_attention_heads"]
    Q, K = heads(c)
    return 40 * D + 2 * w * D + 8 * (Q + K) + w * (5 * Q + 3 * K + 4 * width)


def activations(c, head, tokens, dtype="bfloat16", recompute=False, block=None):
    """Bytes that autograd keeps of `tokens` tokens, without the logits of a language model. block:
    those of a token of a block, where they are known better than by `kept`."""
    D, L = c["hidden_size"], c["num_hidden_layers"]
    block = last = block or kept(c, WIDTH[dtype])
    if c["model_type"] == "gpt_neox":
        last = 4 * D + WIDTH[dtype] * 6 * D if head == "class" else block + 12 * D
    if recompute:
        return tokens * (L * 4 * D + max(block, last))
    return tokens * ((L - 1) * block + last)


def logits(c, head, tokens, dtype):
    """Bytes at work when a language model's loss is computed."""
    if head == "class":
        return 0
    V, D = c["vocab_size"], c["hidden_size"]
    held, at_work = (min(tokens * V, limit[False]) for limit in (LOGITS_HELD, LOGITS_AT_ONCE))
    return WIDTH[dtype] * held + 12 * at_work + 4 * V * D


def states(count, layers, head, gpus, dtype, sharded):
    """Bytes of parameters, gradients and moments on one GPU, and of what is gathered or cast;
    count: {part: parameters}, as `parameters` gives it."""
    blocks = layers * count["block"]
    total = STATE * (blocks + count[head])
    if sharded:
        gathered = 8 * count[head] + (2 * WIDTH[dtype] + 4) * count["block"]
        return total / gpus + gathered
    return total + 2 * blocks * (dtype == "bfloat16")


def training(c, rows, tokens, dtype, gpus=1):
    """Bytes on each of so many GPUs, over which more than one share everything, to train a language
    model of this configuration; a classifier takes less."""
    n = -(-rows // gpus) * tokens
    return (states(parameters(c), c["num_hidden_layers"], "lm", gpus, dtype, gpus > 1)
            + activations(c, "lm", n, dtype) + logits(c, "lm", n, dtype))


def gpus(c, rows, tokens, dtype, memory, most):
    """On how many GPUs of `memory` bytes to train: one where a copy with its gradients and moments
    fits (the rule of parallel.too_large), else the fewest on which everything does, `most` where it
    does on none."""
    count = parameters(c)
    if STATE * (c["num_hidden_layers"] * count["block"] + count["lm"]) <= ROOM * memory:
        return 1
    return next((n for n in range(2, most) if training(c, rows, tokens, dtype, n)
                 <= SPARE * memory), most)
