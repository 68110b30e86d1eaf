"""At a glance: what rose, what fell, which claims of the paper hold.
"""

import itertools
from collections import Counter

from w2s import statistics
from w2s.report import paper, trust_tables
from w2s.report.claims import OURS, VERDICTS, recovered
from w2s.report.measurements import properties
from w2s.report.render import GONE, Heading, Table, Text, format_p, mean, signed, format_interval
from w2s.report.results import STRATEGIES, STUDENTS

TREND = ("yes = weak < student < ceiling in trust, and the 95 % intervals of both differences "
         "exclude 0; ordered = in that order, but an interval includes 0; no = another order.")


# ---- verdicts ------------------------------------------------------------------------------------

def glance(studies):
    """The headline means of every property, in 100 columns; the terminal shows this table."""
    body, models = [], ("weak", *STUDENTS, "ceiling")
    for study in studies:
        module, said = study.module, dict(zip(STRATEGIES, paper.table_1(study.task)))
        metrics = module.TASK, module.TRUST, *module.ALSO
        for metric, key in itertools.product(metrics, STRATEGIES):
            means = [mean(study.summary(key, model, metric)) if model in study.models else ""
                     for model in models]
            last = ["", ""]
            if metric == module.TRUST:
                last = ["", f"{study.weakest_trend(key) or GONE} ({said[key]})"]
            if metric == module.TASK:
                gaps = [study.gap_recovered(key, student) for student in study.students]
                last = [" ".join(map(recovered, gaps)), ""]
            body.append([f"{study.task} {metric}" if key == "none" else "", STRATEGIES[key], *means,
                         *last])
    head = ["property", "strategy", *(model.removeprefix("student-") for model in models),
            "PGR naive aux", "trend (paper)"]
    return Table("Results at a glance: means over seeds", head, body)


def legend(studies):
    """What the columns of `glance` mean."""
    less = sorted({study.module.TRUST for study in studies if study.module.SIGN < 0})
    signs = (" dpd is signed, so means of it cancel; dpd_abs is not." if any(
        study.task == "fairness" for study in studies) else "")
    return Text("PGR: the share of the gap in task performance from weak to ceiling that a student "
                "closes (below 0: worse than weak; above 1: better than the ceiling); -: the gap "
                "is within 2 standard errors, so there is nothing to share. trend, of the weaker "
                f"student: {TREND} paper: its Table 1." + f" Smaller is better: {', '.join(less)}."
                * bool(less) + signs)


def tally(verdicts, studies):
    """How many claims got which verdict, and what verdicts rest on."""
    claims = [claim for found in verdicts.values() for claim in found]
    words = []
    for name, part in (("of the papers", [c for c in claims if c.place != OURS]),
                       ("of ours", [c for c in claims if c.place == OURS])):
        count = Counter(claim.verdict for claim in part)
        said = ", ".join(f"{count[word]} {word}" for word in VERDICTS if count[word])
        words += [f"{len(part)} claims {name}: {said}."] if part else []
    seeds = sorted({len(study.seeds) for study in studies})
    reach = "; ".join(f"{n} seed{'s' * (n > 1)}: {statistics.smallest_p(n):g}" for n in seeds)
    return Text(" ".join(words) + " Verdicts rest on 95 % intervals that are not corrected for "
                "their number; the smallest p that a sign-flip test over seeds can reach is, with "
                f"{reach}.")


def trends(studies):
    """Table 1 of the paper beside ours."""
    body, ran = [], {study.task: study for study in studies}
    for task, module in properties().items():
        if task not in ran and task not in paper.TABLE_1:
            continue
        body.append([module.TITLE, "paper", *paper.table_1(task)])
        found = {"ours": ["not run"] * len(STRATEGIES)}
        if task in ran:
            study = ran[task]
            found = {f"ours, {student}": [study.trend(key, student) for key in STRATEGIES]
                     for student in study.students}
            if len(study.students) > 1:
                found["ours, both"] = [study.weakest_trend(key) for key in STRATEGIES]
        body += [["", whose, *(word or "not run" for word in words)]
                 for whose, words in found.items()]
    return [Heading("Does the property go from weak to strong?"),
            Table("Table 1 of the paper, and ours", ["property", "whose", *STRATEGIES.values()],
                  body),
            Text(f"{TREND} both: the weaker of the two students. not run: a run is missing. The "
                 "paper has two states and does not say how they were decided.")]


def scorecard(studies, verdicts):
    """Each claim of the paper with its verdict, a table a property or task."""
    tables = [Table(f"{study.module.TITLE}: {what}",
                    ["claim", "verdict", "place", "number", "here", "difference", "95 % interval",
                     "p"], [claim_row(claim) for claim in found])
              for study in studies for what, found in (
                  ("claims of the paper", [c for c in verdicts.get(study.task, ())
                                           if c.place != OURS]),
                  ("questions of ours", [c for c in verdicts.get(study.task, ())
                                         if c.place == OURS])) if found]
    trend = ("place: section, table or figure of Sun et al. (arXiv 2501.00418); number: as printed "
             "there, nothing where the paper gives none; ours: no claim of the paper. A trend "
             "needs all of its differences: the weakest stands here, of both students in Table 1. "
             "That there is no trend is seen when ours is \"no\" for every student. For a cost of "
             "at most 1.5 points the interval is compared with -0.015 instead of 0.")
    return [Heading("What the paper says, and what is seen at this scale"), *tables,
            Text("**seen**: as claimed, and the 95 % interval of the difference excludes 0. **not "
                 "clear**: as claimed, but the interval includes 0. **not seen**: not as claimed, "
                 "and the interval includes 0. **reversed**: the opposite, and the interval "
                 "excludes 0. **not measured**: a run is missing, both are the same run, or the "
                 "claim does not apply."),
            *([Text(trend)] if any(study.choice for study in studies) else []),
            *trust_tables.judging(studies),
            Text("p: exact sign-flip test over seeds, which few seeds keep large and one seed does "
                 "not allow. Neither p nor intervals are corrected for the number of claims.")]


def claim_row(claim):
    """The cells of a claim; the difference in the metric's own direction."""
    first = [claim.text, claim.verdict, claim.place, claim.number, claim.ours]
    if claim.step is None:
        return [*first, "", "", ""]
    step, sign = claim.step, claim.step["sign"]
    return [*first, signed(sign * step["difference"]),
            format_interval(sorted(sign * end for end in step["interval"]), signed),
            format_p(step, "p")]
