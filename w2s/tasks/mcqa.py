"""Multiple-choice questions (trust functions): MMLU, ARC, OpenBookQA and the like.

Two ways to ask. "cloze": the answer is the option whose words have the largest likelihood behind
the question, per token or, as lm-eval's `acc`, in sum; "letters": the question with its options,
and the answer is the letter with the largest logit. B rows, N rows of a split, O options of a row.
"""

import numpy as np

from w2s import rows
from w2s.data import questions, splits
from w2s.infer import choice, classify
from w2s.infer.classify import plain, softmax, weak_class
from w2s.train import step

USES = choice, classify, step  # what is not defined here
KIND, CLASSES = "letters", None
TASK = "acc"
METRICS = {"acc": "share of the questions whose answer is the true one",
           "acc_token": "the same, the answer being the likeliest option per token",
           "acc_sum": "the same, the answer being the likeliest option in whole"}
TITLE, ROW = "Multiple choice", 11
DEFAULTS = {"lam": (0, "no regulariser"), "alpha": (0, "no confidence loss"), "epochs": (3, "ours")}
OPTIONS, ENCODE = (), ("scoring",)  # flags of objective, of encode
LABEL = ("temperature", "hidden", "scoring")  # flags of label, the last of evaluate too
FIELDS = {"id": str, "text": str}
LETTERS = "ABCDEFGHIJ"


def read(path, weak=False):
    """Rows of a split, checked; weak=True: a labels file, each row with the weak label."""
    found = rows.read(path, FIELDS)
    for n, row in enumerate(found, 1):
        options = row.get("choices")
        if not (isinstance(options, list) and 2 <= len(options) <= len(LETTERS)
                and all(isinstance(option, str) and option.strip() for option in options)):
            raise ValueError(f"{path}:{n}: 'choices' is not a list of 2 to {len(LETTERS)} answers")
        rows.require({"choices": " ".join(options)}, "choices", str, path, n)  # no surrogate
        rows.require(row, "label", range(len(options)), path, n)
        if weak:
            rows.require(row, "weak", len(options), path, n)
    return found


def prompt(row, scoring="cloze"):
    """What the model reads before the answer. A row may bring its own `prompt` for cloze."""
    if scoring == "cloze":
        return row.get("prompt", f"Question: {row['text']}\nAnswer:")
    listed = "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS, row["choices"]))
    return f"Question: {row['text']}{listed}\nAnswer:"


def options(row, scoring="cloze"):
    """The answers behind the prompt, each with its blank."""
    found = row["choices"] if scoring == "cloze" else LETTERS[:len(row["choices"])]
    return [f" {option}" for option in found]


def truth(row, scoring="cloze"):
    """The true answer behind the prompt."""
    return options(row, scoring)[row["label"]]


def encode(rows, tokenizer, max_length, target=None, scoring="cloze"):
    """Columns of N rows to train on, `answers.encode` of the true ("label") or the weak answer; or,
    without a target, to answer: ids, the prompts (N token arrays), options (N lists of token
    arrays) and per_token, False for letters: the softmax over them is then that of the logits
    behind their blank, also where the blank is a token of its own."""
    asked = [prompt(row, scoring) for row in rows]
    offered = [options(row, scoring) for row in rows]
    if target:
        chosen = [row["label"] if target == "label" else weak_class(row) for row in rows]
        tails = [offer[k] for offer, k in zip(offered, chosen)]
        return choice.encode(tokenizer, asked, tails, max_length)
    tails = [[ids[:max(1, max_length - 1)] for ids in row]
             for row in choice.options(tokenizer, offered)]
    heads = choice.prompts(tokenizer, asked, max_length)
    heads = [head[-max(1, max_length - max(map(len, tail))):] for head, tail in zip(heads, tails)]
    return {"ids": heads, "options": tails, "per_token": scoring == "cloze"}


def answer(model, columns, dtype, title, hidden=False, scoring="token"):
    """(logits: N arrays (O,), the log-likelihood of each option, per token or of letters and with
    scoring "sum" in whole; hidden (N, D))."""
    logp, count, states = choice.likelihoods(model, columns["ids"], columns["options"], dtype,
                                              title, hidden,
                                              columns["per_token"] and scoring == "token")
    return [row / n for row, n in zip(logp, count)], states


def label(model, tokenizer, data, columns, cfg):
    """(iterator of rows with `weak`, softmax(logits / cfg.temperature) over the options, and
    `logits`; with cfg.hidden states (N, D) behind the answer, reading T1; a line about them)."""
    logits, hidden = answer(model, columns, cfg.dtype, "label", cfg.hidden, cfg.scoring)
    weak = [softmax(z / cfg.temperature) for z in logits]
    labelled = (row | {"weak": plain(p), "logits": plain(z)}
                for row, p, z in zip(data, weak, logits))
    share = np.mean([p.argmax() == row["label"] for row, p in zip(data, weak)])
    return labelled, hidden, f"{len(data)} rows, {share:.1%} of the weak labels are right"


def predictions(model, columns, dtype="float32", title="predict", scoring="token"):
    """N dicts of p (O,), softmax of the logits of `answer`; of cloze also by_token and by_sum, the
    option that either scoring chooses."""
    found = []
    for whole, tails in zip(answer(model, columns, dtype, title, scoring="sum")[0],
                            columns["options"]):
        each = whole / [len(ids) for ids in tails]
        both = {"by_token": int(each.argmax()), "by_sum": int(whole.argmax())}
        cloze = columns["per_token"]
        found.append({"p": plain(softmax(each if cloze and scoring == "token" else whole))}
                     | (both if cloze else {}))
    return found


def sums(rows):
    """(N, 2): 1, and whether the answer is right."""
    return np.array([[1, np.argmax(row["p"]) == row["label"]] for row in rows], np.float64)


def headline(totals):
    """{"acc"} (...,) of totals (..., 2)."""
    return {"acc": totals[..., 1] / totals[..., 0]}


def evaluate(rows):
    """[{slice, metric, value}] of predictions: accuracy, and by either scoring where they
    say it, of each source too."""
    by_source = {"all": list(rows)}
    for row in rows:
        if row.get("source", "all") != "all":
            by_source.setdefault(row["source"], []).append(row)
    found = [{"slice": name, "metric": "acc", "value": float(headline(sums(members).sum(0))["acc"])}
             for name, members in by_source.items()]
    ways = [way for way in ("token", "sum") if all(f"by_{way}" in row for row in rows)]
    return found + [{"slice": name, "metric": f"acc_{way}", "value": float(np.mean(
        [row[f"by_{way}"] == row["label"] for row in members]))}
        for way in ways for name, members in by_source.items()]


# ---- raw files -----------------------------------------------------------------------------------

def prepare(raw, seed=0, split="grouped", val=0.01, trust=0.25):
    """{split: rows} of every file of questions that is found, grouped by equal questions."""
    pool = questions.multiple_choice(raw)
    return splits.trusted(pool, seed, split, val, trust)
