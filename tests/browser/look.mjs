// Looks at a page as it opens. The argument names its screenshots.
import { look, ownArguments, see } from "./page.mjs";

await see((page) => look(page, ownArguments[0]));
