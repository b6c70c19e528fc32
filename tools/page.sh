# Part of ./hive: the page, how it is built, served, measured, and driven by a browser.

playwright_version=1.65.1
binaryen_version=132.0.0
# Packages of npm, for this project alone.
npm_tools=$root/target/tools

# Builds the page in dist/, and serves it if a port is given.
page() {
    (
        cd "$root" || exit 1
        cargo build --locked --profile web --target wasm32-unknown-unknown --no-default-features --features gui --bin hive &&
            cargo run --locked --quiet --package page -- \
                "${CARGO_TARGET_DIR:-target}/wasm32-unknown-unknown/web/hive.wasm" web/index.html dist "$@"
    )
}

web() {
    rust_parts || stop 'the page cannot be built without these'
    say 'building the page, then serving it until Ctrl-C (the first build takes some minutes)'
    page "${1:-8080}"
}

# Installs a package of npm for this project alone, in exactly this version.
npm_tool() {
    [ "$(sed -n 's/.*"version": "\(.*\)".*/\1/p' "$npm_tools/node_modules/$1/package.json" 2>/dev/null)" = "$2" ] && return 0
    asked "$1 $2 is missing" "npm install --prefix $npm_tools $1@$2" &&
        npm install --silent --no-audit --no-fund --prefix "$npm_tools" "$1@$2" >&2
}

has_node() {
    if ! { have node && have npm; } && in_ci && have apt-get; then
        say 'installing nodejs and npm'
        apt install -y nodejs npm || { apt_update && apt install -y nodejs npm; }
    fi
    have node && have npm
}

# Smaller code. Debian's own wasm-opt is too old for the module and breaks it.
optimise_page() {
    for file in "$root"/dist/*.wasm; do
        node "$npm_tools/node_modules/binaryen/bin/wasm-opt" -O2 --enable-bulk-memory --enable-multivalue \
            --enable-mutable-globals --enable-nontrapping-float-to-int --enable-reference-types --enable-sign-ext --enable-simd \
            "$file" -o "$file.smaller" && mv "$file.smaller" "$file" || return 1
    done
}

# What a first visit loads: all but the folder of weights, and of those the ones that the page opens with. The browser tests
# compare it with what a server is asked for.
page_size() {
    total=0
    for file in "$root"/dist/*.* "$root/dist/models/grounds-start.safetensors"; do
        size=$(gzip -9 -c "$file" | wc -c) || return 1
        say "$(basename "$file"): $size bytes compressed"
        total=$((total + size))
    done
    say "a first visit: $total bytes compressed, 5500000 are allowed"
    [ $total -gt 100000 ] && [ $total -lt 5500000 ]
}

find_chromium() {
    [ -n "${HIVE_CHROMIUM:-}" ] || first_file /usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome \
        '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' >/dev/null
}

install_chromium() {
    in_ci && have apt-get || return 1
    say 'installing chromium'
    apt install -y chromium || { apt_update && apt install -y chromium; }
}

# A browser, and what drives it; false where they are not there.
browser_tools() {
    { find_chromium || install_chromium; } && has_node && npm_tool playwright-core $playwright_version
}
