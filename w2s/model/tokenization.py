"""Text to token ids, with the tokenizer of the model folder."""

import contextlib
import os
import sys

import numpy as np

AT_ONCE = 4096  # texts tokenised together: the tokenizer says more of each than is kept


def load_tokenizer(folder):
    """The tokenizer of a model folder; ValueError when tokenizer.json is missing or broken."""
    tokenizer = read_tokenizer(f"{folder}/tokenizer.json", "put the model's tokenizer.json there")
    tokenizer.no_padding()
    return tokenizer


def read_tokenizer(path, advice):
    """The tokenizer in a file. Raises ValueError that names it and ends with `advice`."""
    from tokenizers import Tokenizer
    if not os.path.isfile(path):  # a pipe would be waited for
        raise ValueError(f"{path}: no usable tokenizer (no such file); {advice}")
    try:
        with _quiet():
            return Tokenizer.from_file(str(path))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises bare Exception, and Rust's panics
        raise ValueError(f"{path}: no usable tokenizer, or not a tokenizer.json ({error}); {advice}"
                         ) from None


@contextlib.contextmanager
def _quiet():
    """Without what Rust writes to stderr before it raises a panic: a trace of its own stack."""
    sys.stderr.flush()
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def tokenize(tokenizer, texts, max_length):
    """list of N int32 arrays: the first max_length token ids of each text; never empty, a text
    without tokens becomes <|endoftext|> (id 0)."""
    tokenizer.enable_truncation(max_length)
    texts = list(texts)
    return [np.array(e.ids or [0], dtype=np.int32) for first in range(0, len(texts), AT_ONCE)
            for e in tokenizer.encode_batch(texts[first:first + AT_ONCE], add_special_tokens=False)]


def require_fit(columns, vocabulary, folder):
    """ValueError when a token id of the columns has no row in an embedding of `vocabulary` rows."""
    top = max(int(ids.max()) for column in columns.values() if isinstance(column, list)
              for row in column for ids in (row if isinstance(row, list) else [row]))
    if top >= vocabulary:
        raise ValueError(f"{folder}/tokenizer.json: gives token {top}, but the model has only "
                         f"{vocabulary}; it is another model's tokenizer")


def targets(rows, key, classes):
    """(N, classes) float32: one-hot of the integers in `key`, or the probabilities stored there."""
    values = np.array([row[key] for row in rows])
    if values.ndim == 1:
        return np.eye(classes, dtype=np.float32)[values]
    return values.astype(np.float32)


def vocabulary(path):
    """1 + the largest token id of a tokenizer.json. Raises ValueError when it is broken."""
    try:
        known = read_tokenizer(path, "give another").get_vocab(with_added_tokens=True)
    except ValueError as error:
        raise ValueError(f"{path}: not a usable tokenizer.json ({error})") from None
    if not known:
        raise ValueError(f"{path}: not a usable tokenizer.json (it has no tokens)")
    return 1 + max(known.values())
