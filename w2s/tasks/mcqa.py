"""Multiple-choice questions (trust functions): MMLU, ARC, OpenBookQA and the like.

There are two ways to ask. "cloze": the answer is the option whose words have the largest likelihood
behind the question, per token or, as lm-eval's `acc`, in sum. "letters": the question is followed
by its options, and the answer is the letter with the largest logit. B rows of a batch, N rows of a
split, O options of a row.
"""

import numpy as np

from w2s import rows
from w2s.data import questions, splits
from w2s.data.questions import LETTERS
from w2s.infer import benchmarks, choice, classify
from w2s.infer.classify import plain, softmax
from w2s.model import tokenization
from w2s.train import step

batches, objective = choice.batches, choice.objective
right, weak_class = classify.right, classify.weak_class
make_step = step.make_step
headline = benchmarks.headline
KIND, CLASSES = "letters", None
TASK = "acc"
METRICS = {"acc": "share of the questions whose answer is the true one, the mean over "
                  "benchmarks",
           "acc_token": "the same, the answer being the likeliest option per token",
           "acc_sum": "the same, the answer being the likeliest option in whole"}
TITLE, ROW = "Multiple choice", 11
DEFAULTS = {"lam": (0, "no regulariser"), "alpha": (0, "no confidence loss"), "epochs": (3, "ours")}
OPTIONS, ENCODE = (), ("scoring",)  # flags of objective, of encode
LABEL = ("temperature", "hidden", "scoring")  # flags of label, the last of evaluate too
FIELDS = {"id": str, "text": str}  # choices and label depend on each other: see read


def read(path, weak=False):
    """Rows of a split, checked; weak=True: a labels file, each row with the weak label, as many
    probabilities as choices. Raises ValueError `path:line: ...`."""
    data = rows.read(path, FIELDS)
    for n, row in enumerate(data, 1):
        options = row.get("choices")
        if not (isinstance(options, list) and 2 <= len(options) <= len(LETTERS)
                and all(isinstance(option, str) and option.strip() for option in options)):
            raise ValueError(f"{path}:{n}: 'choices' is not a list of 2 to {len(LETTERS)} answers")
        rows.require({"choices": " ".join(options)}, "choices", str, path, n)  # no surrogate
        rows.require(row, "label", range(len(options)), path, n)
        if weak:
            rows.require(row, "weak", len(options), path, n)
    return data


def prompt(row, scoring="cloze"):
    """What the model reads before the answer. A row may bring its own `prompt` for cloze; with
    letters it would lack the options."""
    if scoring == "cloze":
        return row.get("prompt", f"Question: {row['text']}\nAnswer:")
    listed = "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS, row["choices"]))
    return f"Question: {row['text']}{listed}\nAnswer:"


def options(row, scoring="cloze"):
    """The possible answers behind the prompt, each beginning with a blank."""
    answers = row["choices"] if scoring == "cloze" else LETTERS[:len(row["choices"])]
    return [f" {option}" for option in answers]


def truth(row, scoring="cloze"):
    """The true answer behind the prompt."""
    return options(row, scoring)[row["label"]]


def encode(rows, tokenizer, max_length, target=None, scoring="cloze"):
    """With a target, columns to train on: choice.encode of the true ("label") or the weak answer.

    Without one, columns of N rows to answer: ids, the prompts (N token arrays), options (N lists of
    token arrays) and per_token, False for letters: the softmax over whole log-likelihoods is that
    of the letters' logits, also where the blank is a token of its own."""
    asked = [prompt(row, scoring) for row in rows]
    offered = [options(row, scoring) for row in rows]
    if target:  # to train on the chosen answer's tokens alone (reading T11)
        chosen = [row["label"] if target == "label" else weak_class(row) for row in rows]
        tails = [offer[k] for offer, k in zip(offered, chosen)]
        return choice.encode(tokenizer, asked, tails, max_length)
    # Cut from the front: the question's end and the answer have to stay. All options of a row share
    # its prompt, so the longest one decides.
    tails = [[ids[:max(1, max_length - 1)] for ids in row]
             for row in choice.options(tokenizer, offered)]
    heads = choice.prompts(tokenizer, asked, max_length)
    heads = [tokenization.ending(head, max(1, max_length - max(map(len, tail))), tokenizer)
             for head, tail in zip(heads, tails)]
    return {"ids": heads, "options": tails, "per_token": scoring == "cloze"}


def answer(model, columns, dtype, title, hidden=False, scoring="token"):
    """(logits: N arrays (O,), hidden (N, D) or None). A logit is the log-likelihood of an option:
    per token, or in whole for letters and with scoring "sum"."""
    logp, count, states = choice.likelihoods(model, columns["ids"], columns["options"], dtype,
                                              title, hidden,
                                              columns["per_token"] and scoring == "token")
    return [row / n for row, n in zip(logp, count)], states


def label(model, tokenizer, data, columns, cfg):
    """(labelled rows, hidden states, a line about them). An iterator of rows, each with `weak`,
    softmax(logits / cfg.temperature) over the options, and `logits`; with cfg.hidden the states
    (N, D) behind the answer (reading T1)."""
    logits, hidden = answer(model, columns, cfg.dtype, "label", cfg.hidden, cfg.scoring)
    weak = [softmax(z / cfg.temperature) for z in logits]
    labelled = (row | {"weak": plain(p), "logits": plain(z)}
                for row, p, z in zip(data, weak, logits))
    share = np.mean([p.argmax() == row["label"] for row, p in zip(data, weak)])
    return labelled, hidden, f"{len(data)} rows, {share:.1%} of the weak labels are right"


def predictions(model, columns, dtype="float32", title="predict", scoring="token"):
    """N dicts: p (O,), softmax of the logits of `answer`; with cloze also by_token and by_sum, the
    option that each scoring chooses."""
    result = []
    # One pass for both scorings: the likelihood per token is the whole one divided by the tokens.
    for total, tails in zip(answer(model, columns, dtype, title, scoring="sum")[0],
                            columns["options"]):
        mean = total / [len(ids) for ids in tails]
        chosen = {"by_token": int(mean.argmax()), "by_sum": int(total.argmax())}
        cloze = columns["per_token"]  # a letter is scored in whole, whatever `scoring` says
        result.append({"p": plain(softmax(mean if cloze and scoring == "token" else total))}
                      | (chosen if cloze else {}))
    return result


def sums(rows):
    """(N, 2 S) of benchmarks.sums: whether the likeliest option is the true one."""
    return benchmarks.sums(rows, [np.argmax(row["p"]) == row["label"] for row in rows])


def evaluate(rows):
    """[{slice, metric, value}] of predictions, for all and each source: accuracy and, where they
    have by_token and by_sum, that of each scoring."""
    scorings = [by for by in ("token", "sum") if all(f"by_{by}" in row for row in rows)]
    return benchmarks.evaluate(rows, {
        "acc": [np.argmax(row["p"]) == row["label"] for row in rows],
        **{f"acc_{by}": [row[f"by_{by}"] == row["label"] for row in rows] for by in scorings}})


# ---- raw files -----------------------------------------------------------------------------------

NEEDS = (questions.QUESTIONS,)


def prepare(raw, seed=0, split="grouped", val=0.01, trust=0.25):
    """{split: rows} of every file of questions in the raw folder, grouped by equal questions."""
    pool = questions.multiple_choice(raw)
    return splits.trusted(pool, seed, split, val, trust)
