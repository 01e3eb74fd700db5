"""Speed of whole training steps on a device: cases, measurements, profiles, and the records that plans read.

`records` and `cases` do not import torch, because plans read records.
"""
