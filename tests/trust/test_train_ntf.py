"""Trust functions as a user calls them: a teacher, its labels and states, the choice, a student.

    python -m pytest -q tests/trust/test_train_ntf.py
"""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import read_json
from tests.smoke_data import BAD, GOOD, NOUN
from tests.test_scripts import HELP_WITHOUT_TORCH, ROOT
from w2s import hidden_states, metrics, rows
from w2s.infer import classify
from w2s.model import checkpoint, configuration, gpt_neox, tokenization
from w2s.tasks import mcqa
from w2s.trust import baselines, ntf

SELECT = ("ntf", "confidence", "margin", "entropy", "icl-confidence", "reward", "consistency",
          "random", "truth-n", "truth", "all")  # agreement, file: see test_more_scores.py
FAST = {"ntf": ("--epochs", 4), "truth-n": ("--epochs", 4), "reward": ("--reward-epochs", .2)}
TRUST, WTS = "labels/trust.jsonl", "labels/wts.jsonl"


def adults(split, n, seed):
    """Fairness rows: income follows a word, in one row of five the other way round."""
    draw, found = random.Random(seed), []
    for i in range(n):
        a, rich = draw.randint(0, 1), draw.random() < .5
        found.append({"id": f"{split}{i}", "group": f"{split}g{i}", "split": split, "a": a,
                      "label": int(rich) if draw.random() < .8 else int(not rich), "text":
                      f"sex {'Male' if a else 'Female'} {'warm' if rich else 'dull'} garden"})
    return found


def asked(split, n, seed):
    """Questions of two sources: in `easy` a word decides, in `hard` chance does."""
    draw, found = random.Random(seed), []
    for i in range(n):
        good, easy = draw.random() < .5, i % 2 == 0
        choices = ["yes", "no", "not at all"][:draw.randint(2, 3)]
        found.append({
            "id": f"{split}{i}", "group": f"{split}g{i // 2}", "split": split, "choices": choices,
            "source": "easy" if easy else "hard",
            "label": int(not good) if easy else draw.randrange(len(choices)),
            "text": f"{draw.choice(NOUN)} {draw.choice(GOOD if good else BAD)} ?"})
    return found


def played(split, n):
    return [{"id": f"{split}{k}", "group": f"{split}g{k}", "split": split, "label": "a1a6",
             "text": f"4k3/8/p7/8/8/8/8/R3K3 w - - {k} 31"} for k in range(n)]


MADE = {"fairness": adults, "mcqa": asked}


@pytest.fixture(scope="module")
def home(world, tmp_path_factory):
    """Folder of data/<task>/ and the finished teachers fairness/ and mcqa/, with no labels yet."""
    import train_weak
    from w2s import config
    out = tmp_path_factory.mktemp("trust")
    for task, make in MADE.items():
        for seed, (split, n) in enumerate({"weak": 128, "trust": 120, "wts": 90}.items()):
            rows.write(out / "data" / task / f"{split}.jsonl", make(split, n, seed))
        argv = ["--task", task, "--model", world / "tiny-2x32", "--lr", 1e-2, "--epochs", 8,
                "--data", out / "data" / task / "weak.jsonl", "--out", out / task,
                "--max-length", 48]
        argv += ["--lam", 0] if task == "fairness" else []
        with pytest.raises(SystemExit) as left:
            config.launch(train_weak.main, train_weak.Config, "", [str(a) for a in argv])
        assert not left.value.code
    rows.write(out / "data" / "game" / "wts.jsonl", played("wts", 10))
    return out


def label(home, task, *splits, run=None, data=None):
    return ("label", "--task", task, "--run", run or home / task, "--hidden", "--data",
            *(home / "data" / (data or task) / f"{split}.jsonl" for split in splits))


@pytest.fixture(scope="module")
def labelled(home):
    """home, with the labels and states of both teachers."""
    import label as script
    from w2s import config
    for task in MADE:
        with pytest.raises(SystemExit) as left:
            config.launch(script.main, script.Config, "",
                          [str(a) for a in label(home, task, "trust", "wts")[1:]])
        assert not left.value.code
    return home


@pytest.fixture
def fresh(labelled, tmp_path):
    """A copy of `labelled` whose files a test may spoil."""
    shutil.copytree(labelled, tmp_path / "home", ignore=shutil.ignore_patterns(".lock"))
    for task in MADE:
        path = tmp_path / "home" / task / "config.json"
        facts = read_json(path)
        facts["args"]["data"] = str(tmp_path / "home" / "data" / task / "weak.jsonl")
        rows.write_json(path, facts)
    return tmp_path / "home"


def choose(home, out, *more, task="mcqa", select="ntf"):
    return ("train_ntf", "--teacher", home / task, "--labelled", home / task / TRUST, "--pool",
            home / task / WTS, "--out", out, "--select", select, "--draws", 100, *more)


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*")
            if p.is_file() and p.name != ".lock"}


# ---- labels and states ---------------------------------------------------------------------------

@pytest.mark.parametrize("task", MADE)
def test_row_i_of_the_states_is_what_the_teacher_thought_of_line_i(labelled, task):
    folder, source = labelled / task / "model", labelled / "data" / task / "wts.jsonl"
    found = rows.read(labelled / task / WTS)
    states = hidden_states.read_states(hidden_states.states_of(labelled / task / WTS), found)
    assert [{k: row[k] for k in before} for row, before in zip(found, rows.read(source))] == \
        rows.read(source)
    assert states.dtype == np.float32 and states.shape == (90, 32)
    model = checkpoint.load(folder, configuration.HEAD[{"mcqa": "letters"}.get(task, "class")])
    tokenizer = tokenization.load_tokenizer(folder)
    for row, h in list(zip(found, states))[:20]:
        said = row["text"] if task == "fairness" else (
            mcqa.prompt(row) + mcqa.options(row)[mcqa.weak_class(row)])
        ids = torch.tensor([tokenizer.encode(said, add_special_tokens=False).ids])
        with torch.no_grad():
            expected = model.last_state(ids, torch.tensor([ids.shape[1]]))[0]
            if task == "fairness":
                z = model(ids, torch.tensor([ids.shape[1]]))[0]
                assert np.abs(z.numpy() - row["logits"]).max() < 1e-5
        assert np.abs(expected.numpy() - h).max() < 1e-5
    assert 0 < np.mean([classify.right(row) for row in found]) < 1


def test_labels_of_a_teacher_whose_output_is_not_finite_are_not_written(home, call, tmp_path):
    """Its weights are numbers, but in float32 their products are none."""
    shutil.copytree(home / "mcqa", tmp_path / "big", ignore=shutil.ignore_patterns("labels"))
    path = tmp_path / "big" / "model" / "model.safetensors"
    save_file({name: torch.full_like(p, 1e38) if "final_layer_norm" in name else p
               for name, p in load_file(path).items()}, path, {"format": "pt"})
    code, _, err = call(*label(home, "mcqa", "wts", run=tmp_path / "big"))
    assert code == 1 and err.count("\n") == 1, err
    assert err.startswith(f"error: {tmp_path / 'big' / 'model'}: ") and "is not finite (row" in err
    assert not (tmp_path / "big" / "labels").exists()


def test_questions_have_no_regulariser_and_no_confidence_loss(home, labelled, world, call,
                                                              tmp_path):
    common = ("--task", "mcqa", "--model", world / "tiny-2x32", "--out", tmp_path / "run")
    data = home / "data" / "mcqa" / "weak.jsonl"
    for script, source, name in (("train_weak", ("--data", data), "lam"),
                                 ("train_student", ("--labels", labelled / "mcqa" / WTS), "lam"),
                                 ("train_student", ("--labels", labelled / "mcqa" / WTS), "alpha")):
        code, _, err = call(script, *common, *source, f"--{name}", .5)
        assert code == 1 and not (tmp_path / "run").exists()
        assert err == (f"error: --{name} 0.5: --task mcqa has no regulariser and no confidence "
                       "loss; leave it out\n")


def test_label_and_state_come_of_one_forward_pass(home, call, tmp_path, monkeypatch):
    shutil.copytree(home / "fairness", tmp_path / "run", ignore=shutil.ignore_patterns("labels"))
    seen, own = [], gpt_neox.GPTNeoX.last_state
    monkeypatch.setattr(gpt_neox.GPTNeoX, "last_state",
                        lambda self, ids, *a: seen.append(len(ids)) or own(self, ids, *a))
    code, _, err = call(*label(home, "fairness", "wts", run=tmp_path / "run"))
    assert code == 0 and sum(seen) == 90, (seen, err)


def test_labels_are_the_same_with_states_and_without(labelled, call, tmp_path):
    for task in MADE:
        shutil.copytree(labelled / task, tmp_path / task, ignore=shutil.ignore_patterns("labels"))
        command = [a for a in label(labelled, task, "wts", run=tmp_path / task) if a != "--hidden"]
        assert call(*command)[0] == 0
        assert not hidden_states.states_of(tmp_path / task / WTS).exists()
        assert (tmp_path / task / WTS).read_bytes() == (labelled / task / WTS).read_bytes()
        code, out, _ = call(*command, "--hidden")
        assert code == 0 and "already" not in out
        assert contents(tmp_path / task / "labels") == {
            name: content for name, content in contents(labelled / task / "labels").items()
            if "wts" in name.name}
        assert "already" in call(*command, "--hidden")[1]


def test_states_do_not_outlive_the_labels_they_belong_to(fresh, call):
    (fresh / "mcqa" / WTS).unlink()
    command = [a for a in label(fresh, "mcqa", "wts") if a != "--hidden"]
    assert call(*command, "--max-length", 5)[0] == 0
    assert not hidden_states.states_of(fresh / "mcqa" / WTS).exists()


@pytest.mark.parametrize("states, message", [
    ([[0., 1.], [float("nan"), 1.], [float("inf"), 1.]],
     r"wts.hidden.safetensors: the state of row 1 \(id 'b'\) is not finite \(2 such rows\)"),
    ([[], [], []], r"wts.hidden.safetensors: damaged \(numbers of float32 in the shape \(3, 0\)")])
def test_states_that_no_teacher_has_are_refused_by_file_and_row(states, message, tmp_path):
    labelled, path = [{"id": name} for name in "abc"], tmp_path / "wts.hidden.safetensors"
    hidden_states.write_states(path, np.array(states, np.float32), labelled)
    with pytest.raises(ValueError, match=message):
        hidden_states.read_states(path, labelled)


def test_a_language_model_labels_another_task(labelled, call, tmp_path):
    shutil.copytree(labelled / "mcqa", tmp_path / "run", ignore=shutil.ignore_patterns("labels"))
    code, out, err = call(*label(labelled, "game", "wts", run=tmp_path / "run"))
    assert code == 0 and "game-wts.jsonl" in out, err
    assert {p.name for p in (tmp_path / "run" / "labels").iterdir()} == {
        "game-wts.jsonl", "game-wts.hidden.safetensors", "game-wts.jsonl.meta.json"}
    file = tmp_path / "run" / "labels" / "game-wts.jsonl"
    found = rows.read(file, {"weak_text": str})
    assert len(hidden_states.read_states(hidden_states.states_of(file), found)) == 10
    code, _, err = call(*label(labelled, "game", "wts", run=labelled / "fairness"))
    assert code == 1 and "a run of task 'fairness', not of --task game" in err


def test_a_pool_of_another_task_is_chosen_from(fresh, call, tmp_path):
    call(*label(fresh, "game", "wts", run=fresh / "mcqa"))
    pool = fresh / "mcqa" / "labels" / "game-wts.jsonl"
    found = rows.read(pool)
    found[0]["weak_text"] = " a1a6"  # right for once: an AUC exists
    rows.write(pool, found)
    for select in ("ntf", "confidence", "icl-confidence", "truth-n"):
        code, out, err = call(*choose(fresh, tmp_path / select, "--pool", pool, "--keep", 4,
                                      *FAST.get(select, ()), select=select))
        assert code == 0, err
        facts = read_json(tmp_path / select / "trust.json")
        assert facts["task"] == "game" and facts["right"] == .1
        assert set(facts["regimes"].values()) <= {"other interface"}
        assert len(rows.read(tmp_path / select / "labels" / "game-wts.jsonl")) == 4
    code, _, err = call(*choose(fresh, tmp_path / "b", "--pool", pool, "--balanced", "--keep", 4))
    assert code == 1 and "--balanced: answers that are text" in err


# ---- the choice ----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def chosen(labelled):
    """The run folders of every --select on mcqa, by name."""
    import train_ntf
    from w2s import config
    for select in SELECT:
        keep = () if select in ("truth", "all") else ("--keep", .4)
        argv = choose(labelled, labelled / f"trust-{select}", *keep, *FAST.get(select, ()),
                      select=select)[1:]
        with pytest.raises(SystemExit) as left:
            config.launch(train_ntf.main, train_ntf.Config, "", [str(a) for a in argv])
        assert not left.value.code, select
    return {select: labelled / f"trust-{select}" for select in SELECT}


@pytest.mark.parametrize("select", SELECT)
def test_every_selection_keeps_as_many_rows_the_most_trusted_in_their_order(labelled, chosen,
                                                                            select):
    pool, run = rows.read(labelled / "mcqa" / WTS), chosen[select]
    found, verdicts = rows.read(run / WTS), rows.read(run / "trust.jsonl")
    true = select.startswith("truth")
    assert len(found) == (90 if select in ("truth", "all") else 36)
    place = {row["id"]: i for i, row in enumerate(pool)}
    assert [place[row["id"]] for row in found] == sorted(place[row["id"]] for row in found)
    assert [row["id"] for row in verdicts] == [row["id"] for row in pool]
    for row in found:
        before = pool[place[row["id"]]]
        assert row["selection"] == select and row["label"] == before["label"]
        assert row["trust"] == pytest.approx(verdicts[place[row["id"]]]["trust"], abs=1e-7)
        if true:
            assert row["weak"] == np.eye(len(row["choices"]))[row["label"]].tolist()
            assert row["truth"] is True and "logits" not in row
        else:
            assert {key: row[key] for key in before} == before and "truth" not in row
    kept = {row["id"] for row in found}
    assert [row["kept"] for row in verdicts] == [row["id"] in kept for row in pool]
    assert [row["right"] for row in verdicts] == [int(classify.right(row)) for row in pool]
    assert min(v["trust"] for v in verdicts if v["kept"]) >= max(
        (v["trust"] for v in verdicts if not v["kept"]), default=-np.inf)
    facts = read_json(run / "trust.json")
    assert (facts["kept"], facts["pool"]) == (len(found), 90) and (run / "DONE").exists()
    assert facts["right_kept"] == pytest.approx(
        np.mean([v["right"] for v in verdicts if v["kept"]]))
    assert (run / "ntf.safetensors").exists() == (select in ("ntf", "truth-n"))


def test_the_trust_is_that_of_the_saved_function_and_truth_n_has_its_rows(labelled, chosen):
    pool = rows.read(labelled / "mcqa" / WTS)
    states = hidden_states.read_states(hidden_states.states_of(labelled / "mcqa" / WTS), pool)
    expected = ntf.load(chosen["ntf"]).trust(states).numpy()
    found = [row["trust"] for row in rows.read(chosen["ntf"] / "trust.jsonl")]
    assert np.abs(expected - found).max() < 1e-7
    ids = [[row["id"] for row in rows.read(chosen[s] / WTS)] for s in ("ntf", "truth-n")]
    assert ids[0] == ids[1]


def test_confidence_margin_and_entropy_are_those_of_the_label(labelled, chosen):
    pool = rows.read(labelled / "mcqa" / WTS)
    for select, of in (("confidence", max), ("margin", lambda p: sorted(p)[-1] - sorted(p)[-2]),
                       ("entropy", lambda p: sum(x * np.log(x) for x in p if x))):
        found = [row["trust"] for row in rows.read(chosen[select] / "trust.jsonl")]
        assert found == pytest.approx([of(row["weak"]) for row in pool], abs=1e-6)


def test_the_second_call_is_skipped_and_a_changed_one_refused(labelled, chosen, call):
    for select in ("ntf", "reward", "random"):
        before = contents(chosen[select])
        command = choose(labelled, chosen[select], "--keep", .4, *FAST.get(select, ()),
                         select=select)
        code, out, _ = call(*command)
        assert code == 0 and "done already" in out
        code, _, err = call(*command, "--seed", 1)
        assert code == 1 and "--seed 0 -> 1" in err and err.count("\n") == 1
        assert contents(chosen[select]) == before


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_rows(labelled, chosen, call,
                                                                      tmp_path):
    for select in ("ntf", "random", "icl-confidence", "reward"):
        for seed in (0, 1):
            out = tmp_path / f"{select}{seed}"
            code, _, err = call(*choose(labelled, out, "--keep", .4, "--seed", seed,
                                        *FAST.get(select, ()), select=select))
            assert code == 0, err
            one, two = contents(out), contents(chosen[select])
            trusted = Path("trust.jsonl")
            if seed:
                assert one[trusted] != two[trusted], select
            else:
                assert one.keys() == two.keys()
                assert all(one[k] == two[k] for k in one if k.name != "config.json"), select


@pytest.mark.parametrize("select", ["ntf", "truth-n"])
def test_a_student_reads_the_chosen_labels_and_nothing_else(world, chosen, call, tmp_path, select):
    def student(out, labels):
        return call("train_student", "--task", "mcqa", "--model", world / "tiny-2x32", "--labels",
                    labels, "--out", tmp_path / out, "--epochs", 1)
    code, _, err = student("student", chosen[select] / WTS)
    assert code == 0 and read_json(tmp_path / "student" / "config.json")["rows"] == 36, err
    flipped = [row | {"label": 0, "trust": 0.5} for row in rows.read(chosen[select] / WTS)]
    rows.write(tmp_path / "flipped.jsonl", flipped)
    assert student("other", tmp_path / "flipped.jsonl")[0] == 0
    weights = "model/model.safetensors"
    assert (tmp_path / "student" / weights).read_bytes() == (
        tmp_path / "other" / weights).read_bytes()


def test_a_class_task_is_chosen_from_and_trains_a_student(world, labelled, call, tmp_path):
    code, out, err = call(*choose(labelled, tmp_path / "run", "--keep", .4, task="fairness"))
    assert code == 0 and "ntf keeps 36 of 90 labels" in out, err
    assert "answers, of the pool and of the kept" in out
    code, _, err = call("train_student", "--task", "fairness", "--model", world / "tiny-2x32",
                        "--labels", tmp_path / "run" / WTS, "--out", tmp_path / "student",
                        "--epochs", 1, "--lam", 0)
    assert code == 0, err
    code, _, err = call(*choose(labelled, tmp_path / "b", "--keep", 20, "--balanced",
                                task="fairness", select="confidence"))
    picked = [classify.weak_class(row) for row in rows.read(tmp_path / "b" / WTS)]
    assert code == 0 and sorted(picked) == [0] * 10 + [1] * 10, err
    for select in ("icl-confidence", "reward"):
        code, _, err = call(*choose(labelled, tmp_path / "c", task="fairness", select=select))
        assert code == 1 and "class numbers" in err and not (tmp_path / "c").exists()


def test_sources_choose_what_it_learns_from_and_the_rest_is_zero_shot(labelled, call, tmp_path):
    code, out, err = call(*choose(labelled, tmp_path / "run", "--sources", "hard", *FAST["ntf"]))
    assert code == 0, err
    facts = read_json(tmp_path / "run" / "trust.json")
    assert facts["facts"]["rows"] == 60 and facts["regimes"] == {
        "easy": "other distribution", "hard": "in distribution"}
    assert {m["slice"] for m in facts["metrics"]} == {"all", "easy", "hard"}
    assert "other distribution" in out
    code, out, err = call(*choose(labelled, tmp_path / "again", "--ntf", tmp_path / "run"))
    assert code == 0 and "other distribution" in out, err
    code, _, err = call(*choose(labelled, tmp_path / "no", "--sources", "soft"))
    assert code == 1 and "its sources are easy, hard" in err and not (tmp_path / "no").exists()


def test_what_it_learns_from_are_rows_of_the_sources_with_their_states_and_groups(
        labelled, call, tmp_path, monkeypatch):
    found, seen = rows.read(labelled / "mcqa" / TRUST), {}
    states = hidden_states.read_states(hidden_states.states_of(labelled / "mcqa" / TRUST), found)
    hard = [i for i, row in enumerate(found) if row["source"] == "hard"]

    def fit(states, right, **more):
        seen.update(states=states, right=right, **more)
        raise KeyboardInterrupt

    def verifier(cfg, folder, known, *_):
        seen.update(verifier=[row["id"] for row in known[1]])
        raise KeyboardInterrupt
    monkeypatch.setattr(ntf, "fit", fit)
    monkeypatch.setattr(baselines, "verifier", verifier)
    for select in ("ntf", "reward"):
        assert call(*choose(labelled, tmp_path / "x", "--sources", "hard", "--seed", 5,
                            select=select))[0] == 130
    assert len(hard) == 60 and (seen["states"] == states[hard]).all()
    assert seen["right"] == [found[i]["weak"].index(max(found[i]["weak"])) == found[i]["label"]
                             for i in hard]
    assert seen["groups"] == [found[i]["group"] for i in hard] and seen["seed"] == 5
    assert seen["verifier"] == [found[i]["id"] for i in hard]


@pytest.mark.parametrize("select, more, expected", [
    ("confidence", {}, {}), ("truth", {}, {}),
    ("ntf", {}, {"states of {wts}": "{mcqa}/labels/wts.hidden.safetensors",
                 "states of {trust}": "{mcqa}/labels/trust.hidden.safetensors"}),
    ("ntf", {"ntf": "{mcqa}"}, {"states of {wts}": "{mcqa}/labels/wts.hidden.safetensors",
                                "ntf": "{mcqa}/ntf.safetensors"}),
    ("icl-confidence", {}, {"base": "{base}"}), ("reward", {}, {"teacher": "{mcqa}/model"}),
    ("reward", {"reward": "r.jsonl"}, {"reward": "r.jsonl"}),
    ("consistency", {}, {"teacher": "{mcqa}/model"}),
    ("agreement", {"second": "s.jsonl"}, {"second": "s.jsonl"}),
    ("file", {"scores": "s.jsonl", "name": "mine"}, {"scores": "s.jsonl"})])
def test_a_choice_is_made_of_the_content_of_all_that_it_reads(labelled, world, select, more,
                                                              expected):
    import train_ntf
    names = {"mcqa": labelled / "mcqa", "base": world / "tiny-2x32",
             "trust": labelled / "mcqa" / TRUST, "wts": labelled / "mcqa" / WTS}
    cfg = train_ntf.Config(teacher=str(names["mcqa"]), labelled=str(names["trust"]),
                           pool=str(names["wts"]), out="x", select=select,
                           **{key: value.format(**names) for key, value in more.items()})
    assert {key: str(path) for key, path in train_ntf.inputs(cfg).items()} == {
        "labelled": cfg.labelled, "pool": cfg.pool,
        **{key.format(**names): path.format(**names) for key, path in expected.items()}}


def test_labels_of_another_run_of_the_same_name_are_refused(labelled, call, tmp_path):
    shutil.copytree(labelled / "mcqa", tmp_path / "mcqa", ignore=shutil.ignore_patterns(".lock"))
    code, _, err = call(*choose(labelled, tmp_path / "x", "--pool", tmp_path / "mcqa" / WTS,
                                select="confidence"))
    assert code == 1 and f"labels of {tmp_path / 'mcqa'}, not of --teacher" in err


def test_a_trust_function_is_used_again_with_the_features_it_was_trained_on(labelled, chosen, call,
                                                                           tmp_path):
    code, out, err = call(*choose(labelled, tmp_path / "run", "--ntf", chosen["ntf"], "--keep", .4))
    assert code == 0, err
    assert [row["trust"] for row in rows.read(tmp_path / "run/trust.jsonl")] == [
        row["trust"] for row in rows.read(chosen["ntf"] / "trust.jsonl")]
    facts = read_json(tmp_path / "run" / "trust.json")
    assert set(facts["regimes"].values()) == {"in distribution"} == set(
        read_json(chosen["ntf"] / "trust.json")["regimes"].values())
    raw, own = ({m["metric"]: m["value"] for m in facts["metrics"] if m["slice"] == "all"}[name]
                for name in ("ece_raw", "ece"))
    pool = rows.read(labelled / "mcqa" / WTS)
    model, right = ntf.load(chosen["ntf"]), [classify.right(row) for row in pool]
    states = hidden_states.read_states(hidden_states.states_of(labelled / "mcqa" / WTS), pool)
    p = model.logits(torch.from_numpy(states)).double()
    assert raw == pytest.approx(metrics.ece(p.sigmoid(), right), abs=1e-9)
    assert abs(raw - own) > 1e-3 and f"before calibration: ece {raw:.3f}" in out
    code, _, err = call(*choose(labelled, tmp_path / "both", "--features", "both", *FAST["ntf"]))
    assert code == 0 and ntf.load(tmp_path / "both").config["dim"] == 36, err
    code, _, err = call(*choose(labelled, tmp_path / "again", "--ntf", tmp_path / "both"))
    assert code == 0, err
    a, b = ([row["trust"] for row in rows.read(tmp_path / name / "trust.jsonl")]
            for name in ("both", "again"))
    assert a == b


def test_rows_that_a_student_was_trained_on_teach_no_trust(fresh, call, tmp_path):
    """A student labels anew in a chain: its own labels file says what it has seen."""
    path = fresh / "mcqa" / "config.json"
    facts = read_json(path)
    facts["args"]["labels"] = facts["args"].pop("data")
    rows.write_json(path, facts)
    found = rows.read(fresh / "mcqa" / TRUST)
    same = next(row for row in rows.read(facts["args"]["labels"])
                if len(row["choices"]) == len(found[3]["choices"]))
    found[3] |= {key: same[key] for key in ("id", "text", "choices")}
    rows.write(fresh / "mcqa" / TRUST, found)
    code, _, err = call(*choose(fresh, tmp_path / "run", select="random"))
    assert code == 1 and "trust.jsonl:4: id" in err and "was trained on" in err


def test_a_reward_may_be_a_file_or_a_classifier(labelled, call, world, tmp_path):
    pool = rows.read(labelled / "mcqa" / WTS)
    given = [{"id": row["id"], "reward": i % 7, "label": "mine"} for i, row in enumerate(pool)]
    rows.write(tmp_path / "reward.jsonl", given[::-1])
    code, _, err = call(*choose(labelled, tmp_path / "file", "--reward", tmp_path / "reward.jsonl",
                                select="reward"))
    assert code == 0, err
    assert [r["trust"] for r in rows.read(tmp_path / "file/trust.jsonl")] == [
        r["reward"] for r in given]
    code, _, err = call(*choose(labelled, tmp_path / "folder", "--reward",
                                labelled / "fairness" / "model", select="reward"))
    assert code == 0, err
    assert len({r["trust"] for r in rows.read(tmp_path / "folder/trust.jsonl")}) > 10
    rows.write(tmp_path / "few.jsonl", given[:-1])
    for reward, match in ((tmp_path / "few.jsonl", "id 'wts89' has no row on the right"),
                          (world / "tiny-2x32", "no sequence classifier"),
                          (tmp_path / "none", "no such file or folder (--reward)")):
        code, _, err = call(*choose(labelled, tmp_path / "x", "--reward", reward, select="reward"))
        assert code == 1 and match in err and err.count("\n") == 1, err
        assert not (tmp_path / "x").exists()


def test_letters_are_asked_as_letters(fresh, call, tmp_path):
    """A teacher that answers with letters is compared with models that read its letters."""
    facts = read_json(fresh / "mcqa" / "config.json")
    facts["args"]["scoring"] = "letters"
    rows.write_json(fresh / "mcqa" / "config.json", facts)
    seen, own = [], tokenization.load_tokenizer

    class Spy:
        def __init__(self, tokenizer):
            self.tokenizer = tokenizer

        def __getattr__(self, name):
            return getattr(self.tokenizer, name)

        def encode_batch(self, texts, **more):
            seen.extend(texts)
            return self.tokenizer.encode_batch(texts, **more)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenization, "load_tokenizer", lambda folder: Spy(own(folder)))
        for select in ("icl-confidence", "reward"):
            code, _, err = call(*choose(fresh, tmp_path / select, *FAST.get(select, ()),
                                        select=select))
            assert code == 0, err
    assert all("\nA. yes" in said or said in (" A", " B", " C") for said in seen) and " C" in seen


# ---- what must not happen ------------------------------------------------------------------------

def test_killed_in_the_middle_it_leaves_nothing_half_written(labelled, call, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt
    command, whole = choose(labelled, tmp_path / "run", *FAST["ntf"]), tmp_path / "whole"
    for place, name in ((ntf, "fit"), (os, "replace"), (rows, "write_json")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, stop)
            code, _, err = call(*command)
        assert code == 130 and "interrupted" in err and not list(tmp_path.rglob("*.part"))
        assert not (tmp_path / "run" / "DONE").exists()
    with monkeypatch.context() as patch:  # after some of the files
        patch.setattr(rows, "write", stop)
        assert call(*command)[0] == 130
    assert call(*command)[0] == 0 and call(*choose(labelled, whole, *FAST["ntf"]))[0] == 0
    one, two = contents(tmp_path / "run"), contents(whole)
    assert one.keys() == two.keys()
    assert all(one[k] == two[k] for k in one if k.name != "config.json")


def spoil_pool(home, change):
    found = rows.read(home / "mcqa" / WTS)
    rows.write(home / "mcqa" / WTS, change(found))


def rename(file, key, value, n=3):
    found = rows.read(file)
    found[n][key] = value
    rows.write(file, found)


BROKEN = {
    "permuted": (lambda h: spoil_pool(h, lambda found: found[::-1]), "in another order"),
    "shortened": (lambda h: spoil_pool(h, lambda found: found[:-1]), "states of other rows"),
    "renamed": (lambda h: rename(h / "mcqa" / WTS, "id", "x"), "states of other rows"),
    "no states": (lambda h: hidden_states.states_of(h / "mcqa" / TRUST).unlink(),
                  "label.py --hidden"),
    "torn states": (lambda h: os.truncate(hidden_states.states_of(h / "mcqa" / WTS), 500),
                    "damaged"),
    "no labels": (lambda h: (h / "mcqa" / WTS).unlink(), "no such file"),
    "not json": (lambda h: (h / "mcqa" / WTS).write_text("{"), "wts.jsonl:1: not JSON"),
    "no weak": (lambda h: spoil_pool(h, lambda f: [{k: v for k, v in r.items() if k != "weak"}
                                                   for r in f]), "wts.jsonl:1: no key 'weak'"),
    "taught": (lambda h: rows.write(h / "data" / "mcqa" / "weak.jsonl", rows.read(
        h / "data" / "mcqa" / "wts.jsonl")[7:9]), "wts.jsonl:8: id 'wts7' is in "),
    "overlap": (lambda h: rename(h / "mcqa" / TRUST, "group", "wtsg1"),
                "wts.jsonl:3: the group of id 'wts2' is in "),
    "test rows": (lambda h: rename(h / "mcqa" / WTS, "split", "test"),
                  "wts.jsonl:4: the row belongs to split 'test', expected wts"),
    "labelled test rows": (lambda h: rename(h / "mcqa" / TRUST, "split", "test"),
                           "trust.jsonl:4: the row belongs to split 'test', expected trust"),
    "pool of trust rows": (lambda h: rename(h / "mcqa" / WTS, "split", "trust"),
                           "wts.jsonl:4: the row belongs to split 'trust', expected wts"),
    "another teacher's": (lambda h: rows.write(
        h / "fairness" / WTS, rows.read(h / "mcqa" / WTS)), "labels of "),
    "unfinished": (lambda h: (h / "mcqa" / "DONE").unlink(), "not finished"),
    "no teacher": (lambda h: shutil.rmtree(h / "mcqa" / "model"), None),
    "no config": (lambda h: (h / "mcqa" / "config.json").unlink(), "config.json")}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_input_is_one_line_and_leaves_nothing(fresh, call, tmp_path, name):
    damage, message = BROKEN[name]
    damage(fresh)
    more = ("--pool", fresh / "fairness" / WTS) if "another" in name else ()
    code, _, err = call(*choose(fresh, tmp_path / "run", *FAST["ntf"], *more))
    if message is None:  # the states suffice
        assert code == 0, err
    else:
        assert code == 1 and err.startswith("error: ") and err.count("\n") == 1, err
        assert message in err and not (tmp_path / "run").exists(), err


@pytest.mark.parametrize("select, flags, message", [
    ("ntf", ("--keep", 91), "--keep 91: the pool has 90 rows"),
    ("ntf", ("--keep", 0), "--keep 0: must be > 0"),
    ("confidence", ("--blocks", 3), "--blocks has no effect with --select confidence"),
    ("random", ("--sources", "easy"), "--sources has no effect"),
    ("ntf", ("--shots", 3), "--shots has no effect with --select ntf"),
    ("all", ("--keep", .3), "--keep has no effect with --select all"),
    ("truth", ("--balanced",), "--balanced has no effect with --select truth"),
    ("ntf", ("--ntf", "{ntf}", "--hidden", 8), "--hidden has no effect with --select ntf --ntf"),
    ("margin", ("--ntf", "{ntf}"), "--ntf has no effect with --select margin"),
    ("reward", ("--reward", "{ntf}", "--reward-epochs", 2), "--reward-epochs has no effect"),
    ("ntf", ("--ntf", "nowhere"), "nowhere/ntf.safetensors: no such file"),
    ("best", (), "--select best: choose from ntf, ")])
def test_a_flag_without_effect_or_out_of_range_is_refused(labelled, chosen, call, tmp_path, select,
                                                         flags, message):
    flags = [chosen["ntf"] if flag == "{ntf}" else flag for flag in flags]
    code, _, err = call(*choose(labelled, tmp_path / "run", *flags, select=select))
    assert code == 1 and err.count("\n") == 1 and message in err, err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("right", [0, 1])
def test_a_teacher_that_is_always_right_or_never_has_nothing_to_learn_from(fresh, call, tmp_path,
                                                                          right):
    found = rows.read(fresh / "mcqa" / TRUST)
    rows.write(fresh / "mcqa" / TRUST, [
        row | {"label": mcqa.weak_class(row) if right else 1 - min(1, mcqa.weak_class(row))}
        for row in found])
    code, out, err = call(*choose(fresh, tmp_path / "run", *FAST["ntf"]))
    said = f"is {'right' if right else 'wrong'}: there is nothing to learn"
    assert code == 0 and said in out, err
    assert {row["trust"] for row in rows.read(tmp_path / "run" / "trust.jsonl")} == {right}
    assert len(rows.read(tmp_path / "run" / WTS)) == 45
    assert not (tmp_path / "run" / "ntf.safetensors").exists()


def test_a_trust_function_of_other_sizes_is_refused(labelled, call, tmp_path):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=g)
    ntf.save(ntf.fit(x, (x[:, 0] > 0).float(), epochs=1)[0], tmp_path / "other", {})
    rows.write_json(tmp_path / "other" / "config.json", {"args": {}, "inputs": {}})
    code, _, err = call(*choose(labelled, tmp_path / "run", "--ntf", tmp_path / "other"))
    assert code == 1 and "32 numbers a row, the trust function of " in err and "reads 5" in err


def test_a_task_without_right_and_wrong_has_nothing_to_trust(labelled, call, tmp_path):
    shutil.copytree(labelled / "mcqa", tmp_path / "run")
    facts = read_json(tmp_path / "run" / "config.json")
    facts["args"]["task"] = "privacy"
    rows.write_json(tmp_path / "run" / "config.json", facts)
    for name in ("wts", "trust"):
        Path(tmp_path / "run" / "labels" / f"{name}.jsonl.meta.json").unlink()
    code, _, err = call("train_ntf", "--teacher", tmp_path / "run", "--labelled",
                        tmp_path / "run" / TRUST, "--pool", tmp_path / "run" / WTS, "--out",
                        tmp_path / "out")
    assert code == 1 and "neither right nor wrong" in err


def test_labels_that_were_killed_before_their_states_are_made_again(labelled, call, tmp_path,
                                                                    monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt
    shutil.copytree(labelled / "mcqa", tmp_path / "mcqa", ignore=shutil.ignore_patterns("labels"))
    command = label(labelled, "mcqa", "trust", "wts", run=tmp_path / "mcqa")
    with monkeypatch.context() as patch:
        patch.setattr(hidden_states, "write_states", stop)
        assert call(*command)[0] == 130
    code, _, err = call(*choose(tmp_path, tmp_path / "run"))
    assert code == 1 and err.count("\n") == 1 and "no such file" in err, err
    code, out, _ = call(*command)
    assert code == 0 and "already" not in out
    assert contents(tmp_path / "mcqa" / "labels") == {
        name: content for name, content in contents(labelled / "mcqa" / "labels").items()
        if not name.name.startswith("game")}


def test_help_teaches_and_does_not_import_torch():
    done = subprocess.run([sys.executable, "-c", HELP_WITHOUT_TORCH, "train_ntf.py"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0 and "python train_ntf.py --teacher" in done.stdout, done.stderr


# ---- answers of another run ----------------------------------------------------------------------

def test_given_answers_stay_and_their_states_are_read_anew(labelled, tmp_path, call):
    """A run that reads its own answers finds the states that it noted when it gave them."""
    shutil.copytree(labelled / "mcqa", tmp_path / "mcqa")
    run = tmp_path / "mcqa"
    command = ("label", "--task", "mcqa", "--run", run, "--hidden", "--given", "--data", run / WTS)
    code, out, _ = call(*command)
    assert code == 0 and "90 answers of another run read" in out
    assert rows.read(run / "labels/mcqa-wts.jsonl") == rows.read(run / WTS)
    noted, read = (load_file(run / f"labels/{name}wts.hidden.safetensors")["hidden"]
                   for name in ("", "mcqa-"))
    torch.testing.assert_close(read, noted, rtol=0, atol=2e-5)
    assert "done already" in call(*command)[1]


def test_given_answers_that_differ_have_other_states(labelled, tmp_path, call):
    shutil.copytree(labelled / "mcqa", tmp_path / "mcqa")
    other = [row | {"weak": row["weak"][::-1]} for row in rows.read(labelled / "mcqa" / WTS)]
    rows.write(tmp_path / "other" / WTS, other)
    code, _, _ = call("label", "--task", "mcqa", "--run", tmp_path / "mcqa", "--hidden", "--given",
                      "--data", tmp_path / "other" / WTS)
    assert code == 0 and rows.read(tmp_path / "mcqa/labels/other-wts.jsonl") == other
    noted, read = (load_file(tmp_path / f"mcqa/labels/{name}wts.hidden.safetensors")["hidden"]
                   for name in ("", "other-"))
    changed = np.array([np.argmax(row["weak"]) != len(row["weak"]) - 1 - np.argmax(row["weak"])
                        for row in other])
    assert changed.any() and ((read - noted).abs().amax(1).numpy() > 1e-3).tolist() == \
        changed.tolist()


@pytest.mark.parametrize("task, more", [("mcqa", ()), ("fairness", ("--hidden",))])
def test_given_without_states_or_words_is_one_line(labelled, tmp_path, call, task, more):
    code, _, error = call("label", "--task", task, "--run", labelled / task, "--given", *more,
                          "--data", labelled / task / WTS)
    assert code == 1 and error.startswith("error: --given: keeps the answers of the data")
    assert not (labelled / task / f"labels/{task}-wts.jsonl").exists()


# ---- a budget of labelled rows, and what else they are good for ----------------------------------

def asking(home, out, *argv):
    """choose, whose --select may be given again behind it."""
    select = argv[argv.index("--select") + 1] if "--select" in argv else "ntf"
    rest = [a for k, a in enumerate(argv) if a != "--select" and argv[k - 1:k] != ("--select",)]
    return choose(home, out, *rest, select=select)


def chosen_rows(labelled, out, call, *argv):
    code, text, error = call(*asking(labelled, out, *argv))
    assert code == 0, error
    return rows.read(out / WTS), text


def test_a_larger_budget_has_the_rows_of_a_smaller_one_and_another_seed_others(labelled, tmp_path,
                                                                               call):
    ids = {}
    for name, argv in {"20": ("--budget", 20), "50": ("--budget", 50), "all": (),
                       "other": ("--budget", 20, "--seed", 1)}.items():
        made, text = chosen_rows(labelled, tmp_path / name, call, "--select", "labelled", *argv)
        ids[name] = {row["id"] for row in made}
        assert f"no label of the pool, {len(made)} labelled rows with their truth" in text
        for row in made:  # the truth in place of the weak label
            assert row["weak"] == [float(k == row["label"]) for k in range(len(row["choices"]))]
            assert row["selection"] == "labelled" and row["truth"] is True
    assert [len(ids[name]) for name in ("20", "50", "all", "other")] == [20, 50, 120, 20]
    assert ids["20"] < ids["50"] < ids["all"] and ids["other"] != ids["20"]


def test_labelled_rows_may_be_of_some_sources_and_stand_beside_the_chosen(labelled, tmp_path, call):
    only, _ = chosen_rows(labelled, tmp_path / "only", call, "--select", "labelled",
                          "--sources", "easy")
    assert {row["source"] for row in only} == {"easy"} and len(only) == 60
    alone, _ = chosen_rows(labelled, tmp_path / "alone", call, "--epochs", 4, "--budget", 40)
    both, text = chosen_rows(labelled, tmp_path / "both", call, "--epochs", 4, "--budget", 40,
                             "--add-labelled")
    assert both[:len(alone)] == alone and len(both) == len(alone) + 40
    assert "40 labelled rows beside them" in text
    assert {row["selection"] for row in both[len(alone):]} == {"labelled"}
    used, _ = chosen_rows(labelled, tmp_path / "used", call, "--select", "labelled", "--budget", 40)
    assert both[len(alone):] == used  # those that the trust function learned from


def test_a_student_trains_on_labelled_rows_that_were_put_there_and_on_no_others(
        labelled, world, tmp_path, call):
    chosen_rows(labelled, tmp_path / "both", call, "--epochs", 4, "--add-labelled")
    train = ("train_student", "--task", "mcqa", "--model", world / "tiny-3x64", "--epochs", .2,
             "--max-length", 48)
    code, _, error = call(*train, "--labels", tmp_path / "both" / WTS, "--out", tmp_path / "s")
    assert code == 0, error
    assert read_json(tmp_path / "s/config.json")["rows"] == len(rows.read(tmp_path / "both" / WTS))
    code, _, error = call(*train, "--labels", labelled / "mcqa" / TRUST, "--out", tmp_path / "t")
    assert code == 1 and "belongs to split 'trust'" in error and not (tmp_path / "t/model").exists()


def test_zero_shot_labels_are_of_the_other_sources(labelled, tmp_path, call):
    made, _ = chosen_rows(labelled, tmp_path / "zero", call, "--epochs", 4, "--sources", "easy",
                          "--unseen", "--keep", .4)
    pool = rows.read(labelled / "mcqa" / WTS)
    others = [row for row in pool if row["source"] == "hard"]
    assert {row["source"] for row in made} == {"hard"} and len(made) == round(.4 * len(others))
    trust = {row["id"]: row["trust"] for row in rows.read(tmp_path / "zero/trust.jsonl")}
    assert len(trust) == len(pool)  # all are judged, the others can be chosen
    least = min(trust[row["id"]] for row in made)
    assert sum(trust[row["id"]] > least for row in others) < len(made)
    about = read_json(tmp_path / "zero/trust.json")
    assert about["regimes"] == {"easy": "in distribution", "hard": "other distribution"}
    again, _ = chosen_rows(labelled, tmp_path / "again", call, "--ntf", tmp_path / "zero",
                           "--unseen", "--keep", .4)
    assert [row["id"] for row in again] == [row["id"] for row in made]


@pytest.mark.parametrize("argv, words", [
    (("--budget", 121), "--budget 121: {labels}/trust.jsonl has 120 such rows; give less"),
    (("--unseen",), "--unseen: the trust function has learned from every source of "
                    "{labels}/wts.jsonl (easy, hard); give it fewer --sources"),
    (("--select", "labelled", "--keep", .2), "--keep has no effect with --select labelled"),
    (("--select", "confidence", "--add-labelled"), "--add-labelled has no effect"),
    (("--select", "confidence", "--unseen"), "--unseen has no effect"),
    (("--select", "truth", "--per-source"), "--per-source has no effect with --select truth"),
    (("--per-source", "--keep", 20), "--per-source: keeps a share of each source; --keep 20 is a "
                                     "number of rows, give one up to 1"),
    (("--select", "random", "--budget", 9), "--budget has no effect with --select random")])
def test_budgets_that_cannot_be_are_one_line(labelled, tmp_path, call, argv, words):
    code, _, error = call(*asking(labelled, tmp_path / "out", *argv))
    assert code == 1 and error.count("\n") == 1
    assert words.format(labels=labelled / "mcqa/labels") in error
    assert not (tmp_path / "out/labels").exists()


def test_labelled_rows_of_another_task_are_no_rows_for_a_student(labelled, tmp_path, call):
    """Answers of another task tell what to trust, and are not what the student learns."""
    shutil.copytree(labelled / "mcqa", tmp_path / "mcqa")
    labels = tmp_path / "mcqa/labels"
    games = [row | {"weak_text": " a1a6", "certain": [.5, .1, -1]} for row in played("trust", 30)]
    rows.write(labels / "game-trust.jsonl", games)
    rows.write_json(labels / "game-trust.jsonl.meta.json", {"task": "game"})
    hidden_states.write_states(labels / "game-trust.hidden.safetensors", np.zeros((30, 32)), games)
    for more in (("--select", "labelled"), ("--add-labelled",)):
        code, _, error = call(
            "train_ntf", "--teacher", tmp_path / "mcqa", "--labelled", labels / "game-trust.jsonl",
            "--pool", labels / "wts.jsonl", "--out", tmp_path / "out", *more)
        assert code == 1 and error.count("\n") == 1
        assert "rows of task game, a student of mcqa cannot train on them" in error


def test_the_trust_function_of_a_teacher_that_is_always_wrong_is_a_constant_elsewhere_too(
        labelled, tmp_path, call):
    shutil.copytree(labelled / "mcqa", tmp_path / "mcqa")
    labels = tmp_path / "mcqa/labels"
    for path in (labels / "trust.jsonl", labels / "wts.jsonl"):
        rows.write(path, [row | {"label": (int(np.argmax(row["weak"])) + 1) % len(row["choices"])}
                          for row in rows.read(path)])
    code, out, _ = call(*asking(tmp_path, tmp_path / "first"))
    assert code == 0 and "is wrong: there is nothing to learn" in out
    code, _, error = call(*asking(tmp_path, tmp_path / "second", "--ntf", tmp_path / "first"))
    assert code == 0, error
    assert {row["trust"] for row in rows.read(tmp_path / "second/trust.jsonl")} == {0}


def test_a_share_of_each_source(labelled, tmp_path, call):
    made, _ = chosen_rows(labelled, tmp_path / "each", call, "--select", "confidence",
                          "--per-source", "--keep", .2)
    pool = rows.read(labelled / "mcqa" / WTS)
    for source in ("easy", "hard"):
        count = sum(row["source"] == source for row in pool)
        assert sum(row["source"] == source for row in made) == round(.2 * count)
    other, _ = chosen_rows(labelled, tmp_path / "all", call, "--select", "confidence",
                           "--keep", .2)
    assert {row["id"] for row in other} != {row["id"] for row in made}
