"use strict";
const [words, mode, kind, shown] = ["words", "mode", "kind", "shown"].map(id => document.getElementById(id));
function filter() {
  const wanted = words.value.trim().toLowerCase();
  const other = (chosen, own) => chosen !== "" && own !== undefined && own !== chosen;
  let count = 0;
  const all = document.querySelectorAll("[data-filter]");
  for (const row of all) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted)
      || other(mode.value, row.dataset.mode) || other(kind.value, row.dataset.kind);
    count += row.hidden ? 0 : 1;
  }
  for (const cell of document.querySelectorAll("[data-column]")) {
    cell.hidden = other(mode.value, cell.dataset.mode);
  }
  shown.textContent = count === all.length ? "" : `${count} of ${all.length} rows`;
  history.replaceState(null, "", "#" + new URLSearchParams({ words: words.value, mode: mode.value, kind: kind.value }));
}
async function copy(button) {
  const command = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(command.textContent);
  } catch {
    getSelection().selectAllChildren(command);
    if (!document.execCommand("copy")) return;
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}
document.querySelector("nav").hidden = false;
for (const button of document.querySelectorAll(".copy")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}
const asked = new URLSearchParams(location.hash.slice(1));
words.value = asked.get("words") ?? "";
mode.value = asked.get("mode") ?? "";
kind.value = asked.get("kind") ?? "";
for (const input of [words, mode, kind]) input.addEventListener("input", filter);
filter();
