"""What is missing is said at once, before anything is made.

    python -m pytest -q tests/test_preflight.py
"""

import json
import re

import pytest

from tests.worlds import RAW
from w2s import experiment, launch, preflight, tasks
from w2s.data import raw_folder
from w2s.experiment import Config
from w2s.phases import Experiment

MINI = {"weak": "w2s/models/mini-weak", "strong": "w2s/models/mini-strong"}


def plan(preset="paper", **options):
    return Experiment(Config(**{"seeds": 2, **MINI, **options}), preset)


@pytest.fixture
def partly(world, tmp_path):
    """A raw folder that has the files of fairness and mcqa alone."""
    for name in ("adult.data", "mmlu.jsonl"):
        (tmp_path / name).write_bytes((world / "raw" / name).read_bytes())
    return str(tmp_path)


def test_every_missing_file_of_every_task_is_listed_with_address_and_place(partly, capsys):
    found = plan(raw=partly, tasks="fairness,ood,adversarial,privacy,mcqa,game")
    with pytest.raises(ValueError) as error:
        preflight.require(found)
    assert str(error.value) == (
        "files of ood, privacy, game are missing, see the list above; put them there, or add "
        "--skip-missing to go on with fairness, adversarial, mcqa")
    lines = capsys.readouterr().out.splitlines()
    text = "\n".join(lines)
    assert f"fairness    there: {partly}/adult.data" in lines
    assert f"mcqa        there: {partly}/mmlu.jsonl" in lines
    for words in ("ood         MISSING: sst2/train.tsv or",
                  "data/SST-2.zip, unpack it, put it into",
                  "will be fetched: AI-Secure/DecodingTrust ood/style.jsonl (CC BY-SA 4.0)",
                  "adversarial will be fetched: ", "privacy     MISSING: emails (aeslc.jsonl",
                  "game        MISSING: lichess_puzzles.csv or", f"put it into {partly}"):
        assert words in text, words


def test_tasks_whose_files_are_missing_are_left_out_if_asked(partly, capsys):
    found = plan(raw=partly, tasks="fairness,privacy,mcqa")
    assert preflight.require(found, skip=True) == ["privacy"]
    assert "left out, as their files are missing: privacy" in capsys.readouterr().out
    rest = Experiment(found.options, "paper", without=["privacy"])
    assert rest.tasks == ["fairness", "mcqa"]
    assert {step.task for step in rest.steps} == {"fairness", "mcqa", ""}
    with pytest.raises(ValueError) as error:  # where nothing is left, skipping is no advice
        preflight.require(plan(raw=partly, tasks="privacy"), skip=True)
    assert str(error.value).endswith("see the list above; put them there")


def test_the_plan_that_is_run_is_the_one_without_them(partly, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(launch, "carry_out", lambda steps, *rest: asked.append(steps))
    options = Config(raw=partly, tasks="mcqa,privacy", seeds=1, skip_missing=True, **MINI,
                     out=str(tmp_path / "out"))
    experiment.main(options, "paper")
    assert {step.task for step in asked[0]} == {"mcqa", ""}
    options.skip_missing = False
    with pytest.raises(ValueError, match="files of privacy are missing"):
        experiment.main(options, "paper")
    options.dry_run = True  # a plan may be printed where the files are not
    experiment.main(options, "paper")
    assert len(asked) == 2 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("preset", ["miniature", "smoke"])
def test_rows_that_are_made_up_are_not_looked_for(preset, capsys):
    models = {} if preset == "smoke" else MINI
    assert preflight.lacking(Experiment(Config(seeds=1, **models), preset)) == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("task", tasks.NAMES)
def test_each_file_that_a_task_needs_one_of_is_seen(task, tmp_path):
    for need in tasks.load(task).NEEDS:
        assert raw_folder.Raw(tmp_path).one_of(need) is None
        for name in need.names:
            path = tmp_path / name.lstrip("/").replace("*", "some")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
            assert raw_folder.Raw(tmp_path).one_of(need) == path, name
            path.unlink()


@pytest.mark.parametrize("task", [task for task in tasks.NAMES])
def test_a_task_prepares_from_the_files_that_it_needs(task, world):
    """The files of the tests' worlds satisfy every need, so no need is one too many."""
    raw = raw_folder.Raw(world / "raw")
    assert all(raw.one_of(need) for need in tasks.load(task).NEEDS)
    assert len(tasks.load(task).NEEDS) == len(RAW[task])


def test_own_rows_are_looked_for(tmp_path, capsys):
    for name in ("weak.jsonl", "wts.jsonl.gz", "test.jsonl"):
        (tmp_path / "ood").mkdir(parents=True, exist_ok=True)
        (tmp_path / "ood" / name).write_text("")
    (tmp_path / "fairness").mkdir()
    (tmp_path / "fairness" / "weak.jsonl").write_text("")
    found = plan(data=str(tmp_path), tasks="ood,fairness")
    assert preflight.lacking(found) == ["fairness"]
    assert capsys.readouterr().out.splitlines() == [
        f"ood         there: {tmp_path}/ood", f"fairness    MISSING: {tmp_path}/fairness/wts.jsonl",
        f"            MISSING: {tmp_path}/fairness/test.jsonl"]


def test_a_row_of_ones_own_that_lacks_a_key_is_named_before_anything_is_made(fair, tmp_path):
    (tmp_path / "own" / "fairness").mkdir(parents=True)
    for name in ("weak", "wts", "test", "val"):
        lines = (fair / f"{'weak' if name == 'val' else name}.jsonl").read_text().splitlines()
        (tmp_path / "own" / "fairness" / f"{name}.jsonl").write_text("\n".join(
            line.replace('"a":', '"b":') if name == "wts" and n == 2 else line
            for n, line in enumerate(lines)))
    options = Config(data=str(tmp_path / "own"), tasks="fairness", seeds=1, **MINI,
                     out=str(tmp_path / "out"))
    with pytest.raises(ValueError) as error:
        experiment.main(options, "paper")
    assert str(error.value) == f"{tmp_path}/own/fairness/wts.jsonl:3: no key 'a'"
    assert not (tmp_path / "out").exists()


def test_rows_that_are_not_there_are_not_said_to_lack_validation_rows(tmp_path):
    experiment.check(plan(data=str(tmp_path), tasks="fairness"))  # preflight says that all lack
    (tmp_path / "fairness").mkdir()
    with pytest.raises(ValueError, match="fairness has no validation rows"):
        experiment.check(plan(data=str(tmp_path), tasks="fairness"))


# ---- models --------------------------------------------------------------------------------------

def test_a_model_that_we_do_not_compute_is_refused_by_its_config(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mixtral"}))
    with pytest.raises(ValueError, match="mixtral"):
        preflight.models([str(tmp_path)])
    preflight.models(MINI.values())


def test_a_model_that_the_hub_does_not_have_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="no/model: no local folder, and not to be had from"):
        preflight.models(["no/model@step3"])
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError) as error:
        preflight.models(["no/model", MINI["weak"], "no/other"])
    assert str(error.value) == "the models no/model, no/other cannot be had, see the list above"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("models      MISSING: no/model: no local folder")
    assert lines[1] == f"            there: {MINI['weak']}" and "MISSING: no/other" in lines[2]
    preflight.models(MINI.values(), show=True)
    assert capsys.readouterr().out.splitlines() == [f"models      there: {MINI['weak']}",
                                                    f"            there: {MINI['strong']}"]


def test_rows_models_and_hours_are_said_together(partly, monkeypatch, capsys, tmp_path):
    """Who lacks several things learns of all of them at once, and what they are wanted for."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    options = Config(raw=partly, tasks="fairness,privacy", seeds=1, strong="no/model",
                     weak=MINI["weak"], out=str(tmp_path / "out"))
    with pytest.raises(ValueError) as error:
        experiment.main(options, "paper")
    assert str(error.value).startswith("files of privacy are missing, see the list above; put them "
                                       "there, or add --skip-missing to go on with fairness; "
                                       "no/model: no local folder")
    out = capsys.readouterr().out
    assert "privacy     MISSING: emails" in out and "MISSING: no/model" in out
    assert re.search(r"^\d+ commands; how long is not known: no config.json of no/model is here "
                     "yet$", out, re.M)


# ---- how long, how much --------------------------------------------------------------------------

def test_hours_are_of_what_was_measured_and_memory_is_computed(monkeypatch):
    found = plan(tasks="fairness", seeds=1, strong="EleutherAI/pythia-410m")  # beside a small one
    lines = [found.line(step) for step in found.steps]
    monkeypatch.setattr(launch, "places", lambda *_: ([], None, 2))
    monkeypatch.setattr(launch, "expected", lambda *_: (7200 * 2.25, False))

    def estimate():
        return launch.estimate(found.steps, lines, found.options, found.out)
    text = estimate()
    assert text.startswith(f"{len(lines)} commands; perhaps 4.5 hours with 2 at a time: computed, "
                           "not measured, from ")
    need = max(launch.need(words) for words in lines if words[0].startswith("train_"))
    assert text.endswith(f"memory: a training takes up to {need / 1e9:.1f} GB, computed")
    monkeypatch.setattr(launch, "expected", lambda *given: (9000 if given[-2:] == (1, 2) else 0,
                                                            True))
    monkeypatch.setattr(launch, "places", lambda *_: (["0"], 80e9, 2))
    text = estimate()
    assert "about 2.5 hours with 2 at a time on 1 GPU, by what was measured here" in text
    assert text.endswith("computed, a GPU here has 80 GB")
    lines[-2] = ["train_weak.py", "--model", "a/b"]  # a model that only the hub knows
    assert estimate().endswith("measured here")
