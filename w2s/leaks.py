"""Whether rows were seen in training: by their texts. Ids alone say nothing: in files of one's own
they may count from 0 in each, or be given anew.
"""

import hashlib
import sys

from w2s import rows, runs, splits


class Seen:
    """Rows that a model was trained on, or that another file has. `name` is said of them."""

    def __init__(self, found, name):
        self.name, self.texts = name, {}
        for row in found:
            self.texts.setdefault(content(row), (row["id"], row.get("split")))

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
    None where it saw no rows. A file that is gone or has changed is said on stderr: then nothing
    can be checked."""
    given = next((facts["args"][name] for name in names if facts["args"].get(name)), None)
    if given is None or not facts.get("epochs", 1):  # 0: untuned, it saw none
        return None
    path = runs.kept(run, facts, given)
    if path is None:
        print(f"warning: {run}: was trained on {given}, which is gone or has changed; whether it "
              "saw these rows could not be checked", file=sys.stderr)
        return None
    return Seen(rows.read(path, {"id": str, "text": str}), f"{path}, which the teacher was "
                "trained on")


def refuse_taught(path, data, task):
    """ValueError where the labels file `path` with these rows is of another task, or of rows that
    its teacher was trained on."""
    run = rows.Path(path).resolve().parent.parent
    if not (run / "config.json").exists():
        return
    facts = runs.read_config(run)
    if "teacher" in facts["args"]:  # labels that train_ntf.py chose
        teacher = runs.located(run, facts, facts["args"]["teacher"])
        if teacher is None:
            print(f"warning: {run}: its teacher {facts['args']['teacher']} is gone; whether that "
                  "saw these rows could not be checked", file=sys.stderr)
            return
        run, facts = teacher, runs.read_config(teacher)
    if facts["args"].get("task", task) != task:
        raise ValueError(f"{path}: labels of task '{facts['args']['task']}', not of --task {task}")
    if seen := taught(run, facts):
        for n, row in enumerate(data, 1):
            seen.refuse(row, path, n, "label a split it has not seen")
