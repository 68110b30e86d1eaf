"""How the figures on sensitivity are drawn: measures over a setting (`curves`, Figs. 3, A2, A7, A8
of Sun et al.), task performance against trust (`tradeoffs`, Fig. A1), bars of several sizes or
measures beside each other (`bars`, Figs. A3 to A6, A9 to A11).

As in w2s/report/figures.py, matplotlib is imported inside the functions, which raise ImportError
without it. Sizes of a figure are in inches, distances within a panel in points (1/72 inch).
"""

import itertools
import math
import textwrap

from w2s.report.figures import (COLOURS, DASHED, INK, LEFT, PALE, PAPER, RULE, literally, texts,
                                value_range, wrapped)
from w2s.sweep.labels import Labels

MODELS = ("weak", "student-naive", "student-aux", "ceiling")  # in the order of COLOURS
COLOUR, MARKER = dict(zip(MODELS, COLOURS)), dict(zip(MODELS, "osD^"))
WIDE, BESIDE, UNDER = 9.2, .27, .55  # of all panels; between two, in widths; room for the ticks
APART = 0.12  # of two models at a value, in steps from one value to the next
SMALL = 7.5   # size of labels, in points
WIDEST = 0.05  # of an interval beyond the means of a panel, where these are closer together
CORNERS = {("higher", "higher"): (1, 1, "↗"), ("lower", "higher"): (0, 1, "↖"),
           ("higher", "lower"): (1, 0, "↘"), ("lower", "lower"): (0, 0, "↙")}
PICKED = "rule of A.2"


@literally
def curves(title, subtitle, notes, columns):
    """A matplotlib Figure: a column a property, a row a panel, a line a model.

    columns: [{"name", "x", "ticks": names of V values, "picked": index of one or None, "panels":
    [{"name", "better": "higher" | "lower", "curves": {model: V (mean, low, high) or None}}]}],
    models of MODELS. Values stand equally far apart, whatever they are; None is a gap in its line.
    """
    from matplotlib.lines import Line2D

    models = [model for model in MODELS if any(
        model in panel["curves"] for column in columns for panel in column["panels"])]
    handles = [Line2D([], [], color=COLOUR[model], marker=MARKER[model], markersize=4.5,
                      label=model.replace("-", " ")) for model in models]
    if any(column["picked"] is not None for column in columns):
        handles.append(Line2D([], [], color=PALE, linewidth=.9, linestyle=DASHED, label="picked"))
    heads = [(column["name"], [_measure(panel) for panel in column["panels"]])
             for column in columns]
    figure, axes = _grid(title, subtitle, notes, heads, handles)
    for column, places in zip(columns, axes):
        for axis, panel in zip(places, column["panels"]):
            _curves(axis, column, panel, models)
        places[-1].set_xlabel(column["x"], fontsize=9, color=INK)
    return figure


@literally
def tradeoffs(title, subtitle, notes, panels):
    """A matplotlib Figure of trade-off curves, three panels beside each other.

    panels: [{"name", "x", "y", "better": (of x, of y), each "higher" | "lower", "points":
    [{"label", "x": (mean, low, high), "y": likewise, "picked": bool}]}]; points are joined in
    their order, a picked one has a ring. A wedge and an arrow mark the corner that is better.
    """
    heads = [(panel["name"], [f"{panel['y']}   {CORNERS[panel['better']][2]} is better"])
             for panel in panels]
    figure, axes = _grid(title, subtitle, notes, heads, [], abreast=3, inch=2.1)
    for panel, (axis,) in zip(panels, axes):
        _tradeoff(axis, panel)
    return figure


@literally
def bars(title, subtitle, notes, blocks, groups, models):
    """A matplotlib Figure of grouped bars with intervals: a block a column, a panel a row.

    groups: G names, one a strategy; models: M of MODELS, the bars of each group. blocks: [{"name",
    "panels": [{"name", "better": "higher" | "lower", "values": {(group, model): (mean, low,
    high)}}], "trends": G words, or None for some or for all}], group and model as indices; a trend
    stands over its group in the first panel, a bar that values lacks is marked "no run". Panels of
    a row that show the same measure have the same axis, so that their bars can be compared.
    """
    from matplotlib.patches import Patch

    handles = [Patch(color=COLOUR[model], label=model.replace("-", " ")) for model in models]
    ranges = _ranges(blocks)
    heads = [(block["name"], [_measure(panel, ranges[row, panel["name"]][0])
                              for row, panel in enumerate(block["panels"])]) for block in blocks]
    figure, axes = _grid(title, subtitle, notes, heads, handles)
    for block, places in zip(blocks, axes):
        for row, (axis, panel) in enumerate(zip(places, block["panels"])):
            _bars(axis, panel, groups, models, ranges[row, panel["name"]])
        for g, trend in enumerate(block["trends"] or ()):
            if trend is not None:
                places[0].annotate(f"trend\n{trend}", (_middle(g, models), 1), (0, -19),
                                   xycoords=("data", "axes fraction"), ha="center",
                                   textcoords="offset points", fontsize=SMALL, color=INK,
                                   linespacing=1.05)
    return figure


# ---- the grid and what every panel has -----------------------------------------------------------

def _grid(title, subtitle, notes, heads, handles, abreast=4, inch=1.55):
    """(figure, axes), axes[column] those of its panels. heads: [(name of a column, [text over each
    of its panels])]; handles: of the one legend; inch: height of a panel.

    More than `abreast` columns stand in bands, one below the other, so that none is narrow.
    """
    from matplotlib.figure import Figure

    bands, rows = -(-len(heads) // abreast), max(len(measures) for _, measures in heads)
    across = -(-len(heads) // bands)
    wide = WIDE / (across + BESIDE * (across - 1))  # of a panel
    heads = [(textwrap.fill(name, int(wide / .079)),  # inches of a bold letter, of others .061
              ["\n".join(wrapped(measure.split("\n"), int(wide / .061))) for measure in measures])
             for name, measures in heads]
    over = .05 + .14 * _lines(measure for _, measures in heads for measure in measures)
    named = .1 + .17 * _lines(name for name, _ in heads)
    row, notes = inch + UNDER + over, wrapped(notes, 150)
    band = rows * row + .15 + named
    top = .45 + .16 * len(textwrap.wrap(subtitle, 125))
    bottom = (.55 if handles else .25) + .16 * len(notes)
    height = top + bands * band + bottom
    figure = Figure(figsize=(10, height), facecolor=PAPER)
    texts(figure, title, subtitle, notes)
    if handles:
        figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False,
                      fontsize=9, labelcolor=INK,
                      bbox_to_anchor=(.5, (.14 + .16 * len(notes)) / height))
    axes = []
    for k, (name, measures) in enumerate(heads):
        left = LEFT + k % across * wide * (1 + BESIDE) / 10
        high = height - top - k // across * band - .15 - named - over  # upper edge of a panel
        axes.append([_panel(figure.add_axes((left, (high - n * row - inch) / height, wide / 10,
                                             inch / height)), measure)
                     for n, measure in enumerate(measures)])
        axes[-1][0].annotate(name, (0, 1), (0, 72 * over + 6), xycoords="axes fraction",
                             textcoords="offset points", fontsize=10, weight="bold", color=INK)
    return figure, axes


def _lines(texts):
    """Lines of the text that has the most."""
    return max(text.count("\n") + 1 for text in texts)


def _panel(axis, text):
    """A text over a panel without a frame; pale lines across, behind what is drawn."""
    axis.set_facecolor(PAPER)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(PALE)
    axis.tick_params(labelsize=SMALL, colors=INK, length=0)
    axis.grid(axis="y", color=RULE, linewidth=.7)
    axis.set_axisbelow(True)
    axis.set_title(text, loc="left", fontsize=8, color=INK, pad=5, linespacing=1.1)
    return axis


def _measure(panel, bottom=0):
    """What a panel shows and which way is better; bars that do not start at 0 must say so."""
    arrow = {"higher": "↑ higher", "lower": "↓ lower"}[panel["better"]]
    return f"{panel['name']}\n{arrow} is better" + (f"; from {bottom:g}" if bottom > 0 else "")


# ---- panels --------------------------------------------------------------------------------------

def _curves(axis, column, panel, models):
    """Lines with markers and intervals; the models at one value stand beside each other."""
    ticks = column["ticks"]
    if column["picked"] is not None:
        axis.axvline(column["picked"], color=PALE, linewidth=.9, linestyle=DASHED, zorder=1)
    for model, values in panel["curves"].items():
        away = APART * (models.index(model) - (len(models) - 1) / 2)
        at = [k + away for k in range(len(ticks))]
        mean, low, high = zip(*(value or (math.nan,) * 3 for value in values))
        axis.vlines(at, low, high, color=COLOUR[model], linewidth=1, zorder=2)
        axis.plot(at, mean, color=COLOUR[model], marker=MARKER[model], markersize=3.6,
                  linewidth=1.3, zorder=3)
    every = [value for values in panel["curves"].values() for value in values if value]
    axis.set_ylim(*padded(every, .08))
    room = axis.get_position().width * axis.figure.get_figwidth() / len(ticks)
    narrow = max(map(len, ticks)) * .075 > room
    axis.set_xticks(range(len(ticks)), ticks, rotation=45 if narrow else 0)
    axis.set_xlim(-.5, len(ticks) - .5)


def _tradeoff(axis, panel):
    """Points with the cross of their intervals, joined in their order and named."""
    points = panel["points"]
    x, y = ([point[key] for point in points] for key in "xy")
    axis.vlines([v[0] for v in x], [v[1] for v in y], [v[2] for v in y], color=COLOURS[1],
                linewidth=.8, zorder=2)
    axis.hlines([v[0] for v in y], [v[1] for v in x], [v[2] for v in x], color=COLOURS[1],
                linewidth=.8, zorder=2)
    axis.plot([v[0] for v in x], [v[0] for v in y], color=COLOURS[2], marker="o", markersize=4,
              linewidth=1, zorder=3)
    axis.grid(axis="x", color=RULE, linewidth=.7)
    axis.locator_params(nbins=5)
    axis.set_xlabel(panel["x"], fontsize=8.5, color=INK)
    axis.set(xlim=padded(x, .16), ylim=padded(y, .16))  # from here on they stay as they are
    right, up, _ = CORNERS[panel["better"]]
    axis.fill([right, right + .08 * (1 - 2 * right), right], [up, up, up + .1 * (1 - 2 * up)],
              color=PALE, linewidth=0, alpha=.5, transform=axis.transAxes, zorder=1)
    labels = Labels(axis, [(px[0], py[0], point["picked"])
                           for point, px, py in zip(points, x, y)], SMALL)
    for px, py in zip(x, y):
        labels.avoid((px[1], py[0]), (px[2], py[0]))
        labels.avoid((px[0], py[1]), (px[0], py[2]))
    for point, px, py in sorted(zip(points, x, y), key=lambda each: not each[0]["picked"]):
        if point["picked"]:  # first, so that it has the best place
            axis.plot(px[0], py[0], "o", markersize=10, markerfacecolor="none",
                      markeredgecolor=INK, markeredgewidth=1.3, zorder=4)
        name = f"{point['label']}: {PICKED}" if point["picked"] else point["label"]
        labels.place(name, px[0], py[0], bold=point["picked"])


def _bars(axis, panel, groups, models, span):
    """Bars with their intervals on an axis of the range `span`, (bottom, top)."""
    bottom, top = span
    for (g, m), x in ((key, _place(*key, models)) for key in itertools.product(
            range(len(groups)), range(len(models)))):
        mean, low, high = panel["values"].get((g, m), (math.nan,) * 3)
        if math.isnan(mean):
            axis.annotate("no run", (x, bottom), (0, 3), textcoords="offset points", ha="center",
                          rotation=90, fontsize=6.5, color=PALE)
            continue
        axis.bar(x, mean - bottom, bottom=bottom, width=.86, color=COLOUR[models[m]], zorder=2)
        axis.vlines(x, low, high, color=PAPER, linewidth=2.4, zorder=3)  # off a dark bar
        axis.vlines(x, low, high, color=INK, linewidth=1, zorder=3)
    axis.set_ylim(bottom, top)
    axis.set_xlim(-.8, _place(len(groups) - 1, len(models) - 1, models) + .8)
    axis.set_xticks([_middle(g, models) for g in range(len(groups))],
                    [textwrap.fill(name, 9, break_long_words=False) for name in groups])


def reach(values):
    """(low, high) that an axis shows of (mean, low, high): all means, and of intervals as much as
    lies within the means' range, or WIDEST, of them. A t interval over two seeds is thirteen
    standard errors long, and would make of all means a line."""
    means = [mean for mean, _, _ in values if not math.isnan(mean)] or [0.]
    room = max(max(means) - min(means), WIDEST)
    ends = [end for value in values for end in value if not math.isnan(end)] or means
    return max(min(ends), min(means) - room), min(max(ends), max(means) + room)


def padded(values, share):
    """`reach`, and a share of it more on each side."""
    low, high = reach(values)
    more = share * (high - low) or share
    return low - more, high + more


def _place(group, model, models):
    """x of a bar; groups stand a bar's width apart."""
    return group * (len(models) + 1) + model


def _middle(group, models):
    """x of the middle of a group."""
    return _place(group, (len(models) - 1) / 2, models)


def _ranges(blocks):
    """{(row, measure): (bottom, top) of its axis}, with room for the trends above the first row."""
    values = {}
    for block in blocks:
        for row, panel in enumerate(block["panels"]):
            values.setdefault((row, panel["name"]), []).extend(panel["values"].values())
    ranges = {key: value_range([*reach(every)] if every else [], [])
              for key, every in values.items()}
    return {(row, name): (bottom, top + (.14 * (top - bottom) if row == 0 else 0))
            for (row, name), (bottom, top) in ranges.items()}
