"""Audit: a lower bound on the epsilon of a private run, from the canaries it was trained with.

    python train_weak.py --task privacy --model MODEL --data weak.jsonl --out runs/audited \\
        --lam 1 --canaries 1000
    python attacks.py audit --run runs/audited

Each of M canaries was trained on with probability 1/2. The attack guesses, from what the steps
released and for the r canaries it is surest of, whether they were in. Under (epsilon, delta)-DP no
guess is right with a probability above e^epsilon / (1 + e^epsilon), but for delta. So with
confidence 95 % the true epsilon is not below the printed one (Steinke, Nasr, Jagielski 2023, arXiv
2305.08846). The attacker sees the noisy gradients of all steps, as the claim assumes, and the
canaries' clipped gradients have the largest norm that a row's can have.

A bound below the claim proves nothing: 1000 canaries show about .15 of a true epsilon of 1, 2000
about .25. A bound above it does: the noise is too small or repeats itself, clipping is skipped.

RUN/attack-audit.json gets epsilon_audited, epsilon_claimed (null: nothing was certified), canaries
(n), guesses and correct. RUN/canaries.safetensors, which it is made from, is not for release.
"""

import math
from pathlib import Path

import numpy as np

from w2s import rows, runs, whatis
from w2s.attacks import entries, refuse_changes
from w2s.attacks.flags import Audit

SHARES = (.05, .1, .25)  # shares of the canaries that are guessed; the best bound counts
LEAST = 1e-3             # smallest noise that a score assumes, in units of C: never divide by 0


def audit(cfg):
    """Bound epsilon for each run; write attack-audit.json."""
    todo = {}  # every run is checked before the first one is audited
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
        bound = lower_bound(included, observed, claim, 1 - cfg.confidence)
        metrics = bound | {"epsilon_claimed": claim["epsilon"], "n": len(included)}
        runs.require_there(run)
        rows.write_json(run / "attack-audit.json", now | {
            "n": len(included), "metrics": entries("all", metrics)})
        print(f"{run}: {summary(metrics, cfg.confidence)}", flush=True)
        if claim["epsilon"] is not None and bound["epsilon_audited"] > claim["epsilon"]:
            print(f"{run}: WARNING: the bound exceeds the claim; this run is not "
                  f"({claim['epsilon']:.4g}, {claim['delta']:g})-DP: do not release it", flush=True)


def read(path, steps):
    """(included (M,) bool, observed (steps, M) float64) of a canaries.safetensors. Raises
    ValueError when the file is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file
    whatis.special(path)
    try:
        tensors = load_file(path)
        included, observed = tensors["included"], tensors["observed"].astype(np.float64)
    except (SafetensorError, KeyError, TypeError, AttributeError) as error:  # numpy has no bfloat16
        raise ValueError(f"{path}: damaged ({error}); train the run anew") from None
    if included.dtype != bool or included.ndim != 1 or not included.size or not (
            observed.shape == (steps, *included.shape) and np.isfinite(observed).all()):
        raise ValueError(f"{path}: damaged (not {steps} steps of {included.size} finite numbers); "
                         "train the run anew")
    return included, observed


def lower_bound(included, observed, claim, p):
    """{"epsilon_audited", "guesses", "correct"}: the largest of several bounds. Each fails with
    probability at most p / their number, so the largest fails with at most p (union bound).

    included (M,), observed (steps, M); claim: `privacy` of the run's config.json."""
    # noise that repeats itself is in most steps: a canary's median over the steps takes it out
    M, varying = len(included), observed - np.median(observed, 0)
    tries = [(score(observed, claim["q"], claim["sigma"]), share) for share in SHARES]
    tries.append((score(varying, claim["q"], claim["sigma"]), SHARES[1]))
    best = {"epsilon_audited": -1.0}
    for s, share in tries:
        r = max(1, round(share * M))
        # the rest is not guessed: guesses that are no better than a coin's dilute the right ones
        surest = np.argsort(-np.abs(s), kind="stable")[:r]
        v = int(((s[surest] > 0) == included[surest]).sum())
        epsilon = epsilon_bound(M, r, v, claim["delta"], p / len(tries))
        if epsilon > best["epsilon_audited"]:
            best = {"epsilon_audited": epsilon, "guesses": r, "correct": v}
    return best


def score(observed, q, sigma):
    """(M,) log-likelihood ratio of "in" to "out": the sum over the steps of
    log(1 - q + q exp((2 g - 1) / (2 t^2))), g ~ N(0, t^2) where the canary was not drawn and
    N(1, t^2) where it was. t is estimated, so that a run with too little noise is attacked with
    full power; the bound stays valid because t is computed from g alone."""
    # the median absolute deviation of a normal times 1.4826 is its sd; canaries that were drawn
    # move a median less than they move an sd
    spread = 1.4826 * np.median(np.abs(observed - np.median(observed)))
    t = max(LEAST, min(sigma, spread))
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log1p(-q), np.log(q) + (2 * observed - 1) / (2 * t * t)).sum(0)


def epsilon_bound(m, r, v, delta, p):
    """The largest epsilon that v right guesses of r about m canaries refute at level p; 0 when they
    refute none. The lower, conservative end of a bisection to 1e-6."""
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
    # in logs: factorials of some hundred guesses overflow
    k = np.arange(r + 1)
    right = -math.log1p(math.exp(-epsilon))  # log of the coin's probability to fall right
    factorial = np.array([math.lgamma(n + 1) for n in range(r + 1)])
    pmf = np.exp(factorial[r] - factorial - factorial[::-1] + r * right - (r - k) * epsilon)
    below = pmf[:v][::-1].cumsum() / np.arange(1, v + 1)
    return min(1.0, pmf[v:].sum() + 2 * m * delta * max(below, default=0))


def summary(metrics, confidence):
    """The line that a user reads."""
    claim = metrics["epsilon_claimed"]
    return (f"epsilon >= {metrics['epsilon_audited']:.4g} ({100 * confidence:g} % confidence, "
            f"{metrics['n']} canaries, "
            f"{metrics['correct']} of {metrics['guesses']} guesses right); "
            + ("nothing claimed" if claim is None else f"claimed {claim:.4g}"))
