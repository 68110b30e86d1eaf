"""Mail for the privacy property: bodies of mails, cleaned, long enough, no two of them alike.

Read, all that are there together (nothing is fetched: these are real people's mails):

    source    files (plain or .gz)
    aeslc     aeslc.jsonl (id, body), or the corpus as published: one *.subject file a mail
    labelled  berkeley_labelled_raw.jsonl (id, raw: the mail with its headers)
    mails     mails.jsonl (id, text, secrets): your own; see mark
    eml mbox  *.eml (one mail a file), *.mbox
    cmu       enron_mail_20150507.tar.gz, or it unpacked (maildir/), or Kaggle's emails.csv
    pile      pile_test_enron.jsonl (id, text): further non-members, never trained on

A piece is a run of letters, of digits, of other marks or of blanks (but one space is none), cut
where GPT-NeoX's pre-tokenizer cuts: at least one token, so P pieces hold at least P tokens. A
mail's window is its first P pieces, in which are all of its first P tokens; 4 P pieces of text are
kept. A word is a piece of letters or digits, in lower case: likeness is of words alone. N mails. No
error quotes a mail.
"""

import contextlib
import csv
import email
import gzip
import itertools
import os
import re
import sys
import tarfile
import unicodedata
import zlib
from collections import Counter, defaultdict
from email.policy import Compat32

import numpy as np

from w2s import rows, whatis
from w2s.data import raw_folder, splits

KEEP = 4        # windows of text that are kept of a mail
SHINGLE = 5     # words: what near-duplicates are counted in
NEAR = 1 / 3    # two mails are near-duplicates when one has this share of the other's window
PASSAGE = 16    # words (20 to 25 pieces): mails with such a passage in common are one group,
COMMON = 10     # unless more mails than these have it: a signature, a disclaimer, a form
AESLC, CMU = "https://github.com/ryanzhumich/AESLC", "https://www.cs.cmu.edu/~enron/"
JSONL = {"berkeley_labelled_raw.jsonl": ("labelled", "raw"), "mails.jsonl": ("mails", "text"),
         "pile_test_enron.jsonl": ("pile", "text")}

DIGIT = r"\d²³¹¼½¾"
PIECE = re.compile(rf"'(?:s|t|re|ve|m|ll|d)|[^\W_{DIGIT}]+|[{DIGIT}]+|(?:[^\w\s]|_)+"
                   r"|\s{2,}|[^\S ]")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufeff]")
CLOCK = r"(?>.*\b\d{1,2}/\d{1,2}/\d{2,4},? +\d{1,2}:\d\d).*+\n"  # "01/31/2001 09:15 AM"
QUOTED = re.compile(  # all from here on is someone else's: the marks of Outlook and Lotus Notes
    r"(?<!-)(?:-{2,}+[ \t]*+(?:Original|Forwarded) (?:Message|Appointment)[ \t]*+--"
    r"|-{5,}+[ \t]*+Forwarded by\b)|^Begin forwarded message:"
    rf"|(?:^(?:.{{0,80}}\n)?{CLOCK}\s*|^[ \t]*From:.*\n(?:.*\n){{0,6}}?)?"
    r"^[ \t]*To:.*\n(?:.*\n){0,12}?[ \t]*Subject:", re.M | re.I)
SIGNS = "--", "subject:", "begin forwarded"  # one of them is in each of these: a faster search
CROWD = re.compile("[\u0300-\U0010ffff]{200}")  # perhaps of combining marks
MULTIPART = re.compile(rb"^content-type:\s*+multipart/", re.M | re.I)
LONGEST = 1 << 26  # bytes of a mail
DEEPEST = 16    # such headers: the parser compares each line with every boundary that is open
ANSWER = re.compile(r"^[ \t]*(?:>.*|On .{5,200} wrote:[ \t]*)(?:\n|$)", re.M)


def bodies(raw, most=None, seed=0, pieces=128):
    """(pool, extra): lists of {"id", "text", "group", "source"}, sorted by id. pool: members and
    non-members are yet to be drawn from it. extra: the pile's mails, unlike every mail of the pool.

    raw: a splits.Raw; every file is accounted for in it. most: draw at most so many of the pool
    (splits.limit: fewer are a subset), by `seed`, which matters to nothing else. pieces: P.
    What is kept depends on the mails and not on their order.
    Raises ValueError when nothing is there, and `path:line: what is wrong` for a damaged file.
    """
    tally, best, seen = {}, {}, set()
    for path, source, mails in _found(raw):
        _take(path, source, mails, pieces, tally, best, seen)
    if all(_is_pile(path) for path in tally):
        raise raw.missing(
            "mails (aeslc.jsonl, *.subject, enron_mail_20150507.tar.gz, maildir/, emails.csv, "
            "*.eml, *.mbox, mails.jsonl)", f"AESLC ({AESLC}) or the CMU archive ({CMU})",
            "; these are real people's mails, so we do not fetch them")
    order = sorted(best, key=lambda key: (best[key][0], key))  # the pile last: it gives way
    unlike = distinct([best[key][1] for key in order], pieces)
    pool, extra, home = [], [], {}
    for key, keep in zip(order, unlike):
        is_pile, text, name, home[name] = best[key]
        if keep:
            (extra if is_pile else pool).append(
                {"id": name, "text": text, "group": name, "source": name.split("/")[0]})
        else:
            tally[home[name]]["near-duplicate"] += 1
    if not pool:
        raise ValueError(f"{raw.folder}: no mail there has a body of {pieces} pieces")
    pool, extra = (sorted(part, key=lambda row: row["id"]) for part in (pool, extra))
    drawn = splits.limit(pool, most, seed)
    set_groups(drawn + extra)
    groups = {row["group"] for row in drawn}
    apart = [row for row in extra if row["group"] not in groups]
    for before, after, reason in ((pool, drawn, "not drawn"),
                                  (extra, apart, "a passage of the pool")):
        kept = {row["id"] for row in after}
        for row in before:
            tally[home[row["id"]]][reason] += row["id"] not in kept
    for path, counts in tally.items():
        raw.account(path, counts.pop("read", 0), counts)
    if path := raw.find("mails.jsonl"):
        mark(path, {row["id"]: row for row in drawn})
    return drawn, apart


def mark(path, drawn):
    """Set row["secrets"], [[first character, end], ...], of the rows {id: row} that have some in
    mails.jsonl: those that stand where they stood before the text was cleaned and cut."""
    for n, own in enumerate(rows.read(path), 1):
        row = drawn.get(rows.SURROGATE.sub("?", f"mails/{own['id']}"))
        places = own.get("secrets", [])
        if not isinstance(places, list) or not all(
                isinstance(place, list) and [type(x) for x in place] == [int, int]
                and 0 <= place[0] < place[1] <= len(own["text"]) for place in places):
            raise ValueError(f"{path}:{n}: 'secrets' is not a list of [first character, end]")
        if row and places:
            row["secrets"] = [place for place in places
                              if row["text"][:place[1]] == own["text"][:place[1]]]


def _take(path, source, mails, pieces, tally, best, seen):
    """Enter the usable mails of a file into best {hash of the bare text: (from the pile?, text, id,
    path)}, of equal ones the smallest; into tally {path: counts} all others, by reason; into seen
    all ids."""
    counts = tally.setdefault(path, Counter())
    for name, text in mails:
        name = rows.SURROGATE.sub("?", f"{source}/{name}")
        if name in seen:
            raise ValueError(f"{path}: two mails have the id '{name}'")
        seen.add(name)
        counts["read"] += 1
        text, reason = usable(text, pieces)
        if reason:
            counts[reason] += 1
            continue
        key = splits.digest(splits.bare(text))
        new = (source == "pile", text, name, path)
        best[key], *twin = sorted([new, *([best[key]] if key in best else [])])
        for *_, place in twin:
            tally[place]["equal to another"] += 1


def _is_pile(path):
    return path.name.lower().startswith("pile_test_enron.jsonl")


# ---- a body --------------------------------------------------------------------------------------

def clean(text):
    """The body without what others wrote, and without control characters and lone surrogates.

    Cut off: all from the first "-----Original Message-----", "------ Forwarded by", or block of
    From: or a name and a date, To: and Subject: lines on. Taken out: lines that begin with ">", "On
    ... wrote:" lines, blanks at the end of lines, more than one empty line. Unicode is NFC, as the
    tokenizer will have it."""
    text = composed(CONTROL.sub("", re.sub(r"\r\n?", "\n", text)))
    low = text.lower()
    mark = any(sign in low for sign in SIGNS) and QUOTED.search(text)
    text = ANSWER.sub("", text[:mark.start()] if mark else text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"(?<![ \t])[ \t]+$", "", text, flags=re.M)).strip()


def composed(text):
    """NFC of a text. Crowds of combining marks are put in order here, stably, as it would: it
    inserts them one by one, in quadratic time."""
    if CROWD.search(text):
        text = "".join("".join(sorted(run, key=unicodedata.combining) if marks else run)
                       for marks, run in itertools.groupby(
                           text, lambda char: unicodedata.combining(char) > 0))
    return unicodedata.normalize("NFC", text)


def usable(text, pieces):
    """(the cleaned text's first KEEP * pieces pieces, None), or (None, why it is not used)."""
    text = None if text is None else clean(text[:200 * KEEP * pieces])  # some are megabytes
    if text is None or text.count("\ufffd") > len(text) / 20:
        return None, "no readable plain text"
    found = list(itertools.islice(PIECE.finditer(text), KEEP * pieces))
    if len(found) < pieces:
        return None, f"shorter than {pieces} pieces"
    if sum(m[0][0].isalnum() for m in found[:pieces]) < pieces / 4:
        return None, "hardly any words"
    return text[:found[-1].end()], None


def body(mail):
    """The first text/plain part of an RFC 822 mail (bytes) as str, or None. A character that its
    charset does not have becomes U+FFFD."""
    deep = next(itertools.islice(MULTIPART.finditer(mail), DEEPEST, None), None)
    try:
        for part in email.message_from_bytes(mail[:deep and deep.start()], policy=BRIEF).walk():
            if part.get_content_type() == "text/plain" and not part.get_filename():
                return _decode(part.get_payload(decode=True) or b"", part.get_content_charset())
    except Exception:  # the parser raises nearly anything on headers that are broken enough
        pass
    return None


class _Brief(Compat32):
    """Of a header only the first 50 parameters: to read n of them takes n passes over it."""

    def header_source_parse(self, sourcelines):
        name, value = super().header_source_parse(sourcelines)
        return name, ";".join(value.split(";", 50)[:50])


BRIEF = _Brief()


def _decode(data, charset):
    """str of bytes: UTF-8 if they can be that and are not ASCII, else their charset."""
    if charset in (None, "us-ascii", "ascii", "iso-8859-1", "latin-1", "utf-8"):
        charset = "cp1252"
    for name, errors in ((None if data.isascii() else "utf-8", "strict"), (charset, "replace")):
        try:
            if name:
                return data.decode(name, errors)
        except (LookupError, ValueError):
            continue
    return data.decode("cp1252", "replace")


# ---- duplicates ----------------------------------------------------------------------------------

def distinct(texts, pieces):
    """N bool: True for a mail that is no near-duplicate of a mail before it that is True.

    A is a near-duplicate of B when B's text has at least NEAR of the SHINGLE-word sequences of A's
    window, or A's text of those of B's window: also where one is part of the other. Only mails that
    are kept count, so likeness does not chain."""
    whole, window = [], []
    for text in texts:
        words, count = _words(text, pieces)
        grams = _sequences(words, SHINGLE)
        whole.append(np.unique(grams))
        window.append(np.unique(grams[:max(1, count - SHINGLE + 1)]))
    shared = _repeated(whole)
    sizes = [len(grams) for grams in window]
    in_text, in_window, keep = defaultdict(list), defaultdict(list), []
    for k in range(len(texts)):
        mine, seen = _places(whole[k], shared), _places(window[k], shared)
        hits = Counter(itertools.chain.from_iterable(in_text[s] for s in seen if s in in_text))
        near = any(n >= NEAR * sizes[k] for n in hits.values())
        if not near:
            hits = Counter(itertools.chain.from_iterable(
                in_window[s] for s in mine if s in in_window))
            near = any(n >= NEAR * sizes[j] for j, n in hits.items())
        keep.append(not near)
        if not near:
            for s in mine:
                in_text[s].append(k)
            for s in seen:
                in_window[s].append(k)
    return keep


def set_groups(pool):
    """Set row["group"]: rows that have a passage of PASSAGE words in common, directly or through
    other rows, are one group. A passage in more than COMMON rows does not count."""
    grams = [np.unique(_sequences(_words(row["text"])[0], PASSAGE)) for row in pool]
    shared = _repeated(grams, COMMON)
    splits.set_groups(pool, [[row["id"], *(f"{shared[s]:016x}" for s in _places(mine, shared))]
                             for row, mine in zip(pool, grams)])


def _words(text, pieces=0):
    """(32-bit hashes of the text's words, how many of them are among its first pieces)."""
    found = PIECE.findall(text.lower())
    words = [zlib.crc32(piece.encode()) for piece in found if piece[0].isalnum()]
    return np.array(words, np.uint64), sum(piece[0].isalnum() for piece in found[:pieces])


def _sequences(words, n):
    """64-bit hashes of all n words in a row; of all words where there are fewer."""
    n = min(n, len(words))
    base = np.uint64(0x9E3779B97F4A7C15)
    total = np.zeros(len(words) - n + 1, np.uint64)
    for k in range(n):
        total = (total + words[k:len(words) - n + 1 + k]) * base
    return total


def _repeated(grams, most=None):
    """Sorted hashes that are in at least two of N arrays of distinct hashes, and in at most so
    many."""
    values, counts = np.unique(np.concatenate([*grams, np.zeros(0, np.uint64)]), return_counts=True)
    return values[(counts > 1) & (counts <= (most or len(grams)))]


def _places(values, shared):
    """Indices into `shared`, which is sorted, of those values that are in it."""
    if not len(shared):
        return []
    at = np.searchsorted(shared, values).clip(max=len(shared) - 1)
    return at[shared[at] == values].tolist()


# ---- files ---------------------------------------------------------------------------------------

def _found(raw):
    """Yield (path to account for, source, iterable of (name, text or None))."""
    one, published = raw.find("aeslc.jsonl"), raw.every(".subject")
    if one:
        yield one, "aeslc", _jsonl(one, "body")
        raw.notes += ["read aeslc.jsonl, not the *.subject files"] if published else []
    for folder, paths in _by_folder([] if one else published):
        yield folder, "aeslc", ((raw_folder.stem(p), _subject(p)) for p in paths)
    for name, (source, key) in JSONL.items():
        if path := raw.find(name):
            mails = _jsonl(path, key)
            yield path, source, mails if key == "text" else (
                (name, body(mail.encode("utf-8", "replace"))) for name, mail in mails)
    for folder, paths in _by_folder(raw.every(".eml")):
        yield folder, "eml", ((_below(raw, p), body(_bytes(p))) for p in paths)
    for path in raw.every(".mbox"):
        yield path, "mbox", ((f"{_below(raw, path)}/{k}", body(mail))
                             for k, mail in enumerate(_mbox(path)))
    path = raw.first("enron_mail_20150507.tar", "enron_mail_20150507.tgz", "maildir", "emails.csv")
    if path:
        reader = (_maildir if path.is_dir() else _emails if "csv" in path.name.lower() else _tar)
        yield path, "cmu", ((name, body(mail)) for name, mail in reader(path))


def _below(raw, path):
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
    """A plain or gzipped file for reading bytes."""
    whatis.special(path)
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            yield rows.unzipped(file, path) if zipped else file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: damaged or truncated gzip ({error})") from None


def _bytes(path):
    with _open(path) as file:
        return whole(file, path)


def whole(file, name, size=0):
    """The bytes of one mail. Raises ValueError with its name where they, or the size that is said,
    are more than LONGEST: of a sparse member of an archive nothing need be there."""
    found = file.read(LONGEST + 1) if size <= LONGEST else b""
    if max(size, len(found)) > LONGEST:
        raise ValueError(f"{name}: more than {LONGEST >> 20} MB, which no mail is; take it out")
    return found


def _subject(path):
    """The body of a mail of AESLC: what stands before its line @subject."""
    return re.split(r"^@subject\b", _decode(_bytes(path), None), maxsplit=1, flags=re.M)[0]


def _mbox(path):
    """Yield the mails of an mbox file as bytes, ">From" turned back into "From"."""
    mail, blank, size, count = None, True, 0, 0
    with _open(path) as file:
        while line := file.readline(LONGEST):
            size += len(line)
            if size > LONGEST:
                raise ValueError(f"{path}: mail {count} is more than {LONGEST >> 20} MB, which no "
                                 "mail is; take it out")
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
        folders.sort()
        for name in sorted(names):
            if name[0] != ".":
                full = os.path.join(place, name)
                whatis.special(full)
                with open(full, "rb") as file:
                    yield os.path.relpath(full, folder).replace(os.sep, "/"), whole(file, full)


def _tar(path):
    """Yield (user/folder/n., mail) of the CMU archive, which is not unpacked."""
    count = 0
    with _open(path) as file:
        try:
            with tarfile.open(fileobj=file, mode="r|", tarinfo=_Member) as archive:
                while member := archive.next():
                    archive.members.clear()  # tarfile would remember half a million of them
                    _, found, name = member.name.partition("maildir/")
                    if found and member.isfile() and name.rpartition("/")[2][:1] != ".":
                        count += 1
                        yield name, whole(archive.extractfile(member), f"{path}: {member.name}",
                                          member.size)
            while file.read(1 << 20):  # to the end, where gzip keeps its checksum
                pass
        except tarfile.TarError as error:
            raise ValueError(f"{path}: damaged or truncated tar ({error})") from None
    if not count:
        raise ValueError(f"{path}: no mail below maildir/ in this archive")


class _Member(tarfile.TarInfo):
    """A header that is not there or broken is an error, not the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive):
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {archive.offset}") from None


def _emails(path):
    """Yield (user/folder/n., mail) of Kaggle's emails.csv."""
    limit = csv.field_size_limit(min(sys.maxsize, 2 ** 31 - 1))
    try:
        reader = csv.reader(line + "\n" for line in rows.lines(path))
        if next(reader, None) != ["file", "message"]:
            raise ValueError(f"{path}:1: expected the header file,message")
        for fields in reader:
            if len(fields) != 2:
                raise ValueError(f"{path}:{reader.line_num}: {len(fields)} columns, expected 2")
            yield fields[0], fields[1].encode("utf-8", "replace")
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: {error}") from None
    finally:
        csv.field_size_limit(limit)
