'''Datasets, each a `SequenceData` that publishes a `TaskSpec` and yields `Batch`.

    generated/   tasks that are drawn from (config, seed)
    shipped/     datasets that are part of an installed package
    files/       datasets read from the user's own files
    hub/         datasets of the Hugging Face hub
    encoding/    conversion of texts, pairs, series, piano rolls and sound into tensors

The other modules are the machinery of every dataset, beginning with `datamodule`.

A dataset is a class with one method, `build`, in any module that Python can import; modules in the current
folder can be imported. This is a complete one, shift.py:

    import torch

    from gatescope.data.datamodule import SequenceData
    from gatescope.data.examples import Examples, Splits
    from gatescope.sequences import TaskSpec


    class Shift(SequenceData):
        """Digits, classified by the first of them plus `by`, modulo 10."""

        def __init__(self, by: int = 1, batch_size: int = 128, seed: int = 0, workers: int = 0) -> None:
            super().__init__(batch_size, seed, workers)
            self.by = by

        def build(self) -> Splits:
            generator = torch.Generator().manual_seed(self.seed)
            task = TaskSpec("classification", "tokens", 10, 10, "accuracy", "max")
            return Splits(*(self.draw(count, generator) for count in (1000, 100, 100)), task)

        def draw(self, count: int, generator: torch.Generator) -> Examples:
            inputs = torch.randint(10, (count, 8), generator=generator)
            return Examples(list(inputs), (inputs[:, 0] + self.by) % 10)

It is used by its dotted path; the arguments of its constructor are keys of the config:

    python train.py data=custom data._target_=shift.Shift +data.by=3

or, inside this repository, by the name of a file, conf/data/shift.yaml:

    _target_: shift.Shift
    by: 1
    batch_size: 128
    seed: 0
    workers: 0

If an argument names a file or folder (`path`, `…_path`, or any text with the form of a path), the content of
that file is part of the run's identity (`gatescope.tracking.content`).
'''
