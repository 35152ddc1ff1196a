"""Models without recurrence, to compare recurrent networks with: one model per file, used by `model=<name>`.

They are fitted by scikit-learn on the same splits and recorded as runs of the same study. `predict` returns
what the head of a network returns, so that a baseline has the same losses and metrics.
"""
