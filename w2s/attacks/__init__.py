"""Attacks on finished runs, one small file each; attacks.py is their program."""

from w2s import rows, runs


def refuse_changes(file, now, what=None):
    """ValueError when the attack recorded in a JSON file had other data or other settings than
    `now`, {"data", "args"}. `what` is what the message says to delete (default: the file)."""
    # without it a second command would be skipped as done, and its settings silently ignored
    recorded = rows.present(rows.read_json(file, {"args": {}})) if file.exists() else now
    args = rows.present(recorded.get("args", {}))
    changed = ["--data"] * (recorded.get("data") != now["data"]) + [
        change.split()[0] for change in runs.changed_arguments(args, now["args"])]
    if changed:
        raise ValueError(f"{what or file}: made from other data or with other settings "
                         f"({', '.join(changed)}); delete it to attack anew")


def entries(name, values):
    """[{slice, metric, value}], as attack-*.json has them, of one slice's {metric: value}."""
    return [{"slice": name, "metric": key, "value": value} for key, value in values.items()]
