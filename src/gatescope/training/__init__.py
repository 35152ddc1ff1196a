"""Training of any model on any task: one LightningModule, and a module for each kind of task."""
