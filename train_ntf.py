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
OUT/ntf.safetensors the trust function. The truth of the pool is read for that and for truth-n only.
"""

from dataclasses import dataclass
from pathlib import Path

from w2s import config
from w2s.config import REQUIRED, arg

SELECT = ("ntf", "confidence", "margin", "entropy", "icl-confidence", "reward", "random", "truth-n",
          "truth", "all")
USES = {"ntf": ("blocks", "hidden", "dropout", "drop_path", "epochs", "batch_size", "lr",
                "weight_decay", "patience", "reweight", "calibrate", "features", "ntf", "sources"),
        "icl-confidence": ("shots", "dtype", "device"),
        "reward": ("reward", "reward_epochs", "reward_lr", "sources", "dtype", "device")}
USES["truth-n"] = USES["ntf"]
PROBABILITIES = ("ntf", "truth-n", "confidence", "icl-confidence", "reward")
CALIBRATION = ("ece", "brier", "nll")  # say something of probabilities only


@dataclass(kw_only=True)
class Config:
    teacher: str = arg(REQUIRED, "finished run that labelled both files")
    labelled: str = arg(REQUIRED, "its labels of rows whose truth is known and that it was not "
                        "trained on: trust.jsonl, labelled with --hidden")
    pool: str = arg(REQUIRED, "its labels of the rows to choose from: wts.jsonl, labelled with "
                    "--hidden")
    out: str = arg(REQUIRED, "run folder to make")
    select: str = arg("ntf", "whose trust counts: the trust function, the teacher's own "
                      "confidence, that behind solved examples, a reward model; or random rows, "
                      "the rows of ntf with true labels, all rows with true labels, all rows",
                      choices=SELECT)
    keep: float = arg(0.5, "share of the pool to keep; above 1 a number of rows", above=0)
    balanced: bool = arg(False, "keep the same number of rows of each class of answer, as far as "
                         "there are; else pure top-n, which drifts to the easy class")
    sources: list[str] = arg([], "train on labelled rows of these sources only: what the others "
                             "get is zero-shot (default: all)")
    features: str = arg("states", "what the trust function reads: the teacher's states, as in the "
                        "paper, or beside them how certain it was (log p, margin, entropy, logit)",
                        choices=("states", "both"))
    ntf: str = arg(None, "run with a trust function to use as it is, in place of training one")
    blocks: int = arg(2, "residual RMSNorm-SwiGLU blocks", low=0)
    hidden: int = arg(None, "their width (default: that of the states, at most 128)", low=1)
    dropout: float = arg(0.1, "in every block", low=0, high=0.95)
    drop_path: float = arg(0.1, "stochastic depth: a row skips a block that often", low=0,
                           high=0.95)
    epochs: int = arg(50, "at most; training stops early", low=1)
    patience: int = arg(8, "epochs without a lower held-out loss that end the training", low=1)
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
    reward_epochs: float = arg(3, "reward: passes of the verifier over the labelled rows", above=0)
    reward_lr: float = arg(None, "reward: its learning rate (default: by size)", above=0)
    seed: int = arg(0, "varies every draw", low=0)
    draws: int = arg(1000, "bootstrap draws behind the intervals", low=100)
    device: str = arg("auto", "auto, cpu, cuda or cuda:N (icl-confidence, reward)")
    dtype: str = arg("float32", "arithmetic: float32 or bfloat16 (icl-confidence, reward)")


def main(cfg):
    refuse_foreign(cfg)
    from w2s import rows, runs
    uses_states = cfg.select in ("ntf", "truth-n")
    inputs = {"labelled": cfg.labelled, "pool": cfg.pool}
    inputs |= {"ntf": f"{cfg.ntf}/ntf.safetensors"} if cfg.ntf else {}
    inputs |= {"reward": cfg.reward} if cfg.reward else {}
    if uses_states:
        inputs |= {f"states of {name}": rows.states_of(getattr(cfg, name))
                   for name in (("pool",) if cfg.ntf else ("labelled", "pool"))}
        for path in map(rows.Path, inputs.values()):
            if path.suffix == ".safetensors" and not path.exists():
                raise ValueError(f"{path}: no such file; " + (
                    "--ntf is the folder of a train_ntf.py run" if path.name == "ntf.safetensors"
                    else "label the rows with label.py --hidden"))
    run = runs.begin(cfg.out, "train_ntf.py", cfg, inputs)
    if run is None:
        return

    import numpy as np

    from w2s import ntf, selection, trust
    task, labelled = read(cfg, cfg.labelled, "--labelled")
    pool_task, pool = read(cfg, cfg.pool, "--pool")
    refuse_overlap(cfg, labelled, pool)
    some = [i for i, row in enumerate(labelled)
            if not cfg.sources or row.get("source") in cfg.sources]
    if not some:
        known = sorted({row.get("source", "") for row in labelled})
        raise ValueError(f"--sources {' '.join(cfg.sources)}: no row of {cfg.labelled} has one; "
                         f"its sources are {', '.join(known)}")
    right = np.array([pool_task.right(row) for row in pool], np.float64)
    model, facts = None, {}
    if uses_states and cfg.ntf:
        model = ntf.load(cfg.ntf)
    elif uses_states:
        states = selection.features(rows.read_states(rows.states_of(cfg.labelled), labelled),
                                    labelled, cfg.features)[some]
        model, facts = ntf.fit(
            states, np.array([task.right(labelled[i]) for i in some], np.float64), seed=cfg.seed,
            groups=[str(labelled[i].get("group", labelled[i]["id"])) for i in some],
            **{key: getattr(cfg, key) for key in USES["ntf"][:-3]})
    if uses_states:
        states = selection.features(rows.read_states(rows.states_of(cfg.pool), pool), pool,
                                    cfg.features)
        if states.shape[1] != model.config["dim"]:
            raise ValueError(f"{rows.states_of(cfg.pool)}: states of {states.shape[1]} dimensions, "
                             f"the trust function reads {model.config['dim']}")
        score = np.asarray(model.trust(states), np.float64)
    else:
        score = other_score(cfg, task, [labelled[i] for i in some], pool_task, pool)

    count = len(pool) if cfg.select in ("all", "truth") else selection.most(cfg.keep, len(pool))
    if count > len(pool):
        raise ValueError(f"--keep {cfg.keep:g}: the pool has {len(pool)} rows")
    classes = [pool_task.weak_class(row) for row in pool]
    chosen = selection.pick(score, count, classes if cfg.balanced else None)
    where = regimes(cfg, labelled, some, pool)
    measured = measure(cfg, trust, score, right, pool, count, chosen)

    run.start(task=name_of(cfg, cfg.pool), rows=len(pool), kept=count, facts=facts)
    run.log_from(0)
    if model is not None and not cfg.ntf:
        ntf.save(model, run.out, facts)
    true = cfg.select.startswith("truth")
    named = [pool[i] | {"trust": round(float(score[i]), 7), "selection": cfg.select}
             for i in chosen]
    rows.write(run.out / "labels" / Path(cfg.pool).name.removesuffix(".gz"),
               [selection.with_truth(row) if true else row for row in named])
    rows.write(run.out / "trust.jsonl", [
        {"id": row["id"], "group": str(row.get("group", row["id"])), "trust": float(t),
         "right": int(r), "kept": bool(k), "source": row.get("source", "")}
        for row, t, r, k in zip(pool, score, right, np.isin(np.arange(len(pool)), chosen))])
    rows.write_json(run.out / "trust.json", {
        "select": cfg.select, "task": name_of(cfg, cfg.pool), "pool": len(pool), "kept": count,
        "right": float(right.mean()), "right_kept": float(right[chosen].mean()),
        "shares": selection.shares(classes, chosen) if len(set(classes)) <= 20 else {},
        "regimes": where, "facts": facts, "metrics": measured,
        "curves": trust.curves(score, right)})
    run.finish()
    tell(cfg, run, facts, where, measured, right, chosen, selection.shares(classes, chosen))


def read(cfg, path, flag):
    """(task, rows) of a labels file. Raises ValueError when the teacher's folder did not make it
    or has seen its rows."""
    from w2s import rows, runs, tasks
    facts = runs.read_config(cfg.teacher)
    if not (Path(cfg.teacher) / "DONE").exists():
        raise ValueError(f"{cfg.teacher}: this run is not finished; run its training command again")
    task = tasks.load(name_of(cfg, path))
    if not hasattr(task, "right"):
        raise ValueError(f"{flag} {path}: labels of task {name_of(cfg, path)}, which are neither "
                         "right nor wrong; there is nothing to trust")
    found = task.read(path, weak=True)
    for n, row in enumerate(found, 1):
        allowed = ("trust", "val", "wts") if flag == "--labelled" else ("wts",)
        if row.get("split", allowed[0]) not in allowed:
            raise ValueError(f"{path}:{n}: the row belongs to split '{row['split']}'; {flag} "
                             f"takes {' or '.join(allowed)} rows")
    taught = facts["args"].get("data")
    if taught and rows.Path(taught).exists() and facts.get("epochs"):
        seen = {row["id"] for row in rows.read(taught)}
        for n, row in enumerate(found, 1):
            if row["id"] in seen:
                raise ValueError(f"{path}:{n}: id '{row['id']}' is in {taught}, which the teacher "
                                 "was trained on: it is right there more often than elsewhere")
    return task, found


def name_of(cfg, path):
    """Task of a labels file: as label.py noted beside it, else the teacher's."""
    from w2s import rows, runs
    meta = Path(f"{path}.meta.json")
    found = rows.read_json(meta).get("task") if meta.exists() else None
    return found or runs.read_config(cfg.teacher)["args"].get("task", "")


def refuse_overlap(cfg, labelled, pool):
    """ValueError when a row, or a group of rows, is in both files."""
    known = {str(row.get("group", row["id"])) for row in labelled} | {r["id"] for r in labelled}
    for n, row in enumerate(pool, 1):
        if row["id"] in known or str(row.get("group", row["id"])) in known:
            raise ValueError(f"{cfg.pool}:{n}: id '{row['id']}' or its group is in {cfg.labelled} "
                             "too; the labelled rows must be others than the pool's")


def other_score(cfg, task, labelled, pool_task, pool):
    """(N,) the trust of the pool's rows by what the trust function is compared with."""
    import numpy as np

    from w2s import rows, selection, step
    if cfg.select in ("confidence", "margin", "entropy"):
        at = ("confidence", "margin", "entropy").index(cfg.select)
        return np.array([selection.certainty(row)[at] for row in pool])
    draw = np.random.Generator(np.random.PCG64(step.seed_of(cfg.seed, cfg.select)))
    if cfg.select in ("random", "truth", "all"):  # random: places, and no probabilities
        return draw.permutation(len(pool)) if cfg.select == "random" else np.ones(len(pool))
    if cfg.reward and Path(cfg.reward).is_file():
        found = rows.join(pool, rows.read(cfg.reward, {"id": str, "reward": rows.NUMBER}))
        return np.array([row["reward"] for row in found])
    if pool_task.KIND not in selection.WORDS:
        raise ValueError(f"--select {cfg.select}: the answers of --task {name_of(cfg, cfg.pool)} "
                         "are class numbers, which a language model cannot read; choose another")

    from w2s import pythia, runs, text
    where, folder = selection.setup(cfg), Path(cfg.teacher) / "model"
    length = runs.read_config(cfg.teacher)["args"]["max_length"]
    if cfg.select == "icl-confidence":
        model, tokenizer = pythia.load(folder, "lm", None, where), text.load_tokenizer(folder)
        examples = [labelled[i] for i in draw.permutation(len(labelled))[:cfg.shots]]
        return selection.in_context(pool_task, model, tokenizer, pool, examples, cfg.dtype)
    said = [selection.spoken(pool_task, row) for row in pool]
    if cfg.reward:
        model = pythia.load(cfg.reward, "class", classes_of(cfg.reward), where)
        return selection.verify(model, text.load_tokenizer(cfg.reward), said, length, cfg.dtype)
    tokenizer = text.load_tokenizer(folder)
    model = selection.verifier(folder, tokenizer, [selection.spoken(task, r) for r in labelled],
                               [task.right(row) for row in labelled], where,
                               epochs=cfg.reward_epochs, lr=cfg.reward_lr, batch_size=32,
                               max_length=length, seed=cfg.seed)
    return selection.verify(model, tokenizer, said, length, cfg.dtype)


def classes_of(folder):
    """Classes of a sequence classifier's folder, by its id2label (transformers' default: 2)."""
    from w2s import rows
    return len(rows.read_json(Path(folder) / "config.json").get("id2label") or "12")


def regimes(cfg, labelled, some, pool):
    """{source of the pool: regime}, TF's three: the trust function saw rows of this source, of
    another one asked in the same way, or was trained on another task's answers."""
    seen = {labelled[i].get("source", "") for i in some}
    here, there = name_of(cfg, cfg.pool), name_of(cfg, cfg.labelled)
    if cfg.ntf or cfg.select not in ("ntf", "truth-n", "reward"):
        return {}
    return {source: "other interface" if here != there else
            "in distribution" if source in seen else "other distribution"
            for source in sorted({row.get("source", "") for row in pool})}


def measure(cfg, trust, score, right, pool, count, chosen):
    """[{slice, metric, value}] of the whole pool and of each of its sources."""
    slices = {"all": range(len(pool))}
    sources = sorted({row.get("source", "") for row in pool} - {""})
    if len(sources) > 1:
        slices |= {s: [i for i, row in enumerate(pool) if row.get("source") == s] for s in sources}
    found = []
    for name, members in slices.items():
        members = list(members)
        n = max(1, round(count / len(pool) * len(members)))
        groups = [str(pool[i].get("group", pool[i]["id"])) for i in members]
        found += [entry | {"slice": name} for entry in trust.measure(
            score[members], right[members], groups, cfg.seed, cfg.draws, n)
            if cfg.select in PROBABILITIES or entry["metric"].split("_")[0] not in CALIBRATION]
    return found + [{"slice": "all", "metric": "right", "value": float(right.mean())},
                    {"slice": "all", "metric": "right_kept", "value": float(right[chosen].mean())}]


def tell(cfg, run, facts, where, measured, right, chosen, shares):
    """Print what was chosen and how good the trust is."""
    print(f"{run.out}: {cfg.select} keeps {len(chosen)} of {len(right)} labels; right are "
          f"{right[chosen].mean():.1%} of them, {right.mean():.1%} of all")
    if facts:
        print("  " + ", ".join(f"{key.replace('_', ' ')} {value:.4g}" if isinstance(value, float)
                               else f"{key.replace('_', ' ')} {value}"
                               for key, value in facts.items()))
    value = {(m["slice"], m["metric"]): m["value"] for m in measured}
    names = [m for m in ("auc", "ece", "brier", "purity", "aurc") if ("all", m) in value]
    slices = list(dict.fromkeys(m["slice"] for m in measured))
    width = max(map(len, slices))
    print(f"  {'':{width}}  " + "".join(f"{name:<20}" for name in names).rstrip())
    for part in slices:
        cells = [GONE if value[part, m] is None else f"{value[part, m]:.3f} "
                 f"[{value[part, f'{m}_low']:.3f}, {value[part, f'{m}_high']:.3f}]"
                 for m in names if (part, m) in value]
        print((f"  {part:{width}}  " + "".join(f"{cell:<20}" for cell in cells)
               + where.get(part, "")).rstrip())
    if 1 < len(shares) <= 10:
        print("  answers, of the pool and of the kept: " + ", ".join(
            f"{name} {a:.0%} {b:.0%}" for name, (a, b) in shares.items()))


GONE = "-"


def refuse_foreign(cfg):
    """ValueError for a flag that the selection does not use."""
    fields = Config.__dataclass_fields__
    for name in dict.fromkeys(name for names in USES.values() for name in names):
        value = getattr(cfg, name)
        default = [] if name == "sources" else fields[name].default
        idle = name not in USES.get(cfg.select, ()) or (
            cfg.ntf and name in USES["ntf"] and name != "ntf")
        if idle and value != default:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} has no effect with --select {cfg.select}"
                             f"{' --ntf' if cfg.ntf else ''}; leave it out")


if __name__ == "__main__":
    config.launch(main, Config, __doc__)
