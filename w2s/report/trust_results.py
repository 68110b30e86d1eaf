"""Trust functions: students on chosen labels and how good each choice is, from finished runs.

Trusted is the Study of a task of trust functions: its runs are students, and its judged runs, of
train_ntf.py, the choices of the labels that trained them. Crossing is a property whose students
were trained on trusted labels too. N rows of a pool, D bootstrap draws.
"""

import itertools
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from w2s import metrics, rows, tasks
from w2s.report.claims import OURS, Claim, arrow, judge
from w2s.report.measurements import entries, lack, resample, seeds_in, written
from w2s.report.results import CROSSED, STRATEGIES, Study, clear_of_noise
from w2s.report.trust_names import (EXPECTED, GENERATION, OTHERWISE, in_results,
                                     labels_of, place)
from w2s.report.words import measure
from w2s.runs import facts_of
from w2s.trust import score_metrics
from w2s.trust.selection import CALIBRATION, PROBABILITIES

FILES = ("DONE", "config.json", "trust.json", "trust.jsonl")
INSIDE = "in distribution"  # the regime of the sources that a trust function learned from
DRAWS = 1000  # at most, for AUC, ECE, Brier score and purity: each draw weighs the whole pool
ABOUT = {"select": str, "pool": int, "kept": int, "regimes": {...: str},  # of trust.json
         "shares": {...: (rows.NUMBER, rows.NUMBER)}}
SOURCE = "Uzunoglu et al."  # the place of claims whose section is not given
SUFFIXES = tuple(f"-{way}" for way in OTHERWISE)  # of names of students trained otherwise
MARGIN = .02  # how far from the student on true labels still counts as near-lossless; ours


@dataclass(eq=False)
class Judged:
    """A finished run of train_ntf.py: the trust of each of a teacher's labels in the pool, and
    whether it is right. A metric on a part of the pool is called "<metric>, <part>"."""

    args: dict  # of the command
    teacher: str  # name of the run that made the labels
    about: dict  # trust.json, of the shape ABOUT
    metrics: dict  # {(slice, metric): value} in trust.json
    ids: list
    groups: list
    sources: list
    score: np.ndarray  # (N,) trust, larger means right
    right: np.ndarray  # (N,) in {0, 1}
    values: dict = field(default_factory=dict)  # {metric: float}
    draws: dict = field(default_factory=dict)  # {metric: (D,)}

    @classmethod
    def read(cls, folder):
        """The Judged of a run's folder. Raises ValueError `FILE: what is wrong`."""
        path = folder / "trust.json"
        about = rows.present(rows.read_json(path, ABOUT, "run train_ntf.py again"))
        config = facts_of(folder)
        rule = {"id": str, "trust": rows.NUMBER, "right": (0, 1)}
        pool = rows.read(folder / "trust.jsonl", rule)
        measured = entries(path, "metrics")
        try:  # the two files may be of different runs
            assert 0 < about["kept"] <= about["pool"] == len(pool) and about["regimes"] is not None
            assert {("all", "right"), ("all", "right_kept")} <= measured.keys() and about["select"]
            teacher = Path(config["args"]["teacher"]).name
        except (AssertionError, KeyError, TypeError, ValueError):
            raise ValueError(f"{path}: does not belong to trust.jsonl; delete the folder and run "
                             "train_ntf.py again") from None
        return cls(config["args"], teacher, about, measured, [row["id"] for row in pool],
                   [str(row.get("group", row["id"])) for row in pool],
                   [row.get("source", "") for row in pool],
                   np.array([row["trust"] for row in pool], np.float64),
                   np.array([row["right"] for row in pool], np.float64))

    @property
    def kept(self):
        """Share of the pool that was chosen."""
        return self.about["kept"] / self.about["pool"]

    def ranked(self, parts):
        """{suffix of a metric's name: (indices of that part of the pool, highest trust first, share
        chosen, {metric: float})}; parts {name: sources}, "" the whole pool."""
        result = {}
        for name, sources in parts.items():
            index = np.array([i for i, source in enumerate(self.sources)
                              if not name or source in sources], int)
            if len(index):
                score, right = self.score[index], self.right[index]
                n = max(1, round(self.kept * len(index)))  # the pool's share, of this part
                values = score_metrics.observed(score, right, n)
                values["purity_half"] = metrics.purity(score, right, max(1, len(index) // 2))
                if self.about["select"] not in PROBABILITIES:
                    values = {key: v for key, v in values.items() if key not in CALIBRATION}
                order = index[np.argsort(-score, kind="stable")]
                result[f", {name}" if name else ""] = order, n / len(index), values
        return result


@dataclass
class Trusted(Study):
    """One task of trust functions. It has no strategies: a part is ("none", name of a run)."""

    judged: dict = field(default_factory=dict)  # {(name, seed): Judged}
    margin: float = MARGIN  # of near-lossless, in accuracy

    @classmethod
    def read(cls, folder, draws=10000, seed=0, margin=MARGIN):
        """The Trusted of RUNS/<task>; draws, seed: of the bootstrap."""
        study = cls(folder, tasks.load(folder.name), seeds_in(folder), margin=margin)
        for name, n in itertools.product(study.names(), study.seeds):
            if name.startswith("trust-"):
                judge_run(study, name, n)
            # other training is for some seeds only: of the others it does not miss
            elif not name.endswith(SUFFIXES) or study.at(name, n).exists():
                study._add(name, n)
        rng = np.random.default_rng([seed, *study.task.encode()])
        resample(study, draws, rng)
        resample_judged(study.judged, study.parts(), min(draws, DRAWS), rng)
        return study

    def names(self):
        """Names of the runs that are expected or exist, in the order of the tables."""
        folders = {path.name for seed in self.seeds for path in self.at("", seed).glob("*")}
        chosen, trained = ({name.removeprefix(kind) for name in folders if name.startswith(kind)}
                           for kind in ("trust-", "student-"))
        # of a generation, and of a budget, one part tells that the other was to come
        trained |= {way for way in chosen if GENERATION.fullmatch(way)} | {*EXPECTED}
        chosen |= {labels_of(way) for way in trained}
        # what labelled rows add to a choice is no score of the pool's labels
        chosen = {way for way in chosen if not way.startswith("labelled")} - {"all"}
        bases = sorted({"base-strong"} | {name for name in folders
                                          if re.fullmatch("base-strong-gen[0-9]+", name)})
        return ["weak-none", *bases,
                *(f"student-{way}" for way in sorted(trained, key=place)),
                *(f"trust-{way}" for way in sorted(chosen, key=place))]

    @property
    def models(self):
        return "weak", "ceiling"

    @property
    def students(self):
        """The ways to choose labels, later generations and other training that have a student."""
        ways = {name.removeprefix("student-") for name, _ in self.runs if "student-" in name}
        return sorted(ways, key=place)

    @property
    def chain(self):
        """The ways of the generations that have a student: "ntf", "gen2", ..."""
        return ["ntf", *(way for way in self.students if re.fullmatch("gen[0-9]+", way))]

    def name(self, strategy, model):
        return {"weak": "weak-none", "ceiling": "student-truth"}.get(model, model)

    def of(self, strategy, model):
        """{seed: Run or Judged} of a run's name."""
        name = self.name(strategy, model)
        runs = self.judged if name.startswith("trust-") else self.runs
        return {seed: runs[name, seed] for seed in self.seeds if (name, seed) in runs}

    def configs(self, model):
        """The configurations of the teacher, or of all other models, which share one base."""
        return [run.config for (name, _), run in self.runs.items()
                if (name == "weak-none") == (model == "weak")]

    def sign(self, metric):
        return -1 if metric.split(",")[0] in (*CALIBRATION, "aurc") else 1

    def summary(self, strategy, model, metric):
        summary = super().summary(strategy, model, metric)
        if summary and metric.startswith("ece"):  # reflected, an interval may leave out its mean
            low, high = summary["interval"]
            summary["interval"] = min(low, summary["mean"]), max(high, summary["mean"])
        return summary

    def parts(self):
        """{regime: sources of the pool that a trust function did not learn from}; "" is the whole
        pool and lists none."""
        regimes = {"": set()}
        for run in self.judged.values():
            for source, regime in run.about["regimes"].items():
                if regime != INSIDE:
                    regimes.setdefault(regime, set()).add(source)
        return regimes

    def abroad(self, regime):
        """Names of the choices by a trust function in that regime; "": of those in distribution and
        of scores that learned nothing."""
        return [name for name in dict.fromkeys(name for name, _ in self.judged)
                if any(regime in set(run.about["regimes"].values()) - {INSIDE} if regime else
                       set(run.about["regimes"].values()) <= {INSIDE}
                       for run in self.of("none", name).values())]

    def training(self, name):
        """What makes a student's training: (model, rank of LoRA, objective); of a run that started
        none, of another seed; () without any."""
        args = next((run.config.get("args", {}) for (each, _), run in self.runs.items()
                     if each == name), None)
        return () if args is None else (args.get("model"), args.get("lora_rank") or 0,
                                        args.get("objective") or "sft")

    def twins(self, student):
        """(untuned, on all true labels): names of the runs of the same model, the second trained in
        the same way too; those without a larger one's or another training's name otherwise."""
        how = self.training(student)
        names = dict.fromkeys(name for name, _ in self.runs)
        bases = [name for name in names if name.startswith("base-strong")
                 and self.training(name)[:1] == how[:1]]
        truths = [name for name in names if re.fullmatch("student-truth(-(?!n$).+)?", name)
                  and self.training(name) == how]
        return next(iter(bases), None), next(iter(truths), None)

    def recovery(self, student):
        """TF's Recovery (reading T4): `share` from the untuned student to that on true labels that
        was trained in the same way; None without one of them."""
        base, truth = self.twins(student)
        return base and truth and self.share(*(("none", name) for name in (base, student, truth)))

    def gap(self, student):
        """PGR: `share` from the teacher to the student on true labels."""
        truth = self.twins(student)[1]
        return truth and self.share(*(("none", name) for name in ("weak-none", student, truth)))

    def cells(self):
        """Yield the lines of results.csv. For a choice, model is the teacher that gave the labels,
        selection the way to choose."""
        for (name, seed), run in self.runs.items():
            untuned, ceiling = self.twins(name)
            base, weak, truth = (self.runs.get((part, seed)) and self.runs[part, seed].values["acc"]
                                 for part in (untuned, "weak-none", ceiling))
            acc = run.values["acc"]
            values = run.metrics | {("all", "acc"): acc}
            if name.startswith("student-") and name != ceiling and truth is not None:
                for metric, low, share in (("recovery", base, self.recovery(name)),
                                           ("pgr", weak, self.gap(name))):
                    if low is not None:
                        # one formula: PGR is Recovery above the teacher instead of the untuned
                        values["all", metric] = metrics.recovery(acc, low, truth) \
                            if clear_of_noise(share) else None
            yield from written((self.task, "none", *in_results(name), seed), values)
        for (name, seed), run in self.judged.items():
            values = {("all", key): v for key, v in run.values.items() if key == "purity_half"}
            yield from written((self.task, "none", *chosen_by(name, run), seed),
                               run.metrics | values)

    def doubts(self):
        """Those of Study, and where trust.json is not of its trust.jsonl."""
        yield from super().doubts()
        for (name, seed), run in self.judged.items():
            for metric, counted in run.values.items():
                recorded = run.metrics.get(("all", metric), counted)
                if not abs(recorded - counted) <= 1e-4 and not math.isnan(recorded + counted):
                    yield self.at(name, seed), metric, recorded, counted


def judge_run(study, name, seed):
    """Read one run of train_ntf.py, or note why it cannot be used."""
    folder = study.at(name, seed)
    if why := lack(folder, FILES):
        study.missing.setdefault((name, why), []).append(seed)
        return
    study.judged[name, seed] = judged = Judged.read(folder)
    # scores are compared row by row, so the rows have to be the same
    if any(run.ids != judged.ids for (_, n), run in study.judged.items() if n == seed):
        raise ValueError(f"{folder / 'trust.jsonl'}: not the pool that the other choices of seed "
                         f"{seed} have; choose them all from one file")


def resample_judged(judged, parts, draws, rng):
    """Set values and draws of {(name, seed): Judged} on parts of their pools: groups of rows are
    drawn with replacement, the same draw for all that have the same pool, so differences stay
    paired. True labels (truth, truth-n), which are no score, and constants are left out."""
    sharing = {}
    for _, run in sorted(judged.items()):  # sorted: the draws depend on the order
        if not run.about["select"].startswith("truth") and len(np.unique(run.score)) > 1:
            sharing.setdefault((tuple(run.ids), tuple(run.groups)), []).append(run)
    for (_, groups), runs in sharing.items():
        ranked, chunks = [run.ranked(parts) for run in runs], [{} for _ in runs]
        for weight in score_metrics.resampled(np.unique(groups, return_inverse=True)[1], draws,
                                              rng):
            for run, ranking, draws_of in zip(runs, ranked, chunks):
                for suffix, (order, share, values) in ranking.items():
                    names = [name for name in values if name != "aurc"]  # no table has its interval
                    with np.errstate(all="ignore"):  # a draw without a row of a part, or a class
                        sample = score_metrics.weighted(run.score[order], run.right[order],
                                                weight[:, order], share, names)
                    for name in names:
                        draws_of.setdefault(name + suffix, []).append(sample[name])
        for run, ranking, draws_of in zip(runs, ranked, chunks):
            run.values |= {name + suffix: v for suffix, (*_, values) in ranking.items()
                           for name, v in values.items()}
            run.draws = {name: np.concatenate(pieces) for name, pieces in draws_of.items()}
            for name in run.draws:
                if name.startswith("ece"):  # the basic bootstrap, as in w2s.trust.score_metrics
                    run.draws[name] = np.maximum(0, 2 * run.values[name] - run.draws[name])


def chosen_by(name, run):
    """(model, selection) in results.csv of a choice: the teacher that labelled, how it was made."""
    way = name.removeprefix("trust-")
    if match := GENERATION.fullmatch(way):
        # in the chain of the first trust function the run's teacher has only read the labels
        before = int(match[1]) - 1
        labeller = run.teacher if not match[2] else \
            f"student-gen{before}{match[2]}" if before > 1 else "student-ntf"
        return in_results(labeller)[0], f"ntf{match[2] or ''}"
    return in_results(run.teacher)[0], way


# ---- for claims and tables -----------------------------------------------------------------------

def part(name):
    """The (strategy, model) of a run in a task without strategies."""
    return "none", name


def percent(share):
    """"98.9 %" of a Study.share; "-" where the gap that it is a share of is not clearly above 0."""
    return "-" if share["doubtful"] else f"{100 * share['value']:.1f} %"


# ---- a property and a trust function -------------------------------------------------------------

@dataclass
class Crossing:
    """A property with a student-naive on all weak labels and one on trusted labels."""

    study: Study
    judged: dict  # {(strategy, seed): Judged} of the weak labels of that strategy

    @classmethod
    def read(cls, study):
        """The Crossing of a Study; choices that cannot be used are noted in its `missing`."""
        judged = {}
        for teacher, seed in itertools.product(("none", "tft"), study.seeds):
            folder = study.at(f"trust-ntf-{teacher}", seed)
            if why := lack(folder, FILES):
                study.missing.setdefault((folder.name, why), []).append(seed)
                continue
            # both TFT strategies have the same weak model and so the same labels
            for key in ("none",) if teacher == "none" else ("weak", "both"):
                judged[key, seed] = Judged.read(folder)
        return cls(study, judged)

    def steps(self, strategy, metric):
        """Study.steps from all labels to trusted ones; positive: better."""
        return self.study.steps([(strategy, "student-naive"), (strategy, CROSSED)], metric)

    def right(self, strategy):
        """[share of right labels among all, among the trusted], means over seeds; None without."""
        shares = [run.metrics for (key, _), run in self.judged.items() if key == strategy]
        return [float(np.mean([each["all", name] for each in shares]))
                for name in ("right", "right_kept")] if shares else None

    def claims(self):
        """[Claim] of ours: do trusted labels improve task performance, and the property?"""
        module = self.study.module
        verbs = {module.TASK: "raise", module.TRUST: "raise" if module.SIGN > 0 else "lower"}
        result = []
        for (key, name), (metric, verb) in itertools.product(STRATEGIES.items(), verbs.items()):
            steps = self.steps(key, metric)
            result.append(Claim(f"{name}: trusted labels {verb} the {measure(metric)} of "
                                "student-naive", OURS, "", arrow(steps), *judge(steps)))
        return result

    def cells(self):
        """Yield the lines of results.csv about the choices; Study.cells has the students."""
        for (key, seed), run in self.judged.items():
            yield from written((self.study.task, key, "weak", "ntf", seed), run.metrics)
