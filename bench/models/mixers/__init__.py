"""The blocks, a folder each: settings and cost in its `__init__.py`, the PyTorch module in its `module.py`.

Two files, because `bench plan`, `report` and `check` read the settings and must not wait for torch, and a
class that derives from `nn.Module` needs torch when it is defined. So `build` imports `module.py`, which
takes plain values and does not know the settings. A block without a module class of its own, like
`dropout.py`, is one file; so is a plugin's, which may import torch as it likes.

A new block is such a folder, and a line in `bench/models/blocks.py`.
"""
