"""What the card is and how fast it can be: rates of products and copies, what a launch costs."""

import importlib.metadata
import importlib.util
import platform
import shutil

import torch

from tests.bench import machine
from tests.device import measure
from w2s import cards

PACKAGES = ("torch", "triton", "numpy", "tokenizers", "safetensors", "transformers", "opacus")
SLOWEST = 500              # TF/s in bfloat16 of a data centre's Hopper or Blackwell card
OPS, NODES = 2000, 1000


def probe(rec):
    """Note what there is: versions, the commit, and the card, None without one."""
    commit, dirty = machine.commit()
    versions = {"python": platform.python_version(), "cuda": str(torch.version.cuda)}
    versions |= {name: importlib.metadata.version(name) for name in PACKAGES
                 if importlib.util.find_spec(name)}
    versions["driver"] = next(iter(cards.asked("--query-gpu=driver_version",
                                               "--format=csv,noheader")), "none")
    device = {"name": "a CPU, taken for a card", "pretended": True} if rec.pretended else (
        described() if torch.cuda.is_available() else None)
    rec.facts(commit=commit, dirty=dirty, versions=versions, device=device)


def described():
    known = torch.cuda.get_device_properties(0)
    return {"name": known.name, "pretended": False, "count": torch.cuda.device_count(),
            "capability": [known.major, known.minor], "memory_gb": known.total_memory / 1e9,
            "multiprocessors": known.multi_processor_count}


def run(rec):
    device, of = measure.card(rec)
    with rec.piece("products"):
        products(rec, device, of(8192, 128))
    with rec.piece("copy"):
        a = torch.randn(of(2 ** 29, 2 ** 16), device=device)
        b = torch.empty_like(a)
        spent = measure.paced(lambda: b.copy_(a), device)["ms"] / 1e3
        rec.check("copy, read and written", 2 * a.nbytes / spent / 1e12, "TB/s")
    with rec.piece("launches"):
        launches(rec, device)
    for name in ("gcc", "g++"):
        rec.check(name, shutil.which(name) or "none")
    partitioned = any("MIG" in line for line in cards.asked("-L"))
    rec.check("MIG", "a part of a card" if partitioned else "no")


def products(rec, device, size):
    """TF/s of square products."""
    draw = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(size, size, device=device, generator=draw) for _ in "ab")
    for name, kind, tf32 in (("bfloat16", torch.bfloat16, True), ("TF32", torch.float32, True),
                             ("float32", torch.float32, False)):
        x, y = a.to(kind), b.to(kind)
        times = machine.with_settings(lambda: measure.paced(lambda: x @ y, device), device, tf32)()
        large = name == "bfloat16" and large_card(rec)
        rec.check(f"product, {name}", 2 * size ** 3 / times["ms"] / 1e9, "TF/s",
                  low=SLOWEST if large else None, hard=True, hardware=True)


def large_card(rec):
    """Whether it is one of those for which SLOWEST is meant; a pretended one is."""
    known = torch.cuda.get_device_properties(0)
    return rec.pretended or known.major in (9, 10) and known.multi_processor_count >= 130


def launches(rec, device):
    """Microseconds of an operation on one number, alone and as a node of a graph."""
    x = torch.zeros(1, device=device)

    def ops(n):
        for _ in range(n):
            x.add_(1)
    spent = measure.paced(lambda: ops(OPS), device)["ms"]
    rec.check("an operation", 1e3 * spent / OPS, "us", high=10, hardware=True)
    if rec.pretended:
        return
    ops(3)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        ops(NODES)
    spent = measure.paced(graph.replay, device)["ms"]
    rec.check("a node of a graph", 1e3 * spent / NODES, "us", high=3, hardware=True)
