//! What the cloud pushes: how messages and calls fared, and what customers wrote back. Each push is a JSON array and bears
//! no signature, so what it says is a hint until it is confirmed.

use countersign_domain::reply::UNREADABLE_MAX;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::e164;
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

/// What a push says, by what `read` makes of each element: what could be read, and the elements that could not. An error: it
/// is no array at all.
pub fn read_array<T: DeserializeOwned, R>(
    body: &[u8],
    read: impl Fn(T) -> Option<R>,
) -> serde_json::Result<(Vec<R>, Vec<Value>)> {
    let elements: Vec<Value> = serde_json::from_slice(body)?;
    let mut good = Vec::with_capacity(elements.len());
    let mut bad = Vec::new();
    for element in elements {
        let told = T::deserialize(&element).ok().and_then(&read);
        match told {
            Some(told) => good.push(told),
            None => bad.push(element),
        }
    }
    Ok((good, bad))
}

/// An element that cannot be read as it is kept: with its numbers in the one form by which a person's data is looked for when
/// it is to be erased.
pub fn as_kept(mut element: Value) -> String {
    for name in ["phone_number", "callee", "caller"] {
        let Some(number) = element.get_mut(name) else {
            continue;
        };
        let text = match &*number {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => continue,
        };
        if let Some(known) = e164(&text) {
            *number = Value::String(known);
        }
    }
    element.to_string().chars().take(UNREADABLE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_published_examples_are_read() {
        let body = r#"[{"phone_number":"13811110000","send_time":"2017-01-01 00:00:00",
            "report_time":"2017-01-01 00:00:00","success":true,"err_code":"DELIVERED",
            "err_msg":"用户接收成功","sms_size":"1","biz_id":"12345","out_id":"67890"}]"#;
        let (reports, bad) = read_array(body.as_bytes(), Some::<SmsReport>).unwrap();
        assert_eq!((reports.len(), bad.len()), (1, 0));
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
            let (texts, bad) = read_array(body.as_bytes(), Some::<SmsUp>).unwrap();
            assert_eq!((texts.len(), bad.len()), (1, 0));
        }
    }

    #[test]
    fn f_08_a_bad_element_spoils_no_other() {
        let body = r#"[{"phone_number":"1","success":true},7,{"success":"yes"},{"phone_number":"2","success":false}]"#;
        let (reports, bad) = read_array(body.as_bytes(), Some::<SmsReport>).unwrap();
        assert_eq!(reports.len(), 2);
        assert_eq!(bad, [json!(7), json!({"success": "yes"})]);
        // What reads well and means nothing is among them.
        let (none, bad) = read_array(body.as_bytes(), |_: SmsReport| None::<()>).unwrap();
        assert_eq!((none.len(), bad.len()), (0, 4));
        for body in ["{}", "", "[", "null"] {
            let read = read_array(body.as_bytes(), Some::<SmsReport>);
            assert!(read.is_err(), "{body}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_kept_with_its_numbers_in_one_form_and_not_at_any_length() {
        let kept = as_kept(json!({"phone_number": 13_811_110_000_u64, "success": "perhaps"}));
        assert_eq!(
            kept,
            r#"{"phone_number":"+8613811110000","success":"perhaps"}"#
        );
        assert_eq!(as_kept(json!(["13811110000"])), r#"["13811110000"]"#);
        assert_eq!(as_kept(json!("é".repeat(9_000))).chars().count(), 4_000);
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
