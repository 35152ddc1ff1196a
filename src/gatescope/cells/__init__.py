"""Recurrent layers, an architecture a file, its equations at the top. `base` has the contract.

To add one, write one file here and one in `conf/model/`; nothing else is touched:

    # src/gatescope/cells/scrn.py                            # conf/model/scrn.yaml
    class SCRN(RecurrentLayer):                              defaults: [_base, _self_]
        gate_names = ("update",)                             name: scrn
        chunk_names = ("update", "candidate")                cell:
        def step(self, x_t, state): ...    # the equation      _target_: gatescope.cells.scrn.SCRN
        def forward(self, x, lengths=None, state=None): ...    _partial_: true
        def gates(self, x, states): ...
        def linearise(self, x, states): ...  # with vjp and jvp: one step's derivative, and the adjoint,
        def vjp(self, adjoint, saved): ...   # the vanishing curves and the Jacobians all follow
        def jvp(self, tangent, saved): ...

Put its class into `CELLS` of `tests/cells/cell_reference.py` and every test of the contract runs on it.
"""
