"""What was run, the paper's claims with a verdict, tables and figures, from finished runs.

    python -m w2s.report --runs runs/miniature

writes results.csv (every number), report.md and report.html (what they say) and figures/ into
that folder. Reads <task>/seed<k>/<run>/ with predictions/, eval.json and attack-*.json in it; what
is not there yet is listed.
"""

import io
import itertools
import os
import platform
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from w2s import figures, page, rows, statistics
from w2s.config import REQUIRED, arg, launch
from w2s.page import Bullets, Heading, Picture, Table, Text
from w2s.study import (CEILINGS, MODELS, STRATEGIES, STUDENTS, VERDICTS, Study, claims,
                       inequalities, prepared, properties, recovered, state, tasks_in, write_csv)


@dataclass
class Config:
    runs: str = arg(REQUIRED, "folder of the runs, for example runs/miniature")
    data: str = arg(None, "folder with <task>/manifest.json (default: data inside --runs)")
    select: str = arg("val", "rows on which the regularised strategies' ceiling is chosen; test is "
                      "the paper's reading (README, deviation 9)", choices=("val", "test"))
    figures: str = arg("yes", "draw figures/<task>.png and .svg (needs matplotlib)",
                       choices=("yes", "no"))
    note: str = arg("", "a sentence to stand at the head of the report")
    command: str = arg("", "the command that made the runs, to stand in the report")
    seconds: float = arg(None, "how long that command took, to stand in the report", low=0)
    draws: int = arg(10000, "bootstrap draws behind every interval", low=100)
    seed: int = arg(0, "of the bootstrap", low=0)


GONE = "-"


def main(config):
    folder = Path(config.runs)
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder of runs (--runs)", str(folder))
    studies = [Study.read(folder / task, config.select, config.draws, config.seed)
               for task in tasks_in(folder)]
    if not any(study.runs for study in studies):
        raise ValueError(f"{folder}: no finished run in <task>/seed<k>/<run>/")
    steps = inequalities(studies)
    write_csv(folder / "results.csv", studies)
    pictures, excuse = draw(folder, studies, steps, config.figures == "yes")
    verdicts = {study.task: claims(study) for study in studies if study.runs}
    title = f"Weak-to-strong trustworthiness: {folder.resolve().name}"
    short = [glance(studies, steps), legend(studies), tally(verdicts)]
    gaps = warnings(studies)
    chapters = [chapter(study, steps, pictures.get(study.task)) for study in studies]
    blocks = [Heading(title, 1), *opening(config, studies), *gaps, *short,
              *trends(studies, steps), *scorecard(studies, verdicts), *excuse,
              *itertools.chain(*chapters), *method(config, studies, steps)]
    for name, text in (("report.md", page.markdown(blocks)),
                       ("report.html", page.html(title, blocks))):
        with rows.atomic(folder / name) as file:
            file.write(text)
    files = ("report.html", "report.md", "results.csv")
    shown = [*short, *(gap for gap in gaps if isinstance(gap, Text)),
             Text("\n".join(f"{'' if k else 'Report:':<8}{folder / file}"
                            for k, file in enumerate(files)))]
    colour = sys.stdout.isatty() or bool(os.environ.get("CLICOLOR_FORCE"))
    print("\n" + page.terminal(shown, colour and not os.environ.get("NO_COLOR")), end="")


# ---- what was run --------------------------------------------------------------------------------

def opening(config, studies):
    """What was run, on which data, for how long, on what, with which code."""
    data, about, sizes = Path(config.data or Path(config.runs) / "data"), {}, []
    for study in studies:
        counts, files = prepared(data / study.task)
        shown = ", ".join(f"{split} {n}" for split, n in counts.items()) or "no manifest found"
        sizes.append((f"{study.module.TITLE}, rows", shown + f" (of {', '.join(files)})" *
                      bool(files)))
        seeds = ", ".join(map(str, study.seeds))
        about.setdefault(f"{models(study)}; seed{'s' * (len(study.seeds) > 1)} {seeds}", []).append(
            study.module.TITLE)
    ran = [run for study in studies for run in study.runs.values()]
    lines = [f"**{' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}: {said}; "
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
             ("Command", config.command and f"`{config.command}`")]
    return [*([Text(config.note)] if config.note else []), *map(Text, lines),
            Bullets([f"{name}: {said}" for name, said in facts if said]),
            Text("A weak model is fine-tuned on ground truth (weak) and labels a second split; a "
                 "strong model is fine-tuned on those labels, without (student-naive) and with "
                 "(student-aux) the confidence loss. The ceiling is the strong model fine-tuned on "
                 "the weak model's own ground truth. Three strategies: no regulariser (No TFT), on "
                 "the weak model (Weak TFT), on weak model and student (Weak+WTS TFT).")]


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
    """What a reader must know first: models from scratch, files that disagree, runs that miss."""
    fresh = [f"{study.module.TITLE} ({', '.join(names)})" for study in studies
             if (names := [model for model in MODELS if study.from_scratch(model)])]
    doubts = [f"{run}: eval.json says {metric} {said:.6f}, its predictions give {counted:.6f}, "
              "which stands here; run evaluate.py again"
              for study in studies for run, metric, said, counted in study.doubts()]
    missing = [f"{study.task}/{name}: {why} (seed {', '.join(map(str, seeds))})"
               for study in studies for (name, why), seeds in study.missing.items()]
    blocks = [Text(f"**Trained from scratch, nothing pretrained**: {'; '.join(fresh)}.")] \
        if fresh else []
    runs = sum(len(seeds) for study in studies for seeds in study.missing.values())
    for head, found in (
            (f"**Doubtful.** {len(doubts)} of the numbers in eval.json cannot be had from the "
             "predictions; report.md lists them.", doubts),
            (f"**Not finished.** {runs} run{'s are' if runs > 1 else ' is'} missing, and so are "
             "their numbers; report.md lists them.", missing)):
        blocks += [Text(head), Bullets(found)] if found else []
    return blocks


# ---- verdicts ------------------------------------------------------------------------------------

def glance(studies, steps):
    """The headline means of every property, in 100 columns; the terminal shows this table."""
    body = []
    for study in studies:
        module = study.module
        for metric, (key, name) in itertools.product((module.TASK, module.TRUST),
                                                     STRATEGIES.items()):
            found = [study.summary(key, model, metric) for model in MODELS]
            gaps = [study.gap_recovered(key, student) for student in STUDENTS]
            pgr = " ".join(f"{gap[0]:.2f}" if gap else GONE for gap in gaps)
            last = ([pgr, "", ""] if metric == module.TASK else
                    ["", state(steps, study.task, key) or GONE,
                     dict(zip(STRATEGIES, module.PAPER))[key]])
            body.append([f"{study.task} {metric}" if key == "none" else "", name,
                         *(f"{f['mean']:.3f}" if f else GONE for f in found), *last])
    head = ["property", "strategy", *(model.removeprefix("student-") for model in MODELS),
            "PGR naive aux", "trend", "paper"]
    return Table("Results at a glance: means over seeds", head, body)


def legend(studies):
    """What the columns of `glance` mean."""
    less = sorted({study.module.TRUST for study in studies if study.module.SIGN < 0})
    return Text("trend: weak < student < ceiling in trust, for both students; yes, ordered (an "
                "interval includes 0) or no." + f" Smaller is better: {', '.join(less)}." *
                bool(less))


def tally(verdicts):
    """How many claims got which verdict."""
    count = Counter(claim.verdict for found in verdicts.values() for claim in found)
    said = ", ".join(f"{count[word]} {word}" for word in VERDICTS if count[word])
    return Text(f"{sum(count.values())} claims, judged at this scale: {said}.")


def trends(studies, steps):
    """Table 1 of the paper beside ours."""
    body, ran = [], {study.task for study in studies}
    for task, module in properties().items():
        ours = [["", f"ours, {student or 'both'}",
                 *(state(steps, task, strategy, student) or "not run" for strategy in STRATEGIES)]
                for student in (*STUDENTS, None)]
        body += [[module.TITLE, "paper", *module.PAPER],
                 *(ours if task in ran else [["", "ours", *("not run",) * 3]])]
    return [Heading("Does the property go from weak to strong?"),
            Table("Table 1 of the paper, and ours", ["property", "whose", *STRATEGIES.values()],
                  body),
            Text("yes: weak < student < ceiling in trust, and the 95 % intervals of both "
                 "differences exclude 0. ordered: in that order, but an interval includes 0. no: "
                 "another order. both: the weaker of the two students. not run: a run is missing. "
                 "The paper has two states and does not say how they were decided.")]


def scorecard(studies, verdicts):
    """Each claim of the paper with its verdict, a table a property."""
    tables = [Table(f"{study.module.TITLE}: claims of the paper",
                    ["claim", "verdict", "paper", "ours", "difference", "95 % interval", "p"],
                    [claim_row(claim) for claim in verdicts[study.task]])
              for study in studies if study.task in verdicts]
    return [Heading("What the paper says, and what is seen at this scale"), *tables,
            Text("**seen**: as claimed, and the 95 % interval of the difference excludes 0. **not "
                 "clear**: as claimed, but the interval includes 0. **not seen**: not as claimed, "
                 "and the interval includes 0. **reversed**: the opposite, and the interval "
                 "excludes 0. **not measured**: a run is missing, or both are the same run."),
            Text("A trend needs all of its differences: the weakest stands here, of both students "
                 "in Table 1. The opposite of a trend is clear when one difference clearly has the "
                 "wrong sign. For a cost of less than 2 points (ours; the paper says small) the "
                 "interval is compared with -0.02 instead of 0. p: exact sign-flip test over "
                 "seeds, which few seeds keep large. Neither p nor intervals are corrected for the "
                 "number of claims. TFT is compared with No TFT. A claim without an entry under "
                 "paper has no figure there; Burns et al. (2023) proposed the confidence loss.")]


def claim_row(claim):
    """The cells of a claim; the difference in the metric's own direction."""
    if claim.step is None:
        return [claim.text, claim.verdict, claim.paper, claim.ours, "", "", ""]
    step, sign = claim.step, claim.step["sign"]
    return [claim.text, claim.verdict, claim.paper, claim.ours,
            f"{sign * step['difference'] + 0.:+.3f}",  # + 0.: no -0.000
            span(sorted(sign * end + 0. for end in step["interval"]), "+.3f"), f"{step['p']:.3f}"]


# ---- one property --------------------------------------------------------------------------------

def chapter(study, steps, picture):
    """Everything about one property."""
    module, steps = study.module, [step for step in steps if step["task"] == study.task]
    return [Heading(module.TITLE), Text(module.NOTE), Text(ceiling(study.choice)),
            *([picture] if picture else []), *headline_table(study), *trend_table(study, steps),
            *measures(study), *slices(study)]


def ceiling(choice):
    """What stands as the ceiling of the regularised strategies, and why."""
    if not choice.scores:
        return ("**The ceiling of Weak TFT and Weak+WTS TFT could not be chosen**: no seed has "
                f"both {' and '.join(CEILINGS)} with predictions on {choice.select} rows. "
                f"{choice.run} stands in.")
    rule = ("(task + trust) / 2" if choice.measured else
            "task performance alone (these rows cannot measure trust)")
    shown = ", ".join(f"{name} {value:.4f}" for name, value in choice.scores.items())
    return (f"Ceiling of Weak TFT and Weak+WTS TFT: **{choice.run}**, chosen by {rule} on "
            f"{choice.select} rows: {shown} (mean of {choice.seeds} seeds; README, deviation 9).")


def headline_table(study):
    """Strategy x model: both headline metrics with sd and interval, the attack on the model itself
    where it was run, PGR; then a constant guess."""
    module, body = study.module, []
    attacks = study.attacks()
    own = [name for name in attacks if name == f"{module.TRUST}_own"]
    for strategy, model in itertools.product(STRATEGIES, MODELS):
        found = [study.summary(strategy, model, name) for name in (module.TASK, module.TRUST)]
        gap = study.gap_recovered(strategy, model) if model in STUDENTS else None
        pgr = recovered(gap).removeprefix("PGR ") if gap else GONE * (model in STUDENTS)
        cells = [text for f in found for text in (spread(f), span(f["interval"]) if f else GONE)]
        cells += [spread(study.sliced(strategy, model, "all", name)) for name in own]
        body.append([STRATEGIES[strategy] if model == MODELS[0] else "", label(study, model),
                     str(len(study.of(strategy, model))), *cells, pgr])
    if study.majority:
        constant = [f"{study.majority[name]:.3f}".replace("nan", GONE)
                    for name in (module.TASK, module.TRUST)]
        body.append(["majority class", "", "", constant[0], "", constant[1], "",
                     *("" for _ in own), ""])
    head = ["strategy", "model", "seeds", f"{module.TASK}: mean ± sd", "95 % interval",
            f"{module.TRUST}: mean ± sd", "95 % interval",
            *(f"{name}: mean ± sd" for name in own), "PGR"]
    flagged = any("(!)" in row[-1] for row in body)
    note = ["(!): PGR says little, |ceiling - weak| is below 2 standard errors"] * flagged
    return [Table(f"{module.TITLE}: task performance and trust", head, body),
            Bullets([f"{module.TASK}: {module.METRICS.get(module.TASK, '')}",
                     f"{module.TRUST}: {module.METRICS.get(module.TRUST, '')}; "
                     f"{'larger' if module.SIGN > 0 else 'smaller'} is more trustworthy",
                     *(f"{name}: {module.TRUST} under an attack on the model itself "
                       f"({attacks[name]}), {attacked(study, attacks[name])}" for name in own),
                     f"PGR: (student - weak) / (ceiling - weak), of the mean {module.TASK}",
                     *note])]


def trend_table(study, steps):
    """The raw ordering of the three means, always, and the evidence for each inequality."""
    order, tests, metric = [], [], study.module.TRUST
    for strategy, student in itertools.product(STRATEGIES, STUDENTS):
        means = {model: found["mean"] for model in ("weak", student, "ceiling")
                 if (found := study.summary(strategy, model, metric))}
        ranked = [f"{label(study, model)} {means[model]:.3f}"
                  for model in sorted(means, key=lambda model: study.module.SIGN * means[model])]
        trend = state(steps, study.task, strategy, student) or "not run"
        order.append([STRATEGIES[strategy], student, trend, " → ".join(ranked)])
        tests += [[STRATEGIES[strategy], f"{s['lower']} < {s['upper']}", f"{s['difference']:+.4f}",
                   span(s["interval"], "+.4f"), f"{s['p']:.4f}", f"{s['holm']:.4f}"]
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
    shown = {module.TASK, module.TRUST, f"{module.TRUST}_own"} | counts(study)
    names = list(dict.fromkeys(m["metric"] for run in study.runs.values() for m in run.metrics
                               if m["slice"] == "all" and m["metric"] not in shown))
    if not names:
        return []
    body = [[STRATEGIES[strategy] if model == MODELS[0] else "", label(study, model),
             *(spread(study.sliced(strategy, model, "all", name)) for name in names)]
            for strategy, model in itertools.product(STRATEGIES, MODELS)]
    what = {name: module.METRICS.get(name) or
            (f"{attacks[name]}, {attacked(study, attacks[name])}" if name in attacks else "")
            for name in names}
    return [Table(f"{module.TITLE}: other measures on all rows (mean ± sd)",
                  ["strategy", "model", *names], body),
            Bullets([f"{name}: {said}" for name, said in what.items() if said])]


def counts(study):
    """Names of the metrics that are numbers of rows: whole numbers, not all of them 0 or 1."""
    values = {}
    for m in (m for run in study.runs.values() for m in run.metrics if m["value"] is not None):
        values.setdefault(m["metric"], set()).add(m["value"])
    return {name for name, found in values.items()
            if max(found) > 1 and all(value.is_integer() for value in found)}


def attacked(study, file):
    """"on 120 rows of each model", as the attack file says; "on the rows attacked" without `n`."""
    name = "n_" + file.removeprefix("attack-").removesuffix(".json")
    found = sorted({int(m["value"]) for run in study.runs.values() for m in run.metrics
                    if (m["slice"], m["metric"]) == ("all", name) and m["value"] is not None})
    return f"on {' to '.join(map(str, found[::max(1, len(found) - 1)]))} rows of each model" \
        if found else "on the rows attacked"


def slices(study):
    """A table for each metric that has slices: strategy x slice, one column a model."""
    entries = [m for run in study.runs.values() for m in run.metrics if m["slice"] != "all"]
    size = {m["slice"]: f"{m['value']:g}" for m in entries if m["metric"] == "n" and m["value"]}
    tables, skipped, attacks = [], counts(study), study.attacks()
    for metric in dict.fromkeys(m["metric"] for m in entries if m["metric"] not in skipped):
        parts = list(dict.fromkeys(m["slice"] for m in entries if m["metric"] == metric))
        body = [[STRATEGIES[strategy] if part == parts[0] else "", part,
                 *([] if metric in attacks else [size.get(part, "")]),
                 *(spread(study.sliced(strategy, model, part, metric)) for model in MODELS)]
                for strategy, part in itertools.product(STRATEGIES, parts)]
        head = ["strategy", "slice", *([] if metric in attacks else ["rows"]),
                *(label(study, model) for model in MODELS)]
        tables.append(Table(f"{study.module.TITLE}: {metric} by slice (mean ± sd)", head, body))
    return tables


def draw(folder, studies, steps, wanted=True):
    """({task: Picture}, blocks that say why there is none); writes figures/<task>.png and .svg."""
    if not wanted:
        return {}, [Text("Figures were not drawn: `--figures no`.")]
    found = {}
    for study in studies:
        path = f"figures/{study.task}"
        try:
            figure = figures.draw(*picture(study, steps))
        except ImportError:
            names = ", ".join(f"figures/{s.task}.png" for s in studies)
            return {}, [Text(f"Missing, because matplotlib is not installed: {names}. This "
                             "installs it: `pip install -r requirements-figures.txt`")]
        for kind in ("png", "svg"):
            drawn = io.BytesIO()
            figures.save(figure, drawn, kind)
            with rows.atomic(folder / f"{path}.{kind}", "wb") as file:
                file.write(drawn.getvalue())
        caption = (f"{study.module.TITLE}: {study.module.TRUST} and {study.module.TASK} of weak "
                   "model, students and ceiling under the three strategies")
        svg = figures.inline(drawn.getvalue().decode(), study.task)
        found[study.task] = Picture(caption, f"{path}.png", svg)
    return found, []


def picture(study, steps):
    """The arguments of figures.draw for a property: trust above, task performance below."""
    module, seeds = study.module, len(study.seeds)
    groups, panels = [], []
    for (key, name), paper in zip(STRATEGIES.items(), module.PAPER):
        naive, aux = (state(steps, study.task, key, student) or "not run" for student in STUDENTS)
        groups.append((name, f"trend: naive {naive}, aux {aux} (paper: {paper})"))
    for metric, sign in ((module.TRUST, module.SIGN), (module.TASK, 1)):
        values = {(g, b): (found["mean"], *found["interval"])
                  for g, strategy in enumerate(STRATEGIES) for b, model in enumerate(MODELS)
                  if (found := study.summary(strategy, model, metric))}
        guess = study.majority.get(metric) if metric == module.TASK else None
        panels.append({"name": f"{metric}: {module.METRICS.get(metric, metric)}", "values": values,
                       "better": "higher" if sign > 0 else "lower",
                       "line": None if guess is None else (guess, "majority\nclass")})
    subtitle = (f"{models(study)}; mean of {seeds} seed{'s' * (seeds > 1)}, lines are 95 % "
                "intervals (bootstrap over seeds and rows)")
    notes = ["trend: yes = weak < student < ceiling in trust, and the 95 % intervals of both "
             "differences exclude 0; ordered = in that order, but an interval includes 0; "
             "no = another order.",
             "The models share their test rows, so a difference can be clear where two lines "
             "overlap: its own interval is in report.md. "
             f"Ceiling of the two TFT strategies: {study.choice.run}."]
    bars = [model.replace("student-", "student\n") for model in MODELS]
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
        f"Intervals: percentile bootstrap, {config.draws} draws, hierarchical: seeds are "
        "drawn with replacement, then groups of test rows that belong together (rows without "
        "`group` stand alone). The models of a seed share each draw, so differences are "
        "paired. With few seeds the seeds' part of an interval is too narrow (3 seeds: by a "
        "factor of about .8).",
        f"Trend: in tr, the trust metric or minus it where smaller is better. {len(steps)} "
        "inequalities are tested in this report.",
        f"Ceiling of the regularised strategies: chosen on {config.select} rows{why}",
        "Every number, seed by seed, is in `results.csv`."])]


# ---- words ---------------------------------------------------------------------------------------

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
        shown.append(f"{size} {Path(str(path)).name}{' from scratch' * study.from_scratch(model)}"
                     f"{count}")
    return ", ".join(shown)


def spread(found):
    """"0.812 ± 0.004"; without ± for one seed."""
    return f"{found['mean']:.3f} ± {found['sd']:.3f}".removesuffix(" ± nan") if found else GONE


def span(ends, form=".3f"):
    """"[0.801, 0.823]"."""
    low, high = ends
    return f"[{low:{form}}, {high:{form}}]"


if __name__ == "__main__":
    launch(main, Config, __doc__)
