//! The names in a caller's certificate.

use rustls::pki_types::CertificateDer;
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

/// Names of one certificate that are looked at.
const NAMES_MAX: usize = 32;

/// The URIs and DNS names that a certificate is for. The authority has vouched for them when the connection was made.
pub(crate) fn names_in(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(alternative)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    alternative
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
            _ => None,
        })
        .take(NAMES_MAX)
        .collect()
}
