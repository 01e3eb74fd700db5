"""Architectures: blocks (`mixers`), patterns of blocks (`architecture`), and the PyTorch model (`backbone`).

`architecture`, `architectures`, `blocks`, `sizes` and the settings of mixers do not import torch. The other
modules need PyTorch: `backbone`, the layers that several mixers use, and `verification`, which checks users'
blocks.
"""
