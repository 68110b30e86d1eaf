"""w2s: weak-to-strong trustworthiness and trust functions, in plain PyTorch.

The chapters, each importing only from those before it: files on disk, statistics, devices (the
modules here), model, data, train, dp, infer, trust, tasks, attacks, report; then what the scripts
call (training, prepare, mechanisms, scheduler, experiment) and the miniature.
tests/test_structure.py has the list.
"""

import importlib
import importlib.util
import sys

if sys.version_info < (3, 11):  # before any syntax that an older one does not know
    sys.exit("error: Python 3.11 or newer is needed; this is {}.{} ({})".format(
        *sys.version_info[:2], sys.executable))

MOVED = {  # names before version 0.2: they import the module of today, for one version
    "pythia": "model", "lora": "model.lora", "text": "model.tokenization", "splits": "data.splits",
    "mail": "data.mail", "questions": "data.questions", "step": "train.step", "grpo": "train.grpo",
    "losses": "train.losses", "accountant": "dp.accountant", "noise": "dp.noise",
    "predict": "infer.classify", "lm": "infer.lm", "ntf": "trust.ntf",
    "selection": "trust.selection", "fit": "training", "pool": "scheduler"}


class Moved:
    """Finder and loader: `import w2s.ntf` is the module w2s.trust.ntf."""

    def find_spec(self, name, path=None, target=None):
        new = MOVED.get(name.removeprefix("w2s."))
        return importlib.util.spec_from_loader(name, self) if new else None

    def create_module(self, spec):
        module = importlib.import_module("w2s." + MOVED[spec.name.removeprefix("w2s.")])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = module.__spec__.loader_state

    def get_code(self, name):
        """For `python -m w2s.pool`."""
        new = "w2s." + MOVED[name.removeprefix("w2s.")]
        return importlib.util.find_spec(new).loader.get_code(new)


sys.meta_path.append(Moved())


def names_of(package, *modules):
    """The __getattr__ of a package: a name of its modules, which are imported when it is asked."""
    def get(name):
        if name[:1] != "_" and importlib.util.find_spec(f"{package}.{name}") is None:
            for module in (importlib.import_module(f"{package}.{module}") for module in modules):
                if hasattr(module, name):
                    return getattr(module, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return get
