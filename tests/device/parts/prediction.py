"""Labels of many short rows: whether a batch is as large as it may be and no larger."""

from unittest import mock

import numpy as np

from tests.bench import epochs, models
from tests.device import measure
from w2s.infer import batching, classify

MOST = 1.1                 # times the padded tokens that a batch may have


def run(rec):
    device, of = measure.card(rec)
    shape, count = of(("410m", 33_000), ("tiny", 200))
    ids = models.rows_of(epochs.lengths("SST-2", count), shape)
    model, sizes = models.drawn(models.config_of(shape), "class", device), []
    last_state = model.last_state

    def noted(batch, *more):
        sizes.append(batch.numel())
        return last_state(batch, *more)

    def work():
        classify.read_all(model, {"ids": ids}, "bfloat16", "")
    with mock.patch.object(model, "last_state", noted):
        spent = measure.machine.seconds(work, device)
    held = 0 if rec.pretended else measure.peak(work, False)
    budget, real = batching.TOKENS["cuda"], sum(map(len, ids))
    rec.row(shape=shape, head="class", dtype="bfloat16", mode=f"{count} rows", ms=1e3 * spent,
            gb=held / 1e9)
    rec.check("largest batch, padded tokens", max(sizes) / budget, "of the budget", high=MOST,
              hard=True)
    rec.check("padded tokens", sum(sizes) / real, "of the real ones")
    rec.check("batches", len(sizes), f"of {np.mean(sizes):.0f} padded tokens")
    rec.check("rows", count / spent, "a second")
