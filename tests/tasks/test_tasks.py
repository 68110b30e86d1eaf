"""Eqs. (3)-(9): each objective against the formula written out, its limits and its readings.

    python -m pytest -q tests/tasks/test_tasks.py
"""

import importlib

import numpy as np
import pytest
import torch

from w2s import metrics, tasks
from w2s.model import tokenization
from w2s.tasks import adversarial, fairness, ood
from w2s.train import step

DRAW = torch.Generator().manual_seed(0)
LOGITS = {key: torch.randn(12, 3, generator=DRAW, dtype=torch.float64) for key in ("x", "adv")}
# fairness fixture: f = z1 - z0, covariance by numpy
A = torch.tensor([0.] * 5 + [1.] * 7, dtype=torch.float64)
F = torch.tensor([2, -1, .5, 1.5, .25, -.5, 1, -2, .75, .1, -1.5, -.25], dtype=torch.float64)


def fair_batch(rows=slice(None)):
    return {"ids": torch.zeros(12, 4)[rows], "len": torch.ones(12)[rows], "a": A[rows],
            "a_bar": torch.full_like(A, float(A.mean()))[rows],
            "z": torch.stack([0 * F, F], -1)[rows]}


def nothing(logits, batch):
    return torch.zeros(len(logits), dtype=logits.dtype)


def penalty(batch, lam=1.0, **options):
    return fairness.objective(lambda ids, lengths: batch["z"], batch, nothing, lam, **options)


def test_fairness_penalty_is_the_covariance_of_a_and_f():
    whole, *halves = (penalty(fair_batch(rows), penalty_output="logit").mean().item()
                      for rows in (slice(None), slice(0, 6), slice(6, 12)))
    assert whole == pytest.approx(-.24131944, abs=1e-8)
    assert penalty(fair_batch()).mean().item() == pytest.approx(-.04724025, abs=1e-8)
    # a_bar is the split's, so the halves average to the whole
    assert halves == pytest.approx([-.35069444, -.13194444], abs=1e-8)


def test_fairness_loss_adds_lambda_times_the_penalty_and_lambda_0_is_plain():
    batch, ell = fair_batch(), lambda logits, batch: logits[:, 1]
    plain, added = (fairness.objective(lambda ids, lengths: batch["z"], batch, ell, lam)
                    for lam in (0, 2.5))
    assert torch.equal(plain, F)
    p = 1 / (1 + (-F).exp())
    torch.testing.assert_close(added, F + 2.5 * (A - 7 / 12) * p)


@pytest.mark.parametrize("kind, power", [("abs", lambda c: c.abs()), ("squared", lambda c: c ** 2)])
def test_abs_and_squared_have_the_gradient_of_abs_and_square_of_the_covariance(kind, power):
    z = fair_batch()["z"].clone().requires_grad_()
    batch = fair_batch() | {"z": z}
    got, = torch.autograd.grad(penalty(batch, penalty=kind).mean(), z)
    want, = torch.autograd.grad(power(penalty(batch).mean()), z)
    torch.testing.assert_close(got, want)


def test_covariance_with_hard_predictions_is_abar_1_minus_abar_times_dpd():
    yes, a_bar = (F > 0).double(), A.mean()
    cov, dpd = ((A - a_bar) * yes).mean(), metrics.demographic_parity(yes, A)
    assert cov.item() == pytest.approx(float(a_bar * (1 - a_bar)) * dpd)


def test_adversarial_loss_mixes_clean_and_perturbed_each_with_its_own_target():
    target, target_adv = (torch.rand(12, 3, generator=DRAW, dtype=torch.float64) for _ in range(2))
    batch = {"ids": torch.zeros(12, 1), "len": torch.zeros(12), "ids_adv": torch.ones(12, 1),
             "len_adv": torch.ones(12), "target": target, "target_adv": target_adv}

    def f(ids, lengths):
        return LOGITS["adv" if ids[0, 0] else "x"]

    def ell(logits, batch):
        return (logits * batch["target"]).sum(-1)

    clean, adv = (LOGITS["x"] * target).sum(-1), (LOGITS["adv"] * target_adv).sum(-1)
    torch.testing.assert_close(adversarial.objective(f, batch, ell, .3), .7 * clean + .3 * adv)
    assert torch.equal(adversarial.objective(f, batch, ell, 0), clean)
    assert torch.equal(adversarial.objective(f, batch, ell, 1), adv)


@pytest.mark.parametrize("lam, read", [(0, [0]), (.3, [0, 1]), (1, [1])])
def test_at_the_ends_of_lambda_the_other_texts_are_not_read(lam, read):
    batch, seen = {"ids": torch.zeros(12, 1), "len": None, "ids_adv": torch.ones(12, 1),
                   "len_adv": None}, []
    adversarial.objective(lambda ids, lengths: seen.append(int(ids[0, 0])) or LOGITS["x"], batch,
                          lambda logits, batch: logits[:, 0], lam)
    assert seen == read


def test_adversarial_student_gets_its_hardened_prediction_on_x_adv():
    batch = {"ids": torch.zeros(12, 1), "len": torch.zeros(12), "ids_adv": torch.ones(12, 1),
             "len_adv": torch.ones(12),
             "target": torch.zeros(12, 3), "target_adv": torch.zeros(12, 3),
             "hard": torch.full((12, 3), 1.), "hard_adv": torch.full((12, 3), 2.)}
    seen = []

    def ell(logits, batch):
        seen.append(batch["hard"])
        return logits[:, 0]

    adversarial.objective(lambda ids, lengths: LOGITS["x"], batch, ell, .3)
    assert seen[0].max() == 1 and seen[1].min() == 2


class TwoTokens:
    """A tokenizer to which every text is the ids 1, 2."""

    ids = [1, 2]

    def enable_truncation(self, max_length):
        pass

    def encode_batch(self, texts, **options):
        return [self for _ in texts]


def test_classes_that_a_source_lacks_are_closed():
    rows = [{"text": "x", "text_adv": "y", "label": 1, "source": s} for s in ("sst2", "mnli")]
    columns = adversarial.encode(rows, TwoTokens(), 8)
    _, batch = next(step.batches(columns, 1, 2, seed=0))
    order, logits = batch["rows"].tolist(), torch.tensor([[0., 0, 9]] * 2)
    loss = adversarial.objective(lambda ids, lengths: logits, batch, step.ground_truth, .3)
    sst2, mnli = (loss[order.index(row)].item() for row in (0, 1))
    assert sst2 == pytest.approx(np.log(2), abs=1e-5)  # class 2 is closed
    assert mnli > 9


def prediction(label, p, **more):
    return {"id": "x", "label": label, "p": p, **more}


def measured(task, rows):
    return {(m["slice"], m["metric"]): m["value"] for m in task.evaluate(rows)}


def test_fairness_counted_by_hand():
    """(a, label, p_1): of 4 men 3 get a yes, of 2 women 1; p = .5 is a yes (reading F7)."""
    people = ((1, 1, .9), (1, 1, .2), (1, 0, .5), (1, 0, .7), (0, 1, .6), (0, 0, .1))
    found = measured(fairness, [prediction(label, [1 - p, p], a=a) for a, label, p in people])
    gaps = {"dpd": 3 / 4 - 1 / 2, "dpd_abs": 1 / 4, "tpr_gap": 1 / 2 - 1, "tpr_gap_abs": 1 / 2,
            "fpr_gap": 1 - 0, "eod": 1, "acc": 3 / 6}
    parts = {("male", "acc"): 1 / 4, ("male", "rate"): 3 / 4, ("male", "n"): 4,
             ("female", "acc"): 1, ("female", "rate"): 1 / 2, ("female", "n"): 2}
    assert found == pytest.approx(parts | {("all", key): value for key, value in gaps.items()})
    rows = [prediction(label, [1 - p, p], a=a) for a, label, p in people]
    found = fairness.headline(fairness.sums(rows).sum(0))
    assert found == pytest.approx({key: gaps[key] for key in found}) and len(found) == 5


def test_ood_counted_by_hand():
    """(source, right): id 1 of 2, base 4 of 4, one style 1 of 4, another 2 of 2."""
    said = [("id", 1), ("id", 0), *[("base", 1)] * 4, ("augment", 1),
            *[("augment", 0)] * 3, *[("tweet_p0", 1)] * 2]
    rows = [prediction(1, [.2, .8] if right else [.8, .2], source=s) for s, right in said]
    ra = (1 / 4 + 1) / 2
    assert measured(ood, rows) == pytest.approx({
        ("all", "acc"): 1 / 2, ("all", "ra"): ra, ("all", "ra_worst"): 1 / 4,
        ("all", "gap"): 1 - ra, ("id", "acc"): 1 / 2, ("base", "acc"): 1,
        ("augment", "ra"): 1 / 4, ("tweet_p0", "ra"): 1, ("id", "n"): 2, ("base", "n"): 4,
        ("augment", "n"): 4, ("tweet_p0", "n"): 2})
    assert ood.headline(ood.sums(rows).sum(0)) == pytest.approx({"acc": 1 / 2, "ra": ra})


def test_adversarial_counted_by_hand():
    """(source, right on x, right on x', attacked model): means over sources, not over rows. Of the
    4 right on x two are wrong on x'. Rows of the weak family and unselected ones stand apart."""
    said = [("rte", 1, 0, "weak family"), ("sst2", 1, 1, "one"), ("sst2", 1, 0, "one"),
            ("sst2", 1, 0, "one"), ("sst2", 0, 0, "one"), ("rte", 1, 1, "one"),
            ("rte", 0, 1, "one"), ("rte", 0, 0, "one"), ("qqp", 1, 1, "unselected"),
            ("qqp", 0, 0, "unselected"), ("qnli", 0, 0, "unselected")]

    def p(right):
        return [.1, .9, 0.] if right else [.9, .1, 0.]
    rows = [prediction(1, p(x), p_adv=p(y), source=s, surrogate=m) for s, x, y, m in said]
    acc, ra = (3 / 4 + 1 / 3) / 2, (1 / 4 + 2 / 3) / 2
    assert measured(adversarial, rows) == pytest.approx({
        ("all", "acc"): acc, ("all", "ra"): ra, ("all", "ra_worst"): 1 / 4, ("all", "asr"): 2 / 4,
        ("sst2", "acc"): 3 / 4, ("sst2", "ra"): 1 / 4, ("sst2", "n"): 4, ("rte", "acc"): 1 / 3,
        ("rte", "ra"): 2 / 3, ("rte", "n"): 3, ("surrogate:one", "acc"): acc,
        ("surrogate:one", "ra"): ra, ("surrogate:one", "n"): 7,
        ("surrogate:weak family", "acc"): 1, ("surrogate:weak family", "ra"): 0,
        ("surrogate:weak family", "n"): 1, ("unselected", "acc"): (1 / 2 + 0) / 2,
        ("unselected", "n"): 3})
    assert adversarial.headline(adversarial.sums(rows).sum(0)) == pytest.approx(
        {"acc": acc, "ra": ra})
    assert [row["source"] for row in adversarial.to_attack(rows)] == ["qqp", "qqp", "qnli"]
    assert len(adversarial.to_attack(rows[:8])) == 7  # none unselected: not the weak family's


def test_columns_of_rows_are_their_own(world):
    """What the objectives are given, by hand: a_bar is the share of men of the split; weak labels
    stay soft; x' is tokenised apart and has its own target; a pool for each source."""
    tokenizer = tokenization.load_tokenizer(world)
    men = [{"text": "the warm garden", "label": a, "a": a, "weak": [.25, .75]} for a in (1, 1, 0)]
    found = fairness.encode(men, tokenizer, 2)
    assert found["a"].tolist() == [1, 1, 0] and found["a_bar"] == pytest.approx([2 / 3] * 3)
    assert found["target"].tolist() == [[0, 1], [0, 1], [1, 0]]
    whole = tokenizer_ids(world, "the warm garden")
    assert len(whole) > 2 and found["ids"][0].tolist() == whole[:2]
    assert fairness.encode(men, tokenizer, 9, "weak")["target"].tolist() == [[.25, .75]] * 3
    assert ood.encode(men, tokenizer, 9, "weak")["target"].tolist() == [[.25, .75]] * 3
    pairs = [{"text": "the warm garden", "text_adv": "a dull market", "label": k, "source": s,
              "weak": [.5, .25, .25], "weak_adv": [0., 0., 1.]}
             for k, s in enumerate(("sst2", "qqp", "mnli"))]
    for name, adv in (("fw_x_adv", [0, 0, 1]), ("fw_x", [.5, .25, .25])):
        found = adversarial.encode(pairs, tokenizer, 9, "weak", name)
        assert found["target"].tolist() == [[.5, .25, .25]] * 3
        assert found["target_adv"].tolist() == [adv] * 3
    assert found["ids"][1].tolist() == whole
    assert found["ids_adv"][1].tolist() == tokenizer_ids(world, "a dull market") != whole
    assert len(set(found["pool"].tolist())) == 3
    assert (found["absent"] < 0).tolist() == [[False, False, True]] * 2 + [[False] * 3]
    truth = adversarial.encode(pairs, tokenizer, 9)
    assert truth["target"].tolist() == truth["target_adv"].tolist() == np.eye(3).tolist()


def tokenizer_ids(world, said):
    from tokenizers import Tokenizer
    return Tokenizer.from_file(str(world / "tokenizer.json")).encode(said).ids


def test_headlines_agree_with_the_full_evaluation():
    draw = np.random.default_rng(0)
    p = draw.dirichlet([1, 1], 200).tolist()
    sources = ["id", "base", "tweet_p0", "augment"] * 50
    found = {
        fairness: [prediction(int(draw.integers(2)), q, a=int(draw.integers(2))) for q in p],
        ood: [prediction(int(draw.integers(2)), q, source=s) for q, s in zip(p, sources)],
        adversarial: [prediction(int(draw.integers(2)), q, p_adv=q[::-1], source=s, method="m")
                      for q, s in zip(p, ["sst2", "mnli", "rte", "qnli"] * 50)]}
    for task, rows in found.items():
        measured = {m["metric"]: m["value"] for m in task.evaluate(rows) if m["slice"] == "all"}
        for name, value in task.headline(task.sums(rows).sum(0)).items():
            assert measured[name] == pytest.approx(float(value)), (task.__name__, name)
        doubled = task.headline(np.stack([task.sums(rows).sum(0)] * 2))
        assert all(np.shape(value) == (2,) for value in doubled.values())


def test_the_base_rate_of_fairness_is_that_of_the_split(world):
    tokenizer = tokenization.load_tokenizer(world / "tiny-2x32")
    found = fairness.encode([{"text": "t", "label": 1, "a": a} for a in (1, 0, 0, 1, 1)],
                            tokenizer, 8)
    assert found["a"].tolist() == [1, 0, 0, 1, 1] and found["a_bar"] == pytest.approx([.6] * 5)
    assert found["target"].tolist() == [[0, 1]] * 5


def test_base_is_no_style():
    """Right are 1 of 2 id, 2 of 2 base, 0 of 2 and 1 of 2 of the styles: ra .25, gap .75."""
    found = [{"source": source, **prediction(0, [1 - wrong, wrong])} for source, wrong in (
        ("id", 0), ("id", 1), ("base", 0), ("base", 0), ("bible", 1), ("bible", 1), ("tweet", 0),
        ("tweet", 1))]
    value = {(m["slice"], m["metric"]): m["value"] for m in ood.evaluate(found)}
    assert [value["all", name] for name in ("acc", "ra", "ra_worst", "gap")] == [.5, .25, 0, .75]
    total = ood.headline(ood.sums(found).sum(0))
    assert (float(total["acc"]), float(total["ra"])) == (.5, .25)


@pytest.mark.parametrize("value, label", [("<=50K", 0), (">50k.", 1), ("> 50K", 1), ("50000", 0),
                                          ("50000.5", 1), ("0", 0)])
def test_an_income_is_a_class_or_dollars(value, label):
    assert fairness._income(value, "x:1") == label


@pytest.mark.parametrize("value", ["nan", "NaN", "", "NA", "inf", "-1", "?", "<NA>", "None"])
def test_a_missing_income_is_no_label(value):
    with pytest.raises(ValueError, match="^x:1: income is"):
        fairness._income(value, "x:1")
    assert fairness._value("occupation", value, "x:1") in ("unknown", value)


@pytest.mark.parametrize("value", ["nan", "x", "-0.1", "1.1", ""])
def test_a_chance_is_a_probability(value):
    with pytest.raises(ValueError, match="^x:1: chance is"):
        fairness._chance(value, "x:1")


@pytest.mark.parametrize("name", tasks.NAMES)
def test_a_tasks_module_gives_what_its_record_has(name):
    module, task = importlib.import_module(f"w2s.tasks.{name}"), tasks.load(name)
    for part in ("read", "encode", "objective", "label", "predictions", "evaluate", "batches",
                 "make_step"):
        assert getattr(module, part) == getattr(task, part), part
    with pytest.raises(AttributeError, match="'nothing'"):
        module.nothing
