"""The loss of weak-to-strong training: Eq. (1), its hardened prediction and its ramp.

B rows, K classes, N rows of a split, M recent rows.
"""

import torch

from w2s.device import pinned
from w2s.model.kernels import wide

RECENT = 256  # scores remembered for the threshold (reading E2)


def cross_entropy(logits, target):
    """-sum_k target_k log softmax(logits)_k: (B,) from logits and target probabilities (B, K)."""
    # soft targets, ground truth included: weak labels are probabilities, not classes
    return -(target * wide(logits).log_softmax(-1)).sum(-1)


def wts_aux(logits, weak, alpha, hard):
    """Eq. (1): (1 - alpha) * l(f(x), f_w(x)) + alpha * l(f(x), f_hat_t(x)).

    logits (B, K); weak (B, K) the weak model's probabilities; alpha scalar or (B,); hard (B, K) the
    student's own hardened prediction, no gradient. Returns (B,). One forward pass serves both terms
    (reading E1). Burns et al. 2023, A.4.
    """
    # the second term lets a student that is sure of itself disagree with its teacher
    return (1 - alpha) * cross_entropy(logits, weak) + alpha * cross_entropy(logits, hard)


def alpha_at(step, steps, alpha_max, warmup):
    """alpha_max * min(1, step / (warmup * steps)): a ramp from 0, not a jump (reading E4).

    warmup: fraction of the optimizer steps in [0, 1]; 0 means alpha_max from the first step on."""
    # at first the student's own predictions are those of an untrained head, so they count little
    return alpha_max if warmup * steps == 0 else alpha_max * min(1.0, step / (warmup * steps))


def harden(probabilities, prior=None, recent=None):
    """f_hat_t of Eq. (1): one-hot (B, K) from the student's probabilities (B, K), no gradient.

    prior (K,), the class shares to match, or None: argmax. K = 2: the threshold t on p_0 is the
    quantile of p_0 at prior_1 over the batch and `recent` (M, K) earlier scores; p_0 >= t is class
    0, ties too (reading E2; the rule of Burns et al. with a buffer). K > 2: an offset per class
    makes the shares of the argmax match the prior (reading E3). Raises ValueError for a prior that
    is not a distribution over K classes.
    """
    # detached: with a gradient the student could make its target agree by moving the target
    p = wide(probabilities.detach())
    classes = p.shape[-1]
    if prior is None:
        return torch.nn.functional.one_hot(p.argmax(-1), classes).to(p.dtype)
    prior = torch.as_tensor(prior, dtype=p.dtype)
    if prior.device.type == "cpu":  # one on a GPU was checked before it came there: no wait for it
        if prior.shape != (classes,) or (prior < 0).any() or abs(float(prior.sum()) - 1) > 1e-3:
            raise ValueError(f"prior must be {classes} shares that sum to 1, got {prior.tolist()}")
        prior = prior.to(p.device)
    # recent scores too: a quantile of the few rows of a batch is a noisy threshold
    seen = p if recent is None else torch.cat([p, recent.to(p)])
    if classes == 2:
        # not t = 1/2: a student that leans to one class would harden all rows to it, and learn that
        t = torch.quantile(seen[:, 0], prior[1].clamp(0, 1))
        return torch.nn.functional.one_hot((p[:, 0] < t).long(), 2).to(p.dtype)
    return torch.nn.functional.one_hot((p + _offsets(seen, prior)).argmax(-1), classes).to(p.dtype)


def _offsets(p, prior, rounds=50):
    """(K,) offsets b such that argmax(p + b) has the class shares `prior`: each class in turn gets
    the offset at which its own share is right, the others held."""
    b = torch.zeros_like(prior)
    # an offset of one class changes the shares of the others, hence the rounds
    for _ in range(rounds):
        for k in range(len(prior)):
            others = (p + b).clone()
            others[:, k] = -torch.inf
            margin = others.max(-1).values - p[:, k]  # class k wins where b_k > margin
            b[k] = torch.quantile(margin, prior[k].clamp(0, 1))
    return b


class Hardening:
    """harden() along a training run: the prior and the recent scores of each pool of rows.

    A pool is a set of rows that share a label scheme (a GLUE task; everything, when there is one).
    threshold: "quantile" (K = 2: quantile over batch and recent scores; K > 2: argmax), "batch"
    (the same without recent scores, as OpenAI's code does), "argmax", "prior" (quantile, and for
    K > 2 offsets that match the shares).
    """

    def __init__(self, weak, pool=None, threshold="quantile", absent=None):
        """weak (N, K): the weak labels of the whole split; pool (N,) integers or None; absent
        (N, K) negative at the classes that a row's pool lacks (the last ones), or None."""
        weak = torch.as_tensor(weak)
        pool = torch.zeros(len(weak), dtype=torch.long) if pool is None else torch.as_tensor(pool)
        self.threshold = threshold
        # the class shares of the weak labels: of the truth a student knows nothing
        self.prior, self.recent = {}, {}
        for c in pool.unique().tolist():
            prior = weak[pool == c].double().mean(0)
            classes = prior.shape[0]
            if absent is not None:  # a pool lacks the last classes: no row is hardened to them
                classes = int((torch.as_tensor(absent)[pool == c][0] == 0).sum())
            self.prior[c] = (prior[:classes] / prior[:classes].sum()).float()
            self.recent[c] = torch.zeros(0, classes)

    def __call__(self, p, pool=None):
        """(B, K) one-hot of the student's probabilities p (B, K); remembers them. pool (B,) on the
        CPU, where to ask for its rows is not to wait."""
        # stays 0 at the classes that a row's pool lacks
        hard = torch.zeros_like(p, dtype=torch.float32)
        for c, prior in self.prior.items():
            pick = slice(None) if pool is None else pinned((pool == c).nonzero()[:, 0], p.device)
            prior = self.prior[c] = prior.to(p.device)
            scores = wide(p[pick, :len(prior)].detach())
            if not len(scores):
                continue
            argmax = self.threshold == "argmax" or (self.threshold != "prior" and len(prior) > 2)
            remember = self.threshold != "batch"
            recent = self.recent[c].to(scores.device)
            hard[pick, :len(prior)] = harden(scores, None if argmax else prior,
                                             recent if remember else None)
            self.recent[c] = torch.cat([recent, scores])[-RECENT:]
        return hard

    def state_dict(self):
        """{"<pool>": recent scores (M, K)}: part of a checkpoint."""
        return {str(c): scores for c, scores in self.recent.items()}

    def load_state_dict(self, state):
        self.recent = {int(c): scores for c, scores in state.items()}
