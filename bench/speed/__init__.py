"""`bench speed`: times of whole training steps. Cases, measurements, profiles, and the records for plans.

`records` and `cases` do not import torch, because plans read records.
"""
