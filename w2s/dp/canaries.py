"""Canaries: rows whose gradient is one coordinate of their own, to audit a private run by.

There are M, each trained on with probability 1/2 (Steinke, Nasr, Jagielski 2023, arXiv 2305.08846).
Those that are in are drawn into batches, clipped and noised like every other row, and what every
step releases at the M coordinates is noted: only sampling and noise hide which are in. q, sigma and
the number of steps are those of the run without canaries. Their losses are 0, and no other
parameter gets a gradient from them. w2s/attacks/audit.py guesses which were in.
"""

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from w2s import rows

STEEP = 1000  # length of a canary's gradient before clipping, in C: clipping must be what bounds it
# one key: safetensors writes several in an order that differs from process to process
ABOUT = {"about": "included: whether the canary was a row of the training data; observed: the "
                  "noisy sum of the clipped gradients at its coordinate, in units of C, steps x "
                  "canaries"}


class Canaries:
    """included (M,) bool: which canaries are in. observed (steps, M): what each step released."""

    def __init__(self, count, private, seed):
        # as secret as the noise: whoever knows who is in has nothing left to guess
        draw = np.random.Generator(np.random.PCG64(private.seed(seed, "canaries")))
        self.included = torch.from_numpy(draw.random(count) < 0.5)
        self.observed = torch.zeros(private.steps, count)  # rows by step: a resumed run fills in

    def among(self, columns):
        """The columns with one more row for each canary that is in, and the column `canary`
        (N + in,): the canary's number, -1 for a row of data.

        A canary has two tokens and the other values of the first row: its loss uses neither."""
        numbers = np.flatnonzero(self.included.numpy())
        extended = {key: column + [np.zeros(2, np.int32)] * len(numbers) if isinstance(column, list)
                    else np.concatenate([column, np.repeat(column[:1], len(numbers), 0)])
                    for key, column in columns.items()}
        # canaries stand behind the data: row i of the data stays row i
        data = len(next(iter(columns.values())))
        return extended | {"canary": np.concatenate([np.full(data, -1), numbers])}

    def state_dict(self):
        """{included (M,), observed (steps, M)}, for a checkpoint and for `save`."""
        return {"included": self.included, "observed": self.observed}

    def load_state_dict(self, state):
        """Go on from a checkpoint: with --noise-seed system who is in cannot be drawn again."""
        self.included, self.observed = (state[key].cpu() for key in ("included", "observed"))

    def save(self, path):
        """Write state_dict() as safetensors, all or nothing."""
        with rows.atomic(path, "wb") as file:
            file.write(save(self.state_dict(), metadata=ABOUT))


class Watched(nn.Module):
    """A model and one parameter for each canary; called as the model is called."""

    def __init__(self, model, canaries, clip):
        super().__init__()
        count, device = len(canaries.included), next(model.parameters()).device
        self.model, self.canaries, self.steep = model, canaries, STEEP * clip
        # zeros that no optimizer moves: a canary's loss is 0 and its gradient STEEP C, there only
        self.table = nn.Embedding.from_pretrained(torch.zeros(count, 1, device=device), False)

    def forward(self, *args, canary=None, **kwargs):
        """The model's output; with `canary` (B,), numbers of canaries, their losses (B,)."""
        if canary is None:
            return self.model(*args, **kwargs)
        return self.steep * self.table(canary)[:, 0]

    def nll(self, ids, lengths, mask):
        """As GPTNeoX.nll, through __call__."""
        return self(ids, lengths, mask=mask)

    def observe(self, k, gradient, unit):
        """Move the canaries' part of step k's private gradient to `observed`; unit: C over B."""
        # popped, since the optimizer has no such parameter
        seen = gradient.pop("table.weight")[:, 0]
        self.canaries.observed[k] = (seen / unit).float().cpu()


def watched(objective):
    """The objective with each canary's own loss in place of its row's."""
    def watched(f, batch, *args):
        canary = batch["canary"]
        losses = objective(f, batch, *args)
        # -1 cannot be looked up: rows of data look up number 0 and drop the result
        return torch.where(canary < 0, losses, f(canary=canary.clamp(min=0)))
    return watched
