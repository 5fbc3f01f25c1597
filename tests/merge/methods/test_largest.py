"""Exact selection against a sort."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.merge.methods.largest import Largest, largest
from fusionchat.merge.methods.steps import Block, TensorInfo
from tests.merge.kernels.values import values
from tests.reference import merge as reference


def blocks(rows, chunks):
    """Rows as the changes of blocks, one a chunk."""
    nothing = np.zeros((0, 0), np.float32)
    parts, at = np.array_split(rows, chunks, 1), 0
    for chunk, part in enumerate(parts):
        yield Block(nothing, np.ascontiguousarray(part), nothing, at, chunk)
        at += part.shape[1]


def select(share, rows, chunks, **options):
    """Run the looks; returns what is selected, and the number of looks."""
    steps, looks = (
        largest(np.array(share, float), TensorInfo("w", rows[0].shape, len(rows), chunks), **options),
        0,
    )
    try:
        step = next(steps)
        while True:
            total = np.zeros(step.shape, np.int64)
            for block in blocks(rows, chunks):
                counts = np.zeros(step.shape, step.dtype)
                step.see(block, step.start(block.chunk), counts)
                total += counts
            looks += 1
            step = steps.send(total)
    except StopIteration as stop:
        return stop.value, looks


def marked(selected, rows, chunks):
    found = []
    for block in blocks(rows, chunks):
        quota = selected.quota(block.chunk)
        found.append([selected.mark(j, value, quota) for j, value in enumerate(block.delta_JB)])
    return np.concatenate(found, 1)


@settings(max_examples=100, deadline=None)
@given(values, st.floats(0, 1), st.integers(1, 5))
def test_largest_is_the_stable_sort(value, share, chunks):
    selected, looks = select([[share]], value[None], chunks)
    expected = reference.largest(value, int(share * value.size))
    np.testing.assert_array_equal(marked(selected, value[None], chunks)[0], expected)
    assert looks == (0 if share >= 1 else 3 if selected.ties_JKC is not None else 2)


@settings(max_examples=50, deadline=None)
@given(values, st.floats(0, 0.999), st.integers(1, 5))
def test_of_those_that_are_not_zero(value, share, chunks):
    selected, _ = select([[share]], value[None], chunks, of_nonzero=True)
    expected = reference.largest(value, int(share * np.count_nonzero(value)))
    np.testing.assert_array_equal(marked(selected, value[None], chunks)[0], expected)


def test_rows_and_two_thresholds_by_hand():
    """Of each row the three largest without the largest; of ties the first. Row 2 takes all but its largest."""
    rows = np.array([[1, -5, 2, 2, 2, 0], [6, 5, 4, 3, 2, 1]], np.float32)
    selected, looks = select([[0.5, 0.17], [1.0, 0.17]], rows, 2)
    assert marked(selected, rows, 2).tolist() == [[0, 0, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1]]
    assert looks == 3 and selected.ties == (3, 1)


def test_a_chunk_takes_what_the_chunks_before_it_leave():
    selected = Largest(np.zeros((1, 1)), np.array([[3]]), np.array([[6]]), np.array([[[2, 3, 1]]]))
    assert [selected.quota(chunk).tolist() for chunk in range(3)] == [[3], [1], [0]]


def test_the_example_of_the_docstring():
    """Magnitudes 3 2 1 2 and 2 0 2 1 in two chunks, k = 3: the first chunk takes both ties that are needed."""
    row = np.array([[3, -2, 1, 2, 2, 0, 2, 1]], np.float32)
    selected, looks = select([[3 / 8]], row, 2)
    assert selected.threshold_JK.astype(np.uint32).view(np.float32)[0, 0] == 2
    assert selected.need_JK.tolist() == [[2]] and selected.ties_JKC.tolist() == [[[2, 2]]]
    assert [selected.quota(chunk).tolist() for chunk in range(2)] == [[2], [0]]
    assert marked(selected, row, 2).tolist() == [[1, 1, 0, 1, 0, 0, 0, 0]] and looks == 3
