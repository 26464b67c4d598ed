//! One signed call of an interface of the RPC kind: everything stands in the query, the body is empty.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use http::header::{ACCEPT, AUTHORIZATION, HOST};
use reqwest::{Client, Method, Url};
use secrecy::SecretString;

use super::acs3::{Acs3Request, canonical_query, payload_hash, sign};
use crate::{
    channel::{
        exchange::{Answer, Unanswered, exchange},
        gateway::{GatewayConfigError, GatewayTimeouts, http_client, safe_url},
    },
    ids::Ids,
};

/// The version of both interfaces, text messages and calls.
const VERSION: &str = "2017-05-25";

/// The account that pays, and where its interface answers.
pub struct AlibabaAccount {
    /// `https://dysmsapi.aliyuncs.com` for text messages, `https://dyvmsapi.aliyuncs.com` for calls.
    pub base: String,
    /// Names the key.
    pub access_key_id: String,
    /// Signs with it.
    pub access_key_secret: SecretString,
    /// Time limits.
    pub timeouts: GatewayTimeouts,
    /// Makes the nonces: no two requests have the same.
    pub ids: Arc<Ids>,
}

impl fmt::Debug for AlibabaAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlibabaAccount({})", self.base)
    }
}

#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    base: Url,
    host: String,
    account: AlibabaAccount,
}

impl Api {
    /// Checks the set-up. Does not connect.
    pub(super) fn try_new(account: AlibabaAccount) -> Result<Self, GatewayConfigError> {
        let base = safe_url("base_url", &account.base)?;
        Ok(Self {
            client: http_client(&account.timeouts).map_err(GatewayConfigError::Client)?,
            host: host(&base),
            base,
            account,
        })
    }

    /// Asks once. The address holds the customer's number, so neither it nor an error that shows it is ever logged.
    pub(super) async fn call(
        &self,
        action: &str,
        parameters: &[(&str, &str)],
        now: DateTime<Utc>,
    ) -> Result<Answer, Unanswered> {
        let query = canonical_query(parameters);
        let date = now.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        let nonce = self.account.ids.token().simple().to_string();
        let hash = payload_hash(b"");
        let headers = [
            ("host", self.host.as_str()),
            ("x-acs-action", action),
            ("x-acs-version", VERSION),
            ("x-acs-date", &date),
            ("x-acs-signature-nonce", &nonce),
            ("x-acs-content-sha256", &hash),
        ];
        let signed = sign(
            &Acs3Request {
                method: "POST",
                path: "/",
                query: &query,
                headers: &headers,
                payload_hash: &hash,
            },
            &self.account.access_key_secret,
        );
        let mut url = self.base.clone();
        url.set_path("/");
        url.set_query(Some(&query));
        let mut request = self
            .client
            .request(Method::POST, url)
            .header(ACCEPT, "application/json")
            .header(
                AUTHORIZATION,
                signed.authorization(&self.account.access_key_id),
            )
            .body(Vec::new());
        for (name, value) in headers {
            if name != HOST {
                request = request.header(name, value);
            }
        }
        exchange(request, self.account.timeouts.total, now).await
    }
}

/// As the client writes it into the header `Host`.
pub(crate) fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}
