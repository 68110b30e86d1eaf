"""Cards that are pretended: each command gets its own, a failed card is left out.

    python -m pytest -q tests/test_cards.py
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from w2s import cards, device, durations, experiment, launch, refusals, scheduler
from w2s.cards import Seats, Use, blamed
from w2s.experiment import Config
from w2s.phases import Experiment

ROOT = Path(__file__).parent.parent


def nvidia_smi(folder, count, mebibytes=81559, code=0):
    """A folder for PATH with an nvidia-smi that knows so many cards."""
    path = folder / "bin" / "nvidia-smi"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"""#!/bin/sh
for k in $(seq 1 {count}); do
  if [ "$1" = -L ]; then echo "GPU $k: NVIDIA H100 (UUID: GPU-$k)"; echo "  MIG 1g.10gb (UUID: M)"
  else echo {mebibytes}; fi
done
exit {code}
""")
    path.chmod(0o755)
    return str(path.parent)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """machine(count, ...): from now on this machine has so many cards."""
    def machine(count, visible=None, **more):
        folder = nvidia_smi(tmp_path, count, **more)
        monkeypatch.setenv("PATH", folder + os.pathsep + "/usr/bin:/bin")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    return machine


# ---- Apple's -------------------------------------------------------------------------------------

@pytest.fixture
def mac(monkeypatch):
    """This machine is a Mac with a GPU, for what asks without torch and for what asks torch."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(device, "keep_memory", lambda: None)


@pytest.mark.parametrize("name, dtype, unfit, expected", [
    ("auto", "float32", "", "mps"), ("mps", "float32", "", "mps"), ("cpu", "float32", "", "cpu"),
    ("auto", "bfloat16", "", "cpu"), ("auto", "float32", "needs float64", "cpu")])
def test_auto_takes_mps_for_what_it_can_do(name, dtype, unfit, expected, mac):
    assert device.setup(name, dtype, unfit).type == expected


def test_auto_takes_cuda_before_mps_and_mps_nowhere_else(mac, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.setup("auto").type == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    assert device.setup("auto").type == "cuda"


@pytest.mark.parametrize("dtype, unfit, message", [
    ("bfloat16", "", "--dtype bfloat16: not with --device mps, which computes in float32; leave "
     "one of them out"), ("float32", "needs float64", "--device mps: needs float64; use cpu")])
def test_what_mps_cannot_do_is_refused(dtype, unfit, message, mac):
    with pytest.raises(ValueError) as error:
        device.setup("mps", dtype, unfit)
    assert str(error.value) == message


def test_torchruns_processes_do_not_share_a_macs_gpu(monkeypatch):
    assert refusals.without_mps(False) == "" and "float64" in refusals.without_mps(True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "torchrun" in refusals.without_mps(False)


def test_steps_are_not_compiled_for_mps():
    mps = torch.device("mps")
    assert not device.pays_to_compile("auto", mps, 10 ** 6)
    with pytest.raises(ValueError, match="--compile on: not with --device mps"):
        device.pays_to_compile("on", mps, 10 ** 6)
    assert device.widest(mps) == torch.float32
    assert device.widest(torch.device("cpu")) == torch.float64


@pytest.mark.parametrize("options, message", [
    ({"device": "tpu9"}, "--device tpu9: no such device; use auto, cpu, cuda, cuda:N or mps"),
    ({"device": "mps", "dtype": "bfloat16"}, "--dtype bfloat16: not with --device mps"),
    ({"device": "mps", "tasks": "fairness,privacy"}, "--device mps: cannot train privately")])
def test_a_plan_for_a_mac_is_refused_before_anything_is_made(options, message, mac):
    with pytest.raises(ValueError, match=message):
        experiment.check(Experiment(Config(**{"seeds": 1, "tasks": "fairness", **options}),
                                    "miniature"))
    experiment.check(Experiment(Config(seeds=1, tasks="fairness", device="mps"), "miniature"))


def test_mps_is_refused_where_there_is_no_mac():
    with pytest.raises(ValueError, match="--device mps: is a GPU of Apple's, and this is no such"):
        cards.check("mps", None, private=False)
    for name in (None, "auto", "cpu", "cuda", "cuda:3"):
        cards.check(name, None, private=True)


@pytest.mark.parametrize("count, device, message", [
    (0, "cuda", "--device cuda: there is no GPU here that CUDA can use; use auto or cpu"),
    (0, "cuda:1", "--device cuda:1: there is no GPU here that CUDA can use; use auto or cpu"),
    (2, "cuda:2", "--device cuda:2: there are 2 GPUs here, counted from 0"),
    (2, "cuda:1", None), (1, "cuda", None)])
def test_a_gpu_that_is_not_there_is_refused_before_anything_runs(count, device, message, machine,
                                                                 monkeypatch):
    machine(count)
    said = f"{count}\n" if count else ""  # of a torch that may not even be there
    asked = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda words, **more: SimpleNamespace(stdout=said)
                        if "torch" in words[-1] else asked(words, **more))
    if message is None:
        return cards.require(device)
    for seen in (lambda: cards.require(device), lambda: launch.run(
            [], [["train_weak.py", "--device", device]], launch.Options(), None)):
        with pytest.raises(ValueError) as error:
            seen()
        assert str(error.value) == message


def test_cuda_counts_where_nvidia_smi_is_not_there(machine, monkeypatch):
    machine(0)
    asked = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda words, **more: SimpleNamespace(stdout="2\n")
                        if "torch" in words[-1] else asked(words, **more))
    cards.require("cuda:1")


@pytest.mark.parametrize("preset, device_of_all", [("miniature", "cpu"), ("paper", None)])
def test_models_too_small_for_a_gpu_stay_on_a_macs_cpu(preset, device_of_all, mac):
    plan = Experiment(Config(seeds=1, tasks="fairness"), preset)
    lines = [plan.line(step) for step in plan.steps
             if step.trained or step.run in ("labels", "evaluate")]
    assert {durations.value(words, "--device") for words in lines} == {device_of_all}
    asked = Experiment(Config(seeds=1, tasks="fairness", device="mps"), preset)
    assert {durations.value(asked.line(step), "--device") for step in asked.steps
            if step.trained} == {"mps"}


def test_one_command_at_a_time_has_a_macs_gpu(mac, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    line = ["train_weak.py", "--task", "fairness"]
    for more, jobs in (([], 1), (["--device", "mps"], 1), (["--device", "cpu"], 4)):
        assert launch.side_by_side([line + more], 0, None, None) == jobs


# ---- which there are -----------------------------------------------------------------------------

@pytest.mark.parametrize("count, visible, names", [
    (3, None, ["0", "1", "2"]), (0, None, []), (3, "2,0", ["2", "0"]), (3, "", []), (3, "-1", []),
    (3, "1, GPU-ab, -1, 0", ["1", "GPU-ab"])])
def test_the_cards_that_are_visible(count, visible, names, machine):
    machine(count, visible)
    assert cards.visible() == names


def test_a_machine_without_nvidia_smi_has_none(machine, monkeypatch):
    machine(2, code=9)
    assert cards.visible() == [] and cards.memory() is None
    monkeypatch.setenv("PATH", "/nowhere")
    assert cards.visible() == [] and cards.memory() is None
    assert cards.environment([]) == {}
    assert cards.environment(["0"]) == {"CUDA_VISIBLE_DEVICES": "0"}


def test_memory_is_that_of_the_smallest(machine):
    machine(2, mebibytes="81559; echo 1000")
    assert cards.memory() == 1000 * 2 ** 20
    assert cards.environment(["1", "0"]) == {"CUDA_VISIBLE_DEVICES": "1,0", "W2S_CARD": "1"}


def test_more_cards_than_there_are_is_one_line(machine):
    machine(8)
    assert cards.chosen(None, None) == [*"01234567"] and cards.chosen(2, None) == ["0", "1"]
    with pytest.raises(ValueError, match="--gpus 9: there are 8 here .*; ask for no more"):
        cards.chosen(9, None)
    assert cards.chosen(None, "cuda:1") == []
    with pytest.raises(ValueError, match="--gpus 2: --device cuda:1 says where everything runs"):
        cards.chosen(2, "cuda:1")


def test_a_process_with_a_card_does_not_take_the_cpu_instead(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.setup().type == "cpu"
    monkeypatch.setenv("W2S_CARD", "1")
    with pytest.raises(ValueError, match="no usable CUDA device") as error:
        device.setup()
    assert blamed(("3",), 1, f"error: {error.value}") == "3"


# ---- which a command gets ------------------------------------------------------------------------

def test_seats_are_spread_over_the_cards():
    seats, uses, given = Seats("abc", 5), [], []
    while (got := seats.free(1, False, uses)) is not None:
        uses.append(Use(got, False))
        given += got
    assert "".join(given) == "abcab" and seats.most == 2
    uses.pop(1)
    assert seats.free(1, False, uses) == ("b",)
    assert seats.free(2, True, uses) is None
    assert seats.free(1, True, uses[:2]) == ("b",)              # a and c are in use
    assert seats.free(1, True, [Use((card,), False) for card in "abc"]) is None
    assert seats.free(2, True, [Use(("b",), False)]) == ("a", "c")
    assert seats.free(1, False, [Use(("a", "b"), True)]) == ("c",)
    assert Seats("ab", 4).free(1, False, [Use(("a", "b"), True)]) is None


def test_a_card_that_is_left_out_is_given_to_no_command():
    seats = Seats("ab", 4)
    seats.leave_out("a")
    seats.leave_out("a")
    assert (seats.cards, seats.jobs) == (["b"], 2)
    assert seats.free(1, False, [Use(("b",), False)]) == ("b",)
    assert seats.free(1, False, [Use(("b",), False)] * 2) is None


def test_without_cards_commands_share_the_machine():
    seats = Seats((), 2)
    assert seats.free(1, False, []) == seats.free(2, True, [Use((), False)]) == ()
    assert seats.free(1, False, [Use((), False)] * 2) is None


REPORT = """Failures:
[1]: rank : 3 (local_rank: 3) exitcode  : 1 (pid: 7)
Root Cause (first observed failure):
[0]: rank : 1 (local_rank: 1) exitcode  : -9 (pid: 5)
"""


@pytest.mark.parametrize("places, code, output, card", [
    ("a", -9, "", "a"), ("a", 1, "error: --lr 0", None), ("", -9, "", None),
    ("a", 1, "RuntimeError: CUDA error: uncorrectable ECC error encountered", "a"),
    ("a", 1, "CUDA-capable device(s) is/are busy or unavailable", "a"),
    ("a", 1, "torch.OutOfMemoryError: CUDA out of memory", None), ("a", 130, "", None),
    ("abcd", 1, REPORT, "b"), ("abcd", 1, REPORT.replace("-9", "1"), None),
    ("abcd", 1, "GPU is lost\n" + REPORT.replace("-9", "1"), "b"),
    ("abcd", 1, "exitcode: -9", None), ("ab", 1, "exitcode: -9 local_rank: 7", None)])
def test_the_card_that_is_to_blame(places, code, output, card):
    assert blamed(tuple(places), code, output) == card


# ---- commands on pretended cards -----------------------------------------------------------------

CODE = """
import os, sys, time
card, home, name, *how = os.environ.get("CUDA_VISIBLE_DEVICES"), *sys.argv[1:]
with open(f"{home}/log", "a") as file:
    file.write(f"{name} {card}\\n")
open(f"{home}/{name}.runs", "w").close()
while any(word.startswith("with=") and not os.path.exists(f"{home}/{word[5:]}.runs")
          for word in how):
    time.sleep(.01)
time.sleep(.1)
if "dies" in how and card == "0":
    os.kill(os.getpid(), 9)
if "ecc" in how and card == "0" or "everywhere" in how:
    raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
if "full" in how and not os.path.exists(f"{home}/{name}.again"):
    open(f"{home}/{name}.again", "w").close()
    raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
if "slow" in how:
    time.sleep(1)
    with open(f"{home}/log", "a") as file:
        file.write(f"{name} ends\\n")
if "wrong" in how:
    sys.exit("error: it is wrong")
"""


@pytest.fixture
def run(tmp_path):
    """run(lines, visible, *flags) -> (lines of the log, the process)."""
    (tmp_path / "command.py").write_text(CODE)

    def run(lines, visible, *flags):
        lines = [line if line[0] in "#p" else shlex.join(
            ["python", str(tmp_path / "command.py"), str(tmp_path), *line.split()])
            for line in lines]
        done = subprocess.run([sys.executable, "-m", "w2s.scheduler", *map(str, flags)],
                              input="\n".join(lines), text=True, capture_output=True, cwd=ROOT,
                              timeout=60, env=os.environ | {"CUDA_VISIBLE_DEVICES": visible})
        log = tmp_path / "log"
        return log.read_text().splitlines() if log.exists() else [], done
    return run


def test_each_command_has_a_card_of_its_own(run):
    log, done = run(["a with=b", "b with=a"], "5,GPU-7", "--gpus", 2)
    assert done.returncode == 0, done.stderr
    assert sorted(log) == ["a 5", "b GPU-7"]


def test_several_share_a_card_where_there_are_more_commands_than_cards(run):
    log, done = run(["a with=d", "b with=d", "c with=d", "d with=a"], "0,1", "--gpus", 2,
                    "--jobs", 4)
    assert done.returncode == 0, done.stderr
    assert sorted(log) == ["a 0", "b 1", "c 0", "d 1"]


@pytest.mark.parametrize("how, why", [("dies", "the process ended with code -9"),
                                      ("ecc", "uncorrectable ECC")])
def test_a_card_that_fails_is_left_out_and_its_command_repeated(how, why, run):
    log, done = run([f"a {how}", "b", "# two", "c", "d"], "0,1", "--gpus", 2)
    assert done.returncode == 0, done.stderr
    line, = done.stderr.splitlines()
    assert line.startswith(f"card 0 failed ({why}") and "is left out; again on another" in line
    assert {*log} == {"a 0", "a 1", "b 1", "c 1", "d 1"} and len(log) == 5


def test_a_command_that_fails_on_two_cards_stops_everything(run):
    log, done = run(["a everywhere", "b"], "0,1,2", "--gpus", 3, "--jobs", 1)
    assert done.returncode == 1 and log == ["a 0", "a 1"]
    assert "failed: python" in done.stderr and done.stderr.count("is left out") == 1


@pytest.mark.parametrize("lines, visible", [(["a wrong", "b"], "0,1"), (["a dies", "b"], "0")])
def test_what_is_no_cards_fault_or_has_no_other_card_stops(lines, visible, run):
    log, done = run(lines, visible, "--gpus", len(visible.split(",")), "--jobs", 1)
    assert done.returncode == 1 and log == ["a 0"] and "left out" not in done.stderr


def test_a_command_that_finds_a_card_full_is_repeated_alone_on_one_once(run):
    log, done = run(["a full with=b", "b slow with=a", "c", "d"], "0", "--gpus", 1, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch("card 0 was full; again, alone on one: .*\n", done.stderr)
    assert sorted(log[:2]) == ["a 0", "b 0"]
    assert log[2:4] == ["b ends", "a 0"] and sorted(log[4:]) == ["c 0", "d 0"]
    log, done = run(["e full"], "0", "--gpus", 1, "--jobs", 1)  # it was alone already
    assert done.returncode == 1 and log[6:] == ["e 0"]


SPREAD = "python -m torch.distributed.run --standalone --nproc-per-node={} {}"


def test_a_run_on_several_cards_waits_until_they_are_free(run, tmp_path):
    (tmp_path / "each.py").write_text(
        f"import os; open('{tmp_path}/log', 'a').write(os.environ['RANK'] + ' ' + "
        "os.environ['CUDA_VISIBLE_DEVICES'] + '\\n')")
    log, done = run(["a", "b with=a", SPREAD.format(2, tmp_path / "each.py"), "c"], "0,1",
                    "--gpus", 2)
    assert done.returncode == 0, done.stderr
    assert sorted(log[:2]) == ["a 0", "b 1"] and sorted(log[2:4]) == ["0 0,1", "1 0,1"]
    assert log[4:] == ["c 0"]


def test_a_run_that_needs_more_cards_than_are_left_stops(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (tmp_path / "command.py").write_text(CODE)
    lines = [[str(tmp_path / "command.py"), str(tmp_path), "a", "ecc"],
             shlex.split(SPREAD.format(2, "each.py"))[1:]]
    commands = [scheduler.Command(n, "p", f"t{n}", "its line", words)
                for n, words in enumerate(lines)]
    with pytest.raises(ValueError, match="stopped, see above"):
        scheduler.finish(commands, Seats("01", 1))
    errors = capsys.readouterr().err
    assert errors.endswith("t1: needs 2 cards, and 1 are left\nfailed: its line\n")
    assert (tmp_path / "log").read_text() == "a 0\na 1\n"
