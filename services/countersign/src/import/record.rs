//! One row of a file, whatever its format: values are found by column name or by path.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use serde_json::Value;

/// Names of the columns of a CSV file and where they stand.
pub(crate) type Header = HashMap<String, usize>;

/// A row.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// Of a CSV file.
    Cells(Arc<Header>, csv::StringRecord),
    /// Of a file with one JSON object a line.
    Tree(Value),
}

impl Record {
    /// The first value at `path` that is not empty.
    pub(crate) fn first(&self, path: &str) -> Option<Cow<'_, str>> {
        self.all(path).into_iter().find(|value| !value.is_empty())
    }

    /// All values at `path`: a column's name, or names joined by dots where `[]` stands for every entry of a list and
    /// `[0]` for one of them.
    pub(crate) fn all(&self, path: &str) -> Vec<Cow<'_, str>> {
        match self {
            Self::Cells(header, cells) => header
                .get(path)
                .and_then(|&at| cells.get(at))
                .map(Cow::Borrowed)
                .into_iter()
                .collect(),
            Self::Tree(value) => nodes(value, path).into_iter().filter_map(scalar).collect(),
        }
    }

    /// The entries of the list at `path`, each as a row of its own.
    pub(crate) fn entries(&self, path: &str) -> Vec<Self> {
        match self {
            Self::Cells(..) => Vec::new(),
            Self::Tree(value) => nodes(value, &format!("{path}[]"))
                .into_iter()
                .map(|entry| Self::Tree(entry.clone()))
                .collect(),
        }
    }
}

fn nodes<'v>(root: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut found = vec![root];
    for step in path.split('.') {
        let (name, index) = match step.split_once('[') {
            Some((name, index)) => (name, Some(index.trim_end_matches(']'))),
            None => (step, None),
        };
        found = found
            .into_iter()
            .filter_map(|node| node.get(name))
            .flat_map(|node| match index {
                None => vec![node],
                Some("") => node
                    .as_array()
                    .map(|list| list.iter().collect())
                    .unwrap_or_default(),
                Some(at) => at
                    .parse::<usize>()
                    .ok()
                    .and_then(|at| node.get(at))
                    .into_iter()
                    .collect(),
            })
            .collect();
    }
    found
}

fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(yes) => Some(Cow::Borrowed(if *yes { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_found_by_path() {
        let record = Record::Tree(json!({
            "id": 7, "none": null, "customer": {"zip": "69309"},
            "items": [{"price": "1.5"}, {"price": "2"}],
        }));

        assert_eq!(record.first("id").as_deref(), Some("7"));
        assert_eq!(record.first("none"), None);
        assert_eq!(record.first("customer.zip").as_deref(), Some("69309"));
        assert_eq!(record.all("items[].price"), ["1.5", "2"]);
        assert_eq!(record.all("items[1].price"), ["2"]);
        assert_eq!(record.all("items.price"), Vec::<&str>::new());
        assert_eq!(record.entries("items").len(), 2);
    }
}
