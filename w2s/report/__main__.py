"""What was run, the paper's claims with a verdict, tables and figures, from finished runs.

    python -m w2s.report --runs runs/miniature

writes results.csv (every number), report.md and report.html (what they say) and figures/ into
that folder. Reads <task>/seed<k>/<run>/ with predictions/, eval.json and attack-*.json in it; what
is not there yet is listed.
"""

import io
import itertools
import math
import os
import platform
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from w2s.config import REQUIRED, arg, check_flags, launch


@dataclass
class Config:
    runs: str = arg(REQUIRED, "folder of the runs, for example runs/miniature")
    data: str = arg(None, "folder with <task>/manifest.json (default: data inside --runs)")
    select: str = arg("val", "rows on which the regularised strategies' ceiling is chosen; test is "
                      "the paper's reading (docs/deviations.md, E11)", choices=("val", "test"))
    figures: str = arg("yes", "draw figures/<task>.png and .svg (needs matplotlib)",
                       choices=("yes", "no"))
    note: str = arg("", "a sentence to stand at the head of the report")
    command: str = arg("", "the command that made the runs, to stand in the report")
    seconds: float = arg(None, "how long that command took, to stand in the report", low=0,
                         high=10**9)
    draws: int = arg(10000, "bootstrap draws behind every interval", low=100, high=10**6)
    seed: int = arg(0, "of the bootstrap", low=0)


if __name__ == "__main__":
    check_flags(Config, __doc__)  # before the imports, which take seconds

import numpy as np
import torch

from w2s import rows, statistics
from w2s.report import figures, frontier, guarantees, page, paper, trusted, trusted_report
from w2s.report.claims import OURS, VERDICTS, claims, inequalities, recovered
from w2s.report.page import (GONE, Bullets, Heading, Picture, Table, Text, chance, mean, signed,
                             span, spread)
from w2s.report.study import (ROLES, STRATEGIES, STUDENTS, UNREGULARISED, Study, csv_text, prepared,
                              properties, tasks_in)


TREND = ("yes = weak < student < ceiling in trust, and the 95 % intervals of both differences "
         "exclude 0; ordered = in that order, but an interval includes 0; no = another order.")
UNDER_ATTACK = {"acc_text": "accuracy before the attack",  # what is shown beside the trust metric
                "asr_own": "share of the right answers that the attack turned",
                "queries": "texts tried for each right answer"}


def main(config):
    folder = Path(config.runs)
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder of runs (--runs)", str(folder))
    studies = [Study.read(folder / task, config.select, config.draws, config.seed)
               for task in tasks_in(folder)]
    chosen = [trusted.Trusted.read(folder / task, config.draws, config.seed)
              for task in tasks_in(folder, trust=False)]
    crossings = [trusted.Crossing.read(study) for study in studies if study.crossed]
    every = [*studies, *chosen]
    if not any(study.runs for study in every):
        raise ValueError(f"{folder}: no finished run in <task>/seed<k>/<run>/")
    steps = inequalities(studies)
    pictures, files, excuse = draw(drawings(studies) | trusted_report.drawings(chosen, crossings),
                                   config.figures == "yes")
    verdicts = {study.task: claims(study) for study in studies if study.runs}
    verdicts |= {study.task: trusted.claims(study) for study in chosen if study.runs}
    for crossing in crossings:
        verdicts[crossing.study.task] += crossing.claims()
    title = f"Weak-to-strong trustworthiness: {folder.resolve().name}"
    short = [*([glance(studies), legend(studies)] if studies else []),
             *trusted_report.glance(chosen), tally(verdicts, every)]
    gaps = warnings(every)
    chapters = [chapter(study, steps, pictures) for study in studies]
    blocks = [Heading(title, 1), *opening(config, every), *premise(studies),
              *trusted_report.premise(chosen), *gaps, *short,
              *(trends(studies) if studies else []), *scorecard(every, verdicts), *excuse,
              *(trusted_report.overview(chosen) if chosen else []),
              *itertools.chain(*chapters),
              *itertools.chain(*(trusted_report.chapter(study, pictures) for study in chosen)),
              *trusted_report.crossing_table(crossings), *([pictures["crossing"]] if "crossing"
                                                           in pictures else []),
              *method(config, every, steps)]
    texts = {"report.html": page.html(title, blocks), "report.md": page.markdown(blocks),
             "results.csv": csv_text([*every, *crossings])}
    files = {name: text.encode() for name, text in texts.items()} | files
    rows.write_together({folder / name: content for name, content in files.items()})
    shown = [*short, *(gap for gap in gaps if isinstance(gap, Text)), Text("Report: " + "\n        "
             .join(str(folder / file) for file in texts))]
    colour = sys.stdout.isatty() or bool(os.environ.get("CLICOLOR_FORCE"))
    print("\n" + page.terminal(shown, colour and not os.environ.get("NO_COLOR")), end="")


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


# ---- verdicts ------------------------------------------------------------------------------------

def glance(studies):
    """The headline means of every property, in 100 columns; the terminal shows this table."""
    body, models = [], ("weak", *STUDENTS, "ceiling")
    for study in studies:
        module, said = study.module, dict(zip(STRATEGIES, paper.table_1(study.task)))
        metrics = module.TASK, module.TRUST, *getattr(module, "ALSO", ())
        for metric, key in itertools.product(metrics, STRATEGIES):
            means = [mean(study.summary(key, model, metric)) if model in study.models else ""
                     for model in models]
            last = ["", ""]
            if metric == module.TRUST:
                last = ["", f"{study.weakest_trend(key) or GONE} ({said[key]})"]
            if metric == module.TASK:
                gaps = [study.gap_recovered(key, student) for student in study.students]
                last = [" ".join(map(recovered, gaps)), ""]
            body.append([f"{study.task} {metric}" if key == "none" else "", STRATEGIES[key], *means,
                         *last])
    head = ["property", "strategy", *(model.removeprefix("student-") for model in models),
            "PGR naive aux", "trend (paper)"]
    return Table("Results at a glance: means over seeds", head, body)


def legend(studies):
    """What the columns of `glance` mean."""
    less = sorted({study.module.TRUST for study in studies if study.module.SIGN < 0})
    signs = (" dpd is signed, so means of it cancel; dpd_abs is not." if any(
        study.task == "fairness" for study in studies) else "")
    return Text("PGR: the share of the gap in task performance from weak to ceiling that a student "
                "closes (below 0: worse than weak; above 1: better than the ceiling); -: the gap "
                "is within 2 standard errors, so there is nothing to share. trend, of the weaker "
                f"student: {TREND} paper: its Table 1." + f" Smaller is better: {', '.join(less)}."
                * bool(less) + signs)


def tally(verdicts, studies):
    """How many claims got which verdict, and what verdicts rest on."""
    claims = [claim for found in verdicts.values() for claim in found]
    words = []
    for name, part in (("of the papers", [c for c in claims if c.place != OURS]),
                       ("of ours", [c for c in claims if c.place == OURS])):
        count = Counter(claim.verdict for claim in part)
        said = ", ".join(f"{count[word]} {word}" for word in VERDICTS if count[word])
        words += [f"{len(part)} claims {name}: {said}."] if part else []
    seeds = sorted({len(study.seeds) for study in studies})
    reach = "; ".join(f"{n} seed{'s' * (n > 1)}: {statistics.smallest_p(n):g}" for n in seeds)
    return Text(" ".join(words) + " Verdicts rest on 95 % intervals that are not corrected for "
                "their number; the smallest p that a sign-flip test over seeds can reach is, with "
                f"{reach}.")


def trends(studies):
    """Table 1 of the paper beside ours."""
    body, ran = [], {study.task: study for study in studies}
    for task, module in properties().items():
        if task not in ran and task not in paper.TABLE_1:
            continue
        body.append([module.TITLE, "paper", *paper.table_1(task)])
        found = {"ours": ["not run"] * len(STRATEGIES)}
        if task in ran:
            study = ran[task]
            found = {f"ours, {student}": [study.trend(key, student) for key in STRATEGIES]
                     for student in study.students}
            if len(study.students) > 1:
                found["ours, both"] = [study.weakest_trend(key) for key in STRATEGIES]
        body += [["", whose, *(word or "not run" for word in words)]
                 for whose, words in found.items()]
    return [Heading("Does the property go from weak to strong?"),
            Table("Table 1 of the paper, and ours", ["property", "whose", *STRATEGIES.values()],
                  body),
            Text(f"{TREND} both: the weaker of the two students. not run: a run is missing. The "
                 "paper has two states and does not say how they were decided.")]


def scorecard(studies, verdicts):
    """Each claim of the paper with its verdict, a table a property or task."""
    tables = [Table(f"{study.module.TITLE}: {what}",
                    ["claim", "verdict", "place", "number", "here", "difference", "95 % interval",
                     "p"], [claim_row(claim) for claim in found])
              for study in studies for what, found in (
                  ("claims of the paper", [c for c in verdicts.get(study.task, ())
                                           if c.place != OURS]),
                  ("questions of ours", [c for c in verdicts.get(study.task, ())
                                         if c.place == OURS])) if found]
    trend = ("place: section, table or figure of Sun et al. (arXiv 2501.00418); number: as printed "
             "there, nothing where the paper gives none; ours: no claim of the paper. A trend "
             "needs all of its differences: the weakest stands here, of both students in Table 1. "
             "That there is no trend is seen when ours is \"no\" for every student. For a cost of "
             "at most 1.5 points the interval is compared with -0.015 instead of 0.")
    return [Heading("What the paper says, and what is seen at this scale"), *tables,
            Text("**seen**: as claimed, and the 95 % interval of the difference excludes 0. **not "
                 "clear**: as claimed, but the interval includes 0. **not seen**: not as claimed, "
                 "and the interval includes 0. **reversed**: the opposite, and the interval "
                 "excludes 0. **not measured**: a run is missing, both are the same run, or the "
                 "claim does not apply."),
            *([Text(trend)] if any(study.choice for study in studies) else []),
            *trusted_report.judging(studies),
            Text("p: exact sign-flip test over seeds, which few seeds keep large and one seed does "
                 "not allow. Neither p nor intervals are corrected for the number of claims.")]


def claim_row(claim):
    """The cells of a claim; the difference in the metric's own direction."""
    first = [claim.text, claim.verdict, claim.place, claim.number, claim.ours]
    if claim.step is None:
        return [*first, "", "", ""]
    step, sign = claim.step, claim.step["sign"]
    return [*first, signed(sign * step["difference"]),
            span(sorted(sign * end for end in step["interval"]), signed), chance(step, "p")]


# ---- one property --------------------------------------------------------------------------------

def chapter(study, steps, pictures):
    """Everything about one property."""
    picture, module = pictures.get(study.task), study.module
    steps = [step for step in steps if step["task"] == study.task]
    configs = {}
    for (name, _), run in study.runs.items():
        configs.setdefault(name, []).append(run.config)
    return [Heading(module.TITLE), Text(module.NOTE), Text(ceiling(study.choice)),
            *guarantees.blocks(configs), *([picture] if picture else []), *headline_table(study),
            *beside(study), *trend_table(study, steps), *tradeoff_table(study),
            *frontier_table(study, pictures.get(f"{study.task}-frontier")), *measures(study),
            *slices(study)]


def ceiling(choice):
    """What stands as the ceiling of the regularised strategies, and why."""
    if not choice.scores:
        return ("**The ceiling of Weak TFT and Weak+WTS TFT could not be chosen**: no seed has two "
                f"ceilings with predictions on {choice.select} rows. {choice.run} stands in.")
    return (f"Ceiling of Weak TFT and Weak+WTS TFT: **{choice.run}**, {chosen_by(choice)} (section "
            "4, Baselines; deviations E11, E20).")


def chosen_by(choice):
    """The rule of a Choice and what it found."""
    rule = ("(task + trust) / 2" if choice.measured else
            "task performance alone (these rows cannot measure trust)")
    shown = ", ".join(f"{name} {value:.4f}" for name, value in choice.scores.items())
    return (f"chosen by {rule} on {choice.select} rows: {shown} (mean of {choice.seeds} "
            f"seed{'s' * (choice.seeds > 1)})")


def tradeoff_table(study):
    """Each lambda of weak model, student and ceiling: task, trust, and the rule's score (A.2)."""
    module, body, said = study.module, [], []
    for role, pairs in frontier.tradeoffs(study).items():
        choice = study.choices[role]
        for i, (lam, name) in enumerate(pairs):
            found = [study.summary("none", name, metric) for metric in (module.TASK, module.TRUST)]
            score = choice.scores.get(name)
            body.append([role if not i else "", f"{lam:g}", *map(spread, found),
                         GONE if score is None else f"{score:.4f}",
                         "best" if name == choice.run and choice.scores else "",
                         "yes" if name == ROLES[role][1] else ""])
        used = study.lam(ROLES[role][1])
        if choice.scores and role != "ceiling" and used is not None:
            said.append(f"{role}: the rule picks lambda {study.lam(choice.run):g}; its TFT runs "
                        f"have {used:g} (the recipe's)")
    if len(body) < 4:  # two ceilings stand in a line of their own
        return []
    return [Table(f"{module.TITLE}: trade-off over lambda (App. A.2)",
                  ["role", "lambda", module.TASK, module.TRUST, "rule", "picked", "in TFT runs"],
                  body),
            Bullets(["role: weak, the weak model; student, student-naive on the labels of the "
                     "regularised weak model; ceiling, the strong model on ground truth. The rule: "
                     f"the largest (task + trust) / 2, on {study.choices['ceiling'].select} rows; "
                     "task and trust here are on test rows",
                     *said])]


def has_gaps(study):
    """Whether the task measures signed parity gaps."""
    return any("dpd" in run.values for run in study.runs.values())


def frontier_table(study, picture):
    """Accuracy at matched parity gaps, with what the law of the town allows."""
    found = frontier.frontiers(study) if has_gaps(study) else {}
    if not found:
        return []
    body = []
    for role, (middle, low, high) in found.items():
        cells = []
        for level in frontier.SHOWN:
            k = int(np.argmin(abs(frontier.LEVELS - level)))
            cells.append(GONE if math.isnan(middle[k]) else f"{middle[k]:.3f}" + (
                f" {span((low[k], high[k]))}" if low is not None else ""))
        body.append([role, *cells])
    return [*([picture] if picture else []),
            Table(f"{study.module.TITLE}: accuracy at matched DPD",
                  ["role", *(f"DPD within {level:g}" for level in frontier.SHOWN)], body),
            Text("Each role's models of all lambdas, and mixtures of two of them; means over seeds "
                 "with 95 % t intervals on test rows. "
                 + ("Bayes: the most accurate decisions at that gap if the income law of the town "
                    "were known. " if "Bayes" in found else "")
                 + f"{GONE}: no mixture comes so close to parity.")]


def headline_table(study):
    """Strategy x model: both headline metrics with sd and interval, the attack on the model itself
    where it was run, PGR; then a constant guess."""
    module, body = study.module, []
    attacks, shown = study.attacks(), (module.TASK, module.TRUST, *getattr(module, "ALSO", ()))
    own = [name for name in attacks if name == f"{module.TRUST}_own"]
    for (strategy, model), first in lines(study):
        found = [study.summary(strategy, model, name) for name in shown]
        cells = [text for f in found for text in (spread(f), span(f["interval"]) if f else GONE)]
        cells += [spread(study.sliced(strategy, model, "all", name)) for name in own]
        student = model in study.students
        body.append([*first, str(len(study.of(strategy, model))), *cells,
                     recovered(study.gap_recovered(strategy, model)) if student else ""])
    if study.majority:
        constant = [text for name in shown for text in (
            f"{study.majority[name]:.3f}".replace("nan", GONE), "")]
        body.append(["majority class", "", "", *constant, *("" for _ in own), ""])
    head = ["strategy", "model", "seeds", *(text for name in shown for text in (
        f"{name}: mean ± sd", "95 % interval")), *(f"{name}: mean ± sd" for name in own), "PGR"]
    return [Table(f"{module.TITLE}: task performance and trust", head, body),
            Bullets([f"{module.TASK}: {module.METRICS.get(module.TASK, '')}",
                     f"{module.TRUST}: {module.METRICS.get(module.TRUST, '')}; "
                     f"{'larger' if module.SIGN > 0 else 'smaller'} is more trustworthy",
                     *(f"{name}: {module.METRICS.get(name, '')}" for name in shown[2:]),
                     *(f"{name}: {module.TRUST} under an attack on the model itself "
                       f"({attacks[name]}), {attacked(study, attacks[name])}" for name in own),
                     f"PGR: (student - weak) / (ceiling - weak), of the mean {module.TASK}; "
                     f"{GONE}: |ceiling - weak| is within 2 standard errors"])]


def beside(study):
    """What the task wants to stand beside its headlines (BESIDE), as far as it was measured."""
    module, cells = study.module, {}
    for name, where in getattr(module, "BESIDE", {}).items():
        found = [spread(study.sliced(*part, *where)) for part, _ in lines(study)]
        if {*found} != {GONE}:
            cells[name] = found
    body = [[*first, *values] for (_, first), *values in zip(lines(study), *cells.values())]
    what = [f"{name}: {module.METRICS[name]}" for name in cells if name in module.METRICS]
    return [Table(f"{module.TITLE}: beside them (mean ± sd)", ["strategy", "model", *cells], body),
            Bullets(what)] if cells else []


def trend_table(study, steps):
    """The raw ordering of the three means, always, and the evidence for each inequality."""
    order, tests, metric = [], [], study.module.TRUST
    for strategy, student in itertools.product(STRATEGIES, study.students):
        means = {model: found["mean"] for model in ("weak", student, "ceiling")
                 if (found := study.summary(strategy, model, metric))}
        ranked = [f"{label(study, model)} {means[model]:.3f}"
                  for model in sorted(means, key=lambda model: study.module.SIGN * means[model])]
        trend = study.trend(strategy, student) or "not run"
        order.append([STRATEGIES[strategy], student, trend, " → ".join(ranked)])
        tests += [[STRATEGIES[strategy], f"{s['lower']} < {s['upper']}", signed(s["difference"]),
                   span(s["interval"], signed), chance(s, "p"), chance(s, "holm")]
                  for s in steps if (s["strategy"], s["student"]) == (strategy, student)]
    reach = "; ".join(f"{statistics.smallest_p(n):g} with {n} seed{'s' * (n > 1)}"
                      for n in sorted({step["n"] for step in steps}))
    head = ["strategy", "student", "trend", f"{metric}, from least to most trustworthy"]
    second = ["strategy", "inequality in trust", "difference", "95 % interval", "p", "p (Holm)"]
    evidence = [Table(f"{study.module.TITLE}: evidence for the order", second, tests),
                Text("p: exact two-sided sign-flip test over seeds; Holm over all inequalities of "
                     f"this report. The smallest p that can be reached: {reach}.")]
    return [Table(f"{study.module.TITLE}: order in trust", head, order),
            *(evidence if tests else [Text("No strategy has all of its runs yet.")])]


def measures(study):
    """Every other metric on all rows, one column a metric."""
    module, attacks = study.module, study.attacks()
    hidden = {module.TASK, module.TRUST, "n", *getattr(module, "ALSO", ())}
    hidden |= attacks.keys() - UNDER_ATTACK.keys()
    hidden |= {metric for _, metric in getattr(module, "BESIDE", {}).values()}
    names = list(dict.fromkeys(metric for run in study.runs.values() for part, metric in run.metrics
                               if part == "all" and metric not in hidden))
    if not names:
        return []
    body = [[*first, *(spread(study.sliced(*part, "all", name)) for name in names)]
            for part, first in lines(study)]
    what = {name: f"{UNDER_ATTACK[name]} ({attacks[name]}, {attacked(study, attacks[name])})"
            if name in attacks else module.METRICS.get(name) for name in names}
    return [Table(f"{module.TITLE}: other measures on all rows (mean ± sd)",
                  ["strategy", "model", *names], body),
            Bullets([f"{name}: {said}" for name, said in what.items() if said])]


def attacked(study, file):
    """"on 120 rows of each model", as the attack file says; "on the rows attacked" without `n`."""
    name = "n_" + file.removeprefix("attack-").removesuffix(".json")
    found = sorted({int(n) for run in study.runs.values()
                    if (n := run.metrics.get(("all", name), math.nan)) == n})  # not nan
    return f"on {' to '.join(map(str, found[::max(1, len(found) - 1)]))} rows of each model" \
        if found else "on the rows attacked"


def slices(study):
    """A table for each metric that has slices: strategy x slice, one column a model. Of an attack
    only the trust metric: results.csv has the others."""
    found = {}  # {metric: {slice: a value}}
    for run in study.runs.values():
        for (part, metric), value in run.metrics.items():
            if part != "all":
                found.setdefault(metric, {})[part] = value
    size = {part: f"{n:g}" for part, n in found.pop("n", {}).items()}
    trust, attacks, tables = study.module.TRUST, study.attacks(), []
    columns = *study.models, *study.controls
    own = trust, f"{trust}_own"
    for metric in [name for name in found if name not in attacks or name in own]:
        counted = ["rows"] * (metric not in attacks)
        body = [["" if i else name, part, *(size.get(part, "") for _ in counted),
                 *(spread(study.sliced(key, model, part, metric)) for model in columns)]
                for key, name in STRATEGIES.items() for i, part in enumerate(found[metric])]
        head = ["strategy", "slice", *counted, *(label(study, model) for model in columns)]
        tables.append(Table(f"{study.module.TITLE}: {metric} by slice (mean ± sd)", head, body))
    return tables


def drawings(studies):
    """{name of the figure: (caption, function of w2s.report.figures, its arguments)}."""
    found = {study.task: (f"{study.module.TITLE}: {study.module.TRUST} and {study.module.TASK} of "
                          "weak model, students and ceiling under the three strategies",
                          figures.draw, picture(study)) for study in studies}
    for study in filter(has_gaps, studies):
        if curves := frontier.frontiers(study):
            found[f"{study.task}-frontier"] = (
                f"{study.module.TITLE}: accuracy at matched parity gaps", figures.lines,
                frontier_picture(study, curves))
    return found


def frontier_picture(study, found):
    """The arguments of figures.lines: accuracy by the largest |DPD| that is allowed."""
    curves = [{"name": role, "x": frontier.LEVELS, "mean": middle, "low": low, "high": high,
               "band": True} for role, (middle, low, high) in found.items()]
    return (f"{study.module.TITLE}: accuracy at matched DPD", "models of all lambdas and "
            f"mixtures of two; mean of {trusted_report.seeds(study)}, band: 95 % t interval", [
                "student: naive, on the labels of the regularised weak model. "
                + "Bayes: the best decisions if the income law of the town were known."
                * ("Bayes" in found)],
            "largest parity gap (DPD) that is allowed", "accuracy   (↑ higher is better)", curves)


def draw(drawings, wanted=True):
    """({name: Picture}, {path: content} of figures/<name>.png and .svg, blocks that say why there
    is none) of {name: (caption, function, its arguments)}."""
    if not wanted:
        return {}, {}, [Text("Figures were not drawn: `--figures no`.")]
    found, files = {}, {}
    for name, (caption, function, arguments) in drawings.items():
        path = f"figures/{name}"
        try:
            figure = function(*arguments)
        except ImportError:
            names = ", ".join(f"figures/{name}.png" for name in drawings)
            return {}, {}, [Text(f"Missing, because matplotlib is not installed: {names}. This "
                                 "installs it: `pip install -r requirements-figures.txt`")]
        for kind in ("png", "svg"):
            drawn = io.BytesIO()
            figures.save(figure, drawn, kind)
            files[f"{path}.{kind}"] = drawn.getvalue()
        svg = figures.inline(drawn.getvalue().decode(), name)
        found[name] = Picture(caption, f"{path}.png", svg)
    return found, files, []


def picture(study):
    """The arguments of figures.draw for a property: trust above, task performance below."""
    module, seeds = study.module, len(study.seeds)
    groups, panels = [], []
    for (key, name), said in zip(STRATEGIES.items(), paper.table_1(study.task)):
        found = ", ".join(f"{student.removeprefix('student-')} "
                          f"{study.trend(key, student) or 'not run'}" for student in study.students)
        groups.append((name, f"trend: {found} (paper: {said})"))
    more = getattr(module, "PANELS", {})
    for metric in (module.TRUST, module.TASK, *more):
        values = {(g, b): (found["mean"], *found["interval"])
                  for g, strategy in enumerate(STRATEGIES) for b, model in enumerate(study.models)
                  if (found := study.summary(strategy, model, metric))}
        across = [more[metric]] if metric in more else [
            (found["mean"], model) for model in study.controls
            if (found := study.summary("none", model, metric))]
        if metric == module.TASK and metric in study.majority:
            across.append((study.majority[metric], "majority\nclass"))
        what = module.METRICS.get(metric, metric)
        what = what if len(what) < 90 else re.split(r";| \(", what)[0]  # one line of the figure
        panels.append({"name": f"{metric}: {what}", "values": values,
                       "better": "higher" if study.sign(metric) > 0 else "lower",
                       "lines": across})
    subtitle = (f"{models(study)}; mean of {seeds} seed{'s' * (seeds > 1)}, lines are 95 % "
                "intervals (t over seeds, bootstrap of rows they share)")
    notes = [f"trend: {TREND}",
             "The models share their test rows, so a difference can be clear where two lines "
             "overlap: its own interval is in report.md. "
             f"Ceiling of the two TFT strategies: {study.choice.run}."]
    if study.controls:
        notes.append("Dashed: untuned models, in trust on the rows of weak and ceiling; on the "
                     "student's rows, and others, in report.md.")
    bars = [model.replace("student-", "student\n") for model in study.models]
    return study.module.TITLE, subtitle, notes, groups, bars, panels


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
        *trusted_report.method(studies, config.draws),
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
        shown.append(f"{size} {page.plain(Path(str(path)).name)}{fresh}{count}")
    return ", ".join(shown)


if __name__ == "__main__":
    launch(main, Config, __doc__)
