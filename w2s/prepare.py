"""Make what the scripts read: splits of a task from raw public files, or an untrained model folder.

    python -m w2s.prepare data  --task fairness --out data/own/fairness [--raw DIR] [--limit 1000]
    python -m w2s.prepare check --task fairness --data own/fairness
    python -m w2s.prepare model --shape pythia-14m --tokenizer tokenizer.json --out models/blank
    python -m w2s.prepare plant --rate 0.1 --data own/mcqa/trust.jsonl own/mcqa/wts.jsonl --out P

`data` writes weak.jsonl wts.jsonl val.jsonl trust.jsonl test.jsonl and, last, manifest.json: its
presence means complete. The same command again does nothing; another one is refused. `check` looks
at such files that you made yourself. `plant` copies such files and makes the truth of some rows
wrong (w2s/planted.py). Each command explains its arguments:
python -m w2s.prepare data --help

Raw files are taken from --raw. Only what a task cannot do without and is not there is fetched from
the Hugging Face hub (HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE, HF_TOKEN), if its licence lets us:

    task         fetched                                      only from --raw
    fairness     UCI Adult, from UCI, or two thirds of it     its reconstruction (not free)
                 from the hub (CC BY 4.0)
    ood          DecodingTrust's styles (CC BY-SA 4.0)        SST-2 (states no licence)
    adversarial  AdvGLUE++ (CC BY-SA 4.0)                     AdvGLUE's dev set (states no licence)
    privacy      nothing                                      mail, which is real people's
    mcqa         nothing                                      MMLU, ARC, OpenBookQA, SciQ, ...
    arithmetic   nothing                                      GSM8K, MATH, AIME, Omni-MATH
    game         nothing                                      Lichess's puzzles

We know the hub's files from its public listing and have not seen inside them: when they do not hold
as many rows as is known of them, a warning says so. The manifest records commit and sha256 of each.
"""

import contextlib
import dataclasses
import inspect
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from w2s import config, locks, planted, rows, runs, tasks
from w2s.config import REQUIRED, arg
from w2s.data import raw_folder, splits

FORMAT = 2  # version of the prepared files; a change makes older folders refused
RENAMED = {"mails": "emails"}  # arguments: a folder that was made by the old name is as good


@dataclass
class Data:
    task: str = arg(REQUIRED, f"task to prepare: {', '.join(tasks.NAMES)}")
    out: str = arg(REQUIRED, "folder for the five splits and the manifest")
    raw: str = arg(None, "folder with raw public files, plain or .gz, found by name; of what is "
                   "not there some is fetched (see above), the rest named with its source")
    limit: int = arg(None, "keep at most N rows of every split, stratified by source (default: "
                     "all)", low=1)
    split: str = arg("grouped", "rows that share a text stay in one split, or single rows are "
                     "drawn, as in the paper, which leaks", choices=("grouped", "rows"))
    seed: int = arg(0, "varies which rows are in which split", low=0)
    val: float = arg(None, "share of validation rows, which choose lambda; 0: none (default: 0.05, "
                     "ood 0.025, mcqa, arithmetic and game 0.01)", low=0, high=0.9)
    trust: float = arg(None, "share of labelled rows that no model is trained on, for a trust "
                       "function; 0: none (default: 0, mcqa, arithmetic and game 0.25)", low=0,
                       high=0.9)
    val_from: str = arg("whole", "ood: --val is a share of all rows, or of the weak model's half, "
                        "as in the paper (C.3)", choices=("whole", "weak"))
    hide_protected: bool = arg(False, "fairness: leave the person's sex out of the text")
    per_source: int = arg(10000, "adversarial: keep at most N rows of each GLUE task", low=1)
    emails: int = arg(10000, "privacy: at most N emails to train on in each of weak and wts, after "
                     "de-duplication", low=1)
    sequence_length: int = arg(128, "privacy: leave out emails with fewer pieces of text; a "
                               "piece is at least one token", low=1)


@dataclass
class Check:
    task: str = arg(REQUIRED, f"task of the rows: {', '.join(tasks.NAMES)}")
    data: str = arg(REQUIRED, "folder with weak.jsonl, wts.jsonl, test.jsonl and perhaps val.jsonl "
                    "and trust.jsonl")


@dataclass
class Model:
    tokenizer: str = arg(REQUIRED, "tokenizer.json to put into the folder")
    out: str = arg(REQUIRED, "folder to make")
    shape: str = arg("pythia-14m", "published shape that the flags below change")
    seed: int = arg(0, "draws the weights", low=0)
    layers: int = arg(None, "number of blocks", low=1)
    hidden: int = arg(None, "width D", low=1)
    heads: int = arg(None, "attention heads", low=1)
    intermediate: int = arg(None, "width of the MLP (default: 4 times --hidden)", low=1)
    vocab: int = arg(None, "rows of the embedding; the tokenizer must fit", low=1)
    max_positions: int = arg(None, "longest sequence", low=1)


@dataclass
class Plant:
    data: list[str] = arg(REQUIRED, "split files to copy, such as trust.jsonl and wts.jsonl")
    out: str = arg(REQUIRED, "folder for the copies and a manifest")
    rate: float = arg(REQUIRED, "share of the rows of each file whose label becomes a wrong one",
                      above=0, high=1)
    seed: int = arg(0, "varies which rows, and which wrong answers; a smaller rate has some of the "
                    "rows of a larger one", low=0)


def data(cfg):
    """Raw files -> five splits and a manifest."""
    if cfg.task not in tasks.NAMES:
        tasks.load(cfg.task)  # raises, naming the tasks
    raw = raw_folder.Raw(cfg.raw)
    arguments = settings(cfg, "raw", "out")
    if is_prepared(Path(cfg.out), arguments, raw):
        return
    # the task imports torch: a folder that is prepared already does not wait for it
    raw, task = raw_folder.Raw(cfg.raw), tasks.load(cfg.task)
    parts = task.prepare(raw, **options(task, cfg))
    if surprise := raw.surprise():
        print(f"warning: {surprise}", file=sys.stderr)
        raw.notes.append(surprise)
    parts = {name: [{**row, "split": name} for row in parts[name]] for name in splits.SPLITS
             if name in parts}
    full = {name: len(parts[name]) for name in parts}  # before --limit, for the manifest
    parts = {name: splits.limit(members, cfg.limit, cfg.seed, task.ALIGNED)
             for name, members in parts.items()}
    outcome = splits.check(parts, task.SHARED, cfg.split)
    if cfg.split == "grouped":
        raw.notes.append("rows that share a text stay in one split; the paper draws single rows")
    if outcome.get("leaking"):
        print(f"warning: --split rows: {outcome['leaking']} of {len(parts['test'])} test rows "
              "share a text with a row of another split", file=sys.stderr)
    manifest = {"task": cfg.task, "format": FORMAT, "arguments": arguments, "sources": raw.sources,
                "looked_for": raw.looked_for, **outcome, "notes": raw.notes,
                "splits": {name: splits.describe(parts[name]) | {"before_limit": full[name]}
                           for name in parts}}

    def write(folder):
        for name, members in parts.items():
            rows.write(folder / f"{name}.jsonl", members)
            task.read(folder / f"{name}.jsonl")  # the task's own reader must accept it

    publish(Path(cfg.out), write, manifest)
    report(manifest)


def check(cfg):
    """Look at rows that were prepared by hand: every split with the task's own reader, and that no
    id, group or text is in two of them. Nothing is written."""
    tasks.check(cfg.task)
    folder = Path(cfg.data)
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder (--data)", str(folder))
    task = tasks.load(cfg.task)
    absent = [name for name in ("weak", "wts", "test") if not place(folder, name).exists()]
    if absent:
        raise ValueError(f"{folder}: no {absent[0]}.jsonl; weak.jsonl, wts.jsonl and test.jsonl "
                         "are needed, val.jsonl and trust.jsonl if you want them used")
    parts = {name: task.read(place(folder, name)) for name in splits.SPLITS
             if place(folder, name).exists()}
    for name, members in parts.items():
        for n, row in enumerate(members, 1):
            if row.setdefault("split", name) != name:
                raise ValueError(f"{place(folder, name)}:{n}: the row says that it belongs to "
                                 f"split '{row['split']}'")
            # without a group a row is a group of its own
            row.setdefault("group", row["id"])
    for name in ("val", "test"):
        measurable(task, parts.get(name), place(folder, name))
    try:
        outcome = splits.check(parts, task.SHARED if "val" in parts else ())
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    print(f"{folder}: " + ", ".join(f"{name} {len(rows)}" for name, rows in parts.items())
          + f" rows; {'no text in two splits' if outcome['disjoint'] else 'leaking'}")


def measurable(task, members, file):
    """ValueError where evaluate.py could not measure the rows, such as people of one group: else it
    would be found when everything is trained."""
    guess = [1 / task.CLASSES] * task.CLASSES if task.KIND == "class" and members else None
    try:
        if guess:
            task.evaluate([{**row, "p": guess, "p_adv": guess} for row in members])
    except KeyError:  # a task that needs more than a class of a row: nothing is said of it here
        pass
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def place(folder, name):
    """The path of NAME.jsonl in a folder, where it exists, else of NAME.jsonl.gz."""
    plain = folder / f"{name}.jsonl"
    return plain if plain.exists() else folder / f"{name}.jsonl.gz"


def model(cfg):
    """Make a folder in Hugging Face layout with weights drawn from the seed."""
    out, arguments = Path(cfg.out), settings(cfg, "tokenizer", "out")
    # by content: the same tokenizer in another place makes the same model
    arguments["tokenizer"] = rows.sha256(cfg.tokenizer)
    if is_prepared(out, arguments):
        return
    from w2s.model import checkpoint, configuration, tokenization
    size = tokenization.vocabulary(cfg.tokenizer)
    if cfg.shape not in configuration.SHAPES:
        raise ValueError(f"--shape {cfg.shape}: choose from {', '.join(configuration.SHAPES)}")
    changed = {"num_hidden_layers": cfg.layers, "hidden_size": cfg.hidden, "vocab_size": cfg.vocab,
               "num_attention_heads": cfg.heads, "max_position_embeddings": cfg.max_positions,
               "intermediate_size": cfg.intermediate or (4 * cfg.hidden if cfg.hidden else None)}
    config = configuration.SHAPES[cfg.shape] | {key: v for key,
                                                v in changed.items() if v is not None}
    if config["vocab_size"] < size:
        raise ValueError(f"--vocab {config['vocab_size']}: {cfg.tokenizer} has {size} tokens; give "
                         f"--vocab {size} or more")
    network = checkpoint.untrained(config, cfg.seed)
    publish(out, lambda folder: checkpoint.save(network, folder, cfg.tokenizer),
            {"format": FORMAT, "arguments": arguments,
             "parameters": sum(p.numel() for p in network.parameters())})
    print(f"{out}: {cfg.shape}, seed {cfg.seed}, {config['num_hidden_layers']} layers, hidden "
          f"{config['hidden_size']}, {config['num_attention_heads']} heads, vocabulary "
          f"{config['vocab_size']} (tokenizer: {size})")


def plant(cfg):
    """Copy split files and make the truth of some of their rows wrong."""
    names, out = planted.names(cfg.data), Path(cfg.out)
    digests = {names[path]: rows.sha256(path) for path in cfg.data}
    arguments = {"rate": cfg.rate, "seed": cfg.seed, "data": " ".join(
        f"{name} ({digest[:12]})" for name, digest in sorted(digests.items()))}
    if is_prepared(out, arguments):
        return
    made = {names[path]: planted.plant(planted.read(path), cfg.rate, cfg.seed, path)
            for path in cfg.data}

    def write(folder):
        for name, members in made.items():
            rows.write(folder / name, members)

    counts = {name: sum("planted" in row for row in members) for name, members in made.items()}
    publish(out, write, {
        "format": FORMAT, "arguments": arguments,
        "sources": {name: {"sha256": digest} for name, digest in digests.items()},
        "notes": [f"{count} of the {len(made[name])} rows of {name} have a wrong label; the true "
                  "one is in real_label" for name, count in counts.items()]})
    for name, count in counts.items():
        print(f"{out / name}: {len(made[name])} rows, {count} of them with a wrong label")


# ---- done already? -------------------------------------------------------------------------------

def settings(cfg, *places):
    """The arguments that decide the result: all but the places on disk."""
    return {k: v for k, v in dataclasses.asdict(cfg).items() if k not in places}


def options(task, cfg):
    """The arguments that the task's `prepare` takes. Raises ValueError for one that it does not
    take and that is not at its default."""
    known = inspect.signature(task.prepare).parameters
    for field in dataclasses.fields(cfg):
        if field.name not in (*known, "task", "raw", "out", "limit") and (
                getattr(cfg, field.name) != field.default):
            raise ValueError(f"{config.flag_of(field.name)} means nothing to --task {cfg.task}")
    return {name: getattr(cfg, name) for name in known
            if name != "raw" and getattr(cfg, name, None) is not None}


def is_prepared(out, arguments, raw=None):
    """True when `out` is complete and was made from the same arguments and raw files. Raises
    ValueError, saying what changed, when it was made from others or holds something else."""
    if not (out / "manifest.json").exists():
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out}: a file; choose another --out")
        if out.is_dir() and {p.name for p in out.iterdir()} - {".lock"} and not (
                out / ".part").exists():
            raise ValueError(f"{out}: has other files, and no manifest.json; choose another --out")
        return False
    before = rows.present(rows.read_json(out / "manifest.json", {
        "arguments": {}, "files": {...: str}, "sources": {...: {"sha256": str}}, "looked_for": {}},
        "choose another --out"))
    old = {RENAMED.get(name, name): value for name, value in before.get("arguments", {}).items()}
    old["format"] = before.get("format")
    changed = runs.changed_arguments(old, arguments | {"format": FORMAT})
    changed += raw.changes(before) if raw else []
    files = before.get("files", {})
    if not changed and not all((out / name).exists() for name in files):
        return False  # someone deleted a file: make it again, the same
    changed += [f"{name} was edited" for name, known in files.items()
                if (out / name).exists() and rows.sha256(out / name) != known]
    if changed:
        raise ValueError(f"{out}: prepared before from something else ({'; '.join(changed)}); "
                         "choose another --out or delete the folder")
    if (out / ".part").exists() or (out / ".lock").exists():  # killed behind its last file
        with contextlib.suppress(OSError):
            locks.hold(out)
            discard(out)
            (out / ".lock").unlink()
        locks.release()
    print(f"{out}: already prepared")
    return True


def publish(out, write, manifest):
    """Call write(folder) on a temporary folder, then move its files into `out`, the manifest last:
    when anything fails nothing is left behind. One process at a time works in `out`. Raises
    ValueError when another one finished it meanwhile."""
    new, part = not out.exists(), out / ".part"  # a folder that was there is left there
    out.mkdir(parents=True, exist_ok=True)
    try:
        if locks.hold(out) and (out / "manifest.json").exists():
            raise ValueError(f"{out}: another process prepared it meanwhile; run the same command "
                             "again")
        try:
            discard(out)
            part.mkdir(parents=True)
            write(part)
            names = sorted(path.name for path in part.iterdir())
            files = {name: rows.sha256(part / name) for name in names}
            rows.write_json(part / "manifest.json", manifest | {"files": files})
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        for name in (*names, "manifest.json"):  # interrupted here, .part stays, the next goes on
            os.replace(part / name, out / name)
        part.rmdir()
    finally:
        (out / ".lock").unlink(missing_ok=True)
        locks.release()
        if new:
            with contextlib.suppress(OSError):  # not empty: what another process made
                out.rmdir()


def discard(out):
    """Remove what a killed `publish` left in the folder `out`, which this process holds: .part,
    and, where the manifest is still in it, the files that were moved out of it before."""
    part = out / ".part"
    if (part / "manifest.json").exists() and not (out / "manifest.json").exists():
        for name, digest in rows.read_json(part / "manifest.json").get("files", {}).items():
            if (out / name).is_file() and rows.sha256(out / name) == digest:
                (out / name).unlink()
    shutil.rmtree(part, ignore_errors=True)


# ---- what a user sees ----------------------------------------------------------------------------

def report(manifest):
    """Print the splits, and rows per source and attack, in columns; then what was read."""
    about = manifest["splits"]  # {split: splits.describe of its rows}
    classes = sorted({c for a in about.values() for c in a.get("classes", ())})
    head = ["split", "rows", "groups", *(f"label {c}" for c in classes)]
    head += ["a = 1"] if any("a" in a for a in about.values()) else []
    lines = [head]
    for name, a in about.items():
        shares = [a["classes"].get(c, 0) / a["rows"] for c in classes]
        shares += [a["a"].get("1", 0) / a["rows"]] if "a" in a else []
        lines.append([name, a["rows"], a["groups"], *(f"{share:.1%}" for share in shares)])
    show(lines, left=1)
    cells = [breakdown(a) for a in about.values()]
    names = sorted(set().union(*cells), key=lambda name: ("against" in name, name.strip()))
    if names:
        print()
        show([["rows", *about], *([name, *(cell.get(name, 0) for cell in cells)]
                                  for name in names)], left=1)
    print()
    for path, source in manifest["sources"].items():
        left = "".join(f"; {n} {reason}" for reason, n in source["left_out"].items())
        licence = f" ({source['licence']})" if "licence" in source else ""
        print(f"{path}{licence}: {source['rows']} rows, {source['used']} used{left}")
    for note in manifest["notes"]:
        print(f"note: {note}")


def breakdown(about):
    """{what: rows} of a split: per source, per attack in it, per attacked model (reading A8)."""
    counts = {}
    for source, n in about.get("sources", {}).items():
        attacks = about.get("attacks", {}).get(source, {})
        counts |= {source: n, **{f"  {source} {method}": k for method, k in attacks.items()}}
    return counts | {f"against {name}": n for name, n in about.get("surrogates", {}).items()}


def show(lines, left):
    """Print rows of cells in columns: the first `left` ones flush left, the others flush right."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(*lines)]
    for line in lines:
        print("  ".join(str(cell).ljust(width) if k < left else str(cell).rjust(width)
                        for k, (cell, width) in enumerate(zip(line, widths))).rstrip())


COMMANDS = {"data": (data, Data), "check": (check, Check), "model": (model, Model),
            "plant": (plant, Plant)}


if __name__ == "__main__":
    config.dispatch("python -m w2s.prepare", COMMANDS, __doc__)
