"""Strategy games (trust functions): the best move in a position, of Lichess's chess puzzles.

A position is a FEN, a move is in UCI; in the miniature the game is one of stones. N rows of a
split.
"""

from w2s.data import questions, splits
from w2s.data.questions import move as parse
from w2s.infer import benchmarks, choice, generation
from w2s.train import step

KIND, CLASSES = "text", None
TASK = "acc"
METRICS = {"acc": "share of the positions for which the best move is found, the mean "
                  "over games",
           "answered": "share of the answers that have a move"}
TITLE, ROW = "Strategy games", 13
DEFAULTS = {"lam": (0, "no regulariser"), "alpha": (0, "no confidence loss"), "epochs": (3, "ours")}
LABEL = ("temperature", "decode", "seed", "hidden")  # flags of label
NEW = 8  # tokens of a move


def prompt(row):
    """What the model reads before the move. A row may bring its own."""
    return row.get("prompt", f"Position: {row['text']}\nBest move:")


# As arithmetic: free text, of which only the first move counts.
free = generation.Free(prompt, parse, NEW)
read, encode, label, predictions = free.read, free.encode, free.label, free.predictions
truth, right, weak_class, exact = free.truth, free.right, free.weak_class, free.exact
sums, headline, evaluate = generation.sums, benchmarks.headline, generation.evaluate
batches, objective, make_step = choice.batches, choice.objective, step.make_step
FIELDS = generation.FIELDS
NEEDS = (questions.POSITIONS,)


def prepare(raw, seed=0, split="grouped", val=0.01, trust=0.25):
    """{split: rows} of Lichess's puzzles or of the game of stones; positions of one game, and equal
    positions, stay in one split."""
    return splits.trusted(questions.games(raw), seed, split, val, trust)
