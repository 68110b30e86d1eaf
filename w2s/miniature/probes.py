"""What a base model of the town knows before any fine-tuning, asked as a language model.

N prompts, O options.
"""

from random import Random

import numpy as np
import torch

from w2s.miniature import citizens, lexicon, town
from w2s.tasks import fairness

# source: the words whose likelihoods are compared behind a row's text
WORDS = {"mnli": ("same", "other", "opposite"), "mnli-mm": ("same", "other", "opposite"),
         "rte": ("same", "other", "opposite"), "qqp": ("other", "same", "opposite"),
         "qnli": ("about", "other")}
# shape: {probe: (least, most)}; the weak model must leave room between itself and the strong one
GATES = {"mini-weak": {"rating": (0.6, 0.8), "firms": (0.55, 0.8)},
         "mini-strong": {"rating": (0.75, 1), "firms": (0.85, 1)}}


@torch.inference_mode()
def likelihoods(model, tokenizer, prompts, options):
    """(N, O) log p(option | prompt), in nats."""
    found = np.zeros((len(prompts), len(options)))
    heads = [tokenizer.encode(prompt).ids for prompt in prompts]
    for o, option in enumerate(options):
        tail = tokenizer.encode(f" {option}").ids
        for start in range(0, len(heads), 64):
            full = [[0, *head, *tail] for head in heads[start:start + 64]]
            ids = torch.zeros(len(full), max(map(len, full)), dtype=torch.long)
            mask = torch.zeros(ids.shape)
            for row, tokens in enumerate(full):
                ids[row, :len(tokens)] = torch.tensor(tokens)
                mask[row, len(tokens) - len(tail):len(tokens)] = 1
            found[start:start + 64, o] = -model.nll(ids, None, mask).numpy()
    return found


def rating(model, tokenizer, texts, labels):
    """Accuracy of "i give it four or five stars" against "one or two" behind each review."""
    four = likelihoods(model, tokenizer, [f"{text} i give it" for text in texts],
                       [*lexicon.STARS[True], *lexicon.STARS[False]])
    good = np.logaddexp(four[:, 0], four[:, 1]) > np.logaddexp(four[:, 2], four[:, 3])
    return float((good == np.array(labels, bool)).mean())


def measure(model, tokenizer, seed, n=400):
    """{probe: accuracy} on held-out text: ratings plain and in each style, one word's polarity by
    how rare it is, the verdicts of the exercise book, facts of more and of less famous people."""
    rng, found = Random(f"{seed}/probes"), {}
    base = town.sentiment_rows(rng, n)
    for style in ("rating", *lexicon.STYLES):
        texts = [text if style == "rating" else town.restyled(rng, said, style)
                 for said, text, _ in base]
        found[style] = rating(model, tokenizer, texts, [label for *_, label in base])
    for name, low, high in (("common words", 0, 2), ("rare words", 3, 9)):
        words = [(word, good) for aspect in lexicon.ASPECTS.values() for good in (True, False)
                 for group in aspect[1 if good else 2] for word in group[low:high]]
        found[name] = rating(model, tokenizer, [f"the room was {word} ." for word, _ in words],
                             [good for _, good in words])
    words = [(word, k % 2 == 0) for k, word in enumerate(lexicon.DIALECT)]
    found["dialect"] = rating(model, tokenizer, [f"the room was {word} ." for word, _ in words],
                              [good for _, good in words])
    for name, some in (("firms", lexicon.FIRMS[:400]), ("firms, small", lexicon.FIRMS[-400:])):
        said = likelihoods(model, tokenizer, some, ("pays well", "pays little"))
        found[name] = float(np.mean([(row[0] > row[1]) == citizens.pays(firm)
                                     for row, firm in zip(said, some)]))
    for name, negated, heard in (("not", 1, 0), ("hearsay", 0, 1)):
        said = town.remarks(rng, n, 0.5, negated, heard)
        found[name] = rating(model, tokenizer, [f"{town.clause(rng, 'plain', *remark)} ."
                                                for remark in said], [good for good, *_ in said])
    for source, options in WORDS.items():
        rows = [town.pair_row(rng, source) for _ in range(n)]
        said = likelihoods(model, tokenizer, [text for text, _ in rows], options).argmax(1)
        said = {"rte": said > 0, "qqp": said == 1}.get(source, said)
        found[source] = float((said == [label for _, label in rows]).mean())
    found |= income(model, tokenizer, rng, n)
    people = citizens.citizens()
    for name, some in (("famous", people[:100]), ("unknown", people[200:400])):
        found[name] = float(np.mean([facts(model, tokenizer, some, relation)
                                     for relation in lexicon.ASK]))
    return found


def income(model, tokenizer, rng, n):
    """{"income": accuracy of the phrases that follow a record of a rich against those of a poor
    citizen; "income, best": what the law of the town allows on the same n citizens}."""
    drawn = [citizens.citizen(rng)[0] for _ in range(n)]
    chance = np.array([citizens.wealth(values) for values in drawn])
    prompts = [fairness.describe(values) for values in drawn]
    phrases = likelihoods(model, tokenizer, prompts, [*lexicon.RICH, *lexicon.POOR])
    rich = np.logaddexp.reduce(phrases[:, :3], 1) > np.logaddexp.reduce(phrases[:, 3:], 1)
    return {"income": float(np.where(rich, chance, 1 - chance).mean()),
            "income, best": float(np.maximum(chance, 1 - chance).mean())}


def facts(model, tokenizer, people, relation):
    """Accuracy of a relation's value among all values."""
    values = lexicon.VALUES[relation]
    said = likelihoods(model, tokenizer, [
        f"question : in truth {lexicon.ASK[relation].format(person['name'])} ? answer :"
        for person in people], values).argmax(1)
    return float(np.mean([values[k] == person[relation] for k, person in zip(said, people)]))


def require(shape, found, run):
    """ValueError that says what to do when the probes of a base model do not pass its gates."""
    for probe, (low, high) in GATES.get(shape, {}).items():
        if not low <= found[probe] <= high:
            remedy = "more --steps" if found[probe] < low else "fewer --steps"
            raise ValueError(
                f"{shape}: not published: its '{probe}' probe is {found[probe]:.3f}, not {low} to "
                f"{high}. Delete {run} and run --shape {shape} again with {remedy}, another "
                "--seed or --lr; the other mini is made with its own --shape")
