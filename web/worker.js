// Keeps what the page consists of, so that it starts again without a network: its index as it is installed, the program and
// weights as they are fetched. The page says what its program's files are called: worker.js?script=…&wasm=…. Another version
// has other names, so its worker is another one.
"use strict";

const SCOPE = self.registration.scope;
const PROGRAM = [...new URL(self.location).searchParams.values()].map((name) => new URL(name, SCOPE).href);
// Another Hive on the same host has a scope of its own.
const CACHE = `hive ${SCOPE}`;

const path = (address) => address.startsWith(SCOPE) ? address.slice(SCOPE.length).split("#")[0] : undefined;
// Their names or addresses have a hash in them: they never change.
const isProgram = (address) => /^hive-[^/?]+\.(js|wasm)$/.test(path(address));
const isWeights = (address) => /^models\/[^/?]+\?v=\w+$/.test(path(address));
const isPage = (address) => /^(index\.html)?(\?|$)/.test(path(address) ?? "no");

async function install() {
  await self.skipWaiting();
  const response = await fetch(SCOPE, { cache: "no-cache" });
  const index = await response.text();
  // Another version was put there in the meantime: the page that belongs to it brings its own worker.
  const named = PROGRAM.every((address) => index.includes(path(address)));
  if (!response.ok || !named) throw new Error("the page is not there, or another one");
  const cache = await caches.open(CACHE);
  await cache.put(SCOPE, new Response(index, { headers: { "content-type": "text/html; charset=utf-8" } }));
}

async function activate() {
  const cache = await caches.open(CACHE);
  for (const { url } of await cache.keys()) {
    if (isProgram(url) && !PROGRAM.includes(url)) await cache.delete(url);
  }
  await self.clients.claim();
}

// The page as the server has it now, or without a network as it was.
async function page(request) {
  try {
    return await fetch(request);
  } catch (error) {
    const index = await (await caches.open(CACHE)).match(SCOPE);
    if (!index) throw error;
    return index;
  }
}

// A file that never changes: as it was kept, or fetched and kept.
async function lasting(event) {
  const { request } = event;
  const cache = await caches.open(CACHE).catch(() => undefined);
  // Whoever asks for a reload knows that what is kept is damaged.
  const kept = request.cache === "reload" ? undefined : await cache?.match(request.url, { ignoreVary: true });
  if (kept) return kept;
  const response = await fetch(request);
  if (cache && response.status === 200) event.waitUntil(keep(cache, request.url, response.clone()));
  return response;
}

async function keep(cache, address, response) {
  // Of weights the newest alone.
  await cache.delete(address, { ignoreSearch: true });
  // A download that breaks off is not kept, nor is anything where there is no room.
  await cache.put(address, response).catch(() => {});
}

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  if (request.mode === "navigate") {
    if (isPage(request.url)) event.respondWith(page(request));
  } else if (isProgram(request.url) || isWeights(request.url)) {
    event.respondWith(lasting(event));
  }
});
