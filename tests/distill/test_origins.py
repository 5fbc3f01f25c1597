"""Of which models the rows are."""

import numpy as np
import pytest

from fusionchat.distill.origins import Origins
from fusionchat.represent.store.layout import Encoding
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.write import StoreWriter
from tests.build import make_scored


def test_rows_of_each_model_are_the_sums_of_their_weights(tmp_path):
    scored = make_scored(3, [2, 1, 3], vocabulary=11)
    offsets = scored.tokens.offsets
    weights = np.array([[1, 0], [0.25, 0.75], [0, 1], [1, 0], [1, 0], [0, 1]], np.float16)
    writer = StoreWriter(tmp_path, offsets, [range(0, 2), range(2, 3)], Encoding(11), "made")
    for index, (low, high) in enumerate([(0, 3), (3, 6)]):
        writer.write(index, scored.topk.slice(low, high), {"weights": weights[low:high]})
    origins = Origins(DistributionStore(tmp_path), ("pivot", "qwen"))
    assert origins.of([0, 2]).tolist() == pytest.approx([3.25, 1.75])
    assert origins.of([1]).tolist() == [0.0, 1.0] and origins.of([]).tolist() == [0.0, 0.0]
