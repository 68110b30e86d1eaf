"""Mail for the privacy property: cleaned bodies, long enough, without near-duplicates.

All sources that are there are read together. Nothing is fetched: these are real people's emails.

    source    files (plain or .gz)
    aeslc     aeslc.jsonl (id, body), or the corpus as published: one *.subject file an email
    labelled  berkeley_labelled_raw.jsonl (id, raw: the email with its headers)
    mails     mails.jsonl (id, text, secrets): your own; see mark
    eml mbox  *.eml (one email a file), *.mbox
    cmu       enron_mail_20150507.tar.gz, or it unpacked (maildir/), or Kaggle's emails.csv
    pile      pile_test_enron.jsonl (id, text): further non-members, never trained on

A piece is a run of letters, of digits, of other marks or of blanks (a single space is none), cut
where GPT-NeoX's pre-tokenizer cuts. Each is at least one token, so P pieces hold at least P tokens.
An email's window is its first P pieces, which hold its first P tokens; 4 P pieces of text are kept.
A word is a piece of letters or digits, in lower case; only words are compared. N emails. No error
quotes an email.
"""

import itertools
import zlib
from collections import Counter, defaultdict

import numpy as np

from w2s import rows
from w2s.data import splits
from w2s.data.mail_files import MAILS, mail_sources
from w2s.data.mail_text import PIECE, mark, usable

SHINGLE = 5     # words: what near-duplicates are counted in
NEAR = 1 / 3    # two emails are near-duplicates when one has this share of the other's window
PASSAGE = 16    # words (20 to 25 pieces): emails with such a passage in common are one group
COMMON = 10     # emails; a passage in more of them is a signature, a disclaimer or a form


def bodies(raw, most=None, seed=0, pieces=128):
    """(pool, extra): lists of {"id", "text", "group", "source"}, sorted by id. Members and
    non-members will be drawn from the pool; extra has the pile's emails, unlike every one of it.

    raw: a raw_folder.Raw, which gets the account of every file. most: at most so many of the pool
    are drawn (splits.limit: fewer are a subset), by `seed`, which matters to nothing else.
    pieces: P. What is kept depends on the emails and not on their order.
    Raises ValueError when nothing is there, and `path:line: what is wrong` for a damaged file.
    """
    tally, best, seen = {}, {}, set()
    for path, source, mails in mail_sources(raw):
        _take(path, source, mails, pieces, tally, best, seen)
    if all(path.name.lower().startswith("pile_test_enron.jsonl") for path in tally):
        raise raw.missing(MAILS)
    # The pile comes last: of two near-duplicates the later one is left out, and the pile's emails
    # are only further non-members. Within each the order is that of a hash of the text.
    order = sorted(best, key=lambda key: (best[key][0], key))
    unlike = distinct([best[key][1] for key in order], pieces)
    pool, extra, origin = [], [], {}
    for key, is_distinct in zip(order, unlike):
        is_pile, text, name, origin[name] = best[key]
        if is_distinct:
            (extra if is_pile else pool).append(
                {"id": name, "text": text, "group": name, "source": name.split("/")[0]})
        else:
            tally[origin[name]]["near-duplicate"] += 1
    if not pool:
        raise ValueError(f"{raw.folder}: no email there has a body of {pieces} pieces")
    pool, extra = (sorted(part, key=lambda row: row["id"]) for part in (pool, extra))
    drawn = splits.limit(pool, most, seed)
    # A non-member with a passage of a member is none: that passage may have been trained on.
    set_groups(drawn + extra)
    groups = {row["group"] for row in drawn}
    unrelated = [row for row in extra if row["group"] not in groups]
    for before, after, reason in ((pool, drawn, "not drawn"),
                                  (extra, unrelated, "a passage of the pool")):
        ids = {row["id"] for row in after}
        for row in before:
            tally[origin[row["id"]]][reason] += row["id"] not in ids
    for path, counts in tally.items():
        raw.account(path, counts.pop("read", 0), counts)
    if path := raw.find("mails.jsonl"):  # the only source that knows of secrets
        mark(path, {row["id"]: row for row in drawn})
    return drawn, unrelated


def _take(path, source, mails, pieces, tally, best, seen):
    """Read a file. Usable emails go into best {hash of the bare text: (from the pile?, text, id,
    path)}, of equal ones the smallest; all others into tally {path: counts}, by reason; all ids
    into seen. Raises ValueError for an id that occurs twice."""
    counts = tally.setdefault(path, Counter())
    for name, text in mails:
        name = rows.SURROGATE.sub("?", f"{source}/{name}")  # a half character is no UTF-8
        if name in seen:
            raise ValueError(f"{path}: two emails have the id '{name}'")
        seen.add(name)
        counts["read"] += 1
        text, reason = usable(text, pieces)
        if reason:
            counts[reason] += 1
            continue
        key = splits.digest(splits.bare(text))
        # The smallest of equal emails, not the first: the order of the files must not matter.
        new = (source == "pile", text, name, path)
        best[key], *twin = sorted([new, *([best[key]] if key in best else [])])
        for *_, other_path in twin:
            tally[other_path]["equal to another"] += 1


# ---- duplicates ----------------------------------------------------------------------------------

def distinct(texts, pieces):
    """N bool: whether an email is kept, being no near-duplicate of a kept email before it.

    A is a near-duplicate of B when B's text has at least NEAR of the SHINGLE-word sequences of A's
    window, or A's text of those of B's window: so one is also found inside a longer one. Emails
    that were left out do not count, so near-duplication does not chain."""
    whole, window = [], []
    for text in texts:
        words, count = _words(text, pieces)
        grams = _sequences(words, SHINGLE)
        whole.append(np.unique(grams))
        window.append(np.unique(grams[:max(1, count - SHINGLE + 1)]))
    # What one email alone has can be no likeness: without it the two indices below stay small.
    shared = _repeated(whole)
    sizes = [len(grams) for grams in window]
    in_text, in_window, keep = defaultdict(list), defaultdict(list), []
    for i in range(len(texts)):
        text_places, window_places = _places(whole[i], shared), _places(window[i], shared)
        hits = Counter(itertools.chain.from_iterable(
            in_text[place] for place in window_places if place in in_text))
        near = any(n >= NEAR * sizes[i] for n in hits.values())
        if not near:
            hits = Counter(itertools.chain.from_iterable(
                in_window[place] for place in text_places if place in in_window))
            near = any(n >= NEAR * sizes[j] for j, n in hits.items())
        keep.append(not near)
        if not near:
            for place in text_places:
                in_text[place].append(i)
            for place in window_places:
                in_window[place].append(i)
    return keep


def set_groups(pool):
    """Set row["group"]: rows that have a passage of PASSAGE words in common, directly or through
    other rows, are one group. A passage in more than COMMON rows does not count, as a disclaimer
    would join all the emails that end in it."""
    grams = [np.unique(_sequences(_words(row["text"])[0], PASSAGE)) for row in pool]
    shared = _repeated(grams, COMMON)
    splits.set_groups(pool, [
        [row["id"], *(f"{shared[place]:016x}" for place in _places(sequences, shared))]
        for row, sequences in zip(pool, grams)])


def _words(text, pieces=0):
    """(32-bit hashes of the text's words, how many of them are among its first pieces)."""
    every = PIECE.findall(text.lower())
    # crc32, as Python's own hash of a str differs from process to process.
    words = [zlib.crc32(piece.encode()) for piece in every if piece[0].isalnum()]
    return np.array(words, np.uint64), sum(piece[0].isalnum() for piece in every[:pieces])


def _sequences(words, n):
    """64-bit hashes of every n words in sequence, one hash of them all where there are fewer."""
    n = min(n, len(words))
    base = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd; products wrap around
    total = np.zeros(len(words) - n + 1, np.uint64)
    for k in range(n):
        total = (total + words[k:len(words) - n + 1 + k]) * base
    return total


def _repeated(grams, most=None):
    """Sorted hashes that are in at least two of N arrays, and in at most `most` of them."""
    # No array has a hash twice, so counts are of emails. The empty one is for N = 0.
    values, counts = np.unique(np.concatenate([*grams, np.zeros(0, np.uint64)]), return_counts=True)
    return values[(counts > 1) & (counts <= (most or len(grams)))]


def _places(values, shared):
    """Indices into `shared`, which is sorted, of those values that are in it."""
    if not len(shared):
        return []
    positions = np.searchsorted(shared, values).clip(max=len(shared) - 1)
    return positions[shared[positions] == values].tolist()
