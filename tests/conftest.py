"""Shared fixtures: a small invented world on disk, made once, and a way to call a script."""

import functools
import importlib
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import smoke_data
from w2s import config, rows

os.environ.pop("PYTHONUNBUFFERED", None)  # of containers; a user's commands hold their output


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small models gain nothing from threads, and waiting for one another they lose a lot."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    """A test draws the same numbers alone, in any order and beside others."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.fixture(params=["traced", pytest.param("compiled", marks=pytest.mark.slow)])
def compiler(request, monkeypatch):
    """torch.compile, or as much of it as takes seconds: graphs are made and run in eager mode."""
    if request.param == "traced":
        monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    yield
    torch.compiler.reset()


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Folder with raw/, tokenizer.json and the untrained models tiny-2x32/ and tiny-3x64/."""
    out = tmp_path_factory.mktemp("world")
    smoke_data.main(smoke_data.Config(out=str(out), rows=60))
    return out


@pytest.fixture(scope="session")
def fair(world):
    """Folder of fairness rows (weak, wts and test.jsonl): income follows a word and the sex."""
    folder = world / "fair"
    draw = random.Random(0)
    for first, (split, n) in enumerate({"weak": 160, "wts": 120, "test": 80}.items()):
        found = []
        for i in range(n):
            a, rich = draw.randint(0, 1), draw.random() < .5
            found.append({"id": f"r{1000 * first + i}", "group": f"g{i}", "split": split, "a": a,
                          "label": int(rich if draw.random() < .9 else a), "text":
                          f"sex {'Male' if a else 'Female'} hours {draw.randint(10, 60)} "
                          f"{'warm' if rich else 'dull'} garden"})
        rows.write(folder / f"{split}.jsonl", found)
    return folder


@pytest.fixture
def call(capsys):
    """call("train_weak", "--task", "ood", ...) -> (exit code, stdout, stderr), in this process."""
    def call(script, *argv):
        module = importlib.import_module(script)
        code = 0
        try:
            config.launch(module.main, module.Config, module.__doc__, [str(a) for a in argv])
        except SystemExit as exit:
            code = exit.code or 0
        return (code, *capsys.readouterr())
    return call


def read_json(path):
    return json.loads(Path(path).read_text())
