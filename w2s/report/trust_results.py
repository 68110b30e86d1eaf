"""Trust functions: students on chosen labels and how good each choice is, from finished runs.

Trusted is the Study of a task of trust functions: its runs are students, its judged runs (of
train_ntf.py) say which labels trained them. Crossing is a property whose students were trained on
trusted labels too. N rows of a pool, D bootstrap draws.
"""

import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from w2s import metrics, rows, tasks
from w2s.report.claims import OURS, Claim, arrow, judge
from w2s.report.measurements import entries, lack, resample, seeds_in, written
from w2s.report.results import CROSSED, STRATEGIES, Study, clear_of_noise
from w2s.runs import facts_of
from w2s.trust import score_metrics
from w2s.trust.selection import CALIBRATION, PROBABILITIES

WAYS = ("all", "random", "confidence", "margin", "entropy", "icl-confidence", "reward", "ntf",
        "truth-n", "truth")  # to choose the labels of a student, in the order of the tables
CHAIN = ("ntf", "gen2", "gen3")  # a student on trusted labels labels anew and is the next teacher
OTHERWISE = {"lora": "LoRA", "grpo": "GRPO"}  # students on the labels of ntf, trained otherwise
EXPECTED = ("all", "random", "confidence", "truth", *CHAIN)  # of run_all.sh; others if there
SCORED = ("margin", "entropy")  # rank as confidence nearly does: a choice, and no student
CONFIDENCE = ("confidence", *SCORED, "icl-confidence")
SCORES = (*CONFIDENCE, "reward", "ntf", "ntf-zero-shot", "ntf-other-task")  # but by lot
FILES = ("DONE", "config.json", "trust.json", "trust.jsonl")
INSIDE = "in distribution"
DRAWS = 1000  # at most, behind the intervals of AUC, ECE, Brier score and purity
ABOUT = {"select": str, "pool": int, "kept": int, "regimes": {...: str},  # of trust.json
         "shares": {...: (rows.NUMBER, rows.NUMBER)}}
SOURCE = "Uzunoglu et al."  # whose claims stand without a place of their own
PURE, FULL = .9, .8  # what purity and Recovery are held against


@dataclass(eq=False)
class Judged:
    """A teacher's labels of the pool, each with a trust and whether it is right: a finished run of
    train_ntf.py. A metric on a part of the pool is called "<metric>, <part>"."""

    args: dict  # of train_ntf.py
    teacher: str  # name of the run that made the labels
    about: dict  # trust.json
    metrics: dict  # {(slice, metric): value} of it
    ids: list
    groups: list
    sources: list
    score: np.ndarray  # (N,)
    right: np.ndarray  # (N,) in {0, 1}
    values: dict = field(default_factory=dict)  # {metric: float}
    draws: dict = field(default_factory=dict)  # {metric: (D,)}

    @classmethod
    def read(cls, folder):
        """Raises ValueError `FILE: what is wrong`."""
        path = folder / "trust.json"
        about = rows.present(rows.read_json(path, ABOUT, "run train_ntf.py again"))
        config = facts_of(folder)
        rule = {"id": str, "trust": rows.NUMBER, "right": (0, 1)}
        found = rows.read(folder / "trust.jsonl", rule)
        measured = entries(path, "metrics")
        try:
            assert 0 < about["kept"] <= about["pool"] == len(found) and about["regimes"] is not None
            assert {("all", "right"), ("all", "right_kept")} <= measured.keys() and about["select"]
            teacher = Path(config["args"]["teacher"]).name
        except (AssertionError, KeyError, TypeError, ValueError):
            raise ValueError(f"{path}: does not belong to trust.jsonl; delete the folder and run "
                             "train_ntf.py again") from None
        return cls(config["args"], teacher, about, measured, [row["id"] for row in found],
                   [str(row.get("group", row["id"])) for row in found],
                   [row.get("source", "") for row in found],
                   np.array([row["trust"] for row in found], np.float64),
                   np.array([row["right"] for row in found], np.float64))

    @property
    def kept(self):
        """Share of the pool that was chosen."""
        return self.about["kept"] / self.about["pool"]

    def ranked(self, parts):
        """{end of a metric's name: (rows of that part of the pool, highest trust first, share
        chosen, {metric: float})}; parts {name: sources}, "" the whole pool."""
        result = {}
        for name, sources in parts.items():
            at = np.array([i for i, source in enumerate(self.sources)
                           if not name or source in sources], int)
            if len(at):
                n = max(1, round(self.kept * len(at)))
                found = score_metrics.observed(self.score[at], self.right[at], n)
                found["purity_half"] = metrics.purity(self.score[at], self.right[at],
                                                      max(1, len(at) // 2))
                if self.about["select"] not in PROBABILITIES:
                    found = {key: v for key, v in found.items() if key not in CALIBRATION}
                order = at[np.argsort(-self.score[at], kind="stable")]
                result[f", {name}" if name else ""] = order, n / len(at), found
        return result


@dataclass
class Trusted(Study):
    """One task of trust functions; a part is ("none", name of a run)."""

    judged: dict = field(default_factory=dict)  # {(name, seed): Judged}

    @classmethod
    def read(cls, folder, draws=10000, seed=0):
        """The runs of RUNS/<task>."""
        study = cls(folder, tasks.load(folder.name), seeds_in(folder))
        for name, n in itertools.product(study.names(), study.seeds):
            if name.startswith("trust-"):
                judge_run(study, name, n)
            else:
                study._add(name, n)
        rng = np.random.default_rng([seed, *study.task.encode()])
        resample(study, draws, rng)
        resample_judged(study.judged, study.parts(), min(draws, DRAWS), rng)
        return study

    def names(self):
        """Runs that are expected, or there."""
        there = {path.name for seed in self.seeds for path in self.at("", seed).glob("*")}
        ways = [by for by in (*WAYS, *CHAIN[1:], *OTHERWISE)
                if by in EXPECTED or f"student-{by}" in there or f"trust-{by}" in there]
        more = sorted({name for name in there if name.startswith("trust-ntf-")})
        return ["weak-none", "base-strong",
                *(f"student-{by}" for by in ways if by not in SCORED or f"student-{by}" in there),
                *(f"trust-{by}" for by in ways if by not in ("all", *OTHERWISE)), *more]

    @property
    def models(self):
        return "weak", "ceiling"

    @property
    def students(self):
        """The ways to choose labels, and to go on from there, with a student in some seed."""
        return [by for by in (*WAYS, *CHAIN[1:], *OTHERWISE) if self.of("none", f"student-{by}")]

    def name(self, strategy, model):
        return {"weak": "weak-none", "ceiling": "student-truth"}.get(model, model)

    def of(self, strategy, model):
        """{seed: Run or Judged} of a run's name."""
        name = self.name(strategy, model)
        found = self.judged if name.startswith("trust-") else self.runs
        return {seed: found[name, seed] for seed in self.seeds if (name, seed) in found}

    def configs(self, model):
        """Of the teacher, or of the models that started where its students did."""
        return [run.config for (name, _), run in self.runs.items()
                if (name == "weak-none") == (model == "weak")]

    def sign(self, metric):
        return -1 if metric.split(",")[0] in (*CALIBRATION, "aurc") else 1

    def summary(self, strategy, model, metric):
        found = super().summary(strategy, model, metric)
        if found and metric.startswith("ece"):  # its interval is reflected, see score_metrics
            low, high = found["interval"]
            found["interval"] = min(low, found["mean"]), max(high, found["mean"])
        return found

    def parts(self):
        """{regime: sources of the pool that a trust function did not learn from}; "": all."""
        found = {"": set()}
        for run in self.judged.values():
            for source, regime in run.about["regimes"].items():
                if regime != INSIDE:
                    found.setdefault(regime, set()).add(source)
        return found

    def abroad(self, regime):
        """Names of the trust functions in that regime; "": in distribution, or scores that did not
        learn."""
        return [name for name in dict.fromkeys(name for name, _ in self.judged)
                if any(regime in set(run.about["regimes"].values()) - {INSIDE} if regime else
                       set(run.about["regimes"].values()) <= {INSIDE}
                       for run in self.of("none", name).values())]

    def recovery(self, student):
        """TF's Recovery (reading T4): `share` from the untuned student to that on true labels."""
        return self.share(*(("none", name) for name in ("base-strong", student, "student-truth")))

    def gap(self, student):
        """PGR: `share` from the teacher to the student on true labels."""
        return self.share(*(("none", name) for name in ("weak-none", student, "student-truth")))

    def cells(self):
        """Yield the lines of results.csv; of a choice, model is the teacher whose labels it is of
        and selection the way to choose."""
        for (name, seed), run in self.runs.items():
            base, weak, truth = (self.runs.get((part, seed)) and self.runs[part, seed].values["acc"]
                                 for part in ("base-strong", "weak-none", "student-truth"))
            values, own = run.metrics | {("all", "acc"): run.values["acc"]}, run.values["acc"]
            if name.startswith("student-") and name != "student-truth" and truth is not None:
                for metric, low, share in (("recovery", base, self.recovery(name)),
                                           ("pgr", weak, self.gap(name))):
                    if low is not None:
                        values["all", metric] = metrics.recovery(own, low, truth) \
                            if clear_of_noise(share) else None
            yield from written((self.task, "none", *stands_for(name), seed), values)
        for (name, seed), run in self.judged.items():
            values = {("all", key): v for key, v in run.values.items() if key == "purity_half"}
            yield from written((self.task, "none", *chosen_by(name, run), seed),
                               run.metrics | values)

    def doubts(self):
        yield from super().doubts()
        for (name, seed), run in self.judged.items():
            for metric, counted in run.values.items():
                said = run.metrics.get(("all", metric), counted)
                if not abs(said - counted) <= 1e-4 and not math.isnan(said + counted):
                    yield self.at(name, seed), metric, said, counted


def judge_run(study, name, seed):
    """Read one run of train_ntf.py, or note why it cannot be used."""
    folder = study.at(name, seed)
    if why := lack(folder, FILES):
        study.missing.setdefault((name, why), []).append(seed)
        return
    study.judged[name, seed] = found = Judged.read(folder)
    if any(run.ids != found.ids for (_, n), run in study.judged.items() if n == seed):
        raise ValueError(f"{folder / 'trust.jsonl'}: not the pool that the other choices of seed "
                         f"{seed} have; choose them all from one file")


def resample_judged(found, parts, draws, rng):
    """Set values and draws of {(name, seed): Judged} on parts of their pools: groups of rows are
    drawn with replacement, the same draw for all that have the same pool, so differences stay
    paired. What is no score of its own (truth, truth-n) is left out."""
    sharing = {}
    for _, run in sorted(found.items()):
        if not run.about["select"].startswith("truth") and len(np.unique(run.score)) > 1:
            sharing.setdefault((tuple(run.ids), tuple(run.groups)), []).append(run)
    for (_, groups), runs in sharing.items():
        ranked, drawn = [run.ranked(parts) for run in runs], [{} for _ in runs]
        for weight in score_metrics.resampled(np.unique(groups, return_inverse=True)[1], draws,
                                              rng):
            for run, pieces, into in zip(runs, ranked, drawn):
                for end, (order, share, values) in pieces.items():
                    names = [name for name in values if name != "aurc"]  # shown nowhere
                    with np.errstate(all="ignore"):  # a draw without a row of a part, or a class
                        sample = score_metrics.weighted(run.score[order], run.right[order],
                                                weight[:, order], share, names)
                    for name in names:
                        into.setdefault(name + end, []).append(sample[name])
        for run, pieces, into in zip(runs, ranked, drawn):
            run.values |= {name + end: v for end, (*_, values) in pieces.items()
                           for name, v in values.items()}
            run.draws = {name: np.concatenate(parts) for name, parts in into.items()}
            for name in run.draws:
                if name.startswith("ece"):  # the basic bootstrap, as in w2s.trust.score_metrics
                    run.draws[name] = np.maximum(0, 2 * run.values[name] - run.draws[name])


def stands_for(name):
    """(model, selection) in results.csv of a run of a task of trust functions."""
    way = name.removeprefix("student-")
    if name in ("weak-none", "base-strong"):
        return name.removesuffix("-none"), "all"
    return (name, "ntf") if way in (*CHAIN[1:], *OTHERWISE) else ("student-naive", way)


def chosen_by(name, run):
    """(model, selection) in results.csv of a choice: whose labels, chosen how."""
    way = name.removeprefix("trust-")
    return stands_for(run.teacher)[0], "ntf" if way in CHAIN else way


# ---- claims --------------------------------------------------------------------------------------

def part(name):
    return "none", name


def percent(found):
    """"98.9 %"; "-" where what it is a share of is within noise."""
    return "-" if found["doubtful"] else f"{100 * found['value']:.1f} %"


# ---- a property and a trust function -------------------------------------------------------------

@dataclass
class Crossing:
    """A property whose student-naive was trained on all labels and on trusted ones."""

    study: Study
    judged: dict  # {(strategy, seed): Judged} of the weak labels that the strategy's student had

    @classmethod
    def read(cls, study):
        """The choices of its weak labels; those that cannot be used are noted in the study."""
        found = {}
        for teacher, seed in itertools.product(("none", "tft"), study.seeds):
            folder = study.at(f"trust-ntf-{teacher}", seed)
            if why := lack(folder, FILES):
                study.missing.setdefault((folder.name, why), []).append(seed)
                continue
            for key in ("none",) if teacher == "none" else ("weak", "both"):
                found[key, seed] = Judged.read(folder)
        return cls(study, found)

    def steps(self, strategy, metric):
        """The step from all labels to trusted ones; positive: better."""
        return self.study.steps([(strategy, "student-naive"), (strategy, CROSSED)], metric)

    def right(self, strategy):
        """Means over seeds: share of right labels, of all and of the trusted ones; None."""
        found = [run.metrics for (key, _), run in self.judged.items() if key == strategy]
        return [float(np.mean([each["all", name] for each in found]))
                for name in ("right", "right_kept")] if found else None

    def claims(self):
        """[Claim]: does filtering raise task performance, and what does it do to the property?"""
        module = self.study.module
        verbs = {module.TASK: "raise", module.TRUST: "raise" if module.SIGN > 0 else "lower"}
        result = []
        for (key, name), (metric, verb) in itertools.product(STRATEGIES.items(), verbs.items()):
            steps = self.steps(key, metric)
            result.append(Claim(f"{name}: trusted labels {verb} the {metric} of student-naive",
                                OURS, "", arrow(steps), *judge(steps)))
        return result

    def cells(self):
        """Yield the lines of results.csv about the choices; those about students: Study.cells."""
        for (key, seed), run in self.judged.items():
            yield from written((self.study.task, key, "weak", "ntf", seed), run.metrics)
