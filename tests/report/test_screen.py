"""The first screen: cells, words, where numbers come from: pytest tests/report/test_screen.py"""

import shlex
from types import SimpleNamespace

import numpy as np
import pytest

from tests.report.test_report import FAIR, LADDER, plant, run
from tests.report.test_trust_results import ACC, CHOICES, choices, students
from w2s import rows, tasks
from w2s.report import (curves, opening, page, pictures, provenance, render, results, screen,
                        trust_results, trust_screen, words)


def ladder(trend, first, last, student="student-naive"):
    """Two steps of Study.ladder, each (mean before, mean after, low, high) in trust."""
    return [{"trend": trend, "student": student, "means": [before, after], "difference": high + low,
             "interval": (low, high)} for before, after, low, high in (first, last)]


def study(task, **ladders):
    """A Study of which each strategy has one ladder a student."""
    module = tasks.load(task)
    return SimpleNamespace(task=task, module=module, students=module.STUDENTS, ladder=lambda key,
                           student, metric: ladders.get(f"{key}_{student[8:]}", []))


UP, DOWN = (.6, .7, .05, .15), (.7, .6, -.15, -.05)
MAYBE = (.7, .71, -.01, .03)


@pytest.mark.parametrize("trend, first, last, tone, state, why", [
    ("yes", UP, UP, "good", "**yes**, as in the paper", ""),
    ("ordered", UP, MAYBE, "between", "**not clear** (paper: yes)",
     "student → ceiling may be chance"),
    ("no", UP, DOWN, "bad", "**no** (paper: yes)", "student clearly more robust than the ceiling"),
    ("no", DOWN, UP, "bad", "**no** (paper: yes)",
     "student clearly less robust than the weak model"),
    ("no", (.7, .69, -.02, .01), (.69, .69, -.02, .02), "bad", "**no** (paper: yes)",
     "student less robust than the weak model and as robust as the ceiling")])
def test_a_cell_says_its_state_the_papers_and_why(trend, first, last, tone, state, why):
    both = ladder(trend, first, last)
    cell = screen.cell(study("ood", none_naive=both, none_aux=both), "none")
    assert (cell.tone, cell.state, cell.why) == (tone, state, why)
    assert cell.link == "Origin: OOD robustness, No TFT"


def test_the_weaker_student_stands_in_the_cell_and_is_named():
    found = study("adversarial", weak_naive=ladder("yes", UP, UP),
                  weak_aux=ladder("no", DOWN, UP, "student-aux"))
    cell = screen.cell(found, "weak")
    assert cell.numbers == "70.0 ⇒ 60.0 ⇒ 70.0" and cell.tone == "good"  # the paper's no
    assert cell.why.startswith("student with confidence loss clearly less robust")
    assert screen.cell(study("adversarial", weak_naive=ladder("yes", UP, UP)), "weak").state == (
        "a student is missing (paper: no)")
    assert screen.cell(study("adversarial"), "weak").numbers == "-"


def test_colour_is_agreement_and_never_yes_or_no():
    tones = {(ours, paper): screen.agreement(ours, paper) for ours in results.STATES
             for paper in ("yes", "no", "-")}
    assert tones["no", "no"] == tones["yes", "yes"] == "good"
    assert tones["no", "yes"] == tones["yes", "no"] == "bad"
    assert tones["ordered", "yes"] == tones["ordered", "no"] == "between"
    assert {tones[ours, "-"] for ours in results.STATES} == {"gone"}


def test_a_double_arrow_is_an_interval_without_0():
    steps = [{"interval": ends} for ends in ((.01, .2), (-.2, .1), (-.2, -.1), (0, .1))]
    assert words.chain("ra", [.5, .6, .7, .6, .65], steps) == "50.0 ⇒ 60.0 → 70.0 ⇒ 60.0 → 65.0"
    assert words.chain("brier", [.25, .2], steps[:1]) == "0.250 ⇒ 0.200"  # no share: no per cent
    assert words.number("ra", float("nan")) == "-" and words.named("brier") == "brier"


def test_the_answer_counts_what_the_paper_has():
    cells = [render.Cell("", tone=tone) for tone in ("good", "good", "between", "bad", "gone")]
    assert screen.verdict(cells) == ("Of 4 results that the paper has too, **2 agree, 1 is not "
                                     "clear, 1 differs**.")
    assert screen.verdict(cells[-1:]).startswith("No result here")


def test_the_answer_waits_for_a_result(tmp_path):
    plant(tmp_path, "ood", {"weak-none": (.7, .6)}, seeds=(0,), n=60)
    matrix = screen.screen([results.Study.read(tmp_path / "ood", draws=100)])[0]
    assert matrix.answer == "**No strategy has all of its models yet.**"
    assert [cell.state for cell in matrix.rows[0][2]] == ["not run yet (paper: yes)"] * 3


@pytest.mark.parametrize("counts, said", [
    ((3, 3), "Intervals are over 3 seeds and the test rows."),
    ((5, 3), "Intervals are over 3 to 5 seeds and the test rows."),
    ((1,), "**One seed**: intervals are of the test rows alone."),
    ((1, 3), "**One seed** of some results: there intervals are of the test rows alone.")])
def test_how_sure_it_is_stands_beside_the_answer(counts, said):
    studies = [study("ood", both_naive=[step | {"n": n} for step in ladder("yes", UP, UP)])
               for n in counts]
    assert screen.certainty(studies) == said and said in screen.legend(studies).text


def test_what_is_not_there_yet_is_counted_and_has_no_panel(tmp_path):
    plant(tmp_path, "ood", LADDER, seeds=(0,), n=60)
    plant(tmp_path, "fairness", {}, seeds=(0,), n=60)
    (tmp_path / "fairness" / "seed0" / "weak-none").mkdir(parents=True)
    found = [results.Study.read(tmp_path / task, draws=100) for task in ("fairness", "ood")]
    matrix, legend, _ = screen.screen(found)
    assert matrix.answer.startswith("**Yes in") and matrix.answer.endswith(
        " 3 more have not run yet.")
    assert "**One seed**: intervals" in legend.text
    assert [panel["name"] for panel in pictures.overview(found)[-1]] == [
        "OOD robustness: robust accuracy"]
    assert "Fairness" not in opening.heads(found)[0].text
    assert "overview" not in pictures.drawings(found[:1]) and screen.certainty(found[:1]) == ""


def test_strategies_have_words_beside_their_codes():
    matrix = render.Matrix("Does it?", "No.", ["a", "b", "c"], [*results.STRATEGIES.values()], [
        ("OOD", "of [60.0](#origin-x)", [render.Cell("1")] * 3)], screen.MEANING)
    web, text = page._html(matrix), render.terminal([matrix])
    assert "Weak+WTS TFT<small>student trained for trust too</small></th>" in web
    assert 'data-column="Weak TFT: weak model trained for trust"' in web  # on a phone
    assert '<small>of <a href="#origin-x">60.0</a></small>' in web
    assert "No TFT: no model trained for trust; Weak TFT: weak model" in text
    assert "OOD: of 60.0\n" in text and "#" not in text
    assert "- Weak TFT: weak model trained for trust" in render.markdown([matrix])


def test_sentences_gather_strategies_of_one_answer():
    yes, no = ladder("yes", UP, UP), ladder("no", DOWN, UP)
    found = study("ood", none_naive=yes, none_aux=yes, weak_naive=no, weak_aux=no, both_naive=yes,
                  both_aux=yes)
    assert list(screen.sentences(found)) == [
        "**OOD robustness: yes** under No TFT and Weak+WTS TFT. [60.0 ⇒ 70.0 ⇒ 70.0]"
        "(#origin-ood-robustness-weak-wts-tft) % robust accuracy (Weak+WTS TFT).",
        "**OOD robustness: no** under Weak TFT. [70.0 ⇒ 60.0 ⇒ 70.0]"
        "(#origin-ood-robustness-weak-tft) % robust accuracy: student clearly less robust than the "
        "weak model."]


def test_trusted_labels_stand_beside_the_papers(tmp_path):
    students(tmp_path, quality={**ACC, "student-mine": .5})
    choices(tmp_path, quality={**CHOICES, "trust-mine": (.5, .6, "weak-none")})
    found = trust_results.Trusted.read(tmp_path / "mcqa", draws=400)
    matrix = trust_screen.trust_screen([found])[0]
    assert matrix.columns[-2:] == ["true labels", "mine"]  # a choice of a user's own
    cells = dict(zip(matrix.columns, matrix.rows[0][2]))
    naive, ntf = cells["all weak labels"], cells["trust function"]
    assert (naive.numbers, naive.state) == ("62.0", "recovers 55 % (paper: 12 to 87 %)")
    assert naive.why == "clearly 14.0 below the trust function" and naive.tone == "good"
    assert (ntf.state, ntf.tone) == ("**not** near-lossless", "bad")
    assert ntf.why == "recovers 90 % (paper: 96 to 104 %)" and cells["mine"].tone == "gone"


def test_a_terminal_of_any_width_has_every_word_and_no_line_too_long():
    cells = [render.Cell("60.0 ⇒ 70.0 → 80.0", "**no** (paper: yes)", "student clearly less robust "
                         "than the weak model", "bad"), render.Cell("-", "not run yet")]
    matrix = render.Matrix("Does it?", "**No.**", ["a", "b", "weak → student"], ["No TFT", "Weak"],
                           [("OOD robustness", "robust accuracy (ra), %", cells)])
    plain = [render.terminal([matrix], width=width) for width in (30, 40, 60, 80, 120)]
    for text, width in zip(plain, (30, 40, 60, 80, 120)):
        assert max(map(len, text.splitlines())) <= width and "*" not in text
        assert text.split() == plain[0].replace("-" * 30, "-" * width).split()
    painted = render.terminal([matrix], colour=True)
    assert painted.replace("\x1b[31m", "").replace("\x1b[2m", "").replace("\x1b[0m", "") == plain[3]


def test_a_number_leads_to_folders_files_and_command(tmp_path):
    plant(tmp_path, "fairness", FAIR, seeds=(0, 1), n=60, script="train_weak.py")
    for path in tmp_path.glob("*/*/*/config.json"):
        known = rows.read_json(path)
        rows.write_json(path, known | {"folder": str(tmp_path), "args": {
            "model": f"{tmp_path}/a b", "batch_size": 8, "shard": False, "compile": True,
            "lr": None}})
    text = run(tmp_path)
    origin = text.split("#### Origin: Fairness, Weak TFT")[1].split("####")[0]
    line = next(line for line in origin.splitlines() if line.startswith("- weak model: "))
    assert "[fairness/seed0/weak-tft](fairness/seed0/weak-tft), [fairness/seed1/" in line
    assert shlex.split(line.split("`")[1]) == ["python", "train_weak.py", "--model", "a b",
                                               "--batch-size", "8", "--compile"]
    assert "(predictions/test.jsonl)" in line and (tmp_path / "fairness/seed0/weak-tft").is_dir()
    web = (tmp_path / "report.html").read_text()
    for name in results.STRATEGIES.values():
        place = page.anchor(screen.origin("Fairness", name))
        assert f'href="#{place}"' in web and f'id="{place}"' in web
    assert '<a href="fairness/seed1/weak-tft">' in web


def test_links_lead_to_folders_alone():
    assert page._inline("[a](b/c%20d.md) [x](javascript:alert(1)) [y](https://z)") == (
        '<a href="b/c%20d.md">a</a> [x](javascript:alert(1)) [y](https://z)')
    assert provenance.command({"args": {"lr": 1}}) == ""


def test_losses_are_of_all_runs_but_silent_ones(tmp_path):
    plant(tmp_path, "ood", LADDER, seeds=(0,), n=60)
    for path in tmp_path.glob("ood/seed0/*/"):
        silent = path.name == "weak-tft"
        rows.write(path / "log.jsonl", [{"step": k, "seconds": 1} | ({} if silent else {
            "loss": 100 - k}) for k in range(100)])
    found = results.Study.read(tmp_path / "ood", draws=100)
    (caption, _, (*_, models, panels)), = curves.drawings([found]).values()
    assert "Left out, since private runs with a secret noise seed log no loss: OOD robustness 1." \
        in caption
    lines = panels[0]["curves"]
    assert [models[k] for k, *_ in lines] == [
        "weak model", *["student"] * 3, *["confidence loss"] * 3, *["ceiling"] * 2]
    _, x, loss = lines[0]
    assert len(x) == curves.POINTS and x[0] < .02 and .98 < x[-1] < 1
    assert loss[0] == pytest.approx(np.mean([100, 99, 98])) and loss[-1] == pytest.approx(1.5)
    for path in tmp_path.glob("ood/seed0/*/log.jsonl"):
        if "tft" in path.parent.name:
            path.write_text("")  # as of an untuned model: no step
    (caption, *_), = curves.drawings([results.Study.read(tmp_path / "ood", draws=100)]).values()
    assert "Left out" not in caption
