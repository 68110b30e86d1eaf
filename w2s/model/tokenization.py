"""Text to token ids, with the tokenizer of the model folder.

Pythia's tokenizer marks no beginning, and its <|endoftext|> is token 0. Of the models of
model/families.py config.json names the token that ends a text, and the tokenizer's post-processor
the tokens that begin one (`marks`, reading T30).
"""

import contextlib
import os
import sys

import numpy as np

from w2s.model import families

AT_ONCE = 4096  # texts per call: an encoding holds far more than its ids, and all would at once


def load_tokenizer(folder):
    """The tokenizer of a model folder; ValueError when tokenizer.json is missing or broken, or has
    more tokens than the model."""
    # batches pad by themselves (train/step.collator): a tokenizer that pads would hide the lengths
    tokenizer = read_tokenizer(f"{folder}/tokenizer.json", "put the model's tokenizer.json there")
    tokenizer.no_padding()
    if config := families.read(folder):
        # tokens that were added to it, of pictures for instance, may be the model's or not
        top = max(tokenizer.get_vocab(with_added_tokens=False).values(), default=0)
        if top >= config["vocab_size"]:
            raise ValueError(f"{folder}/tokenizer.json: has tokens up to {top}, but config.json "
                             f"says vocab_size {config['vocab_size']}; it is another model's "
                             "tokenizer")
        # what the post-processor puts before a text: <s> of Llama, <bos> of Gemma, none of Qwen
        encoded = tokenizer.encode("a")
        mask = encoded.special_tokens_mask
        first = encoded.ids[:mask.index(0)] if 0 in mask else []
        tokenizer.marks = first, families.end(config, folder)
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


def marks(tokenizer):
    """(tokens that begin a text, the token that ends one)."""
    return getattr(tokenizer, "marks", ([], 0))


def ending(ids, most, tokenizer):
    """The last `most` of the tokens (T,) of a text; those that begin it stay where others do."""
    n = len(marks(tokenizer)[0])
    if n and n < most < len(ids):
        return np.concatenate([ids[:n], ids[n - most:]])
    return ids[-most:]


def tokenize(tokenizer, texts, max_length, bare=False):
    """List of N int32 arrays: the first max_length token ids of each text, behind those that begin
    one unless `bare`. None is empty: a text without tokens becomes <|endoftext|> (`marks`), since a
    model reads the state of a last token."""
    begin, end = marks(tokenizer)
    begin = [] if bare else begin[:max_length - 1]
    tokenizer.enable_truncation(max_length - len(begin))
    texts = list(texts)
    return [np.array(begin + e.ids or [end], dtype=np.int32)
            for first in range(0, len(texts), AT_ONCE)
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
