"""Runs of one task read into numbers: headlines, bootstrap draws, ceiling, trends, results.csv.

N test rows, m sums of a row, n seeds, D bootstrap draws. claims judges these numbers, document
writes them.
"""

import functools
import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from w2s import metrics, statistics, tasks
from w2s.report.ceiling import ROLES, choose
from w2s.report.measurements import (headline, lack, majority, measured, measurements, resample,
                                     seconds, seeds_in, sums, written)
from w2s.runs import facts_of

STRATEGIES = {"none": "No TFT", "weak": "Weak TFT", "both": "Weak+WTS TFT"}
STUDENTS = ("student-naive", "student-aux")  # of a task without STUDENTS of its own
UNREGULARISED = "ceiling-none"  # the ceiling of No TFT; the others', of all ceiling-*, is chosen
CONTROLS = ("base-weak", "base-strong")  # models before fine-tuning, saved as runs
CROSSED = "student-naive-ntf"  # student-naive on labels that a trust function chose; optional
NEEDED = ("DONE", "config.json", "eval.json", "predictions/test.jsonl")
STATES = ("no", "ordered", "yes")  # of a trend, rising


@dataclass(eq=False)  # compared by identity: == of the arrays in it has no truth value
class Run:
    """A finished run. Its rows are the test rows by id, then those of the files in ATTACKED."""

    config: dict
    metrics: dict  # {(slice, metric): value} of eval.json, attack-*.json, epsilon; nan: undefined
    attacks: dict  # {metric: name of the attack-*.json that measured it}
    seconds: float  # in training steps; nan without log.jsonl
    ids: list
    groups: list
    S: np.ndarray  # (N, m) the task's `sums`
    values: dict  # {metric: float} the headlines
    draws: dict = None  # {metric: (D,)} their bootstrap draws, joint for runs on the same rows


@dataclass
class Study:
    """The runs of one task. A model in a strategy, the unit of the tables, is a (strategy, model)
    pair; `name` says which run stands for it."""

    folder: Path
    module: object
    seeds: list
    runs: dict = field(default_factory=dict)  # {(name, seed): Run}
    missing: dict = field(default_factory=dict)  # {(name, why): seeds}
    majority: dict = field(default_factory=dict)  # {metric: float} headlines of a constant guess
    choices: dict = field(default_factory=dict)  # {role: Choice}; the tables use the ceiling's

    @classmethod
    def read(cls, folder, select="val", draws=10000, seed=0):
        """The Study of RUNS/<task>; lambdas are chosen on the rows called `select`."""
        study = cls(folder, tasks.load(folder.name), seeds_in(folder))
        # without "ceiling": `name` needs its Choice, which needs these runs
        models = *study.models[:-1], *study.crossed
        names = [study.name(*part) for part in itertools.product(STRATEGIES, models)]
        names = dict.fromkeys([*names, *ROLES["ceiling"][:2], *study.controls, *study.grid_runs()])
        for name, n in itertools.product(names, study.seeds):
            study._add(name, n)
        study.choices = {role: choose(study, role, select) for role in ROLES}
        resample(study, draws, np.random.default_rng([seed, *study.task.encode()]))
        return study

    def _add(self, name, seed):
        """Read one run, or note why it cannot be used."""
        folder = self.at(name, seed)
        if why := lack(folder, (*NEEDED, *self.module.ATTACKED)):
            self.missing.setdefault((name, why), []).append(seed)
            return
        ids, groups, S = [], [], []
        peers = [run for (_, n), run in self.runs.items() if n == seed]
        known = {id(run.ids): run.ids for run in peers}.values()  # nearly always one list
        for path, predictions in measured(self.module, folder, "test"):
            predictions.sort(key=lambda row: row["id"])
            ids += [f"{path.stem} {row['id']}" for row in predictions]
            groups += [str(row.get("group", row["id"])) for row in predictions]
            S.append(sums(self.module, predictions, path))
            # differences between models are paired row by row, so the rows have to be the same
            if any(peer_ids[:len(ids)] != ids for peer_ids in known):
                raise ValueError(f"{path}: not the rows that the other runs of seed {seed} have; "
                                 f"{'attack' if len(S) > 1 else 'evaluate'} them all on one file")
            self.majority = self.majority or majority(self.module, predictions)
        # equal lists are held once and not in each run
        ids = next((peer_ids for peer_ids in known if peer_ids == ids), ids)
        groups = next((run.groups for run in peers[:1] if run.groups == groups), groups)
        S, config, (entries, attacks) = np.concatenate(S), facts_of(folder), measurements(folder)
        if (epsilon := config.get("privacy", {}).get("epsilon")) is not None:
            entries["all", "epsilon"] = epsilon  # null: not certified
        # an area is no sum over rows, so it is read and not counted
        areas = {name: entries.get(("all", name), math.nan) for name in self.drawn}
        self.runs[name, seed] = Run(config, entries, attacks, seconds(folder), ids, groups, S,
                                    headline(self.module, S.sum(0)) | areas)

    @property
    def task(self):
        return self.folder.name

    @property
    def students(self):
        return self.module.STUDENTS

    @property
    def models(self):
        return "weak", *self.students, "ceiling"

    @property
    def controls(self):
        """The runs of untuned models: those that the task asks for, and those that exist."""
        asked = self.module.CONTROLS
        return [name for name in CONTROLS if name in asked or any(
            self.at(name, seed).exists() for seed in self.seeds)]

    def grid_runs(self):
        """The runs with other lambdas than the recipe's, of any seed, by role and lambda."""
        names = {path.name for seed in self.seeds for path in self.at("", seed).glob("*-lam-*")
                 if path.name.startswith(tuple(role[2] for role in ROLES.values()))}
        return sorted(names, key=lambda name: (name.rsplit("-", 1)[0], lam_in(name)))

    def role(self, role):
        """[(lambda, run name)] of the finished runs of a role, from small lambda to large."""
        zero, usual, prefix = ROLES[role]
        names = dict.fromkeys(name for name, _ in self.runs
                              if name in (zero, usual) or name.startswith(prefix))
        pairs = [(self.lam(name), name) for name in names]
        return sorted(pair for pair in pairs if pair[0] is not None)

    def lam(self, name):
        """lambda of a run, from its config.json; None without a finished run."""
        lams = [run.config.get("lam") for (label, _), run in self.runs.items() if label == name]
        return lams[0] if lams and isinstance(lams[0], (int, float)) else None

    @property
    def choice(self):
        """The Choice of the ceiling."""
        return self.choices.get("ceiling")

    @property
    def crossed(self):
        """[CROSSED] if any strategy has a run of it, else []: few trees have one."""
        return [CROSSED] if any(self.at(self.name(key, CROSSED), seed).exists()
                                for key in STRATEGIES for seed in self.seeds) else []

    @property
    def drawn(self):
        """{metric that is an area under a curve and so no sum over rows: (file of a run with its
        rows, name of the score in them)}."""
        return self.module.DRAWN

    def at(self, name, seed):
        """The folder of a run."""
        return self.folder / f"seed{seed}" / name

    def name(self, strategy, model):
        """Name of the run that stands for a model in a strategy (reading E20: ceiling). Untuned
        models, ceilings and runs of a grid go by their own names, the same in each strategy."""
        if model in (*CONTROLS, *sum((names[:2] for names in ROLES.values()), ())) or (
                "-lam-" in model):
            return model
        if model == "ceiling":
            return UNREGULARISED if strategy == "none" else self.choice.run
        if model == "weak":
            return "weak-none" if strategy == "none" else "weak-tft"
        return f"student-naive-{strategy}-ntf" if model == CROSSED else f"{model}-{strategy}"

    def of(self, strategy, model):
        """{seed: Run} of the runs that stand for a model in a strategy."""
        name = self.name(strategy, model)
        return {seed: self.runs[name, seed] for seed in self.seeds if (name, seed) in self.runs}

    def attacks(self):
        """{metric: name of the attack-*.json that measured it}."""
        return {name: file for run in self.runs.values() for name, file in run.attacks.items()}

    def configs(self, model):
        """The configurations of the runs that stand for a model, in any strategy."""
        return [run.config for key in STRATEGIES for run in self.of(key, model).values()]

    def trained_on(self, strategy, model):
        """Name of the file that a model was trained on, "weak" or "wts"; "" without a run."""
        args = [run.config.get("args", {}) for run in self.of(strategy, model).values()]
        paths = [Path(str(a.get("labels") or a.get("data") or "")) for a in args]
        return paths[0].name.split(".")[0] if paths else ""

    def from_scratch(self, model):
        """Whether any run of a model started from random weights."""
        return any(config.get("from_scratch") for config in self.configs(model))

    def joint(self, parts, metric):
        """(values (k, n), draws (k, D) of their means over seeds) of a headline metric of k parts,
        each (strategy, model), on the n seeds that have them all; None without such a seed or with
        an undefined value.

        The spread over seeds (head, order, split) enters by Student's t. Where seeds share test
        rows, a bootstrap of these rows is added (reading E14): the noise that all seeds have in
        common does not show in the spread over seeds. The weights of the seeds depend on the list
        of seeds alone, so the draws of two models are joint and may be subtracted."""
        runs = [self.of(*part) for part in parts]
        seeds = sorted(set.intersection(*map(set, runs)))
        values = np.array([[run[seed].values.get(metric, math.nan) for seed in seeds]
                           for run in runs])
        if not seeds or np.isnan(values).any():  # a mean over the other seeds is another quantity
            return None
        draws = np.array([[run[seed].draws[metric] for seed in seeds] for run in runs])  # (k, n, D)
        weights = seed_weights(tuple(seeds), draws.shape[-1])
        return values, statistics.mean_draws(values, draws, weights,
                                             [runs[0][seed].groups for seed in seeds])

    def summary(self, strategy, model, metric):
        """{mean, sd, interval} of a headline metric over seeds; None without a finished run."""
        joint = self.joint([(strategy, model)], metric)
        if joint is None:
            return None
        (values,), (draws,) = joint
        mean, sd = statistics.mean_sd(values)
        return {"mean": mean, "sd": sd, "interval": statistics.interval(draws)}

    def sliced(self, strategy, model, part, metric):
        """{mean, sd} over seeds of one slice and metric of eval.json; None without any."""
        values = [run.metrics.get((part, metric), math.nan)
                  for run in self.of(strategy, model).values()]
        values = [value for value in values if not math.isnan(value)]
        return dict(zip(("mean", "sd"), statistics.mean_sd(values))) if values else None

    def sign(self, metric):
        """1 where more of a headline metric is better, else -1; <trust>_* goes with trust."""
        less = metric in self.module.LESS
        return self.module.SIGN if metric.startswith(self.module.TRUST) else -1 if less else 1

    def steps(self, parts, metric):
        """[dict] from each of the parts, (strategy, model), to the next: means of a headline
        metric, their difference times `sign` (positive: better), its interval, its exact p over
        the n seeds that have all parts. [] without such a seed."""
        joint, sign = self.joint(parts, metric), self.sign(metric)
        if joint is None:
            return []
        # joint draws: the interval of a difference is that of the differences of the draws
        values, change, draws = joint[0], *(sign * np.diff(each, axis=0) for each in joint)
        return [{"lower": parts[k][1], "upper": parts[k + 1][1], "n": len(change[k]), "sign": sign,
                 "means": values[k:k + 2].mean(1).tolist(), "difference": float(change[k].mean()),
                 "interval": statistics.interval(draws[k]),
                 "p": statistics.sign_flip_p(change[k])} for k in range(len(change))]

    def ladder(self, strategy, student, metric):
        """The `steps` from weak to student to ceiling, each with the trend of the three."""
        parts = [(strategy, model) for model in ("weak", student, "ceiling")]
        joint, sign = self.joint(parts, metric), self.sign(metric)
        if joint is None:
            return []
        values, draws = joint
        trend = statistics.trend(*(sign * draws), means=sign * values.mean(1))
        return [{"strategy": strategy, "student": student, "trend": trend, **step}
                for step in self.steps(parts, metric)]

    def trend(self, strategy, student, metric=None):
        """State of weak, student, ceiling in a metric, default trust, of STATES; None: a run is
        missing."""
        ladder = self.ladder(strategy, student, metric or self.module.TRUST)
        return ladder[0]["trend"] if ladder else None

    def weakest_trend(self, strategy, metric=None):
        """The weakest trend of the students; None when a run of one is missing."""
        trends = [self.trend(strategy, student, metric) for student in self.students]
        return None if None in trends else min(trends, key=STATES.index)

    def share(self, low, model, high):
        """{value, interval, doubtful} of (model - low) / (high - low) in the mean task metric, each
        a (strategy, model); doubtful: high - low <= 2 standard errors. None without a seed."""
        joint = self.joint([low, model, high], self.module.TASK)
        if joint is None:
            return None
        means, (first, middle, last) = joint[0].mean(1).tolist(), joint[1]
        with np.errstate(divide="ignore", invalid="ignore"):  # a draw without a gap has no share
            ratios = (middle - first) / (last - first)
        error = np.std(last - first, ddof=1)
        return {"value": metrics.pgr(*means),
                "interval": statistics.interval(np.where(np.isfinite(ratios), ratios, np.nan)),
                "doubtful": bool(means[2] - means[0] <= 2 * error)}  # below 0: nothing to share

    def gap_recovered(self, strategy, student):
        """(PGR of the mean task metric, whether ceiling - weak <= 2 standard errors) or None."""
        share = self.share(*((strategy, model) for model in ("weak", student, "ceiling")))
        return share and (share["value"], share["doubtful"])

    def cells(self):
        """Yield the lines of results.csv: headlines counted from the predictions, PGR of a student
        (empty where the ceiling is not clearly above), the rest of eval.json; nothing undefined."""
        models, controls = (*self.models, *self.crossed), [("none", name) for name in self.controls]
        controls += [("weak" if name.startswith("weak") else "both", name)
                     for name in self.grid_runs()]
        for strategy, model in (*itertools.product(STRATEGIES, models), *controls):
            columns = ("student-naive", "ntf") if model == CROSSED else (model, "all")
            is_student = model in (*self.students, CROSSED)
            clear = is_student and clear_of_noise(self.share(
                *((strategy, part) for part in ("weak", model, "ceiling"))))
            for seed, run in self.of(strategy, model).items():
                values = run.metrics | {("all", name): v for name, v in run.values.items()
                                        if name in self.module.METRICS}
                three = [self.of(strategy, part).get(seed) for part in ("weak", model, "ceiling")]
                if is_student and all(three):
                    scores = [part.values[self.module.TASK] for part in three]
                    if np.isfinite(scores).all():
                        values["all", "pgr"] = metrics.pgr(*scores) if clear else None
                yield from written((self.task, strategy, *columns, seed), values)

    def doubts(self):
        """Yield (folder, metric, value in eval.json, value of the predictions) where they differ:
        eval.json is not of these predictions."""
        for key, run in self.runs.items():
            for metric, counted in run.values.items():
                recorded = run.metrics.get(("all", metric), math.nan)
                if abs(recorded - counted) > 1e-6:
                    yield self.at(*key), metric, recorded, counted


@functools.lru_cache(64)
def seed_weights(seeds, draws):
    """(D, n) statistics.t_weights of n seeds, the same for every model: see Study.joint."""
    return statistics.t_weights(len(seeds), draws, np.random.default_rng(seeds))


def lam_in(name):
    """The lambda in the name of a run of a grid; inf, so last in the order, for no number."""
    try:
        return float(name.rsplit("-lam-", 1)[1])
    except ValueError:
        return math.inf


def clear_of_noise(share):
    """Whether the denominator of a Study.share is clearly above 0; False for None (no share)."""
    return bool(share) and not share["doubtful"]
