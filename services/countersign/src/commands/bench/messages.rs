//! How fast the worker empties the outbox into a relay and a gateway that accept everything at once.
//!
//! Orders are taken in by the real service, which then ends; what they left in the outbox is sent by the real worker, every
//! try on record before and after. The yardstick is the same worker with one letter and one text under way at a time.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    MessagesArgs, load,
    orders::Orders,
    server::{Database, Service},
    worker::{Carriers, start_worker},
};
use crate::console;

/// Callers that put orders in.
const CALLERS: u64 = 128;
/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(50);
/// Without any message accepted for so long, the measurement has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// The yardstick gets this part of the orders: it is slow.
const YARDSTICK_PART: u64 = 10;

/// One measurement.
struct Sent {
    messages: u64,
    accepted: u64,
    span: Duration,
}

impl Sent {
    fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count of some millions")]
        let messages = self.messages as f64;
        messages / self.span.as_secs_f64()
    }
}

/// Measures it and prints a table.
pub(super) async fn run(args: &MessagesArgs) -> anyhow::Result<()> {
    let (mut yardstick, mut worker) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        console::say(&format!("round {round}: one at a time"));
        let orders = (args.orders / YARDSTICK_PART).max(1);
        yardstick.push(measure(args, orders, 1).await?);
        console::say(&format!("round {round}: worker"));
        worker.push(measure(args, args.orders, args.at_once).await?);
    }
    let rows = [
        row("yardstick, one at a time", &yardstick),
        row(&format!("worker, {} at a time", args.at_once), &worker),
    ];
    console::say(&format!(
        "{:<28} {:>12} {:>10} {:>10}",
        "outbox to relay and gateway", "messages/s", "messages", "twice"
    ));
    for row in &rows {
        console::say(&format!(
            "{:<28} {:>12.0} {:>10} {:>10}",
            row["what"].as_str().unwrap_or_default(),
            row["messages_per_second"].as_f64().unwrap_or(0.0),
            row["messages"],
            row["twice"],
        ));
    }
    if let Some(path) = &args.json {
        let document = json!({ "bench": "messages", "rounds": args.rounds, "rows": rows });
        fs::write(path, serde_json::to_string_pretty(&document)?)?;
    }
    Ok(())
}

fn row(what: &str, measured: &[Sent]) -> Value {
    let mut rates: Vec<f64> = measured.iter().map(Sent::per_second).collect();
    rates.sort_by(f64::total_cmp);
    let messages: u64 = measured.iter().map(|sent| sent.messages).sum();
    let accepted: u64 = measured.iter().map(|sent| sent.accepted).sum();
    json!({
        "what": what,
        "messages_per_second": rates.get(rates.len() / 2),
        "messages": messages,
        "twice": accepted.saturating_sub(messages),
    })
}

async fn measure(args: &MessagesArgs, orders: u64, at_once: usize) -> anyhow::Result<Sent> {
    let database = Database::create(&args.server_url).await?;
    database.seed().await?;
    fill(&database, orders).await?;
    let messages = database.store.overview().await?.outbox;
    let mut carriers = Carriers::start().await?;
    let worker = start_worker(&database, &carriers, at_once).await?;
    let sent = wait(&database, &mut carriers, messages).await?;
    console::say(&format!(
        "  {:.0} messages/s, {} sent, {} accepted",
        sent.per_second(),
        sent.messages,
        sent.accepted
    ));
    let mut worker = worker;
    worker.kill().await.context("end the worker")?;
    database.drop().await?;
    Ok(sent)
}

/// Has the service take orders in, whose messages then wait in the outbox.
async fn fill(database: &Database, orders: u64) -> anyhow::Result<()> {
    let service = Service::start(database).await?;
    let clients = load::clients(service.url()).await?;
    let mut tasks = JoinSet::new();
    for (caller, client) in (0..CALLERS).zip(clients.iter().cycle()) {
        let mut client = client.clone();
        let share = orders / CALLERS + u64::from(caller < orders % CALLERS);
        let mut made = Orders::new(&format!("m{caller}"), caller, false);
        // Half of the customers are written to, half get texts.
        let by_text = caller % 2 == 1;
        tasks.spawn(async move {
            for _ in 0..share {
                let request = if by_text {
                    made.make_by_text()
                } else {
                    made.make()
                };
                client.create_order(request).await?;
            }
            Ok::<(), tonic::Status>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done?.context("create an order")?;
    }
    service.stop().await
}

/// Until every message that waits in the outbox is on record as sent. Relay and gateway are asked how far it is; asking the
/// database again and again would take part of what is measured.
async fn wait(database: &Database, carriers: &mut Carriers, messages: u64) -> anyhow::Result<Sent> {
    let start = Instant::now();
    let (mut accepted, mut last) = (0, start);
    while accepted < messages {
        tokio::time::sleep(LOOK).await;
        let now = carriers.accepted().await?;
        if now > accepted {
            (accepted, last) = (now, Instant::now());
        }
        if last.elapsed() > PATIENCE {
            bail!("no message was accepted for {PATIENCE:?}: {accepted} of {messages} were");
        }
    }
    loop {
        let overview = database.store.overview().await?;
        if overview.deliveries.get("SENT") == Some(&messages) {
            return Ok(Sent {
                messages,
                accepted: carriers.accepted().await?,
                span: start.elapsed(),
            });
        }
        if last.elapsed() > PATIENCE {
            bail!("{messages} messages were accepted; on record are {overview:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
}
