"""w2s.data.mail: mails in every form -> cleaned bodies, long enough, unlike, grouped; or an error.

    .venv/bin/python -m pytest tests/data/test_mail.py

All mails here are invented: random words of invented people. No GPU, about 3 s.
"""

import csv
import gzip
import io
import json
import random
import re
import tarfile
import time
from email.message import EmailMessage
from pathlib import Path

import pytest
from tokenizers import pre_tokenizers

from w2s.data import mail, mail_text, raw_folder
from w2s.tasks import privacy

SYLLABLES = "ba do fi gu ka lo mi nu pe ra so ti vu wa ze".split()
HEAD = "Message-ID: <{0}.JavaMail@alderby.example>\nFrom: {0}@alderby.example\nSubject: hello\n\n"
P = 40  # pieces, to keep the mails here short


def words(seed, n=80):
    """n invented words, the same for the same seed."""
    draw = random.Random(seed)
    return " ".join("".join(draw.choices(SYLLABLES, k=3)) for _ in range(n))


def put(path, content, zipped=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content.encode() if isinstance(content, str) else content
    Path(f"{path}.gz" if zipped else path).write_bytes(
        gzip.compress(content) if zipped else content)


def jsonl(records):
    return "".join(json.dumps(record) + "\n" for record in records)


def own(folder, texts, name="mails.jsonl"):
    """A folder with mails of one's own, ids 0, 1, ..."""
    put(folder / name, jsonl({"id": k, "text": text} for k, text in enumerate(texts)))
    return folder


def read(folder, pieces=P, **arguments):
    """({id: text} of the pool, {id: text} of extra, {file: account without the hash})."""
    raw = raw_folder.Raw(folder)
    pool, extra = mail.bodies(raw, pieces=pieces, **arguments)
    for row in pool + extra:
        assert row.keys() == {"id", "text", "group", "source"}
        assert row["id"].startswith(row["source"] + "/")
    about = {path: {k: v for k, v in source.items() if k != "sha256"}
             for path, source in raw.sources.items()}
    for source in about.values():
        assert source["used"] == source["rows"] - sum(source["left_out"].values())
    assert sum(source["used"] for source in about.values()) == len(pool) + len(extra)
    assert [row["id"] for row in pool] == sorted(row["id"] for row in pool)
    texts = [{row["id"]: row["text"] for row in part} for part in (pool, extra)]
    return *texts, about


def left_out(folder, **arguments):
    """{reason: n} of the only file in a folder."""
    [about] = read(folder, **arguments)[2].values()
    return about["left_out"]


# ---- a body --------------------------------------------------------------------------------------

@pytest.mark.parametrize("quoted", [
    "-----Original Message-----\nFrom: x\nquoted", "  -----Original Message-----\nquoted",
    "---------------------- Forwarded by Ada/ALD on 01/02/2001 ------\nquoted",
    "-----Forwarded Message-----\nquoted", "Begin forwarded message:\n\nquoted",
    "From: Ada Vole\nSent: Monday\nTo: Bo\nCc: Cy\nSubject: Re: eels\n\nquoted",
    "From:\tAda\nTo:\tBo, Cy,\n\tDi,\n\tEd\ncc:\nSubject:\teels\nquoted",
    "Ada Vole@ALD\n01/31/2001 09:15 AM\nTo: Bo/ALD@ALD\ncc:\nSubject: eels\n\nquoted",
    "To: Bo\ncc: Cy\nbcc:\nSubject: eels\nquoted"])
def test_what_others_wrote_is_cut_off(quoted):
    assert mail_text.clean(f"Dear Bo,\nno eels.\n\n{quoted}\nmore quoted\n") == "Dear Bo,\nno eels."


def test_quoted_lines_blanks_and_control_characters_are_taken_out():
    text = ("One. \t\r\n> quoted\r\n  >> quoted\r\nTwo\x00\x07\ud800.\n\n\n\n\nOn Monday, Bo "
            "<bo@alderby.example> wrote:\n> quoted\nThree: cafe\u0301 --\n\x0c")
    assert mail_text.clean(text) == "One.\nTwo.\n\nThree: café --"
    kept = "To: be or not\n--\nFrom: here on, 5 > 4.\nSubject to change -- Ada"
    assert mail_text.clean(kept) == kept


def test_pieces_are_at_most_as_many_as_tokens():
    gpt_neox = pre_tokenizers.ByteLevel(add_prefix_space=False)
    draw = random.Random(0)
    alphabet = ["a", "B", "é", "ß", "7", "½", "²", "_", "'", "'s", "'ll", " ", "  ", "\n", "\t",
                "\n\n", ".", "--", "€", "x", " y", "\u2028", "中"]
    for _ in range(500):
        text = "".join(draw.choices(alphabet, k=40)).strip()
        tokens = gpt_neox.pre_tokenize_str(text)
        assert len(mail_text.PIECE.findall(text)) <= len(tokens), text
    assert mail_text.PIECE.findall("don't  go, 25 m") == [
        "don", "'t", "  ", "go", ",", "25", "m"]


def test_no_mail_takes_for_ever_to_clean():
    start = time.process_time()
    for part in (" ", "-", "\n", "From: a\n", "To: a\n", "01/02/2001 10:11 AM\n", "1/", ">", "On "):
        mail_text.usable("x" + part * (10 ** 5 // len(part)) + "x -- subject:", P * 100)
    assert time.process_time() - start < 5


def message(text, charset="utf-8", **headers):
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "ada@alderby.example", "eels"
    mail.set_content(text, charset=charset)
    for key, value in headers.items():
        mail.replace_header(key, value)
    return mail


def test_bodies_of_rfc_822():
    both = message("plain café\n", "iso-8859-1")
    both.add_alternative("<p>html</p>", subtype="html")
    both.add_attachment("attached", filename="a.txt")
    assert mail_text.body(both.as_bytes()).strip() == "plain café"
    attached = (b"Content-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: text/plain\n"
                b"Content-Disposition: attachment; filename=a.txt\n\nattached\n--B\n"
                b"Content-Type: text/plain\n\nmine\n--B--\n")
    assert mail_text.body(attached) == "mine"
    raw = b"From: a\nContent-Type: text/plain; charset=%s\nContent-Transfer-Encoding: %s\n\n%s"
    for charset, encoding, data, text in [
            (b"us-ascii", b"7bit", "caf\xe9 \u2019".encode("cp1252"), "café ’"),
            (b"us-ascii", b"7bit", "café ’".encode(), "café ’"),
            (b"iso-8859-1", b"quoted-printable", b"caf=E9 =\nau lait", "café au lait"),
            (b"utf-8", b"base64", b"Y2Fmw6k=", "café"),
            (b"koi8-r", b"8bit", "угорь".encode("koi8-r"), "угорь"),
            (b"iso-2022-jp", b"7bit", "うなぎ".encode("iso-2022-jp"), "うなぎ"),
            (b"no-such-charset", b"8bit", b"caf\xe9", "café"),
            (b"rot13", b"7bit", b"eel", "eel"),
            (b"utf-8", b"base64", b"\xff\xfe!!", None)]:
        got = mail_text.body(raw % (charset, encoding, data))
        assert got == text or text is None and isinstance(got, str)
    assert mail_text.body(b"Subject: x\nContent-Type: text/html\n\n<p>hi</p>") is None
    assert mail_text.body(b"\xff\x00: x\nContent-Type: text/plain; charset*=\xff'%\n\nhi") != ""
    assert mail_text.body(b"") == ""


def test_short_wordless_and_unreadable_mails_are_left_out_and_counted(tmp_path):
    texts = [words(1), words(2, P), words(3, P - 1), "", ". " * 200, "x \ufffd" * 60]
    own(tmp_path, texts)
    pool, _, about = read(tmp_path)
    assert pool == {"mails/0": words(1), "mails/1": words(2, P)}
    assert about == {"mails.jsonl": {"rows": 6, "used": 2, "left_out": {
        f"shorter than {P} pieces": 2, "hardly any words": 1, "no readable plain text": 1}}}


def test_of_a_long_mail_the_first_four_windows_are_kept(tmp_path):
    own(tmp_path, [words(1, 1000)])
    assert read(tmp_path)[0] == {"mails/0": words(1, 4 * P)}


def test_secrets_are_kept_where_cleaning_did_not_move_them(tmp_path):
    text = words(1)
    own = [{"id": 0, "text": text, "secrets": [[2, 9], [len(text) - 3, len(text)]]},
           {"id": 1, "text": f" {words(2)}", "secrets": [[2, 9]]},  # the blank is cut off
           {"id": 2, "text": words(3, 900), "secrets": [
               [0, 3], [1110, 1125], [6000, 6010]]},  # cut to 160 words of 6 letters
           {"id": 3, "text": words(4)}]
    put(tmp_path / "mails.jsonl", jsonl(own))
    pool, _ = mail.bodies(raw_folder.Raw(tmp_path), pieces=P)
    assert [row.get("secrets") for row in pool] == [
        [[2, 9], [len(text) - 3, len(text)]], [], [[0, 3]], None]
    for wrong in ([2, 9], [[2]], [[9, 2]], [[0, 10 ** 6]], [["2", 9]], "2"):
        put(tmp_path / "mails.jsonl", jsonl([own[3], own[1] | {"secrets": wrong}]))
        with pytest.raises(ValueError, match="mails.jsonl:2: 'secrets' is not a list of"):
            mail.bodies(raw_folder.Raw(tmp_path), pieces=P)


# ---- files ---------------------------------------------------------------------------------------

def mails(n=3):
    return {f"user-{k}/deep/er/folder/{k}.": (HEAD.format(k) + words(k)).encode()
            for k in range(n)}


def archive(members, mode="w:gz"):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as tar:
        for name in ("maildir", "maildir/user-0"):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def cmu_forms(folder):
    """The same three mails in every form that the CMU archive is found in."""
    inside = {f"./maildir/{name}": content for name, content in mails().items()}
    put(folder / "tar/enron_mail_20150507.tar.gz", archive(inside | {"README": b"no mail"}))
    put(folder / "plain/x/y/enron_mail_20150507.tar", archive(inside, "w"))
    for name, content in mails().items():
        put(folder / "unpacked/x/enron/maildir" / name, content)
        put(folder / "itself/maildir" / name, content)
    text = io.StringIO()
    csv.writer(text).writerows([("file", "message"), *(
        (name, content.decode()) for name, content in mails().items())])
    put(folder / "kaggle/emails.csv", text.getvalue(), zipped=True)
    return [folder / "tar", folder / "plain", folder / "unpacked", folder / "itself/maildir",
            folder / "kaggle"]


def test_every_form_of_the_cmu_archive_gives_the_same_rows(tmp_path):
    forms = [read(folder) for folder in cmu_forms(tmp_path)]
    for pool, extra, about in forms:
        assert pool == {f"cmu/{name}": words(k) for k, name in enumerate(mails())}
        assert not extra and [source["rows"] for source in about.values()] == [3]
    assert [list(about)[0] for *_, about in forms] == [
        "enron_mail_20150507.tar.gz", "x/y/enron_mail_20150507.tar", "x/enron/maildir", ".",
        "emails.csv.gz"]


def test_all_sources_are_read_together(tmp_path):
    put(tmp_path / "aeslc.jsonl", jsonl([{"id": "vole-a_1", "body": words(1), "subject": "s"}]),
        zipped=True)
    put(tmp_path / "old/x.subject", words(99) + "\n\n@subject\neels\n")
    put(tmp_path / "berkeley_labelled_raw.jsonl",
        jsonl([{"id": "7", "raw": HEAD.format(7) + words(2) + " café", "cats": []}]))
    own(tmp_path, [words(3)])
    put(tmp_path / "box/a.eml", HEAD.format(1) + words(4))
    put(tmp_path / "box/b.EML", message(words(5), "iso-8859-1").as_bytes(), zipped=True)
    put(tmp_path / "c.mbox", f"From ada Mon\n{HEAD.format(2)}{words(6)}\n\nFrom bo Tue\n"
        f"{HEAD.format(3)}\n>From here on\nFrom there on\n{words(7)}\n")
    put(tmp_path / "pile_test_enron.jsonl", jsonl([{"id": 0, "text": words(8)}]), zipped=True)
    put(tmp_path / "maildir/user/1.", HEAD.format(9) + words(9))
    raw = raw_folder.Raw(tmp_path)
    pool, extra = mail.bodies(raw, pieces=P)
    assert {row["id"]: row["text"] for row in pool} == {
        "aeslc/vole-a_1": words(1), "labelled/7": words(2) + " café", "mails/0": words(3),
        "eml/box/a.eml": words(4), "eml/box/b.EML": words(5), "mbox/c.mbox/0": words(6),
        "mbox/c.mbox/1": f"From here on\nFrom there on\n{words(7)}", "cmu/user/1.": words(9)}
    assert [(row["id"], row["source"]) for row in extra] == [("pile/0", "pile")]
    assert {path: source["rows"] for path, source in raw.sources.items()} == {
        "aeslc.jsonl.gz": 1, "berkeley_labelled_raw.jsonl": 1, "mails.jsonl": 1, "box": 2,
        "c.mbox": 2, "pile_test_enron.jsonl.gz": 1, "maildir": 1}
    assert raw.notes == ["read aeslc.jsonl, not the *.subject files"]
    (tmp_path / "aeslc.jsonl.gz").unlink()
    assert read(tmp_path)[0]["aeslc/x"] == words(99)
    put(tmp_path / "new/x.subject", words(98) + "\n\n@subject\neels\n")
    with pytest.raises(ValueError, match="two emails have the id 'aeslc/x'"):
        read(tmp_path)


def test_a_later_run_sees_what_has_changed(tmp_path):
    put(tmp_path / "box/a.eml", HEAD.format(1) + words(1))
    put(tmp_path / "maildir/user/1.", HEAD.format(2) + words(2))
    raw = raw_folder.Raw(tmp_path)
    mail.bodies(raw, pieces=P)
    before = {"sources": raw.sources, "looked_for": raw.looked_for}
    assert raw_folder.Raw(tmp_path).changes(before) == []
    before["looked_for"][""] = None  # a manifest that somebody edited
    assert raw_folder.Raw(tmp_path).changes(before) == []
    put(tmp_path / "maildir/user/1.", HEAD.format(2) + words(3))
    put(tmp_path / "box/b.mbox", "From a\n")
    put(tmp_path / "box/a.eml", HEAD.format(3) + words(1))
    changes = "; ".join(raw_folder.Raw(tmp_path).changes(before))
    assert re.fullmatch(r"\*\.mbox was absent, is 1 files \(\w+\); content of box; "
                        "content of maildir", changes)


@pytest.mark.parametrize("name, content, match", [
    ("aeslc.jsonl.gz", gzip.compress(jsonl([{"id": "a", "body": words(1)}]).encode())[:-9],
     r"aeslc.jsonl.gz:\d+: damaged or truncated gzip"),
    ("a.eml.gz", gzip.compress(words(1).encode())[:-9], "a.eml.gz: damaged or truncated gzip"),
    ("enron_mail_20150507.tar.gz", archive({"maildir/1.": words(1, 9999).encode()})[:-99],
     "tar.gz: damaged or truncated gzip"),
    ("enron_mail_20150507.tar.gz", gzip.compress(archive({"maildir/1.": b"x" * 9000}, "w")[:3000]),
     r"tar.gz: damaged or truncated tar"),
    ("enron_mail_20150507.tar", archive({"maildir/1.": b"x" * 512}, "w")[:2048],
     r"tar: damaged or truncated tar"),
    ("enron_mail_20150507.tar", archive({"maildir/1.": b"x", "maildir/2.": b"x"}, "w").replace(
        b"maildir/2", b"maildir/3"), r"tar: damaged or truncated tar"),
    ("enron_mail_20150507.tar.gz", b"", "tar.gz: damaged or truncated tar"),
    ("enron_mail_20150507.tar.gz", b"mail " * 999, "tar.gz: damaged or truncated tar"),
    ("enron_mail_20150507.tar.gz", archive({"mails/1.": b"x"}), "no email below maildir/"),
    ("enron_mail_20150507.tar.gz", archive({f"{a}maildir/1.": b"x" for a in ("", "./")}),
     "two emails have the id 'cmu/1.'"),
    ("emails.csv", "text,spam\nx,1\n", r"emails.csv:1: expected the header file,message"),
    ("emails.csv", "file,message\na,b\na,b,c\n", r"emails.csv:3: 3 columns, expected 2"),
    ("emails.csv", "file,message\na,b\na,secret\rb\n", r"emails.csv:3: new-line character seen in"),
    ("a.mbox", "Dear Bo,\n", r"a.mbox:1: not an mbox file"),
    ("mails.jsonl", jsonl([{"id": 1, "text": 5}]), r"mails.jsonl:1: expected an id and a string"),
    ("mails.jsonl", jsonl([{"text": "secret"}]), r"mails.jsonl:1: expected an id"),
    ("mails.jsonl", jsonl([{"id": k, "text": ""} for k in ("1", 1)]), "two emails have the id")])
def test_damaged_files_are_one_line_that_quotes_no_mail(tmp_path, name, content, match):
    put(tmp_path / name, content)
    with pytest.raises(ValueError, match=match) as caught:
        read(tmp_path)
    said = str(caught.value)
    assert "\n" not in said and str(tmp_path) in said and "secret" not in said


def test_without_mails_the_sources_are_named(tmp_path):
    put(tmp_path / "pile_test_enron.jsonl", jsonl([{"id": 0, "text": words(8)}]))
    with pytest.raises(ValueError, match="did not find emails.*AESLC.*cs.cmu.edu.*put it there"):
        read(tmp_path)
    own(tmp_path, [words(1)])
    with pytest.raises(ValueError, match="no email there has a body of 1000 pieces"):
        read(tmp_path, pieces=1000)
    with pytest.raises(ValueError, match="--raw not given.*did not find emails"):
        mail.bodies(raw_folder.Raw())


# ---- duplicates and groups -----------------------------------------------------------------------

def test_of_equal_mails_one_is_kept(tmp_path):
    text = words(1)
    own(tmp_path, [text, text.upper(), text.replace(" ", ", "), f"\n\n{text} \n", words(2)])
    put(tmp_path / "a.eml", HEAD.format(1) + text)
    pool, _, about = read(tmp_path)
    assert len(pool) == 2
    assert about["."]["left_out"].get("equal to another", 0) + \
        about["mails.jsonl"]["left_out"]["equal to another"] == 4


@pytest.mark.parametrize("near", [
    lambda t: f"Dear Bo, {t}", lambda t: t + " " + words(7, 70), lambda t: words(7, 70) + " " + t,
    lambda t: t[:len(t) * 3 // 4] + words(7, 25),
    lambda t: re.sub(r"((?:\S+ ){12})\S+", r"\1eels", t)],
    ids=["greeting", "begins the other", "inside the other", "other end", "a word in 13 changed"])
def test_of_near_duplicates_one_is_kept(tmp_path, near):
    text = words(1)
    for k, texts in enumerate([[text, near(text)], [near(text), text]]):
        own(tmp_path / str(k), texts)
        assert left_out(tmp_path / str(k)) == {"near-duplicate": 1}


@pytest.mark.parametrize("shared, near", [(15, 0), (16, 1)])
def test_a_third_of_the_windows_sequences_is_near(tmp_path, shared, near):
    """A window of 40 words has 36 sequences of 5; 16 words have 12 of them, 15 have 11."""
    own(tmp_path, [words(1, 60), words(1, shared) + " " + words(2, 60)])
    assert left_out(tmp_path) == ({"near-duplicate": 1} if near else {})


def test_what_is_not_near_is_kept_and_likeness_does_not_chain(tmp_path):
    text = words(0, 400).split(" ")
    chain = [" ".join(text[20 * k:20 * k + 50]) for k in range(12)]  # each is near the next two
    own(tmp_path / "a", chain)
    assert 4 <= len(read(tmp_path / "a")[0]) < 12
    own(tmp_path / "b", [words(k) + " " + words("disclaimer", 15) for k in range(20)])
    assert left_out(tmp_path / "b") == {}


def test_a_third_of_either_window_makes_a_near_duplicate():
    """A window of 40 words has 36 sequences of five, n words in common have n - 4: 16 words are a
    third. Where every other piece is a comma, 20 words have 16 sequences: 10 words are a third."""
    other, later = words("other", 40), words("later", 80)
    for n, alike in ((16, True), (15, False)):
        shared = " ".join(other.split()[:n])
        assert mail.distinct([other, f"{words('x', 40 - n)} {shared}"], P) == [True, not alike]
        beyond = f"{later} {shared} {words('y', 20)}"  # of one's window in the other's text
        assert mail.distinct([beyond, other], P) == [True, not alike]
        assert mail.distinct([other, beyond], P) == [True, not alike]
    listed = " , ".join(words("list", 30).split())
    for n, alike in ((10, True), (9, False)):
        shared = " ".join(listed.split(" , ")[:n])
        assert mail.distinct([listed, f"{words('z', 50)} {shared}"], P) == [True, not alike]


def test_the_splits_are_drawn_from_the_pool_and_the_pile_is_only_tested(tmp_path):
    own(tmp_path, [words(k) for k in range(150)])
    own(tmp_path, [words(1000 + k) for k in range(5)], "pile_test_enron.jsonl")
    parts = privacy.prepare(raw_folder.Raw(tmp_path), emails=40, sequence_length=P, val=.2)
    sizes = {name: len(found) for name, found in parts.items()}
    assert sum(sizes.values()) == 125 + 5  # 40 are .4 of what is left of 125 without val
    assert sizes["weak"] == sizes["wts"] and abs(sizes["weak"] - 40) < 12
    sources = {name: {row["source"] for row in found} for name, found in parts.items()}
    assert sources == {name: {"mails", "pile"} if name == "test" else {"mails"} for name in parts}


def groups(folder, **arguments):
    pool, _ = mail.bodies(raw_folder.Raw(folder), pieces=P, **arguments)
    return {row["id"].removeprefix("mails/"): row["group"] for row in pool}


def test_a_shared_passage_makes_a_group_unless_it_is_everywhere(tmp_path):
    passage = words("passage", mail.PASSAGE)
    texts = [words(k, 60) for k in range(30 + mail.COMMON)]
    for k in (0, 1):
        texts[k] += f" {passage.upper() if k else passage}. {words(100 + k, 5)}"
    for k in (1, 2):
        texts[k] += " " + words("another", mail.PASSAGE)
    for k in (3, 4):
        texts[k] += " " + words("too short", mail.PASSAGE - 1)
    for k in range(10, 10 + mail.COMMON + 1):
        texts[k] += "\n--\n" + words("disclaimer", 2 * mail.PASSAGE)
    for k in range(30, 30 + mail.COMMON):
        texts[k] += " " + words("just so common", mail.PASSAGE)
    group = groups(own(tmp_path, texts))
    assert len(group) == 30 + mail.COMMON and group["0"] == group["1"] == group["2"]
    assert len(set(group.values())) == 28 + 1
    texts = [f"{words(k, 60)} {passage if k < mail.COMMON else ''}" for k in range(12)]
    assert len(set(groups(own(tmp_path / "few enough", texts)).values())) == 3


def test_the_pile_gives_way_to_the_pool(tmp_path):
    own(tmp_path, [words(k) for k in range(3)])
    near = "Dear Bo, " + words(1) + " " + words(50, 9)
    shared = words(60, 70) + " " + " ".join(words(2).split()[40:40 + mail.PASSAGE])
    own(tmp_path, [words(0), near, shared, words(70), words(70).upper()], "pile_test_enron.jsonl")
    pool, extra, about = read(tmp_path)
    assert list(pool) == ["mails/0", "mails/1", "mails/2"]
    assert len(extra) == 1 and extra.popitem()[1].lower() == words(70)
    assert about["pile_test_enron.jsonl"]["left_out"] == {
        "equal to another": 2, "near-duplicate": 1, "a passage of the pool": 1}


def test_the_order_of_rows_and_files_does_not_matter(tmp_path):
    rows = [{"id": f"m{k}", "text": words(k % 40, 60) + " " + words(k // 3, 12 + k % 9)}
            for k in range(90)]
    draw, results = random.Random(0), []
    for k in range(3):
        put(tmp_path / f"{k}/mails.jsonl", jsonl(rows))
        raw = raw_folder.Raw(tmp_path / str(k))
        results.append(mail.bodies(raw, pieces=P))
        assert raw.sources["mails.jsonl"]["left_out"]["near-duplicate"] > 20
        draw.shuffle(rows)
    assert results[0] == results[1] == results[2]


def test_so_many_mails_as_are_asked_for_are_in_each_half_and_the_piles_in_test_alone(tmp_path):
    """30 % val and 20 % trust: of 100 mails 50 are left, 40 % of them in each half."""
    own(tmp_path, [words(k, 60) for k in range(120)])
    own(tmp_path, [words(1000 + k, 60) for k in range(3)], "pile_test_enron.jsonl")
    parts = privacy.prepare(raw_folder.Raw(tmp_path), emails=20, sequence_length=P, val=.3,
                            trust=.2)
    assert {name: len(part) for name, part in parts.items()} == {
        "weak": 20, "wts": 20, "test": 10 + 3, "val": 30, "trust": 20}
    assert {name for name, part in parts.items() if "pile" in {r["source"] for r in part}} == {
        "test"}


def test_a_draw_is_seeded_nested_and_accounted_for(tmp_path):
    own(tmp_path, [words(k) for k in range(50)])
    small, large, other = (read(tmp_path, most=most, seed=seed)[0]
                           for most, seed in ((10, 0), (20, 0), (20, 1)))
    assert len(small) == 10 and small.keys() < large.keys() != other.keys()
    assert left_out(tmp_path, most=10) == {"not drawn": 40}
