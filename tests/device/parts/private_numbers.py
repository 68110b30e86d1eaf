"""Whether private sums on the card are what they promise: bounded by row, the same by both methods,
with noise that is normal and new in every step."""

import math

import torch

from tests.bench.harness import Setting
from w2s import device as devices
from w2s.dp import noise, sgd

CLIP, METHODS = 1 + 1e-5, ("fast", "func")
MANY = 5                   # standard deviations of a mean that count as too many


def run(rec, device, of):
    for head in ("class", "lm"):
        with rec.piece(f"fast against func, {head}"):
            same(rec, device, "tiny", head)
    with rec.piece("rows"):
        rows(rec, device, of(12, 3))
    with rec.piece("noise"):
        normal(rec, device, of(2 ** 24, 2 ** 14))


def same(rec, device, shape, head):
    """The clipped sum by book-keeping against that of per-sample gradients."""
    from tests.bench import dp
    bench = dp.Bench(Setting(shape, "float32", device), head)
    found = bench.private("fast")()
    rec.check(f"fast against func, {shape}, {head}", dp.distance(found, bench.reference()),
              high=1e-4, hard=True)


def rows(rec, device, count):
    """The longest contribution of a row, in clips, of rows that are made to be too long."""
    from tests.dp.test_clipping import case, length, objective
    for dtype in ("float32", "bfloat16"):
        longest = dict.fromkeys(METHODS, 0.0)
        for kind in ("linear", "embedding", "norm", "tied"):
            for seed in range(count):
                model, batch = case(kind, seed)
                model, batch = model.to(device), {key: x.to(device) for key, x in batch.items()}
                for method in METHODS:
                    with devices.autocast(device, dtype):
                        found = sgd.private_gradient(model, objective, batch, 1.0, 0, 1, None,
                                                     method)
                    longest[method] = max(longest[method], length(found))
        for method in METHODS:
            rec.check(f"longest row, {method}, {dtype}", longest[method], "C", high=CLIP,
                      hard=True)


def normal(rec, device, n):
    """Noise of two steps: mean, deviation and correlation, in standard deviations of each."""
    def drawn(key):
        value = torch.zeros(n, device=device)
        noise.add([value], 2.0, noise.Source(key), 4.0)
        return value.double() / .5
    first, second, again = drawn(1), drawn(2), drawn(1)
    for name, value, spread in (
            ("mean", first.mean(), 1), ("variance", first.square().mean() - 1, math.sqrt(2)),
            ("correlation of two steps", (first * second).mean(), 1),
            ("correlation of neighbours", (first[1:] * first[:-1]).mean(), 1)):
        rec.check(f"noise, {name}", abs(float(value)) / spread * math.sqrt(n), "deviations",
                  high=MANY, hard=True)
    rec.check("noise, one key twice", int((first != again).sum()), "numbers that differ", high=0,
              hard=True)
