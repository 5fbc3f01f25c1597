"""What the stages of a run left in figures."""

from fusionchat.report.figures import MergeWeights
from tests.report.sample import report


def test_weights_keep_their_shape():
    merge = report(layers=3).weights[0]
    assert isinstance(merge, MergeWeights)
    assert len(merge.weights) == len(merge.targets)
    assert all(len(table) == len(merge.modules) for table in merge.weights)
    assert all(len(row) == len(merge.layers) for table in merge.weights for row in table)
