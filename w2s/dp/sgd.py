"""DP-SGD and DP-Adam by hand (Abadi et al. 2016, arXiv 1607.00133, Algorithm 1).

    1. Poisson sampling: each row is in a step's batch with probability q = B/N      `batches`
    2. per-sample gradients  g_i = grad l(theta, x_i)                                `func_sum`
    3. clip                  g_i <- g_i min(1, C / |g_i|)                            `clip_factor`
    4. noise and average     g~ = (sum_i g_i + N(0, sigma^2 C^2 I)) / B              `noise.add`
    5. a step of SGD or AdamW along g~                                               `make_step`

The paper prints max(1, C/|g|) (reading P1) and adds noise to the mean (P2); this is Abadi's. B is
the *expected* batch size: a batch has as many rows as were drawn, and one without rows is noise
alone. `func_sum` is the algorithm line by line, `fast_sum` computes the same sum by book-keeping.
Sums and noise are in float32 whatever the forward pass computes in.

Steps 1 and 5 are in dp/private_run.py, noise in dp/noise.py. Its generators are not cryptographic,
and whoever knows the seed can subtract the noise: train what you release with --noise-seed system
(readings P14 and P15).
"""

import contextlib
import math

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from w2s import parallel
from w2s.dp import ghost_clipping, noise
from w2s.dp.ghost_clipping import Tape
from w2s.dp.microbatch import first_tensor, lookups, micro_batches, pad, rows_at_once, unit
from w2s.model.network import Tied
from w2s.model.kernels import wide


class Gradient(dict):
    """{parameter name: private gradient}. Its attributes are for the log and *not* private: numbers
    of rows, of clipped and of nonfinite ones, and the mean loss (nan without rows)."""

    rows = clipped = nonfinite = 0
    loss = math.nan  # on CUDA a float64 tensor, which may still be computed


# ---- one private gradient ------------------------------------------------------------------------

def private_gradient(model, objective, batch, clip, sigma, expected_batch, generator,
                     method="auto", *, compile=False):
    """{parameter name: gradient}: steps 2 to 4 of Algorithm 1 for one batch.

    objective(f, batch) -> (B,) losses, f being the model or the model bound to parameters; batch: a
    dict of tensors whose first dimension is B >= 0 (with "func" a row keeps a leading dimension of
    1). clip: C; sigma: noise multiplier, the noise on the sum has standard deviation sigma C; the
    result is divided by expected_batch, whatever B is. method: "func", "fast", or "auto": fast
    where it knows all layers. A row whose gradient is not finite counts as zero; any other adds at
    most C (1 + 1e-5) to the sum before noise. In a process group each process gives its own rows;
    their sums are added up, then noise is added once, from generators in the same state (each a
    torch.Generator or a noise.Source). Raises ValueError for settings without meaning and a model
    that fast cannot do.
    """
    # micro-batches are summed up before anything is divided: the sum does not depend on their sizes
    sum_of = _method(model, method, clip, sigma, expected_batch)
    gradient, total, losses = Gradient(), {}, []
    with whole_logits(model):
        for part in micro_batches(model, batch, sum_of is func_sum):
            sums, norms, part_losses = sum_of(model, objective, part, clip, compile)
            norms = norms.cpu()  # all that follows is asked here: a GPU is waited for once
            finite = torch.isfinite(norms)
            if not finite.all():  # compute the others again: 0 times infinity is not 0
                rest = {key: value[finite] for key, value in part.items()}
                sums = sum_of(model, objective, rest, clip, compile)[0] if finite.any() else []
                part_losses = part_losses[finite]  # a NaN would hide every other loss in the log
            add_up(total, sums, model)
            losses.append(part_losses)
            gradient.rows += len(norms)
            gradient.nonfinite += int((~finite).sum())
            gradient.clipped += int((norms[finite] > clip).sum())
    for name, p in model.named_parameters():
        if p.requires_grad:  # noise is drawn in this order, whatever rows there were
            gradient[name] = total.pop(name) if name in total else zeros(p)
    finite = gradient.rows - gradient.nonfinite
    loss = torch.cat(losses).detach().sum() if losses else torch.zeros(())
    loss = loss.double() if loss.is_cuda else float(loss)  # for the log: no GPU is waited for
    # sums meet before the noise: noise from every process would be too much of it
    if parallel.world() > 1:
        loss, finite = add_processes(gradient, float(loss), finite)
    gradient.loss = loss / finite if finite else math.nan
    # one pass over the numbers adds the noise and divides
    if sigma:
        noise.add(gradient.values(), sigma * clip, generator, expected_batch)
        return gradient
    for value in gradient.values():
        value /= expected_batch
    return gradient


def clip_factor(norms, clip):
    """(B,) min(1, C / (|g_i| + 1e-6)) of norms (B,)."""
    # 1e-6 against a division by zero: it only ever clips a little more
    return (clip / (norms + 1e-6)).clamp(max=1)


def func_sum(model, objective, batch, clip, compile=False):
    """([(name, sum of the clipped gradients)], norms (B,), losses (B,)): the reference, per-sample
    gradients by vmap(grad(loss)). `compile` is ignored."""
    # an embedding is differentiated by its output, not by its table: a gradient of the whole table
    # for each row would not fit; ghost_clipping adds the outputs' gradients up
    tables = lookups(model)
    dense = {name: p.detach() for name, p in model.named_parameters()
             if p.requires_grad and name.rpartition(".")[0] not in tables}
    # what is not differentiated, tables and frozen weights, goes by closure: no copy for each row
    rest = {name: p.detach() for name, p in model.named_parameters() if name not in dense}
    tape = Tape(model, tables)

    def loss(dense, offsets, row):
        # vmap hides the batch dimension, which the model needs
        row = {key: value[None] for key, value in row.items()}
        losses, uses = tape.run(objective, Bound(model, {**rest, **dense}), row, offsets)
        return losses[0], (losses[0], [inputs[0][0] for _, _, inputs, _ in uses])

    try:
        outputs = one_row(tape, model, objective, batch)
        offsets = [y.new_zeros(len(first_tensor(batch)), *y.shape) for *_, y in outputs]
        (g, g_out), (losses, tokens) = vmap(grad(loss, (0, 1), has_aux=True), (None, 0, 0))(
            dense, offsets, batch)
    finally:
        tape.remove()
    with precise(first_tensor(batch)):
        return _clipped(g, outputs, tokens, g_out, tape.weights, losses, clip)


def _clipped(g, outputs, tokens, g_out, weights, losses, clip):
    """Clip and add up per-sample gradients g {name: (B, ...)} and g_out, of embeddings' outputs: a
    row's norm is over both."""
    squares = sum(wide(v).flatten(1).square().sum(1) for v in g.values())          # (B,)
    # both parts of a row get one factor, that of its whole norm
    embedded = [(name, module, (ids,), each[:, 0]) for (name, module, *_), ids, each
                in zip(outputs, tokens, g_out)]
    sums, norms, _ = ghost_clipping.clipped_sum(embedded, weights, len(losses),
                                                lambda norms: clip_factor(norms, clip), squares)
    factor = clip_factor(norms, clip)
    return sums + [(name, torch.einsum("b,b...->...", factor, wide(v)))
                   for name, v in g.items()], norms, losses.detach()


def fast_sum(model, objective, batch, clip, compile=False):
    """As func_sum, by book-keeping (dp/ghost_clipping.py); compile: as one compiled graph."""
    if compile and not _wide_head(model, batch):
        return _compiled_sum(model, objective, batch, clip)
    # hooks for this one call: other forward passes of the model stay as fast as without
    tape = Tape(model)
    try:
        losses, gradients = ghost_clipping.output_gradients(tape, model, objective, batch)
    finally:
        tape.remove()
    with precise(losses):
        clipped = ghost_clipping.clipped_sum(gradients, tape.weights, len(losses),
                                             lambda norms: clip_factor(norms, clip))
    return *with_doubtful(model, objective, batch, clip, *clipped), losses


def with_doubtful(model, objective, batch, clip, sums, norms, doubtful):
    """(sums, norms on the CPU) of clipped_sum, its doubtful rows added: those are differentiated
    one at a time and clipped by norms in float64."""
    norms, doubtful = torch.stack([norms, doubtful.to(norms.dtype)]).cpu()  # one wait for a GPU
    rows = doubtful.nonzero()[:, 0].tolist()
    if not rows:
        return sums, norms
    # each by its own backward: then the norm is taken of the numbers that are added
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    total = {name: zeros(p) for name, p in parameters.items()}
    for i in rows:
        row = {key: value[i:i + 1] for key, value in batch.items()}
        with torch.enable_grad():
            loss = objective(model, row)[0]
        # allow_unused: a head on a lower layer leaves the blocks above without a gradient
        g = torch.autograd.grad(loss, parameters.values(), allow_unused=True)
        g = {name: each.double() for name, each in zip(parameters, g) if each is not None}
        norms[i] = sum(each.square().sum() for each in g.values()).sqrt()
        if norms[i].isfinite():  # else the row counts as zero, as private_gradient promises
            for name, each in g.items():
                total[name] += each * clip_factor(norms[i].double(), clip)
    return sums + list(total.items()), norms


def _wide_head(model, batch):
    """Whether the logits are most of the work on a CPU, where fast_sum is not compiled: inductor's
    passes over logits are slower than the eager ones (1.5x)."""
    # above 8192 outputs is a vocabulary; no other layer of Pythia up to 1.4B has so many
    return first_tensor(batch).device.type == "cpu" and any(
        isinstance(m, (Tied, nn.Linear)) and m.weight.shape[0] > 8192
        for m in model.modules())


def _compiled_sum(model, objective, batch, clip):
    """fast_sum by torch.compile, in few shapes: rows padded to a multiple of `unit`, tokens to one
    of 32."""
    B, device = len(first_tensor(batch)), first_tensor(batch).device
    rows = B + -B % unit(rows_at_once(model, batch))
    batch, counts = pad(batch, rows - B), torch.arange(rows, device=device) < B
    tape, run, shapes = _compiled(model, objective)
    # shapes of outputs come from a pass of one row, once for every shape of a batch
    key = tuple((name, value.shape) for name, value in batch.items())
    if key not in shapes:
        shapes[key] = [(y.shape, y.dtype) for *_, y in one_row(tape, model, objective, batch)]
    # zeros that take no memory: one number, expanded to the shapes of the outputs
    offsets = [torch.zeros((), dtype=dtype, device=device).expand(rows * shape[0], *shape[1:])
               for shape, dtype in shapes[key]]
    # dynamo would give up after a few shapes; micro-batches have more, but few (`pad`)
    with torch._dynamo.config.patch(recompile_limit=64), whole_float32(device):
        sums, norms, doubtful, losses = run(batch, offsets, clip, counts)
    # rows of padding have factor 0 (`counts`); here they go from norms and losses too
    real = {key: value[:B] for key, value in batch.items()}
    return *with_doubtful(model, objective, real, clip, sums, norms[:B], doubtful[:B]), (
        losses[:B].detach())


def _compiled(model, objective):
    """(tape, compiled function, {shapes of a batch: shapes of outputs}), stored on the model."""
    # in __dict__: the graphs live as long as the model, and nn.Module does not look at them
    known = model.__dict__.setdefault("_private_steps", {})
    if objective in known:
        return known[objective]
    tape = Tape(model)

    def run(batch, offsets, clip, counts):
        # autocast is for the forward pass alone: norms and sums are in float32
        losses, gradients = ghost_clipping.traced_gradients(tape, model, objective, batch, offsets)
        with torch.autocast(losses.device.type, enabled=False):
            return *ghost_clipping.clipped_sum(
                gradients, tape.weights, losses.shape[0],
                lambda norms: clip_factor(norms, clip) * counts), losses

    known[objective] = tape, torch.compile(run, dynamic=False), {}
    return known[objective]


class Bound:
    """A model with other parameters, for torch.func: f(ids, lengths, noise=None) and
    f.nll(ids, lengths, mask)."""

    def __init__(self, model, weights):
        self.model, self.weights = model, weights

    def __call__(self, *args, **kwargs):
        return functional_call(self.model, self.weights, args, kwargs)

    def nll(self, ids, lengths, mask):
        return self(ids, lengths, mask=mask)


@torch.no_grad()
def one_row(tape, model, objective, batch):
    """The tape's uses for the first row alone: the layers in order, and shapes of their outputs."""
    return tape.run(objective, model, {key: value[:1] for key, value in batch.items()})[1]


def add_processes(gradient, loss, finite):
    """Add up the sums and counts of all processes, in `gradient`; returns the totals of `loss` (a
    sum) and `finite` (a number of rows)."""
    for value in gradient.values():
        torch.distributed.all_reduce(value)
    # one message for all counts, exact in float64
    counts = torch.tensor([loss, finite, gradient.rows, gradient.clipped, gradient.nonfinite],
                          dtype=torch.float64, device=next(iter(gradient.values())).device)
    torch.distributed.all_reduce(counts)
    loss, *counts = counts.tolist()
    finite, gradient.rows, gradient.clipped, gradient.nonfinite = map(int, counts)
    return loss, finite


def add_up(total, sums, model):
    """Add sums [(name, sum, or token ids and values of an embedding)] to total {name: tensor}."""
    # an embedding's gradient is sparse: only the rows of its tokens are touched
    parameters = dict(model.named_parameters())
    for name, value in sums:
        if isinstance(value, tuple):
            if name not in total:
                total[name] = zeros(parameters[name])
            total[name].index_add_(0, *value)
        elif name in total:
            total[name] += value
        else:
            total[name] = value


def add_noise(values, std, generator):
    """Add N(0, std^2) to every number of the tensors, in place. generator: a torch.Generator or a
    noise.Source, which moves on."""
    noise.add(values, std, generator)


def zeros(p):
    """Zeros in the shape of parameter p, in float32 at least."""
    return torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32),
                            memory_format=torch.contiguous_format, requires_grad=False)


@contextlib.contextmanager
def precise(tensor):
    """Context in which norms and sums are in full float32: without autocast and TF32."""
    with torch.autocast(tensor.device.type, enabled=False), whole_float32(tensor.device):
        yield


@contextlib.contextmanager
def whole_float32(device):
    """Context without TF32, which rounds the factors of a product on CUDA to 11 bits."""
    if device.type != "cuda":
        yield
        return
    # restored afterwards: the forward pass may use TF32
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, False
    try:
        yield
    finally:
        matmul.allow_tf32 = before


@contextlib.contextmanager
def whole_logits(model):
    """Context in which nll has all logits of a micro-batch, each at its token.

    TokenNLL multiplies by the head's weight without calling the head, so a tape would see neither
    its input nor its output, and the tokens of its result are not those of whole rows."""
    # a model may be wrapped (canaries.Watched), so its parts are searched for the attribute
    heads = [module for module in model.modules() if hasattr(module, "whole")]
    try:
        for module in heads:
            module.whole = True
        yield
    finally:
        for module in heads:
            module.whole = False


def _method(model, method, clip, sigma, expected_batch):
    """func_sum or fast_sum; ValueError for settings without meaning, or a model unknown to fast."""
    # infinity and NaN pass neither: NaN fails every comparison, infinity is asked for below
    for name, value, good in (("clip", clip, clip > 0), ("sigma", sigma, sigma >= 0),
                              ("expected_batch", expected_batch, expected_batch > 0)):
        if not good or not math.isfinite(value):
            raise ValueError(f"{name} {value}: must be {'>= 0' if name == 'sigma' else '> 0'} and "
                             "finite")
    if method not in ("func", "fast", "auto"):
        raise ValueError(f"method {method}: choose func, fast or auto")
    # "auto" falls back silently, "fast" says what is in its way
    cannot = ghost_clipping.unsupported(model)
    if method == "fast" and cannot:
        raise ValueError(f"method fast: {cannot}, and it knows Linear, Embedding, LayerNorm and "
                         "RMSNorm, each with parameters of its own; use func")
    return func_sum if method == "func" or cannot else fast_sum
