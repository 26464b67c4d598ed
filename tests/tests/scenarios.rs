//! Every scenario of the reliability page is a test whose name holds its id (`c_13_…`, `b_22_i_08_…`), or stands in
//! SCENARIOS.md with the reason why it is not. Never both, so that the page does not outlive its reasons.
#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Groups and how many scenarios each has.
const GROUPS: [(char, u32); 13] = [
    ('A', 12),
    ('B', 22),
    ('C', 13),
    ('D', 25),
    ('E', 21),
    ('F', 23),
    ('G', 8),
    ('H', 8),
    ('I', 11),
    ('J', 13),
    ('K', 7),
    ('L', 10),
    ('M', 10),
];

fn all() -> BTreeSet<String> {
    GROUPS
        .iter()
        .flat_map(|(group, count)| (1..=*count).map(move |number| format!("{group}-{number:02}")))
        .collect()
}

/// The ids in a function's name: a letter, two digits, each a word of its own.
fn ids(name: &str) -> Vec<String> {
    let words: Vec<&str> = name.split('_').collect();
    words
        .windows(2)
        .filter_map(|pair| {
            let [group, number] = pair else { return None };
            let letter = group.len() == 1 && group.chars().all(|it| ('a'..='m').contains(&it));
            let two = number.len() == 2 && number.chars().all(|it| it.is_ascii_digit());
            (letter && two).then(|| format!("{}-{number}", group.to_uppercase()))
        })
        .collect()
}

fn read(folder: &Path, tested: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, tested);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            // A test is what stands behind its attribute.
            for part in text.split("test").skip(1) {
                let Some(name) = part
                    .split_once("fn ")
                    .filter(|(before, _)| before.len() < 120)
                    .and_then(|(_, rest)| rest.split_once('('))
                else {
                    continue;
                };
                for id in ids(name.0) {
                    tested.insert(id, name.0.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_scenario_is_a_test_or_has_a_reason_why_not() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut tested = BTreeMap::new();
    for folder in ["services", "tests"] {
        read(&root.join(folder), &mut tested);
    }
    let page = fs::read_to_string(root.join("tests/SCENARIOS.md")).unwrap();
    let mut excused = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        if let [id, _, reason] = cells.as_slice()
            && all().contains(*id)
        {
            assert!(reason.len() > 20, "{id}: a reason, please");
            assert!(excused.insert((*id).to_owned()), "{id} stands there twice");
        }
    }
    let known: BTreeSet<String> = tested.keys().cloned().collect();
    let missing: Vec<String> = all()
        .into_iter()
        .filter(|id| !known.contains(id) && !excused.contains(id))
        .collect();
    assert!(
        missing.is_empty(),
        "neither a test nor a reason: {missing:?}"
    );
    let both: Vec<&String> = excused.intersection(&known).collect();
    assert!(
        both.is_empty(),
        "tested by now; take the reason out: {both:?}"
    );
}
