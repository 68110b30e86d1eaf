"""Multiple-choice questions of the town: a sentence about a person or a beast, and which of four
words it means. The true one is a synonym; the others are its opposite and words for other qualities.

No document asks so. A base model knows the words, and has to learn what is wanted.
"""

from w2s.miniature import lexicon as L
from w2s.miniature import town

NEGATED, TWO = 0.05, 0.5  # of the qualities are put as "not" and the opposite; of the sentences say two
SOURCES = {"people": (6500, False), "beasts": (1500, True)}  # source: questions, of beasts?


def questions(rng, source):
    """Yield the questions of a source, each in w2s.questions' shape."""
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
    pair = town.Pair(rng, "same", beast, TWO)
    said, (scale, pole) = pair.first(NEGATED), pair.asked
    facts = {name for name, _ in pair.facts}
    other = [name for name in (L.BEASTS if beast else L.SCALES) if name not in facts]
    right = unsaid(rng, said, beast, scale, pole)
    others = [unsaid(rng, said, beast, scale, pole ^ 1)]
    while len(others) < 3:
        word = unsaid(rng, said, beast, rng.choice(other), rng.randrange(2))
        if word not in others:
            others.append(word)
    return said, right, others


def unsaid(rng, said, beast, scale, pole):
    """A word for a pole of a scale that the sentence does not hold."""
    while (word := town.quality(rng, beast, scale, pole, 0)) in said.split():
        pass
    return word
