// Plays a scenario to its end, and returns what the page showed at every step; then goes from fault to fault by keys
// and by a click. The argument names the screenshots.
import { look, ownArguments, see } from "./page.mjs";

/** What the page shows of its step. Runs in the page. */
function watch() {
  const cellsOf = (list, keys) => [...document.querySelectorAll(`${list} .cell`)].map((cell) => ({
    ...Object.fromEntries(keys.map((key) => [key, cell.dataset[key]])),
    classes: [...cell.classList],
    marks: cell.querySelector(".marks")?.textContent ?? "",
    text: [...cell.children].map((child) => child.textContent).join(" | "),
  }));
  const shown = () => ({
    sentence: document.querySelector("#sentence .what").textContent,
    about: document.querySelector("#sentence .note").textContent,
    sign: document.getElementById("sign")?.textContent,
    other: document.getElementById("other")?.textContent,
    current: document.querySelector("tr[aria-current]").cells[0].textContent,
    frames: cellsOf("#frames", ["frame", "use", "owner", "mappedBy", "slot"]),
    pages: [...document.querySelectorAll(".process")].map((card) => ({
      process: card.querySelector(".who").textContent,
      tables: card.querySelector(".tables").textContent,
      cells: [...card.querySelectorAll(".cell[data-page]")].map((cell) => ({ ...cell.dataset })),
    })),
    store: cellsOf("#store", ["slot"]),
  });

  globalThis.shown = shown;
  globalThis.steps = [shown()];
  new MutationObserver(() => globalThis.steps.push(shown())).observe(document.getElementById("count"), { childList: true });
}

const current = (page) => page.evaluate(() => globalThis.shown());
const focused = (page) => page.evaluate(() => document.activeElement.id);

await see(async (page) => {
  const complaints = await look(page, `${ownArguments[0]}-start`);

  // Faster than anybody could watch.
  await page.evaluate(watch);
  await page.evaluate(() => {
    for (const option of document.getElementById("speed").options) option.value = "10";
  });
  await page.click("#play");
  await page.waitForFunction(() => document.getElementById("end").disabled);
  const steps = await page.evaluate(() => globalThis.steps);
  complaints.push(...(await look(page, `${ownArguments[0]}-end`)));

  // Keys go from the end to the fault before it, back to the start, and to the first two faults.
  await page.keyboard.press("p");
  const lastFault = await current(page);
  complaints.push(...(await look(page, `${ownArguments[0]}-fault`)));
  await page.keyboard.press("Home");
  await page.keyboard.press("n");
  const firstFault = await current(page);
  await page.click("#fault-after");
  const secondFault = await current(page);
  await page.keyboard.press("ArrowLeft");
  const before = await current(page);

  // Tab reaches the controls, and the slider moves by its own keys.
  await page.focus("#end");
  await page.keyboard.press("Tab");
  const afterEnd = await focused(page);
  await page.focus("#slider");
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowRight");
  const bySlider = await current(page);
  await page.click(".rows tbody tr:nth-child(1)");
  const byRow = await current(page);
  return { complaints, steps, lastFault, firstFault, secondFault, before, afterEnd, bySlider, byRow };
});
