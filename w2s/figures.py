"""One figure a property, in the manner of GT's Fig. 2: trust above, task performance below.

matplotlib is optional and imported here only (requirements-figures.txt); without it `draw` raises
ImportError.
"""

import math
import re
import textwrap

# weak, naive, aux, ceiling: Okabe and Ito's colours, told apart in grey and by colour-blind eyes
COLOURS = ("#999999", "#56B4E9", "#0072B2", "#E69F00")
INK, PALE, RULE, PAPER, LEFT = "#222222", "#666666", "#e6e6e6", "#ffffff", 0.06
SMALL = {"textcoords": "offset points", "fontsize": 7.5}


def draw(title, subtitle, notes, groups, bars, panels):
    """A matplotlib Figure of grouped bars with intervals, one panel above the other.

    groups: [(name, note)], one a strategy; bars: names of the bars of each group. panels: [{"name",
    "better": "higher" | "lower", "values": {(group, bar): (mean, low, high)}, "lines": [(value,
    name)] to compare with}] with indices into groups and bars; a bar that values lacks is marked
    "no run". subtitle and notes: printed under the title and, each on lines of its own, under the
    figure.
    """
    from matplotlib.figure import Figure

    below = [line for note in notes for line in textwrap.wrap(note, 160, break_on_hyphens=False)]
    height = 3.1 * len(panels) + 1.9
    figure = Figure(figsize=(10, height), facecolor=PAPER)
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axis, panel in zip(axes, panels):
        _panel(axis, panel, len(groups), bars)
    for g, (name, note) in enumerate(groups):
        middle = (_place(g, 0, bars) + _place(g, len(bars) - 1, bars)) / 2
        for text, up, style in ((name, 49, dict(fontsize=11, weight="bold", color=INK)),
                                (note, 36, dict(fontsize=8.5, color=PALE))):
            axes[0].annotate(text, (middle, 1), (0, up), xycoords=("data", "axes fraction"),
                             textcoords="offset points", ha="center", **style)
    figure.text(LEFT, 1 - 0.36 / height, title, fontsize=15, weight="bold", color=INK)
    figure.text(LEFT, 1 - 0.45 / height, textwrap.fill(subtitle, 125), va="top", fontsize=9.5,
                color=PALE)
    figure.text(LEFT, 0.12 / height, "\n".join(below), va="bottom", fontsize=8, color=PALE,
                linespacing=1.4)
    figure.subplots_adjust(left=LEFT, right=0.92, top=1 - 1.7 / height, hspace=0.36,
                           bottom=(0.6 + 0.16 * len(below)) / height)
    return figure


def save(figure, file, kind):
    """Write a figure to an open binary file, kind "png" | "svg"; same figure, same bytes."""
    from matplotlib import rc_context

    undated = {"Date": None} if kind == "svg" else None
    with rc_context({"svg.hashsalt": "w2s", "svg.fonttype": "none"}):
        figure.savefig(file, format=kind, dpi=160, metadata=undated)


def inline(svg, name):
    """The <svg> element of a saved figure, to stand in a page beside others: its ids begin with
    `name`, and ink and paper are the page's (--ink, --pale, --rule, --paper), light or dark."""
    svg = re.sub("<metadata>.*?</metadata>", "", svg[svg.index("<svg"):], flags=re.S)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in ((INK, "ink"), (PALE, "pale"), (RULE, "rule"), (PAPER, "paper")):
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def _panel(axis, panel, groups, bars):
    """The bars of one panel, their intervals and values, the axis and the lines to compare with."""
    bottom, top = _range([v for value in panel["values"].values() for v in value], panel["lines"])
    for g in range(groups):
        for b in range(len(bars)):
            value = panel["values"].get((g, b))
            colour = COLOURS[-1 if b == len(bars) - 1 else b % len(COLOURS)]  # the ceiling's is one
            _bar(axis, _place(g, b, bars), value, colour, bottom)
    place = -math.inf
    for value, name in sorted(panel["lines"]):
        axis.axhline(value, color=PALE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        place = max(value, place + (top - bottom) * 0.14)  # their names stand one above the other
        axis.annotate(f"{name}\n{value:.3f}", (1, place), (4, 0), va="center", **SMALL, color=PALE,
                      xycoords=("axes fraction", "data"))
    axis.set_ylim(bottom, top)
    axis.set_xlim(-0.7, _place(groups - 1, len(bars) - 1, bars) + 0.7)
    places = [(_place(g, b, bars), bars[b]) for g in range(groups) for b in range(len(bars))]
    axis.set_xticks([x for x, _ in places], [name for _, name in places], fontsize=8, color=INK)
    arrow = {"higher": "↑ higher", "lower": "↓ lower"}[panel["better"]]
    start = f"; axis starts at {bottom:g}" if bottom else ""
    axis.set_title(f"{panel['name']}   ({arrow} is better{start})", loc="left", fontsize=9.5,
                   color=INK, pad=9)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.spines["left"].set_color(PALE)
    axis.tick_params(axis="x", length=0)
    axis.tick_params(axis="y", labelsize=8, colors=PALE)
    axis.grid(axis="y", color=RULE, linewidth=0.7, zorder=0)
    axis.set_axisbelow(True)


def _bar(axis, x, value, colour, bottom):
    """One bar with its interval and its mean in small digits above."""
    if value is None or math.isnan(value[0]):
        axis.annotate("no run", (x, bottom), (0, 4), ha="center", **SMALL, color=PALE)
        return
    mean, low, high = value
    axis.bar(x, mean - bottom, bottom=bottom, width=0.86, color=colour, zorder=2)
    if not math.isnan(low):
        axis.vlines(x, low, high, color=PAPER, linewidth=3, zorder=3)
        axis.vlines(x, low, high, color=INK, linewidth=1.2, zorder=3)
    top = mean if math.isnan(high) else max(mean, high)
    axis.annotate(f"{mean:.3f}", (x, top), (0, 3), ha="center", **SMALL, color=INK)


def _place(group, bar, bars):
    """x of a bar; groups stand almost a bar's width apart."""
    return group * (len(bars) + 0.9) + bar


def _range(values, lines):
    """(bottom, top) of a value axis. 0 where the values reach down to it, else a round number below
    them: differences of a point between accuracies of 90 % would not be seen from 0."""
    values = [v for v in values + [v for v, _ in lines] if not math.isnan(v)] or [0.0, 1.0]
    low, high = min(values), max(values)
    bottom = math.floor((low - 0.15 * (high - low)) * 20) / 20 if low > 0.3 else min(0.0, low)
    return bottom, bottom + (high - bottom) * 1.14 + 1e-9
