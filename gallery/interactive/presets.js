// Images and kernels to begin with; those of the pages of the gallery.
"use strict";

(function () {
  function matrix(height, width, value) {
    return Array.from({ length: height }, (_, row) =>
      Array.from({ length: width }, (_, column) => value(row, column)),
    );
  }

  window.Presets = {
    images: {
      "0 to 35": matrix(6, 6, (row, column) => 6 * row + column),
      "half bright, half dark": matrix(6, 6, (row, column) => (column < 3 ? 10 : 0)),
      "four fields": matrix(6, 6, (row, column) => (row < 3 === column < 3 ? 10 : 0)),
      "slanted edge": matrix(6, 6, (row, column) => (column >= row ? 10 : 0)),
      "one bright pixel": matrix(7, 7, (row, column) => (row === 3 && column === 3 ? 1 : 0)),
      "a row with a hill": [[0, 0, 0, 1, 2, 3, 2, 1, 0, 0]],
    },
    kernels: {
      "mean": matrix(3, 3, () => 1 / 9),
      "vertical edges": [[1, 0, -1], [1, 0, -1], [1, 0, -1]],
      "horizontal edges": [[1, 1, 1], [0, 0, 0], [-1, -1, -1]],
      "Sobel": [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
      "Scharr": [[3, 0, -3], [10, 0, -10], [3, 0, -3]],
      "Laplace": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
      "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
      "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
      "a hill": [[1, 2, 3, 2, 1]],
    },
  };
})();
