"""No result has other bits than the stored ones."""

import pytest

from tests.awkward import AWKWARD
from tests.cases import ids
from tests.kernels.stored_results import OPS, digest, stored

STORED = stored()


@pytest.mark.parametrize("case", AWKWARD, ids=ids(AWKWARD))
def test_results_have_the_stored_bits(case):
    """Where they are meant to change, see stored_results.py."""
    assert {op: digest(case, op) for op in OPS} == {op: STORED.get((case.name, op)) for op in OPS}


def test_nothing_else_is_stored():
    assert set(STORED) == {(case.name, op) for case in AWKWARD for op in OPS}
