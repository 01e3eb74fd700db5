"""bench: which sequence architecture learns in context what, settled at equal training FLOPs."""

__version__ = "0.1.0"
