// The load stage of depthwise: the source rows of one block, padded with zeros, in the compute
// type. Included inside the namespace of each isa_*.cpp.
#pragma once

// Which source channels a block reads: plane i, lane l is channel (first + l * lane_step) / divide
// + i.
struct BlockChannels {
  int64_t first, count;  // count lanes, in destination channels
  int64_t lane_step, divide;
};

// out[i] = in[(column + i * step) * pixel], zero outside [0, width), and zeros or what the next row
// overwrites up to a vector behind out[count].
template <class S>
void load_strided_row(const S* in, int64_t width, int64_t pixel, int64_t column, int64_t step,
                      int64_t count, Compute<S>* out) {
  using V = Simd<Compute<S>>;
  const int64_t first = column >= 0 ? 0 : smaller(count, ceil_div(-column, step));
  const int64_t last =
      larger(first, smaller(count, width > column ? ceil_div(width - column, step) : 0));
  for (int64_t i = 0; i < first; i += V::kLanes) V::store(out + i, V::zero());
  if (step * pixel == 1) {
    in += column;
    int64_t i = first;
    for (; i + V::kLanes <= last; i += V::kLanes) V::store(out + i, V::load(in + i));
    if (i < last) V::store(out + i, V::load_first(in + i, last - i));
  } else {
    in += (column + first * step) * pixel;
    for (int64_t i = first; i < last; ++i, in += step * pixel) out[i] = to_compute(*in);
  }
  for (int64_t i = last; i < count; i += V::kLanes) V::store(out + i, V::zero());
}

// Even and odd columns from `column` on, `count` of each.
template <class S>
void load_paired_row(const S* in, int64_t width, int64_t column, int64_t count, Compute<S>* even,
                     Compute<S>* odd) {
  using V = Simd<Compute<S>>;
  constexpr int64_t kLanes = V::kLanes;
  const auto at = [&](int64_t x) { return x >= 0 && x < width ? to_compute(in[x]) : 0; };
  int64_t i = 0;
  for (; i < count && column + 2 * i < 0; ++i) {
    even[i] = at(column + 2 * i);
    odd[i] = at(column + 2 * i + 1);
  }
  for (; i < count; i += kLanes) {
    const int64_t x = column + 2 * i, room = larger(0, smaller(2 * kLanes, width - x));
    auto a = room >= kLanes ? V::load(in + x) : V::load_first(in + x, room);
    auto b = room == 2 * kLanes ? V::load(in + x + kLanes)
                                : V::load_first(in + x + kLanes, larger(0, room - kLanes));
    V::deinterleave(a, b);
    if (i + kLanes <= count) {
      V::store(even + i, a);
      V::store(odd + i, b);
    } else {
      V::store_first(even + i, a, count - i);
      V::store_first(odd + i, b, count - i);
    }
  }
}

// Every multiplier-th channel, or every channel several times.
template <class S>
void load_spread_row(const Image<S>& image, const DepthwiseBand& b, const BlockChannels& channels,
                     int64_t plane, int64_t y, int64_t column, int64_t lanes, Compute<S>* out) {
  fill_zero(out, b.row_pitch);
  const S* const in = image.data + y * image.width * image.channels + plane;
  for (int64_t i = 0; i < b.length; ++i) {
    const int64_t x = column + i * b.column_skip;
    if (x < 0 || x >= image.width) continue;
    for (int64_t l = 0; l < channels.count; ++l) {
      const int64_t channel = (channels.first + l * channels.lane_step) / channels.divide;
      out[i * lanes + l] = to_compute(in[x * image.channels + channel]);
    }
  }
}

// The rows [low, high) of one source plane for each destination plane, without padding; all rows of
// several blocks.
template <class S>
void load_dense_band(const Image<S>& image, bool channel_lanes, const BlockChannels& channels,
                     int64_t blocks, int64_t low, int64_t high, int64_t lanes, Compute<S>* out) {
  if (low >= high) return;
  const int64_t pixels = blocks * (high - low) * image.width;
  if (!channel_lanes) {
    const S* const in = image.data + (channels.first * image.height + low) * image.width;
    return copy_run<S, Compute<S>, Compute<S>>(in, out, pixels, nullptr);
  }
  if (channels.count < lanes) fill_zero(out, pixels * lanes);
  load_band<S>(image, {low, high - low, 1, 0, image.width, 1, channels.first, channels.count}, out,
               lanes);
}

// `rows` band rows from source row `row` on, band column 0 at source column `column`.
template <class S>
void load_depthwise_band(const Image<S>& image, const DepthwiseBand& b, bool channel_lanes,
                         const BlockChannels& channels, int64_t row, int64_t rows, int64_t column,
                         int64_t lanes, Compute<S>* out) {
  const int64_t first = channels.first / channels.divide, plane_size = image.height * image.width;
  const bool spread = channels.lane_step > 1 || channels.divide > 1;
  if (channel_lanes && !spread) {
    if (channels.count < lanes) fill_zero(out, rows * b.row_pitch);
    return load_band<S>(
        image, {row, rows, b.row_skip, column, b.length, b.column_skip, first, channels.count}, out,
        lanes);
  }
  for (int64_t plane = 0; plane < b.planes; ++plane) {
    for (int64_t i = 0; i < rows; ++i) {
      Compute<S>* const to = out + plane * b.plane_pitch + i * b.row_pitch;
      const int64_t y = row + i * b.row_skip;
      if (y < 0 || y >= image.height) {
        fill_zero(to, b.row_pitch);
      } else if (channel_lanes) {
        load_spread_row(image, b, channels, plane, y, column, lanes, to);
      } else {
        const S* const in = image.data + y * image.width * b.pixel +
                            (first + plane) * (b.pixel == 1 ? plane_size : 1);
        if (b.phases == 2 && b.pixel == 1) {
          load_paired_row(in, image.width, column, b.length, to, to + b.length);
          continue;
        }
        for (int64_t phase = 0; phase < b.phases; ++phase) {
          load_strided_row(in, image.width, b.pixel, column + phase, b.column_skip, b.length,
                           to + phase * b.length);
        }
      }
    }
  }
}
