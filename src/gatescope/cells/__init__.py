'''Recurrent layers, one architecture per file, with its equations at the top.

`layer` has the contract, `state` the state and the result of a pass, `derived` the forward pass and the
derivatives that follow from a layer's `step`, `adjoint` the exact gradient at every state, and `kernels` the
C++ versions.

A new architecture is one file with two methods and one file in `conf/model/`; the tests of the contract run
on it without further changes. The simple recurrent unit (Lei et al. 2018), `src/gatescope/cells/sru.py`:

    import torch
    from torch import Tensor, nn

    from gatescope.cells.initialisation import uniform_start
    from gatescope.cells.layer import RecurrentLayer
    from gatescope.cells.state import State, States


    class SRU(RecurrentLayer):
        """Simple recurrent unit: gates see the input and the memory cell, elementwise."""

        gate_names = ("forget", "reset")
        chunk_names = ("forget", "reset", "candidate", "skip")
        has_memory_cell = True

        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__(input_size, hidden_size)
            self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
            self.peepholes = nn.Parameter(torch.empty(2, hidden_size))
            uniform_start(self, fan_in=input_size)

        def step(self, x_t: Tensor, state: State) -> State:
            f, r, candidate, skip = self.equations(x_t, state.c)
            c = f * state.c + (1 - f) * candidate
            return State(r * c + (1 - r) * skip, c)

        def gates(self, x: Tensor, states: States) -> dict[str, Tensor]:
            f, r, candidate, _ = self.equations(x, states.previous_c)
            return {"forget": f, "reset": r, "keep": f, "candidate": candidate}

        def equations(self, x: Tensor, c: Tensor) -> tuple[Tensor, ...]:
            f, r, candidate, skip = (x @ self.weight_ih.T).chunk(4, dim=-1)
            v_f, v_r = self.peepholes
            return torch.sigmoid(f + v_f * c), torch.sigmoid(r + v_r * c), candidate, skip

and `conf/model/sru.yaml`:

    defaults:
      - _base
      - _self_
    name: sru
    cell:
      _target_: gatescope.cells.sru.SRU
      _partial_: true

`python train.py model=sru instruments=full` trains it and takes every measurement. A layer that should run
faster overrides methods of `RecurrentLayer`, `forward` first.
'''
