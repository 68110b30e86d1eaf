"""Which of the teacher's labels train the student: a score for each row of the pool, and the rows
of the largest scores. Also what the trust function is compared with.

N rows of the pool, O options of a row.
"""

import numpy as np

from w2s import answers, device, losses, metrics, pythia, step

METHODS = {"ntf": "the trust function's probability that the label is right",
           "confidence": "largest probability of the teacher's own answer",
           "margin": "its lead over the second",
           "entropy": "minus the entropy of the teacher's answer, in nats",
           "icl-confidence": "probability of the answer behind solved examples",
           "reward": "a verifier's probability that the answer is right",
           "random": "a random number", "truth-n": "the rows of ntf, with true labels",
           "truth": "every row, with true labels", "all": "every row"}
WORDS = "letters", "text"  # kinds of tasks whose answers are words, which a model can read


def certainty(row):
    """(largest probability, margin, minus entropy) of a labelled row: over the classes or options
    of `weak`; of text the means over its tokens that label.py kept in `certain`."""
    if "certain" in row:
        p, margin, entropy = row["certain"]
        return p, margin, -entropy
    p = [row["weak"]]
    return (float(metrics.max_probability(p)[0]), float(metrics.margin(p)[0]),
            -float(metrics.entropy(p)[0]))


def features(states, labelled, which):
    """What the trust function reads of N rows: states (N, D), or with "both" also how certain the
    teacher was: log p, margin, entropy, and its largest logit. In TF it is the states alone; behind
    an option that is read by itself (cloze) they know nothing of the other options."""
    if which == "states":
        return states
    p, margin, entropy = np.array([certainty(row) for row in labelled], np.float32).T
    most = [max(row["logits"]) if "logits" in row else 0 for row in labelled]
    return np.column_stack([states, np.log(p + 1e-9), margin, entropy,
                            np.array(most, np.float32)])


def most(keep, n):
    """Rows that --keep asks for, of n: a share up to 1, else a number."""
    return max(1, round(keep * n)) if keep <= 1 else int(keep)


def pick(trust, n, classes=None):
    """Sorted positions of the n rows with the most trust; of equals the earlier. classes (N,): the
    same number of each class, as far as a class has rows (row T5)."""
    order = np.argsort(-np.asarray(trust), kind="stable")
    if classes is not None:
        place, seen = np.empty(len(order)), {}
        for i in order:
            seen[classes[i]] = seen.get(classes[i], -1) + 1
            place[i] = seen[classes[i]]
        order = np.lexsort((-np.asarray(trust), place))
    return np.sort(order[:n])


def shares(classes, chosen):
    """{class: (share of the pool, share of the chosen rows)}."""
    names, picked = sorted(set(classes), key=str), [classes[i] for i in chosen]
    return {str(name): (classes.count(name) / len(classes), picked.count(name) / len(picked))
            for name in names}


def with_truth(row):
    """The row, its weak label replaced by the true one (and saying so)."""
    kept = {key: value for key, value in row.items() if not key.startswith("logits")}
    if "weak_text" in row:
        return kept | {"weak_text": f" {row.get('solution', row['label'])}", "truth": True}
    onehot = {key: [float(k == row["label"]) for k in range(len(row[key]))]
              for key in ("weak", "weak_adv") if key in row}
    return kept | onehot | {"truth": True}


def spoken(task, row):
    """(prompt, answer): a row and the teacher's answer to it, in words."""
    if "weak_text" in row:
        return task.prompt(row), row["weak_text"]
    return task.prompt(row), task.options(row)[task.weak_class(row)]


# ---- what needs a model --------------------------------------------------------------------------

def in_context(task, model, tokenizer, pool, examples, dtype="float32"):
    """(N,) icl-confidence, row T10: the probability of the teacher's answer behind solved examples:
    among the options, or of text the geometric mean over its tokens."""
    shown = "\n\n".join(task.prompt(row) + task.truth(row) for row in examples)
    offered = [task.options(row) if "weak" in row else [row["weak_text"] or " "] for row in pool]
    flat = answers.tokens(tokenizer, [option for offer in offered for option in offer])
    ends = np.cumsum([0, *map(len, offered)])
    tails = [flat[a:b] for a, b in zip(ends, ends[1:])]
    room = len(model.cos) - max(map(len, flat))
    heads = answers.prompts(tokenizer, [f"{shown}\n\n{task.prompt(row)}" for row in pool], room)
    logp, count, _ = answers.likelihoods(model, heads, tails, dtype, "in-context")
    found = [row / n for row, n in zip(logp, count)]
    return np.array([np.exp(z[0]) if "weak_text" in row else
                     np.exp(z - np.logaddexp.reduce(z))[task.weak_class(row)]
                     for row, z in zip(pool, found)])


def verify(model, tokenizer, spoken, max_length, dtype="float32"):
    """(N,) probability of the last class of a sequence classifier (of one class: its sigmoid), for
    each (prompt, answer)."""
    from w2s import predict
    ids = answers.encode(tokenizer, *zip(*spoken), max_length)["ids"]
    logits = predict.read_all(model, {"ids": ids}, dtype, "verify")["p"][0].astype(np.float64)
    score = logits[:, -1] - np.logaddexp.reduce(logits[:, :-1], 1) if logits.shape[1] > 1 \
        else logits[:, 0]
    return 1 / (1 + np.exp(-score))


def verifier(folder, tokenizer, spoken, right, where, *, epochs, lr, batch_size, max_length, seed):
    """A verifier trained to score answers: the language model of `folder` with a head of two
    classes, fine-tuned on (prompt, answer) and whether it is right (N,)."""
    model = pythia.load(folder, "class", 2, where)
    columns = {"ids": answers.encode(tokenizer, *zip(*spoken), max_length)["ids"],
               "target": np.eye(2, dtype=np.float32)[np.asarray(right, int)]}
    steps = step.count_steps(len(spoken), epochs, batch_size)
    optimizer = step.adamw(model, lr or step.peak_lr(sum(p.numel() for p in model.parameters())))

    def objective(f, batch, ell, lam):
        return ell(f(batch["ids"], batch["len"]), batch)

    def ell(logits, batch):
        return losses.cross_entropy(logits, batch["target"])
    advance = step.make_step(model, optimizer, objective, ell, 0.0, steps)
    for k, batch in step.batches(columns, steps, batch_size, seed=seed, device=where):
        advance(k, batch)
    return model


def setup(cfg):
    """The torch device of the arguments."""
    return device.setup(cfg.device, cfg.dtype)
