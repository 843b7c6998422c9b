"""CUDA kernels beside nn.Conv2d: ``command`` measures, ``peers`` is what PyTorch alone needs."""
