"""How trust depends on lambda, alpha, warm-up, epochs and size: the sensitivity figures of Sun et
al. (section 4.2, Appendices A and B).

    bash run_all.sh sweep --figure 3 --tasks fairness       one figure, of one property
    bash run_all.sh sweep --figure all                      all of them
    bash run_all.sh sweep --axis alpha --values 0,0.2,0.4   an axis of your own values
    bash run_all.sh sweep paper --figure A2 --raw DIR       of the preset paper

3, A2      trustworthiness and task performance against lambda, Weak+WTS TFT and Weak TFT
A1         trade-off curves: lambda of weak model, ceiling and student, alpha, warm-up, epochs
A3 to A6   sizes of the weak by sizes of the strong model; A9: a much larger strong model
A7, A8     against the largest alpha, Weak TFT and Weak+WTS TFT
A10, A11   two metrics of fairness, two of privacy
A12        which data trains and which measures, from what the runs record

Runs that the preset's experiment or another figure has made are used again: a run is known by its
content. Results: OUT/sweep/report.html, report.md, sweep.csv and figures/.
"""

import dataclasses
import shlex
import sys
from dataclasses import dataclass

from w2s import config, experiment, launch, phases
from w2s.commands import single
from w2s.config import REQUIRED, arg
from w2s.sweep import axes, plan


@dataclass(kw_only=True)
class Config(experiment.Common):
    generations, budgets = 1, None  # of trust functions, which a sweep has none of

    figure: str = arg(None, "3, A1, ... A12, several with commas between, or all")
    axis: str = arg(None, "in place of --figure: lam, alpha, warmup, epochs or size",
                    choices=(*axes.AXES,))
    values: str = arg(None, "of the axis, with commas between (default: recipes/sweep.values); "
                      "of size: strong models, or WEAK:STRONG pairs")
    preset: str = arg("miniature", "settings and data", choices=experiment.PRESETS)
    tasks: str = arg(None, "properties (default: those that the paper's figure shows)")
    seeds: int = arg(None, "seeds of each (default: 2, smoke 1)", low=1, high=10**6)


@dataclass(kw_only=True)
class Report(Config):
    runs: str = arg(REQUIRED, "folder of the runs; sweep/ in it gets the results")
    command: str = arg("", "the command that made the runs, to stand in the report")
    draws: int = arg(2000, "bootstrap draws behind every interval", low=100, high=10**6)


def planned(options, command=""):
    """The plan.Sweep of the options. Raises ValueError for figures, axes, values and properties
    that do not exist or do not go together."""
    if bool(options.figure) == bool(options.axis):
        raise ValueError("give --figure or --axis, one of them: --figure all, or --axis alpha")
    figures = axes.custom(options.axis) if options.axis else {
        name: axes.FIGURES[name] for name in axes.chosen(options.figure)}
    if options.seeds is None:
        options = dataclasses.replace(options, seeds=1 if single(options.preset, options) else 2)
    return plan.Sweep(options, wanted(options, figures), command)


def wanted(options, figures):
    """{(figure, property): (Figure, values)}."""
    asked = phases.chosen(options.tasks)[0] if options.tasks else None
    if asked and (rest := set(asked) - set(axes.ORDER)):
        raise ValueError(f"--tasks {options.tasks}: {min(rest)} is no property of the paper's "
                         f"figures; choose from {', '.join(axes.ORDER)}")
    pairs = {}
    for name, figure in figures.items():
        fitting = [task for task in asked or figure.properties if name == "A1"
                   or task in figure.properties]
        if options.axis and asked:
            for task in asked:
                axes.require(task, options.axis)
        pairs |= {(name, task): (figure, options.values) for task in fitting}
    if not pairs:
        raise ValueError(f"--figure {options.figure}: shows nothing of {options.tasks}; it is of "
                         f"{', '.join(next(iter(figures.values())).properties)}")
    if options.values and (several := {figure.axes for figure in figures.values()}) and (
            len(several) > 1 or len(*several) != 1):
        raise ValueError(f"--values {options.values}: of which axis? Give --axis, or one --figure "
                         "that has one")
    return pairs


def main(options):
    """Check the plan, then print its commands (--dry-run) or run them."""
    sweep = planned(options, f"bash run_all.sh {shlex.join(sys.argv[1:])}".strip())
    experiment.check(sweep)
    bases = sorted(str(base) for base in sweep.bases() if not sweep.makes(base))
    for base in bases if sweep.preset != "smoke" else ():  # which makes its models itself
        experiment.require_model(base)
    if options.dry_run:
        print(tally(sweep, options))
    else:
        experiment.ready(sweep, bases)
    launch.carry_out(sweep.steps, [sweep.line(step) for step in sweep.steps], options, sweep.out)


def tally(sweep, options):
    """A line of how many runs there are, how many are new, and how long these will take."""
    trained = [step for step in sweep.steps if step.trained]
    new = [step for step in sweep.steps if not (
        step.trained and (step.fixed["--out"] / "DONE").exists())]
    lines = [sweep.line(step) for step in new]
    names, _, jobs = launch.places(lines, options)
    return (f"# {len(trained)} runs: {sum(step.trained for step in new)} are new, the others are "
            f"made; {launch.told(new, lines, sweep.out, len(names), jobs)}")


def report(options):
    from w2s.sweep import document  # here: it imports torch, which --help does not need
    document.write(planned(options, options.command), options)


COMMANDS = {"report": (report, Report)}


def arguments(argv):
    """The flags of `run_all.sh sweep PRESET` and `run_all.sh PRESET sweep`: a preset's name in
    front of them is --preset."""
    names = [word for word in argv[:2] if word in ("sweep", *experiment.PRESETS)]
    presets = [name for name in names if name != "sweep"]
    return [*(["--preset", *presets[:1]] if presets else []), *argv[len(names):]]


if __name__ == "__main__":
    if sys.argv[1:2] == ["report"]:
        config.dispatch("python -m w2s.sweep", COMMANDS, __doc__)
    else:
        config.utf8()
        words, sys.argv[0] = arguments(sys.argv[1:]), "run_all.sh sweep"
        config.launch(main, Config, __doc__, words)
