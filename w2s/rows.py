"""Rows are dictionaries, one JSON object a line; everything between scripts is such a file.

Reading refuses what is broken with FILE:LINE; writing is all or nothing; joining is by id.
"""

import bisect
import contextlib
import gzip
import hashlib
import io
import json
import math
import os
import re
import sys
import zlib
from collections import Counter
from pathlib import Path

from w2s import whatis

NUMBER = "a number"
UNFOLDS = 100  # times its size that a .gz may unfold to: text is 3 to 20 times as large
OPTIONAL = {**dict.fromkeys(("split", "source", "prompt", "solution", "method", "surrogate",
                            "task"), str),
            "logits": [NUMBER], "logits_adv": [NUMBER]}  # of a row, see `misfit`
SURROGATE = re.compile("[\ud800-\udfff]")


def read(path, fields=None, unique=True):
    """The rows of a jsonl file, plain or gzipped, as a list of dict. A key that is null counts as
    absent: pandas and `datasets` write null where a row lacks a key.

    fields: {key: str | NUMBER | allowed values | K, for a list of K probabilities} that every row
    must satisfy; then those of OPTIONAL that it has are checked too. unique: an id may occur once.
    Raises ValueError `path:line: what is wrong` (not UTF-8, not JSON, NaN, a missing
    key, a value out of range, a duplicate id, truncated gzip, no rows).
    """
    rows, seen = [], set()
    for n, line in enumerate(lines(path), 1):
        row = _parse(line, path, n)
        for key, rule in (fields or {}).items():
            require(row, key, rule, path, n)
        for key in OPTIONAL if fields else ():
            if row.get(key) is not None and (wrong := misfit(row[key], OPTIONAL[key], key)):
                raise ValueError(f"{path}:{n}: {wrong}")
        for key in ("id", "group"):
            if isinstance(row.get(key), (list, dict)):
                raise ValueError(f"{path}:{n}: '{key}' is {kind(row[key])}, expected a string")
        if unique and row.get("id") is not None:
            if row["id"] in seen:
                first = 1 + next(i for i, earlier in enumerate(rows)
                                 if earlier.get("id") == row["id"])
                raise ValueError(f"{path}:{n}: id '{row['id']}' is already on line {first}")
            seen.add(row["id"])
        rows.append(present(row) if None in row.values() else row)
    if not rows:
        raise ValueError(f"{path}: no rows in this file")
    return rows


def present(entry):
    """An object without its keys that are null."""
    return {key: value for key, value in entry.items() if value is not None}


def lines(path):
    """Yield the lines of a plain or gzipped UTF-8 file; only the last may lack its newline."""
    n = 0
    try:
        for n, raw in enumerate(_open(path), 1):
            # a byte order mark may stand in front of the first line
            yield raw.decode("utf-8-sig" if n == 1 else "utf-8").rstrip("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}:{n}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}:{n + 1}: damaged or truncated gzip ({error})") from None


def write(path, rows):
    """Write rows, any iterable, as jsonl under a temporary name, then rename: existing means
    complete."""
    with atomic(path) as file:
        for n, row in enumerate(rows, 1):
            try:
                file.write(ENCODE(row) + "\n")
            except ValueError as error:  # not finite, or half a character (UnicodeEncodeError)
                raise ValueError(f"{path}: row {n} cannot be written ({error})") from None


def join(left, right, path=None):
    """left's rows, in left's order, each with the keys of the right row of the same id. path: of
    the right rows' file, for messages.

    Raises ValueError when an id is missing on the right, occurs twice on either side, or when both
    rows have a key with different values. Rows that only the right has are left out.
    """
    table, joined, place = _by_id(right, "right"), [], f"{path}: " if path else ""
    _by_id(left, "left")  # refuses ids that occur twice
    for row in left:
        if row["id"] not in table:
            raise ValueError(f"{place}id '{row['id']}' has no row on the right side of the join")
        partner = table[row["id"]]
        for key in row.keys() & partner.keys():
            if row[key] != partner[key]:
                raise ValueError(f"{place}id '{row['id']}': the two sides disagree about '{key}'")
        joined.append({**row, **partner})
    return joined


@contextlib.contextmanager
def replacing(path):
    """The name of a temporary neighbour of `path`, for a library that writes files by name. On
    success it is renamed to `path`, on an error it is removed: a file that exists is complete."""
    part = _part(path)
    try:
        yield part
        os.replace(part, path)
    except BaseException:  # Ctrl-C too; what a kill leaves goes with the next write
        with contextlib.suppress(OSError):
            part.unlink()
        raise


@contextlib.contextmanager
def atomic(path, mode="w"):
    """Open a temporary neighbour of `path` for writing; on success it takes the name `path`. Raises
    OSError that names `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as part, open(
                part, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
    except OSError as error:
        if error.filename in (None, str(_part(path))):  # nobody knows the temporary name
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def write_together(files):
    """Write {path: bytes}: every file under a temporary name, then all are renamed. When one cannot
    be written, none is."""
    with contextlib.ExitStack() as stack:
        for path, content in files.items():
            file = stack.enter_context(atomic(path, "wb"))
            file.write(content)
            file.flush()  # a full disk shows here, before anything is renamed


def remove(path):
    """Remove a file, if it exists, and the temporary one that a killed process left of it."""
    path.unlink(missing_ok=True)
    _part(path).unlink(missing_ok=True)


def write_json(path, value):
    """Write one JSON value, indented, all or nothing."""
    with atomic(path) as file:
        try:
            file.write(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        except ValueError as error:
            raise ValueError(f"{path}: cannot be written ({error})") from None


def read_json(path, shape=object, then="delete the file", halves=False):
    """The JSON value of a plain or gzipped file. halves: half characters (lone surrogates) are
    allowed in its texts; the caller looks for them. Raises ValueError `path:line: what is wrong`,
    or, where the value has not the shape (see `misfit`), `path: what is wrong; then`."""
    text = "\n".join(lines(path))
    try:
        value = STRICT(text)
    except json.JSONDecodeError as error:
        what = "the file is empty" if not error.doc.strip() else f"not JSON ({error.msg})"
        raise ValueError(f"{path}:{error.lineno}: {what}") from None
    except (_Unusable, RecursionError, ValueError) as error:
        what = error if isinstance(error, _Unusable) else f"not usable JSON ({str(error)[:60]})"
        raise ValueError(f"{path}:{_line_of_unusable(text)}: {what}") from None
    if not halves and (half := HALF.search(text)) and SURROGATE.search(ENCODE(value)):
        n = 1 + text.count("\n", 0, half.start())
        raise ValueError(f"{path}:{n}: {BROKEN}")
    if wrong := misfit(value, shape):
        raise ValueError(f"{path}: {wrong}; {then}")
    return value


def misfit(value, shape, name=""):
    """Why a JSON value has not a shape, in words; None where it has it. A shape is one of: object
    (anything), str, bool, int, NUMBER; [shape], a list whose elements have it; a tuple, a list of
    this length with these shapes; {key: shape}, an object, `...` standing for its other keys. An
    object may lack any key, and null counts as absent."""
    named = f"'{name}' is {kind(value)}" if name else f"this is {kind(value)}"
    if isinstance(shape, dict) and isinstance(value, dict):
        parts = [(key, part, shape.get(key, shape.get(..., object)))
                 for key, part in value.items() if part is not None]
    elif isinstance(shape, (list, tuple)) and isinstance(value, list):
        if isinstance(shape, tuple) and len(shape) != len(value):
            return f"{named} of {len(value)}, expected {len(shape)}"
        parts = zip(range(len(value)), value, shape if isinstance(shape, tuple)
                    else shape * len(value))
    elif isinstance(shape, (dict, list, tuple)):
        return f"{named}, expected {'an object' if isinstance(shape, dict) else 'a list'}"
    else:
        good, want = _simple(value, shape)
        return None if good else f"{named}, expected {want}"
    misfits = (misfit(part, rule, f"{name}.{key}".strip(".")) for key, part, rule in parts)
    return next(filter(None, misfits), None)


def _simple(value, shape):
    """(whether a value is of a shape without parts, what the shape is called)."""
    if shape is NUMBER:
        return type(value) in (int, float) and abs(value) < 1e300, NUMBER
    if shape is int:  # beyond 2^53 a float does not hold every one of them
        return type(value) is int and abs(value) < 2 ** 53, "a whole number"
    wanted = {str: "a string", bool: "true or false", object: "anything"}
    return isinstance(value, shape), wanted[shape]


def sha256(path):
    """Hex digest of a file, or of the files of a model folder (names and contents)."""
    path = Path(path)
    if path.is_dir():
        names = sorted(p for p in path.iterdir() if p.suffix in (".json", ".safetensors"))
        text = "".join(f"{p.name} {sha256(p)}\n" for p in names)
        return hashlib.sha256(text.encode()).hexdigest()
    whatis.special(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _part(path):
    """The temporary name: hidden, and the same for every process, so a later write replaces it."""
    return path.with_name(f".{path.name}.part")


def _open(path):
    """A file of rows opened for reading bytes, unpacked by its first bytes, not by its name."""
    if Path(path).is_dir():
        raise IsADirectoryError(21, "is a folder, expected a file of rows", str(path))
    whatis.special(path)
    file = open(path, "rb")
    head = file.read(64)
    file.seek(0)
    if known := whatis.binary(head):
        file.close()
        raise ValueError(f"{path}: {known[0]}, not UTF-8 text; {known[1]}")
    return unzipped(file, path) if head[:2] == b"\x1f\x8b" else file


def unzipped(file, path):
    """What an open gzipped file unfolds to, for reading bytes. Raises ValueError, before more is in
    memory, when that is more than UNFOLDS times its size: such a file is a bomb, not text."""
    return io.BufferedReader(_Unzipped(file, path), 1 << 20)


class _Unzipped(io.RawIOBase):
    """A gzip stream that counts what it has unfolded."""

    def __init__(self, file, path):
        self.packed, self.path = gzip.GzipFile(fileobj=file), path
        # 16 MB fit into any memory, however well a small file is packed
        self.left = max(1 << 24, UNFOLDS * os.fstat(file.fileno()).st_size)

    def readable(self):
        return True

    def readinto(self, into):
        count = self.packed.readinto(into)
        self.left -= count
        if self.left < 0:
            raise ValueError(f"{self.path}: unfolds to more than {UNFOLDS} times its size, which "
                             "no text does; if it is good, unpack it and give that")
        return count


def _parse(line, path, n):
    """The object on line n. Raises ValueError `path:n: what is wrong`."""
    suspect = SUSPECT.search(line)  # rare: the careful way takes three times as long
    try:
        row = STRICT(line) if suspect else DECODE(line)
    except (RecursionError, ValueError) as error:
        if not isinstance(error, json.JSONDecodeError):
            raise ValueError(f"{path}:{n}: not usable JSON ({str(error)[:60]})") from None
        what = f"not JSON ({error.msg}, column {error.colno})" if line.strip() else "an empty line"
        raise ValueError(f"{path}:{n}: {what}{whatis.table(path)}") from None
    except _Unusable as error:
        raise ValueError(f"{path}:{n}: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"{path}:{n}: expected an object {{...}}, got {kind(row)}")
    if suspect and SURROGATE.search(ENCODE(row)):
        raise ValueError(f"{path}:{n}: {BROKEN}")
    return {sys.intern(key): value for key, value in row.items()}  # keys once, not in each row


class _Unusable(Exception):
    """What Python's json reads and we do not."""


def _no_constant(text):
    raise _Unusable(f"{text if len(text) < 30 else text[:27] + '...'} is not a number we can use")


def _finite(text):
    """The float of a number's text; 1e999 would be read as infinity."""
    number = float(text)
    if math.isinf(number):
        _no_constant(text)
    return number


def _object(pairs):
    """The object of these keys and values."""
    found = dict(pairs)
    if len(found) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise _Unusable(f"key {shown(name)} stands twice in one object; which one is meant?")
    return found


def _line_of_unusable(text):
    """Number of the line of a text that is refused at which reading stops."""
    lines = text.split("\n")

    def refused(count):
        try:
            STRICT("\n".join(lines[:count]))
        except json.JSONDecodeError:  # it ends too early, no more
            return False
        except (_Unusable, RecursionError, ValueError):
            return True
    return bisect.bisect_left(range(len(lines)), True, key=refused)


HALF = re.compile(r"\\u[dD][89a-fA-F]")  # of a character, as JSON writes it
SUSPECT = re.compile(rf"{HALF.pattern}|[eE]\+?[0-9]{{3}}|[0-9]{{300}}")
BROKEN = "half a character (a lone surrogate such as \\ud83d) in a text; mend or drop the row"
# of a key that stands twice Python would take the last value
PARSERS = {"parse_constant": _no_constant, "object_pairs_hook": _object}
STRICT = json.JSONDecoder(parse_float=_finite, **PARSERS).decode
ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
DECODE = json.JSONDecoder(**PARSERS).decode


def require(row, key, rule, path, n):
    """ValueError `path:n: what is wrong` unless row[key] satisfies the rule, as in `read`."""
    if key not in row:
        raise ValueError(f"{path}:{n}: no key '{key}'")
    value = row[key]
    if rule is str:
        good, want = isinstance(value, str) and not SURROGATE.search(value), "a string of Unicode"
    elif rule is NUMBER:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        good, want = good and abs(value) < 1e300, NUMBER
    elif isinstance(rule, int):
        good, want = _distribution(value, rule), f"{rule} probabilities that sum to 1"
    else:
        good = not isinstance(value, (bool, float)) and value in rule
        want = f"one of {', '.join(map(str, rule))}"
    if not good:
        what = shown(value) if rule is not str else \
            "broken text" if isinstance(value, str) else kind(value)
        raise ValueError(f"{path}:{n}: '{key}' is {what}, expected {want}")


def shown(value):
    """A value of a row for a message: a number, null or a short word as JSON writes it, else its
    kind. Never a piece of a text: it may be somebody's mail."""
    short = isinstance(value, str) and len(value) <= 20 and not any(map(str.isspace, value))
    text = repr(value) if short else ENCODE(value) if isinstance(value, (int, float)) else ""
    return text if text and len(text) < 60 else kind(value)


def kind(value):
    """What JSON calls a value."""
    if value is None or isinstance(value, bool):
        return ENCODE(value)
    return {str: "a string", dict: "an object", list: "a list"}.get(type(value), NUMBER)


def _distribution(value, k):
    """Whether a value is a list of k probabilities that sum to 1, but for rounding."""
    if not isinstance(value, list) or len(value) != k:
        return False
    for v in value:  # twice as fast as all() of a generator
        if not (type(v) in (float, int) and 0 <= v <= 1):
            return False
    return abs(sum(value) - 1) < 1e-3


def _by_id(rows, side):
    """{id: row}. Raises ValueError for a row without an id and for an id that occurs twice."""
    table = {}
    for row in rows:
        if "id" not in row:
            raise ValueError(f"a row on the {side} side of the join has no id")
        if row["id"] in table:
            raise ValueError(f"id '{row['id']}' occurs twice on the {side} side of the join")
        table[row["id"]] = row
    return table
