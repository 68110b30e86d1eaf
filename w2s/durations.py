"""How long commands take: measured now, remembered from earlier experiments, or weighed.

Commands of one kind take about as long: their titles differ in seed and digits. What this machine
has measured stands in runs/.durations.json, {"RESULTS KIND": seconds}; a file that cannot be read
or written is as none.
"""

import heapq
import json
import math
import os
import re
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from w2s import rows

MOST, LARGEST = 4000, 1 << 20  # entries that are kept; bytes of a file that is read
# Seconds of a command beside those of others, before any is known: training is the most of it
WEIGHTS = {"train_student.py": 6, "train_weak.py": 6, "attacks.py": 4, "evaluate.py": 2,
           "label.py": 2, "w2s.report": 2, "w2s.miniature": 2}
MODELS = ("train_student.py", "train_weak.py", "attacks.py", "evaluate.py", "label.py")
SKIPPED = 1  # seconds of a run that is done already, before one of them is known
ALREADY = "already"  # in what a command prints that found its work done
PARTLY = "goes on at step"  # or a part of it


def kind(title):
    """A title without seed and digits."""
    return re.sub(r"\bseed\d+ ?|\d", "", title)


def script(words):
    """The script or module of a command's words, also behind torchrun."""
    return next((word for word in words if word.endswith(".py")), " ".join(words[1:2]))


# ---- the file ------------------------------------------------------------------------------------

def read(path):
    """{key: seconds} of the file; {} where it is not there or is no such file."""
    try:
        if os.path.getsize(path) > LARGEST:
            return {}
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return {key: float(value) for key, value in content.items()
                if type(value) in (int, float) and 0 < value < math.inf}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def remember(path, measured):
    """Add {key: seconds} to the file; the latest MOST are kept."""
    known = {key: value for key, value in read(path).items() if key not in measured} | measured
    with suppress(OSError):  # a disk that is full or read only costs no experiment
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.write_json(path, dict(list(known.items())[-MOST:]))


# ---- a pace --------------------------------------------------------------------------------------

class Weights:
    """Seconds of commands of which only the script is known. w2s.cost.Costs knows more."""

    def seconds(self, command):
        return WEIGHTS.get(script(command.words), 1)

    def renew(self):
        """Nothing that is made on the way changes them."""


class Pace:
    """Seconds of the commands of a plan, known the better the more of them are done.

    path: of the file, None: nothing is remembered; name: of the results, in front of its keys;
    costs: seconds of commands that nobody has timed, which count beside each other alone."""

    def __init__(self, commands, path=None, name="", costs=None):
        self.path, self.name, self.now, self.names = path, name, defaultdict(list), {}
        self.costs, self.skips, self.found = costs or Weights(), [], {}
        self.models = defaultdict(set)  # {task: names of the models that it trains}
        for task, base in filter(None, map(model, commands)):
            self.models[task].add(os.path.basename(base))
        past = read(path) if path else {}
        self.past = {c.kind(): past[self.key(c)] for c in commands if self.key(c) in past}
        # {key of `keys`: [seconds, what was expected]}: remembered ones and costs; now and before
        self.unit, self.spent = defaultdict(lambda: [0, 0]), defaultdict(lambda: [0, 0])
        for command in commands:
            if command.kind() in self.past:
                spend(self.unit, command, self.past[command.kind()], self.costs.seconds(command))

    def key(self, command):
        """What a kind is called in the file: other models take another time."""
        title = command.kind()
        return " ".join([self.name, title, *sorted(self.models[title.split(" ")[0]])])

    def add(self, command, seconds, output):
        """Take in that a command took so many seconds and printed this."""
        if not model(command):  # it may have made rows or a model of which the costs did not know
            self.costs.renew()
        if ALREADY in output:  # it was done before: that says nothing of the others
            self.skips.append(seconds)
        if ALREADY in output or PARTLY in output:
            return
        spend(self.spent, command, seconds, self.before(command))
        self.now[command.kind()].append(seconds)
        self.names[command.kind()] = self.key(command)

    def before(self, command):
        """Seconds, without what is measured now: remembered, else a cost, times what those that are
        most like it took beside theirs."""
        return self.past.get(command.kind()) or self.costs.seconds(command) * share(
            self.unit, command)

    def seconds(self, command):
        """Those of its kind, as measured now; else those remembered, or its cost, times what the
        commands that are most like it have taken now beside that."""
        if command.number not in self.found:  # asked once: of a plan that goes on
            self.found[command.number] = done(command)
        if self.found[command.number]:
            return sum(self.skips) / len(self.skips) if self.skips else SKIPPED
        if times := self.now.get(command.kind()):
            return sum(times) / len(times)
        return self.before(command) * share(self.spent, command)

    def keep(self):
        """Write what was measured into the file."""
        if self.path and self.now:
            remember(self.path, {self.names[kind]: sum(times) / len(times)
                                 for kind, times in self.now.items()})

    def known(self):
        """Whether seconds are more than costs."""
        return bool(self.past or self.now)


def keys(command):
    """What a command has in common with others that take about as much longer than they cost, the
    closest first: task and model of a training, the script, whether it runs models."""
    name = script(command.words)
    what = command.words[1:2] if name == "attacks.py" else command.words[
        2:3] if name.startswith("w2s.") else []  # of several that one script does
    return [key for key in (model(command), " ".join([name, *what])) if key] + [
        name in MODELS or what == ["pretrain"]]


def spend(table, command, seconds, expected):
    """Add what a command took, and was expected to take, under all of its keys."""
    for key in keys(command):
        table[key] = [table[key][0] + seconds, table[key][1] + expected]


def share(table, command):
    """How many times of what was expected the commands took that are most like this one; 1 where
    there are none."""
    seconds, expected = next((table[key] for key in keys(command) if key in table), [1, 1])
    return seconds / expected


def value(words, flag):
    """The word behind a flag, None without it."""
    return words[words.index(flag) + 1] if flag in words[:-1] else None


def model(command):
    """(task, model) of a training, else None; they decide how long it takes."""
    if not script(command.words).startswith("train_") or not value(command.words, "--model"):
        return None
    return value(command.words, "--task"), value(command.words, "--model")


def done(command):
    """Whether what a command makes is there already."""
    made = results(command.words)
    return bool(made) and all(map(os.path.exists, made))


def results(words):
    """The files that a command leaves behind it last; [] where they are not known."""
    name, out = script(words), value(words, "--out")
    runs, data = (values(words, flag) for flag in ("--run", "--data"))
    names = [os.path.basename(path).removesuffix(".gz") for path in data]
    if name == "label.py" and "--given" not in words:
        return [os.path.join(run, "labels", f"{part}.meta.json") for run in runs for part in names]
    if name == "evaluate.py":
        return [os.path.join(run, "predictions", part) for run in runs for part in names]
    if name == "attacks.py":
        return [out] if out else [os.path.join(run, f"attack-{words[1]}.json") for run in runs]
    if name == "w2s.prepare" and out:
        return [os.path.join(out, "manifest.json")]
    if "pretrain" in words[:3]:
        return [os.path.join(out, value(words, "--shape"), "pretraining.json")]
    return [os.path.join(out, "DONE")] if out and name.startswith("train_") else []


def values(words, flag):
    """The words behind a flag up to the next flag."""
    behind = words[words.index(flag) + 1:] if flag in words else []
    return behind[:next((k for k, word in enumerate(behind) if word.startswith("--")), None)]


def seats(commands, count, jobs):
    """{number: how many of `jobs` seats a command takes that needs several of `count` cards}."""
    most = -(-jobs // count) if count else jobs
    return {c.number: c.cards() * most for c in commands if c.cards() > 1}


def wall(todo, running, waits, finished, jobs, seconds, seats=None):
    """Seconds until all of todo is done, by going through what starts when on `jobs` seats.

    running: [(seconds still to run, number), ...]; waits: what each command waits for; finished:
    {number, ...}; seconds(command); seats: {number: how many it takes}, without it 1."""
    clock, ends, seats = 0, list(running), seats or {}
    free = jobs - sum(seats.get(number, 1) for _, number in running)
    commands = {command.number: command for command in todo}
    missing = {number: len(waits[number] - finished) for number in commands}
    behind = defaultdict(list)  # numbers of those that wait for a command
    for number in commands:
        for earlier in waits[number] - finished:
            behind[earlier].append(number)
    ready = [number for number, count in missing.items() if not count]
    heapq.heapify(ends)
    heapq.heapify(ready)
    while ready or ends:
        # the first one holds up those behind it, as in scheduler.Queue; alone it always fits
        while ready and (free >= seats.get(ready[0], 1) or not ends):
            number = heapq.heappop(ready)
            free -= seats.get(number, 1)
            heapq.heappush(ends, (clock + seconds(commands[number]), number))
        clock, number = heapq.heappop(ends)
        free += seats.get(number, 1)
        for other in behind[number]:
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(ready, other)
    return clock
