"""The claims of Sun et al., Generalizing Trust (arXiv 2501.00418), each with its place.

claims compares them with the runs. Numbers are the paper's, in per cent where they say so; the
words are ours. tests/report/test_claims.py compares this table with one written from the paper.
"""

from typing import NamedTuple

NONE, WEAK, BOTH = "none", "weak", "both"  # No TFT, Weak TFT, Weak+WTS TFT
TABLE_1 = {"fairness": ("no", "no", "yes"), "ood": ("yes", "yes", "yes"),
           "adversarial": ("yes", "no", "yes"), "privacy": ("no", "no", "no")}
OURS = "ours"  # the `place` of a claim that is not in the paper


class Said(NamedTuple):
    """A claim: each of `parts`, pairs (strategy, model), is better than the one before in `metric`.

    metric: "trust", "task" or a headline metric of the task; {name} in the text is its name.
    number: as printed, "" where the paper gives none. margin: "better" means a difference above
    minus this much, for claims about what trust costs."""
    place: str
    number: str
    text: str
    parts: tuple
    metric: str = "trust"
    margin: float = 0


NAIVE, AUX = "student-naive", "student-aux"
STUDENTS = (NAIVE, AUX)
# sections of the paper
TFT, WTS, PRICE = "4.1, Weak TFT", "4.1, Weak+WTS TFT", "4.1, Tradeoff"
STRENGTH, REMARKS = "4.2, Regularization Strength", "4.1, Remarks on privacy"


def from_none(place, number, text, model, strategy, **more):
    """A claim about a model under a strategy, against the same model under No TFT."""
    return Said(place, number, text, ((NONE, model), (strategy, model)), **more)


def within(place, number, text, strategy, *models, **more):
    """A claim about models of one strategy, each better than the one before it."""
    return Said(place, number, text, tuple((strategy, model) for model in models), **more)


# ---- claims about several properties, worded once ------------------------------------------------

SIGNIFICANT = within(WTS, "significant", "Weak+WTS TFT: the {name} of student-naive is better than "
                     "that of weak", BOTH, "weak", NAIVE)
AUX_ABOVE_NAIVE = within(WTS, "", "Weak+WTS TFT: the {name} of student-aux is better than that of "
                         "student-naive", BOTH, NAIVE, AUX)
AMPLIFIED = tuple(Said(STRENGTH, "Figs. A2, 3", f"Weak+WTS TFT improves the {{name}} of {student}, "
                       "compared with Weak TFT", ((WEAK, student), (BOTH, student)))
                  for student in STUDENTS)
# both TFT strategies have the same weak model, so its cost is that of Weak TFT
CHEAP = tuple(from_none(PRICE, "1.5 % at most", f"TFT costs {model} at most 1.5 points of {{name}}",
                        model, WEAK if model == "weak" else BOTH, metric="task", margin=.015)
              for model in ("weak", *STUDENTS))
# the figures are curves over alpha, of which student-naive and student-aux are two points
ALPHA = tuple(within(f"App. B, Fig. {figure}", "", f"{name}: the {{name}} falls as alpha rises "
                     "from 0 (student-naive) to that of student-aux", strategy, AUX, NAIVE,
                     metric="task")
              for strategy, name, figure in ((WEAK, "Weak TFT", "A7"),
                                             (BOTH, "Weak+WTS TFT", "A8")))
SURPASSED = within("1, after Burns et al.", "", "No TFT: the {name} rises from weak to "
                   "student-naive to ceiling", NONE, "weak", NAIVE, "ceiling", metric="task")

# ---- the paper, property by property -------------------------------------------------------------

CLAIMS = {
    "fairness": (
        *(from_none(TFT, "", f"Weak TFT improves the {{name}} of {model}", model, WEAK)
          for model in ("weak", *STUDENTS)),
        SIGNIFICANT, AUX_ABOVE_NAIVE, *AMPLIFIED,
        from_none(PRICE, "3 points, 60 %", "Weak+WTS TFT improves the {name} of student-naive",
                  NAIVE, BOTH),
        *CHEAP,
        within("App. B, Fig. A10", "", "Weak+WTS TFT: the {name} improves from weak to "
               "student-naive to ceiling too", BOTH, "weak", NAIVE, "ceiling",
               metric="tpr_gap_abs"),
        *ALPHA, SURPASSED),
    "ood": (
        from_none(TFT, "", "Weak TFT improves the {name} of weak", "weak", WEAK),
        *(within(TFT, "72 → 75 %", f"Weak TFT: the {{name}} of {student} is better than that of "
                 "weak", WEAK, "weak", student) for student in STUDENTS),
        SIGNIFICANT, *AMPLIFIED, *ALPHA, SURPASSED),
    "adversarial": (
        from_none(TFT, "71 → 78 %", "Weak TFT improves the {name} of weak", "weak", WEAK),
        *(from_none(TFT, "", f"Weak TFT improves the {{name}} of {student}", student, WEAK)
          for student in STUDENTS),
        *(within(TFT, "", f"Weak TFT: the {{name}} of {student} does not surpass that of weak",
                 WEAK, student, "weak") for student in STUDENTS),
        SIGNIFICANT, AUX_ABOVE_NAIVE, *AMPLIFIED,
        *(from_none(PRICE, "3 points at most", f"Weak+WTS TFT improves the {{name}} of {student}",
                    student, BOTH) for student in STUDENTS),
        *CHEAP, *ALPHA, SURPASSED),
    "privacy": (
        from_none(TFT, "18 → 14 %", "Weak TFT lowers the {name} of weak", "weak", WEAK),
        from_none(TFT, "45 → 44 %", "Weak TFT lowers the {name} of student-naive, by less", NAIVE,
                  WEAK),
        from_none(WTS, "45 → 26 %", "Weak+WTS TFT lowers the {name} of student-naive", NAIVE,
                  BOTH),
        within(WTS, "26, 14 %", "Weak+WTS TFT: student-naive remains less private than weak", BOTH,
               NAIVE, "weak"),
        within(REMARKS, "", "No TFT: the {name} is larger in the larger model, ceiling than weak",
               NONE, "ceiling", "weak"),
        within("App. B, Fig. A11", "", "No TFT: so is the {name}", NONE, "ceiling", "weak",
               metric="mia_auc")),
}


def table_1(task):
    """The paper's cells for a task, in the order of the strategies; "-": not in the paper."""
    return TABLE_1.get(task, ("-", "-", "-"))
