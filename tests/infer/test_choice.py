"""Options and free answers: log-likelihoods, texts, states, against transformers and plain loops.

    python -m pytest -q tests/infer/test_choice.py
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.infer.test_lm import V, ids_of, model
from tests.data.test_prepare import lines, put
from tests.test_scripts import ROOT
from w2s.infer import batching, choice, lm
from w2s.model import checkpoint, tokenization
from w2s.tasks import mcqa

COUNTS = (1, 4, 2, 3, 5)  # options of a row, in turn


def offers(n, longest=5, seed=1):
    """n rows of options, each of 1 to `longest` tokens."""
    draw = np.random.default_rng(seed)
    return [[draw.integers(1, V, draw.integers(1, longest + 1)).astype(np.int32)
             for _ in range(COUNTS[i % len(COUNTS)])] for i in range(n)]


def likelihoods(m, heads, options, **more):
    return choice.likelihoods(m, heads, options, title="", **more)


def end_of(m, *parts):
    """model.hidden of the tokens joined."""
    ids = torch.from_numpy(np.concatenate(parts)).long()[None]
    with torch.no_grad():
        return m.last_state(ids, torch.tensor([ids.shape[1]]))[0].numpy()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory, world):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("theirs")
    checkpoint.save(model(), folder, world / "tokenizer.json")
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def test_last_states_are_those_of_each_row_alone_and_of_its_end_where_it_is_too_long():
    m = model(max_position_embeddings=40)
    rows = [*ids_of(25), np.arange(1, 200, dtype=np.int32) % V]
    found = choice.last_states(m, rows, title="")
    assert found.shape == (26, m.config["hidden_size"]) and found.dtype == np.float32
    for row, state in zip(rows, found, strict=True):
        np.testing.assert_allclose(state, end_of(m, row[-len(m.cos):]), rtol=0, atol=2e-5)


def test_last_states_of_a_model_that_is_not_finite_are_refused():
    m = model()
    with torch.no_grad():
        next(m.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="states: the model's output is not finite"):
        choice.last_states(m, ids_of(3))


# ---- answers to choose from ----------------------------------------------------------------------

@pytest.mark.parametrize("longest", [1, 5])
def test_likelihoods_are_those_of_transformers_on_the_whole_sequences(theirs, longest):
    heads, options = ids_of(25), offers(25, longest)
    logp, count, states = likelihoods(model(), heads, options)
    assert states is None
    for head, offered, found, n in zip(heads, options, logp, count, strict=True):
        assert n.tolist() == [len(ids) for ids in offered] and len(found) == len(offered)
        for ids, value in zip(offered, found):
            whole = torch.from_numpy(np.concatenate([head, ids])).long()[None]
            with torch.no_grad():
                each = theirs(whole).logits[0, :-1].log_softmax(-1)
            each = each.gather(-1, whole[0, 1:, None])[len(head) - 1:, 0]
            assert value == pytest.approx(float(each.sum()), abs=2e-5)


@pytest.mark.parametrize("longest", [1, 5])
def test_the_state_is_that_of_the_last_token_of_the_chosen_option(longest):
    m, heads, options = model(), ids_of(25), offers(25, longest)
    logp, count, states = likelihoods(m, heads, options, states=True)
    assert states.dtype == np.float32 and states.shape == (25, 16)
    chosen = [int((a / n).argmax()) for a, n in zip(logp, count)]
    assert len(set(chosen)) > 2
    for head, offered, k, h in zip(heads, options, chosen, states):
        assert np.abs(end_of(m, head, offered[k]) - h).max() < 1e-5
    assert all((a == b).all() for a, b in zip(logp, likelihoods(m, heads, options)[0]))


def test_without_per_token_the_likeliest_option_as_a_whole_is_chosen():
    m, heads, options = model(), ids_of(25), offers(25)
    logp, each, states = likelihoods(m, heads, options, states=True, per_token=False)
    per_token, count, _ = likelihoods(m, heads, options)
    assert all((a == b).all() and (n == 1).all() for a, b, n in zip(logp, per_token, each))
    chosen = [int(a.argmax()) for a in logp]
    assert chosen != [int((a / n).argmax()) for a, n in zip(logp, count)]
    for head, offered, k, h in zip(heads, options, chosen, states):
        assert np.abs(end_of(m, head, offered[k]) - h).max() < 1e-5


def test_neither_the_batch_nor_the_order_of_rows_or_options_matters(monkeypatch):
    m, heads, options = model(), ids_of(30), offers(30)
    logp, _, states = likelihoods(m, heads, options, states=True)
    order = np.random.default_rng(3).permutation(30)
    for most in (64, 7):  # rows side by side
        monkeypatch.setitem(choice.ROWS, "cpu", most)
        again = likelihoods(m, [heads[i] for i in order], [options[i][::-1] for i in order],
                            states=True)
        for k, i in enumerate(order):
            assert np.abs(again[0][k][::-1] - logp[i]).max() < 1e-5
            assert np.abs(again[2][k] - states[i]).max() < 1e-5
    alone = [likelihoods(m, [h], [o], states=True) for h, o in zip(heads, options)]
    assert max(np.abs(a[0][0] - b).max() for a, b in zip(alone, logp)) < 1e-5
    assert np.abs(np.concatenate([a[2] for a in alone]) - states).max() < 1e-5


def test_a_prompt_is_read_once_whatever_the_number_of_its_options():
    m, seen = model(), []
    m.gpt_neox.layers[0].register_forward_hook(lambda _, args, out: seen.append(out.shape[1]))
    heads = [np.arange(5, 15, dtype=np.int32)] * 4
    likelihoods(m, heads, [[np.array([1], np.int32)] * 5] * 4, states=True)
    assert seen == [10, 1]  # letters: the prompts, then the chosen letters
    seen.clear()
    likelihoods(m, heads, [[np.array([1, 2], np.int32)] * 3] * 4)
    assert seen[0] == 10 and set(seen[1:]) == {1} and len(seen) <= 7


def test_rows_that_fill_the_positions_are_answered_and_longer_ones_lose_their_beginning():
    m = model(max_position_embeddings=24)
    heads = [np.arange(1, 23, dtype=np.int32), np.arange(1, 6, dtype=np.int32),
             np.arange(1, 40, dtype=np.int32)]
    options = [[np.array([3, 4])], [np.array([5, 6, 7, 8]), np.array([9])], [np.array([3, 4])]]
    logp, _, states = likelihoods(m, heads, options, states=True)
    for i in (0, 2):
        assert np.abs(end_of(m, heads[i][-20:], options[i][0]) - states[i]).max() < 1e-5
    assert np.isfinite(logp[0]).all()


def test_a_model_that_is_not_finite_is_named():
    m = model()
    m.gpt_neox.final_layer_norm.weight.data[:] = float("nan")
    with pytest.raises(ValueError, match="in-context: the model's output is not finite .row"):
        choice.likelihoods(m, ids_of(2), offers(2), title="in-context")
    with pytest.raises(ValueError, match="label: the model's output is not finite"):
        choice.written(m, ids_of(2), 3, title="label")


# ---- answers written freely ----------------------------------------------------------------------

def by_hand(m, head, new, end):
    """(tokens before `end`, (probability, margin, entropy), state) of a plain greedy loop, which
    reads everything anew for each token."""
    row, found = list(head), []
    for _ in range(new):
        ids = torch.tensor([row])
        with torch.no_grad():
            p = m(ids, torch.tensor([len(row)]))[0, -1].double().softmax(-1)
        token = int(p.argmax())
        if token == end:
            break
        top = p.topk(2).values
        found.append([float(p[token].log()), float(top[0] - top[1]), float(-(p * p.log()).sum())])
        row.append(token)
    mean = np.mean(found, 0) if found else np.array([-np.inf, 0, 0])
    return row[len(head):], np.array([np.exp(mean[0]), *mean[1:]]), end_of(m, np.array(row))


@pytest.mark.parametrize("often", [None, 0, 3])
def test_texts_certainties_and_states_are_those_of_a_plain_loop(often, monkeypatch):
    """END made a token that the model writes never, at once in some rows, or often."""
    m, heads = model(3), ids_of(12)
    free = [by_hand(m, head, 6, None)[0] for head in heads]
    end = V - 1 if often is None else free[often][often]
    monkeypatch.setattr(lm, "END", end)
    texts, certain, states = choice.written(m, heads, 6, title="")
    lengths = set()
    for head, new, numbers, h in zip(heads, texts, certain, states, strict=True):
        said, expected, state = by_hand(m, head, 6, end)
        assert new.tolist() == said
        assert np.abs(numbers - expected).max() < 1e-5 and np.abs(h - state).max() < 1e-5
        lengths.add(len(said))
    assert 0 in lengths or often != 0
    assert len(lengths) > 1 or often is None


def test_the_texts_are_those_of_transformers_generate(theirs):
    m, heads = model(), ids_of(10)
    free = [by_hand(m, head, 8, None)[0] for head in heads]
    assert lm.END == 0
    texts, _, _ = choice.written(m, heads, 8, title="")
    for head, new, whole in zip(heads, texts, free):
        out = theirs.generate(torch.from_numpy(head).long()[None], do_sample=False, pad_token_id=0,
                              eos_token_id=lm.END, max_new_tokens=8)[0, len(head):].tolist()
        assert new.tolist() == (out[:out.index(0)] if 0 in out else out)
        assert len(new) < 8 or new.tolist() == whole


def test_written_does_not_depend_on_the_batch(monkeypatch):
    m, heads = model(), ids_of(20)
    expected = choice.written(m, heads, 6, title="")
    monkeypatch.setitem(batching.TOKENS, "cpu", 20)
    again = choice.written(m, heads[::-1], 6, title="")
    assert [a.tolist() for a in again[0][::-1]] == [a.tolist() for a in expected[0]]
    for a, b in zip(again[1:], expected[1:]):
        assert np.abs(a[::-1] - b).max() < 1e-5


@pytest.mark.parametrize("names", ([f"row {i}" for i in range(12)], None))
def test_what_is_written_behind_a_row_does_not_depend_on_other_rows(names):
    m, heads = model(), ids_of(12)

    def written(pick):
        more = {"names": [names[i] for i in pick]} if names else {}
        found = choice.written(m, [heads[i] for i in pick], 6, 1.5, seed=4, title="", **more)[0]
        return {i: text.tolist() for i, text in zip(pick, found)}

    whole = written(range(12))
    assert len(set(map(tuple, whole.values()))) > 8
    for pick in (range(1, 12), range(11, -1, -1), (7,)):
        assert written(pick) == {i: whole[i] for i in pick}


def test_sampling_follows_the_seed_and_the_certainty_is_that_of_the_text():
    m, heads = model(), ids_of(8)
    first = choice.written(m, heads, 5, 1.5, seed=1, title="")
    again = choice.written(m, heads, 5, 1.5, seed=1, title="")
    assert [a.tolist() for a in first[0]] == [a.tolist() for a in again[0]]
    assert (first[2] == again[2]).all()
    other = choice.written(m, heads, 5, 1.5, seed=2, title="")
    assert [a.tolist() for a in first[0]] != [a.tolist() for a in other[0]]
    some = [i for i, new in enumerate(first[0]) if len(new)]
    logp, count, _ = likelihoods(m, [heads[i] for i in some], [[first[0][i]] for i in some])
    for i, row, n in zip(some, logp, count):
        assert first[1][i, 0] == pytest.approx(np.exp(row[0] / n[0]), rel=1e-5)


# ---- tokens --------------------------------------------------------------------------------------

def test_an_answer_keeps_its_beginning_and_a_prompt_its_end(world):
    tokenizer = tokenization.load_tokenizer(world / "tiny-2x32")
    heads, tails = ["the warm garden", "", "so " * 40], [" yes", " bright and rich", " no" * 40]
    columns = choice.encode(tokenizer, heads, tails, 12, end=True)
    whole = choice.tokens(tokenizer, heads), choice.tokens(tokenizer, tails)
    for ids, start, head, tail in zip(columns["ids"], columns["start"], *whole):
        assert len(ids) <= 12 and 1 <= start < len(ids)
        assert ids[start:].tolist() == [*tail, lm.END][:len(ids) - start]
        assert ids[:start].tolist() == ([*head] or [lm.END])[-start:]
    assert len(columns["ids"][2]) == 12 and columns["start"].tolist()[1:] == [1, 1]


def test_a_question_is_asked_with_its_letters_in_their_order(world, tmp_path):
    row = {"id": "q", "text": "Who barks?", "choices": ["a cat", "a dog", "none"], "label": 2,
           "weak": [.1, .8, .1]}
    assert mcqa.prompt(row) == "Question: Who barks?\nAnswer:"
    assert mcqa.prompt(row, "letters") == (
        "Question: Who barks?\nA. a cat\nB. a dog\nC. none\nAnswer:")
    assert mcqa.options(row) == [" a cat", " a dog", " none"]
    assert mcqa.options(row, "letters") == [" A", " B", " C"]
    assert (mcqa.truth(row), mcqa.truth(row, "letters")) == (" none", " C")
    tokenizer = tokenization.load_tokenizer(world / "tiny-2x32")
    for target, said in (("label", "none"), ("weak", "a dog")):
        [ids] = mcqa.encode([row], tokenizer, 64, target)["ids"]
        assert tokenizer.decode(ids.tolist()).endswith(f"Answer: {said}")
    for label, good in ((0, True), (2, True), (3, False), (-1, False)):
        put(tmp_path / "x.jsonl", lines([row | {"label": label}]))
        if good:
            assert mcqa.read(tmp_path / "x.jsonl", weak=True)[0]["label"] == label
            continue
        with pytest.raises(ValueError, match=f":1: 'label' is {label}, expected one of 0, 1, 2"):
            mcqa.read(tmp_path / "x.jsonl")


@pytest.mark.parametrize("scoring", ["cloze", "letters"])
def test_what_mcqa_trains_on_is_what_it_scores(world, scoring):
    tokenizer = tokenization.load_tokenizer(world / "tiny-2x32")
    data = [{"id": "a", "text": "which is warm ?", "choices": ["the garden", "a violin", "dull"],
             "label": 1}, {"id": "b", "text": "so ?", "choices": ["yes", "no"], "label": 0}]
    asked = mcqa.encode(data, tokenizer, 128, scoring=scoring)
    trained = mcqa.encode(data, tokenizer, 128, "label", scoring=scoring)
    for row, head, tails, ids in zip(data, asked["ids"], asked["options"], trained["ids"]):
        assert ids.tolist() == [*head, *tails[row["label"]]]
        assert tokenizer.decode(ids.tolist()) == (mcqa.prompt(row, scoring)
                                                  + mcqa.truth(row, scoring))
        if scoring == "letters":
            assert mcqa.prompt(row, scoring).endswith(f"\nB. {row['choices'][1]}"
                                                      + "\nC. dull" * (row["id"] == "a")
                                                      + "\nAnswer:")


def test_letters_are_weighed_by_the_logits_at_their_last_tokens():
    """The miniature's tokenizer makes two tokens of " A": the blank must not count."""
    folder = ROOT / "w2s/models/mini-weak"
    m, tokenizer = checkpoint.load(folder, "lm").eval(), tokenization.load_tokenizer(folder)
    data = [{"id": str(k), "text": "which is warm ?", "label": 1,
             "choices": ["the garden", "a violin", "dull", "a kettle"][:2 + k]} for k in range(3)]
    columns = mcqa.encode(data, tokenizer, 128, scoring="letters")
    cfg = SimpleNamespace(dtype="float32", temperature=1.0, hidden=True, scoring="token")
    labelled, states, _ = mcqa.label(m, tokenizer, data, columns, cfg)
    said = mcqa.predictions(m, columns, title="")
    for row, p, head, tails, h in zip(labelled, said, columns["ids"], columns["options"], states):
        assert [len(ids) for ids in tails] == [2] * len(row["choices"])
        ids = torch.from_numpy(np.append(head, tails[0][0])).long()[None]
        with torch.no_grad():
            z = m(ids, torch.tensor([ids.shape[1]]))[0, -1, [int(tail[1]) for tail in tails]]
        assert np.abs(z.softmax(0).numpy() - row["weak"]).max() < 1e-5 and p["p"] == row["weak"]
        assert (z.softmax(0) - (z / 2).softmax(0)).abs().max() > .01
        assert np.abs(end_of(m, head, tails[int(z.argmax())]) - h).max() < 1e-4


@pytest.mark.parametrize("bad, match", [
    ({"prompt": []}, "'prompt' is a list"), ({"source": True}, "'source' is true"),
    ({"source": 3}, "'source' is a number"), ({"prompt": "\ud800"}, "half a character"),
    ({"choices": ["yes", "n\ud800"]}, "half a character"),
    ({"choices": ["yes", " "]}, "'choices' is not a list of 2 to 10 answers")])
def test_a_bad_question_is_named(bad, match, tmp_path):
    row = {"id": "a", "text": "so ?", "choices": ["yes", "no"], "label": 0, "source": "s",
           "prompt": "so :"}
    put(tmp_path / "weak.jsonl", lines([row, row | {"id": "b"}]))
    assert len(mcqa.read(tmp_path / "weak.jsonl")) == 2
    put(tmp_path / "weak.jsonl", lines([row, row | {"id": "b"} | bad]))
    with pytest.raises(ValueError, match=f"weak.jsonl:2: {match}"):
        mcqa.read(tmp_path / "weak.jsonl")
