"""The rule of A.2: which of several lambdas the ceiling has, and weak model and student might have.
"""

from dataclasses import dataclass, field

import numpy as np

from w2s.report.measurements import headline, measured, sums

ROLES = {  # role: name of the run with lambda 0, with the recipe's, prefix for others
    "weak": ("weak-none", "weak-tft", "weak-lam-"),
    "student": ("student-naive-weak", "student-naive-both", "student-naive-lam-"),
    "ceiling": ("ceiling-none", "ceiling-tft", "ceiling-lam-")}


@dataclass
class Choice:
    """The best run of a role by the rule of `choose`; without scores: it could not be chosen."""

    run: str
    select: str  # name of the rows that decided: "val" or "test"
    scores: dict = field(default_factory=dict)  # {run: mean over seeds}
    seeds: int = 0
    measured: bool = False  # False: trust is undefined on these rows, the task metric decided


def choose(study, role, select):
    """Choice of a role's lambda (readings E11, E20): the largest mean over seeds of
    (task + trust) / 2 on the rows called `select`; where smaller trust values are better (DPD),
    1 - value. The paper (A.2) takes the upper right corner of such curves."""
    names = [name for _, name in study.role(role)] or [ROLES[role][0]]
    if best := ranked(study, names, select):
        return best
    finished = {name for name, _ in study.runs}
    usual = [name for name in ROLES[role][1::-1] if name in finished]  # the recipe's, else 0
    return Choice((usual or [ROLES[role][0]])[0], select)


def ranked(study, names, select):
    """Choice of the best of several runs by the rule of `choose`, over the seeds that have them
    all; a tie goes to the first. None without such a seed, or with one run."""
    candidates = [key for key in study.runs if key[0] in names
                  and (study.at(*key) / "predictions" / f"{select}.jsonl").exists()]
    pairs = {key: tradeoff(study.module, study.at(*key), select) for key in candidates}
    names = [name for name in names if any(key[0] == name for key in pairs)] or names
    # only seeds with all candidates: otherwise a lambda could win by an easier split
    seeds = [seed for seed in study.seeds if all((name, seed) in pairs for name in names)]
    if not seeds or len(names) < 2:
        return None
    mean = np.mean([[pairs[name, seed] for seed in seeds] for name in names], 1)  # (names, 2)
    measured = not np.isnan(mean[:, 1]).any()
    scores = dict(zip(names, mean.mean(1) if measured else mean[:, 0]))
    return Choice(max(names, key=scores.get), select, scores, len(seeds), measured)


def tradeoff(module, folder, part):
    """(task, trust) of a run on the rows called `part`, turned so that more is better in both."""
    value = headline(module, sum(sums(module, predictions, path).sum(0)
                                 for path, predictions in measured(module, folder, part)))
    trust = value[module.TRUST]
    return value[module.TASK], trust if module.SIGN > 0 else 1 - trust
