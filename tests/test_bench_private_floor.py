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
    factor = torch.rand(3)
    narrow = private_floor.ways(x, g, factor)["factor"]()
    torch.testing.assert_close(narrow, factor[:, None, None] * g)


@pytest.mark.parametrize("fit", [0, 1, 2, 3])
def test_the_rows_that_are_added_up_were_written(fit, monkeypatch):
    monkeypatch.setattr(private_floor, "CACHE", fit * 4 * 3 * 2 * 7)
    x, g, factor = torch.randn(3, 5, 7), torch.randn(3, 5, 2), torch.rand(3)
    own = private_floor.ways(x, g, factor)["own"]
    for _ in range(fit + 3):
        own()
    expected = factor @ torch.einsum("bto,bti->boi", g, x).flatten(1)
    for _ in range(fit + 3):
        torch.testing.assert_close(own()[1], expected)


def test_a_layer_norms_rows_add_up_to_its_gradient():
    torch.manual_seed(0)
    x, g = torch.randn(3, 5, 7), torch.randn(3, 5, 7)
    ways = private_floor.ways_of_norm(x, g)
    of_x, weight, bias = ways["sum"]()
    rows = ways["rows"]()
    torch.testing.assert_close(rows[0].sum(0), weight)
    torch.testing.assert_close(rows[1].sum(0), bias)
    torch.testing.assert_close(ways["input"]()[0], of_x)


def test_every_weight_of_a_pass_counts():
    for head, objective in (("class", dp.of_class), ("lm", dp.of_lm)):
        model = models.model_of("tiny", head, torch.device("cpu"))
        batch = models.batch_of("tiny", head, torch.device("cpu"))
        found = private_floor.layers(model, batch, objective)
        matrices = sum(p.numel() for name, p in model.named_parameters()
                       if p.ndim == 2 and "embed_in" not in name)
        if head == "class":  # of the last block's attention only the last token's query is needed
            assert {(32, 128), (128, 32), (32, 2)} <= found.keys()
        assert sum(key[0] * key[1] * count for key, count in found.items()
                   if len(key) == 2) == matrices
        norms = sum(isinstance(module, torch.nn.LayerNorm) for module in model.modules())
        assert found[32,] == norms > 1


def test_the_floor_is_printed_and_is_no_lower_than_without_privacy(monkeypatch, capsys):
    monkeypatch.setattr(private_floor, "CACHE", 2 ** 16)
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["floor", "--shape", "tiny", "--rounds", "2"])
    try:
        private_floor.main()
    finally:
        torch.set_num_threads(threads)
    *_, products, last = capsys.readouterr().out.splitlines()
    assert products.startswith("products alone: ") and last.startswith("floor: ")
    assert float(last.split()[1]) >= float(products.split()[2]) >= 1
