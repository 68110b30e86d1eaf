"""What is seen while commands run, on a terminal and where there is none.

    python -m pytest -q tests/test_progress.py
"""

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from w2s import progress, scheduler

ROOT = Path(__file__).parent.parent


def on_a_terminal(words, columns=60, **environment):
    """What a command prints on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    env = {key: text for key, text in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
    size = f"import fcntl, struct, sys, termios; fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack(" \
        f"'HHHH', 24, {columns}, 0, 0)); import os; os.execv(sys.executable, sys.argv[1:])"
    process = subprocess.Popen([sys.executable, "-c", size, sys.executable, *words], cwd=ROOT,
                               stdin=theirs, stdout=theirs, stderr=theirs,
                               env=env | {"TERM": "xterm"} | environment)
    os.close(theirs)
    text = b""
    try:
        while part := os.read(ours, 1 << 16):
            text += part
    except OSError:  # the terminal is gone with its last process
        pass
    os.close(ours)
    assert process.wait() == 0, text
    return text.decode()


def screen(text):
    """The lines that stand on a terminal in the end."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[A|\r|\n|[^\r\n\x1b]+", text):
        if part == "\x1b[A":
            row -= 1
        elif part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        else:
            column = 0 if part == "\r" else column
            if part != "\r":
                lines[row] = lines[row][:column].ljust(column) + part + lines[row][
                    column + len(part):]
                column += len(part)
    return [line.rstrip() for line in lines if line.strip()]


@pytest.fixture
def plan(tmp_path):
    """A file of two commands, the second of which writes a report."""
    nap = tmp_path / "nap.py"
    nap.write_text("import time; time.sleep(.3); print('three words long')")
    title = "a title that is much longer than a narrow terminal is wide, and goes on"
    (tmp_path / "plan").write_text(f"# the phase\npython {shlex.quote(str(nap))}  # {title}\n"
                                   f"python {shlex.quote(str(nap))}  # the last\n")
    return ["-m", "w2s.scheduler", "--file", str(tmp_path / "plan"), "--show-last"]


def test_a_terminal_has_a_line_of_what_runs_and_one_bar_and_keeps_neither(plan):
    text = on_a_terminal(plan)
    assert "now: a title that is much" in text and "now: the last" in text
    assert re.search(r"50%\|.*\| 1/2 .*about \d:\d\d left", text)
    assert max(map(len, re.split(r"[\r\n]|\x1b\[[A-Z]", text))) <= 60  # nothing wraps
    # what stays is what the last command printed
    assert [line for line in screen(text) if line][:1] == ["three words long"]
    assert screen(text)[-1].startswith("total 0:0")
    assert "command/s" not in text  # tqdm's own time: of commands that all take as long


@pytest.mark.parametrize("where", ["dumb", "file"])
def test_elsewhere_each_command_has_a_line(where, plan):
    text = on_a_terminal(plan, TERM="dumb") if where == "dumb" else subprocess.run(
        [sys.executable, *plan], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = text.replace("\r\n", "\n").splitlines()
    assert lines[0].startswith("[1/1] the phase") and "\r" not in lines[1]
    assert re.fullmatch(r"  1/2  a title that .*  0:0\d  about \d:\d\d left", lines[1])
    assert re.fullmatch(r"  2/2  the last  +0:0\d  about 0:00 left", lines[2])
    assert lines[3:] == ["three words long", lines[-1]] and "|" not in text


def test_what_runs_fits_its_line():
    assert progress.shown(["ood weak-none", "labels"], 80) == "now: ood weak-none, labels"
    assert progress.shown(["ood weak-none"], 12) == "now: ood ..."
    assert progress.shown([], 80) == "now: nothing"


@pytest.mark.parametrize("seconds, text", [(0, "0:00"), (59.9, "0:59"), (3599, "59:59"),
                                           (3600, "1:00:00"), (90061, "25:01:01")])
def test_hours_are_hours(seconds, text):
    assert scheduler.clock(seconds) == text
