"""Black-box attacks on a text classifier, by its probabilities: typos, synonyms, distraction.

Word attacks follow TextFooler (arXiv 1907.11932) and TextBugger (1812.05271). Words are ranked by
importance, the drop of the label's probability when the word is deleted. Then a greedy search takes
at each word the candidate that lowers that probability most. Distraction adds sentences that say
nothing about the label: StressTest (1806.00692), CheckList (2005.04118). Levels as in AdvGLUE
(2111.02840).

A text is one or more sentences; what stands between them (field names) is never changed. The search
for one text is a generator that yields candidate texts and receives their probabilities (n, K), so
that many searches run in lockstep and share forward passes. K classes.
"""

import random
import re

import numpy as np

from w2s.train.step import seed_of

PER_WORD = 5  # candidates for one word
MARGIN = 1e-4  # by which a flip must win, to survive the rounding of other batches
WORD = re.compile(r"([^\W\d_]+(?:['’-][^\W\d_]+)*)")
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
KEYS = {c: row[max(0, i - 1):i] + row[i + 1:i + 2] for row in ROWS for i, c in enumerate(row)}
LOOKS = dict(zip("oliaesg", "011@3$9"))
# remarks behind a sentence and before it: none of them says anything about a label
LAST = ("and true is true", "and false is not true", "and true is true" + " and true is true" * 4,
        "and a day is a day", "so to speak", "( end of text )", "@dhK3pQ", "https://t.co/aQ7xwVb")
FIRST = ("to be clear ,", "well , you know ,", "@dhK3pQ", "https://t.co/aQ7xwVb")


class Case:
    """A row under attack: its sentences cut into words, and how they make the text again.

    sentences: their texts; compose(list of them) -> text; number: of the row, for `ask`."""

    def __init__(self, row, number, sentences, compose):
        self.id, self.label, self.number, self.compose = row["id"], row["label"], number, compose
        # WORD.split keeps what it splits at: words at odd places, everything else at even ones
        self.pieces = [WORD.split(sentence) for sentence in sentences]
        self.words = {(s, k): pieces[k] for s, pieces in enumerate(self.pieces)
                      for k in range(1, len(pieces), 2)}

    def write(self, edits):
        """The sentences with the pieces of `edits` {(sentence, place): new} put in."""
        return ["".join(edits.get((s, k), piece) for k, piece in enumerate(pieces))
                for s, pieces in enumerate(self.pieces)]

    def delete(self, word):
        """The sentences without a word and the blank behind it."""
        s, k = word
        return self.write({word: "", (s, k + 1): self.pieces[s][k + 1].removeprefix(" ")})

    def add(self, remarks):
        """The sentences with each of `remarks` (sentence, first, remark) before or behind."""
        sentences = self.write({})
        for s, first, remark in remarks:
            pair = (remark, sentences[s]) if first else (sentences[s], remark)
            sentences[s] = " ".join(pair)
        return sentences

    def best(self, p):
        """(k, flip): the row of p (n, K) that hurts most, and whether it flips the answer. A flip
        comes before all that do not flip; else the label's probability decides."""
        p_label = p[:, self.label]
        flips = p_label < p.max(-1) - MARGIN
        k = int(np.lexsort((p_label, ~flips))[0])
        return k, bool(flips[k])


def attack(cases, ask, methods, budget=0.25, synonyms=None, seed=0):
    """[{"id", "right", "attacks": {method: [sentences that flip the argmax or None, queries]}}]:
    each case that is right on its clean text, attacked by each method.

    ask(texts, numbers of their rows) -> (n, K). budget: share of a text's words that a word attack
    may change, at least one word; distraction adds at most two remarks. synonyms {word: [words]}.
    A word has at most PER_WORD candidates. Queries of the ranking count for each method that uses
    it, the clean text's for none."""
    p = ask([case.compose(case.write({})) for case in cases], [case.number for case in cases])
    right = {i: case for i, case in enumerate(cases) if int(p[i].argmax()) == case.label}

    def asked(texts, keys):
        return ask(texts, [cases[i].number for i, *_ in keys])

    # typos and synonyms share one ranking: it costs a query for each word of a text
    worded = {(i,): rank(case) for i, case in right.items() if case.words}
    ranked = lockstep(worded, asked) if {"typos", "synonyms"} & set(methods) else {}
    searches = {}
    for i, case in right.items():
        # typos depend on seed and id alone and are drawn before any query: every model meets the
        # same ones, and a row's do not change with the rows beside it
        draw = random.Random(seed_of(seed, case.id, "typos"))
        options = {"typos": lambda word: typos(word, draw),
                   "synonyms": lambda word: swaps(word, synonyms)}
        for method in methods:
            if method == "distraction":
                searches[i, method] = distract(case)
            else:
                order = ranked[i,][0] if case.words else []
                new = {place: options[method](word) for place, word in case.words.items()}
                searches[i, method] = edit(case, p[i], order, new, budget)
    outcomes = lockstep(searches, asked)
    for (i, method), (_, queries) in outcomes.items():
        if method != "distraction" and cases[i].words:
            outcomes[i, method][1] = queries + ranked[i,][1]
    return [{"id": case.id, "right": i in right, "attacks": {
        method: outcomes[i, method] for method in methods if i in right}}
        for i, case in enumerate(cases)]


def lockstep(searches, ask):
    """Run generators {key: search} side by side; what they yield in a round is asked with one
    ask(texts, their keys) -> (n, K). Returns {key: [what the search returned, its queries]}."""
    # send(None) starts a generator, so the first replies are None
    results, replies, count = {}, dict.fromkeys(searches), dict.fromkeys(searches, 0)
    while replies:
        asked = {}
        for key, reply in replies.items():
            try:
                asked[key] = searches[key].send(reply)
                count[key] += len(asked[key])
            except StopIteration as stop:
                results[key] = [stop.value, count[key]]
        texts = [text for candidates in asked.values() for text in candidates]
        if not texts:
            break
        p = ask(texts, [key for key, candidates in asked.items() for _ in candidates])
        ends = np.cumsum([len(candidates) for candidates in asked.values()])
        replies = dict(zip(asked, np.split(p, ends[:-1])))
    return results


def rank(case):
    """Yields a text without each word; returns the words, most important first: the lower the
    label's probability without a word, the more important it is (1907.11932)."""
    words = list(case.words)
    p = yield [case.compose(case.delete(word)) for word in words]
    return [words[k] for k in np.argsort(p[:, case.label], kind="stable")]


def edit(case, clean, order, options, budget):
    """Greedy word attack: at each word of `order` the best of options[word], kept if it helps.
    Returns the sentences at the flip, None at the end of the budget. clean (K,): probabilities of
    the clean text."""
    # twice as many words are tried as may change, in case some do not help
    most, edits, lowest = max(1, int(budget * len(case.words))), {}, clean[case.label]
    for word in [word for word in order if options[word]][:2 * most]:
        p = yield [case.compose(case.write({**edits, word: new})) for new in options[word]]
        k, flip = case.best(p)
        if flip or p[k, case.label] < lowest:
            edits[word], lowest = options[word][k], p[k, case.label]
        if flip:
            return case.write(edits)
        if len(edits) == most:
            break
    return None


def distract(case):
    """Adds the best remark before or behind a sentence, then the best second one beside it.
    Returns the sentences at the flip, None when two remarks do not flip the answer."""
    remarks = [(s, first, remark) for s in range(len(case.pieces))
               for first, several in ((False, LAST), (True, FIRST)) for remark in several]
    chosen = []
    for _ in range(2):
        unused = [remark for remark in remarks if remark not in chosen]
        p = yield [case.compose(case.add([*chosen, remark])) for remark in unused]
        k, flip = case.best(p)
        chosen.append(unused[k])
        if flip:
            return case.add(chosen)
    return None


def typos(word, draw):
    """Up to five misspellings, one of each kind of TextBugger's: two inner letters swapped, one
    deleted, a blank inserted, a neighbour on the keyboard, a digit or sign that looks alike."""
    misspelt, inner = [], range(1, len(word) - 1)

    def put(places, change):  # one misspelling of a kind, none where the word has no place for it
        places = list(places)
        if places:
            k = draw.choice(places)
            misspelt.append(word[:k] + change(k) + word[k + (2 if change is swap else 1):])

    def swap(k):
        return word[k + 1] + word[k]

    def key(k):  # the neighbour has the letter's case
        near = draw.choice(KEYS[word[k].lower()])
        return near.upper() if word[k].isupper() else near

    put((k for k in inner[:-1] if word[k] != word[k + 1]), swap)
    put(inner, lambda k: "")
    put(inner, lambda k: word[k] + " ")
    put((k for k in inner if word[k].lower() in KEYS), key)
    put((k for k in range(len(word)) if word[k].lower() in LOOKS),
        lambda k: LOOKS[word[k].lower()])
    return misspelt


def swaps(word, synonyms):
    """The first PER_WORD synonyms of a word (looked up in lower case), in the word's case."""
    words = [new for new in synonyms.get(word.lower(), ()) if new.lower() != word.lower()]
    if word.isupper() and len(word) > 1:
        words = [new.upper() for new in words]
    elif word[0].isupper():
        words = [new[0].upper() + new[1:] for new in words]
    return list(dict.fromkeys(words))[:PER_WORD]
