//! The list of shipped weights, written for `src/engine/shipped.rs` by the build: name, length and SHA-256 of every file in
//! `assets/models/`. Natively the bytes are part of it; the page's module goes without and fetches the files, which stand
//! beside it.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use sha2::{Digest as _, Sha256};

/// The list as Rust, an array of `Shipped`.
pub(crate) fn models(folder: &Path) -> Result<String, String> {
    let in_page = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32");
    let read = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut paths = fs::read_dir(folder)
        .map_err(read)?
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(read)?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
    paths.sort();
    let mut out = format!("/// All weights that ship.\npub(super) static ALL: [Shipped; {}] = [\n", paths.len());
    for path in paths {
        let bytes = fs::read(&path).map_err(read)?;
        let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let carried = if in_page { "None".to_owned() } else { format!("Some(include_bytes!({path:?}))") };
        // Writing to a text never fails.
        let _ = writeln!(out, "    Shipped::new({name:?}, {}, {hash:?}, {carried}),", bytes.len());
    }
    out.push_str("];\n");
    Ok(out)
}
