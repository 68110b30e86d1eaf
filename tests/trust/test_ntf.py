"""The trust function: blocks, loss, training and files. pytest tests/trust/test_ntf.py"""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from w2s import metrics
from w2s.trust import ntf

Z, T = torch.tensor([1.2, -.3, .5, 2, -1]), torch.tensor([1., 0, 0, 1, 1])


def problem(n, seed, sharp=3., bias=0., dim=12):
    """states (n, dim) of unequal scales and right (n,), P(right) = sigmoid(sharp * x_0 + bias)."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=g)
    right = (torch.rand(n, generator=g) < (sharp * x[:, 0] + bias).sigmoid()).float()
    return x * torch.logspace(-2, 2, dim) + 5, right


@pytest.fixture(scope="module")
def fitted():
    return ntf.fit(*problem(600, 0), hidden=16)


def numbers(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


# ---- the model -----------------------------------------------------------------------------------

def test_rms_norm_of_the_fixture():
    found = ntf.Block(4, 0., 0.).norm(torch.tensor([[1., 2, 3, 4]]))
    expected = torch.tensor([[.36514837, .73029673, 1.09544516, 1.46059346]])
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


def test_the_network_is_what_the_paper_describes():
    model = ntf.TrustFunction(10, blocks=2, hidden=7).double().eval()
    assert model.blocks[0].out.in_features == 24  # 8/3 * 7 = 18.7, up to a multiple of 8
    x = torch.randn(5, 10, dtype=torch.float64)

    def rms(h, norm):
        return h / (h.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight

    h = x @ model.project.weight.T + model.project.bias
    for block in model.blocks:
        both = rms(h, block.norm) @ block.gate_value.weight.T
        gate, value = both[:, :24], both[:, 24:]
        h = h + (gate * gate.sigmoid() * value) @ block.out.weight.T
    expected = rms(h, model.norm) @ model.head.weight[0] + model.head.bias
    torch.testing.assert_close(model(x), expected, atol=1e-12, rtol=0)
    assert ntf.TrustFunction(600, blocks=0).config["hidden"] == 128


def test_without_blocks_states_are_only_standardised_and_constant_columns_do_no_harm():
    x, _ = problem(50, 0)
    x[:, 3] = 1000
    x[7, 3] = float(np.nextafter(np.float32(1000), np.float32(2000)))  # rounding, not blown up
    x[:, 4] = 0
    model = ntf.TrustFunction(12, blocks=0)
    model.standardise(x)
    z = (x - model.mean) / model.std
    assert model.std[3] == 1 and model.std[4] == 1 and z[:, 3:5].abs().max() < 1e-3
    rest = [0, 1, 2, *range(5, 12)]
    torch.testing.assert_close(z[:, rest].mean(0), torch.zeros(10), atol=1e-4, rtol=0)
    torch.testing.assert_close(z[:, rest].std(0, correction=0), torch.ones(10), atol=1e-4, rtol=0)


def test_drop_path_drops_rows_and_keeps_the_mean():
    block, x = ntf.Block(8, 0., .25), torch.randn(1, 8).expand(4000, 8)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        update = block.train()(x) - x
        whole = block.eval()(x[:1]) - x[:1]
    dropped = (update == 0).all(1)
    assert abs(dropped.float().mean() - .25) < .03
    torch.testing.assert_close(update[~dropped], (whole / .75).expand_as(update[~dropped]))


def test_dropout_and_drop_path_are_off_in_eval_and_in_trust():
    model, x = ntf.TrustFunction(12, dropout=.5, drop_path=.5), problem(64, 0)[0]
    model.train()
    assert not torch.equal(model(x), model(x))
    first = model.trust(x)
    assert torch.equal(first, model.trust(x)) and model.training
    assert torch.equal(model.eval()(x).sigmoid(), first)  # not calibrated: shift 0, temperature 1


def test_trust_takes_many_rows_at_once(fitted, monkeypatch):
    x = problem(100, 3)[0]
    whole = fitted[0].trust(x)
    monkeypatch.setattr(ntf, "AT_ONCE", 7)
    torch.testing.assert_close(fitted[0].trust(x.tolist()), whole, atol=1e-6, rtol=0)
    assert whole.shape == (100,) and whole.dtype == torch.float32 and not whole.requires_grad


# ---- the loss ------------------------------------------------------------------------------------

def test_class_reweighted_bce_of_the_fixture():
    found = [ntf.bce(Z, T, ntf.class_weights(T, how)) for how in ("balanced", "none", "each")]
    assert found == pytest.approx([.53281605, .64638091, .66602010], abs=1e-7)
    weights = ntf.class_weights(T, "each")
    assert weights == pytest.approx((1.25, .83333333), abs=1e-8)


def test_balanced_is_pytorchs_pos_weight_and_each_is_scikit_learns():
    right = problem(200, 1, bias=1.)[1]
    logits = torch.randn(200, generator=torch.Generator().manual_seed(0))
    theirs = F.binary_cross_entropy_with_logits(
        logits, right, pos_weight=(1 - right).sum() / right.sum())
    torch.testing.assert_close(ntf.bce(logits, right, ntf.class_weights(right)), theirs)
    sklearn = pytest.importorskip("sklearn.utils.class_weight")
    expected = sklearn.compute_class_weight("balanced", classes=np.array([0, 1]), y=right.numpy())
    assert ntf.class_weights(right, "each") == pytest.approx(expected, abs=1e-12)


def test_the_best_temperature_is_the_one_that_made_the_labels():
    g = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(40000, generator=g)
    right = (torch.rand(40000, generator=g) < (logits / 2.5).sigmoid()).float()
    found = ntf.best_temperature(logits, right)
    assert found == pytest.approx(2.5, abs=.1)
    losses = [ntf.bce(logits.double() / t, right.double()).item()
              for t in (found, found * 1.01, found / 1.01)]
    assert losses[0] == min(losses)
    low, high = ntf.TEMPERATURES
    assert ntf.best_temperature(Z, (Z > 0).float()) == pytest.approx(low)   # separable
    assert ntf.best_temperature(Z, (Z < 0).float()) == pytest.approx(high)  # reversed


def test_calibration_is_a_shift_and_then_a_division():
    model = ntf.TrustFunction(3)
    model.shift.fill_(-1)
    model.temperature.fill_(2)
    found = model.calibrated(torch.tensor([3., 1, -3]))
    torch.testing.assert_close(found, torch.tensor([.7310586, .5, .1192029]))  # of 1, 0, -2


def test_a_held_out_slice_that_is_separated_keeps_the_order_of_other_rows():
    right = torch.tensor([1., 1, 1, 0])
    assert ntf.smoothed(right).tolist() == pytest.approx([.8, .8, .8, 1 / 3])
    model, facts = ntf.fit(*problem(400, 0, sharp=1e6), hidden=16)
    x, right = problem(1000, 1, sharp=1e6)
    trust = model.calibrated(model.logits(3 * x).double())  # further out than what it learned from
    assert facts["temperature"] > .1 and len(trust.unique()) > 970
    assert metrics.auc(trust, right) == metrics.auc(model.logits(3 * x), right)


# ---- training ------------------------------------------------------------------------------------

def test_states_that_tell_give_an_auc_near_1_on_fresh_rows(fitted):
    model, facts = ntf.fit(*problem(600, 0, sharp=1e6), hidden=16)
    x, right = problem(1000, 1, sharp=1e6)
    assert metrics.auc(model.trust(x), right) > .97
    x, right = problem(1000, 1)  # the ideal score, x_0, has .87
    assert metrics.auc(x[:, 0], right) - .05 < metrics.auc(fitted[0].trust(x), right)


def test_states_that_tell_nothing_give_an_auc_near_one_half():
    model, _ = ntf.fit(*problem(600, 0, sharp=0), hidden=16)
    x, right = problem(4000, 1, sharp=0)
    assert abs(metrics.auc(model.trust(x), right) - .5) < .035  # four standard errors


def test_calibration_makes_probabilities_of_an_imbalanced_problem():
    data, (x, right) = problem(1000, 0, bias=2.5), problem(4000, 1, bias=2.5)
    found = {}
    for how in ("none", "prior", "temperature", "both"):
        model, facts = ntf.fit(*data, hidden=16, calibrate=how)
        found[how] = metrics.ece(model.trust(x), right)
        assert (facts["shift"] != 0) == (how in ("prior", "both"))
        assert (facts["temperature"] != 1) == (how in ("temperature", "both"))
    assert facts["pos_weight"] == pytest.approx(1 / 3.4, abs=.1)
    assert facts["shift"] == pytest.approx(-math.log(facts["pos_weight"]))
    assert found["both"] < .05 < .1 < found["none"] and found["prior"] < found["none"] / 2


def test_reweighting_moves_the_logit_by_what_the_prior_correction_takes_back():
    data = problem(4000, 0, sharp=.5, bias=1.5)
    mean = {}
    for how in ("balanced", "each", "none"):
        model, facts = ntf.fit(*data, blocks=0, lr=3e-3, reweight=how, calibrate="prior")
        mean[how] = float(model.logits(data[0]).mean()), float(model.trust(data[0]).mean())
        assert (facts["shift"] == 0) == (how == "none")
        assert mean[how][1] == pytest.approx(facts["right"], abs=.04)
    moved = -math.log((1 - facts["right"]) / facts["right"])
    for how in ("balanced", "each"):
        assert mean["none"][0] - mean[how][0] == pytest.approx(moved, abs=.1)


def test_twice_is_bit_identical_and_the_global_generator_is_untouched(fitted):
    before = torch.get_rng_state()
    torch.rand(1)
    again, facts = ntf.fit(*problem(600, 0), hidden=16)
    assert torch.equal(numbers(again), numbers(fitted[0])) and facts == fitted[1]
    torch.set_rng_state(before)
    other, _ = ntf.fit(*problem(600, 0), hidden=16, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(numbers(other), numbers(fitted[0]))


def test_early_stopping_keeps_the_weights_of_the_best_epoch():
    data = problem(400, 0, sharp=1.)
    model, facts = ntf.fit(*data, hidden=16, batch_size=32, patience=4)
    assert facts["epochs"] == facts["best_epoch"] + 4 < 50
    # the same draws, stopped there: not a later epoch's weights
    short, _ = ntf.fit(*data, hidden=16, batch_size=32, epochs=facts["best_epoch"])
    longer, _ = ntf.fit(*data, hidden=16, batch_size=32, epochs=facts["best_epoch"] + 4,
                        held_out=.1, patience=4)
    assert torch.equal(numbers(short), numbers(model))
    assert torch.equal(numbers(longer), numbers(model))


@pytest.mark.parametrize("seed", [0, 3])
def test_the_held_out_loss_is_that_of_the_model_that_is_returned(seed):
    x, right = problem(400, 0)
    model, facts = ntf.fit(x, right, hidden=16, seed=seed)
    held = ntf.hold_out(right, None, .1, torch.Generator().manual_seed(seed))
    loss = ntf.bce(model.logits(x[held]), right[held], ntf.class_weights(right[~held]))
    assert facts["held_out_loss"] == loss.item() and facts["held_out_rows"] == held.sum() == 40
    torch.testing.assert_close(model.mean, x[~held].double().mean(0).float())
    corrected = model.logits(x[held]) + model.shift
    assert facts["temperature"] == pytest.approx(ntf.best_temperature(corrected, right[held]), 1e-6)


def test_training_and_held_out_rows_share_no_group_and_no_row(monkeypatch):
    (x, right), seen = problem(400, 0), []

    def train(model, optimizer, rows, held, *more):
        seen.extend([rows, held, more[3]])
        return {}
    monkeypatch.setattr(ntf, "train", train)
    ntf.fit(x, right, hidden=16, groups=[f"g{i % 100}" for i in range(400)], epochs=1)
    place = {tuple(row): i for i, row in enumerate(x.tolist())}
    (trained, truth), (held, also), _ = seen
    at, apart = ([place[tuple(row)] for row in part.tolist()] for part in (trained, held))
    assert sorted(at + apart) == list(range(400)) and len(apart) == 40
    assert not {i % 100 for i in at} & {i % 100 for i in apart}
    assert truth.tolist() == right[at].tolist() and also.tolist() == right[apart].tolist()


@pytest.mark.parametrize("n, patience", [(100, 8), (2000, 8), (4000, 4), (6000, 3)])
def test_many_rows_have_less_patience_unless_one_is_given(n, patience, monkeypatch):
    seen = []
    monkeypatch.setattr(ntf, "train", lambda *given: seen.append(given[7]) or {})
    for own in (None, 5):
        ntf.fit(torch.arange(n)[:, None], torch.arange(n) % 2, hidden=2, patience=own)
    assert seen == [patience, 5]


def test_groups_stay_together_and_both_kinds_are_held_out():
    right = problem(400, 0, bias=4.)[1]  # few are wrong
    groups = [f"g{i % 130}" for i in range(400)]
    held = ntf.hold_out(right, groups, .1, torch.Generator().manual_seed(0)).tolist()
    assert not ({g for g, h in zip(groups, held) if h} & {g for g, h in zip(groups, held) if not h})
    assert 30 <= sum(held) <= 60
    assert 0 < sum(r for r, h in zip(right.tolist(), held) if h) < sum(held)


def test_the_held_out_slice_has_its_share_of_wrong_rows():
    right = torch.arange(1000) % 20 != 0  # 50 are wrong
    for seed in range(5):
        held = ntf.hold_out(right, None, .1, torch.Generator().manual_seed(seed))
        assert held.sum() == 100 and (held & ~right).sum() == 5


@pytest.mark.parametrize("n, share, expected", [
    (1000, .1, 100), (1000, 0, 0), (100, .1, 20), (80, .1, 20), (79, .1, 0), (2, .1, 0),
    (60, .5, 30)])
def test_the_held_out_slice_shrinks_to_20_rows_and_then_to_none(n, share, expected):
    held = ntf.hold_out(torch.arange(n) % 2, None, share, torch.Generator().manual_seed(0))
    assert held.sum() == expected


def test_a_few_rows_train_without_a_held_out_slice():
    x, _ = problem(6, 0)
    model, facts = ntf.fit(x, [0, 1, 0, 1, 1, 1], hidden=8, epochs=3)
    assert facts["held_out_rows"] == 0 and facts["held_out_loss"] is None
    assert facts["epochs"] == facts["best_epoch"] == 3 and facts["temperature"] == 1
    assert facts["pos_weight"] == .5 and model.trust(x).isfinite().all() and not model.training
    one_wrong = torch.arange(200) > 0  # it stays in the training slice
    assert ntf.fit(problem(200, 0)[0], one_wrong, hidden=8, epochs=1)[1]["held_out_rows"] == 0
    g = torch.Generator()  # nor may all of them go into the held-out slice
    assert ntf.hold_out(torch.arange(100) > 1, None, .6, g).sum() == 60
    assert ntf.hold_out(torch.arange(100) > 0, None, .6, g).sum() == 0


def test_decay_is_for_matrices_only():
    model = ntf.TrustFunction(4, blocks=1)
    decayed, rest = ntf.adamw(model, .1, .5).param_groups
    assert decayed["weight_decay"] == .5 and rest["weight_decay"] == 0
    assert {p.ndim for p in decayed["params"]} == {2} and {p.ndim for p in rest["params"]} == {1}
    assert len(decayed["params"]) + len(rest["params"]) == len(list(model.parameters()))


STATES = problem(6, 0)[0]


@pytest.mark.parametrize("call, words", [
    (lambda: ntf.fit(STATES, [1] * 6), "right: the teacher is right on all 6 rows.*label more"),
    (lambda: ntf.fit(STATES, [0] * 6), "right: the teacher is wrong on all 6 rows"),
    (lambda: ntf.fit(STATES, [0, 1, 2, 0, 1, 1]), "right: expected .* 0 and 1"),
    (lambda: ntf.fit(STATES, [0, 1]), "right has 2 rows, states has 6"),
    (lambda: ntf.fit(STATES, [0, 1] * 3, groups=[1]), "groups has 1 rows, states has 6"),
    (lambda: ntf.fit(STATES.where(torch.arange(6)[:, None] != 4, math.nan), [0, 1] * 3),
     "states: row 4 is not finite"),
    (lambda: ntf.fit(STATES.where(torch.arange(6)[:, None] != 2, math.inf), [0, 1] * 3), "row 2"),
    (lambda: ntf.fit(STATES[0], [0, 1]), r"states: expected \(N, D\)"),
    (lambda: ntf.fit(STATES[:0], []), r"states: expected \(N, D\)"),
    (lambda: ntf.fit(STATES, [0, 1] * 3, reweight="no"), "reweight: .* got 'no'"),
    (lambda: ntf.fit(STATES, [0, 1] * 3, calibrate="no"), "calibrate: .* got 'no'"),
    (lambda: ntf.fit(STATES, [0, 1] * 3, lr=1e30), "loss is nan .*smaller lr"),
    (lambda: ntf.TrustFunction(0), "dim: "), (lambda: ntf.TrustFunction(3, drop_path=1), "drop_p"),
    (lambda: ntf.TrustFunction(3).trust(STATES), r"states: expected \(N, 3\)")])
def test_bad_input_is_refused_in_one_line(call, words):
    with pytest.raises(ValueError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


# ---- files ---------------------------------------------------------------------------------------

def test_a_saved_trust_function_comes_back_bit_by_bit(fitted, tmp_path):
    model, facts = fitted
    before = torch.get_rng_state()
    for folder in (tmp_path / "a/b", tmp_path / "c"):
        ntf.save(model, folder, facts)
        assert sorted(p.name for p in folder.iterdir()) == ["ntf.json", "ntf.safetensors"]
    for name in ("ntf.json", "ntf.safetensors"):
        assert (tmp_path / "c" / name).read_bytes() == (tmp_path / "a/b" / name).read_bytes()
    found, x = ntf.load(tmp_path / "c"), problem(300, 5)[0]
    assert torch.equal(found.trust(x), model.trust(x)) and found.config == model.config
    assert not found.training and torch.equal(torch.get_rng_state(), before)
    kept = json.loads((tmp_path / "c/ntf.json").read_text())
    assert kept["facts"] == facts and kept["dim"] == 12 and kept["hidden"] == 16


@pytest.mark.parametrize("name", ["ntf.safetensors", "ntf.json"])
def test_a_failed_write_leaves_nothing_behind(fitted, tmp_path, name):
    with pytest.raises(ValueError):
        ntf.save(fitted[0], tmp_path, {"loss": math.nan})  # no JSON
    assert not list(tmp_path.iterdir())
    (tmp_path / name).mkdir()  # cannot be replaced by a file
    with pytest.raises(OSError):
        ntf.save(fitted[0], tmp_path, {})
    assert {p.name for p in tmp_path.iterdir()} == {name, "ntf.safetensors"}


def damage(what, folder):
    path, weights = folder / "ntf.json", folder / "ntf.safetensors"
    if what == "no config":
        path.unlink()
    elif what == "no weights":
        weights.unlink()
    elif what == "cut":
        weights.write_bytes(weights.read_bytes()[:-9])
    elif what == "not json":
        path.write_text("{")
    elif what == "a list":
        path.write_text("[]")
    elif what == "no dim":
        path.write_text('{"hidden": 3}')
    elif what == "other sizes":
        path.write_text(path.read_text().replace('"dim": 12', '"dim": 13'))
    elif what == "more blocks":
        path.write_text(path.read_text().replace('"blocks": 2', '"blocks": 3'))
    else:
        stored = load_file(weights)
        value = {"nan": torch.full((12,), math.nan), "half": stored["mean"].half()}[what]
        save_file(stored | {"mean": value}, weights)


@pytest.mark.parametrize("what, words", [
    ("no config", "ntf.json: no such file"), ("no weights", "ntf.safetensors: no such file"),
    ("cut", "ntf.safetensors: damaged"), ("not json", "ntf.json: not the sizes"),
    ("a list", "ntf.json: not the sizes"), ("no dim", "ntf.json: not the sizes .*'dim'"),
    ("other sizes", "ntf.safetensors: does not fit ntf.json: mean, "),
    ("more blocks", "ntf.safetensors: does not fit ntf.json: blocks.2.gate_value.weight, "),
    ("nan", "ntf.safetensors: mean is not finite"), ("half", "mean is not finite float32")])
def test_a_missing_or_damaged_file_is_named(fitted, tmp_path, what, words):
    ntf.save(*fitted[:1], tmp_path, fitted[1])
    damage(what, tmp_path)
    with pytest.raises(ValueError, match=words) as error:
        ntf.load(tmp_path)
    assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)
