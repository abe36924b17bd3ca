/* A box that scrolls must be reachable from the keyboard, and only while it scrolls. */
const boxes = document.querySelectorAll(
  "pre, .math, .cell_output > .output, .pst-scrollable-table-container",
);

function check(target) {
  // Within a displayed formula it is MathJax's box that scrolls; the number stays in place.
  const box = target.querySelector(":scope:is(div) > mjx-container") ?? target;
  // An accent over the last letter of a formula within a line reaches over the edge of its box.
  const formula = target.querySelector(":scope:is(span) > mjx-container > mjx-math");
  const width = formula?.getBoundingClientRect().width ?? box.scrollWidth;
  if (width > box.clientWidth + 1) box.tabIndex = 0;
  else box.removeAttribute("tabindex");
}

const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => check(target)));
boxes.forEach((box) => observer.observe(box));
// A letter whose font arrives changes its width and not that of the box around it.
document.fonts.addEventListener("loadingdone", () => boxes.forEach(check));
