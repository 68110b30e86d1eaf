"""Membership inference on models that know some mails by heart.

    python -m pytest -q tests/attacks/test_membership.py
"""

import shutil
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

from tests import memorised
from tests.conftest import read_json
from tests.memorised import fresh, home  # noqa: F401  (fixtures)
from w2s import config, metrics, rows
from w2s.attacks import membership
from w2s.infer import lm
from w2s.model import checkpoint, tokenization

# worked by hand, and with public implementations
LOGP = [-.1, -2.3, -.7, -5, -.05, -1.2, -3.3, -.4, -.9, -.01]
REFERENCE = [-.3, -2, -1.5, -5.5, -.2, -1.4, -4, -.5, -1, -.02]


@pytest.fixture
def attack(capsys):
    """attack(home, [runs], *more) -> (exit code, stdout, stderr) of `attacks.py membership`."""
    return memorised.attacker(capsys, membership.membership, membership.Membership)


@pytest.fixture(scope="module")
def done(home):
    """All three runs attacked."""
    membership.membership(config.parse(membership.Membership, "", memorised.argv(
        home, ("knows", "base", "student"), "--seen", 24)))
    return home


def measured(run):
    return memorised.measured(run, "membership")


def lines(run):
    return rows.read(run / "attacks" / "membership.jsonl")


def scores(logp=LOGP, ref=REFERENCE, mean=0, sd=1, said="said", k=.2):
    ones = np.ones(len(logp))
    return membership.judge(logp, ref, mean * ones, sd * ones, said, k)


def test_the_scores_of_the_fixture():
    found = scores()
    assert found["loss"] == pytest.approx(1.396) and found["ref"] == pytest.approx(-.246)
    for k, expected in {.1: 5, .2: 4.15, .3: 3.533333, .5: 2.54, 1: 1.396}.items():
        assert scores(k=k)["min_k"] == pytest.approx(expected, abs=1e-6)
    assert scores(mean=-1, sd=2)["min_kpp"] == pytest.approx((4.15 - 1) / 2)


def test_zlib_divides_the_sum_by_the_compressed_bytes_of_the_text():
    said = "Please call me at 713-853-1234 regarding the Enron gas contract. Thanks, Alice"
    assert scores(said=said)["zlib"] == pytest.approx(13.96 / len(zlib.compress(said.encode())))


def test_a_short_text_has_one_least_likely_token_and_a_sure_model_no_infinity():
    assert scores([-2.], [-1.], k=.2)["min_k"] == 2  # int(.2 * 1) is an empty mean elsewhere
    assert scores(k=.01)["min_k"] == 5
    assert membership.lowest(-np.arange(100.), .29) == -np.mean(np.arange(71, 100))
    assert np.isfinite(list(scores(mean=0, sd=0).values())).all()


def test_min_k_plus_plus_of_the_fixture_and_of_a_model(home):
    p = np.array([[.7, .1, .1, .1], [.25, .25, .4, .1], [.05, .05, .1, .8]])
    mean = (p * np.log(p)).sum(1)
    sd = np.sqrt((p * (np.log(p) - mean[:, None]) ** 2).sum(1))
    z = membership.standardised(np.log(p[np.arange(3), [0, 3, 2]]), mean, sd)
    np.testing.assert_allclose(z, [.65465367, -2.50800133, -1.62229492], atol=1e-8)
    np.testing.assert_allclose(membership.lowest(z, .5), -2.50800133, atol=1e-8)


def test_who_was_trained_on_is_known_from_a_model_that_knows_them_by_heart(done):
    value = measured(done / "knows")
    for score in membership.SCORES:
        assert value["all", f"mia_auc_{score}"] > .98
    assert value["all", "mia_auc"] == value["all", "mia_auc_ref"] == 1
    assert value["all", "mia_auc_low"] == value["all", "mia_auc_high"] == 1
    assert (value["all", "members"], value["all", "non_members"], value["all", "n"]) == (8, 24, 32)
    assert value["wts", "non_members"] == 6 and value["pile", "non_members"] == 3
    assert not [metric for _, metric in value if metric.endswith("_seen")]


def test_an_untuned_model_knows_nobody(done):
    value = measured(done / "base")
    assert value["all", "mia_auc"] == .5  # it is its own reference: all scores are 0
    for score in membership.SCORES:
        low, high = (value["all", f"mia_auc_{score}_{end}"] for end in ("low", "high"))
        assert low <= value["all", f"mia_auc_{score}"] <= high and low < .6 and high > .4


def test_a_student_gives_away_what_it_saw(done):
    value = measured(done / "student")
    assert value["all", "mia_auc_seen"] == 1 and value["all", "mia_auc_loss_seen"] == 1
    for line in lines(done / "student"):
        assert (line["loss_seen"] < .5) == (line["member"] == 1) and line["tokens"] == 47
    assert value["weak", "members"] == 6 and value["weak", "mia_auc_seen"] == 1


def test_rates_are_undefined_with_too_few_non_members(done):
    value = measured(done / "knows")
    assert value["all", "mia_tpr_at_5fpr"] == 1  # 24 non-members
    assert value["all", "mia_tpr_at_1fpr"] is None is value["all", "mia_tpr_at_1fpr_low"]
    assert value["all", "mia_tpr_at_0.1fpr"] is None is value["wts", "mia_tpr_at_5fpr"]
    assert ("all", "mia_auc_zlib_low") in value and ("all", "mia_tpr_at_5fpr_low") in value


def test_the_lines_of_the_rows_are_the_scores_of_their_tokens(done):
    run, data = done / "knows", rows.read(done / "weak.jsonl")
    model, reference = (checkpoint.load(f, "lm") for f in (run / "model", done / "tiny"))
    tokenizer = tokenization.load_tokenizer(run / "model")
    for row, line in zip(data, lines(run)[:3]):
        tokenizer.no_truncation()
        encoded = tokenizer.encode(row["text"], add_special_tokens=False)
        ids, said = np.array(encoded.ids[:48]), row["text"][:encoded.offsets[47][1]]
        assert tokenizer.decode(ids.tolist()) == said
        (own,), (other,) = (lm.token_scores(m, [ids], title="") for m in (model, reference))
        loss = -own["logp"].mean(dtype=float)
        expected = {"member": 1, "tokens": 47, "loss": loss,
                    "ref": loss + other["logp"].mean(dtype=float),
                    "zlib": 47 * loss / len(zlib.compress(said.encode())),
                    "min_k": -np.sort(own["logp"])[:9].mean()}
        assert line["id"] == row["id"] and len(said) < len(row["text"])
        assert {key: line[key] for key in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)
    found, value = lines(run), measured(run)
    here = [line for line in found if line["member"] or line["split"] == "test"
            and "source" not in line]
    assert value["all", "mia_auc_zlib"] == pytest.approx(metrics.auc(
        [-line["zlib"] for line in here], [line["member"] for line in here]))


def test_what_a_student_saw_is_scored_by_those_tokens_alone(done):
    """24 of them, of which 23 are predicted."""
    run, row = done / "student", rows.read(done / "wts.jsonl")[2]
    model, reference = (checkpoint.load(f, "lm") for f in (run / "model", done / "tiny"))
    tokenizer = tokenization.load_tokenizer(run / "model")
    tokenizer.no_truncation()
    encoded = tokenizer.encode(row["text"], add_special_tokens=False)
    ids, said = np.array(encoded.ids[:24]), row["text"][:encoded.offsets[23][1]]
    (own,), (other,) = (lm.token_scores(m, [ids], title="") for m in (model, reference))
    loss = -own["logp"].mean(dtype=float)
    expected = {"loss_seen": loss, "ref_seen": loss + other["logp"].mean(dtype=float),
                "zlib_seen": 23 * loss / len(zlib.compress(said.encode())),
                "min_k_seen": -np.sort(own["logp"])[:4].mean()}
    (line,) = (line for line in lines(run) if line["id"] == row["id"])
    assert {key: line[key] for key in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_an_area_has_its_first_step_and_ties_count_half():
    """Pairs of a member and a non-member, by hand; a rate needs 1 / bound non-members."""
    for score, member, area in (([3, 2, 2, 1], [1, 1, 0, 0], 3.5 / 4), ([2, 2, 1], [1, 0, 0], .75),
                                ([1, 1], [1, 0], .5), ([1, 2, 2], [1, 0, 0], 0)):
        found = membership.rates(np.array(score, float), np.array(member, bool))
        assert found["mia_auc"] == area
    for others, known in ((20, True), (19, False)):
        found = membership.rates(np.arange(others + 30.), np.arange(others + 30) >= others)
        assert found["mia_auc"] > .999 and np.isnan(found["mia_tpr_at_5fpr"]) != known


def test_the_interval_is_that_of_theory(monkeypatch):
    """DeLong et al. 1988: the area's variance is that of the placements of members, over their
    number, and of non-members, over theirs. 40 members stand there 5 times each, as groups; rows of
    another split, here first, have no part in it."""
    monkeypatch.setattr(membership, "SCORES", ("ref",))
    draw = np.random.default_rng(4)
    data = [{"group": "one", "split": "wts"}] * 150
    data += [{"group": str(i // 5), "split": "weak"} for i in range(200)]
    data += [{"group": f"test{i}", "split": "test"} for i in range(150)]
    outside, inside = draw.normal(size=150), draw.normal(size=40) - 1
    ref = np.concatenate([draw.normal(size=150), np.repeat(inside, 5), outside])
    member = np.array([row["split"] == "weak" for row in data])
    value = {m["metric"]: m["value"] for m in membership.measure(
        SimpleNamespace(data=data, member=member), {i: {"ref": x} for i, x in enumerate(ref)}, 0)
        if m["slice"] == "all"}
    lower = inside[:, None] < outside
    sd = (lower.mean(1).var(ddof=1) / 40 + lower.mean(0).var(ddof=1) / 150) ** .5
    assert value["mia_auc"] == pytest.approx(lower.mean()) and value["non_members"] == 150
    assert value["mia_auc_high"] - value["mia_auc_low"] == pytest.approx(2 * 1.96 * sd, rel=.1)
    assert value["mia_auc_low"] < lower.mean() < value["mia_auc_high"]


def test_no_text_is_shown_or_written(fresh, attack):
    code, out, err = attack(fresh, ["knows", "base", "student"], "--seen", 24)
    assert code == 0 and out.count("mia_auc") == 3 and out.count("seen 1.0") == 1, err
    memorised.assert_no_text(fresh, out + err)


def test_the_bootstrap_draws_groups_and_keeps_the_sides_apart():
    groups = np.array(["a", "a", "b", "c", "d", "e", "e"])
    member = np.array([1, 1, 1, 0, 0, 0, 0], bool)
    drawn = membership.weights(groups, member, np.random.default_rng(0))
    assert (drawn[:, 0] == drawn[:, 1]).all() and (drawn[:, 5] == drawn[:, 6]).all()
    assert (drawn[:, [0, 2]].sum(1) == 2).all() and (drawn[:, [3, 4, 5]].sum(1) == 3).all()
    np.testing.assert_allclose(drawn.mean(0), 1, atol=.1)


def test_the_interval_of_the_area_is_that_of_drawing_rows():
    rng = np.random.default_rng(1)
    member = np.repeat([True, False], [60, 40])
    score = (rng.normal(size=100) + member).round(1)
    weight = membership.weights(np.arange(100).astype(str), member, rng)
    found = membership.rates(score, member, weight)
    for n in range(5):
        pick = np.repeat(np.arange(100), weight[n].astype(int))
        assert found["mia_auc"][n] == pytest.approx(metrics.auc(score[pick], member[pick]))
        fpr, tpr = metrics.roc(score[pick], member[pick])
        assert found["mia_tpr_at_5fpr"][n] == pytest.approx(tpr[fpr <= .05].max())


def test_attacked_once_and_refused_with_other_settings(fresh, attack):
    command = fresh, ["knows", "base"], "--limit", 21
    code, out, err = attack(*command)
    assert code == 0 and measured(fresh / "knows")["all", "n"] < 32, err
    assert [x["id"] for x in lines(fresh / "knows")] == [x["id"] for x in lines(fresh / "base")]
    before = [path.read_bytes() for path in sorted(fresh.glob("*/attack*.json"))]
    code, out, err = attack(*command)
    assert code == 0 and out.count("attacked already (membership)") == 2, err
    code, _, err = attack(*command, "--min-k", .3, "--reference", fresh / "tiny")
    assert code == 1 and err.count("\n") == 1 and "(--reference, --min-k); delete it" in err
    for path in fresh.glob("*/attack*.json"):
        path.unlink()
    assert attack(*command)[0] == 0  # the same bytes again, now one run at a time
    assert [path.read_bytes() for path in sorted(fresh.glob("*/attack*.json"))] == before


def test_a_reference_is_the_model_that_the_run_was_made_from(fresh, attack, world):
    (fresh / "tiny" / "config.json").write_text(
        (fresh / "tiny" / "config.json").read_text() + "\n")
    code, _, err = attack(fresh, ["knows"])
    assert code == 1 and "which has changed since; pass --reference FOLDER" in err
    shutil.rmtree(fresh / "tiny")
    code, _, err = attack(fresh, ["knows"])
    assert code == 1 and "pass --reference FOLDER" in err and err.count("\n") == 1
    other = shutil.copytree(world / "tiny-3x64", fresh / "other")
    code, _, err = attack(fresh, ["knows"], "--reference", other)
    assert code == 0 and read_json(fresh / "knows" / "attack-membership.json")["args"]["reference"]
    found = read_json(other / "tokenizer.json")
    vocabulary = found["model"]["vocab"]
    vocabulary["g"], vocabulary["h"] = vocabulary["h"], vocabulary["g"]
    rows.write_json(other / "tokenizer.json", found)
    code, _, err = attack(fresh, ["base"], "--reference", other)
    assert code == 1 and err == (f"error: {other}: has another tokenizer than {fresh / 'base'}; "
                                 "pass the model that it was made from as --reference\n")
    assert not list((fresh / "base").rglob("attack*"))


def test_members_of_one_token_have_nothing_to_tell(fresh, attack):
    """Every mail that the run was trained on has one letter; the others are as they were."""
    data = [row | {"text": letter, "secrets": []} for letter, row in zip(
        memorised.LETTERS, rows.read(fresh / "weak.jsonl"))]
    rows.write(fresh / "short.jsonl", data)
    code, _, err = attack(fresh, ["knows"], "--members", fresh / "short.jsonl",
                          data=("short", "test"))
    assert code == 1 and err == (f"error: {fresh / 'knows'}: no row that it was trained on has two "
                                 "tokens\n")
    assert not list(fresh.rglob("attack*"))


def test_a_run_that_does_not_say_its_rows_needs_them(fresh, attack):
    """The configuration without the file's name, and that of no script that trains."""
    good = read_json(fresh / "knows" / "config.json")
    for bad in (good | {"args": {key: value for key, value in good["args"].items()
                                 if key != "data"}}, good | {"script": "w2s.prepare"}):
        rows.write_json(fresh / "knows" / "config.json", bad)
        code, _, err = attack(fresh, ["knows"])
        assert code == 1 and err == (f"error: {fresh / 'knows'}/config.json: does not say what the "
                                     "run was trained on; pass --members FILE\n")
        assert not list(fresh.rglob("attack*"))
    assert attack(fresh, ["knows"], "--members", fresh / "weak.jsonl")[0] == 0


@pytest.mark.parametrize("more, data, message", [
    ((), ("weak", "weak", "test"), "--data: two files of one name"),
    ((), ("weak", "wts"), "--data: has no row that"),
    ((), ("test",), "--data: no row is among those that"),
    (("--min-k", 0), ("weak", "test"), "--min-k 0: must be > 0"),
    (("--reference", "none"), ("weak", "test"), "none: no such folder")])
def test_bad_input_is_one_line_and_leaves_nothing(fresh, attack, more, data, message):
    code, _, err = attack(fresh, ["knows"], *more, data=data)
    assert code == 1 and err.count("\n") == 1 and message in err, err
    assert not list(fresh.rglob("attack*"))
