"""The report on language models: planted extraction, untuned controls, guarantees.

    python -m pytest -q tests/report/test_privacy_statement.py
"""

from statistics import NormalDist

import numpy as np
import pytest

from tests.report.test_report import LADDER, plant, table_of, run, said, states, verdict
from w2s import rows, tasks
from w2s.report import measurements, pictures, privacy_statement, results

# accuracy, extraction of members, of others, membership AUC: what the paper found, and more
PLANTED = {"weak-none": (.30, .18, .10, .80), "weak-tft": (.27, .14, .10, .55),
           "student-naive-none": (.36, .45, .12, .82), "student-naive-weak": (.35, .44, .12, .80),
           "student-naive-both": (.33, .26, .12, .60), "ceiling-none": (.40, .50, .12, .90),
           "ceiling-tft": (.38, .20, .12, .56), "base-weak": (.25, .10, .10, .50),
           "base-strong": (.32, .11, .11, .50)}
DP = {"epsilon": 7.9996, "delta": 1e-5, "sigma": .81, "clip": 1.0, "rows": 60, "q": .1, "steps": 30,
      "accountant": "pld", "sampling": "poisson", "noise_seed": "run"}
N = 60


def lines(values, name, seed):
    """The rows of predictions/<part>.jsonl and of attacks/extraction.jsonl of a run, which share
    ids; a row's luck is the same in all runs of a seed."""
    acc, own, others, _ = values
    luck = np.random.default_rng(seed).permutation(np.linspace(-.05, .05, N))
    predictions = [{"id": f"test{i}", "group": f"test{i}", "source": "mails", "tokens": 100,
                    "correct": round(100 * (acc + luck[i])), "nll": 100 * (2 - acc + luck[i])}
                   for i in range(N)]
    member = "wts" if name.startswith("student") else "weak"
    attacked = [{"id": f"{split}{i}", "group": f"{split}{i}", "split": split,
                 "source": "mails", "member": int(split == member),
                 "extraction": (own if split == member else others) + luck[i]}
                for split in ("weak", "wts", "test") for i in range(N)]
    return predictions, attacked


def guesses(attacked, auc, name, seed):
    """The rows of attacks/membership.jsonl: normal scores, lower for members, of about this AUC."""
    shift = NormalDist().inv_cdf(auc) * 2 ** .5
    luck = np.random.default_rng([seed, *name.encode()]).normal(size=len(attacked))
    return [{key: row[key] for key in ("id", "group", "split", "source", "member")} | {
        "ref": float(z - shift * row["member"])} for row, z in zip(attacked, luck)]


def write(folder, quality, seeds=(0, 1, 2), dp=DP):
    """Finished runs of task privacy of quality {run: (acc, members, others, AUC)}."""
    module = tasks.load("privacy")
    for seed in seeds:
        for name, values in quality.items():
            out = folder / f"privacy/seed{seed}" / name
            found, attacked = lines(values, name, seed)
            for part in ("test", "val"):
                rows.write(out / f"predictions/{part}.jsonl", found)
            scores = {"n": N, "metrics": module.evaluate(found)}
            rows.write_json(out / "eval.json", {"test": scores})
            rows.write(out / "attacks/extraction.jsonl", attacked)
            measure(out, "extraction", {
                (part, "extraction"): np.mean([row["extraction"] for row in attacked
                                               if keep(row)]) for part, keep in SLICES.items()})
            rows.write(out / "attacks/membership.jsonl", guesses(attacked, values[3], name, seed))
            measure(out, "membership", {("all", "mia_auc"): values[3],
                                        ("all", "mia_tpr_at_1fpr"): None})
            trained = {"labels": f"{out}/labels/wts.jsonl"} if "student" in name else {
                "data": "data/weak.jsonl"}
            private = {"privacy": dp} if name.endswith(("tft", "both")) else {}
            rows.write_json(out / "config.json", {"args": {"model": "m", **trained}, **private,
                                                  "lam": 8 if private else 0})
            (out / "log.jsonl").touch()  # of an untuned model: without a step
            (out / "DONE").touch()


SLICES = {"all": lambda row: row["member"], "members": lambda row: row["member"],
          "non-members": lambda row: row["split"] == "test"} | {
              name: lambda row, name=name: row["split"] == name for name in ("weak", "wts", "test")}


def measure(out, kind, values):
    rows.write_json(out / f"attack-{kind}.json", {"data": {}, "n": 3 * N, "args": {}, "metrics": [
        {"slice": part, "metric": name, "value": value} for (part, name), value in values.items()]})


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private")
    write(folder, PLANTED)
    return folder


@pytest.fixture(scope="module")
def text(tree):
    return run(tree)


@pytest.fixture(scope="module")
def found(tree, text):
    """{(strategy, model, slice, metric): value} of seed 0 in results.csv."""
    return {(r["strategy"], r["model"], r["slice"], r["metric"]): float(r["value"])
            for r in table_of(tree) if r["seed"] == "0"}


def test_extraction_of_a_models_own_members_decides_the_trend(tree, tmp_path):
    assert {key: found[None] for key, found in states(tree, "privacy").items()} == dict.fromkeys(
        results.STRATEGIES, "no")
    falling = {"weak-none": (.3, .4, .1, .8), "student-naive-none": (.3, .3, .1, .8),
               "ceiling-none": (.3, .2, .1, .8), "base-weak": (.3, .1, .1, .5)}
    write(tmp_path, falling)
    assert states(tmp_path, "privacy")["none"]["student-naive"] == "yes"
    write(tmp_path, falling | {"student-naive-none": (.3, .39, .1, .8)}, seeds=(1,))
    write(tmp_path, falling | {"student-naive-none": (.3, .41, .1, .8)}, seeds=(0, 2))
    assert states(tmp_path, "privacy")["none"]["student-naive"] == "no"


def test_untuned_models_stand_beside_the_others(found, text):
    assert found["none", "base-weak", "all", "extraction"] == pytest.approx(.10)
    assert found["none", "base-strong", "wts", "extraction"] == pytest.approx(.11)
    assert found["none", "base-strong", "all", "mia_auc"] == .5
    models = {model for _, model, *_ in found}
    assert models == {"weak", "student-naive", "ceiling", *results.CONTROLS}
    assert {strategy for strategy, model, *_ in found if model in results.CONTROLS} == {"none"}
    table = text.split("### Privacy: beside them")[1].split("\n\n")[1].splitlines()
    head, *body = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    cells = {row[1]: dict(zip(head, row)) for row in body[1:]}
    assert cells["base-strong"]["of D_WTS"] == "0.110 ± 0.000" == cells["base-strong"]["of D_W"]
    assert cells["weak"]["extraction, non-members"] == "0.100 ± 0.000"
    assert cells["base-weak"]["epsilon"] == "-" and cells["weak"]["epsilon"] == "8.000 ± 0.000"
    assert "ceiling-tft" not in cells and "not chosen" not in text  # it is the ceiling
    assert "mia_tpr_at_1fpr" not in head  # measured nowhere
    assert "| untuned " in text and "Not finished" not in text and "Doubtful" not in text


def test_epsilon_is_of_private_runs_only(tree, found, tmp_path):
    epsilons = {key[:2] for key in found if key[2:] == ("all", "epsilon")}
    assert epsilons == {("weak", "weak"), ("both", "weak"), ("both", "student-naive"),
                        ("weak", "ceiling"), ("both", "ceiling")}  # its ceiling is private
    assert found["both", "student-naive", "all", "epsilon"] == 7.9996
    write(tmp_path, PLANTED, (0,), DP | {"epsilon": None, "sampling": "shuffled"})
    text = run(tmp_path)
    assert "epsilon" not in {r["metric"] for r in table_of(tmp_path)}
    assert "- weak-tft: **no epsilon is certified** for the 60 rows of D_W" in text
    assert "shuffled sampling (Poisson is what accountants suppose)" in text


def test_there_are_two_guarantees_and_not_one(text):
    for words in ("- weak-tft: epsilon 8 at delta 1e-05 for the 60 rows of D_W (accountant pld; "
                  "poisson sampling; sigma 0.81; C 1; as long as the noise seed",
                  "- student-naive-both: epsilon 8 at delta 1e-05 for the 60 rows of D_WTS (",
                  "two separate guarantees and do not add up", "inherit it by post-processing"):
        assert words in text, words
    assert "- student-naive-weak: epsilon" not in text and "- weak-none: epsilon" not in text
    assert privacy_statement.blocks({"weak-none": [{"args": {}}]}) == []


def test_one_run_without_a_certificate_or_a_secret_spoils_the_claim():
    def line(*runs, **args):
        return privacy_statement.guarantee([{"args": {"data": "d/weak.jsonl"} | args, "privacy":
                                 DP | {"noise_seed": "system"} | run} for run in runs])

    assert line({}, {}).startswith("epsilon 8 at delta 1e-05 for the 60 rows of D_W (")
    assert "secret" not in line({}, {}) and "secret" in line({}, {"noise_seed": "run"})
    assert line({}, {"delta": 1e-3}).startswith("epsilon 8 at delta 1e-05 to 0.001 for")
    for change in ({"epsilon": None}, {"sampling": "shuffled"}):
        assert line({}, change).startswith("**no epsilon is certified** for")
    assert "for the 60 rows of D_WTS" in line({}, labels="weak/labels/wts.jsonl")


def test_totals_are_of_members_of_each_split_and_of_held_out_mail():
    """The task's sums by hand; the Pile's mails count nowhere."""
    task = tasks.load("privacy")
    totals = task.sums([
        {"tokens": 10, "correct": 4, "nll": 20.0, "source": "mails"},
        {"tokens": 7, "correct": 7, "nll": 1.0, "source": "pile"},
        {"member": 1, "split": "weak", "extraction": .5},
        {"member": 0, "split": "wts", "extraction": .375},
        {"member": 0, "split": "test", "extraction": .125}, {"member": 0, "extraction": .375},
        {"member": 0, "split": "test", "source": "pile", "extraction": .9}]).sum(0)
    assert totals.tolist() == [10, 4, 20, 1, .5, 1, .5, 1, .375, 2, .5]
    assert task.headline(totals) == pytest.approx({
        "acc": .4, "ppl": np.exp(2), "extraction": .5, "extraction_weak": .5,
        "extraction_excess_weak": .25, "extraction_wts": .375, "extraction_excess_wts": .125})


def test_epsilons_that_differ_between_seeds_are_a_range():
    configs = [{"args": {"data": "d/mine.jsonl.gz"}, "privacy": DP | {"epsilon": e, "rows": n,
                                                                    "noise_seed": "system"}}
               for e, n in ((2, 10), (4, 12), (3, 11))]
    line = privacy_statement.guarantee(configs)
    assert line.startswith("epsilon 2 to 4 at delta 1e-05 for the 10 to 12 rows of mine.jsonl.gz (")
    assert "secret" not in line


def test_claims_of_the_paper_and_our_questions_have_verdicts(tree):
    claims = said(tree, "privacy")
    for text, number in (("Weak TFT lowers the extracted text of weak", "18 → 14 %"),
                         ("Weak TFT lowers the extracted text of student-naive, by less",
                          "45 → 44 %"),
                         ("Weak+WTS TFT lowers the extracted text of student-naive", "45 → 26 %")):
        assert claims[text].number == number and claims[text].verdict == "seen"
        assert claims[text].ours == number.replace(" →", ".0 →").replace(" %", ".0 %")
    size = claims["No TFT: the extracted text is larger in the larger model, ceiling than weak"]
    assert (size.verdict, size.place) == ("seen", "4.1, Remarks on privacy")
    ceiling = claims["TFT lowers the extracted text of ceiling"]
    assert ceiling.ours == "50.0 → 20.0 %" and ceiling.verdict == "seen"
    assert ceiling.place == "ours"
    for model in ("weak", "student-naive", "ceiling"):
        assert claims[f"TFT raises the ppl of {model}"].verdict == "seen"
        assert claims[f"TFT lowers the membership AUC of {model}"].verdict == "seen"
    assert [c.verdict for c in claims.values()][:3] == ["seen"] * 3  # "no trend", three times
    assert not any("alpha" in text or "costs" in text for text in claims)


def test_memory_is_what_members_have_above_others(tree, tmp_path):
    text = "No TFT: fine-tuning raises extracted text of what {} trains on above that of other rows"
    found = {key: claim for key, claim in said(tree, "privacy").items()}
    weak, student = (found[f"{text.format(model)} (before: {base})"] for model, base in (
        ("weak", "base-weak"), ("student-naive", "base-strong")))
    assert weak.verdict == student.verdict == "seen"
    assert weak.step["means"] == pytest.approx([0, .08])
    assert student.step["means"] == pytest.approx([0, .33])  # of D_WTS, where base-strong is no
    fluent = PLANTED | {"weak-none": (.30, .18, .18, .5)}    # member: it learned to write mails
    write(tmp_path, fluent)
    weak = said(tmp_path, "privacy")[f"{text.format('weak')} (before: base-weak)"]
    assert weak.verdict != "seen" and weak.step["difference"] == pytest.approx(0, abs=1e-9)


def test_membership_intervals_resample_the_rows_that_seeds_share(tmp_path):
    """Three seeds that attack the same mails with the same scores know no more than one: the
    interval is that of a bootstrap of these mails, by a plain loop, and not 1 / sqrt(3) of it."""
    write(tmp_path, {"weak-none": PLANTED["weak-none"], "weak-tft": PLANTED["weak-tft"]})
    for name in ("weak-none", "weak-tft"):
        first = tmp_path / f"privacy/seed0/{name}"
        for seed in (1, 2):
            for file in ("attacks/membership.jsonl", "attacks/extraction.jsonl",
                         "predictions/test.jsonl"):
                (tmp_path / f"privacy/seed{seed}/{name}" / file).write_bytes(
                    (first / file).read_bytes())
    found = results.Study.read(tmp_path / "privacy", draws=3000)
    here = [row for row in rows.read(tmp_path / "privacy/seed0/weak-none/attacks/membership.jsonl")
            if row["split"] in ("weak", "test")]
    score, member = (np.array([row[key] for row in here]) for key in ("ref", "member"))
    rng, drawn = np.random.default_rng(0), []
    for _ in range(1500):
        at = rng.integers(len(here), size=len(here))
        inside, outside = score[at][member[at] == 1], score[at][member[at] == 0]
        drawn.append((inside[:, None] < outside).mean())
    expected = np.quantile(drawn, [.025, .975]) - np.mean(drawn)
    for seeds in ([0], [0, 1, 2]):
        found.seeds = seeds
        _, draws = found.joint([("none", "weak")], "mia_auc")
        interval = np.quantile(draws[0], [.025, .975]) - draws[0].mean()
        assert interval == pytest.approx(expected, abs=.012)
    step, = found.steps([("none", "weak"), ("weak", "weak")], "mia_auc")
    assert step["difference"] == pytest.approx(.25) and step["sign"] == -1
    assert step["interval"][0] < .25 < step["interval"][1]


def test_membership_compares_members_with_held_out_rows_of_their_sources():
    """Not with rows of the other half, which the student's teacher may know, nor with the Pile's:
    telling corpora apart is no memory."""
    found = [{"id": name, "group": f"g{k}", "split": split, "source": source, "member": member,
              "ref": float(k)} for k, (name, split, source, member) in enumerate([
                  ("a", "weak", "mails", 1), ("b", "wts", "mails", 0), ("c", "test", "mails", 0),
                  ("d", "test", "pile", 0), ("e", "weak", "mails", 1)])]
    score, member, groups = measurements.area_rows(found, "ref")
    assert score.tolist() == [0, -2, -4] and member.tolist() == [True, False, True]
    assert groups == ["g0", "g2", "g4"]


def test_areas_are_drawn_by_the_rows_names_and_not_their_places(tmp_path):
    names = "weak-none", "weak-tft", "ceiling-none"
    write(tmp_path, dict.fromkeys(names, PLANTED["weak-none"]), (0,))
    first, second, third = (tmp_path / f"privacy/seed0/{name}/attacks/membership.jsonl"
                            for name in names)
    rows.write(second, rows.read(first)[::-1])
    rows.write(third, [row | {"ref": 1.} for row in rows.read(first)])  # ties count one half
    found = results.Study.read(tmp_path / "privacy", draws=300)
    draws = [found.runs[name, 0].draws["mia_auc"] for name in names]
    assert np.allclose(*draws[:2]) and draws[0].std() > .01
    assert np.allclose(draws[2], .5)


@pytest.mark.parametrize("extraction, best", [(.20, "ceiling-tft"), (.49, "ceiling-none")])
def test_the_ceiling_is_chosen_by_what_can_be_extracted_from_it(tmp_path, extraction, best):
    write(tmp_path, PLANTED | {"ceiling-tft": (.38, extraction, .12, .56)}, seeds=(0,))
    text = run(tmp_path)
    assert f"**{best}**, chosen by (task + trust) / 2 on val rows: ceiling-none 0.4500, " in text
    assert ("| not chosen " in text) == (best == "ceiling-none")


def test_runs_attacked_on_other_rows_are_refused_and_runs_without_an_attack_listed(tmp_path):
    write(tmp_path, PLANTED, seeds=(0,))
    path = tmp_path / "privacy/seed0/weak-tft/attacks/extraction.jsonl"
    kept = rows.read(path)
    path.unlink()
    (tmp_path / "privacy/seed0/base-weak/DONE").unlink()
    text = run(tmp_path)
    assert "- privacy/weak-tft: no attacks/extraction.jsonl (seed 0)" in text
    assert "- privacy/base-weak: not finished (seed 0)" in text
    rows.write(path, kept[1:])
    with pytest.raises(ValueError, match="weak-tft/attacks/extraction.jsonl: .* attack them all"):
        run(tmp_path)
    rows.write(path, [{"id": row["id"], "member": "x", "extraction": .5} for row in kept])
    with pytest.raises(ValueError, match="extraction.jsonl: not .* run attacks.py again"):
        run(tmp_path)


def test_a_task_with_classes_shows_untuned_models_if_they_are_there(tmp_path):
    plant(tmp_path, "adversarial", {**LADDER, "base-weak": (.5, .45)}, seeds=(0,), n=120)
    text = run(tmp_path)
    found = {(r["strategy"], r["model"]): r["value"] for r in table_of(tmp_path)
             if (r["slice"], r["metric"]) == ("all", "ra")}
    assert float(found["none", "base-weak"]) == pytest.approx(.45, abs=.01)
    assert "| untuned " in text and "base-strong" not in text
    assert ["", "ours, both", "yes", "yes", "yes"] in verdict(text)


def test_the_figure_has_the_controls_as_lines(tree):
    pytest.importorskip("matplotlib")
    found = results.Study.read(tree / "privacy", draws=100)
    *_, bars, panels = pictures.picture(found)
    assert bars == ["weak", "student\nnaive", "ceiling"]
    assert [panel["name"].split("(")[-1] for panel in panels] == ["extraction)", "acc)",
                                                                  "mia_auc)"]
    assert [name for _, name in panels[0]["lines"]] == ["base-weak", "base-strong"]
    assert panels[2]["lines"] == [(.5, "a guess")] and panels[2]["better"] == "lower"
    assert panels[2]["values"][0, 0][0] == pytest.approx(.8)
    run(tree, "--figures", "yes")
    assert (tree / "figures/privacy.png").stat().st_size > 20_000
