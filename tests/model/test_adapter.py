"""The folder of LoRA's matrices, put by peft on transformers' base model: the merged folder.

    python -m pytest -q tests/model/test_adapter.py
"""

import json
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load
from torch import nn

import train_weak
from tests.conftest import read_json
from tests.model.test_decoder import FEW, GRID, SHAPE, tokenizer_of
from w2s import rows, runs, training
from w2s.model import adapter, checkpoint, lora

IDS, LENGTHS = torch.arange(4, 28).reshape(2, 12), torch.tensor([12, 12])
AUTO = {"lm": "AutoModelForCausalLM", "class": "AutoModelForSequenceClassification"}
NEOX = {key: value for key, value in SHAPE.items() if key != "num_key_value_heads"}


@pytest.fixture
def hf():
    pytest.importorskip("peft", exc_type=ImportError)
    library = pytest.importorskip("transformers")
    library.logging.disable_progress_bar()
    return library


def trained(base, head, alpha=5):
    """A model of the folder with LoRA of rank 3 whose matrices, and head, are random."""
    model = lora.apply(checkpoint.load(base, head, 3 if head == "class" else None), 3, alpha)
    for p in model.parameters():
        if p.requires_grad:
            nn.init.normal_(p, 0, .2)
    return model


@pytest.mark.parametrize("head", AUTO)
@pytest.mark.parametrize("case", ["gpt_neox", "qwen2", *FEW])
def test_peft_puts_it_on_the_base_model(hf, case, head, tmp_path):
    family, more = GRID.get(case, ("GPTNeoX", {}))
    config = getattr(hf, f"{family}Config")(**(NEOX if case == "gpt_neox" else SHAPE) | more)
    hf.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    model = trained(tmp_path / "base", head)
    files = adapter.contents(model, 5, str(tmp_path / "base"))
    rows.write_together({tmp_path / "adapter" / name: content for name, content in files.items()})
    tokenizer_of().save(str(tmp_path / "tokenizer.json"))
    checkpoint.save(lora.merge(model), tmp_path / "merged", tmp_path / "tokenizer.json")
    theirs = logits(hf, tmp_path, head, num_labels=3)
    with torch.no_grad():
        merged = getattr(hf, AUTO[head]).from_pretrained(tmp_path / "merged").eval()(IDS).logits
        base = getattr(hf, AUTO[head]).from_pretrained(tmp_path / "base", num_labels=3)
        assert (theirs - base.eval()(IDS).logits).abs().max() > .01
        assert (theirs - model(IDS, LENGTHS)).abs().max() < 1e-5 > (theirs - merged).abs().max()


def logits(hf, run, head, **more):
    """Those of peft's model of RUN/adapter, by the base that it names; every tensor has its
    place."""
    import peft
    name = read_json(run / "adapter/adapter_config.json")["base_model_name_or_path"]
    base = getattr(hf, AUTO[head]).from_pretrained(name, **more)
    base.config.pad_token_id = 1
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("error", ".*missing", UserWarning)
        whole = peft.PeftModel.from_pretrained(base, run / "adapter").eval()
        return whole(IDS, attention_mask=torch.ones_like(IDS)).logits


def test_what_stands_in_it():
    m = nn.Module()
    m.kind, m.q_proj, m.v_proj = "lm", nn.Linear(5, 2), nn.Linear(5, 4)
    lora.apply(m, 2, 3)
    files = adapter.contents(m, 3, "org/name", "step3000")
    name = "base_model.model.{}_proj.lora_{}.weight"
    expected = {name.format(x, y): m.get_parameter(f"{x}_proj.{y}.weight")
                for x in "qv" for y in "AB"}
    weights = load(files["adapter_model.safetensors"])
    assert weights.keys() == expected.keys()
    assert all(torch.equal(p, expected[key]) for key, p in weights.items())
    assert json.loads(files["adapter_config.json"]) == {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "org/name",
        "revision": "step3000", "r": 2, "lora_alpha": 3, "lora_dropout": 0, "bias": "none",
        "fan_in_fan_out": False, "inference_mode": True, "target_modules": ["q_proj", "v_proj"],
        "modules_to_save": None}


@pytest.mark.parametrize("model, revision, folder, expected", [
    ("org/name", "step3", "/cache/c0ffee", ("org/name", "step3")),
    ("org/name@step3", None, "/cache/c0ffee", ("org/name", "step3")),
    ("org/name", None, "/cache/c0ffee", ("org/name", None)),
    ("runs/a@b", None, "runs/a@b", ("runs/a@b", None))])
def test_it_names_its_base_as_the_hub_does(model, revision, folder, expected, monkeypatch):
    monkeypatch.setattr(adapter, "contents", lambda model, alpha, *base: {"x": (alpha, base)})
    fit = SimpleNamespace(folder=folder, model=None, run=SimpleNamespace(out=Path("out")),
                          cfg=SimpleNamespace(model=model, revision=revision, lora_rank=4,
                                              lora_alpha=None))
    assert training.TrainingRun._adapter(fit) == {Path("out/adapter/x"): (4, expected)}


def test_a_run_writes_it_or_does_not(hf, world, fair, call, tmp_path):
    """A run of three steps, alpha given; the score head is the run's."""
    command = ("train_weak", "--task", "fairness", "--model", world / "tiny-2x32", "--data",
               fair / "weak.jsonl", "--lr", .03, "--lam", 0, "--epochs", .5, "--lora-rank", 3,
               "--lora-alpha", 5, "--out")
    assert call(*command, tmp_path / "without")[0] == 0
    code, _, err = call(*command, tmp_path / "with", "--save-adapter")
    assert code == 0, err
    one, two = ((tmp_path / run / "model/model.safetensors").read_bytes()
                for run in ("with", "without"))
    assert one == two and not (tmp_path / "without/adapter").exists()
    config = read_json(tmp_path / "with/adapter/adapter_config.json")
    assert (config["task_type"], config["modules_to_save"]) == ("SEQ_CLS", ["score"])
    merged = checkpoint.load(tmp_path / "with/model", "class")
    with torch.no_grad():
        found, expected = logits(hf, tmp_path / "with", "class"), merged(IDS, LENGTHS)
    assert (found - expected).abs().max() < 1e-5 < expected.abs().max()
    code, out, err = call(*command, tmp_path / "without", "--save-adapter")
    assert code == 1 and "--save-adapter the default -> true" in err


def test_runs_from_before_the_flag_are_what_they_were(tmp_path):
    """Nothing of a run's identity, by which its noise is drawn, changes without the flag."""
    (tmp_path / "model").mkdir()
    (tmp_path / "rows").write_text("")
    cfg = train_weak.Config(task="t", model="m", data="d", out="o")
    inputs = {"model": tmp_path / "model", "data": tmp_path / "rows"}
    run = runs.begin(tmp_path / "new", "train_weak.py", cfg, inputs)
    free = {"out", "model", "data", "shard", "recompute", "save_every", "save_adapter"}
    assert run.identity == runs.identity(run.facts, free)
    asked = train_weak.Config(task="t", model="m", data="d", out="o", save_adapter=True)
    assert run.identity != runs.begin(tmp_path / "new", "train_weak.py", asked, inputs).identity


def test_a_gemma_of_pictures_is_refused(world, fair, call, tmp_path):
    """transformers puts a `language_model` into the names of its layers."""
    config = {"model_type": "gemma3", "text_config": {**SHAPE, "vocab_size": 50257}}
    shutil.copytree(world / "tiny-2x32", tmp_path / "base")
    (tmp_path / "base/config.json").write_text(json.dumps(config))
    code, out, err = call("train_weak", "--task", "fairness", "--model", tmp_path / "base",
                          "--data", fair / "weak.jsonl", "--lora-rank", 2, "--save-adapter",
                          "--out", tmp_path / "run")
    assert code == 1 and not (tmp_path / "run").exists() and err.startswith(
        f"error: --save-adapter: {tmp_path / 'base'} reads pictures too, and peft would not find")
