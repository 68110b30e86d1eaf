"""Rows whose given truth is wrong on purpose, to see what a trust function and a student make of
truth that errs.

A planted row has a wrong answer where the true one stood, which it keeps: `label` is wrong,
`real_label` is the truth, `planted` is true; a written `solution` is another row's, `real_solution`
its own. Which rows, and which wrong answers, follows from hashes of (seed, id): not from the order
of a file, and the rows of a rate are among those of each larger one. N rows of a file.
"""

from pathlib import Path

from w2s import rows
from w2s.data import splits


def read(path):
    """The rows of a split, to plant errors into. Raises ValueError `path:line: what is wrong` for a
    row without an answer, and for one that is planted already."""
    data = rows.read(path, {"id": str, "text": str})
    for n, row in enumerate(data, 1):
        if "planted" in row:
            raise ValueError(f"{path}:{n}: is planted already; give the file that it was made from")
        _require_answer(row, "label", path, n)
    return data


def _require_answer(row, key, path, n):
    """ValueError unless row[key] is an answer: the place of one of its choices, a class, or text.
    """
    if "choices" in row:
        if rows.misfit(row["choices"], [str]) or len(row["choices"]) < 2:
            raise ValueError(f"{path}:{n}: 'choices' is not a list of 2 or more answers")
        rows.require(row, key, range(len(row["choices"])), path, n)
    elif isinstance(row.get("label"), str):
        rows.require(row, key, str, path, n)
    else:
        rows.require(row, key, rows.NUMBER, path, n)


def plant(data, rate, seed, path):
    """N rows, of which exactly round(rate N) are planted: copies with a wrong answer, drawn
    uniformly from the row's other choices, from the other classes of its source, or from the
    answers that other rows of its source have. Raises ValueError where that is no row, or a row has
    no other answer; path: of the rows, for messages."""
    count, known = round(rate * len(data)), _answers(data)
    if not count:
        raise ValueError(f"--rate {rate:g}: of the {len(data)} rows of {path} none would be "
                         "planted; give a larger rate")
    order = sorted(range(len(data)), key=lambda i: splits.digest(seed, "planted", data[i]["id"]))
    chosen = {*order[:count]}
    return [_planted(row, known, seed, f"{path}:{n}") if n - 1 in chosen else row
            for n, row in enumerate(data, 1)]


def _answers(data):
    """{source: [answer]}, in the order of the ids: each class once, each row's text."""
    known = {}
    for row in sorted(data, key=lambda row: row["id"]):
        answer, answers = _answer(row), known.setdefault(row.get("source"), [])
        # a frequent text is drawn more often, a frequent class is not
        if "choices" not in row and (isinstance(row["label"], str) or answer not in answers):
            answers.append(answer)
    return known


def _answer(row):
    return {key: row[key] for key in ("label", "solution") if key in row}


def _planted(row, known, seed, where):
    """The row with a wrong answer; where: its file and line."""
    if "choices" in row:  # an option that reads as the true one is not wrong
        others = [{"label": k} for k, option in enumerate(row["choices"])
                  if option != row["choices"][row["label"]]]
    else:
        others = [answer for answer in known[row.get("source")] if answer["label"] != row["label"]]
    if not others:
        raise ValueError(f"{where}: there is no wrong answer to plant; leave the row out")
    wrong = others[int(splits.digest(seed, "wrong", row["id"]), 16) % len(others)]
    real = {f"real_{key}": value for key, value in _answer(row).items()}
    rest = {key: value for key, value in row.items() if key not in ("label", "solution")}
    return rest | wrong | real | {"planted": True}


def real(row, path, n):
    """The row as it was before an error was planted into it; any other as it is. Raises ValueError
    `path:n: ...` where its truth cannot be read."""
    if not row.get("planted"):
        return row
    _require_answer(row, "real_label", path, n)
    if "real_solution" in row:
        rows.require(row, "real_solution", str, path, n)
    answer = {key: row[f"real_{key}"] for key in ("label", "solution") if f"real_{key}" in row}
    return {key: value for key, value in row.items() if key != "solution"} | answer


def names(paths):
    """{path: its name in the folder that is made}. Raises ValueError for two of one name."""
    known = {path: Path(path).name.removesuffix(".gz") for path in paths}
    if len({*known.values()}) < len(paths):
        raise ValueError("--data: two files of one name; their copies would be one file")
    return known
