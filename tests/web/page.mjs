// The page around the app: it loads from a plain server, asks nobody else, and says what is wrong where it cannot run.
import assert from "node:assert/strict";

export const TESTS = [
  {
    name: "the app starts",
    timeout: 90,
    async run(hive) {
      const said = [];
      await hive.page.exposeFunction("said", (text) => said.push(text));
      await hive.page.addInitScript(() => {
        addEventListener("DOMContentLoaded", () => {
          const status = document.getElementById("hive-status");
          new MutationObserver(() => said(status.textContent)).observe(status, { childList: true });
        });
      });
      const start = Date.now();
      await hive.open();
      await hive.started();
      const secs = (Date.now() - start) / 1000;
      assert.ok(said.some((t) => /^Loading Hive … \d+ %$/.test(t)), `no progress was shown: ${said}`);
      assert.equal(await hive.page.evaluate(() => typeof wasmBindings.hive_verify), "function");
      await hive.page.waitForFunction(() => document.getElementById("hive-live").textContent);
      // Something other than one colour is on the canvas.
      const shot = await hive.page.screenshot();
      assert.ok(shot.length > 10_000, `the screenshot has ${shot.length} bytes: blank?`);
      return `${secs.toFixed(1)} s`;
    },
  },
  failure("a browser without WebGPU is told so", /no WebGPU.*Chrome or Edge from version 113/, [], () => {
    delete Navigator.prototype.gpu;
  }),
  failure("a browser without an adapter is told so", /no graphics adapter.*hardware acceleration/i, undefined, () => {
    GPU.prototype.requestAdapter = async () => null;
  }),
  failure("an insecure address is told so", /only to pages from https.*localhost/, [], () => {
    Object.defineProperty(window, "isSecureContext", { value: false });
  }),
  {
    name: "a lost window device is told",
    timeout: 90,
    async run(hive) {
      await hive.page.addInitScript(watchDevices);
      await hive.open();
      await hive.started();
      hive.allow(/./);
      await hive.page.evaluate(() => devices.find((d) => d.label !== "hive").destroy());
      await hive.page.waitForFunction(() => !document.getElementById("hive-failure").hidden);
      assert.match(await hive.failure(), /taken away.*Reload the page/);
    },
  },
  {
    name: "a panic is told",
    timeout: 90,
    async run(hive) {
      await hive.open();
      await hive.started();
      hive.allow(/./);
      await hive.page.evaluate(() => {
        try {
          wasmBindings.hive_panic();
        } catch {
          // It traps.
        }
      });
      assert.match(await hive.failure(), /fault in the program.*Reload the page.*hive_panic was called/);
      assert.ok(!(await hive.page.locator("#hive-canvas").isVisible()));
    },
  },
  {
    name: "a file that does not come is told",
    timeout: 60,
    workers: false,
    async run(hive) {
      hive.allow(/./);
      await hive.page.route("**/*.wasm", (route) => route.fulfill({ status: 404 }));
      await hive.open();
      await hive.page.waitForFunction(() => !document.getElementById("hive-failure").hidden);
      assert.match(await hive.failure(), /could not be loaded.*reload.*404.*Version \d+\.\d+\.\d+ \(\w{8}\)/);
    },
  },
];

// Keeps all devices that the page makes, for tests that destroy them.
export function watchDevices() {
  window.devices = [];
  const original = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    const device = await original.call(this, descriptor);
    window.devices.push(device);
    return device;
  };
}

function failure(name, pattern, flags, prepare) {
  return {
    name,
    timeout: 60,
    flags,
    async run(hive) {
      let loaded = 0;
      hive.page.on("request", (r) => (loaded += r.url().endsWith(".wasm") ? 1 : 0));
      await hive.page.addInitScript(prepare);
      await hive.open();
      await hive.page.locator("#hive-what").waitFor({ state: "visible", timeout: 20_000 });
      assert.match(await hive.failure(), pattern);
      assert.ok(!(await hive.page.locator("#hive-canvas").isVisible()), "the canvas is still there");
      assert.equal(loaded, 0, "the program was loaded for nothing");
    },
  };
}
