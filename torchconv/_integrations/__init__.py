"""What compilers, exporters, tracers and tools that count operations are told."""
