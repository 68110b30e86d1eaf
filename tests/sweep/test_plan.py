"""Which runs the sensitivity figures need, held to tables written by hand from section 4.2 and
Appendices A and B of Sun et al. (arXiv 2501.00418); and which of them are made already.

    python -m pytest -q tests/sweep/test_plan.py
"""

import dataclasses
import json
from pathlib import Path

import pytest

from w2s import config, experiment, phases, recipes, runs, scheduler, tasks
from w2s.sweep import __main__ as command
from w2s.sweep import axes, plan

WEAK, STRONG = "w2s/models/mini-weak", "w2s/models/mini-strong"
SMALL, LARGE = WEAK + "-small", STRONG + "-large"


def planned(*words):
    return command.planned(config.parse(command.Config, "", [*map(str, words)]))


def told(item):
    """A Model as the tables below have it: name, lambda, alpha, its teacher's lambda."""
    teacher = item.teacher and item.teacher.lam
    return item.name, item.lam, item.alpha, teacher


def at(sweep, figure, task):
    """{(panel, value, strategy): {model: [told]}} of a figure."""
    return {point[:3]: {name: [told(item) for item in items]
                        for name, items in point.models.items()}
            for point in sweep.figures[figure, task]}


# ---- which models stand at a point ---------------------------------------------------------------

def test_figure_3_varies_lambda_of_weak_model_student_and_ceiling_alike():
    points = at(planned("--figure", 3, "--tasks", "ood", "--values", "0,0.1"), "3", "ood")
    assert points == {
        ("", "0", "both"): {  # without a regulariser it is No TFT
            "weak": [("weak-none", 0, None, None)],
            "student-naive": [("student-naive-none", 0, 0, 0)],
            "student-aux": [("student-aux-none", 0, None, 0)],
            "ceiling": [("ceiling-none", 0, None, None)]},
        ("", "0.1", "both"): {
            "weak": [("weak-tft", .1, None, None)],
            "student-naive": [("student-naive-both", .1, 0, .1)],
            "student-aux": [("student-aux-both", .1, None, .1)],
            "ceiling": [("ceiling-tft", .1, None, None)]}}


def test_figure_a2_regularises_the_weak_model_and_not_the_student():
    points = at(planned("--figure", "A2", "--tasks", "fairness", "--values", "0.5"),
                "A2", "fairness")
    assert points["", "0.5", "weak"]["student-naive"] == [("student-naive-weak", 0, 0, .5)]
    assert points["", "0.5", "weak"]["student-aux"] == [("student-aux-weak", 0, None, .5)]
    assert points["", "0.5", "weak"]["ceiling"] == [("ceiling-tft", .5, None, None)]


def test_privacy_has_epsilon_from_none_to_strict_and_no_confidence_loss():
    sweep = planned("--figure", 3, "--tasks", "privacy", "--values", "8,0,2")
    points = at(sweep, "3", "privacy")
    assert [value for _, value, _ in points] == ["0", "8", "2"]
    assert points["", "2", "both"]["student-naive"] == [("student-naive-both", 2, 0, 2)]
    assert all("student-aux" not in models for models in points.values())


@pytest.mark.parametrize("figure, key, end, lam", [("A7", "weak", "weak", 0),
                                                   ("A8", "both", "both", None)])
def test_figures_a7_and_a8_vary_alpha_alone(figure, key, end, lam):
    points = at(planned("--figure", figure, "--tasks", "fairness", "--values", "0,0.5"), figure,
                "fairness")
    naive = (f"student-naive-{end}", lam, 0, None)  # None: the recipe's
    assert points["", "0", key]["student-aux"] == [naive]  # Eq. (1) at alpha 0
    assert points["", "0.5", key]["student-aux"] == [(f"student-aux-{end}", lam, .5, None)]
    for value in ("0", "0.5"):
        assert points["", value, key]["student-naive"] == [naive]
        assert points["", value, key]["weak"] == [("weak-tft", None, None, None)]


def test_figure_a1_varies_one_thing_in_each_panel():
    sweep = planned("--figure", "A1")
    [task] = {task for _, task in sweep.figures}
    assert task == "adversarial"  # as the paper
    points = at(sweep, "A1", task)
    panel = {letter: {value: models for (name, value, _), models in points.items()
                      if name == letter} for letter in "abcdef"}
    assert panel["a"]["0.3"] == {"weak": [("weak-tft", .3, None, None)]}
    assert panel["b"]["0.3"] == {"ceiling": [("ceiling-tft", .3, None, None)]}
    # the weak model keeps its lambda (A.2)
    assert panel["c"]["0.3"] == {"student-naive": [("student-naive-both", .3, 0, None)]}
    assert panel["c"]["0"] == {"student-naive": [("student-naive-weak", 0, 0, None)]}
    assert panel["d"]["0.5"] == {"student-aux": [("student-aux-both", None, .5, None)]}
    [warm] = [p for p in sweep.figures["A1", task] if (p.panel, p.value) == ("e", "0.5")]
    [late] = [p for p in sweep.figures["A1", task] if (p.panel, p.value) == ("f", "4")]
    assert warm.models["student-aux"][0].warmup == .5 and late.models["student-aux"][0].epochs == 4
    assert [item.epochs for item in [late.models["student-aux"][0].teacher]] == [None]


@pytest.mark.parametrize("figure, task, pairs", [
    ("A3", "fairness", [(SMALL, STRONG), (WEAK, STRONG), (SMALL, LARGE), (WEAK, LARGE)]),
    ("A6", "privacy", [(SMALL, STRONG), (WEAK, STRONG)]),  # the paper has no 1B there
    ("A9", "ood", [(WEAK, LARGE)]), ("A10", "fairness", [(WEAK, STRONG)])])
def test_figures_of_sizes(figure, task, pairs):
    points = planned("--figure", figure).figures[figure, task]
    bases = [(str(p.models["weak"][0].base), str(p.models["student-naive"][0].base))
             for p in points]
    assert bases == [pair for pair in pairs for _ in axes.STRATEGIES]
    for point in points:
        assert {item.base for item in point.models["ceiling"]} == {
            point.models["student-naive"][0].base}
        assert point.models["student-naive"][0].teacher == point.models["weak"][0]
        # with TFT the rule of A.2 chooses the ceiling among several lambdas
        assert (len(point.models["ceiling"]) > 1) == (point.strategy != "none")


def test_sizes_of_ones_own():
    sweep = planned("--axis", "size", "--values", f"{LARGE},{SMALL}:{STRONG}", "--tasks", "ood")
    pairs = {(item.models["weak"][0].base, item.models["student-naive"][0].base)
             for points in sweep.figures.values() for item in points}
    assert pairs == {(WEAK, LARGE), (SMALL, STRONG)}


def test_paper_has_its_sizes():
    sweep = planned("--preset", "paper", "--figure", "A4,A9", "--tasks", "adversarial")
    names = [point.value for point in sweep.figures["A4", "adversarial"]][::3]
    assert names == ["pythia-14m / pythia-410m", "pythia-70m / pythia-410m",
                     "pythia-14m / pythia-1b", "pythia-70m / pythia-1b"]
    assert sweep.figures["A9", "adversarial"][0].value == "pythia-14m / pythia-6.9b"


# ---- commands ------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def everything():
    return planned("--figure", "all")


def test_each_run_is_made_once_before_it_is_read(everything):
    made, labelled = set(), set()
    for step in everything.steps:
        if step.trained:
            source = step.fixed.get("--labels")
            assert source is None or source.parent.parent in labelled
            assert step.fixed["--out"] not in made
            made.add(step.fixed["--out"])
        elif step.script in ("label.py", "evaluate.py") or step.script.startswith("attacks.py ex"):
            runs_of = [run for run in step.fixed["--run"] if "surrogates" not in str(run)]
            assert {*runs_of} <= made
            labelled |= {*runs_of} if step.script == "label.py" else set()
    measured = {run for step in everything.steps if step.script == "evaluate.py"
                for run in step.fixed["--run"]}
    assert {run for run in made if "surrogates" not in str(run)} == measured


def arguments(experiment, step):
    settings = config.parse(recipes.configuration(step.script), "", experiment.line(step)[1:])
    return plan.filled(dataclasses.asdict(settings), step.task)


def test_runs_of_the_experiment_are_used_as_they_are(everything):
    usual = phases.Experiment(experiment.Config(tasks=",".join(axes.ORDER), seeds=2), "miniature")
    # word for word: a script refuses its folder where a default is given that was not before
    theirs, ours = ({step.fixed["--out"]: sorted(plan_of.line(step)) for step in plan_of.steps
                     if step.trained} for plan_of in (usual, everything))
    shared = theirs.keys() & ours.keys()
    assert len(shared) > 80
    for out in shared:
        assert ours[out] == theirs[out]
    for name in ("weak-none", "weak-tft", "ceiling-tft", "student-aux-both", "weak-lam-0.25"):
        assert Path("runs/miniature/fairness/seed1") / name in shared


def test_a_value_that_is_the_default_is_no_other_run():
    sweep = planned("--figure", "A7", "--tasks", "ood", "--values", "0.25,0.5", "--seeds", 1)
    names = {out.name.split("-0")[0] for (item, *_), out in sweep.folders.items()
             if item.alpha == .25}
    assert names == {"student-aux-weak"}  # A.2: alpha 0.25
    assert all(plan.defaults(task) == tasks.load(task).DEFAULTS for task in axes.ORDER)


def test_runs_in_folders_of_their_own_differ_from_all_of_the_experiment(everything):
    contents = {}
    for step in everything.steps:
        if step.trained:
            args = arguments(everything, step) | {"out": None}
            contents.setdefault(json.dumps(args, sort_keys=True), []).append(step.fixed["--out"])
    assert all(len(folders) == 1 for folders in contents.values())


def test_the_report_plans_the_same_again(everything):
    step = everything.steps[-1]
    assert step.script == "w2s.sweep report"
    words = everything.line(step)
    again = command.planned(config.parse(command.Report, "", words[3:]))
    assert again.folders == everything.folders


def test_the_report_waits_for_every_run(everything):
    lines = [everything.line(step) for step in everything.steps]
    commands = [scheduler.Command(n, "", "", "", line) for n, line in enumerate(lines)]
    last = scheduler.before(commands)[-1]
    measuring = [n for n, step in enumerate(everything.steps) if step.script == "evaluate.py"]
    assert {*measuring} <= last
    # and is told where they are, and what was asked for, by flags that it knows
    assert lines[-1][:3] == ["-m", "w2s.sweep", "report"]
    told = config.parse(command.Report, "", lines[-1][3:])
    assert told.runs == str(everything.out)
    assert {name: getattr(told, name) for name in ("figure", "seeds", "text", "preset")} == {
        name: getattr(everything.asked, name) for name in ("figure", "seeds", "text", "preset")}


def test_students_of_other_teachers_are_other_runs(everything):
    """Weak TFT: students that differ in nothing but the lambda of their teacher."""
    folders = [step.fixed["--out"] for step in everything.steps if step.trained]
    assert len({*folders}) == len(folders)
    alike = [step for step in everything.steps if step.run == "student-naive-weak"
             and step.task == "ood" and step.fixed["--seed"] == 0]
    assert len(alike) > 2


def test_a_recipe_reaches_the_runs_of_a_sweep(tmp_path):
    (tmp_path / "mine.txt").write_text("ood student-aux-both --lr 7e-3\n")
    sweep = planned("--figure", 3, "--tasks", "ood", "--recipe", tmp_path / "mine.txt")
    rates = {step.run: arguments(sweep, step)["lr"] for step in sweep.steps if step.trained}
    assert rates["student-aux-both"] == 7e-3 and rates["student-naive-both"] == 1e-3


# ---- what is made already ------------------------------------------------------------------------

def plant(sweep, step, **other):
    """The folder of a step's run as that run would leave it."""
    out, args = Path(step.fixed["--out"]), arguments(sweep, step) | other.pop("args", {})
    _, _, source, digest = plan.content(step, sweep.line(step))
    out.mkdir(parents=True)
    (out / "config.json").write_text(json.dumps({
        "script": step.script, "args": args, "code": digest,
        "inputs": {str(source): runs.rows.sha256(source)} if source.exists() else {}} | other))
    (out / "DONE").touch()


def first(sweep, run):
    return next(step for step in sweep.steps if step.run == run)


@pytest.fixture
def words(tmp_path):
    return "--figure", "3", "--tasks", "ood", "--seeds", 1, "--out", tmp_path


def test_a_run_of_the_same_content_is_used(words):
    sweep = planned(*words)
    plant(sweep, first(sweep, "weak-none"))
    assert first(planned(*words), "weak-none").fixed["--out"] == \
        first(sweep, "weak-none").fixed["--out"]


@pytest.mark.parametrize("other", [
    {"args": {"epochs": 7.0}}, {"code": "0" * 64}, {"script": "train_student.py"},
    {"code": None}])
def test_a_run_of_another_content_is_left_alone_and_so_are_its_students(words, other):
    sweep = planned(*words)
    step = first(sweep, "weak-none")
    plant(sweep, step, **other)
    again = planned(*words)
    moved = first(again, "weak-none").fixed["--out"]
    assert moved != step.fixed["--out"] and "sweep" in moved.parts
    student = first(again, "student-naive-none")
    assert student.fixed["--labels"].parent.parent == moved
    assert student.fixed["--out"] != first(sweep, "student-naive-none").fixed["--out"]
    # what does not depend on it stays
    assert first(again, "ceiling-none").fixed["--out"] == \
        first(sweep, "ceiling-none").fixed["--out"]


def test_a_run_on_other_rows_is_left_alone(words, tmp_path):
    sweep = planned(*words)
    step = first(sweep, "weak-none")
    rows = Path(step.fixed["--data"])
    rows.parent.mkdir(parents=True)
    rows.write_text("rows\n")
    plant(sweep, step)
    assert first(planned(*words), "weak-none").fixed["--out"] == step.fixed["--out"]
    rows.write_text("other rows\n")
    plan.digest.cache_clear()
    assert first(planned(*words), "weak-none").fixed["--out"] != step.fixed["--out"]


def test_a_damaged_folder_is_left_alone(words):
    sweep = planned(*words)
    out = Path(first(sweep, "weak-none").fixed["--out"])
    out.mkdir(parents=True)
    (out / "config.json").write_text("{")
    assert first(planned(*words), "weak-none").fixed["--out"] != out


# ---- bad input -----------------------------------------------------------------------------------

@pytest.mark.parametrize("words, message", [
    (["--figure", "3", "--values", "0,abc"], "--values 0,abc: expected numbers from 0 with commas"),
    (["--axis", "alpha", "--values", "0,1.5"], "--values 0,1.5: expected numbers from 0 to 1"),
    (["--axis", "alpha", "--tasks", "privacy"], "--axis alpha: privacy has no confidence loss"),
    (["--figure", "A13"], "--figure A13: no figure A13; choose from 3, A1,"),
    (["--figure", "A3", "--tasks", "ood"], "--figure A3: shows nothing of ood; it is of fairness"),
    (["--figure", "3,A7", "--values", "0,1"], "--values 0,1: of which axis"),
    (["--figure", "A3", "--weak", WEAK], "--figure A3: needs two weak and two strong models"),
    (["--figure", "3", "--axis", "alpha"], "give --figure or --axis, one of them"),
    ([], "give --figure or --axis, one of them"),
    (["--figure", "3", "--tasks", "mcqa"], "--tasks mcqa: mcqa is no property of the paper"),
    (["--figure", "3", "--tasks", "fair"], "--tasks fair: unknown task fair"),
    (["--axis", "beta"], "--axis beta: choose from lam, alpha, warmup, epochs, size")])
def test_what_does_not_exist_is_refused(words, message):
    with pytest.raises(ValueError, match="^" + message):
        planned(*words)


def test_missing_files_are_told_before_anything_is_made(tmp_path, capsys):
    options = config.parse(command.Config, "", [
        "--preset", "paper", "--figure", "A2", "--tasks", "fairness,privacy", "--weak", WEAK,
        "--strong", STRONG, "--out", str(tmp_path / "out")])
    with pytest.raises(ValueError, match="^files of privacy are missing.*, or say --tasks "
                                         "fairness$"):
        command.main(options)
    assert "privacy     MISSING: emails" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_preset_without_values_is_refused():
    with pytest.raises(ValueError, match="--axis lam: no values of ood in .*sweep.values"):
        axes.usual("other", "ood", "lam")


@pytest.mark.parametrize("words, flags", [
    (["sweep", "--figure", "3"], ["--figure", "3"]),
    (["sweep", "paper", "--figure", "3"], ["--preset", "paper", "--figure", "3"]),
    (["paper", "sweep", "--figure", "3"], ["--preset", "paper", "--figure", "3"])])
def test_a_preset_may_stand_in_front(words, flags):
    assert command.arguments(words) == flags
