"""The mixers (blocks), one file or one folder per mixer.

A mixer's class contains settings and cost, and `build` returns its PyTorch module. `bench plan`, `report` and
`check` read the class without importing torch, which takes seconds. But a subclass of `nn.Module` needs torch
when it is defined. So a mixer's file defines its module within `build`; or the mixer is a folder, with the
settings in `__init__.py` and the module in `module.py`, which `build` imports. The module takes plain values
and does not depend on the settings. A plugin's file may import torch at the top.

AdamW's weight decay acts on every parameter, except those that the module names in `undecayed`: the ones that
its authors exempt, such as rates and step sizes. Do not add the list to a mixer that has results. Its later
results would differ from them.

To add a mixer, add its file, with an architecture that uses it, and a line in `bench/models/blocks.py`. State
`parameters` in closed form: the default builds the module, and a report would need torch.
"""
