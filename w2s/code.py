"""Which code a run's numbers come from: a digest of the script and all that it imports of ours, but
what handles files, arguments and messages around it.

Comments on lines of their own and blank lines do not matter to it; a changed constant does.
"""

import functools
import hashlib
import re
from pathlib import Path

HOME = Path(__file__).parent.parent
AROUND = ("whatis", "rows", "hub", "locks", "code", "console", "runs", "config",
          "model_card", "refusals")
# patterns, since a parser takes half a second for all files; so a docstring counts as code
IMPORT = re.compile(r"^ *(?:from (w2s[\w.]*) import (?:\(([^)]{0,2000})\)|(.*))|"
                    r"import (w2s[\w.]*))", re.MULTILINE)


@functools.cache
def digest(script, task):
    """Hex digest of the code behind the runs of a script ("train_weak.py") on a task."""
    text = "".join(f"{path.relative_to(HOME)} {_read(path)[0]}\n"
                   for path in sorted(files(script, task)))
    return hashlib.sha256(text.encode()).hexdigest()


def files(script, task):
    """{file of ours that a script needs for a task}, but those of AROUND."""
    # a task is imported by its name, so no statement leads to it
    needed, todo = set(), [HOME / script, HOME / "w2s" / "tasks" / f"{task}.py"]
    while todo:
        path = todo.pop()
        if path not in needed and path.is_file() and path.stem not in AROUND:
            needed.add(path)
            todo += _read(path)[1]
    return needed


@functools.cache
def _read(path):
    """(digest of what matters in a Python file, [file of ours that it imports])."""
    text = path.read_text(encoding="utf-8")
    lines = [line.rstrip() for line in text.splitlines() if line.strip(" ")[:1] not in ("", "#")]
    names = []
    for module, several, one, plain in IMPORT.findall(text):
        names += [plain or module, *(f"{module}.{name.split(' as ')[0].strip()}"
                                     for name in (several or one).split(","))]
    paths = [HOME / end for name in names if re.fullmatch(r"[\w.]+", name)
             for end in (name.replace(".", "/") + ".py", name.replace(".", "/") + "/__init__.py")]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest(), [p for p in paths if p.is_file()]
