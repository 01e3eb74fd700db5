"""Architectures: blocks (`mixers`), the patterns that arrange them, and the backbone that they become.

`architecture`, `architectures`, `blocks`, `sizes` and the settings of mixers do not import torch. The other
modules are PyTorch: `backbone`, the layers that mixers share, and `verification`, which checks users' blocks.
"""
