// Models fetched into the page's private files: from a server of our own on another port, so that it is another origin.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

import { sleep } from "./browser.mjs";

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const fixture = (name) => readFileSync(`tests/fixtures/llama/${name}`);

// Serves files below /x/. `settings`: ranges, cors, cut (bytes after which the connection breaks), hold (bytes after
// which nothing more comes until the page has closed the connection).
export async function models(files, settings = {}) {
  const state = { ranges: true, cors: true, cut: Infinity, hold: Infinity, sent: 0, asked: [], ...settings };
  const server = createServer(async (request, response) => {
    state.asked.push(`${request.method} ${request.url} ${request.headers.range ?? ""}`);
    if (state.cors) {
      response.setHeader("access-control-allow-origin", "*");
      response.setHeader("access-control-expose-headers", "content-range, etag");
    }
    if (request.method === "OPTIONS") {
      response.writeHead(state.cors ? 204 : 403, { "access-control-allow-headers": "range" }).end();
      return;
    }
    const bytes = files[request.url.replace("/x/", "")];
    if (!bytes) {
      response.writeHead(404).end();
      return;
    }
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
    const partly = state.ranges && first !== undefined;
    const start = partly ? Number(first) : 0;
    const end = partly && last ? Number(last) + 1 : bytes.length;
    const headers = { "content-length": end - start, etag: `"${sha256(bytes).slice(0, 16)}"` };
    if (partly) headers["content-range"] = `bytes ${start}-${end - 1}/${bytes.length}`;
    response.writeHead(partly ? 206 : 200, headers);
    if (request.method === "HEAD") {
      response.end();
      return;
    }
    const probe = end - start === 1;
    const closed = new Promise((go) => response.once("close", go));
    for (let at = start; at < end && !response.destroyed; at += 1 << 18) {
      const piece = bytes.subarray(at, Math.min(end, at + (1 << 18)));
      if (!response.write(piece)) await Promise.race([closed, new Promise((go) => response.once("drain", go))]);
      if (!probe) state.sent += piece.length;
      if (at - start >= state.cut) response.destroy();
      if (state.sent >= state.hold) await closed;
    }
    response.end();
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { state, close, address: `http://127.0.0.1:${server.address().port}/x/` };
}

// The page, which may ask the other server, also in vain.
async function open(hive) {
  hive.allow(/request to http:\/\/127\.0\.0\.1/, /failed request/, /Failed to load resource/, /CORS policy/);
  await hive.open("#preset=tiny&hide=tour");
  await hive.started();
}

export const small = () => ({ "config.json": fixture("config.json"), "model.safetensors": fixture("model.safetensors") });

// Weights of several pieces.
function large(megabytes) {
  const bytes = Buffer.alloc(megabytes << 20);
  for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE(Math.imul(i, 2654435761) >>> 0, i);
  return { "config.json": Buffer.from("{}"), "model.safetensors": bytes };
}

function same(answer, files) {
  const expected = Object.entries(files).map(([name, bytes]) => ({ name, bytes: bytes.length, sha256: sha256(bytes) }));
  assert.deepEqual(answer.files, expected);
}

export const fetching = (hive, address, options = {}) => hive.call("hive_fetch", address, JSON.stringify(options));

// A browser whose storage is full, or says so.
const full = () => {
  FileSystemFileHandle.prototype.createWritable = async () => {
    throw new DOMException("The quota is exceeded", "QuotaExceededError");
  };
};
const tight = () => {
  StorageManager.prototype.estimate = async () => ({ quota: 100_000, usage: 90_000 });
};

export const TESTS = [
  {
    name: "a fetched model is there after a reload, without any network",
    timeout: 180,
    async run(hive) {
      const files = small();
      const server = await models(files);
      await open(hive);
      const answer = await fetching(hive, server.address);
      same(answer, files);
      assert.deepEqual(answer.notes, []);
      assert.ok(answer.kept && answer.total === files["config.json"].length + files["model.safetensors"].length);
      const sent = server.state.sent;
      same(await fetching(hive, server.address), files);
      assert.equal(server.state.sent, sent, "the second time bytes were sent again");

      server.state.asked.length = 0;
      await hive.page.reload();
      await hive.started();
      same(await fetching(hive, server.address, { offline: true }), files);
      assert.deepEqual(server.state.asked, []);
      server.close();
      const after = await fetching(hive, server.address, { tries: 1 });
      same(after, files);
      assert.match(after.notes.join(), /cannot be reached.*copy from before/);

      const [kept, ...more] = await hive.call("hive_cached");
      assert.ok(more.length === 0 && kept.whole && kept.address === server.address && kept.bytes > answer.total);
      await hive.call("hive_forget", kept.key);
      assert.deepEqual(await hive.call("hive_cached"), []);
      await assert.rejects(fetching(hive, server.address, { offline: true }), /is not here/);
    },
  },
  {
    name: "a download that a reload cut off goes on with the rest",
    timeout: 240,
    async run(hive) {
      const files = large(40);
      const server = await models(files, { hold: 26 << 20 });
      await open(hive);
      const cut = fetching(hive, server.address).catch((e) => e);
      // What the server has sent, the page need not have kept yet: of 24 MiB that it wrote, the last piece of 8 may be lost.
      const written = async () => (await hive.call("hive_cached"))[0]?.bytes ?? 0;
      while ((await written()) < 24 << 20) await sleep(100);
      await hive.page.reload();
      await cut;
      await hive.started();
      Object.assign(server.state, { sent: 0, hold: Infinity });
      const answer = await fetching(hive, server.address);
      same(answer, files);
      assert.ok(answer.cached >= 16 << 20, `only ${answer.cached} bytes were kept`);
      assert.equal(server.state.sent, answer.total - answer.cached);
      assert.ok(answer.memory < 512 << 20, `the program takes ${answer.memory} bytes`);

      // A connection that breaks loses nothing.
      await hive.call("hive_forget", (await hive.call("hive_cached"))[0].key);
      Object.assign(server.state, { sent: 0, cut: 15 << 20 });
      same(await fetching(hive, server.address), files);
      assert.ok(server.state.asked.some((a) => /bytes=1\d{7}-$/.test(a)), server.state.asked.join("\n"));
      server.close();
      return `${answer.cached >> 20} of 40 MiB were kept, ${answer.memory >> 20} MiB of memory`;
    },
  },
  {
    name: "dropped files are there after a reload",
    timeout: 120,
    async run(hive) {
      await open(hive);
      const files = large(20);
      const give = () =>
        hive.page.evaluate(async () => {
          const weights = new Uint32Array((20 << 20) / 4).map((_, i) => Math.imul(i * 4, 2654435761));
          const list = [new File(["{}"], "config.json"), new File([weights], "model.safetensors")];
          return JSON.parse(await wasmBindings.hive_keep("my model", list));
        });
      const answer = await give();
      same(answer, files);
      assert.ok(answer.kept && answer.notes.length === 0);
      await hive.page.reload();
      await hive.started();
      const [kept] = await hive.call("hive_cached");
      assert.ok(kept.whole && kept.address === "my model");
      same(await hive.call("hive_kept", kept.key), files);
      await hive.page.evaluate(full);
      const again = await give();
      same(again, files);
      assert.match(again.notes.join(), /not kept.*no room.*after a reload/);
      assert.ok(!again.kept);
    },
  },
  ...[full, tight].map((prepare) => ({
    name: `a model runs although the browser's storage is ${prepare === full ? "full" : "nearly full"}`,
    timeout: 180,
    async run(hive) {
      await hive.page.addInitScript(prepare);
      const files = large(12);
      const server = await models(files);
      await open(hive);
      const answer = await fetching(hive, server.address);
      same(answer, files);
      assert.ok(!answer.kept);
      // Only the manifest tells that nothing at all can be written.
      assert.match(answer.notes.join(), prepare === full ? /nothing can be kept/ : /read from the network/);
      server.state.ranges = false;
      const memory = await fetching(hive, server.address);
      same(memory, files);
      assert.match(memory.notes.join(), /runs from memory/);
      server.close();
      return answer.notes.join("; ");
    },
  })),
  {
    name: "a server that does not allow pages from elsewhere is named",
    timeout: 120,
    async run(hive) {
      const server = await models(small(), { cors: false });
      await open(hive);
      await assert.rejects(fetching(hive, server.address), /does not allow this page.*Access-Control-Allow-Origin/);
      server.close();
    },
  },
];
