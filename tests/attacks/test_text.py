"""The text attack against small models whose answers follow a word.

    python -m pytest -q tests/attacks/test_text.py
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests import memorised
from tests.conftest import read_json
from tests.smoke_data import BAD, GOOD, NOUN
from w2s import config, rows, runs
from w2s.attacks import word_attacks
from w2s.attacks import text as attacks
from w2s.data import raw_folder
from w2s.infer import classify
from w2s.model import checkpoint, tokenization
from w2s.tasks import adversarial

ROOT = Path(__file__).parents[2]
SYNONYMS = {"dull": ["drab"], "Near": ["beside"], **{word: ["bright", "warm"] for word in BAD}}


def invented(n, start=0):
    """n rows of sst2 and mnli: the label is 1 where the last word before the noun is kind."""
    draw, found = random.Random(start), []
    for i in range(n):
        label, pair = draw.randint(0, 1), i % 2
        sentence = f"the {draw.choice(NOUN)} is a {draw.choice(GOOD if label else BAD)} garden"
        premise = f"Number {draw.randint(1, 99)} , Near the {draw.choice(NOUN)} ."
        body = f"premise: {premise} hypothesis: {sentence}" if pair else sentence
        found.append({"id": f"r{start + i}", "text": body, "text_adv": body.replace("the", "teh"),
                      "label": label, "source": "mnli" if pair else "sst2"})
    return found


@pytest.fixture(scope="module")
def home(world, tmp_path_factory):
    """A folder with test.jsonl, synonyms.json and two trained runs, one/ and two/."""
    import train_weak
    out = tmp_path_factory.mktemp("attacks")
    rows.write(out / "weak.jsonl", invented(160))
    rows.write(out / "test.jsonl", invented(24, 1000))
    rows.write_json(out / "synonyms.json", SYNONYMS)
    for seed, name in enumerate(("one", "two")):
        train_weak.main(train_weak.Config(
            task="adversarial", model=str(world / "tiny-2x32"), data=str(out / "weak.jsonl"),
            out=str(out / name), lr=1e-2, lam=0, epochs=8, seed=seed))
    return out


def argv(home, *more, run=("one",)):
    return [str(a) for a in ("--task", "adversarial", "--data", home / "test.jsonl", "--run",
                             *(home / name for name in run), *more)]


@pytest.fixture
def attack(capsys):
    """attack("--task", ...) -> (exit code, stdout, stderr) of `attacks.py text`."""
    def attack(*arguments):
        code = 0
        try:
            config.launch(attacks.text, attacks.Text, attacks.__doc__, [*map(str, arguments)])
        except SystemExit as exit:
            code = exit.code or 0
        return (code, *capsys.readouterr())
    return attack


def copy(home, tmp_path, *names):
    for name in ("test.jsonl", "synonyms.json"):
        shutil.copy(home / name, tmp_path)
    for name in names:
        shutil.copytree(home / name, tmp_path / name,
                        ignore=shutil.ignore_patterns("attack*", ".lock"))
    return tmp_path


@pytest.fixture(scope="module")
def done(home, tmp_path_factory):
    """A folder in which run one has been attacked with every method, five rows side by side."""
    out = copy(home, tmp_path_factory.mktemp("done"), "one")
    attacks.text(config.parse(attacks.Text, attacks.__doc__, argv(
        out, "--synonyms", out / "synonyms.json", "--batch-size", 5)))
    return out


def found(home, run="one"):
    return rows.read(home / run / "attacks" / "test.jsonl")


def measured(home, run="one"):
    return {(m["slice"], m["metric"]): m["value"]
            for m in read_json(home / run / "attack-text.json")["metrics"]}


def composed(record, prefix=""):
    names = [names[0] for names in adversarial.PARTS[record["task"]]]
    return adversarial.compose(record["task"], [record[prefix + name] for name in names])


def answers(run, data):
    """(N,) what evaluate.py's path answers to the texts and to the perturbed texts of rows."""
    model = checkpoint.load(run / "model", head="class")
    columns = adversarial.encode(data, tokenization.load_tokenizer(run / "model"), 128)
    p = classify.probabilities(model, columns)
    return p["p"].argmax(-1), p["p_adv"].argmax(-1)


def test_prepare_gives_back_both_texts_and_the_model_is_really_fooled(done, tmp_path):
    records = found(done)
    assert {r["method"] for r in records} == {"typos", "synonyms", "distraction"}
    for source in ("sst2", "mnli"):
        rows.write(tmp_path / f"{source}.jsonl", [r for r in records if r["task"] == source])
    raw = raw_folder.Raw(tmp_path)
    prepared = [row for part in adversarial.prepare(raw).values() for row in part]
    clean = {row["id"]: row for row in rows.read(done / "test.jsonl")}
    expected = {(clean[r["id"].rsplit("/", 1)[0]]["text"], composed(r), r["label"], r["method"])
                for r in records}
    assert {(r["text"], r["text_adv"], r["label"], r["method"]) for r in prepared} == expected
    assert {r["surrogate"] for r in prepared} == {"one"}
    label = np.array([r["label"] for r in prepared])
    plain, attacked = answers(done / "one", prepared)
    assert (plain == label).all() and (attacked != label).all()


def test_the_numbers_follow_from_the_rows(done):
    records, value = found(done), measured(done)
    data = rows.read(done / "test.jsonl")
    right = answers(done / "one", data)[0] == [row["label"] for row in data]
    fallen = {r["id"].rsplit("/", 1)[0] for r in records}
    for source in ("sst2", "mnli"):
        safe = [ok and row["id"] not in fallen for row, ok in zip(data, right)
                if row["source"] == source]
        assert value[source, "ra_own"] == pytest.approx(np.mean(safe))
    assert value["all", "ra_own"] == pytest.approx(
        (value["sst2", "ra_own"] + value["mnli", "ra_own"]) / 2)
    assert value["all", "asr_own"] == pytest.approx(len(fallen) / right.sum())
    for method in ("typos", "synonyms", "distraction"):
        slice = f"attack:{method}"
        mine = [r for r in records if r["method"] == method]
        assert value[slice, "successful"] == len(mine) > 0
        assert value[slice, "attacked"] == right.sum() == len(mine) + value[slice, "failed"]
        assert value[slice, "skipped"] == len(data) - right.sum()
        assert value[slice, "ra_own"] >= value["all", "ra_own"]


def cut(record, prefix=""):
    return [word_attacks.WORD.split(record[prefix + names[0]])
            for names in adversarial.PARTS[record["task"]]]


def test_only_so_many_words_change_and_synonyms_come_from_the_file(done):
    table = {word.lower(): others for word, others in SYNONYMS.items()}
    for record in found(done):
        before, after = cut(record, "original_"), cut(record)
        most = max(1, int(.25 * sum(len(pieces) // 2 for pieces in before)))
        if record["method"] == "synonyms":
            changed = [(a, b) for old, new in zip(before, after)
                       for a, b in zip(old, new, strict=True) if a != b]
            assert 0 < len(changed) <= most
            assert all(new.lower() in table[old.lower()] for old, new in changed)
        elif record["method"] == "typos":
            words = Counter(word for pieces in before for word in pieces[1::2])
            words -= Counter(" ".join("".join(pieces) for pieces in after).split())
            assert 0 < words.total() <= most
        else:
            for names in adversarial.PARTS[record["task"]]:
                assert record[f"original_{names[0]}"] in record[names[0]]


def test_a_budget_is_never_passed_whatever_the_model_answers():
    """The answer never flips and every change helps, so that the whole budget is spent."""
    sentence = "one two three four five six seven eight nine ten"
    for budget, most in ((.01, 1), (.25, 2), (.5, 5), (1, 10)):
        asked, left = [], iter(np.linspace(.9, .6, 10000))

        def ask(texts, numbers):
            asked.extend(texts)
            return np.array([[p, 1 - p] for p in (next(left) for _ in texts)])
        case = word_attacks.Case({"id": "a", "label": 0}, 0, [sentence], "".join)
        (entry,) = word_attacks.attack([case], ask, ["synonyms"], budget,
                                  {word: ["X"] for word in sentence.split()})
        assert entry == {"id": "a", "right": True, "attacks": {
            "synonyms": [None, len(asked) - 1]}}
        assert max(t.count("X") for t in asked) == most


def case(number=0, text="one two three four", label=0, id="a"):
    return word_attacks.Case({"id": id, "label": label}, number, [text], "".join)


def test_a_flip_must_win_by_a_margin_and_the_worst_candidate_is_taken():
    """The label's is the first column."""
    for p, best in (
            ([[.5, .5, 0]], (0, False)), ([[.49998, .50002, 0]], (0, False)),
            ([[.49, .51, 0]], (0, True)), ([[.45, .3, .25]], (0, False)),  # the label is ahead
            ([[.6, .4, 0], [.2, .8, 0], [.3, .7, 0]], (1, True)),
            ([[.34, .33, .33], [.4, .6, 0]], (1, True)),  # a flip before a lower probability
            ([[.9, .1, 0], [.7, .3, 0], [.8, .2, 0]], (1, False))):
        assert case().best(np.array(p)) == best


# probability of the right class; A and B are the two synonyms of a word
ANSWERS = {"one two three four": .9, "two three four": .7, "one three four": .2,
           "one two four": .8, "one two three ": .6,
           "one A2 three four": .95, "one B2 three four": .92,     # neither helps
           "one two three A4": .85, "one two three B4": .7,        # B does
           "A1 two three B4": .75, "B1 two three B4": .8,          # lower than .9, but not than .7
           "one two A3 B4": .65, "one two B3 B4": .69,
           "five six": .8, "six": .5, "five ": .6, "A5 six": .3, "B5 six": .4}


def test_words_are_tried_by_importance_and_kept_when_they_help():
    """Two searches side by side: in the first nothing flips, in the second a word does."""
    rounds, table = [], {word: [f"A{n}", f"B{n}"] for n, word in enumerate(
        "one two three four five".split(), 1)}

    def ask(texts, numbers):
        rounds.append([text for text, number in zip(texts, numbers) if number == 7])
        assert [number == 8 for number in numbers] == [
            bool({"five", "six"} & {*text.split()}) for text in texts]
        p = [ANSWERS[text] for text in texts]
        return np.array([[x, 1 - x, 0] if number == 7 else [1 - x, x, 0]
                         for x, number in zip(p, numbers)])

    found = word_attacks.attack([case(7), case(8, "five six", 1, "b")], ask, ["synonyms"], .5,
                                table)
    assert found[0]["attacks"] == {"synonyms": [None, 4 + 8]}
    assert found[1]["attacks"] == {"synonyms": [["A5 six"], 2 + 2]}
    assert rounds == [
        ["one two three four"],
        ["two three four", "one three four", "one two four", "one two three "],
        ["one A2 three four", "one B2 three four"], ["one two three A4", "one two three B4"],
        ["A1 two three B4", "B1 two three B4"], ["one two A3 B4", "one two B3 B4"]]


def test_only_rows_that_are_right_are_attacked_with_draws_of_their_own():
    """Typos depend on the row's id alone: not on who else is attacked, nor on the place."""
    def asked(*cases):
        texts = {each.number: set() for each in cases}

        def ask(found, numbers):
            for text, number in zip(found, numbers):
                texts[number].add(text)
            return np.array([[.9, .1]] * len(found))
        return word_attacks.attack(cases, ask, ["typos"]), texts

    said = "somebody wandered homewards yesterday"
    found, both = asked(case(0, said, 1, "wrong"), case(1, said, 0, "b"), case(2, said, 0, "a"))
    assert found[0] == {"id": "wrong", "right": False, "attacks": {}} and both[0] == {said}
    assert [entry["right"] for entry in found[1:]] == [True, True] and len(both[2]) > 8
    assert asked(case(2, said, 0, "a"))[1][2] == both[2] != both[1]


def test_two_different_remarks_at_most_are_added():
    search = word_attacks.distract(case(text="s"))
    texts = next(search)
    assert len(texts) == 12 and texts[3] == "s and a day is a day"
    assert texts[8] == "to be clear , s"
    texts = search.send(np.where(np.arange(12)[:, None] == 3, [[.55, .45]], [[.9, .1]]))
    assert len(texts) == 11 and all("s and a day is a day" in text for text in texts)
    assert len(set(texts)) == 11 and texts[3] == "s and a day is a day so to speak"
    with pytest.raises(StopIteration) as end:
        search.send(np.where(np.arange(11)[:, None] == 3, [[.4, .6]], [[.9, .1]]))
    assert end.value.value == ["s and a day is a day so to speak"]
    search = word_attacks.distract(case(text="s"))
    next(search)
    search.send(np.array([[.9, .1]] * 12))
    with pytest.raises(StopIteration) as end:
        search.send(np.array([[.9, .1]] * 11))
    assert end.value.value is None


def test_typos_are_of_five_kinds():
    """Two inner letters change places, one is missing, a blank is put in, one is its neighbour on
    the keyboard, one looks alike; the first and the last letter stay, but for the last kind."""
    word = "illness"
    for seed in range(40):
        swapped, missing, blank, near, alike = word_attacks.typos(word, random.Random(seed))
        assert sorted(swapped) == sorted(word) and swapped != word
        assert [sum(a != b for a, b in zip(new, word)) for new in (swapped, near, alike)] == [
            2, 1, 1]
        assert len(missing) == 6 and blank.replace(" ", "") == word and len(blank) == 8
        assert any(word[:k] + word[k + 1:] == missing for k in range(1, 6))
        assert near.isalpha() and not alike.isalpha()
        for new in (swapped, missing, blank.strip(), near):
            assert new[0] == "i" and new[-1] == "s"


def test_a_text_is_asked_about_with_the_classes_of_its_own_row(world, tmp_path):
    """sst2 has two classes of three. In the second batch too, a search says which row it is of."""
    data = [{**row, "text": f"{'warm' if row['source'] == 'sst2' else 'dull'} text {n}"}
            for n, row in enumerate(invented(6))]
    ask = attacks.asker(adversarial, data, world / "tiny-2x32", 64, torch.device("cpu"), "float32")
    p = ask([row["text"] for row in data[1:4]], [1, 2, 3])
    assert ((p[:, 2] < 1e-6) == [False, True, False]).all()

    def noted(texts, numbers):
        assert all(data[number]["text"] in text for text, number in zip(texts, numbers))
        return np.array([[.4, .6] if data[n]["label"] else [.6, .4] for n in numbers])

    whole = SimpleNamespace(sentences=lambda row: {"text": row["text"]},
                            compose=lambda source, sentences: "".join(sentences))
    found = attacks.search("run", tmp_path / "parts", whole, data, noted, None, {
        "args": {"methods": ["distraction"], "batch_size": 4, "budget": .25, "seed": 0}})
    assert [entry["id"] for entry in found] == [row["id"] for row in data]


def test_accuracies_are_means_over_sources_and_a_row_falls_once():
    data = [{"source": source} for source in ("sst2", "sst2", "sst2", "mnli")]
    found = [{"right": True, "attacks": {"typos": [["x"], 3], "distraction": [["y"], 4]}},
             {"right": False, "attacks": {}},
             {"right": True, "attacks": {"typos": [None, 5], "distraction": [None, 6]}},
             {"right": True, "attacks": {"typos": [None, 7], "distraction": [["z"], 8]}}]
    value = {(m["slice"], m["metric"]): m["value"]
             for m in attacks.measure(data, found, ["typos", "distraction"])}
    expected = {"acc": (2 / 3 + 1) / 2, "ra_own": (1 / 3 + 0) / 2, "asr_own": 2 / 3,
                "queries": 33 / 3, "n": 4, "attacked": 3, "successful": 2, "failed": 1,
                "skipped": 1}
    assert {key: value["all", key] for key in expected} == pytest.approx(expected)
    assert value["attack:typos", "ra_own"] == pytest.approx((1 / 3 + 1) / 2)
    assert value["attack:typos", "queries"] == 15 / 3 and value["sst2", "asr_own"] == .5


def test_other_synonyms_in_a_file_of_the_same_name_are_other_settings(tmp_path):
    found = []
    (tmp_path / "test.jsonl").write_text("the rows")
    for word in ("mild", "cosy"):
        rows.write_json(tmp_path / "s.json", {"warm": [word]})
        found.append(attacks.settings(attacks.Text(
            task="ood", run=[], data=str(tmp_path / "test.jsonl"), synonyms=str(
                tmp_path / "s.json")))[1])
    assert found[0]["data"] == found[1]["data"] and found[0] != found[1]


def test_field_names_stay_and_a_text_of_another_form_is_left_out(done, home, tmp_path, attack):
    for record in found(done):
        if record["task"] == "mnli":
            assert re.fullmatch("premise: .+ hypothesis: .+", composed(record))
    here = copy(home, tmp_path, "one")
    data = rows.read(here / "test.jsonl")
    odd = {**data[1], "id": "odd", "text": data[1]["text"].replace("premise: ", "Text: ")}
    rows.write(here / "test.jsonl", [*data[:4], odd])
    code, out, err = attack(*argv(here, "--methods", "distraction"))
    assert code == 0 and "left out 1" in out, err
    assert read_json(here / "one" / "attack-text.json")["n"] == 4


@pytest.mark.parametrize("source", adversarial.LABELS)
def test_a_cut_text_is_put_together_again(source):
    sentences = [f"Some: {names[0]} , here ." for names in adversarial.PARTS[source]]
    row = {"source": source, "text": adversarial.compose(source, sentences)}
    assert list(adversarial.sentences(row).values()) == sentences
    assert adversarial.sentences({**row, "text": row["text"] + " "}) is None


def test_a_constant_classifier_cannot_be_flipped(home, tmp_path, attack):
    here = copy(home, tmp_path, "one")
    model = checkpoint.load(here / "one" / "model", head="class")
    torch.nn.init.zeros_(model.score.weight)
    checkpoint.save(model, here / "one" / "model", here / "one" / "model" / "tokenizer.json")
    code, out, err = attack(*argv(here, "--limit", 6))
    assert code == 0, err
    value = measured(here)
    assert value["all", "asr_own"] == 0 and value["all", "ra_own"] == value["all", "acc"] > 0
    assert (here / "one" / "attacks" / "test.jsonl").read_bytes() == b""


def test_two_runs_in_one_process_are_one_at_a_time_and_done_once(done, home, tmp_path, attack):
    here = copy(home, tmp_path, "one", "two")
    command = argv(here, "--synonyms", here / "synonyms.json", "--batch-size", 5,
                   run=("two", "one"))
    code, out, err = attack(*command)
    assert code == 0 and out.count("ra_own") == 2, err
    for name in ("attack-text.json", "attacks/test.jsonl"):
        assert (here / "one" / name).read_bytes() == (done / "one" / name).read_bytes()
        assert (here / "two" / name).read_bytes() != (done / "one" / name).read_bytes()
    code, out, err = attack(*command)
    assert code == 0 and out.count("attacked already") == 2, err
    code, _, err = attack(*command, "--budget", ".5", "--seed", 1)
    assert code == 1 and err.count("\n") == 1 and "(--budget, --seed)" in err
    assert not list(here.rglob(".text"))


DIES_IN_THE_THIRD_BATCH = """
import os, signal, sys
from w2s import config, rows
from w2s.attacks import text as attacks
write = rows.write

def dying(path, found):
    if path.name == "10.jsonl":
        path.with_name(".10.jsonl.part").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, found)
rows.write = dying
attacks.text(config.parse(attacks.Text, "", sys.argv[1:]))
"""


def test_a_killed_attack_goes_on_and_ends_with_the_same_bytes(done, home, tmp_path, attack,
                                                              monkeypatch):
    here = copy(home, tmp_path, "one")
    command = argv(here, "--synonyms", here / "synonyms.json", "--batch-size", 5)
    killed = subprocess.run([sys.executable, "-c", DIES_IN_THE_THIRD_BATCH, *command], cwd=ROOT,
                            env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert {p.name for p in (here / "one" / "attacks" / ".text").iterdir()} == {
        "settings.json", "0.jsonl", "5.jsonl", ".10.jsonl.part"}
    code, _, err = attack(*command, "--seed", 1)
    assert code == 1 and "(--seed); delete it" in err
    batches, real = [], word_attacks.attack
    monkeypatch.setattr(word_attacks, "attack", lambda *a: batches.append(a[0]) or real(*a))
    code, out, err = attack(*command)
    assert code == 0 and [len(cases) for cases in batches] == [5, 5, 4], err
    for name in ("attack-text.json", "attacks/test.jsonl"):
        assert (here / "one" / name).read_bytes() == (done / "one" / name).read_bytes()
    assert [p.name for p in (here / "one" / "attacks").iterdir()] == ["test.jsonl"]


def test_typos_are_close_and_synonyms_keep_the_case():
    for word in ("illness", "Garden", "is", "I", "état", "don't", "well-known"):
        for seed in range(20):
            for new in word_attacks.typos(word, random.Random(seed)):
                assert new != word and abs(len(new) - len(word)) <= 1
                assert sum(a != b for a, b in zip(new, word)) <= len(word) and new.strip() == new
    assert word_attacks.typos("ooo", random.Random(0)) and len(
        word_attacks.typos("illness", random.Random(0))) == 5
    table = {"good": ["fine", "Good", "nice"], "many": [str(i) for i in range(9)]}
    assert word_attacks.swaps("good", table) == ["fine", "nice"]
    assert word_attacks.swaps("Good", table) == ["Fine", "Nice"]
    assert word_attacks.swaps("GOOD", table) == ["FINE", "NICE"]
    assert word_attacks.swaps("bad", table) == [] and len(word_attacks.swaps("many", table)) == 5


def bad_synonyms(home, content):
    (home / "bad.json").write_text(content)
    return home / "bad.json"


@pytest.mark.parametrize("arguments, message", [
    (lambda h: ("--methods", "synonyms"), "needs --synonyms FILE"),
    (lambda h: ("--methods", "magic"), "--methods magic: choose from"),
    (lambda h: ("--methods", "typos", "--synonyms", h / "synonyms.json"), "means nothing without"),
    (lambda h: ("--budget", 0), "--budget 0: must be > 0"),
    (lambda h: ("--budget", 1.5), "--budget 1.5: must be <= 1"),
    (lambda h: ("--limit", 1), "--limit 1 is too small"),
    (lambda h: ("--out", h / "test.jsonl"), "would overwrite --data"),
    (lambda h: ("--data", h / "none.jsonl"), "none.jsonl: No such file"),
    (lambda h: ("--data", h / "synonyms.json"), "synonyms.json:1: not JSON"),
    (lambda h: ("--synonyms", bad_synonyms(h, "[1]")), "bad.json:1: expected an object"),
    (lambda h: ("--synonyms", bad_synonyms(h, '{\n"a" 1}')), "bad.json:2: not JSON"),
    (lambda h: ("--synonyms", bad_synonyms(h, '{"a": [1]}')), "'a' needs a list of words"),
    (lambda h: ("--task", "ood"), "a run of task 'adversarial'"),
    (lambda h: ("--out", h / "o.jsonl", "--run", h / "one", h / "two"), "of a single --run")])
def test_bad_input_is_one_line_and_leaves_nothing(home, attack, arguments, message):
    code, _, err = attack(*argv(home), *arguments(home))
    assert code == 1 and err.count("\n") == 1 and err.startswith("error: ") and message in err, err
    assert not list(home.rglob("attack*")) and not (home / "o.jsonl").exists()


def test_a_file_that_no_attack_made_is_not_overwritten(home, tmp_path, attack):
    here = copy(home, tmp_path, "one")
    (here / "thesis.jsonl").write_text("years")
    code, _, err = attack(*argv(here, "--out", here / "thesis.jsonl"))
    assert code == 1 and err == (f"error: --out {here / 'thesis.jsonl'}: is there already, and no "
                                 "attack made it; choose another\n")
    assert (here / "thesis.jsonl").read_text() == "years"
    assert {path.name for path in here.iterdir()} == {"one", "test.jsonl", "synonyms.json",
                                                      "thesis.jsonl"}
    assert not list(here.rglob("attack*"))


def test_texts_that_cannot_be_cut_are_no_data(home, tmp_path, attack):
    """A pair without the names of its two sentences, alone in its file."""
    here = copy(home, tmp_path, "one")
    rows.write(here / "test.jsonl", [row | {"text": "a garden"} for row in invented(6, 1000)
                                     if row["source"] == "mnli"])
    code, _, err = attack(*argv(here))
    assert code == 1 and err == (f"error: {here / 'test.jsonl'}:1: no row's text has the form of "
                                 "--task adversarial\n")
    assert not list(here.rglob("attack*"))


def test_a_language_model_has_no_class_to_flip(world, tmp_path, attack):
    rows.write(tmp_path / "mail.jsonl", [{"id": "a", "text": "the harbour is a garden"}])
    memorised.run(tmp_path / "run", world / "tiny-2x32", "train_weak.py", tmp_path / "mail.jsonl")
    code, _, err = attack("--task", "privacy", "--run", tmp_path / "run", "--data",
                          tmp_path / "mail.jsonl")
    assert code == 1 and err == ("error: --task privacy: has no classes; a text attack needs "
                                 "some\n")
    assert not list(tmp_path.rglob("attack*"))


def test_a_label_that_the_source_lacks_is_refused_with_its_line(home, tmp_path, attack):
    here = copy(home, tmp_path, "one")
    data = rows.read(here / "test.jsonl")
    rows.write(here / "test.jsonl", [data[1], {**data[0], "label": 2}])
    code, _, err = attack(*argv(here))
    assert code == 1 and "test.jsonl:2: 'label' is 2, but sst2 has only 2 classes" in err


def test_a_task_without_sentences_is_attacked_as_one_text(world, fair, tmp_path, attack):
    shutil.copytree(world / "tiny-2x32", tmp_path / "run" / "model")
    rows.write_json(tmp_path / "run" / "config.json", {
        "args": {"task": "fairness", "max_length": 128}, "inputs": {}})
    (tmp_path / "run" / "DONE").touch()
    code, out, err = attack("--task", "fairness", "--run", tmp_path / "run", "--limit", 4, "--data",
                            fair / "test.jsonl", "--out", tmp_path / "mine.jsonl")
    assert code == 0 and "ra_own" in out, err
    assert (tmp_path / "mine.jsonl").exists() and runs.read_config(tmp_path / "run")


def test_help_teaches_and_does_not_import_torch():
    program = ("import runpy, sys; sys.argv = ['attacks.py', 'text', '--help']\n"
               "try: runpy.run_path('attacks.py', run_name='__main__')\n"
               "except SystemExit: assert 'torch' not in sys.modules")
    shown, wrong = (subprocess.run([sys.executable, *command], cwd=ROOT, text=True,
                                   capture_output=True)
                    for command in (("-c", program), ("attacks.py", "txt")))
    assert shown.returncode == 0 and "python attacks.py text --task" in shown.stdout, shown.stderr
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: expected extraction or ")
    assert "or text, got 'txt'" in wrong.stderr


def test_synonyms_of_words_that_differ_in_case_are_all_kept(tmp_path):
    rows.write_json(tmp_path / "s.json", {"warm": ["mild", "hot"], "WARM": ["hot", "cosy"],
                                          "dull": ["dim"], "Warm": []})
    found = attacks.read_synonyms(tmp_path / "s.json")
    assert found == {"warm": ["mild", "hot", "cosy"], "dull": ["dim"]}
