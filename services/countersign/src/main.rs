//! The one binary. What it does is a library, so that tests and fuzzing reach the readers of files.

// An optimised build looks through all nested futures of all commands at once.
#![recursion_limit = "256"]

use std::process::ExitCode;

/// Intake makes some thousand small objects an order; the system's allocator took a quarter of its processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    countersign::main().await
}
