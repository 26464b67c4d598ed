//! Filters of lists: the part of AIP-160 that indexes can serve.
//!
//! `state = "UNDER_AUDIT" AND (order_type = WHOLESALE OR priority >= 500) AND NOT held = true`. As in AIP-160, OR binds
//! tighter than AND. What is wrong is told with its place, counted in characters from 1.

use std::marker::PhantomData;

use countersign_store::{Comparison, FeedbackFilter, Filter, OrderFilter};

use crate::error::ServiceError;

mod feedback_field;
mod field;
mod scan;

use scan::{Kind, Token, tokens};

/// Bytes of a filter at most.
const BYTES_MAX: usize = 4_096;
/// Brackets and negations inside each other at most.
const DEPTH_MAX: usize = 16;
/// Comparisons at most.
const COMPARISONS_MAX: usize = 100;

/// Reads a filter; none for all orders.
pub(crate) fn parse(text: &str) -> Result<Option<OrderFilter>, ServiceError> {
    read::<field::Field>(text)
        .map_err(|problem| ServiceError::invalid("filter", problem.to_string()))
}

/// Reads a filter; none for all feedback.
pub(crate) fn parse_feedback(text: &str) -> Result<Option<FeedbackFilter>, ServiceError> {
    read::<feedback_field::Field>(text)
        .map_err(|problem| ServiceError::invalid("filter", problem.to_string()))
}

/// The fields of a list, and what each may be compared with.
trait FilterField: Sized {
    /// The field as the store has it.
    type Stored;
    /// Names of all fields.
    const NAMES: &'static [&'static str];
    fn named(name: &str) -> Option<Self>;
    fn compare(self, how: Comparison, text: &str) -> Result<Filter<Self::Stored>, Refused>;
}

/// What does not fit.
enum Refused {
    Comparison(String),
    Value(String),
}

/// What is wrong with a filter, and where.
#[derive(Debug, thiserror::Error)]
#[error("at character {place}: {what}")]
struct Problem {
    place: usize,
    what: String,
}

impl Problem {
    fn new(place: usize, what: impl Into<String>) -> Self {
        Self {
            place,
            what: what.into(),
        }
    }
}

fn read<F: FilterField>(text: &str) -> Result<Option<Filter<F::Stored>>, Problem> {
    if text.len() > BYTES_MAX {
        return Err(Problem::new(
            1,
            format!("the filter must have at most {BYTES_MAX} bytes"),
        ));
    }
    let tokens = tokens(text)?;
    if tokens.first().is_none_or(|token| token.kind == Kind::End) {
        return Ok(None);
    }
    let mut parser = Parser::<F> {
        tokens,
        next: 0,
        depth: 0,
        comparisons: 0,
        fields: PhantomData,
    };
    let filter = parser.expression()?;
    let rest = parser.take();
    if rest.kind != Kind::End {
        return Err(Problem::new(
            rest.place,
            format!("expected AND, OR or the end, found {}", rest.kind),
        ));
    }
    Ok(Some(filter))
}

struct Parser<F> {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    comparisons: usize,
    fields: PhantomData<F>,
}

impl<F: FilterField> Parser<F> {
    /// The token that comes next; the end comes for ever.
    fn peek(&self) -> Token {
        self.tokens
            .get(self.next)
            .or_else(|| self.tokens.last())
            .cloned()
            .unwrap_or(Token {
                place: 1,
                kind: Kind::End,
            })
    }

    fn take(&mut self) -> Token {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek().kind, Kind::Word(found) if found == word);
        if found {
            self.next += 1;
        }
        found
    }

    /// Parts joined by AND.
    fn expression(&mut self) -> Result<Filter<F::Stored>, Problem> {
        let mut parts = vec![self.factor()?];
        while self.takes_word("AND") {
            parts.push(self.factor()?);
        }
        Ok(one_or(parts, Filter::All))
    }

    /// Parts joined by OR.
    fn factor(&mut self) -> Result<Filter<F::Stored>, Problem> {
        let mut parts = vec![self.term()?];
        while self.takes_word("OR") {
            parts.push(self.term()?);
        }
        Ok(one_or(parts, Filter::Any))
    }

    fn term(&mut self) -> Result<Filter<F::Stored>, Problem> {
        let token = self.peek();
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Problem::new(
                token.place,
                format!("at most {DEPTH_MAX} brackets and negations may stand inside each other"),
            ));
        }
        let filter = match token.kind {
            Kind::Minus => {
                self.next += 1;
                Filter::Not(Box::new(self.term()?))
            }
            Kind::Word(word) if word == "NOT" => {
                self.next += 1;
                Filter::Not(Box::new(self.term()?))
            }
            Kind::Open => {
                self.next += 1;
                let inner = self.expression()?;
                let close = self.take();
                if close.kind != Kind::Close {
                    return Err(Problem::new(
                        close.place,
                        format!("expected ), AND or OR, found {}", close.kind),
                    ));
                }
                inner
            }
            _ => self.comparison()?,
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn comparison(&mut self) -> Result<Filter<F::Stored>, Problem> {
        self.comparisons += 1;
        let name = self.take();
        if self.comparisons > COMPARISONS_MAX {
            return Err(Problem::new(
                name.place,
                format!("a filter may have at most {COMPARISONS_MAX} comparisons"),
            ));
        }
        let Kind::Word(word) = name.kind else {
            return Err(Problem::new(
                name.place,
                format!("expected a field such as state, found {}", name.kind),
            ));
        };
        let field = F::named(&word).ok_or_else(|| {
            Problem::new(
                name.place,
                format!("unknown field; known are {}", F::NAMES.join(", ")),
            )
        })?;
        let operator = self.take();
        let Kind::Operator(comparison) = operator.kind else {
            return Err(Problem::new(
                operator.place,
                format!("expected =, !=, <, <=, > or >=, found {}", operator.kind),
            ));
        };
        let minus = self.peek().kind == Kind::Minus;
        if minus {
            self.next += 1;
        }
        let value = self.take();
        let text = match value.kind {
            Kind::Word(text) if minus => format!("-{text}"),
            Kind::Word(text) | Kind::Quoted(text) if !minus => text,
            other => {
                return Err(Problem::new(
                    value.place,
                    format!("expected a value such as \"WHOLESALE\", found {other}"),
                ));
            }
        };
        field
            .compare(comparison, &text)
            .map_err(|refused| match refused {
                Refused::Comparison(what) => Problem::new(operator.place, what),
                Refused::Value(what) => Problem::new(value.place, what),
            })
    }
}

fn one_or<S>(
    mut parts: Vec<Filter<S>>,
    join: impl FnOnce(Vec<Filter<S>>) -> Filter<S>,
) -> Filter<S> {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}

#[cfg(test)]
mod tests;
