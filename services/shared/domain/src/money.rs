//! Amounts of money: whole minor units and their currency, never a float.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many nanos one unit of a currency has in `google.type.Money`.
const NANOS_PER_UNIT: i64 = 1_000_000_000;

/// Why an amount or a currency was refused, saying what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The currency code is none of ISO 4217.
    #[error("must be an ISO 4217 currency code of three capital letters, such as CNY or EUR")]
    UnknownCurrency,
    /// The code exists, but has no minor unit: gold, a fund, a test code.
    #[error("must be a currency that is paid with; {code} has no minor unit")]
    NotPaidWith {
        /// The code given.
        code: &'static str,
    },
    /// The amount is not a decimal number.
    #[error("must be a decimal number such as 39.99, with a point and no separators of thousands")]
    NotADecimal,
    /// The amount has more decimals than the currency.
    #[error(
        "must have {} in {currency}",
        count(currency.exponent(), "decimal")
    )]
    TooManyDecimals {
        /// The currency of the amount.
        currency: Currency,
    },
    /// Nanos are a whole unit or more.
    #[error("nanos must be between -999,999,999 and 999,999,999")]
    NanosOutOfRange,
    /// Units and nanos disagree about the sign.
    #[error("units and nanos must have the same sign, or one of them must be 0")]
    SignsDisagree,
    /// Two amounts of different currencies meet.
    #[error("must be in {expected}, was in {found}")]
    CurrencyMismatch {
        /// The currency of the amount that is added to.
        expected: Currency,
        /// The currency of the other.
        found: Currency,
    },
    /// The result does not fit.
    #[error("must be an amount of at most 9,223,372,036,854,775,807 minor units")]
    OutOfRange,
    /// A ratio with nothing below the line.
    #[error("must be divided by a number other than 0")]
    DividedByZero,
}

/// `at most 1 decimal`, `at most 2 decimals`, `no decimals`.
fn count(n: u32, noun: &str) -> String {
    match n {
        0 => format!("no {noun}s"),
        1 => format!("at most 1 {noun}"),
        n => format!("at most {n} {noun}s"),
    }
}

/// A currency of ISO 4217 that has minor units.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency {
    code: iso_currency::Currency,
    exponent: u32,
}

impl Currency {
    /// Takes the three capital letters of ISO 4217.
    pub fn parse(code: &str) -> Result<Self, MoneyError> {
        let code = iso_currency::Currency::from_code(code).ok_or(MoneyError::UnknownCurrency)?;
        // The "special" codes are metals, bond units, the test code and "no currency".
        match code.exponent() {
            Some(exponent) if !code.is_special() => Ok(Self {
                code,
                exponent: u32::from(exponent),
            }),
            _ => Err(MoneyError::NotPaidWith { code: code.code() }),
        }
    }

    /// The three letters.
    pub fn code(&self) -> &'static str {
        self.code.code()
    }

    /// How many decimals an amount has: 2 for EUR, 0 for JPY, 3 for KWD.
    pub const fn exponent(&self) -> u32 {
        self.exponent
    }

    /// How many minor units make one unit.
    const fn minor_per_unit(self) -> i64 {
        10_i64.pow(self.exponent)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, MoneyError> {
        Self::parse(code)
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(code: String) -> Result<Self, MoneyError> {
        Self::parse(&code)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

/// An amount of money. Any number of minor units is an amount; whether it may be negative is
/// for the caller to say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// The amount in minor units: cents for EUR, yen for JPY.
    pub minor: i64,
    /// The currency of the amount.
    pub currency: Currency,
}

impl Money {
    /// An amount of so many minor units.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing, in a currency.
    pub const fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// Whether the amount is nothing.
    pub const fn is_zero(&self) -> bool {
        self.minor == 0
    }

    /// Whether the amount is less than nothing.
    pub const fn is_negative(&self) -> bool {
        self.minor < 0
    }

    /// From the two fields of `google.type.Money`: their signs agree, and the nanos fit the
    /// currency's decimals (google/type/money.proto).
    pub fn from_units_nanos(
        units: i64,
        nanos: i32,
        currency: Currency,
    ) -> Result<Self, MoneyError> {
        let nanos = i64::from(nanos);
        if nanos.abs() >= NANOS_PER_UNIT {
            return Err(MoneyError::NanosOutOfRange);
        }
        if (units > 0 && nanos < 0) || (units < 0 && nanos > 0) {
            return Err(MoneyError::SignsDisagree);
        }
        let nanos_per_minor = NANOS_PER_UNIT / currency.minor_per_unit();
        if nanos % nanos_per_minor != 0 {
            return Err(MoneyError::TooManyDecimals { currency });
        }
        let minor = i128::from(units) * i128::from(currency.minor_per_unit())
            + i128::from(nanos / nanos_per_minor);
        Self::from_wide(minor, currency)
    }

    /// The two fields of `google.type.Money`.
    pub fn to_units_nanos(&self) -> (i64, i32) {
        let per_unit = self.currency.minor_per_unit();
        let nanos = (self.minor % per_unit) * (NANOS_PER_UNIT / per_unit);
        // The remainder is less than a unit, so its nanos always fit.
        (
            self.minor / per_unit,
            i32::try_from(nanos).unwrap_or_default(),
        )
    }

    /// Reads a decimal such as `39.99` or `-5`. Zeros after the currency's last decimal are
    /// overlooked, other digits there are refused.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, decimals) = match digits.split_once('.') {
            Some((whole, decimals)) if !decimals.is_empty() => (whole, decimals),
            Some(_) => return Err(MoneyError::NotADecimal),
            None => (digits, ""),
        };
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(decimals) {
            return Err(MoneyError::NotADecimal);
        }
        let exponent = currency.exponent() as usize;
        let kept = decimals.trim_end_matches('0');
        if kept.len() > exponent {
            return Err(MoneyError::TooManyDecimals { currency });
        }
        let minor = whole
            .bytes()
            .chain(kept.bytes())
            .chain(std::iter::repeat_n(b'0', exponent - kept.len()))
            .try_fold(0_i128, |sum, digit| {
                sum.checked_mul(10)?.checked_add(i128::from(digit - b'0'))
            })
            .ok_or(MoneyError::OutOfRange)?;
        Self::from_wide(if negative { -minor } else { minor }, currency)
    }

    /// The plain decimal, such as `1234.50`; [`Money::parse`] reads it back.
    pub fn decimal(&self) -> String {
        let (sign, whole, decimals) = self.parts();
        format!("{sign}{whole}{decimals}")
    }

    /// Sign, whole units and the decimals with their point.
    fn parts(&self) -> (&'static str, String, String) {
        let per_unit = self.currency.minor_per_unit().unsigned_abs();
        let amount = self.minor.unsigned_abs();
        let decimals = match self.currency.exponent() {
            0 => String::new(),
            n => format!(".{:0width$}", amount % per_unit, width = n as usize),
        };
        (
            if self.minor < 0 { "-" } else { "" },
            (amount / per_unit).to_string(),
            decimals,
        )
    }

    /// The sum; both must be of one currency.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        Self::from_wide(
            i128::from(self.minor) + i128::from(other.minor),
            self.currency,
        )
    }

    /// The difference; both must be of one currency.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        Self::from_wide(
            i128::from(self.minor) - i128::from(other.minor),
            self.currency,
        )
    }

    /// So many times the amount.
    pub fn checked_mul(self, times: i64) -> Result<Self, MoneyError> {
        Self::from_wide(i128::from(self.minor) * i128::from(times), self.currency)
    }

    /// The amount times a ratio, such as 19/100 for a percentage, rounded to the nearest minor
    /// unit and halves away from zero, as on an invoice.
    pub fn checked_mul_ratio(self, above: i64, below: i64) -> Result<Self, MoneyError> {
        if below == 0 {
            return Err(MoneyError::DividedByZero);
        }
        let below = i128::from(below);
        let product = i128::from(self.minor) * i128::from(above);
        let half = below.abs() / 2;
        let nudge = if product < 0 { -half } else { half };
        // For an odd divisor "half" is rounded down, and no product lies exactly between.
        Self::from_wide((product + nudge) / below, self.currency)
    }

    /// The sum of amounts that are all of one currency.
    pub fn sum(
        amounts: impl IntoIterator<Item = Self>,
        currency: Currency,
    ) -> Result<Self, MoneyError> {
        amounts
            .into_iter()
            .try_fold(Self::zero(currency), Self::checked_add)
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch {
                expected: self.currency,
                found: other.currency,
            })
        }
    }

    fn from_wide(minor: i128, currency: Currency) -> Result<Self, MoneyError> {
        i64::try_from(minor)
            .map(|minor| Self { minor, currency })
            .map_err(|_| MoneyError::OutOfRange)
    }
}

impl fmt::Display for Money {
    /// Such as `1,234.50 EUR`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, whole, decimals) = self.parts();
        f.write_str(sign)?;
        for (position, digit) in whole.chars().enumerate() {
            if position > 0 && (whole.len() - position) % 3 == 0 {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        write!(f, "{decimals} {}", self.currency)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Money({self})")
    }
}

#[cfg(test)]
#[path = "money_tests.rs"]
mod tests;
