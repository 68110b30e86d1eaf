"""Planted wrong truths: python -m w2s.prepare plant, and w2s.planted.

    python -m pytest -q tests/test_planted.py
"""

import gzip
import json
from collections import Counter

import pytest

from tests.conftest import read_json
from w2s import planted, prepare, rows


def asked(n=40):
    """Questions; the answer is the second of two to four choices."""
    return [{"id": f"q{i}", "text": f"{i}?", "label": 1, "source": "s",
             "choices": ["a", "b", "c", "d"][:2 + i % 3]} for i in range(n)]


def told(n=30):
    """Sums of two sources, some with a solution; each answer is the row's number."""
    return [{"id": f"s{i}", "text": f"{i}?", "label": str(i), "source": "one" if i % 3 else "two"}
            | ({"solution": f"so #### {i}"} if i % 2 else {}) for i in range(n)]


def classes(n=60):
    return [{"id": f"c{i}", "text": f"{i}", "label": i % (2 if i < 30 else 3),
             "source": "two" if i < 30 else "three"} for i in range(n)]


@pytest.mark.parametrize("data", [asked(), told(), classes()])
@pytest.mark.parametrize("rate", [.1, .3, .26, 1])
def test_exactly_the_share_is_planted_and_all_else_stays(data, rate):
    made = planted.plant(data, rate, 5, "f")
    wrong = [row for row in made if "planted" in row]
    assert len(wrong) == round(rate * len(data)) and len(made) == len(data)
    for before, after in zip(data, made):
        if "planted" not in after:
            assert after == before
            continue
        assert after["planted"] is True and after["real_label"] == before["label"]
        assert after["label"] != before["label"]
        assert planted.real(after, "f", 1) == before | {
            key: after[key] for key in ("planted", "real_label", "real_solution") if key in after}
        assert {key: after[key] for key in ("id", "text", "source")} == {
            key: before[key] for key in ("id", "text", "source")}
        if "choices" in before:
            assert after["choices"] == before["choices"]
            assert after["label"] in range(len(before["choices"]))
        elif isinstance(before["label"], str):  # another row's answer, with its solution
            donor = data[int(after["label"])]
            assert donor["source"] == before["source"]
            assert donor.get("solution") == after.get("solution")
        else:
            assert after["label"] in range(2 if before["source"] == "two" else 3)


def test_planted_rows_are_of_seed_and_id_and_those_of_a_rate_are_among_those_of_a_larger_one():
    data = asked(200)

    def wrong(rate, seed=0, of=data):
        return {row["id"]: row["label"] for row in planted.plant(of, rate, seed, "f")
                if "planted" in row}
    few, many = wrong(.1), wrong(.3)
    assert few.items() < many.items() and (len(few), len(many)) == (20, 60)
    assert wrong(.1, of=data[::-1]) == few and wrong(.1, 1).keys() != few.keys()
    assert {**wrong(1, 0)} != {**wrong(1, 1)}  # the answers follow from the seed, too
    text = {row["id"]: row["label"] for row in planted.plant(told(), 1, 0, "f")}
    assert text == {row["id"]: row["label"] for row in planted.plant(told()[::-1], 1, 0, "f")}


def test_wrong_answers_are_drawn_evenly():
    """3000 rows of four choices, the second true: each other one in 1000 +- 26."""
    data = [{"id": str(i), "text": "t", "label": 1, "choices": list("abcd")} for i in range(3000)]
    counts = Counter(row["label"] for row in planted.plant(data, 1, 0, "f"))
    assert counts.keys() == {0, 2, 3} and all(abs(n - 1000) < 105 for n in counts.values())
    # classes: each as often, however rare; 2000 rows of class 0, of others 10 and 1
    data = [{"id": str(i), "text": "t", "label": 0} for i in range(2000)]
    data += [{"id": f"x{i}", "text": "t", "label": 1 if i < 10 else 2} for i in range(11)]
    counts = Counter(row["label"] for row in planted.plant(data, 1, 0, "f")[:2000])
    assert counts.keys() == {1, 2} and abs(counts[1] - 1000) < 90  # 4 times sqrt(500)


def test_an_option_that_reads_as_the_true_one_is_not_planted():
    row = {"id": "a", "text": "t", "label": 0, "choices": ["yes", "yes", "no"]}
    assert {planted.plant([row], 1, seed, "f")[0]["label"] for seed in range(20)} == {2}


# ---- the command ---------------------------------------------------------------------------------

def plant(tmp_path, *files, rate=.3, seed=0, out="out"):
    prepare.plant(prepare.Plant(data=[str(tmp_path / name) for name in files],
                                out=str(tmp_path / out), rate=rate, seed=seed))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_command_copies_files_once_and_refuses_other_content(tmp_path, capsys):
    rows.write(tmp_path / "trust.jsonl", asked())
    with gzip.open(tmp_path / "wts.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in told())
    plant(tmp_path, "trust.jsonl", "wts.jsonl.gz")
    out = tmp_path / "out"
    assert "trust.jsonl: 40 rows, 12 of them with a wrong label" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"trust.jsonl", "wts.jsonl", "manifest.json"}
    assert rows.read(out / "trust.jsonl") == planted.plant(asked(), .3, 0, "f")
    assert rows.read(out / "wts.jsonl") == planted.plant(told(), .3, 0, "f")
    manifest = read_json(out / "manifest.json")
    assert manifest["sources"]["trust.jsonl"]["sha256"] == rows.sha256(tmp_path / "trust.jsonl")
    assert "9 of the 30 rows of wts.jsonl have a wrong label" in manifest["notes"][1]
    before = contents(out)
    plant(tmp_path, "wts.jsonl.gz", "trust.jsonl")
    assert "already prepared" in capsys.readouterr().out and contents(out) == before
    for more in ({"rate": .2}, {"seed": 1}):
        with pytest.raises(ValueError, match="out: prepared before from something else"):
            plant(tmp_path, "trust.jsonl", "wts.jsonl.gz", **more)
    rows.write(tmp_path / "trust.jsonl", asked(39))
    with pytest.raises(ValueError, match="prepared before .*trust.jsonl"):
        plant(tmp_path, "trust.jsonl", "wts.jsonl.gz")
    with pytest.raises(ValueError, match="has other files, and no manifest.json"):
        plant(tmp_path, "trust.jsonl", out=".")
    assert contents(out) == before


@pytest.mark.parametrize("row, words", [
    ({"label": None}, "wts.jsonl:2: no key 'label'"),
    ({"label": "x"}, "wts.jsonl:2: 'label' is 'x', expected one of 0, 1"),
    ({"label": 2}, "wts.jsonl:2: 'label' is 2, expected one of 0, 1"),
    ({"choices": ["a"]}, "wts.jsonl:2: 'choices' is not a list of 2 or more answers"),
    ({"choices": "ab"}, "wts.jsonl:2: 'choices' is not a list of 2 or more answers"),
    ({"choices": ["a", "a"]}, "wts.jsonl:2: there is no wrong answer to plant; leave the row out"),
    ({"choices": None, "label": 4}, "wts.jsonl:2: there is no wrong answer to plant"),
    ({"choices": None, "label": [1]}, "wts.jsonl:2: 'label' is a list, expected a number"),
    ({"planted": True}, "wts.jsonl:2: is planted already; give the file that it was made from")])
def test_rows_into_which_nothing_can_be_planted_are_named(row, words, tmp_path):
    first = {"id": "a", "text": "t", "label": 0, "choices": ["a", "b"], "source": "s"}
    rows.write(tmp_path / "wts.jsonl", [first, first | {"id": "b"} | row])
    with pytest.raises(ValueError) as error:
        plant(tmp_path, "wts.jsonl", rate=1)
    assert words in str(error.value) and not (tmp_path / "out").exists()


def test_a_rate_that_plants_nothing_and_two_files_of_one_name_are_refused(tmp_path):
    rows.write(tmp_path / "wts.jsonl", asked(9))
    rows.write(tmp_path / "a" / "wts.jsonl", asked(9))
    with pytest.raises(ValueError, match="--rate 0.05: of the 9 rows of .*wts.jsonl none would be"):
        plant(tmp_path, "wts.jsonl", rate=.05)
    with pytest.raises(ValueError, match="--data: two files of one name; their copies would"):
        plant(tmp_path, "wts.jsonl", "a/wts.jsonl")


@pytest.mark.parametrize("row, words", [
    ({}, "f:3: no key 'real_label'"), ({"real_label": 2}, "f:3: 'real_label' is 2, expected one"),
    ({"choices": None, "label": "4", "real_label": 4}, "f:3: 'real_label' is a number, expected a"),
    ({"real_label": 0, "real_solution": 1}, "f:3: 'real_solution' is a number, expected a")])
def test_a_truth_that_cannot_be_read_is_named(row, words):
    row = rows.present({"id": "a", "label": 1, "choices": ["a", "b"], "planted": True} | row)
    with pytest.raises(ValueError) as error:
        planted.real(row, "f", 3)
    assert words in str(error.value)
