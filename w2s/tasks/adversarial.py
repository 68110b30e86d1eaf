"""Adversarial robustness on AdvGLUE++: six GLUE tasks, each row a clean text x and a perturbed x'.

One model serves all six tasks (reading A7); a row's `source` decides which classes exist for it.
B rows, T tokens, K = 3 classes, N rows of a split.
"""

import re
from collections import Counter

import numpy as np

from w2s import metrics, rows
from w2s.data import raw_folder, splits
from w2s.infer import classify
from w2s.model import tokenization
from w2s.train import step

label, predictions = classify.label, classify.predictions
right, weak_class = classify.right, classify.weak_class
batches, make_step = step.batches, step.make_step
KIND, CLASSES = "class", 3
TASK, TRUST, SIGN = "acc", "ra", 1
METRICS = {"acc": "accuracy on the clean texts, mean over the GLUE tasks",
           "ra": "robust accuracy: accuracy on the perturbed texts, mean over the GLUE tasks",
           "ra_worst": "robust accuracy of the worst GLUE task",
           "asr": "attack success: share of the rows right on x that are wrong on x'"}
TITLE, ROW = "Adversarial robustness", 3
CLASS_NAMES = ("sst2: negative, qqp: not duplicate, mnli, qnli, rte: entailment",
               "sst2: positive, qqp: duplicate, mnli: neutral, qnli, rte: not entailment",
               "mnli: contradiction")
NOTE = ("The perturbed texts were made against other models, not against the ones evaluated "
        "here: this measures transfer only, and robustness to an attack on the model itself "
        "may be much lower. An attack keeps only texts that its victim had right, so acc on them "
        "is of a selection: acc on unselected texts stands beside it where they are known. Of the "
        "miniature's texts the headline has those made against a model that no run is made of; "
        "those made against the bases of weak and strong models stand apart. acc and ra are means "
        "over the GLUE tasks. AdvGLUE++ is not filtered by people: not every perturbed text keeps "
        "its meaning.")
BESIDE = {  # columns of a table beside the headlines: slice and metric of eval.json
    "acc, unselected texts": ("unselected", "acc"),
    "ra, independent surrogate": ("surrogate:independent", "ra"),
    "ra, of the weak family": ("surrogate:weak family", "ra"),
    "ra, of the strong family": ("surrogate:strong family", "ra")}
DEFAULTS = {"lam": (0.3, "A.2"), "alpha": (0.1, "A.2"), "epochs": (6, "A.2")}
LAM_MOST = 1, "Eqs. (4) and (9) mix clean and perturbed loss as 1 - lam and lam"
OPTIONS, ENCODE = (), ("adv_label",)  # flags of objective, of encode
LABEL = ("temperature", "hidden")  # flags of label
LABELS = {"sst2": 2, "qqp": 2, "mnli": 3, "mnli-mm": 3, "qnli": 2, "rte": 2}  # classes of a source
ABSENT = -1e4  # logit of a class that a source does not have; never -inf: 0 * -inf is NaN
# What a perturbed text was made against: in the miniature a model of the weak or the strong family,
# or the independent surrogate; UNSELECTED is no attack: every clean text, whether an attack beat it
# or not. Rows of EXTRA are in no training split and beside the headline, the independent one.
INDEPENDENT, UNSELECTED = "independent", "unselected"
EXTRA = ("weak family", "strong family", UNSELECTED)
FIELDS = {"id": str, "text": str, "text_adv": str, "label": (0, 1, 2), "source": tuple(LABELS)}


def read(path, weak=False):
    """Rows of a split, checked; weak=True: a labels file with `weak` and `weak_adv`. Raises
    ValueError `path:line: ...`, also for a label that the row's source does not have."""
    result = rows.read(path, {**FIELDS, **({"weak": 3, "weak_adv": 3} if weak else {})})
    for n, row in enumerate(result, 1):
        if row["label"] >= LABELS[row["source"]]:
            raise ValueError(f"{path}:{n}: 'label' is {row['label']}, but {row['source']} has only "
                             f"{LABELS[row['source']]} classes")
    return result


def encode(rows, tokenizer, max_length, target="label", adv_label="fw_x_adv"):
    """Columns of N rows: ids, ids_adv (lists of token arrays), target, target_adv (N, 3), absent
    (N, 3): ABSENT where the row's source lacks the class, else 0; pool (N,): index of the source,
    as thresholds of hardened predictions are kept for each (reading A2).

    Weak stage: both targets are the label. Student stage (target="weak"): target_adv is f_w(x'),
    as Eq. (9) is printed, or f_w(x) (reading A1)."""
    adv = {"fw_x_adv": "weak_adv", "fw_x": "weak"}[adv_label]
    classes = np.array([LABELS[row["source"]] for row in rows])
    return {"ids": tokenization.tokenize(tokenizer, [row["text"] for row in rows], max_length),
            "ids_adv": tokenization.tokenize(tokenizer, [row["text_adv"] for row in rows],
                                             max_length),
            "target": tokenization.targets(rows, target, CLASSES),
            "target_adv": tokenization.targets(rows, adv if target == "weak" else target, CLASSES),
            "pool": np.array([list(LABELS).index(row["source"]) for row in rows]),
            "absent": np.where(np.arange(CLASSES) < classes[:, None], 0, ABSENT).astype(np.float32)}


def objective(f, batch, ell, lam):
    """Eq. (4) weak stage, Eq. (9) student stage: (1 - lam) * ell(f(x_i)) + lam * ell(f(x'_i)).

    A convex mixture, lam in [0, 1] (reading A0). At 0 the perturbed texts are not read: exactly
    clean training (reading A3); at 1 the clean ones are not. Returns (B,).
    """
    return loss(forward(f, batch, lam), batch, ell, lam)


def forward(f, batch, lam):
    """{"x": logits (B, 3) of the clean texts, unless lam is 1; "x_adv": of the perturbed ones,
    unless lam is 0}. batch["absent"] (B, 3), if given, is added to the logits and closes the
    classes that a row's source does not have."""
    read = {"": lam < 1, "_adv": lam > 0}
    return {f"x{end}": f(batch[f"ids{end}"], batch[f"len{end}"]) + batch.get("absent", 0)
            for end in read if read[end]}


def loss(logits, batch, ell, lam):
    """(1 - lam) * ell(f(x_i)) + lam * ell(f(x'_i)), each with the targets of its own text. (B,)"""
    # ell reads `target`: of x' it is that of target_adv, and so on for all such columns.
    adv = {key.removesuffix("_adv"): value for key, value in batch.items() if key.endswith("_adv")}
    mixture = 0
    if lam < 1:
        mixture = (1 - lam) * ell(logits["x"], batch)
    if lam > 0:
        mixture = mixture + lam * ell(logits["x_adv"], {**batch, **adv})
    return mixture


def sums(rows):
    """(N, 3 * 6) what a row adds to the totals: 1, correct on x, correct on x', in the place of its
    source; rows of EXTRA count nowhere."""
    label = np.array([row["label"] for row in rows])
    right = [np.array([row[key] for row in rows]).argmax(-1) == label for key in ("p", "p_adv")]
    in_source = np.array([
        [row["source"] == s and row.get("surrogate") not in EXTRA for s in LABELS]
        for row in rows], float)  # (N, 6)
    counts = [in_source, *(in_source * r[:, None] for r in right)]
    return np.stack(counts, -1).reshape(len(rows), -1)


def headline(totals):
    """{"acc", "ra"} (...,) from totals (..., 18): means over the sources that have rows, each of
    the same weight (reading A7)."""
    n, clean, adv = np.moveaxis(totals.reshape(*totals.shape[:-1], -1, 3), -1, 0)  # (..., 6) each
    present = np.maximum((n > 0).sum(-1), 1)
    return {key: (np.divide(right, n, out=np.zeros_like(n), where=n > 0)).sum(-1) / present
            for key, right in (("acc", clean), ("ra", adv))}


def evaluate(rows):
    """[{slice, metric, value}]: slices are the sources, `attack:<method>` for each attack,
    `surrogate:<model>` for each model that was attacked (means over the sources), `unselected`."""
    main = [row for row in rows if row.get("surrogate") not in EXTRA]
    totals = headline(sums(main).sum(0))
    result = [("all", "acc", totals["acc"]), ("all", "ra", totals["ra"])]
    slices = {s: [r for r in main if r["source"] == s] for s in LABELS}
    methods = sorted({r["method"] for r in main if "method" in r})
    slices |= {f"attack:{m}": [r for r in main if r.get("method") == m] for m in methods}
    for name, members in slices.items():
        if not members:  # rows of one's own need not have all six sources
            continue
        label = [r["label"] for r in members]
        clean, adv = (np.array([r[key] for r in members]).argmax(-1) for key in ("p", "p_adv"))
        result += [(name, "acc", metrics.accuracy(clean, label)),
                   (name, "ra", metrics.robust_accuracy(adv, label)), (name, "n", len(members))]
    # asr: an attack succeeds where it turns a right answer into a wrong one.
    worst = min(v for s, m, v in result if m == "ra" and s in LABELS)
    right = [int(np.argmax(r["p"])) == r["label"] for r in main]
    flips = [int(np.argmax(r["p_adv"])) != r["label"] for r, ok in zip(main, right) if ok]
    result += [("all", "ra_worst", worst), ("all", "asr", sum(flips) / max(1, len(flips)))]
    result += _by_surrogate(rows)
    return [dict(zip(("slice", "metric", "value"), entry)) for entry in result]


def _by_surrogate(rows):
    """[(slice, metric, value)], means over the sources, for each attacked model, and for the clean
    texts that no attack chose: an attack keeps only texts that its victim had right."""
    members = {}
    for row in rows:  # without their surrogate, as `sums` leaves out rows of EXTRA
        members.setdefault(row.get("surrogate"), []).append({**row, "surrogate": None})
    unselected, result = members.pop(UNSELECTED, None), []
    for name in sorted(filter(None, members)):
        scores = headline(sums(members[name]).sum(0))
        result += [(f"surrogate:{name}", "acc", scores["acc"]),
                   (f"surrogate:{name}", "ra", scores["ra"]),
                   (f"surrogate:{name}", "n", len(members[name]))]
    if unselected:
        result += [(UNSELECTED, "acc", headline(sums(unselected).sum(0))["acc"]),
                   (UNSELECTED, "n", len(unselected))]
    return result


def to_attack(rows):
    """The rows for an attack on the model under test, each clean text once: the unselected ones
    where there are any, as the others were chosen by what another model had right."""
    unselected = [row for row in rows if row.get("surrogate") == UNSELECTED]
    return unselected or [row for row in rows if row.get("surrogate") not in EXTRA]


# ---- raw files -----------------------------------------------------------------------------------

PREMISE, HYPOTHESIS = ("premise", "sentence1"), ("hypothesis", "sentence2")
PARTS = {  # of a source: its sentences, each with the names it has in the files, ours first
    "sst2": (("sentence",),), "qqp": (("question1",), ("question2",)),
    "mnli": (PREMISE, HYPOTHESIS), "mnli-mm": (PREMISE, HYPOTHESIS),
    "qnli": (("question",), ("sentence",)), "rte": (PREMISE, HYPOTHESIS)}
FILES = (  # AdvGLUE++ in the first form that is there; AdvGLUE's annotated dev set; TextAttack
    (("advglue_plus_plus.json",), ("alpaca.json", "vicuna.json", "stable-vicuna.json"),
     tuple(f"{source}.jsonl" for source in LABELS), ("advglue_plus_plus_sample.jsonl",)),
    (("advglue_dev_ann.json",), ("dev_ann.json",)), (("attack_pairs.jsonl",),))
PUBLIC = raw_folder.Public(  # listed on the hub at commit 4c1116b
    "AI-Secure/DecodingTrust", tuple(f"adv-glue-plus-plus/data/{name}" for name in FILES[0][1]),
    "CC BY-SA 4.0", 42017)
NAMES = tuple(name for forms in FILES for names in forms for name in names)
NEEDS = (raw_folder.Need(
    f"any of {', '.join(NAMES)}", "https://github.com/AI-secure/DecodingTrust-Data-Legacy "
    "(data/adv-glue-plus-plus/data)", NAMES, public=PUBLIC),)


def prepare(raw, seed=0, split="grouped", per_source=10000, val=splits.VALIDATION, trust=0.0):
    """{split: rows}, 40/40/20: clean texts, each with a perturbation (readings A4 to A8, E22). Rows
    of EXTRA are in test alone.

    Rows that share a sentence of the clean text, or a whole text, are one group, across sources
    too. Left out and counted by reason: rows without a clean text, of attacks that failed,
    duplicates, and what a source has beyond per_source rows."""
    pool, keys, seen, files = [], [], set(), {}
    for path in _files(raw):
        records, reasons = list(_records(path)), Counter()
        for place, name, source, record in records:
            row, sentences, why = _row(record, source, place)
            # Half a character cannot be written as UTF-8.
            if rows.SURROGATE.search(f"{row['text']}{row['text_adv']}"):
                reasons["with half a character"] += 1
                continue
            # Equal texts made against several models of the experiment stand once for each of them.
            content = tuple(row.values())
            against = _surrogate(record, path)
            content = (*content, against) if against in EXTRA else content
            why = why or ("duplicates" if content in seen else None)
            if why:
                reasons[why] += 1
                continue
            seen.add(content)
            method = re.sub("[^a-z0-9]", "", str(record.get("method") or "unknown").lower())
            pool.append({"id": name, **row, "method": method, "origin": raw_folder.stem(path),
                         "surrogate": against})
            keys.append([splits.bare(part) for part in (*sentences, row["text"], row["text_adv"])])
        files[path] = len(records), reasons
        if raw_folder.stem(path) in ("advglue_dev_ann", "dev_ann", "attack_pairs"):
            raw.notes.append(f"{path.name} is not part of the paper's AdvGLUE++")
    splits.set_groups(pool, keys)
    limited = [row for source in LABELS for row in splits.limit(
        [row for row in pool if row["source"] == source], per_source, seed)]
    beyond = Counter(row["origin"] for row in pool) - Counter(row["origin"] for row in limited)
    for path, (count, reasons) in files.items():
        raw.account(path, count, {**reasons, "beyond --per-source": beyond[raw_folder.stem(path)]})
    return apart(splits.usual(limited, seed, split, val, trust), raw, split)


def apart(parts, raw, split):
    """The splits with rows of EXTRA in test alone, those whose group is in test; levelled anew."""
    key = "group" if split == "grouped" else "id"
    extra = [row for rows in parts.values() for row in rows if row["surrogate"] in EXTRA]
    if not extra:
        return parts
    # A group of EXTRA rows alone may be in test too; levelling then moves more groups there.
    before = {row["group"] for row in parts["test"]}
    parts = splits.level({name: [row for row in rows if row["surrogate"] not in EXTRA]
                          for name, rows in parts.items()}, key)
    tested = before | {row["group"] for row in parts["test"]}
    tested_extra = [row for row in extra if row["group"] in tested]
    raw.notes.append(f"{len(extra) - len(tested_extra)} rows made against a model of the "
                     "experiment, or against none, are for test alone and were left out of the "
                     "other splits")
    return parts | {"test": parts["test"] + tested_extra}


def _files(raw):
    """The files to read: of each kind the first form that is there. Where there is none of any kind
    AdvGLUE++ is fetched."""
    chosen = []
    for forms in FILES:
        present = [[path for name in names if (path := raw.find(name))] for names in forms]
        # The forms have the same rows: read together, all would be duplicates.
        used, *unread = [paths for paths in present if paths] or [[]]
        chosen += used
        raw.notes += [f"read {used[0].name}, not {path.name}" for paths in unread for path in paths]
        for names, paths in zip(forms, present):
            if paths is used and len(paths) < len(names):
                raw.notes.append(f"of {', '.join(names)} only {len(paths)} there")
    return chosen or raw.fetch(NEEDS[0])


def _records(path):
    """Yield (place in the file, id, source, record) of a JSON file {source: [record]} or of a jsonl
    file. Raises ValueError for another form."""
    name = raw_folder.stem(path)
    if path.name.lower().removesuffix(".gz").endswith(".jsonl"):
        for n, record in enumerate(rows.read(path, unique=False)):
            yield f"{path}:{n + 1}", f"{name}/{n}", record.get("task", name), record
        return
    tables = rows.read_json(path, halves=True)  # odd characters are what some attacks are made of
    if not isinstance(tables, dict) or not all(isinstance(t, list) for t in tables.values()):
        raise ValueError(f"{path}:1: expected {{task: [row, ...]}}")
    for source, records in tables.items():
        for n, record in enumerate(records):
            if not isinstance(record, dict):
                raise ValueError(f"{path}: {source}[{n}]: expected an object, got "
                                 + rows.kind(record))
            yield f"{path}: {source}[{n}]", f"{name}/{source}/{n}", source, record


def _row(record, source, place):
    """(row, sentences of the clean text, reason why it is not used or None). Raises ValueError for
    a source or a label that does not exist."""
    if not isinstance(source, str) or source not in LABELS:
        raise ValueError(f"{place}: task {rows.shown(source)}, expected one of "
                         f"{', '.join(LABELS)}")
    label = record.get("label")
    if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < LABELS[source]:
        raise ValueError(f"{place}: 'label' is {rows.shown(label)}, expected 0 to "
                         f"{LABELS[source] - 1}")
    clean, adv = _sentences(record, source, place)
    row = {"text": compose(source, clean or ()), "text_adv": compose(source, adv), "label": label,
           "source": source}
    result, why = str(record.get("result") or "successful").lower(), None
    if clean is None:
        made = record.get("data_construction") == "human"
        why = "written by people, without a clean text" if made else "without a clean text"
    elif result != "successful":
        why = f"attack {result}"
    elif not all((*clean, *adv)) or (row["text"] == row["text_adv"]
                                     and record.get("model") != UNSELECTED):
        why = "empty or not changed by the attack"
    return row, clean or (), why


def _sentences(record, source, place):
    """(clean or None, perturbed): the sentences of a row, blanks around them removed.

    A record has them one by one, the changed one also as `original_<name>`, or all of them joined
    in `sentence` (SemAttack). Raises ValueError where one is missing."""
    def get(prefix, names):
        values = (record.get(prefix + name) for name in names)
        return next((text.strip() for text in values if isinstance(text, str)), None)

    parts, joined = PARTS[source], get("", ["sentence"])
    adv, original = ([get(prefix, names) for names in parts] for prefix in ("", "original_"))
    if len(parts) > 1 and joined is not None and (None in adv or _part(source, joined)):
        before = get("original_", ["sentence"])
        if before is None:
            return None, [joined]
        # Where a joined text cannot be taken apart, both are used as they are, whole.
        separate = [_part(source, before), _part(source, joined)]
        return separate if all(separate) else ([before], [joined])
    if None in adv:
        raise ValueError(f"{place}: no text '{parts[adv.index(None)][0]}'")
    # Only the sentence that the attack changed has an original.
    clean = [a if o is None else o for a, o in zip(adv, original)]
    return (None if original == [None] * len(parts) else clean), adv


def _part(source, text):
    """The sentences of a joined text ("premise: ... hypothesis: ..."), or None."""
    # Name by name: one pattern for the whole text takes quadratic time.
    starts, ends = [], []
    for names in PARTS[source]:
        name = re.compile(rf"(?:{'|'.join(names)})\s*+:", re.IGNORECASE)
        match = name.search(text, starts[-1]) if starts else name.match(text)
        if not match:
            return None
        starts.append(match.end())
        ends.append(match.start())
    return [text[start:end].strip() for start, end in zip(starts, [*ends[1:], len(text)])]


def sentences(row):
    """{name: sentence} of a row's text; None where `compose` would not give the text back."""
    # Attacks change sentences alone: the names between them are out of their reach.
    names, parts = PARTS[row["source"]], [row["text"].strip()]
    parts = parts if len(names) == 1 else _part(row["source"], row["text"])
    if not parts or not all(parts) or compose(row["source"], parts) != row["text"]:
        return None
    return dict(zip((name for name, *_ in names), parts))


def compose(source, sentences):
    """The text of a row from its sentences, each behind its name; a single one stands alone."""
    if len(sentences) < 2:
        return "".join(sentences)
    return " ".join(f"{names[0]}: {part}" for names, part in zip(PARTS[source], sentences))


def _surrogate(record, path):
    """The model that the attack was made against, where the file says so (reading A9)."""
    name = raw_folder.stem(path)
    # AdvGLUE++ has one file for each attacked model, called after it.
    named = name if name in ("alpaca", "vicuna", "stable-vicuna") else "not said"
    models = (record.get(key) for key in ("source_model", "model", "victim"))
    attacked = next((model for model in models if isinstance(model, str)), named)
    return rows.SURROGATE.sub("?", attacked)
