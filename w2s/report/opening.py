"""What the report is about: which runs, splits, files and machine, what to be warned of, how.
"""

import math
import os
import platform
import re
from pathlib import Path

import torch

from w2s import rows
from w2s.report import render, trust_tables
from w2s.report.measurements import prepared
from w2s.report.render import Bullets, Heading, Text, mean
from w2s.report.results import STRATEGIES, UNREGULARISED


# ---- what was run --------------------------------------------------------------------------------

def opening(config, studies):
    """What was run, on which data, for how long, on what, with which code."""
    data, about, sizes = Path(config.data or Path(config.runs) / "data"), {}, []
    for study in studies:
        counts, files, _ = prepared(data / study.task)
        shown = ", ".join(f"{split} {n}" for split, n in counts.items()) or "no manifest found"
        sizes.append((f"{study.module.TITLE}, rows", shown + f" (of {', '.join(files)})" *
                      bool(files) + split_of(data / study.task)))
        seeds = ", ".join(map(str, study.seeds))
        about.setdefault(f"{models(study)}; seed{'s' * (len(study.seeds) > 1)} {seeds}", []).append(
            study.module.TITLE)
    ran = [run for study in studies for run in study.runs.values()]
    heads = [f"**{' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}: {said}; "
             f"{len(ran)} finished runs{' in all' * (len(about) > 1)}.**"
             for said, names in about.items()]
    spent = [run.seconds for run in ran if run.seconds == run.seconds]  # not nan
    wall = [f"the whole command {clock(config.seconds)}"] if config.seconds is not None else []
    times = [f"{clock(sum(spent))} in training steps, summed over {len(spent)} runs"] * bool(spent)
    versions = {f"torch {v['torch']}, Python {v['python']}" for run in ran
                if {"torch", "python"} <= (v := run.config.get("versions") or {}).keys()}
    commits = sorted({run.config["commit"] for run in ran if run.config.get("commit")})
    facts = [*sizes, ("Time", "; ".join(times + wall)), ("Machine", machine()),
             ("Software", "; ".join(sorted(versions))),
             ("Commit", ", ".join(f"`{c[:9]}{'+' * c.endswith('+')}`" for c in commits)
              + " (+: with changed files)" * any(c.endswith("+") for c in commits)),
             ("Command", config.command and f"`{config.command}`"),
             ("Test files, sha256", "; ".join(f"{study.task} {' '.join(found)}" for study in studies
                                              if (found := digests(study))))]
    return [*([Text(config.note)] if config.note else []), *map(Text, heads),
            Bullets([f"{name}: {said}" for name, said in facts if said])]


def split_of(folder):
    """"; every seed its own split", or what an interval is conditional on."""
    if (folder / "seed0" / "manifest.json").exists():
        return "; every seed its own split"
    return "; one split for all seeds, so intervals say nothing of other splits" if (
        folder / "manifest.json").exists() else ""


def digests(study):
    """The first digits of the sha256 of each seed's test file, as evaluate.py noted them."""
    found = {}
    for name, seed in study.runs:
        if seed not in found:
            noted = rows.read_json(study.at(name, seed) / "eval.json")
            found[seed] = str(noted.get("test", {}).get("data", ""))[:12]
    return [digest for _, digest in sorted(found.items()) if digest]


def premise(studies):
    """What the runs about properties are."""
    return [Text("A weak model is fine-tuned on ground truth (weak) and labels a second split; a "
                 "strong model is fine-tuned on those labels, without (student-naive) and with "
                 "(student-aux) the confidence loss. The ceiling is the strong model fine-tuned on "
                 "the weak model's own ground truth. Trustworthiness fine-tuning (TFT) adds a "
                 "regulariser: to no model (No TFT), to the weak model (Weak TFT), to the weak "
                 "model and the student (Weak+WTS TFT; WTS: weak-to-strong).")] if studies else []


def machine():
    """"AMD EPYC 7B13, 2 cores": processor, graphics card and cores where the report is made."""
    try:
        cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        cpu = platform.processor() or platform.machine()
    card = f"; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{cpu}, {os.cpu_count()} cores{card} (where this report was made)"


def clock(seconds):
    """"1 h 02 min", "3 min 05 s" or "2.5 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else \
        f"{minutes // 60} h {minutes % 60:02d} min"


def warnings(studies):
    """What a reader must know first: models from scratch or no better than a constant guess, files
    that disagree, runs that miss."""
    fresh = [f"{study.module.TITLE} ({', '.join(names)})" for study in studies
             if (names := [model for model in study.models if study.from_scratch(model)])]
    doubts = [f"{run}: eval.json says {metric} {said:.6f}, its predictions give {counted:.6f}, "
              "which stands here; run evaluate.py again"
              for study in studies for run, metric, said, counted in study.doubts()]
    missing = [f"{study.task}/{name}: {why} (seed {', '.join(map(str, seeds))})"
               for study in studies for (name, why), seeds in study.missing.items()]
    blocks = [Text(f"**Trained from scratch, nothing pretrained**: {'; '.join(fresh)}.")] \
        if fresh else []
    guessing = [f"{study.module.TITLE}, {name}: {', '.join(names)}" for study in studies
                for key, name in STRATEGIES.items() if (names := guessers(study, key))]
    level = [f"{study.module.TITLE}: {study.module.TASK} of weak {mean(low)}, ceiling {mean(high)}"
             for study in studies if (gap := study.gap_recovered("none", study.students[0])
                                      if study.students else None) and gap[1]
             and (low := study.summary("none", "weak", study.module.TASK))
             and (high := study.summary("none", "ceiling", study.module.TASK))]
    runs = sum(len(seeds) for study in studies for seeds in study.missing.values())
    for head, found in (
            ("**No better than a constant guess.** The task performance of some models is not "
             "clearly above that of the most frequent label, so their trust and PGR say little; "
             "the report lists them.", guessing),
            ("**No capability gap.** The strong model's ceiling is not clearly above the weak "
             "model (2 standard errors): there is little for weak-to-strong training to show.",
             level),
            (f"**Doubtful.** {len(doubts)} of the numbers in eval.json cannot be had from the "
             "predictions; the report lists them.", doubts),
            (f"**Not finished.** {runs} run{'s are' if runs > 1 else ' is'} missing, and so are "
             "their numbers; the report lists them.", missing)):
        blocks += [Text(head), Bullets(found)] if found else []
    return blocks


def guessers(study, strategy):
    """The models whose interval of the task metric reaches down to the majority class."""
    metric = study.module.TASK
    found = {model: study.summary(strategy, model, metric) for model in study.models}
    return [model for model, of in found.items()
            if of and of["interval"][0] <= study.majority.get(metric, math.nan)]


# ---- one property --------------------------------------------------------------------------------

def method(config, studies, steps):
    """How the numbers were made."""
    fewest = min(len(study.seeds) for study in studies)
    few = [f"**A property has {fewest} seed{'s' * (fewest > 1)} only**: at least 3 are needed to "
           "say anything about the spread over seeds."] if fewest < 3 else []
    why = " as the paper seems to do, which favours it." if config.select == "test" else "."
    return [Heading("How these numbers were made"), Bullets([
        *few, "mean ± sd: over seeds, ddof = 1. Majority class: the most frequent label of the "
        "test rows (of each source), whatever the text.",
        "Intervals, 95 %: the spread over seeds (head, order and, where every seed has its own "
        "split, rows) by Student's t; where seeds share test rows, with a bootstrap of these rows "
        f"({config.draws} draws of groups that belong together; rows without `group` stand alone) "
        "added. The models of a seed share each draw, so differences are paired. One seed: the "
        "bootstrap alone, which says nothing of other seeds.",
        *(f"{', '.join(study.drawn)}: the same, of the rows that were attacked; runs and seeds "
          "share the draws of rows that they share." for study in studies if study.drawn),
        *([f"Trend: in tr, the trust metric or minus it where smaller is better. {len(steps)} "
           "inequalities are tested in this report.", "Ceiling of the regularised strategies: "
           f"chosen on {config.select} rows{why}"] if any(study.choice for study in studies)
          else []),
        *trust_tables.method(studies, config.draws),
        *(f"{study.module.TITLE}, rows: {'; '.join(notes)}." for study in studies
          if (notes := prepared(Path(config.data or Path(config.runs) / "data") / study.task)[2])),
        "Every number, seed by seed, is in `results.csv`."])]


# ---- words ---------------------------------------------------------------------------------------

def lines(study):
    """[((strategy, model), [first two cells])] of a table with a line for each model."""
    groups = [(key, name, study.models) for key, name in STRATEGIES.items()]
    if study.controls:
        other = [name for _, name in study.role("ceiling")
                 if name not in (study.choice.run, UNREGULARISED)]
        groups += [("none", "not chosen", other), ("none", "untuned", study.controls)]
    return [((key, model), ["" if i else name, label(study, model)])
            for key, name, models in groups for i, model in enumerate(models)]


def label(study, model):
    return f"{model} (from scratch)" if study.from_scratch(model) else model


def models(study):
    """"weak pythia-14m (14.1M parameters), strong pythia-410m (405M parameters)", with "from
    scratch" where that is so."""
    shown = []
    for size, model in (("weak", "weak"), ("strong", "ceiling")):
        config = next(iter(study.configs(model)), {})
        path = config.get("model_name") or config.get("args", {}).get("model") or "model unknown"
        n = config.get("parameters")
        count = f" ({n / 1e6:.3g}M parameters)" if isinstance(n, (int, float)) else ""
        fresh = " from scratch" * study.from_scratch(model)
        shown.append(f"{size} {render.plain(Path(str(path)).name)}{fresh}{count}")
    return ", ".join(shown)
