"""How long whole training steps take on a device: cases, measuring, profiles, and the record that plans read.

`records` and `cases` need no torch: plans read what was measured.
"""
