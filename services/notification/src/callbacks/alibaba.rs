//! What Alibaba Cloud pushes. Nothing is signed: the secret in the address keeps others out, and a report is a hint that is
//! confirmed before anything follows from it (RELIABILITY finding 12, F-08, F-09).

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use countersign_domain::{
    message::Recipient, order::Channel, reply::ReplyContent, secrets::equal_in_constant_time,
};
use countersign_runtime::config::{Config, Gateway, GatewayTransport};
use futures::StreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;

use super::gateway_status;
use crate::{
    channel::alibaba::{
        acs3::payload_hash,
        e164,
        push::{SmsReport, SmsUp, VoiceReport, as_kept, read_array},
    },
    channel::callback::DeliveryStatus,
    inbox::{Inbox, ReplyInput},
    metrics::Metrics,
};

/// A push of a thousand reports has some 300 KiB.
const MAX_BODY: usize = 2 * 1_024 * 1_024;
/// Reports of one push that are stored at the same time.
const TOGETHER: usize = 16;
/// Why a part of a push leads to nothing.
const UNREADABLE: &str = "UNREADABLE: the carrier's form is not known";
/// The cloud wants a number as code and does not look further.
const TAKEN: &str = r#"{"code":0,"msg":"接收成功"}"#;

#[derive(Clone)]
struct Pushes {
    sms: Option<SecretString>,
    phone: Option<SecretString>,
    inbox: Inbox,
    metrics: Metrics,
}

/// The addresses that the cloud pushes to, where it is used.
pub(crate) fn router(config: &Config, inbox: &Inbox, metrics: Metrics) -> Router {
    let pushes = Arc::new(Pushes {
        sms: secret(&config.sms),
        phone: secret(&config.phone),
        inbox: inbox.clone(),
        metrics,
    });
    Router::new()
        .route("/callbacks/alibaba/{secret}/sms-report", post(sms_report))
        .route("/callbacks/alibaba/{secret}/sms-up", post(sms_up))
        .route(
            "/callbacks/alibaba/{secret}/voice-report",
            post(voice_report),
        )
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(pushes)
}

fn secret(gateway: &Gateway) -> Option<SecretString> {
    gateway
        .with_transport(GatewayTransport::Alibaba)
        .and_then(|own| own.alibaba.as_ref())
        .and_then(|alibaba| alibaba.callback_secret.clone())
}

async fn sms_report(
    State(pushes): State<Arc<Pushes>>,
    Path(secret): Path<String>,
    body: Bytes,
) -> Response {
    pushes
        .take(pushes.sms.as_ref(), &secret, &body, SMS_REPORT)
        .await
}

async fn sms_up(
    State(pushes): State<Arc<Pushes>>,
    Path(secret): Path<String>,
    body: Bytes,
) -> Response {
    pushes
        .take(pushes.sms.as_ref(), &secret, &body, SMS_UP)
        .await
}

async fn voice_report(
    State(pushes): State<Arc<Pushes>>,
    Path(secret): Path<String>,
    body: Bytes,
) -> Response {
    pushes
        .take(pushes.phone.as_ref(), &secret, &body, VOICE_REPORT)
        .await
}

/// A kind of push.
struct Push<T> {
    name: &'static str,
    source: &'static str,
    reply: fn(T) -> Option<ReplyInput>,
}

const SMS_REPORT: Push<SmsReport> = Push {
    name: "SMS_REPORT",
    source: SMS,
    reply: report_of_text,
};
const SMS_UP: Push<SmsUp> = Push {
    name: "SMS_UP",
    source: SMS,
    reply: text,
};
const VOICE_REPORT: Push<VoiceReport> = Push {
    name: "VOICE_REPORT",
    source: VOICE,
    reply: report_of_call,
};

/// Where replies come from.
const SMS: &str = "ALIBABA_SMS";
const VOICE: &str = "ALIBABA_VOICE";

impl Pushes {
    /// Stores what can be read, and parks and counts what cannot. Only when all of it is stored does the cloud hear that it was taken;
    /// else it comes again, and what is stored already stays stored once.
    async fn take<T: DeserializeOwned>(
        &self,
        wanted: Option<&SecretString>,
        given: &str,
        body: &[u8],
        push: Push<T>,
    ) -> Response {
        let known = wanted.is_some_and(|wanted| {
            equal_in_constant_time(wanted.expose_secret().as_bytes(), given.as_bytes())
        });
        if !known {
            return StatusCode::NOT_FOUND.into_response();
        }
        let Ok((replies, bad)) = read_array(body, push.reply) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        if !bad.is_empty() {
            self.metrics.unreadable_reports(bad.len() as u64);
            let (good, bad) = (replies.len(), bad.len());
            tracing::warn!(bad, good, "a push held what cannot be read; it is kept");
        }
        let parked = bad.into_iter().map(|element| {
            let part = as_kept(element);
            // The same part again is the same reply.
            let id = [push.name, &part].join("\n");
            ReplyInput {
                source: push.source,
                source_event_id: payload_hash(id.as_bytes()),
                order: None,
                content: ReplyContent::Unreadable {
                    push: push.name.to_owned(),
                    part,
                },
            }
        });
        let all = replies.into_iter().chain(parked);
        let stored = all.map(|input| {
            let inbox = self.inbox.clone();
            async move {
                match input.content {
                    ReplyContent::Unreadable { .. } => inbox.park(input, UNREADABLE).await,
                    _ => inbox.receive(input).await,
                }
            }
        });
        let mut stored = futures::stream::iter(stored).buffer_unordered(TOGETHER);
        while let Some(result) = stored.next().await {
            if let Err(error) = result {
                tracing::warn!(error = %error, "a push could not be stored; the cloud is to come again");
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
        }
        ([(CONTENT_TYPE, "application/json; charset=utf-8")], TAKEN).into_response()
    }
}

pub(super) fn report_of_text(report: SmsReport) -> Option<ReplyInput> {
    let status = if report.success {
        DeliveryStatus::Delivered
    } else {
        DeliveryStatus::Failed
    };
    let time = report.report_time.unwrap_or_default();
    hint(Hint {
        channel: Channel::Sms,
        source: SMS,
        number: &report.phone_number,
        attempt: report.out_id?,
        provider_id: report.biz_id.unwrap_or_default(),
        status,
        code: report.err_code,
        time: &time,
    })
}

pub(super) fn report_of_call(report: VoiceReport) -> Option<ReplyInput> {
    let (status, code) = (report.status()?, report.code());
    hint(Hint {
        channel: Channel::Phone,
        source: VOICE,
        number: &report.callee?,
        attempt: report.out_id?,
        provider_id: report.call_id.unwrap_or_default(),
        status,
        code,
        time: "",
    })
}

struct Hint<'a> {
    channel: Channel,
    source: &'static str,
    number: &'a str,
    attempt: String,
    provider_id: String,
    status: DeliveryStatus,
    code: Option<String>,
    time: &'a str,
}

fn hint(hint: Hint<'_>) -> Option<ReplyInput> {
    let recipient = e164(hint.number)?;
    let short = |text: &str| text.len() <= 128;
    if hint.attempt.is_empty() || !short(&hint.attempt) || !short(&hint.provider_id) {
        return None;
    }
    let status = gateway_status(hint.status);
    let code = hint.code.filter(|code| is_code(code));
    // The cloud gives a report no id. The same report again is the same reply.
    let id = [
        &recipient,
        &hint.attempt,
        &hint.provider_id,
        status.as_str(),
        code.as_deref().unwrap_or_default(),
        hint.time,
    ]
    .join("\n");
    Some(ReplyInput {
        source: hint.source,
        source_event_id: payload_hash(id.as_bytes()),
        order: None,
        content: ReplyContent::Report {
            channel: hint.channel,
            recipient: Recipient::new(recipient),
            attempt: hint.attempt,
            provider_id: hint.provider_id,
            status,
            code,
        },
    })
}

/// The form of an operator's code, which is shown to staff.
fn is_code(code: &str) -> bool {
    (1..=40).contains(&code.len())
        && code
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.' | b'-'))
}

pub(super) fn text(up: SmsUp) -> Option<ReplyInput> {
    let from = e164(&up.phone_number)?;
    let sequence = match &up.sequence_id {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let time = up.send_time.unwrap_or_default();
    let id = [&from, &sequence, &time].map(String::as_str).join("\n");
    Some(ReplyInput {
        source: SMS,
        source_event_id: payload_hash(id.as_bytes()),
        order: None,
        content: ReplyContent::Text {
            from: Recipient::new(from),
            text: up.content,
            in_reply_to: None,
        },
    })
}
