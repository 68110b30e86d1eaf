"""A report as one HTML page, which needs no network and no script.

It is readable on a phone (a row of a Matrix is a block there, a wide table scrolls in its own box),
in light and dark, and on paper. What stands in Details is shown when asked.
"""

import re
from html import escape

from w2s.report.render import (Bullets, Details, Heading, Matrix, Picture, Table, anchor, link,
                               meanings, plain, safe, tone)
from w2s.report.style import STYLE

LINK = re.compile(r"\[([^\[\]]*)\]\(([\w./#%-]+)\)")  # no colon: it leads nowhere else


def html(title, blocks):
    """The page of a report."""
    return ('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(plain(title))}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
            "<main>\n" + "\n".join(_html(safe(block)) for block in blocks)
            + "\n</main>\n</body>\n</html>\n")


def _html(block):
    match block:
        case Heading():
            return (f'<h{block.level} id="{anchor(block.text)}">{_inline(block.text)}'
                    f"</h{block.level}>")
        case Bullets():
            return "<ul>\n" + "\n".join(f"<li>{_inline(item)}" for item in block.items) + "\n</ul>"
        case Picture():
            return _figure(block)
        case Table():
            return _box(_table(block), block.caption)
        case Matrix():
            return _matrix(block)
        case Details():
            inside = "\n".join(map(_html, block.blocks))
            return (f"<details><summary><h2>{_inline(block.text)}</h2></summary>\n"
                    f'<div id="{anchor(block.text)}">\n{inside}\n</div></details>')
    return f"<p>{_inline(block.text)}</p>"


def _figure(picture):
    """A <figure>: one wide image that scrolls, or small ones that find their places."""
    content = _box(_named(picture.svg, picture.caption), picture.caption)
    if picture.panels:
        content = "\n".join(_named(svg, f"{picture.caption}: {name}")
                            for name, svg in picture.panels)
        content = f'<div class="panels">{content}</div>'
    return f"<figure>{content}<figcaption>{escape(picture.caption)}</figcaption></figure>"


def _named(svg, label):
    """An <svg> of which a screen reader says the label instead of every number on its axes."""
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def _box(content, label):
    """What is wider than the screen scrolls in here, not the whole page."""
    # tabindex: the arrow keys scroll a box only when it can have the focus
    return (f'<div class="wide" role="region" tabindex="0" aria-label="{escape(label)}">'
            f"{content}</div>")


def _matrix(matrix):
    """A <table> whose rows are blocks on a narrow screen, where each cell names its column."""
    meaning = [text for _, text, _ in meanings(matrix)] or [""] * len(matrix.columns)
    head = "".join(f'<th scope="col">{_inline(name)}{small(text)}</th>'
                   for name, text in zip(matrix.columns, meaning))
    names = [": ".join(filter(None, pair)) for pair in zip(matrix.columns, meaning)]
    lines = []
    for title, note, cells in matrix.rows:
        row = "".join(f'<td class="{cell.tone}" data-column="{escape(full)}">{_cell(cell)}</td>'
                      for full, cell in zip(names, cells))
        lines.append(f'<tr><th scope="row">{_inline(title)}{small(note)}</th>{row}</tr>')
    caption = f"{_inline(matrix.caption)}{small(matrix.answer)}"
    return (f'<table class="matrix"><caption>{caption}</caption>\n<thead><tr>'
            f'<th scope="col">{_inline(matrix.head[-1])}</th>{head}</tr></thead>\n<tbody>\n'
            + "\n".join(lines) + "\n</tbody></table>")


def small(text):
    return f"<small>{_inline(text)}</small>" if text else ""


def _cell(cell):
    """Numbers that lead to their origin, what they say, and why."""
    parts = ("numbers", link(cell.numbers, cell.link)), ("state", cell.state), ("why", cell.why)
    return "".join(f'<span class="{name}">{_inline(text)}</span>' for name, text in parts if text)


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


def _inline(text):
    """Text with `code`, **bold** and links as HTML."""
    # escaped first, so that the only tags are those made here
    text = re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text, quote=False))
    text = LINK.sub(r'<a href="\2">\1</a>', text)
    text = re.sub(r"(?<=[0-9]) %", "\N{NO-BREAK SPACE}%", text)
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
