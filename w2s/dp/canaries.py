"""Canaries: rows whose gradient is one coordinate of their own, to audit a private run by.

M of them, each one trained on with probability 1/2 (Steinke, Nasr, Jagielski 2023, arXiv
2305.08846). Those that are in are drawn into batches, clipped and noised like every other row, and
what every step releases at the M coordinates is noted: then nobody but the noise and the sampling
hides which are in. q, sigma and the number of steps are those of the run without canaries; their
losses are 0, and no other parameter feels them. w2s/attacks/audit.py guesses which were in.
"""

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from w2s import rows

STEEP = 1000  # length of a canary's gradient before clipping, in units of C
# one key: safetensors writes several in an order that differs from process to process
ABOUT = {"about": "included: whether the canary was a row of the training data; observed: the "
                  "noisy sum of the clipped gradients at its coordinate, in units of C, steps x "
                  "canaries"}


class Canaries:
    """Which of M canaries are in, and what the steps have released of them so far."""

    def __init__(self, count, private, seed):
        draw = np.random.Generator(np.random.PCG64(private.seed(seed, "canaries")))
        self.included = torch.from_numpy(draw.random(count) < 0.5)
        self.observed = torch.zeros(private.steps, count)

    def among(self, columns):
        """The columns with a row of two tokens for each canary that is in, and `canary` (N + in,):
        its number, -1 for a row of data. In other columns it repeats the first row."""
        numbers = np.flatnonzero(self.included.numpy())
        extended = {key: column + [np.zeros(2, np.int32)] * len(numbers) if isinstance(column, list)
                 else np.concatenate([column, np.repeat(column[:1], len(numbers), 0)])
                 for key, column in columns.items()}
        data = len(next(iter(columns.values())))
        return extended | {"canary": np.concatenate([np.full(data, -1), numbers])}

    def state_dict(self):
        return {"included": self.included, "observed": self.observed}

    def load_state_dict(self, state):
        """Go on from a checkpoint: with noise from the system nothing could be drawn again."""
        self.included, self.observed = (state[key].cpu() for key in ("included", "observed"))

    def save(self, path):
        """Write {included (M,), observed (steps, M)}, all or nothing."""
        with rows.atomic(path, "wb") as file:
            file.write(save(self.state_dict(), metadata=ABOUT))


class Watched(nn.Module):
    """A model and the canaries' parameters, which never move; called as the model is called."""

    def __init__(self, model, canaries, clip):
        super().__init__()
        count, device = len(canaries.included), next(model.parameters()).device
        self.model, self.canaries, self.steep = model, canaries, STEEP * clip
        self.table = nn.Embedding.from_pretrained(torch.zeros(count, 1, device=device), False)

    def forward(self, *args, canary=None, **kwargs):
        """What the model gives; for `canary` (B,) numbers their losses (B,)."""
        if canary is None:
            return self.model(*args, **kwargs)
        return self.steep * self.table(canary)[:, 0]

    def nll(self, ids, lengths, mask):
        return self(ids, lengths, mask=mask)

    def observe(self, k, gradient, unit):
        """Take the canaries' part out of the private gradient of step k; unit: C over B."""
        seen = gradient.pop("table.weight")[:, 0]
        self.canaries.observed[k] = (seen / unit).float().cpu()


def watched(objective):
    """The objective, a row that is a canary having that canary's loss instead."""
    def watched(f, batch, *args):
        canary = batch["canary"]
        losses = objective(f, batch, *args)
        return torch.where(canary < 0, losses, f(canary=canary.clamp(min=0)))
    return watched
