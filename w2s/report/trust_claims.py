"""The claims of Uzunoglu et al. about trust functions, each judged by the runs as in claims.

Places and numbers are those of the paper's summary; what has no place is a question of ours.
"""

import itertools

from w2s import statistics
from w2s.report.claims import OURS, Claim, arrow, judge
from w2s.report.render import format_interval, signed
from w2s.report.trust_names import BUDGET, CONFIDENCE, place
from w2s.report.trust_results import INSIDE, SOURCE, part, percent

MAIN, TABLE_1, CHAIN = "main results, MCQA", "Table 1", "weak-to-strong chain"
ZERO_SHOT, DOMAIN = "OOD_dist", "OOD_domain"
# The four pairs of models of the main table, in its order: accuracy in per cent, and Recovery
COLUMNS = ("all", "confidence", "icl-confidence", "reward", "ntf", "truth")
PAPER = {"OLMo2 1B → 7B": ((69.3, 48.3), (69.2, 47.1), (72.0, 79.3), (68.8, 42.5), (73.7, 98.9),
                           (73.8, 100)),
         "OLMo2 1B → 13B": ((74.7, 12.2), (75.1, 17.6), (77.9, 55.4), (78.4, 62.2), (80.9, 95.9),
                            (81.2, 100)),
         "Qwen3 0.6B → 1.7B": ((74.0, 86.0), (74.3, 91.2), (74.4, 93.0), (71.7, 45.6),
                               (75.0, 103.5), (74.8, 100)),
         "Qwen3 0.6B → 14B": ((86.0, 86.8), (85.7, 82.9), (86.5, 93.4), (86.1, 88.2),
                              (87.1, 101.3), (87.0, 100))}
# Its Table 1: AUC, ECE, Brier score, purity of the trust function
SCORES = {"world knowledge": (.92, .03, .07, .98), "quantitative reasoning, Omni":
          (.83, .11, .13, .69), "quantitative reasoning, MATH": (.84, .14, .17, .95),
          "strategy games": (.91, .02, .11, .95)}
NO_GAP = "truth is not clearly above untuned"
LOWEST_AUC = min(auc for auc, *_ in SCORES.values())
RIVALS = {"all": "all weak labels (naive)", "confidence": "as many of the most confident",
          "icl-confidence": "as many of the most confident behind solved examples",
          "reward": "as many by a reward model"}
CONTROLS = {"random": "as many random ones", "truth-n": "true labels of the same rows"}


def claims(study):
    """[Claim] about a task of trust functions: of the paper, and questions of ours."""
    return [*student_claims(study), near_lossless(study), *chain_claims(study),
            *choice_claims(study), *labelled_claims(study)]


def of_steps(text, place, number, steps):
    """A Claim that every step is upwards."""
    return Claim(text, place, number, arrow(steps), *judge(steps))


def student_claims(study):
    """Yield: the student on trusted labels against those on other labels; zero-shot too."""
    metric, is_main = study.module.TASK, study.task == "mcqa"
    for by, what in (RIVALS | CONTROLS).items():
        number = "; ".join(f"{row[4][0]} > {row[COLUMNS.index(by)][0]}" for row in PAPER.values()) \
            if is_main and by in RIVALS else ""
        yield of_steps(f"{metric} is higher on the labels of ntf than on {what}",
                       MAIN if number else OURS, number,
                       study.steps([part(f"student-{by}"), part("student-ntf")], metric))
    if study.of("none", "trust-ntf-zero-shot"):
        yield of_steps(f"{metric} is higher on labels chosen zero-shot than on all weak labels",
                       OURS, "", study.steps([part("student-all"), part("student-ntf-zero-shot")],
                                             metric))


def near_lossless(study):
    """Is the student on trusted labels as good as on all true ones? An equivalence test: the 95 %
    interval of the difference lies within study.margin and holds 0; above truth counts too."""
    steps = study.steps([part("student-truth"), part("student-ntf")], study.module.TASK)
    state = lossless(study, steps)
    verdict = {"near-lossless": "seen", "above": "seen", "below": "reversed",
               "undecided": "not clear", NO_GAP: "not measured", "": "not measured"}[state]
    recovery = study.recovery("student-ntf")
    ours = f"{state}; Recovery {percent(recovery)}" if steps and recovery else state
    return Claim(f"ntf is near-lossless: {study.module.TASK} is that of the student on true labels "
                 f"(the interval of the difference holds 0 and lies within ±{study.margin:g}), or "
                 "above", MAIN if study.task == "mcqa" else SOURCE,
                 "5 of 8 settings, above in 1", ours, verdict, steps[0] if steps else None)


def lossless(study, steps):
    """`equivalence` of Study.steps from truth to ntf; NO_GAP where truth taught the student nothing
    clear, so that there is nothing to lose; "" without steps."""
    if not steps:
        return ""
    recovery = study.recovery("student-ntf")
    return NO_GAP if recovery and recovery["doubtful"] else equivalence(steps[0]["interval"],
                                                                         study.margin)


def equivalence(interval, margin):
    """"above" or "below" where the interval of a difference excludes 0; "near-lossless" where it
    lies within (-margin, margin), else "undecided"."""
    low, high = interval
    if low > 0 or high < 0:
        return "above" if low > 0 else "below"
    return "near-lossless" if -margin < low and high < margin else "undecided"


def chain_claims(study):
    """Yield: each generation against the one before, with trust functions anew; and the second with
    the first trust function."""
    metric = study.module.TASK
    chain = sorted({*study.chain, "gen2", "gen3"}, key=place)
    for number, (lower, upper) in enumerate(itertools.pairwise(chain), 2):
        yield of_steps(f"the chain: {metric} of generation {number} is above generation "
                       f"{number - 1}", CHAIN, "monotone",
                       study.steps([part(f"student-{lower}"), part(f"student-{upper}")], metric))
    same = "gen2-same-tau"
    if study.of("none", f"trust-{same}"):
        yield of_steps(f"the chain with the first trust function: {metric} of generation 2 is "
                       "above generation 1", CHAIN, "",
                       study.steps([part("student-ntf"), part(f"student-{same}")], metric))
        yield of_steps("the chain with the first trust function: more of the labels that it "
                       "chooses are right in generation 2", CHAIN, "",
                       study.steps([part("trust-ntf"), part(f"trust-{same}")], "purity"))


def choice_claims(study):
    """Yield: the AUC of the trust function against Table 1, other scores, and other regimes."""
    yield Claim(f"{INSIDE}: the AUC of ntf is at least {LOWEST_AUC:g}", TABLE_1, ".83 to .92",
                *level(study, "trust-ntf", "auc", LOWEST_AUC))
    for regime in study.parts():
        # in distribution the question stands even without a run of it, as not measured
        functions = [name for name in study.abroad(regime) if name.startswith("trust-ntf")] or [
            "trust-ntf"] * (not regime)
        for name in functions:
            metric = f"auc, {regime}" if regime else "auc"
            steps = sum((study.steps([part(f"trust-{by}"), part(name)], metric)
                         for by in CONFIDENCE), [])
            closest = judge(steps)[1]
            yield Claim(f"{regime or INSIDE}: the AUC of {name.removeprefix('trust-')} is above "
                        "that of every confidence baseline", OURS, "", closest and
                        f"{closest['lower'].removeprefix('trust-')} {arrow([closest])}" or "",
                        *judge(steps))
            if regime == "other distribution":
                yield Claim(f"{regime}: the AUC of {name.removeprefix('trust-')} is at least "
                            f"{LOWEST_AUC:g}", ZERO_SHOT, ".83 to .92",
                            *level(study, name, metric, LOWEST_AUC))
            if regime == "other interface":
                yield of_steps(f"{regime}: the AUC of {name.removeprefix('trust-')} is below that "
                               "of ntf in distribution", DOMAIN, "",
                               study.steps([part(name), part("trust-ntf")], "auc"))


def labelled_claims(study):
    """Yield the control that the paper lacks: the labelled rows of the trust function train the
    student directly, alone or beside the trusted labels."""
    metric, ends = study.module.TASK, budgets(study)
    if study.of("none", "student-labelled-zero-shot"):
        yield of_steps(f"{metric} is higher on labels chosen zero-shot than on the labelled rows "
                       "of the sources that were learned from", OURS, "", study.steps(
                           [part("student-labelled-zero-shot"), part("student-ntf-zero-shot")],
                           metric))
    for end in ends:
        rows = f"the {end[2:]} labelled rows" if end else "the labelled rows"
        alone, ntf, both = (f"student-{way}{end}" for way in ("labelled", "ntf", "labelled-ntf"))
        yield of_steps(f"{metric} is higher on the labels of ntf than on {rows} that it learned "
                       "from", OURS, "", study.steps([part(alone), part(ntf)], metric))
        yield of_steps(f"{metric} is higher on {rows} and the labels of ntf than on {rows} alone",
                       OURS, "", study.steps([part(alone), part(both)], metric))


def budgets(study):
    """The ends of names of all labelled rows, "", and of smaller budgets of them, "-n300"."""
    sizes = {int(match[2]) for way in study.students if (match := BUDGET.fullmatch(way))}
    return ["", *(f"-n{size}" for size in sorted(sizes))]


def level(study, model, metric, value):
    """(our numbers, verdict, step) on the claim that a metric of a model is at least a value."""
    steps = above(study, model, metric, value)
    summary = study.summary("none", model, metric)
    ours = f"{summary['mean']:.3f} {format_interval(summary['interval'])}" if summary else ""
    return ours, *judge(steps)


def above(study, model, metric, value):
    """[a step like those of Study.steps] from a value to a metric of a model; [] without a run."""
    joint = study.joint([part(model)], metric)
    if joint is None:
        return []
    change, draws = joint[0][0] - value, joint[1][0] - value
    return [{"difference": float(change.mean()), "interval": tuple(statistics.interval(draws)),
             "n": len(change), "sign": 1, "means": [value, value + float(change.mean())],
             "p": statistics.sign_flip_p(change), "lower": f"{value:g}", "upper": model}]


def lossless_words(study):
    """"-0.4 points [-1.1, 0.3]: near-lossless within 2" of ntf against truth; "" without runs."""
    steps = study.steps([part("student-truth"), part("student-ntf")], study.module.TASK)
    if not steps:
        return ""
    return (f"{signed(steps[0]['difference'])} {format_interval(steps[0]['interval'], signed)}, "
            + lossless(study, steps))
