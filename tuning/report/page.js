"use strict";
// Shows the values of a chart where somebody points, or goes with the arrow keys. Texts are set as text, never as HTML.
const text = (value) => (typeof value === "number" ? String(Number(value.toPrecision(6))) : value);

for (const chart of document.querySelectorAll(".chart")) {
  const series = JSON.parse(chart.dataset.series);
  const [low, high] = chart.dataset.x.split(" ").map(Number);
  const steps = [...new Set(series.flatMap((one) => one.points.map((point) => point[0])))].sort((a, b) => a - b);
  const area = chart.querySelector(".area");
  const cursor = chart.querySelector(".cursor");
  const tip = chart.querySelector(".tip");
  let at = -1;

  const show = (index) => {
    at = Math.max(0, Math.min(steps.length - 1, index));
    const step = steps[at];
    const share = (step - low) / (high - low);
    const lines = series.flatMap((one) => one.points.filter((point) => point[0] === step).map((point) => `${text(point[1])}  ${one.name}`));
    tip.textContent = [`${chart.dataset.along.split(" ")[0]} ${text(step)}`, ...lines].join("\n");
    cursor.style.left = `${share * 100}%`;
    cursor.hidden = tip.hidden = false;
    const free = area.clientWidth - tip.offsetWidth;
    const beside = share > 0.5 ? share * area.clientWidth - tip.offsetWidth - 10 : share * area.clientWidth + 10;
    tip.style.left = `${Math.max(0, Math.min(free, beside))}px`;
  };
  const hide = () => { cursor.hidden = tip.hidden = true; };
  const nearest = (step) => {
    let first = 0;
    let last = steps.length - 1;
    while (last - first > 1) {
      const middle = (first + last) >> 1;
      if (steps[middle] < step) first = middle; else last = middle;
    }
    return step - steps[first] < steps[last] - step ? first : last;
  };

  area.addEventListener("pointermove", (event) => {
    const box = area.getBoundingClientRect();
    show(nearest(low + ((event.clientX - box.left) / box.width) * (high - low)));
  });
  area.addEventListener("pointerleave", hide);
  area.addEventListener("blur", hide);
  area.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    show(at < 0 ? 0 : at + move);
  });
}
