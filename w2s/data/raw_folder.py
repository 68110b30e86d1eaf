"""The folder of raw files (--raw): what is there, what is fetched, what was read of it.
"""

import csv
import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from w2s import hub, rows
from w2s.data.splits import digest

DEPTH = 3  # folders below --raw that are looked into
TREE = "maildir"  # taken as one file: half a million emails


# ---- the raw folder ------------------------------------------------------------------------------

class Public(NamedTuple):
    """Files of one dataset repository on the hub whose licence lets us fetch them. rows: how many
    they hold together; web: the publisher's address, where it is not the hub."""
    repo: str
    files: tuple
    licence: str
    rows: int
    web: str = ""


class Need(NamedTuple):
    """Files of which a task cannot do without one. what: as a message names them; where: to get
    them; names: of the files, "*" once for any letters; why they are not fetched, or what is
    fetched in their place."""
    what: str
    where: str
    names: tuple
    why: str = ""
    public: Public | None = None


class Raw:
    """A folder of raw files, found by name, plain or .gz, in any case, in subfolders too. Without a
    folder (None) nothing is found. A file that a task cannot do without it may `fetch`.

    sources: {path: {sha256, rows, used, left_out}} accounts for every row. looked_for:
    {name: path or None} records every search, so that a later run sees what has changed. notes:
    lines for the manifest. Paths are relative to the folder, or repository/file on the hub.
    Raises FileNotFoundError when there is no such folder.
    """

    def __init__(self, folder=None):
        self.folder = None if folder is None else Path(folder)
        if self.folder and not self.folder.is_dir():
            raise FileNotFoundError(2, "no such folder (--raw)", str(folder))
        # Listed once: a search is then a look into this table, not into the folder.
        self.files = _files_below(self.folder) if self.folder else {}
        self.sources, self.looked_for, self.notes = {}, {}, []
        self.public, self.fetched = None, {}  # fetched {path in the cache: name in public.files}

    def find(self, name):
        """Path of the file called `name` ("adult.csv", "sst2/train.tsv"; "/train.tsv" only in the
        folder itself), or None. Raises ValueError when two files at one depth have that name."""
        wanted = name.lower()
        matches = [p for p in self.files if f"/{p}" == wanted or
                   not name.startswith("/") and f"/{p}".endswith(f"/{wanted}")]
        # Of several the one nearest to the folder is meant.
        depth = min((p.count("/") for p in matches), default=0)
        matches = [self.files[p] for p in matches if p.count("/") == depth]
        if len(matches) > 1:
            raise ValueError(f"{self.folder}: which is {name}, {' or '.join(sorted(matches))}? "
                             "Leave one of them there")
        # Recorded also when it is absent: a file that appears later changes what is read.
        self.looked_for[name] = matches[0] if matches else None
        return self.folder / matches[0] if matches else None

    def first(self, *names):
        """The first of `names` that is there, or None; a note says which others were not read."""
        present = {name: path for name in names if (path := self.find(name))}
        chosen, *unread = list(present.values()) or [None]
        if unread:
            self.notes.append(f"read {self._name(chosen)}, "
                              f"not {', '.join(map(self._name, unread))}")
        return chosen

    def every(self, suffix, prefix=""):
        """Paths of all files whose name begins with `prefix` ("aime") and ends with `suffix`
        (".eml"), sorted."""
        # Of thousands of names the manifest needs their number and one digest.
        paths = sorted(path for name, path in self.files.items()
                       if name.endswith(suffix) and name.rpartition("/")[2].startswith(prefix))
        self.looked_for[f"{prefix}*{suffix}"] = (
            f"{len(paths)} files ({digest(*paths)})" if paths else None)
        return [self.folder / path for path in paths]

    def one_of(self, need):
        """The path of the first file of a Need that is there, None."""
        for name in need.names:
            start, star, end = name.partition("*")
            path = next(iter(self.every(end, start)), None) if star else self.find(name)
            if path:
                return path
        return None

    def fetch(self, need, public=None):
        """Fetch the files of `public` (need.public), which stand in for those of a Need: their
        paths in huggingface_hub's cache. Raises the ValueError of `missing`, with the reason, when
        they cannot be had."""
        self.public = public = public or need.public
        for name in public.files:
            print(f"fetching {public.repo}/{name} ({public.licence})", flush=True)
            try:
                path = hub.web(public.web + name) if public.web else hub.file(public.repo, name)
                self.fetched[path] = name
            except ValueError as error:  # what hub raises for any file that it cannot bring
                # 401 and 403: the repository is gated, and a person has to accept its conditions.
                gate = (f"; accept the conditions of https://huggingface.co/datasets/{public.repo} "
                        "and set HF_TOKEN") if re.search(r"\b40[13] ", str(error)) else ""
                why = f" and could not fetch it: {error}{gate}"
                raise self.missing(need, why) from error
        return list(self.fetched)

    def missing(self, need, why=None):
        """The ValueError, to be raised, for a Need that is not there: what was looked for, why it
        was not fetched either (need.why), and where to get it."""
        place, advice = ((self.folder, "put it there") if self.folder else
                         ("--raw not given", "pass its folder as --raw"))
        return ValueError(f"{place}: did not find {need.what} (plain or .gz, in the folder or up "
                          f"to {DEPTH} below){why or need.why}; get it from {need.where} and "
                          f"{advice}")

    def account(self, path, count, left_out=()):
        """Enter a file that was read into `sources`: `count` rows, of which left_out
        {reason: n} were not used."""
        left_out = {reason: n for reason, n in sorted(dict(left_out).items()) if n}
        self.sources[self._name(path)] = {
            "sha256": _sha256(path), "rows": count, "used": count - sum(left_out.values()),
            "left_out": left_out}
        if path in self.fetched:
            name = self.fetched[path]
            # The hub's cache is snapshots/<commit>/<file>: the commit is as high up as the file
            # is deep in its repository.
            origin = {"address": self.public.web + name} if self.public.web else {
                "repo": self.public.repo, "file": name,
                "commit": path.parents[name.count("/")].name}
            self.sources[self._name(path)] |= {**origin, "licence": self.public.licence}

    def surprise(self):
        """A warning when the fetched files do not hold as many rows as they should, or None: their
        publisher may have changed them."""
        count = sum(self.sources[self._name(path)]["rows"] for path in self.fetched)
        if self.fetched and count != self.public.rows:
            return f"{self.public.repo}: read {count} rows, expected {self.public.rows}"

    def changes(self, manifest):
        """Phrases on what differs from the raw files that a manifest was made from."""
        changed = []
        # The same searches again, by the names that the manifest has: no task is imported.
        for name, before in manifest.get("looked_for", {}).items():
            prefix, star, suffix = name.partition("*")
            self.every(suffix, prefix) if star else self.find(name)
            current = self.looked_for[name]
            if current != before:
                changed.append(f"{name} was {before or 'absent'}, is {current or 'absent'}")
        for path, source in manifest.get("sources", {}).items():
            file = self.folder and self.folder / path  # one that is gone is found by its search
            if file and file.exists() and _sha256(file) != source.get("sha256"):
                changed.append(f"content of {path}")
        return changed

    def _name(self, path):
        """A file's key in `sources`, the same on every machine."""
        if path in self.fetched:
            return f"{self.public.repo}/{self.fetched[path]}"
        return path.relative_to(self.folder).as_posix()


def stem(path):
    """The file's name without .gz and without its last suffix."""
    return Path(path.name.removesuffix(".gz").removesuffix(".GZ")).stem


def table(path, delimiter=",", quoting=csv.QUOTE_MINIMAL, end=""):
    """Yield (line number, fields) of a csv or tsv file, blanks around a field removed. end: what
    stands between the lines of a quoted field. Raises ValueError `path:line: ...` for an empty
    file, a damaged line, or a blank line before the last."""
    reader = csv.reader((line + end for line in rows.lines(path)), delimiter=delimiter,
                        quoting=quoting)
    blank, n = None, 0
    try:
        for fields in reader:
            n = reader.line_num  # a quoted field may have several lines: not a count of rows
            if not any(map(str.strip, fields)):
                blank = blank or n  # an error only if a row follows
                continue
            if blank:
                raise ValueError(f"{path}:{blank}: an empty line")
            yield n, [field.strip() for field in fields]
    except csv.Error as error:
        raise ValueError(f"{path}:{n + 1}: {error}") from None
    if not n or blank == 1:
        raise ValueError(f"{path}:1: the file is empty")


def _sha256(path):
    """Hex digest of a file, or of the names and contents of all files below a folder (maildir)."""
    if not path.is_dir():
        return rows.sha256(path)
    hasher = hashlib.sha256()
    for place, folders, names in os.walk(path):
        folders.sort()  # os.walk follows this order: the digest is that of the content alone
        for name in sorted(names):
            file = Path(place, name)
            hasher.update(f"{file.relative_to(path).as_posix()} {rows.sha256(file)}\n".encode(
                errors="surrogateescape"))
    return hasher.hexdigest()


def _files_below(folder):
    """{lower-case relative path without .gz: relative path}; of a plain and a gzipped file of one
    name the plain one. A folder called maildir counts as a file, however much is below it."""
    paths = []
    if folder.name.lower() == TREE:
        return {TREE: "."}
    for place, folders, names in os.walk(folder):
        relative = Path(place).relative_to(folder)
        names += [f for f in folders if f.lower() == TREE]
        # os.walk goes into what is left here: not into hidden folders, not deeper than DEPTH.
        folders[:] = [f for f in folders
                      if f[0] != "." and f.lower() != TREE and len(relative.parts) < DEPTH]
        paths += [(relative / name).as_posix() for name in names]
    paths.sort(key=lambda p: (p.lower().endswith(".gz"), p))
    # Reversed: of equal keys a dict keeps the last, and the plain file is sorted before the .gz.
    return {p.lower().removesuffix(".gz"): p for p in reversed(paths)}
