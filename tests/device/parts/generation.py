"""Greedy generation: milliseconds a token, without an end of text, with one to look for, and with
W2S_GRAPHS=1, by which a token is one launch."""

import os
from unittest import mock

import torch

from tests.bench import models
from tests.device import measure
from w2s import device as devices
from w2s.model import decoding

EXPECTED = {"14m": .9, "410m": 3.3}  # ms a token, computed for an H100
END = 7                              # an id; its logit is 0, so it is never the largest


def run(rec):
    device, of = measure.card(rec)
    rows, prompt, new = of((256, 32, 32), (4, 8, 8))
    for shape in of(EXPECTED, ("tiny",)):
        with rec.piece(shape):
            written = {}
            for name, end, graphs in (("without end", None, "0"), ("with end", END, "0"),
                                      ("graphs", None, "1")):
                with mock.patch.dict(os.environ, W2S_GRAPHS=graphs):
                    times, written[name] = timed(device, shape, rows, prompt, new, end)
                rec.row(shape=shape, head="lm", dtype="bfloat16", mode=name,
                        **times | {"ms": times["ms"] / new})
                rec.check(f"{shape}, {name}", times["ms"] / new, "ms a token", hardware=True,
                          high=2 * EXPECTED[shape] if shape in EXPECTED else None)
            for name in ("with end", "graphs"):
                wrong = int((written["without end"] != written[name]).sum())
                rec.check(f"{shape}, {name}, text", wrong, "tokens that differ", high=0)


def timed(device, shape, rows, prompt, new, end):
    """(times of a call, tokens (rows, new))."""
    measure.clear()
    model = models.drawn(models.config_of(shape), "lm", device)
    with torch.no_grad():
        model.unembed.weight[END] = 0
    draw = torch.Generator(device).manual_seed(1)
    ids = torch.randint(1, models.vocabulary(shape), (rows, prompt), generator=draw,
                        device=device)
    lengths = torch.full((rows,), prompt, device=device)

    def work():
        with devices.autocast(device, "bfloat16"):
            return decoding.generate(model, ids, lengths, new, end=end)
    tokens = work()
    return measure.paced(work, device), tokens
