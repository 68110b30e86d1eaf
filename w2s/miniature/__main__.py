"""A small world of our own, and the two base models that know it.

    python -m w2s.miniature world     --out data/miniature
    python -m w2s.miniature perturbed --out data/miniature
    python -m w2s.miniature pretrain                                     w2s/models/mini-*, anew
    python -m w2s.miniature pretrain --text FILE --shape pythia-14m --out models/own

`world` writes the raw files of a fictional town; `perturbed` those of adversarial robustness, when
its texts have been attacked (run_all.sh has the commands). `pretrain` draws text of the town and
pretrains the suite of base models on it; they are written to --out only if they pass the probes.
With --text it pretrains a model of any published shape on your own text. Killed, the same command
goes on. Each command explains its arguments: python -m w2s.miniature pretrain --help
"""

from dataclasses import dataclass

from w2s import config
from w2s.config import REQUIRED, arg


@dataclass(kw_only=True)
class World:
    out: str = arg(REQUIRED, "folder to write raw/ and world/ into")
    seed: int = arg(0, "draws the town's rows; its words and its people stay", low=0)


@dataclass(kw_only=True)
class Perturbed:
    out: str = arg(REQUIRED, "folder of `world`; the attacks' files are in its world/attacked")


@dataclass(kw_only=True)
class Pretrain:
    shape: str = arg(None, "mini-weak-small, mini-weak, mini-surrogate, mini-strong, "
                     "mini-strong-large; with --text real-2x32, real-2x64, real-4x192, real-6x256 "
                     "or a published shape (default: every mini; with --text pythia-14m)")
    layers: int = arg(None, "number of blocks (default: the shape's)", low=1)
    hidden: int = arg(None, "width (default: the shape's)", low=1)
    heads: int = arg(None, "attention heads (default: the shape's)", low=1)
    text: list[str] = arg([], "files, plain or .gz: .jsonl with `text`, else a document a line "
                          "(default: text of the town)")
    tokenizer: str = arg(None, "tokenizer.json (default: a byte-level BPE trained on the text)")
    vocabulary: int = arg(None, "tokens of a tokenizer that is trained (default: 2048; with --text "
                          "8192, real-* 4096)", low=300, high=2**20)
    out: str = arg(None, "folder of model folders, OUT/SHAPE (default: w2s/models; with --text "
                   "models/pretrained)", free=True)
    runs: str = arg("runs/pretrain", "folder of run folders, RUNS/SHAPE: log, checkpoint, the "
                    "trained model", free=True)
    documents: int = arg(None, "documents of the town that are drawn (default: the shape's)",
                         low=100, high=10**7)
    steps: int = arg(None, "optimizer steps (default: the shape's; with --text one pass)", low=1)
    passes: float = arg(None, "passes over the text, where --steps is not given", above=0,
                        high=1000)
    lr: float = arg(None, "peak learning rate, cosine to 0 (default: the shape's; with --text 1e-3,"
                    " from a width of 512 on 0.5 / width)", above=0)
    warmup: int = arg(100, "steps over which the learning rate rises, a tenth of all at most",
                      low=0)
    batch_size: int = arg(16, "windows in an optimizer step", low=1)
    length: int = arg(128, "tokens of a window", low=8, high=2**20)
    weight_decay: float = arg(0.05, "AdamW's weight decay", low=0)
    seed: int = arg(None, "draws the weights and the order of the windows (default: the shape's; "
                    "with --text 0)", low=0)
    device: str = arg("auto", "auto, cpu, cuda, cuda:N or mps")
    dtype: str = arg("float32", "arithmetic: float32, or bfloat16 (weights stay float32)")
    compile: str = arg("off", "torch.compile the step; auto: only where it pays",
                       choices=("auto", "on", "off"))
    save_every: float = arg(0.05, "write a checkpoint each time this fraction of the steps is done",
                            above=0, high=1, free=True)


def world(cfg):
    from w2s.miniature import world as files
    files.make(cfg.out, cfg.seed)


def perturbed(cfg):
    from w2s.miniature import world as files
    files.perturbed(cfg.out)


def pretrain(cfg):
    from w2s.miniature import recipe
    shapes = [cfg.shape] if cfg.shape else ["pythia-14m"] if cfg.text else list(recipe.MINI)
    for shape in shapes:
        recipe.run(cfg, shape)


COMMANDS = {"world": (world, World), "perturbed": (perturbed, Perturbed),
            "pretrain": (pretrain, Pretrain)}


if __name__ == "__main__":
    config.dispatch("python -m w2s.miniature", COMMANDS, __doc__)
