"""How long commands take: remembered, weighed, and the time that is left of the whole.

    python -m pytest -q tests/test_durations.py
"""

import json
import random
import shlex
import time

import pytest

from w2s import durations, launch
from w2s.commands import Step
from w2s.durations import Pace, kind, wall
from w2s.scheduler import Command, before


def test_a_kind_is_the_same_run_of_any_seed():
    kinds = [kind(title) for title in ("ood seed0 weak-tft", "ood seed12 weak-tft",
                                       "ood rows seed1", "ood seed1 weak-lam-0.25")]
    assert kinds == ["ood weak-tft", "ood weak-tft", "ood rows ", "ood weak-lam-."]
    assert Command(0, "", "ood seed3 weak-tft", "", []).kind() == "ood weak-tft"


def commands(text):
    """Commands of lines `title | words`."""
    lines = [line.split("|") for line in text.strip().splitlines()]
    return [Command(n, "", title.strip(), "", shlex.split(words))
            for n, (title, words) in enumerate(lines)]


def test_a_command_takes_the_mean_of_its_kind_or_of_trainings_of_its_model():
    plan = commands("""a seed0 x | train_weak.py --task a --model m
                       a seed1 x | train_weak.py --task a --model m
                       a seed1 y | train_student.py --task a --model m
                       b seed1 y | train_student.py --task b --model m
                       a seed1 e | evaluate.py --run r
                       a rows | -m w2s.prepare data --out d""")
    pace = Pace(plan)
    pace.add(plan[0], 2, "")
    pace.add(plan[0], 4, "")
    pace.add(plan[0], 90, "r: done already")  # these say nothing
    pace.add(plan[0], 1, "r: 9 rows, goes on at step 8")
    assert pace.seconds(plan[1]) == 3 and pace.seconds(plan[2]) == 3
    # else by weight: 6 s for two commands of weight 6, so half of a weight
    assert pace.seconds(plan[3]) == 6 / 2 and pace.seconds(plan[4]) == 2 / 2
    # what runs no model is no measure of what does, nor the other way round
    assert pace.seconds(plan[5]) == 1
    pace.add(plan[5], 50, "")
    assert pace.seconds(plan[4]) == 1 and pace.seconds(plan[5]) == 50


def test_rows_that_are_slow_to_make_say_nothing_of_the_base_models():
    plan = commands("""a rows | -m w2s.prepare data --out d
                       raw files | -m w2s.miniature world --out w
                       base | -m w2s.miniature pretrain --out m --shape real-2x64
                       a x | train_weak.py --task a --model m/real-2x64""")
    pace = Pace(plan)
    pace.add(plan[0], 50, "")
    pace.add(plan[1], 50, "")
    assert pace.seconds(plan[2]) == 2 and pace.seconds(plan[3]) == 6   # their weights
    pace.add(plan[2], 10, "")                                          # runs a model: 5 times
    assert pace.seconds(plan[3]) == 30


def test_costs_are_asked_anew_when_rows_or_models_may_have_been_made():
    class Costs(durations.Weights):
        asked = 0

        def renew(self):
            self.asked += 1
    plan = commands("""a rows | -m w2s.prepare data --out d
                       a x | train_weak.py --task a --model m""")
    pace = Pace(plan, costs=Costs())
    for command, asked in ((plan[0], 1), (plan[1], 1)):
        pace.add(command, 1, "")
        assert pace.costs.asked == asked


def test_what_is_remembered_is_scaled_to_the_machine_of_now(tmp_path):
    path = tmp_path / "runs" / ".durations.json"
    plan = commands("""a seed0 x | train_weak.py --task a --model m
                       a seed0 y | train_weak.py --task a --model m2
                       a seed0 e | evaluate.py --run r""")
    first = Pace(plan, path, "mini")
    assert not first.known()
    for command, seconds in zip(plan, (10, 30, 7)):
        first.add(command, seconds, "")
    first.keep()
    assert json.loads(path.read_text()) == {"mini a x m m2": 10, "mini a y m m2": 30,
                                            "mini a e m m2": 7}
    later = Pace(plan, path, "mini")
    assert later.known() and [later.seconds(command) for command in plan] == [10, 30, 7]
    other = commands("a seed0 x | train_weak.py --task a --model m3")  # takes another time
    assert not Pace(other, path, "mini").known()
    later.add(plan[0], 20, "")  # a machine half as fast
    assert [later.seconds(command) for command in plan] == [20, 60, 14]
    assert not Pace(plan, path, "paper").known()


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", '{"a": "b"}', '{"a": -1}', '{"a": 1e999}',
                                  '{"a": NaN}', "[" * 100000, '{"a": true}', "x" * (2 << 20)])
def test_a_bad_file_is_no_file(text, tmp_path):
    path = tmp_path / "file"
    path.write_text(text)
    assert durations.read(path) == {} == durations.read(tmp_path) == durations.read(path / "x")
    durations.remember(path, {"b": 2.})
    assert durations.read(path) == {"b": 2}
    durations.remember(path / "below a file", {"b": 2.})


def test_the_file_is_bounded(tmp_path):
    path = tmp_path / "file"
    for k in range(3):
        durations.remember(path, {f"{k} {n}": 1. for n in range(durations.MOST - 1)})
    kept = durations.read(path)
    assert len(kept) == durations.MOST and path.stat().st_size < durations.LARGEST
    assert "2 0" in kept and "0 0" not in kept
    oldest = next(iter(kept))
    durations.remember(path, {oldest: 2., "new": 1.})  # measured anew: no longer the oldest
    assert durations.read(path)[oldest] == 2 and durations.read(path)["new"] == 1


@pytest.mark.parametrize("line, made", [
    ("train_weak.py --out {}/r", ["r/DONE"]), ("train_ntf.py --out {}/r", ["r/DONE"]),
    ("label.py --run {0}/r {0}/s --data d/wts.jsonl.gz", [
        "r/labels/wts.jsonl.meta.json", "s/labels/wts.jsonl.meta.json"]),
    ("evaluate.py --data d/test.jsonl d/val.jsonl --run {}/r", [
        "r/predictions/test.jsonl", "r/predictions/val.jsonl"]),
    ("attacks.py text --task t --run {}/r", ["r/attack-text.json"]),
    ("attacks.py text --task t --run {0}/r --out {0}/o.jsonl", ["o.jsonl"]),
    ("-m w2s.prepare data --task t --out {}/d", ["d/manifest.json"]),
    ("-m w2s.miniature pretrain --shape s --out {}/m", ["m/s/pretraining.json"])])
def test_what_is_done_takes_a_second_or_what_that_took(line, made, tmp_path):
    """Also of an experiment that goes on, and not of training alone."""
    command, = commands(f"a x | {line.format(tmp_path)}")
    full = durations.WEIGHTS.get(durations.script(command.words), 1)
    for path in map(tmp_path.joinpath, made):
        assert Pace([command]).seconds(command) == full
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    pace = Pace([command])
    assert pace.seconds(command) == durations.SKIPPED
    for seconds in (.2, .4):
        pace.add(command, seconds, "x: done already")
    assert pace.seconds(command) == pytest.approx(.3)


def test_a_report_is_never_done():
    command, = commands("report | -m w2s.report --runs r")
    assert Pace([command]).seconds(command) == durations.WEIGHTS["w2s.report"]


def test_time_is_that_of_the_last_one_on_so_many_seats():
    plan = commands("\n".join(["x | a.py"] * 4))
    times = dict(enumerate((5, 3, 2, 4)))

    def spent(jobs, waits=[set()] * 4, running=(), todo=plan, seats=None):
        return wall(todo, running, waits, set(), jobs, lambda command: times[command.number],
                    seats)
    assert spent(1) == 14 and spent(4) == 5 and spent(2) == 9   # 5 4 | 3 2
    assert spent(4, [set(), {0}, {1}, {2}]) == 14               # a chain gains nothing
    assert spent(2, running=[(6, 0)], todo=plan[1:]) == 9       # 3 2 4 beside the 6
    assert spent(2, running=[(6, 0)], todo=[]) == 6
    assert spent(2, seats={1: 2}) == 5 + 3 + 4                  # the second has both, alone
    assert spent(2, seats={1: 9}) == 5 + 3 + 4                  # or more than there are
    assert spent(3, running=[(6, 0)], todo=plan[1:], seats={0: 2}) == 9  # 3 2 4 on one seat


def test_seats_are_those_of_the_cards_that_a_command_needs():
    plan = commands("x | a.py\ny | -m torch.distributed.run --nproc-per-node=2 a.py")
    assert durations.seats(plan, 4, 8) == {1: 4} and durations.seats(plan, 4, 4) == {1: 2}
    assert durations.seats(plan, 0, 4) == {1: 8}  # without cards: all there are


def test_the_time_of_a_large_plan_is_known_at_once():
    """It is asked for after each command."""
    plan = commands("\n".join(["x | a.py"] * 3000))
    began = time.process_time()
    wall(plan, [], [{*range(k - 40, k - 3)} if k > 40 else set() for k in range(3000)], set(), 8,
         lambda command: 1)
    assert time.process_time() - began < 2


def world(seeds):
    """Commands of three tasks as in an experiment, and the seconds of each, in which students take
    longer than the weak model, and measuring less; noise of 10 %."""
    draw, lines, times = random.Random(0), [], []
    base = {"a": 10, "b": 25, "c": 60}

    def add(task, seed, name, script, more, seconds):
        lines.append(f"{task} seed{seed} {name} | {script} --task {task} {more}")
        times.append(seconds * draw.uniform(.9, 1.1))
    for part in ("rows", "ceiling", "weak", "labels", "student", "evaluate"):
        for task, t in base.items():
            for seed in range(seeds):
                D, R = f"d/{task}{seed}", f"r/{task}{seed}"
                if part == "rows":
                    add(task, seed, part, "-m w2s.prepare", f"--out {D}", 2)
                elif part in ("weak", "ceiling"):
                    for kind_ in ("none", "tft"):
                        add(task, seed, f"{part}-{kind_}", "train_weak.py", f"--model {part} "
                            f"--data {D}/x --out {R}/{part}-{kind_}", t * (1 + (part != "weak")))
                elif part == "labels":
                    add(task, seed, part, "label.py", f"--run {R}/weak-none {R}/weak-tft", t / 5)
                elif part == "student":
                    for k in "uvwxyz":
                        add(task, seed, f"student-{k}", "train_student.py", "--model ceiling "
                            f"--labels {R}/weak-none/l --out {R}/s{k}", 2.2 * t)
                else:
                    add(task, seed, part, "evaluate.py", "--run " + " ".join(
                        f"{R}/s{k}" for k in "uvwxyz"), t / 3)
    return commands("\n".join(lines)), times


@pytest.mark.parametrize("remembered, share, most", [(True, .1, .2), (False, .2, .35),
                                                     (False, .35, .2)])
def test_the_time_left_is_that_of_the_whole(remembered, share, most, tmp_path):
    """On two seats, by the clock: within a fifth after a tenth of it with what a machine of twice
    the speed has measured; later without anything."""
    plan, times = world(3)
    path, jobs, waits = tmp_path / "file", 2, before(plan)
    if remembered:
        durations.remember(path, {f"x {command.kind()}": t / 2 for command, t in zip(plan, times)})
    pace = Pace(plan, path, "x")
    done, todo, running, now = set(), list(plan), [], 0
    total = wall(plan, [], waits, set(), jobs, lambda command: times[command.number])
    while todo or running:
        for command in [c for c in todo if waits[c.number] <= done][:jobs - len(running)]:
            todo.remove(command)
            running.append((now + times[command.number], command))
        running.sort()
        now, command = running.pop(0)
        done.add(command.number)
        pace.add(command, times[command.number], "")
        if now > share * total:
            left = wall(todo, [(max(0, pace.seconds(c) - (now - end + times[c.number])), c.number)
                               for end, c in running], waits, done, jobs, pace.seconds)
            assert now + left == pytest.approx(total, rel=most), now
    assert now == pytest.approx(total)


def test_a_dry_run_expects_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "HISTORY", tmp_path / "file")
    monkeypatch.setattr(launch, "fast_bfloat16", lambda: False)
    monkeypatch.setattr(launch.cost, "CORE", launch.cost.Machine(1e99, 0, 4))
    steps = [Step("", f"a seed{seed} {run}", script, "a", run, True, {}, {})
             for seed in (0, 1) for run, script in (("x", "train_weak.py"),
                                                    ("y", "train_student.py"))]
    lines = [[step.script, "--task", "a", "--model", "m", "--data" if "weak" in step.script else
              "--labels", "x.jsonl", "--out", str(tmp_path / step.title)] for step in steps]

    def expected(name, jobs=1):
        return launch.expected(steps, lines, f"runs/{name}", 0, jobs)
    assert expected("mini") == (4 * 4, False)
    durations.remember(tmp_path / "file", {"mini a x m": 8.})
    assert expected("mini", 2) == (16, True)  # y as x, which has the same model
    lines[1] += ["--labels", str(tmp_path / steps[0].title)]  # waits for it
    lines[3] += ["--labels", str(tmp_path / steps[2].title)]
    assert expected("mini", 4) == (16, True)
    (tmp_path / steps[0].title).mkdir()
    (tmp_path / steps[0].title / "DONE").touch()
    assert expected("mini") == (1 + 8 + 8 + 8, True) and not expected("other")[1]
