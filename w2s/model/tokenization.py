"""Text to token ids, with the tokenizer of the model folder."""

import contextlib
import os
import sys

import numpy as np

AT_ONCE = 4096  # texts per call: an encoding holds far more than its ids, and all would at once


def load_tokenizer(folder):
    """The tokenizer of a model folder; ValueError when tokenizer.json is missing or broken."""
    # batches pad by themselves (train/step.collator): a tokenizer that pads would hide the lengths
    tokenizer = read_tokenizer(f"{folder}/tokenizer.json", "put the model's tokenizer.json there")
    tokenizer.no_padding()
    return tokenizer


def read_tokenizer(path, advice):
    """The tokenizer in a file. Raises ValueError that names it and ends with `advice`."""
    from tokenizers import Tokenizer
    if not os.path.isfile(path):  # the library would wait for a pipe
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
    """Context without what Rust prints before it raises a panic: a trace of its own stack."""
    # it writes to file descriptor 2 itself, past sys.stderr
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
    """List of N int32 arrays: the first max_length token ids of each text. None is empty: a text
    without tokens becomes <|endoftext|> (id 0), since a model reads the state of a last token."""
    tokenizer.enable_truncation(max_length)
    texts = list(texts)
    return [np.array(e.ids or [0], dtype=np.int32) for first in range(0, len(texts), AT_ONCE)
            for e in tokenizer.encode_batch(texts[first:first + AT_ONCE], add_special_tokens=False)]


def require_fit(columns, vocabulary, folder):
    """ValueError when a token id of the columns has no row in an embedding of `vocabulary` rows."""
    # the lookup would fail too, but with an index error that names no file
    top = max(int(ids.max()) for column in columns.values() if isinstance(column, list)
              for row in column for ids in (row if isinstance(row, list) else [row]))
    if top >= vocabulary:
        raise ValueError(f"{folder}/tokenizer.json: gives token {top}, but the model has only "
                         f"{vocabulary}; it is another model's tokenizer")


def targets(rows, key, classes):
    """(N, classes) float32: one-hot of the integers in `key`, or the probabilities stored there."""
    # hard labels are integers, soft labels lists of K probabilities (deviation E8)
    values = np.array([row[key] for row in rows])
    if values.ndim == 1:
        return np.eye(classes, dtype=np.float32)[values]
    return values.astype(np.float32)


def vocabulary(path):
    """1 + the largest token id of a tokenizer.json. Raises ValueError when it is broken."""
    # not the number of tokens: ids may have gaps
    try:
        known = read_tokenizer(path, "give another").get_vocab(with_added_tokens=True)
    except ValueError as error:
        raise ValueError(f"{path}: not a usable tokenizer.json ({error})") from None
    if not known:
        raise ValueError(f"{path}: not a usable tokenizer.json (it has no tokens)")
    return 1 + max(known.values())
