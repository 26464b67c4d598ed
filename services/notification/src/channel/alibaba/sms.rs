//! Text messages by `SendSms`.

use chrono::{DateTime, Utc};
use futures::{FutureExt, future::BoxFuture};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};

use super::{
    answer::classify,
    api::{AlibabaAccount, Api},
    number::national,
    query,
};
use crate::channel::{
    Content, Doubtful, Outcome, Outgoing, Reason, ReasonCode, Reconciled, Sender,
    approved::{ApprovedTexts, Filled},
    gateway::{GatewayConfigError, is_e164},
};

/// How text messages are sent.
#[derive(Debug)]
pub struct AlibabaSmsConfig {
    /// Who pays.
    pub account: AlibabaAccount,
    /// The approved signature that stands before each text.
    pub sign_name: String,
    /// The approved texts.
    pub texts: ApprovedTexts,
}

/// Sends text messages. Share it by `Arc`.
#[derive(Debug)]
pub struct AlibabaSms {
    api: Api,
    sign_name: String,
    texts: ApprovedTexts,
}

impl AlibabaSms {
    /// Checks the set-up. Does not connect.
    pub fn try_new(config: AlibabaSmsConfig) -> Result<Self, GatewayConfigError> {
        Ok(Self {
            api: Api::try_new(config.account)?,
            sign_name: config.sign_name,
            texts: config.texts,
        })
    }

    async fn attempt(&self, message: &Outgoing, now: DateTime<Utc>) -> Outcome {
        let Content::Sms(sms) = &message.content else {
            let text = "only a text message can go this way";
            return Outcome::permanent(Reason::new(ReasonCode::MessageInvalid, text));
        };
        if let Some(refused) = refused(message, now) {
            return refused;
        }
        let filled = match self.texts.fill(sms.particulars.as_ref()) {
            Ok(filled) => filled,
            Err(refused) => return refused,
        };
        let out_id = message.attempt_id.to_string();
        let parameter = parameter(&filled);
        let mut parameters = vec![
            ("PhoneNumbers", national(message.to.expose_secret())),
            ("SignName", self.sign_name.as_str()),
            ("TemplateCode", filled.code),
            ("OutId", out_id.as_str()),
        ];
        if !filled.values.is_empty() {
            parameters.push(("TemplateParam", &parameter));
        }
        classify(self.api.call("SendSms", &parameters, now).await)
    }
}

/// What keeps a message from being sent at all.
pub(super) fn refused(message: &Outgoing, now: DateTime<Utc>) -> Option<Outcome> {
    if message.is_late(now) {
        let reason = Reason::new(ReasonCode::DeadlinePassed, "the message came too late");
        return Some(Outcome::not_sent(reason));
    }
    (!is_e164(message.to.expose_secret())).then(|| Outcome::Permanent {
        reason: Reason::new(ReasonCode::BadRecipient, "not an E.164 number"),
        bad_recipient: true,
    })
}

/// The values of the gaps as compact JSON.
pub(super) fn parameter(filled: &Filled<'_>) -> String {
    let values: Map<String, Value> = filled
        .values
        .iter()
        .map(|(gap, value)| ((*gap).to_owned(), Value::from(*value)))
        .collect();
    Value::Object(values).to_string()
}

impl Sender for AlibabaSms {
    fn send<'a>(&'a self, message: &'a Outgoing, now: DateTime<Utc>) -> BoxFuture<'a, Outcome> {
        self.attempt(message, now).boxed()
    }

    fn reconcile<'a>(
        &'a self,
        message: &'a Doubtful,
        now: DateTime<Utc>,
    ) -> BoxFuture<'a, Reconciled> {
        query::find(&self.api, message, now).boxed()
    }
}
