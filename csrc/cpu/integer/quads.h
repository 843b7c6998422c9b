// Few channels in a group: a step multiplies four bytes, a quad, of each lane, and lanes are columns of a plane, or, in
// channels_last, output channels. A quad is
//
//     rows        four source rows of a channel, whose products serve several output rows: with kernels of three rows
//                 and the weights w0 w1 w2 0 the first, with 0 w0 w1 w2 the next; of depthwise layers
//     windows     four taps of a kernel row, taken from bytes as they lie in a row; of short kernel rows in columns
//     channels    four channels of a tap
#pragma once

#include "cpu/plan.h"

namespace torchconv::cpu {

struct Quads {
  enum class Of { kRows, kWindows, kChannels };

  Of of;
  int64_t
      outputs;  // sums that share a load: output rows, or, of channels in columns, output channels
  bool three_rows;   // see three_rows.h
  bool planes;       // see planes.h
  int64_t shift;     // source rows, in tap rows, from one output row to the next
  int64_t blocks;    // quads of a kernel column, a kernel row, or the channels
  int64_t terms;     // of a sum
  int64_t lanes;     // of a column of the patch: 1, or channels
  int64_t residues;  // of a line of columns: with a stride, neighbours that lanes read lie together
  int64_t columns;   // of a residue
  int64_t wanted;    // columns of the padded source that are read
  int64_t loads;     // parts of the channels that a patch is loaded for, one after the other
  int64_t units;     // of packed weights, each `outputs` filters or as many vectors of them
  int64_t unit_bytes, start_bytes;
  int64_t line_bytes, spare_bytes;
};

}  // namespace torchconv::cpu
