//! Members are lost under load: the primary, the primary while the others are behind, all at once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use countersign_domain::{
    contact_hours::DailyWindow, message::DeliveryState, order::Channel, policy::default_policies,
};
use countersign_e2e::System;
use countersign_store::testing::{TestDatabase, execute};
use rustix::process::Signal;

use super::{
    callers::Callers,
    members::{Cluster, Member},
    processes::Processes,
};
use crate::kills::{history::History, stage::Stage};

/// Longer than an election takes on a busy machine, and the calls that were waiting for it.
const RECOVERY_MAX: Duration = Duration::from_secs(90);
/// Longer than leases last and messages take.
const PATIENCE: Duration = Duration::from_mins(3);
/// How far the others are behind when the primary is lost.
const LAG: Duration = Duration::from_millis(2_500);

/// Goods enough, and customers who are asked by letter, or by text when they cannot be mailed.
async fn open_shop(url: &str) -> System {
    let system = System::start(TestDatabase::at(url).await).await;
    system.restock("KETTLE-17", 1_000_000).await;
    system.restock("CUP-4", 1_000_000).await;
    let now = system.store.now().await.unwrap();
    let mut policy = default_policies()
        .into_iter()
        .find(|it| it.order_type == "ECOMMERCE")
        .unwrap();
    policy.version += 1;
    policy.channel_plan = vec![Channel::Email, Channel::Sms];
    policy.channel_step_seconds = vec![1_800];
    policy.contact_hours.sms = DailyWindow::ALWAYS;
    assert!(system.store.insert_policy(&policy, now).await.unwrap());
    system
}

/// The primary is killed; how long nothing was acknowledged. It comes back as one of the others.
async fn lose_the_primary(cluster: &Cluster, callers: &Callers) -> Duration {
    callers.more(30).await;
    let killed = Instant::now();
    cluster.kill("primary").await;
    callers.more(30).await;
    let outage = callers.longest_gap_since(killed);
    cluster.again().await;
    outage
}

/// The primary is killed while both others have not carried out for seconds what it has acknowledged.
async fn lose_the_primary_that_is_ahead(
    cluster: &Cluster,
    callers: &Callers,
    database: &str,
) -> Duration {
    let all = cluster.members().await;
    let mut behind = Vec::new();
    for member in all.iter().filter(|it| it.is_secondary()) {
        let session = member.session(database).await;
        // A new primary that still has to catch up holds back whatever is said to it, but not this session.
        let eventual = "SET SESSION group_replication_consistency = 'EVENTUAL'";
        execute(&session, eventual).await;
        // Whoever carries changes out there waits for the lock.
        execute(&session, "LOCK TABLES order_events READ").await;
        behind.push(session);
    }
    assert_eq!(behind.len(), 2, "{all:?}");
    tokio::time::sleep(LAG).await;
    callers.more(10).await;
    let killed = Instant::now();
    cluster.kill("primary").await;
    // The last answers of the dead one may still be on their way.
    let quiet = killed + Duration::from_secs(2);
    let began = Instant::now();
    while !cluster.members().await.iter().any(Member::is_primary) {
        assert!(began.elapsed() < RECOVERY_MAX, "nobody is elected");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let early = callers.between(quiet, Instant::now());
    assert_eq!(early, 0, "answered by one who does not know yet what was");
    for session in behind {
        execute(&session, "UNLOCK TABLES").await;
    }
    callers.more(30).await;
    callers.longest_gap_since(killed)
}

/// The primary stands still, as a machine does that has lost its power or its network: nobody is told. Another is elected, and
/// the old one learns of it when it goes on.
async fn lose_the_primary_without_a_word(cluster: &Cluster, callers: &Callers) -> Duration {
    callers.more(30).await;
    let all = cluster.members().await;
    let primary = all.iter().find(|it| it.is_primary()).unwrap();
    let stopped = Instant::now();
    cluster.signal(primary, Signal::STOP).await;
    callers.more(30).await;
    let outage = callers.longest_gap_since(stopped);
    cluster.signal(primary, Signal::CONT).await;
    cluster.again().await;
    outage
}

/// All three are killed within a second and started again.
async fn lose_all(cluster: &Cluster, callers: &Callers) -> Duration {
    callers.more(30).await;
    let killed = Instant::now();
    cluster.kill("all").await;
    cluster.again().await;
    callers.more(30).await;
    callers.longest_gap_since(killed)
}

/// Waits until every message has come to its end.
async fn everything_is_sent(system: &System, processes: &mut Processes) {
    let began = Instant::now();
    let open = "SELECT (SELECT COUNT(*) FROM outbox) \
                + (SELECT COUNT(*) FROM deliveries WHERE state IN ('WAITING', 'READY', 'LEASED')) AS n";
    loop {
        let left = system.database.number(open).await;
        if left == 0 {
            return;
        }
        assert_eq!(processes.ended(), 0, "{}", processes.log());
        assert!(
            began.elapsed() < PATIENCE,
            "{left} messages are not sent\n{}",
            processes.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_17_b_18_l_04_whichever_members_are_lost_no_order_is_and_no_message_is_doubled() {
    let cluster = Cluster::start().await;
    let system = open_shop(&cluster.url).await;
    let database = system.database.url.rsplit('/').next().unwrap();
    let mut stage = Stage::bare(system.database.twin()).await;
    let mut processes = Processes::start(&mut stage).await;
    let callers = Callers::default();

    let breaking = async {
        let first = lose_the_primary(&cluster, &callers).await;
        let silent = lose_the_primary_without_a_word(&cluster, &callers).await;
        let all = lose_all(&cluster, &callers).await;
        let ahead = lose_the_primary_that_is_ahead(&cluster, &callers, database).await;
        callers.stop();
        [first, silent, all, ahead]
    };
    let services = processes.services;
    let ((), outages) = tokio::join!(callers.run(&services), breaking);

    assert_eq!(processes.ended(), 0, "{}", processes.log());
    let acknowledged = callers.acknowledged();
    let orders = system.all_orders().await;
    let there: BTreeMap<String, String> = orders
        .iter()
        .map(|order| (order.client_reference.clone(), order.name.clone()))
        .collect();
    let missing = acknowledged
        .iter()
        .filter(|(reference, name)| there.get(*reference) != Some(name))
        .count();
    println!(
        "{} orders acknowledged, {missing} missing; {} calls made again; without an answer: {:.1} s until another was \
         elected, {:.1} s when the first said nothing, {:.1} s until all three were back, {:.1} s until one that was behind had caught up",
        acknowledged.len(),
        callers.repeated(),
        outages[0].as_secs_f64(),
        outages[1].as_secs_f64(),
        outages[2].as_secs_f64(),
        outages[3].as_secs_f64(),
    );
    assert_eq!(missing, 0);
    assert_eq!(there.len(), orders.len(), "a reference is there twice");
    assert_eq!(there, acknowledged, "every call was answered in the end");
    assert!(callers.repeated() > 0, "it was not felt");
    assert!(outages[0] < RECOVERY_MAX, "{outages:?}");
    assert!(outages[1] < RECOVERY_MAX, "{outages:?}");
    system.stock_agrees_with_orders().await;

    everything_is_sent(&system, &mut processes).await;
    assert!(processes.end().await, "{}", processes.log());
    stage.orders = there
        .values()
        .map(|name| name.strip_prefix("orders/").unwrap().parse().unwrap())
        .collect();
    let mut history = History::default();
    history.judge(&stage).await;
    println!("{}", history.figures);
    assert!(history.problems.is_empty(), "{:#?}", history.problems);
    assert_eq!(history.figures.lost, 0);
    let all = stage.deliveries().await;
    let sent = all
        .iter()
        .filter(|it| it.delivery.state == DeliveryState::Sent)
        .count();
    assert!(
        sent >= orders.len(),
        "{sent} messages of {} orders",
        orders.len()
    );
}
