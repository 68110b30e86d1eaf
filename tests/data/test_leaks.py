"""Rows seen in training are known by their texts, from whatever folder one asks.

    python -m pytest -q tests/data/test_leaks.py
"""

import json
import os

import pytest

from w2s import rows, runs
from w2s.data import leaks


def row(k, text, **more):
    return {"id": str(k), "text": text, **more}


TAUGHT = [row(0, "a warm garden"), row(1, "a dull street", choices=["yes", "no"])]


@pytest.mark.parametrize("other, refused", [
    (row(0, "A  warm garden"), "id '0' is in"), (row(0, "another text"), None),
    (row(7, "a warm garden"), "the text of id '7' is that of id '0'"),
    (row(1, "a dull street", choices=["yes", "never"]), None),
    (row(8, "a dull street", choices=["Yes", "no"]), "the text of id '8' is that of id '1'")])
def test_a_row_is_known_by_its_text_and_choices_and_never_by_its_id_alone(other, refused):
    seen = leaks.Seen(TAUGHT, "x.jsonl")
    if refused is None:
        return seen.refuse(other, "y.jsonl", 3, "take others")
    with pytest.raises(ValueError, match=f"^y.jsonl:3: {refused}.* x.jsonl; take others$"):
        seen.refuse(other, "y.jsonl", 3, "take others")


def test_two_splits_that_were_drawn_row_by_row_may_share_a_text():
    seen = leaks.Seen([row(0, "t", split="weak")], "x")
    seen.refuse(row(1, "t", split="wts"), "y", 1, "")
    for other in (row(0, "t", split="wts"), row(1, "t", split="weak"), row(1, "t")):
        with pytest.raises(ValueError, match="^y:1: "):
            seen.refuse(other, "y", 1, "")


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A run of data/weak.jsonl made in the folder `home`, with labels."""
    home = tmp_path / "home"
    rows.write(home / "data" / "weak.jsonl", TAUGHT)
    monkeypatch.chdir(home)
    given = "data/weak.jsonl"
    rows.write_json("runs/weak/config.json", {
        "script": "train_weak.py", "args": {"task": "mcqa", "data": given}, "epochs": 1,
        "folder": os.getcwd(), "inputs": {given: rows.sha256(given)}})
    return home


def labels(home):
    return home / "runs" / "weak" / "labels" / "wts.jsonl"


def test_a_relative_path_is_read_from_where_the_run_was_made(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="trained on; label a split"):
        leaks.refuse_taught(labels(world), TAUGHT, "mcqa")
    leaks.refuse_taught(labels(world), [row(0, "new")], "mcqa")
    with pytest.raises(ValueError, match="labels of task 'mcqa'"):
        leaks.refuse_taught(labels(world), TAUGHT, "ood")


def test_an_experiment_that_was_moved_or_that_another_version_made_is_checked_too(
        world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    moved = tmp_path / "elsewhere"
    world.rename(moved)
    facts = json.loads((moved / "runs/weak/config.json").read_text())
    for folder in (facts["folder"], None):
        rows.write_json(moved / "runs/weak/config.json", facts | {"folder": folder})
        with pytest.raises(ValueError, match="trained on; label a split"):
            leaks.refuse_taught(labels(moved), TAUGHT, "mcqa")


def test_what_cannot_be_checked_is_said(world, capsys):
    rows.write(world / "data" / "weak.jsonl", TAUGHT[:1])
    with pytest.raises(ValueError, match="trained on; label a split"):  # of what is there still
        leaks.refuse_taught(labels(world), TAUGHT, "mcqa")
    assert not capsys.readouterr().err
    for how in ("has changed", "is gone"):
        leaks.refuse_taught(labels(world), TAUGHT[1:], "mcqa")
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and f"data/weak.jsonl, which {how}" in err
        assert "could not be checked" in err
        (world / "data" / "weak.jsonl").unlink(missing_ok=True)


def test_a_run_of_no_epochs_has_seen_no_row_and_one_that_does_not_say_has(world):
    run, facts = world / "runs/weak", json.loads((world / "runs/weak/config.json").read_text())
    assert len(leaks.taught(run, facts).texts) == 2
    assert len(leaks.taught(run, {k: v for k, v in facts.items() if k != "epochs"}).texts) == 2
    assert not leaks.taught(run, facts | {"epochs": 0}).texts
    facts["args"] |= {"labels": facts["args"].pop("data")}  # a student's
    assert not leaks.taught(run, facts).texts
    assert len(leaks.taught(run, facts, ("data", "labels")).texts) == 2


def test_the_teacher_of_chosen_labels_is_found_from_anywhere(world, tmp_path, monkeypatch):
    rows.write_json(world / "runs/trust/config.json", {
        "script": "train_ntf.py", "args": {"teacher": "runs/weak"}, "inputs": {},
        "folder": str(world)})
    monkeypatch.chdir(tmp_path)
    chosen = world / "runs/trust/labels/wts.jsonl"
    with pytest.raises(ValueError, match="trained on; label a split"):
        leaks.refuse_taught(chosen, TAUGHT, "mcqa")
    assert runs.located(world / "runs/trust", {"folder": str(world)}, "runs/none") is None
