"""embed -> recurrent stack -> pooling or attention -> head. `encoder` puts them together from a TaskSpec.

To add an attention, write a class with `score` in `attention.py` and a file in `conf/attention/` naming it.
"""
