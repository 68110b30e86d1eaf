"""A run is a folder: config.json first, log and checkpoint while it trains, DONE last.

Finished with the same configuration: skipped. Unfinished: goes on. Changed: refused, saying what
changed. No torch here, so that skipping costs no import.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from w2s import code, hub, rows, whatis
from w2s.config import flag_of, follows
from w2s.locks import hold

CHECKPOINT = "checkpoint.safetensors"


def begin(out, script, settings, inputs, again=False):
    """Look at the run folder `out` before working in it; nothing is written yet.

    settings: the script's Config; inputs {argument name: path}. Returns the Run to start, or None
    when it is done already, unless `again`. Raises ValueError when the folder holds a run with
    other arguments or other inputs, FileNotFoundError when an input is missing.
    """
    out = Path(out)
    for name, path in inputs.items():
        if not Path(path).exists():
            raise FileNotFoundError(2, f"no such file or folder (--{name.split()[0]})", str(path))
        if os.path.realpath(out) == os.path.realpath(path):
            raise ValueError(f"--out {out}: is --{name} itself; choose another --out")
    if (out / "config.json").exists() and (wrong := whatis.no_run(out)):
        raise ValueError(f"{wrong.split(';')[0]}; choose another --out")
    now = {"script": script, "args": dataclasses.asdict(settings),
           "inputs": {str(path): rows.sha256(path) for path in inputs.values()}}
    # compared by content: a file may have been moved; "text 2" is the second of --text
    free = free_arguments(settings) | {name.split()[0] for name in inputs}
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: a file; choose another --out")
    if (out / "config.json").exists():
        if not follows():
            hold(out)
        _refuse_changes(out, read_config(out), now, free)
        if (out / "DONE").exists() and not again:
            if not follows():
                with contextlib.suppress(OSError):  # a disk that is read only
                    rows.remove(out / CHECKPOINT)  # killed behind DONE
            print(f"{out}: done already")
            return None
    elif out.is_dir() and any(p.name[0] != "." for p in out.iterdir()):
        raise ValueError(f"{out}: not empty and not a run (no config.json); choose another --out")
    # a run without a flag that came later is the run that it was before
    later = {f.name for f in dataclasses.fields(settings) if f.metadata.get("later")
             and now["args"][f.name] is None}
    return (Follower if follows() else Run)(out, now, identity(now, free | later))


def free_arguments(settings):
    """Names of the arguments of a Config that change nothing in the result."""
    return {"out", *(f.name for f in dataclasses.fields(settings) if f.metadata.get("free"))}


def identity(facts, free):
    """Hex digest of what a run is made of: script, arguments but the `free` ones, and contents of
    its inputs. Two runs that differ in any of these differ here; a run that is resumed has the
    digest that it had."""
    args = {key: value for key, value in facts["args"].items() if key not in free}
    parts = facts["script"], args, sorted(facts["inputs"].values())
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Run:
    """A run folder that is being worked in: start (config.json), log, finish (DONE)."""

    def __init__(self, out, facts, identity=""):
        self.out, self.facts, self.identity = out, facts, identity
        self.checkpoint = out / CHECKPOINT

    def start(self, **facts):
        """Hold the folder and write config.json: the arguments, and facts known only now."""
        self.out.mkdir(parents=True, exist_ok=True)
        if hold(self.out):  # `begin` looked before another process worked here: look again
            raise ValueError(f"{self.out}: another process made this run meanwhile; run the same "
                             "command again")
        rows.write_json(self.out / "config.json", self.facts | facts | {
            "folder": os.getcwd(), "versions": _versions(), "commit": _commit(),
            "code": code.digest(self.facts["script"], self.facts["args"].get("task", ""))})

    def log_from(self, step):
        """Open log.jsonl for the steps from `step` on; what a killed process wrote beyond its
        checkpoint is cut off, so that a resumed log equals an uninterrupted one."""
        path, entries = self.out / "log.jsonl", []
        if step and path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                # a kill or a full disk leaves half a line, which is no JSON
                with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                    if json.loads(line)["step"] < step:
                        entries.append(line + "\n")
        with rows.atomic(path) as file:
            file.writelines(entries)
        self._log = open(path, "a", encoding="utf-8")

    def log(self, **entry):
        """Append one object to log.jsonl, as a whole line."""
        try:
            self._log.write(json.dumps(entry) + "\n")
            self._log.flush()
        except OSError as error:  # of a full disk, which does not name the file
            raise OSError(error.errno, error.strerror, self._log.name) from None

    def finish(self):
        """Write DONE, then drop the checkpoint: killed in between, `begin` drops it."""
        self._log.close()
        with rows.atomic(self.out / "DONE"):
            pass
        rows.remove(self.checkpoint)


class Follower(Run):
    """A run in a process of torchrun that is not the first one: that one writes its files."""

    def _nothing(self, *args, **facts):
        pass

    start = log_from = log = finish = _nothing


def distinct(folders):
    """The folders, each once under the first of its names: links, relative paths and slashes at the
    end may name one folder several times."""
    names = {}
    for folder in folders:
        names.setdefault(os.path.realpath(folder), folder)
    return list(names.values())


def require_all(folders, task, relatives=False):
    """{run: its config} of finished runs, each once, in the order given. All are held, in an order
    that is the same in every process, so that two never wait in a ring. Raises ValueError as
    `require_done`."""
    configs = {run: require_done(run, task, relatives)
               for run in sorted(distinct(folders), key=os.path.realpath)}
    return {run: configs[run] for run in distinct(folders)}


CHOSEN = {"scoring": ("cloze", "letters"), "lm_loss": ("both", "continuation"),
          "adv_label": ("fw_x_adv", "fw_x"), "features": ("states", "both")}
AGAIN = "delete the folder and run again"
FACTS = {  # the shape of what is read again from a run's config.json, see rows.misfit
    "script": str, "folder": str, "inputs": {...: str}, "versions": {...: str}, "commit": str,
    "code": str, "args": {"max_length": int, **dict.fromkeys((
        "task", "model", "revision", "data", "labels", "teacher", *CHOSEN), str)},
    "parameters": rows.NUMBER, "lam": rows.NUMBER, "epochs": rows.NUMBER, "from_scratch": bool,
    "model_name": str,
    "privacy": {**dict.fromkeys(("epsilon", "delta", "sigma", "clip", "q"), rows.NUMBER),
                "steps": int, "rows": int, "accountant": str, "sampling": str, "noise_seed": str}}
CLAIM = {"delta": (0, 1), "sigma": (-1, 1e300), "clip": (0, 1e300), "q": (0, 1), "rows": (0, 2**53),
         "steps": (-1, 2 ** 53)}  # of the claim of a private run: (above this, at most that)


def facts_of(run):
    """config.json of a run folder, without what is null in it. Raises ValueError for a value of
    another kind than `Run.start` writes: a run may come from someone else, or be edited."""
    path = Path(run) / "config.json"
    facts = rows.present(rows.read_json(path, FACTS, AGAIN))
    args = rows.present(facts.get("args", {}))
    if "args" in facts:
        facts["args"] = args
    claim = facts.get("privacy", {})
    if claim and not all(claim.get(key) is not None and low < claim[key] <= high
                         for key, (low, high) in CLAIM.items()):
        raise ValueError(f"{path}: 'privacy' is no claim of a private run; {AGAIN}")
    for key, known in {"max_length": range(1, 2 ** 53), **CHOSEN}.items():
        if key in args and args[key] not in known:
            raise ValueError(f"{path}: 'args.{key}' is {rows.shown(args[key])}; {AGAIN}")
    return facts


def read_config(run):
    """`facts_of` a folder that is a run. Raises ValueError when Run.start did not write it."""
    facts = facts_of(run)
    if not {"args", "inputs"} <= facts.keys():
        raise ValueError(f"{Path(run) / 'config.json'}: not the configuration of a run; {AGAIN}")
    return facts


def encoding(task, args):
    """{flag: value} of the task's encode, as a run with these arguments was trained: {"scoring":
    ...} of mcqa."""
    return {key: args[key] for key in task.ENCODE if key in args}


def refuse_overwriting(outputs, inputs):
    """ValueError when a file that will be written is one that is read."""
    known = {os.path.realpath(path) for path in inputs}
    for path in outputs:  # as in label.py --run RUN --data RUN/labels/wts.jsonl
        if os.path.realpath(path) in known:
            raise ValueError(f"{path}: would be overwritten, and it is an input; copy it elsewhere "
                             "and give the copy")


def located(run, facts, path):
    """Where a relative path in a run's arguments leads now: from here, from where the run was made,
    or from a folder above it, if the whole was moved; None where nothing is there."""
    return next(filter(os.path.exists, _places(run, facts, path)), None)


def kept(run, facts, path):
    """`located` of a file that still has the content that the run was made from, or None."""
    digest = facts["inputs"].get(path)
    return next((place for place in _places(run, facts, path) if os.path.isfile(place)
                 and digest in (None, rows.sha256(place))), None)


def base(run, facts):
    """The folder of the model that a run was made from, fetched where it came from the hub."""
    name = str(facts["args"].get("model", ""))
    return located(run, facts, name) or hub.folder(name, facts["args"].get("revision"))


def _places(run, facts, path):
    """Where to look for a path in a run's arguments, the likeliest place first, each once."""
    home = facts.get("folder")
    above = [*Path(run).resolve().parents] if not os.path.isabs(path) else ()
    return dict.fromkeys(map(str, (path, *([os.path.join(home, path)] if isinstance(home, str)
                                           else ()), *(folder / path for folder in above))))


def scratch(facts):
    """The remark behind a run's name: " (from scratch)" when nothing pretrained was fine-tuned."""
    return " (from scratch)" if facts.get("from_scratch") else ""


def require_there(run):
    """ValueError when the folder that is being worked in was removed meanwhile: what is written
    then would be a folder that no command knows."""
    if not (Path(run) / "config.json").is_file():
        raise ValueError(f"{run}: was removed while it was worked in; run the same command again")


def require_finished(run):
    """ValueError for a folder that is no finished run, saying what it is."""
    run = Path(run)
    if wrong := whatis.no_run(run):
        raise ValueError(wrong)
    if not (run / "DONE").exists():
        read_config(run)  # a damaged configuration is said first: training would refuse it too
        raise ValueError(f"{run}: this run is not finished; run the same training command again")


RELATED = ("mcqa", "arithmetic", "game")  # tasks that any language model can answer


def require_done(run, task, relatives=False):
    """The config of a finished run of `task`, or with `relatives` of a task whose models are
    language models where those of `task` are. Raises ValueError when the folder is not one."""
    run = Path(run)
    require_finished(run)
    if hold(run):  # whoever was in it may have deleted it
        require_finished(run)
    facts = read_config(run)
    name = facts["args"].get("task")
    related = relatives and name in RELATED and task in RELATED
    if name != task and not related:
        raise ValueError(f"{run}: a run of task '{name}', not of --task {task}")
    if "max_length" not in facts["args"]:
        raise ValueError(f"{run / 'config.json'}: no max_length; delete the folder and run again")
    return facts


def _refuse_changes(out, before, now, free):
    """ValueError that lists the arguments and inputs that differ from the run in the folder. Inputs
    are compared by content, so a moved file is no change; `free` arguments change no result. The
    same contents in other roles, the model's and the data's files exchanged, are a change."""
    changed = changed_arguments(before["args"], now["args"], free)
    if sorted(before["inputs"].values()) != sorted(now["inputs"].values()):
        changed += [f"content of {path}" for path, digest in now["inputs"].items()
                    if digest not in before["inputs"].values()]
    elif exchanged := [flag_of(key) for key in now["args"]
                       if None is not _content(before, key) != _content(now, key) is not None]:
        changed.append(f"the files of {' and '.join(exchanged)} exchanged")
    if before.get("script") != now["script"]:
        changed = [f"script {before.get('script')} -> {now['script']}"]
    if changed:
        raise ValueError(f"{out}: holds a run made with other settings ({'; '.join(changed)}); "
                         "choose another --out or delete the folder")


def changed_arguments(before, now, free=()):
    """["--flag old -> new", ...]: the arguments {name: value} that have another value now, but the
    `free` ones."""
    return [f"{flag_of(key)} {shown(before.get(key))} -> {shown(value)}"
            for key, value in now.items() if key not in free and before.get(key) != value]


def same_settings(before, now):
    """Whether two {name: value} say the same; what is null is as what is not there."""
    return rows.present(before) == rows.present(now)


def _content(facts, key):
    """Digest of the input that an argument names; None where it names none."""
    return facts["inputs"].get(str(facts["args"].get(key)))


def shown(value):
    """A setting for a message."""
    return "the default" if value is None else \
        value if isinstance(value, str) else rows.shown(value)


def _versions():
    """Versions of what the numbers depend on; None for a package that is not installed."""
    versions = {"python": platform.python_version()}
    for name in ("torch", "tokenizers", "safetensors", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _commit():
    """The git commit of the code, with + when files differ from it or .py files are there that it
    does not have; None outside a checkout."""
    here = Path(__file__).parent.parent
    commands = (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno"),
                ("ls-files", "--others", "--exclude-standard", "--", "*.py"))
    try:
        head, *differences = [
            subprocess.run(["git", "-C", here, *command], capture_output=True, text=True,
                           timeout=10) for command in commands]
    except (OSError, subprocess.TimeoutExpired):  # no git, or none that answers
        return None
    if head.returncode:
        return None
    return head.stdout.strip() + ("+" if any(git.stdout.strip() for git in differences) else "")
