"""What networks share: where queries stand, attention, the key-value cache, and Network, which is
what a model is to those who use it. gpt_neox.py and decoder.py are networks.

Right padding under a causal mask needs no attention mask: it stands after every real token.

Shapes: B rows, T tokens, D hidden, H heads, d of a head, R rotated pairs, V vocabulary, K classes,
L layers, M queries of a row, S positions of the key-value cache, P predicted tokens.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from w2s.memory import LOGITS_AT_ONCE, LOGITS_HELD
from w2s.model.kernels import TokenNLL, Turn, wide


class Place(NamedTuple):
    """Where a block's queries stand and what they may see."""
    cos: torch.Tensor             # (T, R), or (B, 1, M, R) for M queries a row; float32
    sin: torch.Tensor
    bias: torch.Tensor | None     # 0 or -inf: (T, T), or (B*H, M, S); None: causal, fused kernel
    positions: torch.Tensor | None  # (B, M) of a row's queries; None: all T tokens
    wide: tuple | None = None     # the tables of Turn; None: rotate in halves


def rotate(x, place):
    """Rotary positions: pair i of x (..., T, d) is dimensions (i, R + i), as in GPT-NeoX; the other
    d - 2R pass through. Computed in float32 whatever x is: bfloat16 tables cost two digits."""
    pairs = place.cos.shape[-1]
    if place.wide:
        return Turn.apply(x, *place.wide, pairs)
    first, second, rest = x.split((pairs, pairs, x.shape[-1] - 2 * pairs), -1)
    turned = first * place.cos - second * place.sin, second * place.cos + first * place.sin
    return torch.cat((turned[0].to(x.dtype), turned[1].to(x.dtype), rest), -1)


def whole_rows(device):
    """Whether to rotate by Turn, which is for eager code (torch.func takes no Function that saves
    tensors in its forward). Not on CUDA, where the halves are fewer kernels."""
    return device.type != "cuda" and not (
        torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active())


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
    """Keys and values of one block, (B, H, S, d) each, for `room` = S positions. Those of another
    prompt may take their place: the memory stays where it is."""

    k = v = None

    def __init__(self, room):
        self.room = room

    def put(self, k, v, positions):
        """Store keys and values and return those to attend to. positions None: the prompt's k, v
        (B, H, T, d), padded to S; (B, 1): one token a row, (B, H, 1, d), at its position."""
        if positions is None:
            if self.k is None:
                self.k, self.v = (F.pad(x, (0, 0, 0, self.room - x.shape[2])) for x in (k, v))
            else:
                self.k[:, :, :k.shape[2]], self.v[:, :, :v.shape[2]] = k, v
            return k, v
        # rows have prompts of their own lengths, so their new tokens stand at different places
        rows, positions = torch.arange(len(positions), device=positions.device), positions[:, 0]
        self.k[rows, :, positions], self.v[rows, :, positions] = k[:, :, 0], v[:, :, 0]
        return self.k, self.v


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
    most = 0             # predicted tokens of a row, at most, where few are: nll on CUDA; 0: any
    even = False         # True: promised that nll's results all have one gradient (TokenNLL)

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
        torch.func, and if `whole`. On CUDA masked tokens too: to ask where they are is to wait."""
        assert self.kind == "lm", 'rule: nll needs head="lm"'
        target, mask = ids[:, 1:], mask[:, 1:]
        at_once = self.whole or torch.compiler.is_compiling() or (
            torch._C._are_functorch_transforms_active())
        if at_once or mask.device.type == "cuda":
            h, target, mask = self.fixed_states(ids, target, mask, noise)
            nll = (self.token_nll(h, target) * mask.flatten() if at_once else
                   self.weighted_nll(h, target, mask.flatten()))
            return nll.view(mask.shape).sum(1)
        predicted = mask.flatten().nonzero()[:, 0]                                # (P,)
        h = self.predicted_states(ids, mask, noise, predicted)
        nll = self.weighted_nll(h, target.flatten()[predicted], mask.flatten()[predicted])
        nll = nll.new_zeros(mask.numel()).index_put((predicted,), nll)
        return nll.view(mask.shape).sum(1)

    def weighted_nll(self, h, target, weight):
        """(P,) -weight log p of target (P,) at states h (P, D), weight (P,)."""
        on_cpu = h.device.type == "cpu"
        held, at_once = (limit[on_cpu] // self.settings["vocab_size"] + 1
                         for limit in (LOGITS_HELD, LOGITS_AT_ONCE))
        # the loss in place gains nothing on few logits (docs/log.md), and knows no capping
        if len(h) <= at_once or self.cap:
            return self.token_nll(h, target) * weight
        # each gradient costs a product, so only those that are asked for
        W, grad = self.unembed.weight, torch.is_grad_enabled()
        return TokenNLL.apply(h, W, target, weight.to(wide(h).dtype), (held, at_once),
                              (grad and h.requires_grad, grad and W.requires_grad), self.even)

    def fixed_states(self, ids, target, mask, noise):
        """(states (P, D), target (P,), mask (B, P / B)) of tokens whose number no number in mask
        (B, T - 1) decides: P / B is `most` where these are few, else T - 1."""
        if self.whole or not 0 < 2 * self.most <= mask.shape[1]:
            return self.states(ids, noise)[:, :-1].flatten(0, 1), target.flatten(), mask
        # a row with fewer has some that are masked beside them
        positions = (mask != 0).int().argsort(dim=1, descending=True, stable=True)[:, :self.most]
        h = self.states(ids, noise, positions).flatten(0, 1)
        return h, target.gather(1, positions).flatten(), mask.gather(1, positions)

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
