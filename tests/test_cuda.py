"""What the code does on a card: on a pretended one everywhere, on a real one where there is one.

    python -m pytest -q tests/test_cuda.py
"""

import runpy
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import pretend
from tests.conftest import read_json
from w2s import prepare
from w2s.infer import lm
from w2s.model import checkpoint, gpt_neox, configuration
from w2s.tasks import ood, privacy
from w2s.train import step

ROOT = Path(__file__).parent.parent
REAL = torch.cuda.is_available()
TINY = configuration.published(2, 32, 2, 96)
THREE = "--data D/privacy/weak.jsonl D/privacy/wts.jsonl D/privacy/test.jsonl --limit 2"
TRUST = ("train_ntf.py --teacher R/teacher --labelled R/teacher/labels/trust.jsonl "
         "--pool R/teacher/labels/wts.jsonl --out R/")
PATH = f"""
train_weak.py --task fairness --model W/weak --data D/fairness/weak.jsonl --out R/weak
label.py --task fairness --run R/weak --data D/fairness/wts.jsonl --hidden
train_student.py --task fairness --model W/strong --labels R/weak/labels/wts.jsonl --out R/aux
evaluate.py --task fairness --run R/weak R/aux --data D/fairness/test.jsonl
train_weak.py --task ood --model W/weak --data D/ood/weak.jsonl --out R/noisy
attacks.py text --task ood --run R/noisy --data D/ood/test.jsonl --limit 12
train_weak.py --task privacy --model W/weak --data D/privacy/weak.jsonl --out R/private
label.py --task privacy --run R/private --data D/privacy/wts.jsonl
train_student.py --task privacy --model W/strong --labels R/private/labels/wts.jsonl --out R/both
attacks.py extraction --task privacy --run R/both {THREE}
attacks.py membership --task privacy --run R/both {THREE}
evaluate.py --task privacy --run R/both --data D/privacy/test.jsonl
train_weak.py --task mcqa --model W/weak --data D/mcqa/weak.jsonl --out R/teacher
label.py --task mcqa --run R/teacher --data D/mcqa/wts.jsonl D/mcqa/trust.jsonl --hidden
{TRUST}ntf
{TRUST}icl --select icl-confidence
{TRUST}reward --select reward
train_student.py --task mcqa --model W/strong --labels R/ntf/labels/wts.jsonl --out R/lora\
  --lora-rank 2
train_weak.py --task game --model W/weak --data D/game/weak.jsonl --out R/player
label.py --task game --run R/player --data D/game/wts.jsonl --hidden
train_student.py --task game --model W/strong --labels R/player/labels/wts.jsonl --out R/grpo\
  --objective grpo
evaluate.py --task game --run R/player R/grpo --data D/game/test.jsonl
"""  # W the world, D its rows, R runs
GEMMA = """
train_weak.py --task privacy --model W/gemma --data D/privacy/weak.jsonl --out R/private
train_weak.py --task mcqa --model W/gemma --data D/mcqa/weak.jsonl --out R/teacher
label.py --task mcqa --run R/teacher --data D/mcqa/wts.jsonl --hidden
train_student.py --task mcqa --model W/gemma --labels R/teacher/labels/wts.jsonl --out R/lora\
  --lora-rank 2
train_weak.py --task game --model W/gemma --data D/game/weak.jsonl --out R/player
label.py --task game --run R/player --data D/game/wts.jsonl --hidden
train_student.py --task game --model W/gemma --labels R/player/labels/wts.jsonl --out R/grpo\
  --objective grpo
"""


@pytest.fixture(params=["pretended", pytest.param("real", marks=pytest.mark.skipif(
    not REAL, reason="needs a CUDA device"))])
def card(request, monkeypatch):
    """What to enter for a card to be there."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield pretend.pretend(monkeypatch) if request.param == "pretended" else nullcontext()
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def data(world):
    """Folder with the rows of five tasks."""
    for task in ("fairness", "ood", "privacy", "mcqa", "game"):
        prepare.data(prepare.Data(task, str(world / "card" / task), str(world / "raw"), limit=24))
    return world / "card"


def walk(lines, folders, tmp_path, monkeypatch, more=("--dtype", "bfloat16"), place="cuda"):
    """Run the scripts of PATH or GEMMA; folders {W/weak: path}; more: flags of training."""
    for line in lines.strip().splitlines():
        for short, path in {**folders, "R/": f"{tmp_path}/"}.items():
            line = line.replace(short, str(path))
        script, *rest = line.split()
        if script.startswith("train_") and script != "train_ntf.py":
            rest += ["--epochs", "1", "--max-length", "100", *more]
        if script != "train_ntf.py" or "reward" in line and place == "mps":
            rest += ["--device", place]
        monkeypatch.setattr(sys, "argv", [script, *rest])
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as end:
            assert not end.code, line


def test_every_script_runs_on_a_card(card, world, data, tmp_path, monkeypatch):
    with card:
        walk(PATH, {"W/weak": world / "tiny-2x32", "W/strong": world / "tiny-3x64",
                    "D/": f"{data}/"}, tmp_path, monkeypatch)
    assert read_json(tmp_path / "aux" / "eval.json")["test"]


def test_every_script_runs_on_apples_gpu(world, data, tmp_path, monkeypatch):
    """float64, pinned memory or CUDA would be an error on it."""
    lines = "\n".join(f"{line} --lam 0" if "train_" in line and "privacy" in line else line
                      for line in PATH.strip().splitlines())
    with pretend.pretend(monkeypatch, "mps"):
        walk(lines, {"W/weak": world / "tiny-2x32", "W/strong": world / "tiny-3x64",
                     "D/": f"{data}/"}, tmp_path, monkeypatch, (), "mps")
        with pytest.raises(TypeError, match="float64"):
            torch.zeros(2, dtype=torch.float64).to("mps")
        with pytest.raises(RuntimeError, match="no such device here"):
            torch.zeros(2).to("cuda")
    assert read_json(tmp_path / "aux" / "eval.json")["test"]
    assert read_json(tmp_path / "grpo" / "eval.json")["test"]


def test_private_training_is_refused_on_apples_gpu(world, data, call, tmp_path, monkeypatch):
    words = ("train_weak", "--task", "privacy", "--model", world / "tiny-2x32", "--data",
             data / "privacy" / "weak.jsonl", "--out", tmp_path / "run", "--epochs", 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    code, _, err = call(*words, "--device", "mps", "--lam", 8)
    assert code == 1 and not (tmp_path / "run" / "model").exists() and err == (
        "error: --device mps: private training needs float64 for its noise, which Apple's GPU does "
        "not have; use cpu\n")


def test_a_gemma_runs_on_a_card(card, world, data, tmp_path, monkeypatch):
    """Its windows, with a mask, by the fused kernel."""
    config = {"model_type": "gemma3_text", "vocab_size": 512, "hidden_size": 32, "head_dim": 8,
              "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2, "sliding_window": 4, "sliding_window_pattern": 2,
              "max_position_embeddings": 256}
    checkpoint.save(checkpoint.untrained(config, 0), tmp_path / "gemma", world / "tokenizer.json")
    with card:
        walk(GEMMA, {"W/gemma": tmp_path / "gemma", "D/": f"{data}/"}, tmp_path, monkeypatch)
    assert (tmp_path / "grpo" / "DONE").exists()


def train(device, head, compile=False, dtype="float32", stop=None, folder=None):
    """Losses of nine steps and the model; a run that stopped goes on from its checkpoint."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(2, 150, 72)
    columns = {"ids": [draw.integers(1, 96, n).astype(np.int32) for n in lengths]}
    if head == "class":
        columns["target"] = np.eye(2, dtype=np.float32)[draw.integers(0, 2, 72)]
    else:
        columns["start"] = np.ones(72, np.int64)
    model = gpt_neox.GPTNeoX(TINY, head)
    draw = torch.Generator().manual_seed(0)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=.2, generator=draw)
    model.to(device)
    optimizer = step.adamw(model, 1e-3)
    objective = {"class": ood.objective, "lm": privacy.objective}[head]
    go = step.make_step(model, optimizer, objective, step.ground_truth, 0, 9, dtype=dtype,
                        compile=compile)
    path, found = folder and folder / "checkpoint.safetensors", []
    start = step.load_checkpoint(path, model, optimizer) if path else 0
    for k in range(start, 9):
        if k == stop:
            step.save_checkpoint(path, k, model, optimizer)
            return found, model
        batch = step.collate(columns, np.arange(8 * k, 8 * k + 8), device)
        found.append(go(k, lm.masked(batch) if head == "lm" else batch))
    return [loss.item() for loss in found], model


def test_a_batch_gathered_on_a_card_is_the_one_that_collate_makes(card, monkeypatch):
    draw = np.random.default_rng(0)
    columns = {"ids": [draw.integers(1, 9, n).astype(np.int32) for n in draw.integers(1, 90, 20)],
               "ids_b": [draw.integers(1, 9, n).astype(np.uint16) for n in range(1, 21)],
               "target": draw.random((20, 2), np.float32), "start": np.arange(20)}
    with card:
        held = step.collator(columns, torch.device("cuda"))
        assert isinstance(held.__self__, step.Held)
        for pick in np.array([3]), np.array([19, 0, 7, 7]), np.arange(20), np.array([], np.int64):
            expected, found = step.collate(columns, pick, "cuda"), held(pick)
            assert expected.keys() == found.keys() and not found["rows"].is_cuda
            for key, value in found.items():
                assert value.device == expected[key].device and value.dtype == expected[key].dtype
                assert torch.equal(value, expected[key])
        monkeypatch.setattr(step, "HELD", 0)
        large = step.collator(columns, torch.device("cuda"))(np.arange(20))
        assert all(torch.equal(large[key], found) for key, found in held(np.arange(20)).items())


@pytest.mark.parametrize("head", ["class", "lm"])
def test_training_on_a_card_equals_training_on_the_cpu(card, head):
    expected, there = train("cpu", head)
    with card:
        found, model = train("cuda", head)
        weights = {name: p.cpu() for name, p in model.state_dict().items()}
    assert found == pytest.approx(expected, rel=1e-4)
    assert all(torch.allclose(p, weights[name], atol=1e-4) for name, p in
               there.state_dict().items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("head", ["class", "lm"])
def test_a_step_in_a_graph_equals_the_plain_one(card, head, dtype):
    """Lengths of three widths, so three graphs; no loss may be lost when the next one is made."""
    with card:
        (plain, _), (found, _) = (train("cuda", head, compile, dtype) for compile in (False, True))
    assert found == pytest.approx(plain, rel=1e-4 if dtype == "float32" else 2e-2)


def test_a_run_goes_on_from_a_checkpoint_on_a_card(card, tmp_path):
    with card:
        whole, model = train("cuda", "class")
        train("cuda", "class", stop=4, folder=tmp_path)
        rest, again = train("cuda", "class", folder=tmp_path)
        assert rest == pytest.approx(whole[4:], rel=1e-5)
        assert all(p.device.type == "cuda" for p in again.parameters())


def test_a_pretended_card_refuses_what_a_card_refuses(monkeypatch):
    card = pretend.pretend(monkeypatch)
    with card:
        there, here = torch.ones(3, 2, device="cuda"), torch.ones(3, 2)
        assert there.device.type == "cuda" and there[0].is_cuda and not here.is_cuda
        assert (there + 1).sum(0).device.type == "cuda" == there.new_zeros(2).device.type
        assert there.to("cpu").device.type == "cpu" == (there.cpu() + here).device.type
        assert (there * torch.tensor(2.)).is_cuda and there[torch.tensor([0, 2])].is_cuda
        layer = torch.nn.Linear(2, 2).to("cuda")
        layer(there).sum().backward()
        assert layer.weight.is_cuda and layer.weight.grad.is_cuda
        for wrong in (lambda: there + here, lambda: layer(here), lambda: there.numpy(),
                      lambda: there + torch.from_numpy(np.ones((3, 2), np.float32)),
                      lambda: here[torch.zeros(1, dtype=torch.long, device="cuda")],
                      lambda: torch.cat([there, here]), lambda: there.pin_memory(),
                      lambda: torch.randn(2, device="cuda", generator=torch.Generator()),
                      lambda: here + there.sum(), lambda: there.__setitem__(0, here[0])):
            with pytest.raises((RuntimeError, TypeError)):
                wrong()
        run = torch.compile(lambda x: x + 1, mode="reduce-overhead")
        first = run(there)
        assert run(there).isfinite().all() and first.isnan().all()
