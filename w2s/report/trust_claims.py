"""The claims of Uzunoglu et al. about trust functions, each judged by the runs as in claims."""

import itertools

from w2s import statistics
from w2s.report.claims import OURS, Claim, arrow, judge
from w2s.report.trust_results import CHAIN, CONFIDENCE, FULL, INSIDE, PURE, SOURCE, part, percent

NEAR = (.5, .7)  # the purity claim is about teachers that are right in about .6 of the rows


def claims(study):
    """[Claim] about a task of trust functions: of the paper, and questions of ours."""
    return [Claim(text, place or SOURCE, "", ours or arrow(steps), *judge(steps))
            for text, place, steps, ours in (*choice_claims(study), *student_claims(study))]


def choice_claims(study):
    """Yield (text, place, steps, our numbers): the AUC of the trust function against that of other
    scores, and its purity. An empty place: the paper's, by SOURCE."""
    ours_alone = OURS * (study.task == "arithmetic")  # on this task a question of ours
    for regime in study.parts():
        # in distribution the claim stands even without a run of it, as not measured
        functions = [name for name in study.abroad(regime) if name.startswith("trust-ntf")] or [
            "trust-ntf"] * (not regime)
        for name in functions:
            metric = f"auc, {regime}" if regime else "auc"
            steps = sum((study.steps([part(f"trust-{by}"), part(name)], metric)
                         for by in CONFIDENCE), [])
            closest = judge(steps)[1]
            yield (f"{regime or INSIDE}: the AUC of {name.removeprefix('trust-')} is above that of "
                   "every confidence baseline", ours_alone or OURS * bool(regime), steps,
                   closest and f"{closest['lower'].removeprefix('trust-')} {arrow([closest])}")
    # the paper's share is of the half trusted most, so not of the share that --keep chose here
    right, half = (study.summary("none", "trust-ntf", name)
                   for name in ("purity_random", "purity_half"))
    near = right and NEAR[0] <= right["mean"] <= NEAR[1]
    ours = f"{right['mean']:.3f}, of the half {half['mean']:.3f}" if right else ""
    yield (f"of the half of the labels that ntf trusts most, more than {100 * PURE:g} % are right, "
           "where the teacher is right in about 60 %", "",
           above(study, "trust-ntf", "purity_half", PURE) if near else [],
           ours + ": not near .6" * (bool(right) and not near))


def student_claims(study):
    """Yield the same for students: against students on other labels, Recovery, the chain."""
    metric = study.module.TASK
    for by, what in (("all", "all weak labels"), ("random", "as many random ones"),
                     ("confidence", "as many of the most confident")):
        yield (f"{metric} is higher on the labels of ntf than on {what}", "",
               study.steps([part(f"student-{by}"), part("student-ntf")], metric), "")
    recovery = study.recovery("student-ntf")
    steps = recovers(study, recovery) if recovery and not recovery["doubtful"] else []
    yield (f"ntf: Recovery is above {100 * FULL:g} %", "" if study.task == "mcqa" else
           OURS, steps, percent(recovery) if recovery else "")
    for lower, upper in itertools.pairwise(CHAIN):
        number = CHAIN.index(upper) + 1
        yield (f"the chain: {metric} of generation {number} is above generation {number - 1}",
               "" if number == 2 else OURS,
               study.steps([part(f"student-{lower}"), part(f"student-{upper}")], metric), "")


def above(study, model, metric, level):
    """[a step like those of Study.steps] from a level to a metric of a model; [] without a run."""
    joint = study.joint([part(model)], metric)
    if joint is None:
        return []
    change, draws = joint[0][0] - level, joint[1][0] - level
    return [made(change, float(change.mean()), statistics.interval(draws), level)]


def recovers(study, recovery):
    """The same from FULL to the Recovery of ntf, a Study.share: the interval is that of the ratio,
    p of the linear contrast student - base - FULL (truth - base), seed by seed."""
    # linear, so that every seed has a contrast, even one without a gap to recover
    values = study.joint([part("base-strong"), part("student-ntf"), part("student-truth")],
                         study.module.TASK)[0]
    change = values[1] - values[0] - FULL * (values[2] - values[0])
    return [made(change, recovery["value"] - FULL, [end - FULL for end in recovery["interval"]],
                 FULL)]


def made(change, difference, interval, level):
    """One of Study.steps, from a level instead of a model; change (n,): its difference by seed."""
    return {"difference": difference, "interval": tuple(interval), "n": len(change), "sign": 1,
            "means": [level, level + difference], "p": statistics.sign_flip_p(change)}
