"""The base class of models that generate a sequence of symbols."""

from __future__ import annotations

from abc import abstractmethod

from gatescope.models.encoder import SequenceModel
from gatescope.models.search import Hypotheses
from gatescope.sequences import Batch


class GeneratingModel(SequenceModel):
    """A model of a transduction.

    Attributes:
        beam: number of hypotheses of the search on the test split.
    """

    beam: int = 1

    @abstractmethod
    def generate(self, batch: Batch, beam: int = 1) -> Hypotheses:
        """Generate the symbols of each source in a batch; the targets are not used.

        Args:
            batch: inputs and lengths.
            beam: number of hypotheses; 1 for greedy search.
        """
