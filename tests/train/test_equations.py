"""Every numbered equation of Generalizing Trust, computed from its printed form on random numbers.

The printed sides are plain numpy on float64, row by row; none of our own functions is in them. The
stages: Eqs. (3), (4), (5) train the weak model on labels y, Eqs. (7), (9), (8) the student on
f_w(x) by Eq. (1). `f` is a model so small that its formula stands here too: the mean of a row's
word embeddings, times a matrix.

    python -m pytest -q tests/train/test_equations.py
"""

import math

import numpy as np
import pytest
import torch

from w2s import metrics
from w2s.dp import accountant
from w2s.dp import sgd as dp
from w2s.tasks import adversarial, fairness, ood
from w2s.train import losses, step

B, T, D, V = 24, 5, 4, 30
ENDS = (0.0, 0.1, 0.5, 1.0)  # of alpha, and of lambda where it mixes two losses
RNG = np.random.default_rng(7)
E, IDS, IDS_ADV = RNG.normal(size=(V, D)), *RNG.integers(V, size=(2, B, T))
Z, A = RNG.normal(size=(B, T, D)), (RNG.random(B) < 0.6).astype(float)
W = {K: RNG.normal(size=(D, K)) for K in (2, 3)}


def one_hot(k, K):
    return np.eye(K)[k]


def shares(*size):
    return RNG.dirichlet(np.ones(size[-1]), size[:-1])


LABEL, WEAK, HARD = ({K: [make(K) for _ in range(2)] for K in (2, 3)} for make in (
    lambda K: one_hot(RNG.integers(K, size=B), K), lambda K: shares(B, K),
    lambda K: one_hot(RNG.integers(K, size=B), K)))  # each of x and of x'


# ---- the printed side ----------------------------------------------------------------------------

def p_of(ids, K, noise=0.0):
    """(B, K) class probabilities f(x), of the embeddings e(x) + z."""
    z = (E[ids] + noise).mean(1) @ W[K]
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def l(p, target):  # noqa: E743  (the paper's letter)
    """The loss: cross-entropy of one row."""
    return -sum(t * math.log(q) for t, q in zip(target, p))


def l_aux(p, weak, hard, alpha):
    """Eq. (1) of one row, f_theta(x) in both terms."""
    return (1 - alpha) * l(p, weak) + alpha * l(p, hard)


def stage(student, K, alpha, which=0):
    """loss(i, p) of row i: l on its label, or Eq. (1) on its weak label."""
    if student:
        return lambda i, p: l_aux(p, WEAK[K][which][i], HARD[K][which][i], alpha)
    return lambda i, p: l(p, LABEL[K][which][i])


# ---- our side ------------------------------------------------------------------------------------

def tensor(x):
    return torch.tensor(np.asarray(x))


def batch(student, K, alpha):
    kind = WEAK if student else LABEL
    both = {"ids": IDS, "ids_adv": IDS_ADV, "target": kind[K][0],
            "target_adv": kind[K][1] if student else kind[K][0], "a": A,
            "a_bar": np.full(B, A.mean()), "noise": Z, "hard": HARD[K][0], "hard_adv": HARD[K][1]}
    lengths = {"len": torch.full((B,), T), "len_adv": torch.full((B,), T)}
    return {key: tensor(value) for key, value in both.items()} | lengths | (
        {"alpha": torch.tensor(alpha, dtype=torch.float64)} if student and alpha else {})


def model(K):
    def f(ids, lengths, noise=0.0):
        return (tensor(E)[ids] + noise).mean(1) @ tensor(W[K])
    return f


def ours(task, student, K, alpha, lam, **options):
    ell = step.weak_label if student else step.ground_truth
    return task.objective(model(K), batch(student, K, alpha), ell, lam, **options).mean().item()


STAGES = [(False, 0.0), *((True, alpha) for alpha in ENDS)]


@pytest.mark.parametrize("alpha", ENDS)
@pytest.mark.parametrize("K", (2, 3))
def test_equation_1(K, alpha):
    p = p_of(IDS, K)
    printed = [l_aux(p[i], WEAK[K][0][i], HARD[K][0][i], alpha) for i in range(B)]
    found = losses.wts_aux(model(K)(tensor(IDS), None), tensor(WEAK[K][0]), alpha,
                           tensor(HARD[K][0]))
    np.testing.assert_allclose(found, printed, rtol=1e-10)


def test_equation_1_hardens_by_a_threshold_that_gives_the_classes_their_weights():
    """t "proportional to the class weights": among 1000 rows the hardened predictions have the
    weak labels' class shares, whatever the student's own are."""
    p0 = RNG.beta(5, 2, size=1000)
    for share in (0.2, 0.5, 0.9):
        hard = losses.harden(tensor(np.stack([p0, 1 - p0], 1)), tensor([1 - share, share])).numpy()
        assert hard.mean(0) == pytest.approx([1 - share, share], abs=2e-3)
        t = p0[hard[:, 0] == 1].min()  # one threshold parts the classes
        assert (p0[hard[:, 1] == 1] < t).all() and set(np.unique(hard)) == {0, 1}


def test_equation_2():
    yes = (RNG.random(B) < 0.5).astype(int)
    printed = (sum(y for y, a in zip(yes, A) if a == 1) / sum(a == 1 for a in A)
               - sum(y for y, a in zip(yes, A) if a == 0) / sum(a == 0 for a in A))
    assert metrics.demographic_parity(yes, A) == pytest.approx(printed, abs=1e-12)


@pytest.mark.parametrize("lam", (0.0, 0.5, 1.0, 4.0))
@pytest.mark.parametrize("student, alpha", STAGES)
def test_equations_3_and_7(student, alpha, lam):
    p, loss, a_bar = p_of(IDS, 2), stage(student, 2, alpha), sum(A) / B
    printed = sum(loss(i, p[i]) + lam * (A[i] - a_bar) * p[i][1] for i in range(B)) / B
    assert ours(fairness, student, 2, alpha, lam) == pytest.approx(printed, rel=1e-10)


@pytest.mark.parametrize("lam", (0.0, 0.3, 0.5, 1.0))
@pytest.mark.parametrize("student, alpha", STAGES)
def test_equations_4_and_9(student, alpha, lam):
    """The weak model has one y for x and x'; the student f_w(x), f_w(x') and its own hardened
    prediction of each."""
    p, p_adv = p_of(IDS, 3), p_of(IDS_ADV, 3)
    loss, loss_adv = stage(student, 3, alpha), stage(student, 3, alpha, int(student))
    printed = sum((1 - lam) * loss(i, p[i]) + lam * loss_adv(i, p_adv[i]) for i in range(B)) / B
    assert ours(adversarial, student, 3, alpha, lam) == pytest.approx(printed, rel=1e-10)


@pytest.mark.parametrize("lam", (0.0, 2e-3, 0.5))
@pytest.mark.parametrize("student, alpha", STAGES)
@pytest.mark.parametrize("noise_as, std", (("std", lambda lam: lam), ("var", math.sqrt)))
def test_equations_5_and_8(student, alpha, lam, noise_as, std):
    """A.2 calls 2e-3 a standard deviation, section 3.1 writes lambda I as the covariance."""
    p, loss = p_of(IDS, 2, std(lam) * Z), stage(student, 2, alpha)
    printed = sum(loss(i, p[i]) for i in range(B)) / B
    assert ours(ood, student, 2, alpha, lam, noise_as=noise_as) == pytest.approx(printed, rel=1e-10)


@pytest.mark.parametrize("sigma", (0.8, 1.0, 3.0))
def test_equation_6_holds_with_equality_on_the_worst_set_at_our_epsilon(sigma):
    """One step of noise sigma C on all rows: A(D1) ~ N(C, (sigma C)^2), A(D2) ~ N(0, (sigma C)^2).
    The worst S is where the density ratio exceeds exp(epsilon), a half line."""
    delta = 1e-5
    epsilon = accountant.epsilon(sigma, 1.0, 1, delta)
    cut = epsilon * sigma ** 2 + 0.5  # in units of C: the ratio there is exp(epsilon)

    def tail(mean):
        return 0.5 * math.erfc((cut - mean) / (sigma * math.sqrt(2)))
    assert tail(1) == pytest.approx(math.exp(epsilon) * tail(0) + delta, rel=0.02)
    assert tail(1) <= math.exp(epsilon) * tail(0) + delta


def test_the_three_steps_under_equation_6_with_min_in_place_of_the_misprinted_max():
    """gamma_i = g_i min(1, C / |g_i|), m = sum gamma_i / n, m + Y. As printed, with max, a row of a
    small gradient would be blown up to C and no row would be bounded by it."""
    layer, clip = torch.nn.Linear(D, 3, bias=False).double(), 0.5
    x, y = tensor(RNG.normal(size=(B, D)) * np.linspace(0.01, 3, B)[:, None]), tensor(LABEL[3][0])

    def objective(f, batch):
        return losses.cross_entropy(f(batch["x"]), batch["y"])

    gamma, norms = [], []
    for i in range(B):
        p = torch.softmax(x[i] @ layer.weight.T, -1).detach().numpy()
        g = np.outer(p - LABEL[3][0][i], x[i])  # the gradient of cross-entropy
        norms.append(np.sqrt((g ** 2).sum()))
        gamma.append(g * min(1, clip / norms[-1]))
    assert min(norms) < clip < max(norms)
    found = dp.private_gradient(layer, objective, {"x": x, "y": y}, clip, 0.0, B,
                                torch.Generator(), method="func")["weight"]
    np.testing.assert_allclose(found, sum(gamma) / B, rtol=1e-5, atol=1e-7)  # clip_factor adds 1e-6
    draws = np.array([dp.private_gradient(
        layer, objective, {"x": x[:0], "y": y[:0]}, clip, 2.0, B, torch.Generator().manual_seed(k),
        method="func")["weight"].numpy() for k in range(400)])
    assert draws.std() == pytest.approx(2.0 * clip / B, rel=0.05)  # tau of Y ~ N(0, tau^2 I)
