"""A report is a list of blocks, rendered three ways: Markdown, one HTML page, a terminal.

Text carries `code` and **bold** as in Markdown. The page needs no network and no script. It is
readable on a phone (a wide table scrolls in its own box), in light and dark, and on paper.
"""

import math
import re
import textwrap
from dataclasses import dataclass
from html import escape

# words that are cells of their own and get a colour: {word: CSS class}
TONES = {"seen": "good", "not clear": "between", "not seen": "bad", "reversed": "bad",
         "not run": "gone", "not measured": "gone"}
TREND = re.compile(r"(yes|ordered|no) \((yes|no)\)")  # our state and the paper's: agreement counts
GONE = "-"  # stands for a number that is undefined or was not measured
ANSI = {"good": 34, "between": 33, "bad": 31, "gone": 2}  # blue, yellow, red, faint


@dataclass
class Heading:
    text: str
    level: int = 2  # headings of level 2 are the entries of the page's contents


@dataclass
class Text:
    text: str


@dataclass
class Bullets:
    items: list


@dataclass
class Table:
    """A blank first cell belongs to the one above it: in HTML the two are one cell."""

    caption: str
    head: list
    body: list  # rows of str, each as long as head

    def right(self):
        """Which columns are aligned to the right: [bool], True where every cell begins as a number
        or an interval does, or is GONE or blank."""
        return [all(re.match(r"[-+\d\[]|$", row[i]) for row in self.body)
                for i in range(len(self.head))]

    def lines(self):
        """The cells padded to equal columns: [[str]], the head first."""
        rows = [self.head, *self.body]
        widths = [max(len(row[i]) for row in rows) for i in range(len(self.head))]
        return [[text.rjust(width) if right else text.ljust(width)
                 for text, width, right in zip(row, widths, self.right())] for row in rows]


@dataclass
class Picture:
    """An image: the path for Markdown, the text of an <svg> element for the page."""

    caption: str
    path: str
    svg: str


# ---- numbers as words ----------------------------------------------------------------------------
# A number that is nan, or a summary that is None, is GONE. summary: of Study.summary or
# Study.sliced; step: one of Study.steps.

def mean(summary):
    """"0.812"."""
    return f"{summary['mean']:.3f}" if summary and not math.isnan(summary["mean"]) else GONE


def spread(summary):
    """"0.812 ± 0.004"; without ± for one seed, whose sd is nan."""
    if mean(summary) == GONE:
        return GONE
    return f"{mean(summary)} ± {summary['sd']:.3f}".removesuffix(" ± nan")


def spread_and_interval(summary):
    """["0.812 ± 0.004", "[0.801, 0.823]"]: two cells."""
    return [spread(summary), format_interval(summary["interval"]) if summary else GONE]


def signed(value):
    """"+0.020"; never -0.000."""
    # adding 0. turns a negative zero, which rounding leaves, into a positive one
    return f"{round(value, 3) + 0.:+.3f}" if not math.isnan(value) else GONE


def format_interval(ends, show="{:.3f}".format):
    """"[0.801, 0.823]"."""
    return f"[{', '.join(map(show, ends))}]" if not math.isnan(ends[0]) else GONE


def format_p(step, name):
    """step[name], a p value; one seed has none."""
    return f"{step[name]:.3f}" if step["n"] > 1 and not math.isnan(step[name]) else GONE


def difference_cells(step):
    """["-0.020", "[-0.030, -0.010]", "0.250"]: difference, interval and p. A step is positive where
    the model is better; shown is the change of the metric itself, so a smaller gap has a minus."""
    sign = step["sign"]
    return [signed(sign * step["difference"]),
            # a negative sign swaps the ends
            format_interval(sorted(sign * end for end in step["interval"]), signed),
            format_p(step, "p")]


def seed_count(n):
    """"1 seed", "3 seeds"."""
    return f"{n} seed{'s' * (n > 1)}"


def tone(text):
    """The CSS class of a cell's word, or None. A trend is good where it agrees with the paper, so
    "no (no)" is."""
    if trend := TREND.fullmatch(text):
        return "good" if trend[1] == trend[2] else "between" if trend[1] == "ordered" else "bad"
    return TONES.get(text)


# ---- what comes from outside ---------------------------------------------------------------------
# Names of models, runs, slices and files stand in the report: they must not move a cursor, open a
# tag or break a table.

# control characters but tab and line feed, overrides of the direction of writing, lone surrogates
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
TAG = re.compile("<(?=[A-Za-z/!?])")  # not the < of "weak < student", which is no tag


def plain(text):
    """Text from outside without characters that steer a terminal or that UTF-8 cannot encode:
    each becomes "?", a line end a blank."""
    return UNSEEN.sub("?", text.replace("\r", " ").replace("\n", " "))


def _safe(block):
    """The block with `plain` texts. The lines of a Text stay lines."""
    match block:
        case Heading():
            return Heading(plain(block.text), block.level)
        case Text():
            return Text("\n".join(map(plain, block.text.split("\n"))))
        case Bullets():
            return Bullets([plain(item) for item in block.items])
        case Table():
            return Table(plain(block.caption), [plain(text) for text in block.head],
                         [[plain(text) for text in row] for row in block.body])
    return Picture(plain(block.caption), plain(block.path), UNSEEN.sub("?", block.svg))


# ---- three ways to show --------------------------------------------------------------------------

def markdown(blocks):
    """The report as Markdown without HTML; tables are padded, so that they read as plain text."""
    return TAG.sub("&lt;", "\n\n".join(_markdown(_safe(block)) for block in blocks)) + "\n"


def _markdown(block):
    match block:
        case Heading():
            return f"{'#' * block.level} {block.text}"
        case Bullets():
            return "\n".join(f"- {item}" for item in block.items)
        case Picture():
            return f"![{block.caption}]({block.path})"
        case Table():
            head, *body = ["| " + " | ".join(row) + " |" for row in block.lines()]
            rule = "|".join("-" * (len(text) + 1) + ("-", ":")[right]
                            for text, right in zip(block.lines()[0], block.right()))
            return "\n".join([f"### {block.caption}", "", head, f"|{rule}|", *body])
    return block.text  # Text is Markdown already


def terminal(blocks, colour=False):
    """The report for a screen; words of TONES are coloured when `colour` is set."""
    return "\n\n".join(_terminal(_safe(block), colour) for block in blocks) + "\n"


def _terminal(block, colour):
    if isinstance(block, Table):
        rows = block.lines()
        width = len("  ".join(rows[0]))  # before painting: escape codes take no room on the screen
        lines = ["  ".join(_paint(text) if colour else text for text in row).rstrip()
                 for row in rows]
        return "\n".join([block.caption, "-" * width, lines[0], "-" * width, *lines[1:]])
    return "\n".join(textwrap.fill(line, 100, break_long_words=False, break_on_hyphens=False)
                     for line in re.sub(r"\*\*|`", "", _markdown(block)).splitlines())


def _paint(text):
    """A padded cell in the colour of its word."""
    colour = tone(text.strip())
    return f"\x1b[{ANSI[colour]}m{text}\x1b[0m" if colour else text


def html(title, blocks):
    """The report as one page; the contents stand before the first heading of level 2."""
    title, blocks = plain(title), [_safe(block) for block in blocks]
    links = [f'<a href="#{_anchor(block.text)}">{_inline(block.text)}</a>' for block in blocks
             if isinstance(block, Heading) and block.level == 2]
    body = [_html(block) for block in blocks]
    first = next((i for i, block in enumerate(blocks)
                  if isinstance(block, Heading) and block.level == 2), len(body))
    body.insert(first, f'<nav aria-label="Contents">{" ".join(links)}</nav>')
    return ('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
            + "\n".join(body) + "\n</main>\n</body>\n</html>\n")


def _html(block):
    match block:
        case Heading():
            return (f'<h{block.level} id="{_anchor(block.text)}">{_inline(block.text)}'
                    f"</h{block.level}>")
        case Bullets():
            return "<ul>\n" + "\n".join(f"<li>{_inline(item)}" for item in block.items) + "\n</ul>"
        case Picture():
            label = escape(block.caption)
            # a screen reader says the caption instead of every number on the axes
            svg = block.svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
            return f"<figure>{_box(svg, block.caption)}<figcaption>{label}</figcaption></figure>"
        case Table():
            return _box(_table(block), block.caption)
    return f"<p>{_inline(block.text)}</p>"


def _box(content, label):
    """What is wider than the screen scrolls in here, not the whole page."""
    # tabindex: the arrow keys scroll a box only when it can have the focus
    return (f'<div class="wide" role="region" tabindex="0" aria-label="{escape(label)}">'
            f"{content}</div>")


def _table(table):
    """A <table>: row heads span the blank cells below them."""
    classes = [["num"] if right else [] for right in table.right()]
    head = "".join(f'<th scope="col"{_class(c)}>{_inline(text)}</th>'
                   for text, c in zip(table.head, classes))
    lines = []
    for i, row in enumerate(table.body):
        span = 1  # this row and those below with a blank first cell
        while i + span < len(table.body) and not table.body[i + span][0]:
            span += 1
        rowspan = f' rowspan="{span}"' if span > 1 else ""
        # a sentence gets a least width, else a phone breaks it after every word
        long = _class(["long"] if len(row[0]) > 30 else [])
        first = f'<th scope="row"{rowspan}{long}>{_inline(row[0])}</th>' if row[0] or i == 0 else ""
        cells = "".join(f"<td{_class([*c, tone(text)])}>{_inline(text)}</td>"
                        for text, c in zip(row[1:], classes[1:]))
        lines.append(f"<tr{_class(['group'] if first else [])}>{first}{cells}</tr>")
    return (f"<table><caption><span>{_inline(table.caption)}</span></caption>\n"
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody></table>")


def _class(names):
    """" class=..." of the names that are not None."""
    names = " ".join(filter(None, names))
    return f' class="{names}"' if names else ""


def _anchor(text):
    """The id of a heading, for the links of the contents."""
    return re.sub(r"\W+", "-", text.lower()).strip("-")


def _inline(text):
    """Text with `code` and **bold** as HTML."""
    # escaped first, so that the only tags are those made here
    text = re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text, quote=False))
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)


# Two palettes, written out in the page: printing takes the light one whatever the screen has.
LIGHT = """--paper: #ffffff; --ink: #1c2126; --pale: #57606a; --rule: #d9dee3; --link: #0a58a8;
--good: #cfe3f7; --good-ink: #0b3d70; --between: #fbe6b3; --between-ink: #5c4300;
--bad: #f6d5cf; --bad-ink: #7a1f10; --gone: #eceff1; --gone-ink: #57606a;"""
DARK = """--paper: #14181c; --ink: #e6e9ec; --pale: #a3adb7; --rule: #39424b; --link: #7db7f0;
--good: #123b63; --good-ink: #cfe6ff; --between: #54410a; --between-ink: #ffe7a8;
--bad: #5e231a; --bad-ink: #ffd9d2; --gone: #262d34; --gone-ink: #a3adb7;"""
STYLE = """
:root { color-scheme: light dark; LIGHT }
@media (prefers-color-scheme: dark) { :root { DARK } }
@media print { :root { color-scheme: light; LIGHT } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 1rem; }
p, li, figcaption { max-width: 46rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: .8rem;
  border-top: 2px solid var(--rule); }
ul { padding-left: 1.2rem; }
li { margin: .25rem 0; overflow-wrap: anywhere; }
a { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: 1.5rem 0 0; font-size: .95rem; }
code { font: .9em ui-monospace, "DejaVu Sans Mono", monospace; background: var(--gone);
  padding: .1em .3em; border-radius: .2em; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 1rem 0; }
.wide:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
caption span { position: sticky; left: 0; display: inline-block; width: max-content;
  max-width: calc(100vw - 3rem); }
th, td { padding: .3rem .7rem; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid var(--pale); vertical-align: bottom; }
tbody th { font-weight: 500; }
.long { min-width: 13rem; }
tbody tr { border-bottom: 1px solid var(--rule); }
td:not(.num) { min-width: 3rem; }
td { white-space: nowrap; }
.num { text-align: right; white-space: nowrap; }
.good, .between, .bad, .gone { font-weight: 600; }
.good { background: var(--good); color: var(--good-ink); }
.between { background: var(--between); color: var(--between-ink); }
.bad { background: var(--bad); color: var(--bad-ink); }
.gone { background: var(--gone); color: var(--gone-ink); font-weight: 400; }
figure { margin: 1rem 0; }
figcaption { color: var(--pale); font-size: .9rem; }
svg { display: block; width: 100%; min-width: 46rem; height: auto; }
@media print {
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  .wide { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .15rem .35rem; }
  td:not(.num, .good, .between, .bad, .gone) { white-space: normal; }
  svg { min-width: 0; }
  h2, caption { break-after: avoid; }
  tr, figure { break-inside: avoid; }
  tbody tr:first-child { break-before: avoid; }
  .good, .between, .bad, .gone { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
""".replace("LIGHT", LIGHT).replace("DARK", DARK)
