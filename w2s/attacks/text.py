"""Attack finished runs, each through its own probabilities.

    python attacks.py text --task adversarial --run runs/mine/weak --data data/mine/test.jsonl

`text` perturbs every row that the run gets right until its answer flips. It is black-box: it asks
for class probabilities alone (some 50 queries a row and method):

    typos        misspells the words that matter most
    synonyms     exchanges them for words of --synonyms, a JSON file {word: [words]}
    distraction  adds one or two remarks that say nothing about the label; no word changes

RUN/attack-text.json gets the accuracy under attack, `ra_own`, and what each method achieved. The
flipped texts go to RUN/attacks/<data>.jsonl in AdvGLUE++'s form: named sst2.jsonl (or after another
GLUE task) in a folder, they are raw data for `python -m w2s.prepare data --task adversarial`.
After a kill the same command goes on behind its last complete batch of rows.
"""

import os
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from w2s import locks, rows, runs, tasks
from w2s.attacks import entries, refuse_changes
from w2s.attacks.flags import Text
from w2s.data import splits


def text(cfg):
    """Attack each run with each method; write attack-text.json and the flipped texts."""
    tasks.check(cfg.task)
    if cfg.out and len(runs.distinct(cfg.run)) > 1:
        raise ValueError("--out takes the texts of a single --run; leave it out for several")
    if cfg.out and os.path.realpath(cfg.out) == os.path.realpath(cfg.data):
        raise ValueError(f"--out {cfg.out}: would overwrite --data")
    if cfg.out and os.path.isdir(cfg.out):
        raise ValueError(f"--out {cfg.out}: a folder; give a file")
    synonyms, now = settings(cfg)
    name = Path(cfg.data).name.removesuffix(".gz")
    facts = runs.require_all(cfg.run, cfg.task)
    places = {run: Place.of(Path(run), name, cfg.out and Path(cfg.out)) for run in facts}
    for place in places.values():
        runs.refuse_overwriting([place.texts], [cfg.data, *filter(None, [cfg.synonyms])])
        if cfg.out and place.texts.exists() and not (place.measured.exists()
                                                     or place.parts.exists()):
            raise ValueError(f"--out {cfg.out}: is there already, and no attack made it; choose "
                             "another")
    todo = [run for run in places if not is_attacked(run, places[run], now)]
    if not todo:
        return
    if cfg.out:
        locks.release()  # nothing is written into the run: others may attack it for other rows

    from w2s import device
    task = tasks.load(cfg.task)
    data, left_out = read(task, cfg)
    where = device.setup(cfg.device, cfg.dtype)
    for run in todo:
        length = cfg.max_length or facts[run]["args"]["max_length"]
        ask = asker(task, data, Path(run) / "model", length, where, cfg.dtype)
        outcomes = search(run, places[run].parts, task, data, ask, synonyms, now)
        measured = measure(data, outcomes, now["args"]["methods"])
        measured += entries("all", {"left_out": left_out})
        runs.require_there(run)
        rows.write(places[run].texts, flipped(cfg, task, data, outcomes, Path(run).resolve().name))
        rows.write_json(places[run].measured, now | {"n": len(data), "metrics": measured})
        shutil.rmtree(places[run].parts, ignore_errors=True)
        print(f"{run}{runs.scratch(facts[run])}: {summary(measured)}", flush=True)


def settings(cfg):
    """(synonyms or None, {"data": sha256, "args": what the result depends on beside the run}).
    Raises ValueError for methods that do not exist or do not fit --synonyms."""
    known = ("typos", "synonyms", "distraction")
    unknown = [method for method in cfg.methods if method not in known]
    if unknown:
        raise ValueError(f"--methods {unknown[0]}: choose from {', '.join(known)}")
    if "synonyms" in cfg.methods and not cfg.synonyms:
        raise ValueError("--methods synonyms needs --synonyms FILE, a JSON file {word: [words]}")
    if cfg.synonyms and cfg.methods and "synonyms" not in cfg.methods:
        raise ValueError("--synonyms means nothing without the method synonyms")
    chosen = [method for method in known if method in (cfg.methods or known)
              and (method != "synonyms" or cfg.synonyms)]
    used = "synonyms" in chosen
    args = {"methods": chosen, "synonyms": rows.sha256(cfg.synonyms) if used else None,
            **{key: getattr(cfg, key) for key in ("budget", "limit", "seed", "batch_size",
                                                  "max_length", "dtype")}}
    return (read_synonyms(cfg.synonyms) if used else None,
            {"data": rows.sha256(cfg.data), "args": args})


def read_synonyms(path):
    """{word in lower case: [synonyms]} of a JSON file, checked. Words that differ in case alone are
    merged: their synonyms in order, each once. Raises ValueError for a malformed table."""
    table = rows.read_json(path)
    if not isinstance(table, dict) or not table:
        raise ValueError(f"{path}:1: expected an object {{word: [word, ...]}}")
    for word, words in table.items():
        if not isinstance(words, list) or not all(
                isinstance(o, str) and o.strip() and not rows.SURROGATE.search(o) for o in words):
            raise ValueError(f"{path}: '{word[:40]}' needs a list of words")
    merged = {}
    for word, words in table.items():
        merged.setdefault(word.lower(), {}).update(
            dict.fromkeys(" ".join(synonym.split()) for synonym in words))
    return {word: list(words) for word, words in merged.items()}


class Place(NamedTuple):
    """Where an attack's results go: into the run, or with --out beside that file."""
    texts: Path     # flipped texts
    measured: Path  # accuracy under attack
    parts: Path     # folder of complete batches while the attack is unfinished

    @classmethod
    def of(cls, run, name, out):
        if out:
            return cls(out, out.with_name(f".{out.name}.attack"),
                       out.with_name(f".{out.name}.parts"))
        folder = run / "attacks"
        return cls(folder / name, run / "attack-text.json", folder / ".text")


def is_attacked(run, place, now):
    """Whether the results are there already. Raises ValueError when they, or the unfinished
    batches, are of other data or settings."""
    refuse_changes(place.measured, now)
    refuse_changes(place.parts / "settings.json", now, place.parts)
    if not (place.measured.exists() and place.texts.exists()):
        return False
    print(f"{run}: attacked already")
    shutil.rmtree(place.parts, ignore_errors=True)
    return True


def read(task, cfg):
    """(rows to attack, number of rows left out because the task cannot cut their text into
    sentences). Raises ValueError for bad rows and when none is left."""
    if task.KIND != "class":
        raise ValueError(f"--task {cfg.task}: has no classes; a text attack needs some")
    # text_adv is a perturbed text by somebody else: an attack makes its own
    data = rows.read(cfg.data, {k: rule for k, rule in task.FIELDS.items() if k != "text_adv"})
    classes = task.LABELS
    for n, row in enumerate(data, 1):
        k = classes.get(row.get("source"), task.CLASSES)
        if row["label"] >= k:
            raise ValueError(f"{cfg.data}:{n}: 'label' is {row['label']}, but {row['source']} has "
                             f"only {k} classes")
    data = task.to_attack(data)
    usable = [{"group": row["id"], **row} for row in data if task.sentences(row)]
    if not usable:
        raise ValueError(f"{cfg.data}:1: no row's text has the form of --task {cfg.task}")
    return splits.limit(usable, cfg.limit, cfg.seed), len(data) - len(usable)


def asker(task, data, folder, length, where, dtype):
    """ask(texts, numbers of their rows in data) -> (n, K) probabilities of a model folder."""
    # `absent` masks the classes that a row's source does not have: a flip into one is no success
    from w2s.infer import classify
    from w2s.model import checkpoint, tokenization
    model = checkpoint.load(folder, head=task.KIND, num_labels=task.CLASSES, device=where)
    tokenizer = tokenization.load_tokenizer(folder)
    absent = task.encode([{**row, "text_adv": ""} for row in data], tokenizer, length).get("absent")

    def ask(texts, numbers):
        columns = {"ids": tokenization.tokenize(tokenizer, texts, length)}
        tokenization.require_fit(columns, model.config["vocab_size"], folder)
        if absent is not None:
            columns["absent"] = absent[numbers]
        return classify.probabilities(model, columns, dtype, title="")["p"]
    return ask


def search(run, parts, task, data, ask, synonyms, now):
    """Attack N rows in batches, each written as soon as it is complete. Returns N dict {id, right,
    attacks {method: [sentences that flip the answer or None, queries]}}."""
    from tqdm import tqdm

    from w2s.attacks import word_attacks
    cases = [word_attacks.Case(row, n, task.sentences(row).values(),
                               partial(task.compose, row.get("source")))
             for n, row in enumerate(data)]
    args, outcomes = now["args"], []
    if not (parts / "settings.json").exists():  # killed while removing: batches of any settings
        shutil.rmtree(parts, ignore_errors=True)
    rows.write_json(parts / "settings.json", now)
    with tqdm(total=len(data), desc=f"attack {run}", unit="row", disable=None, leave=False) as bar:
        for start in range(0, len(data), args["batch_size"]):
            file = parts / f"{start}.jsonl"
            if not file.exists():
                rows.write(file, word_attacks.attack(
                    cases[start:start + args["batch_size"]], ask, args["methods"], args["budget"],
                    synonyms, args["seed"]))
            outcomes += read_part(file)  # from disk: a resumed attack reads what a whole one does
            bar.update(len(outcomes) - bar.n)
    return outcomes


def read_part(file):
    """The outcomes of a finished batch. Raises ValueError when `search` did not write them."""
    entries = rows.read(file, {"id": str})
    for n, entry in enumerate(entries, 1):
        wrong = rows.misfit([entry.get("right"), entry.get("attacks")],
                            (bool, {...: (object, int)}), "entry")
        if wrong:
            raise ValueError(f"{file}:{n}: {wrong}; delete the folder {file.parent}")
    return entries


def measure(data, outcomes, methods):
    """[{slice, metric, value}]: of all methods together (a row falls when any of them flips it), by
    source and by method. Accuracies of `all` and `attack:<method>` are means over the sources, as
    `ra` is."""
    source = np.array([row.get("source", "") for row in data])
    right = np.array([entry["right"] for entry in outcomes])
    tried = [[entry["attacks"].get(method, (None, 0)) for method in methods] for entry in outcomes]
    flips = np.array([[sentences is not None for sentences, _ in each] for each in tried])  # (N, M)
    queries = np.array([[n for _, n in each] for each in tried])
    # a row that was wrong from the start has no attacks: neither flips nor queries
    everyone = np.full(len(data), True)
    slices = {"all": (everyone, flips.any(1), queries.sum(1))}
    slices |= {s: (source == s, flips.any(1), queries.sum(1)) for s in sorted({*source} - {""})}
    slices |= {f"attack:{method}": (everyone, flips[:, k], queries[:, k])
               for k, method in enumerate(methods)}
    table = []
    for name, (mask, flip, asked) in slices.items():
        sources = [mask & (source == s) for s in sorted({*source[mask]})]
        # rows that were wrong on the clean text are skipped, not counted as successes
        attacked, fell = int((mask & right).sum()), int((mask & flip).sum())
        values = {"acc": np.mean([right[s].mean() for s in sources]),
                  "ra_own": np.mean([(right & ~flip)[s].mean() for s in sources]),
                  "asr_own": fell / max(1, attacked),
                  "queries": asked[mask].sum() / max(1, attacked),
                  "n": int(mask.sum()), "attacked": attacked, "successful": fell,
                  "failed": attacked - fell, "skipped": int(mask.sum()) - attacked}
        table += entries(name, {key: value if isinstance(value, int) else float(value)
                                for key, value in values.items()})
    return table


def flipped(cfg, task, data, outcomes, run):
    """Yield one AdvGLUE++ record for each successful attack, with both texts by sentence."""
    for row, entry in zip(data, outcomes):
        clean = task.sentences(row)
        for method, (sentences, queries) in entry["attacks"].items():
            if sentences is not None:
                yield {"id": f"{row['id']}/{method}", "task": row.get("source", cfg.task),
                       **dict(zip(clean, sentences)),
                       **{f"original_{name}": sentence for name, sentence in clean.items()},
                       "label": row["label"], "method": method, "model": run,
                       "result": "successful", "queries": queries}


def summary(measured):
    """The line that a user reads."""
    value = {(m["slice"], m["metric"]): m["value"] for m in measured}
    methods = [m["slice"] for m in measured if m["slice"][:7] == "attack:" and m["metric"] == "n"]
    return "  ".join([f"acc {value['all', 'acc']:.4f}", f"ra_own {value['all', 'ra_own']:.4f}",
                      *(f"{s[7:]} {value[s, 'successful']}/{value[s, 'attacked']}"
                        for s in methods), f"queries {value['all', 'queries']:.0f} a row"]
                     + [f"left out {n}" for n in [value["all", "left_out"]] if n])
