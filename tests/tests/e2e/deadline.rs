//! Answers at the deadline of a round: the time of receipt decides, and each round closes once (F-21).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use countersign_e2e::{Replica, System, fresh_id, kinds, order_builder, timestamp};
use countersign_proto::v1::{
    self, ConfirmationState as Round, OrderState as S, policy_service_client::PolicyServiceClient,
};
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

/// A shop whose customers may be written to and rung up for one hour a day, which begins two hours after the deadline of an
/// order that comes in now.
async fn quiet_at_the_deadline(system: &System, quiet: v1::QuietDeadline) {
    let address = system.replicas[0].address;
    let mut client = PolicyServiceClient::connect(format!("http://{address}"))
        .await
        .unwrap();
    let named = v1::GetOrderPolicyRequest {
        name: "orderPolicies/ECOMMERCE".to_owned(),
    };
    let mut policy = client.get_order_policy(named).await.unwrap().into_inner();
    let deadline = system.store.now().await.unwrap() + WINDOW;
    // By the customer's clock, in Shanghai.
    let hour = (deadline + TimeDelta::hours(8)).hour();
    let daily = v1::DailyWindow {
        opens: format!("{:02}:00", (hour + 2) % 24),
        closes: format!("{:02}:00", (hour + 3) % 24),
    };
    policy.contact_hours = Some(v1::ContactHours {
        email: Some(daily.clone()),
        sms: Some(daily.clone()),
        phone: Some(daily),
        quiet_deadline: quiet.into(),
    });
    policy.confirmation_mode = v1::ConfirmationMode::Explicit.into();
    policy.confirmation_window = Some(prost_types::Duration {
        seconds: WINDOW.num_seconds(),
        nanos: 0,
    });
    let update = v1::UpdateOrderPolicyRequest {
        order_policy: Some(policy),
        request_id: fresh_id("policy"),
    };
    client.update_order_policy(update).await.unwrap();
}

/// How long customers have to answer.
const WINDOW: TimeDelta = TimeDelta::hours(6);

#[tokio::test]
async fn g_06_a_deadline_in_quiet_hours_stays_or_moves_to_an_hour_after_them_as_the_policy_says() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let mut client = system.orders().await;
        let mut orders = Vec::new();
        for quiet in [v1::QuietDeadline::Expire, v1::QuietDeadline::Extend] {
            quiet_at_the_deadline(&system, quiet).await;
            let order = client.create_order(order_builder().request()).await;
            let name = order.unwrap().into_inner().name;
            let trace = system.trace(&name).await;
            let round = &trace.confirmations[0];
            let time = |at: Option<prost_types::Timestamp>| {
                let at = at.unwrap();
                DateTime::from_timestamp(at.seconds, at.nanos.unsigned_abs()).unwrap()
            };
            let planned = time(round.create_time) + WINDOW;
            orders.push((name, planned, time(round.expire_time)));
        }
        let [(stays, planned, at_once), (moves, late, extended)] = orders.as_slice() else {
            unreachable!("two orders");
        };
        assert_eq!(at_once, planned);
        // The hours begin at a full hour of Shanghai's, one to two hours after the planned deadline.
        let opens = *extended - TimeDelta::hours(1);
        assert_eq!(
            (opens.minute(), opens.second(), opens.nanosecond()),
            (0, 0, 0)
        );
        let wait = opens - *late;
        assert!(wait > TimeDelta::hours(1), "{wait}");
        assert!(wait <= TimeDelta::hours(2), "{wait}");

        let pass = async |until: DateTime<Utc>| {
            let left = until - system.store.now().await.unwrap();
            system.store.shift_clock(left);
        };
        pass(*late + TimeDelta::minutes(1)).await;
        system.until(stays, S::UnderAudit).await;
        // Deadlines are looked at in their order: the other one's would have been, too.
        let order = system.order(moves).await;
        assert_eq!(order.state(), S::AwaitingConfirmation);
        pass(*extended - TimeDelta::minutes(1)).await;
        let answered = client.accept_confirmation(yes(moves, None)).await;
        assert_eq!(answered.unwrap().into_inner().state(), S::Allocated);
        let trace = system.trace(moves).await;
        assert_eq!(trace.confirmations[0].state(), Round::Accepted);
        let trace = system.trace(stays).await;
        assert_eq!(trace.confirmations[0].state(), Round::Expired);

        // Another one of the kind gets no answer, and ends at the deadline that has moved.
        quiet_at_the_deadline(&system, v1::QuietDeadline::Extend).await;
        let order = client.create_order(order_builder().request()).await;
        let name = order.unwrap().into_inner().name;
        pass(system.store.now().await.unwrap() + WINDOW + TimeDelta::hours(4)).await;
        system.until(&name, S::UnderAudit).await;
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
