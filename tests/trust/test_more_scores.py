"""A threshold on trust; agreement of a teacher with itself and with another; scores of one's own.

    python -m pytest -q tests/trust/test_more_scores.py
"""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import train_ntf
from tests.conftest import read_json
from tests.trust.test_train_ntf import (TRUST, WTS, choose, contents, fresh, home, label,  # noqa
                                        labelled)
from w2s import metrics, rows
from w2s.infer import choice, generation
from w2s.model import checkpoint, tokenization
from w2s.tasks import arithmetic, mcqa
from w2s.trust import agreement, selection


def trusts(run):
    return [row["trust"] for row in rows.read(run / "trust.jsonl")]


def refused(call, tmp_path, command, *messages):
    """The command ends in one line with these words and leaves nothing."""
    code, _, err = call(*command)
    assert code == 1 and err.startswith("error: ") and err.count("\n") == 1, err
    assert all(message in err for message in messages), err
    assert not (tmp_path / "run").exists()


# ---- a threshold ---------------------------------------------------------------------------------

def test_a_threshold_keeps_those_that_reach_it_and_of_them_the_most_trusted():
    score = [.2, .9, .5, .9, .5, .1]
    assert selection.pick(score, 6, None, .5).tolist() == [1, 2, 3, 4]
    assert selection.pick(score, 3, None, .5).tolist() == [1, 2, 3]
    assert selection.pick(score, 6, None, .90000001).tolist() == []
    classes = ["a", "a", "a", "a", "b", "b"]
    assert selection.pick([.9, .8, .7, .6, .5, .4], 6, classes, .5).tolist() == [0, 1, 2, 3, 4]
    assert selection.pick([.9, .8, .7, .6, .5, .4], 3, classes, .5).tolist() == [0, 1, 4]


def test_labels_that_reach_min_trust_are_kept_and_of_them_at_most_keep(labelled, call, tmp_path):
    p = [max(row["weak"]) for row in rows.read(labelled / "mcqa" / WTS)]
    least = sorted(p)[-60]  # met by the 60 most certain
    for name, more, n in (("all", (), 60), ("few", ("--keep", 7), 7), ("many", ("--keep", .9), 60)):
        code, out, err = call(*choose(labelled, tmp_path / name, "--min-trust", least, *more,
                                      select="confidence"))
        assert code == 0 and f"keeps {n} of 90 labels" in out, err
        kept = {row["id"] for row in rows.read(tmp_path / name / WTS)}
        assert kept == {f"wts{i}" for i in np.argsort(-np.array(p), kind="stable")[:n]}
        assert read_json(tmp_path / name / "trust.json")["kept"] == n
        assert read_json(tmp_path / name / "config.json")["kept"] == n


def test_without_the_new_flags_half_is_kept_and_the_arguments_are_those_from_before(
        labelled, call, tmp_path):
    assert call(*choose(labelled, tmp_path / "a", select="confidence"))[0] == 0
    args = read_json(tmp_path / "a" / "config.json")["args"]
    assert args["keep"] == .5 and len(rows.read(tmp_path / "a" / WTS)) == 45
    new = {"min_trust", "samples", "temperature", "second", "scores", "name"}
    assert not any(args[name] for name in new)
    rows.write_json(tmp_path / "a" / "config.json", {  # as an earlier version wrote it
        **read_json(tmp_path / "a" / "config.json"),
        "args": {key: value for key, value in args.items() if key not in new}})
    for more in ((), ("--keep", .5)):
        code, out, err = call(*choose(labelled, tmp_path / "a", *more, select="confidence"))
        assert code == 0 and "done already" in out, err


def test_a_threshold_that_no_label_reaches_names_the_largest_trust(labelled, call, tmp_path):
    largest = max(max(row["weak"]) for row in rows.read(labelled / "mcqa" / WTS))
    refused(call, tmp_path, choose(labelled, tmp_path / "run", "--min-trust", 1,
                                   select="confidence"),
            f"--min-trust 1: no label reaches it, the largest trust is {largest}")


@pytest.mark.parametrize("select, value, message", [
    ("margin", .5, "--min-trust 0.5: --select margin gives no probability; leave it out"),
    ("entropy", .5, "--select entropy gives no probability"),
    ("random", .5, "--select random gives no probability"),
    ("truth", .5, "--min-trust has no effect with --select truth"),
    ("all", .5, "--min-trust has no effect with --select all"),
    ("ntf", 0, "--min-trust 0: must be > 0"), ("ntf", 1.5, "--min-trust 1.5: must be <= 1")])
def test_a_threshold_is_for_probabilities(labelled, call, tmp_path, select, value, message):
    refused(call, tmp_path, choose(labelled, tmp_path / "run", "--min-trust", value, select=select),
            message)


# ---- scores of one's own -------------------------------------------------------------------------

def own(home, path, score=lambda i: i % 7 / 7, change=lambda found: found):
    """A file of scores for the pool, last row first."""
    pool = rows.read(home / "mcqa" / WTS)
    rows.write(path, change([{"id": row["id"], "score": score(i), "note": "mine"}
                             for i, row in enumerate(pool)][::-1]))
    return "--scores", path, "--name", "mine"


def test_scores_of_a_file_choose_and_are_measured_under_their_name(labelled, call, tmp_path):
    mine = own(labelled, tmp_path / "s.jsonl")
    code, out, err = call(*choose(labelled, tmp_path / "run", *mine, "--keep", .2, select="file"))
    assert code == 0 and "mine keeps 18 of 90 labels" in out, err
    score = np.arange(90) % 7 / 7
    assert trusts(tmp_path / "run") == score.tolist()
    kept = rows.read(tmp_path / "run" / WTS)
    assert [row["id"] for row in kept] == [
        f"wts{i}" for i in sorted(np.argsort(-score, kind="stable")[:18])]
    assert {row["selection"] for row in kept} == {"mine"}
    about = read_json(tmp_path / "run" / "trust.json")
    assert (about["select"], about["name"]) == ("file", "mine")
    right = [row["right"] for row in rows.read(tmp_path / "run" / "trust.jsonl")]
    found = {m["metric"]: m["value"] for m in about["metrics"] if m["slice"] == "all"}
    assert found["auc"] == pytest.approx(metrics.auc(score, right)) and "ece" in found
    assert read_json(tmp_path / "run" / "config.json")["inputs"].keys() >= {
        str(tmp_path / "s.jsonl")}
    # the same scores in another place are the same choice, others are not
    shutil.move(tmp_path / "s.jsonl", tmp_path / "t.jsonl")
    command = choose(labelled, tmp_path / "run", "--scores", tmp_path / "t.jsonl", "--name", "mine",
                     "--keep", .2, select="file")
    assert "done already" in call(*command)[1]
    own(labelled, tmp_path / "t.jsonl", lambda i: i)
    assert "content of" in call(*command)[2]


def test_scores_beyond_1_are_no_probabilities(labelled, call, tmp_path):
    mine = own(labelled, tmp_path / "s.jsonl", lambda i: i - 40)
    assert call(*choose(labelled, tmp_path / "a", *mine, select="file"))[0] == 0
    assert "ece" not in {m["metric"] for m in read_json(tmp_path / "a" / "trust.json")["metrics"]}
    refused(call, tmp_path, choose(labelled, tmp_path / "run", *mine, "--min-trust", .5,
                                   select="file"),
            "--min-trust 0.5: the scores go from -40 to 49, so they are no probabilities")


def changed(n, **new):
    return lambda found: [row | new if i == n else row for i, row in enumerate(found)]


@pytest.mark.parametrize("change, message", [
    (changed(4, id="else"), "{s}:5: id 'else' is not in {wts}; {wts} has 90 rows, {s} 90"),
    (lambda found: found[2:], "{s}: no row for id 'wts88' of {wts}:89; {wts} has 90 rows, {s} 88"),
    (lambda found: [*found, {"id": "more", "score": 1}], "{s}:91: id 'more' is not in {wts}"),
    (changed(4, id="wts3"), "{s}:87: id 'wts3' is already on line 5"),
    (changed(4, score="high"), "{s}:5: 'score' is 'high', expected a number"),
    (changed(4, score=True), "{s}:5: 'score' is true, expected a number"),
    (changed(4, score=None), "{s}:5: 'score' is null, expected a number"),
    (lambda found: [{"id": row["id"]} for row in found], "{s}:1: no key 'score'")])
def test_scores_that_are_not_those_of_the_pool_are_refused(labelled, call, tmp_path, change,
                                                           message):
    mine = own(labelled, tmp_path / "s.jsonl", change=change)
    refused(call, tmp_path, choose(labelled, tmp_path / "run", *mine, select="file"),
            message.format(s=tmp_path / "s.jsonl", wts=labelled / "mcqa" / WTS))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_scores_that_are_not_finite_are_refused(labelled, call, tmp_path, value):
    mine = own(labelled, tmp_path / "s.jsonl")
    text = (tmp_path / "s.jsonl").read_text().splitlines()
    text[2] = '{"id": "wts87", "score": %s}' % value
    (tmp_path / "s.jsonl").write_text("\n".join(text))
    refused(call, tmp_path, choose(labelled, tmp_path / "run", *mine, select="file"),
            f"s.jsonl:3: {value} is not a number we can use")


@pytest.mark.parametrize("name, message", [
    ("ntf", "--name ntf: another choice of labels has this name; give another"),
    ("confidence", "another choice of labels"), ("file", "another choice of labels"),
    ("gen2", "another choice of labels"), ("ntf-zero-shot", "another choice of labels"),
    ("mine-lora", "another choice of labels"), ("truth-2", "another choice of labels"),
    ("mine-gen2", "another choice of labels"), ("labelled", "another choice of labels"),
    ("my score", "--name my score: is no plain word; give a small letter and up to 39"),
    ("../up", "is no plain word"), ("Mine", "is no plain word"), ("7", "is no plain word"),
    ("é", "is no plain word"), ("a" * 41, "is no plain word"), ("a|b", "is no plain word"),
    ("", "--name '': is empty")])
def test_a_name_is_a_plain_word_of_its_own(labelled, call, tmp_path, name, message):
    mine = own(labelled, tmp_path / "s.jsonl")[:3]
    refused(call, tmp_path, choose(labelled, tmp_path / "run", *mine, name, select="file"), message)


@pytest.mark.parametrize("name", ["mine", "margin-2", "gentle", "a7_b", "z" * 40])
def test_names_that_only_resemble_others_are_good(name):
    train_ntf.refuse_name(name)


@pytest.mark.parametrize("select, flags, message", [
    ("file", ("--scores", "x"), "--select file: needs --name (see --help)"),
    ("file", ("--name", "mine"), "--select file: needs --scores"),
    ("file", ("--name", "mine", "--scores", "none.jsonl"),
     "none.jsonl: no such file or folder (--scores)"),
    ("agreement", (), "--select agreement: needs --second"),
    ("ntf", ("--scores", "x"), "--scores has no effect with --select ntf"),
    ("reward", ("--name", "mine"), "--name has no effect with --select reward"),
    ("confidence", ("--second", "x"), "--second has no effect with --select confidence"),
    ("random", ("--samples", 4), "--samples has no effect with --select random"),
    ("agreement", ("--second", "x", "--temperature", 2), "--temperature has no effect"),
    ("consistency", ("--samples", 0), "--samples 0: must be >= 1"),
    ("consistency", ("--temperature", 0), "--temperature 0: must be > 0")])
def test_flags_of_other_scores_are_refused(labelled, call, tmp_path, select, flags, message):
    refused(call, tmp_path, choose(labelled, tmp_path / "run", *flags, select=select), message)


# ---- the teacher and itself ----------------------------------------------------------------------

def asked(K=None, temperature=None, seed=0, **more):
    return SimpleNamespace(samples=K, temperature=temperature, seed=seed, **more)


def test_probabilities_at_a_temperature_by_hand():
    assert agreement.tempered([.5, .25, .25], 1) == pytest.approx([.5, .25, .25])
    assert agreement.tempered([.5, .25, .25], .5) == pytest.approx([4 / 6, 1 / 6, 1 / 6])
    assert agreement.tempered([.64, .36], 2) == pytest.approx([.8 / 1.4, .6 / 1.4])
    assert agreement.tempered([.3, .3, .4], 1e-300).tolist() == [0, 0, 1]
    z = np.array([.3, -1.2, 2.])
    p, q = (np.exp(z / t) / np.exp(z / t).sum() for t in (1, 1.7))
    assert agreement.tempered(p, 1.7) == pytest.approx(q)


def test_consistency_of_options_is_the_share_of_draws_that_give_the_label():
    weak = [[.7, .3], [1., 0.], [.2, .2, .6], [.5, .25, .25]] * 50
    data = [{"id": f"r{i}", "weak": p} for i, p in enumerate(weak)]
    found = agreement.consistency(asked(), mcqa, data)
    assert set(found * 8) <= set(range(9)) and (found[1::4] == 1).all()
    many = agreement.consistency(asked(1000), mcqa, data)
    expected = np.array([max(p) for p in weak])
    assert np.abs(many - expected).max() < 4.5 * np.sqrt(.25 / 1000)
    assert abs((many - expected)[::4].mean()) < 4 * np.sqrt(.21 / 50_000)
    warm = agreement.consistency(asked(1000, .5), mcqa, data)
    assert np.abs(warm[::4].mean() - .49 / .58) < 4 * np.sqrt(.14 / 50_000)


def test_the_draws_of_a_row_follow_from_its_id_and_the_seed_alone():
    data = [{"id": f"r{i}", "weak": [.6, .4]} for i in range(40)]
    found = agreement.consistency(asked(), mcqa, data)
    part = agreement.consistency(asked(), mcqa, data[::-3])
    assert (part == found[::-3]).all() and len(set(found)) > 3
    assert (agreement.consistency(asked(seed=1), mcqa, data) != found).any()


def test_consistency_of_texts_counts_equal_answers_and_no_answer_equals_none():
    """A teacher that was scripted: row by row its label, and four samples."""
    said = [("#### 7", ["#### 7", "so #### 7.0", "#### 8", "nothing"]),
            ("nothing", ["nothing", "nothing", "#### 1", ""]),
            ("#### 1,000", ["1000 #### 1000", "#### 1000", "#### 1000", "#### 1000"])]
    data = [{"id": str(i), "weak_text": text} for i, (text, _) in enumerate(said)]
    seen = []

    def label(model, tokenizer, data, columns, how):
        seen.append(how)
        return [row | {"weak_text": samples[len(seen) - 1]}
                for row, (_, samples) in zip(data, said)], None, ""
    task = SimpleNamespace(KIND="text", weak_class=arithmetic.weak_class, label=label)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement, "teacher", lambda *_: (None, None, None, "model"))
        assert agreement.consistency(asked(4, .7, dtype="float32"), task, data).tolist() == [
            .5, 0, 1]
    assert {(how.decode, how.temperature, how.hidden) for how in seen} == {("sample", .7, False)}
    assert len({how.seed for how in seen} - {0}) == 4


@pytest.fixture(scope="module")
def writer(world, tmp_path_factory):
    """A teacher's folder whose model writes one token that can be read: (folder, task)."""
    folder = tmp_path_factory.mktemp("writer")
    shutil.copytree(world / "tiny-2x32", folder / "model")
    for path in world.glob("tokenizer.json"):
        shutil.copy(path, folder / "model")
    weights = load_file(folder / "model" / "model.safetensors")
    weights["embed_out.weight"] *= 30  # so that some tokens are likely
    save_file(weights, folder / "model" / "model.safetensors", {"format": "pt"})
    rows.write_json(folder / "config.json", {"args": {"max_length": 64}, "inputs": {}})
    rows.write_json(folder / "DONE", {})
    free = generation.Free(arithmetic.prompt, lambda text: text or None, 1)
    return folder, SimpleNamespace(KIND="text", ENCODE=(), encode=free.encode, label=free.label,
                                   weak_class=free.weak_class)


def test_texts_are_sampled_from_the_teacher_at_the_temperature(writer):
    """Of one token the expected share is its probability."""
    folder, task = writer
    model = checkpoint.load(folder / "model", "lm")
    tokenizer = tokenization.load_tokenizer(folder / "model")
    data = [{"id": f"r{i}", "text": text, "label": "1"}
            for i, text in enumerate(["one and two ?", "nothing ?", "six ?"])]
    cfg = asked(200, .8, teacher=folder, device="cpu", dtype="float32")
    expected = []
    texts = [tokenizer.decode([k], skip_special_tokens=False)
             for k in range(model.config["vocab_size"])]  # several tokens are half a character
    for row, ids in zip(data, choice.tokens(tokenizer, map(arithmetic.prompt, data))):
        with torch.no_grad():
            p = (model(torch.from_numpy(ids).long()[None], torch.tensor([len(ids)]))[0, -1]
                 / .8).softmax(-1)
        row["weak_text"] = texts[int(p.argmax())]
        expected.append(sum(float(v) for v, text in zip(p, texts) if text == row["weak_text"]))
    found = agreement.consistency(cfg, task, data)
    assert .05 < min(expected) < .95
    assert np.abs(found - expected).max() < 4.5 * np.sqrt(.25 / 200)
    assert (agreement.consistency(cfg, task, data[1:]) == found[1:]).all()
    cold = agreement.consistency(SimpleNamespace(**{**vars(cfg), "samples": 3,
                                                    "temperature": 1e-9}), task, data)
    assert cold.tolist() == [1, 1, 1]


def test_a_teacher_that_is_not_finite_is_named(writer, tmp_path):
    folder, task = writer
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run" / "model" / "model.safetensors"
    save_file({name: torch.full_like(p, 1e38) if "final_layer_norm" in name else p
               for name, p in load_file(path).items()}, path, {"format": "pt"})
    with pytest.raises(ValueError, match=f"{tmp_path}/run/model: .*output is not finite"):
        agreement.consistency(asked(2, teacher=tmp_path / "run", device="cpu", dtype="float32"),
                              task, [{"id": "a", "text": "six ?", "label": "1", "weak_text": "x"}])


@pytest.mark.parametrize("task, pool", [("mcqa", "wts"), ("fairness", "wts"), ("mcqa", "game")])
def test_consistency_as_a_choice(fresh, call, tmp_path, task, pool):
    more = ("--samples", 4)
    if pool == "game":
        assert call(*label(fresh, "game", "wts", run=fresh / "mcqa"))[0] == 0
        more += ("--pool", fresh / "mcqa" / "labels" / "game-wts.jsonl")
    runs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        code, out, err = call(*choose(fresh, tmp_path / name, *more, "--seed", seed, task=task,
                                      select="consistency"))
        assert code == 0 and "consistency keeps" in out, err
        runs.append(contents(tmp_path / name))
    assert runs[0].keys() == runs[1].keys() and all(
        runs[0][k] == runs[1][k] for k in runs[0] if k.name != "config.json")
    found = trusts(tmp_path / "a")
    assert set(found) <= {0, .25, .5, .75, 1}
    if pool == "wts":
        assert trusts(tmp_path / "c") != found
        about = read_json(tmp_path / "a" / "trust.json")
        assert about["select"] == "consistency" and "ece" in {
            m["metric"] for m in about["metrics"]}


# ---- two teachers --------------------------------------------------------------------------------

def test_agreement_by_hand():
    text = {"text": "t", "choices": ["a", "b"]}
    mine = [text | {"id": "1", "weak": [.9, .1]}, text | {"id": "2", "weak": [.4, .6]}]
    other = [text | {"id": "2", "weak": [.7, .3]}, text | {"id": "1", "weak": [.8, .2]}]
    assert agreement.agreement(mcqa, mine, other, ("a", "b")).tolist() == [.8, .3]
    said = [{"id": str(i), "text": "t", "weak_text": text}
            for i, text in enumerate(["#### 1,000", "#### 3", "none", "none"])]
    theirs = [row | {"weak_text": text}
              for row, text in zip(said, ["it is #### 1000.0", "#### 4", "none", "#### 5"])]
    assert agreement.agreement(arithmetic, said, theirs, ("a", "b")).tolist() == [1, 0, 0, 0]


@pytest.fixture
def two(fresh, call, tmp_path):
    """fresh, and in second/ another finished teacher with its labels of the pool."""
    shutil.copytree(fresh / "mcqa", fresh / "second",
                    ignore=shutil.ignore_patterns("labels", ".lock"))
    path = fresh / "second" / "model" / "model.safetensors"
    draw = torch.Generator().manual_seed(0)
    save_file({name: p + .3 * p.std() * torch.randn(p.shape, generator=draw) if p.ndim > 1 else p
               for name, p in load_file(path).items()}, path, {"format": "pt"})
    assert call(*label(fresh, "mcqa", "wts", run=fresh / "second"))[0] == 0
    return fresh


def test_agreement_is_the_second_teachers_probability_of_the_firsts_answer(two, call, tmp_path):
    path = two / "second" / WTS
    found = rows.read(path)
    rows.write(path, found[::-1])
    code, out, err = call(*choose(two, tmp_path / "run", "--second", path, "--min-trust", .2,
                                  select="agreement"))
    assert code == 0 and "agreement keeps" in out, err
    first = rows.read(two / "mcqa" / WTS)
    expected = [b["weak"][int(np.argmax(a["weak"]))] for a, b in zip(first, found)]
    assert trusts(tmp_path / "run") == expected
    assert {row["id"] for row in rows.read(tmp_path / "run" / WTS)} == {
        row["id"] for row, p in zip(first, expected) if p >= .2}
    inputs = read_json(tmp_path / "run" / "config.json")["inputs"]
    assert inputs[str(path)] == rows.sha256(path)


def change_rows(path, change):
    rows.write(path, change(rows.read(path)))


def config(run, **args):
    facts = read_json(run / "config.json")
    facts["args"] |= args
    rows.write_json(run / "config.json", facts)


SECOND = {
    "a row less": (lambda h, p: change_rows(p, lambda f: f[:5] + f[6:]),
                   "no row for id 'wts5' of {wts}:6; {wts} has 90 rows, {second} 89"),
    "another row": (lambda h, p: change_rows(p, changed(5, id="new")),
                    "{second}:6: id 'new' is not in {wts}"),
    "another text": (lambda h, p: change_rows(p, changed(5, text="Who?")),
                     "{second}: the text of id 'wts5' is not that of {wts}:6; let both"),
    "other choices": (lambda h, p: change_rows(p, lambda f: [
        row | {"choices": row["choices"][::-1]} for row in f]), "the text of id 'wts0' is not"),
    "a copy of the first's": (lambda h, p: shutil.copy(h / "mcqa" / WTS, p),
                              "its labels are those of {wts}; give the labels of another"),
    "not finished": (lambda h, p: (h / "second" / "DONE").unlink(), "is not finished"),
    "no run": (lambda h, p: (h / "second" / "config.json").unlink(), "second"),
    "no labels": (lambda h, p: p.unlink(), "no such file or folder (--second)"),
    "another task": (lambda h, p: rows.write_json(f"{p}.meta.json", {"task": "arithmetic"}),
                     "'label' is "),
    "no task": (lambda h, p: rows.write_json(f"{p}.meta.json", {"task": "x"}),
                "labels of task 'x', which there is not"),
    "given": (lambda h, p: rows.write_json(f"{p}.meta.json", {"given": True}),
              "--second {second}: label.py --given kept another run's answers; give the labels"),
    "taught the pool": (lambda h, p: config(h / "second", data=str(h / "data/mcqa/wts.jsonl")),
                        "{second}:1: id 'wts0' is in "),
    "taught its labels": (lambda h, p: config(h / "second", data=None,
                                              labels=str(h / "mcqa" / WTS)),
                          "{second}:1: id 'wts0' is in "),
    "test rows": (lambda h, p: change_rows(p, changed(5, split="test")),
                  "{second}:6: the row belongs to split 'test', expected wts")}


@pytest.mark.parametrize("name", SECOND)
def test_a_second_file_that_cannot_be_compared_is_refused(two, call, tmp_path, name):
    damage, message = SECOND[name]
    path = two / "second" / WTS
    damage(two, path)
    refused(call, tmp_path, choose(two, tmp_path / "run", "--second", path, select="agreement"),
            message.format(second=path, wts=two / "mcqa" / WTS))


def test_labels_of_the_teacher_itself_or_of_another_task_are_no_second(two, call, tmp_path):
    for path, message in (
            (two / "mcqa" / WTS, "labels of --teacher itself; give those of another teacher"),
            (two / "mcqa" / TRUST, "labels of --teacher itself"),
            (two / "fairness" / WTS, "labels of task fairness, those of --pool are of mcqa")):
        refused(call, tmp_path, choose(two, tmp_path / "run", "--second", path,
                                       select="agreement"), f"--second {path}: {message}")
    assert call(*choose(two, tmp_path / "true", select="truth"))[0] == 0
    refused(call, tmp_path, choose(two, tmp_path / "run", "--second", tmp_path / "true" / WTS,
                                   select="agreement"), "which there is not; label the rows anew")


def test_two_teachers_whose_answers_are_text(two, call, tmp_path):
    for run in ("mcqa", "second"):
        assert call(*label(two, "game", "wts", run=two / run))[0] == 0
    first, second = (two / run / "labels" / "game-wts.jsonl" for run in ("mcqa", "second"))
    said = [" a1a6", " nothing", " a1a8", " a1a6 x", *[" no"] * 6]
    for path, answers in ((first, [" a1a6", " nothing", " a1a7", " a1a6", *[" no"] * 6]),
                          (second, said)):
        change_rows(path, lambda found, answers=answers: [
            row | {"weak_text": text} for row, text in zip(found, answers)])
    code, _, err = call(*choose(two, tmp_path / "run", "--pool", first, "--second", second,
                                "--min-trust", 1, select="agreement"))
    assert code == 0, err
    assert trusts(tmp_path / "run") == [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert [row["id"] for row in rows.read(tmp_path / "run/labels/game-wts.jsonl")] == [
        "wts0", "wts3"]
