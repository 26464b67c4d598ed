//! The fields of feedback that lists can be filtered by, and what each may be compared with.

use std::{fmt::Display, str::FromStr};

use countersign_domain::{
    feedback::{FeedbackSource, FeedbackTag, FollowUp},
    ids::OrderId,
};
use countersign_store::{Comparison, FeedbackField as Stored, Filter, Operand};

use super::{FilterField, Refused, field::moment};

/// A field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field(Stored);

impl FilterField for Field {
    type Stored = Stored;
    const NAMES: &'static [&'static str] = &[
        "stars",
        "tag",
        "product",
        "warehouse",
        "create_time",
        "follow_up",
        "order_type",
        "source_channel",
        "source",
        "customer",
        "order",
    ];

    fn named(name: &str) -> Option<Self> {
        Some(Self(match name {
            "stars" => Stored::Stars,
            "tag" => Stored::Tag,
            "product" => Stored::Product,
            "warehouse" => Stored::Warehouse,
            "create_time" => Stored::CreateTime,
            "follow_up" => Stored::FollowUp,
            "order_type" => Stored::OrderType,
            "source_channel" => Stored::SourceChannel,
            "source" => Stored::Source,
            "customer" => Stored::Customer,
            "order" => Stored::Order,
            _ => return None,
        }))
    }

    fn compare(self, how: Comparison, text: &str) -> Result<Filter<Stored>, Refused> {
        let is = matches!(how, Comparison::Equal | Comparison::NotEqual);
        if !is && !matches!(self.0, Stored::Stars | Stored::CreateTime) {
            return Err(Refused::Comparison(
                "this field can be compared with = and != only".to_owned(),
            ));
        }
        let bare = |collection: &str| text.strip_prefix(collection).unwrap_or(text).to_owned();
        let operand = match self.0 {
            Stored::Stars => Operand::Number(
                text.parse()
                    .ok()
                    .filter(|stars| (1..=5).contains(stars))
                    .ok_or_else(|| Refused::Value("must be 1 to 5".to_owned()))?,
            ),
            Stored::CreateTime => Operand::Time(moment(text)?),
            Stored::Tag => word::<FeedbackTag>(&bare("FEEDBACK_TAG_"), FeedbackTag::ALL)?,
            Stored::FollowUp => word::<FollowUp>(&bare("FOLLOW_UP_"), FollowUp::ALL)?,
            Stored::Source => {
                word::<FeedbackSource>(&bare("FEEDBACK_SOURCE_"), FeedbackSource::ALL)?
            }
            Stored::Order => {
                let id = OrderId::from_resource_name(text)
                    .map_err(|error| Refused::Value(error.to_string()))?;
                Operand::Text(id.as_uuid().to_string())
            }
            Stored::Product => Operand::Text(bare("products/")),
            Stored::Customer => Operand::Text(bare("customers/")),
            Stored::Warehouse | Stored::OrderType | Stored::SourceChannel => {
                Operand::Text(text.to_owned())
            }
        };
        Ok(Filter::Field(self.0, how, operand))
    }
}

/// A word of a closed vocabulary.
fn word<T: FromStr + Display>(text: &str, all: &[T]) -> Result<Operand, Refused> {
    text.parse::<T>()
        .map(|word| Operand::Text(word.to_string()))
        .map_err(|_| {
            let known: Vec<String> = all.iter().map(ToString::to_string).collect();
            Refused::Value(format!("must be one of {}", known.join(", ")))
        })
}
