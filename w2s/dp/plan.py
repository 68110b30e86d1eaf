"""A private run: its plan, its Poisson batches, its step. N rows, B the expected batch, q = B/N.
"""

import math
import sys
from dataclasses import dataclass, field

import numpy as np
import torch

from w2s import parallel
from w2s import device as devices
from w2s.dp import accountant, noise, sgd
from w2s.train import step as plain

COUNTS = ("rows", "clipped", "nonfinite", "empty")
MIXES = ("the confidence loss hardens by a quantile over the batch, so a row's loss depends on "
         "other rows, and clipping bounds nothing; take --alpha 0 (docs/deviations.md, P5)")


# ---- a private run -------------------------------------------------------------------------------

@dataclass
class Plan:
    """What a private run does, fixed before its first step, and what it has done so far. q, sigma,
    N and the number of steps are public. sampling "shuffled" takes ordinary batches: then nothing
    is certified. noise_seed "run": from --seed and `identity`, what the run is made of, so that no
    other run has a number of its noise; without one (a Plan made by hand) from the system, once;
    "system": from the system each time, kept nowhere, and no log says what is not private."""

    rows: int             # N
    expected_batch: int   # B
    steps: int
    clip: float           # C
    sigma: float
    delta: float
    epsilon: float        # after all steps; inf when nothing is certified
    accountant: str
    sampling: str
    method: str
    noise_seed: str
    target: float = 0.0   # --lam; the epsilon above where --noise-multiplier was given
    done: int = 0
    rows_now: int = 0     # in the last batch
    counts: dict = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    identity: str = ""    # of the run; the same in every process

    def __post_init__(self):
        """A batch of more than all rows is one of all rows: then the sum is divided by N."""
        self.expected_batch = min(self.expected_batch, self.rows)

    @property
    def q(self):
        """Probability that a row is in a batch."""
        return min(1.0, self.expected_batch / self.rows)

    @property
    def silent(self):
        """Whether the run is to be released, so that its log must not tell what is not private."""
        return self.noise_seed == "system"

    def spent(self, steps, method=None):
        """epsilon after `steps` steps."""
        if self.sampling != "poisson":
            return math.inf
        return accountant.epsilon(self.sigma, self.q, steps, self.delta, method or self.accountant)

    def facts(self):
        """What config.json keeps; null: not certified."""
        values = {key: getattr(self, key) for key in (
            "epsilon", "delta", "sigma", "clip", "q", "steps", "rows", "expected_batch",
            "accountant", "sampling", "method", "noise_seed")}
        return values | {"epsilon": self.epsilon if math.isfinite(self.epsilon) else None}

    def entry(self, loss):
        """What a line of the log gets: counts so far, null for the loss of no rows; nothing of a
        silent run."""
        if self.silent:
            return {}
        return self.counts | ({"loss": None} if math.isnan(loss) and not self.rows_now else {})

    def note(self, g):
        """Count a step that was done with this Gradient."""
        added = {key: getattr(g, key, 0) for key in COUNTS}
        for key, n in (added | {"empty": int(added["rows"] == 0)}).items():
            self.counts[key] += n
        self.done, self.rows_now = self.done + 1, added["rows"]

    def state_dict(self):
        """For a checkpoint: the mechanisms that were run, [sigma, q, steps] each, and counts."""
        return {"history": torch.tensor([[self.sigma, self.q, self.done]], dtype=torch.float64),
                "counts": torch.tensor(list(self.counts.values()))}

    def load_state_dict(self, state):
        """Go on from a checkpoint. ValueError when it was made by another mechanism."""
        history = state["history"].tolist() if "history" in state else None
        if not history or [[self.sigma, self.q]] != [entry[:2] for entry in history]:
            raise ValueError("the checkpoint's privacy history is not this run's; delete the run "
                             "folder to start over")
        if state["counts"].shape != (len(COUNTS),) or state["counts"].dtype != torch.int64:
            raise ValueError("its counts are none")
        self.done = int(history[0][2])
        self.counts = dict(zip(COUNTS, state["counts"].tolist()))

    def seed(self, *parts):
        """128-bit seed of a secret draw (seed, purpose, step), the same in every process."""
        if self.silent:
            return noise.secret()
        if not self.identity:
            self.identity = f"{noise.secret():032x}"
        return noise.key_of(self.identity, *parts)

    def told(self):
        """What was spent, when the run is over."""
        spent = self.spent(self.done)
        message = (f"epsilon {spent:.4g} spent in {self.done} steps (delta {self.delta:g}, "
                f"{self.sampling} sampling{'' if math.isfinite(spent) else ', not certified'})")
        if self.silent:
            return message
        share = self.counts["clipped"] / max(1, self.counts["rows"])
        return (f"{message}; {share:.0%} of the gradients clipped, {self.counts['nonfinite']} not "
                f"finite, {self.counts['empty']} empty batches")

    def said(self):
        """The guarantee in a line, with the sampling that it supposes."""
        if self.sampling != "poisson":
            return (f"sigma {self.sigma:.4g}, C {self.clip:g}; shuffled sampling: epsilon not "
                    "certified")
        second = "rdp" if self.accountant == "pld" else "pld"
        return (f"epsilon {self.epsilon:.4g} ({self.accountant.upper()}; {second.upper()} "
                f"{self.spent(self.steps, second):.4g}) at delta {self.delta:g}, Poisson sampling: "
                f"sigma {self.sigma:.4g}, C {self.clip:g}, q {self.q:.4g}, {self.steps} steps")


def plan(cfg, epsilon, rows, epochs):
    """The Plan of a run with this configuration: ceil(epochs N / B) steps (reading P13), sigma for
    the target epsilon, or epsilon for --noise-multiplier. Raises ValueError when both are given."""
    if cfg.noise_multiplier is not None and cfg.lam is not None:
        raise ValueError(f"--lam {cfg.lam:g} and --noise-multiplier {cfg.noise_multiplier:g}: each "
                         "sets the noise; give one of them")
    steps = max(1, math.ceil(epochs * rows / cfg.batch_size))
    delta = 1e-5 if cfg.delta is None else cfg.delta
    if delta > 1 / rows:
        print(f"warning: delta {delta:g} is above 1/N = {1 / rows:.2g}: that permits publishing a "
              "whole row; give a smaller --delta", file=sys.stderr, flush=True)
    terms = min(1.0, cfg.batch_size / rows), steps, delta, cfg.accountant
    sigma = cfg.noise_multiplier
    if sigma is None:
        sigma = accountant.noise_multiplier(epsilon, *terms)
    spent = accountant.epsilon(sigma, *terms) if cfg.sampling == "poisson" else math.inf
    target = epsilon if cfg.noise_multiplier is None else spent if math.isfinite(spent) else 0.0
    return Plan(rows, cfg.batch_size, steps, cfg.clip, sigma, delta, spent, cfg.accountant,
                cfg.sampling, cfg.dp_method, cfg.noise_seed, target)


def batches(columns, steps, batch_size, seed, start=0, device="cpu", width=0, private=None):
    """Yield (k, batch) for steps start .. steps - 1 as step.batches; with a Plan by Poisson
    sampling: each of N rows is in a batch with probability q, independently. A process of a group
    gets its share of the rows."""
    if private is None or private.sampling != "poisson":
        yield from plain.batches(columns, steps, batch_size, seed, start, device)
        return
    N, batch_of = len(plain.row_lengths(columns)), plain.collator(columns, device)
    for k in range(start, steps):
        draw = np.random.Generator(np.random.PCG64(private.seed(seed, "poisson", k)))
        pick = np.flatnonzero(draw.random(N) < private.q)
        pick = pick[parallel.rank()::parallel.world()]
        yield k, batch_of(pick)


def make_step(model, optimizer, objective, ell, lam, steps, *, private=None, seed=0,
              dtype="float32", compile=False, hardening=None, **options):
    """step.make_step; with a Plan the private step: step(k, batch) -> mean loss, nan without rows.
    Raises ValueError for a loss that mixes rows."""
    if private is None:
        return plain.make_step(model, optimizer, objective, ell, lam, steps, dtype=dtype,
                               compile=compile, hardening=hardening, **options)
    if hardening:
        raise ValueError("--alpha with DP: " + MIXES)
    device, peak = next(model.parameters()).device, optimizer.defaults["lr"]
    keywords = {"compile": True} if compile else {}

    def bound(f, batch):
        return objective(f, batch, ell, lam)

    def step(k, batch):
        draw = noise.Source(private.seed(seed, "noise", k))
        batch = {key: value for key, value in batch.items() if key != "rows"}
        with devices.autocast(device, dtype):
            g = sgd.private_gradient(model, bound, batch, private.clip, private.sigma,
                                     private.expected_batch, draw, method=private.method,
                                     **keywords)
        if hasattr(model, "observe"):  # canaries.Watched
            model.observe(k, g, private.clip / private.expected_batch)
        for group in optimizer.param_groups:
            group["lr"] = peak * plain.cosine(k, steps)
        for name, p in model.named_parameters():
            p.grad = g[name].to(p.dtype) if name in g else None
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        private.note(g)
        return torch.tensor(getattr(g, "loss", math.nan))

    return step
