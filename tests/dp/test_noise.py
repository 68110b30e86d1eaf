"""Noise: keys of which every bit counts, streams apart from each other, numbers that are normal.

    python -m pytest -q tests/dp/test_noise.py
"""

import math
import types

import numpy as np
import pytest
import torch

from tests.dp.test_sgd import plan
from w2s import runs
from w2s.dp import noise
from w2s.dp import private_run

DRAW = noise.key_of("tests of noise")


def above(t):
    """P(z > t) of a standard normal number."""
    return math.erfc(t / math.sqrt(2)) / 2


def added(n, key, std=1.0, divisor=1, dtype=torch.float64):
    """(n,) noise on zeros, as numpy."""
    value = torch.zeros(n, dtype=dtype)
    noise.add([value], std, noise.Source(key), divisor)
    return value.numpy()


def near(count, n, p):
    """Whether a binomial count is within 5 standard deviations (and 4) of its mean."""
    return abs(count - n * p) < 5 * math.sqrt(n * p * (1 - p)) + 4


# ---- the distribution ----------------------------------------------------------------------------

@pytest.fixture(scope="module")
def many():
    return added(2 ** 24, DRAW)


def test_tails_are_as_heavy_as_a_normal_number_s(many):
    for t in (.5, 1, 2, 3, 3.99, 4, 4.01, 5, 6):
        for side in (many, -many):
            assert near(int((side > t).sum()), len(many), above(t)), t


def test_the_whole_distribution_is_the_error_function_s(many):
    x = np.sort(many[:2 ** 22])
    at = np.linspace(0, len(x) - 1, 4000).astype(int)
    cdf = np.array([1 - above(v) for v in x[at]])
    assert np.abs((at + .5) / len(x) - cdf).max() < 1.95 / math.sqrt(len(x))  # 1 in 1,000
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((many ** power).mean() - moment) < 4 * math.sqrt(variance / len(many))


def test_within_and_between_rectangles_there_is_no_step(many):
    """Counts in bins a third as wide as a rectangle, by which a wrong wedge would be seen."""
    edges = np.arange(-3.5, 3.5, noise.WIDTH / 3)
    count = np.histogram(many, edges)[0]
    p = np.diff([1 - above(edge) for edge in edges])
    z = (count - len(many) * p) / np.sqrt(len(many) * p * (1 - p))
    assert np.abs(z).max() < 5 and abs((z ** 2).mean() - 1) < 6 * math.sqrt(2 / len(z))


def test_the_rest_is_the_density_without_the_rectangles():
    slots = noise.tables()[0]
    share, n = np.isnan(slots).mean(), 2 ** 20
    x = noise.rest(n, np.random.default_rng(1))
    edges = np.arange(0, noise.REACH + noise.WIDTH, noise.WIDTH)
    taken = np.histogram(np.abs(slots + noise.WIDTH / 2), edges)[0] / len(slots)  # nan is in no bin
    mass = 2 * (np.array(list(map(above, edges[:-1]))) - list(map(above, edges[1:])))
    p = (mass - taken) / share
    assert (p > 0).all() and p.sum() + 2 * above(noise.REACH) / share == pytest.approx(1)
    count = np.histogram(np.abs(x), edges)[0]
    z = (count - n * p) / np.sqrt(n * p)
    assert np.abs(z).max() < 5 and abs((z ** 2).mean() - 1) < 6 * math.sqrt(2 / len(z))
    assert near(int((np.abs(x) > noise.REACH).sum()), n, 2 * above(noise.REACH) / share)
    assert near(int((x > 0).sum()), n, .5)


def test_the_tail_goes_on_where_float32_methods_end():
    x = noise.tail(10 ** 7, np.random.default_rng(2))
    assert x.min() > noise.REACH
    for t in (4.1, 4.5, 5, 5.5, 5.8, 6, 6.3):
        assert near(int((x > t).sum()), len(x), above(t) / above(noise.REACH)), t


def test_noise_on_values_is_scaled_and_divided_and_rounded_once():
    one = added(5000, 1)
    assert np.allclose(added(5000, 1, 3.0, 4), one * 3 / 4, rtol=1e-12)
    assert np.array_equal(added(5000, 1, dtype=torch.float32), one.astype(np.float32))
    value = torch.linspace(-2, 2, 5000, dtype=torch.float64)
    shifted = value.clone()
    noise.add([shifted], 3.0, noise.Source(1), 4)
    assert np.allclose(shifted, (value.numpy() + 3 * one) / 4, rtol=1e-12)


def test_numbers_do_not_follow_each_other(many):
    x = many[:2 ** 20]
    for lag in (1, 2, noise.CHUNK, 2 ** 19):
        assert abs((x[:-lag] * x[lag:]).mean()) < 5 / math.sqrt(len(x) - lag), lag
    assert len(np.unique(x)) == len(x)


def test_noise_in_slices_as_on_cuda_is_the_same_kind_of_noise(monkeypatch):
    seeds = []

    class Noted(torch.Generator):
        def manual_seed(self, seed):
            seeds.append(seed)
            return super().manual_seed(seed)

    monkeypatch.setattr(torch, "Generator", Noted)
    monkeypatch.setattr(noise, "SLICE", 20_000)
    value = torch.full((200_000,), 3.0, dtype=torch.float64)
    noise._on_device([value[:90_000], value[90_000:]], 2.0, DRAW, 4)
    z, n = (4 * value.numpy() - 3) / 2, len(value)
    assert len(np.unique(z)) == n  # no slice repeats another's
    assert len(set(seeds)) == 11 and max(seeds).bit_length() > 58
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (4, 3, 96)):
        assert abs((z ** power).mean() - moment) < 4 * math.sqrt(variance / n)


# ---- keys and streams ----------------------------------------------------------------------------

def test_every_bit_of_a_key_changes_the_noise():
    key = noise.secret()
    found = {added(3, key ^ 1 << bit).tobytes() for bit in range(128)} | {added(3, key).tobytes()}
    assert len(found) == 129


def test_every_bit_of_a_seed_reaches_the_private_step():
    def moved(seed):
        p, m = plan(10, 2), torch.nn.Linear(3, 2)
        p.seed = types.MethodType(lambda self, *parts: seed, p)
        with torch.no_grad():
            m.weight.zero_()
        take = private_run.make_step(m, torch.optim.SGD(m.parameters(), 1.0), lambda f, b,
                                 *_: f(b["x"]),
                            None, 8, 5, private=p)
        take(0, {"x": torch.zeros(0, 3)})
        return m.weight.detach().numpy().tobytes()

    assert len({moved(1 << 127 | 1 << bit) for bit in range(127)}) == 127


def test_blocks_begin_apart_and_as_sfc64_begins():
    states = []
    for key in (0, 1, 1 << 64):
        for block in (0, 1, 2 ** 40):
            words = noise.stream(key, block).bit_generator.state["state"]["state"]
            assert words[3] == 13  # the counter: one number at first, twelve steps
            states.append(tuple(words))
    assert len(set(states)) == 9
    kept = np.random.SFC64(5)
    kept.state = kept.state | {"state": {"state": np.array([1, 2, 3, 1], np.uint64)}}
    assert len(set(kept.random_raw(20))) == 20


def test_a_number_does_not_depend_on_what_other_blocks_hold(monkeypatch):
    monkeypatch.setattr(noise, "BLOCK", 1000)
    sizes = (600, 400, 2500, 10)  # 600 and 400 | 1000 | 1000 | 500 and 10
    values = [torch.zeros(n) for n in sizes]
    noise.add(values, 1.0, noise.Source(4))
    x = torch.cat(values)
    assert len(x.unique()) == len(x)
    alone = [torch.zeros(n) for n in (600, 400, 1000)]
    noise.add(alone, 1.0, noise.Source(4))
    assert torch.equal(x[:2000], torch.cat(alone))


def test_a_source_moves_on_and_begins_anew():
    source = noise.Source(5)
    one, two = source.next(), source.next()
    assert one != two and noise.Source(5).next() == one
    assert max(one, two).bit_length() > 100


def test_parts_of_a_key_do_not_run_into_each_other():
    parts = (1, 23), (12, 3), (123, "")
    assert len({noise.key_of(*each) for each in parts}) == 3
    assert len({noise.stream(*each).random() for each in parts[:2]}) == 2


def test_a_generator_of_torch_gives_keys_of_its_state_and_of_its_whole_seed():
    draw = torch.Generator().manual_seed(3)
    first, second = noise.next_key(draw), noise.next_key(draw)
    assert first != second and noise.next_key(torch.Generator().manual_seed(3)) == first
    assert noise.next_key(torch.Generator().manual_seed(3 + 2 ** 40)) != first


# ---- runs ----------------------------------------------------------------------------------------

def test_plans_made_by_hand_share_nothing_and_runs_repeat_themselves():
    by_hand = [plan(10, 2, identity="") for _ in range(2)]
    assert by_hand[0].seed(0, "noise", 1) == by_hand[0].seed(0, "noise", 1)
    assert by_hand[0].seed(0, "noise", 1) != by_hand[1].seed(0, "noise", 1)
    one, again, other = (plan(10, 2, identity=name).seed(0, "noise", 1) for name in "aab")
    assert one == again != other
    assert len({plan(10, 2).seed(*parts) for parts in (
        (0, "noise", 1), (0, "noise", 2), (1, "noise", 1), (0, "poisson", 1))}) == 4


def test_a_run_s_identity_changes_with_all_that_a_result_depends_on():
    facts = {"script": "train.py", "inputs": {"a.jsonl": "12", "model": "34"},
             "args": {"lr": .1, "out": "x", "data": "a.jsonl", "save_every": .5}}
    free = {"out", "data", "save_every"}
    true = runs.identity(facts, free)
    same = facts | {"inputs": {"moved.jsonl": "12", "model": "34"},
                    "args": facts["args"] | {"out": "y", "data": "moved.jsonl", "save_every": .1}}
    assert runs.identity(same, free) == true
    for change in ({"script": "other.py"}, {"inputs": {"a.jsonl": "13", "model": "34"}},
                   {"args": facts["args"] | {"lr": .2}}):
        assert runs.identity(facts | change, free) != true


def test_a_secret_is_whole_after_its_travel(monkeypatch):
    sent = []
    assert max(noise.secret() for _ in range(9)).bit_length() > 120
    monkeypatch.setattr(noise.parallel, "world", lambda: 2)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda parts, source: sent.append(
        (parts.clone(), source)))
    found = noise.secret()
    (parts, source), = sent
    assert source == 0 and parts.dtype == torch.int64 and (parts >= 0).all()
    assert found == sum(part << 32 * i for i, part in enumerate(parts.tolist()))
    monkeypatch.setattr(torch.distributed, "broadcast", lambda parts, source: parts.copy_(
        torch.tensor([1, 2, 3, 4])))
    assert noise.secret() == 1 + (2 << 32) + (3 << 64) + (4 << 96)
