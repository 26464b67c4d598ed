//! The values of facts, and how they are told to people.

use std::{borrow::Cow, collections::BTreeMap};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::money::Money;

/// One fact.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fact<'a> {
    /// Not given, not known or not applicable.
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    Time(DateTime<Utc>),
    Words(Vec<Cow<'a, str>>),
    Map(&'a BTreeMap<String, String>),
}

impl Fact<'_> {
    /// For people. Lists are joined; maps, which may hold anything, are not shown.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Double(value) => {
                let text = format!("{value:.4}");
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            Self::Text(text) => text.as_ref().to_owned(),
            Self::Time(time) => time.to_rfc3339_opts(SecondsFormat::Secs, true),
            Self::Words(words) => words.join(", "),
            Self::Map(map) => format!("{} entries", map.len()),
        }
    }
}

macro_rules! fact_from {
    ($($from:ty => |$value:ident| $fact:expr),+ $(,)?) => {
        $(impl<'a> From<$from> for Fact<'a> {
            fn from($value: $from) -> Self {
                $fact
            }
        })+
    };
}

fact_from! {
    bool => |value| Self::Bool(value),
    i64 => |value| Self::Int(value),
    u32 => |value| Self::Int(i64::from(value)),
    usize => |value| Self::Int(i64::try_from(value).unwrap_or(i64::MAX)),
    f64 => |value| Self::Double(value),
    &'a str => |value| Self::Text(Cow::Borrowed(value)),
    String => |value| Self::Text(Cow::Owned(value)),
    Money => |value| Self::Text(Cow::Owned(value.to_string())),
    DateTime<Utc> => |value| Self::Time(value),
    Vec<Cow<'a, str>> => |value| Self::Words(value),
    &'a BTreeMap<String, String> => |value| Self::Map(value),
}

impl<'a, T: Into<Fact<'a>>> From<Option<T>> for Fact<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
