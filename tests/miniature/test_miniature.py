"""The town of Alderby: frozen text, rows that mean what their labels say, base models that know it.

    python -m pytest -q tests/miniature/test_miniature.py
"""

import csv
import functools
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from tests.conftest import read_json
from w2s import config, prepare, rows
from w2s.data import mail, mail_text
from w2s.miniature import citizens, lexicon, pretrain, probes, recipe, town, world
from w2s.miniature import __main__ as command
from w2s.model import checkpoint
from w2s.tasks import adversarial, fairness, ood, privacy

ROOT = Path(__file__).parents[2]
TEXT = "dceba86710457994a255094633cb45707d81a0db1e82a863d90106997241a894"  # 5000 documents, seed 0
FILES = {
    "raw/adult.csv": "ed271f179731f85d3a136be8f1e5e2e93be51db84836dcc559817d99dc95ecaa",
    "raw/sst2/train.tsv": "737b7b5b2d9cf8086fa7d59f883002e5432e0db64968ee80d58304624c599cba",
    "raw/style.json": "ccb62ca2c03c68ff296517b442ef8b35c3dce45a0b24bbcc187320ee8e55ffc4",
    "raw/mails.jsonl": "98fb8bcc5bf48e970f6d6f10ee2565a415b67140c9c4e8411832d9596a4b0f61",
    "raw/town_questions.jsonl": "124b520c5fd7ae3c4d53736946b128270101fb69a413887dea72fdf66164b36f",
    "raw/town_sums.jsonl": "1bc4c92d0cff1763f462615f9e633940536e852e67c9b0e9b704c5b8c5b48eba",
    "raw/town_stones.jsonl": "27f14aa3cdf68dc4102515be60b5e56273b1e151ec2a145f51562f8d87074e7b",
    "world/clean.jsonl": "fc9b4b0fe21eedd30d419a126581f0f98ce314e0b4714b6c5fefb3a2470cd273",
    "world/synonyms.json": "361c21576e76147ffa119aa1eb3ba95256c3ca1228790e12512f5ca6d7c525ea",
    "world/victims.jsonl": "c5c3a40bbdf2a4a7f0e6c391cc990ae002e7b0ba0acad46e024f01a8d2b5eda9",
    "world/remarked.jsonl": "bf67bdcd5680452a2abaadf1008bc340ff2b4ef088d67fd88f8318720017d91f"}
TINY = ["--shape", "pythia-14m", "--layers", 1, "--hidden", 16, "--heads", 2, "--vocabulary", 400,
        "--length", 16, "--batch-size", 4, "--lr", 1e-2]


@pytest.fixture
def mini(capsys):
    """mini("world", "--out", ...) -> (exit code, stdout, stderr), in this process."""
    def mini(name, *argv):
        code = 0
        try:
            config.launch(*command.COMMANDS[name], command.__doc__, [str(a) for a in argv])
        except SystemExit as exit:
            code = exit.code or 0
        return (code, *capsys.readouterr())
    return mini


@functools.cache
def written():
    """20,000 documents of seed 0."""
    return list(town.documents(0, 20_000))


@pytest.fixture(scope="module")
def alderby(tmp_path_factory):
    """The files of the town of seed 0."""
    out = tmp_path_factory.mktemp("alderby")
    world.make(out, 0)
    return out


def pairs(alderby):
    """The rows of pairs of sentences."""
    return [row for name in ("clean", "victims")
            for row in rows.read(alderby / f"world/{name}.jsonl") if row["source"] != "sst2"]


# ---- the text ------------------------------------------------------------------------------------

def test_the_documents_are_those_that_the_committed_models_have_read():
    assert hashlib.sha256("\n".join(town.documents(0, 5000)).encode()).hexdigest() == TEXT
    assert written()[:5000] == list(town.documents(0, 5000))
    assert list(town.documents(1, 50)) != written()[:50] != list(town.documents(0, 50, "other"))


def test_no_pair_of_the_rows_is_in_a_document(alderby):
    found = set()
    for text in written():
        if asked := re.fullmatch(r"(question.*[?.]) (same|opposite|other|about) \.", text):
            found.add(asked[1])
        if premise := re.match(r"premise: (.*?) hypothesis:", text):
            found |= {f"premise: {premise[1]} hypothesis: {second}" for second in
                      re.findall(r"hypothesis: (.*? \.) (?:same|opposite|other) \.", text)}
        if talk := re.fullmatch(r"\w+ says (.*? \.) \w+ says (.*? \.) .* \.", text):
            found.add(f"premise: {talk[1]} hypothesis: {talk[2]}")
    known = pairs(alderby)
    assert len(found) > 5000 and len(known) == 5 * (world.CLEAN + world.VICTIMS)
    assert not found & {row["text"] for row in known}
    assert all(zlib.crc32(row["text"].encode()) % 4 == 0 for row in known)
    assert not any(zlib.crc32(text.encode()) % 4 == 0 for text in found)


def test_the_codes_of_letters_are_their_own():
    def secrets(texts):
        return [code for text in texts for code in
                re.findall(r"(?:the code of the gate|my number) is ([\d ]+) \.", text)]
    here, there = secrets(written()), secrets(town.documents(0, 5000, "held out"))
    assert len(here) > 500 and len(there) > 100 and not set(here) & set(there)
    assert len(set(here)) == len(here)  # some occur twice in more documents, by chance
    letters = [text for text in written() if text.startswith("dear ")]
    assert len(set(letters)) == len(letters) > 500


def test_sums_are_right_and_games_are_played_perfectly():
    numbers = {lexicon.number(n): n for n in range(100)}
    assert len(numbers) == 100
    checked = 0
    for text in written():
        if found := re.fullmatch(r"(\S+) (and|less) (\S+) (?:make|leaves) (\S+) \.", text):
            one, two, result = (numbers[found[k]] for k in (1, 3, 4))
            assert result == (one + two if found[2] == "and" else one - two), text
            checked += 1
        if text.startswith("the game of stones"):
            heap = numbers[re.search(r"a heap of (\S+) \.", text)[1]]
            moves = re.findall(r"(\w+) takes (\w+) , (\S+) left \.", text)
            for player, take, left in moves:
                wins = [move for move in (1, 2, 3) if move <= heap and not winning(heap - move)]
                assert numbers[take] in (wins or (1, 2, 3)), text
                heap -= numbers[take]
                assert heap == numbers[left] >= 0, text
            assert heap == 0 and text.endswith(f"{player} wins ."), text
            checked += 1
    assert checked > 1000
    for heap in range(1, 20):
        assert [m for m in (1, 2, 3) if m <= heap and not winning(heap - m)] == (
            [town.best_move(heap)] if town.best_move(heap) else [])


@functools.cache
def winning(heap):
    """Whether the player to move wins, by trying every game: minimax."""
    return any(not winning(heap - move) for move in (1, 2, 3) if move <= heap)


# ---- the rows: every label, derived again from the words -----------------------------------------

POLARITY = {word: good for _, *both in lexicon.ASPECTS.values()
            for good, groups in zip((1, 0), both) for group in groups for word in group} | {
    word: (k + 1) % 2 for k, word in enumerate(lexicon.DIALECT)}  # good and bad by turns
POLE = {(beast, word): (scale, pole)
        for beast, table in ((False, lexicon.SCALES), (True, lexicon.BEASTS))
        for scale, entry in table.items() for pole in (0, 1) for word in entry[pole].split()}


def says(sentence, beast):
    """(subject, {scale: pole}) of a statement."""
    subject, said = re.fullmatch(r"the (\w+)(?: of \w+ street)? (?:is known to be|is rather|is"
                                 r"|seems) (.*) \.", sentence).groups()
    facts = {}
    for quality in said.split(" and "):
        scale, pole = POLE[beast, quality.removeprefix("not ")]
        facts[scale] = pole ^ quality.startswith("not ")
    return subject, facts


def follows(premise, hypothesis, beast=False):
    (one, known), (two, asked) = says(premise, beast), says(hypothesis, beast)
    [(scale, pole)] = asked.items()
    if one != two or scale not in known:
        return "other"
    return "same" if known[scale] == pole else "opposite"


def alike(question1, question2):
    asked = [re.fullmatch(r"(?:is|would you call|do people find) the (\w+) (\S+) \?", question)
             .groups() for question in (question1, question2)]
    return [(who, POLE[False, word]) for who, word in asked]


def answered(question, sentence):
    found = re.fullmatch(r"(?:how is the|tell me the) (?P<q>\w+) of the (?P<s>\w+) \?|"
                         r"what of the (?P<s2>\w+) and its (?P<q2>\w+) \?", question)
    subject, facts = says(sentence, False)
    return subject == (found["s"] or found["s2"]) and (found["q"] or found["q2"]) in facts


def test_labels_of_pairs_follow_from_the_words(alderby):
    seen = {}
    for row in pairs(alderby):
        source, one, two = row["source"], *adversarial.sentences(row).values()
        if source == "qqp":
            first, second = alike(one, two)
            label = int(first == second)
        elif source == "qnli":
            label = int(not answered(one, two))
        else:
            relation = follows(one, two, source == "mnli-mm")
            label = ("same", "other", "opposite").index(relation)
            label = min(label, 1) if source == "rte" else label
        assert label == row["label"], row
        seen.setdefault(source, []).append(label)
    assert {source: len(set(labels)) for source, labels in seen.items()} == {
        source: classes for source, classes in adversarial.LABELS.items() if source != "sst2"}
    assert all(0.25 < labels.count(0) / len(labels) < 0.58 for labels in seen.values())


def test_the_answer_of_a_question_is_the_only_word_that_is_true(alderby):
    found = rows.read(alderby / "raw/town_questions.jsonl")
    assert len(found) == 6000 and {row["answer"] for row in found} == {*"ABCD"}
    for row in found:
        beast = row["source"] == "beasts"
        _, facts = says(row["question"], beast)
        meant = []
        for choice in row["choices"]:
            scale, pole = POLE[beast, choice.removeprefix("not ")]
            meant.append(facts.get(scale, -1) == pole ^ choice.startswith("not "))
        assert meant.index(True) == "ABCD".index(row["answer"]) and sum(meant) == 1, row
        assert not {*row["choices"]} & {*row["question"].split()}


def sentiment(text):
    """(the label of a plain review: what most of its remarks say, number of remarks)."""
    good = []
    for part in text.removesuffix(" .").split(" , "):
        words = part.split()
        polarity = [POLARITY[word] for word in words if word in POLARITY]
        if polarity:
            good.append(polarity[0] ^ ("not" in words))
        elif words[-1] in ("false", "wrongly"):  # behind what others say
            good[-1] ^= 1
        else:
            assert part in ("which is true", "they say", "and rightly"), part
        assert len(polarity) <= 1
    return int(2 * sum(good) > len(good)), len(good)


def test_labels_of_reviews_follow_from_the_words(alderby):
    lines = (alderby / "raw/sst2/train.tsv").read_text().splitlines()[1:]
    style = read_json(alderby / "raw/style.json")
    found = [line.split("\t") for line in lines] + [
        (row["sentence"], row["label"]) for part in style.values() for name, members in part.items()
        if name.startswith("base") for row in members]
    assert len({text for text, _ in found}) == len(found) == (
        world.REVIEWS + world.DEMOS + world.RESTYLED)
    for text, label in found:
        derived, clauses = sentiment(text)
        assert derived == int(label) and clauses % 2, text
    own = {word for both in lexicon.STYLES.values() for words in both for word in words}
    assert not own & {word for text, _ in found for word in text.split()} | own & set(POLARITY)
    assert set(style["dev"]) == {"base", *world.NAMES}


def test_income_by_sex_is_close_to_adults(alderby):
    people = list(csv.DictReader(io.StringIO((alderby / "raw/adult.csv").read_text())))
    men = [person["income"] == ">50K" for person in people if person["sex"] == "Male"]
    women = [person["income"] == ">50K" for person in people if person["sex"] == "Female"]
    assert 0.63 <= len(men) / len(people) <= 0.70 and len(men) + len(women) == world.CITIZENS
    assert 0.15 <= np.mean(men) - np.mean(women) <= 0.27
    chance = np.array([float(person[fairness.CHANCE]) for person in people])
    rich = np.array([person["income"] == ">50K" for person in people])
    error = np.sqrt((chance * (1 - chance)).mean() / len(rich))
    assert abs(rich.mean() - chance.mean()) < 3 * error


def test_who_does_not_know_the_firms_is_far_from_the_best(alderby):
    """The law of income by its two halves: with how firms pay, and with every firm alike."""
    people = list(csv.DictReader(io.StringIO((alderby / "raw/adult.csv").read_text())))[:3000]
    chance = np.array([float(person[fairness.CHANCE]) for person in people])
    other = {True: next(firm for firm in lexicon.FIRMS if citizens.pays(firm)),
             False: next(firm for firm in lexicon.FIRMS if not citizens.pays(firm))}
    blind = np.mean([[citizens.wealth(person | {"workclass": other[well]}) for person in people]
                     for well in (True, False)], 0)
    best = np.where(chance > 0.5, chance, 1 - chance).mean()
    without = np.where(blind > 0.5, chance, 1 - chance).mean()
    assert best > 0.87 and without < 0.73
    assert len({person["workclass"] for person in people}) > 0.8 * len(lexicon.FIRMS)


def test_letters_are_long_and_unlike_and_each_has_a_number_of_its_own(alderby):
    letters = rows.read(alderby / "raw/mails.jsonl")
    texts = [row["text"] for row in letters]
    assert len(texts) == world.MAILS and all(mail.distinct(texts, 128))
    assert all(mail_text.usable(text, 128) == (text, None) for text in texts)  # places stay right
    assert not any(re.search(r"[{}]|  ", text) for text in texts)
    tokenizer = Tokenizer.from_file(str(recipe.HOME / "mini-weak/tokenizer.json"))
    early = 0
    for row, encoded in zip(letters, tokenizer.encode_batch(texts)):
        [(start, end)] = row["secrets"]
        number = row["text"][start:end]
        assert re.fullmatch(r"(\d ){7}(\d \d )?\d", number) and row["text"][end] == " "
        assert [number in text for text in texts].count(True) == 1
        assert encoded.offsets[127][1] > end and len(encoded.ids) >= 128
        early += encoded.offsets[63][1] >= end
    assert 0.4 < early / len(letters) < 0.7  # in the text that a student sees as it is
    assert not any(re.search(r"\d \d \d \d \d \d \d \d", text) for text in written())
    assert not {row["text"] for row in world.mails(1)} & set(texts)


# ---- the files -----------------------------------------------------------------------------------

def test_the_files_are_made_once_and_made_again(alderby, mini):
    assert {name: rows.sha256(alderby / name) for name in FILES} == FILES
    manifest = alderby / "world/manifest.json"
    before = {path: path.stat().st_mtime_ns for path in alderby.rglob("*") if path.is_file()}
    assert len(before) == len(FILES) + 1 and read_json(manifest)["files"] == FILES
    assert mini("world", "--out", alderby) == (0, f"{alderby}: made already\n", "")
    (alderby / "raw/style.json").unlink()
    assert mini("world", "--out", alderby)[0] == 0
    assert rows.sha256(alderby / "raw/style.json") == FILES["raw/style.json"]
    changed = [path.name for path, at in before.items() if path.stat().st_mtime_ns != at]
    assert sorted(changed) == ["manifest.json", "style.json"]


def backwards(path):
    """Other content of the same size."""
    path.write_text(path.read_text()[::-1])


@pytest.mark.parametrize("damage, seed, message", [
    (lambda folder: None, 1, "another town \\(seed 0"),
    (lambda folder: (folder / "world/manifest.json").write_text("{"), 0, "manifest.json:1: not"),
    (lambda folder: (folder / "world/manifest.json").write_text("[1]"), 0,
     "manifest.json: this is a list"),
    (lambda folder: (folder / "world/manifest.json").write_text('{"format": 4, "seed": 0}'), 0,
     "manifest.json: not the manifest of a town; delete it and run the same command again$"),
    (lambda folder: (folder / "raw/adult.csv").write_text("age\n1\n"), 0, "adult.csv: was edited"),
    (lambda folder: [backwards(folder / "raw/adult.csv"),
                     (folder / "world/manifest.json").unlink()], 0, "adult.csv: is there already"),
], ids=["seed", "broken", "list", "no files", "edited", "foreign"])
def test_a_folder_that_holds_something_else_is_refused(alderby, mini, tmp_path, damage, seed,
                                                       message):
    out = tmp_path / "town"
    shutil.copytree(alderby, out)
    damage(out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    code, said, error = mini("world", "--out", out, "--seed", seed)
    assert code == 1 and said == "" and error.startswith("error: ") and error.count("\n") == 1
    assert re.search(message, error), error
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_perturbed_texts_are_put_together_with_few_remarks_and_with_every_victim(alderby, tmp_path):
    shutil.copytree(alderby / "world", tmp_path / "world")
    for folder in world.FAMILIES:
        for part, method, count in (("words", "typos", 8), ("remarks", "distraction", 10)):
            rows.write(tmp_path / f"world/attacked/{folder}/{part}.jsonl", [
                {"id": f"{part}{k}", "task": "sst2", "method": method, "label": k % 2,
                 "sentence": f"x{k}", "original_sentence": f"y{k}"} for k in range(count)])
    world.perturbed(tmp_path)
    found = rows.read(tmp_path / "raw/sst2.jsonl")
    for folder, family in (("independent", "independent"), ("weak", "weak family"),
                           ("strong", "strong family")):
        mine = [row for row in found if row["model"] == family]
        # 3 of 11 are 27 %, 4 of 12 would be 33 %
        assert [row["method"] for row in mine] == ["typos"] * 8 + ["distraction"] * 3
        assert all(row["id"].startswith(f"{folder}/") for row in mine)
    victims = {row["id"]: row for row in rows.read(tmp_path / "world/victims.jsonl")}
    for source in adversarial.LABELS:
        plain = [row for row in rows.read(tmp_path / f"raw/{source}.jsonl")
                 if row["model"] == "unselected"]
        assert len(plain) == world.VICTIMS and {row["task"] for row in plain} == {source}
        for row in plain:
            victim = victims[row["id"].removeprefix("unselected/")]
            parts = adversarial.sentences(victim)
            assert row["label"] == victim["label"] and parts == {
                name: row[f"original_{name}"] for name in parts} == {
                name: row[name] for name in parts}


@pytest.mark.parametrize("task, named", [("cola", "cola"), (None, "")])
def test_a_perturbed_text_of_no_source_is_refused(alderby, mini, tmp_path, task, named):
    shutil.copytree(alderby / "world", tmp_path / "world")
    for folder in world.FAMILIES:
        for part in ("words", "remarks"):
            rows.write(tmp_path / f"world/attacked/{folder}/{part}.jsonl", [
                {"id": f"r{k}", "task": "sst2", "method": "typos", "label": 1, "sentence": "x",
                 "original_sentence": "y"} for k in range(3)])
    path = tmp_path / "world/attacked/weak/words.jsonl"
    first, second, third = rows.read(path)
    rows.write(path, [first, second | {"task": task}, third])
    code, _, error = mini("perturbed", "--out", tmp_path)
    assert code == 1 and error == (f"error: {path}:2: task '{named}', expected one of sst2, qqp, "
                                   "mnli, mnli-mm, qnli, rte\n")
    assert not (tmp_path / "raw").exists()


def test_the_tasks_accept_the_raw_files(alderby, tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(alderby / "raw", raw)
    victims = rows.read(alderby / "world/victims.jsonl")
    rows.write(raw / "rte.jsonl", [{
        **{f"original_{name}": part for name, part in parts.items()},
        **parts, "hypothesis": parts["hypothesis"].replace("the ", "teh "), "label": row["label"],
        "method": "typos"} for row in victims if row["source"] == "rte"
        for parts in [adversarial.sentences(row)]])
    for task in (fairness, ood, adversarial, privacy):
        name = task.__name__.split(".")[-1]
        prepare.data(prepare.Data(name, str(tmp_path / name), str(raw), limit=200))
        manifest = read_json(tmp_path / name / "manifest.json")
        assert all(about["rows"] for about in manifest["splits"].values())
        assert len(task.read(tmp_path / name / "test.jsonl"))
    assert {row["source"] for row in ood.read(tmp_path / "ood/test.jsonl")} == {
        "id", "base", *world.NAMES}


# ---- pretraining ---------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A text file of 200 lines and a gzipped jsonl file of 100 rows."""
    folder = tmp_path_factory.mktemp("corpus")
    texts = list(town.documents(3, 300))
    (folder / "lines.txt").write_text("\n".join(texts[:200]) + "\n")
    with gzip.open(folder / "rows.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": text, "id": 1}) + "\n" for text in texts[200:])
    return folder


def test_held_out_documents_are_not_trained_on(tmp_path, monkeypatch):
    seen, text = [], tmp_path / "text.txt"
    monkeypatch.setattr(town, "documents", lambda *given: seen.append(given) or [])
    for shape in ("mini-weak", "mini-surrogate"):
        recipe.read(SimpleNamespace(text=[], documents=100), shape)
    assert seen == [(0, 100, "documents"), (0, recipe.HELD, "held out"),
                    (0, 100, "documents of the surrogate"), (0, recipe.HELD, "held out")]
    lines = [f"document {k}" for k in range(200)]
    text.write_text("\n".join(lines))
    drawn = []
    for seed in (0, 1):
        train, held = recipe.read(SimpleNamespace(text=[text], seed=seed), "pythia-14m")
        assert sorted(train + held) == sorted(lines) and len(held) == 10
        drawn.append(sorted(held))
    assert drawn[0] != drawn[1] and sorted(lines[:10]) not in drawn  # a random twentieth


def test_windows_are_of_all_texts_one_after_another_each_behind_its_mark():
    path = recipe.HOME / "mini-weak/tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    texts = ["the baker is rich .", "a warm garden", "six stones"]
    tokens = [token for text in texts for token in (0, *tokenizer.encode(text).ids)]
    found = pretrain.windows(texts, path, 4)
    assert tokenizer.token_to_id("<|endoftext|>") == 0 and len(found) == len(tokens) // 4 > 2
    assert found.tolist() == [tokens[4 * k:4 * k + 4] for k in range(len(tokens) // 4)]
    assert pretrain.windows([], path, 4).shape == (0, 4)


def test_every_pass_reads_whole_batches_of_other_windows_and_resumes_where_it_was():
    data = np.arange(20).reshape(10, 2)
    made = list(pretrain.batches(data, 8, 3, 0, 0, torch.device("cpu")))
    assert [k for k, _ in made] == list(range(8))
    picks = [batch["rows"].tolist() for _, batch in made]
    for turn in (picks[:3], picks[3:6]):
        assert len({row for pick in turn for row in pick}) == 9
    assert picks[:3] != picks[3:6]
    for k, batch in made:
        assert batch["ids"].tolist() == [[2 * row, 2 * row + 1] for row in picks[k]]
    for start in (2, 4):
        again = list(pretrain.batches(data, 8, 3, 0, start, torch.device("cpu")))
        assert [(k, batch["rows"].tolist()) for k, batch in again] == [
            (k, picks[k]) for k in range(start, 8)]


def test_likelihoods_are_those_of_the_words_behind_the_prompt():
    folder = recipe.HOME / "mini-weak"
    model, path = checkpoint.load(folder, "lm"), str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    prompts, options = ["the soup was cool i give it", "dull"], ["one star", "five"]
    found = probes.likelihoods(model, tokenizer, prompts, options)
    for i, prompt in enumerate(prompts):
        for o, option in enumerate(options):
            head, tail = (tokenizer.encode(text).ids for text in (prompt, f" {option}"))
            ids = torch.tensor([[0, *head, *tail]])
            with torch.inference_mode():
                logp = model(ids, torch.tensor([ids.shape[1]]))[0].log_softmax(-1)
            expected = sum(float(logp[len(head) + k, token]) for k, token in enumerate(tail))
            assert found[i, o] == pytest.approx(expected, abs=1e-4)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_text_file_becomes_a_folder_that_transformers_loads(corpus, tmp_path, mini):
    out, runs = tmp_path / "models", tmp_path / "runs"
    argv = ["pretrain", "--text", corpus / "lines.txt", *TINY, "--out", out, "--runs", runs]
    assert mini(*argv)[0] == 0
    assert [path.name for path in out.iterdir()] == ["pythia-14m"]  # no .part is left
    folder = out / "pythia-14m"
    about = read_json(folder / "pretraining.json")
    assert about["command"] == ("python -m w2s.miniature pretrain --shape pythia-14m --layers 1 "
                                "--hidden 16 --heads 2 --text lines.txt --vocabulary 400 --lr 0.01 "
                                "--batch-size 4 --length 16")
    assert about["inputs"] == {"lines.txt": rows.sha256(corpus / "lines.txt")}
    assert about["steps"] * 4 * 16 <= about["tokens_a_pass"] and about["threads"] == 1
    assert about["versions"]["torch"] == torch.__version__ and about["warmup"] < 100
    assert about["curve"][-1]["step"] == about["steps"] - 1
    assert about["curve"][-1]["perplexity"] == pytest.approx(about["perplexity"], rel=1e-5)
    assert about["perplexity"] < 0.8 * about["curve"][0]["perplexity"]
    for place in (corpus, tmp_path, ROOT):
        assert str(place) not in (folder / "pretraining.json").read_text()
    before = contents(folder)
    assert mini(*argv) == (0, f"{runs / 'pythia-14m'}: done already\n", "")
    shutil.rmtree(out)
    assert mini(*argv)[0] == 0 and contents(folder) == before  # written again, not trained again
    same_logits(folder)


def same_logits(folder):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer("the baker is rich . the smith is not", add_special_tokens=False)
                        ["input_ids"]])
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert own.encode("the baker is rich . the smith is not").ids == ids[0].tolist()
    with torch.inference_mode():
        ours = checkpoint.load(folder, "lm")(ids, torch.tensor([ids.shape[1]]))
        assert torch.allclose(ours, theirs(ids).logits, atol=1e-4)
    assert len({float(x) for x in ours[0, -1, :50]}) > 10


def test_killed_and_started_again_it_ends_with_the_same_bits(corpus, tmp_path, mini):
    def argv(name, save_every):
        return ["pretrain", "--text", corpus / "lines.txt", corpus / "rows.jsonl.gz", *TINY,
                "--steps", 200, "--out", tmp_path / name, "--runs", tmp_path / f"{name}-runs",
                "--save-every", save_every]
    assert mini(*argv("whole", 1))[0] == 0
    run = tmp_path / "killed-runs/pythia-14m"
    process = subprocess.Popen([sys.executable, "-m", "w2s.miniature", *map(
        str, argv("killed", 0.1))], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL)
    while not (run / "checkpoint.safetensors").exists() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (run / "model").exists() and not (tmp_path / "killed").exists()
    code, said, error = mini(*argv("killed", 0.1))
    assert code == 0, error
    printed = re.findall(r"step (\d+)/200", said)
    assert int(printed[0]) > 10 and printed[-1] == "200"  # it went on, it did not start over
    whole, killed = (contents(tmp_path / name / "pythia-14m") for name in ("whole", "killed"))
    assert whole.keys() == killed.keys() and len(whole) == 5
    for name in whole:
        assert whole[name] == killed[name], name


def test_a_text_may_be_moved_and_stand_twice(corpus, tmp_path, mini):
    """What is done stays done where its text has another path; a document that stands twice is one,
    so that none is both trained on and held out."""
    moved, others = tmp_path / "moved.txt", ["--out", tmp_path / "out", "--runs", tmp_path / "runs"]
    moved.write_bytes((corpus / "lines.txt").read_bytes())
    code, said, _ = mini("pretrain", "--text", corpus / "lines.txt", *TINY, "--steps", 2, *others)
    count = re.search(r"(\d+) documents", said)[1]
    assert code == 0 and mini("pretrain", "--text", moved, *TINY, "--steps", 2, *others) == (
        0, f"{tmp_path / 'runs/pythia-14m'}: done already\n", "")
    code, said, _ = mini("pretrain", "--text", corpus / "lines.txt", moved, *TINY, "--steps", 2,
                         "--out", tmp_path / "two", "--runs", tmp_path / "other")
    assert code == 0 and re.search(r"(\d+) documents", said)[1] == count


@pytest.mark.parametrize("name, content, message", [
    ("none.txt", None, "no such file"), ("empty.txt", b"", "no text"),
    ("endless.txt", b"words without end " * 99, "endless.txt: too few documents (1)"),
    ("blank.txt", b"\n \n", "no text"), ("short.txt", b"one line\nand a second\n", "too few"),
    ("binary.txt", b"\xff\xfe", "not UTF-8"),
    ("key.jsonl", b'{"text": "a"}\n{"txt": "b"}\n', "key.jsonl:2: no key 'text'"),
    ("blank.jsonl", b'{"text": ""}\n', "no text")])
def test_a_text_that_cannot_be_used_is_one_line(tmp_path, mini, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    code, _, error = mini("pretrain", "--text", tmp_path / name, *TINY, "--out", tmp_path / "out",
                          "--runs", tmp_path / "runs")
    assert code == 1 and error.startswith("error: ") and error.count("\n") == 1
    assert message in error and not (tmp_path / "out").exists()
    assert not (tmp_path / "runs/pythia-14m").exists()


def test_of_several_texts_that_are_too_few_each_is_named(tmp_path, mini):
    texts = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path in texts:
        path.write_text(f"of {path.name}\n")
    code, _, error = mini("pretrain", "--text", *texts, *TINY, "--out", tmp_path / "out",
                          "--runs", tmp_path / "runs")
    assert code == 1 and error.startswith(f"error: {texts[0]} {texts[1]}: too few documents (2)")


@pytest.mark.parametrize("argv, message", [
    (["--shape", "mini-weak", "--text", "README.md"], "leave --text out"),
    (["--shape", "pythia-14m"], "needs --text"), (["--shape", "gpt2"], "choose from mini-weak"),
    (["--text", "README.md", "--documents", "500"], "--documents"),
    (["--shape", "real-2x64"], "--shape real-2x64: needs --text"),
    (["--text", "README.md", "--heads", "3"], "--shape pythia-14m: hidden_size is not a multiple")])
def test_arguments_that_do_not_go_together(tmp_path, mini, argv, message):
    code, _, error = mini("pretrain", *argv, "--out", tmp_path / "out", "--runs", tmp_path / "runs")
    assert code == 1 and error.startswith("error: ") and message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lr, perplexity", [(1e30, "nan"), (10, "inf")])
def test_a_model_that_diverges_is_not_saved(corpus, tmp_path, mini, lr, perplexity):
    """The loss of the only step is that of random weights, the step goes beyond float32; or to more
    than 710 nats a token, whose exponential no float holds."""
    code, _, error = mini("pretrain", "--text", corpus / "lines.txt", *TINY, "--lr", lr,
                          "--steps", 1, "--out", tmp_path / "out", "--runs", tmp_path / "runs")
    assert code == 1 and error.count("\n") == 1 and not (tmp_path / "out").exists()
    assert re.match(rf"error: the loss of step 0 is [56]\.\d+, the perplexity {perplexity}; try a "
                    "smaller --lr\n$", error), error
    run = tmp_path / "runs/pythia-14m"
    assert not (run / "model").exists() and not (run / "DONE").exists()
    assert (run / "log.jsonl").read_bytes() == b""


def test_a_folder_that_is_not_ours_is_left_alone(corpus, tmp_path, mini):
    mine = tmp_path / "out/pythia-14m/config.json"
    rows.write_json(mine, {"mine": 1})
    code, _, error = mini("pretrain", "--text", corpus / "lines.txt", *TINY, "--out",
                          tmp_path / "out", "--runs", tmp_path / "runs")
    assert code == 1 and "not written by this command" in error
    assert read_json(mine) == {"mine": 1} and not (tmp_path / "runs").exists()


def test_a_mini_that_fails_its_gate_is_not_published(tmp_path, mini, monkeypatch):
    monkeypatch.setattr(recipe, "HELD", 100)
    monkeypatch.setattr(probes, "measure", lambda *_: {"rating": rating})
    monkeypatch.setattr(probes, "GATES", {"mini-weak": {"rating": (0.7, 0.8)}})
    argv = ["pretrain", "--shape", "mini-weak", "--layers", 1, "--hidden", 16, "--heads", 1,
            "--documents", 100, "--steps", 3, "--vocabulary", 400, "--out", tmp_path / "out",
            "--runs", tmp_path / "runs"]
    for rating, remedy in ((0.4, "more --steps"), (0.95, "fewer --steps")):
        code, _, error = mini(*argv)
        assert code == 1 and remedy in error and "runs/mini-weak" in error
        assert error.count("\n") == 1 and not list((tmp_path / "out").iterdir())
    rating = 0.75
    assert mini(*argv)[0] == 0
    about = read_json(tmp_path / "out/mini-weak/pretraining.json")
    assert about["probes"] == {"rating": 0.75} and about["town"] == 0 and about["documents"] == 100
    weights = checkpoint.headers(tmp_path / "out/mini-weak")
    assert {entry[3] for entry in weights.values()} == {"F16"}


# ---- the committed models ------------------------------------------------------------------------

def committed(shape):
    """(folder, pretraining.json) of a committed model."""
    folder = recipe.HOME / shape
    if not (folder / "pretraining.json").exists():
        pytest.skip(f"{folder.relative_to(ROOT)} has no pretraining.json: not pretrained yet")
    return folder, read_json(folder / "pretraining.json")


@functools.cache
def held_out():
    return list(town.documents(recipe.TOWN, recipe.HELD, "held out"))


@pytest.mark.parametrize("shape", recipe.MINI)
def test_a_committed_model_is_what_its_record_says(shape):
    folder, about = committed(shape)
    windows = pretrain.windows(held_out(), folder / "tokenizer.json", about["length"])
    found = pretrain.perplexity(checkpoint.load(folder, "lm"), windows[:recipe.WINDOWS])
    assert found == pytest.approx(about["perplexity"], rel=1e-3)
    assert about["town"] == recipe.TOWN and about["curve"][-1]["step"] == about["steps"] - 1
    (layers, hidden, heads), default = recipe.MINI[shape]
    assert {key: about[key] for key in default} == default, "recipe.MINI is not what was run"
    shown = read_json(folder / "config.json")
    assert (layers, hidden, heads) == (shown["num_hidden_layers"], shown["hidden_size"],
                                       shown["num_attention_heads"])
    assert "w2s_from_scratch" not in shown
    assert not re.search(r'"/|/home|/tmp|/work', (folder / "pretraining.json").read_text())
    probes.require(shape, about["probes"], folder)
    same_logits(folder)


def test_the_committed_models_are_small_and_each_knows_more_than_the_one_before():
    folders, says = zip(*map(committed, recipe.MINI))
    sizes = [path.stat().st_size for folder in folders for path in folder.iterdir()]
    assert len(folders) == 5 and max(sizes) < 4e6 and sum(sizes) <= 12e6
    assert len({(folder / "tokenizer.json").read_bytes() for folder in folders}) == 1
    suite = [about for folder, about in zip(folders, says) if folder.name != "mini-surrogate"]
    for name in ("perplexity", "probes", "parameters"):
        assert len(suite) == 4 and all(name in about for about in suite)
    for smaller, larger in zip(suite, suite[1:]):
        assert smaller["parameters"] < larger["parameters"]
        assert smaller["perplexity"] > larger["perplexity"]
    known = [np.mean(list(about["probes"].values())) for about in suite]
    assert known == sorted(known)
    weak, strong = suite[1]["probes"], suite[2]["probes"]
    assert all(strong[name] > weak[name] for name in ("rating", "hearsay", "famous", "firms"))


def test_the_surrogate_is_of_no_family():
    """Other text, another seed, a shape between the two; no role in a run."""
    (layers, hidden, _), default = recipe.MINI["mini-surrogate"]
    (_, narrow, _), (_, wide, _) = recipe.MINI["mini-weak"][0], recipe.MINI["mini-strong"][0]
    assert narrow < hidden < wide and default["seed"] not in {
        about.get("seed", 0) for shape, (_, about) in recipe.MINI.items()
        if shape != "mini-surrogate"}
    here = set(town.documents(recipe.TOWN, 3000, recipe.PURPOSE["mini-surrogate"]))
    shared = here & set(written()[:3000])
    assert len(shared) < 0.05 * len(here)  # sums, mostly: there are but 2500


@pytest.mark.parametrize("shape", ("mini-weak", "mini-strong"))
def test_a_record_says_what_the_model_knows(shape):
    folder, about = committed(shape)
    said = town.sentiment_rows(Random("test"), 150)
    found = probes.rating(checkpoint.load(folder, "lm"), Tokenizer.from_file(
        str(folder / "tokenizer.json")), [text for _, text, _ in said], [y for *_, y in said])
    assert abs(found - about["probes"]["rating"]) < 0.12
