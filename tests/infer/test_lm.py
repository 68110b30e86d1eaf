"""Log-probabilities and continuations of a language model, and how many logits exist at a time.

    python -m pytest -q tests/infer/test_lm.py
"""

import types

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from w2s import rows
from w2s.dp import microbatch
from w2s.dp import sgd as dp
from w2s.infer import batching, lm
from w2s.model import checkpoint, configuration, decoding, network, tokenization
from w2s.tasks import privacy

V = 61


def model(seed=0, **config):
    """A tiny language model whose matrices are large enough that it is sure of something."""
    m = checkpoint.untrained({**configuration.published(2, 16, 2, V), "initializer_range": .3,
                              **config},
                             seed)
    return m.eval()


def ids_of(n=30, longest=24, seed=0):
    draw = np.random.default_rng(seed)
    return [draw.integers(0, V, draw.integers(1, longest)).astype(np.int32) for _ in range(n)]


def by_hand(m, row):
    """{name: (T - 1,)} of one row, from the definition, in float64."""
    row = torch.as_tensor(row).long()[None]
    with torch.no_grad():
        logits = m(row, torch.tensor([row.shape[1]]))[0, :-1].double()
    p = logits.exp() / logits.exp().sum(-1, keepdim=True)
    logp, token = p.log(), row[0, 1:]
    mean = (p * logp).sum(-1)
    return {"logp": logp[range(len(token)), token], "hit": p.argmax(-1) == token, "mean": mean,
            "sd": (p * (logp - mean[:, None]) ** 2).sum(-1).sqrt()}


# ---- what the model says of a text ---------------------------------------------------------------

@pytest.mark.parametrize("moments", (False, True))
def test_token_scores_are_those_of_one_row_at_a_time(moments):
    m, ids = model(), ids_of()
    for row, found in zip(ids, lm.token_scores(m, ids, moments=moments, title=""), strict=True):
        expected = by_hand(m, row)
        assert set(found) == ({*expected} if moments else {"logp", "hit"})
        for key, value in found.items():
            assert value.shape == (len(row) - 1,)
            assert np.abs(value.astype(float) - expected[key].double().numpy()).max(
                initial=0) < 2e-5, key
    assert any(found["hit"].any() for found in lm.token_scores(m, ids, title=""))


def test_token_scores_are_those_of_transformers(tmp_path, world):
    transformers = pytest.importorskip("transformers")
    checkpoint.save(model(), tmp_path, world / "tokenizer.json")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = ids_of(6)
    for row, found in zip(ids, lm.token_scores(model(), ids, title="")):
        row = torch.as_tensor(row).long()[None]
        with torch.no_grad():
            logp = theirs(row).logits[0, :-1].log_softmax(-1)
        expected = logp.gather(-1, row[0, 1:, None])[:, 0].numpy()
        assert np.abs(found["logp"] - expected).max(initial=0) < 1e-5


def test_mean_and_standard_deviation_as_min_k_plus_plus_has_them():
    p = torch.tensor([[.7, .1, .1, .1], [.25, .25, .4, .1], [.05, .05, .1, .8]])
    found = lm._scores(p.log() + 3, torch.tensor([0, 3, 2]), True)
    assert ((found["logp"] - found["mean"]) / found["sd"]).tolist() == pytest.approx(
        [.65465367, -2.50800133, -1.62229492], rel=1e-6)
    assert found["hit"].tolist() == [True, False, False]


def test_scores_depend_neither_on_batches_nor_on_chunks_of_logits(monkeypatch):
    m, ids = model(), ids_of()
    expected = lm.token_scores(m, ids, moments=True, title="")
    order = np.random.default_rng(1).permutation(len(ids))
    for tokens, logits in ((24, 1), (100, 7 * V), (10 ** 6, 10 ** 9)):
        monkeypatch.setattr(batching, "TOKENS", {"cpu": tokens})
        monkeypatch.setattr(lm, "LOGITS", {"cpu": logits})
        found = lm.token_scores(m, [ids[i] for i in order], moments=True, title="")
        for i, row in zip(order, found):
            assert all(np.allclose(row[key], expected[i][key], atol=1e-5) for key in row)


def test_rows_of_one_token_have_nothing_to_predict():
    found = lm.token_scores(model(), [np.array([5]), np.array([7])], moments=True, title="")
    assert all(len(column) == 0 for row in found for column in row.values())
    one = lm.token_scores(model(), [np.array([5]), np.array([5, 6])], title="")
    assert [len(row["logp"]) for row in one] == [0, 1]
    assert lm.predictions(model(), {"ids": [np.array([5])]}, title="") == [
        {"nll": 0, "tokens": 0, "correct": 0}]


def test_predictions_add_up_to_the_negative_log_likelihood():
    m, ids = model(), ids_of(9)
    for row, found in zip(ids, lm.predictions(m, {"ids": ids}, title=""), strict=True):
        expected = by_hand(m, row)
        assert found["nll"] == pytest.approx(-expected["logp"].sum().item(), rel=1e-5, abs=1e-6)
        assert found["tokens"] == len(row) - 1
        assert found["correct"] == int(expected["hit"].sum())
        assert all(type(value) in (int, float) for value in found.values())


def test_a_model_that_is_not_finite_is_refused_with_the_row():
    m = model()
    with torch.no_grad():
        m.gpt_neox.embed_in.weight[9] = float("nan")
    with pytest.raises(ValueError, match=r"not finite \(row 2\)"):
        lm.token_scores(m, [np.array([1, 2, 3]), np.array([1, 9, 3]), np.array([4, 5])], title="")


# ---- what the model writes -----------------------------------------------------------------------

@pytest.mark.parametrize("tokens", (1, 50, 10 ** 6))
def test_continuations_are_those_of_one_row_at_a_time(tokens, monkeypatch):
    monkeypatch.setattr(batching, "TOKENS", {"cpu": tokens})
    m, prompts = model(), ids_of(12)
    found = lm.continuations(m, prompts, 8, title="")
    assert found.shape == (12, 8) and found.dtype == np.int64
    for row, new in zip(prompts, found):
        row = torch.as_tensor(row).long()[None]
        alone = decoding.generate(m, row, torch.tensor([row.shape[1]]), 8)
        assert alone[0].tolist() == new.tolist()


def test_a_sample_follows_its_seed_and_greedy_has_none():
    m, prompts = model(), ids_of(12)
    one, again, other = (lm.continuations(m, prompts, 8, 1.0, seed, title="") for seed in (0, 0, 1))
    assert (one == again).all() and (one != other).mean() > .5
    greedy = lm.continuations(m, prompts, 8, title="")
    assert (greedy == lm.continuations(m, prompts, 8, 0, 5, title="")).all()
    assert (greedy == lm.continuations(m, prompts, 8, 1e-4, 5, title="")).all()
    assert (greedy != one).mean() > .5


@pytest.mark.parametrize("named", (True, False))
def test_what_is_sampled_behind_a_row_does_not_depend_on_other_rows(named, monkeypatch):
    m, prompts = model(), ids_of(14)
    names = [f"mail {i}" for i in range(14)]

    def sampled(pick):
        more = {"names": [names[i] for i in pick]} if named else {}
        found = lm.continuations(m, [prompts[i] for i in pick], 8, 1.0, 3, title="", **more)
        return dict(zip(pick, found.tolist()))

    whole = sampled(range(14))
    assert len(set(map(tuple, whole.values()))) > 10
    for pick in (range(1, 14), range(13, -1, -1), (3, 11), (5,)):
        assert sampled(pick) == {i: whole[i] for i in pick}
    monkeypatch.setitem(batching.TOKENS, "cpu", 12)  # small batches
    assert sampled(range(14)) == whole


def test_equal_prompts_are_sampled_apart_and_names_decide():
    m, prompt = model(), np.array([3, 4, 5])
    one, two = lm.continuations(m, [prompt, prompt], 12, 2.0, title="")
    assert (one != two).any()
    one, two, three = lm.continuations(m, [prompt] * 3, 12, 2.0, title="", names=["a", "b", "a"])
    assert (one == three).all() and (one != two).any()


def test_a_sample_has_the_models_own_probabilities():
    m = model()
    found = lm.continuations(m, [np.array([3, 4])] * 4000, 1, 2.0, title="")
    with torch.no_grad():
        p = (m(torch.tensor([[3, 4]]), torch.tensor([2]))[0, -1].double() / 2).softmax(-1).numpy()
    share = np.bincount(found[:, 0], minlength=V) / 4000
    assert (np.abs(share - p) < 5 * np.sqrt(p / 4000) + 1e-3).all() and p.max() < .9


def test_text_ends_before_the_first_end_of_text():
    assert lm.until_end(np.array([5, 6, 0, 7, 0])).tolist() == [5, 6]
    assert lm.until_end(np.array([0, 6])).tolist() == []
    assert lm.until_end(np.array([5, 6])).tolist() == [5, 6]


def test_labels_keep_the_prefix_and_write_the_rest(world):
    tokenizer = tokenization.load_tokenizer(world)
    m = checkpoint.load(world / "tiny-2x32", "lm")
    data = [{"id": "a", "text": "the harbour in part 7 is a warm garden"},
            {"id": "b", "text": "the"}, {"id": "c", "text": "a noisy violin près du port"}]
    columns = privacy.encode(data, tokenizer, 12)
    cfg = types.SimpleNamespace(prefix=4, decode="greedy", temperature=1.0, seed=0, dtype="float32")
    labelled, hidden, about = lm.label(m, tokenizer, data, columns, cfg)
    assert about.startswith("3 rows, ") and [row["id"] for row in labelled] == ["a", "b", "c"]
    for row, ids in zip(labelled, columns["ids"]):
        head, rest = ids[:4], len(ids[4:])
        start = tokenizer.encode(row["text"][:row["weak_from"]], add_special_tokens=False).ids
        assert start == head.tolist()
        new = decoding.generate(m, torch.as_tensor(head).long()[None], torch.tensor([len(head)]),
                              max(rest, 1))[0].numpy()[:rest]
        assert row["weak_text"] == tokenizer.decode(lm.until_end(new).tolist(), False)
    assert labelled[1]["weak_text"] == ""


# ---- how many logits exist at a time -------------------------------------------------------------

def heads(m):
    """A list that gets the number of logits of every call of the head."""
    seen = []
    m.embed_out.register_forward_hook(lambda module, inputs, out: seen.append(out.numel()))
    return seen


class Logits(TorchDispatchMode):
    """Of all tensors (P, V) that are made: the largest P, and the sum of P of those by products."""

    def __init__(self):
        super().__init__()
        self.most = self.products = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        turned = func is torch.ops.aten.t.default  # the head's matrix
        if torch.is_tensor(out) and out.ndim == 2 and out.shape[1] == V and not turned:
            self.most = max(self.most, len(out))
            self.products += len(out) * (func is torch.ops.aten.mm.default)
        return out


def batch_of(B=8, T=20):
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, T + 1, (B,), generator=draw)
    lengths[0] = T
    place = torch.arange(T)
    mask = (place < lengths[:, None]).float()
    mask[1] = 0
    return {"ids": torch.randint(0, V, (B, T), generator=draw), "len": lengths, "mask": mask}


@pytest.mark.parametrize("tie", (False, True))
def test_nll_never_holds_the_logits_of_a_whole_batch(tie, monkeypatch):
    m, b = model(tie_word_embeddings=tie), batch_of()
    for scale in (torch.ones(8), torch.arange(8.)):  # rows of equal gradient, and of their own
        m.zero_grad()
        expected = m.nll(b["ids"], b["len"], b["mask"])
        (expected * scale).sum().backward()
        gradients = [p.grad.clone() for p in m.parameters()]
        m.zero_grad()
        with monkeypatch.context() as patch, Logits() as seen:
            patch.setattr(network, "LOGITS_HELD", {True: 10 * V, False: 0})
            patch.setattr(network, "LOGITS_AT_ONCE", {True: 3 * V, False: 0})
            found = m.nll(b["ids"], b["len"], b["mask"])
            forward = seen.products
            (found * scale).sum().backward()
        predicted = int(b["mask"][:, 1:].sum())
        assert seen.most <= 15 and forward == predicted  # padding has none; parts are equal
        assert seen.products == predicted * (1 if scale.max() == 1 else 2)  # again where it must
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5) and found[1] == 0
        for p, g in zip(m.parameters(), gradients):
            assert torch.allclose(p.grad, g, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parallel, T", ((True, 20), (False, 20), (True, 140)))
def test_nll_of_few_tokens_evaluates_no_others_in_the_last_block(parallel, T, monkeypatch):
    """Wherever they stand in a row, and in a row without any; against all tokens."""
    m, b = model(use_parallel_residual=parallel), batch_of(T=T)
    draw, seen = torch.Generator().manual_seed(1), []
    mask = b["mask"] * (torch.rand(b["mask"].shape, generator=draw) < .2)
    mask[0, 1:] = torch.arange(1, T) >= T - 3
    m.gpt_neox.layers[-1].mlp.register_forward_hook(lambda _, x, y: seen.append(y.shape[1]))
    found = {}
    for m.whole in (True, False):
        m.zero_grad()
        nll = m.nll(b["ids"], b["len"], mask)
        (nll * torch.arange(1., 9)).sum().backward()
        found[m.whole] = [nll, *(p.grad.clone() for p in m.parameters())]
    assert seen == [T, int((mask[:, 1:] != 0).sum(1).max())] and seen[1] <= T // 2
    for one, two in zip(*found.values()):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tie", (False, True))
def test_a_private_step_holds_no_more_logits_than_it_may(tie, monkeypatch):
    m, b = model(tie_word_embeddings=tie), batch_of()
    monkeypatch.setattr(network, "LOGITS_HELD", {True: 1, False: 0})
    for held in (20 * V, 50 * V, 10 ** 9):
        monkeypatch.setattr(microbatch, "LOGITS", {True: held, False: 0})
        seen = heads(m)
        dp.private_gradient(m, lambda f, b: privacy.objective(f, b, None, 8), b, 1, 0, 1,
                            torch.Generator(), "fast")
        assert seen and max(seen) <= max(held, 20 * V)
        assert len(seen) == (1 if held == 10 ** 9 else {20 * V: 8, 50 * V: 4}[held])


def test_scoring_holds_no_more_logits_than_it_may(monkeypatch):
    m = model()
    monkeypatch.setattr(lm, "LOGITS", {"cpu": 10 * V})
    seen = heads(m)
    lm.token_scores(m, ids_of(), title="")
    assert max(seen) <= 11 * V and len(seen) > 10


# ---- rows and their columns ----------------------------------------------------------------------

def test_a_student_reads_the_true_beginning_and_the_weak_continuation(world):
    tokenizer = tokenization.load_tokenizer(world)
    row = {"id": "a", "text": "the harbour in part 7", "weak_text": " is dull", "weak_from": 11}
    pieces = [tokenizer.encode(part, add_special_tokens=False).ids for part in
              ("the harbour", " is dull")]
    both = privacy.encode([row], tokenizer, 64, "weak")
    assert both["ids"][0].tolist() == pieces[0] + pieces[1] and both["start"].tolist() == [1]
    rest = privacy.encode([row], tokenizer, 64, "weak", "continuation")
    assert rest["start"].tolist() == [len(pieces[0])]
    short = privacy.encode([row], tokenizer, 3, "weak")
    assert short["ids"][0].tolist() == (pieces[0] + pieces[1])[:3]
    true = privacy.encode([row], tokenizer, 64)
    assert true["ids"][0].tolist() == tokenizer.encode(row["text"], add_special_tokens=False).ids


def test_the_mask_counts_real_tokens_from_the_start_of_the_loss():
    data = {"ids": [np.arange(1, 1 + n, dtype=np.int32) for n in (5, 2, 1, 4)],
            "start": np.array([1, 1, 1, 3])}
    _, b = next(privacy.batches(data, 1, 4, seed=0))
    expected = {5: [0, 1, 1, 1, 1], 2: [0, 1, 0, 0, 0], 1: [0] * 5, 4: [0, 0, 0, 1, 0]}
    assert {n: mask for n, mask in zip(b["len"].tolist(), b["mask"].tolist())} == expected
    m = model()
    found = privacy.objective(m, b, None, 0)
    for n, loss in zip(b["len"].tolist(), found):
        logp = by_hand(m, np.arange(1, 1 + n))["logp"][2 if n == 4 else 0:]
        assert loss.item() == pytest.approx(-logp.mean().item() if len(logp) else 0, rel=1e-5)


def test_a_labels_file_without_a_place_is_refused(tmp_path):
    row = {"id": "a", "text": "abc", "weak_text": "d"}
    for place in (None, -1, 4, 1.5, True):
        rows.write(tmp_path / "labels.jsonl", [row | {"weak_from": place}])
        with pytest.raises(ValueError, match=r"labels.jsonl:1: 'weak_from' is"):
            privacy.read(tmp_path / "labels.jsonl", weak=True)
    rows.write(tmp_path / "labels.jsonl", [row | {"weak_from": 3}])
    assert privacy.read(tmp_path / "labels.jsonl", weak=True)[0]["weak_from"] == 3
