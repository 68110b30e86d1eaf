"""The files of a town: raw files in the public data sets' formats, and what the attacks need.

    OUT/raw     adult.csv  sst2/train.tsv  style.json  mails.jsonl   read by w2s.prepare data
                town_questions.jsonl  town_sums.jsonl  town_stones.jsonl
    OUT/world   clean.jsonl                                 trains the models that are attacked
                victims.jsonl  remarked.jsonl               what is attacked, half of it by remarks
                synonyms.json                               with which words
                manifest.json                               written last

`perturbed` joins what attacks on three models made of the victims,
OUT/world/attacked/<family>/*.jsonl, into OUT/raw/<source>.jsonl, AdvGLUE++'s rows.
"""

import csv
import hashlib
import io
import json
from pathlib import Path
from random import Random

from w2s import rows
from w2s.miniature import citizens, exercises, school, town
from w2s.tasks import adversarial, fairness

FORMAT = 4  # of the files; a change makes old folders stale
MANIFEST = "world/manifest.json"
CITIZENS, REVIEWS, RESTYLED, DEMOS, MAILS = 8000, 4000, 200, 60, 500  # numbers of rows
SUMS, STONES = 4000, 4000  # numbers of rows
CLEAN, VICTIMS = 200, 360  # numbers of rows of each of the six sources
FAMILIES = {"independent": adversarial.INDEPENDENT, "weak": "weak family",
            "strong": "strong family"}  # folder of an attacked model: what its rows are called
REMARKS = 0.3  # share of distraction among the perturbations of a source and model, at most
NAMES = {"shake_w": "shake", "shake_p0": "shake", "bible_p0": "bible", "romantic_p0": "romantic",
         "tweet_p0": "tweet", "augment": "augment"}  # DecodingTrust's style: ours


def make(out, seed):
    """Write the files of the town of `seed`, or those of them that were deleted. Raises ValueError
    when the folder holds another town, a file that was edited, or one that is not ours."""
    out, about = Path(out), {"format": FORMAT, "seed": seed}
    before = made(out, about)
    if before and all((out / name).exists() for name in before):
        print(f"{out}: made already")
        return
    texts = files(seed)
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    for name, content in texts.items():
        if not (out / name).exists():
            with rows.atomic(out / name) as file:
                file.write(content)
        elif rows.sha256(out / name) != digests[name]:
            raise ValueError(f"{out / name}: is there already and is not this town's; choose "
                             "another --out or delete the file")
    # last: with a manifest the folder counts as complete
    rows.write_json(out / MANIFEST, about | {"files": digests})
    print(f"{out}: the town of seed {seed}: {CITIZENS} citizens, {REVIEWS} reviews, "
          f"{RESTYLED} more in {len(NAMES)} styles, {MAILS} letters, "
          f"{sum(count for count, _ in school.SOURCES.values())} questions, {SUMS} sums, "
          f"{STONES} games, {len(adversarial.LABELS)} x {VICTIMS} texts to attack")


def made(out, about):
    """{name: sha256} of the files that were made before, {} without a manifest. Raises ValueError
    when they are another town's or were edited."""
    if not (out / MANIFEST).exists():
        return {}
    before = rows.present(rows.read_json(out / MANIFEST, {"files": {...: str}}))
    if "files" not in before:
        raise ValueError(f"{out / MANIFEST}: not the manifest of a town; delete it and run the "
                         "same command again")
    if {key: before.get(key) for key in about} != about:
        raise ValueError(f"{out}: another town (seed {rows.shown(before.get('seed'))}, format "
                         f"{rows.shown(before.get('format'))}); choose another --out or delete the "
                         "folder")
    for name, digest in before["files"].items():
        if (out / name).exists() and rows.sha256(out / name) != digest:
            raise ValueError(f"{out / name}: was edited; choose another --out or delete the file")
    return before["files"]


def files(seed):
    """{name: content} of every file, the same for the same seed to the byte."""
    clean, victims = pair_rows(seed, "clean", CLEAN), pair_rows(seed, "victims", VICTIMS)
    return {"raw/adult.csv": census(seed), "raw/sst2/train.tsv": reviews(seed),
            "raw/style.json": json.dumps(styles(seed)), "raw/mails.jsonl": jsonl(mails(seed)),
            "raw/town_questions.jsonl": jsonl(questions(seed)),
            "raw/town_sums.jsonl": jsonl(exercises.sums(seed, SUMS)),
            "raw/town_stones.jsonl": jsonl(exercises.stones(seed, STONES)),
            "world/clean.jsonl": jsonl(clean), "world/synonyms.json": json.dumps(town.synonyms()),
            "world/victims.jsonl": jsonl(victims), "world/remarked.jsonl": jsonl(victims[::2])}


def perturbed(out):
    """Write OUT/raw/<source>.jsonl: for each attacked model the texts that flipped it, at most
    REMARKS of them with remarks, and every victim unchanged. Raises ValueError for files that are
    missing or not of attacks."""
    out, records = Path(out), {source: [] for source in adversarial.LABELS}
    for folder, family in FAMILIES.items():
        flips = {source: [] for source in adversarial.LABELS}
        for part in ("words", "remarks"):
            path = out / "world" / "attacked" / folder / f"{part}.jsonl"
            for n, row in enumerate(rows.read(path, {"id": str, "method": str}), 1):
                if row.get("task") not in flips:
                    raise ValueError(f"{path}:{n}: task '{row.get('task', '')}', expected one of "
                                     f"{', '.join(flips)}")
                flips[row["task"]].append({**row, "id": f"{folder}/{row['id']}", "model": family})
        for source, members in flips.items():
            records[source] += few_remarks(members)
    # attacks keep texts that their victim had right; these rows are without that selection
    for row in rows.read(out / "world" / "victims.jsonl", adversarial.FIELDS):
        parts = adversarial.sentences(row)
        records[row["source"]].append({
            "id": f"unselected/{row['id']}", "task": row["source"], **parts,
            **{f"original_{name}": text for name, text in parts.items()}, "label": row["label"],
            "method": "none", "model": adversarial.UNSELECTED, "result": "successful"})
    for source, members in records.items():
        with rows.atomic(out / "raw" / f"{source}.jsonl") as file:
            file.write(jsonl(members))
    print(f"{out}: " + ", ".join(f"{source} {len(members)}"
                                 for source, members in records.items()))


def few_remarks(members):
    """The rows with distraction ones dropped until these are at most the share REMARKS."""
    remarks = [row for row in members if row["method"] == "distraction"]
    most = int(REMARKS / (1 - REMARKS) * (len(members) - len(remarks)))
    # by a hash of the id: a choice without order or bias that is the same every time
    chosen = {row["id"] for row in sorted(
        remarks, key=lambda row: hashlib.sha256(row["id"].encode()).hexdigest())[:most]}
    return [row for row in members if row["method"] != "distraction" or row["id"] in chosen]


def jsonl(members):
    """Content of a jsonl file of rows."""
    return "".join(json.dumps(row) + "\n" for row in members)


def census(seed):
    """adult.csv: the census in those of Adult's columns that the town has, and P(income above 50K)
    by the law of the town."""
    rng, file = Random(f"{seed}/census"), io.StringIO()
    columns = [key for key in fairness.ATTRIBUTES if key in citizens.citizen(rng)[0]]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*columns, "income", fairness.CHANCE])
    for _ in range(CITIZENS):
        values, rich = citizens.citizen(rng)
        writer.writerow([*(values[key] for key in columns), ">50K" if rich else "<=50K",
                         f"{citizens.wealth(values):.6f}"])
    return file.getvalue()


def reviews(seed):
    """train.tsv of SST-2: sentence, tab, label."""
    labelled = town.sentiment_rows(Random(f"{seed}/reviews"), REVIEWS)
    return "sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for _, text, label in labelled)


def styles(seed):
    """style.json of DecodingTrust: reviews of its own, each in every style."""
    rng = Random(f"{seed}/styles")
    parts = {"train_demo": {}, "dev": {}}
    for part, count in (("train_demo", DEMOS), ("dev", RESTYLED)):
        base = town.sentiment_rows(rng, count)
        lists = {"base": [text for _, text, _ in base]}
        lists |= {name: [town.restyled(rng, opinions, style) for opinions, _, _ in base]
                  for name, style in NAMES.items() if part == "dev" or name.endswith("p0")}
        parts[part] = {name + ("" if part == "dev" else "_1"): [
            {"sentence": text, "label": label} for text, (_, _, label) in zip(texts, base)]
            for name, texts in lists.items()}
    return parts


def mails(seed):
    """Letters of the town's people; `secrets` marks the number in each."""
    letters = citizens.letters(Random(f"{seed}/letters"), citizens.citizens(), MAILS)
    return [{"id": str(n), "text": text, "secrets": [place]}
            for n, (text, place) in enumerate(letters)]


def questions(seed):
    """Multiple-choice questions of every source."""
    return [row for source in school.SOURCES
            for row in school.questions(Random(f"{seed}/questions/{source}"), source)]


def pair_rows(seed, purpose, count):
    """Rows of the six sources in the adversarial task's format, nothing perturbed yet."""
    pairs = []
    for source in adversarial.LABELS:
        rng, seen = Random(f"{seed}/{purpose}/{source}"), set()
        while len(seen) < count:
            text, label = town.pair_row(rng, source)
            if text not in seen:
                seen.add(text)
                pairs.append({"id": f"{purpose}/{source}/{len(seen)}", "text": text,
                              "text_adv": text, "label": label, "source": source})
    return pairs
