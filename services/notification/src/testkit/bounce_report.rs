//! What a mail server writes when it cannot deliver.

use std::fmt::Write as _;

/// A delivery status notification (RFC 3464) to `to`, saying an action and a status of each recipient.
pub fn bounce_report(to: &str, recipients: &[(&str, &str)]) -> String {
    let mut status = String::from(
        "Reporting-MTA: dns; mx.customer.example\r\nArrival-Date: Wed, 18 Nov 2026 11:04:00 +0000\r\n",
    );
    for (at, (action, code)) in recipients.iter().enumerate() {
        // Writing to a String cannot fail.
        write!(
            status,
            "\r\nFinal-Recipient: rfc822; person{at}@customer.example\r\nAction: {action}\r\nStatus: {code}\r\nDiagnostic-Code: smtp; 550 {code} person{at}@customer.example:\r\n  no such user\r\n"
        )
        .ok();
    }
    format!(
        "Return-Path: <>\r\nDelivered-To: {to}\r\nFrom: Mail Delivery System <MAILER-DAEMON@mx.customer.example>\r\nTo: {to}\r\nSubject: Undelivered Mail Returned to Sender\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"b/mx\"\r\n\r\nThis is a MIME-encapsulated message.\r\n\r\n--b/mx\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nYour message could not be delivered.\r\n\r\n--b/mx\r\nContent-Description: Delivery report\r\nContent-Type: message/delivery-status\r\n\r\n{status}\r\n--b/mx\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: Please confirm\r\n\r\n--b/mx--\r\n"
    )
}
