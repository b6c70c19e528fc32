// A static server without any special header: the page must run from a plain web server, in any folder.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };

// Serves `folder` below /some/folder/; returns the address of its index, a function that ends it, and what a test can look at
// and change: `folder`; `asked`, the names of files that were sent; `missing`, those that are not there; `held`, those that
// stop halfway.
export async function serve(folder) {
  const prefix = "/some/folder/";
  const state = { folder, asked: [], missing: new Set(), held: new Set() };
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    const name = path.startsWith(prefix) ? normalize(path.slice(prefix.length) || "index.html") : "..";
    const file = join(state.folder, name);
    const found = name.startsWith("..") ? undefined : await stat(file).catch(() => undefined);
    if (!found?.isFile() || state.missing.has(name)) {
      response.writeHead(404).end();
      return;
    }
    state.asked.push(name);
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    response.writeHead(200, { "content-type": type, "content-length": found.size });
    const held = state.held.has(name);
    createReadStream(file, held ? { end: found.size >> 1 } : {}).pipe(response, { end: !held });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const address = `http://127.0.0.1:${server.address().port}${prefix}`;
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return Object.assign(state, { address, close });
}
