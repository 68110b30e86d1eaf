"""w2s.prepare and w2s.data.splits: raw files in every form -> five disjoint splits, or an error.

    .venv/bin/python -m pytest tests/data/test_prepare.py

All sentences and persons here are invented; no GPU, about 15 s.
"""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from w2s import hub, prepare, rows
from w2s.data import splits
from w2s.tasks import adversarial

ROOT = Path(__file__).parents[2]
PEOPLE = [(20 + k, "Private" if k % 4 else "?", 1000 + k, "Bachelors", 13, "Divorced", "Sales",
           "Unmarried", "White", "Male" if k % 3 else "Female", 0, 7 * k, 40, "Canada",
           ">50K" if k % 5 == 0 else "<=50K") for k in range(40)]
UCI = ("age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,race,"
       "sex,capital-gain,capital-loss,hours-per-week,native-country,income")
STYLES = ("augment", "shake_w", "bible_p0", "bible_p0.6")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Nothing is fetched here: tests/data/test_fetch.py does."""
    def file(repo, name):
        raise ValueError(f"{repo}/{name}: no network")
    monkeypatch.setattr(hub, "file", file)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # in the commands


def put(path, text, zipped=False):
    """Write a text file, or a .gz beside the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if zipped:
        Path(f"{path}.gz").write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


def run(raw, out, task, **arguments):
    """Prepare in this process; {split: rows}."""
    prepare.data(prepare.Data(task, str(out), str(raw), **arguments))
    return {name: rows.read(out / f"{name}.jsonl") for name in splits.SPLITS
            if (out / f"{name}.jsonl").exists()}


def manifest(out):
    return json.loads((out / "manifest.json").read_text())


def refused(place, task, match, **arguments):
    """Preparing place/raw is a ValueError or OSError of one line, and nothing is left behind."""
    with pytest.raises((ValueError, OSError), match=match) as caught:
        run(place / "raw", place / "out", task, **arguments)
    assert "\n" not in str(caught.value) and not (place / "out").exists()


# ---- fairness ------------------------------------------------------------------------------------

def as_csv(people, header=None, blank=","):
    return "".join(f"{line}\n" for line in [*([header] if header else []),
                                            *(blank.join(map(str, person)) for person in people)])


def adult_forms(folder):
    """The same 40 people in every form that UCI Adult is found in."""
    test = [(*person[:-1], person[-1] + ".") for person in PEOPLE[25:]]
    put(folder / "uci/adult.data", as_csv(PEOPLE[:25], blank=", ") + "\n")
    put(folder / "uci/adult.test", "|1x3 Cross validator\n" + as_csv(test, blank=", ") + "\n")
    put(folder / "zipped/deep/Adult.data", as_csv(PEOPLE[:25], blank=", "), zipped=True)
    put(folder / "zipped/deep/adult.TEST", "|1x3 Cross validator\n" + as_csv(test), zipped=True)
    put(folder / "header/adult.csv", as_csv(PEOPLE, UCI))
    put(folder / "bare/adult.csv", as_csv(PEOPLE))
    hub = UCI.replace("-", ".").replace("sex", "gender").replace("income", "class")
    text = as_csv(PEOPLE, hub).replace("?", "").replace("\n", "\r\n")
    put(folder / "hub/ADULT.csv", text, zipped=True)
    extra = [(*person, "train") for person in PEOPLE]
    header = UCI.replace("income", "classification") + ",split"
    put(folder / "split/adult.csv", as_csv(extra, header))
    return list(folder.iterdir())


def test_every_form_of_adult_gives_the_same_rows(tmp_path):
    forms = adult_forms(tmp_path / "raw")
    made = [run(form, tmp_path / "out" / form.name, "fairness") for form in forms]
    assert len(made) == 6 and all(one == made[0] for one in made)
    everyone = {row["id"]: row for members in made[0].values() for row in members}
    assert sorted(everyone) == sorted(f"adult/{k}" for k in range(40))
    assert everyone["adult/0"] == {
        "id": "adult/0", "label": 1, "a": 0, "group": everyone["adult/0"]["group"],
        "split": everyone["adult/0"]["split"],
        "text": "A person in 1996 has the following attributes: age 20, workclass unknown, final "
                "weight 1000, education Bachelors, highest education level 13, marital status "
                "Divorced, occupation Sales, relationship Unmarried, race White, sex Female, "
                "capital gain 0, capital loss 0, hours per week 40, native country Canada."}


def test_reconstructed_adult_is_preferred_and_never_mixed(tmp_path):
    header = ("hours-per-week,age,capital-gain,capital-loss,workclass,education,education-num,"
              "marital-status,relationship,race,gender,native-country,occupation,income")
    people = [(40, 20 + k, 0, 0, "Private", "Masters", 14, "Divorced", "Husband", "White",
               ("Male", "Female")[k % 2], "Canada", "Sales", (50000.0, 50001.0)[k % 3 == 0])
              for k in range(40)]
    put(tmp_path / "raw/adult_reconstruction.csv", as_csv(people, header))
    put(tmp_path / "raw/adult.csv", as_csv(PEOPLE, UCI))
    made = run(tmp_path / "raw", tmp_path / "out", "fairness")
    everyone = sorted((row for members in made.values() for row in members),
                      key=lambda row: int(row["id"].split("/")[1]))
    assert [row["label"] for row in everyone] == [int(k % 3 == 0) for k in range(40)]
    assert [row["a"] for row in everyone] == [1 - k % 2 for k in range(40)]
    assert "sex Male" in everyone[0]["text"] and "final weight" not in everyone[0]["text"]
    notes = manifest(tmp_path / "out")["notes"]
    assert "read adult_reconstruction.csv, not adult.csv" in notes and "UCI" not in str(notes)
    assert list(manifest(tmp_path / "out")["sources"]) == ["adult_reconstruction.csv"]


def test_a_missing_value_is_unknown_however_it_is_written(tmp_path):
    written = ["?", "", "nan", "NaN", "NA", "n/a", "<NA>", "null", "None"]
    people = [(*p[:1], written[k % 9], *p[2:]) for k, p in enumerate(PEOPLE)]
    put(tmp_path / "raw/adult.csv", as_csv(people, UCI))
    made = run(tmp_path / "raw", tmp_path / "out", "fairness")
    assert all("workclass unknown," in row["text"] for members in made.values() for row in members)


def test_the_chance_of_a_person_is_kept_for_test_rows_alone(tmp_path):
    put(tmp_path / "raw/adult.csv", as_csv([(*p, k / 40) for k, p in enumerate(PEOPLE)],
                                           UCI + ",chance"))
    made = run(tmp_path / "raw", tmp_path / "out", "fairness", trust=.1)
    for name, members in made.items():
        for row in members:
            assert row.get("chance") == (int(row["id"].split("/")[1]) / 40 if name == "test"
                                         else None)


def test_hidden_sex_is_in_a_but_not_in_the_text_and_twins_stay_together(tmp_path):
    twins = [(*p[:9], sex, *p[10:]) for p in PEOPLE for sex in ("Male", "Female")]
    put(tmp_path / "raw/adult.csv", as_csv(twins))
    made = run(tmp_path / "raw", tmp_path / "out", "fairness", hide_protected=True)
    assert not any(" sex " in row["text"] for members in made.values() for row in members)
    assert all(sum(row["a"] for row in members) * 2 == len(members) for members in made.values())


@pytest.mark.parametrize("name, text, match", [
    ("adult.csv", "", r"adult.csv:1: the file is empty"),
    ("adult.csv", UCI + "\n", r"adult.csv: .*same income"),
    ("adult.csv", as_csv(PEOPLE, UCI).replace("Canada", "C,a", 1), r"csv:2: 16 columns, expected"),
    ("adult.csv", as_csv(PEOPLE) + "1,2\n", r"adult.csv:41: 2 columns, expected 15"),
    ("adult.csv", as_csv(PEOPLE).replace("\n", "\n\n", 1), r"adult.csv:2: an empty line"),
    ("adult.csv", as_csv(PEOPLE).replace(">50K", "rich", 1), r"adult.csv:1: income is 'rich'"),
    ("adult.csv", as_csv(PEOPLE).replace("<=50K", "<50K", 1), r"adult.csv:2: income is '<50K'"),
    ("adult.csv", as_csv(PEOPLE).replace("Male", "M", 1), r"csv:2: sex is 'M', expected Male or"),
    ("adult.csv", as_csv(PEOPLE).replace("1003", "x", 1), r"csv:4: final weight is 'x', expected"),
    ("adult.csv", as_csv(PEOPLE, UCI).replace("Canada", "Can\rada", 1), r"csv:2: new-line ch"),
    ("adult.csv", as_csv(PEOPLE, UCI).replace("Canada", "a" * 2 ** 18, 1),
     r"adult.csv:2: field larger than field limit"),
    ("adult.csv", as_csv(PEOPLE).replace(">50K", "-1", 1), r"csv:1: income is '-1', expected"),
    ("adult.csv", as_csv([(*p, "sure") for p in PEOPLE], UCI + ",chance"),
     r"adult.csv:2: chance is 'sure', expected a probability"),
    ("adult.csv", as_csv([(*p, 1.5) for p in PEOPLE], UCI + ",chance"),
     r"adult.csv:2: chance is '1.5', expected a probability"),
    ("adult.csv", as_csv(PEOPLE, UCI.replace("race", "rase")), r"csv:1: .*unknown column rase"),
    ("adult.csv", as_csv(PEOPLE, UCI.replace("income", "split")), r"csv:1: .*no column income"),
    ("people.csv", as_csv(PEOPLE), r"did not find .*adult.csv.*archive.ics.uci.edu.*put it there")])
def test_bad_adult_is_one_line_and_leaves_nothing(tmp_path, name, text, match):
    put(tmp_path / "raw" / name, text)
    refused(tmp_path, "fairness", match)


def test_damaged_bytes_are_named_with_their_line(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    packed = gzip.compress(as_csv(PEOPLE).encode())
    (raw / "adult.csv.gz").write_bytes(packed[:len(packed) // 2])
    refused(tmp_path, "fairness", r"adult.csv.gz:\d+: damaged or truncated gzip")
    (raw / "adult.csv.gz").unlink()
    latin = as_csv(PEOPLE).replace("Canada", "Caf\xe9", 1).encode("latin-1")
    (raw / "adult.csv").write_bytes(latin)
    refused(tmp_path, "fairness", r"adult.csv:1: not UTF-8")
    refused(tmp_path / "nowhere", "fairness", "no such folder")
    put(raw / "one/adult.data", "x")
    put(raw / "two/adult.data", "x")
    refused(tmp_path, "fairness", "which is adult.data, one/adult.data or two/adult.data")


# ---- ood -----------------------------------------------------------------------------------------

def sentiment(folder, flat=False):
    """200 train phrases, 8 of which are also sources of 2 demonstrations and 6 test sentences."""
    words = ("grand", "dull", "brisk", "stale", "warm")
    phrase = [f"a {words[k % 5]} tale number {k} " for k in range(200)]
    phrase[7] = phrase[6].upper()  # equal text, other case: one group
    put(folder / "sst2/train.tsv", "sentence\tlabel\n" + "".join(
        f"{text}\t{int(k % 5 in (0, 2, 4))}\n" for k, text in enumerate(phrase)), zipped=flat)
    part = {"train_demo": {}, "dev": {}}
    for name in ("base", *STYLES):
        end = "" if name == "base" else f" in {name}"
        part["dev"][name] = [{"sentence": phrase[k].title() + end, "id": k,
                              "label": str(int(k % 5 in (0, 2, 4)))} for k in range(6)]
    for name, end in (("base_0", ""), ("bible_p0.6_0", " of old")):
        part["train_demo"][name] = [{"sentence": phrase[k] + end, "id": k, "label": "1"}
                                    for k in range(8, 10)]
    if flat:
        put(folder / "ood/style.jsonl", lines(
            {"category": name, "question_sentence": row["sentence"], "answer": row["label"]}
            for lists in part.values() for name, members in lists.items() for row in members))
    else:
        put(folder / "style.json", json.dumps(part, indent=1))
    return part


def test_ood_splits_exclude_the_source_sentences_and_share_only_id_rows(tmp_path):
    sentiment(tmp_path / "raw")
    made = run(tmp_path / "raw", tmp_path / "out", "ood")
    source = {name: [row["source"] for row in made[name]] for name in made}
    assert "trust" not in made
    pool = [row for name in ("weak", "wts", "val") for row in made[name] if row["source"] == "id"]
    assert len(pool) == 192 and len({row["id"] for row in pool}) == 192
    assert not {row["text"] for row in pool} & {f"a grand tale number {k}" for k in (0, 5)}
    assert abs(len(made["wts"]) - 94) <= 1 and 4 <= source["val"].count("id") <= 6
    assert set(source["weak"]) == set(source["wts"]) == {"id"}
    assert len(made["weak"]) == len(made["wts"])
    n = source["val"].count("id")
    assert source["val"] == ["id"] * n + ["base"] * 2 + ["bible_p0.6"] * 2
    assert [{**row, "split": "test"} for row in made["val"][:n]] == made["test"][:n]
    assert source["test"].count("base") == 6 and all(source["test"].count(s) == 6 for s in STYLES)
    assert {"id": "style/bible_p0/3", "group": "style/3"}.items() <= next(
        row for row in made["test"] if row["id"] == "style/bible_p0/3").items()
    about = manifest(tmp_path / "out")
    assert about["disjoint"] and about["shared_with_val"] == n
    assert about["sources"]["sst2/train.tsv"]["left_out"] == {
        "source sentences of the style test": 8}
    assert about["sources"]["style.json"]["rows"] == 34
    where = {row["id"]: name for name in ("weak", "wts", "val") for row in made[name]}
    assert where["train/6"] == where["train/7"]


def test_sentences_equal_to_a_restyled_one_are_left_out_and_counted(tmp_path):
    sentiment(tmp_path / "raw")
    train = tmp_path / "raw/sst2/train.tsv"
    mine = ["a Grand  tale number 0 in augment", "a stale tale number 8 of old"]
    put(train, train.read_text() + "".join(f"{text}\t1\n" for text in mine))
    made = run(tmp_path / "raw", tmp_path / "out", "ood")
    assert not {row["text"] for name in ("weak", "wts", "val") for row in made[name]
                if row["source"] == "id"} & {*mine}
    assert manifest(tmp_path / "out")["sources"]["sst2/train.tsv"]["left_out"] == {
        "source sentences of the style test": 8, "equal to a restyled sentence": 2}


def test_a_quotation_mark_in_sst2_is_a_character(tmp_path):
    sentiment(tmp_path / "raw")
    train = tmp_path / "raw/sst2/train.tsv"
    put(train, train.read_text() + '"so he said\t1\nof "grace" , they said\t0\n')
    made = run(tmp_path / "raw", tmp_path / "out", "ood")
    assert {'"so he said', 'of "grace" , they said'} <= {
        row["text"] for name in ("weak", "wts", "val") for row in made[name]}


def test_labels_of_styles_may_be_words(tmp_path):
    sentiment(tmp_path / "a", flat=True)
    sentiment(tmp_path / "b", flat=True)
    path = tmp_path / "b/ood/style.jsonl"
    text = path.read_text().replace('"answer": "1"', '"answer": "positive"')
    put(path, text.replace('"answer": "0"', '"answer": "Negative"'))
    one, two = (run(tmp_path / name, tmp_path / f"out-{name}", "ood") for name in "ab")
    assert one == two and {row["label"] for row in one["test"]} == {0, 1}


def test_flat_style_file_and_gz_give_the_same_rows(tmp_path):
    sentiment(tmp_path / "one")
    sentiment(tmp_path / "two", flat=True)
    one, two = (run(tmp_path / name, tmp_path / f"out-{name}", "ood") for name in ("one", "two"))
    assert one == two


def test_limit_takes_the_same_sentences_in_every_style(tmp_path):
    sentiment(tmp_path / "raw")
    before = {}
    for most in (17, 25, 30, 99):
        made = run(tmp_path / "raw", tmp_path / f"out{most}", "ood", limit=most)
        groups = {}
        for row in made["test"]:
            groups.setdefault(row["source"], set()).add(row["group"])
        assert len(made["test"]) <= most and all(groups[s] == groups["base"] for s in STYLES)
        known = {row["id"] for row in made["val"]}
        assert all(row["id"] in known for row in made["test"] if row["source"] == "id")
        for name, members in made.items():
            ids = {row["id"] for row in members}
            assert len(ids) <= most and before.get(name, set()) <= ids
            before[name] = ids
    refused(tmp_path, "ood", "--limit 5 is too small: no row of augment", limit=5)


@pytest.mark.parametrize("change, match", [
    (lambda style: style.pop("dev"), r"style.json:1: expected .*train_demo"),
    (lambda style: style["dev"]["augment"].pop(), r"json:1: augment does not have the sentences"),
    (lambda style: style["dev"]["augment"][1].update(label="1"), r"json:1: augment does not have"),
    (lambda style: style["dev"].pop("base"), r"does not have the sentences of the list `base`"),
    (lambda style: style["dev"]["shake_w"][2].update(label="2"), r"shake_w\[2\]: expected a sen"),
    (lambda style: style["dev"]["base"][0].pop("sentence"), r"json:1: expected .*train_demo")])
def test_bad_style_file_is_refused(tmp_path, change, match):
    style = sentiment(tmp_path / "raw")
    change(style)
    put(tmp_path / "raw/style.json", json.dumps(style))
    refused(tmp_path, "ood", match)


def test_out_of_distribution_data_needs_validation_rows(tmp_path):
    sentiment(tmp_path / "raw")
    refused(tmp_path, "ood", "^--val 0: accuracy in distribution is measured on validation rows "
            r"\(C.3\); give --val a share$", val=0)


def test_bad_sst2_and_missing_style_are_refused(tmp_path):
    sentiment(tmp_path / "raw")
    train = tmp_path / "raw/sst2/train.tsv"
    good = train.read_text()
    for bad, match in ((good.replace("\t1", "\t3", 1), r"train.tsv:2: .*0 or 1"),
                       (good.replace("sentence\tlabel\n", ""), r"train.tsv:1: expected the header"),
                       (good.replace("\t1", " 1", 1), r"train.tsv:2: expected a sentence, a tab")):
        put(train, bad)
        refused(tmp_path, "ood", match)
    put(train, good)
    put(tmp_path / "raw/style.json", '{"dev": \n{,}}')
    refused(tmp_path, "ood", r"style.json:2: not JSON")
    (tmp_path / "raw/style.json").unlink()
    refused(tmp_path, "ood", r"did not find style.json.*DecodingTrust.*put it there")


# ---- adversarial ---------------------------------------------------------------------------------

def attacked(k, source, method, **more):
    """A row in component form; three rows in a row share a sentence."""
    row = {"idx": k, "label": k % 2, "method": method, "data_construction": "word"}
    said, other = f"the cat {k // 3} sat on mat {k // 3}", f"claim {k} holds"
    changed = said.replace("cat", f"caat{k % 3}")
    if source == "sst2":
        return row | {"sentence": changed, "original_sentence": said + " "} | more
    one, two = {"qqp": ("question1", "question2"), "qnli": ("question", "sentence"),
                "rte": ("sentence1", "sentence2")}.get(source, ("premise", "hypothesis"))
    return row | {one: f"{source} {changed}", f"original_{one}": f"{source} {said}",
                  two: other} | more


def joined(row, names, labels):
    """The same row in SemAttack's form: whole texts in `sentence` and `original_sentence`."""
    one, two = names
    made = {k: v for k, v in row.items() if k not in (one, two, f"original_{one}")}
    for prefix in ("", "original_"):
        made[f"{prefix}sentence"] = f"{labels[0]}: {row[prefix + one]} {labels[1]}: {row[two]}"
    return made


def glue(n=24):
    return {source: [attacked(k, source, "textbugger") for k in range(n)]
            for source in ("sst2", "qqp", "mnli", "mnli-mm", "qnli", "rte")}


def contents(made):
    """Rows without what depends on the file they were in."""
    return {name: sorted((row["text"], row["text_adv"], row["label"], row["source"], row["group"])
                         for row in members) for name, members in made.items()}


def test_component_joined_json_and_jsonl_rows_are_the_same(tmp_path):
    tables = glue()
    put(tmp_path / "a/alpaca.json", json.dumps(tables))
    one = {source: [joined(row, names, labels) for row in tables[source]]
           for source, names, labels in (
        ("mnli", ("premise", "hypothesis"), ("premise", "hypothesis")),
        ("rte", ("sentence1", "sentence2"), ("Premise", "hypothesis")),
        ("qqp", ("question1", "question2"), ("question1", "question2")),
        ("qnli", ("question", "sentence"), ("question", "sentence")))}
    put(tmp_path / "b/data/Alpaca.json", json.dumps(tables | one), zipped=True)
    for source, members in tables.items():
        put(tmp_path / f"c/{source}.jsonl", lines({**row, "original_x": None} for row in members))
    put(tmp_path / "d/advglue_plus_plus_sample.jsonl", lines(
        {"task": source, **row} for source, members in tables.items() for row in members))
    put(tmp_path / "e/dev_ann.json", json.dumps(tables))
    pairs = []
    for source, members in tables.items():
        names = [name for name in members[0] if f"original_{name}" in members[0]
                 or name in ("hypothesis", "question2", "sentence", "sentence2")]
        pairs += [{f"original_{name}": row[name] for name in names} | row
                  | {"task": source, "id": f"{source}/{row['idx']}", "result": "successful"}
                  for row in members]
    put(tmp_path / "f/attack_pairs.jsonl", lines(pairs))
    made = [run(tmp_path / x, tmp_path / f"out-{x}", "adversarial") for x in "abcdef"]
    assert all(contents(one) == contents(made[0]) for one in made)
    row = next(r for members in made[0].values() for r in members if r["id"] == "alpaca/rte/4")
    assert row["text"] == "premise: rte the cat 1 sat on mat 1 hypothesis: claim 4 holds"
    assert row["text_adv"] == "premise: rte the caat1 1 sat on mat 1 hypothesis: claim 4 holds"
    assert (row["method"], row["origin"], row["surrogate"]) == ("textbugger", "alpaca", "alpaca")
    assert any(r["text"].startswith("question1: qqp the") and " question2: claim" in r["text"]
               for members in made[0].values() for r in members)
    assert any(r["text"].startswith("question: qnli the") and " sentence: claim" in r["text"]
               for members in made[0].values() for r in members)


def test_what_is_left_out_is_counted_by_reason(tmp_path):
    tables = glue(36)
    tables["sst2"] += [
        attacked(90, "sst2", "ANLI", data_construction="human", original_sentence=None),
        attacked(91, "sst2", "BERT-ATTACK", original_sentence=None), tables["sst2"][0],
        attacked(92, "sst2", "T3", sentence="the cat 30 sat on mat 30")]
    put(tmp_path / "raw/dev_ann.json", json.dumps(tables))
    put(tmp_path / "raw/attack_pairs.jsonl", lines([
        attacked(3, "sst2", "tf-adj", task="sst2", result="failed"),
        attacked(93, "sst2", "tf-adj", task="sst2", result="successful", victim="some-bert"),
        attacked(5, "sst2", "tf-adj", task="sst2")]))
    made = run(tmp_path / "raw", tmp_path / "out", "adversarial")
    found = manifest(tmp_path / "out")["sources"]
    assert found["dev_ann.json"] == {
        "sha256": found["dev_ann.json"]["sha256"], "rows": 220, "used": 216, "left_out": {
            "duplicates": 1, "empty or not changed by the attack": 1, "without a clean text": 1,
            "written by people, without a clean text": 1}}
    assert found["attack_pairs.jsonl"]["left_out"]["attack failed"] == 1
    assert found["attack_pairs.jsonl"]["left_out"]["duplicates"] == 1
    methods = {row["method"] for members in made.values() for row in members}
    assert methods == {"textbugger", "tfadj"}
    assert sum(len(m) for m in made.values()) == 217


def test_shared_sentences_stay_in_one_split_and_every_source_is_everywhere(tmp_path):
    tables = glue(60)
    for k in range(20):  # a question of qnli is a premise of mnli, tokenised otherwise
        tables["mnli"][3 * k]["original_premise"] = f"QNLI the cat {k} , sat on mat {k} ."
        tables["mnli"][3 * k]["premise"] = f"QNLI the dog {k} sat"
        tables["mnli"][3 * k]["hypothesis"] = f"dog {k} sat"  # and nothing else joins them
    put(tmp_path / "raw/vicuna.json", json.dumps(tables))
    made = run(tmp_path / "raw", tmp_path / "out", "adversarial")
    where = {row["id"]: (name, row["group"]) for name, members in made.items() for row in members}
    for k in range(20):
        ids = (f"mnli/{3 * k}", f"qnli/{3 * k}", f"qnli/{3 * k + 1}")
        assert len({where[f"vicuna/{name}"] for name in ids}) == 1
    assert all({row["source"] for row in members} == set(tables) for members in made.values())
    shares = {name: len(members) / 360 for name, members in made.items()}
    assert shares["weak"] == shares["wts"] and abs(shares["wts"] - 0.38) < 0.05
    assert abs(shares["test"] - 0.19) < 0.07 and abs(shares["val"] - 0.05) < 0.03
    assert manifest(tmp_path / "out")["notes"] == [
        "of alpaca.json, vicuna.json, stable-vicuna.json only 1 there",
        "rows that share a text stay in one split; the paper draws single rows"]


def test_rows_that_share_a_perturbed_text_are_one_group(tmp_path):
    tables = glue(60)
    for k in range(0, 60, 3):  # other clean sentences, of which an attack makes the same one
        tables["sst2"][k] |= {"sentence": f"the cot sat {k // 12}"}
    put(tmp_path / "raw/vicuna.json", json.dumps(tables))
    made = run(tmp_path / "raw", tmp_path / "out", "adversarial")
    group = {row["id"]: row["group"] for members in made.values() for row in members}
    assert group["vicuna/sst2/0"] == group["vicuna/sst2/9"] != group["vicuna/sst2/12"]


def test_the_attacked_model_is_the_one_that_texts_were_made_against_not_who_was_asked(tmp_path):
    said = {"source_model": "alpaca", "victim": "vicuna"}
    put(tmp_path / "raw/attack_pairs.jsonl", lines(
        {**attacked(k, "sst2", "t", task="sst2"), **(said if k % 2 else {"victim": "vicuna"})}
        for k in range(60)))
    made = run(tmp_path / "raw", tmp_path / "out", "adversarial")
    assert {(int(row["id"].split("/")[1]) % 2, row["surrogate"]) for members in made.values()
            for row in members} == {(0, "vicuna"), (1, "alpaca")}


def test_rows_of_two_classes_have_no_third_label(tmp_path):
    row = {"id": "a", "text": "x", "text_adv": "y", "label": 2}
    for source, classes in (("mnli", 3), ("sst2", 2), ("rte", 2)):
        put(tmp_path / "x.jsonl", lines([row | {"source": source}]))
        if classes == 3:
            assert adversarial.read(tmp_path / "x.jsonl")
            continue
        with pytest.raises(ValueError, match=f":1: 'label' is 2, but {source} has only 2 classes"):
            adversarial.read(tmp_path / "x.jsonl")


def test_random_rows_leak_and_say_so(tmp_path, capsys):
    put(tmp_path / "raw/alpaca.json", json.dumps(glue(60)))
    run(tmp_path / "raw", tmp_path / "out", "adversarial", split="rows")
    about = manifest(tmp_path / "out")
    assert not about["disjoint"] and about["leaking"] > 30
    shown = capsys.readouterr().err
    assert f"warning: --split rows: {about['leaking']} of 66 test rows share a text" in shown


def test_only_the_first_form_of_advglue_is_read_and_the_cap_is_counted(tmp_path):
    put(tmp_path / "raw/alpaca.json", json.dumps(glue(30)))
    put(tmp_path / "raw/stable-vicuna.json", json.dumps(glue(30)))
    put(tmp_path / "raw/advglue_plus_plus_sample.jsonl", "never read")
    made = run(tmp_path / "raw", tmp_path / "out", "adversarial", per_source=20)
    about = manifest(tmp_path / "out")
    assert sum(len(members) for members in made.values()) == 120
    assert about["sources"]["alpaca.json"]["left_out"]["beyond --per-source"] == 60
    assert about["sources"]["stable-vicuna.json"]["left_out"]["duplicates"] == 180
    assert "read alpaca.json, not advglue_plus_plus_sample.jsonl" in about["notes"]


@pytest.mark.parametrize("name, text, match", [
    ("alpaca.json", '{"sst2": [{"label": 2, "sentence": "x"}]}',
     r"alpaca.json: sst2\[0\]: 'label' is 2, expected 0 to 1"),
    ("alpaca.json", '{"sst2": [{"label": true, "sentence": "x"}]}', r"'label' is true"),
    ("alpaca.json", '{"rte": [{"label": -1, "sentence1": "x"}]}', r"'label' is -1, expected"),
    ("alpaca.json", '{"cola": [{"label": 1}]}', r"cola\[0\]: task 'cola', expected one of sst2"),
    ("alpaca.json", '{"mnli": [{"label": 1, "premise": "x"}]}', r"mnli\[0\]: no text 'hypothesis'"),
    ("alpaca.json", '{"mnli": [7]}', r"mnli\[0\]: expected an object, got a number"),
    ("alpaca.json", '[1]', r"alpaca.json:1: expected {task"),
    ("alpaca.json", '{"mnli": [\n{]}', r"alpaca.json:2: not JSON"),
    ("alpaca.json", '', r"alpaca.json:1: the file is empty"),
    ("alpaca.json", '{"sst2": []}', r"the weak split is empty"),
    ("attack_pairs.jsonl", '{"task": "sst2"}\n', r"attack_pairs.jsonl:1: 'label' is null"),
    ("attack_pairs.jsonl", '{"task": "sst2", \n', r"attack_pairs.jsonl:1: not JSON"),
    ("glue.json", '{}', r"did not find any of advglue_plus_plus.json.*no network.*github.com"
                        r".*put it"),
])
def test_bad_adversarial_files_are_refused(tmp_path, name, text, match):
    put(tmp_path / "raw" / name, text)
    refused(tmp_path, "adversarial", match)


def town(folder, n=80):
    """A file of each source with texts perturbed against three models, and unselected ones."""
    for source in adversarial.LABELS:
        found = []
        for k in range(n):
            parts = {name: f"{source} {name} {k}" for name, *_ in adversarial.PARTS[source]}
            for model in ("independent", "weak family", "strong family", "unselected"):
                if model == "independent" and k % 4 == 0:
                    continue  # this text was not beaten
                changed = parts if model == "unselected" else {
                    name: f"{text} {model}" for name, text in parts.items()}
                found.append({"id": f"{model}/{k}", "task": source, "label": k % 2, **changed,
                              **{f"original_{name}": text for name, text in parts.items()},
                              "method": "typos", "model": model, "result": "successful"})
        put(folder / f"{source}.jsonl", lines(found))


def test_texts_made_against_a_model_of_the_experiment_are_for_test_alone(tmp_path):
    town(tmp_path / "raw")
    made = run(tmp_path / "raw", tmp_path / "out", "adversarial", val=.1)
    for name in ("weak", "wts", "val"):
        assert {row["surrogate"] for row in made[name]} == {"independent"}
    assert len(made["weak"]) == len(made["wts"])
    kinds = {}
    for row in made["test"]:
        kinds.setdefault(row["surrogate"], set()).add(row["text"])
    assert kinds.keys() == {"independent", "weak family", "strong family", "unselected"}
    # every clean text of the test groups is there once more, whether an attack beat it or not
    assert kinds["unselected"] == kinds["weak family"] > kinds["independent"]
    assert all(row["text"] == row["text_adv"] for row in made["test"]
               if row["surrogate"] == "unselected")
    assert "for test alone" in " ".join(manifest(tmp_path / "out")["notes"])


def test_the_headline_is_the_independent_surrogates_and_others_stand_beside_it():
    p = {True: [.9, .1, 0], False: [.1, .9, 0]}
    found = []
    for model, clean, adv in (("independent", 8, 6), ("weak family", 10, 2), ("unselected", 4, 4)):
        found += [{"id": f"{model}{k}", "source": "sst2", "label": 0, "method": "m",
                   "surrogate": model, "p": p[k < clean], "p_adv": p[k < adv]} for k in range(10)]
    value = {(m["slice"], m["metric"]): m["value"] for m in adversarial.evaluate(found)}
    assert value["all", "acc"] == .8 and value["all", "ra"] == .6
    assert value["surrogate:independent", "ra"] == .6 and value["surrogate:weak family", "ra"] == .2
    assert value["unselected", "acc"] == .4 and value["unselected", "n"] == 10
    assert value["sst2", "n"] == 10 and value["attack:m", "n"] == 10
    total = adversarial.sums(found).sum(0)
    assert {k: float(v) for k, v in adversarial.headline(total).items()} == {"acc": .8, "ra": .6}
    assert [row["surrogate"] for row in adversarial.to_attack(found)] == ["unselected"] * 10
    assert len(adversarial.to_attack(found[:20])) == 10


# ---- rows prepared by hand -----------------------------------------------------------------------

def test_rows_prepared_by_hand_are_checked_with_file_line_and_key(tmp_path, capsys):
    folder = tmp_path / "own"
    people = [{"id": f"p{k}", "text": f"person {k}", "label": k % 2, "a": k % 3 % 2}
              for k in range(30)]
    for name, part in (("weak", people[:10]), ("wts", people[10:20]), ("test", people[20:])):
        put(folder / f"{name}.jsonl", lines(part))
    prepare.check(prepare.Check("fairness", str(folder)))
    assert "weak 10, wts 10, test 10 rows; no text in two splits" in capsys.readouterr().out
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name, part, match in (
            ("wts", people[9:20], "weak and wts share the id of 'p9'"),
            ("wts", [{**people[10], "text": "Person  3"}, *people[11:20]],
             "weak and wts share the text of 'p10'"),
            ("wts", [{**people[10], "group": "p3"}, *people[11:20]],
             "weak and wts share the group of 'p10'"),
            ("wts", [{k: v for k, v in row.items() if k != "a"} for row in people[10:20]],
             r"wts.jsonl:1: .*'a'"),
            ("test", [{**people[20], "split": "weak"}], r"test.jsonl:1: .*split 'weak'"),
            ("test", [{**row, "a": 0} for row in people[20:]], "test.jsonl: a: no row has a = 1"),
            ("val", [{**people[25], "id": "v", "text": "v"}], "val.jsonl: a: no row has a = 0")):
        put(folder / f"{name}.jsonl", lines(part))
        with pytest.raises(ValueError, match=match):
            prepare.check(prepare.Check("fairness", str(folder)))
        if name == "val":
            (folder / "val.jsonl").unlink()
        else:
            (folder / f"{name}.jsonl").write_bytes(before[f"{name}.jsonl"])
    (folder / "test.jsonl").unlink()
    with pytest.raises(ValueError, match="no test.jsonl; weak.jsonl, wts.jsonl and test.jsonl"):
        prepare.check(prepare.Check("fairness", str(folder)))


# ---- dividing and limiting -----------------------------------------------------------------------

def pool(n=300, size=3):
    return [{"id": f"r/{k}", "text": f"text {k}", "group": f"g{k // size}", "label": k % 2,
             "source": "ab"[k % size == 0 and k > 200]} for k in range(n)]


def test_divide_keeps_groups_whole_meets_the_shares_and_ignores_the_order_of_rows():
    members, shares = pool(), {"x": 0.4, "y": 0.4, "z": 0.2}
    made = splits.divide(members, shares, 0, "t")
    ids, again, other = ({name: {row["id"] for row in part} for name, part in parts.items()}
                         for parts in (made, splits.divide(members[::-1], shares, 0, "t"),
                                       splits.divide(members, shares, 1, "t")))
    assert ids == again != other
    assert all(abs(len(ids[name]) - 300 * share) <= 6 for name, share in shares.items())
    assert sum(len({row["group"] for row in part}) for part in made.values()) == 100
    few = splits.divide(pool(9), {"x": 0.9, "y": 0.05, "z": 0.05}, 0, "t")
    assert {name: len(part) for name, part in few.items()} == {"x": 3, "y": 3, "z": 3}


def test_the_seed_draws_which_rows_are_in_which_split(tmp_path):
    members = [{"id": f"r/{k}", "group": f"g{k}", "label": 0} for k in range(300)]  # of one kind
    one, two = (splits.divide(members, {"x": .5, "y": .5}, seed, "t") for seed in (0, 1))
    shared = len({row["id"] for row in one["x"]} & {row["id"] for row in two["x"]})
    assert 55 < shared < 95  # 75 by chance, give or take four standard errors
    put(tmp_path / "raw/adult.csv", as_csv(PEOPLE, UCI))
    made = [run(tmp_path / "raw", tmp_path / f"out{seed}", "fairness", seed=seed)
            for seed in (0, 1)]
    assert {row["id"] for row in made[0]["weak"]} != {row["id"] for row in made[1]["weak"]}


def test_every_part_has_the_same_shares_of_labels_of_a_and_of_sources():
    members = [{"id": f"r/{k}", "group": f"g{k}", "label": int(k % 5 == 0), "a": int(k % 3 == 0),
                "source": "ab"[k % 4 == 0]} for k in range(900)]
    made = splits.divide(members, {"x": .4, "y": .4, "z": .2}, 0, "t")
    for part in made.values():
        for key, value, share in (("label", 1, 1 / 5), ("a", 1, 1 / 3), ("source", "b", 1 / 4)):
            count = sum(row[key] == value for row in part)
            assert abs(count - share * len(part)) <= 3, (key, count, len(part))


def test_splits_for_trust_functions_are_4_to_7_to_4_of_what_a_quarter_leaves():
    """1 % val and 25 % trust of 3000: 30 and 750; of the other 2220 4, 7 and 4 fifteenths."""
    made = splits.trusted(pool(3000), 0)
    expected = {"val": 30, "trust": 750, "weak": 592, "wts": 1036, "test": 592}
    assert made.keys() == expected.keys() and splits.check(made) == {"disjoint": True}
    assert all(abs(len(made[name]) - n) <= 6 for name, n in expected.items())


@pytest.mark.parametrize("val, trust", [(.05, 0), (0, 0), (.1, .1), (0, .2)])
@pytest.mark.parametrize("kind", ("grouped", "rows"))
def test_usual_splits_are_40_40_20_of_what_val_and_trust_leave_of_the_whole(kind, val, trust):
    members = pool(3000)
    made = splits.usual(members, 0, kind, val, trust)
    count, rest = {name: len(part) for name, part in made.items()}, 3000 * (1 - val - trust)
    assert count["weak"] == count["wts"]  # |D_W| = |D_WTS|
    assert abs(count["wts"] - .4 * rest) <= 6 and abs(count["test"] - .2 * rest) <= 12
    for name, share in (("val", val), ("trust", trust)):
        assert abs(count.get(name, 0) - 3000 * share) <= 6 and (name in made) == (share > 0)
    assert sorted(row["id"] for part in made.values() for row in part) == sorted(
        row["id"] for row in members)  # nothing is dropped
    if kind == "grouped":
        assert splits.check(made) == {"disjoint": True}
        large = pool(3000, 97)  # of which whole ones do not go in
        assert splits.check(splits.usual(large, 0, kind, val, trust)) == {"disjoint": True}


def test_as_printed_validation_rows_are_5_per_cent_of_the_weak_half():
    made = splits.usual(pool(4000), 0, "rows", .05, 0, "weak", {"weak": .5, "wts": .5})
    count = {name: len(part) for name, part in made.items()}  # C.3: 47.5, 2.5 and 50 %
    assert count.keys() == {"weak", "val", "wts"}
    assert abs(count["wts"] - 2000) <= 1 and abs(count["val"] - 100) <= 2
    assert abs(count["weak"] + count["val"] - 2000) <= 1
    assert len({row["id"] for part in made.values() for row in part}) == 4000


@pytest.mark.parametrize("val, trust", [(.6, .4), (.9, .2)])
def test_shares_that_leave_nothing_are_refused(val, trust):
    for divide in (splits.usual, splits.trusted):
        with pytest.raises(ValueError, match="nothing is left to train on"):
            divide(pool(60), 0, "grouped", val, trust)


def test_level_moves_whole_groups_and_only_what_is_too_much():
    parts = {"weak": pool(12, 3), "wts": [{"id": f"w{k}", "group": f"w{k}"} for k in range(7)],
             "val": [{"id": "v", "group": "v"}], "test": [{"id": "t", "group": "t"}]}
    made = splits.level(parts)
    assert {name: len(part) for name, part in made.items()} == {
        "weak": 9, "wts": 7, "val": 1, "test": 4}
    assert {len([row for row in made["weak"] if row["group"] == name])
            for name in {row["group"] for row in made["weak"]}} == {3}
    parts["wts"] += [{"id": f"w{k}", "group": f"w{k}"} for k in (7, 8)]
    assert len(splits.level(parts)["weak"]) == 9 == len(splits.level(parts)["wts"])


def test_limit_is_nested_exact_and_keeps_shares():
    members = [{"id": str(k), "group": str(k), "source": "big" if k % 10 else "small",
                "label": int(k % 4 == 1)} for k in range(1000)]
    before = set()
    for most in (2, 7, 50, 100, 333, 1000):
        kept = splits.limit(members, most, seed=3)
        ids = {row["id"] for row in kept}
        assert len(kept) == most and before <= ids
        assert [row for row in members if row["id"] in ids] == kept
        assert abs(sum(row["source"] == "small" for row in kept) - most / 10) <= 1
        assert abs(sum(row["label"] for row in kept) - most / 4) <= 3
        before = ids
        again = splits.limit(members[::-1], most, seed=3)  # whatever the order of the file
        assert {row["id"] for row in again} == ids
        assert most > 333 or {row["id"] for row in splits.limit(members, most, seed=4)} != ids
    assert splits.limit(members, None, 0) is members
    with pytest.raises(ValueError, match="--limit 1 is too small: no row of (big|small)"):
        splits.limit(members, 1, 0)


def test_groups_join_through_common_rows_whatever_their_order():
    keys = [["a", "b"], ["c"], ["d", "c"], ["b", "d"], ["e"]]
    one, two = [{} for _ in keys], [{} for _ in keys]
    splits.set_groups(one, keys)
    splits.set_groups(two, keys[::-1])
    assert [row["group"] for row in one] == [row["group"] for row in two[::-1]]
    assert len({row["group"] for row in one[:4]}) == 1 and one[4]["group"] != one[0]["group"]


def test_check_finds_every_kind_of_overlap():
    made = {name: [{"id": name, "group": name, "text": name}] for name in splits.SPLITS}
    assert splits.check(made) == {"disjoint": True}
    for bad, match in (({"id": "weak"}, "weak and test share the id of 'weak'"),
                       ({"group": "val"}, "val and test share the group of 'test'"),
                       ({"text_adv": " WTS "}, "wts and test share the text of 'test'")):
        with pytest.raises(ValueError, match=match):
            splits.check({**made, "test": [made["test"][0] | bad]})
    shared = {**made, "test": made["val"] + made["test"]}
    assert splits.check(shared, shared=("val", "test"))["shared_with_val"] == 1
    with pytest.raises(ValueError, match="share the id"):
        splits.check(shared)
    with pytest.raises(ValueError, match="the trust split is empty"):
        splits.check({**made, "trust": []})


# ---- once, twice, changed ------------------------------------------------------------------------

def command(*arguments, seed="0", cwd=ROOT):
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    return subprocess.run([sys.executable, "-m", "w2s.prepare", *map(str, arguments)], cwd=cwd,
                          env=environment, capture_output=True, text=True)


def test_two_processes_write_the_same_bytes(tmp_path):
    put(tmp_path / "raw/alpaca.json", json.dumps(glue(40)))
    made = []
    for seed in ("1", "2"):
        done = command("data", "--task", "adversarial", "--raw", tmp_path / "raw",
                       "--out", tmp_path / seed, "--limit", 50, seed=seed)
        assert done.returncode == 0, done.stderr
        made.append({path.name: path.read_bytes() for path in (tmp_path / seed).iterdir()})
    assert made[0] == made[1]
    assert set(made[0]) == {"manifest.json", "weak.jsonl", "wts.jsonl", "val.jsonl", "test.jsonl"}


def test_prepared_data_is_skipped_without_torch_and_a_change_is_refused(tmp_path, capsys):
    raw, out = tmp_path / "raw", tmp_path / "out"
    put(raw / "adult.csv", as_csv(PEOPLE))
    first = run(raw, out, "fairness")
    code = ("import sys; from w2s import prepare;"
            "prepare.data(prepare.Data('fairness', *sys.argv[1:]));"
            "assert 'torch' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", code, out, raw], cwd=ROOT, text=True,
                          capture_output=True)
    assert done.returncode == 0 and done.stdout == f"{out}: already prepared\n", done.stderr
    about = manifest(out)
    rows.write_json(out / "manifest.json", about | {"format": 1})  # by an older version
    with pytest.raises(ValueError, match="--format 1 -> 2"):
        run(raw, out, "fairness")
    rows.write_json(out / "manifest.json", about)
    for change, match in (({"seed": 1}, "--seed 0 -> 1"),
                          ({"limit": 9}, "--limit the default -> 9"),
                          ({"hide_protected": True}, "--hide-protected false -> true")):
        with pytest.raises(ValueError, match=match):
            run(raw, out, "fairness", **change)
    with pytest.raises(ValueError, match="--task fairness -> ood"):
        run(raw, out, "ood")
    put(raw / "adult_reconstruction.csv", "")
    with pytest.raises(ValueError, match="adult_reconstruction.csv was absent, is adult_rec"):
        run(raw, out, "fairness")
    (raw / "adult_reconstruction.csv").unlink()
    put(raw / "adult.csv", as_csv(PEOPLE[::-1]))
    with pytest.raises(ValueError, match=r"\(content of adult.csv\); choose another --out"):
        run(raw, out, "fairness")
    put(raw / "adult.csv", as_csv(PEOPLE))
    (out / "wts.jsonl").unlink()
    assert run(raw, out, "fairness") == first  # made again, the same
    put(out / "wts.jsonl", "{}\n")
    with pytest.raises(ValueError, match="wts.jsonl was edited"):
        run(raw, out, "fairness")


def test_a_failure_leaves_nothing_and_a_foreign_folder_is_not_touched(tmp_path, monkeypatch):
    put(tmp_path / "raw/adult.csv", as_csv(PEOPLE))
    out, write = tmp_path / "out", rows.write

    def full(path, members):
        if path.name == "val.jsonl":
            raise OSError(28, "No space left on device", str(path))
        write(path, members)

    monkeypatch.setattr(rows, "write", full)
    refused(tmp_path, "fairness", "No space left")
    monkeypatch.setattr(rows, "write", write)
    put(out / "mine.txt", "keep")
    with pytest.raises(ValueError, match="has other files, and no manifest.json"):
        run(tmp_path / "raw", out, "fairness")
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_a_file_as_out_stays_as_it_is(tmp_path):
    put(tmp_path / "raw/adult.csv", as_csv(PEOPLE))
    put(tmp_path / "thesis.txt", "keep")
    with pytest.raises(ValueError, match="thesis.txt: a file; choose another --out$"):
        run(tmp_path / "raw", tmp_path / "thesis.txt", "fairness")
    assert (tmp_path / "thesis.txt").read_text() == "keep"
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "thesis.txt"}


def test_a_run_killed_while_it_publishes_is_finished_by_the_next(tmp_path, monkeypatch):
    put(tmp_path / "raw/adult.csv", as_csv(PEOPLE))
    out, replace, calls = tmp_path / "out", os.replace, []

    def killed(source, target):
        if Path(target).parent == out:
            calls.append(target)
            if len(calls) == 3:
                raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "raw", out, "fairness")
    assert not (out / "manifest.json").exists() and (out / ".part").exists()
    monkeypatch.setattr(os, "replace", replace)
    assert run(tmp_path / "raw", out, "fairness") and not (out / ".part").exists()


def test_what_the_task_itself_cannot_read_is_not_published(tmp_path, monkeypatch):
    from w2s.tasks import fairness
    put(tmp_path / "raw/adult.csv", as_csv(PEOPLE, UCI))
    monkeypatch.setattr(fairness, "_income", lambda value, where: 2)
    refused(tmp_path, "fairness", "all rows have the same income class")
    monkeypatch.setattr(fairness, "_income", lambda value, where: 2 * (value == ">50K"))
    refused(tmp_path, "fairness", r"weak.jsonl:\d+: 'label' is 2, expected one of 0, 1")


def test_a_file_that_is_nearer_is_taken(tmp_path):
    put(tmp_path / "raw/old/deep/adult.csv", "age\n1\n")
    put(tmp_path / "raw/adult.csv", as_csv(PEOPLE, UCI))
    run(tmp_path / "raw", tmp_path / "out", "fairness")
    assert list(manifest(tmp_path / "out")["sources"]) == ["adult.csv"]


def test_an_argument_that_means_nothing_to_the_task_is_refused(tmp_path):
    put(tmp_path / "raw/adult.csv", as_csv(PEOPLE))
    sentiment(tmp_path / "raw")
    refused(tmp_path, "fairness", "--per-source means nothing to --task fairness", per_source=5)
    refused(tmp_path, "ood", "--hide-protected means nothing to --task ood", hide_protected=True)
    refused(tmp_path, "sums", "--task sums: unknown task")


def test_help_teaches_both_commands_and_a_typo_is_an_error():
    shown = command("--help")
    assert shown.returncode == 0
    assert "prepare data" in shown.stdout and "prepare model" in shown.stdout
    assert "--per-source N" in command("data", "--help").stdout
    for wrong in (("dta",), (), ("data", "--lim", "3"), ("model", "--shapes", "x")):
        done = command(*wrong)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


# ---- untrained models ----------------------------------------------------------------------------

TINY = dict(layers=2, hidden=16, heads=2, vocab=24, max_positions=32)


def tokenizer(path):
    """A word-level tokenizer of 20 words, its last id 21."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    end = "<|endoftext|>"
    made = Tokenizer(models.WordLevel({f"w{k}": k for k in range(20)} | {end: 21}, end))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(path))
    return str(path)


def test_an_untrained_model_loads_is_the_same_twice_and_is_made_once(tmp_path, capsys):
    from w2s.model import checkpoint
    words = tokenizer(tmp_path / "tokenizer.json")
    bits = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        prepare.model(prepare.Model(words, str(tmp_path / name), seed=seed, **TINY))
        bits.append((tmp_path / name / "model.safetensors").read_bytes())
    assert bits[0] == bits[1] != bits[2]
    model = checkpoint.load(tmp_path / "one", "lm")
    assert model.gpt_neox.embed_in.weight.shape == (24, 16) and len(model.gpt_neox.layers) == 2
    config = rows.read_json(tmp_path / "one/config.json")
    assert config["intermediate_size"] == 64 and config["max_position_embeddings"] == 32
    capsys.readouterr()
    prepare.model(prepare.Model(words, str(tmp_path / "one"), **TINY))
    assert capsys.readouterr().out == f"{tmp_path / 'one'}: already prepared\n"
    Path(words).write_text(Path(words).read_text() + "\n")  # of the same name, and another one
    with pytest.raises(ValueError, match="--tokenizer .* -> "):
        prepare.model(prepare.Model(words, str(tmp_path / "one"), **TINY))
    Path(words).write_text(Path(words).read_text()[:-1])
    with pytest.raises(ValueError, match="--layers 2 -> 3"):
        prepare.model(prepare.Model(words, str(tmp_path / "one"), **TINY | {"layers": 3}))


@pytest.mark.parametrize("change, match", [
    ({"vocab": 21}, "--vocab 21: .*tokenizer.json has 22 tokens; give --vocab 22 or more"),
    ({"shape": "pythia-15m"}, "--shape pythia-15m: choose from pythia-14m"),
    ({"heads": 3}, "hidden_size is not a multiple of num_attention_heads")])
def test_a_bad_shape_is_refused_and_leaves_nothing(tmp_path, change, match):
    words = tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match=match):
        prepare.model(prepare.Model(words, str(tmp_path / "out"), **TINY | change))
    put(tmp_path / "bad.json", "{}")
    with pytest.raises(ValueError, match="bad.json: not a usable tokenizer.json"):
        prepare.model(prepare.Model(str(tmp_path / "bad.json"), str(tmp_path / "out"), **TINY))
    put(tmp_path / "wordless.json", json.dumps(json.loads(Path(words).read_text()) | {
        "added_tokens": [], "model": {"type": "WordLevel", "vocab": {}, "unk_token": "x"}}))
    with pytest.raises(ValueError, match=r"wordless.json: not a usable .* \(it has no tokens\)$"):
        prepare.model(prepare.Model(str(tmp_path / "wordless.json"), str(tmp_path / "out"), **TINY))
    with pytest.raises(OSError):
        prepare.model(prepare.Model(str(tmp_path / "none.json"), str(tmp_path / "out"), **TINY))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_was_made_by_a_flags_old_name_is_as_good(tmp_path, capsys):
    put(tmp_path / "manifest.json", json.dumps({"format": prepare.FORMAT, "arguments": {
        "task": "privacy", "mails": 10000}, "files": {}}))
    assert prepare.is_prepared(tmp_path, {"task": "privacy", "emails": 10000})
    with pytest.raises(ValueError, match="--emails 10000 -> 9"):
        prepare.is_prepared(tmp_path, {"task": "privacy", "emails": 9})
