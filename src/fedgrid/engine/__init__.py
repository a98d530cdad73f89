"""The fast path beside the specification: a client trained at every learning rate of its cell as one tensor program.

layers → model → federation: a model is a tuple of layers; a federation trains it. Imports `algorithms`, `partitions`.
"""
