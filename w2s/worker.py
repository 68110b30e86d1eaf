"""A process that runs one command after the other, each as if it had a process of its own.

w2s.scheduler starts it (`python -m w2s.worker`), sends commands through its standard input and gets
their exit codes back; what a command prints goes to the standard output that the process was given.
"""

import contextlib
import ctypes
import gc
import json
import os
import platform
import queue
import runpy
import signal
import sys
import threading
import time
import traceback
from multiprocessing import connection

from w2s import locks

GRACE = 10  # seconds in which an interrupted command must end by itself


def work():
    """Run what comes through standard input until it is closed."""
    pipe, log, todo = connection.Connection(os.dup(0)), os.dup(1), queue.SimpleQueue()
    # a command that reads its standard input must not take what is meant for this process
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which closes
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=listen, args=(pipe, todo), daemon=True).start()
    try:
        while True:
            pipe.send_bytes(b"%d" % alone(todo.get(), log))
    except (KeyboardInterrupt, OSError):
        os._exit(130)


def listen(pipe, todo):
    """Queue what comes; when the parent ends, for whatever reason, the running command is
    interrupted, so that nothing works on unseen."""
    try:
        while True:
            todo.put(json.loads(pipe.recv_bytes()))
    except (EOFError, OSError):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(130)


def emptied(stream):
    """Flush a stream. What a command has left in one that it closed is nobody's, and must not stand
    before the output of the next."""
    try:
        stream.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1 if stream is sys.stdout else 2)
        stream.flush()
        if null > 2:
            os.close(null)


def alone(words, log):
    """Run a command in this process as if it had one of its own; its exit code."""
    before = sys.argv, sys.path[:], dict(os.environ), os.getcwd(), signal.getsignal(signal.SIGTERM)
    code = 0
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = words, os.path.dirname(os.path.abspath(words[0]))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
        code = 1
    emptied(sys.stdout)  # what it printed stands before its error
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    emptied(sys.stderr)
    # a command may change all of these, and counts on the process being its own
    sys.argv, sys.path[:] = before[:2]
    os.environ.clear()
    os.environ.update(before[2])
    os.chdir(before[3])
    signal.signal(signal.SIGTERM, before[4])
    for stream in (1, 2):  # the last command may have pointed them at /dev/null
        os.dup2(log, stream)
    forget()
    return abs(code or 0)


def forget():
    """Drop what a command leaves in the process: locks, memory, compiled steps."""
    locks.release()
    gc.collect()
    if "torch._dynamo" in sys.modules:  # else compiling stops after a few different models
        sys.modules["torch._dynamo"].reset()
    # last: compiled steps and their graphs hold memory of a card
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
        with contextlib.suppress(RuntimeError):  # of a card that failed: the command has said so
            sys.modules["torch"].cuda.empty_cache()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    work()
