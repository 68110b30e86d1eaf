"""Everything that only a CUDA card can tell, in one call of a few minutes.

    python -m tests.device                                # runs/device/device.json and device.md
    python -m tests.device --out results --minutes 5 --only machine,numbers
    python -m tests.device --pretend                      # on a CPU, in tiny shapes

     0 machine     rates of the card       6 prediction  33,000 rows, batches within their budget
     1 numbers     against float64, CPU    7 generation  with and without an end of text
     2 suite       tests/test_cuda.py      8 privacy     clipped gradients, two ways
     3 waits       for the card, a step    9 workers     two commands at a time; killed, resumed
     4 steps       how fast they are      10 nccl        one process, sharded
     5 memory      against the plan       11 bits        the same steps twice

Each part is a process of its own with a limit of seconds; one that fails, hangs or crashes loses
only itself. Where the minutes are too few, parts 11, 10 and 8 are dropped first. Weights are random
and made on the card; nothing is fetched. What is not pinned is in requirements.txt and pytest.

Exit status: 1 if something hard failed, or a part did not end; 2 for arguments, or without a card.
--pretend tells errors of this script, not of a card: what needs hardware is neither met nor failed.
"""

import argparse
import sys

from tests.device import session


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"error: {message}; see python -m tests.device --help\n")


def chosen(text):
    """The numbers of parts, by number or name, with commas."""
    names = {part.name: part.number for part in session.PARTS}
    names |= {str(number): number for number in names.values()}
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in names:
            raise argparse.ArgumentTypeError(f"no part '{word}'; choose from {', '.join(names)}")
    return {names[word] for word in words}


def minutes(text):
    value = float(text)
    if not 0 < value <= 600:
        raise argparse.ArgumentTypeError("between 0 and 600")
    return value


def arguments():
    parser = Parser(prog="python -m tests.device", description=__doc__, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", default="runs/device", help="folder for device.json and device.md (default: "
        "%(default)s)")
    add("--minutes", type=minutes, default=8, help="for everything (default: 8)")
    add("--only", type=chosen, default=chosen(",".join(part.name for part in session.PARTS)),
        metavar="PARTS", help="some of the above, by number or name, with commas")
    add("--pretend", action="store_true", help="on a CPU that is taken for a card")
    return parser.parse_args()


if __name__ == "__main__":
    found = arguments()
    try:
        sys.exit(session.main(found))
    except KeyboardInterrupt:
        print(f"interrupted; the parts that ended are in {found.out}", file=sys.stderr)
        sys.exit(130)
