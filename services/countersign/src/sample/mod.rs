//! `up --sample N`: a small shop, and N orders played through it over gRPC as a shop, customers, staff and drivers would.
//!
//! Order number i is always the same and every call is named by it, so that playing again goes on where it was cut off.

use std::{collections::BTreeMap, fmt::Write as _};

use countersign_domain::{ids::OrderId, secrets::LinkKey};
use countersign_proto::v1::Order;
use countersign_runtime::config::Config;
use countersign_store::{FIRST_GENERATION, Store};
use futures::{StreamExt as _, stream};

use crate::{
    console::say,
    import::{progress::Progress, results::table, send},
    roles,
};

mod parts;
mod play;
mod shop;

use play::Player;
use shop::Shop;

/// Orders that are played at the same time; less than the distance at which an order repeats another.
const AT_ONCE: usize = 8;

/// What the play needs.
pub(crate) struct Stage {
    target: String,
    pages: String,
    link_key: LinkKey,
    store: Store,
}

impl Stage {
    /// On the services of this process.
    pub(crate) fn new(config: &Config, store: &Store) -> anyhow::Result<Self> {
        Ok(Self {
            target: config.notification.order_service_url.clone(),
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
    let connection = send::connect(&stage.target, "sample").await?;
    let shop = Shop::read()?;
    shop.register(&connection).await?;
    let player = Player::new(&connection, &shop, &stage.link_key);
    let mut progress = Progress::new("orders", count.into());
    let mut failed: BTreeMap<String, u64> = BTreeMap::new();
    let mut shown: Option<Order> = None;
    let mut plays = stream::iter(0..count)
        .map(|number| player.play(number))
        .buffered(AT_ONCE);
    while let Some(played) = plays.next().await {
        progress.add(1);
        match played {
            Ok(order) => {
                if shown.is_none() || order.confirm_time.is_none() && number_of(&order) < 20 {
                    shown = Some(order);
                }
            }
            Err(told) => *failed.entry(told).or_default() += 1,
        }
    }
    progress.finish();
    let overview = stage.store.overview().await?;
    say(&format!(
        "{count} orders were played. All orders, by state:"
    ));
    table("", &overview.orders);
    if !failed.is_empty() {
        say("steps that were refused:");
        table("", &failed);
    }
    say(&next(&stage, shown.as_ref()));
    Ok(())
}

fn number_of(order: &Order) -> u32 {
    order
        .client_reference
        .rsplit('-')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(u32::MAX)
}

/// What to open next.
fn next(stage: &Stage, order: Option<&Order>) -> String {
    let mut text = format!("\nWhat to look at next:\n  {}/mailbox\n", stage.pages);
    let id = order.and_then(|order| OrderId::from_resource_name(&order.name).ok());
    // Writing into a String cannot fail.
    if let Some(id) = id {
        let token = stage.link_key.link_token(id, FIRST_GENERATION);
        writeln!(text, "  {}/o/{token}  (a customer's page)", stage.pages).ok();
    }
    let target = stage.target.trim_start_matches("http://");
    writeln!(
        text,
        "  grpcurl -plaintext -d '{{\"filter\": \"state = \\\"UNDER_AUDIT\\\"\"}}' {target} countersign.v1.OrderService/ListOrders"
    )
    .ok();
    text
}
