"""One call of the benchmark: its sections measured, its tables written."""

import datetime
import importlib
import os
import sys
import time
import warnings
from pathlib import Path

import torch

from tests.bench import harness, kept, machine, table
from tests.bench.harness import Setting, say

FILE = {"step": "step", "epochs": "epochs", "lm": "step", "dp": "dp", "label": "labels",
        "generate": "labels", "ntf": "labels", "start": "start", "evaluate": "evaluate",
        "whole": "whole"}
TIMED = ("step", "epochs", "lm", "dp", "label", "generate", "ntf")  # variants in one process
COMPILED = ("step", "lm")                                           # with --compile auto, at 14m


def run(args):
    """Measure what the arguments say. The exit status: 1 if --check found something slower."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    shipped = shipped_settings(args.device)
    try:
        device = machine.prepare(args.device, args.allocator == "keep" and not args.memory)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
    settings = [Setting(shape, dtype, device, shipped, args.rounds, False, not args.no_memory,
                        args.only)
                for shape in args.shape for dtype in dtypes(args, device)]
    if args.memory:
        [section], [setting] = args.sections, settings
        setting.compile = args.compile == "on"
        print(harness.peak_of(cases(section, setting), *args.memory, device))
        return 0
    facts = {"command": " ".join(["python -m tests.bench", *sys.argv[1:]]),
             "date": f"{datetime.date.today()}", "machine": machine.line(device),
             "device": str(device), "allocator": args.allocator}
    facts["commit"], facts["changed"] = machine.commit()
    started, tables, facts["ceilings"] = time.monotonic(), [], {}

    def ceilings():
        if set(args.sections) & set(TIMED):
            for s in settings:
                found = machine.ceilings(device, s.dtype, shipped, gemm_size(args))
                facts["ceilings"][s.dtype] = machine.larger(
                    found, facts["ceilings"].get(s.dtype, found))
    ceilings()
    for section in args.sections:
        for setting in settings if section in TIMED else settings[:1]:
            setting.compile = args.compile == "on" or (
                args.compile == "auto" and section in COMPILED and setting.shape == "14m")
            tables += measured(section, setting, args)
        if section == args.sections[-1]:
            ceilings()                                    # again: the larger one counts
        for found in tables:
            share(found, facts["ceilings"])
        facts["seconds"] = time.monotonic() - started
        if args.out:                                      # after every section: nothing is lost
            write(Path(args.out), facts, tables)
    if not args.out:
        print(table.document(facts, tables))
    if args.save:
        kept.save(facts, tables)
    return kept.check(facts, tables) if args.check else 0


def measured(section, setting, args):
    """The tables of a section."""
    say(f"{section}, {setting.shape}, {setting.dtype}")
    if section not in TIMED:
        return importlib.import_module(f"tests.bench.{FILE[section]}").tables(setting, args)
    return [harness.measure(case, setting) for case in cases(section, setting)]


def cases(section, setting):
    return importlib.import_module(f"tests.bench.{FILE[section]}").cases(setting, section)


def share(found, ceilings):
    """Note the share of the ceiling in the rows of a table that has operations."""
    for row in found.rows:
        if "GF/s" in row:
            row["of ceiling"] = row["GF/s"] / ceilings[found.dtype]["GEMM"]


def write(folder, facts, tables):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.md").write_text(table.document(facts, tables), encoding="utf-8")
    (folder / "bench.json").write_text(table.content(facts, tables), encoding="utf-8")
    say(f"{folder}/bench.md, {folder}/bench.json")


def shipped_settings(name):
    """PyTorch's own route of float32 products, before anything is set."""
    on_cuda = name.startswith("cuda") or name == "auto" and torch.cuda.is_available()
    return machine.settings(torch.device("cuda" if on_cuda else "cpu"))


def dtypes(args, device):
    more = ["bfloat16"] * machine.has_bfloat16(device)
    return args.dtype or ["float32", *more]


def gemm_size(args):
    return 256 if args.shape == ["tiny"] else None
