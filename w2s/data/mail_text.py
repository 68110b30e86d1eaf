"""From an email to its author's own words: decoded, without headers, quotations, forwarded parts.

Patterns are possessive (*+) where an email could otherwise make them take quadratic time: archives
hold emails of megabytes, and a hostile one may come with --raw.
"""

import email
import itertools
import re
import unicodedata
from email.policy import Compat32

from w2s import rows

KEEP = 4        # windows of text that are kept of an email

# Never more pieces than GPT-NeoX has tokens: so an email of P pieces has P tokens at least.
DIGIT = r"\d²³¹¼½¾"
PIECE = re.compile(rf"'(?:s|t|re|ve|m|ll|d)|[^\W_{DIGIT}]+|[{DIGIT}]+|(?:[^\w\s]|_)+"
                   r"|\s{2,}|[^\S ]")
# Without tab and newline. Lone surrogates cannot be written as UTF-8; U+FEFF is a byte order mark.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufeff]")
CLOCK = r"(?>.*\b\d{1,2}/\d{1,2}/\d{2,4},? +\d{1,2}:\d\d).*+\n"  # "01/31/2001 09:15 AM"
QUOTED = re.compile(  # all from here on is someone else's: the marks of Outlook and Lotus Notes
    r"(?<!-)(?:-{2,}+[ \t]*+(?:Original|Forwarded) (?:Message|Appointment)[ \t]*+--"
    r"|-{5,}+[ \t]*+Forwarded by\b)|^Begin forwarded message:"
    rf"|(?:^(?:.{{0,80}}\n)?{CLOCK}\s*|^[ \t]*From:.*\n(?:.*\n){{0,6}}?)?"
    r"^[ \t]*To:.*\n(?:.*\n){0,12}?[ \t]*Subject:", re.M | re.I)
SIGNS = "--", "subject:", "begin forwarded"  # one of them is in each of these: a faster search
CROWD = re.compile("[\u0300-\U0010ffff]{200}")  # perhaps of combining marks; see composed
MULTIPART = re.compile(rb"^content-type:\s*+multipart/", re.M | re.I)
DEEPEST = 16    # such headers: the parser compares each line with every boundary that is open
ANSWER = re.compile(r"^[ \t]*(?:>.*|On .{5,200} wrote:[ \t]*)(?:\n|$)", re.M)


def mark(path, drawn):
    """Set row["secrets"], [[first character, end], ...], from the mails.jsonl at `path`.

    drawn: {id: row}. A secret that cleaning moved or cut off is left out. Raises ValueError for
    secrets that are no places in the email's text."""
    for n, mail in enumerate(rows.read(path), 1):
        row = drawn.get(rows.SURROGATE.sub("?", f"mails/{mail['id']}"))
        places = mail.get("secrets", [])
        if not isinstance(places, list) or not all(
                isinstance(place, list) and [type(x) for x in place] == [int, int]
                and 0 <= place[0] < place[1] <= len(mail["text"]) for place in places):
            raise ValueError(f"{path}:{n}: 'secrets' is not a list of [first character, end]")
        if row and places:
            # Equal texts up to its end: then the secret's characters are still where they were.
            row["secrets"] = [place for place in places
                              if row["text"][:place[1]] == mail["text"][:place[1]]]


# ---- a body --------------------------------------------------------------------------------------

def clean(text):
    """The body without what others wrote, and without control characters and lone surrogates.

    Cut off: all from the first "-----Original Message-----", "------ Forwarded by", or block of
    header lines (From: or a name and a date, To:, Subject:). Taken out: lines that begin with ">",
    "On ... wrote:" lines, blanks at the end of lines, more than one empty line. Unicode is NFC, as
    the tokenizer normalises it: places in the text stay right."""
    text = composed(CONTROL.sub("", re.sub(r"\r\n?", "\n", text)))
    lowered = text.lower()
    quoted = any(sign in lowered for sign in SIGNS) and QUOTED.search(text)
    text = ANSWER.sub("", text[:quoted.start()] if quoted else text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"(?<![ \t])[ \t]+$", "", text, flags=re.M)).strip()


def composed(text):
    """NFC of a text, in linear time. unicodedata inserts combining marks one by one, which is
    quadratic in a long run of them: such runs are sorted first, stably, into the order NFC gives.
    """
    if CROWD.search(text):
        text = "".join("".join(sorted(run, key=unicodedata.combining) if marks else run)
                       for marks, run in itertools.groupby(
                           text, lambda char: unicodedata.combining(char) > 0))
    return unicodedata.normalize("NFC", text)


def usable(text, pieces):
    """(the cleaned text's first KEEP * pieces pieces, None), or (None, why it is not used)."""
    text = None if text is None else clean(text[:200 * KEEP * pieces])  # some are megabytes
    # U+FFFD stands for a character that could not be decoded.
    if text is None or text.count("\ufffd") > len(text) / 20:
        return None, "no readable plain text"
    matches = list(itertools.islice(PIECE.finditer(text), KEEP * pieces))
    if len(matches) < pieces:
        return None, f"shorter than {pieces} pieces"
    # A table of figures or a line of dashes is no text: a quarter of the window has to be words.
    if sum(match[0][0].isalnum() for match in matches[:pieces]) < pieces / 4:
        return None, "hardly any words"
    return text[:matches[-1].end()], None


def body(mail):
    """The first text/plain part of an RFC 822 email (bytes) as str, or None where there is none or
    the email cannot be parsed. A character that its charset does not have becomes U+FFFD."""
    deep = next(itertools.islice(MULTIPART.finditer(mail), DEEPEST, None), None)
    try:
        for part in email.message_from_bytes(mail[:deep and deep.start()], policy=BRIEF).walk():
            # A part with a file name is an attachment, not what was written.
            if part.get_content_type() == "text/plain" and not part.get_filename():
                return decode(part.get_payload(decode=True) or b"", part.get_content_charset())
    except Exception:  # the parser raises nearly anything on headers that are broken enough
        pass
    return None


class _Brief(Compat32):
    """Email policy: of a header only the first 50 parameters, as parsing n of them takes n passes
    over it."""

    def header_source_parse(self, sourcelines):
        name, value = super().header_source_parse(sourcelines)
        return name, ";".join(value.split(";", 50)[:50])


BRIEF = _Brief()


def decode(data, charset):
    """str of bytes: UTF-8 if they are valid UTF-8 and not ASCII, else in their charset (None:
    cp1252). What the charset lacks becomes U+FFFD."""
    # Old mailers say latin-1 or nothing and write Windows' quotation marks: cp1252 has both.
    if charset in (None, "us-ascii", "ascii", "iso-8859-1", "latin-1", "utf-8"):
        charset = "cp1252"
    for name, errors in ((None if data.isascii() else "utf-8", "strict"), (charset, "replace")):
        try:
            if name:
                return data.decode(name, errors)
        except (LookupError, ValueError):
            continue
    return data.decode("cp1252", "replace")
