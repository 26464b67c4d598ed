//! In which language, and by which clock, a customer is written to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest language tag that is taken, in characters (RFC 5646 §4.4.1 asks for 35).
const MAX_TAG_CHARS: usize = 35;

/// Why a text is no language tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a BCP-47 language tag such as zh-CN, en or pt-BR")]
pub struct LocaleError;

/// Why a text is no time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a time zone of the IANA list such as Asia/Shanghai or Europe/Berlin")]
pub struct TimeZoneError;

/// A language tag of BCP-47 in its usual spelling: `zh-CN`, `en`, `pt-BR`, `zh-Hant-TW`.
/// Extensions and private-use parts are refused: no message is written by them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Locale(String);

impl Locale {
    /// Reads a tag in any case, with hyphens or underscores, and spells it as RFC 5646 §2.1.1
    /// advises: language small, script capitalised, region in capitals.
    pub fn parse(tag: &str) -> Result<Self, LocaleError> {
        if tag.len() > MAX_TAG_CHARS {
            return Err(LocaleError);
        }
        let mut parts = tag.split(['-', '_']).peekable();
        let letters = |part: &str| part.bytes().all(|b| b.is_ascii_alphabetic());
        let language = parts.next().ok_or(LocaleError)?;
        // Four letters are reserved and none of five to eight is registered (RFC 5646 §2.2.1).
        if !(2..=3).contains(&language.len()) || !letters(language) {
            return Err(LocaleError);
        }
        let mut spelled = language.to_ascii_lowercase();
        if let Some(script) = parts.next_if(|part| part.len() == 4 && letters(part)) {
            let (first, rest) = script.split_at(1);
            spelled.push('-');
            spelled.push_str(&first.to_ascii_uppercase());
            spelled.push_str(&rest.to_ascii_lowercase());
        }
        if let Some(region) = parts.next_if(|part| is_region(part)) {
            spelled.push('-');
            spelled.push_str(&region.to_ascii_uppercase());
        }
        for variant in parts {
            if !is_variant(variant) {
                return Err(LocaleError);
            }
            spelled.push('-');
            spelled.push_str(&variant.to_ascii_lowercase());
        }
        Ok(Self(spelled))
    }

    /// English, which is written when nothing better is known.
    pub fn english() -> Self {
        Self("en".to_owned())
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The language alone, such as `zh`.
    pub fn language(&self) -> &str {
        self.0.split('-').next().unwrap_or_default()
    }

    /// The region, such as `CN`, when the tag names one.
    pub fn region(&self) -> Option<&str> {
        self.0.split('-').skip(1).find(|part| is_region(part))
    }

    /// The locale of the message templates that comes nearest: all kinds of Chinese are written
    /// to in `zh-CN`, everybody else in `en`.
    pub fn template_locale(&self) -> &'static str {
        if self.language() == "zh" {
            "zh-CN"
        } else {
            "en"
        }
    }
}

/// Two letters or three digits.
fn is_region(part: &str) -> bool {
    (part.len() == 2 && part.bytes().all(|b| b.is_ascii_alphabetic()))
        || (part.len() == 3 && part.bytes().all(|b| b.is_ascii_digit()))
}

/// Five to eight letters or digits, or four that begin with a digit.
fn is_variant(part: &str) -> bool {
    part.bytes().all(|b| b.is_ascii_alphanumeric())
        && ((5..=8).contains(&part.len())
            || (part.len() == 4 && part.starts_with(|c: char| c.is_ascii_digit())))
}

impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locale({})", self.0)
    }
}

impl FromStr for Locale {
    type Err = LocaleError;

    fn from_str(tag: &str) -> Result<Self, LocaleError> {
        Self::parse(tag)
    }
}

impl TryFrom<String> for Locale {
    type Error = LocaleError;

    fn try_from(tag: String) -> Result<Self, LocaleError> {
        Self::parse(&tag)
    }
}

impl From<Locale> for String {
    fn from(locale: Locale) -> Self {
        locale.0
    }
}

/// A time zone of the IANA list, with the changes of its clock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeZone(chrono_tz::Tz);

impl TimeZone {
    /// Coordinated universal time, for when nothing better is known.
    pub const UTC: Self = Self(chrono_tz::UTC);

    /// Takes a name of the IANA list, letter for letter.
    pub fn parse(name: &str) -> Result<Self, TimeZoneError> {
        name.parse().map(Self).map_err(|_| TimeZoneError)
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// The zone, to reckon with.
    pub const fn tz(&self) -> chrono_tz::Tz {
        self.0
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimeZone({})", self.name())
    }
}

impl FromStr for TimeZone {
    type Err = TimeZoneError;

    fn from_str(name: &str) -> Result<Self, TimeZoneError> {
        Self::parse(name)
    }
}

impl TryFrom<String> for TimeZone {
    type Error = TimeZoneError;

    fn try_from(name: String) -> Result<Self, TimeZoneError> {
        Self::parse(&name)
    }
}

impl From<TimeZone> for String {
    fn from(zone: TimeZone) -> Self {
        zone.name().to_owned()
    }
}

#[cfg(test)]
#[path = "locale_tests.rs"]
mod tests;
