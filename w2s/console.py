"""What a program is started with, made safe: the file system's encoding, stdout and stderr."""

import contextlib
import errno
import io
import os
import sys


def utf8():
    """Start this program again in Python's UTF-8 mode where the file system's encoding is another:
    there a path could not be written down as it is given. Python switches to that
    mode by itself under LC_ALL=C, unless PYTHONUTF8=0 forbids it."""
    if not sys.flags.utf8_mode and sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"  # for the processes that it starts, too
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


class Stream(io.TextIOWrapper):
    """stdout or stderr whose reader may go away: then nobody reads, and the work goes on."""

    def write(self, text):
        try:
            return super().write(text)
        except OSError as error:
            self._unread(error)
            return len(text)

    def flush(self):
        try:
            super().flush()
        except OSError as error:
            self._unread(error)

    def _unread(self, error):
        # also of a full disk: what is held would fail again when the interpreter ends
        with contextlib.suppress(OSError):  # a stream without a file
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
        if error.errno not in (errno.EPIPE, errno.EIO):  # a pipe or a terminal that is gone
            raise error


def streams():
    """Make stdout and stderr streams that never stop the work: one that is closed is /dev/null, and
    a character that the console lacks is replaced. A file that we open must not get one of the
    numbers 0 to 2: what is printed would end up in it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, this one
    for name, errors in (("stdout", "replace"), ("stderr", "backslashreplace")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif stream is getattr(sys, f"__{name}__") and type(stream) is io.TextIOWrapper:
            setattr(sys, name, Stream(stream.buffer, stream.encoding, errors,
                                       line_buffering=name == "stderr" or stream.line_buffering))
