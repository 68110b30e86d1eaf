"""What the paper claims about a property, and the verdict of the runs on each claim.

A claim is a sentence about differences between models (Study.steps); their bootstrap intervals
decide. w2s.study has the numbers, w2s.report the tables.
"""

import itertools
from dataclasses import dataclass

from w2s import statistics
from w2s.study import CEILINGS, STATES, STRATEGIES

VERDICTS = ("seen", "not clear", "not seen", "reversed", "not measured")
ASKED = "(our question)"  # in place of a figure: the paper does not say
SMALL = .02  # what a small cost in task performance is: 2 points (ours)


@dataclass
class Claim:
    """What the paper says about a property, and what was found here."""

    text: str
    paper: str  # its figure, or where it says so; "" where it gives neither
    ours: str
    verdict: str
    step: dict = None  # the difference that decided, one of Study.steps


def judge(steps, claimed=True, margin=0):
    """(verdict, the step that decides) on "every difference is above -margin"; claimed=False: on
    the opposite. The weakest step decides; no steps: not measured."""
    if not steps:
        return VERDICTS[-1], None
    weakest = min(steps, key=lambda step: step["interval"][0])
    if weakest["interval"][0] > -margin:
        place = 0
    elif all(step["difference"] > -margin for step in steps):
        place = 1
    else:
        place = 3 if any(step["interval"][1] < -margin for step in steps) else 2
    return VERDICTS[place if claimed else 3 - place], weakest


def claims(study):
    """[Claim] of the paper about a property, from the words that its module brings."""
    tuning = control_claims if hasattr(study.module, "CONTROLS") else regulariser_claims
    found = [*trend_claims(study), *tuning(study), *loss_claims(study)]
    return [Claim(text, paper, ours or arrow(steps), *judge(steps, **how))
            for text, paper, steps, ours, how in found]


def trend_claims(study):
    """Yield (text, paper, steps, ours, how to judge): Table 1, and the task from weak to strong."""
    module = study.module
    for (key, name), said in zip(STRATEGIES.items(), module.PAPER):
        if said not in STATES:
            continue
        ladders = [study.ladder(key, student, module.TRUST) for student in study.students]
        ours = ", ".join(f"{ladder[0]['student'].removeprefix('student-')} {ladder[0]['trend']}"
                         for ladder in ladders if ladder)
        yield (f"{name}: {module.TRUST} shows {'a' if said == 'yes' else 'no'} weak-to-strong "
               "trend", f"Table 1: {said}", sum(ladders, []) if all(ladders) else [], ours,
               {"claimed": said == "yes"})
    for student in study.students if module.SIGN > 0 else ():
        gap = study.gap_recovered("none", student)
        yield (f"{STRATEGIES['none']}: {module.TASK} rises from weak to {student} to ceiling", "",
               study.ladder("none", student, module.TASK), gap and f"PGR {recovered(gap)}", {})


def regulariser_claims(study):
    """Yield the same of TFT: trust gained by weak, students and ceiling; where trust is a gap that
    the students close (SIGN < 0), by weak and students, with its price. Both TFT strategies have
    the same weak model: one claim."""
    module, (none, weak, both) = study.module, STRATEGIES
    verb, said = "raise" if module.SIGN > 0 else "lower", getattr(module, "PAPER_TEXT", "")
    steps = study.steps([(none, "weak"), (weak, "weak")], module.TRUST)
    yield (f"{STRATEGIES[weak]} and {STRATEGIES[both]} {verb} the {module.TRUST} of weak",
           said and f"{said} %", steps, arrow(steps, percent=True) if said else relative(steps), {})
    for model in study.models[1:] if module.SIGN > 0 else study.students:
        parts = [(none, model), (both, model)]
        same = study.name(*parts[0]) == study.name(*parts[1])  # the ceiling has no regulariser
        steps = [] if same else study.steps(parts, module.TRUST)
        yield (f"{STRATEGIES[both]} {verb}s the {module.TRUST} of {model}", "", steps,
               "the same run" if same and study.of(*parts[0]) else relative(steps), {})
        if module.SIGN < 0:
            yield (f"... which costs {model} less than {100 * SMALL:g} points of {module.TASK}",
                   "small", study.steps(parts, module.TASK), "", {"margin": SMALL})


def control_claims(study):
    """Yield the same of TFT where trust is what a model keeps of its rows, beside untuned models
    (CONTROLS): trust of weak and student, in the paper's figures, and of the ceiling. Questions of
    ours are the price, the measures beside trust (DRAWN), whether fine-tuning had left anything to
    lower, more than in rows not trained on, and whether size matters."""
    module, (none, weak, both) = study.module, STRATEGIES
    trust = module.TRUST
    for text, model, without, under, control in (
            (f"{STRATEGIES[weak]} and {STRATEGIES[both]} lower", "weak", (none, "weak"),
             (weak, "weak"), "base-weak"),
            *((f"{STRATEGIES[both]} lowers", student, (none, student), (both, student),
               "base-strong") for student in study.students),
            ("TFT lowers", "ceiling", *((none, name) for name in CEILINGS), "base-strong")):
        split = study.trained_on(*without)  # the same rows, of whichever model
        untuned = study.summary(none, control, f"{trust}_{split}")
        steps = study.steps([without, under], trust)
        beside = f", untuned {100 * untuned['mean']:.1f} %" if steps and untuned else ""
        yield (f"{text} the {trust} of {model}", f"{module.PAPER_TEXT} %" if model == "weak" else
               ASKED * (model == "ceiling"), steps, arrow(steps, percent=True) + beside, {})
        for (one, other), said in zip(itertools.pairwise(STRATEGIES), module.PAPER_STUDENT):
            if model in study.students:
                steps = study.steps([(one, model), (other, model)], trust)
                yield (f"{STRATEGIES[other]} lowers the {trust} of {model}, compared with "
                       f"{STRATEGIES[one]}", f"{said} %", steps, arrow(steps, percent=True), {})
        for metric, verb in ((module.PRICE, "raises"), *((name, "lowers") for name in study.drawn)):
            steps = study.steps([without, under], metric)
            yield (f"... and {verb} the {metric} of {model}", ASKED, steps, relative(steps),
                   {"claimed": verb == "lowers"})
        steps = study.steps([(none, control), without], f"{trust}_excess_{split}")
        yield (f"{STRATEGIES[none]}: fine-tuning raises {trust} of what {model} trains on above "
               f"that of other rows (before: {control})", ASKED, steps, "", {"claimed": False})
    sizes = (none, "weak"), (none, "ceiling")
    same = len({study.trained_on(*part) for part in sizes}) == 1  # not with --ceiling-data wts
    yield (f"{STRATEGIES[none]}: {trust} rises with size, from weak to ceiling", ASKED,
           study.steps(sizes, trust) if same else [], "" if same else "not the same rows",
           {"claimed": False})


def loss_claims(study):
    """Yield the same of the confidence loss: aux against naive, in trust and in the task."""
    module, better = study.module, "higher" if study.module.SIGN > 0 else "lower"
    for key, name in STRATEGIES.items() if len(study.students) > 1 else ():
        parts = [(key, student) for student in study.students]
        yield (f"{name}: {module.TRUST} is {better} with the confidence loss than naive", "Fig. 2",
               study.steps(parts, module.TRUST), "", {})
        yield (f"{name}: {module.TASK} is higher with the confidence loss than naive",
               "Burns et al.", study.steps(parts, module.TASK), "", {})


def inequalities(studies):
    """weak < student and student < ceiling in tr, for each strategy and student with all its runs:
    Study.ladder with the task, and Holm's p over the whole list."""
    result = [{"task": study.task, **step}
              for study in studies
              for strategy, student in itertools.product(STRATEGIES, study.students)
              for step in study.ladder(strategy, student, study.module.TRUST)]
    adjusted = statistics.holm([step["p"] for step in result]) if result else []
    return [{**step, "holm": p} for step, p in zip(result, adjusted)]


def arrow(steps, percent=False):
    """"0.712 → 0.781", the means of the first step; "" without one."""
    scale, digits, unit = (100, 1, " %") if percent else (1, 3, "")
    return " → ".join(f"{scale * mean:.{digits}f}" for mean in steps[0]["means"]) + unit \
        if steps else ""


def relative(steps):
    """"0.250 → 0.200 (-20 %)"."""
    if not steps or not steps[0]["means"][0]:
        return arrow(steps)
    before, after = steps[0]["means"]
    return f"{arrow(steps)} ({round(100 * (after / before - 1)):+d} %)"


def recovered(gap):
    """"0.61", with ! where it says little; "-" without a gap."""
    return f"{gap[0]:.2f}{'!' * gap[1]}" if gap else "-"
