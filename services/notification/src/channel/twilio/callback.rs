//! What Twilio tells us, in our words. Pure: a form whose signature was right goes in.

use countersign_domain::{
    message::{OptOutReason, Recipient},
    order::Channel,
    reply::{GatewayStatus, ReplyContent},
};

use super::{Turn, is_bad_number, is_opt_out};
use crate::channel::gateway::parse_key;

/// A form or a query, as it was sent.
#[derive(Clone)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// Everything, in order.
    pub(crate) fn fields(&self) -> &[(String, String)] {
        &self.0
    }

    /// A value; empty when there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }
}

/// One thing for the inbox, with Twilio's own id of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) event_id: String,
    pub(crate) content: ReplyContent,
}

/// How a text message fares. Twilio may tell beside it that the number is to be left alone.
pub(crate) fn sms_status(query: &Form, form: &Form) -> Vec<News> {
    let sid = form.get("MessageSid");
    let word = form.get("MessageStatus");
    let status = match word {
        "queued" | "accepted" | "scheduled" | "sending" | "sent" | "partially_delivered" => {
            GatewayStatus::Underway
        }
        "delivered" | "read" => GatewayStatus::Delivered,
        "undelivered" | "failed" | "canceled" => GatewayStatus::Failed,
        _ => return Vec::new(),
    };
    let mut news = Vec::new();
    let code = error_code(form);
    let event_id = format!("{sid}-{word}");
    let reason = match code {
        Some(code) if is_opt_out(code) => Some(OptOutReason::Gateway),
        Some(code) if is_bad_number(code) => Some(OptOutReason::BadAddress),
        _ => None,
    };
    if let Some(reason) = reason {
        news.push(News {
            event_id: format!("{event_id}-stop"),
            content: ReplyContent::OptOut {
                recipient: Recipient::new(form.get("To")),
                channel: Channel::Sms,
                reason: Some(reason),
            },
        });
    }
    news.extend(fares(query, sid, status, code, event_id));
    news
}

/// How a call fares. Only its end counts, so it does not matter in which order the steps are told; a machine that takes a
/// call has answered nothing.
pub(crate) fn call_status(query: &Form, form: &Form) -> Vec<News> {
    let sid = form.get("CallSid");
    let word = form.get("CallStatus");
    let status = match word {
        "queued" | "initiated" | "ringing" | "in-progress" | "answered" => GatewayStatus::Underway,
        "completed" if is_machine(form) => GatewayStatus::Machine,
        "completed" => GatewayStatus::Delivered,
        "busy" => GatewayStatus::Busy,
        "no-answer" => GatewayStatus::NoAnswer,
        "failed" | "canceled" => GatewayStatus::Failed,
        _ => return Vec::new(),
    };
    let event_id = format!("{sid}-{}-{word}", form.get("SequenceNumber"));
    fares(query, sid, status, error_code(form), event_id)
        .into_iter()
        .collect()
}

/// Whether a machine has taken the call.
pub(crate) fn is_machine(form: &Form) -> bool {
    let by = form.get("AnsweredBy");
    by.starts_with("machine") || by == "fax"
}

fn error_code(form: &Form) -> Option<u32> {
    form.get("ErrorCode").parse().ok().filter(|code| *code > 0)
}

fn fares(
    query: &Form,
    sid: &str,
    status: GatewayStatus,
    code: Option<u32>,
    event_id: String,
) -> Option<News> {
    if sid.is_empty() {
        return None;
    }
    let provider_id = sid.to_owned();
    let code = code.map(|code| code.to_string());
    // Our own address names the message, even before our record of the try knows Twilio's id.
    let content = match parse_key(query.get("key")) {
        Some((delivery, generation)) => ReplyContent::Status {
            delivery,
            generation,
            provider_id,
            status,
            code,
        },
        None => ReplyContent::StatusById {
            provider_id,
            status,
            code,
        },
    };
    Some(News { event_id, content })
}

/// What a customer wrote.
pub(crate) fn sms_received(form: &Form) -> Option<News> {
    let (sid, from) = (form.get("MessageSid"), form.get("From"));
    if sid.is_empty() || from.is_empty() {
        return None;
    }
    let recipient = Recipient::new(from);
    let opting = |reason| ReplyContent::OptOut {
        recipient: recipient.clone(),
        channel: Channel::Sms,
        reason,
    };
    // Where Twilio itself keeps the list it tells what it understood.
    let content = match form.get("OptOutType") {
        "STOP" => opting(Some(OptOutReason::StopWord)),
        "START" => opting(None),
        _ => ReplyContent::Text {
            from: recipient.clone(),
            text: form.get("Body").to_owned(),
            in_reply_to: None,
        },
    };
    Some(News {
        event_id: sid.to_owned(),
        content,
    })
}

/// Where a call stands, from the address that it was told to go on at.
pub(crate) fn turn(query: &Form) -> Turn {
    let number = |name| query.get(name).parse().unwrap_or(u32::MAX);
    Turn {
        turn: number("turn"),
        misses: number("misses"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str =
        "attempt=0198c0de-2222-7000-8000-000000000001&key=0198c0de-1111-7000-8000-000000000001-1";

    fn told(query: &str, form: &str, read: fn(&Form, &Form) -> Vec<News>) -> Vec<News> {
        read(
            &Form::parse(query.as_bytes()),
            &Form::parse(form.as_bytes()),
        )
    }

    fn status_of(news: &[News]) -> Option<GatewayStatus> {
        match &news.last()?.content {
            ReplyContent::Status { status, .. } | ReplyContent::StatusById { status, .. } => {
                Some(*status)
            }
            _ => None,
        }
    }

    #[test]
    fn f_06_every_status_of_a_text_message_has_its_meaning() {
        for (word, status) in [
            ("queued", Some(GatewayStatus::Underway)),
            ("sent", Some(GatewayStatus::Underway)),
            ("delivered", Some(GatewayStatus::Delivered)),
            ("undelivered", Some(GatewayStatus::Failed)),
            ("failed", Some(GatewayStatus::Failed)),
            ("received", None),
            ("tomorrow", None),
        ] {
            let form = format!("MessageSid=SM1&MessageStatus={word}");
            let news = told(QUERY, &form, sms_status);
            assert_eq!(status_of(&news), status, "{word}");
        }
    }

    #[test]
    fn f_10_a_machine_has_answered_nothing_and_only_the_end_counts() {
        for (form, status) in [
            ("CallStatus=initiated", GatewayStatus::Underway),
            ("CallStatus=ringing", GatewayStatus::Underway),
            (
                "CallStatus=in-progress&AnsweredBy=machine_start",
                GatewayStatus::Underway,
            ),
            (
                "CallStatus=completed&AnsweredBy=human",
                GatewayStatus::Delivered,
            ),
            (
                "CallStatus=completed&AnsweredBy=machine_start",
                GatewayStatus::Machine,
            ),
            (
                "CallStatus=completed&AnsweredBy=machine_end_beep",
                GatewayStatus::Machine,
            ),
            (
                "CallStatus=completed&AnsweredBy=fax",
                GatewayStatus::Machine,
            ),
            ("CallStatus=busy", GatewayStatus::Busy),
            ("CallStatus=no-answer", GatewayStatus::NoAnswer),
            ("CallStatus=failed", GatewayStatus::Failed),
        ] {
            let form = format!("CallSid=CA1&SequenceNumber=2&{form}");
            let news = told(QUERY, &form, call_status);
            assert_eq!(status_of(&news), Some(status), "{form}");
            assert!(news[0].event_id.starts_with("CA1-2-"));
        }
    }

    #[test]
    fn d_13_d_14_a_number_to_be_left_alone_is_noted_beside_the_status() {
        for (code, reason) in [
            ("21610", OptOutReason::Gateway),
            ("21614", OptOutReason::BadAddress),
        ] {
            let form =
                format!("MessageSid=SM1&MessageStatus=failed&ErrorCode={code}&To=%2B8613800138000");
            let news = told(QUERY, &form, sms_status);
            assert_eq!(news.len(), 2);
            assert_eq!(
                news[0].content,
                ReplyContent::OptOut {
                    recipient: Recipient::new("+8613800138000"),
                    channel: Channel::Sms,
                    reason: Some(reason),
                }
            );
        }
        let plain = "MessageSid=SM1&MessageStatus=undelivered&ErrorCode=30008";
        assert_eq!(told(QUERY, plain, sms_status).len(), 1);
    }

    #[test]
    fn f_07_without_our_key_the_id_names_the_message() {
        let news = told("", "MessageSid=SM1&MessageStatus=sent", sms_status);
        assert_eq!(
            news[0].content,
            ReplyContent::StatusById {
                provider_id: "SM1".to_owned(),
                status: GatewayStatus::Underway,
                code: None,
            }
        );
        assert!(told("", "MessageStatus=sent", sms_status).is_empty());
    }

    #[test]
    fn f_12_what_twilio_understood_of_stop_and_start_is_taken_as_it_is() {
        let read = |form: &str| sms_received(&Form::parse(form.as_bytes())).map(|it| it.content);
        let from = "MessageSid=SM1&From=%2B8613800138000&Body=x";
        assert!(matches!(
            read(&format!("{from}&OptOutType=STOP")),
            Some(ReplyContent::OptOut {
                reason: Some(OptOutReason::StopWord),
                ..
            })
        ));
        assert!(matches!(
            read(&format!("{from}&OptOutType=START")),
            Some(ReplyContent::OptOut { reason: None, .. })
        ));
        assert!(matches!(
            read(&format!("{from}&OptOutType=HELP")),
            Some(ReplyContent::Text { .. })
        ));
        assert_eq!(read("From=%2B8613800138000&Body=x"), None);
    }
}
