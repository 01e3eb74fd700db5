"""Formal languages (Tables 4 and 5): texts of discrete tokens whose rules the model infers in context."""
