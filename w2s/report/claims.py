"""What the paper claims about a property, and the verdict of the runs on each claim.

A claim is a sentence about differences between models (Study.steps); their 95 % intervals decide.
paper has the paper's claims, study the numbers, __main__ the tables.
"""

from dataclasses import dataclass

from w2s import statistics
from w2s.report import paper
from w2s.report.results import STATES, STRATEGIES

VERDICTS = ("seen", "not clear", "not seen", "reversed", "not measured")
OURS = paper.OURS


@dataclass
class Claim:
    """What the paper says about a property, and what was found here."""

    text: str
    place: str  # where the paper says so, or OURS
    number: str  # its figure; "" where it gives none
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
    """[Claim] about a property: Table 1, the rest of the paper, and questions of ours."""
    said = [*trend_claims(study), *paper_claims(study)]
    own = control_claims if study.module.CONTROLS else gain_claims
    return said + [Claim(text, OURS, "", ours or arrow(steps), *judge(steps, **how))
                   for text, steps, ours, how in own(study)]


def trend_claims(study):
    """Yield a Claim for each cell of Table 1: does trust go from weak to strong? That it does is
    judged by the weaker of the students, that it does not by the stronger one: "no" agrees with the
    paper's no."""
    module = study.module
    for (key, name), said in zip(STRATEGIES.items(), paper.table_1(study.task)):
        if said not in STATES:
            continue
        ladders = {student: study.ladder(key, student, module.TRUST) for student in study.students}
        complete = all(ladders.values())
        states = [ladder[0]["trend"] for ladder in ladders.values() if ladder]
        ours = ", ".join(f"{student.removeprefix('student-')} {ladder[0]['trend']}"
                         for student, ladder in ladders.items() if ladder)
        verdict, step = judge(sum(ladders.values(), []) if complete else [])
        if complete and said == "no":
            verdict = VERDICTS[(0, 1, 3)[max(map(STATES.index, states))]]
        yield Claim(f"{name}: {module.TRUST} shows {'a' if said == 'yes' else 'no'} weak-to-strong "
                    "trend", "Table 1", said, ours, verdict, step)


def paper_claims(study):
    """Yield a Claim for each sentence of the paper about the task."""
    module = study.module
    known = {"trust": module.TRUST, "task": module.TASK}
    for said in paper.CLAIMS.get(study.task, ()):
        if any(model.startswith("student") and model not in study.students
               for _, model in said.parts):
            continue
        metric = known.get(said.metric, said.metric)
        same = len({study.name(*part) for part in said.parts}) < len(said.parts)
        steps = [] if same else study.steps(said.parts, metric)
        share = said.number.endswith("%") and metric == module.TRUST
        ours = arrow(steps, percent=True) if share else relative(steps)
        yield Claim(said.text.format(name=metric), said.place, said.number,
                    "the same run" if same else ours, *judge(steps, margin=said.margin))


def gain_claims(study):
    """Yield (text, steps, ours, how to judge), questions of ours where trust is an accuracy or a
    gap: what TFT does to the ceiling, and whether the confidence loss raises trust."""
    module, (none, weak, both) = study.module, STRATEGIES
    parts = [(none, "ceiling"), (both, "ceiling")]
    same = study.name(*parts[0]) == study.name(*parts[1])  # the ceiling has no regulariser
    steps = [] if same else study.steps(parts, module.TRUST)
    yield (f"TFT improves the {module.TRUST} of ceiling", steps,
           "the same run" if same and study.of(*parts[0]) else relative(steps), {})
    for key in (none, weak) if len(study.students) > 1 else ():
        steps = study.steps([(key, student) for student in study.students], module.TRUST)
        yield (f"{STRATEGIES[key]}: the {module.TRUST} of student-aux is better than that of "
               "student-naive", steps, "", {})


def control_claims(study):
    """Yield the same where trust is what a model keeps of its rows, beside untuned models
    (CONTROLS): the price of TFT, the measures beside trust (DRAWN), and whether fine-tuning had
    left anything to lower, more than in rows not trained on."""
    module, (none, weak, both) = study.module, STRATEGIES
    trust, ceiling = module.TRUST, study.choices["ceiling"].run
    for model, without, under, control in (
            ("weak", (none, "weak"), (weak, "weak"), "base-weak"),
            *((student, (none, student), (both, student), "base-strong")
              for student in study.students),
            ("ceiling", (none, "ceiling-none"), (none, ceiling), "base-strong")):
        split = study.trained_on(*without)  # the same rows, of whichever model
        different = study.name(*without) != study.name(*under)
        if model == "ceiling":
            steps = study.steps([without, under], trust) if different else []
            yield f"TFT lowers the {trust} of ceiling", steps, arrow(steps, percent=True), {}
        for metric, verb in ((module.PRICE, "raises"), *((name, "lowers") for name in study.drawn)):
            steps = study.steps([without, under], metric) if different else []
            yield (f"TFT {verb} the {metric} of {model}", steps, relative(steps),
                   {"claimed": verb == "lowers"})
        steps = study.steps([(none, control), without], f"{trust}_excess_{split}")
        yield (f"No TFT: fine-tuning raises {trust} of what {model} trains on above that of other "
               f"rows (before: {control})", steps, "", {"claimed": False})


def inequalities(studies):
    """weak < student and student < ceiling in tr, for each strategy and student with all its runs:
    Study.ladder with the task, and Holm's p over the whole list."""
    result = [{"task": study.task, **step}
              for study in studies for strategy in STRATEGIES for student in study.students
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
    """"0.61"; "-" without a gap that is clear of noise."""
    return f"{gap[0]:.2f}" if gap and not gap[1] else "-"
