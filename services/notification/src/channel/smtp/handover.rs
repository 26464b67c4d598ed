//! One message of a conversation: its envelope and its body.

use super::{Failure, Parcel, Phase, Reply, Session, SmtpTimeouts, expect, wire::xtext, within};
use crate::failpoint;

/// Body bytes given to the system at a time.
const CHUNK: usize = 16 * 1024;

impl Session {
    /// Hands over one message. `Ok` is the relay's word that it has taken it.
    pub(crate) async fn deliver(&mut self, parcel: &Parcel<'_>) -> Result<Reply, Failure> {
        let Parcel {
            from,
            to,
            envelope_id,
            data,
        } = parcel;
        let (mail, rcpt) = if self.abilities.dsn {
            (
                format!("MAIL FROM:<{from}> RET=HDRS ENVID={envelope_id}\r\n"),
                format!(
                    "RCPT TO:<{to}> NOTIFY=FAILURE,DELAY ORCPT=rfc822;{}\r\n",
                    xtext(to)
                ),
            )
        } else {
            (
                format!("MAIL FROM:<{from}>\r\n"),
                format!("RCPT TO:<{to}>\r\n"),
            )
        };
        self.clean = false;
        if self.abilities.pipelining {
            self.envelope_at_once(&mail, &rcpt).await?;
        } else {
            self.command(Phase::Mail, &mail, 250).await?;
            self.command(Phase::Rcpt, &rcpt, 250).await?;
            self.exchange(Phase::Data, self.timeouts.data, "DATA\r\n", 354)
                .await?;
        }
        self.broken = true;
        self.write_body(data).await?;
        failpoint::hit("body_written");
        let limit = self.timeouts.final_dot;
        let reply = within(Phase::FinalDot, limit, self.wire.read_reply()).await?;
        self.broken = reply.code == 421;
        self.used += 1;
        let taken = expect(Phase::FinalDot, 250, reply)?;
        self.clean = true;
        Ok(taken)
    }

    /// MAIL, RCPT and DATA in one packet, where the relay takes them so (RFC 2920): one journey instead of three.
    async fn envelope_at_once(&mut self, mail: &str, rcpt: &str) -> Result<(), Failure> {
        let SmtpTimeouts { command, data, .. } = self.timeouts;
        self.broken = true;
        let lines = format!("{mail}{rcpt}DATA\r\n");
        let written = self.wire.write_all(lines.as_bytes());
        within(Phase::Mail, command, written).await?;
        let mut refused = None;
        let mut leaves = false;
        for (phase, limit, want) in [
            (Phase::Mail, command, 250),
            (Phase::Rcpt, command, 250),
            (Phase::Data, data, 354),
        ] {
            let reply = match within(phase, limit, self.wire.read_reply()).await {
                Ok(reply) => reply,
                // What the relay said before it went is what counts.
                Err(failure) => return Err(refused.unwrap_or(failure)),
            };
            // After 354 only a message could follow, and there is none for a refused envelope.
            leaves |= reply.code == 421 || reply.code == 354;
            if let Err(failure) = expect(phase, want, reply) {
                refused.get_or_insert(failure);
            }
        }
        let Some(failure) = refused else {
            return Ok(());
        };
        self.broken = leaves;
        Err(failure)
    }

    /// Writes the message. A failure in phase `Body` means that the final dot did not leave this machine.
    async fn write_body(&mut self, data: &[u8]) -> Result<(), Failure> {
        let most = failpoint::chunk("body_part", data.len(), CHUNK);
        let mut rest = data;
        while !rest.is_empty() {
            let chunk = &rest[..rest.len().min(most)];
            let sent = within(
                Phase::Body,
                self.timeouts.progress,
                self.wire.write_some(chunk),
            )
            .await?;
            rest = &rest[sent..];
            failpoint::hit("body_part");
        }
        within(Phase::FinalDot, self.timeouts.progress, self.wire.flush()).await
    }
}
