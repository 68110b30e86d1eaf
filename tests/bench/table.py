"""Tables as markdown and as json."""

import json
import math

HEADER = """\
Every round calls each variant once, in turn; ms is the median over the rounds, with the
interquartile range (IQR) in per cent of it. **x BASE**: what the row takes in times of what BASE
takes, the median [quartiles] of the rounds' own ratios. BASE is ours: **above 1 ours is faster**.
first s: the first call, compilation included. GF/s: nominal operations (6 N + 6 L h T a token, a
language model 6 V h more) over the time; of ceiling: their share of the ceiling's, a square product
in the same dtype on our route. MB: the peak of one call beyond what was there before it, on a CPU
in a fresh process each; MB x BASE: above 1 ours takes less. Peers: "shipped" with their own
defaults, "equal" with our settings. {allocator}"""
ALLOCATOR = {"keep": "The allocator keeps freed memory for everybody.",
             "glibc": "The allocator is glibc's as shipped, for everybody."}


def cell(column, value):
    """A value as the table shows it."""
    if value is None or value == "":
        return ""
    if isinstance(value, tuple):
        low, middle, high = value
        return f"{middle:.2f} [{low:.2f}, {high:.2f}]"
    if isinstance(value, str):
        return value.replace("|", "/")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if column in ("IQR", "of ceiling"):
        return f"{value:.0%}"
    if column == "error":
        return f"{value:.0e}"
    if column.startswith("MB x"):
        return f"{value:.2f}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def markdown(table):
    """A heading, the note and the table, its columns aligned; empty columns are left out."""
    columns = [c for c in table.columns if any(cell(c, row.get(c)) for row in table.rows)]
    lines = [columns] + [[cell(c, row.get(c)) for c in columns] for row in table.rows]
    texts = [c in ("variant", "how", "error") for c in columns]
    widths = [max(3, *map(len, column)) for column in zip(*lines)]

    def line(cells):
        return "| " + " | ".join(c.ljust(w) if text else c.rjust(w)
                                 for c, w, text in zip(cells, widths, texts)) + " |"
    rule = "|" + "|".join("-" * (w + 1) + ("-" if text else ":")
                          for w, text in zip(widths, texts)) + "|"
    body = "\n".join([line(lines[0]), rule, *map(line, lines[1:])])
    note = f"{table.note}\n\n" if table.note else ""
    return f"### {table.section}: {table.title}\n\n{note}{body}\n"


def document(facts, tables):
    """All of it in markdown."""
    changed = " with changed files" if facts["changed"] else ""
    ceilings = "; ".join(
        f"{dtype}: {found['GEMM']:.0f} GF/s (float32 on PyTorch's own route "
        f"{found['GEMM shipped']:.0f}), copy {found['copy']:.0f} GB/s"
        for dtype, found in facts["ceilings"].items())
    head = [f"`{facts['command']}`, {facts['date']}, commit {facts['commit']}{changed}, "
            f"{facts['seconds'] / 60:.0f} minutes", facts["machine"]]
    head += [f"Ceilings in this run: {ceilings}"] if ceilings else []
    head.append(HEADER.format(allocator=ALLOCATOR[facts["allocator"]]))
    return "\n\n".join(head) + "\n\n" + "\n".join(map(markdown, tables))


def content(facts, tables):
    """All of it, and every round's times, as json."""
    return json.dumps(facts | {"tables": [vars(table) for table in tables]}, indent=1) + "\n"
