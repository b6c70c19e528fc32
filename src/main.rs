//! The `hive` command; in a browser, the page.

#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(hive::cli::run_os(std::env::args_os().skip(1)))
}

#[cfg(all(feature = "gui", target_arch = "wasm32"))]
fn main() {
    hive::web::start();
}

/// Built as a library for others, which needs no program.
#[cfg(not(any(all(feature = "cli", not(target_arch = "wasm32")), all(feature = "gui", target_arch = "wasm32"))))]
fn main() {}
