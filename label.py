#!/usr/bin/env python3
"""Let finished runs label rows: RUN/labels/<data>.jsonl gets each row with `weak`, the
probabilities f_w(x), `logits`, and for adversarial rows `weak_adv`, f_w(x').

    python label.py --task fairness --run runs/mine/weak --data data/paper/fairness/wts.jsonl

`label` stays ground truth and is not used. Several runs share one process.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from w2s import config
from w2s.config import REQUIRED, arg


@dataclass(kw_only=True)
class Config:
    task: str = arg(REQUIRED, "fairness, ood, adversarial or privacy: a file of w2s/tasks")
    run: list[str] = arg(REQUIRED, "finished run folders, the teachers")
    data: str = arg(REQUIRED, "rows to label: wts.jsonl of w2s.prepare, or yours")
    temperature: float = arg(1.0, "divides the logits before the softmax", above=0)
    prefix: int = arg(64, "privacy: tokens of a text that stay as they are; the rest of its "
                      "--max-length is written by the model", low=1)
    decode: str = arg("greedy", "privacy: the most probable token, or one drawn from softmax("
                      "logits / temperature)", choices=("greedy", "sample"))
    seed: int = arg(0, "privacy: varies what --decode sample draws", low=0)
    max_length: int = arg(None, "tokens of a text that are read (default: as the run was trained)",
                          low=1)
    device: str = arg("auto", "auto, cpu, cuda or cuda:N")
    dtype: str = arg("float32", "arithmetic: float32 or bfloat16")


def main(cfg):
    from w2s import rows, runs, tasks
    tasks.check(cfg.task)
    name = Path(cfg.data).name.removesuffix(".gz")
    digest = rows.sha256(cfg.data)
    facts = {run: runs.require_done(run, cfg.task)  # sorted: two processes never wait in a ring
             for run in sorted(cfg.run, key=os.path.realpath)}
    todo = [run for run in cfg.run if not is_labelled(run, name, digest, cfg)]
    if not todo:
        return

    from w2s import device, pythia, text
    task = tasks.load(cfg.task)
    refuse_foreign(cfg, task)
    data = task.read(cfg.data)
    where = device.setup(cfg.device, cfg.dtype)
    for run in todo:
        folder = Path(run) / "model"
        columns = task.encode(data, text.load_tokenizer(folder),
                              cfg.max_length or facts[run]["args"]["max_length"])
        model = pythia.load(folder, pythia.HEAD[task.KIND], task.CLASSES, where)
        text.require_fit(columns, model.config["vocab_size"], folder)
        labelled, about = task.label(model, text.load_tokenizer(folder), data, columns, cfg)
        file = Path(run) / "labels" / name
        rows.write(file, labelled)
        rows.write_json(f"{file}.meta.json", settings(digest, cfg))
        print(f"{file}{runs.scratch(facts[run])}: {about}", flush=True)


def settings(digest, cfg):
    """What the labels depend on, beside the run."""
    own = {key: getattr(cfg, key) for key in ("temperature", "prefix", "decode", "seed")}
    return {"data": digest, "max_length": cfg.max_length, "dtype": cfg.dtype, **own}


def refuse_foreign(cfg, task):
    """ValueError for a flag that this task's labels do not depend on."""
    idle = {"prefix", "decode", "seed", "temperature"} - {*task.LABEL}
    idle |= {"temperature", "seed"} if "decode" in task.LABEL and cfg.decode == "greedy" else set()
    for name in sorted(idle):
        if getattr(cfg, name) != Config.__dataclass_fields__[name].default:
            where = f"on --task {cfg.task}" + " without --decode sample" * ("decode" in task.LABEL)
            raise ValueError(f"--{name} has no effect {where}; leave it out")


def is_labelled(run, name, digest, cfg):
    """True when the labels are there already. ValueError when they were made otherwise."""
    from w2s import rows
    file, meta = Path(run) / "labels" / name, Path(run) / "labels" / f"{name}.meta.json"
    if not (file.exists() and meta.exists()):
        return False
    if rows.read_json(meta) != settings(digest, cfg):
        raise ValueError(f"{file}: made from other data or with other settings; delete it to make "
                         "it anew")
    print(f"{file}: done already")
    return True


if __name__ == "__main__":
    config.launch(main, Config, __doc__)
