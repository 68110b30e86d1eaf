"""Clipped sums of per-sample gradients without the per-sample gradients: one backward pass.

The gradient of a layer's weight is a product of its input x and its output gradient g. So the norm
of each row's gradient follows from x and g alone, and so does the sum in which every row has its
own factor (Goodfellow 2015, arXiv 1510.01799; ghost norms: Li et al. 2022, arXiv 2110.05679;
book-keeping: Bu et al. 2023, arXiv 2210.00038). It covers the layers of LAYERS; Tied is a head that
shares the embedding's matrix. Backward computes only g, then each weight costs one more product:
as much as without privacy, plus the norms. A row's gradient of a LayerNorm is no larger than a
token, so it is computed whole (`rows_of_norm`). tests/dp/test_sgd.py compares with func_sum.

No row may add more than the clipping norm. Where its norm is taken of the very numbers that are
added, it does not. Where the norm comes from inner products of tokens (Gram matrices), tokens that
cancel leave rounding errors of the size of u (sum_t |x_t| |g_t|)^2, u being half the distance from
1 to the next number. So a row is clipped by an upper bound of its norm (`errors`). A row that this
would shorten by more than 1 % is doubtful: it is left out here and done alone.

B rows, T tokens (all dimensions between the first and the last), i inputs, o outputs, V vocabulary.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from w2s.model.decoder import RMSNorm
from w2s.model.gpt_neox import ALL, FusedQKV
from w2s.model.network import Tied
from w2s.model.kernels import wide

# A row's norm costs T T (i + o) products by Gram matrices; by its own gradient, which the sum needs
# anyway, only the memory traffic of i o numbers, worth so many products each on a CPU, else:
WORTH = {True: 60, False: 1000}
CHAIN = 1024      # terms of an inner product that are added up one after the other
DOUBTFUL = .0201  # most that the bound may add to a squared norm, relative: 1 % of the norm
NORMS = (nn.LayerNorm, RMSNorm)
LAYERS = (nn.Linear, nn.Embedding, *NORMS, Tied)


def unsupported(model):
    """What the model has that this file cannot do, as words for a message, or None."""
    # two layers with one parameter: its norm needs the product of both gradients; only Tied has it
    owners = {}
    for name, module in model.named_modules():
        parameters = [p for p in module._parameters.values() if p is not None and p.requires_grad]
        for p in parameters:
            if id(p) in owners:
                return f"{owners[id(p)] or 'the model'} and {name} share a parameter"
            owners[id(p)] = name
        if parameters and not isinstance(module, LAYERS):
            return f"{name or 'the model'} is a {type(module).__name__}"
        if isinstance(module, nn.Embedding) and (module.max_norm or module.scale_grad_by_freq):
            return f"{name} has max_norm or scale_grad_by_freq"
    return None


class Tape:
    """Hooks that note (name, module, its arguments, output) of every layer that runs, in order.

    only: names of the layers (None: all of LAYERS). weights {layer's name: [names of weight and
    bias]}: a Tied layer's is the embedding's. Given `offsets`, one tensor for each use, the tape
    adds them to the outputs: the gradient of an offset is that of the output, in a form that
    torch.func.grad takes and torch.compile traces."""

    def __init__(self, model, only=None):
        self.uses = self.offsets = self.gradients = None
        self.hooks, self.weights, self.seen = [], {}, {}
        # by identity: a Tied layer's weight is a parameter under the embedding's name
        names = {id(p): name for name, p in model.named_parameters()}
        for name, module in model.named_modules():
            if name in only if only is not None else isinstance(module, LAYERS):
                self.hooks.append(module.register_forward_hook(partial(self.note, name)))
                parameters = module.weight, getattr(module, "bias", None)
                self.weights[name] = [names[id(p)] for p in parameters if p is not None]

    def run(self, objective, f, batch, offsets=None, gradients=None):
        """(losses (B,), uses) of one forward pass.

        Given a dict `gradients`, backward will put the gradient of the n-th output there. Outputs
        themselves are then not held. Those that depend on nothing differentiable become leaves that
        backward may start from, listed under "leaves"."""
        self.uses, self.offsets, self.gradients = [], offsets, gradients
        self.rows = len(next(iter(batch.values())))
        try:
            losses = objective(f, batch)
        finally:
            # also after an error: hooks stay on and must not note the next pass
            uses, self.uses, self.offsets, self.gradients = self.uses, None, None, None
        return losses, uses

    def note(self, name, module, inputs, output):
        """Forward hook: note a use; a tensor that is returned replaces the output."""
        if self.uses is None:  # a forward pass that is not of `run`
            return None
        if self.offsets is not None:
            output = output + self.offsets[len(self.uses)]
        noted = output
        if self.gradients is not None:
            # while weights are constants nothing asks for a gradient until some output does
            if not output.requires_grad:
                self.gradients.setdefault("leaves", []).append(output.requires_grad_())
            inputs, noted = (inputs[0].detach(), *inputs[1:]), None
            output.register_hook(partial(self.keep, self.gradients, len(self.uses), module, inputs))
            if isinstance(module, NORMS):  # `keep` has them: the tape need not hold x too
                inputs = ()
        self.uses.append((name, module, inputs, noted))
        return output

    def keep(self, gradients, n, module, inputs, g):
        """Backward hook: put g, the gradient of the n-th output, into the dict; of a LayerNorm only
        the rows' gradients of weight and bias, (B, D) instead of (B, T, D)."""
        gradients[n] = g if not isinstance(module, NORMS) else rows_of_norm(
            module, inputs[0], g, self.rows, self.seen)

    def remove(self):
        """Take the hooks off the model."""
        for hook in self.hooks:
            hook.remove()


def output_gradients(tape, model, objective, batch):
    """(losses (B,), [(name, module, arguments, gradient g of the output)])."""
    # the weights are constants meanwhile, so that backward computes no gradient of theirs
    trained, gradients = [p for p in model.parameters() if p.requires_grad], {}
    try:
        for p in trained:
            p.requires_grad_(False)
        with torch.enable_grad():
            losses, uses = tape.run(objective, model, batch, gradients=gradients)
    finally:
        for p in trained:
            p.requires_grad_()
    # the leaves' gradients are dropped: on its way backward calls `keep` for every output
    torch.autograd.grad(losses.sum(), gradients.pop("leaves"), allow_unused=True)
    # a layer that the losses do not depend on has no gradient
    return losses.detach(), [(*use[:3], gradients[n]) for n, use in enumerate(uses)
                             if n in gradients]


def traced_gradients(tape, model, objective, batch, offsets):
    """`output_gradients` for torch.compile; offsets: zeros in the shapes of the outputs."""
    # tensors leave `total` as has_aux results; names and modules cannot, so a list takes them out
    layers = []

    def total(offsets):
        losses, uses = tape.run(objective, model, batch, offsets)
        layers.extend((name, module, inputs[1:]) for name, module, inputs, _ in uses)
        return losses.sum(), (losses, [inputs[0] for _, _, inputs, _ in uses])

    gradients, (losses, inputs) = torch.func.grad(total, has_aux=True)(offsets)
    return losses, [(name, module, (x, *arguments), g)
                    for (name, module, arguments), x, g in zip(layers, inputs, gradients)]


class Layer:
    """One weight in one batch: x (B, T, i) or token ids (B, T), and g (B, T, o), in float32 at
    least. An embedding's g is summed over equal tokens of a row (`sum_repeats`). table: for a Tied
    head the Layer of its embedding, joined when its gradient is in this one's. beyond (B,): by how
    many u the true squared norm may be larger than the computed one; 0 without Gram matrices."""

    def __init__(self, module, part, rows, uses, seen):
        self.module, self.part, self.per_row = module, part, None
        self.table, self.joined, self.beyond = None, False, 0
        self.trains = [p is not None and p.requires_grad
                       for p in (module.weight, getattr(module, "bias", None))]
        if isinstance(module, NORMS):
            per_use = [g if isinstance(g, tuple) else
                     rows_of_norm(module, inputs[0], g, rows, seen) for inputs, g in uses]
            self.per_row = tuple(map(sum, zip(*per_use)))
            return
        # a layer that runs several times in a pass has one gradient: its uses are further tokens
        lead = 0 if isinstance(module, nn.Embedding) else 1
        x = [inputs[0].reshape(rows, -1, *inputs[0].shape[inputs[0].ndim - lead:])
             for inputs, _ in uses]
        g = [g.reshape(rows, -1, g.shape[-1]) for _, g in uses]
        self.x, self.g = (v[0] if len(v) == 1 else torch.cat(v, 1) for v in (x, g))
        if lead:
            self.x, self.g = wide(self.x.to(self.g.dtype)), wide(self.g)
            return
        if module.padding_idx is not None:  # PyTorch gives this row of the table no gradient
            self.g = self.g * (self.x != module.padding_idx)[..., None]
        self.g = sum_repeats(self.x, wide(self.g))

    def squared_norm(self):
        """(B,) squared norms of the rows' gradients of weight and bias, as far as they train.

        A Tied head's includes the embedding's part of the same matrix: by `cross` with Gram
        matrices, else added into per_row, and then the table is `joined` and counts no more."""
        if isinstance(self.module, NORMS):
            return sum(v.square().sum(1) for v, trains in zip(self.per_row, self.trains) if trains)
        x, g = self.x, self.g
        if isinstance(self.module, nn.Embedding):  # equal tokens are summed: rows are distinct
            return g.square().sum((1, 2))
        (T, i), o = x.shape[1:], g.shape[2]
        weight, bias = self.trains
        # |sum_t g_t x_t^T|^2 = sum_st (x_s x_t)(g_s g_t); the bias acts as one more input of 1
        if weight and T * T * (i + o) <= WORTH[g.device.type == "cpu"] * i * o:
            of_x, of_g = gram(x) + bias, gram(g)
            squares = (of_x * of_g).sum((1, 2))
            size = (lengths(of_x) * lengths(of_g)).sum(1)
            if self.table:
                size = size + self.table.g.square().sum(2).sqrt().sum(1)
                squares = squares + 2 * cross(self.table, self)
            if T > 1 or self.table:  # a token alone has nothing to cancel
                self.beyond = (errors(i, T) + errors(o, T)) * size ** 2
            return squares
        # T large: the gradient itself is cheaper, and its norm is exact for what is added
        squares = g.sum(1).square().sum(1) if bias else 0
        if weight:
            self.per_row = torch.bmm(g.transpose(1, 2), x)                        # (B, o, i)
            if self.table:
                indices = self.table.x + o * torch.arange(len(g), device=g.device)[:, None]
                self.per_row.view(-1, i).index_add_(0, indices.flatten(),
                                                    self.table.g.flatten(0, 1))
                self.table.joined = True
            # norms of its lines first: the squares of all numbers would be written and read again
            squares = squares + torch.linalg.vector_norm(self.per_row, dim=2).square().sum(1)
        return squares

    def weighted(self, factor):
        """[gradient of the weight, of the bias] summed over the rows, each times its factor; None
        for one that does not train, and for an embedding the pair (token ids, gradients of its
        rows)."""
        weight, bias = self.trains
        if isinstance(self.module, nn.Embedding):
            # sparse: a table's gradient has only the rows of the batch's tokens
            return [None if self.joined else (self.x.flatten(), self.scaled(self.g, factor))]
        if isinstance(self.module, NORMS):
            sums = [factor @ v for v in self.per_row]
        else:
            sums = [weight and self.whole(self.product(factor)),
                     bias and self.whole(factor @ self.g.sum(1))]
        return [v if trains else None for v, trains in zip(sums, self.trains)]

    def product(self, factor):
        """(o, i) gradient of the weight, the rows times their factors."""
        if self.per_row is not None:
            return (factor @ self.per_row.flatten(1)).view(self.per_row.shape[1:])
        # the factors go to the narrower of the two: fewer numbers to multiply
        if self.x.shape[2] <= self.g.shape[2]:
            return self.g.flatten(0, 1).t() @ self.scaled(self.x, factor)
        return self.scaled(self.g, factor).t() @ self.x.flatten(0, 1)

    def scaled(self, v, factor):
        """(B * T, n): v (B, T, n), each row times its factor (B,)."""
        return (v * factor[:, None, None]).flatten(0, 1)

    def whole(self, v):
        """v, the gradient of the rows `part` of FusedQKV's matrix, among zeros for the others."""
        if self.part in (None, ALL):
            return v
        heads = self.module.heads
        # FusedQKV interleaves query, key and value by head
        full = v.new_zeros(heads, 3, len(v) // heads // (self.part.stop - self.part.start),
                           *v.shape[1:])
        full[:, self.part] = v.view(heads, -1, *full.shape[2:])
        return full.flatten(0, 2)


def rows_of_norm(module, x, g, rows, seen):
    """((B, D), (B, D)) gradients of weight and bias for each row; of an RMSNorm that of the weight.

    seen: a dict that holds the last normalised x. The two LayerNorms of a parallel block read the
    same x, so the second finds it there."""
    # by address and shape; no address exists while torch.compile traces
    key = None if torch.compiler.is_compiling() else (x.data_ptr(), x.shape, module.eps)
    if key is None or key not in seen:
        seen.clear()
        seen[key] = x, module.bare(x) if isinstance(module, RMSNorm) else F.layer_norm(
            wide(x), module.normalized_shape, None, None, module.eps)
    g, bare = (wide(v).reshape(rows, -1, v.shape[-1]) for v in (g, seen[key][1]))
    return ((g * bare).sum(1), g.sum(1))[:1 if isinstance(module, RMSNorm) else 2]


def gram(v):
    """(B, T, T) inner products of the tokens of v (B, T, n).

    On CUDA by halves of n down to CHAIN terms, so that `errors` holds there too; a CPU's libraries
    cut their sums by themselves."""
    n = v.shape[2]
    if n <= CHAIN or v.device.type == "cpu":
        return torch.bmm(v, v.transpose(1, 2))
    # halves of whole CHAINs, so that n of any length ends in sums of at most CHAIN terms
    half = -(-n // (2 * CHAIN)) * CHAIN
    return gram(v[..., :half]) + gram(v[..., half:])


def errors(n, T):
    """Bound on the rounding error of an inner product of n terms in the `gram` of T tokens, in
    units of u times the product of the two lengths."""
    # n equal terms added up one after the other are wrong by n / 4. oneDNN adds CHAIN of them so,
    # MKL for up to 8 tokens every fourth of all; 16 are for everything else.
    return min(n, CHAIN) / 4 + (n / 16 if T <= 8 else 0) + 16


def lengths(products):
    """(B, T) lengths of the tokens whose inner products (B, T, T) these are."""
    return products.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()


def sum_repeats(ids, g):
    """(B, T, o): g summed over the places of a row that have the same id (B, T), at the first of
    them, and 0 at the others: then the squares add up to those of the table's gradient."""
    B, T = ids.shape
    # argmax gives the first place that is equal
    first = (ids[:, :, None] == ids[:, None]).to(torch.uint8).argmax(2) if T else ids
    indices = first + T * torch.arange(B, device=ids.device)[:, None]
    flat = g.flatten(0, 1)
    return torch.zeros_like(flat).index_add_(0, indices.flatten(), flat).view(g.shape)


def cross(embedding, head):
    """(B,) inner products of the two gradients of one matrix: as embedding and as Tied head."""
    # only rows of the matrix that a token looked up are in both, so those are gathered
    B, T = embedding.x.shape
    tokens = embedding.x[:, None].expand(-1, head.g.shape[1], -1)                     # (B, S, T)
    logits = head.g.gather(2, tokens)
    return (logits * torch.bmm(head.x, embedding.g.transpose(1, 2))).sum((1, 2))


def clipped_sum(gradients, weights, rows, factor_of, squares=0):
    """([(name, sum over rows of factor times gradient)], norms (B,), doubtful (B,) bool).

    An embedding's sum is a pair (token ids, values) still to be added up (sgd.add_up). Rows whose
    norm is doubtful are not in the sums. gradients: as `output_gradients` gives them; weights: as
    Tape has them; factor_of(upper bounds of the norms (B,)) -> (B,); squares: what other weights
    add to the squared norms."""
    # one Layer for each weight, and for each part of a fused one: parts do not share rows
    uses = {}
    for name, module, inputs, g in gradients:
        part = (inputs[1] if len(inputs) > 1 else ALL) if isinstance(module, FusedQKV) else None
        key = name, part and (part.start, part.stop)
        if any(p.requires_grad for p in module.parameters(False)) or isinstance(module, Tied):
            uses.setdefault(key, (module, part, []))[2].append((inputs, g))
    seen = {}
    layers = [(weights[key[0]], Layer(module, part, rows, layer_uses, seen))
              for key, (module, part, layer_uses) in uses.items()]
    tables = {names[0]: layer for names, layer in layers if isinstance(layer.module, nn.Embedding)}
    for names, layer in layers:
        layer.table = tables.get(names[0]) if isinstance(layer.module, Tied) else None
    # a Tied head decides whether its embedding is joined, so it comes before the embedding
    heads_first = sorted(layers, key=lambda pair: pair[1].table is None)
    squares = sum([layer.squared_norm() for _, layer in heads_first if not layer.joined], squares)
    squares = squares.clamp(min=0)
    beyond = sum(layer.beyond for _, layer in layers) * (torch.finfo(squares.dtype).eps / 2)
    factor = factor_of((squares + beyond).sqrt())
    doubtful = (beyond > DOUBTFUL * squares) & (factor < 1)
    # a doubtful row that is not clipped needs no care: its factor is 1 whatever the norm
    factor = factor.masked_fill(doubtful, 0)
    return [(name, value) for names, layer in layers for name, value
            in zip(names, layer.weighted(factor)) if value is not None], squares.sqrt(), doubtful
