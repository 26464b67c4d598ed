//! Amounts of money.

use countersign_domain::money::{Currency, Money};
use countersign_proto::common;

use crate::error::Violations;

/// An amount of the domain, or what is wrong with its currency, units or nanos under `field`.
pub(crate) fn from_proto(
    amount: &common::Money,
    field: &str,
    violations: &mut Violations,
) -> Option<Money> {
    let currency = violations.take(
        format!("{field}.currency_code"),
        Currency::parse(&amount.currency_code),
    )?;
    violations.take(
        field,
        Money::from_units_nanos(amount.units, amount.nanos, currency),
    )
}

/// An amount for the wire.
pub(crate) fn to_proto(amount: Money) -> common::Money {
    let (units, nanos) = amount.to_units_nanos();
    common::Money {
        currency_code: amount.currency.code().to_owned(),
        units,
        nanos,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(currency_code: &str, units: i64, nanos: i32) -> common::Money {
        common::Money {
            currency_code: currency_code.to_owned(),
            units,
            nanos,
        }
    }

    #[test]
    fn amounts_come_back_as_they_went() {
        for amount in [
            wire("EUR", 39, 990_000_000),
            wire("JPY", 4_000, 0),
            wire("KWD", -1, -5_000_000),
            wire("CNY", 0, 0),
        ] {
            let mut violations = Violations::new();
            let money = from_proto(&amount, "total", &mut violations);
            assert!(violations.is_empty(), "{violations:?}");
            assert_eq!(to_proto(money.unwrap()), amount);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (amount, field) in [
            (wire("euro", 1, 0), "total.currency_code"),
            (wire("", 1, 0), "total.currency_code"),
            (wire("JPY", 1, 500_000_000), "total"),
            (wire("EUR", 1, -10_000_000), "total"),
            (wire("EUR", i64::MAX, 0), "total"),
        ] {
            let mut violations = Violations::new();
            assert!(from_proto(&amount, "total", &mut violations).is_none());
            assert_eq!(violations.into_vec()[0].field, field, "{amount:?}");
        }
    }
}
