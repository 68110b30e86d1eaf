"""Mail for the privacy property: bodies of mails, cleaned, long enough, no two of them alike.

Read, all that are there together (nothing is fetched: these are real people's mails):

    source    files (plain or .gz)
    aeslc     aeslc.jsonl (id, body), or the corpus as published: one *.subject file a mail
    labelled  berkeley_labelled_raw.jsonl (id, raw: the mail with its headers)
    mails     mails.jsonl (id, text, secrets): your own; see mark
    eml mbox  *.eml (one mail a file), *.mbox
    cmu       enron_mail_20150507.tar.gz, or it unpacked (maildir/), or Kaggle's emails.csv
    pile      pile_test_enron.jsonl (id, text): further non-members, never trained on

A piece is a run of letters, of digits, of other marks or of blanks (but one space is none), cut
where GPT-NeoX's pre-tokenizer cuts: at least one token, so P pieces hold at least P tokens. A
mail's window is its first P pieces, in which are all of its first P tokens; 4 P pieces of text are
kept. A word is a piece of letters or digits, in lower case: likeness is of words alone. N mails. No
error quotes a mail.
"""

import itertools
import zlib
from collections import Counter, defaultdict

import numpy as np

from w2s import rows
from w2s.data import splits
from w2s.data.mail_files import AESLC, CMU, _found
from w2s.data.mail_text import PIECE, mark, usable

SHINGLE = 5     # words: what near-duplicates are counted in
NEAR = 1 / 3    # two mails are near-duplicates when one has this share of the other's window
PASSAGE = 16    # words (20 to 25 pieces): mails with such a passage in common are one group,
COMMON = 10     # unless more mails than these have it: a signature, a disclaimer, a form


def bodies(raw, most=None, seed=0, pieces=128):
    """(pool, extra): lists of {"id", "text", "group", "source"}, sorted by id. pool: members and
    non-members are yet to be drawn from it. extra: the pile's mails, unlike every mail of the pool.

    raw: a splits.Raw; every file is accounted for in it. most: draw at most so many of the pool
    (splits.limit: fewer are a subset), by `seed`, which matters to nothing else. pieces: P.
    What is kept depends on the mails and not on their order.
    Raises ValueError when nothing is there, and `path:line: what is wrong` for a damaged file.
    """
    tally, best, seen = {}, {}, set()
    for path, source, mails in _found(raw):
        _take(path, source, mails, pieces, tally, best, seen)
    if all(_is_pile(path) for path in tally):
        raise raw.missing(
            "mails (aeslc.jsonl, *.subject, enron_mail_20150507.tar.gz, maildir/, emails.csv, "
            "*.eml, *.mbox, mails.jsonl)", f"AESLC ({AESLC}) or the CMU archive ({CMU})",
            "; these are real people's mails, so we do not fetch them")
    order = sorted(best, key=lambda key: (best[key][0], key))  # the pile last: it gives way
    unlike = distinct([best[key][1] for key in order], pieces)
    pool, extra, home = [], [], {}
    for key, keep in zip(order, unlike):
        is_pile, text, name, home[name] = best[key]
        if keep:
            (extra if is_pile else pool).append(
                {"id": name, "text": text, "group": name, "source": name.split("/")[0]})
        else:
            tally[home[name]]["near-duplicate"] += 1
    if not pool:
        raise ValueError(f"{raw.folder}: no mail there has a body of {pieces} pieces")
    pool, extra = (sorted(part, key=lambda row: row["id"]) for part in (pool, extra))
    drawn = splits.limit(pool, most, seed)
    set_groups(drawn + extra)
    groups = {row["group"] for row in drawn}
    apart = [row for row in extra if row["group"] not in groups]
    for before, after, reason in ((pool, drawn, "not drawn"),
                                  (extra, apart, "a passage of the pool")):
        kept = {row["id"] for row in after}
        for row in before:
            tally[home[row["id"]]][reason] += row["id"] not in kept
    for path, counts in tally.items():
        raw.account(path, counts.pop("read", 0), counts)
    if path := raw.find("mails.jsonl"):
        mark(path, {row["id"]: row for row in drawn})
    return drawn, apart


def _take(path, source, mails, pieces, tally, best, seen):
    """Enter the usable mails of a file into best {hash of the bare text: (from the pile?, text, id,
    path)}, of equal ones the smallest; into tally {path: counts} all others, by reason; into seen
    all ids."""
    counts = tally.setdefault(path, Counter())
    for name, text in mails:
        name = rows.SURROGATE.sub("?", f"{source}/{name}")
        if name in seen:
            raise ValueError(f"{path}: two mails have the id '{name}'")
        seen.add(name)
        counts["read"] += 1
        text, reason = usable(text, pieces)
        if reason:
            counts[reason] += 1
            continue
        key = splits.digest(splits.bare(text))
        new = (source == "pile", text, name, path)
        best[key], *twin = sorted([new, *([best[key]] if key in best else [])])
        for *_, place in twin:
            tally[place]["equal to another"] += 1


def _is_pile(path):
    return path.name.lower().startswith("pile_test_enron.jsonl")


# ---- duplicates ----------------------------------------------------------------------------------

def distinct(texts, pieces):
    """N bool: True for a mail that is no near-duplicate of a mail before it that is True.

    A is a near-duplicate of B when B's text has at least NEAR of the SHINGLE-word sequences of A's
    window, or A's text of those of B's window: also where one is part of the other. Only mails that
    are kept count, so likeness does not chain."""
    whole, window = [], []
    for text in texts:
        words, count = _words(text, pieces)
        grams = _sequences(words, SHINGLE)
        whole.append(np.unique(grams))
        window.append(np.unique(grams[:max(1, count - SHINGLE + 1)]))
    shared = _repeated(whole)
    sizes = [len(grams) for grams in window]
    in_text, in_window, keep = defaultdict(list), defaultdict(list), []
    for k in range(len(texts)):
        mine, seen = _places(whole[k], shared), _places(window[k], shared)
        hits = Counter(itertools.chain.from_iterable(in_text[s] for s in seen if s in in_text))
        near = any(n >= NEAR * sizes[k] for n in hits.values())
        if not near:
            hits = Counter(itertools.chain.from_iterable(
                in_window[s] for s in mine if s in in_window))
            near = any(n >= NEAR * sizes[j] for j, n in hits.items())
        keep.append(not near)
        if not near:
            for s in mine:
                in_text[s].append(k)
            for s in seen:
                in_window[s].append(k)
    return keep


def set_groups(pool):
    """Set row["group"]: rows that have a passage of PASSAGE words in common, directly or through
    other rows, are one group. A passage in more than COMMON rows does not count."""
    grams = [np.unique(_sequences(_words(row["text"])[0], PASSAGE)) for row in pool]
    shared = _repeated(grams, COMMON)
    splits.set_groups(pool, [[row["id"], *(f"{shared[s]:016x}" for s in _places(mine, shared))]
                             for row, mine in zip(pool, grams)])


def _words(text, pieces=0):
    """(32-bit hashes of the text's words, how many of them are among its first pieces)."""
    found = PIECE.findall(text.lower())
    words = [zlib.crc32(piece.encode()) for piece in found if piece[0].isalnum()]
    return np.array(words, np.uint64), sum(piece[0].isalnum() for piece in found[:pieces])


def _sequences(words, n):
    """64-bit hashes of all n words in a row; of all words where there are fewer."""
    n = min(n, len(words))
    base = np.uint64(0x9E3779B97F4A7C15)
    total = np.zeros(len(words) - n + 1, np.uint64)
    for k in range(n):
        total = (total + words[k:len(words) - n + 1 + k]) * base
    return total


def _repeated(grams, most=None):
    """Sorted hashes that are in at least two of N arrays of distinct hashes, and in at most so
    many."""
    values, counts = np.unique(np.concatenate([*grams, np.zeros(0, np.uint64)]), return_counts=True)
    return values[(counts > 1) & (counts <= (most or len(grams)))]


def _places(values, shared):
    """Indices into `shared`, which is sorted, of those values that are in it."""
    if not len(shared):
        return []
    at = np.searchsorted(shared, values).clip(max=len(shared) - 1)
    return at[shared[at] == values].tolist()
