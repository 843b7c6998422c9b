"""A run that is killed at random moments and resumed has the bits of one left in peace."""

import os

import pytest

from tests.killed import EVERYTHING, kill_and_resume


@pytest.mark.skipif(os.name != "posix", reason="kills processes")
def test_killed_run_ends_as_one_left_in_peace(tmp_path):
    reached = kill_and_resume(tmp_path, EVERYTHING, kills=4, seed=0)
    assert len(reached) == 4
