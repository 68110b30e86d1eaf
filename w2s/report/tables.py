"""The chapter of one property: its ceiling, trade-offs, headlines, order in trust, slices.
"""

import itertools
import math

import numpy as np

from w2s import statistics
from w2s.report import frontier, privacy_statement
from w2s.report.ceiling import ROLES
from w2s.report.claims import recovered
from w2s.report.opening import label, lines
from w2s.report.render import (GONE, Bullets, Details, Table, Text, format_interval, format_p,
                               seed_count, signed, spread, spread_and_interval)
from w2s.report.results import STRATEGIES

# of an attack, the measures in the report beside the trust metric; results.csv has all
UNDER_ATTACK = {"acc_text": "accuracy before the attack",
                "asr_own": "share of the right answers that the attack turned",
                "queries": "texts tried for each right answer"}


def chapter(study, steps, pictures):
    """Everything about one property. steps: of claims.inequalities, of all properties; pictures:
    {name: Picture} of those that were drawn."""
    picture, module = pictures.get(study.task), study.module
    steps = [step for step in steps if step["task"] == study.task]
    configs = {}
    for (name, _), run in study.runs.items():
        configs.setdefault(name, []).append(run.config)
    return Details(module.TITLE, [
        Text(module.NOTE), Text(ceiling(study.choice)), *privacy_statement.blocks(configs),
        *([picture] if picture else []), *headline_table(study), *beside(study),
        *trend_table(study, steps), *tradeoff_table(study),
        *frontier_table(study, pictures.get(f"{study.task}-frontier")), *measures(study),
        *slices(study)])


def ceiling(choice):
    """What stands as the ceiling of the regularised strategies, and why."""
    if not choice.scores:
        return ("**The ceiling of Weak TFT and Weak+WTS TFT could not be chosen**: no seed has two "
                f"ceilings with predictions on {choice.select} rows. {choice.run} stands in.")
    return (f"Ceiling of Weak TFT and Weak+WTS TFT: **{choice.run}**, {chosen_by(choice)} (section "
            "4, Baselines; deviations E11, E20).")


def chosen_by(choice):
    """The rule of a Choice and the scores that it compared."""
    rule = ("(task + trust) / 2" if choice.measured else
            "task performance alone (these rows cannot measure trust)")
    scores = ", ".join(f"{name} {value:.4f}" for name, value in choice.scores.items())
    return (f"chosen by {rule} on {choice.select} rows: {scores} (mean of "
            f"{seed_count(choice.seeds)})")


def tradeoff_table(study):
    """Each lambda of weak model, student and ceiling: task, trust, and the rule's score (A.2)."""
    module, body, notes = study.module, [], []
    for role, pairs in frontier.tradeoffs(study).items():
        choice = study.choices[role]
        for i, (lam, name) in enumerate(pairs):
            # names of runs stand for themselves in any strategy, so "none" is no restriction
            summaries = [study.summary("none", name, metric)
                         for metric in (module.TASK, module.TRUST)]
            score = choice.scores.get(name)
            body.append([role if not i else "", f"{lam:g}", *map(spread, summaries),
                         GONE if score is None else f"{score:.4f}",
                         "best" if name == choice.run and choice.scores else "",
                         "yes" if name == ROLES[role][1] else ""])
        # the ceiling is what the rule picks; the others keep the recipe's lambda, whatever it says
        used = study.lam(ROLES[role][1])
        if choice.scores and role != "ceiling" and used is not None:
            notes.append(f"{role}: the rule picks lambda {study.lam(choice.run):g}; its TFT runs "
                         f"have {used:g} (the recipe's)")
    if len(body) < 4:  # two ceilings alone: the sentence of `ceiling` has their scores
        return []
    return [Table(f"{module.TITLE}: trade-off over lambda (App. A.2)",
                  ["role", "lambda", module.TASK, module.TRUST, "rule", "picked", "in TFT runs"],
                  body),
            Bullets(["role: weak, the weak model; student, student-naive on the labels of the "
                     "regularised weak model; ceiling, the strong model on ground truth. The rule: "
                     f"the largest (task + trust) / 2, on {study.choices['ceiling'].select} rows; "
                     "task and trust here are on test rows",
                     *notes])]


def has_gaps(study):
    """Whether the task measures signed parity gaps. A frontier needs the sign: two models of
    opposite gaps, used at random, are fairer than either."""
    return any("dpd" in run.values for run in study.runs.values())


def frontier_table(study, picture):
    """Accuracy at matched parity gaps, with what the law of the town allows. Two models of
    different gaps cannot be compared by accuracy alone, since a larger gap may buy accuracy."""
    curves = frontier.frontiers(study) if has_gaps(study) else {}
    if not curves:
        return []
    body = []
    for role, (middle, low, high) in curves.items():
        cells = []
        for level in frontier.SHOWN:
            k = int(np.argmin(abs(frontier.LEVELS - level)))  # nearest: floats
            cells.append(GONE if math.isnan(middle[k]) else f"{middle[k]:.3f}" + (
                f" {format_interval((low[k], high[k]))}" if low is not None else ""))
        body.append([role, *cells])
    return [*([picture] if picture else []),
            Table(f"{study.module.TITLE}: accuracy at matched DPD",
                  ["role", *(f"DPD within {level:g}" for level in frontier.SHOWN)], body),
            Text("Each role's models of all lambdas, and mixtures of two of them; means over seeds "
                 "with 95 % t intervals on test rows. "
                 + ("Bayes: the most accurate decisions at that gap if the income law of the town "
                    "were known. " if "Bayes" in curves else "")
                 + f"{GONE}: no mixture comes so close to parity.")]


def headline_table(study):
    """Strategy x model: both headline metrics with sd and interval, the attack on the model itself
    where it was run, PGR; then a constant guess."""
    module, body = study.module, []
    attacks, headlines = study.attacks(), (module.TASK, module.TRUST, *module.ALSO)
    # the trust metric under an attack on the model itself; without an interval, since attack-*.json
    # has a number and not its rows
    attacked_trust = [name for name in attacks if name == f"{module.TRUST}_own"]
    for (strategy, model), first in lines(study):
        summaries = [study.summary(strategy, model, name) for name in headlines]
        cells = [cell for summary in summaries for cell in spread_and_interval(summary)]
        cells += [spread(study.sliced(strategy, model, "all", name)) for name in attacked_trust]
        student = model in study.students
        body.append([*first, str(len(study.of(strategy, model))), *cells,
                     recovered(study.gap_recovered(strategy, model)) if student else ""])
    if study.majority:
        constant = [cell for name in headlines for cell in (
            f"{study.majority[name]:.3f}".replace("nan", GONE), "")]
        body.append(["majority class", "", "", *constant, *("" for _ in attacked_trust), ""])
    head = ["strategy", "model", "seeds",
            *(cell for name in headlines for cell in (f"{name}: mean ± sd", "95 % interval")),
            *(f"{name}: mean ± sd" for name in attacked_trust), "PGR"]
    return [Table(f"{module.TITLE}: task performance and trust", head, body),
            Bullets([f"{module.TASK}: {module.METRICS.get(module.TASK, '')}",
                     f"{module.TRUST}: {module.METRICS.get(module.TRUST, '')}; "
                     f"{'larger' if module.SIGN > 0 else 'smaller'} is more trustworthy",
                     *(f"{name}: {module.METRICS.get(name, '')}" for name in module.ALSO),
                     *(f"{name}: {module.TRUST} under an attack on the model itself "
                       f"({attacks[name]}), {attacked(study, attacks[name])}"
                       for name in attacked_trust),
                     f"PGR: (student - weak) / (ceiling - weak), of the mean {module.TASK}; "
                     f"{GONE}: ceiling - weak is below 2 standard errors"])]


def beside(study):
    """What the task wants to stand beside its headlines (BESIDE), as far as it was measured."""
    module, columns = study.module, {}
    for name, entry in module.BESIDE.items():
        cells = [spread(study.sliced(*part, *entry)) for part, _ in lines(study)]
        if {*cells} != {GONE}:
            columns[name] = cells
    body = [[*first, *cells] for (_, first), *cells in zip(lines(study), *columns.values())]
    meanings = [f"{name}: {module.METRICS[name]}" for name in columns if name in module.METRICS]
    return [Table(f"{module.TITLE}: beside them (mean ± sd)", ["strategy", "model", *columns],
                  body), Bullets(meanings)] if columns else []


def trend_table(study, steps):
    """The raw ordering of the three means, always, and the evidence for each inequality. A reader
    may doubt the three states of a trend; the order of the means is what they rest on."""
    order, tests, metric = [], [], study.module.TRUST
    for strategy, student in itertools.product(STRATEGIES, study.students):
        means = {model: summary["mean"] for model in ("weak", student, "ceiling")
                 if (summary := study.summary(strategy, model, metric))}
        ranked = [f"{label(study, model)} {means[model]:.3f}"
                  for model in sorted(means, key=lambda model: study.module.SIGN * means[model])]
        trend = study.trend(strategy, student) or "not run"
        order.append([STRATEGIES[strategy], student, trend, " → ".join(ranked)])
        tests += [[STRATEGIES[strategy], f"{s['lower']} < {s['upper']}", signed(s["difference"]),
                   format_interval(s["interval"], signed), format_p(s, "p"), format_p(s, "holm")]
                  for s in steps if (s["strategy"], s["student"]) == (strategy, student)]
    # seeds may be missing of some inequalities only, and each number of seeds has a least p
    reach = "; ".join(f"{statistics.smallest_p(n):g} with {seed_count(n)}"
                      for n in sorted({step["n"] for step in steps}))
    evidence = [Table(f"{study.module.TITLE}: evidence for the order",
                      ["strategy", "inequality in trust", "difference", "95 % interval", "p",
                       "p (Holm)"], tests),
                Text("p: exact two-sided sign-flip test over seeds; Holm over all inequalities of "
                     f"this report. The smallest p that can be reached: {reach}.")]
    return [Table(f"{study.module.TITLE}: order in trust",
                  ["strategy", "student", "trend", f"{metric}, from least to most trustworthy"],
                  order),
            *(evidence if tests else [Text("No strategy has all of its runs yet.")])]


def measures(study):
    """Every other metric on all rows, one column a metric."""
    module, attacks = study.module, study.attacks()
    hidden = {module.TASK, module.TRUST, "n", *module.ALSO}  # the headline table has them
    hidden |= attacks.keys() - UNDER_ATTACK.keys()
    hidden |= {metric for _, metric in module.BESIDE.values()}  # `beside` has them
    # dict: in the order of eval.json, the same in every report
    names = list(dict.fromkeys(metric for run in study.runs.values() for part, metric in run.metrics
                               if part == "all" and metric not in hidden))
    if not names:
        return []
    body = [[*first, *(spread(study.sliced(*part, "all", name)) for name in names)]
            for part, first in lines(study)]
    meanings = {name: f"{UNDER_ATTACK[name]} ({attacks[name]}, {attacked(study, attacks[name])})"
                if name in attacks else module.METRICS.get(name) for name in names}
    return [Table(f"{module.TITLE}: other measures on all rows (mean ± sd)",
                  ["strategy", "model", *names], body),
            Bullets([f"{name}: {meaning}" for name, meaning in meanings.items() if meaning])]


def attacked(study, file):
    """"on 120 rows of each model", as the attack file says; "on the rows attacked" without `n`."""
    name = "n_" + file.removeprefix("attack-").removesuffix(".json")
    counts = {run.metrics.get(("all", name), math.nan) for run in study.runs.values()}
    counts = sorted(int(n) for n in counts if not math.isnan(n))
    if not counts:
        return "on the rows attacked"
    ends = counts[::max(1, len(counts) - 1)]  # the least and the largest, or the only one
    return f"on {' to '.join(map(str, ends))} rows of each model"


def slices(study):
    """A table for each metric that has slices: strategy x slice, one column a model. Of an attack
    only the trust metric: results.csv has the others."""
    parts = {}  # {metric: {slice: a value}}
    for run in study.runs.values():
        for (part, metric), value in run.metrics.items():
            if part != "all":
                parts.setdefault(metric, {})[part] = value
    size = {part: f"{n:g}" for part, n in parts.pop("n", {}).items()}
    trust, attacks, tables = study.module.TRUST, study.attacks(), []
    columns = *study.models, *study.controls
    for metric in parts:
        if metric in attacks and metric not in (trust, f"{trust}_own"):
            continue
        # an attack has slices of its own, whose sizes eval.json does not have
        counted = ["rows"] * (metric not in attacks)
        body = [["" if i else name, part, *(size.get(part, "") for _ in counted),
                 *(spread(study.sliced(key, model, part, metric)) for model in columns)]
                for key, name in STRATEGIES.items() for i, part in enumerate(parts[metric])]
        head = ["strategy", "slice", *counted, *(label(study, model) for model in columns)]
        tables.append(Table(f"{study.module.TITLE}: {metric} by slice (mean ± sd)", head, body))
    return tables
