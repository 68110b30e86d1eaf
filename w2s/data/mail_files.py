"""Files that hold mail, each read as (name, text) pairs: AESLC's folders, CMU's maildir or tar,
emails.csv, mbox, eml, jsonl. They are streamed, as CMU's archive holds half a million emails.
"""

import contextlib
import csv
import gzip
import itertools
import os
import re
import sys
import tarfile
import zlib

from w2s import rows, whatis
from w2s.data import raw_folder
from w2s.data.mail_text import body, decode

AESLC, CMU = "https://github.com/ryanzhumich/AESLC", "https://www.cs.cmu.edu/~enron/"
JSONL = {"berkeley_labelled_raw.jsonl": ("labelled", "raw"), "mails.jsonl": ("mails", "text"),
         "pile_test_enron.jsonl": ("pile", "text")}
ARCHIVE = ("enron_mail_20150507.tar", "enron_mail_20150507.tgz", "maildir", "emails.csv")
MAILS = raw_folder.Need(
    "emails (aeslc.jsonl, *.subject, enron_mail_20150507.tar.gz, maildir/, emails.csv, *.eml, "
    "*.mbox, mails.jsonl)", f"AESLC ({AESLC}) or the CMU archive ({CMU})",
    ("aeslc.jsonl", "*.subject", "*.eml", "*.mbox", *ARCHIVE,
     *(name for name in JSONL if "pile" not in name)),
    "; these are real people's emails, so we do not fetch them")
LONGEST = 1 << 26  # bytes of an email; a damaged or hostile file could ask for any amount of memory


# ---- files ---------------------------------------------------------------------------------------

def mail_sources(raw):
    """Yield (path to account for, source, iterable of (name, text)) for all mail in a
    raw_folder.Raw; text is None where an email has no readable part."""
    aeslc, published = raw.find("aeslc.jsonl"), raw.every(".subject")
    if aeslc:  # the same emails in one file: both would be duplicates of each other
        yield aeslc, "aeslc", _jsonl(aeslc, "body")
        raw.notes += ["read aeslc.jsonl, not the *.subject files"] if published else []
    for folder, paths in _by_folder([] if aeslc else published):
        yield folder, "aeslc", ((raw_folder.stem(p), _subject(p)) for p in paths)
    for name, (source, key) in JSONL.items():
        if path := raw.find(name):
            mails = _jsonl(path, key)  # key raw: a whole email, with its headers
            yield path, source, mails if key == "text" else (
                (name, body(mail.encode("utf-8", "replace"))) for name, mail in mails)
    # A folder of eml files is one entry of the account, an mbox file one of its own.
    for folder, paths in _by_folder(raw.every(".eml")):
        yield folder, "eml", ((_below(raw, p), body(_bytes(p))) for p in paths)
    for path in raw.every(".mbox"):
        yield path, "mbox", ((f"{_below(raw, path)}/{k}", body(mail))
                             for k, mail in enumerate(_mbox(path)))
    # Three forms of one archive, of which one is read.
    path = raw.first(*ARCHIVE)
    if path:
        reader = (_maildir if path.is_dir() else _emails if "csv" in path.name.lower() else _tar)
        yield path, "cmu", ((name, body(mail)) for name, mail in reader(path))


def _below(raw, path):
    """A file's path below the raw folder, the same for plain and gzipped files: part of an id."""
    return path.relative_to(raw.folder).as_posix().removesuffix(".gz")


def _by_folder(paths):
    """(folder, its files) for the folders of sorted paths."""
    return [(folder, list(members)) for folder, members
            in itertools.groupby(sorted(paths), lambda path: path.parent)]


def _jsonl(path, key):
    """Yield (id, row[key]) of a jsonl file."""
    for n, row in enumerate(rows.read(path), 1):
        if not isinstance(row.get("id"), (str, int)) or not isinstance(row.get(key), str):
            raise ValueError(f"{path}:{n}: expected an id and a string '{key}'")
        yield row["id"], row[key]


@contextlib.contextmanager
def _open(path):
    """Context manager: a plain or gzipped file for reading bytes. Raises ValueError for a damaged
    gzip."""
    whatis.special(path)
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"  # by content: a .tgz is gzipped too
        file.seek(0)
        try:
            yield rows.unzipped(file, path) if zipped else file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: damaged or truncated gzip ({error})") from None


def _bytes(path):
    """The one email in a file."""
    with _open(path) as file:
        return whole(file, path)


def whole(file, name, size=0):
    """The bytes of one email. Raises ValueError `name: ...` where there are more than LONGEST, or
    where the archive's header claims so (`size`)."""
    # A sparse member of a tar may claim any size with no bytes behind it: never read it.
    data = file.read(LONGEST + 1) if size <= LONGEST else b""
    if max(size, len(data)) > LONGEST:
        raise ValueError(f"{name}: more than {LONGEST >> 20} MB, which no email is; take it out")
    return data


def _subject(path):
    """The body of an AESLC email, which ends at the line @subject."""
    return re.split(r"^@subject\b", decode(_bytes(path), None), maxsplit=1, flags=re.M)[0]


def _mbox(path):
    """Yield the emails of an mbox file as bytes, ">From" turned back into "From". Raises ValueError
    for a file that does not begin with a line `From ...`, and for an email longer than LONGEST."""
    mail, blank, size, count = None, True, 0, 0
    with _open(path) as file:
        while line := file.readline(LONGEST):
            size += len(line)  # before the line is kept: one email must not fill the memory
            if size > LONGEST:
                raise ValueError(f"{path}: mail {count} is more than {LONGEST >> 20} MB, which no "
                                 "mail is; take it out")
            # An email begins at "From " behind an empty line; within one it is a word like others.
            if blank and line.startswith(b"From "):
                if mail is not None:
                    yield b"".join(mail)
                mail, size, count = [], 0, count + 1
            elif mail is None:
                raise ValueError(f"{path}:1: not an mbox file: expected a line `From ...`")
            else:
                mail.append(line[1:] if re.match(rb">+From ", line) else line)
            blank = not line.strip()
    if mail is not None:
        yield b"".join(mail)


def _maildir(folder):
    """Yield (user/folder/n., mail) of the unpacked CMU archive."""
    for place, folders, names in os.walk(folder):
        folders.sort()  # os.walk follows this order, so that it is the same on every file system
        for name in sorted(names):
            if name[0] != ".":
                full = os.path.join(place, name)
                whatis.special(full)
                with open(full, "rb") as file:
                    yield os.path.relpath(full, folder).replace(os.sep, "/"), whole(file, full)


def _tar(path):
    """Yield (user/folder/n., mail) of the CMU archive as it is, packed. Raises ValueError for one
    that is damaged, truncated, or without mail below maildir/."""
    count = 0
    with _open(path) as file:
        try:
            with tarfile.open(fileobj=file, mode="r|", tarinfo=_Member) as archive:
                while member := archive.next():
                    archive.members.clear()  # tarfile would keep half a million headers
                    _, below, name = member.name.partition("maildir/")
                    # In the archive the user's folders are below maildir/, as in the unpacked one.
                    if below and member.isfile() and name.rpartition("/")[2][:1] != ".":
                        count += 1
                        yield name, whole(archive.extractfile(member), f"{path}: {member.name}",
                                          member.size)
            # The tar ends before the gzip does: only at the gzip's end is its checksum compared.
            while file.read(1 << 20):
                pass
        except tarfile.TarError as error:
            raise ValueError(f"{path}: damaged or truncated tar ({error})") from None
    if not count:
        raise ValueError(f"{path}: no email below maildir/ in this archive")


class _Member(tarfile.TarInfo):
    """A tar header for which a missing or broken block is an error: tarfile would take it for the
    end of the archive and silently leave out the rest."""

    @classmethod
    def fromtarfile(cls, archive):
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # the regular end, two blocks of zeros
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {archive.offset}") from None


def _emails(path):
    """Yield (user/folder/n., mail) of Kaggle's emails.csv. Raises ValueError for another table."""
    # csv refuses fields above 128 KiB unless told; the limit is the process's, so it is put back.
    limit = csv.field_size_limit(min(sys.maxsize, 2 ** 31 - 1))
    try:
        reader = csv.reader(line + "\n" for line in rows.lines(path))
        if next(reader, None) != ["file", "message"]:
            raise ValueError(f"{path}:1: expected the header file,message")
        for fields in reader:
            if len(fields) != 2:
                raise ValueError(f"{path}:{reader.line_num}: {len(fields)} columns, expected 2")
            yield fields[0], fields[1].encode("utf-8", "replace")  # as bytes: body parses those
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: {error}") from None
    finally:
        csv.field_size_limit(limit)
