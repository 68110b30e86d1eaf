r"""Word problems (trust functions): GSM8K. A model writes its reasoning and, behind ####, a number.
Competition problems too: MATH, AIME, Omni-MATH. There the answer is an expression in \boxed{}.

An answer is right when its number is the true one, compared as answers.final_number writes both:
"$1,234.50" is 1234.5. A row whose solution has a box is a competition's: its answers are read and
compared as answers.read does it, 0.5 is \frac12. N rows of a split.
"""

from w2s.data import answers, questions, splits
from w2s.data.answers import final_number as parse
from w2s.infer import benchmarks, choice, generation
from w2s.train import step

KIND, CLASSES = "text", None
TASK = "acc"
METRICS = {"acc": "share of the questions whose final number is the true one, the mean over "
                  "benchmarks",
           "answered": "share of the answers that have a number"}
TITLE, ROW = "Arithmetic", 12
DEFAULTS = {"lam": (0, "no regulariser"), "alpha": (0, "no confidence loss"), "epochs": (3, "ours")}
LABEL = ("temperature", "decode", "seed", "hidden")  # flags of label
NEW = 160  # tokens of an answer; 98 % of GSM8K's have no more
BOXED = generation.Way(answers.read, answers.canonical, 768)  # MATH's solutions are longer


def prompt(row):
    """What the model reads before the answer. A row may bring its own."""
    return row.get("prompt", f"Question: {row['text']}\nAnswer:")


def other(row):
    """How answers of a row are read whose solution has a box; None of the others (reading T20)."""
    return BOXED if answers.BOX.search(row.get("solution", "")) else None


# Labels, training and measurement are those of free text; a weak answer counts as its number.
free = generation.Free(prompt, parse, NEW, other)
read, encode, label, predictions = free.read, free.encode, free.label, free.predictions
truth, right, weak_class, exact = free.truth, free.right, free.weak_class, free.exact
tokens = free.tokens
sums, headline, evaluate = generation.sums, benchmarks.headline, generation.evaluate
batches, objective, make_step = choice.batches, choice.objective, step.make_step
FIELDS = generation.FIELDS
NEEDS = (questions.PROBLEMS,)


def prepare(raw, seed=0, split="grouped", val=0.01, trust=0.25):
    """{split: rows} of GSM8K's parts, competition problems or the town's sums, grouped by equal
    questions."""
    return splits.trusted(questions.arithmetic(raw), seed, split, val, trust)
