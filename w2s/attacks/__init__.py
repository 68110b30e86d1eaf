"""Attacks on finished runs, one small file each; attacks.py is their program."""

from w2s import rows


def refuse_changes(file, now, what=None):
    """ValueError when the attack behind a JSON file was made from other data or with other
    settings than `now`, {"data", "args"}; `what` is to be deleted (default: the file)."""
    before = rows.present(rows.read_json(file, {"args": {}})) if file.exists() else now
    args = rows.present(before.get("args", {}))
    changed = ["--data"] * (before.get("data") != now["data"]) + [
        f"--{key.replace('_', '-')}" for key, value in now["args"].items()
        if args.get(key) != value]
    if changed:
        raise ValueError(f"{what or file}: made from other data or with other settings "
                         f"({', '.join(changed)}); delete it to attack anew")
