'''Instruments: measurements of gates, attention and gradients inside a model.

`probe.probe_model` runs the model on a fixed batch and records every layer; `callbacks` does so during
training and passes the result to each instrument. Each instrument is a class in a module of its own.

An instrument is found by its dotted path, so it can be in the package or in a module of your own. A
`ProbeInstrument` measures the model on the fixed batch, an `UpdateInstrument` an update of training. Save
this as `state_norm.py`:

```python
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.measurements import Measurements, scalar
from gatescope.instruments.probe import Probe


class StateNorm(ProbeInstrument):
    """Mean Euclidean norm of the hidden state, over the valid steps of a layer."""

    def read(self, probe: Probe) -> Measurements:
        return {
            f"state_norm/{name}/mean": scalar(layer.states.h.norm(dim=-1)[probe.mask].mean().item())
            for name, layer in probe.layers.items()
        }
```

Add it to the instruments of a run, from the folder of that file:

```sh
PYTHONPATH=. python path/to/train.py +instruments.readers.state_norm._target_=state_norm.StateNorm
```

or in a config file of the group `instruments`, under `readers`:

```yaml
state_norm: {_target_: state_norm.StateNorm}
```

The measurements are in `readings.jsonl` of the run, in W&B and in the report, under their names.
'''
