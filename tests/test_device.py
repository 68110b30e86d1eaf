"""`python -m tests.device`: all of it on a pretended card, and made-up parts that fail, hang and die.

    python -m pytest -q tests/test_device.py
"""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.device import measure, page, record, session
from tests.device.parts import numbers, private_numbers, waits, workers
from tests.device.session import Part
from w2s.dp import noise, sgd
from w2s.model import kernels, network
from w2s.train import step

ROOT = Path(__file__).parent.parent
FACTS = {"commit": "0123456789", "dirty": False, "started": "2026-01-02T03:04:05+00:00",
         "versions": {"torch": "2.11"}, "device": {"name": "a card", "pretended": False}}
LONG = 600                 # a limit that nobody reaches


def command(*words, **more):
    """A call of the script, to its end."""
    return subprocess.run([sys.executable, "-m", "tests.device", *map(str, words)], cwd=ROOT,
                          text=True, capture_output=True, timeout=LONG, **more)


def play(out, *parts, budget=20 * LONG, pretended=False):
    """(whether all was met, device.json) of made-up parts: (name, function, limit)."""
    good = session.run([Part(n, name, limit, run, card=False)
                        for n, (name, run, limit) in enumerate(parts)], out, budget, pretended,
                       FACTS)
    return good, json.loads((out / "device.json").read_text())


# ---- all of it -----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(what a pretended run printed, its device.json, its device.md), where opacus cannot be
    imported."""
    out = tmp_path_factory.mktemp("device")
    (out / "opacus.py").write_text("raise ImportError('opacus was asked for')\n")
    done = command("--pretend", "--out", out / "found", env=os.environ | {
        "PYTHONPATH": str(out), "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    found = out / "found"
    return done.stdout, json.loads((found / "device.json").read_text()), (
        found / "device.md").read_text()


def test_all_parts_run_on_a_pretended_card(whole):
    said, found, _ = whole
    assert [part["name"] for part in found["parts"]] == [part.name for part in session.PARTS]
    for part in found["parts"]:
        assert part["status"] == "done", (part["name"], part["stderr_tail"])
        assert part["checks"] or part["rows"], part["name"]
        assert f"{part['name']:<11} done" in said


def test_what_a_cpu_can_tell_is_met_and_what_it_cannot_is_pretended(whole):
    _, found, _ = whole
    hard = {f"{part['name']}: {check['name']}": check["pass"] for part in found["parts"]
            for check in part["checks"] if check["hard"]}
    pretended = {name for name, met in hard.items() if met == "pretended"}
    assert pretended == {"machine: product, bfloat16", "workers: memory of two"}
    assert all(met is True for name, met in hard.items() if name not in pretended), hard
    for name in ("golden pythia, lm", "golden gemma3, greedy", "fast against func, tiny, lm",
                 "longest row, fast, bfloat16", "greedy against the CPU, how much less likely",
                 "resident columns", "noise, variance"):
        assert f"numbers: {name}" in hard
    for name in ("memory: tiny, allocated", "memory: tiny, recomputed, allocated",
                 "prediction: largest batch, padded tokens", "nccl: weights", "nccl: losses",
                 "privacy: fast against func, tiny, lm", "workers: killed, loss",
                 "steps: tiny class compiled, losses against eager"):
        assert name in hard
    assert found["summary"]["hard"] == len(hard) and not found["summary"]["failed"]


def test_the_file_has_the_schema(whole):
    _, found, text = whole
    assert found.keys() == {"schema", "commit", "dirty", "started", "versions", "device",
                            "budget_s", "parts", "summary"}
    assert found["versions"]["torch"] == torch.__version__ and found["device"]["pretended"]
    assert {"python", "driver"} <= found["versions"].keys()
    for part in found["parts"]:
        assert part.keys() == {"name", "status", "seconds", "limit", "checks", "rows",
                               "stderr_tail"}
        for check in part["checks"]:
            assert check.keys() == {"name", "value", "unit", "low", "high", "hard", "pass"}
        for row in part["rows"]:
            assert row.keys() == set(record.COLUMNS)
    assert "Pretended: on a CPU, in tiny shapes. No time on this page says anything." in text
    assert text.count("\n## ") == len(session.PARTS)


# ---- made-up parts -------------------------------------------------------------------------------

def good(rec):
    rec.check("fine", 1.0, low=.5, hard=True)


def broken(rec):
    rec.check("before", 2, high=3, hard=True)
    with rec.piece("a piece"):
        raise ValueError("of no use\nat all")
    rec.check("behind", 2, high=3, hard=True)


def dead(rec):
    good(rec)
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_part_that_fails_crashes_or_hangs_loses_nothing(tmp_path):
    def hanging(rec):
        good(rec)
        child = subprocess.Popen(["sleep", "1000"])
        (tmp_path / "child").write_text(str(child.pid))
        time.sleep(LONG)

    def raising(rec):
        good(rec)
        raise RuntimeError("no such luck")
    met, found = play(tmp_path, ("good", good, LONG), ("broken", broken, LONG),
                      ("raising", raising, LONG), ("dead", dead, LONG), ("hanging", hanging, 4),
                      ("leaving", lambda rec: os._exit(7), LONG), ("last", good, LONG))
    parts = {part["name"]: part for part in found["parts"]}
    assert not met
    assert {name: part["status"] for name, part in parts.items()} == {
        "good": "done", "broken": "failed", "raising": "failed", "dead": "crashed",
        "hanging": "timeout", "leaving": "crashed", "last": "done"}
    assert all(parts[name]["checks"][0]["name"] == "fine"
               for name in ("good", "raising", "dead", "hanging", "last"))
    assert [(check["name"], check["pass"]) for check in parts["broken"]["checks"]] == [
        ("before", True), ("a piece", False), ("behind", True)]
    assert parts["broken"]["checks"][1]["value"] == "ValueError: of no use"
    for name, words in {"broken": "of no use", "raising": "RuntimeError: no such luck",
                        "dead": "ended by SIGSEGV",
                        "hanging": "killed at its limit", "leaving": "exit code 7"}.items():
        assert words in parts[name]["stderr_tail"], name
    assert "Segmentation fault" in parts["dead"]["stderr_tail"]
    assert found["summary"]["failed"] == ["broken: a piece", "raising: failed", "dead: crashed",
                                          "hanging: timeout", "leaving: crashed"]
    assert 4 <= parts["hanging"]["seconds"] < LONG / 2
    assert gone(int((tmp_path / "child").read_text()))    # and what it had started
    text = (tmp_path / "device.md").read_text()
    assert "* failed: dead: crashed" in text and "## last: done" in text


def test_what_is_extra_may_be_cut_off(tmp_path):
    def run(rec):
        good(rec)
        rec.extra()
        rec.check("more", 1.0)
        time.sleep(LONG)
    met, found = play(tmp_path, ("one", run, 4))
    assert met and found["parts"][0]["status"] == "cut off"
    assert [check["name"] for check in found["parts"][0]["checks"]] == ["fine", "more"]


def gone(pid, seconds=60):
    """Whether a process ends; one that nobody has reaped yet has."""
    for _ in range(10 * seconds):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(.1)
    return False


@pytest.mark.parametrize("check, met, said", [
    (dict(value=1.0, high=2, hard=True), True, True),
    (dict(value=3.0, high=2, hard=True), False, False),
    (dict(value=1.0, low=2, hard=True), False, False),
    (dict(value=float("nan"), low=0, high=2, hard=True), False, False),
    (dict(value="none", high=2, hard=True), False, False),
    (dict(value=3.0, high=2), True, False),
    (dict(value=3.0, hard=True), True, None)])
def test_only_a_hard_check_that_is_not_met_fails_the_whole(tmp_path, check, met, said):
    found, kept = play(tmp_path, ("one", lambda rec: rec.check("c", **check), LONG))
    assert found == met and kept["parts"][0]["checks"][0]["pass"] is said


def test_what_needs_hardware_is_neither_met_nor_failed_where_it_is_pretended(tmp_path):
    def run(rec):
        rec.check("slow", 1, low=2, hard=True, hardware=True)
        rec.check("wrong", 1, low=2, hard=True)
    met, found = play(tmp_path, ("one", run, LONG), pretended=True)
    assert [check["pass"] for check in found["parts"][0]["checks"]] == ["pretended", False]
    assert found["summary"]["failed"] == ["one: wrong"] and not met
    assert found["summary"]["pretended"] == 1
    (tmp_path / "real").mkdir()
    assert play(tmp_path / "real", ("one", run, LONG))[1]["summary"]["failed"] == [
        "one: slow", "one: wrong"]


@pytest.mark.parametrize("budget, dropped", [
    (480, []), (455, []), (454, [11]), (440, [10]), (430, [10, 11]), (424, [8, 11]),
    (395, [8, 10, 11]), (390, [7, 8, 11])])
def test_parts_11_10_and_8_are_dropped_first(budget, dropped, tmp_path, monkeypatch):
    """Each takes all of its time; what is left in the end is for those that fit into it."""
    clock = [1000.0]

    def took(part, limit, pretended):
        clock[0] += limit
        return "done", limit, [], [], {}, ""
    monkeypatch.setattr(session, "run_part", took)
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    session.run(session.PARTS, tmp_path, budget, False, FACTS)
    parts = json.loads((tmp_path / "device.json").read_text())["parts"]
    assert [n for n, part in enumerate(parts) if part["status"] == "dropped"] == dropped
    assert clock[0] <= 1000 + budget and sum(part.limit for part in session.PARTS) == 455


def test_a_part_without_time_is_dropped_and_that_is_no_failure(tmp_path):
    met, found = play(tmp_path, ("long", good, 100), ("short", good, 30), budget=60)
    assert met and [part["status"] for part in found["parts"]] == ["dropped", "done"]
    assert found["summary"]["parts"] == {"dropped": 1, "done": 1}


# ---- the parent ----------------------------------------------------------------------------------

def test_killed_the_parent_leaves_a_whole_file_and_no_process(tmp_path):
    code = f"""
import os, pathlib, time
from tests import test_device
from tests.device import session

def long(rec):
    pathlib.Path({str(tmp_path)!r}, "pid").write_text(str(os.getpid()))
    time.sleep(600)
test_device.play(pathlib.Path({str(tmp_path)!r}), ("good", test_device.good, 600),
                 ("long", long, 600))
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as parent:
        while parent.poll() is None and not (tmp_path / "pid").exists():
            time.sleep(.05)
        parent.kill()
    found = json.loads((tmp_path / "device.json").read_text())
    assert [part["status"] for part in found["parts"]] == ["done", "running"]
    assert found["parts"][0]["checks"][0]["pass"] is True
    assert gone(int((tmp_path / "pid").read_text() or 0))
    assert not list(tmp_path.glob(".*.part"))


def test_only_children_ask_for_a_card_and_without_one_a_line_says_so(tmp_path):
    code = f"""
import os, sys, types, torch
def asked(*_):
    open({str(tmp_path / "asked")!r}, "a").write(f"{{os.getpid()}}\\n")
    return 0
torch.cuda.is_available = torch.cuda.device_count = torch.cuda._lazy_init = asked
from tests.device import session
print(os.getpid())
sys.exit(session.main(types.SimpleNamespace(out={str(tmp_path / "out")!r}, minutes=8,
                                            only=set(range(12)), pretend=False)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 2 and done.stderr == (
        "error: no CUDA device here; --pretend runs everything on the CPU, in tiny shapes\n")
    asked = (tmp_path / "asked").read_text().split()
    assert asked and done.stdout.strip() not in asked


@pytest.mark.parametrize("words, said", [
    (["--only", "0,stepps"], "--only: no part 'stepps'; choose from machine, "),
    (["--only", "12"], "no part '12'"), (["--minutes", "0"], "--minutes: between 0 and 600"),
    (["--minutes", "soon"], "--minutes: "), (["--pretends"], "--pretends"),
    (["--pretend", "--out", "README.md/x"], "--out README.md/x: cannot be written")])
def test_bad_arguments_are_one_line(words, said):
    done = command(*words)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and said in done.stderr
    assert done.stderr.startswith("error: ") and not done.stdout


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
        step.Held, "batch", lambda self, pick: RIGHT_BATCH(self, pick[::-1])), "resident columns")}


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
    place = f"test_device.py:{waits_line()}"
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
