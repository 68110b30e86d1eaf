"""w2s.code: which code a run's numbers come from."""

import ast
import shutil

import pytest

from w2s import code


def closure(script, task):
    """Files behind a script by its syntax trees, another way to the same."""
    todo, files = [code.HOME / script, code.HOME / "w2s/tasks" / f"{task}.py"], set()
    while todo:
        path = todo.pop()
        if path in files or not path.is_file() or path.stem in code.AROUND:
            continue
        files.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
            elif isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            for name in names:
                base = code.HOME / name.replace(".", "/")
                todo += [base.with_suffix(".py"), base / "__init__.py"]
    return {path for path in files if path.is_relative_to(code.HOME / "w2s")} | {code.HOME / script}


@pytest.mark.parametrize("script", ["train_weak.py", "train_student.py"])
@pytest.mark.parametrize("task", ["fairness", "privacy", "mcqa"])
def test_the_files_are_those_that_syntax_trees_lead_to(script, task):
    assert code.files(script, task) == closure(script, task)


def test_names_in_brackets_over_several_lines_are_followed(copy):
    (copy / "train_weak.py").write_text("from w2s.data import (leaks,\n    latex as l)\n")
    names = {path.name for path in code.files("train_weak.py", "none")}
    assert names >= {"train_weak.py", "leaks.py", "latex.py"}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    shutil.copytree(code.HOME / "w2s", tmp_path / "w2s", ignore=shutil.ignore_patterns(
        "models", "__pycache__"))
    shutil.copy(code.HOME / "train_weak.py", tmp_path)
    monkeypatch.setattr(code, "HOME", tmp_path)
    code.digest.cache_clear()
    yield tmp_path
    code.digest.cache_clear()


def edited(copy, file, old, new):
    path = copy / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    code.digest.cache_clear()
    code._read.cache_clear()
    return code.digest("train_weak.py", "ood")


def test_a_comment_changes_nothing_and_a_constant_does(copy):
    before = code.digest("train_weak.py", "ood")
    assert edited(copy, "w2s/train/step.py", "\nimport ", "\n  # a remark\n\nimport ") == before
    assert edited(copy, "w2s/report/results.py", "STATES", "OTHER") == before  # not of training
    assert edited(copy, "w2s/tasks/fairness.py", "SIGN", "OTHER") == before  # another task
    assert edited(copy, "w2s/runs.py", "AGAIN", "OTHER") == before  # around the run
    assert edited(copy, "w2s/train/losses.py", "return", "return 2 *") != before
