"""The same twenty steps twice: whether the bits are the same. Nothing is asked of them."""

import torch

from tests.bench import models, step
from tests.bench.harness import Setting
from tests.device import measure


def run(rec):
    device, of = measure.card(rec)
    shape, steps = of(("14m", 20), ("tiny", 3))
    for head in ("class", "lm"):
        for dtype in ("float32", "bfloat16"):
            with rec.piece(f"{head} {dtype}"):
                one, other = (trained(device, shape, head, dtype, steps) for _ in "12")
                wrong = [name for name, p in one.items() if not torch.equal(p, other[name])]
                rec.check(f"{head}, {dtype}", len(wrong), f"of {len(one)} weights differ")


def trained(device, shape, head, dtype, steps):
    """Weights after the steps."""
    model = models.drawn(models.config_of(shape), head, device)
    batch = models.batch_of(shape, head, device)
    if head == "class":
        del batch["mask"]
    _, go = step.own_step(Setting(shape, dtype, device), head, False, model)
    for _ in range(steps):
        go(0, batch)
    return {name: p.detach().cpu() for name, p in model.named_parameters()}
