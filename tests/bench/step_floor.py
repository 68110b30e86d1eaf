"""What a classification step takes at least: its products, and operators that nothing replaces.

    python -m tests.bench.step_floor [--shape 14m] [--rounds 20]

The operators of one step are run again alone (tests/bench/needed.py). floor: their sum. Its share
of the ceiling is what a step could have in which nothing else takes any time. As many threads as
the scripts take, float32.
"""

import torch

from tests.bench import harness, machine, models, needed, step


def measure(shape, rounds):
    """Print a line for each kind of operators, then the floor."""
    setting = harness.Setting(shape)
    rows, tokens = (models.TINY if shape == "tiny" else models.SIZE)["class"]
    run = step.ours(setting, "class").build()
    whole = needed.seconds(run, rounds)
    with needed.Noted() as noted:
        run()
    spent = needed.alone(noted.calls, rounds)
    ceiling = machine.ceilings(needed.CPU, "float32", setting.shipped)["GEMM"]
    ideal = models.nominal_flops(shape, "class", rows, tokens) / ceiling / 1e9
    print(f"pythia-{shape}, {rows} x {tokens}, {torch.get_num_threads()} threads: "
          f"{1e3 * whole:.1f} ms, {ideal / whole:.0%} of the ceiling of {ceiling:.0f} GF/s")
    total = 0
    for kind, part in spent.items():
        total += part
        print(f"{kind}: {1e3 * part:.1f} ms; so far {ideal / total:.0%} of the ceiling")
    print(f"floor: {total / whole:.2f} of the step, {ideal / total:.0%} of the ceiling")


def main():
    words = needed.arguments("step_floor", __doc__)
    machine.prepare("cpu")
    measure(words.shape, words.rounds)


if __name__ == "__main__":
    main()
