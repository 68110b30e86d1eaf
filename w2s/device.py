"""Where and how the arithmetic runs: the one place that looks at the machine."""

import contextlib
import ctypes
import functools
import os
import platform

import torch

from w2s.cards import SHARED


def setup(name="auto", dtype="float32", unfit=""):
    """The torch.device called `name` ("auto": cuda when there is one, else mps, Apple's GPU), with
    torch's settings for speed on it. Without torchrun "cuda" is the first GPU, with it the
    process's own. unfit: why mps cannot do this work, which auto then gives to the CPU.

    Raises ValueError for a device that is not there and for a dtype that does not work."""
    if dtype == "float16":
        raise ValueError("--dtype float16: pythia-14m overflows in float16 and its loss becomes "
                         "NaN; use bfloat16 or float32")
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"--dtype {dtype}: choose float32 or bfloat16")
    if name == "auto":  # a process that was given a card must not take the CPU where it fails
        name = "cuda" if torch.cuda.is_available() or SHARED in os.environ else "cpu"
        if name == "cpu" and has_mps() and dtype == "float32" and not unfit:
            name = "mps"
    several = os.environ.get("WORLD_SIZE", "1") != "1"  # of one process LOCAL_RANK is a leftover
    if name == "cuda" and several and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device {name}: no such device; use auto, cpu, cuda or mps") from None
    if device.type not in ("cpu", "cuda", "mps") or device.type != "cuda" and device.index:
        raise ValueError(f"--device {name}: only cpu, cuda and mps are supported")
    if device.type == "mps":
        require_mps(dtype, unfit)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: this machine has no usable CUDA device; use cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA "
                         "device(s), counted from 0")
    if device.type == "cpu":
        keep_memory()
        keep_kernels()
        fast_float32()
    elif device.type == "cuda":
        torch.cuda.set_device(device.index or 0)  # else pinned memory would open the first card
        # no TF32: its 11 bits are no float32, and labels, measurements and guarantees are
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
    return device


def has_mps():
    """Whether this is a Mac whose GPU torch can use."""
    return torch.backends.mps.is_available()


def require_mps(dtype, unfit):
    """ValueError where there is no Apple GPU, or it cannot do the work."""
    if not has_mps():
        raise ValueError("--device mps: this machine has no Apple GPU that torch can use; use cpu")
    if dtype != "float32":
        raise ValueError(f"--dtype {dtype}: not with --device mps, which computes in float32; "
                         "leave one of them out")
    if unfit:
        raise ValueError(f"--device mps: {unfit}; use cpu")


def widest(device):
    """The dtype of sums: float64, which mps does not have."""
    return torch.float32 if device.type == "mps" else torch.float64


def free_memory(device):
    """Bytes of a CUDA device that this process may still take: those that are free, and those that
    torch keeps without using them."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def pinned(value, device):
    """Copy to the device, on CUDA an asynchronous one through pinned memory."""
    if torch.device(device).type != "cuda":
        return value.to(device)
    return value.pin_memory().to(device, non_blocking=True)


def autocast(device, dtype):
    """Context in which matrix products run in bfloat16; for float32 one that changes nothing."""
    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def keep_memory():
    """Let glibc keep freed blocks instead of returning each to the kernel: up to 60 % of an LM step
    was page faults (14m: 970 -> 391-446 ms). Elsewhere than on glibc nothing happens."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 64 << 20)):  # MMAP_MAX, TRIM, TOP_PAD
            libc.mallopt(option, value)


def keep_kernels():
    """Let oneDNN keep the kernels of 8,192 shapes, not of 1,024: rows of 60 lengths take more, and
    one that was dropped is made anew (14m, rows as long as SST-2's: 2.5 times the time). It asks
    for this at its first product."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")


def fast_float32():
    """Send float32 matrix products to oneDNN: up to 2x MKL's rate on AMD, as exact. Where the CPU
    would really round to bfloat16 (AMX), a probe sees it and takes the route back."""
    backend = getattr(torch.backends.mkldnn, "matmul", None)
    if backend is None or not torch.backends.mkldnn.is_available():
        return
    try:
        before = backend.fp32_precision
        backend.fp32_precision = "bf16"
    except (AttributeError, RuntimeError):
        return
    draw = torch.Generator().manual_seed(0)  # its own, so that no other draw changes
    a, b = (torch.randn(64, 256, generator=draw), torch.randn(256, 64, generator=draw))
    exact = a.double() @ b.double()
    if ((a @ b) - exact).abs().max() > 1e-5 * exact.abs().max():
        backend.fp32_precision = before
    else:  # the same in torch's older words, or asking for them is an error
        torch.set_float32_matmul_precision("medium")


def pays_to_compile(choice, device, steps, vocabulary=0, private=False):
    """Whether to torch.compile a step that will run `steps` times; choice "auto", "on" or "off". On
    two CPU cores a cold compile costs as much as 1,600-1,800 steps of 14m save. For a language
    model with a full vocabulary it never pays on CPU: 1.12x the time (14m), since a loss that works
    in place makes fewer passes than inductor's code over all logits. On CUDA each of 3 to 8 widths
    takes 8 to 11 s of one core (14m, class head), and a step saves about 3 ms of launches: computed
    to pay from 20,000 steps on, and never for a private step, of which a width takes 40 s. Raises
    ValueError for "on" where torch cannot compile."""
    if device.type == "mps":
        if choice == "on":
            raise ValueError("--compile on: not with --device mps; leave one of them out")
        return False
    if device.type == "cpu":
        pays = steps >= 2000 and vocabulary < 2 ** 14
    else:
        pays = steps >= 20000 and not private
    if choice == "off" or choice == "auto" and not pays:
        return False
    if (why := no_compiler(device.type)) and choice == "on":
        raise ValueError(f"--compile on: torch cannot compile here ({why}); install g++ (on CUDA "
                         "gcc too), or say --compile off")
    if why:
        print(f"note: steps are not compiled: torch cannot compile here ({why})", flush=True)
    return not why


@functools.cache
def no_compiler(kind):
    """Why torch.compile does not work on this kind of device, found by compiling a sum; None where
    it does. Slim images lack a compiler, headers, or a folder to write to."""
    if kind == "cuda" and not torch.cuda.is_available():
        return None
    try:
        x = torch.ones(3, device=kind)
        torch.compile(lambda x: (x + 1).sin().sum(), dynamic=True)(x).item()
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if "compiler" in line.lower()), (lines or [""])[0])
        return f"{type(error).__name__}: {reason[:150]}"


def compiled(function, device, parameters):
    """torch.compile for this device, of a function of a model with this number of parameters. CPU:
    one program for all lengths (dynamic=True: 4 % slower, never compiled again). CUDA: one for each
    of the few lengths to which step.make_step pads; below 200M parameters as a CUDA graph, since
    some 500 kernels of a few microseconds would wait for their launches. The next call of a graph
    overwrites the result of the last one."""
    if device.type == "cpu":
        return torch.compile(function, dynamic=True)
    # beyond the limit dynamo runs the function uncompiled
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    mode = "reduce-overhead" if parameters < 2e8 else None
    run = torch.compile(function, dynamic=False, mode=mode)

    def step(*args, **named):
        torch.compiler.cudagraph_mark_step_begin()  # the last call's results are no longer needed
        return run(*args, **named)
    return step
