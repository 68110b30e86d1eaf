"""The loop of inference: rows sorted by length, batched by tokens, and sent through a model.

N rows of a file, B rows of a batch, T tokens.
"""

import numpy as np
from tqdm import tqdm

from w2s import device as devices
from w2s.train.step import collate, width_of

# padded tokens in a batch; on CPU 1.19x of 4096 (14m); mps: not measured
TOKENS = {"cpu": 2048, "cuda": 65536, "mps": 8192}


def by_tokens(lengths, tokens, device="cpu"):
    """Index arrays, longest rows first, each at most `tokens` padded tokens (or one row), padded as
    on this device."""
    # rows of like length stand together, so that little of a batch is padding
    ordered, start, groups = np.argsort(-lengths, kind="stable"), 0, []
    while start < len(ordered):
        size = max(1, tokens // width_of(int(lengths[ordered[start]]), device))
        groups.append(ordered[start:start + size])
        start += size
    return groups


def forward(model, columns, groups, compute, dtype="float32", title=""):
    """Yield (pick, compute(batch, pick)) of each batch: pick (B,) are the rows' positions in the
    file, by which the caller puts the results back.

    columns: {"ids": list of N token arrays, ...}; groups: index arrays, as `by_tokens` makes them.
    Without a title there is no progress bar.
    """
    device = next(model.parameters()).device
    for pick in tqdm(groups, title, disable=not title or None, leave=False):
        batch = collate(columns, pick, device)
        # left before the yield: a caller that raises would leave autocast on behind it
        with devices.autocast(device, dtype):
            result = compute(batch, pick)
        yield pick, result
