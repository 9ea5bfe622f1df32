/* Turns a body about: reads a glTF binary, draws it by WebGL 2, follows pointer, wheel and keys.

   Of glTF it reads what report_mesh.py writes: one mesh after the other, each with POSITION, perhaps
   NORMAL and COLOR_0, perhaps indices, and a node with translation and scale. World: y up, the body
   faces +z. Lengths are metres, angles radians. One canvas serves all bodies of a page, since
   browsers allow few drawing contexts. */

"use strict";

const FIELD_OF_VIEW = 0.5; // upright
const NEAREST = 0.35, FARTHEST = 3; // of the distance that shows the whole body
const STEEPEST = 1.45; // beyond, up and down would turn over
const TURN = 0.0085; // per pixel
const MORPH = 550, GLIDE = 900; // ms

const BODY_VERTEX = `#version 300 es
  uniform mat4 view, lens;
  uniform float blend, tinted;
  uniform vec3 plain;
  in vec3 place, normal, nextPlace, nextNormal;
  in vec3 colour;
  out vec3 shade, facing, eye;
  void main() {
    vec4 seen = view * vec4(mix(place, nextPlace, blend), 1.0);
    facing = mat3(view) * mix(normal, nextNormal, blend);
    shade = mix(plain, colour, tinted);
    eye = -seen.xyz;
    gl_Position = lens * seen;
  }`;

const BODY_FRAGMENT = `#version 300 es
  precision highp float;
  in vec3 shade, facing, eye;
  out vec4 pixel;
  void main() {
    vec3 n = normalize(facing), e = normalize(eye);
    float key = max(dot(n, normalize(vec3(-0.45, 0.65, 0.75))), 0.0);
    float fill = max(dot(n, normalize(vec3(0.8, 0.1, 0.45))), 0.0);
    float sky = 0.5 + 0.5 * n.y;
    float rim = pow(1.0 - max(dot(n, e), 0.0), 3.0);
    vec3 light = shade * (0.22 + 0.20 * sky + 0.62 * key + 0.16 * fill) + 0.10 * rim;
    pixel = vec4(pow(clamp(light, 0.0, 1.0), vec3(1.0 / 2.2)), 1.0);
  }`;

const GROUND_VERTEX = `#version 300 es
  uniform mat4 view, lens;
  uniform vec4 patch_; // middle x, height, middle z, radius
  in vec2 corner;
  out vec2 across;
  void main() {
    across = corner;
    vec3 place = vec3(patch_.x + corner.x * patch_.w, patch_.y, patch_.z + corner.y * patch_.w);
    gl_Position = lens * view * vec4(place, 1.0);
  }`;

const GROUND_FRAGMENT = `#version 300 es
  precision highp float;
  in vec2 across;
  out vec4 pixel;
  void main() {
    float far = clamp(1.0 - dot(across, across), 0.0, 1.0);
    pixel = vec4(0.0, 0.0, 0.0, 0.30 * far * far);
  }`;

/* ---- glTF ---- */

const SIZES = { SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4 };
const READERS = {
  5120: ["getInt8", 1, 127], 5121: ["getUint8", 1, 255],
  5122: ["getInt16", 2, 32767], 5123: ["getUint16", 2, 65535],
  5125: ["getUint32", 4, 1], 5126: ["getFloat32", 4, 1],
};

/** Gives the bytes that a base64 text stands for. */
function bytesOf(text) {
  const letters = atob(text.trim());
  const bytes = new Uint8Array(letters.length);
  for (let n = 0; n < letters.length; n++) bytes[n] = letters.charCodeAt(n);
  return bytes;
}

/** Reads the meshes of a glTF binary: places [m], indices, colours (linear) or null. */
function readMeshes(bytes) {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (data.byteLength < 20 || data.getUint32(0, true) !== 0x46546c67)
    throw new Error("wanted a glTF binary, came something else");
  if (data.getUint32(8, true) > data.byteLength)
    throw new Error("wanted a whole glTF binary, came one that breaks off");
  const length = data.getUint32(12, true);
  const start = bytes.byteOffset + 20;
  const content = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes.buffer, start, length)));
  const base = 20 + length + 8;

  function values(number) {
    const accessor = content.accessors[number];
    const view = content.bufferViews[accessor.bufferView];
    const [read, size, most] = READERS[accessor.componentType];
    const width = SIZES[accessor.type], stride = view.byteStride || width * size;
    const from = base + (view.byteOffset || 0) + (accessor.byteOffset || 0);
    const share = accessor.normalized ? 1 / most : 1;
    const found = new Float32Array(accessor.count * width);
    for (let n = 0; n < accessor.count; n++)
      for (let k = 0; k < width; k++)
        found[n * width + k] = share * data[read](from + n * stride + k * size, true);
    return { found, width };
  }

  return content.nodes.filter((node) => node.mesh !== undefined).map((node) => {
    const primitive = content.meshes[node.mesh].primitives[0];
    const scale = node.scale || [1, 1, 1], move = node.translation || [0, 0, 0];
    const places = values(primitive.attributes.POSITION).found;
    for (let n = 0; n < places.length; n++) places[n] = places[n] * scale[n % 3] + move[n % 3];
    const mesh = { places, indices: null, colours: null };
    if (primitive.indices !== undefined)
      mesh.indices = Uint32Array.from(values(primitive.indices).found);
    if (primitive.attributes.COLOR_0 !== undefined) {
      const { found, width } = values(primitive.attributes.COLOR_0);
      mesh.colours = Float32Array.from(
        { length: places.length }, (_, n) => found[Math.floor(n / 3) * width + (n % 3)]
      );
    }
    return mesh;
  });
}

/** Gives each vertex the mean direction of its faces, larger faces counting more. */
function normalsOf(places, indices) {
  const sum = new Float32Array(places.length);
  for (let n = 0; n < indices.length; n += 3) {
    const [a, b, c] = [3 * indices[n], 3 * indices[n + 1], 3 * indices[n + 2]];
    const [ux, uy, uz] = [0, 1, 2].map((k) => places[b + k] - places[a + k]);
    const [vx, vy, vz] = [0, 1, 2].map((k) => places[c + k] - places[a + k]);
    const cross = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
    for (const corner of [a, b, c]) for (let k = 0; k < 3; k++) sum[corner + k] += cross[k];
  }
  for (let n = 0; n < sum.length; n += 3) {
    const long = Math.hypot(sum[n], sum[n + 1], sum[n + 2]) || 1;
    for (let k = 0; k < 3; k++) sum[n + k] /= long;
  }
  return sum;
}

/** Gives the lowest and highest place along each axis. */
function boundsOf(places) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (let n = 0; n < places.length; n++) {
    low[n % 3] = Math.min(low[n % 3], places[n]);
    high[n % 3] = Math.max(high[n % 3], places[n]);
  }
  return { low, high };
}

/* ---- drawing ---- */

function program(gl, vertex, fragment) {
  const made = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS) && !gl.isContextLost())
    throw new Error("the shaders were refused: " + gl.getProgramInfoLog(made));
  return made;
}

/** Draws one body at a time into a canvas; throws if the browser has no WebGL 2. */
class BodyViewer {
  constructor(canvas) {
    this.canvas = canvas;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    const wanted = { antialias: true, alpha: true, premultipliedAlpha: true };
    this.gl = canvas.getContext("webgl2", wanted);
    if (!this.gl) throw new Error("this browser has no WebGL 2");
    this.aim = { yaw: 0, pitch: 0, zoom: 1 };
    this.now = { ...this.aim };
    this.plain = [0.4, 0.6, 0.86]; // linear in light
    this.tinted = 0;
    this.wantTint = 0;
    this.body = null;
    this.prepare();
    this.listen();
    new ResizeObserver(() => this.ask()).observe(canvas);
  }

  prepare() {
    const gl = this.gl;
    this.bodies = program(gl, BODY_VERTEX, BODY_FRAGMENT);
    this.ground = program(gl, GROUND_VERTEX, GROUND_FRAGMENT);
    this.floor = this.fill(new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]));
    this.buffers = [];
  }

  fill(content, kind = this.gl.ARRAY_BUFFER) {
    const buffer = this.gl.createBuffer();
    this.gl.bindBuffer(kind, buffer);
    this.gl.bufferData(kind, content, this.gl.STATIC_DRAW);
    return buffer;
  }

  /** Shows a body; `samples` are meshes of the same vertices, or an empty list. */
  show(mesh, samples = []) {
    const gl = this.gl;
    this.buffers.forEach((buffer) => gl.deleteBuffer(buffer));
    this.body = { mesh, samples };
    this.shapes = [mesh, ...samples].map(({ places }) => ({
      places: this.fill(places), normals: this.fill(normalsOf(places, mesh.indices)),
    }));
    this.colours = mesh.colours ? this.fill(mesh.colours) : null;
    this.indices = this.fill(mesh.indices, gl.ELEMENT_ARRAY_BUFFER);
    this.buffers = [...this.shapes.flatMap((one) => [one.places, one.normals]), this.indices];
    if (this.colours) this.buffers.push(this.colours);
    this.frame = boundsOf(mesh.places);
    this.from = this.to = 0;
    this.blend = 1;
    this.checked = false;
    delete this.canvas.dataset.drawn;
    this.now = { yaw: this.calm.matches ? 0 : -0.7, pitch: 0.06, zoom: 1 };
    this.look(0, 0.06, 1);
  }

  /** Glides to another view. */
  look(yaw, pitch = this.aim.pitch, zoom = this.aim.zoom) {
    const turns = Math.round((this.now.yaw - yaw) / (2 * Math.PI));
    this.aim = { yaw: yaw + 2 * Math.PI * turns, pitch, zoom };
    this.start = { ...this.now };
    this.begun = this.calm.matches ? -Infinity : performance.now();
    this.ask();
  }

  /** Colours the body by its uncertainty, or not. */
  tint(on) {
    this.wantTint = on && this.colours ? 1 : 0;
    if (this.calm.matches) this.tinted = this.wantTint;
    this.ask();
  }

  /** Changes into another body: 0 the most probable one, then the samples. */
  morph(number) {
    if (number === this.to) return;
    this.from = this.to;
    this.to = number;
    this.blend = this.calm.matches ? 1 : 0;
    this.morphed = performance.now();
    this.ask();
  }

  ask() {
    if (!this.asked) this.asked = requestAnimationFrame((time) => this.draw(time));
  }

  step(time) {
    let busy = false;
    if (this.begun !== undefined) {
      const share = Math.min(1, Math.max(0, (time - this.begun) / GLIDE));
      const soft = 1 - (1 - share) ** 3;
      for (const key of Object.keys(this.aim))
        this.now[key] = this.start[key] + soft * (this.aim[key] - this.start[key]);
      if (share < 1) busy = true;
      else this.begun = undefined;
    }
    if (this.blend < 1) {
      const share = Math.min(1, Math.max(0, (time - this.morphed) / MORPH));
      this.blend = share * share * (3 - 2 * share);
      busy = busy || share < 1;
    }
    if (this.tinted !== this.wantTint) {
      const gap = this.wantTint - this.tinted;
      this.tinted = Math.abs(gap) < 0.02 ? this.wantTint : this.tinted + 0.18 * gap;
      busy = true;
    }
    return busy;
  }

  draw(time) {
    this.asked = 0;
    const { gl, canvas } = this;
    if (!this.body || gl.isContextLost() || !canvas.clientWidth) return;
    const busy = this.step(time);
    const sharp = Math.min(devicePixelRatio || 1, 2);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((n) => Math.round(n * sharp));
    if (canvas.width !== width || canvas.height !== height)
      Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const { view, lens } = this.camera(width / height);
    this.drawBody(view, lens);
    if (!this.checked) this.check(width, height);
    this.drawGround(view, lens);
    if (busy) this.ask();
  }

  camera(aspect) {
    const { low, high } = this.frame;
    const middle = low.map((value, axis) => (value + high[axis]) / 2);
    const wide = Math.hypot(high[0] - low[0], high[2] - low[2]) / 2, tall = (high[1] - low[1]) / 2;
    const slope = Math.tan(FIELD_OF_VIEW / 2);
    const whole = 1.12 * Math.max(tall / slope, wide / (slope * aspect)) + wide / 2;
    const far = whole / this.now.zoom;
    const { yaw, pitch } = this.now;
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    // The camera goes about the body: at yaw 0 it sees the front, as the photo's camera does.
    const right = [cy, 0, -sy], up = [-sp * sy, cp, -sp * cy], back = [cp * sy, sp, cp * cy];
    const along = (axis) => -axis.reduce((sum, value, k) => sum + value * middle[k], 0);
    const view = [
      right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0,
      along(right), along(up), along(back) - far, 1,
    ];
    const near = Math.max(0.05, far - 3), end = far + 6, depth = near - end;
    const lens = [
      1 / (slope * aspect), 0, 0, 0, 0, 1 / slope, 0, 0, 0, 0, (near + end) / depth, -1,
      0, 0, (2 * near * end) / depth, 0,
    ];
    return { view, lens };
  }

  /** Names a buffer as an input of a program; without one, the input is white. */
  feed(shaders, name, buffer, width) {
    const { gl } = this, place = gl.getAttribLocation(shaders, name);
    if (place < 0) return;
    if (!buffer) {
      gl.disableVertexAttribArray(place);
      gl.vertexAttrib3f(place, 1, 1, 1);
      return;
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, width, gl.FLOAT, false, 0, 0);
  }

  aimed(shaders, view, lens) {
    const { gl } = this;
    gl.useProgram(shaders);
    for (let place = 0; place < 5; place++) gl.disableVertexAttribArray(place);
    gl.uniformMatrix4fv(gl.getUniformLocation(shaders, "view"), false, view);
    gl.uniformMatrix4fv(gl.getUniformLocation(shaders, "lens"), false, lens);
    return (name) => gl.getUniformLocation(shaders, name);
  }

  drawBody(view, lens) {
    const { gl, bodies } = this;
    const place = this.aimed(bodies, view, lens);
    gl.enable(gl.DEPTH_TEST);
    gl.disable(gl.BLEND);
    gl.uniform1f(place("blend"), this.blend);
    gl.uniform1f(place("tinted"), this.tinted);
    gl.uniform3fv(place("plain"), this.plain);
    const [from, to] = [this.shapes[this.from], this.shapes[this.to]];
    this.feed(bodies, "place", from.places, 3);
    this.feed(bodies, "normal", from.normals, 3);
    this.feed(bodies, "nextPlace", to.places, 3);
    this.feed(bodies, "nextNormal", to.normals, 3);
    this.feed(bodies, "colour", this.colours, 3);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.indices);
    gl.drawElements(gl.TRIANGLES, this.body.mesh.indices.length, gl.UNSIGNED_INT, 0);
  }

  drawGround(view, lens) {
    const { gl, ground } = this, { low, high } = this.frame;
    const place = this.aimed(ground, view, lens);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.depthMask(false);
    const middle = [0, 2].map((axis) => (low[axis] + high[axis]) / 2);
    const reach = 0.42 * Math.hypot(high[0] - low[0], high[2] - low[2]) + 0.15;
    gl.uniform4f(place("patch_"), middle[0], low[1] - 0.005, middle[1], reach);
    this.feed(ground, "corner", this.floor, 2);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    gl.depthMask(true);
  }

  /** Makes sure that a body is to be seen: what was drawn is not taken on trust. */
  check(width, height) {
    const pixels = new Uint8Array(4 * width * height);
    this.gl.readPixels(0, 0, width, height, this.gl.RGBA, this.gl.UNSIGNED_BYTE, pixels);
    let covered = 0;
    for (let n = 3; n < pixels.length; n += 4) if (pixels[n] > 200) covered++;
    this.checked = true;
    this.canvas.dataset.drawn = String(covered);
    this.canvas.dispatchEvent(new CustomEvent("drawn", { detail: covered }));
  }

  /* ---- pointer, wheel, keys ---- */

  turn(yaw, pitch, zoom = 1) {
    this.begun = undefined;
    this.now.yaw += yaw;
    this.now.pitch = Math.min(STEEPEST, Math.max(-STEEPEST, this.now.pitch + pitch));
    this.now.zoom = Math.min(1 / NEAREST, Math.max(1 / FARTHEST, this.now.zoom * zoom));
    this.aim = { ...this.now };
    this.ask();
  }

  listen() {
    const { canvas } = this, held = new Map();
    const apart = () => {
      const [a, b] = [...held.values()];
      return Math.hypot(a.x - b.x, a.y - b.y);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      held.set(event.pointerId, { x: event.clientX, y: event.clientY });
    });
    canvas.addEventListener("pointermove", (event) => {
      const last = held.get(event.pointerId);
      if (!last) return;
      const before = held.size === 2 ? apart() : 0;
      held.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (held.size === 2) this.turn(0, 0, apart() / Math.max(before, 1));
      else this.turn(-TURN * (event.clientX - last.x), TURN * (event.clientY - last.y));
    });
    for (const kind of ["pointerup", "pointercancel"])
      canvas.addEventListener(kind, (event) => held.delete(event.pointerId));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode ? 20 * event.deltaY : event.deltaY;
      this.turn(0, 0, Math.exp(-0.0015 * lines));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.look(0, 0.06, 1));
    const steps = {
      ArrowLeft: [0.2, 0], ArrowRight: [-0.2, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15],
      "+": [0, 0, 1.15], "=": [0, 0, 1.15], "-": [0, 0, 1 / 1.15],
    };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "0" || event.key === "Home") this.look(0, 0.06, 1);
      else if (steps[event.key]) this.turn(...steps[event.key]);
      else return;
      event.preventDefault();
    });
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.prepare();
      if (this.body) this.show(this.body.mesh, this.body.samples);
    });
  }
}
