"""What an experiment needs and what is there, before anything is computed: rows, models, time.

All that is missing is listed at once, with its address and its place.
"""

import subprocess
import sys
from pathlib import Path

from w2s import cards, hub, prepare
from w2s.commands import placed
from w2s.data import raw_folder

OWN = ("weak", "wts", "test")  # splits that own rows must have


def lacking(plan):
    """[task, ...] whose rows cannot be made; what is there and what is missing has been printed.
    plan: an Experiment. Rows that the program makes up are not looked for."""
    if plan.options.data:
        state = {task: own_rows(plan, task) for task in plan.tasks}
    elif plan.options.raw or plan.preset == "paper":
        raw = raw_folder.Raw(plan.raw)
        state = {task: raw_files(raw, task) for task in plan.tasks}
    else:
        return []
    for task, lines in state.items():
        for k, (_, text) in enumerate(lines):
            print(f"{'' if k else task:12}{text}", flush=True)
    return [task for task, lines in state.items() if not all(good for good, _ in lines)]


def raw_files(raw, task):
    """[(whether it can be had, text), ...] of the raw files that a task needs."""
    from w2s import tasks  # imports torch
    lines = []
    for need in tasks.load(task).NEEDS:
        if path := raw.one_of(need):
            lines.append((True, f"there: {path}"))
        elif need.public:
            names = ", ".join(need.public.files)
            lines.append((True, f"will be fetched: {need.public.repo} {names} "
                                f"({need.public.licence})"))
        else:
            place = raw.folder or "a folder, and give it as --raw"
            lines.append((False, f"MISSING: {need.what}{need.why}. Get it from {need.where}, put "
                                 f"it into {place}"))
    return lines


def own_folders(plan, task):
    """The folders of a task's rows in --data: one of all seeds, or one for each."""
    return list(dict.fromkeys(cell.D for cell in plan.each(lambda name: name == task)))


def own_rows(plan, task):
    """The same of the files of --data."""
    folders = own_folders(plan, task)
    absent = [f"{folder / part}.jsonl" for folder in folders for part in OWN
              if not any((folder / f"{part}.jsonl{end}").exists() for end in ("", ".gz"))]
    return [(False, f"MISSING: {path}") for path in absent] or [
        (True, f"there: {folder}") for folder in folders]


def require(plan, skip=False):
    """[task, ...] to leave out: with `skip` those whose rows are missing, else none (None: there is
    no flag that leaves tasks out). Raises ValueError where rows are missing without it, or of all
    tasks, and for a row of --data that its task's reader refuses."""
    missing = lacking(plan)
    rest = [task for task in plan.tasks if task not in missing]
    if missing and not (skip and rest):
        flag = f"say --tasks {','.join(rest)}" if skip is None else \
            f"add --skip-missing to go on with {', '.join(rest)}"
        advice = f", or {flag}" if rest else ""
        raise ValueError(f"files of {', '.join(missing)} are missing, see the list above; put them "
                         f"there{advice}")
    if missing:
        print(f"left out, as their files are missing: {', '.join(missing)}")
    for folder, task in ((folder, task) for task in rest for folder in own_folders(plan, task)):
        if plan.options.data:
            prepare.check(prepare.Check(task, str(folder)))
    return missing


def settings(plan):
    """ValueError for options that a command would refuse after others have run: --synonyms that
    cannot be read, --compile on where torch cannot compile."""
    options = plan.options
    if options.synonyms:
        from w2s.attacks import text  # imports numpy
        text.read_synonyms(placed(options.synonyms))
    cpu = options.device == "cpu" or not (cards.apple() or cards.visible())
    if options.compile == "on" and cpu:  # another process asks: it imports torch
        asks = "from w2s import device; device.pays_to_compile('on', device.torch.device('cpu'), 1)"
        done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True)
        if done.returncode:
            raise ValueError(done.stderr.strip().splitlines()[-1].removeprefix("ValueError: "))


def models(names, show=False):
    """Read the config.json of models, which is fetched where it is not there; with `show`, or where
    several are wrong, each has a line. Raises ValueError for those that do not exist or that we do
    not compute."""
    from w2s.model import families
    lines, wrong = [], {}
    for name in dict.fromkeys(map(str, names)):
        local = Path(name).is_dir()
        try:
            families.read(name if local else hub.snapshot(*hub.named(name), hub.SMALL,
                                                          lacking=hub.unnamed))
            lines.append(f"{'there' if local else 'from the hub'}: {name}")
        except ValueError as error:
            wrong[name] = str(error)
            lines.append(f"MISSING: {error}")
    if show or len(wrong) > 1:
        for k, text in enumerate(lines):
            print(f"{'' if k else 'models':12}{text}", flush=True)
    if len(wrong) > 1:
        raise ValueError(f"the models {', '.join(wrong)} cannot be had, see the list above")
    if wrong:
        raise ValueError(*wrong.values())
