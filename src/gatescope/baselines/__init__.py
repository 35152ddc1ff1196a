"""Does a recurrent network earn its keep? Models without recurrence, fitted with scikit-learn on the same
splits and recorded as runs of the same study. One model a file; `model=<name>` chooses it.

`predict` answers as a network's head does, so that a baseline has the very losses and metrics of its task.
"""
