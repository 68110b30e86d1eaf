"""Kernels of the network: rotary positions in whole rows, a loss that never holds all logits.

B rows, T tokens, D hidden, R rotated pairs, V vocabulary, P predicted tokens.
"""

import torch
import torch.nn.functional as F


# ---- the model -----------------------------------------------------------------------------------

class Turn(torch.autograd.Function):
    """`network.rotate` of T tokens, to the bit, by products of whole rows instead of slices of R.

    The partner of a number stands R places before or behind it in the T*d numbers of a row. 1.5 to
    1.8 times as fast, forward and backward (CPU)."""

    @staticmethod
    def tables(cos, sin, d):
        """From cos, sin (T, R): (T, d) cos, 1 where nothing turns; (T*d,) -sin at the first number
        of a pair; (T*d,) sin at the second; both are 0 elsewhere."""
        (T, R), sides = cos.shape, cos.new_zeros(2, len(cos), d)
        sides[0, :, :R], sides[1, :, R:2 * R] = -sin, sin
        return torch.cat((cos, cos, cos.new_ones(T, d - 2 * R)), -1), *sides.flatten(1)

    @staticmethod
    def forward(ctx, x, cos, ahead, behind, pairs):
        ctx.save_for_backward(cos, ahead, behind)
        ctx.pairs = pairs
        whole = x.to(torch.promote_types(x.dtype, cos.dtype)).contiguous()
        # the zeros in `ahead` and `behind` cancel what the shifts carry over a token's edge
        turned, flat = whole * cos, whole.flatten(-2)
        out, term = turned.flatten(-2), torch.empty_like(flat[..., pairs:])
        out[..., :-pairs] += torch.mul(flat[..., pairs:], ahead[:-pairs], out=term)
        out[..., pairs:] += torch.mul(flat[..., :-pairs], behind[pairs:], out=term)
        return turned.to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        # the transpose of a rotation is the rotation back
        cos, ahead, behind = ctx.saved_tensors
        return Turn.apply(g, cos, -ahead, -behind, ctx.pairs), None, None, None, None


class TokenNLL(torch.autograd.Function):
    """-weight log p(token), p = softmax(h W^T): (P,), float32 at least, from h (P, D), W (V, D),
    token (P,) and weight (P,).

    The logits of about sizes[0] tokens exist at a time. Forward turns them into their own gradient,
    in place, as if the gradient of the result were 1 (Hsu et al. 2024, arXiv 2410.10989), and
    backward scales it. Where the results' gradients differ, backward computes it again. On a CPU
    1.3x the speed of computing all logits again in backward (LM step, 14m). even: it is promised
    that they are equal, and a GPU is not asked; a broken promise makes all gradients NaN."""

    @staticmethod
    def forward(ctx, h, W, token, weight, sizes, wanted, even):
        # backward runs outside autocast and may have to compute in the same dtype again
        autocast = torch.is_autocast_enabled(h.device.type)
        dtype = torch.get_autocast_dtype(h.device.type) if autocast else h.dtype
        nll, *gradients = by_chunks(h, W, token, weight, dtype, sizes, wanted)
        ctx.save_for_backward(h, W, token, weight, *gradients)
        ctx.rest, ctx.even = (dtype, sizes, wanted), even
        return nll

    @staticmethod
    def backward(ctx, g):
        h, W, token, weight, *gradients = ctx.saved_tensors
        # true of a sum or a mean over rows: then forward's gradients need one factor only
        equal = (g == g[0]).all()
        if ctx.even or bool(equal):
            factor = torch.where(equal, g[0], torch.nan) if ctx.even else g[0]
            g_h, g_W = (x if x is None else x * factor.to(x.dtype) for x in gradients)
        else:
            _, g_h, g_W = by_chunks(h, W, token, weight * g, *ctx.rest)
        return g_h, g_W, None, None, None, None, None


def by_chunks(h, W, token, weight, dtype, sizes, wanted):
    """(-weight log p (P,), gradient of its sum by h (P, D), by W (V, D)); None for a gradient that
    is not wanted. sizes: tokens whose logits, in `dtype`, are held at a time (about: parts are of
    equal size), and tokens that are worked on at a time."""
    # parts of equal size: the last one is not a small rest that costs a call of its own
    nll = weight.new_empty(len(h), dtype=wide(h).dtype)
    g_h, g_W = (torch.zeros_like(x) if w else None for x, w in zip((h, W), wanted))
    W, size = W.to(dtype), -(-len(h) // max(1, round(len(h) / sizes[0])))
    for start in range(0, len(h), size):
        rows = slice(start, start + size)
        part = h[rows].to(dtype)
        logits = F.linear(part, W)
        # in pieces, so that the float32 copy of bfloat16 logits (`wide`) stays small
        for x, y, w, out in zip(*(x.split(sizes[1]) for x in (
                logits, token[rows], weight[rows], nll[rows]))):
            chosen, z = wide(x.gather(1, y[:, None]))[:, 0], wide(x)
            out.copy_((softmax_(z) - chosen) * w)
            if any(wanted):  # w (p - one-hot), the gradient, where the logits stood
                z.mul_(w[:, None])
                z[torch.arange(len(y), device=y.device), y] -= w
                if z is not x:  # bfloat16: z is a float32 copy, the products below read x
                    x.copy_(z)
        if wanted[0]:
            g_h[rows] = logits @ W
        if wanted[1] and g_W.dtype == dtype:
            g_W.addmm_(logits.t(), part)
        elif wanted[1]:  # under autocast: bfloat16 products, added up in the weight's dtype
            g_W += logits.t() @ part
    return nll, g_h, g_W


def softmax_(z):
    """Turn z (P, V) into softmax(z), in place, and return logsumexp(z) (P,): one exp a logit, where
    a log_softmax and its gradient take two (LM step, 14m: head 1.15x on CPU)."""
    top = z.amax(1)
    torch.softmax(z, 1, out=z)
    # the largest probability is exp(0) / sum, so its logarithm is minus that of the sum
    return top - z.amax(1).log()


def wide(x):
    """x in float32, or float64 if it was: sums of bfloat16 lose digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


# ---- generation ----------------------------------------------------------------------------------

def largest(logits):
    """logits.argmax(-1), (P, V) -> (P,). On CPU by runs of 128 tokens: amax is vectorised there,
    argmax is not (.6 against 4.8 ms at P = 84)."""
    if logits.device.type != "cpu" or logits.shape[1] % 128:
        return logits.argmax(-1)
    # the first of equal maxima, as argmax gives it: the first run with it, its first place there
    runs = logits.unflatten(1, (-1, 128))                                         # (P, V/128, 128)
    best = runs.amax(2).argmax(1)                                                 # (P,)
    return best * 128 + runs[torch.arange(len(logits)), best].argmax(-1)
