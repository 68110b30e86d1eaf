"""`python -m tests.device`: all of it on a pretended card; made-up parts that fail, hang and die.

    python -m pytest -q tests/test_device.py
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.device import process, record, session
from tests.device.session import Part

ROOT = Path(__file__).parent.parent
FACTS = {"commit": "0123456789", "dirty": False, "started": "2026-01-02T03:04:05+00:00",
         "versions": {"torch": "2.11"}, "device": {"name": "a card", "pretended": False}}
LONG = 600                 # a limit that nobody reaches


def command(*words, **more):
    """A call of the script, to its end."""
    return subprocess.run([sys.executable, "-m", "tests.device", *map(str, words)], cwd=ROOT,
                          text=True, capture_output=True, **more)


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
    assert parts["dead"]["stderr_tail"].endswith("ended by SIGSEGV")
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
    monkeypatch.setattr(process, "run_part", took)
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
