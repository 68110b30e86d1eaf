"""Two processes of torchrun against one: replicated, sharded, resumed, wrong.

    python -m pytest -q tests/test_torchrun.py
"""

import importlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests import several
from tests.conftest import read_json
from w2s import config, parallel, rows
from w2s.model import checkpoint

ROOT = Path(__file__).parent.parent
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
LR = 2e-4  # AdamW makes steps of this length of what rounding left of a gradient that is zero
SHARD = {"off": ["--shard", "off"], "on": ["--shard", "on"]}
SGD = {f"sgd-{n}-{clip}-{shard}": dict(rows=n, clip_norm=clip, shard=shard)
       for n, clip, shard in ((5, 0, False), (5, 0, True), (5, .2, False), (5, .2, True),
                              (1, 0, False), (1, 0, True))}
SGD["sgd-recompute"] = dict(rows=5, clip_norm=.2, shard=True, recompute=True)
SGD["sgd-gemma"] = dict(rows=5, clip_norm=.2, shard=True, recompute=True)
SGD["half-off"] = dict(rows=5, clip_norm=.2, dtype="bfloat16")
SGD["half-on"] = dict(rows=5, clip_norm=.2, shard=True, dtype="bfloat16")
SGD["half-recompute"] = SGD["half-on"] | dict(recompute=True)
SGD["sgd-traced"] = dict(rows=5, clip_norm=.2, compile="eager")
GRPO = {f"grpo-{n}-{beta}": dict(rows=n, beta=beta, updates=2) for n, beta in (
    (5, 0), (1, 0), (5, .1))}


def commands(world, folder):
    """{name: (script, arguments but --out)}; 13 rows in batches of 4: one batch has one row."""
    draw = random.Random(0)
    words = "warm bright dull stale harbour lantern market kettle ferry garden".split()

    def said():
        return " ".join(draw.choices(words, k=draw.randint(1, 12)))

    def shares(n):
        found = [draw.random() for _ in range(n)]
        return [x / sum(found) for x in found]
    common = {"split": "wts"}
    rows.write(folder / "adversarial.jsonl", [
        common | {"id": f"r{i}", "text": said(), "text_adv": said(), "label": i % 2,
                  "source": ("mnli", "sst2")[i % 2], "weak": shares(3 - i % 2) + [0.0] * (i % 2),
                  "weak_adv": shares(3 - i % 2) + [0.0] * (i % 2)} for i in range(13)])
    rows.write(folder / "fairness.jsonl", [
        common | {"id": f"r{i}", "text": said(), "label": i % 2, "a": i // 2 % 2,
                  "weak": shares(2)} for i in range(13)])
    rows.write(folder / "ood.jsonl", [
        common | {"id": f"r{i}", "text": said(), "label": i % 2, "source": "id",
                  "weak": shares(2)} for i in range(13)])
    rows.write(folder / "mcqa.jsonl", [
        common | {"id": f"r{i}", "text": said(), "choices": [said() for _ in range(3)],
                  "label": i % 3, "weak": shares(3)} for i in range(13)])
    parts = folder / "parts"  # a model in several files
    checkpoint.save(checkpoint.load(world / "tiny-2x32", "lm"), parts, world / "tokenizer.json",
                    60_000)
    assert len(list(parts.glob("*.safetensors"))) > 2
    config = {"model_type": "gemma3_text", "vocab_size": 512, "hidden_size": 32, "head_dim": 8,
              "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2, "sliding_window": 4, "sliding_window_pattern": 2,
              "max_position_embeddings": 64, "initializer_range": .1}
    checkpoint.save(checkpoint.untrained(config, 0), folder / "gemma", world / "tokenizer.json")
    usual = ["--lr", str(LR), "--batch-size", "4", "--epochs", "2", "--device", "cpu",
             "--save-every", ".3"]

    def student(task, *more):
        return "train_student", ["--task", task, "--model", str(world / "tiny-2x32"), "--labels",
                                 str(folder / f"{task}.jsonl"), *usual, *more]
    mcqa = "train_weak", ["--task", "mcqa", "--model", str(parts), "--data",
                          str(folder / "mcqa.jsonl"), *usual]
    aux = ("--alpha", ".5", "--warmup", "0")
    return {"adversarial": student("adversarial", *aux, "--lam", ".3"),
            "fairness": student("fairness", *aux, "--lam", "1", "--penalty", "squared"),
            "ood": student("ood", *aux, "--lam", ".1"), "mcqa": mcqa,
            "lora": (mcqa[0], [*mcqa[1], "--lora-rank", "2"])}


def two(out, jobs, seconds=150):
    """What the jobs of tests/several.py gave in each of two processes."""
    (out / "jobs.json").write_text(json.dumps(jobs))
    words = [*TWO, "-m", "tests.several", out / "jobs.json", out]
    done = subprocess.run(words, cwd=ROOT, text=True, capture_output=True, timeout=seconds,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return [read_json(out / f"{rank}.json") for rank in (0, 1)]


@pytest.fixture(scope="module")
def runs(world, tmp_path_factory):
    """(folder of runs <command>-<way>, what the jobs gave in each process): torchrun once."""
    out = tmp_path_factory.mktemp("torchrun")
    known, jobs, told = commands(world, out), [], {}

    def here(name, way, **more):
        script, argv = known[name]
        found = several.script(script, [*argv, "--out", str(out / f"{name}-{way}")], **more)
        told[f"{name}-{way}" + "-begun" * ("saves" in more)] = found
        return found[0]

    def there(name, way, *options, job="", **more):
        script, argv = known[name]
        jobs.append([f"{name}-{way}{job}", "script", more | {
            "name": script, "argv": [*argv, *options, "--out", str(out / f"{name}-{way}")]}])

    for name in known:
        assert here(name, "one") == 0
        there(name, "off", "--shard", "off")
        if name != "lora":
            there(name, "on", "--shard", "on", *["--recompute"] * (name == "mcqa"))
    assert here("adversarial", "one,on", saves=1) == 130  # begun by one process ...
    there("adversarial", "one,on", "--shard", "on")       # ... goes on in two
    there("adversarial", "on,one", "--shard", "on", saves=2)
    there("mcqa", "on,off", "--shard", "on", saves=1, job="-begun")
    there("mcqa", "on,off", "--shard", "off")
    there("mcqa", "off,one", "--shard", "off", saves=1)
    there("adversarial", "lora,on", "--shard", "on", "--lora-rank", "2")
    there("adversarial", "compiled", "--compile", "on", "--shard", "on")
    jobs += [[name, "descend", {"folder": str(base(name, world, out)),
                                "out": str(out / f"{name}.safetensors"), **how}]
             for name, how in SGD.items()]
    jobs += [[name, "sampled", {"folder": str(world / "tiny-2x32"),
                                "out": str(out / f"{name}.safetensors"), **how}]
             for name, how in GRPO.items()]
    jobs.append(["read", "numbers_read", {"folder": str(out / "parts")}])
    found = two(out, jobs)
    for name, way in (("adversarial", "on,one"), ("mcqa", "off,one")):
        assert found[0][f"{name}-{way}"][0] == 130 and here(name, way) == 0
    found[0] |= told
    return out, found


def entries(run):
    return [{key: entry[key] for key in ("step", "loss", "lr")} for entry in
            map(json.loads, (run / "log.jsonl").read_text().splitlines())]


WAYS = ["adversarial-off", "adversarial-on", "fairness-off", "fairness-on", "ood-off", "ood-on",
        "mcqa-off", "mcqa-on", "lora-off", "adversarial-one,on", "adversarial-on,one",
        "mcqa-on,off", "mcqa-off,one"]


@pytest.mark.parametrize("name", WAYS)
def test_two_processes_make_the_losses_and_the_folder_of_one(runs, name):
    """Whatever the objective, the last batch, the way, and who began."""
    out, (first, second) = runs
    one, two = out / f"{name.split('-')[0]}-one", out / name
    assert first[name][0] == 0 and ("goes on at step" in first[name][1]) == ("," in name)
    if not name.endswith(",one"):
        assert second[name] == [0, ""] and first[name][1].count("done") == 1
    for a, b in zip(entries(one), entries(two), strict=True):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-6), (a, b)
    assert ({p.relative_to(one) for p in one.rglob("*")}
            == {p.relative_to(two) for p in two.rglob("*")})
    for file in (one / "model").glob("*.json"):
        assert file.read_bytes() == (two / "model" / file.name).read_bytes()
    a, b = (load_file(run / "model" / "model.safetensors") for run in (one, two))
    assert list(a) == list(b)
    for key in a:
        assert a[key].dtype == b[key].dtype
        assert torch.allclose(a[key], b[key], rtol=1e-5, atol=1e-5), key


def test_config_json_says_how_many_processes_and_how(runs):
    out, _ = runs
    facts = {way: read_json(out / f"mcqa-{way}" / "config.json") for way in ("one", "off", "on")}
    assert [(f.pop("processes"), f.pop("sharded")) for f in facts.values()] == [
        (1, False), (2, False), (2, True)]
    for found in facts.values():
        for key in ("out", "shard", "recompute"):
            found["args"].pop(key)
    assert facts["one"] == facts["off"] == facts["on"]


@pytest.mark.parametrize("name", [n for n in SGD if n.startswith("sgd")])
def test_the_gradient_is_that_of_one_process(runs, world, tmp_path, name):
    """SGD shows its length, which AdamW hides: clipped or not, also where a process has no row."""
    one_gradient(world, tmp_path, *runs, name, SGD[name])


@pytest.mark.slow
def test_the_compiled_gradient_is_that_of_one_process(world, tmp_path):
    how = dict(rows=5, clip_norm=.2, compile="inductor")
    jobs = [["compiled", "descend", how | {"folder": str(world / "tiny-2x32"), "out": str(
        tmp_path / "compiled.safetensors")}]]
    one_gradient(world, tmp_path, tmp_path, two(tmp_path, jobs, 900), "compiled", how)


def base(name, world, out):
    """The folder that the job `name` begins with."""
    return out / "gemma" if "gemma" in name else world / "tiny-2x32"


def one_gradient(world, tmp_path, out, found, name, how):
    """Assert that the job `name`, descend with `how`, gave what one process has, computed here."""
    how = how | {"shard": False, "recompute": False, "compile": ""}
    folder = base(name, world, out)
    losses = several.descend(folder, tmp_path / "one.safetensors", **how)
    assert found[0][name] == found[1][name] == pytest.approx(losses, rel=1e-6)
    start = checkpoint.load(folder, "class", 3)
    moved, apart = moves(start, tmp_path / "one.safetensors", out / f"{name}.safetensors")
    assert moved > .05 and apart < 1e-6 * moved, (moved, apart)


def test_what_two_processes_have_is_added_by_hand(monkeypatch):
    """The second of two; the first one's share is what all_reduce adds: a sum, not a mean, of every
    gradient, and of a batch of three rows the first and the last, which have no gradient here."""
    others = []
    monkeypatch.setattr(parallel, "world", lambda: 2)
    monkeypatch.setattr(parallel, "rank", lambda: 1)
    monkeypatch.setattr(parallel, "BUCKET", 3)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda x: x.add_(others.pop()))
    layer = torch.nn.Linear(2, 3)
    layer.weight.grad, layer.bias.grad = torch.arange(6.).view(3, 2), torch.tensor([7., 8, 9])
    others[:] = [torch.full((6,), 10.), torch.tensor([1., 2, 3])]  # of weight, after of bias
    parallel.add_gradients(layer)
    assert layer.weight.grad.tolist() == [[10, 11], [12, 13], [14, 15]]
    assert layer.bias.grad.tolist() == [8, 10, 12] and not others
    x = torch.tensor([[1.], [2], [3]], requires_grad=True)
    noise, seen = torch.tensor([[.1], [.2], [.3]]), []
    others[:] = [torch.tensor([[5.], [0], [6]])]
    found = parallel.together(lambda x, noise: seen.append(noise.tolist()) or 10 * x, x,
                              noise=noise)
    assert found.tolist() == [[5], [20], [6]] and seen == [noise[1:2].tolist()]
    found.sum().backward()
    assert x.grad.tolist() == [[0], [10], [0]]
    others[:] = [torch.tensor([[5.]])]  # one row, the first one's: computed, but for nobody
    assert parallel.together(lambda x: 10 * x, x[:1]).tolist() == [[5]]


def test_one_number_that_is_not_finite_names_its_parameter():
    layer = torch.nn.Linear(2, 3)
    assert parallel.not_finite(layer) is None
    layer.bias.data[1] = float("inf")
    assert parallel.not_finite(layer) == "bias"


def moves(start, one, two):
    """How far the weights of `one` are from the start, and from those of `two`."""
    start, one, two = start.state_dict(), load_file(one), load_file(two)
    return (float(torch.cat([(one[key] - other[key]).flatten() for key in one]).norm())
            for other in (start, two))


@pytest.mark.parametrize("name", GRPO)
def test_grpo_writes_the_answers_of_one_process_and_learns_the_same(runs, world, tmp_path, name):
    """Each process answers its prompts, or none: answers, rewards and steps are one process's."""
    out, found = runs
    here = several.sampled(world / "tiny-2x32", tmp_path / "one.safetensors", **GRPO[name])
    for first, second, (loss, facts) in zip(found[0][name], found[1][name], here, strict=True):
        assert first == second and first[0] == pytest.approx(loss, rel=1e-4, abs=1e-6)
        assert first[1] == pytest.approx(facts) and facts["reward"]
    start = checkpoint.load(world / "tiny-2x32", "lm")
    moved, apart = moves(start, tmp_path / "one.safetensors", out / f"{name}.safetensors")
    assert moved > .05 and apart < 1e-5 * moved, (moved, apart)


def test_bfloat16_rounds_alike_in_a_sharded_model(runs):
    out, found = runs
    for name in ("half-on", "half-recompute"):
        assert found[0][name] == pytest.approx(found[0]["half-off"], rel=1e-4)
    assert found[0]["half-off"] != found[0]["sgd-5-0.2-False"]


def test_a_process_reads_and_holds_its_own_rows_only(runs):
    for process in runs[1]:
        read, held, whole = process["read"]
        assert .45 * whole < read < .55 * whole and .45 * whole < held < .55 * whole


@pytest.mark.parametrize("memory, large", [(10 ** 6, True), (10 ** 9, False)])
def test_a_model_is_shared_out_where_copies_would_not_fit(world, monkeypatch, memory, large):
    model = checkpoint.load(world / "tiny-2x32", "lm")  # 16 bytes of each of its parameters: > 1 MB
    monkeypatch.setattr(torch.cuda, "get_device_properties",
                        lambda device: SimpleNamespace(total_memory=memory))
    assert parallel.too_large(model, torch.device("cuda:0")) == large
    assert not parallel.too_large(model, torch.device("cpu"))


def test_recomputing_gives_the_same_bits(world, tmp_path):
    found = [several.descend(world / "tiny-2x32", tmp_path / f"{how}", 5, recompute=how)
             for how in (False, True)]
    assert found[0] == found[1]
    assert (tmp_path / "False").read_bytes() == (tmp_path / "True").read_bytes()


def test_recomputing_keeps_no_activations_of_blocks(world):
    kept = {}
    for how in (False, True):
        model = checkpoint.load(world / "tiny-2x32", "class",
                                ready=parallel.recompute if how else None)
        with torch.autograd.graph.saved_tensors_hooks(
                lambda x: kept.setdefault(how, []).append(x.numel()), lambda x: x):
            model(torch.ones(8, 64, dtype=torch.long), torch.full((8,), 64))
    assert sum(kept[True]) < .3 * sum(kept[False])


def test_what_several_processes_cannot_do_is_refused_in_one_line(runs):
    out, codes = runs
    for name, message in (("lora,on", "--lora-rank"), ("compiled", "--compile on")):
        assert codes[0][f"adversarial-{name}"][0] == 1
        error = (out / f"adversarial-{name}.0.err").read_text()
        assert error.startswith("error: ") and message in error and error.count("\n") == 1
        assert not (out / f"adversarial-{name}").exists()


def game(world, folder):
    """The command that trains on labels whose answers are moves."""
    rows.write(folder / "wts.jsonl", [
        {"id": f"r{k}", "split": "wts", "label": "a1a6", "weak_text": " a1a6", "prompt_len": 1,
         "text": f"4k3/8/p7/8/8/8/8/R3K3 w - - {k} 31"} for k in range(4)])
    return ("train_student", "--task", "game", "--model", world / "tiny-2x32", "--labels",
            folder / "wts.jsonl", "--out", folder / "run")


SHARING = {
    ("--shard", "on"): "--shard on: there is one process, which shares with nobody; start it with "
                       "torchrun --nproc-per-node=N",
    ("--shard", "on", "--compile", "on"): "--compile on: not with --shard on, whose weights come "
                                          "and go; leave one of them out",
    ("--shard", "on", "--lora-rank", 2): "--shard on: not with --lora-rank, which needs only 4 "
                                         "bytes for a weight that is frozen; leave it out",
    ("--shard", "on", "--objective", "grpo"): "--shard on: not with --objective grpo, whose "
                                              "processes write answers at their own pace; leave "
                                              "it out"}


@pytest.mark.parametrize("flags", SHARING, ids=str)
def test_what_does_not_go_with_sharing_is_refused(flags, world, fair, call, tmp_path):
    """By one process, which is told first what would be wrong in several too."""
    command = game(world, tmp_path) if "grpo" in flags else (
        "train_weak", "--task", "fairness", "--model", world / "tiny-2x32", "--data",
        fair / "weak.jsonl", "--out", tmp_path / "run")
    code, _, err = call(*command, *flags)
    assert code == 1 and err == f"error: {SHARING[flags]}\n" and not (tmp_path / "run").exists()


def test_a_card_that_all_processes_would_share_is_refused(world, fair, call, tmp_path,
                                                          monkeypatch):
    """The first of two processes, on a machine that has two cards."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    code, _, err = call("train_weak", "--task", "fairness", "--model", world / "tiny-2x32",
                        "--data", fair / "weak.jsonl", "--out", tmp_path / "run", "--device",
                        "cuda:1")
    assert code == 1 and not (tmp_path / "run").exists()
    assert err == ("error: --device cuda:1: torchrun gives each process a GPU of its own; say "
                   "cuda\n")


def test_an_error_is_told_once_and_ends_all_processes(world, fair, tmp_path):
    """The loss is nan in the second step, everywhere."""
    command = ["train_weak.py", "--task", "fairness", "--model", world / "tiny-2x32", "--data",
               fair / "weak.jsonl", "--out", tmp_path / "run", "--lr", "1e30", "--device", "cpu",
               "--clip-norm", "0"]
    done = subprocess.run([*TWO, *command], cwd=ROOT, text=True, capture_output=True, timeout=120,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode and len(told) == 1 and "the loss of step" in told[0], done.stderr
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_first_process_trains_a_trust_function_and_the_others_end(monkeypatch, capsys, rank):
    script, argv = importlib.import_module("train_ntf"), []
    for name in ("teacher", "labelled", "pool", "out"):
        argv += [f"--{name}", "none"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # put back what launch puts in its place
    with pytest.raises(SystemExit) as exit:
        config.launch(script.main, script.Config, "", argv)
    out, err = capsys.readouterr()
    assert bool(exit.value.code) == (rank == "0") == ("one process does it" in out) == (
        "no such file" in err)
