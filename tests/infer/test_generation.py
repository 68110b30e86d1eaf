"""Tasks whose answers are written freely, arithmetic and game: parse, encode, label, measure.

    .venv/bin/python -m pytest tests/infer/test_generation.py

All rows here are invented, the models untrained; no GPU, about 10 s.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.conftest import read_json
from tests.data.test_prepare import lines, put
from w2s import rows, tasks, training
from w2s.data import answers, questions, raw_folder
from w2s.infer import choice, lm
from w2s.miniature import exercises
from w2s.model import checkpoint, configuration, tokenization
from w2s.train import step

SUMS = [{"id": f"s{k}", "text": f"Ned has {k} coats and 2 lamps. How many?", "label": str(k + 2),
         "solution": f"{k} + 2 = {k + 2}\n#### {k + 2}", "source": "gsm8k" if k % 2 else "sums",
         "group": f"g{k}"} for k in range(12)]
GAMES = [{"id": f"c{k}", "text": f"4k3/8/p7/8/8/8/8/R3K3 w - - {k} 31", "label": "a1a6",
          "solution": "a1a6", "source": "chess", "group": f"g{k}"} for k in range(12)]
ROWS = {"arithmetic": SUMS, "game": GAMES}
RIGHT = {"arithmetic": " two more: #### $3.0", "game": " a1a6."}  # of the rows SUMS[1], GAMES[1]
WRONG = {"arithmetic": " #### 4", "game": " a1a5"}
NONE = {"arithmetic": " who knows?", "game": " a9"}
CFG = {"temperature": 1.0, "decode": "greedy", "seed": 0, "dtype": "float32", "hidden": False}
both = pytest.mark.parametrize("name", ROWS)


@pytest.fixture(scope="module")
def tokenizer(world):
    return tokenization.load_tokenizer(world / "tiny-2x32")


@pytest.fixture
def model(world):
    return checkpoint.load(world / "tiny-2x32", "lm")


@both
def test_an_answer_is_right_when_it_can_be_read_as_the_true_one(name):
    task, row = tasks.load(name), ROWS[name][1]
    for texts, right, found in ((RIGHT, True, row["label"]), (NONE, False, "")):
        assert task.right(row | {"weak_text": texts[name]}) is right
        assert task.weak_class(row | {"weak_text": texts[name]}) == found
    assert not task.right(row | {"weak_text": WRONG[name]})


@both
def test_grpo_is_paid_for_the_weak_answer_and_never_for_none(name):
    task, row = tasks.load(name), ROWS[name][1]
    said = row | {"weak_text": WRONG[name]}
    assert task.exact(said, WRONG[name] + " .") == 1.0 and task.exact(said, RIGHT[name]) == 0.0
    assert task.exact(row | {"weak_text": NONE[name]}, NONE[name]) == 0.0


@both
@pytest.mark.parametrize("target", ["label", "weak"])
def test_the_loss_counts_the_answer_and_its_end_alone(name, target, tokenizer):
    task = tasks.load(name)
    said = [row | {"weak_text": WRONG[name]} for row in ROWS[name]]
    columns = task.encode(said, tokenizer, 512, target)
    for row, ids, start in zip(said, columns["ids"], columns["start"]):
        tail = tokenizer.decode(ids[start:-1].tolist(), skip_special_tokens=False)
        assert tail == (" " + row["solution"] if target == "label" else WRONG[name])
        assert tokenizer.decode(ids[:start].tolist()) == task.prompt(row) and ids[-1] == lm.END
    _, batch = next(task.batches(columns, 1, 4, seed=0))
    assert (batch["mask"].sum(1) == torch.tensor(
        [len(columns["ids"][i]) - columns["start"][i] for i in batch["rows"]])).all()


def test_the_prompt_is_the_question_or_the_position_alone():
    arithmetic, game = map(tasks.load, ROWS)
    assert arithmetic.prompt(SUMS[3]) == (
        "Question: Ned has 3 coats and 2 lamps. How many?\nAnswer:")
    assert game.prompt(GAMES[3]) == (
        "Position: 4k3/8/p7/8/8/8/8/R3K3 w - - 3 31\nBest move:")


@both
def test_a_row_may_bring_its_own_prompt_and_no_solution(name, tokenizer):
    task = tasks.load(name)
    row = {key: value for key, value in ROWS[name][0].items() if key != "solution"}
    row["prompt"] = "they say :"
    ids = task.encode([row], tokenizer, 512, "label")["ids"][0]
    assert tokenizer.decode(ids[:-1].tolist()) == f"they say : {row['label']}"
    [asked] = task.encode([row], tokenizer, 512)["ids"]
    assert tokenizer.decode(asked.tolist()) == "they say :"


@both
def test_a_long_prompt_loses_its_beginning_in_training_and_labelling(name, tokenizer):
    task, row = tasks.load(name), ROWS[name][0] | {"prompt": "begin " + "so " * 300 + "end :"}
    trained = task.encode([row], tokenizer, 64, "label")
    asked = task.encode([row], tokenizer, 64)["ids"][0]
    whole = choice.tokens(tokenizer, [row["prompt"]])[0]
    [ids], [start] = trained["ids"], trained["start"]
    assert len(ids) == len(asked) == 64 and (asked == whole[-64:]).all()
    assert (ids[:start] == whole[-start:]).all() and ids[-1] == lm.END


@both
@pytest.mark.parametrize("hidden", [False, True])
def test_labels_are_what_the_model_writes(name, hidden, model, tokenizer):
    task = tasks.load(name)
    columns = task.encode(ROWS[name], tokenizer, 64)
    labelled, states, line = task.label(model, tokenizer, ROWS[name], columns,
                                        SimpleNamespace(**CFG | {"hidden": hidden}))
    heads = [ids[-(len(model.cos) - task.NEW):] for ids in columns["ids"]]
    texts, certain, h = choice.written(model, heads, task.NEW, title=None)
    for k, (row, before) in enumerate(zip(labelled, ROWS[name])):
        assert {key: row[key] for key in before} == before  # `label` and the rest stay
        assert row["weak_text"] == tokenizer.decode(texts[k].tolist(), skip_special_tokens=False)
        assert np.allclose(row["certain"], certain[k], rtol=1e-6) and len(row["certain"]) == 3
    assert states is None or (states == h).all()
    assert (states is None) is not hidden
    share = np.mean([task.right(row) for row in labelled])
    assert line == f"12 rows, {share:.1%} of the weak answers are right"
    said = task.predictions(model, columns, title=None)
    parse = task.exact.__self__.parse
    assert said == [{"answer": parse(row["weak_text"]) or ""} for row in labelled]


def test_sampled_labels_follow_the_seed(model, tokenizer):
    task = tasks.load("game")
    columns = task.encode(GAMES, tokenizer, 64)

    def texts(**arguments):
        cfg = SimpleNamespace(**CFG | arguments)
        return [row["weak_text"] for row in task.label(model, tokenizer, GAMES, columns, cfg)[0]]
    first = texts(decode="sample")
    assert first == texts(decode="sample") != texts(decode="sample", seed=1)
    assert texts(temperature=2.0) == texts()  # greedy has none


def test_a_short_model_writes_at_most_half_of_its_positions(tokenizer):
    task = tasks.load("arithmetic")
    shape = configuration.SHAPES["pythia-14m"] | {
        "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2,
        "intermediate_size": 32, "vocab_size": 512, "max_position_embeddings": 40}
    small = checkpoint.untrained(shape, 0)
    long = [row | {"text": row["text"] * 9} for row in SUMS]
    columns = task.encode(long, tokenizer, 2048)
    found, _, _ = task.label(small, tokenizer, long, columns, SimpleNamespace(**CFG))
    assert max(len(tokenizer.encode(row["weak_text"]).ids) for row in found) <= 2 * 20
    last = np.arange(100, 120)  # all that is read of a prompt
    one, same, other = task.exact.__self__.write(small, {"tokenizer": tokenizer, "ids": [
        np.append(first, end) for first, end in (([5] * 50, last), ([9] * 30, last),
                                                 ([5] * 50, last[::-1]))]}, "float32", None)[0]
    assert one == same != other


@both
def test_measured_is_exact_match_of_each_source_too(name):
    task = tasks.load(name)
    said = [{"answer": answer, "label": "3", "source": source} for answer, source in (
        ("3", "a"), ("3", "a"), ("4", "a"), ("3", "b"), ("", "b"))]
    found = {(m["slice"], m["metric"]): m["value"] for m in task.evaluate(said)}
    # of a 2 of 3 are right, of b 1 of 2: the mean of the two, and not 3 of 5
    assert found == {("all", "acc"): pytest.approx(7 / 12), ("all", "answered"): .75,
                     ("a", "acc"): 2 / 3,
                     ("a", "answered"): 1.0, ("b", "acc"): .5, ("b", "answered"): .5}
    assert task.headline(task.sums(said).sum(0)) == {"acc": pytest.approx(7 / 12)}
    assert {m["slice"] for m in task.evaluate(said[:3])} == {"all"}
    assert {m["metric"] for m in task.evaluate(said)} == task.METRICS.keys()


@both
@pytest.mark.parametrize("bad, weak, match", [
    ({"label": 3}, False, "'label' is 3|'label' is a number"),
    ({"text": 3}, False, "'text' is a number"),
    ({"label": "$4,000.0 or e2e4"}, False, "expected the bare answer, '(4000|e2e4)'"),
    ({"label": "what"}, False, "'label' is 'what', expected the bare answer$"),
    ({"prompt": 3}, False, "'prompt' is a number"), ({"solution": {}}, False, "is an object"),
    ({"source": ["s"]}, False, "'source' is a list"), ({"source": 3}, False, "'source' is a n"),
    *(({"weak_text": "x", "certain": wrong}, True, "'certain' is .*, expected 3 finite numbers")
      for wrong in (True, [1], [1, 0, True], [1, 0, "0"], [1, 0, 1e39], "abc")),
    ({}, True, "no key 'weak_text'"), ({"weak_text": 3}, True, "'weak_text' is a n")])
def test_a_bad_row_is_named(name, bad, weak, match, tmp_path):
    file = tmp_path / "wts.jsonl"
    good = {"weak_text": " #### 3"} if weak else {}
    put(file, lines([ROWS[name][0] | good, ROWS[name][1] | bad]))
    with pytest.raises(ValueError, match=rf"wts.jsonl:2: .*({match})"):
        tasks.load(name).read(file, weak)


def test_a_model_learns_an_answer_and_is_measured_right(model, tokenizer):
    """Trained on two moves that the prompt decides, in the task's own pieces."""
    task = tasks.load("game")
    said = [row | {"prompt": f"{'warm' if k % 2 else 'dull'} :", "label": ("one", "two")[k % 2],
                   "solution": ("one", "two")[k % 2]} for k, row in enumerate(GAMES)]
    columns = task.encode(said, tokenizer, 64, "label")
    make = task.make_step(model, step.adamw(model, 1e-2), task.objective, step.ground_truth, 0, 30)
    for k, batch in task.batches(columns, 30, 12, seed=0):
        make(k, batch)
    model.eval()
    found = task.predictions(model, task.encode(said, tokenizer, 64), title=None)
    measured = task.evaluate([p | {"label": row["label"]} for p, row in zip(found, said)])
    assert [m["value"] for m in measured] == [1.0, 1.0]
    labelled = task.label(model, tokenizer, said, task.encode(said, tokenizer, 64),
                          SimpleNamespace(**CFG))[0]
    assert all(map(task.right, labelled)) and {row["weak_text"] for row in labelled} == {
        " one", " two"}


def test_the_scripts_train_and_measure_a_game(call, world, tmp_path):
    for name, members in (("weak", GAMES[:8]), ("test", GAMES[8:])):
        rows.write(tmp_path / f"{name}.jsonl", [row | {"split": name} for row in members])
    run = tmp_path / "run"
    code, _, err = call("train_weak", "--task", "game", "--model", world / "tiny-2x32", "--data",
                        tmp_path / "weak.jsonl", "--out", run, "--epochs", 20, "--lr", 1e-2,
                        "--batch-size", 8)
    assert code == 0, err
    code, out, err = call("evaluate", "--task", "game", "--run", run, "--data",
                          tmp_path / "test.jsonl")
    assert code == 0, err
    [all_right, answered] = read_json(run / "eval.json")["test"]["metrics"]
    assert all_right["value"] == answered["value"] == 1.0 and "acc 1.0000" in out
    assert rows.read(run / "predictions" / "test.jsonl")[0] == {
        "id": "c8", "group": "g8", "label": "a1a6", "source": "chess", "answer": "a1a6"}


@pytest.mark.parametrize("length", [100, 512])
def test_training_on_cut_rows_says_how_many(length, call, world, tokenizer, tmp_path):
    data = [row | {"text": row["text"] + " so" * 5 * k} for k, row in enumerate(SUMS)]
    rows.write(tmp_path / "weak.jsonl", data)
    sizes = [len(ids) for ids in tasks.load("arithmetic").encode(data, tokenizer, 512, "label")[
        "ids"]]
    code, out, err = call("train_weak", "--task", "arithmetic", "--model", world / "tiny-2x32",
                          "--data", tmp_path / "weak.jsonl", "--out", tmp_path / "run",
                          "--max-length", length, "--epochs", 1)
    assert code == 0, err
    cut = sum(size >= length for size in sizes)
    assert cut == (8 if length == 100 else 0)
    assert out.count("note: ") == (cut > 0)
    assert cut == 0 or (f"note: {cut} of 12 rows reach --max-length 100 tokens; what is longer was "
                        "cut\n") in out


# ---- rows whose solution has a box ---------------------------------------------------------------

BOXED = [{"id": f"m{k}", "text": f"Half of ${k}$ lamps?", "label": f"{k}/2", "source": "math",
          "solution": f"It is $\\boxed{{\\frac{{{k}}}{{2}}}}$.", "group": f"m{k}"}
         for k in range(1, 24, 2)]


def test_a_row_with_a_box_is_read_as_an_expression_and_another_as_a_number():
    task, said = tasks.load("arithmetic"), r"So $\boxed{0.50}$, not 7"
    boxed, plain = BOXED[0] | {"weak_text": said}, SUMS[5] | {"weak_text": said}
    assert task.weak_class(boxed) == "1/2" and task.right(boxed)
    assert task.weak_class(plain) == "7" and task.right(plain)
    assert task.exact(boxed, r"\boxed{\dfrac12}") == 1.0 and task.exact(boxed, "7") == 0.0
    assert task.exact(plain, r"\boxed{\dfrac12} 7") == 1.0
    cut = boxed | {"weak_text": r"\boxed{1/2} and \boxed{1"}  # no answer agrees with none
    assert task.weak_class(cut) == "" and task.exact(cut, cut["weak_text"]) == 0.0
    assert task.tokens(boxed) == 768 and task.tokens(plain) == task.NEW == 160


def test_each_row_of_a_mixed_file_is_written_and_read_in_its_own_way(model, tokenizer, monkeypatch):
    task, asked = tasks.load("arithmetic"), []

    def written(model, heads, new, temperature, seed, dtype, title, names=None):
        asked.append((len(heads), new))
        k = np.array([len(head) for head in heads])
        texts = [rf" \boxed{{{n}/2}} or {n}" for n in k]
        return choice.tokens(tokenizer, texts), np.tile(k / 2, (3, 1)).T, np.float32(k)[:, None]
    monkeypatch.setattr(choice, "written", written)
    mixed = [row for pair in zip(BOXED, SUMS) for row in pair]
    columns = task.encode(mixed, tokenizer, 64)
    size = [len(ids) for ids in columns["ids"]]
    found = task.predictions(model, columns, title=None)
    assert [row["answer"] for row in found] == [
        str(n) if k % 2 else f"{n}/2" if n % 2 else str(n // 2)
        for k, n in enumerate(size)]
    places = len(model.cos)
    assert asked == [(12, min(768, places // 2)), (12, min(160, places // 2))]
    labelled, states, _ = task.label(model, tokenizer, mixed, columns,
                                     SimpleNamespace(**CFG | {"hidden": True}))
    assert [row["certain"][0] * 2 for row in labelled] == size == states[:, 0].tolist()
    assert all(row["weak_text"].endswith(f" or {n}") for row, n in zip(labelled, size))
    one = task.predictions(model, {"ids": columns["ids"][1:2], "tokenizer": tokenizer}, title=None)
    assert one == [{"answer": str(size[1])}]  # prompts of no row: the task's own way


def test_a_label_has_the_form_that_its_row_is_read_in(tmp_path):
    put(tmp_path / "wts.jsonl", lines(BOXED + SUMS))
    assert len(tasks.load("arithmetic").read(tmp_path / "wts.jsonl")) == 24
    for label, expected in (("0.5", "bare answer, '1/2'"), ("", "bare answer$")):
        put(tmp_path / "wts.jsonl", lines([BOXED[0] | {"label": label}]))
        with pytest.raises(ValueError, match=f"wts.jsonl:1: 'label' is .*, expected the {expected}"
                           ):
            tasks.load("arithmetic").read(tmp_path / "wts.jsonl")


@pytest.mark.parametrize("data, given, new", [
    (SUMS, None, 160), (SUMS + BOXED[:1], None, 768), (BOXED, 20, 20), (GAMES, None, 8)])
def test_grpo_writes_as_many_tokens_as_the_longest_of_its_rows_may_have(data, given, new, world,
                                                                        monkeypatch):
    settings = dict.fromkeys(("group", "sampling_temperature", "ratio_clip", "updates", "seed",
                              "clip_norm", "dtype", "kl")) | {"new_tokens": given}
    fit = SimpleNamespace(cfg=SimpleNamespace(**settings), folder=world / "tiny-2x32", steps=1,
                          task=tasks.load("game" if data is GAMES else "arithmetic"), model=None,
                          optimizer=None, _options={"compile": False})
    monkeypatch.setattr(training.grpo, "make_step", lambda *_, new_tokens, **__: new_tokens)
    assert training.TrainingRun.make_grpo_step(fit, data) == new


# ---- the town's exercises ------------------------------------------------------------------------

def test_the_towns_sums_are_right_and_no_two_are_of_the_same_numbers(tmp_path):
    made = exercises.sums(3, 300)
    assert made == exercises.sums(3, 300) != exercises.sums(4, 300)
    put(tmp_path / "town_sums.jsonl", lines(made))
    found = questions.arithmetic(raw_folder.Raw(tmp_path))
    assert len({row["group"] for row in found}) == 300
    for row in found:
        asked = [answers.WORDS[w] for w in row["text"].split() if w in answers.WORDS]
        steps = row["solution"].split(" #### ")[0].removesuffix(" .").split(" . ")
        assert len(asked) == 2 and sum(asked) == int(row["label"]) <= 98
        for step_, unit in zip(steps, (10, 1), strict=True):  # tens and tens, then ones and ones
            a, b, made_ = (answers.WORDS[w] for w in step_.split()[::2])
            assert a + b == made_ and a % unit == b % unit == 0 and (unit == 10 or a < 10 > b)
        assert sum(answers.WORDS[s.split()[-1]] for s in steps) == int(row["label"])


def test_the_towns_winning_moves_leave_a_multiple_of_four(tmp_path):
    made = exercises.stones(3, 300)
    assert made == exercises.stones(3, 300) != exercises.stones(4, 300)
    put(tmp_path / "town_stones.jsonl", lines(made))
    found = questions.games(raw_folder.Raw(tmp_path))
    assert len({row["group"] for row in found}) == 300 and {r["source"] for r in found} == {
        "stones"}
    told = 0
    for row in found:
        heap, *parts = row["text"].removesuffix(" takes").split(" . ")
        left = answers.WORDS[heap.split()[-1]]
        for part in parts[:-1]:
            words = part.split()
            left -= answers.WORDS[words[2]]
            assert len(words) == 3 or answers.WORDS[words[4]] == left
        told += len(words) > 3
        assert (left - answers.WORDS[row["label"]]) % 4 == 0 < left
    assert told == 200


def test_there_are_4753_sums_and_4086_positions_of_stones():
    for make, most in ((exercises.sums, 4753), (exercises.stones, 4086)):
        assert len({row["question"] for row in make(0, most)}) == most
        with pytest.raises(ValueError, match="larger than population"):
            make(0, most + 1)
