"""What the paper says of its sensitivity figures, each with its place, and what the runs say to it.

The words are ours. A claim about every value is judged by the weakest of its differences.
"""

from collections import Counter

from w2s.report.claims import VERDICTS, Claim, arrow, judge
from w2s.report.results import STATES, STRATEGIES
from w2s.report.words import named
from w2s.sweep.axes import AUX, BOTH

SIZE, STRENGTH = "4.2, Sensitivity to Model Size", "4.2, Sensitivity to Regularization Strength"
APPENDIX = "App. B, Impact of "
# what A.2 picks: {task: {panel of Fig. A1: value}}
PICKS = {"adversarial": {"a": "0.3", "b": "0.3", "c": "0.3", "d": "0.1", "e": "0.2", "f": "6"},
         "ood": {"a": "0.002", "b": "0.002", "d": "0.25", "e": "0.2", "f": "1"}}


def claims(study, figures):
    """{figure: [Claim]} about a property. figures: {name: [Point]} of its figures."""
    parts = {"3": (over_lambda, rise_and_fall, task_falls), "A2": (), "A7": (over_alpha,),
             "A8": (over_alpha,), "A3": (sizes,), "A4": (broken, larger_weak),
             "A5": (sizes, larger_weak, larger_weak_student), "A6": (no_trend,), "A9": (sizes,),
             "A10": (equalised_odds,), "A11": (no_trend,)}
    result = {name: [claim for part in parts.get(name, ()) for claim in part(study, name, points)]
              for name, points in figures.items()}
    if "3" in figures and "A2" in figures:
        result["3"] += amplified(study, figures["A2"], figures["3"])
    return result


def over_lambda(study, name, points):
    """4.2: the trends of Table 1 hold at every lambda under Weak+WTS TFT."""
    points = [point for point in points if point.value != "0"]
    every = "at every λ above 0"
    yield no_trend_claim(study, points, f"Weak+WTS TFT: no weak-to-strong trend {every}",
                         STRENGTH) if study.task == "privacy" else trend_claim(
        study, points, f"Weak+WTS TFT: {{name}} shows a weak-to-strong trend {every}",
        STRENGTH + ", Fig. 3")


def rise_and_fall(study, name, points):
    """App. B: adversarial robustness is best at an inner lambda."""
    if study.task != "adversarial":
        return
    for student in study.students:
        means = [study.summary(point, student, study.module.TRUST) for point in points]
        if not all(means):
            steps, best = [], ""
        else:
            values = [summary["mean"] * study.module.SIGN for summary in means]
            top = values.index(max(values))
            best = f"best at {points[top].value}"
            # at an end of the values one of the two differences is 0, and the claim is not seen
            steps = [step for end in (0, -1) for step in study.steps(
                [(points[end], student), (points[top], student)], study.module.TRUST)]
        yield claim(study, f"{{name}} of {student} first rises with λ, then falls",
                    APPENDIX + "Size on Adversarial Robustness", "best at about 0.4", best, steps)


def task_falls(study, name, points):
    """App. B: task performance falls with lambda, step by step."""
    if study.task == "adversarial":
        for student in study.students:
            yield falling(study, points, student, study.module.TASK, "λ",
                          APPENDIX + "Size on Adversarial Robustness")


def over_alpha(study, name, points):
    """App. B: what the confidence loss does to the student as its largest weight rises. Of
    adversarial robustness the paper says it of every value and both measures, elsewhere that
    performance tends to worsen from 0 to 1."""
    if study.task == "adversarial":
        for metric in (study.module.TASK, study.module.TRUST):
            yield falling(study, points, AUX, metric, "α max",
                          APPENDIX + f"Size on Adversarial Robustness, Fig. {name}")
    else:
        steps = study.steps([(points[-1], AUX), (points[0], AUX)], study.module.TASK)
        yield claim(study, f"{STRATEGIES[points[0].strategy]}: {named(study.module.TASK)} of "
                    "student-aux is lower at the largest α max than at 0",
                    APPENDIX + f"Auxiliary Loss Weighting, Fig. {name}", "", arrow(steps), steps)


def falling(study, points, model, metric, symbol, place):
    """The Claim that a metric gets worse from each value to the next."""
    steps = study.steps([(point, model) for point in reversed(points)], metric)
    means = [study.summary(point, model, metric) for point in points]
    ours = " → ".join(f"{summary['mean']:.3f}" for summary in means if summary)
    return claim(study, f"{STRATEGIES[points[0].strategy]}: {named(metric)} of {model} falls with "
                 f"{symbol}, value by value", place, "monotonically", ours, steps)


def sizes(study, name, points):
    """4.2 and App. B: the trend holds in every configuration of sizes."""
    yield trend_claim(study, of(points, BOTH), "Weak+WTS TFT: {name} shows a weak-to-strong trend "
                      "in every configuration of sizes",
                      f"{SIZE}, Fig. {name}" if name != "A9" else
                      APPENDIX + "Larger Models, Fig. A9")


def broken(study, name, points):
    """4.2: a larger weak model breaks the trend of adversarial robustness."""
    small, *_, large = weak_models(points)
    yield trend_claim(study, of(points, BOTH, small), "Weak+WTS TFT, smaller weak model: {name} "
                      "shows a weak-to-strong trend", f"{SIZE}, Fig. A4")
    yield no_trend_claim(study, of(points, BOTH, large), "Weak+WTS TFT, larger weak model: "
                         "{name} shows no weak-to-strong trend", f"{SIZE}, Fig. A4")


def larger_weak(study, name, points):
    """4.2: the larger weak model is the more trustworthy one once it is regularised, and that it is
    alike in both strategies with TFT."""
    small, *_, large = weak_models(points)
    pair = of(points, BOTH, small)[:1] + of(points, BOTH, large)[:1]
    steps = study.steps([(point, "weak") for point in pair], study.module.TRUST)
    yield claim(study, "with TFT, {name} of the larger weak model is better", f"{SIZE}, Fig. "
                f"{name}", "", arrow(steps), steps)


def larger_weak_student(study, name, points):
    """App. B: the larger weak model has the better students, in both measures."""
    small, *_, large = weak_models(points)
    for metric in (study.module.TRUST, study.module.TASK):
        steps = [step for low, high in zip(of(points, None, small), of(points, None, large))
                 for student in study.students
                 for step in study.steps([(low, student), (high, student)], metric) or [None]]
        steps = [] if None in steps else steps
        yield claim(study, f"{named(metric)} of students of the larger weak model is better, with "
                    "every strong model and strategy",
                    APPENDIX + "Size on OOD Robustness, Fig. A5", "", counted(steps), steps)


def amplified(study, weak, both):
    """4.2: regularising the student too raises its trust at every lambda."""
    pairs = [(low, high) for low in weak for high in both
             if low.value == high.value != "0"]
    for student in study.students:
        steps = [step for low, high in pairs
                 for step in study.steps([(low, student), (high, student)], study.module.TRUST)]
        yield claim(study, f"{{name}} of {student} is better under Weak+WTS TFT than under Weak "
                    "TFT at every λ above 0", STRENGTH + ", Figs. A2, 3", "", counted(steps),
                    steps if len(steps) == len(pairs) else [])


def no_trend(study, name, points):
    """4.1, App. B: privacy shows no trend, by either attack."""
    for metric in (study.module.TRUST, *(("mia_auc",) if name == "A11" else ())):
        yield no_trend_claim(study, points, f"{named(metric)} shows no weak-to-strong trend under "
                             "any "
                             "strategy", APPENDIX + "Additional Metrics, Fig. A11"
                             if name == "A11" else APPENDIX + "Larger Models, Fig. A6", metric)


def equalised_odds(study, name, points):
    """App. B: the trend is seen with either metric of fairness."""
    for metric in (study.module.TRUST, "tpr_gap_abs"):
        yield trend_claim(study, of(points, BOTH), f"Weak+WTS TFT: {named(metric)} shows a weak-to-"
                          "strong trend", APPENDIX + "Additional Metrics, Fig. A10", metric)


# ---- parts of a claim ----------------------------------------------------------------------------

def of(points, strategy=None, weak=None):
    """The points of a strategy, and of a weak model."""
    return [point for point in points if strategy in (None, point.strategy)
            and weak in (None, point.models["weak"][0].base)]


def weak_models(points):
    """The weak models of a figure of sizes, from small to large."""
    return list(dict.fromkeys(point.models["weak"][0].base for point in points))


def claim(study, text, place, number, ours, steps):
    return Claim(text.format(name=named(study.module.TRUST)), place, number, ours, *judge(steps))


def counted(steps):
    """"better in 3 of 4"."""
    better = sum(step["difference"] > 0 for step in steps)
    return f"better in {better} of {len(steps)}" if steps else ""


def ladders(study, points, metric):
    """[steps weak → student → ceiling] of each point and student; [] where one is missing."""
    result = [study.ladder(point, student, metric) for point in points
              for student in study.students]
    return result if all(result) else []


def states(rungs):
    """"yes 3, ordered 1": how many points and students have which trend."""
    count = Counter(steps[0]["trend"] for steps in rungs)
    return ", ".join(f"{state} {count[state]}" for state in reversed(STATES) if count[state])


def trend_claim(study, points, text, place, metric=None):
    """The Claim of a trend at all points, of every student."""
    rungs = ladders(study, points, metric or study.module.TRUST)
    return claim(study, text, place, "", states(rungs), sum(rungs, []))


def no_trend_claim(study, points, text, place, metric=None):
    """The Claim of no trend at any point: seen where every student's order is another one."""
    rungs = ladders(study, points, metric or study.module.TRUST)
    verdict = VERDICTS[-1]
    if rungs:
        verdict = VERDICTS[(0, 1, 3)[max(STATES.index(steps[0]["trend"]) for steps in rungs)]]
    return Claim(text.format(name=named(study.module.TRUST)), place, "no", states(rungs), verdict)
