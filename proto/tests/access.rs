//! What the build makes of the options of methods.
#![cfg(test)]

#[path = "../build/access.rs"]
mod access;

use std::{fs, path::Path};

use countersign_proto::{access::METHODS, v1::Role};
use protox::Compiler;

/// Compiles one service whose methods are given, beside our own option.
fn compiled(methods: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("countersign/v1/access.proto");
    let to = folder.path().join("countersign/v1");
    fs::create_dir_all(&to).unwrap();
    fs::copy(ours, to.join("access.proto")).unwrap();
    let file = to.join("door.proto");
    let text = format!(
        "syntax = \"proto3\";\npackage countersign.v1;\nimport \"countersign/v1/access.proto\";\n\
         message Knock {{}}\nservice DoorService {{\n{methods}\n}}\n"
    );
    fs::write(&file, text).unwrap();
    let mut compiler = Compiler::new([folder.path()]).unwrap();
    compiler.open_file(file).unwrap();
    access::table(&compiler.descriptor_pool())
}

#[test]
fn a_method_that_does_not_say_who_may_call_it_does_not_build() {
    let told = "rpc Open(Knock) returns (Knock) { option (access) = {roles: [ROLE_AGENT, ROLE_ORDER_WRITER]}; }";
    let table = compiled(told).unwrap();
    assert!(
        table.contains("(\"/countersign.v1.DoorService/Open\", &[Role::Agent, Role::OrderWriter])"),
        "{table}"
    );
    for silent in [
        "rpc Close(Knock) returns (Knock);",
        "rpc Close(Knock) returns (Knock) { option deprecated = true; }",
        "rpc Close(Knock) returns (Knock) { option (access) = {}; }",
    ] {
        let error = compiled(&format!("{told}\n{silent}")).unwrap_err();
        assert!(
            error.contains("countersign.v1.DoorService.Close does not say who may call it"),
            "{error}"
        );
    }
    let nobody =
        "rpc Close(Knock) returns (Knock) { option (access) = {roles: [ROLE_UNSPECIFIED]}; }";
    let error = compiled(nobody).unwrap_err();
    assert!(error.contains("Close names no role"), "{error}");
}

#[test]
fn the_table_is_sorted_and_names_roles_for_each_method() {
    assert!(METHODS.is_sorted_by_key(|(path, _)| *path));
    for (path, roles) in METHODS {
        assert!(!roles.is_empty(), "{path}");
        assert!(!roles.contains(&Role::Unspecified), "{path}");
    }
}
