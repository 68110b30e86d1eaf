"""What a part finds, written down as it is found: what follows may hang, or end the process.

A line of the file is {"check": ...}, {"row": ...} or {"facts": ...}, in JSON.
"""

import contextlib
import json
import math
import time
import traceback

COLUMNS = ("shape", "head", "dtype", "mode", "ms", "iqr", "first_s", "kernels", "busy", "mfu",
           "gb", "plan_gb")
PRETENDED = "pretended"  # the `pass` of a criterion that only a card can meet


class Record:
    """Open for one part. pretended: there is no card, and criteria of hardware say nothing; until:
    when the part will be killed, in time.monotonic's seconds."""

    def __init__(self, path, pretended=False, until=math.inf):
        self.file, self.pretended, self.until = open(path, "a"), pretended, until
        self.broken = []  # pieces that raised

    def check(self, name, value, unit="", low=None, high=None, hard=False, hardware=False):
        """A number, or a text, and between what it has to be; without either end nothing is asked
        of it. hard: the whole script fails with it; hardware: it says nothing without a card."""
        asked = low is not None or high is not None
        good = asked and inside(value, low, high)
        self.write(check={"name": name, "value": plain(value), "unit": unit, "low": low,
                          "high": high, "hard": hard and asked, "pass": None if not asked else
                          PRETENDED if hardware and self.pretended else good})
        return good

    def row(self, **columns):
        """A line of the table: COLUMNS, those that are not given None."""
        assert columns.keys() <= set(COLUMNS), columns
        self.write(row={key: plain(columns.get(key)) for key in COLUMNS})

    def facts(self, **facts):
        self.write(facts=facts)

    def write(self, **line):
        self.file.write(json.dumps(line, allow_nan=False) + "\n")
        self.file.flush()

    def extra(self):
        """What follows may be cut off at the part's limit, and that is no failure."""
        self.facts(extra=True)

    def left(self):
        """Seconds until the part is killed."""
        return self.until - time.monotonic()

    @contextlib.contextmanager
    def piece(self, name):
        """A piece of the part: if it raises, that is a hard check that failed, its traceback is on
        stderr, and the part goes on with the next."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.broken.append(name)
            first = (str(error).splitlines() or [""])[0]
            self.write(check={"name": name, "value": f"{type(error).__name__}: {first}"[:200],
                              "unit": "", "low": None, "high": None, "hard": True, "pass": False})


def inside(value, low, high):
    """Whether low <= value <= high; nan is nowhere."""
    try:
        return (low is None or low <= value) and (high is None or value <= high)
    except TypeError:  # no number
        return False


def plain(value):
    """As JSON has it: a number that is not finite as a text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def read(path):
    """(checks, rows, facts) of a file; a last line that was cut off counts as not written."""
    found = {"check": [], "row": [], "facts": []}
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                for kind, content in json.loads(line).items():
                    found[kind].append(content)
    return found["check"], found["row"], {key: value for each in found["facts"]
                                          for key, value in each.items()}
