"""Commands in processes of their own: how long each takes, and how much memory at its peak."""

import json
import os
import subprocess
import sys

from tests.bench import harness, machine

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "PYTHON": sys.executable}
# a small process starts the command: what a process has used at its peak counts from its parent's
# size on, and torch's is large
LAUNCHER = """
import json, os, sys, time
start = time.perf_counter()
process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(process, 0)
print(json.dumps([time.perf_counter() - start, used.ru_maxrss]), file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status) and 1)
"""


def timed(words):
    """(seconds, peak bytes of the largest process, standard output) of a command. Raises
    RuntimeError, with the end of what it said, for one that fails."""
    words = list(map(str, words))
    done = subprocess.run([sys.executable, "-S", "-c", LAUNCHER, *words], cwd=machine.ROOT,
                          text=True, env=os.environ | ENVIRONMENT, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {(done.stdout + done.stderr)[-1000:]}")
    spent, peak = json.loads(done.stderr.splitlines()[-1])
    return spent, peak * (1 if sys.platform == "darwin" else 1024), done.stdout


def python(*words):
    return [sys.executable, *words]


def alternating(commands, rounds, base=None, number=None):
    """Rows of a table: {title: words} run in turn, each a time more for warm-up. number(standard
    output) -> the seconds that count, where they are not those of the whole process."""
    peaks = {title: [] for title in commands}

    def once(title):
        spent, peak, said = timed(commands[title])
        peaks[title].append(peak)
        return number(said) if number else spent
    for title in commands:
        once(title)
        harness.say(f"  {title}")
    times = harness.alternate({title: title for title in commands}, rounds, once)
    rows = []
    for title, spent in times.items():
        low, middle, high = harness.quartiles(spent)
        row = {"variant": title, "s": middle, "IQR": (high - low) / middle, "times": spent,
               "peak MB": max(peaks[title]) / 1e6}
        if base:
            row[f"x {base}"] = harness.ratio(spent, times[base])
        rows.append(row)
    return rows
