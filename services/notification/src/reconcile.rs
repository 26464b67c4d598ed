//! The operator's question after a restore, put together from a configuration as the worker is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use anyhow::ensure;
use countersign_domain::{
    message::every_account, order::Channel, safe_mode::SafeModeState, secrets::LinkKey,
};
use countersign_runtime::{clock::SystemClock, config::Config};
use countersign_store::{DispatchFacts, Store};
use tokio_util::sync::CancellationToken;

use crate::{
    alive::Alive,
    bell::Bell,
    context::Writer,
    deliver::{Courier, RecentOrders, ReconcileReport},
    guard::SendingGuard,
    ids::Ids,
    metrics::Metrics,
    plan::plan,
    poll::Poll,
    quiet::QuietHours,
    server::company_zone,
    template::library::Library,
    transport::Transports,
};

/// Messages that are taken off the outbox at once.
const BATCH: u64 = 500;

/// What is needed to ask.
#[derive(Debug)]
pub struct ReconcileDeps<'a> {
    /// As the worker has it: with the carriers.
    pub config: &'a Config,
    /// The database.
    pub store: &'a Store,
    /// Makes links and codes; the worker has the same.
    pub link_key: &'a LinkKey,
    /// Who asks; it stays on record with each message that is settled.
    pub actor: &'a str,
    /// Why.
    pub reason: &'a str,
    /// Ask, and write nothing.
    pub dry_run: bool,
    /// Accounts that workers had and that were given up before the backup: nobody asks them.
    pub without: &'a [String],
}

/// Asks the carriers about every message that would be sent, and settles those that they have. Refused while workers send.
pub async fn reconcile(
    deps: &ReconcileDeps<'_>,
    told: &(dyn Fn(u64) + Send + Sync),
) -> anyhow::Result<ReconcileReport> {
    let ReconcileDeps {
        config,
        store,
        link_key,
        ..
    } = *deps;
    let switch = store.find_safe_mode().await?;
    ensure!(
        switch.is_some_and(|it| it.state == SafeModeState::On),
        "safe mode is off, so messages are being sent: switch it on first (`countersign safe-mode on`)"
    );
    let ids = Arc::new(Ids::from_system());
    let transports = Transports::of(config, store, link_key, &ids)?;
    ensure_asks_all(store, &transports, deps.without).await?;
    // Without a worker nobody makes messages of what the outbox holds.
    loop {
        let now = store.now().await?;
        let plan = |facts: &DispatchFacts<'_>| plan(facts, store.lookup_key());
        if deps.dry_run || store.dispatch(BATCH, now, plan).await?.messages == 0 {
            break;
        }
    }
    let own = &config.notification;
    let metrics = Metrics::new();
    // Carriers that know a message by its words are asked with those that are in force.
    let library = Library::of(&config.templates, store)?;
    library.look().await?;
    let courier = Courier {
        alive: Alive::onlooker(store.clone(), ids.clone(), metrics.clone()),
        store: store.clone(),
        library: Arc::new(library),
        writer: Writer {
            link_key: link_key.clone(),
            public_url: own.public_url.trim_end_matches('/').to_owned(),
            company: config.company.clone(),
        },
        transports,
        ids,
        clock: SystemClock::shared(),
        metrics,
        lease: own.lease(),
        poll: Poll::new(own.poll_interval()),
        grace: config.shutdown.grace(),
        quiet: QuietHours::new(company_zone(config)),
        guard: SendingGuard::try_new(config)?,
        queue: Bell::default(),
        orders: RecentOrders::default(),
        held: Mutex::new(HashMap::new()),
        cut: CancellationToken::new(),
    };
    courier
        .reconcile(deps.actor, deps.reason, deps.dry_run, told)
        .await
}

/// Another process' configuration, or an older one, would leave out who has the messages, and they would go twice.
async fn ensure_asks_all(
    store: &Store,
    transports: &Transports,
    without: &[String],
) -> anyhow::Result<()> {
    let every: Vec<String> = Channel::ALL.iter().map(|it| every_account(*it)).collect();
    let known = store.list_gateways().await?;
    let left_out: Vec<&str> = known
        .iter()
        .map(|it| it.name.as_str())
        .filter(|name| !every.iter().any(|it| it == name) && !name.ends_with("-mailbox"))
        .filter(|name| transports.named(name).is_none())
        .collect();
    let unsaid: Vec<&str> = left_out
        .iter()
        .copied()
        .filter(|name| !without.iter().any(|it| it == name))
        .collect();
    ensure!(
        unsaid.is_empty(),
        "workers sent by {}, which this configuration does not have: ask with the worker's own; or say --without ACCOUNT for each that \
         was given up before the backup",
        unsaid.join(", ")
    );
    let other = without.iter().find(|it| !left_out.contains(&it.as_str()));
    ensure!(
        other.is_none(),
        "--without {}: there is no such account that could be left out",
        other.map_or("", String::as_str)
    );
    Ok(())
}
