"""device.json as a page: for docs/speed.md, and for whoever looks at the failures."""

from tests.device.record import COLUMNS, PRETENDED

TITLES = {"iqr": "IQR", "first_s": "first s", "busy": "busy", "mfu": "MFU", "gb": "GB",
          "plan_gb": "GB planned"}
SHARES = ("iqr", "busy", "mfu")
FINE = 7                   # digits: a clip of 1.00001 is not one of 1
WORDS = {None: "", True: "yes", False: "**NO**", PRETENDED: PRETENDED}


def number(value, digits=3):
    """A value as the page shows it."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value).replace("|", "/").replace("\n", " ")
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def cell(column, value):
    return f"{value:.0%}" if column in SHARES and isinstance(value, (int, float)) else number(value)


def table(columns, rows):
    """Markdown of rows {column: text}; columns that are empty in all of them are left out."""
    columns = [c for c in columns if any(row[c] for row in rows)]
    return "\n".join(["| " + " | ".join(TITLES.get(c, c) for c in columns) + " |",
                      "|" + "---|" * len(columns),
                      *("| " + " | ".join(row[c] for c in columns) + " |" for row in rows)])


def asked(check):
    """What a check's value has to be, in words."""
    ends = [f"{sign} {number(check[key], FINE)}" for key, sign in (("low", ">="), ("high", "<="))
            if check[key] is not None]
    return " and ".join(ends)


def value_of(check):
    """A check's value, with more digits where it is close to what is asked."""
    value, ends = check["value"], (check["low"], check["high"])
    close = isinstance(value, float) and any(end and abs(value / end - 1) < .01 for end in ends)
    return f"{number(value, FINE if close else 3)} {check['unit']}".strip()


def checks_of(part):
    return table(("check", "value", "asked", "hard", "met"), [{
        "check": number(check["name"]), "value": value_of(check),
        "asked": asked(check), "hard": "hard" * check["hard"], "met": WORDS[check["pass"]]}
        for check in part["checks"]])


def section(part):
    """A part on the page."""
    lines = [f"## {part['name']}: {part['status']}, {part['seconds']:.0f} s of "
             f"{part['limit']:g}"]
    if part["rows"]:
        lines.append(table(COLUMNS, [{c: cell(c, row[c]) for c in COLUMNS}
                                     for row in part["rows"]]))
    if part["checks"]:
        lines.append(checks_of(part))
    if part["stderr_tail"]:
        lines.append("    " + part["stderr_tail"].replace("\n", "\n    "))
    return "\n\n".join(lines)


def document(found):
    """The whole page."""
    end, device = found["summary"], found["device"] or {}
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    changed = " with changed files" if found["dirty"] else ""
    head = [f"`python -m tests.device`, {found['started'][:10]}, commit {found['commit']}{changed},"
            f" {end['seconds']} s of {found['budget_s']:g}",
            f"{device.get('name')}: {versions}",
            f"Hard checks: {end['passed']} of {end['hard']} met"
            + f", {end['pretended']} pretended" * bool(end["pretended"])]
    head += ["\n".join(f"* failed: {number(name)}" for name in end["failed"])] * bool(
        end["failed"])
    if device.get("pretended"):
        head.append("Pretended: on a CPU, in tiny shapes. No time on this page says anything.")
    return "\n\n".join(head + [section(part) for part in found["parts"]]) + "\n"


def line(place, entry):
    """A part in a line, for the screen."""
    hard = [check for check in entry["checks"] if check["hard"]]
    met = sum(check["pass"] is True for check in hard)
    wrong = [check["name"] for check in hard if check["pass"] is False]
    return (f"{place:>3} {entry['name']:<11} {entry['status']:<8} {entry['seconds']:>4.0f} s of "
            f"{entry['limit']:g}" + f", hard {met}/{len(hard)}" * bool(hard)
            + "".join(f"\n      {name}" for name in wrong))
