"""`python -m tests.bench --save` and `--check`, on made-up figures.

    python -m pytest -q tests/test_bench_kept.py
"""

import json
import subprocess
import sys

import pytest

from tests.bench import __main__ as bench
from tests.bench import kept, machine, session
from tests.bench.harness import Table

FACTS = {"command": "python -m tests.bench --save", "date": "2026-01-02", "commit": "0123456789",
         "changed": False, "machine": "a CPU", "device": "cpu", "ceilings": {}}


def tables(peer=1.25, ours=1.2, section="step"):
    """A step with a peer that takes `peer` times as long as ours, by the better quartile, and ours
    with privacy, which takes `ours`, by the better quartile."""
    rows = [{"variant": "plain", "ms": 5.0, "x plain": (1.0, 1.0, 1.0)},
            {"variant": "hf-equal", "x plain": (peer - .1, peer - .05, peer), "MB x plain": 3.0},
            {"variant": "fast", "x plain": (ours, ours + .1, ours + .2)},
            {"variant": "hooks-shipped", "x plain": (3.0, 4.0, 9.0)},  # two runs differ by half
            {"variant": "adamw", "x plain": (.05, .05, .09)},          # too short to time
            {"variant": "hooks-equal", "error": "no opacus here"}]
    return [Table(section, f"a {section}", [], rows), Table("start", "s", [], rows)]


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "RATIOS", tmp_path / "ratios.json")
    kept.save(FACTS, tables())
    return tmp_path / "ratios.json"


def test_what_is_kept_are_medians_against_ours_of_the_sections_that_are_timed(file):
    content = json.loads(file.read_text())
    assert content["ratios"] == {"a step: hf-equal x plain": 1.2, "a step: fast x plain": 1.3}
    assert (content["commit"], content["machine"]) == ("0123456789", "a CPU")


@pytest.mark.parametrize("peer, ours, status", [
    (1.2, 1.3, 0), (1.03, 1.3, 0), (1.01, 1.3, 1),       # 1.2 less 15 %: 1.02
    (1.2, 1.49, 0), (1.2, 1.51, 1),                      # 1.3 and 15 %: 1.495
    (9.0, .1, 0)])                                       # faster is no loss
def test_more_than_15_percent_of_a_ratio_lost_is_a_failure(file, peer, ours, status, capsys):
    assert kept.check(FACTS, tables(peer, ours)) == status
    said = capsys.readouterr().out
    assert said.count("LOST") == status and "2 ratios of 2 measured" in said
    assert f"{status} lost more than 15% since 0123456789" in said


def test_a_check_that_measured_nothing_that_is_known_fails(file):
    assert kept.check(FACTS, tables(section="lm")) == 1


def test_another_machine_is_named(file, capsys):
    assert kept.check(FACTS | {"machine": "another"}, tables()) == 0
    assert "note: the ratios are of another machine: a CPU" in capsys.readouterr().err


@pytest.mark.parametrize("speed, noted", [(200, False), (260, False), (270, True), (140, True)])
def test_a_machine_of_another_speed_is_named(file, speed, noted, capsys):
    def facts(gemm):
        return FACTS | {"ceilings": {"float32": {"GEMM": gemm}}}
    kept.save(facts(200.4), tables())
    assert json.loads(file.read_text())["products"] == 200
    kept.check(facts(speed), tables())
    assert ("at 200 where the ratios were made" in capsys.readouterr().err) == noted


@pytest.mark.parametrize("flag, status", [("save", 0), ("check", 1)])
def test_a_session_ends_with_them(file, flag, status, monkeypatch, capsys):
    from types import SimpleNamespace
    args = dict(device="cpu", allocator="glibc", memory=None, shape=["tiny"], dtype=["float32"],
                rounds=1, no_memory=True, only=[], sections=["start"], compile="off", out=None,
                save=False, check=False)
    monkeypatch.setattr(machine, "prepare", lambda name, keep: machine.torch.device("cpu"))
    monkeypatch.setattr(session, "measured", lambda *_: tables(1.0, 1.4))
    assert session.run(SimpleNamespace(**args | {flag: True})) == status
    changed = json.loads(file.read_text())["ratios"]["a step: hf-equal x plain"]
    assert changed == (.95 if flag == "save" else 1.2)


def test_a_check_without_a_file_says_how_to_make_it(tmp_path):
    code = ("import runpy, sys, pathlib; pathlib.Path.exists = lambda self: False; "
            "sys.argv = ['bench', '--check']; "
            "runpy.run_module('tests.bench', run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", code], cwd=machine.ROOT, text=True,
                          capture_output=True)
    assert done.returncode == 2
    assert "no tests/bench/ratios.json yet; python -m tests.bench --save" in done.stderr


@pytest.mark.parametrize("content", [
    b"{nope", b"[]", b"3", b"{}", b"", b"\xff\x00",
    b'{"machine": "m", "commit": "c", "products": 1, "ratios": {}}',
    b'{"machine": "m", "commit": "c", "products": 1, "ratios": {"a": "1"}}',
    b'{"machine": "m", "commit": "c", "products": 1, "ratios": {"a": NaN}}',
    b'{"machine": "m", "commit": "c", "products": "1", "ratios": {"a": 1}}'])
def test_spoilt_ratios_are_named_before_anything_runs(content, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "RATIOS", tmp_path / "ratios.json")
    monkeypatch.setattr(sys, "argv", ["bench", "--check"])
    bench.RATIOS.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        bench.arguments()
    assert ended.value.code == 2 and f"--check: {bench.RATIOS}: " in capsys.readouterr().err


def test_what_was_saved_can_be_used(file, monkeypatch):
    monkeypatch.setattr(bench, "RATIOS", file)
    assert bench.committed()["products"] == 0             # FACTS has no ceiling


def test_the_committed_ratios_can_be_used():
    known = bench.committed()
    assert known["ratios"] and known["products"]
