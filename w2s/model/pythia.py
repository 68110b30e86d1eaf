"""GPT-NeoX as Pythia uses it, under Hugging Face's parameter names: state_dict() is the checkpoint.

Sources: GPT-NeoX-20B (arXiv 2204.06745), Pythia (arXiv 2304.01373); tests/test_pythia.py holds it
to transformers' modeling_gpt_neox within 1e-5 in float32. Dropout is refused: Pythia has none.
Right padding under a causal mask needs no attention mask: padding stands after every real token.

Shapes: B rows, T tokens, D hidden, H heads, d = D/H, R rotated pairs, V vocabulary, K classes,
L layers, S positions of the key-value cache, P predicted tokens.
"""
import contextlib
import json
import os
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

QUERY, KEY_VALUE, ALL = slice(0, 1), slice(1, 3), slice(0, 3)    # parts of the fused matrix
HEAD = {"class": "class", "letters": "lm", "text": "lm"}          # of a task's KIND
CLASS_NAME = {"class": "GPTNeoXForSequenceClassification", "lm": "GPTNeoXForCausalLM"}
OBSOLETE = (".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq")  # published buffers
RENAMED = {"lm_head.weight": "embed_out.weight"}      # transformers 5 in memory, not on disk
LOGITS_HELD = {True: 2 ** 25, False: 2 ** 28}         # at a time by nll: 134 MB on CPU, else 1 GB
LOGITS_AT_ONCE = {True: 2 ** 22, False: 2 ** 26}      # worked on at a time: 17 MB, 268 MB
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
         "intermediate_size")
DEFAULTS = {"layer_norm_eps": 1e-5, "attention_bias": True, "use_parallel_residual": True,
            "tie_word_embeddings": False, "max_position_embeddings": 2048,
            "rotary_emb_base": 10000, "rotary_pct": 0.25}        # transformers' own
ONLY = {"model_type": "gpt_neox", "hidden_act": "gelu", "hidden_dropout": 0, "attention_dropout": 0}
MOST = {"num_hidden_layers": 256, "max_position_embeddings": 2 ** 20}  # others: 2 ** 20
BETWEEN = {"layer_norm_eps": (0, 0.1), "rotary_emb_base": (1, 1e12), "rotary_pct": (0, 1)}
FLAGS = ("attention_bias", "use_parallel_residual", "tie_word_embeddings")
TURNS = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
FOREIGN = {  # ends of names of weights that we do not read: what they are, what to do
    (".bin", ".pt", ".pth", ".pkl", ".ckpt"): (
        "a pickled checkpoint, and we never unpickle", "where you trust it, convert it with "
        "transformers: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"),
    (".gguf",): ("a GGUF file, quantised", "take the original model in safetensors"),
    (".onnx",): ("an ONNX file", "take the original model in safetensors"),
    (".h5", ".msgpack"): ("weights for TensorFlow or Flax", "take those in safetensors")}
PADS = ("<|padding|>", "<|pad|>", "<pad>", "[PAD]", "<|endoftext|>", "</s>", "<eos>", "[SEP]")


def published(layers, hidden, heads, vocab=50304):
    """config.json of a published Pythia. All have 2048 positions: litgpt's 512 for 14m and 1024 for
    31m stand neither in the hub's config.json nor in EleutherAI/pythia models/*/*.yml."""
    return {"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "hidden_act": "gelu",
            "vocab_size": vocab, "hidden_size": hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads, "intermediate_size": 4 * hidden, **DEFAULTS,
            "initializer_range": 0.02, "bos_token_id": 0, "eos_token_id": 0}


SHAPES = {
    "pythia-14m": published(6, 128, 4), "pythia-31m": published(6, 256, 8),
    "pythia-70m": published(6, 512, 8), "pythia-160m": published(12, 768, 12),
    "pythia-410m": published(24, 1024, 16), "pythia-1b": published(16, 2048, 8),
    "pythia-1.4b": published(24, 2048, 16), "pythia-2.8b": published(32, 2560, 32),
    "pythia-6.9b": published(32, 4096, 32, 50432), "pythia-12b": published(36, 5120, 40, 50688)}


# ---- the model -----------------------------------------------------------------------------------

class Place(NamedTuple):
    """Where a block's queries stand and what they may see."""
    cos: torch.Tensor             # (T, R), or (B, 1, M, R) for M queries a row; float32
    sin: torch.Tensor
    bias: torch.Tensor | None     # 0 or -inf: (T, T), or (B*H, M, S); None: causal, fused kernel
    at: torch.Tensor | None       # (B, M) positions of a row's queries; None: all T tokens
    wide: tuple | None = None     # the tables of Turn; None: rotate in halves


def rotary_tables(positions, dims, base, device):
    """cos and sin (positions, R) float32 of RoPE (arXiv 2104.09864) over the first `dims` of d."""
    frequency = base ** -(torch.arange(0, dims, 2, dtype=torch.float32, device=device) / dims)
    angle = torch.arange(positions, dtype=torch.float32, device=device)[:, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x, place):
    """x (..., T, d): pair i is dimensions (i, R + i), as GPT-NeoX has it; the rest passes through.
    In float32 whatever x is: only 2R of d dimensions, and tables in bf16 cost two digits."""
    pairs = place.cos.shape[-1]
    if place.wide:
        return Turn.apply(x, *place.wide, pairs)
    one, two, rest = x.split((pairs, pairs, x.shape[-1] - 2 * pairs), -1)
    turned = one * place.cos - two * place.sin, two * place.cos + one * place.sin
    return torch.cat((turned[0].to(x.dtype), turned[1].to(x.dtype), rest), -1)


class Turn(torch.autograd.Function):
    """`rotate` of T tokens, to the bit, without loops over R numbers: the partner of a number is R
    places before or behind it in the T*d numbers of a row. Forward and backward 1.5-1.8x (CPU)."""

    @staticmethod
    def tables(cos, sin, d):
        """(T, d) cos, 1 where nothing turns, and (T*d,) -sin for one, sin for two, elsewhere 0."""
        (T, R), sides = cos.shape, cos.new_zeros(2, len(cos), d)
        sides[0, :, :R], sides[1, :, R:2 * R] = -sin, sin
        return torch.cat((cos, cos, cos.new_ones(T, d - 2 * R)), -1), *sides.flatten(1)

    @staticmethod
    def forward(ctx, x, cos, ahead, behind, pairs):
        ctx.save_for_backward(cos, ahead, behind)
        ctx.pairs = pairs
        whole = x.to(torch.promote_types(x.dtype, cos.dtype)).contiguous()
        turned, flat = whole * cos, whole.flatten(-2)
        out, term = turned.flatten(-2), torch.empty_like(flat[..., pairs:])
        out[..., :-pairs] += torch.mul(flat[..., pairs:], ahead[:-pairs], out=term)
        out[..., pairs:] += torch.mul(flat[..., :-pairs], behind[pairs:], out=term)
        return turned.to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        cos, ahead, behind = ctx.saved_tensors
        return Turn.apply(g, cos, -ahead, -behind, ctx.pairs), None, None, None, None


def explicit(T, device):
    """True: write attention out. On CPU up to T = 128 that is 1.4-1.7x faster than the fused
    kernel; under torch.func always, where vmap would run the fused kernel row by row."""
    return torch._C._are_functorch_transforms_active() or (device.type == "cpu" and T <= 128)


def attend(q, k, v, bias):
    """softmax(q k^T / sqrt(d) + bias) v: q (B, H, Tq, d), k and v (B, H, S, d) -> (B, H, Tq, d)."""
    if bias is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    rows, k, v = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)                # (B*H, ., d)
    scores = torch.baddbmm(bias, rows, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
    return torch.bmm(scores.softmax(-1), v).view(q.shape)


def tokens(x, at):
    """x (B, T, D), at (B, M) -> (B, M, D), the tokens of each row that stand at `at`."""
    return x[torch.arange(x.shape[0], device=x.device)[:, None], at]


class Cache:
    """Keys and values of one block, (B, H, S, d) each, for `room` = S positions."""

    def __init__(self, room):
        self.room = room

    def put(self, k, v, at):
        """The prompt's k, v (B, H, T, d) are kept (at None); then one token a row goes to `at`."""
        if at is None:
            self.k, self.v = (F.pad(x, (0, 0, 0, self.room - x.shape[2])) for x in (k, v))
            return k, v
        rows, at = torch.arange(len(at), device=at.device), at[:, 0]
        self.k[rows, :, at], self.v[rows, :, at] = k[:, :, 0], v[:, :, 0]
        return self.k, self.v


class FusedQKV(nn.Linear):
    """Query, key and value in one matrix whose rows are interleaved by head: (H, 3, d, D)."""

    def __init__(self, hidden, heads, bias):
        super().__init__(hidden, 3 * hidden, bias)
        self.heads = heads

    def forward(self, x, part=ALL):
        """x (B, T, D) -> (B, T, H * n * d): only the n of (query, key, value) that `part` names."""
        weight, bias = (p if p is None or part == ALL else
                        p.unflatten(0, (self.heads, 3, -1))[:, part].flatten(0, 2)
                        for p in (self.weight, self.bias))
        return F.linear(x, weight, bias)


class Tied(nn.Module):
    """A head without a matrix of its own: the embedding's."""

    def __init__(self, embedding):
        super().__init__()
        self.embedding = [embedding]  # in a list: not a submodule, so its weight has one name

    @property
    def weight(self):
        return self.embedding[0].weight

    def forward(self, h):
        return F.linear(h, self.weight)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c["num_attention_heads"]
        self.query_key_value = FusedQKV(c["hidden_size"], self.heads, c["attention_bias"])
        self.dense = nn.Linear(c["hidden_size"], c["hidden_size"], c["attention_bias"])

    def split(self, x, part):
        """x (B, T, D) -> (n, B, H, T, d)"""
        x = self.query_key_value(x, part)
        return x.unflatten(-1, (self.heads, part.stop - part.start, -1)).permute(3, 0, 2, 1, 4)

    def forward(self, x, place, last=None, cache=None):
        if last is None:
            qk, v = self.split(x, ALL).split((2, 1))
            (q, k), v, bias = rotate(qk, place).unbind(), v[0], place.bias
        else:
            q = rotate(self.split(tokens(x, last.at), QUERY)[0], last)
            k, v = self.split(x, KEY_VALUE).unbind()
            k, bias = rotate(k, place), last.bias
        if cache is not None:
            k, v = cache.put(k, v, place.at)
        return self.dense(attend(q, k, v, bias).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dense_h_to_4h = nn.Linear(c["hidden_size"], c["intermediate_size"])
        self.dense_4h_to_h = nn.Linear(c["intermediate_size"], c["hidden_size"])

    def forward(self, x):
        return self.dense_4h_to_h(F.gelu(self.dense_h_to_4h(x)))


class TokenNLL(torch.autograd.Function):
    """-weight log p(token), p = softmax(h W^T): (P,), float32 at least, from h (P, D), W (V, D),
    token and weight (P,). Logits of sizes[0] tokens exist at a time. In forward they become their
    own gradient, in place, as if the result's were 1 (Hsu et al. 2024, arXiv 2410.10989), and
    backward scales that; a result whose gradients differ is computed again. On a CPU 1.3x the speed
    of computing all logits again in backward (LM step, 14m)."""

    @staticmethod
    def forward(ctx, h, W, token, weight, sizes, wanted):
        on = torch.is_autocast_enabled(h.device.type)
        dtype = torch.get_autocast_dtype(h.device.type) if on else h.dtype
        nll, *found = by_chunks(h, W, token, weight, dtype, sizes, wanted)
        ctx.save_for_backward(h, W, token, weight, *found)
        ctx.rest = dtype, sizes, wanted
        return nll

    @staticmethod
    def backward(ctx, g):
        h, W, token, weight, *found = ctx.saved_tensors
        if bool((g == g[0]).all()):
            g_h, g_W = (x if x is None else x * g[0].to(x.dtype) for x in found)
        else:
            _, g_h, g_W = by_chunks(h, W, token, weight * g, *ctx.rest)
        return g_h, g_W, None, None, None, None


def by_chunks(h, W, token, weight, dtype, sizes, wanted):
    """(-weight log p (P,), and where `wanted` says so the gradients of its sum: (P, D) of h, (V, D)
    of W). sizes: tokens whose logits, in `dtype`, are held at a time (about: parts are equal), and
    worked on at a time."""
    nll = weight.new_empty(len(h), dtype=wide(h).dtype)
    g_h, g_W = (torch.zeros_like(x) if w else None for x, w in zip((h, W), wanted))
    W, size = W.to(dtype), -(-len(h) // max(1, round(len(h) / sizes[0])))
    for start in range(0, len(h), size):
        at = slice(start, start + size)
        part = h[at].to(dtype)
        logits = F.linear(part, W)
        for x, y, w, out in zip(*(x.split(sizes[1]) for x in (
                logits, token[at], weight[at], nll[at]))):
            own, z = wide(x.gather(1, y[:, None]))[:, 0], wide(x)
            out.copy_((softmax_(z) - own) * w)
            if any(wanted):
                z.mul_(w[:, None])
                z[torch.arange(len(y), device=y.device), y] -= w
                if z is not x:                                # bfloat16
                    x.copy_(z)
        if wanted[0]:
            g_h[at] = logits @ W
        if wanted[1] and g_W.dtype == dtype:
            g_W.addmm_(logits.t(), part)
        elif wanted[1]:
            g_W += logits.t() @ part
    return nll, g_h, g_W


def softmax_(z):
    """Turns z (P, V) into softmax(z), in place, and returns logsumexp(z) (P,): one exp a logit,
    where a log_softmax and its gradient take two (LM step, 14m: head 1.15x on CPU)."""
    top = z.amax(1)
    torch.softmax(z, 1, out=z)
    return top - z.amax(1).log()               # the largest term of the sum is exp(0)


def wide(x):
    """x in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.parallel = c["use_parallel_residual"]
        self.input_layernorm = nn.LayerNorm(c["hidden_size"], c["layer_norm_eps"])
        self.post_attention_layernorm = nn.LayerNorm(c["hidden_size"], c["layer_norm_eps"])
        self.attention = Attention(c)
        self.mlp = MLP(c)

    def forward(self, x, place, last=None, cache=None):
        """x (B, T, D) -> (B, T, D); with `last` only those tokens of a row, exactly: (B, M, D)."""
        attended = self.attention(self.input_layernorm(x), place, last, cache)
        if last is not None:
            x = tokens(x, last.at)
        if self.parallel:
            return x + attended + self.mlp(self.post_attention_layernorm(x))
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x))


class GPTNeoX(nn.Module):
    """head "class": logits (B, K) of the last real token; "lm": (B, T, V). config: a dict."""

    def __init__(self, config, head, num_labels=2, head_layer=-1, where="config.json"):
        super().__init__()
        self.config, self.kind, self.head_layer = dict(config), head, head_layer
        self.whole = False                            # nll: all logits at once, in their places
        c = self.settings = check(config, head, head_layer, where)
        self.gpt_neox = nn.Module()
        table = torch.zeros(c["vocab_size"], c["hidden_size"])  # nn.Embedding's own start imports
        self.gpt_neox.embed_in = nn.Embedding.from_pretrained(table, freeze=False)  # dynamo: 1.4 s
        self.gpt_neox.layers = nn.ModuleList(Block(c) for _ in range(c["num_hidden_layers"]))
        self.gpt_neox.final_layer_norm = nn.LayerNorm(c["hidden_size"], c["layer_norm_eps"])
        if head == "class":
            self.score = nn.Linear(c["hidden_size"], num_labels, bias=False)
            nn.init.zeros_(self.score.weight)
        elif c["tie_word_embeddings"]:
            self.embed_out = Tied(self.gpt_neox.embed_in)
        else:
            self.embed_out = nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        dims = int(c["hidden_size"] // c["num_attention_heads"] * c["rotary_pct"])
        self.rotary = dims, c["rotary_emb_base"]
        cos, sin = rotary_tables(c["max_position_embeddings"], *self.rotary, "cpu")
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def place(self, x):
        """x (B, T, D): all T tokens, causal. Rows longer than the tables compute their own."""
        T, bias, wide = x.shape[1], None, None
        if explicit(T, x.device):
            bias = torch.full((T, T), float("-inf"), dtype=x.dtype, device=x.device).triu(1)
        cos, sin = ((self.cos[:T], self.sin[:T]) if T <= len(self.cos) else
                    rotary_tables(T, *self.rotary, x.device))
        if not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()):
            wide = Turn.tables(cos, sin, x.shape[-1] // self.settings["num_attention_heads"])
        return Place(cos, sin, bias, None, wide)

    def place_at(self, at, cos, sin, S, dtype):
        """at (B, M): M queries a row, each sees positions 0..at of S."""
        seen = torch.arange(S, device=at.device) <= at[..., None]                 # (B, M, S)
        bias = torch.where(seen, 0.0, float("-inf")).to(dtype)[:, None]
        bias = bias.expand(-1, self.settings["num_attention_heads"], -1, -1).flatten(0, 1)
        return Place(cos[at][:, None], sin[at][:, None], bias, at)

    def embed(self, ids, noise=None):
        x = self.gpt_neox.embed_in(ids)                                           # (B, T, D)
        return x if noise is None else x + noise.to(x.dtype)

    def states(self, ids, noise=None, at=None):
        """(B, T, D) states of all tokens after the final LayerNorm; at (B, M): of the tokens there
        alone, (B, M, D), and the last block evaluates no others."""
        x = self.embed(ids, noise)
        place, few = self.place(x), None
        if at is not None:
            few = self.place_at(at, place.cos, place.sin, x.shape[1], x.dtype)
        for block in self.gpt_neox.layers[:-1]:
            x = block(x, place)
        return self.gpt_neox.final_layer_norm(self.gpt_neox.layers[-1](x, place, few))

    def last_state(self, ids, lengths, noise=None, layer=-1, caches=None):
        """(B, D) transformers' hidden_states[layer] at the last real token; -1 is after the final
        LayerNorm. The last block evaluates only what that token needs: 14 % less work at L = 6."""
        x = self.embed(ids, noise)
        place = self.place(x)
        last = self.place_at((lengths - 1)[:, None], place.cos, place.sin, x.shape[1], x.dtype)
        blocks = list(self.gpt_neox.layers)[:len(self.gpt_neox.layers) + 1 + layer]
        caches = caches or [None] * len(blocks)
        for block, cache in zip(blocks[:-1], caches):
            x = block(x, place, None, cache)
        x = blocks[-1](x, place, last, caches[-1])[:, 0]
        return self.gpt_neox.final_layer_norm(x) if layer == -1 else x

    def head(self, h):
        """h (..., D) -> logits (..., K) or (..., V)"""
        return (self.score if self.kind == "class" else self.embed_out)(h)

    def forward(self, ids, lengths, noise=None, mask=None):
        """ids (B, T) int64 right-padded, lengths (B,) int64 >= 1, noise (B, T, D) added to the
        embeddings -> (B, K) for "class", (B, T, V) for "lm", (B,) as `nll` if a mask is given."""
        if mask is not None:
            return self.row_nll(ids, mask, noise)
        if self.kind == "class":
            return self.head(self.last_state(ids, lengths, noise, self.head_layer))
        return self.head(self.states(ids, noise))

    def hidden(self, ids, lengths, noise=None):
        """(B, D) final-LayerNorm state at the last real token, whatever the class head reads."""
        return self.last_state(ids, lengths, noise)

    def nll(self, ids, lengths, mask):
        """Per-row sum of -log p(ids[t] | ids[:t]) over the t with mask[:, t] = 1: (B,), in nats.
        mask (B, T), or weights; its column 0 is ignored, nothing predicts token 0. Fastest where
        the results of all rows have one gradient: a mean over tokens belongs into the weights."""
        return self(ids, lengths, mask=mask)    # by __call__: functional_call, DDP and FSDP see it

    def row_nll(self, ids, mask, noise=None):
        """Logits only where mask is not 0, a part of the tokens at a time (TokenNLL). Compiled
        (inductor fuses the loss into them), under torch.func and if `whole`: all tokens at once."""
        assert self.kind == "lm", 'rule: nll needs head="lm"'
        target = ids[:, 1:].flatten()
        mask = mask[:, 1:]
        if self.whole or torch.compiler.is_compiling() or (
                torch._C._are_functorch_transforms_active()):
            h = self.states(ids, noise)[:, :-1].flatten(0, 1)                     # (B*(T-1), D)
            return (self.token_nll(h, target).view(mask.shape) * mask).sum(1)
        kept = mask.flatten().nonzero()[:, 0]                                     # (P,)
        h, truth = self.kept_states(ids, mask, noise, kept), target[kept]
        on_cpu = h.device.type == "cpu"
        most, few = (limit[on_cpu] // self.settings["vocab_size"] + 1
                     for limit in (LOGITS_HELD, LOGITS_AT_ONCE))
        if len(h) <= few:
            nll = self.token_nll(h, truth) * mask.flatten()[kept]
        else:
            W, grad = self.embed_out.weight, torch.is_grad_enabled()
            weight = mask.flatten()[kept].to(wide(h).dtype)
            nll = TokenNLL.apply(h, W, truth, weight, (most, few),
                                 (grad and h.requires_grad, grad and W.requires_grad))
        nll = nll.new_zeros(target.shape).index_put((kept,), nll)
        return nll.view(mask.shape).sum(1)

    def kept_states(self, ids, mask, noise, kept):
        """(P, D) states of the tokens kept (P,), places in mask (B, T - 1) flattened. Where they
        are few (an answer's) the last block evaluates no others: SFT 1.12-1.19x (4 blocks, CPU)."""
        number = (mask != 0).cumsum(1)                                            # (B, T - 1)
        M = int(number[:, -1].max()) if mask.numel() else 0
        if 2 * M > mask.shape[1]:
            return self.states(ids, noise)[:, :-1].flatten(0, 1).index_select(0, kept)
        row, place = kept // mask.shape[1], kept % mask.shape[1]
        slot = number.flatten()[kept] - 1
        at = kept.new_zeros(len(ids), max(1, M)).index_put((row, slot), place)    # (B, M)
        return self.states(ids, noise, at)[row, slot]

    def token_nll(self, h, target):
        """h (P, D), target (P,) -> (P,) float32 (float64 in a float64 model)"""
        return F.cross_entropy(wide(self.head(h)), target, reduction="none")


# ---- generation ----------------------------------------------------------------------------------

class Continuation:
    """Prompts read once and continued token by token. h (B, D): the final-LayerNorm state of each
    row's newest token. ids (B, T) right-padded, lengths (B,); `room` tokens may follow.

    Tokens may be fed anew from any place i: what stood there and behind it is forgotten, so several
    continuations of one prompt read it once. Raises ValueError where prompt and room exceed
    max_position_embeddings."""

    def __init__(self, model, ids, lengths, room):
        assert model.kind == "lm", 'rule: a continuation needs head="lm"'
        ids = ids[:, :int(lengths.max())]             # on CUDA padded further
        self.model, self.lengths, self.room = model, lengths, ids.shape[1] + room
        if self.room > len(model.cos):
            raise ValueError(f"generate: {ids.shape[1]} prompt + {room} new tokens exceed the "
                             f"model's {len(model.cos)} positions; shorten the prompt or ask for "
                             "fewer")
        self.caches = [Cache(self.room) for _ in model.gpt_neox.layers]
        self.h = model.last_state(ids, lengths, caches=self.caches)

    def feed(self, token, i):
        """token (B,): the i-th behind each prompt. Returns h."""
        x = self.model.embed(token[:, None])                                      # (B, 1, D)
        at = (self.lengths + i)[:, None]
        place = self.model.place_at(at, self.model.cos, self.model.sin, self.room, x.dtype)
        for block, cache in zip(self.model.gpt_neox.layers, self.caches):
            x = block(x, place, None, cache)
        self.h = self.model.gpt_neox.final_layer_norm(x[:, 0])
        return self.h


def side_by_side(model, most):
    """Tokens, of prompts and behind them, that are continued at once: `most`, fewer where their
    keys and values would take more than a quarter of a GPU."""
    p, c = next(model.parameters()), model.settings
    if p.device.type == "cuda":
        memory = torch.cuda.get_device_properties(p.device).total_memory
        most = min(most, memory // (4 * 8 * c["num_hidden_layers"] * c["hidden_size"]))
    return most


@torch.no_grad()
def generate(model, ids, lengths, new_tokens, temperature=0.0, generator=None, end=None,
             watch=None):
    """Continue each row from its own last real token: (B, new_tokens) int64.

    temperature 0 is greedy, else softmax(logits / temperature) is sampled as the numbers draws
    (B, new_tokens) in [0, 1) say, which come from `generator` (None: torch's global one) unless
    they are given in its place. A row that wrote `end` goes on with `end`, and when all did nothing
    more is computed. watch(h, logits, token), called with h (B, D) before each token, its logits
    (B, V) and the token (B,); then once with (h, None, None) of the last one. Raises ValueError
    where prompt and new tokens exceed max_position_embeddings, and when logits to sample from were
    not finite."""
    assert temperature >= 0, f"rule: temperature >= 0, got {temperature}"
    draws = generator
    if temperature and not torch.is_tensor(draws):
        on = generator.device if generator else ids.device
        draws = torch.rand(len(ids), new_tokens, generator=generator, device=on).to(ids.device)
    row = Continuation(model, ids, lengths, new_tokens)
    out = ids.new_full((len(ids), new_tokens), 0 if end is None else end)
    done = torch.zeros_like(lengths, dtype=torch.bool)
    finite = torch.ones_like(done)
    for i in range(new_tokens):
        if temperature or watch:
            logits = model.head(row.h)
            finite &= logits.amax(-1).isfinite()
            u = draws[:, i] if temperature else None
            out[:, i] = sample(logits, temperature, u)
        else:
            out[:, i] = greedy(model, row.h)
        if end is not None:
            out[:, i].masked_fill_(done, end)
            done |= out[:, i] == end
        if watch:
            watch(row.h, logits, out[:, i])
        if end is not None and done.all():
            break
        if i + 1 < new_tokens or watch:
            row.feed(out[:, i], i)
    if watch:
        watch(row.h, None, None)
    if temperature and not finite.all():
        raise ValueError("generate: the model's output is not finite")
    return out


def greedy(model, h):
    """(B,) the most probable token behind each state h (B, D). On CPU the product is W h^T, in half
    the time of h W^T (4.2 against 9.0 ms at 14m, B = 32), and runs as in `largest`."""
    weight = model.embed_out.weight
    if h.device.type != "cpu" or len(weight) % 128:
        return model.head(h).argmax(-1)
    runs = (weight @ h.T).unflatten(0, (-1, 128))                                 # (V/128, 128, B)
    best = runs.amax(1).argmax(0)                                                 # (B,)
    return best * 128 + runs[best, :, torch.arange(len(h))].argmax(-1)


def largest(logits):
    """logits.argmax(-1), (P, V) -> (P,). On CPU by runs of 128 tokens, since amax is vectorised
    there and argmax not (.6 against 4.8 ms at P = 84)."""
    if logits.device.type != "cpu" or logits.shape[1] % 128:
        return logits.argmax(-1)
    runs = logits.unflatten(1, (-1, 128))                                         # (P, V/128, 128)
    best = runs.amax(2).argmax(1)                                                 # (P,)
    return best * 128 + runs[torch.arange(len(logits)), best].argmax(-1)


def sample(logits, temperature, u):
    """logits (B, V) -> (B,) int64: where the distribution function passes u (B,), in [0, 1)."""
    if temperature == 0:
        return largest(logits)
    z = logits.float()
    cdf = ((z - z.amax(-1, keepdim=True)) / temperature).softmax(-1).cumsum(-1)
    return (cdf <= u[:, None] * cdf[:, -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)


# ---- reading a folder ----------------------------------------------------------------------------

def check(config, head, head_layer, where):
    """The config with transformers' defaults filled in, null being absent, and either spelling of
    the rotary settings. Raises ValueError, naming `where`, for what this file does not compute and
    for values of another kind or size than a model has."""
    config = {key: value for key, value in config.items() if value is not None}
    c = {**DEFAULTS, **config, **rotary(config, where)}
    for key, only in ONLY.items():
        if c.get(key, None if key == "model_type" else only) != only:
            raise ValueError(f"{where}: {key} = {shown(c.get(key))} is not supported, only "
                             f"{shown(only)}: this is GPT-NeoX as Pythia uses it")
    for key in (*SIZES, "max_position_embeddings"):
        most = MOST.get(key, 2 ** 20)
        if type(c.get(key)) is not int or not 1 <= c[key] <= most:
            raise ValueError(f"{where}: {key} must be a positive integer up to {most}, not "
                             f"{shown(c.get(key))}")
    for key, (low, high) in BETWEEN.items():
        if type(c[key]) not in (int, float) or not low < c[key] <= high:
            raise ValueError(f"{where}: {key} must be a number above {low:g} and at most {high:g}, "
                             f"not {shown(c[key])}")
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):  # transformers' alone; -1: none
        for k in c[key] if type(c.get(key)) is list else [c.get(key, -1)]:
            if type(k) is not int or not -1 <= k < c["vocab_size"]:
                raise ValueError(f"{where}: {key} must be below vocab_size, not {shown(k)}")
    for key in FLAGS:
        if type(c[key]) is not bool:
            raise ValueError(f"{where}: {key} must be true or false, not {shown(c[key])}")
    if c["hidden_size"] % c["num_attention_heads"]:
        raise ValueError(f"{where}: hidden_size is not a multiple of num_attention_heads")
    d = c["hidden_size"] // c["num_attention_heads"]
    turned = int(d * c["rotary_pct"])
    if not 1 <= turned <= d - turned % 2 or turned * c["max_position_embeddings"] > 2 ** 24:
        raise ValueError(f"{where}: rotary_pct {c['rotary_pct']:g} of {d} dimensions a head leaves "
                         "no pair to rotate, or the tables do not fit any memory")
    if head not in CLASS_NAME:
        raise ValueError(f'head must be "class" or "lm", not {head!r}')
    if not (-c["num_hidden_layers"] if head == "class" else -1) <= head_layer <= -1:
        raise ValueError(f"{where}: head_layer {head_layer} is not one of -1 (final LayerNorm) "
                         'to minus the number of layers, or not -1 with head="lm"')
    return c


def rotary(config, where):
    """{our name: value} of the rotary settings that stand in rope_scaling or else rope_parameters,
    as transformers reads them. Raises ValueError for every type but the default one, under any
    name, and for a setting that we do not compute: one that is dropped makes the logits wrong."""
    found = {}
    for place in ("rope_parameters", "rope_scaling"):
        part = config.get(place, {})
        if not isinstance(part, dict):
            raise ValueError(f"{where}: {place} must be an object, not {shown(part)}")
        for key, value in part.items():
            usual = {"type": "default", "rope_type": "default", "factor": 1}.get(key)
            if key in TURNS and value is not None:
                found[TURNS[key]] = value
            elif value not in (None, usual):
                raise ValueError(f"{where}: {place}.{key} = {shown(value)} is not supported"
                                 + f", only {shown(usual)}" * (usual is not None)
                                 + ": positions are not scaled here")
    for key in ("rope_type", *TURNS):  # not GPT-NeoX's names: transformers ignores them
        used = found.get(TURNS.get(key), config.get(TURNS.get(key), "default"))
        if key in config and config[key] != used:
            raise ValueError(f"{where}: {key} = {shown(config[key])} is not supported here; it "
                             "belongs into rope_parameters")
    return found


def shown(value):
    """A value for a message, as JSON writes it (null, true), cut."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) < 60 else text[:57] + "..."


def read_json(path, what):
    """A JSON object, or ValueError naming `path` and `what` it should be."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; it should be {what}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(content, ensure_ascii=False).encode()  # half a character could not be saved
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}); it should be {what}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a JSON object; it should be {what}")
    return content


def weight_files(folder):
    """The safetensors files of a folder: one, or the shards of its index. Nothing is unpickled."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        for ends, (what, then) in FOREIGN.items():
            if found := sorted(path for path in folder.iterdir() if path.name.endswith(ends)):
                raise ValueError(f"{found[0]}: {what}; {then}")
        raise ValueError(f"{folder}: neither {single.name} nor {index.name}")
    shards = read_json(index, "an index of shards").get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ValueError(f"{index}: no weight_map; fetch the file again")
    for name in shards.values():  # nothing outside the folder, and what rows.sha256 counts
        if not (isinstance(name, str) and Path(name).name == name and name.endswith(".safetensors")
                and name[0] != "."):
            raise ValueError(f"{index}: {shown(name)} is no .safetensors file of this folder; "
                             "fetch the file again")
    files = [folder / name for name in sorted(set(shards.values()))]
    for file in files:
        if not file.is_file():
            raise ValueError(f"{file}: this shard of {index.name} is missing; fetch it again")
    return files


@contextlib.contextmanager
def room(path):
    """ValueError where there is no memory for the model alone, whatever the batch."""
    try:
        yield
    except (MemoryError, RuntimeError, SafetensorError, OSError) as error:
        if not (isinstance(error, MemoryError) or "memory" in str(error)):
            raise
        raise ValueError(f"{path}: the model alone does not fit the memory that may be used "
                         f"({str(error).splitlines()[0] if str(error) else 'out of memory'}); "
                         "raise the limit or take a smaller one") from error


def headers(folder):
    """{name: (file, name in the file, shape, dtype)} of a folder's tensors, without old buffers."""
    stored = {}
    for path in weight_files(folder):
        try:
            with room(path), safe_open(path, "pt") as file:
                for key in file.keys():
                    entry, name = file.get_slice(key), RENAMED.get(key, key)
                    stored[name] = path, key, tuple(entry.get_shape()), entry.get_dtype()
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: damaged or incomplete ({error}); fetch it again") from error
    return {name: entry for name, entry in stored.items() if not name.endswith(OBSOLETE)}


def copy_of(file, key, p, device, dtype):
    """The tensor `key` of an open file, a copy: a map of the file could change under us."""
    return file.get_tensor(key).to(device, dtype, copy=True)


def read_weights(folder, stored, wanted, device, dtype, read=copy_of):
    """The values of the parameters `wanted` {name: p}, each by read(file, key, p, device, dtype).
    Raises ValueError for missing and unexpected names, other shapes, and integer weights."""
    missing, extra = sorted(wanted.keys() - stored.keys()), sorted(stored.keys() - wanted.keys())
    if missing or extra:
        raise ValueError(f"{folder}: the weights do not fit config.json: {len(missing)} missing "
                         f"{missing[:3]}, {len(extra)} unexpected {extra[:3]}")
    for name, (path, _, shape, kind) in stored.items():
        if shape != tuple(wanted[name].shape) or kind not in ("F32", "F16", "BF16"):
            raise ValueError(f"{path}: {name} is {kind} {list(shape)}; config.json needs "
                             f"{list(wanted[name].shape)} in F32, F16 or BF16")
    weights = {}
    for path in sorted({entry[0] for entry in stored.values()}):
        with safe_open(path, "pt") as file:
            for name, (at, key, _, _) in stored.items():
                if at == path:
                    weights[name] = p = read(file, key, wanted[name], device, dtype)
                    if not finite(p):
                        raise ValueError(f"{path}: {name} has numbers that are not finite (NaN or "
                                         "infinity); fetch the file again or take another "
                                         "checkpoint")
    return weights


def finite(p):
    """Whether all numbers of p, or of this process's part of it, are finite. The sum says so at a
    quarter of the time, unless it overflows."""
    p = p.to_local() if hasattr(p, "to_local") else p
    return bool(p.sum().isfinite()) or bool(p.isfinite().all())


def trained_head(folder, config, num_labels, head_layer):
    """(num_labels, head_layer) of a folder's own `score`; ValueError where others are asked for."""
    labels, K, layer = (default if config.get(key) is None else config[key] for key, default in
                        (("id2label", {}), ("num_labels", 2), ("w2s_head_layer", -1)))
    if not isinstance(labels, dict) or type(K) is not int or type(layer) is not int:
        raise ValueError(f"{folder / 'config.json'}: id2label, num_labels or w2s_head_layer is not "
                         "an object, a number, a number")
    found = len(labels) or K, layer
    for key, own, asked in zip(("num_labels", "head_layer"), found, (num_labels, head_layer)):
        if asked not in (None, own):
            raise ValueError(f"{folder}: its classifier has {key} {own}, not {asked}")
    return found


def load(folder, head, num_labels=None, device="cpu", dtype=torch.float32, head_layer=None,
         ready=None, read=copy_of):
    """A model from a folder in Hugging Face layout.

    head "class" takes the folder's own `score`, or starts a zero one over an LM checkpoint, whose
    LM head it ignores. num_labels None: the folder's, else 2. head_layer None: the folder's, else
    -1, the final LayerNorm; -2 reads transformers' hidden_states[-2] (docs/deviations.md, E12).
    ready(model), given, may change the model before it has weights, on the meta device; read: what
    reads them then, for instance shares of them (w2s.parallel).
    Raises ValueError, one line that names the file, for whatever is wrong with the folder."""
    if dtype == torch.float16:
        raise ValueError("dtype float16: attention overflows in pythia-14m and the loss is NaN "
                         "(transformers#30199); use float32 or bfloat16")
    folder, fresh = Path(folder), {}
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    config = read_json(folder / "config.json", "the configuration of a GPT-NeoX model")
    check(config, head, -1, folder / "config.json")
    stored = headers(folder)
    if "embed_in.weight" in stored:
        raise ValueError(f"{folder}: saved without its head (AutoModel); save it anew as "
                         "AutoModelForCausalLM or AutoModelForSequenceClassification")
    if "score.weight" in stored and head == "lm":
        raise ValueError(f"{folder}: a classifier (score.weight) without an LM head; load it with "
                         'head="class", or load its base model')
    if "score.weight" in stored:
        num_labels, head_layer = trained_head(folder, config, num_labels, head_layer)
    num_labels, head_layer = (default if given is None else given
                              for given, default in ((num_labels, 2), (head_layer, -1)))
    with torch.device("meta"):
        model = GPTNeoX(config, head, num_labels, head_layer, folder / "config.json")
    if ready:
        ready(model)
    wanted = dict(model.named_parameters())
    if "embed_out.weight" not in wanted:              # a class head, or tied embeddings
        stored.pop("embed_out.weight", None)
    if head == "class" and "score.weight" not in stored:
        p = wanted.pop("score.weight")
        fresh["score.weight"] = (  # zeros_like imports sympy, .7 s: only where p is shared out
            torch.zeros_like(p, dtype=dtype, device=device) if hasattr(p, "placements") else
            torch.zeros(p.shape, dtype=dtype, device=device))
    with room(folder):
        weights = read_weights(folder, stored, wanted, device, dtype, read)
        model.load_state_dict({**weights, **fresh}, assign=True)
        return model.to(device)                       # the rotary tables


def untrained(config, seed):
    """An LM as transformers initialises GPT-NeoX: N(0, initializer_range) matrices, zero biases,
    LayerNorm (1, 0); drawn on the CPU in the parameters' order. Its config: w2s_from_scratch.
    Raises ValueError for more parameters than this machine could hold."""
    with torch.device("meta"):
        model = GPTNeoX({**config, "w2s_from_scratch": True}, "lm")
    need = 4 * sum(p.numel() for p in model.parameters())
    if need > (here := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        raise ValueError(f"a model of this shape needs {need / 1e9:.3g} GB, this machine has "
                         f"{here / 1e9:.3g}; make it smaller")
    generator, std = torch.Generator().manual_seed(seed), config.get("initializer_range", 0.02)
    weights = {}
    for name, p in model.named_parameters():
        weights[name] = torch.full(p.shape, float(name.endswith("norm.weight")), device="cpu")
        if p.ndim == 2:
            weights[name].normal_(0, std, generator=generator)
    model.load_state_dict(weights, assign=True)
    return model


# ---- writing a folder ----------------------------------------------------------------------------

def put(path, write):
    """write(temporary name), then rename: a file that exists is complete, whatever happens.
    Raises OSError that names `path`, also for a full disk under safetensors."""
    temporary = path.with_name(f".{path.name}.part")  # what is left of a kill goes with the next
    try:
        temporary.touch()
        mode = temporary.stat().st_mode      # by umask; safetensors 0.8 leaves 0600
        write(temporary)
        temporary.chmod(mode)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise OSError(f"{path}: cannot write: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def put_json(path, content):
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    put(path, lambda name: name.write_text(text, encoding="utf-8"))


def save(model, folder, tokenizer_file, shard_bytes=4_500_000_000, whole=torch.Tensor.contiguous):
    """Write config.json, weights and tokenizer so that transformers 4 and 5 load the folder, as
    AutoModelForSequenceClassification (if head_layer is -1) or AutoModelForCausalLM.

    config.json comes last: a folder without it is unfinished. Keys of it that we do not know are
    kept. Weights over shard_bytes are split, with an index; whole(p) gives them, in their order,
    those of one file at a time. Raises ValueError for a tokenizer_file that is not a tokenizers
    JSON file, OSError for what cannot be written."""
    folder, tokenizer = Path(folder), read_json(Path(tokenizer_file), "a tokenizers JSON file")
    special = special_tokens(tokenizer, model.settings["vocab_size"])
    folder.mkdir(parents=True, exist_ok=True)
    content = Path(tokenizer_file).read_bytes()
    put(folder / "tokenizer.json", lambda name: name.write_bytes(content))
    put_json(folder / "tokenizer_config.json", tokenizer_config(model, tokenizer, special))
    write_weights(model.state_dict(), folder, shard_bytes, whole)
    pad = padding(tokenizer, special)
    put_json(folder / "config.json", saved_config(model, special.get(pad)))
    if pad is None:
        print(f"note: {folder}: the tokenizer has no padding token, so transformers reads one text "
              "at a time", flush=True)


def special_tokens(tokenizer, vocabulary):
    """{text: id} of the added tokens of a tokenizer.json's content that the model knows."""
    added = tokenizer.get("added_tokens")
    entries = [(entry.get("content"), entry.get("id")) for entry in
               (added if isinstance(added, list) else []) if isinstance(entry, dict)]
    return {text: k for text, k in entries
            if isinstance(text, str) and type(k) is int and 0 <= k < vocabulary}


def padding(tokenizer, special):
    """The text of the token that pads: the tokenizer's own, a usual name, an end of text; None
    where no added token is one of them."""
    own = tokenizer.get("padding")
    own = own.get("pad_token") if isinstance(own, dict) else None
    return next((text for text in (own, *PADS) if text in special), None)


def tokenizer_config(model, tokenizer, special):
    """For AutoTokenizer. Not GPTNeoXTokenizer: in transformers 5 that class builds itself, with
    its own normaliser, instead of reading tokenizer.json. Of transformers 4: GPT-NeoX takes no
    token_type_ids, and a text is continued at its right end."""
    pad, end = padding(tokenizer, special), "<|endoftext|>"
    roles = dict.fromkeys(("bos_token", "eos_token", "unk_token"), end if end in special else None)
    return {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
            "model_max_length": model.settings["max_position_embeddings"],
            "model_input_names": ["input_ids", "attention_mask"],
            "padding_side": "left" if model.kind == "lm" else "right",
            **{role: text for role, text in (roles | {"pad_token": pad}).items() if text}}


def saved_config(model, pad):
    """The model's config.json with what transformers and `load` need to read it back. pad: the id
    by which transformers' class head finds the last real token."""
    config, base, part = dict(model.config), model.rotary[1], model.settings["rotary_pct"]
    dtype = str(model.gpt_neox.embed_in.weight.dtype).removeprefix("torch.")
    config.update(architectures=[CLASS_NAME[model.kind]], torch_dtype=dtype, dtype=dtype,
                  rotary_pct=part, rotary_emb_base=base,
                  rope_parameters={**(config.get("rope_parameters") or {}), "rope_type": "default",
                                   "rope_theta": base, "partial_rotary_factor": part})
    if pad is not None:
        config["pad_token_id"] = pad
    if model.kind == "class":
        K, labels = model.score.out_features, config.get("id2label")
        if not (isinstance(labels, dict) and {*labels} == {str(k) for k in range(K)}
                and all(isinstance(label, str) for label in labels.values())
                and len({*labels.values()}) == K):
            labels = {str(k): f"LABEL_{k}" for k in range(K)}
        config.update(id2label=labels, label2id={label: int(k) for k, label in labels.items()},
                      w2s_head_layer=model.head_layer)
    return config


def write_weights(weights, folder, shard_bytes, whole):
    """model.safetensors, or model-i-of-n.safetensors and their index; the other form is removed."""
    shards, room = [{}], shard_bytes
    for name, p in weights.items():
        if p.nbytes > room and shards[-1]:
            shards, room = [*shards, {}], shard_bytes
        shards[-1][name], room = p, room - p.nbytes
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    n = len(shards)
    files = [folder / f"model-{i:05d}-of-{n:05d}.safetensors" for i in range(1, n + 1)]
    for file, shard in zip(files if n > 1 else [single], shards):
        put(file, lambda path: save_file({name: whole(p) for name, p in shard.items()}, path,
                                         {"format": "pt"}))
    if n > 1:
        place = {name: file.name for file, shard in zip(files, shards) for name in shard}
        total = sum(p.nbytes for p in weights.values())
        put_json(index, {"metadata": {"total_size": total}, "weight_map": place})
    (single if n > 1 else index).unlink(missing_ok=True)
