//! `up --sample N`: a small shop, and N orders played through it over gRPC as a shop, customers, staff and drivers would.
//!
//! Order number i is always the same and every call is named by it, so that playing again goes on where it was cut off.

use std::{collections::BTreeMap, time::Instant};

use countersign_domain::secrets::LinkKey;
use countersign_runtime::{
    client,
    config::{Client, Config},
};
use countersign_store::Store;
use futures::{StreamExt as _, stream};

use crate::{
    console::say,
    import::{progress::Progress, results::table},
    roles,
};

mod orders;
mod parts;
mod play;
mod shop;
mod steps;
mod summary;

use play::{COURSES, Player};
use shop::Shop;
use summary::{bars, next};

/// Orders that are played at the same time; less than the distance at which an order repeats another.
const AT_ONCE: usize = 8;

/// What the play needs.
pub(crate) struct Stage {
    target: String,
    client: Client,
    pages: String,
    link_key: LinkKey,
    store: Store,
}

impl Stage {
    /// On the services of this process.
    pub(crate) fn new(config: &Config, store: &Store) -> anyhow::Result<Self> {
        Ok(Self {
            target: config.notification.order_service_url.clone(),
            client: config.client.clone(),
            pages: config
                .notification
                .public_url
                .trim_end_matches('/')
                .to_owned(),
            link_key: roles::link_key(config)?,
            store: store.clone(),
        })
    }
}

/// Plays `count` orders and tells where they ended. What one order meets does not stop the others.
pub(crate) async fn play(stage: Stage, count: u32) -> anyhow::Result<()> {
    let began = Instant::now();
    let connection = client::connect(&stage.target, "sample", &stage.client).await?;
    let shop = Shop::read()?;
    shop.register(&connection).await?;
    let player = Player::new(&connection, &shop, &stage.link_key);
    let mut progress = Progress::new("orders", count.into());
    let mut failed: BTreeMap<String, u64> = BTreeMap::new();
    // The first order of each course, to be looked at.
    let mut shown = BTreeMap::new();
    let mut plays = stream::iter(0..count)
        .map(|number| {
            let play = player.play(number);
            async move { (number, play.await) }
        })
        .buffered(AT_ONCE);
    while let Some((number, played)) = plays.next().await {
        progress.add(1);
        match played {
            Ok(order) => {
                shown.entry(number % COURSES).or_insert(order);
            }
            Err(told) => *failed.entry(told).or_default() += 1,
        }
    }
    progress.finish();
    let overview = stage.store.overview().await?;
    say(&format!(
        "{count} orders were played in {:.1} s. All orders, by state:\n",
        began.elapsed().as_secs_f64()
    ));
    say(&bars(&overview.orders));
    if !failed.is_empty() {
        say("steps that were refused:");
        table("", &failed);
    }
    say(&next(&stage, &shown));
    Ok(())
}
