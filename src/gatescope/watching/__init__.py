"""A look inside the recurrent modules of any model of PyTorch: gates, states and exact gradients.

`scope` has `watch`; `capture` what hooks record; `copies` this package's cells with the weights of a module;
`passes` a recorded pass, computed again with the adjoint; `merging` several calls as one pass; `readings`
what is read of it; `labelled` the arrays with named dimensions.
"""
