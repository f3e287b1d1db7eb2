"use strict";
/* The gallery on its page. Only the cards in view exist, and pictures are loaded, sheet by sheet, when they come into
   view. Names are put in as text, never as HTML. */

const gallery = {
  /* Called by data.js, and by pictures-NUMBER.js. */
  receive: null,
  receivePictures: null,

  start(root) {
    const find = (name) => root.querySelector(`[data-part="${name}"]`);
    const parts = Object.fromEntries(
      ["tools", "kinds", "status", "scroll", "grid", "detail", "csv", "paths", "copy", "copied", "all", "none", "large",
        "help", "help-button"].map((name) => [name, find(name)]));
    const BOX = 128; // CSS pixels of the larger side of a picture
    const MARGIN = 2; // rows of cards above and below those in view
    const SHEETS = 12; // of pictures in memory, at most, when none more are in view

    let data = null;
    let view = null;
    let shown = []; // images
    let cards = [];
    let columns = 1;
    let height = 1; // of a row of cards, with its gap
    let focus = 0; // index of a card
    let anchor = 0; // the card that a range begins with
    let before = new Set(); // what was selected when it began
    const rows = new Map(); // of cards, by number
    const sheets = new Map(); // of pictures; null while it is loaded
    const selected = new Set(); // images
    let differ = false; // whether some are discoveries and others are not

    gallery.receive = (received) => {
      data = received;
      view = logic.everything(data);
      differ = data.discovery.includes(1) && data.discovery.includes(0);
      find("discoveries").hidden = !differ;
      recall();
      addKinds();
      refresh();
      root.classList.add("ready");
    };
    gallery.receivePictures = (number, pictures) => {
      sheets.set(number, pictures);
      forget();
      for (const image of parts.grid.querySelectorAll(`canvas[data-sheet="${number}"]`)) fill(image);
    };

    /* Building elements: every text goes through here. */

    function element(tag, name, text) {
      const made = document.createElement(tag);
      if (name) made.className = name;
      if (text !== undefined) made.textContent = text;
      return made;
    }

    function nameElement(tag, name, text) {
      const made = element(tag, name);
      for (const piece of logic.pieces(logic.visible(text))) made.append(piece, document.createElement("wbr"));
      return made;
    }

    /* Pictures */

    function picture(image, box) {
      const found = data.shown[image];
      if (found === null) return element("span", "gone", "can no longer be read");
      const made = document.createElement("canvas");
      let scale = box / Math.max(found[0], found[1]);
      if (scale >= 2) {
        scale = Math.floor(scale);
        made.className = "crisp";
      }
      [made.width, made.height] = found;
      made.style.width = `${Math.max(1, Math.round(found[0] * scale))}px`;
      made.dataset.image = image;
      made.dataset.sheet = Math.floor(image / data.sheet);
      fill(made);
      return made;
    }

    function fill(made) {
      const number = Number(made.dataset.sheet);
      const sheet = sheets.get(number);
      if (sheet) {
        paintPicture(made, sheet[Number(made.dataset.image) % data.sheet]);
        sheets.delete(number); // to the end: the last that is forgotten
        sheets.set(number, sheet);
      } else if (sheet === undefined) {
        sheets.set(number, null);
        load(`pictures-${String(number).padStart(4, "0")}.js`);
      }
    }

    /* On a canvas, whose pixels are freed with it: images would be kept long after they have left the page. */
    async function paintPicture(made, source) {
      const [kind, text] = source.slice("data:".length).split(";base64,");
      const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
      const bitmap = await createImageBitmap(new Blob([bytes], { type: kind }));
      if (made.width) made.getContext("2d").drawImage(bitmap, 0, 0); // it may have left the page meanwhile
      bitmap.close();
      made.classList.add("painted");
    }

    function freePictures(within) {
      for (const made of within.querySelectorAll("canvas")) made.width = 0;
    }

    /* Drop the sheets that were needed longest ago; they are loaded again when they are. */
    function forget() {
      if (!root.dataset.folder) return;
      const needed = new Set([...parts.grid.querySelectorAll("canvas")].map((image) => Number(image.dataset.sheet)));
      for (const number of [...sheets.keys()]) {
        if (sheets.size <= SHEETS) return;
        if (!needed.has(number) && sheets.get(number) !== null) sheets.delete(number);
      }
    }

    function load(name) {
      const script = document.createElement("script");
      script.src = `${root.dataset.folder}/${name}`;
      script.onload = () => script.remove();
      script.onerror = () => {
        script.remove();
        parts.status.textContent = `${root.dataset.folder}/${name} is not beside this page: keep the folder with it.`;
      };
      document.head.append(script);
    }

    /* What is shown */

    function refresh() {
      const kept = cards.length ? cards[focus].images[0] : 0;
      shown = logic.shown(data, view, selected);
      cards = logic.cards(data, view, shown);
      focus = Math.max(0, cards.findIndex((card) => card.images.includes(kept)));
      startRange();
      countKinds();
      layOut();
      report();
    }

    function layOut() {
      const focused = parts.grid.contains(document.activeElement);
      freePictures(parts.grid);
      for (const row of rows.values()) row.remove();
      rows.clear();
      const style = getComputedStyle(parts.grid);
      const gap = parseFloat(style.getPropertyValue("--gap"));
      const width = parseFloat(style.getPropertyValue("--card"));
      const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
      columns = Math.max(2, Math.floor((parts.grid.clientWidth + gap) / (width * rem + gap)));
      height = parseFloat(style.getPropertyValue("--tall")) * rem + gap;
      const count = Math.ceil(cards.length / columns);
      parts.grid.style.setProperty("--columns", columns);
      parts.grid.style.height = `${Math.max(0, count * height - gap)}px`;
      parts.grid.setAttribute("aria-rowcount", count);
      parts.grid.setAttribute("aria-colcount", Math.min(columns, cards.length));
      draw();
      if (focused) focusCard(focus);
    }

    /* Make the rows in view, and remove the others; that of the focus stays, so that the keyboard does. */
    function draw() {
      const top = parts.scroll.scrollTop;
      const first = Math.max(0, Math.floor(top / height) - MARGIN);
      const last = Math.ceil((top + parts.scroll.clientHeight) / height) + MARGIN;
      const wanted = new Set(cards.length ? [Math.floor(focus / columns)] : []);
      for (let row = first; row < last && row * columns < cards.length; row += 1) wanted.add(row);
      for (const [number, row] of rows) {
        if (!wanted.has(number)) {
          freePictures(row);
          row.remove();
          rows.delete(number);
        }
      }
      for (const number of [...wanted].sort((a, b) => a - b)) {
        if (!rows.has(number)) addRow(number);
      }
      paint();
    }

    function addRow(number) {
      const row = element("div", "gallery-row");
      row.setAttribute("role", "row");
      row.setAttribute("aria-rowindex", number + 1);
      row.style.transform = `translateY(${number * height}px)`;
      for (let card = number * columns; card < Math.min(cards.length, (number + 1) * columns); card += 1) {
        row.append(cardElement(card));
      }
      const following = [...rows.keys()].filter((each) => each > number).sort((a, b) => a - b)[0];
      parts.grid.insertBefore(row, following === undefined ? null : rows.get(following));
      rows.set(number, row);
    }

    function cardElement(number) {
      const card = cards[number];
      const image = card.images[0];
      const made = element("div", `shot ${card.part}`);
      made.setAttribute("role", "gridcell");
      made.setAttribute("aria-colindex", (number % columns) + 1);
      made.dataset.card = number;

      const tick = element("input", "tick");
      tick.type = "checkbox";
      tick.tabIndex = -1;
      tick.setAttribute("aria-label", `Select image ${image + 1}`);

      const address = logic.address(data, image);
      const frame = element(address === null ? "button" : "a", "frame");
      if (address === null) frame.type = "button";
      else {
        frame.href = address;
        frame.target = "_blank";
        frame.rel = "noopener";
      }
      frame.tabIndex = -1;
      frame.setAttribute("aria-label", address === null ? `Enlarge image ${image + 1}` : `Open image ${image + 1}`);
      frame.append(picture(image, BOX));
      made.append(tick, frame);

      if (card.part === "closed" || card.part === "open") {
        const more = element("button", "pile", card.part === "closed" ? `${card.size} alike` : `fold ${card.size}`);
        more.type = "button";
        more.tabIndex = -1;
        more.setAttribute("aria-expanded", card.part === "open");
        made.append(more);
      }
      const numbers = element("p", "numbers");
      numbers.append(element("span", "rank", String(image + 1)), element("b", "", logic.number(data.score[image], 4)));
      const chance = element("p", "chance", `p = ${logic.number(data.p[image], 2)}`);
      if (data.discovery[image] && differ) made.append(element("span", "badge", "discovery"));
      made.append(numbers, chance, nameElement("p", "name", logic.title(data, image)));
      return made;
    }

    /* Selection and focus of the cards that exist. */
    function paint() {
      for (const made of parts.grid.querySelectorAll(".shot")) {
        const number = Number(made.dataset.card);
        const card = cards[number];
        const chosen = card.images.filter((image) => selected.has(image)).length;
        const whole = chosen === card.images.length;
        made.tabIndex = number === focus ? 0 : -1;
        made.setAttribute("aria-selected", whole);
        made.setAttribute("aria-label", spoken(card, whole));
        made.firstElementChild.checked = whole;
        made.firstElementChild.indeterminate = chosen > 0 && !whole;
      }
    }

    function spoken(card, whole) {
      const image = card.images[0];
      const words = [`rank ${image + 1}`, `score ${logic.number(data.score[image], 4)}`,
        `p ${logic.number(data.p[image], 2)}`, logic.visible(logic.title(data, image))];
      if (data.discovery[image]) words.push("discovery");
      if (card.part === "closed") words.push(`with ${card.size - 1} near-identical images`);
      if (whole) words.push("selected");
      return words.join(", ");
    }

    function report() {
      const count = (value) => value.toLocaleString("en");
      const words = [`${count(shown.length)} of ${count(data.file.length)} images`];
      if (cards.length !== shown.length) words.push(`${count(cards.length)} cards`);
      words.push(`${count(selected.size)} selected`);
      if (selected.size) {
        const visible = shown.filter((image) => selected.has(image)).length;
        if (visible < selected.size) words.push(`${count(selected.size - visible)} of them not shown`);
      }
      parts.status.textContent = words.join(" · ");
      const chosen = chosenImages();
      parts.csv.disabled = !chosen.length;
      parts.copy.disabled = !chosen.length;
      parts.paths.disabled = !chosen.length || logic.paths(data, chosen) === null;
      parts.none.disabled = !chosen.length;
      parts.copied.textContent = "";
      describe();
    }

    function describe() {
      parts.detail.replaceChildren();
      if (!cards.length) {
        parts.detail.append(element("p", "", "No image passes these filters."));
        return;
      }
      parts.detail.append(...details(cards[focus].images[0]));
    }

    function details(image) {
      const row = data.row[image] === null ? "" : `row ${data.row[image]} of `;
      const where = nameElement("p", "where", `${row}${logic.path(data, image)}`);
      where.prepend(element("span", "rank", String(image + 1)));
      const facts = data.shown[image] === null ? [] : [data.shown[image][2]];
      for (const extra of data.extras) {
        facts.push(`${logic.visible(extra.name)}: ${logic.visible(String(extra.values[image] ?? "–"))}`);
      }
      const made = [where];
      if (data.reason[image]) made.push(element("p", "why", logic.visible(data.reason[image]).replaceAll(" σ", "\u00a0σ")));
      if (facts.length) made.push(element("p", "facts", facts.join(" · ")));
      return made;
    }

    /* Filters */

    function addKinds() {
      data.kinds.forEach((kind, number) => {
        if (kind.values.length < 2) return;
        const label = element("label", "", kind.name);
        const select = document.createElement("select");
        select.dataset.kind = number;
        label.append(select);
        parts.kinds.append(label);
      });
    }

    function countKinds() {
      for (const select of parts.kinds.querySelectorAll("select")) {
        const number = Number(select.dataset.kind);
        const counts = logic.counts(data, view, selected, number);
        const all = counts.reduce((sum, value) => sum + value, 0);
        const options = [new Option(`all (${all.toLocaleString("en")})`, "-1")];
        const order = data.kinds[number].values.map((_, value) => value).sort((a, b) => counts[b] - counts[a] || a - b);
        for (const value of order) {
          const chosen = view.kinds[number] === value;
          if (!counts[value] && !chosen) continue;
          const name = logic.visible(data.kinds[number].values[value]) || "none";
          options.push(new Option(`${name} (${counts[value].toLocaleString("en")})`, String(value)));
        }
        select.replaceChildren(...options);
        select.value = String(view.kinds[number]);
      }
    }

    function readTools() {
      for (const tool of parts.tools.querySelectorAll("[data-filter]")) {
        const name = tool.dataset.filter;
        if (tool.type === "checkbox") view[name] = tool.checked;
        else if (tool.type === "number") view[name] = tool.value === "" ? null : Number(tool.value);
        else view[name] = tool.value;
      }
      for (const select of parts.kinds.querySelectorAll("select")) {
        view.kinds[Number(select.dataset.kind)] = Number(select.value);
      }
      parts.scroll.scrollTop = 0;
      refresh();
    }

    /* Selection */

    function chosenImages() {
      return [...selected].sort((a, b) => a - b);
    }

    function startRange() {
      anchor = focus;
      before = new Set(selected);
    }

    function changed() {
      store();
      if (view.selected) refresh();
      else {
        paint();
        report();
      }
    }

    function setCard(card, on) {
      for (const image of card.images) {
        if (on) selected.add(image);
        else selected.delete(image);
      }
    }

    function toggle(number) {
      const card = cards[number];
      setCard(card, !card.images.every((image) => selected.has(image)));
      focus = number;
      startRange();
      changed();
    }

    /* Select from the anchor to a card, and what was selected before. */
    function selectRange(number) {
      selected.clear();
      for (const image of before) selected.add(image);
      for (let card = Math.min(anchor, number); card <= Math.max(anchor, number); card += 1) setCard(cards[card], true);
      changed();
    }

    function toggleShown() {
      const whole = shown.every((image) => selected.has(image));
      for (const image of shown) {
        if (whole) selected.delete(image);
        else selected.add(image);
      }
      startRange();
      changed();
    }

    function openGroup(number) {
      const { leader, part } = cards[number];
      if (!part) return;
      const first = cards[number].images[0];
      if (part === "closed") view.open.add(leader);
      else view.open.delete(leader);
      refresh();
      focusCard(Math.max(0, cards.findIndex((card) => card.images.includes(first))));
    }

    /* What was selected stays so when the page is opened again, in this browser. */
    function store() {
      try {
        localStorage.setItem(`vae.gallery.${data.id}`, JSON.stringify(chosenImages()));
      } catch (error) { /* storage is off: nothing is kept */ }
    }

    function recall() {
      try {
        const kept = JSON.parse(localStorage.getItem(`vae.gallery.${data.id}`) ?? "[]");
        for (const image of kept) if (Number.isInteger(image) && image in data.file) selected.add(image);
      } catch (error) { /* as above */ }
    }

    /* Focus */

    function focusCard(number) {
      if (!cards.length) return;
      focus = Math.min(Math.max(number, 0), cards.length - 1);
      const top = Math.floor(focus / columns) * height;
      const room = parts.scroll.clientHeight;
      if (top < parts.scroll.scrollTop) parts.scroll.scrollTop = top;
      else if (top + height > parts.scroll.scrollTop + room) parts.scroll.scrollTop = top + height - room;
      draw();
      parts.grid.querySelector(`[data-card="${focus}"]`).focus({ preventScroll: true });
      describe();
    }

    function enlarge(image) {
      const body = parts.large.querySelector("[data-part=body]");
      const shownLarge = picture(image, Math.min(512, 0.7 * Math.min(innerWidth, innerHeight)));
      shownLarge.setAttribute("role", "img");
      shownLarge.setAttribute("aria-label", `image ${image + 1}`);
      body.replaceChildren(shownLarge, ...details(image));
      parts.large.showModal();
    }

    function onKey(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || !cards.length) return;
      const page = Math.max(1, Math.floor(parts.scroll.clientHeight / height)) * columns;
      const moves = {
        ArrowRight: focus + 1, ArrowLeft: focus - 1, ArrowDown: focus + columns, ArrowUp: focus - columns,
        PageDown: focus + page, PageUp: focus - page, Home: 0, End: cards.length - 1,
      };
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      if (key in moves) {
        const to = moves[key];
        const stays = (key === "ArrowDown" && to >= cards.length) || (key === "ArrowUp" && to < 0);
        focusCard(stays ? focus : to);
        if (event.shiftKey) selectRange(focus);
        else startRange();
      } else if (key === " " || key === "x") {
        if (event.shiftKey) selectRange(focus);
        else toggle(focus);
      } else if (key === "a") toggleShown();
      else if (key === "e") openGroup(focus);
      else if (key === "Enter") parts.grid.querySelector(`[data-card="${focus}"] .frame`).click();
      else return;
      event.preventDefault();
    }

    function onClick(event) {
      const made = event.target.closest(".shot");
      if (!made) return;
      const number = Number(made.dataset.card);
      if (event.target.closest(".pile")) {
        openGroup(number);
        return;
      }
      if (event.target.closest(".frame") && !event.shiftKey) {
        focusCard(number);
        startRange();
        if (event.target.closest("button")) enlarge(cards[number].images[0]);
        return; // a link opens by itself
      }
      if (event.shiftKey) {
        event.preventDefault();
        focusCard(number);
        selectRange(number);
      } else if (event.target.closest(".tick")) {
        toggle(number);
        focusCard(number);
      } else {
        focusCard(number);
        startRange();
      }
    }

    /* Export */

    function download(name, text, type) {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type }));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    }

    async function copy() {
      const chosen = chosenImages();
      const text = logic.paths(data, chosen) ?? logic.csv(data, chosen);
      let done = true;
      try {
        await navigator.clipboard.writeText(text);
      } catch (error) { // not allowed for this page: the older way
        const area = element("textarea", "", text);
        root.append(area);
        area.select();
        done = document.execCommand("copy");
        area.remove();
      }
      parts.copied.textContent = done ? `${chosen.length.toLocaleString("en")} copied` : "copying is not allowed here";
    }

    parts.grid.addEventListener("keydown", onKey);
    parts.grid.addEventListener("click", onClick);
    parts.scroll.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
    parts.tools.addEventListener("input", readTools);
    parts.all.addEventListener("click", toggleShown);
    parts.none.addEventListener("click", () => {
      selected.clear();
      startRange();
      changed();
    });
    parts.csv.addEventListener("click", () => download("true-outliers.csv", logic.csv(data, chosenImages()), "text/csv"));
    parts.paths.addEventListener("click",
      () => download("true-outliers.txt", logic.paths(data, chosenImages()), "text/plain"));
    parts.copy.addEventListener("click", copy);
    parts["help-button"].addEventListener("click", () => parts.help.showModal());
    document.addEventListener("keydown", (event) => {
      if (event.key !== "?" || event.target.matches("input:not(.tick), select, textarea")) return;
      if (!document.querySelector("dialog[open]")) parts.help.showModal();
    });
    for (const dialog of [parts.large, parts.help]) {
      dialog.addEventListener("click", (event) => {
        if (event.target === dialog) dialog.close();
      });
    }
    let width = 0;
    new ResizeObserver(() => {
      if (!data || parts.scroll.clientWidth === width) return;
      width = parts.scroll.clientWidth;
      layOut();
    }).observe(parts.scroll);

    const inline = root.querySelector("script[type='application/json']");
    if (inline) {
      const content = JSON.parse(inline.textContent);
      content.pictures.length && sheets.set(0, content.pictures);
      gallery.receive(content.data);
    } else load("data.js");
  },
};

for (const root of document.querySelectorAll(".gallery")) gallery.start(root);
