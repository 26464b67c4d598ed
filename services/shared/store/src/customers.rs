//! Customers' records.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use countersign_domain::{
    customer::Customer,
    money::{Currency, Money},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, Statement,
};

use crate::{
    Store,
    catalog::{Page, Put},
    data_keys::DataKeys,
    entity::customers,
    error::{During, StoreError},
    puts::PutOptions,
    rows::At,
    sealed::CUSTOMERS_PROFILE,
};

impl Store {
    /// Customers by code.
    pub async fn find_customers(
        &self,
        codes: &[&str],
    ) -> Result<HashMap<String, Customer>, StoreError> {
        let mut found = HashMap::with_capacity(codes.len());
        for chunk in codes.chunks(256) {
            let rows = customers::Entity::find()
                .filter(customers::Column::Code.is_in(chunk.iter().copied()))
                .all(&self.db)
                .await
                .during("find customers")?;
            for row in rows {
                let customer = customer(&self.keys, row)?;
                found.insert(customer.code.clone(), customer);
            }
        }
        Ok(found)
    }

    /// A page of customers by code.
    pub async fn list_customers(
        &self,
        after: Option<&str>,
        limit: u64,
    ) -> Result<Page<Customer>, StoreError> {
        let mut query = customers::Entity::find()
            .order_by_asc(customers::Column::Code)
            .limit(limit + 1);
        if let Some(after) = after {
            query = query.filter(customers::Column::Code.gt(after));
        }
        let rows = query.all(&self.db).await.during("list customers")?;
        let page = Page::cut(rows, limit, |row| customer(&self.keys, row));
        Ok(Page {
            items: page.items.into_iter().collect::<Result<_, _>>()?,
            more: page.more,
        })
    }

    /// Creates or replaces a record; what is owed stays as it is. With `version` only that version is replaced; 0 means
    /// that there must be none.
    pub async fn put_customer(
        &self,
        customer: &Customer,
        version: Option<i64>,
        now: DateTime<Utc>,
    ) -> Result<Put, StoreError> {
        let options = PutOptions {
            version,
            request: None,
        };
        let puts = self
            .put_customers(std::slice::from_ref(customer), options, now)
            .await?;
        Ok(puts.first().copied().unwrap_or(Put::Conflict))
    }

    /// What these customers owe by open orders now, minor units; only those with a credit limit are named.
    pub async fn find_credit_exposures(
        &self,
        codes: &[&str],
    ) -> Result<HashMap<String, i64>, StoreError> {
        let rows = customers::Entity::find()
            .filter(customers::Column::Code.is_in(codes.iter().copied()))
            .filter(customers::Column::CreditLimitMinor.is_not_null())
            .all(&self.db)
            .await
            .during("find what customers owe")?;
        Ok(rows
            .into_iter()
            .map(|row| (row.code, row.credit_exposure_minor))
            .collect())
    }
}

/// Adds to what a customer owes. Customers without a record owe nothing that we count.
pub(crate) async fn change_credit(
    transaction: &DatabaseTransaction,
    backend: DbBackend,
    code: &str,
    minor: i64,
) -> Result<(), StoreError> {
    if minor == 0 {
        return Ok(());
    }
    transaction
        .execute_raw(Statement::from_sql_and_values(
            backend,
            "UPDATE customers SET credit_exposure_minor = credit_exposure_minor + ? WHERE code = ?",
            [minor.into(), code.into()],
        ))
        .await
        .during("change what a customer owes")?;
    Ok(())
}

fn customer(keys: &DataKeys, row: customers::Model) -> Result<Customer, StoreError> {
    let at = At {
        table: "customers",
        row: &row.code,
    };
    let credit_limit = match (row.credit_limit_minor, &row.credit_currency) {
        (Some(minor), Some(code)) => Some(Money::new(
            minor,
            Currency::parse(code).map_err(|error| at.wrong("credit_currency", error))?,
        )),
        _ => None,
    };
    Ok(Customer {
        version: row.version,
        credit_limit,
        credit_exposure_minor: row.credit_exposure_minor,
        blocked: row.blocked,
        profile: CUSTOMERS_PROFILE.open_json(keys, row.code.as_str(), &row.profile)?,
        code: row.code,
    })
}
