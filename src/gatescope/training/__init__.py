"""Training of any model on any task: one LightningModule (`module`), a file for each kind of task."""
