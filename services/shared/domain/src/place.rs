//! Where goods go: countries and postal addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::locale::{Locale, TimeZone};

mod countries;
mod postal_codes;

/// Why a text is no country code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be an ISO 3166-1 country code of two capital letters, such as CN or DE")]
pub struct CountryError;

/// A country by its two letters of ISO 3166-1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CountryCode {
    // The code in the table, so that it lives for ever.
    code: &'static str,
}

impl CountryCode {
    /// Takes two capital letters that stand for a country.
    pub fn parse(code: &str) -> Result<Self, CountryError> {
        row(code)
            .map(|(code, ..)| Self { code })
            .ok_or(CountryError)
    }

    /// The two letters.
    pub const fn as_str(&self) -> &'static str {
        self.code
    }

    /// The English short name.
    pub fn english_name(&self) -> &'static str {
        row(self.code).map_or("", |(_, name, ..)| name)
    }

    /// The time zone of most of its people, for when nothing nearer is known.
    pub fn default_time_zone(&self) -> TimeZone {
        row(self.code)
            .and_then(|(_, _, zone, _)| TimeZone::parse(zone).ok())
            .unwrap_or(TimeZone::UTC)
    }

    /// The language that most orders from there are written in; English where the table has
    /// none.
    pub fn default_locale(&self) -> Locale {
        row(self.code)
            .and_then(|(.., language)| Locale::parse(language).ok())
            .unwrap_or_else(Locale::english)
    }

    /// Whether mail there goes astray without a postal code.
    pub fn needs_postal_code(&self) -> bool {
        postal_codes::of(self.code).is_some_and(|codes| codes.required)
    }

    /// Whether a postal code looks like one of this country. Any does where we do not know how
    /// they look.
    pub fn is_postal_code(&self, code: &str) -> bool {
        postal_codes::of(self.code).is_none_or(|codes| codes.fits(code))
    }
}

fn row(code: &str) -> Option<countries::Row> {
    countries::COUNTRIES
        .binary_search_by(|(known, ..)| (*known).cmp(code))
        .ok()
        .and_then(|index| countries::COUNTRIES.get(index))
        .copied()
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl FromStr for CountryCode {
    type Err = CountryError;

    fn from_str(code: &str) -> Result<Self, CountryError> {
        Self::parse(code)
    }
}

impl TryFrom<String> for CountryCode {
    type Error = CountryError;

    fn try_from(code: String) -> Result<Self, CountryError> {
        Self::parse(&code)
    }
}

impl From<CountryCode> for String {
    fn from(country: CountryCode) -> Self {
        country.code.to_owned()
    }
}

/// A postal address with the fields of `google.type.PostalAddress`. The fields are kept as they
/// were given: an address that cannot be delivered to is stored too, and a person mends it.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostalAddress {
    /// ISO 3166-1 code of the country.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region_code: String,
    /// BCP-47 tag of the language that the address is written in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub language_code: String,
    /// The postal code as written on the letter.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub postal_code: String,
    /// CEDEX or the like, where the country has one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sorting_code: String,
    /// Province, state, prefecture.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub administrative_area: String,
    /// City or town.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub locality: String,
    /// District or neighbourhood.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sublocality: String,
    /// Street, house and the like, in the order in which they are written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub address_lines: Vec<String>,
    /// Who is at the address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// The company at the address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub organization: String,
}

/// What keeps goods from being delivered to an address, saying what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressProblem {
    /// The country is missing or unknown.
    #[error("must be an ISO 3166-1 country code of two capital letters, such as CN or DE")]
    Country,
    /// The town is missing.
    #[error("must be the city or town")]
    Locality,
    /// There is no street or house.
    #[error("must have at least one line, such as street and house number")]
    AddressLines,
    /// The postal code is missing.
    #[error("must be the postal code, such as {example} in {country}")]
    PostalCodeMissing {
        /// The country of the address.
        country: CountryCode,
        /// A postal code there.
        example: &'static str,
    },
    /// The postal code is not one of the country.
    #[error("must look like a postal code of {country}, such as {example}")]
    PostalCodeForm {
        /// The country of the address.
        country: CountryCode,
        /// A postal code there.
        example: &'static str,
    },
}

impl AddressProblem {
    /// The field of the address that it is about.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Country => "region_code",
            Self::Locality => "locality",
            Self::AddressLines => "address_lines",
            Self::PostalCodeMissing { .. } | Self::PostalCodeForm { .. } => "postal_code",
        }
    }
}

/// Where the country or the administrative area is the town: city states and, in Japan, the
/// prefecture followed by a line that begins with the town.
const TOWN_NOT_ASKED: &[&str] = &["GI", "HK", "JP", "MC", "MO", "SG", "VA"];

/// The four cities of China that are provinces themselves; their districts are sublocalities.
const CHINESE_MUNICIPALITIES: &[&str] = &[
    "北京",
    "上海",
    "天津",
    "重庆",
    "重慶",
    "beijing",
    "shanghai",
    "tianjin",
    "chongqing",
];

impl PostalAddress {
    /// The country, when its code is a known one.
    pub fn country(&self) -> Option<CountryCode> {
        CountryCode::parse(&self.region_code).ok()
    }

    /// Everything that keeps goods from being delivered; nothing when they can be.
    pub fn delivery_problems(&self) -> Vec<AddressProblem> {
        let mut problems = Vec::new();
        let country = self.country();
        if country.is_none() {
            problems.push(AddressProblem::Country);
        }
        if is_blank(&self.locality) && !self.town_is_known_otherwise() {
            problems.push(AddressProblem::Locality);
        }
        if self.address_lines.iter().all(|line| is_blank(line)) {
            problems.push(AddressProblem::AddressLines);
        }
        problems.extend(country.and_then(|country| self.postal_code_problem(country)));
        problems
    }

    /// Whether nothing keeps goods from being delivered.
    pub fn is_deliverable(&self) -> bool {
        self.delivery_problems().is_empty()
    }

    /// Whether every field is empty.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn town_is_known_otherwise(&self) -> bool {
        let area = self.administrative_area.trim().to_lowercase();
        TOWN_NOT_ASKED.contains(&self.region_code.as_str())
            || (self.region_code == "CN"
                && !is_blank(&self.sublocality)
                && CHINESE_MUNICIPALITIES
                    .iter()
                    .any(|city| area.starts_with(city)))
    }

    fn postal_code_problem(&self, country: CountryCode) -> Option<AddressProblem> {
        let codes = postal_codes::of(country.as_str())?;
        let example = codes.example();
        if is_blank(&self.postal_code) {
            codes
                .required
                .then_some(AddressProblem::PostalCodeMissing { country, example })
        } else if codes.fits(&self.postal_code) {
            None
        } else {
            Some(AddressProblem::PostalCodeForm { country, example })
        }
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

impl fmt::Debug for PostalAddress {
    /// Only what does not lead to a door: the country, and that there is more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.country() {
            Some(country) => write!(f, "PostalAddress({country}, ***)"),
            None => f.write_str("PostalAddress(***)"),
        }
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
