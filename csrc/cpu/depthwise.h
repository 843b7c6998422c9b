// Depthwise forward and input gradient: each destination plane gathers from its own source plane
// (from `multiplier` of them in the input gradient of a channel multiplier).
//
//     stage 0   pack the weight as [block][plane][r, s] or [block][plane][r, s][lanes], see if
//               it is finite
//     stage 1   job = images x rows x blocks; load the band of a block or read the source in
//               place, run register tiles, store
//
// Included inside the namespace of each isa_*.cpp.
#pragma once

// Runs widen a half type while loading, tiles read it only from a band.
template <class S, class X>
void run_depthwise_rows(const DepthwiseRows<S, X>& rows) {
  if constexpr (kHasRuns<Compute<S>>) {
    const DepthwiseRunRows<S, X> runs(rows);
    if (runs.applies()) return runs.run();
  }
  if constexpr (std::is_same_v<X, Compute<S>>) DepthwiseTileRows<S, X>(rows).run();
}

template <class S>
bool reads_in_place(const DepthwiseRows<S, S>& rows) {
  if constexpr (std::is_same_v<S, Compute<S>>) {
    return true;
  } else if constexpr (kHasRuns<Compute<S>>) {
    return DepthwiseRunRows<S, S>(rows).applies();
  }
  return false;
}

template <class S>
void depthwise_convolve(const Task& task, const Job& job, const Gather& g, const DepthwisePlan& z) {
  using T = Compute<S>;
  const int64_t parts = ceil_div(z.blocks, z.job_blocks);
  const int64_t part = job.index % parts, row_begin = job.index / parts % z.row_jobs * z.rows;
  const int64_t image = job.index / parts / z.row_jobs * z.images;
  const int64_t block_begin = part * z.blocks / parts, block_end = (part + 1) * z.blocks / parts;

  int64_t* const offsets = (int64_t*)job.scratch;
  T* const band = (T*)(job.scratch + z.offsets_size * sizeof(int64_t));
  T* const bias = band + z.band.size;
  T* const sums = bias + z.bias_size;
  const int64_t block_lanes = z.channel_lanes ? z.lanes : 1;
  if (task.bias) {
    const int64_t first = block_begin * block_lanes;
    copy_run<S, T, T>(
        (const S*)task.bias + first, bias,
        smaller((block_end - block_begin) * block_lanes, g.groups * g.dst_channels - first),
        nullptr);
  }
  const T* const packed = (const T*)job.shared;
  const T* const finite = packed + z.packed_size;

  DepthwiseRows<S, T> rows = {task,    g,       z, row_begin, {},    offsets, sums,
                              nullptr, nullptr, 0, 1,         false, false,   nullptr};
  DepthwiseRows<S, S> direct = {task,
                                g,
                                z,
                                row_begin,
                                {},
                                offsets,
                                sums,
                                task.bias ? bias : nullptr,
                                packed + block_begin * z.weight_block(),
                                block_begin,
                                block_end - block_begin,
                                true,
                                true,
                                nullptr};
  const int64_t src_channels = g.groups * g.src_channels;
  const int64_t src_image = src_channels * g.rows.src_size * g.columns.src_size;
  const int64_t dst_image = g.groups * g.dst_channels * g.rows.dst_size * g.columns.dst_size;
  const int64_t first_row = row_begin * g.rows.src_step + g.rows.src_low;
  const int64_t band_rows = z.band.plane_pitch / z.band.row_pitch;
  bool in_place = z.in_place && reads_in_place(direct);
  for (int64_t b = block_begin; in_place && b < block_end; ++b) in_place = finite[b] != 0;
  for (int64_t n = image; n < smaller(g.n, image + z.images); ++n) {
    const Image<S> source = {(const S*)gather_source(task) + n * src_image, g.layout, src_channels,
                             g.rows.src_size, g.columns.src_size};
    rows.result = direct.result = (S*)task.result + n * dst_image;
    // Strips with another order on their way to the result go plane by plane.
    if (in_place && (z.channel_lanes || (g.columns.dst_step == 1 && !rows.spaced()))) {
      const int64_t w = g.columns.src_size, pixel = z.channel_lanes ? src_channels : 1;
      const int64_t first = depthwise_channels(g, z, block_begin).first / g.dst_channels;
      direct.view = {source.data + first * (z.channel_lanes ? 1 : g.rows.src_size * w),
                     0,
                     1,
                     w * pixel,
                     0,
                     pixel,
                     g.columns.src_step * pixel};
      run_depthwise_rows(direct);
      continue;
    }
    for (int64_t b = block_begin; b < block_end; b += rows.blocks) {
      rows.block = b, rows.blocks = 1;
      rows.weights = packed + b * z.weight_block();
      rows.skip_padding = finite[b] != 0;
      rows.bias = task.bias ? bias + (b - block_begin) * block_lanes : nullptr;
      rows.in_place = in_place;
      if (in_place) {
        const int64_t w = g.columns.src_size,
                      plane = depthwise_channels(g, z, b).first / g.dst_channels;
        rows.view = {(const T*)source.data + plane * g.rows.src_size * w, 0, 1, w, 0, 1, 1};
      } else if (z.dense && finite[b]) {
        const int64_t last = smaller(block_end, b + z.dense_blocks), w = g.columns.src_size;
        while (b + rows.blocks < last && finite[b + rows.blocks]) ++rows.blocks;
        const int64_t low = rows.blocks > 1 ? 0 : larger(0, first_row), height = g.rows.src_size;
        const int64_t high = rows.blocks > 1 ? height : smaller(height, first_row + band_rows);
        rows.in_place = true;
        rows.view = {
            band, low, 1, w * block_lanes, 0, block_lanes, g.columns.src_step * block_lanes};
        load_dense_band(source, z.channel_lanes, depthwise_channels(g, z, b), rows.blocks, low,
                        high, z.lanes, band);
      } else {
        rows.view = {
            band,        first_row,        z.band.row_skip, z.band.row_pitch, g.columns.src_low,
            block_lanes, z.band.pixel_step};
        load_depthwise_band(source, z.band, z.channel_lanes, depthwise_channels(g, z, b), first_row,
                            band_rows, g.columns.src_low, z.lanes, band);
      }
      run_depthwise_rows(rows);
    }
  }
}

inline void depthwise(const Task& task, const Job& job) {
  const auto& [g, z] = *(const Planned<DepthwisePlan>*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    if (job.stage == 0) {
      Compute<S>* const packed = (Compute<S>*)job.shared;
      const int64_t begin = job.index * z.pack_blocks;
      for (int64_t i = begin; i < smaller(z.blocks, begin + z.pack_blocks); ++i) {
        Compute<S>* const block = packed + i * z.weight_block();
        pack_depthwise<S>(task, g, z, i, block);
        packed[z.packed_size + i] = all_finite(block, z.weight_block());
      }
      return;
    }
    depthwise_convolve<S>(task, job, g, z);
  });
}
