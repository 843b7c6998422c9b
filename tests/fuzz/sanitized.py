"""Random shapes under the address sanitizer: each algorithm that takes them, in scratch memory of
exactly the size that its plan asks for. In the arenas of the operators there is room behind a job's
part, and what is written there may go unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from tests.cpu_host import CpuHost
from tests.fuzz.samples import DTYPES, Sample
from tests.kernel_host import ProgramDied
from tests.sanitize import Call, check, is_too_large, ops_of

MOST_FLOPS = 400_000  # unoptimised


def check_with(running: CpuHost) -> Callable[[Sample], None]:
    """What `tests.fuzz.run.fuzz` is to check: at all levels that the program has."""

    def check_sample(sample: Sample) -> None:
        one = sample.shape
        for level, algorithm in product(running.levels, running.algorithms):
            if is_too_large(algorithm, one, most_flops=MOST_FLOPS):
                continue
            call = Call(DTYPES[sample.dtype], sample.channels_last, level)
            for op in ops_of(algorithm):
                try:
                    check(running, algorithm, op, one, call, exact=True)
                except ProgramDied as error:
                    running.restart()
                    raise AssertionError(f"{algorithm}, {op}, {level}: {error}") from error

    return check_sample
