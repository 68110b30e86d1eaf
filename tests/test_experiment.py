"""The plan of the experiment, held to section 3.2 of the paper by hand; recipes; the protocol.

    python -m pytest -q tests/test_experiment.py
"""

import os
import re
import shlex
from pathlib import Path

import pytest

from w2s import experiment, phases, recipes
from w2s.experiment import Config
from w2s.phases import Experiment

ROOT = Path(__file__).parent.parent
# Section 3.2, 4 (Baselines) and C.1, by hand. run: (script, model, rows it learns from, lambda,
# alpha); lambda and alpha "0" or "set", by recipe or task; rows of a student: whose labels of D_WTS
PLAN = {
    "weak-none": ("train_weak.py", "WEAK", "weak", "0", None),
    "weak-tft": ("train_weak.py", "WEAK", "weak", "set", None),
    "ceiling-none": ("train_weak.py", "STRONG", "weak", "0", None),
    "ceiling-tft": ("train_weak.py", "STRONG", "weak", "set", None),
    "student-naive-none": ("train_student.py", "STRONG", "weak-none", "0", "0"),   # No TFT
    "student-aux-none": ("train_student.py", "STRONG", "weak-none", "0", "set"),
    "student-naive-weak": ("train_student.py", "STRONG", "weak-tft", "0", "0"),    # Weak TFT
    "student-aux-weak": ("train_student.py", "STRONG", "weak-tft", "0", "set"),
    "student-naive-both": ("train_student.py", "STRONG", "weak-tft", "set", "0"),  # Weak+WTS TFT
    "student-aux-both": ("train_student.py", "STRONG", "weak-tft", "set", "set"),
}
CONTROLS = {"base-weak": ("train_weak.py", "WEAK", "weak", "0", None),
            "base-strong": ("train_weak.py", "STRONG", "weak", "0", None)}
FOLDERS = {"WEAK": "a/weak", "STRONG": "a/strong"}


def plan(preset="paper", **options):
    names = {"weak": FOLDERS["WEAK"], "strong": FOLDERS["STRONG"]} if preset != "smoke" else {}
    return Experiment(Config(**{"seeds": 2, **names, **options}), preset)


def trained(found, task, seed):
    """{run: (script, words)} of the models of a task and seed."""
    return {step.run: (step.script, found.line(step)) for step in found.steps
            if step.trained and f"/{task}/seed{seed}/" in str(step.fixed["--out"])}


def flag(words, name):
    """The value of a flag, None without it; a flag must not be given twice."""
    assert words.count(name) < 2, words
    return words[words.index(name) + 1] if name in words else None


def given(value):
    return "0" if value in ("0", "0.0") else "set"


@pytest.mark.parametrize("preset, split", [("paper", None), ("paper", 0), ("smoke", 0)])
@pytest.mark.parametrize("task", ("fairness", "ood", "adversarial", "privacy"))
def test_every_run_is_the_one_of_section_3_2(preset, split, task):
    found = plan(preset, tasks=task, split_seed=split)
    expected = dict(PLAN)
    if task == "privacy":  # text has no confidence loss; untuned controls
        expected = {name: row for name, row in PLAN.items() if "aux" not in name} | CONTROLS
    models = FOLDERS if preset == "paper" else {
        "WEAK": "data/smoke/tiny-2x32", "STRONG": "data/smoke/tiny-3x64"}
    for seed in (0, 1):
        runs = trained(found, task, seed)
        core = {name: run for name, run in runs.items()
                if "-lam-" not in name and not name.endswith("-ntf")}
        assert core.keys() == expected.keys()
        rows = f"data/{preset}/{task}" + ("" if split == 0 else f"/seed{seed}")
        for name, (script, words) in core.items():
            kind, model, learns, lam, alpha = expected[name]
            assert (script, words[0]) == (kind, kind) and flag(words, "--task") == task
            assert flag(words, "--seed") == str(seed) and flag(words, "--model") == models[model]
            home = f"runs/{preset}/{task}/seed{seed}"
            assert flag(words, "--out") == f"{home}/{name}"
            if kind == "train_weak.py":
                assert flag(words, "--data") == f"{rows}/{learns}.jsonl"
            else:
                assert flag(words, "--labels") == f"{home}/{learns}/labels/wts.jsonl"
                assert (given(flag(words, "--alpha")) if flag(words, "--alpha") else "set") == alpha
            value = flag(words, "--lam")
            assert (given(value) if value else "set") == lam
            assert (flag(words, "--epochs") == "0") == name.startswith("base")


def test_grids_vary_lambda_and_nothing_else():
    found = plan(tasks="fairness", seeds=1)
    runs = {name: words for name, (_, words) in trained(found, "fairness", 0).items()}
    for role, usual in (("weak", "weak-tft"), ("ceiling", "ceiling-tft"),
                        ("student-naive", "student-naive-both")):
        grid = {name: words for name, words in runs.items() if name.startswith(f"{role}-lam-")}
        assert [float(flag(words, "--lam")) for words in grid.values()] == [.25, .5, 2, 4]
        for name, words in grid.items():
            def rest(words):
                drop = {words.index("--lam") + 1, words.index("--out") + 1}
                return sorted(word for k, word in enumerate(words) if k not in drop)
            assert name.endswith(f"{float(flag(words, '--lam')):g}")
            assert rest(words) == rest(runs[usual])


def test_every_seed_has_a_split_of_its_own_unless_one_is_asked_for():
    for options, seeds, places in (({}, ["0", "1"], 2), ({"split_seed": 7}, ["7"], 1)):
        steps = [step for step in plan(tasks="fairness", **options).steps if step.run == "data"]
        words = [plan(tasks="fairness", **options).line(step) for step in steps]
        assert [flag(line, "--seed") for line in words] == seeds
        assert len({flag(line, "--out") for line in words}) == places


def test_trust_rows_are_cut_only_where_a_trust_function_is_run():
    for tasks, protocol, crossed in (("ood,fairness", "ours", {"ood"}), ("all", "ours", {
            "fairness", "ood", "adversarial"}), ("all", "printed", set())):
        found = plan(tasks=tasks, protocol=protocol, seeds=1)
        cut = {step.task for step in found.steps if step.run == "data"
               and flag(found.line(step), "--trust")}
        assert cut == crossed
        chosen = {step.task for step in found.steps if step.run == "trust-ntf-none"}
        assert chosen == crossed


def test_every_model_is_measured_on_test_rows_and_lambdas_on_validation_rows_too():
    found = plan(tasks="fairness,privacy", seeds=1)
    for task in ("fairness", "privacy"):
        measured = {}
        for step in found.steps:
            if step.task == task and step.run == "evaluate":
                parts = {Path(path).stem for path in step.fixed["--data"]}
                measured |= {Path(run).name: parts for run in step.fixed["--run"]}
        assert measured.keys() == trained(found, task, 0).keys()
        for run in ("ceiling-none", "ceiling-tft"):
            assert measured[run] == {"test", "val"}
        assert measured["student-naive-none"] == {"test"}
    for kind in ("extraction", "membership"):
        attacked = [Path(run).name for step in found.steps if step.run == f"attack-{kind}"
                    for run in step.fixed["--run"]]
        assert sorted(attacked) == sorted(trained(found, "privacy", 0))


# ---- the paper as printed ------------------------------------------------------------------------

def printed(task, run):
    """The words of a run, or step, of `paper --protocol printed`."""
    found = plan(tasks=task, seeds=1, protocol="printed", raw=str(ROOT))
    step, = {step.run: step for step in found.steps if step.run == run}.values()
    return found.line(step)


@pytest.mark.parametrize("task, run, expected", [
    # C.2 and C.3: samples drawn singly; 95/5 of the weak half are validation rows in OOD alone
    ("fairness", "data", {"--split": "rows", "--val": "0", "--trust": None}),
    ("adversarial", "data", {"--split": "rows", "--val": "0", "--per-source": "10000"}),
    ("privacy", "data", {"--split": "rows", "--val": "0", "--emails": "10000"}),
    ("ood", "data", {"--split": "rows", "--val": "0.05", "--val-from": "weak", "--trust": None}),
    # A.2: .3, .3, .3, alpha .1, warm-up .2, 6 epochs; 2e-3 as a standard deviation, .25, .2, 1
    ("adversarial", "weak-tft", {"--lam": "0.3", "--epochs": "6"}),
    ("adversarial", "ceiling-tft", {"--lam": "0.3", "--epochs": "6"}),
    ("adversarial", "student-naive-both", {"--lam": "0.3", "--epochs": "6", "--alpha": "0",
                                           "--adv-label": "fw_x_adv"}),
    ("adversarial", "student-aux-both", {"--lam": "0.3", "--alpha": "0.1", "--warmup": "0.2"}),
    ("ood", "weak-tft", {"--lam": "2e-3", "--noise-as": "std", "--epochs": "1"}),
    ("ood", "student-aux-both", {"--lam": "2e-3", "--alpha": "0.25", "--warmup": "0.2",
                                 "--epochs": "1"}),
    # Eq. (3): signed, of f(x)
    ("fairness", "weak-tft", {"--penalty": "signed", "--penalty-output": "probability"}),
    ("privacy", "weak-tft", {"--optimizer": "sgd"}),
    ("privacy", "weak-none", {"--optimizer": None}),
    ("fairness", "report", {"--select": "test"})])
def test_the_protocol_is_what_the_paper_prints(task, run, expected):
    words = printed(task, run)
    assert {name: flag(words, name) for name in expected} == expected


def test_the_protocols_sizes_are_the_papers():
    found = Experiment(Config(tasks="ood", seeds=1, protocol="printed"), "paper")
    models = {flag(found.line(step), "--model") for step in found.steps if step.trained}
    assert models == {"EleutherAI/pythia-14m", "EleutherAI/pythia-410m"}  # 4.1


# ---- recipes -------------------------------------------------------------------------------------

def with_recipe(tmp_path, text, preset="paper", **options):
    path = tmp_path / "mine.txt"
    path.write_text(text)
    found = plan(preset, recipe=str(path), **options)
    found._check_models = lambda: None
    return found


def test_a_recipe_reaches_every_flag_of_every_script(tmp_path):
    lines = """# mine
        fairness  weak-tft          --penalty     abs
        *         student-aux-*     --warmup      0.5   # a remark
        fairness  data              --hide-protected yes
        adversarial data            --val         0.1
        *         labels            --temperature 2
        *         evaluate          --max-length  64
        adversarial attack-text     --methods     typos distraction
        privacy   attack-extraction --candidates  7
        mcqa      trust-ntf         --keep        0.25
        *         strong            --weight-decay 0.01
        *         report            --draws       500
    """
    found = with_recipe(tmp_path, lines, tasks="fairness,adversarial,privacy,mcqa", seeds=1)
    experiment.check(found)
    words = {(step.task, step.run): found.line(step) for step in found.steps}
    assert flag(words["fairness", "weak-tft"], "--penalty") == "abs"
    assert flag(words["fairness", "weak-none"], "--penalty") is None
    assert flag(words["fairness", "student-aux-weak"], "--warmup") == "0.5"
    assert "--hide-protected" in words["fairness", "data"]
    assert "yes" not in words["fairness", "data"]
    assert flag(words["adversarial", "data"], "--val") == "0.1"
    assert flag(words["adversarial", "labels"], "--temperature") == "2"
    assert flag(words["mcqa", "evaluate"], "--max-length") == "64"
    assert words["adversarial", "attack-text"][-3:] == ["--methods", "typos", "distraction"] or \
        "typos distraction" in " ".join(words["adversarial", "attack-text"])
    assert flag(words["privacy", "attack-extraction"], "--candidates") == "7"
    assert flag(words["mcqa", "trust-ntf"], "--keep") == "0.25"
    assert flag(words["mcqa", "trust-random"], "--keep") is None
    for run, value in (("ceiling-tft", "0.01"), ("student-naive-none", "0.01"), ("weak-tft", None)):
        assert flag(words["fairness", run], "--weight-decay") == value
    assert flag(words["", "report"], "--draws") == "500"


def test_the_first_line_that_fits_counts_options_before_recipes_before_presets(tmp_path):
    text = "ood * --lam 0.1\nood weak --lam 0.2\nood * --lr 1e-4\n"
    found = with_recipe(tmp_path, text, tasks="ood", seeds=1)
    words = {step.run: found.line(step) for step in found.steps}
    assert flag(words["weak-tft"], "--lam") == "0.1"  # the preset has 2e-3
    assert flag(words["weak-none"], "--lam") == "0"   # what a run is, no recipe changes
    assert flag(words["weak-tft"], "--lr") == "1e-4"
    given = with_recipe(tmp_path, text, tasks="ood", seeds=1, lr=7e-4)
    assert {flag(given.line(step), "--lr") for step in given.steps if step.trained} == {"0.0007"}


@pytest.mark.parametrize("line, words", [
    ("fairnes * --lr 1", "unknown task 'fairnes'"),
    ("fairness weak-tff --lr 1", "unknown run 'weak-tff'"),
    ("fairness weak-tft --lrr 1", "--lrr is no flag of train_weak.py"),
    ("fairness weak-tft --alpha 1", "--alpha is no flag of train_weak.py"),
    ("fairness weak-tft --lr fast", "--lr: expected float, got 'fast'"),
    ("fairness weak-tft --lr -1", "--lr -1: must be > 0"),
    ("fairness weak-tft --lr 1 2", "--lr 1 2: takes one value"),
    ("fairness student --alpha 1.5", "--alpha 1.5: must be <= 1"),
    ("fairness weak-tft --penalty cubic", "--penalty cubic: choose from"),
    ("fairness data --hide-protected maybe", "expected yes or no"),
    ("fairness weak-none --lam 1", "is set by the experiment"),
    ("fairness * --out x", "is set by the experiment"), ("fairness * --seed 3", "is set by the"),
    ("fairness weak-tft lr 1", "flag 'lr': expected --something"),
    ("fairness weak-tft --lr", "expected four columns"), ("fairness 'weak", "four columns"),
    ("fairness weak grid 1 x", "expected numbers above 0"),
    ("fairness weak grid 0", "expected numbers above 0"),
    ("mcqa student-all grid 1", "a grid is for weak, ceiling or student"),
    ("adversarial * --lam 1.5", "--lam 1.5: must be <= 1"),
    ("ood weak-tft --penalty abs", "--penalty has no effect on --task ood"),
    ("ood data --val 0.95", "--val 0.95: must be <= 0.9")])
def test_what_a_recipe_names_wrongly_is_refused_with_its_line(tmp_path, line, words):
    with pytest.raises(ValueError) as error:
        experiment.check(with_recipe(tmp_path, f"# first\n\n{line}  # remark\n",
                                     tasks="fairness,ood,adversarial", seeds=1))
    assert str(error.value).startswith(f"{tmp_path / 'mine.txt'}:3: "), error.value
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(path.name for path in recipes.HOME.glob("*.txt")))
def test_the_recipes_of_the_house_are_right(name):
    every = Experiment(Config(tasks="all", seeds=1), "miniature", everything=True)
    lines = recipes.read(recipes.HOME / name)
    assert lines
    recipes.check(lines, every.steps, phases.TASKS)


def test_a_grid_of_adversarial_ends_at_one(tmp_path):
    with pytest.raises(ValueError, match=r"mine.txt:1: .*--lam 1.5: must be <= 1"):
        experiment.check(with_recipe(tmp_path, "adversarial ceiling grid 0.5 1.5\n",
                                     tasks="adversarial", seeds=1))


# ---- what is refused before anything is made -----------------------------------------------------

@pytest.mark.parametrize("options, words", [
    ({"surrogate": "a/strong"}, "is also the teacher or a student"),
    ({"surrogate": "a/weak"}, "is also the teacher or a student"),
    ({"strong": "a/strong,a/third", "surrogate": "a/third"}, "is also the teacher or a student"),
    ({"weak": "no such model"}, "no such folder, and not the org/name"),
    ({"raw": "/no/such/folder"}, "no such folder (--raw)"),
    ({"data": "/no/such/folder"}, "no such folder (--data)"),
    ({"recipe": "/no/such/file"}, "no such file"), ({"tasks": "fairnes"}, "unknown task fairnes")])
def test_bad_options_are_refused(options, words):
    with pytest.raises((ValueError, OSError)) as error:
        experiment.check(plan("miniature", **options))
    assert words in str(error.value) or words in str(error.value.args)


@pytest.mark.parametrize("text", ["0", "a", "-5", "1.5", "100,", "100,,300", "100 300", "100,0"])
def test_budgets_are_numbers_of_rows(text):
    with pytest.raises(ValueError) as error:
        plan("miniature", tasks="mcqa", budgets=text)
    assert str(error.value) == f"--budgets {text}: expected numbers of rows, as in 100,300"


def test_a_surrogate_is_for_the_miniature_alone_and_smoke_makes_its_models():
    with pytest.raises(ValueError, match="only the miniature makes its perturbed texts"):
        experiment.check(plan("paper", surrogate="a/other"))
    with pytest.raises(ValueError, match="smoke makes its models itself"):
        experiment.check(Experiment(Config(weak="a/b"), "smoke"))


@pytest.mark.parametrize("town", [0, 3])
def test_only_the_miniature_has_towns(town):
    experiment.check(plan("miniature", town=town, surrogate="a/other"))
    for preset in ("paper", "smoke"):
        with pytest.raises(ValueError, match="--town: only the miniature has towns; leave it out"):
            experiment.check(plan(preset, town=town))


def test_no_validation_rows_and_select_val_do_not_go_together(tmp_path):
    with pytest.raises(ValueError, match="--select val: fairness has no validation rows"):
        experiment.check(with_recipe(tmp_path, "fairness data --val 0\n", tasks="fairness"))


def test_rows_prepared_by_hand_are_used_as_they_are(tmp_path):
    folder = tmp_path / "own"
    for task in ("fairness", "ood"):
        (folder / task).mkdir(parents=True)
    (folder / "ood/val.jsonl").touch()
    found = plan(tasks="fairness,ood", data=str(folder), seeds=2, select="test")
    lines = [found.line(step) for step in found.steps]
    checks = [words for words in lines if words[:3] == ["-m", "w2s.prepare", "check"]]
    assert {flag(words, "--data") for words in checks} == {str(folder / "fairness"),
                                                          str(folder / "ood")}
    assert not any(words[:3] == ["-m", "w2s.prepare", "data"] for words in lines)
    weak = [flag(words, "--data") for words in lines if words[0] == "train_weak.py"]
    assert set(weak) == {f"{folder}/fairness/weak.jsonl", f"{folder}/ood/weak.jsonl"}
    assert not found.has_validation(found._cell("fairness", 0))
    assert found.has_validation(found._cell("ood", 0))


def test_commands_survive_any_name_of_a_folder(tmp_path):
    for name in ("plain", "it's a \"b\" & $c # d", "a --lr b", "müll", "two\nlines"):
        found = plan(tasks="ood", seeds=1, out=str(tmp_path / name))
        words = found.line(next(step for step in found.steps if step.run == "ceiling-none"))
        assert flag(words, "--out") == f"{tmp_path / name}/ood/seed0/ceiling-none"
        assert shlex.split(shlex.join(words)) == words


def test_the_surrogates_are_attacked_and_no_run_is_made_of_the_independent_one():
    found = plan("miniature", tasks="adversarial", seeds=1, surrogate="a/other")
    surrogates = {step.run: found.line(step) for step in found.steps if "surrogate" in step.run
                  and step.trained}
    assert {run: flag(words, "--model") for run, words in surrogates.items()} == {
        "surrogate-independent": "a/other", "surrogate-weak": "a/weak",
        "surrogate-strong": "a/strong"}
    assert all(flag(words, "--lam") == "0" and flag(words, "--data").endswith("clean.jsonl")
               for words in surrogates.values())
    others = [flag(found.line(step), "--model") for step in found.steps
              if step.trained and "surrogate" not in step.run]
    assert "a/other" not in others
    attacks = [found.line(step) for step in found.steps if step.run == "attack-surrogate"]
    assert len(attacks) == 6
    evaluated = " ".join(" ".join(found.line(step)) for step in found.steps
                         if step.run in ("evaluate", "labels"))
    assert "surrogate" not in evaluated


def test_help_names_every_option():
    text = experiment.__doc__
    assert all(f"--{name}" in text for name in ("recipe", "protocol", "weak", "strong", "raw"))
    assert re.search(r"recipes/<preset>.txt", text) and os.path.isdir(recipes.HOME)


@pytest.mark.parametrize("preset, later", [("paper", set()), ("smoke", set()),
                                           ("miniature", {"adversarial"})])
def test_rows_come_before_anything_is_trained(preset, later):
    """A raw file that cannot be read would else show after hours."""
    names = {} if preset != "miniature" else {"weak": None, "strong": None}
    found = plan(preset, tasks="fairness,adversarial,privacy", **names)
    first = next(k for k, step in enumerate(found.steps) if step.trained)
    assert {step.task for step in found.steps[:first] if step.run == "data"} == {
        "fairness", "adversarial", "privacy"} - later
    assert {step.task for step in found.steps[first:] if step.run == "data"} == later
