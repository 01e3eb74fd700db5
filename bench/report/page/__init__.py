"""The page and the README of a report: what they contain, and their templates."""
