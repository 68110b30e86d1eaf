"""Llama, Qwen2.5, Qwen3, OLMo2, Gemma 2 and 3 in one network, under Hugging Face's parameter names:
state_dict() is the checkpoint. model/families.py reads what a config.json says.

Sources: Llama 3 (arXiv 2407.21783), Qwen2.5 (2412.15115), Qwen3 (2505.09388), OLMo2 (2501.00656),
Gemma 2 (2408.00118) and 3 (2503.19786); grouped queries (2305.13245), RMSNorm (1910.07467), gated
MLPs (2002.05202). tests/model/test_decoder.py compares with transformers within 1e-5 in float32.

Shapes: B rows, T tokens, D hidden, H heads, J heads of keys and values, G = H/J, d of a head, V
vocabulary, K classes, S positions of the key-value cache, M queries of a row.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from w2s.model.families import FAMILIES, LOCAL, check, respelled
from w2s.model.kernels import Turn, wide
from w2s.model.network import (Network, Place, Tied, attend, explicit, rotate, tokens,
                               whole_rows)

# Names of the four norms of a block: before and behind attention, before and behind the MLP
NORMS = {"before": ("input_layernorm", None, "post_attention_layernorm", None),
         "after": (None, "post_attention_layernorm", None, "post_feedforward_layernorm"),
         "both": ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                  "post_feedforward_layernorm")}


class RMSNorm(nn.Module):
    """(offset + weight) x / sqrt(mean(x^2) + eps), in float32; offset: 1 in Gemma, else 0."""

    def __init__(self, width, eps, offset):
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), 1. - offset))
        self.eps, self.offset = eps, offset

    def bare(self, x):
        """x / sqrt(mean(x^2) + eps) in float32 at least."""
        return F.rms_norm(wide(x), self.weight.shape, eps=self.eps)

    def forward(self, x):
        return (self.bare(x) * (self.offset + wide(self.weight))).to(x.dtype)


def frequencies(dims, base, type, factor=1., low_freq_factor=1., high_freq_factor=4.,
                original_max_position_embeddings=8192):
    """(d/2,) float32 of RoPE (arXiv 2104.09864): angles of one position, scaled for longer texts.

    linear: all of them over `factor`. llama3: those of wavelengths beyond the original positions /
    low_freq_factor; below original / high_freq_factor none, and between a mixture."""
    # as a quotient: at far positions the last bit of a frequency shows in the logits
    turn = 1 / base ** (torch.arange(0, dims, 2, dtype=torch.float32, device="cpu") / dims)
    if type == "default":
        return turn
    if type == "linear":
        return turn / factor
    turns = original_max_position_embeddings * turn / (2 * math.pi)  # in the original positions
    share = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)
    share = share.clamp(0, 1)                                        # that stays as it is
    return (1 - share) * turn / factor + share * turn


class Attention(nn.Module):
    def __init__(self, c, kind):
        super().__init__()
        self.kind, self.d = kind, c["head_dim"]
        self.scale, self.cap = c["scale"], c["attn_logit_softcapping"]
        D, family = c["hidden_size"], FAMILIES[c["model_type"]]
        queries, keys = (c[key] * self.d for key in ("num_attention_heads", "num_key_value_heads"))
        self.q_proj = nn.Linear(D, queries, c["query_bias"])
        self.k_proj = nn.Linear(D, keys, c["query_bias"])
        self.v_proj = nn.Linear(D, keys, c["query_bias"])
        self.o_proj = nn.Linear(queries, D, c["output_bias"])
        self.q_norm = self.k_norm = None
        if family.qk_norm:
            self.q_norm, self.k_norm = (
                RMSNorm(width if family.qk_norm == "width" else self.d, c["rms_norm_eps"],
                        int(family.gemma)) for width in (queries, keys))

    def split(self, x, norm=None):
        """x (B, T, n d) -> (B, n, T, d), normed over each head or over all of the width."""
        if norm is not None:
            x = norm(x.unflatten(-1, (-1, len(norm.weight)))).flatten(2)
        return x.unflatten(-1, (-1, self.d)).transpose(1, 2)

    def forward(self, x, place, last=None, cache=None):
        # with `last` only its queries, which still see keys of all tokens
        asked = x if last is None else tokens(x, last.positions)
        q = rotate(self.split(self.q_proj(asked), self.q_norm), place if last is None else last)
        k = rotate(self.split(self.k_proj(x), self.k_norm), place)
        v = self.split(self.v_proj(x))
        bias = (place if last is None else last).bias
        if cache is not None:
            k, v = cache.put(k, v, place.positions)
        return self.o_proj(self.grouped(q, k, v, bias).transpose(1, 2).flatten(2))

    def grouped(self, q, k, v, bias):
        """Attention of q (B, H, M, d) to k, v (B, J, S, d), G heads of queries to one of keys:
        (B, H, M, d). bias: None (causal), (M, S), or (B, 1, M, S)."""
        B, H, M, _ = q.shape
        J = k.shape[1]
        G = H // J
        masked = bias is not None and bias.ndim == 2
        if (bias is None or masked) and not self.cap and not explicit(M, q.device):
            k, v = (x.repeat_interleave(G, 1) for x in (k, v))
            return F.scaled_dot_product_attention(q, k, v, bias, is_causal=bias is None,
                                                  scale=self.scale)
        # queries of one group are further queries of their key's head: no copy of keys and values
        if masked:
            bias = bias.repeat(G, 1)                                              # (G*M, S)
        else:
            bias = bias[:, :, None].expand(B, J, G, M, -1).reshape(B * J, G * M, -1)
        rows = q.unflatten(1, (J, G)).flatten(2, 3)                               # (B, J, G*M, d)
        return attend(rows, k, v, bias, self.scale, self.cap).view(q.shape)


class MLP(nn.Module):
    """down(act(gate(x)) up(x)): SwiGLU, or in Gemma GeGLU."""

    def __init__(self, c):
        super().__init__()
        self.gelu = FAMILIES[c["model_type"]].gemma
        D, width, bias = c["hidden_size"], c["intermediate_size"], c["mlp_bias"]
        self.gate_proj, self.up_proj = nn.Linear(D, width, bias), nn.Linear(D, width, bias)
        self.down_proj = nn.Linear(width, D, bias)

    def forward(self, x):
        gate = self.gate_proj(x)
        gate = F.gelu(gate, approximate="tanh") if self.gelu else F.silu(gate)
        return self.down_proj(gate * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, c, kind):
        super().__init__()
        self.kind, family = kind, FAMILIES[c["model_type"]]
        self.names = NORMS[family.norms]
        self.self_attn = Attention(c, kind)
        self.mlp = MLP(c)
        for name in filter(None, self.names):
            setattr(self, name, RMSNorm(c["hidden_size"], c["rms_norm_eps"], int(family.gemma)))

    def normed(self, n, x):
        """x by the n-th of the four norms, where there is one."""
        return getattr(self, self.names[n])(x) if self.names[n] else x

    def forward(self, x, places, last=None, cache=None):
        """x (B, T, D) -> (B, T, D); with `last` only those tokens of a row, exactly: (B, M, D).
        places and last: {layer type: Place}."""
        place, last = places[self.kind], last and last[self.kind]
        attended = self.self_attn(self.normed(0, x), place, last, cache)
        if last is not None:
            x = tokens(x, last.positions)
        x = x + self.normed(1, attended)
        return x + self.normed(3, self.mlp(self.normed(2, x)))

    def matrices(self):
        """The parts whose weights autocast makes bfloat16."""
        attention = self.self_attn
        return attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj, self.mlp


class Decoder(Network):
    """A model of the families. config: the dict of config.json, as families.known gives it. Raises
    ValueError, naming `where`, for what is not supported (families.check)."""

    HEAD = "lm_head.weight"

    def __init__(self, config, head, num_labels=2, head_layer=-1, where="config.json"):
        super().__init__()
        self.config, self.kind, self.head_layer = dict(config), head, head_layer
        c = self.settings = check(config, head, head_layer, where)
        c["key_width"] = c["num_key_value_heads"] * c["head_dim"]
        family, D, V = FAMILIES[c["model_type"]], c["hidden_size"], c["vocab_size"]
        self.end, self.positions = c["end"], c["max_position_embeddings"]
        self.scale = D ** .5 if family.gemma else None
        self.cap = c["final_logit_softcapping"]
        self.model = nn.Module()
        # from a table of zeros: nn.Embedding's own initialisation imports dynamo, 1.4 s
        self.model.embed_tokens = nn.Embedding.from_pretrained(torch.zeros(V, D), freeze=False)
        self.model.layers = nn.ModuleList(Block(c, kind) for kind in c["layer_types"])
        self.model.norm = RMSNorm(D, c["rms_norm_eps"], int(family.gemma))
        if head == "class":
            self.score = nn.Linear(D, num_labels, bias=False)
            nn.init.zeros_(self.score.weight)  # E12 in docs/deviations.md
        elif c["tie_word_embeddings"]:
            self.lm_head = Tied(self.model.embed_tokens)
        else:
            self.lm_head = nn.Linear(D, V, bias=False)
        # buffers, so that they move with the model; in no file, as the tables of GPTNeoX
        for kind, rope in c["rope"].items():
            self.register_buffer(f"turn_{kind}", frequencies(c["head_dim"], **rope),
                                 persistent=False)

    check = staticmethod(check)
    # properties, since a module under two names would be saved twice
    table = property(lambda self: self.model.embed_tokens)
    blocks = property(lambda self: self.model.layers)
    norm = property(lambda self: self.model.norm)
    unembed = property(lambda self: self.lm_head)

    @property
    def prefix(self):
        """Name of the classes in transformers."""
        family = FAMILIES[self.settings["model_type"]]
        return family.classifier or family.name if self.kind == "class" else family.name

    def spelled(self):
        """{key: value} of the rotary settings, as transformers 4 and 5 read them."""
        return respelled(self.settings)

    def embed(self, ids, noise=None):
        """(B, T, D) embeddings of ids (B, T), in Gemma times sqrt(D), with noise (B, T, D) added
        where given (Eq. 8)."""
        x = self.table(ids)
        x = x * self.scale if self.scale else x
        return x if noise is None else x + noise.to(x.dtype)

    def kinds(self):
        """(layer type, its frequencies (d/2,), how far its queries see back or None) of each."""
        for kind in self.settings["rope"]:
            yield (kind, getattr(self, f"turn_{kind}"),
                   self.settings["sliding_window"] if kind == LOCAL else None)

    def place(self, x):
        """{layer type: Place of all T tokens of x (B, T, D), causal}."""
        T, places = x.shape[1], {}
        position = torch.arange(T, device=x.device)
        for kind, turn, window in self.kinds():
            bias, tables = None, None
            if explicit(T, x.device) or self.settings["attn_logit_softcapping"] or (
                    window and T > window):
                bias = unseen(position[:, None], position, window, x.dtype)       # (T, T)
            angle = position[:, None] * turn
            cos, sin = angle.cos(), angle.sin()                                   # (T, d/2)
            if whole_rows(x.device):
                tables = Turn.tables(cos, sin, self.settings["head_dim"])
            places[kind] = Place(cos, sin, bias, None, tables)
        return places

    def place_at(self, positions, S, dtype):
        """{layer type: Place of M queries a row at positions (B, M)}: each sees the S keys up to
        its own."""
        keys, places = torch.arange(S, device=positions.device), {}
        for kind, turn, window in self.kinds():
            angle = positions[:, None, :, None] * turn                            # (B, 1, M, d/2)
            bias = unseen(positions[:, None, :, None], keys, window, dtype)       # (B, 1, M, S)
            places[kind] = Place(angle.cos(), angle.sin(), bias, positions)
        return places

    def place_of(self, positions, sees, dtype):
        """{layer type: Place of one row of P tokens at positions (P,), of which each sees those
        that `sees` (P, P) bool says}."""
        places = {}
        for kind, turn, window in self.kinds():
            angle = positions[:, None] * turn
            bias = torch.where(sees, 0., -torch.inf).to(dtype)
            bias = bias + unseen(positions[:, None], positions, window, dtype)
            places[kind] = Place(angle.cos(), angle.sin(), bias, None)
        return places


def unseen(query, key, window, dtype):
    """0 where the query at a position sees the key at another, -inf where not: keys behind it, and
    those `window` and more before it."""
    back = query - key
    seen = back >= 0 if window is None else (back >= 0) & (back < window)
    return torch.where(seen, 0., -torch.inf).to(dtype)
