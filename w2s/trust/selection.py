"""Which of the teacher's labels train the student: the rows of the pool that are trusted most, and
how good that trust is.

N rows of the pool, D size of a state.
"""

from collections import Counter
import numpy as np

from w2s import hidden_states, metrics
from w2s.config import number
from w2s.data import leaks
from w2s.train.step import seed_of
from w2s.trust import score_metrics

PROBABILITIES = ("ntf", "truth-n", "confidence", "icl-confidence", "reward", "consistency",
                 "agreement", "file")  # or may be: what leaves [0, 1] is not measured as one
CALIBRATION = ("ece", "brier", "nll")  # say something of probabilities only


# ---- what a labelled row says of itself ----------------------------------------------------------

def certainty(row):
    """(largest probability, margin, minus entropy) of a labelled row: over the classes or options
    of `weak`; of text the means over its tokens that label.py kept in `certain`. Raises
    ValueError for a row with neither."""
    if "certain" in row:
        p, margin, entropy = row["certain"]
        return p, margin, -entropy
    if "weak" not in row:
        raise ValueError(f"id '{row.get('id')}': no 'certain'; label the rows with label.py")
    p = [row["weak"]]  # a table of one row, as w2s.metrics takes it
    return (float(metrics.max_probability(p)[0]), float(metrics.margin(p)[0]),
            -float(metrics.entropy(p)[0]))


def features(path, labelled, which):
    """What the trust function reads of the rows of a labels file: the states (N, D) beside it, or
    with "both" also how certain the teacher was: log p, margin, entropy, and its largest logit. In
    TF it is the states alone; behind an option that is read by itself (cloze) they know nothing of
    the other options."""
    states = hidden_states.read_states(hidden_states.states_of(path), labelled)
    if which == "states":
        return states
    # 1e-9: a probability that label.py wrote may be 0, and the states have to be finite
    p, margin, entropy = np.array([certainty(row) for row in labelled], np.float32).T
    largest = [max(row["logits"]) if "logits" in row else 0 for row in labelled]
    return np.column_stack([states, np.log(p + 1e-9), margin, entropy,
                            np.array(largest, np.float32)])


def with_truth(row):
    """The row with the true label in place of the weak one, and "truth" that says so."""
    # logits go: they are those of the weak label
    fields = {key: value for key, value in row.items() if not key.startswith("logits")}
    if "weak_text" in row:
        return fields | {"weak_text": f" {row.get('solution', row['label'])}", "truth": True}
    onehot = {key: [float(k == row["label"]) for k in range(len(row[key]))]
              for key in ("weak", "weak_adv") if key in row}
    return fields | onehot | {"truth": True}


# ---- which rows ----------------------------------------------------------------------------------

def of_sources(labelled, sources, path):
    """Positions of the labelled rows that have one of the sources; without sources all."""
    positions = [i for i, row in enumerate(labelled) if not sources or row.get("source") in sources]
    if not positions:
        known = sorted({row.get("source", "") for row in labelled})
        raise ValueError(f"--sources {' '.join(sources)}: no row of {path} has one; its sources "
                         f"are {', '.join(known)}")
    return positions


def within(positions, budget, seed, path):
    """`budget` of the positions, at random, in their order. A larger budget of the same seed has
    all of a smaller one, so that results differ by what was added."""
    if budget > len(positions):
        raise ValueError(f"--budget {budget}: {path} has {len(positions)} such rows; give less")
    draw = np.random.Generator(np.random.PCG64(seed_of(seed, "budget")))
    return sorted(draw.permutation(positions)[:budget].tolist())


def unseen(pool, sources, path):
    """(N,) bool: whether a row of the pool is of a source that the trust function did not learn
    from. Raises ValueError where there is none."""
    may = np.array([row.get("source", "") not in sources for row in pool])
    if not may.any():
        raise ValueError(f"--unseen: the trust function has learned from every source of {path} "
                         f"({', '.join(sources)}); give it fewer --sources")
    return may


def refuse(labelled, path, splits, seen):
    """ValueError for a labelled row of another split than these, and for one that the teacher was
    trained on (leaks.Seen): on those it is right more often than on others."""
    for n, row in enumerate(labelled, 1):
        if row.get("split", "wts") not in splits:
            raise ValueError(f"{path}:{n}: the row belongs to split '{row['split']}', expected "
                             f"{' or '.join(splits)}")
    seen.refuse_all(labelled, path, "label rows it has not seen")


def refuse_overlap(labelled, pool, paths):
    """ValueError when a row, or a group of rows, is in both files; paths of the two."""
    # on rows that it learned from the trust function would look better than it is
    seen = leaks.Seen(labelled, f"{paths[0]} too")
    groups = {str(row["group"]) for row in labelled if "group" in row}
    then = "the labelled rows must be others than the pool's"
    for n, row in enumerate(pool, 1):
        seen.refuse(row, paths[1], n, then)
        if str(row.get("group")) in groups:
            raise ValueError(f"{paths[1]}:{n}: the group of id '{row['id']}' is in {paths[0]} too; "
                             + then)


def most(keep, n):
    """Rows that --keep asks for, of n: a share up to 1, else a number."""
    if keep > n or keep > 1 and keep != int(keep):
        raise ValueError(f"--keep {number(keep)}: the pool has {n} rows; give a share up to 1, or "
                         "a number of rows")
    return max(1, round(keep * n)) if keep <= 1 else int(keep)


def threshold(cfg, score):
    """The least trust of a label that is kept: --min-trust, or -inf. score (N,). Raises ValueError
    for scores that are no probabilities, and where none reaches it."""
    if cfg.min_trust is None:
        return -np.inf
    low, high, asked = (number(float(v)) for v in (score.min(), score.max(), cfg.min_trust))
    if score.min() < 0 or score.max() > 1:
        raise ValueError(f"--min-trust {asked}: the scores go from {low} to {high}, so they are no "
                         "probabilities; choose by --keep")
    if score.max() < cfg.min_trust:
        raise ValueError(f"--min-trust {asked}: no label reaches it, the largest trust is {high}; "
                         "give less, or choose by --keep")
    return cfg.min_trust


def pick(score, n, classes=None, least=-np.inf, may=None):
    """Sorted positions of the n rows with the most trust, at least `least`, or of fewer where fewer
    reach it; of equals the earlier. classes (N,): the same number of each class, as far as a class
    has rows (reading T5). may (N,) bool: the rows that can be chosen (default: all)."""
    if may is not None:
        rest = np.flatnonzero(may)
        return rest[pick(np.asarray(score)[rest], n, classes and [classes[i] for i in rest],
                         least)]
    # stable: of equal scores the earlier row goes first, as metrics.purity counts them
    order = np.argsort(-np.asarray(score), kind="stable")
    if classes is not None:
        # the best row of each class comes first, then the second best of each, and so on
        place, seen = np.empty(len(order)), Counter()
        for i in order:
            place[i] = seen[classes[i]]
            seen[classes[i]] += 1
        order = np.lexsort((-np.asarray(score), place))
    order = order[np.asarray(score)[order] >= least]
    return np.sort(order[:n])


def pick_each(score, keep, classes, least, may, sources):
    """`pick` of each source's rows apart: the share `keep` of them; sources (N,) names. Accuracy is
    the mean over sources, and a choice of the whole pool may take few of one (reading T5)."""
    chosen = []
    for name in sorted(set(sources)):
        rest = np.array([source == name for source in sources])
        rest &= True if may is None else may
        if rest.any():
            chosen.append(pick(score, most(keep, int(rest.sum())), classes, least, rest))
    return np.sort(np.concatenate(chosen))


# ---- how good it is ------------------------------------------------------------------------------

def shares(classes, chosen):
    """{class: (share of the pool, share of the chosen rows)}, of at most 20 classes; else {}."""
    pool, selected = Counter(classes), Counter(classes[i] for i in chosen)
    return {str(name): (pool[name] / len(classes), selected[name] / len(chosen))
            for name in sorted(pool, key=str)} if len(pool) <= 20 else {}


def regimes(known, pool, same_task):
    """{source of the pool: regime}, TF's three: the trust function saw rows of this source (known:
    sources), of another one asked in the same way, or was trained on another task's."""
    return {source: "other interface" if not same_task else
            "in distribution" if source in known else "other distribution"
            for source in sorted({row.get("source", "") for row in pool})}


def uncalibrated(score, right):
    """[{slice, metric, value}]: how far the trust (N,) of the reweighted loss is from a probability
    before shift and temperature (reading T2)."""
    return [{"slice": "all", "metric": "ece_raw", "value": metrics.ece(score, right,
                                                                       score_metrics.BINS)},
            {"slice": "all", "metric": "brier_raw", "value": metrics.brier(score, right)}]


def measure(score, right, pool, chosen, select, seed, draws):
    """[{slice, metric, value}] of the whole pool and, where there are several, of each of its
    sources. score, right (N,); chosen: positions of the rows that are kept."""
    slices = {"all": np.arange(len(pool))}
    names = np.array([row.get("source", "") for row in pool])
    if len(set(names) - {""}) > 1:
        slices |= {name: np.flatnonzero(names == name) for name in sorted(set(names) - {""})}
    groups, entries = np.array([str(row.get("group", row["id"])) for row in pool]), []
    for name, members in slices.items():
        # as large a share of each slice as of the pool, so that purities compare
        n = max(1, round(len(chosen) / len(pool) * len(members)))
        entries += [entry | {"slice": name} for entry in score_metrics.measure(
            score[members], right[members], groups[members], seed, draws, n)
            if select in PROBABILITIES or entry["metric"].split("_")[0] not in CALIBRATION]
    entries += [{"slice": "all", "metric": "right", "value": float(right.mean())},
                {"slice": "all", "metric": "right_kept", "value": float(right[chosen].mean())}]
    return entries


def verdicts(pool, score, right, chosen):
    """N rows: id, group and source, the trust, whether the label is right, whether it is kept."""
    selected = {*chosen.tolist()}
    return [{"id": row["id"], "group": str(row.get("group", row["id"])), "trust": float(score[i]),
             "right": int(right[i]), "kept": i in selected, "source": row.get("source", "")}
            for i, row in enumerate(pool)]


def lines(facts, measured, regimes, shares):
    """The printed lines: facts about the training; of every slice its measures with their intervals
    and its regime; the shares of the classes, where they are at most ten."""
    value = {(m["slice"], m["metric"]): m["value"] for m in measured}
    names = [m for m in ("auc", "ece", "brier", "purity", "aurc") if ("all", m) in value]
    # each slice once, in the order of `measure`
    slices = list(dict.fromkeys(m["slice"] for m in measured))
    width = max(map(len, slices))
    parts = [f"{key.replace('_', ' ')} " + (f"{v:.4g}" if isinstance(v, float) else str(v))
             for key, v in facts.items()]
    text = [", ".join(parts)] if parts else []
    text.append(f"{'':{width}}  " + "".join(f"{name:<22}" for name in names))
    for part in slices:
        cells = ["-" if value.get((part, m)) is None else f"{value[part, m]:.3f} "
                 f"[{value[part, f'{m}_low']:.3f}, {value[part, f'{m}_high']:.3f}]" for m in names]
        text.append(f"{part:{width}}  " + "".join(f"{cell:<22}" for cell in cells)
                    + regimes.get(part, ""))
    if ("all", "ece_raw") in value:
        text.append(f"before calibration: ece {value['all', 'ece_raw']:.3f}, brier "
                    f"{value['all', 'brier_raw']:.3f}")
    if 1 < len(shares) <= 10:
        text.append("answers, of the pool and of the kept: " + ", ".join(
            f"{name} {a:.0%} {b:.0%}" for name, (a, b) in shares.items()))
    return [f"  {line}".rstrip() for line in text]
