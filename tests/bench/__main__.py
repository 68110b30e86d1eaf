"""How fast everything is, beside its peers (requirements-dev.txt), on this machine, now.

    python -m tests.bench                                  # all but `whole`, 14m: ten minutes
    python -m tests.bench --sections step --shape 14m,70m,160m --compile on
    python -m tests.bench --sections whole --all           # run_all.sh, as a user calls it
    python -m tests.bench --out results                    # results/bench.md, results/bench.json
    python -m tests.bench --check                          # exit status 1 if something got slower

    step      a classification step            lm        a language-model step
    epochs    an epoch on real lengths         dp        clipped gradients, noise and optimizer
    label     labels of many rows              generate  text
    ntf       training a trust function        start     import, --help, loading a model
    evaluate  many runs, together and apart    whole     run_all.sh

--check measures step, epochs, lm, dp, label and generate in float32, or the --sections that are
named, and compares the ratios with those of tests/bench/ratios.json, which --save writes: 1 if more
than 15 % of one is lost.

How cost grows: python -m tests.bench.growth; memory of large models: python -m tests.bench.plan;
where the minutes of an experiment go: python -m tests.bench.minutes; what a step, and what clipping
row by row costs at least: python -m tests.bench.step_floor, python -m tests.bench.private_floor
"""

import argparse
import json
import sys
from pathlib import Path

KEPT = ("step", "epochs", "lm", "dp", "label", "generate")  # with --check
RATIOS = Path(__file__).with_name("ratios.json")
SECTIONS = ("step", "epochs", "lm", "dp", "label", "generate", "ntf", "start", "evaluate", "whole")


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def listed(text):
    return text.split(",")


def committed():
    """The object in RATIOS. Raises ValueError where --check could not use it."""
    try:
        known = json.loads(RATIOS.read_text(encoding="utf-8"))
        facts, ratios = [known[key] for key in ("machine", "commit")], known["ratios"]
        good = ratios and all(isinstance(fact, str) for fact in facts) and all(
            type(ratio) in (int, float) and 0 < ratio < 1e9 for ratio in ratios.values()
        ) and type(known["products"]) is int              # 0: not measured
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{RATIOS}: {type(error).__name__}: {error}") from None
    if not good:
        raise ValueError(f"{RATIOS}: expected machine, commit, products (GF/s) and ratios above 0")
    return known


def arguments():
    parser = Parser(
        prog="python -m tests.bench", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--sections", type=listed,
        help="some of the above, with commas (default: all but whole)")
    add("--shape", type=listed, default=["14m"], help="14m, 70m, 160m, ...; several with commas")
    add("--dtype", type=listed, help="float32, bfloat16 or both with a comma (default: float32, "
        "and bfloat16 where the machine has it)")
    add("--rounds", type=int, default=7)
    add("--only", type=listed, default=[], help="variants by their names, with commas")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--compile", choices=("auto", "on", "off"), default="auto",
        help="measure compiled variants too; a cold compile takes 20 to 90 s on two cores (auto: "
        "step and lm at 14m)")
    add("--allocator", choices=("keep", "glibc"), default="keep",
        help="for everybody: keep freed memory, as the scripts do, or glibc as it is shipped")
    add("--no-memory", action="store_true", help="do not measure peak memory")
    add("--all", action="store_true", help="whole: with --tasks all")
    add("--out", help="folder for bench.md and bench.json (default: markdown to standard output)")
    both = parser.add_mutually_exclusive_group()
    both.add_argument("--save", action="store_true", help="write the ratios to be committed")
    both.add_argument("--check", action="store_true", help="compare with those committed")
    add("--memory", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.save or args.check:
        args.sections, args.dtype = args.sections or list(KEPT), args.dtype or ["float32"]
        args.no_memory, args.compile = True, "off" if args.compile == "auto" else args.compile
    args.sections = args.sections or list(SECTIONS[:-1])
    if args.check and not RATIOS.exists():
        parser.error("--check: no tests/bench/ratios.json yet; python -m tests.bench --save makes "
                     "it, on a machine that does nothing else")
    if args.check:
        try:
            committed()
        except ValueError as error:
            parser.error(f"--check: {error}; get it back (git checkout), or --save makes it")
    unknown = set(args.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"--sections: no {', '.join(sorted(unknown))}; choose from "
                     f"{','.join(SECTIONS)}")
    if set(args.dtype or ()) - {"float32", "bfloat16"}:
        parser.error("--dtype: choose from float32,bfloat16")
    if args.out and any(path.is_file() for path in (Path(args.out), *Path(args.out).parents)):
        parser.error(f"--out {args.out}: is a file, or lies under one; give a folder")
    if args.rounds < 1:
        parser.error(f"--rounds {args.rounds}: must be >= 1")
    from w2s.model.configuration import SHAPES
    shapes = ["tiny", *(name.removeprefix("pythia-") for name in SHAPES)]
    if unknown := [shape for shape in args.shape if shape not in shapes]:
        parser.error(f"--shape: no {', '.join(unknown)}; choose from {','.join(shapes)}")
    return args


if __name__ == "__main__":
    found = arguments()
    from tests.bench import session                       # torch, which --help does not need
    sys.exit(session.run(found))
