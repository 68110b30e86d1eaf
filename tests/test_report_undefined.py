"""What cannot be said stands as "-" in every table and as an empty cell in results.csv: a share of
a gap within noise, a number that is nan. And what comes from outside is only ever text.

    python -m pytest -q tests/test_report_undefined.py
"""

import re

import pytest

from tests.test_report import FAIR, LADDER, plant, results, run
from tests.test_trusted import ACC, CHOICES, choices, students
from w2s import page


def words(folder, capsys, *flags):
    """report.md, report.html without its style sheet, terminal, results.csv."""
    capsys.readouterr()
    text = run(folder, *flags)
    html = (folder / "report.html").read_text(encoding="utf-8")
    return (text, re.sub(r"(?s)<style.*?</style>", "", html), capsys.readouterr().out,
            (folder / "results.csv").read_text(encoding="utf-8"))


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_ceiling_like_the_weak_model_has_no_share(seeds, tmp_path, capsys):
    level = {name: (LADDER["weak-none"][0] if name.startswith("ceiling") else acc, trust)
             for name, (acc, trust) in LADDER.items()}
    plant(tmp_path, "ood", {name: (.7, trust) for name, (_, trust) in level.items()}, seeds, 60)
    plant(tmp_path, "adversarial", level, seeds, 60)
    students(tmp_path, quality={**ACC, "student-truth": ACC["base-strong"]}, seeds=seeds)
    choices(tmp_path, seeds=seeds)
    text, html, screen, _ = words(tmp_path, capsys)
    for said in (text, html, screen):
        assert not re.search(r"\b(nan|inf)\b", said, re.I)
    assert "- -" in screen and "within 2 standard errors" in screen  # and why
    shares = {(row["task"], row["metric"]): row["value"] for row in results(tmp_path)
              if row["metric"] in ("pgr", "recovery")
              and (row["task"], row["metric"]) != ("mcqa", "pgr")}
    assert shares == {("ood", "pgr"): "", ("adversarial", "pgr"): "", ("mcqa", "recovery"): ""}


def test_a_gap_that_is_clear_has_its_share_in_every_place(tmp_path, capsys):
    plant(tmp_path, "ood", LADDER, n=150)
    *_, screen, _ = words(tmp_path, capsys)
    shares = [row["value"] for row in results(tmp_path) if row["metric"] == "pgr"]
    assert len(shares) == 3 * 2 * 3 and all(shares) and "0.4" in screen


@pytest.mark.parametrize("absent", ["weak-none", "ceiling-none"])
def test_of_missing_runs_nothing_is_said(absent, tmp_path, capsys):
    skip = {(absent, 0), (absent, 1), (absent, 2)}
    plant(tmp_path, "fairness", FAIR, skip=skip, n=120)
    students(tmp_path, skip={("base-strong", 0), ("student-truth", 1)})
    choices(tmp_path, skip={("trust-ntf", 0)})
    for said in words(tmp_path, capsys):
        assert not re.search(r"\b(nan|inf|None)\b", said)


NAN = float("nan")


def test_words_for_numbers_that_are_nan():
    assert page.mean({"mean": NAN}) == page.spread({"mean": NAN, "sd": NAN}) == page.GONE
    assert page.signed(NAN) == page.span((NAN, NAN)) == page.span((NAN, 1.0)) == page.GONE
    assert page.chance({"p": NAN, "n": 3}, "p") == page.GONE
    assert page.spread({"mean": .5, "sd": NAN}) == "0.500" and page.span((0, 1)) == "[0.000, 1.000]"
