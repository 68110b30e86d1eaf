"""The first screen of trust functions: what a student learns from which labels, and how much of the
way to true labels that is, beside the paper's.
"""

from w2s.report.claims import judge
from w2s.report.render import GONE, Bullets, Cell, Matrix, Text, link, mean
from w2s.report.screen import origin, verdict
from w2s.report.trust_claims import NO_GAP, PAPER, RIVALS, lossless
from w2s.report.trust_claims import COLUMNS as PRINTED
from w2s.report.trust_names import WAYS, is_score, labels_of, place
from w2s.report.trust_results import part
from w2s.report.trust_tables import acc, defined
from w2s.report.words import clear, number

COLUMNS = {"all": "all weak labels", "confidence": "most confident",
           "icl-confidence": "most confident, examples shown", "reward": "reward model",
           "ntf": "trust function", "truth": "true labels"}
TONES = {"seen": "good", "not clear": "between", "not seen": "bad", "reversed": "bad"}
LOSSLESS = {"near-lossless": ("**near-lossless**", "good"),
            "above": ("**above** true labels", "good"), "below": ("**not** near-lossless", "bad"),
            "undecided": ("near-lossless or not: **not clear**", "between"),
            NO_GAP: ("nothing to lose: truth is no better than untuned", "gone")}


def trust_screen(studies):
    """[Matrix, how to read it, a sentence a task] of the trust functions."""
    if not studies:
        return []
    ways = columns(studies)
    rows = [(study.module.TITLE, note(study), [cell(study, way) for way in ways])
            for study in studies]
    every = [each for _, _, row in rows for each in row]
    noise = any(f"recovers {GONE}" in each.words for each in every)
    return [Matrix("Which labels should a student trust?", verdict(every),
                   ["task", "labels", "accuracy of the student, %"],
                   [COLUMNS.get(way, way) for way in ways], rows),
            Text("Accuracy, in per cent, of a student that is trained on these labels of its weak "
                 "teacher. recovers: share of the way from the untuned student to the one on true "
                 "labels" + f" ({GONE}: truth is not clearly above untuned)" * noise
                 + ". Colour: does the trust function clearly beat these labels, as in the paper; "
                 "its own: is it near-lossless, the interval of the difference from true labels "
                 f"around 0, within ±{100 * studies[0].margin:g} points. The paper's models and "
                 "questions are others."),
            Bullets([line for study in studies for line in sentences(study)])]


def sentences(study):
    """Yield "**Arithmetic**: near-lossless. ..." where the two students were trained."""
    steps = study.steps([part("student-truth"), part("student-ntf")], study.module.TASK)
    if steps and lossless(study, steps) != NO_GAP:  # else the cell has said it
        state, _ = LOSSLESS[lossless(study, steps)]
        truth, ntf = (link(number("acc", value), place_of(study, way))
                      for value, way in zip(steps[0]["means"], ("truth", "ntf")))
        low, high = (number("acc", end) for end in steps[0]["interval"])
        yield (f"**{study.module.TITLE}**: {state}. {ntf} % accuracy, {truth} % on true labels "
               f"(difference {low} to {high}).")


def columns(studies):
    """The ways to choose labels that stand on the first screen: the paper's, then a user's own."""
    further = {way for study in studies for way in study.students
               if is_score(way) and labels_of(way) == way and way not in WAYS}
    return [*COLUMNS, *sorted(further, key=place)]


def note(study):
    """"teacher 60.0, untuned student 40.0"."""
    parts = (("teacher", "weak-none"), ("untuned student", "base-strong"))
    return ", ".join(f"{name} {link(shown(acc(study, run)), place_of(study, 'all'))}"
                     for name, run in parts)


def place_of(study, way):
    """The heading under which the page says where the numbers of a way to choose labels are from,
    those of teacher and untuned student too."""
    return origin(study.module.TITLE, COLUMNS.get(way, way))


def shown(summary):
    """"60.0" of a Study.summary of the task metric."""
    return number("acc", summary["mean"]) if mean(summary) != GONE else GONE


def cell(study, way):
    """The Cell of a task and a way to choose labels."""
    name = f"student-{way}"
    summary, recovery = acc(study, name), study.recovery(name)
    if summary is None:
        return Cell(GONE, "not run")
    known = defined(recovery) and not recovery["doubtful"]
    share = " ".join(filter(None, [
        f"recovers {100 * recovery['value']:.0f} %" if known else f"recovers {GONE}",
        paper_range(study, way)])) if way != "truth" else ""
    state, why, tone = share, "", "gone"
    if way == "ntf":
        steps = study.steps([part("student-truth"), part(name)], study.module.TASK)
        state, tone = LOSSLESS.get(lossless(study, steps), ("", "gone"))
        why = share
    elif way in RIVALS:
        why, tone = beaten(study, name)
    return Cell(shown(summary), state, why, tone, place_of(study, way))


def beaten(study, name):
    """("clearly 14.0 below the trust function", tone) of a rival student."""
    steps = study.steps([part(name), part("student-ntf")], study.module.TASK)
    if not steps:
        return "", "gone"
    points = round(100 * steps[0]["difference"], 1)
    words = f"{'clearly ' * clear(steps[0])}{abs(points):.1f} {'below' if points > 0 else 'above'}"
    # of other tasks the paper prints no such comparison
    tone = TONES.get(judge(steps)[0], "gone") if study.task == "mcqa" else "gone"
    return f"{words if points else 'as good as'} the trust function", tone


def paper_range(study, way):
    """"(paper: 12 to 87 %)": Recovery of its pairs of models, of multiple choice alone."""
    if study.task != "mcqa" or way not in PRINTED or way == "truth":
        return ""
    shares = [row[PRINTED.index(way)][1] for row in PAPER.values()]
    return f"(paper: {min(shares):.0f} to {max(shares):.0f} %)"
