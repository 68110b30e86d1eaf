"""docs/quickstart.md, command by command, on tiny inputs.

    python -m pytest -q -m "slow or not slow" tests/test_quickstart.py

Each part is run in a copy of the project, in its order. TINY says what stands for its models;
trainings are cut short; experiments but smoke's are planned (--dry-run), not run.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from w2s import prepare

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "quickstart.md").read_text()
PARTS = dict(part.split("\n", 1) for part in PAGE.split("\n## ")[1:])
TINY = {"EleutherAI/pythia-14m": "tiny-2x32", "EleutherAI/pythia-410m": "tiny-3x64"}
SHORT = {"train_weak.py": "--epochs 0.1 --max-length 48",
         "train_student.py": "--epochs 0.1 --max-length 48", "w2s.prepare data": "--limit 40"}
SBATCH = "#!/bin/sh\ncat > /dev/null\necho $$\n"
COMMANDS = ("bash ", "python ", "torchrun ", "cp ", "SBATCH_")


def commands(part):
    """The lines of a part that are to be typed."""
    lines = [line.strip() for line in part.splitlines() if line.startswith("    ")]
    assert all(line.startswith(COMMANDS) for line in lines), lines
    return lines


def tiny(line, world):
    """A command as it is run here."""
    for name, folder in TINY.items():
        line = line.replace(name, str(world / folder))
    for script, more in SHORT.items():
        if f"{script} " in line:
            line = f"{line} {more}"
    if "run_all.sh" in line and " smoke" not in line and "--dry-run" not in line:
        line = line.split(" #")[0] + " --dry-run"
    return line.replace("torchrun --nproc-per-node=4", "python")


@pytest.fixture(scope="module")
def home(world, tmp_path_factory):
    """A copy of the project, with raw files, own rows, and python and sbatch on its PATH."""
    home = tmp_path_factory.mktemp("quickstart")
    for path in (*ROOT.glob("*.py"), ROOT / "run_all.sh"):
        shutil.copy(path, home)
    shutil.copytree(ROOT / "w2s", home / "w2s", ignore=shutil.ignore_patterns(
        "__pycache__", "models"))
    (home / "w2s" / "models").symlink_to(ROOT / "w2s" / "models")
    for name in ("recipes", "tests", "docs"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(world / "raw", home / "raw")
    (home / "raw" / "sentences.jsonl").write_text("".join(
        f'{{"text": "the garden is {"warm" if n % 2 else "dull"} {n}", "label": {n % 2}}}\n'
        for n in range(120)))
    prepare.data(prepare.Data("fairness", str(home / "own" / "fairness"), str(world / "raw"),
                              limit=40))
    (home / "bin").mkdir()
    for name, text in (("python", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n'),
                       ("sbatch", SBATCH)):
        (home / "bin" / name).write_text(text)
        (home / "bin" / name).chmod(0o755)
    return home


def typed(line, home):
    """What a command prints, typed in the folder `home`."""
    env = {key: value for key, value in os.environ.items() if key != "W2S_FROM"}
    done = subprocess.run(["bash", "-c", line], cwd=home, capture_output=True, text=True, env={
        **env, "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
        "PYTHON": sys.executable, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("title", PARTS)
def test_every_command_of_a_part_works(title, home, world):
    lines = commands(PARTS[title])
    assert len(lines) >= 4
    for line in lines:
        out = typed(tiny(line, world), home)
        if "--dry-run" in tiny(line, world) and ">" not in line:
            assert "# report" in out and "train_student.py" in out, line


def test_the_six_people_are_served():
    assert len(PARTS) == 6
    for word in ("laptop, also a Mac", "one card", "an equation", "new property", "a cluster",
                 "selection method"):
        assert sum(word in title for title in PARTS) == 1, word


def test_no_command_of_the_page_is_left_out():
    """What is typed but stands elsewhere than in a line of its own: in a sentence, it is a name."""
    listed = [line for part in PARTS.values() for line in commands(part)]
    assert len(listed) == len(re.findall(r"^    (?:bash|python|torchrun|cp|SBATCH_)", PAGE, re.M))
