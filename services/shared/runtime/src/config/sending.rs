//! How many texts and calls may go out, to whom, and what they may cost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::validate::Problems;

/// The most that a limit of one number can be.
const NUMBER_MAX: u32 = 50;

/// The guard against those who have numbers pumped. All workers count together. A limit of 0 is none.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sending {
    /// Texts, and calls, to one number within ten minutes; more wait.
    pub number_per_10_minutes: u32,
    /// Texts, and calls, to one number within a day; more go by the next channel or before staff, as does everything below.
    pub number_per_day: u32,
    /// Texts, and calls, within ten minutes to numbers that begin alike.
    pub prefix_per_10_minutes: u32,
    /// Last digits of a number that do not belong to its beginning.
    pub prefix_digits_left_out: usize,
    /// What all texts and calls of a day may cost, in minor units of the one currency that all prices here are in.
    pub spend_per_day_minor: u64,
    /// Texts.
    pub sms: SendingChannel,
    /// Calls.
    pub phone: SendingChannel,
}

/// Where the messages of a channel may go, and what one costs.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendingChannel {
    /// Countries in two letters of ISO 3166; all when there are none.
    pub countries: Vec<String>,
    /// What a message costs to any other country than those below, minor units.
    pub other_price_minor: u64,
    /// What a message costs by country, minor units.
    pub prices_minor: BTreeMap<String, u64>,
}

impl Default for Sending {
    fn default() -> Self {
        Self {
            number_per_10_minutes: 3,
            number_per_day: 10,
            prefix_per_10_minutes: 100,
            prefix_digits_left_out: 4,
            spend_per_day_minor: 0,
            sms: SendingChannel::default(),
            phone: SendingChannel::default(),
        }
    }
}

impl Sending {
    pub(super) fn check(&self, problems: &mut Problems) {
        for (key, value) in [
            ("number_per_10_minutes", self.number_per_10_minutes),
            ("number_per_day", self.number_per_day),
        ] {
            problems.unless(
                value <= NUMBER_MAX,
                &format!("sending.{key}"),
                &format!("must be from 0 to {NUMBER_MAX}; 0 is no limit"),
            );
        }
        problems.unless(
            self.prefix_digits_left_out <= 10,
            "sending.prefix_digits_left_out",
            "must be from 0 to 10",
        );
        for (name, channel) in [("sms", &self.sms), ("phone", &self.phone)] {
            let listed = channel.countries.iter().map(|it| ("countries", it));
            let priced = channel.prices_minor.keys().map(|it| ("prices_minor", it));
            for (key, country) in listed.chain(priced) {
                problems.unless(
                    country.len() == 2 && country.bytes().all(|it| it.is_ascii_uppercase()),
                    &format!("sending.{name}.{key}"),
                    "must name countries in two capital letters, such as CN",
                );
            }
        }
    }
}
