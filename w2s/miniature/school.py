"""Multiple-choice questions of the town: a sentence about a person or a beast, and which of four
words it means. The true one is a synonym, the others an opposite and words for other qualities.

No document asks so. A base model knows the words, and has to learn what is wanted.
"""

from w2s.miniature import town
from w2s.miniature import lexicon as L

NEGATED, TWO, RARE = 0.03, 0.4, 0.5  # words as "not" and the opposite, sentences with two words,
#                                      words that are drawn evenly and not the common ones mostly
SOURCES = {"people": (5000, False), "beasts": (1000, True)}  # source: questions, of beasts?


def questions(rng, source):
    """Yield the questions of a source, each in w2s.data.questions' shape."""
    count, beast = SOURCES[source]
    seen = set()
    while len(seen) < count:
        said, right, others = question(rng, beast)
        if (key := (said, right)) not in seen:
            seen.add(key)
            choices = rng.sample([right, *others], 4)
            yield {"id": f"{source}/{len(seen)}", "source": source, "question": said,
                   "prompt": f"{said} it means", "choices": choices,
                   "answer": "ABCD"[choices.index(right)]}


def question(rng, beast):
    """(sentence, the word that it means, three that it does not mean)."""
    table = L.BEASTS if beast else L.SCALES
    scales = rng.sample(list(table), 3)
    facts = [(scale, rng.randrange(2)) for scale in scales[:1 + (rng.random() < TWO)]]
    where = f" of {rng.choice(L.STREETS)} street" if rng.random() < 0.3 else ""
    words = " and ".join(word(rng, beast, *fact, NEGATED) for fact in facts)
    subject = rng.choice(L.ANIMALS if beast else L.TRADES)
    said = f"the {subject}{where} {rng.choice(L.SEEMS)} {words} ."
    scale, pole = rng.choice(facts)
    other = [name for name in table if name not in dict(facts)]
    right = unsaid(rng, said, beast, scale, pole)
    others = [unsaid(rng, said, beast, scale, pole ^ 1)]
    while len(others) < 3:
        wrong = unsaid(rng, said, beast, rng.choice(other), rng.randrange(2))
        if wrong not in others:
            others.append(wrong)
    return said, right, others


def word(rng, beast, scale, pole, negated=0.0):
    """A word for a pole of a scale, or "not" and one for the other; half of them rare."""
    if rng.random() >= RARE:
        return town.quality(rng, beast, scale, pole, negated)
    negate = rng.random() < negated
    return ("not " if negate else "") + rng.choice(town.POLES[beast, scale, pole ^ negate][0])


def unsaid(rng, said, beast, scale, pole):
    """A word for a pole of a scale that the sentence does not hold."""
    while (found := word(rng, beast, scale, pole)) in said.split():
        pass
    return found
