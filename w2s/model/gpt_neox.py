"""GPT-NeoX as Pythia uses it, under Hugging Face's parameter names: state_dict() is the checkpoint.
What other networks share (decoder.py) is `Network` and the functions above it.

Sources: GPT-NeoX-20B (arXiv 2204.06745), Pythia (arXiv 2304.01373); tests/model/test_pythia.py
compares with transformers' modeling_gpt_neox within 1e-5 in float32. Dropout is refused: Pythia has
none. Right padding under a causal mask needs no attention mask: it stands after every real token.

Shapes: B rows, T tokens, D hidden, H heads, d = D/H, R rotated pairs, V vocabulary, K classes,
L layers, S positions of the key-value cache, P predicted tokens.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from w2s.model.kernels import TokenNLL, Turn, wide
from w2s.model.configuration import check

QUERY, KEY_VALUE, ALL = slice(0, 1), slice(1, 3), slice(0, 3)    # parts of the fused matrix
LOGITS_HELD = {True: 2 ** 25, False: 2 ** 28}         # at a time by nll: 134 MB on CPU, else 1 GB
LOGITS_AT_ONCE = {True: 2 ** 22, False: 2 ** 26}      # worked on at a time: 17 MB, 268 MB


# ---- the model -----------------------------------------------------------------------------------

class Place(NamedTuple):
    """Where a block's queries stand and what they may see."""
    cos: torch.Tensor             # (T, R), or (B, 1, M, R) for M queries a row; float32
    sin: torch.Tensor
    bias: torch.Tensor | None     # 0 or -inf: (T, T), or (B*H, M, S); None: causal, fused kernel
    positions: torch.Tensor | None  # (B, M) of a row's queries; None: all T tokens
    wide: tuple | None = None     # the tables of Turn; None: rotate in halves


def rotary_tables(positions, dims, base, device):
    """cos and sin (positions, R) float32 of RoPE (arXiv 2104.09864) over the first `dims` of d."""
    # float32 whatever the model's dtype: bfloat16 tables cost two digits (`rotate`)
    frequency = base ** -(torch.arange(0, dims, 2, dtype=torch.float32, device=device) / dims)
    angle = torch.arange(positions, dtype=torch.float32, device=device)[:, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x, place):
    """Rotary positions: pair i of x (..., T, d) is dimensions (i, R + i), as in GPT-NeoX; the other
    d - 2R pass through. Computed in float32 whatever x is: bfloat16 tables cost two digits."""
    pairs = place.cos.shape[-1]
    if place.wide:
        return Turn.apply(x, *place.wide, pairs)
    first, second, rest = x.split((pairs, pairs, x.shape[-1] - 2 * pairs), -1)
    turned = first * place.cos - second * place.sin, second * place.cos + first * place.sin
    return torch.cat((turned[0].to(x.dtype), turned[1].to(x.dtype), rest), -1)


def explicit(T, device):
    """True: write attention out. On CPU up to T = 128 that is 1.4-1.7x faster than the fused
    kernel; under torch.func always, where vmap would run the fused kernel row by row."""
    return torch._C._are_functorch_transforms_active() or (device.type == "cpu" and T <= 128)


def attend(q, k, v, bias, scale=None, cap=None):
    """softmax(scale q k^T + bias) v: q (B, H, Tq, d), k and v (B, H, S, d) -> (B, H, Tq, d). scale
    None: 1 / sqrt(d). cap: c tanh(. / c) of the scaled products, before the bias (Gemma 2)."""
    if bias is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    # batched products with scale and mask in one call: vmap runs the fused kernel row by row
    rows, k, v = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)                # (B*H, ., d)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if cap:
        scores = capped(torch.bmm(rows, k.transpose(1, 2)) * scale, cap) + bias
    else:
        scores = torch.baddbmm(bias, rows, k.transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(-1), v).view(q.shape)


def capped(x, cap):
    """cap tanh(x / cap), or x itself without a cap: x within (-cap, cap)."""
    return cap * torch.tanh(x / cap) if cap else x


def tokens(x, positions):
    """x (B, T, D), positions (B, M) -> (B, M, D): each row's tokens at its positions."""
    return x[torch.arange(x.shape[0], device=x.device)[:, None], positions]


class Cache:
    """Keys and values of one block, (B, H, S, d) each, for `room` = S positions."""

    def __init__(self, room):
        self.room = room

    def put(self, k, v, positions):
        """Store keys and values and return those to attend to. positions None: the prompt's k, v
        (B, H, T, d), padded to S; (B, 1): one token a row, (B, H, 1, d), at its position."""
        if positions is None:
            self.k, self.v = (F.pad(x, (0, 0, 0, self.room - x.shape[2])) for x in (k, v))
            return k, v
        # rows have prompts of their own lengths, so their new tokens stand at different places
        rows, positions = torch.arange(len(positions), device=positions.device), positions[:, 0]
        self.k[rows, :, positions], self.v[rows, :, positions] = k[:, :, 0], v[:, :, 0]
        return self.k, self.v


class FusedQKV(nn.Linear):
    """Query, key and value in one matrix whose rows are interleaved by head: (H, 3, d, D)."""

    def __init__(self, hidden, heads, bias):
        super().__init__(hidden, 3 * hidden, bias)
        self.heads = heads

    def forward(self, x, part=ALL):
        """x (B, T, D) -> (B, T, H * n * d): only the n of (query, key, value) that `part` names."""
        # the last block needs queries of few tokens but keys and values of all
        weight, bias = (p if p is None or part == ALL else
                        p.unflatten(0, (self.heads, 3, -1))[:, part].flatten(0, 2)
                        for p in (self.weight, self.bias))
        return F.linear(x, weight, bias)


class Tied(nn.Module):
    """An LM head that shares the embedding's matrix (tie_word_embeddings)."""

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
        if last is None:  # every token is a query; queries and keys are rotated in one call
            qk, v = self.split(x, ALL).split((2, 1))
            (q, k), v, bias = rotate(qk, place).unbind(), v[0], place.bias
        else:             # only the queries of `last`, which still see keys of all tokens
            q = rotate(self.split(tokens(x, last.positions), QUERY)[0], last)
            k, v = self.split(x, KEY_VALUE).unbind()
            k, bias = rotate(k, place), last.bias
        if cache is not None:
            k, v = cache.put(k, v, place.positions)
        return self.dense(attend(q, k, v, bias).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dense_h_to_4h = nn.Linear(c["hidden_size"], c["intermediate_size"])
        self.dense_4h_to_h = nn.Linear(c["intermediate_size"], c["hidden_size"])

    def forward(self, x):
        return self.dense_4h_to_h(F.gelu(self.dense_h_to_4h(x)))


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
            x = tokens(x, last.positions)
        if self.parallel:  # Pythia: attention and MLP both read the block's input
            return x + attended + self.mlp(self.post_attention_layernorm(x))
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x))

    def matrices(self):
        """The parts whose weights autocast makes bfloat16."""
        return self.attention, self.mlp


class Network(nn.Module):
    """What a model is to those who use it: its states, its head, losses, in terms of the parts that
    GPTNeoX and decoder.Decoder name. Head "class" gives logits (B, K) of the last real token, head
    "lm" logits (B, T, V).

    A subclass has `table`, the embedding; `blocks`, block(x, place, last, cache); `norm`, behind
    the last; `score` or `unembed`, the head; place, place_at, place_of, which give `place`;
    `positions`, the most tokens of a row; HEAD, prefix, check and spelled, for its folder."""

    HEAD = "embed_out.weight"
    end = None           # the token that ends a text; None: Pythia's <|endoftext|>
    cap = None           # of logits (`capped`)
    scale = None         # of embeddings
    whole = False        # True: nll has all logits at once, as per-sample gradients need them

    def embed(self, ids, noise=None):
        """(B, T, D) embeddings of ids (B, T), with noise (B, T, D) added where given (Eq. 8)."""
        x = self.table(ids)                                                       # (B, T, D)
        return x if noise is None else x + noise.to(x.dtype)

    def states(self, ids, noise=None, positions=None):
        """(B, T, D) states of all tokens after the final LayerNorm. With positions (B, M) only of
        the tokens there, (B, M, D), and the last block evaluates no others."""
        x = self.embed(ids, noise)
        place, last = self.place(x), None
        if positions is not None:
            last = self.place_at(positions, x.shape[1], x.dtype)
        # only the last block may leave tokens out: every other one's states are keys of the next
        for block in self.blocks[:-1]:
            x = block(x, place)
        return self.norm(self.blocks[-1](x, place, last))

    def last_state(self, ids, lengths, noise=None, layer=-1, caches=None):
        """(B, D) transformers' hidden_states[layer] at the last real token; -1 is after the final
        LayerNorm. The last block evaluates only what that token needs: 14 % less work at L = 6."""
        x = self.embed(ids, noise)
        place = self.place(x)
        last = self.place_at((lengths - 1)[:, None], x.shape[1], x.dtype)
        # hidden_states[-2] is what the last block reads, so that block is not run at all
        blocks = list(self.blocks)[:len(self.blocks) + 1 + layer]
        caches = caches or [None] * len(blocks)
        for block, cache in zip(blocks[:-1], caches):
            x = block(x, place, None, cache)
        x = blocks[-1](x, place, last, caches[-1])[:, 0]
        return self.norm(x) if layer == -1 else x

    def head(self, h):
        """Logits (..., K) or (..., V) of states h (..., D)."""
        return self.score(h) if self.kind == "class" else capped(self.unembed(h), self.cap)

    def forward(self, ids, lengths, noise=None, mask=None):
        """ids (B, T) int64 right-padded, lengths (B,) int64 >= 1, noise (B, T, D) added to the
        embeddings -> (B, K) for "class", (B, T, V) for "lm", (B,) as `nll` if a mask is given."""
        if mask is not None:  # `nll` comes through here, see there
            return self.row_nll(ids, mask, noise)
        if self.kind == "class":
            return self.head(self.last_state(ids, lengths, noise, self.head_layer))
        return self.head(self.states(ids, noise))

    def hidden(self, ids, lengths, noise=None):
        """(B, D) final-LayerNorm state at the last real token, whatever the class head reads."""
        return self.last_state(ids, lengths, noise)

    def nll(self, ids, lengths, mask):
        """Per-row sum of -log p(ids[t] | ids[:t]) over the t with mask[:, t] = 1: (B,), in nats.

        mask (B, T) may hold weights. Its column 0 is ignored: nothing predicts token 0. Fastest
        where all rows' results have the same gradient, so a mean over tokens belongs into the
        weights (TokenNLL computes its gradients again where they differ)."""
        return self(ids, lengths, mask=mask)    # by __call__: functional_call, DDP and FSDP see it

    def row_nll(self, ids, mask, noise=None):
        """`nll`, with logits only where mask is not 0, for some tokens at a time (TokenNLL).

        All tokens at once where it is compiled (inductor fuses the loss into the logits), under
        torch.func, and if `whole`."""
        assert self.kind == "lm", 'rule: nll needs head="lm"'
        target = ids[:, 1:].flatten()
        mask = mask[:, 1:]
        if self.whole or torch.compiler.is_compiling() or (
                torch._C._are_functorch_transforms_active()):
            h = self.states(ids, noise)[:, :-1].flatten(0, 1)                     # (B*(T-1), D)
            return (self.token_nll(h, target).view(mask.shape) * mask).sum(1)
        predicted = mask.flatten().nonzero()[:, 0]                                # (P,)
        h, truth = self.predicted_states(ids, mask, noise, predicted), target[predicted]
        on_cpu = h.device.type == "cpu"
        held, at_once = (limit[on_cpu] // self.settings["vocab_size"] + 1
                     for limit in (LOGITS_HELD, LOGITS_AT_ONCE))
        # the loss in place gains nothing on few logits (docs/speed.md), and knows no capping
        if len(h) <= at_once or self.cap:
            nll = self.token_nll(h, truth) * mask.flatten()[predicted]
        else:
            # each gradient costs a product, so only those that are asked for
            W, grad = self.unembed.weight, torch.is_grad_enabled()
            weight = mask.flatten()[predicted].to(wide(h).dtype)
            nll = TokenNLL.apply(h, W, truth, weight, (held, at_once),
                                 (grad and h.requires_grad, grad and W.requires_grad))
        nll = nll.new_zeros(target.shape).index_put((predicted,), nll)
        return nll.view(mask.shape).sum(1)

    def predicted_states(self, ids, mask, noise, predicted):
        """(P, D) states before the predicted tokens (P,), indices into the flat mask (B, T - 1).

        Where they are few (an answer's tokens) the last block evaluates no others: 1.12-1.19x in
        supervised fine-tuning (4 blocks, CPU)."""
        number = (mask != 0).cumsum(1)                                            # (B, T - 1)
        M = int(number[:, -1].max()) if mask.numel() else 0
        if 2 * M > mask.shape[1]:
            return self.states(ids, noise)[:, :-1].flatten(0, 1).index_select(0, predicted)
        row, column = predicted // mask.shape[1], predicted % mask.shape[1]
        slot = number.flatten()[predicted] - 1
        # rows with fewer than M such tokens fill up with position 0, whose states nobody reads
        positions = predicted.new_zeros(len(ids), max(1, M))                      # (B, M)
        positions = positions.index_put((row, slot), column)
        return self.states(ids, noise, positions)[row, slot]

    def token_nll(self, h, target):
        """(P,) -log p of target (P,) at states h (P, D), float32 (float64 in a float64 model)."""
        return F.cross_entropy(wide(self.head(h)), target, reduction="none")


class GPTNeoX(Network):
    """config: the dict of config.json. Raises ValueError, naming `where`, for what is not supported
    (configuration.check)."""

    def __init__(self, config, head, num_labels=2, head_layer=-1, where="config.json"):
        super().__init__()
        self.config, self.kind, self.head_layer = dict(config), head, head_layer
        c = self.settings = check(config, head, head_layer, where)
        self.gpt_neox = nn.Module()
        # from a table of zeros: nn.Embedding's own initialisation imports dynamo, 1.4 s
        table = torch.zeros(c["vocab_size"], c["hidden_size"])
        self.gpt_neox.embed_in = nn.Embedding.from_pretrained(table, freeze=False)
        self.gpt_neox.layers = nn.ModuleList(Block(c) for _ in range(c["num_hidden_layers"]))
        self.gpt_neox.final_layer_norm = nn.LayerNorm(c["hidden_size"], c["layer_norm_eps"])
        if head == "class":
            self.score = nn.Linear(c["hidden_size"], num_labels, bias=False)
            nn.init.zeros_(self.score.weight)  # E12 in docs/deviations.md
        elif c["tie_word_embeddings"]:
            self.embed_out = Tied(self.gpt_neox.embed_in)
        else:
            self.embed_out = nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        dims = int(c["hidden_size"] // c["num_attention_heads"] * c["rotary_pct"])
        self.rotary = dims, c["rotary_emb_base"]
        # on the CPU also where the model is built on the meta device: no file holds the tables,
        # and they are not persistent, so that state_dict() is exactly a checkpoint
        cos, sin = rotary_tables(c["max_position_embeddings"], *self.rotary, "cpu")
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    check = staticmethod(check)
    # properties, since a module under two names would be saved twice
    table = property(lambda self: self.gpt_neox.embed_in)
    blocks = property(lambda self: self.gpt_neox.layers)
    norm = property(lambda self: self.gpt_neox.final_layer_norm)
    unembed = property(lambda self: self.embed_out)
    prefix = property(lambda self: "GPTNeoX")  # of the classes in transformers
    positions = property(lambda self: len(self.cos))

    def spelled(self):
        """{key: value} of the rotary settings, as transformers 4 and 5 read them."""
        base, part = self.rotary[1], self.settings["rotary_pct"]
        return dict(rotary_pct=part, rotary_emb_base=base, rope_parameters={
            **(self.config.get("rope_parameters") or {}), "rope_type": "default",
            "rope_theta": base, "partial_rotary_factor": part})

    def tables(self, T, device):
        """cos and sin (T, R). Longer rows than the tables of the model compute their own."""
        if T <= len(self.cos):
            return self.cos[:T], self.sin[:T]
        return rotary_tables(T, *self.rotary, device)

    def place(self, x):
        """Place of all T tokens of x (B, T, D), causal."""
        T, bias, wide = x.shape[1], None, None
        if explicit(T, x.device):
            bias = torch.full((T, T), float("-inf"), dtype=x.dtype, device=x.device).triu(1)
        cos, sin = self.tables(T, x.device)
        # Turn is for eager code: torch.func takes no Function that saves tensors in its forward
        if not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()):
            wide = Turn.tables(cos, sin, x.shape[-1] // self.settings["num_attention_heads"])
        return Place(cos, sin, bias, None, wide)

    def place_at(self, positions, S, dtype):
        """Place of M queries a row at positions (B, M): each sees the S keys up to its own."""
        cos, sin = self.tables(S, positions.device)
        seen = torch.arange(S, device=positions.device) <= positions[..., None]   # (B, M, S)
        bias = torch.where(seen, 0.0, float("-inf")).to(dtype)[:, None]
        bias = bias.expand(-1, self.settings["num_attention_heads"], -1, -1).flatten(0, 1)
        return Place(cos[positions][:, None], sin[positions][:, None], bias, positions)

    def place_of(self, positions, sees, dtype):
        """Place of one row of P tokens at positions (P,), of which each sees those that `sees`
        (P, P) bool says."""
        cos, sin = rotary_tables(int(positions.max()) + 1, *self.rotary, positions.device)
        bias = torch.where(sees, 0.0, float("-inf")).to(dtype)
        return Place(cos[positions], sin[positions], bias, None)
