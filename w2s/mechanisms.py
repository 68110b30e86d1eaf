"""Why do trusted labels teach well? The three mechanisms of the trust functions' paper, measured on
finished runs of mcqa, arithmetic or game.

    python -m w2s.mechanisms --runs runs/miniature --task mcqa --out runs/miniature/mechanisms/mcqa

easy-first: the loss of the true answer under the untuned student, of kept against dropped labels;
and the accuracy of a student that got the same rows easy first (train_student.py --order easy).
corrected labels: where the given truth is wrong (w2s.prepare plant), how often kept labels are
right, and the accuracy of their student beside that of the student on the given truth.
aligned gradients: the cosine of a label's gradient at the untuned student with the mean gradient of
all other rows' true answers, of kept against dropped labels (w2s/trust/alignment.py).

Difficulty and cosine stand there among right labels alone, too: an easy row's label is more often
right. Reads RUNS/<task>/seed<k>/: the run of train_ntf.py, the labels that it chose from, the
untuned student, and predictions/test.jsonl of the students. OUT/mechanisms.json gets every number
with its interval (groups of rows are resampled, over seeds Student's t: reading E14),
OUT/mechanisms.jsonl the rows.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from w2s import config
from w2s.config import REQUIRED, arg

PAIRS = ["student-ntf-easy:student-ntf", "student-ntf:student-truth"]


@dataclass(kw_only=True)
class Config:
    runs: str = arg(REQUIRED, "folder of the runs, for example runs/miniature", free=True)
    task: str = arg(REQUIRED, "mcqa, arithmetic or game")
    out: str = arg(REQUIRED, "folder to make")
    trust: str = arg("trust-ntf", "run of train_ntf.py in each seed's folder, which says what was "
                     "kept")
    base: str = arg("base-strong", "run of the untuned student (--epochs 0)")
    compare: list[str] = arg(PAIRS, "ONE:OTHER, two students' runs whose accuracies are compared "
                             "in the seeds that have both")
    limit: int = arg(512, "rows of a seed, drawn at random, whose gradients are compared with the "
                     "mean of all; 0: none", low=0)
    batch_size: int = arg(32, "rows computed together", low=1)
    seed: int = arg(0, "draws the rows of --limit, and the bootstrap", low=0)
    draws: int = arg(10000, "bootstrap draws behind every interval", low=100, high=10**6)
    device: str = arg("auto", "auto, cpu, cuda, cuda:N or mps")


class Place(NamedTuple):
    """The files of a seed."""
    seed: int
    trust: Path  # run of train_ntf.py
    pool: str    # the labels that it chose from
    base: Path   # run of the untuned student
    args: dict   # its arguments


def main(cfg):
    if config.follows():
        return
    from w2s import rows, runs, tasks
    task = tasks.load(cfg.task)
    if task.KIND == "class" or not task.right:
        raise ValueError(f"--task {cfg.task}: the untuned student says nothing of its labels; "
                         "choose mcqa, arithmetic or game")
    places = places_of(cfg)
    pairs = {pair: students(cfg, pair) for pair in cfg.compare}
    run = runs.begin(cfg.out, "w2s.mechanisms", cfg, inputs(places, pairs))
    if run is None:
        return

    import numpy as np
    rng = np.random.default_rng([cfg.seed, *cfg.task.encode()])
    # what is wrong with a file is said before anything is computed
    pools = [read(task, place) for place in places]
    compared = [each for pair, folders in pairs.items()
                for each in accuracies(task, pair, folders, cfg.draws, rng)]
    table = {place.seed: measure(cfg, task, place, *pool) for place, pool in zip(places, pools)}
    entries = contrasts(table, cfg.draws, rng) + compared
    run.start(task=cfg.task, seeds=[*table])
    run.log_from(0)
    rows.write(run.out / "mechanisms.jsonl", (
        {"seed": seed, **row} for seed, members in table.items() for row in members))
    rows.write_json(run.out / "mechanisms.json", entries)
    run.finish()
    show(entries)


# ---- files ---------------------------------------------------------------------------------------

def places_of(cfg):
    """[Place] of the seeds that have both runs; of the others a line is printed. Raises ValueError
    where none has, for labels that are not those that the trust function chose from, and for a
    base that was trained."""
    from w2s import runs
    from w2s.report.measurements import lack, seeds_in
    folder, places = Path(cfg.runs) / cfg.task, []
    for seed in seeds_in(folder):
        trust, base = (folder / f"seed{seed}" / name for name in (cfg.trust, cfg.base))
        wrong = [f"{name} {why}" for name, why in (
            (cfg.trust, lack(trust, ("DONE", "config.json", "trust.jsonl"))),
            (cfg.base, lack(base, ("DONE", "config.json", "model")))) if why]
        if wrong:
            print(f"note: {folder}: seed {seed} is left out ({', '.join(wrong)})")
            continue
        facts = runs.read_config(trust)
        path = str(facts["args"].get("pool"))
        pool = runs.kept(trust, facts, path)
        if pool is None:
            raise ValueError(f"{trust}: the labels that it chose from, {path}, are gone or have "
                             "changed; label the rows and run train_ntf.py again")
        facts = runs.require_done(base, cfg.task)
        if facts.get("epochs"):
            raise ValueError(f"{base}: was trained, and what was hard before is not seen; give "
                             "--base a run with --epochs 0")
        places.append(Place(seed, trust, pool, base, facts["args"]))
    if not places:
        raise ValueError(f"{folder}: no seed has finished runs {cfg.trust} and {cfg.base}; give "
                         "their names by --trust and --base")
    return places


def students(cfg, pair):
    """{seed: (folder, folder)} of the seeds that have both students of a pair, measured."""
    from w2s.report.measurements import lack, seeds_in
    names = pair.split(":")
    if len(names) != 2 or not all(map(str.strip, names)):
        raise ValueError(f"--compare {pair}: expected two runs, as in student-ntf:student-truth")
    folder, known = Path(cfg.runs) / cfg.task, {}
    for seed in seeds_in(folder):
        both = [folder / f"seed{seed}" / name for name in names]
        if not any(lack(each, ("DONE", "predictions/test.jsonl")) for each in both):
            known[seed] = both
    if not known:
        print(f"note: {folder}: no seed has both students of {pair}, measured on test rows")
    return known


def inputs(places, pairs):
    """{what it is: path} of all that is read."""
    files = {}
    for seed, trust, pool, base, _ in places:
        files |= {f"trust of seed {seed}": trust / "trust.jsonl", f"labels of seed {seed}": pool,
                  f"base of seed {seed}": base / "model"}
    return files | {f"{each.name} of seed {seed}": each / "predictions" / "test.jsonl"
                    for known in pairs.values() for seed, both in known.items() for each in both}


def read(task, place):
    """(N rows of a pool with their true answers, kept (N,)). Raises ValueError `FILE: ...` where
    the verdicts are not of these rows."""
    from w2s import planted, rows
    given, path = task.read(place.pool, weak=True), place.trust / "trust.jsonl"
    verdicts = rows.read(path, {"id": str, "right": (0, 1)})
    if [(row["id"], row["right"]) for row in verdicts] != [
            (row["id"], int(task.right(row))) for row in given] or not all(
            isinstance(row.get("kept"), bool) for row in verdicts):
        raise ValueError(f"{path}: not the verdicts on {place.pool}; delete the folder and run "
                         "train_ntf.py again")
    return ([planted.real(row, place.pool, n) for n, row in enumerate(given, 1)],
            [row["kept"] for row in verdicts])


# ---- measures ------------------------------------------------------------------------------------

def measure(cfg, task, place, data, kept):
    """[row] of a seed's pool, data (N rows) and kept (N,) of `read`: id, group, kept, right (the
    label against the real truth), planted, loss in nats, and of at most --limit rows cosine."""
    import numpy as np

    from w2s import device, runs
    from w2s.model import checkpoint, configuration, tokenization
    from w2s.train import difficulty
    from w2s.train.step import seed_of
    from w2s.trust import alignment
    folder, where = place.base / "model", device.setup(cfg.device)
    model = checkpoint.load(folder, configuration.HEAD[task.KIND], task.CLASSES, where)
    tokenizer = tokenization.load_tokenizer(folder)
    truth, labels = (task.encode(data, tokenizer, place.args["max_length"], target=target,
                                 **runs.encoding(task, place.args))
                     for target in ("label", "weak"))
    for columns in (truth, labels):
        tokenization.require_fit(columns, model.config["vocab_size"], folder)
    losses = difficulty.row_losses(model, task, truth, cfg.batch_size, where, folder=folder)
    draw = np.random.default_rng(seed_of(cfg.seed, "gradients", place.seed))
    picks = np.sort(draw.permutation(len(data))[:cfg.limit])
    cosines = dict(zip(picks.tolist(), alignment.cosines(
        model, lambda f, batch: task.objective(f, batch, None, 0), labels, truth, picks,
        cfg.batch_size).tolist())) if len(picks) else {}
    return [{"id": row["id"], "group": str(row.get("group", row["id"])), "kept": kept[i],
             "right": bool(task.right(row)), "planted": bool(row.get("planted")),
             "loss": float(losses[i])} | ({"cosine": cosines[i]} if i in cosines else {})
            for i, row in enumerate(data)]


MEASURES = (  # what, of which rows, its value of a row, the rows
    ("loss of the true answer", "all labels", "loss", lambda row: True),
    ("loss of the true answer", "right labels", "loss", lambda row: row["right"]),
    ("cosine with true gradients", "all labels", "cosine", lambda row: "cosine" in row),
    ("cosine with true gradients", "right labels", "cosine",
     lambda row: "cosine" in row and row["right"]),
    ("label is the real truth", "planted rows", "right", lambda row: row["planted"]))


def contrasts(table, draws, rng):
    """[entry] of MEASURES: the means of kept labels, of all, and of kept ones less dropped ones;
    table {seed: rows}."""
    entries = []
    for name, among, key, counts in MEASURES:
        seeds = {seed: sample([row for row in members if counts(row)], key, draws, rng)
                 for seed, members in table.items() if any(map(counts, members))}
        entries += entry(name, among, ("kept", "all", "kept - dropped"), seeds, draws, rng)
    return entries


def sample(members, key, draws, rng):
    """(values (3,), their bootstrap draws (3, D), groups) of a seed's rows: means of row[key] over
    kept rows, over all, and kept ones less dropped ones; nan without rows of a kind."""
    import numpy as np

    from w2s import statistics
    kept, value = (np.array([row[name] for row in members], np.float64) for name in ("kept", key))
    S = np.stack([kept, kept * value, 1 - kept, (1 - kept) * value], 1)
    groups = [row["group"] for row in members]
    totals = np.concatenate([S.sum(0)[None], statistics.resample_totals(S, groups, draws, rng)])
    n, first, m, second = totals.T
    with np.errstate(invalid="ignore"):  # no row of a kind
        means = np.stack([first / n, (first + second) / (n + m), first / n - second / m])
    return means[:, 0], means[:, 1:], groups


def accuracies(task, pair, folders, draws, rng):
    """[entry] of a pair of students: the accuracy of both and their difference, on the test rows
    of the seeds in folders {seed: (folder, folder)}."""
    names = pair.split(":")
    seeds = {seed: paired(task, both, draws, rng) for seed, both in folders.items()}
    return entry(task.TASK, "test rows", (*names, " - ".join(names)), seeds, draws, rng)


def paired(task, folders, draws, rng):
    """(values (3,), draws (3, D), groups) of two students on the same test rows."""
    import numpy as np

    from w2s import statistics
    from w2s.report import measurements
    read = [next(iter(measurements.measured(task, folder, "test"))) for folder in folders]
    ids, S = [], []
    for path, predictions in read:
        predictions.sort(key=lambda row: row["id"])
        ids.append([row["id"] for row in predictions])
        S.append(measurements.sums(task, predictions, path))
    if ids[0] != ids[1]:
        raise ValueError(f"{read[0][0]}: not the rows of {read[1][0]}; evaluate both on one file")
    groups = [str(row.get("group", row["id"])) for row in read[0][1]]
    S = np.concatenate(S, -1)
    totals = np.concatenate([S.sum(0)[None], statistics.resample_totals(S, groups, draws, rng)])
    first, second = (measurements.headline(task, part)[task.TASK]
                     for part in np.split(totals, 2, -1))
    values = np.stack([first, second, first - second])
    return values[:, 0], values[:, 1:], groups


def entry(name, among, columns, seeds, draws, rng):
    """[{measure, among, seeds, rows, columns: {column: {value, low, high}}}] of seeds {seed:
    (values (k,), draws (k, D), groups)}: means over the seeds in which all k are defined; []
    without one."""
    import numpy as np

    from w2s import statistics
    seeds = {seed: each for seed, each in seeds.items() if np.isfinite(each[0]).all()}
    if not seeds:
        return []
    values, sampled = (np.stack([each[k] for each in seeds.values()], 1) for k in (0, 1))
    weights = statistics.t_weights(len(seeds), draws, rng)
    means = statistics.mean_draws(values, sampled, weights, [each[2] for each in seeds.values()])
    counted = sum(len(each[2]) for each in seeds.values())
    return [{"measure": name, "among": among, "seeds": [*seeds], "rows": counted, "columns": {
        column: dict(zip(("value", "low", "high"),
                         (float(value), *statistics.interval(interval))))
        for column, value, interval in zip(columns, values.mean(1), means)}}]


def show(entries):
    """Print the entries as a table: three columns of a mean and its 95 % interval."""
    from w2s import prepare
    prepare.show([["measure", "among", "seeds", "", "", ""], *(
        [each["measure"], each["among"], len(each["seeds"])] + [
            f"{name} {v['value']:.4f} [{v['low']:.4f}, {v['high']:.4f}]"
            for name, v in each["columns"].items()] for each in entries)], left=2)


if __name__ == "__main__":
    config.launch(main, Config, __doc__)
