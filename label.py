#!/usr/bin/env python3
"""Let finished runs label rows: RUN/labels/<data>.jsonl gets each row with `weak`, the
probabilities f_w(x), `logits`, and for adversarial rows `weak_adv`, f_w(x').

    python label.py --task fairness --run runs/mine/weak --data data/paper/fairness/wts.jsonl

`label` stays ground truth and is not used. Several runs and several files share one process.
With --hidden also RUN/labels/<data>.hidden.safetensors, the teacher's states for train_ntf.py:
row i is line i. A run of another task may label too where both are language models; its file is
then called <task>-<data>.jsonl. With --given the data are labels of another run: its answers stay,
and the states are RUN's behind them, in RUN/labels/<other run>-<data>.jsonl.
"""

from dataclasses import dataclass
from pathlib import Path

from w2s import config
from w2s.config import REQUIRED, arg


@dataclass(kw_only=True)
class Config(config.Reading):
    task: str = arg(REQUIRED, "task of the rows: a file of w2s/tasks")
    run: list[str] = arg(REQUIRED, "finished run folders, the teachers")
    data: list[str] = arg(REQUIRED, "rows to label: wts.jsonl of w2s.prepare, or yours; for trust "
                          "functions trust.jsonl too")
    hidden: bool = arg(False, "keep the final-LayerNorm state of the last token behind question "
                       "and answer (class heads: what the head reads), for train_ntf.py")
    given: bool = arg(False, "the data are another run's labels: keep its answers, and with "
                      "--hidden read them (its trust function then judges another's answers)")
    temperature: float = arg(1.0, "divides the logits before the softmax", above=0)
    prefix: int = arg(64, "privacy: tokens of a text that stay as they are; the rest of its "
                      "--max-length is written by the model", low=1)
    decode: str = arg("greedy", "tasks whose labels are text: the most probable token, or one "
                      "drawn from softmax(logits / temperature)", choices=("greedy", "sample"))
    seed: int = arg(0, "varies what --decode sample draws", low=0)
    scoring: str = arg("token", "mcqa, of runs with --scoring cloze: the answer is the option with "
                       "the largest mean log-likelihood of its tokens, or the largest sum, as "
                       "lm-eval's acc has it", choices=("token", "sum"))


def main(cfg):
    from w2s import rows, runs, tasks
    tasks.check(cfg.task)
    names = {path: named(path, cfg.given) for path in cfg.data}
    if len({*names.values()}) < len(cfg.data):
        raise ValueError("--data: two files of one name; their labels would share a file")
    digests = {path: rows.sha256(path) for path in cfg.data}
    facts = runs.require_all(cfg.run, cfg.task, relatives=True)
    todo = [(run, path, file) for run in facts for path in cfg.data
            if not is_labelled(file := place(run, names[path], facts[run], cfg), digests[path],
                               cfg)]
    runs.refuse_overwriting([file for _, _, file in todo], cfg.data)
    if not todo:
        return

    from w2s import device
    from w2s.model import checkpoint, configuration
    task = tasks.load(cfg.task)
    refuse_foreign(cfg, task)
    if cfg.hidden and "hidden" not in task.LABEL:
        raise ValueError(f"--hidden: no trust function on --task {cfg.task}, whose labels are "
                         "neither right nor wrong; leave it out")
    data = {path: task.read(path, weak=cfg.given)
            for path in dict.fromkeys(path for _, path, _ in todo)}
    where = device.setup(cfg.device, cfg.dtype)
    loaded = None, None  # (run, its model): one model is in memory at a time
    for run, path, file in todo:
        folder = Path(run) / "model"
        if loaded[0] != run:
            loaded = run, checkpoint.load(folder, configuration.HEAD[task.KIND], task.CLASSES,
                                          where)
        # it says how the labels were made: killed from here on, they are made again
        Path(f"{file}.meta.json").unlink(missing_ok=True)
        about = write(file, task, loaded[1], folder, data[path], facts[run]["args"], cfg)
        runs.require_there(run)
        rows.write_json(f"{file}.meta.json", settings(digests[path], cfg))
        print(f"{file}{runs.scratch(facts[run])}: {about}", flush=True)


def write(file, task, model, folder, data, args, cfg):
    """Label rows with the model of a folder, trained with `args`, and write labels and states.
    Returns a line about them. A function, so that encoded rows and states are freed before the next
    file's."""
    from w2s import hidden_states, rows, runs
    from w2s.infer import choice
    from w2s.model import tokenization
    from w2s.trust import baselines
    tokenizer = tokenization.load_tokenizer(folder)
    args = args | ({"max_length": cfg.max_length} if cfg.max_length else {})
    columns = {"ids": baselines.encode(tokenizer, task, data, args)} if cfg.given else \
        task.encode(data, tokenizer, args["max_length"], **runs.encoding(task, args))
    tokenization.require_fit(columns, model.config["vocab_size"], folder)
    try:
        labelled, hidden, about = (
            data, choice.last_states(model, columns["ids"], cfg.dtype, "states"),
            f"{len(data)} answers of another run read") if cfg.given else \
            task.label(model, tokenizer, data, columns, cfg)
    except ValueError as error:  # its output is not finite
        raise ValueError(f"{folder}: {error}") from None
    runs.require_there(Path(file).parent.parent)
    rows.remove(hidden_states.states_of(file))  # of labels made otherwise
    rows.write(file, labelled)
    if cfg.hidden:
        hidden_states.write_states(hidden_states.states_of(file), hidden, data)
    return about


def place(run, name, facts, cfg):
    """The labels file of a run for the data called `name`."""
    prefix = "" if facts["args"]["task"] == cfg.task else f"{cfg.task}-"
    return Path(run) / "labels" / f"{prefix}{name}"


def named(path, given):
    """What the labels of a data file are called; of given labels with the run that gave them."""
    name = Path(path).name.removesuffix(".gz")
    return f"{Path(path).resolve().parent.parent.name}-{name}" if given else name


def settings(digest, cfg):
    """What the labels depend on, beside the run."""
    how = {key: getattr(cfg, key) for key in ("task", "temperature", "prefix", "decode", "seed")}
    # scoring only where it is not the default: labels from before it existed stay valid
    return {"data": digest, "max_length": cfg.max_length, "dtype": cfg.dtype, **how,
            **({} if cfg.scoring == "token" else {"scoring": cfg.scoring}),
            **({"given": True} if cfg.given else {})}


def refuse_foreign(cfg, task):
    """ValueError for a flag that this task's labels do not depend on."""
    idle = {"prefix", "decode", "seed", "temperature", "scoring"} - {*task.LABEL}
    if cfg.given and (not cfg.hidden or task.KIND == "class"):
        raise ValueError("--given: keeps the answers of the data and reads the states behind them; "
                         "give --hidden too, and a task whose answers are words")
    # the most probable token is not drawn
    idle |= {"temperature", "seed"} if "decode" in task.LABEL and cfg.decode == "greedy" else set()
    for name in sorted(idle):
        if getattr(cfg, name) != Config.__dataclass_fields__[name].default:
            where = f"on --task {cfg.task}" + " without --decode sample" * ("decode" in task.LABEL)
            raise ValueError(f"--{name} has no effect {where}; leave it out")


def is_labelled(file, digest, cfg):
    """Whether the labels exist. ValueError when they were made from something else."""
    from w2s import hidden_states, rows, runs
    meta = Path(f"{file}.meta.json")
    if not (file.exists() and meta.exists()):
        return False
    if not runs.same_settings(rows.read_json(meta, {}), settings(digest, cfg)):
        raise ValueError(f"{file}: made from other data or with other settings; delete it to make "
                         "it anew")
    if cfg.hidden and not hidden_states.states_of(file).exists():
        return False
    print(f"{file}: done already")
    return True


if __name__ == "__main__":
    config.launch(main, Config, __doc__)
