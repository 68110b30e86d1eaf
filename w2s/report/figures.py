"""How the figures are drawn: grouped bars of one property (`draw`, in the manner of Fig. 2 of Sun
et al.), dots of all properties (`overview`), training losses (`losses`), lines over a number
(`lines`: purity, chain, fairness frontier), differences with their intervals (`changes`: crossing).

matplotlib is optional (requirements-figures.txt) and imported inside the functions, so a report
without figures does not need it; without it each of the five raises ImportError. They use Figure
and not pyplot, which keeps every figure in memory until it is closed.
"""

import functools
import math
import re
import textwrap

import numpy as np

from w2s.report.render import signed

# weak, naive, aux, ceiling: Okabe and Ito's colours, told apart in grey and by colour-blind eyes
COLOURS = ("#999999", "#56B4E9", "#0072B2", "#E69F00")
INK, PALE, RULE, PAPER = "#222222", "#666666", "#e6e6e6", "#ffffff"
LEFT = 0.06  # left edge of title, notes and axes, as a share of the figure's width
DASHED, DOTTED = (0, (4, 3)), (0, (1, 1))
# {name of a curve: (colour, line style)}: a score or a role looks the same in every figure. Scores
# of one kind share a colour: ntf in black, the teacher's own confidence in orange
LINES = {"ntf": (INK, "-"), "ntf-zero-shot": (INK, DOTTED),
         "ntf-other-task": (INK, (0, (4, 2))), "confidence": ("#E69F00", "-"),
         "margin": ("#E69F00", (0, (4, 2))), "entropy": ("#E69F00", DOTTED),
         "icl-confidence": ("#CC79A7", "-"), "reward": ("#009E73", "-"),
         "weak": (COLOURS[0], "-"), "student": (COLOURS[2], "-"), "ceiling": (COLOURS[3], "-"),
         "Bayes": (INK, DASHED), "random": (PALE, DASHED), "best possible": ("#56B4E9", DASHED)}
EXTRA = (INK, "#0072B2", "#E69F00", "#009E73")  # curves that LINES does not name, in turn
SMALL = {"textcoords": "offset points", "fontsize": 7.5}


def literally(draw):
    """A decorator: a $ in a text is drawn as it is. Names from outside stand in the figures, and
    matplotlib would take what is between two $ for a formula, and raise where it is none."""
    @functools.wraps(draw)
    def drawn(*arguments):
        from matplotlib import rc_context
        with rc_context({"text.parse_math": False}):
            return draw(*arguments)
    return drawn


@literally
def draw(title, subtitle, notes, groups, bars, panels):
    """A matplotlib Figure of grouped bars with intervals, one panel above the other.

    groups: [(name, note)], one a strategy; bars: names of the bars of each group. panels: [{"name",
    "better": "higher" | "lower", "values": {(group, bar): (mean, low, high)}, "lines": [(value,
    name)] to compare with}] with indices into groups and bars; a bar that values lacks is marked
    "no run". subtitle and notes: printed under the title and, each on lines of its own, under the
    figure.
    """
    from matplotlib.figure import Figure

    notes = wrapped(notes, 160)
    height = 3.1 * len(panels) + 1.9
    figure = Figure(figsize=(10, height), facecolor=PAPER)
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axis, panel in zip(axes, panels):
        _panel(axis, panel, len(groups), bars)
    for g, (name, note) in enumerate(groups):  # once, above the first panel: all share their x
        middle = (_place(g, 0, bars) + _place(g, len(bars) - 1, bars)) / 2
        for text, up, style in ((name, 49, dict(fontsize=11, weight="bold", color=INK)),
                                (note, 36, dict(fontsize=8.5, color=PALE))):
            axes[0].annotate(text, (middle, 1), (0, up), xycoords=("data", "axes fraction"),
                             textcoords="offset points", ha="center", **style)
    texts(figure, title, subtitle, notes)
    figure.subplots_adjust(left=LEFT, right=0.92, top=1 - 1.7 / height, hspace=0.36,
                           bottom=(0.6 + 0.16 * len(notes)) / height)
    return figure


@literally
def overview(title, subtitle, groups, bars, panels):
    """A matplotlib Figure of all properties, two small panels beside each other: a dot a model with
    its interval, in groups of one strategy. Arguments as in `draw`; groups: names alone."""
    def paint(axis, panel):
        for (g, b), (mean, low, high) in panel["values"].items():
            x = g + .18 * (b - (len(bars) - 1) / 2)  # the dots of a group stand around its tick
            colour = COLOURS[-1 if b == len(bars) - 1 else b]  # ceiling: last
            axis.vlines(x, low, high, color=colour, linewidth=1.6, zorder=2)
            axis.plot(x, mean, "o", color=colour, markersize=7, zorder=3)
        arrow = {"higher": "↑", "lower": "↓"}[panel["better"]]
        _headed(axis, f"{panel['name']}   ({arrow} is better)", "y", pad=7)
        axis.set_xticks(range(len(groups)), groups)
        axis.set_xlim(-.5, len(groups) - .5)
    return _multiples(title, subtitle, bars, panels, paint, "o")


@literally
def losses(title, subtitle, models, panels):
    """A matplotlib Figure of training losses, a small panel a task: panels [{"name", "curves":
    [(index into models, x, loss)]}], a line a run."""
    def paint(axis, panel):
        for model, x, loss in panel["curves"]:
            colour = COLOURS[-1 if model == len(models) - 1 else model]
            axis.plot(x, loss, color=colour, linewidth=.9, alpha=.8, zorder=2 + model)
        _headed(axis, panel["name"], "y", pad=7)
        axis.set_xlim(0, 1)
        axis.set_xticks([0, .5, 1], ["start", "half of the steps", "end"])
    return _multiples(title, subtitle, models, panels, paint, "-")


@literally
def lines(title, subtitle, notes, x, y, curves, across=()):
    """A matplotlib Figure of lines.

    x, y: names of the axes, or of x {position: name of its tick}. curves: [{"name", "x", "mean",
    "low", "high", "band"}]; low and high, each a sequence or None, are drawn as a band around the
    line or, without `band`, as intervals at its points. across: [(value, name)] to compare with.
    """
    from matplotlib.figure import Figure

    notes = wrapped(notes, 150)
    figure = Figure(figsize=(10, 5.4), facecolor=PAPER)
    axis = figure.subplots()
    for k, curve in enumerate(curves):
        colour, style = LINES.get(curve["name"], (EXTRA[k % len(EXTRA)], "-"))
        # intervals at the same places would lie on each other
        x_at = np.add(curve["x"], 0 if curve["band"] else .05 * (k - (len(curves) - 1) / 2))
        axis.plot(x_at, curve["mean"], label=curve["name"], zorder=3, color=colour,
                  linestyle=style, linewidth=2.2 if colour == INK else 1.6,
                  marker=None if curve["band"] else "o", markersize=5)
        if curve["low"] is not None and curve["band"]:
            axis.fill_between(curve["x"], curve["low"], curve["high"], color=colour, alpha=.15,
                              linewidth=0, zorder=2)
        elif curve["low"] is not None:
            axis.vlines(x_at, curve["low"], curve["high"], color=colour, linewidth=1.2)
    for value, name in across:
        _line_across(axis, value)
        axis.annotate(f"{name} {value:.3f}", (0, value), (3, 3), xycoords=("axes fraction", "data"),
                      **SMALL, color=PALE)
    if isinstance(x, dict):
        axis.set_xticks(list(x), list(x.values()))
        axis.set_xlim(min(x) - .25, max(x) + .25)
    else:
        axis.set_xlabel(x, fontsize=9, color=INK)
    # beside the axis: inside it would hide a curve, since these may run anywhere
    axis.legend(loc="center left", bbox_to_anchor=(1.01, .5), frameon=False, fontsize=8.5,
                labelcolor=INK)
    _headed(axis, y, "y")
    _around(figure, [axis], title, subtitle, notes, right=0.78)
    return figure


@literally
def changes(title, subtitle, notes, names, panels):
    """A matplotlib Figure of differences, one panel beside the other: names of its lines, from the
    top; panels: [{"name", "values": {line: (difference, low, high)}}], positive: better. An
    interval that excludes 0 is blue above it and orange below; one that includes 0 is grey."""
    from matplotlib.figure import Figure

    notes = wrapped(notes, 150)
    figure = Figure(figsize=(10, 2.6 + 0.3 * len(names)), facecolor=PAPER)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes, panels):
        axis.axvline(0, color=PALE, linewidth=0.9, zorder=1)
        for line, (difference, low, high) in panel["values"].items():
            colour = COLOURS[2] if low > 0 else COLOURS[3] if high < 0 else COLOURS[0]
            axis.hlines(line, low, high, color=colour, linewidth=2.4, zorder=2)
            axis.plot(difference, line, "o", color=colour, markersize=6, zorder=3)
            axis.annotate(signed(difference), (difference, line), (0, 6), ha="center", **SMALL,
                          color=INK)
        _headed(axis, panel["name"], "x")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - .4, -.6)  # reversed: the first name stands at the top
    _around(figure, axes, title, subtitle, notes, left=0.22, right=0.97)
    return figure


# ---- parts of a figure ---------------------------------------------------------------------------

def _multiples(title, subtitle, models, panels, paint, mark):
    """A Figure of small panels, two beside each other, which paint(axis, panel) fills, with one
    legend of the models. Without a title: the panels alone, to stand in a page."""
    from matplotlib.figure import Figure

    columns, head = min(2, len(panels)), 1.1 if title else .35  # inches
    rows = -(-len(panels) // columns)
    height = (2.4 if title else 2.2) * rows + .1 + head
    figure = Figure(figsize=(5 * columns, height), facecolor=PAPER)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes[len(panels):]:  # an odd number of panels leaves a place empty
        axis.set_visible(False)
    for axis, panel in zip(axes, panels):
        paint(axis, panel)
    # empty plots, so that the legend has every model, also one without a run in the first panel
    marks = [axes[0].plot([], [], mark, color=colour, label=name)[0]
             for name, colour in zip(models, (*COLOURS[:len(models) - 1], COLOURS[-1]))]
    _around(figure, axes, title, subtitle, [])
    figure.legend(handles=marks, loc="lower center", ncols=len(models), frameon=False, fontsize=9,
                  handlelength=1.2, columnspacing=1.2, labelcolor=INK)
    figure.subplots_adjust(left=.06 if columns > 1 else .1, right=.98, top=1 - head / height,
                           bottom=.75 / height, hspace=.42, wspace=.13)
    return figure


def wrapped(notes, width):
    """The lines of all notes; how many they are sets the room under the axes."""
    return [line for note in notes for line in textwrap.wrap(note, width, break_on_hyphens=False)]


def texts(figure, title, subtitle, notes):
    """Title and subtitle above, the lines of the notes below. Distances are in inches, so they are
    the same in a high and in a low figure."""
    height = figure.get_figheight()
    figure.text(LEFT, 1 - 0.36 / height, title, fontsize=15, weight="bold", color=INK)
    figure.text(LEFT, 1 - 0.45 / height, textwrap.fill(subtitle, 125), va="top", fontsize=9.5,
                color=PALE)
    figure.text(LEFT, 0.12 / height, "\n".join(notes), va="bottom", fontsize=8, color=PALE,
                linespacing=1.4)


def _around(figure, axes, title, subtitle, notes, left=LEFT, right=0.92):
    """Title, subtitle and notes of a figure, and quiet axes."""
    height = figure.get_figheight()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(PALE)
        axis.tick_params(labelsize=8.5, colors=INK, length=0)
    texts(figure, title, subtitle, notes)
    figure.subplots_adjust(left=left, right=right, top=1 - 1.15 / height, wspace=.1,
                           bottom=(0.65 + 0.16 * len(notes)) / height)


def _headed(axis, name, across, pad=9):
    """A panel's name at its left, and pale lines across the values of one axis, "x" or "y"."""
    axis.set_title(name, loc="left", fontsize=9.5, color=INK, pad=pad)
    axis.grid(axis=across, color=RULE, linewidth=0.7, zorder=0)


def _line_across(axis, value):
    """A dashed line at a value to compare with."""
    axis.axhline(value, color=PALE, linewidth=0.9, linestyle=DASHED, zorder=1)


def _panel(axis, panel, groups, bars):
    """The bars of one panel, their intervals and values, the axis and the lines to compare with."""
    values = [v for value in panel["values"].values() for v in value]
    bottom, top = value_range(values, panel["lines"])
    for g in range(groups):
        for b in range(len(bars)):
            value = panel["values"].get((g, b))
            colour = COLOURS[-1 if b == len(bars) - 1 else b % len(COLOURS)]  # ceiling: last
            _bar(axis, _place(g, b, bars), value, colour, bottom)
    place = -math.inf
    for value, name in sorted(panel["lines"]):
        _line_across(axis, value)
        # lines may be close together: a name moves up until it does not cover the one below
        place = max(value, place + (top - bottom) * 0.14)
        axis.annotate(f"{name}\n{value:.3f}", (1, place), (4, 0), va="center", **SMALL, color=PALE,
                      xycoords=("axes fraction", "data"))
    axis.set_ylim(bottom, top)
    axis.set_xlim(-0.7, _place(groups - 1, len(bars) - 1, bars) + 0.7)
    ticks = [(_place(g, b, bars), bars[b]) for g in range(groups) for b in range(len(bars))]
    axis.set_xticks([x for x, _ in ticks], [name for _, name in ticks], fontsize=8, color=INK)
    arrow = {"higher": "↑ higher", "lower": "↓ lower"}[panel["better"]]
    start = f"; axis starts at {bottom:g}" if bottom else ""  # bars that are cut must say so
    _headed(axis, f"{panel['name']}   ({arrow} is better{start})", "y")
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.spines["left"].set_color(PALE)
    axis.tick_params(axis="x", length=0)
    axis.tick_params(axis="y", labelsize=8, colors=PALE)
    axis.set_axisbelow(True)


def _bar(axis, x, value, colour, bottom):
    """One bar with its interval and its mean in small digits above; value: (mean, low, high) or
    None."""
    if value is None or math.isnan(value[0]):
        axis.annotate("no run", (x, bottom), (0, 4), ha="center", **SMALL, color=PALE)
        return
    mean, low, high = value
    axis.bar(x, mean - bottom, bottom=bottom, width=0.86, color=colour, zorder=2)
    if not math.isnan(low):
        axis.vlines(x, low, high, color=PAPER, linewidth=3, zorder=3)  # sets it off a dark bar
        axis.vlines(x, low, high, color=INK, linewidth=1.2, zorder=3)
    top = mean if math.isnan(high) else max(mean, high)
    axis.annotate(f"{mean:.3f}", (x, top), (0, 3), ha="center", **SMALL, color=INK)


def _place(group, bar, bars):
    """x of a bar; groups stand almost a bar's width apart."""
    return group * (len(bars) + 0.9) + bar


def value_range(values, lines):
    """(bottom, top) of a value axis. 0 where the values reach down to it, else a round number below
    them: differences of a point between accuracies of 90 % would not be seen from 0."""
    values = [v for v in values + [v for v, _ in lines] if not math.isnan(v)] or [0.0, 1.0]
    low, high = min(values), max(values)
    bottom = math.floor((low - 0.15 * (high - low)) * 20) / 20 if low > 0.3 else min(0.0, low)
    # .14 above the highest for its digits; 1e-9, since an axis from 0 to 0 has no scale
    return bottom, bottom + (high - bottom) * 1.14 + 1e-9


# ---- files ---------------------------------------------------------------------------------------

def save(figure, file, kind):
    """Write a figure to an open binary file, kind "png" | "svg"; same figure, same bytes."""
    from matplotlib import rc_context

    # an SVG would carry the time it was made, and ids with a random salt
    undated = {"Date": None} if kind == "svg" else None
    # fonttype none: letters stay text, which can be searched and is smaller than their outlines
    with rc_context({"svg.hashsalt": "w2s", "svg.fonttype": "none", "text.parse_math": False}):
        figure.savefig(file, format=kind, dpi=160, metadata=undated)


def inline(svg, name):
    """The <svg> element of a saved figure, to stand in a page beside others.

    Its ids begin with `name`, since ids that two figures share would mix up their parts. Ink and
    paper are the page's (--ink, --pale, --rule, --paper), so a figure is dark on a dark page.
    """
    svg = re.sub("<metadata>.*?</metadata>", "", svg[svg.index("<svg"):], flags=re.S)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in ((INK, "ink"), (PALE, "pale"), (RULE, "rule"), (PAPER, "paper")):
        svg = svg.replace(colour, f"var(--{variable})")
    return svg
