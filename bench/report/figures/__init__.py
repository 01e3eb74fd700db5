"""How figures are drawn. `bench.paper.exhibits` is the list of those that a suite can name."""
