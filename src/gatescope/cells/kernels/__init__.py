"""The native recurrence: C++ walks through time on a CPU, built at first use (`build`), called by `walk`, and
offered to every cell by `layer.NativeLayer`. `recurrence.h` has the walk, `architectures.h` each cell's step.

To give a new architecture a native kernel, write its step in `architectures.h`, export it at the end of
`recurrence.h`, and derive the cell from `NativeLayer`.
"""
