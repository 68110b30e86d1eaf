"""Operators that no code of ours replaces, and what they take alone.

`Noted` notes each operator of NEEDED that runs, with a copy of what it was given, and how often.
`alone` runs them again, each as often, on the same memory: without what stands between them,
without autograd, without waiting for memory that another one has used. What it takes is a floor of
what they are part of, as long as PyTorch's operators do the work.
"""

import itertools

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.bench import harness, machine
from tests.bench.__main__ import Parser
from w2s.model.configuration import SHAPES

CPU = torch.device("cpu")
# kind: operators. Not here: copies, sums, views, factors, rotary positions, zeros
NEEDED = {"products": ("mm", "addmm", "bmm", "baddbmm"),
          "AdamW, norm of the gradient": ("_fused_adamw_", "_foreach_norm", "linalg_vector_norm"),
          "GELU": ("gelu", "gelu_backward"),
          "softmax": ("_softmax", "_softmax_backward_data"),
          "LayerNorm": ("native_layer_norm", "native_layer_norm_backward"),
          "embedding": ("embedding", "embedding_dense_backward")}
KIND = {name: kind for kind, names in NEEDED.items() for name in names}


class Noted(TorchDispatchMode):
    """calls: {(name, shapes and other arguments): [how often, function, arguments, keywords]}, with
    copies of the tensors of the first such call. Another float, such as a learning rate, is no
    other call."""

    def __init__(self):
        super().__init__()
        self.calls = {}

    def __torch_dispatch__(self, function, types, words=(), named=None):
        named, name = named or {}, function.overloadpacket.__name__
        if name in KIND:
            key = name, str([(v.shape, v.stride(), v.dtype) if isinstance(v, torch.Tensor) else v
                             for v in tree_leaves((words, named)) if not isinstance(v, float)])
            if key not in self.calls:
                self.calls[key] = [0, function, *tree_map(copied, (words, named))]
            self.calls[key][0] += 1
        return function(*words, **named)


def arguments(name, doc, heads=()):
    """--shape, --rounds and, given heads, --head of `python -m tests.bench.NAME`."""
    parser = Parser(prog=f"python -m tests.bench.{name}", description=doc.splitlines()[0])
    shapes = ["tiny", *(shape.removeprefix("pythia-") for shape in SHAPES)]
    parser.add_argument("--shape", default="14m", choices=shapes)
    if heads:
        parser.add_argument("--head", default=heads[0], choices=heads)
    parser.add_argument("--rounds", type=int, default=20)
    words = parser.parse_args()
    if words.rounds < 1:
        parser.error(f"--rounds {words.rounds}: must be >= 1")
    return words


def copied(value):
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def timed(functions, rounds):
    """{name: median seconds}, the functions in turn, each called twice before."""
    for run in functions.values():  # makes kernels and memory
        run(), run()
    times = harness.alternate(functions, rounds, lambda run: machine.seconds(run, CPU))
    return {name: harness.quartiles(spent)[1] for name, spent in times.items()}


def seconds(run, rounds):
    """The same of one function."""
    return timed({"": run}, rounds)[""]


@torch.no_grad()
def alone(calls, rounds):
    """{kind: seconds} of all `calls` of a Noted."""
    spent = dict.fromkeys(NEEDED, 0.0)
    for (name, _), (often, function, words, named) in calls.items():
        few = min(often, 10)  # so many in a row are one measurement

        def run():
            for _ in itertools.repeat(None, few):
                function(*words, **named)
        spent[KIND[name]] += often / few * seconds(run, rounds)
    return spent
