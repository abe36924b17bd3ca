/* A box that scrolls must be reachable from the keyboard, and only while it scrolls. */
const boxes =
  "pre, .math, .cell_output > .output, .pst-scrollable-table-container";
const observer = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    // Within a displayed formula it is MathJax's box that scrolls; the number stays in place.
    const box = target.querySelector(":scope:is(div) > mjx-container") ?? target;
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
});
document.querySelectorAll(boxes).forEach((box) => observer.observe(box));
