"""The three mechanisms, measured on trees of finished runs that are made by hand.

    python -m pytest -q tests/test_mechanisms.py
"""

import shutil

import numpy as np
import pytest
import torch

from tests.conftest import read_json
from w2s import mechanisms, planted, rows
from w2s.model import checkpoint, tokenization
from w2s.tasks import arithmetic, mcqa

WORDS = "warm bright dull stale noisy grim harbour orchard kettle".split()
N, KEPT = 14, {0, 1, 2, 4, 7, 8, 11}  # rows of a pool, the kept ones
RIGHT = {0, 1, 3, 4, 8, 10, 12}       # whose weak label is the real truth
PLANTED = {1, 2, 3, 5, 8}             # whose given truth is another


def pool(seed, wrong=()):
    """N labelled questions; the real truth is option 0, two rows are a group."""
    draw = np.random.default_rng(seed)
    return [{"id": f"{seed}q{i}", "group": f"{seed}g{i // 2}", "text": f"number {i} {seed}",
             "choices": draw.choice(WORDS, 3, False).tolist(), "label": 0, "split": "wts",
             "weak": np.eye(3)[0 if i in RIGHT else 2].tolist()}
            | ({"label": 1 + i % 2, "real_label": 0, "planted": True} if i in wrong else {})
            for i in range(N)]


def sums(seed, wrong=()):
    """N labelled sums, as `pool`."""
    return [{"id": f"{seed}q{i}", "group": f"{seed}g{i // 2}", "text": f"{i} and {seed}",
             "label": str(i), "solution": f"it is {i} #### {i}", "split": "wts",
             "weak_text": f" so #### {i if i in RIGHT else i + 1}"} for i in range(N)]


def plant(world, runs, task="mcqa", seeds=(0, 1, 2), wrong=(), make=pool, module=mcqa,
          students=()):
    """A tree of finished runs: labels, the choice of them, the untuned student and, of students
    {name: rows of 8 that it answers rightly}, their predictions."""
    for seed in seeds:
        folder, data = runs / task / f"seed{seed}", make(seed, wrong)
        labels = folder / "weak-none" / "labels" / "wts.jsonl"
        rows.write(labels, data)
        rows.write(folder / "trust-ntf" / "trust.jsonl", [
            {"id": row["id"], "group": row["group"], "trust": .5, "kept": i in KEPT,
             "right": int(module.right(row))} for i, row in enumerate(data)])
        finish(folder / "trust-ntf", {"pool": str(labels)}, {str(labels): rows.sha256(labels)})
        shutil.copytree(world / "tiny-2x32", folder / "base-strong" / "model")
        finish(folder / "base-strong", {"task": task, "max_length": 48, "scoring": "cloze"})
        for name, right in dict(students).items():
            order = range(8) if name == "student-ntf" else range(7, -1, -1)
            rows.write(folder / name / "predictions" / "test.jsonl", [
                {"id": f"{seed}t{i}", "group": f"{seed}t{i // 2}", "label": 0, "source": "s",
                 "p": [.9, .1] if i in right[seed] else [.1, .9]} for i in order])
            finish(folder / name, {"task": task})
    return runs


def finish(folder, args, inputs=()):
    rows.write_json(folder / "config.json", {"script": "x", "args": args, "inputs": dict(inputs)})
    (folder / "DONE").touch()


def measure(call, runs, out, *more, task="mcqa"):
    """({(measure, among): entry}, printed text) of the command."""
    code, text, err = call("w2s.mechanisms", "--runs", runs, "--task", task, "--out", out, *more)
    assert code == 0, err
    return {(entry["measure"], entry["among"]): entry
            for entry in read_json(out / "mechanisms.json")}, text


def gradients(folder, asked, answers):
    """(losses (N,), gradients (N, P)): mean -log p of each answer behind its prompt, by hand."""
    model, tokenizer = checkpoint.load(folder, "lm"), tokenization.load_tokenizer(folder)
    losses, found = [], []
    for prompt, answer in zip(asked, answers):
        head, tail = (tokenizer.encode(text, add_special_tokens=False).ids
                      for text in (prompt, answer))
        ids = torch.tensor([head + tail])
        logp = model(ids, torch.tensor([ids.shape[1]])).log_softmax(-1)[0]
        loss = -logp[range(len(head) - 1, ids.shape[1] - 1), tail].mean()
        g = torch.autograd.grad(loss, list(model.parameters()))
        losses.append(loss.item())
        found.append(torch.cat([x.flatten() for x in g]).double().numpy())
    return np.array(losses), np.array(found)


def by_hand(value, kept, of=range(N)):
    """(mean of kept, of all, kept less dropped) of the rows `of`."""
    first, second = ([value[i] for i in of if (i in KEPT) == side] for side in (True, False))
    return np.mean(first), np.mean(first + second), np.mean(first) - np.mean(second)


def values(entry):
    return [column["value"] for column in entry["columns"].values()]


@pytest.mark.parametrize("wrong", [(), PLANTED])
def test_difficulty_and_alignment_are_of_the_real_truth_and_those_of_a_loop_by_hand(
        wrong, world, tmp_path, call):
    runs = plant(world, tmp_path / "runs", seeds=(0, 3), wrong=wrong)
    measured, text = measure(call, runs, tmp_path / "out", "--draws", 100, "--batch-size", 5)
    expected = {}
    for seed in (0, 3):
        data = pool(seed)
        asked = [mcqa.prompt(row) for row in data]
        losses, t = gradients(world / "tiny-2x32", asked, [f" {r['choices'][0]}" for r in data])
        g = gradients(world / "tiny-2x32", asked, [
            f" {r['choices'][0 if i in RIGHT else 2]}" for i, r in enumerate(data)])[1]
        rest = [np.mean(np.delete(t, i, 0), 0) for i in range(N)]
        cosine = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(g, rest)]
        for name, value in (("loss of the true answer", losses),
                            ("cosine with true gradients", cosine)):
            for among, of in (("all labels", range(N)), ("right labels", sorted(RIGHT))):
                expected.setdefault((name, among), []).append(by_hand(value, KEPT, of))
        table = [row for row in rows.read(tmp_path / "out" / "mechanisms.jsonl", unique=False)
                 if row["seed"] == seed]
        assert [row["id"] for row in table] == [row["id"] for row in data]
        assert [row["loss"] for row in table] == pytest.approx(losses, abs=1e-5)
        assert [row["cosine"] for row in table] == pytest.approx(cosine, abs=1e-5)
        assert {i for i, row in enumerate(table) if row["right"]} == RIGHT
        assert {i for i, row in enumerate(table) if row["kept"]} == KEPT
    for key, each in expected.items():
        assert values(measured[key]) == pytest.approx(np.mean(each, 0), abs=1e-5), key
        assert [*measured[key]["columns"]] == ["kept", "all", "kept - dropped"]
        assert measured[key]["seeds"] == [0, 3]
        assert measured[key]["rows"] == 2 * (N if key[1] == "all labels" else len(RIGHT))
        assert f"kept {values(measured[key])[0]:.4f} [" in text and key[0] in text
    assert (("label is the real truth", "planted rows") in measured) == bool(wrong)


def test_among_planted_rows_the_share_of_labels_that_are_the_real_truth_is_counted(
        world, tmp_path, call):
    """Of the planted rows 1, 2, 3, 5, 8 the labels of 1, 3, 8 are right; 1, 2, 8 are kept."""
    runs = plant(world, tmp_path / "runs", wrong=PLANTED)
    measured, _ = measure(call, runs, tmp_path / "out", "--limit", 0, "--draws", 100)
    entry = measured["label is the real truth", "planted rows"]
    assert values(entry) == pytest.approx([2 / 3, 3 / 5, 2 / 3 - 1 / 2])
    assert entry["rows"] == 15 and ("cosine with true gradients", "all labels") not in measured
    table = rows.read(tmp_path / "out" / "mechanisms.jsonl", unique=False)
    assert {i % N for i, row in enumerate(table) if row["planted"]} == PLANTED


def test_sums_are_measured_by_their_solutions(world, tmp_path, call):
    runs = plant(world, tmp_path / "runs", "arithmetic", (0,), make=sums, module=arithmetic)
    measured, _ = measure(call, runs, tmp_path / "out", "--draws", 100, task="arithmetic")
    data, end = sums(0), "<|endoftext|>"
    losses = gradients(world / "tiny-2x32", [f"Question: {row['text']}\nAnswer:" for row in data],
                       [f" {row['solution']}{end}" for row in data])[0]
    assert values(measured["loss of the true answer", "all labels"]) == pytest.approx(
        by_hand(losses, KEPT), abs=1e-5)


def test_a_limit_draws_rows_by_the_seed_and_the_mean_stays_that_of_all(world, tmp_path, call):
    runs = plant(world, tmp_path / "runs", seeds=(0, 1))
    tables = []
    for more in ((), ("--limit", 5), ("--limit", 5, "--seed", 1)):
        measure(call, runs, tmp_path / f"out{len(tables)}", "--draws", 100, *more)
        tables.append(rows.read(tmp_path / f"out{len(tables)}" / "mechanisms.jsonl", unique=False))
    drawn = [[i for i, row in enumerate(table) if "cosine" in row] for table in tables]
    assert [sum(i < N for i in each) for each in drawn] == [14, 5, 5] and drawn[1] != drawn[2]
    assert {i % N for i in drawn[1][:5]} != {i % N for i in drawn[1][5:]}
    for table in tables[1:]:
        for whole, row in zip(tables[0], table):
            assert row.get("cosine", whole["cosine"]) == pytest.approx(whole["cosine"], abs=1e-6)


# ---- intervals -----------------------------------------------------------------------------------

def test_the_interval_of_one_seed_is_a_bootstrap_of_groups():
    """Against a loop over draws: groups with replacement, the difference of the means."""
    draw = np.random.default_rng(0)
    members = [{"group": f"g{i // 3}", "kept": bool(draw.random() < .5), "x": float(
        draw.normal() + i // 3 % 4)} for i in range(90)]
    entry, = mechanisms.entry("x", "all", ("kept", "all", "less"), {
        0: mechanisms.sample(members, "x", 4000, np.random.default_rng(1))}, 4000,
        np.random.default_rng(2))
    expected = []
    for _ in range(4000):
        some = [members[3 * g + k] for g in draw.integers(0, 30, 30) for k in range(3)]
        first, second = ([row["x"] for row in some if row["kept"] == side] for side in (1, 0))
        expected.append(np.mean(first) - np.mean(second))
    low, high = np.quantile(expected, [.025, .975])
    less = entry["columns"]["less"]
    assert less["low"] == pytest.approx(low, abs=.06) and less["high"] == pytest.approx(
        high, abs=.06) and high - low > .9
    alone = [row | {"group": i} for i, row in enumerate(members)]  # groups widen it
    single, = mechanisms.entry("x", "all", ("kept", "all", "less"), {
        0: mechanisms.sample(alone, "x", 4000, np.random.default_rng(1))}, 4000,
        np.random.default_rng(2))
    kept = entry["columns"]["kept"], single["columns"]["kept"]
    assert kept[0]["high"] - kept[0]["low"] > 1.15 * (kept[1]["high"] - kept[1]["low"])


def test_over_seeds_of_other_rows_it_is_students():
    """Mean +- t sd / sqrt(3), t = 4.303 with two degrees of freedom."""
    shift = (0., 1., 5.)
    seeds = {k: mechanisms.sample([{"group": f"{k}/{i}", "kept": i % 2 == 0, "x": s * (i % 2 == 0)}
                                   for i in range(20)], "x", 10 ** 5, np.random.default_rng(k))
             for k, s in enumerate(shift)}
    entry, = mechanisms.entry("x", "all", ("kept", "all", "less"), seeds, 10 ** 5,
                              np.random.default_rng(9))
    less = entry["columns"]["less"]
    half = 4.303 * np.std(shift, ddof=1) / 3 ** .5
    assert less["value"] == 2 and less["low"] == pytest.approx(2 - half, rel=.05)
    assert less["high"] == pytest.approx(2 + half, rel=.05)


def test_a_seed_without_dropped_rows_is_left_out():
    members = [{"group": str(i), "kept": i < 3, "x": i} for i in range(6)]
    rng = np.random.default_rng(0)
    seeds = {0: mechanisms.sample(members, "x", 100, rng),
             1: mechanisms.sample(members[:3], "x", 100, rng)}
    entry, = mechanisms.entry("x", "all", ("kept", "all", "less"), seeds, 100, rng)
    assert entry["seeds"] == [0] and values(entry) == [1, 2.5, -3] and entry["rows"] == 6
    assert mechanisms.entry("x", "all", ("a", "b", "c"), {1: seeds[1]}, 100, rng) == []


# ---- students ------------------------------------------------------------------------------------

STUDENTS = {"student-ntf": {0: {0, 1, 2, 3}, 1: {0, 1}, 2: set(range(8))},
            "student-ntf-easy": {0: {0, 1, 2, 5, 6}, 1: {4, 5}, 2: set(range(6))}}


def test_students_are_compared_row_by_row_in_the_seeds_that_have_both(world, tmp_path, call):
    """Right of 8 rows: 5, 2, 6 against 4, 2, 8; the third seed's easy one is not finished."""
    runs = plant(world, tmp_path / "runs", students=STUDENTS)
    more = "--limit", 0, "--draws", 2000
    measured, text = measure(call, runs, tmp_path / "out", *more)
    entry = measured["acc", "test rows"]
    assert [*entry["columns"]] == ["student-ntf-easy", "student-ntf",
                                   "student-ntf-easy - student-ntf"]
    assert values(entry) == pytest.approx([13 / 24, 14 / 24, -1 / 24])
    assert "no seed has both students of student-ntf:student-truth" in text
    (runs / "mcqa/seed2/student-ntf-easy/DONE").unlink()
    entry = measure(call, runs, tmp_path / "two", *more)[0]["acc", "test rows"]
    assert entry["seeds"] == [0, 1] and values(entry) == pytest.approx([7 / 16, 6 / 16, 1 / 16])
    # paired: a student has no distance from itself
    entry = measure(call, runs, tmp_path / "self", *more, "--compare",
                    "student-ntf:student-ntf")[0]["acc", "test rows"]
    assert {*entry["columns"]["student-ntf - student-ntf"].values()} == {0}


def test_the_same_command_is_done_already_and_repeats_its_bytes(world, tmp_path, call):
    runs = plant(world, tmp_path / "runs", seeds=(0, 1), wrong=PLANTED)
    measure(call, runs, tmp_path / "out", "--draws", 100)
    measure(call, runs, tmp_path / "again", "--draws", 100)
    for name in ("mechanisms.json", "mechanisms.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert "done already" in measure(call, runs, tmp_path / "out", "--draws", 100)[1]
    shutil.move(runs, tmp_path / "moved")  # labels are sought from where the runs are now
    for seed in (0, 1):
        path = tmp_path / "moved/mcqa" / f"seed{seed}" / "trust-ntf/config.json"
        text = path.read_text().replace(str(runs), "runs").replace("runs/mcqa", "mcqa")
        path.write_text(text)
    assert "done already" in measure(call, tmp_path / "moved", tmp_path / "out", "--draws", 100)[1]
    code, _, err = call("w2s.mechanisms", "--runs", tmp_path / "moved", "--task", "mcqa", "--out",
                        tmp_path / "out", "--draws", 200)
    assert code == 1 and "--draws 100 -> 200" in err


def spoil(path, n, **change):
    data = rows.read(path)
    data[n] |= change
    rows.write(path, data)


def test_what_cannot_be_measured_is_one_line(world, tmp_path, call):
    runs = plant(world, tmp_path / "runs", seeds=(0,), wrong=PLANTED, students=STUDENTS)
    seed = runs / "mcqa" / "seed0"

    def refused(words, *more, task="mcqa", at=runs):
        code, out, err = call("w2s.mechanisms", "--runs", at, "--task", task, "--out",
                              tmp_path / "out", *more)
        assert code == 1 and err.count("\n") == 1 and words in err, err
        assert not (tmp_path / "out").exists()
        return out
    refused("--task fairness: the untuned student says nothing of its labels", task="fairness")
    refused("--task privacy: the untuned student says nothing", task="privacy")
    out = refused("mcqa: no seed has finished runs nothing and base-strong", "--trust", "nothing")
    assert "seed 0 is left out (nothing not run)" in out
    refused("arithmetic: no seed has finished runs trust-ntf", task="arithmetic")
    for pair in ("student-ntf", "a:b:c", ":b"):
        refused(f"--compare {pair}: expected two runs, as in", "--compare", pair)
    spoil(seed / "student-ntf/predictions/test.jsonl", 3, id="other")
    refused("student-ntf-easy/predictions/test.jsonl: not the rows of")
    shutil.rmtree(seed / "student-ntf")
    for change in ({"id": "x"}, {"right": 0}, {"kept": 1}):
        shutil.copytree(seed / "trust-ntf", tmp_path / "kept")
        spoil(seed / "trust-ntf/trust.jsonl", 5, **change)
        refused("trust.jsonl: not the verdicts on")
        shutil.rmtree(seed / "trust-ntf")
        shutil.move(tmp_path / "kept", seed / "trust-ntf")
    spoil(seed / "weak-none/labels/wts.jsonl", 1, real_label=7)
    refused("trust-ntf: the labels that it chose from, ")
    labels = seed / "weak-none/labels/wts.jsonl"
    finish(seed / "trust-ntf", {"pool": str(labels)}, {str(labels): rows.sha256(labels)})
    refused("wts.jsonl:2: 'real_label' is 7, expected one of 0, 1, 2")
    facts = read_json(seed / "base-strong/config.json")
    rows.write_json(seed / "base-strong/config.json", facts | {"epochs": 2})
    refused("base-strong: was trained, and what was hard before is not seen")
    (seed / "base-strong/DONE").unlink()
    assert "(base-strong not finished)" in refused("no seed has finished runs")


def test_a_teacher_s_labels_of_planted_rows_keep_the_real_truth(tmp_path):
    """What label.py and train_ntf.py do to a row: they add to it."""
    row = planted.plant([pool(0)[0]], 1, 0, "f")[0]
    assert planted.real(row | {"trust": .5, "selection": "ntf"}, "f", 1)["label"] == 0
