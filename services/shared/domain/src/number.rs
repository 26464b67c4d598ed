//! The formal order number: `YYMM`, a sequence of seven digits and a check digit, written
//! `2611-0000123-4`. It is read out on the telephone, so a slip must be noticed.
//!
//! The check digit is ISO 7064 MOD 11,10. It finds every single wrong digit. Of the swaps of two
//! different neighbours it finds 88 in 90, with the check digit itself too; those it misses are
//! of digits that differ by one, or of 0 and 9 (the tests count them).

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// How many digits an order number has, the check digit among them.
pub const DIGITS: usize = 12;
/// The highest sequence number of a month.
pub const MAX_SEQUENCE: u32 = 9_999_999;

/// Why a text or a sequence makes no order number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderNumberError {
    /// There are not twelve digits, or something else is among them.
    #[error(
        "must be an order number of 12 digits such as 2611-0000123-{}",
        example_check_digit()
    )]
    NotTwelveDigits,
    /// Digits three and four are no month.
    #[error("must have a month from 01 to 12 as its third and fourth digit")]
    NoSuchMonth,
    /// The last digit does not fit the others.
    #[error("must end in the right check digit; please look for a wrong or swapped digit")]
    WrongCheckDigit,
    /// The month's numbers are used up.
    #[error("must be a sequence number from 0 to 9,999,999")]
    SequenceOutOfRange,
    /// The year has no two digits that tell it.
    #[error("must be of a year from 2000 to 2099")]
    YearOutOfRange,
}

/// The check digit of the example in the message, so that the example is a true one.
fn example_check_digit() -> u64 {
    check_digit(26_110_000_123)
}

/// A formal order number with a right check digit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OrderNumber(u64);

/// The check digit of eleven digits by ISO 7064 MOD 11,10 (ISO/IEC 7064:2003 §8).
fn check_digit(body: u64) -> u64 {
    let mut product = 10;
    for place in (0..11).rev() {
        let digit = body / 10_u64.pow(place) % 10;
        let sum = match (product + digit) % 10 {
            0 => 10,
            sum => sum,
        };
        product = sum * 2 % 11;
    }
    (11 - product) % 10
}

impl OrderNumber {
    /// The number of the month in which `now` lies, with the month's next sequence number.
    pub fn new(now: DateTime<Utc>, sequence: u32) -> Result<Self, OrderNumberError> {
        if sequence > MAX_SEQUENCE {
            return Err(OrderNumberError::SequenceOutOfRange);
        }
        let year = match now.year() {
            year @ 2000..=2099 => u64::from(year.unsigned_abs() - 2000),
            _ => return Err(OrderNumberError::YearOutOfRange),
        };
        let body = (year * 100 + u64::from(now.month())) * 10_000_000 + u64::from(sequence);
        Ok(Self(body * 10 + check_digit(body)))
    }

    /// Reads a number as people write it: white space and hyphens anywhere, full-width digits.
    pub fn parse(text: &str) -> Result<Self, OrderNumberError> {
        // Twelve digits, generously spaced, in the longest encoding; longer text is no number.
        if text.len() > 128 {
            return Err(OrderNumberError::NotTwelveDigits);
        }
        let mut digits = 0;
        let mut number = 0_u64;
        for c in text.nfkc().filter(|c| !c.is_whitespace() && !is_hyphen(*c)) {
            let digit = c.to_digit(10).ok_or(OrderNumberError::NotTwelveDigits)?;
            digits += 1;
            if digits > DIGITS {
                return Err(OrderNumberError::NotTwelveDigits);
            }
            number = number * 10 + u64::from(digit);
        }
        if digits != DIGITS {
            return Err(OrderNumberError::NotTwelveDigits);
        }
        let found = Self(number);
        if !(1..=12).contains(&found.month()) {
            return Err(OrderNumberError::NoSuchMonth);
        }
        if check_digit(number / 10) != number % 10 {
            return Err(OrderNumberError::WrongCheckDigit);
        }
        Ok(found)
    }

    /// The twelve digits without hyphens, as they are stored.
    pub fn digits(&self) -> String {
        format!("{:012}", self.0)
    }

    /// The year in which the number was given.
    pub const fn year(&self) -> u32 {
        2000 + (self.0 / 10_000_000_000) as u32
    }

    /// The month in which the number was given, 1 to 12.
    pub const fn month(&self) -> u32 {
        (self.0 / 100_000_000 % 100) as u32
    }

    /// The sequence number within the month.
    pub const fn sequence(&self) -> u32 {
        (self.0 / 10 % 10_000_000) as u32
    }
}

/// The hyphens and dashes that keyboards and word processors put between digits.
fn is_hyphen(c: char) -> bool {
    matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

impl fmt::Display for OrderNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04}-{:07}-{}",
            self.0 / 100_000_000,
            self.sequence(),
            self.0 % 10
        )
    }
}

impl fmt::Debug for OrderNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderNumber({self})")
    }
}

impl FromStr for OrderNumber {
    type Err = OrderNumberError;

    fn from_str(text: &str) -> Result<Self, OrderNumberError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for OrderNumber {
    type Error = OrderNumberError;

    fn try_from(text: String) -> Result<Self, OrderNumberError> {
        Self::parse(&text)
    }
}

impl From<OrderNumber> for String {
    fn from(number: OrderNumber) -> Self {
        number.to_string()
    }
}

#[cfg(test)]
#[path = "number_tests.rs"]
mod tests;
