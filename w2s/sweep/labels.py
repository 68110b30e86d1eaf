"""Names beside the points of a panel, none of which covers another name.

Of all places around a point the one is taken that costs least: covering a name, a point or a line
costs most to least, and so does standing far away. Sizes are reckoned from the number of letters
and not measured, so that they do not depend on the fonts of a machine.
"""

import math

import numpy as np

from w2s.report.figures import INK

# width of a letter, of a bold one, and height of a line, as shares of the font's size
LETTER, BOLD, LINE = .62, .72, 1.25
DIRECTIONS = [(math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)) for k in range(8)]
NEAR = (6, 9, 12, 18, 26, 36, 48)  # points (1/72 inch) from a point to the edge of its name
NAME, DOT, STROKE = 50, 5, 1       # what a square point of a thing that is covered costs


class Labels:
    """The names in an axis whose limits are final. dots: [(x, y, whether it has a ring)] of its
    points, which a line joins, in units of the axis; size: of the letters, in points."""

    def __init__(self, axis, dots, size):
        self.axis, self.size = axis, size
        self.taken, self.costs = [], []
        for x, y, ringed in dots:
            self._take(_square(self._at(x, y), 6 if ringed else 3), DOT)
        for start, end in zip(dots, dots[1:]):
            self.avoid(start[:2], end[:2])
        self.inside = (*self._at(0, 0, axis.transAxes), *self._at(1, 1, axis.transAxes))

    def avoid(self, start, end):
        """A line from (x, y) to (x, y) that names stay off."""
        (x, y), (to_x, to_y) = self._at(*start), self._at(*end)
        steps = max(1, math.ceil(math.hypot(to_x - x, to_y - y) / 3))
        for k in range(steps + 1):
            part = k / steps
            self._take(_square((x + part * (to_x - x), y + part * (to_y - y)), 1.5), STROKE)

    def place(self, name, x, y, bold=False):
        """Write a name beside the point (x, y), with a line to it where it stands far away."""
        width, height = (BOLD if bold else LETTER) * self.size * len(name), LINE * self.size
        at = self._at(x, y)
        boxes = [(near, _box(at, near, direction, width, height))
                 for near in NEAR for direction in DIRECTIONS]
        near, box = min(boxes, key=lambda each: each[0] + self._cost(each[1]))
        self._take(box, NAME)
        away = (box[0] + box[2]) / 2 - at[0], (box[1] + box[3]) / 2 - at[1]
        line = {"arrowstyle": "-", "linewidth": .5, "color": INK, "shrinkA": 0, "shrinkB": 3}
        self.axis.annotate(name, (x, y), away, textcoords="offset points", ha="center",
                           va="center", fontsize=self.size, zorder=5, color=INK,
                           weight="bold" if bold else "normal",
                           arrowprops=line if near > NEAR[2] else None)

    def _at(self, x, y, transform=None):
        """Where a point stands on the paper, in points."""
        return (transform or self.axis.transData).transform((x, y)) * 72 / self.axis.figure.dpi

    def _take(self, box, cost):
        """A box that a name pays for when it covers it."""
        self.taken.append(box)
        self.costs.append(cost)

    def _cost(self, box):
        """What a place costs; outside of the panel it costs as much as on a name."""
        outside = (box[2] - box[0]) * (box[3] - box[1]) - _shared(box, np.array([self.inside]))[0]
        return NAME * outside + _shared(box, np.array(self.taken)) @ self.costs


def _square(at, half):
    """(left, bottom, right, top) around a point."""
    return at[0] - half, at[1] - half, at[0] + half, at[1] + half


def _box(at, near, direction, width, height):
    """(left, bottom, right, top) of a name whose edge is `near` to a point, in a direction."""
    x = at[0] + near * direction[0] + width / 2 * round(direction[0])
    y = at[1] + near * direction[1] + height / 2 * round(direction[1])
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _shared(box, others):
    """(N,) area in square points that a box shares with each of others (N, 4)."""
    left, bottom, right, top = others.T
    return (np.clip(np.minimum(box[2], right) - np.maximum(box[0], left), 0, None)
            * np.clip(np.minimum(box[3], top) - np.maximum(box[1], bottom), 0, None))
