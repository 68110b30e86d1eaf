"""What the paper says of its sensitivity figures, judged on planted runs: w2s.sweep.study,
statements, document."""

import csv

import numpy as np
import pytest

from w2s import config, rows, tasks
from w2s.sweep import __main__ as command
from w2s.sweep import document, pictures, statements
from w2s.sweep.study import Varied
from tests.report.test_report import predictions


def planned(folder, *words):
    return command.planned(config.parse(command.Config, "", [
        *map(str, words), "--out", str(folder), "--seeds", "3"]))


def report(sweep):
    document.write(sweep, config.parse(command.Report, "", [
        "--draws", "200", "--runs", str(sweep.out)]))


def plant(sweep, quality, skip=lambda item: False):
    """Finished runs of a plan; quality(item): (accuracy, trust) of a plan.Model, trust as a share
    of right answers, of fairness as the parity gap."""
    for (item, task, seed), out in sweep.folders.items():
        if skip(item):
            continue
        module, scores = tasks.load(task), {}
        for part, salt in (("test", 0), ("val", 1)):
            rng = np.random.default_rng([seed, salt])
            told = predictions(task, *quality(item), rng, 300)
            rows.write(out / "predictions" / f"{part}.jsonl", told)
            scores[part] = {"n": 300, "metrics": module.evaluate(told)}
        rows.write_json(out / "eval.json", scores)
        rows.write_json(out / "config.json", {"args": {"model": str(item.base)}, "inputs": {}})
        (out / "DONE").touch()


def said(sweep, select="val"):
    """{(figure, beginning of the claim): Claim} of a plan of one property."""
    [task] = sweep.tasks
    study = Varied.of_plan(sweep, task, select, 400)
    figures = {name: points for (name, _), points in sweep.figures.items()}
    return {(name, claim.text): claim
            for name, claims in statements.claims(study, figures).items() for claim in claims}


def find(claims, figure, words):
    [claim] = [claim for (name, text), claim in claims.items() if name == figure and words in text]
    return claim


def rank(item):
    """0 weak, 1 naive, 2 aux, 3 ceiling."""
    return 0 if item.name.startswith("weak") else 3 if item.name.startswith("ceiling") else \
        1 + ("aux" in item.name)


# robust accuracy of the paper's App. B: best at an inner lambda, clean accuracy falling
PEAK = {0: 0, .1: .04, .3: .08, .5: .06, .8: .02}


def adversarial(item):
    lam = item.lam if item.lam is not None else .3
    return .9 - .1 * lam - .05 * (3 - rank(item)), .6 + .05 * rank(item) + PEAK[lam]


@pytest.fixture(scope="module")
def lambdas(tmp_path_factory):
    sweep = planned(tmp_path_factory.mktemp("sweep"), "--figure", "3,A2", "--tasks", "adversarial")
    plant(sweep, adversarial)
    return sweep


def test_robustness_that_rises_and_falls_is_seen(lambdas):
    claim = find(said(lambdas), "3", "student-naive first rises")
    assert (claim.verdict, claim.ours, claim.number) == ("seen", "best at 0.3", "best at about 0.4")
    assert claim.place.startswith("App. B")


def test_task_performance_that_falls_value_by_value_is_seen(lambdas):
    claim = find(said(lambdas), "3", "(acc) of student-naive falls with λ")
    assert claim.verdict == "seen" and claim.ours == "0.800 → 0.790 → 0.770 → 0.750 → 0.723"


def test_the_trend_at_every_lambda_is_of_all_values_and_students(lambdas):
    claim = find(said(lambdas), "3", "trend at every λ above 0")
    assert (claim.verdict, claim.ours) == ("seen", "yes 8")  # 4 values, 2 students


def test_both_regularised_against_the_weak_model_alone(tmp_path):
    sweep = planned(tmp_path, "--figure", "3,A2", "--tasks", "ood", "--values", "0,0.05,0.1")
    better = {"student-naive-both": .25, "student-aux-both": -.25}
    plant(sweep, lambda item: (.8, .7 + better.get(item.name, 0)))
    claims = said(sweep)
    assert find(claims, "3", "student-naive is better under Weak+WTS").verdict == "seen"
    assert find(claims, "3", "student-aux is better under Weak+WTS").verdict == "reversed"
    assert find(claims, "3", "student-aux is better under Weak+WTS").ours == "better in 0 of 2"


def test_a_maximum_at_an_end_is_no_rise_and_fall(tmp_path):
    sweep = planned(tmp_path, "--figure", "3", "--tasks", "adversarial")
    plant(sweep, lambda item: (.8, .5 + .5 * (.3 if item.lam is None else item.lam)))
    claim = find(said(sweep), "3", "student-naive first rises")
    assert (claim.verdict, claim.ours) == ("not seen", "best at 0.8")


def test_robustness_that_only_rises_to_the_maximum_is_not_seen(tmp_path):
    sweep = planned(tmp_path, "--figure", "3", "--tasks", "adversarial")
    level = {0: .5, .1: .6, .3: .7, .5: .7, .8: .7}  # a plateau: no fall
    plant(sweep, lambda item: (.8, level[.3 if item.lam is None else item.lam]))
    assert find(said(sweep), "3", "student-naive first rises").verdict == "not seen"


def test_a_ceiling_is_chosen_by_the_rule(tmp_path):
    sweep = planned(tmp_path, "--figure", "A10")
    # not the recipe's own, which counts where the rule cannot decide
    best = min(item.lam for item, *_ in sweep.folders if item.name == "ceiling-tft" and item.lam)
    plant(sweep, lambda item: (.8, .02 if (item.name, item.lam) == ("ceiling-tft", best) else .3))
    study = Varied.of_plan(sweep, "fairness", "val", 200)
    [point] = [p for p in sweep.figures["A10", "fairness"] if p.strategy == "both"]
    assert study.summary(point, "ceiling", "dpd_abs")["mean"] == pytest.approx(.02, abs=.01)


def test_panels_of_figure_a1_are_told_apart_in_sweep_csv(tmp_path):
    sweep = planned(tmp_path, "--figure", "A1", "--tasks", "fairness")
    plant(sweep, lambda item: (.8, .1))
    report(sweep)
    text = (tmp_path / "sweep" / "sweep.csv").read_text()
    assert {line.split(",")[8] for line in text.splitlines()[1:]} == {f"A1{c}" for c in "abcdef"}


@pytest.mark.parametrize("slope, verdict", [(-.1, "seen"), (.1, "reversed")])
def test_alpha(tmp_path, slope, verdict):
    sweep = planned(tmp_path, "--figure", "A7", "--tasks", "fairness", "--values", "0,0.5,1")
    plant(sweep, lambda item: (.8 + slope * (item.alpha or 0), .1))
    assert find(said(sweep), "A7", "lower at the largest α max").verdict == verdict


def sized(item):
    """Better with a larger weak model, its own or its teacher's."""
    return str((item.teacher or item).base).endswith("small")


def test_sizes_of_ood(tmp_path):
    sweep = planned(tmp_path, "--figure", "A5")
    plant(sweep, lambda item: (.6 + .1 * rank(item) + .05 * (not sized(item)),
                               .2 + .2 * rank(item) + .15 * (not sized(item))))
    claims = said(sweep)
    trend = find(claims, "A5", "in every configuration of sizes")
    assert (trend.verdict, trend.ours) == ("seen", "yes 8")  # 4 configurations, 2 students
    assert find(claims, "A5", "with TFT, ").verdict == "seen"
    students = [claim for (_, text), claim in claims.items() if "students of the larger" in text]
    assert [claim.ours for claim in students] == ["better in 12 of 12"] * 2


def test_a_trend_that_a_larger_weak_model_breaks(tmp_path):
    sweep = planned(tmp_path, "--figure", "A4")
    plant(sweep, lambda item: (.8, .6 + .05 * rank(item) if sized(item) or rank(item) else .9))
    claims = said(sweep)
    assert find(claims, "A4", "smaller weak model").verdict == "seen"
    broken = find(claims, "A4", "larger weak model: ")
    assert (broken.verdict, broken.ours, broken.number) == ("seen", "no 4", "no")


def test_two_metrics_of_fairness_are_judged_apart(tmp_path):
    sweep = planned(tmp_path, "--figure", "A10")
    plant(sweep, lambda item: (.8, .3 - .05 * rank(item)))
    claims = said(sweep)
    assert find(claims, "A10", "dpd_abs").verdict == "seen"
    assert find(claims, "A10", "tpr_gap_abs").step["means"] != find(
        claims, "A10", "dpd_abs").step["means"]


def test_a_missing_run_leaves_the_claim_unmeasured_and_is_told(tmp_path, capsys):
    sweep = planned(tmp_path, "--figure", "3", "--tasks", "ood", "--values", "0.05,0.1")
    plant(sweep, lambda item: (.8, .7), skip=lambda item: "aux" in item.name and item.lam == .1)
    assert find(said(sweep), "3", "trend at every λ").verdict == "not measured"
    report(sweep)
    assert "Not complete, since runs are missing: 3 (ood)." in capsys.readouterr().out


def test_the_rule_of_a2_is_marked_on_validation_rows(tmp_path):
    sweep = planned(tmp_path, "--figure", "A1", "--tasks", "ood")
    # None is the recipe's: lambda 0.05, alpha 0.25
    best = {0: (.05, None), 1: (.05, None), 2: (.25, None), 3: (.05, None)}
    plant(sweep, lambda item: (.8, .6 + .1 * (2 + (rank(item) == 2)) * (
        (item.alpha if rank(item) == 2 else item.lam) in best[rank(item)])))
    study = Varied.of_plan(sweep, "ood", "val", 200)
    picked = {panel: ours for panel, _, _, ours in
              pictures.picks(study, sweep.figures["A1", "ood"])}
    assert picked["(a)"] == picked["(b)"] == picked["(c)"] == "0.05" and picked["(d)"] == "0.25"
    ringed = [[p["label"] for p in panel["points"] if p["picked"]]
              for panel in pictures.panels(study, sweep.figures["A1", "ood"])]
    assert ringed[:4] == [["0.05"], ["0.05"], ["0.05"], ["0.25"]]


def test_sweep_csv_has_each_value_of_each_model_and_seed(lambdas):
    report(lambdas)
    with open(lambdas.out / "sweep" / "sweep.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ("task strategy model selection seed slice metric value figure axis "
                              "axis_value").split()
    ra = {(line["figure"], line["axis_value"], line["model"], line["seed"]): float(line["value"])
          for line in lines if (line["slice"], line["metric"]) == ("all", "ra")}
    assert len(ra) == 2 * 5 * 4 * 3  # figures, values, models, seeds
    assert ra["3", "0.3", "student-naive", "2"] == pytest.approx(.73, abs=.01)
    assert {line["axis"] for line in lines} == {"lam"}


def test_figures_and_pages_are_written_and_say_the_same_twice(lambdas):
    files = []
    for _ in range(2):
        report(lambdas)
        files.append({path.name: path.read_bytes() for path in (lambdas.out / "sweep").rglob("*")
                      if path.is_file() and path.parent.name in ("sweep", "figures")})
    assert files[0] == files[1]
    assert {"sweep.csv", "report.md", "report.html", "sweep-3.png", "sweep-A2.svg"} <= {*files[0]}
    page = files[0]["report.html"].decode()
    assert page.count("<svg") == 2 and "What the paper says of it" in page


@pytest.mark.parametrize("figure, names", [
    ("A10", {"sweep-A10-fairness.png"}), ("A3", {"sweep-A3-fairness.png"}),
    ("A1", {"sweep-A1-adversarial.png"}), ("A7", {"sweep-A7.png"})])
def test_every_kind_of_figure_is_drawn(tmp_path, figure, names):
    sweep = planned(tmp_path, "--figure", figure)
    plant(sweep, lambda item: (.8, .2))
    report(sweep)
    assert names <= {path.name for path in (sweep.out / "sweep/figures").iterdir()}


def test_no_finished_run_is_refused(tmp_path):
    sweep = planned(tmp_path, "--figure", "A3")
    with pytest.raises(ValueError, match="no finished run of these figures"):
        report(sweep)


def test_differences_between_values_are_paired(lambdas):
    """A gain of .02 on the same rows is clear, though each interval alone is wider than it."""
    study = Varied.of_plan(lambdas, "adversarial", "val", 1000)
    low, high = [p for p in lambdas.figures["3", "adversarial"] if p.value in ("0.3", "0.5")]
    [step] = study.steps([(high, "student-naive"), (low, "student-naive")], "ra")
    assert step["interval"][0] > 0
    summary = study.summary(low, "student-naive", "ra")
    assert summary["interval"][1] - summary["interval"][0] > step["difference"]


