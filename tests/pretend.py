"""A GPU that is not there: scripts run with --device cuda, and what a GPU would refuse is refused.

    python -m tests.pretend train_weak.py --task fairness ... --device cuda

Or Apple's, --device mps: it has no float64 and no pinned memory, and nothing may ask for CUDA.

Every tensor is on the CPU, and it is known where it would be. An operation fails if its tensors are
in different places, if a generator of another place draws, or if numpy asks for a tensor on the
card. `device` answers "cuda", so that the code takes its CUDA branches. What a step that would be a
CUDA graph gave out is NaN from its next call on. `waits` notes what would wait for a card: an
answer that Python asks for, a copy that is not asynchronous. Kernels, compilation, streams and
memory are not tried, nor what autograd does by itself: a tensor of unknown place passes everywhere.
"""

import runpy
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

CPU = torch.device("cpu")
PROPERTIES = {torch.Tensor.device: lambda place: place,
              torch.Tensor.is_cuda: lambda place: place.type == "cuda",
              torch.Tensor.is_cpu: lambda place: place == CPU}
JOINT = ("cat", "stack", "mm", "addmm", "linear")  # refuse a number from elsewhere too
ANYWHERE = ("copy_", "__set__", "_has_compatible_shallow_copy_type")
ASKS = ("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "nonzero", "equal",
        "allclose", "unique", "masked_select", "is_nonzero", "numpy", "argwhere")
ANSWERS = {"is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0,
           "get_device_name": "pretended", "get_device_capability": (9, 0), "set_device": None,
           "get_device_properties": SimpleNamespace(total_memory=80 * 2 ** 30, major=9, minor=0),
           "mem_get_info": (2 ** 36, 2 ** 36), "memory_allocated": 0, "max_memory_allocated": 0,
           "memory_reserved": 0,
           "reset_peak_memory_stats": None, "empty_cache": None, "synchronize": None,
           "is_current_stream_capturing": False}


class Card(TorchFunctionMode):
    """known: {storage's address: (its place, the storage itself: no other gets the address)}; gpu:
    the device that is pretended; waits: names of what would have waited for it; fixed: addresses of
    pinned storages"""

    def __init__(self, kind="cuda"):
        super().__init__()
        self.known, self.gpu, self.waits, self.fixed = {}, torch.device(kind, 0), [], set()

    def place(self, x):
        """The pretended GPU, CPU or None."""
        return self.known.get(storage(x)._cdata, (None,))[0]

    def put(self, x, place):
        if place.type == "mps" and x.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework "
                            "doesn't support float64")
        self.known[storage(x)._cdata] = place, storage(x)
        return x

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, kwargs = getattr(function, "__name__", str(function)), dict(kwargs or {})
        if name == "__get__":
            return self.get(function, *args)
        self.count(name, args, kwargs)
        if name in ("to", "cpu", "cuda"):
            return self.move(name, *args, **kwargs)
        if name in ("numpy", "__array__", "pin_memory") and self.place(args[0]) == self.gpu:
            raise TypeError(f"{name}: can't convert a tensor on {self.gpu}")
        if name == "pin_memory" and self.gpu.type == "mps":
            raise RuntimeError("pin_memory: no memory is pinned for mps")
        if name == "pin_memory":
            self.fixed.add(storage(args[0])._cdata)
            return args[0]
        inputs, here = tensors((args, kwargs)), kwargs.get("device")
        if here is not None:
            here, kwargs["device"] = self.named(here), "cpu"
        here = here or (CPU if name == "tensor" else self.common(name, args, inputs))
        pin = kwargs.pop("pin_memory", None)
        draw = kwargs.get("generator")
        if draw is not None and here and draw.device.type != here.type:
            raise RuntimeError(f"{name}: expected a generator on {here}, got {draw.device}")
        out = function(*args, **kwargs)
        if name in ("as_tensor", "asarray") and inputs and self.place(inputs[0]) != here:
            out = out.clone()
        for x in tensors(out):
            if here and not self.place(x):
                self.put(x, here)
            if pin:
                self.fixed.add(storage(x)._cdata)
        return out

    def count(self, name, args, kwargs):
        """Note a call that would wait. What autograd made, of unknown place, is on the card."""
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        there = first is not None and self.place(first) != CPU
        masks = [x for x in tensors(args[1:2]) if x.dtype == torch.bool and self.place(x) != CPU]
        if (name in ASKS and there or name in ("__getitem__", "__setitem__") and masks
                or name == "tensor" and "cuda" in str(kwargs.get("device"))):
            self.waits.append(name)
        elif name == "copy_" and there != (self.place(args[1]) != CPU):
            self.copy(name, args[0] if there is False else args[1], kwargs)

    def copy(self, name, on_cpu, kwargs):
        """Note a copy between card and CPU: only one that need not be waited for, of pinned memory,
        is none."""
        if not kwargs.get("non_blocking") or storage(on_cpu)._cdata not in self.fixed:
            self.waits.append(name)

    def named(self, device):
        """The place that a device's name means. No other GPU than the pretended one is there."""
        kind = torch.device(device).type
        if kind not in ("cpu", "meta", self.gpu.type):
            raise RuntimeError(f"{kind}: no such device here, only {self.gpu}")
        return self.gpu if kind == self.gpu.type else CPU

    def common(self, name, args, inputs):
        """The place of an operation on these tensors, None if unknown."""
        if name in ("__getitem__", "__setitem__"):
            if self.place(args[0]) == CPU and self.gpu in map(self.place, tensors(args[1])):
                raise RuntimeError("indices should be either on cpu or on the indexed tensor's")
            inputs = tensors((args[0], args[2:]))
        found = {self.place(x): x.shape for x in inputs
                 if x.ndim or name in JOINT or self.place(x) == self.gpu}
        found.pop(None, None)
        if len(found) > 1 and name not in ANYWHERE:
            raise RuntimeError(f"{name}: Expected all tensors to be on the same device: {found}")
        if not found:
            found = {self.place(x) for x in inputs} or {CPU}
        return next(iter(found))

    def get(self, getter, x, *rest):
        for what, answer in PROPERTIES.items():
            if getter == what.__get__:
                return answer(self.place(x) or self.gpu)
        out = getter(x, *rest)
        if isinstance(out, torch.Tensor) and self.place(x) and not self.place(out):
            self.put(out, self.place(x))          # a parameter's gradient
        return out

    def move(self, name, x, *args, copy=False, **kwargs):
        if name != "to":
            args = (name,)
        if isinstance(args[:1] and args[0], torch.Tensor):
            there, dtype = self.place(args[0]), args[0].dtype
        else:
            there, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        here = self.place(x)
        there = here if there is None else self.named(there)
        if there and (here != CPU) != (there != CPU):
            if here == CPU:
                self.copy(name, x, kwargs)
            else:
                self.waits.append(name)
        out = x.to(dtype or x.dtype, copy=copy or there != here)
        return self.put(out, there) if there else out


def tensors(found):
    return [x for x in tree_leaves(found) if isinstance(x, torch.Tensor)]


def storage(x):
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return x.untyped_storage()


class Generator(torch.Generator):
    def __new__(cls, device="cpu"):
        self = super().__new__(cls, "cpu")
        self.where = torch.device(device)
        return self

    @property
    def device(self):
        return self.where


def graphed(function, mode=None, **_):
    """torch.compile that does not compile; what a graph gave out is lost at its next call."""
    given = []

    def run(*args, **named):
        for x in given:
            x.fill_(torch.nan) if x.is_floating_point() else x.zero_()
        out = function(*args, **named)
        given[:] = [x.detach() for x in tensors(out)]
        return out
    return run if mode == "reduce-overhead" else function


def pretend(patch, kind="cuda"):
    """Patch what looks for a card with `patch`, pytest's MonkeyPatch; returns the Card to enter."""
    import torch._dynamo  # its table of torch's functions is made before any is patched
    if kind == "mps":
        patch.setattr(torch.backends.mps, "is_available", lambda: True)
    for name, value in ANSWERS.items() if kind == "cuda" else ():
        patch.setattr(torch.cuda, name, lambda *_, value=value, **__: value)
    patch.setattr(torch, "Generator", Generator)
    patch.setattr(torch, "compile", graphed)
    begin = torch.autocast.__init__
    patch.setattr(torch.autocast, "__init__", lambda self, kind, *args, **named:
                  begin(self, "cpu", *args, **named))
    for name in ("is_autocast_enabled", "get_autocast_dtype"):
        of = getattr(torch, name)
        patch.setattr(torch, name, lambda *_, of=of: of("cpu"))
    from torch.nn.utils import clip_grad              # which asks C++ for the device of gradients
    groups = clip_grad._group_tensors_by_device_and_dtype
    patch.setattr(clip_grad, "_group_tensors_by_device_and_dtype", lambda *of: {
        (lists[0][0].device, dtype): (lists, n) for (_, dtype), (lists, n) in groups(*of).items()})
    card, of_array = Card(kind), torch.from_numpy     # which no mode sees
    patch.setattr(torch, "from_numpy", lambda array: card.put(of_array(array), CPU))
    return card


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    kind = "mps" if "mps" in sys.argv else "cuda"
    with pytest.MonkeyPatch.context() as patch, pretend(patch, kind):
        runpy.run_path(sys.argv[0], run_name="__main__")
