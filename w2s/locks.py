"""One process at a time works in a folder: a lock on its .lock, which ends with the process."""

import contextlib
import errno
import os
import sys
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system: folders are not locked
    fcntl = None

_held = {}  # {(device, inode) of a .lock: its open file, None where it cannot be locked}


def hold(folder):
    """Keep other processes out of a folder until this one ends; wait for one that is in it. However
    the folder is spelt or linked to, it is one: a process never waits for itself. Where the file
    system has no locks a warning says so, and work goes on. Returns True when it had to wait: what
    was read before may have changed."""
    waited = False
    while fcntl is not None and (handle := _open_lock(folder)):
        try:
            waited |= _lock(handle, folder)
        except OSError as error:  # Lustre without -o flock, NFS without a lock daemon, FUSE
            if not any(file is None for file in _held.values()):  # one warning for all folders
                print(f"warning: {folder}: the file system has no locks ({error.strerror}); do not "
                      "start two commands on one folder", file=sys.stderr)
            _held[_identity(handle)] = None
            handle.close()
            return waited
        with contextlib.suppress(OSError):  # else who held it deleted the folder meanwhile
            if os.path.samestat(os.stat(handle.name), os.fstat(handle.fileno())):
                _held[_identity(handle)] = handle  # released with the process, or by release()
                return waited
        handle.close()
    return waited


def _open_lock(folder):
    """The open .lock of a folder; None where this process holds it already, and where it cannot be
    opened: a finished run on a disk that is read only needs no lock."""
    path = Path(folder) / ".lock"
    try:
        handle = None if path.exists() and not path.is_file() else open(path, "a")
    except OSError:
        handle = None
    if handle is None:
        return None
    if _identity(handle) in _held:  # closing it releases nothing: flock is of what open() returned
        handle.close()
        return None
    return handle


def _lock(handle, folder):
    """Lock an open file. Returns True when it had to wait. Raises OSError where that cannot be."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
    print(f"{folder}: waiting for another process that works in this folder", flush=True)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return True


def _identity(handle):
    """(device, inode) of an open file: the same under every name of it."""
    status = os.fstat(handle.fileno())
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def holding(folder):
    """`hold` a folder for as long as the block runs."""
    before = {*_held}
    hold(folder)
    try:
        yield
    finally:
        for key in {*_held} - before:
            if handle := _held.pop(key):
                handle.close()


def release():
    """Let other processes into all the folders that this one holds."""
    while _held:
        handle = _held.popitem()[1]
        if handle:
            handle.close()
