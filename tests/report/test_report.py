"""w2s.report: study, claims, tables, page on planted runs: pytest tests/report/test_report.py"""

import csv
import json
import os
import re
import subprocess
import sys
import types
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from w2s import rows, tasks
from w2s.config import launch, parse
from w2s.report import claims, measurements, page, pictures, render, results
from w2s.report import __main__ as report
from w2s.tasks import adversarial

ROOT = Path(__file__).parents[2]
SOURCES = {"fairness": (None,), "ood": ("id", "id", "id", "base", "bible_p0", "shake_w"),
           "adversarial": ("sst2", "qqp", "mnli", "mnli-mm", "qnli", "rte")}
# accuracy and trust of each run: a clean ladder in every strategy
LADDER = {"weak-none": (.70, .60), "student-naive-none": (.78, .70), "student-aux-none": (.80, .72),
          "ceiling-none": (.90, .80), "weak-tft": (.70, .64), "student-naive-weak": (.76, .72),
          "student-aux-weak": (.78, .74), "student-naive-both": (.76, .74),
          "student-aux-both": (.77, .76), "ceiling-tft": (.88, .86)}
FAIR = {name: (acc, round(.5 - trust / 2, 3)) for name, (acc, trust) in LADDER.items()}  # DPD


def plant(folder, task, quality, seeds=(0, 1, 2), n=300, skip=(), fresh=(), **config):
    """Write finished runs whose predictions have the accuracy and trust of quality {run: pair}.

    A seed's runs share their random numbers: where a run is right, a better one is right too. Runs
    named in `fresh` have their own, so that their difference to another run is noisy."""
    module = tasks.load(task)
    for seed in seeds:
        for name, (acc, trust) in quality.items():
            if (name, seed) in skip:
                continue
            out, scores = folder / task / f"seed{seed}" / name, {}
            for part, salt in (("test", 0), ("val", 1)):
                rng = np.random.default_rng([seed, salt, *(name.encode() if name in fresh else ())])
                found = predictions(task, acc, trust, rng, n)
                rows.write(out / "predictions" / f"{part}.jsonl", found)
                scores[part] = {"n": n, "metrics": module.evaluate(found)}
            size = "14m" if name.startswith("weak") else "70m"
            lam = float(name.rsplit("-", 1)[1]) if "-lam-" in name else float(
                name.endswith(("tft", "both")))
            rows.write_json(out / "eval.json", scores)
            rows.write_json(out / "config.json",
                            {"args": {"model": f"models/pythia-{size}"}, "lam": lam, **config})
            (out / "DONE").touch()


def predictions(task, acc, trust, rng, n):
    """n rows of which the share acc is right on x, and the share trust on x' or on the styles.
    Fairness: trust is the DPD exactly, and accuracy only grows with acc."""
    sources, K = SOURCES[task], 3 if task == "adversarial" else 2
    label = np.random.default_rng(7).integers(0, 2, n)  # the same test rows for every seed
    u, v = rng.permutation(n) / n, rng.permutation(n) / n
    a, eager = np.arange(n) % 3 > 0, acc * label - u
    result = []
    for i in range(n):
        source = sources[i % len(sources)]
        goal = trust if task == "ood" and source not in ("id", "base") else acc
        guess = label[i] if u[i] < goal else 1 - label[i]
        row = {"id": f"r{i:05d}", "group": f"g{i // 6}", "label": int(label[i])}
        if source:
            row["source"] = source
        if task == "fairness":
            row["a"] = int(a[i])
            guess = eager[i] >= np.quantile(eager[a == a[i]], .6 - trust * a[i])
        if task == "adversarial":
            row["method"] = ("textbugger", "textfooler")[i // 6 % 2]
            row["p_adv"] = one_hot(label[i] if v[i] < trust else 1 - label[i], K)
        result.append({**row, "p": one_hot(guess, K)})
    return result


def one_hot(k, K):
    return [.8 if k == j else round(.2 / (K - 1), 6) for j in range(K)]


def run(folder, *flags):
    """Make the report; the default flags are the cheap ones."""
    argv = ["--runs", str(folder), "--draws", "400", "--figures", "no", *flags]
    report.main(parse(report.Config, "", argv))
    return (folder / "report.md").read_text(encoding="utf-8")


def states(folder, task):
    """{strategy: {student, None for both: state}} of a planted tree."""
    found = results.Study.read(folder / task, draws=1000)
    return {key: {**{student: found.trend(key, student) for student in found.students},
                  None: found.weakest_trend(key)} for key in results.STRATEGIES}


def table_of(folder):
    with open(folder / "results.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def command(capsys, folder, *flags):
    """(exit code, stdout, stderr) of the command, in this process."""
    with pytest.raises(SystemExit) as stop:
        launch(report.main, report.Config, "", ["--runs", str(folder), *flags])
    return stop.value.code or 0, *capsys.readouterr()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Three complete properties with three seeds."""
    folder = tmp_path_factory.mktemp("runs")
    plant(folder, "fairness", FAIR)
    plant(folder, "ood", LADDER)
    plant(folder, "adversarial", LADDER)
    return folder


@pytest.fixture(scope="module")
def text(tree):
    return run(tree)


@pytest.mark.parametrize("task, quality", [
    ("fairness", {"student-naive-weak": (.76, .17), "student-naive-both": (.76, .20)}),
    ("adversarial", {"student-naive-weak": (.76, .65), "student-naive-both": (.76, .60)})])
def test_the_three_states_come_out_of_predictions(tmp_path, task, quality):
    """none: a clean ladder; weak: the naive student barely and noisily better; both: worse."""
    ladder = FAIR if task == "fairness" else LADDER
    plant(tmp_path, task, {**ladder, **quality}, fresh=("student-naive-weak",))
    naive, aux, both = ([found[key] for found in states(tmp_path, task).values()]
                        for key in (*results.STUDENTS, None))
    assert naive == ["yes", "ordered", "no"]
    assert aux == ["yes", "yes", "yes"]
    assert both == naive  # the weaker of the two


def test_one_seed_gives_a_verdict_and_says_that_it_is_one(tmp_path):
    plant(tmp_path, "adversarial", LADDER, seeds=(4,))
    text = run(tmp_path)
    assert "has 1 seed only" in text and "1 with 1 seed." in text
    assert "±" not in text.replace("mean ± sd", "")
    assert states(tmp_path, "adversarial")["none"][None] == "yes"
    lines = verdict(text)
    assert lines[2:4] == [["Fairness", "paper", "no", "no", "yes"], ["", "ours"] + 3 * ["not run"]]


def test_a_ceiling_below_the_student_is_no_trend_and_the_order_is_printed(tmp_path):
    plant(tmp_path, "adversarial", {**LADDER, "ceiling-none": (.9, .65)}, n=120)
    assert states(tmp_path, "adversarial")["none"] == dict.fromkeys((*results.STUDENTS, None), "no")
    assert "weak 0.600 → ceiling 0.650 → student-naive 0.700" in run(tmp_path)


def test_results_are_complete_sorted_and_the_same_bytes_twice(tree, text):
    first = (tree / "results.csv").read_bytes()
    assert run(tree) == text
    assert (tree / "results.csv").read_bytes() == first
    found = table_of(tree)
    assert list(found[0]) == "task,strategy,model,selection,seed,slice,metric,value".split(",")
    keys = [(r["task"], r["strategy"], r["model"], r["selection"], int(r["seed"]), r["slice"],
             r["metric"]) for r in found]
    assert keys == sorted(keys) and len(set(keys)) == len(keys)
    headlines = Counter((r["task"], r["strategy"], r["model"]) for r in found
                        if r["slice"] == "all" and r["metric"] in ("acc", "dpd_abs", "ra"))
    assert len(headlines) == 3 * 3 * 4 and set(headlines.values()) == {3 * 2}


def test_results_hold_every_slice_of_eval_json(tree, text):
    said = json.loads((tree / "adversarial/seed1/student-aux-both/eval.json").read_text())
    found = {(r["slice"], r["metric"]): float(r["value"]) for r in table_of(tree)
             if [r[k] for k in ("task", "strategy", "model", "seed")] == ["adversarial", "both",
                                                                        "student-aux", "1"]}
    for m in said["test"]["metrics"]:
        assert found[m["slice"], m["metric"]] == pytest.approx(m["value"], rel=1e-9)
    weak, ceiling = .70, .88
    assert found["all", "pgr"] == pytest.approx((.77 - weak) / (ceiling - weak))


def verdict(text):
    """The cells of the first table of a report, line by line."""
    return [[cell.strip() for cell in line.split("|")[1:-1]]
            for line in text.split("\n## Does")[1].split("\n## ")[0].splitlines() if "|" in line]


def test_table_1_of_the_paper_stands_beside_ours(text):
    lines = verdict(text)
    assert lines[2] == ["Fairness", "paper", "no", "no", "yes"]
    assert ["OOD robustness", "paper", "yes", "yes", "yes"] in lines
    assert ["Adversarial robustness", "paper", "yes", "no", "yes"] in lines
    assert ["", "ours, both", "yes", "yes", "yes"] in lines
    titles = [line[0] for line in lines if line[1:2] == ["paper"]]
    assert titles == [module.TITLE for module in measurements.properties().values()]


def test_a_property_brings_its_own_words():
    modules = measurements.properties().values()
    assert [module.ROW for module in modules] == sorted({module.ROW for module in modules})
    for module in modules:
        assert module.TITLE and module.NOTE


def test_the_report_says_what_a_reader_must_know(text):
    for words in ("a = 1 is male", "transfer only", "72 → 75 %", "71 → 78 %", "ddof = 1",
                  "0.25 with 3 seeds", "weak pythia-14m, strong pythia-70m", "seeds 0, 1, 2",
                  "tpr_gap", "textbugger", "bible_p0", "gap: accuracy on base", "majority class",
                  "36 inequalities", "4.1, Weak TFT", "App. B, Fig. A10", "not corrected for"):
        assert words in text, words
    assert "Not finished" not in text and "from scratch" not in text and "Doubtful" not in text
    assert "60.0 → 64.0 %" in text  # adversarial, beside the paper's 71 → 78 %


def test_headline_numbers_are_means_sd_and_intervals_of_the_predictions(tree, text):
    line = next(line for line in text.split("### Adversarial robustness: task")[1].splitlines()
                if "| No TFT" in line)
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[:4] == ["No TFT", "weak", "3", "0.700 ± 0.000"] and cells[5] == "0.600 ± 0.000"
    low, high = json.loads(cells[4])
    assert .65 < low < .70 < high < .75


def test_the_majority_row_counts_labels_only(tree, text):
    path = tree / "fairness/seed0/weak-none/predictions/test.jsonl"
    label = [row["label"] for row in rows.read(path)]
    share = max(np.mean(label), 1 - np.mean(label))
    line = next(line for line in text.splitlines() if line.startswith("| majority class"))
    assert f"{share:.3f}" in line and "0.000" in line  # a constant guess is perfectly fair


def test_markdown_tables_have_equal_lines(text):
    block = []
    for line in text.splitlines() + [""]:
        if line.startswith("|"):
            block.append(line)
        else:
            assert len({(len(row), row.count("|")) for row in block}) <= 1, block[:2]
            block = []


def test_models_from_scratch_are_named_so(tmp_path):
    plant(tmp_path, "fairness", FAIR, seeds=(0,), n=120, from_scratch=True, model_name="mini")
    text = run(tmp_path)
    assert "weak mini from scratch, strong mini from scratch" in text
    assert "**Trained from scratch, nothing pretrained**: Fairness.\n\n- Fairness (weak, " in text
    assert "| weak (from scratch) " in text and "ceiling (from scratch) 0." in text


@pytest.mark.parametrize("trust, best", [(.86, "ceiling-tft"), (.78, "ceiling-none")])
def test_the_ceiling_is_the_better_trade_off_on_validation_rows(tmp_path, trust, best):
    plant(tmp_path, "adversarial", {**LADDER, "ceiling-tft": (.88, trust)}, seeds=(0,), n=120)
    assert f"**{best}**, chosen by (task + trust) / 2 on val rows" in run(tmp_path)
    of = {r["strategy"]: r["value"] for r in table_of(tmp_path)
          if (r["model"], r["slice"], r["metric"]) == ("ceiling", "all", "ra")}
    assert float(of["none"]) == pytest.approx(.8, abs=.01)
    assert float(of["weak"]) == float(of["both"]) == pytest.approx(
        trust if best == "ceiling-tft" else .8, abs=.01)


def test_select_test_may_choose_another_ceiling(tmp_path):
    plant(tmp_path, "adversarial", LADDER, seeds=(0,), n=120)
    plant(tmp_path / "other", "adversarial", {"ceiling-tft": (.5, .5)}, seeds=(0,), n=120)
    val = "adversarial/seed0/ceiling-tft/predictions/val.jsonl"
    os.replace(tmp_path / "other" / val, tmp_path / val)
    assert "**ceiling-none**" in run(tmp_path)
    text = run(tmp_path, "--select", "test")
    assert "**ceiling-tft**, chosen by (task + trust) / 2 on test rows" in text
    assert "favours it" in text


def test_fairness_counts_trust_as_one_minus_the_gap(tmp_path):
    plant(tmp_path, "fairness", {**FAIR, "ceiling-tft": (.89, .5)}, seeds=(0,), n=300)
    assert "**ceiling-none**" in run(tmp_path)


def test_validation_rows_without_styles_choose_by_accuracy(tmp_path):
    plant(tmp_path, "ood", LADDER, seeds=(0,), n=120)
    for name in ("ceiling-none", "ceiling-tft"):
        path = tmp_path / "ood/seed0" / name / "predictions/val.jsonl"
        rows.write(path, [row for row in rows.read(path) if row["source"] == "id"])
    assert "**ceiling-none**, chosen by task performance alone" in run(tmp_path)


def test_missing_and_unfinished_runs_are_listed_and_the_rest_is_shown(tmp_path):
    plant(tmp_path, "adversarial", LADDER, n=120,
          skip={("student-aux-both", 1), ("student-aux-both", 2)})
    seed = tmp_path / "adversarial"
    (seed / "seed0/student-naive-weak/DONE").unlink()
    (seed / "seed2/weak-none/eval.json").unlink()
    (seed / "seed0/ceiling-none/predictions/val.jsonl").unlink()
    text = run(tmp_path)
    assert "- adversarial/student-aux-both: not run (seed 1, 2)" in text
    assert "- adversarial/student-naive-weak: not finished (seed 0)" in text
    assert "- adversarial/weak-none: no eval.json (seed 2)" in text
    assert "(mean of 2 seeds)" in text  # the choice of the ceiling
    assert "0.5 with 2 seeds" in text
    seeds = Counter((r["strategy"], r["model"]) for r in table_of(tmp_path)
                    if (r["slice"], r["metric"]) == ("all", "ra"))
    assert seeds["both", "student-aux"] == 1 and seeds["weak", "student-naive"] == 2
    assert seeds["none", "weak"] == 2 and seeds["none", "ceiling"] == 3


def test_a_strategy_without_runs_has_no_verdict(tmp_path):
    plant(tmp_path, "ood", {name: pair for name, pair in LADDER.items() if name.endswith("none")},
          seeds=(0,), n=120)
    text = run(tmp_path)
    assert states(tmp_path, "ood")["both"][None] is None
    assert "could not be chosen" in text and "ceiling-none stands in" in text


def test_a_task_without_a_finished_run_does_not_stop_the_others(tmp_path):
    pytest.importorskip("matplotlib")
    plant(tmp_path, "adversarial", LADDER, seeds=(0,), n=120)
    (tmp_path / "ood/seed0/weak-none").mkdir(parents=True)
    assert "- ood/weak-none: not finished (seed 0)" in run(tmp_path, "--figures", "yes")


def test_a_stale_eval_json_is_named(tmp_path):
    plant(tmp_path, "adversarial", LADDER, seeds=(0,), n=120)
    path = tmp_path / "adversarial/seed0/weak-tft/eval.json"
    said = json.loads(path.read_text())
    said["test"]["metrics"][0]["value"] += .1
    path.write_text(json.dumps(said))
    text = run(tmp_path)
    assert "weak-tft: eval.json says acc 0.8" in text and "Doubtful" in text
    found = {r["value"] for r in table_of(tmp_path)
             if (r["model"], r["slice"], r["metric"]) == ("weak", "all", "acc")}
    assert found == {"0.7"}


def test_runs_on_different_rows_are_refused(tmp_path):
    plant(tmp_path, "adversarial", LADDER, seeds=(0,), n=120)
    path = tmp_path / "adversarial/seed0/weak-tft/predictions/test.jsonl"
    rows.write(path, rows.read(path)[1:])
    with pytest.raises(ValueError, match="weak-tft/predictions/test.jsonl: not the rows"):
        run(tmp_path)


def test_seeds_with_their_own_test_rows_are_resampled_apart(tmp_path):
    plant(tmp_path, "adversarial", LADDER, n=120)
    for path in (tmp_path / "adversarial/seed1").glob("*/predictions/test.jsonl"):
        rows.write(path, [{**row, "id": "x" + row["id"]} for row in rows.read(path)])
    assert states(tmp_path, "adversarial")["none"]["student-aux"] == "yes"


def test_pgr_is_not_printed_when_the_gap_is_within_two_standard_errors(tmp_path):
    plant(tmp_path, "adversarial", {**LADDER, "ceiling-none": (.71, .8)}, fresh=("ceiling-none",))
    text = run(tmp_path)
    line = next(line for line in text.splitlines() if line.startswith("| adversarial acc"))
    assert line.split("|")[7].strip() == "- -"  # not 8.00, (.78 - .70) / (.71 - .70)
    assert "-: the ceiling is not 2 standard errors above weak" in text and "nan" not in text


def test_the_manifest_gives_the_number_of_rows(tmp_path):
    plant(tmp_path, "fairness", FAIR, seeds=(0,), n=120)
    rows.write_json(tmp_path / "data/fairness/manifest.json",
                    {"splits": {"weak": {"rows": 40}, "test": {"rows": 120}},
                     "sources": {"adult.data": {"rows": 400}}})
    text = run(tmp_path)
    assert ("- Fairness, rows: weak 40, test 120 (of adult.data); one split for all seeds, so "
            "intervals say nothing of other splits\n") in text
    rows.write_json(tmp_path / "data/fairness/manifest.json", {"splits": {"weak": 40}})
    with pytest.raises(ValueError, match="fairness/manifest.json: 'splits.weak' is a number"):
        run(tmp_path)


def test_the_command_draws_figures_and_prints_the_tables(tree, capsys):
    pytest.importorskip("matplotlib")
    code, out, _ = command(capsys, tree, "--draws", "400")
    lines = out.splitlines()
    assert code == 0
    assert lines[-3:] == [f"Report: {tree / 'report.html'}", *(
        f"        {tree / name}" for name in ("report.md", "results.csv"))]
    assert max(map(len, lines[:-3])) <= 80 and "\x1b" not in out
    assert "Adversarial robustness: robust accuracy (ra), %; larger is better" in lines
    assert "  No TFT        60.0 ⇒ 70.0 ⇒ 80.0  yes, as in the paper" in lines
    text = (tree / "report.md").read_text(encoding="utf-8")
    for task in SOURCES:
        assert f"(figures/{task}.png)" in text
        png = (tree / "figures" / f"{task}.png").read_bytes()
        assert png.startswith(b"\x89PNG") and len(png) > 20_000
        assert b"<svg" in (tree / "figures" / f"{task}.svg").read_bytes()[:1000]
    assert not list(tree.rglob("*.part"))
    web = (tree / "report.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]*)"', web)
    assert web.count("<svg") == 3 + 3 + 1 and len(set(ids)) == len(ids)
    used = re.findall(r'(?:href="|url\()#([^")]*)', web)
    assert used and set(used) <= set(ids)
    assert "var(--ink)" in web and "var(--" not in (tree / "figures/ood.svg").read_text()


def test_without_matplotlib_the_report_says_which_figures_are_missing(tmp_path, monkeypatch):
    plant(tmp_path / "runs", "fairness", FAIR, seeds=(0,), n=120)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run(tmp_path / "runs", "--figures", "yes")
    text = (tmp_path / "runs/report.md").read_text(encoding="utf-8")
    assert "matplotlib is not installed: figures/overview.png, figures/fairness.png" in text
    assert "pip install -r requirements-figures.txt" in text
    assert not (tmp_path / "runs/figures").exists()


def test_colour_is_for_terminals(tmp_path, monkeypatch, capsys):
    plant(tmp_path, "ood", LADDER, seeds=(0,), n=120)
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    shown = command(capsys, tmp_path, "--draws", "100", "--figures", "no")[1]
    assert "\x1b[33mnot clear (paper: yes)" in shown
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in command(capsys, tmp_path, "--draws", "100", "--figures", "no")[1]


@pytest.mark.parametrize("flags, code, words", [
    (["--draws", "5"], 1, "--draws 5: must be >= 100"),
    (["--select", "train"], 1, "--select train"),
    (["--draw", "200"], 2, "--draw"), ([], 1, "no finished run"),
    (["--runs", "nowhere"], 1, "nowhere: no such folder of runs")])
def test_bad_use_is_one_line_on_stderr(tmp_path, capsys, flags, code, words):
    found, _, error = command(capsys, tmp_path, *flags)
    assert found == code and words in error
    assert error.startswith("error: ") and error.count("\n") == 1


def test_the_module_is_a_command(tmp_path):
    done = subprocess.run([sys.executable, "-m", "w2s.report", "--runs", str(tmp_path)], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: ")


# ---- claims --------------------------------------------------------------------------------------

def step(low, difference, high):
    return {"difference": difference, "interval": (low, high)}


@pytest.mark.parametrize("steps, word, opposite", [
    ([step(.01, .05, .09), step(.02, .03, .04)], "seen", "reversed"),
    ([step(.01, .05, .09), step(-.01, .03, .04)], "not clear", "not seen"),
    ([step(.01, .05, .09), step(-.04, -.03, .01)], "not seen", "not clear"),
    ([step(.01, .05, .09), step(-.04, -.03, -.01)], "reversed", "seen"),
    ([step(0, 0, 0)], "not seen", "not clear"), ([], "not measured", "not measured")])
def test_a_verdict_is_the_weakest_difference_against_0(steps, word, opposite):
    assert claims.judge(steps)[0] == word
    assert claims.judge(steps, claimed=False)[0] == opposite
    assert claims.judge(steps)[1] is min(steps, key=lambda s: s["interval"][0], default=None)


def test_a_small_cost_is_judged_against_its_margin():
    assert claims.judge([step(-.019, -.01, 0)], margin=.02)[0] == "seen"
    assert claims.judge([step(-.03, -.01, 0)], margin=.02)[0] == "not clear"
    assert claims.judge([step(-.05, -.04, -.03)], margin=.02)[0] == "reversed"


def said(folder, task):
    """{sentence: Claim} of a planted property."""
    found = results.Study.read(folder / task, draws=400)
    return {claim.text: claim for claim in claims.claims(found)}


def test_each_claim_of_the_paper_has_a_verdict(tree):
    fair, adv = said(tree, "fairness"), said(tree, "adversarial")
    assert [(c.place, c.number, c.verdict) for c in adv.values()][:3] == [
        ("Table 1", "yes", "seen"), ("Table 1", "no", "reversed"), ("Table 1", "yes", "seen")]
    own = adv["Weak TFT improves the robust accuracy of weak"]
    assert (own.place, own.number) == ("4.1, Weak TFT", "71 → 78 %")
    assert (own.ours, own.verdict) == ("60.0 → 64.0 %", "seen")
    assert own.step["difference"] == pytest.approx(.04) and own.step["p"] == .25
    gap = fair["Weak+WTS TFT improves the parity gap of student-naive"]
    assert gap.step["means"] == pytest.approx([.15, .13]) and gap.ours == "15.0 → 13.0 %"
    assert gap.step["difference"] == pytest.approx(.02)  # in trust
    price = fair["TFT costs student-naive at most 1.5 points of accuracy"]
    assert price.number == "1.5 % at most" and price.step["difference"] < 0
    assert adv["Weak TFT: the accuracy falls as alpha rises from 0 (student-naive) to that of "
               "student-aux"].verdict == "reversed"  # planted: aux is better


def test_no_trend_where_the_paper_has_none_is_no_failure(tmp_path):
    """Table 1 says no for adversarial robustness under Weak TFT; ours says no: seen."""
    quality = {**LADDER, "student-naive-weak": (.76, .60), "student-aux-weak": (.78, .61)}
    plant(tmp_path, "adversarial", quality, seeds=(0, 1))
    found = said(tmp_path, "adversarial")["Weak TFT: robust accuracy shows no weak-to-strong trend"]
    assert (found.number, found.ours, found.verdict) == ("no", "naive no, aux no", "seen")
    assert render.tone("no (no)") == "good" and render.tone("no (yes)") == "bad"
    assert render.tone("ordered (yes)") == "between" and render.tone("no") is None


def test_a_claim_shows_its_difference_in_the_metric_itself(tree, text):
    line = next(line for line in text.splitlines()
                if line.startswith("| Weak+WTS TFT improves the parity gap of student-naive  "))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    low, high = json.loads(cells[6].replace("+", ""))
    assert cells[5] == "-0.020" and low < -.02 < high


def test_claims_without_their_runs_are_not_measured(tmp_path):
    plant(tmp_path, "adversarial", {**LADDER, "ceiling-none": (.9, .9)}, seeds=(0,), n=120,
          skip={("student-aux-both", 0)})
    found = said(tmp_path, "adversarial")
    lost = {text: claim.ours for text, claim in found.items() if claim.verdict == "not measured"}
    assert lost.pop("Weak+WTS TFT: robust accuracy shows a weak-to-strong trend") == "naive yes"
    assert lost.pop("TFT improves the robust accuracy of ceiling") == "the same run"
    assert len(lost) == 5 and all("student-aux" in text and not ours
                                  for text, ours in lost.items())


def test_a_property_without_the_second_student_has_no_empty_place_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(adversarial, "STUDENTS", ("student-naive",), raising=False)
    plant(tmp_path, "adversarial", {name: pair for name, pair in LADDER.items()
                                    if "aux" not in name}, seeds=(0, 1), n=120)
    text = run(tmp_path)
    assert "Not finished" not in text and " 6 inequalities" in text
    assert ["", "ours, student-naive", "yes", "yes", "yes"] in verdict(text)
    assert not any("aux" in line[1] or "both" in line[1] for line in verdict(text))
    assert "student-aux" not in text.split("\n## What")[1]
    line = next(line for line in text.splitlines() if line.startswith("| adversarial acc"))
    assert [cell.strip() for cell in line.split("|")[3:7]] == ["0.700", "0.783", "", "0.900"]
    found = results.Study.read(tmp_path / "adversarial", draws=100)
    _, _, _, groups, bars, _ = pictures.picture(found)
    assert groups[0][1] == "trend: naive yes (paper: yes)" and len(bars) == 3
    assert {r["model"] for r in table_of(tmp_path)} == {"weak", "student-naive", "ceiling"}


def test_a_model_that_only_guesses_is_named(tmp_path):
    plant(tmp_path, "ood", {**LADDER, "weak-none": (.5, .5), "student-aux-both": (.5, .76)},
          seeds=(0,), n=300)
    text = run(tmp_path)
    assert "**No better than a constant guess**: models of OOD robustness; their trust" in text
    assert "- OOD robustness, No TFT: weak\n- OOD robustness, Weak+WTS TFT: student-aux\n" in text


def test_a_new_property_appears_by_itself(tmp_path, monkeypatch):
    module = types.ModuleType("w2s.tasks.fifth")
    module.__dict__.update(vars(adversarial) | {
        "TITLE": "Fifth", "ROW": 5, "NOTE": "new"})
    monkeypatch.setitem(sys.modules, "w2s.tasks.fifth", module)
    monkeypatch.setattr(tasks, "NAMES", (*tasks.NAMES, "fifth"))
    plant(tmp_path, "adversarial", LADDER, seeds=(0,), n=120)
    os.replace(tmp_path / "adversarial", tmp_path / "fifth")
    text = run(tmp_path)
    assert ["Fifth", "paper", "-", "-", "-"] in verdict(text)
    assert "## Fifth\n\nnew" in text and "| fifth ra " in text
    assert "### Fifth: questions of ours" in text  # and none of the paper's words
    assert "Fifth: claims of the paper" not in text
    assert "Weak TFT: robust accuracy shows" not in text


# ---- attacks, time, damage -----------------------------------------------------------------------

def attack(folder, name, ra, seed=0, n=50):
    """An attack-text.json as attacks.py writes it."""
    values = {("all", "acc"): .9, ("all", "ra_own"): ra, ("sst2", "ra_own"): ra - .1,
              ("attack:swap", "ra_own"): ra + .1, ("all", "asr_own"): 0, ("all", "n"): n}
    rows.write_json(folder / f"adversarial/seed{seed}" / name / "attack-text.json", {
        "data": "-", "n": n, "args": {}, "metrics": [
            {"slice": part, "metric": name, "value": v} for (part, name), v in values.items()]})


def test_robustness_to_an_attack_on_the_model_itself_stands_beside_ra(tmp_path):
    plant(tmp_path, "adversarial", LADDER, seeds=(0, 1), n=120)
    assert "_own" not in run(tmp_path)
    for seed, ra in ((0, .30), (1, .34)):
        attack(tmp_path, "weak-none", ra, seed)
    text = run(tmp_path)
    table = text.split("Adversarial robustness: task performance")[1].splitlines()[2:5]
    head, _, weak = [[c.strip() for c in line.split("|")[1:-1]] for line in table]
    assert dict(zip(head, weak))["ra_own: mean ± sd"] == "0.320 ± 0.028"
    assert "attack-text.json), on 50 rows of each model" in text and "Doubtful" not in text
    assert "ra_own by slice" in text and "n_text" not in text
    found = {(r["slice"], r["metric"]): r["value"] for r in table_of(tmp_path)
             if (r["strategy"], r["model"], r["seed"]) == ("none", "weak", "0")}
    assert found["all", "ra_own"] == "0.3" and found["attack:swap", "ra_own"] == "0.4"
    assert found["all", "asr_own"] == "0.0"
    assert found["all", "acc_text"] == "0.9" and float(found["all", "acc"]) == pytest.approx(.7)


def test_the_head_of_the_report_says_how_it_was_made(tmp_path):
    plant(tmp_path, "ood", LADDER, seeds=(0,), n=120, parameters=14_067_712,
          commit="abcdef0123" * 4, versions={"torch": "2.13.0", "python": "3.11.7"})
    for name, seconds in (("weak-none", 70.5), ("ceiling-tft", 20)):
        rows.write(tmp_path / "ood/seed0" / name / "log.jsonl", [{"step": 0, "seconds": seconds}])
    assert "- Time: 1 min 30 s in training steps, summed over 2 runs\n" in run(tmp_path)
    before = (tmp_path / "results.csv").read_bytes()
    for path in (tmp_path / "ood/seed0").glob("student*"):
        rows.write(path / "log.jsonl", [{"step": 0, "seconds": .5}, {"step": 1, "seconds": 0.75}])
    text = run(tmp_path, "--seconds", "4000", "--command", "bash run_all.sh")
    for words in ("weak pythia-14m (14.1M parameters)", "; seed 0; 10 finished runs.",
                  "- Time: 1 min 38 s in training steps, summed over 8 runs; the whole command "
                  "1 h 06 min", "- Software: torch 2.13.0, Python 3.11.7", "- Commit: `abcdef012`",
                  "- Command: `bash run_all.sh`", "- Machine: "):
        assert words in text, words
    assert (tmp_path / "results.csv").read_bytes() == before


@pytest.mark.parametrize("file, content", [
    ("eval.json", '{"test": {"metr'), ("eval.json", '{"val": {"metrics": []}}'),
    ("eval.json", '{"test": {"metrics": [{"slice": "all", "metric": "acc"}]}}'),
    ("attack-text.json", "[]"), ("attack-text.json", '{"metrics": {"ra_own": 0.5}}'),
    ("attack-text.json", ""), ("config.json", "[]"), ("config.json", '{"args": 1}'),
    ("log.jsonl", '{"step": 0}\n'), ("predictions/test.jsonl", '{"id": "r"}\n'),
    ("predictions/test.jsonl", '{"id": "r", "label": 0, "p": "x", "source": "id"}\n')])
def test_a_damaged_file_is_named(tmp_path, file, content):
    plant(tmp_path, "ood", {"weak-none": (.7, .6)}, seeds=(0,), n=60)
    (tmp_path / "ood/seed0/weak-none" / file).write_text(content)
    with pytest.raises(ValueError, match=f"weak-none/{file}:.* .") as error:
        run(tmp_path)
    assert "\n" not in str(error.value)


# ---- the page ------------------------------------------------------------------------------------

class Page(HTMLParser):
    """Open tags, cells of tables, and what the page would load."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells, self.loads, self.tags = [], [], [], Counter()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.loads += [v for k, v in attributes if k == "src" or k == "href" and ":" in v]
        if tag not in ("meta", "li"):
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def test_the_page_says_what_the_markdown_says_and_loads_nothing(tree, text):
    run(tree)
    web = (tree / "report.html").read_text(encoding="utf-8")
    assert "95\N{NO-BREAK SPACE}%" in web and not re.search(r"\d %", web.partition("<body>")[2])
    found = Page(web.replace("\N{NO-BREAK SPACE}", " "))
    assert not found.open and not found.loads and "script" not in found.tags
    assert not re.search(r"https?://(?!www\.w3\.org)|@import|url\((?!#)", web)
    assert found.tags["caption"] == found.tags["table"] == text.count("\n### ")
    cells = [c.strip() for line in text.split("### ", 2)[2].splitlines() if line.startswith("| ")
             for c in line.split("|")[1:-1]]
    rest = Counter(filter(None, found.cells)) - Counter(filter(None, cells))
    # of the first screen: its head and three properties; what its cells say stands in spans
    assert not Counter(filter(None, cells)) - Counter(found.cells) and sum(rest.values()) == 4 + 3
    assert found.cells.count("") >= 9


def test_blocks_are_escaped_and_words_coloured():
    body = [["a < b", "yes (yes)"], ["", "1.5"]]
    web = page.html("<t>", [render.Heading("A & b", 2), render.Text("`<x>` **y**"),
                            render.Table("c", ["h", "k"], body)])
    assert "<title>&lt;t&gt;</title>" in web and '<h2 id="a-b">A &amp; b</h2>' in web
    assert "<code>&lt;x&gt;</code> <strong>y</strong>" in web
    assert '<th scope="row" rowspan="2">a &lt; b</th><td class="good">yes (yes)</td>' in web
