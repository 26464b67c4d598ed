//! What the cloud pushes: how messages and calls fared, and what customers wrote back. Each push is a JSON array and bears
//! no signature, so what it says is a hint until it is confirmed.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::channel::DeliveryStatus;

/// How a text message fared (`SmsReport`).
#[derive(Deserialize)]
pub struct SmsReport {
    /// To which number.
    pub phone_number: String,
    /// Whether it arrived.
    pub success: bool,
    /// The operator's code.
    #[serde(default)]
    pub err_code: Option<String>,
    /// The cloud's id of the message.
    #[serde(default)]
    pub biz_id: Option<String>,
    /// Ours of the try.
    #[serde(default)]
    pub out_id: Option<String>,
    /// When the operator told.
    #[serde(default)]
    pub report_time: Option<String>,
}

/// A customer's text message (`SmsUp`).
#[derive(Deserialize)]
pub struct SmsUp {
    /// Who sent it.
    pub phone_number: String,
    /// What it says.
    pub content: String,
    /// When it arrived.
    #[serde(default)]
    pub send_time: Option<String>,
    /// The extension of our number that it was sent to.
    #[serde(default)]
    pub dest_code: Option<String>,
    /// A number or text, as the pages differ.
    pub sequence_id: Value,
}

/// How a call ended (`VoiceReport`). The key that it may name is not read: who knows the address could press it.
#[derive(Deserialize)]
pub struct VoiceReport {
    /// The cloud's id of the call.
    #[serde(default)]
    pub call_id: Option<String>,
    /// Ours of the try.
    #[serde(default)]
    pub out_id: Option<String>,
    /// To which number.
    #[serde(default)]
    pub callee: Option<String>,
    /// How it ended; a number or text.
    pub status_code: Value,
}

impl VoiceReport {
    /// The code as text; none when it has not the form of one.
    pub fn code(&self) -> Option<String> {
        let code = match &self.status_code {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let fits = (1..=8).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_digit());
        fits.then_some(code)
    }

    /// What the code says of the call.
    pub fn status(&self) -> Option<DeliveryStatus> {
        Some(match self.code()?.as_str() {
            // Heard to the end.
            "200000" => DeliveryStatus::Delivered,
            // Answered and hung up before the end, or still under way: not a failure, not heard either.
            "200001" | "200100" | "200101" | "200102" | "200103" | "200201" => DeliveryStatus::Sent,
            "200002" | "200112" => DeliveryStatus::Busy,
            "200003" | "200113" => DeliveryStatus::NoAnswer,
            _ => DeliveryStatus::Failed,
        })
    }
}

/// The readable elements of a push, and how many others there are. An error: it is no array at all.
pub fn read_array<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<(Vec<T>, usize)> {
    let elements: Vec<Value> = serde_json::from_slice(body)?;
    let count = elements.len();
    let good: Vec<T> = elements
        .into_iter()
        .filter_map(|element| serde_json::from_value(element).ok())
        .collect();
    let bad = count - good.len();
    Ok((good, bad))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_examples_are_read() {
        let body = r#"[{"phone_number":"13811110000","send_time":"2017-01-01 00:00:00",
            "report_time":"2017-01-01 00:00:00","success":true,"err_code":"DELIVERED",
            "err_msg":"用户接收成功","sms_size":"1","biz_id":"12345","out_id":"67890"}]"#;
        let (reports, bad) = read_array::<SmsReport>(body.as_bytes()).unwrap();
        assert_eq!((reports.len(), bad), (1, 0));
        assert!(
            reports
                .iter()
                .all(|it| it.success && it.out_id.as_deref() == Some("67890"))
        );
        for sequence in [r#""1234567890""#, "1234567890"] {
            let body = format!(
                r#"[{{"phone_number":"13811110000","content":"内容","send_time":"2017-09-01 00:00:00",
                "dest_code":"1234","sequence_id":{sequence}}}]"#
            );
            let (texts, bad) = read_array::<SmsUp>(body.as_bytes()).unwrap();
            assert_eq!((texts.len(), bad), (1, 0));
        }
    }

    #[test]
    fn f_08_a_bad_element_spoils_no_other() {
        let body = r#"[{"phone_number":"1","success":true},7,{"success":"yes"},{"phone_number":"2","success":false}]"#;
        let (reports, bad) = read_array::<SmsReport>(body.as_bytes()).unwrap();
        assert_eq!((reports.len(), bad), (2, 2));
        for body in ["{}", "", "[", "null"] {
            assert!(read_array::<SmsReport>(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_call_counts_as_heard_only_when_it_was_heard_to_the_end() {
        let status = |code: Value| {
            let report = VoiceReport {
                call_id: None,
                out_id: None,
                callee: None,
                status_code: code,
            };
            report.status()
        };
        assert_eq!(status("200000".into()), Some(DeliveryStatus::Delivered));
        assert_eq!(status(200_002.into()), Some(DeliveryStatus::Busy));
        assert_eq!(status("200003".into()), Some(DeliveryStatus::NoAnswer));
        assert_eq!(status("200001".into()), Some(DeliveryStatus::Sent));
        assert_eq!(status("200010".into()), Some(DeliveryStatus::Failed));
        assert_eq!(status("13800138000".into()), None);
        assert_eq!(status(Value::Null), None);
    }
}
