"""What a command does about the world around it: streams that are closed or odd, what torchrun
leaves behind, errors that nobody foresaw, and numbers in messages.

    python -m pytest -q tests/test_config.py
"""

import dataclasses
import errno
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from w2s import config, console, device

ROOT = Path(__file__).parent.parent
SCRIPT = """
from dataclasses import dataclass
import os, sys
from w2s import config
from w2s.config import arg

@dataclass(kw_only=True)
class Config:
    out: str = arg(None, "file")
    lines: int = arg(1, "how many", low=1)

def main(cfg):
    with open(cfg.out, "w") as file:
        for n in range(cfg.lines):
            print(f"line {n} of l\u00e4ufe", flush=True)
        print("a warning", file=sys.stderr)
        if "nobody reads" not in os.environ:  # C code writes to the number
            os.write(2, b"something")
        file.write("done")

config.launch(main, Config, __doc__)
"""


def run(tmp_path, redirect="", lines=3, **environment):
    """(exit code, output, content of --out) of the script, in a shell."""
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} script.py --out out --lines {lines} "
         + redirect], cwd=tmp_path, capture_output=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "0", **environment})
    out = tmp_path / "out"
    return done.returncode, done.stdout + done.stderr, out.exists() and out.read_text()


@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "</dev/null"])
def test_without_streams_the_work_is_done_and_its_files_are_its_own(redirect, tmp_path):
    code, _, content = run(tmp_path, redirect)
    assert (code, content) == (0, "done")


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-7", "cp437"])
def test_a_console_that_lacks_a_character_gets_another(encoding, tmp_path):
    code, out, content = run(tmp_path, PYTHONIOENCODING=encoding)
    assert (code, content) == (0, "done") and b"line 2 of l" in out


def test_output_that_nobody_reads_stops_nothing(tmp_path):
    code, out, content = run(tmp_path, "2>&1 | head -1", lines=3000, **{"nobody reads": ""})
    assert (code, content) == (0, "done") and b"Traceback" not in out


def test_output_that_does_not_fit_on_the_disk_is_an_error(tmp_path):
    """A disk is full (ENOSPC); only a reader that went away (EPIPE, EIO) is nobody's loss."""
    class Full(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    stream = console.Stream(io.BufferedWriter(Full(), 8), line_buffering=True)
    for write in (lambda: stream.write("a line\n"), stream.flush):
        with pytest.raises(OSError, match="No space left on device"):
            write()
    code, out, _ = run(tmp_path, ">/dev/full")
    assert code and b"error: No space left on device" in out and b"Traceback" not in out


@pytest.mark.parametrize("environment, expected", [
    ({}, (0, 1)), ({"RANK": "3"}, (0, 1)), ({"RANK": "x"}, (0, 1)),
    ({"RANK": "1", "WORLD_SIZE": "1"}, (0, 1)), ({"RANK": "1", "WORLD_SIZE": "2"}, (1, 2)),
    ({"WORLD_SIZE": "2"}, "RANK is not set"), ({"WORLD_SIZE": "x"}, "WORLD_SIZE is x"),
    ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 and WORLD_SIZE 2"),
    ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is one")])
def test_a_rank_that_was_left_in_the_environment(environment, expected, monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if isinstance(expected, tuple):
        assert config.processes() == expected
        assert config.follows() == (expected[0] > 0)
    else:
        with pytest.raises(ValueError, match=f"{expected} .*unset"):
            config.processes()
        assert not config.follows()


def test_what_nobody_foresaw_is_one_line_with_its_place(capsys, monkeypatch):
    def main(cfg):
        return {}["some\nkey"]
    monkeypatch.delenv("W2S_DEBUG", raising=False)
    with pytest.raises(SystemExit) as exit:
        config.launch(main, config.Training, None, [])
    err = capsys.readouterr().err
    assert exit.value.code == 1 and err.count("\n") == 1
    assert err.startswith("error: unexpected KeyError in test_config.py:") and "W2S_DEBUG=1" in err
    monkeypatch.setenv("W2S_DEBUG", "1")
    with pytest.raises(KeyError):
        config.launch(main, config.Training, None, [])


@pytest.mark.parametrize("error", [ValueError("--lam 2: too much"), ImportError("no torch here"),
                                   OSError(28, "No space left on device")])
def test_w2s_debug_shows_an_error_as_it_is(error, capsys, monkeypatch):
    """Without it the same error is one line."""
    def main(cfg):
        raise error
    monkeypatch.setenv("W2S_DEBUG", "1")
    with pytest.raises(type(error)) as found:
        config.launch(main, config.Training, None, [])
    assert found.value is error and capsys.readouterr().err == ""
    monkeypatch.delenv("W2S_DEBUG")
    with pytest.raises(SystemExit) as exit:
        config.launch(main, config.Training, None, [])
    err = capsys.readouterr().err
    assert exit.value.code == 1 and err.count("\n") == 1 and config.describe(error) in err


def test_help_needs_no_docstring(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--help"])
    config.dispatch("program", {"one": None, "two": None}, None)
    assert capsys.readouterr().out == "program one | two --help\n"


@pytest.mark.parametrize("command", ["attacks.py", "-m w2s.prepare", "-m w2s.miniature",
                                     "label.py"])
def test_help_of_python_without_docstrings(command):
    done = subprocess.run([sys.executable, *command.split(), "--help"], cwd=ROOT, timeout=60,
                          env=os.environ | {"PYTHONOPTIMIZE": "2"}, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout and not done.stderr


@pytest.mark.parametrize("value", [0.3, 0.30000001, 1e-5, 1.23456789e-5, 8, 10 ** 20, -1.0])
def test_a_number_in_a_message_is_that_number(value):
    assert float(config.number(value)) == value
    assert len(config.number(value)) <= len(repr(value)) or value == int(value)


@dataclasses.dataclass(kw_only=True)
class Bounded:
    low: float = config.arg(1, "", low=1)
    above: float = config.arg(2, "", above=1)
    high: float = config.arg(1, "", high=1)
    many: list[str] = config.arg(["a"], "")


@pytest.mark.parametrize("argv, message", [
    (["--low", "1"], None), (["--low", "0.99"], "--low 0.99: must be >= 1"),
    (["--above", "1.01"], None), (["--above", "1"], "--above 1: must be > 1"),
    (["--high", "1"], None), (["--high", "1.01"], "--high 1.01: must be <= 1"),
    (["--high", "nan"], "--high nan: must be a finite number"),
    (["--high=-inf"], "--high -inf: must be a finite number")])
def test_a_bound_may_be_met_but_not_what_a_number_must_be_above(argv, message):
    if message is None:
        assert config.parse(Bounded, None, argv)
        return
    with pytest.raises(ValueError, match=re.escape(message)):
        config.parse(Bounded, None, argv)


def test_few_arguments_may_change_while_a_run_goes_on():
    """All others decide its result, and a run made with others is refused."""
    import train_ntf
    import train_student
    import train_weak
    from w2s.miniature.__main__ import Pretrain
    free = {Config: {f.name for f in dataclasses.fields(Config) if f.metadata["free"]} for Config in
            (train_weak.Config, train_student.Config, train_ntf.Config, Pretrain)}
    kept = {"shard", "recompute", "save_every"}
    assert [*free.values()] == [kept, kept, set(), {"out", "runs", "save_every"}]


def test_a_list_that_is_given_twice_is_all_that_was_given():
    def parsed(*argv):
        return config.parse(Bounded, None, argv).many
    assert parsed("--many", "b", "--many", "c", "d", "--many", "e") == ["b", "c", "d", "e"]
    assert parsed("--many", "a", "--many", "c") == ["a", "c"]  # not even where it is the default
    assert parsed("--many", "b") == ["b"] and parsed() == ["a"]


def test_a_value_that_is_given_twice_is_refused_where_both_could_be_meant(capsys):
    class Plan(Bounded):
        ONCE = True
    assert config.parse(Bounded, None, ["--low", "1", "--low", "2"]).low == 2
    assert config.parse(Plan, None, ["--low", "2", "--many", "a", "--many", "b"]).many == ["a", "b"]
    for argv in (["--low", "1", "--low", "1"], ["--low=1", "--high", "1", "--low", "2"]):
        with pytest.raises(SystemExit):
            config.parse(Plan, None, argv)
        assert capsys.readouterr().err.startswith("error: argument --low: given twice; give it onc")


def test_a_list_is_each_configs_own():
    for make in (Bounded, lambda: config.parse(Bounded, None, [])):
        one, two = make(), make()
        one.many.append("b")
        assert two.many == ["a"]


def test_defaults_are_those_of_the_papers_and_of_our_readings():
    """Without a flag: what Eqs. (1) to (9), A.2 and the readings of docs/deviations.md say."""
    from train_student import Config as Student
    student = {"penalty": "signed", "penalty_output": "probability", "noise_as": "std",
               "adv_label": "fw_x_adv", "threshold": "quantile", "label_kind": "soft",
               "warmup": .2, "head_layer": -1, "scoring": "cloze", "lm_loss": "both",
               "weight_decay": 0, "clip_norm": 1, "clip": 1, "accountant": "pld",
               "sampling": "poisson", "noise_seed": "run", "canaries": 0, "lora_rank": 0,
               "objective": "sft", "seed": 0, "lam": None, "alpha": None, "epochs": None}
    found = Student(task="t", model="m", labels="l", out="o")
    assert {name: getattr(found, name) for name in student} == student


def test_a_bound_that_is_missed_by_little_is_not_said_to_be_met():
    with pytest.raises(ValueError, match="--clip 1e-30|--save-every 1.0000001: must be <= 1"):
        config.parse(config.Training, None, ["--save-every", "1.0000001"])


def test_where_torch_cannot_compile_auto_goes_on_and_on_says_so(monkeypatch, capsys):
    import torch

    def compile(*_, **__):
        raise RuntimeError("stack\nNo working C++ compiler found: g++")
    monkeypatch.setattr(torch, "compile", compile)
    device.no_compiler.cache_clear()
    cpu = torch.device("cpu")
    assert not device.pays_to_compile("auto", cpu, 5000)
    assert capsys.readouterr().out.count("No working C++ compiler") == 1
    with pytest.raises(ValueError, match="--compile on: .*No working C.*--compile off"):
        device.pays_to_compile("on", cpu, 5)
    assert not device.pays_to_compile("off", cpu, 5000)
    device.no_compiler.cache_clear()


def test_a_path_with_umlauts_where_the_locale_is_ascii(tmp_path):
    (tmp_path / "müll").mkdir()
    (tmp_path / "müll" / "script.py").write_text(SCRIPT.replace('"done"', "cfg.out + os.getcwd()"),
                                                 encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py", "--out", "läufe"], cwd=tmp_path / "müll", timeout=60,
        capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "0",
                                  "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "müll" / "läufe").read_text(encoding="utf-8")
    assert written == f"läufe{tmp_path}/müll"


def test_a_package_that_cannot_be_loaded_is_not_a_fault_of_ours(capsys, monkeypatch):
    def main(cfg):
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")
    monkeypatch.delenv("W2S_DEBUG", raising=False)
    with pytest.raises(SystemExit):
        config.launch(main, config.Training, None, [])
    err = capsys.readouterr().err
    assert "failed to map segment" in err and "memory limit" in err and "unexpected" not in err


@pytest.mark.parametrize("flag", ["--model", "--data", "--out", "--device"])
def test_an_empty_value_is_none(flag):
    import train_weak
    given = {"--model": "a", "--data": "b", "--out": "c", "--task": "ood", flag: ""}
    with pytest.raises(ValueError, match=f"{flag} '': is empty"):
        config.parse(train_weak.Config, "", [word for pair in given.items() for word in pair])
