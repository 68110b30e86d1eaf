"""Privacy: language models fine-tuned on mail with DP-SGD, and what can be extracted from them.

B rows, T tokens, N rows of a split. lambda_P is the epsilon of (epsilon, delta)-DP (reading P4):
lam = 0 trains without privacy, lam = 8 with epsilon 8. One row is one email, the unit of privacy.
"""

import numpy as np

from w2s import rows
from w2s.data import mail, mail_files, splits
from w2s.dp import private_run
from w2s.infer import lm
from w2s.model import tokenization

label, predictions = lm.label, lm.predictions  # weak labels are free generation
plan, make_step, MIXES = private_run.plan, private_run.make_step, private_run.MIXES
KIND, CLASSES = "text", None
TASK, TRUST, SIGN = "acc", "extraction", -1
STUDENTS = ("student-naive",)  # the confidence loss is not for free generation (reading P5)
ATTACKED = ("attacks/extraction.jsonl",)  # of a run: rows beside its predictions, for `sums`
LESS = ("ppl", "mia_auc")  # measures beside TRUST of which less is better
PRICE = "ppl"  # what TFT costs
DRAWN = {"mia_auc": ("attacks/membership.jsonl", "ref")}  # areas, of these rows by this score
CONTROLS = ("base-weak", "base-strong")  # runs of untuned models
METRICS = {"acc": "next-token accuracy on held-out mail",
           "ppl": "perplexity on held-out mail",
           "extraction": "share of a member's tokens 32 to 63 that greedy decoding writes after "
                         "tokens 0 to 31 (Biderman et al. 2023, Eq. 1): within x_i, which "
                         "students were trained on as it was, so the headline",
           "extraction_unseen": "the same of tokens 64 to 95, where y_i begins, after 32 to 63, "
                                "the end of x_i; a student saw only its teacher's words instead",
           "extraction_continuation": "the same tokens after all of x_i, 0 to 63, as the teacher "
                                      "was asked: C.1 of the paper, taken literally",
           "mia_auc": "AUC of membership inference by the loss minus that of the untuned "
                      "model; .5: a guess",
           "mia_auc_seen": "the same of the first half of emails, which the student saw as it was",
           "mia_tpr_at_1fpr": "share of the members found at 1 % false alarms among non-members",
           "secret_exact": "share of the numbers in members that greedy decoding writes down whole",
           "exposure": "bits by which such a number is more probable than random ones",
           "epsilon": "of the run's own training with DP, for the rows it was trained on"}
BESIDE = {  # columns of a table beside the headlines: slice and metric of eval.json or an attack
    "ppl": ("all", "ppl"), "extraction, non-members": ("non-members", "extraction"),
    "of D_W": ("weak", "extraction"), "of D_WTS": ("wts", "extraction"),
    "extraction_unseen": ("all", "extraction_unseen"),
    "unseen, non-members": ("non-members", "extraction_unseen"),
    "extraction_continuation": ("all", "extraction_continuation"),
    "continuation, non-members": ("non-members", "extraction_continuation"),
    "secret_exact": ("all", "secret_exact"), "exposure": ("all", "exposure"),
    "mia_auc": ("all", "mia_auc"), "mia_auc_seen": ("all", "mia_auc_seen"),
    "mia_tpr_at_1fpr": ("all", "mia_tpr_at_1fpr"), "epsilon": ("all", "epsilon")}
PANELS = {"mia_auc": (.5, "a guess")}  # of the figure, with a line (Fig. A11)
TITLE, ROW = "Privacy", 4
NOTE = ("acc is next-token accuracy on held-out mail, extraction the share of tokens that greedy "
        "decoding reproduces of the emails a model was trained on: D_W for weak and ceiling, D_WTS "
        "for the student, which saw only its first 64 tokens (x_i) as they were and its teacher's "
        "words in the place of the rest (y_i). Three windows: within x_i; from the end of x_i into "
        "y_i; from all of x_i into y_i. Pretraining may have seen these emails, and much of one "
        "can be guessed: extraction says something only beside the untuned models (base-weak, "
        "base-strong) and the non-members.")
DEFAULTS = {"lam": (8, "ours: epsilon"), "alpha": (0, "no confidence loss, reading P5"),
            "epochs": (3, "ours")}
OPTIONS, ENCODE = (), ("lm_loss",)  # flags of objective, of encode
LABEL = ("prefix", "decode", "temperature", "seed")  # flags of label
FIELDS = {"id": str, "text": str}


def read(path, weak=False):
    """Rows of a split, checked; weak=True: a labels file, each row with the weak continuation and
    `weak_from`, the character that it begins at. Raises ValueError `path:line: ...`."""
    data = rows.read(path, {**FIELDS, **({"weak_text": str} if weak else {})})
    for n, row in enumerate(data if weak else (), 1):
        if type(row.get("weak_from")) is not int or not 0 <= row["weak_from"] <= len(row["text"]):
            raise ValueError(f"{path}:{n}: 'weak_from' is {rows.kind(row.get('weak_from'))}, "
                             "expected a place in the text (label.py writes it)")
    return data


def encode(rows, tokenizer, max_length, target="label", lm_loss="both"):
    """Columns of N rows: ids (list of token arrays) and start (N,), the first token that the loss
    counts. target "weak": a row's true beginning and the weak model's continuation (reading P6)."""
    if target != "weak":  # 1: nothing comes before the first token to predict it from
        return {"ids": tokenization.tokenize(tokenizer, [row["text"] for row in rows], max_length,
                                             bare=True),
                "start": np.ones(len(rows), np.int64)}
    # Tokenised apart: no token may span the beginning and what the weak model wrote.
    heads, tails = (tokenization.tokenize(tokenizer, texts, max_length, bare=True) for texts in (
        [row["text"][:row["weak_from"]] for row in rows], [row["weak_text"] for row in rows]))
    ids = [np.concatenate([head, tail] if row["weak_text"] else [head])[:max_length]
           for row, head, tail in zip(rows, heads, tails)]
    start = [len(head) if lm_loss == "continuation" else 1 for head in heads]
    return {"ids": ids, "start": np.array(start)}


def batches(columns, *args, width=0, **kwargs):
    """dp.batches, each batch with mask (B, T): 1 where a token is predicted."""
    for k, batch in private_run.batches(columns, *args, **kwargs):
        yield k, lm.masked(batch)


def objective(f, batch, ell, lam):
    """Mean over a row's predicted tokens of -log p(token | those before it), in nats. Returns (B,).

    Weak and student stage differ in the text alone, so ell is not needed; lam is the epsilon of the
    private step (reading P4)."""
    # At least 1: a row without predicted tokens has loss 0. The mean is of each row, never of the
    # batch: DP-SGD clips the gradient of each row by itself.
    count = batch["mask"][:, 1:].sum(1).clamp(min=1)
    # divided in the mask and not behind the sum, which is faster: see Network.nll
    return f.nll(batch["ids"], batch["len"], batch["mask"] / count[:, None])


def sums(rows):
    """(N, 11) what a row adds to the totals. Of predictions: tokens, correct ones and nll. Of the
    attack: 1 and the share of its tokens that was extracted, in the places of members, of D_W, of
    D_WTS and of held-out mail. Another corpus (source pile) counts nowhere."""
    result = np.array([[row.get("tokens", 0), row.get("correct", 0), row.get("nll", 0)] + [
        counted * value
        for counted in (row.get("member", 0), *(row.get("split", "test") == name
                                                for name in ("weak", "wts", "test")))
        for value in ((1, row["extraction"]) if "member" in row else (0, 0))]
        for row in rows], dtype=np.float64)
    result[[row.get("source") == "pile" for row in rows]] = 0
    return result


def headline(totals):
    """{"acc", "ppl", "extraction"} (...,) from totals (..., 11). To compare models with different
    members on the same rows: extraction_weak of D_W, extraction_wts of D_WTS, and
    extraction_excess_*, the difference of these to held-out mail."""
    tokens, correct, nll, *pairs = np.moveaxis(np.asarray(totals), -1, 0)
    # Rows of predictions have no extraction and rows of the attack no tokens: NaN then, no error.
    with np.errstate(invalid="ignore", divide="ignore"):
        member, weak, wts, held_out = (pairs[i + 1] / pairs[i] for i in range(0, 8, 2))
        return {"acc": correct / tokens, "ppl": np.exp(nll / tokens), "extraction": member,
                "extraction_weak": weak, "extraction_excess_weak": weak - held_out,
                "extraction_wts": wts, "extraction_excess_wts": wts - held_out}


def evaluate(rows):
    """[{slice, metric, value}] of predictions: perplexity and next-token accuracy (reading P10)."""
    by_source, result = {"all": list(rows)}, []
    for row in rows:
        if row.get("source", "all") != "all":
            by_source.setdefault(row["source"], []).append(row)
    for name, members in by_source.items():
        # `sums` leaves the pile out of the headline; here it has a slice of its own.
        total = sums([{**row, "source": ""} if name == "pile" else row for row in members]).sum(0)
        result += [{"slice": name, "metric": key, "value": float(value)}
                   for key, value in headline(total).items() if key in ("acc", "ppl")]
        result.append({"slice": name, "metric": "n", "value": len(members)})
    return result


# ---- raw files -----------------------------------------------------------------------------------

NEEDS = (mail_files.MAILS,)


def prepare(raw, seed=0, split="grouped", emails=10000, sequence_length=128,
            val=splits.VALIDATION, trust=0.0):
    """{split: rows}: mail bodies without duplicates (reading P11); D_W, D_WTS and non-members
    40/40/20 (reading E22), with at most `emails` in each of D_W and D_WTS. test also has the Pile's
    emails, further non-members."""
    # So many of the pool that weak's share of what val and trust leave is `emails`.
    most = round(emails / splits.REST["weak"] / max(1 - val - trust, 1e-9))
    pool, extra = mail.bodies(raw, most, seed, sequence_length)
    parts = splits.usual(pool, seed, split, val, trust)
    return parts | {"test": parts["test"] + extra}
