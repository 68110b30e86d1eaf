"""Commands in one process after the other: the same bits as alone, and no trouble survives.

    python -m pytest -q tests/test_scheduler.py
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from w2s import locks, runs
from w2s.cards import Seats
from w2s.durations import Pace
from w2s.scheduler import Command, Queue, before

ROOT = Path(__file__).parent.parent
POOL = [sys.executable, "-m", "w2s.scheduler"]


@pytest.fixture
def script(tmp_path):
    """script(name, code, *argv) -> the line of a queue that runs it, and writes the file."""
    def script(name, code, *argv):
        (tmp_path / f"{name}.py").write_text(code)
        return shlex.join(["python", str(tmp_path / f"{name}.py"), *map(str, argv)])
    return script


def pool(lines, *argv, **more):
    return subprocess.run([*POOL, *map(str, argv)], input="\n".join(lines), text=True,
                          capture_output=True, cwd=ROOT, timeout=60, **more)


def start(lines, tmp_path, *argv):
    """A pool in the background, as the terminal's foreground group."""
    (tmp_path / "queue").write_text("\n".join(lines))
    return subprocess.Popen([*POOL, "--file", tmp_path / "queue", *map(str, argv)], cwd=ROOT,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            start_new_session=True,  # a shell's background job ignores Ctrl-C
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def wait_for(condition, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid):
    """Whether the process runs: not gone, not a zombie."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return found.stdout.strip()[:1] not in ("", "Z")


def test_a_run_in_a_pool_has_the_bits_of_the_run_alone(world, fair, tmp_path):
    def train(out, model="tiny-2x32", *more):
        return ["train_weak.py", "--task", "fairness", "--model", str(world / model), "--data",
                str(fair / "weak.jsonl"), "--lr", "1e-2", "--epochs", "2", "--dtype", "bfloat16",
                "--out", str(tmp_path / out), *more]

    subprocess.run([sys.executable, *train("alone")], cwd=ROOT, check=True, capture_output=True)
    other = train("wide", "tiny-3x64", "--lam", "0")
    done = pool([shlex.join(["python", *words]) for words in (other, train("pooled"))])
    assert done.returncode == 0, done.stderr
    for file in ("model/model.safetensors", "config.json", "log.jsonl"):
        texts = [(tmp_path / out / file).read_bytes() for out in ("alone", "pooled")]
        if file != "model/model.safetensors":
            texts = [re.sub(rb'"out": .*|"seconds".*|"commit".*', b"", text) for text in texts]
        assert texts[0] == texts[1], file


def test_every_command_starts_fresh_and_prints_for_itself_alone(script, tmp_path):
    spoil = script("spoil", """
import os, signal, subprocess, sys
print("spoilt " * 99)
os.environ["W2S_SPOILT"] = "1"; os.chdir("/"); sys.path.insert(0, "/spoilt")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.run(["echo", "child"])
os.close(1)
sys.exit(None)
""")
    look = script("look", """
import os, signal, sys
print(sys.argv[1:], os.environ.get("W2S_SPOILT"), os.getcwd(), "/spoilt" in sys.path,
      signal.getsignal(signal.SIGTERM) == signal.SIG_IGN, __name__)
""", "a b", "it's")
    expected = subprocess.run([sys.executable, *shlex.split(look)[1:]], cwd=ROOT, text=True,
                              capture_output=True).stdout
    done = pool(["# only", spoil, f"{look}  # looks"], "--show-last")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[1/1] only") and "  2/2  looks  " in done.stdout
    assert expected == f"""['a b', "it's"] None {ROOT} False False __main__\n"""
    assert done.stdout[:-3].endswith(f"left\n{expected}total 0:")


def test_a_command_waits_for_what_it_touches_and_a_failure_stops_what_follows(script, tmp_path):
    log, made = tmp_path / "log", tmp_path / "made"
    note = "import sys, time; time.sleep({}); open(sys.argv[1], 'a').write(sys.argv[2] + '\\n')"
    slow, fast = (script(name, note.format(s)) for name, s in (("slow", 0.5), ("fast", 0)))
    bad = script("bad", "print(*range(20), sep='\\n'); raise SystemExit('error: it is broken')")
    done = pool(["# one", f"{slow} {log} 1 --out {made}", f"{fast} {log} 2", "# two",
                 f"{fast} {log} 3 --data {made}/rows", f"{fast} {log} 4", "# three",
                 f"{bad} --runs {tmp_path}  # bad", f"{fast} {log} 5 --run {made}"], "--jobs", 2)
    assert log.read_text() == "2\n4\n1\n3\n"
    assert done.returncode == 1
    assert [line[:9] for line in done.stdout.splitlines() if line[0] == "["] == [
        "[1/3] one", "[2/3] two", "[3/3] thr"]
    shown = [*map(str, range(9, 20)), "error: it is broken", f"failed: {bad} --runs {tmp_path}",
             "error: stopped, see above; what is finished is kept and will be skipped"]
    assert done.stderr.splitlines() == shown


def test_what_a_command_waits_for():
    lines = ["a.py --out d", "b.py --task d --out r/s0/w", "b.py --data d/x --out r/s0/c",
             "c.py --run r/s0/w r/s0/c --data d/y", "c.py --run r/s0/c --data d/y",
             "b.py --labels r/s0/w/l --out r/s0/s", "-m d --runs r --data d", "b.py --out r/s0/cc",
             "e.py r --run r/s0/s --out x", "e.py r --run=r/s0/s --out=y"]
    commands = [Command(n, "", "", "", shlex.split(line)) for n, line in enumerate(lines)]
    assert before(commands) == [set(), {0}, {0}, {0, 1, 2}, {0, 2, 3}, {1, 3},
                                {0, 1, 2, 3, 4, 5}, {6}, {5}, {5}]


def test_a_writer_waits_for_those_that_read():
    words = ["a.py --data d/x", "b.py --out d", "c.py --data e --out f", "a.py --data d"]
    commands = [Command(n, "", "", "", shlex.split(line)) for n, line in enumerate(words)]
    assert before(commands) == [set(), {0}, set(), {1}]


def test_the_time_left_counts_what_running_commands_have_had():
    commands = [Command(n, "", "a x", "", ["a.py"]) for n in range(2)]
    busy = SimpleNamespace(command=commands[0], seconds=lambda: 4)
    queue = Queue(commands, [busy], Seats((), 1), Pace(commands))
    queue.todo.remove(commands[0])
    queue.pace.add(commands[0], 10, "")
    assert queue.left() == 6 + 10


def test_a_killed_worker_is_reported_with_its_command(script):
    shoot = script("shoot", "import os; print('oh', flush=True); os.kill(os.getpid(), 9)")
    done = pool([shoot, script("fine", "")])
    assert done.returncode == 1 and "oh\n" in done.stderr and f"failed: {shoot}" in done.stderr
    assert "ended with code -9, perhaps for want of memory" in done.stderr


@pytest.mark.parametrize("how, code", [(signal.SIGINT, 130), (signal.SIGTERM, 130),
                                       (signal.SIGKILL, -9)])
def test_no_worker_survives_its_pool(script, tmp_path, how, code):
    busy = script("busy", """
import os, sys, time
open(f"{sys.argv[1]}/{os.getpid()}.pid", "w").close()
try:
    time.sleep(60)
finally:
    open(f"{sys.argv[1]}/{os.getpid()}.tidy", "w").close()
""", tmp_path)
    process = start([busy, busy, busy], tmp_path, "--jobs", 2)
    wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    if how == signal.SIGINT:  # Ctrl-C: the terminal sends it to all
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == code
    assert how == signal.SIGKILL or errors.startswith("error: interrupted") and (
        errors.count("\n") == 1)
    wait_for(lambda: not any(alive(p.stem) for p in tmp_path.glob("*.pid")))
    assert len(list(tmp_path.glob("*.tidy"))) == len(list(tmp_path.glob("*.pid"))) == 2


def test_folders_are_released_when_their_command_ends(script, tmp_path):
    hold = script("hold", "import sys; from w2s import locks; print(locks.hold(sys.argv[1]))",
                  tmp_path)
    sleep = script("sleep", "import time; time.sleep(2)")
    began = time.monotonic()
    done = pool([hold, "# two", sleep, f"{hold}", "# three", hold], "--jobs", 2, "--show-last")
    assert done.returncode == 0 and "waiting" not in done.stdout, done.stderr
    assert time.monotonic() - began < 5
    locks.hold(tmp_path)
    assert locks._held
    locks.release()
    assert not locks._held


@pytest.mark.parametrize("line", ["echo hello", "python -m", "python", "", "# a phase only"])
def test_a_queue_that_cannot_be_run_is_one_line(line):
    done = pool([line])
    assert done.returncode == 1 and done.stderr.startswith("error: -:" if line.strip("# ")[:1]
                                                           in ("e", "p") else "error: -: no com")
