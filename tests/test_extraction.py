"""Extraction from models that know some mails by heart.

    python -m pytest -q tests/test_extraction.py
"""

import math
import random
import re
import shutil

import numpy as np
import pytest
import torch

from tests import memorised
from tests.conftest import read_json
from tests.memorised import fresh, home  # noqa: F401  (fixtures)
from w2s import config, lm, pythia, rows, text
from w2s.attacks import exposure, extraction, target

WINDOWS = ("--prefix", 12, "--suffix", 12, "--seen", 24, "--candidates", 50)


@pytest.fixture
def attack(capsys):
    """attack(home, [runs], *more) -> (exit code, stdout, stderr) of `attacks.py extraction`."""
    def attack(home, names, *more, data=("weak", "wts", "test")):
        code = 0
        try:
            config.launch(extraction.extraction, extraction.Extraction, extraction.__doc__,
                          memorised.argv(home, names, *WINDOWS, *more, data=data))
        except SystemExit as exit:
            code = exit.code or 0
        return (code, *capsys.readouterr())
    return attack


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
    model = pythia.load(done / "knows" / "model", "lm")
    data = [r for name in ("weak", "wts", "test") for r in rows.read(done / f"{name}.jsonl")]
    assert list(lines) == [row["id"] for row in data]
    tokenizer = text.load_tokenizer(done / "knows" / "model")
    for row, ids in list(zip(data, text.tokenize(tokenizer, [r["text"] for r in data], 48)))[::4]:
        assert lines[row["id"]]["member"] == (row["split"] == "weak")
        for name, (a, b) in {"": (0, 12), "_unseen": (12, 24), "_at_6": (6, 12),
                             "_continuation": (0, 24)}.items():
            prompt = torch.from_numpy(ids[None, a:b]).long()
            new = pythia.generate(model, prompt, torch.tensor([b - a]), 12)[0].numpy()
            hit = new == ids[b:b + 12]
            hit[np.cumsum(new == lm.END) > 0] = False
            assert lines[row["id"]][f"extraction{name}"] == hit.mean()
    value = measured(done / "knows")
    assert value["all", "extraction"] == pytest.approx(
        np.mean([row["extraction"] for row in lines.values() if row["member"]]))


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
    assert len(set(exposure.candidates("77", 98, draw))) == 98


def test_the_tree_of_tails_gives_the_log_probability_of_whole_sequences(home):
    model = pythia.load(home / "knows" / "model", "lm")
    context, tails = [5, 9, 300, 17], [[7, 8, 9], [7], [400, 2], [7, 8, 2, 1]]
    whole = lm.token_scores(model, [np.array(context + tail) for tail in tails], title="")
    expected = [row["logp"][3:].sum() for row in whole]
    np.testing.assert_allclose(exposure.log_probability(model, context, tails), expected, rtol=1e-5)


def test_the_exposure_of_a_secret_is_its_rank_among_whole_texts(home, done):
    """Carlini et al. rank the log-probability of the whole sequence up to the secret's end."""
    run, (row,) = home / "base", rows.read(home / "weak.jsonl")[:1]
    model, tokenizer = pythia.load(run / "model", "lm"), text.load_tokenizer(run / "model")
    start, end = row["secrets"][0]
    others = exposure.candidates(row["text"][start:end], 50, random.Random(f"0/{row['id']}/0"))
    texts = [row["text"][:start] + s for s in (row["text"][start:end], *others)]
    logp = [s["logp"].sum(dtype=float) for s in lm.token_scores(
        model, text.tokenize(tokenizer, texts, 99), title="")]
    line = rows.read(run / "attacks" / "extraction.jsonl")[0]
    rank = 1 + sum(np.array(logp[1:]) > logp[0])
    assert line["exposure"] == pytest.approx(math.log2(51 / rank))


def test_short_rows_are_left_out_of_a_window_and_counted(fresh, attack):
    data = rows.read(fresh / "test.jsonl")
    for row, words in zip(data[:3], (3, 5, 6)):
        row |= {"text": " ".join(row["text"].split()[:words]), "secrets": []}
    rows.write(fresh / "test.jsonl", data)
    ids = text.tokenize(text.load_tokenizer(fresh / "tiny"), [row["text"] for row in data], 48)
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
    model = pythia.load(home / "tiny", "lm")
    with torch.no_grad():
        model.gpt_neox.final_layer_norm.weight.zero_()
        model.gpt_neox.final_layer_norm.bias.fill_(1)
        model.embed_out.weight.zero_()
        model.embed_out.weight[lm.END] = 1
    cfg = extraction.Extraction(task="privacy", run=[], data=[], suffix=4)
    true = [np.array([lm.END] * 4), np.array([3, 4, 5, 6])]
    written, hit = extraction.write(model, [np.array([7, 8]), np.array([9])], true, cfg, "")
    assert [len(row) for row in written] == [0, 0] and hit is None


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
