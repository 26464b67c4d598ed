//! The kinds of message, and the languages they are written in.

use std::{fmt, str::FromStr};

use super::RenderError;

macro_rules! kinds {
    ($($(#[$doc:meta])+ $name:ident = $text:literal / $file:literal,)+) => {
        /// What a message is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum MessageKind {
            $($(#[$doc])+ $name,)+
        }

        impl MessageKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stored and published name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// Name of the page file, without its ending.
            pub(crate) const fn file(self) -> &'static str {
                match self {
                    $(Self::$name => $file,)+
                }
            }

            /// The pages that come with the program.
            pub(crate) const fn embedded(self, locale: Locale) -> &'static str {
                match (self, locale) {
                    $(
                        (Self::$name, Locale::En) => include_str!(
                            concat!("../../templates/en/", $file, ".jinja")),
                        (Self::$name, Locale::ZhCn) => include_str!(
                            concat!("../../templates/zh-CN/", $file, ".jinja")),
                    )+
                }
            }
        }
    };
}

kinds! {
    /// We have your order.
    Acknowledgement = "ACKNOWLEDGEMENT" / "acknowledgement",
    /// Something in the order must be cleared up.
    ProblemFound = "PROBLEM_FOUND" / "problem_found",
    /// Please confirm: the letter, the code, the call.
    ConfirmationRequest = "CONFIRMATION_REQUEST" / "confirmation_request",
    /// Please confirm, again.
    ConfirmationReminder = "CONFIRMATION_REMINDER" / "confirmation_reminder",
    /// Confirmed, with the delivery note's lines.
    OrderConfirmed = "ORDER_CONFIRMED" / "order_confirmed",
    /// The order has a new revision.
    OrderAmended = "ORDER_AMENDED" / "order_amended",
    /// The order is called off.
    OrderCancelled = "ORDER_CANCELLED" / "order_cancelled",
    /// We cannot take the order.
    OrderRejected = "ORDER_REJECTED" / "order_rejected",
    /// We have your objection.
    ObjectionReceived = "OBJECTION_RECEIVED" / "objection_received",
    /// The goods have left.
    Dispatched = "DISPATCHED" / "dispatched",
    /// The driver comes today.
    OutForDelivery = "OUT_FOR_DELIVERY" / "out_for_delivery",
    /// It takes longer.
    Delayed = "DELAYED" / "delayed",
    /// It has arrived.
    Delivered = "DELIVERED" / "delivered",
    /// How was it?
    Survey = "SURVEY" / "survey",
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MessageKind {
    type Err = RenderError;

    fn from_str(text: &str) -> Result<Self, RenderError> {
        Self::ALL
            .iter()
            .find(|kind| kind.as_str() == text)
            .copied()
            .ok_or_else(|| RenderError::UnknownKind {
                kind: text.to_owned(),
            })
    }
}

/// A language that messages are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Locale {
    /// Simplified Chinese.
    ZhCn,
    /// English.
    En,
}

impl Locale {
    /// Every language.
    pub const ALL: &'static [Self] = &[Self::ZhCn, Self::En];

    /// BCP 47 tag, which is also the folder's name.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::ZhCn => "zh-CN",
            Self::En => "en",
        }
    }

    /// The language nearest to a customer's BCP 47 tag; English when there is none.
    pub fn nearest(tag: &str) -> Self {
        let primary = tag.split(['-', '_']).next().unwrap_or_default();
        if primary.eq_ignore_ascii_case("zh") {
            Self::ZhCn
        } else {
            Self::En
        }
    }

    pub(crate) const fn text_layout(self) -> &'static str {
        match self {
            Self::ZhCn => include_str!("../../templates/zh-CN/_letter.txt"),
            Self::En => include_str!("../../templates/en/_letter.txt"),
        }
    }

    pub(crate) const fn mjml_layout(self) -> &'static str {
        match self {
            Self::ZhCn => include_str!("../../templates/zh-CN/_letter.mjml"),
            Self::En => include_str!("../../templates/en/_letter.mjml"),
        }
    }
}
