"""Models and data from a local folder or the Hugging Face hub: the one file that downloads.

huggingface_hub does the work, with its cache, progress bars and variables: HF_HOME, HF_ENDPOINT (a
mirror), HF_HUB_OFFLINE=1 (only the cache), HF_TOKEN. Of a model, JSON and safetensors are fetched,
never a pickle. What only its publisher has whole (`web`) comes from there, into the same cache.
"""
import glob
import json
import os
import re
from pathlib import Path

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SMALL = ("config.json", "tokenizer.json", "tokenizer_config.json", INDEX)


def folder(name_or_path, revision=None):
    """A model folder: an existing local one as it is, or org/name fetched from the hub.

    Of a repository with both a single file and shards only the single file is taken. revision: a
    branch, tag or commit (None: main). Raises ValueError, one line that says what was tried."""
    if os.path.isdir(name_or_path):
        return name_or_path
    name = str(name_or_path)
    path = snapshot(name, revision, [*SMALL, SINGLE])
    if not (path / "config.json").is_file():
        raise ValueError(f"{name}: the repository has no config.json; not a model folder")
    if (path / SINGLE).is_file():
        return path
    if not (path / INDEX).is_file():
        raise ValueError(f"{name}: the repository has no safetensors weights, and we never "
                         "unpickle others; where you trust it, convert it with transformers "
                         "(save_pretrained) and pass the new folder")
    shards = json.loads((path / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
    return snapshot(name, path.name, [*SMALL, *sorted(set(shards))])     # of the same commit


def file(repo, filename, repo_type="dataset", revision=None):
    """The path of one file of a repository on the hub. Raises ValueError, one line."""
    path = snapshot(repo, revision, [glob.escape(filename)], repo_type) / filename
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
            content = answer.read(most + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"{address}: {error}") from None
    if len(content) > most:
        raise ValueError(f"{address}: more than {most} bytes")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(path)
    return path


def snapshot(name, revision, patterns, repo_type="model"):
    """The cached snapshot folder of `name` with the files of `patterns`; all that the network and
    the hub may answer becomes one ValueError. Not hf_hub_download, also for a single file: without
    a network that one retries for 24 s, while snapshot_download gives up at once."""
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        raise ValueError(f"{name}: no such folder, and not the org/name of a repository on the hub")
    from huggingface_hub import constants, errors, snapshot_download
    try:
        return Path(snapshot_download(name, repo_type=repo_type, revision=revision,
                                      allow_patterns=patterns))
    except (OSError, errors.HTTPError, errors.HFValidationError) as error:
        where = "the cache (offline)" if constants.HF_HUB_OFFLINE else constants.ENDPOINT
        reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
        raise ValueError(
            f"{name}: no local folder, and not to be had from {where} ({reason}); pass a local "
            "path, set HF_ENDPOINT for a mirror, or HF_HUB_OFFLINE=1 to use only the cache "
            f"{constants.HF_HUB_CACHE}") from error
