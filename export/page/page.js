/* The page: opens a bundle, compares it with its probe, scores images, and walks through its latent space. */

import { BundleError, fromAddress, fromFiles, openBundle } from "./bundle.js";
import { Engine, PROVIDERS, hasRuntime, hasWebGPU } from "./engine.js";
import { ImageError, readImage } from "./images.js";
import { between, centre, draw, information, realImages } from "./latents.js";
import { paint, paintMap, prepare } from "./pictures.js";
import { compareWithProbe } from "./probe.js";
import { highestPlace, reason, summariseAspects } from "./reasons.js";
import { count, counted, number, pValue, visible } from "./wording.js";

const MOST_CARDS = 100;
const SLIDERS = 12; // shown at first, and added by each press of the button
const EXTENT = 4; // of a slider: codes are about as wide as a standard normal distribution
const STEPS = 9; // pictures between two images
const UNUSUAL = 0.01; // p-values up to this get a badge
const EXAMPLES = 6; // ordinary images of the bundle, and two extreme ones

const at = (id) => document.getElementById(id);

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

let bundle = null;
let engine = null;
let images = []; // scored ones: {name, pixels, notes, score, p, map, reconstructed, code, card, …}
let mapTop = 1; // the value of the brightest colour of maps
let opened = 0; // counts bundles, so that what an earlier one still computes is dropped

/* Tell what happens in one of the two lines for that: of the bundle, above, or of the images, beside them. */
function say(text, isProblem = false, line = "status") {
  at(line).textContent = text;
  at(line).classList.toggle("problem", isProblem);
}

function sayOfImages(text, isProblem = false) {
  say(text, isProblem, "score-status");
}

/* A decoder's picture on a canvas, always of the newest code: codes that came while it was busy are skipped. */
class Stage {
  #wanted = null;
  #isBusy = false;

  constructor(canvas) {
    this.canvas = canvas;
  }

  async show(code) {
    this.#wanted = { code, since: performance.now() };
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.canvas.dataset.busy = "";
    try {
      while (this.#wanted !== null) {
        const { code: next, since } = this.#wanted;
        this.#wanted = null;
        const [pixels] = await decode([next]);
        paintImage(this.canvas, pixels);
        this.canvas.dataset.milliseconds = (performance.now() - since).toFixed(1);
        this.canvas.dataset.drawn = String(1 + Number(this.canvas.dataset.drawn ?? 0));
      }
    } catch (error) {
      say(`The decoder failed: ${error.message}`, true);
    } finally {
      this.#isBusy = false;
      delete this.canvas.dataset.busy;
    }
  }
}

/* The images of some codes, pixels [C, H, W] each. */
async function decode(codes) {
  const z = new Float32Array(codes.length * bundle.latentSize);
  codes.forEach((code, index) => z.set(code, index * bundle.latentSize));
  const shape = [codes.length, bundle.latentSize];
  const { image } = await engine.run("decoder.onnx", { z: { type: "float32", shape, data: z } }, ["image"]);
  const size = image.data.length / codes.length;
  return codes.map((_, index) => image.data.subarray(index * size, (index + 1) * size));
}

function paintImage(canvas, pixels) {
  paint(canvas, pixels, bundle.channels, bundle.height, bundle.width);
}

/* The side of a picture on the page, in pixels: a whole multiple of the image's where it is small. */
function side(most) {
  const longest = Math.max(bundle.height, bundle.width);
  return longest * Math.max(1, Math.floor(most / longest)) > most / 2 ? Math.max(1, Math.floor(most / longest)) * longest : most;
}

/* --- Opening a bundle --- */

async function open(read) {
  const current = ++opened;
  say("Opening the bundle…");
  at("sections").hidden = at("figures").hidden = at("probe").hidden = true;
  try {
    const found = await openBundle(read);
    if (current !== opened) return;
    bundle = found;
    await start();
  } catch (error) {
    if (current !== opened) return;
    say(error instanceof BundleError ? error.message : `The bundle cannot be opened: ${error.message}`, true);
  }
}

/* Start the engine on the bundle, compare with the probe, and show everything. */
async function start() {
  const current = ++opened;
  engine?.close();
  const own = new Engine();
  engine = own;
  describe();
  const provider = at("provider").value;
  say(`Loading ONNX Runtime Web with ${PROVIDERS[provider]}…`);
  const begin = performance.now();
  try {
    await own.open(bundle, provider);
  } catch (error) {
    if (current !== opened) return;
    if (provider === "webgpu") {
      at("provider").value = "wasm";
      await start();
      say(`WebGPU cannot run this bundle (${error.message}); WebAssembly does. ${at("status").textContent}`);
    } else say(`ONNX Runtime Web cannot open the bundle: ${error.message}`, true);
    return;
  }
  if (current !== opened) return;
  const ready = performance.now();
  say("Comparing with the probe…");
  const rows = await compareWithProbe(own, bundle);
  if (current !== opened) return;
  showVerdict(rows, provider, ready - begin, performance.now() - ready);
}

function describe() {
  const { model, training, calibration } = bundle.manifest;
  const kind = { 1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGBA" }[bundle.channels];
  at("kicker").textContent = `${model.family} model of ${bundle.width}×${bundle.height} ${kind} images · bundle ${bundle.manifest.bundle.slice(0, 12)}`;
  const name = training?.data || "a bundle without a name";
  at("title").textContent = visible(`${name[0].toUpperCase()}${name.slice(1)}`);
  document.title = `${at("title").textContent} · model in the browser`;
  at("lead").textContent = `Trained on ${counted(training?.training_images ?? 0, "image")}; p-values rank an image among ` +
    `${counted(calibration.images, "calibration image")}. Images are scored on this machine and go nowhere.`;
}

function showVerdict(rows, provider, opening, probing) {
  const differing = rows.filter((row) => !row.ok);
  const worst = rows.reduce((most, row) => !(row.worst / row.allowed <= most.worst / most.allowed) ? row : most);
  const share = `${number(100 * worst.worst / worst.allowed, 2)}%`;
  const name = (row) => `${row.graph.replace(".onnx", "")} ${row.output}`;
  const scoring = differing.some((row) => row.graph === "scorer.onnx" || row.graph === "explainer.onnx");
  const calibrated = bundle.manifest.calibration.images;
  const nats = information(bundle);
  at("figures").replaceChildren(...[
    differing.length
      ? ["Probe", "differs", `${counted(differing.length, "output")} of ${rows.length}: ${differing.slice(0, 3).map(name).join(", ")}`, "alert"]
      : ["Probe", "agrees", `All ${rows.length} outputs of ${Object.keys(bundle.manifest.graphs).length} graphs; the worst, ${name(worst)}, uses ${share} of its tolerance`, ""],
    ["Runs with", PROVIDERS[provider], `Loaded in ${number(opening / 1000, 2)} s; ${counted(bundle.array("probe", "image").shape[0], "probe image")} took ${number(probing / 1000, 2)} s`, ""],
    ["Least p-value", pValue(1 / (calibrated + 1)), `1 / (n + 1) with n = ${count(calibrated)} calibration images`, ""],
    ["Latent variables", count(bundle.latentSize), `An image's code holds ${number(nats.reduce((sum, one) => sum + one, 0), 3)} nats on average`, ""],
  ].map(([label, value, meaning, tone]) => {
    const figure = element("div", `figure ${tone}`.trim());
    figure.append(element("dt", "", label), element("dd", "value", value), element("dd", "meaning", meaning));
    return figure;
  }));
  at("probe-rows").replaceChildren(...rows.map((row) => {
    const made = element("tr");
    const digits = (value) => number(value, 2) + (row.unit ? ` ${row.unit}` : "");
    made.append(element("td", "", row.graph.replace(".onnx", "")), element("td", "", row.output), element("td", "number", digits(row.worst)),
      element("td", "number", digits(row.allowed)), element("td", row.ok ? "" : "alert", row.ok ? "agrees" : "differs"));
    return made;
  }));
  at("probe-note").textContent = "Worst |Δ| / max(scale, |value|) of the bundle's own images against what was computed when it was made; of pictures, grey levels.";
  at("figures").hidden = at("probe").hidden = at("sections").hidden = false;
  say(differing.length
    ? `This browser computes ${differing.map(name).join(", ")} differently from the runtime that made the bundle${scoring ? ", so no image is scored" : ""}.`
    : `This browser agrees with the bundle's probe in all ${rows.length} outputs.`, differing.length > 0);
  at("status").dataset.verdict = differing.length ? "differs" : "agrees";
  at("status").dataset.provider = provider;
  setUpScoring(scoring);
  setUpLatents(nats);
}

/* --- Scoring --- */

function setUpScoring(isRefused) {
  images = [];
  at("cards").replaceChildren();
  at("refused").replaceChildren();
  sayOfImages("");
  const reasonNot = isRefused ? "No image is scored, as this browser computes other scores than those of the calibration images." : "";
  at("scoring").hidden = reasonNot !== "";
  at("score-lead").textContent = reasonNot || `Higher scores are more outlying; a small p-value is rare among ordinary images. ` +
    `Images of another size than ${bundle.width}×${bundle.height} are letterboxed first, and their cards say so.`;
  const maps = bundle.array("probe", "explainer.surprise");
  const ordinary = maps.data.slice(0, maps.data.length / maps.shape[0] * realImages(bundle)).sort();
  mapTop = Math.max(1e-6, ordinary[Math.floor(0.999 * (ordinary.length - 1))]);
  at("scale-high").textContent = `≥ ${number(mapTop, 2)} nats, more than 99.9% of the pixels of ordinary images`;
  at("reading-reconstruction").hidden = !bundle.decodesImages;
  at("cards").style.setProperty("--side", `${side(128)}px`);
  at("cards").style.setProperty("--count", bundle.decodesImages ? 3 : 2);
  showTools();
}

function showTools() {
  at("card-tools").hidden = at("reading").hidden = images.length === 0;
  at("refused").hidden = at("refused").childElementCount === 0;
}

function refuse(name, why) {
  const item = element("li");
  item.append(element("b", "", visible(name)), ` ${why}`);
  at("refused").append(item);
}

async function addFiles(files) {
  if (bundle === null) return say("Open a bundle first, then drop images.", true);
  if (at("scoring").hidden) return say(at("score-lead").textContent, true);
  at("refused").replaceChildren();
  const current = opened;
  const room = Math.max(0, MOST_CARDS - images.length);
  const chosen = files.slice(0, room);
  if (files.length > room) refuse(counted(files.length - room, "more image"), `This page shows ${MOST_CARDS} at most; \`vae score\` takes any number.`);
  let done = 0;
  for (const [index, file] of chosen.entries()) {
    sayOfImages(`Scoring image ${index + 1} of ${chosen.length}…`);
    try {
      const { pixels, notes } = await readImage(file, bundle.channels, bundle.height, bundle.width);
      if (current !== opened) return;
      await score(file.name || "pasted image", pixels, notes);
      done += 1;
    } catch (error) {
      if (current !== opened) return;
      refuse(file.name, error instanceof ImageError ? error.message : `cannot be scored: ${error.message}`);
    }
  }
  finish(done);
}

function finish(done) {
  const left = at("refused").childElementCount;
  sayOfImages(`${counted(done, "image")} scored${left ? `; ${counted(left, "file")} could not be` : ""}.`, left > 0);
  showTools();
  listCodes();
}

async function score(name, pixels, notes) {
  const current = opened;
  const image = { type: "uint8", shape: [1, bundle.channels, bundle.height, bundle.width], data: pixels };
  const scored = await engine.run("scorer.onnx", { image }, ["outlier_score", "p_value"]);
  const explained = await engine.run("explainer.onnx", { image });
  const classes = bundle.classes.length && bundle.manifest.graphs["classes.onnx"]
    ? (await engine.run("classes.onnx", { image }, ["log_class_probability"])).log_class_probability.data : null;
  if (current !== opened) return;
  const map = explained.surprise.data;
  const [height, width] = explained.surprise.shape.slice(1);
  const aspects = summariseAspects(bundle.statistics, explained.contributions.data, explained.deviations.data,
    highestPlace(map, height, width));
  const one = {
    name, pixels, notes, map, aspects, code: explained.mean.data, reconstructed: explained.reconstructed?.data ?? null,
    score: scored.outlier_score.data[0], p: scored.p_value.data[0], added: images.length,
    mapSize: [height, width], classes,
  };
  one.card = makeCard(one);
  images.push(one);
  order();
}

function order() {
  const newest = at("order").value === "added";
  const sorted = [...images].sort((a, b) => newest ? b.added - a.added : b.score - a.score);
  const cards = at("cards");
  sorted.forEach(({ card }, index) => {
    if (cards.children[index] !== card) cards.insertBefore(card, cards.children[index] ?? null);
  });
}

function picture(label) {
  const canvas = element("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  return canvas;
}

function makeCard(one) {
  const card = element("li", "card");
  const title = visible(one.name);
  const trio = element("div", "trio");
  const shown = picture(title);
  paintImage(shown, one.pixels);
  trio.append(shown);
  if (one.reconstructed) {
    const reconstructed = picture("its reconstruction");
    paintImage(reconstructed, one.reconstructed);
    trio.append(reconstructed);
  }
  one.mapCanvas = picture("map of surprise");
  paintOver(one);
  trio.append(one.mapCanvas);

  const headline = element("p", "headline", number(one.score, 4));
  headline.append(" ", element("small", "", `p ${pValue(one.p)}`));
  if (one.p <= UNUSUAL) headline.append(element("span", "badge", "p ≤ 0.01"));
  card.append(trio, headline, element("p", "source", title));
  if (one.notes.length) card.append(element("p", "source", `Converted: ${one.notes.join("; ")}.`));
  if (one.classes) {
    const best = one.classes.reduce((most, value, index) => value > one.classes[most] ? index : most, 0);
    card.append(element("p", "source", `Class: ${visible(bundle.classes[best])} (${number(Math.exp(one.classes[best]), 2)})`));
  }
  card.append(element("p", "reason", reason(one.aspects)), bars(one.aspects));
  if (bundle.decodesImages) {
    const buttons = element("p", "buttons");
    const explore = element("button", "", "Explore");
    explore.type = "button";
    explore.setAttribute("aria-label", `Explore from ${title}`);
    explore.addEventListener("click", () => goTo("explore", () => choose(at("origin"), one)));
    const mix = element("button", "", "Interpolate to");
    mix.type = "button";
    mix.setAttribute("aria-label", `Interpolate to ${title}`);
    mix.addEventListener("click", () => goTo("interpolate", () => choose(at("to"), one)));
    buttons.append(explore, mix);
    card.append(buttons);
  }
  card.dataset.score = one.score;
  card.dataset.p = one.p;
  return card;
}

function paintOver(one) {
  const over = at("over").checked ? one.pixels : null;
  paintMap(one.mapCanvas, one.map, mapTop, ...one.mapSize, over, bundle.channels);
  prepare(one.mapCanvas, one.mapSize[1], one.mapSize[0]);
}

/* What each aspect adds to the score: to the right of zero it raises it. */
function bars(aspects) {
  const list = element("dl", "bars");
  const low = Math.min(0, ...aspects.map((one) => one.contribution));
  const high = Math.max(0, ...aspects.map((one) => one.contribution));
  const place = (value) => 100 * (value - low) / (high - low || 1);
  list.style.setProperty("--zero", `${place(0)}%`);
  for (const { name, contribution } of aspects) {
    const bar = element("i", contribution > 0 ? "out" : "in");
    bar.style.left = `${place(Math.min(0, contribution))}%`;
    bar.style.right = `${100 - place(Math.max(0, contribution))}%`;
    const track = element("dd");
    track.append(bar);
    list.append(element("dt", "", name), track, element("dd", "bar-value", number(contribution, 2)));
  }
  return list;
}

function goTo(section, first) {
  first();
  at(section).scrollIntoView();
  at(section).querySelector("select").focus({ preventScroll: true });
}

async function addExamples() {
  at("refused").replaceChildren();
  const current = opened;
  const total = bundle.array("probe", "image").shape[0];
  const ordinary = realImages(bundle);
  const chosen = [...Array(Math.min(EXAMPLES, ordinary)).keys(), ...(total > ordinary ? [ordinary + 3, total - 1] : [])];
  const room = chosen.filter((index) => index < total).slice(0, MOST_CARDS - images.length);
  for (const index of room) {
    const name = index < ordinary ? `ordinary image ${index + 1} of the bundle` : `extreme image ${index + 1} of the bundle`;
    await score(name, bundle.probeRow("image", index), []);
    if (current !== opened) return;
  }
  finish(room.length);
}

/* --- The latent space --- */

let point = null; // the code that the sliders show
let dimensions = []; // by how much they matter
const decoded = new Stage(at("decoded"));
const mixed = new Stage(at("mixed"));

function setUpLatents(nats) {
  const without = bundle.decodesImages ? ""
    : "The bundle's model is one of features: its decoder gives feature maps and not images, so there is nothing to draw. Scores, p-values, maps and reasons do not need it.";
  at("explorer").hidden = at("interpolator").hidden = without !== "";
  at("explore-lead").textContent = without || "Each slider is a latent variable, and those that tell most about an image come first; " +
    "the nats beside it say how much. The arrow keys move a slider, too.";
  at("interpolate-lead").textContent = without ? "Nor can it be interpolated." : "The codes on the straight line from one image's code to another's, decoded.";
  if (without) return;
  dimensions = [...nats.keys()].sort((a, b) => nats[b] - nats[a]);
  at("class-field").hidden = bundle.classes.length === 0 || bundle.manifest.prior.name !== "classes";
  at("class").replaceChildren(option("", "any"), ...bundle.classes.map((name, index) => option(index, visible(name))));
  for (const canvas of [at("decoded"), at("mixed")]) canvas.style.setProperty("--side", `${side(336)}px`);
  at("sliders").replaceChildren();
  point = centre(bundle);
  addSliders(nats);
  at("more").onclick = () => addSliders(nats);
  listCodes(true);
  moveTo(codeOf(at("origin").value));
  interpolate();
}

function option(value, text) {
  const made = element("option", "", text);
  made.value = value;
  return made;
}

/* The codes that one can start from: of the prior's mean, of the bundle's own images, and of those scored. */
function listCodes(fresh = false) {
  if (!bundle.decodesImages) return;
  const own = Array.from({ length: Math.min(EXAMPLES, realImages(bundle)) }, (_, index) =>
    [`bundle-${index}`, `ordinary image ${index + 1} of the bundle`]);
  const scored = images.map((one) => [`image-${one.added}`, visible(one.name)]);
  for (const [select, first, start] of [[at("origin"), ["centre", "the mean of the prior"], "bundle-0"],
    [at("from"), ["point", "where the sliders are"], "bundle-0"], [at("to"), ["point", "where the sliders are"], "bundle-1"]]) {
    const before = select.value;
    select.replaceChildren(...[first, ...scored, ...own].map(([value, text]) => option(value, text)));
    select.value = fresh ? start : before;
    if (select.selectedIndex < 0) select.selectedIndex = select.options.length - 1;
  }
}

function choose(select, one) {
  select.value = `image-${one.added}`;
  select.dispatchEvent(new Event("change"));
}

function codeOf(name) {
  const [kind, index] = name.split("-");
  if (kind === "bundle") return bundle.probeRow("encoder.mean", Number(index));
  if (kind === "image") return images.find((one) => one.added === Number(index)).code;
  return kind === "point" ? point : centre(bundle);
}

function addSliders(nats) {
  const first = at("sliders").childElementCount;
  for (const dimension of dimensions.slice(first, first + SLIDERS)) {
    const row = element("div", "slider");
    const label = element("label", "", `z${dimension + 1}`);
    const input = element("input");
    Object.assign(input, { type: "range", min: -EXTENT, max: EXTENT, step: 0.05, id: `z-${dimension}` });
    label.htmlFor = input.id;
    label.append(element("small", "", `${number(nats[dimension], 2)} nats`));
    input.dataset.dimension = dimension;
    input.addEventListener("input", () => {
      point[dimension] = Number(input.value);
      show(row, dimension);
      decoded.show(point);
    });
    row.append(label, input, element("output"));
    at("sliders").append(row);
    show(row, dimension);
  }
  const left = dimensions.length - at("sliders").childElementCount;
  at("more").hidden = left === 0;
  at("more").textContent = `Show ${Math.min(SLIDERS, left)} more of ${count(dimensions.length)}`;
}

function show(row, dimension) {
  const [, input, output] = row.children;
  input.value = point[dimension];
  output.textContent = point[dimension].toFixed(2).replace("-", "−");
}

/* Put the sliders on a code, and decode it. */
function moveTo(code) {
  point = Float32Array.from(code);
  for (const row of at("sliders").children) show(row, Number(row.children[1].dataset.dimension));
  decoded.show(point);
}

function showShare() {
  const share = Number(at("between").value);
  at("between-value").textContent = `${Math.round(100 * share)}%`;
  mixed.show(between(codeOf(at("from").value), codeOf(at("to").value), share));
}

async function interpolate() {
  const names = [at("from").value, at("to").value];
  const [from, to] = names.map(codeOf);
  showShare();
  const current = opened;
  const pictures = await decode(Array.from({ length: STEPS }, (_, step) => between(from, to, step / (STEPS - 1))));
  if (current !== opened) return;
  at("strip").replaceChildren(...pictures.map((pixels, step) => {
    const canvas = picture(`${Math.round(100 * step / (STEPS - 1))}% of the way`);
    paintImage(canvas, pixels);
    return canvas;
  }));
  at("strip").dataset.between = names.join(" ");
}

/* --- What a person does --- */

async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      file.path = entry.fullPath;
      found.push(file);
      return;
    }
    const reader = entry.createReader();
    for (;;) { // a reader gives a hundred entries at a time
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) return;
      for (const each of some) await walk(each);
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}

/* A bundle if there is one among the files, else images. */
async function take(files) {
  const read = fromFiles(files);
  if (read !== null) {
    at("models").value = "";
    await open(read);
  } else if (files.length) await addFiles(files);
}

function listen() {
  at("models").addEventListener("change", () => open(fromAddress(at("models").value)));
  at("provider").addEventListener("change", () => bundle !== null && start().catch((error) => say(error.message, true)));
  at("open-folder").addEventListener("click", () => at("folder").click());
  at("folder").addEventListener("change", async () => {
    const files = [...at("folder").files];
    at("folder").value = "";
    if (fromFiles(files) === null) say("This folder holds no manifest.json; choose one that `vae export --for web` wrote.", true);
    else await take(files);
  });
  at("choose").addEventListener("click", () => at("files").click());
  at("files").addEventListener("change", async () => {
    const files = [...at("files").files];
    at("files").value = "";
    await addFiles(files);
  });
  at("examples").addEventListener("click", addExamples);
  at("order").addEventListener("change", order);
  at("over").addEventListener("change", () => images.forEach(paintOver));
  at("clear").addEventListener("click", () => {
    images = [];
    at("cards").replaceChildren();
    at("refused").replaceChildren();
    sayOfImages("");
    showTools();
    listCodes();
    at("choose").focus();
  });
  at("origin").addEventListener("change", () => moveTo(codeOf(at("origin").value)));
  at("reset").addEventListener("click", () => moveTo(codeOf(at("origin").value)));
  at("draw").addEventListener("click", () => moveTo(draw(bundle, at("class").value === "" ? null : Number(at("class").value))));
  at("from").addEventListener("change", interpolate);
  at("to").addEventListener("change", interpolate);
  at("between").addEventListener("input", showShare);
  at("swap").addEventListener("click", () => {
    [at("from").value, at("to").value] = [at("to").value, at("from").value];
    interpolate();
  });
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.add("dragging");
    });
  }
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && document.body.classList.remove("dragging"));
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    await take(await filesOf(event.dataTransfer));
  });
  document.addEventListener("paste", async (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) await take(files);
  });
}

/* The bundles that lie beside the page: models.json lists their folders. */
async function listModels() {
  const response = await fetch("models.json").catch(() => null);
  const listed = response?.ok ? await response.json() : [];
  at("models").replaceChildren(...listed.map((folder) => option(folder, folder === "." ? "beside this page" : visible(folder))), option("", "a folder of your own"));
  at("models-field").hidden = listed.length === 0;
  return listed;
}

async function main() {
  if (!(await hasRuntime())) {
    return say("ONNX Runtime Web is not beside this page: run `python serve.py` in the page's folder, which fetches it with npm.", true);
  }
  listen();
  if (await hasWebGPU()) at("provider").append(option("webgpu", "WebGPU"));
  else at("provider").title = "This browser offers no WebGPU.";
  at("tools").hidden = false;
  const listed = await listModels();
  const asked = new URLSearchParams(location.search).get("bundle") ?? listed[0];
  at("models").value = listed.includes(asked) ? asked : "";
  if (asked === undefined) say("Open or drop a folder that `vae export --for web` wrote.");
  else await open(async (name) => fromAddress(asked)(name));
}

main().catch((error) => say(error.message, true));
