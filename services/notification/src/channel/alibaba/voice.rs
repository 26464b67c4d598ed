//! Calls by `SingleCallByTts`: an approved text is spoken, and no key is listened for. The approved text itself must say
//! how to answer, by the code or the order page.

use chrono::{DateTime, Utc};
use futures::{FutureExt, future::BoxFuture};
use secrecy::ExposeSecret as _;

use super::{
    answer::classify,
    api::{AlibabaAccount, Api},
    number::{call_out_id, national},
    sms::{parameter, refused},
};
use crate::channel::{
    Content, Doubtful, Outcome, Outgoing, Reason, ReasonCode, Reconciled, Sender,
    approved::ApprovedTexts, gateway::GatewayConfigError,
};

/// How calls are placed.
#[derive(Debug)]
pub struct AlibabaVoiceConfig {
    /// Who pays.
    pub account: AlibabaAccount,
    /// The number that the customer sees, one that was bought; none: one of the cloud's common numbers.
    pub show_number: Option<String>,
    /// How often the text is spoken, 1 to 3.
    pub play_times: u8,
    /// The approved texts.
    pub texts: ApprovedTexts,
}

/// Places calls. Share it by `Arc`.
#[derive(Debug)]
pub struct AlibabaVoice {
    api: Api,
    show_number: Option<String>,
    play_times: String,
    texts: ApprovedTexts,
}

impl AlibabaVoice {
    /// Checks the set-up. Does not connect.
    pub fn try_new(config: AlibabaVoiceConfig) -> Result<Self, GatewayConfigError> {
        Ok(Self {
            api: Api::try_new(config.account)?,
            show_number: config.show_number,
            play_times: config.play_times.to_string(),
            texts: config.texts,
        })
    }

    async fn attempt(&self, message: &Outgoing, now: DateTime<Utc>) -> Outcome {
        let Content::Call(call) = &message.content else {
            let text = "only a call can go this way";
            return Outcome::permanent(Reason::new(ReasonCode::MessageInvalid, text));
        };
        if let Some(refused) = refused(message, now) {
            return refused;
        }
        let filled = match self.texts.fill(call.particulars.as_ref()) {
            Ok(filled) => filled,
            Err(refused) => return refused,
        };
        let out_id = call_out_id(message.attempt_id);
        let parameter = parameter(&filled);
        let mut parameters = vec![
            ("CalledNumber", national(message.to.expose_secret())),
            ("TtsCode", filled.code),
            ("PlayTimes", self.play_times.as_str()),
            ("OutId", out_id.as_str()),
        ];
        if let Some(number) = &self.show_number {
            parameters.push(("CalledShowNumber", number));
        }
        if !filled.values.is_empty() {
            parameters.push(("TtsParam", &parameter));
        }
        classify(self.api.call("SingleCallByTts", &parameters, now).await)
    }
}

impl Sender for AlibabaVoice {
    fn send<'a>(&'a self, message: &'a Outgoing, now: DateTime<Utc>) -> BoxFuture<'a, Outcome> {
        self.attempt(message, now).boxed()
    }

    /// The cloud tells of a call by its own id only, which a call in doubt does not have. So nobody can be asked, and a
    /// call is not placed twice.
    fn reconcile<'a>(
        &'a self,
        _message: &'a Doubtful,
        _now: DateTime<Utc>,
    ) -> BoxFuture<'a, Reconciled> {
        std::future::ready(Reconciled::NobodyToAsk).boxed()
    }
}
