"""What rows cost in memory, and the bytes of the files: pytest tests/test_growth.py"""

import json
import shutil
import subprocess
import sys
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from tests.bench import growth, plan
from w2s import hidden_states, metrics, rows, statistics, tasks
from w2s.infer import classify
from w2s.model import checkpoint, configuration, tokenization

ROOT = growth.machine.ROOT


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return growth.trained(tmp_path_factory.mktemp("growth"))


@pytest.mark.parametrize("task, temperature", [("ood", 1.0), ("fairness", 2.5)])
def test_labels_have_the_bytes_of_the_plain_way(run, tmp_path, task, temperature):
    """All rows as dicts, one json.dumps each, safetensors' own save."""
    import label as program
    module, data = tasks.load(task), growth.sentences(tmp_path / "data.jsonl", 300)
    model = checkpoint.load(run / "model", "class", 2)
    torch.nn.init.normal_(model.score.weight, generator=torch.Generator().manual_seed(0))
    cfg = program.Config(task=task, run=[], data=[], hidden=True, temperature=temperature)
    file = tmp_path / "run" / "labels" / "data.jsonl"
    rows.write_json(tmp_path / "run" / "config.json", {})
    program.write(file, module, model, run / "model", module.read(data), {"max_length": 64}, cfg)
    found = [json.loads(line) for line in data.read_text().splitlines()]
    columns = module.encode(found, tokenization.load_tokenizer(run / "model"), 64)
    z, h = classify.read_all(model, columns, title="", hidden=True)["p"]
    p = classify.softmax(z / temperature)
    lines = [json.dumps(row | {"weak": classify.plain(p[i]), "logits": classify.plain(z[i])},
                        ensure_ascii=False, allow_nan=False) for i, row in enumerate(found)]
    assert file.read_text() == "\n".join(lines) + "\n"
    digest = hidden_states.ids_digest(found)
    assert hidden_states.states_of(file).read_bytes() == save({"hidden": h}, {"ids": digest})
    assert np.array_equal(hidden_states.read_states(hidden_states.states_of(file), found), h)


def test_many_texts_are_tokenised_as_one_by_one(run, monkeypatch):
    tokenizer = tokenization.load_tokenizer(run / "model")
    said = [f"part {i} of the market" * (i % 4) for i in range(50)]
    whole = tokenization.tokenize(tokenizer, said, 9)
    monkeypatch.setattr(tokenization, "AT_ONCE", 7)
    parts = tokenization.tokenize(tokenizer, iter(said), 9)
    assert [row.tolist() for row in parts] == [row.tolist() for row in whole]
    assert [row.tolist() for row in whole[::4]] == [[0]] * 13


def test_a_row_that_is_labelled_takes_less_than_2_kilobytes(run, tmp_path):
    """Peak of label.py in fresh processes. It was 3.6 KB when everything was held at once."""
    peaks = {n: growth.peak(growth.script(
        "label.py", "--task", "ood", "--run", run, "--data",
        growth.sentences(tmp_path / f"{n}.jsonl", n)))[0] for n in (5000, 25000)}
    assert peaks[25000] - peaks[5000] < 20000 * 2000


def test_a_file_is_read_once_whatever_the_number_of_runs(run, tmp_path, monkeypatch, call):
    data, read = growth.sentences(tmp_path / "data.jsonl", 30), []
    copies = [tmp_path / name for name in "ab"]
    for copy in copies:
        shutil.copytree(run, copy)
    original = rows.read
    monkeypatch.setattr(rows, "read", lambda path, *a: read.append(path) or original(path, *a))
    assert call("label", "--task", "ood", "--run", *copies, "--data", data)[0] == 0
    assert read.count(str(data)) == 1


def test_keys_are_held_once(tmp_path):
    found = rows.read(growth.sentences(tmp_path / "data.jsonl", 3))
    assert all(a is b for a, b in zip(found[0], found[2]))


def test_the_bootstrap_does_not_hold_all_draws():
    values, groups = np.random.default_rng(0).random(200_000), np.arange(200_000) // 4
    tracemalloc.start()
    statistics.bootstrap_interval(values, groups, draws=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 250e6 < 8 * 200_000 * 200


@pytest.mark.parametrize("f", [metrics.entropy, metrics.margin, metrics.max_probability])
def test_tables_and_rows_of_probabilities_give_the_same(f):
    p = np.random.default_rng(1).dirichlet(np.ones(4), 30)
    assert np.array_equal(f(p), f([row.tolist() for row in p]))
    assert np.array_equal(f(p), f([*p.tolist(), [.5, .5]])[:-1])


def test_the_exponent_of_a_power_is_found():
    sizes = (10, 100, 1000)
    assert growth.exponent(sizes, [3 * n ** 1.5 for n in sizes]) == pytest.approx(1.5)
    assert not growth.line("x", "y", sizes, [n ** 1.5 for n in sizes])["good"]


@pytest.mark.parametrize("section", [
    "label", "train", pytest.param("seeds", marks=pytest.mark.slow), "maths"])
def test_what_is_timed_can_be_run(section, tmp_path, monkeypatch):
    """The smallest size of each line, once."""
    run = []
    monkeypatch.setattr(growth, "timed", lambda what, by, runs, *a, **k: run.append(
        runs[min(runs)]()))
    for _ in growth.SECTIONS[section](tmp_path):
        pass
    assert len(run) == {"label": 3, "train": 3, "seeds": 2, "maths": 6}[section]
    if section == "label":
        assert len(rows.read(tmp_path / "run" / "labels" / "wts.jsonl")) == 1000


# ---- the plan of memory --------------------------------------------------------------------------

def kept(model, ids, mask=None):
    """Bytes that autograd keeps in a forward pass, each storage once, parameters apart."""
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    seen = {}

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(ids, torch.full((len(ids),), ids.shape[1]), mask=mask).sum()
    return sum(seen.values())


@pytest.mark.parametrize("shape, head, batch", [("14m", "class", 8), ("70m", "class", 2),
                                                ("14m", "lm", 2)])
def test_the_plan_counts_parameters_and_activations(shape, head, batch):
    config = configuration.SHAPES[f"pythia-{shape}"]
    model = growth.classifier(config)[0] if head == "class" else checkpoint.untrained(config, 0)
    ids = torch.randint(1, 50000, (batch, 512), generator=torch.Generator().manual_seed(0))
    found = kept(model, ids, torch.ones(batch, 512) if head == "lm" else None)
    expected = plan.activations(config, head, batch * 512, "float32")
    if head == "lm":  # computed in forward already: the gradient of the head
        expected += 4 * config["vocab_size"] * config["hidden_size"]
    assert found == pytest.approx(expected, rel=.2)
    row = plan.plan(f"pythia-{shape}", head, 1, 8, 512, "float32")
    assert row["parameters"] == sum(p.numel() for p in model.parameters())


def test_the_plan_of_every_shape():
    args = SimpleNamespace(shape=list(configuration.SHAPES), rows=8, tokens=512, dtype="bfloat16")
    found = {(row["shape"], row["head"], row["GPUs"]): row for row in plan.run(args)}
    big = found["pythia-12b", "lm", 8]
    assert plan.fits(big["FSDP2, kept"]) == 80 and plan.fits(big["replicated, recomputed"]) is None
    for row in found.values():
        assert row["recomputed"] < row["kept"] and row.get("FSDP2", 0) <= row["replicated"] + 1
    one, two = (found["pythia-1b", "class", k] for k in (1, 2))
    assert one["kept"] == pytest.approx(2 * two["kept"]) and one["replicated"] == two["replicated"]


def test_the_table_of_the_plan_is_printed():
    said = subprocess.run([sys.executable, "-m", "tests.bench.plan", "--shape", "pythia-14m"],
                          cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.startswith("Computed, not measured") and said.count("pythia-14m") == 8
