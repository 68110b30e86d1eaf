"""Run folders: one lock for one folder however it is spelt, and what a folder is taken for.

    python -m pytest -q tests/test_runs.py
"""

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from w2s import locks, runs, whatis
from w2s.config import arg

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def nothing_held():
    locks.release()
    yield
    locks.release()


@pytest.fixture
def run(tmp_path):
    """A finished run `one`, which has the links `link` and `again` too."""
    made(tmp_path / "one")
    (tmp_path / "link").symlink_to("one")
    (tmp_path / "again").symlink_to(tmp_path / "link")
    return tmp_path / "one"


def made(folder, done=True):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(
        {"script": "train_weak.py", "args": {"task": "ood", "max_length": 8}, "inputs": {}}))
    if done:
        (folder / "DONE").touch()
    return folder


def spellings(run):
    return [str(run), f"{run}/", f"{run}/.", f"{run.parent}/x/../one", str(run.parent / "link"),
            str(run.parent / "again"), os.path.relpath(run)]


def in_time(work):
    """Whether work() ends within five seconds."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(5)
    return not thread.is_alive()


def test_a_process_never_waits_for_itself_however_a_folder_is_spelt(run):
    (run.parent / "x").mkdir()
    for name in spellings(run):
        assert in_time(lambda name=name: locks.hold(name)), name
    assert len(locks._held) == 1


def test_a_folder_is_worked_in_once_under_its_first_name(run):
    (run.parent / "x").mkdir()
    other = made(run.parent / "two")
    assert runs.distinct([*spellings(run), other]) == [str(run), other]
    assert list(runs.require_all([str(run.parent / "again"), str(other), str(run)], "ood")) == [
        str(run.parent / "again"), str(other)]


HOLD = ("import sys; from w2s import locks; locks.hold(sys.argv[1]); print('in', flush=True); "
        "input()")


def test_another_process_waits_under_any_name_and_sees_a_folder_that_was_deleted(run):
    first = subprocess.Popen([sys.executable, "-c", HOLD, run], cwd=ROOT, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout.readline() == "in\n"
    second = subprocess.Popen([sys.executable, "-c", HOLD, run.parent / "again"], cwd=ROOT,
                              text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert "waiting for another process" in second.stdout.readline()
    (run / ".lock").unlink()
    first.communicate("\n")
    assert second.stdout.readline() == "in\n"
    assert (run / ".lock").exists()  # the one it holds is the one that others will meet
    second.communicate("\n")


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP])
def test_without_locks_work_goes_on_and_one_line_says_so(code, run, monkeypatch, capsys):
    def flock(file, how):
        raise OSError(code, os.strerror(code))
    monkeypatch.setattr(fcntl, "flock", flock)
    assert locks.hold(run) is False and locks.hold(made(run.parent / "two")) is False
    assert locks.hold(run.parent / "link") is False
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith(f"warning: {run}: the file system has no locks")


def test_what_was_given_in_place_of_a_run_is_said(run):
    parent = run.parent
    (run / "model").mkdir()
    (run / "model" / "config.json").write_text('{"model_type": "gpt_neox"}')
    model, adapter = parent / "checkpoint-9", parent / "peft"
    for folder, name in ((model, "config.json"), (adapter, "adapter_config.json")):
        folder.mkdir()
        (folder / name).write_text('{"model_type": "gpt_neox"}')
    (parent / "file").touch()
    for given, message in ((run / "model", f"give the run itself, {run}"),
                           (model, f"--model {model} --epochs 0 --out RUN"),
                           (adapter, "an adapter"), (parent / "nowhere", "no such run"),
                           (parent / "file", "a file"), (parent, f"such as {parent}")):
        with pytest.raises(ValueError, match="^[^\n]*$") as error:
            runs.require_done(given, "ood")
        assert str(error.value).startswith(f"{given}: ") and message in str(error.value)
    with pytest.raises(ValueError, match="not finished"):
        runs.require_done(made(parent / "begun", done=False), "ood")


def test_what_was_given_in_place_of_a_model_is_said(run):
    assert f"its model is {run / 'model'}" not in whatis.no_model(run)  # it has none
    (run / "model").mkdir()
    (run / "model" / "config.json").write_text('{"model_type": "gpt_neox"}')
    assert f"its model is {run / 'model'}" in whatis.no_model(run)
    assert whatis.no_model(run / "model") is None
    snapshot = run.parent / "hub" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"model_type": "gpt_neox"}')
    assert str(snapshot) in whatis.no_model(snapshot.parent)
    (run.parent / "small.gguf").touch()
    assert "give the folder" in whatis.no_model(run.parent / "small.gguf")


@dataclass
class Given:
    """What a script is given."""
    data: str
    more: str
    out: str
    lam: float = 1.0
    pause: float = arg(0.1, "changes nothing", free=True)


def begin(folder, script="train_weak.py", data="a.jsonl", more="b.jsonl", **own):
    """runs.begin of folder/run with two files of folder as inputs."""
    given = Given(str(folder / data), str(folder / more), str(folder / "run"), **own)
    return runs.begin(folder / "run", script, given, {"data": given.data, "more": given.more})


def test_a_run_is_made_of_the_content_of_its_inputs_and_of_its_arguments(tmp_path, capsys):
    for name in "abc":
        (tmp_path / f"{name}.jsonl").write_text(name)
    (tmp_path / "moved.jsonl").write_text("a")
    begin(tmp_path).start()
    for same in ({}, {"data": "moved.jsonl"}, {"pause": .5}):
        assert begin(tmp_path, **same), same
    for other, said in (({"data": "c.jsonl"}, f"(content of {tmp_path}/c.jsonl)"),
                        ({"data": "b.jsonl", "more": "a.jsonl"},
                         "(the files of --data and --more exchanged)"),
                        ({"lam": 2.0}, "(--lam 1.0 -> 2.0)"),
                        ({"script": "train_ntf.py"}, "script train_weak.py -> train_ntf.py")):
        with pytest.raises(ValueError, match="holds a run made with other settings") as error:
            begin(tmp_path, **other)
        assert said in str(error.value)
    facts = json.loads((tmp_path / "run" / "config.json").read_text())
    del facts["args"]["lam"]  # a version that did not have it
    (tmp_path / "run" / "config.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="--lam the default -> 1.0"):
        begin(tmp_path)
    facts["args"]["lam"] = 1.0
    (tmp_path / "run" / "config.json").write_text(json.dumps(facts))
    (tmp_path / "run" / "DONE").touch()
    assert begin(tmp_path) is None and "run: done already" in capsys.readouterr().out
    (tmp_path / "b.jsonl").write_text("B")  # under the same name
    with pytest.raises(ValueError, match="content of .*b.jsonl"):
        begin(tmp_path)


def test_the_identity_of_a_run_is_of_content_and_not_of_names():
    facts = {"script": "s", "args": {"data": "x", "lam": 1, "out": "o"}, "inputs": {"x": "d1"}}

    def differs(script="s", **more):
        args = facts["args"] | {key: more[key] for key in more.keys() - {"inputs"}}
        other = {"script": script, "args": args, "inputs": more.get("inputs", facts["inputs"])}
        return runs.identity(other, {"data", "out"}) != runs.identity(facts, {"data", "out"})
    assert not differs() and not differs(out="p") and not differs(data="y", inputs={"y": "d1"})
    assert differs(lam=2) and differs(inputs={"x": "d2"}) and differs("t") and differs(new=1)


def test_a_log_is_cut_to_the_steps_before_the_checkpoint(tmp_path):
    run = runs.Run(tmp_path, {})
    (tmp_path / "log.jsonl").write_text("".join(f'{{"step": {k}}}\n' for k in range(5)) + '{"st')
    run.log_from(3)
    run.log(step=3)
    run.finish()
    assert (tmp_path / "log.jsonl").read_text() == "".join(f'{{"step": {k}}}\n' for k in range(4))


def test_a_run_of_a_related_task_may_label_and_is_not_measured(run, tmp_path):
    facts = json.loads((run / "config.json").read_text())
    facts["args"]["task"] = "arithmetic"
    (run / "config.json").write_text(json.dumps(facts))
    assert runs.require_done(run, "mcqa", relatives=True) == facts
    for task, relatives in (("mcqa", False), ("ood", True)):
        with pytest.raises(ValueError, match=f"a run of task 'arithmetic', not of --task {task}"):
            runs.require_done(run, task, relatives)


def test_a_run_that_says_not_how_long_its_texts_were_is_refused(run):
    facts = json.loads((run / "config.json").read_text())
    del facts["args"]["max_length"]
    (run / "config.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError) as error:
        runs.require_done(run, "ood")
    assert str(error.value) == (f"{run / 'config.json'}: no max_length; delete the folder and run "
                                "again")


def test_an_input_is_not_overwritten_under_another_name(tmp_path):
    (tmp_path / "labels.jsonl").touch()
    (tmp_path / "wts.jsonl").symlink_to(tmp_path / "labels.jsonl")
    runs.refuse_overwriting([tmp_path / "new.jsonl"], [tmp_path / "wts.jsonl"])
    with pytest.raises(ValueError, match="labels.jsonl: would be overwritten"):
        runs.refuse_overwriting([tmp_path / "labels.jsonl"], [str(tmp_path / "wts.jsonl")])


def test_a_run_is_known_by_its_arguments_and_inputs():
    assert whatis.is_run({"args": {}, "inputs": {}})
    for facts in ({"args": {}}, {"args": 1, "inputs": {}}, {"inputs": {}}, [], None):
        assert not whatis.is_run(facts)


def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path, name in ((tmp_path / "pipe", "a pipe"), (tmp_path / "link", "a pipe"),
                       ("/dev/null", "a device")):
        with pytest.raises(ValueError, match=f"{path}: {name}, not a regular file"):
            whatis.special(path)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        whatis.special(tmp_path)


@pytest.mark.parametrize("head, name", [
    (b"PAR1\x15\x00\x15", "parquet"), (b"PK\x03\x04\x14\0", "zip"), (b"GGUF\x03\0\0\0", "GGUF"),
    (b"\x80\x04\x95", "pickled"), (b"SQLite format 3\0", "SQLite"), (b"BZh91AY&SY\x00", "bzip2"),
    (b"\x40\0\0\0\0\0\0\0" + b'{"x":', "safetensors"), (b"<!DOCTYPE HTML>\n", "web page"),
    (b"version https://git-lfs.github.com/spec/v1\n", "LFS"), (b"\xff\xfe{\0", "UTF-16")])
def test_a_binary_file_is_named(head, name):
    assert name in whatis.binary(head)[0]


@pytest.mark.parametrize("head", [b"", b'{"id": 1}', b"PAR1 is a word\n", b"BZh9", b"\x1f\x8b\x08",
                                  "GGUF, ein Wort".encode(), b"Rar!"])
def test_text_is_no_binary_file(head):
    assert whatis.binary(head) is None


def test_a_commit_has_a_plus_where_code_is_not_in_it(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path,
                       check=True, capture_output=True)
    (tmp_path / "w2s").mkdir()
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "w2s" / "runs.py"))
    code, ignored = tmp_path / "w2s" / "runs.py", tmp_path / ".gitignore"
    git("init", "-q")
    code.write_text("1")
    ignored.write_text("old/\n")
    git("add", ".")
    git("commit", "-qm", "x")
    assert len(runs._commit()) == 40
    (tmp_path / "notes.txt").touch()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "mine.py").touch()
    assert len(runs._commit()) == 40  # no code, and code that is ignored
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "new.py").touch()
    assert runs._commit().endswith("+")
    git("add", "tasks")
    assert runs._commit().endswith("+")
    git("commit", "-qm", "y")
    assert not runs._commit().endswith("+")


def test_a_model_as_out_is_never_to_be_deleted(world, fair, tmp_path, call):
    model = world / "tiny-2x32"
    for out, said in ((model, "--model itself"), (world / "tiny-3x64", "a model, not a run")):
        before = sorted(path.name for path in out.iterdir())
        code, _, err = call("train_weak", "--task", "fairness", "--model", model, "--data",
                            fair / "weak.jsonl", "--out", out)
        assert code == 1 and said in err and "choose another --out" in err
        assert "delete" not in err and before == sorted(path.name for path in out.iterdir())
