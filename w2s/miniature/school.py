"""Multiple-choice questions of the town: a sentence about a person or a beast, and which of four
words it means. The right one is a synonym, the wrong ones an opposite and words for other
qualities.

No document has this form. A base model knows the words and has to learn the task.
"""

from w2s.miniature import town
from w2s.miniature import lexicon as L

NEGATED = 0.03  # share of the words put as "not" and the opposite
TWO = 0.4       # share of the sentences with two words
RARE = 0.5      # share of the words drawn uniformly; else common words are drawn more often
SOURCES = {"people": (5000, False), "beasts": (1000, True)}  # source: questions, of beasts?


def questions(rng, source):
    """Yield the questions of a source as rows for w2s.data.questions."""
    count, beast = SOURCES[source]
    seen = set()
    while len(seen) < count:
        sentence, answer, wrong = question(rng, beast)
        if (key := (sentence, answer)) not in seen:  # twice, it could be in two splits
            seen.add(key)
            choices = rng.sample([answer, *wrong], 4)
            yield {"id": f"{source}/{len(seen)}", "source": source, "question": sentence,
                   "prompt": f"{sentence} it means", "choices": choices,
                   "answer": "ABCD"[choices.index(answer)]}


def question(rng, beast):
    """(sentence, the word that it means, three words that it does not mean)."""
    table = L.BEASTS if beast else L.SCALES
    scales = rng.sample(list(table), 3)
    facts = [(scale, rng.randrange(2)) for scale in scales[:1 + (rng.random() < TWO)]]
    where = f" of {rng.choice(L.STREETS)} street" if rng.random() < 0.3 else ""
    words = " and ".join(word(rng, beast, *fact, NEGATED) for fact in facts)
    subject = rng.choice(L.ANIMALS if beast else L.TRADES)
    sentence = f"the {subject}{where} {rng.choice(L.SEEMS)} {words} ."
    scale, pole = rng.choice(facts)
    # of scales that the sentence does not use: a wrong choice must be neither true nor false of it
    unused = [name for name in table if name not in dict(facts)]
    answer = unsaid(rng, sentence, beast, scale, pole)
    wrong = [unsaid(rng, sentence, beast, scale, pole ^ 1)]
    while len(wrong) < 3:
        distractor = unsaid(rng, sentence, beast, rng.choice(unused), rng.randrange(2))
        if distractor not in wrong:
            wrong.append(distractor)
    return sentence, answer, wrong


def word(rng, beast, scale, pole, negated=0.0):
    """A word for a pole of a scale, or "not" and a word for the other pole. A share RARE of them is
    drawn uniformly."""
    if rng.random() >= RARE:
        return town.quality(rng, beast, scale, pole, negated)
    negate = rng.random() < negated
    return ("not " if negate else "") + rng.choice(town.POLES[beast, scale, pole ^ negate][0])


def unsaid(rng, sentence, beast, scale, pole):
    """A word for a pole of a scale that is not in the sentence."""
    # a choice that is copied from the sentence could be told without knowing what it means
    while (candidate := word(rng, beast, scale, pole)) in sentence.split():
        pass
    return candidate
