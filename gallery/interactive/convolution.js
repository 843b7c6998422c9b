// The convolution of an image and a kernel, as torchconv.conv2d computes it for one channel: the kernel
// is not flipped. Nothing here knows the page.
"use strict";

(function (exported) {
  const MODES = ["zeros", "reflect", "replicate", "circular"];

  // floor((n + 2 padding - dilation (k - 1) - 1) / stride) + 1; less than one where no window fits.
  function outputSize(n, k, { stride, padding, dilation }) {
    return Math.floor((n + 2 * padding - dilation * (k - 1) - 1) / stride) + 1;
  }

  // The place in [0, n) that a place of the padded axis shows; null for a zero that was added.
  function source(place, n, mode) {
    if (place >= 0 && place < n) return place;
    if (mode === "reflect") return place < 0 ? -place : 2 * (n - 1) - place;
    if (mode === "replicate") return place < 0 ? 0 : n - 1;
    if (mode === "circular") return ((place % n) + n) % n;
    return null;
  }

  // Why such a padding cannot be, or an empty text. The limits are those of torch.nn.functional.pad.
  function refusal(height, width, padding, mode) {
    const least = Math.min(height, width);
    if (mode === "reflect" && padding >= least) {
      return `Reflecting ${padding} needs more than ${padding} rows and columns of the image.`;
    }
    if (mode === "circular" && padding > least) {
      return `Going around ${padding} needs at least ${padding} rows and columns of the image.`;
    }
    return "";
  }

  function pad(image, padding, mode) {
    const height = image.length, width = image[0].length;
    const rows = [];
    for (let row = -padding; row < height + padding; ++row) {
      const cells = [];
      for (let column = -padding; column < width + padding; ++column) {
        const r = source(row, height, mode), c = source(column, width, mode);
        cells.push(r === null || c === null ? 0 : image[r][c]);
      }
      rows.push(cells);
    }
    return rows;
  }

  // What lies under the kernel where output [p, q] is computed: places in the padded image, the two
  // factors, and their product.
  function windowAt(padded, kernel, p, q, { stride, dilation }) {
    const terms = [];
    kernel.forEach((weights, r) =>
      weights.forEach((weight, s) => {
        const row = p * stride + r * dilation, column = q * stride + s * dilation;
        const value = padded[row][column];
        terms.push({ row, column, r, s, value, weight, product: value * weight });
      }),
    );
    return terms;
  }

  function convolve(image, kernel, options) {
    const padded = pad(image, options.padding, options.mode);
    const height = outputSize(image.length, kernel.length, options);
    const width = outputSize(image[0].length, kernel[0].length, options);
    const output = [];
    for (let p = 0; p < height; ++p) {
      const cells = [];
      for (let q = 0; q < width; ++q) {
        const terms = windowAt(padded, kernel, p, q, options);
        cells.push(terms.reduce((sum, term) => sum + term.product, 0));
      }
      output.push(cells);
    }
    return output;
  }

  Object.assign(exported, { MODES, outputSize, refusal, pad, windowAt, convolve });
})(typeof module === "undefined" ? (window.Convolution = {}) : module.exports);
