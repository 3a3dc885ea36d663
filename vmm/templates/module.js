// The reference as a WebAssembly module (vmm/web), which the page carries in an element: gzip, as base64.

/**
 * Starts the module. Returns a function that answers a question, a text, by another text: `answer("explain", text)`.
 */
async function startModule(element) {
  const packed = Uint8Array.from(atob(element.textContent.trim()), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = await new Response(unpacked).arrayBuffer();
  const { exports } = (await WebAssembly.instantiate(bytes)).instance;

  // The module's memory may move when it grows, so each view of it is made when it is needed.
  return (name, question) => {
    const asked = new TextEncoder().encode(question);
    const place = exports.reserve(asked.length) >>> 0;
    new Uint8Array(exports.memory.buffer, place, asked.length).set(asked);

    const length = exports[name]() >>> 0;
    return new TextDecoder().decode(new Uint8Array(exports.memory.buffer, exports.text() >>> 0, length));
  };
}
