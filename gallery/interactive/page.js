// The page: what is chosen, what is shown of it, and where the kernel stands.
"use strict";

(function () {
  const { MODES, outputSize, refusal, pad, windowAt, convolve } = Convolution;
  const byId = (id) => document.getElementById(id);
  const SECONDS_PER_STEP = 0.7;

  const state = {
    image: copy(Presets.images["0 to 35"]),
    kernel: copy(Presets.kernels["mean"]),
    stride: 1, padding: 0, dilation: 1, mode: "zeros",
    position: 0,
  };
  let cells = null; // null where there is no output
  let timer = null;

  function copy(matrix) {
    return matrix.map((row) => row.slice());
  }

  function resized(matrix, height, width) {
    return Array.from({ length: height }, (_, row) =>
      Array.from({ length: width }, (_, column) => matrix[row]?.[column] ?? 0),
    );
  }

  function sizes() {
    const [height, width] = [state.image.length, state.image[0].length];
    const [r, s] = [state.kernel.length, state.kernel[0].length];
    return { height, width, r, s, p: outputSize(height, r, state), q: outputSize(width, s, state) };
  }

  // Everything anew: a size has changed.
  function rebuild() {
    const { height, width, r, s, p, q } = sizes();
    for (const [id, value] of Object.entries({
      "image-rows": height, "image-columns": width, "kernel-rows": r, "kernel-columns": s,
      stride: state.stride, padding: state.padding, dilation: state.dilation, mode: state.mode,
    })) {
      if (byId(id) !== document.activeElement) byId(id).value = value;
    }
    showFormula();
    const wrong = refusal(height, width, state.padding, state.mode) || emptiness();
    byId("refusal").textContent = wrong;
    for (const id of ["player", "sum", "grids"]) byId(id).hidden = wrong !== "";
    if (wrong) {
      cells = null;
      pause();
      return;
    }
    const edge = state.padding;
    const inside = (row, column) =>
      row >= edge && row < edge + height && column >= edge && column < edge + width;
    const field = () => "field";
    const plain = () => "plain";
    cells = {
      image: Grids.build(byId("image"), "image", height + 2 * edge, width + 2 * edge,
        (row, column) => (inside(row, column) ? "field" : "plain")),
      kernel: Grids.build(byId("kernel"), "kernel", r, s, field),
      products: Grids.build(byId("products"), "product", r, s, plain),
      output: Grids.build(byId("output"), "output", p, q, () => "button"),
    };
    cells.image.forEach((row, i) => row.forEach((cell, j) => {
      cell.classList.toggle("padding", !inside(i, j));
      if (inside(i, j)) edit(cell, state.image, i - edge, j - edge);
    }));
    cells.kernel.forEach((row, i) => row.forEach((cell, j) => edit(cell, state.kernel, i, j)));
    cells.output.forEach((row, i) => row.forEach((cell, j) => {
      cell.addEventListener("click", () => moveTo(i * q + j));
    }));
    const padding = edge ? ` with padding ${edge}` : "";
    byId("image-title").textContent = `image ${height} × ${width}${padding}`;
    byId("output-title").textContent = `output ${p} × ${q}`;
    byId("position").max = p * q - 1;
    state.position = Math.min(state.position, p * q - 1);
    refresh();
  }

  function edit(cell, matrix, row, column) {
    cell.addEventListener("input", () => {
      const value = Grids.read(cell.value);
      cell.setAttribute("aria-invalid", value === null);
      if (value === null) return;
      matrix[row][column] = value;
      refresh();
    });
    cell.addEventListener("blur", () => {
      cell.removeAttribute("aria-invalid");
      refresh();
    });
  }

  // The numbers anew: sizes are as they were.
  function refresh() {
    if (!cells) return;
    const padded = pad(state.image, state.padding, state.mode);
    const output = convolve(state.image, state.kernel, state);
    const q = output[0].length;
    const [row, column] = [Math.floor(state.position / q), state.position % q];
    const terms = windowAt(padded, state.kernel, row, column, state);
    cells.image.forEach((line, i) => line.forEach((cell, j) => {
      Grids.show(cell, padded[i][j]);
      cell.classList.remove("seen");
    }));
    for (const term of terms) {
      cells.image[term.row][term.column].classList.add("seen");
      Grids.show(cells.kernel[term.r][term.s], term.weight);
      Grids.show(cells.products[term.r][term.s], term.product);
    }
    output.forEach((line, i) => line.forEach((value, j) => {
      const cell = cells.output[i][j], number = i * q + j;
      Grids.show(cell, value);
      cell.classList.toggle("later", number > state.position);
      cell.setAttribute("aria-label", `output, row ${i}, column ${j}: ${Grids.write(value)}`);
      if (number === state.position) cell.setAttribute("aria-current", "true");
      else cell.removeAttribute("aria-current");
    }));
    const inBrackets = (text) => (text.startsWith("-") ? `(${text})` : text);
    const products = terms.map((term) =>
      `${inBrackets(Grids.write(term.value))}\u00d7${inBrackets(Grids.write(term.weight))}`);
    const total = Grids.write(output[row][column]);
    byId("sum").textContent = `output[${row}, ${column}] = ${products.join(" + ")} = ${total}`;
    byId("position").value = state.position;
    byId("back").disabled = state.position === 0;
    byId("step").disabled = state.position === output.length * q - 1;
  }

  function emptiness() {
    const { height, width, r, s, p, q } = sizes();
    if (p >= 1 && q >= 1) return "";
    const [what, kernel, image] = p < 1 ? ["rows", r, height] : ["columns", s, width];
    const covers = state.dilation * (kernel - 1) + 1;
    return `The output would be empty: the kernel covers ${covers} ${what}, ` +
      `and the image has only ${image + 2 * state.padding} with its padding.`;
  }

  function showFormula() {
    const { height, width, r, s, p, q } = sizes();
    const line = (name, n, k, result) =>
      `${name} = \u230a(${n} + 2\u00b7${state.padding} \u2212 ${state.dilation}\u00b7(${k} \u2212 1) \u2212 1) / ` +
      `${state.stride}\u230b + 1 = ${result}`;
    const general = "\u230a(size + 2\u00b7padding \u2212 dilation\u00b7(kernel \u2212 1) \u2212 1) / stride\u230b + 1";
    const lines = [`size of the output = ${general}`, line("rows", height, r, p), line("columns", width, s, q)];
    byId("formula").replaceChildren(...lines.map((text) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = text;
      return paragraph;
    }));
  }

  function last() {
    const { p, q } = sizes();
    return p * q - 1;
  }

  function moveTo(position) {
    state.position = Math.max(0, Math.min(last(), position));
    refresh();
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    byId("play").textContent = "play";
    byId("play").setAttribute("aria-pressed", "false");
  }

  function play() {
    if (timer) return pause();
    if (state.position === last()) moveTo(0);
    byId("play").textContent = "pause";
    byId("play").setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      moveTo(state.position + 1);
      if (state.position === last()) pause();
    }, 1000 * SECONDS_PER_STEP);
  }

  function choose(id, options, selected, change) {
    const select = byId(id);
    select.append(...options.map((name) => new Option(name, name, name === selected, name === selected)));
    select.addEventListener("change", () => {
      change(select.value);
      rebuild();
    });
  }

  // A whole number within the limits of its field; anything else is passed over until it is one.
  function number(id, change) {
    byId(id).addEventListener("input", () => {
      const field = byId(id);
      if (!field.checkValidity() || field.value === "") return;
      change(Number(field.value));
      rebuild();
    });
    byId(id).addEventListener("blur", rebuild);
  }

  choose("image-preset", Object.keys(Presets.images), "0 to 35", (name) => {
    state.image = copy(Presets.images[name]);
  });
  choose("kernel-preset", Object.keys(Presets.kernels), "mean", (name) => {
    state.kernel = copy(Presets.kernels[name]);
  });
  choose("mode", MODES, "zeros", (name) => { state.mode = name; });
  for (const id of ["stride", "padding", "dilation"]) number(id, (value) => { state[id] = value; });
  for (const name of ["image", "kernel"]) {
    number(`${name}-rows`, (rows) => { state[name] = resized(state[name], rows, state[name][0].length); });
    number(`${name}-columns`, (columns) => { state[name] = resized(state[name], state[name].length, columns); });
  }

  byId("options").addEventListener("submit", (event) => event.preventDefault());
  byId("reset").addEventListener("click", () => { pause(); moveTo(0); });
  byId("back").addEventListener("click", () => { pause(); moveTo(state.position - 1); });
  byId("step").addEventListener("click", () => { pause(); moveTo(state.position + 1); });
  byId("play").addEventListener("click", play);
  byId("position").addEventListener("input", () => { pause(); moveTo(Number(byId("position").value)); });
  document.addEventListener("keydown", (event) => {
    if (!cells || event.target.closest("input, select")) return;
    if (event.key === " " && event.target.closest("button")) return; // that presses it
    const moves = { ArrowRight: state.position + 1, ArrowLeft: state.position - 1, Home: 0, End: last() };
    if (event.key === " ") play();
    else if (event.key in moves) { pause(); moveTo(moves[event.key]); }
    else return;
    event.preventDefault();
  });
  rebuild();
})();
