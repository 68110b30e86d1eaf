"""The second paper's claims, each held against the runs.
"""

import itertools

from w2s import statistics
from w2s.report.claims import OURS, Claim, arrow, judge
from w2s.report.trust_results import CHAIN, CONFIDENCE, FULL, INSIDE, PURE, SOURCE, part, percent

NEAR = (.5, .7)  # teacher's accuracy for which purity is held against PURE: near .6


# ---- claims --------------------------------------------------------------------------------------

def claims(study):
    """[Claim] of the paper about a task of trust functions."""
    return [Claim(text, place or SOURCE, "", ours or arrow(steps), *judge(steps))
            for text, place, steps, ours in (*choice_claims(study), *student_claims(study))]


def choice_claims(study):
    """Yield (text, place, steps, ours): the trust function beside other scores, and its purity."""
    asked = OURS * (study.task == "arithmetic")
    for regime in study.parts():
        best = [name for name in study.abroad(regime) if name.startswith("trust-ntf")] or [
            "trust-ntf"] * (not regime)
        for name in best:
            metric = f"auc, {regime}" if regime else "auc"
            steps = sum((study.steps([part(f"trust-{by}"), part(name)], metric)
                         for by in CONFIDENCE), [])
            closest = judge(steps)[1]
            yield (f"{regime or INSIDE}: the AUC of {name.removeprefix('trust-')} is above that of "
                   "every confidence baseline", asked or OURS * bool(regime), steps,
                   closest and f"{closest['lower'].removeprefix('trust-')} {arrow([closest])}")
    right, half = (study.summary("none", "trust-ntf", name)
                   for name in ("purity_random", "purity_half"))
    near = right and NEAR[0] <= right["mean"] <= NEAR[1]
    ours = f"{right['mean']:.3f}, of the half {half['mean']:.3f}" if right else ""
    yield (f"of the half of the labels that ntf trusts most, more than {100 * PURE:g} % are right, "
           "where the teacher is right in about 60 %", "",
           above(study, "trust-ntf", "purity_half", PURE) if near else [],
           ours + ": not near .6" * (bool(right) and not near))


def student_claims(study):
    """Yield the same of students: against those on other labels, Recovery, the chain."""
    metric = study.module.TASK
    for by, what in (("all", "all weak labels"), ("random", "as many random ones"),
                     ("confidence", "as many of the most confident")):
        yield (f"{metric} is higher on the labels of ntf than on {what}", "",
               study.steps([part(f"student-{by}"), part("student-ntf")], metric), "")
    found = study.recovery("student-ntf")
    steps = recovers(study, found) if found and not found["doubtful"] else []
    yield (f"ntf: Recovery is above {100 * FULL:g} %", "" if study.task == "mcqa" else
           OURS, steps, percent(found) if found else "")
    for lower, upper in itertools.pairwise(CHAIN):
        number = CHAIN.index(upper) + 1
        yield (f"the chain: {metric} of generation {number} is above generation {number - 1}",
               "" if number == 2 else OURS,
               study.steps([part(f"student-{lower}"), part(f"student-{upper}")], metric), "")


def above(study, model, metric, level):
    """A step from a level to a metric of a model, as in Study.steps; [] without a run."""
    found = study.joint([part(model)], metric)
    if found is None:
        return []
    change, drawn = found[0][0] - level, found[1][0] - level
    return [made(change, float(change.mean()), statistics.interval(drawn), level)]


def recovers(study, found):
    """The same of the Recovery of ntf and FULL: the interval is that of the ratio, p of the linear
    contrast student - base - FULL (truth - base), seed by seed."""
    values = study.joint([part("base-strong"), part("student-ntf"), part("student-truth")],
                         study.module.TASK)[0]
    change = values[1] - values[0] - FULL * (values[2] - values[0])
    return [made(change, found["value"] - FULL, [end - FULL for end in found["interval"]], FULL)]


def made(change, difference, interval, level):
    return {"difference": difference, "interval": tuple(interval), "n": len(change), "sign": 1,
            "means": [level, level + difference], "p": statistics.sign_flip_p(change)}
