"""Trade-offs over lambda and the frontiers of fairness, against hand calculations.

    python -m pytest -q tests/report/test_frontier.py
"""

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.report.test_report import FAIR, plant, table_of, run
from w2s import rows
from w2s.report import frontier, results, tables


def test_a_mixture_of_two_models_reaches_what_lies_between_them():
    points = [(.2, .85), (.1, .84), (-.1, .70), (.15, .80)]  # the last one is below the hull
    d, accuracy = frontier.hull(points)
    assert d.tolist() == [-.1, .1, .2] and accuracy.tolist() == [.70, .84, .85]
    # at 0: half of (-.1, .70) and half of (.1, .84); at .05: a quarter and three quarters
    assert frontier.reached(points, [0, .05, .1, .15, .2, .5]) == pytest.approx(
        [.77, .805, .84, .845, .85, .85])
    assert np.isnan(frontier.reached([(.2, .85)], [.1])).all()
    assert frontier.reached([(-.2, .85), (-.1, .8)], [.1, .15, .3]) == pytest.approx(
        [.8, .825, .85])


@pytest.mark.parametrize("men", [5, 7])
def test_the_bayes_frontier_is_the_best_of_all_decisions(men, tmp_path):
    """Against every one of the 2^10 decisions on ten people; mixtures of them by the hull. Men are
    the more likely to earn much, so parity has its price; and the groups may differ in size."""
    a = (np.arange(10) < men).astype(int)
    p = np.round(.5 * np.random.default_rng(1).random(10) + .5 * a, 3)
    rows.write(tmp_path / "test.jsonl", [{"id": str(k), "a": int(a[k]), "chance": float(p[k])}
                                         for k in range(10)])
    every = []
    for yes in itertools.product((False, True), repeat=10):
        yes = np.array(yes)
        every.append((yes[a == 1].mean() - yes[a == 0].mean(), np.where(yes, p, 1 - p).mean()))
    levels = [0, .1, .2, .3]
    best = frontier.reached(every, levels)
    found = frontier.reached(frontier.bayes(tmp_path / "test.jsonl", 4000), levels)
    assert found == pytest.approx(best, abs=1e-9)
    assert max(accuracy for _, accuracy in every) == pytest.approx(np.maximum(p, 1 - p).mean())
    assert best[0] < best[-1] - .05


GRID = {"weak-lam-0.5": (.70, .19), "weak-lam-2": (.60, .02), "ceiling-lam-0.5": (.89, .08),
        "ceiling-lam-2": (.70, .01), "student-naive-lam-2": (.70, .05)}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    plant(folder, "fairness", FAIR | GRID)
    return folder


def test_the_runs_of_a_grid_are_ordered_by_lambda_and_the_rule_chooses_each_role_apart(tree):
    found = results.Study.read(tree / "fairness", draws=200)
    assert found.role("ceiling") == [(0, "ceiling-none"), (.5, "ceiling-lam-0.5"),
                                     (1, "ceiling-tft"), (2, "ceiling-lam-2")]
    assert [name for _, name in found.role("student")] == [
        "student-naive-weak", "student-naive-both", "student-naive-lam-2"]
    for role, choice in found.choices.items():  # the rule by hand: (acc + 1 - |DPD|) / 2 on val
        scores = {}
        for _, name in found.role(role):
            each = []
            for seed in found.seeds:
                part = rows.read(found.at(name, seed) / "predictions/val.jsonl")
                yes = np.array([row["p"][1] >= .5 for row in part])
                label, a = (np.array([row[key] for row in part]) for key in ("label", "a"))
                gap = abs(yes[a == 1].mean() - yes[a == 0].mean())
                each.append(((yes == label).mean() + 1 - gap) / 2)
            scores[name] = np.mean(each)
        assert choice.scores == pytest.approx(scores)
        assert choice.run == max(scores, key=scores.get)
    assert found.name("both", "ceiling") == found.choices["ceiling"].run
    assert found.name("none", "ceiling") == "ceiling-none"


def test_the_report_shows_every_lambda_what_was_picked_and_what_was_used(tree):
    text = run(tree)
    table = text.split("### Fairness: trade-off over lambda (App. A.2)\n")[1].strip()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]]
             for line in table.split("\n\n")[0].splitlines()[2:]]
    assert [row[1] for row in cells] == ["0", "0.5", "1", "2"] + ["0", "1", "2"] + [
        "0", "0.5", "1", "2"]
    assert [row[0] for row in cells if row[0]] == ["weak", "student", "ceiling"]
    roles = [cells[:4], cells[4:7], cells[7:]]
    for rows_ in roles:  # one of each: where the rule's number is largest
        best = max(rows_, key=lambda row: float(row[4]))
        assert [row for row in rows_ if row[5] == "best"] == [best]
    assert any(row[5] == "best" and row[6] != "yes" for row in cells)
    assert [row[1] for row in cells if row[6] == "yes"] == ["1", "1", "1"]
    assert "the rule picks lambda" in text and "DPD within 0.05" in text
    assert "| Bayes" not in text  # no law is known of these rows
    grid = {r["model"]: r["strategy"] for r in table_of(tree) if "-lam-" in r["model"]}
    assert grid == {name: "weak" if name.startswith("weak") else "both" for name in GRID}


def test_frontiers_have_intervals_over_seeds(tree):
    found = frontier.frontiers(results.Study.read(tree / "fairness", draws=200))
    assert found.keys() == {"weak", "student", "ceiling"}
    mean, low, high = found["ceiling"]
    fine = ~np.isnan(mean)
    assert fine.any() and (low[fine] <= mean[fine]).all() and (mean[fine] <= high[fine]).all()
    assert (np.diff(mean[fine]) >= -1e-12).all()  # more gap allowed, never less accurate


def test_a_mixture_may_be_best_inside():
    """At most .1 from parity: the model at 0 is better than both mixtures at -.1 and .1."""
    assert frontier.reached([(-.2, .5), (0, .9), (.2, .5)], [.1]) == pytest.approx([.9])


def two_models():
    """A role with a model of gap .1 and one of -.1, in two seeds."""
    accuracy = {"a": (.9, .8), "b": (.7, .6)}
    gap = {"a": .1, "b": -.1}
    runs = {name: {seed: SimpleNamespace(values={
        "dpd": gap[name], "dpd_abs": .1, "acc": accuracy[name][seed]}) for seed in (0, 1)}
        for name in "ab"}
    return SimpleNamespace(
        role=lambda role: [(0, "a"), (1, "b")] if role == "weak" else [], seeds=[0, 1],
        of=lambda strategy, name: runs[name], at=lambda name, seed: Path("/nowhere"),
        runs={(name, seed): run for name in "ab" for seed, run in runs[name].items()},
        module=SimpleNamespace(TITLE="Fairness"))


def test_frontiers_are_of_signed_gaps_and_means_over_seeds_with_t_intervals():
    """At 0 half of each: .8 and .7, mean .75; t of one degree of freedom: 12.706 times .1 / 2."""
    middle, low, high = frontier.frontiers(two_models())["weak"]
    at = {round(level, 3): k for k, level in enumerate(frontier.LEVELS)}
    assert middle[at[0]] == pytest.approx(.75) and middle[at[.05]] == pytest.approx(.8)
    assert middle[at[.1]] == middle[at[.2]] == pytest.approx(.85)
    assert high[at[0]] - low[at[0]] == pytest.approx(2 * 12.706 * .05, rel=.2)


def test_the_table_of_matched_gaps_has_its_levels():
    table = tables.frontier_table(two_models(), None)[0]
    assert table.head == ["role", "DPD within 0.02", "DPD within 0.05", "DPD within 0.1",
                          "DPD within 0.15"]
    # from half and half, .02 more is a tenth of the way from b to a: .75 + .02
    assert [cell.split()[0] for cell in table.body[0][1:]] == ["0.770", "0.800", "0.850", "0.850"]
