"""Private training in two processes of torchrun against one.

    python -m pytest -q tests/test_processes.py
"""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from w2s import rows

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def runs(world, tmp_path_factory):
    """The folders of one run, made by one process and by two, and what the two printed."""
    out, draw = tmp_path_factory.mktemp("processes"), random.Random(0)
    words = "the baker met a doctor near mill street and spoke of rain corn prices".split()
    rows.write(out / "weak.jsonl", [
        {"id": f"m{i}", "text": " ".join(draw.choices(words, k=draw.randint(5, 30)))}
        for i in range(40)])
    command = ["train_weak.py", "--task", "privacy", "--model", str(world / "tiny-2x32"),
               "--data", str(out / "weak.jsonl"), "--lam", "8", "--delta", "1e-3", "--lr", "1e-2",
               "--optimizer", "sgd", "--batch-size", "8", "--epochs", "2", "--device", "cpu"]
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, start in (("one", [sys.executable]), ("two", two)):
        done = subprocess.run([*start, *command, "--out", str(out / name)], cwd=ROOT, text=True,
                              capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr
    return out / "one", out / "two", done.stdout


def test_two_processes_train_the_model_of_one(runs, world):
    """Sums are added in another order, so only float32's last digits may differ."""
    one, two, start = (load_file(path / "model.safetensors")
                       for path in (runs[0] / "model", runs[1] / "model", world / "tiny-2x32"))
    moved = max(float((one[key] - start[key]).abs().max()) for key in one)
    apart = max(float((one[key] - two[key]).abs().max()) for key in one)
    assert moved > 1e-3 and apart < 1e-6, (moved, apart)


def test_they_count_and_account_alike_and_one_speaks(runs):
    one, two = ([json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
                for path in runs[:2])
    for a, b in zip(one, two, strict=True):
        assert {k: a[k] for k in ("step", "rows", "clipped", "empty")} == {
            k: b[k] for k in ("step", "rows", "clipped", "empty")}
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
    configs = [json.loads((path / "config.json").read_text())["privacy"] for path in runs[:2]]
    assert configs[0] == configs[1]
    assert runs[2].count("done") == 1 and runs[2].count("Poisson sampling") == 1
