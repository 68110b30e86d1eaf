"""One property: its ceiling, its trade-off, its measures in tables.
"""

import itertools
import math

import numpy as np

from w2s import statistics
from w2s.report import frontier, privacy_statement
from w2s.report.claims import recovered
from w2s.report.opening import label, lines
from w2s.report.render import (GONE, Bullets, Heading, Table, Text, format_interval, format_p,
                                signed, spread)
from w2s.report.results import ROLES, STRATEGIES

UNDER_ATTACK = {"acc_text": "accuracy before the attack",  # what is shown beside the trust metric
                "asr_own": "share of the right answers that the attack turned",
                "queries": "texts tried for each right answer"}


# ---- one property --------------------------------------------------------------------------------

def chapter(study, steps, pictures):
    """Everything about one property."""
    picture, module = pictures.get(study.task), study.module
    steps = [step for step in steps if step["task"] == study.task]
    configs = {}
    for (name, _), run in study.runs.items():
        configs.setdefault(name, []).append(run.config)
    return [Heading(module.TITLE), Text(module.NOTE), Text(ceiling(study.choice)),
            *privacy_statement.blocks(configs), *([picture] if picture else []),
            *headline_table(study),
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
                f" {format_interval((low[k], high[k]))}" if low is not None else ""))
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
    attacks, shown = study.attacks(), (module.TASK, module.TRUST, *module.ALSO)
    own = [name for name in attacks if name == f"{module.TRUST}_own"]
    for (strategy, model), first in lines(study):
        found = [study.summary(strategy, model, name) for name in shown]
        cells = [text for f in found for text in (spread(f),
                                                  format_interval(f["interval"]) if f else GONE)]
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
    for name, where in module.BESIDE.items():
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
                   format_interval(s["interval"], signed), format_p(s, "p"), format_p(s, "holm")]
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
    hidden = {module.TASK, module.TRUST, "n", *module.ALSO}
    hidden |= attacks.keys() - UNDER_ATTACK.keys()
    hidden |= {metric for _, metric in module.BESIDE.values()}
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
