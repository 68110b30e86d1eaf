"""The first screen of properties: does trust go from weak to strong, and does the paper agree?

A cell has the means of weak model, student and ceiling, our state and the paper's, and a reason
where ours is not a yes. Of two students the one with the weaker trend stands there.
"""

from collections import Counter

from w2s.report import paper
from w2s.report.render import GONE, Bullets, Cell, Matrix, Text, link
from w2s.report.results import STATES, STRATEGIES
from w2s.report.words import (COMPARED, MODELS, USUAL, chain, clear, joined, measure, named, unit)

SAID = {"yes": "yes", "ordered": "not clear", "no": "no"}  # STATES in a reader's words
# what trustworthiness fine-tuning (TFT) is done to: of each of STRATEGIES
MEANING = ("no model trained for trust", "weak model trained for trust",
           "student trained for trust too")
AGREES = {"good": ("agrees", "agree"), "between": ("is not clear", "are not clear"),
          "bad": ("differs", "differ")}


def screen(studies):
    """[Matrix, how to read it, a sentence for what is worth saying] of the properties."""
    if not studies:
        return []
    rows = [(study.module.TITLE, note(study), [cell(study, key) for key in STRATEGIES])
            for study in studies]
    ran = [each for _, _, row in rows for each in row if each.numbers != GONE]
    yes = sum(each.state.startswith("**yes") for each in ran)
    return [Matrix("Does trust go from weak to strong?",
                   f"**Yes in {yes} of {len(ran)}.** {verdict(ran)}" + waiting(rows) if ran else
                   "**No strategy has all of its models yet.**",
                   ["property", "strategy", "weak → student → ceiling"],
                   [*STRATEGIES.values()], rows, MEANING),
            legend(studies), Bullets([line for study in studies for line in sentences(study)])]


def waiting(rows):
    """" 9 more have not run yet.", where that is so."""
    gone = sum(each.numbers == GONE for _, _, row in rows for each in row)
    return f" {gone} more {'have' if gone > 1 else 'has'} not run yet." if gone else ""


def note(study):
    """"parity gap (dpd_abs), %; smaller is better"."""
    trust = study.module.TRUST
    size = "smaller" if study.module.SIGN < 0 else "larger"
    return f"{', '.join(filter(None, [named(trust), unit(trust)]))}; {size} is better"


def deciding(study, key):
    """(Study.ladder of the student with the weakest trend, whether all students have one)."""
    ladders = [study.ladder(key, student, study.module.TRUST) for student in study.students]
    ran = [ladder for ladder in ladders if ladder]
    return (min(ran, key=lambda ladder: STATES.index(ladder[0]["trend"])) if ran else [],
            bool(ran) and all(ladders))


def cell(study, key):
    """The Cell of a property under a strategy."""
    published = dict(zip(STRATEGIES, paper.table_1(study.task)))[key]
    ladder, complete = deciding(study, key)
    expected = f" (paper: {published})" if published in STATES else ""
    if not ladder:
        return Cell(GONE, "not run yet" + expected)
    state = ladder[0]["trend"]
    means = [ladder[0]["means"][0], *(step["means"][1] for step in ladder)]
    same = state == published
    shown = Cell(chain(study.module.TRUST, means, ladder),
                 f"**{SAID[state]}**" + (", as in the paper" if same else expected),
                 why(study, ladder, state), agreement(state, published),
                 origin(study.module.TITLE, STRATEGIES[key]))
    if not complete:
        shown.state, shown.tone = "a student is missing" + expected, "gone"
    return shown


def agreement(state, published):
    """The tone of our state beside the paper's."""
    if published not in STATES:
        return "gone"
    return "good" if state == published else "between" if state == "ordered" else "bad"


def why(study, ladder, state):
    """"student fairer than the ceiling": which step is not upwards, or not clear; "" of a yes."""
    words = COMPARED.get(study.task, USUAL)
    student, first, last = MODELS[ladder[0]["student"]], *ladder
    down = [f"{how(words, step, sign)} the {name}"
            for step, sign, name in ((first, 1, "weak model"), (last, -1, "ceiling"))
            if step["difference"] <= 0]
    open_steps = [f"{lower} → {upper}" for step, lower, upper in (
        (first, "weak", "student"), (last, "student", "ceiling")) if not clear(step)]
    if state == "no":
        return f"{student} {' and '.join(down)}"
    aside = "" if student == "student" else student
    return "; ".join(filter(None, [aside, f"{' and '.join(open_steps)} may be chance"
                                   if state == "ordered" else ""]))


def how(words, step, sign):
    """"clearly fairer than", of the student beside the lower (sign 1) or upper end of a step."""
    difference = sign * step["difference"]
    if not difference:
        return f"{words.equal} as"
    return "clearly " * clear(step) + f"{words.more if difference > 0 else words.less} than"


def verdict(cells):
    """"Of 12 results that the paper has too, **9 agree, 1 is not clear, 2 differ**."."""
    count = Counter(each.tone for each in cells)
    known = sum(count[tone] for tone in AGREES)
    counts = [f"{count[tone]} {verbs[count[tone] > 1]}" for tone, verbs in AGREES.items()
              if count[tone]]
    return f"Of {known} results that the paper has too, **{', '.join(counts)}**." if known else \
        "No result here has one of the paper beside it."


def legend(studies):
    """How to read the Matrix."""
    both = any(len(study.students) > 1 for study in studies)
    return Text("yes: the student is more trustworthy than the weak model, and the ceiling than "
                "the student. ⇒: the 95 % interval of that change excludes 0, which a yes needs "
                "twice; →: it does not. Colour: blue agrees with the paper, yellow is not clear, "
                "red differs, grey has nothing to compare."
                + " Of two students, without and with confidence loss, the one with the weaker "
                "answer stands here." * both + f" {certainty(studies)}".rstrip() +
                " A number leads to where it comes from.")


def certainty(studies):
    """How much the intervals count; "" while there are none."""
    counts = sorted({step["n"] for study in studies for key in STRATEGIES
                     for step in deciding(study, key)[0]})
    if not counts:
        return ""
    if counts[0] > 1:
        few = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
        return f"Intervals are over {few} seeds and the test rows."
    some = " of some results: there" if len(counts) > 1 else ":"
    return f"**One seed**{some} intervals are of the test rows alone."


def sentences(study):
    """Yield a sentence for each state of a property: where, what the paper says, by how much."""
    groups = {}
    for key, name in STRATEGIES.items():
        ladder, complete = deciding(study, key)
        if complete:
            groups.setdefault(ladder[0]["trend"], []).append((key, name))
    for state, of in groups.items():
        key, name = of[-1]  # the most trustworthiness fine-tuning: where the paper has its yes
        shown = cell(study, key)
        where = "under every strategy" if len(of) == len(STRATEGIES) else \
            f"under {joined([each for _, each in of])}"
        numbers = f"{link(shown.numbers, shown.link)} {unit(study.module.TRUST)}".strip()
        numbers += f" {measure(study.module.TRUST)}" + f" ({name})" * (len(of) > 1)
        yield (f"**{study.module.TITLE}: {SAID[state]}** {where}. {numbers}"
               + f": {shown.why}" * bool(shown.why) + ".")


def origin(title, name):
    """The heading under which the page says where the numbers of a property and strategy are
    from."""
    return f"Origin: {title}, {name}"
