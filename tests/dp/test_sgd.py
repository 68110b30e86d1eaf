"""DP-SGD against single rows one at a time, against Opacus, and against its own definition.

    python -m pytest -q tests/dp/test_sgd.py      # -m slow: really compiled
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from w2s import parallel
from w2s.dp import accountant, microbatch, noise
from w2s.dp import private_run
from w2s.dp import sgd as dp
from w2s.model import gpt_neox, configuration
from w2s.tasks import adversarial, privacy
from w2s.train import step

V, D = 31, 16
BOTH = pytest.mark.parametrize("method", ("func", "fast"))


def model(head="lm", layers=2, seed=0, dtype=torch.float32, head_layer=-1, **config):
    """A tiny GPT-NeoX all of whose parameters, biases and heads too, are drawn at random."""
    m = gpt_neox.GPTNeoX({**configuration.published(layers, D, 2, V), **config}, head, 3,
                         head_layer)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in m.named_parameters():
            p.normal_(float(name.endswith("norm.weight")), .25, generator=draw)
    return m.to(dtype)


def batch(B=5, T=6, dtype=torch.float32, seed=0):
    """Rows of 1 to T tokens, right-padded, many of them alike; the last has all T."""
    draw = torch.Generator().manual_seed(seed)
    found = {"ids": torch.randint(0, 5, (B, T), generator=draw),
             "len": torch.randint(1, T + 1, (B,), generator=draw),
             "noise": torch.randn(B, T, D, generator=draw, dtype=dtype),
             "target": torch.rand(B, 3, generator=draw, dtype=dtype).softmax(-1),
             "unknown": torch.rand(B, 2, generator=draw, dtype=dtype)}
    found["len"][-1] = T
    place = torch.arange(T)
    found["ids"] *= place < found["len"][:, None]
    found["ids_adv"], found["len_adv"] = found["ids"].flip(0), found["len"].flip(0)
    found["mask"] = ((place < found["len"][:, None]) & (found["ids"] != 3)).to(dtype)
    return found


def of_class(f, b):
    return step.ground_truth(f(b["ids"], b["len"]), b)


def of_noise(f, b):
    return step.ground_truth(f(b["ids"], b["len"], noise=b["noise"]), b)


def of_pairs(f, b):
    b = b | {"target_adv": b["target"].flip(-1)}
    return adversarial.objective(f, b, step.ground_truth, .7)


def of_text(f, b):
    return privacy.objective(f, b, None, 8)


def of_logits(f, b):
    logits = f(b["ids"], b["len"])
    return (logits.square().mean(-1) * b["mask"]).sum(-1) + logits[:, 0, 0] * b["unknown"][:, 0]


def freeze(*parts):
    def freeze(m):
        for name, p in m.named_parameters():
            p.requires_grad_(not any(part in name for part in parts))
    return freeze


TIED = {"tie_word_embeddings": True}
CASES = {  # head, objective, config, what is done to the model
    "class": ("class", of_class, {}),
    "class sequential, no bias": ("class", of_class, {"use_parallel_residual": False,
                                                      "attention_bias": False}),
    "class noise": ("class", of_noise, {}),
    "class two passes": ("class", of_pairs, {}),
    "class lower layer": ("class", of_class, {"layers": 3, "head_layer": -2}),
    "lm": ("lm", of_text, {}),
    "lm logits": ("lm", of_logits, {}),
    "lm tied": ("lm", of_text, TIED),
    "lm tied logits": ("lm", of_logits, TIED),
    "lm sequential, no bias": ("lm", of_text, {"use_parallel_residual": False,
                                               "attention_bias": False}),
    "frozen embedding": ("lm", of_text, {}, freeze("embed_in")),
    "frozen tied": ("lm", of_text, TIED, freeze("embed_in")),
    "frozen norms": ("class", of_class, {}, freeze("norm")),
    "frozen lower block": ("class", of_class, {}, freeze("embed_in", "layers.0.")),
    "frozen biases": ("lm", of_text, {}, freeze("bias")),
    "frozen weights": ("class", of_class, {}, freeze("weight")),
    "only the head": ("class", of_class, {}, freeze("gpt_neox")),
}


def trained(m):
    return {name: p for name, p in m.named_parameters() if p.requires_grad}


def gradients(m, objective, b):
    """[{name: gradient}] of single rows, by autograd."""
    found = []
    for i in range(len(b["ids"])):
        loss = objective(m, {key: value[i:i + 1] for key, value in b.items()})[0]
        parameters = trained(m)
        g = torch.autograd.grad(loss, parameters.values(), allow_unused=True)
        found.append({name: torch.zeros_like(p) if each is None else each
                      for (name, p), each in zip(parameters.items(), g)})
    return found


def norm(g):
    return torch.cat([v.flatten() for v in g.values()]).norm().item()


def one_at_a_time(m, objective, b, clip):
    """Algorithm 1 as a loop over rows: {name: sum of the clipped gradients}."""
    total = {name: torch.zeros_like(p) for name, p in trained(m).items()}
    for g in gradients(m, objective, b):
        factor = min(1, clip / (norm(g) + 1e-6))
        for name, value in g.items():
            total[name] += factor * value
    return total


def difference(found, expected):
    """Relative L2 distance over all parameters."""
    assert set(found) == set(expected)
    return norm({name: found[name] - expected[name] for name in found}) / norm(expected)


def between(norms):
    """A clip that leaves some rows and shortens others."""
    return sorted(norms)[len(norms) // 2] * 1.001


def private(m, objective, b, clip, sigma=0, expected=1, seed=0, method="auto", **more):
    return dp.private_gradient(m, objective, b, clip, sigma, expected,
                               torch.Generator().manual_seed(seed), method, **more)


# ---- the clipped sum -----------------------------------------------------------------------------

@pytest.mark.parametrize("T, dtype, tolerance", (  # T x T products, or the gradients themselves
    (4, torch.float64, 1e-10), (30, torch.float32, 1e-5)), ids=("4 float64", "30 float32"))
@pytest.mark.parametrize("case", CASES)
def test_private_gradient_equals_one_row_at_a_time(case, T, dtype, tolerance):
    head, objective, config, *change = CASES[case]
    m, b = model(head, dtype=dtype, **config), batch(T=T, dtype=dtype)
    for each in change:
        each(m)
    norms = [norm(g) for g in gradients(m, objective, b)]
    clip = between(norms)
    expected = one_at_a_time(m, objective, b, clip)
    clipped = sum(n > clip for n in norms)
    assert 0 < clipped < len(norms)
    for method in ("func", "fast"):
        found = private(m, objective, b, clip, method=method)
        assert difference(found, expected) < tolerance, method
        assert (found.rows, found.clipped, found.nonfinite) == (len(norms), clipped, 0)
        with torch.no_grad():
            mean = objective(m, b).mean().item()
        assert found.loss == pytest.approx(mean, rel=1e-5)


class Norms(nn.Module):
    """LayerNorms one after the other: the same shapes everywhere, other inputs."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.LayerNorm(D), nn.LayerNorm(D), nn.LayerNorm(D)])
        for i, each in enumerate(self.layers):
            nn.init.normal_(each.weight, 1, generator=torch.Generator().manual_seed(i))
            nn.init.normal_(each.bias, generator=torch.Generator().manual_seed(10 + i))

    def forward(self, x):
        for each in self.layers:
            x = each(x)
        return x


@pytest.mark.parametrize("T", (4, 23, 64))
def test_layers_of_one_shape_that_run_twice_are_not_mixed_up(T):
    def objective(f, b):
        return ((f(b["noise"]) * b["noise"].flip(-1)).tanh() + f(b["noise"].cos()) ** 3).sum((1, 2))

    m, b = Norms(), batch(B=16, T=T)
    clip = between([norm(g) for g in gradients(m, objective, b)])
    for method in ("func", "fast"):
        found = private(m, objective, b, clip, method=method)
        assert difference(found, one_at_a_time(m, objective, b, clip)) < 1e-5, method


@BOTH
def test_a_row_without_a_loss_adds_nothing(method):
    m, b = model(), batch()
    b["mask"][0] = 0
    rest = {key: value[1:] for key, value in b.items()}
    assert difference(private(m, of_text, b, .1, method=method),
                      private(m, of_text, rest, .1, method=method)) < 1e-6


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[.5, -.25], [.1, .3]]))
            self.linear.bias.zero_()

    def forward(self, x):
        return self.linear(x)


TOY = {"x": torch.tensor([[1., 2], [-1, .5], [3, -2], [0, 1]]), "y": torch.tensor([0, 1, 1, 0])}


def of_toy(f, b):
    return F.cross_entropy(f(b["x"]), b["y"], reduction="none")


@BOTH
def test_the_published_numbers_of_opacus(method):
    """A Linear(2, 2) and four rows; norms, factors, gradient and weights as Opacus gives them."""
    toy = Toy()
    with dp.whole_logits(toy):
        _, norms, losses = getattr(dp, f"{method}_sum")(toy, of_toy, TOY, .5)
    assert losses.mean().item() == pytest.approx(1.2289437)
    assert norms.tolist() == pytest.approx([2.3146706, .7156871, 4.8093252, 1.2682712], rel=1e-6)
    assert dp.clip_factor(norms, .5).tolist() == pytest.approx(
        [.2160134, .6986283, .1039647, .3942372], rel=1e-6)
    g = private(toy, of_toy, TOY, .5, expected=4, method=method)
    assert g["linear.weight"].tolist() == [pytest.approx([s * .0241415, s * .1524515], rel=1e-5)
                                           for s in (-1, 1)]
    assert g["linear.bias"].tolist() == pytest.approx([-.0160361, .0160361], rel=1e-5)
    assert (toy.linear.weight - g["linear.weight"]).tolist() == [
        pytest.approx([.5241416, -.0975485], rel=1e-6),
        pytest.approx([.0758585, .1475485], rel=1e-6)]


class AllTokens(nn.Module):
    """The same function of the same parameters in layers that Opacus knows: all tokens go through
    the last block, and the class head then reads the last one."""

    def __init__(self, m):
        super().__init__()
        self.m = m

    def forward(self, ids, lengths):
        h = self.m.states(ids)
        if self.m.kind == "class":
            h = gpt_neox.tokens(h, (lengths - 1)[:, None])[:, 0]
        return self.m.head(h)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("head", ("class", "lm"))
def test_clipped_sums_are_those_of_opacus(head, monkeypatch):
    opacus = pytest.importorskip("opacus")
    from opacus.optimizers import DPOptimizer
    m, b, objective = model(head), batch(), of_class if head == "class" else of_logits
    expected = {name: private(m, objective, b, .5, method=name) for name in ("func", "fast")}
    monkeypatch.setattr(gpt_neox.Attention, "split", lambda self, x, part: self.query_key_value(
        x).unflatten(-1, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4))  # its hooks take tensors only
    wrapped = opacus.GradSampleModule(AllTokens(m), loss_reduction="sum")
    optimizer = DPOptimizer(torch.optim.SGD(wrapped.parameters(), .1), noise_multiplier=0,
                            max_grad_norm=.5, expected_batch_size=5)
    losses = objective(wrapped, b)
    losses.sum().backward()
    optimizer.clip_and_accumulate()
    theirs = {name: p.summed_grad for name, p in m.named_parameters()}
    for name, ours in expected.items():
        assert difference(ours, theirs) < 1e-5, name


@BOTH
def test_no_row_adds_more_than_the_clip(method):
    m, b, clip = model(), batch(), .05
    for i in range(5):
        row = {key: value[i:i + 1] for key, value in b.items()}
        found = norm(private(m, of_text, row, clip, method=method))
        assert found <= clip * (1 + 1e-6) and found == pytest.approx(
            min(clip, norm(gradients(m, of_text, row)[0])), rel=1e-4)


@BOTH
def test_clipping_shortens_and_never_amplifies(method):
    """Reading P1: the paper prints max(1, C/|g|), which would make a small gradient C long."""
    m, b = model(), batch()
    loose = private(m, of_text, b, 1e6, method=method)
    assert loose.clipped == 0
    plain = gradients(m, of_text, b)
    whole = {name: sum(g[name] for g in plain) for name in plain[0]}
    assert difference(loose, whole) < 1e-6
    assert difference(private(m, of_text, b, 1e3, method=method), loose) < 1e-6


@BOTH
def test_the_sum_does_not_depend_on_micro_batches_order_and_padding(method, monkeypatch):
    m, b = model(), batch(B=7, T=9)
    expected = private(m, of_text, b, .1, method=method)
    order = torch.tensor([3, 6, 0, 5, 1, 4, 2])
    shuffled = {key: value[order] for key, value in b.items()}
    wider = {key: F.pad(value, (0, 0) * (value.ndim - 2) + (0, 4)) if key in
             ("ids", "mask", "noise") else value for key, value in b.items()}
    wider["ids"][:, 9:] = 7
    for other in (shuffled, wider):
        assert difference(private(m, of_text, other, .1, method=method), expected) < 2e-6
    numbers = sum(p.numel() for p in m.parameters()) - m.gpt_neox.embed_in.weight.numel()
    for rows in (1, 3):
        monkeypatch.setattr(microbatch, "PER_SAMPLE", rows * numbers)
        monkeypatch.setattr(microbatch, "LOGITS", {True: rows * 9 * 4 * D, False: 0})
        for other in (b, shuffled, wider):
            calls, whole = [], getattr(dp, f"{method}_sum")
            with monkeypatch.context() as patch:
                patch.setattr(dp, f"{method}_sum", lambda m, o, part, *more: (
                    calls.append(len(part["ids"])) or whole(m, o, part, *more)))
                found = private(m, of_text, other, .1, method=method)
            assert difference(found, expected) < 2e-6
            assert sum(calls) == 7 and max(calls) <= rows and found.rows == 7
            assert found.loss == pytest.approx(expected.loss, rel=1e-5)


@pytest.mark.parametrize("tie", (False, True))
def test_a_micro_batch_of_func_holds_no_more_numbers_than_it_may(tie, monkeypatch):
    """Per-sample gradients of all matrices but of an embedding, which is one only when tied."""
    m, b = model(tie_word_embeddings=tie, vocab_size=999), batch(B=8)
    numbers = sum(p.numel() for name, p in m.named_parameters() if tie or "embed_in" not in name)
    monkeypatch.setattr(microbatch, "PER_SAMPLE", 2 * numbers)
    assert [len(part["ids"]) for part in microbatch.micro_batches(m, b, True)] == [2, 2, 2, 2]


def test_other_keys_of_a_batch_reach_the_objective():
    seen = []

    def objective(f, b):
        seen.append({key: tuple(value.shape) for key, value in b.items()})
        return of_logits(f, b)

    shapes = {key: tuple(value.shape) for key, value in batch().items()}
    for method in ("func", "fast"):
        private(model(), objective, batch(), 1, method=method)
    assert "unknown" in shapes and shapes in seen
    assert {key: (1, *shape[1:]) for key, shape in shapes.items()} in seen  # a row has B = 1


def test_the_model_is_left_as_it_was():
    m = model(**TIED)
    freeze("layers.0.")(m)
    before = {name: (p.requires_grad, p.detach().clone()) for name, p in m.named_parameters()}
    for method in ("func", "fast"):
        private(m, of_text, batch(), 1, method=method)
        with pytest.raises(ZeroDivisionError):
            private(m, lambda f, b: of_text(f, b) / (1 // 0), batch(), 1, method=method)
    for name, p in m.named_parameters():
        assert p.requires_grad == before[name][0] and torch.equal(p, before[name][1])
        assert p.grad is None
    assert not m.whole and not [hook for each in m.modules() for hook in each._forward_hooks]


# ---- rows that are not finite, and bfloat16 ------------------------------------------------------

@BOTH
@pytest.mark.parametrize("value", (math.nan, math.inf, -math.inf))
def test_a_row_that_is_not_finite_counts_as_zero_and_harms_no_other(method, value):
    m, b = model(), batch()

    def objective(f, b):
        return of_text(f, b) * b["factor"]

    b["factor"] = torch.tensor([1., 1, value, 1, 1])
    rest = {key: each[torch.arange(5) != 2] for key, each in b.items()}
    found, expected = (private(m, objective, each, .1, method=method) for each in (b, rest))
    assert (found.rows, found.nonfinite, found.clipped) == (5, 1, expected.clipped)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert found.loss == expected.loss
    b["factor"][:] = value
    found = private(m, objective, b, .1, method=method)
    assert found.nonfinite == 5 and not any(v.any() for v in found.values())


@BOTH
def test_a_row_whose_norm_is_beyond_float32_is_not_clipped_but_left_out(method):
    m, b = model(), batch()
    b["factor"] = torch.tensor([1., 1, 1, 1, 1e30])
    clipped = sum(norm(g) > 1e-9 for g in gradients(m, of_text, b)[:4])
    found = private(m, lambda f, b: of_text(f, b) * b["factor"], b, 1e-9, method=method)
    assert (found.rows, found.nonfinite, found.clipped) == (5, 1, clipped) and clipped > 1


@BOTH
@pytest.mark.parametrize("head, objective", (("class", of_class), ("lm", of_text)))
def test_under_bfloat16_sums_are_float32(method, head, objective):
    m, b = model(head), batch()
    expected = private(m, objective, b, .5, method=method)
    with torch.autocast("cpu", torch.bfloat16):
        found = private(m, objective, b, .5, method=method)
    assert all(value.dtype == torch.float32 for value in found.values())
    assert 1e-5 < difference(found, expected) < 2e-2


# ---- noise ---------------------------------------------------------------------------------------

def flat(g):
    return torch.cat([value.flatten() for value in g.values()])


@BOTH
@pytest.mark.parametrize("B", (0, 3))
def test_noise_is_normal_with_standard_deviation_sigma_clip_over_expected_batch(method, B):
    """Reading P2: on the sum, so sigma C / B on the mean, B the expected batch and not the rows
    that came; 0.1 million numbers, among them the embeddings of tokens that no row has."""
    m, sigma, clip, expected = model(layers=1, vocab_size=4000), 1.5, .25, 8
    b = {key: value[:B] for key, value in batch().items()}
    found = private(m, of_text, b, clip, sigma, expected, method=method)
    if B == 0:
        assert (found.rows, found.clipped, found.nonfinite) == (0, 0, 0)
        assert math.isnan(found.loss)
    clean = private(m, of_text, b, clip, 0, expected, method=method)
    assert flat(clean).any() == bool(B)
    assert set(found) == {name for name, _ in m.named_parameters()}
    z = {name: (found[name] - clean[name]).double() / (sigma * clip / expected) for name in found}
    for name, each in z.items():
        assert each.any(-1).all() and abs(each.square().mean() - 1) < 6 * (2 / each.numel()) ** .5
    z = flat(z)
    n = len(z)
    assert n > 1e5
    assert abs(z.square().sum() - n) < 4 * math.sqrt(2 * n)  # chi-square with n degrees of freedom
    assert abs(z.sum()) < 4 * math.sqrt(n)
    inside = (z.abs() < 1).double().mean()
    assert abs(inside - .6827) < 4 * math.sqrt(.6827 * .3173 / n)
    assert len(z.unique()) > .95 * n  # nothing is drawn twice


def test_without_sigma_there_is_no_noise_and_the_sum_is_divided_by_the_expected_batch():
    m, b = model(), batch()
    one, four = (private(m, of_text, b, .1, 0, expected) for expected in (1, 4))
    assert difference({name: 4 * value for name, value in four.items()}, one) < 1e-6
    assert torch.equal(flat(one), flat(private(m, of_text, b, .1, 0, 1, seed=1)))


def test_noise_is_the_same_draw_whatever_the_rows_and_the_method():
    """In a process group each process adds it by itself, also one without rows."""
    m, b = model(dtype=torch.float64), batch(dtype=torch.float64)
    some = {key: value[:0] for key, value in b.items()}
    draws = []
    for method, rows in (("func", b), ("fast", b), ("fast", some)):
        noisy, clean = (private(m, of_text, rows, .1, sigma, method=method) for sigma in (1, 0))
        assert list(noisy) == [name for name, _ in m.named_parameters()]
        draws.append({name: noisy[name] - clean[name] for name in noisy})
    assert difference(draws[1], draws[0]) < 1e-10 and difference(draws[2], draws[0]) < 1e-10


def test_processes_add_up_their_rows_and_draw_the_noise_once(monkeypatch):
    """Two processes with the same rows: twice the sum and the counts, the noise of one."""
    m, b = model(dtype=torch.float64), batch(dtype=torch.float64)
    clip = between([norm(g) for g in gradients(m, of_text, b)])
    alone = private(m, of_text, b, clip)
    drawn = {name: torch.zeros_like(p) for name, p in m.named_parameters()}
    noise.add(drawn.values(), 2 * clip, torch.Generator().manual_seed(0))
    monkeypatch.setattr(parallel, "world", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda value: value.mul_(2))
    found = private(m, of_text, b, clip, 2, 8)
    assert difference(found, {name: (2 * alone[name] + drawn[name]) / 8 for name in drawn}) < 1e-10
    assert (found.rows, found.clipped, found.nonfinite) == (10, 2 * alone.clipped, 0)
    assert 0 < alone.clipped < 5 and found.loss == pytest.approx(alone.loss)


def test_noise_follows_the_generator_and_not_the_number_of_threads(monkeypatch):
    m, nothing = model(), {key: value[:0] for key, value in batch().items()}
    monkeypatch.setattr(noise, "BLOCK", 100)
    found = [private(m, of_text, nothing, 1, 1, seed=seed) for seed in (0, 0, 1)]
    torch.set_num_threads(3)
    try:
        found.append(private(m, of_text, nothing, 1, 1))
    finally:
        torch.set_num_threads(1)
    one, again, other, threads = map(flat, found)
    assert torch.equal(one, again) and torch.equal(one, threads)
    assert not (one == other).any()
    assert len(one.unique()) > .99 * len(one)  # each block has its own draw


# ---- what is refused -----------------------------------------------------------------------------

@pytest.mark.parametrize("setting, value", [
    ("clip", 0), ("clip", -1), ("clip", math.nan), ("clip", math.inf), ("sigma", -.1),
    ("sigma", math.nan), ("sigma", math.inf), ("expected", 0), ("expected", -2),
    ("expected", math.nan)])
def test_a_setting_without_meaning_is_refused(setting, value):
    settings = {"clip": 1, "sigma": 1, "expected": 4} | {setting: value}
    with pytest.raises(ValueError, match=f"^{setting}.*must be"):
        private(model(), of_text, batch(), **settings)


class Convolved(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv1d(2, 3, 2), nn.Linear(3, 1)

    def forward(self, x):
        return self.out(self.conv(x).mean(-1))[:, 0]


def test_other_layers_take_func_and_fast_says_why_not():
    torch.manual_seed(0)
    m, b = Convolved(), {"ids": torch.randn(4, 2, 5)}

    def objective(f, b):
        return f(b["ids"]).square()

    with pytest.raises(ValueError, match="conv is a Conv1d"):
        private(m, objective, b, .1, method="fast")
    with pytest.raises(ValueError, match="method ghost: choose"):
        private(m, objective, b, .1, method="ghost")
    clip = between([norm(g) for g in gradients(m, objective, b)])
    assert difference(private(m, objective, b, clip), one_at_a_time(m, objective, b, clip)) < 1e-5
    m.conv.requires_grad_(False)  # what is not trained need not be known
    assert difference(private(m, objective, b, clip, method="fast"),
                      one_at_a_time(m, objective, b, clip)) < 1e-5


# ---- Poisson sampling ----------------------------------------------------------------------------

def plan(N, B, steps=10, **changed):
    return private_run.Plan(**dict(
        rows=N, expected_batch=B, steps=steps, clip=1, sigma=1, delta=1e-5, epsilon=1,
        accountant="rdp", sampling="poisson", method="auto", noise_seed="run",
        identity="tests 1") | changed)


def rows_of(N):
    return {"ids": [np.full(1 + i % 3, i, np.int32) for i in range(N)],
            "target": np.eye(2, dtype=np.float32)[np.arange(N) % 2]}


def drawn(N, B, steps, seed=0, **more):
    """(steps, N) bool: which rows each batch has."""
    found = np.zeros((steps, N), bool)
    for k, b in private_run.batches(rows_of(N), steps, B, seed, private=plan(N, B), **more):
        found[k, b["rows"]] = True
        assert len(b["ids"]) == len(b["len"]) == len(b["target"]) == found[k].sum()
        assert (b["ids"][:, 0] == b["rows"]).all()
    return found


def test_each_row_is_in_each_batch_with_probability_q_independently():
    found = drawn(40, 8, 1200)
    q, n = 8 / 40, len(found)
    sd = math.sqrt(n * q * (1 - q))
    assert (abs(found.sum(0) - n * q) < 5 * sd).all()
    sizes = found.sum(1)  # binomial, not constant
    assert abs(sizes.mean() - 8) < 5 * math.sqrt(40 * q * (1 - q) / n)
    assert sizes.var() == pytest.approx(40 * q * (1 - q), rel=.12)
    pairs = (found[:, :-1] & found[:, 1:]).sum(0)  # neighbours in a file
    assert (abs(pairs - n * q * q) < 5 * math.sqrt(n * q * q)).all()
    again = (found[:-1] & found[1:]).sum()  # the next step knows nothing of this one
    assert again == pytest.approx(n * 40 * q * q, rel=.1)


def test_batches_without_rows_occur_as_often_as_they_should():
    found = drawn(64, 4, 1500)
    empty = int((~found.any(1)).sum())
    p = (1 - 4 / 64) ** 64
    assert abs(empty - 1500 * p) < 4 * math.sqrt(1500 * p * (1 - p)) and empty > 10


@pytest.mark.parametrize("B", (9, 30))
def test_a_batch_as_large_as_the_data_has_every_row_in_every_step(B):
    assert drawn(9, B, 20).all() and plan(9, B).q == 1


@pytest.mark.parametrize("B, divisor", ((3, 3), (12, 12), (500, 12)))
def test_the_sum_is_divided_by_the_rows_that_a_batch_has_on_average(B, divisor):
    m, p = nn.Linear(2, 2, bias=False), plan(12, B, 8, sigma=1e-9, clip=1e3)
    start, x = m.weight.detach().clone(), torch.randn(12, 2)
    take = private_run.make_step(m, torch.optim.SGD(m.parameters(), 1.0), lambda f, b,
                             *_: f(b["x"]).sum(1),
                        None, 8, 8, private=p)
    take(0, {"x": x})
    assert p.expected_batch == p.facts()["expected_batch"] == divisor
    assert torch.allclose(start - m.weight, x.sum(0).expand(2, 2) / divisor, atol=1e-5)


def test_batches_depend_on_seed_and_step_and_not_on_where_a_run_began():
    whole, rest = drawn(20, 5, 60), drawn(20, 5, 60, start=41)
    assert (rest[41:] == whole[41:]).all() and not rest[:41].any()
    assert (drawn(20, 5, 60) == whole).all() and not (drawn(20, 5, 60, seed=1) == whole).all()
    assert len(np.unique(whole, axis=0)) > 50


def test_processes_share_the_rows_of_a_batch(monkeypatch):
    whole, parts = drawn(20, 5, 40), []
    monkeypatch.setattr(parallel, "world", lambda: 3)
    for rank in range(3):
        monkeypatch.setattr(parallel, "rank", lambda: rank)
        parts.append(drawn(20, 5, 40))
    assert (np.sum(parts, 0) == whole).all()  # each row in one of them
    assert min(part.sum() for part in parts) > 20


def test_every_bit_of_a_seed_reaches_the_sampling():
    def picked(seed):
        p = plan(200, 100)
        p.seed = lambda *parts: seed
        (_, b), = private_run.batches(rows_of(200), 1, 100, 0, private=p)
        return b["rows"].numpy().tobytes()

    assert len({picked(1 << 127 | 1 << bit) for bit in range(127)}) == 127


def test_shuffled_sampling_takes_ordinary_batches():
    data = rows_of(20)
    shuffled = private_run.batches(data, 9, 5, 0, private=plan(20, 5, sampling="shuffled"))
    for (_, a), (_, b) in zip(shuffled, step.batches(data, 9, 5, 0), strict=True):
        assert torch.equal(a["rows"], b["rows"])
    assert math.isinf(plan(20, 5, sampling="shuffled").spent(9))


# ---- a private run -------------------------------------------------------------------------------

def toy_objective(f, b, ell, lam):
    return of_logits(f, b | {"mask": (b["ids"] >= 0).float(), "unknown": b["target"]})


def trains(optimizer_of, **changed):
    """The model, its Plan and the losses of a private run of six steps over rows_of(12)."""
    m = model(layers=1, dtype=torch.float64)
    mechanism = plan(12, 3, 6, sigma=.5, clip=.7, **changed)
    take = private_run.make_step(m, optimizer_of(m), toy_objective, None, 8, 6, private=mechanism,
                             seed=1)
    found = private_run.batches(rows_of(12), 6, 3, 1, private=mechanism)
    return m, mechanism, [float(take(k, b)) for k, b in found]


def test_the_private_step_is_algorithm_1_by_hand():
    """Sample, clip, add noise, divide by the expected batch, descend along a cosine; one batch of
    the six has no rows, and is a step along the noise."""
    m, mechanism, losses = trains(lambda m: step.sgd(m, .3))
    by_hand, sizes = model(layers=1, dtype=torch.float64), []
    for k, b in private_run.batches(rows_of(12), 6, 3, 1, private=plan(12, 3)):
        sizes.append(len(b["ids"]))
        g = one_at_a_time(by_hand, lambda f, b: toy_objective(f, b, None, 8), b, .7)
        draw = noise.Source(plan(12, 3).seed(1, "noise", k))
        drawn = dp.private_gradient(by_hand, None, {"ids": b["ids"][:0]}, .7, .5, 1, draw)
        with torch.no_grad():
            for name, p in by_hand.named_parameters():
                p -= .3 * .5 * (1 + math.cos(math.pi * k / 6)) * (g[name] + drawn[name]) / 3
    assert difference(trained(m), trained(by_hand)) < 1e-10
    assert difference(trained(m), trained(model(layers=1, dtype=torch.float64))) > 1e-2
    assert mechanism.done == 6 and mechanism.counts["rows"] == sum(sizes)
    assert mechanism.counts["empty"] == sizes.count(0) == 1
    assert [math.isnan(loss) for loss in losses] == [size == 0 for size in sizes]


@pytest.mark.parametrize("optimizer", ("adamw", "sgd"))
def test_a_resumed_private_run_is_bit_identical(optimizer, tmp_path):
    def optimizer_of(m):
        return step.OPTIMIZERS[optimizer](m, .01)

    whole, mechanism, _ = trains(optimizer_of)
    resumed, other = model(layers=1, dtype=torch.float64), plan(12, 3, 6, sigma=.5, clip=.7)
    first, half = optimizer_of(resumed), plan(12, 3, 6, sigma=.5, clip=.7)
    take = private_run.make_step(resumed, first, toy_objective, None, 8, 6, private=half, seed=1)
    for k, b in private_run.batches(rows_of(12), 3, 3, 1, private=half):
        take(k, b)
    step.save_checkpoint(tmp_path / "checkpoint", 3, resumed, first, {"privacy": half})
    resumed = model(layers=1, dtype=torch.float64, seed=9)
    second = optimizer_of(resumed)
    assert step.load_checkpoint(tmp_path / "checkpoint", resumed, second, {"privacy": other}) == 3
    take = private_run.make_step(resumed, second, toy_objective, None, 8, 6, private=other, seed=1)
    for k, b in private_run.batches(rows_of(12), 6, 3, 1, start=3, private=other):
        take(k, b)
    assert torch.equal(flat(trained(whole)), flat(trained(resumed)))
    assert (other.done, other.counts) == (mechanism.done, mechanism.counts)
    with pytest.raises(ValueError, match="privacy history is not this run's"):
        step.load_checkpoint(tmp_path / "checkpoint", resumed, second,
                             {"privacy": plan(12, 3, 6, sigma=.6, clip=.7)})


def test_noise_from_the_system_is_another_each_time_and_saved_nowhere():
    def sgd(m):
        return step.sgd(m, .3)

    runs = [flat(trained(trains(sgd, noise_seed=seed)[0])) for seed in ("run", "run", "system",
                                                                        "system")]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[2], runs[3]) and not torch.equal(runs[0], runs[2])
    kept = plan(12, 3, noise_seed="system")
    assert set(kept.state_dict()) == {"history", "counts"} and "seed" not in kept.facts()
    assert kept.seed(0, "noise", 0) != kept.seed(0, "noise", 0)
    assert kept.entry(.5) == {}
    assert max(kept.seed(0, "noise", 0) for _ in range(9)).bit_length() > 120


def test_a_loss_that_mixes_rows_is_refused():
    m = model()
    with pytest.raises(ValueError, match="depends on other rows"):
        private_run.make_step(m, step.sgd(m, .1), of_text, None, 8, 6, private=plan(12, 3),
                     hardening={"x": None})


def test_a_plan_of_rows_that_the_batch_does_not_divide(capsys):
    """22 rows, batches of 4, 3 epochs: 16.5 steps, so 17, each with 4 / 22 of the rows; all that is
    said is of the delta that was asked for."""
    def planned(**changed):
        return private_run.plan(SimpleNamespace(**dict(
            noise_multiplier=None, lam=8, batch_size=4, delta=1e-3, clip=2.0, accountant="rdp",
            sampling="poisson", dp_method="auto", noise_seed="run") | changed), 8, 22, 3)

    found = planned()
    assert (found.steps, found.q, found.delta) == (17, 4 / 22, 1e-3)
    by_rdp, by_pld = (accountant.epsilon(found.sigma, 4 / 22, 17, 1e-3, method)
                      for method in ("rdp", "pld"))
    assert 7.99 < found.epsilon == by_rdp <= 8
    assert f"epsilon {by_rdp:.4g} (RDP; PLD {by_pld:.4g}) at delta 0.001, " in found.guarantee()
    for _ in range(17):
        found.note({})
    assert f"epsilon {by_rdp:.4g} spent in 17 steps (delta 0.001, " in found.told()
    assert planned(delta=None).delta == 1e-5 and not capsys.readouterr().err
    assert planned(delta=.05).delta == .05 and "above 1/N = 0.045" in capsys.readouterr().err
    shuffled = planned(sampling="shuffled")
    assert shuffled.facts()["epsilon"] is None and "epsilon not certified" in shuffled.guarantee()


def test_what_was_spent_grows_with_the_steps_done():
    mechanism = plan(100, 10, 50, sigma=1)
    assert mechanism.spent(20) == accountant.epsilon(1, .1, 20, 1e-5, "rdp") < mechanism.spent(50)
    for _ in range(20):
        mechanism.note({})
    assert f"epsilon {mechanism.spent(20):.4g} spent in 20 steps" in mechanism.told()


# ---- compiled ------------------------------------------------------------------------------------

@pytest.mark.parametrize("head, objective", (  # of a class head by default: test_lora.py
    pytest.param("class", of_class, marks=pytest.mark.slow), ("lm", of_text)))
def test_the_compiled_sum_is_the_same(head, objective, compiler):
    m = model(head, layers=1)
    for B, T in ((5, 6), (3, 9)):  # one graph: rows and tokens are padded
        b = batch(B=B, T=T)
        clip = between([norm(g) for g in gradients(m, objective, b)])
        found = private(m, objective, b, clip, method="fast", compile=True)
        assert difference(found, one_at_a_time(m, objective, b, clip)) < 1e-5
        assert found.rows == B
