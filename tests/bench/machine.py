"""The machine: what it is, how fast it can be, how it is set, what a call takes of it."""

import contextlib
import ctypes
import gc
import importlib.metadata
import importlib.util
import math
import platform
import re
import subprocess
import time
from pathlib import Path

import torch

from w2s import device as devices

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("torch", "transformers", "opacus")


# ---- what it is ----------------------------------------------------------------------------------

def line(device):
    """The machine, threads and versions, in a line."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, TypeError):
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    vectors = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags()]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES
                if importlib.util.find_spec(name)]
    gpu = [torch.cuda.get_device_name(device)] if device.type == "cuda" else []
    threads = f"{torch.get_num_threads()} threads"
    return ", ".join([*gpu, cpu, *vectors[-1:], threads, f"Python {platform.python_version()}",
                      *versions])


def flags():
    """What /proc/cpuinfo says the processor can do; nothing where there is none."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"flags\s*: (.*)", info.read_text()) if info.exists() else None
    return set(found[1].split()) if found else set()


def has_bfloat16(device):
    """Whether the machine multiplies in bfloat16, and does not only imitate it."""
    return device.type == "cuda" or bool({"avx512_bf16", "amx_bf16"} & flags())


def commit():
    """(the commit that is checked out, whether files differ from it); None without git."""
    def git(*words):
        return subprocess.run(["git", *words], cwd=ROOT, text=True, capture_output=True)
    try:
        found = git("rev-parse", "--short=10", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except OSError:
        return None, False
    return found.stdout.strip() or None, bool(changed.stdout.strip())


# ---- how fast it can be --------------------------------------------------------------------------

def ceilings(device, dtype, shipped, size=None):
    """{"GEMM": GF/s of a square product on our route, "GEMM shipped": on PyTorch's own, in
    float32, "copy": GB/s read and written}, each the best of some calls."""
    size = size or (8192 if device.type == "cuda" else 2048)
    kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in "ab")
    c, d = a.float(), b.float()
    flop, many = 2 * size ** 3, torch.empty(min(16 * size * size, 2 ** 26), device=device)
    target = torch.empty_like(many)
    return {"GEMM": flop / best(lambda: a @ b, device) / 1e9,
            "GEMM shipped": flop / best(with_settings(lambda: c @ d, device, shipped),
                                        device) / 1e9,
            "copy": 2 * many.nbytes / best(lambda: target.copy_(many), device) / 1e9}


def best(run, device, calls=7):
    run()
    return min(seconds(run, device) for _ in range(calls))


def larger(one, other):
    """The larger of two measurements of the ceilings, number by number."""
    return {key: max(value, other[key]) for key, value in one.items()}


# ---- how it is set -------------------------------------------------------------------------------

def prepare(name, keep=True):
    """The device called `name`, set as the scripts set it; keep=False: glibc's allocator stays as
    it is shipped."""
    if keep or name == "cuda" or name == "auto" and torch.cuda.is_available():
        return devices.setup(name)
    devices.fast_float32()
    return torch.device("cpu")


def settings(device, value=None):
    """How float32 products run: the setting of PyTorch, after setting it if a value is given."""
    where, key = ((torch.backends.cuda.matmul, "allow_tf32") if device.type == "cuda" else
                  (torch.backends.mkldnn.matmul, "fp32_precision"))
    if value is not None:
        setattr(where, key, value)
    return getattr(where, key)


def with_settings(run, device, value):
    """`run`, while float32 products run as `value` says."""
    def changed():
        before = settings(device)
        try:
            settings(device, value)
            return run()
        finally:
            settings(device, before)
    return changed


# ---- what a call takes ---------------------------------------------------------------------------

def wait(device):
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(run, device):
    """How long one call takes, freeing its result included."""
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start


def free(device):
    """Bytes of memory to be had."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return proc("/proc/meminfo", "MemAvailable") if Path("/proc/meminfo").exists() else math.inf


def proc(path, key):
    return 1024 * int(re.search(rf"^{key}:\s*(\d+)", Path(path).read_text(), re.M)[1])


def peak(run, device):
    """Bytes that a call takes beyond what was there before it, for its result and on the way."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")         # VmHWM := VmRSS
    before = proc("/proc/self/status", "VmRSS")
    run()
    return proc("/proc/self/status", "VmHWM") - before
