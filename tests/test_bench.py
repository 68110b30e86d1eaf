"""The benchmark's arithmetic, on times and operations that are known, and that it runs.

    python -m pytest -q tests/test_bench.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.bench import (decoders, epochs, evaluate, harness, labels, machine, models, processes,
                         session, table)
from tests.bench.harness import Case, Setting, Table, Variant
from w2s.model import checkpoint, decoder

ROOT = Path(__file__).parent.parent


def test_ratio_is_the_median_of_the_rounds_own_ratios_not_the_ratio_of_medians():
    spent, base = [2.0, 30.0, 4.0], [1.0, 10.0, 4.0]          # 2, 3 and 1 times; medians: 4 / 4
    low, middle, high = harness.ratio(spent, base)
    assert middle == 2 and 1 <= low <= middle <= high <= 3
    assert harness.ratio([3.0], [2.0]) == (1.5, 1.5, 1.5)
    with pytest.raises(ValueError):
        harness.ratio([1.0, 2.0], [1.0])


def test_every_round_calls_each_variant_once_and_begins_with_another_one():
    called = []
    clock = iter(range(100))

    def timer(run):
        called.append(run)
        return next(clock)
    times = harness.alternate({"a": "A", "b": "B", "c": "C"}, 4, timer)
    assert "".join(called) == "ABC" "BCA" "CAB" "ABC"
    assert times == {"a": [0, 5, 7, 9], "b": [1, 3, 8, 10], "c": [2, 4, 6, 11]}


@pytest.fixture
def fake(monkeypatch):
    """measure() of made-up work: each variant's calls take the seconds that its name says."""
    clock = {"one": 1.0, "two": 2.0, "six": 6.0}
    monkeypatch.setattr(machine, "seconds", lambda run, device: clock[run()])

    def measured(**more):
        built = {name: Variant(lambda name=name: lambda: name) for name in clock}
        built["six"] = built["six"]._replace(scale=.5)
        built["none"] = Variant(None, lacks="no such thing here")
        case = Case("made-up", "a table", built, ("two",), **more)
        return harness.measure(case, Setting(rounds=3, memory=False))
    return measured


def test_a_row_above_1_is_slower_than_the_base(fake):
    found = fake(flops=8.0)
    session.share(found, {"float32": {"GEMM": 8e-9}})
    rows = {row["variant"]: row for row in found.rows}
    assert [rows[name]["of ceiling"] for name in ("one", "two")] == [1, .5]
    assert [rows[name]["x two"][1] for name in ("one", "two", "six")] == [.5, 1, 1.5]
    assert rows["two"]["ms"] == 2000 and rows["six"]["times"] == [3.0] * 3
    assert rows["two"]["GF/s"] == 4e-9
    assert rows["none"] == {"variant": "none", "how": "", "error": "no such thing here"}


def test_error_sees_the_first_two_results(fake):
    rows = fake(error=lambda first, second: len(first + second)).rows
    assert [row["error"] for row in rows[:3]] == [6, 6, 6]


def test_only_named_variants_are_measured(fake, monkeypatch):
    monkeypatch.setattr(Setting, "only", ["one", "six"], raising=False)
    case = Case("made-up", "", {name: Variant(lambda name=name: lambda: name)
                                for name in ("one", "two", "six")}, ("two",))
    found = harness.measure(case, Setting(rounds=1, memory=False, only=["one", "six"]))
    assert [row["variant"] for row in found.rows] == ["one", "six"]
    assert "x two" not in found.columns


@pytest.mark.parametrize("head", ("class", "lm"))
def test_nominal_operations_are_those_that_a_counter_counts(head):
    """The counter counts attention whole, not its causal half, and no biases and LayerNorms."""
    m, batch = models.model_of("tiny", head, "cpu"), models.batch_of("tiny", head, "cpu")
    (B, T), c = batch["ids"].shape, m.settings
    L, h, V = c["num_hidden_layers"], c["hidden_size"], c["vocab_size"]
    with FlopCounterMode(display=False) as counter:
        states = m.states(batch["ids"])
        (m.head(states) if head == "lm" else states).sum().backward()
    matrices = sum(p.numel() for name, p in m.named_parameters() if p.ndim == 2
                   and "embed" not in name and "score" not in name)
    rest = sum(p.numel() for name, p in m.named_parameters() if p.ndim == 1)
    counted = counter.get_total_flops() - 6 * L * h * T * B * T + 6 * rest * B * T
    assert matrices == L * 12 * h * h
    assert models.nominal_flops("tiny", head, B, T) == counted
    assert models.nominal_flops("tiny", "lm", B, T) - 6 * V * h * B * T == (
        models.nominal_flops("tiny", "class", B, T))


def test_drawn_lengths_have_the_mean_of_the_real_ones():
    for data, mean in (("SST-2", 11.6), ("Adult", 76.1)):
        found = epochs.lengths(data, 20000)
        assert abs(found.mean() / mean - 1) < .02
        assert found.min() >= epochs.LENGTHS[data][0] and found.max() <= epochs.LENGTHS[data][-1]
        assert len(epochs.LENGTHS[data]) == len(epochs.SHARES)
        assert list(epochs.LENGTHS[data]) == sorted(epochs.LENGTHS[data])
    assert abs(labels.lengths(20000).mean() - 47) < 1


def test_padding_of_a_peers_batch_stands_behind_its_rows():
    ids = [np.array([5, 6, 7], np.int32), np.array([8], np.int32)]
    batch, mask = models.padded(ids, [1, 0], 9, "cpu")
    assert batch.tolist() == [[8, 9, 9], [5, 6, 7]] and mask.tolist() == [[1, 0, 0], [1, 1, 1]]


def test_exponent_is_1_where_time_grows_in_proportion_behind_a_start():
    assert evaluate.exponent((1, 4, 16), [2 + n / 10 for n in (1, 4, 16)]) == pytest.approx(1)
    assert evaluate.exponent((1, 4, 16), [2.1, 2.4, 2 + 25.6 / 4]) > 1.9


def test_settings_hold_while_a_peer_runs_and_no_longer():
    device = torch.device("cpu")
    before = machine.settings(device)
    other = "ieee" if before != "ieee" else "bf16"
    assert machine.with_settings(lambda: machine.settings(device), device, other)() == other
    assert machine.settings(device) == before


def test_peak_is_what_a_call_holds_at_its_most():
    code = ("import torch; from tests.bench import machine; print(machine.peak("
            "lambda: torch.ones(2 ** 24) + 1, torch.device('cpu')))")
    thresholds = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True,
                          env=os.environ | thresholds)
    assert 2 * 2 ** 26 <= int(done.stdout) < 2.1 * 2 ** 26, done.stderr     # both sums are there


def test_a_process_is_timed_and_its_memory_is_its_own():
    held = torch.ones(2 ** 26)                        # 268 MB of ours, which do not count
    spent, peak, said = processes.timed(processes.python(
        "-c", "import time; time.sleep(.2); print('done')"))
    assert spent >= .2 and peak < held.nbytes / 2 and said == "done\n"
    with pytest.raises(RuntimeError, match="no such luck"):
        processes.timed(processes.python("-c", "raise SystemExit('no such luck')"))


FACTS = {"command": "python -m tests.bench", "commit": "0123456789", "changed": True,
         "date": "2000-01-01", "machine": "a machine", "device": "cpu", "allocator": "keep",
         "ceilings": {"float32": {"GEMM": 100.0, "GEMM shipped": 90.0, "copy": 20.0}},
         "seconds": 1.0}


def test_markdown_is_well_formed_and_json_has_everything():
    rows = [{"variant": "a", "ms": 12.345, "IQR": .021, "x a": (1.0, 1.0, 1.0), "error": 1.6e-7,
             "times": [.1, .2]},
            {"variant": "b|c", "x a": (1.9, 2.044, 2.1), "of ceiling": .5, "error": "no d here"}]
    found = Table("step", "a title", ["variant", "ms", "IQR", "x a", "of ceiling", "MB", "error"],
                  rows, "A note.")
    lines = table.markdown(found).splitlines()
    body = [line for line in lines if line.startswith("|")]
    assert len({len(line) for line in body}) == 1 and {line.count("|") for line in body} == {7}
    assert "MB" not in body[0]                        # nobody has it
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in body]
    assert cells[2] == ["a", "12.3", "2%", "1.00 [1.00, 1.00]", "", "2e-07"]
    assert cells[3] == ["b/c", "", "", "2.04 [1.90, 2.10]", "50%", "no d here"]
    text = table.document(FACTS, [found])
    assert "above 1 ours is faster" in text and "0123456789 with changed files" in text
    kept = json.loads(table.content(FACTS, [found]))
    assert kept.keys() == FACTS.keys() | {"tables"}
    assert kept["tables"][0]["rows"][0]["times"] == [.1, .2]


def bench(*words):
    return subprocess.run([sys.executable, "-m", "tests.bench", *map(str, words)], cwd=ROOT,
                          text=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_the_command_measures_a_step_and_writes_both_files(tmp_path):
    done = bench("--sections", "step", "--shape", "tiny", "--dtype", "float32", "--rounds", 2,
                 "--device", "cpu", "--no-memory", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "bench.json").read_text())
    rows = {row["variant"]: row for row in kept["tables"][0]["rows"]}
    assert set(rows) == {"ours", "hf-shipped", "hf-equal"}
    for name, row in rows.items():
        if "times" in row:                            # a peer that is not installed has none
            assert len(row["times"]) == 2 and row["error"] < 1e-5, name
            assert row["x ours"][1] > 0 and 0 < row["of ceiling"] < 1
    assert kept["commit"] in (tmp_path / "bench.md").read_text()


def test_a_section_that_does_not_exist_is_refused():
    done = bench("--sections", "step,epoch")
    assert done.returncode == 2 and "no epoch; choose from step,epochs" in done.stderr


@pytest.mark.parametrize("flag, value, words", [
    ("--shape", "14m,3m", "--shape: no 3m; choose from tiny,14m"),
    ("--rounds", "0", "--rounds 0: must be >= 1"), ("--rounds", "x", "--rounds: invalid int"),
    ("--out", "README.md/in", "--out README.md/in: is a file, or lies under one"),
    ("--device", "foo", "--device foo: no such device"),
    ("--device", "mps", "--device mps: this machine has no Apple GPU")])
def test_a_bad_option_is_one_line_before_anything_is_measured(flag, value, words):
    done = bench("--sections", "step", flag, value)
    assert done.returncode and words in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["OLMo-2-0425-1B", "Llama-3.2-1B", "Qwen3-0.6B-Base",
                                  "gemma-3-1b-pt"])
@pytest.mark.parametrize("dtype, width", [("bfloat16", 2), ("float32", 4)])
def test_a_block_keeps_no_more_than_the_plan_says_and_not_much_less(name, dtype, width,
                                                                    monkeypatch):
    """Measured on a small block of the family, by the storages that autograd saves; casts of
    weights are counted apart by the plan."""
    monkeypatch.setattr(decoder, "explicit", lambda T, device: False)   # as on a GPU
    config = decoders.SHAPES[name] | {
        "vocab_size": 64, "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 1,
        "head_dim": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 1,
        "eos_token_id": 1, "pad_token_id": 1}
    model, storages = checkpoint.untrained(config, 0), {}
    weights = {p.data_ptr() for p in model.parameters()}

    def saved(x):
        if x.data_ptr() not in weights:
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x
    x = torch.randn(2, 160, 128, requires_grad=True)
    place = model.place(x)
    with torch.autograd.graph.saved_tensors_hooks(saved, lambda x: x), torch.autocast(
            "cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        model.blocks[0](x, place)
    casts = sum(2 * p.numel() for p in model.blocks[0].parameters() if p.ndim == 2)
    measured = (sum(storages.values()) - casts * (dtype == "bfloat16")) / (2 * 160)
    assert .75 < measured / decoders.kept(config, width) < 1
