"""Trust functions in short: students, the chain, labelled rows, scores."""

from w2s.report.render import Table, Text, mean
from w2s.report.trust_claims import budgets, lossless_words
from w2s.report.trust_names import BUDGET
from w2s.report.trust_tables import acc, scored, share

GLANCE = ("all", "random", "confidence", "icl-confidence", "reward", "ntf", "truth-n", "truth")
SHORT = {"confidence": "confid.", "icl-confidence": "icl-conf"}


def glance(studies):
    """The headline means of every task."""
    if not studies:
        return []
    students, beside, scores = [], [], []
    for study in studies:
        names = ["weak-none", "base-strong", *(f"student-{by}" for by in GLANCE)]
        students.append([study.task, *(mean(acc(study, name)) for name in names)])
        students.append(["  Recovery", "", "", *(share(study.recovery(f"student-{by}"))
                                                  for by in GLANCE[:-1]), ""])
        beside += [["" if i else study.task, *line] for i, line in enumerate(beside_lines(study))]
        for i, name in enumerate(scored(study, "")):
            cells = [mean(study.summary("none", f"trust-{name}", metric))
                     for metric in ("purity_random", "auc", "ece", "brier", "purity")]
            scores.append(["" if i else study.task, name, *cells])
    return [Table("Trusted labels at a glance: accuracy on test rows, means over seeds",
                  ["task", "teacher", "untuned", *(SHORT.get(by, by) for by in GLANCE)], students),
            *(Text(f"{study.module.TITLE}, ntf against truth: {words} (margin {study.margin:g}).")
              for study in studies if (words := lossless_words(study))),
            *([Table("Further students: the chain, zero-shot, other training",
                     ["task", "student's labels", "accuracy", "Recovery"], beside)]
              if beside else []),
            *labelled_table(studies),
            Text("teacher: the weak model; untuned, all ... truth: the strong model before "
                 "training and after training on those labels. Recovery: (student - untuned) / "
                 "(truth - untuned), truth trained in the same way; -: truth is not 2 "
                 "standard errors above untuned. labels right: share of all the teacher's labels; "
                 "purity: of those chosen."),
            *([Table("How good a score tells right labels from wrong ones, means over seeds",
                     ["task", "score", "labels right", "AUC", "ECE", "Brier", "purity"], scores)]
              if scores else [])]


def beside_lines(study):
    """[[labels, accuracy, Recovery]] of the students that are in no other table at a glance."""
    ways = [way for way in study.students if way not in GLANCE and not BUDGET.fullmatch(way)
            and way not in ("labelled", "labelled-ntf")]
    return [[way, mean(acc(study, f"student-{way}")), "" if way.startswith("truth") else
             share(study.recovery(f"student-{way}"))] for way in ways]


def labelled_table(studies):
    """[Table] of what the labelled rows are worth: spent on the trust function, on the student
    itself, on both; [] without such students. The paper has no such control."""
    body = []
    for study in studies:
        for end in [*budgets(study)[1:], ""]:
            names = [f"student-{way}{end}" for way in ("labelled", "ntf", "labelled-ntf")]
            if study.of("none", names[0]):
                body.append([study.task, end[2:] or "all", *(mean(acc(study, name))
                                                              for name in names)])
    return [Table("What the labelled rows are worth: accuracy of the student", [
        "task", "labelled rows", "trained on them", "on labels of the NTF that learned from them",
        "on both"], body)] if body else []
