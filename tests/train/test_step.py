"""Order, batches, schedule, checkpoint and the step itself, on a model of one embedding.

    python -m pytest -q tests/train/test_step.py
"""

import importlib
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from w2s import parallel
from w2s import device as devices
from w2s.model import gpt_neox, configuration
from w2s.train import losses, step


class Bag(torch.nn.Module):
    """f(ids, lengths, noise) -> (B, K): the mean embedding of the real tokens."""

    def __init__(self, classes=2, vocabulary=50):
        super().__init__()
        self.embed = torch.nn.Embedding(vocabulary, classes)
        torch.nn.init.normal_(self.embed.weight, generator=torch.Generator().manual_seed(0))

    def forward(self, ids, lengths, noise=None):
        real = (torch.arange(ids.shape[1]) < lengths[:, None])[..., None]
        x = self.embed(ids) if noise is None else self.embed(ids) + noise
        return (x * real).sum(1) / lengths[:, None]


def columns(n=100, classes=2, seed=0):
    draw = np.random.default_rng(seed)
    ids = [draw.integers(0, 50, draw.integers(1, 20)).astype(np.int32) for _ in range(n)]
    label = np.array([int(i.mean() > 25) for i in ids])
    return {"ids": ids, "target": np.eye(classes, dtype=np.float32)[label]}


def test_an_epoch_has_every_row_once_in_an_order_of_seed_and_epoch():
    lengths = step.row_lengths(columns())
    first = step.order(lengths, 8, seed=0, epoch=0)
    assert sorted(np.concatenate(first)) == list(range(100))
    again, other = step.order(lengths, 8, 0, 0), step.order(lengths, 8, 0, 1)
    assert all((a == b).all() for a, b in zip(first, again))
    assert not all(len(a) == len(b) and (a == b).all() for a, b in zip(first, other))
    assert [len(batch) for batch in first].count(8) == 12 and len(first) == 13  # one of 4 rows
    assert np.concatenate(first).tolist() != np.concatenate(step.order(lengths, 8, 1, 0)).tolist()


def test_batches_come_in_no_order_of_length_and_mix_the_whole_file():
    """Rows of equal length in three windows: what stands together in the file does not stay so.
    Of lengths alike to their place, batches go up and down as chance has it."""
    groups = step.order(np.full(3 * 32 * 8, 7), 8, seed=0, epoch=0)
    apart = [np.ptp(batch) for batch in groups]  # unshuffled: 7; 8 of 768 rows: 768 * 7 / 9 = 597
    assert 550 < np.mean(apart) < 650
    groups = step.order(np.arange(32 * 8), 8, seed=0, epoch=0)
    assert all(np.ptp(batch) == 7 for batch in groups)  # one window: sorted, so little is padded
    first = [batch.min() for batch in groups]
    rising = sum(a < b for a, b in zip(first, first[1:]))
    assert 9 < rising < 22, first  # of 31: 15.5 +- 1.6
    place = np.corrcoef(np.arange(32), first)[0, 1]
    assert abs(place) < .5


def test_every_epoch_has_every_row_in_an_order_of_its_own():
    found = [batch["rows"].tolist() for _, batch in step.batches(columns(), 39, 8, seed=0)]
    epochs = [sum(found[k:k + 13], []) for k in (0, 13, 26)]
    assert all(sorted(rows) == list(range(100)) for rows in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_a_batch_is_padded_behind_its_tokens_with_0():
    data = {"ids": [np.array(row, np.int32) for row in ([7, 8, 9], [4], [5, 6])],
            "a": np.array([.5, .25, 2.])}
    batch = step.collate(data, np.array([1, 2]))
    assert batch["ids"].tolist() == [[4, 0], [5, 6]] and batch["len"].tolist() == [1, 2]
    assert batch["a"].tolist() == [.25, 2] and batch["rows"].tolist() == [1, 2]


def test_batches_pad_little_and_go_on_where_they_stopped():
    data = columns(1000)
    whole = list(step.batches(data, 200, 16, seed=3))
    assert [k for k, _ in whole] == list(range(200))
    padded = sum(b["ids"].numel() for _, b in whole)
    assert sum(int(b["len"].sum()) for _, b in whole) > .9 * padded
    rest = list(step.batches(data, 200, 16, seed=3, start=137))
    assert [k for k, _ in rest] == list(range(137, 200))
    for (_, a), (_, b) in zip(whole[137:], rest):
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_count_of_steps():
    cases = ((1000, 3, 32), (1000, .5, 32), (1, .1, 32), (1000, .05, 32), (1000, 0, 32))
    assert [step.count_steps(*case) for case in cases] == [96, 16, 1, 2, 0]  # .05 * 32 = 1.6


@pytest.mark.parametrize("clip", [0, .03])
@pytest.mark.parametrize("compile", [False, True])
def test_steps_are_of_the_mean_gradient_clipped_and_of_a_rate_that_decays(clip, compile, compiler):
    """Against SGD written out: w -= lr (1 + cos(pi k / 4)) / 2 * g min(1, C / |g|), g the gradient
    of the mean cross-entropy of the batch."""
    model, w = Bag(), Bag().embed.weight.detach().clone().requires_grad_()
    optimizer = step.sgd(model, .5)

    def objective(f, batch, ell, lam):
        return ell(f(batch["ids"], batch["len"]), batch)

    take = step.make_step(model, optimizer, objective, step.ground_truth, 0, 4, clip_norm=clip,
                          compile=compile)
    for k, batch in step.batches(columns(30), 4, 8, seed=0):
        loss = 0
        for ids, n, target in zip(batch["ids"], batch["len"], batch["target"]):
            loss = loss - (target * w[ids[:n]].mean(0).log_softmax(0)).sum() / len(batch["ids"])
        g, = torch.autograd.grad(loss, w)
        assert g.norm() > .06
        rate = .5 * (1 + math.cos(math.pi * k / 4)) / 2
        w.data -= rate * g * (min(1, clip / g.norm()) if clip else 1)
        assert take(k, batch).item() == pytest.approx(loss.item(), rel=1e-5)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)
        assert torch.allclose(model.embed.weight, w, atol=1e-7)


def test_the_optimizers_are_torchs_with_its_own_defaults():
    for ours, theirs in ((step.adamw(Bag(), .1), torch.optim.AdamW(Bag().parameters(), .1,
                                                                   weight_decay=0)),
                         (step.sgd(Bag(), .1), torch.optim.SGD(Bag().parameters(), .1))):
        for key in ("lr", "betas", "eps", "momentum", "weight_decay", "amsgrad"):
            assert ours.defaults.get(key) == theirs.defaults.get(key)
    for name, make in step.OPTIMIZERS.items():
        assert make(Bag(), .1, weight_decay=.3).defaults["weight_decay"] == .3, name


def test_a_step_is_torchs_to_the_bit_and_keeps_its_state():
    for ours, theirs, options in ((step.AdamW, torch.optim.AdamW, {"fused": True}),
                                  (step.SGD, torch.optim.SGD, {"momentum": .9})):
        both = [kind([torch.nn.Parameter(torch.linspace(-1, 1, 9))], lr=.1, **options)
                for kind in (ours, theirs)]
        for k in range(5):
            for optimizer in both:
                p = optimizer.param_groups[0]["params"][0]
                p.grad = torch.cos(p.detach() * (k + 1))
                optimizer.step()
        a, b = (optimizer.param_groups[0]["params"][0] for optimizer in both)
        assert torch.equal(a, b) and not torch.equal(a, torch.linspace(-1, 1, 9))
        both[0].load_state_dict(both[1].state_dict())
        both[0].zero_grad()
        assert a.grad is None and str(both[0].state_dict()) == str(both[1].state_dict())


def test_a_step_does_not_import_the_compiler():
    code = ("import sys, torch\nfrom w2s.train import step\n"
            "m = torch.nn.Linear(2, 2)\nm(torch.ones(1, 2)).sum().backward()\n"
            "for make in step.OPTIMIZERS.values():\n"
            "    optimizer = make(m, .1)\n    step.descend(m, optimizer, 1.)\n"
            "    optimizer.load_state_dict(optimizer.state_dict())\n"
            "print('torch._dynamo' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_default_learning_rate_is_smaller_from_1b_on():
    for size, lr in (("410m", 5e-5), ("1b", 1e-5), ("2.8b", 1e-5)):
        for head in ("class", "lm"):  # 1b without its LM head: 908,759,040
            with torch.device("meta"):
                model = gpt_neox.GPTNeoX(configuration.SHAPES[f"pythia-{size}"], head)
            assert step.peak_lr(sum(p.numel() for p in model.parameters())) == lr, (size, head)


def run(steps, start=0, path=None, stop=None, aux=True):
    """A student run of `steps` steps on Bag, from and to a checkpoint: the model and its losses."""
    fair = importlib.import_module("w2s.tasks.fairness")
    data = columns()
    data |= {"a": np.arange(100, dtype=np.float32) % 2, "a_bar": np.full(100, .5, np.float32)}
    model = Bag()
    optimizer = step.adamw(model, 5e-2)
    hardening = {"x": losses.Hardening(data["target"])} if aux else None
    take = step.make_step(model, optimizer, step.Objective(fair), step.weak_label, .5, steps,
                          hardening=hardening)
    found = []
    if path and path.exists():
        start = step.load_checkpoint(path, model, optimizer, hardening)
    for k, batch in step.batches(data, steps, 8, seed=1, start=start):
        if k == stop:
            step.save_checkpoint(path, k, model, optimizer, hardening)
            return model, found
        if aux:
            batch["alpha"] = batch["target"].new_full(batch["len"].shape, .3)
        found.append(take(k, batch).item())
    return model, found


def test_a_resumed_run_is_bit_identical(tmp_path):
    model, whole = run(30)
    _, first = run(30, path=tmp_path / "checkpoint.safetensors", stop=17)
    resumed, rest = run(30, path=tmp_path / "checkpoint.safetensors")
    assert first + rest == whole
    assert torch.equal(model.embed.weight, resumed.embed.weight)


def test_two_runs_are_bit_identical_and_training_learns():
    (a, first), (b, second) = run(130, aux=False), run(130, aux=False)
    assert first == second and torch.equal(a.embed.weight, b.embed.weight)
    assert np.mean(first[-10:]) < .8 * np.mean(first[:10])


def test_learning_rate_is_a_cosine():
    assert step.cosine(0, 100) == 1 and step.cosine(50, 100) == pytest.approx(.5)
    assert step.cosine(100, 100) == pytest.approx(0)
    assert step.cosine(25, 100) == pytest.approx((1 + .5 ** .5) / 2)
    assert [step.cosine(k, 10 ** 9, 4) for k in range(5)] == pytest.approx([.25, .5, .75, 1, 1])


def test_hardened_predictions_see_the_noise_of_the_training_pass():
    ood = importlib.import_module("w2s.tasks.ood")
    model, seen = Bag(), []
    _, batch = next(ood.batches(columns(), 1, 16, seed=0, width=2))

    def spy(p, pool):
        seen.append(p)
        return torch.zeros_like(p)

    take = step.make_step(model, step.sgd(model, 0), step.Objective(ood), step.weak_label, .5, 1,
                          hardening={"x": spy})
    take(0, batch | {"alpha": torch.full((16,), .3)})
    noisy = model(batch["ids"], batch["len"], noise=.5 * batch["noise"]).softmax(-1)
    assert torch.equal(seen[0], noisy)
    assert not torch.equal(noisy, model(batch["ids"], batch["len"]).softmax(-1))


def test_noise_has_the_standard_deviation_lambda_and_its_own_draw_each_step():
    ood = importlib.import_module("w2s.tasks.ood")
    draws = [b["noise"] for _, b in ood.batches(columns(), 3, 100, seed=0, width=500)]
    assert draws[0].std().item() == pytest.approx(1, abs=5e-3)
    assert draws[0].shape[::2] == (100, 500) and draws[0].shape[1] > 9  # of each token its own
    for one, other in ((draws[0][0], draws[0][1]), (draws[0][:, 0], draws[0][:, 1]),
                       (draws[0][:, :, 0], draws[0][:, :, 1])):
        assert abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) < .1
    first = [next(ood.batches(columns(), 1, 100, seed=seed, width=500))[1] for seed in (0, 1)]
    assert not torch.equal(first[0]["noise"][0, 0], first[1]["noise"][0, 0])
    assert not torch.equal(draws[0][:, :1], draws[1][:, :1])
    got = {}

    def f(ids, lengths, noise=None):
        got["noise"] = noise
        return torch.zeros(len(ids), 2)

    for lam, kind, std in ((2e-3, "std", 2e-3), (4e-6, "var", 2e-3)):
        ood.objective(f, next(iter(ood.batches(columns(), 1, 100, seed=0, width=500)))[1],
                      lambda z, b: z[:, 0], lam, noise_as=kind)
        assert got["noise"].std().item() == pytest.approx(std, rel=5e-3)
    ood.objective(f, {"ids": torch.zeros(1, 3), "len": torch.ones(1)}, lambda z, b: z[:, 0], 0)
    assert got["noise"] is None  # lambda 0, and evaluation, are clean


def test_a_loss_that_is_not_finite_stops_and_names_the_rows():
    model = Bag()

    def objective(f, batch, ell, lam):
        return ell(f(batch["ids"], batch["len"]), batch)

    take = step.make_step(model, step.adamw(model, 1e-3), objective,
                          lambda z, b: z.sum(-1) * float("nan"), 0, 1)
    with pytest.raises(ValueError, match="rows of the batch"):
        take(0, next(step.batches(columns(), 1, 4, seed=0))[1])


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    path, model, write = tmp_path / "checkpoint.safetensors", Bag(), parallel.write
    step.save_checkpoint(path, 3, model, step.sgd(model, .1))
    before = path.read_bytes()

    def full(place, tensors, metadata):
        write(place, tensors, metadata)
        with open(place, "r+b") as file:
            file.truncate(40)
        raise OSError(28, "no space left")

    monkeypatch.setattr(parallel, "write", full)
    with pytest.raises(OSError, match="checkpoint not written"):
        step.save_checkpoint(path, 4, model, step.sgd(model, .1))
    assert path.read_bytes() == before and [*tmp_path.iterdir()] == [path]
    monkeypatch.setattr(parallel, "write", lambda place, *_: seen.append(path.read_bytes())
                        or place.write_bytes(b"new"))
    seen = []
    step.save_checkpoint(path, 4, model, step.sgd(model, .1))
    assert seen == [before] and path.read_bytes() == b"new"  # complete, then renamed


def test_a_damaged_checkpoint_is_refused(tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"1234")
    model = Bag()
    with pytest.raises(ValueError, match="damaged checkpoint"):
        step.load_checkpoint(tmp_path / "checkpoint.safetensors", model, step.adamw(model, 1e-3))


@pytest.mark.parametrize("key, value, at", [("model/embed.weight", torch.inf, "3"),
                                            ("optimizer/exp_avg/embed.weight", torch.nan, "3"),
                                            ("optimizer/exp_avg_sq/embed.weight", torch.nan, "3"),
                                            ("model/embed.weight", 1.0, "-1")])
def test_a_checkpoint_that_no_run_writes_is_refused(tmp_path, key, value, at):
    path = tmp_path / "checkpoint.safetensors"
    run(9, path=path, stop=3)
    tensors = load_file(path)
    tensors[key][0] = value
    save_file(tensors, path, {"step": at})
    with pytest.raises(ValueError, match="damaged checkpoint .*; delete it to start over"):
        run(9, path=path)


@pytest.mark.parametrize("compile", [False, True])
def test_the_step_of_a_student_is_logits_then_hardened_predictions_then_loss(compile, compiler):
    """Against the three written out, the hardened prediction a constant of the gradient."""
    from w2s.tasks import ood
    model, w = Bag(), Bag().embed.weight.detach().clone().requires_grad_()
    take = step.make_step(model, step.sgd(model, .5), step.Objective(ood), step.weak_label, 0, 9,
                          hardening={"x": losses.Hardening(columns()["target"])}, compile=compile,
                          clip_norm=0)
    by_hand = losses.Hardening(columns()["target"])
    for k, batch in ood.batches(columns(), 9, 16, seed=0, width=2):
        logits = torch.stack([w[ids[:n]].mean(0) for ids, n in zip(batch["ids"], batch["len"])])
        hard = by_hand(logits.detach().softmax(-1))
        logp = logits.log_softmax(-1)
        loss = -(.7 * batch["target"] * logp + .3 * hard * logp).sum(-1).mean()
        g, = torch.autograd.grad(loss, w)
        w.data -= .5 * step.cosine(k, 9) * g
        found = take(k, batch | {"alpha": batch["target"].new_full(batch["len"].shape, .3)})
        assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(model.embed.weight, w, atol=1e-6)


def test_a_compiled_step_for_cuda_takes_names(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **how: function)
    run = devices.compiled(lambda ids, mask=None: (ids, mask), torch.device("cuda"), 1e9)
    assert run(1, mask=2) == (1, 2)


def test_what_pays_to_compile():
    pays, cpu, cuda = devices.pays_to_compile, torch.device("cpu"), torch.device("cuda")
    assert pays("on", cpu, 1) and not pays("off", cuda, 10 ** 6)
    assert pays("auto", cpu, 2000) and not pays("auto", cpu, 1999)
    assert pays("auto", cuda, 20000) and not pays("auto", cuda, 19999)
    assert not pays("auto", cuda, 10 ** 6, private=True) and pays("auto", cpu, 2000, private=True)
    assert pays("auto", cpu, 2000, 2048) and not pays("auto", cpu, 10 ** 6, 50304)
