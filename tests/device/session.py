"""One call of the script: parts in processes of their own, and what they found in two files.

This process opens no CUDA, which could not be used after a fork. It imports what the parts need,
once, and forks for each: a part that crashes or hangs takes nothing with it. If this process is
killed, the part ends too.
"""

import contextlib
import datetime
import faulthandler
import importlib
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.device import page, record

SCHEMA = 1
PROBE = 60                       # seconds, to look for a card
SLOW = 20                        # what a limit for a card is multiplied by for a CPU, a busy one
BAD = ("failed", "crashed", "timeout")
DROPPED_FIRST = (11, 10, 8, 7, 6, 3, 9, 5, 4, 2)  # parts, where the minutes are too few for all


class Part(NamedTuple):
    """run(rec): the part, given its Record; a name: the function `run` of that module. card:
    whether it works on the card in its own process, so that one is pretended for it."""

    number: int
    name: str
    limit: float                 # seconds
    run: object = None
    card: bool = True


PARTS = (Part(0, "machine", 15), Part(1, "numbers", 45), Part(2, "suite", 60, card=False),
         Part(3, "waits", 15), Part(4, "steps", 100), Part(5, "memory", 40, card=False),
         Part(6, "prediction", 15), Part(7, "generation", 30), Part(8, "privacy", 30),
         Part(9, "workers", 75, card=False), Part(10, "nccl", 20, card=False), Part(11, "bits", 10))


# ---- one part, in a process of its own -----------------------------------------------------------

def function(part):
    """What the part runs."""
    if callable(part.run):
        return part.run
    return importlib.import_module(f"tests.device.parts.{part.run or part.name}").run


def child(part, notes, pretended, until, alive):
    """The life of a part's process, to its end. alive: a pipe that closes when the parent ends."""
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
        code = 1
        try:
            os.setsid()
            os.close(ours)
            said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT)
            for standard in (1, 2):
                os.dup2(said, standard)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.stdout, sys.stderr = (open(standard, "w", buffering=1, closefd=False)
                                      for standard in (1, 2))
            faulthandler.enable(sys.stderr)
            code = child(part, folder / "notes", pretended, began + limit, alive)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(alive)
    try:
        status, end = wait(pid, began + limit)
    finally:
        end_group(pid)
        os.close(ours)
    checks, rows, facts = record.read(folder / "notes")
    said = (folder / "said").read_text(errors="replace") if (folder / "said").exists() else ""
    shutil.rmtree(folder, ignore_errors=True)
    tail = "\n".join([*said.splitlines()[-30:], *end])[-3000:]
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


# ---- all parts -----------------------------------------------------------------------------------

def planned(parts, budget):
    """The parts in the order in which they run: those of DROPPED_FIRST for which the budget of
    seconds has no room come last, the first of them at the end."""
    kept, late = list(parts), []
    for number in DROPPED_FIRST:
        for part in [p for p in kept if p.number == number]:
            if sum(p.limit for p in kept) > budget:
                kept.remove(part)
                late.insert(0, part)
    return kept + late


def run(parts, out, budget, pretended, facts, began=None):
    """Run the parts within `budget` seconds, write OUT/device.json and device.md after each;
    whether everything hard was met. facts: what is known of the machine. A part's status: waiting,
    running, dropped, done, cut off (in what was extra), or one of BAD."""
    began = began or time.monotonic()
    found = {"schema": SCHEMA, **facts, "budget_s": budget, "parts": []}
    entries = {p.number: {"name": p.name, "status": "waiting", "seconds": 0, "limit": p.limit,
                          "checks": [], "rows": [], "stderr_tail": ""} for p in parts}

    def keep():
        found["parts"] = list(entries.values())
        found["summary"] = summary(found["parts"], time.monotonic() - began)
        write(out / "device.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
        write(out / "device.md", page.document(found))

    keep()
    for part in planned(parts, budget):
        entry = entries[part.number]
        if time.monotonic() - began + part.limit > budget:
            entry["status"] = "dropped"
        else:
            entry["status"] = "running"
            keep()
            status, seconds, checks, rows, known, tail = run_part(part, part.limit, pretended)
            status = "cut off" if status == "timeout" and known.get("extra") else status
            entry |= {"status": status, "seconds": round(seconds, 1), "checks": checks,
                      "rows": rows, "stderr_tail": tail}
        keep()
        print(page.line(part.number, entry), flush=True)
    return not found["summary"]["failed"]


def summary(parts, seconds):
    """What is to be read first. A part that did not end well fails too: what it did not come to
    is not known to be right."""
    hard = [check for part in parts for check in part["checks"] if check["hard"]]
    failed = [f"{part['name']}: {check['name']}" for part in parts for check in part["checks"]
              if check["hard"] and check["pass"] is False]
    failed += [f"{part['name']}: {part['status']}" for part in parts if part["status"] in BAD
               and not any(name.startswith(f"{part['name']}: ") for name in failed)]
    return {"seconds": round(seconds), "hard": len(hard),
            "passed": sum(check["pass"] is True for check in hard),
            "pretended": sum(check["pass"] == record.PRETENDED for check in hard),
            "failed": failed, "parts": dict(Counter(part["status"] for part in parts))}


def write(path, text):
    """All or nothing."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def preload(parts, pretended):
    """Import what the parts import, before any is forked. What cannot be imported says so in the
    part's own process."""
    names = [f"tests.device.parts.{part.name}" for part in parts]
    for name in names + ["pytest", "tests.pretend", "torch._dynamo"] * pretended:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def main(args):
    """The exit code of a call."""
    began, out = time.monotonic(), Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write(out / "device.md", "")
    except OSError as error:
        return refuse(f"--out {out}: cannot be written ({error.strerror})")
    slow = SLOW if args.pretend else 1
    parts = [part._replace(limit=slow * part.limit) for part in PARTS if part.number in args.only]
    preload(parts, args.pretend)
    probe = Part(-1, "probe", PROBE, probed, card=False)
    status, _, _, _, facts, tail = run_part(probe, slow * PROBE, args.pretend)
    if status != "done":
        return refuse("torch does not start here: " + (tail.splitlines() or [status])[-1])
    if not (facts["device"] or args.pretend):
        return refuse("no CUDA device here; --pretend runs everything on the CPU, in tiny shapes")
    started = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    good = run(parts, out, 60 * slow * args.minutes, args.pretend, {
        "commit": facts["commit"], "dirty": facts["dirty"], "started": started,
        "versions": facts["versions"], "device": facts["device"]}, began)
    print(f"{out}/device.md, {out}/device.json")
    return 0 if good else 1


def probed(rec):
    from tests.device.parts import machine
    machine.probe(rec)


def refuse(why):
    print(f"error: {why}", file=sys.stderr)
    return 2
