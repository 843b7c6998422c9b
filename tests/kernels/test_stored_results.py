"""No result has other bits than the stored ones."""

import pytest

from tests.awkward import AWKWARD
from tests.kernels.stored_results import OPS, digest, stored

STORED = stored()


@pytest.mark.parametrize("op", OPS)
def test_results_have_the_stored_bits(op):
    """Where they are meant to change, see stored_results.py."""
    found = {case.name: digest(case, op) for case in AWKWARD}
    assert found == {case.name: STORED.get((case.name, op)) for case in AWKWARD}


def test_nothing_else_is_stored():
    assert set(STORED) == {(case.name, op) for case in AWKWARD for op in OPS}
