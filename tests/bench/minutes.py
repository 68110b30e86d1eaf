"""Where the minutes of an experiment go, and how much of a training nothing can save.

    bash run_all.sh | tee run.log; python -m tests.bench.minutes run.log
    python -m tests.bench.minutes products train_weak.py --task ood --model ... --out runs/profiled

The first adds up what the commands of a log took, each on a core of its own, by task and by what
they do. The second runs one command twice on one thread, with an --out of its own: as it is, torch
being imported already, and with each operator noted that no code of ours replaces. These are run
again alone (tests/bench/needed.py); printed is their share of the first run's time.
"""

import re
import runpy
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TASKS = Path(__file__).parents[2] / "w2s" / "tasks"
LINE = re.compile(r" +\d+/\d+  (\S.*?) +((?:\d+:)?\d+:\d\d)  about \S+ left$")
KINDS = (("reports", r"^report"),
         ("attacks", r"attacked|extraction|membership|^words|^remarks|surrogate"),
         ("rows", r" rows |^raw files|perturbed"),
         ("measures", r" (models|lambdas)$"),
         ("labels, trust functions", r"labels|trust-"),
         ("ceilings, on ground truth", r" (ceiling|student-truth)"),
         ("students", r" student"),
         ("weak models", r" (weak|base)"))


def kind(title):
    return next((name for name, pattern in KINDS if re.search(pattern, title)), "other")


def minutes(lines):
    """{(task, kind): seconds} of the lines of a log."""
    spent = Counter()
    for found in filter(None, map(LINE.match, lines)):
        what, task = kind(found[1]), found[1].split(" ")[0]
        if not (TASKS / f"{task}.py").exists():
            task = "shared"
        seconds = 0
        for part in found[2].split(":"):
            seconds = 60 * seconds + int(part)
        spent[task, what] += seconds
    return spent


def read(path):
    """minutes() of a log. One line, and exit status 1, where it is no log of run_all.sh."""
    try:
        spent = minutes(Path(path).read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        sys.exit(f"error: {path}: not UTF-8 text; give what run_all.sh printed")
    except OSError as error:
        sys.exit(f"error: {path}: {error.strerror}")
    if not sum(spent.values()):
        sys.exit(f"error: {path}: no command of run_all.sh took a second there; give what it "
                 "printed into a file, not to a terminal")
    return spent


def show(spent):
    """The table in markdown: a line for each kind, a column for each task, minutes of a core."""
    tasks, total = sorted({task for task, _ in spent}), sum(spent.values())
    print("| minutes of a core | " + " | ".join(tasks) + " | together | share |")
    print("|---|" + "--:|" * (len(tasks) + 2))
    for what in sorted({what for _, what in spent},
                       key=lambda what: -sum(spent[task, what] for task in tasks)):
        cells = [spent[task, what] for task in tasks]
        print(f"| {what} | " + " | ".join(f"{cell / 60:.1f}" if cell else "" for cell in cells)
              + f" | {sum(cells) / 60:.1f} | {sum(cells) / total:.0%} |")
    print(f"\n{total / 60:.1f} minutes of a core, {len(spent)} sums of whole seconds")


def products(words):
    """Run a command twice; ({kind: seconds of its operators alone}, seconds of the command)."""
    from tests.bench import needed  # torch, which a log does not need
    import torch
    torch.set_num_threads(1)
    spent = ran(words)
    with needed.Noted() as noted:
        ran(words)
    return needed.alone(noted.calls, 5), spent


def ran(words):
    """Seconds of one run of a script, whose --out is a folder that is then deleted."""
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = list(words)
        if "--out" in words:
            sys.argv[words.index("--out") + 1] = f"{folder}/run"
        began = time.monotonic()
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as ended:
            if ended.code:
                raise
        return time.monotonic() - began


def main():
    if sys.argv[1:2] in (["-h"], ["--help"]):
        return print(__doc__)
    if len(sys.argv) < 2:
        sys.exit("error: give a log, or products and a command; see --help")
    if sys.argv[1] == "products":
        if not Path(*sys.argv[2:3]).is_file():
            sys.exit(f"error: products {' '.join(sys.argv[2:3])}: no such script; give one with "
                     "its flags, as in products train_weak.py --task ...")
        alone, spent = products(sys.argv[2:])
        for kind, seconds in alone.items():
            print(f"{seconds / spent:6.1%}  {kind}")
        print(f"products: {alone['products'] / spent:.0%}, with the others: "
              f"{sum(alone.values()) / spent:.0%} of {spent:.1f} s")
    else:
        show(read(sys.argv[1]))


if __name__ == "__main__":
    main()
