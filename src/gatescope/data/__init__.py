"""Datasets, each a `SequenceData` that publishes a `TaskSpec` and yields `Batch`.

To add one, write one file here and one in `conf/data/`; nothing else is touched:

    # src/gatescope/data/shift.py                          # conf/data/shift.yaml
    class Shift(SequenceData):                             _target_: gatescope.data.shift.Shift
        def build(self) -> Splits:                         batch_size: 128
            task = TaskSpec("classification", "tokens",    seed: 0
                            10, 10, "accuracy", "max")     workers: 0
            return Splits(*(self.draw(i) for i in range(3)), task)

`draw(i)` returns `Examples(inputs, targets)`. The constructor names every argument that the YAML sets. A file
or folder that an argument names (`path`, `…_path`, any text with the form of a path) is a part of the run's
identity by what it holds (`gatescope.tracking.content`).
"""

from gatescope.data import torchtext_compat as _torchtext_compat  # noqa: F401  before any `import torchtext`
