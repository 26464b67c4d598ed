//! What is known of a customer (T8).

use serde::{Deserialize, Serialize};

use crate::{
    email::EmailAddress,
    locale::{Locale, TimeZone},
    money::Money,
    order::{Channel, ShortagePolicy},
    phone::PhoneNumber,
    place::PostalAddress,
};

/// A customer's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    /// The seller's customer number.
    pub code: String,
    /// Grows by one with each change.
    pub version: i64,
    /// What may be owed at one time; none when absent (T3).
    pub credit_limit: Option<Money>,
    /// What is owed by open orders on account, minor units of the limit's currency.
    pub credit_exposure_minor: i64,
    /// No order of theirs is accepted without review.
    pub blocked: bool,
    /// The rest.
    pub profile: CustomerProfile,
}

/// What is only read.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomerProfile {
    /// For people.
    pub display_name: String,
    /// A, B, C or D; A is served first.
    pub tier: Option<String>,
    /// For letters.
    pub email: Option<EmailAddress>,
    /// For texts and calls.
    pub phone: Option<PhoneNumber>,
    /// Asked first on this channel.
    pub preferred_channel: Option<Channel>,
    /// Language of messages.
    pub locale: Option<Locale>,
    /// Zone in which times are told.
    pub time_zone: Option<TimeZone>,
    /// Standing wish when the stock does not suffice (T12).
    pub shortage_policy: Option<ShortagePolicy>,
    /// Area code that planning groups by.
    pub delivery_area: String,
    /// "tail lift, after 10:00" …
    pub unloading_conditions: String,
    /// Words for every driver.
    pub delivery_notes: String,
    /// Usual address.
    pub address: Option<PostalAddress>,
    /// Why blocked.
    pub block_reason: String,
}

crate::hidden::hidden!(CustomerProfile);
