"""What stands between flags and a training step, and between a model and its labels: whole runs.

    python -m pytest -q tests/test_training.py
"""

import dataclasses
import json
import math
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import Tokenizer

import train_student
import train_weak
from tests.conftest import read_json
from w2s import config, device, hidden_states, rows, runs, tasks, training
from w2s.infer import choice, classify, lm
from w2s.model import checkpoint, tokenization
from w2s.train import step

SHARES = {"sst2": (.25, .75), "qqp": (.75, .25), "mnli": (.5, .5)}  # of class 1: of x, of x'
CLASSES = {"sst2": 2, "qqp": 2, "mnli": 3}


@pytest.fixture(scope="module")
def home(world, tmp_path_factory):
    """Folder of labelled pairs and of a model whose head is random: an untrained one starts at 0.
    """
    out, draw = tmp_path_factory.mktemp("training"), random.Random(0)
    words = "warm bright dull stale harbour lantern market kettle ferry garden".split()

    def said():
        return " ".join(draw.choices(words, k=draw.randint(1, 9)))

    def shares(source, share):
        return [1 - share, share] if CLASSES[source] == 2 else [1 - share, share / 2, share / 2]
    pairs = []
    for i in range(60):
        source = [*SHARES][i % 3]
        weak, weak_adv = (shares(source, share) for share in SHARES[source])
        pairs.append({"id": f"r{i}", "split": "wts", "text": said(), "text_adv": said(),
                      "label": 0, "source": source, "weak": weak + [0.] * (3 - len(weak)),
                      "weak_adv": weak_adv + [0.] * (3 - len(weak_adv))})
    rows.write(out / "pairs.jsonl", pairs)
    model = checkpoint.load(world / "tiny-2x32", "class", 3)
    torch.nn.init.normal_(model.score.weight, generator=torch.Generator().manual_seed(0))
    checkpoint.save(model, out / "model", world / "tokenizer.json")
    return out


def student(home, out, *more):
    """The TrainingRun of a student of the pairs, before its first step."""
    argv = ["--task", "adversarial", "--model", home / "model", "--labels", home / "pairs.jsonl",
            "--out", out, "--batch-size", 15, "--lr", "1e-12", *more]
    cfg = config.parse(train_student.Config, "", [str(a) for a in argv])
    task = tasks.load(cfg.task)
    run = runs.begin(cfg.out, "train_student.py", cfg, {"model": cfg.model, "labels": cfg.labels})
    return training.TrainingRun(cfg, run, task, training.read_labels(task, cfg), cfg.model,
                                target="weak")


def scores(folder, texts):
    """(N, K) logits, of each text alone."""
    model = checkpoint.load(folder, "class")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [tokenizer.encode(said).ids for said in texts]
    with torch.no_grad():
        return np.concatenate([model(torch.tensor([row]), torch.tensor([len(row)])).numpy()
                               for row in ids]).astype(float)


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


# ---- a student's thresholds ----------------------------------------------------------------------

@pytest.mark.parametrize("threshold, compile", [("quantile", False), ("batch", False),
                                                ("quantile", True)])
def test_thresholds_are_those_of_each_pool_and_of_each_text(home, tmp_path, threshold, compile,
                                                            monkeypatch):
    """Eq. (9) with alpha 1 is cross-entropy on the hardened predictions. Of x, sst2's teacher says
    class 1 of a quarter and qqp's of three quarters, of x' the other way round. By hand, over three
    steps that hardly move the model: t is the quantile of p_0 over the pool's scores so far. A step
    that is compiled looks at the scores first: the same numbers."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    it = student(home, tmp_path / "run", "--alpha", 1, "--lam", .4, "--threshold", threshold,
                 "--warmup", 0, "--compile", "on" if compile else "off")
    data = rows.read(home / "pairs.jsonl")
    z = [scores(home / "model", [row[key] for row in data]) for key in ("text", "text_adv")]
    seen = {(side, source): [] for side in (0, 1) for source in CLASSES}
    take, done = it.make_step(step.weak_label), 0
    for k, batch in it.batches():
        batch["alpha"] = torch.ones(len(batch["len"]))
        expected = 0
        for source, K in CLASSES.items():
            mine = [i for i in batch["rows"].tolist() if data[i]["source"] == source]
            for side, weight in ((0, .6), (1, .4)):
                p = softmax(z[side][mine][:, :K])
                seen[side, source] = ([] if threshold == "batch" else seen[side, source]) + [
                    *p[:, 0]]
                t = np.quantile(seen[side, source], SHARES[source][side])
                hard = p[:, 0] < t if K == 2 else p.argmax(1)
                expected -= weight * np.log(p[range(len(mine)), hard.astype(int)]).sum()
        assert take(k, batch).item() == pytest.approx(expected / len(batch["len"]), rel=1e-4)
        done += 1
        if done == 3:
            break


def test_alpha_rises_from_0_over_the_share_of_steps_that_warmup_says(home, tmp_path, call):
    """20 steps, warmup .5: step k has alpha .3 k / 10, at most .3. The loss of step 0 is Eq. (1) by
    hand: of the weak labels alone, and without warmup three tenths of the hardened ones."""
    found, losses = [], []
    for warmup in (.5, 0):
        out = tmp_path / str(warmup)
        code, _, err = call("train_student", "--task", "adversarial", "--model", home / "model",
                            "--labels", home / "pairs.jsonl", "--out", out, "--batch-size", 15,
                            "--lr", "1e-3", "--alpha", .3, "--warmup", warmup, "--lam", 0,
                            "--epochs", 5)
        assert code == 0, err
        log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        assert [entry["step"] for entry in log] == list(range(20))
        found.append([entry["alpha"] for entry in log])
        losses.append(log[0]["loss"])
        rates = [1e-3 * (1 + math.cos(math.pi * k / 20)) / 2 for k in range(20)]
        assert [entry["lr"] for entry in log] == pytest.approx(rates)
    assert found[0] == pytest.approx([min(.3, .03 * k) for k in range(20)])
    assert found[1] == [.3] * 20
    data = rows.read(home / "pairs.jsonl")
    tokenizer = tokenization.load_tokenizer(home / "model")
    _, first = next(step.batches(tasks.load("adversarial").encode(data, tokenizer, 64), 1, 15, 0))
    z, weak, hard = scores(home / "model", [row["text"] for row in data]), 0, 0
    for source, K in CLASSES.items():
        mine = [i for i in first["rows"].tolist() if data[i]["source"] == source]
        p = softmax(z[mine][:, :K])
        t = np.quantile(p[:, 0], SHARES[source][0])
        chosen = p[:, 0] < t if K == 2 else p.argmax(1)
        weak -= (np.log(p) * [data[i]["weak"][:K] for i in mine]).sum() / 15
        hard -= np.log(p[range(len(mine)), chosen.astype(int)]).sum() / 15
    assert losses == pytest.approx([weak, .7 * weak + .3 * hard], rel=1e-4)


def test_hard_labels_are_hard_of_both_texts(home):
    cfg = SimpleNamespace(labels=str(home / "pairs.jsonl"), label_kind="hard", task="adversarial")
    found = training.read_labels(tasks.load("adversarial"), cfg)
    for row in found:
        one, two = SHARES[row["source"]]
        if row["source"] != "mnli":  # there .5 and .25, .25
            assert (row["weak"], row["weak_adv"]) == ([[1, 0, 0], [0, 1, 0]][one > .5],
                                                      [[1, 0, 0], [0, 1, 0]][two > .5])
        else:
            assert row["weak"] == row["weak_adv"] == [1, 0, 0]
    soft = training.read_labels(tasks.load("adversarial"), SimpleNamespace(**vars(cfg) | {
        "label_kind": "soft"}))
    assert soft == rows.read(home / "pairs.jsonl")


# ---- flags ---------------------------------------------------------------------------------------

def weak_fit(world, fair, out, *more):
    argv = ["--task", "fairness", "--model", world / "tiny-2x32", "--data", fair / "weak.jsonl",
            "--out", out, *more]
    cfg = config.parse(train_weak.Config, "", [str(a) for a in argv])
    task = tasks.load(cfg.task)
    run = runs.begin(cfg.out, "train_weak.py", cfg, {"model": cfg.model, "data": cfg.data})
    return training.TrainingRun(cfg, run, task, training.read_truth(task, cfg), cfg.model,
                                target="label")


def test_flags_reach_the_step(world, fair, tmp_path, monkeypatch):
    """And the penalty is theirs: margins 2 and -1, a - a_bar = 1/2 and -1/2, so a covariance of
    (1 + 1/2) / 2 = 3/4, squared: 2 * 3/4 times each."""
    it = weak_fit(world, fair, tmp_path / "run", "--clip-norm", .3, "--dtype", "bfloat16", "--lr",
                  .02, "--weight-decay", .1, "--penalty", "squared", "--penalty-output", "logit",
                  "--lam", 2, "--epochs", 2, "--batch-size", 8, "--seed", 5)
    group, = it.optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (.02, .1) and it.steps == 2 * 160 / 8
    seen = []
    it.task = dataclasses.replace(it.task, make_step=lambda *args, **named: seen.append(
        (args, named)))
    it.make_step(step.ground_truth)
    (model, optimizer, objective, ell, lam, steps), named = seen[0]
    assert model is it.model and optimizer is it.optimizer and (lam, steps) == (2, 40)
    assert ell is step.ground_truth
    assert {key: named[key] for key in ("clip_norm", "dtype", "compile", "hardening")} == {
        "clip_norm": .3, "dtype": "bfloat16", "compile": False, "hardening": None}
    batch = {"ids": 0, "len": 0, "a": torch.tensor([1., 0]), "a_bar": torch.tensor([.5, .5])}
    loss = objective(lambda *_: torch.tensor([[0., 2], [0, -1]]), batch, lambda z, b: z[:, 0], lam)
    assert loss.tolist() == pytest.approx([2 * 1.5, 2 * .75])


def test_what_is_0_is_0_and_what_is_not_said_is_the_tasks(world, fair, home, tmp_path):
    """Of a falsy flag `or` would make the default. Another seed is another order."""
    untuned = weak_fit(world, fair, tmp_path / "untuned", "--epochs", 0, "--lam", 0)
    usual = weak_fit(world, fair, tmp_path / "usual", "--seed", 1)
    assert (untuned.steps, untuned.lam, untuned.lr) == (0, 0, 5e-5)
    assert (usual.steps, usual.lam) == (3 * 5, 1)  # 160 rows in batches of 32, three epochs
    naive, aux = (student(home, tmp_path / f"{more}", *more) for more in (
        ("--alpha", 0, "--lam", 0, "--epochs", 1), ("--epochs", 1)))
    assert (naive.alpha, naive.lam, naive.hardening) == (0, 0, None)
    assert (aux.alpha, aux.lam, [*aux.hardening]) == (.1, .3, ["x", "x_adv"])
    facts = [read_json(it.run.out / "config.json") for it in (untuned, naive, aux)]
    assert [(f["lam"], f["alpha"], f["epochs"]) for f in facts] == [(0, 0, 0), (0, 0, 1),
                                                                    (.3, .1, 1)]
    other = weak_fit(world, fair, tmp_path / "other", "--seed", 2)
    orders = [[batch["rows"].tolist() for _, batch in it.batches()] for it in (usual, other)]
    assert orders[0] != orders[1] and len(orders[0]) == 15
    assert sorted(sum(orders[0][:5], [])) == list(range(160))
    half = student(home, tmp_path / "half", "--lam", 1, "--epochs", 1, "--adv-label", "fw_x")
    assert [*half.hardening] == ["x_adv"]  # at lam 1 only x' is read
    assert half.columns["target_adv"].tolist() == half.columns["target"].tolist()


@pytest.mark.parametrize("split, good", [("weak", True), ("wts", True), ("trust", False),
                                         ("val", False), ("test", False)])
def test_a_weak_model_is_trained_on_its_own_splits_alone(fair, tmp_path, split, good):
    rows.write(tmp_path / "rows.jsonl", [{**row, "split": split} for row in
                                         rows.read(fair / "weak.jsonl")])
    cfg = SimpleNamespace(data=str(tmp_path / "rows.jsonl"), task="fairness")
    if good:
        assert len(training.read_truth(tasks.load("fairness"), cfg)) == 160
    else:
        with pytest.raises(ValueError, match=f":1: the row belongs to split '{split}'"):
            training.read_truth(tasks.load("fairness"), cfg)


def test_autocast_is_bfloat16_only_where_it_is_asked_for():
    for dtype, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with device.autocast(torch.device("cpu"), dtype):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == kind


@pytest.mark.parametrize("rounds", [False, True])
def test_matrix_products_are_exact_wherever_onednn_rounds(monkeypatch, rounds):
    """A CPU with AMX rounds to bfloat16, 8 bits, and then the old way is taken back."""
    backend = SimpleNamespace(fp32_precision="ieee")

    class Tensor(torch.Tensor):
        def __matmul__(self, other):
            if rounds and backend.fp32_precision == "bf16" and self.dtype == torch.float32:
                return torch.matmul(self.bfloat16(), other.bfloat16()).float()
            return torch.matmul(self, other)
    draw = torch.randn
    monkeypatch.setattr(torch.backends.mkldnn, "matmul", backend)
    monkeypatch.setattr(torch, "randn", lambda *a, **k: draw(*a, **k).as_subclass(Tensor))
    said = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", said.append)
    device.fast_float32()
    assert backend.fp32_precision == ("ieee" if rounds else "bf16")
    assert said == ([] if rounds else ["medium"])


def test_a_product_of_a_shape_that_was_there_is_not_prepared_again():
    """More shapes than oneDNN keeps of itself, in turn: each would be dropped before it returns."""
    code = """if True:
        import torch
        from w2s import device
        device.setup("cpu")
        with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON_CREATION):
            for again in range(2):
                print("round", flush=True)
                for n in range(70, 1110):
                    torch.ones(n, 8, dtype=torch.bfloat16) @ torch.ones(8, 8, dtype=torch.bfloat16)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parent.parent)
    _, first, second = [part.count("cache_miss") for part in done.stdout.split("round\n")]
    if not first:
        pytest.skip("no product goes to oneDNN here")
    assert first > 1000 and second == 0


# ---- labels --------------------------------------------------------------------------------------

def test_each_run_labels_with_its_own_model_as_it_was_trained(world, fair, tmp_path, call):
    """Two teachers in one process, trained on 4 tokens of a text; the labels against the models'
    folders, row by row. What was made with other settings or of other rows is refused."""
    teachers = [tmp_path / "one", tmp_path / "two"]
    for seed, out in enumerate(teachers):
        code, _, err = call("train_weak", "--task", "fairness", "--model", world / "tiny-2x32",
                            "--data", fair / "weak.jsonl", "--out", out, "--lr", .02, "--lam", 0,
                            "--seed", seed, "--max-length", 4, "--epochs", 2)
        assert code == 0, err
    data = tmp_path / "wts.jsonl"
    rows.write(data, rows.read(fair / "wts.jsonl")[:40])
    command = ("label", "--task", "fairness", "--data", data, "--run", *teachers)
    code, _, err = call(*command, "--temperature", 2)
    assert code == 0, err
    tokenizer, found = Tokenizer.from_file(str(world / "tokenizer.json")), []
    for out in teachers:
        labelled = rows.read(out / "labels" / "wts.jsonl")
        model = checkpoint.load(out / "model", "class")
        for row in labelled:
            ids = torch.tensor([tokenizer.encode(row["text"]).ids[:4]])
            with torch.no_grad():
                z = model(ids, torch.tensor([ids.shape[1]]))[0].double()
            assert row["logits"] == pytest.approx(z.tolist(), abs=1e-5)
            assert row["weak"] == pytest.approx((z / 2).softmax(0).tolist(), abs=1e-5)
        found.append([row["weak"] for row in labelled])
    assert np.abs(np.subtract(*found)).max() > .01
    before = (teachers[0] / "labels" / "wts.jsonl").read_bytes()
    for more in ((), ("--temperature", 2, "--max-length", 9), ("--temperature", 2, "--dtype",
                                                                "bfloat16")):
        code, _, err = call(*command, *more)
        assert code == 1 and "other settings" in err, more
    kept = rows.read(data)
    rows.write(data, [kept[0] | {"a": 1 - kept[0]["a"]}, *kept[1:]])
    code, _, err = call(*command, "--temperature", 2)
    assert code == 1 and "made from other data" in err
    file = teachers[0] / "labels" / "wts.jsonl"
    assert file.read_bytes() == before
    for more, there in ((("--hidden",), True), (("--temperature", 3), False)):  # states of others
        file.unlink()
        code, _, err = call("label", "--task", "fairness", "--data", data, "--run", teachers[0],
                            *more)
        assert code == 0 and hidden_states.states_of(file).exists() == there, err


def test_probabilities_are_those_of_each_text_alone_and_of_its_sources_classes(home):
    """In file order, however rows are sorted and batched; temperature leaves a class that a source
    lacks at 0, also a large one."""
    data = rows.read(home / "pairs.jsonl")
    task, model = tasks.load("adversarial"), checkpoint.load(home / "model", "class")
    columns = task.encode(data, tokenization.load_tokenizer(home / "model"), 64)
    for temperature in (1, 1e4):
        cfg = SimpleNamespace(dtype="float32", hidden=False, temperature=temperature)
        labelled, _, said = classify.label(model, None, data, columns, cfg)
        labelled = list(labelled)
        for key, weak in (("text", "weak"), ("text_adv", "weak_adv")):
            z = scores(home / "model", [row[key] for row in data])
            for i, row in enumerate(labelled):
                K = CLASSES[row["source"]]
                expected = [*softmax(z[i, :K] / temperature), *[0] * (3 - K)]
                assert row[weak] == pytest.approx(expected, abs=1e-5), (i, key)
    found = classify.probabilities(model, columns, title="")
    z = scores(home / "model", [row["text"] for row in data])
    for i, row in enumerate(data):
        K = CLASSES[row["source"]]
        assert found["p"][i] == pytest.approx([*softmax(z[i, :K]), *[0] * (3 - K)], abs=1e-5)
    assert said == f"60 rows, {np.mean([0 == np.argmax(r['weak']) for r in labelled]):.1%} of " \
                   "the weak labels are right"


def test_states_and_scores_are_those_of_the_heads_layer(home, world):
    """A head on hidden_states[-2]: logits are W h of the states kept, in file order."""
    model = checkpoint.load(home / "model", "class")
    model.head_layer = -2
    texts = [row["text"] for row in rows.read(home / "pairs.jsonl")]
    ids = tokenization.tokenize(tokenization.load_tokenizer(world), texts, 64)
    z, h = classify.read_all(model, {"ids": ids}, title="", hidden=True)["p"]
    for i, row in enumerate(ids):
        x = model.gpt_neox.embed_in(torch.from_numpy(row).long()[None])
        x = model.gpt_neox.layers[0](x, model.place(x))[0, -1]  # of two blocks, the first
        assert h[i] == pytest.approx(x.tolist(), abs=1e-5)
        assert z[i] == pytest.approx((model.score.weight @ x).tolist(), abs=1e-5)


def test_the_loss_of_an_answer_is_the_mean_over_its_tokens(world):
    """Of each row over its own, whatever stands beside it: by log_softmax, in nats."""
    model, draw = checkpoint.load(world / "tiny-2x32", "lm"), np.random.default_rng(0)
    data = {"ids": [draw.integers(1, 90, n).astype(np.int32) for n in (9, 4, 6)],
            "start": np.array([3, 2, 5])}
    _, batch = next(choice.batches(data, 1, 3, seed=0))
    found = choice.objective(model, batch, None, 0)
    for row, loss in zip(batch["rows"].tolist(), found):
        ids, start = torch.from_numpy(data["ids"][row]).long(), data["start"][row]
        logp = model(ids[None], torch.tensor([len(ids)]))[0].log_softmax(-1).detach()
        each = [float(logp[t - 1, ids[t]]) for t in range(start, len(ids))]
        assert loss.item() == pytest.approx(-np.mean(each), rel=1e-5)


def test_a_token_that_the_model_lacks_is_refused():
    """Token 9 needs ten rows; options are lists of token arrays."""
    for columns in ({"ids": [np.array([1, 9]), np.array([2])]},
                    {"ids": [np.array([1])], "options": [[np.array([3]), np.array([9])]]}):
        tokenization.require_fit(columns, 10, "folder")
        with pytest.raises(ValueError, match="gives token 9, but the model has only 9"):
            tokenization.require_fit(columns, 9, "folder")


@pytest.mark.parametrize("end, code, said", [
    (lambda path: signal.raise_signal(signal.SIGTERM), 130, "error: interrupted; the same command "
     "goes on from the last checkpoint that was written\n"), (lambda path: sys.exit(3), 3, "")],
    ids=["killed", "ended"])
def test_an_end_while_a_tokenizer_is_read_is_no_broken_tokenizer(world, fair, tmp_path, call,
                                                                 monkeypatch, end, code, said):
    """Neither a signal nor an exit is taken for a bad file."""
    monkeypatch.setattr(tokenizers, "Tokenizer", SimpleNamespace(from_file=end))
    found = call("train_weak", "--task", "fairness", "--model", world / "tiny-2x32", "--data",
                 fair / "weak.jsonl", "--out", tmp_path / "run")
    assert (found[0], found[2]) == (code, said) and not (tmp_path / "run").exists()


def test_free_labels_are_sampled_by_the_rows_ids(world):
    """Two rows of one text are written apart, and each as it would be alone."""
    tokenizer, m = tokenization.load_tokenizer(world), checkpoint.load(world / "tiny-2x32", "lm")
    data = [{"id": name, "text": "the harbour in part 7 is a warm garden"} for name in "ab"]
    cfg = SimpleNamespace(prefix=2, decode="sample", temperature=1.5, seed=3, dtype="float32")

    def written(some):
        columns = {"ids": tokenization.tokenize(tokenizer, [row["text"] for row in some], 12)}
        return [row["weak_text"] for row in lm.label(m, tokenizer, some, columns, cfg)[0]]
    both = written(data)
    assert both[0] != both[1] and [written([row])[0] for row in data] == both
