"""What the parts of `python -m tests.device` measure with, and errors that they have to notice.

    python -m pytest -q tests/test_device_parts.py
"""

import warnings
from pathlib import Path

import pytest
import torch

from tests.device import measure, page, record
from tests.device.parts import numbers, private_numbers, waits, workers
from w2s.dp import noise, sgd
from w2s.model import kernels, network
from w2s.train import step


# ---- what parts measure with ---------------------------------------------------------------------

def test_spans_that_overlap_count_once():
    assert measure.covered([("a", 5, 9), ("b", 0, 2), ("c", 1, 3), ("d", 6, 7)]) == 3 + 4
    assert measure.covered([]) == 0


def test_the_peak_is_that_of_tensors_that_live_at_once():
    def work():
        kept = torch.zeros(1000)                                 # 4,000 bytes
        for _ in range(5):
            torch.ones(500).view(50, 10)                         # 2,000 each, one at a time
        return kept + 1                                          # 4,000 beside the first
    assert measure.peak(work, True) == 8000


def test_an_error_is_in_times_of_the_largest_number():
    assert measure.error(torch.tensor([1.0, -4.5]), torch.tensor([1.0, -4.0])) == .125


def test_a_table_leaves_out_empty_columns_and_a_bar_stands_in_no_cell():
    text = page.table(("shape", "iqr", "gb"), [{"shape": "a", "iqr": "5%", "gb": ""}])
    assert text.splitlines() == ["| shape | IQR |", "|---|---|", "| a | 5% |"]
    assert page.number("a|b\nc") == "a/b c" and page.number(1234.5) == "1234"
    check = {"name": "c", "value": 1.0000123, "unit": "C", "low": None, "high": 1.00001}
    assert page.value_of(check) == "1.000012 C" and page.asked(check) == "<= 1.00001"


# ---- errors that parts have to notice ------------------------------------------------------------

@pytest.fixture
def rec(tmp_path):
    """A Record, and `failed` of it: the names of hard checks that were not met."""
    path = tmp_path / "notes"
    found = record.Record(path, pretended=True)
    found.failed = lambda: [check["name"] for check in record.read(path)[0]
                            if check["hard"] and check["pass"] is False]
    return found


def scaled(module, name, factor, place=None):
    """(module, name, the function with its result, or an argument, off by a factor)."""
    right = getattr(module, name)

    def wrong(*args, **named):
        if place is None:
            return right(*args, **named) * factor
        return right(*(factor * x if i == place else x for i, x in enumerate(args)), **named)
    return module, name, wrong


def tiny(real, small):
    return small


def longer(*args):
    """fast_sum whose sums are a thousandth too large."""
    sums, norms, losses = RIGHT_FAST(*args)
    return [(name, value if isinstance(value, tuple) else 1.001 * value)
            for name, value in sums], norms, losses


CPU = torch.device("cpu")
RIGHT_FAST, RIGHT_BATCH = sgd.fast_sum, step.Held.batch
PIECES = {
    "softmax": (lambda rec, draw: numbers.softmax(rec, CPU, draw, tiny),
                lambda: scaled(kernels, "softmax_", 1 + 1e-4), "softmax_, logsumexp"),
    "rotary": (lambda rec, draw: numbers.rotary(rec, CPU, draw, tiny),
               lambda: (kernels.Turn, "backward", staticmethod(
                   lambda ctx, g: (g, None, None, None, None))), "rotary, Turn, gradient 0"),
    "attention": (lambda rec, draw: numbers.attention(rec, CPU, draw, tiny),
                  lambda: scaled(network.F, "scaled_dot_product_attention", 1 + 1e-4),
                  "attention, fused, d = 32"),
    "nll": (lambda rec, draw: numbers.token_nll(rec, CPU, draw, tiny),
            lambda: scaled(kernels, "softmax_", 1 + 1e-4), "TokenNLL"),
    "rows": (lambda rec, draw: private_numbers.rows(rec, CPU, 2),
             lambda: scaled(sgd, "clip_factor", 1.05), "longest row, fast, float32"),
    "noise": (lambda rec, draw: private_numbers.normal(rec, CPU, 2 ** 16),
              lambda: scaled(noise, "add", 1.05, 1), "noise, variance"),
    "same": (lambda rec, draw: private_numbers.same(rec, CPU, "tiny", "class"),
             lambda: (sgd, "fast_sum", longer), "fast against func, tiny, class"),
    "resident": (lambda rec, draw: numbers.resident(rec, CPU), lambda: (
        step.Held, "batch", lambda self, pick: RIGHT_BATCH(self, pick[::-1].copy())),
        "resident columns")}


@pytest.mark.parametrize("name", PIECES)
def test_a_planted_error_is_noticed_and_nothing_without_one(name, rec, monkeypatch):
    run, planted, noticed = PIECES[name]
    if name == "resident":             # on a CPU columns are not held
        monkeypatch.setattr(step, "collator", lambda columns, device: step.Held(
            columns, device).batch)
    run(rec, torch.Generator().manual_seed(0))
    assert not rec.failed()
    monkeypatch.setattr(*planted())
    run(rec, torch.Generator().manual_seed(0))
    assert noticed in rec.failed()


def test_greedy_texts_that_differ_have_to_be_as_likely(rec, monkeypatch):
    monkeypatch.setattr(numbers.models.gpt_neox.GPTNeoX, "to", lambda self, device: (
        setattr(self, "calls", getattr(self, "calls", 0) + 1) or self))
    numbers.greedy(rec, CPU, tiny)
    assert not rec.failed()
    from w2s.model import decoding
    right, calls = decoding.generate, []

    def wrong(*args):
        calls.append(1)
        return right(*args) + (len(calls) == 2)
    monkeypatch.setattr(decoding, "generate", wrong)
    numbers.greedy(rec, CPU, tiny)
    assert rec.failed() == ["greedy against the CPU, how much less likely"]


def test_waits_of_a_card_are_torchs_warnings_with_the_lines_that_waited(rec, monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    rec.pretended = False
    with waits.waits(rec) as noted:
        for _ in "12":
            warnings.warn(f"called a {waits.SPOKEN} (Triggered internally)")
        warnings.warn("something else")
    place = f"test_device_parts.py:{waits_line()}"
    assert noted == [place, place] and modes == ["warn", "default"]
    with pytest.warns(UserWarning, match=waits.SPOKEN):   # of others again
        warnings.warn(waits.SPOKEN)


def waits_line():
    """The line of the first warning of the test above."""
    lines = Path(__file__).read_text().splitlines()
    return next(n for n, line in enumerate(lines, 1) if 'warnings.warn(f"called' in line)


def test_losses_are_apart_by_the_largest_relative_difference():
    assert workers.apart([1.0, 2.2], [1.0, 2.0]) == pytest.approx(.1)
    with pytest.raises(ValueError):
        workers.apart([1.0], [1.0, 2.0])
