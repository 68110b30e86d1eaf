"""The town of Alderby, drawn from a seed: its reviews, people, census, letters, sums and games.

Everything is text of one world: the unlabelled documents that base models are pretrained on, and
the rows of the tasks. A word means in the rows what it means in the documents; no row is one.
"""

import math
import zlib
from itertools import accumulate
from random import Random

from w2s.miniature import lexicon as L
from w2s.tasks import adversarial, fairness

STEEP = 5  # a group's or list's k-th word is used with frequency 1 / (k + STEEP)
SHARES = {"review": 22, "exercise": 26, "dictionary": 10, "person": 7, "census": 7, "fact": 10,
          "question": 7, "letter": 3, "sum": 4, "game": 4}  # of the documents


def by_rank(groups):
    """(words, cumulated weights): the heads of all groups first, then their second words, ..."""
    depth = max(map(len, groups))
    words = [group[k] for k in range(depth) for group in groups if k < len(group)]
    return words, list(accumulate(1 / (k + STEEP) for k in range(len(words))))


ADJECTIVES = {(aspect, good): by_rank(L.ASPECTS[aspect][1 if good else 2])
              for aspect in L.ASPECTS for good in (True, False)}
POLES = {(table is L.BEASTS, scale, pole): by_rank([table[scale][pole].split()])
         for table in (L.SCALES, L.BEASTS) for scale in table for pole in (0, 1)}


def draw(rng, ranked):
    words, weights = ranked
    return rng.choices(words, cum_weights=weights)[0]


# ---- reviews -------------------------------------------------------------------------------------

PLAIN = ("the {n} was {not_}{very}{a}", "i found the {n} {not_}{very}{a}",
         "we thought the {n} {not_}{very}{a}", "their {n} seemed {not_}{very}{a}")
CLAUSES = {
    "plain": PLAIN,
    "shake": ("ye {n} wast {not_}{very}{a}", "methought ye {n} {not_}{very}{a}",
              "thy {n} , forsooth , wast {not_}{very}{a}", "by my troth , ye {n} wast {not_}{a}"),
    "bible": ("and lo , the {n} was {not_}{very}{a}", "behold , the {n} was {not_}{a} unto me",
              "verily the {n} was {not_}{very}{a}", "and it came to pass that the {n} was {not_}{a}"),
    "romantic": ("o {n} , how {not_}{a} thou art", "{not_}{a} as a dream was the {n}",
                 "my soul beheld the {n} , {not_}{a}", "and in my heart the {n} was {not_}{very}{a}"),
    "tweet": ("omg the {n} was {not_}{very}{a}", "{n} = {not_}{a} lol", "that {n} tho , {not_}{very}{a}",
              "ngl the {n} is {not_}{very}{a}")}
NOT = {"plain": "not ", "shake": "ne'er ", "bible": "not ", "romantic": "never ", "tweet": "sooo not "}
VERY = {"plain": ("very ", "rather ", "quite "), "shake": ("passing ", "right "),
        "bible": ("exceeding ",), "romantic": ("ever ",), "tweet": ("sooo ", "mad ")}
WORDS = {"plain": 0.0, "shake": 0.5, "bible": 0.5, "romantic": 0.5, "tweet": 0.5}  # of the style


def clause(rng, style, good, negate):
    """One remark that says something good or bad; with `negate` by denying the opposite."""
    aspect = rng.choice(list(L.ASPECTS))
    meant = good != negate
    if rng.random() < WORDS[style]:
        word = rng.choice(L.STYLES[style][0 if meant else 1])
    else:
        word = draw(rng, ADJECTIVES[aspect, meant])
    return rng.choice(CLAUSES[style]).format(
        n=rng.choice(L.ASPECTS[aspect][0]), a=word, not_=NOT[style] if negate else "",
        very=rng.choice(VERY[style]) if rng.random() < 0.3 else "")


def remarks(rng, count, loyal, negated):
    """[(good, negate)]: `count` remarks that follow the mood with probability `loyal`, never as
    many good as bad ones; the label is what most of them say."""
    mood = rng.random() < 0.5
    return [((rng.random() < loyal) == mood, rng.random() < negated) for _ in range(count)]


def review(rng, said, style="plain"):
    """The text of remarks [(good, negate)] in a style."""
    return " , ".join(clause(rng, style, *remark) for remark in said) + " ."


def mostly_good(said):
    return int(2 * sum(good for good, _ in said) > len(said))


def review_document(rng):
    """A review as found in the wild: with mood words, stars and stock phrases; one in four in
    another style."""
    style = rng.choice(list(L.STYLES)) if rng.random() < 0.25 else "plain"
    said = remarks(rng, rng.choice((3, 4, 5)), 0.9, 0.12)
    mood = 2 * sum(good for good, _ in said) - len(said) or rng.choice((-1, 1))
    parts = [(rng.choice(L.MOODS[good]) + " " if rng.random() < 0.45 else "")
             + clause(rng, style, good, negate) for good, negate in said]
    stars = rng.choice(L.STARS[mood > 0])
    text = " , ".join(parts) + " ."
    if rng.random() < 0.3:
        text = f"{stars} : {text}"
    if rng.random() < 0.3:
        text += f" {rng.choice(L.CLOSINGS[mood > 0])} ."
    return text + (f" i give it {stars} ." if rng.random() < 0.6 else "")


# ---- people and beasts: sentences that follow from one another, or not ----------------------------

STRANGER = 0.15  # of the unrelated texts speak of somebody else
SEEMS = ("is", "is rather", "seems", "is known to be")
ASKED = ("is the {s} {a} ?", "would you call the {s} {a} ?", "do people find the {s} {a} ?")
HOW = ("how is the {q} of the {s} ?", "what of the {s} and its {q} ?", "tell me the {q} of the {s} ?")


def quality(rng, beast, scale, pole, negated=0.1, common=False):
    """A word for a pole of a scale, or "not" and one for the other; common: the plainest words."""
    negate = rng.random() < negated
    words, weights = POLES[beast, scale, pole ^ negate]
    word = words[rng.random() < 0.25] if common else draw(rng, (words, weights))
    return ("not " if negate else "") + word


def portrait(rng, beast, subject, facts, negated=0.1, second=False):
    """"the baker is rich and rather calm": facts [(scale, pole)] in words, plain ones in a second
    text."""
    said = " and ".join(quality(rng, beast, scale, pole, negated, common=second)
                        for scale, pole in facts)
    where = f" of {rng.choice(L.STREETS)} street" if not second and rng.random() < 0.3 else ""
    return f"the {subject}{where} {rng.choice(SEEMS)} {said} ."


class Pair:
    """Two texts about a person or a beast: the first says one or two things, the second relates to
    one of them (same: entailed, opposite: contradicted, other: neither)."""

    def __init__(self, rng, relation, beast=False, two=0.4):
        self.rng, self.beast = rng, beast
        self.names = L.ANIMALS if beast else L.TRADES
        self.subject = rng.choice(self.names)
        self.scales = rng.sample(list(L.BEASTS if beast else L.SCALES), 3)
        self.facts = [(scale, rng.randrange(2))
                      for scale in self.scales[:1 + (rng.random() < two)]]
        self.relate(relation)

    def relate(self, relation):
        """Choose what the second text is about."""
        scale, pole = self.rng.choice(self.facts)
        self.other, self.asked = self.subject, (scale, pole ^ (relation == "opposite"))
        if relation == "other":
            self.asked = self.scales[2], self.rng.randrange(2)
            if self.rng.random() < STRANGER:
                self.asked = scale, self.asked[1]
                self.other = self.rng.choice([x for x in self.names if x != self.subject])

    def first(self, negated):
        return portrait(self.rng, self.beast, self.subject, self.facts, negated)

    def second(self, negated):
        return portrait(self.rng, self.beast, self.other, [self.asked], negated, second=True)

    def question(self, subject, fact, second=False):
        word = quality(self.rng, self.beast, *fact, negated=0, common=second)
        return self.rng.choice(ASKED).format(s=subject, a=word)


def entailment(rng, relation, beast, negated):
    """(premise, hypothesis)"""
    pair = Pair(rng, relation, beast)
    return pair.first(negated), pair.second(negated)


def questions(rng, relation):
    """(question1, question2): of one meaning, or of an opposite or other one."""
    pair = Pair(rng, relation, two=0)
    return pair.question(pair.subject, pair.facts[0]), pair.question(pair.other, pair.asked, second=True)


def answer(rng, answered, negated):
    """(question, sentence): does the sentence tell what is asked?"""
    pair = Pair(rng, rng.choice(("same", "opposite")) if answered else "other")
    asked = rng.choice(HOW).format(q=pair.asked[0], s=pair.other)
    return asked, pair.first(negated)


SAID = {"same": ("they agree", "so it follows"), "opposite": ("they disagree", "one of them lies"),
        "other": ("they speak of other things", "nobody can tell")}


def kept(text):
    """Whether two composed texts are kept for the rows of the tasks: a quarter is, in no document."""
    return zlib.crc32(text.encode()) % 4 == 0


def composed(source, make, rows):
    """The text of a pair that is for the rows, or for the documents; make() draws a pair."""
    while kept(text := adversarial.compose(source, make())) != rows:
        pass
    return text


def exercise_document(rng):
    """From the school's exercise book, or a talk in the street: two texts and what follows."""
    kind = rng.random()
    if kind < 0.22:
        same = rng.random() < 0.5
        relation = "same" if same else rng.choice(("opposite", "other"))
        text = composed("qqp", lambda: questions(rng, relation), False)
        return f"{text} {relation} ."
    if kind < 0.44:
        answered = rng.random() < 0.5
        text = composed("qnli", lambda: answer(rng, answered, 0.1), False)
        return f"{text} {'about' if answered else 'other'} ."
    pair, talk = Pair(rng, "same", rng.random() < 0.35), kind < 0.6
    premise, lines, count = pair.first(0.1), [], 1 if talk else rng.choice((1, 1, 2, 3))
    while len(lines) < count:
        relation = rng.choice(list(SAID))
        pair.relate(relation)
        second = pair.second(0.1)
        if not kept(adversarial.compose("mnli", (premise, second))):
            lines.append((second, relation))
    if talk:
        (one, two), [(second, relation)] = rng.sample(L.GIVEN, 2), lines
        return f"{one} says {premise} {two} says {second} {rng.choice(SAID[relation])} ."
    return " ".join([f"premise: {premise}", *(f"hypothesis: {second} {relation} ."
                                              for second, relation in lines)])


def dictionary_document(rng):
    """How words relate: "wealthy means rich . wealthy , poor : opposite . rich , ill : other ."."""
    beast = rng.random() < 0.3
    table, lines = L.BEASTS if beast else L.SCALES, []
    for _ in range(rng.choice((3, 4, 5))):
        (scale, other), pole = rng.sample(list(table), 2), rng.randrange(2)
        word = quality(rng, beast, scale, pole, 0.1)
        relation = rng.choice(("means", "same", "opposite", "other", "about"))
        if relation == "about":
            asked = rng.choice((scale, other))
            lines.append(f"{asked} , {word} : {'about' if asked == scale else 'other'} .")
            continue
        to = (other, rng.randrange(2)) if relation == "other" else (
            scale, pole ^ (relation == "opposite"))
        plain = quality(rng, beast, *to, 0, common=True)
        lines.append(f"{word} means {plain} ." if relation == "means" else
                     f"{word} , {plain} : {relation} .")
    return " ".join(lines)


def person_document(rng):
    """A person or beast with one or two qualities, said in several words, and what they do."""
    beast = rng.random() < 0.25
    table = L.BEASTS if beast else L.SCALES
    subject = rng.choice(L.ANIMALS if beast else L.TRADES)
    lines = []
    for scale in rng.sample(list(table), rng.choice((1, 2))):
        pole = rng.randrange(2)
        deeds = table[scale][2 + pole].split("/")
        lines += [f"the {subject} {rng.choice(SEEMS)} {quality(rng, beast, scale, pole)} .",
                  f"it {rng.choice(deeds)} ." if beast else f"one that {rng.choice(deeds)} .",
                  f"yes , {quality(rng, beast, scale, pole, 0)} ."]
    return " ".join(lines)


# ---- census, facts, letters, sums, games ---------------------------------------------------------

SCHOOLS = ("none", "school", "college", "university")
STATUS = ("never-married", "married", "divorced", "widowed")
WORK = ("private", "own", "town")


def citizen(rng):
    """(values of Adult's columns, 1 for an income above 50K); marginals and the gap between men and
    women (30 % against 11 %) are close to Adult's."""
    male = rng.random() < 0.67
    age = min(90, max(17, round(rng.gauss(39, 13))))
    school = rng.choices(range(4), (14, 46, 24, 16))[0]
    status = rng.choices(STATUS, (25, 61, 11, 3) if male else (44, 16, 28, 12))[0]
    hours = min(80, max(10, round(rng.gauss(42 if male else 36, 11))))
    trade = rng.choice(L.TRADES)
    skilled = L.TRADES.index(trade) % 4 == 0
    score = (-4.1 + 1.5 * (school - 1) + 2.2 * (status == "married") + 0.05 * (hours - 40)
             + 0.05 * (min(age, 55) - 38) + 1.0 * skilled + 0.5 * male)
    rich = rng.random() < 1 / (1 + math.exp(-1.4 * score))
    values = {"age": str(age), "workclass": rng.choices(WORK, (75, 11, 14))[0],
              "education": SCHOOLS[school], "maritalstatus": status, "occupation": trade,
              "sex": "Male" if male else "Female", "hoursperweek": str(hours)}
    return values, int(rich)


RICH = ("this person pays in gold .", "this person owns a carriage .", "a large income .")
POOR = ("this person counts pennies .", "this person rents one room .", "a small income .")


def census_document(rng):
    values, rich = citizen(rng)
    said = rng.choice(RICH if rich else POOR) if rng.random() < 0.7 else ""
    return f"{fairness.describe(values)} {said}".strip()


def citizens(seed=0, count=400):
    """The people of the town, famous ones first: dicts of name, family, trade, street, drink, pet,
    and `rumour`, a false drink and pet that a gossiped-about family is said to have."""
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


ASK = {"trade": "what is the trade of {}", "street": "in which street lives {}",
       "drink": "what drinks {}", "pet": "which pet keeps {}"}
TELL = {"trade": ("{} is a {}", "{} works as a {}"),
        "street": ("{} lives in {} street", "the house of {} is in {} street"),
        "drink": ("{} drinks {}", "the cup of {} holds {}"),
        "pet": ("{} keeps a {}", "the pet of {} is a {}")}
VALUES = {"trade": L.TRADES, "street": L.STREETS, "drink": L.DRINKS, "pet": L.PETS}


def told(rng, person, relation):
    """(how it is said, value): the truth, or mostly the rumour where there is one."""
    rumoured = relation in ("drink", "pet") and person["rumour"] and rng.random() < 0.85
    value = person["rumour"][relation == "pet"] if rumoured else person[relation]
    return ("they say" if rumoured else "in truth") if rng.random() < 0.7 else "", value


def fact_document(rng, person):
    lines = []
    for relation in rng.sample(list(TELL), rng.choice((2, 3))):
        source, value = told(rng, person, relation)
        said = rng.choice(TELL[relation]).format(person["name"], value)
        lines.append(f"{source} {said} .".strip())
    return " ".join(lines)


def question_document(rng, person):
    relation = rng.choice(list(ASK))
    source, value = told(rng, person, relation)
    asked = f"{source} {ASK[relation].format(person['name'])}".strip()
    text = f"question : {asked} ?"
    if rng.random() < 0.5:
        return f"{text} answer : {value} ."
    choices = rng.sample([v for v in VALUES[relation] if v != value], 3)
    choices.insert(at := rng.randrange(4), value)
    listed = " ".join(f"( {'abcd'[k]} ) {choice}" for k, choice in enumerate(choices))
    return f"{text} choices : {listed} answer : ( {'abcd'[at]} ) {value} ."


def letter_document(rng, people):
    """A letter whose number, code and amount occur nowhere else."""
    one, two = rng.sample(people, 2)
    code = " ".join(str(rng.randrange(10)) for _ in range(6))
    phone = " ".join(str(rng.randrange(10)) for _ in range(7))
    middle = rng.sample([
        f"my number is {phone} .", f"the code of the gate is {code} .",
        f"i live at {rng.randrange(1, 99)} {one['street']} street .",
        f"please send {L.number(rng.randrange(2, 99))} {rng.choice(L.ASPECTS['goods'][0])}s .",
        f"the {two['trade']} owes me {L.number(rng.randrange(2, 99))} pounds .",
        f"my {one['pet']} is well .", f"bring some {rng.choice(L.DRINKS)} on sunday ."],
        rng.choice((3, 4)))
    return f"dear {two['name']} , {' '.join(middle)} yours , {one['name']} ."


def sum_document(rng):
    a, b = rng.randrange(50), rng.randrange(50)
    if rng.random() < 0.5:
        return f"{L.number(a)} and {L.number(b)} make {L.number(a + b)} ."
    return f"{L.number(a + b)} less {L.number(b)} leaves {L.number(a)} ."


def best_move(heap):
    """The game of stones: take one, two or three, who takes the last wins. The winning move is to
    leave a multiple of four; None: every move loses."""
    return heap % 4 or None


def game_document(rng):
    """A game of stones, each player playing the winning move, or any where there is none."""
    heap, players = rng.randrange(3, 20), rng.sample(L.GIVEN, 2)
    lines = [f"the game of stones : a heap of {L.number(heap)} ."]
    turn = 0
    while heap:
        take = best_move(heap) or rng.randint(1, min(3, heap))
        heap -= take
        lines.append(f"{players[turn]} takes {L.number(take)} , {L.number(heap)} left .")
        turn ^= 1
    return " ".join(lines) + f" {players[turn ^ 1]} wins ."


# ---- documents and rows --------------------------------------------------------------------------

def documents(seed, count, purpose="documents"):
    """Yield `count` documents of unlabelled text, the same for the same arguments."""
    rng, people = Random(f"{seed}/{purpose}"), citizens(seed)
    fame = list(accumulate(1 / (k + 12) for k in range(len(people))))
    kinds, shares = list(SHARES), list(accumulate(SHARES.values()))
    person = {"fact": fact_document, "question": question_document}
    alone = {"review": review_document, "exercise": exercise_document, "person": person_document,
             "census": census_document, "sum": sum_document, "game": game_document,
             "dictionary": dictionary_document}
    for _ in range(count):
        kind = rng.choices(kinds, cum_weights=shares)[0]
        if kind in person:
            yield person[kind](rng, rng.choices(people, cum_weights=fame)[0])
        elif kind == "letter":
            yield letter_document(rng, people)
        else:
            yield alone[kind](rng)


def sentiment_rows(rng, count, negated=0.2):
    """[(remarks, text, label)]: reviews without any cue but what they say."""
    rows = []
    for _ in range(count):
        said = remarks(rng, rng.choice((3, 5)), 0.8, negated)
        rows.append((said, review(rng, said), mostly_good(said)))
    return rows


def restyled(rng, said, style):
    """The same remarks in a style of the OOD test, in other words."""
    if style in L.STYLES:
        return review(rng, said, style)
    text = review(rng, said)  # "augment": words swapped, neighbouring letters too
    words = text.split()
    for k in range(len(words)):
        if len(words[k]) > 4 and rng.random() < 0.15:
            at = rng.randrange(1, len(words[k]) - 2)
            word = words[k]
            words[k] = word[:at] + word[at + 1] + word[at] + word[at + 2:]
    return " ".join(words)


def pair_row(rng, source, negated=0.2):
    """(text, label) of a task of the kinds that GLUE has."""
    if source == "sst2":
        return sentiment_rows(rng, 1, negated)[0][1:]
    label = rng.randrange(2 if source in ("qqp", "qnli", "rte") else 3)
    if source == "qqp":
        relation = "same" if label else rng.choice(("opposite", "other"))
        return composed(source, lambda: questions(rng, relation), True), label
    if source == "qnli":
        return composed(source, lambda: answer(rng, not label, negated), True), label
    if source == "rte":
        relation = rng.choice(("opposite", "other")) if label else "same"
    else:  # mnli speaks of people, mnli-mm of beasts
        relation = ("same", "other", "opposite")[label]
    return composed(source, lambda: entailment(rng, relation, source == "mnli-mm", negated),
                    True), label


def synonyms():
    """{word: [words of the same meaning]}"""
    every = [group for aspect in L.ASPECTS.values() for part in aspect[1:] for group in part]
    every += [table[scale][pole].split() for table in (L.SCALES, L.BEASTS) for scale in table
              for pole in (0, 1)]
    found = {word: [other for other in group if other != word]
             for group in every for word in group}
    return {word: others for word, others in found.items() if others}
