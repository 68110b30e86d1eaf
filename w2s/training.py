"""What surrounds the loop of a training script: model, data and checkpoint before it, log and
progress inside it, the saved folder after it.

N rows, K classes, k the number of the step, counted from 0.
"""

import contextlib
import time

import numpy as np
import torch
from tqdm import tqdm

from w2s import device, hub, memory, model_card, parallel, rows, runs
from w2s.data import leaks
from w2s.dp import canaries
from w2s.infer import lm
from w2s.model import adapter, checkpoint, configuration, lora, tokenization
from w2s.refusals import refuse_order, refuse_processes, samples_answers, without_mps, check
from w2s.train import behind, difficulty, embedding_rows, grpo, losses, step

LINES = 10  # lines a run prints; log.jsonl has five times as many
SAVE, SAVE_SECONDS = .14, 300  # between checkpoints: share of the steps; on CUDA seconds, at least


class TrainingRun:
    """A training run in its folder, made from the script's Config, the task and the checked rows.
    target: the key of the rows to train on, "label" or "weak"; None: prompts alone (GRPO)."""

    def __init__(self, cfg, run, task, data, folder, target):
        check(cfg, task)
        default = {key: value for key, (value, _) in task.DEFAULTS.items()}
        self.lam = default["lam"] if cfg.lam is None else cfg.lam
        alpha = getattr(cfg, "alpha", 0)
        self.alpha = default["alpha"] if alpha is None else alpha
        epochs = default["epochs"] if cfg.epochs is None else cfg.epochs

        self.cfg, self.run, self.task, self.folder = cfg, run, task, folder
        private = task.plan and epochs and (self.lam or cfg.noise_multiplier)
        self.device = device.setup(cfg.device, cfg.dtype, without_mps(private))
        rank, processes = parallel.join(self.device)
        self.follows = rank > 0  # the first process speaks and writes for all
        refuse_processes(cfg, processes, private)
        refuse_order(cfg, epochs, private)
        self.columns = task.encode(data, tokenization.load_tokenizer(folder), cfg.max_length,
                                   target=target,
                                   **{key: getattr(cfg, key) for key in task.ENCODE
                                      if hasattr(cfg, key)})
        for name in ("tokenizer", "ways"):  # of prompts alone; no columns of a batch
            self.columns.pop(name, None)
        parameters, trained = self._load(processes, private)
        self.hardening = self._hardening() if self.alpha else None
        self.private, self.steps = None, step.count_steps(len(data), epochs, cfg.batch_size)
        if private:
            self.private = task.plan(cfg, self.lam, len(data), epochs)
            self.private.identity = run.identity
            self.lam, self.steps = self.private.target, self.private.steps
        self.silent = bool(self.private and self.private.silent)
        self.states = (self.hardening or {}) | ({"privacy": self.private} if self.private else {})
        if cfg.canaries:
            self.canaries = canaries.Canaries(cfg.canaries, self.private, cfg.seed)
            self.states["canaries"] = self.canaries
        # before the checkpoint too: a resumed run asks the untuned model again
        self.first = self._easy_first() if getattr(cfg, "order", None) == "easy" else None
        # after the states above, which a checkpoint fills, and before the embedding is cut, since a
        # checkpoint has all of its rows
        self._resume()
        tokenization.require_fit(self.columns, self.model.config["vocab_size"], folder)
        self.cut, embedding = None, self.model.table
        if (task.KIND == "class" and not (private or self.sharded)
                and embedding_rows.pays(embedding, self.columns, cfg.weight_decay)):
            self.cut = embedding_rows.UsedRows(embedding, self.optimizer, self.columns)
        compiled = not self.sharded and device.pays_to_compile(
            cfg.compile, self.device, self.steps,
            self.model.config["vocab_size"] if self.model.kind == "lm" else 0, bool(private))

        self._begin(len(data), epochs, parameters, trained, compiled, processes)
        self._options = dict(clip_norm=cfg.clip_norm, dtype=cfg.dtype, compile=compiled,
                             hardening=self.hardening)

    def _load(self, processes, private):
        """Load the model, with LoRA where it is asked for, and make the optimizer; (number of
        parameters, of trainable ones)."""
        cfg, task = self.cfg, self.task
        if cfg.save_adapter:
            adapter.check(self.folder)
        self.model = checkpoint.load(self.folder, configuration.HEAD[task.KIND], task.CLASSES,
                                     self.device, head_layer=cfg.head_layer, read=parallel.read,
                                     ready=lambda model: self._prepare(model, processes, private))
        if self.device.type == "cuda":
            self.model.most = longest_answer(self.columns)
        # before LoRA adds its own: the default learning rate is by the size of the model
        parameters = sum(p.numel() for p in self.model.parameters())
        if cfg.lora_rank:
            draw = torch.Generator().manual_seed(step.seed_of(cfg.seed, "lora"))
            lora.apply(self.model, cfg.lora_rank, cfg.lora_alpha, draw)
        self.lr = cfg.lr or step.peak_lr(parameters)
        self.optimizer = step.OPTIMIZERS[cfg.optimizer](self.model, self.lr, cfg.weight_decay)
        return parameters, sum(p.numel() for p in step.trained(self.model))

    def _resume(self):
        """Go on from the checkpoint, where there is one."""
        path = self.run.checkpoint
        self.start = step.load_checkpoint(path, self.model, self.optimizer, self.states,
                                          idle=samples_answers(self.cfg))
        # with another number of steps the accountant would state a wrong epsilon
        if self.private and self.private.done != self.start:
            raise ValueError(f"{path}: of step {self.start}, but its privacy history has "
                             f"{self.private.done}; delete it to start over")
        if self.start > self.steps:
            raise ValueError(f"{path}: of step {self.start}, but the run has {self.steps}; delete "
                             "it to start over")

    def _easy_first(self):
        """(N,) the rows' positions, from those whose labels the untuned model finds likeliest.
        Raises ValueError for a class head without training, to which all rows are alike."""
        head = self.model.score.weight if self.task.KIND == "class" else None
        if head is not None and not parallel.whole(head).any():
            raise ValueError(f"--order easy: {self.folder} has no class head yet, so no row is "
                             "easier than another; give a model with a trained head, or leave it "
                             "out")
        tokenization.require_fit(self.columns, self.model.config["vocab_size"], self.folder)
        return difficulty.easy_first(difficulty.row_losses(
            self.model, self.task, self.columns, self.cfg.batch_size, self.device,
            folder=self.folder, **self._task_options()))

    def _task_options(self):
        """{flag: value} of the task's objective."""
        return {key: getattr(self.cfg, key) for key in self.task.OPTIONS}

    def _prepare(self, model, processes, private):
        """The model on the meta device, made ready for how it will be trained."""
        cfg, self.sharded = self.cfg, self.cfg.shard == "on"
        sampled = samples_answers(cfg)
        if cfg.shard == "auto" and processes > 1 and not (private or cfg.lora_rank or sampled):
            self.sharded = parallel.too_large(model, self.device)
        if cfg.recompute:
            parallel.recompute(model)
        if self.sharded:
            parallel.shard(model, self.device, cfg.dtype)
        # what is sharded is gathered by all processes together, which no thread may do
        alone = self.device.type == "cuda" and not (self.sharded or self.follows)
        self.behind = behind.Behind() if alone else None

    def _begin(self, count, epochs, parameters, trained, compiled, processes):
        """Write config.json, open the log, print what is about to be trained, and make the columns
        ready for it."""
        cfg, run = self.cfg, self.run
        # of a silent run how many rows are long is data, and not told
        truncated = None if self.silent else sum(
            len(ids) == cfg.max_length for ids in self.columns["ids"])
        privacy = {"privacy": self.private.facts()} if self.private else {}
        facts = dict(steps=self.steps, rows=count, lr=self.lr, lam=self.lam, alpha=self.alpha,
                     epochs=epochs, parameters=parameters, trained=trained, compiled=compiled,
                     **privacy, threads=torch.get_num_threads(), processes=processes,
                     sharded=self.sharded, truncated=truncated,
                     from_scratch=bool(self.model.config.get("w2s_from_scratch")))
        run.start(**facts)
        self.facts = run.facts | facts  # for the card
        run.log_from(self.start)
        print(f"{run.out}: {count} rows, {self.steps} steps, lam {self.lam:g}, alpha "
              f"{self.alpha:g}, lr {self.lr:g}, {memory.shown(parameters)} parameters with "
              + ("class head" if self.task.KIND == "class" else "LM head")
              + (f", {trained:,} trained (LoRA of rank {cfg.lora_rank})" if cfg.lora_rank else "")
              + (f", {processes} processes" if processes > 1 else "")
              + (" share the model" if self.sharded else "")
              + (f", goes on at step {self.start}" if self.start else ""), flush=True)
        if truncated:
            print(f"note: {truncated} of {count} rows reach --max-length {cfg.max_length} tokens; "
                  "what is longer was cut", flush=True)
        if self.private:
            print(f"{run.out}: {self.private.guarantee()}", flush=True)
        if cfg.canaries:  # after `truncated` and the tokens' check: they are no text
            self.columns = self.canaries.among(self.columns)
            print(f"{run.out}: {cfg.canaries} canaries, half of them among the rows; a run to "
                  "audit, not to release", flush=True)

        if self.cut:
            self.columns = self.cut.renumber(self.columns)
            self.cut.close()

    def make_step(self, ell):
        """The task's training step for the per-row loss `ell`: step(k, batch) -> mean loss."""
        objective = (step.Objective(self.task, **self._task_options())
                     if self.task.KIND == "class" else self.task.objective)
        more = {"private": self.private, "seed": self.cfg.seed} if self.private else {}
        model = self.model
        if self.cfg.canaries:
            model = canaries.Watched(model, self.canaries, self.private.clip)
            objective = canaries.watched(objective)
        return self.task.make_step(model, self.optimizer, objective, ell, self.lam, self.steps,
                                   **self._options, **more)

    def make_grpo_step(self, data):
        """The step that samples answers to the prompts and learns from rewards: 1 for an answer
        that agrees with the trusted one (reading T9). data: the N rows."""
        cfg, tokenizer = self.cfg, tokenization.load_tokenizer(self.folder)

        def reward(row, tokens):
            return self.task.exact(data[row], tokenizer.decode(tokens, False))
        # the base model anew: a resumed run's own model has moved away from it
        reference = checkpoint.load(self.folder, "lm", None, self.device) if cfg.kl else None
        new = cfg.new_tokens or (
            max(map(self.task.tokens, data)) if self.task.tokens else self.task.NEW)
        return grpo.make_step(
            self.model, self.optimizer, reward, self.steps, group=cfg.group,
            new_tokens=new, temperature=cfg.sampling_temperature, clip=cfg.ratio_clip, beta=cfg.kl,
            updates=cfg.updates, end=lm.end_of(self.model), seed=cfg.seed, clip_norm=cfg.clip_norm,
            dtype=cfg.dtype, compile=self._options["compile"], reference=reference)

    def batches(self):
        """Yield (k, batch) from where the run stands to its end, under a progress bar."""
        more = {"private": self.private} if self.private else {}
        more |= {} if self.first is None else {"first": self.first}
        # at lam 0 no task needs noise of the hidden size
        width = self.model.config["hidden_size"] if self.lam else 0
        batches = self.task.batches(self.columns, self.steps, self.cfg.batch_size,
                                    seed=self.cfg.seed, start=self.start, device=self.device,
                                    width=width, **more)
        self.bar = tqdm(batches, self.run.out.name, self.steps, initial=self.start, leave=False,
                        disable=self.follows or None, unit="step")
        self.logged = self.saved = time.monotonic()
        self.tokens = 0
        tokens = step.row_lengths(self.columns)
        for k, batch in self.bar:
            self.tokens += int(tokens[batch["rows"].numpy()].sum())
            yield k, batch

    def after(self, k, loss, **extra):
        """After step k: a line and a log entry when one is due, a checkpoint when one is due."""
        done = k + 1
        if done % max(1, self.steps // (5 * LINES)) == 0 or done == self.steps:
            now = time.monotonic()
            seconds, tokens = now - self.logged, self.tokens
            self.logged, self.tokens = now, 0
            message = self._log(k, loss, seconds, tokens / max(seconds, 1e-9), extra)
            if done % max(1, self.steps // LINES) == 0 or done == self.steps:
                tqdm.write(f"step {done:>{len(str(self.steps))}}/{self.steps}  {message}")
        # no checkpoint at the end: the saved model takes its place
        every = max(1, int(self.steps * (self.cfg.save_every or SAVE)))
        if done % every == 0 and done < self.steps and self._due():
            if not self.follows:
                runs.require_there(self.run.out)
            self._require_finite()
            with self.cut.opened() if self.cut else contextlib.nullcontext():
                step.save_checkpoint(self.run.checkpoint, done, self.model, self.optimizer,
                                     self.states, self.behind)

    def _due(self):
        """Whether a checkpoint is due by the clock too: on CUDA, unless --save-every was given, at
        most one in SAVE_SECONDS. The first process of torchrun decides for all."""
        if self.cfg.save_every or self.device.type != "cuda":
            return True
        now = time.monotonic()
        late = not self.follows and now - self.saved >= SAVE_SECONDS
        if not parallel.add(torch.tensor(int(late))):
            return False
        self.saved = now
        return True

    def _log(self, k, loss, seconds, speed, extra):
        """Append the entry of step k to the log, and return its text for the screen. A silent run
        tells step, learning rate and seconds only: loss, counts and tokens follow from the rows
        that it drew."""
        lr = self.lr * step.cosine(k, self.steps)
        if self.silent:
            self.run.log(step=k, lr=lr, seconds=round(seconds, 3))
            return f"lr {lr:.2e}"
        entry = dict(step=k, loss=float(loss), lr=lr, **extra)
        if self.private:
            entry |= self.private.entry(loss)
        # on a GPU the step itself does not wait to look at its loss
        if entry["loss"] is not None and not np.isfinite(entry["loss"]):
            raise ValueError(f"the loss of step {k} is {entry['loss']}; "
                             "try a smaller --lr or --lam")
        self.run.log(**entry, seconds=round(seconds, 3), tokens_per_second=round(speed))
        self.bar.set_postfix(loss=f"{float(loss):.4f}")
        return f"loss {float(loss):7.4f}  lr {lr:.2e}  {speed / 1000:6.1f}k tokens/s"

    def finish(self):
        """Save OUT/model, which transformers loads too, and mark the run done."""
        if self.behind:
            self.behind.wait()
        if not self.follows:
            runs.require_there(self.run.out)
        parts = self._adapter() if self.cfg.save_adapter and not self.follows else {}
        if self.cfg.lora_rank:  # merged, so that the folder is an ordinary one
            lora.merge(self.model)
        if self.cut:
            self.cut.open()
        self._require_finite()
        if names := self.task.CLASS_NAMES:
            self.model.config["id2label"] = {str(k): name for k, name in enumerate(names)}
        if self.cfg.canaries and not self.follows:
            self.canaries.save(self.run.out / "canaries.safetensors")
        rows.write_together(parts)
        if not self.follows:
            checkpoint.save(self.model, self.run.out / "model", f"{self.folder}/tokenizer.json",
                        whole=parallel.whole)
            model_card.write(self.run.out / "model", self.task, self.cfg, self.facts,
                             self.private, self.folder)
        else:  # gathering a sharded weight takes all processes
            for p in self.model.state_dict().values():  # in the order in which the first one saves
                parallel.whole(p)
        self.run.finish()
        if self.private:
            print(f"{self.run.out}: {self.private.told()}")
        if self.cfg.head_layer != -1:
            print("note: transformers reads only the last layer; it ignores --head-layer "
                  f"{self.cfg.head_layer} of this folder, and its logits differ")
        print(f"{self.run.out}: done")
        parallel.leave()

    def _adapter(self):
        """{path: bytes} of OUT/adapter: LoRA's matrices before they are merged."""
        cfg, base, revision = self.cfg, self.cfg.model, self.cfg.revision
        if str(self.folder) != base:  # of the hub
            base, revision = hub.named(base, revision)
        files = adapter.contents(self.model, cfg.lora_alpha or cfg.lora_rank, base, revision)
        return {self.run.out / "adapter" / name: content for name, content in files.items()}

    def _require_finite(self):
        """ValueError when a parameter is not finite: nothing is saved then."""
        name = parallel.not_finite(self.model)
        if name:
            raise ValueError(f"{self.run.out}: {name} is not finite; delete the folder and try a "
                             "smaller --lr or --lam")

    def _hardening(self):
        """{"x": Hardening, "x_adv": ...}: one for each text that the objective reads."""
        adversarial = "target_adv" in self.columns  # Eq. (9): at lam 0 only x is read, at 1 only x'
        read = {"x": not adversarial or self.lam < 1, "x_adv": adversarial and self.lam > 0}
        return {name: losses.Hardening(
            self.columns[name.replace("x", "target")], self.columns.get("pool"),
            self.cfg.threshold, self.columns.get("absent")) for name in read if read[name]}


def longest_answer(columns):
    """Tokens of a row of text that are predicted, at most; 0 where none of a row's are marked."""
    if "start" not in columns:
        return 0
    answers = step.row_lengths(columns) - np.maximum(1, columns["start"])
    return max(0, int(answers.max(initial=0)))


def read_truth(task, cfg):
    """The rows of a split with ground truth, for a weak model or a ceiling. Raises ValueError when
    they belong to a split that is kept for choosing, measuring or trust functions."""
    data = task.read(cfg.data)
    for n, row in enumerate(data, 1):
        # a row without a split is taken for one of the weak model's
        if row.get("split", "weak") not in ("weak", "wts"):
            raise ValueError(f"{cfg.data}:{n}: the row belongs to split '{row['split']}'; train on "
                             "'weak' (a ceiling also on 'wts')")
    return data


def read_labels(task, cfg):
    """The rows of a labels file, for a student. Raises ValueError when they belong to a split that
    a student must not see: one its teacher was trained on, or one it will be judged on."""
    path = cfg.labels
    data = task.read(path, weak=True)
    for n, row in enumerate(data, 1):
        # a row without a split is taken for one of the student's; labelled rows are in a file with
        # trusted labels where train_ntf.py has put them, their truth as the label
        if row.get("split", "wts") != "wts" and not (
                row["split"] == "trust" and row.get("truth") is True):
            raise ValueError(f"{path}:{n}: the row belongs to split '{row['split']}'; a student "
                             "trains on labels of 'wts' (label.py --data .../wts.jsonl)")
    leaks.refuse_taught(path, data, cfg.task)
    if cfg.label_kind == "hard":
        for row in data:
            for key in row.keys() & {"weak", "weak_adv"}:
                row[key] = np.eye(len(row[key]))[np.argmax(row[key])].tolist()
    return data
