"""w2s.hub against a small server on 127.0.0.1 that answers as the Hugging Face hub does.

huggingface_hub reads its environment at import, so every call runs in a process of its own."""
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from w2s import hub

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden" / "pythia"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = (GOLDEN / "model.safetensors").read_bytes()
MODEL = {"config.json": (GOLDEN / "config.json").read_bytes(), "tokenizer.json": b"{}"}
SHARD = "model-00001-of-00001.safetensors"
INDEX = json.dumps({"weight_map": {"gpt_neox.embed_in.weight": SHARD}}).encode()
REPOSITORIES = {
    "models/org/both": {**MODEL, "model.safetensors": WEIGHTS, "pytorch_model.bin": b"pickle",
                        "model.safetensors.index.json": INDEX, SHARD: WEIGHTS, "README.md": b"x",
                        "flax_model.msgpack": b"x"},
    "models/org/shards": {**MODEL, "model.safetensors.index.json": INDEX, SHARD: WEIGHTS,
                          "other.safetensors": b"not ours", "pytorch_model.bin": b"pickle"},
    "models/org/pickle": {**MODEL, "pytorch_model.bin": b"pickle"},
    "models/org/empty": {"README.md": b"x"},
    "datasets/org/data": {"train/rows.jsonl": b'{"id": 1}\n'}}


class Hub(BaseHTTPRequestHandler):
    """/api/<kind>/<repo>[/revision|/tree/...] and /[datasets/]<repo>/resolve/<revision>/<file>"""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", kind="application/json", **headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        parts = urlsplit(self.path).path.strip("/").split("/")
        self.server.requests.append((self.command, "/".join(parts)))
        if parts[0] == "api":
            repository, rest = "/".join(parts[1:4]), parts[4:]
        else:
            parts = parts if parts[0] == "datasets" else ["models", *parts]
            repository, rest = "/".join(parts[:3]), parts[3:]
        files = REPOSITORIES.get(repository)
        if files is None:
            return self.answer(404, b"{}", X_Error_Code="RepoNotFound")
        if rest[:1] == ["revision"] and rest[1] not in ("main", COMMIT):
            return self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
        if rest[:1] == ["resolve"]:
            return self.content(files, "/".join(rest[2:]))
        entries = [{"type": "file", "path": name, "size": len(content), "rfilename": name,
                    "oid": hashlib.sha1(content).hexdigest()} for name, content in files.items()]
        if rest[:1] == ["tree"]:
            return self.answer(200, json.dumps(entries).encode())
        info = {"id": repository.split("/", 1)[1], "sha": COMMIT, "siblings": entries, "tags": []}
        self.answer(200, json.dumps(info).encode())

    do_HEAD = do_GET

    def content(self, files, name):
        if name not in files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        content = files[name]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X_Repo_Commit": COMMIT,
                   "Accept_Ranges": "bytes"}
        if "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0])
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return self.answer(206, content[start:], "application/octet-stream", **headers)
        self.answer(200, content, "application/octet-stream", **headers)


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.requests = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def run(code, home, port, **environment):
    """(stdout, stderr, seconds) of `code` in a process that knows hub and load."""
    pytest.importorskip("huggingface_hub")
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith("HF_") and "proxy" not in key.lower()}
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "from w2s import hub\n" + code], cwd=ROOT, text=True,
        capture_output=True, timeout=120,
        env={**kept, "HF_HOME": str(home), "HF_ENDPOINT": f"http://127.0.0.1:{port}",
             **environment})
    return done.stdout.strip(), done.stderr, time.monotonic() - start


def fetched(server):
    return {path.split("/resolve/")[1].split("/", 1)[1]
            for command, path in server.requests if command == "GET" and "/resolve/" in path}


LOAD = """
from w2s import pythia
folder = hub.folder("org/both")
print(folder, len(list(pythia.load(folder, "lm").parameters())))
"""


def test_only_what_is_needed_is_fetched_and_the_cache_serves_offline(server, tmp_path):
    out, err, _ = run(LOAD, tmp_path, server.server_port)
    assert out.endswith(f"{COMMIT} 28") and out.startswith(str(tmp_path)), err
    assert fetched(server) == {"config.json", "tokenizer.json", "model.safetensors",
                               "model.safetensors.index.json"}
    server.requests.clear()
    again, err, _ = run(LOAD, tmp_path, 9, HF_HUB_OFFLINE="1")
    assert again == out and not server.requests, err


def test_a_model_that_we_do_not_compute_is_refused_before_its_weights_are_fetched(server, tmp_path):
    code = """
def check(folder):
    raise ValueError(f"{(folder / 'config.json').is_file()}: not this one")
try:
    hub.folder("org/both", check=check)
except ValueError as error:
    print(error)
"""
    out, err, _ = run(code, tmp_path, server.server_port)
    assert out == "True: not this one", err
    assert fetched(server) == {"config.json", "tokenizer.json", "model.safetensors.index.json"}
    code = 'print(hub.folder("org/both", check=lambda folder: None))'
    assert run(code, tmp_path, server.server_port)[0].endswith(COMMIT)
    assert "model.safetensors" in fetched(server)
    assert run(code, tmp_path, 9, HF_HUB_OFFLINE="1")[0].endswith(COMMIT)


def test_of_shards_only_those_of_the_index_are_fetched(server, tmp_path):
    code = 'print(sorted(p.name for p in hub.folder("org/shards", revision="main").iterdir()))'
    out, err, _ = run(code, tmp_path, server.server_port)
    wanted = {"config.json", "tokenizer.json", "model.safetensors.index.json", SHARD}
    assert out == str(sorted(wanted)) and fetched(server) == wanted, err
    assert run(code, tmp_path, 9, HF_HUB_OFFLINE="1")[0] == out


def test_shards_are_of_the_commit_of_their_index(tmp_path, monkeypatch):
    """While a branch moves on."""
    folder, asked = tmp_path / COMMIT, []
    folder.mkdir()
    (folder / "config.json").touch()
    (folder / hub.INDEX).write_bytes(INDEX)
    monkeypatch.setattr(hub, "snapshot", lambda name, revision, patterns, lacking: (
        asked.append((revision, patterns)) or folder))
    assert hub.folder("org/shards", "branch") == folder
    assert [revision for revision, _ in asked] == ["branch", COMMIT]
    assert asked[1][1] == ["config.json", "tokenizer.json", hub.INDEX, SHARD]


def test_a_file_from_its_publisher_is_fetched_once_and_not_beyond_its_size(tmp_path, monkeypatch):
    constants, asked = pytest.importorskip("huggingface_hub.constants"), []
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(urllib.request, "urlopen", lambda address, timeout: (
        asked.append(address) or io.BytesIO(b"12345")))
    with pytest.raises(ValueError, match="http://x/y: more than 4 bytes"):
        hub.web("http://x/y", 4)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    for _ in range(2):
        assert hub.web("http://x/y", 5).read_bytes() == b"12345"
    assert len(asked) == 2
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.web("http://x/y").read_bytes() == b"12345"
    with pytest.raises(ValueError, match="http://x/z: not in the cache"):
        hub.web("http://x/z")


def test_a_data_file_is_fetched_once_and_read_offline(server, tmp_path):
    code = 'print(hub.file("org/data", "train/rows.jsonl").read_text())'
    assert run(code, tmp_path, server.server_port)[0] == '{"id": 1}'
    assert ("GET", f"datasets/org/data/resolve/{COMMIT}/train/rows.jsonl") in server.requests
    assert run(code, tmp_path, 9, HF_HUB_OFFLINE="1")[0] == '{"id": 1}'


@pytest.mark.parametrize("call,message", [
    ('hub.folder("org/pickle")', "org/pickle: the repository has no safetensors weights"),
    ('hub.folder("org/empty")', "org/empty: the repository has no config.json"),
    ('hub.folder("org/unknown")', "org/unknown: no local folder, and not to be had from http"),
    ('hub.folder("org/both", revision="v9")', "org/both: no local folder, and not to be had from"),
    ('hub.file("org/data", "no.jsonl")', "org/data: the dataset repository has no file no.jsonl"),
    ('hub.file("org", "rows.jsonl")', "org: no such folder, and not the org/name of a repository")])
def test_what_the_hub_does_not_have_is_one_clear_line(call, message, server, tmp_path):
    code = f"try:\n    {call}\nexcept ValueError as error:\n    print(error)"
    out, err, seconds = run(code, tmp_path, server.server_port)
    assert out.startswith(message) and "\n" not in out and seconds < 30, (out, err)
    assert not any("pickle" in name or name.endswith(".bin") for name in fetched(server))


@pytest.mark.parametrize("environment", [{}, {"HF_HUB_OFFLINE": "1"}])
@pytest.mark.parametrize("call", ['hub.folder("org/both")', 'hub.file("org/data", "rows.jsonl")'])
def test_without_network_or_cache_the_error_is_quick_and_says_what_to_do(
        call, environment, tmp_path):
    code = f"try:\n    {call}\nexcept ValueError as error:\n    print(error)"
    out, err, seconds = run(code, tmp_path, 9, **environment)
    assert out.startswith("org/") and "not to be had" in out
    assert "HF_ENDPOINT" in out and "HF_HUB_OFFLINE=1" in out, err
    assert "\n" not in out and seconds < 10


def said(call, home, port, **environment):
    """The one line that a call ends with."""
    code = f"try:\n    {call}\nexcept ValueError as error:\n    print(error)"
    out, err, _ = run(code, home, port, **environment)
    assert out and "\n" not in out, (out, err)
    return out + err


def test_a_revision_is_asked_for_behind_the_name_and_only_of_the_hub(server, tmp_path):
    code = f'print(hub.folder("org/both@{COMMIT}"))'
    out, err, _ = run(code, tmp_path, server.server_port)
    assert out.endswith(COMMIT) and not any("main" in path for _, path in server.requests), err
    missing = said('hub.folder("org/both@step7")', tmp_path, server.server_port)
    assert missing.startswith("org/both: no local folder") and "revision step7" in missing
    for call, message in (('hub.folder("org/both@one", "two")', "which revision?"),
                          ('hub.folder("org/both@")', "which revision?"),
                          ('hub.folder("org/both@a b")', "'a b' is no revision"),
                          (f'hub.folder({str(tmp_path)!r}, "main")', "a local folder")):
        assert message in said(call, tmp_path, server.server_port)


def test_a_page_that_is_no_hub_is_named_with_the_model_and_without_the_password(tmp_path):
    class Page(Hub):
        def do_GET(self):
            self.answer(200, b"<html>please log in</html>", "text/html")

        do_HEAD = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"127.0.0.1:{server.server_port}"
        for call in ('hub.folder("org/both")', 'hub.file("org/data", "train/rows.jsonl")'):
            line = said(call, tmp_path, 9, HF_ENDPOINT=f"http://ann:open5esame@{at}")
            assert line.startswith("org/") and at in line and "open5esame" not in line
        server.shutdown()


@pytest.mark.parametrize("wrong", [{"HF_ENDPOINT": "ftp://ann:open5esame@nowhere"},
                                   {"HF_ENDPOINT": "nonsense"}, {"HF_HUB_ETAG_TIMEOUT": "soon"},
                                   {"ALL_PROXY": "socks5://ann:open5esame@127.0.0.1:9"},
                                   {"HF_TOKEN": "hf_open5esame\u00fc"}])
def test_whatever_the_http_library_raises_is_one_line(wrong, tmp_path):
    line = said('hub.folder("org/both")', tmp_path, 9, **wrong)
    assert line.startswith("org/both: ") and "open5esame" not in line, line


def test_what_huggingface_hub_logs_has_no_password_either(tmp_path):
    noisy = 'logging.getLogger("huggingface_hub").warning("at %s", "http://ann:open5esame@x/y")'
    code = f'import logging\ntry:\n    hub.folder("org/x")\nexcept ValueError:\n    {noisy}'
    err = run(code, tmp_path, 9)[1]
    assert "at http://x/y" in err and "open5esame" not in err, err


def test_offline_what_is_cached_suffices_and_what_is_not_is_named(server, tmp_path):
    few = ["config.json", "tokenizer.json", "model.safetensors"]
    fetch = ('import huggingface_hub as h; h.snapshot_download("org/both", allow_patterns={})')
    run(fetch.format(few[:2]), tmp_path, server.server_port)
    line = said('hub.folder("org/both")', tmp_path, 9, HF_HUB_OFFLINE="1")
    assert f"{COMMIT} lacks model.safetensors" in line
    run(fetch.format(few), tmp_path, server.server_port)
    out, err, _ = run('print(hub.folder("org/both"))', tmp_path, 9, HF_HUB_OFFLINE="1")
    assert out.endswith(COMMIT), err
    Path(out, "tokenizer.json").unlink()
    assert "lacks tokenizer.json" in said('hub.folder("org/both")', tmp_path, 9,
                                          HF_HUB_OFFLINE="1")


@pytest.mark.parametrize("index", [b"<html>", b"[]", b'{"weight_map": 1}', b'{"weight_map": {}}',
                                   b'{"weight_map": {"x": "../../x.safetensors"}}',
                                   b'{"weight_map": {"x": 5}}', b'{"weight_map": {"x": "x.bin"}}'])
def test_an_index_names_shards_of_its_own_folder(index, tmp_path):
    (tmp_path / hub.INDEX).write_bytes(index)
    with pytest.raises(ValueError, match="index.json: "):
        hub.shards(tmp_path)


def test_a_local_folder_is_returned_as_it_is_and_nonsense_is_refused(tmp_path, monkeypatch):
    assert hub.folder(tmp_path) is tmp_path
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert hub.folder("org/name") == "org/name"
    for nonsense in ("pythia-14m", "/no/such/folder", "a/b/c", "../up", "nowhere/", ""):
        with pytest.raises(ValueError, match="no such folder"):
            hub.folder(nonsense)


def test_it_imports_neither_torch_nor_huggingface_hub():
    code = "import sys, w2s.hub; sys.exit(bool({'torch', 'huggingface_hub'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
