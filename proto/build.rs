//! Compiles the .proto files with a compiler written in Rust: a build needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use protox::Compiler;

#[path = "build/access.rs"]
mod access;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo talks to build scripts through the environment"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=countersign");
    println!("cargo:rerun-if-changed=google");
    let mut files: Vec<PathBuf> = fs::read_dir("countersign/v1")?
        .map(|entry| entry.map(|found| found.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut compiler = Compiler::new(["."])?;
    compiler.include_imports(true);
    compiler.open_files(files)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // With the options of ours that the generated code leaves out.
    fs::write(
        out.join("descriptor.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    fs::write(
        out.join("access.rs"),
        access::table(&compiler.descriptor_pool())?,
    )?;
    compiler.include_source_info(true);
    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
