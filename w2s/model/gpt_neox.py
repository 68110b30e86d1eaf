"""GPT-NeoX as Pythia uses it, under Hugging Face's parameter names: state_dict() is the checkpoint.
What it shares with other networks, losses and states, is network.Network.

Sources: GPT-NeoX-20B (arXiv 2204.06745), Pythia (arXiv 2304.01373); tests/model/test_pythia.py
compares with transformers' modeling_gpt_neox within 1e-5 in float32. Dropout is refused: Pythia has
none.

Shapes: B rows, T tokens, D hidden, H heads, d = D/H, R rotated pairs, V vocabulary, K classes,
M queries of a row, S positions of the key-value cache.
"""

import torch
import torch.nn.functional as F
from torch import nn

from w2s.model.configuration import check
from w2s.model.kernels import Turn
from w2s.model.network import (Network, Place, Tied, attend, explicit, rotate, tokens,
                               whole_rows)

QUERY, KEY_VALUE, ALL = slice(0, 1), slice(1, 3), slice(0, 3)    # parts of the fused matrix


def rotary_tables(positions, dims, base, device):
    """cos and sin (positions, R) float32 of RoPE (arXiv 2104.09864) over the first `dims` of d."""
    # float32 whatever the model's dtype: bfloat16 tables cost two digits (`rotate`)
    frequency = base ** -(torch.arange(0, dims, 2, dtype=torch.float32, device=device) / dims)
    angle = torch.arange(positions, dtype=torch.float32, device=device)[:, None] * frequency
    return angle.cos(), angle.sin()


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
        if whole_rows(x.device):
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
