"""The figures on sensitivity show what they were given: pytest tests/sweep/test_draw.py"""

import io
import itertools
import math

import numpy as np
import pytest

from w2s.report import figures
from w2s.sweep import draw

pytest.importorskip("matplotlib")
GROUPS = ["No TFT", "Weak TFT", "Weak+WTS TFT"]
LONG = "(a) mini-weak-small / mini-strong-large"


def column(name, ticks, models=draw.MODELS, **more):
    draws = np.random.default_rng(len(name) + len(ticks))
    panels = [{"name": measure, "better": better, "curves": {
        model: [(m, m - .02, m + .01) for m in draws.uniform(.6, .8, len(ticks))]
        for model in models}} for measure, better in (
        ("unfairness: the gap between two groups", "lower"), ("accuracy", "higher"))]
    return {"name": name, "x": "λ", "ticks": ticks, "picked": None, "panels": panels} | more


def panel(points=8, better=("higher", "higher"), picked=2, spread=.02):
    """A trade-off of points that lie close together."""
    draws = np.random.default_rng(points)
    values = draws.normal(.8, spread, (points, 2))
    return {"name": "(a) λ, weak model", "x": "accuracy", "y": "robust accuracy", "better": better,
            "points": [{"label": f"0.{k}", "x": (x, x - .01, x + .02), "y": (y, y - .02, y + .01),
                        "picked": k == picked} for k, (x, y) in enumerate(values)]}


def block(name="(a)", measure="robust accuracy", base=.7, trends=("no", "yes", "ordered")):
    values = {(g, m): (base + .02 * g + .01 * m, base + .02 * g, base + .02 * g + .03)
              for g in range(3) for m in range(4)}
    return {"name": name, "trends": trends, "panels": [
        {"name": measure, "better": "higher", "values": values},
        {"name": "accuracy", "better": "higher", "values": dict(values)}]}


def drawn_lines(axis):
    """Lines with markers, {colour: (x, y)}."""
    return {line.get_color(): line.get_data() for line in axis.lines if line.get_marker() != "None"}


def segments(axis):
    """{colour: [((x, y), (x, y))]} of the intervals."""
    from matplotlib.colors import to_hex
    parts = {}
    for lines in axis.collections:
        parts.setdefault(to_hex(lines.get_color()[0]).upper(), []).extend(
            segment.tolist() for segment in lines.get_segments() if len(segment))
    return parts


def test_curves_are_drawn_at_their_values_and_a_gap_is_a_gap():
    ticks = ["0", "none", "0.5"]
    given = column("Fairness", ticks, picked=1)
    given["panels"][0]["curves"]["student-aux"][1] = None
    figure = draw.curves("t", "s", [], [given])
    assert len(figure.axes) == 2
    for axis, each in zip(figure.axes, given["panels"]):
        for k, (model, values) in enumerate(each["curves"].items()):
            x, y = drawn_lines(axis)[figures.COLOURS[k]]
            away = draw.APART * (k - 1.5)
            assert x == pytest.approx([0 + away, 1 + away, 2 + away])
            assert [None if math.isnan(v) else v for v in y] == [v and v[0] for v in values]
            spans = segments(axis)[figures.COLOURS[k].upper()]
            assert spans == [[[at, v[1]], [at, v[2]]] for at, v in zip(x, values) if v]
        assert [text.get_text() for text in axis.get_xticklabels()] == ticks
        assert list(axis.get_xticks()) == [0, 1, 2]
        assert [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "None"] == [1]
    assert figure.axes[0].get_title("left").endswith("groups\n↓ lower is better")
    assert figure.axes[1].get_title("left") == "accuracy\n↑ higher is better"
    assert [axis.get_xlabel() for axis in figure.axes] == ["", "λ"]


def test_intervals_at_one_value_lie_apart_and_within_their_step():
    figure = draw.curves("t", "s", [], [column("x", ["0", "1"])])
    at = sorted(x for data, _ in drawn_lines(figure.axes[0]).values() for x in data)
    assert len(set(at)) == 8 and np.diff(at).min() == pytest.approx(draw.APART)
    assert at[3] < .5 < at[4]
    two = draw.curves("t", "s", [], [column("x", ["0", "1"], ("weak", "ceiling"))])
    assert sorted(drawn_lines(two.axes[0])) == sorted(figures.COLOURS[::3])


def test_one_legend_names_what_is_drawn():
    def legend(figure):
        assert len(figure.legends) == 1 and not any(axis.get_legend() for axis in figure.axes)
        return [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend(draw.curves("t", "s", [], [column("x", ["0"], ("weak", "student-aux"))])) == [
        "weak", "student aux"]
    assert legend(draw.curves("t", "s", [], [column("x", ["0"], ("weak",)), column(
        "y", ["0", "1"], ("ceiling",), picked=0)])) == ["weak", "ceiling", "picked"]
    assert legend(draw.bars("t", "s", [], [block()], GROUPS, draw.MODELS[::3])) == [
        "weak", "ceiling"]


def test_many_columns_stand_in_bands():
    figure = draw.curves("t", "s", [], [column(str(k), ["0", "1"]) for k in range(5)])
    boxes = [axis.get_position() for axis in figure.axes]  # three columns, then two, of two panels
    assert len(boxes) == 10 and len({box.x0 for box in boxes}) == 3
    assert boxes[6].x0 == boxes[0].x0 and boxes[6].y1 < boxes[1].y0
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_long_names_of_values_are_turned():
    def turned(ticks):
        figure = draw.curves("t", "s", [], [column(str(k), ticks) for k in range(4)])
        return {label.get_rotation() for label in figure.axes[0].get_xticklabels()}
    assert turned(["0", "0.1", "0.2", "0.3", "0.4", "0.5"]) == {0}
    assert turned(["0", "0.001", "0.002", "0.003", "0.004", "0.005"]) == {45}


def test_a_trade_off_has_its_points_crosses_and_the_picked_value():
    given = panel(5)
    axis, = draw.tradeoffs("t", "s", [], [given]).axes
    line, ring = axis.lines
    x, y = ([point[key] for point in given["points"]] for key in "xy")
    assert line.get_xydata().tolist() == [[a[0], b[0]] for a, b in zip(x, y)]
    assert ring.get_xydata().tolist() == [[x[2][0], y[2][0]]]
    up, across = ([part.tolist() for part in lines.get_segments()] for lines in axis.collections)
    assert up == [[[a[0], b[1]], [a[0], b[2]]] for a, b in zip(x, y)]
    assert across == [[[a[1], b[0]], [a[2], b[0]]] for a, b in zip(x, y)]
    names = {text.get_text(): text for text in axis.texts[1:]}  # the first is the panel's name
    assert set(names) == {"0.2: rule of A.2", "0.0", "0.1", "0.3", "0.4"}
    assert all(names[k].xy == (a[0], b[0]) for k, a, b in zip(
        ("0.0", "0.1", "0.2: rule of A.2", "0.3", "0.4"), x, y))
    assert axis.get_xlabel() == "accuracy"
    limits = axis.get_xlim(), axis.get_ylim()
    axis.figure.canvas.draw()
    assert limits == (axis.get_xlim(), axis.get_ylim())  # labels were placed for these


@pytest.mark.parametrize("better, corner, arrow", [
    (("higher", "higher"), (1, 1), "↗"), (("lower", "higher"), (0, 1), "↖"),
    (("higher", "lower"), (1, 0), "↘"), (("lower", "lower"), (0, 0), "↙")])
def test_the_better_corner_is_marked(better, corner, arrow):
    axis, = draw.tradeoffs("t", "s", [], [panel(better=better)]).axes
    assert axis.get_title("left") == f"robust accuracy   {arrow} is better"
    wedge = axis.patches[0].get_xy()
    assert tuple(wedge[0]) == corner and wedge.min() >= 0 and wedge.max() <= 1
    assert axis.patches[0].get_transform().contains_branch(axis.transAxes)


def test_bars_are_drawn_at_their_heights_and_a_missing_one_says_so():
    given = block(base=.1)
    del given["panels"][0]["values"][1, 2]
    axis, below = draw.bars("t", "s", [], [given], GROUPS, draw.MODELS).axes
    tops = {round(bar.get_x() + bar.get_width() / 2, 6): bar.get_height() for bar in axis.patches}
    assert tops == {5 * g + m: pytest.approx(v[0])
                    for (g, m), v in given["panels"][0]["values"].items()}
    spans = segments(axis)[figures.INK]
    assert spans == [[[5 * g + m, v[1]], [5 * g + m, v[2]]]
                     for (g, m), v in sorted(given["panels"][0]["values"].items())]
    missing, = [text for text in axis.texts if text.get_text() == "no run"]
    assert missing.xy[0] == 7 and len(below.patches) == 12
    trends = [(text.get_text(), text.xy) for text in axis.texts if "trend" in text.get_text()]
    assert trends == [("trend\nno", (1.5, 1)), ("trend\nyes", (6.5, 1)), ("trend\nordered",
                                                                         (11.5, 1))]
    assert not below.texts
    assert axis.get_title("left") == "robust accuracy\n↑ higher is better"


def test_trends_may_lack():
    for trends, n in ((None, 0), (("no", None, "yes"), 2)):
        axis = draw.bars("t", "s", [], [block(trends=trends)], GROUPS, draw.MODELS).axes[0]
        assert sum("trend" in text.get_text() for text in axis.texts) == n


def test_panels_of_one_measure_share_their_axis_and_others_do_not():
    blocks = [block("a", base=.7), block("b", base=.8), block("c", "unfairness", .1)]
    axes = draw.bars("t", "s", [], blocks, GROUPS, draw.MODELS).axes
    above, below = axes[::2], axes[1::2]
    assert above[0].get_ylim() == above[1].get_ylim() != above[2].get_ylim()
    assert len({axis.get_ylim() for axis in below}) == 1
    bottom, top = above[0].get_ylim()
    assert 0 < bottom < .7 and above[0].get_title("left").endswith(f"; from {bottom:g}")
    assert above[2].get_ylim()[0] == 0
    highest = .8 + .02 * 2 + .03  # the trends stand above every interval
    assert (top - highest) / (top - bottom) > .2


NOTES = ["The paper says so at length, in a sentence that is too long for one line of the figure, "
         "and has to be broken somewhere. " * 2, "And we say $ 1 too."]
TICKS = ["0", "0.001", "0.002", "0.004", "0.006"]
NAMES = ("Fairness", "OOD robustness", "Adversarial robustness", "Privacy")
EVERY = [  # the larger ones that there are, and small ones
    lambda: draw.curves("Figure 3", "mean of 2 seeds, " * 12, NOTES, [
        column(name, TICKS, picked=1) for name in NAMES]),
    lambda: draw.curves("Figure 3", "s", NOTES, [column(str(k), TICKS) for k in range(6)]),
    lambda: draw.tradeoffs("Figure A1", "s", NOTES, [
        panel(5), panel(8), panel(7, spread=1e-9)] * 2),
    lambda: draw.bars("Figure A4", "s", NOTES, [block(LONG) for _ in range(4)], GROUPS,
                      draw.MODELS),
    lambda: draw.bars("Figure A11", "s", [], [block(trends=None)], GROUPS, draw.MODELS)]


@pytest.mark.parametrize("make", EVERY)
def test_no_text_is_cut_or_lies_on_another(make):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text
    figure = make()
    FigureCanvasAgg(figure).draw()
    unseen = set()  # names of ticks outside of the axis
    for axis in figure.axes:
        for place, labels, limits in ((0, axis.get_xticklabels(), axis.get_xlim()),
                                      (1, axis.get_yticklabels(), axis.get_ylim())):
            unseen |= {text for text in labels
                       if not limits[0] <= text.get_position()[place] <= limits[1]}
    boxes = {}
    for text in set(figure.findobj(Text)) - unseen:
        if text.get_text().strip() and text.get_visible():
            # of an annotation its text alone, without the line to its point
            box = Text.get_window_extent(text)
            boxes[text.get_text(), tuple(box.extents.round(1))] = box
    assert len(boxes) > 25
    for (name, _), box in boxes.items():
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1, name
        assert box.y1 <= figure.bbox.y1, name
    for (a, box), (b, other) in itertools.combinations(boxes.items(), 2):
        across = min(box.x1, other.x1) - max(box.x0, other.x0)
        down = min(box.y1, other.y1) - max(box.y0, other.y0)
        assert across < 1.5 or down < 1.5, (a[0], b[0])  # pixels of 1/100 inch


def saved(figure, kind):
    file = io.BytesIO()
    figures.save(figure, file, kind)
    return file.getvalue()


@pytest.mark.parametrize("make", EVERY[::2])
def test_the_same_figure_is_the_same_bytes_and_dark_on_a_dark_page(make):
    one = saved(make(), "svg")
    assert one == saved(make(), "svg")
    svg = figures.inline(one.decode(), "a")
    for colour, name in ((figures.INK, "ink"), (figures.PALE, "pale"), (figures.PAPER, "paper"),
                         (figures.RULE, "rule")):
        assert f"var(--{name})" in svg and colour not in svg
    assert "#000000" not in svg  # matplotlib's black, which would not be seen


def test_without_matplotlib_each_raises_import_error(monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for function, *arguments in ((draw.curves, [column("x", ["0"])]), (draw.tradeoffs, [panel()]),
                                 (draw.bars, [block()], GROUPS, draw.MODELS)):
        with pytest.raises(ImportError):
            function("t", "s", [], *arguments)


@pytest.mark.parametrize("values, shown", [
    ([(.5, 0, 1), (.6, .1, 1.1)], (.4, .7)),             # the means' range beyond the means
    ([(.5, .49, .51), (.9, .88, .92)], (.49, .92)),      # short intervals whole
    ([(.5, .3, .7)], (.45, .55)), ([(.5, .49, .7)], (.49, .55)),
    ([(.5, math.nan, math.nan)], (.5, .5)), ([], (0, 0))])
def test_long_intervals_do_not_hide_how_means_differ(values, shown):
    assert draw.reach(values) == pytest.approx(shown)
