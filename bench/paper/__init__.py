"""What the paper says, as data: its exhibits, printed numbers, sizes, symbols, and where its code differs.

Nothing here computes from results, and nothing here imports torch, pandas or matplotlib.
"""
