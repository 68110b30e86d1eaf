"""How hard rows are, the easy-first order, and train_student.py --order easy.

    python -m pytest -q tests/train/test_difficulty.py
"""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.conftest import read_json
from tests.train.test_step import Bag, columns
from w2s import rows, runs, training
from w2s.model import checkpoint, tokenization
from w2s.tasks import mcqa
from w2s.train import difficulty, step


def objective(f, batch, ell, lam):
    assert lam == 0
    return ell(f(batch["ids"], batch["len"]), batch)


BAGS = SimpleNamespace(batches=step.batches, objective=objective)


def test_the_loss_of_each_row_is_that_of_the_row_alone():
    data, model = columns(30), Bag()
    losses = difficulty.row_losses(model, BAGS, data, 7, folder="m")
    assert losses.dtype == np.float64
    for ids, target, loss in zip(data["ids"], data["target"], losses):
        z = model.embed.weight.detach().double().numpy()[ids].mean(0)
        expected = math.log(np.exp(z).sum()) - z[target.argmax()]
        assert loss == pytest.approx(expected, abs=1e-6)
    assert len(set(losses.round(6))) > 25 and model.embed.weight.grad is None


def test_a_loss_that_is_not_finite_is_named():
    data, model = columns(9), Bag()
    model.embed.weight.data[data["ids"][4][0]] = math.nan
    bad = 1 + next(i for i, ids in enumerate(data["ids"]) if data["ids"][4][0] in ids)
    message = f"^m: the untuned model's loss of row {bad} is not finite"
    with pytest.raises(ValueError, match=message):
        difficulty.row_losses(model, BAGS, data, 4, folder="m")


def test_easy_rows_come_first_and_equals_in_the_order_of_the_file():
    assert difficulty.easy_first(np.array([3., 1, 2, 1, .5])).tolist() == [4, 1, 3, 2, 0]


def test_a_first_epoch_has_the_order_that_is_given_and_later_ones_stay_as_they_are():
    data, first = columns(10), np.array([9, 3, 1, 0, 2, 4, 5, 6, 8, 7])
    usual, given = ([batch["rows"].tolist() for _, batch in step.batches(data, 7, 4, 0, **more)]
                    for more in ({}, {"first": first}))
    assert given[:3] == [[9, 3, 1, 0], [2, 4, 5, 6], [8, 7]]  # by hand; the last one has two
    assert given[3:] == usual[3:] and usual[:3] != given[:3]
    rest = [batch["rows"].tolist() for _, batch in step.batches(data, 7, 4, 0, 2, first=first)]
    assert rest == given[2:]


# ---- the script ----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Weak labels of 20 questions, made by hand."""
    path = tmp_path_factory.mktemp("labels") / "wts.jsonl"
    draw = np.random.default_rng(0)
    words = "warm bright dull stale noisy grim harbour orchard kettle".split()
    rows.write(path, [{
        "id": f"q{i}", "text": f"number {i} ?", "choices": draw.choice(words, 3, False).tolist(),
        "label": 0, "weak": np.eye(3)[draw.integers(3)].tolist()} for i in range(20)])
    return path


def student(world, labels, out, *more):
    return ("train_student", "--task", "mcqa", "--model", world / "tiny-2x32", "--labels", labels,
            "--out", out, "--max-length", 48, "--batch-size", 4, "--epochs", 3, "--lr", 1e-3, *more)


@pytest.fixture
def seen(monkeypatch):
    """[positions of the rows of each batch] that runs train on."""
    seen, plain = [], training.TrainingRun.batches

    def batches(self):
        for k, batch in plain(self):
            seen.append(batch["rows"].tolist())
            yield k, batch
    monkeypatch.setattr(training.TrainingRun, "batches", batches)
    return seen


def test_an_easy_first_student_meets_the_likeliest_labels_first(world, labels, tmp_path, call,
                                                                seen):
    """Against each label's mean log-probability by the untuned model, one row at a time."""
    model = checkpoint.load(world / "tiny-2x32", "lm")
    tokenizer, losses = tokenization.load_tokenizer(world / "tiny-2x32"), []
    for row in rows.read(labels):
        tail = tokenizer.encode(mcqa.options(row)[int(np.argmax(row["weak"]))],
                                add_special_tokens=False).ids
        ids = tokenizer.encode(mcqa.prompt(row), add_special_tokens=False).ids + tail
        with torch.no_grad():
            logp = model(torch.tensor([ids]), torch.tensor([len(ids)])).log_softmax(-1)[0]
        losses.append(-float(logp[range(len(ids) - len(tail) - 1, len(ids) - 1), tail].mean()))
    assert call(*student(world, labels, tmp_path / "easy", "--order", "easy"))[0] == 0
    assert sum(seen[:5], []) == np.argsort(losses).tolist() and len(seen) == 15
    later = seen[5:]
    seen.clear()
    assert call(*student(world, labels, tmp_path / "usual"))[0] == 0
    assert seen[5:] == later and sorted(sum(seen[:5], [])) == list(range(20))
    first, usual = (read_json(tmp_path / name / "config.json") for name in ("easy", "usual"))
    assert (first["args"]["order"], usual["args"]["order"]) == ("easy", None)
    weights = [(tmp_path / name / "model/model.safetensors").read_bytes()
               for name in ("easy", "usual")]
    assert weights[0] != weights[1]


@pytest.mark.parametrize("stop", [2, 8])
def test_an_easy_first_student_that_was_stopped_ends_with_the_same_bytes(world, labels, tmp_path,
                                                                         call, stop, monkeypatch):
    """Stopped in the first epoch and behind it."""
    more = "--order", "easy", "--save-every", .1, "--lr", .05  # so that what is easy soon changes
    assert call(*student(world, labels, tmp_path / "whole", *more))[0] == 0
    plain = training.TrainingRun.after

    def after(self, k, loss, **extra):
        plain(self, k, loss, **extra)
        if k == stop:
            raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingRun, "after", after)
        assert call(*student(world, labels, tmp_path / "cut", *more))[0] == 130
    code, out, _ = call(*student(world, labels, tmp_path / "cut", *more))
    assert code == 0 and f"goes on at step {stop + 1}" in out
    whole, cut = ((tmp_path / name / "model/model.safetensors").read_bytes()
                  for name in ("whole", "cut"))
    assert whole == cut


@pytest.mark.parametrize("task, more, words", [
    ("arithmetic", ("--objective", "grpo"), "--order easy: not with --objective grpo, whose"),
    ("privacy", ("--lam", 8), "--order easy: not with DP, whose rows are drawn anew"),
    ("arithmetic", ("--epochs", .5), "--order easy: --epochs 0.5 is less than a pass, and would"),
    ("arithmetic", ("--epochs", 0), "--order easy: --epochs 0 is less than a pass"),
    ("fairness", (), "--order easy: .*tiny-2x32 has no class head yet, so no row is easier")])
def test_where_there_is_no_easy_row_the_order_is_refused(task, more, words, world, tmp_path, call):
    row = {"id": "a", "text": "warm harbour " * 30, "label": "3", "weak_text": " 3",
           "weak_from": 0} if task != "fairness" else {
        "id": "a", "text": "warm", "label": 1, "a": 0, "weak": [.5, .5]}
    rows.write(tmp_path / "labels.jsonl", [row])
    code, _, err = call("train_student", "--task", task, "--model", world / "tiny-2x32", "--labels",
                        tmp_path / "labels.jsonl", "--out", tmp_path / "run", "--order", "easy",
                        *more)
    assert code == 1 and not (tmp_path / "run").exists()
    assert re.search(words, err) and err.count("\n") == 1


def test_a_student_of_classes_with_a_trained_head_and_one_of_mail_may_be_easy_first(
        world, fair, tmp_path, call, seen):
    """Classes: against the teacher's own probabilities of its labels, which order them."""
    at = "--max-length", 16, "--batch-size", 8
    assert call("train_weak", "--task", "fairness", "--model", world / "tiny-2x32", "--data",
                fair / "weak.jsonl", "--out", tmp_path / "weak", "--lam", 0, "--lr", 1e-2, *at)[0] \
        == 0
    data = [row | {"weak": [float(row["label"] == k) for k in (0, 1)]}
            for row in rows.read(fair / "wts.jsonl")[:40]]
    rows.write(tmp_path / "labels.jsonl", data)
    assert call("label", "--task", "fairness", "--run", tmp_path / "weak", "--data",
                fair / "wts.jsonl")[0] == 0
    p = [row["weak"][row["label"]]
         for row in rows.read(tmp_path / "weak/labels/wts.jsonl")[:40]]
    seen.clear()
    code, _, err = call("train_student", "--task", "fairness", "--model", tmp_path / "weak/model",
                        "--labels", tmp_path / "labels.jsonl", "--out", tmp_path / "run",
                        "--order", "easy", "--lam", 0, *at)
    assert code == 0, err
    assert [p[i] for i in sum(seen[:5], [])] == pytest.approx(sorted(p, reverse=True), abs=1e-5)
    seen.clear()
    mails = [{"id": f"m{i}", "text": "warm harbour", "weak_text": " and dull" * (i + 1),
              "weak_from": 4} for i in range(6)]
    rows.write(tmp_path / "mails.jsonl", mails)
    code, _, err = call("train_student", "--task", "privacy", "--model", world / "tiny-2x32",
                        "--labels", tmp_path / "mails.jsonl", "--out", tmp_path / "mail", "--lam",
                        0, "--order", "easy", "--epochs", 1, *at)
    assert code == 0 and sorted(seen[0]) == list(range(6)) and seen[0] != list(range(6)), err


def test_a_run_without_a_flag_that_came_later_is_what_it_was(tmp_path):
    """Its identity, from which private noise follows, is that without the flag."""
    import train_student
    identity = {}
    for order in (None, "easy"):
        cfg = train_student.Config(task="privacy", model="m", labels="l", out="o", order=order)
        run = runs.begin(tmp_path / "run", "train_student.py", cfg, {})
        before = run.facts | {"args": {key: value for key, value in run.facts["args"].items()
                                       if key not in ("order", "save_adapter")}}
        identity[order] = run.identity, runs.identity(before, {
            "out", "shard", "recompute", "save_every"})
    assert identity[None][0] == identity[None][1] == identity["easy"][1] != identity["easy"][0]
