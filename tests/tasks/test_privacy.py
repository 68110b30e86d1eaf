"""The scripts on privacy: private and plain runs, interrupted and misused; labels and measures.

    python -m pytest -q tests/tasks/test_privacy.py
"""

import contextlib
import io
import json
import math
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import train_weak
from tests.conftest import read_json
from tests.memorised import mails
from w2s import config, parallel, rows, training
from w2s import runs as runs_
from w2s.dp import accountant, noise
from w2s.infer import lm
from w2s.model import checkpoint, decoding, tokenization

WEIGHTS = "model/model.safetensors"
N, B = 24, 6


@pytest.fixture(scope="module")
def mail(world, tmp_path_factory):
    """Folder of invented mails: weak, wts, test.jsonl."""
    folder = tmp_path_factory.mktemp("mail")
    for seed, (split, n) in enumerate({"weak": N, "wts": 10, "test": 8}.items()):
        found = mails(split, n, seed, words=5)
        for row in found[6:] if split == "test" else ():
            row["source"] = "pile"
        rows.write(folder / f"{split}.jsonl", found)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def weak(world, mail, out, *more):
    return ("train_weak", "--task", "privacy", "--model", world / "tiny-2x32", "--data",
            mail / "weak.jsonl", "--out", out, "--batch-size", B, "--epochs", 3, "--lr", "1e-2",
            "--max-length", 32, "--accountant", "rdp", *more)


def student(world, labels, out, *more):
    return ("train_student", "--task", "privacy", "--model", world / "tiny-3x64", "--labels",
            labels, "--out", out, "--batch-size", 5, "--epochs", 2, "--lr", "1e-2",
            "--max-length", 32, *more)


def label(run, mail, *more):
    return ("label", "--task", "privacy", "--run", run, "--data", mail / "wts.jsonl", "--prefix",
            8, *more)


def weights(run):
    return (run / WEIGHTS).read_bytes()


def log(run):
    """log.jsonl without what the clock says."""
    return [{key: value for key, value in json.loads(line).items() if "second" not in key}
            for line in (run / "log.jsonl").read_text().splitlines()]


def refused(result, *messages):
    code, _, err = result
    assert code == 1 and err.count("\n") == 1 and err.startswith("error: "), err
    for message in messages:
        assert message in err, err


@pytest.fixture(scope="module")
def made(world, mail, runs):
    """Two runs: `private` of epsilon 8 and `plain`, and what they said."""
    said = {}
    for name, more in (("private", ("--lam", 8)), ("plain", ("--lam", 0))):
        _, *argv = weak(world, mail, runs / name, *more)
        if name == "plain":
            del argv[argv.index("--accountant"):argv.index("--accountant") + 2]
        with contextlib.redirect_stdout(io.StringIO()) as out:
            train_weak.main(config.parse(train_weak.Config, "", [str(a) for a in argv]))
        said[name] = out.getvalue()
    return said


# ---- training ------------------------------------------------------------------------------------

def test_a_private_run_says_what_it_guarantees_and_keeps_it(made, runs):
    found = read_json(runs / "private" / "config.json")
    facts = found["privacy"]
    assert found["lam"] == 8 and found["steps"] == facts["steps"] == math.ceil(3 * N / B)
    assert (facts["rows"], facts["expected_batch"], facts["q"]) == (N, B, B / N)
    assert (facts["delta"], facts["clip"], facts["accountant"]) == (1e-5, 1, "rdp")
    assert (facts["sampling"], facts["noise_seed"]) == ("poisson", "run")
    how = facts["q"], facts["steps"], facts["delta"]
    assert facts["epsilon"] == accountant.epsilon(facts["sigma"], *how, "rdp") <= 8
    assert facts["epsilon"] > 7.95
    pld = accountant.epsilon(facts["sigma"], *how, "pld")
    assert (f"epsilon {facts['epsilon']:.4g} (RDP; PLD {pld:.4g}) at delta 1e-05, Poisson sampling:"
            f" sigma {facts['sigma']:.4g}, C 1, q 0.25, 12 steps") in made["private"]
    assert (f"epsilon {facts['epsilon']:.4g} spent in 12 steps (delta 1e-05, poisson sampling)"
            in made["private"])


def test_the_log_counts_rows_that_were_clipped_and_empty_batches(made, runs):
    entries = log(runs / "private")
    assert [entry["step"] for entry in entries] == list(range(12))
    counts = [[entry[key] for key in ("rows", "clipped", "nonfinite", "empty")]
              for entry in entries]
    assert counts == sorted(counts) and counts[-1][2] == 0 < counts[-1][1] <= counts[-1][0]
    assert abs(counts[-1][0] - 3 * N) < 5 * math.sqrt(3 * N)
    sizes = [b[0] - a[0] for a, b in zip([[0]] + counts, counts)]
    assert len(set(sizes)) > 2  # Poisson: not all alike


def test_a_plain_run_has_no_guarantee_and_learns(made, runs):
    assert "privacy" not in read_json(runs / "plain" / "config.json")
    assert "epsilon" not in made["plain"]
    entries = log(runs / "plain")
    assert entries[-1]["loss"] < entries[0]["loss"] - .5 and "clipped" not in entries[0]


def test_an_interrupted_private_run_ends_bit_identical_at_the_same_epsilon(
        world, mail, made, runs, call, tmp_path, monkeypatch):
    command = weak(world, mail, tmp_path / "run", "--lam", 8, "--save-every", ".2")
    after = training.TrainingRun.after

    def interrupted(self, k, loss, **extra):
        after(self, k, loss, **extra)
        if k == 8:  # checkpoints are of steps 2, 4, 6, 8
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingRun, "after", interrupted)
        assert call(*command)[0] == 130
    assert len(log(tmp_path / "run")) == 9 and not (tmp_path / "run" / "DONE").exists()
    code, out, err = call(*command)
    assert code == 0 and "goes on at step 8" in out, err
    assert weights(tmp_path / "run") == weights(runs / "private")
    assert log(tmp_path / "run") == log(runs / "private")
    assert read_json(tmp_path / "run/config.json")["privacy"] == read_json(
        runs / "private/config.json")["privacy"]
    spent = re.compile(r"epsilon [\d.]+ spent .*")
    assert spent.search(out)[0] == spent.search(made["private"])[0]


def test_a_checkpoint_of_another_mechanism_is_refused(world, mail, call, tmp_path, monkeypatch):
    command = weak(world, mail, tmp_path / "run", "--noise-multiplier", 1)

    def interrupted(self, k, loss, **extra):
        self.private.sigma = .5
        after(self, k, loss, **extra)
        if k == 4:
            raise KeyboardInterrupt

    after = training.TrainingRun.after
    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingRun, "after", interrupted)
        assert call(*command)[0] == 130
    refused(call(*command), "privacy history")


def test_a_checkpoint_of_another_step_than_its_history_is_refused(world, mail, call, tmp_path,
                                                                  monkeypatch):
    """Epsilon would be that of four steps, and the model one of five."""
    command = weak(world, mail, tmp_path / "run", "--lam", 8, "--save-every", ".2")

    def interrupted(self, k, loss, **extra):
        after(self, k, loss, **extra)
        if k == 4:  # checkpoints are of steps 2 and 4
            raise KeyboardInterrupt

    after = training.TrainingRun.after
    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingRun, "after", interrupted)
        assert call(*command)[0] == 130
    path = tmp_path / "run" / "checkpoint.safetensors"
    save_file(load_file(path), path, {"step": "5"})
    before = path.read_bytes()
    refused(call(*command), f"error: {path}: of step 5, but its privacy history has 4; delete it "
            "to start over\n")
    assert path.read_bytes() == before and not (tmp_path / "run" / "DONE").exists()


def test_another_seed_and_noise_from_the_system_are_other_noise(world, mail, runs, made, call,
                                                                tmp_path):
    found = [weights(runs / "private")]
    for name, more in (("seed", ("--seed", 1)), ("one", ("--noise-seed", "system")),
                       ("two", ("--noise-seed", "system"))):
        code, _, err = call(*weak(world, mail, tmp_path / name, "--lam", 8, *more))
        assert code == 0, err
        found.append(weights(tmp_path / name))
    assert len(set(found)) == 4
    assert read_json(tmp_path / "one" / "config.json")["privacy"]["noise_seed"] == "system"


def test_a_run_to_release_tells_nothing_that_is_not_private(world, mail, call, tmp_path):
    code, out, err = call(*weak(world, mail, tmp_path / "run", "--lam", 8, "--noise-seed", "system",
                                "--max-length", 4))
    assert code == 0, err
    for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines():
        assert set(json.loads(line)) == {"step", "lr", "seconds"}
    found = read_json(tmp_path / "run" / "config.json")
    assert found["truncated"] is None and "seed" not in {*found["privacy"]} - {"noise_seed"}
    for word in ("loss", "clipped", "not finite", "empty", "tokens/s", "reach --max-length"):
        assert word not in out + err, word
    assert "epsilon 8" in out or "epsilon 7.9" in out


def test_runs_that_differ_in_rows_or_settings_share_no_noise(world, mail, call, tmp_path,
                                                             monkeypatch):
    drawn, add = [], noise.add

    def noted(values, std, generator, divisor=1):
        drawn.append(generator.key)
        add(values, std, generator, divisor)

    monkeypatch.setattr(noise, "add", noted)
    for name, more in (("one", ()), ("again", ()), ("rate", ("--lr", "2e-2")),
                       ("rows", ("--data", mail / "wts.jsonl", "--batch-size", 2))):
        code, _, err = call(*weak(world, mail, tmp_path / name, "--epochs", .5), *more)
        assert code == 0, err
    one, again, rate, data = (drawn[k:k + 2] for k in (0, 2, 4, 6))
    assert one == again and len({*one, *rate, *data}) == 6


def test_both_methods_make_the_same_model(world, mail, call, tmp_path, monkeypatch):
    monkeypatch.setattr(runs_, "identity", lambda *_: "one")  # else each has noise of its own
    found = []
    for method in ("fast", "func"):
        code, _, err = call(*weak(world, mail, tmp_path / method, "--lam", 8, "--dp-method",
                                  method, "--epochs", 1, "--optimizer", "sgd"))
        assert code == 0, err
        m = checkpoint.load(tmp_path / method / "model", "lm")
        found.append(torch.cat([p.flatten() for p in m.parameters()]))
    assert not torch.equal(*found) and torch.allclose(*found, atol=1e-5)


def test_a_private_loss_that_is_not_finite_ends_the_run(world, mail, call, tmp_path):
    """Of a batch with rows; without any it is null in the log."""
    refused(call(*weak(world, mail, tmp_path / "run", "--lam", 8, "--lr", "1e30")),
            "error: the loss of step ", " is nan; try a smaller --lr or --lam\n")
    entries = log(tmp_path / "run")
    assert entries and all(math.isfinite(entry["loss"] or 0) for entry in entries)
    assert not {"DONE", "model"} & {p.name for p in (tmp_path / "run").iterdir()}


def test_bfloat16_trains_privately_too(world, mail, call, tmp_path):
    code, out, err = call(*weak(world, mail, tmp_path / "run", "--lam", 8, "--epochs", 1,
                                "--dtype", "bfloat16"))
    assert code == 0 and "0 not finite" in out, err


def test_no_epochs_keep_the_untuned_model(world, mail, call, tmp_path):
    code, out, err = call(*weak(world, mail, tmp_path / "run", "--epochs", 0))
    assert code == 0 and "epsilon" not in out, err
    base, kept = (checkpoint.load(folder, "lm").state_dict()
                  for folder in (world / "tiny-2x32", tmp_path / "run" / "model"))
    assert base.keys() == kept.keys()
    assert all(torch.equal(base[name], kept[name]) for name in base)
    assert not (tmp_path / "run" / "log.jsonl").read_text()


def test_shuffled_sampling_is_not_certified(world, mail, call, tmp_path):
    code, out, err = call(*weak(world, mail, tmp_path / "run", "--lam", 8, "--epochs", 1,
                                "--sampling", "shuffled"))
    assert code == 0 and "shuffled sampling: epsilon not certified" in out, err
    assert "epsilon inf spent in 4 steps" in out and "not certified" in out.split("spent")[1]
    facts = read_json(tmp_path / "run" / "config.json")["privacy"]
    assert facts["epsilon"] is None and facts["sampling"] == "shuffled"
    assert {entry["rows"] for entry in log(tmp_path / "run")} == {6, 12, 18, 24}


def test_a_noise_multiplier_takes_the_place_of_epsilon(world, mail, call, tmp_path):
    code, out, err = call(*weak(world, mail, tmp_path / "run", "--noise-multiplier", 2, "--clip",
                                ".5", "--delta", "1e-3", "--epochs", 1, "--accountant", "pld"))
    facts = read_json(tmp_path / "run" / "config.json")["privacy"]
    assert code == 0 and (facts["sigma"], facts["clip"], facts["delta"]) == (2, .5, 1e-3), err
    assert facts["epsilon"] == accountant.epsilon(2, .25, 4, 1e-3, "pld") and "(PLD; RDP " in out


def test_a_delta_above_one_over_n_warns(world, mail, call, tmp_path):
    for delta, warns in ((.1, True), (.04, False)):
        code, _, err = call(*weak(world, mail, tmp_path / str(delta), "--lam", 8, "--delta", delta,
                                  "--epochs", ".2"))
        assert code == 0 and ("warning: delta 0.1 is above 1/N = 0.042" in err) == warns, err


@pytest.mark.parametrize("flags, message", [
    (("--penalty", "abs"), "a covariance of the batch mixes rows"),
    (("--penalty", "squared"), "a covariance of the batch mixes rows"),
    (("--lam", 8, "--noise-multiplier", 1), "each sets the noise; give one of them"),
    (("--lam", 0, "--noise-multiplier", 1), "--noise-multiplier has no effect with --lam 0"),
    (("--lam", 0, "--clip", 2), "--clip has no effect with --lam 0"),
    (("--lam", 0, "--delta", "1e-6"), "--delta has no effect with --lam 0"),
    (("--lam", 8, "--clip-norm", ".5"), "--clip-norm has no effect with --lam 8"),
    (("--noise-as", "var"), "--noise-as has no effect on --task privacy"),
    (("--clip", 0), "--clip 0"), (("--delta", ".7"), "--delta 0.7"),
    (("--noise-multiplier", 0), "--noise-multiplier 0"), (("--head-layer", -2), "head_layer -2")])
def test_flags_that_would_be_ignored_or_break_privacy_are_refused(world, mail, call, tmp_path,
                                                                  flags, message):
    command = weak(world, mail, tmp_path / "run")
    refused(call(*command[:-2], *flags), message)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("processes, flags, message", [
    (2, ("--sampling", "shuffled"), "--sampling shuffled: not in several processes; take poisson, "
     "or run it without torchrun"),
    (1, ("--recompute",), "--recompute: not with DP, which needs what it drops; leave it out"),
    (2, ("--shard", "on"), "--shard on: not with DP, whose processes have the model each; leave "
     "it out")])
def test_what_dp_cannot_do_in_this_many_processes_is_refused(world, mail, call, tmp_path, processes,
                                                            flags, message, monkeypatch):
    monkeypatch.setattr(parallel, "join", lambda device: (0, processes))
    refused(call(*weak(world, mail, tmp_path / "run", "--lam", 8, *flags)), f"error: {message}\n")
    assert not (tmp_path / "run").exists()


def test_sgd_needs_its_own_learning_rate(world, mail, call, tmp_path):
    command = [*weak(world, mail, tmp_path / "run", "--optimizer", "sgd")]
    at = command.index("--lr")
    refused(call(*command[:at], *command[at + 2:]), "--optimizer sgd", "give --lr")


# ---- labels and students -------------------------------------------------------------------------

@pytest.fixture
def labelled(made, mail, runs, call):
    """labels/wts.jsonl of the private run."""
    code, _, err = call(*label(runs / "private", mail))
    assert code == 0, err
    return runs / "private" / "labels" / "wts.jsonl"


@pytest.mark.parametrize("name", ["private", "untuned"])
def test_labels_are_the_greedy_continuation_of_a_true_beginning(
        name, made, world, mail, runs, call):
    if name == "untuned":  # what little training and much noise leave says one thing to all
        call("train_weak", "--task", "privacy", "--model", world / "tiny-2x32", "--data",
             mail / "weak.jsonl", "--out", runs / name, "--lam", 0, "--epochs", 0, "--max-length",
             32)
    assert call(*label(runs / name, mail))[0] == 0
    m = checkpoint.load(runs / name / "model", "lm")
    tokenizer = tokenization.load_tokenizer(runs / name / "model")
    data = rows.read(runs / name / "labels" / "wts.jsonl")
    columns = tokenization.tokenize(tokenizer, [row["text"] for row in data], 32)
    tokenizer.no_truncation()
    for row, true, ids in zip(data, rows.read(mail / "wts.jsonl"), columns, strict=True):
        assert {key: row[key] for key in true} == true
        assert set(row) == {*true, "weak_text", "weak_from"}
        assert row["weak_from"] == tokenizer.encode(row["text"]).offsets[7][1]
        new = decoding.generate(m, torch.from_numpy(ids[:8]).long()[None], torch.tensor([8]),
                              len(ids) - 8)[0].numpy()
        assert row["weak_text"] == tokenizer.decode(lm.until_end(new).tolist(), False)
    assert name == "private" or len({row["weak_text"] for row in data}) > 5


def test_labels_are_made_once_and_other_settings_are_refused(labelled, mail, runs, call):
    code, out, _ = call(*label(runs / "private", mail))
    assert code == 0 and "done already" in out
    refused(call(*label(runs / "private", mail, "--decode", "sample")), "other settings")


def test_samples_follow_their_seed(labelled, made, mail, runs, call, tmp_path):
    found = []
    for name, *more in (("one", "--seed", 3), ("again", "--seed", 3), ("other", "--seed", 4),
                        ("cold", "--temperature", "1e-7")):
        shutil.copytree(runs / "private", tmp_path / name,
                        ignore=shutil.ignore_patterns("labels", ".lock"))
        code, _, err = call(*label(tmp_path / name, mail, "--decode", "sample", *more))
        assert code == 0, err
        found.append((tmp_path / name / "labels" / "wts.jsonl").read_bytes())
    assert found[0] == found[1] and len(set(found)) == 3
    assert found[3] == labelled.read_bytes() != found[0]


@pytest.mark.parametrize("flags", [("--seed", 1), ("--temperature", 2)])
def test_a_flag_of_sampling_is_refused_for_greedy_labels(made, mail, runs, call, tmp_path, flags):
    shutil.copytree(runs / "private", tmp_path / "run",
                    ignore=shutil.ignore_patterns("labels", ".lock"))
    refused(call(*label(tmp_path / "run", mail, *flags)), f"{flags[0]} has no effect",
            "without --decode sample")


def test_students_of_those_labels(world, labelled, call, tmp_path):
    made = {}
    for name, more in (("both", ("--lam", 0)), ("again", ("--lam", 0)), ("private", ("--lam", 8)),
                       ("rest", ("--lam", 0, "--lm-loss", "continuation"))):
        code, out, err = call(*student(world, labelled, tmp_path / name, *more))
        assert code == 0 and ("Poisson sampling" in out) == (name == "private"), err
        made[name] = weights(tmp_path / name)
    assert made["both"] == made["again"] and len(set(made.values())) == 3
    facts = read_json(tmp_path / "private" / "config.json")["privacy"]
    assert (facts["rows"], facts["expected_batch"], facts["steps"]) == (10, 5, 4)  # of D_WTS


def test_a_student_never_reads_what_a_mail_goes_on_with(world, labelled, call, tmp_path):
    path = tmp_path / "changed.jsonl"
    rows.write(path, [row | {"text": row["text"][:row["weak_from"]] + "zzz"}
                      for row in rows.read(labelled)])
    for name, labels in (("one", labelled), ("two", path)):
        code, _, err = call(*student(world, labels, tmp_path / name, "--lam", 0))
        assert code == 0, err
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


def test_the_confidence_loss_is_refused_with_the_reason(world, labelled, call, tmp_path):
    for lam in (0, 8):
        refused(call(*student(world, labelled, tmp_path / "run", "--lam", lam, "--alpha", ".2")),
                "--alpha 0.2: the confidence loss hardens by a quantile over the batch",
                "clipping bounds nothing", "docs/deviations.md, P5")
    assert not (tmp_path / "run").exists()


def test_a_student_needs_labels_and_not_the_mails_of_its_teacher(world, mail, made, labelled, call,
                                                                 tmp_path):
    refused(call(*student(world, mail / "wts.jsonl", tmp_path / "run", "--lam", 0)),
            "wts.jsonl:1: no key 'weak_text'")
    path = labelled.with_name("mine.jsonl")
    rows.write(path, [{key: value for key, value in row.items() if key != "split"}
                      | {"weak_text": "a", "weak_from": 3}
                      for row in rows.read(mail / "weak.jsonl")])
    refused(call(*student(world, path, tmp_path / "run", "--lam", 0)),
            "which the teacher was trained on")


# ---- measures ------------------------------------------------------------------------------------

def test_accuracy_and_perplexity_are_those_by_hand(made, mail, runs, call):
    code, out, err = call("evaluate", "--task", "privacy", "--run", runs / "private", "--data",
                          mail / "test.jsonl")
    assert code == 0 and "acc 0." in out and "ppl " in out, err
    m = checkpoint.load(runs / "private" / "model", "lm")
    tokenizer, data = tokenization.load_tokenizer(runs / "private" / "model"), rows.read(
        mail / "test.jsonl")
    nll, right, count = 0, 0, 0  # of held-out mail: another corpus has a slice of its own
    for row in data[:6]:
        ids = torch.tensor(tokenizer.encode(row["text"]).ids[:32])
        with torch.no_grad():
            p = m(ids[None], torch.tensor([len(ids)]))[0, :-1].double().softmax(-1)
        nll -= p[range(len(p)), ids[1:]].log().sum().item()
        right, count = right + int((p.argmax(-1) == ids[1:]).sum()), count + len(p)
    measured = {(each["slice"], each["metric"]): each["value"] for each in
                read_json(runs / "private" / "eval.json")["test"]["metrics"]}
    assert measured["all", "acc"] == pytest.approx(right / count)
    assert measured["all", "ppl"] == pytest.approx(math.exp(nll / count), rel=1e-5)
    assert measured["all", "n"] == 8 and measured["pile", "n"] == 2
    assert measured["pile", "ppl"] > 1 and measured["pile", "ppl"] != measured["all", "ppl"]
    kept = rows.read(runs / "private" / "predictions" / "test.jsonl")
    assert sum(row["tokens"] for row in kept[:6]) == count and "text" not in kept[0]
    assert sum(row["nll"] for row in kept[:6]) == pytest.approx(nll, rel=1e-5)


# ---- privacy's flags elsewhere -------------------------------------------------------------------

@pytest.mark.parametrize("flags", [
    ("--clip", 2), ("--delta", "1e-6"), ("--noise-multiplier", 1), ("--sampling", "shuffled"),
    ("--optimizer", "sgd"), ("--dp-method", "func"), ("--noise-seed", "system"),
    ("--accountant", "rdp"), ("--lm-loss", "continuation")])
def test_flags_of_privacy_are_refused_on_another_task(world, fair, call, tmp_path, flags):
    refused(call("train_weak", "--task", "fairness", "--model", world / "tiny-2x32", "--data",
                 fair / "weak.jsonl", "--out", tmp_path / "run", *flags),
            f"{flags[0]} has no effect on --task fairness")
    assert not (tmp_path / "run").exists()


def test_flags_of_generation_are_refused_on_another_task(world, fair, call, tmp_path):
    assert call("train_weak", "--task", "fairness", "--model", world / "tiny-2x32", "--data",
                fair / "weak.jsonl", "--out", tmp_path / "run", "--epochs", 0)[0] == 0
    for flags in (("--prefix", 8), ("--decode", "sample"), ("--seed", 1)):
        refused(call("label", "--task", "fairness", "--run", tmp_path / "run", "--data",
                     fair / "wts.jsonl", *flags),
                f"{flags[0]} has no effect on --task fairness; leave it out")


@pytest.mark.parametrize("flags", [("--label-kind", "hard"), ("--threshold", "argmax"),
                                   ("--warmup", ".5")])
def test_flags_of_class_labels_are_refused_on_privacy(world, labelled, call, tmp_path, flags):
    refused(call(*student(world, labelled, tmp_path / "run", "--lam", 0, *flags)),
            f"{flags[0]} has no effect")


def test_free_text_is_no_label_to_trust_so_its_states_are_not_kept(made, mail, runs, call):
    labels = runs / "private" / "labels"
    before = {p.name for p in labels.glob("*")}
    refused(call("label", "--task", "privacy", "--run", runs / "private", "--data",
                 mail / "test.jsonl", "--hidden"),
            "error: --hidden: no trust function on --task privacy, whose labels are neither right "
            "nor wrong; leave it out\n")
    assert {p.name for p in labels.glob("*")} == before
