"""What a report says of base models.

    python -m pytest -q tests/report/test_bases.py
"""

import json
import math
from types import SimpleNamespace

import pytest

from w2s import rows
from w2s.report import bases

ABOUT = {"parameters": 300_000, "perplexity": 161.25, "steps": 40, "batch_size": 16, "length": 128,
         "tokens_a_pass": 40_960, "curve": [{"step": 19, "loss": 6.5, "perplexity": 300.0},
                                            {"step": 39, "loss": 5.25, "perplexity": 161.25}]}


def studies(folder, **models):
    """A study with a run of each model, trained in `folder`."""
    for name, about in models.items():
        rows.write_json(folder / "models" / name / "pretraining.json", about)
    configs = {(name, 0): SimpleNamespace(config={
        "folder": str(folder), "args": {"model": f"models/{name}"}}) for name in models}
    return [SimpleNamespace(at=lambda name, seed: folder / "runs" / name, runs=configs)]


def test_each_model_has_a_line_and_a_curve_small_to_large(tmp_path):
    known = bases.records(studies(tmp_path, large=ABOUT | {"parameters": 2_000_000}, small=ABOUT))
    assert [*known] == ["small", "large"]
    details, = bases.bases(known, {})
    # 40 steps of 16 windows of 128 tokens: 81,920, twice the 40,960 of a pass
    assert details.blocks[0].body[0] == ["small", "300,000", "81,920", "2", "161.25"]
    (_, _, arguments), = bases.drawings(known).values()
    held, training = arguments[-1][:2]
    assert held["x"] == training["x"] == [20 * 16 * 128 / 1e6, 40 * 16 * 128 / 1e6]
    assert held["mean"] == [math.log(300), math.log(161.25)] and training["mean"] == [6.5, 5.25]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"curve": []}', b'{"curve": [1]}',
                                     b'{"curve": [{"step": 1, "loss": 1, "perplexity": 1}]}',
                                     json.dumps(ABOUT | {"parameters": None}).encode(),
                                     json.dumps(ABOUT | {"curve": []}).encode()])
def test_other_models_are_not_spoken_of(tmp_path, content):
    found = studies(tmp_path, one=ABOUT)
    (tmp_path / "models/one/pretraining.json").write_bytes(content)
    assert bases.records(found) == {} and bases.bases({}, {}) == [] and bases.drawings({}) == {}
    found[0].runs["of the hub", 0] = SimpleNamespace(config={"args": {"model": "org/name"}})
    assert bases.records(found) == {}
