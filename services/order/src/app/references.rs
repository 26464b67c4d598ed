//! Reference data in memory: policies and rules, products, prices, customers. Each kind is good as long as its counter in
//! the database stands; a change anywhere is seen by the next batch.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use countersign_domain::{
    audit::RuleSet,
    catalog::{Price, Product},
    customer::Customer,
    policy::OrderPolicy,
};
use countersign_store::{ReferenceVersions, Store, StoreError};

/// Policies and rules in force, and the policies that were.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    /// The newest of each type.
    current: HashMap<String, Arc<OrderPolicy>>,
    pub(crate) rules: RuleSet,
}

impl Policies {
    /// The policy in force for a type.
    pub(crate) fn current(&self, order_type: &str) -> Option<Arc<OrderPolicy>> {
        self.current.get(order_type).cloned()
    }

    /// Names of all types, sorted.
    pub(crate) fn order_types(&self) -> Vec<&str> {
        let mut types: Vec<&str> = self.current.keys().map(String::as_str).collect();
        types.sort_unstable();
        types
    }
}

/// What is known about goods and customers; absent things are remembered as absent.
#[derive(Debug, Default)]
struct Cache {
    versions: ReferenceVersions,
    policies: Arc<Policies>,
    products: HashMap<String, Option<Arc<Product>>>,
    prices: HashMap<String, Arc<[Price]>>,
    customers: HashMap<String, Option<Arc<Customer>>>,
}

/// Entries of each kind that are kept at most; then the kind is started anew.
const ENTRIES_MAX: usize = 200_000;

/// Reference data in memory.
#[derive(Debug)]
pub(crate) struct References {
    store: Store,
    cache: Mutex<Cache>,
}

/// What one batch of decisions needs to know.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) policies: Arc<Policies>,
    products: HashMap<String, Option<Arc<Product>>>,
    prices: HashMap<String, Arc<[Price]>>,
    customers: HashMap<String, Option<Arc<Customer>>>,
}

impl Known {
    pub(crate) fn product(&self, sku: &str) -> Option<Arc<Product>> {
        self.products.get(sku).cloned().flatten()
    }

    /// Months of warranty; 0 where there is none or the product is unknown.
    pub(crate) fn warranty_months(&self, sku: &str) -> u32 {
        self.product(sku)
            .map_or(0, |product| product.profile.warranty_months)
    }

    pub(crate) fn prices(&self, sku: &str) -> Option<Arc<[Price]>> {
        self.prices.get(sku).cloned()
    }

    pub(crate) fn customer(&self, code: &str) -> Option<Arc<Customer>> {
        self.customers.get(code).cloned().flatten()
    }
}

impl References {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            cache: Mutex::default(),
        }
    }

    /// The policies and rules in force.
    pub(crate) async fn policies(&self) -> Result<Arc<Policies>, StoreError> {
        let versions = self.store.reference_versions().await?;
        self.refresh(versions).await
    }

    /// Everything about these goods and customers.
    pub(crate) async fn know(
        &self,
        skus: &[&str],
        customers: &[&str],
    ) -> Result<Known, StoreError> {
        let versions = self.store.reference_versions().await?;
        let policies = self.refresh(versions).await?;
        let mut known = Known {
            policies,
            ..Known::default()
        };
        let (missing_products, missing_prices, missing_customers) = {
            let cache = self.cache();
            (
                take(&cache.products, skus, &mut known.products),
                take(&cache.prices, skus, &mut known.prices),
                take(&cache.customers, customers, &mut known.customers),
            )
        };
        if !missing_products.is_empty() {
            let mut found = self.store.find_products(&missing_products).await?;
            for sku in missing_products {
                let product = found.remove(sku).map(Arc::new);
                known.products.insert(sku.to_owned(), product.clone());
                keep(&mut self.cache().products, sku, product);
            }
        }
        if !missing_prices.is_empty() {
            let mut found = self.store.find_prices(&missing_prices).await?;
            for sku in missing_prices {
                let prices: Arc<[Price]> = found.remove(sku).unwrap_or_default().into();
                known.prices.insert(sku.to_owned(), Arc::clone(&prices));
                keep(&mut self.cache().prices, sku, prices);
            }
        }
        if !missing_customers.is_empty() {
            let mut found = self.store.find_customers(&missing_customers).await?;
            for code in missing_customers {
                let customer = found.remove(code).map(Arc::new);
                known.customers.insert(code.to_owned(), customer.clone());
                keep(&mut self.cache().customers, code, customer);
            }
        }
        Ok(known)
    }

    /// Drops what has changed since, and loads policies and rules anew when they have.
    async fn refresh(&self, versions: ReferenceVersions) -> Result<Arc<Policies>, StoreError> {
        let stale = {
            let mut cache = self.cache();
            if cache.versions.products != versions.products {
                cache.products.clear();
            }
            if cache.versions.prices != versions.prices {
                cache.prices.clear();
            }
            if cache.versions.customers != versions.customers {
                cache.customers.clear();
            }
            let stale =
                cache.versions.policies != versions.policies || cache.policies.current.is_empty();
            let policies = cache.versions.policies;
            cache.versions = ReferenceVersions {
                policies,
                ..versions
            };
            stale
        };
        if stale {
            let loaded = Arc::new(self.load_policies().await?);
            let mut cache = self.cache();
            cache.policies = loaded;
            cache.versions.policies = versions.policies;
        }
        Ok(Arc::clone(&self.cache().policies))
    }

    async fn load_policies(&self) -> Result<Policies, StoreError> {
        let (policies, rules) =
            tokio::try_join!(self.store.list_policies(), self.store.list_rules())?;
        // Oldest first, so that the newest version of a type is what stays.
        let current = policies
            .into_iter()
            .map(|policy| (policy.order_type.clone(), Arc::new(policy)))
            .collect();
        let rules = RuleSet::compile(&rules).map_err(|errors| StoreError::Inconsistent {
            table: "audit_rules",
            column: "rule",
            row: errors
                .iter()
                .map(|error| error.rule.as_str())
                .collect::<Vec<_>>()
                .join(", "),
            problem: errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        })?;
        Ok(Policies { current, rules })
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        // A panic between two lines of this file leaves nothing half-done that a later reader could not use.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies what is there and names what is not, each once.
fn take<'k, V: Clone>(
    cached: &HashMap<String, V>,
    keys: &[&'k str],
    into: &mut HashMap<String, V>,
) -> Vec<&'k str> {
    let mut missing = Vec::new();
    for key in keys {
        match cached.get(*key) {
            Some(value) => {
                into.insert((*key).to_owned(), value.clone());
            }
            None => missing.push(*key),
        }
    }
    missing.sort_unstable();
    missing.dedup();
    missing
}

fn keep<V>(cache: &mut HashMap<String, V>, key: &str, value: V) {
    if cache.len() >= ENTRIES_MAX {
        cache.clear();
    }
    cache.insert(key.to_owned(), value);
}
