"""Records of runs -> tidy tables -> comparison and figures -> report. Imports no torch.

    tables = RecordSource(root="runs", study="first_light").tables()     # runs.py
    statistics.mean_interval(tables.final("test/accuracy").value)        # statistics/
    compare(tables).contrasts                                            # comparison.py
    figures.save(learning_curves.draw(tables), "out", "learning_curves") # figures/, a figure a file

To add a source (W&B, say), write a class with `tables() -> Tables`. To add a figure see `analysis.figures`,
to add findings of your own see `analysis.report`.
"""
