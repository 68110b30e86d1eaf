"""LoRA (Hu et al. 2021, arXiv 2106.09685): matrices learn B A, of rank r: of Pythia the fused
query-key-value, of decoder.py's models all of attention and MLP (reading T31).

    W' = W + (alpha / r) B A        A (r, D) Kaiming-uniform, B (o, r) zero: training starts at W

Everything else is frozen but the class head `score`, which peft too trains and saves. A and B are
plain linear layers, so that dp/ghost_clipping.py and torch.func need nothing new: DP-LoRA is DP on
the few weights that train. The start of A and alpha = r, and Pythia's layers, are peft 0.21's;
tests/model/test_lora.py compares.

D inputs, r rank, o outputs (3D of the fused matrix).
"""

import copy
import math

import torch
from torch import nn

from w2s.model.kernels import wide

TARGET, HEAD = "query_key_value", "score"
TARGETS = (TARGET, "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoRA(nn.Module):
    """W x + (alpha / r) B A x, in place of the layer W (`base`)."""

    def __init__(self, base, rank, alpha, generator):
        super().__init__()
        self.base, self.scale = base, alpha / rank
        like = dict(dtype=base.weight.dtype, device=base.weight.device)
        # on the meta device first: nn.Linear's own start would draw from the global generator
        self.A = nn.Linear(base.in_features, rank, bias=False, device="meta")
        # drawn on the CPU, so that a seed gives the same A on every device
        start = nn.init.kaiming_uniform_(torch.empty(self.A.weight.shape), math.sqrt(5),
                                         generator=generator)
        self.A.weight = nn.Parameter(start.to(**like))
        # of W's class (FusedQKV), because it too must give the rows that `part` names alone
        self.B = copy.deepcopy(base)
        self.B.in_features, self.B.bias = rank, None
        self.B.weight = nn.Parameter(torch.zeros(len(base.weight), rank, **like))

    def forward(self, x, *part):
        """x (..., D) -> (..., o), or only those of the o that `part` names."""
        return self.base(x, *part) + self.scale * self.B(self.A(x), *part)

    @torch.no_grad()
    def merged(self):
        """The base layer with W' for W."""
        W, A, B = (layer.weight for layer in (self.base, self.A, self.B))
        # in float32 at least: a bfloat16 model rounds once, not at every step of the sum
        W.copy_(wide(W) + self.scale * (wide(B) @ wide(A)))
        return self.base


def apply(model, rank, alpha=None, generator=None):
    """Put LoRA of this rank on all TARGETS of the model, in place, and freeze all else but `score`;
    returns the model.

    alpha None: rank, so that alpha / rank = 1. generator: a CPU generator that A is drawn from
    (None: torch's global one). Make the optimizer after this. Raises ValueError for a rank that is
    not in 1 .. D, an alpha that is not positive, a model that has LoRA already or no such layer."""
    places = targets(model)
    layers = [getattr(*place) for place in places]
    if any(isinstance(layer, LoRA) for layer in layers):
        raise ValueError("LoRA: the model has it already; merge it first")
    if not layers:
        raise ValueError(f"LoRA: the model has no layer {TARGET}: it is no GPT-NeoX")
    widest = min(layer.in_features for layer in layers)
    if not 1 <= rank <= widest or rank != int(rank):
        raise ValueError(f"--lora-rank {rank}: is not a whole number from 1 to {widest}, the width "
                         "of the model")
    alpha = rank if alpha is None else alpha
    if not 0 < alpha < math.inf:
        raise ValueError(f"LoRA: alpha {alpha} is not a positive number")
    # before A and B exist, so that they train; by whole names, since a model may wrap another
    for name, p in model.named_parameters():
        p.requires_grad_(HEAD in name.split("."))
    for place, layer in zip(places, layers):
        setattr(*place, LoRA(layer, int(rank), alpha, generator))
    return model


def targets(model):
    """(owner, name) of every layer that LoRA takes, in the model's order: it is replaced as an
    attribute of its owner."""
    return [(module, name) for module in model.modules() for name in TARGETS
            if hasattr(module, name)]


def merge(model):
    """Fold every B A into its W, in place, and put the plain layers back; returns the model.

    state_dict() has its old names again, so that checkpoint.save writes an ordinary folder, and all
    parameters train again. Raises ValueError for a model without LoRA."""
    places = [place for place in targets(model) if isinstance(getattr(*place), LoRA)]
    if not places:
        raise ValueError("LoRA: the model has none to merge")
    # the layers themselves come back, with W changed in place: names and identities are as before
    for place in places:
        setattr(*place, getattr(*place).merged())
    return model.requires_grad_(True)  # `apply` froze them; a merged model is an ordinary one
