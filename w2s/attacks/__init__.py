"""Attacks on finished runs, one small file each; attacks.py is their program."""

from w2s import rows


def refuse_changes(file, now, what=None):
    """ValueError when the attack behind a JSON file was made from other data or with other
    settings than `now`, {"data", "args"}; `what` is to be deleted (default: the file)."""
    before = rows.read_json(file) if file.exists() else now
    if any(before.get(key) != now[key] for key in now):
        changed = ["--data"] * (before.get("data") != now["data"]) + [
            f"--{key.replace('_', '-')}" for key, value in now["args"].items()
            if before.get("args", {}).get(key) != value]
        raise ValueError(f"{what or file}: made from other data or with other settings "
                         f"({', '.join(changed)}); delete it to attack anew")
