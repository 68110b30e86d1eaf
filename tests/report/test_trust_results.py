"""report.trust_results and its tables. pytest tests/report/test_trust_results.py"""

import re
import shutil

import numpy as np
import pytest

from tests.report.test_report import LADDER, command, plant, table_of, run
from w2s import metrics, rows, tasks
from w2s.report import measurements, trust_claims, trust_results
from w2s.trust import score_metrics, selection

# accuracy of each run, in test rows that every seed shares
ACC = {"weak-none": .60, "base-strong": .40, "student-all": .62, "student-random": .61,
       "student-confidence": .66, "student-icl-confidence": .68, "student-reward": .64,
       "student-ntf": .76, "student-labelled": .74, "student-labelled-ntf": .79,
       "student-truth-n": .77, "student-truth": .80, "student-gen2": .78, "student-gen3": .78}
# AUC-like quality and whose labels are judged (their share of right ones)
CHOICES = {"trust-confidence": (.3, .6, "weak-none"), "trust-random": (0, .6, "weak-none"),
           "trust-icl-confidence": (.35, .6, "weak-none"), "trust-reward": (.2, .6, "weak-none"),
           "trust-ntf": (.9, .6, "weak-none"), "trust-truth-n": (.9, .6, "weak-none"),
           "trust-truth": (0, .6, "weak-none"), "trust-gen2": (.9, .7, "student-ntf"),
           "trust-gen3": (.9, .7, "student-gen2")}
N, POOL = 200, 240
LOSSLESS = ("ntf is near-lossless: acc is that of the student on true labels (the interval of the "
            "difference holds 0 and lies within ±0.02), or above")
MORE = "acc is higher on the labels of ntf than on "


def students(folder, task="mcqa", quality=ACC, seeds=(0, 1, 2), skip=(), fresh=()):
    """Finished runs whose accuracy is exactly that of quality. A seed's runs share their luck: a
    better run is right wherever a worse one is; those named in `fresh` have luck of their own."""
    module = tasks.load(task)
    for seed in seeds:
        for name, acc in quality.items():
            if (name, seed) in skip:
                continue
            rng = np.random.default_rng([seed, *(name.encode() if name in fresh else ())])
            u, out = rng.permutation(N) / N, folder / task / f"seed{seed}" / name
            found = [answer(task, i, bool(u[i] < acc - 1e-9)) for i in range(N)]
            rows.write(out / "predictions/test.jsonl", found)
            rows.write_json(out / "eval.json",
                            {"test": {"n": N, "metrics": module.evaluate(found)}})
            size = "mini-weak" if name == "weak-none" else "mini-strong"
            rows.write_json(out / "config.json", {"args": {"model": f"models/{size}"}})
            (out / "DONE").touch()


def answer(task, i, right):
    """A line of predictions."""
    row = {"id": f"q{i:03d}", "group": f"g{i // 2}", "source": "people"}
    if task != "mcqa":
        return row | {"label": "7", "answer": "7" if right else "8"}
    return row | {"label": i % 4, "p": [.7 if k == (i + 1 - right) % 4 else .1 for k in range(4)]}


def choices(folder, task="mcqa", quality=CHOICES, seeds=(0, 1, 2), skip=(), keep=.5, regimes=None):
    """Finished runs of train_ntf.py: quality {run: (how far the score follows what is right, share
    of right labels, teacher)}."""
    for seed in seeds:
        for name, (follows, share, teacher) in quality.items():
            if (name, seed) not in skip:
                out = folder / task / f"seed{seed}" / name
                judge(out, follows, share, teacher, seed, keep, (regimes or {}).get(name, {}))


def judge(out, follows, share, teacher, seed, keep, regimes):
    select = out.name.removeprefix("trust-").replace("-zero-shot", "")
    select = "ntf" if re.match("gen|ntf", select) else select
    rng = np.random.default_rng([seed, 5])
    right = (rng.permutation(POOL) < share * POOL - 1e-9).astype(int)
    noise = np.random.default_rng([seed, *select.encode()]).permutation(POOL) / POOL
    score = np.ones(POOL) if select == "truth" else np.round(
        follows * right + (1 - follows) * noise, 6)
    if select == "random":
        score = score * POOL * 10
    n = POOL if select == "truth" else round(keep * POOL)
    kept = np.zeros(POOL, bool)
    kept[np.argsort(-score, kind="stable")[:n]] = True
    measured = score_metrics.measure(score, right, None, seed, 100, n)
    measured = [m for m in measured if select in selection.PROBABILITIES
                or m["metric"].split("_")[0] not in selection.CALIBRATION]
    facts = {"right": float(right.mean()), "right_kept": float(right[kept].mean())}
    rows.write(out / "trust.jsonl", [
        {"id": f"w{i}", "group": f"w{i // 2}", "trust": float(score[i]), "right": int(right[i]),
         "kept": bool(kept[i]), "source": ("people", "beasts")[i % 2]} for i in range(POOL)])
    rows.write_json(out / "trust.json", {
        "select": select, "task": "mcqa", "pool": POOL, "kept": n, **facts,
        "shares": {"0": [.5, .4], "1": [.5, .6]}, "regimes": regimes, "facts": {},
        "metrics": measured + [{"slice": "all", "metric": key, "value": value}
                               for key, value in facts.items()]})
    rows.write_json(out / "config.json", {"args": {"teacher": f"somewhere/{teacher}"}})
    (out / "DONE").touch()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trusted")
    students(folder)
    choices(folder)
    return folder


@pytest.fixture(scope="module")
def text(tree):
    return run(tree)


@pytest.fixture(scope="module")
def found(tree):
    return trust_results.Trusted.read(tree / "mcqa", draws=400)


def said(study):
    return {claim.text: claim for claim in trust_claims.claims(study)}


def cells(text, caption):
    """The cells of a table of the report, line by line."""
    table = text.split(f"### {caption}\n")[1].strip().split("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_recovery_and_pgr_are_those_of_the_means_with_intervals(found):
    recovery, gap = found.recovery("student-ntf"), found.gap("student-ntf")
    assert recovery["value"] == pytest.approx((.76 - .40) / (.80 - .40))
    assert gap["value"] == pytest.approx((.76 - .60) / (.80 - .60))
    for each in (recovery, gap):
        low, high = each["interval"]
        assert low < each["value"] < high and not each["doubtful"]
    assert found.recovery("student-truth")["value"] == 1
    assert found.recovery("student-truth")["interval"] == (1, 1)
    assert found.recovery("base-strong")["interval"] == (0, 0)
    assert found.gap("base-strong")["value"] == pytest.approx(-1)  # it may be below 0


def test_the_interval_of_recovery_is_that_of_drawing_seeds_and_rows(found):
    """A plain loop over draws agrees with the joint draws of Study: a multivariate t of the seeds'
    means, and beside it a bootstrap of the rows, which all seeds have in common."""
    rng, shares = np.random.default_rng(1), []
    names = ("base-strong", "student-ntf", "student-truth")
    S = np.array([[found.runs[name, seed].S[:, 1] for seed in range(3)] for name in names])
    values = S.mean(2)                                          # model, seed
    S = S.reshape(3, 3, N // 2, 2)                              # model, seed, group, row
    for _ in range(4000):
        drawn = rng.integers(N // 2, size=N // 2)
        rows = (S[:, :, drawn].mean((2, 3)) - values).mean(1)
        seeds = rng.multivariate_normal(np.zeros(3), np.cov(values) / 3) / np.sqrt(
            rng.chisquare(2) / 2)
        means = values.mean(1) + seeds + rows
        shares.append(metrics.recovery(means[1], means[0], means[2]))
    study = trust_results.Trusted.read(found.folder, draws=4000)
    assert study.recovery("student-ntf")["interval"] == pytest.approx(
        np.quantile(shares, [.025, .975]), abs=.008)


def test_students_of_a_seed_are_paired(tmp_path, found):
    students(tmp_path, fresh=("student-random",))
    choices(tmp_path)
    other = trust_results.Trusted.read(tmp_path / "mcqa", draws=400)

    def width(study):
        step, = study.steps([("none", "student-all"), ("none", "student-random")], "acc")
        return np.ptp(step["interval"])
    assert width(found) < width(other) / 2  # right and wrong on the same rows


def test_the_verdicts_of_a_clean_ladder(found):
    claims = said(found)
    assert {text: claim.verdict for text, claim in claims.items()} == {
        MORE + "all weak labels (naive)": "seen", MORE + "as many of the most confident": "seen",
        MORE + "as many of the most confident behind solved examples": "seen",
        MORE + "as many by a reward model": "seen", MORE + "as many random ones": "seen",
        MORE + "true labels of the same rows": "reversed", LOSSLESS: "reversed",
        "the chain: acc of generation 2 is above generation 1": "seen",
        "the chain: acc of generation 3 is above generation 2": "not seen",
        "in distribution: the AUC of ntf is at least 0.83": "seen",
        "in distribution: the AUC of ntf is above that of every confidence baseline": "seen",
        MORE + "the labelled rows that it learned from": "seen",
        "acc is higher on the labelled rows and the labels of ntf than on the labelled rows alone":
            "seen"}
    of_paper = {text: (claim.place, claim.number) for text, claim in claims.items()
                if claim.place != "ours"}
    main, chain = "main results, MCQA", ("weak-to-strong chain", "monotone")
    assert of_paper == {  # the summary's main table and Table 1, typed here a second time
        MORE + "all weak labels (naive)": (
            main, "73.7 > 69.3; 80.9 > 74.7; 75.0 > 74.0; 87.1 > 86.0"),
        MORE + "as many of the most confident": (
            main, "73.7 > 69.2; 80.9 > 75.1; 75.0 > 74.3; 87.1 > 85.7"),
        MORE + "as many of the most confident behind solved examples": (
            main, "73.7 > 72.0; 80.9 > 77.9; 75.0 > 74.4; 87.1 > 86.5"),
        MORE + "as many by a reward model": (
            main, "73.7 > 68.8; 80.9 > 78.4; 75.0 > 71.7; 87.1 > 86.1"),
        LOSSLESS: (main, "5 of 8 settings, above in 1"),
        "the chain: acc of generation 2 is above generation 1": chain,
        "the chain: acc of generation 3 is above generation 2": chain,
        "in distribution: the AUC of ntf is at least 0.83": ("Table 1", ".83 to .92")}
    assert claims[LOSSLESS].ours == "below; Recovery 90.0 %"
    assert claims[LOSSLESS].step["difference"] == pytest.approx(-.04)
    assert claims["the chain: acc of generation 2 is above generation 1"].ours == "0.760 → 0.780"


@pytest.mark.parametrize("interval, state", [
    ((-.019, .019), "near-lossless"), ((-.02, .01), "undecided"), ((-.01, .021), "undecided"),
    ((-.05, .04), "undecided"), ((-.015, -.001), "below"), ((.001, .4), "above"),
    ((0, .01), "near-lossless")])
def test_near_lossless_is_an_interval_that_holds_0_within_the_margin(interval, state):
    assert trust_claims.equivalence(interval, .02) == state


def test_a_wider_margin_and_a_student_like_truth(tmp_path):
    students(tmp_path, quality={**ACC, "student-ntf": .80})
    choices(tmp_path)
    study = trust_results.Trusted.read(tmp_path / "mcqa", draws=400)
    claim = said(study)[LOSSLESS]  # the same rows right: a difference of exactly 0
    assert claim.verdict == "seen" and claim.ours == "near-lossless; Recovery 100.0 %"
    students(tmp_path, quality={**ACC, "student-ntf": .80}, fresh=("student-ntf",))
    for margin, verdict in ((.005, "not clear"), (.5, "seen")):  # rows of one's own: an interval
        study = trust_results.Trusted.read(tmp_path / "mcqa", draws=400, margin=margin)
        text = LOSSLESS.replace("0.02", f"{margin:g}")
        assert said(study)[text].verdict == verdict
    assert f"ntf against truth: +0.000 [" in run(tmp_path, "--margin", "0.5")


def test_a_margin_of_nothing_is_refused(tree, capsys):
    code, _, error = command(capsys, tree, "--margin", "0")
    assert code == 1 and "--margin" in error and error.count("\n") == 1


def test_recovery_is_that_of_the_same_model_trained_in_the_same_way(tmp_path):
    """By hand: (.70 - .50) / (.75 - .50) of the larger model, (.66 - .40) / (.72 - .40) of LoRA."""
    larger = {"base-strong-gen2": .50, "student-gen2": .70, "student-truth-gen2": .75}
    lora = {"student-ntf-lora": .66, "student-truth-lora": .72}
    students(tmp_path, quality={**ACC, **larger, **lora})
    choices(tmp_path)
    for seed in range(3):
        for names, args in ((larger, {"model": "models/large"}),
                            (lora, {"model": "models/mini-strong", "lora_rank": 8})):
            for name in names:
                rows.write_json(tmp_path / f"mcqa/seed{seed}/{name}/config.json", {"args": args})
    study = trust_results.Trusted.read(tmp_path / "mcqa", draws=400)
    assert study.twins("student-gen2") == ("base-strong-gen2", "student-truth-gen2")
    assert study.recovery("student-gen2")["value"] == pytest.approx(.2 / .25)
    assert study.recovery("student-ntf-lora")["value"] == pytest.approx(.26 / .32)
    assert study.recovery("student-ntf")["value"] == pytest.approx(.36 / .40)
    assert study.gap("student-gen2")["value"] == pytest.approx((.70 - .60) / (.75 - .60))
    run(tmp_path)
    found = {(r["model"], r["selection"], r["metric"]): float(r["value"])
             for r in table_of(tmp_path) if r["seed"] == "1" and r["slice"] == "all"}
    assert found["student-gen2", "ntf", "recovery"] == pytest.approx(.8)
    assert found["student-ntf-lora", "ntf", "recovery"] == pytest.approx(.8125)
    assert ("student-truth-lora", "truth", "recovery") not in found
    assert found["base-strong-gen2", "all", "acc"] == pytest.approx(.5)


def test_a_student_without_its_twin_has_no_recovery(tmp_path):
    students(tmp_path, quality={**ACC, "student-ntf-grpo": .7})
    choices(tmp_path)
    for seed in range(3):
        rows.write_json(tmp_path / f"mcqa/seed{seed}/student-ntf-grpo/config.json",
                        {"args": {"model": "models/mini-strong", "objective": "grpo"}})
    study = trust_results.Trusted.read(tmp_path / "mcqa", draws=400)
    assert study.twins("student-ntf-grpo") == ("base-strong", None)
    assert study.recovery("student-ntf-grpo") is None is study.gap("student-ntf-grpo")
    lines = {line[0]: line for line in cells(
        run(tmp_path), "Multiple choice: students by the labels that train them")}
    (tmp_path / "mcqa/seed2/student-ntf-grpo/DONE").unlink()
    assert "- mcqa/student-ntf-grpo: not finished (seed 2)" in run(tmp_path)
    shutil.rmtree(tmp_path / "mcqa/seed2/student-ntf-grpo")  # for some seeds only
    assert "Not finished" not in run(tmp_path)
    assert lines["ntf-grpo"][5:7] == ["-", "-"] and lines["ntf-grpo"][1:3] == ["120", "1.000"]


def test_worse_students_are_reversed_and_missing_ones_not_measured(tmp_path):
    students(tmp_path, quality={**ACC, "student-ntf": .50}, skip={("student-gen3", n)
                                                                 for n in range(3)})
    choices(tmp_path, quality={**CHOICES, "trust-ntf": (.9, .8, "weak-none")})
    claims = said(trust_results.Trusted.read(tmp_path / "mcqa", draws=400))
    verdict = {text: claim.verdict for text, claim in claims.items()}
    assert verdict[MORE + "all weak labels (naive)"] == "reversed" == verdict[LOSSLESS]
    assert verdict["the chain: acc of generation 3 is above generation 2"] == "not measured"


def test_a_recovery_without_a_gap_is_flagged_and_not_judged(tmp_path):
    students(tmp_path, quality={**ACC, "base-strong": .79}, fresh=("base-strong",))
    choices(tmp_path)
    study = trust_results.Trusted.read(tmp_path / "mcqa", draws=400)
    assert study.recovery("student-ntf")["doubtful"]
    claim = said(study)[LOSSLESS]  # where truth taught nothing, there is nothing to lose
    assert claim.ours == "truth is not clearly above untuned; Recovery -"
    assert claim.verdict == "not measured"
    assert "-300" not in run(tmp_path)


def test_scores_of_the_same_labels_share_each_draw(found):
    runs = [found.judged[name, 0] for name in ("trust-ntf", "trust-random", "trust-confidence")]
    assert all((run.draws["purity_random"] == runs[0].draws["purity_random"]).all() for run in runs)
    again = trust_results.Trusted.read(found.folder, draws=400)
    assert (again.judged["trust-ntf", 2].draws["auc"] == found.judged["trust-ntf", 2].draws["auc"]
            ).all()
    for run in runs:
        assert run.values["auc"] == metrics.auc(run.score, run.right)
        assert run.values["purity"] == pytest.approx(run.metrics["all", "right_kept"])
        assert abs(run.draws["auc"].mean() - run.values["auc"]) < .01
        assert run.values["purity_half"] == run.values["purity"]  # half of the pool was kept
        assert np.allclose(run.draws["purity_half"], run.draws["purity"])
    assert "ece" not in runs[1].values and "ece" in runs[2].values  # random is no probability
    ece = found.summary("none", "trust-ntf", "ece")
    assert ece["interval"][0] <= ece["mean"] <= ece["interval"][1]


def test_the_lines_of_results_csv(tree, text):
    found = {(r["model"], r["selection"], r["slice"], r["metric"]): float(r["value"])
             for r in table_of(tree) if r["seed"] == "1"}
    assert {(r["task"], r["strategy"]) for r in table_of(tree)} == {("mcqa", "none")}
    exact = {("weak", "all", "acc"): .6, ("base-strong", "all", "acc"): .4,
             ("student-naive", "all", "acc"): .62, ("student-naive", "all", "recovery"): .55,
             ("student-naive", "all", "pgr"): .1, ("student-naive", "ntf", "recovery"): .9,
             ("student-naive", "truth", "acc"): .8, ("student-gen2", "ntf", "acc"): .78,
             ("student-gen3", "ntf", "pgr"): .9, ("weak", "random", "right"): .6,
             ("weak", "ntf", "right_kept"): 1.0, ("weak", "ntf", "purity_n"): 120,
             ("weak", "ntf", "purity_half"): 1.0,
             ("student-naive", "ntf", "right"): .7, ("student-gen2", "ntf", "right"): .7}
    for (model, selection, metric), value in exact.items():
        assert found[model, selection, "all", metric] == pytest.approx(value), metric
    assert ("weak", "random", "all", "ece") not in found
    assert ("weak", "confidence", "all", "auc_low") in found
    assert ("student-naive", "truth", "all", "recovery") not in found


def test_a_tree_of_trust_functions_alone_is_a_report(tree, text, capsys):
    for words in ("Not finished", "Doubtful", "Table 1 of the paper, and ours", "TFT"):
        assert words not in text, words
    main = cells(text, "Students by the labels that train them: accuracy on test rows (Recovery), "
                 "as in the paper's main table")
    assert main[0] == ["task", "teacher → student", "all (naive)", "I-Confidence", "ICL + I-Conf",
                       "reward model", "NTF", "truth", "random"]
    assert main[2] == ["Multiple choice", "mini-weak → mini-strong", "0.620 (55.0 %)",
                       "0.660 (65.0 %)", "0.680 (70.0 %)", "0.640 (60.0 %)", "0.760 (90.0 %)",
                       "0.800", "0.610 (52.5 %)"]
    assert main[4:] == [  # F29: 78.4 is the reward model's, 80.9 with 95.9 % is NTF's
        ["", "OLMo2 1B → 13B", "0.747 (12.2 %)", "0.751 (17.6 %)", "0.779 (55.4 %)",
         "0.784 (62.2 %)", "0.809 (95.9 %)", "0.812", ""],
        ["", "Qwen3 0.6B → 1.7B", "0.740 (86 %)", "0.743 (91.2 %)", "0.744 (93 %)",
         "0.717 (45.6 %)", "0.750 (103.5 %)", "0.748", ""],
        ["", "Qwen3 0.6B → 14B", "0.860 (86.8 %)", "0.857 (82.9 %)", "0.865 (93.4 %)",
         "0.861 (88.2 %)", "0.871 (101.3 %)", "0.870", ""]]
    assert main[3][:2] == ["the paper's MCQA", "OLMo2 1B → 7B"] and main[3][6] == "0.737 (98.9 %)"
    assert cells(text, "Multiple choice: how good each choice of labels is")[-4:] == [
        ["the paper's", "world knowledge", "0.92", "", "0.03", "0.07", "0.98", ""],
        ["", "quantitative reasoning, Omni", "0.83", "", "0.11", "0.13", "0.69", ""],
        ["", "quantitative reasoning, MATH", "0.84", "", "0.14", "0.17", "0.95", ""],
        ["", "strategy games", "0.91", "", "0.02", "0.11", "0.95", ""]]
    lines = {line[0]: line for line in cells(
        text, "Multiple choice: students by the labels that train them")}
    assert lines["ntf"][1:4] == ["120", "1.000", "0.760 ± 0.000"]
    assert lines["ntf"][5].startswith("90.0 % [") and lines["ntf"][6].startswith("80.0 % [")
    assert lines["ntf"][7].startswith("+0.140 [+0.") and lines["all"][1:3] == ["240", "0.600"]
    chain = cells(text, "Multiple choice: the chain")
    assert [line[2] for line in chain[2:]] == ["weak", "student-ntf", "student-gen2"]
    assert chain[3][3] == "0.700" and chain[3][9].startswith("+0.020 [+0.")
    code, out, _ = command(capsys, tree, "--draws", "100", "--figures", "no")
    assert code == 0 and max(map(len, out.split("Report:")[0].splitlines())) <= 80
    assert "not near-lossless: recovers 90 % (paper:" in out and "96 to 104 %)" in out
    assert (tree / "report.html").read_text().count("<table") == text.count("\n### ")


def test_the_figures_of_a_task(tree):
    pytest.importorskip("matplotlib")
    text = run(tree, "--figures", "yes")
    for name in ("mcqa-purity", "mcqa-chain"):
        assert f"(figures/{name}.png)" in text
        assert len((tree / f"figures/{name}.png").read_bytes()) > 20_000
    assert (tree / "report.html").read_text().count("<svg") == 2


def test_a_trust_function_elsewhere_has_its_own_lines(tmp_path):
    students(tmp_path, seeds=(0,))
    choices(tmp_path, quality={**CHOICES, "trust-ntf-zero-shot": (.3, .6, "weak-none")}, seeds=(0,),
            regimes={"trust-ntf": dict.fromkeys(("people", "beasts"), "in distribution"),
                     "trust-ntf-zero-shot": {"people": "in distribution",
                                             "beasts": "other distribution"}})
    study = trust_results.Trusted.read(tmp_path / "mcqa", draws=400)
    assert study.parts() == {"": set(), "other distribution": {"beasts"}}
    zero = study.judged["trust-ntf-zero-shot", 0]
    there = np.array(zero.sources) == "beasts"
    assert zero.values["auc, other distribution"] == metrics.auc(zero.score[there],
                                                                 zero.right[there])
    text = run(tmp_path)
    lines = cells(text, "Multiple choice: how good each choice of labels is")[2:]
    first = next(i for i, line in enumerate(lines) if line[0].startswith("other"))
    assert lines[first][0] == "other distribution: beasts"
    scores = ["random", "confidence", "icl-confidence", "reward", "ntf"]
    assert [line[1] for line in lines[:first]] == scores
    assert [line[1] for line in lines[first:-4]] == [*scores, "ntf-zero-shot"]
    assert "other distribution: the AUC of ntf-zero-shot is above" in text
    found = {(r["model"], r["selection"]) for r in table_of(tmp_path)}
    assert ("weak", "ntf-zero-shot") in found


def test_missing_runs_are_listed_and_the_rest_is_shown(tmp_path):
    students(tmp_path, skip={("student-truth", 1)})
    choices(tmp_path, skip={("trust-gen3", 0), ("trust-gen3", 1), ("trust-gen3", 2)})
    (tmp_path / "mcqa/seed2/trust-ntf/DONE").unlink()
    (tmp_path / "mcqa/seed0/student-gen2/eval.json").unlink()
    text = run(tmp_path)
    for line in ("student-truth: not run (seed 1)", "trust-gen3: not run (seed 0, 1, 2)",
                 "trust-ntf: not finished (seed 2)", "student-gen2: no eval.json (seed 0)"):
        assert f"- mcqa/{line}" in text
    assert "0.760 (90.0 %)" in text


def test_a_folder_that_has_just_begun(tmp_path):
    students(tmp_path, quality={"weak-none": .6}, seeds=(0,))
    text = run(tmp_path, "--figures", "yes")
    assert "mcqa/student-all: not run (seed 0)" in text and "not measured" in text


APART = ("trust.json: does not belong to trust.jsonl; delete the folder and run train_ntf.py "
         "again")


@pytest.mark.parametrize("file, content, words", [
    ("trust.json", "[]", "trust.json"), ("trust.json", '{"metrics": []}', APART),
    ("trust.jsonl", '{"id": "w"}\n', "trust.jsonl:1: no key 'trust'"),
    ("trust.jsonl", '{"id": "w", "trust": 1, "right": 1}\n', APART), ("config.json", "{}", APART)])
def test_a_damaged_choice_is_named(tmp_path, file, content, words):
    students(tmp_path, quality={"weak-none": .6}, seeds=(0,))
    choices(tmp_path, seeds=(0,))
    (tmp_path / "mcqa/seed0/trust-ntf" / file).write_text(content)
    with pytest.raises(ValueError, match=f"trust-ntf/{words}"):
        run(tmp_path)


def test_choices_from_different_pools_are_refused(tmp_path):
    students(tmp_path, quality={"weak-none": .6}, seeds=(0,))
    choices(tmp_path, seeds=(0,))
    path = tmp_path / "mcqa/seed0/trust-ntf/trust.jsonl"
    rows.write(path, [row | {"id": "x" + row["id"]} for row in rows.read(path)])
    with pytest.raises(ValueError, match="trust-.*/trust.jsonl: not the pool that the other "
                       "choices of seed 0 have; choose them all from one file"):
        run(tmp_path)


def test_free_answers_have_the_same_report(tmp_path):
    students(tmp_path, "arithmetic", seeds=(0, 1))
    choices(tmp_path, "arithmetic", seeds=(0, 1))
    text = run(tmp_path)
    assert "## Arithmetic" in text and "0.760 (90.0 %)" in text
    assert "in distribution: the AUC of ntf" in text


# ---- a property and a trust function -------------------------------------------------------------

CROSSED = {**LADDER, "student-naive-none-ntf": (.84, .66), "student-naive-weak-ntf": (.80, .72),
           "student-naive-both-ntf": (.70, .78)}


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crossed")
    plant(folder, "adversarial", CROSSED)
    choices(folder, "adversarial", {"trust-ntf-none": (.9, .6, "weak-none"),
                                    "trust-ntf-tft": (.9, .7, "weak-tft")})
    return folder


def test_a_property_on_trusted_labels(crossed):
    text = run(crossed)
    assert "Not finished" not in text
    lines = cells(text, "student-naive on all weak labels, and on trusted ones")[2:]
    assert [line[3:7] + line[9:] for line in lines] == [
        ["acc", "0.780", "0.840", "+0.060", "seen"],
        ["ra", "0.700", "0.660", "-0.040", "reversed"],
        ["acc", "0.760", "0.800", "+0.040", "seen"], ["ra", "0.720", "0.720", "+0.000", "not seen"],
        ["acc", "0.760", "0.700", "-0.060", "reversed"], ["ra", "0.740", "0.780", "+0.040", "seen"]]
    assert [line[2] for line in lines[::2]] == ["0.600 → 1.000"] + 2 * ["0.700 → 1.000"]
    assert "Weak+WTS TFT: trusted labels raise the robust accuracy of student-naive" in text
    found = {(r["strategy"], r["model"], r["selection"], r["slice"], r["metric"]): float(r["value"])
             for r in table_of(crossed) if r["seed"] == "2"}
    assert found["both", "student-naive", "ntf", "all", "acc"] == pytest.approx(.70)
    assert found["both", "student-naive", "all", "all", "acc"] == pytest.approx(.76)
    assert found["none", "student-naive", "ntf", "all", "pgr"] == pytest.approx(.14 / .20)
    assert found["weak", "weak", "ntf", "all", "right"] == pytest.approx(.7)
    assert found["none", "weak", "ntf", "all", "right_kept"] == 1


def test_the_crossing_is_drawn_and_missing_students_are_listed(crossed, tmp_path):
    pytest.importorskip("matplotlib")
    plant(tmp_path, "fairness", {name: (acc, round(.5 - ra / 2, 3))
                                 for name, (acc, ra) in CROSSED.items()}, seeds=(0, 1), n=120,
          skip={("student-naive-both-ntf", 1)})
    text = run(tmp_path, "--figures", "yes")
    assert "(figures/crossing.png)" in text and "Smaller is better: dpd_abs" in text
    assert "- fairness/student-naive-both-ntf: not run (seed 1)" in text
    assert (tmp_path / "figures/crossing.svg").exists()


def test_properties_without_a_crossing_say_nothing_of_trust(tmp_path):
    plant(tmp_path, "ood", LADDER, seeds=(0,), n=120)
    text = run(tmp_path)
    assert "trusted" not in text.lower() and "Recovery" not in text
    assert list(measurements.properties(trust=False)) == ["mcqa", "arithmetic", "game"]


def test_properties_and_trust_functions_share_one_report(tree, tmp_path):
    students(tmp_path, seeds=(0,))
    choices(tmp_path, seeds=(0,))
    plant(tmp_path, "ood", LADDER, seeds=(0,), n=120)
    text = run(tmp_path)
    heads = re.findall(r"^## (.*)", text, re.M)
    assert heads == ["Figures", "Claims", "Everything else",
                     "What the paper says, and what is seen at this scale",
                     "Means of every measure", "Does the property go from weak to strong?",
                     "OOD robustness", "Which labels to trust", "Multiple choice",
                     "What to be warned of", "How these numbers were made",
                     "Where the numbers come from", "What was run"]
    assert {r["task"] for r in table_of(tmp_path)} == {"ood", "mcqa"}
    keys = [tuple(line.values())[:-1] for line in table_of(tmp_path)]
    assert len(set(keys)) == len(keys)


def test_no_two_lines_of_results_csv_are_of_the_same_number(tmp_path):
    """Both chains, budgets and other training: each run and choice has a key of its own."""
    more = {"student-gen2-same-tau": .7, "student-gen3-same-tau": .71, "student-ntf-n100": .6,
            "student-labelled-n100": .5, "student-labelled-ntf-n100": .6, "student-ntf-lora": .7,
            "student-truth-lora": .8, "student-truth-gen2": .8, "base-strong-gen2": .4}
    students(tmp_path, quality={**ACC, **more})
    choices(tmp_path, quality={**CHOICES, "trust-ntf-both": (.95, .6, "weak-none"),
                               "trust-ntf-n100": (.5, .6, "weak-none"),
                               "trust-gen2-same-tau": (.8, .7, "weak-none"),
                               "trust-gen3-same-tau": (.7, .7, "weak-none")})
    run(tmp_path)
    keys = [tuple(line[key] for key in ("model", "selection", "seed", "slice", "metric"))
            for line in table_of(tmp_path)]
    assert len(set(keys)) == len(keys)
    lines = cells((tmp_path / "report.md").read_text(),
                  "What the labelled rows are worth: accuracy of the student")
    assert lines[2:] == [["mcqa", "100", "0.500", "0.600", "0.600"],
                         ["mcqa", "all", "0.740", "0.760", "0.790"]]
    right = {key[:2] for key in keys if key[-1] == "right"}
    assert {("student-naive", "ntf-same-tau"), ("student-gen2-same-tau", "ntf-same-tau"),
            ("student-naive", "ntf"), ("weak", "ntf"), ("weak", "ntf-n100")} <= right
