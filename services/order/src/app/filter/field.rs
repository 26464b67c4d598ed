//! The fields of an order that lists can be filtered by, and what each may be compared with.

use chrono::{DateTime, SubsecRound as _, Utc};
use countersign_domain::order::OrderState;
use countersign_store::{Comparison, Operand, OrderField, OrderFilter};

use super::{FilterField, Refused};

/// A field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    State,
    Text(OrderField),
    Held,
    Time(OrderField),
    Priority,
}

impl FilterField for Field {
    type Stored = OrderField;
    const NAMES: &'static [&'static str] = &[
        "state",
        "order_type",
        "customer",
        "source_channel",
        "handler",
        "held",
        "promised_delivery_time",
        "create_time",
        "priority",
    ];

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "state" => Self::State,
            "order_type" => Self::Text(OrderField::OrderType),
            "customer" => Self::Text(OrderField::Customer),
            "source_channel" => Self::Text(OrderField::SourceChannel),
            "handler" => Self::Text(OrderField::Handler),
            "held" => Self::Held,
            "promised_delivery_time" => Self::Time(OrderField::PromisedDeliveryTime),
            "create_time" => Self::Time(OrderField::CreateTime),
            "priority" => Self::Priority,
            _ => return None,
        })
    }

    fn compare(self, how: Comparison, text: &str) -> Result<OrderFilter, Refused> {
        let is = matches!(how, Comparison::Equal | Comparison::NotEqual);
        if !is && !matches!(self, Self::Time(_) | Self::Priority) {
            return Err(Refused::Comparison(
                "this field can be compared with = and != only".to_owned(),
            ));
        }
        let field = |field, how, operand| OrderFilter::Field(field, how, operand);
        match self {
            Self::State => {
                let word = text.strip_prefix("ORDER_STATE_").unwrap_or(text);
                let state: OrderState = word.parse().map_err(|_| {
                    let known: Vec<&str> =
                        OrderState::ALL.iter().map(|state| state.as_str()).collect();
                    Refused::Value(format!("must be one of {}", known.join(", ")))
                })?;
                let word = Operand::Text(state.as_str().to_owned());
                Ok(field(OrderField::State, how, word))
            }
            Self::Text(OrderField::Customer) => {
                let code = text.strip_prefix("customers/").unwrap_or(text);
                Ok(field(
                    OrderField::Customer,
                    how,
                    Operand::Text(code.to_owned()),
                ))
            }
            Self::Text(one) => Ok(field(one, how, Operand::Text(text.to_owned()))),
            Self::Held => {
                let wanted = match text {
                    "true" => true,
                    "false" => false,
                    _ => return Err(Refused::Value("must be true or false".to_owned())),
                };
                let how = if wanted == (how == Comparison::Equal) {
                    Comparison::Greater
                } else {
                    Comparison::Equal
                };
                Ok(field(OrderField::Holds, how, Operand::Number(0)))
            }
            Self::Time(one) => Ok(field(one, how, Operand::Time(moment(text)?))),
            Self::Priority => {
                let score: i64 = text
                    .parse()
                    .ok()
                    .filter(|score| (-1_000_000..=1_000_000).contains(score))
                    .ok_or_else(|| {
                        Refused::Value("must be a whole number such as 500".to_owned())
                    })?;
                Ok(field(OrderField::Priority, how, Operand::Number(score)))
            }
        }
    }
}

/// A moment of RFC 3339, as exact as the database keeps it.
pub(super) fn moment(text: &str) -> Result<DateTime<Utc>, Refused> {
    DateTime::parse_from_rfc3339(text)
        .map(|moment| moment.with_timezone(&Utc).trunc_subsecs(6))
        .map_err(|_| {
            Refused::Value("must be a time of RFC 3339 such as \"2026-11-23T08:00:00Z\"".to_owned())
        })
}
