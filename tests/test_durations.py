"""How long commands take: remembered, weighed, and the time that is left of the whole.

    python -m pytest -q tests/test_durations.py
"""

import json
import random
import shlex

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
                       a seed1 e | evaluate.py --run r""")
    pace = Pace(plan)
    pace.add(plan[0], 2, "")
    pace.add(plan[0], 4, "")
    pace.add(plan[0], 90, "r: done already")  # says nothing
    assert pace.seconds(plan[1]) == 3 and pace.seconds(plan[2]) == 3
    # else by weight: 6 s for two commands of weight 4, so 6 / 8 of a weight
    assert pace.seconds(plan[3]) == 6 * 6 / 8 and pace.seconds(plan[4]) == 2 * 6 / 8


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
    assert json.loads(path.read_text()) == {"mini a x": 10, "mini a y": 30, "mini a e": 7}
    later = Pace(plan, path, "mini")
    assert later.known() and [later.seconds(command) for command in plan] == [10, 30, 7]
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


def test_a_finished_run_takes_a_second(tmp_path):
    command = Command(0, "", "a x", "", ["train_weak.py", "--out", str(tmp_path)])
    pace = Pace([command])
    assert pace.seconds(command) == durations.WEIGHTS["train_weak.py"]
    (tmp_path / "DONE").touch()
    assert pace.seconds(command) == durations.SKIPPED


def test_time_is_that_of_the_last_one_on_so_many_seats():
    plan = commands("\n".join(["x | a.py"] * 4))
    times = dict(enumerate((5, 3, 2, 4)))

    def spent(jobs, waits=[set()] * 4, running=(), todo=plan):
        return wall(todo, running, waits, set(), jobs, lambda command: times[command.number])
    assert spent(1) == 14 and spent(4) == 5 and spent(2) == 9   # 5 4 | 3 2
    assert spent(4, [set(), {0}, {1}, {2}]) == 14               # a chain gains nothing
    assert spent(2, running=[(6, 0)], todo=plan[1:]) == 9       # 3 2 4 beside the 6
    assert spent(2, running=[(6, 0)], todo=[]) == 6


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
    steps = [Step("", f"a seed{seed} {run}", script, "a", run, True,
                  {"--out": tmp_path / f"{seed}{run}"}, {})
             for seed in (0, 1) for run, script in (("x", "train_weak.py"),
                                                    ("y", "train_student.py"))]
    assert launch.expected(steps, "runs/mini") is None
    durations.remember(tmp_path / "file", {"mini a x": 8.})
    assert launch.expected(steps, "runs/mini", 2) == (8 + 8 + 12 + 12) / 2  # weights 4 and 6
    (tmp_path / "0x").mkdir()
    (tmp_path / "0x" / "DONE").touch()
    assert launch.expected(steps, "runs/mini") == 1 + 8 + 12 + 12
    assert launch.expected(steps, "runs/other") is None
