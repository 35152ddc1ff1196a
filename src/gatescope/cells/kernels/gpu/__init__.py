"""The recurrence on GPUs in Triton: one launch for all steps of a layer, forward and backward.

A program takes a few sequences through all steps. The recurrent weights are loaded once and stay in
registers, with the state, as in FlashRNN (Pöppel et al. 2025, arXiv 2412.07752). The products with the inputs
are one matrix product for all steps, before the kernel; those of the weight gradients come after it. The
forward pass stores the gates, and the backward pass returns the gradients at the pre-activations and at the
states, from which the instruments read.

`rnn`, `gru` and `lstm` have the kernels, `scan` that of the layers without recurrent weights, `plan` says
what a program takes, and `recurrence` calls them, with the signature of `gatescope.cells.kernels.recurrence`.

With the environment variable TRITON_INTERPRET=1 the kernels run on a CPU, slowly, in Triton's interpreter.

Compile-time arguments of the kernels, in capitals:
    R: sequences of a program.
    U: units of a program, H rounded up to a power of two; values beyond H are 0.
    PADDED: whether `lengths` is given.
    STARTED: whether the initial state is given.
    KEEP: whether the gates are stored.
    RELU, PEEPHOLES: variants of the cell.
    OUTPUT, OUTPUT_C: whether a gradient from outside is given at h, at c.
    LAST, LAST_C: whether a gradient is given at the last state of each sequence.
    DELTAS, STATES: whether the gradients at the pre-activations, at the states are stored.
    RENORMALISE: whether the gradients at each step are kept near 1, with the logarithms of their scale.
    OUTPUT_LOG: whether the gradients from outside have such logarithms.
    DOT: whether products run on the tensor cores.
"""
