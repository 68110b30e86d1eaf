"""Rows of the tasks of trust functions from public files, in their publishers' shapes.

    multiple_choice   MMLU, ARC, OpenBookQA, SciQ, CommonsenseQA   id text choices label
    arithmetic        GSM8K, and MATH, AIME, Omni-MATH (problems)  id text label solution
    games             chess puzzles of Lichess                     id text label solution rating

and the same of the miniature's town. All have `source`, the benchmark, and `group`: equal
questions, or positions of one game, stay in one split. A line that is not what its file should hold
raises ValueError `path:line: what is wrong`; a row that cannot be used is counted in raw.sources.
"""

import csv
import heapq
import re
from collections import Counter
from typing import NamedTuple

from w2s import rows
from w2s.data import chess, problems, raw_folder, splits
from w2s.data.answers import final_number
from w2s.data.splits import digest, normal

LETTERS = "ABCDEFGHIJ"


class Benchmark(NamedTuple):
    """The names of a benchmark's files, ours first, and where to get them."""
    files: tuple
    where: str


CHOICE = {
    "mmlu": Benchmark(("mmlu.jsonl",), "MMLU: https://github.com/hendrycks/test"),
    **{f"arc_{name.lower()}": Benchmark(
        (f"arc_{name.lower()}.jsonl", *(f"ARC-{name}-{part}.jsonl"
                                        for part in ("Train", "Dev", "Test"))),
        f"ARC-{name}: https://allenai.org/data/arc") for name in ("Easy", "Challenge")},
    "openbookqa": Benchmark(("openbookqa.jsonl", *(f"Main/{part}.jsonl"
                                                   for part in ("train", "dev", "test"))),
                            "OpenBookQA: https://allenai.org/data/open-book-qa"),
    "sciq": Benchmark(("sciq.jsonl", *(f"SciQ dataset-2 3/{part}.json"
                                       for part in ("train", "valid", "test"))),
                      "SciQ: https://allenai.org/data/sciq"),
    "commonsenseqa": Benchmark(("commonsenseqa.jsonl", "train_rand_split.jsonl",
                                "dev_rand_split.jsonl"),
                               "CommonsenseQA: https://www.tau-nlp.sites.tau.ac.il/commonsenseqa"),
    "town": Benchmark(("town_questions.jsonl",), "the town: python -m w2s.miniature"),
}
SUBJECT = re.compile(r"(.+)_(dev|val|test)")  # of an MMLU table: its name without .csv
SUMS = {"gsm8k": (("gsm8k_train.jsonl", "gsm8k/train.jsonl", "grade_school_math/data/train.jsonl"),
                  ("gsm8k_test.jsonl", "gsm8k/test.jsonl", "grade_school_math/data/test.jsonl")),
        "sums": (("town_sums.jsonl",),)}
GSM8K = "https://github.com/openai/grade-school-math"
PUZZLES = ("lichess_puzzles.csv", "lichess_db_puzzle.csv")
LICHESS = "https://database.lichess.org/#puzzles (unpack the .zst)"
QUESTIONS = raw_folder.Need(
    "questions (" + ", ".join(b.files[0] for b in CHOICE.values()) +
    ", or as they are published: ARC-Easy-Train.jsonl, anatomy_test.csv of MMLU, ...)",
    "; ".join(b.where for b in CHOICE.values()),
    (*(name for b in CHOICE.values() for name in b.files), "*_dev.csv", "*_val.csv", "*_test.csv"))
PROBLEMS = raw_folder.Need(
    f"gsm8k_train.jsonl, gsm8k_test.jsonl, {problems.WANTED} or town_sums.jsonl",
    f"{GSM8K}; {problems.WHERE}", (*(name for parts in SUMS.values() for names in parts
                                     for name in names), *problems.NAMES))
POSITIONS = raw_folder.Need(f"{' or '.join(PUZZLES)} or town_stones.jsonl", LICHESS,
                            (*PUZZLES, "town_stones.jsonl"))
MOST = 100_000  # puzzles that are drawn, by the hash of their ids, where there are millions


# ---- multiple choice -----------------------------------------------------------------------------

def multiple_choice(raw):
    """Rows of every file of questions in raw, a raw_folder.Raw: id, text, choices (2 to 10), label
    (index of the right one), source, group, and subject and prompt where the file has them. Raises
    ValueError where there is no question."""
    pool, seen = [], set()
    for name, benchmark in CHOICE.items():
        for file in benchmark.files:
            if path := raw.find(file):
                _take(raw, path, name, _choice_rows(path, name), pool, seen)
    # MMLU is published as one table for each subject and part, known by their names alone.
    for path in raw.every(".csv"):
        if SUBJECT.fullmatch(raw_folder.stem(path)):
            _take(raw, path, "mmlu", _mmlu(path), pool, seen)
    if not pool:
        raise raw.missing(QUESTIONS)
    splits.set_groups(pool, [[splits.bare(row["text"])] for row in pool])
    return pool


def _take(raw, path, name, candidates, pool, seen):
    """Add the usable candidates, (id, question, choices, label or None, extra keys), to the pool
    and count the others by reason. seen: the questions and ids that the pool has already."""
    count, left_out = 0, Counter()
    for row_id, question, choices, label, extra in candidates:
        count += 1
        # Equal questions with other choices are two; in another order of choices they are one.
        key = normal(question), *sorted(map(normal, choices))
        reason = ("without an answer" if label is None else
                  "without a question" if not question.strip() else
                  "with an empty choice" if not all(map(str.strip, choices)) else
                  f"without 2 to {len(LETTERS)} choices" if not 2 <= len(choices) <= len(LETTERS)
                  else "whose answer is offered twice" if choices.count(choices[label]) > 1
                  else "equal to another" if key in seen else None)
        if reason:
            left_out[reason] += 1
            continue
        seen.add(key)
        pool.append({"id": _id(path, name, row_id, seen), "text": question, "choices": choices,
                     "label": label, "source": name, **extra})
    raw.account(path, count, left_out)


def _choice_rows(path, name):
    """Yield (id, question, choices, label, extra) of a file of JSON objects in any known shape."""
    for n, row in _objects(path):
        stem = row.get("question", row.get("question_stem"))
        offered = row.get("choices")
        if isinstance(stem, dict):  # ARC and OpenBookQA: {"stem": ..., "choices": [...]}
            stem, offered = stem.get("stem"), stem.get("choices")
        if "correct_answer" in row:
            # SciQ has the answer and the others in keys of their own: unshuffled, their order would
            # give the answer away. It is given by its words, not by a letter.
            key = row["correct_answer"]
            labels = offered = sorted([key, *(row.get(f"distractor{k}") for k in (1, 2, 3))],
                                      key=lambda text: digest("sciq", stem, text))
        else:
            offered, labels = _offered(offered)
            key = row.get("answer", row.get("answerKey"))
        if not isinstance(stem, str) or not offered or not all(
                isinstance(text, str) and not rows.SURROGATE.search(text)
                for text in (stem, *offered)):
            raise ValueError(f"{path}:{n}: expected a question and its choices, texts both")
        # A `source` in the file (a town's own benchmark) takes the place of its name.
        extra = {k: row[k] for k in ("subject", "prompt", "source") if k in row}
        for k in extra:
            rows.require(row, k, str, path, n)
        row_id = row.get("id", f"{raw_folder.stem(path)}/{n}")
        yield row_id, stem, offered, _place(key, labels, path, n), extra


def _objects(path):
    """Yield (line, object) of a jsonl file or of a JSON array, where line is the place in it."""
    if not path.name.lower().removesuffix(".gz").endswith(".json"):
        yield from enumerate(rows.read(path), 1)
        return
    objects = rows.read_json(path)
    if not isinstance(objects, list) or not all(isinstance(row, dict) for row in objects):
        raise ValueError(f"{path}:1: expected an array of objects")
    # A null is a key that is not there, as rows.read has it in a jsonl file.
    yield from enumerate(map(rows.present, objects), 1)


def _offered(choices):
    """(texts, labels) of the choices: a list of texts (ours), {"text": [], "label": []} (Hugging
    Face) or [{"text", "label"}] (ARC); ([], []) for anything else."""
    if isinstance(choices, dict):
        texts, labels = choices.get("text"), choices.get("label")
        good = isinstance(texts, list) and isinstance(labels, list) and len(texts) == len(labels)
        return (texts, labels) if good else ([], [])
    if not isinstance(choices, list):
        return [], []
    if choices and all(isinstance(choice, dict) for choice in choices):
        return tuple([choice.get(k) for choice in choices] for k in ("text", "label"))
    return choices, list(LETTERS[:len(choices)])


def _place(key, labels, path, n):
    """Index of the right answer, given by its label or its place; None where the file does not tell
    it (a hidden test set). Raises ValueError for an answer that is no choice."""
    if key is None or key == "":
        return None
    if key in labels:  # some of ARC are called "1" to "4", strings; a place is an int
        return labels.index(key)
    if type(key) is int and 0 <= key < len(labels):
        return key
    raise ValueError(f"{path}:{n}: the answer {rows.shown(key)} is none of the {len(labels)} "
                     "choices")


def _mmlu(path):
    """Yield (id, question, choices, label, extra) of an MMLU table: question, A, B, C, D, answer,
    without a header. A quoted question may have several lines, so this is not raw_folder.table."""
    subject, part = SUBJECT.fullmatch(raw_folder.stem(path)).groups()
    reader = csv.reader(line + "\n" for line in rows.lines(path))
    try:
        for k, fields in enumerate(filter(None, reader)):
            # An empty answer is one that is not told; the row is counted and left out later.
            if len(fields) != 6 or fields[5].strip() not in (*"ABCD", ""):
                raise ValueError(f"{path}:{reader.line_num}: expected question, A, B, C, D, "
                                 "answer, as in MMLU")
            question, *choices, key = map(str.strip, fields)
            yield (f"{part}/{subject}/{k}", question, choices, "ABCD".index(key) if key else None,
                   {"subject": subject})
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: {error}") from None


def _id(path, name, row_id, seen):
    """A row's id, with its benchmark in front, entered into `seen`. Raises ValueError for one that
    is there already: everything else that is known of a row is joined to it by its id."""
    row_id = rows.SURROGATE.sub("?", str(row_id))
    row_id = row_id if row_id.startswith(f"{name}/") else f"{name}/{row_id}"
    if ("id", row_id) in seen:
        raise ValueError(f"{path}: id '{row_id}' is another row's too; give each row its own")
    seen.add(("id", row_id))
    return row_id


# ---- sums ----------------------------------------------------------------------------------------

def arithmetic(raw):
    """Rows of GSM8K's files, of competition problems and of the town's sums: id, text (the
    question), label (the final answer, as final_number writes it, or answers.canonical), solution
    (reasoning and answer, without the calculator's <<...>>), source, group, and prompt, level,
    subject, difficulty where the file has them. Raises ValueError where there is none."""
    pool, seen = [], set()
    for source, files in SUMS.items():
        # Both parts of GSM8K: its rows are divided anew, as trust functions need five splits.
        for names in files:
            if path := raw.first(*names):
                _solve(raw, path, source, _answered(path, final_number), pool, seen)
    for source, path in problems.files(raw):
        _solve(raw, path, source, problems.read(path, source), pool, seen)
    if not pool:
        raise raw.missing(PROBLEMS)
    splits.set_groups(pool, [[splits.bare(row["text"])] for row in pool])
    return pool


def _answered(path, parse):
    """Yield (id, question, answer, label or None, None, extra) of a jsonl file of {question,
    answer}; parse(answer) is the label."""
    for n, row in enumerate(rows.read(path), 1):
        for key in ("question", "answer", *({"prompt"} & row.keys())):
            rows.require(row, key, str, path, n)
        answer = re.sub(r"<<[^<>]*>>", "", row["answer"]).strip()
        yield (row.get("id", f"{raw_folder.stem(path)}/{n}"), row["question"], answer,
               parse(answer), None, {"prompt": row["prompt"]} if "prompt" in row else {})


def _solve(raw, path, source, candidates, pool, seen):
    """Add the usable candidates, (id, question, solution, label or None, why it cannot be used or
    None, extra), to the pool and count the others by reason. seen: the questions and ids that the
    pool has already."""
    count, left_out = 0, Counter()
    for row_id, question, solution, label, wrong, extra in candidates:
        count += 1
        reason = ("without a question" if not question.strip() else
                  "whose answer cannot be read" if label is None else wrong or
                  ("equal to another" if normal(question) in seen else None))
        if reason:
            left_out[reason] += 1
            continue
        seen.add(normal(question))
        pool.append({"id": _id(path, source, row_id, seen), "text": question, "label": label,
                     "solution": solution, "source": source, **extra})
    raw.account(path, count, left_out)


# ---- games ---------------------------------------------------------------------------------------

# One pattern for both games: the same reader finds the move in what a model writes.
MOVE = re.compile(r"\b(?:[a-h][1-8][a-h][1-8][qrbn]?|one|two|three)\b")


def move(text):
    """The first move in a text: in chess in UCI, with stones their number in words; or None."""
    match = MOVE.search(text.lower())
    return match and match[0]


def games(raw):
    """Rows of Lichess's puzzles and of the town's game of stones: id, text (the position), label
    (the best move), solution (how it is written), source, group, and rating or prompt. Raises
    ValueError where there is neither."""
    pool, seen = [], set()
    path = raw.first(*PUZZLES)
    if path:
        _puzzles(raw, path, pool)
    splits.set_groups(pool, [row.pop("keys") for row in pool])  # keys are no part of a row
    if path := raw.find("town_stones.jsonl"):
        stones = []  # apart: a position of stones has no game, its group is the text
        _solve(raw, path, "stones", _answered(path, move), stones, seen)
        splits.set_groups(stones, [[splits.bare(row["text"])] for row in stones])
        pool += stones
    if not pool:
        raise raw.missing(POSITIONS)
    return pool


def _puzzles(raw, path, pool):
    """Add Lichess's puzzles to the pool. A FEN is the position before the opponent's move Moves[0],
    and the puzzle asks for the answer to it, Moves[1]."""
    table, left_out, seen = raw_folder.table(path), Counter(), set()
    n, header = next(table)
    names = [name.lower() for name in header]
    lacking = [name for name in ("PuzzleId", "FEN", "Moves") if name.lower() not in names]
    if lacking:
        raise ValueError(f"{path}:{n}: the header has no column {' or '.join(lacking)}")
    count = 0  # of all puzzles, also of those that are not drawn: the account has every row

    def counted():
        nonlocal count
        for n, fields in table:
            count += 1
            if len(fields) != len(names):
                raise ValueError(f"{path}:{n}: {len(fields)} columns, expected {len(names)}")
            yield n, dict(zip(names, fields))

    # One pass over millions of lines with MOST of them in memory; the same ones in any order.
    drawn = heapq.nsmallest(MOST, counted(),
                            key=lambda line: digest("puzzle", line[1]["puzzleid"]))
    left_out["not drawn"] = count - len(drawn)
    for n, line in sorted(drawn, key=lambda line: line[0]):  # in the order of the file again
        row = _puzzle(line, f"{path}:{n}")
        position = row and row["text"].rsplit(" ", 2)[0]  # without the counters
        reason = ("without an answer" if row is None else
                  "equal to another" if position in seen else None)
        if reason:
            left_out[reason] += 1
        else:
            seen.add(position)
            pool.append(row)
    raw.account(path, count, left_out)


def _puzzle(puzzle, where):
    """The row of one puzzle {column: value}, with `keys` for splits.set_groups; None where there is
    no second move. Raises ValueError `where: ...` for a bad position, move or rating."""
    moves, rating = puzzle["moves"].split(), puzzle.get("rating", "")
    if len(moves) < 2:
        return None
    if rating and not rating.isdecimal():  # the column may be missing or empty, not a word
        raise ValueError(f"{where}: the rating is {rows.shown(rating)}, expected a number")
    try:
        position = chess.play(puzzle["fen"], moves[0])
        chess.play(position, moves[1])  # only to check the answer
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    game = re.search(r"lichess\.org/(\w{8})", puzzle.get("gameurl", ""))
    # One group: positions of one game, and positions that are equal but for the move counters.
    keys = [normal(" ".join(position.split()[:4])), *(["game " + game[1]] if game else [])]
    return {"id": f"chess/{puzzle['puzzleid']}", "text": position, "label": moves[1],
            "solution": moves[1], "source": "chess", "keys": keys,
            **({"rating": int(rating)} if rating else {})}
