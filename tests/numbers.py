"""Are the numbers of the pages those of the results that they name?

    python -m tests.numbers                                        of every page
    python -m tests.numbers keep runs/real/results.csv docs/numbers/real.csv

`<!-- numbers: FILE -->` in front of a table says that its cells are means over the seeds of FILE,
which has the columns of results.csv: a line is `task metric` (blank: as in the line above) and a
strategy, a column weak, naive, aux or ceiling. Other columns are not looked at. `keep` copies of a
results.csv what such tables are made of.
"""

import csv
import re
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

from w2s.report.results import STRATEGIES

ROOT = Path(__file__).resolve().parents[1]
MARK = re.compile(r"<!-- numbers: (\S+) -->\n((?:\|.*\n)*)")
MODELS = {"weak": "weak", "naive": "student-naive", "aux": "student-aux", "ceiling": "ceiling",
          "untuned weak": "base-weak", "untuned strong": "base-strong"}
KEYS = {name: key for key, name in STRATEGIES.items()}


def means(path):
    """{(task, metric, strategy, model): mean over the seeds} of slice all of a results.csv, of
    models that learned from all labels."""
    values = defaultdict(list)
    with open(path, encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if line["slice"] == line["selection"] == "all" and line["value"]:
                values[line["task"], line["metric"], line["strategy"], line["model"]].append(
                    float(line["value"]))
    return {key: sum(found) / len(found) for key, found in values.items()}


def cells(table):
    """Yield ((task, metric, strategy, model), text) of the cells of a table that are looked at."""
    head, _, *lines = [[cell.strip() for cell in line.strip("|\n").split("|")]
                       for line in table.splitlines()]
    what = ""
    for line in lines:
        what = line[0] or what
        for name, text in zip(head, line):
            if name in MODELS and text not in ("", "-"):
                yield (*what.split(), KEYS.get(line[1], line[1]), MODELS[name]), text


def wrong(page, root=ROOT):
    """["PAGE: cell: what it says, what FILE says"] of the marked tables of a page."""
    problems = []
    for file, table in MARK.findall(page.read_text(encoding="utf-8")):
        known, looked_at = means(root / file), list(cells(table)) if table else []
        if not looked_at:
            problems.append(f"{page.name}: no table with means behind the mark of {file}")
        problems += [f"{page.name}: {' '.join(key)}: {text}, in {file}: {known.get(key)}"
                     for key, text in looked_at if not fits(text, known.get(key))]
    return problems


def fits(text, value):
    """Whether a text is a number as it is rounded: half a unit of its last digit apart at most."""
    if value is None or not re.fullmatch(r"-?\d*\.?\d+", text):
        return False
    return abs(float(text) - value) <= .5001 * 10 ** Decimal(text).as_tuple().exponent


def keep(source, target):
    """Write the lines of results.csv that tables are made of: task performance and trust."""
    from w2s import tasks
    with open(source, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    kept = [line for line in lines if line["slice"] == line["selection"] == "all"
            and line["model"] in MODELS.values()
            and line["metric"] in tasks.load(line["task"]).METRICS]
    with open(target, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)


def pages(root=ROOT):
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


if __name__ == "__main__":
    if sys.argv[1:2] == ["keep"]:
        keep(*sys.argv[2:4])
    else:
        found = [problem for page in pages() for problem in wrong(page)]
        print("\n".join(found) or "every marked number is that of its file")
        sys.exit(bool(found))
