"""The mixers (blocks), one file or one folder per mixer.

A mixer's class contains settings and cost, and `build` returns its PyTorch module. `bench plan`, `report` and
`check` read the class without importing torch, because the import takes seconds. A subclass of `nn.Module`
needs torch where it is defined. Therefore there are two forms of a mixer:

- a file, which defines its module within `build`;
- a folder, with the settings in `__init__.py` and the module in `module.py`, which `build` imports. The
  module takes plain values and does not depend on the settings.

A plugin's file may import torch at the top.

AdamW's weight decay acts on every parameter, except those that the module names in `undecayed`. These are the
parameters that the mixer's authors exempt, such as rates and step sizes. Do not add `undecayed` to a mixer
that has results: later results would differ from earlier ones with the same id.

To add a mixer, add its file, with an architecture that uses it, and a line in `bench/models/blocks.py`. State
`parameters` in closed form: the default builds the module, and a report would need torch.
"""
