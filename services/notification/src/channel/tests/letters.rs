//! What a letter is allowed to look like on the wire: addresses, names and headers (E-14, I-01, I-02, 4.6).

use std::time::Duration;

use super::{
    again,
    mail::{
        assert_permanent, assert_sent, assert_wire, config, letter, link_key, parts, plain, send,
        sender,
    },
};
use crate::{
    channel::{
        Content, ReasonCode,
        email::{EmailConfigError, EmailSender},
        smtp::SmtpTimeouts,
    },
    testkit::{Act, MailSink, MailSinkConfig, Stage},
};

#[test]
fn e_01_to_e_05_the_usual_limits_are_those_of_the_table() {
    let limits = SmtpTimeouts::default();
    let seconds = [
        limits.connect,
        limits.tls,
        limits.greeting,
        limits.command,
        limits.data,
        limits.progress,
        limits.final_dot,
    ]
    .map(|limit| limit.as_secs());
    assert_eq!(seconds, [10, 10, 30, 60, 120, 180, 600]);
}

#[tokio::test]
async fn e_14_an_international_domain_goes_out_in_ascii_and_the_body_needs_no_extension() {
    let sink = MailSink::start_with(MailSinkConfig {
        extensions: &[],
        ..MailSinkConfig::default()
    });
    let mut message = letter();
    message.to = "li@例え.jp".to_owned().into();
    assert_sent(&send(&sender(&sink), &message).await);
    let mail = sink.mails().pop().unwrap();
    assert_eq!(mail.to, ["<li@xn--r8jz45g.jp>"], "no DSN was offered");
    assert!(!mail.from.contains("ENVID"), "{}", mail.from);
    assert!(mail.wire.is_ascii());
    assert_eq!(parts(&mail).len(), 2, "base64 both");
    assert_wire(&mail);
}

#[tokio::test]
async fn e_14_a_local_part_beyond_ascii_is_permanent_without_a_connection() {
    let sink = MailSink::start();
    let mut message = letter();
    message.to = "李@example.com".to_owned().into();
    let outcome = send(&sender(&sink), &message).await;
    assert_permanent(&outcome, ReasonCode::AddressUnsupported, true);
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn i_01_traps_in_names_addresses_and_urls_make_no_header() {
    let sink = MailSink::start();
    // A name of ours with a line end is refused at once, or at least ends no line.
    for name in [
        "Hua\r\nBcc: x@evil.example",
        "Hua\0",
        "Hua%0d%0aBcc: x@evil.example",
    ] {
        let mut config = plain(&sink);
        config.from = format!("\"{name}\" <orders@hua.example>");
        if let Ok(sender) = EmailSender::try_new(config) {
            assert_sent(&send(&sender, &letter()).await);
        }
    }
    for (at, subject) in [
        "a\r\nBcc: evil@example.com",
        "a\rBcc: evil@example.com",
        "a\nBcc: evil@example.com",
        "a%0d%0aBcc: evil@example.com",
        "a\u{2028}Bcc: evil@example.com",
        "a\0Bcc: evil@example.com",
        "=?utf-8?q?a=0D=0ABcc:_evil@example.com?=",
    ]
    .into_iter()
    .enumerate()
    {
        let mut message = letter();
        if let Content::Email(mail) = &mut message.content {
            subject.clone_into(&mut mail.subject);
            mail.unsubscribe = Some("https://o.example/u/abc".to_owned());
        }
        assert_sent(&send(&sender(&sink), &message).await);
        let mail = sink.mails().pop().unwrap();
        assert_wire(&mail);
        let text = String::from_utf8(mail.message()).unwrap();
        let head = text.split("\r\n\r\n").next().unwrap();
        for name in [
            "From",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "MIME-Version",
            "Auto-Submitted",
            "Feedback-ID",
            "List-Unsubscribe",
            "List-Unsubscribe-Post",
            "Content-Type",
        ] {
            let count = head
                .split("\r\n")
                .filter(|line| {
                    line.split_once(':')
                        .is_some_and(|(key, _)| key.eq_ignore_ascii_case(name))
                })
                .count();
            assert_eq!(count, 1, "{name} of subject {at}");
        }
    }
    for mail in sink.mails() {
        assert_eq!(mail.header("bcc"), None);
        assert_eq!(mail.to.len(), 1);
    }
    let mut message = letter();
    if let Content::Email(mail) = &mut message.content {
        mail.unsubscribe = Some("https://o.example/u/a>\r\nBcc: x".to_owned());
    }
    let outcome = send(&sender(&sink), &message).await;
    assert_permanent(&outcome, ReasonCode::MessageInvalid, false);
}

#[tokio::test]
async fn i_02_every_letter_has_one_recipient_on_the_wire() {
    let sink = MailSink::start();
    let sender = sender(&sink);
    for to in [
        "\"a@x\r\nBcc:evil\"@d.example",
        "a@d.example,b@d.example",
        "<a@d.example>",
        "a@d.example b@d.example",
    ] {
        let mut message = letter();
        message.to = to.to_owned().into();
        assert_permanent(
            &send(&sender, &message).await,
            ReasonCode::BadRecipient,
            true,
        );
    }
    for to in [
        format!("{}@d.example", "a".repeat(65)),
        format!("a@{}example", "bcdefghij.".repeat(26)),
    ] {
        let mut message = letter();
        message.to = to.into();
        assert_permanent(
            &send(&sender, &message).await,
            ReasonCode::BadRecipient,
            true,
        );
    }
    assert_eq!(sink.connections(), 0);
    let mut message = letter();
    message.to = "o'neil+x=y@d.example".to_owned().into();
    assert_sent(&send(&sender, &message).await);
    let commands = sink.commands();
    let recipients: Vec<&String> = commands
        .iter()
        .filter(|line| line.starts_with("RCPT"))
        .collect();
    assert_eq!(
        recipients,
        [
            "RCPT TO:<o'neil+x=y@d.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;o'neil+2Bx+3Dy@d.example"
        ]
    );
}

#[tokio::test]
async fn e_16_the_envelope_names_the_message_and_cannot_be_made_by_others() {
    let sink = MailSink::start();
    sink.once(Stage::Dot, Act::Reply("451 4.3.0 later\r\n".to_owned()));
    let sender = sender(&sink);
    let message = letter();
    send(&sender, &message).await;
    assert_sent(&send(&sender, &again(&message)).await);
    let commands = sink.commands();
    let froms: Vec<&String> = commands
        .iter()
        .filter(|line| line.starts_with("MAIL"))
        .collect();
    assert_eq!(froms[0], froms[1], "the same for every try");
    let token = froms[0]
        .split("bounce+")
        .nth(1)
        .and_then(|rest| rest.split('@').next())
        .unwrap();
    let (delivery, generation) = link_key().read_bounce_token(token).unwrap();
    assert_eq!((delivery.as_uuid(), generation), (message.message_id, 1));
    let other = countersign_domain::secrets::LinkKey::new(&[8; 32]).unwrap();
    assert_eq!(other.read_bounce_token(token), None);
}

#[test]
fn a_bounce_address_without_room_for_the_token_is_refused_at_once() {
    let mut long = config("smtp://127.0.0.1?tls=none");
    long.bounce = Some(("bounces-of-letters@hua.example".to_owned(), link_key()));
    assert!(matches!(
        EmailSender::try_new(long),
        Err(EmailConfigError::LongBounce)
    ));
    let mut fits = config("smtp://127.0.0.1?tls=none");
    fits.bounce = Some(("letters-bounces@hua.example".to_owned(), link_key()));
    fits.pool_wait = Duration::from_secs(1);
    assert!(EmailSender::try_new(fits).is_ok());
}
