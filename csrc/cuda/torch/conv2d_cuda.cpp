// The torch-aware file of CUDA: the operators of operators.h on tensors of a GPU. Runs the chosen
// algorithm on the current stream with a workspace from PyTorch's allocator; nothing here waits for
// the GPU, so calls can be captured into a CUDA graph. User-facing validation is in
// torchconv/functional.py, the choice between these kernels and ATen in torchconv/_gpu/dispatch.py.
#include <Python.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>

#include <cstring>
#include <string>

#include "choice.h"
#include "cuda/algorithms.h"
#include "cuda/refusal.h"
#include "cuda/torch/aten.h"
#include "operators.h"

namespace torchconv::cuda {
namespace {

// Never destroyed: a thread may still compute when the process ends.
Choice<Algorithm>& choice() {
  static Choice<Algorithm>& only = []() -> Choice<Algorithm>& {
    std::vector<const Algorithm*> list;
    for (const Algorithm& algorithm : algorithms()) list.push_back(&algorithm);
    return *new Choice<Algorithm>(list);
  }();
  return only;
}

// Such as "general", or "depthwise.planes" of an algorithm with several kernels.
std::string kernel_name(const Algorithm& algorithm, Op op, const Conv2dShape& shape) {
  return algorithm.variant ? std::string(algorithm.name) + "." + algorithm.variant(op, shape)
                           : algorithm.name;
}

Tensor allocate_workspace(const Tensor& like, int64_t bytes) {
  const int64_t stride = 1;
  AtenTensorHandle handle;
  const AOTITorchError error =
      aoti_torch_empty_strided(1, &bytes, &stride, aoti_torch_dtype_uint8(),
                               aoti_torch_device_type_cuda(), like.get_device_index(), &handle);
  require(error == AOTI_TORCH_SUCCESS, "cannot allocate ", bytes, " bytes of workspace");
  return Tensor(handle);
}

struct Cuda {
  using Task = cuda::Task;
  static void check(const Tensor& a, const Tensor& b) {
    require(a.is_cuda() && b.is_cuda() && a.get_device_index() == b.get_device_index(),
            "tensors must be on one GPU");
  }
  static int32_t type() { return aoti_torch_device_type_cuda(); }
  static int32_t index(const Tensor& t) { return t.get_device_index(); }
  static Tensor grad_bias(const Tensor& grad, const Conv2dShape&) {
    const int64_t dims[3] = {0, 2, 3};
    return torch::stable::sum(grad, torch::headeronly::IntHeaderOnlyArrayRef(dims, 3));
  }

  static void run(Task task, const Tensor& like, const Sizes& geometry) {
    const Conv2dShape& d = task.shape;
    const Algorithm* const chosen =
        choice().select([&](const Algorithm& algorithm) { return refusal(algorithm, task.op, d); });
    require(chosen, "no CUDA kernel computes this convolution");
    const Algorithm& algorithm = *chosen;
    print_call(task.op, d, algorithm.name, "cuda");
    const int32_t device = like.get_device_index();
    const torch::stable::accelerator::DeviceGuard guard(device);
    void* stream = nullptr;
    require(aoti_torch_get_current_cuda_stream(device, &stream) == AOTI_TORCH_SUCCESS,
            "no current stream on GPU ", device);
    // Freed when this returns and reused in the order of the stream only, after the kernels.
    std::optional<Tensor> workspace;
    if (const int64_t bytes = algorithm.workspace_bytes(task.op, d)) {
      workspace = allocate_workspace(like, bytes);
      task.workspace = workspace->mutable_data_ptr();
    }
    task.allow_tf32 = geometry[9] & kTf32Flag;
    const cudaError_t error = algorithm.launch(task, static_cast<cudaStream_t>(stream));
    require(error == cudaSuccess, "the CUDA kernel ", algorithm.name, " (", op_name(task.op),
            ", input ", d.n, "x", d.c, "x", d.h, "x", d.w, ", kernel ", d.k, "x", d.r, "x", d.s,
            ", groups ", d.groups, ") was not launched on GPU ", device, ": ",
            cudaGetErrorString(error));
  }
};

bool left_to_aten(Op op, const Sizes& geometry) {
  if (geometry.size() != 10) return false;
  // torchconv/functional.py pads before it comes here, a graph made on the CPU does not.
  return aten::mode_of(geometry) != PaddingMode::kZeros ||
         geometry[9] & kAtenFlags << static_cast<int>(op);
}

Tensor conv2d(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
              const Sizes& geometry) {
  return left_to_aten(Op::kForward, geometry)
             ? aten::conv2d(input, weight, bias, geometry)
             : Operators<Cuda>::conv2d(input, weight, bias, geometry);
}

Tensor conv2d_grad_input(const Tensor& grad, const Tensor& weight, const Sizes& input_size,
                         const Sizes& geometry) {
  return left_to_aten(Op::kGradInput, geometry)
             ? aten::conv2d_grad_input(grad, weight, input_size, geometry)
             : Operators<Cuda>::conv2d_grad_input(grad, weight, input_size, geometry);
}

Tensor conv2d_grad_weight(const Tensor& grad, const Tensor& input, const Sizes& weight_size,
                          const Sizes& geometry) {
  return left_to_aten(Op::kGradWeight, geometry)
             ? aten::conv2d_grad_weight(grad, input, weight_size, geometry)
             : Operators<Cuda>::conv2d_grad_weight(grad, input, weight_size, geometry);
}

std::tuple<Tensor, Tensor, Tensor> conv2d_backward(const Tensor& grad, const Tensor& input,
                                                   const std::optional<Tensor>& weight,
                                                   const Sizes& weight_size, const Sizes& geometry,
                                                   bool bias_needed) {
  return Operators<Cuda>::backward_with(conv2d_grad_input, conv2d_grad_weight, grad, input, weight,
                                        weight_size, geometry, bias_needed);
}

// As _explain of the CPU: one line per algorithm up to the one that runs, which names its kernel.
std::string explain(const std::string& op, const Sizes& input_size, const Sizes& weight_size,
                    const Sizes& geometry, const std::string& dtype) {
  const Op which = to_op(op);
  const Conv2dShape shape = make_shape(input_size, weight_size, geometry, to_dtype(dtype));
  return choice().explain(
      [&](const Algorithm& algorithm) { return refusal(algorithm, which, shape); },
      [&](const Algorithm& algorithm) { return kernel_name(algorithm, which, shape); });
}

// Where the name of a source ends, a hash over it follows; see source_hashes() in build_cuda.py.
std::string hash_of(const char* source) {
  const std::string hashes = "," TORCHCONV_SOURCE_HASHES ",", key = std::string(",") + source + ":";
  const size_t found = hashes.find(key);
  if (found == std::string::npos) return "";
  const size_t begin = found + key.size();
  return hashes.substr(begin, hashes.find(',', begin) - begin);
}

// A line "name hash" for every algorithm: what an acceptance on a GPU refers to.
std::string list_algorithms() {
  std::string text;
  for (const Algorithm& algorithm : algorithms()) {
    text += std::string(algorithm.name) + " " + hash_of(algorithm.source) + "\n";
  }
  return text;
}

// Of the toolkit that compiled the kernels, such as "13.0".
std::string toolkit() {
  return std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
}

void force_algorithm(std::string name) {
  require(choice().force(name), "no such CUDA algorithm: ", name);
}

// ATen's answer on any device, for the tests of aten.h.
Tensor through_aten(const std::string& op, const Tensor& a, const Tensor& b,
                    const std::optional<Tensor>& bias, const Sizes& size, const Sizes& geometry) {
  switch (to_op(op)) {
    case Op::kForward:
      return aten::conv2d(a, b, bias, geometry);
    case Op::kGradInput:
      return aten::conv2d_grad_input(a, b, size, geometry);
    default:
      return aten::conv2d_grad_weight(a, b, size, geometry);
  }
}

STABLE_TORCH_LIBRARY_FRAGMENT(torchconv, m) {
  m.def(
      "_explain_cuda(str op, int[] input_size, int[] weight_size, int[] geometry, str dtype) "
      "-> str");
  m.def("_algorithms_cuda() -> str");
  m.def("_toolkit_cuda() -> str");
  m.def("_force_algorithm_cuda(str name) -> ()");
  m.def(
      "_through_aten(str op, Tensor a, Tensor b, Tensor? bias, int[] size, int[] geometry) "
      "-> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(torchconv, CUDA, m) {
  m.impl("conv2d", TORCH_BOX(&conv2d));
  m.impl("conv2d_grad_input", TORCH_BOX(&conv2d_grad_input));
  m.impl("conv2d_grad_weight", TORCH_BOX(&conv2d_grad_weight));
  m.impl("conv2d_backward", TORCH_BOX(&conv2d_backward));
}

STABLE_TORCH_LIBRARY_IMPL(torchconv, CompositeExplicitAutograd, m) {
  m.impl("_explain_cuda", TORCH_BOX(&explain));
  m.impl("_algorithms_cuda", TORCH_BOX(&list_algorithms));
  m.impl("_toolkit_cuda", TORCH_BOX(&toolkit));
  m.impl("_force_algorithm_cuda", TORCH_BOX(&force_algorithm));
  m.impl("_through_aten", TORCH_BOX(&through_aten));
}

}  // namespace
}  // namespace torchconv::cuda

static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, "_C_cuda", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr,
};

PyMODINIT_FUNC PyInit__C_cuda() {
  return PyModule_Create(&module_definition);
}
