#!/usr/bin/env python3
"""Measure finished runs: predictions/<data>.jsonl and eval.json in each run folder.

    python evaluate.py --task fairness --run runs/mine/weak runs/mine/student \\
        --data data/paper/fairness/test.jsonl

Many runs and several data files share one process.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from w2s import config
from w2s.config import REQUIRED, arg

KEEP = ("id", "group", "label", "source", "method", "surrogate", "a", "chance")  # of a row


@dataclass(kw_only=True)
class Config(config.Reading):
    task: str = arg(REQUIRED, "a file of w2s/tasks: fairness, ood, adversarial, privacy, mcqa, ...")
    run: list[str] = arg(REQUIRED, "finished run folders")
    data: list[str] = arg(REQUIRED, "rows with ground truth: test.jsonl, val.jsonl")
    scoring: str = arg("token", "mcqa, of runs with --scoring cloze: the answer is the option with "
                       "the largest mean log-likelihood of its tokens, or the largest sum, as "
                       "lm-eval's acc has it; eval.json has both, as "
                       "acc_token and acc_sum", choices=("token", "sum"))


def main(cfg):
    from w2s import rows, runs, tasks
    tasks.check(cfg.task)
    files = {Path(path).name.removesuffix(".gz").removesuffix(".jsonl"): path for path in cfg.data}
    if len(files) < len(cfg.data):
        raise ValueError("--data: two files of one name; their predictions would share a file")
    digests = {name: rows.sha256(path) for name, path in files.items()}
    facts = runs.require_all(cfg.run, cfg.task)
    todo = {run: [name for name in files if not is_evaluated(run, name, digests[name], cfg)]
            for run in facts}
    runs.refuse_overwriting([Path(run) / "predictions" / f"{name}.jsonl"
                             for run in todo for name in todo[run]], cfg.data)
    if not any(todo.values()):
        return

    from w2s import device
    from w2s.model import checkpoint, configuration, tokenization
    task = tasks.load(cfg.task)
    scoring = {"scoring": cfg.scoring} if "scoring" in task.LABEL else {}
    if cfg.scoring != "token" and not scoring:
        raise ValueError(f"--scoring has no effect on --task {cfg.task}; leave it out")
    data = {name: task.read(path) for name, path in files.items()}
    where = device.setup(cfg.device, cfg.dtype)
    encoded = {}  # by what encoding depends on: runs that share a tokenizer share the encoded rows
    for run in filter(todo.get, todo):
        folder = Path(run) / "model"
        model = checkpoint.load(folder, configuration.HEAD[task.KIND], task.CLASSES, where)
        length = cfg.max_length or facts[run]["args"]["max_length"]
        for name in todo[run]:
            args = facts[run]["args"]
            more = runs.encoding(task, args)
            key = name, length, rows.sha256(folder / "tokenizer.json"), *more.values()
            if key not in encoded:
                encoded[key] = task.encode(data[name], tokenization.load_tokenizer(folder), length,
                                           **more)
            tokenization.require_fit(encoded[key], model.config["vocab_size"], folder)
            outputs = task.predictions(model, encoded[key], cfg.dtype, f"evaluate {run} {name}",
                                       **scoring)
            predictions = [{k: row[k] for k in KEEP if k in row} | output
                           for row, output in zip(data[name], outputs)]
            try:
                measured = task.evaluate(predictions)
            except ValueError as error:  # such as rows of one group, which have no gap
                raise ValueError(f"{files[name]}: {error}") from None
            shown = save(Path(run), name, predictions, measured, digests[name], cfg)
            print(f"{run}{runs.scratch(facts[run])}: {name:<5} {shown}", flush=True)


def save(run, name, predictions, measured, digest, cfg):
    """Write predictions/<name>.jsonl, the numbers of the model card, then the entry `name` of
    eval.json; return the headline. In this order a kill leaves no entry without the others."""
    from w2s import model_card, rows, runs, tasks
    runs.require_there(run)
    for entry in measured:  # nan, which JSON lacks, becomes null: not defined on these rows
        entry["value"] = None if math.isnan(entry["value"]) else entry["value"]
    before = read_eval(run / "eval.json")
    if before.pop(name, None):  # of predictions that somebody deleted
        rows.write_json(run / "eval.json", before)
    rows.write(run / "predictions" / f"{name}.jsonl", predictions)
    entries = before | {name: {"data": digest, "n": len(predictions), "args": settings(cfg),
                               "metrics": measured}}
    model_card.add_numbers(run / "model", tasks.load(cfg.task), entries)
    rows.write_json(run / "eval.json", entries)
    return "  ".join(f"{m['metric']} {m['value']:.4f}" for m in measured
                     if m["slice"] == "all" and m["value"] is not None)


def settings(cfg):
    """What changes the numbers, beside run and data. Scoring only where it is not the default:
    entries from before it existed stay valid."""
    return {"max_length": cfg.max_length, "dtype": cfg.dtype,
            **({} if cfg.scoring == "token" else {"scoring": cfg.scoring})}


def read_eval(file):
    """{name: entry} of an eval.json; {} where there is none."""
    from w2s import rows
    if not file.exists():
        return {}
    entries = rows.read_json(file, {...: {"data": str, "args": {}, "n": int, "metrics": [
        {"slice": str, "metric": str, "value": rows.NUMBER}]}}, "delete the file to measure anew")
    return {name: rows.present(entry) for name, entry in rows.present(entries).items()}


def is_evaluated(run, name, digest, cfg):
    """Whether the numbers exist. ValueError when they were made from something else."""
    from w2s import runs
    file = Path(run) / "eval.json"
    entry = read_eval(file).get(name)
    if entry is None or not (Path(run) / "predictions" / f"{name}.jsonl").exists():
        return False
    same = runs.same_settings(entry.get("args", {}), settings(cfg))
    if entry.get("data") != digest or not same:
        raise ValueError(f"{file}: '{name}' was measured on other data or with other settings; "
                         "delete the file to measure anew")
    print(f"{run}: {name} is evaluated already")
    return True


if __name__ == "__main__":
    config.launch(main, Config, __doc__)
