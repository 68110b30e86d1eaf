"""The scripts as a user calls them: the whole path, killed, repeated and misused.

    python -m pytest -q tests/test_scripts.py
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file

from tests import several
from tests.conftest import read_json
from w2s import rows, training

ROOT = Path(__file__).parent.parent
LABELS = "weak/labels/wts.jsonl"
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def runs(world, fair, tmp_path_factory):
    """Folder of the runs that `path` makes."""
    out = tmp_path_factory.mktemp("runs")
    for script, *argv in path(world, fair, out):
        code, said = several.script(script, [str(a) for a in argv])
        assert code == 0 and "already" not in said
    return out


def weak(world, fair, out, *more):
    return ("train_weak", "--task", "fairness", "--model", world / "tiny-2x32",
            "--data", fair / "weak.jsonl", "--out", out,
            "--lr", "1e-2", "--lam", "0", "--epochs", 12, *more)


def label(run, data, task="fairness"):
    return "label", "--task", task, "--run", run, "--data", data


def student(world, labels, out, *more):
    return ("train_student", "--task", "fairness", "--model", world / "tiny-3x64",
            "--labels", labels, "--out", out, "--lr", "5e-3", "--epochs", 12, *more)


def evaluate(data, *folders):
    return "evaluate", "--task", "fairness", "--run", *folders, "--data", data


def path(world, fair, runs):
    """The commands of a weak model, its labels, two students and their evaluation."""
    return [weak(world, fair, runs / "weak"),
            label(runs / "weak", fair / "wts.jsonl"),
            student(world, runs / LABELS, runs / "naive", "--alpha", 0, "--lam", 0),
            student(world, runs / LABELS, runs / "aux", "--lam", 1),
            evaluate(fair / "test.jsonl", runs / "weak", runs / "naive", runs / "aux")]


def argv(command):
    """One of these commands as the arguments of a process."""
    script, *rest = map(str, command)
    return [sys.executable, f"{script}.py", *rest]


def test_the_whole_path_learns_and_is_skipped_the_second_time(world, fair, runs, call):
    for name in ("weak", "naive", "aux"):
        entries = read_json(runs / name / "eval.json")["test"]["metrics"]
        measured = {m["metric"]: m["value"] for m in entries if m["slice"] == "all"}
        assert measured["acc"] > .8, (name, measured)  # 10 % of the labels follow the sex instead
    before = {p: p.read_bytes() for p in runs.rglob("*") if p.is_file()}
    for command in path(world, fair, runs):
        code, out, err = call(*command)
        assert code == 0 and "already" in out, err
    assert before == {p: p.read_bytes() for p in runs.rglob("*") if p.is_file()}


def test_labels_carry_probabilities_beside_the_untouched_ground_truth(fair, runs):
    labelled, data = rows.read(runs / LABELS, {"weak": 2}), rows.read(fair / "wts.jsonl")
    assert [{key: row[key] for key in data[0]} for row in labelled] == data


def test_the_naive_student_never_reads_ground_truth(world, runs, call, tmp_path):
    path = tmp_path / "flipped.jsonl"
    rows.write(path, [{**row, "label": 1 - row["label"]} for row in rows.read(runs / LABELS)])
    code, _, err = call(*student(world, path, tmp_path / "run", "--alpha", 0, "--lam", 0))
    assert code == 0, err
    weights = "model/model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (runs / "naive" / weights).read_bytes()


def test_transformers_loads_the_saved_folder_with_equal_predictions(fair, runs):
    transformers = pytest.importorskip("transformers")
    import torch
    model = transformers.AutoModelForSequenceClassification.from_pretrained(runs / "aux" / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(runs / "aux" / "model")
    data = rows.read(fair / "test.jsonl")
    batch = tokenizer([row["text"] for row in data], return_tensors="pt", padding=True)
    with torch.no_grad():
        p = model(**{k: batch[k] for k in ("input_ids", "attention_mask")}).logits.softmax(-1)
    ours = rows.read(runs / "aux" / "predictions" / "test.jsonl")
    ours = torch.tensor([row["p"] for row in ours])
    assert (p - ours).abs().max() < 1e-5


def test_a_killed_run_goes_on_and_ends_bit_identical(world, fair, tmp_path):
    def command(out):
        return argv(weak(world, fair, out, "--epochs", 160, "--compile", "off",
                         "--save-every", ".05"))

    quiet = dict(cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    whole = subprocess.Popen(command(tmp_path / "whole"), **quiet)
    killed = subprocess.Popen(command(tmp_path / "killed"), **quiet)
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "checkpoint.safetensors").exists() and killed.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "killed" / "DONE").exists(), "the run was over before it could be killed"
    again = subprocess.run(command(tmp_path / "killed"), **quiet)
    assert again.returncode == 0 and "goes on at step" in again.stdout, again.stderr
    assert whole.wait() == 0
    for name in ("model/model.safetensors", "model/config.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    logs = [[{k: v for k, v in json.loads(line).items() if k in ("step", "loss", "lr")}
             for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
            for run in ("whole", "killed")]
    assert logs[0] == logs[1]
    left = {p.name for p in (tmp_path / "killed").iterdir()}
    assert left == {"config.json", "log.jsonl", "model", "DONE", ".lock"}


BAD_FLAGS = [("--lam", "-1"), ("--lr", "0"), ("--epochs", "-1"), ("--batch-size", "-4"),
             ("--dtype", "float16"), ("--task", "nonsense"), ("--penalty", "cubic"),
             ("--lr", "nan"), ("--device", "tpu9"), ("--noise-as", "var"), ("--max-length", "0"),
             ("--seed", "-1"), ("--dtype", "int8")]


@pytest.mark.parametrize("flag, value", BAD_FLAGS)
def test_a_bad_value_is_one_line_and_leaves_nothing(world, fair, call, tmp_path, flag, value):
    code, _, err = call(*weak(world, fair, tmp_path / "run", flag, value))
    assert code == 1 and err.count("\n") == 1 and err.startswith("error: "), err
    assert not (tmp_path / "run").exists()


def test_float16_is_refused_with_the_reason(world, fair, call, tmp_path):
    assert "overflows" in call(*weak(world, fair, tmp_path / "run", "--dtype", "float16"))[2]


@pytest.mark.parametrize("argv", [["--bogus", "1"], ["--batch", "8"], ["--epochs", "many"],
                                  ["--lam"]])
def test_an_unknown_abbreviated_or_unreadable_flag_exits_2(world, fair, call, tmp_path, argv):
    code, _, err = call(*weak(world, fair, tmp_path / "run", *argv))
    assert code == 2 and err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_alpha_2_is_refused(world, runs, call, tmp_path):
    code, _, err = call(*student(world, runs / LABELS, tmp_path / "run", "--alpha", 2))
    assert code == 1 and "--alpha 2: must be <= 1" in err


def test_other_settings_are_refused_with_what_changed(world, fair, runs, call, tmp_path):
    code, _, err = call(*weak(world, fair, runs / "weak", "--lr", "2e-2"))
    assert code == 1 and "--lr 0.01 -> 0.02" in err
    rows.write(tmp_path / "other.jsonl", rows.read(fair / "weak.jsonl")[:-1])
    code, _, err = call(*weak(world, fair, runs / "weak", "--data", tmp_path / "other.jsonl"))
    assert code == 1 and "content of" in err and "other.jsonl" in err


def test_a_moved_input_is_no_change(world, fair, runs, call, tmp_path):
    shutil.copy(fair / "weak.jsonl", tmp_path / "moved.jsonl")
    code, out, err = call(*weak(world, fair, runs / "weak", "--data", tmp_path / "moved.jsonl"))
    assert code == 0 and "done already" in out, err


@pytest.mark.parametrize("split", ["weak", "wts", None, "val", "trust", "test"])
def test_no_model_is_trained_on_rows_for_choosing_or_measuring(tmp_path, split):
    from w2s import training
    from w2s.tasks import fairness
    row = {"id": "a", "text": "t", "label": 0, "a": 1}
    rows.write(tmp_path / "x.jsonl", [row, row | {"id": "b"} | ({"split": split} if split else {})])
    cfg = SimpleNamespace(data=str(tmp_path / "x.jsonl"))
    if split in ("weak", "wts", None):
        assert len(training.read_truth(fairness, cfg)) == 2
        return
    with pytest.raises(ValueError, match=f"x.jsonl:2: the row belongs to split '{split}'"):
        training.read_truth(fairness, cfg)


def test_labels_and_measures_of_other_content_or_settings_are_never_taken_for_done(tmp_path):
    import evaluate
    import label
    cfg = label.Config(task="fairness", run=["r"], data=["x.jsonl"])
    file = tmp_path / "x.jsonl"
    file.touch()
    rows.write_json(f"{file}.meta.json", label.settings("d1", cfg))
    assert label.is_labelled(file, "d1", cfg)
    for key, value in (("temperature", 2.0), ("max_length", 9), ("dtype", "bfloat16"),
                       ("prefix", 9), ("decode", "sample"), ("seed", 1), ("task", "ood"), ("", 0)):
        other = dataclasses.replace(cfg, **({key: value} if key else {}))
        with pytest.raises(ValueError, match="made from other data or with other settings"):
            label.is_labelled(file, "d1" if key else "d2", other)
    assert not label.is_labelled(file, "d1", dataclasses.replace(cfg, hidden=True))  # no states yet
    (tmp_path / "predictions").mkdir()
    rows.write_json(tmp_path / "config.json", {})
    cfg = evaluate.Config(task="fairness", run=[str(tmp_path)], data=["test.jsonl"])
    evaluate.save(tmp_path, "test", [{"id": "a"}], [], "d1", cfg)
    assert evaluate.is_evaluated(tmp_path, "test", "d1", cfg)
    for key, value in (("max_length", 9), ("dtype", "bfloat16"), ("", 0)):
        other = dataclasses.replace(cfg, **({key: value} if key else {}))
        with pytest.raises(ValueError, match="measured on other data or with other settings"):
            evaluate.is_evaluated(tmp_path, "test", "d1" if key else "d2", other)
    (tmp_path / "predictions" / "test.jsonl").unlink()
    assert not evaluate.is_evaluated(tmp_path, "test", "d1", cfg)


def test_runs_that_read_otherwise_are_measured_each_in_its_own_way(world, fair, call, tmp_path):
    """Three models of one process: as it is, with another tokenizer, with shorter texts."""
    code, _, err = call(*weak(world, fair, tmp_path / "a", "--epochs", 1))
    assert code == 0, err
    for name in "bc":
        shutil.copytree(tmp_path / "a", tmp_path / name, ignore=shutil.ignore_patterns(".lock"))
    path = tmp_path / "b" / "model" / "tokenizer.json"
    found = read_json(path)
    vocabulary = found["model"]["vocab"]
    one, two = vocabulary["a"], vocabulary["e"]  # two letters trade places
    vocabulary |= {"a": two, "e": one}
    path.write_text(json.dumps(found))
    facts = read_json(tmp_path / "c" / "config.json")
    facts["args"]["max_length"] = 3
    rows.write_json(tmp_path / "c" / "config.json", facts)
    for name in "abc":
        shutil.copytree(tmp_path / name, tmp_path / "alone" / name,
                        ignore=shutil.ignore_patterns(".lock"))
        assert call(*evaluate(fair / "test.jsonl", tmp_path / "alone" / name))[0] == 0
    assert call(*evaluate(fair / "test.jsonl", *(tmp_path / name for name in "abc")))[0] == 0
    made = [[(place / name / "predictions" / "test.jsonl").read_text() for name in "abc"]
            for place in (tmp_path, tmp_path / "alone")]
    assert made[0] == made[1] and len({*made[0]}) == 3


@pytest.mark.parametrize("split", ["test", "weak", "val", "trust"])
def test_labels_of_another_split_are_refused(world, fair, runs, call, tmp_path, split):
    path = tmp_path / "labels.jsonl"
    rows.write(path, [{**row, "split": split} for row in rows.read(runs / LABELS)])
    code, _, err = call(*student(world, path, tmp_path / "run"))
    assert code == 1 and f"{path}:1:" in err and f"'{split}'" in err
    assert not (tmp_path / "run").exists()


def test_labels_of_rows_the_teacher_was_trained_on_are_refused(world, fair, runs, call, tmp_path):
    copy = tmp_path / "weak"
    shutil.copytree(runs / "weak", copy)
    labelled = [{**row, "weak": [.5, .5]} for row in rows.read(fair / "weak.jsonl")]
    for row in labelled:
        del row["split"]
    rows.write(copy / "labels" / "mine.jsonl", labelled)
    code, _, err = call(*student(world, copy / "labels" / "mine.jsonl", tmp_path / "run"))
    assert code == 1 and "which the teacher was trained on" in err


def test_rows_without_weak_labels_and_another_task_are_refused(world, fair, runs, call, tmp_path):
    code, _, err = call(*student(world, fair / "wts.jsonl", tmp_path / "run"))
    assert code == 1 and "wts.jsonl:1: no key 'weak'" in err
    code, _, err = call(*label(runs / "weak", fair / "wts.jsonl", task="ood"))
    assert code == 1 and "a run of task 'fairness'" in err


@pytest.mark.parametrize("made, word", [(label, "labels"), (evaluate, "predictions")])
def test_two_files_of_one_name_would_share_an_output(fair, runs, call, tmp_path, made, word):
    shutil.copy(fair / "wts.jsonl", tmp_path / "wts.jsonl")
    before = sorted(runs.rglob("*"))
    run, mine = runs / "weak", tmp_path / "wts.jsonl"
    command = made(run, fair / "wts.jsonl") if made is label else made(fair / "wts.jsonl", run)
    for more in (mine, tmp_path / "wts.jsonl.gz"):
        code, _, err = call(*command, more)
        assert code == 1 and err == (f"error: --data: two files of one name; their {word} would "
                                     "share a file\n")
    assert sorted(runs.rglob("*")) == before


def test_rewards_are_for_answers_of_free_text(world, runs, call, tmp_path):
    code, _, err = call(*student(world, runs / LABELS, tmp_path / "run", "--objective", "grpo"))
    assert code == 1 and not (tmp_path / "run").exists()
    assert err == ("error: --objective grpo: the answers of --task fairness are no free text; it "
                   "is for arithmetic and game\n")


def test_weights_that_are_not_finite_are_never_saved(world, fair, call, tmp_path):
    """Those of the last step: no loss is computed from them. 160 rows make one step."""
    code, _, err = call(*weak(world, fair, tmp_path / "run", "--lr", "1e39", "--batch-size", 160,
                              "--epochs", 1))
    assert code == 1 and err == (f"error: {tmp_path / 'run'}: gpt_neox.embed_in.weight is not "
                                 "finite; delete the folder and try a smaller --lr or --lam\n")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"config.json", "log.jsonl", ".lock"}


def test_a_checkpoint_behind_the_last_step_is_refused(world, fair, call, tmp_path, monkeypatch):
    """160 rows in batches of 32, two epochs: ten steps, and a file that says eleven."""
    command = weak(world, fair, tmp_path / "run", "--epochs", 2, "--save-every", ".2")
    after = training.TrainingRun.after

    def killed(self, k, loss, **extra):
        after(self, k, loss, **extra)
        if k == 3:
            raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingRun, "after", killed)
        assert call(*command)[0] == 130
    path = tmp_path / "run" / "checkpoint.safetensors"
    save_file(load_file(path), path, {"step": "11"})
    before = path.read_bytes()
    code, _, err = call(*command)
    assert code == 1 and path.read_bytes() == before
    assert err == f"error: {path}: of step 11, but the run has 10; delete it to start over\n"


def test_a_run_that_is_not_finished_or_no_run_is_refused(fair, runs, call, tmp_path):
    code, _, err = call(*label(tmp_path, fair / "wts.jsonl"))
    assert code == 1 and "not a run" in err
    shutil.copytree(runs / "weak", tmp_path / "half")
    (tmp_path / "half" / "DONE").unlink()
    code, _, err = call(*evaluate(fair / "test.jsonl", tmp_path / "half"))
    assert code == 1 and "not finished" in err


def contents(folder):
    """{path: bytes} of the files of a folder."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind, message", [
    ("folder", "not a file; delete it to start over"),
    ("weights", "no optimizer state in this checkpoint; delete it to start over")])
def test_a_run_does_not_go_on_from_what_is_no_checkpoint(world, fair, runs, call, tmp_path, kind,
                                                         message):
    """A run that was killed, beside whose log stands a folder, or the model's weights alone."""
    out = tmp_path / "weak"
    shutil.copytree(runs / "weak", out, ignore=shutil.ignore_patterns(
        "DONE", "model", "labels", "predictions", "eval.json", ".lock"))
    path = out / "checkpoint.safetensors"
    if kind == "folder":
        path.mkdir()
    else:
        stored = load_file(runs / "weak" / "model" / WEIGHTS)
        save_file({f"model/{name}": p for name, p in stored.items()}, path, {"step": "3"})
    before = contents(out)
    code, _, err = call(*weak(world, fair, out))
    assert code == 1 and err == f"error: {path}: {message}\n"
    assert {name: content for name, content in contents(out).items()
            if not name.endswith(".lock")} == before


def test_a_model_whose_numbers_overflow_is_refused_with_the_row(runs, call, tmp_path):
    """A head of the largest numbers: every weight is finite, no logit is. Of three rows that are
    read together the second is the longest."""
    shutil.copytree(runs / "weak", tmp_path / "weak", ignore=shutil.ignore_patterns(
        "labels", "predictions", "eval.json", ".lock"))
    file = tmp_path / "weak" / "model" / WEIGHTS
    stored = load_file(file)
    stored["score.weight"] = stored["score.weight"].sign() * 3.3e38
    save_file(stored, file, {"format": "pt"})
    rows.write(tmp_path / "x.jsonl", [{"id": name, "text": text, "label": 0, "a": 1} for name, text
                                      in (("a", "dull"), ("b", "a warm garden"), ("c", "warm"))])
    said = "the model's output is not finite (row 2 ff.)\n"
    code, _, err = call(*label(tmp_path / "weak", tmp_path / "x.jsonl"))
    assert code == 1 and err == f"error: {tmp_path / 'weak' / 'model'}: label: {said}"
    code, _, err = call(*evaluate(tmp_path / "x.jsonl", tmp_path / "weak"))
    assert code == 1 and err == f"error: evaluate {tmp_path / 'weak'} x: {said}"
    assert {path.name for path in (tmp_path / "weak").iterdir()} == {
        "config.json", "log.jsonl", "model", "DONE", ".lock"}


def test_a_folder_that_holds_something_else_is_not_touched(world, fair, call, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    code, _, err = call(*weak(world, fair, tmp_path / "mine"))
    assert code == 1 and "not empty" in err and os.listdir(tmp_path / "mine") == ["thesis.txt"]


def test_a_second_process_waits_for_the_first_and_finds_its_work_done(world, fair, tmp_path):
    command = argv(weak(world, fair, tmp_path / "run", "--epochs", 40))
    first, second = (subprocess.Popen(command, cwd=ROOT, text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      env=os.environ | {"OMP_NUM_THREADS": "1"}) for _ in range(2))
    found = [(p.communicate(), p.returncode) for p in (first, second)]
    assert sorted(code for _, code in found) == [0, 1], found  # both began: one has to say so
    assert any("another process made this run" in err for (_, err), _ in found)
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0 and "done already" in again.stdout


def test_output_that_cannot_be_written_is_one_line(world, fair, call, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = call(*weak(world, fair, tmp_path / "file" / "run"))
    assert code == 1 and err.count("\n") == 1 and "file" in err


def test_a_full_disk_is_one_line_and_leaves_no_model(world, fair, tmp_path):
    command = " ".join(argv(weak(world, fair, tmp_path / "run", "--epochs", 1)))
    done = subprocess.run(["bash", "-c", f"ulimit -f 40; exec {command}"],  # no file above 40 KB
                          cwd=ROOT, capture_output=True, text=True)
    err = done.stderr
    assert done.returncode == 1 and err.count("\n") == 1 and "error: " in err, err
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob("*.safetensors"))
    assert not (tmp_path / "run" / "DONE").exists()


HELP_WITHOUT_TORCH = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    pass
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("script", ["train_weak", "train_student", "label", "evaluate"])
def test_help_teaches_and_does_not_import_torch(script):
    done = subprocess.run([sys.executable, "-c", HELP_WITHOUT_TORCH, f"{script}.py"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0 and f"python {script}.py --task" in done.stdout, done.stderr


def break_shard(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(
        {"weight_map": {"a": "model-00001-of-00002.safetensors"}}))


def move_a_letter(folder):
    """Give a letter of every text, as "sex" is in each, a number above the model's 512."""
    found = read_json(folder / "tokenizer.json")
    found["model"]["vocab"]["x"] = 5000
    rows.write_json(folder / "tokenizer.json", found)


MODELS = {
    "missing shard": (break_shard, "model-00001-of-00002.safetensors"),
    "corrupt header": (lambda f: (f / WEIGHTS).write_bytes(b"\xff" * 64), WEIGHTS),
    "truncated": (lambda f: os.truncate(f / WEIGHTS, 5000), WEIGHTS),
    "architecture": (lambda f: rows.write_json(f / "config.json", {"model_type": "bert"}),
                     "gpt_neox"),
    "pickle": (lambda f: (f / WEIGHTS).rename(f / "pytorch_model.bin"), "never unpickle"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json"),
    "another's tokenizer": (move_a_letter, "model/tokenizer.json: gives token 5000, but the model "
                                           "has only 512; it is another model's tokenizer")}


@pytest.mark.parametrize("name", MODELS)
def test_a_broken_model_folder_is_one_line_and_leaves_nothing(world, fair, call, tmp_path, name):
    damage, message = MODELS[name]
    shutil.copytree(world / "tiny-2x32", tmp_path / "model")
    damage(tmp_path / "model")
    code, _, err = call(*weak(world, fair, tmp_path / "run", "--model", tmp_path / "model"))
    assert code == 1 and err.count("\n") == 1 and message in err, err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content, message", [
    (None, "no such file"), ("", "no rows"), ('{"id": "a"}\n', ":1: no key 'text'"),
    ('{"id": "a", "text": "t", "label": 5, "a": 1}\n', ":1: 'label' is 5"),
    ('{"id": "a", "text": "t", "label": 1, "a": NaN}\n', ":1: NaN")])
def test_broken_data_is_one_line_and_leaves_nothing(world, fair, call, tmp_path, content, message):
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)
    code, _, err = call(*weak(world, fair, tmp_path / "run", "--data", path))
    assert code == 1 and err.count("\n") == 1 and message in err and str(path) in err, err
    assert not (tmp_path / "run").exists()
