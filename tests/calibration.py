"""Calibration: a fifth property, as an example (docs/add-a-property.md). Copied to w2s/tasks it is
a task like the others; tests/tasks/test_property.py does that.

Does a well calibrated teacher give a well calibrated student? The penalty on confident predictions
is Pereyra et al. 2017 (arXiv 1701.06548). B rows, K = 2 classes, N rows of a split.
"""

import numpy as np

from w2s import metrics, rows
from w2s.data import splits
from w2s.infer import classify
from w2s.model import tokenization
from w2s.train import losses, step

label, predictions = classify.label, classify.predictions
right, weak_class = classify.right, classify.weak_class
batches, make_step = step.batches, step.make_step
KIND, CLASSES, CLASS_NAMES = "class", 2, ("negative", "positive")
FIELDS = {"id": str, "text": str, "label": (0, 1)}
DEFAULTS = {"lam": (0.1, "ours"), "alpha": (0.2, "ours"), "epochs": (3, "ours")}
LABEL = ("temperature", "hidden")  # flags of label.py

TITLE, ROW = "Calibration", 5
TASK, TRUST, SIGN = "acc", "brier", -1
METRICS = {"acc": "accuracy", "brier": "Brier score: mean of (p - label)^2"}
NOTE = "brier is the mean squared distance of P(1) to the label: of calibration and of knowledge."


def read(path, weak=False):
    """Rows of a split, checked; weak=True: a labels file, each row with the weak label."""
    return rows.read(path, {**FIELDS, **({"weak": CLASSES} if weak else {})})


def prepare(raw, seed=0, split="grouped", val=splits.VALIDATION, trust=0.0):
    """{split: rows} of sentences.jsonl, {"text", "label"} a line, grouped by equal text."""
    path = raw.first("sentences.jsonl")
    if path is None:
        raise ValueError("sentences.jsonl is not in the folder of --raw")
    pool = [{"id": f"sentence/{n}", "text": row["text"], "label": row["label"],
             "group": splits.digest(row["text"])}
            for n, row in enumerate(rows.read(path, {"text": str, "label": (0, 1)}, unique=False))]
    raw.account(path, len(pool))
    return splits.usual(pool, seed, split, val, trust)


def encode(rows, tokenizer, max_length, target="label"):
    """Columns of N rows: ids (list of token arrays), target (N, 2)."""
    return {"ids": tokenization.tokenize(tokenizer, [row["text"] for row in rows], max_length),
            "target": tokenization.targets(rows, target, CLASSES)}


def objective(f, batch, ell, lam):
    """ell_i - lam * H(f(x_i)), H the entropy in nats. Returns (B,)."""
    return loss(forward(f, batch, lam), batch, ell, lam)


def forward(f, batch, lam):
    """{"x": logits (B, 2)} of the texts."""
    return {"x": f(batch["ids"], batch["len"])}


def loss(logits, batch, ell, lam):
    """ell_i - lam * H(f(x_i)). Returns (B,)."""
    logp = losses.wide(logits["x"]).log_softmax(-1)
    return ell(logits["x"], batch) + lam * (logp.exp() * logp).sum(-1)


def sums(rows):
    """(N, 3) what a row adds to the totals: 1, correct, squared distance."""
    p, label = np.array([row["p"][1] for row in rows]), np.array([row["label"] for row in rows])
    return np.stack([np.ones_like(p), (p >= .5) == label, (p - label) ** 2], -1)


def headline(totals):
    """{"acc", "brier"} (...,) from totals (..., 3)."""
    return {"acc": totals[..., 1] / totals[..., 0], "brier": totals[..., 2] / totals[..., 0]}


def evaluate(rows):
    """[{slice, metric, value}] of predictions."""
    p, label = [row["p"][1] for row in rows], [row["label"] for row in rows]
    return [{"slice": "all", "metric": "acc", "value": float(headline(sums(rows).sum(0))["acc"])},
            {"slice": "all", "metric": "brier", "value": metrics.brier(p, label)}]
