"""The network's own kernels: rotation without loops, a loss whose logits never all exist.

B rows, T tokens, D hidden, R rotated pairs, V vocabulary, P predicted tokens.
"""

import torch
import torch.nn.functional as F


# ---- the model -----------------------------------------------------------------------------------

class Turn(torch.autograd.Function):
    """`rotate` of T tokens, to the bit, without loops over R numbers: the partner of a number is R
    places before or behind it in the T*d numbers of a row. Forward and backward 1.5-1.8x (CPU)."""

    @staticmethod
    def tables(cos, sin, d):
        """(T, d) cos, 1 where nothing turns, and (T*d,) -sin for one, sin for two, elsewhere 0."""
        (T, R), sides = cos.shape, cos.new_zeros(2, len(cos), d)
        sides[0, :, :R], sides[1, :, R:2 * R] = -sin, sin
        return torch.cat((cos, cos, cos.new_ones(T, d - 2 * R)), -1), *sides.flatten(1)

    @staticmethod
    def forward(ctx, x, cos, ahead, behind, pairs):
        ctx.save_for_backward(cos, ahead, behind)
        ctx.pairs = pairs
        whole = x.to(torch.promote_types(x.dtype, cos.dtype)).contiguous()
        turned, flat = whole * cos, whole.flatten(-2)
        out, term = turned.flatten(-2), torch.empty_like(flat[..., pairs:])
        out[..., :-pairs] += torch.mul(flat[..., pairs:], ahead[:-pairs], out=term)
        out[..., pairs:] += torch.mul(flat[..., :-pairs], behind[pairs:], out=term)
        return turned.to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        cos, ahead, behind = ctx.saved_tensors
        return Turn.apply(g, cos, -ahead, -behind, ctx.pairs), None, None, None, None


class TokenNLL(torch.autograd.Function):
    """-weight log p(token), p = softmax(h W^T): (P,), float32 at least, from h (P, D), W (V, D),
    token and weight (P,). Logits of sizes[0] tokens exist at a time. In forward they become their
    own gradient, in place, as if the result's were 1 (Hsu et al. 2024, arXiv 2410.10989), and
    backward scales that; a result whose gradients differ is computed again. On a CPU 1.3x the speed
    of computing all logits again in backward (LM step, 14m)."""

    @staticmethod
    def forward(ctx, h, W, token, weight, sizes, wanted):
        autocast = torch.is_autocast_enabled(h.device.type)
        dtype = torch.get_autocast_dtype(h.device.type) if autocast else h.dtype
        nll, *gradients = by_chunks(h, W, token, weight, dtype, sizes, wanted)
        ctx.save_for_backward(h, W, token, weight, *gradients)
        ctx.rest = dtype, sizes, wanted
        return nll

    @staticmethod
    def backward(ctx, g):
        h, W, token, weight, *gradients = ctx.saved_tensors
        if bool((g == g[0]).all()):
            g_h, g_W = (x if x is None else x * g[0].to(x.dtype) for x in gradients)
        else:
            _, g_h, g_W = by_chunks(h, W, token, weight * g, *ctx.rest)
        return g_h, g_W, None, None, None, None


def by_chunks(h, W, token, weight, dtype, sizes, wanted):
    """(-weight log p (P,), and where `wanted` says so the gradients of its sum: (P, D) of h, (V, D)
    of W). sizes: tokens whose logits, in `dtype`, are held at a time (about: parts are equal), and
    worked on at a time."""
    nll = weight.new_empty(len(h), dtype=wide(h).dtype)
    g_h, g_W = (torch.zeros_like(x) if w else None for x, w in zip((h, W), wanted))
    W, size = W.to(dtype), -(-len(h) // max(1, round(len(h) / sizes[0])))
    for start in range(0, len(h), size):
        rows = slice(start, start + size)
        part = h[rows].to(dtype)
        logits = F.linear(part, W)
        for x, y, w, out in zip(*(x.split(sizes[1]) for x in (
                logits, token[rows], weight[rows], nll[rows]))):
            chosen, z = wide(x.gather(1, y[:, None]))[:, 0], wide(x)
            out.copy_((softmax_(z) - chosen) * w)
            if any(wanted):
                z.mul_(w[:, None])
                z[torch.arange(len(y), device=y.device), y] -= w
                if z is not x:                                # bfloat16
                    x.copy_(z)
        if wanted[0]:
            g_h[rows] = logits @ W
        if wanted[1] and g_W.dtype == dtype:
            g_W.addmm_(logits.t(), part)
        elif wanted[1]:
            g_W += logits.t() @ part
    return nll, g_h, g_W


def softmax_(z):
    """Turns z (P, V) into softmax(z), in place, and returns logsumexp(z) (P,): one exp a logit,
    where a log_softmax and its gradient take two (LM step, 14m: head 1.15x on CPU)."""
    top = z.amax(1)
    torch.softmax(z, 1, out=z)
    return top - z.amax(1).log()               # the largest term of the sum is exp(0)


def wide(x):
    """x in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


# ---- generation ----------------------------------------------------------------------------------

def largest(logits):
    """logits.argmax(-1), (P, V) -> (P,). On CPU by runs of 128 tokens, since amax is vectorised
    there and argmax not (.6 against 4.8 ms at P = 84)."""
    if logits.device.type != "cpu" or logits.shape[1] % 128:
        return logits.argmax(-1)
    runs = logits.unflatten(1, (-1, 128))                                         # (P, V/128, 128)
    best = runs.amax(2).argmax(1)                                                 # (P,)
    return best * 128 + runs[torch.arange(len(logits)), best].argmax(-1)
