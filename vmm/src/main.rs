//! The program `crosswalk`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    crosswalk::cli::main()
}
