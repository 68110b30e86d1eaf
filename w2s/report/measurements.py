"""Files of finished runs to numbers: rows, their sums, headlines and bootstrap draws.

N test rows, m sums of a row, n seeds, D bootstrap draws.
"""

import csv
import io
import math
import re
import warnings

import numpy as np

from w2s import metrics, rows, statistics, tasks
from w2s.report import render

COLUMNS = "task", "strategy", "model", "selection", "seed", "slice", "metric", "value"
METRICS = [{"slice": str, "metric": str, "value": rows.NUMBER}]  # in eval.json and attack-*.json
MANIFEST = {"splits": {...: {"rows": int}}, "sources": {}, "notes": [str]}


def written(key, values):
    """Yield the lines of results.csv of {(slice, metric): value}: *key, slice, metric, value. None,
    a share of a gap that is not clearly above 0, is an empty cell; nan, undefined, has no line."""
    for (part, metric), value in values.items():
        if value is None:
            yield *key, part, metric, ""
        elif not np.isnan(value):
            # ten digits: the last bits of a sum depend on the order of addition
            yield *key, part, metric, repr(float(f"{value:.10g}"))


def properties(trust=True):
    """{task: module} of the tasks with a trust metric, in the order of the paper's Table 1; with
    trust=False of those without one: the tasks of trust functions."""
    modules = {name: tasks.load(name) for name in tasks.NAMES}
    chosen = [item for item in modules.items() if bool(item[1].TRUST) == trust]
    return dict(sorted(chosen, key=lambda item: item[1].ROW))


def tasks_in(folder, trust=True):
    """The `properties` with runs in the folder."""
    names = {path.parent.name for path in folder.glob("*/seed*") if path.is_dir()}
    return [name for name in properties(trust) if name in names]


def seeds_in(folder):
    """The seeds of a task's folder, rising."""
    return sorted(int(path.name[4:]) for path in folder.glob("seed*")
                  if re.fullmatch(r"seed\d+", path.name))


def lack(folder, files):
    """Why a run cannot be used, in words for the report; "" when it has all the files."""
    absent = [name for name in files if not (folder / name).exists()]
    return ("" if not absent else "not run" if not folder.exists() else
            "not finished" if "DONE" in absent else f"no {absent[0]}")


def prepared(folder):
    """({split: number of rows}, [raw files], [note]) from the manifest of a prepared data folder;
    all empty without one."""
    # seed0 stands for all seeds where every seed has a split of its own
    paths = (folder / "manifest.json", folder / "seed0" / "manifest.json")
    path = next((path for path in paths if path.exists()), None)
    again = "prepare the data again, into another folder"
    manifest = rows.present(rows.read_json(path, MANIFEST, again)) if path else {}
    return ({name: split["rows"] for name, split in manifest.get("splits", {}).items()
             if split and split.get("rows") is not None}, sorted(manifest.get("sources", {})),
            manifest.get("notes", []))


def measurements(folder):
    """({(slice, metric): value}, {metric: file name}): a run's numbers in eval.json, on test rows,
    and in attack-<kind>.json. A metric of both is called <metric>_<kind> where it is the attack's,
    whose rows are others. Raises ValueError `FILE: what is wrong`."""
    values, attacks = entries(folder / "eval.json", "test", "metrics"), {}
    for path in sorted(folder.glob("attack-*.json")):
        known, kind = {metric for _, metric in values}, path.stem.removeprefix("attack-")
        for (part, metric), value in entries(path, "metrics").items():
            name = f"{metric}_{kind}" if metric in known else metric
            values[part, name], attacks[name] = value, path.name
    return values, attacks


def entries(path, *keys):
    """{(slice, metric): value} of the list under `keys` of a JSON file; nan where it has null.
    Raises ValueError `FILE: what is wrong`."""
    shape = METRICS
    for key in reversed(keys):
        shape = {key: shape}
    measured = rows.read_json(path, shape, "delete the file and measure again")
    try:  # the shape says what a key holds, not that it is there
        for key in keys:
            measured = measured[key]
        return {(m["slice"], m["metric"]): math.nan if m["value"] is None else float(m["value"])
                for m in measured}
    except (KeyError, TypeError):
        raise ValueError(f"{path}: not a list of slice, metric and value under "
                         f"{' / '.join(keys)}; delete the file and measure again") from None


def seconds(folder):
    """Time in training steps, the sum of the seconds in log.jsonl; nan without a step."""
    path = folder / "log.jsonl"
    if not path.exists() or not path.stat().st_size:  # an untuned model has no step
        return math.nan
    return float(sum(row["seconds"] for row in rows.read(path, {"seconds": rows.NUMBER}, False)))


def measured(module, folder, part):
    """Yield (path, rows) of a run's predictions on the rows called `part`, then of each file in the
    task's ATTACKED, which knows no parts. Rows have an id and, where there are classes, p and
    label. Raises ValueError `FILE:LINE: what is wrong`."""
    p = {"p": module.CLASSES, "label": tuple(range(module.CLASSES))} \
        if module.KIND == "class" else {}
    for name in (f"predictions/{part}.jsonl", *module.ATTACKED):
        predictions = rows.read(folder / name, {"id": str} | p)
        if module.KIND == "letters":  # as many probabilities as a row has options
            for n, row in enumerate(predictions, 1):
                options = row.get("p")
                rows.require(row, "p", len(options) if isinstance(options, list) else 1,
                             folder / name, n)
        yield folder / name, predictions


def sums(module, predictions, path):
    """(N, m) the task's sums of the rows of a file. Raises ValueError `FILE: what is wrong` when
    they are no predictions of this task."""
    try:
        S = np.asarray(module.sums(predictions), dtype=np.float64)
        if np.isfinite(S).all():
            return S
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        pass  # whichever key or type of a row was wrong, the advice is the same
    program = "attacks.py" if path.parent.name == "attacks" else "evaluate.py"
    raise ValueError(f"{path}: not predictions of this task; delete the file and run {program} "
                     "again")


def headline(module, totals):
    """{metric: float or (D,)} the task's headline metrics of totals (m,) or (D, m); nan where one
    is undefined."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # validation rows without a style
        values = module.headline(totals)
    # [()] makes a number of an array without axes
    return {name: np.asarray(value, dtype=np.float64)[()] for name, value in values.items()}


def majority(module, predictions):
    """Headline of the constant guess: in each source, its most frequent label. {} where the task
    has no classes."""
    if module.KIND != "class":
        return {}
    labels, K = {}, len(predictions[0]["p"])
    for row in predictions:
        labels.setdefault(row.get("source"), []).append(row["label"])
    guess = {source: np.eye(K)[np.bincount(column).argmax()] for source, column in labels.items()}
    constant = [{**row, **dict.fromkeys(("p", "p_adv"), guess[row.get("source")])}
                for row in predictions]
    return headline(module, np.asarray(module.sums(constant)).sum(0))


def resample(study, draws, rng):
    """Set each run's draws: groups of rows drawn with replacement, the same draw for all models of
    a seed and all seeds with the same test rows, so differences stay paired. A metric that is no
    sum over rows (DRAWN) is computed from the rows of its attack, drawn in the same way."""
    sharing = {}
    for _, run in sorted(study.runs.items()):  # sorted: the draws depend on the order
        sharing.setdefault((tuple(run.ids), tuple(run.groups)), []).append(run)
    for (_, groups), runs in sharing.items():
        S = np.concatenate([run.S for run in runs], -1)
        # the runs' columns stand side by side, so one draw of rows totals them all
        totals = statistics.resample_totals(S, groups, draws, rng)
        for run, part in zip(runs, np.split(totals, len(runs), -1)):
            run.draws = headline(study.module, part)
    for name in study.drawn:
        _resample_areas(study, name, draws, rng)


def _resample_areas(study, name, draws, rng, chunk=500):
    """Draws of an area under a ROC curve for every run that has its attack's rows: groups of rows
    drawn with replacement, the same draw wherever runs share them, of one seed or of several."""
    file, score = study.drawn[name]
    attacked, order = {}, {}  # order {group: number}: by name, so seeds that share it draw it once
    for key, run in sorted(study.runs.items()):
        path = study.at(*key) / file
        run.draws[name] = np.full(draws, math.nan)
        if path.exists():
            guesses = rows.read(path, {"id": str, score: rows.NUMBER}, False)
            attacked[key] = area_rows(guesses, score)
            for group in attacked[key][2]:
                order.setdefault(group, len(order))
    places = {key: np.array([order[group] for group in groups])
              for key, (*_, groups) in attacked.items()}
    for start in range(0, draws if attacked else 0, chunk):  # weights of a chunk at once
        size = min(chunk, draws - start)
        weight = rng.multinomial(len(order), np.full(len(order), 1 / len(order)), size)
        for key, (lower, member, _) in attacked.items():
            fpr, tpr = metrics.roc(lower, member, weight[:, places[key]])
            area = (np.diff(fpr) * (tpr[..., 1:] + tpr[..., :-1]) / 2).sum(-1)
            study.runs[key].draws[name][start:start + size] = area


def area_rows(guesses, score):
    """(minus the score (N,), member (N,), [group]) of the rows of a membership attack that its
    headline compares: members, and held-out rows of the members' sources."""
    # telling corpora apart is no memory; of the other half a student's teacher may know the rows
    sources = {row.get("source", "") for row in guesses if row.get("member")}
    compared = [row for row in guesses if row.get("member") or (
        row.get("split", "test") == "test" and row.get("source", "") in sources)]
    member = np.array([bool(row["member"]) for row in compared])
    return (np.array([-row[score] for row in compared]), member,
            [str(row.get("group", row["id"])) for row in compared])


def csv_text(lines, more=()):
    """The text of results.csv, sorted: the same bytes for the same runs. more: names of columns
    behind the value."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*COLUMNS, *more])
    for line in sorted(lines):
        # a number may begin with the minus of a formula
        writer.writerow([cell if name == "value" else harmless(cell)
                         for name, cell in zip((*COLUMNS, *more), line)])
    return file.getvalue()


def harmless(cell):
    """The cell as one that no spreadsheet takes for a formula: names come from folders."""
    cell = render.plain(str(cell))
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t") else cell
