"""Ways to spoil a file or a command line, and a command in a process of its own that is watched.

What is drawn comes from `draw`, a random.Random; paths are those of a copy that may be spoilt.
"""

import dataclasses
import gzip
import json
import os
import re
import resource
import runpy
import shutil
import signal
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np

from w2s import recipes

ROOT = Path(__file__).parents[1]
SECONDS = 20  # a command that computes longer, or is there three times as long, hangs
MEMORY = 300  # MB that a command may take beyond what is imported and twice its input
VALUES = (None, True, False, -1, 0, 1, 2.5, -0.5, 2 ** 31, 2 ** 63, 10 ** 30, 1e308, 1e-320,
          "", "x", "yes", "\ud83d", "ü", " ", "\x00", "1", "../../x", "a\nb", "x" * 100_000, [],
          [1], [[]], {}, {"a": 1})
TOKENS = ("NaN", "1e999", "9" * 5000, '"\\ud83d"', "null", "[" * 3000, "", "tru", "-Infinity")
WORDS = ("", "-1", "0", "x", "nan", "1e999", "9" * 4400, "1" + "0" * 30, "auto", "1.0000001", "-",
         "\n", "ü", "yes", ".", "/dev/null", "nowhere/x", "*", "--", "a=b")
HEADS = (b"", b"\n", b"PAR1\x15\x00", b"<html>", b"\x1f\x8b\x08", b"{}", b"[]", b"\xff\xfe{\x00",
         b"null", b"\x80\x04N.", b"\x00" * 9, b"[" * 5000, b"version https://git-lfs")


# ---- files ---------------------------------------------------------------------------------------

def of_bytes(path, draw):
    """Cut, flip, insert, replace, double or zip the bytes of a file."""
    data = bytearray(path.read_bytes())
    at, how = draw.randrange(max(1, len(data))), draw.randrange(7)
    if how == 0:
        data = data[:at]
    elif how == 1 and data:
        data[at] ^= 1 << draw.randrange(8)
    elif how == 2:
        data = data[:at] + bytes(draw.randrange(256) for _ in range(8)) + data[at:]
    elif how == 3:
        data = draw.choice(HEADS)
    elif how == 4:
        data = gzip.compress(data)[:draw.choice((None, -5, at // 9))]
    elif how == 5:
        data = draw.choice((b"\xef\xbb\xbf", b"\x00", b"\n")) + data
    else:
        data = data + data
    path.write_bytes(bytes(data))


def of_kind(path, draw):
    """Put a folder, a pipe, a broken link, a link to itself, a device or nothing in its place."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    how = draw.randrange(6)
    if how == 0:
        path.mkdir()
    elif how == 1:
        os.mkfifo(path)
    elif how in (2, 3, 4):
        path.symlink_to(("nowhere", path.name, "/dev/zero")[how - 2])


def of_other(path, draw, world):
    """Put another file of its kind in its place."""
    others = sorted(other for other in world.rglob(f"*{path.suffix}")
                    if other.is_file() and other != path and other.suffix == path.suffix)
    if others:
        path.write_bytes(draw.choice(others).read_bytes())


def of_lines(path, draw):
    """Drop, double, swap or empty a line of text, or put something into one of its fields."""
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    n, m, how = draw.randrange(len(lines)), draw.randrange(len(lines)), draw.randrange(6)
    if how == 0:
        del lines[n]
    elif how == 1:
        lines.insert(m, lines[n])
    elif how == 2:
        lines[n], lines[m] = lines[m], lines[n]
    elif how == 3:
        lines[n] = draw.choice(("", " ", "\t", '"', "\x00", "\r", "x" * 200_000))
    else:
        fields = re.split(r"([,\t ]+)", lines[n])
        fields[draw.randrange(len(fields))] = draw.choice(
            ("", "?", "nan", "-1", '"', "'", "9" * 400, "1e999", "x", "\t", ", ", "\\"))
        lines[n] = "".join(fields)
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogateescape")


def of_value(found, draw):
    """The JSON value with one part of it replaced, changed a little, removed or renamed."""
    places, stack = [], [found] if isinstance(found, (dict, list)) else []
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
    how, value = draw.randrange(9), here[key]
    if how == 0:
        del here[key]
    elif how == 1 and isinstance(here, dict):
        here[draw.choice(("x", "", "id", "__class__"))] = here.pop(key)
    elif how == 2:
        here[key] = draw.choice(places)[0]  # a whole of it: ValueError where it is in itself
    elif how == 3 and isinstance(value, (int, float)):
        here[key] = draw.choice((-value, value + 1, value * 2, value / 2, str(value), [value]))
    elif how == 3 and isinstance(value, (str, list)):
        here[key] = draw.choice((value[:-1], value * 2, value[:1], [value]))
    else:
        here[key] = draw.choice(VALUES)
    return found


def parts(path):
    """The JSON texts of a file: the lines of a jsonl file, or the whole."""
    text = path.read_text(encoding="utf-8")
    return text.rstrip("\n").split("\n") if path.suffix == ".jsonl" else [text]


def of_json(path, draw):
    """Change one value of a JSON file, or of one line of a jsonl file; or write a token there that
    Python's json would not."""
    lines = parts(path)
    n = draw.randrange(len(lines))
    if not "".join(lines).strip() or draw.random() < .15:
        at = lines[n].find(":", draw.randrange(max(1, len(lines[n]))))
        rest = lines[n][at + 1:].lstrip("0123456789. ")
        lines[n] = lines[n][:at + 1] + draw.choice(TOKENS) + rest
    else:
        try:
            lines[n] = json.dumps(of_value(json.loads(lines[n]), draw))
        except (ValueError, RecursionError):
            lines[n] = draw.choice(TOKENS)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def of_safetensors(path, draw):
    """Change a tensor: its name, shape, type or numbers; the metadata; or the header."""
    from safetensors import safe_open
    from safetensors.numpy import save_file
    data, how = path.read_bytes(), draw.randrange(10)
    size = int.from_bytes(data[:8], "little")
    if how > 7:
        header = json.dumps(of_value(json.loads(data[8:8 + size]), draw)).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size:])
        return
    with safe_open(path, "numpy") as file:
        found, about = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
    name = draw.choice(sorted(found))
    tensor = found.pop(name)
    if how == 0:
        found["x" + name] = tensor
    elif how == 1:
        found[name] = np.atleast_1d(tensor)[:0]
    elif how == 2:
        found[name] = tensor.astype(draw.choice(("int64", "float64", "uint8", "bool", "float16")))
    elif how == 3:
        found[name] = tensor * draw.choice((float("nan"), float("inf"), 1e38)) \
            if tensor.dtype.kind == "f" else tensor - 10 ** 9
    elif how == 4:
        found[name] = tensor[None]
    elif how == 5:
        found[name], about = tensor, None
    elif how == 6:
        found[name], about = tensor, {key: draw.choice(("x", "", "[]", "{}", "-1", "9" * 30))
                                      for key in about or {}}
    save_file({key: np.asarray(value) for key, value in found.items()}, path, about)


def changed(path, draw, world):
    """Spoil a file or a folder of a world in one way that suits it; the way's name."""
    ways = [of_kind]
    if path.is_file():
        size = path.stat().st_size
        ways += [of_bytes, of_bytes, partial(of_other, world=world)]
        ways += [of_lines] * (3 if path.suffix not in (".json", ".jsonl") else 1) * (
            path.suffix != ".safetensors")
        ways += [of_json] * 8 * (path.suffix in (".json", ".jsonl") and 0 < size < 10 ** 6)
        ways += [of_safetensors] * 8 * (path.suffix == ".safetensors")
    way = draw.choice(ways)
    way(path, draw)
    return getattr(way, "__name__", "of_other")


# ---- words ---------------------------------------------------------------------------------------

def with_flags(script, words, draw):
    """The words, one of them exchanged or left out, or a flag of the command with an odd value."""
    words, how = list(words), draw.randrange(10)
    if how < 2:
        words[draw.randrange(len(words))] = draw.choice(WORDS)
    elif how == 2:
        del words[draw.randrange(len(words))]
    else:
        names = [field.name for field in dataclasses.fields(recipes.configuration(script))]
        words += ["--" + draw.choice([*names, "no-such-flag"]).replace("_", "-"),
                  *[draw.choice(WORDS) for _ in range(draw.choice((0, 1, 1, 1, 1, 1, 1, 2)))]]
    return words


# ---- a command -----------------------------------------------------------------------------------

def watched(script, words, log, before=None):
    """(exit code, below 0 a signal's number; its stderr; MB that it took) of a command in a process
    forked from this one; `before` is called in it. log: a file for what it prints."""
    base = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    pid = os.fork()
    if not pid:
        code = 99
        try:
            os.setsid()
            for number, name in enumerate(("/dev/null", f"{log}.out", log)):
                os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + 2 ** 31, size + 2 ** 31))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
            signal.alarm(3 * SECONDS)
            if before:
                before()
            code = alone([*script.split(), *words])
        finally:
            os._exit(code)
    _, status, usage = os.wait4(pid, 0)
    try:
        os.killpg(pid, signal.SIGKILL)  # what it started and did not end
    except ProcessLookupError:
        pass
    err = Path(log).read_text(encoding="utf-8", errors="replace")
    return os.waitstatus_to_exitcode(status), err, (usage.ru_maxrss * 1024 - base) / 2 ** 20


def alone(words):
    """Run a command as if Python had been started for it; its exit code."""
    try:
        sys.argv = words
        warnings.filterwarnings("ignore", "'.*' found in sys.modules")
        if words[0].endswith(".py"):
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")
        else:
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        return 0
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def complaint(code, err, size, names):
    """What is wrong with how a command ended (see `watched`); None: nothing. An error must have one
    of the names in it."""
    lines = [line for line in err.splitlines() if line.strip() and line[:9] != "warning: "]
    if code < 0:
        return "it hangs" if -code in (signal.SIGALRM, signal.SIGXCPU) else f"signal {-code}"
    if code not in (0, 1, 2):
        return f"exit code {code}: {err[-300:]}"
    if "Traceback" in err or "error: unexpected " in err or "panicked" in err:
        return f"nobody foresaw it: {err[:400]}"
    if code and (len(lines) != 1 or not lines[0].startswith("error: ")):
        return f"not one line: {err[:300]!r}"
    if size > MEMORY or "out of memory" in err:
        return f"memory: {size:.0f} MB: {err[:200]}"
    names = (*names, "the loss of step")  # of weights of 1e38, which are numbers
    if code and not any(name in err for name in names):
        return f"names nothing: {err[:300]}"
    return None


def changes(before, after, here, writes, code):
    """What a command that ended with `code` did to the folder `here` and may not do; None: nothing.
    before, after: its `contents`; writes: names in it that are the command's own. There a command
    that fails may leave the log and the configuration of a run that can go on."""
    for path in sorted({*before, *after}):
        part = path.relative_to(here)
        if before.get(path) == after.get(path) or part.name == ".lock":
            continue
        own = part.parts[0] in writes or "." in writes
        if path in before:
            if not own or code and part.name not in ("log.jsonl", "config.json"):
                return f"{'changed' if path in after else 'removed'} {part}"
        elif ".part" in part.name or code and not (
                here / part.parts[0] / "config.json").exists():
            return f"left behind: {part}"
    return None


def contents(folder):
    """{path: what is there} of all that is below a folder."""
    return {path: os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file()
            else path.stat().st_mode for path in sorted(folder.rglob("*"))}
