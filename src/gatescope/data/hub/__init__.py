"""Datasets of the Hugging Face hub, through its package `datasets` (extra `hub`)."""
