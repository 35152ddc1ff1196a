"""One message for each thing that cannot be watched."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gatescope
from gatescope.cells.gru import GRU
from gatescope.watching.errors import WatchError


def rnn() -> nn.GRU:
    return nn.GRU(3, 4, batch_first=True)


def test_a_model_without_recurrence() -> None:
    with pytest.raises(WatchError, match=r"Linear has no nn\.RNN, nn\.GRU or nn\.LSTM among its modules$"):
        gatescope.watch(nn.Linear(2, 2))
    with pytest.raises(WatchError, match=r"called step by step are not watched: 0 \(GRUCell\)"):
        gatescope.watch(nn.Sequential(nn.GRUCell(2, 2)))
    with pytest.raises(WatchError, match="layers of this package, which record themselves"):
        gatescope.watch(nn.Sequential(GRU(2, 3)))
    with pytest.raises(WatchError, match=r"takes a torch\.nn\.Module; given: str"):
        gatescope.watch("model")  # type: ignore[arg-type]


def test_a_forward_pass_that_never_ran() -> None:
    scope = gatescope.watch(nn.ModuleDict({"used": rnn(), "unused": rnn()}))
    with pytest.raises(WatchError, match="watch is a context manager"):
        scope["used"]
    with scope:
        pass
    with pytest.raises(WatchError, match="unused: its forward pass has not run inside the with block"):
        scope["unused"]
    with pytest.raises(WatchError, match="no forward pass of used, unused has run"):
        scope.summary()
    with pytest.raises(WatchError, match=r"no recurrent module 'encoder'; there are: used, unused"):
        scope["encoder"]
    with pytest.raises(WatchError, match="has been used already"), scope:
        pass


def test_backward_that_was_not_called() -> None:
    module = rnn()
    with gatescope.watch(module) as scope:
        loss = module(torch.randn(2, 5, 3))[0].sum()
    loss.backward()
    with pytest.raises(WatchError, match="backward has not been called inside the with block"):
        scope["GRU"].state_gradients  # noqa: B018
    with torch.no_grad(), gatescope.watch(module) as scope:
        module(torch.randn(2, 5, 3))
    with pytest.raises(WatchError, match=r"ran without gradients \(torch.no_grad"):
        scope.vanishing_curve()
    assert len(scope.vanishing_curve(loss_free=True)) == 5
    assert scope.summary()["half_life"].notna().all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:torch.quantize_per_tensor:UserWarning")
def test_quantised_and_scripted_modules() -> None:
    model = nn.Sequential(rnn())
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.GRU})
    with pytest.raises(WatchError, match="0 is a quantised GRU"):
        gatescope.watch(quantised)
    with pytest.raises(WatchError, match="0 is a scripted GRU"):
        gatescope.watch(torch.jit.script(model))


def test_states_on_another_device() -> None:
    module = rnn()
    with (
        gatescope.watch(module),
        pytest.raises(WatchError, match="weights are on cpu, its initial state h_0 is on meta"),
    ):
        module(torch.randn(2, 5, 3), torch.zeros(1, 2, 4, device="meta"))


def test_a_loss_that_misses_the_last_step() -> None:
    module = rnn()
    with gatescope.watch(module) as scope:
        module(torch.randn(2, 5, 3))[0][:, 0].sum().backward()
    with pytest.raises(WatchError, match="lags are counted from the last step"):
        scope.vanishing_curve()


def test_wrong_labels_and_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = rnn()
    with gatescope.watch(module) as scope:
        module(torch.randn(2, 5, 3))[0].sum().backward()
    gates = scope["GRU"].gates
    with pytest.raises(WatchError, match=r"gates of GRU: there is no 'forget'; it has reset, update, keep"):
        gates["forget"]
    with pytest.raises(WatchError, match=r"update has no unit 9; it has 0, 1, 2, 3$"):
        gates["update"].sel(unit=9)
    with pytest.raises(WatchError, match="update has no dimension 'time'"):
        gates["update"].sel(time=9)
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(WatchError, match="pip install xarray"):
        gates["update"].to_xarray()


class DataArray:
    """Keeps what xarray would get."""

    def __init__(self, values: Any, coords: dict[str, Any], dims: tuple[str, ...], name: str) -> None:
        self.values, self.coords, self.dims, self.name = values, coords, dims, name


def test_labels_in_tables_and_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.LSTM(3, 4, bidirectional=True, batch_first=True)
    x = nn.utils.rnn.pack_padded_sequence(torch.randn(2, 5, 3), torch.tensor([5, 2]), True)
    with gatescope.watch(module) as scope:
        module(x)
    forget = scope["LSTM"].gates["forget"]
    assert repr(forget) == "Labelled('forget', layer: 1, direction: 2, example: 2, step: 5, unit: 4)"
    table = forget.to_dataframe()
    assert list(table) == ["layer", "direction", "example", "step", "unit", "forget"]
    assert len(table) == (5 + 2) * 2 * 4
    row = table.query("direction == 'backward' and example == 1 and step == 1 and unit == 2").iloc[0]
    one = forget.sel(direction="backward", layer=0, example=1, step=1, unit=2)
    assert row["forget"] == one.numpy()
    assert forget.mean("step", "unit").dims == ("layer", "direction", "example")
    np.testing.assert_allclose(np.asarray(forget.mean()), table["forget"].mean(), rtol=1e-6)
    assert {"input", "forget", "output", "keep", "candidate"} <= set(scope["LSTM"].gates.to_dataframe())

    fake = ModuleType("xarray")
    fake.DataArray, fake.Dataset = DataArray, dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "xarray", fake)
    array = forget.sel(direction="forward").to_xarray()
    assert array.dims == ("layer", "example", "step", "unit")
    assert list(array.coords) == list(array.dims)
    assert set(scope["LSTM"].gates.to_xarray()) == set(scope["LSTM"].gates)
