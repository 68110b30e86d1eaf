"""The trust function of Uzunoglu, Zhang, Khashabi (arXiv 2606.01000): is the teacher's label right?

A small residual MLP reads a state of the teacher, after prompt and answer, and gives the logit that
the answer is right. Paper: RMSNorm-SwiGLU blocks with dropout and stochastic depth, class-
reweighted BCE, AdamW with decay. Depth, width, rates and epochs are ours: it does not print them.

B rows of a batch, N rows, D size of a state ("dim"), H hidden size, I inner size of SwiGLU.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import nn

from w2s.rows import atomic
from w2s.train import step

# On 10,000 states of 512, one core of an AMD EPYC: 4.3 s an epoch (oneDNN), 0.5 s with hidden=128
# and the same AUC. The best epoch was the first or second, at 400 to 1500 states up to the fourth
# (lr 1e-3): a patience of 5 or 8 found no better one than 3. batch_size=128: 6.5 s, AUC +.0045.
FEWEST = 20        # held-out rows below which there is no early stopping and no temperature
AT_ONCE = 4096     # rows of a forward pass without gradient
TEMPERATURES = .05, 20.
MOST = 100_000     # of a stored size: no states are larger


# ---- the model -----------------------------------------------------------------------------------

class Block(nn.Module):
    """x + drop_path(dropout(SwiGLU(RMSNorm(x)))), (B, H) -> (B, H)."""

    def __init__(self, hidden, dropout, drop_path):
        super().__init__()
        inner = -(-8 * hidden // 3 // 8) * 8  # 8/3 H, up to the next multiple of 8
        self.norm = nn.RMSNorm(hidden, eps=1e-6)
        self.gate_value = nn.Linear(hidden, 2 * inner, bias=False)
        self.out = nn.Linear(inner, hidden, bias=False)
        self.dropout, self.drop_path = dropout, drop_path

    def forward(self, x):
        # one product for both halves of SwiGLU
        gate, value = self.gate_value(self.norm(x)).chunk(2, -1)                       # (B, I)
        update = F.dropout(self.out(F.silu(gate) * value), self.dropout, self.training)
        if self.training and self.drop_path:  # a row skips the block or gets 1 / keep of it
            keep = 1 - self.drop_path
            update = update * ((torch.rand(len(x), 1, device=x.device) < keep) / keep)
        return x + update


class TrustFunction(nn.Module):
    """tau: states (B, D) -> logits (B,) that the teacher's label is right.

    The logits are those of the reweighted loss; `trust` gives calibrated probabilities. Buffers:
    mean, std (D,) of the training states; shift and temperature of the calibration.
    """

    def __init__(self, dim, blocks=2, hidden=None, dropout=.1, drop_path=.1):
        super().__init__()
        hidden = min(dim, 128) if hidden is None else hidden  # 512: 8 times the time, no better
        for name, size in {"dim": dim, "blocks": blocks, "hidden": hidden}.items():
            if not isinstance(size, int) or size < (name != "blocks"):
                raise ValueError(f"{name}: expected a whole number, at least "
                                 f"{int(name != 'blocks')}, got {size!r}")
        for name, rate in {"dropout": dropout, "drop_path": drop_path}.items():
            if not 0 <= rate < 1:
                raise ValueError(f"{name}: expected a number in [0, 1), got {rate!r}")
        self.config = {"dim": dim, "blocks": blocks, "hidden": hidden, "dropout": dropout,
                       "drop_path": drop_path}
        for name, value in {"mean": torch.zeros(dim), "std": torch.ones(dim),
                            "shift": torch.zeros(()), "temperature": torch.ones(())}.items():
            self.register_buffer(name, value)
        self.project = nn.Linear(dim, hidden)
        self.blocks = nn.ModuleList(Block(hidden, dropout, drop_path) for _ in range(blocks))
        self.norm = nn.RMSNorm(hidden, eps=1e-6)
        self.head = nn.Linear(hidden, 1)

    def forward(self, states):
        # standardised: some dimensions of a language model's states are far larger than others
        x = self.project((states - self.mean) / self.std)                              # (B, H)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))[:, 0]

    def standardise(self, states):
        """Take mean and std from the training states (N, D); a constant column's std is 1."""
        std, mean = torch.std_mean(states.double(), 0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6 * mean.abs(), std, 1))  # less is float32's rounding

    @torch.no_grad()
    def logits(self, states):
        """(N, D) -> (N,) logits as in evaluation, whatever the mode; a few thousand rows at a time.
        Raises ValueError for states of another size and for one that is not finite."""
        states, training = checked(states, self.config["dim"]), self.training
        self.eval()
        parts = [self(part.to(self.mean.device)) for part in states.split(AT_ONCE)]
        self.train(training)
        return torch.cat(parts)

    def calibrated(self, logits):
        """Logits (N,) -> (N,) probabilities. To rank rows by them give float64 logits: in float32 a
        sigmoid is exactly 1 from a logit of 17 on."""
        return ((logits + self.shift) / self.temperature).sigmoid()

    def trust(self, states):
        """(N, D) -> (N,) float32: the calibrated probability that the teacher's label is right."""
        return self.calibrated(self.logits(states))


def checked(states, dim=None):
    """states (N, D), a list, array or tensor -> float32 tensor. Raises ValueError for another shape
    and for a row that is not finite."""
    states = torch.as_tensor(states).detach().float()
    if states.ndim != 2 or not states.numel() or dim not in (None, states.shape[1]):
        raise ValueError(f"states: expected (N, {dim or 'D'}) with N >= 1, "
                         f"got {tuple(states.shape)}")
    # refused by row: in `standardise` one nan would spoil mean and std of all
    bad = (~states.isfinite().all(1)).nonzero()[:, 0].tolist()
    if bad:
        raise ValueError(f"states: row {bad[0]} is not finite ({len(bad)} such rows); the teacher "
                         "overflows there, label in float32 or bfloat16")
    return states


# ---- the loss ------------------------------------------------------------------------------------

def class_weights(right, reweight="balanced"):
    """(weight of a wrong row, of a right one) of the class-reweighted BCE (readings, reading T2).

    right (N,) in {0, 1}, the whole training slice. "balanced": 1 and pos_weight = n_wrong / n_right
    (PyTorch); "each": N / (2 n_c), the mean weight being 1 (scikit-learn); "none": 1 and 1.
    """
    right = torch.as_tensor(right)
    n, positive = len(right), int(right.sum())
    if reweight not in ("balanced", "each", "none"):
        raise ValueError(f"reweight: expected 'balanced', 'each' or 'none', got {reweight!r}")
    # a good teacher is mostly right: unweighted, "right" for every row would have a low loss
    if reweight == "none":
        return 1., 1.
    if reweight == "each":
        return n / (2 * (n - positive)), n / (2 * positive)
    return 1., (n - positive) / positive


def bce(logits, right, weights=(1., 1.)):
    """Mean of w_i * BCE(logit_i, right_i), a scalar; logits, right (B,); weights (wrong, right)."""
    weight = torch.where(right == 1, weights[1], weights[0])
    return (weight * F.binary_cross_entropy_with_logits(logits, right, reduction="none")).mean()


def best_temperature(logits, right):
    """The T that minimises the BCE of logits / T, both (N,): a zero of its derivative by 1 / T,
    which grows with 1 / T. Kept within TEMPERATURES, where separable or reversed logits end."""
    logits, right = logits.double(), right.double()
    # bisection over log(1 / T): 60 halvings leave less than float64 can tell apart
    low, high = (math.log(1 / t) for t in reversed(TEMPERATURES))
    for _ in range(60):
        middle = (low + high) / 2
        slope = ((logits * math.exp(middle)).sigmoid() - right) @ logits
        low, high = (low, middle) if slope > 0 else (middle, high)
    return math.exp(-low)


def smoothed(right):
    """(N,) Platt's targets (1999) in place of 0 and 1: (n1 + 1) / (n1 + 2) and 1 / (n0 + 2)."""
    # below 1 and above 0, so that the temperature of lowest BCE is not 0
    n1, n0 = (float((right == kind).sum()) for kind in (1, 0))
    return torch.where(right == 1, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))


# ---- training ------------------------------------------------------------------------------------

def fit(states, right, *, seed=0, epochs=50, batch_size=256, lr=1e-3, weight_decay=.01,
        held_out=.1, patience=None, reweight="balanced", calibrate="both", blocks=2, hidden=None,
        dropout=.1, drop_path=.1, groups=None, log=None):
    """Train a trust function: (TrustFunction in eval mode, facts about the training).

    states (N, D) of the teacher; right (N,) in {0, 1}: its label is right. held_out: share of the
    rows for early stopping and temperature; rows of one group (N,) stay together. `patience`
    epochs without a lower held-out loss end the training (None: 8 for few rows, 3 for 5000 and
    more, where an epoch has more steps); the best epoch's weights are kept.
    Where N is too small for 20 held-out rows of both kinds, all rows train for all epochs.
    log(epoch=, loss=, held_out_loss=) is called after each epoch, with the mean loss of its steps.
    calibrate: "prior" shifts the logit by -log(pos_weight), which undoes what the class weights do
    to probabilities; "temperature" divides it by the T of lowest held-out BCE; "both"; "none".
    Runs on the CPU and touches no global random state. Raises ValueError when all rows are right,
    or all wrong, and for states that are not finite.
    """
    states, right = checked(states).cpu(), torch.as_tensor(right).detach().cpu().float()
    patience = patience or max(3, min(8, 16_000 // len(states)))
    check_right(right, len(states), groups)
    if calibrate not in ("both", "temperature", "prior", "none"):
        raise ValueError("calibrate: expected 'both', 'temperature', 'prior' or 'none', "
                         f"got {calibrate!r}")
    generator = torch.Generator().manual_seed(seed)
    # held out by groups: a row of which another version was trained on says nothing of new rows
    held = hold_out(right, groups, held_out, generator)
    weights = class_weights(right[~held], reweight)
    with torch.random.fork_rng(devices=[]):  # initial weights, dropout and drop path
        torch.default_generator.manual_seed(seed)
        model = TrustFunction(states.shape[1], blocks, hidden, dropout, drop_path)
        model.standardise(states[~held])
        optimizer = adamw(model, lr, weight_decay)
        facts = train(model, optimizer, (states[~held], right[~held]), (states[held], right[held]),
                      weights, epochs, batch_size, patience, generator, log)
    # weights change the base rate that the logit stands for; the shift puts the true one back
    pos_weight = weights[1] / weights[0]
    if calibrate in ("both", "prior"):
        model.shift.fill_(-math.log(pos_weight))
    if calibrate in ("both", "temperature") and held.any():
        logits, truth = model.logits(states[held]) + model.shift, right[held]
        if logits[truth == 1].min() > logits[truth == 0].max():  # T = 0 would be best: all trust 0
            truth = smoothed(truth)                              # or 1, and the rows' order lost
        model.temperature.fill_(best_temperature(logits, truth))
    return model.eval(), {
        "rows": len(states), "held_out_rows": int(held.sum()), "right": float(right.mean()),
        **facts, "reweight": reweight, "pos_weight": pos_weight, "calibrate": calibrate,
        "shift": float(model.shift), "temperature": float(model.temperature)}


def check_right(right, n, groups):
    """ValueError unless right (n,) has both kinds and nothing else, and groups fit."""
    for name, column in (("right", right), ("groups", groups)):
        if column is not None and len(column) != n:
            raise ValueError(f"{name} has {len(column)} rows, states has {n}")
    if right.ndim != 1 or not ((right == 0) | (right == 1)).all():
        raise ValueError("right: expected (N,) of 0 and 1")
    if right.min() == right.max():
        raise ValueError(f"right: the teacher is {'right' if right[0] else 'wrong'} on all {n} "
                         "rows, so there is nothing to learn; label more rows, or harder or easier "
                         "ones, until both kinds occur")


def hold_out(right, groups, share, generator):
    """(N,) bool: the held-out rows, about `share` of them and at least FEWEST. Whole groups, evenly
    spaced after sorting by their share of right rows: both kinds in proportion. None where FEWEST
    is more than a quarter of N (and than `share`) or a side would lack a kind."""
    code = np.arange(len(right)) if groups is None else np.unique(groups, return_inverse=True)[1]
    code = torch.from_numpy(code)
    rows = torch.bincount(code)
    G, least = len(rows), FEWEST / len(right)
    mean = torch.bincount(code, right.double()) / rows
    # shuffled before the stable sort, so that chance decides among groups of equal shares
    order = torch.randperm(G, generator=generator)
    order = order[mean[order].argsort(stable=True)]
    count = round(max(share, least) * G) if share and least <= max(share, .25) else 0
    held_groups = order[((torch.arange(count) + .5) * G / max(count, 1)).long()]
    held = torch.isin(code, held_groups)
    both = all(len(right[side].unique()) == 2 for side in (held, ~held))
    return held if both else torch.zeros(len(right), dtype=torch.bool)


def adamw(model, lr, weight_decay):
    """Fused AdamW that decays matrices only: not gains, nor biases."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    return step.AdamW([{"params": matrices}, {"params": rest, "weight_decay": 0.}], lr=lr,
                      weight_decay=weight_decay, fused=True)


def train(model, optimizer, rows, held, weights, epochs, batch_size, patience, generator, log=None):
    """Train on rows (states, right) and return {"epochs", "best_epoch", "held_out_loss"}. The model
    has the weights of the epoch with the lowest loss on `held` then, or of the last epoch where
    `held` has no rows."""
    states, right = rows
    best, best_epoch, epoch, best_weights = math.inf, 0, 0, None
    for epoch in range(1, epochs + 1):
        model.train()
        total = 0.0
        for pick in torch.randperm(len(states), generator=generator).split(batch_size):
            loss = bce(model(states[pick]), right[pick], weights)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            total += loss.item() * len(pick)
        if not math.isfinite(loss.item()):
            raise ValueError(f"the trust function's loss is {loss.item()} in epoch {epoch}; try a "
                             "smaller lr")
        held_loss = bce(model.logits(held[0]), held[1], weights).item() if len(held[0]) else None
        if log:
            log(epoch=epoch, loss=total / len(states), held_out_loss=held_loss)
        if held_loss is None:
            continue
        if held_loss < best:
            best, best_epoch = held_loss, epoch
            # cloned: the optimizer changes the parameters in place
            best_weights = {name: value.clone() for name, value in model.state_dict().items()}
        elif epoch - best_epoch >= patience:
            break
    if best_weights:
        model.load_state_dict(best_weights)
    return {"epochs": epoch, "best_epoch": best_epoch or epoch,
            "held_out_loss": best if best_weights else None}


# ---- on disk -------------------------------------------------------------------------------------

def save(model, folder, facts):
    """Write ntf.safetensors, then ntf.json: sizes and facts. Each is complete where it exists."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    text = json.dumps({**model.config, "facts": facts}, indent=1, allow_nan=False) + "\n"
    for name, content in (("ntf.safetensors", serialise(weights)), ("ntf.json", text.encode())):
        with atomic(folder / name, "wb") as file:
            file.write(content)


def load(folder):
    """The trust function that `save` wrote, in eval mode on the CPU, bit by bit the same. Raises
    ValueError `FILE: what is wrong` for a file that is missing, damaged or of other sizes."""
    path, weights = Path(folder) / "ntf.json", Path(folder) / "ntf.safetensors"
    for file in (path, weights):
        if not file.is_file():
            raise ValueError(f"{file}: no such file; expected what train_ntf.py wrote")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        sizes = [config[name] for name in ("dim", "blocks", "hidden", "dropout", "drop_path")]
        if not all(type(size) in (int, float) and size <= MOST for size in sizes):
            raise ValueError(f"they must be numbers up to {MOST}")
        with torch.device("meta"):  # sizes are checked against the weights before memory is taken
            model = TrustFunction(*sizes)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else error if isinstance(
            error, ValueError) else "it is no object"
        raise ValueError(f"{path}: not the sizes of a trust function ({what})") from None
    try:
        # clone: the file aligns tensors differently, and then vector code rounds differently
        stored = {name: value.clone() for name, value in load_file(weights).items()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{weights}: damaged or incomplete ({error})") from None
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    if wanted != {name: value.shape for name, value in stored.items()}:
        wrong = sorted(name for name in wanted.keys() | stored.keys()
                       if name not in stored or wanted.get(name) != stored[name].shape)
        raise ValueError(f"{weights}: does not fit {path.name}: {', '.join(wrong[:3])} "
                         f"({len(wrong)} of {len(wanted)} tensors)")
    for name, value in stored.items():
        if value.dtype != torch.float32 or not value.isfinite().all():
            raise ValueError(f"{weights}: {name} is not finite float32")
        if name in ("std", "temperature") and not (value > 0).all():  # what is divided by
            raise ValueError(f"{weights}: {name} is not above 0")
    model.load_state_dict(stored, assign=True)
    return model.eval()
