"""LoRA against its formula and against peft, and what a run with --lora-rank leaves behind.

    python -m pytest -q tests/model/test_lora.py  # with peft installed also against it; -m slow:
                                                # really compiled
"""

import contextlib
import copy
import io
import json
import math
import re

import pytest
import torch
from torch import nn

import train_weak
from tests.conftest import read_json
from tests.dp.test_sgd import batch, model, of_class, of_text
from w2s import config, rows, runs, training
from w2s.dp import ghost_clipping
from w2s.dp import private_run
from w2s.dp import sgd as dp
from w2s.model import checkpoint, decoding, gpt_neox, lora
from w2s.train import step

QKV = "attention.query_key_value"
WHOLE = ("class", of_class), ("lm", of_text)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def trained(head="class", rank=3, alpha=6, **config):
    """A tiny random model with LoRA whose B is random too, as after training."""
    m = lora.apply(model(head, **config), rank, alpha, generator())
    for name, p in m.named_parameters():
        if name.endswith(".B.weight"):
            nn.init.normal_(p, 0, .2, generator=generator(1))
    return m


def logits(m, b):
    with torch.no_grad():
        return m(b["ids"], b["len"])


def test_the_formula_on_paper():
    m = nn.Module()
    m.query_key_value = nn.Linear(3, 2, bias=False)
    m.query_key_value.weight.data = torch.tensor([[1., 0, 2], [0, 1, -1]])
    lora.apply(m, 1, 2)
    m.query_key_value.A.weight.data = torch.tensor([[.1, .2, .3]])
    m.query_key_value.B.weight.data = torch.tensor([[.5], [-1]])
    x, y = torch.tensor([1., 2, 3]), torch.tensor([8.4, -3.8])
    assert torch.allclose(m.query_key_value(x), y, atol=1e-6)
    lora.merge(m)
    assert type(m.query_key_value) is nn.Linear and list(m.state_dict()) == [
        "query_key_value.weight"]
    assert torch.allclose(m.query_key_value(x), y, atol=1e-6)


def test_alpha_is_the_rank_where_it_is_not_said():
    """W = 0, A = B = 1: what is left is alpha / rank, 1 of rank 2, or 3 / 2."""
    for alpha, scale in ((None, 1), (3, 1.5)):
        m = nn.Module()
        m.query_key_value = nn.Linear(2, 2, bias=False)
        nn.init.zeros_(m.query_key_value.weight)
        lora.apply(m, 2, alpha)
        for layer in (m.query_key_value.A, m.query_key_value.B):
            layer.weight.data = torch.eye(2)
        assert m.query_key_value(torch.tensor([4., 6])).tolist() == [4 * scale, 6 * scale]


@pytest.mark.parametrize("head", ("class", "lm"))
def test_training_starts_at_the_base_model_and_moves_only_a_b_and_the_class_head(head):
    base, b = model(head), batch()
    before = logits(base, b)
    m = lora.apply(base, 4, generator=generator())
    assert m is base and torch.equal(logits(m, b), before)
    names = {name for name, p in m.named_parameters() if p.requires_grad}
    layers = {f"gpt_neox.layers.{i}.{QKV}.{x}.weight" for i in range(2) for x in "AB"}
    assert names == layers | ({"score.weight"} if head == "class" else set())
    held = {id(p) for group in step.adamw(m, 1e-3).param_groups for p in group["params"]}
    assert held == {id(p) for name, p in m.named_parameters() if name in names}
    for name, p in m.named_parameters():
        if name.endswith(".A.weight"):  # Kaiming-uniform(a = sqrt 5): U(-1/sqrt D, 1/sqrt D)
            assert p.abs().max() <= p.shape[1] ** -.5 < p.abs().max() * 1.2


@pytest.mark.parametrize("config", ({}, {"attention_bias": False}, {"tie_word_embeddings": True}))
@pytest.mark.parametrize("head", ("class", "lm"))  # "class" reads query and key, value apart
def test_merged_equals_unmerged_under_the_old_names(head, config):
    m, b = trained(head, **config), batch()
    before = logits(m, b)
    assert (before - logits(model(head, **config), b)).abs().max() > .01
    assert lora.merge(m) is m and all(p.requires_grad for p in m.parameters())
    assert list(m.state_dict()) == list(model(head, **config).state_dict())
    assert (logits(m, b) - before).abs().max() < 1e-6 * before.abs().max().clamp(min=1)
    assert not any(isinstance(module, lora.LoRA) for module in m.modules())


def test_a_bfloat16_model_is_merged_in_float32():
    m = trained().to(torch.bfloat16)
    layer = m.gpt_neox.layers[0].attention.query_key_value
    W, A, B = (x.weight.detach().float() for x in (layer.base, layer.A, layer.B))
    lora.merge(m)
    merged = m.gpt_neox.layers[0].attention.query_key_value.weight
    assert torch.equal(merged, (W + 2 * B @ A).bfloat16())


def test_generation_is_the_merged_models():
    m, b = trained("lm"), batch()
    before = decoding.generate(m, b["ids"], b["len"], 5)
    assert torch.equal(decoding.generate(lora.merge(m), b["ids"], b["len"], 5), before)


def test_a_comes_from_the_generator_alone():
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(found))
        found.append(lora.apply(model(), 2, generator=generator(seed)).state_dict())
    key = f"gpt_neox.layers.1.{QKV}.A.weight"
    assert torch.equal(found[0][key], found[1][key])
    assert not torch.equal(found[0][key], found[2][key])
    fresh, state = model(), torch.get_rng_state()
    lora.apply(fresh, 2, generator=generator())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("rank, alpha", ((0, None), (-1, None), (17, None), (1.5, None), (2, 0),
                                         (2, -1), (2, math.nan)))
def test_a_rank_or_alpha_without_meaning_is_refused_and_changes_nothing(rank, alpha):
    m = model()
    with pytest.raises(ValueError, match="--lora-rank|LoRA: alpha"):
        lora.apply(m, rank, alpha)
    assert all(p.requires_grad for p in m.parameters())
    assert type(m.gpt_neox.layers[0].attention.query_key_value) is gpt_neox.FusedQKV


def test_lora_twice_nowhere_and_merging_nothing_are_refused():
    with pytest.raises(ValueError, match="already"):
        lora.apply(trained(), 2)
    with pytest.raises(ValueError, match="no layer query_key_value"):
        lora.apply(nn.Sequential(nn.Linear(2, 2)), 2)
    with pytest.raises(ValueError, match="none to merge"):
        lora.merge(model())
    with pytest.raises(ValueError, match="none to merge"):
        lora.merge(lora.merge(trained()))


def test_bfloat16_autocast_computes_nearly_the_same_and_has_gradients():
    m, b = trained("lm"), batch()
    exact = logits(m, b)
    with torch.autocast("cpu", torch.bfloat16):
        found = m(b["ids"], b["len"])
    assert (found.float() - exact).abs().max() < .05 * exact.abs().max()
    found.float().square().mean().backward()
    assert all((p.grad is not None) == p.requires_grad for p in m.parameters())


@pytest.mark.parametrize("private", (False, True))
def test_the_compiled_step_makes_the_same_update(private, compiler):
    found = []
    for compile in (False, True):
        m, b = trained(layers=1), batch()
        optimizer = step.sgd(m, .1)
        make, more = step.make_step, {}
        if private:
            make = private_run.make_step
            more["private"] = private_run.Plan(9, 5, 1, 1.0, 0.0, 1e-5, 1.0, "rdp", "poisson",
                                               "fast", "run")
        make(m, optimizer, lambda f, b, ell, lam: of_class(f, b), None, 0, 1, compile=compile,
             **more)(0, b | {"rows": torch.arange(5)})
        found.append(torch.cat([p.detach().flatten() for p in step.trained(m)]))
    assert torch.allclose(*found, atol=1e-6)


# ---- private LoRA --------------------------------------------------------------------------------

@pytest.mark.parametrize("head, objective", WHOLE)
def test_private_gradients_are_of_a_b_and_head_and_both_methods_agree(head, objective):
    m, b = trained(head, dtype=torch.float64), batch(dtype=torch.float64)
    found = [dp.private_gradient(m, objective, b, .3, 0, 5, None, method=method)
             for method in ("func", "fast")]
    for g in found:
        assert set(g) == {name for name, p in m.named_parameters() if p.requires_grad}
        assert 0 < g.clipped <= 5
    alone = {name: 0 for name in found[0]}
    for i in range(5):  # the definition: one row at a time
        m.zero_grad()
        objective(m, {key: value[i:i + 1] for key, value in b.items()}).sum().backward()
        norm = torch.cat([m.get_parameter(name).grad.flatten() for name in alone]).norm()
        for name in alone:
            alone[name] = alone[name] + m.get_parameter(name).grad * dp.clip_factor(norm, .3) / 5
    for name, value in alone.items():
        assert all(torch.allclose(g[name], value, atol=1e-9) for g in found), name


def test_auto_takes_the_fast_method():
    assert ghost_clipping.unsupported(trained()) is None


# ---- against peft and transformers ---------------------------------------------------------------

def test_logits_and_gradients_are_pefts():
    peft = pytest.importorskip("peft", exc_type=ImportError)
    transformers = pytest.importorskip("transformers")
    ours, b = model("lm"), batch()
    theirs = transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**ours.config))
    theirs.load_state_dict({name.replace("embed_out", "lm_head"): p
                            for name, p in ours.state_dict().items()}, strict=False)
    theirs = peft.get_peft_model(theirs, peft.LoraConfig(r=3, lora_alpha=6, task_type="CAUSAL_LM"))
    lora.apply(ours, 3, 6, generator())
    names = {}
    for name, p in theirs.named_parameters():
        if p.requires_grad:
            own = re.sub(r"base_model\.model\.|lora_|\.default", "", name)
            names[own], drawn = p, ours.get_parameter(own)
            assert p.shape == drawn.shape and (p.abs().max() == 0) == (drawn.abs().max() == 0)
            if own.endswith("A.weight"):  # the same distribution
                assert abs(p.std() / drawn.std() - 1) < .3
            with torch.no_grad():
                p.normal_(0, .2, generator=generator(2))
                drawn.copy_(p)
    assert set(names) == {name for name, p in ours.named_parameters() if p.requires_grad}
    mask = torch.arange(b["ids"].shape[1]) < b["len"][:, None]
    one, two = ours(b["ids"], b["len"]), theirs(b["ids"], attention_mask=mask.long()).logits
    assert (one - two)[mask].abs().max() < 1e-5
    (one[mask].square().mean() - two[mask].square().mean()).backward()
    for name, p in names.items():
        assert torch.allclose(ours.get_parameter(name).grad, -p.grad, atol=1e-6), name


# ---- a run ---------------------------------------------------------------------------------------

def weak(world, fair, out, *more):
    return ("train_weak", "--task", "fairness", "--model", world / "tiny-2x32", "--data",
            fair / "weak.jsonl", "--out", out, "--lr", ".03", "--lam", 0, "--epochs", 12,
            "--lora-rank", 4, "--save-adapter", *more)


@pytest.fixture(scope="module")
def made(world, fair, tmp_path_factory):
    """(run folder, what it printed) of a finished run with LoRA."""
    out, said = tmp_path_factory.mktemp("lora") / "run", io.StringIO()
    argv = [str(a) for a in weak(world, fair, out)[1:]]
    with contextlib.redirect_stdout(said):
        train_weak.main(config.parse(train_weak.Config, "", argv))
    return out, said.getvalue()


def log(run):
    """log.jsonl without what the clock says."""
    return [{key: value for key, value in json.loads(line).items() if "second" not in key}
            for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_run_learns_saves_an_ordinary_folder_and_says_how_much_was_trained(world, fair, made,
                                                                             call):
    run, said = made
    count = 2 * 4 * (32 + 96) + 2 * 32  # A and B of two layers, the head
    assert f"{count:,} trained (LoRA of rank 4)" in said
    assert read_json(run / "config.json")["trained"] == count
    base = checkpoint.load(world / "tiny-2x32", "class").state_dict()
    moved = {name for name, p in checkpoint.load(run / "model", "class").state_dict().items()
             if not torch.equal(p, base[name])}
    assert moved == {f"gpt_neox.layers.{i}.{QKV}.weight" for i in range(2)} | {"score.weight"}
    code, _, err = call("evaluate", "--task", "fairness", "--run", run, "--data",
                        fair / "test.jsonl")
    assert code == 0, err
    found = {m["metric"]: m["value"] for m in read_json(run / "eval.json")["test"]["metrics"]
             if m["slice"] == "all"}
    assert found["acc"] > .8, found


def test_transformers_loads_the_folder(made):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(made[0] / "model")
    ours, b = checkpoint.load(made[0] / "model", "class"), {"ids": torch.arange(2, 12)[None]}
    with torch.no_grad():
        assert torch.allclose(theirs(b["ids"]).logits, ours(b["ids"], torch.tensor([10])),
                              atol=1e-5)


def test_an_interrupted_run_ends_bit_identical(world, fair, made, call, tmp_path, monkeypatch):
    after, command = training.TrainingRun.after, weak(world, fair, tmp_path / "run")

    def interrupted(self, k, loss, **extra):
        after(self, k, loss, **extra)
        if k == 40:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingRun, "after", interrupted)
        assert call(*command)[0] == 130
    code, out, err = call(*command)
    assert code == 0 and "goes on at step" in out, err
    for name in ("model/model.safetensors", "adapter/adapter_model.safetensors",
                 "adapter/adapter_config.json"):
        assert (tmp_path / "run" / name).read_bytes() == (made[0] / name).read_bytes()
    assert log(tmp_path / "run") == log(made[0])


def test_rank_and_alpha_are_refused_where_they_mean_nothing(world, fair, call, tmp_path):
    out = tmp_path / "run"
    for command, what in ((weak(world, fair, out, "--lora-rank", 0, "--lora-alpha", 8),
                           "--lora-alpha has no effect without --lora-rank"),
                          (weak(world, fair, out, "--lora-rank", 0),
                           "--save-adapter has no effect without --lora-rank; leave it out"),
                          (weak(world, fair, out, "--epochs", 0), "--lora-rank has no effect"),
                          (weak(world, fair, out, "--lora-rank", 33), "from 1 to 32"),
                          (weak(world, fair, out, "--lora-rank", -1), "must be >= 0")):
        code, _, err = call(*command)
        assert code == 1 and err.count("\n") == 1 and what in err, err
        assert not out.exists()


def test_a_private_run_with_lora_trains_little_and_spends_the_same(world, call, tmp_path,
                                                                   monkeypatch):
    monkeypatch.setattr(runs, "identity", lambda *_: "one")  # else each has noise of its own
    rows.write(tmp_path / "mail.jsonl", [
        {"id": f"m{i}", "split": "weak", "text": f"the garden of number {i} is {'warm' * (i % 2)} "
         "and dull and near the warm garden and the dull garden"} for i in range(24)])
    command = ("train_weak", "--task", "privacy", "--model", world / "tiny-2x32", "--data",
               tmp_path / "mail.jsonl", "--lr", "1e-2", "--lam", 8, "--epochs", 2,
               "--batch-size", 8, "--lora-rank", 2)
    found = []
    for method in ("fast", "func"):
        code, said, err = call(*command, "--dp-method", method, "--optimizer", "sgd",
                               "--out", tmp_path / method)
        assert code == 0 and "epsilon" in said, err
        found.append(checkpoint.load(tmp_path / method / "model", "lm").state_dict())
    base = checkpoint.load(world / "tiny-2x32", "lm").state_dict()
    for name, p in base.items():
        assert torch.equal(p, found[0][name]) == (QKV + ".weight" not in name), name
        assert torch.allclose(found[0][name], found[1][name], atol=1e-5)


def test_a_copy_keeps_its_own_lora():
    m, b = trained(), batch()
    other = copy.deepcopy(m)
    lora.merge(m)
    assert torch.allclose(logits(other, b), logits(m, b), atol=1e-6)
    assert any(isinstance(module, lora.LoRA) for module in other.modules())
