use base64::{Engine, engine::general_purpose::STANDARD};
use countersign_domain::{ids::DeliveryId, secrets::LinkKey};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{again, now, outgoing};
use crate::{
    channel::{
        Content, EmailContent, Outcome, Outgoing, ReasonCode, RetryRule, Sender,
        email::{EmailConfig, EmailSender},
        smtp::SmtpTimeouts,
    },
    testkit::{Act, MailSink, MailSinkConfig, ReceivedMail, SinkTls, Stage},
};

const TEXT: &str = "Dear Li Wei,\n\n.\n..two dots\nFrom now on\n你好\n";
const HTML: &str = "<p>Dear Li Wei</p>";

pub(super) fn link_key() -> LinkKey {
    LinkKey::new(&[7; 32]).unwrap()
}

fn short() -> SmtpTimeouts {
    SmtpTimeouts {
        connect: Duration::from_secs(2),
        tls: Duration::from_secs(2),
        greeting: Duration::from_millis(300),
        command: Duration::from_millis(300),
        data: Duration::from_millis(300),
        progress: Duration::from_millis(400),
        final_dot: Duration::from_millis(1500),
    }
}

pub(super) fn config(url: &str) -> EmailConfig {
    let mut config = EmailConfig::new(
        url.parse().unwrap(),
        "Hua Trading <orders@hua.example>",
        "hua.example",
    );
    config.bounce = Some(("bounce@hua.example".to_owned(), link_key()));
    config.timeouts = short();
    config
}

pub(super) fn plain(sink: &MailSink) -> EmailConfig {
    config(&format!("smtp://{}?tls=none", sink.address()))
}

pub(super) fn sender(sink: &MailSink) -> EmailSender {
    EmailSender::try_new(plain(sink)).unwrap()
}

pub(super) fn letter() -> Outgoing {
    letter_with(TEXT)
}

pub(super) fn letter_with(text: &str) -> Outgoing {
    let content = EmailContent {
        subject: "请确认您的订单 CS-1".to_owned(),
        text: text.to_owned(),
        html: HTML.to_owned(),
        unsubscribe: None,
        kind: "confirmation_request",
    };
    outgoing("li.wei@customer.example", Content::Email(content))
}

pub(super) async fn send(sender: &EmailSender, message: &Outgoing) -> Outcome {
    sender.send(message, now()).await
}

async fn outcome(sink: &MailSink) -> Outcome {
    send(&sender(sink), &letter()).await
}

fn assert_not_sent(outcome: &Outcome, code: ReasonCode) {
    assert!(
        matches!(outcome, Outcome::NotSent { reason, .. } if reason.code == code),
        "{outcome:?}"
    );
}

fn assert_in_doubt(outcome: &Outcome) {
    assert!(
        matches!(outcome, Outcome::InDoubt { reason } if reason.code == ReasonCode::Unconfirmed),
        "{outcome:?}"
    );
}

fn assert_config(outcome: &Outcome, code: ReasonCode) {
    assert!(
        matches!(outcome, Outcome::Config { reason } if reason.code == code),
        "{outcome:?}"
    );
}

pub(super) fn assert_permanent(outcome: &Outcome, code: ReasonCode, bad: bool) {
    assert!(
        matches!(outcome, Outcome::Permanent { reason, bad_recipient }
            if reason.code == code && *bad_recipient == bad),
        "{outcome:?}"
    );
}

pub(super) fn assert_sent(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");
}

fn reply(text: &str) -> Act {
    Act::Reply(format!("{text}\r\n"))
}

/// No bare CR or LF, no long line, every leading dot doubled, one final dot.
pub(super) fn assert_wire(mail: &ReceivedMail) {
    let wire = &mail.wire;
    let mut lines = wire
        .split_inclusive(|byte| *byte == b'\n')
        .collect::<Vec<_>>();
    assert_eq!(lines.pop(), Some(&b".\r\n"[..]));
    for line in lines {
        let text = line
            .strip_suffix(b"\r\n")
            .expect("every line ends in CR LF");
        assert!(!text.contains(&b'\r') && text.len() <= 998);
        assert!(text.first() != Some(&b'.') || text.get(1) == Some(&b'.'));
    }
}

/// The decoded parts of the letter.
pub(super) fn parts(mail: &ReceivedMail) -> Vec<String> {
    let message = String::from_utf8(mail.message()).unwrap();
    let kind = mail.header("content-type").unwrap();
    let boundary = kind
        .split("boundary=\"")
        .nth(1)
        .unwrap()
        .trim_end_matches('"')
        .to_owned();
    let parts: Vec<&str> = message.split(&format!("--{boundary}")).collect();
    assert_eq!(parts.len(), 4, "head, text, html, end");
    parts[1..3]
        .iter()
        .map(|part| {
            let (head, body) = part.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("Content-Transfer-Encoding: base64"));
            String::from_utf8(STANDARD.decode(body.replace("\r\n", "")).unwrap()).unwrap()
        })
        .collect()
}

#[tokio::test]
async fn a_letter_arrives_whole_with_its_headers() {
    let sink = MailSink::start();
    let message = letter();
    let outcome = send(&sender(&sink), &message).await;
    let id = format!("{}.1@hua.example", message.message_id);
    assert_eq!(
        outcome,
        Outcome::Sent {
            provider_id: id.clone()
        }
    );
    let mail = sink.mails().pop().unwrap();
    let token = link_key().bounce_token(DeliveryId::from_uuid(message.message_id), 1);
    assert_eq!(
        mail.from,
        format!(
            "<bounce+{token}@hua.example> RET=HDRS ENVID={}-1",
            message.message_id
        )
    );
    assert_eq!(
        mail.to,
        ["<li.wei@customer.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;li.wei@customer.example"]
    );
    assert_eq!(
        mail.header("feedback-id").unwrap(),
        "confirmation_request:hua.example:countersign"
    );
    assert_eq!(mail.header("message-id").unwrap(), format!("<{id}>"));
    assert_eq!(
        mail.header("date").unwrap(),
        "Wed, 18 Nov 2026 11:03:40 +0000"
    );
    assert_eq!(mail.header("auto-submitted").unwrap(), "auto-generated");
    assert_eq!(
        mail.header("from").unwrap(),
        "\"Hua Trading\" <orders@hua.example>"
    );
    assert_eq!(mail.header("to").unwrap(), "li.wei@customer.example");
    assert!(mail.header("subject").unwrap().starts_with("=?utf-8?"));
    assert_eq!(parts(&mail), [TEXT.replace('\n', "\r\n"), HTML.to_owned()]);
    assert_wire(&mail);
}

#[tokio::test]
async fn a_letter_that_may_be_declined_says_how() {
    let sink = MailSink::start();
    let mut message = letter();
    if let Content::Email(mail) = &mut message.content {
        mail.unsubscribe = Some("https://o.example/u/abc".to_owned());
    }
    assert_sent(&send(&sender(&sink), &message).await);
    let mail = sink.mails().pop().unwrap();
    assert_eq!(
        mail.header("list-unsubscribe").unwrap(),
        "<https://o.example/u/abc>"
    );
    assert_eq!(
        mail.header("list-unsubscribe-post").unwrap(),
        "List-Unsubscribe=One-Click"
    );
}

#[tokio::test]
async fn a_message_that_is_late_is_not_even_tried() {
    let sink = MailSink::start();
    let mut message = letter();
    message.deadline = Some(now());
    assert_not_sent(
        &send(&sender(&sink), &message).await,
        ReasonCode::DeadlinePassed,
    );
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn i_01_line_ends_in_the_subject_make_no_header() {
    let sink = MailSink::start();
    let mut message = letter();
    if let Content::Email(mail) = &mut message.content {
        mail.subject = "a\r\nBcc: evil@example.com\r\n\r\nbody\rx\ny\0".to_owned();
    }
    assert_sent(&send(&sender(&sink), &message).await);
    let mail = sink.mails().pop().unwrap();
    assert_eq!(mail.header("bcc"), None);
    assert_eq!(mail.to.len(), 1);
    assert_wire(&mail);
    assert_eq!(parts(&mail).len(), 2);
}

#[tokio::test]
async fn i_02_a_crafted_recipient_never_reaches_the_relay() {
    let sink = MailSink::start();
    let sender = sender(&sink);
    for to in [
        "a@d.example>\r\nRCPT TO:<evil@x.example",
        "a@d.example, b@d.example",
        "a",
    ] {
        let mut message = letter();
        message.to = secrecy::SecretString::from(to);
        assert_permanent(
            &send(&sender, &message).await,
            ReasonCode::BadRecipient,
            true,
        );
    }
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn d_01_no_relay_at_the_address_is_not_sent() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let sender = EmailSender::try_new(config(&format!("smtp://{closed}?tls=none"))).unwrap();
    assert_not_sent(&send(&sender, &letter()).await, ReasonCode::Unreachable);
}

#[tokio::test]
async fn e_01_a_relay_that_never_greets_is_cut_off() {
    let sink = MailSink::start();
    sink.always(Stage::Connect, Act::Stall);
    let start = Instant::now();
    assert_not_sent(&outcome(&sink).await, ReasonCode::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn e_02_a_stall_in_any_command_is_cut_off_and_not_sent() {
    for stage in [Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data] {
        let sink = MailSink::start();
        sink.always(stage, Act::Stall);
        let start = Instant::now();
        assert_not_sent(&outcome(&sink).await, ReasonCode::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(5), "{stage:?}");
        assert_eq!(sink.accepted(), 0);
    }
}

#[tokio::test]
async fn e_02_a_stall_in_login_is_cut_off_and_not_sent() {
    let sink = sink_with_login("PLAIN");
    sink.always(Stage::Auth, Act::Stall);
    let url = format!("smtp://u:p@{}?tls=none", sink.address());
    let sender = EmailSender::try_new(config(&url)).unwrap();
    assert_not_sent(&send(&sender, &letter()).await, ReasonCode::TimedOut);
}

#[tokio::test]
async fn e_02_a_drop_in_any_command_is_not_sent() {
    for stage in [
        Stage::Connect,
        Stage::Ehlo,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Body,
    ] {
        let sink = MailSink::start();
        sink.always(stage, Act::Drop);
        let outcome = outcome(&sink).await;
        // A small message may be in the system's hands before the relay's hanging up is seen.
        if stage == Stage::Body {
            assert_in_doubt(&outcome);
        } else {
            assert_not_sent(&outcome, ReasonCode::ConnectionLost);
        }
        assert_eq!(sink.accepted(), 0);
    }
}

#[tokio::test]
async fn e_03_a_relay_that_stops_reading_the_body_is_cut_off_and_not_sent() {
    let sink = MailSink::start_with(MailSinkConfig {
        small_window: true,
        ..MailSinkConfig::default()
    });
    sink.always(Stage::Body, Act::Stall);
    let message = letter_with(&"x".repeat(12 * 1024 * 1024));
    let outcome = send(&sender(&sink), &message).await;
    assert_not_sent(&outcome, ReasonCode::TimedOut);
    assert_eq!(
        outcome.reason().unwrap().text,
        "no answer in time at message body"
    );
}

#[tokio::test]
async fn e_04_a_hang_up_after_the_final_dot_is_in_doubt_and_the_resend_is_the_same_letter() {
    let sink = MailSink::start();
    sink.once(Stage::Dot, Act::Drop);
    sink.once(Stage::Dot, Act::AcceptAndDrop);
    let sender = sender(&sink);
    let message = letter();
    assert_in_doubt(&send(&sender, &message).await);
    assert_eq!(sink.accepted(), 0);
    assert_in_doubt(&send(&sender, &again(&message)).await);
    assert_eq!(sink.accepted(), 1);
    assert_sent(&send(&sender, &again(&message)).await);
    let mails = sink.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].header("message-id"), mails[1].header("message-id"));
    assert_eq!(mails[0].wire, mails[1].wire, "byte for byte");
    assert_eq!(mails[0].from, mails[1].from);
}

#[tokio::test]
async fn e_05_a_late_answer_to_the_dot_is_waited_for() {
    let sink = MailSink::start();
    sink.always(Stage::Dot, Act::Delay(Duration::from_millis(900)));
    assert_sent(&outcome(&sink).await);
    assert_eq!(sink.accepted(), 1);
}

#[tokio::test]
async fn e_05_no_answer_to_the_dot_at_all_is_in_doubt() {
    let sink = MailSink::start();
    sink.always(Stage::Dot, Act::Stall);
    assert_in_doubt(&outcome(&sink).await);
}

#[tokio::test]
async fn e_06_421_is_not_sent_wherever_it_comes() {
    for stage in [
        Stage::Connect,
        Stage::Ehlo,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Dot,
    ] {
        let sink = MailSink::start();
        let sender = sender(&sink);
        sink.once(
            stage,
            Act::ReplyAndDrop("421 4.3.2 shutting down\r\n".to_owned()),
        );
        let message = letter();
        let outcome = send(&sender, &message).await;
        assert_not_sent(&outcome, ReasonCode::Deferred);
        assert_eq!(
            outcome.reason().unwrap().code.retry_rule(),
            RetryRule::Standard
        );
        assert_sent(&send(&sender, &again(&message)).await);
        assert_eq!((sink.accepted(), sink.connections()), (1, 2), "{stage:?}");
    }
}

#[tokio::test]
async fn e_07_greylisting_is_tried_later_with_the_same_envelope() {
    for text in [
        "450 4.7.1 greylisted",
        "451 try later",
        "452 4.7.0 slow down",
    ] {
        let sink = MailSink::start();
        let sender = sender(&sink);
        sink.once(Stage::Rcpt, reply(text));
        let message = letter();
        let outcome = send(&sender, &message).await;
        assert_not_sent(&outcome, ReasonCode::Greylisted);
        assert_eq!(
            outcome.reason().unwrap().code.retry_rule(),
            RetryRule::Greylist
        );
        assert_sent(&send(&sender, &again(&message)).await);
        let commands = sink.commands();
        let mut mail = commands.iter().filter(|line| line.starts_with("MAIL"));
        assert_eq!(mail.next(), mail.next());
        assert_eq!(sink.connections(), 1, "the connection is kept, by RSET");
    }
}

/// Relays that take an envelope in one packet, and those that want it step by step.
const WAYS: [&[&str]; 2] = [&["DSN", "PIPELINING"], &["DSN"]];

fn sink_that_offers(extensions: &'static [&'static str]) -> MailSink {
    MailSink::start_with(MailSinkConfig {
        extensions,
        ..MailSinkConfig::default()
    })
}

#[tokio::test]
async fn refusals_are_judged_alike_whether_the_envelope_goes_at_once_or_step_by_step() {
    for extensions in WAYS {
        let sink = sink_that_offers(extensions);
        let sender = sender(&sink);
        for (stage, text) in [
            (Stage::Mail, "451 4.3.0 later"),
            (Stage::Rcpt, "450 4.2.0 later"),
            (Stage::Data, "451 4.3.0 later"),
        ] {
            sink.once(stage, reply(text));
            let outcome = send(&sender, &letter()).await;
            let reason = outcome.reason().unwrap();
            assert!(matches!(&outcome, Outcome::NotSent { .. }), "{outcome:?}");
            assert!(reason.to_string().contains(&text[..3]), "{reason}");
            assert_eq!(sink.accepted(), 0);
        }
        assert_sent(&send(&sender, &letter()).await);
        // Right after a success nothing needs to be forgotten and nobody to be asked whether he is there.
        assert_sent(&send(&sender, &letter()).await);
        assert_eq!((sink.accepted(), sink.connections()), (2, 1));
        let commands = sink.commands();
        let resets = commands.iter().filter(|line| line.starts_with("RSET"));
        assert_eq!(resets.count(), 3, "{commands:?}");
    }
}

#[tokio::test]
async fn a_relay_that_wants_the_body_of_a_refused_envelope_gets_none() {
    let sink = sink_that_offers(WAYS[0]);
    let sender = sender(&sink);
    sink.once(Stage::Rcpt, reply("550 5.1.1 unknown"));
    sink.once(Stage::Data, reply("354 go on"));
    let outcome = send(&sender, &letter()).await;
    assert_permanent(&outcome, ReasonCode::BadRecipient, true);
    assert_eq!(sink.accepted(), 0);
    assert_sent(&send(&sender, &letter()).await);
    assert_eq!((sink.accepted(), sink.connections()), (1, 2));
}

#[tokio::test]
async fn e_08_a_full_mailbox_is_soft_with_three_tries() {
    for (stage, text) in [
        (Stage::Rcpt, "452 full"),
        (Stage::Rcpt, "452 4.2.2 full"),
        (Stage::Rcpt, "552 5.2.2 full"),
        (Stage::Dot, "552 full"),
        (Stage::Dot, "550 5.2.2 full"),
    ] {
        let sink = MailSink::start();
        sink.always(stage, reply(text));
        let outcome = outcome(&sink).await;
        assert_not_sent(&outcome, ReasonCode::MailboxFull);
        assert_eq!(
            outcome.reason().unwrap().code.retry_rule(),
            RetryRule::ThreeTries
        );
    }
}

#[tokio::test]
async fn e_09_an_unknown_recipient_is_permanent_and_the_address_is_bad() {
    for text in [
        "550 5.1.1 <li.wei@customer.example> unknown",
        "550 no such user",
        "553 5.1.3 bad",
    ] {
        let sink = MailSink::start();
        sink.always(Stage::Rcpt, reply(text));
        let outcome = outcome(&sink).await;
        assert_permanent(&outcome, ReasonCode::BadRecipient, true);
        let text = outcome.reason().unwrap().to_string();
        assert!(
            !text.contains("li.wei"),
            "the relay's words are not repeated: {text}"
        );
    }
}

#[tokio::test]
async fn e_10_a_refused_message_is_permanent_but_the_address_is_not_bad() {
    for (stage, text) in [
        (Stage::Data, "550 5.7.1 policy"),
        (Stage::Data, "554 no"),
        (Stage::Dot, "550 5.7.1 spam"),
        (Stage::Dot, "554 5.6.0 spam"),
        (Stage::Rcpt, "554 5.7.1 blocked"),
        (Stage::Mail, "552 5.3.4 too big"),
    ] {
        let sink = MailSink::start();
        sink.always(stage, reply(text));
        assert_permanent(&outcome(&sink).await, ReasonCode::MessageRefused, false);
    }
}

#[tokio::test]
async fn a_refused_sender_is_our_set_up() {
    for (stage, text) in [
        (Stage::Mail, "550 5.1.8 bad sender"),
        (Stage::Connect, "554 no service here"),
        (Stage::Mail, "530 5.7.0 log in"),
    ] {
        let sink = MailSink::start();
        sink.always(stage, reply(text));
        assert!(
            matches!(outcome(&sink).await, Outcome::Config { .. }),
            "{text}"
        );
    }
}

fn sink_with_login(login_methods: &'static str) -> MailSink {
    let login = Some(("u".to_owned(), "p".to_owned()));
    MailSink::start_with(MailSinkConfig {
        login,
        login_methods,
        ..MailSinkConfig::default()
    })
}

#[tokio::test]
async fn e_11_a_refused_login_is_our_set_up_and_the_right_one_works() {
    for methods in ["PLAIN LOGIN", "LOGIN", "CRAM-MD5 PLAIN"] {
        let sink = sink_with_login(methods);
        let url = |password| format!("smtp://u:{password}@{}?tls=none", sink.address());
        let wrong = EmailSender::try_new(config(&url("wrong"))).unwrap();
        assert_config(&send(&wrong, &letter()).await, ReasonCode::AuthRefused);
        let right = EmailSender::try_new(config(&url("p"))).unwrap();
        assert_sent(&send(&right, &letter()).await);
    }
    let sink = sink_with_login("CRAM-MD5");
    let url = format!("smtp://u:p@{}?tls=none", sink.address());
    let sender = EmailSender::try_new(config(&url)).unwrap();
    assert_config(&send(&sender, &letter()).await, ReasonCode::Misconfigured);
}

#[tokio::test]
async fn e_12_long_and_strange_replies_are_read_up_to_8_kib() {
    let many = format!("{}250 last\r\n", "250-line\r\n".repeat(300));
    let long = format!("250 {}\r\n", "x".repeat(2000));
    for good in [
        many.into_bytes(),
        long.into_bytes(),
        b"250 \xff\xfe\r\n".to_vec(),
        b"250\n".to_vec(),
    ] {
        let sink = MailSink::start();
        sink.always(Stage::Rcpt, Act::Raw(good));
        assert_sent(&outcome(&sink).await);
    }
    let too_many = "250-line\r\n".repeat(900).into_bytes();
    for bad in [
        too_many,
        b"hello\r\n".to_vec(),
        b"250-a\r\n550 b\r\n".to_vec(),
    ] {
        let sink = MailSink::start();
        sink.always(Stage::Rcpt, Act::Raw(bad));
        assert_not_sent(&outcome(&sink).await, ReasonCode::ProtocolError);
    }
}

#[tokio::test]
async fn e_12_an_endless_reply_line_is_dropped() {
    let sink = MailSink::start();
    sink.once(Stage::Connect, Act::Flood);
    assert_not_sent(&outcome(&sink).await, ReasonCode::ProtocolError);
    sink.once(Stage::Dot, Act::Flood);
    assert_in_doubt(&outcome(&sink).await);
}

fn tls_sink(tls: SinkTls) -> MailSink {
    MailSink::start_with(MailSinkConfig {
        tls,
        ..MailSinkConfig::default()
    })
}

fn encrypted(sink: &MailSink, url: &str, trusting: bool) -> EmailSender {
    let mut config = config(&url.replace("HOST", &sink.address().to_string()));
    if let Some(tls) = sink.tls() {
        config.tls = Some(
            if trusting {
                &tls.trusting
            } else {
                &tls.distrusting
            }
            .clone(),
        );
    }
    EmailSender::try_new(config).unwrap()
}

#[tokio::test]
async fn letters_go_out_encrypted_by_every_policy() {
    let sink = tls_sink(SinkTls::StartTls);
    for policy in ["required", "opportunistic"] {
        let sender = encrypted(&sink, &format!("smtp://HOST?tls={policy}"), true);
        assert_sent(&send(&sender, &letter()).await);
        assert_sent(&send(&sender, &letter()).await);
    }
    assert_eq!(
        sink.commands()
            .iter()
            .filter(|line| *line == "STARTTLS")
            .count(),
        2
    );
    let sink = tls_sink(SinkTls::Implicit);
    let sender = encrypted(&sink, "smtps://HOST", true);
    let big = letter_with(&TEXT.repeat(20_000));
    assert_sent(&send(&sender, &big).await);
    assert_eq!(
        parts(&sink.mails()[0])[0],
        TEXT.repeat(20_000).replace('\n', "\r\n")
    );
}

#[tokio::test]
async fn e_13_a_relay_that_hides_starttls_gets_nothing() {
    let sink = MailSink::start();
    let sender = encrypted(&sink, "smtp://HOST?tls=required", true);
    assert_not_sent(&send(&sender, &letter()).await, ReasonCode::TlsUnavailable);
    assert!(!sink.commands().iter().any(|line| line.starts_with("MAIL")));
    let opportunistic = encrypted(&sink, "smtp://HOST?tls=opportunistic", true);
    assert_sent(&send(&opportunistic, &letter()).await);
}

#[tokio::test]
async fn e_13_login_data_never_go_in_the_clear_unless_the_url_says_so() {
    let sink = sink_with_login("PLAIN");
    let sender = encrypted(&sink, "smtp://u:p@HOST?tls=opportunistic", true);
    assert_not_sent(&send(&sender, &letter()).await, ReasonCode::TlsUnavailable);
    assert!(!sink.commands().iter().any(|line| line.starts_with("AUTH")));
}

#[tokio::test]
async fn e_13_a_certificate_that_is_not_trusted_gets_nothing() {
    for (tls, url) in [
        (SinkTls::StartTls, "smtp://HOST?tls=required"),
        (SinkTls::StartTls, "smtp://HOST?tls=opportunistic"),
        (SinkTls::Implicit, "smtps://HOST"),
    ] {
        let sink = tls_sink(tls);
        let sender = encrypted(&sink, url, false);
        assert_not_sent(&send(&sender, &letter()).await, ReasonCode::TlsFailed);
        assert!(
            !sink.commands().iter().any(|line| line.starts_with("MAIL")),
            "{url}"
        );
    }
}

#[tokio::test]
async fn e_13_text_smuggled_in_before_tls_ends_the_conversation() {
    let sink = tls_sink(SinkTls::StartTls);
    sink.once(
        Stage::StartTls,
        Act::Raw(b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n".to_vec()),
    );
    let sender = encrypted(&sink, "smtp://HOST?tls=required", true);
    assert_not_sent(&send(&sender, &letter()).await, ReasonCode::ProtocolError);
    assert_eq!(sink.accepted(), 0);
}

#[tokio::test]
async fn e_13_a_stalled_handshake_is_cut_off() {
    let sink = MailSink::start();
    sink.always(Stage::Connect, Act::Stall);
    let mut config = config(&format!("smtps://{}", sink.address()));
    config.timeouts.tls = Duration::from_millis(200);
    config.tls = Some(crate::testkit::TestTls::new(&["127.0.0.1"]).trusting);
    let sender = EmailSender::try_new(config).unwrap();
    assert_not_sent(&send(&sender, &letter()).await, ReasonCode::TlsFailed);
}

#[tokio::test]
async fn e_15_a_kept_connection_that_closed_is_replaced_before_the_message_is_written() {
    for stage in [Stage::Reset, Stage::Mail] {
        let sink = MailSink::start();
        let sender = sender(&sink);
        assert_sent(&send(&sender, &letter()).await);
        if stage == Stage::Reset {
            // Only who has been quiet for a while is asked whether he is there.
            tokio::time::sleep(Duration::from_millis(1_050)).await;
        }
        sink.once(stage, Act::Drop);
        assert_sent(&send(&sender, &letter()).await);
        assert_eq!((sink.accepted(), sink.connections()), (2, 2), "{stage:?}");
    }
    // The relay says 421 to the next message on a connection that it has had enough of.
    let sink = MailSink::start();
    let sender = sender(&sink);
    assert_sent(&send(&sender, &letter()).await);
    sink.once(
        Stage::Mail,
        Act::ReplyAndDrop("421 4.7.0 too many messages\r\n".to_owned()),
    );
    assert_sent(&send(&sender, &letter()).await);
    assert_eq!((sink.accepted(), sink.connections()), (2, 2));
}

#[tokio::test]
async fn e_15_kept_connections_that_hang_cost_one_wait_together() {
    let sink = MailSink::start();
    sink.always(Stage::Rcpt, Act::Delay(Duration::from_millis(50)));
    let sender = sender(&sink);
    let messages: Vec<Outgoing> = (0..5).map(|_| letter()).collect();
    futures::future::join_all(messages.iter().map(|message| send(&sender, message))).await;
    assert_eq!(sink.connections(), 5);
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    sink.always(Stage::Reset, Act::Stall);
    assert_sent(&send(&sender, &letter()).await);
    assert_eq!(
        sink.commands()
            .iter()
            .filter(|line| *line == "RSET")
            .count(),
        1
    );
    assert_eq!(sink.connections(), 6);
}

#[tokio::test]
async fn e_15_a_failure_after_data_is_not_tried_again_by_itself() {
    let sink = MailSink::start();
    let sender = sender(&sink);
    assert_sent(&send(&sender, &letter()).await);
    sink.once(Stage::Data, Act::Drop);
    assert_not_sent(&send(&sender, &letter()).await, ReasonCode::ConnectionLost);
    assert_eq!(sink.accepted(), 1);
}

#[tokio::test]
async fn e_21_no_body_can_bend_the_wire() {
    let sink = MailSink::start();
    let sender = Arc::new(sender(&sink));
    let pieces = [
        "\n.\n",
        "\r.\r\n",
        "\n.\r\n",
        "\r\n.\r\n",
        ".",
        "\r",
        "\n",
        "a",
        "MAIL FROM:<x>",
        "您",
    ];
    let mut seed = 88_172_645_463_325_252_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % 1_000_003).unwrap()
    };
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..10_000 {
        let count = random() % 12;
        let text: String = (0..count)
            .map(|_| pieces[random() % pieces.len()])
            .collect();
        let message = letter_with(&text);
        let sender = sender.clone();
        sending.spawn(async move { send(&sender, &message).await });
        if sending.len() >= 10 {
            assert_sent(&sending.join_next().await.unwrap().unwrap());
        }
    }
    while let Some(outcome) = sending.join_next().await {
        assert_sent(&outcome.unwrap());
    }
    let mails = sink.mails();
    assert_eq!(mails.len(), 10_000);
    mails.iter().for_each(assert_wire);
    assert!(
        sink.commands()
            .iter()
            .filter(|line| line.starts_with("MAIL"))
            .count()
            == 10_000
    );
}

#[tokio::test]
async fn the_pool_keeps_to_its_connections_and_messages() {
    let sink = MailSink::start();
    sink.always(Stage::Rcpt, Act::Delay(Duration::from_millis(5)));
    let mut config = plain(&sink);
    config.max_connections = 3;
    config.max_messages = 5;
    let sender = EmailSender::try_new(config).unwrap();
    let messages: Vec<Outgoing> = (0..40).map(|_| letter()).collect();
    let outcomes = futures::future::join_all(messages.iter().map(|m| send(&sender, m))).await;
    outcomes.iter().for_each(assert_sent);
    assert!(
        sink.most_open() <= 3 + 1,
        "a closing one may overlap: {}",
        sink.most_open()
    );
    let mut per_connection = std::collections::HashMap::new();
    for mail in sink.mails() {
        *per_connection.entry(mail.connection).or_insert(0) += 1;
    }
    assert!(
        per_connection.values().all(|count| *count <= 5),
        "{per_connection:?}"
    );
    assert_eq!(per_connection.values().sum::<i32>(), 40);
    sender.close().await;
}

#[tokio::test]
async fn a_full_pool_does_not_hold_a_message_for_ever() {
    let sink = MailSink::start();
    sink.always(Stage::Dot, Act::Stall);
    let mut config = plain(&sink);
    config.max_connections = 1;
    config.pool_wait = Duration::from_millis(50);
    let sender = EmailSender::try_new(config).unwrap();
    let (first, second) = (letter(), letter());
    let (first, second) = tokio::join!(send(&sender, &first), send(&sender, &second));
    assert_in_doubt(&first);
    assert_not_sent(&second, ReasonCode::PoolExhausted);
}

#[tokio::test]
async fn a_send_that_is_cut_off_leaves_no_usable_connection_behind() {
    let sink = MailSink::start();
    let sender = sender(&sink);
    sink.once(Stage::Dot, Act::Delay(Duration::from_millis(300)));
    let message = letter();
    let cut = tokio::time::timeout(Duration::from_millis(100), send(&sender, &message)).await;
    assert!(cut.is_err());
    assert_sent(&send(&sender, &letter()).await);
    assert_eq!(sink.connections(), 2);
}

#[test]
fn a_wrong_set_up_is_refused_at_once() {
    let base = || config("smtp://127.0.0.1?tls=none");
    let mut bad = base();
    bad.from = "nobody".to_owned();
    assert!(EmailSender::try_new(bad).is_err());
    let mut bad = base();
    bad.hello_name = "x\r\nMAIL".to_owned();
    assert!(EmailSender::try_new(bad).is_err());
    let mut bad = base();
    bad.message_domain = "a>b".to_owned();
    assert!(EmailSender::try_new(bad).is_err());
}
