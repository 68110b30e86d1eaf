"""One call of the script: its parts in turn, and what they found in two files."""

import contextlib
import datetime
import importlib
import json
import sys
import time
from collections import Counter
from pathlib import Path

from tests.device import page, process, record
from tests.device.process import Part

SCHEMA = 1
PROBE = 60                       # seconds, to look for a card
SLOW = 60                        # times a card's limit: a CPU's, which others may keep busy
BAD = ("failed", "crashed", "timeout")
DROPPED_FIRST = (11, 10, 8, 7, 6, 3, 9, 5, 4, 2)  # parts, where the minutes are too few for all
PARTS = (Part(0, "machine", 15), Part(1, "numbers", 45), Part(2, "suite", 60, card=False),
         Part(3, "waits", 15), Part(4, "steps", 100), Part(5, "memory", 40, card=False),
         Part(6, "prediction", 15), Part(7, "generation", 30), Part(8, "privacy", 30),
         Part(9, "workers", 75, card=False), Part(10, "nccl", 20, card=False), Part(11, "bits", 10))


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
            status, seconds, checks, rows, known, tail = process.run_part(
                part, part.limit, pretended)
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
    status, _, _, _, facts, tail = process.run_part(probe, slow * PROBE, args.pretend)
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
