//! Writing reference data: many rows in one transaction, each compared with what is there, so that an import of what is
//! known already changes nothing.

mod stock;

use std::collections::{HashMap, hash_map::Entry};

use chrono::{DateTime, Utc};
use countersign_domain::{
    catalog::{Price, Product},
    customer::Customer,
};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Value,
};

use crate::{
    Store,
    bulk::Bulk,
    catalog::{ALWAYS, Put},
    entity::{customers, prices, products},
    error::{During, StoreError},
    policies::{ReferenceKind, bump},
    requests::{RequestRecord, insert_request},
    rows::json_text,
    sealed::CUSTOMERS_PROFILE,
};

pub use stock::StockChange;

/// On what condition rows are written, and what is remembered with them.
#[derive(Clone, Copy, Debug, Default)]
pub struct PutOptions<'a> {
    /// Only this version is replaced; 0 means that there must be none.
    pub version: Option<i64>,
    /// The call; a unique violation means that it was carried out before.
    pub request: Option<&'a RequestRecord>,
}

const CUSTOMERS: Bulk = Bulk {
    operation: "put customers",
    table: "customers",
    columns: &[
        "code",
        "version",
        "credit_limit_minor",
        "credit_currency",
        "credit_exposure_minor",
        "blocked",
        "profile",
        "create_time",
        "update_time",
    ],
};
const PRODUCTS: Bulk = Bulk {
    operation: "put products",
    table: "products",
    columns: &["sku", "version", "profile", "create_time", "update_time"],
};
const PRICES: Bulk = Bulk {
    operation: "put prices",
    table: "prices",
    columns: &[
        "sku",
        "price_list",
        "quantity_min",
        "start_time",
        "end_time",
        "unit_price_minor",
        "currency",
    ],
};

/// What becomes of a row, and the version that it has then. `there` is what is stored, or was given earlier in the batch.
fn settle<K: std::hash::Hash + Eq, R: PartialEq>(
    there: &mut HashMap<K, (i64, R)>,
    key: K,
    row: R,
    version: Option<i64>,
) -> (Put, i64) {
    match there.entry(key) {
        Entry::Vacant(_) if version.is_some_and(|version| version != 0) => (Put::Conflict, 0),
        Entry::Vacant(place) => {
            place.insert((1, row));
            (Put::Created, 1)
        }
        Entry::Occupied(old) if version.is_some_and(|version| version != old.get().0) => {
            (Put::Conflict, 0)
        }
        Entry::Occupied(old) if old.get().1 == row => (Put::Unchanged, old.get().0),
        Entry::Occupied(mut old) => {
            let next = old.get().0 + 1;
            old.insert((next, row));
            (Put::Replaced, next)
        }
    }
}

impl Store {
    /// Creates or replaces records, in sequence; what is owed stays as it is. All or none: a conflict writes nothing.
    pub async fn put_customers(
        &self,
        given: &[Customer],
        options: PutOptions<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Put>, StoreError> {
        self.again(|| async {
            let transaction = self.begin_write().await?;
            let result = self
                .put_customers_in(&transaction, given, options, now)
                .await;
            self.settle_all(transaction, result, ReferenceKind::Customers)
                .await
        })
        .await
    }

    async fn put_customers_in(
        &self,
        transaction: &DatabaseTransaction,
        given: &[Customer],
        options: PutOptions<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Put>, StoreError> {
        const DOING: &str = "put customers";
        if let Some(request) = options.request {
            insert_request(transaction, &self.keys, request, now).await?;
        }

        let found = customers::Entity::find()
            .filter(customers::Column::Code.is_in(given.iter().map(|one| one.code.as_str())))
            .order_by_asc(customers::Column::Code)
            .lock_exclusive()
            .all(transaction)
            .await
            .during(DOING)?;
        let mut there: HashMap<String, _> = HashMap::with_capacity(found.len());
        for row in found {
            let profile =
                CUSTOMERS_PROFILE.open_text(&self.keys, row.code.as_str(), &row.profile)?;
            let credit = row.credit_limit_minor.zip(row.credit_currency);
            there.insert(row.code, (row.version, (credit, row.blocked, profile)));
        }
        let (mut puts, mut values) = (Vec::with_capacity(given.len()), Vec::new());
        for one in given {
            let profile = json_text(DOING, &one.profile)?;
            let credit = one
                .credit_limit
                .map(|limit| (limit.minor, limit.currency.code().to_owned()));
            let row = (credit.clone(), one.blocked, profile.clone());
            let (put, version) = settle(&mut there, one.code.clone(), row, options.version);
            puts.push(put);
            if matches!(put, Put::Created | Put::Replaced) {
                let (minor, currency) = credit.unzip();
                values.extend::<[Value; 9]>([
                    one.code.as_str().into(),
                    version.into(),
                    minor.into(),
                    currency.into(),
                    0_i64.into(),
                    one.blocked.into(),
                    CUSTOMERS_PROFILE
                        .seal_text(&self.keys, one.code.as_str(), &profile)?
                        .into(),
                    now.into(),
                    now.into(),
                ]);
            }
        }
        let changed = &[
            "version",
            "credit_limit_minor",
            "credit_currency",
            "blocked",
            "profile",
            "update_time",
        ];
        self.upsert(&CUSTOMERS, transaction, "code", changed, options, values)
            .await?;
        Ok(puts)
    }

    /// Creates or replaces products, in sequence. All or none: a conflict writes nothing.
    pub async fn put_products(
        &self,
        given: &[Product],
        options: PutOptions<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Put>, StoreError> {
        self.again(|| async {
            let transaction = self.begin_write().await?;
            let result = self
                .put_products_in(&transaction, given, options, now)
                .await;
            self.settle_all(transaction, result, ReferenceKind::Products)
                .await
        })
        .await
    }

    async fn put_products_in(
        &self,
        transaction: &DatabaseTransaction,
        given: &[Product],
        options: PutOptions<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Put>, StoreError> {
        const DOING: &str = "put products";
        if let Some(request) = options.request {
            insert_request(transaction, &self.keys, request, now).await?;
        }

        let found = products::Entity::find()
            .filter(products::Column::Sku.is_in(given.iter().map(|one| one.sku.as_str())))
            .order_by_asc(products::Column::Sku)
            .lock_exclusive()
            .all(transaction)
            .await
            .during(DOING)?;
        let mut there: HashMap<String, _> = found
            .into_iter()
            .map(|row| (row.sku, (row.version, row.profile)))
            .collect();
        let (mut puts, mut values) = (Vec::with_capacity(given.len()), Vec::new());
        for one in given {
            let profile = json_text(DOING, &one.profile)?;
            let (put, version) = settle(
                &mut there,
                one.sku.clone(),
                profile.clone(),
                options.version,
            );
            puts.push(put);
            if matches!(put, Put::Created | Put::Replaced) {
                values.extend::<[Value; 5]>([
                    one.sku.as_str().into(),
                    version.into(),
                    profile.into(),
                    now.into(),
                    now.into(),
                ]);
            }
        }
        let changed = &["version", "profile", "update_time"];
        self.upsert(&PRODUCTS, transaction, "sku", changed, options, values)
            .await?;
        Ok(puts)
    }

    /// Creates or replaces prices, in sequence.
    pub async fn put_prices(
        &self,
        given: &[Price],
        request: Option<&RequestRecord>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Put>, StoreError> {
        let options = PutOptions {
            version: None,
            request,
        };
        self.again(|| async {
            let transaction = self.begin_write().await?;
            let result = self.put_prices_in(&transaction, given, options, now).await;
            self.settle_all(transaction, result, ReferenceKind::Prices)
                .await
        })
        .await
    }

    async fn put_prices_in(
        &self,
        transaction: &DatabaseTransaction,
        given: &[Price],
        options: PutOptions<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Put>, StoreError> {
        const DOING: &str = "put prices";
        if let Some(request) = options.request {
            insert_request(transaction, &self.keys, request, now).await?;
        }

        let found = prices::Entity::find()
            .filter(prices::Column::Sku.is_in(given.iter().map(|one| one.sku.as_str())))
            .order_by_asc(prices::Column::Sku)
            .lock_exclusive()
            .all(transaction)
            .await
            .during(DOING)?;
        let mut there: HashMap<_, _> = found
            .into_iter()
            .map(|row| {
                let key = (row.sku, row.price_list, row.quantity_min, row.start_time);
                (key, (1, (row.end_time, row.unit_price_minor, row.currency)))
            })
            .collect();
        let (mut puts, mut values) = (Vec::with_capacity(given.len()), Vec::new());
        for one in given {
            let start = one.start_time.unwrap_or(ALWAYS);
            let key = (
                one.sku.clone(),
                one.price_list.clone(),
                one.quantity_min,
                start,
            );
            let currency = one.unit_price.currency.code().to_owned();
            let row = (one.end_time, one.unit_price.minor, currency.clone());
            let (put, _) = settle(&mut there, key, row, None);
            puts.push(put);
            if matches!(put, Put::Created | Put::Replaced) {
                values.extend::<[Value; 7]>([
                    one.sku.as_str().into(),
                    one.price_list.as_str().into(),
                    one.quantity_min.into(),
                    start.into(),
                    one.end_time.into(),
                    one.unit_price.minor.into(),
                    currency.into(),
                ]);
            }
        }
        let key = "sku, price_list, quantity_min, start_time";
        let changed = &["end_time", "unit_price_minor", "currency"];
        self.upsert(&PRICES, transaction, key, changed, options, values)
            .await?;
        Ok(puts)
    }

    /// Commits with a count that tells caches to look again, or rolls back when a row was changed by somebody else.
    async fn settle_all(
        &self,
        transaction: DatabaseTransaction,
        result: Result<Vec<Put>, StoreError>,
        kind: ReferenceKind,
    ) -> Result<Vec<Put>, StoreError> {
        let result = match result {
            Ok(puts) if puts.contains(&Put::Conflict) => {
                transaction
                    .rollback()
                    .await
                    .during("roll back a conflict")?;
                return Ok(puts);
            }
            Ok(puts)
                if puts
                    .iter()
                    .any(|put| matches!(put, Put::Created | Put::Replaced)) =>
            {
                bump(&transaction, self.kind, kind).await.map(|()| puts)
            }
            result => result,
        };
        self.conclude(transaction, result).await
    }

    /// Inserts rows; one that is there already gets new values, unless there must be none.
    async fn upsert(
        &self,
        bulk: &Bulk,
        transaction: &DatabaseTransaction,
        key: &str,
        changed: &[&str],
        options: PutOptions<'_>,
        values: Vec<Value>,
    ) -> Result<(), StoreError> {
        if options.version == Some(0) {
            return bulk.insert(transaction, self.backend(), values).await;
        }
        bulk.upsert(transaction, self.kind, key, changed, values)
            .await
    }
}
