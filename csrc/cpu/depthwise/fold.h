// The input gradient where padding repeats elements of the input, as that of the padded image: what lies in its
// rim is computed into scratch memory and, when a block of channels is complete, added to the pixels that it
// repeats, in the order of margins.h.
//
//      t t t t t t
//      l . . . . r      The inside is stored where it belongs; rows of the rim are whole ones, and beside
//      l . . . . r      each other row lie the columns left of it, then those right of it.
//      b b b b b b
#pragma once

#include "cpu/depthwise/store.h"
#include "cpu/runtime.h"

namespace torchconv::cpu {
namespace {

// As it is when it has been stored as S.
template <class S>
typename Simd<Compute<S>>::Vec as_stored(typename Simd<Compute<S>>::Vec v) {
  using V = Simd<Compute<S>>;
  if constexpr (!std::is_same_v<S, Compute<S>>) {
    S stored[V::kLanes];
    V::store(stored, v);
    v = V::load(stored);
  }
  return v;
}

// to[i] += from[i], elements of a result of type S.
template <class S, class From, class To>
void add_stored(const From* from, int64_t count, To* to) {
  using V = Simd<Compute<S>>;
  const auto sum = [](auto a, auto b) { return V::add(as_stored<S>(a), as_stored<S>(b)); };
  int64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes)
    V::store(to + i, sum(V::load(to + i), V::load(from + i)));
  if (i == count) return;
  const int64_t rest = count - i;
  V::store_first(to + i, sum(V::load_first(to + i, rest), V::load_first(from + i, rest)), rest);
}

// Pixels of one block, or of some, in the rim of an image.
template <class X>
struct FoldedRim {
  X* base;
  int64_t pixel;  // elements from one to the next
  int64_t height, width;
  Margins around;

  int64_t beside() const { return around.left + around.right; }
  // Column -left of a row of padding.
  X* row(int64_t y) const {
    return base + (y < 0 ? y + around.top : y - height + around.top) * (width + beside()) * pixel;
  }
  // The first of the columns beside a row.
  X* columns(int64_t y) const {
    return base + ((around.top + around.bottom) * (width + beside()) + y * beside()) * pixel;
  }

  // Adds channels [0, count) to an image whose pixels lie that far from each other.
  template <class S, class To>
  [[gnu::noinline]] void add_to(To* image, int64_t row_pitch, int64_t column_pitch,
                                int64_t count) const {
    const DenormalMode kept(false);
    const auto add = [&](const X* from, int64_t from_step, To* to, int64_t to_step,
                         int64_t pixels) {
      if (from_step == count && to_step == count) return add_stored<S>(from, pixels * count, to);
      for (int64_t i = 0; i < pixels; ++i)
        add_stored<S>(from + i * from_step, count, to + i * to_step);
    };
    const auto add_row = [&](int64_t y) {
      const X* from = row(y);
      To* const to = image + around.row(y, height) * row_pitch;
      const auto corner = [&](int64_t x) {
        add(from, pixel, to + around.column(x, width) * column_pitch, column_pitch, 1);
        from += pixel;
      };
      for (int64_t x = -around.left; x < 0; ++x) corner(x);
      add(from, pixel, to, column_pitch, width);
      from += width * pixel;
      for (int64_t x = width; x < width + around.right; ++x) corner(x);
    };
    for (int64_t y = -around.top; y < 0; ++y) add_row(y);
    for (int64_t y = height; y < height + around.bottom; ++y) add_row(y);
    for (int64_t i = 0; i < beside(); ++i) {
      const int64_t x = i < around.left ? i - around.left : width + i - around.left;
      add(columns(0) + i * pixel, beside() * pixel, image + around.column(x, width) * column_pitch,
          row_pitch, height);
    }
  }
};

}  // namespace
}  // namespace torchconv::cpu
