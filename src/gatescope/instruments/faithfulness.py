"""Faithfulness of attention: do the weights show which steps a prediction depends on?

See docs/instruments.md, "Attention". Three kinds of evidence:

- agreement of the weights with other measures of importance: Kendall's τ_b, beside its spread over
  permutations of the weights;
- the change of the prediction when the weights are permuted (Jain & Wallace 2019);
- the change of the prediction when the steps with the largest weights are removed or kept (`erasure`).

The ablations with uniform and frozen random weights (Wiegreffe & Pinter 2019) are models of their own:
`attention=uniform`, `attention=frozen_random`.

Attention weights *states*, and a state contains information on other tokens. Every agreement is therefore
computed for tokens (the embedded inputs) and for states. Agreement on states alone is weak evidence: each
state is multiplied by its weight before anything else, so a model can show it and give the same prediction
whatever the weights are.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from gatescope.instruments.attention_evaluation import AttentionEvaluation
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.measurements import Measurements, Undefined
from gatescope.instruments.probe import Probe, undisturbed
from gatescope.models.encoder import Encoder


class Faithfulness(ProbeInstrument):
    """Faithfulness of an encoder's attention, under `attention/`; nothing without attention.

    The explained number is the log probability of the predicted class, or the value of a regression.

    - `tau/<measure>/<level>`: mean over examples of Kendall's τ_b (−1 to 1) between the weights, averaged
      over heads, and a measure of importance: `gradient_input` (absolute gradient × input) and
      `leave_one_out` (total variation distance; for a regression the absolute change), each at the levels
      `token` and `state`, and `integrated_gradients/token` (absolute). Differences within the rounding
      errors of the outputs are ties. Over permutations of the weights within an example τ has mean 0;
      `…/permuted_spread` is the standard deviation of the mean over examples under such permutations, and
      `…/beyond_chance` the share of examples with |τ| > 1.96 of their own. `…/examples`: id and τ.
    - `permutation/total_variation`: mean over examples of the median, over permutations of the weights, of
      the total variation distance (0 to 1); `permutation/examples`: it and the largest weight, a point for
      each example.
    - `comprehensiveness/<ranking>` and `sufficiency/<ranking>`: normalised, 1 is the best (see `erasure`);
      rankings `attention`, `random`, `gradient_input`, `leave_one_out`. `…/<ranking>/curve`: the change of
      the predicted class's probability by share of steps (%).
    - `truth/<measure>`, where the data know which steps decide: share of examples whose highest step by
      `attention`, `gradient_input` or `leave_one_out` (tokens) is such a step; `truth/chance`: the share for
      a random step. All rank the same compared steps. An example counts if a deciding step is among them. Of
      k steps with an equal highest value each counts 1/k.
    - `integrated_gradients/completeness_error`: |Σ attributions − change of output| over Σ |attributions|.
    - `weights`: heatmap of the weights of the first examples, for comparisons between seeds.

    Args:
        examples: number of sequences of the probe, each of two steps or more.
        steps: largest number of steps of a sequence that are left out and compared; drawn at random.
        permutations: number of permutations of the weights.
        nodes: nodes of the quadrature of integrated gradients; 0 to leave them out.
        recorded: number of examples whose weights are recorded.
        seed: seed of permutations, of the compared steps and of random rankings.
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
        """Evaluate the attention of one probe."""
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
            evaluation = AttentionEvaluation(
                probe.model, probe.batch, rows, steps=self.steps, recorded=self.recorded, seed=self.seed
            )
            measurements = (
                evaluation.agreement(self.nodes)
                | evaluation.permutation(self.permutations)
                | evaluation.erasure()
                | evaluation.weights_of_examples()
            )
            if probe.alignment is not None:
                known = probe.alignment[rows.cpu(), 0, : evaluation.inputs.shape[1]]
                measurements |= evaluation.truth(known.to(evaluation.valid.device))
        return {f"attention/{name}": measurement for name, measurement in measurements.items()}
