"""The report's table of parameters: the paper's architectures at every size, beside its counts."""

from __future__ import annotations

import pytest

from bench.models import architectures
from bench.paper.sizes import SIZE_GROUPS
from bench.report.tables.parameters import PRINTED, comparison, table_6
from bench.report.tables.table import as_latex, as_markdown


def test_every_architecture_of_the_paper_stands_at_every_size_of_every_group() -> None:
    numbers = comparison()
    for group, sizes in SIZE_GROUPS.items():
        rows = numbers[numbers["size_group"] == group]
        if rows.empty:  # a name for several groups
            pairs = set(zip(numbers["layers"], numbers["width"], strict=True))
            assert {(size.layers, size.width) for size in sizes} <= pairs
            continue
        assert len(rows) == len(sizes) * len(architectures.PAPER)
        assert set(rows["architecture"]) == {architecture.name for architecture in architectures.PAPER}
        assert set(rows["heads"]) == {size.heads for size in sizes}


def test_every_printed_count_is_compared_at_each_size_of_its_group() -> None:
    numbers = comparison()
    compared = numbers[numbers["paper"].notna()]
    expected = sum(len(SIZE_GROUPS[group]) for printed in PRINTED.values() for group in printed)
    assert len(compared) == expected == 6 * 8 + 4 + 1
    deviation = 100 * (compared["ours"] / compared["paper"].astype(float) - 1)
    assert compared["deviation_percent"].tolist() == pytest.approx(deviation.tolist())
    assert numbers["deviation_percent"].notna().sum() == expected


def test_table_4_agrees_within_one_percent_and_the_lstm_lacks_only_its_embeddings() -> None:
    numbers = comparison()
    rows = numbers[(numbers["source"] == "Table 4") & numbers["paper"].notna()].set_index("architecture")
    lstm = rows.loc["lstm"]
    assert (rows.drop("lstm")["deviation_percent"].abs() < 1).all()
    assert round((lstm["ours"] + 2 * 101 * 768 + 101) / 1e6, 1) == 28.5


def test_a_cell_shows_the_papers_count_ours_and_the_deviation() -> None:
    table = table_6()
    rows = {tuple(cell.text for cell in row[:3]): row for row in table.rows}
    large = dict(zip(table.columns, rows["Table 6", "large", "12×768"], strict=True))
    assert large["Transformer"].text == "86M / 85.2M (−0.9 %)"
    assert large["Transformer"].best
    assert large["LSTM"].text == "– / 56.7M"
    narrow = dict(zip(table.columns, rows["Table 6", "x-small", "32×32"], strict=True))
    assert narrow["Mamba"].text == "460K / 639K (+38.9 %)"
    assert not narrow["Mamba"].best
    assert not any("nan" in cell.text for row in table.rows for cell in row)
    assert "(+38.9 %)" in as_markdown(table)
    assert r"(+38.9 \%)" in as_latex(table)
