//! A database and a service of the benchmark's own.

use std::{
    env,
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail};
use countersign_domain::{
    audit::default_rules,
    catalog::{Price, Product, ProductProfile},
    contact_hours::DailyWindow,
    customer::{Customer, CustomerProfile},
    money::{Currency, Money},
    policy::default_policies,
};
use countersign_migrations::{Migrator, MigratorTrait as _};
use countersign_store::{DataKeys, PutOptions, Settings, Store};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::orders::{CUSTOMERS, PRICE_MINOR, SKUS, customer_code, sku_name};

/// Databases that this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);
/// Keys of the personal data that the benchmark makes up.
pub(super) const DATA_KEYS: &str = "lookup:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= 1:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

/// Goods of each article: nothing runs out.
const ON_HAND: i64 = 1_000_000_000;
/// Where they lie.
pub(super) const WAREHOUSE: &str = "BENCH";

/// A database that is there for one measurement.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) url: String,
    pub(super) store: Store,
    admin: Store,
    name: String,
}

impl Database {
    /// Makes it, with all tables.
    pub(super) async fn create(server_url: &str) -> anyhow::Result<Self> {
        // `mysql://root@host:3306?ssl-mode=disabled` is a server, too.
        let (server, options) = server_url.split_once('?').unwrap_or((server_url, ""));
        let server = server.trim_end_matches('/');
        let url_of = |name: &str| match options {
            "" => format!("{server}/{name}"),
            options => format!("{server}/{name}?{options}"),
        };
        // As in DATA_KEYS.
        let keys = DataKeys::new(&[1; 32], &[(1, [2; 32])])?;
        let admin = Store::connect(&Settings {
            connections_max: 1,
            ..Settings::new(url_of("mysql"), keys.clone())
        })
        .await
        .context("connect to the server")?;
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("countersign_bench_{}_{made}", std::process::id());
        admin.create_database(&name).await?;
        let url = url_of(&name);
        let store = Store::connect(&Settings {
            connections_max: 32,
            ..Settings::new(url.clone(), keys)
        })
        .await?;
        Migrator::up(store.connection(), None)
            .await
            .context("create the tables")?;
        Ok(Self {
            url,
            store,
            admin,
            name,
        })
    }

    /// Fills in what orders are judged by.
    pub(super) async fn seed(&self) -> anyhow::Result<()> {
        let now = self.store.now().await?;
        for mut policy in default_policies() {
            // Whoever measures at night measures the same.
            policy.contact_hours.sms = DailyWindow::ALWAYS;
            self.store.insert_policy(&policy, now).await?;
        }
        for rule in default_rules() {
            self.store.insert_rule(&rule, now).await?;
        }
        let names: Vec<String> = (0..SKUS).map(sku_name).collect();
        let products: Vec<Product> = names.iter().map(|name| article(name)).collect();
        let unit_price = Money::new(PRICE_MINOR, Currency::parse("EUR")?);
        let prices: Vec<Price> = names.iter().map(|name| price(name, unit_price)).collect();
        let stock: Vec<(&str, &str, i64)> = names
            .iter()
            .map(|name| (WAREHOUSE, name.as_str(), ON_HAND))
            .collect();
        let customers: Vec<Customer> = (0..CUSTOMERS).map(customer).collect();
        self.store
            .put_products(&products, PutOptions::default(), now)
            .await?;
        self.store.put_prices(&prices, None, now).await?;
        self.store.put_stock_levels(&stock).await?;
        self.store
            .put_customers(&customers, PutOptions::default(), now)
            .await?;
        Ok(())
    }

    /// Drops it.
    pub(super) async fn drop(self) -> anyhow::Result<()> {
        Ok(self.admin.drop_database(&self.name).await?)
    }
}

fn article(name: &str) -> Product {
    Product {
        sku: name.to_owned(),
        version: 0,
        profile: ProductProfile {
            display_name: format!("Article {name}"),
            weight_grams: 400,
            ..ProductProfile::default()
        },
    }
}

fn price(name: &str, unit_price: Money) -> Price {
    Price {
        price_list: "default".into(),
        sku: name.to_owned(),
        quantity_min: 1,
        unit_price,
        start_time: None,
        end_time: None,
    }
}

fn customer(number: u32) -> Customer {
    Customer {
        code: customer_code(number),
        version: 0,
        credit_limit: None,
        credit_exposure_minor: 0,
        blocked: false,
        profile: CustomerProfile {
            display_name: format!("Customer {number}"),
            tier: Some("B".into()),
            ..CustomerProfile::default()
        },
    }
}

/// The order service in a process of its own.
#[derive(Debug)]
pub(super) struct Service {
    child: Child,
    url: String,
}

impl Service {
    /// Starts it and waits until it answers.
    pub(super) async fn start(database: &Database) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let listen = format!("127.0.0.1:{port}");
        let child = Command::new(env::current_exe()?)
            .arg("order-service")
            .env("DATABASE_URL", &database.url)
            .env("COUNTERSIGN__ORDER__LISTEN", &listen)
            .env(
                "COUNTERSIGN__LINKS__KEY",
                "a key for measuring only, nothing is sent",
            )
            .env("COUNTERSIGN__PERSONAL_DATA__KEYS", DATA_KEYS)
            .env("COUNTERSIGN__TELEMETRY__LOG_FILTER", "warn")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start the service")?;
        for _ in 0..200 {
            if TcpStream::connect(&listen).await.is_ok() {
                return Ok(Self {
                    child,
                    url: format!("http://{listen}"),
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the service does not listen on {listen}")
    }

    /// Where it listens.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Most memory that it had so far, bytes.
    pub(super) fn memory_peak_bytes(&self) -> Option<u64> {
        memory_peak_bytes(self.child.id()?)
    }

    /// Ends it.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("end the service")
    }
}

/// Most memory that a process had so far, bytes.
pub(super) fn memory_peak_bytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
