"""The tables of trust functions (w2s.report.trust_results).

In the order of the paper (Uzunoglu et al.): students by the labels that train them (its main
result), how good each choice is (its Table 1), the chain; then trusted labels for the properties of
the other paper. trust: the score of a label.
"""

import itertools
import math
from pathlib import Path

import numpy as np

from w2s.report.claims import judge
from w2s.report.render import (GONE, Bullets, Details, Table, Text, difference_cells,
                                format_interval, format_p, mean, signed, spread,
                                spread_and_interval)
from w2s.report.results import CROSSED, STRATEGIES
from w2s.report.trust_claims import COLUMNS, PAPER, SCORES
from w2s.report.trust_names import OTHERWISE, is_score, labels_of, place
from w2s.report.trust_results import DRAWS, INSIDE, Trusted, part, percent

SAID = {"all": "all weak labels (naive)", "random": "as many as ntf, drawn at random",
        "confidence": "the largest probability of the teacher's answer (I-Confidence)",
        "margin": "its lead over the second answer", "entropy": "the least entropy",
        "icl-confidence": "the same behind solved examples (ICL + I-Conf)",
        "reward": "a verifier's probability (reward model)",
        "consistency": "how often the teacher says it again when its answers are sampled",
        "agreement": "what a second teacher says of it",
        "ntf": "the neural trust function, which reads the teacher's hidden state alone",
        "ntf-both": "the same, which also reads how certain the teacher was (ours)",
        "ntf-zero-shot": "a trust function of other sources, on sources that it has not seen",
        "ntf-other-task": "a trust function of another task's answers",
        "labelled": "the labelled rows of the trust function themselves, with their truth",
        "labelled-ntf": "these rows and the trusted labels",
        "labelled-zero-shot": "those of the sources that ntf-zero-shot learned from, alone",
        "truth-n": "the rows of ntf with true labels", "truth": "all rows with true labels"}


def premise(studies):
    """How the runs about trust functions are made, for a reader without the paper."""
    return [Text("A weak teacher labels questions; a score says how far each label can be trusted; "
                 "only the labels with the largest scores train the strong student. The trust "
                 "function (ntf) is a small network that reads the teacher's last hidden state and "
                 "learns, on other questions whose truth is known, whether a label is right.")
            ] if studies else []


def overview(studies):
    """The paper's main table in its form, and its values below: other models and questions, so they
    stand there for the size of the effects."""
    # further scores, a user's own among them, have a column behind the paper's
    ways = [*COLUMNS, *sorted({way for study in studies for way in study.students
                               if is_score(way) and labels_of(way) == way}.difference(COLUMNS),
                              key=place)]
    body = []
    for study in studies:
        body.append([study.module.TITLE, " → ".join(sizes(study)),
                     *(recovering(study, by) for by in ways)])
        body += [["", "  " + source, *cells] for source, cells in by_source(study, ways)]
    for k, (models, row) in enumerate(PAPER.items()):
        body.append(["" if k else "the paper's MCQA", models, *(
            f"{accuracy / 100:.3f} ({recovered:g} %)" for accuracy, recovered in row[:-1]),
            f"{row[-1][0] / 100:.3f}", *("" for _ in ways[len(COLUMNS):])])
    explained = [by for by in dict.fromkeys((*ways, *itertools.chain(*(study.students
                 for study in studies)))) if by in SAID]
    return [Table("Students by the labels that train them: accuracy on test rows (Recovery), as in "
                  "the paper's main table", ["task", "teacher → student", "all (naive)",
                                             "I-Confidence", "ICL + I-Conf", "reward model", "NTF",
                                             "truth", *ways[len(COLUMNS):]], body),
            Bullets([f"{by}: {SAID[by]}" for by in explained]),
            Text("Accuracy is the mean over benchmarks, each of which has a line of its own where "
                 "there are several. Recovery, in brackets: (student - untuned) / (truth - "
                 "untuned), of mean accuracies, untuned and truth being of the same model, trained "
                 "in the same way. Below 0 % (worse than untuned) and above 100 % (better than on "
                 "true labels) are possible. -: truth - untuned is below 2 standard errors. The "
                 "models, questions and numbers of rows of the paper (Uzunoglu et al. 2026) are "
                 "others, so accuracies do not compare; Recovery does, roughly.")]


def recovering(study, way):
    """"0.760 (90.0 %)": accuracy of the student of a way, and its Recovery; of truth it is 1."""
    shown = mean(acc(study, f"student-{way}"))
    return shown if way == "truth" or shown == GONE else \
        f"{shown} ({share(study.recovery(f'student-{way}'))})"


def by_source(study, ways):
    """Yield (source, [accuracy of each way's student]) of the benchmarks, where there are several.
    """
    parts = sorted({part for run in study.runs.values() for part, metric in run.metrics
                    if part != "all" and metric == study.module.TASK})
    for source in parts:
        yield source, [mean(study.sliced("none", f"student-{by}", source, study.module.TASK))
                       for by in ways]


def chapter(study, pictures):
    """Everything about one task. pictures: {name: Picture} of those that were drawn."""
    drawn = [pictures[name] for kind in ("purity", "chain")
             if (name := f"{study.task}-{kind}") in pictures]
    return Details(study.module.TITLE, [
        *drawn[:1], *choice_table(study), *student_table(study), *drawn[1:], *chain_table(study),
        *answer_table(study)])


def choice_table(study):
    """The form of the paper's Table 1: methods as rows; AUC, ECE, Brier score, purity. A group of
    rows a regime: where the trust function learned from such questions, and where from others."""
    body = []
    for regime, sources in study.parts().items():
        # metrics on a part of the pool carry its name: "auc, other distribution"
        end, names = (f", {regime}" if regime else ""), scored(study, regime)
        where = f"{regime}: {', '.join(sorted(sources))}" if regime else INSIDE
        for i, name in enumerate(names):
            auc, ece, brier, purity = (study.summary("none", f"trust-{name}", metric + end)
                                       for metric in ("auc", "ece", "brier", "purity"))
            body.append(["" if i else where, name, *spread_and_interval(auc), spread(ece),
                         spread(brier), *spread_and_interval(purity)])
    if not body:
        return []
    body += [["" if k else "the paper's", name, f"{auc:.2f}", "", f"{ece:.2f}", f"{brier:.2f}",
              f"{purity:.2f}", ""] for k, (name, (auc, ece, brier, purity)) in
             enumerate(SCORES.items())]
    right = study.summary("none", "trust-ntf", "purity_random")
    shares = {f"{100 * run.kept:.0f} %" for run in study.of("none", "trust-ntf").values()}
    return [Table(f"{study.module.TITLE}: how good each choice of labels is",
                  ["labels", "score", "AUC", "95 % interval", "ECE", "Brier", "purity",
                   "95 % interval"], body),
            Bullets(["Means over seeds ± sd. AUC: the chance that a right label has a larger "
                     "score than a wrong one; 0.5 is no information",
                     "ECE, Brier: how far the score is from a probability, smaller is better; "
                     f"{GONE}: the score is none",
                     "purity: share of right labels among those chosen "
                     f"({' or '.join(sorted(shares))} of the pool)" +
                     f"; of all the teacher's labels {mean(right)} are right" * bool(right),
                     *(["ntf: the hidden state alone, as in the paper; ntf-both also reads how "
                        "certain the teacher was"] * bool(study.of("none", "trust-ntf-both"))),
                     *(f"{regime}: questions of sources that the trust function did not learn from"
                       for regime in study.parts() if regime == "other distribution"),
                     *(f"{regime}: the trust function learned on another task's answers"
                       for regime in study.parts() if regime == "other interface"),
                     "the paper's: its Table 1, of Qwen3 0.6B, Qwen3 1.7B and Gemma3 1B"])]


def student_table(study):
    """A line a student: its labels, accuracy, Recovery and PGR side by side."""
    body = []
    bases = dict.fromkeys(name for name, _ in study.runs if name.startswith("base-strong"))
    names = ["weak-none", *bases, *(f"student-{by}" for by in study.students)]
    for name in names:
        way = {"weak-none": "(teacher)", "base-strong": "(untuned student)"}.get(
            name, name.removeprefix("student-").replace("base-strong-", "(untuned) "))
        # of the others a share is 0 or 1 by definition, or is not of a student
        shares = [shown(study.recovery(name)), shown(study.gap(name))] if (
            name.startswith("student-") and name != study.twins(name)[1]) else ["", ""]
        steps = study.steps([part("student-all"), part(name)], study.module.TASK) \
            if name.startswith("student-") and name != "student-all" else []
        body.append([way, *labels(study, way), *spread_and_interval(acc(study, name)), *shares,
                     change(steps)])
    return [Table(f"{study.module.TITLE}: students by the labels that train them",
                  ["labels", "rows", "right", study.module.TASK, "95 % interval", "Recovery", "PGR",
                   "above all"], body),
            Bullets(["rows, right: how many labels train it, and the share of right ones. Means "
                     "over seeds ± sd; in brackets 95 % intervals",
                     f"{study.module.TASK}: {study.module.METRICS[study.module.TASK]}",
                     "Recovery: (student - untuned student) / (truth - untuned student); PGR: "
                     "(student - teacher) / (truth - teacher). Both in per cent, of mean "
                     "accuracies; below 0 and above 100 are possible. -: what is divided by is "
                     "below 2 standard errors",
                     "above all: accuracy minus that of the student on all weak labels, rows "
                     "paired", *(f"-{end}: on the same labels, trained with {name}"
                                 for end, name in OTHERWISE.items()
                                 if any(by.endswith(f"-{end}") for by in study.students)),
                     *(["-gen2, gen3, ...: a later generation of the chain, or the larger model of "
                        "its students"] * any("gen" in by for by in study.students))])]


def labels(study, way):
    """[rows, share of right ones] of the labels that train a student, means over seeds; blank
    where no choice was judged."""
    # student-all has no choice of its own: that of ntf was made from all the labels, and counts
    # their right ones
    way = labels_of(way)
    if way.startswith("labelled"):  # no choice of the pool alone
        counts = [run.config.get("rows") for run in study.of("none", f"student-{way}").values()]
        return [f"{np.mean(counts):.0f}" if counts and None not in counts else "",
                "" if "ntf" in way else "1.000"]
    by = "ntf" if way == "all" else way
    choices = study.of("none", f"trust-{by}") or (
        {seed: run for (_, seed), run in study.judged.items() if run.teacher == "weak-none"}
        if way in ("all", "truth") else {})  # any choice has the whole pool
    if not choices:
        return ["", ""]
    rows = np.mean([run.about["pool" if way in ("all", "truth") else "kept"]
                    for run in choices.values()])
    key = "right" if way == "all" else "right_kept"
    right = np.mean([run.metrics["all", key] for run in choices.values()])
    return [f"{rows:.0f}", "1.000" if way.startswith("truth") else f"{right:.3f}"]


def chain_table(study):
    """A line a generation: the teacher's labels, the choice, the student; [] where no second
    generation was trained."""
    if len(study.chain) < 2:
        return []
    same = [way for way in study.students if way.endswith("-same-tau")]
    body = [chain_line(study, way, before) for way, before in zip(
        study.chain, [None, *study.chain])]
    body += [chain_line(study, way, before) for way, before in zip(same, ["ntf", *same])]
    return [Table(f"{study.module.TITLE}: the chain",
                  ["generation", "trust function", "teacher", "labels right", "chosen: right",
                   "AUC", f"student's {study.module.TASK}", "95 % interval", "Recovery",
                   "above the last", "p"], body),
            Text("The student of one generation labels the same pool again and is the teacher of "
                 "the next; students start from the untuned model, from a larger one where "
                 "--strong names more (reading T3). anew: a trust function learns from the new "
                 "teacher's states. the first: that of generation 1, by the first teacher's "
                 "states behind the new teacher's answers. labels right: of all that the teacher "
                 "gave; chosen: right: of those that train the student.")]


def chain_line(study, way, before):
    """A line of the chain: `way`, and the way of the generation before it, None of the first."""
    steps = study.steps([part(f"student-{before}"), part(f"student-{way}")],
                        study.module.TASK) if before else []
    number = "1" if way == "ntf" else way.removeprefix("gen").removesuffix("-same-tau")
    return [number, "the first" if "same" in way else "anew",
            f"student-{before}" if before else "weak", *(
                mean(study.summary("none", f"trust-{way}", metric))
                for metric in ("purity_random", "purity", "auc")),
            *spread_and_interval(acc(study, f"student-{way}")),
            shown(study.recovery(f"student-{way}")), change(steps),
            format_p(steps[0], "p") if steps else ""]


def answer_table(study):
    """Shares of each answer in the pool and among the labels chosen by ntf (reading T5)."""
    seeds = [run.about.get("shares") or {} for run in study.of("none", "trust-ntf").values()]
    names = sorted({name for shares in seeds for name in shares})
    if not 1 < len(names) <= 10:  # free answers have no places
        return []
    means = [[f"{np.mean([shares.get(name, (0, 0))[k] for shares in seeds]):.3f}" for name in names]
             for k in (0, 1)]
    return [Table(f"{study.module.TITLE}: answers, by place", ["labels", *names],
                  [["all", *means[0]], ["chosen by ntf", *means[1]]]),
            Text("Share of each answer among the labels: a choice that drifts to some answers "
                 "would show here.")]


def crossing_table(crossings):
    """Students on all labels and on trusted ones, under each strategy; [] without a crossing."""
    body = []
    for crossing in crossings:
        study, module = crossing.study, crossing.study.module
        for (key, name), metric in itertools.product(STRATEGIES.items(),
                                                     (module.TASK, module.TRUST)):
            first = metric == module.TASK  # of a strategy's two lines: names and labels stand once
            right = crossing.right(key) if first else None
            means = [mean(study.summary(key, model, metric))
                     for model in ("student-naive", CROSSED)]
            steps = crossing.steps(key, metric)
            body.append([module.TITLE if first and key == "none" else "", name if first else "",
                         " → ".join(f"{share:.3f}" for share in right) if right else "", metric,
                         *means, *(difference_cells(steps[0]) if steps else ["", "", ""]),
                         judge(steps)[0]])
    if not body:
        return []
    less = [c.study.module.TRUST for c in crossings if c.study.module.SIGN < 0]
    return [Table("student-naive on all weak labels, and on trusted ones",
                  ["property", "strategy", "labels right", "metric", "all", "trusted", "difference",
                   "95 % interval", "p", "better?"], body),
            Text("Does filtering raise task performance, and what does it do to the property? The "
                 "trusted labels are those weak labels that the trust function trusts most; both "
                 "students are measured on the same test rows, so the difference is paired. labels "
                 "right: share of right labels, of all and of the trusted. better?: seen = better, "
                 "and the interval excludes 0; not clear = better, but it includes 0; not seen = "
                 "not better, and it includes 0; reversed = worse, and it excludes 0. The trusted "
                 "student also has fewer labels, so a loss need not come from which they are." +
                 f" Smaller is better: {', '.join(less)}." * bool(less))]


def judging(studies):
    """How claims about trust are judged."""
    return [Text("Trust functions: of several scores the closest rival stands here. An AUC is "
                 "compared with the one in the claim. Near-lossless is judged by the interval of "
                 "the difference from the student on true labels, never by Recovery.")
            ] if any(isinstance(study, Trusted) for study in studies) else []


def method(studies, draws):
    """How the numbers about trust were made."""
    return [f"AUC, ECE, Brier score, purity: {min(draws, DRAWS)} draws of seeds, then of groups of "
            "rows of the pool; scores of the same labels share each draw. The interval of the ECE "
            "is reflected: noise makes a sample's larger. Recovery, PGR: the ratio in each draw of "
            "the means over seeds."] if any(isinstance(study, Trusted) for study in studies) else []


# ---- words ---------------------------------------------------------------------------------------

def acc(study, name):
    """Study.summary of the task metric of a run."""
    return study.summary("none", name, study.module.TASK)


def scored(study, regime):
    """Names of the scores that were measured in a regime ("": in distribution), in the order of the
    tables. Those that did not learn, or learned in distribution, stand in each."""
    names = {name.removeprefix("trust-") for name in (*study.abroad(""), *study.abroad(regime))}
    return sorted(filter(is_score, names), key=lambda by: (by != "random", place(by)))


# A share is what Study.share returns, of Recovery or PGR: None without runs.

def share(of):
    """"98.9 %"."""
    return percent(of) if defined(of) else GONE


def defined(of):
    """False where truth and base are equal, so that there is no share."""
    return bool(of) and not math.isnan(of["value"])


def shown(of):
    """"98.9 % [95, 102]"; GONE where what it is a share of is not clearly above 0."""
    if not defined(of) or of["doubtful"]:
        return GONE
    interval = format_interval(of["interval"], lambda end: f"{100 * end:.0f}")
    return f"{percent(of)} {interval}"


def change(steps):
    """"+0.020 [+0.010, +0.030]" of the first of Study.steps."""
    if not steps:
        return ""
    return f"{signed(steps[0]['difference'])} {format_interval(steps[0]['interval'], signed)}"


def sizes(study):
    """Yield the names of the teacher's and of the student's model."""
    for model in ("weak", "ceiling"):
        config = next(iter(study.configs(model)), {})
        yield Path(str(config.get("model_name") or config.get("args", {}).get("model") or
                       "unknown")).name
