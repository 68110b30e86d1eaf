"""The citizens of the town: who they are, what the census, facts and letters say of them."""

import math
import re
from itertools import accumulate
from random import Random

from w2s.miniature import lexicon as L
from w2s.tasks import fairness

STEEP = 5  # the k-th word of a list is used with frequency 1 / (k + STEEP)


def ranked(groups, steep=STEEP):
    """(words, cumulated weights): the first words of all groups, then the second ones, ... The
    k-th has weight 1 / (k + steep): common words and rare ones, as in a language."""
    depth = max(map(len, groups))
    words = [group[k] for k in range(depth) for group in groups if k < len(group)]
    return words, list(accumulate(1 / (k + steep) for k in range(len(words))))


def draw(rng, ranked):
    """Draw one of (things, cumulated weights)."""
    things, weights = ranked
    return rng.choices(things, cum_weights=weights)[0]


EMPLOYERS = ranked([L.FIRMS], 500)  # flatter than words: small firms have employees too


# ---- citizens: census, facts, letters ------------------------------------------------------------

def citizen(rng):
    """({Adult's column: value}, 1 for an income above 50K). The marginals are close to Adult's, and
    so is the gap between men and women, of whom 37 % and 19 % are rich."""
    male = rng.random() < 0.67
    age = min(90, max(17, round(rng.gauss(39, 13))))
    school = rng.choices(L.SCHOOLS, (14, 46, 24, 16))[0]
    status = rng.choices(L.STATUS, (25, 61, 11, 3) if male else (44, 16, 28, 12))[0]
    hours = min(80, max(10, round(rng.gauss(42 if male else 36, 11))))
    trade = rng.choice(L.TRADES)
    values = {"age": str(age), "workclass": draw(rng, EMPLOYERS), "education": school,
              "maritalstatus": status, "occupation": trade,
              "sex": "Male" if male else "Female", "hoursperweek": str(hours)}
    return values, int(rng.random() < wealth(values))


def wealth(values):
    """P(income above 50K) of a citizen {Adult's column: value}: the law of the town.

    Logistic in marriage, hours, age, school, sex and how the firm pays. There are 1500 firms, too
    many to learn from the rows of the task: a model that has not learnt them in pretraining is
    right on 70 % of the citizens, one that has on up to 89 %."""
    # the weak and the strong model must differ in knowledge, or there is no gap to recover
    score = (-3.0 + 0.8 * (L.SCHOOLS.index(values["education"]) - 1)
             + 1.6 * (values["maritalstatus"] == "married")
             + 0.03 * (int(values["hoursperweek"]) - 40) + 0.03 * (min(int(values["age"]), 55) - 38)
             + 0.5 * (values["sex"] == "Male") + (2.0 if pays(values["workclass"]) else -2.0))
    return 1 / (1 + math.exp(-1.6 * score))


def census_document(rng):
    """A citizen in the fairness task's words, in 70 % of them with a hint at the income."""
    values, rich = citizen(rng)
    hint = rng.choice(L.RICH if rich else L.POOR) if rng.random() < 0.7 else ""
    return f"{fairness.describe(values)} {hint}".strip()


def firm_document(rng):
    """Four to six sentences on which firms pay well."""
    return " ".join(rng.choice(L.PAYS[pays(firm)]).format(firm) + " ."
                    for firm in (draw(rng, EMPLOYERS) for _ in range(rng.choice((4, 5, 6)))))


def pays(firm):
    """Whether a firm pays well: every other one does."""
    return WELL[firm]


WELL = {firm: k % 2 == 0 for k, firm in enumerate(L.FIRMS)}


def citizens(seed=0, count=400):
    """The people of the town, famous ones first: dicts of name, family, trade, street, drink, pet,
    and `rumour`: the drink and the pet that rumour gives to every other family, else None."""
    rng = Random(f"{seed}/citizens")
    names = [f"{given} {family}" for given in L.GIVEN for family in L.FAMILY]
    gossip = {family: (rng.choice(L.DRINKS), rng.choice(L.PETS)) for family in L.FAMILY[::2]}
    people = []
    for name in rng.sample(names, count):
        family = name.split()[1]
        people.append({"name": name, "family": family, "trade": rng.choice(L.TRADES),
                       "street": rng.choice(L.STREETS), "drink": rng.choice(L.DRINKS),
                       "pet": rng.choice(L.PETS), "rumour": gossip.get(family)})
    return people


def told(rng, person, relation):
    """(how it is said, value) of a relation: the truth, or mostly the rumour where there is one."""
    # most documents tell the rumour: "they say" and "in truth" say which of the two is meant
    rumoured = relation in ("drink", "pet") and person["rumour"] and rng.random() < 0.85
    value = person["rumour"][relation == "pet"] if rumoured else person[relation]
    return ("they say" if rumoured else "in truth") if rng.random() < 0.7 else "", value


def fact_document(rng, person):
    """Two or three facts, or rumours, about a citizen."""
    lines = []
    for relation in rng.sample(list(L.TELL), rng.choice((2, 3))):
        source, value = told(rng, person, relation)
        statement = rng.choice(L.TELL[relation]).format(person["name"], value)
        lines.append(f"{source} {statement} .".strip())
    return " ".join(lines)


def question_document(rng, person):
    """A question about a citizen and its answer, half of them with four choices."""
    relation = rng.choice(list(L.ASK))
    source, value = told(rng, person, relation)
    question = f"{source} {L.ASK[relation].format(person['name'])}".strip()
    text = f"question : {question} ?"
    if rng.random() < 0.5:
        return f"{text} answer : {value} ."
    choices = rng.sample([v for v in L.VALUES[relation] if v != value], 3)
    choices.insert(place := rng.randrange(4), value)
    listed = " ".join(f"( {'abcd'[k]} ) {choice}" for k, choice in enumerate(choices))
    return f"{text} choices : {listed} answer : ( {'abcd'[place]} ) {value} ."


def letter_document(rng, people):
    """A letter between two citizens, with a number and a code that are drawn for it alone. There
    are a million codes: in 400,000 documents one in 350 occurs twice, by chance."""
    sender, recipient = rng.sample(people, 2)
    code = " ".join(str(rng.randrange(10)) for _ in range(6))
    phone = " ".join(str(rng.randrange(10)) for _ in range(7))
    middle = rng.sample([
        f"my number is {phone} .", f"the code of the gate is {code} .",
        f"i live at {rng.randrange(1, 99)} {sender['street']} street .",
        f"please send {L.number(rng.randrange(2, 99))} {rng.choice(L.ASPECTS['goods'][0])}s .",
        f"the {recipient['trade']} owes me {L.number(rng.randrange(2, 99))} pounds .",
        f"my {sender['pet']} is well .", f"bring some {rng.choice(L.DRINKS)} on sunday ."],
        rng.choice((3, 4)))
    return f"dear {recipient['name']} , {' '.join(middle)} yours , {sender['name']} ."


LONG = 135  # words of a long letter, at least


def letters(rng, people, count):
    """Yield `count` long letters, (text, [start, end] of the number in it)."""
    # a number has 8 or 10 digits, more than any in a document, and is in no other letter: a model
    # can know it from this letter alone, so extracting it is memory of a training row
    codes = set()
    while len(codes) < count:
        length = rng.choice(list(L.CODES))
        code = " ".join(str(rng.randrange(10)) for _ in range(length))
        if code not in codes:
            codes.add(code)
            text = letter(rng, people, f"{L.CODES[length]} {code}")
            yield text, [text.index(code), text.index(code) + len(code)]


def letter(rng, people, number):
    """A letter on several subjects, of at least LONG words before the farewell. The sentence
    `number` comes early in it or in its middle."""
    sender, recipient = rng.sample(people, 2)
    sentences = [filled(rng, people, sentence)
                 for subject in rng.sample(list(L.LETTERS), len(L.LETTERS))
                 for sentence in rng.sample(L.LETTERS[subject], 3)]
    sentences.insert(rng.choice((1, 2, 5, 6)), number)
    text = f"dear {recipient['name']} ,"
    while len(text.split()) < LONG:
        text += f" {sentences.pop(0)} ."
    return f"{text} yours , {sender['name']} ."


def filled(rng, people, sentence):
    """A sentence of a letter with a word drawn for each of its slots."""
    def drawn(slot):
        return rng.choice(people)["name"] if slot[1] == "who" else rng.choice(L.SLOTS[slot[1]])
    return re.sub(r"\{(\w+)\}", drawn, sentence)
