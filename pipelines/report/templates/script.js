"use strict";
// Without a script all panels of all tabs are shown, one below the other.
for (const list of document.querySelectorAll("[role=tablist]")) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const choose = (chosen, focus) => {
    for (const tab of tabs) {
      const on = tab === chosen;
      tab.setAttribute("aria-selected", on);
      tab.tabIndex = on ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !on;
    }
    if (focus) chosen.focus();
  };
  list.addEventListener("click", (event) => tabs.includes(event.target) && choose(event.target, false));
  list.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(tabs[(to + tabs.length) % tabs.length], true);
  });
  if (tabs.length) choose(tabs[0], false);
}

const map = document.querySelector("svg.map");
if (map) {
  const labels = [...map.querySelectorAll(".label")];
  const names = [...map.querySelectorAll(".names text")];
  const examples = [...map.querySelectorAll(".examples circle")];
  const input = document.getElementById("find-label");
  const found = document.getElementById("found");
  const hint = found.textContent;
  const numbers = (text) => new Set(text.split(" ").filter(Boolean));
  let picked = null;
  const show = (label) => {
    map.classList.toggle("picking", label !== null);
    const siblings = label ? numbers(label.dataset.siblings) : new Set();
    for (const one of [...labels, ...names]) {
      one.classList.toggle("picked", label !== null && one.dataset.id === label.dataset.id);
      one.classList.toggle("near", siblings.has(one.dataset.id));
    }
    let shown = 0;
    for (const dot of examples) {
      const its = label !== null && numbers(dot.dataset.l).has(label.dataset.id);
      dot.classList.toggle("picked", its);
      shown += its;
    }
    found.textContent = label === null ? hint
      : `${label.dataset.name}: ${label.dataset.count} rows of train, ${shown} of the examples shown` +
        (siblings.size ? `, siblings: ${labels.filter((one) => siblings.has(one.dataset.id)).map((one) => one.dataset.name).join(", ")}` : "");
  };
  for (const label of labels) {
    label.addEventListener("pointerenter", () => show(label));
    label.addEventListener("pointerleave", () => show(picked));
    label.addEventListener("click", () => { picked = picked === label ? null : label; show(picked); });
  }
  const find = () => {
    const wanted = input.value.trim().toLowerCase();
    const named = (test) => labels.find((one) => test(one.dataset.name.toLowerCase()));
    picked = wanted && (named((name) => name === wanted) || named((name) => name.startsWith(wanted)) || named((name) => name.includes(wanted))) || null;
    show(picked);
    if (wanted && !picked) found.textContent = "No label on the map is called so.";
  };
  input.addEventListener("input", find);
  document.getElementById("find-clear").addEventListener("click", () => { input.value = ""; find(); });
}

const search = document.getElementById("find-row");
if (search) {
  const rows = [...document.querySelectorAll("#nearest tbody tr")];
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
