"""A fifth property is one file: it is trained, labelled, measured and reported without a further
change, and what its file lacks is said when it is loaded. pytest tests/tasks/test_property.py
"""

import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tests import calibration
from tests.conftest import read_json
from w2s import rows, tasks

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(world, tmp_path_factory):
    """A copy of the project with w2s/tasks/calibration.py, and 300 sentences as raw data."""
    home = tmp_path_factory.mktemp("project")
    for path in (*ROOT.glob("*.py"), ROOT / "w2s", ROOT / "recipes"):
        if path.is_dir():
            shutil.copytree(path, home / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, home)
    shutil.copy(ROOT / "tests" / "calibration.py", home / "w2s" / "tasks")
    (home / "raw").mkdir()
    (home / "raw" / "sentences.jsonl").write_text("".join(json.dumps(
        {"text": f"the garden is {'warm' if n % 2 else 'dull'} {n}", "label": n % 2}) + "\n"
        for n in range(300)))
    return home


def run(home, *words):
    env = {key: value for key, value in os.environ.items() if key != "W2S_FROM"}  # run_all.sh's
    done = subprocess.run([sys.executable, *map(str, words)], cwd=home, capture_output=True,
                          text=True, env={**env, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fifth_property_goes_from_raw_files_to_the_report(home, world):
    task, seed = ("--task", "calibration"), Path("runs/calibration/seed0")
    data, weak, strong = Path("runs/data/calibration"), world / "tiny-2x32", world / "tiny-3x64"
    run(home, "-m", "w2s.prepare", "data", *task, "--raw", "raw", "--out", data)
    for out, model in (("weak-none", weak), ("ceiling-none", strong)):
        run(home, "train_weak.py", *task, "--model", model, "--data", data / "weak.jsonl",
            "--out", seed / out, "--lam", 0, "--epochs", 1)
    run(home, "label.py", *task, "--run", seed / "weak-none", "--data", data / "wts.jsonl")
    for kind, alpha in (("naive", 0), ("aux", .2)):
        run(home, "train_student.py", *task, "--model", strong, "--labels",
            seed / "weak-none/labels/wts.jsonl", "--out", seed / f"student-{kind}-none",
            "--alpha", alpha, "--lam", 0, "--epochs", 1)
    models = [seed / name for name in ("weak-none", "student-naive-none", "student-aux-none",
                                       "ceiling-none")]
    run(home, "evaluate.py", *task, "--data", data / "test.jsonl", "--run", *models)
    run(home, "-m", "w2s.report", "--runs", "runs", "--figures", "no", "--draws", 100)
    for model in models:  # by the definition, from the predictions
        found = rows.read(home / model / "predictions" / "test.jsonl")
        brier = sum((row["p"][1] - row["label"]) ** 2 for row in found) / len(found)
        measured = {entry["metric"]: entry["value"] for entry in
                    read_json(home / model / "eval.json")["test"]["metrics"]}
        assert measured["brier"] == pytest.approx(brier)
    report = (home / "runs" / "report.md").read_text()
    assert "## Calibration" in report and "| calibration brier " in report
    table = (home / "runs" / "results.csv").read_text()
    assert "calibration,none,student-aux,all,0,all,brier," in table


def test_its_commands_are_planned(home):
    plan = run(home, "-m", "w2s.experiment", "paper", "--tasks", "calibration", "--raw", "raw",
               "--seeds", 1, "--dry-run")
    for name in ("weak-none", "weak-tft", "student-naive-none", "student-aux-both", "ceiling-tft"):
        assert f"calibration/seed0/{name} " in plan, name


@pytest.mark.parametrize("change, problem", [
    ({"headline": None}, "headline is NoneType, expected Callable"),
    ({"KIND": 3}, "KIND is int, expected str"), ({"LABEL": "a"}, "LABEL is str, expected tuple"),
    ("headline", "no headline; the contract of a task stands in w2s/tasks/__init__.py"),
    ({"KIND": "clas"}, "KIND is 'clas', expected one of class, letters, text; the contract"),
    ({"TASK": "accuracy"}, "TASK is 'accuracy', which METRICS does not name; the contract"),
    ({"TRUST": "brie"}, "TRUST is 'brie', which METRICS does not name; the contract"),
    ("TASK", "no TASK;"), ("batches", "no batches;")])
def test_what_a_task_lacks_is_one_line_that_names_it(change, problem):
    module = types.ModuleType("calibration")
    module.__dict__.update(vars(calibration) | (change if isinstance(change, dict) else {}))
    if isinstance(change, str):
        delattr(module, change)
    with pytest.raises(ValueError, match=f"^.*calibration.py: {problem}"):
        tasks.record("calibration", module)


@pytest.mark.parametrize("text, line, problem", [
    ("\n\ndef broken(:\n", 3, "SyntaxError: invalid syntax"),
    ("import nowhere\n", 1, "ModuleNotFoundError: No module named 'nowhere'"),
    ("from w2s import nowhere\n", 1, "ImportError: cannot import name 'nowhere'"),
    ("\nKIND = klass\n", 2, "NameError: name 'klass' is not defined"),
    ("TITLE = 'A' + 1\n", 1, "TypeError: can only concatenate str")])
def test_a_file_that_python_cannot_run_is_one_line_that_names_it(text, line, problem, tmp_path,
                                                                 monkeypatch):
    path = tmp_path / "broken.py"
    path.write_text(text)
    monkeypatch.setattr(tasks, "NAMES", [*tasks.NAMES, "broken"])
    monkeypatch.setattr(tasks, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(tasks, "__path__", [str(tmp_path)])
    with pytest.raises(ValueError) as error:
        tasks.load("broken")
    assert str(error.value).startswith(f"{path}:{line}: {problem}")


def test_a_package_that_cannot_be_loaded_is_no_fault_of_the_file(tmp_path, monkeypatch):
    (tmp_path / "deep.py").write_text("import nowhere\n")
    (tmp_path / "mine.py").write_text("import deep\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(tasks, "NAMES", [*tasks.NAMES, "mine"])
    monkeypatch.setattr(tasks, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(tasks, "__path__", [str(tmp_path)])
    with pytest.raises(ModuleNotFoundError):
        tasks.load("mine")


def test_its_file_is_short():
    assert len(Path(calibration.__file__).read_text().splitlines()) < 90
