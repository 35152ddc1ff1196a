"""Conversion of texts, pairs, series, piano rolls and sound into tensors, shared by the datasets."""
