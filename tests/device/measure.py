"""How a part measures: time of calls, kernels, memory; and what it works on."""

import gc
import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.bench import growth, harness, machine, models
from w2s import device as devices
from w2s.model import checkpoint


SECONDS, ROUNDS = .5, 7    # of a time that is measured


def card(rec):
    """(device, of(real, tiny)): the card, or the pretended one, set as the scripts set it (the CPU
    in a part for which none is pretended); and the choice between a size for a card and a CPU."""
    global SECONDS, ROUNDS
    if rec.pretended:
        SECONDS, ROUNDS = .01, 2
    name = "cpu" if rec.pretended and not torch.cuda.is_available() else "cuda"
    return devices.setup(name), lambda real, tiny: tiny if rec.pretended else real


def whole_float32(device):
    """Products in float32 from here on, not TF32."""
    if device.type == "cuda":
        machine.settings(device, False)


def saved(shape, folder):
    """A language model of random weights, and its folder with a tokenizer."""
    config = models.config_of(shape)
    config = config | {"vocab_size": max(2048, config["vocab_size"])}  # the tokenizer's
    model = models.drawn(config, "lm", torch.device("cpu"))
    checkpoint.save(model, folder, growth.TOKENIZER)
    return model


def paced(run, device):
    """{ms, iqr, first_s} of a call: the first one apart, then ROUNDS of as many calls as fill
    SECONDS in all, which the card does without waiting between them; the median round."""
    first = machine.seconds(run, device)
    spent = min(machine.seconds(run, device) for _ in "12")
    calls = max(1, int(SECONDS / ROUNDS / max(spent, 1e-6)))

    def block():
        for _ in range(calls):
            run()
    low, middle, high = harness.quartiles(machine.seconds(block, device) / calls
                                          for _ in range(ROUNDS))
    return {"ms": 1e3 * middle, "iqr": (high - low) / middle, "first_s": first}


def traced(run, device, pretended, calls=3):
    """(kernels of a call, milliseconds of a call in which some kernel runs)."""
    kinds = torch.profiler.ProfilerActivity, torch.autograd.DeviceType
    activity, kind = (each.CPU if pretended else each.CUDA for each in kinds)
    run()
    with torch.profiler.profile(activities=[activity]) as profile:
        for _ in range(calls):
            run()
        machine.wait(device)
    spans = [(event.name, event.time_range.start, event.time_range.end)
             for event in profile.events() if event.device_type == kind
             and not getattr(event, "is_user_annotation", False)]
    kernels = [name for name, *_ in spans if not name.startswith(("Memcpy", "Memset"))]
    return len(kernels) / calls, covered(spans) / calls / 1e3


def covered(spans):
    """Microseconds that are in some of the spans (name, start, end)."""
    total, until = 0, float("-inf")
    for _, start, end in sorted(spans, key=lambda span: span[1]):
        total += max(0, end - max(start, until))
        until = max(until, end)
    return total


# ---- memory --------------------------------------------------------------------------------------

class Live(TorchDispatchMode):
    """Bytes of the tensors that exist and were made inside, now and at most: what a card's
    allocator counts, where there is none."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.known = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for x in torch.utils._pytree.tree_leaves(out):
            if isinstance(x, torch.Tensor):
                self.note(x.untyped_storage())
        return out

    def note(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self.drop, key, size)

    def drop(self, key, size):
        self.known.discard(key)
        self.now -= size


def peak(work, pretended):
    """Bytes at most of everything that work() makes and needs."""
    clear()
    if pretended:
        with Live() as live:
            work()
        return live.most
    before = torch.cuda.memory_allocated()
    work()
    return torch.cuda.max_memory_allocated() - before


def clear():
    """Give back what nobody holds any more, and forget how much it was."""
    gc.collect()
    torch.cuda.empty_cache()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def error(found, expected):
    """The largest difference, in times of the largest number that is expected."""
    found, expected = (x.detach().cpu().double() for x in (found, expected))
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
