//! What each text and call counts for: the configured limits, in the words of the domain.

use std::collections::HashMap;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use countersign_domain::{
    message::Delivery,
    order::Order,
    phone::PhoneNumber,
    place::CountryCode,
    sending::{CallerShare, ChannelRules, Message, SendingLimits, Toll},
};
use countersign_runtime::config::{Config, Limits, SendingChannel};

/// The guard against those who have numbers pumped.
#[derive(Debug)]
pub(crate) struct SendingGuard {
    limits: SendingLimits,
    /// What each caller may have.
    callers: Limits,
}

impl SendingGuard {
    pub(crate) fn try_new(config: &Config) -> anyhow::Result<Self> {
        let own = &config.sending;
        Ok(Self {
            limits: SendingLimits {
                number_short: own.number_per_10_minutes,
                number_day: own.number_per_day,
                prefix_short: own.prefix_per_10_minutes,
                prefix_digits_left_out: own.prefix_digits_left_out,
                spend_day_minor: own.spend_per_day_minor,
                sms: rules(&own.sms).context("read sending.sms")?,
                phone: rules(&own.phone).context("read sending.phone")?,
            },
            callers: config.limits.clone(),
        })
    }

    /// What the first try of a text or call counts for. Later tries of the same message are the same message.
    pub(crate) fn toll(
        &self,
        delivery: &Delivery,
        order: Option<&Order>,
        now: DateTime<Utc>,
    ) -> Option<Toll> {
        if delivery.attempts > 0 {
            return None;
        }
        let order = order?;
        let number = PhoneNumber::from_e164(delivery.recipient.reveal()).ok()?;
        let of = self.callers.of(&order.caller);
        self.limits.toll(&Message {
            channel: delivery.channel,
            number_hash: &delivery.recipient_hash,
            number: &number,
            caller: &order.caller,
            share: CallerShare {
                messages_day: of.messages_per_day,
                spend_day_minor: of.spend_per_day_minor,
            },
            now: now.timestamp(),
        })
    }
}

fn rules(channel: &SendingChannel) -> anyhow::Result<ChannelRules> {
    let country = |code: &String| CountryCode::parse(code).with_context(|| code.clone());
    Ok(ChannelRules {
        countries: channel
            .countries
            .iter()
            .map(country)
            .collect::<Result<_, _>>()?,
        prices_minor: channel
            .prices_minor
            .iter()
            .map(|(code, price)| Ok((country(code)?, *price)))
            .collect::<anyhow::Result<HashMap<_, _>>>()?,
        other_price_minor: channel.other_price_minor,
    })
}
