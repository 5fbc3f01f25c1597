"""Low-rank changes: what is kept in memory, and what DoRA and PiSSA do at their edges."""

import numpy as np

from fusionchat.merge.inputs.adapters.low_rank import Adapted, Change, Factors, Kept, make_factors


class Base:
    """A tensor in memory."""

    is_float, origin = True, "base"

    def __init__(self, values):
        self.shape, self.values = values.shape, values.astype(np.float32).reshape(-1)

    def decode(self, begin, out_B):
        out_B[:] = self.values[begin : begin + out_B.size]


def matrices(seed, outputs, inputs, rank):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(1, outputs, rank)), rng.normal(size=(1, rank, inputs))


def decoded(adapted, step=7):
    out = np.empty(int(np.prod(adapted.shape)), np.float32)
    for begin in range(0, out.size, step):
        adapted.decode(begin, out[begin : begin + step])
    return out.reshape(adapted.shape)


def test_the_factors_used_last_are_kept_up_to_a_limit():
    kept = Kept(limit=3 * 64)
    small = Factors(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)))  # 64 bytes
    for key in range(3):
        kept.put(key, small)
    assert kept.get(0) is small
    kept.put(3, small)
    assert [kept.get(key) is not None for key in range(4)] == [True, False, True, True]
    large = Factors(np.zeros((1, 9, 9)), np.zeros((1, 9, 9)))
    kept.put(4, large)
    assert [kept.get(key) is not None for key in range(5)] == [False] * 4 + [True]


def test_what_is_not_kept_is_made_again_and_is_the_same():
    made, up_down = [], matrices(0, 5, 6, 2)

    def read():
        made.append(1)
        return up_down

    base, kept = Base(np.ones((5, 6))), Kept(limit=1)
    one, two = (Adapted(base, Change(read), "a", kept) for _ in range(2))
    expected = (1 + (up_down[0] @ up_down[1])[0]).astype(np.float32)
    for adapted in (one, two, one, one):
        np.testing.assert_array_equal(decoded(adapted), expected)
    assert len(made) == 3


def test_an_output_of_zeros_stays_so_with_dora():
    up, down = matrices(1, 4, 3, 1)
    up[0, 2] = 0
    weights = np.random.default_rng(2).normal(size=(4, 3))
    weights[2] = 0
    change = Change(lambda: (up, down), lengths_O=lambda: np.array([1.0, 2.0, 3.0, 4.0]))
    values = decoded(Adapted(Base(weights), change, "a", Kept()))
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), [1, 2, 0, 4], rtol=1e-6)


def test_all_singular_values_are_taken_where_the_rank_is_full():
    weights = np.random.default_rng(3).normal(size=(3, 8))
    up, down = matrices(4, 3, 8, 3)
    factors = make_factors(Base(weights), Change(lambda: (up, down), taken="largest", rank=3))
    np.testing.assert_allclose((factors.left @ factors.right)[0], (up @ down)[0] - weights, atol=1e-6)


def test_what_is_taken_does_not_depend_on_how_the_tensor_is_stored():
    weights = np.random.default_rng(5).normal(size=(9, 4))
    up, down = matrices(6, 9, 4, 2)
    for taken in ("largest", "smallest"):
        change = Change(lambda: (up, down), taken=taken, rank=2)
        turned = Change(lambda: (up, down), taken=taken, rank=2, transposed=True)
        one = decoded(Adapted(Base(weights), change, "a", Kept()))
        two = decoded(Adapted(Base(weights.T.copy()), turned, "a", Kept()))
        np.testing.assert_allclose(one, two.T, rtol=1e-5, atol=1e-6)
