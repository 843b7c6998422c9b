// The register tiles of a part of several rows, which see the same taps.
#pragma once

#include "cpu/common/run_rows.h"

namespace torchconv::cpu {
namespace {

// Row after row where they are long, else columns of tiles down all of them; the rows of such a tile are pixels
// of a row, or of a column where there are few columns. `ahead`: what they fetch.
template <class A, Steps kSteps>
void run_part(Tile<A>& tile, int64_t columns, const Below& rows, int64_t lanes, Ahead<A> ahead) {
  if (columns >= cost::kLongRowPart) {
    for (int64_t i = 0; i < rows.count; ++i) {
      run_rows<A, kSteps, true>(tile, columns, lanes, ahead);
      ahead = ahead.after(columns);
      tile.a += rows.a, tile.c += rows.c, tile.skip(rows.rounded);
    }
    return;
  }
  if (columns >= cost::kShortestRowPart || columns >= rows.count)
    return run_rows<A, kSteps, true>(tile, columns, lanes, ahead, rows);
  const Below across = {columns, tile.a_row, tile.c_row, tile.rounded_row};
  tile.a_row = rows.a;
  if (rows.c) tile.c_row = rows.c;  // else sums that do not wait for another chunk
  if constexpr (std::is_same_v<A, Pair>) tile.rounded_row = rows.rounded;
  run_rows<A, kSteps, true>(tile, rows.count, lanes, ahead, across);
}

}  // namespace
}  // namespace torchconv::cpu
