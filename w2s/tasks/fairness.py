"""Fairness on Adult: income above 50,000 dollars, demographic parity between men and women.

B rows, T tokens, K = 2 classes, N rows of a split.
"""

import math
import os

import numpy as np

from w2s import metrics, rows
from w2s.data import raw_folder, splits
from w2s.infer import classify
from w2s.model import tokenization
from w2s.train import losses, step

label, predictions = classify.label, classify.predictions
right, weak_class = classify.right, classify.weak_class
batches, make_step = step.batches, step.make_step
KIND, CLASSES = "class", 2
TASK, TRUST, SIGN = "acc", "dpd_abs", -1  # tr = SIGN * TRUST: larger is more trustworthy
METRICS = {"acc": "accuracy",
           "dpd": "demographic parity, P(1|male) - P(1|female), Eq. (2)",
           "dpd_abs": "absolute demographic parity gap",
           "eod": "equalised odds, the larger of the two gaps, absolute",
           "tpr_gap": "difference of true positive rates",
           "tpr_gap_abs": "the same, absolute (equalised odds of Fig. A10)",
           "fpr_gap": "difference of false positive rates"}
ALSO, LESS = ("dpd", "eod"), ("eod", "tpr_gap_abs")  # beside the headlines; less of these is better
TITLE, ROW = "Fairness", 1
CLASS_NAMES = "income of at most 50,000 dollars", "income above 50,000 dollars"
NOTE = ("a = 1 is male, a = 0 female. dpd = P(yes | male) - P(yes | female), signed; "
        "dpd_abs is its absolute value in each run, then averaged over seeds. The penalty is "
        "signed, so a dpd below 0 means that it went too far.")
DEFAULTS = {"lam": (1.0, "ours"), "alpha": (0.2, "ours; paper: .1 to .3"), "epochs": (3, "ours")}
OPTIONS, ENCODE = ("penalty", "penalty_output"), ()  # flags of objective, of encode
LABEL = ("temperature", "hidden")  # flags of label
FIELDS = {"id": str, "text": str, "label": (0, 1), "a": (0, 1)}


def read(path, weak=False):
    """Rows of a split, checked; weak=True: a labels file, each row with the weak label."""
    return rows.read(path, {**FIELDS, **({"weak": CLASSES} if weak else {})})


def encode(rows, tokenizer, max_length, target="label"):
    """Columns of N rows: ids (list of token arrays), target (N, 2), a (N,), a_bar (N,).

    a_bar is the base rate of the whole split, never of the batch (reading F4): a row's loss does
    not depend on which other rows its batch has."""
    a = np.array([row["a"] for row in rows], dtype=np.float32)
    return {"ids": tokenization.tokenize(tokenizer, [row["text"] for row in rows], max_length),
            "target": tokenization.targets(rows, target, CLASSES),
            "a": a, "a_bar": np.full_like(a, a.mean())}


def objective(f, batch, ell, lam, **options):
    """Eq. (3) weak stage, Eq. (7) student stage: `loss` of `forward`. Returns (B,)."""
    return loss(forward(f, batch, lam), batch, ell, lam, **options)


def forward(f, batch, lam):
    """{"x": logits (B, 2)} of the texts. lam plays no part: the penalty is all in the loss."""
    return {"x": f(batch["ids"], batch["len"])}


def loss(logits, batch, ell, lam, penalty="signed", penalty_output="probability"):
    """Eq. (3) weak stage, Eq. (7) student stage: ell_i + lam * (a_i - a_bar) * f(x_i)_1.

    batch["a"] (B,) in {0, 1}, batch["a_bar"] (B,). Returns (B,). The covariance is signed, as
    printed; for "abs" and "squared" the same per-row term is scaled by the detached sign, or twice
    the detached value, of the batch covariance: the gradient of the mean is then that of |cov| or
    cov^2. f(x)_1 is the probability of class 1, or the margin z1 - z0. Readings F1, F2, F4.
    """
    z = losses.wide(logits["x"])  # (B, 2)
    y = z.softmax(-1)[:, 1] if penalty_output == "probability" else z[:, 1] - z[:, 0]
    # f is not centred, as printed: over a split a - a_bar sums to 0, so a constant in f drops out
    cov = (batch["a"] - batch["a_bar"]) * y  # (B,)
    # detach: in d(cov^2) = 2 cov d(cov) the factor is a constant; else it would be counted twice.
    if penalty == "abs":
        cov = cov * cov.mean().sign().detach()
    elif penalty == "squared":
        cov = cov * 2 * cov.mean().detach()
    return ell(z, batch) + lam * cov


def sums(rows):
    """(N, 14) what a row adds to the totals: 1, correct, then 12 counts: of all rows, of label 1,
    of label 0, for a = 1 and for a = 0, how many there are and how many get a yes."""
    label, a = (np.array([row[key] for row in rows], float) for key in ("label", "a"))
    yes = (np.array([row["p"][1] for row in rows]) >= .5).astype(float)
    pairs = [group * kind * value for kind in (np.ones_like(a), label, 1 - label)
             for group in (a, 1 - a) for value in (np.ones_like(a), yes)]
    return np.stack([np.ones_like(a), yes == label, *pairs], -1)


def headline(totals):
    """{"acc", "dpd", "dpd_abs", "eod", "tpr_gap_abs"} (...,) from totals (..., 14)."""
    n, correct, *pairs = np.moveaxis(totals, -1, 0)
    # A resample of the rows may lack a group: its gaps are NaN, not an error.
    with np.errstate(invalid="ignore", divide="ignore"):
        dpd, tpr, fpr = (pairs[i + 1] / pairs[i] - pairs[i + 3] / pairs[i + 2] for i in (0, 4, 8))
        return {"acc": correct / n, "dpd": dpd, "dpd_abs": abs(dpd),
                "eod": np.maximum(abs(tpr), abs(fpr)), "tpr_gap_abs": abs(tpr)}


def evaluate(rows):
    """[{slice, metric, value}] of predictions; decisions at p >= .5 for class 1 (reading F7)."""
    yes, label, a = ([int(r["p"][1] >= .5) for r in rows], [r["label"] for r in rows],
                     [r["a"] for r in rows])
    dpd, odds = metrics.demographic_parity(yes, a), metrics.equalized_odds(yes, label, a)
    result = [("all", "acc", metrics.accuracy(yes, label)), ("all", "dpd", dpd),
              ("all", "dpd_abs", abs(dpd)), ("all", "eod", odds["worst"]),
              ("all", "tpr_gap", odds["tpr_gap"]), ("all", "tpr_gap_abs", abs(odds["tpr_gap"])),
              ("all", "fpr_gap", odds["fpr_gap"])]
    for group, name in ((1, "male"), (0, "female")):
        members = [i for i, value in enumerate(a) if value == group]
        decisions, labels = ([values[i] for i in members] for values in (yes, label))
        result += [(name, "acc", metrics.accuracy(decisions, labels)),
                   (name, "rate", sum(decisions) / len(members)), (name, "n", len(members))]
    return [dict(zip(("slice", "metric", "value"), entry)) for entry in result]


# ---- raw files -----------------------------------------------------------------------------------

ATTRIBUTES = {  # column, in UCI's order: its name in the text (DecodingTrust's words)
    "age": "age", "workclass": "workclass", "fnlwgt": "final weight", "education": "education",
    "educationnum": "highest education level", "maritalstatus": "marital status",
    "occupation": "occupation", "relationship": "relationship", "race": "race", "sex": "sex",
    "capitalgain": "capital gain", "capitalloss": "capital loss", "hoursperweek": "hours per week",
    "nativecountry": "native country"}
NUMBERS = {"age", "fnlwgt", "educationnum", "capitalgain", "capitalloss", "hoursperweek"}
ALIASES = {"gender": "sex", "educationalnum": "educationnum", "finalweight": "fnlwgt",
           "classification": "income", "class": "income", "target": "income", "salary": "income"}
UNKNOWN = ("", "?", "nan", "na", "n/a", "<na>", "null", "none")  # also what pandas writes
IGNORED = {"", "split", "index", "id", "unnamed0"}  # columns of some copies, not about a person
CHANCE = "chance"  # the town's: P(income above 50,000), which test rows keep for the Bayes frontier
NAMES = ("adult_reconstruction.csv", "adult_reconstructed.csv", "reconstructed_adult.csv",
         "adult.csv", "adult.data")  # the first that is there is read; with adult.data, adult.test
WHERE = ("https://archive.ics.uci.edu/dataset/2/adult (adult.data, adult.test) or, reconstructed, "
         "https://github.com/socialfoundations/folktables (adult_reconstruction.csv)")
UCI = raw_folder.Public(
    "UCI Adult", ("adult.data", "adult.test"), "CC BY 4.0", 48842, os.environ.get(
        "W2S_UCI", "https://archive.ics.uci.edu/ml/machine-learning-databases/adult/"))
NEEDS = (raw_folder.Need(", ".join(NAMES), WHERE, NAMES, public=UCI),)
PUBLIC = raw_folder.Public(  # the first of UCI's parts, listed on the hub at commit fbeef6e
    "scikit-learn/adult-census-income", ("adult.csv",), "CC BY 4.0; the hub says CC0 1.0", 32561)


def prepare(raw, seed=0, split="grouped", hide_protected=False, val=splits.VALIDATION,
            trust=0.0):
    """{split: rows} of Adult, 40/40/20, grouped by equal text (readings E15, E22, F3, F6).

    The reconstruction is read where --raw has it, else UCI Adult, never both. Where there is
    neither, both parts are fetched from UCI, or else the first of them from the hub. An unknown
    value (`?` or empty in the files) is the word "unknown"; a column that a version does not have
    is not in the text. Raises ValueError where all rows have one income class or one sex."""
    first = raw.first(*NAMES)
    paths = [first] if first else fetched(raw)
    first = paths[0]
    if first not in raw.fetched and first.name.lower().startswith("adult.data"):
        test = raw.find("adult.test")  # the other part of the same census: splits are drawn anew
        paths += [test] if test else []
        if test is None:
            raw.notes.append("adult.test is not there: only the rows of adult.data")
    pool = []  # ids count on from file to file: both parts of UCI Adult are one pool
    for path in paths:
        start = len(pool)
        for n, person in _people(path):
            pool.append(_row(person, f"adult/{len(pool)}", f"{path}:{n}", hide_protected))
        raw.account(path, len(pool) - start)
    # Neither accuracy nor a gap means anything then; a damaged column looks like this.
    if len({row["label"] for row in pool}) < 2 or len({row["a"] for row in pool}) < 2:
        raise ValueError(f"{first}: all rows have the same income class or the same sex")
    if "final weight" in pool[0]["text"]:
        raw.notes.append("UCI Adult, in place of the paper's reconstruction")
    if hide_protected:
        raw.notes.append("the text does not tell the person's sex")
    parts = splits.usual(pool, seed, split, val, trust)
    # Only test rows keep the chance: it is for measuring, and the Bayes frontier is theirs.
    return {name: rows if name == "test" else [
        {key: value for key, value in row.items() if key != CHANCE} for row in rows]
        for name, rows in parts.items()}


def fetched(raw):
    """Fetch Adult: paths of both parts from UCI or, where UCI cannot be reached, of the first part
    from the hub, two thirds of the 48,842 people."""
    try:
        return raw.fetch(NEEDS[0])
    except ValueError as error:
        print(f"UCI could not be reached: {error.__cause__}", flush=True)
        raw.fetched = {}  # adult.data alone may have come: never half of one source and another
    paths = raw.fetch(NEEDS[0], PUBLIC)
    raw.notes.append("ONLY TWO THIRDS OF ADULT: the hub's copy is UCI's training part, 32,561 of "
                     "the 48,842 people; for all, give adult.data and adult.test in --raw")
    return paths


def _people(path):
    """Yield (line number, {column: value}); the columns are the header's or, without one, UCI's.
    Raises ValueError for a header with unknown or missing columns, and for a row of another width.
    """
    columns = None
    for n, fields in raw_folder.table(path):
        if n == 1 and fields[0].startswith("|"):  # adult.test begins with a remark
            continue
        if columns is None:
            # "hours-per-week", "hours.per.week" and "HoursPerWeek" are one column.
            names = ["".join(filter(str.isalnum, field.lower())) for field in fields]
            header = [ALIASES.get(name, name) for name in names]
            columns = header if "age" in header else [*ATTRIBUTES, "income"]
            # An unknown column is an error: left out silently it would be missing in the text.
            unknown = set(columns) - {*ATTRIBUTES, "income", CHANCE} - IGNORED
            lacking = [name for name in ("sex", "income") if name not in columns]
            if unknown or lacking:
                raise ValueError(f"{path}:{n}: the header " + (
                    f"has the unknown column {', '.join(sorted(unknown))}" if unknown else
                    f"has no column {' or '.join(lacking)}"))
            if "age" in header:
                continue
        if len(fields) != len(columns):
            raise ValueError(f"{path}:{n}: {len(fields)} columns, expected {len(columns)}")
        yield n, dict(zip(columns, fields))


def _row(person, name, where, hide_protected):
    """The row of a person {column: value}. a is 1 for a man (reading F3), label 1 for an income
    above 50,000. Raises ValueError `where: ...` for a value that is none."""
    values = {key: _value(key, person[key], where) for key in ATTRIBUTES if key in person}
    if values["sex"].lower() not in ("male", "female"):
        raise ValueError(f"{where}: sex is '{person['sex']}', expected Male or Female")
    # Hidden in the text alone: the penalty and the measures still need a.
    text = describe({key: value for key, value in values.items()
                     if not (key == "sex" and hide_protected)})
    row = {"id": name, "text": text, "label": _income(person["income"], where),
           "a": int(values["sex"].lower() == "male"), "group": splits.digest(text)}
    return row | ({CHANCE: _chance(person[CHANCE], where)} if CHANCE in person else {})


def _chance(value, where):
    """A probability from its text. Raises ValueError for what is none."""
    try:
        chance = float(value)
    except ValueError:
        chance = math.nan
    if not 0 <= chance <= 1:
        raise ValueError(f"{where}: {CHANCE} is '{value}', expected a probability")
    return chance


def describe(values):
    """The text of a person {column: value}, in DecodingTrust's words."""
    described = ", ".join(f"{words} {values[key]}" for key, words in ATTRIBUTES.items()
                          if key in values)
    return f"A person in 1996 has the following attributes: {described}."


def _value(key, value, where):
    """A value as the text shows it. Raises ValueError for a word in a column of numbers."""
    if value.lower() in UNKNOWN:
        return "unknown"
    try:
        # A copy that pandas wrote may have 39.0 for UCI's 39: the texts have to be the same.
        return str(int(float(value))) if key in NUMBERS else value
    except (ValueError, OverflowError):
        raise ValueError(f"{where}: {ATTRIBUTES[key]} is '{value}', expected a number") from None


def _income(value, where):
    """0 or 1 from <=50K, >50K (adult.test has a dot behind it), or from dollars. Raises ValueError
    for what is neither, such as the nan that pandas writes for a missing number."""
    known = {"<=50K": 0, ">50K": 1}
    try:
        if value[:1] in ("<", ">"):
            return known[value.upper().replace(" ", "").rstrip(".")]
        dollars = float(value)  # the reconstruction has the income itself, not its class
        if not 0 <= dollars < math.inf:
            raise ValueError
        return int(dollars > 50000)
    except (KeyError, ValueError):
        raise ValueError(f"{where}: income is '{value}', expected <=50K, >50K or dollars") from None
