"""The files of a town: raw files in the formats of the public data sets, and what the attacks need.

    OUT/raw     adult.csv  sst2/train.tsv  style.json       read by w2s.prepare data
    OUT/world   clean.jsonl                                 trains the surrogate of the attacks
                victims/<source>.jsonl  synonyms.json       what is attacked, and with which words
                manifest.json                               written last
"""

import csv
import io
import json
from pathlib import Path
from random import Random

from w2s import rows
from w2s.miniature import town
from w2s.tasks import adversarial, fairness

FORMAT = 1
CITIZENS, REVIEWS, RESTYLED, DEMOS = 6000, 12000, 150, 60  # rows
CLEAN, VICTIMS = 200, 320  # rows of each of the six sources
NAMES = {"shake_w": "shake", "shake_p0": "shake", "bible_p0": "bible", "romantic_p0": "romantic",
         "tweet_p0": "tweet", "augment": "augment"}  # DecodingTrust's style: ours


def make(out, seed):
    """Write the files of the town of `seed`. Nothing to do when they are there; ValueError when the
    folder holds another town."""
    manifest = Path(out) / "world" / "manifest.json"
    about = {"format": FORMAT, "seed": seed}
    if manifest.exists():
        before = rows.read_json(manifest)
        if {key: before.get(key) for key in about} != about:
            raise ValueError(f"{manifest}: another town ({before.get('seed')}, format "
                             f"{before.get('format')}); choose another --out or delete the folder")
        print(f"{out}: made already")
        return
    texts = files(seed)
    for name, content in texts.items():
        with rows.atomic(Path(out) / name) as file:
            file.write(content)
    rows.write_json(manifest, about | {"files": {
        name: rows.sha256(Path(out) / name) for name in texts}})
    print(f"{out}: the town of seed {seed}: {CITIZENS} citizens, {REVIEWS} reviews, "
          f"{RESTYLED} of them in {len(NAMES)} styles, {len(adversarial.LABELS)} x {VICTIMS} "
          "texts to attack")


def files(seed):
    """{name: content} of every file, the same for the same seed."""
    clean, victims = pair_rows(seed, "clean", CLEAN), pair_rows(seed, "victims", VICTIMS)
    return {"raw/adult.csv": census(seed), "raw/sst2/train.tsv": reviews(seed),
            "raw/style.json": json.dumps(styles(seed)), "world/clean.jsonl": jsonl(clean),
            "world/synonyms.json": json.dumps(town.synonyms()),
            **{f"world/victims/{source}.jsonl": jsonl(
                row for row in victims if row["source"] == source)
               for source in adversarial.LABELS}}


def jsonl(members):
    return "".join(json.dumps(row) + "\n" for row in members)


def census(seed):
    """The census in Adult's columns, as far as the town has them."""
    rng, file = Random(f"{seed}/census"), io.StringIO()
    columns = [key for key in fairness.ATTRIBUTES if key in town.citizen(rng)[0]]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*columns, "income"])
    for _ in range(CITIZENS):
        values, rich = town.citizen(rng)
        writer.writerow([*(values[key] for key in columns), ">50K" if rich else "<=50K"])
    return file.getvalue()


def reviews(seed):
    """train.tsv of SST-2: a sentence, a tab, a label."""
    found = town.sentiment_rows(Random(f"{seed}/reviews"), REVIEWS)
    return "sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for _, text, label in found)


def styles(seed):
    """style.json of DecodingTrust: reviews that are in no other file, each in every style."""
    rng = Random(f"{seed}/styles")
    parts = {"train_demo": {}, "dev": {}}
    for part, count in (("train_demo", DEMOS), ("dev", RESTYLED)):
        base = town.sentiment_rows(rng, count)
        lists = {"base": [text for _, text, _ in base]}
        lists |= {name: [town.restyled(rng, said, style) for said, _, _ in base]
                  for name, style in NAMES.items() if part == "dev" or name.endswith("p0")}
        parts[part] = {name + ("" if part == "dev" else "_1"): [
            {"sentence": text, "label": label} for text, (_, _, label) in zip(texts, base)]
            for name, texts in lists.items()}
    return parts


def pair_rows(seed, purpose, count):
    """Rows of the six sources in the task's format, nothing perturbed yet."""
    found = []
    for source in adversarial.LABELS:
        rng, seen = Random(f"{seed}/{purpose}/{source}"), set()
        while len(seen) < count:
            text, label = town.pair_row(rng, source)
            if text not in seen:
                seen.add(text)
                found.append({"id": f"{purpose}/{source}/{len(seen)}", "text": text,
                              "text_adv": text, "label": label, "source": source})
    return found
