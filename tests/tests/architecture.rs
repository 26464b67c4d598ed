//! The rules of ARCHITECTURE.md that the compiler does not know: who may depend on whom, and how big a file may be.
#![cfg(test)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// A longer file holds more than one concept.
const MOST_LINES: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn workspace() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec!["--offline".to_owned(), "--locked".to_owned()])
        .exec()
        .unwrap()
}

fn package<'a>(workspace: &'a Metadata, name: &str) -> &'a Package {
    workspace
        .workspace_packages()
        .into_iter()
        .find(|it| it.name.as_str() == name)
        .unwrap()
}

/// What a package names in its manifest, for its tests and its build, too.
fn named(package: &Package) -> BTreeSet<&str> {
    package
        .dependencies
        .iter()
        .map(|it| it.name.as_str())
        .collect()
}

/// Everything that ends up in a package, whoever brings it in. Not what only its tests or its build need.
fn reached<'a>(workspace: &'a Metadata, package: &Package) -> BTreeSet<&'a str> {
    let nodes = &workspace.resolve.as_ref().unwrap().nodes;
    let mut waiting = vec![&package.id];
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        let node = nodes.iter().find(|node| node.id == *id).unwrap();
        for dependency in &node.deps {
            let built_in = dependency
                .dep_kinds
                .iter()
                .any(|it| it.kind == DependencyKind::Normal);
            if built_in && seen.insert(&dependency.pkg) {
                waiting.push(&dependency.pkg);
            }
        }
    }
    seen.into_iter()
        .map(|id| workspace[id].name.as_str())
        .collect()
}

fn ours(workspace: &Metadata) -> BTreeSet<String> {
    workspace
        .workspace_packages()
        .into_iter()
        .map(|it| it.name.to_string())
        .collect()
}

#[test]
fn the_domain_does_no_io_and_knows_nothing_of_wire_or_database() {
    let workspace = workspace();
    let domain = package(&workspace, "countersign-domain");
    let reached = reached(&workspace, domain);

    for forbidden in [
        "sea-orm", "sqlx", "tokio", "tonic", "prost", "reqwest", "axum", "hyper", "lettre",
    ] {
        assert!(
            !reached.contains(forbidden),
            "countersign-domain reaches {forbidden}"
        );
    }
    let ours = ours(&workspace);
    let inner: Vec<_> = named(domain)
        .into_iter()
        .filter(|name| ours.contains(*name))
        .collect();
    assert!(inner.is_empty(), "countersign-domain depends on {inner:?}");
}

#[test]
fn only_the_store_and_the_migrations_know_the_database_library() {
    let workspace = workspace();
    let known: Vec<_> = workspace
        .workspace_packages()
        .into_iter()
        .filter(|it| {
            named(it)
                .iter()
                .any(|name| name.starts_with("sea-orm") || name.starts_with("sqlx"))
        })
        .map(|it| it.name.as_str())
        .filter(|name| !["countersign-store", "countersign-migrations"].contains(name))
        .collect();

    assert!(
        known.is_empty(),
        "{known:?} must go through countersign-store"
    );
}

#[test]
fn the_two_services_meet_in_tables_and_protos_only() {
    let workspace = workspace();
    for (service, other) in [
        ("countersign-order", "countersign-notification"),
        ("countersign-notification", "countersign-order"),
    ] {
        let service = package(&workspace, service);
        assert!(
            !named(service).contains(other),
            "{} depends on {other}",
            service.name
        );
        assert!(
            !reached(&workspace, service).contains(other),
            "{} reaches {other}",
            service.name
        );
    }
}

#[test]
fn the_wire_stands_on_nothing_of_ours() {
    let workspace = workspace();
    let ours = ours(&workspace);
    let named = named(package(&workspace, "countersign-proto"));

    let inner: Vec<_> = named
        .into_iter()
        .filter(|name| ours.contains(*name))
        .collect();
    assert!(inner.is_empty(), "countersign-proto depends on {inner:?}");
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for package in workspace().workspace_packages() {
        let manifest: toml::Table =
            toml::from_str(&fs::read_to_string(&package.manifest_path).unwrap()).unwrap();
        let taken = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace")?.as_bool());
        assert_eq!(
            taken,
            Some(true),
            "{} lacks [lints] workspace = true",
            package.name
        );
    }
}

#[test]
fn no_source_file_outgrows_one_concept() {
    let mut files = Vec::new();
    for package in workspace().workspace_packages() {
        let folder = package.manifest_path.parent().unwrap();
        if folder == root().join("tests") {
            continue;
        }
        collect(&folder.join("src").into_std_path_buf(), &mut files);
        files
            .extend(Some(folder.join("build.rs").into_std_path_buf()).filter(|file| file.exists()));
    }
    assert!(files.len() > 10, "the walk found too little: {files:?}");

    let offenders: Vec<String> = files
        .iter()
        .map(|file| {
            (
                lines_without_tests(&fs::read_to_string(file).unwrap()),
                file,
            )
        })
        .filter(|(lines, _)| *lines > MOST_LINES)
        .map(|(lines, file)| format!("{} has {lines} lines", file.display()))
        .collect();

    assert!(
        offenders.is_empty(),
        "over {MOST_LINES} lines:\n{}",
        offenders.join("\n")
    );
}

/// The sources in a folder, without the files and folders that hold tests.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Tests stand at the end of a file, behind `#[cfg(test)]`.
fn lines_without_tests(text: &str) -> usize {
    text.lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .count()
}
