"""What the report says of the first paper, held to a table written by hand from its text.

    python -m pytest -q tests/report/test_claims.py
"""

from collections import Counter

import pytest

from tests.report.test_report import FAIR, LADDER, plant
from w2s.report import claims, paper, results

# By hand from arXiv 2501.00418: (place, number as printed, which models of which strategies are
# compared, the worse one first, in which measure). T trust, A accuracy or what the task's is.
TABLE = {
    "fairness": [
        # 4.1, Weak TFT: weak, WTS-Naive and WTS-Aux-Loss are more fair than under No TFT
        ("4.1, Weak TFT", "", "none weak < weak weak", "T"),
        ("4.1, Weak TFT", "", "none student-naive < weak student-naive", "T"),
        ("4.1, Weak TFT", "", "none student-aux < weak student-aux", "T"),
        # 4.1, Weak+WTS TFT: statistically significant from weak to WTS-Naive, and Aux above Naive
        ("4.1, Weak+WTS TFT", "significant", "both weak < both student-naive", "T"),
        ("4.1, Weak+WTS TFT", "", "both student-naive < both student-aux", "T"),
        # 4.2: from Figure A2 (Weak TFT) to Figure 3 (Weak+WTS TFT) transfer is amplified
        ("4.2, Regularization Strength", "Figs. A2, 3", "weak student-naive < both student-naive",
         "T"),
        ("4.2, Regularization Strength", "Figs. A2, 3", "weak student-aux < both student-aux", "T"),
        # 4.1, Tradeoff: gains up to 3 points (60 % of unfairness), accuracy falls by at most 1.5 %
        ("4.1, Tradeoff", "3 points, 60 %", "none student-naive < both student-naive", "T"),
        ("4.1, Tradeoff", "1.5 % at most", "none weak < weak weak", "A - .015"),
        ("4.1, Tradeoff", "1.5 % at most", "none student-naive < both student-naive", "A - .015"),
        ("4.1, Tradeoff", "1.5 % at most", "none student-aux < both student-aux", "A - .015"),
        # App. B, Figure A10: equalised odds (true positive rate) has the trend too
        ("App. B, Fig. A10", "", "both weak < both student-naive < both ceiling", "tpr_gap_abs"),
        # App. B: performance degrades as max alpha rises; Figures A7 (Weak TFT), A8 (Weak+WTS TFT)
        ("App. B, Fig. A7", "", "weak student-aux < weak student-naive", "A"),
        ("App. B, Fig. A8", "", "both student-aux < both student-naive", "A"),
        # 1: the strong model trained on weak outputs often surpasses the weak one (Burns et al.)
        ("1, after Burns et al.", "", "none weak < none student-naive < none ceiling", "A")],
    "ood": [
        ("4.1, Weak TFT", "", "none weak < weak weak", "T"),
        # 4.1, Weak TFT: 72 % for the weak model, 75 % for WTS-Naive and WTS-Aux-Loss
        ("4.1, Weak TFT", "72 → 75 %", "weak weak < weak student-naive", "T"),
        ("4.1, Weak TFT", "72 → 75 %", "weak weak < weak student-aux", "T"),
        ("4.1, Weak+WTS TFT", "significant", "both weak < both student-naive", "T"),
        ("4.2, Regularization Strength", "Figs. A2, 3", "weak student-naive < both student-naive",
         "T"),
        ("4.2, Regularization Strength", "Figs. A2, 3", "weak student-aux < both student-aux", "T"),
        ("App. B, Fig. A7", "", "weak student-aux < weak student-naive", "A"),
        ("App. B, Fig. A8", "", "both student-aux < both student-naive", "A"),
        ("1, after Burns et al.", "", "none weak < none student-naive < none ceiling", "A")],
    "adversarial": [
        # 4.1, Weak TFT: weak from 71 % (No TFT) to 78 %; the students improve, but stay below it
        ("4.1, Weak TFT", "71 → 78 %", "none weak < weak weak", "T"),
        ("4.1, Weak TFT", "", "none student-naive < weak student-naive", "T"),
        ("4.1, Weak TFT", "", "none student-aux < weak student-aux", "T"),
        ("4.1, Weak TFT", "", "weak student-naive < weak weak", "T"),
        ("4.1, Weak TFT", "", "weak student-aux < weak weak", "T"),
        ("4.1, Weak+WTS TFT", "significant", "both weak < both student-naive", "T"),
        ("4.1, Weak+WTS TFT", "", "both student-naive < both student-aux", "T"),
        ("4.2, Regularization Strength", "Figs. A2, 3", "weak student-naive < both student-naive",
         "T"),
        ("4.2, Regularization Strength", "Figs. A2, 3", "weak student-aux < both student-aux", "T"),
        ("4.1, Tradeoff", "3 points at most", "none student-naive < both student-naive", "T"),
        ("4.1, Tradeoff", "3 points at most", "none student-aux < both student-aux", "T"),
        ("4.1, Tradeoff", "1.5 % at most", "none weak < weak weak", "A - .015"),
        ("4.1, Tradeoff", "1.5 % at most", "none student-naive < both student-naive", "A - .015"),
        ("4.1, Tradeoff", "1.5 % at most", "none student-aux < both student-aux", "A - .015"),
        ("App. B, Fig. A7", "", "weak student-aux < weak student-naive", "A"),
        ("App. B, Fig. A8", "", "both student-aux < both student-naive", "A"),
        ("1, after Burns et al.", "", "none weak < none student-naive < none ceiling", "A")],
    "privacy": [
        # 4.1, Weak TFT: weak 18 to 14 %, WTS-Naive 45 to 44 %
        ("4.1, Weak TFT", "18 → 14 %", "none weak < weak weak", "T"),
        ("4.1, Weak TFT", "45 → 44 %", "none student-naive < weak student-naive", "T"),
        # 4.1, Weak+WTS TFT: WTS-Naive from 45 to 26 %, still above the weak model's 14 %
        ("4.1, Weak+WTS TFT", "45 → 26 %", "none student-naive < both student-naive", "T"),
        ("4.1, Weak+WTS TFT", "26, 14 %", "both student-naive < both weak", "T"),
        # Remarks: larger models leak more; Figure A11: no trend in membership inference either
        ("4.1, Remarks on privacy", "", "none ceiling < none weak", "T"),
        ("App. B, Fig. A11", "", "none ceiling < none weak", "mia_auc")],
}
TABLE_1 = {"fairness": "× × ✓", "ood": "✓ ✓ ✓", "adversarial": "✓ × ✓", "privacy": "× × ×"}


def as_written(said):
    metric = {"trust": "T", "task": "A"}.get(said.metric, said.metric)
    return (said.place, said.number, " < ".join(" ".join(part) for part in said.parts),
            metric + (f" - {said.margin:g}".replace("0.", ".") if said.margin else ""))


@pytest.mark.parametrize("task", sorted(TABLE))
def test_every_claim_has_its_place_and_number(task):
    assert Counter(map(as_written, paper.CLAIMS[task])) == Counter(TABLE[task])


def test_table_1_is_the_papers():
    assert paper.TABLE_1.keys() == TABLE_1.keys() == paper.CLAIMS.keys()
    for task, cells in TABLE_1.items():
        assert paper.table_1(task) == tuple({"×": "no", "✓": "yes"}[cell] for cell in cells.split())
    assert paper.table_1("fifth") == ("-", "-", "-")


@pytest.mark.parametrize("task, quality", [("fairness", FAIR), ("ood", LADDER),
                                           ("adversarial", LADDER)])
def test_the_report_shows_them_all_and_marks_what_is_ours(tmp_path, task, quality):
    plant(tmp_path, task, quality, seeds=(0, 1), n=120)
    found = claims.claims(results.Study.read(tmp_path / task, draws=200))
    shown = Counter((claim.place, claim.number) for claim in found)
    expected = Counter((place, number) for place, number, *_ in TABLE[task])
    expected += Counter(("Table 1", {"×": "no", "✓": "yes"}[c]) for c in TABLE_1[task].split())
    assert {key: n for key, n in shown.items() if key[0] != claims.OURS} == dict(expected)
    assert shown["ours", ""] == 3 and all(not claim.number for claim in found
                                          if claim.place == claims.OURS)
