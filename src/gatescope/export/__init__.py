"""Export of a trained model: as a graph (ONNX, `torch.export`), or as a folder for `gatescope.load`."""

from gatescope.export.graph import export

__all__ = ["export"]
