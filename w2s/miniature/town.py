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

These are the kinds of documents. The tasks' rows are reviews, pairs of sentences and citizens, in
which words mean what they mean in the documents. No pair is in a document; a citizen's values may
be in one.
A seed's documents are frozen, because the committed base models have read them: no draw, no order
of draws and no word may change. The privacy task's rows are longer letters; neither they nor the
numbers in them are in a document.
"""

import zlib
from itertools import accumulate
from random import Random

from w2s.miniature import lexicon as L
from w2s.miniature.citizens import (census_document, citizens, draw, fact_document, firm_document,
                                    letter_document, question_document, ranked)
from w2s.tasks import adversarial

DIALECT = 0.25  # share of the remarks' plain words that are of the dialect

ADJECTIVES = {(aspect, good): ranked(L.ASPECTS[aspect][1 if good else 2])
              for aspect in L.ASPECTS for good in (True, False)}
SPOKEN = {good: ranked([L.DIALECT[not good::2]], 20) for good in (True, False)}
POLES = {(table is L.BEASTS, scale, pole): ranked([table[scale][pole].split()])
         for table in (L.SCALES, L.BEASTS) for scale in table for pole in (0, 1)}


# ---- reviews: remarks [(good, negate, heard)] in words -------------------------------------------

def clause(rng, style, good, negate, heard):
    """One remark that says something good or bad. negate: by denying the opposite. heard: None, or
    a remark of others, True ("which is true") or False ("which is false": its opposite holds)."""
    aspect = rng.choice(list(L.ASPECTS))
    # each of negation and false hearsay turns the word round, so a word alone tells little
    meant = good ^ negate ^ (heard is False)
    if rng.random() < (0 if style == "plain" else 0.5):  # half of a style's words are its own
        word = rng.choice(L.STYLES[style][0 if meant else 1])
    elif rng.random() < DIALECT:
        word = draw(rng, SPOKEN[meant])
    else:
        word = draw(rng, ADJECTIVES[aspect, meant])
    remark = rng.choice(L.CLAUSES[style]).format(
        n=rng.choice(L.ASPECTS[aspect][0]), a=word, not_=L.NOT[style] if negate else "",
        very=rng.choice(L.VERY[style]) if rng.random() < 0.3 else "")
    return remark if heard is None else rng.choice(L.HEARD[heard]).format(remark)


def remarks(rng, count, loyal, negated, heard):
    """[(good, negate, heard)] of `count` remarks. A mood is drawn, and each remark follows it with
    probability `loyal`. A share `negated` is put as "not" and the opposite, a share `heard` as what
    others say, half of them wrongly."""
    mood = rng.random() < 0.5
    return [((rng.random() < loyal) == mood, rng.random() < negated,
             rng.random() < 0.5 if rng.random() < heard else None) for _ in range(count)]


def review(rng, opinions, style="plain"):
    """The text of remarks in a style."""
    return " , ".join(clause(rng, style, *remark) for remark in opinions) + " ."


def review_document(rng):
    """A review with cues that the task's rows do not have: mood words, stars and stock phrases. One
    in four is in another style."""
    style = rng.choice(list(L.STYLES)) if rng.random() < 0.25 else "plain"
    opinions = remarks(rng, rng.choice((3, 4, 5)), 0.9, 0.12, 0.25)
    mood = 2 * sum(good for good, *_ in opinions) - len(opinions) or rng.choice((-1, 1))
    parts = [(rng.choice(L.MOODS[remark[0]]) + " " if rng.random() < 0.45 else "")
             + clause(rng, style, *remark) for remark in opinions]
    stars = rng.choice(L.STARS[mood > 0])
    text = " , ".join(parts) + " ."
    if rng.random() < 0.3:
        text = f"{stars} : {text}"
    if rng.random() < 0.3:
        text += f" {rng.choice(L.CLOSINGS[mood > 0])} ."
    return text + (f" i give it {stars} ." if rng.random() < 0.6 else "")


def remark_document(rng):
    """Single remarks, each with its verdict: which word is good, what "not" and hearsay do."""
    opinions = remarks(rng, rng.choice((4, 5, 6)), 0.5, 0.15, 0.4)
    return " ".join(f"{clause(rng, 'plain', *remark)} : {'good' if remark[0] else 'bad'} ."
                    for remark in opinions)


# ---- people and beasts: sentences that follow from one another, or not ---------------------------

STRANGER = 0.15  # share of the unrelated texts that speak of somebody else


def quality(rng, beast, scale, pole, negated=0.1, common=False):
    """A word for a pole of a scale, or "not" and a word for the other pole. common: one of the two
    commonest words."""
    negate = rng.random() < negated
    words, weights = POLES[beast, scale, pole ^ negate]
    word = words[rng.random() < 0.25] if common else draw(rng, (words, weights))
    return ("not " if negate else "") + word


class Pair:
    """Two texts about a person or a beast. The first states one or two facts (scale, pole). The
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
        """Choose what the second text is about: self.topic, a subject, and the fact self.asked."""
        scale, pole = self.rng.choice(self.facts)
        self.topic, self.asked = self.subject, (scale, pole ^ (relation == "opposite"))
        if relation == "other":
            self.asked = self.scales[2], self.rng.randrange(2)  # the first text never uses this one
            if self.rng.random() < STRANGER:
                # the same scale of another subject: a scale in common must not give it away
                self.asked = scale, self.asked[1]
                self.topic = self.rng.choice([x for x in self.names if x != self.subject])

    def first(self, negated):
        """The first text as a sentence: "the baker of mill street is rich and not angry ."."""
        return self._sentence(self.subject, self.facts, negated, second=False)

    def second(self, negated):
        """The second text as a sentence, in plain words."""
        return self._sentence(self.topic, [self.asked], negated, second=True)

    def _sentence(self, subject, facts, negated, second):
        predicate = " and ".join(quality(self.rng, self.beast, *fact, negated, common=second)
                                 for fact in facts)
        street = not second and self.rng.random() < 0.3
        where = f" of {self.rng.choice(L.STREETS)} street" if street else ""
        return f"the {subject}{where} {self.rng.choice(L.SEEMS)} {predicate} ."

    def question(self, subject, fact, second=False):
        """A fact as a question: "is the baker rich ?"."""
        word = quality(self.rng, self.beast, *fact, negated=0, common=second)
        return self.rng.choice(L.ASKED).format(s=subject, a=word)


def entailment(rng, relation, beast, negated, two):
    """(premise, hypothesis), about a beast or a person."""
    pair = Pair(rng, relation, beast, two)
    return pair.first(negated), pair.second(negated)


def questions(rng, relation):
    """(question1, question2) with the same meaning, the opposite one or another."""
    pair = Pair(rng, relation, two=0)
    return (pair.question(pair.subject, pair.facts[0]),
            pair.question(pair.topic, pair.asked, second=True))


def answer(rng, answered, negated, two=0.4):
    """(question, sentence). answered: whether the sentence answers the question."""
    pair = Pair(rng, rng.choice(("same", "opposite")) if answered else "other", two=two)
    asked = rng.choice(L.HOW).format(q=pair.asked[0], s=pair.topic)
    return asked, pair.first(negated)


def for_rows(text):
    """Whether a composed pair belongs to the tasks' rows, a quarter of all; the rest belongs to the
    documents."""
    # by a hash of the text: documents and rows are drawn apart, and still share no pair
    return zlib.crc32(text.encode()) % 4 == 0


def composed(source, make, rows):
    """Text of a pair for the tasks' rows or for the documents; make() draws a pair."""
    while for_rows(text := adversarial.compose(source, make())) != rows:
        pass
    return text


def exercise_document(rng):
    """An exercise of the school book, or a talk in the street: two texts and their relation."""
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
        (speaker, listener), [(second, relation)] = rng.sample(L.GIVEN, 2), lines
        return f"{speaker} says {premise} {listener} says {second} {rng.choice(L.SAID[relation])} ."
    return " ".join([f"premise: {premise}", *(f"hypothesis: {second} {relation} ."
                                              for second, relation in lines)])


def dictionary_document(rng):
    """How words relate to one another and to the names of qualities."""
    beast = rng.random() < 0.3
    table, lines = L.BEASTS if beast else L.SCALES, []
    for _ in range(rng.choice((3, 4, 5))):
        (scale, unrelated), pole = rng.sample(list(table), 2), rng.randrange(2)
        word = quality(rng, beast, scale, pole, 0.1)
        relation = rng.choice(("means", "same", "opposite", "other", "about"))
        if relation == "about":
            asked = rng.choice((scale, unrelated))
            lines.append(f"{asked} , {word} : {'about' if asked == scale else 'other'} .")
            continue
        meant = (unrelated, rng.randrange(2)) if relation == "other" else (
            scale, pole ^ (relation == "opposite"))
        plain = quality(rng, beast, *meant, 0, common=True)
        lines.append(f"{word} means {plain} ." if relation == "means" else
                     f"{word} , {plain} : {relation} .")
    return " ".join(lines)


def person_document(rng):
    """A person or beast with one or two qualities, in several words, and what it does."""
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
    """The game of stones: take one, two or three; who takes the last one wins. The winning move
    leaves a multiple of four. None: every move loses."""
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
    """Yield `count` documents of unlabelled text, the same for the same arguments. A smaller count
    yields a prefix of a larger one."""
    rng, people = Random(f"{seed}/{purpose}"), citizens(seed)
    # the k-th citizen is drawn with weight 1 / (k + 12): some are famous, most hardly known
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
    """[(remarks, text, label)]: reviews without mood words, stars or stock phrases."""
    rows = []
    for _ in range(count):
        opinions = remarks(rng, rng.choice((3, 5)), 0.8, negated, heard)
        mostly_good = 2 * sum(good for good, *_ in opinions) > len(opinions)
        rows.append((opinions, review(rng, opinions), int(mostly_good)))
    return rows


def restyled(rng, opinions, style):
    """The same remarks in other words: in a style, or ("augment") plain with letters swapped."""
    if style in L.STYLES:
        return review(rng, opinions, style)
    words = review(rng, opinions).split()
    for k, word in enumerate(words):
        if len(word) > 4 and rng.random() < 0.15:
            place = rng.randrange(1, len(word) - 2)
            words[k] = word[:place] + word[place + 1] + word[place] + word[place + 2:]
    return " ".join(words)


def pair_row(rng, source, negated=0.1, two=0.25):
    """(text, label) of a GLUE-like task. Labels have GLUE's meanings: rte 0 is entailment, qnli 0
    answered, qqp 1 a duplicate, mnli 0, 1, 2 entailment, neutral, contradiction."""
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
    """{word: [synonyms]} of every word that has some."""
    groups = [group for aspect in L.ASPECTS.values() for part in aspect[1:] for group in part]
    groups += [L.DIALECT[k::2 * L.MEANINGS] for k in range(2 * L.MEANINGS)]
    groups += [words.split() for qualities in (L.SCALES, L.BEASTS) for scale in qualities.values()
               for words in scale[:2]]
    table = {}
    for group in groups:
        for word in group:  # a word may be in two groups, each with words of its meaning
            table.setdefault(word, []).extend(
                synonym for synonym in group if synonym != word and synonym not in table[word])
    return {word: words for word, words in table.items() if words}
