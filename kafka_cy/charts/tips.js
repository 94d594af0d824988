// The values of the point that is nearest to the pointer. Without scripts, the points' own tooltips are there.
const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
document.body.append(tip);
let near = null;

function leave() {
  near?.classList.remove("near");
  near = null;
  tip.hidden = true;
}

for (const chart of document.querySelectorAll("svg.chart")) {
  const title = chart.querySelector("title"); // the browser would show it as a tooltip of the whole chart
  chart.setAttribute("aria-label", title.textContent);
  title.remove();
  const points = [...chart.querySelectorAll("circle")].map((circle) => {
    const note = circle.querySelector("title").textContent;
    circle.querySelector("title").remove(); // else the browser shows it as well
    return { circle, note, x: circle.cx.baseVal.value, y: circle.cy.baseVal.value };
  });
  chart.addEventListener("pointerleave", leave);
  chart.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
    let best = null;
    let least = 40 ** 2;
    for (const point of points) {
      const distance = (point.x - at.x) ** 2 + (point.y - at.y) ** 2;
      if (distance < least) [best, least] = [point, distance];
    }
    leave();
    if (best === null) return;
    near = best.circle;
    near.classList.add("near");
    tip.textContent = best.note;
    tip.hidden = false;
    const width = tip.offsetWidth;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - width - 8)}px`;
    tip.style.top = `${event.clientY + 16}px`;
  });
}
