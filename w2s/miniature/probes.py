"""What a base model of the town knows before any fine-tuning, asked by likelihoods.

N prompts, O options.
"""

from random import Random

import numpy as np
import torch

from w2s.miniature import citizens, lexicon, town
from w2s.tasks import fairness

# source: the verdicts of the exercise book whose likelihoods are compared behind a row's text
WORDS = {"mnli": ("same", "other", "opposite"), "mnli-mm": ("same", "other", "opposite"),
         "rte": ("same", "other", "opposite"), "qqp": ("other", "same", "opposite"),
         "qnli": ("about", "other")}
# shape: {probe: (least, most)}; the weak model must leave room between itself and the strong one
GATES = {"mini-weak": {"rating": (0.6, 0.8), "firms": (0.55, 0.8)},
         "mini-strong": {"rating": (0.75, 1), "firms": (0.85, 1)}}


@torch.inference_mode()
def likelihoods(model, tokenizer, prompts, options):
    """(N, O) log p(option | prompt), in nats."""
    logp = np.zeros((len(prompts), len(options)))
    heads = [tokenizer.encode(prompt).ids for prompt in prompts]
    for o, option in enumerate(options):
        tail = tokenizer.encode(f" {option}").ids
        for start in range(0, len(heads), 64):
            # in training a document follows an <|endoftext|>, token 0
            full = [[0, *head, *tail] for head in heads[start:start + 64]]
            ids = torch.zeros(len(full), max(map(len, full)), dtype=torch.long)
            mask = torch.zeros(ids.shape)
            for row, tokens in enumerate(full):
                ids[row, :len(tokens)] = torch.tensor(tokens)
                mask[row, len(tokens) - len(tail):len(tokens)] = 1
            logp[start:start + 64, o] = -model.nll(ids, None, mask).numpy()
    return logp


def rating(model, tokenizer, texts, labels):
    """Accuracy on N texts of a classifier that compares, behind "i give it", the probability of
    "five" or "four stars" with that of "one" or "two stars"."""
    four = likelihoods(model, tokenizer, [f"{text} i give it" for text in texts],
                       [*lexicon.STARS[True], *lexicon.STARS[False]])
    good = np.logaddexp(four[:, 0], four[:, 1]) > np.logaddexp(four[:, 2], four[:, 3])
    return float((good == np.array(labels, bool)).mean())


def measure(model, tokenizer, seed, n=400):
    """{probe: accuracy} on held-out text: ratings plain and in each style, the polarity of common,
    rare and dialect words, which firms pay, "not" and hearsay, the verdicts of the exercise book,
    income, facts of more and of less famous people."""
    # one generator for all probes: their order is part of what the committed accuracies measured
    rng, accuracies = Random(f"{seed}/probes"), {}
    base = town.sentiment_rows(rng, n)
    for style in ("rating", *lexicon.STYLES):
        texts = [text if style == "rating" else town.restyled(rng, opinions, style)
                 for opinions, text, _ in base]
        accuracies[style] = rating(model, tokenizer, texts, [label for *_, label in base])
    for name, low, high in (("common words", 0, 2), ("rare words", 3, 9)):
        words = [(word, good) for aspect in lexicon.ASPECTS.values() for good in (True, False)
                 for group in aspect[1 if good else 2] for word in group[low:high]]
        accuracies[name] = polarity(model, tokenizer, words)
    words = [(word, k % 2 == 0) for k, word in enumerate(lexicon.DIALECT)]
    accuracies["dialect"] = polarity(model, tokenizer, words)
    for name, firms in (("firms", lexicon.FIRMS[:400]), ("firms, small", lexicon.FIRMS[-400:])):
        logp = likelihoods(model, tokenizer, firms, ("pays well", "pays little"))
        accuracies[name] = float(np.mean([(well > little) == citizens.pays(firm)
                                          for (well, little), firm in zip(logp, firms)]))
    for name, negated, heard in (("not", 1, 0), ("hearsay", 0, 1)):
        opinions = town.remarks(rng, n, 0.5, negated, heard)
        texts = [f"{town.clause(rng, 'plain', *remark)} ." for remark in opinions]
        accuracies[name] = rating(model, tokenizer, texts, [good for good, *_ in opinions])
    for source, options in WORDS.items():
        rows = [town.pair_row(rng, source) for _ in range(n)]
        choice = likelihoods(model, tokenizer, [text for text, _ in rows], options).argmax(1)
        # two labels but three verdicts: rte joins the last two, qqp the first and the last
        choice = {"rte": choice > 0, "qqp": choice == 1}.get(source, choice)
        accuracies[source] = float((choice == [label for _, label in rows]).mean())
    accuracies |= income(model, tokenizer, rng, n)
    people = citizens.citizens()
    for name, group in (("famous", people[:100]), ("unknown", people[200:400])):
        accuracies[name] = float(np.mean([facts(model, tokenizer, group, relation)
                                          for relation in lexicon.ASK]))
    return accuracies


def polarity(model, tokenizer, words):
    """Accuracy of `rating` on one-word reviews of [(word, good)]."""
    return rating(model, tokenizer, [f"the room was {word} ." for word, _ in words],
                  [good for _, good in words])


def income(model, tokenizer, rng, n):
    """{"income": expected accuracy of comparing the phrases of the rich and of the poor behind a
    citizen's record; "income, best": the most that the law of the town allows on the same n
    citizens}."""
    # scored by the law's probability, not by a drawn income: less noise for the same n
    drawn = [citizens.citizen(rng)[0] for _ in range(n)]
    chance = np.array([citizens.wealth(values) for values in drawn])
    prompts = [fairness.describe(values) for values in drawn]
    phrases = likelihoods(model, tokenizer, prompts, [*lexicon.RICH, *lexicon.POOR])
    rich = np.logaddexp.reduce(phrases[:, :3], 1) > np.logaddexp.reduce(phrases[:, 3:], 1)
    return {"income": float(np.where(rich, chance, 1 - chance).mean()),
            "income, best": float(np.maximum(chance, 1 - chance).mean())}


def facts(model, tokenizer, people, relation):
    """Share of the people whose true value of a relation is the likeliest of all its values."""
    # "in truth": most documents tell the rumour
    values = lexicon.VALUES[relation]
    answers = likelihoods(model, tokenizer, [
        f"question : in truth {lexicon.ASK[relation].format(person['name'])} ? answer :"
        for person in people], values).argmax(1)
    return float(np.mean([values[k] == person[relation] for k, person in zip(answers, people)]))


def require(shape, accuracies, run):
    """Raises ValueError, which says what to do, when a base model does not pass its gates."""
    for probe, (low, high) in GATES.get(shape, {}).items():
        if not low <= accuracies[probe] <= high:
            remedy = "more --steps" if accuracies[probe] < low else "fewer --steps"
            raise ValueError(
                f"{shape}: not published: its '{probe}' probe is {accuracies[probe]:.3f}, not "
                f"{low} to {high}. Delete {run} and run --shape {shape} again with {remedy}, "
                "another --seed or --lr; the other mini is made with its own --shape")
