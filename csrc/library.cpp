// The operators' schemas, and the module that Python imports to load this library.
//
// geometry is (stride_h, stride_w, pad_top, pad_bottom, pad_left, pad_right, dilation_h, dilation_w,
// groups, flags). The flags are 1 if the result is channels last; of use on CUDA alone, 2 if float32
// may be rounded to TF32, and 4, 8, 16 if conv2d, conv2d_grad_input, conv2d_grad_weight are left to
// ATen; of use on the CPU alone, 32 if all sums are direct ones, without Winograd's transforms, and 64
// if of these only F(2x2, 3x3) may run, and what padding holds: 128 reflect, 256 replicate, 384 circular,
// else zeros. They are part of a call, not of the process, so that a compiled
// graph and a backward pass on another thread keep them. geometry is one argument because each is
// converted and checked several times on its way through the dispatcher.
// The operators carry no autograd of their own: torchconv/_operators/autograd.py differentiates them.
#include <Python.h>
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(torchconv, m) {
  m.def("conv2d(Tensor input, Tensor weight, Tensor? bias, int[] geometry) -> Tensor");
  // activation(conv2d + residual); the activations are numbered in cpu/plan.h. On the CPU alone; elsewhere
  // torchconv/_operators/registration.py takes it apart.
  m.def(
      "conv2d_activation(Tensor input, Tensor weight, Tensor? bias, Tensor? residual, "
      "int[] geometry, int activation, float slope, Tensor? packed=None) -> Tensor");
  // uint8 or int8 images, int8 weights, an int32 bias and result: the exact sums, or an error where they might not
  // fit into 32 bits.
  m.def("conv2d_int32(Tensor input, Tensor weight, Tensor? bias, int[] geometry) -> Tensor");
  // What the kernels make of a weight before they multiply, for calls with inputs of this size and, in
  // conv2d_activation, the same weight.
  m.def("_pack_weights(Tensor weight, int[] input_size, int[] geometry) -> Tensor");
  m.def(
      "conv2d_grad_input(Tensor grad, Tensor weight, SymInt[] input_size, int[] geometry) "
      "-> Tensor");
  m.def(
      "conv2d_grad_weight(Tensor grad, Tensor input, SymInt[] weight_size, int[] geometry) "
      "-> Tensor");
  // (grad_input, grad_weight, grad_bias), for when no derivative of them is wanted: (0) for the
  // first without a weight, for the last if it is not needed.
  m.def(
      "conv2d_backward(Tensor grad, Tensor input, Tensor? weight, SymInt[] weight_size, "
      "int[] geometry, bool bias_needed) -> (Tensor, Tensor, Tensor)");
  // Convolutions of one shape, each with an input and a weight of its own: all tensors have a dimension more,
  // in front. The sizes are those of one. Elsewhere than on the CPU each is a group of one convolution, see
  // torchconv/_operators/each_in_groups.py.
  m.def("conv2d_each(Tensor input, Tensor weight, Tensor? bias, int[] geometry) -> Tensor");
  m.def(
      "conv2d_each_grad_input(Tensor grad, Tensor weight, SymInt[] input_size, int[] geometry) "
      "-> Tensor");
  m.def(
      "conv2d_each_grad_weight(Tensor grad, Tensor input, SymInt[] weight_size, int[] geometry) "
      "-> Tensor");
  // The sum of the squares of each weight gradient, in float64, without keeping the gradients.
  m.def(
      "_grad_weight_squares(Tensor grad, Tensor input, SymInt[] weight_size, int[] geometry) "
      "-> Tensor");
  // activation(input + residual), as what ends a convolution. The numbers of the activations are their
  // places in NAMES of torchconv/_activations/names.py; slope is that of leaky_relu. input is dense in the order
  // of any dimensions, the residual in any order of the same size.
  m.def("activate(Tensor input, Tensor? residual, int activation, float slope) -> Tensor");
  // Programs, see cpu/torch/program_cpu.cpp: layers that are computed in one call. Values are numbered in the order
  // in which they are added; residual is -1 for none.
  m.def("_program_new() -> int");
  m.def("_program_input(int program, Tensor example, bool channels_last) -> int");
  m.def(
      "_program_conv2d(int program, int input, int residual, Tensor weight, Tensor? bias, "
      "Tensor? packed, int[] geometry, int activation, float slope) -> int");
  m.def("_program_mean(int program, int input) -> int");
  m.def("_program_multiply(int program, int input, int factor) -> int");
  m.def("_program_finish(int program, int[] outputs) -> int");
  // An empty list where something is not as it was when the program was made.
  m.def("_program_run(int program, Tensor[] inputs) -> Tensor[]");
  m.def("_program_drop(int program) -> ()");
  m.def("_program_count() -> int");
  m.def("_explain(str op, int[] input_size, int[] weight_size, int[] geometry, str dtype) -> str");
  m.def("_cached_cast(Tensor tensor, ScalarType dtype) -> Tensor");
  m.def("_isa() -> str");
  m.def("_compiler() -> str");
  m.def("_force_isa(str level) -> ()");
  m.def("_force_algorithm(str name) -> ()");
  m.def("_fma_peak(int threads) -> float");
}

static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr,
};

PyMODINIT_FUNC PyInit__C() {
  return PyModule_Create(&module_definition);
}
