//! Servers on real sockets that play relay and gateway, for tests and benches: they misbehave on demand and keep a
//! ledger of what they accepted.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test server stops the test when it cannot work"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a test server lives as long as the test, outside of any lifecycle"
)]

mod alibaba_stub;
mod bounce_report;
mod figures;
mod gateway_stub;
mod http_talk;
mod mail_sink;
mod mail_talk;
mod script;
mod tencent_stub;
mod tls;
mod twilio_stub;

pub use alibaba_stub::{AlibabaAccepted, AlibabaStub};
pub use bounce_report::bounce_report;
pub use figures::Figures;
pub use gateway_stub::{AcceptedMessage, GatewayStub};
pub use http_talk::{Answer, SeenRequest};
pub use mail_sink::{Act, MailSink, MailSinkConfig, ReceivedMail, SinkTls, Stage};
pub use tencent_stub::{TencentAccepted, TencentStub};
pub use tls::TestTls;
pub use twilio_stub::{TwilioAccepted, TwilioStub};
