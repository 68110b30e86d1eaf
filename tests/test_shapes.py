"""What a program of somebody else may have written where we read JSON: every value of another kind
is one line that names the file, and null is as if nothing stood there.

    python -m pytest -q tests/test_shapes.py
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.report import test_report, test_trust_results
from tests.conftest import read_json
from w2s import attacks, config, hidden_states, prepare, rows, runs
from w2s.attacks import audit
from w2s.attacks import text as perturbing
from w2s.dp import private_run
from w2s.model import checkpoint as folders
from w2s.train import step
from w2s.trust import ntf


@pytest.mark.parametrize("value, shape, wrong", [
    ({"a": [1, 2.5]}, {"a": [rows.NUMBER]}, None), ({"a": None, "b": 0}, {"a": str}, None),
    ({}, {"a": str}, None), ({"a": 1, "b": "x"}, {"a": int, ...: str}, None),
    ([1, "x"], (int, str), None), ({"a": {}}, {"a": {"b": str}}, None),
    (None, {}, "this is null, expected an object"), ([], {}, "this is a list, expected an object"),
    ({"a": True}, {"a": int}, "'a' is true, expected a whole number"),
    ({"a": 2.0}, {"a": int}, "'a' is a number, expected a whole number"),
    ({"a": 10 ** 30}, {"a": int}, "'a' is a number, expected a whole number"),
    ({"a": False}, {"a": rows.NUMBER}, "'a' is false, expected a number"),
    ({"a": 10 ** 400}, {"a": rows.NUMBER}, "'a' is a number, expected a number"),
    ({"a": {"b": [0, None]}}, {"a": {...: [int]}}, "'a.b.1' is null, expected a whole number"),
    ({"a": [1]}, {"a": (int, int)}, "'a' is a list of 1, expected 2"),
    ({"a": "x"}, {"a": [str]}, "'a' is a string, expected a list"),
    ({"a": "no"}, {"a": bool}, "'a' is a string, expected true or false")])
def test_a_shape_says_what_does_not_fit(value, shape, wrong):
    assert rows.misfit(value, shape) == wrong


# ---- what a report reads -------------------------------------------------------------------------

DP = {"epsilon": 8.0, "delta": 1e-5, "sigma": .8, "clip": 1.0, "rows": 60, "q": .1, "steps": 30,
      "accountant": "pld", "sampling": "poisson", "noise_seed": "run"}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A folder of one run of each kind."""
    out = tmp_path_factory.mktemp("planted")
    test_report.plant(out, "ood", {"weak-none": (.7, .6)}, seeds=(0,), n=24, commit="abc",
                      versions={"torch": "2", "python": "3"}, privacy=DP, parameters=10 ** 6)
    one = out / "ood/seed0/weak-none"
    rows.write(one / "log.jsonl", [{"step": 0, "seconds": 1.0}])
    rows.write_json(one / "attack-text.json", {"n": 3, "metrics": [
        {"slice": "all", "metric": "ra_own", "value": .5}]})
    rows.write_json(out / "data/ood/manifest.json", {
        "splits": {"weak": {"rows": 3}}, "sources": {"a": {}}, "notes": ["x"]})
    test_trust_results.students(out, seeds=(0,), quality={"weak-none": .6})
    test_trust_results.choices(out, seeds=(0,), regimes={"people": "in distribution"},
                         quality={"trust-ntf": (.9, .6, "weak-none")})
    return out


def spoilt(path, place, value):
    """Put a value into the JSON object, or the first line, of a file."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    found = here = json.loads(lines[0])
    for key in place[:-1]:
        here = here[key]
    here[place[-1]] = value
    path.write_text("\n".join([json.dumps(found), *lines[1:]]) + "\n")


@contextlib.contextmanager
def restored(path):
    before = path.read_bytes()
    try:
        yield
    finally:
        path.write_bytes(before)


OOD, NTF = "ood/seed0/weak-none/", "mcqa/seed0/trust-ntf/"


@pytest.mark.parametrize("file, place, value", [
    (OOD + "config.json", ("privacy",), []), (OOD + "config.json", ("privacy",), {"epsilon": 1}),
    (OOD + "config.json", ("privacy", "epsilon"), 10 ** 400),
    (OOD + "config.json", ("privacy", "delta"), "x"), (OOD + "config.json", ("privacy", "q"), 2),
    (OOD + "config.json", ("privacy", "noise_seed"), []),
    (OOD + "config.json", ("versions",), True), (OOD + "config.json", ("versions", "torch"), []),
    (OOD + "config.json", ("commit",), {}), (OOD + "config.json", ("parameters",), "many"),
    (OOD + "config.json", ("args", "model"), 7), (OOD + "config.json", ("from_scratch",), "no"),
    (OOD + "eval.json", ("test", "metrics", 0, "value"), "x"),
    (OOD + "eval.json", ("test", "metrics", 0, "value"), True),
    (OOD + "eval.json", ("test", "metrics", 0, "slice"), [1]), (OOD + "eval.json", ("test",), 1),
    (OOD + "attack-text.json", ("metrics", 0, "value"), {}),
    (OOD + "log.jsonl", ("seconds",), "x"),
    (OOD + "predictions/test.jsonl", ("label",), 10 ** 300),
    (OOD + "predictions/test.jsonl", ("p",), 2.5),
    (OOD + "predictions/test.jsonl", ("p",), [2.5, -1.5]),
    (OOD + "predictions/test.jsonl", ("source",), []),
    ("data/ood/manifest.json", ("sources",), [None]),
    ("data/ood/manifest.json", ("splits", "weak"), 3), ("data/ood/manifest.json", ("notes",), "x"),
    (NTF + "trust.json", ("shares", "0"), [1]), (NTF + "trust.json", ("shares", "0", 0), None),
    (NTF + "trust.json", ("regimes", "people"), 3), (NTF + "trust.json", ("kept",), True),
    (NTF + "trust.jsonl", ("trust",), "high"), (NTF + "config.json", ("args", "teacher"), [])])
def test_a_report_names_the_file_with_a_value_of_another_kind(planted, file, place, value, capsys):
    with restored(planted / file):
        spoilt(planted / file, place, value)
        code, _, err = test_report.command(capsys, planted, "--draws", "100", "--figures", "no")
    assert code == 1 and err.startswith(f"error: {planted / file}:") and err.count("\n") == 1
    assert not any(word in err for word in ("unexpected", "None", "True", "Traceback"))


def test_null_in_what_a_report_reads_is_as_if_it_were_absent(planted, capsys):
    for file, keys in ((OOD + "config.json", ("privacy", "versions", "commit", "parameters")),
                       ("data/ood/manifest.json", ("notes", "sources", "splits"))):
        with restored(planted / file):
            for key in keys:
                spoilt(planted / file, (key,), None)
            code, _, err = test_report.command(capsys, planted, "--draws", "100", "--figures", "no")
            assert (code, err) == (0, "")


# ---- what the other commands read ----------------------------------------------------------------

def a_run(out, **changed):
    out.mkdir()
    rows.write_json(out / "config.json", {
        "script": "train_weak.py", "args": {"task": "ood", "max_length": 8}, "inputs": {},
        **changed})
    (out / "DONE").touch()
    return out


@pytest.mark.parametrize("changed, wrong", [
    ({"args": {"task": "ood", "max_length": 0}}, "'args.max_length' is 0"),
    ({"args": {"task": "ood", "max_length": True}}, "'args.max_length' is true"),
    ({"args": {"task": [], "max_length": 8}}, "'args.task' is a list"),
    ({"args": {"task": "ood", "data": [[]]}}, "'args.data' is a list"),
    ({"args": {"task": "ood", "scoring": "x"}}, "'args.scoring' is 'x'"),
    ({"inputs": {"data": 1}}, "'inputs.data' is a number"), ({"inputs": []}, "'inputs' is a list"),
    ({"inputs": None}, "not the configuration of a run"),
    ({"folder": 3}, "'folder' is a number"), ({"epochs": "x"}, "'epochs' is a string")])
def test_a_run_of_another_program_is_one_line(changed, wrong, tmp_path):
    run = a_run(tmp_path / "run", **changed)
    with pytest.raises(ValueError, match="^[^\n]*$") as error:
        runs.read_config(run)
    assert str(error.value).startswith(f"{run / 'config.json'}: {wrong}")


def test_null_arguments_and_epochs_of_a_run_are_absent(tmp_path):
    facts = runs.read_config(a_run(tmp_path / "run", epochs=None, args={
        "task": "ood", "scoring": None, "max_length": 8}))
    assert facts["args"] == {"task": "ood", "max_length": 8} and "epochs" not in facts


@pytest.mark.parametrize("content, wrong", [
    ("null", "it is no object"), ("[]", "it is no object"), ("{}", "no 'dim'"),
    ('{"dim": null}', "no "), ("[" * 5000, ""), ('{"dim": 9' + "9" * 5000 + "}", "")])
def test_the_sizes_of_a_trust_function(content, wrong, tmp_path):
    ntf.save(ntf.TrustFunction(4), tmp_path, {})
    (tmp_path / "ntf.json").write_text(content)
    with pytest.raises(ValueError, match="ntf.json: not the sizes of a trust function") as error:
        ntf.load(tmp_path)
    assert wrong in str(error.value) and "None" not in str(error.value)
    for value in (10 ** 9, None, "x", True, [1]):
        rows.write_json(tmp_path / "ntf.json", ntf.TrustFunction(4).config | {"blocks": value})
        with pytest.raises(ValueError, match="ntf.json: not the sizes"):
            ntf.load(tmp_path)


def test_the_stamp_of_an_attack_may_hold_anything(tmp_path):
    now = {"data": "d", "args": {"limit": None, "seed": 0}}
    for before in ({"data": "d", "args": {"seed": 0}}, now):
        rows.write_json(tmp_path / "stamp.json", before)
        attacks.refuse_changes(tmp_path / "stamp.json", now)
    for before in ({"data": ["d"], "args": {"seed": 0}}, {"data": "d"}, {"data": "d", "args": None},
                   [], {"args": 3}):
        rows.write_json(tmp_path / "stamp.json", before)
        with pytest.raises(ValueError, match="^[^\n]*stamp.json[^\n]*$"):
            attacks.refuse_changes(tmp_path / "stamp.json", now)
    for entry in ({"right": 1, "attacks": {}}, {"right": True, "attacks": {"typos": [1]}},
                  {"right": True}):
        rows.write(tmp_path / "0.jsonl", [{"id": "a", **entry}])
        with pytest.raises(ValueError, match="0.jsonl:1: .*; delete the folder"):
            perturbing.read_part(tmp_path / "0.jsonl")


@pytest.mark.parametrize("manifest", [
    [], {"arguments": 3}, {"files": []}, {"sources": {"a": 1}}, {"sources": {"a": {}}, "files": {
        "x": 1}}, {"looked_for": [1]}])
def test_a_manifest_of_another_program(manifest, tmp_path):
    rows.write_json(tmp_path / "manifest.json", manifest)
    with pytest.raises(ValueError, match="manifest.json: .*; choose another --out"):
        prepare.is_prepared(tmp_path, {})


@pytest.mark.parametrize("key, value", [
    ("source", []), ("split", True), ("prompt", 3), ("logits", 1.5), ("logits", [0, {}]),
    ("method", {}), ("task", [])])
def test_optional_keys_of_rows_have_their_kind(key, value, tmp_path):
    row = {"id": "a", "text": "t"}
    rows.write(tmp_path / "rows.jsonl", [row, row | {"id": "b", key: value}])
    with pytest.raises(ValueError, match=f"rows.jsonl:2: '{key}") as error:
        rows.read(tmp_path / "rows.jsonl", {"id": str})
    assert "True" not in str(error.value)
    rows.write(tmp_path / "rows.jsonl", [row | {"id": None, key: None}, row | {"id": None}])
    assert rows.read(tmp_path / "rows.jsonl", {"text": str}) == [{"text": "t"}] * 2


# ---- tensors -------------------------------------------------------------------------------------

SMALL = {"model_type": "gpt_neox", "hidden_act": "gelu", "vocab_size": 64, "hidden_size": 8,
         "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
         "max_position_embeddings": 16, "rotary_pct": .5}
WEIGHT, NAN = "embed_out.weight", float("nan")


def a_plan():
    return private_run.Plan(100, 10, 5, 1., 1., 1e-5, 1., "pld", "poisson", "auto", "run")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """(path, its tensors) of a private run after one step."""
    path = tmp_path_factory.mktemp("checkpoint") / "c.safetensors"
    model = folders.untrained(SMALL, 0)
    optimizer, plan = step.adamw(model, 1e-3), a_plan()
    model(torch.ones(1, 4, dtype=torch.long), torch.tensor([4])).sum().backward()
    optimizer.step()
    plan.done = 1
    step.save_checkpoint(path, 1, model, optimizer, {"privacy": plan})
    return path, load_file(path)


def put_back(path, tensors, at="1"):
    save_file(tensors, path, {"step": at})
    model, plan = folders.untrained(SMALL, 1), a_plan()
    return step.load_checkpoint(path, model, step.adamw(model, 1e-3), {"privacy": plan})


@pytest.mark.parametrize("key, change", [
    (f"optimizer/exp_avg/{WEIGHT}", lambda t: t[:1]),
    (f"optimizer/exp_avg_sq/{WEIGHT}", lambda t: t.half()),
    (f"optimizer/exp_avg/{WEIGHT}", lambda t: t * NAN),
    (f"optimizer/exp_avg/{WEIGHT}", lambda t: None), (f"optimizer/step/{WEIGHT}", lambda t: None),
    (f"optimizer/step/{WEIGHT}", lambda t: torch.zeros(3)),
    (f"optimizer/step/{WEIGHT}", lambda t: torch.tensor(1)),
    (f"optimizer/step/{WEIGHT}", lambda t: torch.tensor(-5.)),
    (f"optimizer/step/{WEIGHT}", lambda t: torch.tensor(NAN)),
    (f"model/{WEIGHT}", lambda t: t[:1]), (f"model/{WEIGHT}", lambda t: t.half()),
    (f"model/{WEIGHT}", lambda t: t * NAN), (f"model/{WEIGHT}", lambda t: None),
    ("privacy/history", lambda t: t[0]), ("privacy/history", lambda t: t * NAN),
    ("privacy/counts", lambda t: t.float()), ("privacy/counts", lambda t: t[:2])])
def test_a_checkpoint_of_other_tensors_is_never_given_to_an_optimizer(key, change, checkpoint,
                                                                      tmp_path):
    path, tensors = checkpoint
    assert put_back(tmp_path / "c.safetensors", tensors) == 1
    changed = {name: change(value) if name == key else value for name, value in tensors.items()}
    with pytest.raises(ValueError, match="c.safetensors: .*; delete [^\n]* to start over$"):
        put_back(tmp_path / "c.safetensors", {
            name: value for name, value in changed.items() if value is not None})


@pytest.mark.parametrize("at", ["-3", "0", "x", "2.5", "9" * 5000])
def test_a_checkpoint_of_an_impossible_step(at, checkpoint, tmp_path):
    with pytest.raises(ValueError, match="c.safetensors: damaged checkpoint"):
        put_back(tmp_path / "c.safetensors", checkpoint[1], at)


@pytest.mark.parametrize("key, value", [
    ("included", torch.zeros(2, 2, dtype=torch.bool)), ("included", torch.tensor(True)),
    ("included", torch.zeros(2)), ("included", torch.zeros(0, dtype=torch.bool)),
    ("observed", torch.full((3, 2), NAN)), ("observed", torch.zeros(3, 2, dtype=torch.bfloat16)),
    ("observed", torch.zeros(3, 2).to(torch.float8_e5m2)), ("observed", torch.zeros(2, 2))])
def test_canaries_of_another_kind(key, value, tmp_path):
    good = {"included": torch.tensor([True, False]), "observed": torch.zeros(3, 2)}
    save_file(good, tmp_path / "c.safetensors")
    assert audit.read(tmp_path / "c.safetensors", 3)[1].shape == (3, 2)
    save_file(good | {key: value}, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="c.safetensors: damaged"):
        audit.read(tmp_path / "c.safetensors", 3)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64, torch.int64, torch.bool,
                                  torch.float8_e5m2])
def test_states_of_another_type(kind, tmp_path):
    labelled = [{"id": "a"}, {"id": "b"}]
    for dtype in (torch.float32, kind):
        save_file({"hidden": torch.zeros(2, 3).to(dtype)}, tmp_path / "s.safetensors",
                  {"ids": hidden_states.ids_digest(labelled)})
        if dtype is torch.float32:
            assert hidden_states.read_states(tmp_path / "s.safetensors", labelled).shape == (2, 3)
    with pytest.raises(ValueError, match="s.safetensors: damaged"):
        hidden_states.read_states(tmp_path / "s.safetensors", labelled)


@pytest.mark.parametrize("name, value", [("std", torch.zeros(4)), ("std", -torch.ones(4)),
                                         ("temperature", torch.zeros(()))])
def test_a_trust_function_never_divides_by_nothing(name, value, tmp_path):
    model = ntf.TrustFunction(4)
    ntf.save(model, tmp_path, {})
    save_file(model.state_dict() | {name: value}, tmp_path / "ntf.safetensors")
    with pytest.raises(ValueError, match=f"ntf.safetensors: {name} is not above 0"):
        ntf.load(tmp_path)


# ---- libraries below Python ----------------------------------------------------------------------

def test_a_panic_of_rust_is_one_line_without_its_stack(tmp_path, world):
    """The process's own stderr: the trace is not written by Python."""
    content = read_json(world / "tokenizer.json")
    content["model"]["continuing_subword_prefix"] = "x" * 9
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    code = f"""import sys
from w2s import text
try:
    text.load_tokenizer({str(tmp_path)!r})
except ValueError as error:
    print("error: " + str(error), file=sys.stderr)
    sys.exit(1)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                           env={**os.environ, "RUST_BACKTRACE": "1"})
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1, ended.stderr
    assert "no usable tokenizer" in ended.stderr


def test_a_panic_anywhere_is_one_line(capsys, monkeypatch):
    monkeypatch.delenv("W2S_DEBUG", raising=False)
    Panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})

    def main(cfg):
        raise Panic("range end index out of range")
    monkeypatch.setattr(config, "parse", lambda *_: None)
    with pytest.raises(SystemExit) as exit:
        config.launch(main, None, "")
    err = capsys.readouterr().err
    assert exit.value.code == 1 and err.startswith("error: unexpected PanicException in ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("labels", [{"0": [], "1": "b"}, {"0": "a", "1": "a"}, {"0": 1, "1": 2},
                                    {"0": {}, "1": None}])
def test_bad_names_of_classes_are_found_no_later_than_others(labels, world, tmp_path):
    """After a whole training is too late for a traceback: they are replaced."""
    folder = tmp_path / "model"
    shutil.copytree(world / "tiny-2x32", folder)
    config = read_json(folder / "config.json")
    (folder / "config.json").write_text(json.dumps(config | {"id2label": labels}))
    folders.save(folders.load(folder, "class"), tmp_path / "out", folder / "tokenizer.json")
    assert read_json(tmp_path / "out" / "config.json")["id2label"] == {
        "0": "LABEL_0", "1": "LABEL_1"}
