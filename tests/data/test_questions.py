"""w2s.data.questions: questions, sums and games in every shape they are published in -> rows.

    .venv/bin/python -m pytest tests/data/test_questions.py

All questions here are invented; no GPU, about 5 s.
"""

import json

import pytest

from tests.data.test_prepare import lines, manifest, put, refused, run
from w2s.data import answers, questions, raw_folder

TOWN = [{"id": f"q{k}", "split": "train", "question": f"Which pet keeps citizen {k}?",
         "choices": [f"crow {k}", "cat", "dog", "ferret", "goat"][:3 + k % 3],
         "answer": "ABC"[k % 3]} for k in range(60)]


def read(folder, kind=questions.multiple_choice):
    """(rows by id, {file: (rows, left out)})."""
    raw = raw_folder.Raw(folder)
    pool = kind(raw)
    assert len({row["id"] for row in pool}) == len(pool)
    return ({row["id"]: row for row in pool},
            {path: (source["rows"], source["left_out"]) for path, source in raw.sources.items()})


def plain(rows):
    """What was asked, offered and right."""
    return [(row["text"], row["choices"], row["label"]) for row in rows.values()]


# ---- multiple choice -----------------------------------------------------------------------------

def listed(row):
    """The choices as [{"text", "label"}], labels A to E."""
    return [{"text": text, "label": letter} for letter, text in zip("ABCDE", row["choices"])]


def columns(row):
    """The choices as {"text": [], "label": []}."""
    return {"text": row["choices"], "label": list("ABCDE"[:len(row["choices"])])}


SHAPES = {  # file: the lines of TOWN[:6] in its shape
    "arc_easy.jsonl": lambda row: row,
    "ARC-Easy-Train.jsonl": lambda row: {
        "id": row["id"], "answerKey": str(1 + "ABC".index(row["answer"])), "question": {
            "stem": row["question"], "choices": [{"text": text, "label": str(n)} for n, text
                                                 in enumerate(row["choices"], 1)]}},
    "arc_challenge.jsonl": lambda row: {"id": row["id"], "question": row["question"],
                                        "answerKey": row["answer"], "choices": columns(row)},
    "openbookqa.jsonl": lambda row: {"id": row["id"], "question_stem": row["question"],
                                     "answerKey": row["answer"], "choices": columns(row)},
    "train_rand_split.jsonl": lambda row: {
        "id": row["id"], "answerKey": row["answer"], "question": {
            "question_concept": "pets", "stem": row["question"], "choices": listed(row)}},
    "mmlu.jsonl": lambda row: {"question": row["question"], "choices": row["choices"],
                               "subject": "pets", "answer": "ABC".index(row["answer"])}}
SOURCE = {"ARC-Easy-Train.jsonl": "arc_easy", "train_rand_split.jsonl": "commonsenseqa"}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("zipped", [False, True])
def test_every_shape_gives_the_same_questions(tmp_path, name, zipped):
    put(tmp_path / "deep" / name, lines(map(SHAPES[name], TOWN[:6])), zipped)
    found, about = read(tmp_path)
    assert plain(found) == [(row["question"], row["choices"], "ABC".index(row["answer"]))
                            for row in TOWN[:6]]
    [(path, account)] = about.items()
    assert account == (6, {}) and path == f"deep/{name}{'.gz' * zipped}"
    source = SOURCE.get(name, name.removesuffix(".jsonl"))
    assert {row["source"] for row in found.values()} == {source}
    assert all(key.startswith(source + "/") for key in found)


def test_mmlu_tables_with_their_subject_and_lines_inside_a_question(tmp_path):
    put(tmp_path / "mmlu/dev/town_pets_dev.csv", '"Who, if any,\nkeeps a ""crow""?",Ada,Ben,Cora,'
        "Dean,C\nWho barks?,Ada,Ben,Cora,Dean,\n")
    put(tmp_path / "mmlu/test/town_pets_test.csv", "Who sings?,Ada,Ben,Cora,Dean,A\n\n")
    put(tmp_path / "adult.csv", "age,income\n1,2\n")  # not a table of MMLU
    found, about = read(tmp_path)
    assert plain(found) == [('Who, if any,\nkeeps a "crow"?', ["Ada", "Ben", "Cora", "Dean"], 2),
                            ("Who sings?", ["Ada", "Ben", "Cora", "Dean"], 0)]
    assert list(found) == ["mmlu/dev/town_pets/0", "mmlu/test/town_pets/0"]
    assert {row["subject"] for row in found.values()} == {"town_pets"}
    assert about["mmlu/dev/town_pets_dev.csv"] == (2, {"without an answer": 1})


def test_sciq_is_shuffled_by_a_hash_and_not_always_the_first_answer(tmp_path):
    asked = [{"question": f"What is {k}?", "correct_answer": "right", "distractor1": "wrong",
              "distractor2": "odd", "distractor3": "bad", "support": ""} for k in range(40)]
    put(tmp_path / "a/sciq.jsonl", lines(asked))
    put(tmp_path / "b/SciQ dataset-2 3/train.json", json.dumps(asked))
    first, second = (read(tmp_path / folder)[0] for folder in "ab")
    assert plain(first) == plain(second)
    assert all(row["choices"][row["label"]] == "right" for row in first.values())
    assert {row["label"] for row in first.values()} == {0, 1, 2, 3}


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path):
    good = {"question": "Who?", "choices": ["Ada", "Ben", "Cora"], "answer": "B"}
    put(tmp_path / "town_questions.jsonl", lines([
        good, good | {"question": "WHO? "}, good | {"choices": ["Ben", "Ada", "Cora"]},
        good | {"question": "Who ?", "choices": ["Ada", "Dean"]}, good | {"answer": ""},
        good | {"answer": None},
        good | {"choices": ["Ada", " ", "Cora"]}, good | {"choices": ["Ada"], "answer": 0},
        good | {"choices": ["Ada", "Ada", "Cora"]}, good | {"question": " "},
        good | {"question": "Who else?", "prompt": "they say who ?", "source": "rumours"}]))
    found, about = read(tmp_path)
    assert about["town_questions.jsonl"] == (11, {
        "equal to another": 2, "without an answer": 2, "with an empty choice": 1,
        "without 2 to 10 choices": 1, "whose answer is offered twice": 1, "without a question": 1})
    one, other, last = found.values()
    assert one["group"] == other["group"] != last["group"]  # one question with two sets of choices
    assert last["prompt"] == "they say who ?" and last["source"] == "rumours"


@pytest.mark.parametrize("bad, match", [
    ({"question": 3}, "a question and its choices"), ({"choices": "abc"}, "and its choices"),
    ({"choices": ["a", 3]}, "and its choices"), ({"choices": []}, "and its choices"),
    ({"choices": {"text": ["a"], "label": []}}, "and its choices"),
    ({"question": "a \ud800"}, "half a character"),
    ({"answer": "D"}, "the answer 'D' is none of the 3 choices"),
    ({"answer": 3}, "none of the 3"), ({"answer": -1}, "none of the 3"),
    ({"answer": True}, "none of the 3"),
    ({"subject": 3}, "'subject' is a number"), ({"prompt": False}, "'prompt' is false")])
def test_a_damaged_line_is_named(tmp_path, bad, match):
    good = {"question": "Who?", "choices": ["Ada", "Ben", "Cora"], "answer": "B"}
    put(tmp_path / "raw/sciq.jsonl", lines([good, good | bad]))
    refused(tmp_path, "mcqa", rf"sciq.jsonl:2: .*{match}")


def test_damaged_tables_and_arrays_are_named(tmp_path):
    put(tmp_path / "raw/pets_test.csv", "Who?,a,b,c,d,A\nWho?,a,b,c,A\n")
    refused(tmp_path, "mcqa", "pets_test.csv:2: expected question, A, B, C, D, answer")
    put(tmp_path / "raw/pets_test.csv", "Who?,a,b,c,d,E\n")
    refused(tmp_path, "mcqa", "pets_test.csv:1: expected question, A, B, C, D, answer")
    put(tmp_path / "raw/pets_test.csv", "Who?,a,b,c,d,A\nWho\relse?,a,b,c,d,A\n")
    refused(tmp_path, "mcqa", "pets_test.csv:2: new-line character seen in unquoted field")
    put(tmp_path / "raw/pets_test.csv", f"Who?,a,b,c,{'d' * 2 ** 18},A\n")
    refused(tmp_path, "mcqa", "pets_test.csv:1: field larger than field limit")
    (tmp_path / "raw/pets_test.csv").unlink()
    put(tmp_path / "raw/SciQ dataset-2 3/test.json", '[1]')
    refused(tmp_path, "mcqa", "test.json:1: expected an array of objects")


@pytest.mark.parametrize("task, said", [
    ("mcqa", "mmlu.jsonl.*anatomy_test.csv.*hendrycks/test.*allenai.org/data/arc"),
    ("arithmetic", "gsm8k_train.jsonl.*town_sums.jsonl.*openai/grade-school-math"),
    ("game", "lichess_db_puzzle.csv or town_stones.jsonl.*database.lichess.org")])
def test_nothing_found_says_what_was_looked_for_and_where_it_is(tmp_path, task, said):
    put(tmp_path / "raw/adult.csv", "age\n1\n")
    refused(tmp_path, task, f"did not find .*{said}")


def test_questions_become_five_splits(tmp_path):
    put(tmp_path / "raw/town_questions.jsonl", lines(TOWN))
    put(tmp_path / "raw/mmlu.jsonl", lines([row | {"question": f"Again, {row['question']}"}
                                            for row in TOWN]))
    found = run(tmp_path / "raw", tmp_path / "out", "mcqa")
    assert sum(map(len, found.values())) == 120
    about = manifest(tmp_path / "out")
    assert about["disjoint"] and set(about["splits"]["wts"]["sources"]) == {"town", "mmlu"}


# ---- sums ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("text, number", [
    ("so 3 + 4 = 7\n#### 7", "7"), ("#### 1,234.50", "1234.5"), ("#### $18", "18"),
    ("#### -5", "-5"), ("#### -$5.00", "-5"), ("#### $-5", "-5"), ("#### \u22125", "-5"),
    ("#### 0.50", "0.5"), ("#### .5", "0.5"), ("#### -0", "0"), ("#### 007", "7"),
    ("#### 1,450,000 dollars", "1450000"), ("#### 72.", "72"), ("#### 72 #### 73", "72"),
    ("#### forty-two", "42"), ("ten and two make twelve . #### Twelve .", "12"),
    ("the first 3, then 4 of each one", "4"), ("no figures, but ten and two", "2"),
    ("it is ninety-nine .", "99"), ("9 - 3 leaves 6.", "6"), ("2-3", "3"), ("#### no, 4", "4"),
    ("12345678901234567890123456789012.50", "12345678901234567890123456789012.5"),
    ("stone by stone", None), ("####", None), ("", None)])
def test_the_final_number_of_a_solution(text, number):
    assert answers.final_number(text) == number


def test_number_words_are_the_towns():
    from w2s.miniature import lexicon
    assert answers.WORDS == {lexicon.number(n): n for n in range(100)}


SUMS = [{"question": f"Ned has {k} coats and two lamps. How many things?",
         "answer": f"{k} + 2 = <<{k}+2={k + 2}>>{k + 2}\n#### {k + 2}"} for k in range(60)]


@pytest.mark.parametrize("train, test", [
    ("gsm8k_train.jsonl", "gsm8k_test.jsonl"), ("gsm8k/train.jsonl", "gsm8k/test.jsonl"),
    ("grade_school_math/data/train.jsonl", "grade_school_math/data/test.jsonl")])
def test_gsm8k_without_the_calculators_marks(tmp_path, train, test):
    put(tmp_path / train, lines(SUMS[:40]))
    put(tmp_path / test, lines(SUMS[40:] + SUMS[:1] + [
        {"question": "Why?", "answer": "So."},
        {"question": "Twice?", "answer": "1 <<1+1=2>>2, then <<2+2=4>>4\n#### 4"}]), zipped=True)
    found, about = read(tmp_path, questions.arithmetic)
    assert [row["label"] for row in found.values()] == [*(str(k + 2) for k in range(60)), "4"]
    solutions = [row["solution"] for row in found.values()]
    assert solutions[5] == "5 + 2 = 7\n#### 7" and solutions[-1] == "1 2, then 4\n#### 4"
    assert about[f"{test}.gz"] == (23, {"equal to another": 1, "whose answer cannot be read": 1})


def test_sums_of_the_town_keep_their_prompt(tmp_path):
    put(tmp_path / "raw/town_sums.jsonl", lines(
        {"question": f"ten and {word} ?", "prompt": f"ten and {word} make",
         "answer": f"ten and {word} make {k} . #### {word}"}
        for k, word in enumerate(list(answers.WORDS)[:40])))
    found = run(tmp_path / "raw", tmp_path / "out", "arithmetic")
    rows = [row for members in found.values() for row in members]
    assert len(rows) == 40 and all(row["prompt"].endswith(" make") for row in rows)
    assert {row["label"] for row in rows} == {str(k) for k in range(40)}


@pytest.mark.parametrize("bad, match", [
    ({"question": "a"}, "no key 'answer'"), ({"question": 3, "answer": "#### 3"}, "'question' is"),
    ({"question": "a", "answer": "#### 3", "prompt": 3}, "'prompt' is a number")])
def test_a_damaged_sum_is_named(tmp_path, bad, match):
    put(tmp_path / "raw/gsm8k_train.jsonl", lines([*SUMS, bad]))
    refused(tmp_path, "arithmetic", f"gsm8k_train.jsonl:61: .*{match}")


# ---- games ---------------------------------------------------------------------------------------

HEAD = "PuzzleId,FEN,Moves,Rating,Themes,GameUrl\n"


def puzzle(name, king, moves="a7a6 a1a6", game="abcdefgh"):
    """A line of Lichess's table: a rook takes the pawn that has just moved."""
    return (f"{name},4k3/p7/8/8/8/8/8/R3{king} b - - 0 30,{moves},900,endgame,"
            f"https://lichess.org/{game}/black#60\n")


@pytest.mark.parametrize("name", ["lichess_puzzles.csv", "lichess_db_puzzle.csv"])
def test_the_position_is_the_one_after_the_first_move_and_the_second_is_the_answer(tmp_path, name):
    put(tmp_path / name, HEAD + puzzle("one", "K3") + puzzle("two", "1K2")
        + puzzle("three", "2K1", game="otherone") + puzzle("four", "K3")
        + puzzle("five", "3K", moves="a7a6") + puzzle("six", "K3").replace("0 30", "7 9"),
        zipped=True)
    found, about = read(tmp_path, questions.games)
    one, two, three = found.values()
    assert one["text"] == "4k3/8/p7/8/8/8/8/R3K3 w - - 0 31" and one["label"] == "a1a6"
    assert one["solution"] == "a1a6" and one["rating"] == 900 and one["id"] == "chess/one"
    assert one["group"] == two["group"] != three["group"]  # two positions of one game
    # counters of moves make no other position
    assert about[f"{name}.gz"] == (6, {"equal to another": 2, "without an answer": 1})


def test_of_millions_of_puzzles_some_are_drawn(tmp_path, monkeypatch):
    places = [f"{k}K{6 - k}".replace("0", "") for k in range(7)]  # a king on b1 to h1
    lines = [f"p{k},4k3/p7/8/8/8/8/{place}/R7 b - - 0 30,a7a6 a1a6,900,,\n"
             for k, place in enumerate(f"1{p}" if p[0] == "K" else str(1 + int(p[0])) + p[1:]
                                       for p in places)]
    put(tmp_path / "lichess_puzzles.csv", HEAD + "".join(lines))
    every, _ = read(tmp_path, questions.games)
    monkeypatch.setattr(questions, "MOST", 3)
    some, about = read(tmp_path, questions.games)
    assert len(every) == 7 and len(some) == 3
    assert list(some) == [name for name in every if name in some]
    put(tmp_path / "lichess_puzzles.csv", HEAD + "".join(lines[::-1]))
    assert read(tmp_path, questions.games)[0].keys() == some.keys()  # whatever their order
    assert about["lichess_puzzles.csv"] == (7, {"not drawn": 4})


@pytest.mark.parametrize("content, match", [
    ("FEN,Moves\n", ":1: the header has no column PuzzleId"), ("", ":1: the file is empty"),
    (HEAD + "a,b\n", ":2: 2 columns, expected 6"),
    (HEAD + puzzle("a", "K3") + puzzle("b", "9"), ":3: not a position in FEN"),
    (HEAD + puzzle("a", "K3", "a7a6 a1a7q"), ":2: move a1a7q: a pawn"),
    (HEAD + puzzle("a", "K3", "b7b6 a1a7"), ":2: move b7b6: no piece"),
    (HEAD + puzzle("a", "K3").replace("900", "many"), ":2: the rating is 'many'")])
def test_a_damaged_puzzle_is_named(tmp_path, content, match):
    put(tmp_path / "raw/lichess_puzzles.csv", content)
    refused(tmp_path, "game", f"lichess_puzzles.csv{match}")


@pytest.mark.parametrize("text, move", [
    (" e2e4", "e2e4"), ("I play E7E8Q !", "e7e8q"), ("e2e4 e7e5", "e2e4"), (" three .", "three"),
    (" two , four left", "two"), ("e2", None), ("e9e4", None), ("someone", None), ("", None)])
def test_the_move_in_a_text(text, move):
    assert questions.move(text) == move


def test_positions_of_stones_that_differ_in_marks_are_one_group(tmp_path):
    put(tmp_path / "town_stones.jsonl", lines({"question": text, "answer": "two"} for text in (
        "a heap of six .", "A heap of six!", "a heap of sixty .")))
    one, two, three = read(tmp_path, questions.games)[0].values()
    assert one["group"] == two["group"] != three["group"]


def test_stones_and_puzzles_become_five_splits(tmp_path):
    put(tmp_path / "raw/town_stones.jsonl", lines(
        {"id": str(k), "question": f"a heap of {k} .", "prompt": f"a heap of {k} . ned takes",
         "answer": ("one", "two", "three")[k % 3]} for k in range(40)))
    boards = [f"{a}k{7 - a}/p7/8/8/8/{b}K{7 - b}/8/R7".replace("0", "") for a in range(8)
              for b in range(8)]
    put(tmp_path / "raw/lichess_puzzles.csv", HEAD + "".join(
        f"p{k},{board} b - - 0 30,a7a6 a1a6,900,,\n" for k, board in enumerate(boards)))
    found = run(tmp_path / "raw", tmp_path / "out", "game")
    assert sum(map(len, found.values())) == 104
    assert set(manifest(tmp_path / "out")["splits"]["test"]["sources"]) == {"chess", "stones"}
