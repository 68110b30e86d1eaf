"""Models, batches and peers that several sections measure.

Peers are transformers' GPT-NeoX with our weights: "shipped" with PyTorch's settings, "equal" with
ours (on a CPU oneDNN and attention written out). B rows, T tokens, L layers, h hidden, V words.
"""

import importlib.util

import numpy as np
import torch

from tests.bench import machine
from w2s.model import checkpoint, gpt_neox, configuration

SIZE = {"class": (32, 64), "lm": (16, 128)}
TINY = {"class": (4, 16), "lm": (2, 16)}


def config_of(shape):
    """config.json of 14m, 70m, ...; tiny is for tests."""
    if shape == "tiny":
        return configuration.published(2, 32, 2, 512)
    return configuration.SHAPES[f"pythia-{shape}"]


def vocabulary(shape):
    """Ids below it are drawn; the one above all is the padding."""
    return min(50000, config_of(shape)["vocab_size"] - 12)


def model_of(shape, head, device):
    """An untrained model; a class head of small random weights."""
    base = checkpoint.untrained(config_of(shape), 0)
    weights = base.state_dict()
    if head == "class":
        del weights["embed_out.weight"]
        draw = torch.Generator().manual_seed(0)
        weights["score.weight"] = .1 * torch.randn(2, base.config["hidden_size"], generator=draw)
    return model_with(base.config, head, weights, device)


def drawn(config, head, device, seed=0, std=.02):
    """A model of random weights, drawn where it is to be: on a GPU large ones take no time."""
    draw = torch.Generator(device).manual_seed(seed)
    with torch.device("meta"):
        shapes = {name: p.shape for name, p in gpt_neox.GPTNeoX(config, head, 2).named_parameters()}
    weights = {name: torch.full(shape, float(name.endswith("norm.weight")), device=device)
               for name, shape in shapes.items()}
    for value in weights.values():
        if value.ndim > 1:
            value.normal_(0, std, generator=draw)
    return model_with(config, head, weights, device)


def model_with(config, head, weights, device):
    """A model that shares the weights it is given."""
    with torch.device("meta"):
        m = gpt_neox.GPTNeoX(config, head, 2)
    m.load_state_dict(weights, assign=True)
    return m.to(device)


def transformer(model, eager, device):
    """transformers' model that shares the weights of ours."""
    import transformers
    config = transformers.GPTNeoXConfig(**configuration.saved_config(
        model, model.settings["vocab_size"] - 1))
    m = getattr(transformers, model.prefix + configuration.CLASS_NAME[model.kind])._from_config(
        config, attn_implementation="eager" if eager else "sdpa").to(device).train()
    back = {ours: theirs for theirs, ours in checkpoint.RENAMED.items()}
    m.load_state_dict({back.get(name, name): value for name, value in model.state_dict().items()},
                      assign=True)
    return m


def batch_of(shape, head, device, size=None):
    """Rows of random tokens, all of one length; size: (rows, tokens)."""
    B, T = size or (TINY if shape == "tiny" else SIZE)[head]
    draw = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (B,), generator=draw)
    batch = {"ids": torch.randint(1, vocabulary(shape), (B, T), generator=draw), "y": y,
             "target": torch.nn.functional.one_hot(y, 2).float(), "mask": torch.ones(B, T),
             "len": torch.full((B,), T), "rows": torch.arange(B)}
    return {key: value if key == "rows" else value.to(device) for key, value in batch.items()}


def rows_of(lengths, shape, seed=1):
    """Random tokens, a row of each length."""
    draw = np.random.default_rng(seed)
    return [draw.integers(1, vocabulary(shape), k).astype(np.int32) for k in lengths]


def padded(ids, pick, pad, device):
    """(tokens (B, T), mask (B, T)) of some rows, padded on the right to the longest."""
    size = torch.tensor([len(ids[i]) for i in pick])
    batch = torch.full((len(pick), int(size.max())), pad)
    for row, i in zip(batch, pick):
        row[:len(ids[i])] = torch.from_numpy(ids[i])
    mask = torch.arange(batch.shape[1]) < size[:, None]
    return batch.to(device), mask.long().to(device)


def nominal_flops(shape, head, rows, tokens):
    """6 N tokens + 6 L h T tokens: N without embedding and head, the causal half of attention,
    forward and backward; a language model adds 6 V h tokens. One row has `tokens` tokens."""
    c = config_of(shape)
    L, h, inner = c["num_hidden_layers"], c["hidden_size"], c["intermediate_size"]
    N = L * (4 * h * h + 4 * h + 2 * h * inner + inner + h + 4 * h) + 2 * h
    flops = 6 * N + 6 * L * h * tokens + (6 * c["vocab_size"] * h if head == "lm" else 0)
    return flops * rows * tokens


def shipped(run, setting):
    return machine.with_settings(run, setting.device, setting.shipped)


def missing(*packages):
    """Why a variant cannot be built, or None."""
    lacking = [name for name in packages if not importlib.util.find_spec(name)]
    return f"no {lacking[0]} here" if lacking else None
