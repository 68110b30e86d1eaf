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
WEIGHTS = {"train_student.py": 6, "train_weak.py": 4, "attacks.py": 4, "evaluate.py": 2,
           "label.py": 2, "w2s.report": 2, "w2s.miniature": 2}
PRETRAINING = 60  # such a weight
SKIPPED = 1  # seconds of a run that is done already
ALREADY = "already"  # in what a command prints that found its work done


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

class Pace:
    """Seconds of the commands of a plan, known the better the more of them are done.

    path: of the file, None: nothing is remembered; name: of the results, in front of its keys."""

    def __init__(self, commands, path=None, name=""):
        self.path, self.name, self.now = path, name, defaultdict(list)
        past = read(path) if path else {}
        self.past = {c.kind(): past[f"{name} {c.kind()}"] for c in commands
                     if f"{name} {c.kind()}" in past}
        known = [c for c in commands if c.kind() in self.past]
        # seconds that a weight of 1 means, where some kinds are remembered
        self.unit = (sum(self.past[c.kind()] for c in known) / sum(map(weight, known))
                     if known else None)
        self.spent = defaultdict(lambda: [0, 0])  # {script or None: [measured, expected before]}
        self.alike = defaultdict(list)            # {(task, model): [seconds, ...] of its trainings}

    def add(self, command, seconds, output):
        """Take in that a command took so many seconds and printed this."""
        if ALREADY in output:  # it was done before: that says nothing of the others
            return
        for key in (script(command.words), None):
            self.spent[key][0] += seconds
            self.spent[key][1] += self.before(command)
        self.now[command.kind()].append(seconds)
        if model(command):
            self.alike[model(command)].append(seconds)

    def before(self, command):
        """Seconds, or only a weight where nothing is remembered, without what is measured now."""
        return self.past.get(command.kind(), (self.unit or 1) * weight(command))

    def seconds(self, command):
        """Those of its kind, as measured now; else those remembered, or of trainings of the same
        model, or weighed, times what its script has taken now beside that."""
        if done(command):
            return SKIPPED
        if times := self.now.get(command.kind()):
            return sum(times) / len(times)
        if command.kind() not in self.past and (times := self.alike.get(model(command))):
            return sum(times) / len(times)
        spent = self.spent.get(script(command.words)) or self.spent.get(None) or [1, 1]
        return self.before(command) * spent[0] / spent[1]

    def keep(self):
        """Write what was measured into the file."""
        if self.path and self.now:
            remember(self.path, {f"{self.name} {key}": sum(times) / len(times)
                                 for key, times in self.now.items()})

    def known(self):
        """Whether seconds are more than weights."""
        return bool(self.past or self.now)


def weight(command):
    return PRETRAINING if "pretrain" in command.words[:3] else WEIGHTS.get(
        script(command.words), 1)


def value(words, flag):
    """The word behind a flag, None without it."""
    return words[words.index(flag) + 1] if flag in words[:-1] else None


def model(command):
    """(task, model) of a training, else None; they decide how long it takes."""
    if not script(command.words).startswith("train_") or not value(command.words, "--model"):
        return None
    return value(command.words, "--task"), value(command.words, "--model")


def done(command):
    """Whether a command's run is finished already."""
    folder = value(command.words, "--out")
    return bool(folder) and os.path.exists(os.path.join(folder, "DONE"))


def wall(todo, running, waits, finished, jobs, seconds):
    """Seconds until all of todo is done, by going through what starts when on `jobs` seats.

    running: [(seconds still to run, number), ...]; waits: what each command waits for; finished:
    {number, ...}; seconds(command)."""
    clock, ends, finished, todo = 0, list(running), set(finished), list(todo)
    heapq.heapify(ends)
    while todo or ends:
        for command in [c for c in todo if waits[c.number] <= finished][:max(0, jobs - len(ends))]:
            todo.remove(command)
            heapq.heappush(ends, (clock + seconds(command), command.number))
        if not ends:
            break
        clock, number = heapq.heappop(ends)
        finished.add(number)
    return clock
