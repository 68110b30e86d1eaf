"""Batches in a fixed random order, and the training step that both training scripts share.

B rows, T tokens, K classes, N rows of a split, k the number of the step, counted from 0.
"""

import functools
import hashlib
import inspect
import math

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open

from w2s import parallel
from w2s import device as devices
from w2s.model import checkpoint
from w2s.train import losses

WINDOW = 32  # batches' worth of shuffled rows that are sorted by length together
HELD = 2 ** 30  # bytes of columns held on a GPU, at most: 250M tokens
WIDTH = 64  # tokens of which a compiled batch on CUDA has a multiple
ON_CPU = ("rows", "pool")  # columns that nothing on a GPU reads, so that nobody waits to know them


def seed_of(*parts):
    """A 63-bit seed of (seed, purpose, ...): every draw has its own, so resuming needs no state."""
    # a hash, since sums of seed and step would give runs of neighbouring seeds the same draws
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def normal(shape, *parts, device="cpu"):
    """Standard normal float32 of `shape`, drawn on `device` from (seed, purpose, step)."""
    draw = torch.Generator(device).manual_seed(seed_of(*parts))
    return torch.randn(shape, generator=draw, device=device)


def count_steps(n, epochs, batch_size):
    """Optimizer steps in `epochs` passes, whole or not, over n rows; at least one, but none
    for epochs = 0, the untuned model."""
    return max(1, round(epochs * math.ceil(n / batch_size))) if epochs else 0


def order(lengths, batch_size, seed, epoch):
    """List of index arrays, the batches of an epoch: shuffled, then sorted by length in windows of
    32 batches so that little padding is computed (1.9x on SST-2 lengths), then shuffled again."""
    # of seed and epoch alone: a resumed run makes the same order again
    draw = np.random.Generator(np.random.PCG64(seed_of(seed, "order", epoch)))
    shuffled = draw.permutation(len(lengths))
    window = WINDOW * batch_size
    groups = []
    for start in range(0, len(shuffled), window):
        part = shuffled[start:start + window]
        part = part[np.argsort(lengths[part], kind="stable")]
        groups += [part[i:i + batch_size] for i in range(0, len(part), batch_size)]
    return [groups[i] for i in draw.permutation(len(groups))]


def batches(columns, steps, batch_size, seed, start=0, device="cpu", width=0, first=None):
    """Yield (k, batch) for steps start .. steps - 1.

    columns: {"ids": list of N token arrays, "target": (N, K), ...} as a task's encode makes them.
    A batch has ids (B, T) padded with 0 to its longest row, len (B,), one row of each array, and
    rows (B,), the rows' positions in the file. width: hidden size, for tasks that draw something
    per token and dimension; nothing is drawn here. first (N,): the rows in the order of the first
    epoch, as they stand, in place of a shuffled one; later epochs are as without.
    """
    lengths, batch_of = row_lengths(columns), collator(columns, device)
    per_epoch = math.ceil(len(lengths) / batch_size)
    # epochs that ended before the resume are not shuffled at all
    for epoch in range(start // per_epoch, math.ceil(steps / per_epoch)):
        groups = order(lengths, batch_size, seed, epoch) if epoch or first is None else np.split(
            first, range(batch_size, len(first), batch_size))
        for i, pick in enumerate(groups):
            k = epoch * per_epoch + i
            if start <= k < steps:
                yield k, batch_of(pick)


def row_lengths(columns):
    """(N,) tokens of each row, over all its texts."""
    return sum(np.array([len(ids) for ids in column])
               for column in columns.values() if isinstance(column, list))


def collate(columns, pick, device="cpu"):
    """The batch of rows `pick` (B,): token lists padded, arrays indexed; ON_CPU stay there."""
    on_cpu = torch.device(device).type == "cpu"
    batch = {}
    for key, column in columns.items():
        if isinstance(column, list):
            ids = [column[i] for i in pick]
            width = width_of(max(map(len, ids), default=1), device)
            # filled on the CPU, so that a column is copied to the GPU once and not row by row
            padded = np.zeros((len(ids), width), dtype=np.int64)
            for row, values in zip(padded, ids):
                row[:len(values)] = values
            batch[key] = torch.from_numpy(padded)
            batch[key.replace("ids", "len")] = torch.tensor(list(map(len, ids)), dtype=torch.int64)
        else:
            batch[key] = torch.from_numpy(column[pick])
    if not on_cpu:
        batch = {key: value if key in ON_CPU else devices.pinned(value, device)
                 for key, value in batch.items()}
    return batch | {"rows": torch.as_tensor(pick)}


def width_of(longest, device):
    """Width of a batch whose longest row has so many tokens; on a GPU a multiple of 8, as its units
    for matrix products want it."""
    return longest if torch.device(device).type == "cpu" else -(-longest // 8) * 8


def fixed_width(batch, multiple):
    """The batch with its texts, mask and noise padded to a multiple of so many tokens: few shapes
    occur, for each of which a compiled step is made. Without lengths padding would be read."""
    texts = [key for key in batch if key.startswith(("ids", "mask", "noise")) and "len" in batch]
    extra = {key: -batch[key].shape[1] % multiple for key in texts}
    return batch | {key: F.pad(batch[key], (0, 0) * (batch[key].ndim - 2) + (0, n))
                    for key, n in extra.items() if n}


def collator(columns, device):
    """collate of these columns as a function of pick. On CUDA columns of at most HELD bytes stay
    on the GPU."""
    if torch.device(device).type != "cpu" and HELD >= sum(
            4 * sum(map(len, column)) if isinstance(column, list) else column.nbytes
            for column in columns.values()):
        return Held(columns, device).batch
    return lambda pick: collate(columns, pick, device)


class Held:
    """Columns of N rows on the GPU. A batch is gathered there: only `pick` is copied."""

    def __init__(self, columns, device):
        self.device, self.texts, self.tables = device, {}, {}
        for key, column in columns.items():
            if isinstance(column, list):
                tokens = np.concatenate([*column, [0]]).astype(np.int32)  # one for empty rows
                first = np.cumsum([0, *map(len, column)])
                self.texts[key] = np.diff(first), *(
                    torch.from_numpy(x).to(device) for x in (tokens, first))
            else:
                column = torch.from_numpy(column)
                self.tables[key] = column if key in ON_CPU else column.to(device)

    def batch(self, pick):
        """The batch of rows `pick` (B,), equal to collate's."""
        rows = torch.as_tensor(pick)
        index = devices.pinned(rows, self.device)
        batch = {key: table[rows if key in ON_CPU else index]
                 for key, table in self.tables.items()}
        for key, (lengths, tokens, first) in self.texts.items():
            place = torch.arange(width_of(int(lengths[pick].max(initial=1)), self.device),
                                 device=self.device)
            length = first[index + 1] - first[index]                              # (B,)
            source = (first[index][:, None] + place).clamp_(max=len(tokens) - 1)  # (B, T)
            batch[key] = torch.where(place < length[:, None], tokens[source], 0).long()
            batch[key.replace("ids", "len")] = length
        return batch | {"rows": rows}


def cosine(k, steps, warmup=0):
    """Share of the peak learning rate at step k: from 1 to 0 along half a cosine; in the first
    `warmup` steps times (k + 1) / warmup."""
    return 0.5 * (1 + math.cos(math.pi * k / steps)) * min(1, (k + 1) / max(1, warmup))


def peak_lr(parameters):
    """Default learning rate by size (ours, reading E13): 5e-5, from 1B parameters on 1e-5."""
    return 1e-5 if parameters >= 0.9e9 else 5e-5


def trained(model):
    """The parameters that train; with LoRA these are few."""
    return [p for p in model.parameters() if p.requires_grad]


def uncompiled(kind):
    """A class of torch.optim without its wrappers: at their first call they import the compiler, a
    second at the start of a command, to tell it where not to look. Nothing here compiles a step of
    an optimizer."""
    plain = {name: inspect.unwrap(getattr(kind, name)) for name in
             ("step", "add_param_group", "zero_grad", "state_dict", "load_state_dict")}
    return type(kind.__name__, (kind,), plain | {"step": torch.no_grad()(plain["step"])})


AdamW, SGD = uncompiled(torch.optim.AdamW), uncompiled(torch.optim.SGD)


def adamw(model, lr, weight_decay=0.0, betas=(0.9, 0.999)):
    """Fused AdamW over all parameters that train (3x the foreach one on CPU)."""
    return AdamW(trained(model), lr=lr, weight_decay=weight_decay, betas=betas, fused=True)


def sgd(model, lr, weight_decay=0.0):
    """Plain SGD over all parameters that train."""
    return SGD(trained(model), lr=lr, weight_decay=weight_decay)


OPTIMIZERS = {"adamw": adamw, "sgd": sgd}


class Objective:
    """A task's equation in its two halves, the task's options bound: forward(f, batch, lam) ->
    {"x": logits (B, K), ...} and loss(logits, batch, ell, lam) -> (B,). Between them a student's
    predictions are hardened, so that one forward pass serves both terms of Eq. (1)."""

    def __init__(self, task, **options):
        self.forward, self.loss = (functools.partial(half, **{
            key: value for key, value in options.items()
            if key in inspect.signature(half).parameters}) for half in (task.forward, task.loss))

    def __call__(self, f, batch, ell, lam):
        return self.loss(self.forward(f, batch, lam), batch, ell, lam)


def make_step(model, optimizer, objective, ell, lam, steps, *, clip_norm=1.0, dtype="float32",
              compile=False, hardening=None, warmup=0):
    """The training step: step(k, batch) -> mean loss (a 0-d tensor without gradient).

    objective(f, batch, ell, lam) -> (B,) with f = model. With `hardening` ({"x": Hardening, ...})
    it is an Objective, and ell gets the student's hardened predictions, f_hat_t of Eq. (1), made of
    the logits of the very same forward pass and without gradient. Several processes of torchrun
    each compute the model on their share of the batch, which is the same everywhere (w2s.parallel).
    Raises ValueError on a non-finite loss, naming the rows (on CUDA nobody waits for it: the next
    line of the log notices). On CUDA weights of rows belong into the mask of nll: TokenNLL does not
    wait to see whether all rows have one gradient.
    """
    device, peak = next(model.parameters()).device, optimizer.defaults["lr"]
    model.even = on_card = device.type == "cuda"
    f, several = model, parallel.world() > 1
    if several:  # the model alone is compiled: the processes wait for each other between passes,
        # which no graph of several passes can hold
        f = parallel.Spread(model, devices.compiled(model, device, math.inf) if compile else model)

    def losses_of(batch):
        return objective(f, batch, ell, lam)

    def logits_of(batch):
        return objective.forward(f, batch, lam)

    if compile and not several:
        size = sum(p.numel() for p in model.parameters())
        losses_of, logits_of = (devices.compiled(g, device, size) for g in (losses_of, logits_of))

    def step(k, batch):
        for group in optimizer.param_groups:
            group["lr"] = peak * cosine(k, steps, warmup)
        with devices.autocast(device, dtype):
            inputs = {key: value for key, value in batch.items() if key not in ON_CPU}
            inputs = fixed_width(inputs, WIDTH) if compile and on_card else inputs
            if hardening:  # Eq. (1): logits, hardened prediction, loss
                logits = logits_of(inputs)                            # {"x": (B, K), "x_adv": ...}
                inputs |= hardened(logits, batch, hardening)          # {"hard": (B, K), ...}
                loss = objective.loss(logits, inputs, ell, lam).mean()
            else:
                loss = losses_of(inputs).mean()
        if device.type == "cpu" and not math.isfinite(loss.item()):
            raise ValueError(f"the loss of step {k} is {loss.item()}; rows of the batch: "
                             f"{batch['rows'].tolist()}; try a smaller --lr or --lam")
        loss.backward()
        descend(model, optimizer, clip_norm)
        return loss.detach()

    return step


def descend(model, optimizer, clip_norm):
    """A step of the optimizer by the sum of all processes' gradients, clipped to clip_norm (0: not
    clipped)."""
    parallel.add_gradients(model)
    if clip_norm:
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def hardened(logits, batch, hardening):
    """{"hard": (B, K), "hard_adv": ...}: f_hat_t of Eq. (1), without gradient, of the logits
    {"x": (B, K), "x_adv": ...}, by the Hardening of each."""
    return {name.replace("x", "hard"): harden(losses.wide(logits[name].detach()).softmax(-1),
                                              batch.get("pool"))
            for name, harden in hardening.items()}


def ground_truth(logits, batch):
    """ell of the weak stage: cross-entropy on the label."""
    return losses.cross_entropy(logits, batch["target"])


def weak_label(logits, batch):
    """ell of the student stage: Eq. (1), with alpha (B,) and hard (B, K) from the batch; without
    `alpha` there, the naive student: cross-entropy on the weak label."""
    if "alpha" not in batch:
        return losses.cross_entropy(logits, batch["target"])
    return losses.wts_aux(logits, batch["target"], batch["alpha"], batch["hard"])


def save_checkpoint(path, k, model, optimizer, states=None, behind=None):
    """What step k needs, written all or nothing: parameters, AdamW's moments, and states {name:
    what has a state_dict of tensors}, such as recent scores or the accountant's history. Every
    process calls it, the first one writes, or with behind.Behind a thread of it."""
    tensors = {f"model/{name}": p for name, p in model.state_dict().items()}
    for name, p in model.named_parameters():
        for key, value in optimizer.state[p].items():
            tensors[f"optimizer/{key}/{name}"] = value
    for name, source in (states or {}).items():
        tensors |= {f"{name}/{key}": value for key, value in source.state_dict().items()}
    # under another name first: an interrupted write leaves the last checkpoint whole
    part = path.with_name(f".{path.name}.part")

    def write(tensors):
        try:
            parallel.write(part, tensors, {"step": str(k)})
            if not parallel.rank():
                part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise OSError(error.errno or 28, f"checkpoint not written ({error})",
                          str(path)) from None
    behind.write(write, tensors) if behind else write(tensors)


def _are_moments(step, exp_avg, exp_avg_sq, p):
    """Whether these are AdamW's of the parameter p. Wrong shapes have to be found here: the fused
    optimizer would read beyond the tensor. A second moment may be infinite: the weight stands still
    then."""
    return (step.dtype == torch.float32 and step.numel() == 1 and bool(1 <= step < 2 ** 24)
            and all(moment.shape == p.shape and moment.dtype == p.dtype
                    for moment in (exp_avg, exp_avg_sq))
            and checkpoint.finite(exp_avg) and not parallel.local(exp_avg_sq).isnan().any())


def load_checkpoint(path, model, optimizer, states=None, idle=False):
    """Put a checkpoint back, whatever the number of processes that wrote it; returns the step to go
    on from, 0 when there is none. idle: the optimizer may not have made a step yet (GRPO without a
    signal). Raises ValueError for one that is damaged, or another model's."""
    if not path.exists():
        return 0
    if not path.is_file():  # a pipe would be waited for
        raise ValueError(f"{path}: not a file; delete it to start over")
    device = next(model.parameters()).device
    place = {f"{kind}/{name}": p for name, p in model.state_dict().items()
             for kind in ("model", "optimizer/exp_avg", "optimizer/exp_avg_sq")}
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            # clone: the file aligns tensors differently, and then vector code rounds differently
            tensors = {key: parallel.read(file, key, place.get(key), device)
                       for key in file.keys()}
            k = int(file.metadata()["step"])
            if k < 1:
                raise ValueError(f"step {k}")
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: damaged checkpoint ({error}); delete it to start over") from None
    weights = {key[6:]: value for key, value in tensors.items() if key.startswith("model/")}
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise ValueError(f"{path}: another model's checkpoint; delete it to start over") from None
    for name, p in model.state_dict().items():
        if weights[name].dtype != p.dtype or not checkpoint.finite(p):
            raise ValueError(f"{path}: damaged checkpoint ({name} is of another type or not "
                             "finite); delete it to start over")
    for name, p in model.named_parameters():
        state = {key: tensors.get(f"optimizer/{key}/{name}")
                 for key in ("step", "exp_avg", "exp_avg_sq")}
        moments = [value for value in state.values() if value is not None]
        if moments:  # else: above --head-layer -2
            if len(moments) < 3 or not _are_moments(**state, p=p):
                raise ValueError(f"{path}: damaged checkpoint (the moments of {name} have another "
                                 "shape or type, or are not finite); delete it to start over")
            optimizer.state[p] = state
    if not optimizer.state and isinstance(optimizer, torch.optim.AdamW) and not idle:
        raise ValueError(f"{path}: no optimizer state in this checkpoint; delete it to start over")
    for name, target in (states or {}).items():
        try:
            target.load_state_dict({key.split("/")[1]: value for key, value in tensors.items()
                                    if key.startswith(name + "/")})
        except (KeyError, RuntimeError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"{path}: damaged checkpoint ({name}: {error}); delete it to start "
                             "over") from None
    return k
