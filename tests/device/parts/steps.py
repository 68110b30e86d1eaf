"""Training steps: how long, how many kernels, how busy, by what a step computes of the card's peak.

Rows of one length, 32 x 128, the step of a training script with clipping and AdamW. Expected:
docs/speed.md, computed for an H100; a time of more than twice that is noted as not met.
"""

import torch

from tests.bench import models, step
from tests.bench.harness import Setting
from tests.device import measure

SIZE = (32, 128)
EAGER = (("14m", "class"), ("70m", "class"), ("410m", "class"), ("1b", "class"), ("14m", "lm"),
         ("70m", "lm"), ("410m", "lm"))
COMPILED = (("14m", "class"), ("410m", "class"), ("14m", "lm"))  # the last two where time is left
EXPECTED = {("14m", "eager"): 4, ("14m", "compiled"): 1.15, ("70m", "eager"): 4.5,
            ("70m", "compiled"): 3, ("410m", "eager"): 36, ("410m", "compiled"): 25,
            ("1b", "eager"): 68, ("1b", "compiled"): 50}  # ms of a class step in bfloat16
PEAK = {"H100": 989, "H200": 989, "GH200": 989, "A100": 312}  # dense bfloat16 TF/s, data sheets
SAME = 2e-2


def run(rec):
    device, of = measure.card(rec)
    losses = {}
    for shape, head in of(EAGER, (("tiny", "class"), ("tiny", "lm"))):
        with rec.piece(f"{shape} {head}"):
            losses[shape, head] = timed(rec, device, shape, head, "bfloat16")
    for shape in of(("14m", "410m"), ("tiny",)):
        with rec.piece(f"{shape} class float32"):
            timed(rec, device, shape, "class", "float32")
    for shape, head in of(COMPILED, (("tiny", "class"),)):
        name = f"{shape} {head} compiled"
        with rec.piece(name):
            found = timed(rec, device, shape, head, "bfloat16", True)
            one, other = (torch.tensor(each).double() for each in (found, losses[shape, head]))
            rec.check(f"{name}, losses against eager", measure.error(one, other), high=SAME,
                      hard=True)
            torch.compiler.reset()
        rec.extra()  # compiling a large model can take minutes


def timed(rec, device, shape, head, dtype, compile=False):
    """The losses of the first three steps. Their times, and what goes with them, are noted."""
    measure.clear()
    setting, mode = Setting(shape, dtype, device), "compiled" if compile else "eager"
    model = models.drawn(models.config_of(shape), head, device)
    rows, tokens = models.TINY[head] if rec.pretended else SIZE
    batch = models.batch_of(shape, head, device, (rows, tokens))
    if head == "class":
        del batch["mask"]
    _, go = step.own_step(setting, head, compile, model)
    losses = []

    def once():
        losses.append(float(go(0, batch)))
    first = measure.machine.seconds(once, device)
    once(), once()
    times = measure.paced(lambda: go(0, batch), device) | {"first_s": first}
    kernels, busy = measure.traced(lambda: go(0, batch), device, rec.pretended)
    flops = models.nominal_flops(shape, head, rows, tokens)
    peak = next((rate for name, rate in PEAK.items()
                 if name in torch.cuda.get_device_name()), None)
    rec.row(shape=shape, head=head, dtype=dtype, mode=mode, **times,
            kernels=None if rec.pretended else kernels,
            busy=None if rec.pretended else busy / times["ms"],
            mfu=peak and dtype == "bfloat16" and flops / times["ms"] / 1e9 / peak or None,
            gb=torch.cuda.max_memory_allocated() / 1e9)
    expected = EXPECTED.get((shape, mode))
    if expected and head == "class" and dtype == "bfloat16":
        rec.check(f"{shape} {head} {mode}", times["ms"], "ms", high=2 * expected, hardware=True)
    return losses
