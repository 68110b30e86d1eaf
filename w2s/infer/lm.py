"""What a language model gives for rows of text: log-probabilities of tokens, and continuations.

N rows, T tokens of a row, V vocabulary.
"""

import hashlib

import numpy as np
import torch

from w2s import device as devices
from w2s.infer import batching
from w2s.infer.classify import plain
from w2s.model import decoding, kernels
from w2s.train.step import seed_of

LOGITS = {"cpu": 2 ** 24, "cuda": 2 ** 28, "mps": 2 ** 24}  # held at a time
END = 0                                     # <|endoftext|> of Pythia's tokenizer


@torch.inference_mode()
def token_scores(model, ids, dtype="float32", title="predict", moments=False):
    """N dicts of arrays over the T - 1 tokens of a row that are predicted: logp, log p(token |
    those before it) in nats, and hit, whether the token is the most probable one; with `moments`
    also mean and sd of log p(v | those before) under p itself (min-k++).

    ids: list of N token arrays. Raises ValueError when a log-probability is not finite.
    """
    def compute(batch, pick):
        h, target = model.states(batch["ids"])[:, :-1].flatten(0, 1), batch["ids"][:, 1:]
        # memory is bounded so: the logits of a whole batch are (B T, V)
        chunk = LOGITS[device.type] // model.settings["vocab_size"] + 1
        parts = [_scores(model.head(part).float(), token, moments)
                 for part, token in zip(h.split(chunk), target.flatten().split(chunk))]
        return {key: torch.cat([part[key] for part in parts]).view(target.shape)
                for key in parts[0]} if parts else {}

    result, device = [None] * len(ids), next(model.parameters()).device
    groups = batching.by_tokens(np.array([len(row) for row in ids]), batching.TOKENS[device.type],
                                device)
    for pick, scores in batching.forward(model, {"ids": ids}, groups, compute, dtype, title):
        columns = {key: value.cpu().numpy() for key, value in scores.items()}
        for n, i in enumerate(pick):
            result[i] = {key: column[n, :len(ids[i]) - 1] for key, column in columns.items()}
            if not np.isfinite(result[i].get("logp", np.zeros(1))).all():
                raise ValueError(f"{title or 'attack'}: the model's output is not finite "
                                 f"(row {i + 1})")
    return result


def _scores(logits, token, moments):
    """{name: (P,)} of P places: logits (P, V) float32, which are overwritten, and the tokens
    (P,) that stand there."""
    logit, hit = logits.gather(1, token[:, None])[:, 0], kernels.largest(logits) == token
    p = logits.clone() if moments else logits  # softmax_ works in place; moments need both
    norm = kernels.softmax_(p)
    scores = {"logp": logit - norm, "hit": hit}
    if moments:
        logp = logits.sub_(norm[:, None])
        mean = (p * logp).sum(-1)
        scores |= {"mean": mean, "sd": (p * (logp - mean[:, None]).square()).sum(-1).sqrt()}
    return scores


def draws(seed, names, new_tokens, device=torch.device("cpu")):
    """(B, new_tokens), float64 where the device has it, in [0, 1) to sample by. Those of a row
    follow from (seed, its name) alone, so its continuation does not depend on which other rows
    there are."""
    seeds = [seed_of(seed, "generate", name) for name in names]
    numbers = [np.random.Generator(np.random.PCG64(s)).random(new_tokens) for s in seeds]
    # reshaped, since an array of no rows has lost its second axis
    table = torch.from_numpy(np.array(numbers).reshape(len(names), new_tokens))
    return table.to(devices.widest(device)).to(device)


def names_of(prompts, names=None):
    """N names to draw by: the rows' ids, or for N token arrays their hash and the how many-th of
    equal ones each is. So equal prompts are sampled apart."""
    if names is not None:
        return list(map(str, names))
    counts, distinct = {}, []
    for ids in prompts:
        # as 64-bit little-endian: one name for all integer types and machines
        key = hashlib.sha256(np.asarray(ids, "<i8").tobytes()).hexdigest()
        counts[key] = counts.get(key, 0) + 1
        distinct.append(f"{key}/{counts[key]}")
    return distinct


def continuations(model, prompts, new_tokens, temperature=0.0, seed=0, dtype="float32",
                  title="generate", names=None):
    """(N, new_tokens) int64, what the model writes after each prompt, a non-empty token array.
    Greedy at temperature 0, else sampled from (seed, the row's name). names: N ids; None: as
    `names_of` the prompts. The end of text stops nothing, see `until_end`."""
    def compute(batch, pick):
        draw = temperature and draws(seed, [names[i] for i in pick], new_tokens, device)
        return decoding.generate(model, batch["ids"], batch["len"], new_tokens, temperature, draw)

    device = next(model.parameters()).device
    written = np.zeros((len(prompts), new_tokens), np.int64)
    lengths = np.array([len(row) for row in prompts])
    limit = decoding.side_by_side(model, 4 * batching.TOKENS[device.type])
    groups = batching.by_tokens(lengths + new_tokens, limit, device)
    names = names_of(prompts, names)
    for pick, tokens in batching.forward(model, {"ids": prompts}, groups, compute, dtype, title):
        written[pick] = tokens.cpu().numpy()
    return written


def masked(batch):
    """The batch with mask (B, T), 1 where a token is predicted: from `start` (B,), which it
    replaces, to the end of the row."""
    place = torch.arange(batch["ids"].shape[1], device=batch["ids"].device)
    batch["mask"] = ((place >= batch.pop("start")[:, None])
                     & (place < batch["len"][:, None])).float()
    return batch


def end_of(model):
    """The token that ends a text of the model."""
    end = getattr(model, "end", None)
    return END if end is None else end


def until_end(tokens, end=None):
    """The tokens before the first `end`, <|endoftext|>."""
    end = np.flatnonzero(tokens == (END if end is None else end))
    return tokens[:end[0]] if len(end) else tokens


def label(model, tokenizer, data, columns, cfg):
    """(rows with `weak_text`, None, a line about them): free generation. The first cfg.prefix
    tokens x_i of a row stay true, the model writes the rest of its sequence (reading P6). weak_from
    is the place of the first character that the model wrote; rows with no more tokens than the
    prefix get "".
    """
    heads = [ids[:cfg.prefix] for ids in columns["ids"]]
    missing = [len(ids) - len(head) for ids, head in zip(columns["ids"], heads)]
    longer = [i for i, n in enumerate(missing) if n]
    temperature = cfg.temperature if cfg.decode == "sample" else 0.0
    new = continuations(model, [heads[i] for i in longer], max(missing), temperature, cfg.seed,
                        cfg.dtype, "generate", [data[i]["id"] for i in longer]) if longer else []
    written = dict(zip(longer, new))
    tokenizer.no_truncation()  # `encode` may have left it on; the whole text's offsets are needed
    labelled, correct, tokens = [], 0, 0
    for i, row in enumerate(data):
        tail = written[i][:missing[i]] if i in written else np.zeros(0, np.int64)
        tail = until_end(tail, end_of(model))
        true = columns["ids"][i][cfg.prefix:]
        correct, tokens = correct + int((tail == true[:len(tail)]).sum()), tokens + len(true)
        ends = tokenizer.encode(row["text"], add_special_tokens=False).offsets
        labelled.append(row | {"weak_text": tokenizer.decode(tail.tolist(), False),
                               "weak_from": ends[len(heads[i]) - 1][1] if ends else 0})
    share = correct / max(1, tokens)
    return labelled, None, f"{len(data)} rows, {tokens} tokens written, {share:.1%} of them true"


def predictions(model, columns, dtype="float32", title="predict"):
    """N dicts: nll, the sum of -log p over a row's predicted tokens, in nats; tokens, how many they
    are; correct, how many of them the model held most probable."""
    # summed in float64: the rounding of float32 grows with the number of tokens
    return [{"nll": plain([-row["logp"].sum(dtype=np.float64)])[0], "tokens": len(row["logp"]),
             "correct": int(row["hit"].sum())} if row else {"nll": 0.0, "tokens": 0, "correct": 0}
            for row in token_scores(model, columns["ids"], dtype, title)]
