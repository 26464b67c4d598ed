//! How many texts and calls may go out, to whom, and what they may cost: the guard against those who have numbers pumped.
//!
//! Each first try of a text or call has a [`Toll`]: what it counts for, and how much of that there may be. Letters have none.

use std::collections::HashMap;

use crate::{code::codes, order::Channel, phone::PhoneNumber, place::CountryCode};

codes! {
    /// Why a text or call is not sent.
    pub enum SendingRefusal {
        /// Its number belongs to a country that is not written to or called.
        CountryNotAllowed = "COUNTRY_NOT_ALLOWED",
        /// Its number has had as many as a number may have in a day.
        NumberLimit = "NUMBER_LIMIT",
        /// Numbers that begin like this one have had as many as they may have in a while.
        PrefixLimit = "PREFIX_LIMIT",
        /// The caller whose order it belongs to has had its messages of the day.
        CallerMessages = "CALLER_MESSAGES",
        /// The caller whose order it belongs to has spent what it may in a day.
        CallerSpend = "CALLER_SPEND",
        /// All callers together have spent what they may in a day.
        TotalSpend = "TOTAL_SPEND",
    }
}

impl SendingRefusal {
    /// For staff.
    pub const fn words(self) -> &'static str {
        match self {
            Self::CountryNotAllowed => "the number's country is not written to or called",
            Self::NumberLimit => "the number has had its messages of the day",
            Self::PrefixLimit => "too many messages to numbers that begin alike",
            Self::CallerMessages => "the caller has had its messages of the day",
            Self::CallerSpend => "the caller has spent what it may in a day",
            Self::TotalSpend => "what may be spent in a day is spent",
        }
    }
}

/// Times that are kept of a number at most; no limit may be greater.
pub const NUMBER_TIMES_MAX: u32 = 50;
/// Seconds of the short window, of numbers and of prefixes.
pub const SHORT_SECONDS: i64 = 600;
/// Seconds of a day.
pub const DAY_SECONDS: i64 = 86_400;

/// What texts and calls are held to. A limit of 0 is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendingLimits {
    /// To one number within ten minutes; more wait.
    pub number_short: u32,
    /// To one number within a day; more are refused.
    pub number_day: u32,
    /// To numbers that begin alike within ten minutes.
    pub prefix_short: u32,
    /// Last digits of a number that do not belong to its beginning.
    pub prefix_digits_left_out: usize,
    /// Of all callers together in a day, minor units.
    pub spend_day_minor: u64,
    /// Texts.
    pub sms: ChannelRules,
    /// Calls.
    pub phone: ChannelRules,
}

/// What is held to for one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelRules {
    /// Countries that messages may go to; all when empty.
    pub countries: Vec<CountryCode>,
    /// What one message costs by country, minor units.
    pub prices_minor: HashMap<CountryCode, u64>,
    /// What one costs to any other country.
    pub other_price_minor: u64,
}

/// What one caller's messages are held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerShare {
    /// Texts and calls in a day.
    pub messages_day: u32,
    /// What they cost in a day, minor units.
    pub spend_day_minor: u64,
}

/// Something that counts, and how much of it there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// What is counted; the count begins anew with each day or ten minutes, which the name tells.
    pub subject: String,
    /// How much this message counts.
    pub amount: i64,
    /// How much there may be.
    pub most: i64,
    /// What it is called when there is more.
    pub refusal: SendingRefusal,
    /// Day after which nobody asks any more, days of the epoch.
    pub last_day: i32,
}

/// What a text or call counts for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toll {
    /// Refused whatever the counts say.
    pub refused: Option<SendingRefusal>,
    /// Names its number; empty when numbers have no limit.
    pub number: String,
    /// To one number within ten minutes, and within a day; 0 is no limit.
    pub number_most: (u32, u32),
    /// Everything else that it counts for.
    pub counts: Vec<Count>,
}

/// A message to a number.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Texts or calls.
    pub channel: Channel,
    /// Its keyed hash.
    pub number_hash: &'a [u8; 32],
    /// The number.
    pub number: &'a PhoneNumber,
    /// Who brought the order in.
    pub caller: &'a str,
    /// What that one may have.
    pub share: CallerShare,
    /// Seconds of the epoch.
    pub now: i64,
}

impl SendingLimits {
    /// What a message counts for. Nothing, for letters.
    pub fn toll(&self, message: &Message<'_>) -> Option<Toll> {
        let rules = match message.channel {
            Channel::Email => return None,
            Channel::Sms => &self.sms,
            Channel::Phone => &self.phone,
        };
        let country = message.number.region();
        let allowed = rules.countries.is_empty()
            || country.is_some_and(|country| rules.countries.contains(&country));
        if !allowed {
            return Some(Toll {
                refused: Some(SendingRefusal::CountryNotAllowed),
                ..Toll::default()
            });
        }
        let price = country
            .and_then(|country| rules.prices_minor.get(&country).copied())
            .unwrap_or(rules.other_price_minor);
        let limited = self.number_short > 0 || self.number_day > 0;
        Some(Toll {
            refused: None,
            number: if limited {
                number_subject(message)
            } else {
                String::new()
            },
            number_most: (self.number_short, self.number_day),
            counts: self.counts(message, price),
        })
    }

    fn counts(&self, message: &Message<'_>, price: u64) -> Vec<Count> {
        let day = message.now.div_euclid(DAY_SECONDS);
        let last_day = i32::try_from(day).unwrap_or(i32::MAX);
        let caller = message.caller;
        let count = |most: u64, amount: u64, refusal, subject: String| {
            (most > 0 && amount > 0).then(|| Count {
                subject,
                amount: i64::try_from(amount).unwrap_or(i64::MAX),
                most: i64::try_from(most).unwrap_or(i64::MAX),
                refusal,
                last_day,
            })
        };
        let window = message.now.div_euclid(SHORT_SECONDS);
        let digits = message.number.as_e164();
        let prefix = &digits[..digits.len().saturating_sub(self.prefix_digits_left_out)];
        let channel = message.channel.as_str();
        [
            count(
                self.prefix_short.into(),
                1,
                SendingRefusal::PrefixLimit,
                format!("prefix/{channel}/{prefix}/{window}"),
            ),
            count(
                message.share.messages_day.into(),
                1,
                SendingRefusal::CallerMessages,
                format!("messages/{caller}/{day}"),
            ),
            count(
                message.share.spend_day_minor,
                price,
                SendingRefusal::CallerSpend,
                format!("spend/{caller}/{day}"),
            ),
            count(
                self.spend_day_minor,
                price,
                SendingRefusal::TotalSpend,
                format!("total/{day}"),
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The name of a number under which its messages are counted: texts and calls apart.
fn number_subject(message: &Message<'_>) -> String {
    use std::fmt::Write as _;
    let mut subject = format!("number/{}/", message.channel);
    for byte in message.number_hash {
        // Writing to a text cannot fail.
        write!(subject, "{byte:02x}").ok();
    }
    subject
}

/// What has been counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Amounts by subject.
    pub amounts: HashMap<String, i64>,
    /// Seconds of the epoch at which each number was written to or called, newest first.
    pub times: HashMap<String, Vec<i64>>,
}

/// Whether a message may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It may.
    Go,
    /// It may when these seconds of the epoch have come.
    Wait(i64),
    /// It may not.
    Refused(SendingRefusal),
}

impl Counted {
    /// Decides over a message and counts it if it may go.
    pub fn pass(&mut self, toll: &Toll, now: i64) -> Passage {
        if let Some(refusal) = toll.refused {
            return Passage::Refused(refusal);
        }
        let over = toll.counts.iter().find(|count| {
            let so_far = self.amounts.get(&count.subject).copied().unwrap_or(0);
            so_far.saturating_add(count.amount) > count.most
        });
        if let Some(over) = over {
            return Passage::Refused(over.refusal);
        }
        if !toll.number.is_empty() {
            let times = self.times.entry(toll.number.clone()).or_default();
            let (short, day) = toll.number_most;
            if full(times, day, DAY_SECONDS, now).is_some() {
                return Passage::Refused(SendingRefusal::NumberLimit);
            }
            if let Some(free_at) = full(times, short, SHORT_SECONDS, now) {
                return Passage::Wait(free_at);
            }
            times.insert(0, now);
            times.truncate(NUMBER_TIMES_MAX as usize);
        }
        for count in &toll.counts {
            let amount = self.amounts.entry(count.subject.clone()).or_default();
            *amount = amount.saturating_add(count.amount);
        }
        Passage::Go
    }
}

/// When there is room again, if there are `most` times within the last `span` seconds.
fn full(times: &[i64], most: u32, span: i64, now: i64) -> Option<i64> {
    if most == 0 {
        return None;
    }
    // Newest first: the one that must become old enough.
    let oldest = times.get(most as usize - 1)?;
    let free_at = oldest + span;
    (free_at > now).then_some(free_at)
}

#[cfg(test)]
#[path = "sending_tests.rs"]
mod tests;
