"""What the paper claims about a property, and the verdict of the runs on each claim.

A claim is a sentence about differences between models (Study.steps); their 95 % intervals decide.
paper has the paper's claims, results the numbers, verdicts the tables.
"""

from dataclasses import dataclass

from w2s import statistics
from w2s.report import paper
from w2s.report.results import STATES, STRATEGIES
from w2s.report.words import measure

# direction and interval as claimed; the direction alone; neither; the opposite; nothing to judge
VERDICTS = ("seen", "not clear", "not seen", "reversed", "not measured")
OURS = paper.OURS


@dataclass
class Claim:
    """What is claimed about a property, and what the runs say to it."""

    text: str
    place: str  # where the paper says so, or OURS
    number: str  # its figure; "" where it gives none
    ours: str  # our numbers, beside the paper's
    verdict: str  # of VERDICTS
    step: dict = None  # the difference that decided, one of Study.steps


def judge(steps, claimed=True, margin=0):
    """(verdict, the deciding step) on the claim "every difference is above -margin", or with
    claimed=False on its opposite. The weakest step decides; without steps: not measured."""
    if not steps:
        return VERDICTS[-1], None
    weakest = min(steps, key=lambda step: step["interval"][0])
    if weakest["interval"][0] > -margin:
        index = 0
    elif all(step["difference"] > -margin for step in steps):
        index = 1
    else:
        index = 3 if any(step["interval"][1] < -margin for step in steps) else 2
    # the first four verdicts are symmetric: what is seen of a claim is reversed of its opposite
    return VERDICTS[index if claimed else 3 - index], weakest


def claims(study):
    """[Claim] about a property: Table 1, the rest of the paper, and questions of ours."""
    questions = control_claims if study.module.CONTROLS else gain_claims
    return [*trend_claims(study), *paper_claims(study),
            *(Claim(text, OURS, "", ours or arrow(steps), *judge(steps, **how))
              for text, steps, ours, how in questions(study))]


def trend_claims(study):
    """Yield a Claim for each cell of Table 1: does trust rise from weak to strong? The paper's yes
    is judged by the weaker of the students, its no by the stronger one: either has to hold for
    both."""
    module = study.module
    for (key, name), printed in zip(STRATEGIES.items(), paper.table_1(study.task)):
        if printed not in STATES:  # a property that is not in the paper
            continue
        ladders = {student: study.ladder(key, student, module.TRUST) for student in study.students}
        complete = all(ladders.values())
        states = [ladder[0]["trend"] for ladder in ladders.values() if ladder]
        ours = ", ".join(f"{student.removeprefix('student-')} {ladder[0]['trend']}"
                         for student, ladder in ladders.items() if ladder)
        verdict, step = judge(sum(ladders.values(), []) if complete else [])
        if complete and printed == "no":
            verdict = VERDICTS[(0, 1, 3)[max(map(STATES.index, states))]]
        article = "a" if printed == "yes" else "no"
        yield Claim(f"{name}: {measure(module.TRUST)} shows {article} weak-to-strong trend",
                    "Table 1", printed, ours, verdict, step)


def paper_claims(study):
    """Yield a Claim for each sentence of the paper about the task."""
    module = study.module
    names = {"trust": module.TRUST, "task": module.TASK}
    for sentence in paper.CLAIMS.get(study.task, ()):
        parts = sentence.parts
        if any(model.startswith("student") and model not in study.students for _, model in parts):
            continue  # a task may have fewer students than the paper
        metric = names.get(sentence.metric, sentence.metric)
        steps = study.steps(parts, metric)
        percent = sentence.number.endswith("%") and metric == module.TRUST  # as the paper prints it
        ours = arrow(steps, percent=True) if percent else relative(steps)
        yield Claim(sentence.text.format(name=measure(metric)), sentence.place, sentence.number,
                    ours, *judge(steps, margin=sentence.margin))


def gain_claims(study):
    """Yield (text, steps, our numbers, arguments of `judge`): questions of ours where trust is an
    accuracy or a gap. What does TFT do to the ceiling? Does the confidence loss raise trust?"""
    module, (none, weak, both) = study.module, STRATEGIES
    parts = [(none, "ceiling"), (both, "ceiling")]
    same = study.name(*parts[0]) == study.name(*parts[1])  # the ceiling's chosen lambda is 0
    steps = [] if same else study.steps(parts, module.TRUST)
    yield (f"TFT improves the {measure(module.TRUST)} of ceiling", steps,
           "the same run" if same and study.of(*parts[0]) else relative(steps), {})
    for key in (none, weak) if len(study.students) > 1 else ():
        steps = study.steps([(key, student) for student in study.students], module.TRUST)
        yield (f"{STRATEGIES[key]}: the {measure(module.TRUST)} of student-aux is better "
               "than that of student-naive", steps, "", {})


def control_claims(study):
    """Yield the same where trust is what a model memorised and untuned models are the CONTROLS:
    what TFT costs (PRICE), what it does to the areas beside trust (DRAWN), and whether fine-tuning
    raised trust's metric more on rows trained on than on others: else TFT has nothing to lower."""
    module, (none, weak, both) = study.module, STRATEGIES
    trust, ceiling = module.TRUST, study.choices["ceiling"].run
    for model, without, under, control in (
            ("weak", (none, "weak"), (weak, "weak"), "base-weak"),
            *((student, (none, student), (both, student), "base-strong")
              for student in study.students),
            ("ceiling", (none, "ceiling-none"), (none, ceiling), "base-strong")):
        split = study.trained_on(*without)  # the control is measured on the same rows
        different = study.name(*without) != study.name(*under)  # no step from a run to itself
        if model == "ceiling":
            steps = study.steps([without, under], trust) if different else []
            yield (f"TFT lowers the {measure(trust)} of ceiling", steps,
                   arrow(steps, percent=True), {})
        for metric, verb in ((module.PRICE, "raises"), *((name, "lowers") for name in study.drawn)):
            steps = study.steps([without, under], metric) if different else []
            yield (f"TFT {verb} the {measure(metric)} of {model}", steps, relative(steps),
                   {"claimed": verb == "lowers"})
        steps = study.steps([(none, control), without], f"{trust}_excess_{split}")
        yield (f"No TFT: fine-tuning raises {measure(trust)} of what {model} trains on above that "
               f"of other rows (before: {control})", steps, "", {"claimed": False})


def inequalities(studies):
    """weak < student and student < ceiling in trust, for each strategy and student with all its
    runs: the dicts of Study.ladder with the task, and Holm's p over the whole list."""
    result = [{"task": study.task, **step}
              for study in studies for strategy in STRATEGIES for student in study.students
              for step in study.ladder(strategy, student, study.module.TRUST)]
    adjusted = statistics.holm([step["p"] for step in result]) if result else []
    return [{**step, "holm": p} for step, p in zip(result, adjusted)]


def arrow(steps, percent=False):
    """"0.712 → 0.781": the means of the first step; "" without one."""
    scale, digits, unit = (100, 1, " %") if percent else (1, 3, "")
    return " → ".join(f"{scale * mean:.{digits}f}" for mean in steps[0]["means"]) + unit \
        if steps else ""


def relative(steps):
    """"0.250 → 0.200 (-20 %)": the means of the first step; no change is relative to 0."""
    if not steps or not steps[0]["means"][0]:
        return arrow(steps)
    before, after = steps[0]["means"]
    return f"{arrow(steps)} ({round(100 * (after / before - 1)):+d} %)"


def recovered(gap):
    """"0.61" of a Study.gap_recovered; "-" without a gap that is clearly above 0."""
    return f"{gap[0]:.2f}" if gap and not gap[1] else "-"
