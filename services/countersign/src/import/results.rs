//! What became of each row: a file for those who look closer, and a summary for everyone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::Path,
};

use anyhow::{Context as _, bail};

use super::reading::Problem;
use crate::console::say;

/// What became of a row, or of the rows of an order.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Line of the file; the first one of an order.
    pub(crate) row: i64,
    /// The sender's own number, where there is one.
    pub(crate) reference: String,
    /// `taken`, `replayed`, `refused`, `created`, `taken_back` …
    pub(crate) kind: String,
    /// Name of the resource.
    pub(crate) name: String,
    /// Code of the refusal, or the state of the order.
    pub(crate) code: String,
    /// What was wrong, field by field.
    pub(crate) problems: Vec<Problem>,
    /// What is told besides.
    pub(crate) description: String,
    /// Rules that found something, once for each finding.
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

    /// With the sender's own number.
    pub(crate) fn of(mut self, reference: &str) -> Self {
        reference.clone_into(&mut self.reference);
        self
    }
}

/// In how many orders, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    orders: u64,
    times: u64,
}

/// Collects outcomes.
pub(crate) struct Results {
    file: Option<csv::Writer<File>>,
    outcomes: BTreeMap<String, u64>,
    refusals: BTreeMap<String, Count>,
    states: BTreeMap<String, u64>,
    findings: BTreeMap<String, Count>,
    /// Lines that took goods back, or why they did not.
    taken_back: BTreeMap<String, u64>,
}

impl Results {
    /// Writes the rows to a file when one is named.
    pub(crate) fn new(path: Option<&Path>) -> anyhow::Result<Self> {
        let file = path
            .map(|path| -> anyhow::Result<_> {
                let mut file = csv::Writer::from_path(path)
                    .with_context(|| format!("write {}", path.display()))?;
                let columns = ["row", "reference", "outcome", "name", "code", "description"];
                file.write_record(columns)?;
                Ok(file)
            })
            .transpose()?;
        Ok(Self {
            file,
            outcomes: BTreeMap::new(),
            refusals: BTreeMap::new(),
            states: BTreeMap::new(),
            findings: BTreeMap::new(),
            taken_back: BTreeMap::new(),
        })
    }

    /// Adds what became of a row.
    pub(crate) fn add(&mut self, it: &Outcome) -> anyhow::Result<()> {
        *self.outcomes.entry(it.kind.clone()).or_default() += 1;
        if it.kind == "refused" {
            let mut kinds: Vec<String> = it
                .problems
                .iter()
                .map(|problem| format!("{} {}", it.code, without_index(&problem.field)))
                .collect();
            if kinds.is_empty() {
                kinds.push(format!("{} {}", it.code, it.description));
            }
            count(&mut self.refusals, kinds);
        } else if !it.code.is_empty() {
            *self.states.entry(it.code.clone()).or_default() += 1;
        }
        count(&mut self.findings, it.findings.clone());
        self.write(it).context("write the results")
    }

    /// Adds lines that took goods back, or did not.
    pub(crate) fn add_taken_back(&mut self, what: &str, lines: u64) {
        *self.taken_back.entry(what.to_owned()).or_default() += lines;
    }

    fn write(&mut self, it: &Outcome) -> csv::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let problems = it
            .problems
            .iter()
            .map(|problem| format!("{}: {}", problem.field, problem.description));
        let words: Vec<String> = Some(it.description.clone())
            .filter(|words| !words.is_empty())
            .into_iter()
            .chain(
                it.findings
                    .iter()
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .cloned(),
            )
            .chain(problems)
            .collect();
        file.write_record([
            it.row.to_string().as_str(),
            &it.reference,
            &it.kind,
            &it.name,
            &it.code,
            &words.join("; "),
        ])
    }

    /// Writes out the file and tells the counts. Fails when not each of `expected` has an outcome.
    pub(crate) fn finish(mut self, what: &str, expected: Option<u64>) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            file.flush().context("write the results")?;
        }
        let total: u64 = self.outcomes.values().sum();
        say(&format!("{what}: {total}"));
        table("", &self.outcomes);
        table("states", &self.states);
        counts("refused because of (orders, lines)", &self.refusals);
        counts("findings by rule (orders, findings)", &self.findings);
        table("lines of cancellations", &self.taken_back);
        match expected {
            Some(expected) if expected != total => {
                bail!("the file has {expected}, but only {total} were told of: run it again")
            }
            _ => Ok(()),
        }
    }
}

/// Counts how often each name stands in one order's list.
fn count(counts: &mut BTreeMap<String, Count>, mut names: Vec<String>) {
    names.sort_unstable();
    for same in names.chunk_by(|one, other| one == other) {
        let Some(name) = same.first() else { continue };
        let count = counts.entry(name.clone()).or_default();
        count.orders += 1;
        count.times += same.len() as u64;
    }
}

fn counts(title: &str, counts: &BTreeMap<String, Count>) {
    if counts.is_empty() {
        return;
    }
    say(&format!("  {title}"));
    for (name, Count { orders, times }) in counts {
        say(&format!("  {orders:>9} {times:>9}  {name}"));
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

    fn problem(field: &str) -> Problem {
        Problem {
            field: field.to_owned(),
            description: "must be, at least, 1".to_owned(),
        }
    }

    #[test]
    fn an_order_stands_in_the_file_once_with_all_that_is_wrong_and_its_lines_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        let mut results = Results::new(Some(&path)).unwrap();
        let wrong = vec![
            problem("lines[0].quantity"),
            problem("lines[12].quantity"),
            problem("total"),
        ];
        let refused = Outcome::refused(7, "INVALID_ARGUMENT", "", wrong).of("A-1");
        results.add(&refused).unwrap();
        let taken = Outcome {
            row: 9,
            kind: "taken".to_owned(),
            findings: vec!["price-given".to_owned(), "price-given".to_owned()],
            ..Outcome::default()
        };
        results.add(&taken).unwrap();

        assert_eq!(results.outcomes["refused"], 1);
        let expected = Count {
            orders: 1,
            times: 2,
        };
        assert_eq!(
            results.refusals["INVALID_ARGUMENT lines[].quantity"],
            expected
        );
        assert_eq!(results.findings["price-given"], expected);
        results.finish("orders", Some(2)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "row,reference,outcome,name,code,description\n\
             7,A-1,refused,,INVALID_ARGUMENT,\"lines[0].quantity: must be, at least, 1; \
             lines[12].quantity: must be, at least, 1; total: must be, at least, 1\"\n\
             9,,taken,,,price-given\n"
        );
    }

    #[test]
    fn an_order_without_an_outcome_is_a_failure() {
        let results = Results::new(None).unwrap();
        let error = results.finish("orders", Some(1)).unwrap_err().to_string();
        assert!(error.contains("the file has 1, but only 0"), "{error}");
    }
}
