"""Names of the runs of trust functions, and their order in the tables.

A run is student-<way>, trained on the labels that trust-<way> chose. A way is a score of labels; a
generation of the chain ("gen2", with the first trust function "gen2-same-tau"); a budget of
labelled rows ("ntf-n100"); or one of these with other training ("ntf-lora", "truth-gen2").
"""

import re

# to choose a student's labels; a score of a user's own stands before ntf
WAYS = ("all", "random", "confidence", "margin", "entropy", "icl-confidence", "reward",
        "consistency", "agreement", "ntf", "ntf-both", "ntf-zero-shot", "ntf-other-task",
        "labelled", "labelled-ntf", "labelled-zero-shot", "truth-n", "truth")
EXPECTED = ("all", "random", "confidence", "icl-confidence", "reward", "ntf", "labelled",
            "labelled-ntf", "truth-n", "truth")  # of run_all.sh, so listed when missing
SCORED = ("margin", "entropy")  # rank nearly as confidence does, so there is no student of them
CONFIDENCE = ("confidence", *SCORED, "icl-confidence")
OTHERWISE = {"lora": "LoRA", "grpo": "GRPO", "easy": "the easy ones first"}  # the same labels
GENERATION = re.compile(r"gen([0-9]{1,2})(-same-tau)?")
BUDGET = re.compile(r"(labelled|ntf|labelled-ntf)-n([0-9]{1,9})")
TWIN = re.compile(rf"(.+)-({'|'.join(OTHERWISE)}|gen[0-9]{{1,2}})")


def place(way):
    """A sort key of ways: scores as in WAYS, generations, budgets, other training."""
    if way in WAYS:
        return 0, WAYS.index(way), 0, way
    if match := GENERATION.fullmatch(way):
        return 1, int(match[1]), len(match[2] or ""), way
    if match := BUDGET.fullmatch(way):
        return 2, int(match[2]), WAYS.index(match[1]), way
    if match := TWIN.fullmatch(way):
        return 3, *place(match[1])[:2], way
    return 0, WAYS.index("ntf") - .5, 0, way


def labels_of(way):
    """The way that chose the labels of a student: "ntf-lora" has those of "ntf"."""
    match = TWIN.fullmatch(way)
    return match[1] if match else way


def is_score(way):
    """Whether a choice is by a score of the teacher's labels, so no truth and no generation."""
    return not (way.startswith(("truth", "labelled")) or GENERATION.fullmatch(way)
                or BUDGET.fullmatch(way) or way == "all")


def in_results(name):
    """(model, selection) in results.csv of a student, its teacher or its untuned base."""
    if not name.startswith("student-"):
        return name.removesuffix("-none"), "all"
    way = name.removeprefix("student-")
    if GENERATION.fullmatch(way):
        return name, "ntf"
    return (name, labels_of(way)) if TWIN.fullmatch(way) else ("student-naive", way)
