"""Are the numbers of the pages those of the results that they name?

    python -m tests.numbers                                        of every page
    python -m tests.numbers keep runs/real/results.csv docs/numbers/real.csv

`<!-- numbers: FILE -->` in front of a table says that its cells are means over the seeds of FILE,
which has the columns of results.csv: a line is `task metric` (blank: as in the line above) and a
strategy, a column weak, naive, aux or ceiling. Other columns are not looked at. In front of a table
of a sweep, whose FILE has the columns of sweep.csv, stands `<!-- numbers: FILE WHAT -->`: a line is
one of weak, naive, aux or ceiling, a column a value of the axis, and WHAT the columns of the lines,
as in ood,both,MODEL,all,all,ra,lam,VALUE. What stands elsewhere, such as in a sentence, is named
behind the text, which begins at the heading before it:

    <!-- numbers: FILE
    .885 mcqa,none,weak,ntf,all,auc
    7.3% ood,weak,student-naive,all,all,ra less ood,weak,weak,all,all,ra
    -->

.885 is in the text, and the mean over the seeds of the lines of FILE with these columns (all but
seed, value and figure); 7.3 is in the text, and 100 times a difference. Such marks of a page that
is to stay short stand in docs/numbers/PAGE.md. `keep` copies of a results.csv what the pages'
tables and texts need of it.
"""

import csv
import functools
import re
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

from w2s.report.results import STRATEGIES

ROOT = Path(__file__).resolve().parents[1]
MARK = re.compile(r"<!-- numbers: (\S+)(?: (\S+))? -->\n((?:\|.*\n)*)")
NAMED = re.compile(r"<!-- numbers: (\S+)\n(.*?)-->", re.DOTALL)
COLUMNS = ("task", "strategy", "model", "selection", "slice", "metric")
OF_SWEEP = ("axis", "axis_value")
MODELS = {"weak": "weak", "naive": "student-naive", "aux": "student-aux", "ceiling": "ceiling",
          "untuned weak": "base-weak", "untuned strong": "base-strong"}
KEYS = {name: key for key, name in STRATEGIES.items()}


def means(path):
    """{columns of COLUMNS, joined by commas: mean over the seeds} of a results.csv."""
    values = defaultdict(dict)
    with open(path, encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if line["value"]:
                key, seed, value = key_of(line), line["seed"], float(line["value"])
                if values[key].setdefault(seed, value) != value:  # two figures vary it differently
                    raise ValueError(f"{key}: two values of seed {seed}; keep one figure")
    return {key: sum(found.values()) / len(found) for key, found in values.items()}


def key_of(line):
    return ",".join(line[column] for column in COLUMNS + OF_SWEEP if column in line)


def cells(table, template=""):
    """Yield (key, text) of the cells of a table that are looked at."""
    head, _, *lines = [[cell.strip() for cell in line.strip("|\n").split("|")]
                       for line in table.splitlines()]
    if template:
        yield from cells_of_sweep(head, lines, template)
        return
    what = ""
    for line in lines:
        what = line[0] or what
        for name, text in zip(head, line):
            if name in MODELS and text not in ("", "-"):
                if len(what.split()) != 2:
                    raise ValueError(f"'{what}' in front of {text}: expected a task and a metric")
                task, metric = what.split()
                yield f"{task},{KEYS.get(line[1], line[1])},{MODELS[name]},all,all,{metric}", text


def cells_of_sweep(head, lines, template):
    """The same of a table whose mark has a template of the keys."""
    for model, *texts in lines:
        if model not in MODELS or "MODEL" not in template or "VALUE" not in template:
            raise ValueError(f"'{model}' by {template}: expected one of {', '.join(MODELS)}, "
                             "and MODEL and VALUE in the mark")
        for value, text in zip(head[1:], texts):
            if text:
                yield template.replace("MODEL", MODELS[model]).replace(
                    "VALUE", f"{float(value):g}"), text


def sentences(page, root=ROOT):
    """Yield (FILE, text before the mark, number, key, key that is taken off or "") of the lines of
    a page's marks behind a text."""
    content, beside = page.read_text(encoding="utf-8"), root / "docs" / "numbers" / page.name
    marks = [(mark, seen(content[:mark.start()].rpartition("\n#")[2]))
             for mark in NAMED.finditer(content)]
    if beside.exists():
        marks += [(mark, seen(content))
                  for mark in NAMED.finditer(beside.read_text(encoding="utf-8"))]
    for mark, text in marks:
        for line in mark[2].splitlines():
            number, key = (*line.split(maxsplit=1), "", "")[:2]
            if not key:
                raise ValueError(f"{page.name}: '{line}' in a mark of {mark[1]}: expected a number "
                                 "and the columns of its lines")
            yield mark[1], text, number, *(f"{key} less ".split(" less ")[:2])


def seen(text):
    """What of a text is read: no marks, and no tables that have a mark of their own."""
    return MARK.sub("", NAMED.sub("", text))


def wrong(page, root=ROOT):
    """["PAGE: cell: what it says, what FILE says"] of the marked tables and texts of a page; of a
    mark that cannot be read, what is wrong with it alone."""
    try:
        return compared(page, root)
    except ValueError as error:
        return [str(error)]


def compared(page, root):
    """The same. Raises ValueError for a mark that cannot be read."""
    problems, content = [], page.read_text(encoding="utf-8")
    if content.count("<!-- numbers") != sum(len(p.findall(content)) for p in (MARK, NAMED)):
        raise ValueError(f"{page.name}: a mark is neither <!-- numbers: FILE --> nor one with a "
                         "line for each number; see tests/numbers.py")

    @functools.cache
    def read(file):
        try:
            return means(root / file)
        except OSError as error:
            raise ValueError(f"{page.name}: its mark names {file}: {error.strerror}") from None
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{page.name}: its mark names {file}, which is no results.csv: "
                             f"{error}") from None
    for file, text, number, key, off in sentences(page, root):
        known, (bare, percent) = read(file), (number.strip("+%"), number.endswith("%"))
        value = known[key] - (known[off] if off else 0) if {key, off} - {""} <= {*known} else None
        if not fits(bare, value if value is None or not percent else 100 * value):
            problems.append(f"{page.name}: {key}: {number}, in {file}: {value}")
        if not re.search(rf"(?<![\d.]){re.escape(bare)}(?![\d]|\.\d)", text):
            problems.append(f"{page.name}: {number} is not in the text: {key}")
    for file, template, table in MARK.findall(content):
        known = read(file)
        try:
            looked_at = list(cells(table, template)) if table else []
        except ValueError as error:
            raise ValueError(f"{page.name}: table of {file}: {error}") from None
        if not looked_at:
            problems.append(f"{page.name}: no table with means behind the mark of {file}")
        problems += [f"{page.name}: {key}: {text}, in {file}: {known.get(key)}"
                     for key, text in looked_at if not fits(text, known.get(key))]
    return problems


def fits(text, value):
    """Whether a text is a number as it is rounded: half a unit of its last digit apart at most."""
    if value is None or not re.fullmatch(r"-?\d*\.?\d+", text):
        return False
    return abs(float(text) - value) <= .5001 * 10 ** Decimal(text).as_tuple().exponent


def keep(source, target, root=ROOT):
    """Write the lines of results.csv that texts and tables of sweeps name `target` for, and where
    another table does, or nothing, those that tables are made of: task performance and trust."""
    from w2s import tasks

    def meant(file):
        return (root / file).resolve() == Path(target).resolve()
    named = {key for page in pages(root) for file, *_, key, off in sentences(page, root)
             if meant(file) for key in (key, off)}
    marks = [mark for page in pages(root)
             for mark in MARK.findall(page.read_text(encoding="utf-8")) if meant(mark[0])]
    named |= {key for _, template, table in marks if template for key, _ in cells(table, template)}
    tables = not named or any(not template for _, template, _ in marks)
    with open(source, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    if not lines or {*COLUMNS, "value"} - {*lines[0]}:
        raise ValueError(f"{source}: no results.csv: expected lines of {', '.join(COLUMNS)}, value")
    kept = [line for line in lines if key_of(line) in named or tables
            and line["slice"] == line["selection"] == "all" and line["model"] in MODELS.values()
            and line["metric"] in tasks.load(line["task"]).METRICS]
    with open(target, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)


def pages(root=ROOT):
    return [*root.glob("README.md"), *sorted((root / "docs").glob("*.md"))]


if __name__ == "__main__":
    if sys.argv[1:2] == ["keep"]:
        if len(sys.argv) != 4:
            sys.exit("error: keep: give two files, a results.csv and where to copy it")
        try:
            keep(*sys.argv[2:])
        except (OSError, ValueError) as error:
            sys.exit(f"error: {error}")
    elif sys.argv[1:]:
        sys.exit(f"error: {sys.argv[1]}: give nothing, or keep and two files")
    else:
        found = [problem for page in pages() for problem in wrong(page)]
        print("\n".join(found) or "every marked number is that of its file")
        sys.exit(bool(found))
