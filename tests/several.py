"""What two processes of torchrun do for tests/test_torchrun.py, in one start of torch:

    python -m torch.distributed.run --nproc-per-node 2 -m tests.several JOBS OUT

JOBS: a JSON list of [name, function below, arguments]. OUT/<rank>.json gets {name: what it gave}.
"""

import contextlib
import functools
import importlib
import io
import json
import sys
from pathlib import Path
from unittest import mock

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from w2s import config, locks, parallel, runs
from w2s.model import checkpoint
from w2s.tasks import adversarial
from w2s.train import grpo, step

CPU = torch.device("cpu")


def script(name, argv, saves=None):
    """(exit code, what was printed) of a script; it is interrupted as soon as it has saved `saves`
    checkpoints."""
    module, count, said = importlib.import_module(name), [], io.StringIO()
    save = step.save_checkpoint

    def saved(*args):
        save(*args)
        count.append(1)
        if len(count) == saves:
            raise KeyboardInterrupt

    step.save_checkpoint = saved
    try:
        with contextlib.redirect_stdout(said):
            config.launch(module.main, module.Config, module.__doc__, argv)
    except SystemExit as exit:
        return exit.code or 0, said.getvalue()
    finally:
        step.save_checkpoint = save
        locks.release()


def batch(rows, seed=0, device=CPU):
    """A batch of the adversarial task, of `rows` rows of random tokens."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 50, (2, rows, 9), generator=draw)
    lengths = torch.randint(1, 10, (2, rows), generator=draw)
    target = torch.rand(2, rows, 3, generator=draw).softmax(-1)
    found = {"ids": ids[0], "len": lengths[0], "target": target[0],
             "ids_adv": ids[1], "len_adv": lengths[1], "target_adv": target[1]}
    return {key: value.to(device) for key, value in found.items()} | {"rows": torch.arange(rows)}


def descend(folder, out, rows, clip_norm=0.0, shard=False, recompute=False, dtype="float32",
            compile="", device=CPU):
    """Three steps of SGD, whose length is the gradient's: losses. The weights go to out. compile:
    the backend of torch.compile."""
    def ready(model):
        if recompute:
            parallel.recompute(model)
        if shard:
            parallel.shard(model, device, dtype)

    model = checkpoint.load(folder, "class", 3, device, ready=ready, read=parallel.read)
    with mock.patch.object(torch, "compile", functools.partial(torch.compile, backend=compile)):
        take = step.make_step(model, step.sgd(model, .3), adversarial.objective, step.ground_truth,
                              .5, 9, clip_norm=clip_norm, dtype=dtype, compile=bool(compile))
    losses = [float(take(k, batch(rows, k, device))) for k in range(3)]
    weights = {name: parallel.whole(p) for name, p in model.state_dict().items()}
    if not parallel.rank():
        save_file(weights, out)
    return losses


def sampled(folder, out, rows, **options):
    """Three steps of GRPO by SGD, rewarded for even tokens: losses and facts. Weights go to out."""
    def reward(row, tokens):
        return sum(token % 2 == 0 for token in tokens) / 6

    model = checkpoint.load(folder, "lm")
    take = grpo.make_step(model, step.sgd(model, 3), reward, 9, group=4, new_tokens=6, **options)
    found = [[float(take(k, batch(rows, k))), take.facts] for k in range(3)]
    if not parallel.rank():
        save_file(model.state_dict(), out)
    return found


def numbers_read(folder):
    """(numbers that this process reads of a model that is shared out, numbers of the model)."""
    read = []

    class Slice:
        def __init__(self, entry):
            self.entry, self.get_shape, self.get_dtype = entry, entry.get_shape, entry.get_dtype

        def __getitem__(self, rows):
            read.append(self.entry[rows].numel())
            return self.entry[rows]

    class File:
        def __init__(self, path, kind):
            self.context = safe_open(path, kind)

        def __enter__(self):
            self.file = self.context.__enter__()
            self.keys = self.file.keys
            return self

        def __exit__(self, *error):
            return self.context.__exit__(*error)

        def get_slice(self, key):
            return Slice(self.file.get_slice(key))

        def get_tensor(self, key):
            read.append(self.file.get_tensor(key).numel())
            return self.file.get_tensor(key)

    checkpoint.safe_open = File
    try:
        model = checkpoint.load(folder, "lm", ready=lambda m: parallel.shard(m, CPU),
                            read=parallel.read)
    finally:
        checkpoint.safe_open = safe_open
    held = sum(parallel.local(p).untyped_storage().nbytes() // 4 for p in model.parameters())
    return sum(read), held, sum(p.numel() for p in model.parameters())


def main():
    jobs, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    config.PATIENCE, leave = 0, parallel.leave
    parallel.leave = lambda: torch.distributed.barrier()
    torch.set_num_threads(1)
    parallel.join(CPU)
    found = {}
    for name, function, arguments in jobs:
        with open(out / f"{name}.{parallel.rank()}.err", "w") as file, \
                contextlib.redirect_stderr(file):
            found[name] = globals()[function](**arguments)
        torch.distributed.barrier()
    (out / f"{parallel.rank()}.json").write_text(json.dumps(found))
    leave()


if __name__ == "__main__":
    main()
