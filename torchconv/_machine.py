"""The machine and the process, for bug reports, from the standard library alone."""

import os
import platform

import torch


def cpu_name() -> str:
    """Such as ``"AMD EPYC"``; the architecture where the system tells no name."""
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory() -> str:
    """What the process has in memory now, and how much the machine has."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * page
        total = os.sysconf("SC_PHYS_PAGES") * page
    except (OSError, ValueError, AttributeError):  # not Linux
        return "unknown"
    return f"{resident / 2**30:.2f} GiB in this process, {total / 2**30:.2f} GiB in the machine"


def parallel_settings() -> str:
    """``torch.__config__.parallel_info()`` in one line, without headings."""
    lines = [line.strip() for line in torch.__config__.parallel_info().splitlines()]
    return ", ".join(line.replace(" : ", " ") for line in lines if line and not line.endswith(":"))
