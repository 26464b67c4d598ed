//! Messages with `{…}` in them, filled from the facts.

use super::facts::{Record, fact_names};

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A fact of a record, such as `line`, `sku`.
    Fact {
        record: &'static str,
        name: &'static str,
    },
}

/// A message that can be filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

/// Records that a placeholder may name.
const RECORDS: &[&str] = &["order", "customer", "stock", "policy", "line"];

impl Template {
    /// Reads a message. `{sku}` is a fact of the line where the rule is held against lines, else of the order;
    /// `{customer.tier}` says whose it is. The problem says which placeholder is not known.
    pub(super) fn parse(text: &str, per_line: bool) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((path, behind)) = after.split_once('}') else {
                return Err("has a { without a }".to_owned());
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(placeholder(path, per_line)?);
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces })
    }

    /// The message with the facts in it.
    pub(super) fn fill<'a>(&self, record: impl Fn(&str) -> Option<Record<'a>>) -> String {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Fact { record: of, name } => {
                    if let Some(fact) = record(of).and_then(|record| record.fact(name)) {
                        filled.push_str(&fact.text());
                    }
                }
            }
        }
        filled
    }
}

fn placeholder(path: &str, per_line: bool) -> Result<Piece, String> {
    let of = |record: &str, name: &str| {
        let record = RECORDS.iter().find(|known| **known == record)?;
        let name = fact_names(record)?.iter().find(|known| **known == name)?;
        Some(Piece::Fact { record, name })
    };
    let found = match path.split_once('.') {
        Some(("line", _)) if !per_line => None,
        Some((record, name)) => of(record, name),
        None if per_line => of("line", path).or_else(|| of("order", path)),
        None => of("order", path),
    };
    found.ok_or_else(|| format!("names {{{path}}}, which is no fact of the order or line"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_placeholders_stays_as_it_is() {
        let template = Template::parse("nothing to fill", false).unwrap();
        assert_eq!(template.fill(|_| None), "nothing to fill");
    }

    #[test]
    fn an_unknown_placeholder_is_named() {
        let problem = Template::parse("line {line_nubmer}", true).unwrap_err();
        assert!(problem.contains("{line_nubmer}"), "{problem}");
        assert!(Template::parse("{sku}", false).is_err());
        assert!(Template::parse("{line.sku}", false).is_err());
        assert!(Template::parse("{nobody.sku}", true).is_err());
        assert!(Template::parse("{", true).is_err());
    }
}
