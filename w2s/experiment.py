"""The whole experiment, from raw data to the table of the paper.

    bash run_all.sh [miniature|real|paper|smoke|sweep|test] [options]

    miniature   the paper in minutes on a laptop: data made up, small pretrained models; the default
    paper       the real experiment: Pythia weights and public data from the hub, or from disk with
                --weak, --strong and --raw; --protocol printed runs it as the paper prints it
    real        public data and real text from disk (--raw), on which small models are pretrained
                first: for where no Pythia can be had; hours, less with --quick
    smoke       everything once at its smallest, on invented rows and untrained models
    sweep       the sensitivity figures: run_all.sh sweep --help
    test        the test suite

What a run trains with stands in recipes/<preset>.txt; --recipe adds lines of your own
(w2s/recipes.py explains them). Finished stages are skipped, an interrupted one goes on, a changed
one is refused: run the same command again.
"""

import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from w2s import cards, config, launch, preflight, recipes
from w2s.commands import placed
from w2s.config import arg
from w2s.phases import TASKS, TRUST, USUAL, Experiment
from w2s.trust_phases import MOST

PRESETS, PROTOCOLS = ("miniature", "real", "paper", "smoke"), ("ours", "printed")


@dataclass(kw_only=True)
class Common(launch.Options):
    """What a sweep (w2s.sweep) has too."""
    ONCE = True  # --tasks fairness --tasks ood would mean ood

    seeds: int = arg(None, "seeds of each (default: 3; smoke and --quick 1)", low=1, high=10**6)
    weak: str = arg(None, "weak model: folder or hub name (paper: EleutherAI/pythia-14m)")
    strong: str = arg(None, "strong model (paper: EleutherAI/pythia-410m); M,M2,...: of the "
                      "chain's students too, each larger than the one before")
    surrogate: str = arg(None, "miniature: model that texts are perturbed against (default: "
                         "w2s/models/mini-surrogate); never a teacher or a student")
    raw: str = arg(None, "folder of public data files")
    text: list[str] = arg([], "real: files of text to pretrain on, plain or .gz: .jsonl with "
                          "`text`, else a document a line (default: what lies in RAW/corpus)")
    quick: bool = arg(False, "real: fewer tokens, fewer rows of the large tasks, one seed, and "
                            "no larger model for the chain")
    data: str = arg(None, "folder of rows that you prepared: DIR/<task>/weak.jsonl, wts.jsonl, "
                    "test.jsonl and, if you have them, val.jsonl and trust.jsonl; nothing is split")
    out: str = arg(None, "results there instead of runs/<preset>")
    limit: int = arg(None, "at most N rows in every split, test too", low=1, high=10**7)
    recipe: str = arg(None, "file of settings: task, run, flag, value (w2s/recipes.py)")
    protocol: str = arg("ours", "ours, with its controls, or everything as the paper prints it",
                        choices=PROTOCOLS)
    split_seed: int = arg(None, "one split for all seeds, drawn from N; without it every seed has "
                          "a split of its own (smoke: 0)", low=0, high=10**9)
    resplit: bool = arg(False, "every seed its own split, for smoke too")
    town: int = arg(None, "miniature: another made-up town (0), with rows of its own", low=0,
                    high=10**9)
    ceiling_data: str = arg("weak", "rows whose ground truth the ceiling gets: D_W, or D_WTS",
                            choices=("weak", "wts"))
    select: str = arg(None, "rows on which a ceiling's lambda is chosen (default: val; the paper "
                      "used test)", choices=("val", "test"))
    attack_limit: int = arg(None, "rows that attacks on each model take (privacy: of each split)",
                            low=1, high=10**7)
    synonyms: str = arg(None, "JSON file of words to swap in such attacks")
    epochs: float = arg(None, "of every training run, as the following too", low=0, high=1e6)
    batch_size: int = arg(None, "rows in an optimizer step", low=1)
    lr: float = arg(None, "peak learning rate", above=0)
    max_length: int = arg(None, "tokens of a text that are read", low=1, high=10**6)
    device: str = arg(None, "auto, cpu, cuda, cuda:N or mps, everywhere")
    dtype: str = arg(None, "float32 or bfloat16, of training (default: bfloat16 where the "
                     "processor has it)")
    compile: str = arg(None, "torch.compile the step", choices=("auto", "on", "off"))


@dataclass(kw_only=True)
class Config(Common):
    tasks: str = arg(USUAL, "properties and tasks, or all: every task, every way to choose labels")
    skip_missing: bool = arg(False, "leave out tasks whose files are missing, go on with the rest")
    generations: int = arg(3, "of the chain of trust functions", low=1, high=MOST)
    budgets: str = arg(None, "N,N2,...: trust functions of so many labelled rows too, and students "
                       "on these rows themselves (miniature: 300)")


def main(options, preset="miniature"):
    """Check the plan of a preset, then print its commands (--dry-run) or run them."""
    command = f"bash run_all.sh {shlex.join(sys.argv[1:])}".strip()
    plan = Experiment(options, preset, command)
    check(plan)
    try:
        if not options.dry_run:
            without = ready(plan, plan.given(), options.skip_missing)
            plan = Experiment(options, preset, command, without=without) if without else plan
    finally:  # also where something is missing: is it worth getting?
        lines = [plan.line(step) for step in plan.steps]
        if preset in ("paper", "real") and not options.dry_run:
            print(launch.estimate(plan.steps, lines, options, plan.out), flush=True)
    launch.carry_out(plan.steps, lines, options, plan.out)


def ready(plan, models, skip=None):
    """Look for rows and models, and print what is there and what is not. Returns the tasks to leave
    out. Raises the ValueErrors of w2s.preflight."""
    without, wrong = [], []
    preflight.settings(plan)
    try:
        without = preflight.require(plan, skip)
    except ValueError as error:
        wrong.append(str(error))
    try:
        if plan.preset != "smoke":  # which makes its models itself
            preflight.models(models, show=plan.preset in ("paper", "real"))
    except ValueError as error:
        wrong.append(str(error))
    if wrong:  # said together: what is missing is fetched in one go
        raise ValueError("; ".join(wrong))
    return without


# ---- what would fail later -----------------------------------------------------------------------

def check(plan):
    """Refuse, before anything is made, what would fail later. Raises ValueError, one line."""
    options = plan.options
    for name, kind in (("raw", "folder"), ("data", "folder"), ("synonyms", "file")):
        path = getattr(options, name)
        if path and not (Path(placed(path)).is_dir() if kind == "folder" else
                         Path(placed(path)).is_file()):
            raise ValueError(f"{path}: no such {kind} (--{name})")
    above = [folder for folder in (plan.out, *Path(plan.out).parents) if Path(folder).exists()]
    if above and not Path(above[0]).is_dir():
        raise ValueError(f"--out {options.out or plan.out}: {above[0]} is no folder; choose "
                         "another --out")
    cards.check(options.device, options.dtype, any(
        step.trained and step.task == "privacy" and step.fixed.get("--lam") != 0
        for step in plan.steps))
    check_models(plan)
    check_text(plan)
    if options.town is not None and plan.preset != "miniature":
        raise ValueError("--town: only the miniature has towns; leave it out")
    # a recipe may name what this experiment leaves out, but nothing that no experiment has
    every = Experiment(Config(tasks="all", seeds=1), "miniature", everything=True)
    recipes.check(plan.lines, every.steps, TASKS)
    if selects(plan) == "val":
        for cell in plan.each(lambda task: task not in TRUST):
            known = not options.data or cell.D.is_dir()  # else it is said that the rows are missing
            if known and not plan.has_validation(cell):
                raise ValueError(f"--select val: {cell.task} has no validation rows; give it some "
                                 "(recipe: data --val), or --select test")
    if options.recipe or options.protocol != "ours":
        check_training(plan)


def selects(plan):
    """The rows on which the report chooses lambda, "val" or "test"."""
    report = plan.line(plan.steps[-1])
    return report[report.index("--select") + 1] if "--select" in report else "val"


def check_models(plan):
    """ValueError for a model that does not exist, for one that the preset does not use, and for a
    surrogate that is a teacher or a student: it would be evaluated on attacks against itself."""
    options = plan.options
    for name in (*plan.given(), *([plan.surrogate] if plan.preset == "miniature" else ())):
        require_model(name)
    if options.surrogate and plan.preset != "miniature":
        raise ValueError("--surrogate: only the miniature makes its perturbed texts; leave it "
                         "out")
    if plan.preset == "smoke" and (options.weak or options.strong):
        raise ValueError("--weak and --strong: smoke makes its models itself; leave them out")
    if plan.preset == "miniature":
        same = [name for name in (plan.weak, *plan.strong)
                if os.path.realpath(name) == os.path.realpath(plan.surrogate)]
        if same:
            raise ValueError(f"--surrogate {plan.surrogate}: is also the teacher or a student; "
                             "give a model that no run is made of")


def check_text(plan):
    """ValueError for options of the preset real in another one, for a real experiment without data,
    and for one whose base models have no text to read."""
    options = plan.options
    if plan.preset != "real":
        for name in ("text", "quick"):
            if getattr(options, name):
                raise ValueError(f"--{name}: only the preset real has it; leave it out")
        return
    if not options.raw and not options.data:
        raise ValueError("real: the data is not ours to ship; give its folder as --raw "
                         "(docs/data.md says what it holds)")
    for path in options.text:
        if not Path(placed(path)).is_file():
            what = "a folder; give its files" if Path(placed(path)).is_dir() else "no such file"
            raise ValueError(f"{path}: {what} (--text)")
    if any(map(plan.makes, plan.bases())) and not plan.text:
        where = f"{Path(options.raw) / 'corpus'}: no .jsonl or .txt file to pretrain on; " \
            if options.raw else ""
        raise ValueError(f"{where}give text as --text FILE, or models as --weak and --strong")


def require_model(name):
    """ValueError for a model that is neither a folder nor a name of the hub."""
    if not os.path.isdir(name) and not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name):
        raise ValueError(f"{name}: no such folder, and not the org/name of a model on the hub")


def check_training(plan):
    """Parse every training command with its script's own parser, and let the task check it. The
    ValueError names the recipe's line where one sets the flag."""
    from w2s import refusals, tasks
    seen = set()  # the commands of other seeds differ in nothing that is checked
    for step in plan.steps:
        words = plan.line(step)[1:]
        if not step.trained or (step.task, step.run) in seen:
            continue
        seen.add((step.task, step.run))
        settings = config.parse(recipes.configuration(step.script), "", words)
        try:
            refusals.check(settings, tasks.load(step.task))
        except ValueError as error:
            flag = recipes.GRID if "-lam-" in step.run else str(error).split()[0].rstrip(":")
            where = [line.where for line in plan.lines if line.flag == flag
                     and line.fits(step.task, step.run, True)]
            raise ValueError(f"{where[0]}: {step.run}: {error}" if where else
                             f"{step.task} {step.run}: {error}") from None


if __name__ == "__main__":
    config.utf8()
    name = sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "miniature"
    if name not in PRESETS:
        config.fail(f"unknown preset {name}: choose {', '.join(PRESETS)}, sweep or test",
                    2)
    argv, sys.argv[0] = sys.argv[1 + (name in sys.argv[1:2]):], "run_all.sh"
    config.launch(lambda options: main(options, name), Config, __doc__, argv)
