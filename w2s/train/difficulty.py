"""How hard rows are for a model that has not seen them: the loss of each, and an order by it.

N rows of a file, P parameters.
"""

import numpy as np
import torch

from w2s.train import step


@torch.no_grad()
def row_losses(model, task, columns, batch_size, device="cpu", *, folder, **options):
    """(N,) float64 the task's training loss of each row's target, in nats, without a regulariser.

    columns: as the task's encode makes them with a target; folder: the model's, for messages;
    options: of the task's objective. Raises ValueError for a loss that is not finite."""
    losses = np.empty(len(step.row_lengths(columns)))
    steps = step.count_steps(len(losses), 1, batch_size)
    # one epoch of the training batches: each row once, rows of about one length together
    for _, batch in task.batches(columns, steps, batch_size, seed=0, device=device):
        rows = batch.pop("rows").numpy()
        loss = task.objective(model, batch, step.ground_truth, 0, **options)
        losses[rows] = loss.cpu().double().numpy()
    if not np.isfinite(losses).all():
        bad = 1 + int(np.flatnonzero(~np.isfinite(losses))[0])
        raise ValueError(f"{folder}: the untuned model's loss of row {bad} is not finite; take "
                         "another model")
    return losses


def easy_first(losses):
    """(N,) positions of the rows from the smallest loss to the largest; of equals the earlier
    first, so the same losses always give the same order."""
    return np.argsort(losses, kind="stable")
