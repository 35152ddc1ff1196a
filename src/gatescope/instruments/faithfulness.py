"""Attention on trial: does it say what the prediction rests on (INSTRUMENTS.md §5)?

Three kinds of evidence: agreement of the weights with other measures of importance (Kendall's τ_b, beside the
spread that chance gives), what happens to the prediction when the weights are permuted (Jain & Wallace 2019),
and what happens when the steps they point at are taken away or left alone (`erasure`). The ablations uniform
and frozen-random (Wiegreffe & Pinter 2019) are models of their own: `attention=uniform`.

Weights credit *states*, which know of other tokens: every agreement is read for tokens (the embedded inputs)
and for states (what attention weighs). Agreement on states comes cheap, since each is multiplied by its
weight before anything else happens: a model can have it and give the same answer whatever the weights are.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gatescope.instruments import attribution
from gatescope.instruments.attribution import AT_ONCE
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.erasure import SHARES, erase, placed
from gatescope.instruments.measurements import (
    Curve,
    Heatmap,
    Measurement,
    Measurements,
    Points,
    Undefined,
    scalar,
)
from gatescope.instruments.probe import Probe, undisturbed
from gatescope.models.encoder import Encoder
from gatescope.sequences import Batch, valid_mask

NORMAL_975 = 1.96
RANDOM_RANKINGS = 5


class Faithfulness(ProbeInstrument):
    """Readings, all under `attention/`; nothing without attention:

    - `tau/<measure>/<level>`: mean over examples of Kendall's τ_b between the weights (mean over heads) and a
      measure: `gradient_input` (absolute), `leave_one_out` (total variation; for a regression the absolute
      change), each at the levels `token` and `state`, and `integrated_gradients/token` (absolute). Explained
      is the log-probability of the predicted class, or the value. `…/beyond_chance`: share of examples whose
      |τ| exceeds 1.96 spreads of the null.
    - `tau/null_spread`: standard deviation of one example's τ under independence, root mean square.
    - `permutation/total_variation`: mean over examples of the median over permutations of the weights;
      `permutation/examples`: it and the greatest weight, a point an example.
    - `comprehensiveness/<ranking>` and `sufficiency/<ranking>`: placed between the model's own limits, 1 is
      good; rankings `attention`, `random`, `gradient_input`, `leave_one_out`; `…/<ranking>/curve`: the raw
      change of probability by share of steps.
    - `truth/<measure>`, where the data know which steps decide: share of examples whose highest step by
      `attention`, `gradient_input` or `leave_one_out` (tokens) is one; `truth/chance`: of a step by lot. All
      rank the same steps, those compared; an example counts if one that decides is among them, and of steps
      that share the highest value each counts its part.
    - `integrated_gradients/completeness_error`: relative, its self-test.
    - `weights`: those of the first examples, a row each, so that runs with other seeds can be compared.

    Args:
        examples: how many of the probe's sequences of two steps or more.
        steps: of a sequence, at most so many are left out and compared, drawn at random.
        permutations: of the weights.
        nodes: of the quadrature of integrated gradients; 0: none are taken.
        recorded: examples whose weights are kept.
        seed: of permutations, of the steps drawn and of random rankings.
    """

    def __init__(
        self,
        examples: Annotated[int, Field(ge=1)] = 64,
        steps: Annotated[int, Field(ge=2)] = 64,
        permutations: Annotated[int, Field(ge=1)] = 100,
        nodes: Annotated[int, Field(ge=0)] = 64,
        recorded: Annotated[int, Field(ge=0)] = 32,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.examples, self.steps, self.permutations = examples, steps, permutations
        self.nodes, self.recorded, self.seed = nodes, recorded, seed

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        if probe.attention is None:
            return {}
        if not isinstance(probe.model, Encoder):
            why = "a decoder looks at every target step: there is not one answer to explain"
            return {"attention/tau": Undefined(why)}
        rows = (probe.batch.lengths > 1).nonzero()[: self.examples, 0]
        if not len(rows):
            return {"attention/tau": Undefined("every sequence has one step: there is nothing to rank")}
        if not bool(torch.isfinite(probe.attention).all()):
            return {"attention/tau": Undefined("weights not finite")}
        with undisturbed(probe.model):
            trial = Trial(probe.model, probe.batch, rows, self)
            found = trial.agreement() | trial.permutation() | trial.erasure() | trial.recorded()
            if probe.alignment is not None:
                steps = trial.inputs.shape[1]
                found |= trial.truth(probe.alignment[rows.cpu(), 0, :steps].to(trial.valid.device))
        return {f"attention/{name}": measurement for name, measurement in found.items()}


class Trial:
    """One look's examples, and all measures of importance of their steps."""

    def __init__(self, model: Encoder, batch: Batch, rows: Tensor, settings: Faithfulness) -> None:
        self.model, self.settings = model, settings
        self.lengths, self.ids = batch.lengths[rows], batch.ids[rows]
        self.inputs = batch.inputs[rows, : int(self.lengths.max())]
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.valid = valid_mask(self.lengths, self.inputs.shape[1])
        self.embedded = model.embed(self.inputs)
        self.states, _ = model.stack.trace(self.embedded, self.lengths)
        prediction = model.readout(self.states, self.lengths)
        assert prediction.attention is not None
        self.values, self.weights = prediction.values, prediction.attention
        self.output = attribution.explained(model.task, self.values)
        self.by_weight = self.weights.mean(1)
        self.found = attribution.gradients(model, self.embedded, self.lengths, self.output)
        self.chosen = top_random(self.valid, settings.steps, self.generator)
        self.left_out = attribution.leave_one_out(model, self.inputs, self.lengths, self.chosen)

    def random(self, *shape: int) -> Tensor:
        """Uniform numbers of the instrument's own generator, (*shape, B, T)."""
        return torch.rand(*shape, *self.valid.shape, generator=self.generator).to(self.inputs.device)

    def change(self, values: Tensor) -> Tensor:
        """(B, N, K) values -> (B, N): how far each is from the prediction."""
        return attribution.change(self.model.task, self.values[:, None], values)

    @cached_property
    def measures(self) -> dict[str, Tensor]:
        """(B, T) by measure and level; NaN where there is none."""
        state_out = attribution.leave_state_out(self.model, self.states, self.weights, self.lengths)
        return {
            "gradient_input/token": attribution.gradient_times_input(self.found.inputs, self.embedded).abs(),
            "gradient_input/state": attribution.gradient_times_input(self.found.states, self.states).abs(),
            "leave_one_out/token": self.change(self.left_out),
            "leave_one_out/state": self.change(state_out),
        }

    def agreement(self) -> Measurements:
        measures = dict(self.measures)
        measurements: Measurements = {}
        if self.settings.nodes:
            nodes, arguments = self.settings.nodes, (self.model, self.embedded, self.lengths, self.output)
            integrated = attribution.integrated_gradients(*arguments, nodes=nodes)
            measures["integrated_gradients/token"] = integrated.abs()
            error = attribution.completeness_error(*arguments, integrated)
            scale = integrated.abs().sum(1).mean().item()
            measurements["integrated_gradients/completeness_error"] = (
                scalar(error.mean().item() / scale) if scale else Undefined("all attributions are 0")
            )
        spread = null_spread(self.chosen.sum(1))
        measurements["tau/null_spread"] = scalar(spread.square().mean().sqrt().item())
        for name, measure in measures.items():
            tau = kendall_tau(self.by_weight, measure, self.chosen & measure.isfinite())
            measurements |= _agreement(f"tau/{name}", tau, spread)
        return measurements

    def truth(self, known: Tensor) -> Measurements:
        """Of `known` (B, T) bool, the steps that decide each example."""
        known = known & self.chosen
        has = known.any(1)
        ranked = {"attention": self.by_weight}
        ranked |= {name: self.measures[f"{name}/token"] for name in ("gradient_input", "leave_one_out")}
        measurements: Measurements = {}
        for name, measure in ranked.items():
            ranks = measure.nan_to_num(-torch.inf).masked_fill(~self.chosen, -torch.inf)
            highest = self.chosen & (ranks == ranks.amax(1, keepdim=True))
            hit = ((known & highest).sum(1) / highest.sum(1))[has].mean()
            measurements[f"truth/{name}"] = scalar(hit.item(), NO_TRUTH)
        chance = (known.sum(1) / self.chosen.sum(1))[has].mean()
        return measurements | {"truth/chance": scalar(chance.item(), NO_TRUTH)}

    def permutation(self) -> Measurements:
        if self.model.task.kind != "classification":
            return {"permutation/total_variation": NO_DISTRIBUTION}
        count, shape = self.settings.permutations, self.weights.shape
        # Of random numbers in order the valid ones come first, so that padding keeps its weight of 0.
        keys = self.random(count).masked_fill(~self.valid, torch.inf)
        order = keys.argsort(-1).permute(1, 0, 2)[:, None].expand(-1, shape[1], -1, -1)
        permuted = self.weights[:, :, None].expand(-1, -1, count, -1).gather(-1, order)
        changed = self.change(attribution.attend(self.model, self.states, permuted)).median(1).values
        greatest = self.by_weight.amax(1)
        points = {"greatest_weight": greatest.tolist(), "total_variation": changed.tolist()}
        return {
            "permutation/total_variation": scalar(changed.mean().item()),
            "permutation/examples": Points(points),
        }

    def erasure(self) -> Measurements:
        if self.model.task.kind != "classification":
            return {"comprehensiveness": NO_DISTRIBUTION, "sufficiency": NO_DISTRIBUTION}
        before, after = (
            attribution.distribution(self.model.task, v) for v in (self.values[:, None], self.left_out)
        )
        predicted = before.argmax(-1, keepdim=True).expand(-1, after.shape[1], 1)
        # Signed: what is lost of the predicted class. Its order and the reverse are the outermost rankings.
        loss = (before - after).gather(-1, predicted)[..., 0].nan_to_num()
        named = {
            "attention": self.by_weight,
            "gradient_input": attribution.gradient_times_input(self.found.inputs, self.embedded).abs(),
            "leave_one_out": self.change(self.left_out).nan_to_num(),
        }
        outermost = {"for": loss, "against": -loss}
        chance = {f"random {i}": scores for i, scores in enumerate(self.random(RANDOM_RANKINGS))}
        erased = {
            name: erase(self.model, self.inputs, self.lengths, scores)
            for name, scores in {**named, **outermost, **chance}.items()
        }
        measurements: Measurements = {}
        for kind, best in (("comprehensiveness", "max"), ("sufficiency", "min")):
            values: dict[str, Tensor] = {name: getattr(one, kind) for name, one in erased.items()}
            measurements |= _erasure(kind, values, placed(values, best), list(named))
        return measurements

    def recorded(self) -> Measurements:
        kept = slice(0, self.settings.recorded)
        rows = self.by_weight[kept].double().round(decimals=5).tolist()
        if not rows:
            return {}
        steps, examples = range(self.by_weight.shape[1]), self.ids[kept].tolist()
        return {"weights": Heatmap(rows, [str(t) for t in steps], [str(i) for i in examples], "step", "id")}


NO_TRUTH = "no example has, among the steps compared, one that is known to decide"
NO_DISTRIBUTION = Undefined("the task predicts a number, not a distribution over classes")


def _agreement(name: str, tau: Tensor, spread: Tensor) -> Measurements:
    """Mean and share beyond chance, over the examples that have a τ."""
    has = tau.isfinite()
    if not bool(has.any()):
        why = Undefined("all weights, or all values of the measure, are equal: there is no order to agree on")
        return {name: why, f"{name}/beyond_chance": why}
    beyond = (tau[has].abs() > NORMAL_975 * spread[has]).double().mean()
    return {name: scalar(tau[has].mean().item()), f"{name}/beyond_chance": scalar(beyond.item())}


def _erasure(kind: str, values: dict[str, Tensor], place: dict[str, float], named: list[str]) -> Measurements:
    chance = [name for name in values if name.startswith("random ")]
    groups = {name: [name] for name in named} | {"random": chance}
    measurements: Measurements = {}
    for ranking, members in groups.items():
        number: Measurement = Undefined("no ranking changes the prediction: there is no scale")
        if place:
            number = scalar(sum(place[name] for name in members) / len(members))
        mean = torch.stack([values[name].double().mean(0) for name in members]).mean(0)
        measurements[f"{kind}/{ranking}"] = number
        measurements[f"{kind}/{ranking}/curve"] = Curve(
            [100 * share for share in SHARES],
            mean.tolist(),
            "steps by rank (%)",
            f"{kind}: change of the predicted class's probability",
        )
    return measurements


def top_random(valid: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """(B, T) bool: at most `most` of the valid steps of each row, drawn at random."""
    keys = torch.rand(valid.shape, generator=generator).to(valid.device).masked_fill(~valid, torch.inf)
    return valid & (keys.argsort(1).argsort(1) < most)


def kendall_tau(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """(B, T) twice, (B, T) bool -> (B,): Kendall's τ_b over the positions that the mask leaves; NaN where one
    side has no two values that differ there."""
    rows = max(1, AT_ONCE * 16 // max(1, a.shape[1] ** 2))
    parts = [
        _tau_b(*block) for block in zip(*(v.split(rows) for v in (a.double(), b.double(), mask)), strict=True)
    ]
    return torch.cat(parts)


def _tau_b(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    pairs = (mask[:, :, None] & mask[:, None, :]).double()
    # NaN stands only where the mask is false.
    x, y = (torch.sign(v[:, :, None] - v[:, None, :]).nan_to_num() * pairs for v in (a, b))
    return (x * y).sum((1, 2)) / (x.square().sum((1, 2)) * y.square().sum((1, 2))).sqrt()


def null_spread(n: Tensor) -> Tensor:
    """Standard deviation of Kendall's τ of n independent values without ties (Kendall 1938)."""
    n = n.double()
    return ((2 * (2 * n + 5)) / (9 * n * (n - 1))).sqrt()
