/* Elements of the page, and the two lines in which it says what happens. */

export const at = (id) => document.getElementById(id);

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

export function option(value, text) {
  const made = element("option", "", text);
  made.value = value;
  return made;
}

export function button(text, label, onClick) {
  const made = element("button", "", text);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.addEventListener("click", onClick);
  return made;
}

export function picture(label) {
  const canvas = element("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  return canvas;
}

/* Tell what happens: to the bundle, in the line above, or to images, in the line beside them. */
export function say(text, isProblem = false, line = "status") {
  at(line).textContent = text;
  at(line).classList.toggle("problem", isProblem);
}

export function sayOfImages(text, isProblem = false) {
  say(text, isProblem, "score-status");
}
