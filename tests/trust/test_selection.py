"""Which rows are chosen, and the scores that the trust function is compared with.

    python -m pytest -q tests/trust/test_selection.py
"""

import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from w2s import hidden_states, rows, tasks
from w2s.infer import choice, classify
from w2s.model import checkpoint, tokenization
from w2s.tasks import arithmetic, fairness, mcqa
from w2s.trust import baselines, selection

ARGS = {"max_length": 64, "scoring": "cloze"}


# ---- which rows ----------------------------------------------------------------------------------

def test_the_most_trusted_are_picked_and_of_equals_the_earlier():
    score = [.2, .9, .5, .9, .5, .1]
    assert [selection.pick(score, n).tolist() for n in (1, 2, 3, 6)] == [
        [1], [1, 3], [1, 2, 3], [0, 1, 2, 3, 4, 5]]
    assert selection.pick(np.arange(1000) % 2, 300).tolist() == list(range(1, 600, 2))


def test_balanced_takes_equally_many_of_each_class_as_far_as_there_are():
    score = np.array([.9, .8, .7, .6, .5, .4, .3])
    classes = ["a", "a", "a", "a", "b", "b", "c"]
    assert selection.pick(score, 3, classes).tolist() == [0, 4, 6]
    assert selection.pick(score, 5, classes).tolist() == [0, 1, 4, 5, 6]
    assert selection.pick(score, 6, classes).tolist() == [0, 1, 2, 4, 5, 6]  # b and c are used up
    assert selection.pick(score, 4, classes).tolist() == [0, 1, 4, 6]  # the odd one: most trusted
    assert selection.pick([.5] * 4, 2, [1, 1, 0, 0]).tolist() == [0, 2]


def test_only_rows_that_may_be_chosen_are():
    """Of .9, .8 ... .2 those at 1, 2, 5, 6 and 7; their classes are b, a, a, a and b."""
    score, classes = np.arange(9, 1, -1) / 10, list("abababab")
    classes[2] = classes[5] = classes[6] = "a"
    may = np.array([0, 1, 1, 0, 0, 1, 1, 1], bool)
    assert selection.pick(score, 3, may=may).tolist() == [1, 2, 5]
    assert selection.pick(score, 3, None, .35, may).tolist() == [1, 2, 5]
    assert selection.pick(score, 5, None, .35, may).tolist() == [1, 2, 5]
    assert selection.pick(score, 4, classes, may=may).tolist() == [1, 2, 5, 7]


def test_a_budget_is_drawn_from_the_positions_in_their_order():
    positions = [3, 4, 8, 15, 16, 23, 42, 99]
    drawn = {n: selection.within(positions, n, 0, "p") for n in range(1, 9)}
    for n, found in drawn.items():
        assert len({*found}) == n and found == sorted(found) and {*found} <= {*positions}
        assert {*found} >= {*drawn.get(n - 1, ())}
    assert drawn[8] == positions and drawn[2] != positions[:2]
    assert len({tuple(selection.within(positions, 3, seed, "p")) for seed in range(20)}) > 10


def test_rows_of_sources_that_it_has_not_learned_from():
    pool = [{"source": "a"}, {"source": "b"}, {}, {"source": "a"}]
    assert selection.unseen(pool, ["a"], "p").tolist() == [False, True, True, False]
    assert selection.unseen(pool, [], "p").all()


@pytest.mark.parametrize("keep, n, expected", [(.5, 10, 5), (1, 10, 10), (.01, 10, 1), (2, 10, 2),
                                               (10, 10, 10), (.25, 10, 2)])
def test_keep_is_a_share_or_a_number(keep, n, expected):
    assert selection.most(keep, n) == expected


@pytest.mark.parametrize("keep", [11, 1.5])
def test_keep_that_is_neither_is_refused(keep):
    with pytest.raises(ValueError, match=f"--keep {keep}: the pool has 10 rows"):
        selection.most(keep, 10)


def test_shares_of_the_pool_and_of_the_chosen():
    assert selection.shares([0, 1, 1, 1, 2], [1, 2]) == {"0": (.2, 0), "1": (.6, 1), "2": (.2, 0)}
    assert selection.shares(list(range(21)), [1]) == {}


def test_true_labels_take_the_place_of_weak_ones_and_nothing_else_changes():
    row = {"id": "a", "text": "t", "label": 2, "weak": [.2, .5, .3], "weak_adv": [1, 0, 0],
           "logits": [1, 2, 1], "logits_adv": [3, 0, 0], "trust": .5}
    assert selection.with_truth(row) == {
        "id": "a", "text": "t", "label": 2, "weak": [0, 0, 1], "weak_adv": [0, 0, 1], "trust": .5,
        "truth": True}
    said = {"id": "a", "text": "t", "label": "3", "weak_text": " 4", "certain": [.1, 0, 1]}
    assert selection.with_truth(said)["weak_text"] == " 3" and said["weak_text"] == " 4"
    assert selection.with_truth(said | {"solution": "so #### 3"})["weak_text"] == " so #### 3"
    assert arithmetic.free.right(selection.with_truth(said | {"solution": "so #### 3"}))


# ---- what a labelled row says of itself ----------------------------------------------------------

def test_certainty_on_paper():
    assert selection.certainty({"weak": [.5, .25, .25]}) == pytest.approx(
        (.5, .25, -1.5 * math.log(2)))
    assert selection.certainty({"weak": [1., 0.]}) == (1, 1, 0)
    assert selection.certainty({"weak_text": "x", "certain": [.7, .6, .2]}) == (.7, .6, -.2)
    with pytest.raises(ValueError, match="id 'a': no 'certain'; label the rows with label.py"):
        selection.certainty({"id": "a", "weak_text": "x"})


def test_features_put_the_teachers_certainty_beside_its_states(tmp_path):
    states, path = np.arange(6, dtype=np.float32).reshape(2, 3), tmp_path / "wts.jsonl"
    labelled = [{"id": "a", "weak": [.75, .25], "logits": [3., 1.]},
                {"id": "b", "certain": [.7, .6, .2]}]
    hidden_states.write_states(hidden_states.states_of(path), states, labelled)
    assert (selection.features(path, labelled, "states") == states).all()
    both = selection.features(path, labelled, "both")
    assert both.dtype == np.float32 and (both[:, :3] == states).all()
    entropy = -.75 * math.log(.75) - .25 * math.log(.25)
    assert both[:, 3:] == pytest.approx(np.array(
        [[math.log(.75), .5, -entropy, 3], [math.log(.7), .6, -.2, 0]]), abs=1e-6)


# ---- how good it is ------------------------------------------------------------------------------

def test_every_source_is_measured_and_a_score_that_is_no_probability_has_no_calibration():
    pool = [{"id": str(i), "source": "ab"[i % 2]} for i in range(40)]
    right = np.array([i % 3 > 0 for i in range(40)], float)
    chosen = np.arange(1, 40, 4)  # ten rows, of which 9, 21 and 33 are wrong
    for select, names in (("ntf", {"ece", "brier", "nll", "auc"}), ("margin", {"auc"})):
        found = selection.measure(right * .5 + .1, right, pool, chosen, select, 0, 100)
        value = {(m["slice"], m["metric"]): m["value"] for m in found}
        assert {s for s, _ in value} == {"all", "a", "b"}
        assert names <= {m for _, m in value} and ("ece" in names) == (("all", "ece") in value)
        assert value["all", "auc"] == value["b", "auc"] == 1
        assert value["all", "purity_n"] == 10 and value["a", "purity_n"] == 5
        assert value["all", "right"] == pytest.approx(right.mean())
        assert value["all", "right_kept"] == .7
        assert any("a  " in line for line in selection.lines({}, found, {}, {}))


def test_the_groups_of_the_pool_are_drawn_together():
    """60 groups of 6 equal rows, half of them right: the standard error is that of 60 numbers."""
    pool = [{"id": str(i), "group": f"g{i // 6}"} for i in range(360)]
    right = np.arange(360) // 6 % 2.
    found = selection.measure(np.full(360, .5), right, pool, np.arange(9), "ntf", 0, 1000)
    value = {m["metric"]: m["value"] for m in found}
    width = value["purity_random_high"] - value["purity_random_low"]
    assert width == pytest.approx(2 * 1.96 * (.25 / 60) ** .5, rel=.15)


def test_regimes_are_those_of_the_paper():
    pool = [{"source": "x"}, {"source": "y"}]
    assert selection.regimes(["x"], pool, True) == {
        "x": "in distribution", "y": "other distribution"}
    assert set(selection.regimes(["x"], pool, False).values()) == {"other interface"}


# ---- what a model says ---------------------------------------------------------------------------

@pytest.fixture(scope="module")
def folder(world):
    return world / "tiny-2x32"


def questions(n):
    draw = random.Random(0)
    return [{"id": f"q{i}", "text": f"is the garden {draw.choice(['warm', 'dull'])} ?",
             "choices": ["yes", "not at all", "so so"][:2 + i % 2], "label": i % 2,
             "weak": [.3, .7] if i % 2 == 0 else [.2, .3, .5]} for i in range(n)]


@pytest.mark.parametrize("scoring", ["cloze", "letters"])
def test_in_context_is_the_likelihood_behind_the_examples(folder, scoring):
    model, tokenizer = checkpoint.load(folder, "lm"), tokenization.load_tokenizer(folder)
    pool, args = questions(6), ARGS | {"scoring": scoring}
    shown = baselines.solved(mcqa, pool[5], args) + "\n\n" + baselines.solved(mcqa, pool[4], args)
    assert ("\nB. not at all" in shown) == (scoring == "letters")
    found = baselines.in_context(model, tokenizer, shown, mcqa, pool, args)
    for row, p in zip(pool, found):
        head = choice.tokens(tokenizer, [f"{shown}\n\n{mcqa.prompt(row, scoring)}"])[0]
        each = []
        for tail in choice.tokens(tokenizer, mcqa.options(row, scoring)):
            ids = torch.from_numpy(np.concatenate([head, tail])).long()[None]
            with torch.no_grad():
                logp = model(ids, torch.tensor([ids.shape[1]]))[0, :-1].log_softmax(-1)
            logp = logp.gather(1, ids[0, 1:, None])[len(head) - 1:, 0]
            logp = logp.mean() if scoring == "cloze" else logp.sum()
            each.append(math.exp(float(logp)))
        assert p == pytest.approx(each[int(np.argmax(row["weak"]))] / sum(each), abs=1e-5)


def test_in_context_of_a_text_is_the_mean_over_its_tokens(folder):
    model, tokenizer = checkpoint.load(folder, "lm"), tokenization.load_tokenizer(folder)
    pool = [{"id": "a", "text": "one and two ?", "label": "3", "weak_text": " so #### 3"},
            {"id": "b", "text": "nothing ?", "label": "0", "weak_text": ""}]
    found = baselines.in_context(model, tokenizer, "", tasks.load("arithmetic"), pool, ARGS)
    head, tail = choice.tokens(tokenizer, ["\n\n" + arithmetic.prompt(pool[0]), " so #### 3"])
    ids = torch.from_numpy(np.concatenate([head, tail])).long()[None]
    with torch.no_grad():
        logp = model(ids, torch.tensor([ids.shape[1]]))[0, :-1].log_softmax(-1)
    logp = logp.gather(1, ids[0, 1:, None])[len(head) - 1:]
    assert found[0] == pytest.approx(math.exp(float(logp.mean())), abs=1e-5) and 0 < found[1] < 1


def test_examples_are_asked_as_their_own_task_asks(folder, tmp_path):
    """Labelled rows of one task, a pool of another: icl-confidence works all the same."""
    args = ARGS | {"task": "mcqa", "model": str(folder)}  # the base model is asked, not the teacher
    rows.write_json(tmp_path / "config.json", {"args": args, "inputs": {}})
    cfg = SimpleNamespace(select="icl-confidence", teacher=tmp_path, seed=0, shots=2, reward=None,
                          device="cpu", dtype="float32", pool="pool.jsonl")
    pool = [{"id": "a", "text": "one ?", "label": "3", "weak_text": " 4"}]
    found = baselines.score(cfg, (tasks.load("mcqa"), questions(4)),
                            (tasks.load("arithmetic"), pool))
    assert found.shape == (1,) and 0 < found[0] < 1
    with pytest.raises(ValueError, match="pool.jsonl are class numbers"):
        baselines.score(cfg, (fairness, []), (fairness, [{"id": "a", "weak": [.5, .5]}]))


def test_the_examples_are_some_labelled_rows_with_their_true_answers(folder, tmp_path, monkeypatch):
    rows.write_json(tmp_path / "config.json", {
        "args": ARGS | {"task": "mcqa", "model": str(folder)}, "inputs": {}})
    labelled = [{"id": f"l{k}", "text": f"Is it {k}?", "choices": ["yes", "no"], "label": k % 2,
                 "weak": [.9, .1]} for k in range(9)]
    solved = {f"Question: Is it {k}?\nAnswer: {'no' if k % 2 else 'yes'}" for k in range(9)}
    seen = []
    monkeypatch.setattr(baselines, "in_context", lambda *given: seen.append(given[2]))
    for seed in (0, 1):
        cfg = SimpleNamespace(select="icl-confidence", teacher=tmp_path, seed=seed, shots=3,
                              reward=None, device="cpu", dtype="float32")
        pool = [row | {"id": f"p{n}", "text": "Which?"} for n, row in enumerate(labelled)]
        baselines.score(cfg, *((tasks.load("mcqa"), data) for data in (labelled, pool)))
        shown = seen[-1].split("\n\n")
        assert len(shown) == len({*shown}) == 3 and {*shown} <= solved
    assert seen[0] != seen[1]


def test_what_a_verifier_reads_is_the_teachers_answer_and_not_the_true_one():
    row = {"text": "Is it?", "choices": ["yes", "no"], "label": 0, "weak": [.1, .9]}
    assert baselines.spoken(mcqa, row, ARGS) == ("Question: Is it?\nAnswer:", " no")
    assert baselines.spoken(mcqa, row, ARGS | {"scoring": "letters"}) == (
        "Question: Is it?\nA. yes\nB. no\nAnswer:", " B")
    said = {"text": "6 + 1 ?", "label": "7", "weak_text": " #### 8"}
    assert baselines.spoken(tasks.load("arithmetic"), said, ARGS) == (
        "Question: 6 + 1 ?\nAnswer:", " #### 8")


def test_a_verifier_learns_which_answers_are_right(folder):
    """Warm questions are those that the teacher gets right."""
    draw = random.Random(1)

    def made(n):
        warm = [draw.random() < .5 for _ in range(n)]
        return [{"id": f"v{i}", "text": f"is it {'warm' if w else 'dull'} ?", "label": 0,
                 "choices": ["yes", "no"], "weak": [float(w), float(not w)]}
                for i, w in enumerate(warm)]
    cfg = SimpleNamespace(reward_epochs=4, reward_lr=1e-2, seed=0, dtype="float32")
    model = baselines.verifier(cfg, folder, (tasks.load("mcqa"), made(100)), ARGS,
                               torch.device("cpu"))
    test = made(40)
    p = baselines.verify(model, baselines.encode(tokenization.load_tokenizer(folder), mcqa, test,
                                                 ARGS))
    assert ((p > .5) == [classify.right(row) for row in test]).all()


def test_a_reward_is_the_probability_of_the_last_class_or_the_sigmoid_of_the_only_one(world):
    ids = [np.arange(1, 9, dtype=np.int32), np.arange(3, 7, dtype=np.int32)]
    for classes in (1, 2, 3):
        model = checkpoint.load(world / "tiny-2x32", "class", classes)
        model.score.weight.data.normal_(generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            z = torch.cat([model(torch.from_numpy(i).long()[None], torch.tensor([len(i)]))
                           for i in ids])
        expected = z.sigmoid()[:, 0] if classes == 1 else z.softmax(-1)[:, -1]
        assert np.abs(baselines.verify(model, ids) - expected.numpy()).max() < 1e-6


@pytest.mark.parametrize("layer", [-1, -2])
def test_predictions_and_states_are_of_the_layer_that_the_head_reads(folder, layer):
    model = checkpoint.load(folder, "class", 2)
    model.head_layer = layer
    model.score.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    ids, seen = [np.arange(1, 9, dtype=np.int32), np.arange(3, 7, dtype=np.int32)], {}
    for k, block in enumerate(model.gpt_neox.layers):
        block.register_forward_hook(lambda _, given, out, k=k: seen.update({k: given[0]}))
    logits, states = classify.read_all(model, {"ids": ids}, title="", hidden=True)["p"]
    for row, z, h in zip(ids, logits, states):
        with torch.no_grad():
            whole = model.states(torch.from_numpy(row).long()[None])
            expected = (whole if layer == -1 else seen[1])[0, -1]  # what goes into the last block
            assert np.abs(expected.numpy() - h).max() < 1e-5
            assert np.abs((model.score.weight @ expected).numpy() - z).max() < 1e-5


def test_a_model_without_a_head_gives_no_rewards(folder):
    with pytest.raises(ValueError, match="no sequence classifier"):
        baselines.classifier(folder, "cpu")


def test_the_same_share_of_each_source():
    """Of the pool the two best are both a's; of each source half of its rows, by hand."""
    score, sources = np.array([.9, .8, .1, .2, .5, .4]), ["a", "a", "b", "b", "b", "b"]
    assert selection.pick(score, 3).tolist() == [0, 1, 4]
    assert selection.pick_each(score, .5, None, -np.inf, None, sources).tolist() == [0, 4, 5]
    assert selection.pick_each(score, .5, None, .45, None, sources).tolist() == [0, 4]
    may = np.array([True, True, True, True, True, False])
    assert selection.pick_each(score, .34, None, -np.inf, may, sources).tolist() == [0, 4]
    none = np.array([False, False, True, True, True, True])
    assert selection.pick_each(score, .5, None, -np.inf, none, sources).tolist() == [4, 5]
