"""Secrets in mails, numbers that occur once: extracted whole, and their exposure in bits.

A row marks them in `secrets`, [[first character, end], ...]. T tokens before a secret, C random
candidates, P tokens of both in one sequence.
"""

import random
from typing import NamedTuple

import numpy as np

from w2s import metrics


class Secret(NamedTuple):
    row: int
    first: int       # its first token in the row's ids; there are tokens before it
    last: int        # one after its last token
    unseen: bool     # ends beyond the first window
    context: list    # (T,) tokens that the secret and all candidates have in common
    tails: list      # (1 + C) token lists that continue them: the secret's, then the candidates'


def find(it, cfg, seen):
    """The secrets within the tokens of the rows. seen: tokens up to the first window's end. Raises
    ValueError that names the row, never what is in it, for `secrets` that are no ranges of numbers.
    """
    found = []
    it.tokenizer.no_truncation()
    for i, row in enumerate(it.data):
        ranges = row.get("secrets", [])
        if not isinstance(ranges, list) or not all(is_number(row["text"], r) for r in ranges):
            raise ValueError(f"--data: id '{row['id']}': 'secrets' is not a list of [first "
                             "character, end] of numbers in the text")
        offsets = encode(it.tokenizer, [row["text"]])[0].offsets if ranges else []
        for k, (start, end) in enumerate(ranges):
            inside = [n for n, (a, b) in enumerate(offsets) if a < end and b > start]
            if inside and inside[0] > 0 and inside[-1] < len(it.ids[i]):
                draw = random.Random(f"{cfg.seed}/{row['id']}/{k}")
                others = candidates(row["text"][start:end], cfg.candidates, draw)
                texts = [row["text"][:start] + s for s in (row["text"][start:end], *others)]
                context, tails = split([e.ids for e in encode(it.tokenizer, texts)])
                if context:
                    found.append(Secret(i, inside[0], inside[-1] + 1, inside[-1] >= seen, context,
                                        tails))
    return found


def is_number(text, place):
    """Whether place is [start, end] of a part of the text with a digit in it."""
    return (isinstance(place, list) and len(place) == 2 and all(type(x) is int for x in place)
            and 0 <= place[0] < place[1] <= len(text)
            and any(c in "0123456789" for c in text[place[0]:place[1]]))


def encode(tokenizer, texts):
    return tokenizer.encode_batch(texts, add_special_tokens=False)


def candidates(secret, most, draw):
    """At most `most` different strings, the secret with all its digits drawn anew; all that there
    are when there are not more."""
    places = [i for i, c in enumerate(secret) if c in "0123456789"]
    size, own = 10 ** len(places), int("".join(secret[i] for i in places))
    if size - 1 <= most:
        numbers = [n for n in range(size) if n != own]
    else:
        numbers = {}
        while len(numbers) < most:
            number = draw.randrange(size)
            if number != own:
                numbers[number] = None
    found = []
    for number in numbers:
        characters = list(secret)
        for i, digit in zip(places, f"{number:0{len(places)}d}"):
            characters[i] = digit
        found.append("".join(characters))
    return found


def split(sequences):
    """(tokens that all sequences begin with, what follows in each): none of the rests is empty."""
    shortest, n = min(map(len, sequences)) - 1, 0
    while n < shortest and len({s[n] for s in sequences}) == 1:
        n += 1
    return sequences[0][:n], [s[n:] for s in sequences]


def add(found, it, secrets, cfg):
    """Add to the rows, {row: {metric: value}}: secrets, secret_exact and exposure, the number and
    the means of a row's secrets, and the same of those that are _unseen."""
    from tqdm import tqdm

    from w2s.infer import lm
    secrets = [s for s in secrets if s.row in found]
    rows = sorted({s.row for s in secrets})
    if not rows:
        return
    scores = lm.token_scores(it.model, [it.ids[i] for i in rows], cfg.dtype, "secrets")
    hit, of_row = dict(zip(rows, (s["hit"] for s in scores))), {}
    for s in tqdm(secrets, f"exposure {it.run.name}", disable=None, leave=False):
        # greedy decoding writes a token down exactly where, after the true ones, it comes first
        values = {"secret_exact": float(hit[s.row][s.first - 1:s.last - 1].all())}
        if len(s.tails) > 1:
            logp = log_probability(it.model, s.context, s.tails, cfg.dtype)
            values["exposure"] = metrics.exposure(logp[0], logp[1:])
        for end in ("", "_unseen")[:1 + s.unseen]:
            of_row.setdefault((s.row, end), []).append(values)
    for (i, end), each in of_row.items():
        found[i][f"secrets{end}"] = len(each)
        found[i] |= {f"{key}{end}": float(np.mean([values[key] for values in each]))
                     for key in each[0]}


def weight(row, key):
    """How often a row's value counts in a mean: means of secrets are over secrets."""
    if key.startswith(("secret_exact", "exposure")):
        return row["secrets_unseen" if key.endswith("_unseen") else "secrets"]
    return 1


def log_probability(model, context, tails, dtype="float32"):
    """(1 + C,) log p(tail | context) in nats of token lists, not all equally long. One pass over
    one sequence, the context and the tree of the tails: 13 times as fast as a sequence each."""
    import torch

    from w2s import device as devices
    from w2s.infer import lm
    from w2s.model import gpt_neox
    device = next(model.parameters()).device
    chunk = lm.LOGITS[device.type] // model.settings["vocab_size"] + 1
    ids, sees, source = tree(context, tails)
    target = [token for tail in tails for token in tail]
    ids, sees, source, target = (torch.as_tensor(x, device=device)
                                 for x in (ids, sees, source, target))
    with torch.inference_mode(), devices.autocast(device, dtype):
        x, at = model.embed(ids[None]), sees.sum(1) - 1                           # (1, P, D), (P,)
        cos, sin = gpt_neox.rotary_tables(int(at.max()) + 1, *model.rotary, device)
        bias = torch.where(sees, 0.0, float("-inf")).to(x.dtype)
        for block in model.gpt_neox.layers:
            x = block(x, gpt_neox.Place(cos[at], sin[at], bias, None))
        h = model.gpt_neox.final_layer_norm(x)[0, source]
        logp = torch.cat([-model.token_nll(*part)
                          for part in zip(h.split(chunk), target.split(chunk))])
    starts = np.cumsum([0] + [len(tail) for tail in tails[:-1]])
    return np.add.reduceat(logp.cpu().numpy().astype(np.float64), starts)


def tree(context, tails):
    """The context and the tails as one sequence of P tokens, in which equal beginnings stand once:
    (ids (P,); sees (P, P) bool, the token itself and those that lead to it; for each token of each
    tail, in order, the place of the token before it)."""
    ids, before, source = list(context), list(range(-1, len(context) - 1)), []
    place = {(): len(context) - 1}  # {beginning of a tail: place of its last token}
    for tail in map(tuple, tails):
        for n in range(len(tail)):
            if tail[:n] not in place:
                place[tail[:n]] = len(ids)
                ids.append(tail[n - 1])
                before.append(place[tail[:n - 1]])
            source.append(place[tail[:n]])
    sees = np.eye(len(ids), dtype=bool)
    for n in range(1, len(ids)):
        sees[n] |= sees[before[n]]
    return ids, sees, source
