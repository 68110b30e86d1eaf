r"""w2s.data.problems: MATH, AIME and Omni-MATH in the shapes they are published in -> rows.

    .venv/bin/python -m pytest tests/data/test_problems.py

All problems here are invented; no GPU, about 5 s.
"""

import json
import re

import pytest

from tests.data.test_prepare import lines, manifest, put, refused, run
from tests.data.test_questions import read
from w2s import tasks
from w2s.data import answers, problems, questions, raw_folder


def math(k, **other):
    """A problem of MATH."""
    return {"problem": f"What is half of ${k}$ lamps?", "level": f"Level {1 + k % 5}",
            "type": "Prealgebra", "solution": f"Half of ${k}$ is $\\boxed{{\\frac{{{k}}}{{2}}}}$."
            } | other


def aime(k, **other):
    """A problem of AIME, without a solution."""
    return {"question": f"Find {k} of 1000.", "answer": f"{k:03}"} | other


def by(found, source):
    return [row for row in found.values() if row["source"] == source]


@pytest.mark.parametrize("train, test", [
    ("math_train.jsonl", "math_test.jsonl"), ("MATH/train.jsonl", "math/test.jsonl"),
    ("prm800k/math_splits/train.jsonl", "prm800k/math_splits/test.jsonl")])
def test_math_of_every_publisher(tmp_path, train, test):
    put(tmp_path / train, lines(math(k) for k in range(1, 8)), zipped=True)
    put(tmp_path / test, lines([
        {"problem": "Which are odd?", "solution": r"They are $\boxed{3, 1}$", "answer": "1,3",
         "subject": "Number Theory", "level": 2, "unique_id": "test/number_theory/7.json"},
        math(3), math(9, solution="So it is 4.5."), math(9, level="Level ?")]))
    found, about = read(tmp_path, questions.arithmetic)
    first, *_, odd, last = found.values()
    assert first == {"id": f"math/{raw_folder.stem(tmp_path / train)}/1", "source": "math",
                     "text": "What is half of $1$ lamps?", "label": "1/2", "level": 2,
                     "subject": "Prealgebra", "group": first["group"],
                     "solution": r"Half of $1$ is $\boxed{\frac{1}{2}}$."}
    assert [row["label"] for row in found.values()][:7] == ["1/2", "1", "3/2", "2", "5/2", "3",
                                                            "7/2"]
    assert odd["label"] == r"\{1,3\}" and odd["level"] == 2 and "level" not in last
    assert odd["id"].endswith("/test/number_theory/7.json") and odd["subject"] == "Number Theory"
    assert about[test] == (4, {"equal to another": 1, "whose answer cannot be read": 1})


def test_math_500_is_part_of_the_test_set(tmp_path):
    put(tmp_path / "math_test.jsonl", lines(map(math, range(6))))
    put(tmp_path / "MATH-500/test.jsonl", lines(math(k, unique_id=f"test/{k}") for k in (2, 7)))
    found, about = read(tmp_path, questions.arithmetic)
    assert len(found) == 7 and about["MATH-500/test.jsonl"] == (2, {"equal to another": 1})
    assert list(found)[-1] == "math/test/test/7"


def test_aime_as_jsonl_and_csv_with_and_without_solutions(tmp_path):
    put(tmp_path / "aime2025-I.jsonl", lines([
        aime(7), aime(70, answer=70), aime(71, answer=71.0), aime(8, answer=r"336^\circ"),
        {"id": 60, "problem": "Find it.", "solution": r"$\boxed{025}$", "answer": "25",
         "url": "https://example.org", "year": "2024"},
        {"id": 61, "problem": "Find that.", "solution": r"\boxed{204}"}, aime(9, answer="1000"),
        aime(10, answer="-1"), aime(11, answer="1/2"), aime(12, answer="080 or 081"),
        aime(13, answer=None), aime(14, answer="")]))
    put(tmp_path / "AIME_Dataset_1983_2024.csv", "ID,Year,Problem Number,Question,Answer,Part\n"
        '1983-1,1983,1,"Find\nx, y and ""z"".",060,\n1983-2,1983,2,Find w.,15,I\n'
        "1983-3,1983,3,Find v.,,I\n")
    found, about = read(tmp_path, questions.arithmetic)
    assert [(row["label"], row["solution"]) for row in by(found, "aime")] == [
        *((n, f"The answer is \\boxed{{{n}}}.") for n in ("7", "70", "71", "336")),
        ("25", r"$\boxed{025}$"), ("204", r"\boxed{204}"),
        ("60", r"The answer is \boxed{60}."), ("15", r"The answer is \boxed{15}.")]
    assert list(found)[4:] == ["aime/aime2025-I/60", "aime/aime2025-I/61",
                               "aime/AIME_Dataset_1983_2024/1983-1",
                               "aime/AIME_Dataset_1983_2024/1983-2"]
    assert found["aime/AIME_Dataset_1983_2024/1983-1"]["text"] == 'Find\nx, y and "z".'
    assert about["aime2025-I.jsonl"] == (12, {
        "whose answer is no integer from 0 to 999": 4, "whose answer cannot be read": 2})
    assert about["AIME_Dataset_1983_2024.csv"] == (3, {"whose answer cannot be read": 1})


def test_omni_math_with_its_domains_and_answers_that_differ(tmp_path):
    row = {"problem": "Find all n.", "domain": ["Mathematics -> Algebra", "Mathematics -> Sums"],
           "difficulty": 8.5, "source": "imo", "solution": "It is clear.", "answer": "$2^{n}-1$"}
    put(tmp_path / "omni_math.jsonl", lines([
        row, row | {"problem": "Find m.", "solution": r"So \boxed{2^n - 1}."},
        row | {"problem": "Find k.", "solution": r"So \boxed{2^n}."},
        row | {"problem": "Find j.", "answer": "x" * 600}]))
    found, about = read(tmp_path, questions.arithmetic)
    one, other = by(found, "omni")
    assert one["label"] == other["label"] == "2^n-1" and one["difficulty"] == 8.5
    assert one["subject"] == "Mathematics -> Algebra; Mathematics -> Sums"
    assert one["solution"] == "It is clear.\nThe answer is \\boxed{2^n-1}."
    assert other["solution"] == r"So \boxed{2^n - 1}."
    assert about["omni_math.jsonl"] == (4, {"whose answer and solution differ": 1,
                                            "whose answer cannot be read": 1})


def test_equal_problems_of_several_files_are_one_group_and_every_solution_gives_its_label(tmp_path):
    put(tmp_path / "math_train.jsonl", lines([math(4), math(4, problem="what is half of 4 lamps")]))
    put(tmp_path / "aime.jsonl", lines([aime(2, question="What is half of (4) lamps"), aime(3)]))
    put(tmp_path / "gsm8k_train.jsonl", lines([{"question": "Half of 9?", "answer": "#### 4.5"}]))
    found, _ = read(tmp_path, questions.arithmetic)
    groups = [row["group"] for row in found.values()]
    assert len(groups) == 5 and len(set(groups[1:4])) == 1 and len(set(groups)) == 3
    labels = {row["source"]: row["label"] for row in found.values()}
    assert labels == {"gsm8k": "4.5", "math": "2", "aime": "3"}
    task = tasks.load("arithmetic")
    for row in found.values():
        assert task.right(row | {"weak_text": row["solution"]})
        assert row["source"] == "gsm8k" or answers.read(row["solution"]) == row["label"]


@pytest.mark.parametrize("bad, match", [
    ({"solution": r"It is $\boxed{\frac{1}{2}$."},
     "a boxed answer is not closed, there is no } to its {; mend or drop the row"),
    ({"answer": r"\boxed{1"}, "a boxed answer is not closed"),
    ({"problem": None}, "no key 'question'"), ({"problem": 3}, "'problem' is a number"),
    ({"solution": 3}, "'solution' is a number"), ({"answer": ["1"]}, "'answer' is a list"),
    ({"answer": True}, "'answer' is true"), ({"type": 3}, "'subject' is a number"),
    ({"difficulty": "hard"}, "'difficulty' is 'hard', expected a number")])
def test_a_damaged_problem_is_named(tmp_path, bad, match):
    put(tmp_path / "raw/math_test.jsonl", lines([math(1), math(2, **bad)]))
    refused(tmp_path, "arithmetic", rf"math_test.jsonl:2: {re.escape(match)}")


def test_a_damaged_table_is_named(tmp_path):
    put(tmp_path / "raw/aime.csv", "question,answer\na,1\nb,2,3\n")
    refused(tmp_path, "arithmetic", "aime.csv:3: 3 columns, expected 2")
    put(tmp_path / "raw/aime.csv", "question,answer\na,1\nb,\\boxed{2\n")
    refused(tmp_path, "arithmetic", "aime.csv:3: a boxed answer is not closed")
    put(tmp_path / "raw/aime.csv", "riddle,answer\na,1\n")
    refused(tmp_path, "arithmetic", "aime.csv:2: no key 'question'")


def test_nothing_found_names_the_files_of_problems(tmp_path):
    put(tmp_path / "raw/adult.csv", "age\n1\n")
    refused(tmp_path, "arithmetic", re.escape(problems.WANTED) + ".*github.com/hendrycks/math")


def test_problems_become_five_splits_and_a_new_file_is_noticed(tmp_path, capsys):
    put(tmp_path / "raw/math_train.jsonl", lines(map(math, range(60))))
    put(tmp_path / "raw/aime2024.jsonl", lines(map(aime, range(60))))
    found = run(tmp_path / "raw", tmp_path / "out", "arithmetic")
    assert sum(map(len, found.values())) == 120
    about = manifest(tmp_path / "out")
    assert about["disjoint"] and set(about["splits"]["test"]["sources"]) == {"math", "aime"}
    run(tmp_path / "raw", tmp_path / "out", "arithmetic")
    assert "already prepared" in capsys.readouterr().out
    put(tmp_path / "raw/notes.jsonl", "{}\n")  # no file of ours, nor one that is called so inside
    put(tmp_path / "raw/not_aime.jsonl", "{}\n")
    run(tmp_path / "raw", tmp_path / "out", "arithmetic")
    put(tmp_path / "raw/aime2025.jsonl", lines([aime(500)]))
    with pytest.raises(ValueError, match=r"prepared before .*aime\*.jsonl was 1 files .*, is 2 f"):
        run(tmp_path / "raw", tmp_path / "out", "arithmetic")
