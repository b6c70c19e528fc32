// A published model in the page: its folder is dropped, it is loaded and talks, and the program's memory stays small.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

import { FULL } from "./browser.mjs";

const NAME = "smollm2-135m-instruct";
// Packing in int8 takes a processor a minute.
const FORMAT = FULL ? "int8" : "f16";
// Bytes of WebAssembly memory that the page may have at most; the weights are on the GPU.
const MOST_MEMORY = 512 * 2 ** 20;

// The model's folder; none, and a loud line, where it is not there and need not be.
function folder(models) {
  const path = join(models, NAME);
  if (existsSync(join(path, "model.safetensors"))) return path;
  const missing = `${path} is not there; tests/models/get.sh makes it`;
  if (process.env.HIVE_MODELS === "required") throw new Error(missing);
  console.log(`*** SKIPPED: ${missing} ***`);
  return undefined;
}

// Drops files, or a folder, on the middle of the page, as the system's file manager would.
async function drop(hive, context, paths) {
  const devtools = await context.newCDPSession(hive.page);
  const data = { items: [], files: paths.map((path) => resolve(path)), dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"]) {
    await devtools.send("Input.dispatchDragEvent", { type, x: 640, y: 400, data });
  }
  await devtools.detach();
}

const memory = (hive) => hive.page.evaluate(() => wasmBindings.hive_memory());

export const TESTS = [
  {
    name: "a published model is dropped, loaded and talks",
    timeout: 900,
    async run(hive, { options, context }) {
      const path = folder(options.models);
      if (!path) return "SKIPPED";
      await hive.open("#preset=tiny&hide=tour&panels=ask");
      await hive.started();
      await drop(hive, context, [path]);
      await hive.seen(/^On disk 257 MiB/, 120_000);
      await hive.click("radio", FORMAT);
      const start = Date.now();
      await hive.click("button", `Load in ${FORMAT}`);
      await hive.seen(/^Loading \d+ of \d+ MB/, 60_000);
      await hive.seen(new RegExp(`^${FORMAT}, room for 1024 tokens, loaded in`), 400_000);
      const loaded = (Date.now() - start) / 1000;

      await hive.click("textbox", "Message");
      await hive.page.keyboard.type("What is the capital of France?");
      // All texts of the page as they come.
      await hive.page.evaluate(() => {
        window.texts = new Set();
        const place = document.getElementById("hive-access");
        const look = () => place.querySelectorAll("p").forEach((p) => window.texts.add(p.textContent));
        const what = { subtree: true, childList: true, characterData: true };
        new MutationObserver(look).observe(place, what);
      });
      await hive.page.keyboard.press("Enter");
      const figures = await hive.seen(/^\d+ tokens; first after .*/, 400_000);
      const whole = await hive.text(/^.*Paris.*$/);
      assert.ok(whole, "Paris is not in the answer");
      const texts = await hive.page.evaluate(() => [...window.texts]);
      const parts = texts.filter((text) => text && whole.startsWith(text)).sort((a, b) => a.length - b.length);
      assert.ok(parts.length >= 3, `the answer came at once: ${JSON.stringify(parts)}`);

      const bytes = await memory(hive);
      assert.ok(bytes > 10 * 2 ** 20, `${bytes} bytes of memory: that is not the program's`);
      // It never shrinks: this is the most there ever was.
      assert.ok(bytes < MOST_MEMORY, `${bytes} bytes of WebAssembly memory`);
      return `"${whole}" in ${parts.length} parts; ${figures}; loaded in ${loaded.toFixed(1)} s; ${(bytes / 2 ** 20).toFixed(0)} MiB`;
    },
  },
  {
    name: "files that are no model are refused with a sentence",
    timeout: 120,
    async run(hive, { context }) {
      await hive.open("#preset=tiny&hide=tour&panels=ask");
      await hive.started();
      const fixture = "tests/fixtures/llama";
      await drop(hive, context, [join(fixture, "config.json"), join(fixture, "model.safetensors")]);
      return await hive.seen(/.*tokenizer\.json.*/);
    },
  },
];
