//! `CustomerService`.

use countersign_domain::{
    customer::{Customer, CustomerProfile},
    locale::{Locale, TimeZone},
    money::Money,
    text::TextKind,
};
use countersign_proto::v1::{self, customer_service_server::CustomerService};
use countersign_store::{Put, PutOptions};
use tonic::{Request, Response, Status, Streaming};

use super::reference::{ImportRow, Reference, Rows, Write, etag, import, masked, once, written};
use crate::{
    app::page,
    convert::{intake, money, place, word},
    error::{ServiceError, Violations},
};

const LIST: &str = "customers";
const PATHS: &[&str] = &[
    "display_name",
    "tier",
    "email",
    "phone",
    "preferred_channel",
    "locale",
    "time_zone",
    "credit_limit",
    "shortage_policy",
    "delivery_area",
    "unloading_conditions",
    "delivery_notes",
    "address",
    "blocked",
    "block_reason",
];

/// A customer as callers see it.
fn to_proto(customer: &Customer) -> v1::Customer {
    let profile = &customer.profile;
    v1::Customer {
        name: format!("customers/{}", customer.code),
        display_name: profile.display_name.clone(),
        tier: profile.tier.clone().unwrap_or_default(),
        email: profile
            .email
            .as_ref()
            .map(|email| email.as_str().to_owned())
            .unwrap_or_default(),
        phone: profile
            .phone
            .as_ref()
            .map(|phone| phone.as_e164().to_owned())
            .unwrap_or_default(),
        preferred_channel: profile
            .preferred_channel
            .map_or(0, |channel| word::to_proto::<v1::Channel>(channel.as_str())),
        locale: profile
            .locale
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        time_zone: profile
            .time_zone
            .map(|zone| zone.name().to_owned())
            .unwrap_or_default(),
        credit_limit: customer.credit_limit.map(money::to_proto),
        credit_exposure: customer.credit_limit.map(|limit| {
            money::to_proto(Money::new(customer.credit_exposure_minor, limit.currency))
        }),
        shortage_policy: profile.shortage_policy.map_or(0, |policy| {
            word::to_proto::<v1::ShortagePolicy>(policy.as_str())
        }),
        delivery_area: profile.delivery_area.clone(),
        unloading_conditions: profile.unloading_conditions.clone(),
        delivery_notes: profile.delivery_notes.clone(),
        address: profile.address.as_ref().map(place::to_proto),
        blocked: customer.blocked,
        block_reason: profile.block_reason.clone(),
        etag: etag(customer.version),
    }
}

impl Reference {
    /// Checks a customer under a code.
    fn read_customer(
        &self,
        code: &str,
        code_field: &str,
        given: &v1::Customer,
    ) -> Result<Customer, ServiceError> {
        let mut v = Violations::new();
        let code = intake::key(code, code_field, &mut v);
        let at = |field: &str| format!("customer.{field}");
        let text = |text: &str, max, field: &str, v: &mut Violations| {
            v.take(
                at(field),
                countersign_domain::text::checked_text(text, 0, max, TextKind::MultiLine),
            )
            .unwrap_or_default()
        };
        let address = given
            .address
            .as_ref()
            .and_then(|address| place::from_proto(address, &at("address"), &mut v));
        let country = address
            .as_ref()
            .and_then(countersign_domain::place::PostalAddress::country)
            .or(self.default_region);
        let tier = (!given.tier.is_empty()).then(|| given.tier.clone());
        if tier
            .as_ref()
            .is_some_and(|tier| !["A", "B", "C", "D"].contains(&tier.as_str()))
        {
            v.add(at("tier"), "must be A, B, C or D, or empty");
        }
        let credit_limit = given
            .credit_limit
            .as_ref()
            .and_then(|limit| intake::amount(limit, &at("credit_limit"), &mut v));
        let locale = (!given.locale.is_empty())
            .then(|| v.take(at("locale"), Locale::parse(&given.locale)))
            .flatten();
        let time_zone = (!given.time_zone.is_empty())
            .then(|| v.take(at("time_zone"), TimeZone::parse(&given.time_zone)))
            .flatten();
        let profile = CustomerProfile {
            display_name: intake::short(&given.display_name, 0, 200, &at("display_name"), &mut v)
                .unwrap_or_default(),
            tier,
            email: place::email(&given.email, &at("email"), &mut v),
            phone: place::phone(&given.phone, country, &at("phone"), &mut v),
            preferred_channel: word::optional_from_proto::<v1::Channel, _>(
                given.preferred_channel,
                &at("preferred_channel"),
                &mut v,
            ),
            locale,
            time_zone,
            shortage_policy: word::optional_from_proto::<v1::ShortagePolicy, _>(
                given.shortage_policy,
                &at("shortage_policy"),
                &mut v,
            ),
            delivery_area: intake::short(&given.delivery_area, 0, 64, &at("delivery_area"), &mut v)
                .unwrap_or_default(),
            unloading_conditions: text(
                &given.unloading_conditions,
                1_000,
                "unloading_conditions",
                &mut v,
            ),
            delivery_notes: text(&given.delivery_notes, 1_000, "delivery_notes", &mut v),
            address,
            block_reason: text(&given.block_reason, 500, "block_reason", &mut v),
        };
        let customer = code.map(|code| Customer {
            code,
            version: 1,
            credit_limit,
            credit_exposure_minor: 0,
            blocked: given.blocked,
            profile,
        });
        v.finish(customer)
    }

    async fn customer(&self, name: &str) -> Result<Customer, ServiceError> {
        let code = code_of(name)?;
        let mut found = self.store.find_customers(&[code]).await?;
        found
            .remove(code)
            .ok_or_else(|| ServiceError::not_found(name))
    }
}

pub(super) fn code_of(name: &str) -> Result<&str, ServiceError> {
    name.strip_prefix("customers/")
        .filter(|code| !code.is_empty())
        .ok_or_else(|| ServiceError::invalid("name", "must be customers/{code}"))
}

/// The stored customer with the fields named taken from the one given.
fn merge(old: &v1::Customer, given: &v1::Customer, paths: &[&str]) -> v1::Customer {
    let mut new = old.clone();
    for path in paths {
        match *path {
            "display_name" => new.display_name.clone_from(&given.display_name),
            "tier" => new.tier.clone_from(&given.tier),
            "email" => new.email.clone_from(&given.email),
            "phone" => new.phone.clone_from(&given.phone),
            "preferred_channel" => new.preferred_channel = given.preferred_channel,
            "locale" => new.locale.clone_from(&given.locale),
            "time_zone" => new.time_zone.clone_from(&given.time_zone),
            "credit_limit" => new.credit_limit.clone_from(&given.credit_limit),
            "shortage_policy" => new.shortage_policy = given.shortage_policy,
            "delivery_area" => new.delivery_area.clone_from(&given.delivery_area),
            "unloading_conditions" => new
                .unloading_conditions
                .clone_from(&given.unloading_conditions),
            "delivery_notes" => new.delivery_notes.clone_from(&given.delivery_notes),
            "address" => new.address.clone_from(&given.address),
            "blocked" => new.blocked = given.blocked,
            "block_reason" => new.block_reason.clone_from(&given.block_reason),
            // Paths come from PATHS only.
            _ => {}
        }
    }
    new
}

#[tonic::async_trait]
impl CustomerService for Reference {
    async fn get_customer(
        &self,
        request: Request<v1::GetCustomerRequest>,
    ) -> Result<Response<v1::Customer>, Status> {
        Ok(Response::new(to_proto(
            &self.customer(&request.get_ref().name).await?,
        )))
    }

    async fn list_customers(
        &self,
        request: Request<v1::ListCustomersRequest>,
    ) -> Result<Response<v1::ListCustomersResponse>, Status> {
        let request = request.into_inner();
        let after: Option<String> = page::read_key(&request.page_token, LIST)?;
        let found = self
            .store
            .list_customers(after.as_deref(), page::size(request.page_size)?)
            .await
            .map_err(ServiceError::from)?;
        let next_page_token = match found.items.last() {
            Some(last) if found.more => page::key_token(&last.code, LIST)?,
            _ => String::new(),
        };
        Ok(Response::new(v1::ListCustomersResponse {
            customers: found.items.iter().map(to_proto).collect(),
            next_page_token,
        }))
    }

    async fn create_customer(
        &self,
        request: Request<v1::CreateCustomerRequest>,
    ) -> Result<Response<v1::Customer>, Status> {
        let write = Write::of(request, "CreateCustomer")?;
        let given = write.inner.customer.clone().unwrap_or_default();
        let customer = self.read_customer(&write.inner.customer_id, "customer_id", &given)?;
        let answer = to_proto(&customer);
        let done = once(&self.store, &write.key, || async {
            let now = self.store.now().await?;
            let record = write.record(&answer, now);
            let options = PutOptions {
                version: Some(0),
                request: Some(&record),
            };
            let put = self
                .store
                .put_customers(std::slice::from_ref(&customer), options, now)
                .await;
            match written(put)? {
                Some(Put::Conflict) => Err(ServiceError::AlreadyExists {
                    name: answer.name.clone(),
                }),
                Some(_) => Ok(Some(answer.clone())),
                None => Ok(None),
            }
        })
        .await?;
        Ok(done)
    }

    async fn update_customer(
        &self,
        request: Request<v1::UpdateCustomerRequest>,
    ) -> Result<Response<v1::Customer>, Status> {
        let write = Write::of(request, "UpdateCustomer")?;
        let paths = masked(write.inner.update_mask.as_ref(), PATHS)?;
        let given = write.inner.customer.clone().unwrap_or_default();
        let done = once(&self.store, &write.key, || async {
            let old = self.customer(&given.name).await?;
            if !given.etag.is_empty() && given.etag != etag(old.version) {
                return Err(ServiceError::etag_mismatch());
            }
            let merged = merge(&to_proto(&old), &given, &paths);
            let mut new = self.read_customer(&old.code, "customer.name", &merged)?;
            new.credit_exposure_minor = old.credit_exposure_minor;
            new.version = old.version;
            if new != old {
                new.version += 1;
            }
            let (answer, now) = (to_proto(&new), self.store.now().await?);
            let record = write.record(&answer, now);
            let options = PutOptions {
                version: Some(old.version),
                request: Some(&record),
            };
            let put = self
                .store
                .put_customers(std::slice::from_ref(&new), options, now)
                .await;
            Ok(written(put)?
                .filter(|put| *put != Put::Conflict)
                .map(|_| answer))
        })
        .await?;
        Ok(done)
    }

    async fn erase_customer(
        &self,
        request: Request<v1::EraseCustomerRequest>,
    ) -> Result<Response<v1::Erasure>, Status> {
        Ok(Response::new(self.erase(request).await?))
    }

    async fn get_erasure(
        &self,
        request: Request<v1::GetErasureRequest>,
    ) -> Result<Response<v1::Erasure>, Status> {
        Ok(Response::new(self.erasure(&request.get_ref().name).await?))
    }

    async fn verify_erasure(
        &self,
        request: Request<v1::VerifyErasureRequest>,
    ) -> Result<Response<v1::Erasure>, Status> {
        Ok(Response::new(self.verify(&request.get_ref().name).await?))
    }

    type ImportCustomersStream = Rows;

    async fn import_customers(
        &self,
        request: Request<Streaming<v1::ImportCustomersRequest>>,
    ) -> Result<Response<Rows>, Status> {
        let (reader, store) = (self.clone(), self.store.clone());
        let read = move |row: v1::ImportCustomersRequest| {
            let given = row.customer.unwrap_or_default();
            let code = given.name.strip_prefix("customers/").unwrap_or_default();
            ImportRow {
                row: row.row,
                name: given.name.clone(),
                read: reader.read_customer(code, "customer.name", &given),
            }
        };
        Ok(Response::new(import(
            request.into_inner(),
            read,
            move |rows| {
                let store = store.clone();
                async move {
                    let now = store.now().await?;
                    store.put_customers(&rows, PutOptions::default(), now).await
                }
            },
        )))
    }
}
