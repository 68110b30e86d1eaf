"""Whether the card computes what the CPU and float64 do, in float32 without TF32.

Errors are in times of the largest number of the expected result: at most 1e-5, of gradients 1e-4.
With TF32 they are noted, and nothing is asked of them. Private sums: private_numbers.py.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from tests.bench import machine, models
from tests.device import measure
from tests.device.parts import private_numbers
from w2s.model import checkpoint, decoding, gpt_neox, kernels, network
from w2s.train import step

GOLDEN = Path(__file__).parents[2] / "golden"
VALUE, SLOPE = 1e-5, 1e-4
TIE = 1e-4                 # of two logits of order 1: which is larger may be decided by rounding


def run(rec):
    device, of = measure.card(rec)
    measure.whole_float32(device)
    for name in ("pythia", "llama", "gemma3"):
        with rec.piece(f"golden {name}"):
            golden(rec, device, name)
    draw = torch.Generator().manual_seed(0)
    for piece in (softmax, token_nll, rotary, attention):
        with rec.piece(piece.__name__):
            piece(rec, device, draw, of)
    with rec.piece("resident columns"):
        resident(rec, device)
    with rec.piece("greedy"):
        greedy(rec, device, of)
    private_numbers.run(rec, device, of)
    machine.settings(device, True)
    for name in ("pythia", "llama", "gemma3"):
        with rec.piece(f"golden {name}, TF32"):
            golden(rec, device, name, ", TF32")


@torch.no_grad()
def golden(rec, device, name, end=""):
    """Logits, states and texts that transformers gave."""
    known = load_file(GOLDEN / name / "expected.safetensors")
    ids, lengths = (known[key].to(device) for key in ("ids", "lengths"))
    lm, classifier = (checkpoint.load(GOLDEN / name, head, labels, device)
                      for head, labels in (("lm", None), ("class", 3)))
    classifier.score.weight.copy_(known["score"])
    for what, found in (("lm", lm(ids, lengths)), ("hidden", lm.last_state(ids, lengths)),
                        ("class", classifier(ids, lengths))):
        rec.check(f"golden {name}, {what}{end}", measure.error(found, known[what]),
                  high=None if end else VALUE, hard=True)
    wrong = decoding.generate(lm, ids, lengths, 8).cpu() != known["greedy"]
    rec.check(f"golden {name}, greedy{end}", int(wrong.sum()), "tokens that differ",
              high=None if end else 0, hard=True)


def slopes(rec, name, found, expected):
    """Check gradients, those of each input by itself."""
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        rec.check(f"{name}, gradient {place}", measure.error(one, other), high=SLOPE, hard=True)


def both(f, device, *inputs, like=None):
    """[(result, gradients of its sum of squares)] of f on the device in float32, and of like (f
    itself) on the CPU in float64."""
    found = []
    for place, dtype, g in ((device, torch.float32, f), ("cpu", torch.float64, like or f)):
        xs = [x.to(place, dtype).requires_grad_() for x in inputs]
        y = g(*xs)
        found.append((y, torch.autograd.grad(y.square().sum(), xs)))
    return found


def compare(rec, name, pair):
    (y, g), (y64, g64) = pair
    rec.check(name, measure.error(y, y64), high=VALUE, hard=True)
    slopes(rec, name, g, g64)


def softmax(rec, device, draw, of):
    """In place, and the sum's logarithm."""
    z = 5 * torch.randn(64, of(50304, 512), generator=draw)
    p = z.clone().to(device)
    norm = kernels.softmax_(p)
    rec.check("softmax_", measure.error(p, z.double().softmax(1)), high=VALUE, hard=True)
    rec.check("softmax_, logsumexp", measure.error(norm, z.double().logsumexp(1)), high=VALUE,
              hard=True)


def token_nll(rec, device, draw, of):
    """In parts, of which the last is smaller; under a mean, and where rows weigh differently."""
    P, D, V = 300, of(128, 16), of(50304, 512)
    token = torch.randint(V, (P,), generator=draw)
    h, W = torch.randn(P, D, generator=draw), torch.randn(V, D, generator=draw) / D ** .5
    weight = torch.rand(P, generator=draw)

    def ours(h, W):
        return kernels.TokenNLL.apply(h, W, token.to(device), weight.to(device), (128, 50),
                                      (True, True), False)

    def plain(h, W):
        return F.cross_entropy(h @ W.t(), token, reduction="none") * weight
    compare(rec, "TokenNLL", both(ours, device, h, W, like=plain))
    compare(rec, "TokenNLL, sum", both(lambda h, W: ours(h, W).sum()[None], device, h, W,
                                       like=lambda h, W: plain(h, W).sum()[None]))


def rotary(rec, device, draw, of):
    """Both forms against complex numbers."""
    T, d, pairs = of(300, 40), 64, 8
    x = torch.randn(2, 3, T, d, generator=draw)
    tables = gpt_neox.rotary_tables(T, 2 * pairs, 10000, device)

    def turned(x):
        angle = torch.arange(T, dtype=x.dtype)[:, None] * 10000 ** -(
            torch.arange(pairs, dtype=x.dtype) / pairs)
        first, second, rest = x.split((pairs, pairs, d - 2 * pairs), -1)
        z = torch.complex(first, second) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat((z.real, z.imag, rest), -1)
    for name, wide in (("in halves", None), ("Turn", kernels.Turn.tables(*tables, d))):
        place = network.Place(*tables, None, None, wide)
        pair = both(lambda x: network.rotate(x, place), device, x, like=turned)
        # angles of T radians in float32 are themselves off by T 2^-24
        rec.check(f"rotary, {name}", measure.error(pair[0][0], pair[1][0]), high=10 * VALUE,
                  hard=True)
        slopes(rec, f"rotary, {name}", pair[0][1], pair[1][1])


def attention(rec, device, draw, of):
    """Fused and written out, heads as wide as those of 14m and 410m."""
    for T, d in ((of(128, 24), 32), (of(200, 20), 64)):
        q, k, v = (torch.randn(2, 4, T, d, generator=draw) for _ in "qkv")
        bias = torch.full((T, T), float("-inf")).triu(1)

        def written(q, k, v):
            return network.attend(q, k, v, bias.to(q.device, q.dtype))
        compare(rec, f"attention, fused, d = {d}", both(
            lambda q, k, v: network.attend(q, k, v, None), device, q, k, v, like=written))
        compare(rec, f"attention, written out, d = {d}", both(written, device, q, k, v))


def resident(rec, device):
    """Batches gathered on the card against those that are copied there."""
    draw = np.random.default_rng(0)
    columns = {"ids": [draw.integers(1, 9, n).astype(np.int32)
                       for n in draw.integers(1, 90, 200)],
               "target": draw.random((200, 2), np.float32)}
    held, wrong = step.collator(columns, device), 0
    for pick in np.split(draw.permutation(200), 7 * np.arange(1, 28)):
        found, expected = held(pick), step.collate(columns, pick, device)
        wrong += found.keys() != expected.keys()
        wrong += sum(not torch.equal(found[key], value) for key, value in expected.items())
    rec.check("resident columns", wrong, "that differ", high=0, hard=True)


@torch.no_grad()
def greedy(rec, device, of):
    """Texts of the CPU's model. Where a token differs, both have to be as likely there."""
    shape, rows, prompt, new = of(("14m", 8, 32, 32), ("tiny", 4, 8, 8))
    model = models.drawn(models.config_of(shape), "lm", torch.device("cpu"), std=.1)
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(1, models.vocabulary(shape), (rows, prompt), generator=draw)
    lengths = torch.arange(prompt - rows + 1, prompt + 1)
    here = decoding.generate(model, ids, lengths, new)
    there = decoding.generate(model.to(device), ids.to(device), lengths.to(device), new).cpu()
    model, gaps = model.to("cpu"), [0.0]
    for row, n, one, other in zip(ids, lengths.tolist(), here, there):
        if not torch.equal(one, other):
            at = int((one != other).nonzero()[0])
            text = torch.cat((row[:n], one[:at]))[None]
            logits = model(text, torch.tensor([n + at]))[0, -1]
            gaps.append(float(logits[one[at]] - logits[other[at]]))
    rec.check("greedy against the CPU, rows that differ", len(gaps) - 1, f"of {rows}")
    rec.check("greedy against the CPU, how much less likely", max(gaps), "logits", high=TIE,
              hard=True)
