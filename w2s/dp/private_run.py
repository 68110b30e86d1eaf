"""A private run: its plan, its Poisson batches, its step. N rows, B the expected batch, q = B/N."""

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


@dataclass
class Plan:
    """The mechanism of a private run, fixed before its first step, and what was done so far.

    q, sigma, N and the number of steps are public. sampling "shuffled" takes ordinary batches: then
    nothing is certified. noise_seed "run" derives the noise from --seed and `identity`, which is
    what the run is made of, so that no two runs share noise; a Plan without identity (made by hand)
    takes one from the system. "system" draws every seed from the system and keeps none, and the log
    tells nothing that is not private (reading P14)."""

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
    target: float = 0.0   # --lam; `epsilon` where --noise-multiplier was given
    done: int = 0
    rows_now: int = 0     # in the last batch
    counts: dict = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    identity: str = ""    # of the run; the same in every process

    def __post_init__(self):
        """Reduce B to N: a larger batch is one of all rows, and its sum is divided by N."""
        self.expected_batch = min(self.expected_batch, self.rows)

    @property
    def q(self):
        """Probability that a row is in a batch."""
        return min(1.0, self.expected_batch / self.rows)

    @property
    def silent(self):
        """Whether the model is to be released, so that no log may tell what is not private."""
        return self.noise_seed == "system"

    def spent(self, steps, method=None):
        """epsilon after `steps` steps, by `method` or the plan's accountant; inf: not certified."""
        # the accountants suppose Poisson sampling
        if self.sampling != "poisson":
            return math.inf
        return accountant.epsilon(self.sigma, self.q, steps, self.delta, method or self.accountant)

    def facts(self):
        """The entries of config.json; JSON has no infinity, so null stands for not certified."""
        values = {key: getattr(self, key) for key in (
            "epsilon", "delta", "sigma", "clip", "q", "steps", "rows", "expected_batch",
            "accountant", "sampling", "method", "noise_seed")}
        return values | {"epsilon": self.epsilon if math.isfinite(self.epsilon) else None}

    def entry(self, loss):
        """What a log line gets: counts so far, and null for the loss of a batch without rows.
        Nothing of a silent run: counts depend on the rows and are not noised."""
        if self.silent:
            return {}
        return self.counts | ({"loss": None} if math.isnan(loss) and not self.rows_now else {})

    def note(self, g):
        """Count a step that was done with g (sgd.Gradient)."""
        added = {key: getattr(g, key, 0) for key in COUNTS}
        for key, n in (added | {"empty": int(added["rows"] == 0)}).items():
            self.counts[key] += n
        self.done, self.rows_now = self.done + 1, added["rows"]

    def state_dict(self):
        """For a checkpoint: history, [sigma, q, steps] of each mechanism that ran, and counts."""
        return {"history": torch.tensor([[self.sigma, self.q, self.done]], dtype=torch.float64),
                "counts": torch.tensor(list(self.counts.values()))}

    def load_state_dict(self, state):
        """Go on from a checkpoint. ValueError when it was made by another mechanism."""
        # epsilon is computed for one sigma and one q, so no step may have had others
        history = state["history"].tolist() if "history" in state else None
        if not history or [[self.sigma, self.q]] != [entry[:2] for entry in history]:
            raise ValueError("the checkpoint's privacy history is not this run's; delete the run "
                             "folder to start over")
        # a damaged file is refused here: the numbers printed at the end come from it
        if state["counts"].shape != (len(COUNTS),) or state["counts"].dtype != torch.int64:
            raise ValueError("its counts are none")
        self.done = int(history[0][2])
        self.counts = dict(zip(COUNTS, state["counts"].tolist()))

    def seed(self, *parts):
        """128-bit seed of the secret draw named by parts (seed, purpose, step), the same in every
        process."""
        if self.silent:
            return noise.secret()
        # a Plan made by hand: any two of them must not share noise either
        if not self.identity:
            self.identity = f"{noise.secret():032x}"
        return noise.key_of(self.identity, *parts)

    def told(self):
        """The line that a finished run prints: epsilon spent, and counts unless it is silent."""
        spent = self.spent(self.done)
        message = (f"epsilon {spent:.4g} spent in {self.done} steps (delta {self.delta:g}, "
                f"{self.sampling} sampling{'' if math.isfinite(spent) else ', not certified'})")
        if self.silent:
            return message
        # max(1, .): a run all of whose batches were empty
        share = self.counts["clipped"] / max(1, self.counts["rows"])
        return (f"{message}; {share:.0%} of the gradients clipped, {self.counts['nonfinite']} not "
                f"finite, {self.counts['empty']} empty batches")

    def guarantee(self):
        """The line that a run prints before it starts: the guarantee and the mechanism."""
        if self.sampling != "poisson":
            return (f"sigma {self.sigma:.4g}, C {self.clip:g}; shuffled sampling: epsilon not "
                    "certified")
        # by the other accountant too, to compare with epsilons that were published by it
        second = "rdp" if self.accountant == "pld" else "pld"
        return (f"epsilon {self.epsilon:.4g} ({self.accountant.upper()}; {second.upper()} "
                f"{self.spent(self.steps, second):.4g}) at delta {self.delta:g}, Poisson sampling: "
                f"sigma {self.sigma:.4g}, C {self.clip:g}, q {self.q:.4g}, {self.steps} steps")


def plan(cfg, epsilon, rows, epochs):
    """The Plan of a run: ceil(epochs N / B) steps (reading P13), sigma for the target epsilon, or
    epsilon for --noise-multiplier. Raises ValueError when both are given."""
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
    # shuffled batches get the sigma of Poisson sampling too, but no epsilon
    if sigma is None:
        sigma = accountant.noise_multiplier(epsilon, *terms)
    spent = accountant.epsilon(sigma, *terms) if cfg.sampling == "poisson" else math.inf
    target = epsilon if cfg.noise_multiplier is None else spent if math.isfinite(spent) else 0.0
    return Plan(rows, cfg.batch_size, steps, cfg.clip, sigma, delta, spent, cfg.accountant,
                cfg.sampling, cfg.dp_method, cfg.noise_seed, target)


def batches(columns, steps, batch_size, seed, start=0, device="cpu", width=0, private=None,
            first=None):
    """Yield (k, batch) for steps start .. steps - 1, as train/step.batches without a Plan.

    With one by Poisson sampling: each of N rows is in a batch with probability q, independently. A
    process of a group gets its share of a batch's rows."""
    if private is None or private.sampling != "poisson":
        yield from plain.batches(columns, steps, batch_size, seed, start, device, first=first)
        return
    # an empty batch is a batch: to leave it out would tell that nobody was drawn
    N, batch_of = len(plain.row_lengths(columns)), plain.collator(columns, device)
    for k in range(start, steps):
        draw = np.random.Generator(np.random.PCG64(private.seed(seed, "poisson", k)))
        # every process draws the same rows; a seed for each k, so that a resumed run repeats it
        pick = np.flatnonzero(draw.random(N) < private.q)
        pick = pick[parallel.rank()::parallel.world()]
        yield k, batch_of(pick)


def make_step(model, optimizer, objective, ell, lam, steps, *, private=None, seed=0,
              dtype="float32", compile=False, hardening=None, **options):
    """train/step.make_step without a Plan; with one the private step(k, batch) -> mean loss, nan
    without rows. Raises ValueError for a loss that mixes rows (reading P5)."""
    if private is None:
        return plain.make_step(model, optimizer, objective, ell, lam, steps, dtype=dtype,
                               compile=compile, hardening=hardening, **options)
    # a row's gradient must depend on that row alone, or clipping it bounds nothing
    if hardening:
        raise ValueError("--alpha with DP: " + MIXES)
    # defaults keep the peak rate; those of the groups change with every step
    device, peak = next(model.parameters()).device, optimizer.defaults["lr"]
    keywords = {"compile": True} if compile else {}

    def bound(f, batch):
        return objective(f, batch, ell, lam)

    def step(k, batch):
        draw = noise.Source(private.seed(seed, "noise", k))
        # row numbers are for who counts tokens, not for the loss
        batch = {key: value for key, value in batch.items() if key != "rows"}
        # autocast for the forward pass; sgd.precise takes norms and sums out of it
        with devices.autocast(device, dtype):
            g = sgd.private_gradient(model, bound, batch, private.clip, private.sigma,
                                     private.expected_batch, draw, method=private.method,
                                     **keywords)
        if hasattr(model, "observe"):  # canaries.Watched
            model.observe(k, g, private.clip / private.expected_batch)
        for group in optimizer.param_groups:
            group["lr"] = peak * plain.cosine(k, steps)
        # what comes after the noise (optimizer, schedule) costs no privacy
        for name, p in model.named_parameters():
            p.grad = g[name].to(p.dtype) if name in g else None
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)  # no second copy of the gradient stays in memory
        private.note(g)
        return torch.as_tensor(getattr(g, "loss", math.nan)).float()

    return step
