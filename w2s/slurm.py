"""An experiment as job arrays of Slurm: one bash script that hands everything to sbatch.

An array holds commands that may run side by side: they wait for as many others one behind the other
(their level) and take the same cards. It waits for the arrays with what its commands wait for
(scheduler.before): afterok for all of an array, aftercorr where each command waits for the one of
the same place alone. What fails takes with it what waits for it. Sent again, finished runs skip
themselves, and the others go on.
"""

import shlex
from typing import NamedTuple

from w2s.scheduler import before

MOST = 1000  # commands of an array: Slurm's usual MaxArraySize is 1001


class Array(NamedTuple):
    """Commands that are sent together; cards: of each."""
    number: int
    level: int
    cards: int
    commands: list


def levels(waits):
    """[level, ...]: 0 of a command that waits for none, else one more than the highest of those."""
    heights = []
    for wait in waits:
        heights.append(1 + max((heights[number] for number in wait), default=-1))
    return heights


def arrays(commands, cards):
    """[Array, ...] of Commands, an array behind all that it waits for; cards: of each command."""
    groups = {}
    for command, level, count in zip(commands, levels(before(commands)), cards):
        groups.setdefault((level, count), []).append(command)
    parts = [(key, group[k:k + MOST]) for key, group in sorted(groups.items())
             for k in range(0, len(group), MOST)]
    return [Array(number, *key, part) for number, (key, part) in enumerate(parts)]


def dependencies(every, waits):
    """[{number of an earlier array: "afterok" or "aftercorr"}, ...]: what each array waits for, but
    what is done anyway when all of another one that it waits for is."""
    all_kinds, behind = [], []  # behind: the arrays that are done when all of an array is
    for array in every:
        kinds, implied = {}, set()
        for other in reversed(every[:array.number]):
            place = {command.number: k for k, command in enumerate(other.commands)}
            needed = [{place[n] for n in waits[command.number] & place.keys()}
                      for command in array.commands]
            if not any(needed) or other.number in implied:
                continue
            same = len(place) == len(needed) > 1 and all(
                places == {k} for k, places in enumerate(needed))
            kinds[other.number] = "aftercorr" if same else "afterok"
            implied |= set() if same else behind[other.number]
        behind.append({*kinds}.union(*(behind[number] for number in kinds)))
        all_kinds.append(dict(sorted(kinds.items())))
    return all_kinds


def script(commands, cards, python, folder, logs):
    """The text of the bash script. cards: how many each command takes, 0: none; python: the
    interpreter; folder: where commands run; logs: the folder of what they print."""
    every, waits = arrays(commands, cards), before(commands)
    text = HEAD.format(commands=len(commands), arrays=len(every), folder=shlex.quote(str(folder)),
                       logs=shlex.quote(str(logs)))
    for array, kinds in zip(every, dependencies(every, waits)):
        text += sent(array, kinds, python, folder)
    return text + f'echo "sent {len(every)} arrays, {len(commands)} commands; see squeue --me"\n'


def sent(array, kinds, python, folder):
    """The lines that send an array."""
    names = {kind: "".join(f":$A{number}" for number, its in kinds.items() if its == kind)
             for kind in ("afterok", "aftercorr")}
    waits = ",".join(kind + ids for kind, ids in names.items() if ids)
    options = [f"--array=0-{len(array.commands) - 1}",
               *([f"--gres=gpu:{array.cards}"] if array.cards else []),
               *([f'--dependency="{waits}"', "--kill-on-invalid-dep=yes"] if waits else [])]
    phases = ", ".join(dict.fromkeys(command.phase for command in array.commands))
    cases = "".join(f"{k}) exec {shlex.join([python, *command.words])} ;;\n"
                    for k, command in enumerate(array.commands))
    return (f"# {phases}\nA{array.number}=$(send w2s-{array.number} {' '.join(options)} <<'{END}'\n"
            f"#!/usr/bin/env bash\ncd {shlex.quote(str(folder))} || exit 1\n{EXPORTS}"
            f"case $SLURM_ARRAY_TASK_ID in\n{cases}esac\n{END}\n)\n\n")


END = "END_OF_ARRAY"
EXPORTS = """export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1} TOKENIZERS_PARALLELISM=true
"""
HEAD = """#!/usr/bin/env bash
# {commands} commands in {arrays} job arrays: bash this file where sbatch is. sbatch's own variables
# (SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT, ...) say the rest. Sent again, finished runs
# skip themselves.
set -euo pipefail
cd {folder}
LOGS={logs}
mkdir -p "$LOGS"
send() {{  # the name of an array, options; its number is printed
  local name=$1 answer
  shift
  answer=$(sbatch --parsable --job-name="$name" --output="$LOGS/%x-%a.log" "$@")
  echo "${{answer%%;*}}"
}}

"""
