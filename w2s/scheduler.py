"""Run many commands in a few processes that import torch once and take one command after the other.

    python -m w2s.scheduler --jobs 2 < commands.sh

A line of the input is `python SCRIPT.py ...` or `python -m MODULE ...`, quoted as for a shell, with
or without two blanks and `# its title` at the end. A line `# title` begins a phase, announced when
one of its commands starts. Commands start in their order. Each waits for the earlier ones that name
the same path, or one inside the other, where either of the two writes there (--out, without it
--run). What a command prints is shown only when it fails: then no other one starts.
"""

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import NamedTuple

from w2s import durations, progress, whatis
from w2s.cards import FULL, LOST, Seats, Use, blamed, chosen, environment, says
from w2s.config import arg, launch
from w2s.durations import Pace, wall
from w2s.worker import GRACE

PROCESSES = "--nproc-per-node="  # of torchrun
REPORT = ["-m", "w2s.report"]  # what it prints is shown
WRITES = ("--out", "--run")  # flags of where a command writes: the first of them that it has


@dataclass(kw_only=True)
class Config:
    file: str = arg("-", "the commands; -: standard input")
    jobs: int = arg(None, "commands side by side (default: one, with --gpus one on each)", low=1,
                    high=10**6)
    gpus: int = arg(None, "GPUs to use: each command has one of its own", low=1, high=10**4)
    show_last: bool = arg(False, "print what the last command printed, and the time of everything")


class Command(NamedTuple):
    """A line of the input; words: those after the interpreter."""
    number: int
    phase: str
    title: str
    line: str
    words: list[str]

    def kind(self):
        """Commands of one kind take about as long."""
        return durations.kind(self.title)

    def cards(self):
        """How many cards it takes: the processes of torchrun, else one."""
        number = next((word.removeprefix(PROCESSES) for word in self.words
                       if word.startswith(PROCESSES)), "")
        return int(number) if number.isdecimal() and len(number) < 6 else 1


def main(cfg):
    cards = chosen(cfg.gpus, None) if cfg.gpus else []
    finish(read(cfg.file), Seats(cards, cfg.jobs or cfg.gpus or 1), show_last=cfg.show_last)


def finish(commands, seats, pace=None, show_last=True):
    """Run the Commands on the Seats. Raises ValueError when one fails, whose output has been
    shown."""
    began, workers, pace = time.monotonic(), [], pace or Pace(commands)
    try:
        last = run(commands, workers, seats, pace)
    finally:
        close(workers)
        pace.keep()
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
    waits, told = [], set()
    for command in commands:
        named, option, wait = [], None, set()
        reports = command.words[:2] == REPORT
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
        # a report tells of what is finished: only the next one waits for it
        if reports:
            wait |= told
            told.add(command.number)
        for path, way in named if not reports else ():
            naming[way][path].add(command.number)
            for folder in (path, *path.parents):
                inside[way][folder].add(command.number)
        waits.append(wait)
    return waits


# ---- handing out the commands, with a line for each ----------------------------------------------

def run(commands, workers, seats, pace):
    """Run the commands on workers that sit on the Seats; `workers` are those that exist already.
    Returns what the last command printed; None when one failed, whose output has been shown."""
    queue = Queue(commands, workers, seats, pace)
    with progress.Bars(len(commands)) as bars:
        while queue.goes_on():
            queue.start()
            busy = {worker.pipe: worker for worker in queue.running()}
            bars.update(len(queue.done), [worker.command.title for worker in busy.values()],
                        clock(queue.left()))
            for worker in map(busy.get, connection.wait(busy, timeout=1)):
                queue.end(worker)
    return None if queue.failed else queue.last


class Queue:
    """The commands that are still to do, that run, and that are done."""

    def __init__(self, commands, workers, seats, pace):
        self.commands, self.workers, self.seats, self.pace = commands, workers, seats, pace
        self.began, self.waits, self.todo, self.done = (
            time.monotonic(), before(commands), list(commands), set())
        self.wide = min(44, max(len(command.title) for command in commands))
        self.phases = list(dict.fromkeys(command.phase for command in commands))
        self.announced, self.failed, self.last = set(), False, ""
        self.alone, self.moved = set(), set()  # numbers of those repeated: alone, on another card
        self.tell = (lambda lines: None) if progress.live() else show  # the bars say it

    def goes_on(self):
        return bool(self.todo and not self.failed or self.running())

    def running(self):
        return [worker for worker in self.workers if worker.command]

    def start(self):
        """Start what may start, in order: one that needs more cards than are free holds up those
        behind it, or it would never get them."""
        for command in [c for c in self.todo if self.waits[c.number] <= self.done]:
            if self.failed or not (worker := self.worker(command)):
                break
            if command.phase not in self.announced:
                self.tell([f"[{self.phases.index(command.phase) + 1}/{len(self.phases)}] "
                      f"{command.phase}  ({clock(time.monotonic() - self.began)} so far)"])
            self.announced.add(command.phase)
            self.todo.remove(command)
            worker.give(command)

    def worker(self, command):
        """An idle worker for the command, a new one where there is none, None where it must wait.
        One that needs cards for itself gets a process that holds no memory on them, and no other
        process does."""
        alone = command.cards() > 1 or command.number in self.alone
        cards = self.seats.free(command.cards(), alone, [
            Use(worker.cards, worker.alone) for worker in self.running()])
        if cards is None:
            if not self.running():
                self.fail([f"{command.title}: needs {command.cards()} cards, and "
                           f"{len(self.seats.cards)} are left"], command)
            return None
        for worker in [w for w in self.workers if not w.command]:
            if not alone and worker.cards == cards:
                return worker
            if alone and {*worker.cards} & {*cards}:
                self.retire(worker)
        self.workers.append(Worker(cards, alone))
        return self.workers[-1]

    def retire(self, worker):
        self.workers.remove(worker)
        close([worker])

    def end(self, worker):
        """Take in that a worker's command ended."""
        command, seconds, code = worker.end()
        output = worker.output() if code == 0 else "\n".join(worker.tail(None))
        if code and not self.again(command, worker, code, output):
            self.fail(worker.tail(), command)
        if code < 0 or worker.alone:  # its process died; or was for this command only
            self.retire(worker)
        if code:
            return
        if command is self.commands[-1]:
            self.last = output
        elif command.words[:2] == REPORT:
            show([output.strip()])
        self.done.add(command.number)
        self.pace.add(command, seconds, output)
        self.tell([f"  {len(self.done):{len(str(len(self.commands)))}}/{len(self.commands)}  "
              f"{command.title:<{self.wide}} {clock(seconds):>5}  about {clock(self.left())} left"])

    def fail(self, lines, command):
        self.failed = True
        show([*lines, f"failed: {command.line}"], sys.stderr)

    def again(self, command, worker, code, output):
        """Whether a command that failed is to be repeated: on another card where its own failed,
        which gets no command any more, or alone on a card that several filled; each once."""
        card = blamed(worker.cards, code, output)
        if self.failed or len(self.seats.cards) - (card in self.seats.cards) < command.cards():
            return False
        if card is not None and command.number not in self.moved:
            self.moved.add(command.number)
            self.seats.leave_out(card)
            why = says(output, LOST) or ("its process died" if code > 0 else worker.tail()[-1])
            show([f"card {card} failed ({why}) and is left out; again on another: "
                  f"{command.title}"], sys.stderr)
        elif card is None and says(output, FULL) and self.seats.most > 1 and not worker.alone:
            self.alone.add(command.number)
            show([f"card {worker.cards[0]} was full; again, alone on one: {command.title}"],
                 sys.stderr)
        else:
            return False
        self.todo.insert(0, command)
        return True

    def left(self):
        """Seconds until everything is done."""
        running = [(max(0, self.pace.seconds(w.command) - w.seconds()), w.command.number)
                   for w in self.running()]
        return wall(self.todo, running, self.waits, self.done, self.seats.jobs, self.pace.seconds,
                    durations.seats(self.commands, len(self.seats.cards), self.seats.jobs))


class Worker:
    """A process that runs commands, on its cards; its stdout and stderr go to `log`, emptied for
    each. alone: it is for one command, which shares its cards with no other."""

    def __init__(self, cards=(), alone=False):
        self.cards, self.alone = cards, alone
        self.command, self.log = None, tempfile.TemporaryFile()
        self.pipe, theirs = connection.Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "w2s.worker"], stdin=theirs, stdout=self.log,
                stderr=self.log, env=os.environ | environment(cards))

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

    def tail(self, lines=12):
        """The last lines of the output (None: all), and how the process died if it did."""
        code = self.process.poll()
        died = [f"the process ended with code {code}" + ", perhaps for want of memory" *
                (code == -signal.SIGKILL)] if code is not None else []
        return self.output().splitlines()[-lines if lines else None:] + died


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
    from tqdm import tqdm
    file = file or sys.stdout
    tqdm.write("\n".join(lines), file=file)
    file.flush()


def clock(seconds):
    """m:ss, from an hour on h:mm:ss."""
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes}:{seconds:02d}" if minutes < 60 else \
        f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


if __name__ == "__main__":
    sys.argv[0] = "python -m w2s.scheduler"
    launch(main, Config, __doc__)
