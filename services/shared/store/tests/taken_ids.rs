//! One id of a gateway for two messages, written by two processes on one database (RELIABILITY, D-21).
#![cfg(test)]

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    ids::{AttemptId, DeliveryId},
    message::{AttemptOutcome, DeliveryState, Recipient},
    order::Channel,
    reply::GatewayStatus,
};
use countersign_store::{
    ActCall, Claimed, DispatchFacts, Finding, Finish, IfTaken, News, NextStep, Planned, Refused,
    Settings, Start, StartOutcome, Store, Verdict, Why,
    testing::{Locked, TestDatabase, data_keys, recipient_hash, shop::Shop},
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
                outcome: AttemptOutcome::InDoubt,
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

/// Keeps both from looking for their ids before both have written them: their tries are written in between. On SQLite only one
/// writes at a time anyway.
async fn hold_back(database: &TestDatabase, both: [&Claimed; 2]) -> Option<Locked> {
    if database.url.starts_with("sqlite") {
        return None;
    }
    let [first, second] = both.map(|it| it.delivery.id.as_uuid().simple().to_string());
    let tries = format!(
        "SELECT number FROM attempts WHERE delivery_id IN (UNHEX('{first}'), UNHEX('{second}')) FOR UPDATE"
    );
    Some(database.lock(&tries).await)
}

async fn let_go_when_both_wait(database: &TestDatabase, held: Option<Locked>) {
    const WAITING: &str = "SELECT COUNT(*) AS n FROM information_schema.innodb_trx t \
         JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id \
         WHERE p.db = DATABASE() AND t.trx_state = 'LOCK WAIT'";
    let Some(held) = held else { return };
    for _ in 0..40 {
        // What the server tells of its locks is only made anew when nobody has asked for a tenth of a second.
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        if database.number(WAITING).await == 2 {
            held.release().await;
            return;
        }
    }
    unreachable!("both wait for their tries");
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
            let held = hold_back(&database, [&first, &second]).await;
            let (by_one, by_two, ()) = tokio::join!(
                one.finish(&finishes.0),
                two.finish(&finishes.1),
                let_go_when_both_wait(&database, held)
            );
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
            assert!(lost.delivery.seq > 1 || later.clone().count() > 0);
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

#[tokio::test]
async fn d_21_what_its_carrier_knows_by_our_own_key_is_sent_and_goes_without_the_id() {
    for database in TestDatabase::all().await {
        orders(&database, 2).await;
        let again = database.store.now().await.unwrap() + Duration::hours(1);
        let worker = Worker::new(&database, "twilio", 1).await;
        let batch = worker.begin(2).await;
        let mut second = worker.sent(&batch[1], "SM1", again);
        second.if_taken = second.if_taken.map(|taken| IfTaken {
            outcome: AttemptOutcome::Sent,
            error: String::new(),
            verdict: Verdict::End(DeliveryState::Sent),
            ..taken
        });
        let finishes = [worker.sent(&batch[0], "SM1", again), second];
        // It is told nevertheless: somebody has to ask the gateway why.
        assert_eq!(worker.finish(&finishes).await, [batch[1].delivery.id]);
        assert_eq!(worker.fate(&batch[0]).await, sent("SM1"));
        let nameless = (
            DeliveryState::Sent,
            None,
            AttemptOutcome::Sent,
            String::new(),
        );
        assert_eq!(worker.fate(&batch[1]).await, nameless);
    }
}

#[tokio::test]
async fn d_21_after_a_month_a_gateway_that_counts_from_one_again_is_believed() {
    for database in TestDatabase::all().await {
        let mut shop = Shop::new(database.store.clone());
        let again = database.store.now().await.unwrap() + Duration::days(90);
        let worker = Worker::new(&database, "gateway", 1).await;
        shop.policy.acknowledge = false;
        for (days, taken) in [(0, false), (29, true), (2, false)] {
            database.store.shift_clock(Duration::days(days));
            worker.store.shift_clock(Duration::days(days));
            shop.order(None, Some(PHONE)).await;
            let now = database.store.now().await.unwrap();
            database.store.dispatch(500, now, plan).await.unwrap();
            let question = worker.begin(1).await.remove(0);
            let refused = worker.finish(&[worker.sent(&question, "1", again)]).await;
            assert_eq!(!refused.is_empty(), taken, "after {days} more days");
        }
    }
}

/// A message in doubt, as a worker leaves it that got no answer.
async fn doubtful(worker: &Worker, again: DateTime<Utc>) -> Claimed {
    let it = worker.begin(1).await.remove(0);
    let unanswered = Finish {
        outcome: AttemptOutcome::InDoubt,
        provider_id: None,
        verdict: Verdict::Again(again),
        ..worker.sent(&it, "", again)
    };
    assert_eq!(worker.finish(&[unanswered]).await, []);
    it
}

#[tokio::test]
async fn d_21_news_of_a_message_counts_and_brings_it_no_id_that_is_anothers() {
    for database in TestDatabase::all().await {
        orders(&database, 3).await;
        let store = &database.store;
        let now = store.now().await.unwrap();
        let again = now + Duration::hours(1);
        let worker = Worker::new(&database, "twilio", 1).await;
        let other = Worker::new(&database, "gateway", 2).await;
        let first = worker.begin(1).await.remove(0);
        assert_eq!(
            worker.finish(&[worker.sent(&first, "SM1", again)]).await,
            []
        );
        let same_account = doubtful(&worker, again).await;
        let other_account = doubtful(&other, again).await;
        for (it, id, kept) in [
            (&same_account, "SM1", None),
            (&other_account, "SM1", Some("SM1")),
            (&same_account, "SM2", Some("SM2")),
        ] {
            let delivered = it.delivery.id != same_account.delivery.id || id == "SM2";
            let status = if delivered {
                GatewayStatus::Delivered
            } else {
                GatewayStatus::Underway
            };
            let news = store.record_news(it.delivery.id, 1, id, status, "", now);
            let News::Written(told) = news.await.unwrap() else {
                unreachable!("news of {id}");
            };
            assert_eq!(told.provider_id.as_deref(), kept);
            let found = store.find_delivery(it.delivery.id).await.unwrap().unwrap();
            assert_eq!(found, *told);
            let state = if delivered {
                DeliveryState::Delivered
            } else {
                DeliveryState::Sent
            };
            assert_eq!(found.state, state);
            if kept.is_none() {
                let of_id = store.find_delivery_by_provider_id(id).await.unwrap();
                assert_eq!(of_id.map(|it| it.id), Some(first.delivery.id));
            }
        }
    }
}

#[tokio::test]
async fn d_21_an_account_that_was_asked_after_a_restore_brings_no_id_that_is_anothers() {
    for database in TestDatabase::all().await {
        orders(&database, 3).await;
        let store = &database.store;
        let now = store.now().await.unwrap();
        let again = now + Duration::hours(1);
        let worker = Worker::new(&database, "twilio", 1).await;
        let first = worker.begin(1).await.remove(0);
        assert_eq!(
            worker.finish(&[worker.sent(&first, "SM1", again)]).await,
            []
        );
        for (number, gateway, kept) in [(1_u128, "twilio", None), (2, "gateway", Some("SM1"))] {
            let it = doubtful(&worker, again).await;
            let asked = store.find_delivery(it.delivery.id).await.unwrap().unwrap();
            let finding = Finding::Sent {
                provider_id: "SM1",
                gateway,
                attempt: AttemptId::new_v7(now, &mut StdRng::from_os_rng()),
            };
            let call = ActCall::own(Uuid::from_u128(number), "wang", "restored");
            let settled = store.settle_unfinished(&asked, &finding, &call, now);
            assert!(settled.await.unwrap());
            let found = store.find_delivery(it.delivery.id).await.unwrap().unwrap();
            assert_eq!(found.state, DeliveryState::Sent);
            assert_eq!(found.provider_id.as_deref(), kept);
        }
    }
}
