"""The computations of `faithfulness.Faithfulness`, on the examples of one probe."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from gatescope.instruments import ablation, attribution
from gatescope.instruments.erasure import erase, erasure_measurements
from gatescope.instruments.measurements import (
    Heatmap,
    Measurements,
    Points,
    Undefined,
    scalar,
)
from gatescope.instruments.rank_correlation import dense_ranks, kendall_tau, permuted_variance
from gatescope.models.encoder import Encoder
from gatescope.sequences import Batch, valid_mask

NORMAL_975 = 1.96
"""97.5 % quantile of the standard normal distribution."""
ROUNDING = 4
"""Differences of values up to this many units of rounding of the model's outputs are rounding errors."""
RANDOM_RANKINGS = 5
"""Number of random rankings that comprehensiveness and sufficiency are compared with."""
NO_TRUTH = "no example has a known deciding step among the compared steps"
NO_DISTRIBUTION = Undefined("the task predicts a number, not a distribution over classes")


class AttentionEvaluation:
    """The examples of one probe, with all measures of importance of their steps.

    Args:
        model: an encoder with attention, in eval mode.
        batch: the batch of the probe.
        rows: (B,), the rows of the batch that are used; each sequence has two steps or more.
        steps: largest number of steps of a sequence that are compared.
        recorded: number of examples whose weights are recorded.
        seed: seed of permutations, of the compared steps and of random rankings.

    Attributes:
        inputs: (B, T) ids or (B, T, F) features.
        lengths: (B,).
        valid: (B, T) bool.
        states: (B, T, S), states of the top layer.
        values: (B, K), the prediction.
        weights: (B, heads, T), the attention weights.
        mean_weights: (B, T), averaged over heads.
        subset: (B, T) bool, the compared steps.
        left_out: (B, T, K), the prediction without each step of the subset.
        noise: (B,), rounding error of the outputs, by which measures of importance may differ by chance.
    """

    def __init__(
        self,
        model: Encoder,
        batch: Batch,
        rows: Tensor,
        *,
        steps: int = 64,
        recorded: int = 32,
        seed: int = 0,
    ) -> None:
        self.model, self.recorded = model, recorded
        self.lengths, self.ids = batch.lengths[rows], batch.ids[rows]
        self.inputs = batch.inputs[rows, : int(self.lengths.max())]
        self.generator = torch.Generator().manual_seed(seed)
        self.valid = valid_mask(self.lengths, self.inputs.shape[1])
        self.embedded = model.embed(self.inputs)
        self.states, _ = model.stack.trace(self.embedded, self.lengths)
        prediction = model.readout(self.states, self.lengths)
        assert prediction.attention is not None
        self.values, self.weights = prediction.values, prediction.attention
        self.output = attribution.explained_output(model.task, self.values)
        self.mean_weights = self.weights.mean(1)
        self.gradients = attribution.gradients(model, self.embedded, self.lengths, self.output)
        self.subset = random_subset(self.valid, steps, self.generator)
        self.left_out = ablation.leave_one_out(model, self.inputs, self.lengths, self.subset)
        self.noise = ROUNDING * torch.finfo(self.values.dtype).eps * self.values.abs().amax(1).clamp(min=1)

    def random(self, *shape: int) -> Tensor:
        """Draw uniform random numbers (*shape, B, T)."""
        return torch.rand(*shape, *self.valid.shape, generator=self.generator).to(self.inputs.device)

    def change(self, values: Tensor) -> Tensor:
        """Return the distance (B, N) of alternative values (B, N, K) from the prediction."""
        return attribution.prediction_change(self.model.task, self.values[:, None], values)

    @cached_property
    def measures(self) -> dict[str, Tensor]:
        """Measures of importance (B, T) by "<measure>/<level>"; NaN where undefined."""
        without_state = ablation.leave_state_out(self.model, self.states, self.weights, self.lengths)
        by_gradient = attribution.gradient_times_input
        return {
            "gradient_input/token": by_gradient(self.gradients.inputs, self.embedded).abs(),
            "gradient_input/state": by_gradient(self.gradients.states, self.states).abs(),
            "leave_one_out/token": self.change(self.left_out),
            "leave_one_out/state": self.change(without_state),
        }

    def agreement(self, nodes: int) -> Measurements:
        """Measure Kendall's τ_b between the weights and every measure of importance.

        Values are tied where their difference is within the rounding errors of the model's numbers.

        Args:
            nodes: nodes of the quadrature of integrated gradients; 0 to leave them out.
        """
        measures = dict(self.measures)
        measurements: Measurements = {}
        if nodes:
            arguments = self.model, self.embedded, self.lengths, self.output
            integrated = attribution.integrated_gradients(*arguments, nodes=nodes)
            measures["integrated_gradients/token"] = integrated.abs()
            error = attribution.completeness_error(*arguments, integrated)
            scale = integrated.abs().sum(1).mean().item()
            measurements["integrated_gradients/completeness_error"] = (
                scalar(error.mean().item() / scale) if scale else Undefined("all attributions are 0")
            )
        for name, measure in measures.items():
            measurements |= self._tau(f"tau/{name}", measure)
        return measurements

    def _tau(self, name: str, measure: Tensor) -> Measurements:
        """Measure τ of one measure of importance, and its spread over permutations of the weights."""
        mask = self.subset & measure.isfinite()
        ones = torch.ones_like(self.noise)
        weights = dense_ranks(self.mean_weights, mask, ones * ROUNDING * torch.finfo(self.values.dtype).eps)
        ranks = dense_ranks(measure, mask, self.noise)
        tau, variance = kendall_tau(weights, ranks, mask), permuted_variance(weights, ranks, mask)
        defined = tau.isfinite()
        if not bool(defined.any()):
            why = Undefined(
                "all weights, or all values of the measure, are equal: there is no order to agree on"
            )
            return {name: why, f"{name}/beyond_chance": why}
        tau, variance = tau[defined], variance[defined]
        beyond = (tau.abs() > NORMAL_975 * variance.sqrt()).double().mean()
        columns = {"id": self.ids[defined].tolist(), "tau": tau.tolist()}
        return {
            name: scalar(tau.mean().item()),
            f"{name}/beyond_chance": scalar(beyond.item()),
            f"{name}/permuted_spread": scalar(variance.sum().sqrt().item() / len(tau)),
            f"{name}/examples": Points(columns),
        }

    def truth(self, known: Tensor) -> Measurements:
        """Measure how often the highest step of each measure is a deciding step.

        Args:
            known: (B, T) bool, the steps that decide each example.
        """
        known = known & self.subset
        has_truth = known.any(1)
        measures = {"attention": self.mean_weights}
        measures |= {name: self.measures[f"{name}/token"] for name in ("gradient_input", "leave_one_out")}
        measurements: Measurements = {}
        for name, measure in measures.items():
            compared = measure.nan_to_num(-torch.inf).masked_fill(~self.subset, -torch.inf)
            highest = self.subset & (compared == compared.amax(1, keepdim=True))
            hit = ((known & highest).sum(1) / highest.sum(1))[has_truth].mean()
            measurements[f"truth/{name}"] = scalar(hit.item(), NO_TRUTH)
        chance = (known.sum(1) / self.subset.sum(1))[has_truth].mean()
        return measurements | {"truth/chance": scalar(chance.item(), NO_TRUTH)}

    def permutation(self, count: int) -> Measurements:
        """Measure the change of the prediction under random permutations of the weights.

        Args:
            count: number of permutations.
        """
        if not self.model.task.has_classes:
            return {"permutation/total_variation": NO_DISTRIBUTION}
        # Sorting random numbers puts the valid steps first, so that padding keeps its weight of 0.
        keys = self.random(count).masked_fill(~self.valid, torch.inf)
        heads = self.weights.shape[1]
        order = keys.argsort(-1).permute(1, 0, 2)[:, None].expand(-1, heads, -1, -1)
        permuted = self.weights[:, :, None].expand(-1, -1, count, -1).gather(-1, order)
        values = ablation.predict_with_weights(self.model, self.states, permuted)
        # The lower median; torch's own along an axis has no deterministic kernel on a GPU.
        changes = self.change(values).sort(1).values[:, (count - 1) // 2]
        largest = self.mean_weights.amax(1)
        points = {"greatest_weight": largest.tolist(), "total_variation": changes.tolist()}
        return {
            "permutation/total_variation": scalar(changes.mean().item()),
            "permutation/examples": Points(points),
        }

    def erasure(self) -> Measurements:
        """Measure comprehensiveness and sufficiency of the weights, beside other rankings."""
        if not self.model.task.has_classes:
            return {"comprehensiveness": NO_DISTRIBUTION, "sufficiency": NO_DISTRIBUTION}
        before, after = (
            attribution.distribution(self.model.task, v) for v in (self.values[:, None], self.left_out)
        )
        predicted = before.argmax(-1, keepdim=True).expand(-1, after.shape[1], 1)
        # The signed loss of the predicted class's probability: its order and the reverse order are the
        # extreme rankings.
        loss = (before - after).gather(-1, predicted)[..., 0].nan_to_num()
        rankings = {
            "attention": self.mean_weights,
            "gradient_input": attribution.gradient_times_input(self.gradients.inputs, self.embedded).abs(),
            "leave_one_out": self.change(self.left_out).nan_to_num(),
        }
        extremes = {"for": loss, "against": -loss}
        random = {f"random {i}": scores for i, scores in enumerate(self.random(RANDOM_RANKINGS))}
        results = {
            name: erase(self.model, self.inputs, self.lengths, scores)
            for name, scores in {**rankings, **extremes, **random}.items()
        }
        measurements: Measurements = {}
        for kind, best in (("comprehensiveness", "max"), ("sufficiency", "min")):
            values: dict[str, Tensor] = {name: getattr(one, kind) for name, one in results.items()}
            measurements |= erasure_measurements(kind, values, best, list(rankings))
        return measurements

    def weights_of_examples(self) -> Measurements:
        """Return the weights of the first examples as a heatmap."""
        subset = slice(0, self.recorded)
        rows = self.mean_weights[subset].double().round(decimals=5).tolist()
        if not rows:
            return {}
        steps, ids = range(self.mean_weights.shape[1]), self.ids[subset].tolist()
        return {"weights": Heatmap(rows, [str(t) for t in steps], [str(i) for i in ids], "step", "id")}


def random_subset(valid: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """Draw at most `limit` of the valid steps of each row.

    Args:
        valid: (B, T) bool.
        limit: largest number of steps.
        generator: source of randomness, on the CPU.

    Returns:
        (B, T) bool.
    """
    keys = torch.rand(valid.shape, generator=generator).to(valid.device).masked_fill(~valid, torch.inf)
    return valid & (keys.argsort(1).argsort(1) < limit)
