//! `erase-customer`: has a customer's personal data erased, and proves that nothing is left.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use countersign_domain::chain::AnchorLine;
use countersign_proto::v1::{self, customer_service_client::CustomerServiceClient as Client};
use countersign_runtime::{
    client::{self, Connection},
    config::Config,
};

use crate::{
    commands::operator::{moment, told},
    console::say,
    database, roles,
};

/// Between two questions how far it is.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Codes that are read at a time.
const CODES: u64 = 500;

/// Whose data, and why.
#[derive(Debug, Args)]
pub(crate) struct EraseCustomerArgs {
    /// The customer's code, or `customers/{code}`.
    #[arg(required_unless_present = "again")]
    customer: Option<String>,
    /// Why; it stays on record for ever, so it must not say who the customer is.
    #[arg(long, required_unless_present = "verify")]
    reason: Option<String>,
    /// Who; it stays on record.
    #[arg(long, default_value = "operator")]
    actor: String,
    /// Repeats an earlier call under its own id instead of making a new one.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Only says whether it may be done.
    #[arg(long)]
    validate_only: bool,
    /// Looks through all tables once more for what the last erasure should have taken away.
    #[arg(long, conflicts_with = "validate_only")]
    verify: bool,
    /// After a restore: erases all customers again whose erasures stand in this anchor file. Reads the database itself.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["customer", "verify", "request_id"])]
    again: Option<PathBuf>,
    /// Where the order service answers.
    #[arg(long, default_value = "http://127.0.0.1:50051")]
    url: String,
}

/// Does it.
pub(crate) async fn run(args: &EraseCustomerArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let mut client = Client::new(client::connect(&args.url, "operator", &config.client).await?);
    if let Some(file) = &args.again {
        let codes = codes_to_repeat(file, config).await?;
        if codes.is_empty() {
            say("no customer of an earlier erasure is there");
        }
        // One that must wait, such as for an order that is open again, keeps no other waiting.
        let mut refused = 0;
        for code in &codes {
            let name = format!("customers/{code}");
            if let Err(error) = erase(&mut client, args, &name).await {
                say(&format!("{name}: not erased: {error:#}"));
                refused += 1;
            }
        }
        if refused > 0 {
            say(&format!(
                "{refused} of {} customers are not erased; run this again when what is said above is settled",
                codes.len()
            ));
            return Ok(ExitCode::FAILURE);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let given = args.customer.as_deref().unwrap_or_default();
    let name = if given.starts_with("customers/") {
        given.to_owned()
    } else {
        format!("customers/{given}")
    };
    let erased = if args.verify {
        let request = v1::VerifyErasureRequest { name };
        let found = client.verify_erasure(request).await.map_err(told)?;
        let found = found.into_inner();
        report(&found);
        found
    } else {
        erase(&mut client, args, &name).await?
    };
    let left: i64 = erased.tables.iter().map(|table| table.left_count).sum();
    Ok(if left == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Erases, and waits until it is done.
async fn erase(
    client: &mut Client<Connection>,
    args: &EraseCustomerArgs,
    name: &str,
) -> anyhow::Result<v1::Erasure> {
    let request = v1::EraseCustomerRequest {
        name: name.to_owned(),
        request_id: args.request_id.clone().unwrap_or_else(fresh_request_id),
        validate_only: args.validate_only,
        reason: args.reason.clone().unwrap_or_default(),
        actor: args.actor.clone(),
    };
    let answer = client.erase_customer(request).await.map_err(told)?;
    let mut erasure = answer.into_inner();
    if erasure.name.is_empty() {
        say("it may be done");
        return Ok(erasure);
    }
    while erasure.state != "DONE" {
        say(&format!(
            "{}  {}  {} orders so far",
            erasure.name, erasure.state, erasure.order_count
        ));
        tokio::time::sleep(ASK_EVERY).await;
        let request = v1::GetErasureRequest { name: erasure.name };
        erasure = client
            .get_erasure(request)
            .await
            .map_err(told)?
            .into_inner();
    }
    report(&erasure);
    Ok(erasure)
}

fn report(erasure: &v1::Erasure) {
    say(&format!(
        "{}  {}  {} orders",
        erasure.name, erasure.state, erasure.order_count
    ));
    for table in &erasure.tables {
        say(&format!(
            "  {:<20} {:>9} rows looked at, {} with something left",
            table.table, table.looked_at_count, table.left_count
        ));
    }
    if erasure.state == "DONE" {
        say(&match erasure.backups_expire_time.as_ref() {
            Some(end) => format!(
                "  backups that were made before hold it until {}",
                moment(Some(end))
            ),
            None => {
                "  how long backups are kept is not configured (order.backups_kept_days)".to_owned()
            }
        });
    }
}

/// Codes of customers that are there, and of whom an anchor file says that they were erased.
async fn codes_to_repeat(file: &Path, config: &Config) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let lines = AnchorLine::read_all(&text).with_context(|| file.display().to_string())?;
    let erased: Vec<_> = lines.iter().filter_map(AnchorLine::as_erased).collect();
    let key = roles::link_key(config)?;
    let store = database::connect(config).await?;
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = store.list_order_customers(&after, CODES).await;
        let page = page.context("list customers of orders")?;
        let Some(last) = page.last() else { break };
        after.clone_from(last);
        found.extend(page);
    }
    let mut after: Option<String> = None;
    loop {
        let page = store.list_customers(after.as_deref(), CODES).await;
        let page = page.context("list customers")?;
        after = page.items.last().map(|customer| customer.code.clone());
        found.extend(page.items.into_iter().map(|customer| customer.code));
        if !page.more {
            break;
        }
    }
    found.sort_unstable();
    found.dedup();
    // An erasure is on record under the key that was the first one at that time.
    found.retain(|code| {
        key.each()
            .any(|key| erased.contains(&key.customer_hash(code)))
    });
    Ok(found)
}

#[expect(
    clippy::disallowed_methods,
    reason = "an id that nobody has used before; nothing is decided by it"
)]
fn fresh_request_id() -> String {
    format!("cli-{:032x}", rand::random::<u128>())
}
