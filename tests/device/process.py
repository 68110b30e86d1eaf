"""A part in a process of its own: forked, killed at its limit, with all that it started.

The parent opens no CUDA, which could not be used after a fork; it imports what parts need, once. A
part that crashes or hangs takes nothing with it, and ends when the parent is killed.
"""

import contextlib
import faulthandler
import importlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

from tests.device import record

LAST = 80, 8000            # lines and characters of its output that are kept where a part fails


class Part(NamedTuple):
    """run(rec): the part, given its Record; None: `run` of the module of its name. card: whether
    it works on the card in its own process, so that one is pretended for it."""

    number: int
    name: str
    limit: float                 # seconds
    run: object = None
    card: bool = True


def function(part):
    """What the part runs."""
    return part.run or importlib.import_module(f"tests.device.parts.{part.name}").run


def child(part, notes, pretended, until, alive):
    """Run the part; its exit status. alive: a pipe that closes when the parent ends."""
    threading.Thread(target=follow, args=(alive,), daemon=True).start()
    rec = record.Record(notes, pretended, until)
    with contextlib.ExitStack() as stack:
        if pretended and part.card:
            import pytest
            from tests import pretend
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            rec.card = stack.enter_context(pretend.pretend(patch))
        function(part)(rec)
    return 1 if rec.broken else 0


def follow(alive):
    """End with the parent, and take along what was started here."""
    os.read(alive, 1)
    os.killpg(0, signal.SIGKILL)


def live(part, folder, pretended, until, alive):
    """What the new process does, which ends here: its output goes to FOLDER/said."""
    code = 1
    try:
        os.setsid()  # a group of its own: what it starts is killed with it
        said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT)
        for standard in (1, 2):
            os.dup2(said, standard)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout, sys.stderr = (open(standard, "w", buffering=1, closefd=False)
                                  for standard in (1, 2))
        faulthandler.enable(sys.stderr)
        code = child(part, folder / "notes", pretended, until, alive)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_part(part, limit, pretended=False):
    """(status, seconds, checks, rows, facts, end of stderr) of a part in a new process, killed
    after `limit` seconds."""
    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="device-"))
    alive, ours = os.pipe()
    sys.stdout.flush()
    with warnings.catch_warnings():  # numpy's threads wait at its import; nothing else runs yet
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        os.close(ours)
        live(part, folder, pretended, began + limit, alive)
    os.close(alive)
    try:
        status, end = wait(pid, began + limit)
    finally:
        end_group(pid)
        os.close(ours)
    checks, rows, facts = record.read(folder / "notes")
    said = (folder / "said").read_text(errors="replace") if (folder / "said").exists() else ""
    shutil.rmtree(folder, ignore_errors=True)
    lines, characters = LAST
    tail = "\n".join([*said.splitlines()[-lines:], *end])[-characters:]
    return (status, time.monotonic() - began, checks, rows, facts,
            tail if status != "done" else "")


def wait(pid, until):
    """(status, [how the process died]) of a child process that is not reaped yet."""
    while not (ended := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)):
        if time.monotonic() > until:
            return "timeout", ["killed at its limit"]
        time.sleep(.01)
    if ended.si_code == os.CLD_EXITED:
        return {0: ("done", []), 1: ("failed", [])}.get(
            ended.si_status, ("crashed", [f"exit code {ended.si_status}"]))
    return "crashed", [f"ended by {signal.Signals(ended.si_status).name}"]


def end_group(pid):
    """Kill what is left of a part, and reap it. Until it is reaped its number is nobody else's."""
    for kill in (os.killpg, os.kill):  # the group may not be there yet
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
