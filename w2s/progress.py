"""What is seen while commands run: on a terminal a line that says what runs, and a bar; elsewhere
nothing, since there every command that is done gets a line (w2s.scheduler).

A terminal that cannot move its cursor (TERM=dumb: editors, many screen readers) counts as none.
"""

import os
import shutil
import sys


def moves(stream):
    """Whether a stream is a terminal on which a line can be written again."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def live():
    """Whether a person looks on, for whom the bar is enough."""
    return moves(sys.stdout) and moves(sys.stderr)


class Bars:
    """A line of text above a bar of `total` commands, on stderr. A context manager."""

    def __init__(self, total):
        from tqdm import tqdm  # here: --dry-run works without it
        off = not moves(sys.stderr)
        # tqdm's own time left counts commands as if each took as long, so it is not shown
        self.text = tqdm(bar_format="{desc}", disable=off, leave=False)
        self.bar = tqdm(total=total, disable=off, leave=False,
                        bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}  {desc}")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.bar.close()
        self.text.close()

    def update(self, done, running, left):
        """Show how many are done, the titles of those that run, and the time left, in words."""
        if self.bar.disable:
            return
        self.text.set_description_str(shown(running, shutil.get_terminal_size().columns - 1))
        self.bar.set_description_str(f"about {left} left", refresh=False)
        self.bar.n = done
        self.bar.refresh()


def shown(running, width):
    """"now: ood seed0 weak-none, ood seed0 labels", cut to a width."""
    text = "now: " + (", ".join(running) or "nothing")
    return text if len(text) <= width else text[:max(0, width - 3)] + "..."
