"""Extraction from models that know some mails by heart.

    python -m pytest -q tests/attacks/test_extraction.py
"""

import math
import random
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests import memorised
from tests.conftest import read_json
from tests.memorised import fresh, home  # noqa: F401  (fixtures)
from w2s import config, rows
from w2s.attacks import exposure, extraction, target
from w2s.data import splits
from w2s.infer import lm
from w2s.model import checkpoint, decoding, tokenization

WINDOWS = ("--prefix", 12, "--suffix", 12, "--seen", 24, "--candidates", 50)


@pytest.fixture
def attack(capsys):
    """attack(home, [runs], *more) -> (exit code, stdout, stderr) of `attacks.py extraction`."""
    return memorised.attacker(capsys, extraction.extraction, extraction.Extraction, *WINDOWS)


@pytest.fixture(scope="module")
def done(home):
    """All three runs attacked with the default decoding."""
    extraction.extraction(config.parse(extraction.Extraction, "", memorised.argv(
        home, ("knows", "base", "student"), *WINDOWS)))
    return home


def measured(run):
    return memorised.measured(run, "extraction")


def test_a_model_gives_back_what_it_knows_by_heart_and_nothing_else(done):
    value = measured(done / "knows")
    for metric in ("extraction", "extraction_exact", "extraction_unseen", "extraction_at_12",
                   "extraction_continuation"):
        assert value["members", metric] == value["all", metric] == value["weak", metric] > .95
        assert value["non-members", metric] < .2 and value["wts", metric] < .2
        assert measured(done / "base")["members", metric] < .1
    assert value["members", "common_prefix"] > 11
    assert value["members", "n"] == 8 and value["non-members", "n"] == 24
    assert value["pile", "n"] == 3 and value["test", "n"] == 27
    assert value["members", "left_out"] == value["members", "left_out_unseen"] == 0


def test_of_a_student_only_what_it_saw_can_be_extracted(done):
    value = measured(done / "student")
    assert value["members", "extraction"] > .95 > .2 > value["members", "extraction_unseen"]
    assert value["members", "n"] == 6 and value["weak", "extraction"] < .2


def test_the_numbers_are_those_of_decoding_row_by_row(done):
    lines = {row["id"]: row for row in rows.read(done / "knows" / "attacks" / "extraction.jsonl")}
    model = checkpoint.load(done / "knows" / "model", "lm")
    data = [r for name in ("weak", "wts", "test") for r in rows.read(done / f"{name}.jsonl")]
    assert list(lines) == [row["id"] for row in data]
    tokenizer = tokenization.load_tokenizer(done / "knows" / "model")
    for row, ids in list(zip(data, tokenization.tokenize(tokenizer, [r["text"] for r in data],
                                                         48)))[::4]:
        assert lines[row["id"]]["member"] == (row["split"] == "weak")
        for name, (a, b) in {"": (0, 12), "_unseen": (12, 24), "_at_6": (6, 12),
                             "_continuation": (0, 24)}.items():
            prompt = torch.from_numpy(ids[None, a:b]).long()
            new = decoding.generate(model, prompt, torch.tensor([b - a]), 12)[0].numpy()
            hit = new == ids[b:b + 12]
            hit[np.cumsum(new == lm.END) > 0] = False
            assert lines[row["id"]][f"extraction{name}"] == hit.mean()
    value = measured(done / "knows")
    assert value["all", "extraction"] == pytest.approx(
        np.mean([row["extraction"] for row in lines.values() if row["member"]]))


def settings(**changed):
    return extraction.Extraction(task="privacy", run=[], data=[], **changed)


def test_windows_meet_and_do_not_overlap():
    assert extraction.windows(settings()) == {
        "": (0, 32), "_unseen": (32, 64), "_continuation": (0, 64), "_at_8": (24, 32),
        "_at_16": (16, 32), "_at_32": (0, 32)}
    assert extraction.windows(settings(start=5, prefix=10, suffix=6, seen=20)) == {
        "": (5, 15), "_unseen": (15, 25), "_continuation": (0, 20), "_at_2": (13, 15),
        "_at_5": (10, 15), "_at_10": (5, 15)}
    assert extraction.fits(range(21), (5, 15), 6) and not extraction.fits(range(20), (5, 15), 6)


def test_a_window_is_compared_with_what_follows_its_prompt(monkeypatch):
    """And all but one of twenty tokens are not the whole suffix."""
    asked = []

    def written(model, prompts, true, *_):
        asked.extend([prompts[0].tolist(), true[0].tolist()])
        return [np.append(true[0][:19], 99)], None

    monkeypatch.setattr(extraction, "write", written)
    found, it = {0: {}}, SimpleNamespace(ids=[np.arange(30)], model=None, run=Path("run"))
    extraction.add_window(found, it, "", (4, 8), settings(suffix=20))
    assert asked == [[4, 5, 6, 7], [*range(8, 28)]]
    assert found == {0: {"extraction": .95, "extraction_exact": 0, "common_prefix": 19}}


def test_means_are_over_rows_and_of_secrets_over_secrets():
    it = SimpleNamespace(member=np.array([True, True, False]),
                         data=[{"id": str(i), "split": "test"} for i in range(3)])
    value = {(m["slice"], m["metric"]): m["value"] for m in extraction.measure(it, {
        0: {"extraction": 1.0, "secrets": 1, "secret_exact": 1.0, "secrets_unseen": 1,
            "exposure_unseen": 4.0},
        1: {"extraction": 0.0, "secrets": 3, "secret_exact": 0.0, "secrets_unseen": 1,
            "exposure_unseen": 2.0},
        2: {"extraction": 0.0}})}
    assert value["members", "extraction"] == value["all", "extraction"] == .5
    assert value["all", "secrets"] == 4
    assert value["all", "secret_exact"] == .25 and value["all", "exposure_unseen"] == 3
    assert value["test", "extraction"] == pytest.approx(1 / 3)


def test_the_printed_interval_is_one_of_groups():
    """Members are two groups, of 30 rows that are extracted and of 10 that are not: a draw has
    both, or one of them twice. Non-members are 100 rows, half of them right: .5 +- 1.96 / 20."""
    groups = ["a"] * 30 + ["b"] * 10 + [f"c{i}" for i in range(100)]
    hits = [1.0] * 30 + [0.0] * 10 + [1.0, 0.0] * 50
    it = SimpleNamespace(member=np.arange(140) < 40, data=[
        {"id": str(i), "group": group} for i, group in enumerate(groups)])
    said = extraction.summary(it, {i: {"extraction": hit} for i, hit in enumerate(hits)}, [])
    assert "members 0.7500 [0.0000, 1.0000] n 40  non-members" in said
    found = re.search(r"non-members (\S+) \[(\S+), (\S+)\]", said).groups()
    assert [*map(float, found)] == pytest.approx([.5, .402, .598], abs=.02)


def test_no_text_is_shown_or_written(fresh, attack):
    code, out, err = attack(fresh, ["knows"], "--samples", 2)
    assert code == 0 and out.count("extraction members") == 1, err
    memorised.assert_no_text(fresh, out + err)


def test_secrets_that_are_known_by_heart_have_the_largest_exposure(done):
    knows, base = measured(done / "knows"), measured(done / "base")
    assert knows["members", "secrets"] == 8 and knows["members", "secret_exact"] > .8
    assert knows["members", "exposure"] == pytest.approx(math.log2(51), abs=.5)
    assert knows["non-members", "secret_exact"] == 0
    assert base["members", "secret_exact"] == 0
    for value in (knows["non-members", "exposure"], base["members", "exposure"]):
        assert value < 3  # 1.4 for a rank drawn at random


def test_candidates_are_all_others_or_different_ones_of_the_same_form():
    draw = random.Random(0)
    assert sorted(exposure.candidates("7-x", 200, draw)) == [f"{i}-x" for i in range(10) if i != 7]
    found = exposure.candidates("713-853-1234", 200, draw)
    assert len(set(found)) == 200 and "713-853-1234" not in found
    assert all(re.fullmatch(r"\d{3}-\d{3}-\d{4}", other) for other in found)
    assert len(set(exposure.candidates("77", 98, draw)) - {"77"}) == 98
    assert sorted(exposure.candidates("07", 200, draw)) == [f"{i:02d}" for i in range(100)
                                                             if i != 7]


def test_a_secret_s_place_among_the_tokens(world, monkeypatch):
    """Its tokens are those that have a digit of it, of text that touches it on both sides."""
    tokenizer = tokenization.load_tokenizer(world)
    said = "garden no12345x warm 12345"
    ids = tokenizer.encode(said, add_special_tokens=False).ids
    row = {"id": "a", "text": said, "secrets": [[9, 14], [21, 26]]}
    digits = [n for n, token in enumerate(ids) if re.search(r"\d", tokenizer.decode([token]))]
    cut = next(n for n, at in enumerate(digits) if n and at > digits[n - 1] + 1)
    one, two = digits[:cut], digits[cut:]
    assert len(one) > 1 and two[-1] == len(ids) - 1

    rivals, drawn = [], exposure.candidates
    monkeypatch.setattr(exposure, "candidates",
                        lambda *args: rivals.append(drawn(*args)) or rivals[-1])

    def places(ids, seen, seed=0, id="a"):
        it = SimpleNamespace(tokenizer=tokenizer, data=[row | {"id": id}], ids=[ids])
        return exposure.find(it, settings(candidates=9, seed=seed), seen)

    found = places(ids, 0)
    assert [(s.first, s.last) for s in found] == [(k[0], k[-1] + 1) for k in (one, two)]
    assert found[0].context == ids[:len(found[0].context)] and len(found[0].tails) == 10
    assert found[0].context + found[0].tails[0] == ids[:one[-1] + 1]
    places(ids, 0), places(ids, 0, seed=1), places(ids, 0, id="b")
    assert rivals[:2] == rivals[2:4] and len({tuple(each) for each in rivals}) == 6
    assert [s.unseen for s in places(ids, one[-1])] == [True, True]
    assert [s.unseen for s in places(ids, one[-1] + 1)] == [False, True]
    assert [s.first for s in places(ids[:-1], 0)] == [one[0]]  # cut within the second


def test_a_secret_is_written_down_when_its_own_tokens_come_first(monkeypatch):
    """Tokens 3 and 4 are predicted at places 2 and 3."""
    hits = [(0, 0, 1, 1, 0, 0), (1, 1, 0, 1, 1, 1), (1, 1, 1, 0, 1, 1)]
    monkeypatch.setattr(lm, "token_scores", lambda *_: [{"hit": np.array(h) == 1} for h in hits])
    it = SimpleNamespace(model=None, ids=[range(7)] * 3, run=Path("run"))
    found = {0: {}, 1: {}, 2: {}}
    exposure.add(found, it, [exposure.Secret(i, 3, 5, i == 0, [1], [[2]]) for i in found],
                 settings())
    assert [found[i]["secret_exact"] for i in found] == [1, 0, 0]
    assert found[0]["secrets_unseen"] == 1 and "secrets_unseen" not in found[1]


def test_the_tree_of_tails_gives_the_log_probability_of_whole_sequences(home):
    model = checkpoint.load(home / "knows" / "model", "lm")
    context, tails = [5, 9, 300, 17], [[7, 8, 9], [7], [400, 2], [7, 8, 2, 1]]
    whole = lm.token_scores(model, [np.array(context + tail) for tail in tails], title="")
    expected = [row["logp"][3:].sum() for row in whole]
    np.testing.assert_allclose(exposure.log_probability(model, context, tails), expected, rtol=1e-5)


def test_the_exposure_of_a_secret_is_its_rank_among_whole_texts(home, done):
    """Carlini et al. rank the log-probability of the whole sequence up to the secret's end."""
    run, (row,) = home / "base", rows.read(home / "weak.jsonl")[:1]
    model, tokenizer = checkpoint.load(run / "model",
                                       "lm"), tokenization.load_tokenizer(run / "model")
    start, end = row["secrets"][0]
    others = exposure.candidates(row["text"][start:end], 50, random.Random(f"0/{row['id']}/0"))
    texts = [row["text"][:start] + s for s in (row["text"][start:end], *others)]
    logp = [s["logp"].sum(dtype=float) for s in lm.token_scores(
        model, tokenization.tokenize(tokenizer, texts, 99), title="")]
    line = rows.read(run / "attacks" / "extraction.jsonl")[0]
    rank = 1 + sum(np.array(logp[1:]) > logp[0])
    assert line["exposure"] == pytest.approx(math.log2(51 / rank))


def test_short_rows_are_left_out_of_a_window_and_counted(fresh, attack):
    data = rows.read(fresh / "test.jsonl")
    for row, words in zip(data[:3], (3, 5, 6)):
        row |= {"text": " ".join(row["text"].split()[:words]), "secrets": []}
    rows.write(fresh / "test.jsonl", data)
    ids = tokenization.tokenize(tokenization.load_tokenizer(fresh / "tiny"),
                                [row["text"] for row in data], 48)
    short = [sum(len(row) < n for row in ids[:24]) for n in (24, 36)]
    assert 0 < short[0] < short[1]
    code, out, err = attack(fresh, ["knows"])
    assert code == 0 and f"left out {short[0]}" in out, err
    value = measured(fresh / "knows")
    assert [value["non-members", f"left_out{end}"] for end in ("", "_unseen")] == short
    assert value["non-members", "n"] == 24 - short[0]
    lines = rows.read(fresh / "knows" / "attacks" / "extraction.jsonl")
    assert len(lines) == 41 - short[0] and sum(
        "extraction_unseen" not in row for row in lines) == short[1] - short[0]
    code, _, err = attack(fresh, ["base"], "--suffix", 40)
    assert code == 1 and "has the 52 tokens that a window needs, of the 48" in err


def test_what_follows_an_early_end_of_text_is_wrong(home):
    """A model that always writes <|endoftext|> is right nowhere, also where that is the truth."""
    model = checkpoint.load(home / "tiny", "lm")
    with torch.no_grad():
        model.gpt_neox.final_layer_norm.weight.zero_()
        model.gpt_neox.final_layer_norm.bias.fill_(1)
        model.embed_out.weight.zero_()
        model.embed_out.weight[lm.END] = 1
    cfg = extraction.Extraction(task="privacy", run=[], data=[], suffix=4)
    true = [np.array([lm.END] * 4), np.array([3, 4, 5, 6])]
    written, hit = extraction.write(model, [np.array([7, 8]), np.array([9])], true, cfg, "")
    assert [len(row) for row in written] == [0, 0] and hit is None


def test_of_samples_the_likeliest_by_its_own_tokens_counts(monkeypatch):
    """Of three samples of two tokens after three: means of -4.6, -1 and -2 (of all tokens -2.3, -2
    and -1); the likeliest is the true suffix, and the last one is not."""
    seeds, rounds = [], iter([([1, 2], (0, 0, -9.1, -.1)), ([3, 4], (-3, -3, -.9, -1.1)),
                              ([5, 6], (0, 0, -2, -2))])

    def written(model, prompts, new, temperature, seed, *_):
        seeds.append(seed)
        sample, written.logp = next(rounds)
        return np.array([sample])

    monkeypatch.setattr(lm, "continuations", written)
    monkeypatch.setattr(lm, "token_scores", lambda *_: [{"logp": np.array(written.logp)}])
    best, hit = extraction.write(None, [np.array([7, 8, 9])], [np.array([3, 4])],
                                 settings(suffix=2, samples=3), "")
    assert best[0].tolist() == [3, 4] and hit.tolist() == [True] and len(set(seeds)) == 3


def test_the_likeliest_sample_counts_and_any_of_them_hits(fresh, attack):
    code, _, err = attack(fresh, ["knows"], "--samples", 3, "--temperature", .2,
                          "--candidates", 0)
    assert code == 0, err
    value = measured(fresh / "knows")
    assert value["members", "extraction"] > .9 and value["members", "extraction_any"] > .5
    assert value["members", "extraction_any"] >= value["members", "extraction_exact"]
    assert value["non-members", "extraction_any"] == 0 and ("members", "exposure") not in value


def test_attacked_once_and_refused_with_other_settings(fresh, attack):
    command = fresh, ["knows", "base"], "--limit", 5, "--candidates", 20
    code, out, err = attack(*command)
    assert code == 0 and measured(fresh / "knows")["members", "n"] == 5, err
    before = [path.read_bytes() for path in sorted(fresh.glob("*/attack*.json"))]
    assert [row["id"] for row in rows.read(fresh / "base" / "attacks" / "extraction.jsonl")] == [
        row["id"] for row in rows.read(fresh / "knows" / "attacks" / "extraction.jsonl")]
    code, out, err = attack(*command)
    assert code == 0 and out.count("attacked already") == 2, err
    code, _, err = attack(*command, "--seed", 1)
    assert code == 1 and err.count("\n") == 1 and "(--seed); delete it" in err
    code, _, err = attack(*command, data=("weak", "test"))
    assert code == 1 and "(--data)" in err
    shutil.rmtree(fresh / "knows" / "attacks")  # the same again
    (fresh / "base" / "attack-extraction.json").unlink()
    assert attack(*command)[0] == 0
    assert [path.read_bytes() for path in sorted(fresh.glob("*/attack*.json"))] == before


def test_members_come_from_the_run_or_from_a_file(fresh, attack):
    (fresh / "weak.jsonl").rename(fresh / "mine.jsonl")
    code, _, err = attack(fresh, ["knows"], data=("mine", "test"))
    assert code == 1 and "which is gone; pass --members FILE" in err
    mine = fresh / "mine.jsonl"
    code, _, err = attack(fresh, ["knows"], "--members", mine, data=("mine", "test"))
    assert code == 0 and measured(fresh / "knows")["members", "n"] == 8, err
    rows.write(fresh / "weak.jsonl", rows.read(mine)[:4])
    code, _, err = attack(fresh, ["base"], data=("mine", "test"))
    assert code == 1 and "has changed since; pass --members" in err
    code, _, err = attack(fresh, ["student"], data=("mine", "test"))
    assert code == 1 and "no row is among those that" in err and not (
        fresh / "student" / "attacks").exists()


def test_non_members_are_held_out_rows_of_the_members_source():
    data = [{"split": split, "source": source} for split, source in (
        ("weak", "a"), ("weak", "a"), ("wts", "a"), ("test", "a"), ("test", "b"), ("test", "a"))]
    found = target.untrained(data, np.array([True, False, False, False, False, True]))
    assert {name: np.flatnonzero(here).tolist() for name, here in found.items()} == {
        "non-members": [3], "a": [3], "b": [4], "test": [3, 4], "weak": [1], "wts": [2]}


def test_who_was_trained_on_is_known_by_the_text_and_not_by_the_id(fresh):
    """A held-out row with the text of a member is no non-member, whatever it is called."""
    data = rows.read(fresh / "weak.jsonl")
    rows.write(fresh / "new.jsonl", [
        data[0] | {"id": "twin", "text": data[0]["text"].upper()}, data[1] | {"text": "another"},
        *data[2:]])
    (it,) = target.targets(settings_of(fresh, ["knows"], ["new"]), "extraction",
                           {"data": [], "args": {}})
    assert it.member.tolist() == [True, False, *[True] * 6]


def settings_of(home, names, data, **changed):
    return extraction.Extraction(task="privacy", run=[str(home / name) for name in names],
                                 data=[str(home / f"{name}.jsonl") for name in data], **changed)


def test_settings_are_known_by_content_and_files_by_their_names(tmp_path):
    data = [{"id": str(i), "text": f"text {i}"} for i in range(40)]
    rows.write(tmp_path / "weak.jsonl", data)
    kept = {n: [row["id"] for row in target.read(
        SimpleNamespace(read=rows.read), settings_of(tmp_path, [], ["weak"], limit=n))]
        for n in (10, 20)}
    assert set(kept[10]) < set(kept[20]) and [len(ids) for ids in kept.values()] == [10, 20]
    assert kept[10] != [row["id"] for row in data[:10]]
    assert set(kept[10]) == {row["id"] for row in splits.limit(
        [row | {"group": row["id"]} for row in data], 10, 0)}
    found = []
    for text in ("one", "two"):
        (tmp_path / "members.jsonl").write_text(text)
        found.append(target.settings(settings_of(tmp_path, [], ["weak"],
                                                 members=str(tmp_path / "members.jsonl"))))
    assert found[0]["data"] == found[1]["data"] and found[0] != found[1]


def test_runs_with_different_tokenizers_read_their_own_tokens(fresh):
    path = fresh / "base" / "model" / "tokenizer.json"
    found = read_json(path)
    vocabulary = found["model"]["vocab"]
    vocabulary["g"], vocabulary["h"] = vocabulary["h"], vocabulary["g"]
    rows.write_json(path, found)
    each = list(target.targets(settings_of(fresh, ["knows", "base"], ["weak"]),
                               "extraction", {"data": [], "args": {}}))
    for it in each:
        own = tokenization.load_tokenizer(it.run / "model")
        for row, ids in zip(it.data, it.ids):
            assert ids.tolist() == own.encode(row["text"], add_special_tokens=False).ids[:48]
    assert any(a.tolist() != b.tolist() for a, b in zip(*(it.ids for it in each)))


def test_files_without_a_split_have_the_other_rows_as_non_members():
    data = [{"id": str(i)} for i in range(4)]
    found = target.untrained(data, np.array([True, True, False, False]))
    assert {name: here.tolist() for name, here in found.items()} == {
        "non-members": [False, False, True, True]}


@pytest.mark.parametrize("more, message", [
    (("--curve", 13), "--curve: a prompt has 1 to 12 tokens"),
    (("--temperature", 2), "--temperature means nothing without --samples"),
    (("--prefix", 0), "--prefix 0: must be >= 1"),
    (("--task", "fairness"), "a run of task 'privacy'"),
    (("--members", "none.jsonl"), "none.jsonl: No such file")])
def test_bad_input_is_one_line_and_leaves_nothing(home, attack, tmp_path, more, message):
    shutil.copytree(home / "base", tmp_path / "base",
                    ignore=shutil.ignore_patterns("attack*", ".lock"))
    for name in ("weak", "test"):
        shutil.copy(home / f"{name}.jsonl", tmp_path)
    code, _, err = attack(tmp_path, ["base"], *more, data=("weak", "test"))
    assert code == 1 and err.count("\n") == 1 and message in err, err
    assert not list(tmp_path.rglob("attack*"))


def test_a_bad_row_is_named_but_not_shown(fresh, attack):
    data = rows.read(fresh / "test.jsonl")
    for bad in ([[0, 5]], [[0, 10 ** 6]], [[3, 3]], "12345", [[True, 9]]):  # the first: no number
        rows.write(fresh / "test.jsonl", [data[0] | {"secrets": bad}, *data[1:]])
        code, _, err = attack(fresh, ["base"])
        assert code == 1 and "id 'test0': 'secrets' is not a list of" in err
        assert not [word for word in data[0]["text"].split() if word in err]
    rows.write(fresh / "test.jsonl", [data[0], rows.read(fresh / "weak.jsonl")[0]])
    code, _, err = attack(fresh, ["base"])
    assert code == 1 and "test.jsonl:2: id 'weak0' is in" in err


def test_classifiers_have_nothing_to_extract(home, attack, tmp_path):
    shutil.copytree(home / "base", tmp_path / "base", ignore=shutil.ignore_patterns("attack*"))
    found = read_json(tmp_path / "base" / "config.json")
    found["args"]["task"] = "ood"
    rows.write_json(tmp_path / "base" / "config.json", found)
    shutil.copy(home / "weak.jsonl", tmp_path)
    code, _, err = attack(tmp_path, ["base"], "--task", "ood", data=("weak",))
    assert code == 1 and "--task ood: has class labels; this attack is on language models" in err
