//! Compiles the .proto files with a compiler written in Rust: a build needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo talks to build scripts through the environment"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=countersign");
    println!("cargo:rerun-if-changed=google");
    let mut files: Vec<PathBuf> = fs::read_dir("countersign/v1")?
        .map(|entry| entry.map(|found| found.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let descriptors = protox::compile(files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
