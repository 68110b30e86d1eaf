"""Names a path that was given in place of something else, and says what to do: a pipe, a parquet
file, a run folder where a model is asked for, and the like. A file is recognised by its kind and
its first bytes, a folder by its names and config.json; nothing else is read or decoded.
"""

import json
import stat
from pathlib import Path

ROWS = "pandas: {}(FILE).to_json(NEW, orient='records', lines=True)"
UNPACK = "unpack it first (of compressed files only .gz is read)"
PICKLED = "a pickled file", "we never unpickle: save its content as JSON lines or safetensors"
MAGIC = {  # first bytes: (what it is, how to make rows of it)
    b"PAR1": ("a parquet file", ROWS.format("read_parquet")),
    b"ARROW1": ("an Arrow file", ROWS.format("read_feather")),
    b"FEA1": ("a feather file", ROWS.format("read_feather")),
    b"ORC": ("an ORC file", ROWS.format("read_orc")),
    b"\x89HDF": ("an HDF5 file", ROWS.format("read_hdf")),
    b"Obj\x01": ("an Avro file", "convert it to JSON, one object a line"),
    b"SQLite format 3": ("an SQLite file", ROWS.format("read_sql")),
    b"\x93NUMPY": ("a numpy file", "write its rows as JSON, one object a line"),
    b"GGUF": ("a GGUF file", "it is a quantised model; take the original in safetensors"),
    b"\x80\x02": PICKLED, b"\x80\x03": PICKLED, b"\x80\x04": PICKLED, b"\x80\x05": PICKLED,
    b"PK\x03\x04": ("a zip file (or xlsx, npz, .pt)", UNPACK),
    b"PK\x05\x06": ("an empty zip file", UNPACK),
    b"BZh": ("a bzip2 file", UNPACK), b"\xfd7zXZ": ("an xz file", UNPACK),
    b"\x28\xb5\x2f\xfd": ("a zstd file", UNPACK), b"\x04\x22\x4d\x18": ("an lz4 file", UNPACK),
    b"7z\xbc\xaf": ("a 7z file", UNPACK), b"Rar!": ("a rar file", UNPACK),
    b"\xd0\xcf\x11\xe0": ("an Excel or Word file", ROWS.format("read_excel")),
    b"\xff\xfe": ("text in UTF-16", "convert it: iconv -f UTF-16 -t UTF-8"),
    b"\xfe\xff": ("text in UTF-16", "convert it: iconv -f UTF-16 -t UTF-8")}
TEXT = {  # the same of files that are text
    b"%PDF": ("a PDF file", "write its text as JSON, one object a line"),
    b"version https://git-lfs": ("a Git LFS pointer, not the file itself", "run git lfs pull"),
    b"<!doctype html": ("a web page", "download the file itself"),
    b"<html": ("a web page", "download the file itself")}
SPECIAL = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device",
           stat.S_ISBLK: "a device"}


def special(path):
    """ValueError for a pipe, a socket or a device, which is never opened: a file is read twice, and
    a pipe only once. Raises OSError that names `path` where there is nothing, or a folder."""
    mode = Path(path).stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "is a folder, expected a file", str(path))
    for asks, name in SPECIAL.items():
        if asks(mode):
            raise ValueError(f"{path}: {name}, not a regular file; it would be read twice: write "
                             "its content to a file and give that")


def binary(head):
    """(what it is, what to do) of a file that begins with these bytes; None: perhaps text."""
    if head[8:10] == b'{"' and head[3:8] == bytes(5):
        return "a safetensors file", "give the rows (.jsonl) here"
    if head.startswith(b"PK\x03\x04") and b"data.pkl" in head:
        return "a PyTorch file, pickled", PICKLED[1]
    if head[:1] == b"\x08" and head[2:3] in (b"\x12", b":"):  # which version, by which program
        return "an ONNX file", "take the original model in safetensors"
    if any(byte < 9 or byte > 126 for byte in head):  # text too may begin with ORC or Rar!
        return next((known for magic, known in MAGIC.items() if head.startswith(magic)), None)
    return next((known for magic, known in TEXT.items() if head.lower().startswith(magic)), None)


def table(path):
    """What to add to the message that a line is no JSON, where the file's name says CSV or TSV."""
    known = Path(path).name.removesuffix(".gz").endswith((".csv", ".tsv"))
    return f"; a table of columns (CSV) is read by {ROWS.format('read_csv')}" if known else ""


def no_model(folder):
    """One line about a folder or file that was given as a model and is known to be something else,
    with what to give instead; None where nothing speaks against it."""
    folder = Path(folder)
    if folder.is_file():
        with open(folder, "rb") as file:
            known = binary(file.read(64)) or ("a file",)
        return f"{folder}: {known[0]}; give the folder of the model, with config.json"
    facts = about(folder)
    if is_run(facts):
        if (folder / "model" / "config.json").is_file():
            return f"{folder}: a run, not a model; its model is {folder / 'model'}"
        return f"{folder}: a run, and it has no model (yet)"
    if (folder / "adapter_config.json").is_file() and not facts:
        return (f"{folder}: an adapter, not a whole model; merge it into its base first (peft: "
                "merge_and_unload, then save_pretrained)")
    if facts is None:
        ggufs = sorted(folder.glob("*.gguf"))
        inner = sorted(folder.glob("*/config.json"))
        if ggufs:
            return f"{ggufs[0]}: a GGUF file; take the original model in safetensors"
        if inner and not is_run(about(inner[0].parent)):
            return f"{folder}: no config.json here; is the model {inner[0].parent}?"
    return None


def no_run(folder):
    """One line about a path that was given as a run and is none, with what to give instead; None
    for a folder whose config.json is a run's, and for one with a config.json that is unknown."""
    folder = Path(folder)
    if not folder.exists():
        return f"{folder}: no such run"
    if not folder.is_dir():
        return f"{folder}: a file; give the folder of the run"
    facts = about(folder)
    if is_run(facts):
        return None
    if is_run(about(folder.parent)) and folder.name == "model":
        return f"{folder}: the model of a run; give the run itself, {folder.parent}"
    if (folder / "adapter_config.json").is_file():
        return f"{folder}: an adapter, not a run"
    if isinstance(facts, dict) and {"model_type", "architectures"} & facts.keys():
        return (f"{folder}: a model, not a run; make a run of it: train_weak.py --model {folder} "
                "--epochs 0 --out RUN")
    if (folder / "manifest.json").is_file():
        return f"{folder}: prepared rows, not a run; give them as --data"
    inner = [path.parent for path in sorted(folder.glob("*/config.json"))
             if is_run(about(path.parent))]
    if facts is None and inner:
        return f"{folder}: a folder of runs; give the runs themselves, such as {inner[0]}"
    return f"{folder}: not a run (no config.json)" if facts is None else None


def about(folder):
    """The JSON value in a folder's config.json; {} where it cannot be read, None without one."""
    path = Path(folder) / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return {}


def is_run(facts):
    """Whether the content of a config.json is a run's: a model's has no arguments and inputs."""
    return isinstance(facts, dict) and isinstance(facts.get("args"), dict) and "inputs" in facts
