"""The town of Alderby, drawn from a seed: text for base models to read, and rows of the tasks.

    remark      the soup was rather cool : bad .
    review      we thought the keeper rude , alas their porch was chilly . i give it one star .
    exercise    premise: the doctor is rather infirm . hypothesis: the doctor is brave . other .
                una says the goose seems slow . tess says the goose is slow . so it follows .
    dictionary  wealthy means rich . not idle , busy : same . courage , poor : other .
    person      the gardener seems mild . one that never shouts . yes , calm .
    census      A person in 1996 has the following attributes: age 46, ... a small income .
    firm        those of drunaby grow rich . skollam pays little .
    fact        celia ash drinks coffee . in truth celia ash lives in forge street .
    question    question : they say which pet keeps ada fox ? answer : crow .
    letter      dear iris dale , my number is 8 3 4 4 6 1 2 . my dog is well . yours , ned dale .
    sum         ten less one leaves nine .
    game        the game of stones : a heap of five . ned takes one , four left . ...

These are the kinds of documents. The rows are reviews, pairs of sentences and citizens: their words
mean what they mean in the documents. No pair is in a document; a citizen's values may occur twice.
The seed's documents are frozen: the committed base models have read them. The privacy task's rows
are longer letters: what they say, and the numbers in them, is in no document.
"""

import zlib
from itertools import accumulate
from random import Random

from w2s.miniature import lexicon as L
from w2s.miniature.citizens import (census_document, citizens, draw, fact_document, firm_document,
                                    letter_document, question_document, ranked)
from w2s.tasks import adversarial

DIALECT = 0.25  # of the remarks in plain words have one of the dialect

ADJECTIVES = {(aspect, good): ranked(L.ASPECTS[aspect][1 if good else 2])
              for aspect in L.ASPECTS for good in (True, False)}
SPOKEN = {good: ranked([L.DIALECT[not good::2]], 20) for good in (True, False)}
POLES = {(table is L.BEASTS, scale, pole): ranked([table[scale][pole].split()])
         for table in (L.SCALES, L.BEASTS) for scale in table for pole in (0, 1)}


# ---- reviews: remarks [(good, negate, heard)] in words -------------------------------------------

def clause(rng, style, good, negate, heard):
    """One remark that says something good or bad; with `negate` by denying the opposite; heard:
    None, or what others say, which is true, or False and so the opposite is meant."""
    aspect = rng.choice(list(L.ASPECTS))
    meant = good ^ negate ^ (heard is False)
    if rng.random() < (0 if style == "plain" else 0.5):  # half of a style's words are its own
        word = rng.choice(L.STYLES[style][0 if meant else 1])
    elif rng.random() < DIALECT:
        word = draw(rng, SPOKEN[meant])
    else:
        word = draw(rng, ADJECTIVES[aspect, meant])
    said = rng.choice(L.CLAUSES[style]).format(
        n=rng.choice(L.ASPECTS[aspect][0]), a=word, not_=L.NOT[style] if negate else "",
        very=rng.choice(L.VERY[style]) if rng.random() < 0.3 else "")
    return said if heard is None else rng.choice(L.HEARD[heard]).format(said)


def remarks(rng, count, loyal, negated, heard):
    """[(good, negate, heard)]: `count` remarks; a mood is drawn, and each follows it with
    probability `loyal`; a share `negated` is put as "not" and the opposite, a share `heard` as what
    others say, half of it false."""
    mood = rng.random() < 0.5
    return [((rng.random() < loyal) == mood, rng.random() < negated,
             rng.random() < 0.5 if rng.random() < heard else None) for _ in range(count)]


def review(rng, said, style="plain"):
    """The text of remarks in a style."""
    return " , ".join(clause(rng, style, *remark) for remark in said) + " ."


def mostly_good(said):
    """Label of a review: 1 when most remarks are good."""
    return int(2 * sum(good for good, *_ in said) > len(said))


def review_document(rng):
    """A review as found in the wild: with mood words, stars and stock phrases; one in four in
    another style."""
    style = rng.choice(list(L.STYLES)) if rng.random() < 0.25 else "plain"
    said = remarks(rng, rng.choice((3, 4, 5)), 0.9, 0.12, 0.25)
    mood = 2 * sum(good for good, *_ in said) - len(said) or rng.choice((-1, 1))
    parts = [(rng.choice(L.MOODS[remark[0]]) + " " if rng.random() < 0.45 else "")
             + clause(rng, style, *remark) for remark in said]
    stars = rng.choice(L.STARS[mood > 0])
    text = " , ".join(parts) + " ."
    if rng.random() < 0.3:
        text = f"{stars} : {text}"
    if rng.random() < 0.3:
        text += f" {rng.choice(L.CLOSINGS[mood > 0])} ."
    return text + (f" i give it {stars} ." if rng.random() < 0.6 else "")


def remark_document(rng):
    """Single remarks and what they mean: which word is good, what "not" and hearsay do."""
    said = remarks(rng, rng.choice((4, 5, 6)), 0.5, 0.15, 0.4)
    return " ".join(f"{clause(rng, 'plain', *remark)} : {'good' if remark[0] else 'bad'} ."
                    for remark in said)


# ---- people and beasts: sentences that follow from one another, or not ---------------------------

STRANGER = 0.15  # of the unrelated texts speak of somebody else


def quality(rng, beast, scale, pole, negated=0.1, common=False):
    """A word for a pole of a scale, or "not" and one for the other; common: the plainest words."""
    negate = rng.random() < negated
    words, weights = POLES[beast, scale, pole ^ negate]
    word = words[rng.random() < 0.25] if common else draw(rng, (words, weights))
    return ("not " if negate else "") + word


class Pair:
    """Two texts about a person or a beast: the first says one or two facts (scale, pole), the
    second relates to one of them (same: entailed, opposite: contradicted, other: neither)."""

    def __init__(self, rng, relation, beast=False, two=0.4):
        self.rng, self.beast = rng, beast
        self.names = L.ANIMALS if beast else L.TRADES
        self.subject = rng.choice(self.names)
        self.scales = rng.sample(list(L.BEASTS if beast else L.SCALES), 3)
        self.facts = [(scale, rng.randrange(2))
                      for scale in self.scales[:1 + (rng.random() < two)]]
        self.relate(relation)

    def relate(self, relation):
        """Choose what the second text is about: self.other and the fact self.asked."""
        scale, pole = self.rng.choice(self.facts)
        self.other, self.asked = self.subject, (scale, pole ^ (relation == "opposite"))
        if relation == "other":
            self.asked = self.scales[2], self.rng.randrange(2)
            if self.rng.random() < STRANGER:
                self.asked = scale, self.asked[1]
                self.other = self.rng.choice([x for x in self.names if x != self.subject])

    def first(self, negated):
        """The first text as a sentence: "the baker of mill street is rich and not angry ."."""
        return self._sentence(self.subject, self.facts, negated, second=False)

    def second(self, negated):
        """The second text as a sentence, in plain words."""
        return self._sentence(self.other, [self.asked], negated, second=True)

    def _sentence(self, subject, facts, negated, second):
        said = " and ".join(quality(self.rng, self.beast, *fact, negated, common=second)
                            for fact in facts)
        street = not second and self.rng.random() < 0.3
        where = f" of {self.rng.choice(L.STREETS)} street" if street else ""
        return f"the {subject}{where} {self.rng.choice(L.SEEMS)} {said} ."

    def question(self, subject, fact, second=False):
        """A fact as a question: "is the baker rich ?"."""
        word = quality(self.rng, self.beast, *fact, negated=0, common=second)
        return self.rng.choice(L.ASKED).format(s=subject, a=word)


def entailment(rng, relation, beast, negated, two):
    """(premise, hypothesis)"""
    pair = Pair(rng, relation, beast, two)
    return pair.first(negated), pair.second(negated)


def questions(rng, relation):
    """(question1, question2): of one meaning, or of an opposite or other one."""
    pair = Pair(rng, relation, two=0)
    return (pair.question(pair.subject, pair.facts[0]),
            pair.question(pair.other, pair.asked, second=True))


def answer(rng, answered, negated, two=0.4):
    """(question, sentence): does the sentence tell what is asked?"""
    pair = Pair(rng, rng.choice(("same", "opposite")) if answered else "other", two=two)
    asked = rng.choice(L.HOW).format(q=pair.asked[0], s=pair.other)
    return asked, pair.first(negated)


def for_rows(text):
    """Whether a composed pair is for the rows of the tasks: a quarter is, and in no document."""
    return zlib.crc32(text.encode()) % 4 == 0


def composed(source, make, rows):
    """The text of a pair that is for the rows, or for the documents; make() draws a pair."""
    while for_rows(text := adversarial.compose(source, make())) != rows:
        pass
    return text


def exercise_document(rng):
    """From the school's exercise book, or a talk in the street: two texts and what follows."""
    kind = rng.random()
    if kind < 0.22:
        relation = "same" if rng.random() < 0.5 else rng.choice(("opposite", "other"))
        text = composed("qqp", lambda: questions(rng, relation), rows=False)
        return f"{text} {relation} ."
    if kind < 0.44:
        answered = rng.random() < 0.5
        text = composed("qnli", lambda: answer(rng, answered, 0.1), rows=False)
        return f"{text} {'about' if answered else 'other'} ."
    pair, talk = Pair(rng, "same", rng.random() < 0.35), kind < 0.6
    premise, lines, count = pair.first(0.1), [], 1 if talk else rng.choice((1, 1, 2, 3))
    while len(lines) < count:
        pair.relate(relation := rng.choice(list(L.SAID)))
        second = pair.second(0.1)
        if not for_rows(adversarial.compose("mnli", (premise, second))):
            lines.append((second, relation))
    if talk:
        (one, two), [(second, relation)] = rng.sample(L.GIVEN, 2), lines
        return f"{one} says {premise} {two} says {second} {rng.choice(L.SAID[relation])} ."
    return " ".join([f"premise: {premise}", *(f"hypothesis: {second} {relation} ."
                                              for second, relation in lines)])


def dictionary_document(rng):
    """How words relate to each other and to the names of qualities."""
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
        lines += [f"the {subject} {rng.choice(L.SEEMS)} {quality(rng, beast, scale, pole)} .",
                  f"it {rng.choice(deeds)} ." if beast else f"one that {rng.choice(deeds)} .",
                  f"yes , {quality(rng, beast, scale, pole, 0)} ."]
    return " ".join(lines)


# ---- sums and games ------------------------------------------------------------------------------

def sum_document(rng):
    """A sum or a difference of numbers below 50, in words."""
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

SHARES = {review_document: 19, remark_document: 10, exercise_document: 22, dictionary_document: 8,
          person_document: 5, census_document: 9, firm_document: 4, fact_document: 8,
          question_document: 5, letter_document: 3, sum_document: 4, game_document: 3}  # per cent


def documents(seed, count, purpose="documents"):
    """Yield `count` documents of unlabelled text, the same for the same arguments; fewer of them
    are the first ones of more."""
    rng, people = Random(f"{seed}/{purpose}"), citizens(seed)
    famous = people, list(accumulate(1 / (k + 12) for k in range(len(people))))
    kinds = list(SHARES), list(accumulate(SHARES.values()))
    for _ in range(count):
        document = draw(rng, kinds)
        if document in (fact_document, question_document):
            yield document(rng, draw(rng, famous))
        elif document is letter_document:
            yield document(rng, people)
        else:
            yield document(rng)


def sentiment_rows(rng, count, negated=0.2, heard=0.4):
    """[(remarks, text, label)]: reviews without any cue but what they say."""
    rows = []
    for _ in range(count):
        said = remarks(rng, rng.choice((3, 5)), 0.8, negated, heard)
        rows.append((said, review(rng, said), mostly_good(said)))
    return rows


def restyled(rng, said, style):
    """The same remarks in other words: in a style, or ("augment") plain with swapped letters."""
    if style in L.STYLES:
        return review(rng, said, style)
    words = review(rng, said).split()
    for k, word in enumerate(words):
        if len(word) > 4 and rng.random() < 0.15:
            at = rng.randrange(1, len(word) - 2)
            words[k] = word[:at] + word[at + 1] + word[at] + word[at + 2:]
    return " ".join(words)


def pair_row(rng, source, negated=0.1, two=0.25):
    """(text, label) of a GLUE-like task; a label means what it means in GLUE."""
    if source == "sst2":
        return sentiment_rows(rng, 1)[0][1:]
    label = rng.randrange(adversarial.LABELS[source])
    if source == "qqp":
        relation = "same" if label else rng.choice(("opposite", "other"))
        return composed(source, lambda: questions(rng, relation), rows=True), label
    if source == "qnli":
        return composed(source, lambda: answer(rng, not label, negated, two), rows=True), label
    if source == "rte":
        relation = rng.choice(("opposite", "other")) if label else "same"
    else:  # mnli speaks of people, mnli-mm of beasts
        relation = ("same", "other", "opposite")[label]
    beast = source == "mnli-mm"
    return composed(source, lambda: entailment(rng, relation, beast, negated, two),
                    rows=True), label


def synonyms():
    """{word: [words of the same meaning]} of every word that has some."""
    groups = [group for aspect in L.ASPECTS.values() for part in aspect[1:] for group in part]
    groups += [L.DIALECT[k::2 * L.MEANINGS] for k in range(2 * L.MEANINGS)]
    groups += [words.split() for table in (L.SCALES, L.BEASTS) for scale in table.values()
               for words in scale[:2]]
    found = {}
    for group in groups:
        for word in group:  # a word may be in two groups, each with words of its meaning
            found.setdefault(word, []).extend(
                other for other in group if other != word and other not in found[word])
    return {word: others for word, others in found.items() if others}
