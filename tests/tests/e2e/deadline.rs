//! Answers at the deadline of a round: the time of receipt decides, and each round closes once (F-21).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use countersign_e2e::{Replica, System, fresh_id, kinds, order_builder, timestamp};
use countersign_proto::v1::{self, ConfirmationState as Round, OrderState as S};
use countersign_store::{
    Settings, Store,
    testing::{TestDatabase, data_keys},
};
use futures::future::join_all;

const MILLISECOND: TimeDelta = TimeDelta::milliseconds(1);
/// Orders whose customers answer as the deadline passes, at once.
const ORDERS: usize = 20;
/// Until orders of both fates were seen.
const WAVES: usize = 6;

/// An order whose customer must say yes before a time.
async fn asked(system: &System, deadline: DateTime<Utc>) -> String {
    let mut client = system.orders().await;
    let order = client.create_order(order_builder().request()).await;
    let name = order.unwrap().into_inner().name;
    let request = v1::CreateConfirmationRequest {
        parent: name.clone(),
        request_id: fresh_id("ask"),
        channels: vec![v1::Channel::Email.into()],
        mode: v1::ConfirmationMode::Explicit.into(),
        expire_time: Some(timestamp(deadline)),
        ..v1::CreateConfirmationRequest::default()
    };
    client.create_confirmation(request).await.unwrap();
    name
}

fn yes(name: &str, received: Option<DateTime<Utc>>) -> v1::AcceptConfirmationRequest {
    v1::AcceptConfirmationRequest {
        name: name.to_owned(),
        request_id: fresh_id("yes"),
        answer_channel: v1::AnswerChannel::Link.into(),
        answered_by: "customer".to_owned(),
        receive_time: received.map(timestamp),
        ..v1::AcceptConfirmationRequest::default()
    }
}

/// The round that was asked by [`asked`], and how many events closed a round of the order.
async fn closed(system: &System, name: &str) -> (v1::Confirmation, usize) {
    let mut trace = system.trace(name).await;
    let closing = ["order.confirmed", "order.confirmation_expired"];
    let kinds = kinds(&trace.events);
    let count = kinds.iter().filter(|it| closing.contains(it)).count();
    (trace.confirmations.remove(1), count)
}

#[tokio::test]
async fn f_21_an_answer_counts_when_it_was_received_a_millisecond_before_the_deadline_and_not_after()
 {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let mut client = system.orders().await;
        let deadline = system.store.now().await.unwrap() + TimeDelta::hours(1);
        let mut orders = Vec::new();
        for offset in [-1, 0, 1] {
            orders.push((offset, asked(&system, deadline).await));
        }
        // Nobody looks at deadlines when this one passes.
        let database = &system.database;
        let aside = "CREATE TABLE late_timers AS SELECT * FROM timers";
        database.execute(aside).await;
        database.execute("DELETE FROM timers").await;
        system.store.shift_clock(TimeDelta::minutes(61));
        for (offset, name) in &orders {
            let received = deadline + MILLISECOND * *offset;
            let answer = client.accept_confirmation(yes(name, Some(received)));
            let order = answer.await.unwrap().into_inner();
            let (round, closings) = closed(&system, name).await;
            if *offset < 0 {
                assert_eq!(
                    (order.state(), round.state()),
                    (S::Allocated, Round::Accepted)
                );
                assert_eq!(round.answer_time, Some(timestamp(received)));
                assert_eq!((round.late_answers.len(), closings), (0, 1));
            } else {
                assert_eq!(order.state(), S::AwaitingConfirmation, "{offset}");
                assert_eq!((round.state(), closings), (Round::Open, 0), "{offset}");
                assert_eq!(round.late_answers.len(), 1, "{offset}");
                let late = &round.late_answers[0];
                assert_eq!(late.answer_time, Some(timestamp(received)));
                assert!(late.accepted);
            }
        }
        let back = "INSERT INTO timers SELECT * FROM late_timers";
        database.execute(back).await;
        for (offset, name) in &orders {
            let (state, fate) = if *offset < 0 {
                (S::Allocated, Round::Accepted)
            } else {
                (S::UnderAudit, Round::Expired)
            };
            system.until(name, state).await;
            let (round, closings) = closed(&system, name).await;
            assert_eq!((round.state(), closings), (fate, 1), "{offset}");
        }
    }
}

/// Answers so many orders one after the other while their deadline passes, by turns through two processes; every second
/// answer was received in time and is handed over now. Tells of each whether it was confirmed.
async fn race(system: &System, replicas: [&Replica; 2], second: &Store) -> Vec<bool> {
    let deadline = system.store.now().await.unwrap() + TimeDelta::hours(1);
    let names = join_all((0..ORDERS).map(|_| asked(system, deadline))).await;
    let left = deadline - system.store.now().await.unwrap();
    let lead = left - TimeDelta::milliseconds(500);
    for store in [&system.store, second] {
        store.shift_clock(lead);
    }
    let left = (deadline - system.store.now().await.unwrap()).to_std();
    let left = left.unwrap_or_default();
    let mut clients = Vec::new();
    for replica in replicas {
        clients.push(replica.orders("shop").await);
    }
    let turns = clients.iter().cycle();
    let answers = names
        .iter()
        .zip(turns)
        .zip(0..)
        .map(|((name, client), number)| {
            let mut client = client.clone();
            // From a tenth of a second before the deadline to a quarter after it, when the timers have fired.
            let at = left.saturating_sub(Duration::from_millis(100));
            let at = at + Duration::from_millis(18) * number;
            let received = (number / 2 % 2 == 1_u32).then(|| deadline - MILLISECOND);
            async move {
                tokio::time::sleep(at).await;
                let answer = client.accept_confirmation(yes(name, received)).await;
                (received, answer.unwrap().into_inner().state())
            }
        });
    let answers = join_all(answers).await;
    let mut raced = Vec::new();
    for (name, (received, told)) in names.iter().zip(answers) {
        let confirmed = told == S::Allocated;
        let end = if confirmed {
            S::Allocated
        } else {
            S::UnderAudit
        };
        system.until(name, end).await;
        let (round, closings) = closed(system, name).await;
        assert_eq!(closings, 1, "{name} was closed {closings} times");
        let late = round.late_answers.len();
        if confirmed {
            assert_eq!((round.state(), late), (Round::Accepted, 0), "{name}");
            // By the database's time, not by when the call was made.
            let answered = round.answer_time.unwrap();
            let most = received.unwrap_or(deadline - TimeDelta::microseconds(1));
            let most = timestamp(most);
            assert!(
                (answered.seconds, answered.nanos) <= (most.seconds, most.nanos),
                "{name}"
            );
        } else {
            assert_eq!((round.state(), late), (Round::Expired, 1), "{name}");
        }
        raced.push(confirmed);
    }
    raced
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_21_answers_and_timers_at_the_same_moment_close_every_round_once() {
    for database in TestDatabase::all().await {
        let mut system = System::start(database).await;
        let settings = Settings::new(system.database.url.clone(), data_keys());
        let second = Store::connect(&settings).await.unwrap();
        system.replicas.push(Replica::start(second.clone()).await);
        let replicas = [&system.replicas[0], &system.replicas[1]];
        let (mut confirmed, mut expired) = (0, 0);
        for _ in 0..WAVES {
            for was_confirmed in race(&system, replicas, &second).await {
                confirmed += u32::from(was_confirmed);
                expired += u32::from(!was_confirmed);
            }
            if confirmed > 0 && expired > 0 {
                break;
            }
        }
        println!("{confirmed} confirmed, {expired} expired");
        assert!(confirmed > 0 && expired > 0, "{confirmed} {expired}");
        system.stock_agrees_with_orders().await;
    }
}
