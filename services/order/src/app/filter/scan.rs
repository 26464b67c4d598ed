//! Cuts a filter into its words and signs.

use std::fmt;

use super::{Comparison, Problem};

/// Something that stands in a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name, a bare value, AND, OR, NOT.
    Word(String),
    /// A value in quotation marks.
    Quoted(String),
    /// `=` and the like.
    Operator(Comparison),
    /// `-`
    Minus,
    /// `(`
    Open,
    /// `)`
    Close,
    /// Nothing more.
    End,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Values may be personal data, and errors are logged by callers: only what a program wrote is repeated.
            Self::Word(word) if matches!(word.as_str(), "AND" | "OR" | "NOT") => f.write_str(word),
            Self::Word(_) => f.write_str("a word"),
            Self::Quoted(_) => f.write_str("a value in quotation marks"),
            Self::Operator(_) => f.write_str("an operator"),
            Self::Minus => f.write_str("-"),
            Self::Open => f.write_str("("),
            Self::Close => f.write_str(")"),
            Self::End => f.write_str("the end"),
        }
    }
}

/// Where it stands, in characters from 1, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) place: usize,
    pub(super) kind: Kind,
}

/// What a bare word is made of: names, numbers, times.
const fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-' | '+' | '/')
}

/// All tokens, the end last.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Problem> {
    let mut found = Vec::new();
    let mut rest = (1..).zip(text.chars()).peekable();
    while let Some((place, c)) = rest.next() {
        let mut equals = |yes, no: Option<Comparison>| {
            if rest.next_if(|(_, next)| *next == '=').is_some() {
                Ok(Kind::Operator(yes))
            } else {
                no.map(Kind::Operator)
                    .ok_or_else(|| Problem::new(place, "! must be followed by ="))
            }
        };
        let kind = match c {
            ' ' | '\t' | '\n' | '\r' => continue,
            '(' => Kind::Open,
            ')' => Kind::Close,
            '=' => Kind::Operator(Comparison::Equal),
            '!' => equals(Comparison::NotEqual, None)?,
            '<' => equals(Comparison::LessOrEqual, Some(Comparison::Less))?,
            '>' => equals(Comparison::GreaterOrEqual, Some(Comparison::Greater))?,
            '-' => Kind::Minus,
            '"' | '\'' => {
                let mut value = String::new();
                loop {
                    match rest.next() {
                        Some((_, next)) if next == c => break,
                        Some((_, '\\')) => match rest.next() {
                            Some((_, next @ ('"' | '\'' | '\\'))) => value.push(next),
                            _ => {
                                return Err(Problem::new(
                                    place,
                                    "in quotation marks, \\ must be followed by a quotation mark or \\",
                                ));
                            }
                        },
                        Some((_, next)) => value.push(next),
                        None => {
                            return Err(Problem::new(place, "the quotation mark is not closed"));
                        }
                    }
                }
                Kind::Quoted(value)
            }
            c if is_bare(c) => {
                let mut word = String::from(c);
                while let Some((_, next)) = rest.next_if(|(_, next)| is_bare(*next)) {
                    word.push(next);
                }
                Kind::Word(word)
            }
            _ => {
                return Err(Problem::new(
                    place,
                    "unexpected character; values other than plain words must be in quotation marks",
                ));
            }
        };
        found.push(Token { place, kind });
    }
    found.push(Token {
        place: text.chars().count() + 1,
        kind: Kind::End,
    });
    Ok(found)
}
