"""Numbers without an upper end: every integer flag of every command and the sizes in a config.json
are bounded, or checked against the weights, before anything is allocated.

    python -m pytest -q tests/test_numbers.py
"""

import dataclasses
import importlib
import json
import shutil
import time
import typing

import pytest
import torch

import attacks
from w2s import config, experiment, prepare
from w2s.miniature import __main__ as miniature
from w2s.model import checkpoint, lora, configuration

COMMANDS = {
    **{name: importlib.import_module(name).Config for name in (
        "train_weak", "train_student", "train_ntf", "label", "evaluate", "w2s.report")},
    "run_all.sh": experiment.Config,
    **{f"attacks {name}": attacks.command(name)[1] for name in attacks.NAMES},
    **{f"prepare {name}": found[1] for name, found in prepare.COMMANDS.items()},
    **{f"miniature {name}": found[1] for name, found in miniature.COMMANDS.items()}}
# Flags that take 10^9, and why nothing is allocated for it
WISHES = {"seed": "a name", "unseen_start": "a place: no email has it", "start": "the same",
          "prefix": "no more than --max-length", "suffix": "the same", "seen": "the same",
          "curve": "the same", "epochs": "passes, which stop early", "patience": "passes",
          "updates": "steps", "steps": "steps", "warmup": "steps, a tenth of all at most",
          "batch_size": "no more than there are rows",
          "budget": "the same", "limit": "the same", "emails": "the same",
          "per_source": "the same", "shots": "the same", "sequence_length": "the same of pieces",
          "max_length": "no more than a text has", "new_tokens": "the model's positions at most",
          **dict.fromkeys(("layers", "hidden", "heads", "intermediate", "vocab", "max_positions"),
                          "pythia.check bounds it")}


def integers():
    """(command, flag, field) of every integer flag."""
    for command, Config in COMMANDS.items():
        hints = typing.get_type_hints(Config)
        for field in dataclasses.fields(Config):
            if int in (hints[field.name], *typing.get_args(hints[field.name])):
                yield command, "--" + field.name.replace("_", "-"), field


def required(Config):
    """Words for the flags that must be given."""
    missing, hints = dataclasses.MISSING, typing.get_type_hints(Config)
    return [word for field in dataclasses.fields(Config)
            if field.default is missing and field.default_factory is missing
            for word in ("--" + field.name.replace("_", "-"),
                         ".5" if hints[field.name] is float else "x")]


@pytest.mark.parametrize("number", [10 ** 18, 10 ** 30, int("9" * 4000)])
def test_no_integer_is_without_an_end(number):
    known = list(integers())
    assert len({command for command, *_ in known}) >= 14 and len(known) > 70
    for command, flag, field in known:
        if field.metadata["choices"]:
            continue
        Config = COMMANDS[command]
        with pytest.raises(ValueError) as error:
            config.parse(Config, "", [*required(Config), flag, str(number)])
        assert str(error.value).startswith(f"{flag} ") and len(str(error.value)) < 100


def test_a_thousand_million_is_refused_or_takes_no_memory():
    accepted = {field.name for _, _, field in integers() if not field.metadata["choices"]
                and (field.metadata["high"] or config.MOST) >= 10 ** 9}
    assert accepted <= WISHES.keys() | {"split_seed", "town"}, accepted - WISHES.keys()


@pytest.mark.parametrize("Config, flag", [(COMMANDS["train_weak"], "--epochs"),
                                          (COMMANDS["run_all.sh"], "--epochs"),
                                          (COMMANDS["train_ntf"], "--reward-epochs")])
def test_passes_have_an_end(Config, flag):
    with pytest.raises(ValueError, match="must be <="):
        config.parse(Config, "", [*required(Config), flag, "1e18"])


SIZES = (*configuration.SIZES, "max_position_embeddings")


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("number", [10 ** 9, 10 ** 30, "most"])
def test_sizes_in_a_config_are_bounded_or_those_of_the_weights(key, number, world, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(world / "tiny-2x32", folder)
    content = json.loads((folder / "config.json").read_text())
    most = configuration.MOST.get(key, 2 ** 20)
    content[key] = most if number == "most" else number
    (folder / "config.json").write_text(json.dumps(content))
    began = time.process_time()
    if (key, number) == ("max_position_embeddings", "most"):
        assert len(checkpoint.load(folder, "lm").cos) == most  # no weight says otherwise
    else:
        with pytest.raises(ValueError, match="config.json|safetensors"):
            checkpoint.load(folder, "lm")
    assert time.process_time() - began < 2


def test_a_model_that_no_machine_holds_is_refused_at_once():
    began = time.process_time()
    with pytest.raises(ValueError, match="needs .* GB"):
        checkpoint.untrained(configuration.published(8, 2 ** 18, 8, 2 ** 20), 0)
    small = checkpoint.untrained(configuration.published(1, 16, 2, 64), 0)
    with pytest.raises(ValueError, match="rank"):
        lora.apply(small, 10 ** 6)
    assert time.process_time() - began < 2 and torch.is_tensor(small.embed_out.weight)


@pytest.mark.parametrize("flag", ["--batch-size", "--max-length", "--canaries", "--seed"])
def test_large_numbers_of_a_run(flag, world, fair, tmp_path, call):
    began = time.monotonic()
    number = 10 ** 6 if flag == "--max-length" else 10 ** 9
    code, _, err = call("train_weak", "--task", "fairness", "--model", world / "tiny-2x32",
                        "--data", fair / "weak.jsonl", "--out", tmp_path / "run", "--epochs", 0.2,
                        "--lam", 0, flag, number)
    assert code == (flag == "--canaries") and err.count("error") == code, err
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError(
    "[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory: you tried")])
def test_a_model_that_does_not_fit_is_not_the_fault_of_the_batch(error, world):
    def read(*_):
        raise error
    with pytest.raises(ValueError, match="tiny-2x32: the model alone does not fit the memory"):
        checkpoint.load(world / "tiny-2x32", "lm", read=read)
