"""What was run, the paper's claims with a verdict, tables and figures, from finished runs.

    python -m w2s.report --runs runs/miniature

writes results.csv (every number), report.md and report.html (what they say) and figures/ into
that folder. Reads <task>/seed<k>/<run>/ with predictions/, eval.json and attack-*.json in it; what
is not there yet is listed.
"""

import sys
from dataclasses import dataclass

from w2s.config import REQUIRED, arg, launch


@dataclass
class Config:
    runs: str = arg(REQUIRED, "folder of the runs, for example runs/miniature")
    data: str = arg(None, "folder with <task>/manifest.json (default: data inside --runs)")
    select: str = arg("val", "rows on which the regularised strategies' ceiling is chosen; test is "
                      "the paper's reading (docs/deviations.md, E11)", choices=("val", "test"))
    figures: str = arg("yes", "draw figures/<task>.png and .svg (needs matplotlib)",
                       choices=("yes", "no"))
    note: str = arg("", "a sentence to stand at the head of the report")
    command: str = arg("", "the command that made the runs, to stand in the report")
    seconds: float = arg(None, "how long that command took, to stand in the report", low=0,
                         high=10**9)
    draws: int = arg(10000, "bootstrap draws behind every interval", low=100, high=10**6)
    margin: float = arg(0.02, "how far accuracy may be from that of a student on true labels to be "
                        "near-lossless", above=0, high=1)
    seed: int = arg(0, "of the bootstrap", low=0)


def main(config):
    from w2s.report import document  # here: it imports torch, which --help does not need
    document.write(config)


if __name__ == "__main__":
    sys.argv[0] = "python -m w2s.report"
    launch(main, Config, __doc__)
