"""How often a step waits for the card, counted on a pretended one: a wait is an answer that Python
asks a card for, and a copy that is not asynchronous.

    python -m pytest -q tests/test_waits.py
"""

import numpy as np
import pytest
import torch

from tests import pretend
from w2s import prepare, training
from w2s.dp import private_run
from w2s.infer import choice
from w2s.model import configuration, decoding, gpt_neox, network
from w2s.tasks import adversarial, mcqa, ood, privacy
from w2s.train import losses, step

TINY = configuration.published(2, 32, 2, 96)
CUDA = torch.device("cuda")


@pytest.fixture
def card(monkeypatch):
    return pretend.pretend(monkeypatch)


def columns(task, draw=None, n=48):
    """Columns of n rows as the task's encode makes them."""
    draw = draw or np.random.default_rng(0)

    def texts():
        return [draw.integers(1, 96, k).astype(np.int32) for k in draw.integers(4, 40, n)]

    found = {"ids": texts()}
    if task.KIND != "class":
        first = np.ones(n, np.int64) if task is privacy else np.array(
            [len(ids) - 2 for ids in found["ids"]])
        return found | {"start": first}
    found["target"] = draw.dirichlet(np.ones(task.CLASSES), n).astype(np.float32)
    if task is adversarial:
        pool = np.arange(n) % 6
        found |= {"ids_adv": texts(), "target_adv": found["target"][::-1].copy(), "pool": pool,
                  "absent": np.where((pool[:, None] < 4) & (np.arange(3) == 2), -1e4, 0).astype(
                      np.float32)}
    return found


def waits(card, task, lam=0., alpha=0., head="class", private=None):
    """The names of what waits in steps 2 and 3, with the batches of these."""
    data = columns(task)
    with card:
        hardening = {"x": losses.Hardening(data["target"], data.get("pool"), absent=data.get(
            "absent"))} if alpha else None
        if task is adversarial:
            hardening["x_adv"] = losses.Hardening(data["target_adv"], data["pool"],
                                                  absent=data["absent"])
        model = gpt_neox.GPTNeoX(TINY, head, task.CLASSES or 2)
        for p in model.parameters():
            torch.nn.init.normal_(p, std=.2)
        model.to("cuda")
        more = {"private": private} if private else {"hardening": hardening}
        objective = step.Objective(task) if task.KIND == "class" else task.objective
        go = task.make_step(model, step.adamw(model, 1e-3), objective,
                            step.weak_label if task.KIND == "class" else step.ground_truth, lam, 4,
                            dtype="bfloat16", **more)
        # else TokenNLL would ask in backward, which is not seen here
        assert model.even or private
        for k, batch in task.batches(data, 4, 8, seed=0, device=CUDA, width=32 if lam else 0,
                                     **({"private": private} if private else {})):
            if alpha:
                batch["alpha"] = batch["target"].new_full(batch["len"].shape, alpha)
            loss = go(k, batch)
            if k == 1:
                card.waits.clear()
        found = list(card.waits)
    assert loss.isfinite()
    return found


@pytest.mark.parametrize("task, lam, alpha", [
    (ood, 0, 0), (ood, .1, 0), (ood, 0, .3), (adversarial, .3, .3)],
    ids=["naive", "noise", "confidence", "adversarial"])
@pytest.mark.parametrize("held", [2 ** 30, 0], ids=["resident", "collated"])
def test_a_class_step_never_waits(task, lam, alpha, held, card, monkeypatch):
    """Its columns resident on the card, or too large for it."""
    monkeypatch.setattr(step, "HELD", held)
    assert waits(card, task, lam, alpha) == []


@pytest.mark.parametrize("at_once", [2 ** 26, 96], ids=["few logits", "many logits"])
@pytest.mark.parametrize("task", [privacy, mcqa], ids=["text", "answers"])
def test_a_step_of_a_language_model_never_waits(task, at_once, card, monkeypatch):
    """Many logits: in chunks, by TokenNLL."""
    monkeypatch.setitem(network.LOGITS_AT_ONCE, False, at_once)
    assert waits(card, task, head="lm") == []


def test_a_private_step_waits_once_a_micro_batch(card, monkeypatch):
    plan = private_run.Plan(48, 8, 4, .1, 1., 1e-5, 8., "pld", "shuffled", "fast", "run")
    assert waits(card, privacy, 8, head="lm", private=plan) == ["cpu"] * 2
    assert plan.counts["rows"] == 32 and plan.counts["clipped"] > 0
    monkeypatch.setattr(private_run.sgd, "rows_at_once", lambda *_: 1)
    # and once a batch that is split, for the lengths of its parts
    monkeypatch.setattr("w2s.dp.microbatch.rows_at_once", lambda *_: 4)
    assert waits(card, privacy, 8, head="lm", private=plan) == ["tolist", "cpu", "cpu"] * 2


@pytest.mark.parametrize("end, most", [(None, 1), (95, 3)])
def test_generation_asks_a_card_seldom(end, most, card):
    """For the longest prompt; with an end token once more in every ASKED tokens."""
    with card:
        model = gpt_neox.GPTNeoX(TINY, "lm")
        model.to("cuda")
        ids, lengths = torch.ones(3, 8, dtype=torch.int64).to("cuda"), torch.tensor([3, 8, 5])
        lengths = lengths.to("cuda")
        card.waits.clear()
        decoding.generate(model, ids, lengths, 2 * decoding.ASKED, end=end)
        assert len(card.waits) == most


@pytest.mark.parametrize("asked", [1, 4, 16])
def test_rows_that_all_ended_go_on_with_the_end(asked, card, monkeypatch):
    """On a card up to ASKED tokens longer than on a CPU, with the same tokens and the same states
    at the last one."""
    torch.manual_seed(0)
    model = gpt_neox.GPTNeoX(TINY, "lm")
    for p in model.parameters():
        torch.nn.init.normal_(p, std=.5)
    heads = [np.arange(1, n + 1, dtype=np.int32) for n in (3, 7, 5)]
    first = choice.written(model, heads, 12)[0]
    model.end = int(first[0][1])                       # which the first row writes second
    expected = choice.written(model, heads[:1], 12)
    monkeypatch.setattr(decoding, "ASKED", asked)
    with card:
        model.to("cuda")
        found = choice.written(model, heads[:1], 12)
    assert [row.tolist() for row in found[0]] == [row.tolist() for row in expected[0]]
    for one, other in zip(found[1:], expected[1:]):
        assert np.allclose(one, other, atol=1e-5)


def test_a_broken_promise_of_equal_gradients_is_nan(card, monkeypatch):
    """On a card nobody waits to see whether TokenNLL's rows have one gradient."""
    monkeypatch.setitem(network.LOGITS_AT_ONCE, False, 96)
    found = {}
    for even, factor in ((False, 1.), (True, 1.), (False, 2.), (True, 2.)):
        with card:
            model = gpt_neox.GPTNeoX(TINY, "lm")
            for p in model.parameters():
                torch.nn.init.normal_(p, std=.2, generator=torch.Generator().manual_seed(p.ndim))
            model.to("cuda")
            model.even = even
            ids = (1 + torch.arange(24).view(2, 12)).to("cuda")
            nll = model.nll(ids, None, torch.ones(2, 12).to("cuda"))
            (nll * torch.tensor([1., factor]).to("cuda")).sum().backward()
            found[even, factor] = model.embed_out.weight.grad.clone()
    assert torch.equal(found[True, 1.].cpu(), found[False, 1.].cpu())
    assert found[False, 2.].isfinite().all() and found[True, 2.].isnan().all()


def test_a_run_says_how_many_tokens_its_answers_have_at_most(card, world, call, tmp_path,
                                                             monkeypatch):
    """Logits of these alone are computed on a card, in the shape that they have at most."""
    assert training.longest_answer({"ids": [np.ones(n) for n in (9, 30, 12)],
                                    "start": np.array([6, 25, 0])}) == 11
    assert training.longest_answer({"ids": [np.ones(4)]}) == 0
    prepare.data(prepare.Data("mcqa", str(tmp_path / "mcqa"), str(world / "raw"), limit=24))
    seen, fixed = [], network.Network.fixed_states

    def states(self, ids, target, mask, noise):
        seen.append((self.most, int((mask != 0).sum(1).max()), mask.shape[1]))
        found = fixed(self, ids, target, mask, noise)
        assert found[2].shape[1] in (self.most, mask.shape[1])
        return found
    monkeypatch.setattr(network.Network, "fixed_states", states)
    with card:
        code, _, err = call("train_weak", "--task", "mcqa", "--model", world / "tiny-2x32",
                            "--data", tmp_path / "mcqa" / "weak.jsonl", "--out", tmp_path / "run",
                            "--epochs", 1, "--batch-size", 4, "--device", "cuda")
    assert code == 0, err
    (most,), longest = {most for most, *_ in seen}, max(n for _, n, _ in seen)
    assert most == longest > 0 and any(2 * most <= width for *_, width in seen)


@pytest.mark.parametrize("weights", [False, True], ids=["objective", "whole"])
def test_the_loss_of_answers_on_a_card_is_that_on_the_cpu(weights, card):
    """There the mean over tokens stands in the weights, so that all rows have one gradient."""
    data, model = columns(mcqa, n=6), gpt_neox.GPTNeoX(TINY, "lm")
    data["start"] = np.array([1, 2, 3, 1, 2, 1])
    for p in model.parameters():
        torch.nn.init.normal_(p, std=.2)
    model.most = 40 * weights
    k, batch = next(iter(mcqa.batches(data, 1, 6, 0)))
    expected = choice.objective(model, batch, None, 0)
    with card:
        model.to("cuda")
        k, batch = next(iter(mcqa.batches(data, 1, 6, 0, device=CUDA)))
        found = choice.objective(model, batch, None, 0)
        assert torch.allclose(found.cpu(), expected, rtol=1e-5) and found.std() > .01


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("most", [0, 5])
def test_only_answers_have_logits_and_the_loss_is_that_of_the_cpu(traced, most, card,
                                                                  monkeypatch):
    torch.manual_seed(0)
    model = gpt_neox.GPTNeoX(TINY, "lm")
    for p in model.parameters():
        torch.nn.init.normal_(p, std=.2)
    ids, mask, seen = torch.randint(1, 96, (3, 24)), torch.zeros(3, 24), []
    for row, (start, end) in enumerate(((19, 24), (3, 5), (0, 1))):
        mask[row, start:end] = 1 + row
    expected = model.nll(ids, None, mask)
    expected.sum().backward()
    grads = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.most, head = most, model.token_nll
    model.token_nll = lambda h, target: seen.append(len(h)) or head(h, target)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: traced)
    with card:
        model.to("cuda")
        found = model.nll(ids.to("cuda"), None, mask.to("cuda"))
        found.sum().backward()
        found = found.cpu()
    assert seen == [3 * (most or 23)]
    assert torch.allclose(found, expected, rtol=1e-5)
    for p, g in zip(model.parameters(), grads):
        assert torch.allclose(p.grad, g, atol=1e-5)
