"""From raw public files to five disjoint splits: find or fetch, read, group, divide, limit, check.

A group is a set of rows that must stay in one split, because they share a text. Every choice is a
hash of (seed, purpose, content), so it depends neither on the order of a file's rows in memory nor
on the library's version. N rows.
"""

import hashlib
import re
from collections import Counter

SPLITS = ("weak", "wts", "val", "trust", "test")


# ---- groups --------------------------------------------------------------------------------------

def digest(*parts):
    """16 hexadecimal digits of the parts: names groups, orders draws."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:16]


def normal(text):
    """The text in lower case with single blanks."""
    return " ".join(text.lower().split())


def bare(text):
    """Only the letters and digits, in lower case: equal for two tokenisations of one sentence."""
    return re.sub(r"[\W_]+", "", text.lower()) or normal(text)


def set_groups(pool, keys):
    """Set row["group"] of N rows: rows that share one of their keys (N lists of str), directly or
    through other rows, are one group, named after its smallest key."""
    parent = {}

    def root(key):
        while parent.setdefault(key, key) != key:
            parent[key] = key = parent[parent[key]]  # halve the path
        return key

    for mine in keys:
        low, *others = sorted({root(key) for key in mine})
        parent.update(dict.fromkeys(others, low))
    for row, mine in zip(pool, keys):
        row["group"] = digest(root(mine[0]))


# ---- splits --------------------------------------------------------------------------------------

REST = {"weak": 0.4, "wts": 0.4, "test": 0.2}  # C.2; OOD (C.3) has a test set of its own
VALIDATION, TRUST = 0.05, 0.1  # of the whole, where there are such rows (ours)


def usual(pool, seed, split="grouped", val=VALIDATION, trust=0.0, val_from="whole", rest=REST):
    """{split: rows}: of the whole the shares `val` and `trust`, then of what is left D_W, D_WTS and
    test, 40/40/20 (reading E22), so that |D_W| = |D_WTS|. A share of 0: no such split.

    val_from "weak": val is this share of D_W instead, as C.3 prints it for OOD. split="rows": whole
    rows at random, as in the paper, groups torn apart. Raises ValueError when nothing is left."""
    whole = (val if val_from == "whole" else 0) + trust
    if whole >= 1 or (val_from == "weak" and val >= 1):
        raise ValueError(f"--val {val} and --trust {trust}: nothing is left to train on")
    total = sum(rest.values())
    shares = {name: share / total * (1 - whole) for name, share in rest.items()}
    shares |= {"val": val if val_from == "whole" else 0, "trust": trust}
    parts = divide(pool, {name: share for name, share in shares.items() if share}, seed, "outer",
                   split)
    if val_from == "weak" and val:
        return parts | divide(parts["weak"], {"weak": 1 - val, "val": val}, seed, "inner", split)
    return level(parts, "group" if split == "grouped" else "id")


def level(parts, key="group"):
    """The splits with as many rows in weak as in wts, as far as whole groups allow: what one has
    more goes to test, or where there is none to val."""
    sizes = {name: Counter(row[key] for row in parts[name]) for name in ("weak", "wts")}
    more, less = sorted(sizes, key=lambda name: -len(parts[name]))
    surplus, gone = len(parts[more]) - len(parts[less]), set()
    for group in sorted(sizes[more], key=lambda name: (-sizes[more][name], digest("level", name))):
        if sizes[more][group] <= surplus:
            gone.add(group)
            surplus -= sizes[more][group]
    to = next((name for name in ("test", "val") if name in parts), None)
    if not gone or to is None:
        return parts
    moved = [row for row in parts[more] if row[key] in gone]
    return parts | {more: [row for row in parts[more] if row[key] not in gone],
                    to: parts[to] + moved}


def trusted(pool, seed, split="grouped", val=0.01, trust=0.25):
    """{split: rows} for trust functions: of the whole the labelled rows `trust`, which no teacher
    was trained on (reading T8), and val; of what is left D_W, the pool D_WTS and test, 4 to 7 to 4.
    """
    whole = val + trust
    if whole >= 1:
        raise ValueError(f"--val {val} and --trust {trust}: nothing is left to train on")
    shares = {name: share / 15 * (1 - whole) for name, share in
              (("weak", 4), ("wts", 7), ("test", 4))} | {"val": val, "trust": trust}
    return divide(pool, {name: share for name, share in shares.items() if share}, seed, "outer",
                  split)


def divide(pool, shares, seed, purpose, split="grouped"):
    """{name: rows} with about shares[name] of the rows, groups whole.

    Each `source` is divided by itself: label by label and a by a, groups in random order, the first
    ones one to each name, so that none lacks the source, and each later one to the name that is
    furthest behind its share. So sources, labels and a have about the same shares everywhere.
    """
    key = "group" if split == "grouped" else "id"
    groups, order, place = {}, {}, {}
    for row in pool:
        groups.setdefault(row[key], []).append(row)
    kinds = {name: min((_source(row), str(row.get("label")), str(row.get("a")))
                       for row in members) for name, members in groups.items()}
    rank = {kind: digest(seed, purpose, *kind) for kind in set(kinds.values())}
    for name in sorted(groups, key=lambda name: (rank[kinds[name]], digest(seed, purpose, name))):
        order.setdefault(kinds[name][0], []).append(name)
    for names in order.values():
        filled, total = dict.fromkeys(shares, 0), 0
        first = list(shares) if len(names) >= len(shares) else []
        for k, name in enumerate(names):
            size = len(groups[name])
            total += size
            to = first[k] if k < len(first) else max(
                shares, key=lambda s: shares[s] * total - filled[s])
            filled[to] += size
            place[name] = to
    return {s: [row for row in pool if place[row[key]] == s] for s in shares}


def limit(pool, most, seed, aligned=False):
    """At most `most` of the rows, in their order; a smaller limit gives a subset. Every source, and
    in it every label and a, keeps its share, and every source at least one row. aligned: the rows
    of a group are versions of one sentence and are kept or dropped together, and the rows without
    other versions (the test's `id` rows, which the headline accuracy needs) get at least a quarter.
    """
    if most is None or len(pool) <= most:
        return pool
    versions = Counter(group for group, _ in {(row["group"], _source(row)) for row in pool})
    alone = [row for row in pool if aligned and versions[row["group"]] == 1]
    others = [row for row in pool if not aligned or versions[row["group"]] > 1]
    share = max(most // 4, most - len(others)) if alone and others else most if alone else 0
    key = "group" if aligned else "id"
    keep = _first(alone, share, seed, key) | _first(others, most - share, seed, key)
    kept = [row for row in pool if row[key] in keep]
    lost = sorted(set(map(_source, pool)) - set(map(_source, kept)))
    if lost:
        raise ValueError(f"--limit {most} is too small: no row of {', '.join(lost)} is left")
    return kept


def _first(pool, most, seed, key):
    """The values of `key` whose rows come first, spread over sources, labels and a: at most `most`
    rows of the pool."""
    units, keep, count = {}, set(), 0
    for row in pool:
        units.setdefault(row[key], []).append(row)
    sources = {u: sorted({_source(row) for row in members}) for u, members in units.items()}
    kinds = {u: (_class(members[0]), members[0].get("a")) for u, members in units.items()}
    for unit in _spread(list(units), [sources, kinds], seed):
        count += len(units[unit])
        if count > most:
            break
        keep.add(unit)
    return keep


def _spread(units, strata, seed):
    """The units in an order: every prefix holds each stratum in its share, and at least once."""
    if not strata:
        return sorted(units, key=lambda unit: digest(seed, "limit", unit))
    members = {}
    for unit in units:
        members.setdefault(str(strata[0][unit]), []).append(unit)
    places = [(k / len(m), digest(seed, "limit", unit), unit) for m in members.values()
              for k, unit in enumerate(_spread(m, strata[1:], seed))]
    return [unit for *_, unit in sorted(places)]


def check(splits, shared=(), split="grouped"):
    """{"disjoint": bool, ...}: no id, group or text (case and blanks aside) is in two splits.

    shared: two splits that may have whole rows in common, counted by id (OOD: the paper's choice).
    split="rows" tears groups apart: `leaking` counts the test rows whose group is elsewhere too.
    Raises ValueError when a split is empty or an id occurs twice, or, split="grouped", for the
    first group or text that two splits share."""
    owner, common, leaking = {}, 0, 0
    known = {row["id"] for row in splits[shared[0]]} if shared else ()
    for name in splits:
        if not splits[name]:
            raise ValueError(f"the {name} split is empty: the raw files have too few groups")
        if len({row["id"] for row in splits[name]}) < len(splits[name]):
            raise ValueError(f"an id occurs twice in the {name} split")
        for row in splits[name]:
            if shared and name == shared[1] and row["id"] in known:
                common += 1
                continue
            texts = {normal(row[key]) for key in ("text", "text_adv") if key in row}
            for what in (("id", row["id"]), ("group", row["group"]), *(("text", t) for t in texts)):
                other = owner.setdefault(what, name)
                if other != name and (split == "grouped" or what[0] == "id"):
                    raise ValueError(f"{other} and {name} share the {what[0]} of '{row['id']}'"
                                     + "; ids must differ across files" * (what[0] == "id"))
            leaking += name == "test" and owner["group", row["group"]] != name
    return {"disjoint": not leaking} | ({"shared_with_val": common} if shared else {}) | (
        {"leaking": leaking} if split != "grouped" else {})


def describe(members):
    """What the manifest says about a split: counts of rows, groups, labels, a, sources, attacks."""
    about = {"rows": len(members), "groups": len({row["group"] for row in members})}
    for key, name in (("label", "classes"), ("a", "a"), ("source", "sources"),
                      ("surrogate", "surrogates")):
        counts = Counter(str(row[key]) for row in members if key in row
                         and (key != "label" or _class(row) is not None))
        if counts:
            about[name] = dict(sorted(counts.items()))
    if any("method" in row for row in members):
        counts = Counter((row["source"], row["method"]) for row in members)
        about["attacks"] = {source: {} for source in about["sources"]}
        for (source, method), n in sorted(counts.items()):
            about["attacks"][source][method] = n
    return about


def _class(row):
    """The label where it is a class; None for an answer in words."""
    return row.get("label") if isinstance(row.get("label"), int) else None


def _source(row):
    return row.get("source", "")
