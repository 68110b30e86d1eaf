"""Section whole: run_all.sh as a user calls it, from the made-up town to the report.

Without --all the default tasks, with it --tasks all. The packages are installed already. peak MB:
the largest resident size that any one of its processes reached.
"""

import tempfile

from tests.bench import processes
from tests.bench.harness import Table


def tables(setting, args):
    more = ["--tasks", "all"] if args.all else []
    with tempfile.TemporaryDirectory() as out:
        command = ["bash", "run_all.sh", *more, "--out", out]
        _, _, said = processes.timed([*command, "--dry-run"])
        spent, peak, _ = processes.timed(command)
    row = {"variant": " ".join(["run_all.sh", *more]), "minutes": spent / 60, "peak MB": peak / 1e6,
           "commands": sum(line[0] != "#" for line in said.splitlines())}
    return [Table("whole", "the experiment in miniature", list(row), [row])]
