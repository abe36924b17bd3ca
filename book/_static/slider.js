/* A slider under every figure drawn with cebook.figures.add_slider: it moves a dot along each line. */
const SVG = "http://www.w3.org/2000/svg";

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function follow(group) {
  const data = new URLSearchParams(group.dataset.slider);
  const values = data.get("values").split(" ").map(Number);
  const path = group.querySelector("path");
  const numbers = path.getAttribute("d").match(/-?\d+(\.\d+)?/g);
  const colour = path.style.stroke;
  const dot = document.createElementNS(SVG, "circle");
  dot.setAttribute("r", 4);
  dot.style.fill = colour;
  group.append(dot);
  const value = element("td");
  const bullet = element("span", { textContent: "●" });
  bullet.style.color = colour;
  bullet.ariaHidden = "true";
  const row = element("tr", {}, element("th", { scope: "row" }, bullet, ` ${data.get("label")}`), value);
  const move = (at) => {
    dot.setAttribute("cx", numbers[2 * at]);
    dot.setAttribute("cy", numbers[2 * at + 1]);
    value.textContent = values[at].toPrecision(3);
  };
  return { step: data.get("step"), last: values.length - 1, row, move };
}

for (const figure of document.querySelectorAll(".notebook-figure:has([data-slider])")) {
  const lines = [...figure.querySelectorAll("[data-slider]")].map(follow);
  const { step, last } = lines[0];
  const range = element("input", { type: "range", min: 0, max: last, value: 0 });
  // Spoken with the value of the slider, and so no part of its name.
  const position = element("span", { className: "slider-position", ariaHidden: "true" });
  const show = () => {
    position.textContent = range.value;
    range.ariaValueText = `${step} ${range.value}`;
    lines.forEach(({ move }) => move(range.valueAsNumber));
  };
  range.addEventListener("input", show);
  const label = element("label", {}, `${step} `, position, range);
  const readings = element("table", {}, element("tbody", {}, ...lines.map(({ row }) => row)));
  figure.append(element("div", { className: "slider" }, label, readings));
  show();
}
