"""A sequence classifier's answers: class probabilities, weak labels, states, in file order.

N rows of a file, K classes, D hidden.
"""

import numpy as np
import torch

from w2s.infer import batching


def probabilities(model, columns, dtype="float32", title="predict"):
    """{"p": (N, K) float32, ...}: softmax of the logits of each text column; "p_adv" for ids_adv.

    columns as a task's encode makes them. Classes that a row's source lacks (`absent`) get 0.
    Without a title there is no progress bar.
    """
    return {key: softmax(z) for key, (z, _) in read_all(model, columns, dtype, title).items()}


def read_all(model, columns, dtype="float32", title="predict", hidden=False):
    """{"p": (logits (N, K), with `hidden` the states (N, D) that gave them, else None), ...}
    float32 of every text column, in file order."""
    outputs = {}
    # text columns are the lists of token arrays: "ids", and for pairs "ids_adv"
    for name in (key for key, column in columns.items() if isinstance(column, list)):
        inputs = {"ids": columns[name]} | {k: columns[k] for k in ("absent",) if k in columns}
        outputs[name.replace("ids", "p")] = _column(model, inputs, dtype, title, hidden)
    return outputs


def label(model, tokenizer, data, columns, cfg):
    """(iterator of rows with `weak`, f_w(x), and `logits`, for pairs also `weak_adv`, `logits_adv`;
    with cfg.hidden the states (N, D) of x that the class head reads (reading T1); a line about the
    rows). cfg.temperature divides the logits before the softmax."""
    outputs = read_all(model, columns, cfg.dtype, "label", cfg.hidden)  # {"p", "p_adv"}
    logits = {key: z for key, (z, _) in outputs.items()}
    absent = columns.get("absent", 0)  # a mask, not a logit: no temperature divides it
    p = {key: softmax((z - absent) / cfg.temperature + absent) for key, z in logits.items()}
    labelled = (row | {f"weak{key[1:]}": plain(p[key][i]) for key in p}
                | {f"logits{key[1:]}": plain(logits[key][i]) for key in p}
                for i, row in enumerate(data))
    share = np.mean(p["p"].argmax(-1) == [row["label"] for row in data])
    return labelled, outputs["p"][1], f"{len(data)} rows, {share:.1%} of the weak labels are right"


def weak_class(row):
    """The class that the weak label of a row names."""
    return int(np.argmax(row["weak"]))


def right(row):
    """Whether the weak label of a row is the true one."""
    return weak_class(row) == row["label"]


def predictions(model, columns, dtype="float32", title="predict"):
    """Yield N dicts of the probabilities of each text column, as the shortest floats that read
    back."""
    p = probabilities(model, columns, dtype, title)
    for i in range(len(columns["ids"])):
        yield {key: plain(values[i]) for key, values in p.items()}


def softmax(logits):
    """Float64 softmax over the last axis of an array, returned as float32."""
    # the largest logit is subtracted first, so that exp cannot overflow
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return (shifted / shifted.sum(-1, keepdims=True)).astype(np.float32)


def plain(values):
    """A float32 row as the shortest Python floats that read back to the same float32."""
    return [float(str(v)) for v in np.asarray(values, np.float32)]


@torch.inference_mode()
def _column(model, inputs, dtype, title, hidden):
    """(logits (N, K), states (N, D) at the last token, or None) float32. Raises ValueError for
    logits that are not finite, naming the batch by its first row."""
    def compute(batch, pick):
        h = model.last_state(batch["ids"], batch["len"], None, model.head_layer)
        return h, model.head(h).float() + batch.get("absent", 0)

    device = next(model.parameters()).device
    lengths = np.array([len(ids) for ids in inputs["ids"]])
    result = states = None
    groups = batching.by_tokens(lengths, batching.TOKENS[device.type], device)
    for pick, (h, logits) in batching.forward(model, inputs, groups, compute, dtype, title):
        if not bool(torch.isfinite(logits).all()):
            first = int(pick[0]) + 1
            raise ValueError(f"{title or 'attack'}: the model's output is not finite "
                             f"(row {first} ff.)")
        if result is None:  # only the output says how many classes there are
            result = np.empty((len(lengths), logits.shape[-1]), np.float32)
            states = np.empty((len(lengths), h.shape[-1]), np.float32) if hidden else None
        result[pick] = logits.cpu().numpy()
        if hidden:
            states[pick] = h.float().cpu().numpy()
    return result, states
