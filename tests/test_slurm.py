"""Job arrays for Slurm: what waits for what, and a pretended sbatch that runs them.

    python -m pytest -q tests/test_slurm.py
"""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from w2s import slurm
from w2s.experiment import Config
from w2s.launch import numbered
from w2s.phases import Experiment
from w2s.scheduler import Command, before

ROOT = Path(__file__).parent.parent
# Runs the jobs of an array in order when it is sent
IN_ORDER = """#!/usr/bin/env python3
import os, re, subprocess, sys
home = os.environ["FAKE_SLURM"]
script, number = sys.stdin.read(), 100 + len(os.listdir(home))
options = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
os.mkdir(f"{home}/{number}")
first, last = map(int, options["array"].split("-"))
for k in range(first, last + 1):
    log = options["output"].replace("%x", options["job-name"]).replace("%a", str(k))
    with open(log, "w") as file:
        code = subprocess.run(["bash", "-s"], input=script, text=True, stdout=file, stderr=file,
                              env=os.environ | {"SLURM_ARRAY_TASK_ID": str(k)}).returncode
    open(f"{home}/{number}/{k}.{code}", "w").close()
print(f"{number};cluster")
"""
# Starts every job at once, in a process of its own that waits for what it depends on
PARALLEL = """#!/usr/bin/env python3
import glob, os, re, subprocess, sys, time
home = os.environ["FAKE_SLURM"]
script, number = sys.stdin.read(), 100 + len(os.listdir(home))
options = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
first, last = map(int, options["array"].split("-"))
os.mkdir(f"{home}/{number}")
open(f"{home}/{number}/of.{last + 1}", "w").close()
print(number, flush=True)
os.dup2(os.open(os.devnull, os.O_RDWR), 1)
os.dup2(1, 2)
needs = [(kind, ids.split(":")) for kind, _, ids in (
    part.partition(":") for part in options.get("dependency", "").split(",") if part)]


def ended(kind, other, k):
    ends = glob.glob(f"{home}/{other}/{k if kind == 'aftercorr' else '*'}.end.*")
    size = int(glob.glob(f"{home}/{other}/of.*")[0].rpartition(".")[2])
    bad = any(not end.endswith(".0") for end in ends)
    return bad, len(ends) == (1 if kind == "aftercorr" else size)


for k in range(first, last + 1):
    if os.fork():
        continue
    os.setsid()
    while True:
        states = [ended(kind, other, k) for kind, ids in needs for other in ids]
        if any(bad for bad, _ in states) or all(whole for _, whole in states):
            break
        time.sleep(.02)
    code = 1
    if not any(bad for bad, _ in states):
        log = options["output"].replace("%x", options["job-name"]).replace("%a", str(k))
        with open(log, "w") as file:
            code = subprocess.run(["bash", "-s"], input=script, text=True, stdout=file, stderr=file,
                                  env=os.environ | {"SLURM_ARRAY_TASK_ID": str(k)}).returncode
    open(f"{home}/{number}/{k}.end.{code}", "w").close()
    os._exit(0)
"""
STEP = """
import os, sys, time
words = sys.argv[1:]
at = {flag: [words[k + 1 + n] for n in range(len(words[k + 1:])) if not any(
    w.startswith("--") for w in words[k + 1:k + 2 + n])] for k, flag in enumerate(words)
    if flag.startswith("--")}
out = at["--out"][0]
if os.path.exists(out):
    sys.exit(print("done already"))
open("log", "a").write(out + "\\n")
missing = [path for path in at.get("--data", []) if not os.path.exists(path)]
if missing or os.path.exists(f"{out}.breaks"):
    sys.exit(f"{out}: no {missing} {os.environ['OMP_NUM_THREADS']}")
time.sleep(float(os.environ.get("SLOW", 0)))
open(out, "w").close()
"""


def made(lines):
    return [Command(n, "p", f"t{n}", line, shlex.split(line)) for n, line in enumerate(lines)]


PLAN = ["step.py --out raw", "step.py --data raw --out a0", "step.py --data raw --out a1",
        "step.py --data a0 --out b0", "step.py --data a1 --out b1", "step.py --data b0 --out c0",
        "step.py --data b1 --out c1", "step.py --data c0 c1 --out 'it is $all'"]


def text(folder):
    return slurm.script(made(PLAN), [0, 1, 1, 1, 1, 2, 1, 0], sys.executable, folder, "logs")


def send(folder, sbatch, script=None, **more):
    """Send the plan; {file: time of its making} once all has ended."""
    (folder / "step.py").write_text(STEP)
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "sbatch").write_text(sbatch)
    (folder / "bin" / "sbatch").chmod(0o755)
    (jobs := folder / f"jobs{len(list(folder.glob('jobs*')))}").mkdir()
    done = subprocess.run(["bash"], input=script or text(folder), text=True, capture_output=True,
                          timeout=60, env=os.environ | more | {
                              "FAKE_SLURM": str(jobs),
                              "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"})
    assert done.returncode == 0, done.stderr
    return jobs, done.stdout


def test_arrays_hold_what_may_run_side_by_side_and_wait_for_what_they_read(tmp_path):
    commands = made(PLAN)
    every = slurm.arrays(commands, [0, 1, 1, 1, 1, 2, 1, 0])
    assert [[command.number for command in array.commands] for array in every] == [
        [0], [1, 2], [3, 4], [6], [5], [7]]
    assert [array.cards for array in every] == [0, 1, 1, 1, 2, 0]
    assert slurm.dependencies(every, before(commands)) == [
        {}, {0: "afterok"}, {1: "aftercorr"}, {2: "afterok"}, {2: "afterok"},
        {3: "afterok", 4: "afterok"}]
    script = text(tmp_path)
    assert re.findall(r"send (w2s.*?) --kill|send (w2s.*?) <<", script)[1][0] == (
        'w2s-1 --array=0-1 --gres=gpu:1 --dependency="afterok:$A0"')
    assert '--gres=gpu:2 --dependency="afterok:$A2"' in script and script.count("--gres") == 4
    assert '--array=0-0 --dependency="afterok:$A3:$A4"' in script
    assert f"cd {tmp_path} || exit 1\nexport OMP_NUM_THREADS=${{SLURM_CPUS_PER_TASK:-1}}" in script


def test_a_long_array_is_sent_in_parts(monkeypatch):
    monkeypatch.setattr(slurm, "MOST", 2)
    every = slurm.arrays(made([f"step.py --out {k}" for k in range(5)]), [1] * 5)
    assert [len(array.commands) for array in every] == [2, 2, 1]


def waiting(every, kinds):
    """[{numbers of commands that are done when this one starts}, ...] by the arrays' dependencies
    alone, as Slurm reads them."""
    reached = {}
    for array, kind in zip(every, kinds):
        for k, command in enumerate(array.commands):
            reached[command.number] = set()
            for other, how in kind.items():
                for one in every[other].commands if how == "afterok" else [
                        every[other].commands[k]]:
                    reached[command.number] |= {one.number} | reached[one.number]
    return reached


@pytest.mark.parametrize("preset", ["paper", "miniature"])
def test_every_command_of_the_whole_plan_waits_for_what_the_scheduler_makes_it_wait_for(preset):
    found = Experiment(Config(tasks="all", seeds=2), preset)
    commands = numbered(found.steps, [found.line(step) for step in found.steps])
    counts = [1 + (n % 50 == 7) for n in range(len(commands))]  # some on two cards
    every, waits = slurm.arrays(commands, counts), before(commands)
    reached = waiting(every, kinds := slurm.dependencies(every, waits))
    assert len(reached) == len(commands) > 400
    assert all(waits[number] <= reached[number] for number in reached)
    assert any("aftercorr" in kind.values() for kind in kinds)
    # and an array waits for none that none of its commands has to wait for
    array = {command.number: one.number for one in every for command in one.commands}
    for one, kind in zip(every, kinds):
        assert {*kind} <= {array[n] for command in one.commands for n in waits[command.number]}
    for one in every:  # side by side: none waits for another
        assert not any(waits[command.number] & {other.number for other in one.commands}
                       for command in one.commands)


@pytest.mark.parametrize("sbatch", [IN_ORDER, PARALLEL], ids=["in order", "in parallel"])
def test_a_cluster_runs_the_plan_and_sent_again_nothing_is_done_twice(sbatch, tmp_path):
    def ends(jobs):
        return sorted(path.name for path in jobs.rglob("*.?") if "of." not in path.name)

    def finished(jobs):
        return len(ends(jobs)) == len(PLAN)

    for again in (False, True):
        jobs, printed = send(tmp_path, sbatch, SLOW="0.1")
        assert printed == "sent 6 arrays, 8 commands; see squeue --me\n"
        wait_for(lambda: finished(jobs))
        assert all(end.endswith(".0") for end in ends(jobs)), logs(tmp_path)
        order = (tmp_path / "log").read_text().splitlines()
        assert sorted(order) == ["a0", "a1", "b0", "b1", "c0", "c1", "it is $all", "raw"]
        assert order[0] == "raw" and order[-1] == "it is $all"
        assert len(list((tmp_path / "logs").glob("w2s-*-*.log"))) == len(PLAN)
    assert "done already" in (tmp_path / "logs" / "w2s-0-0.log").read_text()


def test_what_waits_for_a_failure_is_not_run_and_the_rest_goes_on_when_sent_again(tmp_path):
    (tmp_path / "a1.breaks").touch()
    jobs, _ = send(tmp_path, PARALLEL)
    wait_for(lambda: len(list(jobs.rglob("*.end.*"))) == len(PLAN))
    # aftercorr: b0 needs a0 alone, and is made
    assert (tmp_path / "log").read_text().splitlines()[3:] in (["b0"], [])
    assert (tmp_path / "b0").exists() and not (tmp_path / "c0").exists()
    assert "a1: no [] 1" in (tmp_path / "logs" / "w2s-1-1.log").read_text()
    (tmp_path / "a1.breaks").unlink()
    jobs, _ = send(tmp_path, PARALLEL)
    wait_for(lambda: len(list(jobs.rglob("*.end.0"))) == len(PLAN))
    assert (tmp_path / "it is $all").exists()


def logs(folder):
    return "\n".join(path.read_text() for path in sorted((folder / "logs").glob("*")))


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(.05)
