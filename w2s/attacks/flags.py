"""What each attack can be asked for. No numpy here: plans are printed where none is installed."""

from dataclasses import dataclass

from w2s.config import REQUIRED, Reading, arg


@dataclass(kw_only=True)
class Attack(Reading):
    """What the attacks on language models have in common."""

    task: str = arg(REQUIRED, "task of the runs, one of language models: privacy")
    run: list[str] = arg(REQUIRED, "finished run folders, attacked one after the other")
    data: list[str] = arg(REQUIRED, "rows, those the runs were trained on and test.jsonl")
    members: str = arg(None, "rows that count as trained on (default: as config.json of each run "
                       "says)")
    limit: int = arg(None, "at most N rows of each file, the same for every run (default: all)",
                     low=1)


@dataclass(kw_only=True)
class Extraction(Attack):
    prefix: int = arg(32, "tokens of the prompt", low=1)
    suffix: int = arg(32, "tokens that the model writes and that are compared", low=1)
    start: int = arg(0, "the first window's first token", low=0)
    unseen_start: int = arg(None, "the second window's first token (default: --start + --prefix)",
                            low=0)
    seen: int = arg(64, "tokens of an email that students saw as they are (label.py --prefix): the "
                    "third window's prompt", low=1)
    curve: list[int] = arg([], "prompt lengths of extraction_at_K (default: a quarter, half and "
                           "all of --prefix)")
    samples: int = arg(0, "take the likeliest of N samples; 0: decode greedily", low=0,
                       high=10**6)
    temperature: float = arg(1.0, "of the samples", above=0)
    candidates: int = arg(200, "random secrets that a secret is ranked among; 0: no exposure",
                          low=0, high=10**6)
    seed: int = arg(0, "varies the samples, the candidates and the rows that --limit keeps", low=0)


@dataclass(kw_only=True)
class Membership(Attack):
    reference: str = arg(None, "model that was not fine-tuned, folder or hub name (default: the "
                         "--model of each run's training)")
    min_k: float = arg(0.2, "share of the tokens in min_k and min_kpp, at least one", above=0,
                       high=1)
    seen: int = arg(64, "students: tokens of an email they saw as they are (label.py --prefix)",
                    low=2)
    seed: int = arg(0, "varies the rows that --limit keeps and the bootstrap", low=0)


@dataclass(kw_only=True)
class Audit:
    run: list[str] = arg(REQUIRED, "finished runs of train_weak.py or train_student.py with "
                         "--canaries")
    task: str = arg("privacy", "task of the runs")
    confidence: float = arg(0.95, "probability with which the bound holds", low=0.5, high=0.999999)


@dataclass(kw_only=True)
class Text(Reading):
    task: str = arg(REQUIRED, "task of the runs, one with classes: fairness, ood, adversarial")
    run: list[str] = arg(REQUIRED, "finished run folders, attacked one after the other")
    data: str = arg(REQUIRED, "rows with ground truth (test.jsonl); text_adv is not needed")
    out: str = arg(None, "file of the flipped texts, for a single run (default: "
                   "RUN/attacks/<data>.jsonl)")
    methods: list[str] = arg([], "typos, synonyms, distraction (default: all; synonyms only if "
                             "there is a file of them)")
    synonyms: str = arg(None, "JSON file {word: [words]}; the first five of a word are tried")
    budget: float = arg(0.25, "share of a text's words that may change, at least one word",
                        above=0, high=1)
    limit: int = arg(None, "attack at most N rows, stratified by source (default: all)", low=1)
    seed: int = arg(0, "varies the typos and which rows --limit keeps", low=0)
    batch_size: int = arg(64, "rows attacked side by side", low=1)
