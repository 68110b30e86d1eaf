"""Whether a model was trained on a row. Rows are compared by their texts: ids of hand-made files
prove nothing, as they may count from 0 in each file or be given anew.
"""

import hashlib
import sys
from pathlib import Path

from w2s import rows, runs
from w2s.data import splits


class Seen:
    """Rows that a model was trained on, or that another file has. name: what error messages call
    them; doubt: a warning for stderr where some of the rows could not be read."""

    def __init__(self, members, name, doubt=""):
        self.name, self.doubt, self.texts = name, doubt, {}
        # Of rows with an equal text the first is named in errors.
        for row in members:
            self.texts.setdefault(content(row), (row["id"], row.get("split")))

    def refuse_all(self, data, path, then):
        """`refuse` for each row of a file, then the warning about what could not be checked."""
        for n, row in enumerate(data, 1):
            self.refuse(row, path, n, then)
        if self.doubt:
            print(f"warning: {self.doubt}", file=sys.stderr)

    def refuse(self, row, path, n, then):
        """ValueError `path:n: ...; then` for a row whose text is among those seen. Rows that
        w2s.prepare put into two splits may share one: --split rows, as the paper draws them."""
        if (known := self.texts.get(content(row))) is None:
            return
        known_id, known_split = known
        if known_id == row["id"]:
            raise ValueError(f"{path}:{n}: id '{row['id']}' is in {self.name}; {then}")
        # Without a split on both sides nobody has drawn these rows apart: an equal text is a leak.
        if None in (known_split, row.get("split")) or known_split == row["split"]:
            raise ValueError(f"{path}:{n}: the text of id '{row['id']}' is that of id '{known_id}' "
                             f"in {self.name}; {then}")


def content(row):
    """Digest (16 bytes) of a row's text and choices, case and blanks aside."""
    # Choices belong to it: "Which of these is a bird?" is another question with other choices.
    parts = [splits.normal(part) for part in (row["text"], *row.get("choices", ()))]
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).digest()[:16]


def taught(run, facts, names=("data",)):
    """Seen, of the file that a run was trained on: the first of its arguments `names` that is set.
    Empty where it saw no rows; with a doubt where the file is gone or has changed since."""
    data_path = next((facts["args"][name] for name in names if facts["args"].get(name)), None)
    if data_path is None or not facts.get("epochs", 1):  # 0: untuned, it saw none
        return Seen((), "")
    path, doubt = runs.kept(run, facts, data_path), ""
    if path is None:
        path = runs.located(run, facts, data_path)
        doubt = (f"{run}: was trained on {data_path}, which "
                 f"{'has changed' if path else 'is gone'}; whether it saw these rows could not be "
                 "checked")
    # A changed file is still read: what it has in common with these rows was perhaps seen.
    members = rows.read(path, {"id": str, "text": str}) if path else ()
    return Seen(members, f"{path}, which the teacher was trained on", doubt)


def refuse_taught(path, data, task):
    """ValueError where the labels file `path` with the rows `data` is of another task, or where its
    teacher was trained on one of them: there it is right more often than on unseen rows."""
    run = Path(path).resolve().parent.parent  # RUN/labels/FILE
    if not (run / "config.json").exists():  # labels made by hand: their teacher is not known
        return
    facts = runs.read_config(run)
    if "teacher" in facts["args"]:  # labels that train_ntf.py chose
        teacher = facts["args"]["teacher"]
        run = runs.located(run, facts, teacher)
        if run is None:
            print(f"warning: {path}: the teacher {teacher} is gone; whether it saw these rows "
                  "could not be checked", file=sys.stderr)
            return
        facts = runs.read_config(run)
    if facts["args"].get("task", task) != task:
        raise ValueError(f"{path}: labels of task '{facts['args']['task']}', not of --task {task}")
    taught(run, facts).refuse_all(data, path, "label a split it has not seen")
