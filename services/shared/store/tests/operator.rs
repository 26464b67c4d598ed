//! What staff do about messages that were given up, on every database.
#![cfg(test)]

use chrono::Duration;
use countersign_domain::{
    ids::{AttemptId, CommitId, DeliveryId, OrderId},
    message::{AttemptOutcome, Delivery, DeliveryState, GatewayState, OptOutReason, Recipient},
    operator::{ActKind, ActOutcome, RequeueRefusal},
    order::Channel,
};
use countersign_store::{
    ActCall, Acted, DeadLetterQuery, DispatchFacts, Finish, FreshIds, NextStep, Planned,
    Resolution, Start, StartOutcome, Store, Verdict,
    testing::{TestDatabase, shop::Shop},
};
use rand::{SeedableRng, rngs::StdRng};
use uuid::Uuid;

const MAIL: Option<&str> = Some("canary@example.com");
const PHONE: Option<&str> = Some("+8613912345678");

fn hash_of(address: &str) -> [u8; 32] {
    countersign_store::testing::recipient_hash(address)
}

/// Plans as the worker does, in short.
fn plan(facts: &DispatchFacts<'_>) -> Vec<Planned> {
    let mut rng = StdRng::from_os_rng();
    let channels = facts.round.map_or_else(
        || vec![Channel::Email],
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
                recipient_hash: hash_of(to),
                due_time: facts.now + Duration::minutes(30 * step),
            }
        })
        .collect()
}

/// Dispatches and tries everything that is due; each try ends as told.
async fn try_all(store: &Store, outcome: AttemptOutcome, state: DeliveryState) -> Vec<Delivery> {
    let now = store.now().await.unwrap();
    store.dispatch(500, now, plan).await.unwrap();
    let mut rng = StdRng::from_os_rng();
    let token = CommitId::new_v7(now, &mut rng).as_uuid();
    let mut tried = Vec::new();
    for channel in Channel::ALL {
        let lease = Duration::seconds(30);
        let claimed = store
            .claim_deliveries(token, *channel, now, lease, 500)
            .await
            .unwrap();
        let starts: Vec<Start> = claimed
            .iter()
            .map(|it| Start {
                delivery: it.delivery.id,
                attempt: AttemptId::new_v7(now, &mut rng),
                toll: None,
                template_version: 0,
            })
            .collect();
        let begun = store
            .start_attempts(token, "test", &starts, now)
            .await
            .unwrap();
        let finishes: Vec<Finish> = claimed
            .iter()
            .filter_map(|it| match begun[&it.delivery.id] {
                StartOutcome::Go { number } => Some(Finish {
                    delivery: it.delivery.id,
                    order_id: it.delivery.order_id,
                    token,
                    number,
                    outcome,
                    error: "CONNECT: nobody answers".to_owned(),
                    provider_id: None,
                    verdict: Verdict::End(state),
                    next: NextStep::AsPlanned,
                    if_taken: None,
                }),
                _ => None,
            })
            .collect();
        assert_eq!(store.finish_attempts(&finishes, now).await.unwrap(), []);
        tried.extend(claimed.into_iter().map(|it| it.delivery));
    }
    tried
}

async fn give_up_all(store: &Store) -> Vec<Delivery> {
    try_all(store, AttemptOutcome::NotSent, DeliveryState::Dead).await
}

async fn call(store: &Store, request: u8, actor: &str) -> ActCall {
    let now = store.now().await.unwrap();
    ActCall {
        id: CommitId::new_v7(now, &mut StdRng::from_os_rng()).as_uuid(),
        request_hash: [request; 32],
        fingerprint: [1; 32],
        actor: actor.to_owned(),
        approver: String::new(),
        reason: "the relay is up again".to_owned(),
    }
}

async fn requeue(store: &Store, id: DeliveryId, call: &ActCall) -> Acted<Delivery, RequeueRefusal> {
    let now = store.now().await.unwrap();
    let new = DeliveryId::new_v7(now, &mut StdRng::from_os_rng());
    store.requeue_delivery(id, new, call, now).await.unwrap()
}

async fn states(store: &Store, order: OrderId) -> Vec<(u32, u32, u32, DeliveryState)> {
    let all = store.list_deliveries(order).await.unwrap();
    all.iter()
        .map(|it| &it.delivery)
        .map(|it| (it.seq, it.step, it.generation, it.state))
        .collect()
}

fn query(states: &[DeliveryState], limit: u64) -> DeadLetterQuery {
    DeadLetterQuery {
        states: states.to_vec(),
        channels: Channel::ALL.to_vec(),
        error_code: None,
        start_time: None,
        end_time: None,
        after: None,
        limit,
    }
}

#[tokio::test]
async fn h_05_a_message_is_requeued_once_whoever_asks_and_the_record_names_all() {
    use DeliveryState::{Dead, Ready, Requeued, Sent};
    for database in TestDatabase::all().await {
        let store = &database.store;
        let order = Shop::new(store.clone()).order(MAIL, None).await;
        let dead = give_up_all(store).await.remove(0);
        let first = call(store, 1, "wang").await;
        let Acted::Answered(new, ActOutcome::Done) = requeue(store, dead.id, &first).await else {
            panic!("refused")
        };
        assert_eq!((new.generation, new.state, new.attempts), (2, Ready, 0));
        // The same call again, a second operator, and an id that was used for something else.
        let again = requeue(store, dead.id, &first).await;
        assert_eq!(again, Acted::Answered(new.clone(), ActOutcome::Done));
        let second = call(store, 2, "li").await;
        let already = requeue(store, dead.id, &second).await;
        assert_eq!(already, Acted::Answered(new.clone(), ActOutcome::Already));
        let other = ActCall {
            fingerprint: [9; 32],
            ..first
        };
        assert_eq!(requeue(store, dead.id, &other).await, Acted::OtherRequest);
        assert_eq!(
            states(store, order.id).await[..2],
            [(1, 1, 1, Requeued), (1, 1, 2, Ready)]
        );
        let acts = store.list_delivery_acts(dead.id).await.unwrap();
        let told: Vec<_> = acts
            .iter()
            .map(|act| (act.action, act.outcome, act.actor.as_str(), act.generation))
            .collect();
        assert_eq!(
            told,
            [
                (ActKind::Requeue, ActOutcome::Done, "wang", 1),
                (ActKind::Requeue, ActOutcome::Already, "li", 1)
            ]
        );
        assert!(acts.iter().all(|act| act.reason == "the relay is up again"));
        // It dies again and is requeued again: one more generation.
        give_up_all(store).await;
        let third = call(store, 3, "li").await;
        let Acted::Answered(third, ActOutcome::Done) = requeue(store, new.id, &third).await else {
            panic!("refused")
        };
        assert_eq!(third.generation, 3);
        try_all(store, AttemptOutcome::Sent, Sent).await;
        assert_eq!(
            states(store, order.id).await[..3],
            [(1, 1, 1, Requeued), (1, 1, 2, Requeued), (1, 1, 3, Sent)]
        );
        let left = store.list_dead_letters(&query(&[Dead], 10)).await.unwrap();
        assert!(left.items.iter().all(|it| it.message.delivery.seq == 2));
    }
}

#[tokio::test]
async fn h_05_operators_at_the_same_time_make_one_new_generation() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let order = Shop::new(store.clone()).order(MAIL, None).await;
        let dead = give_up_all(store).await.remove(0);
        // Four operators, each of whom asks twice at once.
        let answers = futures::future::join_all((0..8_u8).map(|number| async move {
            let call = call(store, number / 2, "wang").await;
            requeue(store, dead.id, &call).await
        }))
        .await;
        let mut made = Vec::new();
        let mut done = 0;
        for answer in answers {
            let Acted::Answered(new, outcome) = answer else {
                panic!("{answer:?}")
            };
            made.push(new.id);
            done += u32::from(outcome == ActOutcome::Done);
        }
        made.dedup();
        assert_eq!(made.len(), 1);
        assert!((1..=2).contains(&done), "one operator did it: {done}");
        let rows = states(store, order.id).await;
        assert_eq!(rows.iter().filter(|row| row.0 == 1).count(), 2);
        let acts = store.list_delivery_acts(dead.id).await.unwrap();
        assert_eq!(acts.len(), 4);
    }
}

#[tokio::test]
async fn h_06_a_bulk_is_bounded_resumable_and_goes_out_ten_a_second() {
    use DeliveryState::Dead;
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        let mut orders = Vec::new();
        for _ in 0..25 {
            orders.push(shop.order(MAIL, None).await.id);
        }
        give_up_all(store).await;
        shop.cancel(orders[3]).await;
        let now = store.now().await.unwrap();
        store
            .register_gateways(&[("email-smtp".to_owned(), Channel::Email)], now)
            .await
            .unwrap();
        let mut asked = DeadLetterQuery {
            channels: vec![Channel::Email],
            error_code: Some("CONNECT".to_owned()),
            ..query(&[Dead], 10)
        };
        let mut last = None;
        let mut counts = Vec::new();
        for number in 1..=4 {
            let mut rng = StdRng::from_os_rng();
            let fresh: Vec<FreshIds> = (0..asked.limit)
                .map(|_| FreshIds {
                    delivery: DeliveryId::new_v7(now, &mut rng),
                    act: CommitId::new_v7(now, &mut rng).as_uuid(),
                })
                .collect();
            let call = call(store, number, "wang").await;
            let bulk = async || {
                let bulk = store.requeue_deliveries(Channel::Email, &asked, &fresh, &call, now);
                match bulk.await.unwrap() {
                    Acted::Answered(done, _) => done,
                    other => panic!("{other:?}"),
                }
            };
            let done = bulk().await;
            assert_eq!(bulk().await, done, "a repeated call does nothing more");
            counts.push((done.requeued, done.refused.values().sum::<u32>()));
            last = done.last_due_time.or(last);
            asked.after = done.next_key();
            if asked.after.is_none() {
                break;
            }
        }
        // Those that ended at the same moment come in any sequence: the refused one is in one of the first two.
        let looked_at: Vec<u32> = counts.iter().map(|it| it.0 + it.1).collect();
        assert_eq!(looked_at, [10, 10, 5]);
        let refused: u32 = counts.iter().map(|it| it.1).sum();
        assert_eq!(refused, 1, "of the order that was called off");
        let mut due = Vec::new();
        for order in &orders {
            let all = store.list_deliveries(*order).await.unwrap();
            due.extend(
                all.iter()
                    .filter(|it| it.delivery.generation == 2)
                    .map(|it| it.delivery.due_time),
            );
        }
        due.sort_unstable();
        assert_eq!(due.len(), 24);
        assert_eq!(due.last().copied(), last);
        for pair in due.windows(2) {
            assert_eq!(pair[1] - pair[0], Duration::milliseconds(100));
        }
    }
}

#[tokio::test]
async fn h_06_fifty_thousand_are_requeued_ten_a_second_cancelled_half_way_and_resumed() {
    use DeliveryState::Dead;
    let database = match TestDatabase::server("TEST_MYSQL_URL").await {
        Some(database) => database,
        None => TestDatabase::sqlite().await,
    };
    let store = &database.store;
    let mut shop = Shop::new(store.clone());
    for _ in 0..250 {
        shop.order(MAIL, None).await;
    }
    give_up_all(store).await;
    // Only what the bulk brings is to be due.
    database
        .execute("UPDATE deliveries SET state = 'SENT' WHERE seq > 1")
        .await;
    database.multiply_dead_letters(50_000 / 250 - 1).await;
    let dead = "SELECT COUNT(*) AS n FROM deliveries WHERE state = 'DEAD'";
    assert_eq!(database.number(dead).await, 50_000);
    let now = store.now().await.unwrap();
    let asked = DeadLetterQuery {
        channels: vec![Channel::Email],
        ..query(&[Dead], 500)
    };
    let mut calls = 0_u16;
    let mut bulk = async || {
        calls += 1;
        let mut rng = StdRng::from_os_rng();
        let fresh: Vec<FreshIds> = (0..500)
            .map(|_| FreshIds {
                delivery: DeliveryId::new_v7(now, &mut rng),
                act: CommitId::new_v7(now, &mut rng).as_uuid(),
            })
            .collect();
        let mut call = call(store, 0, "wang").await;
        call.request_hash[..2].copy_from_slice(&calls.to_be_bytes());
        let bulk = store.requeue_deliveries(Channel::Email, &asked, &fresh, &call, now);
        match bulk.await.unwrap() {
            Acted::Answered(done, _) => done,
            other => panic!("{other:?}"),
        }
    };
    let mut requeued = 0;
    for _ in 0..40 {
        requeued += bulk().await.requeued;
    }
    // Whoever stops calling has cancelled the rest.
    assert_eq!(requeued, 20_000);
    assert_eq!(database.number(dead).await, 30_000);
    // Whatever worker claims, at whatever moment: ten a second of them.
    let token = CommitId::new_v7(now, &mut StdRng::from_os_rng()).as_uuid();
    for seconds in [0_i64, 10, 30] {
        let at = now + Duration::seconds(seconds);
        let lease = Duration::hours(1);
        let mut claimed = 0;
        loop {
            let some = store.claim_deliveries(token, Channel::Email, at, lease, 500);
            let some = some.await.unwrap().len();
            claimed += some;
            if some == 0 {
                break;
            }
        }
        let before = if seconds == 30 { 10 } else { 0 };
        let due = (seconds - before) * 10 + i64::from(seconds == 0);
        assert_eq!(i64::try_from(claimed).unwrap(), due, "after {seconds} s");
    }
    // Calling again goes on where it was cut off.
    let mut last = None;
    while requeued < 50_000 {
        let done = bulk().await;
        assert!(done.requeued > 0, "{done:?}");
        requeued += done.requeued;
        last = done.last_due_time;
    }
    assert_eq!(requeued, 50_000);
    assert_eq!(database.number(dead).await, 0);
    assert_eq!(bulk().await.requeued, 0);
    let spread = last.unwrap() - now;
    assert_eq!(spread, Duration::milliseconds(49_999 * 100), "ten a second");
    let made = "SELECT COUNT(*) AS n FROM deliveries WHERE generation = 2";
    assert_eq!(database.number(made).await, 50_000);
    let acts = "SELECT COUNT(*) AS n FROM operator_acts WHERE action = 'REQUEUE'";
    assert_eq!(database.number(acts).await, 50_000, "each is on record");
}

#[tokio::test]
async fn h_07_a_requeue_is_refused_with_its_reason() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        let cancelled = shop.order(MAIL, None).await;
        let confirmed = shop.order(MAIL, None).await;
        let unwilling = shop.order(Some("no@example.com"), None).await;
        // First the acknowledgements, then the requests.
        let mut dead = give_up_all(store).await;
        dead.extend(give_up_all(store).await);
        let id = |order: OrderId, seq: u32| {
            let found = dead.iter().find(|it| (it.order_id, it.seq) == (order, seq));
            found.unwrap().id
        };
        shop.cancel(cancelled.id).await;
        shop.accept(confirmed.id).await;
        let now = store.now().await.unwrap();
        store
            .insert_opt_out(
                &hash_of("no@example.com"),
                Channel::Email,
                OptOutReason::StopWord,
                now,
            )
            .await
            .unwrap();
        for (number, id, refusal) in [
            (1, id(cancelled.id, 1), RequeueRefusal::OrderEnded),
            (2, id(confirmed.id, 2), RequeueRefusal::RoundOver),
            (3, id(unwilling.id, 1), RequeueRefusal::OptedOut),
        ] {
            let call = call(store, number, "wang").await;
            assert_eq!(requeue(store, id, &call).await, Acted::Refused(refusal));
            assert_eq!(store.list_delivery_acts(id).await.unwrap(), []);
        }
        let rows = states(store, unwilling.id).await;
        assert!(rows.iter().all(|row| row.2 == 1), "{rows:?}");
        let nothing = DeliveryId::from_uuid(Uuid::from_u128(7));
        let nobody = call(store, 4, "wang").await;
        assert_eq!(requeue(store, nothing, &nobody).await, Acted::NotFound);
    }
}

#[tokio::test]
async fn h_08_a_doubt_is_resolved_once_and_the_next_channel_follows() {
    use DeliveryState::{Failed, InDoubt, Ready, Sent};
    for database in TestDatabase::all().await {
        let store = &database.store;
        let order = Shop::new(store.clone()).order(MAIL, PHONE).await;
        let first = try_all(store, AttemptOutcome::InDoubt, InDoubt)
            .await
            .remove(0);
        let second = try_all(store, AttemptOutcome::InDoubt, InDoubt)
            .await
            .remove(0);
        let resolve = async |id, resolution, request| {
            let call = call(store, request, "wang").await;
            let now = store.now().await.unwrap();
            let resolved = store.resolve_delivery(id, resolution, &call, now);
            resolved.await.unwrap()
        };
        // In doubt it cannot be requeued.
        let early = call(store, 9, "wang").await;
        assert_eq!(
            requeue(store, first.id, &early).await,
            Acted::Refused(RequeueRefusal::InDoubt)
        );
        for (request, wanted) in [
            (1, ActOutcome::Done),
            (1, ActOutcome::Done),
            (2, ActOutcome::Already),
        ] {
            let answer = resolve(first.id, Resolution::Sent, request).await;
            let Acted::Answered(now, outcome) = answer else {
                panic!("{answer:?}")
            };
            assert_eq!((now.state, outcome), (Sent, wanted));
        }
        // What one found the other cannot overturn.
        assert_eq!(
            resolve(first.id, Resolution::NotSent, 3).await,
            Acted::Refused(Sent)
        );
        let answer = resolve(second.id, Resolution::NotSent, 4).await;
        let Acted::Answered(now, ActOutcome::Done) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(now.state, Failed);
        assert!(now.last_error.starts_with("NOT_SENT: "));
        assert_eq!(
            states(store, order.id).await,
            [
                (1, 1, 1, Sent),
                (2, 1, 1, Failed),
                (2, 2, 1, Ready),
                (2, 3, 1, Ready)
            ]
        );
        let texts = try_all(store, AttemptOutcome::Sent, Sent).await;
        assert_eq!(texts.len(), 1, "its turn came at once");
        assert_eq!(texts[0].channel, Channel::Sms);
        let acts = store.list_delivery_acts(first.id).await.unwrap();
        assert_eq!(acts.len(), 2);
    }
}

#[tokio::test]
async fn dead_letters_are_listed_newest_first_page_by_page() {
    use DeliveryState::{Dead, InDoubt};
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        for number in 0..7 {
            shop.order(MAIL, None).await;
            let state = if number % 2 == 0 { Dead } else { InDoubt };
            try_all(store, AttemptOutcome::NotSent, state).await;
        }
        database
            .execute("UPDATE deliveries SET kind = 'NEWS' WHERE state = 'IN_DOUBT'")
            .await;
        let whole = store
            .list_dead_letters(&query(&[Dead, InDoubt], 100))
            .await
            .unwrap();
        assert!(!whole.more);
        assert!(whole.items.len() >= 13, "{}", whole.items.len());
        let keys: Vec<_> = whole
            .items
            .iter()
            .map(countersign_store::DeadLetter::key)
            .collect();
        assert!(keys.windows(2).all(|pair| pair[0] > pair[1]));
        assert!(whole.items.iter().any(|it| it.kind == "NEWS"));
        assert!(whole.items.iter().all(|it| it.message.history.len() == 1));
        let mut asked = query(&[Dead, InDoubt], 3);
        let mut paged = Vec::new();
        loop {
            let page = store.list_dead_letters(&asked).await.unwrap();
            asked.after = page.items.last().map(countersign_store::DeadLetter::key);
            paged.extend(page.items);
            if !page.more {
                break;
            }
        }
        assert_eq!(paged, whole.items);
        let one = &whole.items[0];
        let found = store
            .find_delivery_with_attempts(one.message.delivery.id)
            .await
            .unwrap();
        assert_eq!(found.as_ref(), Some(one));
        if database.url.starts_with("mysql") {
            asked.error_code = Some("CONNECT".to_owned());
            let plan = store.explain_dead_letters(&asked).await.unwrap();
            assert_eq!(plan.lines().count(), 6, "{plan}");
            for line in plan.lines() {
                assert!(line.contains("ix_deliveries_channel"), "{plan}");
                assert!(!line.contains("filesort"), "{plan}");
            }
        }
    }
}

#[tokio::test]
async fn what_staff_do_to_gateways_and_for_recipients_is_on_record() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let now = store.now().await.unwrap();
        let accounts = [("sms-gateway".to_owned(), Channel::Sms)];
        store.register_gateways(&accounts, now).await.unwrap();
        let order = call(store, 1, "wang").await;
        for _ in 0..2 {
            let held = store
                .operate_gateway("sms-gateway", GatewayState::Held, None, &order, now)
                .await
                .unwrap();
            let Acted::Answered(held, ActOutcome::Done) = held else {
                panic!("{held:?}")
            };
            assert!(held.is_held_at(now));
            assert_eq!(
                (held.changed_by.as_str(), held.reason),
                ("wang", order.reason.clone())
            );
        }
        let release = call(store, 2, "li").await;
        let nowhere = store
            .operate_gateway("pigeon", GatewayState::Open, None, &release, now)
            .await
            .unwrap();
        assert_eq!(nowhere, Acted::NotFound);
        store
            .operate_gateway("sms-gateway", GatewayState::Open, None, &release, now)
            .await
            .unwrap();
        let acts = store.list_gateway_acts("sms-gateway").await.unwrap();
        let told: Vec<_> = acts
            .iter()
            .map(|it| (it.action, it.actor.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (ActKind::HoldGateway, "wang"),
                (ActKind::ReleaseGateway, "li")
            ]
        );

        let hash = hash_of("+8613912345678");
        for (request, allowed, wanted) in [
            (3, false, ActOutcome::Done),
            (4, false, ActOutcome::Already),
            (5, true, ActOutcome::Done),
        ] {
            let call = call(store, request, "wang").await;
            let set = store
                .set_contact_preference(&hash, Channel::Sms, allowed, &call, now)
                .await
                .unwrap();
            assert_eq!(set, Acted::Answered((), wanted));
            let out = store.list_opt_outs(&hash).await.unwrap();
            assert_eq!(out.is_empty(), allowed);
            assert!(out.iter().all(|it| it.reason == OptOutReason::Staff));
        }
        assert_eq!(
            database
                .number("SELECT COUNT(*) AS n FROM operator_acts WHERE subject LIKE 'recipients/%'")
                .await,
            3
        );
    }
}
