/* What the comparison with the probe found: key figures, and a table of every output. */

import { at, element, say } from "./dom.js";
import { PROVIDERS } from "./engine.js";
import { count, counted, number, pValue } from "./wording.js";

const title = (row) => `${row.graph.replace(".onnx", "")} ${row.output}`;

/* Show the rows of `compareWithProbe`, and return whether images may be scored: whether the scorer and the explainer
   agree. `seconds` has how long it took to open the graphs and to run the probe; `nats` are those of an image's code. */
export function showVerdict(bundle, rows, provider, seconds, nats) {
  const differing = rows.filter((row) => !row.ok);
  const scores = !differing.some((row) => ["scorer.onnx", "explainer.onnx"].includes(row.graph));
  const images = bundle.array("probe", "image").shape[0];
  const calibrated = bundle.manifest.calibration.images;
  const graphs = Object.keys(bundle.manifest.graphs).length;
  at("figures").replaceChildren(
    differing.length
      ? figure("Probe", "differs", `${counted(differing.length, "output")} of ${rows.length}: ${named(differing)}`, "alert")
      : figure("Probe", "agrees", `All ${rows.length} outputs of ${graphs} graphs; ${worstOf(rows)}`),
    figure("Runs with", PROVIDERS[provider],
      `Loaded in ${number(seconds.open, 2)} s; ${counted(images, "probe image")} took ${number(seconds.probe, 2)} s`),
    figure("Least p-value", pValue(1 / (calibrated + 1)), `1 / (n + 1) with n = ${count(calibrated)} calibration images`),
    figure("Latent variables", count(bundle.latentSize), `An image's code holds ${number(nats, 3)} nats on average`),
  );
  at("probe-rows").replaceChildren(...rows.map(tableRow));
  at("figures").hidden = at("probe").hidden = false;
  say(differing.length
    ? `This browser computes ${named(differing)} differently from the runtime that made the bundle${scores ? "" : ", so no image is scored"}.`
    : `This browser agrees with the bundle's probe in all ${rows.length} outputs.`, differing.length > 0);
  at("status").dataset.verdict = differing.length ? "differs" : "agrees";
  at("status").dataset.provider = provider;
  return scores;
}

function named(rows) {
  const more = rows.length > 3 ? ` and ${rows.length - 3} more` : "";
  return rows.slice(0, 3).map(title).join(", ") + more;
}

function worstOf(rows) {
  const share = (row) => row.worst / row.allowed;
  const worst = rows.filter((row) => !row.unit).reduce((most, row) => share(row) > share(most) ? row : most);
  const levels = Math.max(0, ...rows.filter((row) => row.unit).map((row) => row.worst));
  const pictures = levels ? `; pictures differ by ${counted(levels, "grey level")} at most` : "";
  return `the worst, ${title(worst)}, uses ${number(100 * share(worst), 2)}% of its tolerance${pictures}`;
}

function figure(label, value, meaning, tone = "") {
  const made = element("div", `figure ${tone}`.trim());
  made.append(element("dt", "", label), element("dd", "value", value), element("dd", "meaning", meaning));
  return made;
}

function tableRow(row) {
  const made = element("tr");
  const written = (value) => number(value, 2) + (row.unit ? ` ${row.unit}` : "");
  made.append(
    element("td", "", row.graph.replace(".onnx", "")),
    element("td", "", row.output),
    element("td", "number", written(row.worst)),
    element("td", "number", written(row.allowed)),
    element("td", row.ok ? "" : "alert", row.ok ? "agrees" : "differs"),
  );
  return made;
}
