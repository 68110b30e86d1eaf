"""What the report is about: which runs, data, machine and code; warnings; how numbers were made.
"""

import math
import os
import platform
import re
from pathlib import Path

import torch

from w2s import memory, rows
from w2s.model import checkpoint
from w2s.report import render, trust_tables
from w2s.report.measurements import prepared
from w2s.report.render import Bullets, Details, Text, mean, seed_count
from w2s.report.results import STRATEGIES, UNREGULARISED
from w2s.report.words import joined


# ---- what was run --------------------------------------------------------------------------------

def heads(studies):
    """[Text] of which models, seeds and how many runs; tasks that share them have one sentence."""
    titles = {}
    for study in (study for study in studies if study.runs):
        seeds = ", ".join(map(str, study.seeds))
        titles.setdefault(f"{models(study)}; seed{'s' * (len(study.seeds) > 1)} {seeds}",
                          []).append(study.module.TITLE)
    runs = sum(len(study.runs) for study in studies)
    settings = ". ".join(f"{joined(names)}: {setting}" for setting, names in titles.items())
    return [Text(f"{settings}; {runs} finished runs{' in all' * (len(titles) > 1)}.")]


def facts(config, studies):
    """[Details] of the data, the time, the machine and the code: what only a doubter looks up."""
    data, sizes = data_folder(config), []
    for study in studies:
        counts, files, _ = prepared(data / study.task)
        splits = ", ".join(f"{split} {n}" for split, n in counts.items()) or "no manifest found"
        sizes.append((f"{study.module.TITLE}, rows", splits + f" (of {', '.join(files)})" *
                      bool(files) + split_of(data / study.task)))
    runs = [run for study in studies for run in study.runs.values()]
    known = [*sizes, ("Time", time_spent(config, runs)), ("Machine", machine()), *code(runs),
             ("Command", config.command and f"`{config.command}`"),
             ("Test files, sha256", "; ".join(f"{study.task} {' '.join(sums)}" for study in studies
                                              if (sums := digests(study))))]
    return [Details("What was run", [Bullets([f"{name}: {fact}" for name, fact in known if fact])])]


def data_folder(config):
    """The folder of the prepared data, DATA/<task>."""
    return Path(config.data or Path(config.runs) / "data")


def split_of(folder):
    """"; every seed its own split", or what an interval is conditional on."""
    if (folder / "seed0" / "manifest.json").exists():
        return "; every seed its own split"
    return "; one split for all seeds, so intervals say nothing of other splits" if (
        folder / "manifest.json").exists() else ""


def time_spent(config, runs):
    """Training time of the runs and time of the whole command, each where it is known. Runs side by
    side add up in the first and not in the second."""
    seconds = [run.seconds for run in runs if not math.isnan(run.seconds)]
    times = [f"{clock(sum(seconds))} in training steps, summed over {len(seconds)} runs"] \
        if seconds else []
    if config.seconds is not None:
        times.append(f"the whole command {clock(config.seconds)}")
    return "; ".join(times)


def code(runs):
    """[(name, fact)]: versions and commits of the code, all that occur: a folder of runs may have
    grown over several."""
    versions = {f"torch {v['torch']}, Python {v['python']}" for run in runs
                if {"torch", "python"} <= (v := run.config.get("versions") or {}).keys()}
    commits = sorted({run.config["commit"] for run in runs if run.config.get("commit")})
    changed = " (+: with changed files)" * any(commit.endswith("+") for commit in commits)
    # 9 digits name a commit; the + of a changed working tree stays
    short = [f"`{commit[:9]}{'+' * commit.endswith('+')}`" for commit in commits]
    return [("Software", "; ".join(sorted(versions))), ("Commit", ", ".join(short) + changed)]


def digests(study):
    """The first digits of the sha256 of each seed's test file, as evaluate.py noted them."""
    digest = {}
    for name, seed in study.runs:
        if seed not in digest:  # the runs of a seed have the same rows: Study.read requires it
            evaluated = rows.read_json(study.at(name, seed) / "eval.json")
            digest[seed] = str(evaluated.get("test", {}).get("data", ""))[:12]
    return [text for _, text in sorted(digest.items()) if text]


def premise(studies):
    """How the runs about properties are made, for a reader without the paper."""
    return [Text("A weak model learns from true labels and labels further rows; a strong model "
                 "learns from those labels: the student (student-naive; student-aux with the "
                 "confidence loss). The ceiling is the strong model on the weak model's true "
                 "labels. Trustworthiness fine-tuning (TFT) adds a penalty to a model's loss; WTS: "
                 "weak-to-strong.")] if studies else []


def machine():
    """"AMD EPYC 7B13, 2 cores; NVIDIA H200 (where ...)": of the machine that makes the report. The
    runs may be from another, which their files do not name."""
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


# ---- what to be warned of ------------------------------------------------------------------------

def warnings(studies):
    """[(what a reader must know first, in a line; the list behind it)]: models from scratch or no
    better than a constant guess, files that disagree, runs that miss."""
    scratch = [f"{study.module.TITLE} ({', '.join(names)})" for study in studies
               if (names := [model for model in study.models if study.from_scratch(model)])]
    guessing = [f"{study.module.TITLE}, {name}: {', '.join(names)}" for study in studies
                for key, name in STRATEGIES.items() if (names := guessers(study, key))]
    gapless = without_gap(studies)
    # eval.json may be older than the predictions; the numbers of the report are the predictions'
    doubts = [f"{run}: eval.json says {metric} {recorded:.6f}, its predictions give {counted:.6f}, "
              "which stands here; run evaluate.py again"
              for study in studies for run, metric, recorded, counted in study.doubts()]
    missing = [f"{study.task}/{name}: {why} (seed {', '.join(map(str, seeds))})"
               for study in studies for (name, why), seeds in study.missing.items()]
    lost = {study.module.TITLE: sum(map(len, study.missing.values())) for study in studies}
    each = ", ".join(f"{title} {n}" for title, n in lost.items() if n)
    return [(head, items) for head, items in (
        (f"**Trained from scratch, nothing pretrained**: {tasks_of(scratch, ' (')}.", scratch),
        (f"**Not finished.** Still missing: {sum(lost.values())} runs ({each}).", missing),
        ("**No better than a constant guess**: models of "
         f"{tasks_of(guessing, ', ')}; their trust says little.", guessing),
        ("**No capability gap**: the ceiling is not clearly above the weak model in "
         f"{tasks_of(gapless, ':')}; there is little to transfer.", gapless),
        (f"**Doubtful**: {len(doubts)} of the numbers in eval.json cannot be had from the "
         "predictions.", doubts)) if items]


def tasks_of(items, end):
    """The titles with which the items of a warning begin, each once."""
    return joined(list(dict.fromkeys(item.split(end)[0] for item in items)))


def behind(warned):
    """[Details] of the lists behind the `warnings`."""
    return [Details("What to be warned of", [
        block for head, items in warned for block in (Text(head), Bullets(items))])] \
        if warned else []


def without_gap(studies):
    """["title: accuracy of weak and ceiling"] of the tasks whose ceiling, under No TFT, is not 2
    standard errors above the weak model."""
    items = []
    for study in studies:
        # weak and ceiling are the same for every student, so the first one's gap tells
        gap = study.gap_recovered("none", study.students[0]) if study.students else None
        if gap and gap[1]:
            weak, ceiling = (study.summary("none", model, study.module.TASK)
                             for model in ("weak", "ceiling"))
            if weak and ceiling:
                items.append(f"{study.module.TITLE}: {study.module.TASK} of weak {mean(weak)}, "
                             f"ceiling {mean(ceiling)}")
    return items


def guessers(study, strategy):
    """The models whose interval of the task metric reaches down to the majority class."""
    metric = study.module.TASK
    summaries = {model: study.summary(strategy, model, metric) for model in study.models}
    # a task without classes has no majority: nothing is <= nan
    return [model for model, summary in summaries.items()
            if summary and summary["interval"][0] <= study.majority.get(metric, math.nan)]


# ---- how the numbers were made -------------------------------------------------------------------

def method(config, studies, steps):
    """How the numbers were made; steps: of claims.inequalities."""
    fewest = min(len(study.seeds) for study in studies)
    few = [f"**A property has {seed_count(fewest)} only**: at least 3 are needed to "
           "say anything about the spread over seeds."] if fewest < 3 else []
    why = " as the paper seems to do, which favours it." if config.select == "test" else "."
    return [Details("How these numbers were made", [Bullets([
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
          if (notes := prepared(data_folder(config) / study.task)[2])),
        "Every number, seed by seed, is in `results.csv`."])])]


# ---- words ---------------------------------------------------------------------------------------

def lines(study):
    """[((strategy, model), [first two cells])] of a table with a line for each model; the name of
    the strategy stands in its first line only."""
    groups = [(key, name, study.models) for key, name in STRATEGIES.items()]
    if study.controls:
        # beside untuned models all ceilings stand, also those that the rule did not choose
        others = [name for _, name in study.role("ceiling")
                  if name not in (study.choice.run, UNREGULARISED)]
        groups += [("none", "not chosen", others), ("none", "untuned", study.controls)]
    return [((key, model), ["" if i else name, label(study, model)])
            for key, name, models in groups for i, model in enumerate(models)]


def label(study, model):
    """A model's name; one that started from random weights says so in every table."""
    return f"{model} (from scratch)" if study.from_scratch(model) else model


def models(study):
    """"weak pythia-14m (14.1M parameters with LM head), strong ...", with "from scratch" where that
    is so; read from the runs of weak and ceiling."""
    names = []
    for size, model in (("weak", "weak"), ("strong", "ceiling")):
        config = next(iter(study.configs(model)), {})  # the first stands for all
        path = config.get("model_name") or config.get("args", {}).get("model") or "model unknown"
        whole, trained = published(study, model), config.get("parameters")
        count = f" ({memory.shown(whole)} parameters with LM head)" if whole else \
            f" ({memory.shown(trained)} parameters)" if isinstance(trained, (int, float)) else ""
        fresh = " from scratch" * study.from_scratch(model)
        names.append(f"{size} {render.plain(Path(str(path)).name)}{fresh}{count}")
    return ", ".join(names)


def published(study, model):
    """Parameters of the base of a model's first run, with its LM head, whatever head was trained in
    its place: one size for all tasks. None where the saved folder does not say."""
    name = study.name("none", model)
    folder = study.at(name, next(iter(study.of("none", model)), "")) / "model"
    try:
        c = checkpoint.configured(folder)
        kind = checkpoint.network(c)
        stored = checkpoint.headers(folder, kind)
    except (OSError, ValueError):
        return None
    body = sum(math.prod(shape) for key, (_, _, shape, _) in stored.items()
               if key not in ("score.weight", kind.HEAD))
    return body + (0 if c.get("tie_word_embeddings") else c["vocab_size"] * c["hidden_size"])
