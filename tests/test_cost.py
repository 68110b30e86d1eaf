"""How long commands take that nobody has timed: operations by hand, rows as they get known, and the
time left of a whole experiment.

    python -m pytest -q tests/test_cost.py
"""

import random
import re
import shlex
from pathlib import Path

import pytest
import torch

from tests.test_cards import machine  # noqa: F401 (a fixture)
from w2s import config, cost, durations, experiment, launch
from w2s.cost import Costs, Machine
from w2s.durations import Pace, wall
from w2s.experiment import Config
from w2s.model import checkpoint
from w2s.model.configuration import published
from w2s.phases import Experiment
from w2s.scheduler import Command, before

L, D, V = 3, 64, 2048
TINY = published(L, D, 4, V)
BLOCK = 4 * D * D + 2 * D * 4 * D + 13 * D  # weights and biases of a block, its two LayerNorms


def commands(*lines):
    """Commands of lines; a title is the first word behind `--task`."""
    words = [shlex.split(line) for line in lines]
    return [Command(n, "", f"{durations.value(each, '--task')} {n}", "", each)
            for n, each in enumerate(words)]


def work(line, *before_it):
    """The Work of a command of a plan, whose models are all TINY."""
    plan = commands(*before_it, line)
    return Costs(plan, lambda *_: TINY).work(plan[-1].words)


def test_operations_of_a_forward_pass_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode
    model, T = checkpoint.untrained(TINY, 0), 16
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(2, T, dtype=torch.long), torch.full((2,), T))
    ours = Costs([], lambda *_: TINY).forward("m", "", 2, T).flops
    assert counter.get_total_flops() == pytest.approx(ours, rel=.05)


def test_a_training_reads_its_rows_three_times_an_epoch():
    """By hand, of the public rows in full: 18,560 of 85 tokens, 6 epochs of batches of 10."""
    train = "train_weak.py --task fairness --model m --data d/weak.jsonl --lam 0 --out o"
    token = 2 * L * BLOCK + 4 * L * 85 * D
    found = work(f"{train} --epochs 6 --batch-size 10")
    assert found.flops == pytest.approx(3 * 6 * 18560 * 85 * token)
    assert found.launches == pytest.approx(3 * 6 * 18560 / 10 * L)
    assert work(f"{train} --max-length 20 --epochs 6").flops < found.flops / 4
    # what stands in no word is the task's default, which its file has: 3 epochs
    assert work(train).flops == pytest.approx(found.flops / 2)


@pytest.mark.parametrize("task, more, passes", [
    ("fairness", "--lam 0", 3), ("fairness", "", 3), ("adversarial", "--lam 0", 3),
    ("adversarial", "--lam 0.5", 6), ("privacy", "--lam 0", 3), ("privacy", "", 4),
    ("arithmetic", "--objective grpo --group 4", 24)])
def test_some_trainings_take_more_passes(task, more, passes):
    found = work(f"train_weak.py --task {task} --model m --data d/wts.jsonl --epochs 1 --out o "
                 f"{more}")
    count, tokens = cost.ROWS[task][1], cost.ROWS[task][3]
    head = 0 if task in ("fairness", "adversarial") else V * D
    token = 2 * (L * BLOCK + head) + 4 * L * min(128, tokens) * D
    assert found.flops == pytest.approx(passes * count * min(128, tokens) * token)


def test_measures_go_over_all_rows_with_all_runs():
    runs = [f"train_weak.py --task ood --model m --data d/weak.jsonl --out r{k}" for k in (1, 2)]
    once = work("evaluate.py --task ood --run r1 --data d/test.jsonl", *runs)
    assert work("evaluate.py --task ood --run r1 r2 --data d/test.jsonl", *runs).flops == \
        pytest.approx(2 * once.flops)
    assert work("label.py --task ood --run r1 --data d/test.jsonl d/wts.jsonl", *runs).flops == \
        pytest.approx(once.flops * (11200 + 28600) / 11200)
    attack = work("attacks.py text --task ood --run r1 --data d/test.jsonl --limit 100", *runs)
    assert attack.flops == pytest.approx(once.flops * 100 / 11200 * cost.PASSES["text"])
    assert work("evaluate.py --task ood --run unknown --data d/test.jsonl").flops == 0
    assert work("-m w2s.report --runs r").flops == 0


def test_a_trust_function_costs_nothing_unless_it_asks_the_teacher():
    teacher = "train_weak.py --task mcqa --model m --data d/weak.jsonl --out x/mcqa/seed0/weak-none"
    choose = ("train_ntf.py --teacher x/mcqa/seed0/weak-none --pool x/labels/wts.jsonl "
              "--labelled y --out z --select {}")
    assert work(choose.format("ntf"), teacher).flops == 0
    assert work(choose.format("consistency"), teacher).flops > 0


def test_rows_are_counted_once_they_are_prepared(tmp_path):
    plan = commands(f"-m w2s.prepare data --task ood --out {tmp_path}/ood",
                    f"-m w2s.prepare data --task adversarial --out {tmp_path}/adversarial",
                    "train_weak.py --task ood --model m --data d/weak.jsonl --out o",
                    "train_weak.py --task adversarial --model m --data d/weak.jsonl --out o")
    costs = Costs(plan, lambda *_: TINY)
    assert costs.rows("ood", "d/weak.jsonl") == (28600, 20)
    (tmp_path / "ood").mkdir()
    for name, count in (("weak", 286), ("wts", 286), ("test", 112)):
        (tmp_path / "ood" / f"{name}.jsonl").write_text(("x" * 129 + "\n") * count)
    before_it = costs.seconds(plan[2])
    costs.renew()
    assert costs.rows("ood", "d/weak.jsonl") == (286, 10)  # (130 - 90) / 4 tokens
    assert costs.rows("ood", "r/labels/wts.jsonl.gz", 8) == (286, 8)
    # what is not prepared yet is as much smaller
    assert costs.rows("adversarial", "d/weak.jsonl")[0] == pytest.approx(150, rel=.01)
    assert costs.seconds(plan[2]) - 1 < (before_it - 1) / 150


def test_rows_that_are_made_up_or_limited_are_fewer():
    prepare = "-m w2s.prepare data --task ood --out nowhere/ood"
    train = "train_weak.py --task ood --model m --data d/weak.jsonl --lam 0 --out o"
    full, limited, town = (Costs(commands(*lines, train), lambda *_: TINY).rows("ood", "weak.jsonl")
                           for lines in ((prepare,), (f"{prepare} --limit 60",),
                                         ("-m w2s.miniature world --out nowhere", prepare)))
    assert full[0] == cost.ROWS["ood"][0] and limited == (60, full[1])
    assert town[0] == cost.TOWN["ood"][0] < full[0]


def test_a_model_that_is_still_to_be_made_is_known_by_its_name():
    costs = Costs([], lambda *_: None)
    assert costs.config("data/models/strong/real-4x192", None)["num_hidden_layers"] == 4
    assert costs.config("data/models/strong/real-4x192", None)["hidden_size"] == 192
    assert not costs.config("org/unknown", None) and not costs.config(None, None)


def test_seconds_are_of_a_rate_of_launches_and_of_a_start():
    plan = commands("train_weak.py --task fairness --model m --data d/weak.jsonl --out o")
    found = Costs(plan, lambda *_: TINY).work(plan[0].words)
    for machine, seconds in ((Machine(found.flops, 0, 0), 1), (Machine(1e99, 2, 0),
                             2 * found.launches), (Machine(1e99, 0, 7), 7)):
        assert Costs(plan, lambda *_: TINY, machine).seconds(plan[0]) == pytest.approx(seconds)


@pytest.mark.parametrize("count, fast, rate", [
    (0, False, 40e9), (0, True, 120e9), (2, False, 100e12), (2, True, 100e12)])
def test_a_core_with_bfloat16_is_faster_and_a_card_is_a_card(count, fast, rate, monkeypatch):
    monkeypatch.setattr(launch, "fast_bfloat16", lambda: fast)
    assert launch.machine(count).rate == rate


def rows_of_the_page():
    """(words behind run_all.sh, GPUs, hours) of the quickstart's table, less measured ones."""
    page = (Path(__file__).parent.parent / "docs" / "quickstart.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()
             if line.startswith("| `")]
    return [(words.strip("`").split(), int(gpus), float(hours)) for words, gpus, hours, source in
            cells[1:] if not source]


@pytest.mark.parametrize("words, gpus, hours", rows_of_the_page(), ids=str)
def test_the_hours_of_the_page_are_those_that_a_dry_run_prints(words, gpus, hours, machine,
                                                               monkeypatch, capsys, tmp_path):
    machine(0)
    monkeypatch.setattr(launch, "fast_bfloat16", lambda: False)
    monkeypatch.setattr(launch, "HISTORY", tmp_path / "none")
    monkeypatch.setattr(launch.os, "cpu_count", lambda: 2)
    preset, rest = (words[0], words[1:]) if words[0] in experiment.PRESETS else ("miniature", words)
    cluster = ["--format", "slurm", "--gpus", str(gpus)] if gpus else []
    options = config.parse(Config, "", [*rest, "--dry-run", *cluster, "--out", str(tmp_path)])
    found = Experiment(options, preset)
    launch.carry_out(found.steps, [found.line(step) for step in found.steps], options, found.out)
    number, unit = re.search("perhaps ([0-9.]+) (hours|minutes)", capsys.readouterr().err).groups()
    said = float(number) / (60 if unit == "minutes" else 1)
    assert said == pytest.approx(hours, rel=.02, abs=.02)


def test_nothing_is_said_of_a_model_that_is_not_known(machine, monkeypatch, capsys, tmp_path):
    machine(0)
    monkeypatch.setattr(launch, "HISTORY", tmp_path / "none")
    found = Experiment(Config(tasks="fairness", seeds=1, strong="org/large", dry_run=True), "paper")
    launch.carry_out(found.steps, [found.line(step) for step in found.steps], found.options)
    assert "how long is not known: no config.json of org/large is here" in capsys.readouterr().err


TOWN = {"fairness": (2900, 330), "ood": (1100, 150), "privacy": (190, 640), "mcqa": (400, 300)}


def pretended(plan, costs, draw):
    """Seconds of each command on a machine that is unlike what `cost` supposes: scripts and tasks
    have factors of their own, and no two times are the same."""
    script = {"label.py": .7, "evaluate.py": 1.5, "attacks.py": 2, "w2s.prepare": 2}
    task = {"fairness": .8, "ood": 1.2, "privacy": 1.3, "mcqa": 1}
    return [2.5 * draw.uniform(.9, 1.1) * costs.seconds(command)
            * script.get(durations.script(command.words), 1)
            * task.get(durations.value(command.words, "--task"), 1) for command in plan]


def prepare(command):
    """What w2s.prepare leaves behind."""
    task, folder = (durations.value(command.words, flag) for flag in ("--task", "--out"))
    Path(folder).mkdir(parents=True, exist_ok=True)
    count, size = TOWN[task]
    for split, share in (("weak", 1), ("wts", 1), ("test", .5), ("val", .3), ("trust", .3)):
        (Path(folder) / f"{split}.jsonl").write_text(("x" * size + "\n") * int(share * count))


def test_the_first_run_of_an_experiment_knows_its_end_after_a_tenth(tmp_path, monkeypatch):
    """The default experiment by the clock, with nothing remembered and rows that get known on the
    way: within a fifth from a tenth on."""
    monkeypatch.chdir(tmp_path)
    found = Experiment(Config(tasks=",".join(TOWN), seeds=3, out=str(tmp_path / "out")),
                       "miniature")
    plan = launch.numbered(found.steps, [found.line(step) for step in found.steps])
    for command in plan:  # the true seconds are of the true rows
        if command.words[1:3] == ["w2s.prepare", "data"]:
            prepare(command)
    times = pretended(plan, Costs(plan, launch.shape), random.Random(0))
    for path in (tmp_path / "out").rglob("*.jsonl"):
        path.unlink()
    waits, jobs, costs = before(plan), 2, Costs(plan, launch.shape)
    pace, done, todo, running, now, worst = Pace(plan, costs=costs), set(), list(plan), [], 0, 0
    total = wall(plan, [], waits, set(), jobs, lambda command: times[command.number])
    while todo or running:
        for command in [c for c in todo if waits[c.number] <= done][:jobs - len(running)]:
            todo.remove(command)
            running.append((now + times[command.number], command))
        running.sort(key=lambda pair: pair[0])
        now, command = running.pop(0)
        done.add(command.number)
        if command.words[1:3] == ["w2s.prepare", "data"]:
            prepare(command)
        pace.add(command, times[command.number], "")
        if now > .1 * total:
            rest = [(max(0, pace.seconds(c) - (now - end + times[c.number])), c.number)
                    for end, c in running]
            left = wall(todo, rest, waits, done, jobs, pace.seconds)
            worst = max(worst, abs(now + left - total) / total)
    assert now == pytest.approx(total) and worst < .2, worst
