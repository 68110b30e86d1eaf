"""A dataclass of arguments at the head of a script becomes its parser; an error becomes one line.

    @dataclass(kw_only=True)
    class Config:
        data: str = arg(REQUIRED, "rows to train on")
        lam: float = arg(1.0, "strength of the regulariser", low=0)

    if __name__ == "__main__":
        launch(main, Config, __doc__)
"""

import argparse
import copy
import dataclasses
import functools
import math
import os
import re
import signal
import sys
import time
import typing

from w2s import cards
from w2s.console import streams, utf8

REQUIRED = dataclasses.MISSING
LOST = "gloo|NCCL|Connection (closed|reset)"  # torch.distributed's words for a process that ended
MOST = 10 ** 10  # largest integer where a field has no `high`: torch takes no seed of 10^30
PATIENCE = 10  # seconds that a follower leaves the first process of torchrun to report an error


def arg(default, help, *, choices=None, low=None, above=None, high=None, free=False, later=False):
    """A field of a Config. Numbers must satisfy low <= x, above < x, x <= high, an integer x <=
    MOST too; a list field takes one or more values, and may be given several times. free=True: the
    value changes nothing in the result; later=True: a flag that came later, whose None is what
    runs without it did (see w2s.runs)."""
    meta = dict(help=help, choices=choices, low=low, above=above, high=high, free=free,
                later=later)
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=meta)
    return dataclasses.field(default=default, metadata=meta)


@dataclasses.dataclass(kw_only=True)
class Reading:
    """What the scripts have in common that run finished models on texts."""

    max_length: int = arg(None, "tokens of a text that are read (default: as the run was trained)",
                          low=1)
    device: str = arg("auto", "auto, cpu, cuda, cuda:N or mps")
    dtype: str = arg("float32", "arithmetic: float32 or bfloat16")


@dataclasses.dataclass(kw_only=True)
class Training:
    """What both training scripts have in common. None: the task's or the size's default."""

    revision: str = arg(None, "of a --model from the hub: branch, tag or commit, such as Pythia's "
                        "step3000; --model NAME@step3000 says the same")
    seed: int = arg(0, "varies the order of the data, the noise and every other draw", low=0)
    epochs: float = arg(None, "passes over the data (default: the task's); 0: the untuned model, "
                        "saved as a run", low=0, high=1e6)
    batch_size: int = arg(32, "rows in an optimizer step", low=1)
    lr: float = arg(None, "peak learning rate, cosine to 0 (default: 5e-5, "
                    "from 1B parameters on 1e-5)", above=0)
    weight_decay: float = arg(0.0, "AdamW's weight decay", low=0)
    clip_norm: float = arg(1.0, "largest norm of the batch gradient; 0: no clipping", low=0)
    max_length: int = arg(128, "tokens of a text that are read, from its beginning; in front of an "
                          "answer, the end of the prompt", low=1, high=10**6)
    head_layer: int = arg(-1, "hidden state the head reads: -1 last (after the final LayerNorm), "
                          "-2 the output of the second-to-last block (transformers ignores this)",
                          choices=(-1, -2))
    lora_rank: int = arg(0, "0: all weights train. R > 0: LoRA: each query-key-value matrix W (but "
                         "of Pythia those of the MLP too) is frozen and becomes W + (alpha / R) B "
                         "A, and only B A, of rank R, and a class head train: often under 1 % of "
                         "the weights, so less memory, and about ten times the --lr. B A is added "
                         "to W at the end: the saved model is an ordinary one", low=0, high=10**6)
    lora_alpha: float = arg(None, "with --lora-rank: alpha, how much B A counts (default: the "
                            "rank, so that alpha / R is 1)", above=0)
    save_adapter: bool = arg(None, "with --lora-rank: write A and B, and a class head, to "
                             "OUT/adapter too, as peft keeps them", later=True)
    penalty: str = arg("signed", "fairness: covariance penalty as printed, or its abs or square",
                       choices=("signed", "abs", "squared"))
    penalty_output: str = arg("probability", "fairness: f in the penalty is p(1) or the "
                              "margin z1 - z0", choices=("probability", "logit"))
    noise_as: str = arg("std", "ood: lam is the noise's standard deviation or its variance",
                        choices=("std", "var"))
    lm_loss: str = arg("both", "privacy: a student's loss covers the true beginning and the weak "
                       "continuation, or the continuation alone", choices=("both", "continuation"))
    scoring: str = arg("cloze", "mcqa: the answer is the option with the likeliest words, per "
                       "token, or the likeliest of the options' letters",
                       choices=("cloze", "letters"))
    optimizer: str = arg("adamw", "privacy: AdamW, or SGD as in Abadi et al. (same guarantee; give "
                         "--lr too)", choices=("adamw", "sgd"))
    clip: float = arg(1.0, "privacy: C, largest norm of a row's gradient", above=0)
    noise_multiplier: float = arg(None, "privacy: sigma, noise in units of C, in place of the "
                                  "target epsilon --lam", above=0)
    delta: float = arg(None, "privacy: delta of (epsilon, delta)-DP (default: 1e-5)", above=0,
                       high=0.5)
    accountant: str = arg("pld", "privacy: epsilon by privacy loss distributions, or by Renyi DP",
                          choices=("pld", "rdp"))
    sampling: str = arg("poisson", "privacy: rows drawn independently, as epsilon supposes, or "
                        "shuffled, and then nothing is certified", choices=("poisson", "shuffled"))
    dp_method: str = arg("auto", "privacy: per-sample gradients by torch.func, or fast "
                         "book-keeping", choices=("auto", "fast", "func"))
    noise_seed: str = arg("run", "privacy: noise from --seed, or from the system, to release a "
                          "model: a known seed lets anyone subtract the noise",
                          choices=("run", "system"))
    canaries: int = arg(0, "privacy: rows whose gradient is one coordinate of their own, half of "
                        "them trained on, by which attacks.py audit bounds epsilon from below; "
                        "1000 to 2000. Such a run is for auditing, not for release", low=0,
                        high=10**5)
    device: str = arg("auto", "auto, cpu, cuda, cuda:N or mps")
    dtype: str = arg("float32", "arithmetic: float32 (on a GPU too: no TF32), or bfloat16 (weights "
                     "stay float32)")
    compile: str = arg("auto", "torch.compile the step; auto: only where it pays",
                       choices=("auto", "on", "off"))
    shard: str = arg("auto", "with torchrun: share weights, gradients and moments out over the "
                     "processes (FSDP2), or give each the whole model; auto: share where it would "
                     "not fit the GPU", choices=("auto", "on", "off"), free=True)
    recompute: bool = arg(False, "keep no activations, compute them again in backward: less "
                          "memory, a third more work, the same numbers", free=True)
    save_every: float = arg(None, "write a checkpoint each time this fraction of the steps is done "
                            "(default: .14, on CUDA at most one in 5 minutes)", above=0, high=1,
                            free=True)


def launch(main, Config, doc, argv=None):
    """Parse, call main(config), exit. Bad input, and whatever else is raised, is one line on stderr
    and exit code 1, a flag that does not exist exit code 2; W2S_DEBUG=1 shows the traceback
    instead. Of the processes of torchrun the first one prints."""
    if argv is None:
        utf8()
    try:
        streams()
        # as Ctrl-C: files are closed, parts removed
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if processes()[0] > 0:
            sys.stdout = open(os.devnull, "w")
        code = main(parse(Config, doc, argv))
        sys.stdout.flush()  # here, where a full disk is one line
        sys.exit(code)
    except KeyboardInterrupt:
        if follows():
            sys.exit(130)
        fail("interrupted; the same command goes on from the last checkpoint that was written", 130)
    except (ValueError, OSError, MemoryError) as error:
        if os.environ.get("W2S_DEBUG"):
            raise
        fail(describe(error), 1)
    except ImportError as error:  # also of a library that finds no memory (ulimit -v)
        if os.environ.get("W2S_DEBUG"):
            raise
        fail(f"a package cannot be loaded ({describe(error)}); it is not installed whole "
             "(requirements.txt), or the memory limit is too low for it", 1)
    except BaseException as error:
        # a panic of Rust, under tokenizers and safetensors, is a BaseException and no Exception
        panic = type(error).__module__ == "pyo3_runtime"
        if os.environ.get("W2S_DEBUG") or not (panic or isinstance(error, Exception)):
            raise
        first = (str(error).splitlines() or [""])[0]
        if text := of_card(error):
            fail(text, 1)
        if re.search("out of memory|allocate memory", str(error)):  # torch: a RuntimeError on CPU
            fail(describe(MemoryError(first)), 1)
        if processes()[1] > 1 and re.search(LOST, str(error)):
            fail(f"another process of torchrun has ended ({first})", 1, True)
        fail(unexpected(error), 1)


def of_card(error):
    """One line for an error of CUDA's: a card that is too small, or that failed; None for any
    other. The scheduler knows both by CUDA's own words (w2s.cards)."""
    first = (str(error).splitlines() or [""])[0]
    if cards.says(first, cards.FULL):
        return (f"the GPU's memory is full ({first}); in training a smaller --batch-size or "
                "--max-length needs less, or --recompute; else take a larger one, or --device cpu")
    if first.startswith("CUDA error") or type(error).__name__ == "AcceleratorError":
        return (f"the GPU failed ({first}); the same command goes on from what was saved; if it "
                "fails again, give another --device (W2S_DEBUG=1 shows where)")
    return None


def unexpected(error):
    """One line for an exception that nobody foresaw: its type, place, and message, cut short."""
    frame = error.__traceback__
    while frame.tb_next:  # the innermost frame, where it was raised
        frame = frame.tb_next
    place = os.path.basename(frame.tb_frame.f_code.co_filename)
    message = " ".join(str(error).split())
    message = message if len(message) < 200 else message[:197] + "..."
    return (f"unexpected {type(error).__name__} in {place}:{frame.tb_lineno} ({message}); "
            "W2S_DEBUG=1 shows where; please report it")


def dispatch(program, commands, doc):
    """Launch the command that the first argument names, of {name: (main, Config)}. A third element
    is the command's own text for --help (default: `doc`). In place of the tuple may stand a
    function that returns it: then only the chosen command's module is imported."""
    utf8()
    streams()
    name, argv = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if name in ("-h", "--help"):
        print((doc or f"{program} {' | '.join(commands)} --help").strip())  # None: python -OO
    elif name not in commands:
        fail(f"expected {' or '.join(commands)}, got '{name}' (see {program} --help)", 2)
    else:
        sys.argv[0] = f"{program} {name}"
        command = commands[name]
        main, Config, *text = command() if callable(command) else command
        launch(main, Config, *(text or [doc]), argv)


def parse(Config, doc, argv=None):
    """argv -> Config. Raises ValueError for a value out of range."""
    values = vars(_parser(Config, doc, sys.argv[0]).parse_args(argv))
    values.pop("_once", None)
    config = Config(**copy.deepcopy(values))  # the parser keeps its defaults, lists too
    for field in dataclasses.fields(Config):
        _check(field, getattr(config, field.name))
    return config


@functools.lru_cache(8)  # a plan parses hundreds of commands
def _parser(Config, doc, program):
    """The parser of a Config, for the program's name."""
    parser = _Parser(description=doc, allow_abbrev=False,
                     formatter_class=argparse.RawDescriptionHelpFormatter)
    hints = typing.get_type_hints(Config)
    # in --help the script's own arguments come before those that it inherits from Training
    declared = Config.__dict__.get("__annotations__", {})
    for field in sorted(dataclasses.fields(Config), key=lambda field: field.name not in declared):
        option = _option(field, hints[field.name])
        # of a flag that is given twice argparse keeps the last value; a person meant both
        once = getattr(Config, "ONCE", False) and "action" not in option
        parser.add_argument(flag_of(field.name), **option | ({"action": _Once} if once else {}))
    return parser


def flag_of(name):
    """The flag of an argument: max_length is "--max-length"."""
    return "--" + name.replace("_", "-")


def check_value(Config, name, values):
    """ValueError, in the words of `parse`, when the strings `values` are no value of the argument
    `name`. For a flag that takes no value they are yes or no."""
    field = Config.__dataclass_fields__[name]
    kind, flag = typing.get_type_hints(Config)[name], flag_of(name)
    if kind is bool:
        if values not in (("yes",), ("no",)):
            raise ValueError(f"{flag} {' '.join(values)}: expected yes or no")
        return
    many = typing.get_origin(kind) is list
    if len(values) > 1 and not many:
        raise ValueError(f"{flag} {' '.join(values)}: takes one value")
    for value in values:
        try:
            _check(field, _reader(typing.get_args(kind)[0] if many else kind)(value))
        except argparse.ArgumentTypeError as error:
            raise ValueError(f"{flag}: {error}") from None


def describe(error):
    """One line for an exception."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"out of memory; a smaller --batch-size needs less ({error})"
    return " ".join(str(error).split())


def processes():
    """(rank, number of processes) under torchrun; (0, 1) without it: a RANK that is left in the
    environment says nothing where WORLD_SIZE is 1 or absent. Raises ValueError for what no torchrun
    sets."""
    numbers = {}
    for name, default in (("WORLD_SIZE", "1"), ("RANK", None)):
        try:
            numbers[name] = int(os.environ.get(name, default))
        except (TypeError, ValueError):
            if numbers.get("WORLD_SIZE", 2) > 1:
                raise ValueError(f"{name} is {os.environ.get(name, 'not set')} in the environment, "
                                 "which torchrun does not set; unset WORLD_SIZE and RANK, or start "
                                 "the processes with torchrun") from None
    rank, world = numbers.get("RANK", 0), numbers["WORLD_SIZE"]
    if world > 1 and not 0 <= rank < world:
        raise ValueError(f"RANK is {rank} and WORLD_SIZE {world} in the environment; unset both, "
                         "or start the processes with torchrun")
    return (rank, world) if world > 1 else (0, 1)


def follows():
    """Whether this process leaves files and messages to the first one of torchrun."""
    try:
        return processes()[0] > 0
    except ValueError:  # `launch` refuses it
        return False


def fail(text, code, wait=None):
    """Print `error: text` on stderr and exit. A follower (or, with `wait`, any process) first waits
    for the process that knows the cause to report it: then torchrun ends this one, so that the
    error is printed once."""
    if follows() if wait is None else wait:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(PATIENCE)
    print("error: " + " ".join(text.split()), file=sys.stderr)  # a value may have line ends
    sys.exit(code)


class _Parser(argparse.ArgumentParser):
    """argparse prints the whole usage above an error; ours is one line."""

    def error(self, message):
        fail(f"{message} (see {self.prog} --help)", 2)


def _option(field, kind):
    """Keywords of add_argument for a dataclass field."""
    required = field.default is REQUIRED and field.default_factory is REQUIRED
    default = field.default if field.default_factory is REQUIRED else field.default_factory()
    text = field.metadata["help"].replace("%", "%%")
    if field.metadata["choices"]:
        text += f" [{' | '.join(map(str, field.metadata['choices']))}]"
    if required:
        text += " (required)"
    elif default is not None and default is not False and default != []:
        text += f" (default: {default})".replace("%", "%%")
    if kind is bool:
        return dict(action="store_true", default=default, help=text)
    many = typing.get_origin(kind) is list
    kind = typing.get_args(kind)[0] if many else kind
    option = dict(type=_reader(kind), help=text, required=required,
                  metavar={int: "N", float: "X"}.get(kind, field.name.upper()))
    if many:
        option |= dict(nargs="+", action=_Several)
    return option if required else option | dict(default=default)


class _Several(argparse.Action):
    """Values of a list: `--text A B` is `--text A --text B`, of which argparse keeps B alone."""

    def __call__(self, parser, namespace, values, flag=None):
        before = getattr(namespace, self.dest)  # at first the default itself
        setattr(namespace, self.dest, values if before is self.default else [*before, *values])


class _Once(argparse.Action):
    """A value of a Config with ONCE, whose flags may not be given twice."""

    def __call__(self, parser, namespace, value, flag=None):
        before = vars(namespace).setdefault("_once", [])  # no field is called so
        if self.dest in before:
            parser.error(f"argument {flag}: given twice; give it once")
        before.append(self.dest)
        setattr(namespace, self.dest, value)


def _reader(kind):
    """What argparse calls with the text of a value; its error names the type, not a function."""
    def read(text):
        try:
            return kind(text)
        except ValueError:
            text = text if len(text) < 60 else text[:57] + "..."
            raise argparse.ArgumentTypeError(f"expected {kind.__name__}, got '{text}'") from None
    return read


def number(value):
    """Text from which exactly this number is read again, short where that suffices: rounded, a
    0.50000001 that is refused would look like a 0.5, which is not."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _check(field, value):
    """ValueError when a value, or one of a list, breaks the field's rule."""
    flag, rule = flag_of(field.name), field.metadata
    for item in value if isinstance(value, list) else ():
        _check(field, item)
    if rule["choices"] and value is not None and value not in rule["choices"]:
        raise ValueError(f"{flag} {value}: choose from {', '.join(map(str, rule['choices']))}")
    if isinstance(value, str) and not value.strip() and field.default != "":
        raise ValueError(f"{flag} {value!r}: is empty; give a value, or leave it out if you may")
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    low, above, high = rule["low"], rule["above"], rule["high"]
    if isinstance(value, int) and abs(value) > MOST:
        bound = f"<= {MOST if high is None else high}" if value > 0 else f">= {low or 0}"
        raise ValueError(f"{flag} {str(value)[:12]}...: must be {bound}")
    if not math.isfinite(value):
        raise ValueError(f"{flag} {value}: must be a finite number")
    for bad, text in ((low is not None and value < low, f">= {low}"),
                      (above is not None and value <= above, f"> {above}"),
                      (high is not None and value > high, f"<= {high}")):
        if bad:
            raise ValueError(f"{flag} {number(value)}: must be {text}")
