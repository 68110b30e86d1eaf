"""What tables, verdicts and figures show, by hand: pytest tests/report/test_shown.py"""

import csv
import json
import math
from statistics import mean
from types import SimpleNamespace

import numpy as np
import pytest

import evaluate
from tests.report.test_report import FAIR, plant, run
from tests.report.test_numbers_by_hand import N, RIGHT, STANDS, of, table
from tests.report.test_trust_results import ACC, CHOICES, choices, students
from w2s import rows, tasks
from w2s.report import (claims, figures, opening, pictures, render, results, tables, trust_claims,
                        trust_pictures, trust_results, trust_tables, verdicts)

STUDENTS = ("student-naive", "student-aux")


def step(low, difference, high, **more):
    return {"difference": difference, "interval": (low, high), "p": .25, "n": 3, "sign": 1,
            "means": [.5, .5 + difference], **more}


# ---- verdicts and their tables -------------------------------------------------------------------

def test_no_trend_is_judged_by_the_stronger_student():
    """Table 1 says no of adversarial robustness under Weak TFT: a trend of one student refutes it,
    an order that is not clear leaves it open."""
    for naive, aux, verdict in (("no", "yes", "reversed"), ("yes", "no", "reversed"),
                                ("no", "ordered", "not clear"), ("no", "no", "seen")):
        state = {"student-naive": naive, "student-aux": aux}
        fake = SimpleNamespace(
            task="adversarial", module=tasks.load("adversarial"), students=STUDENTS,
            ladder=lambda key, student, metric: [step(.01, .02, .03, trend=state[student])] * 2)
        found = {claim.text: claim for claim in claims.trend_claims(fake)}
        assert found["Weak TFT: robust accuracy shows no weak-to-strong trend"].verdict == verdict


def test_a_cost_within_the_margin_is_seen():
    """4.1: at most 1.5 points. An accuracy that falls by .5 to 1.2 points is as claimed."""
    fake = SimpleNamespace(task="fairness", module=tasks.load("fairness"), students=STUDENTS,
                           steps=lambda parts, metric: [step(-.012, -.01, -.005)])
    found = {claim.text: claim.verdict for claim in claims.paper_claims(fake)}
    assert found["TFT costs weak at most 1.5 points of accuracy"] == "seen"
    assert found["Weak TFT improves the parity gap of weak"] == "reversed"


def test_a_relative_change_is_of_what_was_before():
    assert claims.relative([step(0, -.05, 0, means=[.25, .2])]) == "0.250 → 0.200 (-20 %)"
    assert claims.relative([step(0, .05, 0, means=[.2, .25])]) == "0.200 → 0.250 (+25 %)"


def test_the_tally_counts_verdicts_of_the_papers_apart_from_ours():
    made = [claims.Claim("", place, "", "", verdict) for place, verdict in (
        ("Table 1", "seen"), ("4.1", "reversed"), ("4.1", "seen"), ("ours", "not seen"))]
    said = verdicts.tally({"a": made[:2], "b": made[2:]}, [SimpleNamespace(seeds=[0, 1, 2])]).text
    assert said.startswith("3 claims of the papers: 2 seen, 1 reversed. 1 claim of ours: 1 not "
                           "seen. ")
    assert "3 seeds: 0.25" in said  # of 8 patterns of signs two are all of one sign


def test_table_1_of_both_students_is_the_weaker():
    fake = SimpleNamespace(task="adversarial", students=STUDENTS, weakest_trend=lambda key: "no",
                           trend=lambda key, student: {"student-naive": "yes"}.get(student, "no"))
    body = verdicts.trends([fake])[0].blocks[0].body
    found = {tuple(row[:2]): row[2:] for row in body}
    assert found["", "ours, student-naive"] == ["yes"] * 3
    assert found["", "ours, student-aux"] == found["", "ours, both"] == ["no"] * 3


def test_a_model_guesses_when_its_interval_reaches_the_majority():
    intervals = {"weak": (.45, .55, .65), "student-naive": (.55, .6, .7), "ceiling": (.4, .45, .49)}
    fake = SimpleNamespace(
        module=SimpleNamespace(TASK="acc"), models=list(intervals), majority={"acc": .5},
        summary=lambda strategy, model, metric: dict(zip(("mean", "interval"), (
            intervals[model][1], intervals[model][::2]))))
    assert opening.guessers(fake, "none") == ["weak", "ceiling"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Of the runs of test_reported."""
    folder = tmp_path_factory.mktemp("own")
    for seed in range(3):
        plant(folder, "adversarial", {name: (acc[seed] / N, ra[seed] / N)
                                      for name, (acc, ra) in RIGHT.items()}, (seed,), N)
    return folder


@pytest.fixture(scope="module")
def found(tree):
    return results.Study.read(tree / "adversarial", draws=200)


def test_holms_p_stands_in_its_own_column(found):
    """12 inequalities, each with the same sign in all three seeds: p = 2 / 8, times 12 is above 1.
    Those of another task stand in its own chapter."""
    steps = claims.inequalities([found])
    assert len(steps) == 12 and {each["p"] for each in steps} == {.25}
    assert steps[0]["difference"] == pytest.approx(
        mean(of("none", "student-naive", "ra")) - mean(of("none", "weak", "ra")))
    blocks = tables.chapter(found, [*steps, *({**each, "task": "ood"} for each in steps)], {})
    body, = (block.body for block in blocks.blocks if isinstance(block, render.Table)
             and block.caption.endswith("evidence for the order"))
    assert len(body) == 12 and {tuple(row[4:]) for row in body} == {("0.250", "1.000")}


def test_slices_are_of_their_strategy_and_source(tree, found):
    """Counted from the predictions; results.csv has each seed, the table the means."""
    shown_tables = {block.caption: block for block in tables.slices(found)}
    body = shown_tables["Adversarial robustness: ra by slice (mean ± sd)"].body
    shown, strategy = {}, ""
    for row in body:
        strategy = row[0] or strategy
        shown[strategy, row[1]] = row
    run(tree)
    with open(tree / "results.csv", newline="") as file:
        lines = {(r["strategy"], r["model"], int(r["seed"]), r["slice"], r["metric"]):
                 float(r["value"]) for r in csv.DictReader(file)}
    for key, title in results.STRATEGIES.items():
        for source in ("sst2", "rte"):
            rates = []
            for seed in range(3):
                path = found.at(STANDS[key, "weak"], seed) / "predictions/test.jsonl"
                right = [int(np.argmax(row["p_adv"]) == row["label"])
                         for row in rows.read(path) if row["source"] == source]
                rates.append(mean(right))
                assert len(right) == 20
                assert lines[key, "weak", seed, source, "ra"] == pytest.approx(rates[-1])
            assert shown[title, source][3].startswith(f"{mean(rates):.3f} ± ")


@pytest.fixture(scope="module")
def fair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fair")
    plant(folder, "fairness", FAIR, (0,), 300)
    return results.Study.read(folder / "fairness", draws=200)


def test_accuracy_is_better_higher_also_where_gaps_are_better_lower(fair):
    *_, panels = pictures.picture(fair)
    assert [(panel["name"], panel["better"]) for panel in panels] == [
        ("absolute demographic parity gap (dpd_abs)", "lower"), ("accuracy (acc)", "higher")]
    label = [row["label"] for row in rows.read(
        fair.at("weak-none", 0) / "predictions/test.jsonl")]
    guess = max(mean(label), 1 - mean(label))
    assert panels[1]["lines"] == [(pytest.approx(guess), "majority\nclass")]


def test_the_order_of_gaps_is_from_the_largest(fair):
    body = tables.trend_table(fair, claims.inequalities([fair]))[0].body
    assert body[0][3] == "weak 0.200 → student-naive 0.150 → ceiling 0.100"


# ---- trust functions -----------------------------------------------------------------------------

OWN = {"weak-none": (120, 118, 126), "base-strong": (80, 84, 78), "student-all": (124, 130, 128),
       "student-random": (122, 116, 125), "student-confidence": (132, 136, 140),
       "student-ntf": (152, 144, 150), "student-truth-n": (154, 149, 155),
       "student-truth": (160, 158, 166), "student-gen2": (156, 150, 147),
       "student-gen3": (158, 146, 161)}  # of 200 test rows, in seeds 0, 1, 2


@pytest.fixture(scope="module")
def trusting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trusting")
    for seed in range(3):
        students(folder, quality={name: right[seed] / 200 for name, right in OWN.items()},
                 seeds=(seed,))
    choices(folder, quality={**CHOICES, "trust-confidence": (.6, .6, "weak-none")})
    choices(folder, quality={"trust-gen2": (.9, .7, "student-ntf"),
                             "trust-gen3": (.9, .75, "student-gen2")}, keep=.25)
    return folder, run(folder)


def test_trusted_students_have_their_own_recovery_and_pgr_by_seed(trusting):
    with open(trusting[0] / "results.csv", newline="") as file:
        lines = {(r["model"], r["selection"], int(r["seed"]), r["metric"]): float(r["value"])
                 for r in csv.DictReader(file) if r["slice"] == "all"}
    for name, model, by in (("all", "student-naive", "all"), ("ntf", "student-naive", "ntf"),
                            ("gen2", "student-gen2", "ntf"), ("gen3", "student-gen3", "ntf")):
        for seed in range(3):
            own, base, weak, truth = (OWN[run][seed] for run in (
                f"student-{name}", "base-strong", "weak-none", "student-truth"))
            assert lines[model, by, seed, "acc"] == pytest.approx(own / 200)
            assert lines[model, by, seed, "recovery"] == pytest.approx(
                (own - base) / (truth - base))
            assert lines[model, by, seed, "pgr"] == pytest.approx((own - weak) / (truth - weak))


def test_tables_of_trusted_labels_show_their_own_numbers(trusting):
    folder, text = trusting
    of = {name: mean(right) / 200 for name, right in OWN.items()}

    def share(name, low):
        return 100 * (of[name] - of[low]) / (of["student-truth"] - of[low])
    row = table(text, "Trusted labels at a glance")[2]
    shown = ("all", "random", "confidence", "ntf", "truth-n", "truth")
    places = [3, 4, 5, 8, 9, 10]  # none was trained by icl-confidence and reward
    assert row[1:3] + [row[k] for k in places] == [f"{of[name]:.3f}" for name in (
        "weak-none", "base-strong", *(f"student-{by}" for by in shown))]
    recovered = table(text, "Trusted labels at a glance")[3]
    assert [recovered[k] for k in places[:-1]] == [
        f"{share(f'student-{by}', 'base-strong'):.1f} %" for by in shown[:-1]]
    beside = {row[1]: row[2:] for row in table(text, "Further students: the chain")[2:]}
    assert beside["gen3"] == [f"{of['student-gen3']:.3f}",
                              f"{share('student-gen3', 'base-strong'):.1f} %"]
    scores = {row[1]: row[2:] for row in table(text, "How good a score tells right labels")[2:]}
    assert scores["ntf"][0] == "0.600" and scores["ntf"][-1] == "1.000"  # all labels; the chosen
    lines = {row[0]: row for row in table(text, "students by the labels that train them")[2:]}
    assert lines["ntf"][1:3] == ["120", "1.000"] and lines["all"][1:3] == ["240", "0.600"]
    assert float(lines["random"][2]) < .7 and lines["truth"][1:3] == ["240", "1.000"]
    name, low, high = lines["confidence"][5].replace("% [", "").replace(",", "").strip("]").split()
    assert float(name) == round(share("student-confidence", "base-strong"), 1)
    assert float(low) < float(name) < float(high) and float(high) - float(low) > 5
    assert lines["confidence"][7].startswith(
        f"{of['student-confidence'] - of['student-all']:+.3f} [")
    chain = {row[0]: row for row in table(text, "Multiple choice: the chain")[2:]}
    for number, before, after in (("2", "ntf", "gen2"), ("3", "gen2", "gen3")):
        gain = of[f"student-{after}"] - of[f"student-{before}"]
        assert chain[number][9].startswith(f"{round(gain, 3) + 0.:+.3f} [")
    assert chain["3"][1:5] == ["anew", "student-gen2", "0.750", "1.000"]
    said = {claim.text: claim for claim in trust_claims.claims(
        trust_results.Trusted.read(folder / "mcqa", draws=200))}
    for by, what in (("all", "all weak labels (naive)"), ("random", "as many random ones"),
                     ("confidence", "as many of the most confident")):
        claim = said[f"acc is higher on the labels of ntf than on {what}"]
        assert claim.step["difference"] == pytest.approx(of["student-ntf"] - of[f"student-{by}"])


def test_less_is_better_of_calibration():
    signs = {name: trust_results.Trusted.sign(None, name) for name in (
        "auc", "ece", "brier", "purity", "ece, other distribution", "acc")}
    assert signs == {"auc": 1, "ece": -1, "brier": -1, "purity": 1, "ece, other distribution": -1,
                     "acc": 1}


def test_the_interval_of_an_ece_is_reflected():
    """Noise makes the ECE of a sample larger than that of the rows it is drawn from; reflected, the
    draws lie below as far as they lay above (the basic bootstrap)."""
    rng = np.random.default_rng(0)
    score = rng.random(300).round(6)
    right = (rng.random(300) < score).astype(float)
    one = trust_results.Judged({}, "weak-none", {"select": "ntf", "kept": 150, "pool": 300}, {},
                         [str(k) for k in range(300)], [str(k) for k in range(300)], [""] * 300,
                         score, right)
    trust_results.resample_judged({("trust-ntf", 0): one}, {"": set()}, 300,
                                  np.random.default_rng(1))
    assert one.draws["ece"].mean() < one.values["ece"] and (one.draws["ece"] >= 0).all()
    assert abs(one.draws["brier"].mean() - one.values["brier"]) < .01


def crossing():
    module = tasks.load("fairness")
    fake = SimpleNamespace(module=module, task="fairness",
                           summary=lambda key, model, metric: {"mean": .2})
    return SimpleNamespace(study=fake, right=lambda key: [.6, .9], steps=lambda key, metric: [
        step(.01, .02, .03, sign=-1 if metric == module.TRUST else 1)])


def test_a_crossing_shows_a_gap_in_its_own_direction():
    """.02 better of a gap is .02 less of it, and the ends of the interval change places."""
    body = next(block for block in trust_tables.crossing_table([crossing()])
                if isinstance(block, render.Table)).body
    assert body[0][2:] == ["0.600 → 0.900", "acc", "0.200", "0.200", "+0.020", "[+0.010, +0.030]",
                           "0.250", "seen"]
    assert body[1][2:] == ["", "dpd_abs", "0.200", "0.200", "-0.020", "[-0.030, -0.010]", "0.250",
                           "seen"]


def test_the_crossing_picture_has_its_intervals():
    *_, names, panels = trust_pictures.crossing_picture([crossing()])
    assert names == ["fairness, No TFT", "fairness, Weak TFT", "fairness, Weak+WTS TFT"]
    assert [panel["values"] for panel in panels] == [dict.fromkeys(range(3), (.02, .01, .03))] * 2


def test_bands_are_one_standard_deviation():
    found = trust_pictures.banded("ntf", [[.5, .7], [.7, .9]])
    assert found["mean"] == pytest.approx([.6, .8])
    assert found["low"] == pytest.approx([.6 - .02 ** .5, .8 - .02 ** .5])  # sd of .5, .7: .02^.5
    assert found["high"] == pytest.approx([.6 + .02 ** .5, .8 + .02 ** .5])
    curve = trust_pictures.curve_of(-np.arange(100.), np.arange(100) < 10)  # the first ten right
    shares = dict(zip(trust_pictures.GRID.round(2), curve))
    assert [shares[x] for x in (.02, .1, .2, 1.)] == pytest.approx([1, 1, .5, .1])


# ---- figures and words ---------------------------------------------------------------------------

def bars(values, better="higher"):
    pytest.importorskip("matplotlib")
    figure = figures.draw("t", "s", [], [("first", ""), ("second", "")], ["weak", "ceiling"],
                          [{"name": "ra", "values": values, "better": better, "lines": []}])
    axis, = figure.axes
    tops = {round(p.get_x() + p.get_width() / 2, 6): (p.get_y(), p.get_y() + p.get_height())
            for p in axis.patches}
    ends = [tuple(float(y) for _, y in part) for lines in axis.collections
            for part in lines.get_segments()]
    return axis, tops, ends


def test_bars_are_drawn_at_their_heights():
    values = {(0, 0): (.5, .4, .6), (0, 1): (.2, .1, .3), (1, 0): (.7, .65, .8)}
    axis, tops, ends = bars(values)
    # two bars a group, groups .9 of a bar apart: 0, 1, then 2.9
    assert {x: pytest.approx(y) for x, y in {0: (0, .5), 1: (0, .2), 2.9: (0, .7)}.items()} == tops
    assert sorted(set(ends)) == [pytest.approx(pair) for pair in ((.1, .3), (.4, .6), (.65, .8))]
    assert "↑ higher is better" in axis.get_title(loc="left")
    assert [text.get_text() for text in axis.texts].count("no run") == 1
    axis, tops, _ = bars({(0, 0): (-.1, -.2, .05), (1, 1): (.1, 0, .2)}, "lower")
    assert tops[0] == pytest.approx((-.2, -.1)) and axis.get_ylim()[0] == pytest.approx(-.2)
    assert "↓ lower is better" in axis.get_title(loc="left")
    axis, tops, _ = bars({(0, 0): (.9, .88, .92), (1, 1): (.94, .93, .95)})
    assert 0 < axis.get_ylim()[0] < .88 and tops[0][1] == pytest.approx(.9)  # not from 0
    assert "axis starts at" in axis.get_title(loc="left")


def test_the_overview_has_a_dot_and_an_interval_of_each_model_of_each_property():
    pytest.importorskip("matplotlib")
    figure = figures.overview("t", "s", ["one", "two"], ["weak", "ceiling"], [
        {"name": "x", "better": "lower", "values": {(0, 0): (.3, .2, .4), (1, 1): (.6, .5, .9)}},
        {"name": "y", "better": "higher", "values": {(1, 0): (.1, .0, .2)}}])
    first, second = figure.axes[:2]
    dots = [(line.get_xdata()[0], line.get_ydata()[0], line.get_color()) for line in first.lines
            if len(line.get_xdata())]
    assert dots == [(pytest.approx(-.09), .3, figures.COLOURS[0]),
                    (pytest.approx(1.09), .6, figures.COLOURS[-1])]
    spans = [path.get_segments()[0][:, 1].tolist() for path in first.collections]
    assert spans == [[.2, .4], [.5, .9]]
    assert [axis.get_title("left") for axis in (first, second)] == [
        "x   (↓ is better)", "y   (↑ is better)"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["weak", "ceiling"]


def test_differences_are_coloured_by_their_intervals():
    pytest.importorskip("matplotlib")
    from matplotlib.colors import to_hex
    figure = figures.changes("t", "s", [], ["a", "b", "c"], [{"name": "x", "values": {
        0: (.02, .01, .03), 1: (.02, -.01, .05), 2: (-.02, -.03, -.01)}}])
    axis, = figure.axes
    found = [to_hex(lines.get_color()[0]) for lines in axis.collections]
    better, worse, unclear = "#0072b2", "#e69f00", "#999999"  # Okabe and Ito: blue, orange, grey
    assert found == [better, unclear, worse]
    assert [float(line.get_xdata()[0]) for line in axis.lines[1:]] == [.02, .02, -.02]


def test_words_of_numbers():
    assert render.signed(-.0004) == "+0.000" and render.signed(-.0006) == "-0.001"
    assert render.format_p({"p": .25, "n": 3}, "p") == "0.250"
    assert render.format_p({"p": 1, "n": 1}, "p") == "-"
    assert render.format_interval((.1, .25)) == "[0.100, 0.250]" and render.mean(None) == "-"
    assert render.spread({"mean": .5, "sd": .04}) == "0.500 ± 0.040"
    assert render.spread({"mean": .5, "sd": math.nan}) == "0.500"


def test_evaluate_keeps_what_is_not_defined_apart_from_zero(tmp_path):
    """null in eval.json; the numbers of other rows stay; numbers of other data are refused."""
    cfg = evaluate.Config(task="ood", run=["r"], data=["d"])
    rows.write_json(tmp_path / "config.json", {})
    for name, value in (("val", math.nan), ("test", .5)):
        measured = [{"slice": "all", "metric": "acc", "value": .25},
                    {"slice": "all", "metric": "ra", "value": value}]
        shown = evaluate.save(tmp_path, name, [{"id": "a"}], measured, f"digest {name}", cfg)
        assert shown == "acc 0.2500" + "  ra 0.5000" * (name == "test")
    found = json.loads((tmp_path / "eval.json").read_text())
    assert found.keys() == {"val", "test"} and found["val"]["metrics"][1]["value"] is None
    assert found["test"]["metrics"][1]["value"] == .5 and found["test"]["data"] == "digest test"
    assert evaluate.is_evaluated(tmp_path, "test", "digest test", cfg)
    with pytest.raises(ValueError, match="'test' was measured on other data"):
        evaluate.is_evaluated(tmp_path, "test", "digest val", cfg)
    cfg.max_length = 9
    with pytest.raises(ValueError, match="with other settings"):
        evaluate.is_evaluated(tmp_path, "test", "digest test", cfg)
    assert not evaluate.is_evaluated(tmp_path, "other", "digest", cfg)
