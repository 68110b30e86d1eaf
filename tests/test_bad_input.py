"""A generator of bad input: commands, the files that they read and their flags, broken in every
way that a few small mutations know. Right is: exit code 0 where the input is still good, else 1 or
2 with exactly one line on stderr; no traceback, no hang, what was given unchanged, nothing
half-written left.

    python -m pytest -q tests/test_bad_input.py
    W2S_CASES=4000 python -m pytest -q tests/test_bad_input.py      for longer, with other cases
"""

import contextlib
import importlib
import io
import json
import os
import random
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import read_json
from w2s import config, rows, runs

CASES, SEED = int(os.environ.get("W2S_CASES", 240)), int(os.environ.get("W2S_SEED", 0))
SECONDS = 20  # a case that takes longer hangs
VALUES = (None, True, -1, 0, 1, 2.5, 10 ** 30, 1e308, "", "x", "yes", "\ud83d", "ü", [], [1], {},
          {"a": 1})
TOKENS = ("NaN", "1e999", "9" * 5000, '"\\ud83d"', "null", "[" * 3000, "", "tru", "-Infinity")
FLAGS = ("--lr", "--epochs", "--batch-size", "--max-length", "--seed", "--lam", "--clip-norm",
         "--head-layer", "--device", "--dtype", "--compile", "--save-every", "--lora-rank",
         "--revision", "--weight-decay", "--shard", "--no-such-flag")
WORDS = ("", "-1", "0", "x", "nan", "1e999", "9" * 4400, "auto", "on", "1.0000001", "-", "\n", "ü")


@pytest.fixture(scope="module")
def home(world, fair, tmp_path_factory):
    """Small good inputs: rows, a model, a finished run with labels, states and predictions, one
    that was interrupted, and raw files."""
    home = tmp_path_factory.mktemp("bad")
    for name in ("weak", "wts", "test"):
        rows.write(home / f"{name}.jsonl", rows.read(fair / f"{name}.jsonl")[:24])
    shutil.copytree(world / "tiny-2x32", home / "model")
    common = ("--task", "fairness", "--max-length", "12")
    for script, *words in (
            ("train_weak", "--model", home / "model", "--data", home / "weak.jsonl", "--out",
             home / "run", "--epochs", "1", "--lam", "0", *common),
            ("label", "--task", "fairness", "--run", home / "run", "--hidden", "--data",
             home / "wts.jsonl"),
            ("evaluate", "--task", "fairness", "--run", home / "run", "--data",
             home / "test.jsonl")):
        code, err = called(script, words)
        assert code == 0, err
    begun = home / "begun"
    stopped = ("--model", home / "model", "--data", home / "weak.jsonl", "--out", begun,
               "--epochs", "4", "--batch-size", "8", "--save-every", "0.3", "--lam", "0", *common)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.Run, "finish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        called("train_weak", stopped)
    assert (begun / "checkpoint.safetensors").exists() and not (begun / "DONE").exists()
    shutil.copytree(world / "raw", home / "raw", dirs_exist_ok=True)
    return home


class Late(BaseException):
    """Not an error that a command may take for its own."""


def called(script, argv):
    """(exit code, stderr) of a command in this process; 124: it ran too long."""
    module = importlib.import_module(script)
    Config = getattr(module, "Config", None) or module.Data
    main = getattr(module, "main", None) or module.data
    out, err = io.StringIO(), io.StringIO()

    def late(*_):
        raise Late
    before, ended = signal.signal(signal.SIGALRM, late), signal.getsignal(signal.SIGTERM)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            config.launch(main, Config, module.__doc__, [str(word) for word in argv])
        code = 0
    except SystemExit as exit:
        code = exit.code or 0
    except Late:
        code = 124
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        signal.signal(signal.SIGTERM, ended)
        runs.release()
    return code, err.getvalue()


# ---- mutations: each changes one thing on disk, drawn from `draw` --------------------------------

def of_bytes(path, draw):
    """Cut, flip, double or empty a file."""
    data = bytearray(path.read_bytes())
    at, how = draw.randrange(max(1, len(data))), draw.randrange(5)
    if how == 0:
        data = data[:at]
    elif how == 1 and data:
        data[at] ^= 1 << draw.randrange(8)
    elif how == 2:
        data = data[:at] + bytes(draw.randrange(256) for _ in range(8)) + data[at:]
    elif how == 3:
        data = bytearray(draw.choice((b"", b"\n", b"PAR1\x15\x00", b"<html>", b"\x1f\x8b\x08",
                                      b"{}", b"[]", b"\xff\xfe{\x00", b"null", b"\x80\x04N.")))
    else:
        data = data + data
    path.write_bytes(bytes(data))


def of_kind(path, draw):
    """Put a folder, a pipe, a broken link, a link to itself or nothing in a file's place."""
    path.unlink()
    how = draw.randrange(5)
    if how == 0:
        path.mkdir()
    elif how == 1:
        os.mkfifo(path)
    elif how == 2:
        path.symlink_to("nowhere")
    elif how == 3:
        path.symlink_to(path.name)


def of_value(found, draw):
    """The JSON value with one part of it replaced, removed or renamed."""
    places, stack = [], [found]
    while stack:
        here = stack.pop()
        keys = here.keys() if isinstance(here, dict) else range(len(here))
        for key in list(keys)[:40]:
            places.append((here, key))
            if isinstance(here[key], (dict, list)):
                stack.append(here[key])
    if not places:
        return draw.choice(VALUES)
    here, key = draw.choice(places)
    how = draw.randrange(6)
    if how == 0:
        del here[key]
    elif how == 1 and isinstance(here, dict):
        here[draw.choice(("x", "", "id", "__class__"))] = here.pop(key)
    else:
        here[key] = draw.choice(VALUES)
    return found


def of_json(path, draw):
    """Change one value of a JSON file, or of one line of a jsonl file; or write a token there that
    Python's json would not."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    n = draw.randrange(len(lines))
    if draw.random() < .15:
        at = lines[n].find(":", draw.randrange(max(1, len(lines[n]))))
        rest = lines[n][at + 1:].lstrip("0123456789. ")
        lines[n] = lines[n][:at + 1] + draw.choice(TOKENS) + rest
    else:
        lines[n] = json.dumps(of_value(json.loads(lines[n]), draw))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def of_safetensors(path, draw):
    """Change a tensor: its name, shape, type or numbers; or the metadata."""
    from safetensors import safe_open
    from safetensors.numpy import save_file
    with safe_open(path, "numpy") as file:
        found, about = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
    name, how = draw.choice(sorted(found)), draw.randrange(8)
    tensor = found.pop(name)
    if how == 0:
        found["x" + name] = tensor
    elif how == 1:
        found[name] = np.atleast_1d(tensor)[:0]
    elif how == 2:
        found[name] = tensor.astype(draw.choice(("int64", "float64", "uint8", "bool")))
    elif how == 3:
        found[name] = tensor * draw.choice((float("nan"), float("inf"), 1e38)) \
            if tensor.dtype.kind == "f" else tensor - 10 ** 9
    elif how == 4:
        found[name] = tensor[None]
    elif how == 5:
        found[name], about = tensor, None
    elif how == 6:
        found[name], about = tensor, {key: "x" for key in about or {}}
    save_file({key: np.asarray(value) for key, value in found.items()}, path, about)


def changed(path, draw):
    """Break a file in one way that suits it."""
    ways = [of_bytes, of_kind]
    ways += [of_json] * 5 * (path.suffix in (".json", ".jsonl") and path.stat().st_size < 10 ** 6)
    ways += [of_safetensors] * 5 * (path.suffix == ".safetensors")
    way = draw.choice(ways)
    way(path, draw)
    return f"{way.__name__} {path.name}"


# ---- commands ------------------------------------------------------------------------------------

def commands(home):
    """{name: (script, its words, the files that it reads)}"""
    labels, model = home / "run" / "labels" / "wts.jsonl", home / "model"
    run = [home / "run" / name for name in ("config.json", "DONE", "log.jsonl")]
    run += sorted((home / "run" / "model").iterdir())
    tiny = ("--lam", "0", "--max-length", "12", "--epochs", "1", "--batch-size", "8")
    at = ("--task", "fairness")
    return {
        "train": ("train_weak", [*at, "--model", model, "--data", home / "weak.jsonl", "--out",
                                 home / "new", *tiny], [home / "weak.jsonl", *model.iterdir()]),
        "student": ("train_student", [*at, "--model", model, "--labels", labels, "--out",
                                      home / "new", "--alpha", "0", *tiny],
                    [labels, home / "run" / "config.json", home / "weak.jsonl"]),
        "go on": ("train_weak", [*at, "--model", model, "--data", home / "weak.jsonl", "--out",
                                 home / "begun", "--max-length", "12", "--epochs", "4",
                                 "--batch-size", "8", "--save-every", "0.3", "--lam", "0"],
                  [*(home / "begun").glob("*.json*"), home / "begun" / "checkpoint.safetensors"]),
        "label": ("label", [*at, "--run", home / "run", "--data", home / "test.jsonl"],
                  [home / "test.jsonl", *run]),
        "label again": ("label", [*at, "--run", home / "run", "--data", home / "wts.jsonl"],
                        [Path(f"{labels}.meta.json")]),
        "evaluate": ("evaluate", [*at, "--run", home / "run", "--data", home / "weak.jsonl"],
                     [home / "weak.jsonl", home / "run" / "eval.json", *run]),
        "prepare": ("w2s.prepare", [*at, "--raw", home / "raw", "--out", home / "new"],
                    sorted(p for p in (home / "raw").rglob("*adult*") if p.is_file()))}


def with_flags(words, draw):
    """The words, one of them exchanged, or a flag with an odd value behind them."""
    if draw.random() < .4:
        words = list(words)
        words[draw.randrange(len(words))] = draw.choice(WORDS)
        return words
    return [*words, draw.choice(FLAGS), draw.choice(WORDS)]


def contents(home):
    """{path: content} of the files below, but for what a run may change of its own."""
    return {path: path.read_bytes() if path.is_file() else os.readlink(path) if path.is_symlink()
            else None for path in sorted(home.rglob("*"))}


PARTS = 8


@pytest.mark.parametrize("part", range(PARTS))
def test_bad_input_is_one_line_and_changes_nothing(part, home, tmp_path, monkeypatch):
    monkeypatch.delenv("W2S_DEBUG", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    wrong = []
    for case in range(part, CASES, PARTS):
        draw = random.Random(f"{SEED} {case}")
        here = tmp_path / f"case{case}"
        shutil.copytree(home, here, symlinks=True)
        name, (script, words, files) = draw.choice(sorted(commands(here).items()))
        if files and draw.random() < .85:
            what = changed(draw.choice(files), draw)
        else:
            words = with_flags(words, draw)
            what = " ".join(map(repr, map(str, words[-2:])))
        monkeypatch.chdir(here)
        before = contents(here)
        code, err = called(script, words)
        if found := complaint(code, err, before, contents(here)):
            wrong.append(f"case {case} ({name}: {what}): {found}")
        shutil.rmtree(here)
    assert not wrong, "\n".join(wrong)


def complaint(code, err, before, after):
    """What is wrong with how a command ended; None: nothing."""
    lines = [line for line in err.splitlines() if line.strip()]
    if code == 124:
        return "it hangs"
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if code and (len(lines) != 1 or not lines[0].startswith("error: ")):
        return f"not one line: {err[:300]!r}"
    if "Traceback" in err or "error: unexpected " in err:
        return f"nobody foresaw it: {err[:300]}"
    made = [path for path in after if path not in before and (
        ".part" in path.name or path.name[0] == "." and path.name != ".lock")]
    if made:
        return f"left behind: {made[0].name}"
    lost = [path for path, content in before.items() if after.get(path) != content
            and code and path.name not in ("log.jsonl", "config.json")]
    return f"changed {lost[0]}" if lost else None


def test_the_inputs_themselves_are_good(home, tmp_path, monkeypatch):
    shutil.copytree(home, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    for name, (script, words, files) in commands(tmp_path / "here").items():
        code, err = called(script, words)
        assert code == 0 and files, (name, err)
        shutil.rmtree(tmp_path / "here" / "new", ignore_errors=True)
    assert read_json(tmp_path / "here" / "run" / "eval.json").keys() == {"test", "weak"}
