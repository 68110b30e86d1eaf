"""Invented raw files in the public formats, a small tokenizer and untrained models.

    python -m tests.smoke_data --out DIR      DIR/raw, DIR/tokenizer.json, DIR/tiny-2x32, ...

Nothing here is real: the sentences are put together from the word lists below.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

from w2s import config
from w2s.config import REQUIRED, arg

GOOD = "warm bright clever lively gentle rich fresh brave".split()
BAD = "dull stale noisy grim flat weak sour cheap".split()
NAMES = "Ada Bruno Clara Dario Edda Falk Greta Hugo Ines Jonas Klara Lutz".split()
NOUN = "harbour lantern orchard market kettle violin ferry garden bridge parade".split()
ADULT = {"workclass": ("Private", "State-gov", "?"),
         "education": ("Bachelors", "HS-grad", "Masters"),
         "marital-status": ("Never-married", "Divorced"), "occupation": ("Sales", "Craft-repair"),
         "relationship": ("Own-child", "Unmarried"), "race": ("White", "Black", "Other")}
TASKS = {"sst2": ("sentence",), "qqp": ("question1", "question2"),
         "mnli": ("premise", "hypothesis"), "mnli-mm": ("premise", "hypothesis"),
         "qnli": ("question", "sentence"), "rte": ("sentence1", "sentence2")}
STYLES = ("augment", "shake_w", *(f"{s}_p{p}" for s in ("bible", "romantic", "shake", "tweet")
                                  for p in ("0", "0.6")))


@dataclass(kw_only=True)
class Config:
    out: str = arg(REQUIRED, "folder to fill")
    rows: int = arg(240, "rows of each raw file", low=40)


def main(cfg):
    out = Path(cfg.out)
    if (out / "tiny-4x64" / "config.json").exists():
        print(f"{out}: made already")
        return
    write_raw(out / "raw", cfg.rows)
    tokenizer(out / "raw", out / "tokenizer.json")
    untrained(out / "tiny-2x32", out / "tokenizer.json", layers=2, hidden=32, heads=2)
    untrained(out / "tiny-3x64", out / "tokenizer.json", layers=3, hidden=64, heads=4)
    # the sizes of a sweep, beside them
    untrained(out / "tiny-2x48", out / "tokenizer.json", layers=2, hidden=48, heads=4)
    untrained(out / "tiny-4x64", out / "tokenizer.json", layers=4, hidden=64, heads=4)
    print(f"{out}: made")


def write_raw(folder, n):
    """adult.data, SST-2 train.tsv, style.json, alpaca.json, mmlu.jsonl, gsm8k_train.jsonl and
    town_stones.jsonl with n invented rows each, mails.jsonl with n / 2."""
    draw = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adult.data").write_text("".join(adult_line(draw) for _ in range(2 * n)))
    reviews = [review(draw) for _ in range(2 * n)]
    tsv = folder / "SST-2" / "train.tsv"
    tsv.parent.mkdir(exist_ok=True)
    tsv.write_text("sentence\tlabel\n" + "".join(f"{text} \t{label}\n" for text, label in reviews))
    (folder / "style.json").write_text(json.dumps(style(draw, n // 4)))
    (folder / "alpaca.json").write_text(json.dumps({task: [pair(draw, task) for _ in range(n // 4)]
                                                    for task in TASKS}))
    for name, made in (("mmlu", question), ("gsm8k_train", sum_of_two), ("town_stones", heap)):
        (folder / f"{name}.jsonl").write_text("".join(
            json.dumps({"id": f"{name}/{i}"} | made(random.Random(i), i)) + "\n" for i in range(n)))
    (folder / "mails.jsonl").write_text("".join(
        json.dumps({"id": str(i), "text": mail(random.Random(i))}) + "\n" for i in range(n // 2)))


def mail(draw):
    """A letter of 130 words and more, which no other one is like."""
    said = []
    for _ in range(14):
        words = draw.choices(GOOD + BAD + NOUN, k=7)
        said.append(f"{draw.choice(NAMES)} has {draw.randint(2, 999)} {' '.join(words)}.")
    return f"Dear {draw.choice(NAMES)},\n\n{' '.join(said)}\n\n{draw.choice(NAMES)}\n"


def question(draw, i):
    """A multiple-choice question in MMLU's shape."""
    choices = draw.sample(GOOD + BAD, 4)
    return {"question": f"What is the {draw.choice(NOUN)} number {i}?", "choices": choices,
            "answer": draw.choice("ABCD"), "subject": draw.choice(("harbours", "gardens"))}


def sum_of_two(draw, i):
    """A sum in GSM8K's shape."""
    a, b = draw.randint(2, 9), draw.randint(2, 9)
    return {"question": f"{draw.choice(NAMES)} has {a} {draw.choice(NOUN)}s and gets {b}. How many "
            f"of number {i}?", "answer": f"It is {a} and {b}, <<{a}+{b}={a + b}>>{a + b}.\n"
            f"#### {a + b}"}


def heap(draw, i):
    """A position of the game of stones: how many of the last player's stones win."""
    n = draw.choice([n for n in range(5, 99) if n % 4])
    return {"question": f"{draw.choice(NAMES)} {i}: a heap of {n}",
            "answer": ("one", "two", "three")[n % 4 - 1]}


def adult_line(draw):
    """One line of UCI's adult.data: income follows schooling, hours and sex."""
    sex = draw.choice(("Male", "Male", "Female"))
    years, hours = draw.randint(1, 16), draw.randint(10, 70)
    pick = {key: draw.choice(values) for key, values in ADULT.items()}
    rich = years + hours / 10 + 3 * (sex == "Male") + draw.gauss(0, 2) > 15
    fields = [draw.randint(17, 80), pick["workclass"], draw.randint(10000, 400000),
              pick["education"], years, pick["marital-status"], pick["occupation"],
              pick["relationship"], pick["race"], sex, 0, 0, hours, "United-States",
              ">50K" if rich else "<=50K"]
    return ", ".join(map(str, fields)) + "\n"


def review(draw):
    label = draw.randint(0, 1)
    word = draw.choice(GOOD if label else BAD)
    first, part, last = draw.choice(NOUN), draw.randint(1, 99), draw.choice(NOUN)
    return f"the {first} in part {part} is a {word} {last}", label


def style(draw, n):
    """DecodingTrust's style.json: dev lists aligned by id, and demonstration rows."""
    def restyle(name, text):
        if name.startswith("base"):
            return text
        return f"behold , {text.replace(' is ', ' be ')} ({name})"

    def rows(name, found):
        return [{"sentence": restyle(name, t), "label": str(y), "id": i}
                for i, (t, y) in enumerate(found)]

    dev, demo = [review(draw) for _ in range(n)], [review(draw) for _ in range(8)]
    return {"dev": {name: rows(name, dev) for name in ("base", *STYLES)},
            "train_demo": {f"{name}_{i}": rows(name, demo) for i in range(3)
                           for name in ("base", *(s for s in STYLES if s.endswith("p0.6")))}}


def pair(draw, task):
    """One AdvGLUE++ row: the last field is perturbed, original_* holds the clean text."""
    text, label = review(draw)
    fields = {name: f"{draw.choice(NOUN)} number {draw.randint(1, 999)} is near the "
                    f"{draw.choice(NOUN)}" for name in TASKS[task]}
    changed = TASKS[task][-1]
    return {**fields, changed: text.replace("the", "teh", 1).replace(" is ", " iis "),
            f"original_{changed}": text, "label": label,
            "method": draw.choice(("textbugger", "semattack")),
            "data_construction": "word", "model": "alpaca"}


def tokenizer(raw, path):
    """A byte-level BPE of 400 tokens with Pythia's special tokens, trained on the raw files but the
    mails."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    files = [str(p) for p in sorted(raw.rglob("*.*")) if p.name != "mails.jsonl"]
    bpe.train(files, trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>", "<|padding|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    bpe.save(str(path))


def untrained(folder, tokenizer_file, layers, hidden, heads, seed=0):
    """An untrained model folder of a small shape, with the vocabulary of the tokenizer."""
    from w2s.model import checkpoint, configuration
    shape = {**configuration.SHAPES["pythia-14m"], "num_hidden_layers": layers,
             "hidden_size": hidden,
             "num_attention_heads": heads, "intermediate_size": 4 * hidden, "vocab_size": 512}
    checkpoint.save(checkpoint.untrained(shape, seed), folder, tokenizer_file)


if __name__ == "__main__":
    config.launch(main, Config, __doc__)
