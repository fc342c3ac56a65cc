// Figures under the pointer; without it the page shows all the same.
(() => {
  const tip = document.getElementById("tip");
  const numbers = (text) => (text ? text.split(" ").map(Number) : []);
  const moment = (s) => s >= 7200 ? (s / 3600).toFixed(1) + " h" : s >= 120 ? (s / 60).toFixed(1) + " min" : s.toFixed(0) + " s";
  const at = (times, seconds) => {
    let low = 0, high = times.length - 1;
    while (low < high) { const middle = (low + high + 1) >> 1; if (times[middle] <= seconds) low = middle; else high = middle - 1; }
    return low;
  };
  for (const svg of document.querySelectorAll("svg.over-time")) {
    const lines = [...svg.querySelectorAll(".series")].map((path) => ({
      path, name: path.dataset.name, times: numbers(path.dataset.times), values: numbers(path.dataset.values) }));
    for (const { path } of lines) path.querySelector("title").remove();
    svg.querySelector("title").remove();
    const cursor = svg.querySelector(".cursor"), { left, right, seconds } = svg.dataset;
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      const share = Math.min(Math.max((x - left) / (right - left), 0), 1), now = share * seconds;
      cursor.style.visibility = "visible";
      cursor.setAttribute("transform", `translate(${+left + share * (right - left)} 0)`);
      tip.replaceChildren();
      const row = (name, value, path) => {
        const line = document.createElement("div"), label = document.createElement("span"), figure = document.createElement("b");
        if (path) {
          const swatch = document.createElement("span");
          swatch.className = "swatch";
          swatch.style.background = getComputedStyle(path).getPropertyValue("--colour");
          label.append(swatch);
        }
        label.append(name); figure.append(value); line.append(label, figure); tip.append(line);
      };
      row(moment(now), "");
      for (const one of lines) {
        if (getComputedStyle(one.path).display === "none" || !one.values.length) continue;
        row(one.name, one.values[at(one.times, now)].toLocaleString(undefined, { maximumSignificantDigits: 4 }), one.path);
      }
      tip.style.display = "block";
      const room = tip.getBoundingClientRect();
      tip.style.left = Math.min(event.clientX + 16, innerWidth - room.width - 8) + "px";
      tip.style.top = Math.min(event.clientY + 16, innerHeight - room.height - 8) + "px";
    });
    svg.addEventListener("pointerleave", () => { tip.style.display = "none"; cursor.style.visibility = "hidden"; });
  }
})();
