"""Every header of csrc/cpu can be read by itself, as editors read it: with the flags of
compile_flags.txt, that is with the portable vectors."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "csrc" / "cpu"
# No vectors but their own, and what needs them.
OTHER_LEVELS = ("simd/avx2.h", "simd/avx512.h", "simd/avx512_bf16.h", "simd/pairs_check.h",
                "simd/avx2_dot.h", "simd/avx512_dot.h", "simd/vnni_dot.h")  # fmt: skip


def complaint(header: Path) -> str:
    """What the compiler says of a file that includes this header alone."""
    command = ["c++", "-fsyntax-only", "-Wall", "-Wextra", "-Wno-psabi", "-Wno-unused-function"]
    command += [*(FOLDER / "compile_flags.txt").read_text().split(), "-"]
    line = f'#include "{header.relative_to(FOLDER.parent)}"\n'
    return subprocess.run(command, input=line, cwd=FOLDER, capture_output=True, text=True).stderr


def test_every_header_can_be_read_by_itself():
    headers = [
        path
        for path in sorted(FOLDER.rglob("*.h"))
        if not str(path).endswith(OTHER_LEVELS) and path.parent.name != "torch"
    ]
    assert len(headers) > 30
    with ThreadPoolExecutor(2) as pool:
        complaints = dict(zip(headers, pool.map(complaint, headers), strict=True))
    assert not {path.name: text for path, text in complaints.items() if text}
