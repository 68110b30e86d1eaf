"""What a step takes at least: `tests.bench.needed`, `python -m tests.bench.step_floor`.

    python -m pytest -q tests/test_bench_needed.py
"""

import sys

import pytest
import torch
import torch.nn.functional as F

from tests.bench import harness, needed, private_floor, step, step_floor


def noted_of(run):
    with needed.Noted() as noted:
        run()
    return noted.calls


def test_equal_calls_are_counted_and_others_apart():
    a, b = torch.ones(4, 5), torch.ones(5, 6)
    calls = noted_of(lambda: [a @ b, a @ b, b.t() @ a.t(), F.gelu(a), a + a, a.clone()])
    assert sorted((name, often) for (name, _), (often, *_) in calls.items()) == [
        ("gelu", 1), ("mm", 1), ("mm", 2)]


def test_what_is_run_again_are_copies_of_the_first_call():
    a = torch.ones(3, 3, requires_grad=True)
    [(often, function, words, named)] = noted_of(lambda: a @ a).values()
    assert often == 1 and all(v.data_ptr() != a.data_ptr() and not v.requires_grad for v in words)
    assert torch.equal(function(*words, **named), a @ a)


def test_a_whole_training_step_is_noted():
    run = step.ours(harness.Setting("tiny"), "class").build()
    run()
    kinds = {needed.KIND[name] for name, _ in noted_of(run)}
    assert kinds == {*needed.NEEDED}


def test_steps_of_other_learning_rates_are_equal_calls():
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    optimizer = torch.optim.AdamW([p], fused=True)

    def steps():
        for lr in (.1, .2, .3):
            optimizer.param_groups[0]["lr"] = lr
            optimizer.step()
    [(often, *_)] = noted_of(steps).values()
    assert often == 3


def test_more_calls_take_more(monkeypatch):
    monkeypatch.setattr(needed, "seconds", lambda run, rounds: (run(), 1.0)[1])
    calls = noted_of(lambda: [torch.ones(2, 2) @ torch.ones(2, 2) for _ in range(25)])
    assert needed.alone(calls, 1) == dict.fromkeys(needed.NEEDED, 0) | {"products": 2.5}


def test_the_floor_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["step_floor", "--shape", "tiny", "--rounds", "2"])
    step_floor.main()
    head, *parts, last = capsys.readouterr().out.splitlines()
    assert "of the ceiling" in head and len(parts) == len(needed.NEEDED)
    assert last.startswith("floor: ") and 0 < float(last.split()[1]) < 1


@pytest.mark.parametrize("floor", [private_floor, step_floor])
@pytest.mark.parametrize("words", [["--rounds", "0"], ["--rounds", "x"], ["--shape", "15m"]])
def test_a_bad_word_is_one_line(floor, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["floor", *words])
    with pytest.raises(SystemExit):
        floor.main()
    assert capsys.readouterr().err.startswith("error: ")
