"""Models and data from a local folder or the Hugging Face hub: the one file that downloads.

huggingface_hub does the work, with its cache, progress bars and variables: HF_HOME, HF_ENDPOINT (a
mirror), HF_HUB_OFFLINE=1 (only the cache), HF_TOKEN. Of a model, JSON and safetensors are fetched,
never a pickle. What only its publisher has whole (`web`) comes from there, into the same cache.
"""
import glob
import json
import logging
import os
import re
import textwrap
from pathlib import Path

from w2s import whatis

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # environment variables whose values are secret
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SMALL = ("config.json", "tokenizer.json", INDEX)


def folder(name_or_path, revision=None, check=None):
    """A model folder: an existing local one as it is, or org/name fetched from the hub, its small
    files first, and the weights when check(folder) raises nothing.

    Of a repository with both a single file and shards only the single file is taken. revision: a
    branch, tag or commit, such as Pythia's step3000 (None: main); org/name@revision says it too.
    Raises ValueError, one line that says what was tried."""
    if os.path.exists(name_or_path):
        path = local(name_or_path, revision)
        if check:
            check(path)
        return path
    name, revision = named(name_or_path, revision)
    if check:
        check(snapshot(name, revision, SMALL, lacking=unnamed))
    path = snapshot(name, revision, [*SMALL, SINGLE], lacking=lacking)
    if not (path / "config.json").is_file():
        raise ValueError(f"{name}: the repository has no config.json; not a model folder")
    if (path / SINGLE).is_file():
        return path
    if not (path / INDEX).is_file():
        raise ValueError(f"{name}: the repository has no safetensors weights, and we never "
                         "unpickle others; where you trust it, convert it with transformers "
                         "(save_pretrained) and pass the new folder")
    # path.name is the commit: the branch may have moved since its index was fetched
    return snapshot(name, path.name, [*SMALL, *shards(path)], lacking=lacking)


def named(name, revision=None):
    """(org/name, revision or None) of org/name@revision. Raises ValueError for two revisions, and
    for none behind the @."""
    repo, sign, asked = str(name).partition("@")
    if sign and (revision not in (None, asked) or not asked):
        raise ValueError(f"{name}: which revision? Say {repo}@REVISION or --revision, once")
    return repo, asked or revision


def local(path, revision=None):
    """The path of a local model folder. Raises ValueError for a file, a run and the like, and for a
    revision, which only the hub has."""
    if revision:
        raise ValueError(f"--revision {revision}: {path} is a local folder, which has no revisions")
    if wrong := whatis.no_model(path):
        raise ValueError(wrong)
    return path


def shards(path):
    """Names of the shards in a folder's index, sorted. Raises ValueError for a broken index and for
    names that lead out of the folder or are no safetensors: a pickle would run code."""
    try:
        names = sorted({*json.loads((path / INDEX).read_text(encoding="utf-8"))[
            "weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        raise ValueError(f"{path / INDEX}: not an index of shards; delete the file and fetch it "
                         "again") from None
    if not names or not all(re.fullmatch(r"\w[\w.-]*\.safetensors", str(n)) for n in names):
        raise ValueError(f"{path / INDEX}: names shards that are no .safetensors files of this "
                         "folder; delete the file and fetch it again")
    return names


def lacking(path):
    """The first file that a cached model lacks, or None: a download may have been interrupted."""
    weights = [SINGLE] if not (path / INDEX).is_file() or (path / SINGLE).is_file() \
        else shards(path)
    return next((name for name in ("config.json", "tokenizer.json", *weights)
                 if not (path / name).is_file()), None)


def unnamed(path):
    """config.json where a cached model lacks it, or None."""
    return None if (path / "config.json").is_file() else "config.json"


def file(repo, filename, repo_type="dataset", revision=None):
    """The path of one file of a repository on the hub. Raises ValueError, one line."""
    path = snapshot(repo, revision, [glob.escape(filename)], repo_type, lambda folder: None if (
        folder / filename).is_file() else filename) / filename
    if not path.is_file():
        raise ValueError(f"{repo}: the {repo_type} repository has no file {filename}")
    return path


def web(address, most=1 << 27):
    """The path of a file from its publisher, in the cache: fetched once, at most `most` bytes.
    Raises ValueError, one line."""
    from urllib.request import urlopen

    from huggingface_hub import constants
    path = Path(constants.HF_HOME, "w2s", re.sub(r"[^\w.-]+", "-", address.split("://")[1]))
    if path.is_file():
        return path
    if constants.HF_HUB_OFFLINE:
        raise ValueError(f"{address}: not in the cache {path.parent} (offline)")
    try:
        with urlopen(address, timeout=20) as answer:
            content = answer.read(most + 1)  # one byte more tells whether there are more
    except Exception as error:  # of ssl, a proxy, a server that does not speak HTTP
        raise ValueError(f"{public(address)}: {public(error)}") from None
    if len(content) > most:
        raise ValueError(f"{address}: more than {most} bytes")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")  # several commands may fetch at once
    part.write_bytes(content)
    part.replace(path)
    return path


def snapshot(name, revision, patterns, repo_type="model", lacking=None):
    """The cached snapshot folder of `name` with the files of `patterns`; all that the network and
    the hub may answer becomes one ValueError, which shows no password. Where they fail, what is
    cached will do if nothing is lacking: lacking(folder) names a file, or None. Not
    hf_hub_download, also for a single file: without a network that one retries for 24 s, while
    snapshot_download gives up at once."""
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        raise ValueError(f"{name}: no such folder, and not the org/name of a repository on the hub")
    if revision is not None and not re.fullmatch(r"\w[\w./-]*", revision):
        raise ValueError(f"{name}: '{revision}' is no revision (a branch, tag or commit)")
    try:
        from huggingface_hub import constants, errors, snapshot_download
    except Exception as error:  # not installed, or a variable that it cannot read
        raise ValueError(f"{name}: no local folder, and huggingface_hub cannot be used "
                         f"({public(error)}); pass a local path") from None
    for handler in logging.getLogger("huggingface_hub").handlers:  # it warns with the address
        handler.filters[:] = [_Public()]
    try:
        return Path(snapshot_download(name, repo_type=repo_type, revision=revision,
                                      allow_patterns=patterns))
    except Exception as error:  # of huggingface_hub, its HTTP library, ssl, a proxy, json: anything
        home = Path(constants.HF_HUB_CACHE)
        here = cached(home, name, revision or "main", repo_type)
        gone = isinstance(error, errors.RevisionNotFoundError)  # the hub answered: believe it
        absent = lacking(here) if here and lacking else None
        if here and lacking and not absent and not gone:
            return here
        where = "the cache (offline)" if constants.HF_HUB_OFFLINE else public(constants.ENDPOINT)
        version = f", revision {revision}" if revision else ""
        why = f"{here} lacks {absent}" if absent and constants.HF_HUB_OFFLINE else public(error)
        socks = "; or unset ALL_PROXY" if isinstance(error, ImportError) else ""
        raise ValueError(
            f"{name}: no local folder, and not to be had from {where}{version} ({why}{socks}); "
            "pass a local path, set HF_ENDPOINT for a mirror, or HF_HUB_OFFLINE=1 to use only the "
            f"cache {home}") from error


def cached(home, name, revision, repo_type):
    """The snapshot folder of a revision in the hub's cache `home`, or None."""
    folder = home / "--".join([f"{repo_type}s", *name.split("/")])
    ref = folder / "refs" / revision
    # a branch or tag is a file that holds its commit; a commit is its own name
    commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else revision
    path = folder / "snapshots" / commit
    return path if commit and path.is_dir() else None


def secrets():
    """Tokens, and logins (user:password) in addresses of this environment, the longest first: a
    password may be a part of a longer one."""
    texts = {os.environ.get(name, "").strip() for name in TOKENS}
    for name, value in os.environ.items():
        if name == "HF_ENDPOINT" or name.lower().endswith("_proxy"):
            login = re.match(r"(?:\w+://)?(.*)@", value)
            texts |= {login[1], login[1].partition(":")[2]} if login else set()
    # a secret of one or two characters would blot out half of every message
    return sorted((secret for secret in texts if len(secret) > 2), key=len, reverse=True)


class _Public(logging.Filter):
    """Keeps secrets out of what huggingface_hub logs."""

    def filter(self, record):
        record.msg, record.args = public(record.getMessage()), ()
        return True


def public(message):
    """An error or an address as one line, without the user, password or token in it."""
    text = textwrap.shorten(str(message) or type(message).__name__, 300, placeholder=" ...")
    for secret in secrets():
        text = text.replace(secret, "...")
    text = re.sub(r"//[^/\s@]*(:[^/\s]*)?@", "//", text)
    return re.sub(r"\bhf_\w{8,}|(?<=Bearer )[^\s']+", "...", text)
