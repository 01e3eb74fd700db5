"""The blocks, one folder per block: settings and cost in `__init__.py`, the PyTorch module in `module.py`.

There are two files because `bench plan`, `report` and `check` read the settings without importing torch,
which takes seconds. A class that derives from `nn.Module` needs torch when it is defined. So `build` imports
`module.py` when it is called. The module takes plain values and does not depend on the settings. A block
without its own module class, such as `dropout.py`, is one file. A plugin's block may be one file and import
torch at the top.

To add a block, add such a folder and a line in `bench/models/blocks.py`.
"""
