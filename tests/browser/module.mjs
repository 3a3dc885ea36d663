// The module of pages without a page: answers each line of a file, one line each. The arguments are the module as it is
// in the tree, and the file.
import { readFileSync } from "node:fs";

const [module, questions] = process.argv.slice(2);
const script = readFileSync(new URL("../../vmm/templates/module.js", import.meta.url), "utf8");
const startModule = new Function(`${script}; return startModule;`)();

const answer = await startModule({ textContent: readFileSync(module).toString("base64") });
for (const question of readFileSync(questions, "utf8").split("\n").filter((line) => line !== "")) {
  console.log(answer("explain", question));
}
