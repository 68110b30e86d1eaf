"""Hidden states beside a labels file: row i is line i, the metadata has the hash of the ids."""

import hashlib
import json
from pathlib import Path

from w2s import whatis
from w2s.rows import atomic


def states_of(path):
    """Path of the states beside a labels file: wts.jsonl -> wts.hidden.safetensors."""
    path = Path(path)
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".jsonl")
                          + ".hidden.safetensors")


def write_states(path, states, labelled):
    """Write states (N, D) float32, row i of the labelled row i, as safetensors' `save` would but
    without its two copies of them; the metadata has the sha256 of their ids."""
    import numpy as np  # here, so that commands without states do not wait for the import
    # the format: 8 bytes of length, a JSON header filled up to 8 bytes, then the numbers
    states = np.ascontiguousarray(states, "<f4")
    header = json.dumps({"__metadata__": {"ids": ids_digest(labelled)}, "hidden": {
        "dtype": "F32", "shape": states.shape, "data_offsets": [0, states.nbytes]}},
        separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with atomic(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.write(states)


def read_states(path, labelled):
    """The states (N, D) float32 of the rows of a labels file. Raises ValueError when they are
    damaged, not finite, or belong to other rows, or to the same in another order."""
    import numpy as np
    from safetensors import SafetensorError, safe_open
    if not Path(path).exists():
        raise ValueError(f"{path}: no such file; label the rows with label.py --hidden")
    whatis.special(path)
    try:
        with safe_open(path, "numpy") as file:
            states, digest = file.get_tensor("hidden"), (file.metadata() or {}).get("ids")
        if states.dtype != "float32" or states.shape[1:] == (0,):
            raise TypeError(f"numbers of {states.dtype} in the shape {states.shape}, expected "
                            "float32, (N, D)")
    except (SafetensorError, OSError, TypeError, AttributeError) as error:  # numpy has no bfloat16
        raise ValueError(f"{path}: damaged ({error}); delete it and label the rows with label.py "
                         "--hidden again") from None
    # states have no ids: in another order every row would get another row's state, silently
    if digest != ids_digest(labelled) or states.ndim != 2 or len(states) != len(labelled):
        raise ValueError(f"{path}: states of other rows, or in another order (the sha256 of the "
                         "ids differs); delete it and label the rows with label.py --hidden again")
    bad = np.flatnonzero(~np.isfinite(states).all(1))
    if len(bad):
        raise ValueError(f"{path}: the state of row {bad[0]} (id '{labelled[bad[0]]['id']}') is "
                         f"not finite ({len(bad)} such rows); the teacher overflows there: label "
                         "with another --dtype, or mend the file")
    return states


def ids_digest(labelled):
    """sha256 of the id column: one id a line, so that it depends on their order."""
    digest = hashlib.sha256()
    for row in labelled:
        digest.update(f"{row['id']}\n".encode())
    return digest.hexdigest()
