//! The operator's question after a restore, put together from a configuration as the worker is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use anyhow::ensure;
use countersign_domain::{message::every_account, safe_mode::SafeModeState, secrets::LinkKey};
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
    transport::{Transport, Transports},
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
    /// Ask nobody about channels that have no carrier in this configuration, although workers had one.
    pub without_carriers: bool,
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
    let transports = Transports::of(config, store, link_key, &ids)?;
    if !deps.without_carriers {
        ensure_carriers(store, &transports).await?;
    }
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

/// Another process' configuration would ask the local mailbox what a carrier has, and take its answer.
async fn ensure_carriers(store: &Store, transports: &Transports) -> anyhow::Result<()> {
    let known = store.list_gateways().await?;
    for account in transports.accounts() {
        if matches!(account.transport, Transport::Carrier(_)) {
            continue;
        }
        let channel = account.channel;
        let carrier = known.iter().find(|it| {
            it.channel == channel && it.name != account.name && it.name != every_account(channel)
        });
        ensure!(
            carrier.is_none(),
            "workers had a carrier for {channel} ({}), this configuration has none: ask with the worker's, or, if there is none any more, \
             --without-carriers",
            carrier.map_or("", |it| it.name.as_str())
        );
    }
    Ok(())
}
