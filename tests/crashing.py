"""Commands in processes that are killed, or whose disk is full, at the n-th change of a file.

    with Crashing() as crashing:
        crashing.run(folder, "train_weak", ["--task", ...], at=7, how="kill")

A server has torch imported and forks a process for each command: a kill costs a tenth of a second.
Its town is small and its figures are empty.
Changes are what Python reports to audit hooks (open to write, rename, remove, mkdir, rmdir), what
safetensors writes, and each line of a log; those of the command's folder are counted, from 1.

    kill    dies before the change
    half    the same, and a file that was being written has only its first half
    full    from this change on no file gets longer
"""

import fcntl
import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SECONDS = 120  # a command that takes longer hangs
PRELOAD = """torch torch.func torch._dynamo torch._inductor safetensors.torch tokenizers
numpy.random train_weak train_student train_ntf label evaluate attacks w2s.prepare w2s.report
w2s.training w2s.trust.baselines w2s.trust.ntf w2s.trust.selection w2s.report.figures
w2s.miniature.__main__ w2s.miniature.recipe
w2s.miniature.world w2s.attacks.text w2s.attacks.audit w2s.attacks.extraction
w2s.attacks.membership""".split()


class Ended(NamedTuple):
    """How a command ended."""
    code: int       # exit code, -9 when it was killed
    out: str
    err: str
    changes: list   # of files: "what path", in their order


class Crashing:
    """The server, for a with statement."""

    def __enter__(self):
        env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg",
               "TOKENIZERS_PARALLELISM": "false"}
        env.pop("W2S_DEBUG", None)
        self.process = subprocess.Popen([sys.executable, "-m", "tests.crashing"], cwd=ROOT,
                                        env=env, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_):
        self.process.communicate()

    def run(self, folder, command, argv, at=0, how="kill"):
        """Run `command`, a module or "module subcommand", in a folder; at=0: to its end."""
        self.process.stdin.write(json.dumps([str(folder), command, [*map(str, argv)], at, how])
                                 + "\n")
        self.process.stdin.flush()
        code, out, err, changes = json.loads(self.process.stdout.readline())
        return Ended(code, out, err, changes.splitlines())


def serve():
    """Answer each line of stdin, a command, with its exit code, output, errors and changes."""
    for name in PRELOAD:
        importlib.import_module(name)
    smaller()
    gc.freeze()  # else the collector of every child touches, and so copies, all that is loaded
    for line in sys.stdin:
        pipes = [os.pipe() for _ in range(3)]  # no files, whose sizes a full disk would limit
        child = os.fork()
        if not child:
            carry_out([write for _, write in pipes], *json.loads(line))
        for _, write in pipes:
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 1 << 20)  # holds all that a command says
            os.close(write)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = [open(read, encoding="utf-8", errors="replace").read() for read, _ in pipes]
        print(json.dumps([code, *said]), flush=True)


def smaller():
    """Make small, in this process, what takes seconds and changes nothing in how it is written."""
    import torch

    from w2s import runs
    from w2s.report import figures
    from w2s.miniature import school, world
    torch.set_num_threads(1)
    for size in ("CITIZENS", "REVIEWS", "RESTYLED", "DEMOS", "MAILS", "SUMS", "STONES", "CLEAN",
                 "VICTIMS"):
        setattr(world, size, 6)
    school.SOURCES = {name: (6, beasts) for name, (_, beasts) in school.SOURCES.items()}
    for name in ("draw", "lines", "changes"):
        setattr(figures, name, lambda *_: None)
    figures.save = lambda figure, file, kind: file.write(b"<svg></svg>")
    runs._commit = lambda: None  # asks git, thrice


def carry_out(pipes, folder, command, argv, at, how):
    """The command, in the process that was forked for it; does not return."""
    code = 99
    signal.alarm(SECONDS)
    for number, pipe in enumerate((os.open(os.devnull, os.O_RDONLY), *pipes[:2])):
        os.dup2(pipe, number)
    for number, name in ((1, "stdout"), (2, "stderr")):  # as a new process would have them
        setattr(sys, f"__{name}__", open(number, "w", encoding="utf-8", closefd=False))
        setattr(sys, name, getattr(sys, f"__{name}__"))
    try:
        from w2s import config
        os.chdir(folder)
        Changes(folder, pipes[2], at, how).watch()
        config.launch(*program(command), argv)
    except SystemExit as exit:
        code = exit.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def program(command):
    """(main, Config, text) of a command."""
    name, _, part = command.partition(" ")
    module = importlib.import_module(name)
    if name == "attacks":
        return module.command(part)
    main, Config = module.COMMANDS[part][:2] if part else (module.main, module.Config)
    return main, Config, module.__doc__


class Changes:
    """Counts the changes below a folder, and does at the n-th what `how` says."""

    def __init__(self, folder, log, at, how):
        self.home, self.at, self.how = os.path.realpath(folder) + os.sep, at, how
        self.log, self.count, self.unfinished = log, 0, set()

    def watch(self):
        from w2s import runs
        from w2s.model import checkpoint
        sys.addaudithook(self.heard)
        save_file, log = checkpoint.save_file, runs.Run.log

        def saving(tensors, path, *more):
            self.changed("save", path)
            save_file(tensors, path, *more)

        def logging(run, **entry):
            self.changed("log", run.out / "log.jsonl", run)
            log(run, **entry)
        checkpoint.save_file, runs.Run.log = saving, logging

    def heard(self, event, args):
        """An audit event; what changes nothing is left out."""
        if event == "open":
            if isinstance(args[0], (str, bytes, os.PathLike)) and args[2] & (
                    os.O_WRONLY | os.O_RDWR):
                path = self.place(args[0])
                if not (args[2] & os.O_APPEND and os.path.exists(path)):
                    self.changed("write", path)
        elif event == "os.rename":
            self.changed("rename", self.place(args[0], args[2]))
        elif event in ("os.remove", "os.rmdir"):
            path = self.place(*args)
            if os.path.lexists(path):
                self.changed(event[3:], path)
        elif event == "os.mkdir":
            path = self.place(args[0], args[2])
            if not os.path.lexists(path):
                self.changed("mkdir", path)
        elif event in ("os.link", "os.symlink", "os.truncate"):
            self.changed(event[3:], self.place(args[0]))

    def place(self, path, folder=-1):
        """A path in full; folder: a descriptor that it is relative to."""
        path = os.fsdecode(path)
        return os.path.abspath(path if folder == -1 else os.path.join(
            os.readlink(f"/proc/self/fd/{folder}"), path))

    def changed(self, what, path, run=None):
        """Before the change `what` of a path."""
        path = self.place(path)
        if not path.startswith(self.home):
            return
        self.count += 1
        os.write(self.log, f"{what} {path[len(self.home):]}\n".encode())
        if self.count == self.at:
            self.strike(path, run)
        if what in ("write", "save"):
            self.unfinished.add(path)
        else:
            self.unfinished.discard(path)

    def strike(self, path, run):
        if self.how == "full":
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            return
        if self.how == "half":
            for path in filter(os.path.isfile, [*self.unfinished]):
                os.truncate(path, os.path.getsize(path) // 2)
            if run:
                run._log.write('{"step": ')
                run._log.flush()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve()
