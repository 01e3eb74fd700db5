"""Counter-based random numbers: the hash behind all draws (`words`), and draws in one launch (`triton`).

`bench.tasks.draws` is the specification, and computes draws on devices without Triton.
"""
