"""Who a run is (`identity`), what it leaves on disk (`record`), W&B (`wandb`), start to end (`lifecycle`)."""
