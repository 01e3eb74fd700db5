"""Tables, figures and a page, computed from a suite and its results alone. `write` is the entry."""
