import pytest
from small_models import Leaky, encoder, feature_batch, squared_error

from gatescope.instruments.gates import GateStatistics
from gatescope.instruments.gradient_flow import GradientFlow
from gatescope.instruments.jacobian import JacobianNorms
from gatescope.instruments.lyapunov import LyapunovSpectrum
from gatescope.instruments.measurements import Undefined
from gatescope.instruments.memory import Retention
from gatescope.instruments.probe import probe_model


@pytest.mark.parametrize(
    "instrument", [GateStatistics, GradientFlow, JacobianNorms, LyapunovSpectrum, Retention]
)
def test_a_stack_without_recurrence_is_undefined(instrument):
    probe = probe_model(encoder(Leaky, size=5, hidden=5, layers=0), feature_batch([4, 3], 5), squared_error)
    measurements = instrument().read(probe)
    assert measurements
    assert all(isinstance(measurement, Undefined) for measurement in measurements.values())
