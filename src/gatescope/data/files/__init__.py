"""Datasets read from the user's own files: texts, pairs, series, music, recordings, plain text."""
