// Boots an image in v86 and writes what it prints to the first serial port to a file. It ends with exit code 0 after
// the last line of the log, and otherwise with 1 and the reason as the last line of standard error.
//
//   node --input-type=module - PACKAGE IMAGE LOG MEMORY
//
//   PACKAGE   the directory of the npm package v86
//   IMAGE     the descriptor of the ELF file, which is started by its Multiboot header
//   LOG       the descriptor of the file to write
//   MEMORY    of the machine, in bytes

import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";

const END = "cw!\n";
const BUFFERED = 65536;

const [directory, image, log, memory] = process.argv.slice(2);
const build = path.join(directory, "build");

const bytes = Buffer.allocUnsafe(BUFFERED);
let count = 0;
let tail = "";

function flush() {
    let written = 0;
    while (written < count) {
        written += fs.writeSync(Number(log), bytes, written, count - written);
    }
    count = 0;
}

function end(why) {
    flush();
    if (why !== undefined) {
        fs.writeSync(2, `\n${String(why).replaceAll("\n", " ")}\n`);
    }
    process.exit(why === undefined ? 0 : 1);
}

// A panic of the emulator.
process.on("uncaughtException", (error) => end(`${error}`));
process.on("unhandledRejection", (error) => end(`${error}`));

const library = pathToFileURL(path.join(build, "libv86.mjs"));
const { V86 } = await import(library).catch((error) => end(`${error}`));
const emulator = new V86({
    wasm_path: path.join(build, "v86.wasm"),
    memory_size: Number(memory),
    vga_memory_size: 1 << 20,
    multiboot: { buffer: new Uint8Array(fs.readFileSync(Number(image))).buffer },
    autostart: true,
    disable_keyboard: true,
    disable_mouse: true,
    disable_speaker: true,
    net_device: { type: "none" },
    log_level: 0,
});

emulator.add_listener("serial0-output-byte", (byte) => {
    bytes[count++] = byte;
    tail = (tail + String.fromCharCode(byte)).slice(-END.length);
    if (tail === END) {
        end();
    }
    // A line at a time, so that a hang shows where it happened.
    if (byte === 10 || count === BUFFERED) {
        flush();
    }
});
emulator.add_listener("cpu-event-halt", () => end("the processor halted with interrupts off"));
emulator.add_listener("emulator-stopped", () => end("the emulator stopped"));
