"""Whether rows were seen in training: by their texts. Ids alone say nothing: in files of one's own
they may count from 0 in each, or be given anew.
"""

import hashlib
import sys
from pathlib import Path

from w2s import rows, runs
from w2s.data import splits


class Seen:
    """Rows that a model was trained on, or that another file has. `name` is said of them; doubt: a
    line for stderr where rows may be missing here."""

    def __init__(self, found, name, doubt=""):
        self.name, self.doubt, self.texts = name, doubt, {}
        for row in found:
            self.texts.setdefault(content(row), (row["id"], row.get("split")))

    def refuse_all(self, found, path, then):
        """`refuse` each of these rows of a file; then say what could not be checked."""
        for n, row in enumerate(found, 1):
            self.refuse(row, path, n, then)
        if self.doubt:
            print(f"warning: {self.doubt}", file=sys.stderr)

    def refuse(self, row, path, n, then):
        """ValueError `path:n: ...; then` for a row whose text is among those seen. Rows that
        w2s.prepare put into two splits may share one: --split rows, as the paper draws them."""
        if (found := self.texts.get(content(row))) is None:
            return
        if found[0] == row["id"]:
            raise ValueError(f"{path}:{n}: id '{row['id']}' is in {self.name}; {then}")
        if None in (found[1], row.get("split")) or found[1] == row["split"]:
            raise ValueError(f"{path}:{n}: the text of id '{row['id']}' is that of id '{found[0]}' "
                             f"in {self.name}; {then}")


def content(row):
    """16 bytes of a row's text and answers to choose from, case and blanks aside."""
    parts = [splits.normal(part) for part in (row["text"], *row.get("choices", ()))]
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).digest()[:16]


def taught(run, facts, names=("data",)):
    """Seen, of the file that a run was trained on, the first of the arguments `names` that it has;
    empty where it saw no rows. Of a file that is gone or has changed not all is known."""
    given = next((facts["args"][name] for name in names if facts["args"].get(name)), None)
    if given is None or not facts.get("epochs", 1):  # 0: untuned, it saw none
        return Seen((), "")
    path, doubt = runs.kept(run, facts, given), ""
    if path is None:
        path = runs.located(run, facts, given)
        doubt = (f"{run}: was trained on {given}, which {'has changed' if path else 'is gone'}; "
                 "whether it saw these rows could not be checked")
    found = rows.read(path, {"id": str, "text": str}) if path else ()
    return Seen(found, f"{path}, which the teacher was trained on", doubt)


def refuse_taught(path, data, task):
    """ValueError where the labels file `path` with these rows is of another task, or of rows that
    its teacher was trained on."""
    run = Path(path).resolve().parent.parent
    if not (run / "config.json").exists():
        return
    facts = runs.read_config(run)
    if "teacher" in facts["args"]:  # labels that train_ntf.py chose
        given, run = facts["args"]["teacher"], runs.located(run, facts, facts["args"]["teacher"])
        if run is None:
            print(f"warning: {path}: the teacher {given} is gone; whether it saw these rows could "
                  "not be checked", file=sys.stderr)
            return
        facts = runs.read_config(run)
    if facts["args"].get("task", task) != task:
        raise ValueError(f"{path}: labels of task '{facts['args']['task']}', not of --task {task}")
    taught(run, facts).refuse_all(data, path, "label a split it has not seen")
