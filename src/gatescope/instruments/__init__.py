"""What is measured inside a model: one look a time (`probe`, `callbacks`), an instrument a file.

To add one, write one file here and a line under `readers` of `conf/instruments/full.yaml`:

    # conf/instruments/full.yaml, under readers:
    state_norm: {_target_: gatescope.instruments.state_norm.StateNorm}

    # src/gatescope/instruments/state_norm.py
    class StateNorm(ProbeInstrument):
        def read(self, probe: Probe) -> Readings:
            norms = {n: l.states.h.norm(dim=-1).mean()
                     for n, l in probe.layers.items()}
            return {f"state_norm/{n}/mean": scalar(v) for n, v in norms.items()}

A reading is a value of `readings`; it reaches the record, W&B and the report under its name.
"""
