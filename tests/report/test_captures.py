"""The table of captures says by what, in what, and how far from transformers; and why one was not compared."""

from fusionchat.report.captures import capture_table
from tests.report.sample import report


def test_captures():
    table = capture_table(report())
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["pivot", "transformers 5.24.0", "bfloat16", "151 K", "0.812", "0.012", "0.34"],
        ["source_a", "endpoint 0.32.0", "the server's", "149 K", "0.750", "-", "-"],
    ]
    assert table.caption.endswith("Not compared: source_a: its weights are not here.")
