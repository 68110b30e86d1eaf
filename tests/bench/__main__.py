"""How fast everything is, beside its peers (requirements-dev.txt), on this machine, now.

    python -m tests.bench                                  # all but `whole`, 14m: ten minutes
    python -m tests.bench --sections step --shape 14m,70m,160m --compile on
    python -m tests.bench --sections whole --all           # run_all.sh, as a user calls it
    python -m tests.bench --out results                    # results/bench.md, results/bench.json

    step      a classification step            lm        a language-model step
    epochs    an epoch on real lengths         dp        clipped gradients, noise and optimizer
    label     labels of many rows              generate  text
    ntf       training a trust function        start     import, --help, loading a model
    evaluate  many runs, together and apart    whole     run_all.sh

How cost grows: python -m tests.bench.growth; memory of large models: python -m tests.bench.plan
"""

import argparse

SECTIONS = ("step", "epochs", "lm", "dp", "label", "generate", "ntf", "start", "evaluate", "whole")


def listed(text):
    return text.split(",")


def arguments():
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--sections", type=listed, default=list(SECTIONS[:-1]),
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
    add("--memory", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = set(args.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"--sections: no {', '.join(sorted(unknown))}; choose from "
                     f"{','.join(SECTIONS)}")
    if set(args.dtype or ()) - {"float32", "bfloat16"}:
        parser.error("--dtype: choose from float32,bfloat16")
    return args


if __name__ == "__main__":
    found = arguments()
    from tests.bench import session                       # torch, which --help does not need
    session.run(found)
