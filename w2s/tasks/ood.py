"""OOD robustness: sentiment on SST-2, tested on restyled sentences (DecodingTrust).

B rows, T tokens, D hidden, K = 2 classes, N rows of a split.
"""

import csv
import re

import numpy as np
import torch.nn.functional as F

from w2s import metrics, rows
from w2s.data import raw_folder, splits
from w2s.infer import classify
from w2s.model import tokenization
from w2s.train import step

label, predictions = classify.label, classify.predictions
right, weak_class = classify.right, classify.weak_class
make_step = step.make_step
KIND, CLASSES = "class", 2
TASK, TRUST, SIGN = "acc", "ra", 1
METRICS = {"acc": "accuracy in distribution (slice all = slice id)",
           "ra": "robust accuracy: mean over the styles of their accuracy",
           "ra_worst": "accuracy of the worst style",
           "gap": "accuracy on base minus the mean over the styles: the same sentences, paired"}
TITLE, ROW = "OOD robustness", 2
CLASS_NAMES = "negative", "positive"
NOTE = ("ra is the mean accuracy over the styles; acc is in distribution (slice id). `base` has "
        "the sentences the styles were made from, unchanged: gap = base - ra compares the same "
        "sentences, so it is paired.")
DEFAULTS = {"lam": (2e-3, "A.2: standard deviation"), "alpha": (0.25, "A.2"), "epochs": (1, "A.2")}
OPTIONS, ENCODE = ("noise_as",), ()  # flags of objective, of encode
LABEL = ("temperature", "hidden")  # flags of label
STYLES = ("augment", "shake_w", "shake_p0", "shake_p0.6", "bible_p0", "bible_p0.6", "romantic_p0",
          "romantic_p0.6", "tweet_p0", "tweet_p0.6")
FIELDS = {"id": str, "text": str, "label": (0, 1), "source": str}


def read(path, weak=False):
    """Rows of a split, checked; weak=True: a labels file, each row with the weak label."""
    return rows.read(path, {**FIELDS, **({"weak": CLASSES} if weak else {})})


def encode(rows, tokenizer, max_length, target="label"):
    """Columns of N rows: ids (list of token arrays), target (N, 2). The noise is no column: it is
    drawn anew for every batch."""
    return {"ids": tokenization.tokenize(tokenizer, [row["text"] for row in rows], max_length),
            "target": tokenization.targets(rows, target, CLASSES)}


def batches(columns, *args, width=0, **kwargs):
    """step.batches; with width D each batch also has standard normal `noise` (B, T, D), drawn from
    (seed, "noise", k)."""
    lengths = step.row_lengths(columns)
    for k, batch in step.batches(columns, *args, **kwargs):
        if width:
            (B, T), longest = batch["ids"].shape, int(lengths[batch["rows"].numpy()].max())
            # Drawn to the longest row and then padded with zeros: how far a device pads a batch
            # must not change the noise of its tokens.
            noise = step.normal((B, longest, width), kwargs["seed"], "noise", k,
                                device=batch["ids"].device)
            batch["noise"] = F.pad(noise, (0, 0, 0, T - longest))
        yield k, batch


def objective(f, batch, ell, lam, **options):
    """Eq. (5) weak stage, Eq. (8) student stage: ell(f(x_i; z_i)), z_i ~ N(0, lam^2 I) added to
    every token's embedding (readings E6, O1). Returns (B,)."""
    return loss(forward(f, batch, lam, **options), batch, ell, lam)


def forward(f, batch, lam, noise_as="std"):
    """{"x": logits (B, 2)} of f(x_i; z_i). batch["noise"] (B, T, D) is standard normal; lam is the
    standard deviation of z_i or, with noise_as "var", its variance (reading E6)."""
    if lam == 0:  # exactly plain training; the batch needs no noise
        return {"x": f(batch["ids"], batch["len"])}
    std = lam if noise_as == "std" else lam ** 0.5
    # the clean text is not read: Eq. (5) has no second term
    return {"x": f(batch["ids"], batch["len"], noise=std * batch["noise"])}


def loss(logits, batch, ell, lam):
    """ell of the logits: lam acts in the noise alone (reading E7). Returns (B,)."""
    return ell(logits["x"], batch)


def sums(rows):
    """(N, 2 + 2S): 1 and correct where the source is `id`, then the same for each style."""
    correct = np.array([row["p"] for row in rows]).argmax(-1) == [row["label"] for row in rows]
    source = np.array([row["source"] for row in rows])
    # `base` counts nowhere: it is in distribution, but not of the rows that acc is defined on.
    slices = ("id", *_styles(rows))
    in_source = np.stack([source == s for s in slices], -1).astype(float)  # (N, 1+S)
    return np.stack([in_source, in_source * correct[:, None]], -1).reshape(len(rows), -1)


def headline(totals):
    """{"acc", "ra"} (...,) from totals (..., 2 + 2S); ra is the mean over styles, each of the same
    weight however many rows it has."""
    pairs = totals.reshape(*totals.shape[:-1], -1, 2)  # (..., 1+S, 2): count, correct
    # A resample of the rows may lack a source: its rate is NaN, not an error.
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = pairs[..., 1] / pairs[..., 0]
    return {"acc": rate[..., 0], "ra": rate[..., 1:].mean(-1)}


def evaluate(rows):
    """[{slice, metric, value}]: one slice a source; `base` is in distribution (reading O4)."""
    by_source = {}
    for row in rows:
        by_source.setdefault(row["source"], []).append(row)
    acc = {s: metrics.accuracy(np.array([r["p"] for r in rs]).argmax(-1), [r["label"] for r in rs])
           for s, rs in by_source.items()}
    styles = _styles(rows)
    # Rows of one's own may lack any source: then its metrics are left out.
    result = [("all", "acc", acc["id"])] if "id" in acc else []
    if styles:
        ra = sum(acc[s] for s in styles) / len(styles)
        result += [("all", "ra", ra), ("all", "ra_worst", min(acc[s] for s in styles))]
        result += [("all", "gap", acc["base"] - ra)] if "base" in acc else []
    result += [(s, "acc" if s in ("id", "base") else "ra", acc[s]) for s in acc]
    result += [(s, "n", len(rs)) for s, rs in by_source.items()]
    return [dict(zip(("slice", "metric", "value"), entry)) for entry in result]


def _styles(rows):
    """The sources that are out of distribution, in a fixed order."""
    return sorted({row["source"] for row in rows} - {"id", "base"})


# ---- raw files -----------------------------------------------------------------------------------

ALIGNED = True  # rows of one group are versions of one sentence: --limit keeps all of them or none
VALIDATION = 0.025  # of the rows, as many as C.3 has
SHARED = ("val", "test")  # their `id` rows are the same: the paper's ID accuracy is on validation
SST2 = ("sst2/train.tsv", "sst-2/train.tsv", "sst2_train.tsv", "/train.tsv")
STYLE = ("style.json", "style.jsonl")
PUBLIC = raw_folder.Public(  # listed on the hub at commit 214d9a8
    "AI-Secure/DecodingTrust", ("ood/style.jsonl",), "CC BY-SA 4.0", 9712)
NEEDS = (
    raw_folder.Need(" or ".join(SST2), "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip, unpack "
                    "it", SST2, "; SST-2 states no licence, so we do not fetch it"),
    raw_folder.Need(" or ".join(STYLE), "https://github.com/AI-secure/DecodingTrust (data/ood)",
                    STYLE, public=PUBLIC))


def prepare(raw, seed=0, split="grouped", val=VALIDATION, trust=0.0, val_from="whole"):
    """{split: rows}: SST-2's train sentences without those of the style test, source `id`, grouped
    by equal text: 2.5 % val, D_W and D_WTS half of the rest each (reading E22). val=.05 with
    val_from="weak" is C.3 as printed: 47.5 % D_W, 2.5 % val, 50 % D_WTS.

    test has the val rows once more, then DecodingTrust's `base` and styles. val also has the 120
    demonstration rows (`base` and four styles), with which no split shares a sentence: so lambda
    can be chosen on validation rows (readings E11, O3). Raises ValueError without a val share."""
    train, style = raw.first(*SST2), raw.first(*STYLE)
    if train is None:
        raise raw.missing(NEEDS[0])
    if style is None:
        [style] = raw.fetch(NEEDS[1])
    demos, styles = _restyled(style)
    raw.account(style, len(demos) + len(styles))
    pool = _sentences(train)
    # Styles are made from SST-2's sentences: trained on, those would be a leak. The sort puts
    # `base` last, so that a sentence that is in both counts as a source sentence.
    taken = {splits.normal(row["text"]): row["source"] == "base" for row in
             sorted(demos + styles, key=lambda row: row["source"] == "base")}
    hits = [taken.get(splits.normal(row["text"])) for row in pool]
    raw.account(train, len(pool), {"source sentences of the style test": hits.count(True),
                                   "equal to a restyled sentence": hits.count(False)})
    pool = [row for row, hit in zip(pool, hits) if hit is None]
    if not val:
        raise ValueError("--val 0: accuracy in distribution is measured on validation rows (C.3); "
                         "give --val a share")
    parts = splits.usual(pool, seed, split, val, trust, val_from, {"weak": 0.5, "wts": 0.5})
    raw.notes.append("the test rows of source id are the val rows of source id, as in the paper")
    return parts | {"val": parts["val"] + demos,
                    "test": parts["val"] + styles}


def _sentences(path):
    """The rows of SST-2's train.tsv. Raises ValueError `path:line: ...` for another table."""
    pool = []
    # QUOTE_NONE: in SST-2 a quotation mark is a character of the sentence.
    for n, fields in raw_folder.table(path, "\t", csv.QUOTE_NONE):
        if n == 1:
            if fields != ["sentence", "label"]:
                raise ValueError(f"{path}:1: expected the header `sentence<tab>label`")
            continue
        if len(fields) != 2 or not fields[0] or fields[1] not in ("0", "1"):
            raise ValueError(f"{path}:{n}: expected a sentence, a tab, and 0 or 1")
        pool.append({"id": f"train/{len(pool)}", "text": fields[0], "label": int(fields[1]),
                     "source": "id", "group": splits.digest(splits.normal(fields[0]))})
    return pool


def _restyled(path):
    """(demonstration rows, test rows) of DecodingTrust's style.json or the hub's flat style.jsonl.

    A demonstration list is called base_1 or bible_p0.6_1; its source is base or bible_p0.6. The
    k-th rows of all lists are versions of one sentence, and one group. Raises ValueError where the
    lists do not have the labels of `base` in its order."""
    lists, demos, styles = _lists(path), [], []
    order = {name: k for k, name in enumerate(("base", *STYLES))}
    for name in sorted(lists, key=lambda name: (order.get(name, len(order)), name)):
        demo = re.fullmatch(r"(base|.+_p[\d.]+)_(\d+)", name)
        for k, (text, label, where) in enumerate(lists[name]):
            label = {"0": 0, "1": 1, "negative": 0, "positive": 1}.get(str(label).lower())
            if not isinstance(text, str) or not text.strip() or label is None:
                raise ValueError(f"{where}: expected a sentence and a label, 0 or 1")
            row = {"id": f"style/{name}/{k}", "text": text.strip(), "label": label,
                   "source": demo[1] if demo else name,
                   "group": f"demo/{demo[2]}/{k}" if demo else f"style/{k}"}
            (demos if demo else styles).append(row)
    # `gap` is paired: it needs the same sentences in every list. Labels are what can be compared.
    labels = {name: [row["label"] for row in styles if row["source"] == name]
              for name in {row["source"] for row in styles}}
    wrong = [name for name in sorted(labels) if labels[name] != labels.get("base")]
    if wrong or len(labels) < 2:
        raise ValueError(f"{path}:1: {wrong[0] if wrong else 'the file'} does not have the "
                         "sentences of the list `base`, in its order, with its labels")
    return demos, styles


def _lists(path):
    """{list name: [(sentence, label, place in the file)]} of either form of the style file. Raises
    ValueError for another form."""
    lists = {}
    if path.name.lower().removesuffix(".gz").endswith(".jsonl"):
        fields = {"category": str, "question_sentence": str}
        for n, row in enumerate(rows.read(path, fields, unique=False), 1):
            lists.setdefault(row["category"], []).append(
                (row["question_sentence"], row.get("answer"), f"{path}:{n}"))
        return lists
    parts = rows.read_json(path)
    try:
        for part in (parts.get("train_demo") or {}, parts["dev"]):
            for name, members in part.items():
                lists[name] = [(row["sentence"], row["label"], f"{path}: {name}[{k}]")
                               for k, row in enumerate(members)]
    except (AttributeError, KeyError, TypeError):
        raise ValueError(f"{path}:1: expected {{'train_demo': lists, 'dev': lists}} of rows with a "
                         "sentence and a label") from None
    return lists
