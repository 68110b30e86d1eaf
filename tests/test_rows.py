"""Files of rows: every kind of damage is one line with FILE:LINE; writing is all or nothing.

    python -m pytest -q tests/test_rows.py
"""

import gzip
import hashlib
import json
import os

import pytest

from w2s import hidden_states, rows

GOOD = [{"id": "a", "text": "one\u2028line", "label": 0}, {"id": "b", "text": "zwei ü", "label": 1}]
FIELDS = {"id": str, "text": str, "label": (0, 1)}


def jsonl(*found):
    return "".join(json.dumps(row) + "\n" for row in found).encode()


def test_rows_come_back_as_written_plain_and_gzipped(tmp_path):
    rows.write(tmp_path / "x.jsonl", GOOD)
    assert rows.read(tmp_path / "x.jsonl", FIELDS) == GOOD
    (tmp_path / "x.gz").write_bytes(gzip.compress((tmp_path / "x.jsonl").read_bytes()))
    assert rows.read(tmp_path / "x.gz", FIELDS) == GOOD


ROW = GOOD[0]
LONG = gzip.compress(jsonl(*({**ROW, "id": f"{i}"} for i in range(99))))
BROKEN = {
    "empty": (b"", "no rows"),
    "not utf-8": (jsonl(ROW) + b'{"id": "\xff"}\n', ":2: not UTF-8"),
    "not json": (jsonl(ROW) + b"{oops}\n", ":2: not JSON"),
    "cut": (jsonl(ROW) + b'{"id": "b", "te', ":2: not JSON"),
    "empty line": (jsonl(ROW) + b"\n" + jsonl(GOOD[1]), ":2: an empty line"),
    "no object": (jsonl(ROW) + b"[1]\n", ":2: expected an object"),
    "missing key": (jsonl(ROW, {"id": "b", "label": 1}), ":2: no key 'text'"),
    "label range": (jsonl(ROW, {**GOOD[1], "label": 2}), ":2: 'label' is 2, expected one of 0, 1"),
    "label type": (jsonl(ROW, {**GOOD[1], "label": True}), ":2: 'label' is true"),
    "label null": (jsonl(ROW, {**GOOD[1], "label": None}), ":2: 'label' is null"),
    "text a list": (jsonl(ROW, {**GOOD[1], "text": ["x"]}), ":2: 'text' is a list"),
    "label float": (jsonl(ROW, {**GOOD[1], "label": 1.0}), ":2: 'label' is 1.0"),
    "duplicate": (jsonl(ROW, GOOD[1], ROW), ":3: id 'a' is already on line 1"),
    "nan": (jsonl(ROW) + b'{"id": "b", "text": "t", "label": NaN}\n', ":2: NaN is not a number"),
    "half an emoji": (jsonl(ROW) + b'{"id": "b", "x": {"y": "\\ud83d"}}\n', ":2: half"),
    "infinity": (jsonl(ROW) + b'{"id": "b", "text": "t", "label": 0, "z": 1e999}\n',
                 ":2: 1e999 is not a number"),
    "key twice": (jsonl(ROW) + b'{"id": "b", "text": "t", "label": 0, "label": 1}\n',
                  ":2: key 'label' stands twice in one object"),
    "digits": (jsonl(ROW) + b'{"id": "b", "z": ' + b"9" * 5000 + b"}\n", ":2: not usable JSON"),
    "a list as id": (jsonl(ROW, {**GOOD[1], "id": ["b"]}), ":2: 'id' is a list"),
    "truncated gzip": (LONG[:-20], "truncated gzip"),
    "damaged gzip": (gzip.compress(jsonl(*GOOD))[:12] + b"\xff" * 30, "gzip"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_damage_is_one_line_that_names_file_and_line(tmp_path, name):
    content, message = BROKEN[name]
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        rows.read(path, FIELDS)
    said = str(error.value)
    assert message in said and str(path) in said and "\n" not in said


def test_a_null_key_is_an_absent_one(tmp_path):
    row = {**ROW, "source": "s", "n": {"m": None}}
    (tmp_path / "x.jsonl").write_bytes(jsonl({**row, "prompt": None}))
    assert rows.read(tmp_path / "x.jsonl", FIELDS) == [row]


@pytest.mark.parametrize("weak", [[.5], [.6, .6], [.5, None], "x", [-.5, 1.5]])
def test_weak_labels_must_be_a_distribution(tmp_path, weak):
    rows.write(tmp_path / "x.jsonl", [{**ROW, "weak": weak}])
    with pytest.raises(ValueError, match="2 probabilities that sum to 1"):
        rows.read(tmp_path / "x.jsonl", {**FIELDS, "weak": 2})


def test_a_mark_of_byte_order_is_no_part_of_the_first_row(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + jsonl(*GOOD))
    assert rows.read(tmp_path / "x.jsonl", FIELDS) == GOOD


def test_states_are_of_these_rows_in_this_order(tmp_path):
    path = hidden_states.states_of(tmp_path / "wts.jsonl.gz")
    assert path == tmp_path / "wts.hidden.safetensors"
    assert path == hidden_states.states_of(tmp_path / "wts.jsonl")
    made = [{"id": "a"}, {"id": "bc"}]
    with pytest.raises(ValueError) as error:
        hidden_states.read_states(path, made)
    assert str(error.value) == f"{path}: no such file; label the rows with label.py --hidden"
    assert hidden_states.ids_digest(made) == hashlib.sha256(b"a\nbc\n").hexdigest()
    hidden_states.write_states(path, [[1, 2, 3], [4, 5, 6]], made)
    assert hidden_states.read_states(path, [row | {"x": 1} for row in made]).tolist() == [
        [1, 2, 3], [4, 5, 6]]
    for other in (made[::-1], made[:1], [{"id": "ab"}, {"id": "c"}]):
        with pytest.raises(ValueError, match="states of other rows, or in another order"):
            hidden_states.read_states(path, other)


def test_a_model_is_known_by_the_names_and_content_of_its_files(tmp_path):
    content = {"config.json": b"1", "model.safetensors": b"2", "tokenizer.json": b"3"}
    for name, value in {**content, "README.md": b"4", ".lock": b""}.items():
        (tmp_path / name).write_bytes(value)
    text = "".join(f"{name} {hashlib.sha256(value).hexdigest()}\n"
                   for name, value in content.items())
    before = rows.sha256(tmp_path)
    assert before == hashlib.sha256(text.encode()).hexdigest()
    for name in content:  # of the same size
        (tmp_path / name).write_bytes(b"5")
        assert rows.sha256(tmp_path) != before
        (tmp_path / name).write_bytes(content[name])
    (tmp_path / "README.md").unlink()
    assert rows.sha256(tmp_path) == before


def test_missing_file_and_folder_are_os_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        rows.read(tmp_path / "nothing.jsonl")
    with pytest.raises(IsADirectoryError):
        rows.read(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "x.jsonl"
    rows.write(path, GOOD)
    before = path.read_bytes()
    with pytest.raises(ValueError):
        rows.write(path, [ROW, {"id": "b", "p": float("nan")}])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.jsonl"]


def test_join_is_by_id_and_refuses_what_is_missing_double_or_contradictory():
    right = [{"id": "b", "weak": 2}, {"id": "a", "weak": 1}, {"id": "c"}]
    assert [row["weak"] for row in rows.join(GOOD, right)] == [1, 2]
    other_label = [{"id": "a", "label": 1}, {"id": "b"}]
    for left, other, message in ((GOOD, right[:1], "'a' has no row"), (GOOD + GOOD, right, "twice"),
                                 (GOOD, right + right, "twice"), (GOOD, [{"x": 1}], "no id"),
                                 (GOOD, other_label, "disagree about 'label'")):
        with pytest.raises(ValueError, match=message):
            rows.join(left, other)


def test_a_pipe_is_refused_and_left_unread(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for reads in (rows.read, rows.sha256, rows.read_json):
        with pytest.raises(ValueError, match="pipe: a pipe, not a regular file"):
            reads(tmp_path / "pipe")


def test_a_whole_emoji_and_a_large_exponent_are_read(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"id": "\\ud83d\\ude00", "n": 1e299, "t": "at 1e999"}\n')
    assert rows.read(tmp_path / "x.jsonl", {"n": rows.NUMBER}) == [
        {"id": "\U0001f600", "n": 1e299, "t": "at 1e999"}]


@pytest.mark.parametrize("number", ["1" + "0" * 400, "true", '"1"', "[1]"])
def test_a_number_fits_a_float(tmp_path, number):
    (tmp_path / "x.jsonl").write_text(f'{{"n": {number}}}')
    with pytest.raises(ValueError, match="x.jsonl:1: 'n' is .*expected a number"):
        rows.read(tmp_path / "x.jsonl", {"n": rows.NUMBER})


@pytest.mark.parametrize("content, message", [
    (b'{"a":\n NaN,\n"b": 1\n}\n', ":2: NaN is not a number"), (b'[1e999]', ":1: 1e999 is not"),
    (b'{"a": {},\n"b":\n {"c": 1,\n"a": 1, "c": 2},\n"d": 1}', ":4: key 'c' stands twice"),
    (b'["a",\n"\\udc00"]', ":2: half a character"), (b"[" * 10 ** 5, ":1: not usable JSON"),
    (b'[1,\n' + b"9" * 5000 + b',\n2]', ":2: not usable JSON"), (b"", ":1: the file")])
def test_a_json_file_that_is_broken_is_one_line(tmp_path, content, message):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match="^[^\n]*$") as error:
        rows.read_json(tmp_path / "x.json")
    assert str(tmp_path / "x.json") in str(error.value) and message in str(error.value)


@pytest.mark.parametrize("bad", [{"t": "\ud83d"}, {"x": float("inf")}])
def test_what_cannot_be_written_is_said_with_the_file(tmp_path, bad):
    for write in (lambda: rows.write(tmp_path / "x", [ROW, bad]),
                  lambda: rows.write_json(tmp_path / "x", bad)):
        with pytest.raises(ValueError, match=f"^{tmp_path}/x: .*cannot be written"):
            write()
    assert not list(tmp_path.iterdir())
