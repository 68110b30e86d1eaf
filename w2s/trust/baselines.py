"""What the trust function is compared with: other scores of the teacher's labels.
Readings T6 and T10.

N rows of the pool, O options of a row. cfg: the arguments of train_ntf.py.
"""

from pathlib import Path

import numpy as np

from w2s import device, rows, runs
from w2s.infer import choice, classify
from w2s.model import checkpoint, tokenization
from w2s.train import losses, step
from w2s.trust import agreement, selection

OWN = "confidence", "margin", "entropy"  # of the teacher, in the order of selection.certainty
WORDS = "letters", "text"                # kinds of tasks whose answers a language model can read


def score(cfg, labelled, pool):
    """(N,) the trust in the pool's labels by --select. labelled, pool: (task, labelled rows)."""
    task, data = pool
    if cfg.select in OWN:
        return np.array([selection.certainty(row)[OWN.index(cfg.select)] for row in data])
    if cfg.select in ("truth", "all", "labelled"):
        return np.ones(len(data))
    if cfg.select == "consistency":
        return agreement.consistency(cfg, task, data)
    if cfg.select == "file":
        return agreement.given(cfg.scores, data, cfg.pool)
    draw = np.random.Generator(np.random.PCG64(step.seed_of(cfg.seed, cfg.select)))
    if cfg.select == "random":  # a random order; these are no probabilities
        return draw.permutation(len(data)).astype(np.float64)
    if cfg.reward and Path(cfg.reward).is_file():
        given = rows.read(cfg.reward, {"id": str, "reward": rows.NUMBER})
        return np.array([row["reward"] for row in rows.join(
            [{"id": row["id"]} for row in data], given,
            f"{cfg.reward}, joined with {cfg.pool}")], np.float64)
    if task.KIND not in WORDS:
        raise ValueError(f"--select {cfg.select}: the answers in {cfg.pool} are class numbers, "
                         "which a language model cannot read; choose another")

    where, args = device.setup(cfg.device, cfg.dtype), runs.read_config(cfg.teacher)["args"]
    if cfg.select == "icl-confidence":
        # what the teacher was before it was trained
        folder = runs.base(cfg.teacher, runs.read_config(cfg.teacher))
        model = checkpoint.load(folder, "lm", None, where)
        tokenizer = tokenization.load_tokenizer(folder)
        examples = [labelled[1][i] for i in draw.permutation(len(labelled[1]))[:cfg.shots]]
        shown = "\n\n".join(solved(labelled[0], row, args) for row in examples)
        return in_context(model, tokenizer, shown, task, data, args, cfg.dtype)
    folder = Path(cfg.reward or f"{cfg.teacher}/model")
    model = classifier(folder, where) if cfg.reward else \
        verifier(cfg, folder, labelled, args, where)
    ids = encode(tokenization.load_tokenizer(folder), task, data, args)
    tokenization.require_fit({"ids": ids}, model.config["vocab_size"], folder)
    return verify(model, ids, cfg.dtype)


# ---- a row in words ------------------------------------------------------------------------------

def solved(task, row, args):
    """The question and its true answer."""
    how = runs.encoding(task, args)
    return task.prompt(row, **how) + task.truth(row, **how)


def spoken(task, row, args):
    """(prompt, answer): the question and the teacher's answer."""
    how = runs.encoding(task, args)
    answer = row["weak_text"] if "weak_text" in row else \
        task.options(row, **how)[task.weak_class(row)]
    return task.prompt(row, **how), answer


def encode(tokenizer, task, data, args):
    """N token arrays: question and the teacher's answer."""
    heads, tails = zip(*(spoken(task, row, args) for row in data))
    return choice.encode(tokenizer, heads, tails, args["max_length"])["ids"]


# ---- what a model says of it ---------------------------------------------------------------------

def in_context(model, tokenizer, shown, task, pool, args, dtype="float32"):
    """(N,) icl-confidence: the probability of the teacher's answer behind the solved examples
    `shown`: among the options, or of text the geometric mean over its tokens."""
    how = runs.encoding(task, args)
    # an empty text has no token to score, so a blank stands in for it
    offered = [task.options(row, **how) if "weak" in row else [row["weak_text"] or " "]
               for row in pool]
    tails = choice.options(tokenizer, offered)
    heads = choice.prompts(tokenizer, [f"{shown}\n\n{task.prompt(row, **how)}" for row in pool],
                           model.positions)
    logp, count, _ = choice.likelihoods(model, heads, tails, dtype, "in-context",
                                        per_token=how.get("scoring", "cloze") == "cloze")
    scores = [row / n for row, n in zip(logp, count)]
    return np.array([np.exp(z[0]) if "weak_text" in row else
                     np.exp(z - np.logaddexp.reduce(z))[task.weak_class(row)]
                     for row, z in zip(pool, scores)], np.float64)


def verify(model, ids, dtype="float32"):
    """(N,) probability of the last class of a sequence classifier, or of a reward model, which has
    one class, the sigmoid of its logit."""
    # the log odds of the last class against the others together
    logits = classify.read_all(model, {"ids": ids}, dtype, "verify")["p"][0].astype(np.float64)
    odds = logits[:, -1] - np.logaddexp.reduce(logits[:, :-1], 1) if logits.shape[1] > 1 \
        else logits[:, 0]
    return 1 / (1 + np.exp(-odds))


def classifier(folder, where):
    """The sequence classifier of a folder. Raises ValueError for a model without a trained head,
    whose rewards would all be equal."""
    if "score.weight" not in checkpoint.headers(folder):
        raise ValueError(f"{folder}: no sequence classifier (it has no score.weight); --reward is "
                         "one that scores answers, or a jsonl file with id and reward")
    return checkpoint.load(folder, "class", None, where)


def verifier(cfg, folder, labelled, args, where):
    """A verifier trained to score answers: the language model of `folder` with a head of two
    classes, fine-tuned on the labelled rows, (prompt, answer), and whether the answer is right."""
    task, data = labelled
    model, right = checkpoint.load(folder, "class", 2, where), [task.right(row) for row in data]
    columns = {"ids": encode(tokenization.load_tokenizer(folder), task, data, args),
               "target": np.eye(2, dtype=np.float32)[np.asarray(right, int)]}
    steps = step.count_steps(len(data), cfg.reward_epochs, 32)
    lr = cfg.reward_lr or step.peak_lr(sum(p.numel() for p in model.parameters()))

    def objective(f, batch, ell, lam):
        return losses.cross_entropy(f(batch["ids"], batch["len"]), batch["target"])
    # the step of weak and student training, without Eq. (1)'s confidence loss
    advance = step.make_step(model, step.adamw(model, lr), objective, None, 0.0, steps,
                             dtype=cfg.dtype)
    for k, batch in step.batches(columns, steps, 32, seed=cfg.seed, device=where):
        advance(k, batch)
    return model
