"""The paper's figures and tables, one function each, named after it, from data frames of results.

`bench.report.paper.frame` makes the frames, `bench.report.paper.exhibits` says which experiments of a
suite belong to which figure: those whose `rebuilds` names it.
"""
