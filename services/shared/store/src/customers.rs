//! Customers' records.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use countersign_domain::{
    customer::Customer,
    money::{Currency, Money},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect, Statement,
};

use crate::{
    Store,
    catalog::{Page, Put},
    entity::customers,
    error::{During, StoreError},
    policies::{ReferenceKind, bump},
    rows::{At, json_text},
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
                let customer = customer(row)?;
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
        let page = Page::cut(rows, limit, customer);
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
        const DOING: &str = "put a customer";
        let profile = json_text(DOING, &customer.profile)?;
        let wanted = customer.clone();
        let put = self
            .write(|transaction| {
                let (wanted, profile) = (wanted.clone(), profile.clone());
                Box::pin(async move {
                    let old = customers::Entity::find_by_id(wanted.code.clone())
                        .one(transaction)
                        .await
                        .during(DOING)?;
                    let limit_minor = wanted.credit_limit.map(|limit| limit.minor);
                    let currency = wanted
                        .credit_limit
                        .map(|limit| limit.currency.code().to_owned());
                    let Some(old) = old else {
                        if version.is_some_and(|version| version != 0) {
                            return Ok(Put::Conflict);
                        }
                        let row = customers::ActiveModel {
                            code: Set(wanted.code),
                            version: Set(1),
                            credit_limit_minor: Set(limit_minor),
                            credit_currency: Set(currency),
                            credit_exposure_minor: Set(0),
                            blocked: Set(wanted.blocked),
                            profile: Set(profile),
                            create_time: Set(now),
                            update_time: Set(now),
                        };
                        customers::Entity::insert(row)
                            .exec_without_returning(transaction)
                            .await
                            .during(DOING)?;
                        return Ok(Put::Created);
                    };
                    if version.is_some_and(|version| version != old.version) {
                        return Ok(Put::Conflict);
                    }
                    let same = old.profile == profile
                        && old.blocked == wanted.blocked
                        && old.credit_limit_minor == limit_minor
                        && old.credit_currency == currency;
                    if same {
                        return Ok(Put::Unchanged);
                    }
                    let updated = customers::Entity::update_many()
                        .set(customers::ActiveModel {
                            version: Set(old.version + 1),
                            credit_limit_minor: Set(limit_minor),
                            credit_currency: Set(currency),
                            blocked: Set(wanted.blocked),
                            profile: Set(profile),
                            update_time: Set(now),
                            ..Default::default()
                        })
                        .filter(customers::Column::Code.eq(wanted.code))
                        .filter(customers::Column::Version.eq(old.version))
                        .exec(transaction)
                        .await
                        .during(DOING)?;
                    Ok(if updated.rows_affected == 1 {
                        Put::Replaced
                    } else {
                        Put::Conflict
                    })
                })
            })
            .await?;
        if matches!(put, Put::Created | Put::Replaced) {
            bump(self, ReferenceKind::Customers).await?;
        }
        Ok(put)
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

fn customer(row: customers::Model) -> Result<Customer, StoreError> {
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
        profile: at.json("profile", &row.profile)?,
        code: row.code,
    })
}
