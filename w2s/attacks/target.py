"""A language model under attack: its rows, which of them are members, where results go.

No attack prints or stores a text or a token: emails are private, their ids are not.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from w2s import rows, runs, tasks
from w2s.attacks import refuse_changes
from w2s.data import leaks, splits

TRAINED = {"train_weak.py": "data", "train_student.py": "labels"}  # the argument with the rows


class Target(NamedTuple):
    """A run that is to be attacked, and the N rows."""
    run: Path
    facts: dict         # its config.json
    model: object
    tokenizer: object
    encoding: tuple     # (sha256 of the tokenizer, max length): equal ones have equal ids
    data: list          # N rows
    ids: list           # N arrays of tokens
    member: np.ndarray  # (N,) bool: whether the run was trained on the row


def targets(cfg, kind, now):
    """Yield a Target for each run of cfg that is not attacked yet. Raises ValueError for bad input,
    a line without any text of a row."""
    # all runs are checked before the first is loaded: a mistake shows before any attack
    tasks.check(cfg.task)
    facts = runs.require_all(cfg.run, cfg.task)
    todo = [run for run in facts if not is_attacked(Path(run), kind, now)]
    runs.refuse_overwriting([path for run in todo for path in files(Path(run), kind)],
                            [*cfg.data, *filter(None, [cfg.members])])
    if not todo:
        return

    from w2s import device
    from w2s.model import checkpoint, configuration, tokenization
    task = tasks.load(cfg.task)
    if task.KIND != "text":
        raise ValueError(f"--task {cfg.task}: has class labels; this attack is on language models "
                         "(attacks.py text is on classifiers)")
    trained = {run: trained_on(run, facts[run], cfg.members) for run in todo}
    data = read(task, cfg)
    content = [leaks.content(row) for row in data]
    member = {run: np.array([each in trained[run] for each in content]) for run in todo}
    for run in todo:
        if not member[run].any():
            raise ValueError(f"--data: no row is among those that {run} was trained on; add that "
                             "file")
    where, encoded = device.setup(cfg.device, cfg.dtype), {}  # runs often share a tokenizer
    for run in todo:
        folder = Path(run) / "model"
        length = cfg.max_length or facts[run]["args"]["max_length"]
        tokenizer = tokenization.load_tokenizer(folder)
        encoding = rows.sha256(folder / "tokenizer.json"), length
        if encoding not in encoded:
            encoded[encoding] = task.encode(data, tokenizer, length)["ids"]
        model = checkpoint.load(folder, configuration.HEAD[task.KIND], task.CLASSES, where)
        tokenization.require_fit({"ids": encoded[encoding]}, model.config["vocab_size"], folder)
        yield Target(Path(run), facts[run], model, tokenizer, encoding, data, encoded[encoding],
                     member[run])


def settings(cfg, **changed):
    """{"data": {name: sha256}, "args"}: what a result depends on beside the run. `changed` replaces
    arguments. Files count by content, so that a moved file is still the same."""
    data = {Path(path).name.removesuffix(".gz"): rows.sha256(path) for path in cfg.data}
    if len(data) < len(cfg.data):
        raise ValueError("--data: two files of one name")
    args = dataclasses.asdict(cfg) | changed
    args["members"] = rows.sha256(cfg.members) if cfg.members else None
    for key in ("task", "run", "data", "device"):
        del args[key]
    return {"data": data, "args": args}


def is_attacked(run, kind, now):
    """Whether the results are there. Raises ValueError when they are of other data or settings."""
    metrics_file, rows_file = files(run, kind)
    refuse_changes(metrics_file, now)
    if not (metrics_file.exists() and rows_file.exists()):
        return False
    print(f"{run}: attacked already ({kind})")
    return True


def files(run, kind):
    """(file of the metrics, file with one line a row)."""
    return run / f"attack-{kind}.json", run / "attacks" / f"{kind}.jsonl"


def trained_on(run, facts, given=None):
    """{content} of the rows that a run was trained on: of the file `given`, or of the one in its
    config.json. Rows are known by content, whatever their ids: ids may be given anew. Raises
    ValueError when that file is gone or has changed."""
    path = given or facts["args"].get(TRAINED.get(facts.get("script")))
    if not path:
        raise ValueError(f"{run}/config.json: does not say what the run was trained on; pass "
                         "--members FILE")
    file = given or runs.kept(run, facts, path)
    if not file:
        how = "has changed since" if runs.located(run, facts, path) else "is gone"
        raise ValueError(f"{run}: was trained on {path}, which {how}; pass --members FILE")
    return {leaks.content(row) for row in rows.read(file, {"id": str, "text": str})}


def read(task, cfg):
    """The rows of all files of --data, at most --limit of each, the same for every run. Raises
    ValueError for an id that is in two files."""
    data, seen = [], {}
    for path in cfg.data:
        file_rows = [{"group": row["id"], **row} for row in task.read(path)]
        for n, row in enumerate(file_rows, 1):  # results are joined by id: it must be unique
            if seen.setdefault(row["id"], path) != path:
                raise ValueError(f"{path}:{n}: id '{row['id']}' is in {seen[row['id']]} too")
        data += splits.limit(file_rows, cfg.limit, cfg.seed)
    return data


def untrained(data, member):
    """{name: (N,) bool} of rows that the run was not trained on. "non-members": held out, that is
    of the test split where rows have one, and of a source that members have too. Beside them each
    split, and each source of the held-out rows. Names without any row are left out."""
    split = np.array([row.get("split", "test") for row in data])
    source = np.array([row.get("source", "") for row in data])
    # of the members' sources alone: the Pile's emails are another distribution, which an attack
    # tells from the members' without any memory of them
    held_out = ~member & (split == "test")
    slices = {"non-members": held_out & np.isin(source, source[member])}
    slices |= {name: held_out & (source == name) for name in sorted({*source[held_out]} - {""})}
    slices |= {name: ~member & (split == name) for name in sorted({row["split"] for row in data
                                                                  if "split" in row})}
    return {name: mask for name, mask in slices.items() if mask.any()}


def described(row, member):
    """What a result's line says of its row: never the text."""
    return {key: row[key] for key in ("id", "group", "split", "source") if key in row} | {
        "member": int(member)}


def save(target, kind, now, lines, measured):
    """Write the lines of the rows, then the metrics [{slice, metric, value}]."""
    metrics_file, rows_file = files(target.run, kind)
    runs.require_there(target.run)
    rows.write(rows_file, lines)
    rows.write_json(metrics_file, now | {"n": len(lines), "metrics": measured})
