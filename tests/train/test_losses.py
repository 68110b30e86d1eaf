"""Eq. (1), its threshold and its ramp, against the numbers of the public implementations.

    python -m pytest -q tests/train/test_losses.py
"""

import numpy as np
import pytest
import torch

from w2s.train import losses

# the values below: the confidence losses of openai/weak-to-strong and EleutherAI/w2s, as published
LOGITS = torch.tensor([[.9, .1], [.2, -.5], [-.3, .6], [1.5, 0], [.1, .4],
                       [.8, -.9], [-.2, .35], [.05, .6], [1.1, .2], [-1.2, .7]])
WEAK_1 = torch.tensor([.1, .3, .8, .05, .2, .15, .6, .4, .25, .9])
WEAK = torch.stack([1 - WEAK_1, WEAK_1], -1)
TIES = torch.tensor([[.2, -.3], [1, .5], [-.4, .9], [0, .1],
                     [.7, -1.2], [-.6, .2], [.3, .4], [-1, 1.5]])
TIES_WEAK_0 = torch.tensor([.7, .4, .1, .55, .9, .35, .8, .2])


def test_threshold_is_the_quantile_of_p0_at_the_prior_of_class_1():
    hard = losses.harden(LOGITS.softmax(-1), WEAK.mean(0))
    assert hard.argmax(-1).tolist() == [0, 0, 1, 0, 0, 0, 1, 1, 0, 1]
    assert losses.harden(LOGITS.softmax(-1)).argmax(-1)[4] == 1  # argmax differs there


@pytest.mark.parametrize("alpha, value", [(0, .54355210), (.1, .52650207), (.25, .50092709),
                                          (.5, .45830208), (1.0, .37305209)])
def test_loss_equals_the_public_confidence_loss(alpha, value):
    hard = losses.harden(LOGITS.softmax(-1), WEAK.mean(0))
    assert losses.wts_aux(LOGITS, WEAK, alpha, hard).mean().item() == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("step, value", [(0, .594042), (5, .570838), (10, .547635), (20, .501229),
                                         (100, .501229)])
def test_ramp_is_linear_and_ties_go_to_class_0(step, value):
    weak = torch.stack([TIES_WEAK_0, 1 - TIES_WEAK_0], -1)
    hard = losses.harden(TIES.softmax(-1), weak.mean(0))
    alpha = losses.alpha_at(step, 100, .5, .2)
    assert losses.wts_aux(TIES, weak, alpha, hard).mean().item() == pytest.approx(value, abs=1e-6)


def test_alpha_starts_at_0_and_without_warmup_at_its_maximum():
    assert losses.alpha_at(0, 100, .25, .2) == 0
    assert [losses.alpha_at(k, 100, .25, .2) for k in (5, 10, 20, 99)] == [.0625, .125, .25, .25]
    assert losses.alpha_at(0, 100, .25, 0) == .25


def test_alpha_0_is_exactly_cross_entropy_and_hard_gets_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    hard = losses.harden(logits.softmax(-1), WEAK.mean(0))
    assert not hard.requires_grad
    assert torch.equal(losses.wts_aux(logits, WEAK, 0, hard), losses.cross_entropy(logits, WEAK))
    torch.testing.assert_close(losses.cross_entropy(LOGITS, WEAK),
                               torch.nn.functional.cross_entropy(LOGITS, WEAK, reduction="none"))


def test_three_classes_match_the_prior_and_two_agree_with_the_quantile():
    draw = torch.Generator().manual_seed(0)
    p = torch.randn(600, 3, generator=draw).softmax(-1)
    prior = torch.tensor([.5, .2, .3])
    assert (losses.harden(p, prior).mean(0) - prior).abs().max() < .01
    prior = torch.tensor([.1, .2, .3, .4])  # of 600 rows: 60, 120, 180, 240
    hard = losses.harden(torch.randn(600, 4, generator=draw).softmax(-1), prior)
    assert (hard.sum(0) - 600 * prior).abs().max() <= 2
    p = torch.randn(200, 2, generator=draw).softmax(-1)
    for pi in (.1, .375, .8):
        offsets = losses._offsets(p, torch.tensor([1 - pi, pi]))
        rule = losses.harden(p, [1 - pi, pi]).argmax(-1)
        assert ((p + offsets).argmax(-1) == rule).float().mean() > .99


def test_closed_classes_stay_finite():
    logits = torch.tensor([[1.0, 2.0, -1e4]])
    weak = torch.tensor([[.3, .7, 0.0]])
    assert losses.cross_entropy(logits, weak).isfinite().all()


def test_hardening_remembers_256_scores_per_pool_and_resumes():
    weak = torch.tensor([[.6, .4, 0], [.2, .8, 0], [.3, .3, .4]])
    absent = torch.tensor([[0, 0, -1e4], [0, 0, -1e4], [0, 0, 0]])
    first = losses.Hardening(weak, torch.tensor([0, 0, 1]), absent=absent)
    draw = torch.Generator().manual_seed(1)
    pool = torch.arange(64) % 2
    for _ in range(12):
        p = torch.randn(64, 3, generator=draw).softmax(-1)
        hard = first(p, pool)
        assert (hard.sum(-1) == 1).all() and hard[pool == 0, 2].sum() == 0
    assert first.recent[0].shape == (256, 2) and first.recent[1].shape == (256, 3)
    second = losses.Hardening(weak, torch.tensor([0, 0, 1]), absent=absent)
    second.load_state_dict(first.state_dict())
    p = torch.randn(64, 3, generator=draw).softmax(-1)
    assert torch.equal(first(p, pool), second(p, pool))


@pytest.mark.parametrize("threshold", ["quantile", "batch", "argmax", "prior"])
def test_each_pool_has_its_own_prior_and_its_own_recent_scores(threshold):
    """Two teachers that disagree, pools whose scores drift apart, and the rule written out: p_0 < t
    is class 1, t the quantile at the pool's share of class 1, of batch and 256 scores before it."""
    pool, draw, seen = np.arange(40) % 2, np.random.default_rng(3), {0: [], 1: []}
    share = np.where(pool == 0, .25, .75)
    hardening = losses.Hardening(np.stack([1 - share, share], 1), pool, threshold)
    for k in range(30):
        p = draw.beta(np.where(pool == 0, 2 + k / 5, 5), np.where(pool == 0, 5, 2 + k / 5))
        p = p.astype(np.float32)
        found = hardening(torch.tensor(np.stack([p, 1 - p], 1)), torch.tensor(pool))
        for c, prior in ((0, .25), (1, .75)):
            own = p[pool == c]
            seen[c] += [*own]
            known = own if threshold == "batch" else seen[c][-256 - len(own):]
            t = .5 if threshold == "argmax" else np.quantile(np.array(known, float), prior)
            assert (found[pool == c].argmax(1).numpy() == (own < t)).all(), (k, c)
    assert [hardening.recent[c][:, 0].tolist() for c in (0, 1)] == [seen[c][-256:] for c in (0, 1)]


def test_offsets_for_three_classes_are_of_batch_and_recent_scores():
    """Batches of two rows: without the scores before them every batch would be split in two."""
    prior, draw = torch.tensor([.9, .05, .05]), torch.Generator().manual_seed(0)
    hardening = losses.Hardening(prior[None].expand(5, 3), threshold="prior")
    hard = torch.cat([hardening(torch.randn(2, 3, generator=draw).softmax(-1)) for _ in range(60)])
    assert (hard[20:].mean(0) - prior).abs().max() < .06
    usual = losses.Hardening(prior[None].expand(5, 3))  # more than two classes: argmax
    p = torch.tensor([[.2, .3, .5], [.1, .8, .1], [.3, .1, .6]])
    assert usual(p).argmax(1).tolist() == [2, 1, 2]


def test_a_prior_that_is_no_distribution_is_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        losses.harden(LOGITS.softmax(-1), [.5, .2])


def test_a_class_the_teacher_never_names_can_still_be_hardened():
    weak = torch.tensor([[1., 0, 0], [0, 1, 0]])  # three classes, hard labels of two of them
    hard = losses.Hardening(weak, absent=torch.zeros(2, 3))(torch.tensor([[.05, .05, .9]]))
    assert hard.argmax().item() == 2


def test_a_threshold_of_bfloat16_probabilities_is_not_rounded():
    """.502 and .498 are one number in bfloat16 with 8 bits, .50. of eight: t between two scores."""
    p0 = torch.tensor([.25, .5, .5078125, .75])  # exact in bfloat16; their median .50390625 is not
    p = torch.stack([p0, 1 - p0], 1).bfloat16()
    assert losses.harden(p, [.5, .5]).dtype == torch.float32
    assert losses.harden(p, [.5, .5]).argmax(1).tolist() == [1, 1, 0, 0]


def test_losses_are_exact_in_float64_and_not_rounded_to_bfloat16():
    logits = LOGITS.double().requires_grad_()
    hard = losses.harden(logits.softmax(-1), WEAK.double().mean(0))
    assert torch.autograd.gradcheck(lambda z: losses.wts_aux(z, WEAK.double(), .3, hard), logits)
    assert losses.cross_entropy(LOGITS.bfloat16(), WEAK).dtype == torch.float32
