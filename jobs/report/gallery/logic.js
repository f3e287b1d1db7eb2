"use strict";
/* Which images a gallery shows, in which order and which groups, and the lists that it exports. Nothing here touches the
   page. `data` is what jobs/report/gallery/content.py writes: arrays with an entry for each image, in the order of rank. */

const logic = {
  /* Text without characters that act on what stands around them, such as U+202E, which reverses what follows. */
  visible(text) {
    return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu,
      (one) => `⟨U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
  },

  /* Where lines may break in a name: after each separator. */
  pieces(name) {
    return name.split(/(?<=[/\\_.\-\s])/u);
  },

  number(value, digits) {
    if (value === null) return "–";
    return new Intl.NumberFormat("en", { maximumSignificantDigits: digits }).format(value).replace("-", "−");
  },

  name(data, image) {
    return data.names[data.file[image]];
  },

  path(data, image) {
    return data.folder + logic.name(data, image);
  },

  /* The last part of a name, with the row of a Parquet file. */
  title(data, image) {
    const base = logic.name(data, image).split("/").pop();
    return data.row[image] === null ? base : `row ${data.row[image]} · ${base}`;
  },

  /* The address of the original; null if a browser cannot open it. */
  address(data, image) {
    if (data.link === null || data.row[image] !== null) return null;
    try {
      return data.link + logic.name(data, image).split("/").map(encodeURIComponent).join("/");
    } catch (error) { // a name that is no valid Unicode
      return null;
    }
  },

  /* A view with nothing filtered. `kinds` has the chosen value of each of `data.kinds`, or −1. */
  everything(data) {
    return {
      order: "rank", name: "", least: null, most: null, discoveries: false, selected: false,
      kinds: data.kinds.map(() => -1), grouped: true, open: new Set(),
    };
  },

  /* Whether an image passes the filters, that of the kind numbered `except` aside. */
  passes(data, view, selected, image, except = -1) {
    if (view.discoveries && !data.discovery[image]) return false;
    if (view.selected && !selected.has(image)) return false;
    if (view.least !== null && !(data.score[image] >= view.least)) return false;
    if (view.most !== null && !(data.p[image] !== null && data.p[image] <= view.most)) return false;
    if (view.name && !logic.path(data, image).toLowerCase().includes(view.name.toLowerCase())) return false;
    return view.kinds.every((value, kind) => kind === except || value < 0 || data.kinds[kind].of[image] === value);
  },

  /* The images that pass, in order; ties by rank. */
  shown(data, view, selected) {
    const images = data.file.map((_, image) => image).filter((image) => logic.passes(data, view, selected, image));
    const last = Number.POSITIVE_INFINITY;
    const p = (image) => data.p[image] ?? last;
    const names = new Intl.Collator("en", { numeric: true });
    const orders = {
      rank: null,
      least: (a, b) => b - a,
      p: (a, b) => p(a) - p(b) || a - b,
      "largest-p": (a, b) => p(b) - p(a) || a - b,
      name: (a, b) => names.compare(logic.name(data, a), logic.name(data, b)) || data.row[a] - data.row[b] || a - b,
    };
    if (view.order === "alike") {
      const sizes = new Map();
      for (const image of images) sizes.set(data.leader[image], (sizes.get(data.leader[image]) ?? 0) + 1);
      const size = (image) => sizes.get(data.leader[image]);
      return images.sort((a, b) => size(b) - size(a) || data.leader[a] - data.leader[b] || a - b);
    }
    return orders[view.order] === null ? images : images.sort(orders[view.order]);
  },

  /* Cards of the images that are shown: those near-identical share one, the first of them; if their group is open, the
     others follow it. Each card has its `images`, the first of which it shows; `size` of its group; `part` of it. */
  cards(data, view, images) {
    const alone = (image) => ({ images: [image], leader: image, size: 1, part: "" });
    if (!view.grouped) return images.map(alone);
    const groups = new Map();
    for (const image of images) {
      const group = groups.get(data.leader[image]);
      if (group) group.push(image);
      else groups.set(data.leader[image], [image]);
    }
    const cards = [];
    for (const [leader, members] of groups) {
      const size = members.length;
      if (size === 1) cards.push(alone(members[0]));
      else if (!view.open.has(leader)) cards.push({ images: members, leader, size, part: "closed" });
      else members.forEach((image, at) => cards.push({ images: [image], leader, size, part: at ? "member" : "open" }));
    }
    return cards;
  },

  /* How many images there are of each value of a kind, with all other filters. */
  counts(data, view, selected, kind) {
    const found = data.kinds[kind].values.map(() => 0);
    for (let image = 0; image < data.file.length; image += 1) {
      if (logic.passes(data, view, selected, image, kind)) found[data.kinds[kind].of[image]] += 1;
    }
    return found;
  },

  /* A list for `vae calibrate --review`: file and row, which is empty for an image file, as RFC 4180 has it. */
  csv(data, images) {
    const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const lines = images.map((image) => `${quoted(logic.path(data, image))},${data.row[image] ?? ""}`);
    return ["file,row", ...lines, ""].join("\n");
  },

  /* One path a line; null if that does not say which images are meant: of rows of Parquet, or of names with a line break. */
  paths(data, images) {
    const found = images.map((image) => (data.row[image] === null ? logic.path(data, image) : null));
    if (found.some((path) => path === null || /[\r\n]/.test(path))) return null;
    return [...found, ""].join("\n");
  },
};
