"""Who takes our folders, and whose folders we are given: transformers, pandas, `datasets`, the hub.

    python -m pytest -q tests/test_clients.py
"""

import json
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import evaluate
import label
from tests.conftest import read_json
from w2s import model_card, rows, whatis
from w2s.attacks import target
from w2s.model import checkpoint, decoding, tokenization
from w2s.tasks import mcqa
from w2s.trust import ntf

ROOT = Path(__file__).parent.parent
MODELS = sorted(path.parent for path in ROOT.glob("w2s/models/*/config.json"))
PICKLED = b"\x80\x04]\x94K\x01a."
COMMON = ("--task", "fairness", "--max-length", "24", "--lam", "0")


@pytest.fixture(scope="module")
def run(world, fair, tmp_path_factory):
    """A finished run of fairness on 32 rows, whose card is the second one in a chain."""
    from w2s.config import launch
    import train_weak
    out = tmp_path_factory.mktemp("clients") / "run"
    rows.write(out.parent / "weak.jsonl", rows.read(fair / "weak.jsonl")[:32])
    shutil.copytree(world / "tiny-2x32", out.parent / "base")
    (out.parent / "base" / "README.md").write_text("---\ntags: [x]\nlicense: mit\n---\n# base\n")
    with pytest.raises(SystemExit) as ended:
        launch(train_weak.main, train_weak.Config, "", [
            *COMMON, "--model", str(out.parent / "base"), "--data", str(out.parent / "weak.jsonl"),
            "--out", str(out), "--epochs", "1", "--batch-size", "8", "--lr", "1e-3"])
    assert not ended.value.code
    return out


# ---- transformers --------------------------------------------------------------------------------

@pytest.mark.parametrize("folder", MODELS, ids=lambda path: path.name)
def test_a_language_model_is_padded_left_and_makes_no_token_type_ids(folder):
    found = read_json(folder / "tokenizer_config.json")
    assert found["model_input_names"] == ["input_ids", "attention_mask"]
    assert found["padding_side"] == "left" and found["pad_token"]


def test_its_pipeline_gives_our_classes_in_the_words_of_the_task(run):
    transformers = pytest.importorskip("transformers")
    texts = ["sex Male hours 40 warm garden", "dull", "sex Female hours 10 dull dull dull garden"]
    said = transformers.pipeline("text-classification", str(run / "model"), device="cpu")(
        texts, batch_size=3, top_k=None)
    model = checkpoint.load(run / "model", "class")
    ids = tokenization.tokenize(tokenization.load_tokenizer(run / "model"), texts, 128)
    for row, found in zip(ids, said):
        with torch.no_grad():
            p = model(torch.from_numpy(row).long()[None], torch.tensor([len(row)]))[0].softmax(0)
        found = {each["label"]: each["score"] for each in found}
        assert set(found) == {"income of at most 50,000 dollars", "income above 50,000 dollars"}
        assert abs(found["income above 50,000 dollars"] - float(p[1])) < 1e-5
    config = read_json(run / "model" / "config.json")
    assert config["label2id"] == {name: int(k) for k, name in config["id2label"].items()}
    assert "token_type_ids" not in transformers.AutoTokenizer.from_pretrained(run / "model")("a")


def test_rows_of_a_batch_are_continued_as_each_alone():
    transformers = pytest.importorskip("transformers")
    folder = ROOT / "w2s/models/mini-weak-small"
    texts = ["Question : who is", "The", "the people of the town like a quiet garden and"]
    writes = transformers.pipeline("text-generation", str(folder), device="cpu",
                                   dtype=torch.float32)
    said = writes(texts, batch_size=3, max_new_tokens=6, do_sample=False, return_full_text=False)
    model, tokenizer = checkpoint.load(folder, "lm"), tokenization.load_tokenizer(folder)
    for row, found in zip(tokenization.tokenize(tokenizer, texts, 64), said):
        new = decoding.generate(model, torch.from_numpy(row).long()[None], torch.tensor([len(row)]),
                              6)[0].tolist()
        new = new[:new.index(0)] if 0 in new else new
        assert found[0]["generated_text"].strip() == tokenizer.decode(new).strip()


def test_a_model_trained_elsewhere_becomes_a_run_to_the_bit(run, call, fair, tmp_path):
    transformers = pytest.importorskip("transformers")
    transformers.AutoModelForSequenceClassification.from_pretrained(run / "model").save_pretrained(
        tmp_path / "theirs")
    shutil.copy(run / "model" / "tokenizer.json", tmp_path / "theirs")
    code, _, err = call("evaluate", "--task", "fairness", "--run", tmp_path / "theirs", "--data",
                        fair / "test.jsonl")
    assert code == 1 and f"--model {tmp_path / 'theirs'} --epochs 0 --out RUN" in err
    code, _, err = call("train_weak", *COMMON, "--model", tmp_path / "theirs", "--data",
                        fair / "weak.jsonl", "--out", tmp_path / "made", "--epochs", "0")
    assert (code, err) == (0, "")
    ours, made = (checkpoint.load(folder / "model", "class").state_dict()
                  for folder in (run, tmp_path / "made"))
    assert all(torch.equal(ours[name], made[name]) for name in ours)
    card = (tmp_path / "made" / "model" / "README.md").read_text()
    assert "# theirs, untuned, as a run of Fairness" in card and "nothing further" in card


# ---- model card ----------------------------------------------------------------------------------

def front(folder):
    yaml = pytest.importorskip("yaml")
    content = (folder / "README.md").read_text(encoding="utf-8")
    assert content.startswith("---\n")
    return yaml.safe_load(content.split("---\n")[1]), content


def test_a_card_says_base_license_task_command_and_data_by_hash(run):
    head, said = front(run / "model")
    assert head == {"license": "mit", "base_model": "base", "library_name": "transformers",
                    "pipeline_tag": "text-classification", "tags": ["weak-to-strong", "fairness"]}
    data = run.parent / "weak.jsonl"
    for words in ("# base, fine-tuned for Fairness", f"32 rows of `weak.jsonl` (sha256 "
                  f"{rows.sha256(data)}), on ground truth", "Class 1: income above 50,000 dollars",
                  "python train_weak.py", "--lr 0.001", "--model base --data weak.jsonl --lam 0.0",
                  "--out RUN", "- optimizer steps: 4", "## Limits", "at most 24 tokens"):
        assert words in said, words
    assert str(run.parent) not in said and "Privacy" not in said
    assert not any(row["text"] in said for row in rows.read(data))


def test_a_card_has_the_numbers_of_every_evaluation(run, fair, call, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    evaluate = ("evaluate", "--task", "fairness", "--run", tmp_path / "run", "--data")
    assert call(*evaluate, fair / "test.jsonl")[0] == 0
    card, digest = tmp_path / "run" / "model" / "README.md", rows.sha256(tmp_path / "run" / "model")
    once = card.read_text(encoding="utf-8")
    measured = {m["metric"]: m["value"] for m in read_json(tmp_path / "run" / "eval.json")["test"][
        "metrics"] if m["slice"] == "all"}
    assert f"- acc {measured['acc']:.4f}: " in once and "- dpd_abs " in once
    assert f"On `test.jsonl`, {len(list(rows.read(fair / 'test.jsonl')))} rows:\n" in once
    shutil.copy(fair / "test.jsonl", tmp_path / "other.jsonl")
    assert call(*evaluate, tmp_path / "other.jsonl")[0] == 0
    twice = card.read_text(encoding="utf-8")
    assert twice.count("## Numbers\n") == 1 and "On `other.jsonl`" in twice
    (tmp_path / "run" / "eval.json").unlink()  # measured anew: the same card
    assert call(*evaluate, fair / "test.jsonl")[0] == 0 and card.read_text(encoding="utf-8") == once
    assert rows.sha256(tmp_path / "run" / "model") == digest  # a card is no part of a model
    assert front(tmp_path / "run" / "model")[1].endswith(front(run / "model")[1].split(
        "## Limits")[1])


@pytest.mark.parametrize("seed", ["run", "system"])
def test_the_guarantee_of_a_private_model_travels_with_it(seed, world, call, tmp_path):
    rows.write(tmp_path / "weak.jsonl", [{"id": f"m{k}", "text": f"Dear number {k} , warm garden"}
                                         for k in range(16)])
    code, _, err = call("train_weak", "--task", "privacy", "--model", world / "tiny-2x32", "--data",
                        tmp_path / "weak.jsonl", "--out", tmp_path / "run", "--lam", 8, "--seed",
                        7654321, "--epochs", 1, "--batch-size", 8, "--noise-seed", seed, "--delta",
                        "1e-3", "--clip", "0.5")
    assert code == 0, err
    head, said = front(tmp_path / "run" / "model")
    claim = read_json(tmp_path / "run" / "config.json")["privacy"]
    assert head["pipeline_tag"] == "text-generation"
    for words in (f"epsilon {claim['epsilon']:g} at delta 0.001", "Unit of privacy: one of the 16",
                  "Sampling: poisson, q = 0.5; 2 steps", "Clip norm: 0.5",
                  f"Noise multiplier: {claim['sigma']:g}", "Accountant: pld"):
        assert words in said, words
    assert ("Not for release" in said) == (seed == "run")
    assert "sha256" not in said and "7654321" not in said and "--seed" not in said
    assert "Dear" not in said and "truncated" not in said


def test_a_shuffled_run_certifies_nothing_in_its_card():
    class Plan:
        silent = False

        def facts(self):
            return {"epsilon": None, "delta": 1e-5, "rows": 3, "sampling": "shuffled", "q": .1,
                    "steps": 4, "clip": 1., "sigma": 2., "accountant": "pld"}

    class Cfg:
        optimizer, canaries = "adamw", 5
    said = "\n".join(model_card.guarantee(Plan(), Cfg))
    assert "no epsilon is certified" in said and "among canaries" in said


@pytest.mark.parametrize("model, name, license", [
    ("EleutherAI/pythia-14m@step3000", "EleutherAI/pythia-14m", "apache-2.0"),
    ("w2s/models/mini-weak", "mini-weak", "mit"), ("runs/mine/weak/model", "weak", "other")])
def test_the_name_and_license_of_a_base(model, name, license, tmp_path):
    assert model_card.named(model) == name
    assert model_card.license_of(tmp_path, name) == license


# ---- the trust function's log --------------------------------------------------------------------

def test_the_loss_of_each_epoch_is_logged_and_changes_nothing():
    x = torch.randn(160, 4, generator=torch.Generator().manual_seed(0))
    right, kept = (x[:, 0] > 0).float(), []
    model, facts = ntf.fit(x, right, epochs=6, log=lambda **entry: kept.append(entry))
    other, _ = ntf.fit(x, right, epochs=6)
    assert all(map(torch.equal, model.state_dict().values(), other.state_dict().values()))
    assert [entry["epoch"] for entry in kept] == list(range(1, facts["epochs"] + 1))
    assert min(entry["held_out_loss"] for entry in kept) == facts["held_out_loss"]
    assert kept[-1]["loss"] < kept[0]["loss"]
    few = []
    ntf.fit(x[:30], right[:30], epochs=2, log=lambda **entry: few.append(entry))
    assert [entry["held_out_loss"] for entry in few] == [None, None]


# ---- null ----------------------------------------------------------------------------------------

def test_null_in_stamps_is_as_if_nothing_stood_there(run, call, fair, tmp_path):
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns(".lock"))
    for script in ("label", "evaluate"):
        argv = script, "--task", "fairness", "--run", tmp_path / "run", "--data", fair / "wts.jsonl"
        assert call(*argv)[0] == 0
        stamp = tmp_path / "run" / ("eval.json" if script == "evaluate" else
                                    "labels/wts.jsonl.meta.json")
        found = read_json(stamp)
        args = found["wts"]["args"] if script == "evaluate" else found
        del args["max_length"]
        args |= {"more": None}
        rows.write_json(stamp, found)
        code, out, _ = call(*argv)
        assert code == 0 and "already" in out


# ---- what is given in place of something else ----------------------------------------------------

def made(name, folder):
    """A file or folder of another format."""
    path = folder / name
    heads = {"rows.parquet": b"PAR1\x15\x04\x15\x10", "rows.arrow": b"ARROW1\0\0\xff\xff",
             "rows.feather": b"FEA1\0\0\1\2", "model.gguf": b"GGUF\x03\0\0\0",
             "model.onnx": b"\x08\x08\x12\x07pytorch\x1a\x052.0.0", "rows.csv": b"id,text\n1,a\n",
             "rows.pkl": PICKLED, "weights.bin": b"\x80\x02}q\0.",
             "table.xlsx": b"PK\x03\x04\x14\0\0\0"}
    if name == "weights.pt":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("archive/data.pkl", PICKLED)
    else:
        path.write_bytes(heads[name])
    return path


@pytest.mark.parametrize("name, what", [
    ("rows.parquet", "a parquet file"), ("rows.arrow", "an Arrow file"),
    ("rows.feather", "a feather file"), ("model.gguf", "a GGUF file"),
    ("model.onnx", "an ONNX file"), ("rows.csv", "a table of columns (CSV)"),
    ("rows.pkl", "never unpickle"), ("weights.bin", "never unpickle"),
    ("weights.pt", "a PyTorch file"), ("table.xlsx", "a zip file (or xlsx")])
def test_a_file_of_another_format_is_named(name, what, tmp_path):
    path = made(name, tmp_path)
    with pytest.raises(ValueError, match="^[^\n]*$") as error:
        rows.read(path)
    assert str(error.value).startswith(f"{path}:") and what in str(error.value)
    model = whatis.no_model(path)
    assert model.startswith(f"{path}: {'a file' if name == 'rows.csv' else ''}")
    assert "folder of the model" in model and (what.split("(")[0] in model or name == "rows.csv"
                                               or "pickled" in model)


def test_a_folder_saved_without_a_head_and_one_of_pickles_are_named(world, tmp_path):
    transformers = pytest.importorskip("transformers")
    bare = tmp_path / "bare"
    transformers.AutoModel.from_pretrained(world / "tiny-2x32").save_pretrained(bare)
    for head in ("lm", "class"):
        with pytest.raises(ValueError, match="saved without its head .AutoModel.; save it anew"):
            checkpoint.load(bare, head)
    for name, what in (("pytorch_model.bin", "never unpickle"), ("x.pt", "never unpickle"),
                       ("model.onnx", "ONNX"), ("small.gguf", "GGUF"), ("model.h5", "TensorFlow")):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        shutil.copy(world / "tiny-2x32" / "config.json", folder)
        (folder / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=what) as error:
            checkpoint.load(folder, "lm")
        assert str(error.value).startswith(f"{folder / name}: ")


def test_a_run_or_an_adapter_as_model_and_a_model_as_run(run, call, tmp_path):
    (tmp_path / "peft").mkdir()
    (tmp_path / "peft" / "adapter_config.json").write_text("{}")
    for given, words in ((run, f"a run, not a model; its model is {run / 'model'}"),
                         (tmp_path / "peft", "merge_and_unload")):
        code, _, err = call("train_weak", *COMMON, "--model", given, "--data",
                            run.parent / "weak.jsonl", "--out", tmp_path / "new")
        assert code == 1 and words in err and not (tmp_path / "new").exists()
    for given, words in ((run / "model", f"give the run itself, {run}"),
                         (run.parent / "base", "--epochs 0 --out RUN"), (tmp_path / "peft",
                                                                        "an adapter")):
        code, _, err = call("label", "--task", "fairness", "--run", given, "--data",
                            run.parent / "weak.jsonl")
        assert code == 1 and words in err


# ---- mcqa: two scores ----------------------------------------------------------------------------

def test_mcqa_scores_options_per_token_or_in_sum_and_says_both():
    folder = ROOT / "w2s/models/mini-weak-small"
    model, tokenizer = checkpoint.load(folder, "lm"), tokenization.load_tokenizer(folder)
    data = [{"id": str(k), "text": f"what is {word} ?", "label": k % 2, "source": "s",
             "choices": ["a garden", "the garden of the people of the town", "it"]}
            for k, word in enumerate(("warm", "dull", "quiet", "old"))]
    columns = mcqa.encode(data, tokenizer, 64)
    counts = [[len(ids) for ids in row] for row in columns["options"]]
    told = {way: mcqa.predictions(model, columns, title="", scoring=way)
            for way in ("token", "sum")}
    each, whole = (mcqa.answer(model, columns, "float32", "", scoring=way)[0]
                   for way in ("token", "sum"))
    for n, (mean, total) in enumerate(zip(each, whole)):
        assert np.abs(mean * counts[n] - total).max() < 1e-5
        for way, z in (("token", mean), ("sum", total)):
            row = told[way][n]
            assert int(np.argmax(row["p"])) == int(z.argmax()) == row[f"by_{way}"]
        assert told["token"][n]["by_sum"] == told["sum"][n]["by_sum"]
    assert [row["by_token"] for row in told["sum"]] != [row["by_sum"] for row in told["sum"]]
    rows_of = [row | found for row, found in zip(data, told["sum"])]
    found = {m["metric"]: m["value"] for m in mcqa.evaluate(rows_of) if m["slice"] == "all"}
    assert found.keys() == {"acc", "acc_token", "acc_sum"} and found["acc"] == found["acc_sum"]
    assert not {"by_sum", "by_token"} & mcqa.predictions(
        model, mcqa.encode(data, tokenizer, 64, scoring="letters"), title="")[0].keys()


def test_scoring_is_a_flag_of_evaluate_and_label_and_of_no_other_task(run, call, fair):
    for script, module in (("evaluate", evaluate), ("label", label)):
        code, _, err = call(script, "--task", "fairness", "--run", run, "--data",
                            fair / "test.jsonl", "--scoring", "sum")
        assert code == 1 and "--scoring has no effect on --task fairness" in err
        token, whole = (module.Config(task="mcqa", run=[], data=[], scoring=way)
                        for way in ("token", "sum"))
        stamps = [module.settings(*["d"] * (script == "label"), cfg) for cfg in (token, whole)]
        assert "scoring" not in stamps[0] and stamps[1]["scoring"] == "sum"


# ---- outputs that are something else -------------------------------------------------------------

def test_an_out_that_is_a_model_a_file_or_an_input_is_refused(run, call, tmp_path):
    shutil.copytree(run.parent / "base", tmp_path / "base")
    (tmp_path / "thesis.txt").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for out, words in ((tmp_path / "base", "is --model itself; choose another --out"),
                       (tmp_path / "thesis.txt", "a file; choose another --out"),
                       (tmp_path, "not empty and not a run")):
        code, _, err = call("train_weak", *COMMON, "--model", tmp_path / "base", "--data",
                            run.parent / "weak.jsonl", "--out", out)
        assert code == 1 and words in err and "delete" not in err
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns(".lock"))
    for script, kind in (("label", "labels"), ("evaluate", "predictions")):
        own = tmp_path / "run" / kind / "mine.jsonl"
        own.parent.mkdir()
        shutil.copy(run.parent / "weak.jsonl", own)
        code, _, err = call(script, "--task", "fairness", "--run", tmp_path / "run", "--data", own)
        assert code == 1 and "would be overwritten, and it is an input" in err
        assert own.read_bytes() == (run.parent / "weak.jsonl").read_bytes()
    after = {path: path.read_bytes() for path in before}
    assert before == after


@pytest.mark.parametrize("given", ["data", "members"])
def test_an_attack_never_overwrites_what_it_reads(given, run, tmp_path):
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns(".lock"))
    own = tmp_path / "run" / "attacks" / "membership.jsonl"
    rows.write(own, [{"id": "a", "text": "t"}])
    before, other = own.read_bytes(), str(run.parent / "weak.jsonl")
    cfg = SimpleNamespace(task="fairness", run=[str(tmp_path / "run")], **{
        "data": [other], "members": None} | {given: [str(own)] if given == "data" else str(own)})
    with pytest.raises(ValueError, match="membership.jsonl: would be overwritten"):
        list(target.targets(cfg, "membership", {"data": {}, "args": {}}))
    assert own.read_bytes() == before


@pytest.mark.parametrize("script", ["train_weak", "label", "evaluate"])
def test_a_run_folder_removed_while_it_is_worked_in_ends_with_an_error(script, run, call, fair,
                                                                      tmp_path, monkeypatch):
    gone = tmp_path / "run"
    if script == "train_weak":
        argv = (*COMMON, "--model", run.parent / "base", "--data", run.parent / "weak.jsonl",
                "--out", gone, "--epochs", 1, "--batch-size", 8)
        from w2s.training import TrainingRun
        before = TrainingRun.batches
        monkeypatch.setattr(TrainingRun, "batches", lambda self: (shutil.rmtree(gone),
                                                                  before(self))[1])
    else:
        shutil.copytree(run, gone, ignore=shutil.ignore_patterns(".lock"))
        argv = ("--task", "fairness", "--run", gone, "--data", fair / "test.jsonl")
        from w2s.tasks import fairness
        name = {"label": "label", "evaluate": "predictions"}[script]
        work = getattr(fairness, name)
        monkeypatch.setattr(fairness, name, lambda *a, **k: (shutil.rmtree(gone), work(*a, **k))[1])
    code, out, err = call(script, *argv)
    assert code == 1 and "was removed while it was worked in" in err and "done" not in out
    assert err.count("\n") == 1 and not gone.exists()


@pytest.mark.parametrize("key, value", [("pad_token_id", "x"), ("eos_token_id", [0, 10 ** 30]),
                                        ("bos_token_id", True), ("pad_token_id", 2 ** 20)])
def test_ids_of_tokens_are_those_of_the_vocabulary(key, value, world, tmp_path):
    shutil.copytree(world / "tiny-2x32", tmp_path / "model")
    config = read_json(tmp_path / "model" / "config.json")
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(ValueError, match=f"config.json: {key} must be below vocab_size"):
        checkpoint.load(tmp_path / "model", "lm")
