"""`python -m tests.bench.private_floor`: what clipping row by row costs at least.

    python -m pytest -q tests/test_bench_private_floor.py
"""

import sys

import pytest
import torch

from tests.bench import dp, models, private_floor


def test_both_ways_give_the_norms_of_the_rows_gradients():
    torch.manual_seed(0)
    x, g = torch.randn(3, 5, 7), torch.randn(3, 5, 2)
    rows = torch.einsum("bto,bti->boi", g, x)
    ways = private_floor.ways(x, g, torch.rand(3))
    torch.testing.assert_close(ways["Gram"](), rows.square().sum((1, 2)))
    torch.testing.assert_close(ways["own"]()[0], rows.square().sum((1, 2)))
    torch.testing.assert_close(ways["sum"](), rows.sum(0))


def test_every_weight_of_a_pass_counts():
    for head, objective in (("class", dp.of_class), ("lm", dp.of_lm)):
        model = models.model_of("tiny", head, torch.device("cpu"))
        batch = models.batch_of("tiny", head, torch.device("cpu"))
        found = private_floor.layers(model, batch, objective)
        matrices = sum(p.numel() for name, p in model.named_parameters()
                       if p.ndim == 2 and "embed_in" not in name)
        if head == "class":  # of the last block's attention only the last token's query is needed
            assert {(32, 128), (128, 32), (32, 2)} <= found.keys()
        assert sum(i * o * count for (i, o), count in found.items()) == matrices


def test_the_floor_is_printed_and_is_no_lower_than_without_privacy(monkeypatch, capsys):
    monkeypatch.setattr(private_floor, "CACHE", 2 ** 16)
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["floor", "--shape", "tiny", "--rounds", "2"])
    try:
        private_floor.main()
    finally:
        torch.set_num_threads(threads)
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("floor: ") and float(last.split()[1]) >= 1


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--rounds", "x"], ["--shape", "15m"]])
def test_a_bad_word_is_one_line(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["floor", *words])
    with pytest.raises(SystemExit):
        private_floor.main()
    assert capsys.readouterr().err.startswith("error: ")
