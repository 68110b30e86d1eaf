"""GRPO: numbers on paper, trl's own loss, one step by hand, and a toy that learns.

    python -m pytest -q tests/train/test_grpo.py      # with trl installed also against it; -m slow:
                                                # really compiled
"""

import contextlib
import copy
import io
import math
from unittest import mock

import pytest
import torch

import train_weak
from tests.memorised import mails
from tests.dp.test_sgd import batch, model
from w2s import config, rows, runs, tasks, training
from w2s.model import checkpoint, decoding, lora
from w2s.train import grpo, step

END, LIKED, N = 25, 7, 5  # the tiny model writes 25 often
LP, REF, OLD = (torch.tensor([x]) for x in ([-1., -2, -.5], [-1.2, -1.5, -.5], [-1.1, -2.3, -.5]))


def prompts(B=4):
    b = batch(B)
    return {"ids": b["ids"], "len": b["len"], "rows": torch.arange(10, 10 + B)}


def liked(row, tokens):
    """A reward: the share of the answer that is LIKED."""
    return tokens.count(LIKED) / N


def low(row, tokens):
    """A reward that has a signal from the start: the share of the lower half of the vocabulary."""
    return sum(token < 16 for token in tokens) / N


def maker(m, reward=low, steps=40, lr=.05, optimizer="adamw", **options):
    options = {"group": 4, "new_tokens": N, "end": END} | options
    return grpo.make_step(m, step.OPTIMIZERS[optimizer](m, lr), reward, steps, **options)


def written(m, b, group=4, temperature=1.0, seed=0, k=0, new=N):
    """The answers that step k of such a run is about."""
    draw = torch.Generator().manual_seed(step.seed_of(seed, "grpo", k))
    draws = torch.rand(len(b["ids"]), group, new, generator=draw)
    return grpo.write(m, b["ids"], b["len"], draws, temperature, END)


def weights(m):
    return torch.cat([p.detach().flatten() for p in m.parameters()])


def plain_logp(m, answers, temperature):
    """(R, N), every answer alone and its whole softmax."""
    found = torch.zeros(answers.mask.shape)
    for r, n in enumerate(answers.mask.sum(1).int().tolist()):
        T = int(answers.len[r])
        ids = torch.cat([answers.ids[r, :T], answers.new[r, :n]])[None]
        logits = m(ids, torch.tensor([T + n]))[0, T - 1:T + n - 1] / temperature
        logp = logits.log_softmax(-1).gather(1, answers.new[r, :n, None])[:, 0]
        found[r] = torch.nn.functional.pad(logp, (0, found.shape[1] - n))
    return found


# ---- numbers on paper ----------------------------------------------------------------------------

def test_advantages_on_paper():
    found = grpo.advantages([[1, 0, 0, 1], [1, 2, 3, 6], [2, 2, 2, 2]])
    want = torch.tensor([[.86587542, -.86587542, -.86587542, .86587542],
                         [-.92577732, -.46288866, 0, 1.38866591], [0, 0, 0, 0]])
    assert torch.allclose(found, want, atol=1e-7)
    assert torch.equal(grpo.advantages(torch.tensor([1., 2, 3, 6])), found[1])


@pytest.mark.parametrize("rewards", ([.1] * 7, [1 / 3] * 3, [1e8 + 1] * 5, [5.], [[.7] * 6] * 2))
def test_equal_rewards_are_exactly_no_signal(rewards):
    assert not grpo.advantages(rewards).any()


def test_clipped_loss_and_kl_on_paper():
    ones = torch.ones_like(LP)
    for advantage, beta, want in ((1., 0, -1.10172367), (1., .04, -1.09949100),
                                  (-1., 0, 1.15167654)):
        found = grpo.loss(LP, OLD, torch.tensor([advantage]), ones, .2, REF, beta)
        assert found.shape == () and abs(found - want) < 2e-7
    # rho = 1.4, .6: of each sign of A the side is held on which the step would go too far, and not
    # the other; -mean min(rho A, clip(rho, .8, 1.2) A)
    rho = torch.tensor([[1.4, .6]]).log()
    for advantage, want in ((1., -(1.2 + .6) / 2), (-1., (1.4 + .8) / 2)):
        found = grpo.loss(rho, 0 * rho, torch.tensor([advantage]), ones[:, :2])
        assert abs(found - want) < 1e-6
    kl = [float(grpo.loss(LP, LP, torch.zeros(1), torch.eye(3)[i:i + 1], ref_logp=REF, beta=1))
          for i in range(3)]
    assert torch.allclose(torch.tensor(kl), torch.tensor([.01873076, .14872122, 0]), atol=1e-7)


def test_the_mean_is_over_all_tokens_also_those_of_answers_without_advantage():
    lp, mask = torch.zeros(3, 4), torch.tensor([[1., 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0]])
    found = grpo.loss(lp, lp, torch.tensor([2., -1, 0]), mask)
    assert abs(found + (4 * 2 - 1) / 8) < 1e-7
    assert grpo.loss(lp, lp, torch.ones(3), 0 * mask) == 0


@pytest.mark.parametrize("junk", (math.inf, -math.inf, math.nan, 1e30))
def test_what_is_masked_does_not_matter(junk):
    mask, grads = torch.tensor([[1., 1, 0]]), []
    for value in (-.5, junk):
        lp = torch.cat([LP[:, :2], torch.tensor([[value]])], 1).requires_grad_()
        found = grpo.loss(lp, OLD, torch.tensor([1.]), mask, .2, REF, .04)
        grads.append((*torch.autograd.grad(found, lp), found.detach()))
    assert torch.equal(grads[0][0], grads[1][0]) and grads[0][1] == grads[1][1]


@pytest.mark.parametrize("beta", (0.0, .05))
def test_the_loss_and_its_gradient_are_trls(beta):
    """trl 1.16 multiplies the KL by rho (use_bias_correction_kl); without, as in the paper."""
    trl = pytest.importorskip("trl.trainer.grpo_trainer", exc_type=ImportError)
    draw = torch.Generator().manual_seed(0)
    lp, old, ref = torch.randn(3, 6, 5, generator=draw) * .3 - 2
    lp.requires_grad_()
    advantage, mask = torch.randn(6, generator=draw), (torch.rand(6, 5, generator=draw) < .7) + 0.
    it = mock.MagicMock(
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None,
        importance_sampling_level="token", beta=beta, loss_type="dapo", epsilon_low=.2,
        epsilon_high=.2, use_vllm=False, _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=1)
    it.args.configure_mock(use_bias_correction_kl=False, delta=None, steps_per_generation=1)
    it.accelerator.configure_mock(num_processes=1, gather=lambda x: x,
                                  gather_for_metrics=lambda x: x)
    it._get_per_token_logps_and_entropies.return_value = lp, torch.zeros(6, 5), None
    theirs = trl.GRPOTrainer._compute_loss(it, None, dict(
        prompt_ids=mask, prompt_mask=mask, completion_ids=mask, completion_mask=mask,
        advantages=advantage, old_per_token_logps=old, ref_per_token_logps=ref,
        num_items_in_batch=mask.sum()))
    ours = grpo.loss(lp, old, advantage, mask, .2, ref, beta)
    assert abs(ours - theirs) < 1e-7
    one, two = (torch.autograd.grad(x, lp)[0] for x in (ours, theirs))
    assert torch.allclose(one, two, atol=1e-8)


# ---- answers -------------------------------------------------------------------------------------

def test_an_answer_ends_with_its_first_end_token_which_counts_and_may_be_empty():
    new = torch.tensor([[5, END, 6, END], [END, 3, 3, 3], [4, 5, 6, 8]])
    with (mock.patch.object(decoding, "generate", lambda *a: new),
          mock.patch.object(decoding, "side_by_side", lambda model, most: most)):
        found = grpo.write(None, torch.tensor([[2, 3], [2, 0], [9, 9]]), torch.tensor([2, 1, 2]),
                           torch.rand(3, 1, 4), 1.0, END)
    assert found.mask.tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert found.tokens(END) == [[5], [], [4, 5, 6, 8]]
    assert found.ids[1, :3].tolist() == [2, END, 3] and found.ids[2].tolist() == [9, 9, 4, 5, 6, 8]
    cut = found.take(torch.tensor([0, 1]))
    assert cut.mask.tolist() == [[1, 1], [1, 0]]
    assert cut.ids.tolist() == [[2, 3, 5, END], [2, END, 3, 3]]
    assert cut.tokens(END) == [[5], []]


def test_answers_are_sampled_alike_in_any_number_of_parts_and_groups_stand_together():
    m, b = model(), prompts()
    whole = written(m, b, group=3)
    assert whole.ids.shape == (12, 6 + N) and whole.len.tolist() == sum(
        [[n] * 3 for n in b["len"].tolist()], [])
    assert len(set(map(tuple, whole.new.tolist()))) > 6  # not all alike
    again, other = written(m, b, group=3), written(m, b, group=3, k=1)
    assert torch.equal(whole.new, again.new) and not torch.equal(whole.new, other.new)
    with mock.patch.dict(grpo.TOKENS, cpu=8):
        parts = written(m, b, group=3)
    assert torch.equal(parts.new, whole.new)


@pytest.mark.parametrize("temperature", (1.0, .6))
def test_logp_and_its_gradient_are_those_of_the_whole_tempered_softmax(temperature):
    m = model()
    answers = written(m, prompts(), temperature=temperature)
    assert 0 < answers.mask.mean() < 1
    found, want = answers.logp(m, temperature), plain_logp(m, answers, temperature)
    assert torch.allclose(found, want, atol=1e-5) and not found[answers.mask == 0].any()
    one, two = (torch.autograd.grad(x.square().sum(), list(m.parameters())) for x in (found, want))
    assert all(torch.allclose(*pair, atol=1e-3, rtol=1e-4) for pair in zip(one, two))


# ---- the step ------------------------------------------------------------------------------------

@pytest.mark.parametrize("beta, k, rate", ((0.0, 0, .5), (.1, 0, .5), (0, 20, .25)))
def test_one_step_is_the_formula(beta, k, rate):
    """Step 20 of 40 has half the learning rate, (1 + cos(pi / 2)) / 2, and draws of its own."""
    m, b = model(), prompts()
    by_hand, reference = copy.deepcopy(m), model(seed=1)
    answers = written(m, b, k=k)
    r = torch.tensor([[low(0, t) for t in answers.tokens(END)]]).view(4, 4)
    advantage = grpo.advantages(r).flatten()
    logp = plain_logp(by_hand, answers, 1.0)
    loss = grpo.loss(logp, logp.detach(), advantage, answers.mask, .2,
                     plain_logp(reference, answers, 1.0).detach(), beta)
    loss.backward()
    do = maker(m, optimizer="sgd", lr=.5, clip_norm=0, beta=beta, reference=reference)
    found = do(k, b)
    assert found.shape == () and not found.requires_grad and abs(found - loss) < 1e-6
    for p, own in zip(m.parameters(), by_hand.parameters()):
        assert torch.allclose(p, own - rate * own.grad, atol=1e-6)
    assert do.facts == pytest.approx({"reward": float(r.mean()), "silent": float(
        (r.std(1) == 0).float().mean()), "length": float(answers.mask.sum(1).mean())})


def test_a_tempered_step_without_a_move_has_no_kl():
    """Model and reference are one, so d = 0 at any temperature: the loss is -sum A n / sum n."""
    m, b = model(), prompts()
    answers = written(m, b, temperature=.6)
    n = answers.mask.sum(1)
    advantage = grpo.advantages(torch.tensor([low(0, t) for t in answers.tokens(END)]).view(4, 4))
    found = maker(m, beta=5.0, temperature=.6, optimizer="sgd")(0, b)
    expected = float(-(advantage.flatten() * n).sum() / n.sum())
    assert found.item() == pytest.approx(expected, abs=1e-5)


def test_backward_in_parts_is_the_same_step():
    found = []
    for held in (2 ** 25, 31 * N):  # one row at a time
        m, b = model(), prompts()
        with mock.patch.dict(grpo.LOGITS, {"cpu": held}):
            do = maker(m, optimizer="sgd", lr=.5, updates=2, beta=.1)
            found.append((float(do(0, b)), weights(m)))
    assert abs(found[0][0] - found[1][0]) < 1e-6
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)


def test_a_step_without_a_signal_changes_nothing_unless_there_is_a_kl():
    m, b = model(), prompts()
    before = weights(m)
    optimizer = step.adamw(m, .1, weight_decay=.1)
    do = grpo.make_step(m, optimizer, lambda *_: 3.0, 10, group=4, new_tokens=N)
    assert do(0, b) == 0 and do.facts["silent"] == 1 and do.facts["reward"] == 3
    assert torch.equal(weights(m), before) and not optimizer.state
    do = maker(m, lambda *_: 3.0, beta=.5, reference=model(seed=1))
    assert do(0, b) > 0 and not torch.equal(weights(m), before)


def test_silent_groups_give_no_gradient_and_their_tokens_count():
    b, found = prompts(2), []
    for reward in (lambda row, t: low(row, t) if row == 10 else 1.0, low):
        m = model()
        maker(m, reward, optimizer="sgd", lr=.5, clip_norm=0)(0, b)
        found.append(weights(m) - weights(model()))
    m, one = model(), {key: value[:1] for key, value in b.items()}
    answers = written(m, b)
    with mock.patch.object(grpo, "write", lambda *a: answers.take(torch.arange(4))):
        maker(m, optimizer="sgd", lr=.5, clip_norm=0)(0, one)
    share = answers.mask[:4].sum() / answers.mask.sum()
    assert share < .9 and not torch.equal(*found)
    assert torch.allclose(found[0], share * (weights(m) - weights(model())), atol=1e-6)


def test_the_second_update_is_clipped():
    moved = []
    for clip in (1e-6, 10):
        m, b = model(), prompts()
        do = maker(m, optimizer="sgd", lr=.5, clip_norm=0, clip=clip, updates=2)
        do(0, b)
        moved.append(weights(m))
    once = model()
    maker(once, optimizer="sgd", lr=.5, clip_norm=0)(0, prompts())
    assert (moved[1] - moved[0]).norm() > .1 * (weights(once) - weights(model())).norm()


def test_two_runs_are_bit_identical_and_another_seed_is_another_run():
    found = []
    for seed in (0, 0, 1):
        m = model()
        do = maker(m, seed=seed, beta=.01, updates=2)
        found.append(([float(do(k, prompts())) for k in range(3)], weights(m)))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])
    assert found[0][0] != found[2][0]


@pytest.mark.parametrize("rank, reward, before, after", ((0, liked, .1, .9), (4, low, .5, .7)))
def test_a_toy_learns_to_write_what_is_rewarded(rank, reward, before, after):
    m = model()
    m = lora.apply(m, rank, generator=torch.Generator().manual_seed(0)) if rank else m
    do = maker(m, reward, group=8)
    seen = []
    for k in range(40):
        do(k, prompts())
        seen.append(do.facts["reward"])
    assert seen[0] < before and sum(seen[-3:]) / 3 > after, seen


def test_a_large_beta_holds_the_model_near_where_it_began():
    far = []
    for beta in (0.0, 10.0):
        m = model()
        answers = written(m, prompts())
        before = answers.logp(m).detach()
        do = maker(m, beta=beta, steps=10)
        for k in range(10):
            do(k, prompts())
        far.append(float((answers.logp(m).detach() - before).abs().mean()))
    assert far[1] < .5 * far[0], far


def test_bfloat16_learns_too():
    do = maker(model(), dtype="bfloat16")
    seen = [do(k, prompts()) is not None and do.facts["reward"] for k in range(20)]
    assert seen[-1] > seen[0] + .2


def test_the_compiled_step_makes_the_same_update(compiler):
    found = []
    for compile in (False, True):
        m = model(layers=1)
        do = maker(m, optimizer="sgd", lr=.5, compile=compile)
        for k in range(3):
            do(k, prompts())
        found.append(weights(m))
    assert torch.allclose(*found, atol=1e-5)


def test_rewards_get_the_row_and_the_tokens_and_must_be_finite():
    seen = []

    def reward(row, tokens):
        seen.append((row, tokens))
        return math.nan if row == 12 else 0
    with pytest.raises(ValueError, match="rewards of row 12 are not finite"):
        maker(model(), reward)(0, prompts())
    assert [row for row, _ in seen] == sum([[10 + i] * 4 for i in range(4)], [])
    assert all(END not in tokens and len(tokens) <= N and type(tokens) is list
               for _, tokens in seen)


@pytest.mark.parametrize("options", ({"group": 1}, {"new_tokens": 0}, {"temperature": 0},
                                     {"beta": -1}, {"updates": 0}, {"clip": 0}))
def test_settings_without_meaning_are_refused(options):
    with pytest.raises(ValueError, match=f"GRPO: {next(iter(options))} >"):
        maker(model(), **options)


def test_a_loss_that_is_not_finite_stops_before_the_model_moves():
    m = model()
    do, before = maker(m), weights(m)
    with mock.patch.object(grpo, "loss", lambda lp, **_: lp.sum() * math.nan):
        with pytest.raises(ValueError, match=r"loss of step 0 is nan; rows of the batch: \[10"):
            do(0, prompts())
    assert torch.equal(weights(m), before)


def test_it_fits_into_the_loop_of_a_script(world, tmp_path):
    rows.write(tmp_path / "mail.jsonl", mails("weak", 12, 0, words=5))
    argv = ["--task", "privacy", "--model", world / "tiny-2x32", "--data", tmp_path / "mail.jsonl",
            "--out", tmp_path / "run", "--lam", 0, "--epochs", 2, "--batch-size", 4, "--lr",
            ".01", "--max-length", 8, "--lora-rank", 4]
    cfg = config.parse(train_weak.Config, "", [str(a) for a in argv])
    task = tasks.load("privacy")
    run = runs.begin(cfg.out, "train_weak.py", cfg, {"model": cfg.model, "data": cfg.data})
    with contextlib.redirect_stdout(io.StringIO()):
        it = training.TrainingRun(cfg, run, task, training.read_truth(task, cfg), cfg.model,
                                  target="label")
        do = grpo.make_step(it.model, it.optimizer, lambda row, tokens: len(set(tokens)), it.steps,
                            new_tokens=4, seed=cfg.seed)
        for k, batch in it.batches():
            loss = do(k, batch)
            it.after(k, loss, **do.facts)
        it.finish()
    said = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert len(said) == 6 and '"reward"' in said[-1] and (tmp_path / "run" / "DONE").exists()
    assert checkpoint.load(tmp_path / "run" / "model", "lm")
