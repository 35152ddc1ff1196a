"""The native recurrence: loops over time in C++ for CPUs, compiled at first use.

`build` compiles the library, `recurrence` calls it, `autograd` makes it an operation of autograd, and
`layer.NativeLayer` is the base class of cells that use it. `forward.h` and `backward.h` have the loops
over time and `architectures.h` the step of each cell.

To give a cell a native kernel, write its step in `architectures.h`, export it in `recurrence.h`, describe its
buffers in `weights.FORMS`, and derive the cell from `NativeLayer`, with its `kind`.
"""
