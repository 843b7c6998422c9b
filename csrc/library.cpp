// The operators' schemas, and the module that Python imports to load this library.
//
// padding is (top, bottom, left, right); channels_last is the memory format of the result. The
// operators carry no autograd of their own: torchconv/_autograd.py differentiates them.
#include <Python.h>
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(torchconv, m) {
  m.def(
      "conv2d(Tensor input, Tensor weight, Tensor? bias, int[2] stride, int[4] padding, "
      "int[2] dilation, int groups, bool channels_last) -> Tensor");
  m.def(
      "conv2d_grad_input(Tensor grad, Tensor weight, SymInt[] input_size, int[2] stride, "
      "int[4] padding, int[2] dilation, int groups, bool channels_last) -> Tensor");
  m.def(
      "conv2d_grad_weight(Tensor grad, Tensor input, SymInt[] weight_size, int[2] stride, "
      "int[4] padding, int[2] dilation, int groups, bool channels_last) -> Tensor");
  m.def(
      "_explain(str op, int[] input_size, int[] weight_size, int[2] stride, int[4] padding, "
      "int[2] dilation, int groups, str dtype, bool channels_last) -> str");
  m.def("_isa() -> str");
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
