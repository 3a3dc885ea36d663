//! The program `crosswalk`.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmm::cli::main()
}
