//! Every reader of strangers' bytes, with the inputs that are kept and with inputs made from them (RELIABILITY I-11).
//! `scripts/fuzz` gives the same readers inputs that are led by what they reach, and this is how its finds stay mended.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// Longer than any of it takes without optimisation, on a machine that does something else besides.
const LONG: Duration = Duration::from_secs(10);
/// Inputs that are made from each that is kept.
const MADE: usize = 48;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn readers() -> impl Iterator<Item = (&'static str, fn(&[u8]))> {
    countersign_domain::fuzz::ENTRIES
        .into_iter()
        .chain(countersign_runtime::fuzz::ENTRIES)
        .chain(countersign_store::fuzz::ENTRIES)
        .chain(countersign_order::fuzz::ENTRIES)
        .chain(countersign_notification::fuzz::ENTRIES)
        .chain(countersign::fuzz::ENTRIES)
}

/// The inputs that are kept for a reader, by their names.
fn kept(reader: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut kept: Vec<_> = fs::read_dir(corpus().join(reader))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    kept.sort();
    assert!(!kept.is_empty(), "{reader} has nothing to begin with");
    kept
}

fn soon(what: &Path, read: fn(&[u8]), bytes: &[u8]) {
    let begun = Instant::now();
    read(bytes);
    let took = begun.elapsed();
    assert!(took < LONG, "{}: {took:?}", what.display());
}

/// A part of one input in another, a few bytes that are others, an end that is missing.
fn made(from: &[u8], other: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = from.to_vec();
    let at = rng.random_range(0..=bytes.len());
    match rng.random_range(0..3) {
        0 => bytes.truncate(at),
        1 => {
            let begin = rng.random_range(0..=other.len());
            let part = &other[begin..rng.random_range(begin..=other.len())];
            bytes.splice(at..at, part.repeat(rng.random_range(1..20)));
        }
        _ => {
            for _ in 0..rng.random_range(1..4) {
                if let Some(length) = bytes.len().checked_sub(1) {
                    bytes[rng.random_range(0..=length)] = rng.random();
                }
            }
        }
    }
    bytes
}

#[test]
fn i_11_every_reader_takes_the_inputs_that_are_kept() {
    for (reader, read) in readers() {
        for (path, bytes) in kept(reader) {
            soon(&path, read, &bytes);
        }
        soon(Path::new(reader), read, b"");
    }
}

#[test]
fn i_11_every_reader_takes_what_is_made_of_the_inputs_that_are_kept() {
    let mut rng = StdRng::seed_from_u64(11);
    for (reader, read) in readers() {
        let kept = kept(reader);
        for (path, bytes) in &kept {
            for _ in 0..MADE {
                let (_, other) = &kept[rng.random_range(0..kept.len())];
                soon(path, read, &made(bytes, other, &mut rng));
            }
        }
    }
}

#[test]
fn every_folder_of_inputs_is_a_readers_and_they_are_small() {
    let readers: BTreeSet<String> = readers().map(|(name, _)| name.to_owned()).collect();
    let folders: BTreeSet<String> = fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(readers, folders);
    let bytes: usize = readers
        .iter()
        .flat_map(|reader| kept(reader))
        .map(|(_, bytes)| bytes.len())
        .sum();
    assert!(bytes < 200_000, "{bytes}");
}
