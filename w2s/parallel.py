"""Several processes of torchrun train one model: replicated, or sharded over them (FSDP2).

Every process collates the whole batch and draws all of its noise, as one process does. Only the
model sees a share: `Spread` gives it the rows rank, rank + world, ..., and gathers the outputs of
all processes. So objective, hardened prediction and loss are those of the whole batch, the same
number everywhere. A process has the gradient of its own rows; the gradients of all processes add up
to those of a single one, but for the order of the sum.

    replicated   each process has the model; `add_gradients` after backward
    sharded      `shard`: torch.distributed.fsdp.fully_shard on each block and on the rest (Zhao et
                 al. 2023, arXiv 2304.11277), loaded by `read`, saved by `whole` and `write`

B rows, n rows of a parameter, W processes.
"""

import contextlib
import datetime
import functools
import json
import os
import sys
import threading
import warnings

import torch
import torch.distributed as dist
from torch.utils.checkpoint import checkpoint

from w2s.memory import ROOM, STATE

BUCKET = 2 ** 24           # numbers of gradient that travel together: 67 MB
LATE = 60                  # seconds after which a message says that we wait for the others
PATIENCE = datetime.timedelta(hours=2)  # timeout: the others wait while the first process writes
KINDS = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16",
         torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}


# ---- processes -----------------------------------------------------------------------------------

def join(device):
    """Join the process group that torchrun started, each process on its device. Returns (rank,
    number of processes), (0, 1) without torchrun. Raises ValueError for a device that several
    processes would share."""
    if int(os.environ.get("WORLD_SIZE", 1)) <= 1:
        return 0, 1
    if device.type == "cuda" and str(device.index) != os.environ.get("LOCAL_RANK"):
        raise ValueError(f"--device {device}: torchrun gives each process a GPU of its own; "
                         "say cuda")
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # a WORLD_SIZE left in the environment would make this wait in silence
        late = threading.Timer(LATE, print, [
            f"waiting for the other processes of torchrun: WORLD_SIZE is {os.environ['WORLD_SIZE']}"
            " in the environment; if there are none, unset it"], {"file": sys.stderr})
        late.daemon = True
        late.start()
        card = device.type == "cuda"  # device_id: NCCL would guess which one, and open others
        dist.init_process_group("cpu:gloo,cuda:nccl" if card else "gloo", timeout=PATIENCE,
                                device_id=device if card else None)
        late.cancel()
    return rank(), world()


def leave():
    """Wait for the other processes, then leave the group: one that ended first would look lost."""
    if world() > 1:
        dist.barrier()
        dist.destroy_process_group()


def world():
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank():
    """This process's number; number 0 writes files and messages for all."""
    return dist.get_rank() if world() > 1 else 0


# ---- the share of a batch ------------------------------------------------------------------------

class Spread:
    """The model as objectives call it, f(ids, lengths, noise=None) and f.nll(ids, lengths, mask),
    with each process computing its rows. run: the model, or what torch.compile made of it."""

    def __init__(self, model, run):
        self.model, self.run = model, run

    def __call__(self, *columns, **named):
        return together(self.run, *columns, **named)

    def nll(self, ids, lengths, mask):
        return together(self.run, ids, lengths, mask=mask)


def together(f, *columns, **named):
    """f of columns (B, ...) -> (B, ...): this process's rows are computed here and carry gradient,
    the others' come from their processes and carry none.

    A process without rows (B < W) computes row 0 and drops it: it has to take part in the
    collectives of forward and backward."""
    B, share = len(columns[0]), slice(rank(), None, world())
    taken = share if rank() < B else slice(1)
    outputs = f(*(x[taken] for x in columns),
                **{key: x if x is None else x[taken] for key, x in named.items()})
    outputs = outputs[:len(range(B)[share])]
    result = outputs.new_zeros(B, *outputs.shape[1:])
    result[share] = outputs.detach()
    dist.all_reduce(result)  # each row is x + 0 + ... + 0: exact in any order
    result[share] = outputs  # once more, now with gradient
    return result


def add(x):
    """The sum over all processes of a tensor without gradient, in place."""
    if world() > 1:
        dist.all_reduce(x)
    return x


@torch.no_grad()
def add_gradients(model):
    """Sum the gradients of a replicated model over all processes, in buckets: few large messages
    are faster than many small ones. Those of a sharded model are summed already, in backward."""
    if world() == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None and not sharded(p)]
    while gradients:
        bucket = [gradients.pop()]
        while gradients and sum(g.numel() for g in bucket) < BUCKET:
            bucket.append(gradients.pop())
        flat = torch.cat([g.flatten() for g in bucket])
        dist.all_reduce(flat)
        for g, part in zip(bucket, flat.split([g.numel() for g in bucket])):
            g.copy_(part.view_as(g))


def not_finite(model):
    """Name of a parameter that is not finite in some process, or None; every process calls it."""
    names, parameters = zip(*model.named_parameters())
    bad = torch.stack([~torch.isfinite(local(p)).all() for p in parameters]).int()
    if world() > 1:  # all have to stop together: one that goes on would wait for the others
        dist.all_reduce(bad, dist.ReduceOp.MAX)
    return names[int(bad.argmax())] if bool(bad.any()) else None


# ---- the model before its weights are read -------------------------------------------------------

def recompute(model):
    """Keep no activations inside blocks, in place: backward computes them again, with the same
    bits (Chen et al. 2016, arXiv 1604.06174). A third more work."""
    for block in model.blocks:
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False,
                                          preserve_rng_state=False)


def too_large(model, device):
    """Whether a copy of the model with its gradients and moments would not fit the device."""
    if device.type != "cuda":
        return False
    memory = torch.cuda.get_device_properties(device).total_memory
    return STATE * sum(p.numel() for p in model.parameters()) > ROOM * memory


def shard(model, device, dtype="float32"):
    """Share out each block of a model on the meta device, and what is left of it, in place: of each
    parameter a process holds torch.chunk's part of the rows, in float32.

    dtype "bfloat16": attention and MLP gather their weights as bfloat16. That is what autocast
    makes of them, so the numbers are those of a replicated model; but autocast would keep its casts
    of all weights until backward, and they do not fit. LayerNorms, embedding, head and the sums of
    gradients stay float32."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # never written to
    mesh = init_device_mesh(device.type, (world(),))
    half = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for block in model.blocks:
        for part in block.matrices() if dtype == "bfloat16" else ():
            fully_shard(part, mesh=mesh, mp_policy=half)
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):  # a sum over processes, not their mean
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no other


# ---- parameters that are shared out --------------------------------------------------------------

def sharded(p):
    """Whether p is a DTensor, of which this process holds some rows."""
    return hasattr(p, "placements")


def local(p):
    """What this process holds of p."""
    return p.to_local() if sharded(p) else p


def whole(p):
    """All of p; of a sharded one a copy on the CPU, for which every process has to call this."""
    return p.detach().full_tensor().cpu() if sharded(p) else p.detach().contiguous()


def read(file, key, p, device, dtype=None):
    """The tensor `key` of an open safetensors file, copied, for the parameter p. Of a sharded p (of
    this shape) only this process's rows are read, so that no process needs room for the model."""
    entry = file.get_slice(key)
    if not sharded(p) or tuple(entry.get_shape()) != tuple(p.shape):
        return file.get_tensor(key).to(device, dtype, copy=True)
    from torch.distributed.tensor import DTensor
    n = -(-len(p) // world())  # torch.chunk's rows a process: rounded up, the last ones get fewer
    first, end = (min(len(p), n * i) for i in (rank(), rank() + 1))
    share = entry[first:end] if first < end else torch.empty(0, *p.shape[1:])
    return DTensor.from_local(share.to(device, dtype, copy=True), p.device_mesh, p.placements,
                              run_check=False, shape=p.shape, stride=p.stride())


def write(path, tensors, metadata):
    """Write a safetensors file of tensors {name: tensor}, gathered one at a time: safetensors' own
    `save_file` wants them all in memory. Every process calls it, the first one writes. metadata:
    {str: str}."""
    if rank() and not any(map(sharded, tensors.values())):
        return
    tensors = dict(sorted(tensors.items(), key=lambda item: -item[1].itemsize))  # aligned
    header, end = {"__metadata__": metadata}, 0
    for name, p in tensors.items():
        start, end = end, end + p.numel() * p.itemsize
        header[name] = {"dtype": KINDS[p.dtype], "shape": list(p.shape),
                        "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with contextlib.nullcontext() if rank() else open(path, "wb") as file:
        if file:
            file.write(len(text).to_bytes(8, "little") + text)
        for p in tensors.values():
            p = whole(p)
            if file:
                file.write(p.cpu().view(-1).view(torch.uint8).numpy())
