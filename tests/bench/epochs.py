"""Section epochs: passes over rows as long as those of SST-2 and Adult, every step whole.

    ours                        our order (sorted by length in windows of 32 batches), collate,
                                make_step, and the embedding cut to the tokens that occur
    hf-shipped, random order    transformers as Trainer runs it: batches of 32 in random order,
                                padded to the longest row, with a mask
    hf-equal, random order      the same with our dtype, route of products and attention
    hf-equal, our batches       and with our batches: what is left is the model

Peers get their batches by a plain loop, without Trainer's and DataLoader's own work. The lengths
are quantiles of the real rows', the tokens random among as many as occur in all training rows.
error: of the mean loss on our batches, relative to ours.
"""

import numpy as np
import torch

from tests.bench import models, step
from tests.bench.harness import Case, Variant
from w2s.train import embedding_rows
from w2s.train import step as product

# tokens (GPT-NeoX-20B's tokenizer) of SST-2's training sentences, mean 11.6, and of Adult's people
# in the words of w2s.tasks.fairness, mean 76.1: quantiles at SHARES
SHARES = (0, .01, .025, .05, .1, .15, .2, .25, .3, .35, .4, .45, .5, .55, .6, .65, .7, .75, .8, .85,
          .9, .95, .975, .99, 1)
LENGTHS = {
    "SST-2": (1, 2, 2, 2, 3, 3, 4, 4, 5, 6, 7, 7, 8, 10, 11, 12, 14, 16, 18, 21, 26, 32, 37, 43,
              65),
    "Adult": (65, 69, 70, 71, 72, 73, 73, 74, 74, 75, 75, 76, 76, 76, 77, 77, 78, 78, 79, 79, 80,
              82, 83, 85, 93)}
TOKENS = {"SST-2": 13671, "Adult": 1984}  # that occur in all of its rows; in those of one split
ROWS = {"SST-2": 1024, "Adult": 256}
BATCH = 32


def lengths(data, n, seed=0):
    """(n,) tokens of rows, drawn from the quantiles."""
    share = np.random.default_rng(seed).random(n)
    return np.interp(share, SHARES, LENGTHS[data]).round().astype(int)


def columns_of(data, shape):
    """What a task's encode makes of the rows."""
    n = 64 if shape == "tiny" else ROWS[data]
    ids, tokens = models.rows_of(lengths(data, n), shape), TOKENS[data]
    if shape != "tiny":
        ids = [1 + row % tokens for row in ids]
    y = np.random.default_rng(2).integers(0, 2, n)
    return {"ids": ids, "target": np.eye(2, dtype=np.float32)[y]}


def batches(columns, device):
    n = len(columns["ids"])
    return product.batches(columns, n // BATCH, BATCH, seed=0, device=device)


def ours(setting, columns, data, compile=False):
    def build():
        m = models.model_of(setting.shape, "class", setting.device)
        optimizer, mine = product.adamw(m, step.LR), columns
        if embedding_rows.pays(m.gpt_neox.embed_in, columns, 0.0):
            every = {"ids": [np.arange(1, TOKENS[data] + 1)]}
            cut = embedding_rows.UsedRows(m.gpt_neox.embed_in, optimizer, every)
            mine = cut.renumber(columns)
            cut.close()
        go = product.make_step(m, optimizer, step.OBJECTIVE["class"], product.ground_truth, 0, 1,
                               dtype=setting.dtype, compile=compile)
        return lambda: [go(0, batch) for _, batch in batches(mine, setting.device)]
    return Variant(build, f"{setting.dtype}{', compiled' * compile}")


def peer(setting, columns, equal, same):
    def build():
        m, go = step.peer_step(setting, "class", equal)
        pad, device = m.config.pad_token_id, setting.device
        y = columns["target"].argmax(1)
        draw = np.random.default_rng(3)

        def picks():
            if same:
                return [batch["rows"].numpy() for _, batch in batches(columns, "cpu")]
            return np.split(draw.permutation(len(y)), range(BATCH, len(y), BATCH))

        def run():
            found = []
            for pick in picks():
                labels = torch.from_numpy(y[pick]).to(device)
                found.append(go(*models.padded(columns["ids"], pick, pad, device), labels))
            return found if same else None
        return run if equal else models.shipped(run, setting)
    order = "our batches" if same else "random order"
    return Variant(build, f"{step.described(setting, equal)}, {order}",
                   models.missing("transformers"))


def case(setting, data):
    columns, known = columns_of(data, setting.shape), []

    def error(first, second):
        if first is None:
            return None
        known.append(float(sum(first)) / len(first))
        return abs(known[-1] - known[0]) / known[0]
    variants = {"ours": ours(setting, columns, data)}
    if setting.compile:
        variants["ours-compiled"] = ours(setting, columns, data, True)
    variants |= {"hf-shipped": peer(setting, columns, False, False),
                 "hf-equal": peer(setting, columns, True, False),
                 "hf-equal-batches": peer(setting, columns, True, True)}
    size = np.array([len(ids) for ids in columns["ids"]])
    orders = {"ours": product.order(size, BATCH, 0, 0), "random": np.split(
        np.random.default_rng(3).permutation(len(size)), range(BATCH, len(size), BATCH))}
    fill = {name: size.sum() / sum(size[pick].max() * len(pick) for pick in order)
            for name, order in orders.items()}
    title = (f"one epoch, pythia-{setting.shape}, {len(size)} rows as long as {data}'s, batches of "
             f"{BATCH}, {setting.dtype}")
    note = (f"Mean {size.mean():.1f} tokens, longest {size.max()}. Of the tokens computed "
            f"{fill['ours']:.0%} are real, in random order {fill['random']:.0%}.")
    bases = tuple(name for name in variants if name.startswith("ours"))
    return Case("epochs", title, variants, bases, error, memory=(), note=note)


def cases(setting, section):
    return [case(setting, data) for data in LENGTHS]
