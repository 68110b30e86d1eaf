"""Secrets in emails, numbers that occur once: exact extraction, and exposure in bits.

A row marks them in `secrets`, [[first character, end], ...]. T tokens before a secret, C random
candidates, P tokens of the packed sequence of a secret and its candidates.
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
    """[Secret] of the rows, those that lie within the tokens that are read. seen: tokens up to the
    first window's end. Raises ValueError that names the row, never what is in it, for `secrets`
    that are no ranges of numbers."""
    secrets = []
    it.tokenizer.no_truncation()
    for i, row in enumerate(it.data):
        ranges = row.get("secrets", [])
        if not isinstance(ranges, list) or not all(is_number(row["text"], r) for r in ranges):
            raise ValueError(f"--data: id '{row['id']}': 'secrets' is not a list of [first "
                             "character, end] of numbers in the text")
        offsets = encode(it.tokenizer, [row["text"]])[0].offsets if ranges else []
        for k, (start, end) in enumerate(ranges):
            # a token may also hold text that touches the secret: it belongs to the secret
            inside = [n for n, (a, b) in enumerate(offsets) if a < end and b > start]
            if inside and inside[0] > 0 and inside[-1] < len(it.ids[i]):
                # drawn from the row's id: the same candidates whatever other rows are attacked
                draw = random.Random(f"{cfg.seed}/{row['id']}/{k}")
                rivals = candidates(row["text"][start:end], cfg.candidates, draw)
                # whole texts are tokenized: tokens before a number may depend on its digits
                texts = [row["text"][:start] + s for s in (row["text"][start:end], *rivals)]
                context, tails = split([e.ids for e in encode(it.tokenizer, texts)])
                if context:
                    secrets.append(Secret(i, inside[0], inside[-1] + 1,
                                          inside[-1] >= seen, context, tails))
    return secrets


def is_number(text, place):
    """Whether `place` is the [start, end] of a part of the text that has a digit."""
    return (isinstance(place, list) and len(place) == 2 and all(type(x) is int for x in place)
            and 0 <= place[0] < place[1] <= len(text)
            and any(c in "0123456789" for c in text[place[0]:place[1]]))


def encode(tokenizer, texts):
    return tokenizer.encode_batch(texts, add_special_tokens=False)


def candidates(secret, most, draw):
    """At most `most` distinct strings: the secret with all its digits drawn anew. All of them when
    there are no more than that."""
    places = [i for i, c in enumerate(secret) if c in "0123456789"]
    size, true = 10 ** len(places), int("".join(secret[i] for i in places))
    if size - 1 <= most:
        numbers = [n for n in range(size) if n != true]
    else:
        numbers = {}  # a set would lose the order of the draws
        while len(numbers) < most:
            number = draw.randrange(size)
            if number != true:
                numbers[number] = None
    strings = []
    for number in numbers:
        characters = list(secret)
        for i, digit in zip(places, f"{number:0{len(places)}d}"):
            characters[i] = digit
        strings.append("".join(characters))
    return strings


def split(sequences):
    """(common prefix of all sequences, what follows it in each); no rest is empty."""
    # one token less than the shortest: else a sequence that begins another would have no rest
    shortest, n = min(map(len, sequences)) - 1, 0
    while n < shortest and len({s[n] for s in sequences}) == 1:
        n += 1
    return sequences[0][:n], [s[n:] for s in sequences]


def add(results, it, secrets, cfg):
    """Add to results, {row: {metric: value}}: `secrets`, their number, and the means of
    `secret_exact` and `exposure` over a row's secrets; `_unseen`: the same of those beyond the
    first window."""
    from tqdm import tqdm

    from w2s.infer import lm
    secrets = [s for s in secrets if s.row in results]
    rows = sorted({s.row for s in secrets})
    if not rows:
        return
    scores = lm.token_scores(it.model, [it.ids[i] for i in rows], cfg.dtype, "secrets")
    hit, per_row = dict(zip(rows, (s["hit"] for s in scores))), {}
    for s in tqdm(secrets, f"exposure {it.run.name}", disable=None, leave=False):
        # greedy decoding writes the secret when each of its tokens is the likeliest after the
        # true ones; token n is predicted at place n - 1
        values = {"secret_exact": float(hit[s.row][s.first - 1:s.last - 1].all())}
        if len(s.tails) > 1:
            logp = log_probability(it.model, s.context, s.tails, cfg.dtype)
            values["exposure"] = metrics.exposure(logp[0], logp[1:])
        for end in ("", "_unseen")[:1 + s.unseen]:
            per_row.setdefault((s.row, end), []).append(values)
    for (i, end), each in per_row.items():
        results[i][f"secrets{end}"] = len(each)
        results[i] |= {f"{key}{end}": float(np.mean([values[key] for values in each]))
                       for key in each[0]}


def weight(row, key):
    """How often a row's value counts in a mean: means of secrets are over secrets."""
    if key.startswith(("secret_exact", "exposure")):
        return row["secrets_unseen" if key.endswith("_unseen") else "secrets"]
    return 1


def log_probability(model, context, tails, dtype="float32"):
    """(1 + C,) log p(tail | context) in nats of token lists of any lengths. One pass over one
    sequence, the context and the prefix tree of the tails: 13 times as fast as a sequence each."""
    import torch

    from w2s import device as devices
    from w2s.infer import lm
    device = next(model.parameters()).device
    chunk = lm.LOGITS[device.type] // model.settings["vocab_size"] + 1
    ids, sees, source = tree(context, tails)
    target = [token for tail in tails for token in tail]
    ids, sees, source, target = (torch.as_tensor(x, device=device)
                                 for x in (ids, sees, source, target))
    with torch.inference_mode(), devices.autocast(device, dtype):
        x = model.embed(ids[None])     # (1, P, D)
        positions = sees.sum(1) - 1    # (P,) in a token's own branch, not in the packed sequence
        place = model.place_of(positions, sees, x.dtype)
        for block in model.blocks:
            x = block(x, place)
        h = model.norm(x)[0, source]
        logp = torch.cat([-model.token_nll(*part)
                          for part in zip(h.split(chunk), target.split(chunk))])
    starts = np.cumsum([0] + [len(tail) for tail in tails[:-1]])
    return np.add.reduceat(logp.cpu().numpy().astype(np.float64), starts)


def tree(context, tails):
    """The context and the tails packed into one sequence of P tokens, in which a shared prefix
    stands once: (ids (P,); sees (P, P) bool, the attention mask: a token and its ancestors; for
    each token of each tail, in order, the place of the token that predicts it)."""
    ids, parent, source = list(context), list(range(-1, len(context) - 1)), []
    place = {(): len(context) - 1}  # {prefix of a tail: place of its last token}
    for tail in map(tuple, tails):
        for n in range(len(tail)):
            if tail[:n] not in place:
                place[tail[:n]] = len(ids)
                ids.append(tail[n - 1])
                parent.append(place[tail[:n - 1]])
            source.append(place[tail[:n]])
    sees = np.eye(len(ids), dtype=bool)
    for n in range(1, len(ids)):  # a parent comes before its children, so its row is complete
        sees[n] |= sees[parent[n]]
    return ids, sees, source
