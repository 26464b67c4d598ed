//! One id of a gateway for two messages, written by two processes on one database (RELIABILITY, D-21).
#![cfg(test)]

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    ids::{AttemptId, DeliveryId},
    message::{AttemptOutcome, DeliveryState, Recipient},
    order::Channel,
};
use countersign_store::{
    Claimed, DispatchFacts, Finish, IfTaken, NextStep, Planned, Refused, Settings, Start,
    StartOutcome, Store, Verdict, Why,
    testing::{TestDatabase, data_keys, recipient_hash, shop::Shop},
};
use rand::{SeedableRng, rngs::StdRng};
use uuid::Uuid;

const PHONE: &str = "+8613912345678";
const ERROR: &str = "ID_TAKEN: the gateway's id belongs to another message";

/// Everything goes by text message, at once.
fn plan(facts: &DispatchFacts<'_>) -> Vec<Planned> {
    vec![Planned {
        id: DeliveryId::new_v7(facts.now, &mut StdRng::from_os_rng()),
        channel: Channel::Sms,
        recipient: Recipient::new(PHONE),
        recipient_hash: recipient_hash(PHONE),
        due_time: facts.now,
    }]
}

/// A worker: its own connections to the database that it shares with others.
struct Worker {
    store: Store,
    gateway: &'static str,
    token: Uuid,
}

impl Worker {
    async fn new(database: &TestDatabase, gateway: &'static str, token: u128) -> Self {
        let settings = Settings::new(database.url.clone(), data_keys());
        Self {
            store: Store::connect(&settings).await.unwrap(),
            gateway,
            token: Uuid::from_u128(token),
        }
    }

    /// Takes so many messages and begins to send them.
    async fn begin(&self, count: u64) -> Vec<Claimed> {
        let now = self.store.now().await.unwrap();
        let lease = Duration::seconds(60);
        let claimed = self
            .store
            .claim_deliveries(self.token, Channel::Sms, now, lease, count)
            .await
            .unwrap();
        assert_eq!(claimed.len() as u64, count);
        let starts: Vec<Start> = claimed
            .iter()
            .map(|it| Start {
                delivery: it.delivery.id,
                attempt: AttemptId::new_v7(now, &mut StdRng::from_os_rng()),
                toll: None,
                template_version: 0,
            })
            .collect();
        let begun = self
            .store
            .start_attempts(self.token, self.gateway, &starts, now)
            .await
            .unwrap();
        for it in &claimed {
            assert_eq!(begun[&it.delivery.id], StartOutcome::Go { number: 1 });
        }
        claimed
    }

    /// The gateway has taken it and given it this id.
    fn sent(&self, it: &Claimed, id: &str, again: DateTime<Utc>) -> Finish {
        Finish {
            delivery: it.delivery.id,
            order_id: it.delivery.order_id,
            token: self.token,
            number: 1,
            outcome: AttemptOutcome::Sent,
            error: String::new(),
            provider_id: Some(id.to_owned()),
            verdict: Verdict::End(DeliveryState::Sent),
            next: NextStep::AsPlanned,
            if_taken: Some(IfTaken {
                channel: Channel::Sms,
                gateway: self.gateway.to_owned(),
                error: ERROR.to_owned(),
                verdict: Verdict::Again(again),
                next: NextStep::AsPlanned,
            }),
        }
    }

    async fn finish(&self, finishes: &[Finish]) -> Vec<DeliveryId> {
        let now = self.store.now().await.unwrap();
        let refused = self.store.finish_attempts(finishes, now).await.unwrap();
        let id = |it: Refused| {
            assert_eq!(it.why, Why::IdTaken);
            it.delivery
        };
        refused.into_iter().map(id).collect()
    }

    /// How a message stands, and what its only try came to.
    async fn fate(&self, it: &Claimed) -> (DeliveryState, Option<String>, AttemptOutcome, String) {
        let all = self.store.list_deliveries(it.delivery.order_id).await;
        let all = all.unwrap();
        let found = all.iter().find(|found| found.delivery.id == it.delivery.id);
        let found = found.unwrap();
        assert_eq!(found.history.len(), 1);
        let tried = &found.history[0];
        (
            found.delivery.state,
            found.delivery.provider_id.clone(),
            tried.outcome,
            tried.error.clone(),
        )
    }
}

fn sent(id: &str) -> (DeliveryState, Option<String>, AttemptOutcome, String) {
    (
        DeliveryState::Sent,
        Some(id.to_owned()),
        AttemptOutcome::Sent,
        String::new(),
    )
}

fn in_doubt() -> (DeliveryState, Option<String>, AttemptOutcome, String) {
    (
        DeliveryState::Ready,
        None,
        AttemptOutcome::InDoubt,
        ERROR.to_owned(),
    )
}

async fn orders(database: &TestDatabase, count: usize) {
    let mut shop = Shop::new(database.store.clone());
    for _ in 0..count {
        shop.order(None, Some(PHONE)).await;
    }
    let now = database.store.now().await.unwrap();
    database.store.dispatch(500, now, plan).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d_21_of_two_processes_that_write_one_id_at_the_same_time_one_keeps_it() {
    const ROUNDS: usize = 12;
    for database in TestDatabase::all().await {
        orders(&database, 2 * ROUNDS).await;
        let one = Worker::new(&database, "twilio", 1).await;
        let two = Worker::new(&database, "twilio", 2).await;
        let again = database.store.now().await.unwrap() + Duration::hours(1);
        for round in 0..ROUNDS {
            let (first, second) = (one.begin(1).await.remove(0), two.begin(1).await.remove(0));
            let id = format!("SM{round}");
            let finishes = (
                [one.sent(&first, &id, again)],
                [two.sent(&second, &id, again)],
            );
            let (by_one, by_two) = tokio::join!(one.finish(&finishes.0), two.finish(&finishes.1));
            let (kept, lost) = match (by_one.as_slice(), by_two.as_slice()) {
                ([], [_]) => (&first, &second),
                ([_], []) => (&second, &first),
                other => unreachable!("{other:?}"),
            };
            assert_eq!(one.fate(kept).await, sent(&id));
            assert_eq!(one.fate(lost).await, in_doubt());
            // What follows the one in doubt waits until it is cleared up.
            let all = one.store.list_deliveries(lost.delivery.order_id).await;
            let all = all.unwrap();
            let mut later = all.iter().filter(|it| it.delivery.seq > lost.delivery.seq);
            assert!(later.clone().count() > 0 || round > 0);
            assert!(later.all(|it| it.delivery.state == DeliveryState::Waiting));
        }
    }
}

#[tokio::test]
async fn d_21_an_id_stays_taken_for_whoever_starts_later_and_for_its_account_only() {
    for database in TestDatabase::all().await {
        orders(&database, 8).await;
        let again = database.store.now().await.unwrap() + Duration::hours(1);
        let one = Worker::new(&database, "twilio", 1).await;
        let first = one.begin(1).await.remove(0);
        assert_eq!(one.finish(&[one.sent(&first, "SM1", again)]).await, []);
        drop(one);

        let later = Worker::new(&database, "twilio", 2).await;
        let batch = later.begin(3).await;
        let finishes = [
            later.sent(&batch[0], "SM1", again),
            later.sent(&batch[1], "SM2", again),
            later.sent(&batch[2], "SM2", again),
        ];
        let taken = [batch[0].delivery.id, batch[2].delivery.id];
        assert_eq!(later.finish(&finishes).await, taken);
        for (it, fate) in batch.iter().zip([in_doubt(), sent("SM2"), in_doubt()]) {
            assert_eq!(later.fate(it).await, fate);
        }
        // The first owner of the id has lost nothing.
        assert_eq!(later.fate(&first).await, sent("SM1"));

        // Another account's ids are its own, and a relay's say nothing.
        let other = Worker::new(&database, "gateway", 3).await;
        let batch = other.begin(2).await;
        let own = [other.sent(&batch[0], "SM1", again)];
        assert_eq!(other.finish(&own).await, []);
        let relayed = Finish {
            if_taken: None,
            ..other.sent(&batch[1], "SM1", again)
        };
        assert_eq!(other.finish(&[relayed]).await, []);
        for it in &batch {
            assert_eq!(other.fate(it).await, sent("SM1"));
        }

        // Several of the past may bear one id: nothing that is new fails by it.
        let rest = later.begin(1).await;
        let finishes = [later.sent(&rest[0], "SM3", again)];
        assert_eq!(later.finish(&finishes).await, []);
        let (hash, own) = (recipient_hash(PHONE), rest[0].delivery.id);
        let others = later.store.find_ids_of_others(&hash, own, 100);
        let mut others: Vec<String> = others.await.unwrap().into_iter().collect();
        others.sort();
        assert_eq!(others, ["SM1", "SM2"]);
    }
}
