"""A report is a list of blocks, rendered three ways: Markdown and a terminal here, a page in page.

Text carries `code`, **bold** and [links](to/a/folder) as in Markdown.
"""

import math
import re
import textwrap
from dataclasses import dataclass

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
class Cell:
    """A cell of a Matrix: its numbers, what they say, and why where that needs a reason."""

    numbers: str
    state: str = ""
    why: str = ""
    tone: str = "gone"  # a class of TONES: how ours agrees with the paper's
    link: str = ""  # text of the Heading under which the page says where the numbers come from

    @property
    def words(self):
        """"no (paper: yes): student fairer than the ceiling", without the marks of **bold**."""
        return ": ".join(filter(None, [self.state, self.why])).replace("**", "")


@dataclass
class Matrix:
    """The answer at a glance. rows: [(title, what is measured, [Cell of each column])]."""

    caption: str
    answer: str  # the whole in a sentence
    head: list  # what a row is, what a column is, what the numbers are
    columns: list
    rows: list
    meaning: tuple = ()  # of each column, in a few words; () where they speak for themselves

    def table(self):
        """The same as a Table, a line a cell."""
        body = [["" if i else title, name, cell.numbers, cell.state, cell.why]
                for title, _, cells in self.rows
                for i, (name, cell) in enumerate(zip(self.columns, cells))]
        return Table(self.caption, [*self.head, "here", "why"], body)


@dataclass
class Picture:
    """An image: the path for Markdown, the text of an <svg> element for the page; or of several, so
    that on a phone one stands below the other: panels [(name, svg)]."""

    caption: str
    path: str
    svg: str = ""
    panels: tuple = ()


@dataclass
class Details:
    """Blocks that a page shows when asked; Markdown has them under a heading of level 2."""

    text: str
    blocks: list


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


def anchor(text):
    """The id of a heading."""
    return re.sub(r"\W+", "-", text.lower()).strip("-")


# ---- what comes from outside ---------------------------------------------------------------------
# Names of models, runs, slices and files stand in the report: they must not move a cursor, open a
# tag or break a table.

# control characters but tab and line feed, overrides of the direction of writing, lone surrogates
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
LINKED = re.compile(r"\[([^\[\]]*)\]\([^()]*\)")  # a link, whose text alone a terminal shows
TAG = re.compile("<(?=[A-Za-z/!?])")  # not the < of "weak < student", which is no tag


def plain(text):
    """Text from outside without characters that steer a terminal or that UTF-8 cannot encode:
    each becomes "?", a line end a blank."""
    return UNSEEN.sub("?", text.replace("\r", " ").replace("\n", " "))


def safe(block):
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
        case Matrix():
            return Matrix(block.caption, block.answer, block.head,
                          [plain(name) for name in block.columns],
                          [(plain(title), plain(note), cells) for title, note, cells in block.rows],
                          block.meaning)
        case Details():
            return Details(plain(block.text), [safe(each) for each in block.blocks])
    return Picture(plain(block.caption), plain(block.path), UNSEEN.sub("?", block.svg),
                   tuple((plain(name), UNSEEN.sub("?", svg)) for name, svg in block.panels))


# ---- Markdown and terminal -----------------------------------------------------------------------

def markdown(blocks):
    """The report as Markdown without HTML; tables are padded, so that they read as plain text."""
    return TAG.sub("&lt;", "\n\n".join(_markdown(safe(block)) for block in blocks)) + "\n"


def _markdown(block):
    match block:
        case Heading():
            return f"{'#' * block.level} {block.text}"
        case Bullets():
            return "\n".join(f"- {item}" for item in block.items)
        case Picture():
            return f"![{block.caption}]({block.path})"
        case Matrix():
            notes = Bullets([f"{name}: {text}" for name, text, _ in (*meanings(block),
                                                                     *block.rows)])
            return "\n\n".join([block.answer, _markdown(block.table()), _markdown(notes)])
        case Details():
            return "\n\n".join(map(_markdown, [Heading(block.text), *block.blocks]))
        case Table():
            head, *body = ["| " + " | ".join(row) + " |" for row in block.lines()]
            rule = "|".join("-" * (len(text) + 1) + ("-", ":")[right]
                            for text, right in zip(block.lines()[0], block.right()))
            return "\n".join([f"### {block.caption}", "", head, f"|{rule}|", *body])
    return block.text  # Text is Markdown already


def terminal(blocks, colour=False, width=80):
    """Matrices and Texts for a screen of so many columns; states are coloured when `colour` is
    set."""
    return "\n\n".join(_matrix(block, colour, width) if isinstance(block, Matrix) else
                       "\n".join(_fill(line.replace("**", "").replace("`", ""), width)
                                 for line in block.text.split("\n"))
                       for block in map(safe, blocks)) + "\n"


def unlinked(text):
    """Text with the words of its links alone."""
    return LINKED.sub(r"\1", text)


def link(words, place):
    """Words that lead to the Heading `place`, if there is one."""
    return f"[{words}](#{anchor(place)})" if place and words != GONE else words


def meanings(matrix):
    """[(column, what it means, None)], as rows are."""
    return [(name, text, None) for name, text in zip(matrix.columns, matrix.meaning)]


def _fill(text, width, indent=""):
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False,
                         subsequent_indent=indent)


def _matrix(matrix, colour, width):
    """A line a cell: column, numbers, what they say in words. Where these have no room beside the
    numbers they stand below."""
    names = max(map(len, matrix.columns))
    numbers = max(len(cell.numbers) for _, _, cells in matrix.rows for cell in cells)
    start = names + numbers + 6  # of the words beside the numbers
    beside = width - start > 24
    lines = [_fill(f"{matrix.caption} {matrix.head[-1]}", width),
             _fill(matrix.answer.replace("**", ""), width), "-" * width]
    lines += [_fill("; ".join(f"{name}: {text}" for name, text, _ in meanings(matrix)), width)
              ] * bool(matrix.meaning)
    for title, note, cells in matrix.rows:
        lines += [_fill(f"{title}: {unlinked(note)}", width, "  ")]
        for name, cell in zip(matrix.columns, cells):
            first = f"  {name:<{names}}  {cell.numbers:<{numbers}}"
            words = textwrap.wrap(cell.words, width - start if beside else width - 4)
            if colour:
                words = [f"\x1b[{ANSI[cell.tone]}m{text}\x1b[0m" for text in words]
            words = [" " * (start if beside else 4) + text for text in words]
            if beside and words:
                words[0] = f"{first}  {words[0].lstrip()}"
            else:
                lines.append(first.rstrip())
            lines += words
    return "\n".join(lines)
