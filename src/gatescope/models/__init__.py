"""embed -> recurrent stack -> pooling or attention -> head, or a decoder (`seq2seq`) for target sequences.

`build` puts them together from a TaskSpec. To add an attention, write a class with `score` in `attention.py`
and a file in `conf/attention/` naming it: encoders and decoders share it.
"""
