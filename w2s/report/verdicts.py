"""Headline means, Table 1 beside the paper's, claims with their verdicts.
"""

import itertools
from collections import Counter

from w2s import statistics
from w2s.report import paper, trust_tables
from w2s.report.claims import OURS, VERDICTS, recovered
from w2s.report.measurements import properties
from w2s.report.render import GONE, Details, Table, Text, difference_cells, mean, seed_count
from w2s.report.results import STRATEGIES, STUDENTS

# the report's three states; the paper's Table 1 has the first and the last
TREND = ("yes = weak < student < ceiling in trust, and the 95 % intervals of both differences "
         "exclude 0; ordered = in that order, but an interval includes 0; no = another order.")


def glance(studies):
    """The headline means of every property."""
    body, models = [], ("weak", *STUDENTS, "ceiling")
    for study in studies:
        module, published = study.module, dict(zip(STRATEGIES, paper.table_1(study.task)))
        metrics = module.TASK, module.TRUST, *module.ALSO
        for metric, key in itertools.product(metrics, STRATEGIES):
            means = [mean(study.summary(key, model, metric)) if model in study.models else ""
                     for model in models]
            # PGR is a share of task performance, the trend is one of trust: a line has one of them
            pgr = trend = ""
            if metric == module.TRUST:
                trend = f"{study.weakest_trend(key) or GONE} ({published[key]})"
            if metric == module.TASK:
                gaps = [study.gap_recovered(key, student) for student in study.students]
                pgr = " ".join(map(recovered, gaps))
            body.append([f"{study.task} {metric}" if key == "none" else "", STRATEGIES[key], *means,
                         pgr, trend])
    head = ["property", "strategy", *(model.removeprefix("student-") for model in models),
            "PGR naive aux", "trend (paper)"]
    return Table("Results at a glance: means over seeds", head, body)


def legend(studies):
    """What the columns of `glance` mean."""
    less = sorted({study.module.TRUST for study in studies if study.module.SIGN < 0})
    signs = (" dpd is signed, so means of it cancel; dpd_abs is not." if any(
        study.task == "fairness" for study in studies) else "")
    return Text("PGR: the share of the gap in task performance from weak to ceiling that a student "
                "closes (below 0: worse than weak; above 1: better than the ceiling); -: the "
                "ceiling is not 2 standard errors above weak, so there is nothing to share. "
                f"trend, of the weaker student: {TREND} paper: its Table 1."
                + f" Smaller is better: {', '.join(less)}." * bool(less) + signs)


def tally(verdicts, studies):
    """How many claims got which verdict, and what verdicts rest on. verdicts: {task: [Claim]}."""
    papers, questions = by_source([claim for of_task in verdicts.values() for claim in of_task])
    words = []
    for name, part in (("of the papers", papers), ("of ours", questions)):
        count = Counter(claim.verdict for claim in part)
        counts = ", ".join(f"{count[word]} {word}" for word in VERDICTS if count[word])
        claims = f"claim{'s' * (len(part) > 1)}"
        words += [f"{len(part)} {claims} {name}: {counts}."] if part else []
    seeds = sorted({len(study.seeds) for study in studies})
    reach = "; ".join(f"{seed_count(n)}: {statistics.smallest_p(n):g}" for n in seeds)
    return Text(" ".join(words) + " Verdicts rest on 95 % intervals that are not corrected for "
                "their number; the smallest p that a sign-flip test over seeds can reach is, with "
                f"{reach}.")


def counts(studies, verdicts):
    """[Table] of how many claims of a paper got which verdict, a line a task. verdicts: {task:
    [Claim]}."""
    body = []
    for study in studies:
        papers, _ = by_source(verdicts.get(study.task, ()))
        count = Counter(claim.verdict for claim in papers)
        if papers:
            body.append([study.module.TITLE, *(str(count[word] or "") for word in VERDICTS)])
    return [Table("Claims of the papers, by verdict", ["task", *VERDICTS], body)] if body else []


def by_source(claims):
    """(claims of the papers, questions of ours). Apart, so that ours count neither for nor against
    the papers."""
    return [c for c in claims if c.place != OURS], [c for c in claims if c.place == OURS]


def trends(studies):
    """Table 1 of the paper beside ours, in its order; a property that was not run has its lines."""
    body, ran = [], {study.task: study for study in studies}
    for task, module in properties().items():
        if task not in ran and task not in paper.TABLE_1:
            continue  # a property of a user's own, without runs here
        body.append([module.TITLE, "paper", *paper.table_1(task)])
        lines = {"ours": ["not run"] * len(STRATEGIES)}
        if task in ran:
            study = ran[task]
            lines = {f"ours, {student}": [study.trend(key, student) for key in STRATEGIES]
                     for student in study.students}
            if len(study.students) > 1:
                lines["ours, both"] = [study.weakest_trend(key) for key in STRATEGIES]
        body += [["", whose, *(state or "not run" for state in states)]
                 for whose, states in lines.items()]
    return [Details("Does the property go from weak to strong?", [
            Table("Table 1 of the paper, and ours", ["property", "whose", *STRATEGIES.values()],
                  body),
            Text(f"{TREND} both: the weaker of the two students. not run: a run is missing. The "
                 "paper has two states and does not say how they were decided.")])]


def scorecard(studies, verdicts):
    """[Details] of each claim with its verdict, the papers' and ours in tables of their own.
    verdicts: {task: [Claim]}."""
    # place says where in the paper, so that a reader can look each claim up
    head = ["claim", "verdict", "place", "number", "here", "difference", "95 % interval", "p"]
    tables = []
    for study in studies:
        papers, questions = by_source(verdicts.get(study.task, ()))
        for whose, part in (("claims of the paper", papers), ("questions of ours", questions)):
            if part:
                tables.append(Table(f"{study.module.TITLE}: {whose}", head,
                                    [claim_row(claim) for claim in part]))
    trend = ("place: section, table or figure of Sun et al. (arXiv 2501.00418); number: as printed "
             "there, nothing where the paper gives none; ours: no claim of the paper. A trend "
             "needs all of its differences: the weakest stands here, of both students in Table 1. "
             "That there is no trend is seen when ours is \"no\" for every student. For a cost of "
             "at most 1.5 points the interval is compared with -0.015 instead of 0.")
    return [Details("What the paper says, and what is seen at this scale", [
        tally(verdicts, studies), *tables,
        *([Text(trend)] if any(study.choice for study in studies) else []),
        *trust_tables.judging(studies),
        Text("p: exact sign-flip test over seeds, which few seeds keep large and one seed does not "
             "allow. Neither p nor intervals are corrected for the number of claims.")])]


def words():
    """What the verdicts mean."""
    return Text("**seen**: as claimed, and the 95 % interval of the difference excludes 0. **not "
                "clear**: as claimed, but it includes 0. **not seen**: not as claimed, and it "
                "includes 0. **reversed**: the opposite, and it excludes 0. **not measured**: a "
                "run is missing, or the claim does not apply.")


def claim_row(claim):
    """The cells of a claim. What was not measured has no step, so its last cells are blank."""
    cells = [claim.text, claim.verdict, claim.place, claim.number, claim.ours]
    return [*cells, *(difference_cells(claim.step) if claim.step else ["", "", ""])]
