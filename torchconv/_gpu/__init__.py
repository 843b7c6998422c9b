"""On a GPU: who computes a call, and which kernels have been accepted."""
