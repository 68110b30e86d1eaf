"""Do the gradients of labels point where truth points? The cosine of each row's gradient with the
mean gradient of the true answers of all other rows, for one language model.

    cos(g_i, sum over j != i of t_j), g_i = grad l(x_i, label of x_i), t_j = grad l(x_j, truth)

The row's own t_i is left out: a right label would be compared with itself. Two passes: the sum of
all t by ordinary backward passes, then per-sample gradients of a few rows at a time, so that no
more than NUMBERS of their numbers are held, whatever N is.

N rows of a pool, B rows of a batch, P parameters.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch.func import grad, vmap

from w2s.dp.sgd import Bound
from w2s.infer import lm
from w2s.train import step

NUMBERS = 2 ** 25  # in the per-sample gradients of the labels held at a time: 134 MB in float32


def cosines(model, objective, labels, truth, picks, batch_size=32):
    """(n,) float64 cosine of each of the rows at the positions `picks` (n,).

    objective(f, batch) -> (B,) losses; labels, truth: columns to train on of the N rows, with the
    labels and with the true answers (infer/choice.encode)."""
    device, total = next(model.parameters()).device, summed(model, objective, truth, batch_size)
    size = max(1, NUMBERS // len(total))
    parts = [F.cosine_similarity(
        row_gradients(model, objective, batch_of(labels, part, device)),
        total - row_gradients(model, objective, batch_of(truth, part, device)))
        for part in np.split(picks, range(size, len(picks), size))]
    return torch.cat(parts).cpu().double().numpy()


def summed(model, objective, columns, batch_size):
    """(P,) the sum of the gradients of all rows."""
    weights = list(model.parameters())
    total = torch.zeros(sum(p.numel() for p in weights), device=weights[0].device)
    places = np.arange(len(columns["ids"]))
    for part in np.split(places, range(batch_size, len(places), batch_size)):
        losses = objective(model, batch_of(columns, part, total.device))
        total += torch.cat([g.flatten() for g in torch.autograd.grad(losses.sum(), weights)])
    return total


def row_gradients(model, objective, batch):
    """(B, P) the gradient of each row's loss: vmap(grad(loss)), as in dp/sgd.func_sum."""
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights, row):
        # vmap hides the batch dimension, which the model needs
        row = {key: value[None] for key, value in row.items()}
        return objective(Bound(model, weights), row)[0]

    gradients = vmap(grad(loss), (None, 0))(weights, batch)
    return torch.cat([g.flatten(1) for g in gradients.values()], 1)


def batch_of(columns, pick, device):
    """The batch of rows `pick` (B,), with a mask on their answers."""
    batch = lm.masked(step.collate(columns, pick, device))
    batch.pop("rows")  # names rows in errors only, and stays on the CPU
    return batch
