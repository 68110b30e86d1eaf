"""Training only the tokens that occur is the same training.

    python -m pytest -q tests/train/test_embedding_rows.py
"""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from w2s.model import checkpoint, gpt_neox, configuration
from w2s.train import embedding_rows, step

CONFIG = configuration.published(2, 16, 2, vocab=400)


def columns(n=40, seed=0):
    draw = np.random.default_rng(seed)
    tokens = draw.choice(400, 60, replace=False)
    ids = [draw.choice(tokens, draw.integers(2, 12)).astype(np.int32) for _ in range(n)]
    return {"ids": ids, "ids_adv": [row[::-1].copy() for row in ids],
            "target": np.eye(2)[draw.integers(0, 2, n)]}


def model(seed=0):
    m = gpt_neox.GPTNeoX(CONFIG, "class", 2)
    weights = checkpoint.untrained(CONFIG, seed).state_dict()
    del weights["embed_out.weight"]
    m.load_state_dict(weights | {"score.weight": torch.ones(2, 16) * torch.tensor([[.1], [-.1]])})
    return m.double()


def objective(f, batch, ell, lam):
    return ell(f(batch["ids"], batch["len"]), batch) + ell(
        f(batch["ids_adv"], batch["len_adv"]), batch)


def train(m, optimizer, data, start, end, cut=None):
    go = step.make_step(m, optimizer, objective, step.ground_truth, 0, 12)
    data = cut.renumber(data) if cut else data
    return [float(go(k, b)) for k, b in step.batches(data, end, 8, 0, start)]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_same_losses_and_weights_as_with_the_whole_embedding(name):
    data, found = columns(), []
    for cutting in (False, True):
        m = model()
        optimizer = step.OPTIMIZERS[name](m, 1e-2)
        cut = embedding_rows.UsedRows(m.gpt_neox.embed_in, optimizer, data) if cutting else None
        if cut:
            cut.close()
            assert len(m.gpt_neox.embed_in.weight) == len(embedding_rows.occurring(data, 400)) < 70
        losses = train(m, optimizer, data, 0, 6, cut)
        if cut:  # a checkpoint in between holds everything
            cut.open()
            assert {len(v) for v in optimizer.state.get(m.gpt_neox.embed_in.weight, {}).values()
                    if v.ndim} <= {400}
            cut.close()
        losses += train(m, optimizer, data, 6, 12, cut)
        if cut:
            cut.open()
        found.append((losses, m.state_dict(), optimizer.state[m.gpt_neox.embed_in.weight]))
    (plain, weights, state), (losses, same, kept) = found
    assert np.allclose(plain, losses, rtol=1e-12) and plain[0] != plain[-1]
    for key, value in weights.items():
        assert torch.allclose(value, same[key], rtol=0, atol=1e-12), key
    for key in state:
        assert torch.allclose(state[key], kept[key], rtol=0, atol=1e-12), key
    untouched = np.setdiff1d(np.arange(400), embedding_rows.occurring(data, 400))
    assert torch.equal(weights["gpt_neox.embed_in.weight"][untouched],
                       model().gpt_neox.embed_in.weight[untouched])


def test_it_pays_only_where_it_is_exact_and_worth_it(monkeypatch):
    embedding, data = model().gpt_neox.embed_in, columns()
    assert not embedding_rows.pays(embedding, data, 0)  # a small one
    monkeypatch.setattr(embedding_rows, "LEAST", 1)
    assert embedding_rows.pays(embedding, data, 0)
    assert not embedding_rows.pays(embedding, data, .1)  # decay moves every row
    assert not embedding_rows.pays(embedding, {"ids": [np.arange(300)]}, 0)
    embedding.weight.requires_grad_(False)
    assert not embedding_rows.pays(embedding, data, 0)


def test_padding_is_token_0_in_both_numberings():
    data = {"ids": [np.array([7, 9, 7]), np.array([3])]}
    m = model()
    cut = embedding_rows.UsedRows(m.gpt_neox.embed_in, step.adamw(m, 1e-3), data)
    assert cut.used.tolist() == [0, 3, 7, 9]
    assert [ids.tolist() for ids in cut.renumber(data)["ids"]] == [[2, 3, 2], [1]]


def test_a_script_trains_the_same_model_interrupted_or_not(world, fair, tmp_path, call,
                                                           monkeypatch):
    closed, close = [], embedding_rows.UsedRows.close

    def watched(cut):
        close(cut)
        closed.append(len(cut.weight))

    def weights(name, least, stop=None):
        def save(path, k, *rest):
            monkeypatch.undo()
            monkeypatch.setattr(embedding_rows, "LEAST", least)
            step.save_checkpoint(path, k, *rest)
            raise OSError("the disk is full")
        monkeypatch.setattr(embedding_rows, "LEAST", least)
        monkeypatch.setattr(embedding_rows.UsedRows, "close", watched)
        command = ("train_weak", "--task", "fairness", "--model", world / "tiny-2x32", "--data",
                   fair / "weak.jsonl", "--out", tmp_path / name, "--lam", 0, "--epochs", 3,
                   "--lr", "1e-2")
        if stop:
            monkeypatch.setattr(step, "save_checkpoint", save)
            assert call(*command)[0] == 1
        code, out, _ = call(*command)
        assert code == 0 and ("goes on at step" in out) == bool(stop)
        return load_file(tmp_path / name / "model" / "model.safetensors")
    plain = weights("plain", 2 ** 40)
    assert not closed
    cut = weights("cut", 1)
    assert closed and max(closed) < len(plain["gpt_neox.embed_in.weight"]) / 2
    assert all(torch.allclose(plain[key], cut[key], rtol=0, atol=1e-5) for key in plain)
    again = weights("again", 1, stop=True)
    assert all(torch.equal(again[key], cut[key]) for key in cut)
