#!/usr/bin/env python3
"""Choose which of the teacher's labels to trust: the trust function of Uzunoglu et al. (2026),
trained on whether the teacher's labels of other rows were right, or something it is compared with.

    python label.py --task mcqa --run runs/mine/weak --hidden \\
        --data data/paper/mcqa/trust.jsonl data/paper/mcqa/wts.jsonl
    python train_ntf.py --teacher runs/mine/weak --out runs/mine/trust \\
        --labelled runs/mine/weak/labels/trust.jsonl --pool runs/mine/weak/labels/wts.jsonl
    python train_student.py --task mcqa --model EleutherAI/pythia-410m \\
        --labels runs/mine/trust/labels/wts.jsonl --out runs/mine/student

OUT/labels/<pool>.jsonl gets the rows of the pool that are trusted most, each with `trust`;
OUT/trust.jsonl the trust of every row, OUT/trust.json how good it is (AUC, ECE, Brier, purity),
OUT/ntf.safetensors the trust function, OUT/log.jsonl the loss and the held-out loss (null: too few
rows) of each epoch. The truth of the pool is read for that and for truth-n only.
"""

import string
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from w2s import config
from w2s.config import REQUIRED, arg

SELECT = ("ntf", "confidence", "margin", "entropy", "icl-confidence", "reward", "consistency",
          "agreement", "file", "random", "truth-n", "truth", "all", "labelled")
TRAINING = ("blocks", "hidden", "dropout", "drop_path", "epochs", "batch_size", "lr",
            "weight_decay", "patience", "reweight", "calibrate")  # arguments of ntf.fit
USES = {"ntf": (*TRAINING, "features", "sources", "ntf", "unseen", "budget", "add_labelled"),
        "labelled": ("budget", "sources"), "icl-confidence": ("shots", "budget", "device", "dtype"),
        "reward": ("budget", "reward", "reward_epochs", "reward_lr", "sources", "device", "dtype"),
        "consistency": ("samples", "temperature", "device", "dtype"), "agreement": ("second",),
        "file": ("scores", "name")}
CHOOSING = {"keep", "balanced", "min_trust", "per_source"}  # among labels by their scores
NEEDS = {"agreement": ("second",), "file": ("scores", "name")}  # flags without a default
PLAIN = string.ascii_lowercase + string.digits + "-_"  # of a name, which folders have too
RANKS = ("margin", "entropy", "random")  # scores that order labels and are no probabilities


@dataclass(kw_only=True)
class Config:
    teacher: str = arg(REQUIRED, "finished run that labelled both files")
    labelled: str = arg(REQUIRED, "its labels of rows whose truth is known and that it was not "
                        "trained on: trust.jsonl, labelled with --hidden")
    pool: str = arg(REQUIRED, "its labels of the rows to choose from: wts.jsonl, labelled with "
                    "--hidden")
    out: str = arg(REQUIRED, "run folder to make")
    select: str = arg("ntf", "whose trust counts: the trust function, the teacher's own "
                      "confidence, that of its base model behind solved examples, a reward model, "
                      "its agreement with itself when sampled or with a second teacher, scores of "
                      "yours; or random rows, the rows of ntf with true labels, all rows with true "
                      "labels, all rows; or no label, the labelled rows with their truth",
                      choices=SELECT)
    keep: float = arg(None, "share of the pool to keep; above 1 a number of rows (default: 0.5, "
                      "with --min-trust all that reach it)", above=0)
    min_trust: float = arg(None, "keep only labels with at least this trust, a probability, and "
                           "of them at most --keep", above=0, high=1)
    balanced: bool = arg(False, "keep the same number of rows of each class of answer, as far as "
                         "there are; else pure top-n, which drifts to the easy class")
    per_source: bool = arg(False, "keep the same share of each source; else of the whole pool, "
                           "which may drift to the easy source")
    sources: list[str] = arg([], "train on labelled rows of these sources only: what the others "
                             "get is zero-shot (default: all)")
    unseen: bool = arg(False, "choose only among rows of sources that the trust function did not "
                       "learn from: labels chosen zero-shot")
    budget: int = arg(None, "use only so many of the labelled rows, drawn; a larger budget "
                      "has those of a smaller one", low=1, high=10**9)
    add_labelled: bool = arg(False, "the labelled rows, with their truth, train the student beside "
                             "the chosen labels")
    features: str = arg("states", "what the trust function reads: the teacher's states, as in the "
                        "paper, or beside them how certain it was (log p, margin, entropy, logit)",
                        choices=("states", "both"))
    ntf: str = arg(None, "run with a trust function to use as it is, in place of training one")
    blocks: int = arg(2, "residual RMSNorm-SwiGLU blocks", low=0, high=100)
    hidden: int = arg(None, "their width (default: that of the states, at most 128)", low=1,
                      high=10**4)
    dropout: float = arg(0.1, "in every block", low=0, high=0.95)
    drop_path: float = arg(0.1, "stochastic depth: a row skips a block that often", low=0,
                           high=0.95)
    epochs: int = arg(50, "at most; training stops early", low=1)
    patience: int = arg(None, "epochs without a lower held-out loss that end the training "
                        "(default: 8, of many rows 3)", low=1)
    batch_size: int = arg(256, "rows of a step", low=1)
    lr: float = arg(1e-3, "learning rate of AdamW", above=0)
    weight_decay: float = arg(0.01, "AdamW's, on matrices", low=0)
    reweight: str = arg("balanced", "class-reweighted BCE (reading T2): wrong rows count as much "
                        "as right ones by the weight n_neg/n_pos of right ones, by n/(2 n_c) of "
                        "each, or not", choices=("balanced", "each", "none"))
    calibrate: str = arg("both", "undo the weights by shifting the logit, divide it by a "
                         "temperature, both, none", choices=("both", "prior", "temperature",
                                                             "none"))
    shots: int = arg(4, "icl-confidence: labelled rows shown as solved examples", low=1)
    reward: str = arg(None, "reward: folder of a sequence classifier, or jsonl with id and reward "
                      "(default: a verifier trained on the labelled rows)")
    reward_epochs: float = arg(3, "reward: passes of the verifier over the labelled rows", above=0,
                               high=1e6)
    reward_lr: float = arg(None, "reward: its learning rate (default: by size)", above=0)
    samples: int = arg(None, "consistency: answers sampled from the teacher for each label, whose "
                       "share that agrees is the trust (default: 8)", low=1, high=1000)
    temperature: float = arg(None, "consistency: at which they are sampled (default: 1)", above=0)
    second: str = arg(None, "agreement: another finished run's labels of the same pool; the trust "
                      "is the probability that it gives to the teacher's answer, or, of answers "
                      "that are text, 1 where it gives the same, else 0")
    scores: str = arg(None, "file: jsonl with the id of each row of the pool and its score, larger "
                      "is more trusted; in [0, 1] it is measured as a probability too")
    name: str = arg(None, "file: the name of the scores, which trust.json and the report show; the "
                    "report looks for them in runs called trust-NAME")
    seed: int = arg(0, "varies every draw", low=0)
    draws: int = arg(1000, "bootstrap draws behind the intervals", low=100, high=10**6)
    device: str = arg("auto", "auto, cpu, cuda, cuda:N, mps (icl-confidence, reward, consistency)")
    dtype: str = arg("float32", "arithmetic: float32 or bfloat16 (icl-confidence, reward, "
                     "consistency)")


def main(cfg):
    refuse_foreign(cfg)
    if config.follows():
        return
    if config.processes()[1] > 1:
        print("torchrun: this takes seconds; one process does it, the others have nothing to do")
    from w2s import runs
    if cfg.keep is None:
        cfg.keep = 0.5 if cfg.min_trust is None else 1
    run = runs.begin(cfg.out, "train_ntf.py", cfg, inputs(cfg))
    if run is None:
        return

    # imported this late: a finished run is skipped without them
    from w2s import rows
    from w2s.trust import selection
    task, pool, score, more = scored(cfg)
    added = [selection.with_truth(row) | {"selection": "labelled"} for row in more.used] \
        if cfg.add_labelled or cfg.select == "labelled" else []
    labels = run.out / "labels" / Path(cfg.pool).name.removesuffix(".gz")
    if cfg.select == "labelled":
        run.start(task=task.name, rows=len(pool), kept=0, added=len(added))
        run.log_from(0)
        rows.write(labels, added)
        run.finish()
        print(f"{run.out}: no label of the pool, {len(added)} labelled rows with their truth")
        return
    classes = [task.weak_class(row) for row in pool]
    chosen = choose(cfg, pool, score, classes, more)
    trusted = [pool[i] | {"trust": round(float(score[i]), 7), "selection": cfg.name or cfg.select}
               for i in chosen]
    if cfg.select.startswith("truth"):
        trusted = list(map(selection.with_truth, trusted))

    run.start(task=task.name, rows=len(pool), kept=len(chosen), facts=more.facts)
    run.log_from(0)
    for entry in more.epochs:
        run.log(**entry)
    rows.write(labels, [*trusted, *added])
    report(cfg, run, (task, pool, score, classes), chosen, more, len(added))


def choose(cfg, pool, score, classes, more):
    """Sorted positions of the rows of the pool that are kept."""
    from w2s.trust import selection
    least, classes = selection.threshold(cfg, score), classes if cfg.balanced else None
    if cfg.per_source:
        return selection.pick_each(score, cfg.keep, classes, least, more.open,
                                   [row.get("source", "") for row in pool])
    return selection.pick(score, more.count, classes, least, more.open)


def report(cfg, run, judged, chosen, more, added):
    """Write what is known of the trust in the pool, print it, and end the run. judged: (task, N
    rows, score (N,), classes (N,)); added: the number of labelled rows beside the chosen."""
    import numpy as np

    from w2s import rows, runs
    from w2s.trust import ntf, selection
    task, pool, score, classes = judged
    right = np.array([task.right(row) for row in pool], np.float64)
    shares = selection.shares(classes, chosen)
    measured = selection.measure(score, right, pool, chosen, cfg.select, cfg.seed, cfg.draws)
    measured += selection.uncalibrated(more.raw, right) if more.raw is not None else []
    if more.model is not None and not cfg.ntf:
        ntf.save(more.model, run.out, more.facts | more.source)
    rows.write(run.out / "trust.jsonl", selection.verdicts(pool, score, right, chosen))
    rows.write_json(run.out / "trust.json", {
        "select": cfg.select, **({"name": cfg.name} if cfg.name else {}), "task": task.name,
        "pool": len(pool), "kept": len(chosen),
        "right": float(right.mean()), "right_kept": float(right[chosen].mean()), "shares": shares,
        "regimes": more.regimes, "facts": more.facts, "metrics": measured})
    runs.require_there(run.out)
    run.finish()
    print(f"{run.out}: {cfg.name or cfg.select} keeps {len(chosen)} of {len(pool)} labels; right "
          f"are {right[chosen].mean():.1%} of them, {right.mean():.1%} of all"
          + "; true ones take their place" * cfg.select.startswith("truth")
          + f"; {added} labelled rows beside them" * bool(added))
    print("\n".join(selection.lines(more.facts, measured, more.regimes, shares)))


class Scored(NamedTuple):
    """How many labels to keep, and how their scores came about."""
    count: int        # labels to keep at most
    model: object     # the trust function, or None
    facts: dict       # about its training
    raw: object       # (N,) its trust before calibration, or None
    source: dict      # task and sources of the rows that it was trained on
    regimes: dict     # {source of the pool: regime}
    epochs: list      # entries for log.jsonl
    used: list        # the labelled rows that it could learn from
    open: object      # (N,) which rows may be chosen, or None: all


def scored(cfg):
    """(Task of the pool, its N rows, score (N,), Scored): larger is more to be trusted."""
    from w2s import rows
    from w2s.trust import agreement, baselines, selection
    epochs = []  # of the trust function's training, for log.jsonl
    learned, task, labelled = read(cfg, cfg.labelled, ("trust", "val", "wts"), ("data", "labels"))
    name, pool_task, pool = read(cfg, cfg.pool, ("wts",), ("data",))
    selection.refuse_overlap(labelled, pool, (cfg.labelled, cfg.pool))
    if cfg.balanced and pool_task.KIND == "text":
        raise ValueError("--balanced: answers that are text have no classes; leave it out")
    if (cfg.add_labelled or cfg.select == "labelled") and learned != name:
        raise ValueError(f"{cfg.labelled}: rows of task {learned}, a student of {name} cannot "
                         "train on them; leave --add-labelled out")
    positions = selection.of_sources(labelled, cfg.sources, cfg.labelled)
    if cfg.budget:
        positions = selection.within(positions, cfg.budget, cfg.seed, cfg.labelled)
    used, model, facts, raw = [labelled[i] for i in positions], None, {}, None
    source = {"task": learned, "sources": sorted({row.get("source", "") for row in used})}
    if cfg.select in ("ntf", "truth-n"):
        model, facts, score, raw = by_trust_function(
            cfg, task, labelled, positions, pool, lambda **entry: epochs.append(entry))
        if cfg.ntf and model:
            source = rows.present(rows.read_json(
                Path(cfg.ntf) / "ntf.json", {"facts": {"task": str, "sources": [str]}},
                "train the trust function again")).get("facts", {})
    elif cfg.select == "agreement":
        second, source = second_labels(cfg, name), {}
        score = agreement.agreement(pool_task, pool, second, (cfg.pool, cfg.second))
    else:
        score = baselines.score(cfg, (task, used), (pool_task, pool))
        source = source if cfg.select == "reward" and not cfg.reward else {}  # trained here
    regimes = selection.regimes(source["sources"], pool, source["task"] == name) \
        if {"sources", "task"} <= source.keys() else {}
    may = selection.unseen(pool, source.get("sources", []), cfg.pool) if cfg.unseen else None
    count = selection.most(1 if cfg.select in ("all", "truth", "labelled") else cfg.keep,
                           len(pool) if may is None else int(may.sum()))
    return pool_task, pool, score, Scored(count, model, facts, raw, source, regimes, epochs, used,
                                          may)


def inputs(cfg):
    """{name: path} of the files that the choice depends on."""
    from w2s import hidden_states, runs
    files = {"labelled": cfg.labelled, "pool": cfg.pool}
    if cfg.select in ("ntf", "truth-n"):
        for path in (cfg.pool,) if cfg.ntf else (cfg.pool, cfg.labelled):
            files[f"states of {path}"] = states = hidden_states.states_of(path)
            if Path(path).exists() and not states.exists():  # else runs.begin names the labels
                raise ValueError(f"{states}: no such file; label the rows with label.py --hidden")
    elif cfg.select == "icl-confidence":
        files["base"] = runs.base(cfg.teacher, runs.read_config(cfg.teacher))
    elif cfg.select == "consistency" or cfg.select == "reward" and not cfg.reward:
        files["teacher"] = f"{cfg.teacher}/model"
    if cfg.ntf:  # of labels that were all right, or all wrong, no trust function was learned
        constant = constant_trust(cfg.ntf)
        files["ntf"] = f"{cfg.ntf}/" + ("ntf.safetensors" if constant is None else "trust.json")
    return files | {name: path for name in ("reward", "second", "scores")
                    if (path := getattr(cfg, name))}


def read(cfg, path, splits, taught):
    """(name, task, rows) of a labels file. Raises ValueError when it is another teacher's, when the
    teacher's run is not finished, and for rows of other splits than these or that the teacher was
    trained on; `taught` names the arguments of its run that give their files. Labelled rows must
    not be a student's either; rows of the pool may be, since a chain labels them anew."""
    from w2s import rows, runs, tasks
    from w2s.data import leaks
    from w2s.trust import selection
    runs.require_finished(cfg.teacher)
    facts, maker = runs.read_config(cfg.teacher), Path(path).resolve().parent.parent
    if (maker / "config.json").exists() and maker != Path(cfg.teacher).resolve():
        raise ValueError(f"{path}: labels of {maker}, not of --teacher {cfg.teacher}")
    meta = Path(f"{path}.meta.json")  # by label.py; the task may be another one than the teacher's
    noted = rows.present(rows.read_json(meta, {"task": str})) if meta.exists() else {}
    name = {**facts["args"], **noted}.get("task", "")
    if name not in tasks.NAMES:
        raise ValueError(f"{path}: labels of task {rows.shown(name)}, which there is not; label "
                         "the rows anew")
    task = tasks.load(name)
    if not task.right:
        raise ValueError(f"{path}: labels of task {name}, which are neither right nor wrong; there "
                         "is nothing to trust")
    data = task.read(path, weak=True)
    selection.refuse(data, path, splits, leaks.taught(cfg.teacher, facts, taught))
    return name, task, data


def second_labels(cfg, task):
    """The rows of --second, labels of a task's pool. Raises ValueError as `read` for labels of a
    teacher that is not finished or was trained on the pool, and for those of --teacher itself."""
    from w2s import rows
    maker = Path(cfg.second).resolve().parent.parent
    if maker == Path(cfg.teacher).resolve():
        raise ValueError(f"--second {cfg.second}: labels of --teacher itself; give those of "
                         "another teacher")
    if (meta := Path(f"{cfg.second}.meta.json")).exists() and rows.read_json(meta, {}).get("given"):
        raise ValueError(f"--second {cfg.second}: label.py --given kept another run's answers; "
                         "give the labels of that run")
    # not even through the first one's labels: what it has copied from them agrees by itself
    name, _, second = read(replace(cfg, teacher=str(maker)), cfg.second, ("wts",),
                           ("data", "labels"))
    if name != task:
        raise ValueError(f"--second {cfg.second}: labels of task {name}, those of --pool are of "
                         f"{task}")
    return second


def constant_trust(run):
    """The trust that a run of this script gave to all rows, since there was nothing to learn; None
    where it has a trust function."""
    from w2s import rows
    path = Path(run) / "trust.json"
    if (Path(run) / "ntf.safetensors").exists() or not path.exists():
        return None
    facts = rows.present(rows.read_json(path, {"facts": {"constant": rows.NUMBER}}))
    return facts.get("facts", {}).get("constant")


def by_trust_function(cfg, task, labelled, positions, pool, log):
    """(trust function, facts about its training, trust (N,) in the pool's labels, the same before
    calibration). The trust function is trained on the labelled rows at `positions`, or is that of
    --ntf. log: as in ntf.fit."""
    import numpy as np

    from w2s import runs
    from w2s.trust import ntf, selection
    if cfg.ntf and (constant := constant_trust(cfg.ntf)) is not None:
        return None, {"constant": constant}, np.full(len(pool), constant), None
    which = (runs.read_config(cfg.ntf)["args"] if cfg.ntf else vars(cfg)).get("features", "states")
    states = selection.features(cfg.pool, pool, which)
    if cfg.ntf:
        model, facts = ntf.load(cfg.ntf), {}
    else:
        right = [float(task.right(labelled[i])) for i in positions]
        if len(set(right)) == 1:  # a teacher that knows nothing, or all
            print(f"note: every label of {cfg.labelled} is {'right' if right[0] else 'wrong'}: "
                  "there is nothing to learn, and all rows get the same trust")
            return None, {"constant": right[0]}, np.full(len(pool), right[0]), None
        model, facts = ntf.fit(
            selection.features(cfg.labelled, labelled, which)[positions], right, seed=cfg.seed,
            log=log,
            groups=[str(labelled[i].get("group", labelled[i]["id"])) for i in positions],
            **{key: getattr(cfg, key) for key in TRAINING})
    if states.shape[1] != model.config["dim"]:
        raise ValueError(f"{cfg.pool}: with --features {which} {states.shape[1]} numbers a row, "
                         f"the trust function of {cfg.ntf} reads {model.config['dim']}")
    logits = model.logits(states).double()  # in float32 large logits all give a trust of 1
    return model, facts, model.calibrated(logits).numpy(), logits.sigmoid().numpy()


def refuse_foreign(cfg):
    """ValueError for a flag that the selection does not use, or that it needs and lacks."""
    uses = {*USES.get("ntf" if cfg.select == "truth-n" else cfg.select, ())}
    if cfg.per_source and (cfg.keep or 0) > 1:
        raise ValueError("--per-source: keeps a share of each source; --keep "
                         f"{config.number(cfg.keep)} is a number of rows, give one up to 1")
    for name in NEEDS.get(cfg.select, ()):
        if getattr(cfg, name) is None:
            raise ValueError(f"--select {cfg.select}: needs --{name} (see --help)")
    if cfg.name:
        refuse_name(cfg.name)
    if cfg.min_trust is not None and cfg.select in RANKS:
        raise ValueError(f"--min-trust {config.number(cfg.min_trust)}: --select {cfg.select} gives "
                         "no probability; leave it out, or choose by another score")
    uses |= CHOOSING if cfg.select not in ("all", "truth", "labelled") else set()
    if cfg.ntf or cfg.reward:  # which is made already
        uses -= {*TRAINING, "features", "sources", "reward_epochs", "reward_lr"} | (
            set() if cfg.add_labelled else {"budget"})
    for name in sorted(CHOOSING.union(*USES.values()) - uses):
        if getattr(cfg, name) != getattr(Config, name, []):  # a list has no default there
            where = "".join(f" --{key}" for key in ("ntf", "reward") if getattr(cfg, key))
            raise ValueError(f"--{name.replace('_', '-')} has no effect with --select "
                             f"{cfg.select}{where}; leave it out")


def refuse_name(name):
    """ValueError for a --name that is no plain word or that another choice of labels has."""
    if not ({*name} <= {*PLAIN} and name[0].isalpha() and len(name) <= 40):
        raise ValueError(f"--name {name}: is no plain word; give a small letter and up to 39 small "
                         "letters, digits, - and _")
    # run_all.sh has others, such as ntf-zero-shot and gen2, and students that train otherwise
    if name in SELECT or name.startswith(("ntf", "truth", "labelled")) or any(
            part in ("lora", "grpo") or part[:3] == "gen" and part[3:].isdigit()
            for part in name.split("-")):
        raise ValueError(f"--name {name}: another choice of labels has this name; give another")


if __name__ == "__main__":
    config.launch(main, Config, __doc__)
