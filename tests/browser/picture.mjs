// Takes the picture of a page: how many times a key is pressed before, and the file to write.
import { ownArguments, see } from "./page.mjs";

const [key, times, picture] = ownArguments;

await see(async (page) => {
  await page.setViewport({ width: 1000, height: 720 });
  for (let time = 0; time < Number(times); time += 1) await page.keyboard.press(key);
  await page.screenshot({ path: picture });
  return picture;
});
