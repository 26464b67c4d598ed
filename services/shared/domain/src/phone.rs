//! Telephone numbers in E.164.

use std::fmt;

use phonenumber::{Mode, Type};
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::place::CountryCode;

mod plan;

/// The longest input that is looked at, in characters: fifteen digits and their decoration.
const MAX_INPUT_CHARS: usize = 40;
/// The most digits of a number in E.164, country code included (ITU-T E.164 §6).
const MAX_DIGITS: usize = 15;
/// The fewest digits of a number with its country code: some company numbers of Iran have six.
const MIN_DIGITS: usize = 6;

/// Why a text is no telephone number that a customer can be reached by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// Nothing was given.
    #[error("must not be empty; give a telephone number such as +86 138 0013 8000")]
    Empty,
    /// There are letters in it.
    #[error("must have digits only, no letters and no extension, such as +86 138 0013 8000")]
    Letters,
    /// There is a character in it that no number is written with.
    #[error("must be written with digits, spaces, hyphens, dots, brackets and a leading +")]
    Character,
    /// A plus sign that does not stand at the beginning.
    #[error("must have + only at the beginning; give one number")]
    MisplacedPlus,
    /// More digits than any number has.
    #[error("must have at most 15 digits with its country code")]
    TooLong,
    /// Fewer digits than any number has.
    #[error("must be a whole number with its area code, such as +86 138 0013 8000")]
    TooShort,
    /// The country is not known.
    #[error("must begin with + and the country code, such as +86 for China")]
    NoCountryCode,
    /// No such number is given out in its country.
    #[error("must be a number in use in its country; please check the digits and the country code")]
    NotInUse,
    /// Calling it is charged for.
    #[error("must not be a premium-rate number; give an ordinary one")]
    PremiumRate,
    /// It belongs to a satellite network or to no country.
    #[error("must be the number of a country; satellite and international networks are not called")]
    NoCountry,
    /// A stored text is not in E.164.
    #[error("must be in E.164: + and 6 to 15 digits, the first not 0")]
    NotE164,
}

/// A telephone number in E.164, such as `+8613800138000`. Shown in full only on purpose:
/// `Debug` and [`PhoneNumber::masked`] hide all but the country's beginning and the last digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// Reads a number in any common notation; one without a country code is taken as dialled
    /// within `default_region`. Full-width digits and `0086-…` are understood.
    ///
    /// Free-phone, shared-cost and company numbers are taken: a business may have no other.
    pub fn parse(input: &str, default_region: Option<CountryCode>) -> Result<Self, PhoneError> {
        let dialled = dialled(input)?;
        // 00 leads abroad in most countries, and no country's own numbers begin with it.
        if let Some(abroad) = dialled.strip_prefix("00")
            && let Ok(number) = from_abroad(abroad)
        {
            return Ok(number);
        }
        match (dialled.strip_prefix('+'), default_region) {
            (Some(digits), _) => from_abroad(digits),
            (None, Some(region)) => from_within(&dialled, region),
            (None, None) => Err(PhoneError::NoCountryCode),
        }
    }

    /// From a text in E.164 that was parsed before, such as a stored one. Whether the number is
    /// in use is not asked again: numbering plans change, and stored numbers must stay readable.
    pub fn from_e164(text: &str) -> Result<Self, PhoneError> {
        let digits = text.strip_prefix('+').ok_or(PhoneError::NotE164)?;
        let fits = (MIN_DIGITS..=MAX_DIGITS).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(PhoneError::NotE164)
        }
    }

    /// The number in E.164: a plus sign and digits.
    pub fn as_e164(&self) -> &str {
        &self.0
    }

    /// Whether an SMS can be expected to arrive: a mobile number, or one of a country such as the
    /// United States where mobile and fixed numbers look the same.
    pub fn is_mobile_capable(&self) -> bool {
        plan::look_up(self.digits())
            .is_some_and(|found| matches!(found.kind, Type::Mobile | Type::FixedLineOrMobile))
    }

    /// The country that the number belongs to, when its plan tells it.
    pub fn region(&self) -> Option<CountryCode> {
        plan::look_up(self.digits()).and_then(|found| CountryCode::parse(&found.region).ok())
    }

    /// The number with the spaces that its country writes it with, such as `+86 138 0013 8000`;
    /// without spaces where the library would lose a digit.
    pub fn international(&self) -> String {
        phonenumber::parse(None, &self.0)
            .ok()
            .filter(|number| number.format().mode(Mode::E164).to_string() == self.0)
            .map_or_else(
                || self.0.clone(),
                |number| number.format().mode(Mode::International).to_string(),
            )
    }

    /// The last `n` digits, for a caller who proves with them that he knows the number; all
    /// digits when there are fewer.
    pub fn last_digits(&self, n: usize) -> &str {
        let digits = self.0.trim_start_matches('+');
        digits
            .get(digits.len().saturating_sub(n)..)
            .unwrap_or(digits)
    }

    /// The number as it may be shown to others: `+86*******8000`.
    pub fn masked(&self) -> String {
        let (head, tail) = (self.0.get(..3).unwrap_or_default(), self.last_digits(4));
        let hidden = self.0.len().saturating_sub(head.len() + tail.len());
        format!("{head}{}{tail}", "*".repeat(hidden))
    }

    fn digits(&self) -> &str {
        self.0.trim_start_matches('+')
    }
}

/// The digits as they would be dialled, with a leading plus sign if there is one.
fn dialled(input: &str) -> Result<String, PhoneError> {
    if input.chars().count() > MAX_INPUT_CHARS {
        return Err(PhoneError::TooLong);
    }
    let mut dialled = String::with_capacity(input.len());
    for c in input.nfkc() {
        match c {
            '0'..='9' => dialled.push(c),
            '+' if dialled.is_empty() => dialled.push(c),
            '+' => return Err(PhoneError::MisplacedPlus),
            '-'
            | '.'
            | '('
            | ')'
            | '['
            | ']'
            | '/'
            | '~'
            | '\u{2010}'..='\u{2015}'
            | '\u{2212}'
            // Numbers copied from an address book come wrapped in marks of writing direction.
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{2069}'
            | '\u{FEFF}' => {}
            '\r' | '\n' => return Err(PhoneError::Character),
            c if c.is_whitespace() => {}
            c if c.is_alphabetic() => return Err(PhoneError::Letters),
            _ => return Err(PhoneError::Character),
        }
    }
    match dialled.trim_start_matches('+').len() {
        0 if input.trim().is_empty() => Err(PhoneError::Empty),
        0..=2 => Err(PhoneError::TooShort),
        // Before the country code may stand a prefix of up to five digits that leads abroad.
        n if n > MAX_DIGITS + 5 => Err(PhoneError::TooLong),
        _ => Ok(dialled),
    }
}

/// Reads digits that begin with a country code.
fn from_abroad(digits: &str) -> Result<PhoneNumber, PhoneError> {
    if digits.len() > MAX_DIGITS + 2 {
        return Err(PhoneError::TooLong);
    }
    let (code, _) = plan::split(digits).ok_or(PhoneError::NoCountryCode)?;
    if is_no_country(code) {
        return Err(PhoneError::NoCountry);
    }
    // As it stands, or with the trunk prefix that does not belong there: +44 (0)20 …
    accept(digits).or_else(|error| match error {
        PhoneError::NotInUse => accept_parsed(None, &format!("+{digits}")),
        other => Err(other),
    })
}

/// Reads digits as they are dialled within a country.
fn from_within(digits: &str, region: CountryCode) -> Result<PhoneNumber, PhoneError> {
    let Some(plan) = plan::of(region.as_str()) else {
        return Err(PhoneError::NoCountryCode);
    };
    let code = plan.country_code();
    let without_trunk = plan
        .national_prefix()
        .and_then(|prefix| digits.strip_prefix(prefix));
    for national in std::iter::once(digits).chain(without_trunk) {
        match accept(&format!("{code}{national}")) {
            Err(PhoneError::NotInUse) => {}
            decided => return decided,
        }
    }
    let abroad = plan
        .international_prefix()
        .and_then(|prefix| prefix.find(digits))
        .filter(|found| found.start() == 0)
        .and_then(|found| digits.get(found.end()..));
    if let Some(number) = abroad.and_then(|digits| from_abroad(digits).ok()) {
        return Ok(number);
    }
    let id = region
        .as_str()
        .parse()
        .map_err(|_| PhoneError::NoCountryCode)?;
    accept_parsed(Some(id), digits)
}

/// Takes the digits of E.164 when the number is in use and may be called.
fn accept(digits: &str) -> Result<PhoneNumber, PhoneError> {
    let found = plan::look_up(digits).ok_or(PhoneError::NotInUse)?;
    if found.kind == Type::PremiumRate {
        return Err(PhoneError::PremiumRate);
    }
    PhoneNumber::from_e164(&format!("+{digits}")).map_err(|_| PhoneError::NotInUse)
}

/// Has the library read a rarer notation, such as with a carrier's code, and checks the outcome.
fn accept_parsed(
    region: Option<phonenumber::country::Id>,
    dialled: &str,
) -> Result<PhoneNumber, PhoneError> {
    let number = phonenumber::parse(region, dialled).map_err(|error| match error {
        phonenumber::ParseError::TooLong => PhoneError::TooLong,
        _ => PhoneError::NotInUse,
    })?;
    let e164 = number.format().mode(Mode::E164).to_string();
    match accept(e164.trim_start_matches('+')) {
        // Too many digits for any number is said, rather than that it is not in use.
        Err(PhoneError::NotInUse) if e164.len() > MAX_DIGITS + 1 => Err(PhoneError::TooLong),
        decided => decided,
    }
}

/// Codes that the ITU gave to networks instead of countries (list of E.164 country codes):
/// 870 Inmarsat, 878 personal, 881 satellite, 882 and 883 networks, 888 relief, 979 premium.
/// 800 and 808, international free-phone and shared cost, are kept.
const fn is_no_country(code: u16) -> bool {
    matches!(code, 870 | 878 | 881 | 882 | 883 | 888 | 979)
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhoneNumber({})", self.masked())
    }
}

impl TryFrom<String> for PhoneNumber {
    type Error = PhoneError;

    fn try_from(text: String) -> Result<Self, PhoneError> {
        Self::from_e164(&text)
    }
}

impl From<PhoneNumber> for String {
    fn from(number: PhoneNumber) -> Self {
        number.0
    }
}

#[cfg(test)]
#[path = "phone_tests.rs"]
mod tests;
