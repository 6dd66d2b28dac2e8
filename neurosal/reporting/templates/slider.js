"use strict";
// Turning brains: each one draws its triangles itself on a plain 2D canvas, so that neither WebGL
// nor a library is needed, and keeps for every pixel the vertex it shows: a step in time changes
// colours only.
(() => {
  const VIEWS = {
    left: [-90, 0, "from the left"],
    right: [90, 0, "from the right"],
    top: [0, 90, "from above"],
    bottom: [0, -90, "from below"],
    front: [180, 0, "from the front"],
    back: [0, 0, "from behind"],
  };
  const LETTERS = { R: [1, 0, 0], L: [-1, 0, 0], A: [0, 1, 0], P: [0, -1, 0], S: [0, 0, 1], I: [0, 0, -1] };
  const PAPER = 255, NO_DATA = [140, 128, 112], MISSING = -32768;

  function unpack(text, Kind) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Kind(bytes.buffer);
  }

  function surface(coordinates, faces) {
    // Vertex normals, pointing outwards whatever the order of a face's corners.
    const points = Float32Array.from(coordinates, (value) => value / 100);
    const normals = new Float32Array(points.length);
    let volume = 0;
    for (let f = 0; f < faces.length; f += 3) {
      const [a, b, c] = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
      const u = [0, 1, 2].map((k) => points[b + k] - points[a + k]);
      const v = [0, 1, 2].map((k) => points[c + k] - points[a + k]);
      const n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      for (const corner of [a, b, c]) for (let k = 0; k < 3; k++) normals[corner + k] += n[k];
      volume += points[a] * n[0] + points[a + 1] * n[1] + points[a + 2] * n[2];
    }
    const outwards = volume < 0 ? -1 : 1;
    for (let i = 0; i < normals.length; i += 3) {
      const length = outwards * (Math.hypot(normals[i], normals[i + 1], normals[i + 2]) || 1);
      for (let k = 0; k < 3; k++) normals[i + k] /= length;
    }
    return { points, normals, faces, outwards };
  }

  function extent(surfaces) {
    const low = [1e9, 1e9, 1e9], high = [-1e9, -1e9, -1e9];
    for (const one of surfaces) {
      one.points.forEach((value, i) => {
        low[i % 3] = Math.min(low[i % 3], value);
        high[i % 3] = Math.max(high[i % 3], value);
      });
    }
    return { middle: low.map((v, k) => (v + high[k]) / 2), half: low.map((v, k) => (high[k] - v) / 2) };
  }

  class Brain {
    constructor(root) {
      this.root = root;
      this.find = (name) => root.querySelector("." + name);
      this.canvas = this.find("bs-canvas");
      this.paper = this.canvas.getContext("2d");
      const data = (this.data = JSON.parse(this.find("bs-data").textContent));
      this.colours = unpack(data.colours, Uint8Array);
      this.values = unpack(data.values, Int16Array);
      this.significant = data.significant ? unpack(data.significant, Uint8Array) : null;
      let first = 0;
      this.sides = data.sides.map((side) => {
        const faces = unpack(side.faces, side.wide ? Uint32Array : Uint16Array);
        const folded = surface(unpack(side.points, Int16Array), faces);
        const inflated = side.inflated ? surface(unpack(side.inflated, Int16Array), faces) : null;
        const rows = unpack(side.rows, Int16Array);
        const one = { name: side.name, folded, inflated, rows, first };
        one.sulcus = unpack(side.sulcus, Uint8Array);
        first += rows.length;
        return one;
      });
      this.rows = new Int16Array(first);
      for (const side of this.sides) this.rows.set(side.rows, side.first);
      this.state = { time: 0, condition: 0, azimuth: data.from === "right" ? 60 : -60, elevation: 20, zoom: 1, region: -1 };
      this.controls();
      this.bar();
      this.fromAddress();
      this.resize();
      new ResizeObserver(() => this.resize()).observe(this.find("bs-stage"));
      window.addEventListener("hashchange", () => this.fromAddress() && this.draw());
    }

    controls() {
      const on = (name, event, action) => {
        const part = this.find(name);
        if (part) part.addEventListener(event, () => action(part));
      };
      on("bs-time", "input", (part) => this.goTo(Number(part.value)));
      on("bs-condition", "change", (part) => this.show({ condition: part.selectedIndex }));
      on("bs-view", "change", (part) => this.look(part.value));
      on("bs-sides", "change", () => this.draw());
      on("bs-shape", "change", () => this.draw());
      on("bs-deep", "change", () => this.draw());
      on("bs-sure", "change", () => this.paint());
      on("bs-play", "click", () => this.play());
      on("bs-turn", "click", () => this.turn());
      const keys = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] };
      this.canvas.addEventListener("keydown", (event) => {
        if (event.key in keys) this.rotate(...keys[event.key]);
        else if (event.key === "+" || event.key === "-") this.zoom(event.key === "+" ? 1.1 : 1 / 1.1);
        else return;
        event.preventDefault();
      });
      this.canvas.addEventListener("pointerdown", (event) => {
        this.drag = [event.clientX, event.clientY];
        this.canvas.setPointerCapture(event.pointerId);
        this.point(event);
      });
      this.canvas.addEventListener("pointermove", (event) => {
        if (!this.drag) return this.point(event);
        const [x, y] = this.drag;
        this.drag = [event.clientX, event.clientY];
        this.rotate(-(event.clientX - x) / 2, (event.clientY - y) / 2);
      });
      for (const name of ["pointerup", "pointercancel"])
        this.canvas.addEventListener(name, () => (this.drag = null));
    }

    fromAddress() {
      // "#time=7.2&condition=rh&view=left" opens the brain as somebody else saw it.
      const wanted = new URLSearchParams(location.hash.slice(1));
      if (wanted.has("condition")) {
        const place = this.data.conditions.indexOf(wanted.get("condition"));
        if (place >= 0) this.state.condition = place;
      }
      if (wanted.has("time")) {
        const apart = this.data.times.map((time) => Math.abs(time - Number(wanted.get("time"))));
        this.state.time = apart.indexOf(Math.min(...apart));
      } else if (!this.canvas.dataset.time) {
        this.state.time = this.data.start;
      }
      if (wanted.get("view") in VIEWS) this.look(wanted.get("view"), true);
      return ["time", "condition", "view"].some((name) => wanted.has(name));
    }

    goTo(time) { this.show({ time }); }
    show(change) { Object.assign(this.state, change); this.paint(); }
    zoom(times) { this.state.zoom = Math.min(4, Math.max(0.5, this.state.zoom * times)); this.draw(); }

    look(view, later) {
      if (!(view in VIEWS)) return;
      [this.state.azimuth, this.state.elevation] = VIEWS[view];
      this.find("bs-view").value = view;
      if (!later) this.draw();
    }

    rotate(across, up) {
      this.state.azimuth += across;
      this.state.elevation = Math.min(90, Math.max(-90, this.state.elevation + up));
      this.find("bs-view").value = "";
      this.draw();
    }

    play() {
      const going = (this.playing = this.playing ? clearInterval(this.playing) : setInterval(() => {
        this.goTo((this.state.time + 1) % this.data.times.length);
      }, 500));
      this.pressed("bs-play", going, "Stop", "Play");
    }

    turn() {
      let before = performance.now();
      const step = (now) => {
        if (!this.turning) return;
        this.rotate((now - before) / 40, 0);
        before = now;
        requestAnimationFrame(step);
      };
      this.turning = !this.turning;
      this.pressed("bs-turn", this.turning, "Stop turning", "Turn");
      requestAnimationFrame(step);
    }

    pressed(name, on, yes, no) {
      this.find(name).textContent = on ? yes : no;
      this.find(name).setAttribute("aria-pressed", on ? "true" : "false");
    }

    resize() {
      const width = this.find("bs-stage").clientWidth;
      if (!width || width === this.width) return;
      this.width = width;
      const height = Math.round(Math.min(Math.max(0.62 * width, 270), 500));
      this.canvas.width = Math.min(2 * width, 1800);
      this.canvas.height = Math.round((height * this.canvas.width) / width);
      this.draw();
    }

    axes() {
      const [a, e] = [this.state.azimuth, this.state.elevation].map((v) => (v * Math.PI) / 180);
      return {
        right: [Math.cos(a), Math.sin(a), 0],
        up: [-Math.sin(e) * Math.sin(a), Math.sin(e) * Math.cos(a), Math.cos(e)],
        out: [Math.cos(e) * Math.sin(a), -Math.cos(e) * Math.cos(a), Math.sin(e)],
      };
    }

    visible() {
      const wanted = this.find("bs-sides").value;
      const shape = this.find("bs-shape");
      const inflated = Boolean(shape) && shape.value === "inflated";
      const sides = this.sides.filter((side) => wanted === "both" || side.name === wanted);
      return { inflated, sides: sides.map((side) => [side, inflated ? side.inflated : side.folded]) };
    }

    draw() {
      // Find what every pixel shows: which vertex (hit), how bright (light), which ball before it.
      const { width, height } = this.canvas;
      const { inflated, sides } = this.visible();
      const { right, up, out } = this.axes();
      const { middle, half } = extent(sides.map(([, one]) => one));
      const reach = (axis) => Math.hypot(...half.map((v, k) => v * axis[k])) + 15;
      const scale = Math.min(width / 2 / reach(right), height / 2 / reach(up)) * this.state.zoom;
      const dot = (axis, x, y, z) => axis[0] * x + axis[1] * y + axis[2] * z;
      const place = (x, y, z) => {
        const [a, b, c] = [x - middle[0], y - middle[1], z - middle[2]];
        return [width / 2 + scale * dot(right, a, b, c), height / 2 - scale * dot(up, a, b, c), dot(out, a, b, c)];
      };
      this.hit = new Int32Array(width * height).fill(-1);
      this.light = new Float32Array(width * height);
      this.depth = new Float32Array(width * height);
      this.near = new Float32Array(width * height).fill(-1e9);
      for (const [side, one] of sides) this.raster(side, one, place, (x, y, z) => dot(out, x, y, z));
      this.ball = new Int16Array(width * height).fill(-1);
      const deep = this.find("bs-deep");
      if (deep) deep.disabled = inflated;
      if (deep && deep.checked && !inflated) this.balls(place, scale);
      this.letters = { middle, half, place, out };
      this.paint();
    }

    raster(side, one, place, facing) {
      const { width, height } = this.canvas;
      const n = side.rows.length;
      const [px, py, pz, pl] = [0, 1, 2, 3].map(() => new Float32Array(n));
      for (let i = 0; i < n; i++) {
        [px[i], py[i], pz[i]] = place(one.points[3 * i], one.points[3 * i + 1], one.points[3 * i + 2]);
        pl[i] = facing(one.normals[3 * i], one.normals[3 * i + 1], one.normals[3 * i + 2]);
      }
      const { hit, light, near, depth } = this;
      for (let f = 0; f < one.faces.length; f += 3) {
        const a = one.faces[f], b = one.faces[f + 1], c = one.faces[f + 2];
        const area = (px[b] - px[a]) * (py[c] - py[a]) - (px[c] - px[a]) * (py[b] - py[a]);
        if (area * one.outwards >= 0) continue;
        const x0 = Math.max(0, Math.ceil(Math.min(px[a], px[b], px[c])));
        const x1 = Math.min(width - 1, Math.floor(Math.max(px[a], px[b], px[c])));
        const y0 = Math.max(0, Math.ceil(Math.min(py[a], py[b], py[c])));
        const y1 = Math.min(height - 1, Math.floor(Math.max(py[a], py[b], py[c])));
        for (let y = y0; y <= y1; y++) {
          for (let x = x0; x <= x1; x++) {
            const wb = ((x - px[a]) * (py[c] - py[a]) - (px[c] - px[a]) * (y - py[a])) / area;
            const wc = ((px[b] - px[a]) * (y - py[a]) - (x - px[a]) * (py[b] - py[a])) / area;
            const wa = 1 - wb - wc;
            if (wa < 0 || wb < 0 || wc < 0) continue;
            const z = wa * pz[a] + wb * pz[b] + wc * pz[c];
            const at = y * width + x;
            if (z <= near[at]) continue;
            near[at] = z;
            hit[at] = side.first + (wa >= wb ? (wa >= wc ? a : c) : wb >= wc ? b : c);
            light[at] = wa * pl[a] + wb * pl[b] + wc * pl[c];
            depth[at] = wa * side.sulcus[a] + wb * side.sulcus[b] + wc * side.sulcus[c];
          }
        }
      }
    }

    balls(place, scale) {
      const { width, height } = this.canvas;
      const wanted = this.find("bs-sides").value;
      const front = new Float32Array(width * height).fill(-1e9);
      this.ballLight = new Float32Array(width * height);
      this.data.balls.forEach(([row, x, y, z, radius], number) => {
        if ((wanted === "left" && x > 3) || (wanted === "right" && x < -3)) return;
        const [cx, cy, cz] = place(x, y, z);
        const r = radius * scale;
        for (let v = Math.max(0, Math.ceil(cy - r)); v <= Math.min(height - 1, cy + r); v++) {
          for (let u = Math.max(0, Math.ceil(cx - r)); u <= Math.min(width - 1, cx + r); u++) {
            const rest = 1 - ((u - cx) ** 2 + (v - cy) ** 2) / (r * r);
            const at = v * width + u;
            const depth = cz + radius * Math.sqrt(Math.max(rest, 0));
            if (rest <= 0 || depth <= front[at]) continue;
            front[at] = depth;
            this.ball[at] = number;
            this.ballLight[at] = Math.sqrt(rest);
          }
        }
      });
      this.before = front;
    }

    cell(row) {
      const { times, regions } = this.data;
      return (this.state.condition * times.length + this.state.time) * regions.length + row;
    }

    value(row) {
      const stored = this.values[this.cell(row)];
      return stored === MISSING ? NaN : (stored / 32767) * this.data.scale;
    }

    sure(row) { return !this.significant || this.significant[this.cell(row)] > 0; }

    colour(row) {
      const { vmin, vmax } = this.data;
      const value = this.value(row);
      if (Number.isNaN(value)) return NO_DATA;
      const only = this.find("bs-sure");
      if (only && only.checked && !this.sure(row)) return null;
      const at = 3 * Math.round(255 * Math.min(1, Math.max(0, (value - vmin) / (vmax - vmin))));
      return this.colours.subarray(at, at + 3);
    }

    paint() {
      const { width, height } = this.canvas;
      const { hit, light, near, ball, rows, depth } = this;
      const image = this.paper.createImageData(width, height);
      const out = image.data;
      const table = this.data.regions.map((_, row) => this.colour(row));
      // Behind the cortex a ball of large value shows more than one of small value.
      const strong = table.map((_, row) => Math.min(0.9, 0.15 + Math.abs(this.value(row)) / this.data.vmax) || 0.15);
      for (let at = 0; at < hit.length; at++) {
        let r = PAPER, g = PAPER, b = PAPER;
        const vertex = hit[at];
        if (vertex >= 0) {
          const row = rows[vertex];
          const bare = 208 - 0.2 * depth[at];
          const own = row < 0 ? null : table[row];
          const shade = 0.74 + 0.26 * light[at];
          [r, g, b] = own ? own : [bare, bare, bare];
          const edge = row !== this.rowAt(at + 1) || row !== this.rowAt(at + width) ? 0.82 : 1;
          r *= shade * edge; g *= shade * edge; b *= shade * edge;
        }
        if (ball[at] >= 0) {
          const row = this.data.balls[ball[at]][0];
          const own = table[row] || [225, 225, 225];
          const rim = this.ballLight[at] < 0.3;
          const shade = (0.65 + 0.35 * this.ballLight[at]) * (rim ? 0.7 : 1);
          const share = vertex < 0 || near[at] <= this.before[at] ? 1 : Math.max(strong[row], rim ? 0.5 : 0);
          r += share * (own[0] * shade - r);
          g += share * (own[1] * shade - g);
          b += share * (own[2] * shade - b);
        }
        out[4 * at] = r; out[4 * at + 1] = g; out[4 * at + 2] = b; out[4 * at + 3] = 255;
      }
      this.paper.putImageData(image, 0, 0);
      this.write();
      this.tell();
    }

    rowAt(at) {
      const vertex = at < this.hit.length ? this.hit[at] : -1;
      return vertex >= 0 ? this.rows[vertex] : -2;
    }

    write() {
      // Letters at the ends of the axes that lie in the picture: L and R, A and P, S and I.
      const { middle, half, place, out } = this.letters;
      const size = Math.round((15 * this.canvas.width) / this.width);
      Object.assign(this.paper, { textAlign: "center", textBaseline: "middle", fillStyle: "#1b1f24" });
      Object.assign(this.paper, { strokeStyle: "#fff", lineWidth: size / 3, lineJoin: "round" });
      this.paper.font = `600 ${size}px system-ui, sans-serif`;
      for (const [letter, axis] of Object.entries(LETTERS)) {
        const towards = axis[0] * out[0] + axis[1] * out[1] + axis[2] * out[2];
        if (Math.abs(towards) > 0.6) continue;
        const end = axis.map((v, k) => middle[k] + v * (half[k] + 9));
        const [x, y] = place(...end);
        this.paper.strokeText(letter, x, y);
        this.paper.fillText(letter, x, y);
      }
    }

    point(event) {
      const box = this.canvas.getBoundingClientRect();
      const x = Math.floor(((event.clientX - box.left) / box.width) * this.canvas.width);
      const y = Math.floor(((event.clientY - box.top) / box.height) * this.canvas.height);
      if (x < 0 || y < 0 || x >= this.canvas.width || y >= this.canvas.height) return;
      const at = y * this.canvas.width + x;
      const ball = this.ball[at];
      const row = ball >= 0 ? this.data.balls[ball][0] : this.rowAt(at);
      if (row === this.state.region || row < 0) return;
      this.state.region = row;
      this.tell();
    }

    tell() {
      const { labels, after, conditions, regions, units } = this.data;
      const { time, condition, region } = this.state;
      const when = labels[time];
      const slider = this.find("bs-time");
      slider.value = time;
      slider.setAttribute("aria-valuetext", when + after);
      this.find("bs-now").textContent = when;
      if (this.find("bs-condition")) this.find("bs-condition").selectedIndex = condition;
      const view = VIEWS[this.find("bs-view").value];
      const seen = view ? view[2] : "turned freely";
      this.canvas.setAttribute("aria-label", `Brain ${seen}, ${conditions[condition]}, ${when}${after}`);
      Object.assign(this.canvas.dataset, { time, condition });
      if (region < 0) return;
      const [name, network] = regions[region];
      const value = this.value(region);
      const number = Number.isNaN(value) ? "no data" : `${Number(value.toPrecision(3))} ${units}`;
      const sure = this.significant && !Number.isNaN(value) ? (this.sure(region) ? ", significant" : ", not significant") : "";
      this.find("bs-read").textContent = `${name}${network ? ` (${network})` : ""}: ${number}${sure}, ${conditions[condition]}, ${when}`;
    }

    bar() {
      const paper = this.find("bs-bar").getContext("2d");
      for (let i = 0; i < 256; i++) {
        paper.fillStyle = `rgb(${this.colours.subarray(3 * i, 3 * i + 3).join(",")})`;
        paper.fillRect(i, 0, 1, 1);
      }
    }
  }

  for (const root of document.querySelectorAll(".brain-slider")) {
    root.classList.add("bs-ready");
    new Brain(root);
  }
  for (const button of document.querySelectorAll("button.copy")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.parentElement.querySelector(".methods").innerText);
      button.textContent = "Copied";
    });
  }
})();
