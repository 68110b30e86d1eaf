"""Audit: a lower bound on the epsilon of a private run, by the canaries it was trained with.

    python train_weak.py --task privacy --model MODEL --data weak.jsonl --out runs/audited \\
        --lam 1 --canaries 1000
    python attacks.py audit --run runs/audited

Each of M canaries was trained on with probability 1/2. From what the run's steps released of them
this guesses, for the r canaries it is surest of, whether they were in; an (epsilon, delta)-DP run
lets nobody guess right more often than a coin that falls right with e^epsilon / (1 + e^epsilon),
but for delta. So with confidence 95 % the true epsilon is not below the printed one (Steinke, Nasr,
Jagielski 2023, arXiv 2305.08846). The attacker sees the noisy gradients of all steps, as the claim
supposes, and the canaries' clipped gradients are as long as a row's can be.

A bound below the claim proves nothing: 1000 canaries show about .15 of a true epsilon of 1, 2000
about .25. A bound above it does: the noise is too small or repeats itself, clipping is skipped.

RUN/attack-audit.json gets epsilon_audited, epsilon_claimed (null: nothing was certified), canaries
(n), guesses and correct. RUN/canaries.safetensors, which it is made from, is not for release.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from w2s import rows, runs, whatis
from w2s.attacks import refuse_changes
from w2s.config import REQUIRED, arg

SHARES = (.05, .1, .25)  # of the canaries, that are guessed
LEAST = 1e-3             # noise that scores suppose at least, in units of C


@dataclass(kw_only=True)
class Audit:
    run: list[str] = arg(REQUIRED, "finished runs of train_weak.py or train_student.py with "
                         "--canaries")
    task: str = arg("privacy", "task of the runs")
    confidence: float = arg(0.95, "probability with which the bound holds", low=0.5, high=0.999999)


def audit(cfg):
    """Bound epsilon for each run; write attack-audit.json."""
    todo = {}
    for name, facts in runs.require_all(cfg.run, cfg.task).items():
        run, path = Path(name), Path(name) / "canaries.safetensors"
        if not (path.exists() and facts.get("privacy")):
            raise ValueError(f"{run}: was trained without canaries; train it anew with "
                             "--canaries 1000")
        now = {"data": {path.name: rows.sha256(path)}, "args": {"confidence": cfg.confidence}}
        refuse_changes(run / "attack-audit.json", now)
        if (run / "attack-audit.json").exists():
            print(f"{run}: attacked already (audit)")
        else:
            todo[run] = facts["privacy"], now, *read(path, facts["privacy"]["steps"])
    for run, (claim, now, included, observed) in todo.items():
        found = lower_bound(included, observed, claim, 1 - cfg.confidence)
        metrics = found | {"epsilon_claimed": claim["epsilon"], "n": len(included)}
        runs.require_there(run)
        rows.write_json(run / "attack-audit.json", now | {"n": len(included), "metrics": [
            {"slice": "all", "metric": key, "value": value} for key, value in metrics.items()]})
        print(f"{run}: {summary(metrics, cfg.confidence)}", flush=True)
        if claim["epsilon"] is not None and found["epsilon_audited"] > claim["epsilon"]:
            print(f"{run}: WARNING: the bound exceeds the claim; this run is not "
                  f"({claim['epsilon']:.4g}, {claim['delta']:g})-DP: do not release it", flush=True)


def read(path, steps):
    """(included (M,) bool, observed (steps, M) float64) of a canaries.safetensors. Raises
    ValueError when it is not one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file
    whatis.special(path)
    try:
        found = load_file(path)
        included, observed = found["included"], found["observed"].astype(np.float64)
    except (SafetensorError, KeyError, TypeError, AttributeError) as error:  # numpy has no bfloat16
        raise ValueError(f"{path}: damaged ({error}); train the run anew") from None
    if included.dtype != bool or included.ndim != 1 or not included.size or not (
            observed.shape == (steps, *included.shape) and np.isfinite(observed).all()):
        raise ValueError(f"{path}: damaged (not {steps} steps of {included.size} finite numbers); "
                         "train the run anew")
    return included, observed


def lower_bound(included, observed, claim, p):
    """{"epsilon_audited", "guesses", "correct"}: the best of several guesses, each of which is
    wrong with probability p / their number at most, so that the best is with p at most.

    included (M,), observed (steps, M); claim: `privacy` of the run's config.json. The second score
    takes out of each canary's numbers what is in most steps: noise that is repeated."""
    M, repeated = len(included), observed - np.median(observed, 0)
    tries = [(score(observed, claim["q"], claim["sigma"]), share) for share in SHARES]
    tries.append((score(repeated, claim["q"], claim["sigma"]), SHARES[1]))
    best = {"epsilon_audited": -1.0}
    for s, share in tries:
        r = max(1, round(share * M))
        surest = np.argsort(-np.abs(s), kind="stable")[:r]
        v = int(((s[surest] > 0) == included[surest]).sum())
        epsilon = epsilon_bound(M, r, v, claim["delta"], p / len(tries))
        if epsilon > best["epsilon_audited"]:
            best = {"epsilon_audited": epsilon, "guesses": r, "correct": v}
    return best


def score(observed, q, sigma):
    """(M,) log-likelihood ratio of "in" to "out": the sum over the steps of
    log(1 - q + q exp((2 g - 1) / (2 t^2))), g ~ N(0, t^2) where the canary was not drawn and
    N(1, t^2) where it was. t is estimated, so that too little noise is used to the full; whatever
    is computed from g alone leaves the bound valid."""
    spread = 1.4826 * np.median(np.abs(observed - np.median(observed)))
    t = max(LEAST, min(sigma, spread))
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log1p(-q), np.log(q) + (2 * observed - 1) / (2 * t * t)).sum(0)


def epsilon_bound(m, r, v, delta, p):
    """The largest epsilon that v right guesses of r about m canaries refute at level p; 0 when they
    refute none. Conservative end of a bisection to 1e-6."""
    if p_value(m, r, v, 0.0, delta) >= p:
        return 0.0
    low, high = 0.0, 1.0
    while p_value(m, r, v, high, delta) < p:
        low, high = high, 2 * high
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(m, r, v, middle, delta) < p else (low, middle)
    return low


def p_value(m, r, v, epsilon, delta):
    """Largest probability of v or more right guesses of r about m canaries under (epsilon, delta)-
    DP: P[W >= v] + 2 m delta max_i P[v - i <= W < v] / i, W binomial of r and e^epsilon /
    (1 + e^epsilon) (arXiv 2305.08846, Theorem 5.2 and the code of its Appendix D)."""
    k = np.arange(r + 1)
    right = -math.log1p(math.exp(-epsilon))  # log of the coin's probability to fall right
    factorial = np.array([math.lgamma(n + 1) for n in range(r + 1)])  # logs
    pmf = np.exp(factorial[r] - factorial - factorial[::-1] + r * right - (r - k) * epsilon)
    below = pmf[:v][::-1].cumsum() / np.arange(1, v + 1)
    return min(1.0, pmf[v:].sum() + 2 * m * delta * max(below, default=0))


def summary(found, confidence):
    """The line that a user reads."""
    claim = found["epsilon_claimed"]
    return (f"epsilon >= {found['epsilon_audited']:.4g} ({100 * confidence:g} % confidence, "
            f"{found['n']} canaries, {found['correct']} of {found['guesses']} guesses right); "
            + ("nothing claimed" if claim is None else f"claimed {claim:.4g}"))
