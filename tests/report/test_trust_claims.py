"""Claims about trust functions beyond the main table, and the names of their runs, by hand.

    python -m pytest -q tests/report/test_trust_claims.py
"""

import numpy as np
import pytest

from tests.report.test_report import run
from tests.report.test_trust_results import ACC, CHOICES, LOSSLESS, cells, choices, said, students
from w2s import metrics, rows, tasks
from w2s.report import trust_claims, trust_names, trust_results

# beside ACC: all .62, ntf .76, labelled .74; gen2 .78
BESIDE = {"student-labelled-n50": .50, "student-ntf-n50": .70, "student-labelled-ntf-n50": .68,
          "student-labelled-n100": .74, "student-ntf-n100": .72, "student-labelled-ntf-n100": .74,
          "student-labelled-n300": .60, "student-ntf-n300": .60, "student-labelled-ntf-n300": .64,
          "student-ntf-zero-shot": .66, "student-labelled-zero-shot": .70,
          "student-gen2-same-tau": .80, "student-ntf-lora": .70, "student-truth-lora": .75}
# of 240 labels 120 are chosen, those with the largest scores: .4 and .45 of the pool are right
BETTER = {"trust-ntf": (.9, .4, "weak-none"), "trust-gen2-same-tau": (.9, .45, "weak-none"),
          "trust-ntf-zero-shot": (.2, .6, "weak-none"), "trust-ntf-n50": (.9, .3, "weak-none"),
          "trust-ntf-n100": (.9, .4, "weak-none"), "trust-ntf-n300": (.9, .4, "weak-none"),
          "trust-ntf-other-task": (.1, .6, "weak-none")}
IN, DIST, INTERFACE = "in distribution", "other distribution", "other interface"
REGIMES = {"trust-ntf": {"people": IN, "beasts": IN},
           "trust-ntf-zero-shot": {"people": IN, "beasts": DIST},
           "trust-ntf-other-task": {"people": INTERFACE, "beasts": INTERFACE}}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Of the test rows a quarter are of a second benchmark."""
    folder = tmp_path_factory.mktemp("claims")
    students(folder, quality=ACC | BESIDE)
    choices(folder, quality=CHOICES | BETTER, regimes=REGIMES)
    for path in folder.glob("mcqa/*/*/predictions/test.jsonl"):
        found = [row | {"source": "people" if i % 4 else "beasts"}
                 for i, row in enumerate(rows.read(path))]
        rows.write(path, found)
        out = path.parent.parent
        rows.write_json(out / "eval.json", {"test": {
            "n": len(found), "metrics": tasks.load("mcqa").evaluate(found)}})
        config = {"args": {"model": "models/mini-" + (
            "weak" if out.name == "weak-none" else "strong")}}
        if out.name.endswith("-lora"):
            config["args"]["lora_rank"] = 8
        size = {"student-labelled-n50": 50, "student-labelled-ntf-n50": 170}.get(out.name)
        rows.write_json(out / "config.json", config | ({"rows": size} if size else {}))
    return folder


@pytest.fixture(scope="module")
def found(tree):
    return trust_results.Trusted.read(tree / "mcqa", draws=400)


@pytest.fixture(scope="module")
def text(tree):
    return run(tree)


def by_benchmark(tree, name, seed):
    """[accuracy on people, on beasts] of a run, counted."""
    told = rows.read(tree / f"mcqa/seed{seed}/{name}/predictions/test.jsonl")
    return [np.mean([np.argmax(row["p"]) == row["label"] for row in told if row["source"] == of])
            for of in ("people", "beasts")]


def acc(tree, name):
    """Mean over seeds of the mean over benchmarks."""
    return np.mean([by_benchmark(tree, name, seed) for seed in range(3)])


LABELLED = [  # text of the claim, lower and upper student
    ("{} is higher on labels chosen zero-shot than on the labelled rows of the sources that were "
     "learned from", "labelled-zero-shot", "ntf-zero-shot"),
    *((f"{{}} is higher on {claim}", low + end, high + end)
      for rows_of, end in (("the labelled rows", ""), ("the 50 labelled rows", "-n50"),
                           ("the 100 labelled rows", "-n100"), ("the 300 labelled rows", "-n300"))
      for claim, low, high in (
          (f"the labels of ntf than on {rows_of} that it learned from", "labelled", "ntf"),
          (f"{rows_of} and the labels of ntf than on {rows_of} alone", "labelled",
           "labelled-ntf")))]


def test_labelled_rows_are_compared_with_the_labels_that_they_taught_to_trust(tree, found):
    claims = said(found)
    for text, low, high in LABELLED:
        claim = claims[text.format("acc")]
        assert claim.place == "ours" and claim.step["difference"] == pytest.approx(
            acc(tree, f"student-{high}") - acc(tree, f"student-{low}"), abs=1e-9), text
    assert [text for text in claims if "labelled rows" in text] == [
        text.format("acc") for text, *_ in LABELLED]  # from the smallest budget to the largest
    than = "acc is higher on the labels of ntf than on the {} labelled rows that it learned from"
    assert claims[than.format(50)].verdict == "seen"  # .50 and .70
    assert claims[than.format(100)].step["difference"] < 0  # .74 and .72


def test_the_chain_with_the_first_trust_function_and_labels_chosen_zero_shot(tree, found):
    claims, first = said(found), "the chain with the first trust function: "
    for text, low, high in (
            (first + "acc of generation 2 is above generation 1", "ntf", "gen2-same-tau"),
            ("acc is higher on labels chosen zero-shot than on all weak labels", "all",
             "ntf-zero-shot")):
        assert claims[text].step["difference"] == pytest.approx(
            acc(tree, f"student-{high}") - acc(tree, f"student-{low}"), abs=1e-9)
        assert claims[text].verdict == "seen"
    # 96 and 108 of the 120 chosen are right
    purer = claims[first + "more of the labels that it chooses are right in generation 2"]
    assert purer.ours == "0.800 → 0.900" and purer.verdict == "seen"
    assert claims[first + "acc of generation 2 is above generation 1"].place == purer.place == \
        "weak-to-strong chain"


def test_the_auc_elsewhere_is_held_against_table_1_and_against_that_at_home(tree, found):
    claims, auc = said(found), {}
    for name in ("ntf", "ntf-zero-shot", "ntf-other-task"):
        judged = [found.judged[f"trust-{name}", seed] for seed in range(3)]
        inside = [np.array([name != "ntf-zero-shot" or of == "beasts" for of in run.sources])
                  for run in judged]
        auc[name] = np.mean([metrics.auc(run.score[part], run.right[part])
                             for run, part in zip(judged, inside)])
    zero = claims[f"{DIST}: the AUC of ntf-zero-shot is at least 0.83"]
    # P(.2 + .8 u > .8 v) of uniform u, v is 1 - .75^2 / 2 = .72
    assert zero.place == "OOD_dist" and auc["ntf-zero-shot"] == pytest.approx(.72, abs=.06)
    assert zero.step["difference"] == pytest.approx(auc["ntf-zero-shot"] - .83)
    assert zero.ours.startswith(f"{auc['ntf-zero-shot']:.3f} [0.") and zero.verdict == "not seen"
    assert zero.number == ".83 to .92"
    other = claims[f"{INTERFACE}: the AUC of ntf-other-task is below that of ntf in distribution"]
    assert other.place == "OOD_domain" and other.verdict == "seen"
    assert other.ours == f"{auc['ntf-other-task']:.3f} → {auc['ntf']:.3f}"
    home = claims[f"{IN}: the AUC of ntf is at least 0.83"]
    assert home.ours == "1.000 [1.000, 1.000]" and home.step["difference"] == pytest.approx(.17)


def test_a_student_above_truth_counts_as_near_lossless(tmp_path):
    students(tmp_path, quality=ACC | {"student-ntf": .85}, seeds=(0, 1))
    choices(tmp_path, seeds=(0, 1))
    study = trust_results.Trusted.read(tmp_path / "mcqa", draws=400)
    claim = said(study)[LOSSLESS]  # (.85 - .40) / (.80 - .40)
    assert (claim.verdict, claim.ours) == ("seen", "above; Recovery 112.5 %")


def test_every_benchmark_has_a_line_and_the_table_shows_their_mean(tree, text):
    main = cells(text, "Students by the labels that train them: accuracy on test rows (Recovery), "
                 "as in the paper's main table")
    ways = ["all", "confidence", "icl-confidence", "reward", "ntf", "truth", "random"]
    assert [line[1].strip() for line in main[3:5]] == ["beasts", "people"]
    for k, way in enumerate(ways):
        each = np.mean([by_benchmark(tree, f"student-{way}", seed) for seed in range(3)], 0)
        assert [main[3][2 + k], main[4][2 + k]] == [f"{each[1]:.3f}", f"{each[0]:.3f}"]
        assert main[2][2 + k].split()[0] == f"{each.mean():.3f}"
    assert f"ntf against truth: {acc(tree, 'student-ntf') - acc(tree, 'student-truth'):+.3f} [-" \
        in text


def test_students_have_the_labels_of_their_own_choice_and_the_chain_its_own_generations(tree, text):
    lines = {line[0]: line for line in cells(
        text, "Multiple choice: students by the labels that train them")}
    assert lines["labelled-n50"][1:3] == ["50", "1.000"]  # their truth
    assert lines["labelled-ntf-n50"][1:3] == ["170", ""]  # of two kinds
    assert lines["ntf-n50"][1:3] == ["120", "0.600"]
    assert lines["labelled-n100"][1:3] == ["", "1.000"]  # config.json does not say how many
    assert lines["ntf-lora"][1:3] == lines["ntf"][1:3] == ["120", "0.800"]
    assert lines["truth-lora"][1:3] == ["240", "1.000"] and lines["all"][1:3] == ["240", "0.400"]
    chain = [line[:6] for line in cells(text, "Multiple choice: the chain")[2:]]
    assert chain == [["1", "anew", "weak", "0.400", "0.800", "1.000"],
                     ["2", "anew", "student-ntf", "0.700", "1.000", "1.000"],
                     ["3", "anew", "student-gen2", "0.700", "1.000", "1.000"],
                     ["2", "the first", "student-ntf", "0.450", "0.900", "1.000"]]
    last = cells(text, "Multiple choice: the chain")[-1]
    gain = acc(tree, "student-gen2-same-tau") - acc(tree, "student-ntf")
    assert last[9].startswith(f"{gain:+.3f} [")


def test_a_step_from_a_value(found):
    """The interval of the difference is that of the metric, shifted by the value."""
    step, = trust_claims.above(found, "trust-ntf-zero-shot", "auc", .5)
    seen = found.summary("none", "trust-ntf-zero-shot", "auc")
    assert step["means"] == pytest.approx([.5, seen["mean"]])
    assert step["difference"] == pytest.approx(seen["mean"] - .5)
    assert step["interval"] == pytest.approx([end - .5 for end in seen["interval"]], abs=1e-6)
    assert trust_claims.above(found, "trust-mine", "auc", .5) == []


# ---- names ---------------------------------------------------------------------------------------

def test_names_stand_as_scores_generations_budgets_and_other_training():
    ordered = ["all", "random", "confidence", "consistency", "mine", "ntf", "ntf-both", "labelled",
               "labelled-ntf", "truth-n", "truth", "gen2", "gen2-same-tau", "gen3", "gen10",
               "ntf-n50", "labelled-n50", "labelled-ntf-n50", "ntf-n100", "ntf-grpo", "ntf-lora",
               "truth-gen2"]
    assert sorted(reversed(ordered), key=trust_names.place) == ordered


@pytest.mark.parametrize("way, labels, score", [
    ("ntf", "ntf", True), ("mine", "mine", True), ("ntf-lora", "ntf", True),
    ("truth-gen2", "truth", False), ("truth-grpo", "truth", False), ("gen2", "gen2", False),
    ("gen2-same-tau", "gen2-same-tau", False), ("ntf-n100", "ntf-n100", False),
    ("labelled-ntf-n100", "labelled-ntf-n100", False), ("labelled", "labelled", False),
    ("truth-n", "truth-n", False), ("all", "all", False)])
def test_whose_labels_a_student_has_and_which_are_by_a_score(way, labels, score):
    assert trust_names.labels_of(way) == labels and trust_names.is_score(way) == score


@pytest.mark.parametrize("name, expected", [
    ("weak-none", ("weak", "all")), ("base-strong", ("base-strong", "all")),
    ("base-strong-gen2", ("base-strong-gen2", "all")), ("student-all", ("student-naive", "all")),
    ("student-ntf", ("student-naive", "ntf")), ("student-gen3", ("student-gen3", "ntf")),
    ("student-gen2-same-tau", ("student-gen2-same-tau", "ntf")),
    ("student-ntf-lora", ("student-ntf-lora", "ntf")),
    ("student-truth-gen2", ("student-truth-gen2", "truth")),
    ("student-labelled-ntf-n100", ("student-naive", "labelled-ntf-n100"))])
def test_names_in_results(name, expected):
    assert trust_names.in_results(name) == expected
