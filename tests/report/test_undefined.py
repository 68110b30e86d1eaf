"""What cannot be said stands as "-" in every table and as an empty cell in results.csv: a share of
a gap within noise, a number that is nan. And what comes from outside is only ever text.

    python -m pytest -q tests/report/test_undefined.py
"""

import csv
import io
import re

import pytest

from tests.report.test_report import FAIR, LADDER, plant, table_of, run
from tests.report.test_trust_results import ACC, CHOICES, choices, students
from w2s import rows
from w2s.report import page, render


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
    assert "- - |" in text and "below 2 standard errors" in text  # and why
    assert "recovers -" in screen and "truth is no better than" in screen
    shares = {(row["task"], row["metric"]): row["value"] for row in table_of(tmp_path)
              if row["metric"] in ("pgr", "recovery")
              and (row["task"], row["metric"]) != ("mcqa", "pgr")}
    assert shares == {("ood", "pgr"): "", ("adversarial", "pgr"): "", ("mcqa", "recovery"): ""}


def test_a_gap_that_is_clear_has_its_share_in_every_place(tmp_path, capsys):
    plant(tmp_path, "ood", LADDER, n=150)
    text, *_ = words(tmp_path, capsys)
    shares = [row["value"] for row in table_of(tmp_path) if row["metric"] == "pgr"]
    assert len(shares) == 3 * 2 * 3 and all(shares) and "0.4" in text


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
    assert render.mean({"mean": NAN}) == render.spread({"mean": NAN, "sd": NAN}) == render.GONE
    assert {render.signed(NAN), *map(render.format_interval, ((NAN, NAN), (NAN, 1.0)))} == {
        render.GONE}
    assert render.format_p({"p": NAN, "n": 3}, "p") == render.GONE
    assert render.spread({"mean": .5, "sd": NAN}) == "0.500"
    assert render.format_interval((0, 1)) == "[0.000, 1.000]"


HOSTILE = '<script>alert(1)</script>\x1b[2J$\\x$ "><img src=x onerror=a>\u202e\n# b|c'


def test_names_from_outside_are_only_text(tmp_path, capsys):
    plant(tmp_path, "ood", LADDER, (0,), 60, commit="c" * 9 + HOSTILE,
          model_name=HOSTILE.replace("/", ""), versions={"torch": HOSTILE, "python": "3"})
    for path in tmp_path.rglob("predictions/test.jsonl"):
        found = rows.read(path)
        found[0]["source"] = "=cmd()" + HOSTILE
        rows.write(path, found)
        rows.write_json(path.parent.parent / "eval.json", {part: {"n": 60, "metrics": [
            {"slice": name, "metric": "acc", "value": .5} for name in (
                "all", "=cmd()", "+1", "-1", "@a", "\ta", "\ra", HOSTILE)]} for part in (
                    "test", "val")})
    text, html, screen, table = words(
        tmp_path, capsys, "--figures", "yes", "--note", HOSTILE, "--command", f"a {HOSTILE}")
    for said in (text, html, screen, table):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", said)
    assert "<script" not in text + html and "<img" not in text + html and "alert(1)" in text
    cells = [cell for row in csv.reader(io.StringIO(table)) for cell in row[:-1]]
    assert "'=cmd()" in cells and not [cell for cell in cells if cell[:1] in "=+-@\t\r" and cell]


def test_names_cannot_leave_their_place():
    blocks = [render.Heading("<b>x\n# y"), render.Bullets(["a\n- b\x9b"]), render.Table(
        "c\n", ["h\x07"], [["a\nb"]]), render.Text("weak < student <!-- x"),
        render.Picture("\"><script>", "figures/a.png", "<svg ></svg>")]
    text, html = render.markdown(blocks), page.html("<script>\x00", blocks)
    assert text.count("\n# ") == 0 and "weak < student &lt;!--" in text and "&lt;b>x # y" in text
    assert "<script" not in text + html.replace("<style", "") and "\x00" not in html


@pytest.mark.parametrize("value", ["Dear Ann, the money is in the box", "a" * 100, ["Dear Ann"],
                                   {"Dear Ann": 1}])
def test_no_error_quotes_a_text(value, tmp_path):
    path = tmp_path / "a.jsonl"
    for rule in (str, rows.NUMBER, (0, 1), 2):
        rows.write(path, [{"id": "x", "field": [value] if rule is str else value}])
        with pytest.raises(ValueError) as error:
            rows.read(path, {"field": rule})
        assert str(error.value).startswith(f"{path}:1: 'field' is ")
        assert "Ann" not in str(error.value) and "aaa" not in str(error.value)
    rows.write(path, [{"id": "x", "field": "yes"}])
    with pytest.raises(ValueError, match="'field' is 'yes', expected one of 0, 1"):
        rows.read(path, {"field": (0, 1)})


@pytest.mark.parametrize("token", ["1e999", "9" * 4400, "NaN", "[" * 3000])
def test_numbers_that_cannot_be_are_named_with_their_line(token, tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1,\n "b":\n ' + token + "}")
    with pytest.raises(ValueError, match=f"{path}:3: ") as error:
        rows.read_json(path)
    assert len(str(error.value)) < 200
    path.write_text('{"a": 1}\n{"b": ' + token + "}\n")
    with pytest.raises(ValueError, match=f"{path}:2: "):
        rows.read(path)
