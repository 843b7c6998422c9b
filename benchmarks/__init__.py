"""torchconv against nn.Conv2d, in turn in one process.

    python -m benchmarks            layers of real networks, see --help
    python -m benchmarks.random     random layers of the kinds that networks have
    python -m benchmarks.models     a training step of whole models
    python -m benchmarks.inference  whole models, beside torch.compile, ONNX Runtime and OpenVINO
    python -m benchmarks.overhead   what one call costs before any arithmetic
    python -m benchmarks.cuda       the CUDA kernels, operator by operator
    python -m benchmarks.cuda.peers what PyTorch alone needs on a GPU, in each of its ways

On a CPU that others use too only ratios of neighbouring runs mean something, so both sides
always run alternately on the same buffers, a row reports the median of the paired ratios with its
quartiles, and the FMA peak is measured again beside every row.
"""
