"""Public files of questions, sums and games, in their publishers' shapes -> rows of our tasks.

    multiple_choice   MMLU, ARC, OpenBookQA, SciQ, CommonsenseQA   id text choices label
    arithmetic        GSM8K                                        id text label solution
    games             chess puzzles of Lichess                     id text label solution rating

and those of the miniature's town. All have `source`, the benchmark, and `group`: equal questions,
or positions of one game, stay in one split. A line that is not what its file should hold raises
ValueError `path:line: what is wrong`; a row that cannot be used is counted in raw.sources.
"""

import csv
import heapq
import re
from collections import Counter
from typing import NamedTuple

from w2s import rows
from w2s.data import chess, raw_folder, splits
from w2s.data.splits import digest, normal

LETTERS = "ABCDEFGHIJ"


class Benchmark(NamedTuple):
    """What a benchmark's files are called, ours first, and where they are to be had."""
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
MOST = 100_000  # puzzles that are drawn, by the hash of their ids, where there are millions


# ---- multiple choice -----------------------------------------------------------------------------

def multiple_choice(raw):
    """Rows of every file of questions in raw, a splits.Raw: id, text, choices (2 to 10), label (the
    place of the right one), source, group, and subject and prompt where the file has them."""
    pool, seen = [], set()
    for name, benchmark in CHOICE.items():
        for file in benchmark.files:
            if path := raw.find(file):
                _take(raw, path, name, _choice_rows(path, name), pool, seen)
    for path in raw.every(".csv"):
        if SUBJECT.fullmatch(raw_folder.stem(path)):
            _take(raw, path, "mmlu", _mmlu(path), pool, seen)
    if not pool:
        raise raw.missing(
            "questions (" + ", ".join(b.files[0] for b in CHOICE.values()) +
            ", or as they are published: ARC-Easy-Train.jsonl, anatomy_test.csv of MMLU, ...)",
            "; ".join(b.where for b in CHOICE.values()))
    splits.set_groups(pool, [[splits.bare(row["text"])] for row in pool])
    return pool


def _take(raw, path, name, found, pool, seen):
    """Add the usable ones of found, (id, question, choices, label or None, extra keys), to the
    pool; `seen` holds what is there already."""
    count, left = 0, Counter()
    for own, question, choices, label, extra in found:
        count += 1
        key = normal(question), *sorted(map(normal, choices))
        reason = ("without an answer" if label is None else
                  "without a question" if not question.strip() else
                  "with an empty choice" if not all(map(str.strip, choices)) else
                  f"without 2 to {len(LETTERS)} choices" if not 2 <= len(choices) <= len(LETTERS)
                  else "whose answer is offered twice" if choices.count(choices[label]) > 1
                  else "equal to another" if key in seen else None)
        if reason:
            left[reason] += 1
            continue
        seen.add(key)
        pool.append({"id": _id(path, name, own, seen), "text": question, "choices": choices,
                     "label": label, "source": name, **extra})
    raw.account(path, count, left)


def _choice_rows(path, name):
    """Yield (id, question, choices, label, extra) of a file of JSON objects in any known shape."""
    for n, row in _objects(path):
        stem = row.get("question", row.get("question_stem"))
        offered = row.get("choices")
        if isinstance(stem, dict):
            stem, offered = stem.get("stem"), stem.get("choices")
        if "correct_answer" in row:
            offered, key = _sciq(row, stem), row["correct_answer"]
            labels = offered
        else:
            offered, labels = _offered(offered)
            key = row.get("answer", row.get("answerKey"))
        if not isinstance(stem, str) or not offered or not all(
                isinstance(text, str) and not rows.SURROGATE.search(text)
                for text in (stem, *offered)):
            raise ValueError(f"{path}:{n}: expected a question and its choices, texts both")
        extra = {k: row[k] for k in ("subject", "prompt", "source") if k in row}
        for k in extra:
            rows.require(row, k, str, path, n)
        own = row.get("id", f"{raw_folder.stem(path)}/{n}")
        yield own, stem, offered, _place(key, labels, path, n), extra


def _objects(path):
    """Yield (line, object) of a jsonl file, or of a JSON array (line: place in the array)."""
    if not path.name.lower().removesuffix(".gz").endswith(".json"):
        yield from enumerate(rows.read(path), 1)
        return
    found = rows.read_json(path)
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ValueError(f"{path}:1: expected an array of objects")
    yield from enumerate(({key: value for key, value in row.items() if value is not None}
                          for row in found), 1)


def _offered(choices):
    """(texts, labels): of a list of texts (ours), of {"text": [], "label": []} (Hugging Face) or of
    [{"text", "label"}] (ARC); ([], []) of anything else."""
    if isinstance(choices, dict):
        texts, labels = choices.get("text"), choices.get("label")
        good = isinstance(texts, list) and isinstance(labels, list) and len(texts) == len(labels)
        return (texts, labels) if good else ([], [])
    if not isinstance(choices, list):
        return [], []
    if choices and all(isinstance(choice, dict) for choice in choices):
        return tuple([choice.get(k) for choice in choices] for k in ("text", "label"))
    return choices, list(LETTERS[:len(choices)])


def _sciq(row, stem):
    """SciQ's answer and its distractors in an order that a hash draws."""
    offered = [row["correct_answer"], *(row.get(f"distractor{k}") for k in (1, 2, 3))]
    return sorted(offered, key=lambda text: digest("sciq", stem, text))


def _place(key, labels, path, n):
    """Index of the right answer; None when the file keeps it to itself."""
    if key is None or key == "":
        return None
    if key in labels:
        return labels.index(key)
    if type(key) is int and 0 <= key < len(labels):
        return key
    raise ValueError(f"{path}:{n}: the answer {rows.shown(key)} is none of the {len(labels)} "
                     "choices")


def _mmlu(path):
    """Yield (id, question, choices, label, extra) of an MMLU table: question, A, B, C, D, answer,
    and no header; a question may have several lines."""
    subject, part = SUBJECT.fullmatch(raw_folder.stem(path)).groups()
    reader = csv.reader(line + "\n" for line in rows.lines(path))
    try:
        for k, fields in enumerate(filter(None, reader)):
            if len(fields) != 6 or fields[5].strip() not in (*"ABCD", ""):
                raise ValueError(f"{path}:{reader.line_num}: expected question, A, B, C, D, "
                                 "answer, as in MMLU")
            question, *choices, key = map(str.strip, fields)
            yield (f"{part}/{subject}/{k}", question, choices, "ABCD".index(key) if key else None,
                   {"subject": subject})
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: {error}") from None


def _id(path, name, own, seen):
    """A row's id, with its benchmark in front, noted in `seen`. Raises ValueError for one that is
    there already."""
    own = rows.SURROGATE.sub("?", str(own))
    own = own if own.startswith(f"{name}/") else f"{name}/{own}"
    if ("id", own) in seen:
        raise ValueError(f"{path}: id '{own}' is another row's too; give each row its own")
    seen.add(("id", own))
    return own


# ---- sums ----------------------------------------------------------------------------------------

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen").split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
WORDS = {word: k for k, word in enumerate(ONES)} | {
    f"{ten}-{one}" if k else ten: 20 + 10 * t + k
    for t, ten in enumerate(TENS) for k, one in enumerate(ONES[:10])}
FIGURES = r"(?<![\w)])-?\$?-?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
NUMBER = re.compile(rf"{FIGURES}|\b(?:{'|'.join(sorted(WORDS, key=len, reverse=True))})\b")


def final_number(text):
    """The answer that a solution gives, as str: the first number behind "####", else the last one
    in figures, else the last in words; None without a number. Equal numbers are equal strings:
    "$1,234.50" is 1234.5 and "forty-two" 42."""
    text = text.lower().replace("\u2212", "-")
    marked = NUMBER.search(text.split("####", 1)[1]) if "####" in text else None
    found = [marked[0]] if marked else NUMBER.findall(text)
    found = [number for number in found if number not in WORDS] or found
    return _plain(found[-1]) if found else None


def _plain(number):
    """A number in figures, without $, thousands' commas and zeros that say nothing."""
    if number in WORDS:
        return str(WORDS[number])
    whole, _, part = re.sub(r"[-$,]", "", number).partition(".")
    plain = (whole.lstrip("0") or "0") + ("." + part.rstrip("0")).rstrip(".")
    return "-" + plain if "-" in number and plain != "0" else plain


def arithmetic(raw):
    """Rows of GSM8K's files and the town's: id, text (the question), label (the final answer, as
    final_number writes it), solution (reasoning and answer, without the calculator's <<...>>),
    source, group, and prompt where the file has one."""
    pool, seen = [], set()
    for source, files in SUMS.items():
        for names in files:
            if path := raw.first(*names):
                _solve(raw, path, source, _answered(path), final_number, pool, seen)
    if not pool:
        raise raw.missing("gsm8k_train.jsonl, gsm8k_test.jsonl or town_sums.jsonl", GSM8K)
    splits.set_groups(pool, [[splits.bare(row["text"])] for row in pool])
    return pool


def _answered(path):
    """Yield (id, question, answer, extra) of a file of {question, answer}."""
    for n, row in enumerate(rows.read(path), 1):
        for key in ("question", "answer", *({"prompt"} & row.keys())):
            rows.require(row, key, str, path, n)
        yield (row.get("id", f"{raw_folder.stem(path)}/{n}"), row["question"],
               re.sub(r"<<[^<>]*>>", "", row["answer"]).strip(),
               {"prompt": row["prompt"]} if "prompt" in row else {})


def _solve(raw, path, source, found, parse, pool, seen):
    """Add the rows of (id, question, answer, extra) whose answer `parse` can read to the pool."""
    count, left = 0, Counter()
    for own, question, answer, extra in found:
        count += 1
        label = parse(answer)
        reason = ("without a question" if not question.strip() else
                  "whose answer cannot be read" if label is None else
                  "equal to another" if normal(question) in seen else None)
        if reason:
            left[reason] += 1
            continue
        seen.add(normal(question))
        pool.append({"id": _id(path, source, own, seen), "text": question, "label": label,
                     "solution": answer, "source": source, **extra})
    raw.account(path, count, left)


# ---- games ---------------------------------------------------------------------------------------

MOVE = re.compile(r"\b(?:[a-h][1-8][a-h][1-8][qrbn]?|one|two|three)\b")


def move(text):
    """The first move in a text: of chess in UCI, or how many stones, in words; or None."""
    found = MOVE.search(text.lower())
    return found and found[0]


def games(raw):
    """Rows of Lichess's puzzles and of the town's game of stones: id, text (the position), label
    (the best move), solution (how it is written), source, group, and rating or prompt."""
    pool, seen = [], set()
    path = raw.first(*PUZZLES)
    if path:
        _puzzles(raw, path, pool)
    splits.set_groups(pool, [row.pop("keys") for row in pool])
    if path := raw.find("town_stones.jsonl"):
        stones = []
        _solve(raw, path, "stones", _answered(path), move, stones, seen)
        splits.set_groups(stones, [[splits.bare(row["text"])] for row in stones])
        pool += stones
    if not pool:
        raise raw.missing(f"{' or '.join(PUZZLES)} or town_stones.jsonl", LICHESS)
    return pool


def _puzzles(raw, path, pool):
    """Add Lichess's puzzles to the pool. A FEN is the position before the opponent's move Moves[0];
    what is asked is the answer to it, Moves[1]."""
    table, left, seen = raw_folder.table(path), Counter(), set()
    n, header = next(table)
    names = [name.lower() for name in header]
    lacking = [name for name in ("PuzzleId", "FEN", "Moves") if name.lower() not in names]
    if lacking:
        raise ValueError(f"{path}:{n}: the header has no column {' or '.join(lacking)}")
    count = 0

    def counted():
        nonlocal count
        for n, fields in table:
            count += 1
            if len(fields) != len(names):
                raise ValueError(f"{path}:{n}: {len(fields)} columns, expected {len(names)}")
            yield n, dict(zip(names, fields))

    drawn = heapq.nsmallest(MOST, counted(), key=lambda found: digest("puzzle",
                                                                      found[1]["puzzleid"]))
    left["not drawn"] = count - len(drawn)
    for n, found in sorted(drawn, key=lambda found: found[0]):
        row = _puzzle(found, f"{path}:{n}")
        position = row and row["text"].rsplit(" ", 2)[0]  # without the counters
        reason = ("without an answer" if row is None else
                  "equal to another" if position in seen else None)
        if reason:
            left[reason] += 1
        else:
            seen.add(position)
            pool.append(row)
    raw.account(path, count, left)


def _puzzle(found, where):
    """A row, with `keys` of its group, of a line of the table; None when no answer is given."""
    moves, rating = found["moves"].split(), found.get("rating", "")
    if len(moves) < 2:
        return None
    if rating and not rating.isdecimal():
        raise ValueError(f"{where}: the rating is {rows.shown(rating)}, expected a number")
    try:
        position = chess.play(found["fen"], moves[0])
        chess.play(position, moves[1])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    game = re.search(r"lichess\.org/(\w{8})", found.get("gameurl", ""))
    keys = [normal(" ".join(position.split()[:4])), *(["game " + game[1]] if game else [])]
    return {"id": f"chess/{found['puzzleid']}", "text": position, "label": moves[1],
            "solution": moves[1], "source": "chess", "keys": keys,
            **({"rating": int(rating)} if rating else {})}
