r"""Competition problems, as published: MATH, AIME, Omni-MATH. docs/data.md names the files.

    MATH    problem, solution with \boxed{answer}; answer, level, subject or type, unique_id
    AIME    problem or question, answer (an integer from 0 to 999); solution, id. jsonl or csv
    Omni    problem, solution, answer, domain (a list), difficulty

Whatever the case of a key. A row's answer is what the file says it is, else the last box of its
solution, in canonical form (answers.canonical). A solution without a box, and a row without a
solution, get a sentence with one (reading T21): all answers are written in a box, and what is
trained on is read as the label.
"""

from w2s import rows
from w2s.data import answers, raw_folder

MATH = (("math_train.jsonl", "MATH/train.jsonl", "math_splits/train.jsonl"),
        ("math_test.jsonl", "MATH/test.jsonl", "math_splits/test.jsonl"),
        ("math_500.jsonl", "MATH-500/test.jsonl"))
MANY = {"aime": (("aime", ".jsonl"), ("aime", ".csv")), "omni": (("omni_math", ".jsonl"),)}
NAMES = (*(name for names in MATH for name in names),
         *(f"{start}*{end}" for pairs in MANY.values() for start, end in pairs))
WANTED = ("math_train.jsonl, math_test.jsonl, math_500.jsonl, aime*.jsonl, aime*.csv, "
          "omni_math*.jsonl")
WHERE = "MATH: https://github.com/hendrycks/math"
MOST = 999  # answer of AIME


def files(raw):
    """Yield (source, path) of every file of problems in raw, a raw_folder.Raw."""
    for names in MATH:
        if path := raw.first(*names):
            yield "math", path
    for source, patterns in MANY.items():
        for start, end in patterns:
            for path in raw.every(end, start):
                yield source, path


def read(path, source):
    """Yield (id, problem, solution, label or None, why it cannot be used or None, extra) of each
    row of a file. Raises ValueError `path:line: what is wrong`: no problem, a value of another
    type, a boxed answer that is not closed."""
    table = path.name.lower().removesuffix(".gz").endswith(".csv")
    for n, row in _table(path) if table else enumerate(rows.read(path), 1):
        row = {key.lower(): value for key, value in row.items()}
        key = "problem" if "problem" in row else "question"
        rows.require(row, key, str, path, n)
        given = _given(row, path, n)
        try:
            answer = _answer(row.get("solution", "").strip(), given, source)
        except ValueError as error:
            raise ValueError(f"{path}:{n}: {error}; mend or drop the row") from None
        # the file's name too: an id may stand in the files of two years
        yield (f"{raw_folder.stem(path)}/{row.get('unique_id', row.get('id', n))}", row[key],
               *answer, _extra(row, path, n))


def _table(path):
    """Yield (line, row) of a csv file; an empty field is a key that is not there."""
    table = raw_folder.table(path, end="\n")
    _, header = next(table)
    for n, fields in table:
        if len(fields) != len(header):
            raise ValueError(f"{path}:{n}: {len(fields)} columns, expected {len(header)}")
        yield n, {key: field for key, field in zip(header, fields) if field}


def _given(row, path, n):
    """The answer that a row's file gives as text, or None."""
    if "solution" in row:
        rows.require(row, "solution", str, path, n)
    answer = row.get("answer")
    if isinstance(answer, (int, float)) and not isinstance(answer, bool):
        return str(int(answer)) if answer == int(answer) else str(answer)
    if answer is not None:
        rows.require(row, "answer", str, path, n)
    return answer


def _answer(solution, given, source):
    """(solution, label, why it cannot be used): given, the answer by itself, counts, and a box of
    the solution has to agree. Raises ValueError for a box that is not closed."""
    inside = answers.boxed(given) if given else None
    box = answers.boxed(solution)
    label = answers.canonical((inside or given or box or "").strip())
    if label is None:
        return solution, None, None
    if source == "aime" and not (label.isdecimal() and len(label) < 5 and int(label) <= MOST):
        return solution, label, f"whose answer is no integer from 0 to {MOST}"
    if box is None:  # canonical: the label is read back from it whatever stands in `given`
        solution = f"{solution}\nThe answer is \\boxed{{{label}}}.".strip()
    elif answers.canonical(box) != label:
        return solution, label, "whose answer and solution differ"
    return solution, label, None


def _extra(row, path, n):
    """level, subject and difficulty, where a row has them."""
    extra, subject = {}, row.get("subject", row.get("type", row.get("domain")))
    level = str(row.get("level", "")).removeprefix("Level ")
    if level.isdecimal() and len(level) < 5:  # MATH has a few "Level ?"
        extra["level"] = int(level)
    if isinstance(subject, list):
        subject = "; ".join(map(str, subject))
    if subject is not None:
        rows.require({"subject": subject}, "subject", str, path, n)
        extra["subject"] = subject
    if "difficulty" in row:
        rows.require(row, "difficulty", rows.NUMBER, path, n)
        extra["difficulty"] = row["difficulty"]
    return extra
