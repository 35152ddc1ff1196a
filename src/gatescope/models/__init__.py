"""Models: embedding, recurrent stack, pooling or attention, and a head or a decoder.

`build.build_model` builds the model of a task from its `TaskSpec` and the config groups. To add an attention
mechanism, subclass `attention.Attention`, implement `score`, and name the class as `_target_` in a file of
`conf/attention/`. Encoders and decoders use the same classes.
"""
