// Goes to the step where two histories part, and to those beside it.
import { look, ownArguments, see } from "./page.mjs";

await see(async (page) => {
  const parts = await page.$$eval("tr.parts", (rows) => rows.map((row) => row.cells[0].textContent));
  const current = () => page.evaluate(() => ({
    sign: document.getElementById("sign").textContent,
    other: document.getElementById("other").textContent,
  }));

  await page.click("tr.parts");
  const there = await current();
  const complaints = await look(page, ownArguments[0]);
  await page.keyboard.press("ArrowLeft");
  const before = await current();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  const after = await current();
  const why = await page.$eval(".parting", (part) => part.textContent);
  return { complaints, parts, there, before, after, why };
});
