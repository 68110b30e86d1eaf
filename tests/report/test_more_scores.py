"""Consistency, agreement and a user's own scores in the report, under their names.

    python -m pytest -q tests/report/test_more_scores.py
"""

import shutil

import numpy as np

from tests.conftest import read_json
from tests.report.test_report import run, table_of
from tests.report.test_trust_results import ACC, CHOICES, cells, choices, students
from w2s import rows

NEW = {"consistency": (.5, .68), "agreement": (.6, .70), "mine": (.2, .64)}


def planted(folder):
    """Runs of every way, those of mine by scores of a file."""
    students(folder, seeds=(0, 1), quality=ACC | {f"student-{by}": acc
                                                  for by, (_, acc) in NEW.items()})
    choices(folder, seeds=(0, 1), quality=CHOICES | {
        f"trust-{by}": (follows, .6, "weak-none") for by, (follows, _) in NEW.items()})
    for path in folder.glob("mcqa/*/trust-mine/trust.json"):
        rows.write_json(path, read_json(path) | {"select": "file", "name": "mine"})
    return folder


def test_more_scores_have_a_row_and_their_students_a_column(tmp_path):
    text = run(planted(tmp_path))
    assert "Not finished" not in text and "Doubtful" not in text
    main = cells(text, "Students by the labels that train them: accuracy on test rows (Recovery), "
                 "as in the paper's main table")
    found = dict(zip(main[0], main[2]))
    for by in NEW:
        acc = np.mean([float(line["value"]) for line in table_of(tmp_path) if (
            line["model"], line["selection"], line["slice"], line["metric"]) == (
            "student-naive", by, "all", "acc")])
        assert found[by].startswith(f"{acc:.3f} (")
    lines = {line[1]: line for line in cells(
        text, "Multiple choice: how good each choice of labels is")[2:]}
    scores = ["random", "confidence", "icl-confidence", "reward", "consistency", "agreement",
              "mine", "ntf"]
    assert [*lines][:len(scores)] == scores
    for line in map(lines.get, scores):
        assert line[2].startswith("0.") or line[2].startswith("1.")  # AUC
        assert line[6].startswith("0.") or line[6].startswith("1.")  # purity
    assert lines["random"][4] == "-" != lines["mine"][4]  # ECE
    trained = {line[0]: line for line in cells(
        text, "Multiple choice: students by the labels that train them")[2:]}
    assert trained["mine"][1] == "120" and trained["agreement"][3].startswith("0.")
    known = {(r["model"], r["selection"], r["metric"]) for r in table_of(tmp_path)}
    for by in NEW:
        assert ("student-naive", by, "recovery") in known and ("weak", by, "auc") in known


def test_scores_of_a_file_that_one_seed_lacks_are_listed(tmp_path):
    planted(tmp_path)
    (tmp_path / "mcqa/seed1/trust-mine/DONE").unlink()
    assert "- mcqa/trust-mine: not finished (seed 1)" in run(tmp_path)


def test_scores_of_a_file_that_no_run_has_chosen_by_are_listed(tmp_path):
    """A student alone tells that the choice of its labels is missing."""
    planted(tmp_path)
    for seed in (0, 1):
        shutil.rmtree(tmp_path / f"mcqa/seed{seed}/trust-mine")
    assert "- mcqa/trust-mine: not run (seed 0, 1)" in run(tmp_path)
