"""Cosines of gradients, against one backward pass a row and numpy.

    python -m pytest -q tests/trust/test_alignment.py
"""

import numpy as np
import pytest
import torch

from w2s.infer import choice
from w2s.model import checkpoint, configuration
from w2s.trust import alignment

SHAPE = {**configuration.SHAPES["pythia-14m"], "num_hidden_layers": 1, "hidden_size": 16,
         "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 32}
N = 9


def objective(f, batch):
    return choice.objective(f, batch, None, 0)


@pytest.fixture(scope="module")
def labels_and_truth():
    """Columns of N rows with two answers each, of which every third is the same."""
    draw = np.random.default_rng(0)

    def tokens(low, high):
        return draw.integers(2, 32, draw.integers(low, high)).astype(np.int32)
    heads, true = [tokens(2, 9) for _ in range(N)], [tokens(1, 4) for _ in range(N)]
    weak = [true[i] if i % 3 == 0 else tokens(1, 4) for i in range(N)]
    return [{"ids": [np.concatenate(pair) for pair in zip(heads, tails)],
             "start": np.array([len(head) for head in heads])} for tails in (weak, true)]


def alone(model, columns):
    """(N, P) float64: the gradient of each row's loss, by hand: mean -log p of its answer."""
    gradients = []
    for ids, start in zip(columns["ids"], columns["start"]):
        ids = torch.tensor(ids.astype(np.int64))[None]
        logp = model(ids, torch.tensor([ids.shape[1]])).log_softmax(-1)[0]
        loss = -logp[range(start - 1, ids.shape[1] - 1), ids[0, start:]].mean()
        g = torch.autograd.grad(loss, list(model.parameters()))
        gradients.append(torch.cat([x.flatten() for x in g]).double().numpy())
    return np.array(gradients)


@pytest.mark.parametrize("tied", [False, True])
def test_a_cosine_is_with_the_mean_of_the_true_gradients_of_all_other_rows(labels_and_truth, tied,
                                                                           monkeypatch):
    model = checkpoint.untrained(SHAPE | {"tie_word_embeddings": tied}, 0)
    g, t = (alone(model, columns) for columns in labels_and_truth)
    picks, expected = np.array([7, 0, 3, 8, 4]), []
    for i in picks:  # brute force: the mean of the others
        mean = np.mean([t[j] for j in range(N) if j != i], 0)
        expected.append(g[i] @ mean / np.linalg.norm(g[i]) / np.linalg.norm(mean))
    assert np.ptp(expected) > .2
    seen, plain = [], alignment.row_gradients
    monkeypatch.setattr(alignment, "row_gradients", lambda model, objective, batch: seen.append(
        len(batch["ids"])) or plain(model, objective, batch))
    for numbers in (2 * g.shape[1], 10 ** 9):  # two rows at a time, and all
        monkeypatch.setattr(alignment, "NUMBERS", numbers)
        measured = alignment.cosines(model, objective, *labels_and_truth, picks, batch_size=4)
        assert measured.dtype == np.float64 and np.abs(measured - expected).max() < 2e-6
    assert seen == [2, 2, 2, 2, 1, 1, 5, 5]
    assert all(p.grad is None for p in model.parameters())


def test_per_sample_gradients_and_their_sum(labels_and_truth):
    model, (columns, _) = checkpoint.untrained(SHAPE, 1), labels_and_truth
    by_hand = alone(model, columns)
    rows = alignment.row_gradients(model, objective,
                                   alignment.batch_of(columns, np.arange(N), "cpu"))
    assert np.abs(rows.numpy() - by_hand).max() < 1e-6
    for size in (1, 4, 100):
        total = alignment.summed(model, objective, columns, size).numpy()
        assert np.abs(total - by_hand.sum(0)).max() < 1e-5
