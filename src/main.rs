//! The `hive` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    let list: Vec<String> = std::env::args().skip(1).collect();
    ExitCode::from(hive::cli::run(&list))
}
