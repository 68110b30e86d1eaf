"""A plan's commands are run here, side by side and on the cards that there are, or printed.

No torch, and without --dry-run alone tqdm: a plan can be printed where nothing is installed.
"""

import itertools
import json
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from w2s import cards, cost, durations, hub, memory, progress, recipes
from w2s.commands import HERE, ON_DEVICE, fast_bfloat16
from w2s.config import arg
from w2s.durations import value
from w2s.model import configuration, families

HISTORY = HERE / "runs" / ".durations.json"
SIDE_BY_SIDE = 3     # commands on one card, at most: one of 14m leaves it idle for 95 % of the time
CONTEXT = 2e9        # bytes of a process on a card beside its tensors: CUDA, its libraries
CARD, CARDS = 80e9, 8  # where it is not known: bytes of a card, cards of a node of a cluster
SPREAD = ["-m", "torch.distributed.run", "--standalone"]


@dataclass(kw_only=True)
class Options:
    """What every plan can be asked for."""
    jobs: int = arg(None, "commands side by side (default: by the machine)", low=1, high=10**6)
    gpus: int = arg(None, "GPUs to use, each command on one of its own, on several where its model "
                    "needs them (default: all that are visible)", low=1, high=10**4)
    dry_run: bool = arg(False, "print the commands, run nothing")
    format: str = arg("plain", "of --dry-run: plain; lines that each hold folder, variables, "
                      "device and dtype; slurm: a script that sends job arrays",
                      choices=("plain", "lines", "slurm"))


def carry_out(steps, lines, options, results=None):
    """Run the commands of a plan, or print them (--dry-run).

    steps: [w2s.commands.Step, ...]; lines: [words behind `python`, ...]; options: an Options;
    results: the folder of the results, under whose name durations are remembered. Raises
    ValueError, one line, for options that do not fit each other or this machine, and when a command
    fails, whose output has been shown."""
    if options.format != "plain" and not options.dry_run:
        raise ValueError(f"--format {options.format}: says how commands are printed; add --dry-run")
    if options.dry_run:
        {"plain": plain, "lines": elsewhere, "slurm": slurm}[options.format](
            steps, lines, options, results)
    else:
        run(steps, lines, options, results)


def run(steps, lines, options, results):
    """Run the commands."""
    from w2s import scheduler
    for device in sorted({value(words, "--device") or "" for words in lines}):
        if device.startswith("cuda"):
            cards.require(device)
    names, size, jobs = places(lines, options)
    lines = [spread(step, words, len(names), size) for step, words in zip(steps, lines)]
    for name, text in variables(jobs).items():
        os.environ.setdefault(name, text)
    if progress.moves(sys.stdout):  # the report prints to a pipe, which is shown here
        os.environ["CLICOLOR_FORCE"] = "1"
        os.environ["COLUMNS"] = str(shutil.get_terminal_size().columns)
    commands = numbered(steps, lines)
    scheduler.finish(commands, cards.Seats(names, jobs),
                     pace(commands, results, len(names), jobs))


def numbered(steps, lines):
    """The scheduler's Commands."""
    from w2s.scheduler import Command
    return [Command(n, step.phase, step.title, shlex.join(words), words)
            for n, (step, words) in enumerate(zip(steps, lines))]


def variables(jobs):
    """Variables of every process. On a CPU the jobs share the cores, or each would take all."""
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs)),
            "TOKENIZERS_PARALLELISM": "true"}


# ---- how long ------------------------------------------------------------------------------------

def named(results):
    return Path(results).name if results else "results"


def estimate(steps, lines, options, results):
    """A line of how long a plan takes and of the memory of its largest training. lines: words of
    its commands."""
    count, size, jobs = places(lines, options)
    time = told(steps, lines, results, len(count), jobs)
    needs = [need(words) for words in lines if words[0] in ("train_weak.py", "train_student.py")]
    if None in needs or not needs:
        return f"{len(lines)} commands; {time}"
    fits = f", a GPU here has {size / 1e9:.0f} GB" if size else ""
    return (f"{len(lines)} commands; {time}; memory: a training takes up to "
            f"{max(needs) / 1e9:.1f} GB, computed{fits}")


def told(steps, lines, results, count, jobs):
    """`expected` in words: "about 1.2 hours with 2 at a time, ..."."""
    seconds, measured = expected(steps, lines, results, count, jobs)
    time = (f"{seconds / 3600:.1f} hours" if seconds >= 3600 else
            f"{seconds / 60:.0f} minutes" if seconds >= 90 else "a minute")
    where = f" on {count} GPU{'s' * (count > 1)}" if count else ""
    models = {value(words, "--model"): value(words, "--revision") for words in lines}
    unknown = [str(name) for name, at in models.items()
               if name and not cost.Costs([], shape).config(name, at)]
    if unknown and not measured:
        return f"how long is not known: no config.json of {', '.join(sorted(unknown))} is here yet"
    if measured:
        return f"about {time} with {jobs} at a time{where}, by what was measured here"
    each, unit = machine(count).rate, "GPU" if count else "core"
    return (f"perhaps {time} with {jobs} at a time{where}: computed, not measured, from "
            f"{operations(steps, lines):.1e} operations at {each:.2g} a second on a {unit}")


def operations(steps, lines):
    """Floating-point operations of commands, those of finished runs too."""
    commands = numbered(steps, lines)
    costs = cost.Costs(commands, shape)
    return sum(costs.work(command.words).flops for command in commands)


def expected(steps, lines, results, count, jobs):
    """(seconds that commands will take, `jobs` side by side on `count` GPUs or without one; whether
    this machine has measured some of their kinds)."""
    from w2s.scheduler import before
    commands = numbered(steps, lines)
    known = pace(commands, results, count, jobs)
    return durations.wall(commands, [], before(commands), set(), jobs, known.seconds,
                          durations.seats(commands, count, jobs)), bool(known.past)


def pace(commands, results, count, jobs):
    """durations.Pace of commands, by what this machine remembers and else by their cost: each has a
    share of a GPU or of the cores."""
    shared = max(1, jobs / count) if count else jobs / (os.cpu_count() or 1)
    whole = machine(count)
    return durations.Pace(commands, HISTORY, named(results), cost.Costs(
        commands, shape, whole._replace(rate=whole.rate / shared)))


def machine(count):
    """The cost.Machine of a command: one of `count` GPUs, without them a core of this CPU."""
    return cost.CARD if count else cost.CORE16 if fast_bfloat16() else cost.CORE


# ---- cards ---------------------------------------------------------------------------------------

def by_hand(lines):
    """A --device of the commands that says more than auto or cuda; None."""
    devices = {value(words, "--device") for words in lines} - {None, "auto", "cuda"}
    return min(devices, default=None)


def places(lines, options):
    """(names of the cards, bytes of the smallest or None, how many commands run at a time)."""
    names = cards.chosen(options.gpus, by_hand(lines))
    size = cards.memory() if names else None
    return names, size, side_by_side(lines, len(names), size, options.jobs)


def side_by_side(lines, count, size, asked):
    """How many commands run at a time: `asked`, or as many as fit the cards (`count` of `size`
    bytes); without cards one where there is a GPU, else one a core, up to 4."""
    cores = os.cpu_count() or 1
    if asked:
        return asked
    if not count:
        device = by_hand(lines)
        gpu = device != "cpu" and (cards.apple() or shutil.which("nvidia-smi") and cards.visible())
        return 1 if gpu else min(cores, 4)
    needs = [need(words) for words in lines if words[0] in ("train_weak.py", "train_student.py")]
    if not size or None in needs:
        return count
    fitting = int(memory.SPARE * size // (max(needs, default=0) + CONTEXT))
    return count * max(1, min(fitting, SIDE_BY_SIDE, cores // count))


def need(words):
    """Bytes that the training of a command takes on one card; None for an unknown model."""
    c = shape(value(words, "--model"), value(words, "--revision"))
    return c and memory.training(c, *batch(words))


def batch(words):
    """(rows, tokens, dtype) of a training's batch."""
    usual = {name: field.default for name, field in recipes.fields(words[0]).items()}
    return (int(value(words, "--batch-size") or usual["batch_size"]),
            int(value(words, "--max-length") or usual["max_length"]),
            value(words, "--dtype") or usual["dtype"])


def spread(step, words, count, size):
    """The words of a command, behind torchrun where its model is trained on several of `count`
    cards of `size` bytes; private, LoRA and GRPO runs, and those that want a whole model, never."""
    if not step.trained or count < 2 or not size or whole(step, words):
        return words
    c = shape(value(words, "--model"), value(words, "--revision"))
    processes = memory.gpus(c, *batch(words), size, count) if c else 1
    return words if processes == 1 else [*SPREAD, f"--nproc-per-node={processes}", *words]


def whole(step, words):
    """Whether a training has to have all of its model in one process."""
    return (step.task == "privacy" and value(words, "--lam") not in ("0", "0.0")
            or value(words, "--lora-rank") not in (None, "0")
            or value(words, "--objective") == "grpo" or value(words, "--shard") == "off"
            or value(words, "--compile") == "on")


def shape(name, revision=None):
    """config.json of a model: of a folder, of a published Pythia, or in the hub's cache; None where
    it cannot be known without a network, or is refused later."""
    # as huggingface_hub has it, which need not be installed here
    home = os.environ.get("HF_HUB_CACHE") or os.path.join(
        os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface"), "hub")
    try:
        folder = Path(str(name))
        if not folder.is_dir():
            name, at = hub.named(name, revision)
            if (short := name.split("/")[-1]) in configuration.SHAPES:
                return configuration.SHAPES[short]
            folder = hub.cached(Path(home), name, at or "main", "model")
        c = families.known(json.loads((folder / "config.json").read_text(encoding="utf-8")), name)
        memory.parameters(c)
        return c
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None


# ---- printing ------------------------------------------------------------------------------------

def python():
    return os.environ.get("W2S_PYTHON", sys.executable)


def by_phase(steps, lines):
    """(phase, [(step, words), ...]) of each phase, in order."""
    for phase, group in itertools.groupby(zip(steps, lines), key=lambda pair: pair[0].phase):
        yield phase, list(group)


def plain(steps, lines, options, results):
    """Print the commands as this machine runs them from here, phases as `# phase`."""
    for phase, group in by_phase(steps, lines):
        print(f"# {phase}")
        for _, words in group:
            print(shlex.join([python(), *words]))
    print(estimate(steps, lines, options, results), file=sys.stderr)


def elsewhere(steps, lines, options, results):
    """Print commands that say all: folder, variables, --device and --dtype. Without --device it is
    the one that this machine has."""
    gpu = "cuda" if cards.visible() else "cpu"
    shared = [f"{name}={text}" for name, text in variables(options.jobs or 1).items()]
    count, size = options.gpus or len(cards.visible()) or 1, cards.memory() or CARD
    for phase, group in by_phase(steps, lines):
        print(f"# {phase}")
        for step, words in group:
            words = ["env", *shared, python(), *spread(step, explicit(step, words, gpu), count,
                                                       size)]
            print(f"cd {shlex.quote(str(HERE))} && {shlex.join(words)}")


def slurm(steps, lines, options, results):
    """Print a script that sends job arrays. The cards are those of the cluster: --gpus says how
    many a command may take (8 without it)."""
    from w2s import slurm as arrays
    size = cards.memory() or CARD
    lines = [spread(step, explicit(step, words, "cuda"), options.gpus or CARDS, size)
             for step, words in zip(steps, lines)]
    commands = numbered(steps, lines)
    counts = [command.cards() if value(command.words, "--device") == "cuda" else 0
              for command in commands]
    logs = Path(results or HERE / "runs") / "slurm"
    print(arrays.script(commands, counts, python(), HERE, logs), end="")
    count = options.gpus or CARDS if any(counts) else 0
    time = told(steps, lines, results, count, options.jobs or count or 1)
    print(f"{len(lines)} commands; {time}", file=sys.stderr)


def explicit(step, words, device):
    """The words with a --device and, where the script has it, a --dtype, if they run a model."""
    if not (step.trained or step.run in ON_DEVICE):
        return words
    taken = recipes.fields(step.script)
    for name, text in (("device", device), ("dtype", None)):
        if name in taken and value(words, f"--{name}") is None:
            words = [*words, f"--{name}", text or taken[name].default]
    return words
