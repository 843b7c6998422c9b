// What the torch-aware file of every device shares: arguments become a Conv2dShape, checked for
// what would corrupt memory, and tensors become dense. Stable ABI only.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <string>
#include <vector>

#include "check.h"
#include "conv2d.h"

namespace torchconv {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Sizes = std::vector<int64_t>;

// What the last number of a geometry is made of; see library.cpp.
constexpr int64_t kChannelsLastFlag = 1;
constexpr int64_t kTf32Flag = 2;
constexpr int64_t kAtenFlags = 4;  // times 1, 2, 4 for the forward pass, grad_input, grad_weight
constexpr int64_t kWinogradOffFlag = 32;
constexpr int64_t kWinogradF2Flag = 64;
constexpr int64_t kPaddingModeFlag = 128;  // times the number of a PaddingMode

inline Dtype to_dtype(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return Dtype::kFloat32;
    case ScalarType::Double:
      return Dtype::kFloat64;
    case ScalarType::BFloat16:
      return Dtype::kBFloat16;
    case ScalarType::Half:
      return Dtype::kFloat16;
    default:
      fail("dtype must be float32, float64, bfloat16 or float16");
  }
}

inline Dtype to_dtype(const std::string& name) {
  if (name == "float32") return Dtype::kFloat32;
  if (name == "float64") return Dtype::kFloat64;
  if (name == "bfloat16") return Dtype::kBFloat16;
  require(name == "float16", "unknown dtype ", name);
  return Dtype::kFloat16;
}

// In a range in which no sum below goes wrong.
inline int64_t checked(int64_t value, int64_t least, const char* what) {
  require(value >= least, what, " must be at least ", least, ", got ", value);
  require(value < int64_t{1} << 62, what, " is too large, got ", value);
  return value;
}

inline int64_t checked_padding(int64_t value) {
  require(value < int64_t{1} << 40, "padding is too large, got ", value);
  return checked(value, 0, "padding");
}

// geometry as described in library.cpp.
template <class InputSize, class WeightSize>
Conv2dShape make_shape(const InputSize& input, const WeightSize& weight, const Sizes& geometry,
                       Dtype dtype) {
  require(input.size() == 4 && weight.size() == 4, "tensors must have 4 dimensions");
  require(geometry.size() == 10, "geometry takes 10 integers");
  const int64_t *const stride = &geometry[0], *const padding = &geometry[2],
                       *const dilation = &geometry[6], groups = geometry[8];
  Conv2dShape d;
  d.n = checked(input[0], 0, "batch size");
  d.c = checked(input[1], 0, "input channels");
  d.h = checked(input[2], 0, "input height");
  d.w = checked(input[3], 0, "input width");
  d.k = checked(weight[0], 0, "output channels");
  d.r = checked(weight[2], 1, "kernel height");
  d.s = checked(weight[3], 1, "kernel width");
  d.pad_top = checked_padding(padding[0]), d.pad_bottom = checked_padding(padding[1]);
  d.pad_left = checked_padding(padding[2]), d.pad_right = checked_padding(padding[3]);
  // Beyond the padded input every stride is the same one step, every dilation the same misfit.
  const int64_t height = d.h + d.pad_top + d.pad_bottom + 1,
                width = d.w + d.pad_left + d.pad_right + 1;
  d.stride_h = std::min(checked(stride[0], 1, "stride"), height);
  d.stride_w = std::min(checked(stride[1], 1, "stride"), width);
  d.dilation_h = std::min(checked(dilation[0], 1, "dilation"), height);
  d.dilation_w = std::min(checked(dilation[1], 1, "dilation"), width);
  d.groups = checked(groups, 1, "groups");
  d.dtype = dtype;
  d.layout = geometry[9] & kChannelsLastFlag ? Layout::kChannelsLast : Layout::kContiguous;
  require(d.c % groups == 0 && d.k % groups == 0 && weight[1] == d.c / groups, "weight has ",
          weight[1], " input channels per group and ", d.k, " output channels, input has ", d.c,
          " channels, groups is ", groups);
  d.p = output_size(d.h, d.pad_top, d.pad_bottom, d.dilation_h, d.r, d.stride_h);
  d.q = output_size(d.w, d.pad_left, d.pad_right, d.dilation_w, d.s, d.stride_w);
  return d;
}

// Of 4 dimensions, none of them empty.
inline bool is_dense(const int64_t* sizes, const int64_t* strides, Layout layout) {
  const int contiguous[4] = {3, 2, 1, 0}, channels_last[4] = {1, 3, 2, 0};
  const int* order = layout == Layout::kContiguous ? contiguous : channels_last;
  int64_t expected = 1;
  for (int i = 0; i < 4; ++i) {
    const int dim = order[i];
    if (sizes[dim] != 1 && strides[dim] != expected) return false;
    expected *= sizes[dim];
  }
  return true;
}

inline bool is_dense(const Tensor& t, Layout layout) {
  return t.numel() == 0 || is_dense(t.sizes().data(), t.strides().data(), layout);
}

inline Tensor make_dense(const Tensor& t, Layout layout) {
  if (is_dense(t, layout)) return t;
  return torch::stable::contiguous(
      t, layout == Layout::kContiguous ? MemoryFormat::Contiguous : MemoryFormat::ChannelsLast);
}

// "(2, 3, 5, 5)"
template <class Size>
std::string size_text(const Size& size) {
  std::string text;
  for (const int64_t extent : size) text += (text.empty() ? "" : ", ") + std::to_string(extent);
  return "(" + text + ")";
}

// The product, which must be a number of elements.
inline int64_t checked_product(int64_t a, int64_t b) {
  int64_t product;
  require(!__builtin_mul_overflow(a, b, &product), "a tensor has too many elements: ", a, " x ", b);
  return product;
}

inline int64_t storage_bytes(const Tensor& t, const char* name) {
  int64_t bytes = 0;
  require(aoti_torch_get_storage_size(t.get(), &bytes) == AOTI_TORCH_SUCCESS, name,
          " has no storage");
  return bytes;
}

// A storage may hold less than its tensor needs, or nothing: resize_(0) frees it, as FSDP does with
// the parameters of layers that are not in use.
inline void check_allocated(const Tensor& t, const char* name) {
  if (t.numel() == 0) return;
  const auto sizes = t.sizes(), strides = t.strides();
  int64_t elements = t.storage_offset() + 1;
  for (size_t i = 0; i < sizes.size(); ++i) elements += (sizes[i] - 1) * strides[i];
  const int64_t bytes = storage_bytes(t, name);
  const int64_t needed = elements * static_cast<int64_t>(t.element_size());
  if (bytes >= needed) return;
  fail("the data of ", name, " ", size_text(sizes), " is not allocated yet: it needs ", needed,
       " bytes, its storage has ", bytes);
}

// An uninitialised tensor of a dtype, so many bytes an element.
template <size_t kDims>
Tensor empty_strided(int32_t dtype, int64_t bytes, const int64_t (&size)[kDims],
                     const int64_t (&stride)[kDims], int32_t device_type, int32_t device_index) {
  AtenTensorHandle handle;
  const AOTITorchError error =
      aoti_torch_empty_strided(kDims, size, stride, dtype, device_type, device_index, &handle);
  if (error == AOTI_TORCH_SUCCESS) return Tensor(handle);
  for (const int64_t extent : size) bytes = checked_product(bytes, extent);
  fail("out of memory: a result of size ", size_text(size), " needs ", bytes,
       " bytes; a smaller batch or image needs less");
}

// One of the same dtype.
template <size_t kDims>
Tensor empty_strided(const Tensor& like, const int64_t (&size)[kDims],
                     const int64_t (&stride)[kDims], int32_t device_type, int32_t device_index) {
  int32_t dtype;
  require(aoti_torch_get_dtype(like.get(), &dtype) == AOTI_TORCH_SUCCESS, "no dtype");
  return empty_strided(dtype, static_cast<int64_t>(like.element_size()), size, stride, device_type,
                       device_index);
}

// The strides of a dense tensor, of which no extent counts as 0.
inline Strides dense_strides(const int64_t (&size)[4], Layout layout) {
  const int64_t c = std::max<int64_t>(size[1], 1), h = std::max<int64_t>(size[2], 1),
                w = std::max<int64_t>(size[3], 1);
  checked_product(checked_product(h, w), c);
  return dense(layout, c, h, w);
}

// The same, dense in the layout.
inline Tensor empty_dense(const Tensor& like, const int64_t (&size)[4], Layout layout,
                          int32_t device_type, int32_t device_index) {
  const Strides to = dense_strides(size, layout);
  return empty_strided(like, size, {to.image, to.channel, to.row, to.column}, device_type,
                       device_index);
}

}  // namespace torchconv
