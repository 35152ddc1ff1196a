"""Measured arrays with named dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gatescope.watching.errors import WatchError

if TYPE_CHECKING:
    import pandas as pd

DIMS = ("layer", "direction", "example", "step", "unit")
"""Dimensions of what is measured at every state."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """An array with a name for each dimension and a label for each entry of a dimension.

    Positions beyond the end of a sequence are NaN.

    Attributes:
        name: what the values are.
        values: the values, one axis for each of `dims`.
        dims: names of the axes.
        coords: the labels of each axis, by its name: indices, the directions "forward" and "backward", or
            the tokens of a text.
    """

    name: str
    values: Tensor
    dims: tuple[str, ...]
    coords: Mapping[str, Sequence[Any]] = field(repr=False)

    def __post_init__(self) -> None:
        sizes = tuple(len(self.coords[dim]) for dim in self.dims)
        if sizes != tuple(self.values.shape):
            raise ValueError(f"{self.name}: labels {sizes} do not fit values {tuple(self.values.shape)}")

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim}: {size}" for dim, size in zip(self.dims, self.shape, strict=True))
        return f"Labelled({self.name!r}, {sizes})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each dimension."""
        return tuple(self.values.shape)

    def numpy(self) -> np.ndarray:
        """Return the values as an array on the CPU."""
        values: np.ndarray = self.values.detach().cpu().numpy()
        return values

    def sel(self, **labels: Any) -> Labelled:
        """Select one label of a dimension, which is dropped, or a list of labels.

        Args:
            **labels: label, or list of labels, by dimension: `sel(layer=0, unit=[3, 7])`.

        Raises:
            WatchError: there is no such dimension or label.
        """
        values, dims, coords = self.values, list(self.dims), dict(self.coords)
        for dim, label in labels.items():
            if dim not in dims:
                raise WatchError(f"{self.name} has no dimension {dim!r}; it has {', '.join(self.dims)}")
            axis, several = dims.index(dim), isinstance(label, list | tuple | range)
            index = [_position(self.name, dim, coords[dim], one) for one in (label if several else [label])]
            values = values.index_select(axis, torch.tensor(index, device=values.device))
            coords[dim] = [coords[dim][i] for i in index]
            if not several:
                values = values.squeeze(axis)
                dims.remove(dim)
        return Labelled(self.name, values, tuple(dims), {dim: coords[dim] for dim in dims})

    def mean(self, *dims: str) -> Labelled:
        """Return the mean over dimensions, without the positions beyond the end of a sequence.

        Args:
            *dims: names of the dimensions; all of them if none is given.
        """
        gone = dims or self.dims
        kept = tuple(dim for dim in self.dims if dim not in gone)
        values = self.values.nanmean(dim=[self.dims.index(dim) for dim in gone])
        return Labelled(self.name, values, kept, {dim: self.coords[dim] for dim in kept})

    def to_dataframe(self) -> pd.DataFrame:
        """Return a table with a row for each value, a column for each dimension, and the column `name`."""
        import pandas as pd

        columns: dict[str, Any] = {}
        indices = np.indices(self.shape).reshape(len(self.dims), -1)
        for dim, index in zip(self.dims, indices, strict=True):
            labels = np.array(list(self.coords[dim]))
            columns[dim] = labels[index]
        columns[self.name] = self.numpy().reshape(-1)
        return pd.DataFrame(columns).dropna(subset=[self.name], ignore_index=True)

    def to_xarray(self) -> Any:
        """Return an `xarray.DataArray`.

        Raises:
            WatchError: the package xarray is not installed.
        """
        try:
            import xarray
        except ImportError as error:
            raise WatchError(
                "to_xarray needs the package xarray: pip install xarray; to_dataframe needs no other package"
            ) from error
        coords = {dim: list(self.coords[dim]) for dim in self.dims}
        return xarray.DataArray(self.numpy(), coords=coords, dims=self.dims, name=self.name)


def _position(name: str, dim: str, labels: Sequence[Any], label: Any) -> int:
    try:
        return list(labels).index(label)
    except ValueError:
        known = ", ".join(str(one) for one in list(labels)[:8]) + (", …" if len(labels) > 8 else "")
        raise WatchError(f"{name} has no {dim} {label!r}; it has {known}") from None


class LabelledGroup(Mapping[str, Labelled]):
    """Labelled arrays by name, such as the gates of a module.

    Args:
        what: what the arrays are, for messages.
        arrays: the arrays by name.
    """

    def __init__(self, what: str, arrays: dict[str, Labelled]) -> None:
        self.what, self._arrays = what, arrays

    def __getitem__(self, name: str) -> Labelled:
        if name not in self._arrays:
            known = f"it has {', '.join(self._arrays)}" if self._arrays else "it has none"
            raise WatchError(f"{self.what}: there is no {name!r}; {known}")
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __repr__(self) -> str:
        return f"{self.what}: " + ", ".join(repr(array) for array in self._arrays.values())

    def to_dataframe(self) -> pd.DataFrame:
        """Return one table with a column for each array, and a column for each dimension."""
        import pandas as pd

        tables = [array.to_dataframe() for array in self._arrays.values()]
        if not tables:
            return pd.DataFrame()
        dims = [dim for dim in DIMS if dim in tables[0]]
        merged = tables[0]
        for table in tables[1:]:
            merged = merged.merge(table, on=dims, how="outer", sort=False)
        return merged

    def to_xarray(self) -> Any:
        """Return an `xarray.Dataset`; see `Labelled.to_xarray`."""
        arrays = {name: array.to_xarray() for name, array in self._arrays.items()}
        import xarray

        return xarray.Dataset(arrays)
