//! The lines of the anchor file: where the chain ended, and whose data were erased, as JSON.

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::{Anchor, Hash};

/// A line of the file. The hashes are written in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum AnchorLine {
    /// The chain's end.
    Anchor {
        /// After which commit.
        position: i64,
        /// The chain's hash there.
        hash: String,
        /// When.
        time: DateTime<Utc>,
    },
    /// An erasure that is done: it must be done again after a restore from an older backup.
    Erasure {
        /// `erasures/{id}`.
        name: String,
        /// Keyed hash of the customer's code.
        customer_hash: String,
        /// When it was asked for.
        time: DateTime<Utc>,
    },
}

/// A line that is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no line of an anchor file: {problem}")]
pub struct AnchorError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

impl AnchorLine {
    /// The chain's end.
    pub fn anchor(position: i64, hash: &Hash, time: DateTime<Utc>) -> Self {
        Self::Anchor {
            position,
            hash: HEXLOWER.encode(hash),
            time,
        }
    }

    /// An erasure that is done.
    pub fn erasure(name: String, customer_hash: &Hash, time: DateTime<Utc>) -> Self {
        Self::Erasure {
            name,
            customer_hash: HEXLOWER.encode(customer_hash),
            time,
        }
    }

    /// As it stands in the file, with the line end.
    pub fn text(&self) -> String {
        // A type of ours always becomes JSON.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// Reads a file.
    pub fn read_all(text: &str) -> Result<Vec<Self>, AnchorError> {
        let lines = text.lines().enumerate();
        lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| {
                let wrong = |problem: String| AnchorError {
                    line: index + 1,
                    problem,
                };
                let read: Self =
                    serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
                let (Self::Anchor { hash, .. }
                | Self::Erasure {
                    customer_hash: hash,
                    ..
                }) = &read;
                hash_of(hash)
                    .map(|_| read.clone())
                    .ok_or_else(|| wrong("a hash has 64 hexadecimal digits".to_owned()))
            })
            .collect()
    }

    /// The anchor of a line that is one.
    pub fn as_anchor(&self) -> Option<Anchor> {
        match self {
            Self::Anchor {
                position,
                hash,
                time,
            } => Some(Anchor {
                position: *position,
                hash: hash_of(hash)?,
                time: *time,
            }),
            Self::Erasure { .. } => None,
        }
    }

    /// The hash of the customer of a line that tells of an erasure.
    pub fn as_erased(&self) -> Option<Hash> {
        match self {
            Self::Erasure { customer_hash, .. } => hash_of(customer_hash),
            Self::Anchor { .. } => None,
        }
    }
}

fn hash_of(hex: &str) -> Option<Hash> {
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_were_written() {
        let lines = [
            AnchorLine::anchor(7, &[1; 32], DateTime::UNIX_EPOCH),
            AnchorLine::erasure("erasures/x".to_owned(), &[2; 32], DateTime::UNIX_EPOCH),
        ];
        let file: String = lines.iter().map(AnchorLine::text).collect();
        assert!(file.starts_with(r#"{"type":"anchor","position":7,"hash":"0101"#));
        let read = AnchorLine::read_all(&file).unwrap();
        assert_eq!(read, lines);
        assert_eq!(read[0].as_anchor().unwrap().hash, [1; 32]);
        assert_eq!(read[1].as_erased().unwrap(), [2; 32]);
    }

    #[test]
    fn a_line_that_is_not_ours_is_named() {
        let good = AnchorLine::anchor(7, &[1; 32], DateTime::UNIX_EPOCH).text();
        let error = AnchorLine::read_all(&format!("{good}{{}}\n")).unwrap_err();
        assert_eq!(error.line, 2);
        let short = good.replace("0101", "01");
        assert_eq!(AnchorLine::read_all(&short).unwrap_err().line, 1);
    }
}
