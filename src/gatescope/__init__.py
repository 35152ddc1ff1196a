"""Gatescope: GRU, LSTM or a plain RNN, with or without attention: which, why, and what happens inside?"""

__version__ = "0.1.0"
