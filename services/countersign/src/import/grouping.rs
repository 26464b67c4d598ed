//! Rows of one order, wherever in the file they stand. The file is read twice: first to learn where each order ends,
//! then an order is handed on with its last row, so that only orders that are still open are kept in memory.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::{
    record::Record,
    rows::{Row, Rows},
};

/// Rows that belong together, in the order of the file.
#[derive(Debug)]
pub(crate) struct Group {
    /// Line of the first.
    pub(crate) line: i64,
    /// At least one.
    pub(crate) records: Vec<Record>,
}

/// Where the groups of a file end.
#[derive(Debug)]
pub(crate) struct Plan {
    path: PathBuf,
    group_by: Option<String>,
    /// Key → number of its rows.
    sizes: HashMap<String, usize>,
    rows: u64,
    /// Rows that stand for themselves.
    alone: u64,
}

impl Plan {
    /// Reads the file once. Without `group_by` every row is a group.
    pub(crate) fn new(path: &Path, group_by: Option<&str>) -> anyhow::Result<Self> {
        let mut sizes: HashMap<String, usize> = HashMap::new();
        let (mut rows, mut alone) = (0, 0);
        for row in Rows::open(path)? {
            let (_, record) = row?;
            rows += 1;
            match group_by.and_then(|column| key(&record, column)) {
                Some(key) => *sizes.entry(key).or_default() += 1,
                None => alone += 1,
            }
        }
        Ok(Self {
            path: path.to_owned(),
            group_by: group_by.map(ToOwned::to_owned),
            sizes,
            rows,
            alone,
        })
    }

    /// How many rows the file has.
    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }

    /// How many groups its rows make.
    pub(crate) fn count(&self) -> u64 {
        self.sizes.len() as u64 + self.alone
    }

    /// Reads the file again, group by group, in the order in which they end.
    pub(crate) fn groups(&self) -> anyhow::Result<Groups<'_>> {
        Ok(Groups {
            rows: Rows::open(&self.path)?,
            plan: self,
            open: HashMap::new(),
        })
    }
}

/// Nothing where the row has no key: it then stands for itself, and the service says what it lacks.
fn key(record: &Record, column: &str) -> Option<String> {
    record.first(column).map(|value| value.trim().to_owned())
}

/// See [`Plan::groups`].
pub(crate) struct Groups<'p> {
    rows: Rows,
    plan: &'p Plan,
    open: HashMap<String, Group>,
}

impl Groups<'_> {
    /// The group, when this was its last row.
    fn add(&mut self, (line, record): Row) -> Option<Group> {
        let alone = |record| Group {
            line,
            records: vec![record],
        };
        let Some(column) = &self.plan.group_by else {
            return Some(alone(record));
        };
        let Some(key) = key(&record, column) else {
            return Some(alone(record));
        };
        let size = self.plan.sizes.get(&key).copied().unwrap_or(1);
        if size == 1 {
            return Some(alone(record));
        }
        let group = self.open.entry(key.clone()).or_insert_with(|| Group {
            line,
            records: Vec::with_capacity(size),
        });
        group.records.push(record);
        (group.records.len() == size)
            .then(|| self.open.remove(&key))
            .flatten()
    }
}

impl Iterator for Groups<'_> {
    type Item = anyhow::Result<Group>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rows.next()? {
                Ok(row) => {
                    if let Some(group) = self.add(row) {
                        return Some(Ok(group));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_an_order_are_found_wherever_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "invoice,sku\n1,a\n2,b\n1,c\n,d\n3,e\n2,f\n,g\n").unwrap();

        let plan = Plan::new(&path, Some("invoice")).unwrap();
        let groups: Vec<(i64, Vec<String>)> = plan
            .groups()
            .unwrap()
            .map(|group| {
                let group = group.unwrap();
                let skus = group.records.iter();
                (
                    group.line,
                    skus.map(|it| it.first("sku").unwrap().into_owned())
                        .collect(),
                )
            })
            .collect();

        assert_eq!((plan.rows(), plan.count()), (7, 5));
        let expected = [
            (2, vec!["a", "c"]),
            (5, vec!["d"]),
            (6, vec!["e"]),
            (3, vec!["b", "f"]),
            (8, vec!["g"]),
        ];
        assert_eq!(
            groups,
            expected.map(|(line, skus)| (line, skus.into_iter().map(ToOwned::to_owned).collect()))
        );
    }
}
