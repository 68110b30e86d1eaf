"""From rows to five disjoint splits: group, divide, limit, check.

A group is a set of rows that must stay in one split because they share a text: otherwise a model is
tested on what it was trained on. Every random choice is a hash of (seed, purpose, content), so it
depends neither on the order of the rows nor on the version of a random number generator. N rows.
"""

import hashlib
import re
from collections import Counter

SPLITS = ("weak", "wts", "val", "trust", "test")


# ---- groups --------------------------------------------------------------------------------------

def digest(*parts):
    """16 hexadecimal digits of a hash of the parts: the name of a group, the order of a draw."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:16]


def normal(text):
    """The text in lower case with single blanks."""
    return " ".join(text.lower().split())


def bare(text):
    """Only the letters and digits, in lower case: equal for two tokenisations of one sentence. A
    text of punctuation alone stays as it is, or all such texts would be equal."""
    return re.sub(r"[\W_]+", "", text.lower()) or normal(text)


def set_groups(pool, keys):
    """Set row["group"] of N rows: rows that share one of their keys (N lists of str), directly or
    through other rows, are one group, named after its smallest key."""
    parent = {}  # a forest of keys (union-find): the root of a tree is its smallest key

    def root(key):
        while parent.setdefault(key, key) != key:
            parent[key] = key = parent[parent[key]]  # halve the path
        return key

    for row_keys in keys:
        # The smallest key, not the first one read: a group's name must not depend on the order.
        smallest, *larger = sorted({root(key) for key in row_keys})
        parent.update(dict.fromkeys(larger, smallest))
    for row, row_keys in zip(pool, keys):
        row["group"] = digest(root(row_keys[0]))


# ---- splits --------------------------------------------------------------------------------------

# C.2's shares, of what is left of the whole; OOD (C.3) has a test set of its own.
REST = {"weak": 0.4, "wts": 0.4, "test": 0.2}
VALIDATION = 0.05  # share of the whole (ours)


def usual(pool, seed, split="grouped", val=VALIDATION, trust=0.0, val_from="whole", rest=REST):
    """{split: rows}: the shares `val` and `trust` of the whole, then D_W, D_WTS and test, 40/40/20
    of what is left (reading E22), so that |D_W| = |D_WTS|. A share of 0: no such split.

    val_from "weak": val is this share of D_W instead, as C.3 prints it for OOD. split "rows": rows
    are drawn one by one, as in the paper, and groups torn apart. Raises ValueError when nothing is
    left to train on."""
    of_weak = val if val_from == "weak" else 0
    parts = apportion(pool, seed, split, val - of_weak, trust, rest)
    # As C.3 prints it D_W is smaller than D_WTS by its validation rows: then nothing is levelled.
    if of_weak:
        return parts | divide(parts["weak"], {"weak": 1 - val, "val": val}, seed, "inner", split)
    return level(parts, "group" if split == "grouped" else "id")


def trusted(pool, seed, split="grouped", val=0.01, trust=0.25):
    """{split: rows} for trust functions: the shares `trust`, labelled rows that no teacher was
    trained on (reading T8), and `val` of the whole; then D_W, the pool D_WTS and test, 4 to 7 to 4.
    Raises ValueError when nothing is left to train on."""
    return apportion(pool, seed, split, val, trust, {"weak": 4, "wts": 7, "test": 4})


def apportion(pool, seed, split, val, trust, rest):
    """{split: rows}: the shares `val` and `trust` of the whole; what is left in the ratios `rest`.
    Raises ValueError when nothing is left."""
    if (held_out := val + trust) >= 1:
        raise ValueError(f"--val {val} and --trust {trust}: nothing is left to train on")
    shares = {name: part / sum(rest.values()) * (1 - held_out) for name, part in rest.items()}
    shares |= {"val": val, "trust": trust}
    return divide(pool, {name: share for name, share in shares.items() if share}, seed, "outer",
                  split)


def level(parts, key="group"):
    """The splits with as many rows in weak as in wts, as far as whole groups allow: the surplus of
    one goes to test or, where there is none, to val."""
    sizes = {name: Counter(row[key] for row in parts[name]) for name in ("weak", "wts")}
    larger, smaller = sorted(sizes, key=lambda name: -len(parts[name]))
    surplus, leaving = len(parts[larger]) - len(parts[smaller]), set()
    # Large groups first: small ones then fill what is left of the surplus.
    for group in sorted(sizes[larger],
                        key=lambda name: (-sizes[larger][name], digest("level", name))):
        if sizes[larger][group] <= surplus:
            leaving.add(group)
            surplus -= sizes[larger][group]
    receiver = next((name for name in ("test", "val") if name in parts), None)
    if not leaving or receiver is None:
        return parts
    # What fits is moved as a whole; a last surplus smaller than every group stays.
    moved = [row for row in parts[larger] if row[key] in leaving]
    return parts | {larger: [row for row in parts[larger] if row[key] not in leaving],
                    receiver: parts[receiver] + moved}


def divide(pool, shares, seed, purpose, split="grouped"):
    """{name: rows} with about shares[name] of the rows, groups whole.

    Each `source` is divided by itself, and in it each (label, a), its groups in random order. The
    first groups go one to each name, so that none lacks the source; each later one goes to the name
    that is furthest behind its share. So sources, labels and a have about equal shares everywhere.
    """
    key = "group" if split == "grouped" else "id"
    groups, order, split_of = {}, {}, {}
    for row in pool:  # with split "rows" every row is a group of its own, by its id
        groups.setdefault(row[key], []).append(row)
    # A group may have rows of several kinds; the smallest one stands for it, in any order of rows.
    kinds = {name: min((_source(row), str(row.get("label")), str(row.get("a")))
                       for row in members) for name, members in groups.items()}
    # The order of the kinds is drawn too, by the same seed.
    rank = {kind: digest(seed, purpose, *kind) for kind in set(kinds.values())}
    for name in sorted(groups, key=lambda name: (rank[kinds[name]], digest(seed, purpose, name))):
        order.setdefault(kinds[name][0], []).append(name)
    for names in order.values():
        filled, total = dict.fromkeys(shares, 0), 0
        # With fewer groups than names some go without: `check` refuses a split that stays empty.
        first = list(shares) if len(names) >= len(shares) else []
        for k, name in enumerate(names):
            size = len(groups[name])
            total += size
            target = first[k] if k < len(first) else max(
                shares, key=lambda s: shares[s] * total - filled[s])
            filled[target] += size
            split_of[name] = target
    return {s: [row for row in pool if split_of[row[key]] == s] for s in shares}


def limit(pool, most, seed, aligned=False):
    """At most `most` of the rows (None: all), in their order; a smaller limit gives a subset. Every
    source, and in it every label and a, keeps its share. Raises ValueError when a source has no row
    left.

    aligned: the rows of a group are versions of one sentence and are kept or dropped together. Rows
    without other versions (OOD's `id` rows, which the headline accuracy needs) get a quarter at
    least."""
    if most is None or len(pool) <= most:
        return pool
    # Sources of a group: a sentence in one style alone has no other version.
    versions = Counter(group for group, _ in {(row["group"], _source(row)) for row in pool})
    alone = [row for row in pool if aligned and versions[row["group"]] == 1]
    versioned = [row for row in pool if not aligned or versions[row["group"]] > 1]
    share = max(most // 4, most - len(versioned)) if alone and versioned else most if alone else 0
    key = "group" if aligned else "id"
    keep = _first(alone, share, seed, key) | _first(versioned, most - share, seed, key)
    limited = [row for row in pool if row[key] in keep]
    lacking = sorted(set(map(_source, pool)) - set(map(_source, limited)))
    if lacking:
        raise ValueError(f"--limit {most} is too small: no row of {', '.join(lacking)} is left")
    return limited


def _first(pool, most, seed, key):
    """The values of `key` that a limit keeps: the first ones of a random order that is spread over
    sources, labels and a, with at most `most` rows of the pool together."""
    units, keep, count = {}, set(), 0
    for row in pool:
        units.setdefault(row[key], []).append(row)
    sources = {u: sorted({_source(row) for row in members}) for u, members in units.items()}
    kinds = {u: (_class(members[0]), members[0].get("a")) for u, members in units.items()}
    for unit in _spread(list(units), [sources, kinds], seed):
        count += len(units[unit])
        if count > most:  # with `continue` a smaller limit would not give a subset
            break
        keep.add(unit)
    return keep


def _spread(units, strata, seed):
    """The units in an order: every prefix holds each stratum in its share, and at least once.
    strata: [{unit: stratum}, ...], the outer ones first."""
    if not strata:
        return sorted(units, key=lambda unit: digest(seed, "limit", unit))
    members = {}
    for unit in units:
        members.setdefault(str(strata[0][unit]), []).append(unit)
    # The k-th of m units of a stratum stands at k/m of the order: all strata begin at 0.
    ranked = [(k / len(m), digest(seed, "limit", unit), unit) for m in members.values()
              for k, unit in enumerate(_spread(m, strata[1:], seed))]
    return [unit for *_, unit in sorted(ranked)]


def check(splits, shared=(), split="grouped"):
    """{"disjoint": bool, ...}: no id, group or text (case and blanks aside) is in two splits
    (reading E9).

    shared: two splits that may have rows in common, counted by id (OOD: the paper's choice).
    split "rows" tears groups apart: `leaking` counts the test rows whose group is elsewhere too.
    Raises ValueError when a split is empty or an id occurs twice, and, unless split is "rows", for
    the first group or text that two splits share."""
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
                continue  # meant to be in both: neither its text nor its group is a leak
            texts = {normal(row[key]) for key in ("text", "text_adv") if key in row}
            # Texts as well as groups: rows of one's own bring groups that may be wrong.
            for item in (("id", row["id"]), ("group", row["group"]), *(("text", t) for t in texts)):
                first = owner.setdefault(item, name)
                if first != name and (split == "grouped" or item[0] == "id"):
                    raise ValueError(f"{first} and {name} share the {item[0]} of '{row['id']}'"
                                     + "; ids must differ across files" * (item[0] == "id"))
            # The owner is the first split that has the group; in SPLITS test comes last.
            leaking += name == "test" and owner["group", row["group"]] != name
    return {"disjoint": not leaking} | ({"shared_with_val": common} if shared else {}) | (
        {"leaking": leaking} if split != "grouped" else {})


def describe(members):
    """The manifest's entry of a split: counts of rows, groups, labels, a, sources, attacks."""
    summary = {"rows": len(members), "groups": len({row["group"] for row in members})}
    for key, name in (("label", "classes"), ("a", "a"), ("source", "sources"),
                      ("surrogate", "surrogates")):
        counts = Counter(str(row[key]) for row in members if key in row
                         and (key != "label" or _class(row) is not None))
        if counts:
            summary[name] = dict(sorted(counts.items()))
    if any("method" in row for row in members):
        counts = Counter((row["source"], row["method"]) for row in members)
        summary["attacks"] = {source: {} for source in summary["sources"]}
        for (source, method), n in sorted(counts.items()):
            summary["attacks"][source][method] = n
    return summary


def _class(row):
    """The label where it is a class; None for an answer in words."""
    return row.get("label") if isinstance(row.get("label"), int) else None


def _source(row):
    """The benchmark, style or corpus that a row is from; "" where rows are all of one."""
    return row.get("source", "")
