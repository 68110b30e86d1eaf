"""A process group of one: opened, a model shared out in it, three steps, a barrier.

Against the same without a group. Without a card over gloo.
"""

import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file

from tests import several
from tests.device import measure

SAME = 1e-5


def run(rec):
    device, _ = measure.card(rec)
    measure.whole_float32(device)
    with tempfile.TemporaryDirectory() as name, rec.piece("shared out"):
        folder = Path(name)
        measure.saved("tiny", folder / "model")
        how = dict(folder=folder / "model", rows=5, clip_norm=.2, device=device)
        plain = several.descend(out=folder / "plain.safetensors", **how)
        if device.type == "cuda":
            torch.cuda.set_device(0)
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
                                store=dist.HashStore(), rank=0, world_size=1)
        shared = several.descend(out=folder / "shared.safetensors", shard=True, **how)
        dist.barrier()
        dist.destroy_process_group()
        rec.check("losses", max(abs(a - b) / abs(a) for a, b in zip(plain, shared, strict=True)),
                  high=SAME, hard=True)
        known, found = (load_file(folder / f"{way}.safetensors") for way in ("plain", "shared"))
        rec.check("weights", max(measure.error(found[key], value) for key, value in known.items()
                                 if value.any()), high=SAME, hard=True)
