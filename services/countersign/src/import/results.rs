//! What became of each row: a file for those who look closer, and a summary for everyone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::Path,
};

use anyhow::Context as _;

use super::reading::Problem;
use crate::console::say;

/// What became of a row.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Line of the file.
    pub(crate) row: i64,
    /// "taken", "replayed", "refused", "created", "cancelled" …
    pub(crate) kind: String,
    /// Name of the resource.
    pub(crate) name: String,
    /// Code of the refusal, or the state of the order.
    pub(crate) code: String,
    /// What was wrong, field by field.
    pub(crate) problems: Vec<Problem>,
    /// What is told besides.
    pub(crate) description: String,
    /// Rules that found something.
    pub(crate) findings: Vec<String>,
}

impl Outcome {
    /// A row that was refused.
    pub(crate) fn refused(row: i64, code: &str, description: &str, problems: Vec<Problem>) -> Self {
        Self {
            row,
            kind: "refused".to_owned(),
            code: code.to_owned(),
            description: description.to_owned(),
            problems,
            ..Self::default()
        }
    }
}

/// Collects outcomes.
pub(crate) struct Results {
    file: Option<csv::Writer<File>>,
    outcomes: BTreeMap<String, u64>,
    refusals: BTreeMap<String, u64>,
    states: BTreeMap<String, u64>,
    findings: BTreeMap<String, u64>,
}

impl Results {
    /// Writes the rows to a file when one is named.
    pub(crate) fn new(path: Option<&Path>) -> anyhow::Result<Self> {
        let file = path
            .map(|path| -> anyhow::Result<_> {
                let mut file = csv::Writer::from_path(path)
                    .with_context(|| format!("write {}", path.display()))?;
                file.write_record(["row", "outcome", "name", "code", "field", "description"])?;
                Ok(file)
            })
            .transpose()?;
        Ok(Self {
            file,
            outcomes: BTreeMap::new(),
            refusals: BTreeMap::new(),
            states: BTreeMap::new(),
            findings: BTreeMap::new(),
        })
    }

    /// Adds what became of a row. A row of which several fields are wrong stands in the file once for each of them.
    pub(crate) fn add(&mut self, it: &Outcome) -> anyhow::Result<()> {
        *self.outcomes.entry(it.kind.clone()).or_default() += 1;
        if it.kind == "refused" || it.kind == "unmatched" {
            let mut kinds: Vec<String> = it
                .problems
                .iter()
                .map(|problem| format!("{} {}", it.code, without_index(&problem.field)))
                .collect();
            if kinds.is_empty() {
                kinds.push(format!("{} {}", it.code, it.description));
            }
            kinds.sort_unstable();
            kinds.dedup();
            for kind in kinds {
                *self.refusals.entry(kind).or_default() += 1;
            }
        } else if !it.code.is_empty() {
            *self.states.entry(it.code.clone()).or_default() += 1;
        }
        for rule in it.findings.iter().collect::<BTreeSet<_>>() {
            *self.findings.entry(rule.clone()).or_default() += 1;
        }
        self.write(it).context("write the results")
    }

    fn write(&mut self, it: &Outcome) -> csv::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let row = it.row.to_string();
        let mut line = |field: &str, description: &str| {
            file.write_record([
                row.as_str(),
                &it.kind,
                &it.name,
                &it.code,
                field,
                description,
            ])
        };
        if it.problems.is_empty() {
            let mut words = it.findings.clone();
            if !it.description.is_empty() {
                words.insert(0, it.description.clone());
            }
            line("", &words.join(" "))?;
        }
        for problem in &it.problems {
            line(&problem.field, &problem.description)?;
        }
        Ok(())
    }

    /// Writes out the file and tells the counts.
    pub(crate) fn finish(mut self, what: &str) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            file.flush().context("write the results")?;
        }
        let total: u64 = self.outcomes.values().sum();
        say(&format!("{what}: {total}"));
        table("", &self.outcomes);
        table("states", &self.states);
        table("refused because of", &self.refusals);
        table("findings by rule", &self.findings);
        Ok(())
    }
}

/// A small table of counts.
pub(crate) fn table(title: &str, counts: &BTreeMap<String, u64>) {
    if counts.is_empty() {
        return;
    }
    if !title.is_empty() {
        say(&format!("  {title}"));
    }
    for (name, count) in counts {
        say(&format!("  {count:>9}  {name}"));
    }
}

/// `lines[2].quantity` counts together with the other lines' quantities.
fn without_index(field: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for it in field.chars() {
        inside = (inside && it != ']') || it == '[';
        if !inside || it == '[' {
            text.push(it);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_stands_in_the_file_and_counts_once_for_its_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        let mut results = Results::new(Some(&path)).unwrap();
        let problem = |field: &str| Problem {
            field: field.to_owned(),
            description: "must be, at least, 1".to_owned(),
        };
        let wrong = vec![problem("lines[0].quantity"), problem("lines[12].quantity")];
        results
            .add(&Outcome::refused(7, "INVALID_ARGUMENT", "", wrong))
            .unwrap();

        assert_eq!(results.outcomes["refused"], 1);
        assert_eq!(results.refusals["INVALID_ARGUMENT lines[].quantity"], 1);
        results.finish("orders").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "row,outcome,name,code,field,description\n\
             7,refused,,INVALID_ARGUMENT,lines[0].quantity,\"must be, at least, 1\"\n\
             7,refused,,INVALID_ARGUMENT,lines[12].quantity,\"must be, at least, 1\"\n"
        );
    }
}
