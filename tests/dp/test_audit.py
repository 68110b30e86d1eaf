"""Canaries, and the lower bound on epsilon that a run with them gives.

    python -m pytest -q tests/dp/test_audit.py        # W2S_SLOW=1: ten runs of each kind
"""

import os
import random

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.conftest import read_json
from tests.dp.test_sgd import batch, model, of_text, plan, rows_of
from w2s import config, rows, training
from w2s.attacks import audit
from w2s.dp import accountant, canaries
from w2s.dp import private_run
from w2s.dp import sgd as dp

RUNS = 10 if os.environ.get("W2S_SLOW") else 1
TRUE = dp.private_gradient
ROWS, BATCH, EPOCHS = 240, 24, 3


# ---- the bound -----------------------------------------------------------------------------------

@pytest.mark.parametrize("m, r, v, delta, epsilon", [
    (1000, 100, 75, 1e-4, .673),          # arXiv 2305.08846, Appendix D
    (100_000, 1510, 1439, 1e-5, 2.675)])  # and section 7
def test_the_bounds_that_the_paper_prints(m, r, v, delta, epsilon):
    assert audit.epsilon_bound(m, r, v, delta, .05) == pytest.approx(epsilon, abs=1e-3)


def test_the_p_value_without_delta_is_the_binomial_tail():
    draw = np.random.default_rng(0)
    right = draw.binomial(30, 1 / (1 + np.exp(-.7)), 200_000)
    for v in (0, 15, 21, 27):
        assert audit.p_value(500, 30, v, .7, 0) == pytest.approx((right >= v).mean(), abs=4e-3)


def test_a_bound_is_refuted_below_and_not_above_and_grows_with_what_is_right():
    bounds = [audit.epsilon_bound(400, 50, v, 1e-5, .05) for v in range(51)]
    assert bounds == sorted(bounds) and bounds[25] == 0 < bounds[40] < bounds[50]
    for v in (35, 45, 50):
        assert audit.p_value(400, 50, v, bounds[v], 1e-5) < .05
        assert audit.p_value(400, 50, v, bounds[v] + 1e-5, 1e-5) >= .05


def test_the_confidence_is_kept_where_the_theorem_is_tight():
    draw, epsilon = np.random.default_rng(1), 1.0  # randomised response
    right = draw.binomial(200, 1 / (1 + np.exp(-epsilon)), 2000)
    bound = {v: audit.epsilon_bound(200, 200, v, 0, .05) for v in set(right)}
    above = np.mean([bound[v] > epsilon for v in right])
    assert .02 < above < .065


def observed(sigma, steps, q, draw, M=1000, length=1.0, again=False):
    """What a mechanism with noise `sigma` shows of canaries of clipped length `length`."""
    included = draw.random(M) < .5
    noise = draw.normal(size=(1 if again else steps, M)) * sigma
    return included, length * ((draw.random((steps, M)) < q) & included) + noise


@pytest.mark.parametrize("q, steps", [(.1, 30), (.04, 60), (1.0, 1), (1.0, 20)])
def test_the_ideal_mechanism_stays_below_its_epsilon_and_broken_ones_do_not(q, steps):
    draw, sigma = np.random.default_rng(2), accountant.noise_multiplier(1, q, steps, 1e-5, "rdp")
    claim = {"q": q, "sigma": sigma, "delta": 1e-5}

    def bounds(repetitions, sigma=sigma, **how):
        return [audit.lower_bound(*observed(sigma, steps, q, draw, **how), claim, .05)
                ["epsilon_audited"] for _ in range(repetitions)]
    assert max(bounds(40)) < 1
    assert min(bounds(4, sigma / 4)) > 1
    assert min(bounds(4, 0)) > 2 and min(bounds(4, length=1000)) > 2
    if q < .5:
        assert min(bounds(4, again=True)) > 2  # the same noise in every step


def test_the_score_is_the_likelihood_ratio_of_drawn_to_not_drawn():
    """t is sigma, or the spread of what is seen where that is less: the median of -1, 0, .3, .5,
    1.2 and 2 is .4, of the distances from it .6, which is .88956 standard deviations."""
    seen = np.array([[.3, -1, 1.2], [2, 0, .5]])

    def normal(x, mean, t):
        return np.exp(-(x - mean) ** 2 / (2 * t * t))

    for sigma, t in ((.5, .5), (9, .88956)):
        ratio = .8 + .2 * normal(seen, 1, t) / normal(seen, 0, t)
        assert audit.score(seen, .2, sigma) == pytest.approx(np.log(ratio).sum(0), rel=1e-4)


def plain_to_see():
    """(included, seen): 300 canaries are plain to see, and 700 look the wrong way round."""
    included = np.arange(1000) % 2 == 0
    seen = np.where(included, .4, .6)
    seen[:300] = np.where(included[:300], 3, -2)
    return included, seen[None]


def by_hand(p):
    """The surest 250 are guessed right, without a delta the coin's probability to be right, to the
    power of 250. Four bounds are tried, each of which may fail with p / 4."""
    coin = (p / 4) ** (1 / 250)
    return np.log(coin / (1 - coin))


def test_the_confidence_is_shared_by_all_that_is_tried():
    found = audit.lower_bound(*plain_to_see(), {"q": 1.0, "sigma": 1.0, "delta": 0.0}, .05)
    assert (found["guesses"], found["correct"]) == (250, 250)
    assert found["epsilon_audited"] == pytest.approx(by_hand(.05), abs=2e-6)


@pytest.mark.parametrize("more, p", (((), .05), (("--confidence", .99), .01)))
def test_the_bound_of_a_run_has_the_confidence_that_was_asked_for(more, p, tmp_path, capsys):
    included, seen = plain_to_see()
    (tmp_path / "run").mkdir()
    save_file({"included": included, "observed": seen.astype(np.float32)},
              tmp_path / "run" / "canaries.safetensors")
    rows.write_json(tmp_path / "run" / "config.json", {
        "args": {"task": "privacy", "max_length": 9}, "inputs": {},
        "privacy": {"epsilon": 4.0, "q": 1.0, "sigma": 1.0, "delta": 1e-300, "steps": 1,
                    "clip": 1.0, "rows": 9}})
    (tmp_path / "run" / "DONE").touch()
    judge("--run", tmp_path / "run", *more)
    assert value(tmp_path / "run", "epsilon_audited") == pytest.approx(by_hand(p), abs=2e-6)
    assert (by_hand(p) > 4) == ("WARNING: the bound exceeds the claim" in capsys.readouterr().out)


def test_a_guess_needs_more_than_a_coin():
    draw = np.random.default_rng(3)
    for M in (1, 2, 30):
        found = audit.lower_bound(draw.random(M) < .5, draw.normal(size=(4, M)),
                                  {"q": .1, "sigma": 1, "delta": 1e-5}, .05)
        assert found["epsilon_audited"] == 0 and found["guesses"] >= 1


# ---- canaries ------------------------------------------------------------------------------------

class Public:
    """Of a Plan what canaries need."""
    steps, clip, expected_batch = 4, .3, 5

    def seed(self, *parts):
        return 7


def with_canaries(numbers=(-1, 2, -1, 0, 1), **config):
    m, b = model(**config), batch() | {"canary": torch.tensor(numbers)}
    return canaries.Watched(m, canaries.Canaries(3, Public(), 0), Public.clip), b


@pytest.mark.parametrize("method", ("func", "fast"))
def test_a_canary_is_a_coordinate_of_its_own_clipped_to_c(method):
    m, b = with_canaries()
    data = {key: value[b["canary"] < 0] for key, value in b.items()}
    options = Public.clip, 0, Public.expected_batch, torch.Generator()
    found = dp.private_gradient(m, canaries.watched(of_text), b, *options, method=method)
    alone = dp.private_gradient(m.model, of_text, data, *options, method=method)
    assert torch.allclose(found["table.weight"][:, 0], torch.full((3,), .3 / 5), atol=1e-7)
    for name, value in alone.items():
        assert torch.allclose(found[f"model.{name}"], value, atol=1e-6), name
    m.observe(2, found, Public.clip / Public.expected_batch)
    assert "table.weight" not in found
    assert torch.allclose(m.canaries.observed, torch.eye(4)[2][:, None].expand(4, 3), atol=1e-6)


def test_canaries_without_data_and_data_without_canaries_are_batches_too():
    for numbers in ((0, 1, 2, 0, 0), (-1,) * 5):
        m, b = with_canaries(numbers)
        found = [dp.private_gradient(m, canaries.watched(of_text), b, .3, 0, 5, None, method=method)
                 for method in ("func", "fast")]
        for name, value in found[0].items():
            assert torch.allclose(value, found[1][name], atol=1e-6)
        assert (found[0]["table.weight"] > 0).any() == (0 in numbers)


def test_rows_among_canaries_are_drawn_as_often_as_without_them():
    p, steps = plan(40, 8), 400
    them = canaries.Canaries(60, p, 0)
    inside = them.included.nonzero()[:, 0].tolist()
    count = {number: 0 for number in (-1, *inside)}
    for _, b in private_run.batches(them.among(rows_of(40)), steps, 8, 0, private=p):
        for number in b["canary"].tolist():
            count[number] += 1  # no other is among them
    n = steps * 40
    assert abs(count.pop(-1) - .2 * n) < 5 * (.16 * n) ** .5
    for number, times in count.items():
        assert abs(times - .2 * steps) < 5 * (.16 * steps) ** .5, number


def test_which_canaries_are_in_is_as_secret_as_the_noise():
    def included(**changed):
        return canaries.Canaries(200, plan(40, 8, **changed), 0).included.numpy().tobytes()

    assert included() == included() != included(identity="another")
    assert included(noise_seed="system") != included(noise_seed="system")


def test_a_step_notes_its_canaries_in_units_of_c():
    p = plan(10, 4, clip=.5, sigma=1e-9)
    m = canaries.Watched(torch.nn.Linear(2, 1), canaries.Canaries(3, p, 0), p.clip)
    take = private_run.make_step(m, torch.optim.SGD(m.parameters(), .1),
                        canaries.watched(lambda f, b, *_: f(b["x"])[:, 0]), None, 8, p.steps,
                        private=p)
    take(2, {"x": torch.ones(5, 2), "len": torch.full((5,), 2),
             "canary": torch.tensor([-1, 0, -1, 2, -1])})
    assert torch.allclose(m.canaries.observed[2], torch.tensor([1., 0, 1]), atol=1e-4)
    assert not m.canaries.observed[[0, 1, 3]].any()


def test_the_compiled_step_agrees(compiler):
    m, b = with_canaries(layers=1)
    options = canaries.watched(of_text), b, .3, 0, 5, None
    found = [dp.private_gradient(m, *options, method="fast", compile=c) for c in (False, True)]
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], atol=1e-6), name


# ---- runs ----------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def home(world, tmp_path_factory):
    out, draw = tmp_path_factory.mktemp("audit"), random.Random(0)
    rows.write(out / "weak.jsonl", [
        {"id": f"r{i}", "text": "".join(draw.choices("abcdefgh ", k=draw.randint(5, 20)))}
        for i in range(ROWS)])
    return out


def weak(world, home, out, *more, lam=1, count=1000):
    return ["--task", "privacy", "--model", world / "tiny-2x32", "--data", home / "weak.jsonl",
            "--out", out, "--batch-size", BATCH, "--epochs", EPOCHS, "--lam", lam, "--canaries",
            count, "--device", "cpu", "--compile", "off", *more]


def judge(*argv):
    audit.audit(config.parse(audit.Audit, audit.__doc__, [str(a) for a in argv]))


def value(run, metric):
    found = {m["metric"]: m["value"] for m in read_json(run / "attack-audit.json")["metrics"]}
    return found[metric]


def test_a_sound_run_stays_below_its_claim(world, home, call, tmp_path, capsys):
    for seed in range(RUNS):
        run = tmp_path / f"sound{seed}"
        code, out, _ = call("train_weak", *weak(world, home, run, "--seed", seed))
        assert code == 0 and "1000 canaries" in out and "not to release" in out
        found = load_file(run / "canaries.safetensors")
        assert found["observed"].shape == (EPOCHS * ROWS // BATCH, 1000)
        assert 430 < found["included"].sum() < 570
        out = found["observed"][:, ~found["included"]]
        sigma = read_json(run / "config.json")["privacy"]["sigma"]
        assert out.std() == pytest.approx(sigma, rel=.03) and abs(out.mean()) < .1
        assert load_file(run / "model" / "model.safetensors").keys() == load_file(
            world / "tiny-2x32" / "model.safetensors").keys()
        judge("--run", run)
        said = capsys.readouterr().out
        assert "95 % confidence, 1000 canaries" in said and "claimed 1\n" in said
        assert "WARNING" not in said and value(run, "epsilon_audited") <= 1
        assert value(run, "epsilon_claimed") == pytest.approx(1, abs=1e-3)
        assert value(run, "correct") <= value(run, "guesses") <= 1000 == value(run, "n")


def quiet(model, objective, batch, clip, sigma, *more, **options):
    return TRUE(model, objective, batch, clip, sigma / 4, *more, **options)


def unclipped(model, objective, batch, clip, sigma, *more, **options):
    return TRUE(model, objective, batch, 1e9 * clip, sigma / 1e9, *more, **options)


def repeated(model, objective, batch, clip, sigma, B, draw, **options):
    return TRUE(model, objective, batch, clip, sigma, B, dp.noise.Source(3), **options)


@pytest.mark.parametrize("broken", (quiet, unclipped, repeated))
def test_a_broken_mechanism_is_caught(broken, world, home, call, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dp, "private_gradient", broken)
    for seed in range(RUNS):
        run = tmp_path / f"{broken.__name__}{seed}"
        assert call("train_weak", *weak(world, home, run, "--seed", seed))[0] == 0
        judge("--run", run)
        assert value(run, "epsilon_audited") > 1
        assert "the bound exceeds the claim" in capsys.readouterr().out


def test_a_run_is_audited_once_and_damage_is_one_line(world, home, call, tmp_path, capsys):
    run, none = tmp_path / "run", tmp_path / "none"
    assert call("train_weak", *weak(world, home, run, "--sampling", "shuffled", count=40))[0] == 0
    assert call("train_weak", *weak(world, home, none, "--epochs", .1, count=0))[0] == 0
    judge("--run", run)
    assert "nothing claimed" in capsys.readouterr().out
    assert value(run, "epsilon_claimed") is None
    judge("--run", run)
    assert "attacked already" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--confidence"):
        judge("--run", run, "--confidence", .9)
    with pytest.raises(ValueError, match="without canaries"):
        judge("--run", run, none)
    (run / "attack-audit.json").unlink()
    (run / "canaries.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="canaries.safetensors: damaged"):
        judge("--run", run)


@pytest.mark.parametrize("source", ("run", "system"))
def test_a_run_that_goes_on_has_the_same_canaries(source, world, home, call, tmp_path, monkeypatch):
    def train(name):
        return call("train_weak", *weak(world, home, tmp_path / name, "--noise-seed", source,
                                        "--save-every", .2, count=50))
    assert train("whole")[0] == 0
    after = training.TrainingRun.after

    def stopped(self, k, *more):
        after(self, k, *more)
        if k == 20:
            raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingRun, "after", stopped)
        assert train("killed")[0] == 130
    kept = load_file(tmp_path / "killed" / "checkpoint.safetensors")
    code, out, _ = train("killed")
    assert code == 0 and "goes on at step 18" in out
    found = load_file(tmp_path / "killed" / "canaries.safetensors")
    assert (found["included"] == kept["canaries/included"]).all()
    assert (found["observed"][:18] == kept["canaries/observed"][:18]).all()
    assert (found["observed"] != 0).all()
    same = [(tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
            for name in ("canaries.safetensors", "model/model.safetensors")]
    assert same == [source == "run"] * 2


@pytest.mark.parametrize("more, message", [
    (("--lam", 0), "--canaries has no effect with --lam 0"),
    (("--epochs", 0), "--canaries has no effect with --epochs 0"),
    (("--task", "ood"), "--canaries has no effect on --task ood"),
    (("--canaries", -1), "--canaries -1: must be >= 0")])
def test_canaries_without_privacy_are_refused(more, message, world, home, call, tmp_path):
    data = home / "weak.jsonl"
    if "ood" in more:
        data = tmp_path / "ood.jsonl"
        rows.write(data, [{"id": str(i), "text": "warm", "label": 1, "source": "id"}
                          for i in range(4)])
    code, _, err = call("train_weak", *weak(world, home, tmp_path / "run"), "--data", data, *more)
    assert code == 1 and message in err
    assert not (tmp_path / "run").exists()
