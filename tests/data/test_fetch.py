"""w2s.prepare without the raw files: what may be fetched comes from a hub on 127.0.0.1.

    .venv/bin/python -m pytest tests/data/test_fetch.py

All sentences and persons are invented. Every command runs in a process of its own, about 40 s.
"""
# ruff: noqa: F811  (the fixture that we import)

import functools
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest

from tests import test_hub
from tests.test_hub import ROOT, server  # noqa: F401  (a fixture)
from tests.data.test_prepare import PEOPLE, UCI, as_csv, glue, manifest, put, sentiment
from w2s import rows
from w2s.data import splits
from w2s.tasks import adversarial, fairness, ood

ADULT, TRUST = "scikit-learn/adult-census-income", "AI-Secure/DecodingTrust"
HEADER = ",".join(f'"{name}"' for name in UCI.replace("-", ".").split(","))
PEOPLE = as_csv(PEOPLE, HEADER).encode()
MODELS = ("alpaca", "vicuna", "stable-vicuna")


@pytest.fixture(autouse=True)
def repositories(tmp_path, monkeypatch):
    """The hub's two repositories, with invented rows under the true names."""
    sentiment(tmp_path / "flat", flat=True)
    files = {"ood/style.jsonl": (tmp_path / "flat/ood/style.jsonl").read_bytes()}
    for k, name in enumerate(MODELS):
        files[f"adv-glue-plus-plus/data/{name}.json"] = json.dumps(
            {source: members[12 * k:12 * (k + 1)] for source, members in glue(36).items()}).encode()
    monkeypatch.setitem(test_hub.REPOSITORIES, f"datasets/{ADULT}", {"adult.csv": PEOPLE})
    monkeypatch.setitem(test_hub.REPOSITORIES, f"datasets/{TRUST}", files)


def prepare(place, port, task, out, *more, **environment):
    """(exit code, stdout, stderr) of the command, with the hub on a port and its cache in place."""
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith("HF_") and "proxy" not in key.lower()}
    done = subprocess.run(
        [sys.executable, "-m", "w2s.prepare", "data", "--task", task, "--out", str(place / out),
         *map(str, more)], cwd=ROOT, text=True, capture_output=True, timeout=300,
        env={**kept, "HF_HOME": str(place / "home"), "HF_ENDPOINT": f"http://127.0.0.1:{port}",
             "HF_HUB_DISABLE_PROGRESS_BARS": "1", "W2S_UCI": "http://127.0.0.1:9/", **environment})
    return done.returncode, done.stdout, done.stderr


def refused(place, port, task, *more, **environment):
    """The one line of error of a command that leaves nothing behind."""
    code, _, err = prepare(place, port, task, "out", *more, **environment)
    assert code == 1 and err.startswith("error: ") and err.count("\n") == 1, err
    assert not (place / "out").exists()
    return err


def contents(folder):
    return {name: rows.read(folder / f"{name}.jsonl") for name in splits.SPLITS
            if (folder / f"{name}.jsonl").exists()}


def test_fairness_is_fetched_once_recorded_and_prepared_again_offline(server, tmp_path):
    code, out, err = prepare(tmp_path, server.server_port, "fairness", "one")
    assert code == 0, err
    assert err == f"warning: {ADULT}: read 40 rows, expected 32561\n"
    assert f"fetching {ADULT}/adult.csv (CC BY 4.0; the hub says CC0 1.0)\n" in out
    about = manifest(tmp_path / "one")
    assert about["sources"] == {f"{ADULT}/adult.csv": {
        "sha256": hashlib.sha256(PEOPLE).hexdigest(), "rows": 40, "used": 40, "left_out": {},
        "repo": ADULT, "file": "adult.csv", "commit": test_hub.COMMIT,
        "licence": fairness.PUBLIC.licence}}
    assert about["notes"][0].startswith("ONLY TWO THIRDS OF ADULT")
    assert "UCI could not be reached: http://127.0.0.1:9/adult.data: " in out
    server.requests.clear()
    code, _, err = prepare(tmp_path, 9, "fairness", "two", HF_HUB_OFFLINE="1")
    assert code == 0 and not server.requests, err
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    put(tmp_path / "raw/adult.csv", PEOPLE.decode())
    code, _, err = prepare(tmp_path, 9, "fairness", "three", "--raw", tmp_path / "raw")
    assert code == 0 and contents(tmp_path / "one") == contents(tmp_path / "three"), err


def test_all_of_adult_comes_from_uci_once(tmp_path):
    """Both parts from a server that stands in for UCI; the second time from the cache."""
    people = PEOPLE.decode().splitlines()[1:]
    (tmp_path / "uci").mkdir()
    (tmp_path / "uci/adult.data").write_text("\n".join(people[:25]) + "\n")
    (tmp_path / "uci/adult.test").write_text("|1x3 Cross validator\n" + "\n".join(
        f"{line}." for line in people[25:]) + "\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "uci")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as uci:
        threading.Thread(target=uci.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{uci.server_port}/"
        code, out, err = prepare(tmp_path, 9, "fairness", "one", W2S_UCI=address)
        uci.shutdown()
    assert code == 0 and "expected 48842" in err, err
    about = manifest(tmp_path / "one")
    assert sum(source["rows"] for source in about["sources"].values()) == len(people)
    assert {source["address"] for source in about["sources"].values()} == {
        address + "adult.data", address + "adult.test"}
    assert not any("TWO THIRDS" in note for note in about["notes"])
    code, _, err = prepare(tmp_path, 9, "fairness", "two", W2S_UCI=address, HF_HUB_OFFLINE="1")
    assert code == 0 and contents(tmp_path / "one") == contents(tmp_path / "two"), err


def test_prepared_data_needs_no_network_and_a_file_that_appears_is_seen(server, tmp_path):
    assert prepare(tmp_path, server.server_port, "fairness", "one")[0] == 0
    (tmp_path / "home").rename(tmp_path / "lost")
    code, out, err = prepare(tmp_path, 9, "fairness", "one")
    assert (code, out, err) == (0, f"{tmp_path}/one: already prepared\n", "")
    put(tmp_path / "raw/adult.csv", PEOPLE.decode())
    code, _, err = prepare(tmp_path, 9, "fairness", "one", "--raw", tmp_path / "raw")
    assert code == 1 and "adult.csv was absent, is adult.csv" in err


@pytest.mark.parametrize("environment", [{}, {"HF_HUB_OFFLINE": "1"}])
def test_a_hub_that_cannot_be_reached_is_one_line_that_names_the_way_by_hand(tmp_path, environment):
    put(tmp_path / "raw/other.csv", "x")
    err = refused(tmp_path, 9, "fairness", "--raw", tmp_path / "raw", **environment)
    for part in (f"{tmp_path}/raw: did not find", "adult.csv", "could not fetch it",
                 "https://archive.ics.uci.edu/dataset/2/adult", "put it there"):
        assert part in err
    assert "pass its folder as --raw" in refused(tmp_path, 9, "adversarial", **environment)


def test_sst2_is_not_fetched_and_nothing_else_is_before_it_is_there(server, tmp_path):
    err = refused(tmp_path, server.server_port, "ood")
    for part in ("--raw not given", "sst2/train.tsv", "SST-2 states no licence", "SST-2.zip",
                 "pass its folder as --raw"):
        assert part in err
    assert not server.requests


def test_with_sst2_in_raw_the_styles_are_fetched(server, tmp_path):
    sentiment(tmp_path / "raw")
    code, _, err = prepare(tmp_path, 9, "ood", "local", "--raw", tmp_path / "raw")
    assert code == 0, err
    (tmp_path / "raw/style.json").unlink()
    code, _, err = prepare(tmp_path, server.server_port, "ood", "mixed",
                           "--raw", tmp_path / "raw")
    assert code == 0 and "expected 9712" in err, err
    assert contents(tmp_path / "local") == contents(tmp_path / "mixed")
    assert set(manifest(tmp_path / "mixed")["sources"]) == {
        "sst2/train.tsv", f"{TRUST}/ood/style.jsonl"}


def test_advglue_is_fetched_as_three_files_and_only_where_no_other_is_there(server, tmp_path):
    code, out, err = prepare(tmp_path, server.server_port, "adversarial", "one")
    assert code == 0 and err == f"warning: {TRUST}: read 216 rows, expected 42017\n", err
    made = [row for members in contents(tmp_path / "one").values() for row in members]
    assert {row["surrogate"] for row in made} == set(MODELS) and len(made) == 216
    sources = manifest(tmp_path / "one")["sources"]
    assert set(sources) == {f"{TRUST}/adv-glue-plus-plus/data/{name}.json" for name in MODELS}
    assert all(source["commit"] == test_hub.COMMIT for source in sources.values())
    server.requests.clear()
    put(tmp_path / "raw/alpaca.json", json.dumps(glue()))
    code, _, err = prepare(tmp_path, server.server_port, "adversarial", "two",
                           "--raw", tmp_path / "raw")
    assert code == 0 and not server.requests, err


def test_a_gated_repository_says_how_to_be_let_in(server, tmp_path, monkeypatch):
    monkeypatch.setattr(test_hub.Hub, "content", lambda self, files, name: self.answer(
        401, b"{}", X_Error_Code="GatedRepo", X_Request_Id="7"))
    err = refused(tmp_path, server.server_port, "adversarial")
    page = f"https://huggingface.co/datasets/{TRUST}"
    assert f"accept the conditions of {page} and set HF_TOKEN" in err
    assert "github.com/AI-secure/DecodingTrust-Data-Legacy" in err


def test_what_is_fetched_is_what_the_readers_look_for():
    for task, names in ((fairness, fairness.NAMES), (ood, ood.STYLE),
                        (adversarial, adversarial.FILES[0][1])):
        assert {name.split("/")[-1] for name in task.PUBLIC.files} <= set(names)
        assert task.PUBLIC.licence.startswith("CC BY")
