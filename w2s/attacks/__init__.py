"""Attacks on finished runs, one small file each; attacks.py is their program."""

from w2s import rows, runs


def refuse_changes(file, now, what=None):
    """ValueError when the attack behind a JSON file was made from other data or with other
    settings than `now`, {"data", "args"}; `what` is to be deleted (default: the file)."""
    before = rows.present(rows.read_json(file, {"args": {}})) if file.exists() else now
    args = rows.present(before.get("args", {}))
    changed = ["--data"] * (before.get("data") != now["data"]) + [
        change.split()[0] for change in runs.changed_arguments(args, now["args"])]
    if changed:
        raise ValueError(f"{what or file}: made from other data or with other settings "
                         f"({', '.join(changed)}); delete it to attack anew")
