"""Reported numbers against sums done by hand: every run, seed and strategy has numbers of its own,
so that one in the place of another is seen. pytest tests/report/test_numbers_by_hand.py"""

import csv
from statistics import mean, stdev

import numpy as np
import pytest

from tests.report.test_report import plant, run
from w2s import rows
from w2s.report import claims, measurements, pictures, results
from w2s.tasks import adversarial, fairness, ood

N = 120  # test rows, 20 of each source
# of 120, right on x in seeds 0, 1, 2; and on x'. No two runs, seeds or measures agree.
RIGHT = {
    "weak-none":          ((60, 63, 66), (40, 42, 41)),
    "weak-tft":           ((58, 59, 63), (49, 52, 46)),
    "student-naive-none": ((72, 78, 75), (55, 60, 56)),
    "student-naive-weak": ((70, 69, 76), (59, 57, 61)),
    "student-naive-both": ((68, 71, 74), (67, 64, 70)),
    "student-aux-none":   ((80, 77, 82), (62, 66, 63)),
    "student-aux-weak":   ((73, 79, 81), (65, 69, 68)),
    "student-aux-both":   ((77, 83, 78), (76, 72, 74)),
    "ceiling-none":       ((96, 99, 105), (71, 75, 79)),
    "ceiling-tft":        ((92, 98, 97), (93, 88, 95))}
STANDS = {(strategy, model): f"{model}-{strategy}" for strategy in results.STRATEGIES
          for model in results.STUDENTS} | {
    ("none", "weak"): "weak-none", ("weak", "weak"): "weak-tft", ("both", "weak"): "weak-tft",
    ("none", "ceiling"): "ceiling-none", ("weak", "ceiling"): "ceiling-tft",
    ("both", "ceiling"): "ceiling-tft"}
MODELS = ("weak", "student-naive", "student-aux", "ceiling")


def of(strategy, model, metric):
    """The three seeds' values."""
    return [right / N for right in RIGHT[STANDS[strategy, model]][metric == "ra"]]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    for seed in range(3):
        plant(folder, "adversarial", {name: (acc[seed] / N, ra[seed] / N)
                                      for name, (acc, ra) in RIGHT.items()}, (seed,), N)
    for path in folder.rglob("predictions/test.jsonl"):  # lines in another order in every run
        order = np.random.default_rng(list(str(path.parent.parent.name).encode()))
        found = rows.read(path)
        rows.write(path, [found[k] for k in order.permutation(N)])
    return folder


@pytest.fixture(scope="module")
def found(tree):
    return results.Study.read(tree / "adversarial", draws=400)


@pytest.fixture(scope="module")
def text(tree):
    return run(tree)


def table(text, head):
    """The cells of the first table behind a heading or caption, line by line."""
    return [[cell.strip() for cell in line.split("|")[1:-1]]
            for line in text.split(head)[1].split("\n\n")[1].splitlines()]


def test_results_have_each_runs_own_numbers_by_seed(tree, text):
    with open(tree / "results.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    values = {(r["strategy"], r["model"], int(r["seed"]), r["metric"]): float(r["value"])
              for r in lines if r["slice"] == "all"}
    assert {(r["task"], r["selection"]) for r in lines} == {("adversarial", "all")}
    for strategy in results.STRATEGIES:
        weak, ceiling = of(strategy, "weak", "acc"), of(strategy, "ceiling", "acc")
        for model in MODELS:
            acc, ra = of(strategy, model, "acc"), of(strategy, model, "ra")
            for seed in range(3):
                assert values[strategy, model, seed, "acc"] == pytest.approx(acc[seed])
                assert values[strategy, model, seed, "ra"] == pytest.approx(ra[seed])
                if model in results.STUDENTS:  # of this strategy and this seed
                    assert values[strategy, model, seed, "pgr"] == pytest.approx(
                        (acc[seed] - weak[seed]) / (ceiling[seed] - weak[seed]))
                else:
                    assert (strategy, model, seed, "pgr") not in values


def test_the_glance_is_of_means_and_pgr_of_each_strategys_own_weak_model_and_ceiling(text):
    lines = {tuple(row[:2]): row for row in table(text, "Results at a glance")[2:]}
    name = ""
    for row in table(text, "Results at a glance")[2:]:
        name = row[0] or name
        lines[name, row[1]] = row
    table_1 = {"none": "yes", "weak": "no", "both": "yes"}  # the paper's, of adversarial
    for strategy, title in results.STRATEGIES.items():
        assert lines["adversarial ra", title][7].endswith(f" ({table_1[strategy]})")
        for metric in ("acc", "ra"):
            cells = lines[f"adversarial {metric}", title]
            assert cells[2:6] == [f"{mean(of(strategy, model, metric)):.3f}" for model in MODELS]
        weak, ceiling = (mean(of(strategy, model, "acc")) for model in ("weak", "ceiling"))
        shares = [(mean(of(strategy, student, "acc")) - weak) / (ceiling - weak)
                  for student in results.STUDENTS]
        assert lines["adversarial acc", title][6] == " ".join(f"{share:.2f}" for share in shares)


def test_the_headline_table_has_mean_sd_and_interval_of_its_own_column(text):
    head, _, *body = table(text, "Adversarial robustness: task performance and trust")
    assert head[3:7] == ["acc: mean ± sd", "95 % interval", "ra: mean ± sd", "95 % interval"]
    strategy, keys = "", {title: key for key, title in results.STRATEGIES.items()}
    for row in body:
        strategy = keys.get(row[0] or None, strategy)
        if row[1] in MODELS:
            for metric, at in (("acc", 3), ("ra", 5)):
                values = of(strategy, row[1], metric)
                assert row[at] == f"{mean(values):.3f} ± {stdev(values):.3f}"
                low, high = map(float, row[at + 1].strip("[]").split(","))
                assert low < mean(values) < high
        if row[1] in results.STUDENTS:
            weak, own, ceiling = (mean(of(strategy, part, "acc"))
                                  for part in ("weak", row[1], "ceiling"))
            assert row[-1] == f"{(own - weak) / (ceiling - weak):.2f}"
    assert [row[1] for row in body if row[1] in MODELS] == [*MODELS] * 3


def test_the_interval_of_a_difference_is_of_the_difference(found):
    """Of three seeds on the same rows: Student's t over seeds and, for these rows, a bootstrap,
    here by a plain loop over both models' rows together."""
    parts = [("none", "weak"), ("both", "student-aux")]
    step, = found.steps(parts, "ra")
    low, high = (of(*part, "ra") for part in parts)
    each = np.subtract(high, low)
    assert step["means"] == pytest.approx([mean(low), mean(high)])
    assert step["difference"] == pytest.approx(mean(each)) and step["n"] == 3
    assert step["p"] == .25  # all three seeds up: 2 of the 8 patterns of signs
    right = []
    for name in ("weak-none", "student-aux-both"):
        for seed in range(3):
            lines = sorted(rows.read(found.at(name, seed) / "predictions/test.jsonl"),
                           key=lambda row: row["id"])
            right.append([np.argmax(row["p_adv"]) == row["label"] for row in lines])
    right = np.array(right, float).reshape(2, 3, N // 6, 6)  # groups are of six neighbours
    rng, drawn = np.random.default_rng(0), []
    for _ in range(4000):
        at = rng.integers(N // 6, size=N // 6)
        rows_ = (right[1] - right[0])[:, at].mean((1, 2)).mean() - each.mean()
        t = rng.normal() / np.sqrt(rng.chisquare(2) / 2)
        drawn.append(each.mean() + t * each.std(ddof=1) / 3 ** .5 + rows_)
    wide = results.Study.read(found.folder, draws=4000)
    interval = wide.steps(parts, "ra")[0]["interval"]
    assert interval == pytest.approx(np.quantile(drawn, [.025, .975]),
                                     abs=.08 * np.ptp(np.quantile(drawn, [.025, .975])))


def test_a_bootstrap_draws_groups_whole(tmp_path):
    """One seed of 120 rows in 20 groups of six that are right or wrong together: the interval is
    that of 20 coins, sqrt(6) times as wide as that of 120."""
    plant(tmp_path, "adversarial", {"weak-none": (.5, .5)}, (0,), N)
    path = tmp_path / "adversarial/seed0/weak-none/predictions/test.jsonl"
    lines = rows.read(path)
    for k, row in enumerate(lines):
        answer = row["label"] if k // 6 % 2 else 1 - row["label"]
        row["p"] = [float(answer == j) for j in range(3)]
    rows.write(path, lines)
    found = results.Study.read(tmp_path / "adversarial", draws=4000)
    low, high = found.summary("none", "weak", "acc")["interval"]
    assert high - low == pytest.approx(2 * 1.96 * (.25 / 20) ** .5, rel=.12)


def test_seeds_that_share_their_rows_are_drawn_with_the_same_rows(found):
    """The three seeds have one test file: a draw takes the same rows in each, so the draws of two
    seeds' models, right on much the same rows, move together; and so do two models of a seed."""
    a, b, c = (found.runs[name, seed].draws["acc"] for name, seed in (
        ("ceiling-none", 0), ("ceiling-tft", 0), ("ceiling-none", 0)))
    assert np.corrcoef(a, b)[0, 1] > .5 and (a == c).all()
    luck = [found.runs["ceiling-none", seed] for seed in (0, 1)]
    right = [run.S[:, 1::3].sum(1) for run in luck]  # of each source: rows, right on x, on x'
    expected = np.corrcoef([each.reshape(-1, 6).sum(1) for each in right])[0, 1]
    drawn = np.corrcoef([run.draws["acc"] for run in luck])[0, 1]
    assert drawn == pytest.approx(expected, abs=.15)


def test_a_doubtful_pgr_is_one_whose_gap_is_within_two_standard_errors(found):
    """The width is that of the gap itself, ceiling minus weak of the same draws, at two errors. Of
    a ceiling below its weak model nothing is recovered, however clear that is."""
    draws = found.joint([("none", "weak"), ("none", "ceiling")], "acc")[1]
    error = np.std(draws[1] - draws[0], ddof=1)
    gap = mean(of("none", "ceiling", "acc")) - mean(of("none", "weak", "acc"))
    for times, doubtful in ((1.9, True), (2.1, False), (-2.1, True)):
        shifted = results.Study(found.folder, found.module, found.seeds, dict(found.runs))
        shifted.choices = found.choices
        values, drawn = found.joint([("none", part) for part in ("weak", "student-naive",
                                                                 "ceiling")], "acc")
        move = np.array([[0.], [0.], [times * error - gap]])
        shifted.joint = lambda parts, metric: (values + move, drawn + move)
        assert shifted.gap_recovered("none", "student-naive")[1] == doubtful


def test_a_figure_shows_the_means_and_intervals_of_its_own_panel(found):
    title, _, _, groups, bars, panels = pictures.picture(found)
    assert title == "Adversarial robustness" and bars == [
        "weak", "student\nnaive", "student\naux", "ceiling"]
    assert [name for name, _ in groups] == ["No TFT", "Weak TFT", "Weak+WTS TFT"]
    for panel, metric in zip(panels, ("ra", "acc"), strict=True):
        assert panel["name"].endswith(f" ({metric})") and panel["better"] == "higher"
        for g, strategy in enumerate(results.STRATEGIES):
            for b, model in enumerate(MODELS):
                value, low, high = panel["values"][g, b]
                assert value == pytest.approx(mean(of(strategy, model, metric)))
                assert (low, high) == found.summary(strategy, model, metric)["interval"]
    assert {name for _, name in panels[0]["lines"]} == set()
    assert [name for _, name in panels[1]["lines"]] == ["majority\nclass"]


def test_each_claim_is_about_the_models_that_it_names(found):
    """The difference that decides each sentence, from the table above."""
    said = {claim.text: claim for claim in claims.claims(found)}

    def gain(metric, *parts):
        low, high = (mean(of(*part, metric)) for part in parts)
        return high - low
    naive, aux, weak = "student-naive", "student-aux", "weak"
    for text, expected in {
            "Weak TFT improves the robust accuracy of weak":
                gain("ra", ("none", weak), ("weak", weak)),
            "Weak TFT improves the robust accuracy of student-naive": gain(
                "ra", ("none", naive), ("weak", naive)),
            "Weak TFT improves the robust accuracy of student-aux":
                gain("ra", ("none", aux), ("weak", aux)),
            "Weak TFT: the robust accuracy of student-naive does not surpass that of weak": gain(
                "ra", ("weak", naive), ("weak", weak)),
            "Weak+WTS TFT: the robust accuracy of student-naive is better than that of weak": gain(
                "ra", ("both", weak), ("both", naive)),
            "Weak+WTS TFT improves the robust accuracy of student-aux": gain(
                "ra", ("none", aux), ("both", aux)),
            "Weak+WTS TFT improves the robust accuracy of student-naive, compared with Weak TFT":
                gain(
                "ra", ("weak", naive), ("both", naive)),
            "TFT costs student-naive at most 1.5 points of accuracy": gain(
                "acc", ("none", naive), ("both", naive)),
            "TFT costs weak at most 1.5 points of accuracy":
                gain("acc", ("none", weak), ("weak", weak)),
            "TFT improves the robust accuracy of ceiling":
                gain("ra", ("none", "ceiling"), ("both", "ceiling")),
            "Weak TFT: the robust accuracy of student-aux is better than that of student-naive":
                gain(
                "ra", ("weak", naive), ("weak", aux))}.items():
        assert said[text].step["difference"] == pytest.approx(expected), text


def test_the_order_in_trust_is_from_least_to_most_trustworthy(text):
    body = table(text, "Adversarial robustness: order in trust")[2:]
    for row in body:
        strategy = next(key for key, title in results.STRATEGIES.items() if title == row[0])
        known = {model: mean(of(strategy, model, "ra")) for model in ("weak", row[1], "ceiling")}
        assert row[3] == " → ".join(f"{model} {value:.3f}" for model, value in sorted(
            known.items(), key=lambda item: item[1]))


def test_each_step_of_a_ladder_has_its_own_means_and_interval(found):
    first, second = found.ladder("none", "student-naive", "acc")
    for step, (low, high) in ((first, ("weak", "student-naive")),
                              (second, ("student-naive", "ceiling"))):
        means = [mean(of("none", model, "acc")) for model in (low, high)]  # .525, .625, .833
        assert (step["lower"], step["upper"]) == (low, high)
        assert step["means"] == pytest.approx(means)
        assert step["interval"][0] < means[1] - means[0] < step["interval"][1]
    assert not first["interval"][0] < second["difference"] < first["interval"][1]


def test_p_is_of_the_seeds_differences(found):
    """acc of student-naive-none (72, 78, 75) against -weak (70, 69, 76): 2, 9 and -1 less. Of the
    sums of 2, 9 and 1 with any signs, 12, 10, 8 and 6, two of four are at least 10."""
    step, = found.steps([("weak", "student-naive"), ("none", "student-naive")], "acc")
    assert step["p"] == .5 and step["difference"] == pytest.approx(10 / 3 / N)


def test_other_rows_of_the_same_number_are_refused(tmp_path):
    plant(tmp_path, "adversarial", {"weak-none": (.5, .5), "weak-tft": (.5, .5)}, (0,), N)
    path = tmp_path / "adversarial/seed0/weak-tft/predictions/test.jsonl"
    lines = rows.read(path)
    lines[7]["id"] = "another"
    rows.write(path, lines)
    with pytest.raises(ValueError, match="weak-tft/predictions/test.jsonl: not the rows"):
        results.Study.read(tmp_path / "adversarial", draws=100)


def test_a_tie_goes_to_the_smaller_lambda(tmp_path):
    """Readings E11, E20: no more regulariser than pays."""
    plant(tmp_path, "adversarial", {"ceiling-none": (.8, .6), "ceiling-tft": (.8, .6),
                                    "ceiling-lam-0.5": (.7, .7)}, (0,), N)
    found = results.Study.read(tmp_path / "adversarial", draws=100)
    assert found.choice.scores == pytest.approx(dict.fromkeys(
        ("ceiling-none", "ceiling-tft", "ceiling-lam-0.5"), .7))
    assert found.choice.run == "ceiling-none"


def test_a_constant_guess_is_of_each_source():
    """sst2: two of three are 1; mnli: three of four are 2. On x' the guess is the same."""
    labels = [("sst2", 1), ("sst2", 1), ("sst2", 0), ("mnli", 2), ("mnli", 2), ("mnli", 0),
              ("mnli", 2)]
    found = measurements.majority(adversarial, [
        {"source": source, "label": label, "p": [1, 0, 0], "p_adv": [1, 0, 0]}
        for source, label in labels])
    assert found == pytest.approx(dict.fromkeys(("acc", "ra"), (2 / 3 + 3 / 4) / 2))


# ---- the tasks' own measures, counted by hand ----------------------------------------------------

def measured(task, found):
    return {(m["slice"], m["metric"]): m["value"] for m in task.evaluate(found)}


def test_robust_accuracy_is_a_mean_over_tasks_and_not_over_rows():
    """Section 4: averaged over the six tasks. sst2 has four rows, mnli one, rte one."""
    answers = [  # source, method, label, answer to x, answer to x'
        ("sst2", "textbugger", 1, 1, 1), ("sst2", "textbugger", 0, 0, 1),
        ("sst2", "textfooler", 1, 1, 0), ("sst2", "textfooler", 0, 1, 0),
        ("mnli", "textfooler", 2, 0, 2), ("rte", "textbugger", 1, 1, 0)]
    found = [{"id": str(k), "source": source, "method": method, "label": label,
              "p": [float(x == j) for j in range(3)], "p_adv": [float(y == j) for j in range(3)]}
             for k, (source, method, label, x, y) in enumerate(answers)]
    values = measured(adversarial, found)
    assert values["all", "acc"] == pytest.approx((3 / 4 + 0 / 1 + 1 / 1) / 3)  # of rows: 4 / 6
    assert values["all", "ra"] == pytest.approx((2 / 4 + 1 / 1 + 0 / 1) / 3)   # of rows: 3 / 6
    assert values["all", "ra_worst"] == 0
    assert values["all", "asr"] == 3 / 4  # of the 4 that were right on x, 3 are wrong on x'
    assert values["sst2", "acc"] == 3 / 4 and values["sst2", "ra"] == 2 / 4
    assert values["attack:textbugger", "ra"] == pytest.approx(1 / 3)
    assert values["attack:textfooler", "acc"] == pytest.approx(1 / 3)
    assert values["mnli", "n"] == 1 and ("qqp", "acc") not in values
    total = adversarial.headline(adversarial.sums(found).sum(0))
    assert (total["acc"], total["ra"]) == (pytest.approx(7 / 12), pytest.approx(1 / 2))


def test_the_worst_source_is_no_attack():
    """ra_worst is of the six tasks: here .5 of sst2, though one attack leaves nothing."""
    found = [{"id": str(k), "source": "sst2", "method": method, "label": 1, "p": [0., 1, 0],
              "p_adv": [float(y == j) for j in range(3)]}
             for k, (method, y) in enumerate([("textbugger", 1), ("textfooler", 0)])]
    values = measured(adversarial, found)
    assert values["all", "ra_worst"] == .5 and values["attack:textfooler", "ra"] == 0


def test_ood_accuracy_is_a_mean_over_styles_and_id_and_base_are_none():
    answers = [("id", 1, 1), ("id", 0, 1), ("id", 0, 0), ("id", 1, 1), ("id", 0, 0),
               ("base", 1, 1), ("base", 1, 0), ("augment", 1, 1), ("tweet_p0", 1, 0),
               ("tweet_p0", 0, 0), ("tweet_p0", 0, 1), ("tweet_p0", 1, 0)]
    found = [{"id": str(k), "source": source, "label": label,
              "p": [float(x == j) for j in range(2)]}
             for k, (source, label, x) in enumerate(answers)]
    values = measured(ood, found)
    assert values["all", "acc"] == 4 / 5 and values["base", "acc"] == 1 / 2
    assert values["all", "ra"] == pytest.approx((1 / 1 + 1 / 4) / 2)  # of rows: 2 / 5
    assert values["all", "ra_worst"] == 1 / 4
    assert values["all", "gap"] == pytest.approx(1 / 2 - 5 / 8)
    total = ood.headline(ood.sums(found).sum(0))
    assert (total["acc"], total["ra"]) == (4 / 5, 5 / 8)


def test_a_probability_of_exactly_one_half_is_a_yes():
    """Reading F7: p >= .5. Two of three men and one of two women get a yes, one man by p = .5."""
    found = [{"id": str(k), "label": label, "a": a, "p": [1 - p, p]} for k, (a, label, p) in
             enumerate([(1, 1, .5), (1, 0, .9), (1, 1, .2), (0, 1, .8), (0, 0, .1)])]
    values = measured(fairness, found)
    assert values["all", "dpd"] == pytest.approx(2 / 3 - 1 / 2)
    assert values["all", "dpd_abs"] == pytest.approx(1 / 6)
    assert values["all", "acc"] == 3 / 5
    # of label 1: one of two men, the one woman; of label 0: the one man, not the one woman
    assert values["all", "tpr_gap"] == pytest.approx(1 / 2 - 1)
    assert values["all", "fpr_gap"] == 1 and values["all", "eod"] == 1  # the larger of the two
    assert values["male", "rate"] == pytest.approx(2 / 3) and values["female", "rate"] == 1 / 2
    total = fairness.headline(fairness.sums(found).sum(0))
    assert total["dpd"] == pytest.approx(1 / 6) and total["eod"] == 1
    assert total["tpr_gap_abs"] == pytest.approx(1 / 2) and total["acc"] == 3 / 5
