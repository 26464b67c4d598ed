//! The queue of deliveries on every database: claims, leases, tries, sequence, supersession.
#![expect(
    clippy::unwrap_used,
    reason = "tests stop at the first thing that does not work"
)]

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    event::{MessageDetails, MessageKind},
    ids::{AttemptId, DeliveryId, ErasureId, OrderId},
    message::{AttemptOutcome, DeliveryState, GatewayState, OptOutReason, Recipient},
    order::Channel,
    reply::ReplyContent,
    retention::Retained,
};
use countersign_store::{
    Claimed, DispatchFacts, ErasureBegun, Finish, NewErasure, NextStep, Planned, QueueRows,
    Refused, SYSTEM, Start, StartOutcome, Store, Verdict, Why,
    testing::{TestDatabase, shop::Shop},
};
use rand::{SeedableRng, rngs::StdRng};
use sea_orm::{ConnectionTrait as _, SqlErr, TransactionTrait as _};
use uuid::Uuid;

const MAIL: Option<&str> = Some("canary@example.com");
const PHONE: Option<&str> = Some("+8613912345678");

fn lease() -> Duration {
    Duration::seconds(30)
}

fn token(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// Plans as the worker does, in short: all steps of a round, else the first address.
fn plan(facts: &DispatchFacts<'_>) -> Vec<Planned> {
    let mut rng = StdRng::from_os_rng();
    let channels = facts.round.map_or_else(
        || {
            vec![if facts.order.reachable_by(Channel::Email) {
                Channel::Email
            } else {
                Channel::Sms
            }]
        },
        |round| round.details.channel_plan.clone(),
    );
    channels
        .into_iter()
        .zip(0..)
        .filter(|(channel, _)| facts.order.reachable_by(*channel))
        .map(|(channel, step)| {
            let contact = &facts.order.terms.contact;
            let to = match channel {
                Channel::Email => contact.email.as_ref().unwrap().as_str(),
                _ => contact.phone.as_ref().unwrap().as_e164(),
            };
            Planned {
                id: DeliveryId::new_v7(facts.now, &mut rng),
                channel,
                recipient: Recipient::new(to),
                recipient_hash: countersign_store::testing::recipient_hash(to),
                due_time: facts.now + Duration::minutes(30 * step),
            }
        })
        .collect()
}

async fn dispatch(store: &Store) -> usize {
    let now = store.now().await.unwrap();
    store.dispatch(500, now, plan).await.unwrap().messages
}

async fn claim(store: &Store, token: Uuid) -> Vec<Claimed> {
    let now = store.now().await.unwrap();
    let mut claimed = Vec::new();
    for channel in Channel::ALL {
        claimed.extend(
            store
                .claim_deliveries(token, *channel, now, lease(), 100)
                .await
                .unwrap(),
        );
    }
    claimed
}

async fn start(
    store: &Store,
    token: Uuid,
    claimed: &[Claimed],
) -> HashMap<DeliveryId, StartOutcome> {
    let now = store.now().await.unwrap();
    let mut rng = StdRng::from_os_rng();
    let starts: Vec<Start> = claimed
        .iter()
        .map(|it| Start {
            delivery: it.delivery.id,
            attempt: AttemptId::new_v7(now, &mut rng),
            toll: None,
            template_version: 0,
        })
        .collect();
    store
        .start_attempts(token, "test", &starts, now)
        .await
        .unwrap()
}

fn finish(claimed: &Claimed, token: Uuid, outcome: AttemptOutcome, verdict: Verdict) -> Finish {
    Finish {
        delivery: claimed.delivery.id,
        order_id: claimed.delivery.order_id,
        token,
        number: claimed.delivery.attempts + 1,
        outcome,
        error: String::new(),
        provider_id: Some(format!("p-{}", claimed.delivery.id)),
        verdict,
        next: NextStep::AsPlanned,
        if_taken: None,
    }
}

async fn finish_all(store: &Store, finishes: &[Finish]) -> Vec<Refused> {
    let now = store.now().await.unwrap();
    store.finish_attempts(finishes, now).await.unwrap()
}

/// Claims, starts and sends everything that is due.
async fn send_all(store: &Store, token: Uuid) -> usize {
    let claimed = claim(store, token).await;
    start(store, token, &claimed).await;
    let sent: Vec<Finish> = claimed
        .iter()
        .map(|it| {
            finish(
                it,
                token,
                AttemptOutcome::Sent,
                Verdict::End(DeliveryState::Sent),
            )
        })
        .collect();
    assert_eq!(finish_all(store, &sent).await, []);
    claimed.len()
}

async fn states(store: &Store, order: OrderId) -> Vec<(u32, u32, DeliveryState)> {
    let all = store.list_deliveries(order).await.unwrap();
    all.iter()
        .map(|it| (it.delivery.seq, it.delivery.step, it.delivery.state))
        .collect()
}

#[tokio::test]
async fn a_dispatched_message_leaves_the_outbox_and_goes_in_the_orders_sequence() {
    use DeliveryState::{Ready, Sent, Waiting};
    for database in TestDatabase::all().await {
        let store = &database.store;
        let order = Shop::new(store.clone()).order(MAIL, PHONE).await;
        assert!(store.oldest_outbox_time().await.unwrap().is_some());
        assert_eq!(dispatch(store).await, 2);
        assert_eq!(dispatch(store).await, 0);
        assert_eq!(store.oldest_outbox_time().await.unwrap(), None);
        assert_eq!(
            states(store, order.id).await,
            [
                (1, 1, Ready),
                (2, 1, Waiting),
                (2, 2, Waiting),
                (2, 3, Waiting)
            ]
        );
        assert_eq!(send_all(store, token(1)).await, 1);
        assert_eq!(
            states(store, order.id).await,
            [(1, 1, Sent), (2, 1, Ready), (2, 2, Ready), (2, 3, Ready)]
        );
        // Later channels are not due yet.
        assert_eq!(send_all(store, token(2)).await, 1);
        assert_eq!(claim(store, token(3)).await, []);
        store.shift_clock(Duration::minutes(31));
        let texts = claim(store, token(4)).await;
        assert_eq!(texts.len(), 1);
        assert_eq!(texts[0].delivery.channel, Channel::Sms);
    }
}

#[tokio::test]
async fn l_10_m_10_rival_dispatchers_and_workers_never_take_the_same() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        for _ in 0..40 {
            shop.order(MAIL, None).await;
        }
        let now = store.now().await.unwrap();
        let dispatched = futures::future::join_all((0..6).map(|_| async {
            let mut messages = 0;
            loop {
                let done = store.dispatch(7, now, plan).await.unwrap();
                if done.messages == 0 && store.oldest_outbox_time().await.unwrap().is_none() {
                    return messages;
                }
                messages += done.messages;
            }
        }))
        .await;
        assert_eq!(dispatched.iter().sum::<usize>(), 80);
        let now = store.now().await.unwrap();
        let claimed = futures::future::join_all((1..=8).map(|worker| async move {
            let mut mine = Vec::new();
            for round in 0..8 {
                let token = token(worker * 100 + round);
                mine.extend(
                    store
                        .claim_deliveries(token, Channel::Email, now, lease(), 5)
                        .await
                        .unwrap(),
                );
            }
            mine
        }))
        .await;
        let ids: Vec<DeliveryId> = claimed.iter().flatten().map(|it| it.delivery.id).collect();
        assert_eq!(ids.len(), 40, "{:?}", database.store.kind());
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 40);
    }
}

#[tokio::test]
async fn b_07_a_claim_is_answered_by_its_index_without_a_sort_and_two_at_once_take_different_rows()
{
    const LIMIT: usize = 100;
    for database in servers().await {
        fill(&database.store, 2_000).await;
        database.execute("ANALYZE TABLE deliveries").await;
        let plan = database.store.explain_claim().await.unwrap();
        assert!(plan.contains("ix_deliveries_channel"), "{plan}");
        assert!(!plan.contains("filesort"), "{plan}");

        let now = database.store.now().await.unwrap();
        let (first, mine, read) = database.open_claim(now, LIMIT as u64).await;
        assert!((LIMIT..=LIMIT + 10).contains(&to_usize(read)), "{read}");
        let (second, others, read) = database.open_claim(now, LIMIT as u64).await;
        // What the first has locked may be read as well, and nothing else.
        assert!((LIMIT..=2 * LIMIT + 10).contains(&to_usize(read)), "{read}");
        assert_eq!((mine.len(), others.len()), (LIMIT, LIMIT));
        let distinct: BTreeSet<DeliveryId> = mine.into_iter().chain(others).collect();
        assert_eq!(distinct.len(), 2 * LIMIT);
        first.release().await;
        second.release().await;
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

#[tokio::test]
async fn a_worker_that_dies_is_followed_by_another_and_comes_too_late_himself() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        Shop::new(store.clone()).order(MAIL, None).await;
        dispatch(store).await;
        let zombie = claim(store, token(1)).await;
        assert_eq!(zombie.len(), 1);
        start(store, token(1), &zombie).await;
        // Still within its lease.
        let now = store.now().await.unwrap();
        assert_eq!(store.recover_deliveries(now, 100).await.unwrap().due, 0);
        assert_eq!(claim(store, token(2)).await, []);
        store.shift_clock(Duration::seconds(31));
        let now = store.now().await.unwrap();
        assert_eq!(store.recover_deliveries(now, 100).await.unwrap().due, 1);
        let second = claim(store, token(2)).await;
        assert_eq!(second.len(), 1);
        assert_eq!(second[0].history.len(), 1);
        assert_eq!(second[0].history[0].outcome, AttemptOutcome::InDoubt);
        let late = finish(
            &zombie[0],
            token(1),
            AttemptOutcome::Sent,
            Verdict::End(DeliveryState::Sent),
        );
        assert_eq!(
            finish_all(store, &[late]).await,
            [Refused {
                delivery: zombie[0].delivery.id,
                why: Why::LeaseLost,
            }]
        );
        assert_eq!(
            start(store, token(1), &zombie).await[&zombie[0].delivery.id],
            StartOutcome::Lost
        );
        assert_eq!(
            start(store, token(2), &second).await[&second[0].delivery.id],
            StartOutcome::Go { number: 2 }
        );
        let sent = finish(
            &second[0],
            token(2),
            AttemptOutcome::Sent,
            Verdict::End(DeliveryState::Sent),
        );
        assert_eq!(finish_all(store, std::slice::from_ref(&sent)).await, []);
        assert_eq!(finish_all(store, &[sent]).await.len(), 1, "once is enough");
        let found = store
            .find_delivery_by_provider_id(&format!("p-{}", second[0].delivery.id))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.state, DeliveryState::Sent);
        assert_eq!(found.attempts, 2);
        assert!(found.finish_time.is_some());
    }
}

#[tokio::test]
async fn a_heartbeat_keeps_a_lease_and_a_release_gives_it_back() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        Shop::new(store.clone()).order(MAIL, None).await;
        dispatch(store).await;
        let held = claim(store, token(1)).await;
        let id = held[0].delivery.id;
        store.shift_clock(Duration::seconds(25));
        let now = store.now().await.unwrap();
        let kept = store
            .extend_leases(&[(id, token(1))], now + lease())
            .await
            .unwrap();
        assert_eq!(kept, 1);
        let lost = store
            .extend_leases(&[(id, token(9))], now + lease())
            .await
            .unwrap();
        assert_eq!(lost, 0);
        store.shift_clock(Duration::seconds(25));
        let now = store.now().await.unwrap();
        assert_eq!(store.recover_deliveries(now, 100).await.unwrap().due, 0);
        assert_eq!(
            store
                .release_deliveries(token(9), &[id], now)
                .await
                .unwrap(),
            0
        );
        assert_eq!(
            store
                .release_deliveries(token(1), &[id], now)
                .await
                .unwrap(),
            1
        );
        assert_eq!(claim(store, token(2)).await.len(), 1);
    }
}

#[tokio::test]
async fn a_try_that_the_database_did_not_confirm_is_none_when_its_message_is_given_back() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        Shop::new(store.clone()).order(MAIL, None).await;
        dispatch(store).await;
        let held = claim(store, token(1)).await;
        let id = held[0].delivery.id;
        let now = store.now().await.unwrap();
        let start = Start {
            delivery: id,
            attempt: AttemptId::from_uuid(token(7)),
            toll: None,
            template_version: 0,
        };
        let begun = store.start_attempts(token(1), "relay", &[start], now).await;
        assert_eq!(begun.unwrap()[&id], StartOutcome::Go { number: 1 });
        store
            .release_deliveries(token(1), &[id], now)
            .await
            .unwrap();
        let again = claim(store, token(2)).await;
        assert_eq!(again[0].delivery.id, id);
        let tries = &again[0].history;
        assert_eq!(tries.len(), 1);
        assert_eq!(tries[0].outcome, AttemptOutcome::NotSent);
        assert!(tries[0].finish_time.is_some());
    }
}

#[tokio::test]
async fn a_message_that_is_outdated_or_unwelcome_when_it_is_to_be_sent_is_not() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        let accepted = shop.order(MAIL, PHONE).await;
        dispatch(store).await;
        send_all(store, token(1)).await;
        let asked = claim(store, token(2)).await;
        assert_eq!(asked.len(), 1);
        // The customer answers between claim and send.
        shop.accept(accepted.id).await;
        let outcome = start(store, token(2), &asked).await;
        assert_eq!(outcome[&asked[0].delivery.id], StartOutcome::Superseded);
        let refused = shop.order(Some("other@example.com"), None).await;
        dispatch(store).await;
        let ack = claim(store, token(3)).await;
        let mine: Vec<Claimed> = ack
            .into_iter()
            .filter(|it| it.delivery.order_id == refused.id)
            .collect();
        let now = store.now().await.unwrap();
        store
            .insert_opt_out(
                &mine[0].delivery.recipient_hash,
                Channel::Email,
                OptOutReason::StopWord,
                now,
            )
            .await
            .unwrap();
        let outcome = start(store, token(3), &mine).await;
        assert_eq!(outcome[&mine[0].delivery.id], StartOutcome::Suppressed);
        assert_eq!(
            states(store, refused.id).await,
            [
                (1, 1, DeliveryState::Suppressed),
                (2, 1, DeliveryState::Ready)
            ],
            "the next message of the order may try"
        );
        let attempts = store.list_deliveries(refused.id).await.unwrap();
        assert!(attempts.iter().all(|it| it.history.is_empty()));
    }
}

#[tokio::test]
async fn m_02_later_channels_of_a_round_that_is_over_do_not_hold_up_what_follows() {
    use DeliveryState::{Ready, Sent};
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        let order = shop.order(MAIL, PHONE).await;
        dispatch(store).await;
        send_all(store, token(1)).await;
        send_all(store, token(2)).await;
        shop.accept(order.id).await;
        assert_eq!(dispatch(store).await, 1);
        assert_eq!(
            states(store, order.id).await,
            [
                (1, 1, Sent),
                (2, 1, Sent),
                (2, 2, Ready),
                (2, 3, Ready),
                (3, 1, Ready)
            ]
        );
        store.shift_clock(Duration::hours(2));
        let due = claim(store, token(3)).await;
        assert_eq!(due.len(), 3);
        let outcomes = start(store, token(3), &due).await;
        let gone = outcomes
            .values()
            .filter(|it| **it == StartOutcome::Superseded)
            .count();
        assert_eq!(gone, 2);
    }
}

#[tokio::test]
async fn m_02_without_a_reply_there_is_one_text_at_its_time_and_with_one_a_second_before_there_is_none()
 {
    use DeliveryState::{Ready, Sent, Superseded};
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        let silent = shop.order(MAIL, PHONE).await;
        let answering = shop.order(MAIL, PHONE).await;
        assert_eq!(dispatch(store).await, 4);
        send_all(store, token(1)).await;
        assert_eq!(send_all(store, token(2)).await, 2, "the letters that ask");
        let step = async |order: OrderId, step: u32| {
            let all = store.list_deliveries(order).await.unwrap();
            let found = all.into_iter().find(|it| it.delivery.step == step);
            found.unwrap().delivery
        };
        let due = step(answering.id, 2).await.due_time;
        assert_eq!(step(silent.id, 2).await.due_time, due);
        let taken = async |number: u128, at| {
            let lease = lease();
            store
                .claim_deliveries(token(number), Channel::Sms, at, lease, 100)
                .await
                .unwrap()
        };
        let second = Duration::seconds(1);
        assert_eq!(taken(3, due - second).await, []);
        let now = store.now().await.unwrap();
        store.shift_clock(due - second - now);
        shop.accept(answering.id).await;
        store.shift_clock(second);
        let texts = taken(4, due).await;
        let outcomes = start(store, token(4), &texts).await;
        let going: Vec<&Claimed> = texts
            .iter()
            .filter(|it| matches!(outcomes[&it.delivery.id], StartOutcome::Go { .. }))
            .collect();
        assert_eq!(going.len(), 1);
        assert_eq!(going[0].delivery.order_id, silent.id);
        let sent = finish(going[0], token(4), AttemptOutcome::Sent, Verdict::End(Sent));
        assert_eq!(finish_all(store, &[sent]).await, []);
        assert_eq!(taken(5, due + second).await, [], "once");
        assert_eq!(step(silent.id, 2).await.state, Sent);
        assert_eq!(step(silent.id, 3).await.state, Ready);
        assert_eq!(step(answering.id, 2).await.state, Superseded);
    }
}

#[tokio::test]
async fn a_channel_that_fails_for_good_makes_the_next_one_due_at_once() {
    use DeliveryState::{Failed, Ready, Sent};
    for database in TestDatabase::all().await {
        let store = &database.store;
        let order = Shop::new(store.clone()).order(MAIL, PHONE).await;
        dispatch(store).await;
        send_all(store, token(1)).await;
        let letter = claim(store, token(2)).await;
        start(store, token(2), &letter).await;
        let failed = Finish {
            error: "BAD_RECIPIENT: ".to_owned() + &"é".repeat(400),
            next: NextStep::Now,
            ..finish(
                &letter[0],
                token(2),
                AttemptOutcome::Permanent,
                Verdict::End(Failed),
            )
        };
        finish_all(store, &[failed]).await;
        let text = claim(store, token(3)).await;
        assert_eq!(text.len(), 1);
        assert_eq!(text[0].delivery.step, 2);
        store
            .release_deliveries(token(3), &[text[0].delivery.id], store.now().await.unwrap())
            .await
            .unwrap();
        assert_eq!(
            states(store, order.id).await,
            [(1, 1, Sent), (2, 1, Failed), (2, 2, Ready), (2, 3, Ready)]
        );
        let listed = store.list_deliveries(order.id).await.unwrap();
        assert_eq!(listed[1].delivery.last_error.chars().count(), 250);
        assert_eq!(listed[1].history[0].outcome, AttemptOutcome::Permanent);
    }
}

#[tokio::test]
async fn a_try_that_did_not_get_out_is_due_again_at_its_time() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        Shop::new(store.clone()).order(MAIL, None).await;
        dispatch(store).await;
        let first = claim(store, token(1)).await;
        start(store, token(1), &first).await;
        let now = store.now().await.unwrap();
        let again = finish(
            &first[0],
            token(1),
            AttemptOutcome::NotSent,
            Verdict::Again(now + Duration::seconds(5)),
        );
        assert_eq!(finish_all(store, &[again]).await, []);
        assert_eq!(claim(store, token(2)).await, []);
        store.shift_clock(Duration::seconds(6));
        let second = claim(store, token(3)).await;
        assert_eq!(second.len(), 1);
        assert_eq!(second[0].delivery.attempts, 1);
        assert_eq!(second[0].history[0].outcome, AttemptOutcome::NotSent);
    }
}

#[tokio::test]
async fn a_message_without_any_address_is_kept_as_failed_and_holds_nobody_up() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let order = Shop::new(store.clone()).order(MAIL, None).await;
        let now = store.now().await.unwrap();
        let nobody_for_the_first = |facts: &DispatchFacts<'_>| {
            if facts.row.message.seq == 1 {
                return Vec::new();
            }
            plan(facts)
        };
        // One by one, in whatever sequence the ids are.
        for _ in 0..2 {
            let done = store.dispatch(1, now, nobody_for_the_first).await.unwrap();
            assert_eq!(done.messages, 1);
        }
        assert_eq!(
            states(store, order.id).await,
            [(1, 1, DeliveryState::Failed), (2, 1, DeliveryState::Ready)]
        );
    }
}

#[tokio::test]
async fn h_02_a_message_that_loses_three_workers_is_quarantined_and_others_flow() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        let order = shop.order(MAIL, None).await;
        dispatch(store).await;
        for number in 1..=3 {
            let claimed = claim(store, token(number)).await;
            assert_eq!(claimed.len(), 1, "{number}");
            // The try is on record before its worker dies of it.
            start(store, token(number), &claimed).await;
            store.shift_clock(Duration::seconds(31));
            let now = store.now().await.unwrap();
            let recovered = store.recover_deliveries(now, 100).await.unwrap();
            assert_eq!(
                (recovered.due, recovered.poisoned),
                if number < 3 { (1, 0) } else { (0, 1) }
            );
            store.shift_clock(Duration::seconds(60));
        }
        assert_eq!(
            states(store, order.id).await,
            [(1, 1, DeliveryState::Dead), (2, 1, DeliveryState::Ready)]
        );
        // H-04: what was tried stays on record.
        let dead = store.list_deliveries(order.id).await.unwrap().remove(0);
        assert!(dead.delivery.last_error.starts_with("POISON: "));
        assert!(dead.delivery.finish_time.is_some());
        assert_eq!(dead.history.len(), 3);
        assert!(
            dead.history.iter().all(
                |attempt| attempt.error.starts_with("WORKER_LOST") && attempt.gateway == "test"
            )
        );
    }
}

#[tokio::test]
async fn h_03_what_a_newer_version_has_written_is_left_to_it_and_dead_after_a_while() {
    use DeliveryState::Ready;
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        let strange = shop.order(MAIL, None).await;
        let plain = shop.order(MAIL, None).await;
        dispatch(store).await;
        database
            .execute("UPDATE deliveries SET kind = 'FROM_THE_FUTURE' WHERE seq = 1 AND order_id = (SELECT id FROM orders WHERE client_reference = 'REF-1')")
            .await;
        let claimed = claim(store, token(1)).await;
        assert_eq!(claimed.len(), 1, "others flow");
        assert_eq!(claimed[0].delivery.order_id, plain.id);
        assert_eq!(
            claim(store, token(2)).await,
            [],
            "it is not claimed again and again"
        );
        let dead = "SELECT COUNT(*) AS n FROM deliveries WHERE state = 'DEAD' AND kind = 'FROM_THE_FUTURE' AND last_error LIKE 'UNREADABLE%'";
        store.shift_clock(Duration::minutes(14));
        assert_eq!(claim(store, token(3)).await, []);
        assert_eq!(database.number(dead).await, 0, "a newer one may still come");
        store.shift_clock(Duration::minutes(2));
        assert_eq!(claim(store, token(4)).await, []);
        assert_eq!(database.number(dead).await, 1);
        assert_eq!(states(store, strange.id).await, [(2, 1, Ready)]);

        // The same while it is still in the outbox.
        let waiting = shop.order(MAIL, None).await;
        database
            .execute("UPDATE outbox SET kind = 'FROM_THE_FUTURE' WHERE seq = 1")
            .await;
        assert_eq!(dispatch(store).await, 1, "the other message is dispatched");
        let now = store.now().await.unwrap();
        let early = waiting.create_time + Duration::minutes(14);
        assert!(now < early);
        assert_eq!(store.bury_unreadable_messages(early).await.unwrap(), 0);
        let later = waiting.create_time + Duration::minutes(16);
        assert_eq!(store.bury_unreadable_messages(later).await.unwrap(), 1);
        assert_eq!(database.number(dead).await, 2);
        assert_eq!(states(store, waiting.id).await, [(2, 1, Ready)]);
        assert_eq!(store.oldest_outbox_time().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_message_is_put_off_without_a_try() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let order = Shop::new(store.clone()).order(MAIL, None).await;
        dispatch(store).await;
        let claimed = claim(store, token(1)).await;
        let id = claimed[0].delivery.id;
        let later = store.now().await.unwrap() + Duration::minutes(10);
        assert_eq!(
            store
                .postpone_deliveries(token(9), &[(id, later)])
                .await
                .unwrap(),
            0,
            "it is somebody else's"
        );
        assert_eq!(
            store
                .postpone_deliveries(token(1), &[(id, later)])
                .await
                .unwrap(),
            1
        );
        assert_eq!(claim(store, token(2)).await, []);
        store.shift_clock(Duration::minutes(11));
        let again = claim(store, token(3)).await;
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].delivery.attempts, 0);
        assert_eq!(again[0].delivery.order_id, order.id);
    }
}

#[tokio::test]
async fn a_gateway_is_held_and_released_and_the_system_overrules_nobody() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let now = store.now().await.unwrap();
        let accounts = [
            ("sms-gateway".to_owned(), Channel::Sms),
            ("email-smtp".to_owned(), Channel::Email),
        ];
        store.register_gateways(&accounts, now).await.unwrap();
        let found = async || {
            let all = store.list_gateways().await.unwrap();
            assert_eq!(all.len(), 2);
            assert_eq!(all[0].name, "email-smtp");
            all[1].clone()
        };
        assert_eq!(found().await.state, GatewayState::Open);
        let until = now + Duration::seconds(30);
        let take_hold = async |until, by| {
            let held = store.hold_gateway("sms-gateway", "AUTH_REFUSED: x", until, by, now);
            held.await.unwrap()
        };
        assert!(take_hold(Some(until), SYSTEM).await);
        let held = found().await;
        assert!(held.is_held_at(now) && !held.is_held_at(until));
        assert_eq!(held.reason, "AUTH_REFUSED: x");
        // Registering again, as every start does, releases nothing.
        store.register_gateways(&accounts, now).await.unwrap();
        assert_eq!(found().await, held);
        assert!(take_hold(None, "wang").await);
        assert!(!take_hold(Some(until), SYSTEM).await);
        assert!(
            !store
                .release_gateway("sms-gateway", SYSTEM, now)
                .await
                .unwrap()
        );
        let held = found().await;
        assert_eq!((held.changed_by.as_str(), held.until_time), ("wang", None));
        assert!(
            store
                .release_gateway("sms-gateway", "li", now)
                .await
                .unwrap()
        );
        let open = found().await;
        assert_eq!(open.state, GatewayState::Open);
        assert_eq!(open.changed_by, "li");
        assert!(
            !store
                .hold_gateway("none", "", None, "li", now)
                .await
                .unwrap()
        );
    }
}

/// Ends what was claimed so that its channel has failed.
async fn fail_all(store: &Store, token: Uuid) {
    let claimed = claim(store, token).await;
    start(store, token, &claimed).await;
    let failed: Vec<Finish> = claimed
        .iter()
        .map(|it| Finish {
            next: NextStep::Now,
            ..finish(
                it,
                token,
                AttemptOutcome::Permanent,
                Verdict::End(DeliveryState::Failed),
            )
        })
        .collect();
    assert_eq!(finish_all(store, &failed).await, []);
}

#[tokio::test]
async fn m_04_when_all_channels_have_failed_it_is_told_once() {
    const TOLD: &str = "SELECT COUNT(*) AS n FROM replies WHERE kind = 'UNREACHABLE'";
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        let order = shop.order(MAIL, PHONE).await;
        dispatch(store).await;
        send_all(store, token(1)).await;
        // Letter, text and call, each at once after the one before.
        for number in 2..=4 {
            assert_eq!(database.number(TOLD).await, 0, "{number}");
            fail_all(store, token(number)).await;
        }
        assert_eq!(database.number(TOLD).await, 1);
        let replies = store.find_pending_replies(order.id).await.unwrap();
        assert_eq!(replies[0].content, ReplyContent::Unreachable { round: 1 });
        // Whatever happens to the order's messages afterwards tells nothing new.
        shop.accept(order.id).await;
        dispatch(store).await;
        send_all(store, token(5)).await;
        assert_eq!(database.number(TOLD).await, 1);
    }
}

#[tokio::test]
async fn m_06_an_opt_out_between_claim_and_send_stops_it() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let order = Shop::new(store.clone()).order(MAIL, None).await;
        dispatch(store).await;
        let claimed = claim(store, token(1)).await;
        let hash = claimed[0].delivery.recipient_hash;
        let now = store.now().await.unwrap();
        store
            .insert_opt_out(&hash, Channel::Email, OptOutReason::StopWord, now)
            .await
            .unwrap();
        let outcome = start(store, token(1), &claimed).await;
        assert_eq!(outcome[&claimed[0].delivery.id], StartOutcome::Suppressed);
        let first = store.list_deliveries(order.id).await.unwrap().remove(0);
        assert_eq!(first.delivery.state, DeliveryState::Suppressed);
        assert_eq!(first.history, [], "no try was begun");
    }
}

#[tokio::test]
async fn the_link_in_a_letter_stops_courtesy_and_leaves_the_question_going() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        Shop::new(store.clone()).order(MAIL, None).await;
        dispatch(store).await;
        let claimed = claim(store, token(1)).await;
        let (id, hash) = (claimed[0].delivery.id, claimed[0].delivery.recipient_hash);
        let now = store.now().await.unwrap();
        let reason = async |told| {
            store
                .insert_opt_out(&hash, Channel::Email, told, now)
                .await
                .unwrap();
            let out = store.list_opt_outs(&hash).await.unwrap();
            assert_eq!(out.len(), 1);
            out[0].reason
        };
        assert_eq!(
            reason(OptOutReason::Unsubscribed).await,
            OptOutReason::Unsubscribed
        );
        let outcome = start(store, token(1), &claimed).await;
        assert_eq!(outcome[&id], StartOutcome::Go { number: 1 });
        // A reason that stops all takes its place, and is not taken back by the link.
        for told in [
            OptOutReason::BadAddress,
            OptOutReason::Unsubscribed,
            OptOutReason::Staff,
        ] {
            assert_eq!(reason(told).await, OptOutReason::BadAddress);
        }
        assert!(OptOutReason::Unsubscribed.stops(MessageKind::Survey));
        assert!(OptOutReason::BadAddress.stops(MessageKind::ConfirmationRequest));
    }
}

#[tokio::test]
async fn m_07_an_opt_out_of_texts_leaves_letters_and_calls_going() {
    use DeliveryState::{Sent, Suppressed};
    for database in TestDatabase::all().await {
        let store = &database.store;
        let order = Shop::new(store.clone()).order(MAIL, PHONE).await;
        let now = store.now().await.unwrap();
        let hash = countersign_store::testing::recipient_hash(PHONE.unwrap());
        store
            .insert_opt_out(&hash, Channel::Sms, OptOutReason::StopWord, now)
            .await
            .unwrap();
        dispatch(store).await;
        send_all(store, token(1)).await;
        send_all(store, token(2)).await;
        store.shift_clock(Duration::minutes(61));
        let claimed = claim(store, token(3)).await;
        start(store, token(3), &claimed).await;
        let sent: Vec<Finish> = claimed
            .iter()
            .filter(|it| it.delivery.channel == Channel::Phone)
            .map(|it| finish(it, token(3), AttemptOutcome::Sent, Verdict::End(Sent)))
            .collect();
        assert_eq!(finish_all(store, &sent).await, []);
        assert_eq!(
            states(store, order.id).await,
            [(1, 1, Sent), (2, 1, Sent), (2, 2, Suppressed), (2, 3, Sent)]
        );
    }
}

#[tokio::test]
async fn m_08_an_order_that_is_called_off_while_its_messages_wait_is_told_only_that() {
    use DeliveryState::{Sent, Superseded};
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        let order = shop.order(MAIL, None).await;
        dispatch(store).await;
        shop.cancel(order.id).await;
        dispatch(store).await;
        send_what_may_go(store).await;
        assert_eq!(
            states(store, order.id).await,
            [(1, 1, Superseded), (2, 1, Superseded), (3, 1, Sent)]
        );
    }
}

/// Claims and sends until nothing is left that is due; what may not go is told so.
async fn send_what_may_go(store: &Store) {
    for number in 1.. {
        let claimed = claim(store, token(number)).await;
        if claimed.is_empty() {
            return;
        }
        let outcomes = start(store, token(number), &claimed).await;
        let going: Vec<Finish> = claimed
            .iter()
            .filter(|it| matches!(outcomes[&it.delivery.id], StartOutcome::Go { .. }))
            .map(|it| {
                let verdict = Verdict::End(DeliveryState::Sent);
                finish(it, token(number), AttemptOutcome::Sent, verdict)
            })
            .collect();
        finish_all(store, &going).await;
    }
}

#[tokio::test]
async fn m_08_an_order_that_is_changed_while_its_messages_wait_is_asked_by_the_new_ones_alone() {
    use DeliveryState::{Sent, Superseded};
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        let order = shop.order(MAIL, None).await;
        dispatch(store).await;
        let before = states(store, order.id).await.len();
        shop.amend(order.id).await;
        dispatch(store).await;
        send_what_may_go(store).await;
        let all = store.list_deliveries(order.id).await.unwrap();
        let (old, new) = all.split_at(before);
        let ended = |it: &Claimed| (it.delivery.revision, it.delivery.state);
        assert!(old.iter().all(|it| ended(it) == (1, Superseded)), "{old:?}");
        assert!(new.iter().all(|it| ended(it) == (2, Sent)), "{new:?}");
        let kinds: Vec<MessageKind> = new.iter().map(|it| it.delivery.kind).collect();
        assert_eq!(
            kinds,
            [MessageKind::OrderAmended, MessageKind::ConfirmationRequest]
        );
        assert_eq!(new[1].delivery.round, 2);
    }
}

#[tokio::test]
async fn m_10_the_same_message_of_a_step_cannot_stand_there_twice() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let order = Shop::new(store.clone()).order(MAIL, None).await;
        dispatch(store).await;
        let copy = async |number: u128, generation: &str| {
            let sql = format!(
                "INSERT INTO deliveries (id, order_id, seq, kind, revision, round, channel, step, generation, recipient, \
                 recipient_hash, state, due_time, attempts, last_error, details, create_time) \
                 SELECT X'{number:032x}', order_id, seq, kind, revision, round, channel, step, {generation}, recipient, \
                 recipient_hash, state, due_time, attempts, last_error, details, create_time \
                 FROM deliveries WHERE seq = 1 AND generation = 1"
            );
            store.connection().execute_unprepared(&sql).await
        };
        let refused = copy(1, "generation").await.unwrap_err().sql_err();
        assert!(
            matches!(refused, Some(SqlErr::UniqueConstraintViolation(_))),
            "{refused:?}"
        );
        assert_eq!(states(store, order.id).await.len(), 2);
        copy(2, "generation + 1").await.unwrap();
    }
}

/// So many letters that are due.
async fn fill(store: &Store, count: u64) {
    let details = serde_json::to_string(&MessageDetails::default()).unwrap();
    let rows = QueueRows {
        first: 1,
        count,
        state: DeliveryState::Ready,
        due_from: "2020-01-01 00:00:00".to_owned(),
        details: &details,
    };
    store.insert_queue_rows(&rows).await.unwrap();
}

/// The servers that there are; one writer at a time, as on SQLite, tells nothing about rivals.
async fn servers() -> Vec<TestDatabase> {
    let mut all = Vec::new();
    for variable in ["TEST_MYSQL_URL", "TEST_MARIADB_URL"] {
        all.extend(TestDatabase::server(variable).await);
    }
    all
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a transaction that is kept open on purpose"
)]
async fn b_12_rows_that_commit_late_are_dispatched_like_any_other() {
    for database in servers().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        let late = shop.order(MAIL, None).await;
        database
            .execute("CREATE TABLE late_rows AS SELECT * FROM outbox")
            .await;
        database.execute("DELETE FROM outbox").await;
        let transaction = store.connection().begin().await.unwrap();
        transaction
            .execute_unprepared("INSERT INTO outbox SELECT * FROM late_rows")
            .await
            .unwrap();
        let early = shop.order(MAIL, None).await;
        assert_eq!(
            dispatch(store).await,
            2,
            "the younger ones, for they are there"
        );
        assert_eq!(states(store, late.id).await, []);
        transaction.commit().await.unwrap();
        assert_eq!(dispatch(store).await, 2, "and those that came late");
        assert_eq!(states(store, late.id).await, states(store, early.id).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_08_sixty_four_workers_share_a_hundred_thousand_rows_without_a_double() {
    const ROWS: u64 = 100_000;
    let Some(database) = TestDatabase::server("TEST_MYSQL_URL").await else {
        return;
    };
    let store = &database.store;
    fill(store, ROWS).await;
    let now = store.now().await.unwrap();
    let work = (0..64_u128).map(|worker| async move {
        let mut own = Vec::new();
        for round in 1.. {
            let token = Uuid::from_u128(worker << 32 | round);
            let claimed = store
                .claim_deliveries(token, Channel::Email, now, lease(), 500)
                .await
                .unwrap();
            if claimed.is_empty() {
                break;
            }
            own.extend(claimed.into_iter().map(|it| it.delivery.id));
        }
        own
    });
    let all: Vec<DeliveryId> = futures::future::join_all(work)
        .await
        .into_iter()
        .flatten()
        .collect();
    let distinct: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(all.len(), distinct.len(), "nobody has what another has");
    assert_eq!(all.len() as u64, ROWS);
}

/// A toll that lets three messages in ten minutes go to the number, and spends five of at most a hundred.
fn toll() -> countersign_domain::sending::Toll {
    use countersign_domain::sending::{Count, SendingRefusal, Toll};
    Toll {
        number: "number/SMS/0707".to_owned(),
        number_most: (3, 10),
        counts: vec![Count {
            subject: "total/20000".to_owned(),
            amount: 5,
            most: 100,
            refusal: SendingRefusal::TotalSpend,
            last_day: 20_000,
        }],
        ..Toll::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j_04_workers_that_begin_messages_at_the_same_moment_keep_to_one_limit() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        for _ in 0..24 {
            shop.order(None, PHONE).await;
        }
        dispatch(store).await;
        let now = store.now().await.unwrap();
        let mut claims = Vec::new();
        for number in 1..=4 {
            let token = token(number);
            let claimed = store
                .claim_deliveries(token, Channel::Sms, now, lease(), 6)
                .await
                .unwrap();
            assert_eq!(claimed.len(), 6);
            claims.push((token, claimed));
        }
        let begun = claims.iter().map(|(token, claimed)| async {
            let mut rng = StdRng::from_os_rng();
            let starts: Vec<Start> = claimed
                .iter()
                .map(|it| Start {
                    delivery: it.delivery.id,
                    attempt: AttemptId::new_v7(now, &mut rng),
                    toll: Some(toll()),
                    template_version: 0,
                })
                .collect();
            store.start_attempts(*token, "test", &starts, now).await
        });
        let outcomes: Vec<StartOutcome> = futures::future::try_join_all(begun)
            .await
            .unwrap()
            .into_iter()
            .flat_map(HashMap::into_values)
            .collect();
        let go = |it: &&StartOutcome| matches!(it, StartOutcome::Go { .. });
        assert_eq!(outcomes.iter().filter(go).count(), 3, "{}", database.url);
        let waits = |it: &&StartOutcome| matches!(it, StartOutcome::Waits { .. });
        assert_eq!(outcomes.iter().filter(waits).count(), 21);
        // What waits has spent nothing.
        let spent = "SELECT amount AS n FROM sending_counts WHERE subject = 'total/20000'";
        assert_eq!(database.number(spent).await, 15);
        let times =
            "SELECT LENGTH(times) AS n FROM sending_counts WHERE subject = 'number/SMS/0707'";
        assert_eq!(database.number(times).await, 24);
        // Days gone by are forgotten, the others are not.
        assert_eq!(store.purge_sending_counts(now).await.unwrap(), 1);
        let left = "SELECT COUNT(*) AS n FROM sending_counts";
        assert_eq!(database.number(left).await, 1);
    }
}

#[tokio::test]
async fn counts_of_texts_are_found_by_their_key_and_purged_by_their_day() {
    for variable in ["TEST_MYSQL_URL", "TEST_MARIADB_URL"] {
        let Some(database) = TestDatabase::server(variable).await else {
            continue;
        };
        for number in 0..300 {
            database
                .execute(&format!(
                    "INSERT INTO sending_counts VALUES ('number/SMS/{number:04}', 0, '', {})",
                    20_000 + number / 3
                ))
                .await;
        }
        for more in ["a", "b", "c", "d"] {
            database
                .execute(&format!(
                    "INSERT INTO sending_counts SELECT CONCAT(subject, '{more}'), amount, times, last_day FROM sending_counts"
                ))
                .await;
        }
        database.execute("ANALYZE TABLE sending_counts").await;
        let subjects: Vec<String> = (0..64).map(|it| format!("'number/SMS/{it:04}'")).collect();
        let read = format!(
            "SELECT * FROM sending_counts WHERE subject IN ({})",
            subjects.join(",")
        );
        let purge =
            "SELECT * FROM sending_counts WHERE last_day < 20002 ORDER BY last_day LIMIT 5000";
        for (sql, key) in [
            (read.as_str(), "PRIMARY"),
            (purge, "ix_sending_counts_last_day"),
        ] {
            let store = &database.store;
            let plan = store
                .connection()
                .query_one_raw(sea_orm::Statement::from_string(
                    sea_orm::DbBackend::MySql,
                    format!("EXPLAIN FORMAT=TRADITIONAL {sql}"),
                ))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(
                plan.try_get::<String>("", "key").unwrap(),
                key,
                "{variable}"
            );
            assert_eq!(plan.try_get::<String>("", "type").unwrap(), "range");
        }
    }
}

/// Of the customer of all orders here.
fn erasure(now: DateTime<Utc>) -> NewErasure {
    NewErasure {
        id: ErasureId::new_v7(now, &mut StdRng::from_os_rng()),
        request_hash: [1; 32],
        customer: "C-1".to_owned(),
        customer_hash: [2; 32],
        other_hashes: Vec::new(),
        actor: "wang".to_owned(),
        reason: "asked for it".to_owned(),
    }
}

/// An order whose question was given up and whose reminder is blocked by that.
async fn blocked(shop: &mut Shop, store: &Store, token: Uuid) -> OrderId {
    use DeliveryState::{Dead, Waiting};
    let order = shop.order(None, PHONE).await.id;
    dispatch(store).await;
    let claimed = claim(store, token).await;
    start(store, token, &claimed).await;
    let [question] = claimed.as_slice() else {
        unreachable!("{claimed:?}");
    };
    let given_up = finish(
        question,
        token,
        AttemptOutcome::Permanent,
        Verdict::End(Dead),
    );
    assert_eq!(finish_all(store, &[given_up]).await, []);
    shop.remind(order).await;
    dispatch(store).await;
    let both = [(1, 1, Dead), (2, 1, Waiting)];
    assert_eq!(states(store, order).await, both);
    order
}

#[tokio::test]
async fn m_09_what_is_blocked_ends_with_its_round_or_order_and_keeps_nobody_from_erasing() {
    use DeliveryState::{Dead, Ready, Sent, Superseded};
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        shop.policy.acknowledge = false;
        shop.policy.channel_plan = vec![Channel::Sms];
        shop.policy.channel_step_seconds = Vec::new();
        let mut number = 0;
        let mut orders = Vec::new();
        for accepted in [true, false, false] {
            number += 2;
            let order = blocked(&mut shop, store, token(number)).await;
            if accepted {
                shop.accept(order).await;
            } else {
                shop.cancel(order).await;
                orders.push(order);
            }
            dispatch(store).await;
            let ended = [(1, 1, Dead), (2, 1, Superseded), (3, 1, Ready)];
            assert_eq!(states(store, order).await, ended);
            assert_eq!(send_all(store, token(number + 1)).await, 1);
        }
        // As an older program left them.
        let waits = "UPDATE deliveries SET state = 'WAITING', finish_time = NULL WHERE seq = 2";
        store.connection().execute_unprepared(waits).await.unwrap();
        let purged = store.purge_of_orders(Retained::Deliveries, &orders[..1], false);
        assert_eq!(purged.await.unwrap(), 2);
        assert_eq!(states(store, orders[0]).await, [(3, 1, Sent)]);
        let now = store.now().await.unwrap();
        let begun = store.begin_erasure(&erasure(now), true, now).await.unwrap();
        // The order that was accepted is open; no message is in the way.
        let ErasureBegun::Refused(obstacles) = begun else {
            unreachable!("{begun:?}");
        };
        assert_eq!(obstacles.orders.len(), 1);
        assert_eq!((obstacles.messages, obstacles.unsent), (vec![], vec![]));
        let ended = [(1, 1, Dead), (2, 1, Superseded), (3, 1, Sent)];
        assert_eq!(states(store, orders[1]).await, ended);
    }
}

#[tokio::test]
async fn j_09_the_next_channel_of_a_question_that_is_over_keeps_nobody_from_erasing() {
    use DeliveryState::{Ready, Sent, Superseded};
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        shop.policy.acknowledge = false;
        shop.policy.channel_plan = vec![Channel::Email, Channel::Sms];
        shop.policy.channel_step_seconds = vec![4 * 60 * 60];
        let order = shop.order(MAIL, PHONE).await.id;
        dispatch(store).await;
        assert_eq!(send_all(store, token(1)).await, 1);
        shop.cancel(order).await;
        dispatch(store).await;
        assert_eq!(send_all(store, token(2)).await, 1);
        let before = states(store, order).await;
        assert!(before.contains(&(1, 2, Ready)), "{before:?}");
        let now = store.now().await.unwrap();
        let begun = store
            .begin_erasure(&erasure(now), false, now)
            .await
            .unwrap();
        assert!(!matches!(begun, ErasureBegun::Refused(_)), "{begun:?}");
        let after = states(store, order).await;
        assert!(after.contains(&(1, 2, Superseded)), "{after:?}");
        assert!(after.contains(&(2, 1, Sent)), "{after:?}");
    }
}
