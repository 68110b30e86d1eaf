"""Class probabilities of many rows: sorted by length, batched by tokens, back in file order."""

import numpy as np
import torch
from tqdm import tqdm

from w2s import device as devices
from w2s.step import collate

TOKENS = {"cpu": 4096, "cuda": 65536}  # padded tokens in a batch


def probabilities(model, columns, dtype="float32", title="predict"):
    """{"p": (N, K) float32, ...}: softmax of the logits of each text column; "p_adv" for ids_adv.

    columns as a task's encode makes them; classes a row's source lacks (`absent`) get 0. Without a
    title there is no progress bar.
    """
    return {key: softmax(z) for key, z in all_logits(model, columns, dtype, title).items()}


def all_logits(model, columns, dtype="float32", title="predict"):
    """{"p": (N, K) float32 logits, ...} of every text column, in file order."""
    found = {}
    for name in (key for key, column in columns.items() if isinstance(column, list)):
        inputs = {"ids": columns[name]} | {k: columns[k] for k in ("absent",) if k in columns}
        found[name.replace("ids", "p")] = _column(model, inputs, dtype, title)
    return found


def label(model, tokenizer, data, columns, cfg):
    """(rows with `weak`, f_w(x), and `logits`, for pairs also `weak_adv` and `logits_adv`; a line
    about them). cfg.temperature divides the logits before the softmax."""
    logits = all_logits(model, columns, cfg.dtype, "label")  # {"p", "p_adv"}
    absent = columns.get("absent", 0)  # stays out of the temperature
    p = {key: softmax((z - absent) / cfg.temperature + absent) for key, z in logits.items()}
    labelled = [row | {f"weak{key[1:]}": plain(p[key][i]) for key in p}
                | {f"logits{key[1:]}": plain(logits[key][i]) for key in p}
                for i, row in enumerate(data)]
    right = sum(int(q.argmax()) == row["label"] for q, row in zip(p["p"], data)) / len(data)
    return labelled, f"{len(data)} rows, {right:.1%} of the weak labels are right"


def predictions(model, columns, dtype="float32", title="predict"):
    """N dicts of the probabilities of each text column, as the shortest floats that read back."""
    found = probabilities(model, columns, dtype, title)
    return [{key: plain(p[i]) for key, p in found.items()} for i in range(len(columns["ids"]))]


def softmax(logits):
    """Float64 softmax over the last axis of an array, returned as float32."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return (shifted / shifted.sum(-1, keepdims=True)).astype(np.float32)


def plain(values):
    """A float32 row as the shortest Python floats that read back to the same float32."""
    return [float(str(v)) for v in np.asarray(values, np.float32)]


@torch.inference_mode()
def _column(model, inputs, dtype, title):
    device = next(model.parameters()).device
    lengths = np.array([len(ids) for ids in inputs["ids"]])
    result = None
    groups = by_tokens(lengths, TOKENS[device.type])
    for pick in tqdm(groups, title, disable=not title or None, leave=False):
        batch = collate(inputs, pick, device)
        with devices.autocast(device, dtype):
            logits = model(batch["ids"], batch["len"]).float() + batch.get("absent", 0)
        if not bool(torch.isfinite(logits).all()):
            first = int(pick[0]) + 1
            raise ValueError(f"{title or 'attack'}: the model's output is not finite "
                             f"(row {first} ff.)")
        if result is None:
            result = np.empty((len(lengths), logits.shape[-1]), np.float32)
        result[pick] = logits.cpu().numpy()
    return result


def by_tokens(lengths, tokens):
    """Index arrays, longest rows first, each at most `tokens` padded tokens (or one row)."""
    ordered, start, groups = np.argsort(-lengths, kind="stable"), 0, []
    while start < len(ordered):
        size = max(1, tokens // int(lengths[ordered[start]]))
        groups.append(ordered[start:start + size])
        start += size
    return groups
