"""An independent training loop in plain torch and numpy, which shares no code with the package.

`Tape` records a real run: its initial weights, batches, dropout masks, random numbers and learning rates, and
the resulting losses and weights. `replay` starts from the same weights and trains on the same batches in
double precision, with its own equations, losses, clipping, optimizer steps, schedules and metrics.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, log_loss
from torch import Tensor, nn
from torch.nn import functional as F

from gatescope.sequences import Batch, TaskSpec
from gatescope.training.module import SequenceTask

IGNORE, END = -100, 0
Weights = dict[str, Tensor]


class Killed(Exception):
    """Raised to end a run in the middle of a step."""


# ---- Recording of a run


@dataclass
class Micro:
    """A training batch; `update` is the number of updates before it, `loss` the loss of the run."""

    update: int
    epoch: int
    batch: Batch
    rate: float
    masks: list[Tensor] = field(default_factory=list)
    draws: list[Tensor] = field(default_factory=list)
    loss: float = math.nan


@dataclass
class Evaluated:
    """An evaluation on validation or test, with its weights."""

    stage: str
    update: int
    weights: Weights
    batches: list[Batch] = field(default_factory=list)


@dataclass
class Tape:
    """Batches, weights and random draws of a run, which may be stopped and resumed once."""

    micros: list[Micro] = field(default_factory=list)
    evaluated: list[Evaluated] = field(default_factory=list)
    start: Weights = field(default_factory=dict)
    at_epochs_end: dict[int, Weights] = field(default_factory=dict)
    dropout: float = 0.0
    stop_at: int | None = None
    """Number of updates after which the run is killed, in the middle of the next step."""
    _earlier: tuple[list[Micro], list[Evaluated]] = ([], [])

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record a run in the block; steps of an earlier one after its last checkpoint are dropped."""
        self._earlier = (self.micros, self.evaluated)
        self.micros, self.evaluated = [], []
        with pytest.MonkeyPatch.context() as patch:
            self._watch_steps(patch)
            self._watch_randomness(patch)
            try:
                yield
            finally:
                self._join()

    def _join(self) -> None:
        micros, evaluated = self._earlier
        if micros and self.micros:
            first = self.micros[0].update
            micros = [one for one in micros if one.update < first]
            evaluated = [one for one in evaluated if one.update <= first]
        self.micros = micros + self.micros
        self.evaluated = evaluated + self.evaluated

    def _watch_steps(self, patch: pytest.MonkeyPatch) -> None:
        train, end = SequenceTask.training_step, SequenceTask.on_train_epoch_end

        def training_step(module: SequenceTask, batch: Batch, batch_idx: int) -> Tensor:
            if not self.start:
                self.start = _copied(module)
            if self.stop_at is not None and module.global_step >= self.stop_at:
                raise Killed
            (group,) = module.trainer.optimizers[0].param_groups
            self.micros.append(Micro(module.global_step, module.current_epoch, batch, float(group["lr"])))
            loss = train(module, batch, batch_idx)
            self.micros[-1].loss = float(loss.detach())
            return loss

        def on_train_epoch_end(module: SequenceTask) -> None:
            self.at_epochs_end[module.current_epoch] = _copied(module)
            end(module)

        patch.setattr(SequenceTask, "training_step", training_step)
        patch.setattr(SequenceTask, "on_train_epoch_end", on_train_epoch_end)
        for stage in ("validation", "test"):
            step = getattr(SequenceTask, f"{stage}_step")

            def noting(
                module: SequenceTask, batch: Batch, batch_idx: int, stage: Any = stage, step: Any = step
            ) -> None:
                if batch_idx == 0:
                    self.evaluated.append(Evaluated(stage, module.global_step, _copied(module)))
                self.evaluated[-1].batches.append(batch)
                step(module, batch, batch_idx)

            patch.setattr(SequenceTask, f"{stage}_step", noting)

    def _watch_randomness(self, patch: pytest.MonkeyPatch) -> None:
        forward, rand = nn.Dropout.forward, torch.rand

        def dropout(module: nn.Dropout, x: Tensor) -> Tensor:
            if not module.training or module.p == 0:
                return forward(module, x)
            state = torch.get_rng_state()
            mask = F.dropout(torch.ones_like(x), module.p)
            torch.set_rng_state(state)
            y = forward(module, x)
            torch.testing.assert_close(y, x * mask)
            assert module.p == self.dropout
            self.micros[-1].masks.append(mask.detach().double())
            return y

        def drawing(*size: Any, **options: Any) -> Tensor:
            drawn = rand(*size, **options)
            if self.micros:
                self.micros[-1].draws.append(drawn)
            return drawn

        patch.setattr(nn.Dropout, "forward", dropout)
        patch.setattr(torch, "rand", drawing)

    def passes(self, stage: str) -> list[Evaluated]:
        return [one for one in self.evaluated if one.stage == stage]


def _copied(module: SequenceTask) -> Weights:
    """Return the weights by name, in double precision."""
    return {
        name.removeprefix("model."): value.detach().double().clone()
        for name, value in module.state_dict().items()
        if value.is_floating_point()
    }


# ---- Models


class Randomness:
    """Recorded dropout masks and random numbers in the order of their use; none in evaluation."""

    def __init__(self, micro: Micro | None, dropout: float) -> None:
        self.masks = list(micro.masks) if micro else []
        self.draws = list(micro.draws) if micro else []
        self.active = micro is not None and dropout > 0

    def drop(self, x: Tensor) -> Tensor:
        return x * self.mask() if self.active else x

    def mask(self) -> Tensor | float:
        return self.masks.pop(0) if self.active else 1.0

    def check_all_used(self) -> None:
        assert not self.masks, f"{len(self.masks)} dropout masks of the run are left over"
        assert not self.draws, f"{len(self.draws)} random draws of the run are left over"


def cell_step(kind: str, w: Weights, name: str, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Compute one step of a layer by torch's equations of GRU, LSTM and tanh RNN."""
    p = x @ w[f"{name}.fused.weight_ih_l0"].T + w[f"{name}.fused.bias_ih_l0"]
    q = h @ w[f"{name}.fused.weight_hh_l0"].T + w[f"{name}.fused.bias_hh_l0"]
    if kind == "rnn":
        return torch.tanh(p + q), c
    if kind == "gru":
        (p_r, p_z, p_n), (q_r, q_z, q_n) = p.chunk(3, -1), q.chunk(3, -1)
        z = torch.sigmoid(p_z + q_z)
        return (1 - z) * torch.tanh(p_n + torch.sigmoid(p_r + q_r) * q_n) + z * h, c
    i, f, g, o = (p + q).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


class OwnModel:
    """The model of a config, as a function of its weights.

    Args:
        carried: states by layer from which stateful data go on.
    """

    def __init__(self, cfg: DictConfig, task: TaskSpec, weights: Weights) -> None:
        self.cfg, self.task, self.w = cfg, task, weights
        self.kind, self.layers = cfg.model.name, cfg.model.layers
        self.attention = cfg.attention._target_.rpartition(".")[2]
        self.heads = cfg.attention.get("heads", 1)

    def encode(
        self, batch: Batch, random: Randomness, carried: dict[str, Any] | None
    ) -> tuple[Tensor, Tensor]:
        """Return the states of all steps (B, T, S), and of the last step of each direction (B, S)."""
        if self.task.inputs == "tokens":
            x = F.embedding(batch.inputs, self.w["embedding.weight"], padding_idx=self.task.padding_index)
        else:
            x = batch.inputs.double()
        x = random.drop(x)
        for depth in range(self.layers):
            sides = [self._layer(f"layer{depth}", x, batch.lengths, False, carried)]
            if self.cfg.model.bidirectional:
                sides.append(self._layer(f"layer{depth}_backward", x, batch.lengths, True, carried))
            x, last = (torch.cat(parts, -1) for parts in zip(*sides, strict=True))
            if depth < self.layers - 1:
                x = random.drop(x)
        return x, last

    def _layer(
        self, name: str, x: Tensor, lengths: Tensor, backward: bool, carried: dict[str, Any] | None
    ) -> tuple[Tensor, Tensor]:
        full = f"stack.layers.{name}"
        size = self.w[f"{full}.fused.weight_hh_l0"].shape[1]
        zero = x.new_zeros(len(x), size)
        h, c = (carried or {}).get(name, (zero, zero))
        steps: list[Tensor] = [zero] * x.shape[1]
        for t in reversed(range(x.shape[1])) if backward else range(x.shape[1]):
            valid = (t < lengths)[:, None]
            new_h, new_c = cell_step(self.kind, self.w, full, x[:, t], h, c)
            h, c = torch.where(valid, new_h, h), torch.where(valid, new_c, c)
            steps[t] = torch.where(valid, h, zero)
        if carried is not None:
            carried[name] = (h.detach(), c.detach())
        return torch.stack(steps, 1), h

    def __call__(
        self, batch: Batch, random: Randomness, carried: dict[str, Any] | None = None, forced: float = 1.0
    ) -> Tensor:
        """Return logits or values: (B, K), or (B, T, K) with a prediction per step."""
        states, last = self.encode(batch, random, carried)
        if self.task.kind == "transduction":
            return self._forced(states, last, batch, random, forced)
        if self.task.kind == "next_step":
            read = states
        elif self.attention == "Pooling":
            read = last
        else:
            read = self._attend("attention", last, states, batch.lengths)
        head = "head.1" if f"{'head.1'}.weight" in self.w else "head"
        return random.drop(read) @ self.w[f"{head}.weight"].T + self.w[f"{head}.bias"]

    def _attend(self, name: str, query: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        """Return the states weighted by a softmax of their scores for each head, of shape (B, S)."""
        width = states.shape[-1] // self.heads
        contexts = []
        for head in range(self.heads):
            part = slice(head * width, (head + 1) * width)
            s, q = states[..., part], query[:, part]
            if self.attention == "Additive":
                key, ask = self.w[f"{name}.key"][head], self.w[f"{name}.query"][head]
                hidden = torch.tanh(s @ key + (q @ ask)[:, None] + self.w[f"{name}.bias"][head])
                scores = hidden @ self.w[f"{name}.v"][head]
            else:
                assert self.attention == "Dot"
                scores = (s * q[:, None]).sum(-1)
            valid = torch.arange(s.shape[1]) < lengths[:, None]
            shares = torch.exp(scores - scores.amax(1, keepdim=True)) * valid
            scores = shares / shares.sum(1, keepdim=True)
            contexts.append((scores[..., None] * s).sum(1))
        return torch.cat(contexts, -1)

    # The decoder: Luong et al. 2015, eqs. 5 to 7.

    def _decoder_start(self, states: Tensor, last: Tensor) -> tuple[Tensor, list[Any], Tensor]:
        """Return the attended states (projected if wider), the state of each layer, the attentional state."""
        w, decoder = self.w, self.cfg.decoder
        project = w.get("decoder.project.weight")
        if self.attention == "Pooling":
            source = last if project is None else last @ project.T
        else:
            source = states if project is None else states @ project.T
        parts = torch.tanh(last @ w["decoder.bridge.weight"].T + w["decoder.bridge.bias"])
        size = w["decoder.layers.0.fused.weight_hh_l0"].shape[1]
        chunks = list(parts.split(size, -1))
        zero = torch.zeros_like(chunks[0])
        carry = [
            (chunks.pop(0), chunks.pop(0) if self.kind == "lstm" else zero) for _ in range(decoder.layers)
        ]
        assert not chunks
        return source, carry, parts.new_zeros(len(parts), len(w["decoder.combine.weight"]))

    def _decoder_step(
        self,
        symbols: Tensor,
        source: Tensor,
        carry: list[Any],
        attended: Tensor,
        lengths: Tensor,
        masks: Sequence[Tensor | float],
    ) -> tuple[Tensor, list[Any], Tensor]:
        """Return logits (B, V) and the next states. `masks`: of embedding, between layers, output."""
        w, masks = self.w, list(masks)
        x = w["decoder.embedding.weight"][symbols] * masks.pop(0)
        if self.cfg.decoder.input_feeding:
            x = torch.cat([x, attended], -1)
        after = []
        for depth, (h, c) in enumerate(carry):
            x = x if depth == 0 else x * masks.pop(0)
            after.append(cell_step(self.kind, w, f"decoder.layers.{depth}", x, h, c))
            x = after[-1][0]
        context = source
        if self.attention != "Pooling":
            context = self._attend("decoder.attention", x, source, lengths)
        joined = torch.cat([context, x], -1)
        attended = torch.tanh(joined @ w["decoder.combine.weight"].T + w["decoder.combine.bias"])
        output = w["decoder.embedding.weight" if self.cfg.decoder.tied else "decoder.output.weight"]
        logits = (attended * masks.pop(0)) @ output.T + w["decoder.output.bias"]
        return logits, after, attended

    def _forced(
        self, states: Tensor, last: Tensor, batch: Batch, random: Randomness, forced: float
    ) -> Tensor:
        """Return logits (B, U, V), given the true previous symbols, or generated ones for a share."""
        truth = first_answers(batch.targets)
        source, carry, attended = self._decoder_start(states, last)
        count = self.cfg.decoder.layers + 1
        at_once = forced == 1 and not self.cfg.decoder.input_feeding
        whole = [random.mask() for _ in range(count)] if at_once else []
        steps = truth.shape[1]
        if forced == 1 and not at_once:
            # Embeddings and outputs of all steps have one mask each, drawn before and after the recurrence.
            embedded = random.mask()
            between = [[random.mask() for _ in range(count - 2)] for _ in range(steps)]
            final = random.mask()
        logits: list[Tensor] = []
        for u in range(steps):
            given = torch.full_like(truth[:, 0], END) if u == 0 else truth[:, u - 1].clamp(min=0)
            if u and forced < 1:
                keep = random.draws.pop(0) < forced
                given = torch.where(keep, given, logits[-1].detach().argmax(-1))
            if at_once:
                masks = [m[:, u] if isinstance(m, Tensor) else m for m in whole]
            elif forced == 1:
                ends = [m[:, u] if isinstance(m, Tensor) else m for m in (embedded, final)]
                masks = [ends[0], *between[u], ends[1]]
            else:
                masks = [random.mask() for _ in range(count)]
            step, carry, attended = self._decoder_step(given, source, carry, attended, batch.lengths, masks)
            logits.append(step)
        return torch.stack(logits, 1)

    def write(self, batch: Batch, beam: int) -> list[list[int]]:
        """Return the generated symbols for each source, without END."""
        states, last = self.encode(batch, Randomness(None, 0), None)
        scores, written = self._greedy(states, last, batch.lengths)
        if beam > 1:
            for i, length in enumerate(batch.lengths.tolist()):
                score, symbols = self._search(states[i : i + 1, :length], last[i : i + 1], length, beam)
                if score >= scores[i]:
                    written[i] = symbols
        return [[s for s in one if s != END] for one in written]

    def _greedy(self, states: Tensor, last: Tensor, lengths: Tensor) -> tuple[list[float], list[list[int]]]:
        """Return scores and symbols up to END of greedy decoding."""
        options = self.cfg.decoder
        source, carry, attended = self._decoder_start(states, last)
        before = torch.full_like(lengths, END)
        totals, written = [0.0] * len(lengths), [[] for _ in lengths]
        for _ in range(options.max_length):
            ones = [1.0] * (options.layers + 1)
            logits, carry, attended = self._decoder_step(before, source, carry, attended, lengths, ones)
            log_p, before = torch.log_softmax(logits, -1).max(-1)
            for i, (p, symbol) in enumerate(zip(log_p.tolist(), before.tolist(), strict=True)):
                if END not in written[i]:
                    totals[i] += p
                    written[i].append(symbol)
            if all(END in one for one in written):
                break
        scores = [t / len(w) ** options.length_penalty for t, w in zip(totals, written, strict=True)]
        return scores, written

    def _search(self, states: Tensor, last: Tensor, length: int, beam: int) -> Any:
        """Return (score, symbols) of beam search for one source; a score is log p / length^penalty."""
        options = self.cfg.decoder
        source, carry, attended = self._decoder_start(states, last)
        lengths = torch.tensor([length])
        alive = [(0.0, [], carry, attended)]

        def score(total: float, symbols: list[int]) -> float:
            return total / len(symbols) ** options.length_penalty

        for _ in range(options.max_length):
            grown = []
            for total, symbols, state, read in alive:
                if symbols and symbols[-1] == END:
                    grown.append((total, symbols, state, read))
                    continue
                before = torch.tensor([symbols[-1] if symbols else END])
                ones = [1.0] * (options.layers + 1)
                logits, state, read = self._decoder_step(before, source, state, read, lengths, ones)
                log_p = torch.log_softmax(logits[0], -1).tolist()
                grown += [(total + p, [*symbols, s], state, read) for s, p in enumerate(log_p)]
            alive = sorted(grown, key=lambda one: -score(one[0], one[1]))[:beam]
            if all(symbols[-1] == END for _, symbols, *_ in alive):
                break
        return max((score(total, symbols), symbols) for total, symbols, *_ in alive)


def first_answers(targets: Tensor) -> Tensor:
    """Return each row up to its first END, followed by IGNORE, of shape (B, U)."""
    rows = [row[: row.index(END) + 1] for row in targets.tolist()]
    width = max(map(len, rows))
    return torch.tensor([row + [IGNORE] * (width - len(row)) for row in rows])


# ---- Losses and metrics


def losses(task: TaskSpec, values: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each example, of shape (B,)."""
    if task.kind == "regression":
        return (values[:, 0] - targets) ** 2
    if task.kind == "classification":
        if task.output_size == 1:
            return F.binary_cross_entropy_with_logits(values[:, 0], targets.double(), reduction="none")
        return F.nll_loss(values.log_softmax(-1), targets, reduction="none")
    if task.kind == "transduction":
        targets = first_answers(targets)
    found = []
    for row, truth in zip(values, targets, strict=True):
        if task.multilabel:
            counted = truth[:, 0] != IGNORE
            nats = F.binary_cross_entropy_with_logits(row[counted], truth[counted], reduction="none").sum(-1)
        else:
            counted = truth != IGNORE
            nats = F.cross_entropy(row[: len(truth)][counted], truth[counted], reduction="none")
        found.append(nats.mean())
    return torch.stack(found)


@dataclass
class Outcome:
    """Results of an evaluation: loss of each example, values, targets and generated symbols."""

    losses: list[float] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)
    written: list[list[int]] = field(default_factory=list)

    def add(self, task: TaskSpec, values: Tensor, targets: Tensor) -> Tensor:
        found = losses(task, values, targets)
        self.losses += found.tolist()
        self.values += list(values.detach())
        self.targets += list(first_answers(targets) if task.kind == "transduction" else targets)
        return found

    def metrics(self, task: TaskSpec) -> dict[str, float]:
        values = [v.numpy() for v in self.values]
        targets = [t.numpy() for t in self.targets]
        if task.kind == "regression":
            errors = np.stack(values)[:, 0] - np.stack(targets)
            found = {"mse": float((errors**2).mean())}
            if task.tolerance is not None:
                found["solved"] = float((np.abs(errors) < task.tolerance).mean())
            return found
        if task.kind == "classification":
            scores, truth = np.stack(values), np.stack(targets)
            said = (scores[:, 0] > 0).astype(int) if task.output_size == 1 else scores.argmax(-1)
            macro = f1_score(truth, said, average="macro", zero_division=0)
            return {"accuracy": accuracy_score(truth, said), "macro_f1": macro}
        if task.multilabel:
            return _polyphony(values, targets)
        flat = np.concatenate([v[: len(t)][t != IGNORE] for v, t in zip(values, targets, strict=True)])
        truth = np.concatenate([t[t != IGNORE] for t in targets])
        found = {"accuracy": accuracy_score(truth, flat.argmax(-1))}
        if task.metric == "bpc":
            chance = np.exp(flat - flat.max(-1, keepdims=True))
            chance /= chance.sum(-1, keepdims=True)
            found["bpc"] = log_loss(truth, chance, labels=range(chance.shape[1])) / math.log(2)
        return found


def _polyphony(values: list[np.ndarray], targets: list[np.ndarray]) -> dict[str, float]:
    counted = [t[:, 0] != IGNORE for t in targets]
    scores = np.concatenate([v[k] for v, k in zip(values, counted, strict=True)])
    truth = np.concatenate([t[k] for t, k in zip(targets, counted, strict=True)])
    nats = np.logaddexp(0, scores) - truth * scores
    hit = jaccard_score(truth.ravel(), (scores > 0).ravel().astype(float))
    return {"nll": float(nats.sum(1).mean()), "frame_accuracy": float(hit)}


def written_metrics(
    task: TaskSpec, said: list[list[int]], accepted: list[list[list[int]]]
) -> dict[str, float]:
    """Return the metrics of a transduction from its symbols."""
    unknown = task.target_vocabulary.index("<unk>") if "<unk>" in task.target_vocabulary else None
    said = [[-1 if s == unknown else s for s in one] for one in said]  # never equal to an <unk> asked for
    exact = float(np.mean([one in answers for one, answers in zip(said, accepted, strict=True)]))
    near = [
        min(answers, key=lambda a, one=one: edits(one, a) / len(a))
        for one, answers in zip(said, accepted, strict=True)
    ]
    rate = sum(map(edits, said, near)) / sum(map(len, near))
    found = {"exact_match": exact, f"{task.target_unit}_error_rate": rate}
    if task.target_unit == "phoneme":
        found["word_error_rate"] = 1 - exact
    if task.target_unit == "word":
        found["bleu"] = bleu(said, accepted)
    return found


def edits(a: list[int], b: list[int]) -> int:
    """Return the Levenshtein distance, computed row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1]


def bleu(said: list[list[int]], accepted: list[list[list[int]]]) -> float:
    """Return corpus BLEU of orders 1 to 4 (Papineni et al. 2002), from 0 to 100.

    The k-th order without a match counts as 1 / 2^k of a match; without any match it is 0.
    """

    def grams(one: list[int], n: int) -> Counter[tuple[int, ...]]:
        return Counter(tuple(one[i : i + n]) for i in range(len(one) - n + 1))

    logs, without = 0.0, 0
    for n in range(1, 5):
        right = total = 0
        for one, answers in zip(said, accepted, strict=True):
            most: Counter[tuple[int, ...]] = Counter()
            for answer in answers:
                most |= grams(answer, n)
            right += sum((grams(one, n) & most).values())
            total += sum(grams(one, n).values())
        if total == 0:
            return 0.0
        without += right == 0
        logs += math.log((right or 0.5**without) / total) / 4
    if without == 4:
        return 0.0
    length = sum(map(len, said))
    nearest = sum(
        len(min(answers, key=lambda a, one=one: (abs(len(a) - len(one)), len(a))))
        for one, answers in zip(said, accepted, strict=True)
    )
    return 100 * math.exp(logs + min(0.0, 1 - nearest / length))


def all_answers(targets: Tensor) -> list[list[list[int]]]:
    """Return the accepted answers of each row of (B, U) ids, without END."""
    found = []
    for row in targets.tolist():
        answers: list[list[int]] = [[]]
        for symbol in row:
            if symbol == END:
                answers.append([])
            elif symbol != IGNORE:
                answers[-1].append(symbol)
        found.append(answers[:-1])
    return found


# ---- The loop


@dataclass
class Validation:
    """Number of updates before it."""

    update: int
    metrics: dict[str, float]
    weights: Weights


@dataclass
class Replay:
    """Expected results of a run.

    `losses`: one per micro-batch; `updates`: mean loss over all examples of an update, by number of updates
    after it; `rates`: learning rates by number of updates before them.
    """

    losses: list[float] = field(default_factory=list)
    updates: dict[int, float] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    opposite_rates: list[float] = field(default_factory=list)
    """As `rates`, for the opposite direction of the metric."""
    at_epochs_end: dict[int, Weights] = field(default_factory=dict)
    training: dict[int, dict[str, float]] = field(default_factory=dict)
    """Training metrics of each epoch by number of updates at its end."""
    validations: list[Validation] = field(default_factory=list)
    best: int = -1
    """Index of the best validation."""
    test: dict[str, float] = field(default_factory=dict)


class Plan:
    """Length of a run, from its config and the number of its training examples."""

    def __init__(self, cfg: DictConfig, examples: int) -> None:
        trainer = cfg.trainer
        self.accumulate: int = trainer.get("accumulate_grad_batches") or 1
        self.batches: int = min(
            math.ceil(examples / cfg.data.batch_size), trainer.get("limit_train_batches") or 10**9
        )
        self.every: int = trainer.get("val_check_interval") or self.batches
        self.updates_an_epoch = math.ceil(self.batches / self.accumulate)
        limits = []
        if trainer.max_epochs > 0:
            limits.append(trainer.max_epochs * self.updates_an_epoch)
        if trainer.max_steps > 0:
            limits.append(trainer.max_steps)
        self.updates = min(limits)


class Schedule:
    """Learning rate before each update."""

    def __init__(self, cfg: DictConfig, plan: Plan, direction: str) -> None:
        self.cfg, self.plan, self.sign = cfg.scheduler, plan, 1 if direction == "max" else -1
        self.start = self.rate = float(cfg.optimizer.lr)
        self.best, self.waited = -math.inf, 0

    def cosine(self, updates: int) -> None:
        if "eta_min" in self.cfg:
            low = self.cfg.eta_min
            share = (1 + math.cos(math.pi * updates / self.plan.updates)) / 2
            self.rate = low + (self.start - low) * share

    def plateau(self, metric: float) -> None:
        """Update after a validation; an improvement is at least a ten-thousandth of the best value."""
        if "factor" not in self.cfg:
            return
        value = self.sign * metric
        if value > self.best + 1e-4 * abs(self.best) or math.isinf(self.best):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        if self.waited > self.cfg.patience:
            self.rate, self.waited = max(self.rate * self.cfg.factor, self.cfg.min_lr), 0


def make_optimizer(cfg: DictConfig, parameters: list[Tensor]) -> torch.optim.Optimizer:
    kind, common = cfg._target_.rpartition(".")[2], {"lr": cfg.lr, "weight_decay": cfg.weight_decay}
    if kind == "SGD":
        return torch.optim.SGD(parameters, momentum=cfg.momentum, nesterov=cfg.nesterov, **common)
    maker = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}[kind]
    return maker(parameters, betas=tuple(cfg.betas), eps=cfg.eps, foreach=False, **common)


def clip(parameters: list[Tensor], bound: float | None, algorithm: str) -> bool:
    """Clip gradients, and return whether they were changed."""
    if bound is None:
        return False
    gradients = [p.grad for p in parameters if p.grad is not None]
    if algorithm == "value":
        acted = any(bool((g.abs() > bound).any()) for g in gradients)
        for g in gradients:
            g.copy_(g.clip(-bound, bound))
        return acted
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    if norm > bound:
        for g in gradients:
            g.mul_(bound / (norm + 1e-6))  # torch's own guard against 0
    return norm > bound


def replay(cfg: DictConfig, task: TaskSpec, tape: Tape, examples: int) -> Replay:
    """Train on the batches of a recorded run with its learning rates.

    Args:
        cfg: Config of the run.
        task: Task of the data.
        tape: The recorded run.
        examples: Number of training examples.
    """
    plan, told = Plan(cfg, examples), Replay()
    schedule = Schedule(cfg, plan, task.direction)
    opposite = Schedule(cfg, plan, "min" if task.direction == "max" else "max")
    weights = {name: w.clone().requires_grad_() for name, w in tape.start.items()}
    if cfg.get("decoder") and cfg.decoder.tied:
        weights["decoder.output.weight"] = weights["decoder.embedding.weight"]
    parameters = list({id(w): w for w in weights.values()}.values())
    optimizer = make_optimizer(cfg.optimizer, parameters)
    model, dropout = OwnModel(cfg, task, weights), cfg.model.dropout
    validated = tape.passes("validation")[:1]
    updates = epoch = waited = 0
    acted = False
    micros = iter(tape.micros)
    while updates < plan.updates:
        carried: dict[str, Any] | None = {} if task.stateful else None
        epochs, within = Outcome(), []
        for index in range(plan.batches):
            micro = next(micros)
            assert (micro.update, micro.epoch) == (updates, epoch)
            random = Randomness(micro, dropout)
            values = model(micro.batch, random, carried, forced_share(cfg, updates))
            random.check_all_used()
            found = epochs.add(task, values, micro.batch.targets)
            # Lightning divides by the same number at the end of an epoch, where fewer batches are left.
            (found.mean() / plan.accumulate).backward()
            told.losses.append(float(found.detach().mean()))
            within += found.tolist()
            if (index + 1) % plan.accumulate == 0 or index + 1 == plan.batches:
                trainer = cfg.trainer
                acted |= clip(parameters, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
                told.rates.append(schedule.rate)
                told.opposite_rates.append(opposite.rate)
                for group in optimizer.param_groups:
                    group["lr"] = micro.rate
                optimizer.step()
                optimizer.zero_grad()
                updates += 1
                schedule.cosine(updates)
                told.updates[updates] = float(np.mean(within))
                within = []
            if ((index + 1) % plan.every == 0 or updates == plan.updates) and validated:
                told.validations.append(validate(model, task, updates, validated[0].batches))
                for one in (schedule, opposite):
                    one.plateau(told.validations[-1].metrics[f"validation/{task.metric}"])
                better = best_of(told.validations, task, ties=False) == len(told.validations) - 1
                waited = 0 if better else waited + 1
            if updates == plan.updates:
                break
        told.training[updates] = {f"train/{n}": v for n, v in epochs.metrics(task).items()}
        told.at_epochs_end[epoch] = detached(weights)
        if waited >= (cfg.early_stopping.patience or math.inf):
            break
        epoch += 1
    assert next(micros, None) is None, "the run took more steps than its config says"
    assert acted or cfg.trainer.gradient_clip_val is None, "no gradient was clipped: the case shows nothing"
    if told.validations:
        told.best = best_of(told.validations, task)
        chosen = OwnModel(cfg, task, told.validations[told.best].weights)
        told.test = evaluate(chosen, task, "test", tape.passes("test")[-1].batches, cfg)
    return told


def forced_share(cfg: DictConfig, updates: int) -> float:
    """Return the share of teacher forcing, which is linear in the number of updates."""
    if not cfg.get("decoder"):
        return 1.0
    last, steps = cfg.decoder.teacher_forcing, cfg.decoder.schedule_steps
    return last if updates >= steps else 1 - (1 - last) * updates / steps


def best_of(validations: list[Validation], task: TaskSpec, ties: bool = True) -> int:
    """Return the best by the task's metric, then by the lowest loss, then the first."""
    sign = 1 if task.direction == "min" else -1

    def key(i: int) -> tuple[float, ...]:
        metrics = validations[i].metrics
        metric = round(sign * metrics[f"validation/{task.metric}"], 9)
        return (metric, metrics["validation/loss"] if ties else 0.0, i)

    return min(range(len(validations)), key=key)


def validate(model: OwnModel, task: TaskSpec, updates: int, batches: list[Batch]) -> Validation:
    weights = detached(model.w)
    own = OwnModel(model.cfg, task, weights)
    return Validation(updates, evaluate(own, task, "validation", batches, model.cfg), weights)


@torch.no_grad()
def evaluate(
    model: OwnModel, task: TaskSpec, stage: str, batches: list[Batch], cfg: DictConfig
) -> dict[str, float]:
    """Return loss and metrics by their names in the record."""
    told, said, accepted = Outcome(), [], []
    carried: dict[str, Any] | None = {} if task.stateful else None
    for batch in batches:
        told.add(task, model(batch, Randomness(None, 0), carried), batch.targets)
        if task.kind == "transduction":
            said += model.write(batch, cfg.decoder.beam if stage == "test" else 1)
            accepted += all_answers(batch.targets)
    metrics = written_metrics(task, said, accepted) if said else told.metrics(task)
    found = {f"{stage}/{name}": float(value) for name, value in metrics.items()}
    return found | {f"{stage}/loss": float(np.mean(told.losses))}


def detached(weights: Weights) -> Weights:
    return {name: w.detach().clone() for name, w in weights.items()}
