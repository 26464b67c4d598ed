//! Tencent Cloud: text messages (`SendSms`).
//!
//! The cloud recognises no repeated message and tells of a sent one only by its own number, which a message in doubt does
//! not have: nobody can be asked ([`Reconciled::NobodyToAsk`]). So a text message in doubt is sent once more and never a
//! third time: a customer may get it twice, and gets it. Where that must not be, use the carrier that can be asked.
//! It takes approved texts only, see [`super::approved`]; their gaps are numbered.

pub(super) mod answer;
pub mod tc3;

use std::fmt;

use chrono::{DateTime, Utc};
use futures::{FutureExt, future::BoxFuture};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{
    Content, Doubtful, Outcome, Outgoing, Reason, ReasonCode, Reconciled, Sender,
    alibaba::host,
    approved::ApprovedTexts,
    exchange::exchange,
    gateway::{GatewayConfigError, GatewayTimeouts, http_client, is_e164, safe_url},
};
use tc3::{Tc3Request, sign};

const ACTION: &str = "SendSms";
const VERSION: &str = "2021-01-11";
const JSON: &str = "application/json; charset=utf-8";

/// How text messages are sent.
pub struct TencentSmsConfig {
    /// `https://sms.tencentcloudapi.com`.
    pub base: String,
    /// Names the key.
    pub secret_id: String,
    /// Signs with it.
    pub secret_key: SecretString,
    /// Such as `ap-guangzhou`.
    pub region: String,
    /// The application that the messages belong to.
    pub sdk_app_id: String,
    /// The approved signature that stands before each text.
    pub sign_name: String,
    /// The approved texts. Gaps are filled in the sequence in which they are given.
    pub texts: ApprovedTexts,
    /// Time limits.
    pub timeouts: GatewayTimeouts,
}

impl fmt::Debug for TencentSmsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TencentSmsConfig({})", self.base)
    }
}

/// Sends text messages. Share it by `Arc`.
#[derive(Debug)]
pub struct TencentSms {
    client: Client,
    base: Url,
    host: String,
    config: TencentSmsConfig,
}

impl TencentSms {
    /// Checks the set-up. Does not connect.
    pub fn try_new(config: TencentSmsConfig) -> Result<Self, GatewayConfigError> {
        let mut base = safe_url("base_url", &config.base)?;
        base.set_path("/");
        Ok(Self {
            client: http_client(&config.timeouts).map_err(GatewayConfigError::Client)?,
            host: host(&base),
            base,
            config,
        })
    }

    async fn attempt(&self, message: &Outgoing, now: DateTime<Utc>) -> Outcome {
        let invalid = |text| Outcome::permanent(Reason::new(ReasonCode::MessageInvalid, text));
        let Content::Sms(sms) = &message.content else {
            return invalid("only a text message can go this way");
        };
        if message.is_late(now) {
            let reason = Reason::new(ReasonCode::DeadlinePassed, "the message came too late");
            return Outcome::not_sent(reason);
        }
        let to = message.to.expose_secret();
        if !is_e164(to) {
            return Outcome::Permanent {
                reason: Reason::new(ReasonCode::BadRecipient, "not an E.164 number"),
                bad_recipient: true,
            };
        }
        let filled = match self.config.texts.fill(sms.particulars.as_ref()) {
            Ok(filled) => filled,
            Err(refused) => return refused,
        };
        let attempt = message.attempt_id.to_string();
        let values: Vec<&str> = filled.values.iter().map(|(_, value)| *value).collect();
        let body = json!({
            "PhoneNumberSet": [to],
            "SmsSdkAppId": self.config.sdk_app_id,
            "SignName": self.config.sign_name,
            "TemplateId": filled.code,
            "TemplateParamSet": values,
            "SessionContext": attempt,
        });
        answer::classify(self.call(body.to_string(), now).await, &attempt)
    }

    async fn call(
        &self,
        body: String,
        now: DateTime<Utc>,
    ) -> Result<super::exchange::Answer, super::exchange::Unanswered> {
        let signed = sign(
            &Tc3Request {
                service: "sms",
                headers: &[
                    ("content-type", JSON),
                    ("host", &self.host),
                    ("x-tc-action", ACTION),
                ],
                body: body.as_bytes(),
                time: now,
            },
            &self.config.secret_key,
        );
        let request = self
            .client
            .request(Method::POST, self.base.clone())
            .header(CONTENT_TYPE, JSON)
            .header(AUTHORIZATION, signed.authorization(&self.config.secret_id))
            .header("x-tc-action", ACTION)
            .header("x-tc-version", VERSION)
            .header("x-tc-region", &self.config.region)
            .header("x-tc-timestamp", now.timestamp().to_string())
            .body(body);
        exchange(request, self.config.timeouts.total, now).await
    }
}

impl Sender for TencentSms {
    fn send<'a>(&'a self, message: &'a Outgoing, now: DateTime<Utc>) -> BoxFuture<'a, Outcome> {
        self.attempt(message, now).boxed()
    }

    fn reconcile<'a>(
        &'a self,
        _message: &'a Doubtful,
        _now: DateTime<Utc>,
    ) -> BoxFuture<'a, Reconciled> {
        std::future::ready(Reconciled::NobodyToAsk).boxed()
    }
}
