"""Run many commands in a few processes that import torch once and take one command after the other.

    python -m w2s.scheduler --jobs 2 < commands.sh

A line of the input is `python SCRIPT.py ...` or `python -m MODULE ...`, quoted as for a shell, with
or without two blanks and `# its title` at the end. A line `# title` begins a phase, announced when
one of its commands starts. Commands start in their order. Each waits for the earlier ones that name
the same path, or one inside the other, where either of the two writes there (--out, without it
--run). What a command prints is shown only when it fails: then no other one starts.
"""

import ctypes
import gc
import importlib.util
import json
import os
import platform
import queue
import re
import runpy
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from w2s import locks, whatis
from w2s.config import arg, launch

GRACE = 10  # seconds in which an interrupted command must end by itself
WRITES = ("--out", "--run")  # flags of where a command writes: the first of them that it has


@dataclass(kw_only=True)
class Config:
    file: str = arg("-", "the commands; -: standard input")
    jobs: int = arg(1, "commands side by side", low=1)
    show_last: bool = arg(False, "print what the last command printed, and the time of everything")


class Command(NamedTuple):
    """A line of the input; words: those after the interpreter."""
    number: int
    phase: str
    title: str
    line: str
    words: list[str]

    def kind(self):
        """Commands of one kind take about as long: their titles differ in the seed."""
        return re.sub(r"\bseed\d+ ", "", self.title)


def main(cfg):
    finish(read(cfg.file), cfg.jobs, cfg.show_last)


def finish(commands, jobs, show_last=True):
    """Run the Commands. Raises ValueError when one fails, whose output has been shown."""
    began, workers = time.monotonic(), []
    try:
        last = run(commands, workers, jobs)
    finally:
        close(workers)
    if last is None:
        raise ValueError("stopped, see above; what is finished is kept and will be skipped")
    if show_last:
        print(last.rstrip(), f"total {clock(time.monotonic() - began)}", sep="\n")


def read(file):
    """[Command, ...]: those of a file. Raises ValueError naming a bad line."""
    commands, phase = [], "commands"
    if file != "-":
        whatis.special(file)
    with open(0 if file == "-" else file, encoding="utf-8", errors="surrogateescape") as lines:
        for n, line in enumerate(map(str.strip, lines), 1):
            if line.startswith("#"):
                phase = line.lstrip("# ")
            elif line:
                line, _, title = line.partition("  # ")
                words = split(line, f"{file}:{n}")
                if not (words[:1] == ["-m"] and words[1:] or words and words[0].endswith(".py")):
                    raise ValueError(f"{file}:{n}: neither a phase nor python SCRIPT.py: {line}")
                if not exists(words):
                    raise ValueError(f"{file}:{n}: no such script or module: {line}")
                commands.append(Command(len(commands), phase, title or " ".join(words)[:38], line,
                                        words))
    if not commands:
        raise ValueError(f"{file}: no commands")
    return commands


def split(line, where):
    """The words of a command behind the interpreter's name."""
    try:
        return shlex.split(line)[1:]
    except ValueError as error:
        raise ValueError(f"{where}: {error}: {line}") from None


def exists(words):
    """Whether the script, or behind -m the module, with which a command's words begin exists. Asked
    before anything runs: a typing error would else show hours later."""
    try:
        return (os.path.isfile(words[0]) if words[0] != "-m"
                else importlib.util.find_spec(words[1]) is not None)
    except (ImportError, ValueError):
        return False


def before(commands):
    """[{numbers of the earlier commands that must be done when this one starts}, ...]"""
    # {way: {path: numbers of the commands that name it}}, and the same of those that name a path
    # inside it: so the work is linear in the commands, not in their pairs
    naming, inside = ({"read": defaultdict(set), "write": defaultdict(set)} for _ in range(2))
    waits = []
    for command in commands:
        named, option, wait = [], None, set()
        # every value of an option counts as a path: one that is no path is never written to
        words = sum((word.split("=", 1) if word.startswith("--") else [word]
                     for word in command.words[1:]), [])
        writes = next((option for option in WRITES if option in words), None)
        for word in words:
            if word.startswith("--"):
                option = word
            elif option:
                way = "write" if option == writes else "read"
                named.append((Path(os.path.abspath(word)), way))
        for path, way in named:
            # two that read do not disturb each other
            for earlier in ("read", "write") if way == "write" else ("write",):
                wait |= inside[earlier][path].union(*(naming[earlier][p] for p in path.parents))
        for path, way in named:
            naming[way][path].add(command.number)
            for folder in (path, *path.parents):
                inside[way][folder].add(command.number)
        waits.append(wait)
    return waits


# ---- the parent: hands out the commands and prints a line for each -------------------------------

def run(commands, workers, jobs):
    """Run the commands on `jobs` workers; `workers` are those that exist already. Returns what the
    last command printed; None when one failed, whose output has been shown."""
    began, waits, todo, done = time.monotonic(), before(commands), list(commands), set()
    took, failed, last = defaultdict(list), False, ""
    phases, announced = list(dict.fromkeys(command.phase for command in commands)), set()
    with tqdm(total=len(commands), disable=None, leave=False, unit="command") as bar:
        while (todo and not failed) or any(worker.command for worker in workers):
            ready = (c for c in list(todo) if not failed and waits[c.number] <= done)
            while (command := next(ready, None)) and (worker := idle(workers, jobs)):
                if command.phase not in announced:
                    show([f"[{phases.index(command.phase) + 1}/{len(phases)}] {command.phase}  "
                          f"({clock(time.monotonic() - began)} so far)"])
                announced.add(command.phase)
                todo.remove(command)
                worker.give(command)
            busy = {worker.pipe: worker for worker in workers if worker.command}
            for worker in map(busy.get, connection.wait(busy, timeout=1)):
                command, seconds, code = worker.end()
                if code < 0:  # its process died, and can take no other command
                    workers.remove(worker)
                if code != 0:
                    failed = True
                    show(worker.tail() + [f"failed: {command.line}"], sys.stderr)
                    continue
                if command is commands[-1]:
                    last = worker.output()
                done.add(command.number)
                took[command.kind()].append(seconds)
                left = ahead(todo, took) + sum(max(0, ahead([w.command], took) - w.seconds())
                                               for w in workers if w.command)
                show([f"  {len(done):{len(str(len(commands)))}}/{len(commands)}  "
                      f"{command.title:<38} {clock(seconds):>5}  about {clock(left / jobs)} left"])
                bar.update()
            bar.refresh()
    return None if failed else last


def ahead(commands, took):
    """Seconds that commands will take: the mean of took[kind] = [seconds, ...], for kinds of which
    none is done the mean of those means."""
    means = {kind: sum(seconds) / len(seconds) for kind, seconds in took.items()}
    usual = sum(means.values()) / len(means)
    return sum(means.get(command.kind(), usual) for command in commands)


def idle(workers, jobs):
    """A worker without a command, a new one while there are fewer than `jobs`, or None."""
    for worker in workers:
        if not worker.command:
            return worker
    if len(workers) < jobs:
        workers.append(Worker())
        return workers[-1]


class Worker:
    """A process that runs commands; its stdout and stderr go to `log`, emptied for each."""

    def __init__(self):
        self.command, self.log = None, tempfile.TemporaryFile()
        self.pipe, theirs = connection.Pipe()
        with theirs:
            self.process = subprocess.Popen([sys.executable, "-m", "w2s.scheduler", "--worker"],
                                            stdin=theirs, stdout=self.log, stderr=self.log)

    def give(self, command):
        """Start a command."""
        self.log.seek(0)  # parent and process share the position
        self.log.truncate()
        self.command, self.began = command, time.monotonic()
        with suppress(OSError):  # it died meanwhile: end() sees it
            self.pipe.send_bytes(json.dumps(command.words).encode())

    def end(self):
        """The command that ended, its seconds and exit code; below 0 when the process died."""
        try:
            code = int(self.pipe.recv_bytes())
        except (EOFError, OSError):
            code = -abs(self.process.wait() or 1)
        outcome, self.command = (self.command, self.seconds(), code), None
        return outcome

    def seconds(self):
        """How long the command has been running; 0 without one."""
        return time.monotonic() - self.began if self.command else 0

    def output(self):
        """What the command has printed; pread leaves the shared position where it is."""
        return os.pread(self.log.fileno(), 1 << 24, 0).decode(errors="replace")

    def tail(self):
        """The last lines of the output, and how the process died if it did."""
        code = self.process.poll()
        died = [f"the process ended with code {code}" + ", perhaps for want of memory" *
                (code == -signal.SIGKILL)] if code is not None else []
        return self.output().splitlines()[-12:] + died


def close(workers):
    """End the workers: each interrupts its command when its pipe closes; one that does not end in
    time is killed."""
    for worker in workers:
        worker.pipe.close()
    for worker in workers:
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(GRACE + 5)
        worker.process.kill()


def show(lines, file=None):
    """Print lines above the progress bar."""
    file = file or sys.stdout
    tqdm.write("\n".join(lines), file=file)
    file.flush()


def clock(seconds):
    """m:ss"""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


# ---- the worker: one command after the other, each as if it were alone ---------------------------

def work():
    """Run what comes through standard input until it is closed."""
    pipe, log, todo = connection.Connection(os.dup(0)), os.dup(1), queue.SimpleQueue()
    # a command that reads its standard input must not take what is meant for this process
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which closes
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=listen, args=(pipe, todo), daemon=True).start()
    try:
        while True:
            pipe.send_bytes(b"%d" % alone(todo.get(), log))
    except (KeyboardInterrupt, OSError):
        os._exit(130)


def listen(pipe, todo):
    """Queue what comes; when the parent ends, for whatever reason, the running command is
    interrupted, so that nothing works on unseen."""
    try:
        while True:
            todo.put(json.loads(pipe.recv_bytes()))
    except (EOFError, OSError):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(130)


def emptied(stream):
    """Flush a stream. What a command has left in one that it closed is nobody's, and must not stand
    before the output of the next."""
    try:
        stream.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1 if stream is sys.stdout else 2)
        stream.flush()
        if null > 2:
            os.close(null)


def alone(words, log):
    """Run a command in this process as if it had one of its own; its exit code."""
    before = sys.argv, sys.path[:], dict(os.environ), os.getcwd(), signal.getsignal(signal.SIGTERM)
    code = 0
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = words, os.path.dirname(os.path.abspath(words[0]))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
        code = 1
    emptied(sys.stdout)  # what it printed stands before its error
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    emptied(sys.stderr)
    # a command may change all of these, and counts on the process being its own
    sys.argv, sys.path[:] = before[:2]
    os.environ.clear()
    os.environ.update(before[2])
    os.chdir(before[3])
    signal.signal(signal.SIGTERM, before[4])
    for stream in (1, 2):  # the last command may have pointed them at /dev/null
        os.dup2(log, stream)
    forget()
    return abs(code or 0)


def forget():
    """Drop what a command leaves in the process: locks, memory, compiled steps."""
    locks.release()
    gc.collect()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
        sys.modules["torch"].cuda.empty_cache()
    if "torch._dynamo" in sys.modules:  # else compiling stops after a few different models
        sys.modules["torch._dynamo"].reset()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        work()
    else:
        sys.argv[0] = "python -m w2s.scheduler"
        launch(main, Config, __doc__)
