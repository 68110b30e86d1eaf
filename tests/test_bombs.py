"""Files that unfold to far more than they are, and files of another kind in place of text: one line
that names the file or member, and no memory for what is not wanted.

    python -m pytest -q tests/test_bombs.py
"""

import gzip
import io
import resource
import tarfile

import pytest

from w2s import recipes, rows
from w2s.data import mail, mail_files, raw_folder

HUGE = 1 << 28  # bytes: 256 MB of zeros in 260 kB
MOST = 200  # MB that reading may take


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    path = tmp_path_factory.mktemp("bombs") / "bomb.gz"
    with gzip.open(path, "wb", 6) as file:
        for _ in range(HUGE >> 20):
            file.write(b"0" * (1 << 20))
    return path


def peak():
    """MB of the largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reads(name, path):
    """Read a file as what it is called."""
    raw = raw_folder.Raw(path.parent)
    return {"mails.jsonl": lambda: rows.read(path), "x.json": lambda: rows.read_json(path),
            "emails.csv": lambda: list(raw_folder.table(path)),
            "r.txt": lambda: recipes.read(path)}.get(
        name, lambda: mail.bodies(raw, pieces=8))()


@pytest.mark.parametrize("name", ["mails.jsonl", "x.json", "emails.csv", "r.txt", "a.eml", "a.mbox",
                                  "enron_mail_20150507.tar"])
def test_what_unfolds_without_an_end_is_cut(name, bomb, tmp_path):
    path = tmp_path / f"{name}.gz"
    path.write_bytes(bomb.read_bytes())
    before = peak()
    with pytest.raises(ValueError, match=f"{path}.*(unfolds to more than|damaged)") as error:
        reads(name, path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
    assert peak() - before < MOST


def test_a_member_of_an_archive_that_is_no_mail_is_named(tmp_path):
    path = tmp_path / "enron_mail_20150507.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, size in (("maildir/a/1.", 100), ("maildir/a/2.", mail_files.LONGEST + 1)):
            about = tarfile.TarInfo(name)
            about.size = size
            archive.addfile(about, io.BytesIO(b"a" * size))
    before = peak()
    with pytest.raises(ValueError, match=f"{path}: maildir/a/2.: more than 64 MB"):
        mail.bodies(raw_folder.Raw(tmp_path), pieces=8)
    assert peak() - before < MOST


@pytest.mark.parametrize("name", ["maildir/a/1.", "a.eml", "a.mbox"])
def test_a_hole_on_the_disk_is_no_mail(name, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"From a\n\n")
        file.truncate(1 << 40)  # takes no place
    with pytest.raises(ValueError, match=f"{path}: .*more than 64 MB"):
        mail.bodies(raw_folder.Raw(tmp_path), pieces=8)


def test_what_is_good_is_read_as_ever(tmp_path):
    found = [{"id": f"r{i}", "text": "the same words again and again"} for i in range(20000)]
    rows.write(tmp_path / "a.jsonl", found)
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    assert rows.read(packed) == found


@pytest.mark.parametrize("head, what", [(b"PK\x03\x04", "a zip file"), (b"PAR1\x15", "a parquet"),
                                        (b"BZh9", "a bzip2 file"), (b"\xfd7zXZ\x00", "an xz file"),
                                        (b"\x80\x04\x95", "a pickled file")])
def test_a_recipe_or_rows_of_another_kind_are_named(head, what, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(head + bytes(range(128, 256)))
    for read in (recipes.read, rows.read, rows.read_json):
        with pytest.raises(ValueError, match=f"{path}: {what}"):
            read(path)
    path.write_bytes(b"\xff\x00\x81")
    with pytest.raises(ValueError, match=f"{path}:1: not UTF-8"):
        recipes.read(path)
