// Grids of numbers: fields that can be edited, buttons that can be chosen, or plain cells.
"use strict";

(function () {
  // At most three decimals, so that a cell stays narrow.
  function write(value) {
    return String(Math.round(value * 1000) / 1000 || 0);
  }

  // A number or a fraction; null for anything else.
  function read(text) {
    const [numerator, denominator, more] = text.trim().split("/").map(Number);
    const value = denominator === undefined ? numerator : numerator / denominator;
    return text.trim() === "" || more !== undefined || !Number.isFinite(value) ? null : value;
  }

  function makeCell(kind, label) {
    const cell = document.createElement({ field: "input", button: "button", plain: "div" }[kind]);
    cell.className = "cell";
    if (kind === "field") cell.type = "text";
    if (kind === "button") cell.type = "button";
    if (kind !== "plain") cell.setAttribute("aria-label", label);
    return cell;
  }

  // Fills `grid` with `height` rows of `width` cells and returns them as rows. `kindOf(row, column)`
  // is "field", "button" or "plain".
  function build(grid, name, height, width, kindOf) {
    grid.replaceChildren();
    grid.style.setProperty("--columns", width);
    return Array.from({ length: height }, (_, row) =>
      Array.from({ length: width }, (_, column) => {
        const label = `${name}, row ${row}, column ${column}`;
        const cell = makeCell(kindOf(row, column), label);
        grid.append(cell);
        return cell;
      }),
    );
  }

  function show(cell, value) {
    const text = value === null ? "" : write(value);
    if (cell.tagName !== "INPUT") cell.textContent = text;
    else if (cell !== document.activeElement) cell.value = text;
    cell.classList.toggle("long", text.length > 4);
    cell.dataset.value = value === null ? "" : value;
  }

  window.Grids = { build, read, show, write };
})();
