"""What is decided for a card, and what it says when it fails; waits are counted in test_waits.py.

    python -m pytest -q tests/test_gpu.py
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests import pretend
from tests.test_cards import machine, nvidia_smi  # noqa: F401
from tests.test_waits import TINY
from w2s import commands, config, device, launch, memory, parallel, training, worker
from w2s.infer import batching, choice, classify, lm
from w2s.model import configuration, decoding, gpt_neox, kernels
from w2s.tasks import ood
from w2s.train import behind, embedding_rows, step

ROOT = Path(__file__).parent.parent
CUDA = torch.device("cuda")


@pytest.fixture
def card(monkeypatch):
    return pretend.pretend(monkeypatch)


def network(head="lm", seed=0):
    torch.manual_seed(seed)
    model = gpt_neox.GPTNeoX(TINY, head)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=.3)
    return model


def short(n, most=9):
    draw = np.random.default_rng(0)
    return [draw.integers(1, 96, k).astype(np.int32) for k in draw.integers(1, most, n)]


# ---- set up --------------------------------------------------------------------------------------

def test_the_device_that_is_chosen_is_torchs_and_float32_is_float32():
    """Pinned memory would open card 0, TF32 rounds to 11 bits, and torch raises where its older and
    its newer settings of precision differ."""
    code = ("import torch; from w2s import device; device.fast_float32();"
            "torch.get_float32_matmul_precision();"
            "torch.backends.mkldnn.matmul.fp32_precision = 'bf16';"
            "torch.backends.cudnn.allow_tf32 = True;"
            "torch.cuda.is_available = lambda: True; torch.cuda.device_count = lambda: 3;"
            "torch.cuda.set_device = print; device.setup('cuda:2'); device.setup('cuda');"
            "print(torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32,"
            " torch.backends.cudnn.allow_tf32)")
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
    assert said.stdout.split() == ["2", "0", "highest", "False", "False"], said.stderr


def test_without_a_compiler_a_cards_steps_are_eager_or_it_is_said(card, monkeypatch, capsys):
    """gcc is missing in slim images, and Triton needs it."""
    def compile(*_, **__):
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable")
    monkeypatch.setattr(torch, "compile", compile)
    device.no_compiler.cache_clear()
    with card:
        assert not device.pays_to_compile("auto", CUDA, 10 ** 6)
        assert capsys.readouterr().out == (
            "note: steps are not compiled: torch cannot compile here (RuntimeError: Failed to find "
            "C compiler. Please specify via CC environment variable)\n")
        with pytest.raises(ValueError, match="--compile on: .*Failed to find C compiler.*gcc too"):
            device.pays_to_compile("on", CUDA, 5)
    device.no_compiler.cache_clear()


def test_nccl_is_told_its_card(monkeypatch):
    told = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *a, **k: told.append(k))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    parallel.join(torch.device("cuda:1"))
    parallel.join(torch.device("cpu"))
    assert [k["device_id"] for k in told] == [torch.device("cuda:1"), None]


def test_nvidia_smi_without_a_card_promises_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "Path", lambda path: SimpleNamespace(read_text=lambda: ""))
    for count, code, card in ((0, 0, False), (1, 9, False), (2, 0, True)):
        monkeypatch.setenv("PATH", nvidia_smi(tmp_path, count, code=code) + ":/usr/bin:/bin")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # a leftover where there is no card
        assert commands.fast_bfloat16() == card
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not commands.fast_bfloat16()


def test_small_models_get_three_workers_a_card_where_memory_and_cores_allow(monkeypatch):
    line = ["train_weak.py", "--model", "EleutherAI/pythia-14m", "--dtype", "bfloat16"]
    for cores, size, workers in ((16, 80e9, 3), (2, 80e9, 2), (16, 9e9, 2), (16, 5e9, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert launch.side_by_side([line], 1, size, None) == workers, (cores, size)


def test_a_worker_drops_graphs_before_it_gives_their_memory_back(monkeypatch):
    done, torch_ = [], SimpleNamespace(cuda=SimpleNamespace(
        is_initialized=lambda: True, empty_cache=lambda: done.append("empty")))
    monkeypatch.setitem(sys.modules, "torch", torch_)
    monkeypatch.setitem(sys.modules, "torch._dynamo", SimpleNamespace(
        reset=lambda: done.append("reset")))
    worker.forget()
    assert done == ["reset", "empty"]

    def fail():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    torch_.cuda.empty_cache = fail  # its command has said so, and its exit code is to be told
    worker.forget()


# ---- padding -------------------------------------------------------------------------------------

def test_batches_are_padded_to_8_and_those_of_a_compiled_step_to_64(card, monkeypatch):
    assert [step.width_of(n, "cpu") for n in (1, 8, 9)] == [1, 8, 9]
    assert [step.width_of(n, CUDA) for n in (1, 8, 9, 64, 65)] == [8, 8, 16, 64, 72]
    batch = {"ids": torch.ones(2, 9), "mask": torch.ones(2, 9), "noise": torch.ones(2, 9, 4),
             "ids_adv": torch.ones(2, 64), "target": torch.ones(2, 3), "len": torch.ones(2)}
    wide = step.fixed_width(batch, 64)
    assert {key: tuple(value.shape) for key, value in wide.items()} == {
        "ids": (2, 64), "mask": (2, 64), "noise": (2, 64, 4), "ids_adv": (2, 64),
        "target": (2, 3), "len": (2,)}
    assert all(value.sum() == batch[key].sum() for key, value in wide.items())
    del batch["len"]                               # padding would be read
    assert step.fixed_width(batch, 64)["ids"].shape == (2, 9)
    seen, data = [], {"ids": short(24, 80), "target": np.eye(2, dtype=np.float32)[[0] * 24]}
    for compile in (False, True):
        with card:
            model = network("class")
            model.to("cuda")
            forward = model.forward
            model.forward = lambda ids, *rest: seen.append(ids.shape[1]) or forward(ids, *rest)
            go = step.make_step(model, step.adamw(model, 0), ood.objective, step.ground_truth, 0,
                                3, compile=compile)
            losses = [go(k, batch).item() for k, batch in step.batches(data, 3, 8, 0, 0, CUDA)]
        monkeypatch.setattr(step, "WIDTH", 128)
        seen.append(losses)
    (*eager, first), (*compiled, second) = seen[:4], seen[4:]
    assert all(n % 8 == 0 and n < 88 for n in eager) and min(eager) < 64
    assert compiled == [128] * 3 and first == pytest.approx(second, rel=1e-5)


def test_a_private_compiled_batch_is_padded_as_before():
    from w2s.dp import microbatch
    batch = {"ids": torch.ones(2, 9), "mask": torch.ones(2, 9), "len": torch.ones(2)}
    found = microbatch.pad(batch, 3)
    assert {key: tuple(value.shape) for key, value in found.items()} == {
        "ids": (5, 32), "mask": (5, 32), "len": (5,)}


ASKED = {
    "classify": ("class", lambda m, ids: classify.probabilities(m, {"ids": ids}, title="")),
    "tokens": ("lm", lambda m, ids: lm.token_scores(m, ids, title="")),
    "continuations": ("lm", lambda m, ids: lm.continuations(m, ids, 8, title="")),
    "written": ("lm", lambda m, ids: choice.written(m, ids, 8, title="")),
    "states": ("lm", lambda m, ids: choice.last_states(m, ids, title="")),
    "options": ("lm", lambda m, ids: choice.likelihoods(
        m, ids, [[ids[0], ids[1]]] * len(ids), title=""))}


@pytest.mark.parametrize("how", ASKED)
def test_batches_of_predictions_hold_at_most_so_many_padded_tokens(how, card, monkeypatch):
    """Rows of few tokens, of which each is padded to 8, those to be written among them."""
    head, ask = ASKED[how]
    sizes, collate = [], batching.collate
    new = 8 if how in ("continuations", "written") else 0

    def noted(columns, pick, device):
        longest = max(len(columns["ids"][i]) for i in pick)
        sizes.append(len(pick) * step.width_of(longest + new, CUDA))
        return collate(columns, pick, device)
    monkeypatch.setattr(batching, "collate", noted)
    side_by_side = how in ("continuations", "written", "options")  # 4 times as many
    monkeypatch.setitem(batching.TOKENS, "cuda", 12 if side_by_side else 48)
    with card:
        model = network(head)
        ask(model.to("cuda"), short(40))
    assert max(sizes) == 48 and len(sizes) >= 7


# ---- kernels -------------------------------------------------------------------------------------

def test_on_a_card_positions_turn_in_halves(card, monkeypatch):
    """Turn saves passes over memory on a CPU, and costs launches on a card."""
    model, ids = network(), torch.randint(1, 96, (2, 12))
    expected = model(ids, None)
    monkeypatch.setattr(kernels.Turn, "apply", lambda *_: pytest.fail("Turn on a card"))
    with card:
        model.to("cuda")
        assert torch.allclose(model(ids.to("cuda"), None).cpu(), expected, atol=1e-5)


def saved(head, dtype, blocks):
    """(bytes that autograd keeps of 2 x 200 tokens on a card but casts of weights, the plan)."""
    c, seen = configuration.published(blocks, 64, 4, 512), {}
    model = gpt_neox.GPTNeoX(c, head)
    model.to("cuda")
    ids, lengths = torch.ones(2, 200, dtype=torch.int64).to("cuda"), torch.tensor([200] * 2)
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers(), ids]}
    weights = {p.numel() for p in model.parameters() if p.ndim == 2}

    def keep(x):
        if x.untyped_storage().data_ptr() not in own and x.numel() not in weights:
            seen[x.untyped_storage().data_ptr()] = x
        return x
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), device.autocast(CUDA, dtype):
        model.last_state(ids, lengths.to("cuda")) if head == "class" else model.states(ids)
    return (sum(x.untyped_storage().nbytes() for x in seen.values()),
            memory.activations(c, head, 400, dtype))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("head", ["class", "lm"])
def test_the_plan_of_memory_is_no_less_than_what_autograd_keeps(head, dtype, card):
    with card:
        kept, planned = saved(head, dtype, 4)
    assert .85 < kept / planned <= 1


# ---- checkpoints ---------------------------------------------------------------------------------

def trained(folder, card, writer=None):
    """A model on the card after a step, and its checkpoint."""
    data = {"ids": short(8), "target": np.eye(2, dtype=np.float32)[[0, 1] * 4]}
    with card:
        model = network("class")
        model.to("cuda")
        optimizer = step.adamw(model, 1e-2)
        go = step.make_step(model, optimizer, ood.objective, step.ground_truth, 0, 3)
        for k, batch in step.batches(data, 2, 8, 0, 0, CUDA):
            go(k, batch)
            if not k:
                step.save_checkpoint(folder / "it.safetensors", 1, model, optimizer, None, writer)
                card.waits.clear()
    return folder / "it.safetensors"


def test_a_checkpoint_written_behind_is_that_of_its_step(tmp_path, card, monkeypatch):
    """The thread is held up until training has moved on."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    expected = trained(tmp_path / "a", card)
    writer, write, moved = behind.Behind(), parallel.write, []

    def late(*given):
        while not moved:
            time.sleep(.01)
        write(*given)
    monkeypatch.setattr(parallel, "write", late)
    path = trained(tmp_path / "b", card, writer)
    assert not path.exists() and card.waits == []
    moved.append(True)
    writer.wait()
    found = load_file(path)
    for name, value in load_file(expected).items():
        assert torch.equal(value, found[name]), name


def test_what_a_thread_could_not_write_is_said_at_the_next_one(tmp_path, card, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(parallel, "write", full)
    writer = behind.Behind()
    trained(tmp_path, card, writer)
    with pytest.raises(OSError, match="checkpoint not written"):
        writer.wait()
    writer.wait()
    assert not [*tmp_path.iterdir()]


def test_a_run_waits_for_the_checkpoint_that_its_thread_still_writes(card, world, fair, tmp_path,
                                                                    call, monkeypatch):
    """Else it would stand there behind DONE."""
    write, by = parallel.write, []

    def slow(*given):
        time.sleep(.5)
        by.append(threading.current_thread() is threading.main_thread())
        write(*given)
    monkeypatch.setattr(parallel, "write", slow)
    with card:
        code, _, err = call("train_weak", "--task", "fairness", "--model", world / "tiny-2x32",
                            "--data", fair / "weak.jsonl", "--out", tmp_path / "run", "--epochs", 1,
                            "--lam", 0, "--save-every", .4, "--device", "cuda")
    assert code == 0, err
    time.sleep(.6)
    assert by == [False, False] and not (tmp_path / "run" / "checkpoint.safetensors").exists()
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.endswith(".part")]


@pytest.mark.parametrize("asked, kind, ages, due", [
    (None, "cuda", (0, 299, 301, 301, 700), [False, False, True, False, True]),
    (.1, "cuda", (0, 1), [True, True]), (None, "cpu", (0, 1), [True, True])])
def test_on_a_card_checkpoints_are_minutes_apart(asked, kind, ages, due, monkeypatch):
    run = object.__new__(training.TrainingRun)
    run.cfg, run.device = SimpleNamespace(save_every=asked), torch.device(kind)
    run.follows, run.saved = False, 1000.
    found = []
    for age in ages:
        monkeypatch.setattr(time, "monotonic", lambda age=age: 1000. + age)
        found.append(run._due())
    assert found == due
    run.follows, run.saved = True, 0.  # its clock decides nothing
    assert run._due() == (asked is not None or kind == "cpu")


def test_a_checkpoint_leaves_a_cut_embedding_where_it_is():
    """A CUDA graph that was recorded with its address would have to be recorded again."""
    model = gpt_neox.GPTNeoX(configuration.published(1, 16, 2, 400), "class")
    optimizer = step.adamw(model, 1e-2)
    cut = embedding_rows.UsedRows(model.table, optimizer, {"ids": short(9)})
    cut.close()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    state = optimizer.state[model.table.weight]

    def held():
        return [x.data_ptr() for x in (model.table.weight, state["exp_avg"], state["exp_avg_sq"])]
    before, values = held(), model.table.weight.detach().clone()
    with cut.opened():
        assert len(model.table.weight) == len(state["exp_avg"]) == 400
    assert held() == before and torch.equal(model.table.weight, values)
    cut.open()
    assert torch.equal(model.table.weight[cut.used], values)


# ---- generation in memory that stays -------------------------------------------------------------

class Graph:
    """torch.cuda.CUDAGraph, of which what is recorded is called again. shift: how wrong it is."""
    recorded, replays, shift = [], 0, 0

    def replay(self):
        Graph.replays += 1
        owner, model = Graph.recorded[-1]
        owner.h.copy_(decoding.advance(model, owner.token, owner.positions, owner.caches)
                      + Graph.shift)


@pytest.fixture
def graphs(monkeypatch):
    """Pretended graphs, and W2S_GRAPHS."""
    monkeypatch.setenv("W2S_GRAPHS", "1")
    side = SimpleNamespace(wait_stream=lambda other: None)
    for name, value in {"Stream": lambda: side, "current_stream": lambda: side,
                        "stream": lambda s: contextlib.nullcontext(), "CUDAGraph": Graph,
                        "graph": lambda g, **_: contextlib.nullcontext()}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    record = decoding.Replay.recorded
    monkeypatch.setattr(decoding.Replay, "recorded", lambda self, model: Graph.recorded.append(
        (self, model)) or record(self, model))
    Graph.recorded, Graph.replays, Graph.shift = [], 0, 0
    return Graph


HEADS = [ids[:n] for ids, n in zip(np.random.default_rng(0).integers(1, 96, (12, 20)).astype(
    np.int32), [16, 20, 18, 17] * 3)]


def answers(model):
    """What a model writes and how it judges, in batches of several shapes."""
    tokens = lm.continuations(model, HEADS, 9, title="")
    drawn = lm.continuations(model, HEADS, 9, 1., 3, title="")
    texts, certain, hidden = choice.written(model, HEADS, 9, title="")
    logp, _, states = choice.likelihoods(model, HEADS, [[HEADS[0], HEADS[1][:1]]] * len(HEADS),
                                         title="", states=True)
    return ([tokens.tolist(), drawn.tolist(), [row.tolist() for row in texts]],
            [certain, hidden, np.concatenate(logp), states])


def same(one, other):
    assert one[0] == other[0]
    for a, b in zip(one[1], other[1]):
        assert np.allclose(a, b, atol=1e-4)


def test_generation_in_memory_that_stays_gives_the_same_tokens(monkeypatch):
    monkeypatch.setitem(batching.TOKENS, "cpu", 29)  # 4 rows of 20 + 9 tokens a batch
    model = network()
    expected = answers(model)
    assert model not in decoding._replays
    monkeypatch.setenv("W2S_GRAPHS", "1")
    same(answers(model), expected)
    replay = decoding._replays[model][1]
    assert replay.caches[0].room % decoding.ROUND == 0 and replay.graph is False
    lm.continuations(model, HEADS, 9, title="")
    replay, where = decoding._replays[model][1], decoding._replays[model][1].caches[0].k.data_ptr()
    lm.continuations(model, HEADS[::-1], 9, title="")
    assert decoding._replays[model][1] is replay and replay.caches[0].k.data_ptr() == where


def test_on_a_card_a_step_is_recorded_once_a_shape(card, graphs):
    model = network()
    ids, lengths = torch.ones(3, 9, dtype=torch.int64), torch.tensor([2, 9, 4])
    expected = decoding.generate(model, ids, lengths, 6)
    with card:
        model.to("cuda")
        for new, rows, recorded in ((6, 3, 1), (20, 3, 1), (6, 2, 2), (60, 2, 3)):
            found = decoding.generate(model, ids[:rows].to("cuda"), lengths[:rows].to("cuda"), new)
            assert len(graphs.recorded) == recorded
            assert torch.equal(found[:, :6].cpu(), expected[:rows])
        assert graphs.replays == 5 + 1 + 19 + 5 + 1 + 59 + 1  # one to compare, for each recording
        for moved, recorded in ((False, 3), (True, 4), (False, 4)):
            if moved:
                model.embed_out.weight.data = model.embed_out.weight.data.clone()
            decoding.generate(model, ids[:2].to("cuda"), lengths[:2].to("cuda"), 60)
            assert len(graphs.recorded) == recorded


def test_a_graph_that_is_wrong_or_fails_is_not_used(card, graphs, monkeypatch, capsys):
    model = network()
    ids, lengths = torch.ones(2, 5, dtype=torch.int64), torch.tensor([2, 5])
    expected = decoding.generate(model, ids, lengths, 6)
    graphs.shift = 9.
    with card:
        model.to("cuda")
        found = [decoding.generate(model, ids.to("cuda"), lengths.to("cuda"), 6).cpu()]
        graphs.shift = 0

        def broken(*_, **__):
            raise RuntimeError("CUDA error: operation not permitted\nwhen stream is capturing")
        monkeypatch.setattr(torch.cuda, "graph", broken)
        found.append(decoding.generate(model, ids[:1].to("cuda"), lengths[:1].to("cuda"), 6).cpu())
    assert torch.equal(found[0], expected) and torch.equal(found[1], expected[:1])
    start = "note: W2S_GRAPHS=1: generation goes on without a CUDA graph "
    assert capsys.readouterr().out.splitlines() == [
        start + "(its states are others)", start + "(CUDA error: operation not permitted)"]


def test_graphs_are_off_where_nobody_asks_for_them(card):
    with card:
        model = network()
        model.to("cuda")
        decoding.generate(model, torch.ones(1, 3, dtype=torch.int64).to("cuda"),
                          torch.tensor([3]).to("cuda"), 4)
        assert model not in decoding._replays


# ---- cards that fail -----------------------------------------------------------------------------

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...\nsee")
GONE = torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors "
                              "might be asynchronously reported")
BUSY = RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nmore")


@pytest.mark.parametrize("error, begins, cut", [
    (FULL, "the GPU's memory is full (CUDA out of memory. Tried to allocate 2.00 GiB.",
     "in training a smaller --batch-size or --max-length needs less"),
    (GONE, "the GPU failed (CUDA error: uncorrectable ECC error encountered); the same command "
     "goes on from what was saved", "give another --device"),
    (BUSY, "the GPU failed (CUDA error: CUDA-capable device(s) is/are busy or unavailable)",
     "give another --device")], ids=["full", "gone", "busy"])
@pytest.mark.parametrize("script", ["train_weak", "label"])
def test_a_card_that_fails_is_one_line_and_nothing_is_lost(error, begins, cut, script, world, fair,
                                                           tmp_path, call, monkeypatch):
    """In the middle of training behind a checkpoint, or of labelling: said in one line, and run
    again the command goes on."""
    train = ("train_weak", "--task", "fairness", "--model", world / "tiny-2x32", "--data",
             fair / "weak.jsonl", "--out", tmp_path / "run", "--epochs", 1, "--lam", 0,
             "--save-every", .2, "--batch-size", 16)
    label = ("label", "--task", "fairness", "--run", tmp_path / "run", "--data", fair / "wts.jsonl")
    if script == "label":
        assert call(*train)[0] == 0
    take, done = gpt_neox.GPTNeoX.last_state, []

    def fails(*args, **named):
        done.append(True)
        if len(done) > (4 if script == "train_weak" else 0):
            raise error
        return take(*args, **named)
    with monkeypatch.context() as patch:
        patch.setattr(gpt_neox.GPTNeoX, "last_state", fails)
        code, _, err = call(*(train if script == "train_weak" else label))
    line, = err.splitlines()
    assert code == 1 and line.startswith(f"error: {begins}") and cut in line
    assert not (tmp_path / "run" / "labels" / "wts.jsonl").exists()
    code, out, _ = call(*(train if script == "train_weak" else label))
    assert code == 0 and ("goes on at step 4" in out) == (script == "train_weak")


def test_a_model_that_is_larger_than_the_card_is_one_line(world, fair, tmp_path, call,
                                                          monkeypatch):
    def full(*_, **__):
        raise FULL
    monkeypatch.setattr(gpt_neox.GPTNeoX, "to", full)
    code, _, err = call("train_weak", "--task", "fairness", "--model", world / "tiny-2x32",
                        "--data", fair / "weak.jsonl", "--out", tmp_path / "run")
    assert code == 1 and not (tmp_path / "run").exists() and err.startswith(
        f"error: {world / 'tiny-2x32'}: the model alone does not fit the memory")
    assert len(err.splitlines()) == 1


def test_an_error_of_ours_is_not_a_cards():
    for error in (RuntimeError("shape mismatch"), ValueError("CUDA"), KeyError("x")):
        assert config.of_card(error) is None
