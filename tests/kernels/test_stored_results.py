"""No result has other bits than the stored ones."""

import pytest

from tests.kernels.stored_results import digest, keys, stored

STORED = stored()
KEYS = list(keys())


@pytest.mark.parametrize("op", dict.fromkeys(op for _, op in KEYS))
def test_results_have_the_stored_bits(op):
    """Where they are meant to change, see stored_results.py."""
    cases = [case for case, its_op in KEYS if its_op == op]
    found = {case.name: digest(case, op) for case in cases}
    assert found == {case.name: STORED.get((case.name, op)) for case in cases}


def test_nothing_else_is_stored():
    assert set(STORED) == {(case.name, op) for case, op in KEYS}
