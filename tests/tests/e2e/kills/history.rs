//! What must hold at the end of every history (RELIABILITY 2.0), told from the ledgers of the gateways and the database.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    ops::AddAssign,
};

use countersign_domain::{
    ids::{DeliveryId, OrderId},
    message::{AttemptOutcome, Delivery, DeliveryState},
    order::Channel,
};
use countersign_store::Claimed;

use super::stage::{Gateways, Stage};

/// What schedules came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(super) schedules: u64,
    pub(super) kills: u64,
    /// Messages of acknowledged orders, each by one channel or several.
    pub(super) messages: u64,
    /// What the gateways accepted.
    pub(super) letters: u64,
    pub(super) texts: u64,
    pub(super) calls: u64,
    /// Tries under way when their worker was killed.
    pub(super) windows: u64,
    pub(super) letters_again: u64,
    pub(super) texts_again: u64,
    pub(super) calls_again: u64,
    /// Deliveries that are left to staff because nobody can tell.
    pub(super) in_doubt: u64,
    /// Deliveries given up because three workers were lost with them.
    pub(super) poisoned: u64,
    /// Messages that reached no gateway and nobody's attention.
    pub(crate) lost: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.kills += other.kills;
        self.messages += other.messages;
        self.letters += other.letters;
        self.texts += other.texts;
        self.calls += other.calls;
        self.windows += other.windows;
        self.letters_again += other.letters_again;
        self.texts_again += other.texts_again;
        self.calls_again += other.calls_again;
        self.in_doubt += other.in_doubt;
        self.poisoned += other.poisoned;
        self.lost += other.lost;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} schedules, {} kills, {} messages; accepted: {} letters, {} texts, {} calls; {} in-doubt windows; again: \
             {} letters, {} texts, {} calls; left to staff: {} in doubt, {} given up; lost: {}",
            self.schedules,
            self.kills,
            self.messages,
            self.letters,
            self.texts,
            self.calls,
            self.windows,
            self.letters_again,
            self.texts_again,
            self.calls_again,
            self.in_doubt,
            self.poisoned,
            self.lost
        )
    }
}

/// What the gateways accepted, as the ids of our deliveries, in order.
pub(crate) fn ledger(gateways: &Gateways, channel: Channel) -> Vec<String> {
    let by_key = |key: &str| {
        let (id, generation) = key.rsplit_once('-').unwrap();
        assert_eq!(generation, "1");
        id.to_owned()
    };
    match channel {
        Channel::Email => gateways
            .mail
            .mails()
            .iter()
            .map(|mail| {
                let id = mail.header("Message-ID").unwrap();
                let id = id.trim_start_matches('<').split('.').next().unwrap();
                id.to_owned()
            })
            .collect(),
        Channel::Sms => {
            let accepted = gateways.texts.accepted();
            accepted.iter().map(|it| by_key(&it.key)).collect()
        }
        Channel::Phone => {
            let accepted = gateways.calls.accepted();
            accepted.iter().map(|it| by_key(&it.key)).collect()
        }
    }
}

/// How a history unfolds, from one death of a worker to the next.
#[derive(Default)]
pub(crate) struct History {
    last: HashMap<DeliveryId, (DeliveryState, u32)>,
    pub(crate) problems: Vec<String>,
    pub(crate) figures: Figures,
}

impl History {
    /// A worker is dead: what is finished must stay as it is, and tries do not vanish (I6).
    pub(super) fn look(&mut self, now: &[Claimed]) {
        for it in now {
            let found = (it.delivery.state, it.delivery.attempts);
            if let Some((state, attempts)) = self.last.insert(it.delivery.id, found) {
                let stays = !state.is_finished() || state == found.0;
                if !stays || found.1 < attempts {
                    self.wrong(&it.delivery, &format!("was {state} after {attempts} tries"));
                }
            }
        }
    }

    /// Tries that the dead worker had begun and not finished.
    pub(super) fn count_windows(&mut self, now: &[Claimed]) {
        let open = now.iter().flat_map(|it| &it.history);
        let open = open.filter(|it| it.outcome == AttemptOutcome::Sending);
        self.figures.windows += open.count() as u64;
    }

    fn wrong(&mut self, delivery: &Delivery, what: &str) {
        self.problems.push(format!(
            "{} {} {} {} {:?}: {what}",
            delivery.id, delivery.kind, delivery.channel, delivery.state, delivery.last_error
        ));
    }

    /// Everything is over.
    pub(crate) async fn judge(&mut self, stage: &Stage) {
        let all = stage.deliveries().await;
        self.look(&all);
        let outbox = "SELECT COUNT(*) AS n FROM outbox";
        if stage.database.number(outbox).await > 0 {
            self.problems.push("the outbox is not empty".to_owned());
        }
        let known: HashMap<String, &Delivery> = all
            .iter()
            .map(|it| (it.delivery.id.to_string(), &it.delivery))
            .collect();
        let mut accepted: HashMap<&str, u64> = HashMap::new();
        let ledgers = Channel::ALL
            .iter()
            .map(|channel| (*channel, ledger(&stage.gateways, *channel)))
            .collect::<Vec<_>>();
        for (channel, ids) in &ledgers {
            self.check_ledger(*channel, ids, &known);
            for id in ids {
                *accepted.entry(id).or_default() += 1;
            }
        }
        let mut messages: BTreeMap<(OrderId, u32), bool> = BTreeMap::new();
        for it in &all {
            let count = accepted.get(it.delivery.id.to_string().as_str());
            let count = count.copied().unwrap_or_default();
            self.check_delivery(it, count);
            let cared_for = count > 0
                || matches!(
                    it.delivery.state,
                    DeliveryState::InDoubt | DeliveryState::Dead | DeliveryState::Failed
                );
            let key = (it.delivery.order_id, it.delivery.seq);
            *messages.entry(key).or_default() |= cared_for;
        }
        // I1: acknowledgement and request of every order that was taken in.
        for order in &stage.orders {
            for seq in [1, 2] {
                self.figures.messages += 1;
                if !messages.get(&(*order, seq)).is_some_and(|cared| *cared) {
                    self.figures.lost += 1;
                    self.problems
                        .push(format!("{order}: message {seq} is lost"));
                }
            }
        }
    }

    /// I2: nothing was sent that the database does not know. I10: per order in sequence.
    fn check_ledger(
        &mut self,
        channel: Channel,
        ids: &[String],
        known: &HashMap<String, &Delivery>,
    ) {
        let count = match channel {
            Channel::Email => &mut self.figures.letters,
            Channel::Sms => &mut self.figures.texts,
            Channel::Phone => &mut self.figures.calls,
        };
        *count += ids.len() as u64;
        let mut last: BTreeMap<OrderId, u32> = BTreeMap::new();
        for id in ids {
            let Some(delivery) = known.get(id).copied() else {
                self.problems
                    .push(format!("{channel}: nobody asked for {id}"));
                continue;
            };
            if delivery.channel != channel {
                self.wrong(delivery, &format!("went by {channel}"));
            }
            let seq = last.entry(delivery.order_id).or_default();
            if delivery.seq < *seq {
                let before = *seq;
                self.wrong(delivery, &format!("came after message {before}"));
            }
            *seq = delivery.seq.max(*seq);
        }
    }

    /// I3: it has ended. I4: not more often than promised. And what is called sent has been.
    fn check_delivery(&mut self, it: &Claimed, accepted: u64) {
        let delivery = &it.delivery;
        match delivery.state {
            DeliveryState::Sent if accepted == 0 => {
                self.wrong(delivery, "no gateway has it");
            }
            DeliveryState::Sent => {}
            DeliveryState::InDoubt => self.figures.in_doubt += 1,
            DeliveryState::Dead if delivery.last_error.starts_with("POISON") => {
                self.figures.poisoned += 1;
            }
            _ => self.wrong(delivery, "is no end"),
        }
        let outcomes = it.history.iter().map(|attempt| attempt.outcome);
        if outcomes.clone().any(|it| it == AttemptOutcome::Sending) {
            self.wrong(delivery, "a try has no result");
        }
        let numbers: BTreeSet<u32> = it.history.iter().map(|attempt| attempt.number).collect();
        if numbers.len() != it.history.len() || accepted > it.history.len() as u64 {
            self.wrong(delivery, &format!("{accepted} of {numbers:?} tries"));
        }
        let doubts = outcomes.filter(|it| *it == AttemptOutcome::InDoubt).count() as u64;
        let again = accepted.saturating_sub(1);
        let (most, count) = match delivery.channel {
            Channel::Email => (doubts.min(1), &mut self.figures.letters_again),
            Channel::Sms => (0, &mut self.figures.texts_again),
            Channel::Phone => (0, &mut self.figures.calls_again),
        };
        *count += again;
        if again > most {
            self.wrong(
                delivery,
                &format!("accepted {accepted} times, {doubts} doubts"),
            );
        }
    }
}
