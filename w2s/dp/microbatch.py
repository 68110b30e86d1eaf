"""Micro-batches: parts of a private batch that fit into memory, with the same clipped sum.

B rows, T tokens of a batch.
"""

import math
from collections import Counter

import torch
from torch import nn

from w2s.model.network import Tied
from w2s.train.step import fixed_width

PER_SAMPLE = 2 ** 26  # numbers in the per-sample gradients that func holds at a time
LOGITS = {True: 2 ** 25, False: 2 ** 28}  # of a micro-batch: on a CPU 134 MB, else 1 GB
TOKENS = {True: 2048, False: 2 ** 16}  # of a micro-batch of fast


def pad(batch, rows):
    """The batch with its first row repeated `rows` times at the end, and with ids, mask and noise
    padded to a multiple of 32 tokens: few shapes, so that torch.compile compiles few graphs."""
    if rows:
        batch = {key: torch.cat([value, value[:1].expand(rows, *value.shape[1:])])
                 for key, value in batch.items()}
    return fixed_width(batch, 32)


def micro_batches(model, batch, per_sample=False):
    """Yield the batch in parts that fit into memory: rows of about one length together, common
    padding cut. per_sample: whole per-sample gradients are held (sgd.func_sum)."""
    B, ids = len(first_tensor(batch)), batch.get("ids")
    canary = batch["canary"] >= 0 if "canary" in batch else torch.zeros(0)
    # canaries have two tokens each, which would be padded to the length of an email
    if 0 < int(canary.sum()) < B:
        for chosen in (canary, ~canary):
            rows = {key: value[chosen] for key, value in batch.items()}
            rows = unpadded(rows, int(rows["len"].max()))
            yield from micro_batches(model, rows, per_sample)
        return
    limit = rows_at_once(model, batch, per_sample)
    # parts of about one size, and that a multiple of what is compiled
    size = math.ceil(B / math.ceil(B / limit)) if B else 1
    size = min(limit, size + -size % unit(limit))
    # a sum does not depend on the order of its rows, so they may be sorted by length
    if B > size and "len" in batch:
        order = batch["len"].argsort(descending=True, stable=True)
        batch = {key: value[order] for key, value in batch.items()}
    cut = B > size and "len" in batch and ids is not None
    longest = batch["len"][::size].tolist() if cut else None  # the first of a part
    for start in range(0, B, size):
        part = {key: value[start:start + size] for key, value in batch.items()}
        yield unpadded(part, longest[start // size]) if cut else part


def rows_at_once(model, batch, per_sample=False):
    """Rows of a micro-batch, as many as memory permits."""
    ids = batch.get("ids")
    # book-keeping holds states and logits; func also a gradient of every weight for each row
    if per_sample:
        tables = lookups(model)
        numbers = sum(p.numel() for name, p in model.named_parameters()
                      if p.requires_grad and name.rpartition(".")[0] not in tables)
        return max(1, PER_SAMPLE // max(1, numbers))
    on_cpu = first_tensor(batch).device.type == "cpu"
    T = ids.shape[1] if ids is not None and ids.ndim == 2 else 1
    # of what is held at once the widest output is most: logits, where there is an LM head
    widest = max((m.weight.shape[0] for m in model.modules()
                  if isinstance(m, (Tied, nn.Linear))), default=1)
    return max(1, min(LOGITS[on_cpu] // (T * widest), TOKENS[on_cpu] // T))


def unit(rows):
    """What rows of a compiled micro-batch are a multiple of: 16, or a smaller power of two where
    fewer fit."""
    return min(16, 2 ** int(math.log2(rows)))


def unpadded(batch, longest):
    """The batch, whose longest row has so many tokens, without what is padding in all its rows."""
    return batch | {key: batch[key][:, :longest] for key in ("ids", "mask", "noise")
                    if key in batch}


def lookups(model):
    """Names of the embeddings whose matrix no other layer uses: those whose per-sample gradient
    follows from that of their output (sgd.func_sum)."""
    # counted by identity: a Tied head holds the embedding in a list, where modules() is blind
    users = Counter(id(p) for m in model.modules() for p in m._parameters.values())
    users.update(id(m.weight) for m in model.modules() if isinstance(m, Tied))
    return {name for name, m in model.named_modules()
            if type(m) is nn.Embedding and users[id(m.weight)] == 1}


def first_tensor(batch):
    """Any tensor of the batch: all have its rows and its device."""
    return next(iter(batch.values()))
