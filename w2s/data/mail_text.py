"""A mail to its own words: decoded, its headers, quotes and what was forwarded cut away.
"""

import email
import itertools
import re
import unicodedata
from email.policy import Compat32

from w2s import rows

KEEP = 4        # windows of text that are kept of a mail

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
DEEPEST = 16    # such headers: the parser compares each line with every boundary that is open
ANSWER = re.compile(r"^[ \t]*(?:>.*|On .{5,200} wrote:[ \t]*)(?:\n|$)", re.M)


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
