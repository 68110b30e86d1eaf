"""A plan is run on the cards that there are, or printed so that it can be run elsewhere.

    python -m pytest -q tests/test_launch.py
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import decoders, plan
from tests.test_cards import machine  # noqa: F401 (a fixture)
from w2s import experiment, launch, memory, parallel, phases, recipes, scheduler
from w2s.commands import Step
from w2s.experiment import Config
from w2s.phases import Experiment

ROOT = Path(__file__).parent.parent
BIG, SMALL = "EleutherAI/pythia-6.9b", "EleutherAI/pythia-14m"


def planned(preset="paper", **options):
    options = Config(**{"seeds": 1, "tasks": "ood,privacy,mcqa", "strong": f"{BIG},{BIG}",
                        **options})
    found = Experiment(options, preset)
    return found.steps, [found.line(step) for step in found.steps], options


@pytest.fixture
def ran(monkeypatch):
    """ran(...) -> ({title: words}, Seats) of what would be run."""
    def ran(*argv, **options):
        asked = []
        with monkeypatch.context() as patch:
            patch.setattr(scheduler, "finish", lambda *given: asked.extend(given))
            patch.setattr(os, "environ", dict(os.environ))
            launch.carry_out(*planned(*argv, **options))
        return {command.title: command.words for command in asked[0]}, asked[1]
    return ran


# ---- cards ---------------------------------------------------------------------------------------

def test_every_visible_card_is_used_and_a_large_model_gets_several(machine, ran):  # noqa: F811
    machine(8)  # of 80 GB
    words, seats = ran()
    assert seats.cards == [*"01234567"] and seats.jobs == 8
    spread = {title for title, line in words.items() if line[:3] == launch.SPREAD}
    # 6.9b with its moments takes 110 GB: two cards of 85 GB hold it, with longer texts three
    assert {words[title][3] for title in spread} == {"--nproc-per-node=2", "--nproc-per-node=3"}
    assert {"ood seed0 ceiling-none", "ood seed0 student-aux-both", "privacy seed0 ceiling-none",
            "privacy seed0 student-naive-none"} <= spread
    # the weak model, private runs, LoRA, and what trains nothing stay whole
    alone = {*words} - spread
    assert {"ood seed0 weak-none", "privacy seed0 ceiling-tft", "mcqa seed0 student-ntf",
            "ood seed0 labels", "report"} <= alone
    assert words["ood seed0 ceiling-none"][4] == "train_weak.py"


def test_models_that_are_small_share_a_card_and_others_do_not(
        machine, ran, monkeypatch):  # noqa: F811
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    machine(2)
    assert ran(strong=SMALL)[1].jobs == 2 * launch.SIDE_BY_SIDE
    assert ran(strong="EleutherAI/pythia-1b")[1].jobs == 2 * 2  # 29 GB and 2 GB of 77
    assert ran(strong="some/body")[1].jobs == 2 and ran(strong=BIG)[1].jobs == 2
    assert ran(strong=SMALL, jobs=3)[1].jobs == 3
    assert ran(strong=SMALL, gpus=1)[1].cards == ["0"]
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert ran(strong=SMALL)[1].jobs == 2 * 2  # each wants a core
    machine(2, mebibytes="?")
    assert ran(strong=SMALL)[1].jobs == 2


def test_without_cards_commands_share_the_cores(machine, ran, monkeypatch):  # noqa: F811
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    machine(0)
    assert (ran()[1].cards, ran()[1].jobs) == ([], 4)
    machine(2)
    seats = ran(device="cuda:1")[1]
    assert (seats.cards, seats.jobs) == ([], 1)
    assert ran(device="cpu")[1].jobs == 4 and ran(device="cuda")[1].cards == ["0", "1"]


@pytest.mark.parametrize("more, whole", [
    ([], False), (["--lora-rank", "4"], True), (["--lora-rank", "0"], False),
    (["--objective", "grpo"], True), (["--shard", "off"], True), (["--compile", "on"], True),
    (["--compile", "off"], False)])
def test_what_wants_a_whole_model_is_never_spread(more, whole):
    step = Step("", "", "train_student.py", "mcqa", "student-all", True, {}, {})
    words = ["train_student.py", "--model", BIG, *more]
    assert (launch.spread(step, words, 8, 80e9) == words) == whole
    assert launch.spread(step, words, 1, 80e9) == words == launch.spread(step, words, 8, None)
    assert launch.spread(step, words, 8, 300e9) == words


def test_private_runs_are_never_spread():
    for lam, private in ((["--lam", "0"], False), (["--lam", "8"], True), ([], True)):
        step = Step("", "", "train_weak.py", "privacy", "x", True, {}, {})
        words = ["train_weak.py", "--model", BIG, *lam]
        assert (launch.spread(step, words, 8, 80e9) == words) == private


# ---- memory --------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", sorted(decoders.SHAPES))
def test_a_decoder_is_counted_without_building_it(name):
    c = decoders.SHAPES[name]
    exact, counted = decoders.parameters(c), memory.parameters(c)
    assert all(counted[part] == pytest.approx(exact[part], rel=.002) for part in exact)
    assert 1 <= memory.kept(c, 2) / decoders.kept(c, 2) < 1.4  # as if all norms were there


def test_the_cards_of_a_model_are_those_of_the_plan_of_memory():
    assert (memory.STATE, memory.ROOM) == (parallel.STATE, parallel.ROOM)
    for name, size in (("pythia-6.9b", 83.7e9), ("pythia-12b", 83.7e9), ("pythia-12b", 149.2e9)):
        count = memory.gpus(plan.SHAPES[name], 8, 512, "bfloat16", size, 16)
        enough, fewer = (plan.plan(name, "lm", n, 8, 512, "bfloat16") for n in (count, count - 1))
        assert enough["FSDP2, kept"] * 1e9 <= memory.SPARE * size
        assert fewer.get("FSDP2, kept", 1e9) * 1e9 > memory.SPARE * size
    assert memory.gpus(plan.SHAPES["pythia-6.9b"], 8, 512, "bfloat16", 149.2e9, 8) == 1
    assert memory.gpus(plan.SHAPES["pythia-2.8b"], 8, 512, "bfloat16", 83.7e9, 8) == 1
    assert memory.gpus(plan.SHAPES["pythia-12b"], 64, 2048, "float32", 24e9, 8) == 8  # all


def test_the_shape_of_a_model_is_known_without_a_network(tmp_path, monkeypatch):
    config = plan.SHAPES["pythia-70m"]
    folder = tmp_path / "models--a--b" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder.parent.parent / "refs").mkdir()
    (folder.parent.parent / "refs" / "main").write_text("abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert launch.shape("a/b") == launch.shape("a/b@abc") == launch.shape(folder) == config
    assert launch.shape(BIG) == launch.shape(f"{BIG}@step3") == plan.SHAPES["pythia-6.9b"]
    assert launch.shape("a/c") is launch.shape("a/b", "v2") is launch.shape(tmp_path) is None
    for text in ("{", "[]", '{"model_type": "gpt_neox"}', '{"model_type": "bert"}'):
        (folder / "config.json").write_text(text)
        assert launch.shape(folder) is None


# ---- printing ------------------------------------------------------------------------------------

def printed(capsys, **options):
    steps, lines, options = planned(dry_run=True, **options)
    launch.carry_out(steps, lines, options, "runs/paper")
    return steps, lines, capsys.readouterr().out


def test_phases_are_lines_in_their_places(capsys, tmp_path):
    steps, lines, out = printed(capsys)
    (tmp_path / "list").write_text(out)
    read = scheduler.read(tmp_path / "list")
    assert [command.phase for command in read] == [step.phase for step in steps]
    assert [command.words for command in read] == [[*words] for words in lines]


@pytest.mark.parametrize("cards, device, given", [(0, None, "cpu"), (2, None, "cuda"),
                                                  (2, "cpu", "cpu"), (0, "cuda:1", "cuda:1")])
def test_a_line_says_folder_variables_device_and_dtype(cards, device, given, capsys, tmp_path,
                                                       machine, monkeypatch):  # noqa: F811
    machine(cards)
    monkeypatch.setattr(phases, "fast_bfloat16", lambda: False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    steps, lines, out = printed(capsys, format="lines", device=device, strong=SMALL, jobs=2)
    rest = [line for line in out.splitlines() if line[0] != "#"]
    assert [line for line in out.splitlines() if line[0] == "#"] == list(dict.fromkeys(
        f"# {step.phase}" for step in steps))
    for step, words, line in zip(steps, lines, rest):
        cd, folder, *more = shlex.split(line)
        assert [cd, folder, *more[:5]] == ["cd", str(ROOT), "&&", "env", "OMP_NUM_THREADS=3",
                                           "TOKENIZERS_PARALLELISM=true", sys.executable]
        extra = more[5 + len(words):]
        runs = step.trained or step.run in ("labels", "evaluate") or "attack" in step.run
        assert more[5:5 + len(words)] == words
        assert ("--device" in more) == (runs or "reward" in step.run or "icl" in step.run)
        if runs:
            assert more[more.index("--device") + 1] == given and more.count("--device") == 1
            assert {*extra} <= {"--device", given, "--dtype", "float32"}
            assert ("--dtype" in more) == ("dtype" in recipes.fields(step.script))


def test_a_line_runs_from_anywhere(tmp_path):
    done = subprocess.run(["bash", ROOT / "run_all.sh", "smoke", "--tasks", "ood", "--dry-run",
                           "--format", "lines", "--out", tmp_path / "it's"], text=True, cwd="/",
                          capture_output=True, env=os.environ | {"PYTHON": sys.executable})
    line = done.stdout.splitlines()[1]
    subprocess.run(["bash", "-c", line], cwd="/", check=True, capture_output=True)
    assert (tmp_path / "it's" / "data" / "tiny-2x32" / "config.json").exists()


def test_a_cluster_trains_in_bfloat16_on_cards_whatever_this_machine_has(
        capsys, machine, monkeypatch):  # noqa: F811
    machine(0)
    monkeypatch.setattr(phases, "fast_bfloat16", lambda: False)
    out = printed(capsys, format="slurm", tasks="ood")[2]
    lines = [shlex.split(line) for line in out.splitlines() if ") exec " in line]
    trained = [words for words in lines if "train_weak.py" in words or "train_student.py" in words]
    assert len(trained) > 10
    for words in trained:
        assert [words[words.index(flag) + 1] for flag in ("--device", "--dtype")] == [
            "cuda", "bfloat16"]
    assert "--gres=gpu:1" in out and "--gres=gpu:2" in out and "--nproc-per-node=2" in out
    assert "LOGS=runs/paper/slurm" in out
    out = printed(capsys, format="slurm", tasks="ood", gpus=1)[2]
    assert "--gres=gpu:2" not in out
    out = printed(capsys, format="slurm", tasks="ood", device="cpu", dtype="float32")[2]
    assert "--gres" not in out and "bfloat16" not in out and "--device cpu" in out


def test_a_dry_run_says_how_long_measured_or_computed(capsys, machine,  # noqa: F811
                                                      monkeypatch, tmp_path):
    machine(0)
    monkeypatch.setattr(launch, "HISTORY", tmp_path / "file")
    steps, lines, options = planned(dry_run=True, jobs=2)
    launch.carry_out(steps[:3], lines[:3], options)
    assert capsys.readouterr().err.startswith("3 commands; perhaps a minute with 2 at a time: "
                                              "computed, not measured, from 0.0e+00 operations")
    plan = launch.numbered(steps[:3], lines[:3])
    known = launch.pace(plan, None, 0, 2)
    (tmp_path / "file").write_text(json.dumps({known.key(command): 610 for command in plan}))
    launch.carry_out(steps[:3], lines[:3], options)
    # two at a time, then the third
    assert capsys.readouterr().err == (
        "3 commands; about 20 minutes with 2 at a time, by what was measured here\n")


def test_hours_of_a_cluster_are_of_its_cards(capsys, machine, monkeypatch, tmp_path):  # noqa: F811
    machine(0)
    monkeypatch.setattr(launch, "HISTORY", tmp_path / "file")
    hours = []
    for options in ({"gpus": 1}, {"gpus": 8}, {"device": "cpu", "dtype": "float32"}):
        launch.carry_out(*planned(dry_run=True, format="slurm", **options))
        said = capsys.readouterr().err
        where = f" on {options['gpus']} GPU" if "gpus" in options else ""
        assert f"{where}" in said and ("GPU" in said) == bool(where), said
        number, unit = re.search("perhaps ([0-9.]+) (hours|minutes)", said).groups()
        hours.append(float(number) / (60 if unit == "minutes" else 1))
    assert hours[1] < hours[0] < hours[2]


def test_options_that_do_not_fit_are_one_line(machine, monkeypatch):  # noqa: F811
    machine(8)
    for dry in (True, False):
        with pytest.raises(ValueError, match="--gpus 9: there are 8 here"):
            launch.carry_out(*planned(gpus=9, dry_run=dry))
        with pytest.raises(ValueError, match="--gpus 2: --device cuda:1 says where everything"):
            launch.carry_out(*planned(gpus=2, device="cuda:1", dry_run=dry))
    with pytest.raises(ValueError, match="--format slurm: says how commands are printed; add"):
        launch.carry_out(*planned(format="slurm"))
    assert issubclass(experiment.Config, launch.Options)


def test_an_experiment_remembers_how_long_its_commands_took(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(launch, "HISTORY", tmp_path / "runs" / ".durations.json")
    monkeypatch.chdir(ROOT)
    (tmp_path / "nap.py").write_text("import time; time.sleep(.2)")
    step = Step("p", "a seed0 nap", "w2s.nap", "a", "nap", False, {}, {})
    launch.carry_out([step], [[str(tmp_path / "nap.py")]], launch.Options(jobs=1), "runs/mine")
    found = json.loads((tmp_path / "runs" / ".durations.json").read_text())
    assert [*found] == ["mine a nap"] and .2 <= found["mine a nap"] < 20
    assert launch.expected([step], [["nap.py"]], "runs/mine", 0, 1) == (found["mine a nap"], True)
