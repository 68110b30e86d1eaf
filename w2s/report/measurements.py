"""What finished runs measured: from their files to rows, totals and resampled totals.

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

METRICS = [{"slice": str, "metric": str, "value": rows.NUMBER}]  # in eval.json and attack-*.json
MANIFEST = {"splits": {...: {"rows": int}}, "sources": {}, "notes": [str]}


def written(key, values):
    """Yield the lines of results.csv of {(slice, metric): value}: key, slice, metric, value; None
    is a share of nothing, an empty cell."""
    for (part, metric), value in values.items():
        if value is None:
            yield *key, part, metric, ""
        elif not np.isnan(value):
            yield *key, part, metric, repr(float(f"{value:.10g}"))


def properties(trust=True):
    """{task: module} of the tasks with headline metrics, in the order of the paper's Table 1; with
    trust=False of those without a trust metric: the tasks of trust functions."""
    modules = {name: tasks.load(name) for name in tasks.NAMES}
    found = {name: module for name, module in modules.items()
             if bool(module.TRUST) == trust}
    return dict(sorted(found.items(), key=lambda item: item[1].ROW))


def tasks_in(folder, trust=True):
    """The `properties` with runs in the folder."""
    found = {path.parent.name for path in folder.glob("*/seed*") if path.is_dir()}
    return [name for name in properties(trust) if name in found]


def seeds_in(folder):
    """The seeds of a task's folder."""
    return sorted(int(path.name[4:]) for path in folder.glob("seed*")
                  if re.fullmatch(r"seed\d+", path.name))


def lack(folder, files):
    """Why a run cannot be used; "" when it has all the files."""
    absent = [part for part in files if not (folder / part).exists()]
    return ("" if not absent else "not run" if not folder.exists() else
            "not finished" if "DONE" in absent else f"no {absent[0]}")


def prepared(folder):
    """({split: rows}, [raw files], [note]) of a prepared data folder, or of its seed0 where every
    seed has a split of its own; all empty without a manifest."""
    paths = (folder / "manifest.json", folder / "seed0" / "manifest.json")
    path = next((path for path in paths if path.exists()), None)
    again = "prepare the data again, into another folder"
    found = rows.present(rows.read_json(path, MANIFEST, again)) if path else {}
    return ({name: about["rows"] for name, about in found.get("splits", {}).items()
             if about and about.get("rows") is not None}, sorted(found.get("sources", {})),
            found.get("notes", []))


def measurements(folder):
    """({(slice, metric): value}, {metric: file name}) of a run's eval.json on test rows and its
    attack-<kind>.json. What both measure is called <metric>_<kind> where the attack did: its rows
    are others. Raises ValueError `FILE: what is wrong`."""
    found, attacks = entries(folder / "eval.json", "test", "metrics"), {}
    for path in sorted(folder.glob("attack-*.json")):
        known, kind = {metric for _, metric in found}, path.stem.removeprefix("attack-")
        for (part, metric), value in entries(path, "metrics").items():
            name = f"{metric}_{kind}" if metric in known else metric
            found[part, name], attacks[name] = value, path.name
    return found, attacks


def entries(path, *keys):
    """{(slice, metric): value} of the list under `keys` of a JSON file; nan: undefined."""
    shape = METRICS
    for key in reversed(keys):
        shape = {key: shape}
    found = rows.read_json(path, shape, "delete the file and measure again")
    try:
        for key in keys:
            found = found[key]
        found = {(m["slice"], m["metric"]): math.nan if m["value"] is None else float(m["value"])
                 for m in found}
    except (KeyError, TypeError):
        raise ValueError(f"{path}: not a list of slice, metric and value under "
                         f"{' / '.join(keys)}; delete the file and measure again") from None
    return found


def seconds(folder):
    """Sum of the seconds in log.jsonl, time in training steps; nan without a step."""
    path = folder / "log.jsonl"
    if not path.exists() or not path.stat().st_size:  # an untuned model has no step
        return float("nan")
    return float(sum(row["seconds"] for row in rows.read(path, {"seconds": rows.NUMBER}, False)))


def measured(module, folder, part):
    """Yield (path, rows) of a run's predictions on the rows called `part`: with an id and, where
    there are classes, with p; then of the task's ATTACKED, which are the same for each part."""
    p = {"p": module.CLASSES, "label": tuple(range(module.CLASSES))} \
        if module.KIND == "class" else {}
    for name in (f"predictions/{part}.jsonl", *module.ATTACKED):
        found = rows.read(folder / name, {"id": str} | p)
        if module.KIND == "letters":  # as many probabilities as a row has options
            for n, row in enumerate(found, 1):
                options = row.get("p")
                rows.require(row, "p", len(options) if isinstance(options, list) else 1,
                             folder / name, n)
        yield folder / name, found


def sums(module, predictions, path):
    """(N, m) the task's sums of a file of predictions. Raises ValueError when it is none."""
    try:
        found = np.asarray(module.sums(predictions), dtype=np.float64)
        if np.isfinite(found).all():
            return found
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        pass
    program = "attacks.py" if path.parent.name == "attacks" else "evaluate.py"
    raise ValueError(f"{path}: not predictions of this task; delete the file and run {program} "
                     "again")


def headline(module, totals):
    """{metric: float or array} of the task's headline metrics; nan where one is undefined."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # validation rows without a style
        found = module.headline(totals)
    return {name: np.asarray(value, dtype=np.float64)[()] for name, value in found.items()}


def majority(module, predictions):
    """Headline of the constant guess: in each source, its most frequent label. {} where the task
    has no classes."""
    if module.KIND != "class":
        return {}
    labels, K = {}, len(predictions[0]["p"])
    for row in predictions:
        labels.setdefault(row.get("source"), []).append(row["label"])
    guess = {source: np.eye(K)[np.bincount(found).argmax()] for source, found in labels.items()}
    constant = [{**row, **dict.fromkeys(("p", "p_adv"), guess[row.get("source")])}
                for row in predictions]
    return headline(module, np.asarray(module.sums(constant)).sum(0))


def resample(study, draws, rng):
    """Set each run's draws: groups of rows drawn with replacement, the same draw for all models of
    a seed and all seeds with the same test rows, so differences stay paired. What is no sum over
    rows (DRAWN) is computed from the rows of its attack, drawn in the same way."""
    sharing = {}
    for _, run in sorted(study.runs.items()):
        sharing.setdefault((tuple(run.ids), tuple(run.groups)), []).append(run)
    for (_, groups), runs in sharing.items():
        S = np.concatenate([run.S for run in runs], -1)
        totals = statistics.resample_totals(S, groups, draws, rng)
        for run, part in zip(runs, np.split(totals, len(runs), -1)):
            run.draws = headline(study.module, part)
    for name in study.drawn:
        _resample_areas(study, name, draws, rng)


def _resample_areas(study, name, draws, rng, chunk=500):
    """Draws of an area under a ROC curve for every run that has its attack's rows: groups of rows
    drawn with replacement, the same draw wherever runs share them, of one seed or of several."""
    file, score = study.drawn[name]
    known, order = {}, {}
    for key, run in sorted(study.runs.items()):
        path = study.at(*key) / file
        run.draws[name] = np.full(draws, math.nan)
        if path.exists():
            known[key] = area_rows(rows.read(path, {"id": str, score: rows.NUMBER}, False), score)
            for group in known[key][2]:
                order.setdefault(group, len(order))
    places = {key: np.array([order[group] for group in groups])
              for key, (*_, groups) in known.items()}
    for start in range(0, draws if known else 0, chunk):
        size = min(chunk, draws - start)
        weight = rng.multinomial(len(order), np.full(len(order), 1 / len(order)), size)
        for key, (lower, member, _) in known.items():
            fpr, tpr = metrics.roc(lower, member, weight[:, places[key]])
            area = (np.diff(fpr) * (tpr[..., 1:] + tpr[..., :-1]) / 2).sum(-1)
            study.runs[key].draws[name][start:start + size] = area


def area_rows(found, score):
    """(minus the score (N,), member (N,), [group]) of the rows of a membership attack that its
    headline compares: members, and held-out rows of the members' sources."""
    sources = {row.get("source", "") for row in found if row.get("member")}
    kept = [row for row in found if row.get("member") or (
        row.get("split", "test") == "test" and row.get("source", "") in sources)]
    member = np.array([bool(row["member"]) for row in kept])
    return (np.array([-row[score] for row in kept]), member,
            [str(row.get("group", row["id"])) for row in kept])


def csv_text(studies):
    """results.csv, sorted, the same for the same runs."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow("task strategy model selection seed slice metric value".split())
    for *names, value in sorted(line for study in studies for line in study.cells()):
        writer.writerow([*map(harmless, names), value])
    return file.getvalue()


def harmless(cell):
    """A cell that no spreadsheet takes for a formula."""
    cell = render.plain(str(cell))
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t") else cell
