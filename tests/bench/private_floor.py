"""What clipping row by row costs at least: the products and passes that no arrangement spares.

    python -m tests.bench.private_floor [--shape 14m] [--head class|lm] [--rounds 20]

For every layer of one weight the norm of each row's gradient is needed before any row may be added.
There are two ways to it, and w2s/dp/ghost_clipping.py takes one for each layer:

    Gram     two products more, tokens by tokens, of the layer's input and its output's gradient
    own      the row's gradient written out, in place of the product for the sum; read for its norm,
             and read again for the sum

Behind Gram matrices stands one pass more, which gives each row of the narrower side its factor. A
LayerNorm's rows are sums of their own, in place of the sums over all rows in its backward.

Each is timed alone, without anything else of a step, beside the product that a step without privacy
makes; so is that whole step. floor: 1 + what the cheaper way adds in all layers, over that step;
printed for the products alone too. One core, float32. B rows, T tokens, i inputs, o outputs.
"""

import itertools
from collections import Counter

import torch

from tests.bench import dp, harness, machine, needed

CACHE = 2 ** 27  # bytes, more than a core's share of any cache


def layers(model, batch, objective):
    """{(i, o): how many layers of these inputs and outputs a pass runs; (D,): LayerNorms}."""
    head = getattr(model, "embed_out", None)  # its loss may take the weights, without a call
    found = Counter([tuple(head.weight.shape[::-1])] if head is not None else [])

    def note(module, inputs, output):
        norm = isinstance(module, torch.nn.LayerNorm)
        found[output.shape[-1:] if norm else (module.in_features, output.shape[-1])] += 1

    hooks = [module.register_forward_hook(note) for module in model.modules()
             if isinstance(module, (torch.nn.Linear, torch.nn.LayerNorm)) and module is not head]
    with torch.no_grad():
        objective(model, batch)
    for hook in hooks:
        hook.remove()
    return found


def ways(x, g, factor):
    """{way: function of no arguments} for a layer of inputs x (B, T, i) and output gradients
    g (B, T, o); factor (B,). "sum" is the product without privacy. x and g stay in the cache; the
    rows' gradients do not, where those of all layers are larger than it."""
    (B, _, i), o, across = x.shape, g.shape[2], g.transpose(1, 2)
    # an odd number: each call writes one and reads the next, so every one is written in its turn
    many = CACHE // (4 * B * o * i) // 2 * 2 + 3
    kept = itertools.cycle([torch.zeros(B, o, i) for _ in range(many)])

    def own():
        rows = torch.bmm(across, x, out=next(kept))
        squares = torch.linalg.vector_norm(rows, dim=2).square().sum(1)
        return squares, factor @ next(kept).flatten(1)  # of a layer whose turn was long ago

    narrow = min(x, g, key=lambda v: v.shape[2])
    return {"sum": lambda: g.flatten(0, 1).t() @ x.flatten(0, 1),
            "Gram": lambda: (torch.bmm(x, x.transpose(1, 2)) * torch.bmm(g, across)).sum((1, 2)),
            "factor": lambda: narrow * factor[:, None, None],
            "own": own}


def ways_of_norm(x, g):
    """The same of a LayerNorm of inputs x and output gradients g (B, T, D): "sum" is its backward
    without privacy, "input" that which gives x alone its gradient; rows of the normalised x."""
    weight, (bare, mean, scale) = torch.ones(x.shape[2]), torch.native_layer_norm(
        x, x.shape[2:], None, None, 1e-5)

    def backward(*wanted):
        return torch.ops.aten.native_layer_norm_backward(g, x, x.shape[2:], mean, scale, weight,
                                                         weight, wanted)

    return {"sum": lambda: backward(True, True, True),
            "input": lambda: backward(True, False, False),
            "rows": lambda: ((g * bare).sum(1), g.sum(1))}


def measure(shape, head, rounds):
    """Print a line for each kind of layer, then the floor."""
    bench = dp.Bench(harness.Setting(shape), head)
    B, T = bench.batch["ids"].shape
    whole = needed.timed({"plain": bench.plain(), "fast": bench.private("fast")}, rounds)
    print(f"pythia-{shape}, {head}, {B} x {T}: {1e3 * whole['plain']:.0f} ms without privacy, "
          f"as it is {whole['fast'] / whole['plain']:.2f}")
    products = passes = 0
    for (*i, o), count in layers(bench.model, bench.batch, bench.objective).items():
        g = torch.randn(B, T, o)
        if not i:
            spent = needed.timed(ways_of_norm(torch.randn(B, T, o), g), rounds)
            more = spent["input"] + spent["rows"] - spent["sum"]
            passes += count * max(0, more)
            print(f"{count:3} LayerNorms of {o:4}: {1e3 * more:6.2f} ms")
            continue
        spent = needed.timed(ways(torch.randn(B, T, *i), g, torch.rand(B)), rounds)
        gram, own = spent["Gram"], spent["own"] - spent["sum"]
        products += count * max(0, min(gram, own))
        passes += count * max(0, min(spent["factor"], own - gram))
        print(f"{count:3} x {i[0]:4} -> {o:5}: sum {1e3 * spent['sum']:6.2f} ms, Gram adds "
              f"{1e3 * gram:6.2f} and {1e3 * spent['factor']:6.2f}, own {1e3 * own:6.2f}")
    print(f"products alone: {1 + products / whole['plain']:.2f}")
    print(f"floor: {1 + (products + passes) / whole['plain']:.2f}")


def main():
    words = needed.arguments("private_floor", __doc__, ("class", "lm"))
    machine.prepare("cpu")
    torch.set_num_threads(1)
    measure(words.shape, words.head, words.rounds)


if __name__ == "__main__":
    main()
