"""More scores of a teacher's labels: how often it gives the same answer when it is asked again and
sampled, whether another teacher gives it too, and scores that somebody else made. Reading T10.

N rows of the pool, K sampled answers of a row. cfg: the arguments of train_ntf.py.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from w2s import device, rows, runs
from w2s.data import leaks
from w2s.model import checkpoint, tokenization
from w2s.train import step

SAMPLES, TEMPERATURE = 8, 1.0


# ---- the teacher and itself ----------------------------------------------------------------------

def consistency(cfg, task, data):
    """(N,) self-consistency: the share of K answers, sampled from the teacher at a temperature,
    that are the answer of its label; an answer that cannot be read equals none. The draws of a row
    follow from the seed and its id. Raises ValueError for a model whose output is not finite."""
    K, temperature = cfg.samples or SAMPLES, cfg.temperature or TEMPERATURE
    chosen = [task.weak_class(row) for row in data]
    # a class or option is drawn from the probabilities in the file: the model need not run again
    if task.KIND != "text":
        return np.array([np.mean(uniform(cfg.seed, row["id"], K) < tempered(row["weak"],
                                                                            temperature)[k])
                         for row, k in zip(data, chosen)])
    hits = np.zeros(len(data))
    for answers in sampled(cfg, task, data, K, temperature):
        hits += [a == b != "" for a, b in zip(answers, chosen)]
    return hits / K


def uniform(seed, name, K):
    """(K,) numbers in [0, 1) of the row called `name`, the same whatever other rows there are."""
    return np.random.Generator(np.random.PCG64(step.seed_of(seed, "consistency", name))).random(K)


def tempered(p, temperature):
    """Probabilities (O,) proportional to p^(1 / temperature): softmax(logits / temperature) where
    p is softmax(logits)."""
    p = np.asarray(p, np.float64)
    # the largest becomes 1 first, so that a small temperature does not turn all into 0
    p = (p / p.max()) ** (1 / temperature)
    return p / p.sum()


def sampled(cfg, task, data, K, temperature):
    """Yield K times N answers, "" where none can be read, as label.py --decode sample writes them.
    Raises ValueError, naming the model, where its output is not finite."""
    model, tokenizer, columns, folder = teacher(cfg, task, data)
    for k in range(K):
        # seeds of its own: sampled labels of seed 0 must not be found again among the samples
        how = SimpleNamespace(decode="sample", temperature=temperature, hidden=False,
                              seed=step.seed_of(cfg.seed, "consistency", k), dtype=cfg.dtype)
        try:
            yield [task.weak_class(row)
                   for row in task.label(model, tokenizer, data, columns, how)[0]]
        except ValueError as error:  # its output is not finite
            raise ValueError(f"{folder}: {error}") from None


def teacher(cfg, task, data):
    """(model, tokenizer, columns of the prompts, the model's folder)."""
    where, args = device.setup(cfg.device, cfg.dtype), runs.read_config(cfg.teacher)["args"]
    folder = Path(cfg.teacher) / "model"
    model = checkpoint.load(folder, "lm", None, where)
    tokenizer = tokenization.load_tokenizer(folder)
    columns = task.encode(data, tokenizer, args["max_length"],
                          **runs.encoding(task, args))
    tokenization.require_fit(columns, model.config["vocab_size"], folder)
    return model, tokenizer, columns, folder


# ---- two teachers --------------------------------------------------------------------------------

def agreement(task, data, second, paths):
    """(N,) the probability that the second teacher gives to the first one's answer; of answers that
    are text, whether both are the same (1 or 0; of equals the earlier goes first). data, second:
    labelled rows of the two files `paths`. Raises ValueError where these are not the same rows."""
    mine, theirs = paths
    if [answer(row) for row in data] == [answer(row) for row in second]:
        raise ValueError(f"--second {theirs}: its labels are those of {mine}; give the labels of "
                         "another teacher")
    other = by_id(data, second, mine, theirs)
    for n, (row, twin) in enumerate(zip(data, other), 1):
        if leaks.content(row) != leaks.content(twin):
            raise ValueError(f"{theirs}: the text of id '{row['id']}' is not that of {mine}:{n}; "
                             "let both teachers label the same file")
    if task.KIND == "text":
        return np.array([float(task.weak_class(row) == task.weak_class(twin) != "")
                         for row, twin in zip(data, other)])
    return np.array([twin["weak"][task.weak_class(row)] for row, twin in zip(data, other)],
                    np.float64)


def answer(row):
    """What a labels file says of a row."""
    return [row.get(key) for key in ("id", "weak", "weak_text", "certain")]


# ---- somebody's own scores -----------------------------------------------------------------------

def given(path, data, pool):
    """(N,) the scores of a jsonl file with id and score, larger is more trusted, for the rows of
    the file `pool`. Raises ValueError, naming file and line, unless each row has one number."""
    table = rows.read(path, {"id": str, "score": rows.NUMBER})
    return np.array([row["score"] for row in by_id(data, table, pool, path)], np.float64)


def by_id(data, others, pool, path):
    """The row of `others`, of the file `path`, for each row of the pool. Raises ValueError, naming
    an id, unless both have the same ids."""
    table, known = {row["id"]: row for row in others}, {row["id"] for row in data}
    sizes = f"{pool} has {len(data)} rows, {path} {len(others)}"
    for n, row in enumerate(others, 1):
        if row["id"] not in known:
            raise ValueError(f"{path}:{n}: id '{row['id']}' is not in {pool}; {sizes}")
    for n, row in enumerate(data, 1):
        if row["id"] not in table:
            raise ValueError(f"{path}: no row for id '{row['id']}' of {pool}:{n}; {sizes}")
    return [table[row["id"]] for row in data]
