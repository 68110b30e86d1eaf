"""A private gradient of a language model: by book-keeping, by per-sample gradients, its noise.

Against each other in float32 without TF32; times in bfloat16 too.
"""

from tests.bench import dp, machine
from tests.bench.harness import Setting
from tests.device import measure
from tests.device.parts import private_numbers


def run(rec):
    device, of = measure.card(rec)
    shape = of("14m", "tiny")
    with rec.piece("fast against func"):
        machine.with_settings(lambda: private_numbers.same(rec, device, shape, "lm"), device,
                              False)()
    for dtype in ("float32", "bfloat16"):
        with rec.piece(dtype):
            measure.clear()
            bench = dp.Bench(Setting(shape, dtype, device), "lm")
            variants = {"not private": bench.plain, "fast": lambda: bench.private("fast"),
                        "func": lambda: bench.private("func"), "noise": bench.noise,
                        "whole step": bench.private_step}
            for name, build in variants.items():
                times = measure.paced(build(), device)
                rec.row(shape=shape, head="lm", dtype=dtype, mode=name, **times)
