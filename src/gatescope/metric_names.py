"""Names of metrics that records, scores on other files and tables share. It does not import torch."""

from __future__ import annotations


def output_metric(output: str, metric: str) -> str:
    """Return the name of a metric of one of several outputs, such as height/mse.

    A metric is a module of torch, whose name has no dot.

    Args:
        output: Name of the output.
        metric: Name of the metric.
    """
    return f"{output.replace('.', '_')}/{metric}"
